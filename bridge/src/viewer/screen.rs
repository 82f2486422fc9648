//! The live table.

use super::View;
use super::model::{Item, Quality, Row, Verified};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, Wrap};

/// Loudness that fills the bar, dBov: the softest shown and the loudest.
const SOFT: f32 = -55.0;
const LOUD: f32 = -10.0;
const BAR: usize = 16;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, view: &View, notes: &[String]) {
    let below = if notes.is_empty() { 0 } else { notes.len() as u16 + 1 };
    let [head, table, foot, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(below),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(heading(view), head);
    if let Some(why) = &view.waiting {
        frame.render_widget(Paragraph::new(why.as_str()).style(dim), table);
    } else if view.rows.is_empty() {
        frame.render_widget(Paragraph::new("nobody is here").style(dim), table);
    } else {
        rows(frame, table, view);
    }
    let notes: Vec<Line<'_>> = notes.iter().map(|n| Line::raw(n.as_str())).collect();
    frame.render_widget(Paragraph::new(notes).wrap(Wrap { trim: false }), foot);
    frame.render_widget(
        Paragraph::new("q ends   ? claimed by the caller, asserted by no trunk   ✓ number verified   ✗ verification failed").style(dim),
        keys,
    );
}

fn heading(view: &View) -> Line<'_> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut line = vec![Span::styled(view.conference.as_str(), bold)];
    if view.waiting.is_none() {
        let speaking = view.rows.iter().filter(|r| r.speaking).count();
        let of = view.capacity.map_or(String::new(), |c| format!(" of {c}"));
        line.push(format!("   {}{of} in the meeting   {speaking} speaking", view.rows.len()).into());
    }
    Line::from(line)
}

fn rows(frame: &mut Frame<'_>, area: ratatui::layout::Rect, view: &View) {
    // Few have a profile; where nobody has one, there is no column for it.
    let profiles = view.rows.iter().any(|r| r.profile.value().is_some());
    let head = ["who", "state", "", "level", "quality", "loss", "jitter", "name", "number", "profile"];
    let columns = head.len() - usize::from(!profiles);
    let head =
        TableRow::new(head.into_iter().take(columns)).style(Style::new().add_modifier(Modifier::UNDERLINED));
    // Who speaks is always seen, however many there are.
    let fits = usize::from(area.height.saturating_sub(1));
    let hidden = view.rows.len().saturating_sub(fits);
    let chosen: Vec<&Row> = if hidden == 0 {
        view.rows.iter().collect()
    } else {
        let talking = view.rows.iter().filter(|r| r.speaking);
        talking.chain(view.rows.iter().filter(|r| !r.speaking)).take(fits.saturating_sub(1)).collect()
    };
    let left_out = view.rows.len() - chosen.len();
    let mut lines: Vec<TableRow<'_>> = chosen.into_iter().map(line).collect();
    if left_out > 0 {
        lines.push(TableRow::new([format!("and {left_out} more")]));
    }
    let widths = [
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(BAR as u16),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(3),
    ];
    let widths = widths.into_iter().take(columns);
    frame.render_widget(Table::new(lines, widths).header(head), area);
}

fn line(row: &Row) -> TableRow<'_> {
    let state = match row.state.as_str() {
        "live" => Style::new().fg(Color::Green),
        "joining" => Style::new().fg(Color::Yellow),
        _ => Style::new().add_modifier(Modifier::DIM),
    };
    let sign = match (row.muted, row.speaking) {
        (true, _) => Cell::new("muted").style(Style::new().fg(Color::Red)),
        (_, true) => Cell::new("●").style(Style::new().fg(Color::Green).add_modifier(Modifier::BOLD)),
        _ => Cell::new(""),
    };
    let who = Style::new().add_modifier(if row.speaking { Modifier::BOLD } else { Modifier::empty() });
    let [mos, loss, jitter] = row.quality.map_or_else(|| ["–".into(), "–".into(), "–".into()], told);
    TableRow::new([
        Cell::new(row.pseudonym.as_str()).style(who),
        Cell::new(row.state.as_str()).style(state),
        sign,
        Cell::new(bar(if row.speaking { f32::from(row.level) } else { f32::MIN }))
            .style(Style::new().fg(Color::Green)),
        Cell::new(mos).style(row.quality.map_or(Style::new(), colour)),
        Cell::new(loss),
        Cell::new(jitter),
        value(&row.name),
        number(row),
        Cell::new(row.profile.value().unwrap_or_default()),
    ])
}

