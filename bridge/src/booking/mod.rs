//! Conferences that accounts have made: kept in the ledger, with their PINs as keyed hashes. A PIN is shown when it is made, and never again.

use crate::config::Withhold;
use crate::ledger::{Ledger, LedgerError};
use crate::meeting::Lobby;
use crate::pin::{Doors, Entrant, Kept};
use crate::prompt::Language;
use crate::roster::{random_id, time_of};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Conferences of one account at most, and PINs for one person each of one conference.
const MOST: i64 = 200;
const MOST_PINS: i64 = 500;
/// Digits of a PIN that nobody has chosen, and of a conference's number.
const DIGITS: u32 = 6;
/// Who comes a little too early comes in.
const EARLY: Duration = Duration::from_secs(600);

/// What its owner says of a conference. What is not said is as it is usual in the house.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Participants, 1 to 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<usize>,
    /// Who waits until they are let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lobby: Option<Lobby>,
    /// All hear a chime when somebody comes or goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chimes: Option<bool>,
    /// Callers are asked to say their name, and all hear it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce_names: Option<bool>,
    /// In which callers are spoken to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// What participants withhold unless they share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withhold: Option<Withhold>,
    /// Callers who withhold their number are not let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse_anonymous: Option<bool>,
    /// What an operator notes of each participant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// There is a list of who was there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub attendance: bool,
    /// Nobody comes in before this (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<String>,
    /// Nobody comes in after this (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closes_at: Option<String>,
}

/// When people may come in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    from: Option<SystemTime>,
    until: Option<SystemTime>,
}

impl Window {
    /// Whether they may at this time.
    pub fn is_open(&self, at: SystemTime) -> bool {
        self.from.is_none_or(|from| at + EARLY >= from) && self.until.is_none_or(|until| at < until)
    }
}

impl Settings {
    /// What is wrong with them, if anything is.
    pub fn fault(&self) -> Option<&'static str> {
        let line = |text: &str, most| {
            (1..=most).contains(&text.chars().count())
                && !text.trim().is_empty()
                && !text.chars().any(char::is_control)
        };
        let times = self.opens_at.iter().chain(&self.closes_at);
        let window = self.window();
        if !self.title.as_ref().is_none_or(|title| line(title, 120)) {
            Some("\"title\": expected 1 to 120 characters in one line")
        } else if !self.capacity.is_none_or(|capacity| (1..=10_000).contains(&capacity)) {
            Some("\"capacity\": expected 1 to 10000")
        } else if self.fields.len() > 10 || !self.fields.iter().all(|label| line(label, 60)) {
            Some("\"fields\": expected up to 10, each 1 to 60 characters in one line")
        } else if !times.clone().all(|time| read_time(time).is_some()) {
            Some("\"opens_at\", \"closes_at\": expected a time as 2026-01-31T09:00:00Z (RFC 3339)")
        } else if window.from.zip(window.until).is_some_and(|(from, until)| from >= until) {
            Some("\"closes_at\": expected a time after \"opens_at\"")
        } else {
            None
        }
    }

    /// When people may come in.
    pub fn window(&self) -> Window {
        let time = |text: &Option<String>| text.as_deref().and_then(read_time);
        Window { from: time(&self.opens_at), until: time(&self.closes_at) }
    }
}

fn read_time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// A conference that an account has made.
#[derive(Debug, Clone)]
pub struct Booking {
    /// `m_` and random letters.
    pub id: String,
    /// The account.
    pub owner: String,
    /// What callers enter for it.
    pub entry: String,
    /// What its owner says of it.
    pub settings: Settings,
    /// PIN of its guests.
    pub guest: Kept,
    /// PIN of its hosts.
    pub host: Kept,
    /// PINs for one person each.
    pub personal: Vec<Personal>,
}

/// A PIN for one person.
#[derive(Debug, Clone)]
pub struct Personal {
    /// `n_` and random letters.
    pub id: Arc<str>,
    /// The PIN.
    pub pin: Kept,
    /// As what they come in.
    pub entrant: Entrant,
    /// Good once.
    pub once: bool,
}

/// A line of the list of PINs for one person each.
#[derive(Debug, Serialize)]
pub struct ListedPin {
    /// Its id.
    pub id: String,
    /// `guest` or `host`.
    pub role: &'static str,
    /// Good once.
    pub once: bool,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
}

/// Why a conference is not made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookingError {
    /// Something about it is not as it should be.
    #[error("{0}")]
    Fault(&'static str),
    /// There is none.
    #[error("there is no such conference")]
    Unknown,
    /// As many as may be are there.
    #[error("there are as many as may be")]
    TooMany,
    /// The ledger's.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What is made with a conference and told once.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// What callers enter for it.
    pub entry: String,
    /// PIN of its guests.
    pub pin: String,
    /// PIN of its hosts.
    pub host_pin: String,
}

/// Which PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// That of all guests.
    Guest,
    /// That of the hosts.
    Host,
    /// One more, for one person.
    Personal,
    /// One more, good once.
    Once,
}

