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

fn find(db: &Connection, index: [u8; 32]) -> rusqlite::Result<Option<Found>> {
    db.query_row("SELECT * FROM account WHERE login = ?1", [index], Found::of).optional()
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
        let found = self.ledger.run(move |db: &mut Connection| find(db, index)).await?;
        let found = found.filter(|found| !found.disabled);
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

    /// The account of somebody whom another has signed in. `None`: there is none, or it may not.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn known(&self, login: &str) -> Result<Option<Account>, LedgerError> {
        let index = self.ledger.keys().index(normal(login).as_bytes());
        let found = self.ledger.run(move |db: &mut Connection| find(db, index)).await?;
        Ok(found.filter(|found| !found.disabled).map(|found| found.account))
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an account; its id. Without a password, only another can sign its owner in.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn add(
        &self,
        login: &str,
        password: Option<&str>,
        role: Role,
        conferences: Option<Vec<String>>,
    ) -> Result<String, AccountError> {
        if matches!(role, Role::Guest | Role::Monitor) {
            return Err(AccountError::Role);
        }
        let login = fitting(login)?;
        let id = random_id("u_");
        // What nobody knows takes as long to be found wrong as any other.
        let password = password.map_or_else(|| hash(&random_id("nobody")), new_password)?;
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
mod tests;
