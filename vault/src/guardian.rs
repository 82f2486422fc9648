//! The guardian: a second process that traces this one and does nothing with it, so that no debugger, core dumper or memory scanner
//! can trace it. A traced thread shows its registers, and what a processor computes with inside a region is in its registers.
#![allow(unsafe_code)]

use std::io::{Error, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

/// Who may trace this process (ptrace(2)): stop its threads and read their registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tracing {
    /// Nobody else: the guardian does. When the guardian is killed, the kernel kills this process with it.
    Guarded,
    /// Nobody: the system forbids it (Yama's `ptrace_scope` is 3).
    Forbidden,
    /// Root, or somebody does so already.
    Possible,
}

impl Tracing {
    /// As `/readyz` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guarded => "guarded",
            Self::Forbidden => "forbidden",
            Self::Possible => "possible",
        }
    }
}

/// Why there is no guardian.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// A guardian is to be had before the first thread is: it could miss one that is just being made.
    #[error("other threads are running")]
    Threads,
    /// The system refuses it: a seccomp filter without ptrace(2), Yama's `ptrace_scope` 2 or 3, a debugger that is there already.
    #[error("the system refuses it: {0}")]
    Refused(#[from] Error),
}

/// The guardian of this process; 0: none.
static GUARDIAN: AtomicI32 = AtomicI32::new(0);

/// Starts the guardian. It traces each thread that is made from now on, and ends with this process.
///
/// # Errors
/// [`GuardError`]; the process is then as it was.
pub fn guard() -> Result<(), GuardError> {
    if crate::UNPROTECTED {
        return Ok(());
    }
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(GuardError::Threads);
    }
    let (mut ours, theirs) = UnixStream::pair()?;
    let me = std::process::id().cast_signed();
    // SAFETY: there is one thread only, so the child may do what any process may.
    let guardian = match unsafe { libc::fork() } {
        -1 => return Err(Error::last_os_error().into()),
        0 => {
            // With its own copy it would not see ours close.
            drop(ours);
            watch(me, theirs)
        }
        guardian => guardian,
    };
    drop(theirs);
    // Who is not our ancestor may trace us only by our leave, where there is Yama; where there is none this fails and is not needed. A
    // binary with file capabilities starts as not dumpable, and such a process is not traced without privilege; `harden` follows.
    // SAFETY: plain system calls.
    let dumpable = unsafe {
        libc::prctl(libc::PR_SET_PTRACER, guardian, 0, 0, 0);
        let dumpable = libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        dumpable
    };
    let mut answer = [0; 4];
    let heard = ours.write_all(&[1]).and_then(|()| ours.read_exact(&mut answer));
    // SAFETY: as above.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, dumpable, 0, 0, 0) };
    let refused = match heard {
        Ok(()) => i32::from_le_bytes(answer),
        Err(e) => e.raw_os_error().unwrap_or(libc::ECHILD),
    };
    if refused != 0 {
        // It has ended, or ends now as nobody answers it.
        drop(ours);
        // SAFETY: a child of ours, which nobody else waits for.
        unsafe { libc::waitpid(guardian, std::ptr::null_mut(), 0) };
        return Err(Error::from_raw_os_error(refused).into());
    }
    GUARDIAN.store(guardian, Ordering::Relaxed);
    Ok(())
}

/// Who may trace this process now.
pub fn tracing() -> Tracing {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer =
        status.lines().find_map(|l| l.strip_prefix("TracerPid:")).and_then(|p| p.trim().parse().ok());
    match (tracer, GUARDIAN.load(Ordering::Relaxed)) {
        (Some(tracer), guardian) if guardian != 0 && tracer == guardian => Tracing::Guarded,
        (Some(0), _) if yama() == Some(3) => Tracing::Forbidden,
        _ => Tracing::Possible,
    }
}

/// Yama's `ptrace_scope`, 0 to 3; `None` where there is no Yama.
pub fn yama() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?.trim().parse().ok()
}

/// The guardian's whole life.
fn watch(whom: libc::pid_t, mut them: UnixStream) -> ! {
    // SAFETY: plain system calls on values of our own. A terminal's Ctrl-C and a service manager's SIGTERM are for the process that
    // is guarded; were the guardian to end by them, that one would be killed in the middle of its calls.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"sotto-guardian".as_ptr());
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
    let mut go = [0];
    let refused = match them.read_exact(&mut go) {
        Err(_) => libc::ECHILD,
        Ok(()) => {
            let options = libc::PTRACE_O_EXITKILL
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK;
            // SAFETY: a plain system call; it takes no memory of ours.
            match unsafe { libc::ptrace(libc::PTRACE_SEIZE, whom, 0, options) } {
                0 => 0,
                _ => Error::last_os_error().raw_os_error().unwrap_or(libc::EPERM),
            }
        }
    };
    let told = them.write_all(&refused.to_le_bytes());
    // SAFETY: nothing here uses a descriptor from now on. One that stays open would keep a peer of the guarded process waiting.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        libc::chdir(c"/".as_ptr());
        if refused != 0 || told.is_err() {
            libc::_exit(1);
        }
    }
    loop {
        let mut status = 0;
        // SAFETY: a place of our own.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if thread > 0 {
            if libc::WIFSTOPPED(status) {
                let (request, signal) = go_on(status);
                // SAFETY: a thread that has stopped for us. One that has been killed meanwhile needs nothing.
                unsafe { libc::ptrace(request, thread, 0, signal) };
            }
        } else if Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            // Nobody is left to guard.
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) };
        }
    }
}

/// What lets a stopped thread do what it would do untraced (ptrace(2), "Stopped states"): the request and the signal it takes.
fn go_on(status: i32) -> (libc::c_uint, i32) {
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        // The stop of a signal's delivery: the thread gets it.
        0 => (libc::PTRACE_CONT, signal),
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => (libc::PTRACE_LISTEN, 0),
        _ => (libc::PTRACE_CONT, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guardian_is_refused_where_threads_are_running() {
        // The test runner's own thread is another.
        let told = std::thread::spawn(guard).join();
        assert!(matches!(told, Ok(Err(GuardError::Threads))), "{told:?}");
        assert_ne!(tracing(), Tracing::Guarded);
    }

    #[test]
    fn a_stopped_thread_does_what_it_would_do_untraced() {
        let stopped = |event: i32, signal: i32| go_on(event << 16 | signal << 8 | 0x7f);
        assert_eq!(stopped(0, libc::SIGTERM), (libc::PTRACE_CONT, libc::SIGTERM), "it gets its signal");
        assert_eq!(stopped(libc::PTRACE_EVENT_CLONE, libc::SIGTRAP), (libc::PTRACE_CONT, 0));
        assert_eq!(
            stopped(libc::PTRACE_EVENT_STOP, libc::SIGTRAP),
            (libc::PTRACE_CONT, 0),
            "a new thread begins"
        );
        assert_eq!(
            stopped(libc::PTRACE_EVENT_STOP, libc::SIGTSTP),
            (libc::PTRACE_LISTEN, 0),
            "it stays stopped"
        );
    }
}
