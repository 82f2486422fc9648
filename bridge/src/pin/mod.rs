//! PINs: as what somebody may enter a conference, and how often PINs may be guessed.
//!
//! A PIN is held as a keyed hash, under a key in secret pages that lives as long as the process; what a caller enters is hashed and compared
//! with all of a conference's in the same time, whichever it is.

mod guesses;

pub use guesses::{Allowed, Guesses, Try};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use vault::{Index, IndexKey, VaultError};

/// A PIN's digits, at least and at most.
pub const SHORTEST: usize = 4;
/// See [`SHORTEST`].
pub const LONGEST: usize = 12;

/// As what somebody enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrant {
    /// As one of the guests.
    Guest,
    /// As a host.
    Host,
}

/// A conference's PINs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pins {
    guest: Option<Index>,
    host: Option<Index>,
}

impl Pins {
    /// Whether nobody comes in without one.
    pub fn are_asked_for(&self) -> bool {
        self.guest.is_some()
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.guest.is_none() && self.host.is_none()
    }
}

/// What became of a PIN that somebody entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It is right.
    Right(Entrant),
    /// It is wrong.
    Wrong {
        /// The conference's hosts should be told that somebody guesses.
        alarm: bool,
    },
    /// It was not looked at: too many were wrong.
    Refused,
}

/// Knows the house's PINs.
#[derive(Debug)]
pub struct Doors {
    key: IndexKey,
    guesses: Mutex<Guesses>,
}

impl Doors {
    /// With a key of its own.
    ///
    /// # Errors
    /// The vault's, when it has no room for a key.
    pub fn new(vault: &vault::Vault) -> Result<Self, VaultError> {
        Ok(Self { key: vault.index_key()?, guesses: Mutex::default() })
    }

    /// A conference's PINs, from their digits.
    pub fn pins(&self, conference: &str, guest: Option<&str>, host: Option<&str>) -> Pins {
        let hash = |pin: &str| self.hash(conference, pin.as_bytes());
        Pins { guest: guest.map(hash), host: host.map(hash) }
    }

    fn hash(&self, conference: &str, pin: &[u8]) -> Index {
        self.key.secret(conference.as_bytes(), pin)
    }

    /// Tries a PIN, if this may be done now.
    pub fn enter(&self, pins: Pins, of: Try<'_>, pin: &[u8], now: Instant) -> Tried {
        let mut guesses = self.guesses();
        if guesses.may(of, now) != Allowed::Yes {
            return Tried::Refused;
        }
        let entered = self.hash(of.conference, pin);
        let same = |pin: Option<Index>| pin.map_or(Choice::from(0), |pin| pin.ct_eq(&entered));
        let (guest, host) = (same(pins.guest), same(pins.host));
        // A PIN that is both is the host's.
        match u8::conditional_select(&guest.unwrap_u8(), &2, host) {
            2 => Tried::Right(Entrant::Host),
            1 => Tried::Right(Entrant::Guest),
            _ => Tried::Wrong { alarm: guesses.wrong(of, now) },
        }
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Try<'_> = Try { conference: "board", trunk: "carrier", caller: None };

    fn doors() -> Doors {
        Doors::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap()
    }

    #[test]
    fn a_pin_says_who_enters() {
        let (doors, now) = (doors(), Instant::now());
        let pins = doors.pins("board", Some("123456"), Some("987654"));
        assert_eq!(doors.enter(pins, ME, b"123456", now), Tried::Right(Entrant::Guest));
        assert_eq!(doors.enter(pins, ME, b"987654", now), Tried::Right(Entrant::Host));
        for wrong in [&b"12345"[..], b"1234567", b"", b"000000"] {
            assert_eq!(doors.enter(pins, ME, wrong, now), Tried::Wrong { alarm: false });
        }
        let other = Try { conference: "sales", ..ME };
        assert_eq!(doors.enter(pins, other, b"123456", now), Tried::Wrong { alarm: false }, "another's PIN");
        let none = Pins::default();
        assert!(matches!(doors.enter(none, ME, b"", now), Tried::Wrong { .. }), "no PIN is not an empty one");
    }

    #[test]
    fn after_too_many_wrong_ones_the_right_one_does_not_help() {
        let (doors, now) = (doors(), Instant::now());
        let pins = doors.pins("board", Some("123456"), None);
        let wrong = (0..1000).take_while(|_| doors.enter(pins, ME, b"000000", now) != Tried::Refused).count();
        assert!((10..100).contains(&wrong), "{wrong}");
        assert_eq!(doors.enter(pins, ME, b"123456", now), Tried::Refused);
        let later = now + std::time::Duration::from_secs(3600);
        assert_eq!(doors.enter(pins, ME, b"123456", later), Tried::Right(Entrant::Guest));
    }

    #[test]
    fn the_same_pin_of_two_conferences_looks_different() {
        let doors = doors();
        let pins = |conference| doors.pins(conference, Some("123456"), None);
        assert_ne!(pins("a"), pins("b"));
        assert_eq!(pins("a"), pins("a"));
        assert!(!format!("{:?}", pins("a")).contains("123456"));
    }
}
