//! What was disclosed to whom: one line of JSON each, without the value, in `audit.jsonl` of the data folder.
//!
//! A thread of its own writes, so that no call waits for a disk. When it is too far behind, [`Audit::record`] says so, and what
//! cannot be recorded does not happen.

use serde::Serialize;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

/// Events that may wait to be written.
const BEHIND: usize = 16_384;
/// After this it is tried again to write.
const AGAIN: Duration = Duration::from_secs(1);

/// One disclosure of a participant's values: a line of the audit, and the participant's own receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// When (RFC 3339, UTC).
    pub at: String,
    /// The viewer, as the audit names them.
    pub viewer: String,
    /// Their role.
    pub role: &'static str,
    /// Which values.
    pub attributes: Vec<&'static str>,
    /// Which of them only in part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<&'static str>,
}

/// Something that somebody did or saw.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A viewer was shown a participant's values.
    Disclosed {
        /// When, to whom, and which values.
        #[serde(flatten)]
        receipt: Receipt,
        /// The conference.
        conference: String,
        /// The participant.
        participant: String,
        /// Their pseudonym.
        pseudonym: String,
    },
    /// A participant chose what is shown of them.
    Chosen {
        /// When (RFC 3339, UTC).
        at: String,
        /// The conference.
        conference: String,
        /// The participant.
        participant: String,
        /// Their pseudonym.
        pseudonym: String,
        /// How: `code` or `link`.
        by: &'static str,
        /// What is withheld now, of what they named.
        withheld: Vec<&'static str>,
        /// What is shared now, of what they named.
        shared: Vec<&'static str>,
    },
    /// Somebody was invited to come by their browser.
    Invited {
        /// When (RFC 3339, UTC).
        at: String,
        /// By whom.
        by: String,
        /// The conference.
        conference: String,
        /// The participant that they will be.
        participant: String,
    },
    /// Somebody signed in.
    SignedIn {
        /// When (RFC 3339, UTC).
        at: String,
        /// With which account.
        account: String,
        /// Its role.
        role: &'static str,
        /// How the audit names them from then on.
        viewer: String,
    },
    /// Somebody steered a meeting, or took part in it otherwise than before.
    Controlled {
        /// When (RFC 3339, UTC).
        at: String,
        /// Who: a token's viewer, or a participant.
        by: String,
        /// Their role.
        role: &'static str,
        /// The conference.
        conference: String,
        /// What they did.
        control: &'static str,
        /// With whom, where it was with one.
        #[serde(skip_serializing_if = "Option::is_none")]
        participant: Option<String>,
        /// Their pseudonym.
        #[serde(skip_serializing_if = "Option::is_none")]
        pseudonym: Option<String>,
    },
    /// Somebody guesses a conference's PINs.
    PinsGuessed {
        /// When (RFC 3339, UTC).
        at: String,
        /// The conference.
        conference: String,
        /// The trunk by which the last of these calls came.
        trunk: String,
    },
    /// Somebody asks to read what a participant withholds.
    LegalAsked {
        /// When (RFC 3339, UTC).
        at: String,
        /// The request.
        request: String,
        /// Who.
        by: String,
        /// Their role.
        role: &'static str,
        /// The conference.
        conference: String,
        /// The participant.
        participant: String,
        /// Why, as they say it.
        purpose: String,
    },
    /// Somebody else approved it.
    LegalApproved {
        /// When (RFC 3339, UTC).
        at: String,
        /// The request.
        request: String,
        /// Who.
        by: String,
        /// Their role.
        role: &'static str,
    },
    /// Who asked fetched the values, sealed for the key outside.
    LegalRead {
        /// When (RFC 3339, UTC).
        at: String,
        /// The request.
        request: String,
        /// Who.
        by: String,
        /// The participant's pseudonym.
        pseudonym: String,
        /// Which values there were.
        attributes: Vec<&'static str>,
    },
    /// Somebody may listen without being seen.
    MonitorAllowed {
        /// When (RFC 3339, UTC).
        at: String,
        /// The permission.
        monitor: String,
        /// Who.
        by: String,
        /// The conference.
        conference: String,
        /// Why, as they say it.
        purpose: String,
    },
    /// They listen.
    MonitorBegan {
        /// When (RFC 3339, UTC).
        at: String,
        /// The permission.
        monitor: String,
        /// The conference.
        conference: String,
    },
    /// They listen no more.
    MonitorEnded {
        /// When (RFC 3339, UTC).
        at: String,
        /// The permission.
        monitor: String,
        /// The conference.
        conference: String,
    },
    /// Somebody had a person called into a conference.
    Dialled {
        /// When (RFC 3339, UTC).
        at: String,
        /// Who: a token's viewer, or the participant whose telephone transferred them.
        by: String,
        /// The conference.
        conference: String,
        /// Who is called.
        participant: String,
        /// Their pseudonym.
        pseudonym: String,
    },
    /// A viewer registered a key.
    KeyRegistered {
        /// When (RFC 3339, UTC).
        at: String,
        /// The viewer.
        viewer: String,
        /// Their role.
        role: &'static str,
    },
    /// A viewer may see nothing any more.
    KeyEnded {
        /// When (RFC 3339, UTC).
        at: String,
        /// The viewer.
        viewer: String,
        /// Why: `deleted`, `expired`, `replaced` or `revoked`.
        why: &'static str,
    },
}

