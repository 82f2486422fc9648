//! The vault itself, its keys and its index keys. A key is made in place in secret pages, its schedule never
//! touches an ordinary stack, and dropping it shreds everything that it sealed.
#![allow(unsafe_code)]

use crate::Status;
use crate::pages::{self, Pages, Policy, Protection};
use crate::region;
use crate::wipe;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::hash::Hasher;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use pages::TooWeak;

/// Why the vault could not give what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// No acceptable protection could be had.
    #[error(transparent)]
    TooWeak(#[from] TooWeak),
    /// The system's random number generator failed.
    #[error("the system's random number generator failed")]
    Random,
}

const KEY_SLOT: usize = 704;
const KEY_CHUNK: usize = 64 * 1024;
const WORKSHOP: usize = 64 * 1024;

/// Keys' places: chunks of secret pages cut into slots.
struct KeyPool {
    /// Bytes of a slot, and of a chunk.
    size: usize,
    chunk: usize,
    chunks: Vec<Pages>,
    free: Vec<NonNull<u8>>,
}

impl KeyPool {
    fn new(size: usize, chunk: usize) -> Self {
        Self { size, chunk, chunks: Vec::new(), free: Vec::new() }
    }

    fn slot(&mut self, policy: Policy) -> Result<NonNull<u8>, VaultError> {
        if self.free.is_empty() {
            let chunk = Pages::map(self.chunk, policy)?;
            // SAFETY: inside the chunk.
            let place = |i: usize| unsafe { NonNull::new_unchecked(chunk.base().add(i * self.size)) };
            self.free.extend((0..self.chunk / self.size).map(place));
            self.chunks.push(chunk);
        }
        self.free.pop().ok_or(VaultError::Random)
    }

    fn give_back(&mut self, slot: NonNull<u8>) {
        // SAFETY: the slot's owner is being dropped; nothing refers to it any more.
        unsafe { wipe::raw(slot.as_ptr(), self.size) };
        self.free.push(slot);
    }
}

/// A small secret stack on which keys are made and values change keys, outside any region.
struct Workshop {
    stack: Pages,
    visits: region::Visits,
}

impl Workshop {
    fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        region::on_secret_stack(self.stack.base(), self.stack.len(), self.visits.whole(), f)
    }
}

pub(crate) struct Inner {
    pub(crate) policy: Policy,
    pool: Mutex<KeyPool>,
    media: Mutex<KeyPool>,
    workshop: Mutex<Workshop>,
    pub(crate) panics: AtomicU64,
    pub(crate) escapes: AtomicU64,
    pub(crate) spills: AtomicU64,
    scoped_heap: bool,
}

// SAFETY: the raw pointers in the pool are places in the pool's own pages; the mutex guards them.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Inner {
    fn slot(&self) -> Result<NonNull<u8>, VaultError> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).slot(self.policy)
    }

    fn give_back(&self, slot: NonNull<u8>) {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).give_back(slot);
    }

    /// A place for what works with a media key.
    pub(crate) fn media_slot(&self) -> Result<NonNull<u8>, VaultError> {
        self.media.lock().unwrap_or_else(PoisonError::into_inner).slot(self.policy)
    }

    pub(crate) fn give_media_back(&self, slot: NonNull<u8>) {
        self.media.lock().unwrap_or_else(PoisonError::into_inner).give_back(slot);
    }

    #[cfg(test)]
    pub(crate) fn media_bytes(&self) -> usize {
        self.media.lock().unwrap_or_else(PoisonError::into_inner).chunks.len() * crate::media::CHUNK
    }

    /// Runs `f` on the workshop's secret stack, which is wiped afterwards.
    pub(crate) fn in_workshop<R>(&self, f: impl FnOnce() -> R) -> R {
        self.workshop.lock().unwrap_or_else(PoisonError::into_inner).run(f)
    }
}

/// Encrypted memory for one process. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("status", &self.status()).finish()
    }
}

