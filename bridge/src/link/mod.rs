//! Personal links and codes: how a caller comes from the call to a page of their own. Each is good once and for a short time; what it is
//! exchanged for, a session, is good until the call is over.
//!
//! A link comes to the caller in the answer to their INVITE, a code is spoken to them alone: nobody else can open the page, and a host
//! cannot make a link for somebody. Only keyed hashes of links, codes and sessions are kept.

use crate::disclosure::Viewer;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vault::{
    Context, EnvelopeError, FromViewers, Index, IndexKey, IndexMap, Jwe, Keyring, PublicKey, Sealed,
    VaultError, ViewerKey,
};

/// A link is good for this long.
pub const LINK: Duration = Duration::from_secs(3600);
/// An invitation is good for this long.
pub const INVITATION: Duration = Duration::from_secs(24 * 3600);
/// A spoken code is good for this long.
pub const CODE: Duration = Duration::from_secs(300);
/// A session is good for this long, if the call is.
pub const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Digits of a code.
pub const DIGITS: usize = 10;
/// What is over is told from what never was for this long.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Links, codes and sessions at once.
const MOST: usize = 65_536;
/// Codes that may be tried and wrong, all together: so many at once, and one more in each [`REFILL`].
const TRIES: u32 = 20;
const REFILL: Duration = Duration::from_millis(200);

/// A caller, as their own page knows them.
#[derive(Debug)]
pub struct Person {
    /// Their conference.
    pub conference: String,
    /// Their row in its roster.
    pub participant: String,
    /// How they see the others.
    pub viewer: Arc<Viewer>,
    /// They come by an invitation and their browser, not by a call: a session of theirs lasts when they leave.
    pub invited: bool,
    /// Under which they hand in their name.
    key: Mutex<Option<ViewerKey>>,
}

impl Person {
    /// Takes a public key of theirs, in place of the one before: what hands its content key over.
    ///
    /// # Errors
    /// The vault's, or the key's.
    pub fn register(&self, vault: &vault::Vault, public: &PublicKey) -> Result<(String, Jwe), EnvelopeError> {
        let id = crate::roster::random_id("k_");
        let (key, handover) = ViewerKey::new(vault, &id, public)?;
        *self.key() = Some(key);
        Ok((id, handover))
    }

    /// Takes a value that they sealed under that key; `None`: it does not open, or is none.
    pub fn receive<T: FromViewers>(&self, jwe: &str, to: &Keyring, here: Context) -> Option<Sealed<T>> {
        self.key().as_ref()?.receive(jwe, to, here).ok()
    }

    fn key(&self) -> MutexGuard<'_, Option<ViewerKey>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a link, code or session opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There was never such a one, or not lately.
    #[error("no such link or code")]
    Unknown,
    /// It was used before.
    #[error("the link or code was used before")]
    Used,
    /// Its time is over.
    #[error("the link's or code's time is over")]
    Expired,
    /// Its call is over.
    #[error("the call is over")]
    CallOver,
    /// Too many wrong codes were tried.
    #[error("too many wrong codes were tried")]
    TooMany,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Link,
    Code,
    Used,
    Session,
}

#[derive(Debug)]
struct Ticket {
    person: Arc<Person>,
    until: Instant,
    kind: Kind,
}

#[derive(Debug)]
struct Known {
    person: Arc<Person>,
    /// What there is of theirs.
    tickets: Vec<Index>,
}

#[derive(Debug)]
struct Inner {
    tickets: IndexMap<Ticket>,
    persons: HashMap<String, Known>,
    /// Of calls that are over: they make room when there is none.
    over: VecDeque<Index>,
    tries: u32,
    refilled: Instant,
}

/// All links, codes and sessions.
#[derive(Debug)]
pub struct Links {
    key: IndexKey,
    inner: Mutex<Inner>,
}

