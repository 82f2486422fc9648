//! What must last longer than a visit of a region and cannot be sealed between two: a TLS session, say. All of its blocks lie in secret
//! pages, and it is worked on inside a region only, whose stack and registers are wiped.
#![allow(unsafe_code)]

use crate::heap::{self, Arena};
use crate::key::{Vault, VaultError};
use crate::leaves::Leaves;
use crate::pages::Pages;
use crate::region::{Fault, Secrets};
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// One piece of the store.
const PIECE: usize = 960 * 1024;

/// Secret pages with a heap, mapped as long as a value lies in them.
struct Ground {
    pages: ManuallyDrop<Pages>,
    arena: NonNull<Arena>,
}

impl Ground {
    fn map(vault: &Vault) -> Result<Self, VaultError> {
        let pages = Pages::map(PIECE, vault.inner.policy)?;
        // SAFETY: a fresh mapping, for the arena alone.
        let arena = unsafe { Arena::place_lasting(pages.base(), PIECE, pages.protection()) };
        Ok(Self { pages: ManuallyDrop::new(pages), arena })
    }

    /// Whether a block of this size could be had.
    fn has(&self, room: usize) -> bool {
        // SAFETY: the arena lives as long as its pages, and only this thread has it.
        unsafe { (*self.arena.as_ptr()).has(room) }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // SAFETY: as above. Where a block escaped, its pages stay, so that freeing it later finds its arena.
        if unsafe { self.arena.as_ref() }.live() == 0 {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.pages) };
        }
    }
}

/// Secret pages for lasting values, mapped as they are needed. It belongs to the thread that made it.
pub struct Store {
    vault: Vault,
    grounds: RefCell<Vec<Rc<Ground>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({} pieces)", self.grounds.borrow().len())
    }
}

impl Store {
    pub(crate) fn new(vault: Vault) -> Self {
        Self { vault, grounds: RefCell::default() }
    }

    /// Makes a value where there are `room` bytes for what it may grow to, at most 900 KiB.
    ///
    /// # Errors
    /// Those of `make`, or [`VaultError::TooWeak`] when no more protected pages can be had (see RLIMIT_MEMLOCK).
    pub fn keep<T, E: Leaves + From<VaultError>>(
        &self,
        _inside: Secrets<'_>,
        room: usize,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Kept<T>, E> {
        let ground = heap::with(std::ptr::null_mut(), || {
            let mut grounds = self.grounds.borrow_mut();
            // The store's own handle stands for the one that is to come.
            let has_place = |g: &&Rc<Ground>| Rc::strong_count(g) * room <= PIECE && g.has(room);
            if let Some(ground) = grounds.iter().find(has_place) {
                return Ok(ground.clone());
            }
            // One that nothing lies in any more is given back before the next is mapped.
            grounds.retain(|g| Rc::strong_count(g) > 1);
            let ground = Rc::new(Ground::map(&self.vault)?);
            grounds.push(ground.clone());
            Ok::<_, VaultError>(ground)
        })?;
        let value =
            heap::with(ground.arena.as_ptr(), || make().map(|value| ManuallyDrop::new(Box::new(value))))?;
        Ok(Kept { value, ground, vault: self.vault.clone() })
    }
}

/// A value in secret pages.
pub struct Kept<T> {
    value: ManuallyDrop<Box<T>>,
    ground: Rc<Ground>,
    vault: Vault,
}

impl<T> Kept<T> {
    /// Works on the value, inside a region; what it allocates lies in secret pages and stays.
    ///
    /// # Errors
    /// [`Fault::Full`] when it needed more than there was: some of it lies in ordinary memory now, so the value must go.
    pub fn with<R: Leaves>(&mut self, _inside: Secrets<'_>, f: impl FnOnce(&mut T) -> R) -> Result<R, Fault> {
        let out = self.io(f);
        // SAFETY: the arena lives as long as its ground, and only this thread has it.
        let spilled = unsafe { (*self.ground.arena.as_ptr()).take_spilled() };
        if spilled > 0 {
            self.vault.inner.spills.fetch_add(spilled, Ordering::Relaxed);
            return Err(Fault::Full);
        }
        Ok(out)
    }

    /// Lets a system call read or write the value's buffers, or copies from them into a region's: for nothing that computes with them.
    pub fn io<X: Leaves>(&mut self, f: impl FnOnce(&mut T) -> X) -> X {
        heap::with(self.ground.arena.as_ptr(), || f(&mut self.value))
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here. Its blocks are wiped as they are freed.
        heap::with(self.ground.arena.as_ptr(), || unsafe { ManuallyDrop::drop(&mut self.value) });
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

impl<T> crate::Leaves for Kept<T> {
    // It is moved as it is: a pointer to secret pages.
    fn leave(self, _: crate::leaves::Leaving) -> Self {
        self
    }
}

impl Leaves for Fault {
    fn leave(self, _: crate::leaves::Leaving) -> Self {
        self
    }
}

impl Leaves for VaultError {
    fn leave(self, _: crate::leaves::Leaving) -> Self {
        self
    }
}
