//! What one viewer sees of a roster, and the feed that carries it to their sockets.

use super::{Kind, Participant, Sound, Summary, now};
use crate::audit::Receipt;
use crate::disclosure::{Seen, Viewer};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;

impl Participant {
    /// As who sees only roughly may see it: without what would tell who it is by when they came or how their line sounds.
    pub(super) fn roughly(&self, speaking: bool) -> Self {
        Self {
            level: -127,
            sound: Sound::default(),
            quality: None,
            verified: None,
            joined_at: to_the_minute(&self.joined_at),
            hand_raised_at: None,
            speaking,
            ..self.clone()
        }
    }
}

/// Cuts a time to its minute: `2026-01-01T00:00:00Z`.
fn to_the_minute(time: &str) -> String {
    time.get(..16).map_or_else(String::new, |minute| format!("{minute}:00Z"))
}

/// A row as one viewer sees it.
#[derive(Serialize)]
pub(super) struct SeenRow<'a> {
    #[serde(flatten)]
    pub(super) public: Cow<'a, Participant>,
    #[serde(flatten)]
    pub(super) seen: &'a Seen,
}

/// What a participant is told of themselves.
#[derive(Serialize)]
pub(super) struct Me<'a> {
    pub(super) conference: &'a str,
    pub(super) participant: SeenRow<'a>,
    /// Newest last.
    pub(super) seen_by: &'a VecDeque<Receipt>,
    /// Which fields an operator has noted of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) noted: Vec<&'a str>,
    /// They stay in a list for the host when they have left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) attendance: bool,
}

#[derive(Serialize)]
pub(super) struct Event<'a> {
    pub(super) seq: u64,
    pub(super) kind: Kind,
    pub(super) at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conference: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) participant: Option<SeenRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) participants: Option<Vec<SeenRow<'a>>>,
}

/// A message's text, serialised once for all sockets of a viewer.
pub type Text = Arc<str>;

/// A message of a feed that waits to be sent, and how often something had been withheld when it was written.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) text: Text,
    pub(super) withheld: u64,
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
    pub(super) feed: broadcast::Receiver<Message>,
    pub(super) withheld: Arc<AtomicU64>,
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

    /// The next message, for who has no key: there are no values in it that somebody could have withheld since. `None`: the conference is
    /// over. What they missed they see by a gap in `seq`.
    pub async fn next_without_values(&mut self) -> Option<Text> {
        loop {
            match self.feed.recv().await {
                Ok(message) => return Some(message.text),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    pub(super) fn fresh(&self, message: Message) -> Result<Text, Missed> {
        if message.withheld == self.withheld.load(Ordering::Acquire) {
            Ok(message.text)
        } else {
            Err(Missed::Some)
        }
    }
}

/// One viewer's feed.
#[derive(Debug)]
pub(super) struct View {
    pub(super) viewer: Arc<Viewer>,
    pub(super) feed: broadcast::Sender<Message>,
    /// What they see of each participant, by id. Disclosed once, and kept while they look.
    pub(super) seen: HashMap<String, Seen>,
    /// Of the last message.
    pub(super) seq: u64,
    /// Who speaks, as far as a viewer who sees only roughly was told.
    pub(super) speaking: HashSet<String>,
}

impl View {
    pub(super) fn new(viewer: &Arc<Viewer>, feed: broadcast::Sender<Message>, seq: u64) -> Self {
        Self { viewer: viewer.clone(), feed, seen: HashMap::new(), seq, speaking: HashSet::new() }
    }

    pub(super) fn may_know_of(&self, public: &Participant) -> bool {
        !public.hidden || self.viewer.sees_hidden()
    }

    /// A row as this viewer sees it; `None` when nothing of it was noted yet.
    pub(super) fn row<'a>(&'a self, public: &'a Participant) -> Option<SeenRow<'a>> {
        let seen = self.seen.get(&public.id)?;
        let public = if self.viewer.sees_roughly() {
            Cow::Owned(public.roughly(self.speaking.contains(&public.id)))
        } else {
            Cow::Borrowed(public)
        };
        Some(SeenRow { public, seen })
    }

    pub(super) fn now(&self) -> String {
        if self.viewer.sees_roughly() { to_the_minute(&now()) } else { now() }
    }
}

pub(super) fn write(
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
