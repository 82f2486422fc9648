//! What lasts: one file, encrypted as a whole (SQLCipher). A thread of its own reads and writes, so that no call waits for a disk; it opens the file when there
//! is something to do and closes it when there is no more, so that neither the key nor an open page lies in memory meanwhile.
//!
//! The key file has 32 octets in hexadecimal digits and is for its owner alone. Keys for what is kept apart even within the ledger are derived from
//! it (HKDF, RFC 5869): whoever reads the open ledger in memory finds names neither in its pages nor in its indexes.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// Jobs that may wait for the ledger.
const WAITING: usize = 1024;
/// So long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets of a key.
const KEY: usize = 32;

/// Each step of the ledger's shape, in their order; none is ever changed.
const STEPS: &[M<'_>] = &[M::up(include_str!("1.sql")), M::up(include_str!("2.sql"))];

/// Why the ledger does not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The key file is not as it should be.
    #[error("{0}: {1}")]
    Key(PathBuf, &'static str),
    /// The operating system's.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// The key is not this ledger's, or the file is no ledger. Nothing was changed.
    #[error("{0} does not open with this key")]
    WrongKey(PathBuf),
    /// It was written by a later version, or a step failed.
    #[error("the ledger's shape: {0}")]
    Shape(#[from] rusqlite_migration::Error),
    /// SQLite's. Its texts name tables and columns, never values.
    #[error("the ledger: {0}")]
    Sql(#[from] rusqlite::Error),
    /// More is asked of it than it can do, or it has ended.
    #[error("the ledger takes nothing now")]
    Busy,
}

/// Where the ledger is, and its key.
#[derive(Debug, Clone)]
pub struct Home {
    /// The file.
    pub file: PathBuf,
    /// Its key's.
    pub key_file: PathBuf,
}

/// What is derived from its key.
pub struct Keys {
    home: Home,
    index: hmac::Key,
    pins: hmac::Key,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY
    }
}

impl Keys {
    fn new(home: &Home, root: &[u8; KEY]) -> Self {
        let key = |of: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, &*derived(root, of));
        Self { home: home.clone(), index: key(b"index"), pins: key(b"pin") }
    }

    /// Made for each use: who signs others in needs none.
    fn sealing(&self) -> Result<LessSafeKey, LedgerError> {
        let root = key(&self.home)?;
        // Octets of that number are always a key.
        let key = UnboundKey::new(&AES_256_GCM, &*derived(&root, b"seal")).map_err(|_| LedgerError::Busy)?;
        Ok(LessSafeKey::new(key))
    }

    /// The key under which PINs are kept.
    pub fn pins(&self) -> hmac::Key {
        self.pins.clone()
    }

    /// By what something is found again without being kept.
    pub fn index(&self, of: &[u8]) -> [u8; 32] {
        let mut index = [0; 32];
        index.copy_from_slice(hmac::sign(&self.index, of).as_ref());
        index
    }

    /// Seals a text; `place` is where it is kept, so that it opens nowhere else.
    ///
    /// # Errors
    /// [`LedgerError`] of the key's.
    pub fn seal(&self, place: &[u8], text: &str) -> Result<Vec<u8>, LedgerError> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = text.as_bytes().to_vec();
        let done = self.sealing()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place),
            &mut sealed,
        );
        // Only texts beyond 64 GiB fail.
        done.map_err(|_| LedgerError::Busy)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens it again. `None`: it is none of ours, or of another place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<String>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let open = self.sealing().ok()?.open_in_place(nonce, Aad::from(place), &mut text).ok()?;
        std::str::from_utf8(open).ok().map(|text| Zeroizing::new(text.to_owned()))
    }
}

fn derived(root: &[u8; KEY], purpose: &[u8]) -> Zeroizing<[u8; KEY]> {
    let (root, info) = (Salt::new(HKDF_SHA256, b"sotto ledger").extract(root), [purpose]);
    let mut key = Zeroizing::new([0; KEY]);
    // HKDF gives so few octets always (RFC 5869 §2.3).
    if let Ok(okm) = root.expand(&info, Length) {
        let _ = okm.fill(&mut *key);
    }
    key
}

