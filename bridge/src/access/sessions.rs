//! Who has signed in, and programs with tokens of an account.

use super::{Access, Entry, Grant};
use crate::account::{Account, ApiToken};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A session is good for this long.
pub const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Sessions at once. The oldest makes room for one more.
const SESSIONS: usize = 10_000;
/// Sessions of one account at once. The oldest makes room for one more.
const OF_ONE: usize = 32;
/// Somebody who has signed in.
#[derive(Debug)]
struct Session {
    grant: Arc<Grant>,
    account: Account,
    until: Instant,
}

/// A program with a token of an account.
#[derive(Debug)]
struct Api {
    grant: Arc<Grant>,
    token: ApiToken,
}

/// By a hash of their tokens: to find one by what it begins with says nothing of the rest.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<[u8; 32], Session>>,
    api: Mutex<HashMap<[u8; 32], Api>>,
}

impl Sessions {
    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self) -> MutexGuard<'_, HashMap<[u8; 32], Api>> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// What a session's or an API token is good for.
    pub(super) fn session(&self, token: &str, at: Instant) -> Option<Arc<Grant>> {
        let hash = hashed(token);
        if let Some(session) = self.sessions.open().get(&hash).filter(|session| session.until > at) {
            return Some(session.grant.clone());
        }
        let lasts = |api: &&Api| api.token.expires_at > SystemTime::now();
        self.sessions.api().get(&hash).filter(lasts).map(|api| api.grant.clone())
    }

    /// Opens a session: its token, and what that is good for.
    pub fn open(&self, account: Account, at: Instant) -> (String, Arc<Grant>) {
        let token = format!("s_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let entry =
            Entry { token: String::new(), role: account.role, conferences: account.conferences.clone() };
        let (id, owners) = (Some(account.id.clone()), self.owners.clone());
        let grant = Arc::new(Grant { account: id, owners, ..Grant::new(entry, self.policy) });
        let mut sessions = self.sessions.open();
        let own = sessions.values().filter(|session| session.account.id == account.id).count();
        if own >= OF_ONE || sessions.len() >= SESSIONS {
            let theirs = |session: &Session| own < OF_ONE || session.account.id == account.id;
            let oldest = sessions.iter().filter(|(_, s)| theirs(s)).min_by_key(|(_, s)| s.until);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                sessions.remove(&oldest).iter().for_each(|s| s.grant.revoke(&self.audit));
            }
        }
        sessions.insert(hashed(&token), Session { grant: grant.clone(), account, until: at + SESSION });
        (token, grant)
    }

    /// Closes a session. False: it is none.
    pub fn close(&self, token: &str) -> bool {
        let session = self.sessions.open().remove(&hashed(token));
        session.iter().for_each(|session| session.grant.revoke(&self.audit));
        session.is_some()
    }

    /// Ends sessions of accounts that may not sign in any more, or have changed since; `standing` are the versions of those that may.
    pub fn review(&self, standing: &HashMap<String, i64>) {
        let stands = |session: &Session| standing.get(&session.account.id) == Some(&session.account.version);
        self.end_sessions(stands);
    }

    fn end_sessions(&self, stays: impl Fn(&Session) -> bool) {
        let mut sessions = self.sessions.open();
        sessions.retain(|_, session| {
            let stays = stays(session);
            if !stays {
                session.grant.revoke(&self.audit);
            }
            stays
        });
    }

    pub(super) fn expire_sessions(&self, at: Instant) {
        self.end_sessions(|session| session.until > at);
        self.sessions.open().values().for_each(|session| session.grant.expire(at, &self.audit));
        self.sessions.api().values().for_each(|api| api.grant.expire(at, &self.audit));
    }

    /// Whether somebody has signed in, or a program may at any time.
    pub fn has_sessions(&self) -> bool {
        !self.sessions.open().is_empty() || !self.sessions.api().is_empty()
    }

    /// Takes the API tokens that there are now: what is the same stays, everything else ends.
    pub fn set_api_tokens(&self, tokens: Vec<ApiToken>) {
        let mut api = self.sessions.api();
        let mut old = std::mem::take(&mut *api);
        for token in tokens {
            let same = old.remove(&token.hash).filter(|before| before.token == token);
            let entry =
                || Entry { token: String::new(), role: token.role, conferences: token.conferences.clone() };
            let grant = same.map(|before| before.grant).unwrap_or_else(|| {
                let (program_of, owners) = (token.program_of.clone(), self.owners.clone());
                Arc::new(Grant { program_of, owners, ..Grant::new(entry(), self.policy) })
            });
            api.insert(token.hash, Api { grant, token });
        }
        old.values().for_each(|gone| gone.grant.revoke(&self.audit));
    }
}

