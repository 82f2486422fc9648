//! Who may use the API: bearer tokens with a role and a scope, and the viewers' keys that were registered with them.
//!
//! The token file has a token in each line, and behind it, separated by spaces, what it is good for:
//!
//! ```text
//! # TOKEN [role=host|operator|admin|auditor|guest|monitor] [conferences=ID,ID,…]
//! 6c1f… role=host conferences=board,confdaily
//! ```
//!
//! Without a role it is a host's; without conferences, all of them. The file is read again on SIGHUP: a token that is not there
//! any more, or is good for something else, ends at once, and with it what its viewers watch. A caller's own session
//! ([`crate::link`]) is good for their own page and for the roster as guests see it.

mod sessions;

pub use sessions::SESSION;
pub(crate) use sessions::hashed;

use crate::audit::{Audit, Event, NotRecorded};
use crate::disclosure::{Extent, Policy, Role, Viewer};
use crate::link::{LinkError, Links, Person};
use crate::roster::{now, random_id};
use sessions::Sessions;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use vault::{EnvelopeError, Jwe, PublicKey, Vault, ViewerKey};

/// Keys of one token at most.
const KEYS: usize = 256;
/// A viewer's key is good for this long.
pub const LIFE: Duration = Duration::from_secs(12 * 3600);

/// What a token is good for.
#[derive(PartialEq, Eq)]
struct Entry {
    token: String,
    role: Role,
    conferences: Option<Vec<String>>,
}

/// A token's rights, and its viewers.
pub struct Grant {
    entry: Entry,
    /// Who looks without a key.
    keyless: Arc<Viewer>,
    keys: Mutex<HashMap<String, Key>>,
    policy: Policy,
    /// Whose session it is, if it is a caller's.
    person: Option<Arc<Person>>,
    /// The account that has signed in, if it is a session of one.
    account: Option<String>,
    /// The account of a program's token that is good for all that the account may see.
    program_of: Option<String>,
    owners: Owners,
}

/// Which account has made a conference, by the conference's id.
type Owners = Arc<RwLock<HashMap<String, String>>>;

struct Key {
    viewer: Arc<Viewer>,
    until: Instant,
    /// Order of registration: the newest is used when none is named.
    number: u64,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not its token.
        write!(f, "Grant({})", self.entry.role.as_str())
    }
}

/// Why a key was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No point on P-256.
    #[error("the key is no point on P-256")]
    NoPoint,
    /// As many viewers as may be watch with the token's keys.
    #[error("the token has {KEYS} keys in use")]
    TooMany,
    /// A role that sees no names needs no key.
    #[error("the token's role sees no names")]
    Blind,
    /// The vault or the audit takes nothing now.
    #[error("no key can be registered now")]
    Unavailable,
}

impl From<EnvelopeError> for KeyError {
    fn from(e: EnvelopeError) -> Self {
        if e == EnvelopeError::NoPoint { Self::NoPoint } else { Self::Unavailable }
    }
}

impl From<NotRecorded> for KeyError {
    fn from(_: NotRecorded) -> Self {
        Self::Unavailable
    }
}

impl Grant {
    fn new(entry: Entry, policy: Policy) -> Self {
        let role = entry.role;
        let keyless = Arc::new(Viewer::new(random_id("t_"), role, policy.sight(role), None));
        Self {
            entry,
            keyless,
            keys: Mutex::default(),
            policy,
            person: None,
            account: None,
            program_of: None,
            owners: Owners::default(),
        }
    }

    /// What a caller's session is good for.
    fn of(person: Arc<Person>) -> Self {
        let conferences = Some(vec![person.conference.clone()]);
        let entry = Entry { token: String::new(), role: Role::Guest, conferences };
        let (keyless, policy) = (person.viewer.clone(), Policy::default());
        let base = Self::new(entry, policy);
        Self { keyless, person: Some(person), ..base }
    }

    /// The caller whose session it is.
    pub fn person(&self) -> Option<&Arc<Person>> {
        self.person.as_ref()
    }

    /// The account that has signed in; `None`: it is no session of one.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The account that may make conferences with it.
    pub fn books(&self) -> Option<&str> {
        self.account().filter(|_| self.controls() || self.role() == Role::Admin)
    }

    /// How the audit names the token.
    pub fn id(&self) -> &str {
        self.keyless.id()
    }

    /// The token's role.
    pub fn role(&self) -> Role {
        self.entry.role
    }

    /// The conferences that the token is good for; `None`: all.
    pub fn conferences(&self) -> Option<&[String]> {
        self.entry.conferences.as_deref()
    }

    /// Whether the token is good for a conference. For who asks for another, there is none.
    pub fn covers(&self, conference: &str) -> bool {
        let listed = |list: &Vec<String>| list.iter().any(|id| id == conference);
        self.entry.conferences.as_ref().is_none_or(listed) || self.owns(conference)
    }

