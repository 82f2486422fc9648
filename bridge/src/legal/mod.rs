//! Reading what a caller withholds, because a law demands it: one person asks with a purpose, another approves, and for a short time the values can
//! be fetched, sealed for a key that is kept outside of the bridge. Each step is audited. Without such a key in the configuration there
//! is no way to it at all.

use crate::audit::{Audit, Event, NotRecorded};
use crate::roster::{now, random_id};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vault::Recipient;

/// A request that nobody approves is over after this.
pub const WAITING: Duration = Duration::from_secs(15 * 60);
/// What was approved can be fetched for this long.
pub const OPEN: Duration = Duration::from_secs(15 * 60);
/// Requests at once.
const MOST: usize = 64;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has approved it.
    Waiting,
    /// It may be fetched.
    Approved,
}

/// Somebody who asks or approves: a token, as the audit names it, and its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The token.
    pub id: String,
    /// Its role.
    pub role: &'static str,
}

/// Whose values are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Conference.
    pub conference: String,
    /// Participant.
    pub participant: String,
}

#[derive(Debug)]
struct Request {
    by: Person,
    subject: Subject,
    until: Instant,
    state: State,
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LegalError {
    /// The installation has no key outside.
    #[error("this installation has no compliance key")]
    NoKey,
    /// The purpose is none.
    #[error("a purpose has 3 to 64 letters, digits, spaces or ./:_-")]
    Purpose,
    /// There is no such request, or no longer, or it is somebody else's.
    #[error("no such request")]
    NoRequest,
    /// Who asked cannot approve.
    #[error("somebody else has to approve it")]
    SamePerson,
    /// Nobody has approved it yet.
    #[error("it is not approved yet")]
    NotApproved,
    /// The participant has left: nothing of theirs is there any more.
    #[error("no such participant")]
    NoParticipant,
    /// As many as may be are open.
    #[error("{MOST} requests are open")]
    TooMany,
    /// The audit takes nothing.
    #[error(transparent)]
    NotRecorded(#[from] NotRecorded),
}

/// All requests.
#[derive(Debug)]
pub struct Legal {
    recipient: Option<Recipient>,
    requests: Mutex<HashMap<String, Request>>,
}

impl Legal {
    /// None yet. `recipient` has the key outside.
    pub fn new(recipient: Option<Recipient>) -> Self {
        Self { recipient, requests: Mutex::default() }
    }

    fn requests(&self, at: Instant) -> MutexGuard<'_, HashMap<String, Request>> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|_, r| r.until > at);
        requests
    }

    /// Whose key what is approved is sealed for.
    ///
    /// # Errors
    /// [`LegalError::NoKey`].
    pub fn recipient(&self) -> Result<&Recipient, LegalError> {
        self.recipient.as_ref().ok_or(LegalError::NoKey)
    }

    /// Asks. `purpose` goes into the audit: the number of a case, say, and never a name.
    ///
    /// # Errors
    /// [`LegalError`].
    pub fn ask(
        &self,
        audit: &Audit,
        at: Instant,
        by: Person,
        subject: Subject,
        purpose: &str,
    ) -> Result<String, LegalError> {
        self.recipient()?;
        if !is_purpose(purpose) {
            return Err(LegalError::Purpose);
        }
        let mut requests = self.requests(at);
        if requests.len() >= MOST {
            return Err(LegalError::TooMany);
        }
        let id = random_id("l_");
        audit.record(Event::LegalAsked {
            at: now(),
            request: id.clone(),
            by: by.id.clone(),
            role: by.role,
            conference: subject.conference.clone(),
            participant: subject.participant.clone(),
            purpose: purpose.trim().to_owned(),
        })?;
        requests.insert(id.clone(), Request { by, subject, until: at + WAITING, state: State::Waiting });
        Ok(id)
    }

    /// Approves what somebody else asked.
    ///
    /// # Errors
    /// [`LegalError`].
    pub fn approve(&self, audit: &Audit, at: Instant, by: &Person, id: &str) -> Result<(), LegalError> {
        let mut requests = self.requests(at);
        let request = requests.get_mut(id).ok_or(LegalError::NoRequest)?;
        if request.by.id == by.id {
            return Err(LegalError::SamePerson);
        }
        if request.state == State::Approved {
            return Ok(());
        }
        let (request_id, by) = (id.to_owned(), by.clone());
        audit.record(Event::LegalApproved { at: now(), request: request_id, by: by.id, role: by.role })?;
        (request.state, request.until) = (State::Approved, at + OPEN);
        Ok(())
    }

    /// Who asked looks at what became of it: whose values may be fetched now.
    ///
    /// # Errors
    /// [`LegalError`].
    pub fn fetch(&self, at: Instant, by: &Person, id: &str) -> Result<Subject, LegalError> {
        let requests = self.requests(at);
        let request = requests.get(id).filter(|r| r.by.id == by.id).ok_or(LegalError::NoRequest)?;
        match request.state {
            State::Waiting => Err(LegalError::NotApproved),
            State::Approved => Ok(request.subject.clone()),
        }
    }
}

/// Whether a text can be a purpose in the audit: the number of a case, 3 to 64 of letters, digits, spaces and `./:_-`.
pub fn is_purpose(text: &str) -> bool {
    let right = |b: u8| b.is_ascii_alphanumeric() || b" ./:_-".contains(&b);
    (3..=64).contains(&text.trim().len()) && text.bytes().all(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vault::opener::ViewerSecret;

    fn person(id: &str) -> Person {
        Person { id: id.into(), role: "auditor" }
    }

    fn subject() -> Subject {
        Subject { conference: "confx".into(), participant: "p_1".into() }
    }

    fn house() -> (Legal, Audit, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("sotto-legal-{:016x}", rand::random::<u64>()));
        let recipient = Recipient::new(ViewerSecret::generate().unwrap().public()).unwrap();
        (Legal::new(Some(recipient)), Audit::open(&folder).unwrap(), folder)
    }

    #[test]
    fn it_takes_two_people_a_purpose_and_the_right_time() {
        let ((legal, audit, folder), now) = (house(), Instant::now());
        let (one, two) = (person("t_1"), person("t_2"));
        let id = legal.ask(&audit, now, one.clone(), subject(), "case 17/2026").unwrap();
        assert_eq!(legal.fetch(now, &one, &id), Err(LegalError::NotApproved));
        assert_eq!(legal.approve(&audit, now, &one, &id), Err(LegalError::SamePerson));
        assert_eq!(legal.approve(&audit, now, &two, "l_none"), Err(LegalError::NoRequest));
        legal.approve(&audit, now, &two, &id).unwrap();
        assert_eq!(legal.fetch(now, &two, &id), Err(LegalError::NoRequest), "who approves reads nothing");
        assert_eq!(legal.fetch(now, &one, &id), Ok(subject()));
        legal.approve(&audit, now + OPEN / 2, &two, &id).unwrap();
        assert_eq!(
            legal.fetch(now + OPEN, &one, &id),
            Err(LegalError::NoRequest),
            "once more approved is no longer"
        );
        let late = legal.ask(&audit, now, one.clone(), subject(), "case 18").unwrap();
        assert_eq!(legal.approve(&audit, now + WAITING, &two, &late), Err(LegalError::NoRequest));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_a_key_a_purpose_or_room_nothing_is_asked() {
        let ((legal, audit, folder), now) = (house(), Instant::now());
        let ask = |legal: &Legal, purpose: &str| legal.ask(&audit, now, person("t_1"), subject(), purpose);
        assert_eq!(ask(&Legal::new(None), "case 17"), Err(LegalError::NoKey));
        for purpose in ["", "   ", "x", "a\nb c", "Zoë", &"a".repeat(65)] {
            assert_eq!(ask(&legal, purpose), Err(LegalError::Purpose), "{purpose}");
        }
        (0..MOST).for_each(|_| drop(ask(&legal, "case 17").unwrap()));
        assert_eq!(ask(&legal, "case 17"), Err(LegalError::TooMany));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
