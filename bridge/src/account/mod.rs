//! Who may sign in: accounts in the ledger, with a password (argon2id) and, where it was set up, a one-time password (RFC 6238). Their names are sealed
//! there; the running bridge finds an account by a keyed hash of what is typed, and holds nobody's name.

mod attempts;
mod tokens;

pub use tokens::{ApiToken, ListedToken};

use crate::disclosure::Role;
use crate::ledger::{Ledger, LedgerError};
use crate::roster::random_id;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use attempts::Attempts;
use ring::hmac;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Shortest and longest password, characters.
pub const PASSWORD: std::ops::RangeInclusive<usize> = 12..=256;
/// Longest name to sign in with, characters.
pub const LOGIN: usize = 120;
/// Seconds of a one-time password, and its digits (RFC 6238 §5.2, §5.3).
const STEP: u64 = 30;
const DIGITS: u32 = 6;
/// Octets of the secret behind them.
const SECRET: usize = 20;
/// Passwords that are looked at at once, each with 19 MiB; who comes when these are taken waits.
const AT_ONCE: usize = 2;

/// What an account is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `u_` and random letters.
    pub id: String,
    /// Its role.
    pub role: Role,
    /// The conferences that it may see; `None`: all.
    pub conferences: Option<Vec<String>>,
    /// Grows with each change that ends what was allowed before.
    pub version: i64,
}

/// What somebody signs in with.
pub struct Credentials {
    /// Their name.
    pub login: Zeroizing<String>,
    /// Their password.
    pub password: Zeroizing<String>,
    /// Their one-time password, if they gave one.
    pub otp: Option<String>,
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// No such account, not its password, or not its one-time password: it is not said which.
    #[error("name, password or one-time password is wrong")]
    Wrong,
    /// The password is right, and a one-time password is needed too.
    #[error("a one-time password is needed")]
    OtpNeeded,
    /// Too many wrong tries.
    #[error("too many wrong tries; wait {}", .0.as_secs() + 1)]
    Wait(Duration),
    /// The ledger's.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why an account is not made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The name is empty, too long or has control characters.
    #[error("a name to sign in with has 1 to {LOGIN} characters in one line")]
    Login,
    /// The password is too short or too long.
    #[error("a password has {} to {} characters", PASSWORD.start(), PASSWORD.end())]
    Password,
    /// There is one with this name.
    #[error("there is an account with this name")]
    Taken,
    /// There is none with this name.
    #[error("there is no account with this name")]
    Unknown,
    /// Callers' and listeners' roles have no accounts.
    #[error("accounts are for hosts, operators, admins and auditors")]
    Role,
    /// Typed twice, it was not the same.
    #[error("these are two passwords")]
    Differ,
    /// The ledger's.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The system has no random numbers, or no memory for a hash.
    #[error("a password cannot be hashed now")]
    Hash,
}

impl From<rusqlite::Error> for AccountError {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => Self::Taken,
            _ => LedgerError::from(e).into(),
        }
    }
}

/// A line of the list of accounts.
#[derive(Debug, serde::Serialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The name to sign in with.
    pub login: String,
    /// Its role.
    pub role: String,
    /// Its conferences; `None`: all.
    pub conferences: Option<Vec<String>>,
    /// Whether a one-time password is needed.
    pub totp: bool,
    /// Whether it may not sign in.
    pub disabled: bool,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
}

/// All accounts.
#[derive(Debug)]
pub struct Accounts {
    ledger: Ledger,
    attempts: Mutex<Attempts>,
    at_once: Semaphore,
    /// Of no password: looked at where there is no account, so that it takes as long.
    nobodys: String,
}

/// A name as it is compared: without case and what surrounds it.
fn normal(login: &str) -> Zeroizing<String> {
    Zeroizing::new(login.trim().to_lowercase())
}

fn hash(password: &str) -> Result<String, AccountError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|_| AccountError::Hash)?;
    Ok(hash.to_string())
}

fn is_password(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

/// The one-time password of a step (RFC 4226 §5.3).
fn otp(secret: &[u8], step: u64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 0xf);
    let four = [tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]];
    u32::from_be_bytes(four) % 10u32.pow(DIGITS)
}

