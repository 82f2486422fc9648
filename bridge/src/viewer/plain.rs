//! The feed as lines, for where there is no terminal.

use super::model::{Item, Row, Verified};
use super::{Said, View};

/// Applies what was said and tells it in words; levels alone are no line.
pub(super) fn lines(view: &mut View, said: Said) -> Vec<String> {
    let before: Vec<_> = view.rows.iter().map(|r| (r.id.clone(), r.clone())).collect();
    let was_waiting = view.waiting.clone();
    let outcome = match &said {
        Said::Message(message) => message.participant.as_ref().and_then(|p| Some((p.id.clone(), p.outcome?))),
        Said::Waiting(_) => None,
    };
    view.take(said);
    let mut lines = Vec::new();
    if let (Some(why), true) = (&view.waiting, view.waiting != was_waiting) {
        lines.push(why.clone());
    }
    for row in &view.rows {
        let who = &row.pseudonym;
        let Some((_, old)) = before.iter().find(|(id, _)| *id == row.id) else {
            lines.push(format!("{who} {} ({})", row.state, values(row)));
            continue;
        };
        if values(old) != values(row) {
            lines.push(format!("{who} is shown as {}", values(row)));
        }
        if old.state != row.state {
            lines.push(format!("{who} {}", row.state));
        }
        if old.muted != row.muted {
            lines.push(format!("{who} {}", if row.muted { "muted" } else { "unmuted" }));
        }
        if old.speaking != row.speaking {
            lines.push(format!("{who} {}", if row.speaking { "speaks" } else { "is silent" }));
        }
    }
    for (id, old) in &before {
        if !view.rows.iter().any(|r| r.id == *id) {
            let outcome = outcome
                .as_ref()
                .filter(|(gone, _)| gone == id)
                .map_or(String::new(), |(_, o)| format!(" ({})", o.words()));
            lines.push(format!("{} left{outcome}", old.pseudonym));
        }
    }
    if view.is_over() {
        lines.push("the conference has ended".into());
    }
    lines
}

/// A row's values; who has no profile has no word about it.
fn values(row: &Row) -> String {
    let told = |item: &Item| format!("{}{}", item.text(), if item.is_claimed() { " (claimed)" } else { "" });
    let profile = row.profile.value().map_or(String::new(), |text| format!(", profile {text}"));
    let verified = row.verified.map(Verified::words).filter(|w| !w.is_empty());
    let verified = verified.map_or(String::new(), |words| format!(" ({words})"));
    format!("name {}, number {}{verified}{profile}", told(&row.name), told(&row.number))
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{row, said};
    use super::*;

    #[test]
    fn changes_are_told_once_and_in_words() {
        let mut view = View::new("confx");
        let mut tell = |kind: &str, row: String| {
            lines(&mut view, said(&format!(r#"{{"seq":1,"kind":"{kind}","participant":{row}}}"#)))
        };
        assert_eq!(
            tell("joined", row(1, "joining", false)),
            ["Guest 1 joining (name shared, number withheld)"]
        );
        assert_eq!(tell("updated", row(1, "live", false)), ["Guest 1 live"]);
        assert_eq!(tell("speaking", row(1, "live", true)), ["Guest 1 speaks"]);
        assert!(tell("speaking", row(1, "live", true).replace("-30", "-20")).is_empty());
        let withheld = row(1, "live", true).replace("shared", "withheld");
        assert_eq!(tell("updated", withheld), ["Guest 1 is shown as name withheld, number withheld"]);
        let verified = row(1, "live", true).replacen(r#""name":"#, r#""verified":"full","name":"#, 1);
        assert_eq!(
            tell("updated", verified),
            ["Guest 1 is shown as name shared, number withheld (verified)"]
        );
        assert_eq!(tell("left", row(1, "left", false)), ["Guest 1 left"]);
        assert_eq!(tell("joined", row(2, "joining", false)).len(), 1);
        let busy = row(2, "left", false).replacen(r#""name":"#, r#""outcome":"no_answer","name":"#, 1);
        assert_eq!(tell("left", busy), ["Guest 2 left (no answer)"]);
    }
}
