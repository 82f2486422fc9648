//! What stands in for the system calls where Miri interprets the vault (`make miri`): memory of the process, with every rule of the language looked
//! after and no protection at all. No build that runs has it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// See `system.rs`; here all is granted.
pub(super) struct Refused {
    pub(super) what: &'static str,
    pub(super) errno: i32,
}

/// All of it, for as long as the process lives.
pub(super) fn reserve(len: usize) -> Result<usize, i32> {
    let layout = Layout::from_size_align(len, 4096).map_err(|_| 22)?;
    // SAFETY: not of size zero.
    let at = unsafe { System.alloc_zeroed(layout) };
    if at.is_null() { Err(12) } else { Ok(at.expose_provenance()) }
}

/// What is mapped anew holds zeros.
pub(super) fn unmap(base: usize, len: usize) {
    // SAFETY: a part of what was reserved; nothing uses it any more.
    unsafe { std::ptr::write_bytes(std::ptr::with_exposed_provenance_mut::<u8>(base), 0, len) };
}

pub(super) fn close(_: usize, _: usize) {}

pub(super) fn open(_: usize, _: usize) -> bool {
    true
}

pub(super) fn map_secret(_: usize, _: usize) -> Result<(), Refused> {
    Ok(())
}

pub(super) fn map_plain(_: usize, _: usize) -> Result<(), Refused> {
    Ok(())
}

pub(super) fn map_locked(_: usize, _: usize) -> Result<(), Refused> {
    Ok(())
}
