//! What a viewer knows of a conference.

use super::Said;
use serde::Deserialize;
use vault::opener::ContentKey;

/// A message of the feed. What it has beyond this is ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    pub(super) seq: u64,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) conference: Option<Conference>,
    #[serde(default)]
    pub(super) participant: Option<Row>,
    #[serde(default)]
    pub(super) participants: Option<Vec<Row>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Conference {
    pub(super) capacity: usize,
    pub(super) state: String,
}

/// A participant as the feed has it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) pseudonym: String,
    pub(super) state: String,
    pub(super) muted: bool,
    pub(super) speaking: bool,
    pub(super) level: i8,
    pub(super) quality: Option<Quality>,
    pub(super) name: Item,
    pub(super) number: Item,
    #[serde(default)]
    pub(super) profile: Item,
    /// What is proved of the number (RFC 8224).
    #[serde(default)]
    pub(super) verified: Option<Verified>,
    /// What became of a call to them.
    #[serde(default)]
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verified {
    Full,
    Partial,
    Gateway,
    Failed,
    #[serde(other)]
    Unknown,
}

impl Verified {
    /// In words, for where there is no sign.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Full => "verified",
            Self::Partial => "verified in part",
            Self::Gateway => "from another network",
            Self::Failed => "verification failed",
            Self::Unknown => "",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Busy,
    NoAnswer,
    Declined,
    NoSuchNumber,
    #[serde(other)]
    Failed,
}

impl Outcome {
    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoAnswer => "no answer",
            Self::Declined => "declined",
            Self::NoSuchNumber => "no such number",
            Self::Failed => "no trunk could call",
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Quality {
    pub(super) mos: f32,
    pub(super) loss: f32,
    pub(super) jitter: f32,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct Item {
    pub(super) status: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    jwe: Option<String>,
    /// What was in the envelope.
    #[serde(skip)]
    opened: Option<String>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.status)
    }
}

impl Item {
    /// What is shown: the value, or why there is none.
    pub(super) fn text(&self) -> &str {
        self.opened.as_deref().unwrap_or(&self.status)
    }

    /// The value, if it was shown to us.
    pub(super) fn value(&self) -> Option<&str> {
        self.opened.as_deref()
    }

    /// Whether what is shown is the caller's own word, and no trusted trunk's.
    pub(super) fn is_claimed(&self) -> bool {
        self.opened.is_some() && self.source.as_deref() == Some("claimed")
    }

    fn open(&mut self, key: &ContentKey) {
        self.opened = self.jwe.take().and_then(|jwe| key.open(&jwe).ok()).map(|text| shown(&text));
    }
}

impl Message {
    /// Opens the envelopes.
    pub(super) fn open(&mut self, key: &ContentKey) {
        let one = self.participant.iter_mut();
        for row in one.chain(self.participants.iter_mut().flatten()) {
            [&mut row.name, &mut row.number, &mut row.profile].into_iter().for_each(|item| item.open(key));
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct View {
    pub(super) conference: String,
    pub(super) capacity: Option<usize>,
    pub(super) rows: Vec<Row>,
    pub(super) seq: u64,
    /// Why there is nothing to be seen now.
    pub(super) waiting: Option<String>,
    over: bool,
}

impl View {
    /// Nothing known yet.
    pub fn new(conference: &str) -> Self {
        let waiting = Some("connecting".to_owned());
        Self { conference: shown(conference), capacity: None, rows: Vec::new(), seq: 0, waiting, over: false }
    }

    /// Whether the conference has ended.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Applies what the feed said.
    pub fn take(&mut self, said: Said) {
        let message = match said {
            Said::Message(message) => *message,
            Said::Waiting(why) => {
                self.waiting = Some(why);
                self.rows.clear();
                return;
            }
        };
        self.waiting = None;
        self.seq = message.seq;
        if let Some(conference) = message.conference {
            self.capacity = Some(conference.capacity);
            self.over = conference.state == "ended";
        }
        if let Some(rows) = message.participants {
            self.rows = rows.into_iter().map(Row::shown).collect();
        }
        let Some(row) = message.participant.map(Row::shown) else { return };
        let place = self.rows.iter().position(|r| r.id == row.id);
        match (place, message.kind == "left") {
            (Some(place), true) => {
                self.rows.remove(place);
            }
            (Some(place), false) => self.rows[place] = row,
            (None, false) => self.rows.push(row),
            (None, true) => {}
        }
    }
}

impl Row {
    fn shown(mut self) -> Self {
        for text in [&mut self.pseudonym, &mut self.state, &mut self.name.status, &mut self.number.status] {
            *text = shown(text);
        }
        self
    }
}

/// Text without what would steer a terminal, and of bounded length.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::viewer) fn said(text: &str) -> Said {
        Said::Message(Box::new(serde_json::from_str(text).unwrap()))
    }

    pub(in crate::viewer) fn row(n: u64, state: &str, speaking: bool) -> String {
        format!(
            r#"{{"id":"p_{n}","pseudonym":"Guest {n}","role":"speaker","state":"{state}","muted":false,"speaking":{speaking},"hand":false,
            "level":-30,"quality":{{"mos":4.3,"loss":0.5,"jitter":1.25}},"joined_at":"2026-01-01T00:00:00.000Z",
            "name":{{"status":"shared"}},"number":{{"status":"withheld"}}}}"#
        )
    }

    #[test]
    fn snapshot_and_changes_give_the_list() {
        let mut view = View::new("confx");
        let conference = r#"{"id":"confx","participants":1,"capacity":9,"state":"open","started_at":"z"}"#;
        view.take(said(&format!(
            r#"{{"seq":4,"kind":"snapshot","at":"z","conference":{conference},"participants":[{}]}}"#,
            row(1, "live", false)
        )));
        view.take(said(&format!(
            r#"{{"seq":5,"kind":"joined","at":"z","participant":{}}}"#,
            row(2, "joining", false)
        )));
        view.take(said(&format!(
            r#"{{"seq":6,"kind":"speaking","at":"z","participant":{}}}"#,
            row(1, "live", true)
        )));
        let list: Vec<_> = view.rows.iter().map(|r| (r.pseudonym.as_str(), r.speaking)).collect();
        assert_eq!(
            (list, view.seq, view.capacity),
            (vec![("Guest 1", true), ("Guest 2", false)], 6, Some(9))
        );
        view.take(said(&format!(
            r#"{{"seq":7,"kind":"left","at":"z","participant":{}}}"#,
            row(1, "left", false)
        )));
        assert_eq!(view.rows.len(), 1);
        let ended = conference.replace("open", "ended");
        view.take(said(&format!(r#"{{"seq":8,"kind":"conference","at":"z","conference":{ended}}}"#)));
        assert!(view.is_over());
    }

    #[test]
    fn what_would_steer_the_terminal_is_not_shown() {
        let mut view = View::new("conf\x1b[2J");
        let text = row(1, "live", false).replace("Guest 1", "\\u001b[31mGuest");
        view.take(said(&format!(r#"{{"seq":1,"kind":"joined","participant":{text}}}"#)));
        assert_eq!((view.conference.as_str(), view.rows[0].pseudonym.as_str()), ("conf[2J", "[31mGuest"));
    }
}