/// The step of a given one-time password: now's, the one before or the one after (RFC 6238 §5.2), and later than the last that was used.
fn step_of(secret: &[u8], given: &str, now: u64, last: u64) -> Option<u64> {
    let digits: String = given.chars().filter(|c| !c.is_whitespace()).collect();
    let mut found = None;
    for step in (now / STEP).saturating_sub(1)..=now / STEP + 1 {
        let right = format!("{:0width$}", otp(secret, step), width = DIGITS as usize);
        if bool::from(right.as_bytes().ct_eq(digits.as_bytes())) && step > last {
            found = Some(step);
        }
    }
    found
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A secret in base32 without padding, as authenticator apps take it (RFC 4648 §6).
fn base32(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = octets.iter().flat_map(|o| (0..8).rev().map(move |bit| o >> bit & 1)).collect::<Vec<_>>();
    let letter = |five: &[u8]| {
        let value = (0..5).fold(0, |value, bit| value << 1 | five.get(bit).copied().unwrap_or(0));
        char::from(ALPHABET[usize::from(value)])
    };
    bits.chunks(5).map(letter).collect()
}

struct Found {
    account: Account,
    password: String,
    totp: Option<Vec<u8>>,
    totp_step: u64,
    disabled: bool,
}

impl Found {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let conferences: Option<String> = row.get("conferences")?;
        let role: String = row.get("role")?;
        let role = Role::ALL.into_iter().find(|r| r.as_str() == role);
        Ok(Self {
            account: Account {
                id: row.get("id")?,
                // What is not known may nothing.
                role: role.unwrap_or(Role::Guest),
                conferences: conferences.map(|list| serde_json::from_str(&list).unwrap_or_default()),
                version: row.get("version")?,
            },
            password: row.get("password")?,
            totp: row.get("totp")?,
            totp_step: row.get::<_, i64>("totp_step")?.max(0) as u64,
            disabled: row.get("disabled")?,
        })
    }
}

impl Accounts {
    /// Those of a ledger.
    ///
    /// # Errors
    /// [`AccountError::Hash`].
    pub fn new(ledger: Ledger) -> Result<Self, AccountError> {
        let nobodys = hash(&random_id("nobody"))?;
        Ok(Self { ledger, attempts: Mutex::default(), at_once: Semaphore::new(AT_ONCE), nobodys })
    }