type Job = Box<dyn FnOnce(Option<&mut Connection>) + Send>;

/// The way to the ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    jobs: Option<SyncSender<Job>>,
    keys: Keys,
    thread: Option<JoinHandle<()>>,
}

/// The last to go waits until the file is closed: OpenSSL takes its own apart when the process ends, whoever still works with it.
impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A job that panicked was told of by the hook.
            let _ = thread.join();
        }
    }
}

impl Ledger {
    /// Opens the ledger; where there is none, it is made, and its key as well.
    ///
    /// # Errors
    /// [`LedgerError`]: then nothing was changed.
    pub fn open(home: &Home) -> Result<Self, LedgerError> {
        if !vault::foreign::hash_random_numbers() {
            tracing::warn!("OpenSSL keeps a key for its random numbers in memory");
        }
        let root = key(home)?;
        let mut connection = connect(home, &root)?;
        Migrations::from_slice(STEPS).to_latest(&mut connection)?;
        drop(connection);
        let keys = Keys::new(home, &root);
        let (jobs, waiting) = sync_channel(WAITING);
        let (thread, home, file) = (std::thread::Builder::new(), home.clone(), home.file.clone());
        let spawned = thread.name("ledger".into()).spawn(move || work(&home, &waiting));
        let thread = spawned.map_err(|e| LedgerError::Io(file, e))?;
        Ok(Self(Arc::new(Desk { jobs: Some(jobs), keys, thread: Some(thread) })))
    }

    /// What is derived from its key.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Has something done by the ledger's thread.
    ///
    /// # Errors
    /// [`LedgerError::Busy`], and what the job fails with.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (reply, done) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Who asked may have gone.
            let _ = reply.send(connection.map(job));
        });
        let jobs = self.0.jobs.as_ref().ok_or(LedgerError::Busy)?;
        jobs.try_send(job).map_err(|_| LedgerError::Busy)?;
        Ok(done.await.map_err(|_| LedgerError::Busy)?.ok_or(LedgerError::Busy)??)
    }
}

/// Does what comes until the last [`Ledger`] is gone.
fn work(home: &Home, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut connection = key(home).and_then(|root| connect(home, &root));
        if let Err(e) = &connection {
            tracing::error!(error = %e, "the ledger does not open");
        }
        // What comes meanwhile is done with it open.
        std::iter::once(first).chain(waiting.try_iter()).for_each(|job| job(connection.as_mut().ok()));
    }
}

/// The key. It is made where neither it nor a ledger is there.
fn key(home: &Home) -> Result<Zeroizing<[u8; KEY]>, LedgerError> {
    let wrong = |what| LedgerError::Key(home.key_file.clone(), what);
    let io = |e| LedgerError::Io(home.key_file.clone(), e);
    let file = match OpenOptions::new().read(true).open(&home.key_file) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !home.file.exists() => return make_key(home),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(wrong("the ledger's key is not there; without it the ledger cannot be opened"));
        }
        Err(e) => return Err(io(e)),
    };
    if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
        return Err(wrong("others than its owner may read it, expected mode 0600"));
    }
    let mut text = Zeroizing::new(String::with_capacity(128));
    file.take(128).read_to_string(&mut text).map_err(|_| wrong("expected 64 hexadecimal digits"))?;
    from_hex(text.trim()).ok_or_else(|| wrong("expected 64 hexadecimal digits"))
}

fn make_key(home: &Home) -> Result<Zeroizing<[u8; KEY]>, LedgerError> {
    let io = |e| LedgerError::Io(home.key_file.clone(), e);
    make_folder(&home.key_file)?;
    let root: Zeroizing<[u8; KEY]> = Zeroizing::new(rand::random());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&home.key_file).map_err(io)?;
    file.write_all(format!("{}\n", &*to_hex(&root)).as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(root)
}