/// All of them.
#[derive(Debug)]
pub struct Bookings {
    ledger: Ledger,
    /// Entries that the configuration has given away.
    taken: Vec<String>,
}

/// Digits that nobody can foresee.
fn digits() -> String {
    let number = rand::random_range(0..10u32.pow(DIGITS));
    format!("{number:0width$}", width = DIGITS as usize)
}

/// A PIN that somebody has chosen, or a new one.
fn chosen(pin: Option<String>) -> Result<String, BookingError> {
    let pin = pin.unwrap_or_else(digits);
    let fits = (crate::pin::SHORTEST..=crate::pin::LONGEST).contains(&pin.len())
        && pin.bytes().all(|b| b.is_ascii_digit());
    if fits { Ok(pin) } else { Err(BookingError::Fault("a PIN: expected 4 to 12 digits")) }
}

impl Bookings {
    /// Those of a ledger; `taken` are entries of other conferences.
    pub fn new(ledger: Ledger, taken: Vec<String>) -> Self {
        Self { ledger, taken }
    }

    /// Makes a conference of an account's.
    ///
    /// # Errors
    /// [`BookingError`].
    pub async fn add(
        &self,
        doors: &Doors,
        owner: &str,
        settings: &Settings,
        pin: Option<String>,
        host_pin: Option<String>,
    ) -> Result<Made, BookingError> {
        if let Some(fault) = settings.fault() {
            return Err(BookingError::Fault(fault));
        }
        let (pin, mut host) = (chosen(pin)?, chosen(host_pin.clone())?);
        while host == pin {
            match host_pin {
                Some(_) => return Err(BookingError::Fault("\"host_pin\": expected another than \"pin\"")),
                None => host = digits(),
            }
        }
        let id = random_id("m_");
        let (guest_hash, host_hash) = (doors.kept(&id, &pin), doors.kept(&id, &host));
        // A number that is taken already is passed over; of a million few are.
        for _ in 0..100 {
            let entry = digits();
            if self.taken.contains(&entry) {
                continue;
            }
            let row = (id.clone(), owner.to_owned(), entry.clone(), json(settings), guest_hash, host_hash);
            let insert = move |db: &mut Connection| insert(db, &row);
            return match self.ledger.run(insert).await {
                Ok(0) => Err(BookingError::TooMany),
                Ok(_) => Ok(Made { id, entry, pin, host_pin: host }),
                Err(LedgerError::Sql(e)) if is_taken(&e) => continue,
                Err(e) => Err(e.into()),
            };
        }
        Err(BookingError::TooMany)
    }

    /// Changes what is said of a conference; it holds for its next meeting.
    ///
    /// # Errors
    /// [`BookingError`].
    pub async fn change(&self, id: &str, settings: &Settings) -> Result<(), BookingError> {
        if let Some(fault) = settings.fault() {
            return Err(BookingError::Fault(fault));
        }
        let (id, settings) = (id.to_owned(), json(settings));
        let update = move |db: &mut Connection| {
            db.execute("UPDATE booking SET settings = ?2 WHERE id = ?1", params![id, settings])
        };
        one(self.ledger.run(update).await?)
    }

    /// Takes a conference away.
    ///
    /// # Errors
    /// [`BookingError`].
    pub async fn remove(&self, id: &str) -> Result<(), BookingError> {
        let id = id.to_owned();
        let delete = move |db: &mut Connection| db.execute("DELETE FROM booking WHERE id = ?1", [id]);
        one(self.ledger.run(delete).await?)
    }

    /// Makes a PIN, in place of the one before where there is one for all: its id, if it has one, and its digits.
    ///
    /// # Errors
    /// [`BookingError`].
    pub async fn make_pin(
        &self,
        doors: &Doors,
        id: &str,
        which: Which,
        as_host: bool,
        pin: Option<String>,
    ) -> Result<(Option<String>, String), BookingError> {
        let pin = chosen(pin)?;
        let hash = doors.kept(id, &pin);
        let of = id.to_owned();
        let column = match which {
            Which::Guest => "guest_pin",
            Which::Host => "host_pin",
            Which::Personal | Which::Once => {
                let (id, once) = (random_id("n_"), which == Which::Once);
                let row = id.clone();
                let now = now_ms();
                let insert = move |db: &mut Connection| {
                    let clashes = "SELECT 1 FROM booking WHERE id = ?1 AND (guest_pin = ?2 OR host_pin = ?2)";
                    if db.prepare(clashes)?.exists(params![of, hash.as_slice()])? {
                        return Ok(None);
                    }
                    let sql = "INSERT INTO booking_pin (id, booking, hash, host, once, created_at)
                               SELECT ?1, id, ?3, ?4, ?5, ?6 FROM booking
                               WHERE id = ?2 AND (SELECT count(*) FROM booking_pin WHERE booking = ?2) < ?7";
                    db.execute(sql, params![row, of, hash.as_slice(), as_host, once, now, MOST_PINS])
                        .map(Some)
                };
                return match self.ledger.run(insert).await {
                    Ok(Some(0)) => Err(BookingError::TooMany),
                    Ok(Some(_)) => Ok((Some(id), pin)),
                    Ok(None) => Err(TAKEN),
                    Err(LedgerError::Sql(e)) if is_taken(&e) => Err(TAKEN),
                    Err(e) => Err(e.into()),
                };
            }
        };
        // Two that are the same would make a guest a host.
        let sql = format!(
            "UPDATE booking SET {column} = ?2 WHERE id = ?1 AND guest_pin <> ?2 AND host_pin <> ?2
             AND NOT EXISTS (SELECT 1 FROM booking_pin WHERE booking = ?1 AND hash = ?2)"
        );
        let update = move |db: &mut Connection| db.execute(&sql, params![of, hash.as_slice()]);
        match self.ledger.run(update).await? {
            0 => Err(TAKEN),
            _ => Ok((None, pin)),
        }
    }