    /// Signs somebody in who tries it from an address.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(
        &self,
        given: Credentials,
        from: IpAddr,
        at: SystemTime,
    ) -> Result<Account, SignInError> {
        let index = self.ledger.keys().index(normal(&given.login).as_bytes());
        // Whoever tries much waits before anything is looked at, the right one as well.
        self.attempts().begin(index, from, Instant::now()).map_err(SignInError::Wait)?;
        let find = move |db: &mut Connection| {
            let sql = "SELECT * FROM account WHERE login = ?1";
            db.query_row(sql, [index], Found::of).optional()
        };
        let found = self.ledger.run(find).await?.filter(|found| !found.disabled);
        let hash = found.as_ref().map_or_else(|| self.nobodys.clone(), |found| found.password.clone());
        let password = given.password;
        let _turn = self.at_once.acquire().await.map_err(|_| LedgerError::Busy)?;
        let right = tokio::task::spawn_blocking(move || is_password(&password, &hash)).await;
        let (true, Some(found)) = (right.unwrap_or(false), found) else { return Err(SignInError::Wrong) };
        if let Some(secret) = &found.totp {
            let Some(otp) = &given.otp else {
                // It was no guess: who has no one-time password at hand is not to wait for it.
                self.attempts().right(index, from);
                return Err(SignInError::OtpNeeded);
            };
            let step = step_of(secret, otp, seconds(at), found.totp_step).ok_or(SignInError::Wrong)?;
            let id = found.account.id.clone();
            // Each is good once, whoever comes first.
            let use_up = move |db: &mut Connection| {
                let sql = "UPDATE account SET totp_step = ?2 WHERE id = ?1 AND totp_step < ?2";
                db.execute(sql, params![id, step as i64])
            };
            if self.ledger.run(use_up).await? == 0 {
                return Err(SignInError::Wrong);
            }
        }
        self.attempts().right(index, from);
        Ok(found.account)
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an account; its id.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn add(
        &self,
        login: &str,
        password: &str,
        role: Role,
        conferences: Option<Vec<String>>,
    ) -> Result<String, AccountError> {
        if matches!(role, Role::Guest | Role::Monitor) {
            return Err(AccountError::Role);
        }
        let login = fitting(login)?;
        let (id, password) = (random_id("u_"), new_password(password)?);
        let index = self.ledger.keys().index(normal(&login).as_bytes());
        let label = self.ledger.keys().seal(id.as_bytes(), &login)?;
        let conferences = conferences.map(|list| serde_json::json!(list).to_string());
        let (row, created_at) = (id.clone(), seconds(SystemTime::now()) as i64 * 1000);
        let insert = move |db: &mut Connection| {
            let sql = "INSERT INTO account (id, login, label, role, conferences, password, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            db.execute(sql, params![row, index, label, role.as_str(), conferences, password, created_at])
        };
        self.ledger.run(insert).await.map_err(taken)?;
        Ok(id)
    }

    /// Gives an account another password. What it has open ends.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn set_password(&self, login: &str, password: &str) -> Result<(), AccountError> {
        let password = new_password(password)?;
        self.change(login, "password = ?2", password).await
    }

    /// Sets up one-time passwords: what an authenticator app takes (`otpauth://…`). What the account has open ends.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn set_totp(&self, login: &str, issuer: &str) -> Result<Zeroizing<String>, AccountError> {
        let secret: [u8; SECRET] = rand::random();
        self.change(login, "totp = ?2, totp_step = 0", secret.to_vec()).await?;
        let shown = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._~@".contains(c);
            text.chars().map(|c| if plain(c) { c } else { '_' }).collect::<String>()
        };
        let (issuer, login) = (shown(issuer), shown(login));
        Ok(Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{login}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP}",
            base32(&secret)
        )))
    }

    /// One-time passwords are needed no more.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn clear_totp(&self, login: &str) -> Result<(), AccountError> {
        self.change(login, "totp = ?2", None::<Vec<u8>>).await
    }

    /// Whether an account may sign in. What it has open ends.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn set_disabled(&self, login: &str, disabled: bool) -> Result<(), AccountError> {
        self.change(login, "disabled = ?2", disabled).await
    }

    /// Removes an account, with all its tokens.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn remove(&self, login: &str) -> Result<(), AccountError> {
        let index = self.ledger.keys().index(normal(login).as_bytes());
        let remove = move |db: &mut Connection| db.execute("DELETE FROM account WHERE login = ?1", [index]);
        match self.ledger.run(remove).await? {
            0 => Err(AccountError::Unknown),
            _ => Ok(()),
        }
    }

    async fn change(
        &self,
        login: &str,
        what: &'static str,
        value: impl rusqlite::ToSql + Send + 'static,
    ) -> Result<(), AccountError> {
        let index = self.ledger.keys().index(normal(login).as_bytes());
        let update = move |db: &mut Connection| {
            let sql = format!("UPDATE account SET {what}, version = version + 1 WHERE login = ?1");
            db.execute(&sql, params![index, value])
        };
        match self.ledger.run(update).await? {
            0 => Err(AccountError::Unknown),
            _ => Ok(()),
        }
    }

    /// All, with their names: for who holds the ledger's key in their hands, never for the running bridge.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn list(&self) -> Result<Vec<Listed>, LedgerError> {
        type Line = (String, Vec<u8>, String, Option<String>, bool, bool, i64);
        let all = |db: &mut Connection| {
            let sql = "SELECT id, label, role, conferences, totp IS NOT NULL, disabled, created_at FROM account ORDER BY created_at, id";
            let mut all = db.prepare(sql)?;
            let line = |r: &Row<'_>| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?))
            };
            all.query_map([], line)?.collect::<rusqlite::Result<Vec<Line>>>()
        };
        let listed = |(id, label, role, conferences, totp, disabled, created_at): Line| Listed {
            login: self
                .ledger
                .keys()
                .open(id.as_bytes(), &label)
                .map_or_else(String::new, |login| login.to_string()),
            id,
            role,
            conferences: conferences.map(|list| serde_json::from_str(&list).unwrap_or_default()),
            totp,
            disabled,
            created_at: crate::roster::time_of(at_ms(created_at)),
        };
        Ok(self.ledger.run(all).await?.into_iter().map(listed).collect())
    }

    /// Of all that may sign in: id and version. What was opened with another is over.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn standing(&self) -> Result<std::collections::HashMap<String, i64>, LedgerError> {
        let all = |db: &mut Connection| {
            let mut all = db.prepare_cached("SELECT id, version FROM account WHERE disabled = 0")?;
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        self.ledger.run(all).await
    }
}

/// A time of the ledger's.
fn at_ms(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64)
}

fn taken(e: LedgerError) -> AccountError {
    match e {
        LedgerError::Sql(e) => e.into(),
        e => e.into(),
    }
}

fn fitting(login: &str) -> Result<Zeroizing<String>, AccountError> {
    let login = Zeroizing::new(login.trim().to_owned());
    let fits = !login.is_empty() && login.chars().count() <= LOGIN && !login.chars().any(char::is_control);
    if fits { Ok(login) } else { Err(AccountError::Login) }
}