/// It cannot be recorded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit takes nothing now")]
pub struct NotRecorded;

/// The way to the audit. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    events: SyncSender<Event>,
    failed: Arc<AtomicU64>,
}

impl Audit {
    /// Opens the audit in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join("audit.jsonl"))?;
        let (events, waiting) = sync_channel(BEHIND);
        let failed = Arc::new(AtomicU64::new(0));
        let count = failed.clone();
        std::thread::Builder::new().name("audit".into()).spawn(move || write(file, &waiting, &count))?;
        Ok(Self { events, failed })
    }

    /// Records an event.
    ///
    /// # Errors
    /// [`NotRecorded`]: what it tells of must not happen.
    pub fn record(&self, event: Event) -> Result<(), NotRecorded> {
        self.events.try_send(event).map_err(|_| {
            self.failed.fetch_add(1, Ordering::Relaxed);
            NotRecorded
        })
    }

    /// Events that were refused, and attempts to write that failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Writes until the last [`Audit`] is gone. Events that come together are written together.
fn write(mut file: File, waiting: &Receiver<Event>, failed: &AtomicU64) {
    let mut lines = Vec::new();
    while let Ok(first) = waiting.recv() {
        let mut next = Ok(first);
        let mut events = 0;
        while let Ok(event) = next {
            // Strings and words always serialise.
            let _ = serde_json::to_writer(&mut lines, &event);
            lines.push(b'\n');
            events += 1;
            next = if events < 1024 { waiting.try_recv() } else { Err(TryRecvError::Empty) };
        }
        // A full disk: it is tried again until it is written. Meanwhile the queue fills, and nothing further is disclosed.
        while let Err(e) = file.write_all(&lines) {
            failed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = %e, events, "the audit cannot be written");
            std::thread::sleep(AGAIN);
            // What was written of it may end within a line.
            lines.insert(0, b'\n');
        }
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Event {
        Event::KeyEnded { at: String::new(), viewer: format!("k_{n}"), why: "deleted" }
    }

    #[test]
    fn what_was_recorded_is_written_in_order() {
        let folder = std::env::temp_dir().join(format!("sotto-audit-{:016x}", rand::random::<u64>()));
        let audit = Audit::open(&folder).unwrap();
        (0..3000).for_each(|n| audit.record(event(n)).unwrap());
        let lines = loop {
            let text = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
            if text.lines().count() == 3000 && text.ends_with('\n') {
                break text;
            }
            std::thread::yield_now();
        };
        for (n, line) in lines.lines().enumerate() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&value["event"], &value["viewer"]), (&"key_ended".into(), &format!("k_{n}").into()));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_audit_that_is_behind_says_so() {
        let (events, waiting) = sync_channel(2);
        let audit = Audit { events, failed: Arc::default() };
        assert_eq!((audit.record(event(1)), audit.record(event(2))), (Ok(()), Ok(())));
        assert_eq!((audit.record(event(3)), audit.failed()), (Err(NotRecorded), 1));
        drop(waiting);
        assert_eq!(audit.record(event(4)), Err(NotRecorded), "nor when its thread is gone");
    }
}
