//! Keys of media: SRTP master keys travel sealed, and what works with them lies in secret pages, where the real-time threads use it.
#![allow(unsafe_code)]

use crate::key::{IndexKey, Inner, Keyring, Vault, VaultError};
use crate::leaves::{Leaves, Leaving};
use crate::pages::{Pages, Protection};
use crate::region::{self, Secrets};
use crate::sealed::Tampered;
use crate::wipe;
use ring::aead::{Aad, Nonce};
use ring::rand::{SecureRandom, SystemRandom};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// The longest master key with its salt, bytes: AES-256 and 112 bits (RFC 6188).
pub const LONGEST: usize = 46;
const TAG: usize = 16;
/// Bytes of a value's place in secret pages.
pub(crate) const SLOT: usize = 1280;
/// Places are mapped so many bytes at a time: 204 of them, for 51 encrypted calls. There can be no more than 256 mappings in all.
pub(crate) const CHUNK: usize = 256 * 1024;

crate::leaves! {
    /// A cryptographic suite of SRTP (RFC 4568 §6.2, RFC 6188, RFC 7714).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Suite {
        /// `AES_CM_128_HMAC_SHA1_80`: every peer has it.
        Cm128Sha1_80,
        /// `AES_CM_128_HMAC_SHA1_32`: a short tag on RTP, the long one on RTCP.
        Cm128Sha1_32,
        /// `AES_256_CM_HMAC_SHA1_80`
        Cm256Sha1_80,
        /// `AES_256_CM_HMAC_SHA1_32`
        Cm256Sha1_32,
        /// `AEAD_AES_128_GCM`
        Gcm128,
        /// `AEAD_AES_256_GCM`
        Gcm256,
    }
}

impl Suite {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Cm128Sha1_80,
        Self::Cm128Sha1_32,
        Self::Cm256Sha1_80,
        Self::Cm256Sha1_32,
        Self::Gcm128,
        Self::Gcm256,
    ];

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Cm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Cm256Sha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Cm256Sha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::Gcm128 => "AEAD_AES_128_GCM",
            Self::Gcm256 => "AEAD_AES_256_GCM",
        }
    }

    /// By its name in SDP.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Whether it is one of GCM's.
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::Gcm128 | Self::Gcm256)
    }

    /// Bytes of the master key.
    pub const fn key(self) -> usize {
        match self {
            Self::Cm128Sha1_80 | Self::Cm128Sha1_32 | Self::Gcm128 => 16,
            Self::Cm256Sha1_80 | Self::Cm256Sha1_32 | Self::Gcm256 => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Bytes of both together, as SDP carries them.
    pub const fn master(self) -> usize {
        self.key() + self.salt()
    }
}

/// An SRTP master key with its salt, sealed: it may lie and go anywhere. Equal keys are sealed equally by one vault, so that it can be told whether a
/// peer has changed its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MasterKey {
    nonce: [u8; 12],
    len: u8,
    sealed: [u8; LONGEST + TAG],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl Leaves for MasterKey {
    fn leave(self, _: Leaving) -> Self {
        self
    }
}

/// Seals and opens master keys, and makes what works with them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MediaKeys {
    vault: Vault,
    ring: Arc<Keyring>,
    /// Nonces are keyed hashes of what is sealed: never one for two keys.
    nonces: Arc<IndexKey>,
}

impl MediaKeys {
    /// With a key of its own.
    ///
    /// # Errors
    /// As [`Vault::keyring`].
    pub fn new(vault: &Vault) -> Result<Self, VaultError> {
        let (ring, nonces) = (Arc::new(vault.keyring()?), Arc::new(vault.index_key()?));
        Ok(Self { vault: vault.clone(), ring, nonces })
    }

    /// The vault that they belong to.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// A stack in secret pages, for a thread that works with keys.
    ///
    /// # Errors
    /// As [`Vault::secret_stack`].
    pub fn stack(&self) -> Result<SecretStack, VaultError> {
        self.vault.secret_stack()
    }

