//! The global allocator: ordinary blocks are wiped when freed; inside a region, blocks come from its secret
//! pages instead.
//!
//! A block may outlive the region that made it only by mistake (a cache inside a library, say). It stays valid
//! and secret, is counted as an escape, and can still be freed by the region's thread.
#![allow(unsafe_code)]

use crate::pages::{self, Protection, SLOT};
use crate::wipe;
use rlsf::Tlsf;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// To be set as `#[global_allocator]` in every binary that opens a vault.
///
/// Outside a region it is the system's allocator with each block overwritten before it is given back, so
/// that nothing freed can be found in a memory image.
#[derive(Debug, Default, Clone, Copy)]
pub struct Allocator;

thread_local! {
    static CURRENT: Cell<*mut Arena> = const { Cell::new(std::ptr::null_mut()) };
    static THREAD: Cell<u8> = const { Cell::new(0) };
}

/// The address of a thread-local: no two living threads share it.
fn thread_mark() -> usize {
    THREAD.with(|t| std::ptr::from_ref(t) as usize)
}

/// A region's heap. It lies at the base of its own mapping, that is at `slot + GUARD`, where
/// [`Arena::of`] finds it again from any block's address.
///
/// Its first part is handed out from one end to the other and wiped whole when the region is left, which is all that most messages need and costs next
/// to nothing; what does not fit comes from the second, where each block is wiped when it is freed.
pub(crate) struct Arena {
    tlsf: Tlsf<'static, u32, u32, 20, 16>,
    row: Row,
    owner: usize,
    live: usize,
    spilled: u64,
}

/// The row is this part of a region's heap: some times what a usual message needs.
const ROW: usize = 8;

/// Blocks one behind the other.
struct Row {
    start: usize,
    end: usize,
    next: usize,
    /// The newest block: it may grow, shrink and be freed in its place.
    last: usize,
    /// How far it was ever used since it was last wiped.
    high: usize,
    live: usize,
    /// Hands out nothing: others can read these pages, so that each block is wiped at once, or a block escaped, and there is no time at which
    /// all are free.
    closed: bool,
}

impl Row {
    fn has(&self, block: *mut u8) -> bool {
        (self.start..self.end).contains(&(block as usize))
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let at = self.next.next_multiple_of(layout.align());
        let end = at.checked_add(layout.size()).filter(|end| *end <= self.end && !self.closed)?;
        (self.last, self.next, self.high) = (at, end, self.high.max(end));
        self.live += 1;
        NonNull::new(at as *mut u8)
    }

    /// Changes the size of the newest block. False: it is not the newest, or has no room.
    fn resize(&mut self, block: *mut u8, size: usize) -> bool {
        let end = (block as usize).saturating_add(size);
        let can = block as usize == self.last && end <= self.end && !self.closed;
        if can {
            (self.next, self.high) = (end, self.high.max(end));
        }
        can
    }

    fn free(&mut self, block: *mut u8) {
        self.live -= 1;
        if block as usize == self.last {
            self.next = self.last;
        }
    }

    /// The region is left: with nothing alive all is wiped, and handed out anew.
    fn leave(&mut self) {
        if self.live > 0 {
            self.closed = true;
            return;
        }
        // SAFETY: the row's own memory, in which no block is alive.
        unsafe { wipe::raw(self.start as *mut u8, self.high - self.start) };
        (self.next, self.last, self.high) = (self.start, 0, self.start);
    }
}

impl Arena {
    /// Builds an arena at `base` with `len` bytes in all.
    ///
    /// # Safety
    /// `base` must be the base of a [`pages::Pages`] mapping of at least `len` bytes that nothing else uses
    /// and that outlives the arena.
    pub(crate) unsafe fn place(base: *mut u8, len: usize, protection: Protection) -> NonNull<Arena> {
        // SAFETY: the caller's promise.
        unsafe { Self::place_with(base, len, len / ROW, protection) }
    }

    /// The same without a row: for blocks that last, each of which is wiped when it is freed.
    ///
    /// # Safety
    /// As [`Self::place`].
    pub(crate) unsafe fn place_lasting(base: *mut u8, len: usize, protection: Protection) -> NonNull<Arena> {
        // SAFETY: the caller's promise.
        unsafe { Self::place_with(base, len, 0, protection) }
    }