/// As a token is kept: it has 32 random octets, of which a hash tells nothing.
pub(crate) fn hashed(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Audit;
    use crate::disclosure::tests::vault;
    use crate::disclosure::{Policy, Role};
    use crate::link::Links;

    fn audit() -> (Audit, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("sotto-sessions-{:016x}", rand::random::<u64>()));
        (Audit::open(&folder).unwrap(), folder)
    }

    #[test]
    fn a_session_is_good_for_what_its_account_is_until_that_changes() {
        let ((audit, folder), vault, now) = (audit(), vault(), Instant::now());
        let access = Access::new("abc", Policy::default(), audit.clone()).unwrap();
        let links = Links::new(&vault, now).unwrap();
        let account = |id: &str, version| Account {
            id: id.to_owned(),
            role: Role::Host,
            conferences: Some(vec!["board".to_owned()]),
            version,
        };
        let (token, grant) = access.open(account("u_ada", 3), now);
        let (other, _) = access.open(account("u_bob", 0), now);
        assert!(token != other && token.len() > 40);
        assert_eq!((grant.role(), grant.covers("board"), grant.covers("hall")), (Role::Host, true, false));
        assert!(Arc::ptr_eq(&access.admit(&token, &links, now).unwrap(), &grant));
        assert!(access.admit(&token[..token.len() - 1], &links, now).is_err());
        let watched = grant.viewer(None).unwrap();
        let standing = HashMap::from([("u_ada".to_owned(), 3), ("u_bob".to_owned(), 1)]);
        access.review(&standing);
        assert!(access.admit(&token, &links, now).is_ok() && access.admit(&other, &links, now).is_err());
        assert!(access.close(&token) && !access.close(&token) && watched.is_over());
        let (token, grant) = access.open(account("u_ada", 3), now);
        assert!(access.admit(&token, &links, now + SESSION).is_err(), "its time is over");
        access.expire(now + SESSION);
        assert!(grant.viewer(None).unwrap().is_over() && !access.has_sessions());
        let all: Vec<_> = (0..OF_ONE + 1)
            .map(|n| access.open(account("u_ada", 3), now + Duration::from_secs(n as u64)).0)
            .collect();
        assert!(access.admit(&all[0], &links, now).is_err() && access.admit(&all[1], &links, now).is_ok());
        access.review(&HashMap::new());
        assert!(!access.has_sessions());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_programs_token_lasts_until_it_is_taken_back_or_its_time_is_over() {
        let ((audit, folder), vault, now) = (audit(), vault(), Instant::now());
        let access = Access::new("abc", Policy::default(), audit.clone()).unwrap();
        let links = Links::new(&vault, now).unwrap();
        let token = |word: &str, hours: i64| ApiToken {
            hash: hashed(word),
            role: Role::Operator,
            conferences: None,
            program_of: None,
            expires_at: if hours > 0 {
                SystemTime::now() + Duration::from_secs(hours as u64 * 3600)
            } else {
                SystemTime::now() - Duration::from_secs(1)
            },
        };
        let (one, over) = (token("a_one", 1), token("a_over", 0));
        access.set_api_tokens(vec![one.clone(), over]);
        let grant = access.admit("a_one", &links, now).unwrap();
        assert_eq!((grant.role(), grant.account(), access.has_sessions()), (Role::Operator, None, true));
        assert!(access.admit("a_over", &links, now).is_err() && access.admit("a_two", &links, now).is_err());
        access.set_api_tokens(vec![one, token("a_two", 1)]);
        assert!(Arc::ptr_eq(&grant, &access.admit("a_one", &links, now).unwrap()), "what is the same stays");
        let watched = grant.viewer(None).unwrap();
        access.set_api_tokens(vec![token("a_two", 1)]);
        assert!(watched.is_over() && access.admit("a_one", &links, now).is_err());
        assert!(access.admit("a_two", &links, now).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