impl Links {
    /// None yet.
    ///
    /// # Errors
    /// The vault's, when it has no room for a key.
    pub fn new(vault: &vault::Vault, now: Instant) -> Result<Self, VaultError> {
        let inner = Inner {
            tickets: IndexMap::default(),
            persons: HashMap::new(),
            over: VecDeque::new(),
            tries: TRIES,
            refilled: now,
        };
        Ok(Self { key: vault.index_key()?, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `token` a link for a participant. False: there are too many.
    pub fn add_link(&self, now: Instant, conference: &str, participant: &str, token: &str) -> bool {
        self.add(now + LINK, (conference, participant, false), token, Kind::Link)
    }

    /// Invites somebody who comes by their browser: the link's token, and the participant that they will be. `None`: there are too many.
    pub fn invite(&self, now: Instant, conference: &str) -> Option<(String, String)> {
        let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let participant = crate::roster::random_id("p_");
        let added = self.add(now + INVITATION, (conference, &participant, true), &token, Kind::Link);
        added.then_some((token, participant))
    }

    /// Makes a code for a participant. `None`: there are too many.
    pub fn make_code(&self, now: Instant, conference: &str, participant: &str) -> Option<String> {
        let code = format!("{:0width$}", rand::random_range(0..10u64.pow(DIGITS as u32)), width = DIGITS);
        self.add(now + CODE, (conference, participant, false), &code, Kind::Code).then_some(code)
    }

    fn add(
        &self,
        until: Instant,
        (conference, participant, invited): (&str, &str, bool),
        token: &str,
        kind: Kind,
    ) -> bool {
        let index = self.key.token(token.as_bytes());
        let mut inner = self.inner();
        let inner = &mut *inner;
        if !inner.has_room() || inner.tickets.contains_key(&index) {
            return false;
        }
        let known = inner.persons.entry(participant.to_owned()).or_insert_with(|| {
            let viewer = Arc::new(Viewer::guest(crate::roster::random_id("t_")));
            let (conference, participant) = (conference.to_owned(), participant.to_owned());
            let person = Person { conference, participant, viewer, invited, key: Mutex::default() };
            Known { person: Arc::new(person), tickets: Vec::new() }
        });
        // A new one takes the place of the one before.
        let tickets = &mut inner.tickets;
        known.tickets.retain(|old| {
            let replaced = tickets.get(old).is_none_or(|t| t.kind == kind);
            if replaced {
                tickets.remove(old);
            }
            !replaced
        });
        known.tickets.push(index);
        tickets.insert(index, Ticket { person: known.person.clone(), until, kind });
        true
    }

    /// Exchanges a link or code for a session's token.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn redeem(&self, now: Instant, token: &str) -> Result<(Arc<Person>, String), LinkError> {
        let index = self.key.token(token.as_bytes());
        let session = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let session_index = self.key.token(session.as_bytes());
        let mut inner = self.inner();
        // Of links there are so many that guessing them is hopeless.
        let guessable = token.len() <= DIGITS;
        if guessable && !inner.may_try(now) {
            return Err(LinkError::TooMany);
        }
        let room = inner.has_room();
        let ticket = inner.tickets.get_mut(&index).ok_or(LinkError::Unknown)?;
        let person = ticket.person.clone();
        match ticket.kind {
            Kind::Session => return Err(LinkError::Unknown),
            _ if person.viewer.is_over() => return Err(LinkError::CallOver),
            Kind::Used => return Err(LinkError::Used),
            _ if ticket.until <= now => return Err(LinkError::Expired),
            _ if !room => return Err(LinkError::TooMany),
            Kind::Link | Kind::Code => ticket.kind = Kind::Used,
        }
        // It is remembered as used for as long as the session lasts.
        ticket.until = now + SESSION;
        if guessable {
            inner.tries += 1;
        }
        let ticket = Ticket { person: person.clone(), until: now + SESSION, kind: Kind::Session };
        inner.tickets.insert(session_index, ticket);
        if let Some(known) = inner.persons.get_mut(&person.participant) {
            known.tickets.push(session_index);
        }
        Ok((person, session))
    }

    /// Whose session it is.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn session(&self, now: Instant, token: &str) -> Result<Arc<Person>, LinkError> {
        let index = self.key.token(token.as_bytes());
        let inner = self.inner();
        let ticket =
            inner.tickets.get(&index).filter(|t| t.kind == Kind::Session).ok_or(LinkError::Unknown)?;
        if ticket.person.viewer.is_over() {
            return Err(LinkError::CallOver);
        }
        if ticket.until <= now {
            return Err(LinkError::Expired);
        }
        Ok(ticket.person.clone())
    }

    /// A participant has left: what they have open ends at once.
    pub fn over(&self, now: Instant, participant: &str) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let Some(known) = inner.persons.remove(participant) else { return };
        known.person.viewer.end();
        for index in known.tickets {
            if let Some(ticket) = inner.tickets.get_mut(&index) {
                ticket.until = now;
                inner.over.push_back(index);
            }
        }
    }