impl Vault {
    /// Opens a vault at the best rung of the ladder that `policy` accepts.
    ///
    /// # Errors
    /// [`VaultError::TooWeak`] when no acceptable rung can be reached: the process must then not take calls.
    pub fn open(policy: Policy) -> Result<Self, VaultError> {
        let stack = Pages::map(WORKSHOP, policy)?;
        // The first chunk is mapped now, so that a vault that opens can keep keys.
        let mut pool = KeyPool::new(KEY_SLOT, KEY_CHUNK);
        let first = pool.slot(policy)?;
        pool.free.push(first);
        let scoped_heap = region::heap_is_scoped(policy)?;
        Ok(Self {
            inner: Arc::new(Inner {
                policy,
                pool: Mutex::new(pool),
                media: Mutex::new(KeyPool::new(crate::media::SLOT, crate::media::CHUNK)),
                workshop: Mutex::new(Workshop { visits: region::Visits::new(stack.protection()), stack }),
                panics: AtomicU64::new(0),
                escapes: AtomicU64::new(0),
                spills: AtomicU64::new(0),
                scoped_heap,
            }),
        })
    }

    /// A region for the calling thread.
    ///
    /// # Errors
    /// [`VaultError::TooWeak`] when its pages cannot be had (see RLIMIT_MEMLOCK).
    pub fn region(&self) -> Result<region::Region, VaultError> {
        Ok(region::Region::new(self.clone(), self.inner.policy)?)
    }

    /// The same with a stack four times as deep: for public-key cryptography.
    ///
    /// # Errors
    /// As [`Self::region`].
    pub fn deep_region(&self) -> Result<region::Region, VaultError> {
        Ok(region::Region::deep(self.clone(), self.inner.policy)?)
    }

    /// A store for values that last, for the calling thread.
    pub fn store(&self) -> crate::lasting::Store {
        crate::lasting::Store::new(self.clone())
    }

    /// A fresh random AES-256-GCM key, made in place.
    ///
    /// # Errors
    /// No room for it in protected memory, or no random numbers.
    pub fn keyring(&self) -> Result<Keyring, VaultError> {
        Ok(self.keyring_told(|_| ())?.0)
    }

    /// As [`Self::keyring`]; `tell` sees the key's 32 bytes while they are on the secret stack. What it returns must not be
    /// made of them but encrypted.
    pub(crate) fn keyring_told<R>(
        &self,
        tell: impl FnOnce(&[u8; 32]) -> R,
    ) -> Result<(Keyring, R), VaultError> {
        const { assert!(size_of::<LessSafeKey>() <= KEY_SLOT && align_of::<LessSafeKey>() <= 64) };
        let slot = self.inner.slot()?;
        let made = self.inner.in_workshop(|| {
            let mut raw = [0u8; 32];
            let made = SystemRandom::new()
                .fill(&mut raw)
                .and_then(|()| UnboundKey::new(&AES_256_GCM, &raw))
                // SAFETY: a free slot, large enough and aligned (the assertion above).
                .map(|key| unsafe { slot.as_ptr().cast::<LessSafeKey>().write(LessSafeKey::new(key)) });
            let told = made.map(|()| tell(&raw));
            wipe::bytes(&mut raw);
            told
        });
        let Ok(told) = made else {
            self.inner.give_back(slot);
            return Err(VaultError::Random);
        };
        Ok((Keyring { slot, nonce: AtomicU64::new(0), vault: self.inner.clone() }, told))
    }

    /// A fresh key for blind indexes.
    ///
    /// # Errors
    /// As [`Self::keyring`].
    pub fn index_key(&self) -> Result<IndexKey, VaultError> {
        let slot = self.inner.slot()?;
        // SAFETY: a free slot of at least 16 bytes.
        let raw = unsafe { std::slice::from_raw_parts_mut(slot.as_ptr(), 16) };
        if SystemRandom::new().fill(raw).is_err() {
            self.inner.give_back(slot);
            return Err(VaultError::Random);
        }
        Ok(IndexKey { slot, vault: self.inner.clone() })
    }

    /// What is held and how well it is protected.
    pub fn status(&self) -> Status {
        let workshop = self.inner.workshop.lock().unwrap_or_else(PoisonError::into_inner);
        Status {
            protection: workshop.stack.protection(),
            locked_bytes: pages::mapped_bytes(),
            scoped_heap: self.inner.scoped_heap,
            escapes: self.inner.escapes.load(Ordering::Relaxed),
            spills: self.inner.spills.load(Ordering::Relaxed),
            panics: self.inner.panics.load(Ordering::Relaxed),
        }
    }