    /// PINs for one person each.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn pins(&self, id: &str) -> Result<Vec<ListedPin>, LedgerError> {
        let id = id.to_owned();
        let all = move |db: &mut Connection| {
            let sql = "SELECT id, host, once, created_at FROM booking_pin WHERE booking = ?1 ORDER BY created_at, id";
            let mut all = db.prepare(sql)?;
            let line = |r: &Row<'_>| {
                let at: i64 = r.get(3)?;
                let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at.max(0) as u64);
                let role = if r.get(1)? { "host" } else { "guest" };
                Ok(ListedPin { id: r.get(0)?, role, once: r.get(2)?, created_at: time_of(at) })
            };
            all.query_map([id], line)?.collect()
        };
        self.ledger.run(all).await
    }

    /// Takes a PIN for one person away. False: there is none.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn remove_pin(&self, booking: &str, id: &str) -> Result<bool, LedgerError> {
        let (booking, id) = (booking.to_owned(), id.to_owned());
        let delete = move |db: &mut Connection| {
            db.execute("DELETE FROM booking_pin WHERE booking = ?1 AND id = ?2", params![booking, id])
        };
        Ok(self.ledger.run(delete).await? > 0)
    }

    /// All conferences of accounts that may sign in.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn all(&self) -> Result<Vec<Booking>, LedgerError> {
        let all = |db: &mut Connection| {
            let mut pins: HashMap<String, Vec<Personal>> = HashMap::new();
            let mut of_one = db.prepare("SELECT booking, id, hash, host, once FROM booking_pin")?;
            let mut rows = of_one.query([])?;
            while let Some(r) = rows.next()? {
                let id: String = r.get(1)?;
                let entrant = if r.get(3)? { Entrant::Host } else { Entrant::Guest };
                let personal = Personal { id: id.into(), pin: Kept(r.get(2)?), entrant, once: r.get(4)? };
                pins.entry(r.get(0)?).or_default().push(personal);
            }
            let sql = "SELECT b.id, b.owner, b.entry, b.settings, b.guest_pin, b.host_pin FROM booking b
                       JOIN account a ON a.id = b.owner WHERE a.disabled = 0 ORDER BY b.created_at, b.id";
            let mut all = db.prepare(sql)?;
            let booking = |r: &Row<'_>| {
                let (id, settings): (String, String) = (r.get(0)?, r.get(3)?);
                Ok(Booking {
                    personal: pins.remove(&id).unwrap_or_default(),
                    id,
                    owner: r.get(1)?,
                    entry: r.get(2)?,
                    // Written by us; what a later version wrote beside it is as it is usual here.
                    settings: serde_json::from_str(&settings).unwrap_or_default(),
                    guest: Kept(r.get(4)?),
                    host: Kept(r.get(5)?),
                })
            };
            all.query_map([], booking)?.collect()
        };
        self.ledger.run(all).await
    }

    /// Who owns a conference, if there is one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn owner(&self, id: &str) -> Result<Option<String>, LedgerError> {
        let id = id.to_owned();
        let find = move |db: &mut Connection| {
            db.query_row("SELECT owner FROM booking WHERE id = ?1", [id], |r| r.get(0)).optional()
        };
        self.ledger.run(find).await
    }
}

const TAKEN: BookingError = BookingError::Fault("a PIN: expected another than those that there are");

fn json(settings: &Settings) -> String {
    // Texts, numbers and lists always serialise.
    serde_json::to_string(settings).unwrap_or_default()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

fn one(changed: usize) -> Result<(), BookingError> {
    if changed == 0 { Err(BookingError::Unknown) } else { Ok(()) }
}

fn is_taken(e: &rusqlite::Error) -> bool {
    e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

/// A conference's columns: id, owner, entry, settings, PINs.
type NewRow = (String, String, String, String, Kept, Kept);

fn insert(db: &Connection, (id, owner, entry, settings, guest, host): &NewRow) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO booking (id, owner, entry, settings, guest_pin, host_pin, created_at)
               SELECT ?1, id, ?3, ?4, ?5, ?6, ?7 FROM account
               WHERE id = ?2 AND (SELECT count(*) FROM booking WHERE owner = ?2) < ?8";
    let (guest, host) = (guest.as_slice(), host.as_slice());
    db.execute(sql, params![id, owner, entry, settings, guest, host, now_ms(), MOST])
}

#[cfg(test)]
mod tests;
