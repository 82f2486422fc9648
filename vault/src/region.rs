//! A region: receive buffer, send buffer, scoped heap and stack of one worker, all in secret pages, and wiped
//! on leaving.
#![allow(unsafe_code)]

use crate::heap::{self, Arena};
use crate::key::{Index, IndexKey, Keyring, Vault};
use crate::leaves::{Leaves, Leaving};
use crate::pages::{Pages, Policy, Protection, TooWeak};
use crate::sealed::{Context, Plain, Purpose, Sealed, Tampered};
use crate::wipe;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

const HEAP: usize = 512 * 1024;
/// Bytes of a worker's stack: for messages, and for what computes more deeply.
const STACK: usize = 64 * 1024;
const DEEP_STACK: usize = 256 * 1024;
/// The largest message that can be received or composed, bytes.
pub const BUFFER: usize = 64 * 1024;
const RX_AT: usize = HEAP + 4096;
const TX_AT: usize = RX_AT + BUFFER + 4096;
/// The last of all, with a guard page below it.
const STACK_AT: usize = TX_AT + BUFFER + 4096;

/// Why a region gave no result. Nothing of the message is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The closure panicked; the panic was caught, and only its place was printed.
    #[error("a panic inside the region was caught")]
    Panicked,
    /// The message needed more memory than a region has.
    #[error("the message needs more than the region's memory")]
    Full,
}

/// What stays allocated for a region while any of its heap's blocks is alive.
struct Ground {
    pages: Option<Pages>,
    arena: NonNull<Arena>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        // SAFETY: the arena lives as long as its pages, which are still here.
        if unsafe { self.arena.as_ref() }.live() > 0 {
            // A block escaped. Freeing it later must find its arena: keep the pages for the process's life.
            std::mem::forget(self.pages.take());
        }
    }
}

/// Says which visits of a secret stack end with wiping all of it: each where others can read the pages, else one of many.
pub(crate) struct Visits {
    always: bool,
    count: u32,
}

impl Visits {
    pub(crate) fn new(protection: Protection) -> Self {
        Self { always: protection != Protection::SecretMem, count: 0 }
    }

    pub(crate) fn whole(&mut self) -> bool {
        self.count = self.count.wrapping_add(1);
        self.always || self.count.is_multiple_of(256)
    }
}

/// One worker's secret workplace. It belongs to the thread that made it.
pub struct Region {
    ground: Ground,
    base: NonNull<u8>,
    stack: usize,
    received: usize,
    composed: usize,
    escaped: usize,
    visits: Visits,
    vault: Vault,
    not_send: PhantomData<*mut ()>,
}

/// What a closure in a region works with.
pub struct Inside<'r> {
    /// The bytes received, to be changed in place as parsing wants it.
    pub rx: &'r mut [u8],
    /// Room for a message to be sent; see [`Region::transmit`].
    pub tx: &'r mut [u8],
    /// Sealing, opening and indexing.
    pub secrets: Secrets<'r>,
}

/// The right to seal, open and index. Exists only inside a region.
#[derive(Clone, Copy)]
pub struct Secrets<'r>(PhantomData<(&'r (), *mut ())>);

impl<'r> Secrets<'r> {
    /// Seals `value`, at most the size of a message, for one place.
    pub fn seal<T>(self, ring: &Keyring, context: Context, value: &[u8]) -> Sealed<T> {
        Sealed::seal(ring, context, value.to_vec())
    }

    /// Opens a sealed value for a purpose that its kind allows.
    ///
    /// # Errors
    /// [`Tampered`]: other key, other place, or damaged.
    pub fn open<T, P: Purpose<T>>(
        self,
        ring: &Keyring,
        context: Context,
        sealed: &Sealed<T>,
        _for: P,
    ) -> Result<Plain<'r, T>, Tampered> {
        Ok(Plain { bytes: sealed.open(ring, context)?, inside: PhantomData })
    }

    /// The keyed hash of a text in parts.
    pub fn index(self, key: &IndexKey, parts: &[&[u8]]) -> Index {
        key.index(parts)
    }

    /// Runs `f` with the ordinary heap: for what must outlive the region and holds no text.
    pub fn outside<R: Leaves>(self, f: impl FnOnce() -> R) -> R {
        heap::with(std::ptr::null_mut(), f)
    }
}