fn new_password(password: &str) -> Result<String, AccountError> {
    if PASSWORD.contains(&password.chars().count()) { hash(password) } else { Err(AccountError::Password) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Home;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const WORDS: &str = "four random words here";

    struct House {
        accounts: Accounts,
        folder: std::path::PathBuf,
    }

    impl Drop for House {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    fn house() -> House {
        let folder = std::env::temp_dir().join(format!("sotto-accounts-{:016x}", rand::random::<u64>()));
        let home = Home { file: folder.join("ledger.db"), key_file: folder.join("ledger.key") };
        House { accounts: Accounts::new(Ledger::open(&home).unwrap()).unwrap(), folder }
    }

    fn given(login: &str, password: &str, otp: Option<&str>) -> Credentials {
        let own = |text: &str| Zeroizing::new(text.to_owned());
        Credentials { login: own(login), password: own(password), otp: otp.map(str::to_owned) }
    }

    #[tokio::test]
    async fn who_has_an_account_signs_in_with_its_password_alone() {
        let house = house();
        let accounts = &house.accounts;
        let id =
            accounts.add("Ada@example.com", WORDS, Role::Host, Some(vec!["board".into()])).await.unwrap();
        let sign_in = async |login: &str, password: &str| {
            accounts.sign_in(given(login, password, None), FROM, SystemTime::now()).await
        };
        let account = sign_in(" ada@EXAMPLE.com ", WORDS).await.unwrap();
        assert_eq!((&account.id, account.role), (&id, Role::Host));
        assert_eq!(account.conferences, Some(vec!["board".into()]));
        for (login, password) in
            [("ada@example.com", "four random words her"), ("bob@example.com", WORDS), ("", "")]
        {
            assert!(matches!(sign_in(login, password).await, Err(SignInError::Wrong)), "{login}");
        }
        let again = accounts.add("ADA@example.com", WORDS, Role::Host, None).await;
        assert!(matches!(again, Err(AccountError::Taken)));
        let standing = accounts.standing().await.unwrap();
        assert_eq!(standing.get(&id), Some(&account.version));
        accounts.set_password("ada@example.com", "other random words").await.unwrap();
        assert!(sign_in("ada@example.com", WORDS).await.is_err());
        let later = sign_in("ada@example.com", "other random words").await.unwrap();
        assert!(later.version > account.version, "what was open before is over");
        accounts.set_disabled("ada@example.com", true).await.unwrap();
        assert!(sign_in("ada@example.com", "other random words").await.is_err());
        assert!(accounts.standing().await.unwrap().is_empty());
        accounts.set_disabled("ada@example.com", false).await.unwrap();
        let listed = accounts.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].login.as_str(), listed[0].totp), (1, "Ada@example.com", false));
        accounts.remove("ada@example.com").await.unwrap();
        assert!(matches!(accounts.remove("ada@example.com").await, Err(AccountError::Unknown)));
        assert!(accounts.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_one_time_password_is_good_once_and_asked_for_by_the_right_password_alone() {
        let house = house();
        let accounts = &house.accounts;
        accounts.add("ada", WORDS, Role::Admin, None).await.unwrap();
        let uri = accounts.set_totp("ada", "Sotto").await.unwrap();
        assert!(uri.starts_with("otpauth://totp/Sotto:ada?secret="), "{}", &*uri);
        let secret: Vec<u8> = accounts
            .ledger
            .run(|db| db.query_row("SELECT totp FROM account", [], |row| row.get(0)))
            .await
            .unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let word = |step: u64| format!("{:06}", otp(&secret, 1_800_000_000 / STEP + step));
        let sign_in = async |password: &str, otp: Option<&str>, after: u64| {
            accounts.sign_in(given("ada", password, otp), FROM, at + Duration::from_secs(after)).await
        };
        assert!(matches!(sign_in(WORDS, None, 0).await, Err(SignInError::OtpNeeded)));
        assert!(matches!(sign_in("not her random words", None, 0).await, Err(SignInError::Wrong)));
        assert!(
            matches!(sign_in(WORDS, Some(&word(2)), 0).await, Err(SignInError::Wrong)),
            "a minute too early"
        );
        let spaced = format!("{} {}", &word(0)[..3], &word(0)[3..]);
        assert!(sign_in(WORDS, Some(&spaced), 0).await.is_ok());
        assert!(matches!(sign_in(WORDS, Some(&word(0)), 1).await, Err(SignInError::Wrong)), "used");
        assert!(sign_in(WORDS, Some(&word(1)), 1).await.is_ok(), "a clock that is fast");
        accounts.clear_totp("ada").await.unwrap();
        assert!(sign_in(WORDS, None, 2).await.is_ok());
    }

    #[tokio::test]
    async fn a_token_is_good_for_no_more_than_its_account_and_as_long() {
        let house = house();
        let accounts = &house.accounts;
        let all = Some(vec!["board".to_owned(), "hall".to_owned()]);
        let ada = accounts.add("ada", WORDS, Role::Host, all.clone()).await.unwrap();
        let some = Some(vec!["hall".to_owned(), "foreign".to_owned()]);
        let day = Duration::from_secs(86_400);
        let id = accounts.add_token(&ada, [7; 32], some, day).await.unwrap();
        accounts.add_token(&ada, [8; 32], None, day).await.unwrap();
        let mut tokens = accounts.tokens().await.unwrap();
        tokens.sort_by_key(|token| token.hash);
        assert_eq!((tokens[0].hash, tokens[0].role), ([7; 32], Role::Host));
        assert_eq!((&tokens[0].conferences, &tokens[1].conferences), (&Some(vec!["hall".to_owned()]), &all));
        assert!(tokens[0].expires_at > SystemTime::now() + day - Duration::from_secs(60));
        assert_eq!(accounts.tokens_of(&ada).await.unwrap().len(), 2);
        assert!(!accounts.remove_token("u_other", &id).await.unwrap(), "not another's");
        assert!(
            accounts.remove_token(&ada, &id).await.unwrap()
                && !accounts.remove_token(&ada, &id).await.unwrap()
        );
        accounts.set_disabled("ada", true).await.unwrap();
        assert!(accounts.tokens().await.unwrap().is_empty());
        accounts.set_disabled("ada", false).await.unwrap();
        accounts.remove("ada").await.unwrap();
        assert!(accounts.tokens_of(&ada).await.unwrap().is_empty(), "they go with it");
    }

    #[tokio::test]
    async fn who_guesses_waits_and_learns_nothing_of_who_has_an_account() {
        let house = house();
        house.accounts.add("ada", WORDS, Role::Host, None).await.unwrap();
        for login in ["ada", "bob"] {
            let mut answers = Vec::new();
            for _ in 0..7 {
                let answer = house
                    .accounts
                    .sign_in(given(login, "wrong wrong wrong", None), FROM, SystemTime::now())
                    .await;
                answers.push(answer.err().map(|e| std::mem::discriminant(&e)));
            }
            let wrong = Some(std::mem::discriminant(&SignInError::Wrong));
            let wait = Some(std::mem::discriminant(&SignInError::Wait(Duration::ZERO)));
            assert_eq!(answers, [wrong, wrong, wrong, wrong, wrong, wrong, wait], "{login}");
        }
        let right = house.accounts.sign_in(given("ada", WORDS, None), FROM, SystemTime::now()).await;
        assert!(matches!(right, Err(SignInError::Wait(_))), "nor does the right one come in then");
    }

    #[tokio::test]
    async fn names_and_passwords_that_are_none() {
        let house = house();
        let add =
            async |login: &str, password: &str, role| house.accounts.add(login, password, role, None).await;
        assert!(matches!(add(" ", WORDS, Role::Host).await, Err(AccountError::Login)));
        assert!(matches!(add("a\nb", WORDS, Role::Host).await, Err(AccountError::Login)));
        assert!(matches!(add("ada", "short words", Role::Host).await, Err(AccountError::Password)));
        assert!(matches!(add("ada", &"long".repeat(100), Role::Host).await, Err(AccountError::Password)));
        assert!(matches!(add("ada", WORDS, Role::Guest).await, Err(AccountError::Role)));
        assert!(matches!(house.accounts.set_password("ada", WORDS).await, Err(AccountError::Unknown)));
    }

    #[test]
    fn one_time_passwords_are_those_of_the_rfc() {
        // RFC 6238 appendix B, of whose eight digits the last six are ours.
        let secret = b"12345678901234567890";
        for (time, word) in
            [(59, 287_082), (1_111_111_109, 81_804), (1_234_567_890, 5_924), (20_000_000_000, 353_130)]
        {
            assert_eq!(otp(secret, time / STEP), word, "{time}");
        }
        assert_eq!(base32(b"12345678901234567890"), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(base32(b"f"), "MY");
    }
}