    /// Whether its account has made the conference.
    pub fn owns(&self, conference: &str) -> bool {
        let Some(account) = self.account.as_ref().or(self.program_of.as_ref()) else { return false };
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners.get(conference) == Some(account)
    }

    /// Whether it may see anybody's name.
    pub fn sees_names(&self) -> bool {
        let sight = self.policy.sight(self.role());
        sight.name != Extent::Pseudonym || sight.number != Extent::Pseudonym
    }

    /// Whether the token may steer a meeting.
    pub fn controls(&self) -> bool {
        matches!(self.entry.role, Role::Host | Role::Operator)
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The viewer with the key of this id; without an id the one whose key came last, or, when there is none, the one without.
    /// `None`: no such key.
    pub fn viewer(&self, key: Option<&str>) -> Option<Arc<Viewer>> {
        let keys = self.keys();
        match key {
            Some(id) => keys.get(id).map(|k| k.viewer.clone()),
            None => {
                let newest = keys.values().max_by_key(|k| k.number);
                Some(newest.map_or(&self.keyless, |k| &k.viewer).clone())
            }
        }
    }

    /// Registers a viewer's key, which is good until `now` + [`LIFE`], and returns its id and what hands the content key over.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn register(
        &self,
        vault: &Vault,
        audit: &Audit,
        public: &PublicKey,
        at: Instant,
    ) -> Result<(String, Jwe), KeyError> {
        if matches!(self.role(), Role::Guest | Role::Monitor) {
            return Err(KeyError::Blind);
        }
        let mut keys = self.keys();
        if keys.len() >= KEYS {
            // The oldest with which nobody watches makes room.
            let idle = keys.iter().filter(|(_, k)| Arc::strong_count(&k.viewer) == 1);
            let oldest = idle.min_by_key(|(_, k)| k.number).map(|(id, _)| id.clone());
            let replaced = keys.remove(&oldest.ok_or(KeyError::TooMany)?);
            replaced.iter().for_each(|key| end(key, audit, "replaced"));
        }
        let (id, role) = (random_id("k_"), self.role());
        let (key, handover) = ViewerKey::new(vault, &id, public)?;
        audit.record(Event::KeyRegistered { at: now(), viewer: id.clone(), role: role.as_str() })?;
        let viewer = Arc::new(Viewer::new(id.clone(), role, self.policy.sight(role), Some(key)));
        let number = keys.values().map(|k| k.number + 1).max().unwrap_or(0);
        keys.insert(id.clone(), Key { viewer, until: at + LIFE, number });
        Ok((id, handover))
    }

    /// Ends a viewer's key, and at once what is watched with it. False: no such key.
    pub fn delete(&self, id: &str, audit: &Audit) -> bool {
        let Some(key) = self.keys().remove(id) else { return false };
        end(&key, audit, "deleted");
        true
    }

    fn expire(&self, at: Instant, audit: &Audit) {
        self.keys().retain(|_, key| {
            let lasts = key.until > at;
            if !lasts {
                end(key, audit, "expired");
            }
            lasts
        });
    }

    fn revoke(&self, audit: &Audit) {
        self.keyless.end();
        self.keys().drain().for_each(|(_, key)| end(&key, audit, "revoked"));
    }
}

fn end(key: &Key, audit: &Audit, why: &'static str) {
    key.viewer.end();
    // It ends, recorded or not; what was not is counted.
    let _ = audit.record(Event::KeyEnded { at: now(), viewer: key.viewer.id().to_owned(), why });
}

/// What is wrong with a token file: the line, and what was expected. Nothing of the line is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadLine {
    line: usize,
    what: &'static str,
}

/// All tokens.
#[derive(Debug)]
pub struct Access {
    grants: RwLock<Vec<Arc<Grant>>>,
    sessions: Sessions,
    policy: Policy,
    audit: Audit,
    owners: Owners,
}

impl Access {
    /// From a token file's text.
    ///
    /// # Errors
    /// [`BadLine`].
    pub fn new(text: &str, policy: Policy, audit: Audit) -> Result<Self, BadLine> {
        let grants = entries(text)?.into_iter().map(|e| Arc::new(Grant::new(e, policy))).collect();
        let (sessions, owners) = (Sessions::default(), Owners::default());
        Ok(Self { grants: RwLock::new(grants), sessions, policy, audit, owners })
    }

    /// Takes which account has made which conference: they are good for their own.
    pub fn set_owners(&self, owners: HashMap<String, String>) {
        *self.owners.write().unwrap_or_else(PoisonError::into_inner) = owners;
    }

