//! Listening without being seen: possible only for a token whose role is `monitor`, with a purpose, by a number that is good for one call within a
//! minute. Each such call's begin and end are audited, and auditors see it in the roster while it lasts. Who listens is not heard.

use crate::audit::{Audit, Event, NotRecorded};
use crate::legal::is_purpose;
use crate::roster::{now, random_id};
use sip_stack::message::LISTEN;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A number is good for this long.
pub const GOOD: Duration = Duration::from_secs(60);
/// Numbers at once.
const MOST: usize = 64;

/// Somebody who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// The number's id, in the audit.
    pub id: String,
    /// Which conference.
    pub conference: String,
}

/// Why there is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The purpose is none.
    #[error("a purpose has 3 to 64 letters, digits, spaces or ./:_-")]
    Purpose,
    /// As many as may be are waiting.
    #[error("{MOST} numbers wait for their call")]
    TooMany,
    /// The audit takes nothing.
    #[error(transparent)]
    NotRecorded(#[from] NotRecorded),
}

/// Numbers that wait for their call.
#[derive(Debug, Default)]
pub struct Monitors {
    waiting: Mutex<HashMap<String, (Monitor, Instant)>>,
}

impl Monitors {
    /// Makes a number: the user part of the URI to call.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn allow(
        &self,
        audit: &Audit,
        at: Instant,
        by: &str,
        conference: &str,
        purpose: &str,
    ) -> Result<String, MonitorError> {
        if !is_purpose(purpose) {
            return Err(MonitorError::Purpose);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, until)| *until > at);
        if waiting.len() >= MOST {
            return Err(MonitorError::TooMany);
        }
        let monitor = Monitor { id: random_id("m_"), conference: conference.to_owned() };
        audit.record(Event::MonitorAllowed {
            at: now(),
            monitor: monitor.id.clone(),
            by: by.to_owned(),
            conference: monitor.conference.clone(),
            purpose: purpose.trim().to_owned(),
        })?;
        let number = format!("{LISTEN}{:032x}", rand::random::<u128>());
        waiting.insert(number.clone(), (monitor, at + GOOD));
        Ok(number)
    }

    /// The call for a number; there is one only.
    pub fn redeem(&self, at: Instant, number: &str) -> Option<Monitor> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(number).filter(|(_, until)| *until > at).map(|(monitor, _)| monitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_good_for_one_call_and_a_minute() {
        let folder = std::env::temp_dir().join(format!("sotto-monitor-{:016x}", rand::random::<u64>()));
        let (audit, monitors, now) = (Audit::open(&folder).unwrap(), Monitors::default(), Instant::now());
        let allow = |at| monitors.allow(&audit, at, "t_1", "confx", "case 17");
        let number = allow(now).unwrap();
        assert!(number.starts_with(LISTEN));
        assert_eq!(monitors.redeem(now, &number).unwrap().conference, "confx");
        assert_eq!(monitors.redeem(now, &number), None, "once");
        let late = allow(now).unwrap();
        assert_eq!(monitors.redeem(now + GOOD, &late), None);
        assert_eq!(monitors.allow(&audit, now, "t_1", "confx", "?"), Err(MonitorError::Purpose));
        (0..MOST).for_each(|_| drop(allow(now).unwrap()));
        assert_eq!(allow(now), Err(MonitorError::TooMany));
        assert!(allow(now + GOOD).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
