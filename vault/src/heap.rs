//! The global allocator: ordinary blocks are wiped when freed; inside a region, blocks come from its secret
//! pages instead.
//!
//! A block may outlive the region that made it only by mistake (a cache inside a library, say). It stays valid
//! and secret, is counted as an escape, and can still be freed by the region's thread.
#![allow(unsafe_code)]

use crate::pages::{self, SLOT};
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
pub(crate) struct Arena {
    tlsf: Tlsf<'static, u32, u32, 20, 16>,
    owner: usize,
    live: usize,
    spilled: u64,
}

impl Arena {
    /// Builds an arena at `base` with `len` bytes in all.
    ///
    /// # Safety
    /// `base` must be the base of a [`pages::Pages`] mapping of at least `len` bytes that nothing else uses
    /// and that outlives the arena.
    pub(crate) unsafe fn place(base: *mut u8, len: usize) -> NonNull<Arena> {
        let arena = base.cast::<Arena>();
        let head = size_of::<Arena>().next_multiple_of(64);
        // SAFETY: the caller's promise; the pool begins behind the arena's own fields.
        unsafe {
            arena.write(Arena { tlsf: Tlsf::new(), owner: thread_mark(), live: 0, spilled: 0 });
            let pool = std::slice::from_raw_parts_mut(base.add(head).cast::<MaybeUninit<u8>>(), len - head);
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
            if let Some(block) = (*arena).tlsf.allocate(layout) {
                (*arena).live += 1;
                return block.as_ptr();
            }
            // Never abort for a full region: the block is ordinary (and wiped when freed), the message refused.
            (*arena).spilled += 1;
            System.alloc(layout)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !cfg!(feature = "no-zeroing-for-measuring") || pages::in_range(block as usize) {
            // SAFETY: the block is the caller's, and of this size.
            unsafe { wipe::raw(block, layout.size()) };
        }
        if !pages::in_range(block as usize) {
            // SAFETY: not from an arena, so from System.
            return unsafe { System.dealloc(block, layout) };
        }
        let arena = Arena::of(block);
        // SAFETY: every address in the range that was handed out lies in a living arena's slot (a region with
        // live blocks is never unmapped). Another thread leaves the block alone: wiped, and lost to the pool.
        unsafe {
            if (*arena).owner == thread_mark() {
                (*arena).tlsf.deallocate(NonNull::new_unchecked(block), layout.align());
                (*arena).live -= 1;
            }
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
    // realloc: GlobalAlloc's own, which copies and calls `dealloc`, so that the old place is wiped.
}