    /// The rights of a token of the file, or of a caller's session.
    ///
    /// # Errors
    /// [`LinkError::Unknown`] for what is neither; the others for a session that is over.
    pub fn admit(&self, token: &str, links: &Links, at: Instant) -> Result<Arc<Grant>, LinkError> {
        match self.find(token.as_bytes()).or_else(|| self.session(token, at)) {
            Some(grant) => Ok(grant),
            None => links.session(at, token).map(|person| Arc::new(Grant::of(person))),
        }
    }

    /// The rights of a token of the file, compared in constant time.
    pub fn find(&self, token: &[u8]) -> Option<Arc<Grant>> {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for grant in grants.iter() {
            if bool::from(grant.entry.token.as_bytes().ct_eq(token)) {
                found = Some(grant.clone());
            }
        }
        found
    }

    /// Takes a changed token file: what is the same stays, everything else ends.
    ///
    /// # Errors
    /// [`BadLine`]: then nothing is changed.
    pub fn reload(&self, text: &str) -> Result<(), BadLine> {
        let entries = entries(text)?;
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *grants);
        for entry in entries {
            let same = old.iter().position(|g| g.entry == entry);
            grants.push(
                same.map_or_else(|| Arc::new(Grant::new(entry, self.policy)), |place| old.swap_remove(place)),
            );
        }
        old.iter().for_each(|grant| grant.revoke(&self.audit));
        Ok(())
    }

    /// Ends keys and sessions whose time is over.
    pub fn expire(&self, at: Instant) {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        grants.iter().for_each(|grant| grant.expire(at, &self.audit));
        self.expire_sessions(at);
    }
}

/// Reads a token file.
///
/// # Errors
/// [`BadLine`].
pub fn check(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))?;
    entries(&text).map_err(|e| e.to_string())?;
    Ok(text)
}