    fn seal_bytes(&self, bytes: &[u8]) -> Option<MasterKey> {
        let len = u8::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LONGEST)?;
        let mut key = MasterKey { nonce: self.nonces.nonce(bytes), len, sealed: [0; LONGEST + TAG] };
        let nonce = nonce(&key);
        let (text, rest) = key.sealed.split_at_mut(bytes.len());
        text.copy_from_slice(bytes);
        let tag = self.ring.key().seal_in_place_separate_tag(nonce, Aad::from([len]), text);
        match tag {
            Ok(tag) => rest[..TAG].copy_from_slice(tag.as_ref()),
            Err(_) => {
                wipe::bytes(text);
                return None;
            }
        }
        Some(key)
    }

    fn open_bytes<R>(&self, key: &MasterKey, f: impl FnOnce(&[u8]) -> R) -> Result<R, Tampered> {
        let mut bytes = key.sealed;
        let whole = usize::from(key.len) + TAG;
        let text = self.ring.key().open_in_place(nonce(key), Aad::from([key.len]), &mut bytes[..whole]);
        let out = text.map(|text| f(text)).map_err(|_| Tampered);
        wipe::bytes(&mut bytes);
        out
    }

    /// A new master key of so many bytes, at most [`LONGEST`].
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn random(&self, len: usize) -> Result<MasterKey, VaultError> {
        self.vault.inner.in_workshop(|| {
            let mut raw = [0; LONGEST];
            let raw = &mut raw[..len.min(LONGEST)];
            let made = SystemRandom::new().fill(raw).ok().and_then(|()| self.seal_bytes(raw));
            wipe::bytes(raw);
            made.ok_or(VaultError::Random)
        })
    }

    /// Seals what a peer's description has, inside a region; `None` when it is too long.
    pub fn seal(&self, _inside: Secrets<'_>, bytes: &[u8]) -> Option<MasterKey> {
        self.seal_bytes(bytes)
    }

    /// Opens a key inside a region, to be written into a description.
    ///
    /// # Errors
    /// [`Tampered`]: not of this vault.
    pub fn open<R: Leaves>(
        &self,
        _inside: Secrets<'_>,
        key: &MasterKey,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Tampered> {
        self.open_bytes(key, f)
    }

    /// Makes what works with a key, on the vault's secret stack, and puts it into secret pages. It must hold nothing on the heap.
    ///
    /// # Errors
    /// No more protected memory, or a key that is not of this vault or not fit for what is made of it.
    pub fn place<T>(
        &self,
        key: &MasterKey,
        make: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Slot<T>, PlaceError> {
        const { assert!(size_of::<T>() <= SLOT && align_of::<T>() <= 64) };
        let inner = &self.vault.inner;
        let at = inner.media_slot()?;
        let made = inner.in_workshop(|| {
            self.open_bytes(key, |bytes| match make(bytes) {
                // SAFETY: a free slot, large enough and aligned (the assertion above).
                Some(value) => unsafe {
                    at.as_ptr().cast::<T>().write(value);
                    true
                },
                None => false,
            })
        });
        match made {
            Ok(true) => Ok(Slot { at, vault: inner.clone(), holds: PhantomData }),
            Ok(false) | Err(Tampered) => {
                inner.give_media_back(at);
                Err(PlaceError::Unfit)
            }
        }
    }
}

fn nonce(key: &MasterKey) -> Nonce {
    Nonce::assume_unique_for_key(key.nonce)
}

/// Why nothing could be made of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// No protected memory.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The key is another vault's, damaged, or of another length than is needed.
    #[error("not a usable media key")]
    Unfit,
}

/// A value in secret pages; wiped when it is dropped.
pub struct Slot<T> {
    at: NonNull<u8>,
    vault: Arc<Inner>,
    holds: PhantomData<T>,
}

// SAFETY: it owns its value, as a box does.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Slot<T> {}

impl<T> Deref for Slot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: written by `MediaKeys::place`, dropped only by `drop`.
        unsafe { &*self.at.as_ptr().cast() }
    }
}

impl<T> DerefMut for Slot<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.at.as_ptr().cast() }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here.
        unsafe { self.at.as_ptr().cast::<T>().drop_in_place() };
        self.vault.give_media_back(self.at);
    }
}

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot(..)")
    }
}

/// A stack in secret pages for a whole thread's work: whatever its computations leave there, nobody can read.
#[derive(Debug)]
pub struct SecretStack(Pages);

/// Bytes of such a stack. Ticks of all codecs and suites took 47 kB of it at most (`media/tests/allocation.rs`, 2026-11-25); below it nothing is mapped.
const STACK: usize = 256 * 1024;

impl Vault {
    /// A stack for one thread.
    ///
    /// # Errors
    /// [`VaultError::TooWeak`] when its pages cannot be had (see RLIMIT_MEMLOCK).
    pub fn secret_stack(&self) -> Result<SecretStack, VaultError> {
        Ok(SecretStack(Pages::map(STACK, self.inner.policy)?))
    }
}

