//! The live list of one conference and its feeds: snapshots and events with a growing `seq`.
//!
//! A participant is a pseudonym; what is known of the caller lies sealed beside the row, and [`crate::disclosure`] alone says what
//! of it a viewer sees. Each viewer has a feed of their own, which all their sockets share.

use crate::audit::{self, Audit, Receipt};
use crate::disclosure::{self, Identity, Seen, Viewer};
use serde::Serialize;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast;
use vault::Keyring;

/// Events that a slow watcher may be behind before it gets a fresh snapshot instead.
const BEHIND: usize = 1024;
/// Disclosures of one participant that their receipt lists; older ones are in the audit only.
const RECEIPTS: usize = 200;
/// Who sees only roughly hears of speakers this often.
const ROUGHLY: Duration = Duration::from_secs(2);

/// A participant's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May speak.
    Speaker,
    /// Only listens.
    Listener,
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

/// A row, without the caller's values.
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
    /// Listens without being seen: only auditors see the row.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

impl Participant {
    /// As who sees only roughly may see it: without what would tell who it is by when they came or how their line sounds.
    fn roughly(&self, speaking: bool) -> Self {
        Self {
            level: -127,
            quality: None,
            joined_at: to_the_minute(&self.joined_at),
            speaking,
            ..self.clone()
        }
    }
}

/// Cuts a time to its minute: `2026-01-01T00:00:00Z`.
fn to_the_minute(time: &str) -> String {
    time.get(..16).map_or_else(String::new, |minute| format!("{minute}:00Z"))
}

/// A row with what is held of the caller.
#[derive(Debug)]
struct Row {
    public: Participant,
    identity: Identity,
    receipts: VecDeque<Receipt>,
}

/// A row as one viewer sees it.
#[derive(Serialize)]
struct SeenRow<'a> {
    #[serde(flatten)]
    public: std::borrow::Cow<'a, Participant>,
    #[serde(flatten)]
    seen: &'a Seen,
}

/// What a participant is told of themselves.
#[derive(Serialize)]
struct Me<'a> {
    conference: &'a str,
    participant: SeenRow<'a>,
    /// Newest last.
    seen_by: &'a VecDeque<Receipt>,
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
    participant: Option<SeenRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    participants: Option<Vec<SeenRow<'a>>>,
}

/// A message's text, serialised once for all sockets of a viewer.
pub type Text = Arc<str>;

/// A message of a feed that waits to be sent, and how often something had been withheld when it was written.
#[derive(Debug, Clone)]
struct Message {
    text: Text,
    withheld: u64,
}

/// Why a feed has no next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The watcher is behind, or somebody withheld since what waits was written: a new snapshot is due instead.
    Some,
    /// The conference is over.
    All,
}

/// What follows a snapshot.
#[derive(Debug)]
pub struct Follow {
    feed: broadcast::Receiver<Message>,
    withheld: Arc<AtomicU64>,
}

impl Follow {
    /// The next message. What was withheld in the meantime is not in it. May be cancelled.
    ///
    /// # Errors
    /// [`Missed`].
    pub async fn next(&mut self) -> Result<Text, Missed> {
        match self.feed.recv().await {
            Ok(message) => self.fresh(message),
            Err(broadcast::error::RecvError::Lagged(_)) => Err(Missed::Some),
            Err(broadcast::error::RecvError::Closed) => Err(Missed::All),
        }
    }

    fn fresh(&self, message: Message) -> Result<Text, Missed> {
        if message.withheld == self.withheld.load(Ordering::Acquire) {
            Ok(message.text)
        } else {
            Err(Missed::Some)
        }
    }
}

/// One viewer's feed.
#[derive(Debug)]
struct View {
    viewer: Arc<Viewer>,
    feed: broadcast::Sender<Message>,
    /// What they see of each participant, by id. Disclosed once, and kept while they look.
    seen: HashMap<String, Seen>,
    /// Of the last message.
    seq: u64,
    /// Who speaks, as far as a viewer who sees only roughly was told.
    speaking: HashSet<String>,
}

