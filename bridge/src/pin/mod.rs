//! PINs: as what somebody may enter a conference, and how often PINs may be guessed.
//!
//! A PIN is kept as a keyed hash ([`Kept`], HMAC-SHA256 under a key of the ledger's), and held in memory as a hash of that, under a key in secret pages that lives
//! as long as the process; what a caller enters is hashed the same way and compared with all of a conference's in the same time, whichever it is.

mod guesses;

pub use guesses::{Allowed, Guesses, Try};

use ring::hmac;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use vault::{Index, IndexKey, VaultError};

/// A PIN's digits, at least and at most.
pub const SHORTEST: usize = 4;
/// See [`SHORTEST`].
pub const LONGEST: usize = 12;
/// Nobody is led in for longer.
const LED_IN: Duration = Duration::from_secs(3600);

/// As what somebody enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrant {
    /// As one of the guests.
    Guest,
    /// As a host.
    Host,
}

/// A PIN as it is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kept(pub [u8; 32]);

impl Kept {
    /// Its octets.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

/// A conference's PINs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    guest: Option<Index>,
    host: Option<Index>,
    personal: Arc<[Personal]>,
}

/// A PIN for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Personal {
    id: Arc<str>,
    pin: Index,
    entrant: Entrant,
    once: bool,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It is right.
    Right(Entrant),
    /// It is right, and one person's alone; with its id where it is used up by this.
    Personal(Entrant, Option<Arc<str>>),
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
    at_rest: hmac::Key,
    guesses: Mutex<Guesses>,
    /// PINs that are used up, and since when.
    used: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Doors {
    /// With a key of its own; `at_rest` is the one under which PINs are kept.
    ///
    /// # Errors
    /// The vault's, when it has no room for a key.
    pub fn new(vault: &vault::Vault, at_rest: hmac::Key) -> Result<Self, VaultError> {
        Ok(Self { key: vault.index_key()?, at_rest, guesses: Mutex::default(), used: Mutex::default() })
    }

    /// A conference's PIN as it is kept.
    pub fn kept(&self, conference: &str, pin: &str) -> Kept {
        self.keep(conference, pin.as_bytes())
    }

    fn keep(&self, conference: &str, pin: &[u8]) -> Kept {
        let mut context = hmac::Context::with_key(&self.at_rest);
        // No id has a zero in it.
        context.update(conference.as_bytes());
        context.update(&[0]);
        context.update(pin);
        let mut kept = [0; 32];
        kept.copy_from_slice(context.sign().as_ref());
        Kept(kept)
    }

    /// A conference's PINs, from their digits.
    pub fn pins(&self, conference: &str, guest: Option<&str>, host: Option<&str>) -> Pins {
        let hash = |pin: &str| self.hash(conference, self.kept(conference, pin));
        Pins { guest: guest.map(hash), host: host.map(hash), personal: Arc::default() }
    }

    /// The same from how they are kept; and of each for one person its id, as what they enter, and whether it is good once.
    pub fn of_kept(
        &self,
        conference: &str,
        guest: Kept,
        host: Kept,
        personal: impl Iterator<Item = (Arc<str>, Kept, Entrant, bool)>,
    ) -> Pins {
        let hash = |pin| self.hash(conference, pin);
        let of_one = |(id, pin, entrant, once)| Personal { id, pin: hash(pin), entrant, once };
        Pins { guest: Some(hash(guest)), host: Some(hash(host)), personal: personal.map(of_one).collect() }
    }

    fn hash(&self, conference: &str, Kept(pin): Kept) -> Index {
        self.key.secret(conference.as_bytes(), &pin)
    }

    /// Tries a PIN, if this may be done now.
    pub fn enter(&self, pins: &Pins, of: Try<'_>, pin: &[u8], now: Instant) -> Tried {
        let mut guesses = self.guesses();
        if guesses.may(of, now) != Allowed::Yes {
            return Tried::Refused;
        }
        let entered = self.hash(of.conference, self.keep(of.conference, pin));
        let same = |pin: Option<Index>| pin.map_or(Choice::from(0), |pin| pin.ct_eq(&entered));
        let (guest, host) = (same(pins.guest), same(pins.host));
        let mut personal = None;
        for own in pins.personal.iter() {
            if bool::from(own.pin.ct_eq(&entered)) {
                personal = Some(own);
            }
        }
        if let Some(own) = personal {
            let is_new = !own.once || self.used().insert(own.id.clone(), now).is_none();
            if is_new {
                return Tried::Personal(own.entrant, own.once.then(|| own.id.clone()));
            }
        }
        // A PIN that is both is the host's.
        match u8::conditional_select(&guest.unwrap_u8(), &2, host) {
            2 => Tried::Right(Entrant::Host),
            1 => Tried::Right(Entrant::Guest),
            _ => Tried::Wrong { alarm: guesses.wrong(of, now) },
        }
    }

    /// Who had used it up did not come in: it is good again.
    pub fn give_back(&self, id: &str) {
        self.used().remove(id);
    }

    /// Forgets what was used up long ago and is kept nowhere any more: who is being led in just now may still have been told of it.
    pub fn forget_used(&self, now: Instant, is_kept: impl Fn(&str) -> bool) {
        self.used().retain(|id, since| now.saturating_duration_since(*since) < LED_IN || is_kept(id));
    }

    fn used(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
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
        let at_rest = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        Doors::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap(), at_rest).unwrap()
    }

    #[test]
    fn a_pin_says_who_enters() {
        let (doors, now) = (doors(), Instant::now());
        let pins = doors.pins("board", Some("123456"), Some("987654"));
        assert_eq!(doors.enter(&pins, ME, b"123456", now), Tried::Right(Entrant::Guest));
        assert_eq!(doors.enter(&pins, ME, b"987654", now), Tried::Right(Entrant::Host));
        for wrong in [&b"12345"[..], b"1234567", b"", b"000000"] {
            assert_eq!(doors.enter(&pins, ME, wrong, now), Tried::Wrong { alarm: false });
        }
        let other = Try { conference: "sales", ..ME };
        assert_eq!(doors.enter(&pins, other, b"123456", now), Tried::Wrong { alarm: false }, "another's PIN");
        let none = Pins::default();
        assert!(
            matches!(doors.enter(&none, ME, b"", now), Tried::Wrong { .. }),
            "no PIN is not an empty one"
        );
    }

    #[test]
    fn after_too_many_wrong_ones_the_right_one_does_not_help() {
        let (doors, now) = (doors(), Instant::now());
        let pins = doors.pins("board", Some("123456"), None);
        let wrong =
            (0..1000).take_while(|_| doors.enter(&pins, ME, b"000000", now) != Tried::Refused).count();
        assert!((10..100).contains(&wrong), "{wrong}");
        assert_eq!(doors.enter(&pins, ME, b"123456", now), Tried::Refused);
        let later = now + std::time::Duration::from_secs(3600);
        assert_eq!(doors.enter(&pins, ME, b"123456", later), Tried::Right(Entrant::Guest));
    }

    #[test]
    fn a_pin_for_one_person_may_be_good_once() {
        let (doors, now) = (doors(), Instant::now());
        let kept = |pin: &str| doors.kept("board", pin);
        let personal = [
            (Arc::from("n_host"), kept("111111"), Entrant::Host, false),
            (Arc::from("n_once"), kept("222222"), Entrant::Guest, true),
        ];
        let pins = doors.of_kept("board", kept("123456"), kept("987654"), personal.into_iter());
        let enter = |pin: &[u8]| doors.enter(&pins, ME, pin, now);
        assert_eq!(enter(b"123456"), Tried::Right(Entrant::Guest));
        assert_eq!(enter(b"987654"), Tried::Right(Entrant::Host));
        for _ in 0..2 {
            assert_eq!(enter(b"111111"), Tried::Personal(Entrant::Host, None));
        }
        assert_eq!(enter(b"222222"), Tried::Personal(Entrant::Guest, Some("n_once".into())));
        assert!(matches!(enter(b"222222"), Tried::Wrong { .. }), "used up");
        doors.give_back("n_once");
        assert!(matches!(enter(b"222222"), Tried::Personal(..)), "who had it did not come in");
        doors.forget_used(now, |_| false);
        assert!(matches!(enter(b"222222"), Tried::Wrong { .. }), "somebody may still be on their way in");
        doors.forget_used(now + LED_IN, |id| id == "n_once");
        assert!(matches!(enter(b"222222"), Tried::Wrong { .. }), "it was not taken away");
        doors.forget_used(now + LED_IN, |_| false);
        assert!(doors.used().is_empty());
        assert!(pins.are_asked_for() && !format!("{pins:?} {:?}", kept("111111")).contains("111111"));
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
