//! Secret pages: `memfd_secret` first, locked pages only where the policy accepts them, else a refusal.
//!
//! All pages lie in one reserved range of addresses, cut into slots of 1 MiB between which nothing is ever
//! mapped. So the allocator can tell a secret block by two comparisons, and an overrun hits a guard.
#![allow(unsafe_code)]

#[cfg_attr(miri, path = "pages/interpreted.rs")]
mod system;

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use system::Refused;

/// Bytes from one slot to the next; slots are aligned to it.
pub(crate) const SLOT: usize = 1 << 20;
/// Guard bytes at the head of each slot. The tail is guarded by what the slot leaves unmapped.
pub(crate) const GUARD: usize = 4096;
const SLOTS: usize = if cfg!(miri) { 12 } else { 256 };

/// How the pages that were got are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// `memfd_secret(2)`: unreadable by `/proc/PID/mem`, `process_vm_readv` and core dumps, for root too.
    SecretMem,
    /// Nothing: a build for measuring.
    None,
    /// `mlock` + `MADV_DONTDUMP` + `MADV_WIPEONFORK`: never swapped or dumped, but root can read it.
    Locked,
}

impl Protection {
    /// The word used in the log, `/readyz` and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::SecretMem => "secretmem",
            Self::Locked => "locked",
            Self::None => "none",
        }
    }
}

/// Which rungs of the ladder are acceptable (`vault.allow_weaker` in the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `memfd_secret` or refuse.
    Strict,
    /// `memfd_secret`, else locked pages, else refuse.
    AllowWeaker,
    /// Locked pages only: to measure and test that rung on a kernel that has the first.
    OnlyLocked,
}

/// No acceptable rung of the ladder could be reached.
#[derive(Debug, thiserror::Error)]
#[error("no protected memory: {what} failed with OS error {errno} (policy {policy:?})")]
pub struct TooWeak {
    what: &'static str,
    errno: i32,
    policy: Policy,
}

static RANGE_START: AtomicUsize = AtomicUsize::new(0);
static RANGE_END: AtomicUsize = AtomicUsize::new(0);
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Whether `address` lies in the reserved range.
#[inline]
pub(crate) fn in_range(address: usize) -> bool {
    // RANGE_END is 0 until the range exists, so that nothing is inside by accident.
    address < RANGE_END.load(Ordering::Relaxed) && address >= RANGE_START.load(Ordering::Relaxed)
}

/// Bytes mapped as secret or locked now.
pub(crate) fn mapped_bytes() -> usize {
    MAPPED.load(Ordering::Relaxed)
}

struct Range {
    start: usize,
    next: usize,
    free: Vec<usize>,
}

fn range(policy: Policy) -> Result<MutexGuard<'static, Range>, TooWeak> {
    static RANGE: OnceLock<Result<Mutex<Range>, i32>> = OnceLock::new();
    let made = RANGE.get_or_init(|| {
        let start = system::reserve((SLOTS + 1) * SLOT)?.next_multiple_of(SLOT);
        RANGE_START.store(start, Ordering::Relaxed);
        RANGE_END.store(start + SLOTS * SLOT, Ordering::Relaxed);
        Ok(Mutex::new(Range { start, next: 0, free: Vec::with_capacity(SLOTS) }))
    });
    match made {
        Ok(range) => Ok(range.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(errno) => Err(TooWeak { what: "reserving addresses", errno: *errno, policy }),
    }
}

/// One mapping of protected pages, inside its own slot. Wiped and unmapped on drop.
#[derive(Debug)]
pub(crate) struct Pages {
    base: NonNull<u8>,
    len: usize,
    slot: usize,
    protection: Protection,
}