/// A value, with a mark for what is the caller's own word only; what is not shown stands back.
fn value(item: &Item) -> Cell<'_> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    match item.value() {
        Some(text) if item.is_claimed() => Cell::new(Line::from(vec![text.into(), Span::styled(" ?", dim)])),
        Some(text) => Cell::new(text),
        None => Cell::new(item.text()).style(dim),
    }
}

/// The number, with a sign for what is proved of it.
fn number(row: &Row) -> Cell<'_> {
    let (sign, colour) = match row.verified {
        Some(Verified::Full) => (" ✓", Color::Green),
        Some(Verified::Failed) => (" ✗", Color::Red),
        // Their carrier vouches for less than the number.
        _ => return value(&row.number),
    };
    let dim = if row.number.value().is_some() { Modifier::empty() } else { Modifier::DIM };
    let text = Span::styled(row.number.text(), Style::new().add_modifier(dim));
    Cell::new(Line::from(vec![text, Span::styled(sign, Style::new().fg(colour))]))
}

fn told(q: Quality) -> [String; 3] {
    [format!("{:.1}", q.mos), format!("{:.1} %", q.loss), format!("{:.1} ms", q.jitter)]
}

/// Bands of ITU-T G.107, table B.1: 4.0 and more satisfies, below 3.6 many are not satisfied.
fn colour(q: Quality) -> Style {
    Style::new().fg(match q.mos {
        m if m >= 4.0 => Color::Green,
        m if m >= 3.6 => Color::Yellow,
        _ => Color::Red,
    })
}

fn bar(level: f32) -> String {
    let part = ((level - SOFT) / (LOUD - SOFT)).clamp(0.0, 1.0);
    "▮".repeat((part * BAR as f32).round() as usize)
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{row, said};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(view: &View, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(100, height)).unwrap();
        terminal.draw(|f| draw(f, view, &["a note".into()])).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(100);
        lines.map(|l| l.iter().map(|c| c.symbol()).collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn the_table_shows_who_speaks_how_loud_and_how_well() {
        let mut view = View::new("confx");
        assert_eq!(screen(&view, 12)[2], "connecting");
        view.take(said(&format!(r#"{{"seq":1,"kind":"joined","participant":{}}}"#, row(1, "live", true))));
        view.take(said(&format!(
            r#"{{"seq":2,"kind":"joined","participant":{}}}"#,
            row(2, "joining", false)
        )));
        let lines = screen(&view, 12);
        assert_eq!(lines[0], "confx   2 in the meeting   1 speaking");
        let words: Vec<_> = lines[3].split_whitespace().collect();
        assert_eq!(
            words,
            ["Guest", "1", "live", "●", "▮▮▮▮▮▮▮▮▮", "4.3", "0.5", "%", "1.2", "ms", "shared", "withheld"]
        );
        assert!(!lines[4].contains('●') && lines[4].contains("joining"), "{}", lines[4]);
        for (verified, sign) in [("full", Some('✓')), ("failed", Some('✗')), ("gateway", None), ("new", None)]
        {
            let more = format!(r#""verified":"{verified}","name":"#);
            let row = row(2, "live", false).replacen(r#""name":"#, &more, 1);
            view.take(said(&format!(r#"{{"seq":3,"kind":"updated","participant":{row}}}"#)));
            let line = &screen(&view, 12)[4];
            assert_eq!(line.chars().find(|c| "✓✗".contains(*c)), sign, "{line}");
        }
        assert_eq!((lines[9].as_str(), &lines[11][..6]), ("a note", "q ends"));
    }

    #[test]
    fn where_not_all_fit_the_speakers_come_first() {
        let mut view = View::new("confx");
        for n in 1..=20 {
            let row = row(n, "live", n == 20);
            view.take(said(&format!(r#"{{"seq":{n},"kind":"joined","participant":{row}}}"#)));
        }
        let lines = screen(&view, 12);
        assert!(lines[3].starts_with("Guest 20"), "{}", lines[3]);
        assert!(lines.iter().any(|l| l == "and 15 more"), "{lines:?}");
    }
}