fn make_folder(file: &Path) -> Result<(), LedgerError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| LedgerError::Io(folder.to_owned(), e))
}

fn to_hex(key: &[u8; KEY]) -> Zeroizing<String> {
    use std::fmt::Write;
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY));
    for octet in key {
        // Writing into a String does not fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    if text.len() != 2 * KEY || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

fn connect(home: &Home, root: &[u8; KEY]) -> Result<Connection, LedgerError> {
    make_folder(&home.file)?;
    let io = |e| LedgerError::Io(home.file.clone(), e);
    // For its owner alone from its first moment on.
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&home.file).map_err(io)?;
    let connection = Connection::open(&home.file)?;
    connection.busy_timeout(PATIENCE)?;
    // What SQLite frees is wiped, from the key on.
    connection.execute_batch("PRAGMA cipher_memory_security = ON")?;
    let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{}'\";", &*to_hex(root)));
    connection.execute_batch(&pragma)?;
    let opens = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    opens.map_err(|e| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::WrongKey(home.file.clone()),
        _ => e.into(),
    })?;
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA synchronous = FULL;")?;
    // Answers with the mode's name.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (Home, PathBuf) {
        let folder = std::env::temp_dir().join(format!("sotto-ledger-{:016x}", rand::random::<u64>()));
        (Home { file: folder.join("ledger.db"), key_file: folder.join("ledger.key") }, folder)
    }

    #[test]
    fn the_steps_are_sound() {
        Migrations::from_slice(STEPS).validate().unwrap();
    }

    #[tokio::test]
    async fn what_is_written_lasts_and_opens_with_its_key_alone() {
        let (home, folder) = home();
        let ledger = Ledger::open(&home).unwrap();
        let sealed = ledger.keys().seal(b"here", "ada@example.com").unwrap();
        assert_eq!(
            ledger.keys().open(b"here", &sealed).as_deref().map(String::as_str),
            Some("ada@example.com")
        );
        assert!(ledger.keys().open(b"there", &sealed).is_none(), "it opens in its place alone");
        ledger
            .run(|db| db.execute("INSERT INTO account (id, login, label, role, password, created_at) VALUES ('u_CANARY', x'00', x'00', 'host', 'CANARY', 0)", []))
            .await
            .unwrap();
        drop(ledger);
        let again = Ledger::open(&home).unwrap();
        let count = again
            .run(|db| db.query_row("SELECT count(*) FROM account", [], |row| row.get::<_, i64>(0)))
            .await;
        assert_eq!(count.unwrap(), 1);
        assert_eq!(
            again.keys().open(b"here", &sealed).as_deref().map(String::as_str),
            Some("ada@example.com")
        );
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // The log of the last writes goes when the file is closed.
            let (Ok(bytes), Ok(about)) = (std::fs::read(&path), std::fs::metadata(&path)) else { continue };
            assert!(
                !bytes.windows(6).any(|w| w == b"CANARY") && !bytes.starts_with(b"SQLite"),
                "{}",
                path.display()
            );
            let mode = about.permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
        drop(again);
        // Another key, no key, a key for all to read, no key at all: each a clear refusal.
        std::fs::write(&home.key_file, "00".repeat(32)).unwrap();
        assert!(matches!(Ledger::open(&home), Err(LedgerError::WrongKey(_))));
        std::fs::set_permissions(&home.key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Ledger::open(&home).unwrap_err().to_string().contains("expected mode 0600"));
        std::fs::set_permissions(&home.key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in ["", "00", &"zz".repeat(32), &"00".repeat(33)] {
            std::fs::write(&home.key_file, wrong).unwrap();
            assert!(
                Ledger::open(&home).unwrap_err().to_string().contains("64 hexadecimal digits"),
                "{wrong}"
            );
        }
        std::fs::remove_file(&home.key_file).unwrap();
        assert!(Ledger::open(&home).unwrap_err().to_string().contains("the ledger's key is not there"));
        assert!(!home.key_file.exists(), "none is made for a ledger that has one");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
