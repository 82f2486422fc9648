//! Calls that hosts and operators ask for: how many there may be, and what became of each.

use crate::config;
use serde::Serialize;
use sip_stack::Cause;
use sip_stack::message::NotDialled;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Why nobody is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The number does not open, or is none in E.164 form.
    #[error("no number in E.164 form")]
    NoNumber,
    /// The site's rules do not allow it.
    #[error("the site allows no calls to this number")]
    NotAllowed,
    /// The conference had its calls for today.
    #[error("the conference has had its calls for today")]
    ConferenceCap,
    /// The installation had its calls for today.
    #[error("the installation has had its calls for today")]
    DayCap,
    /// No trunk has an address now.
    #[error("no trunk can be reached now")]
    NoTrunk,
    /// The conference is full.
    #[error("the conference is full")]
    Full,
    /// No port for its audio, or the house is being closed.
    #[error("no call can be made now")]
    Busy,
    /// The audit does not take it.
    #[error("it could not be recorded")]
    NotRecorded,
}

impl From<NotDialled> for DialError {
    fn from(e: NotDialled) -> Self {
        if e == NotDialled::NotAllowed { Self::NotAllowed } else { Self::NoNumber }
    }
}

/// What became of a call that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// They talk to somebody.
    Busy,
    /// It rang, and nobody answered.
    NoAnswer,
    /// They, or who answers for them, did not want it.
    Declined,
    /// There is no such number.
    NoSuchNumber,
    /// No trunk took it.
    Failed,
}

impl Outcome {
    /// From how the last try ended.
    pub fn of(cause: Cause) -> Self {
        match cause {
            Cause::Refused(486 | 600) => Self::Busy,
            Cause::Cancelled | Cause::Local | Cause::Refused(408 | 480 | 487) => Self::NoAnswer,
            Cause::Refused(404 | 410 | 484 | 604) => Self::NoSuchNumber,
            Cause::Refused(403 | 603 | 607 | 608 | 433) => Self::Declined,
            _ => Self::Failed,
        }
    }

    /// As a status, for who sent us to make the call (RFC 3515 §2.4.5).
    pub fn status(self) -> u16 {
        match self {
            Self::Busy => 486,
            Self::NoAnswer => 480,
            Self::Declined => 603,
            Self::NoSuchNumber => 404,
            Self::Failed => 503,
        }
    }
}

/// Whether another trunk may do better: nothing came, or what came is about the trunk and not about who is called.
pub fn another_may_do(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::TimedOut | Cause::OverLimit | Cause::Refused(401 | 407 | 408 | 500 | 502..=505 | 513 | 580)
    )
}

/// Counts calls against their caps.
#[derive(Debug)]
pub struct Dialler {
    per_conference: usize,
    per_day: usize,
    /// Without any response after this the next way is tried.
    pub silence: Duration,
    /// A call may ring so long.
    pub ring: Duration,
    /// Redirections that are followed.
    pub redirects: u8,
    today: Mutex<Today>,
    stopped: AtomicBool,
    /// Calls begun.
    pub dialled: AtomicU64,
    /// Calls that rules or caps did not allow.
    pub refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Today {
    day: u64,
    calls: usize,
    by_conference: HashMap<String, usize>,
}

impl Dialler {
    /// From the configuration.
    pub fn new(config: &config::Dial) -> Self {
        let seconds = |n: &toml::Spanned<usize>| Duration::from_secs(*n.get_ref() as u64);
        Self {
            per_conference: *config.per_conference.get_ref(),
            per_day: *config.per_day.get_ref(),
            silence: seconds(&config.silence),
            ring: seconds(&config.ring),
            redirects: *config.redirects.get_ref() as u8,
            today: Mutex::default(),
            stopped: AtomicBool::new(false),
            dialled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// No more calls: the house is being closed.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Counts a call of a conference. Days are those of UTC.
    ///
    /// # Errors
    /// [`DialError::ConferenceCap`], [`DialError::DayCap`], [`DialError::Busy`] after [`Self::stop`].
    pub fn count(&self, at: SystemTime, conference: &str) -> Result<(), DialError> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(DialError::Busy);
        }
        let day = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400);
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is set back gives no second helping.
        if day > today.day {
            *today = Today { day, ..Today::default() };
        }
        let of_conference = today.by_conference.get(conference).copied().unwrap_or(0);
        let refused = match () {
            () if today.calls >= self.per_day => Some(DialError::DayCap),
            () if of_conference >= self.per_conference => Some(DialError::ConferenceCap),
            () => None,
        };
        if let Some(e) = refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(e);
        }
        today.calls += 1;
        today.by_conference.insert(conference.to_owned(), of_conference + 1);
        self.dialled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_per_conference_and_per_day_and_end_with_the_day() {
        let spanned = |n| toml::Spanned::new(0..0, n);
        let config =
            config::Dial { per_conference: spanned(2), per_day: spanned(3), ..config::Dial::default() };
        let dialler = Dialler::new(&config);
        let at = |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400 + hours * 3600);
        assert_eq!(dialler.count(at(1), "a"), Ok(()));
        assert_eq!(dialler.count(at(2), "a"), Ok(()));
        assert_eq!(dialler.count(at(3), "a"), Err(DialError::ConferenceCap));
        assert_eq!(dialler.count(at(4), "b"), Ok(()));
        assert_eq!(dialler.count(at(23), "b"), Err(DialError::DayCap));
        assert_eq!(dialler.count(at(24), "a"), Ok(()), "a new day");
        assert_eq!(dialler.count(at(5), "a"), Ok(()), "the clock was set back: the same day's count goes on");
        assert_eq!(dialler.count(at(5), "a"), Err(DialError::ConferenceCap));
        assert_eq!(dialler.refused.load(Ordering::Relaxed), 3);
        dialler.stop();
        assert_eq!(dialler.count(at(48), "c"), Err(DialError::Busy), "the house is being closed");
    }

    #[test]
    fn nothing_is_tried_elsewhere_that_the_called_one_decided() {
        for status in [486, 600, 603, 404, 480, 487] {
            assert!(!another_may_do(Cause::Refused(status)), "{status}");
        }
        assert!(another_may_do(Cause::TimedOut) && another_may_do(Cause::Refused(503)));
        assert!(!another_may_do(Cause::NotMade) && !another_may_do(Cause::Cancelled));
    }
}