fn entries(text: &str) -> Result<Vec<Entry>, BadLine> {
    let mut entries: Vec<Entry> = Vec::new();
    for (place, line) in text.lines().map(str::trim).enumerate() {
        let mut words = line.split_whitespace();
        let Some(token) = words.next().filter(|w| !w.starts_with('#')) else { continue };
        let wrong = |what| BadLine { line: place + 1, what };
        let mut entry = Entry { token: token.to_owned(), role: Role::Host, conferences: None };
        if entries.iter().any(|e| e.token == token) {
            return Err(wrong("this token stands here a second time"));
        }
        for word in words {
            match word.split_once('=') {
                Some(("role", role)) => {
                    let found = Role::ALL.into_iter().find(|r| r.as_str() == role);
                    entry.role = found.ok_or_else(|| {
                        wrong("expected role=host, operator, admin, auditor, guest or monitor")
                    })?;
                }
                Some(("conferences", list)) if !list.is_empty() => {
                    entry.conferences = Some(list.split(',').map(str::to_owned).collect());
                }
                _ => return Err(wrong("expected TOKEN, role=ROLE and conferences=ID,ID")),
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disclosure::tests::vault;
    use vault::opener::ViewerSecret;

    fn audit() -> (Audit, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("sotto-access-{:016x}", rand::random::<u64>()));
        (Audit::open(&folder).unwrap(), folder)
    }

    #[test]
    fn a_token_has_its_role_and_its_conferences() {
        let (audit, folder) = audit();
        let text = "# a comment\n\nabc\nxyz role=auditor conferences=board,confx\n";
        let access = Access::new(text, Policy::default(), audit).unwrap();
        let (abc, xyz) = (access.find(b"abc").unwrap(), access.find(b"xyz").unwrap());
        assert_eq!((abc.role(), abc.covers("confany"), abc.controls()), (Role::Host, true, true));
        assert_eq!((xyz.role(), xyz.controls()), (Role::Auditor, false));
        assert_eq!((xyz.covers("confx"), xyz.covers("confy"), xyz.covers("conf")), (true, false, false));
        for stranger in ["", "ab", "abcd", "#", "role=auditor"] {
            assert!(access.find(stranger.as_bytes()).is_none(), "{stranger}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_bad_line_is_named_and_nothing_of_it_told() {
        for (text, line) in
            [("a role=king", 1), ("\na x", 2), ("a\n\na", 3), ("a conferences=", 1), ("a role=host,", 1)]
        {
            let wrong = entries(text).err().unwrap();
            assert_eq!(wrong.line, line, "{text}");
            assert!(!wrong.to_string().contains("king"));
        }
    }

    #[test]
    fn keys_are_bounded_expire_and_end_what_is_watched() {
        let ((audit, folder), vault, now) = (audit(), vault(), Instant::now());
        let grant = Grant::new(entries("abc").unwrap().remove(0), Policy::default());
        let public = ViewerSecret::generate().unwrap().public();
        let keyless = grant.viewer(None).unwrap();
        let (first, _) = grant.register(&vault, &audit, &public, now).unwrap();
        let later = now + Duration::from_secs(60);
        let (second, _) = grant.register(&vault, &audit, &public, later).unwrap();
        let (one, two) = (grant.viewer(Some(&first)).unwrap(), grant.viewer(None).unwrap());
        assert_eq!((one.id(), two.id()), (&*first, &*second), "the newest is used when none is named");
        assert!(grant.viewer(Some("k_none")).is_none());
        grant.expire(now + LIFE, &audit);
        assert!(one.is_over() && !two.is_over());
        assert!(grant.delete(&second, &audit) && !grant.delete(&second, &audit));
        assert!(two.is_over() && Arc::ptr_eq(&grant.viewer(None).unwrap(), &keyless));
        let register = || grant.register(&vault, &audit, &public, now).map(|(id, _)| id);
        let ids: Vec<_> = (0..KEYS).map(|_| register().unwrap()).collect();
        let watched = grant.viewer(Some(&ids[0])).unwrap();
        register().unwrap();
        assert!(!watched.is_over() && grant.viewer(Some(&ids[1])).is_none(), "the oldest that is idle went");
        let _all: Vec<_> = grant.keys().values().map(|k| k.viewer.clone()).collect();
        assert_eq!(register().err(), Some(KeyError::TooMany));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_callers_session_is_good_for_their_own_conference_as_a_guest() {
        let ((audit, folder), vault, now) = (audit(), vault(), Instant::now());
        let access = Access::new("abc", Policy::default(), audit.clone()).unwrap();
        let links = Links::new(&vault, now).unwrap();
        assert!(links.add_link(now, "confx", "p_1", "a-link"));
        assert_eq!(access.admit("a-link", &links, now).unwrap_err(), LinkError::Unknown, "not a link itself");
        let (_, session) = links.redeem(now, "a-link").unwrap();
        let grant = access.admit(&session, &links, now).unwrap();
        assert_eq!((grant.role(), grant.controls()), (Role::Guest, false));
        assert_eq!((grant.covers("confx"), grant.covers("confy")), (true, false));
        let public = ViewerSecret::generate().unwrap().public();
        assert_eq!(grant.register(&vault, &audit, &public, now).err(), Some(KeyError::Blind));
        let same = access.admit(&session, &links, now).unwrap();
        assert!(Arc::ptr_eq(&grant.viewer(None).unwrap(), &same.viewer(None).unwrap()), "one viewer");
        assert!(access.admit("abc", &links, now).unwrap().person().is_none());
        links.over(now, "p_1");
        assert_eq!(access.admit(&session, &links, now).unwrap_err(), LinkError::CallOver);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_site_can_let_hosts_see_less() {
        let ((audit, folder), vault) = (audit(), vault());
        let tight = Role::Auditor.sight();
        let policy = Policy::default().tighten(Role::Host, tight);
        let access = Access::new("abc", policy, audit.clone()).unwrap();
        let ring = vault.keyring().unwrap();
        let ada =
            crate::disclosure::tests::ada(&vault, &ring, sip_stack::Shown::Shared, sip_stack::Shown::Shared);
        let public = ViewerSecret::generate().unwrap().public();
        let sees = |access: &Access| {
            let grant = access.find(b"abc").unwrap();
            grant.register(&vault, &audit, &public, Instant::now()).unwrap();
            crate::disclosure::see(&grant.viewer(None).unwrap(), &ada, &ring).disclosed().count()
        };
        assert_eq!(sees(&access), 0);
        access.reload("abc conferences=confx").unwrap();
        assert_eq!(sees(&access), 0, "after a reload as well");
        assert_eq!(sees(&Access::new("abc", Policy::default(), audit.clone()).unwrap()), 3, "the control");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_token_that_changes_ends_at_once_and_others_stay() {
        let ((audit, folder), vault) = (audit(), vault());
        let access = Access::new("abc\nxyz role=host", Policy::default(), audit.clone()).unwrap();
        let (abc, xyz) = (access.find(b"abc").unwrap(), access.find(b"xyz").unwrap());
        let public = ViewerSecret::generate().unwrap().public();
        xyz.register(&vault, &audit, &public, Instant::now()).unwrap();
        let (stays, with_key, without) = (abc.viewer(None), xyz.viewer(None), xyz.keyless.clone());
        assert!(access.reload("abc\nabc").is_err() && access.find(b"xyz").is_some(), "nothing is changed");
        access.reload("xyz role=auditor\nabc").unwrap();
        assert!(with_key.unwrap().is_over() && without.is_over() && !stays.unwrap().is_over());
        assert_eq!(access.find(b"xyz").unwrap().role(), Role::Auditor);
        assert!(Arc::ptr_eq(&access.find(b"abc").unwrap(), &abc));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