impl Region {
    pub(crate) fn new(vault: Vault, policy: Policy) -> Result<Self, TooWeak> {
        Self::with_stack(vault, policy, STACK)
    }

    pub(crate) fn deep(vault: Vault, policy: Policy) -> Result<Self, TooWeak> {
        Self::with_stack(vault, policy, DEEP_STACK)
    }

    fn with_stack(vault: Vault, policy: Policy, stack: usize) -> Result<Self, TooWeak> {
        let pages = Pages::map(STACK_AT + stack, policy)?;
        let protection = pages.protection();
        pages.guard(HEAP);
        pages.guard(RX_AT + BUFFER);
        pages.guard(TX_AT + BUFFER);
        // SAFETY: a fresh mapping, whose first HEAP bytes are for the arena alone.
        let arena = unsafe { Arena::place(pages.base(), HEAP, protection) };
        // SAFETY: a mapping's base is not null.
        let base = unsafe { NonNull::new_unchecked(pages.base()) };
        Ok(Self {
            ground: Ground { pages: Some(pages), arena },
            base,
            stack,
            received: 0,
            composed: 0,
            escaped: 0,
            visits: Visits::new(protection),
            vault,
            not_send: PhantomData,
        })
    }

    fn area(&mut self, at: usize, len: usize) -> &mut [u8] {
        // SAFETY: inside our mapping, not a guard page, and borrowed through `self`.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(at), len) }
    }

    /// Lets `f` fill the receive buffer (64 KiB) and remembers how much it filled.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn receive<X>(
        &mut self,
        f: impl FnOnce(&mut [u8]) -> std::io::Result<(usize, X)>,
    ) -> std::io::Result<(usize, X)> {
        let (filled, x) = f(self.area(RX_AT, BUFFER))?;
        self.received = filled.min(BUFFER);
        Ok((self.received, x))
    }

    /// Runs `f` in the region and wipes heap, stack, registers and the received bytes on leaving.
    ///
    /// # Errors
    /// [`Fault::Panicked`] when `f` panicked, [`Fault::Full`] when the message did not fit the heap; the region
    /// is as fresh as before in both cases.
    pub fn run<R: Leaves>(&mut self, f: impl for<'r> FnOnce(Inside<'r>) -> R) -> Result<R, Fault> {
        let received = self.received;
        let base = self.base.as_ptr();
        let arena = self.ground.arena.as_ptr();
        let whole = self.visits.whole();
        let out = on_secret_stack(
            // SAFETY: inside our mapping.
            unsafe { base.add(STACK_AT) },
            self.stack,
            whole,
            || {
                heap::with(arena, || {
                    catch_unwind(AssertUnwindSafe(|| {
                        // SAFETY: two areas of our own mapping, apart from each other and from heap and stack;
                        // `self` is borrowed for the whole call.
                        let (rx, tx) = unsafe {
                            (
                                std::slice::from_raw_parts_mut(base.add(RX_AT), received),
                                std::slice::from_raw_parts_mut(base.add(TX_AT), BUFFER),
                            )
                        };
                        let inner = f(Inside { rx, tx, secrets: Secrets(PhantomData) });
                        if crate::UNPROTECTED {
                            return inner;
                        }
                        heap::with(std::ptr::null_mut(), || inner.leave(Leaving::new()))
                    }))
                    // The payload lies in the scoped heap and may quote the message: it is dropped here.
                    .map_err(drop)
                })
            },
        );
        let received = std::mem::take(&mut self.received);
        wipe::bytes(self.area(RX_AT, received));
        // SAFETY: nothing runs in the region now.
        let (live, spilled) = unsafe {
            (*arena).leave();
            ((*arena).live(), (*arena).take_spilled())
        };
        let count = &self.vault.inner;
        count.escapes.fetch_add(live.saturating_sub(self.escaped) as u64, Ordering::Relaxed);
        count.spills.fetch_add(spilled, Ordering::Relaxed);
        self.escaped = live;
        match out {
            Ok(_) if spilled > 0 => Err(Fault::Full),
            Ok(out) => Ok(out),
            Err(()) => {
                self.vault.inner.panics.fetch_add(1, Ordering::Relaxed);
                Err(Fault::Panicked)
            }
        }
    }

    /// Says how many bytes of the send buffer the last [`Self::run`] composed.
    pub fn composed(&mut self, len: usize) {
        self.composed = len.min(BUFFER);
    }

    /// Wipes what was received, unread: a datagram that nobody wants.
    pub fn discard(&mut self) {
        let received = std::mem::take(&mut self.received);
        wipe::bytes(self.area(RX_AT, received));
    }

    /// Lets `f` see the composed bytes and keeps them for [`Self::run`] or [`Self::transmit`].
    pub fn look<X>(&mut self, f: impl FnOnce(&[u8]) -> X) -> X {
        let composed = self.composed;
        f(self.area(TX_AT, composed))
    }

    /// Lets `f` send the composed bytes, then wipes them.
    pub fn transmit<X>(&mut self, f: impl FnOnce(&[u8]) -> X) -> X {
        let composed = std::mem::take(&mut self.composed);
        let bytes = self.area(TX_AT, composed);
        let sent = f(bytes);
        wipe::bytes(bytes);
        sent
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Region(..)")
    }
}

