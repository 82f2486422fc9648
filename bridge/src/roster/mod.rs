//! The live list of one conference and its feeds: snapshots and events with a growing `seq`.
//!
//! A participant is a pseudonym; what is known of the caller lies sealed beside the row, and [`crate::disclosure`] alone says what
//! of it a viewer sees. Each viewer has a feed of their own, which all their sockets share.

mod attendance;
mod package;
mod row;
mod view;

pub use attendance::Keeping;
use attendance::Register;
pub use package::Package;
use row::Row;
pub use row::{Course, Hears, Kind, Participant, Quality, Sound, State, Summary, Verified};
pub use view::{Follow, Missed, Text};
use view::{Me, Message, SeenRow, View, write};

use crate::audit::{self, Audit, Receipt};
use crate::dial::Outcome;
use crate::disclosure::{self, Identity, Viewer};
use crate::meeting::Role;
use std::borrow::Cow;
use std::collections::VecDeque;
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

/// See the module's text.
#[derive(Debug)]
pub struct Roster {
    conference: String,
    capacity: usize,
    started_at: String,
    rows: Vec<Row>,
    seq: u64,
    /// Changes of who is there, in which state and whether muted.
    changes: u64,
    guests: u64,
    /// How who comes is heard.
    usual: Sound,
    /// Who listened without being seen: counted apart, so that no number among the guests is missing.
    listeners: u64,
    views: Vec<View>,
    keys: Keyring,
    audit: Audit,
    /// How often somebody withheld something: what waits in a feed since before is not sent any more.
    withheld: Arc<AtomicU64>,
    /// When who sees only roughly was last told who speaks.
    told_roughly: Option<Instant>,
    /// When somebody was last found guessing PINs.
    guessed_at: Option<String>,
    course: Course,
    register: Register,
}