impl View {
    fn new(viewer: &Arc<Viewer>, feed: broadcast::Sender<Message>, seq: u64) -> Self {
        Self { viewer: viewer.clone(), feed, seen: HashMap::new(), seq, speaking: HashSet::new() }
    }

    fn may_know_of(&self, public: &Participant) -> bool {
        !public.hidden || self.viewer.sees_hidden()
    }

    /// A row as this viewer sees it; `None` when nothing of it was noted yet.
    fn row<'a>(&'a self, public: &'a Participant) -> Option<SeenRow<'a>> {
        let seen = self.seen.get(&public.id)?;
        let public = if self.viewer.sees_roughly() {
            std::borrow::Cow::Owned(public.roughly(self.speaking.contains(&public.id)))
        } else {
            std::borrow::Cow::Borrowed(public)
        };
        Some(SeenRow { public, seen })
    }

    fn now(&self) -> String {
        if self.viewer.sees_roughly() { to_the_minute(&now()) } else { now() }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Roster {
    conference: String,
    capacity: usize,
    started_at: String,
    rows: Vec<Row>,
    seq: u64,
    guests: u64,
    /// Who listened without being seen: counted apart, so that no number among the guests is missing.
    listeners: u64,
    views: Vec<View>,
    keys: Keyring,
    audit: Audit,
    /// How often somebody withheld something: what waits in a feed since before is not sent any more.
    withheld: Arc<AtomicU64>,
    /// When who sees only roughly was last told who speaks.
    told_roughly: Option<Instant>,
}

impl Roster {
    /// An empty roster. `keys` is the conference's: what callers bring is sealed under it.
    pub fn new(conference: String, capacity: usize, keys: Keyring, audit: Audit) -> Self {
        Self {
            conference,
            capacity,
            started_at: now(),
            rows: Vec::new(),
            seq: 0,
            guests: 0,
            listeners: 0,
            views: Vec::new(),
            keys,
            audit,
            withheld: Arc::default(),
            told_roughly: None,
        }
    }

    /// The conference's key.
    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// A snapshot as `viewer` sees it, and everything that follows it.
    pub fn subscribe(&mut self, viewer: &Arc<Viewer>) -> (Text, Follow) {
        self.forget();
        let place = self.views.iter().position(|v| Arc::ptr_eq(&v.viewer, viewer)).unwrap_or_else(|| {
            let (feed, _) = broadcast::channel(BEHIND);
            self.views.push(View::new(viewer, feed, self.seq));
            self.views.len() - 1
        });
        let mut view = self.views.swap_remove(place);
        let snapshot = self.snapshot_in(&mut view);
        let follow = Follow { feed: view.feed.subscribe(), withheld: self.withheld.clone() };
        self.views.push(view);
        (snapshot, follow)
    }

    /// Sockets that watch now.
    pub fn watchers(&self) -> usize {
        self.views.iter().map(|v| v.feed.receiver_count()).sum()
    }

    /// The list as `viewer` sees it, with the `seq` of the last event.
    pub fn snapshot(&mut self, viewer: &Arc<Viewer>) -> Text {
        let (feed, _) = broadcast::channel(1);
        let mut view = View::new(viewer, feed, self.seq);
        if let Some(known) = self.views.iter().find(|v| Arc::ptr_eq(&v.viewer, viewer)) {
            (view.seen, view.seq, view.speaking) = (known.seen.clone(), known.seq, known.speaking.clone());
        }
        self.snapshot_in(&mut view)
    }

    fn snapshot_in(&mut self, view: &mut View) -> Text {
        let mut rows = std::mem::take(&mut self.rows);
        for row in &mut rows {
            if view.may_know_of(&row.public) {
                self.disclose(view, row);
            }
        }
        self.rows = rows;
        let seen = self.rows.iter().filter_map(|row| view.row(&row.public)).collect();
        write(view, Kind::Snapshot, Some(self.summary("open")), None, Some(seen))
    }

    /// What a participant is told of themselves: their row, and who was shown what of it. `None`: no such row.
    pub fn me(&self, id: &str) -> Option<Text> {
        let row = self.rows.iter().find(|r| r.public.id == id)?;
        let seen = disclosure::own(&row.identity);
        let participant = SeenRow { public: std::borrow::Cow::Borrowed(&row.public), seen: &seen };
        let me = Me { conference: &self.conference, participant, seen_by: &row.receipts };
        // Strings, numbers and enums always serialise.
        Some(serde_json::to_string(&me).unwrap_or_default().into())
    }

    /// The conference in short.
    pub fn summary(&self, state: &'static str) -> Summary {
        Summary {
            id: self.conference.clone(),
            participants: self.len(),
            capacity: self.capacity,
            state,
            started_at: self.started_at.clone(),
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows.iter().filter(|r| !r.public.hidden).count()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a row and returns its id.
    pub fn join(&mut self, identity: Identity) -> String {
        self.guests += 1;
        self.add(format!("Guest {}", self.guests), Role::Speaker, false, identity)
    }

    /// Adds a row of somebody who listens without being seen, and returns its id.
    pub fn listen(&mut self, identity: Identity) -> String {
        self.listeners += 1;
        self.add(format!("Hidden listener {}", self.listeners), Role::Listener, true, identity)
    }

    fn add(&mut self, pseudonym: String, role: Role, hidden: bool, identity: Identity) -> String {
        let public = Participant {
            id: random_id("p_"),
            pseudonym,
            role,
            state: State::Joining,
            muted: false,
            speaking: false,
            hand: false,
            level: -127,
            quality: None,
            joined_at: now(),
            hidden,
        };
        let id = public.id.clone();
        let mut row = Row { public, identity, receipts: VecDeque::new() };
        self.tell(Kind::Joined, &mut row, None);
        self.rows.push(row);
        id
    }

    /// Changes a row; an event follows only when something did change. False: no such row.
    pub fn update(&mut self, id: &str, kind: Kind, change: impl FnOnce(&mut Participant)) -> bool {
        let Some(place) = self.rows.iter().position(|r| r.public.id == id) else { return false };
        let before = self.rows[place].public.clone();
        change(&mut self.rows[place].public);
        if self.rows[place].public != before {
            self.tell_row(kind, place, Some(&before));
        }
        true
    }

    /// A participant's own choice: `change` puts others in the place of values that are held of them. What viewers were shown is
    /// forgotten, and the old copies are wiped with it. False: no such row.
    pub fn choose(&mut self, id: &str, change: impl FnOnce(&mut Identity)) -> bool {
        let Some(place) = self.rows.iter().position(|r| r.public.id == id) else { return false };
        change(&mut self.rows[place].identity);
        for view in &mut self.views {
            view.seen.remove(id);
        }
        // Whatever the choice is: an older message could show more than it allows.
        self.withheld.fetch_add(1, Ordering::Release);
        self.tell_row(Kind::Updated, place, None);
        true
    }

    /// What is held of a participant. `None`: no such row.
    pub fn identity(&self, id: &str) -> Option<&Identity> {
        self.rows.iter().find(|r| r.public.id == id).map(|r| &r.identity)
    }

    /// A participant's pseudonym.
    pub fn pseudonym(&self, id: &str) -> Option<&str> {
        self.rows.iter().find(|r| r.public.id == id).map(|r| r.public.pseudonym.as_str())
    }

    /// Tells of a row in its place.
    fn tell_row(&mut self, kind: Kind, place: usize, before: Option<&Participant>) {
        let mut row = self.rows.swap_remove(place);
        self.tell(kind, &mut row, before);
        // Back to its place: the list is by order of joining.
        self.rows.push(row);
        let last = self.rows.len() - 1;
        self.rows.swap(place, last);
    }

    fn message(&self, text: Text) -> Message {
        Message { text, withheld: self.withheld.load(Ordering::Relaxed) }
    }

    /// Takes a row out.
    pub fn leave(&mut self, id: &str) {
        let Some(place) = self.rows.iter().position(|r| r.public.id == id) else { return };
        let mut row = self.rows.remove(place);
        row.public.state = State::Left;
        row.public.speaking = false;
        self.tell(Kind::Left, &mut row, None);
        for view in &mut self.views {
            view.seen.remove(id);
            view.speaking.remove(id);
        }
    }

    /// The last event of all.
    pub fn end(&mut self) {
        let (summary, withheld) = (self.summary("ended"), self.withheld.load(Ordering::Relaxed));
        for view in &mut self.views {
            view.seq += 1;
            let text = write(view, Kind::Conference, Some(summary.clone()), None, None);
            // Without watchers there is nobody to tell.
            let _ = view.feed.send(Message { text, withheld });
        }
    }

    /// Tells every viewer of a row. `before` is the row before the change, when nothing else of it changed.
    fn tell(&mut self, kind: Kind, row: &mut Row, before: Option<&Participant>) {
        // What is hidden leaves no gap in what others see.
        self.seq += u64::from(!row.public.hidden);
        self.forget();
        let mut views = std::mem::take(&mut self.views);
        for view in &mut views {
            if !view.may_know_of(&row.public) {
                continue;
            }
            if view.viewer.sees_roughly() {
                let speaking = view.speaking.contains(&row.public.id);
                let roughly = |p: &Participant| p.roughly(speaking);
                if before.is_some_and(|b| roughly(b) == roughly(&row.public)) {
                    continue;
                }
            }
            self.disclose(view, row);
            view.seq += 1;
            if let Some(seen) = view.row(&row.public) {
                let text = write(view, kind, None, Some(seen), None);
                let _ = view.feed.send(self.message(text));
            }
        }
        let seqs = views.iter().filter(|v| !v.viewer.sees_hidden()).map(|v| v.seq);
        self.seq = seqs.fold(self.seq, u64::max);
        self.views = views;
    }

    /// Tells those who see only roughly who speaks, if that is due. To be called now and then.
    pub fn tell_roughly(&mut self, at: Instant) {
        if self.told_roughly.is_some_and(|last| at < last + ROUGHLY) {
            return;
        }
        self.told_roughly = Some(at);
        let mut views = std::mem::take(&mut self.views);
        for view in views.iter_mut().filter(|v| v.viewer.sees_roughly()) {
            for row in self.rows.iter().filter(|r| !r.public.hidden) {
                let id = &row.public.id;
                if row.public.speaking == view.speaking.contains(id) {
                    continue;
                }
                if row.public.speaking {
                    view.speaking.insert(id.clone());
                } else {
                    view.speaking.remove(id);
                }
                view.seq += 1;
                if let Some(seen) = view.row(&row.public) {
                    let text = write(view, Kind::Speaking, None, Some(seen), None);
                    let _ = view.feed.send(self.message(text));
                }
            }
        }
        self.views = views;
    }

    /// Forgets viewers who look no more.
    fn forget(&mut self) {
        self.views.retain(|view| view.feed.receiver_count() > 0);
    }

    /// Notes what a viewer sees of a participant, if that is not known yet, and writes the participant a receipt. What the audit does not
    /// take is not disclosed, and tried again with the next event.
    fn disclose(&self, view: &mut View, row: &mut Row) {
        let known = view.seen.get(&row.public.id);
        if known.is_some_and(|seen| seen.disclosed().next().is_some()) {
            return;
        }
        let mut seen = disclosure::see(&view.viewer, &row.identity, &self.keys);
        let attributes: Vec<_> = seen.disclosed().collect();
        if !attributes.is_empty() {
            let receipt = Receipt {
                at: now(),
                viewer: view.viewer.id().to_owned(),
                role: view.viewer.role().as_str(),
                attributes,
                masked: seen.masked().collect(),
            };
            let event = audit::Event::Disclosed {
                receipt: receipt.clone(),
                conference: self.conference.clone(),
                participant: row.public.id.clone(),
                pseudonym: row.public.pseudonym.clone(),
            };
            if self.audit.record(event).is_ok() {
                row.receipts.push_back(receipt);
                if row.receipts.len() > RECEIPTS {
                    row.receipts.pop_front();
                }
            } else {
                seen = seen.closed();
            }
        }
        view.seen.insert(row.public.id.clone(), seen);
    }
}

fn write(
    view: &View,
    kind: Kind,
    conference: Option<Summary>,
    participant: Option<SeenRow<'_>>,
    participants: Option<Vec<SeenRow<'_>>>,
) -> Text {
    let event = Event { seq: view.seq, kind, at: view.now(), conference, participant, participants };
    // Strings, numbers and enums always serialise.
    serde_json::to_string(&event).unwrap_or_default().into()
}

/// Now, RFC 3339, UTC, to the millisecond.
pub fn now() -> String {
    time_of(SystemTime::now())
}

/// A time, RFC 3339, UTC, to the millisecond.
pub fn time_of(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let time = time.replace_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Random letters after a prefix: they say nothing, and cannot be guessed from others.
pub fn random_id(prefix: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bits: u64 = rand::random();
    let letters = (0..12).map(|_| {
        let letter = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
        char::from(letter)
    });
    std::iter::once(prefix.to_owned()).chain(letters.map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disclosure::Role as ViewerRole;
    use crate::disclosure::tests::{ada, vault, viewer};
    use serde_json::Value;
    use sip_stack::Shown;

    fn read(text: &Text) -> Value {
        serde_json::from_str(text).unwrap()
    }

    impl Follow {
        /// What waits, if it may still be sent.
        fn waiting(&mut self) -> Option<Result<Text, Missed>> {
            self.feed.try_recv().ok().map(|m| self.fresh(m))
        }
    }

    struct House {
        vault: vault::Vault,
        roster: Roster,
        folder: std::path::PathBuf,
    }

    impl House {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("sotto-roster-{:016x}", rand::random::<u64>()));
            let (vault, audit) = (vault(), Audit::open(&folder).unwrap());
            let roster = Roster::new("confx".into(), 10, vault.keyring().unwrap(), audit);
            Self { vault, roster, folder }
        }

        fn join(&mut self, name: Shown, number: Shown) -> String {
            let identity = ada(&self.vault, self.roster.keys(), name, number);
            self.roster.join(identity)
        }

        fn keyless(&self) -> Arc<Viewer> {
            Arc::new(Viewer::new("t_1".into(), ViewerRole::Host, ViewerRole::Host.sight(), None))
        }
    }

    impl Drop for House {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_watcher_sees_the_snapshot_and_every_change_with_a_growing_seq() {
        let mut house = House::new();
        let viewer = house.keyless();
        let first = house.join(Shown::Shared, Shown::Withheld);
        let (snapshot, mut feed) = house.roster.subscribe(&viewer);
        let snapshot = read(&snapshot);
        assert_eq!((&snapshot["kind"], &snapshot["seq"]), (&"snapshot".into(), &1.into()));
        assert_eq!(snapshot["participants"][0]["pseudonym"], "Guest 1");
        assert_eq!(snapshot["participants"][0]["number"]["status"], "withheld");
        house.roster.update(&first, Kind::Updated, |p| p.state = State::Live);
        house.roster.update(&first, Kind::Updated, |p| p.state = State::Live);
        let second = house.join(Shown::Absent, Shown::Absent);
        house.roster.update(&second, Kind::Speaking, |p| p.speaking = true);
        house.roster.leave(&first);
        house.roster.end();
        let kinds: Vec<_> = std::iter::from_fn(|| feed.waiting().map(Result::unwrap))
            .map(|m| (read(&m)["seq"].as_u64().unwrap(), read(&m)["kind"].as_str().unwrap().to_owned()))
            .collect();
        let expected = [(2, "updated"), (3, "joined"), (4, "speaking"), (5, "left"), (6, "conference")];
        assert_eq!(kinds, expected.map(|(n, k)| (n, k.to_owned())), "no event without a change");
    }

    #[test]
    fn pseudonyms_go_by_order_of_joining_and_are_not_used_again() {
        let mut house = House::new();
        let viewer = house.keyless();
        let first = house.join(Shown::Absent, Shown::Absent);
        house.roster.leave(&first);
        let ids: Vec<_> = (0..3).map(|_| house.join(Shown::Absent, Shown::Absent)).collect();
        house.roster.update(&ids[0], Kind::Updated, |p| p.muted = true);
        let snapshot = read(&house.roster.snapshot(&viewer));
        let rows = snapshot["participants"].as_array().unwrap();
        let pseudonyms: Vec<_> = rows.iter().map(|r| r["pseudonym"].as_str().unwrap()).collect();
        assert_eq!(pseudonyms, ["Guest 2", "Guest 3", "Guest 4"], "a change moves nobody");
    }

    #[test]
    fn a_viewer_with_a_key_opens_what_is_shared_and_others_see_its_status_only() {
        let mut house = House::new();
        let (host, key) = viewer(&house.vault, ViewerRole::Host);
        let (host, keyless) = (Arc::new(host), house.keyless());
        let id = house.join(Shown::Shared, Shown::Withheld);
        let (snapshot, mut feed) = house.roster.subscribe(&host);
        let (plain, mut plain_feed) = house.roster.subscribe(&keyless);
        assert_eq!(house.roster.watchers(), 2);
        let row = &read(&snapshot)["participants"][0];
        assert_eq!(key.open(row["name"]["jwe"].as_str().unwrap()).unwrap(), "Ada Example");
        assert_eq!(row["name"]["source"], "asserted");
        assert_eq!(row["number"], serde_json::json!({"status": "withheld"}));
        house.roster.update(&id, Kind::Updated, |p| p.muted = true);
        let changed = read(&feed.waiting().unwrap().unwrap());
        assert_eq!(changed["participant"]["name"], row["name"], "the same envelope, disclosed once");
        for message in [plain, plain_feed.waiting().unwrap().unwrap()] {
            assert!(!message.contains("jwe"), "{message}");
        }
    }

    #[test]
    fn each_disclosure_is_audited_once_and_without_the_value() {
        let mut house = House::new();
        let (host, _) = viewer(&house.vault, ViewerRole::Host);
        let host = Arc::new(host);
        let id = house.join(Shown::Shared, Shown::Shared);
        let (_, feed) = house.roster.subscribe(&host);
        house.roster.update(&id, Kind::Updated, |p| p.muted = true);
        house.roster.snapshot(&host);
        drop(feed);
        house
            .roster
            .audit
            .record(audit::Event::KeyEnded { at: now(), viewer: "k_1".into(), why: "deleted" })
            .unwrap();
        let text = loop {
            let text = std::fs::read_to_string(house.folder.join("audit.jsonl")).unwrap();
            if text.contains("key_ended") && text.ends_with('\n') {
                break text;
            }
            std::thread::yield_now();
        };
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        let event = &lines[0];
        assert_eq!(event["event"], "disclosed");
        assert_eq!((&event["viewer"], &event["role"]), (&"k_1".into(), &"host".into()));
        assert_eq!((&event["participant"], &event["pseudonym"]), (&id.into(), &"Guest 1".into()));
        assert_eq!(event["attributes"], serde_json::json!(["name", "number", "profile"]));
        assert!(!text.contains("Ada") && !text.contains("0143"), "{text}");
    }

    #[test]
    fn what_waits_for_a_slow_watcher_is_not_sent_after_it_was_withheld() {
        let mut house = House::new();
        let (host, key) = viewer(&house.vault, ViewerRole::Host);
        let host = Arc::new(host);
        let id = house.join(Shown::Shared, Shown::Shared);
        let (_, mut feed) = house.roster.subscribe(&host);
        house.roster.update(&id, Kind::Updated, |p| p.muted = true);
        let withheld = ada(&house.vault, house.roster.keys(), Shown::Withheld, Shown::Withheld);
        house.roster.choose(&id, |identity| *identity = withheld);
        assert_eq!(feed.waiting(), Some(Err(Missed::Some)), "it had the name in it");
        let told = read(&feed.waiting().unwrap().unwrap());
        let nothing = serde_json::json!({"status": "withheld"});
        assert_eq!((&told["kind"], &told["participant"]["name"]), (&"updated".into(), &nothing));
        assert_eq!(told["participant"]["number"], nothing);
        house.roster.update(&id, Kind::Updated, |p| p.muted = false);
        assert!(!feed.waiting().unwrap().unwrap().contains("jwe"), "nothing brings it back");
        assert!(!house.roster.snapshot(&host).contains("jwe"));

        // But themselves.
        let shared = ada(&house.vault, house.roster.keys(), Shown::Shared, Shown::Shared);
        house.roster.choose(&id, |identity| *identity = shared);
        let told = read(&feed.waiting().unwrap().unwrap());
        assert_eq!(key.open(told["participant"]["name"]["jwe"].as_str().unwrap()).unwrap(), "Ada Example");
    }

    #[test]
    fn a_participant_sees_who_saw_them_and_never_the_values() {
        let mut house = House::new();
        let id = house.join(Shown::Shared, Shown::Shared);
        let other = house.join(Shown::Shared, Shown::Shared);
        let me = |house: &House| read(&house.roster.me(&id).unwrap());
        assert_eq!(me(&house)["seen_by"], serde_json::json!([]));
        for role in [ViewerRole::Host, ViewerRole::Operator, ViewerRole::Auditor] {
            let (viewer, _) = viewer(&house.vault, role);
            let viewer = Arc::new(viewer);
            house.roster.snapshot(&viewer);
        }
        let seen = me(&house);
        let by: Vec<_> =
            seen["seen_by"].as_array().unwrap().iter().map(|r| (&r["role"], &r["attributes"])).collect();
        let all = serde_json::json!(["name", "number", "profile"]);
        assert_eq!(
            by,
            [(&"host".into(), &all), (&"operator".into(), &serde_json::json!(["name", "number"]))]
        );
        assert_eq!(seen["seen_by"][1]["masked"], serde_json::json!(["number"]));
        assert_eq!(
            (&seen["participant"]["name"], &seen["participant"]["id"]),
            (&serde_json::json!({"status": "shared"}), &id.as_str().into())
        );
        assert!(!seen.to_string().contains("jwe") && !seen.to_string().contains(&other), "{seen}");
        for _ in 0..RECEIPTS + 5 {
            let (host, _) = viewer(&house.vault, ViewerRole::Host);
            house.roster.snapshot(&Arc::new(host));
        }
        assert_eq!(me(&house)["seen_by"].as_array().unwrap().len(), RECEIPTS, "bounded");
        house.roster.leave(&id);
        assert!(house.roster.me(&id).is_none());
    }

    #[test]
    fn a_guest_sees_pseudonyms_who_speaks_and_times_to_the_minute_only() {
        let mut house = House::new();
        let id = house.join(Shown::Shared, Shown::Withheld);
        let guest = Arc::new(Viewer::guest("t_2".into()));
        let (snapshot, mut feed) = house.roster.subscribe(&guest);
        let row = read(&snapshot)["participants"][0].clone();
        assert!(row["joined_at"].as_str().unwrap().ends_with(":00Z"), "{row}");
        assert_eq!(
            (&row["name"], &row["pseudonym"]),
            (&serde_json::json!({"status": "withheld"}), &"Guest 1".into())
        );
        let begun = Instant::now();
        let mut say = |house: &mut House, speaking: bool, after: u64| {
            house.roster.update(&id, Kind::Speaking, |p| (p.speaking, p.level) = (speaking, -20));
            house.roster.update(&id, Kind::Updated, |p| {
                p.quality = Some(Quality { mos: 4.0, loss: after as f32, jitter: 1.0 })
            });
            house.roster.tell_roughly(begun + Duration::from_millis(after));
            let told: Vec<_> =
                std::iter::from_fn(|| feed.waiting().map(Result::unwrap)).map(|t| read(&t)).collect();
            told
        };
        let told = say(&mut house, true, 0);
        assert_eq!(told.len(), 1, "{told:?}");
        let event = &told[0];
        assert_eq!((&event["kind"], &event["participant"]["speaking"]), (&"speaking".into(), &true.into()));
        assert_eq!(
            (&event["participant"]["level"], &event["participant"]["quality"]),
            (&(-127).into(), &Value::Null)
        );
        assert!(
            event["at"].as_str().unwrap().ends_with(":00Z")
                && event["seq"].as_u64() > read(&snapshot)["seq"].as_u64()
        );
        assert!(
            say(&mut house, false, 500).is_empty() && say(&mut house, true, 1500).is_empty(),
            "only now and then"
        );
        assert!(say(&mut house, true, 2100).is_empty(), "and only what changed");
        assert_eq!(say(&mut house, false, 4200).len(), 1);
        let (_, mut again) = house.roster.subscribe(&guest);
        house.roster.update(&id, Kind::Updated, |p| p.muted = true);
        assert!(read(&again.waiting().unwrap().unwrap())["participant"]["muted"] == true);
    }

    #[test]
    fn who_listens_without_being_seen_is_seen_by_auditors_only_and_leaves_no_gap() {
        let mut house = House::new();
        let host = house.keyless();
        let auditor =
            Arc::new(Viewer::new("t_3".into(), ViewerRole::Auditor, ViewerRole::Auditor.sight(), None));
        let guest = Arc::new(Viewer::guest("t_2".into()));
        let first = house.join(Shown::Absent, Shown::Absent);
        let mut feeds = [&host, &guest, &auditor].map(|viewer| house.roster.subscribe(viewer).1);
        let identity = ada(&house.vault, house.roster.keys(), Shown::Absent, Shown::Absent);
        let hidden = house.roster.listen(identity);
        house.roster.update(&hidden, Kind::Updated, |p| p.state = State::Live);
        let list = |house: &mut House, viewer: &Arc<Viewer>| {
            let snapshot = read(&house.roster.snapshot(viewer));
            let rows = snapshot["participants"].as_array().unwrap().clone();
            let names: Vec<_> = rows.iter().map(|r| r["pseudonym"].as_str().unwrap().to_owned()).collect();
            (names, snapshot["conference"]["participants"].as_u64().unwrap())
        };
        assert_eq!(list(&mut house, &auditor), (vec!["Guest 1".into(), "Hidden listener 1".into()], 1));
        for viewer in [&host, &guest] {
            assert_eq!(list(&mut house, viewer), (vec!["Guest 1".into()], 1));
        }
        house.roster.leave(&hidden);
        let second = house.join(Shown::Absent, Shown::Absent);
        house.roster.update(&first, Kind::Updated, |p| p.muted = true);
        let mut told = |n: usize| -> Vec<Value> {
            std::iter::from_fn(|| feeds[n].waiting().map(Result::unwrap)).map(|t| read(&t)).collect()
        };
        for n in [0, 1] {
            let events = told(n);
            let seqs: Vec<_> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
            assert_eq!(seqs, [2, 3], "{events:?}");
            assert_eq!(events[0]["participant"]["pseudonym"], "Guest 2");
        }
        let auditors = told(2);
        assert_eq!(auditors.len(), 5, "{auditors:?}");
        assert_eq!(
            (&auditors[0]["participant"]["hidden"], &auditors[0]["participant"]["role"]),
            (&true.into(), &"listener".into())
        );
        assert_eq!(house.roster.len(), 2);
        house.roster.leave(&second);
    }

    #[test]
    fn each_viewers_seq_grows_whoever_else_is_told_more() {
        let mut house = House::new();
        let id = house.join(Shown::Absent, Shown::Absent);
        let (guest, host) = (Arc::new(Viewer::guest("t_2".into())), house.keyless());
        let mut last = 0;
        for round in 0..5u64 {
            let (snapshot, mut feed) = house.roster.subscribe(&host);
            let (_, _guests) = house.roster.subscribe(&guest);
            house.roster.update(&id, Kind::Speaking, |p| p.speaking = round % 2 == 0);
            house.roster.tell_roughly(Instant::now() + Duration::from_secs(10 * round));
            let seqs =
                [Ok(snapshot), feed.waiting().unwrap()].map(|t| read(&t.unwrap())["seq"].as_u64().unwrap());
            assert!(seqs[0] >= last && seqs[1] == seqs[0] + 1, "{seqs:?} after {last}");
            last = seqs[1];
        }
    }

    #[test]
    fn viewers_who_look_no_more_are_forgotten() {
        let mut house = House::new();
        let viewers: Vec<_> = (0..50).map(|_| house.keyless()).collect();
        for viewer in &viewers {
            drop(house.roster.subscribe(viewer));
        }
        house.join(Shown::Absent, Shown::Absent);
        assert_eq!((house.roster.views.len(), house.roster.watchers()), (0, 0));
    }

    #[test]
    fn times_are_utc_to_the_millisecond() {
        let now = now();
        assert!(now.ends_with('Z') && now.len() <= "2026-01-01T00:00:00.000Z".len(), "{now}");
    }
}