/// Miri knows of no other stack.
#[cfg(miri)]
mod psm {
    pub(super) unsafe fn on_stack<R, F: FnOnce() -> R>(_: *mut u8, _: usize, f: F) -> R {
        f()
    }
}

/// Runs `f` on the stack at `base`, then wipes that stack (`whole`: see [`wipe_stack`]) and the vector registers. `f` must not unwind.
pub(crate) fn on_secret_stack<R>(base: *mut u8, len: usize, whole: bool, f: impl FnOnce() -> R) -> R {
    // Miri has no other stack and no registers.
    if crate::UNPROTECTED || cfg!(miri) {
        return f();
    }
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            // Only reached by unwinding out of the secret stack, which psm cannot do.
            std::process::abort();
        }
    }
    // SAFETY: callers pass an own, aligned stack that nothing else uses; `Abort` keeps `f` from unwinding.
    let out = unsafe {
        psm::on_stack(base, len, || {
            let abort = Abort;
            let out = f();
            std::mem::forget(abort);
            out
        })
    };
    wipe_stack(base, len, whole);
    wipe::vector_registers();
    out
}

/// Wipes what a call used of a stack that was all zeros before. What every message uses is wiped unseen; below, it is looked at, down to 2 KiB in
/// a row that hold nothing: reading all of it would cost more than all else about a small message. `whole`: down to the end, for what a
/// deep call may have left beyond a hole.
fn wipe_stack(base: *mut u8, len: usize, whole: bool) {
    const PIECE: usize = 512;
    const ENOUGH: usize = 2048 / PIECE;
    const USUAL: usize = 4096;
    let rest = len - USUAL;
    // SAFETY: the upper part of our own stack, on which nothing runs now.
    unsafe { wipe::raw(base.add(rest), USUAL) };
    let mut untouched = 0;
    for piece in (0..rest / PIECE).rev() {
        // SAFETY: a piece of our own stack, on which nothing runs now.
        let words = unsafe { std::slice::from_raw_parts(base.add(piece * PIECE).cast::<u64>(), PIECE / 8) };
        if words.iter().fold(0, |a, b| a | b) == 0 {
            untouched += 1;
            if untouched == ENOUGH && !whole {
                return;
            }
        } else {
            untouched = 0;
            // SAFETY: as above.
            unsafe { wipe::raw(base.add(piece * PIECE), PIECE) };
        }
    }
}

/// Whether this process's global allocator is [`heap::Allocator`]: tries an allocation in a throw-away arena.
pub(crate) fn heap_is_scoped(policy: Policy) -> Result<bool, TooWeak> {
    let pages = Pages::map(64 * 1024, policy)?;
    // SAFETY: a fresh mapping, used for nothing else.
    let arena = unsafe { Arena::place(pages.base(), 64 * 1024, pages.protection()) };
    Ok(heap::with(arena.as_ptr(), || {
        let probe = std::hint::black_box(Box::new(1u64));
        crate::pages::in_range(std::ptr::from_ref(&*probe) as usize)
    }))
}
