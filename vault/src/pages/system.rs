//! The system calls behind pages. All addresses are of our own reservation.
#![allow(unsafe_code)]

/// What the system did not grant.
pub(super) struct Refused {
    pub(super) what: &'static str,
    pub(super) errno: i32,
}

impl Refused {
    fn now(what: &'static str) -> Self {
        Self { what, errno: errno() }
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

const RESERVED: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// Reserves addresses, without memory and without access. An errno where there are none.
pub(super) fn reserve(len: usize) -> Result<usize, i32> {
    // SAFETY: an anonymous reservation without access.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, RESERVED, -1, 0) };
    if at == libc::MAP_FAILED { Err(errno()) } else { Ok(at as usize) }
}

/// Puts the reservation back in place of a mapping.
pub(super) fn unmap(base: usize, len: usize) {
    // SAFETY: replaces pages of our own reservation by inaccessible ones.
    unsafe {
        libc::mmap(base as *mut _, len, libc::PROT_NONE, RESERVED | libc::MAP_FIXED, -1, 0);
    }
}

/// Makes pages unreachable.
pub(super) fn close(base: usize, len: usize) {
    // SAFETY: whole pages of our own mapping.
    unsafe { libc::mprotect(base as *mut _, len, libc::PROT_NONE) };
}

/// Makes pages readable and writable. False: they are not.
pub(super) fn open(base: usize, len: usize) -> bool {
    // SAFETY: whole pages of our own mapping.
    unsafe { libc::mprotect(base as *mut _, len, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// `memfd_secret(2)`.
pub(super) fn map_secret(base: usize, len: usize) -> Result<(), Refused> {
    // SAFETY: system calls on a descriptor that is ours alone; MAP_FIXED replaces our own reservation.
    unsafe {
        let fd = libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) as i32;
        if fd < 0 {
            return Err(Refused::now("memfd_secret"));
        }
        let result = if libc::ftruncate(fd, len as libc::off_t) != 0 {
            Err(Refused::now("sizing the secret file"))
        } else if libc::mmap(
            base as *mut _,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED,
            fd,
            0,
        ) == libc::MAP_FAILED
        {
            Err(Refused::now("mapping secret pages"))
        } else {
            Ok(())
        };
        libc::close(fd);
        result
    }
}

/// Ordinary pages.
pub(super) fn map_plain(base: usize, len: usize) -> Result<(), Refused> {
    let (rights, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
    // SAFETY: MAP_FIXED replaces our own reservation.
    let at = unsafe { libc::mmap(base as *mut _, len, rights, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(Refused::now("mapping pages")) } else { Ok(()) }
}

/// Pages that are never swapped, dumped or inherited.
pub(super) fn map_locked(base: usize, len: usize) -> Result<(), Refused> {
    map_plain(base, len)?;
    let at = base as *mut libc::c_void;
    // SAFETY: pages of our own.
    unsafe {
        if libc::mlock(at, len) != 0 {
            return Err(Refused::now("mlock"));
        }
        if libc::madvise(at, len, libc::MADV_DONTDUMP) != 0 {
            return Err(Refused::now("MADV_DONTDUMP"));
        }
        if libc::madvise(at, len, libc::MADV_WIPEONFORK) != 0 {
            return Err(Refused::now("MADV_WIPEONFORK"));
        }
    }
    Ok(())
}