    /// The rung reached.
    pub fn protection(&self) -> Protection {
        self.status().protection
    }
}

/// One key: a conference's, or the signalling's. Dropping it shreds all that it sealed.
pub struct Keyring {
    slot: NonNull<u8>,
    nonce: AtomicU64,
    vault: Arc<Inner>,
}

// SAFETY: the key in the slot is immutable once made, and LessSafeKey is Sync.
unsafe impl Send for Keyring {}
// SAFETY: as above; the nonce counter is atomic.
unsafe impl Sync for Keyring {}

impl Keyring {
    pub(crate) fn key(&self) -> &LessSafeKey {
        // SAFETY: written by `Vault::keyring`, and wiped only by `drop`.
        unsafe { &*self.slot.as_ptr().cast::<LessSafeKey>() }
    }

    /// A nonce never used before with this key.
    pub(crate) fn next_nonce(&self) -> u64 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn vault(&self) -> &Inner {
        &self.vault
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        self.vault.give_back(self.slot);
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(..)")
    }
}

/// A key for [`Index`]es; equal texts give equal indexes only under the same key.
pub struct IndexKey {
    slot: NonNull<u8>,
    vault: Arc<Inner>,
}

// SAFETY: immutable once made.
unsafe impl Send for IndexKey {}
// SAFETY: as above.
unsafe impl Sync for IndexKey {}

impl IndexKey {
    /// The index of a token that we made ourselves: it says nothing of anybody, so that it may be hashed outside of a region.
    pub fn token(&self, token: &[u8]) -> Index {
        self.index(&[b"token", token])
    }

    /// The index of a secret of the house's, a PIN say, and of what it belongs to: it says nothing of anybody either.
    pub fn secret(&self, of: &[u8], secret: &[u8]) -> Index {
        self.index(&[b"secret", of, secret])
    }

    /// A nonce for sealing these bytes, and no others, deterministically.
    pub(crate) fn nonce(&self, bytes: &[u8]) -> [u8; 12] {
        let Index(hash) = self.index(&[b"nonce", bytes]);
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&hash.to_be_bytes()[..12]);
        nonce
    }

    /// The index of `parts`, each with its length, so that ("ab", "c") differs from ("a", "bc").
    pub(crate) fn index(&self, parts: &[&[u8]]) -> Index {
        use siphasher::sip128::{Hasher128, SipHasher24};
        // SAFETY: sixteen bytes that `Vault::index_key` filled.
        let key: &[u8; 16] = unsafe { &*self.slot.as_ptr().cast::<[u8; 16]>() };
        let mut hasher = SipHasher24::new_with_key(key);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        Index(hasher.finish128().as_u128())
    }
}

impl Drop for IndexKey {
    fn drop(&mut self) {
        self.vault.give_back(self.slot);
    }
}

impl std::fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexKey(..)")
    }
}

/// A keyed hash: matches a text without keeping it. Without the key it tells nothing, not even for the few
/// billion telephone numbers there are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index(u128);

impl subtle::ConstantTimeEq for Index {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

/// Hashes an [`Index`] for a map: it is a keyed hash already, which nobody outside can steer.
#[derive(Debug, Default, Clone, Copy)]
pub struct IndexHasher(u64);

impl std::hash::Hasher for IndexHasher {
    fn write_u128(&mut self, index: u128) {
        self.0 = index as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not for an index; kept right for whoever hashes something else.
        for byte in bytes {
            self.0 = (self.0.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map by [`Index`].
pub type IndexMap<V> = std::collections::HashMap<Index, V, std::hash::BuildHasherDefault<IndexHasher>>;

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The low bits suffice to tell two apart in a test's output.
        write!(f, "Index(…{:08x})", self.0 as u32)
    }
}

impl crate::Leaves for Index {
    fn leave(self, _: crate::leaves::Leaving) -> Self {
        self
    }
}
