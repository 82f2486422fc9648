//! Process settings without which encrypted memory would be read another way.
#![allow(unsafe_code)]

use std::io::Write;

/// No core dumps, no attaching by other users' processes, and a panic hook that prints the place and nothing
/// of the message (the default hook prints the panic's text, which may quote what was being parsed).
///
/// # Errors
/// The operating system's, when it refuses one of the settings.
pub fn harden() -> std::io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on a valid struct.
    let refused = unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &none) != 0 || libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
    };
    if refused {
        return Err(std::io::Error::last_os_error());
    }
    std::panic::set_hook(Box::new(|info| {
        let mut err = std::io::stderr().lock();
        // Nothing can be done about a closed stderr while panicking.
        let _ = match info.location() {
            Some(at) => writeln!(err, "panic at {}:{}:{}", at.file(), at.line(), at.column()),
            None => writeln!(err, "panic at an unknown place"),
        };
    }));
    Ok(())
}

/// Whether this process may be dumped or attached to (`PR_GET_DUMPABLE`); false after [`harden`].
pub fn dumpable() -> bool {
    // SAFETY: a plain system call.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 }
}

/// The soft limit for core files, bytes; 0 after [`harden`].
pub fn core_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain system call on a valid struct.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) };
    limit.rlim_cur
}