    unsafe fn place_with(base: *mut u8, len: usize, in_row: usize, protection: Protection) -> NonNull<Arena> {
        let arena = base.cast::<Arena>();
        let head = size_of::<Arena>().next_multiple_of(64);
        let start = base as usize + head;
        let row = Row {
            start,
            end: start + in_row,
            next: start,
            last: 0,
            high: start,
            live: 0,
            closed: in_row == 0 || protection != Protection::SecretMem,
        };
        // SAFETY: the caller's promise; the row begins behind the arena's own fields, and the pool behind the row.
        unsafe {
            let pool = base.add(head + in_row).cast::<MaybeUninit<u8>>();
            let pool = std::slice::from_raw_parts_mut(pool, len - in_row - head);
            arena.write(Arena { tlsf: Tlsf::new(), row, owner: thread_mark(), live: 0, spilled: 0 });
            (*arena).tlsf.insert_free_block(pool);
            NonNull::new_unchecked(arena)
        }
    }

    fn of(block: *mut u8) -> *mut Arena {
        (((block as usize) & !(SLOT - 1)) + pages::GUARD) as *mut Arena
    }

    /// Blocks handed out and not yet freed.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether a block of this size could be had.
    pub(crate) fn has(&mut self, size: usize) -> bool {
        let Ok(layout) = Layout::from_size_align(size, 16) else { return false };
        let Some(block) = self.tlsf.allocate(layout) else { return false };
        // SAFETY: just allocated, with this alignment.
        unsafe { self.tlsf.deallocate(block, layout.align()) };
        true
    }

    /// To be called when the region is left.
    pub(crate) fn leave(&mut self) {
        self.row.leave();
    }

    /// How many allocations did not fit since the last call.
    pub(crate) fn take_spilled(&mut self) -> u64 {
        std::mem::take(&mut self.spilled)
    }
}

/// Gives free memory back to the system. Takes the allocator's locks for some milliseconds: for a quiet moment of a thread that may
/// wait.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a plain call of the C library.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps the C library from giving each thread a heap of its own, where a burst's memory would stay. To be called before threads are
/// made. The real-time threads do not allocate, so nobody waits for it.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a plain call of the C library.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Runs `f` with this thread's allocations coming from `arena` (null: the ordinary heap).
pub(crate) fn with<R>(arena: *mut Arena, f: impl FnOnce() -> R) -> R {
    if crate::UNPROTECTED {
        return f();
    }
    struct Back(*mut Arena);
    impl Drop for Back {
        fn drop(&mut self) {
            CURRENT.with(|c| c.set(self.0));
        }
    }
    let _back = Back(CURRENT.with(|c| c.replace(arena)));
    f()
}

// SAFETY: ordinary blocks follow System's contract; arena blocks follow Tlsf's, on the owning thread only.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let arena = CURRENT.try_with(Cell::get).unwrap_or(std::ptr::null_mut());
        if arena.is_null() {
            // SAFETY: the caller's contract is System's.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: a current arena belongs to this thread and lives while it is current.
        unsafe {
            if let Some(block) = (*arena).row.allocate(layout).or_else(|| (*arena).tlsf.allocate(layout)) {
                (*arena).live += 1;
                return block.as_ptr();
            }
            // Never abort for a full region: the block is ordinary (and wiped when freed), the message refused.
            (*arena).spilled += 1;
            System.alloc(layout)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !pages::in_range(block as usize) {
            if !cfg!(feature = "no-zeroing-for-measuring") {
                // SAFETY: the block is the caller's, and of this size.
                unsafe { wipe::raw(block, layout.size()) };
            }
            // SAFETY: not from an arena, so from System.
            return unsafe { System.dealloc(block, layout) };
        }
        let arena = Arena::of(block);
        // SAFETY: every address in the range that was handed out lies in a living arena's slot (a region with
        // live blocks is never unmapped). Another thread leaves the block alone: wiped, and lost to the pool.
        unsafe {
            let (own, in_row) = ((*arena).owner == thread_mark(), (*arena).row.has(block));
            // What lies in an open row is wiped with it.
            if !(own && in_row && !(*arena).row.closed) {
                wipe::raw(block, layout.size());
            }
            if own {
                (*arena).live -= 1;
                match in_row {
                    true => (*arena).row.free(block),
                    false => (*arena).tlsf.deallocate(NonNull::new_unchecked(block), layout.align()),
                }
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let arena = CURRENT.try_with(Cell::get).unwrap_or(std::ptr::null_mut());
        // SAFETY: a current arena belongs to this thread and lives while it is current.
        if !arena.is_null() && unsafe { (*arena).row.has(block) && (*arena).row.resize(block, new_size) } {
            return block;
        }
        // Not System's own: the old place is wiped.
        // SAFETY: the caller's contract: `new_size` is not zero and does not overflow with the alignment; both blocks are at least as
        // long as what is copied, and are apart.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if CURRENT.try_with(Cell::get).unwrap_or(std::ptr::null_mut()).is_null() {
            // SAFETY: the caller's contract is System's.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as `alloc`; a fresh block is written whole before it is seen.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }
}