thread_local! {
    /// Where this thread's stack ends, if others can read it.
    static SPARE: Cell<*mut u8> = const { Cell::new(std::ptr::null_mut()) };
}

/// Wipes what the calling thread has left below its stack pointer, where it runs on a [`SecretStack`] whose pages others can read: for when keys are
/// over.
#[inline(never)]
pub fn wipe_spare_stack() {
    let end = SPARE.get();
    if end.is_null() {
        return;
    }
    let here = 0u8;
    // Below this function's frame and its callees'.
    let top = (std::ptr::from_ref(std::hint::black_box(&here)) as usize).saturating_sub(MARGIN);
    let len = top.saturating_sub(end as usize).min(STACK);
    // SAFETY: the unused part of the stack on which this thread runs: nothing lives there.
    unsafe { wipe::raw(end, len) };
}

/// Clears what a key has left in the calling thread's vector registers: for threads that do something else afterwards.
pub fn wipe_registers() {
    wipe::vector_registers();
}

/// Bytes that what wipes needs itself.
const MARGIN: usize = 512;

impl SecretStack {
    /// Runs `f` on it and wipes it. A panic of `f` ends there: false.
    pub fn run(self, f: impl FnOnce()) -> bool {
        let mut done = false;
        // Nobody reads secret pages; what lies on others is wiped with what it was for.
        let readable = self.0.protection() != Protection::SecretMem;
        SPARE.set(if readable { self.0.base() } else { std::ptr::null_mut() });
        region::on_secret_stack(self.0.base(), self.0.len(), true, || {
            done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_ok();
        });
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{Policy, in_range};

    fn keys() -> MediaKeys {
        MediaKeys::new(&Vault::open(Policy::AllowWeaker).unwrap()).unwrap()
    }

    #[test]
    fn what_is_made_of_a_key_lies_in_secret_pages_and_is_wiped() {
        let keys = keys();
        let master = keys.random(30).unwrap();
        let slot = keys.place(&master, |bytes| <[u8; 30]>::try_from(bytes).ok()).unwrap();
        let at = std::ptr::from_ref(&*slot);
        assert!(in_range(at as usize));
        let copy = *slot;
        assert!(copy.iter().any(|b| *b != 0) && !master.sealed.windows(8).any(|w| copy.starts_with(w)));
        drop(slot);
        // SAFETY: the pages stay mapped; the slot is free and holds zeros.
        assert!(unsafe { std::slice::from_raw_parts(at.cast::<u8>(), 30) }.iter().all(|b| *b == 0));
        let again = keys.place(&master, |bytes| <[u8; 30]>::try_from(bytes).ok()).unwrap();
        assert_eq!(*again, copy, "the same key");
        assert_eq!(keys.seal_bytes(&copy), Some(master), "sealed equally");
        assert_ne!(keys.random(30).unwrap(), master);
    }

    #[test]
    fn keys_of_another_vault_or_length_are_refused() {
        let (one, other) = (keys(), keys());
        let master = one.random(30).unwrap();
        assert!(matches!(other.place(&master, |_| Some(0u8)), Err(PlaceError::Unfit)));
        let short = one.place(&master, |bytes| <[u8; 46]>::try_from(bytes).ok());
        assert!(matches!(short, Err(PlaceError::Unfit)));
        assert!(one.seal_bytes(&[0; LONGEST + 1]).is_none());
        assert_eq!(format!("{master:?}"), "MasterKey(..)");
    }

    #[test]
    fn many_keys_come_and_go() {
        let keys = keys();
        for _ in 0..3 {
            let slots: Vec<_> = (0..100u8)
                .map(|n| keys.place(&keys.random(16).unwrap(), |_| Some([n; 1000])).unwrap())
                .collect();
            assert!(slots.iter().enumerate().all(|(n, slot)| slot.iter().all(|b| usize::from(*b) == n)));
        }
        let media = keys.vault.inner.media_bytes();
        assert_eq!(media, CHUNK, "places are used again");
    }

    #[test]
    fn a_thread_works_on_a_secret_stack_and_a_panic_ends_there() {
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        let mut on = 0;
        assert!(vault.secret_stack().unwrap().run(|| {
            let here = 0u8;
            on = std::ptr::from_ref(std::hint::black_box(&here)) as usize;
        }));
        assert!(in_range(on));
        assert!(!vault.secret_stack().unwrap().run(|| panic!("as wished")));
    }
}