    /// Forgets what has been over for so long that nobody asks for it any more.
    pub fn expire(&self, now: Instant) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.tickets.retain(|_, t| t.until + REMEMBERED > now);
        let Inner { tickets, over, persons, .. } = inner;
        over.retain(|index| tickets.contains_key(index));
        persons.values_mut().for_each(|k| k.tickets.retain(|index| tickets.contains_key(index)));
        let most = 2 * tickets.len() + 64;
        tickets.shrink_to(most);
        over.shrink_to(most);
    }
}

impl Inner {
    /// Whether there is room for one more, or what is over made some.
    fn has_room(&mut self) -> bool {
        while self.tickets.len() >= MOST {
            let Some(oldest) = self.over.pop_front() else { return false };
            self.tickets.remove(&oldest);
        }
        true
    }

    /// Whether a code may be tried; it counts as wrong until it turns out right.
    fn may_try(&mut self, now: Instant) -> bool {
        let more = (now.saturating_duration_since(self.refilled).as_millis() / REFILL.as_millis()) as u32;
        if more > 0 {
            self.tries = self.tries.saturating_add(more).min(TRIES);
            self.refilled += REFILL * more;
        }
        let may = self.tries > 0;
        self.tries = self.tries.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(now: Instant) -> Links {
        Links::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap(), now).unwrap()
    }

    #[test]
    fn a_link_is_good_once_and_its_session_until_the_call_is_over() {
        let now = Instant::now();
        let links = links(now);
        assert!(links.add_link(now, "confx", "p_1", "link-of-ada"));
        assert_eq!(
            links.session(now, "link-of-ada").unwrap_err(),
            LinkError::Unknown,
            "a link is no session"
        );
        let (person, session) = links.redeem(now, "link-of-ada").unwrap();
        assert_eq!((person.conference.as_str(), person.participant.as_str()), ("confx", "p_1"));
        assert_eq!(links.redeem(now, "link-of-ada").unwrap_err(), LinkError::Used);
        assert_eq!(links.redeem(now, &session).unwrap_err(), LinkError::Unknown, "a session is no link");
        assert!(Arc::ptr_eq(&links.session(now + SESSION / 2, &session).unwrap(), &person));
        assert_eq!(links.session(now + SESSION, &session).unwrap_err(), LinkError::Expired);
        links.over(now, "p_1");
        assert!(person.viewer.is_over(), "what is open ends");
        assert_eq!(links.session(now, &session).unwrap_err(), LinkError::CallOver);
        assert_eq!(links.redeem(now, "link-of-ada").unwrap_err(), LinkError::CallOver);
        links.expire(now + REMEMBERED / 2);
        assert_eq!(links.session(now, &session).unwrap_err(), LinkError::CallOver, "still told");
        links.expire(now + REMEMBERED);
        assert_eq!(links.session(now, &session).unwrap_err(), LinkError::Unknown);
        let inner = links.inner();
        assert_eq!((inner.tickets.len(), inner.persons.len(), inner.over.len()), (0, 0, 0));
    }

