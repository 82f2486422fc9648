//! The live list of one conference and its feed: snapshots and events with a growing `seq`.
//!
//! Nothing here can carry a name or a number: a participant is a pseudonym, and what is known of the caller is only whether it
//! is shared, withheld or absent.

use serde::Serialize;
use sip_stack::Shown;
use std::sync::Arc;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast;

/// Events that a slow watcher may be behind before it gets a fresh snapshot instead.
const BEHIND: usize = 1024;

/// A participant's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May speak.
    Speaker,
}

/// How far a participant's call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Answered, but the caller's side is not through yet.
    Joining,
    /// In the meeting.
    Live,
    /// In the meeting, on hold by the caller's side.
    Held,
    /// Gone.
    Left,
}

/// Whether a value is there to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Item {
    status: &'static str,
}

impl From<Shown> for Item {
    fn from(shown: Shown) -> Self {
        let status = match shown {
            Shown::Shared => "shared",
            Shown::Withheld => "withheld",
            Shown::Absent => "absent",
        };
        Self { status }
    }
}

/// How well a participant is heard.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quality {
    /// Mean opinion score by the E-model (ITU-T G.107), 1.0 to 4.5, one decimal.
    pub mos: f32,
    /// Loss of what the participant sends, percent, one decimal.
    pub loss: f32,
    /// Interarrival jitter, ms.
    pub jitter: f32,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Participant {
    /// `p_` and random letters: says nothing outside this conference.
    pub id: String,
    /// `Guest N`, by the order of joining.
    pub pseudonym: String,
    /// Role.
    pub role: Role,
    /// State.
    pub state: State,
    /// Muted by a host.
    pub muted: bool,
    /// Speaks now.
    pub speaking: bool,
    /// Raised hand.
    pub hand: bool,
    /// Loudness now, dBov, −127 to 0.
    pub level: i8,
    /// How well it is heard; `null` until something was heard.
    pub quality: Option<Quality>,
    /// When the call was answered (RFC 3339, UTC).
    pub joined_at: String,
    /// Display name.
    pub name: Item,
    /// Number.
    pub number: Item,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The whole list.
    Snapshot,
    /// A new row.
    Joined,
    /// A row changed.
    Updated,
    /// A row is gone; its last state is in the event.
    Left,
    /// Somebody began or stopped speaking, or speaks louder or softer.
    Speaking,
    /// The conference itself changed.
    Conference,
}

/// The conference, in snapshots and in its own events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Id.
    pub id: String,
    /// Participants in it.
    pub participants: usize,
    /// Participants at most.
    pub capacity: usize,
    /// `open` or `ended`.
    pub state: &'static str,
    /// When it began (RFC 3339, UTC).
    pub started_at: String,
}

#[derive(Serialize)]
struct Event<'a> {
    seq: u64,
    kind: Kind,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conference: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<&'a Participant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    participants: Option<&'a [Participant]>,
}

/// One message of the feed, serialised once for all watchers.
pub type Message = Arc<str>;

/// See the module's text.
#[derive(Debug)]
pub struct Roster {
    conference: String,
    capacity: usize,
    started_at: String,
    rows: Vec<Participant>,
    seq: u64,
    guests: u64,
    feed: broadcast::Sender<Message>,
}

impl Roster {
    /// An empty roster.
    pub fn new(conference: String, capacity: usize) -> Self {
        let (feed, _) = broadcast::channel(BEHIND);
        Self { conference, capacity, started_at: now(), rows: Vec::new(), seq: 0, guests: 0, feed }
    }

    /// A snapshot and everything that follows it.
    pub fn subscribe(&self) -> (Message, broadcast::Receiver<Message>) {
        (self.snapshot(), self.feed.subscribe())
    }

    /// Watchers now.
    pub fn watchers(&self) -> usize {
        self.feed.receiver_count()
    }

    /// The list as it is, with the `seq` of the last event.
    pub fn snapshot(&self) -> Message {
        let conference = Some(self.summary("open"));
        self.write(Kind::Snapshot, conference, None, Some(&self.rows))
    }