impl Roster {
    /// An empty roster. `keys` is the conference's: what callers bring is sealed under it.
    pub fn new(conference: String, capacity: usize, usual: Sound, keys: Keyring, audit: Audit) -> Self {
        Self {
            conference,
            capacity,
            started_at: now(),
            rows: Vec::new(),
            seq: 0,
            changes: 0,
            guests: 0,
            usual,
            listeners: 0,
            views: Vec::new(),
            keys,
            audit,
            withheld: Arc::default(),
            told_roughly: None,
            guessed_at: None,
            course: Course::default(),
            register: Register::default(),
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
        write(view, Kind::Snapshot, Some(self.summary_for(&view.viewer)), None, Some(seen))
    }

    /// What a participant is told of themselves: their row, and who was shown what of it. `None`: no such row.
    pub fn me(&self, id: &str) -> Option<Text> {
        let row = self.rows.iter().find(|r| r.public.id == id)?;
        let seen = disclosure::own(&row.identity);
        let participant = SeenRow { public: Cow::Borrowed(&row.public), seen: &seen };
        let Keeping { fields, attendance } = &self.register.keeping;
        let noted = fields.iter().zip(&row.identity.fields);
        let noted = noted.filter(|(_, value)| value.status() == sip_stack::Shown::Shared);
        let me = Me {
            conference: &self.conference,
            participant,
            seen_by: &row.receipts,
            noted: noted.map(|(label, _)| label.as_str()).collect(),
            attendance: *attendance,
        };
        // Strings, numbers and enums always serialise.
        Some(serde_json::to_string(&me).unwrap_or_default().into())
    }

    /// The conference in short.
    pub fn summary(&self, state: &'static str) -> Summary {
        Summary {
            id: self.conference.clone(),
            participants: self.len(),
            waiting: self.rows.iter().filter(|r| r.public.lobby).count(),
            course: Course { title: None, ..self.course.clone() },
            capacity: self.capacity,
            state,
            started_at: self.started_at.clone(),
            pins_guessed_at: None,
            fields: Arc::default(),
            attendance: self.register.keeping.attendance,
        }
    }

    /// The same as a viewer sees it.
    pub fn summary_for(&self, viewer: &Viewer) -> Summary {
        let pins_guessed_at = self.guessed_at.clone().filter(|_| viewer.steers());
        let mut summary = Summary { pins_guessed_at, ..self.summary("open") };
        if viewer.sees_fields() {
            summary.fields = self.register.keeping.fields.clone();
        }
        summary.course.title = self.course.title.clone().filter(|_| viewer.takes_part());
        summary
    }

    /// How the meeting is run from now on.
    pub fn runs(&mut self, course: Course) {
        if self.course != course {
            self.course = course;
            self.tell_of_conference(|_| true);
        }
    }

    /// Tells those who steer the conference that somebody guesses its PINs.
    pub fn guessed(&mut self) {
        self.guessed_at = Some(now());
        self.tell_of_conference(Viewer::steers);
    }

    /// Tells these viewers how the conference is.
    fn tell_of_conference(&mut self, of: impl Fn(&Viewer) -> bool) {
        let mut views = std::mem::take(&mut self.views);
        for view in views.iter_mut().filter(|view| of(&view.viewer)) {
            view.seq += 1;
            let text = write(view, Kind::Conference, Some(self.summary_for(&view.viewer)), None, None);
            // Without watchers there is nobody to tell.
            let _ = view.feed.send(self.message(text));
        }
        self.views = views;
    }

    /// Rows of those who are in the meeting.
    pub fn len(&self) -> usize {
        self.rows.iter().filter(|r| !r.public.hidden && !r.public.lobby).count()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a row and returns its id.
    pub fn join(&mut self, identity: Identity) -> String {
        self.join_as(random_id("p_"), identity)
    }

    /// Adds a row whose id was given before, and returns it.
    pub fn join_as(&mut self, id: String, identity: Identity) -> String {
        self.guests += 1;
        self.add(id, format!("Guest {}", self.guests), Role::Speaker, false, identity)
    }

    /// Adds a row of somebody who listens without being seen, and returns its id.
    pub fn listen(&mut self, identity: Identity) -> String {
        self.listeners += 1;
        let pseudonym = format!("Hidden listener {}", self.listeners);
        self.add(random_id("p_"), pseudonym, Role::Listener, true, identity)
    }

    fn add(&mut self, id: String, pseudonym: String, role: Role, hidden: bool, identity: Identity) -> String {
        let public = Participant {
            id,
            pseudonym,
            role,
            state: State::Joining,
            muted: false,
            muted_by: None,
            deaf: false,
            lobby: false,
            breakout: None,
            line: None,
            green: false,
            floor: false,
            sound: self.usual,
            speaking: false,
            hand: false,
            hand_raised_at: None,
            level: -127,
            quality: None,
            joined_at: now(),
            verified: None,
            outcome: None,
            hidden,
        };
        let id = public.id.clone();
        let mut row = Row { public, identity, receipts: VecDeque::new() };
        self.changes += 1;
        self.tell(Kind::Joined, &mut row, None);
        self.rows.push(row);
        id
    }

    /// What is proved of a caller's number.
    pub fn verified(&mut self, id: &str, verified: Verified) {
        self.update(id, Kind::Updated, |p| p.verified = Some(verified));
    }

    /// Changes a row; an event follows only when something did change. False: no such row.
    pub fn update(&mut self, id: &str, kind: Kind, change: impl FnOnce(&mut Participant)) -> bool {
        let Some(place) = self.rows.iter().position(|r| r.public.id == id) else { return false };
        let before = self.rows[place].public.clone();
        change(&mut self.rows[place].public);
        let after = &self.rows[place].public;
        self.changes += u64::from((after.state, after.muted) != (before.state, before.muted));
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
        Self::withhold_fields(&mut self.rows[place].identity);
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
        self.leave_with(id, None);
    }

    /// Takes a row out, and tells what became of the call to them.
    pub fn leave_with(&mut self, id: &str, outcome: Option<Outcome>) {
        let Some(place) = self.rows.iter().position(|r| r.public.id == id) else { return };
        let mut row = self.rows.remove(place);
        self.changes += 1;
        row.public.state = State::Left;
        row.public.outcome = outcome;
        row.public.speaking = false;
        self.tell(Kind::Left, &mut row, None);
        for view in &mut self.views {
            view.seen.remove(id);
            view.speaking.remove(id);
        }
        self.register.keep(row);
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
mod tests;