// SAFETY: a plain piece of memory; who may touch it is its owner's affair.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps `len` bytes (a multiple of the page size, at most [`SLOT`] − 2 × [`GUARD`]).
    pub(crate) fn map(len: usize, policy: Policy) -> Result<Self, TooWeak> {
        assert!(len.is_multiple_of(4096) && len <= SLOT - 2 * GUARD, "a mapping fits its slot");
        let mut range = range(policy)?;
        let slot = match range.free.pop() {
            Some(slot) => slot,
            None if range.next < SLOTS => {
                range.next += 1;
                range.start + (range.next - 1) * SLOT
            }
            None => return Err(TooWeak { what: "finding a slot", errno: libc::ENOMEM, policy }),
        };
        let base = slot + GUARD;
        let secret = || system::map_secret(base, len).map(|()| Protection::SecretMem);
        let locked = || system::map_locked(base, len).map(|()| Protection::Locked);
        let got = match policy {
            _ if crate::UNPROTECTED => system::map_plain(base, len).map(|()| Protection::None),
            Policy::Strict => secret(),
            Policy::OnlyLocked => locked(),
            Policy::AllowWeaker => secret().or_else(|_| locked()),
        };
        match (got, NonNull::new(base as *mut u8)) {
            (Ok(protection), Some(base)) => {
                MAPPED.fetch_add(len, Ordering::Relaxed);
                Ok(Self { base, len, slot, protection })
            }
            (got, _) => {
                system::unmap(base, len);
                range.free.push(slot);
                let Refused { what, errno } = got.err().unwrap_or(Refused { what: "mapping", errno: 0 });
                Err(TooWeak { what, errno, policy })
            }
        }
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn protection(&self) -> Protection {
        self.protection
    }

    /// Makes one page of the mapping unreachable, as a guard between two areas.
    pub(crate) fn guard(&self, offset: usize) {
        assert!(offset.is_multiple_of(4096) && offset + 4096 <= self.len, "a guard page lies inside");
        system::close(self.base.as_ptr() as usize + offset, 4096);
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // The kernel clears secret pages when it takes them back; ordinary ones only when it gives them to somebody.
        if self.protection == Protection::Locked {
            // Whole: its guard pages become writable first.
            if system::open(self.base() as usize, self.len) {
                // SAFETY: our own mapping; nothing uses it any more.
                unsafe { crate::wipe::raw(self.base(), self.len) };
            }
        }
        system::unmap(self.base() as usize, self.len);
        MAPPED.fetch_sub(self.len, Ordering::Relaxed);
        if let Ok(mut range) = range(Policy::Strict) {
            range.free.push(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads our own memory the way a debugger does.
    fn read_as_debugger(at: *const u8) -> std::io::Result<u8> {
        use std::os::unix::fs::FileExt;
        let mut byte = [0];
        std::fs::File::open("/proc/self/mem")?.read_exact_at(&mut byte, at as u64)?;
        Ok(byte[0])
    }

    #[test]
    fn secret_pages_cannot_be_read_through_proc_mem() {
        let pages = Pages::map(4096, Policy::Strict).unwrap();
        // SAFETY: our own fresh page.
        unsafe { pages.base().write(42) };
        assert!(read_as_debugger(pages.base()).is_err());
        assert!(in_range(pages.base() as usize));
    }

    #[test]
    fn locked_pages_are_reported_as_locked() {
        let pages = Pages::map(4096, Policy::OnlyLocked).unwrap();
        // SAFETY: our own fresh page.
        unsafe { pages.base().write(42) };
        assert_eq!(pages.protection(), Protection::Locked);
        assert_eq!(read_as_debugger(pages.base()).unwrap(), 42, "the weaker rung is weaker, and says so");
    }

    #[test]
    fn a_dropped_mapping_gives_its_slot_back_and_counts_down() {
        let before = mapped_bytes();
        for _ in 0..SLOTS * 2 {
            drop(Pages::map(8192, Policy::AllowWeaker).unwrap());
        }
        // Other tests of this process may hold a mapping meanwhile.
        assert!(mapped_bytes() <= before + 4 * SLOT);
    }
}