    /// The conference in short.
    pub fn summary(&self, state: &'static str) -> Summary {
        Summary {
            id: self.conference.clone(),
            participants: self.rows.len(),
            capacity: self.capacity,
            state,
            started_at: self.started_at.clone(),
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row and returns its id.
    pub fn join(&mut self, name: Item, number: Item) -> String {
        self.guests += 1;
        let row = Participant {
            id: random_id(),
            pseudonym: format!("Guest {}", self.guests),
            role: Role::Speaker,
            state: State::Joining,
            muted: false,
            speaking: false,
            hand: false,
            level: -127,
            quality: None,
            joined_at: now(),
            name,
            number,
        };
        let id = row.id.clone();
        self.tell(Kind::Joined, &row);
        self.rows.push(row);
        id
    }

    /// Changes a row; an event follows only when something did change. False: no such row.
    pub fn update(&mut self, id: &str, kind: Kind, change: impl FnOnce(&mut Participant)) -> bool {
        let Some(place) = self.rows.iter().position(|r| r.id == id) else { return false };
        let before = self.rows[place].clone();
        change(&mut self.rows[place]);
        if self.rows[place] != before {
            let row = self.rows[place].clone();
            self.tell(kind, &row);
        }
        true
    }

    /// Takes a row out.
    pub fn leave(&mut self, id: &str) {
        let Some(place) = self.rows.iter().position(|r| r.id == id) else { return };
        let mut row = self.rows.remove(place);
        row.state = State::Left;
        row.speaking = false;
        self.tell(Kind::Left, &row);
    }

    /// The last event of all.
    pub fn end(&mut self) {
        self.seq += 1;
        let text = self.write(Kind::Conference, Some(self.summary("ended")), None, None);
        // Without watchers there is nobody to tell.
        let _ = self.feed.send(text);
    }

    fn tell(&mut self, kind: Kind, row: &Participant) {
        self.seq += 1;
        if self.feed.receiver_count() > 0 {
            let _ = self.feed.send(self.write(kind, None, Some(row), None));
        }
    }

    fn write(
        &self,
        kind: Kind,
        conference: Option<Summary>,
        participant: Option<&Participant>,
        participants: Option<&[Participant]>,
    ) -> Message {
        let event = Event { seq: self.seq, kind, at: now(), conference, participant, participants };
        // Strings, numbers and enums always serialise.
        serde_json::to_string(&event).unwrap_or_default().into()
    }
}

/// Now, RFC 3339, UTC, to the millisecond.
pub fn now() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    let now = now.replace_nanosecond(now.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

fn random_id() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bits: u64 = rand::random();
    let letters = (0..12).map(|_| {
        let letter = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
        char::from(letter)
    });
    std::iter::once("p_".to_owned()).chain(letters.map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(message: &Message) -> Value {
        serde_json::from_str(message).unwrap()
    }

    #[test]
    fn a_watcher_sees_the_snapshot_and_every_change_with_a_growing_seq() {
        let mut roster = Roster::new("confx".into(), 10);
        let first = roster.join(Shown::Shared.into(), Shown::Withheld.into());
        let (snapshot, mut feed) = roster.subscribe();
        let snapshot = read(&snapshot);
        assert_eq!((&snapshot["kind"], &snapshot["seq"]), (&"snapshot".into(), &1.into()));
        assert_eq!(snapshot["participants"][0]["pseudonym"], "Guest 1");
        assert_eq!(snapshot["participants"][0]["number"]["status"], "withheld");
        roster.update(&first, Kind::Updated, |p| p.state = State::Live);
        roster.update(&first, Kind::Updated, |p| p.state = State::Live);
        let second = roster.join(Shown::Absent.into(), Shown::Absent.into());
        roster.update(&second, Kind::Speaking, |p| p.speaking = true);
        roster.leave(&first);
        roster.end();
        let kinds: Vec<_> = std::iter::from_fn(|| feed.try_recv().ok())
            .map(|m| (read(&m)["seq"].as_u64().unwrap(), read(&m)["kind"].as_str().unwrap().to_owned()))
            .collect();
        let expected = [(2, "updated"), (3, "joined"), (4, "speaking"), (5, "left"), (6, "conference")];
        assert_eq!(kinds, expected.map(|(n, k)| (n, k.to_owned())), "no event without a change");
    }

    #[test]
    fn pseudonyms_go_by_order_of_joining_and_are_not_used_again() {
        let mut roster = Roster::new("confx".into(), 10);
        let first = roster.join(Shown::Absent.into(), Shown::Absent.into());
        roster.leave(&first);
        roster.join(Shown::Absent.into(), Shown::Absent.into());
        assert_eq!(read(&roster.snapshot())["participants"][0]["pseudonym"], "Guest 2");
    }

    #[test]
    fn times_are_utc_to_the_millisecond() {
        let now = now();
        assert!(now.ends_with('Z') && now.len() <= "2026-01-01T00:00:00.000Z".len(), "{now}");
    }
}