    #[test]
    fn an_invitation_is_good_once_and_says_who_will_come() {
        let now = Instant::now();
        let links = links(now);
        let (token, participant) = links.invite(now, "confx").unwrap();
        let (person, session) = links.redeem(now, &token).unwrap();
        assert_eq!((person.participant.as_str(), person.invited), (participant.as_str(), true));
        assert_eq!(links.redeem(now, &token).unwrap_err(), LinkError::Used);
        assert!(Arc::ptr_eq(&links.session(now, &session).unwrap(), &person));
        let (late, _) = links.invite(now, "confx").unwrap();
        assert_eq!(links.redeem(now + INVITATION, &late).unwrap_err(), LinkError::Expired);
        links.over(now, &participant);
        assert_eq!(links.session(now, &session).unwrap_err(), LinkError::CallOver, "who is removed is out");
    }

    #[test]
    fn links_and_codes_expire_and_a_new_one_takes_the_old_ones_place() {
        let now = Instant::now();
        let links = links(now);
        assert!(links.add_link(now, "confx", "p_1", "one"));
        assert!(!links.add_link(now, "confx", "p_2", "one"), "never the same twice");
        assert!(links.add_link(now, "confx", "p_1", "two"));
        assert_eq!(links.redeem(now, "one").unwrap_err(), LinkError::Unknown);
        assert_eq!(links.redeem(now + LINK, "two").unwrap_err(), LinkError::Expired);
        let first = links.make_code(now, "confx", "p_1").unwrap();
        let code = links.make_code(now, "confx", "p_1").unwrap();
        assert!(code.len() == DIGITS && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
        assert_eq!(links.redeem(now, &first).unwrap_err(), LinkError::Unknown);
        assert_eq!(links.redeem(now + CODE, &code).unwrap_err(), LinkError::Expired);
        assert!(
            links.redeem(now, &code).is_ok() && links.redeem(now, "two").is_ok(),
            "each has its own time"
        );
    }

    #[test]
    fn guessing_codes_is_slow_and_right_codes_cost_nothing() {
        let now = Instant::now();
        let links = links(now);
        for n in 0..3 * TRIES {
            let code = links.make_code(now, "confx", &format!("p_{n}")).unwrap();
            links.redeem(now, &code).unwrap();
        }
        let code = links.make_code(now, "confx", "p_1000").unwrap();
        let wrong = if code == "0000000000" { "1111111111" } else { "0000000000" };
        for _ in 0..TRIES {
            assert_eq!(links.redeem(now, wrong).unwrap_err(), LinkError::Unknown);
        }
        assert_eq!(links.redeem(now, wrong).unwrap_err(), LinkError::TooMany);
        assert_eq!(links.redeem(now, &code).unwrap_err(), LinkError::TooMany, "not even a right one");
        let later = now + REFILL;
        assert!(links.redeem(later, &code).is_ok());
        assert_eq!(
            links.redeem(later, "aaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap_err(),
            LinkError::Unknown,
            "nobody guesses a link"
        );
    }

    #[test]
    fn who_is_gone_makes_room_for_who_comes_and_who_is_there_stays() {
        let now = Instant::now();
        let links = links(now);
        assert!(links.add_link(now, "confx", "p_stays", "stays"));
        for n in 0..MOST - 1 {
            assert!(links.add_link(now, "confx", &format!("p_{n}"), &format!("link {n}")));
        }
        assert!(!links.add_link(now, "confx", "p_late", "late"), "full");
        links.over(now, "p_7");
        assert!(links.add_link(now, "confx", "p_late", "late"));
        assert_eq!(links.redeem(now, "stays").unwrap_err(), LinkError::TooMany, "no room for its session");
        links.over(now, "p_8");
        assert!(links.redeem(now, "stays").is_ok());
    }
}
