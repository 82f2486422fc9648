//! The shard's system calls: read a socket empty with the kernel's receive times, send, sleep until a time or a
//! command. Nothing here allocates after it is made.
#![allow(unsafe_code)]

use super::doze::Doze;
use crate::units::Nanos;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// The largest datagram read whole, bytes.
const SIZE: usize = 2048;
/// A socket is left alone for this tick after so many datagrams: a flood on one leg may not cost the others.
const MOST: usize = 64;
const CONTROL: usize = 64;

/// Buffers of `recvmsg`, wired to each other once.
pub struct Receiver {
    packet: Box<[u8; SIZE]>,
    name: Box<libc::sockaddr_storage>,
    /// Only the kernel and the macros that read what it wrote look at it.
    _control: Box<[u64; CONTROL / 8]>,
    _vector: Box<libc::iovec>,
    header: Box<libc::msghdr>,
}

// SAFETY: the raw pointers point into the boxes that travel with them.
unsafe impl Send for Receiver {}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver(..)")
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// Allocates the buffers.
    pub fn new() -> Self {
        // SAFETY: all-zero is valid for these plain C structs.
        let (name, mut header) = unsafe {
            (
                Box::new(std::mem::zeroed::<libc::sockaddr_storage>()),
                Box::new(std::mem::zeroed::<libc::msghdr>()),
            )
        };
        let mut packet = Box::new([0u8; SIZE]);
        let mut control = Box::new([0u64; CONTROL / 8]);
        let mut vector = Box::new(libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: SIZE });
        header.msg_iov = &mut *vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        Self { packet, name, _control: control, _vector: vector, header }
    }

    /// Reads `socket` until it is empty or `each` says that it has enough (false). `each` gets the source (`None` when the socket is connected), the
    /// bytes (`None` when they were too many) and the time at which the kernel got them (`now` if it does not say).
    pub fn drain(
        &mut self,
        socket: &UdpSocket,
        connected: bool,
        now: Nanos,
        mut each: impl FnMut(Option<SocketAddr>, Option<&mut [u8]>, Nanos) -> bool,
    ) {
        for _ in 0..MOST {
            let header = &mut *self.header;
            // Nobody asks from where a connected socket's packets come.
            let name = std::ptr::from_mut(&mut *self.name).cast();
            header.msg_name = if connected { std::ptr::null_mut() } else { name };
            header.msg_namelen = if connected { 0 } else { size_of::<libc::sockaddr_storage>() as u32 };
            header.msg_controllen = CONTROL;
            header.msg_flags = 0;
            // SAFETY: header, vector, name and control are wired to living boxes with these sizes. Not by libc's function, which is made for
            // threads that can be cancelled and pays for that each time.
            let got = unsafe {
                libc::syscall(
                    libc::SYS_recvmsg,
                    socket.as_raw_fd(),
                    std::ptr::from_mut(header),
                    libc::MSG_DONTWAIT,
                )
            };
            let Ok(len) = usize::try_from(got) else {
                if std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock {
                    return;
                }
                // An ICMP report about what we sent, told once and before what has arrived: no reason not to read that.
                continue;
            };
            let whole = header.msg_flags & libc::MSG_TRUNC == 0;
            let bytes = whole.then(|| &mut self.packet[..len.min(SIZE)]);
            let from = if connected { None } else { address(&self.name) };
            if !each(from, bytes, timestamp(header).unwrap_or(now)) {
                return;
            }
        }
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote an IPv4 address, as the family says; storage is large and aligned enough.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, IPv6.
            let v6 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

fn timestamp(header: &libc::msghdr) -> Option<Nanos> {
    // SAFETY: the kernel filled the control buffer and its length; the macros stay inside it.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time = std::ptr::read_unaligned(libc::CMSG_DATA(control).cast::<libc::timespec>());
                return Some(nanos(&time));
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

fn nanos(time: &libc::timespec) -> Nanos {
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Asks the kernel for receive times. Done once per socket, outside the shard.
pub fn enable_timestamps(socket: &UdpSocket) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: an integer option on our own socket.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Sends by a connected socket; false: the kernel did not take it.
pub(super) fn send(socket: &UdpSocket, packet: &[u8]) -> bool {
    // SAFETY: a slice with its own length; no address.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            socket.as_raw_fd(),
            packet.as_ptr(),
            packet.len(),
            libc::MSG_NOSIGNAL,
            std::ptr::null::<libc::sockaddr>(),
            0,
        )
    };
    sent >= 0
}

/// Connects a UDP socket to `to`, or (with `None`) lets it receive from everywhere again.
pub(super) fn connect(socket: &UdpSocket, to: Option<SocketAddr>) -> bool {
    match to {
        Some(to) => socket.connect(to).is_ok(),
        None => {
            // SAFETY: an all-zero address is AF_UNSPEC, which dissolves the association (connect(2)).
            unsafe {
                let none: libc::sockaddr = std::mem::zeroed();
                libc::connect(socket.as_raw_fd(), &none, size_of::<libc::sockaddr>() as u32) == 0
            }
        }
    }
}

/// Now, by the clock in which the kernel stamps packets.
pub fn wall_clock() -> Nanos {
    clock(libc::CLOCK_REALTIME)
}

/// Now, by the clock that never jumps.
pub(super) fn monotonic() -> Nanos {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(id: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid out pointer.
    unsafe { libc::clock_gettime(id, &mut time) };
    nanos(&time)
}

/// How the scheduler treats a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Before all that is not real-time (`SCHED_FIFO`).
    RealTime,
    /// Before most others (nice −11).
    Raised,
    /// As anybody.
    Usual,
}

/// Makes the calling thread one whose sleeps end on time, instead of up to 50 µs later, and puts it before others where the system allows it (root,
/// CAP_SYS_NICE, or a limit on real-time priority): a busy machine then delays a report rather than a tick.
pub fn prepare_thread() -> Priority {
    const FIRST: libc::c_int = 10;
    const NICE: libc::c_int = -11;
    // SAFETY: plain system calls about the calling thread.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0);
        let wanted = libc::sched_param { sched_priority: FIRST };
        // Threads that it might start would be usual ones.
        if libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &wanted) == 0 {
            return Priority::RealTime;
        }
        let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
        if libc::setpriority(libc::PRIO_PROCESS, thread, NICE) == 0 {
            Priority::Raised
        } else {
            Priority::Usual
        }
    }
}

/// A counter that wakes a sleeper: `eventfd(2)`.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
    doze: Doze,
}

impl Bell {
    /// A new bell.
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: a plain system call; the descriptor is ours alone.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd), doze: Doze::new() })
        }
    }

    /// Wakes a sleeper that sleeps for long; one that comes by soon is left alone. To be called after the ring was written.
    pub fn call(&self) {
        if self.doze.must_wake() {
            self.ring();
        }
    }

    /// Sleeps until called or for `at_most`, unless `has_work` says that something came since it was last looked for.
    pub(super) fn sleep(&self, at_most: Nanos, has_work: impl FnOnce() -> bool) {
        if self.doze.may_sleep(has_work) {
            self.wait(at_most);
        }
        self.doze.awake();
    }

    /// Wakes the sleeper.
    pub fn ring(&self) {
        let one = 1u64;
        // SAFETY: eight bytes, as eventfd wants. It fails only when the bell rings already.
        unsafe { libc::write(self.fd.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
    }

    /// The bell for an asynchronous sleeper, on the current tokio runtime's reactor.
    pub fn listen(bell: Arc<Self>) -> std::io::Result<AsyncFd<Arc<Self>>> {
        // SAFETY: the descriptor is owned by the bell inside the Arc, never changes, and is open until the last
        // Arc (one of which the AsyncFd holds) is dropped.
        unsafe { AsyncFd::register(bell) }.map_err(std::io::Error::from)
    }

    /// Silences it; true when it was ringing.
    pub fn clear(&self) -> bool {
        let mut count = 0u64;
        // SAFETY: eight bytes, as eventfd wants.
        unsafe { libc::read(self.fd.as_raw_fd(), std::ptr::from_mut(&mut count).cast(), 8) == 8 }
    }

    /// Sleeps until it rings, and silences it, or for `at_most`.
    pub(super) fn wait(&self, at_most: Nanos) {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time = libc::timespec {
            tv_sec: (at_most.0 / 1_000_000_000) as i64,
            tv_nsec: (at_most.0 % 1_000_000_000) as i64,
        };
        // SAFETY: one valid pollfd and a valid timeout.
        if unsafe { libc::ppoll(&mut poll, 1, &time, std::ptr::null()) } > 0 {
            self.clear();
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    /// The lengths of what is read in one go; `None`: too long.
    fn drained(receiver: &mut Receiver, socket: &UdpSocket, connected: bool) -> Vec<Option<usize>> {
        let mut lengths = Vec::new();
        receiver.drain(socket, connected, Nanos(7), |_, bytes, _| {
            lengths.push(bytes.map(|bytes| bytes.len()));
            true
        });
        lengths
    }

    #[test]
    fn a_flood_is_left_for_later_ticks() {
        let (here, far, mut receiver) = (socket(), socket(), Receiver::new());
        for _ in 0..MOST + 10 {
            far.send_to(&[0; 172], here.local_addr().unwrap()).unwrap();
        }
        assert_eq!(drained(&mut receiver, &here, false).len(), MOST);
        assert_eq!(drained(&mut receiver, &here, false).len(), 10);
    }

    #[test]
    fn a_datagram_that_is_too_long_is_told_as_such_and_the_next_is_whole() {
        let (here, far, mut receiver) = (socket(), socket(), Receiver::new());
        for len in [SIZE + 1, SIZE, 0] {
            far.send_to(&vec![1; len], here.local_addr().unwrap()).unwrap();
        }
        assert_eq!(drained(&mut receiver, &here, false), [None, Some(SIZE), Some(0)]);
    }

    #[test]
    fn the_kernel_says_when_a_packet_came_and_from_where() {
        let (here, far, mut receiver) = (socket(), socket(), Receiver::new());
        enable_timestamps(&here).unwrap();
        let before = wall_clock();
        far.send_to(&[0; 12], here.local_addr().unwrap()).unwrap();
        let mut seen = 0;
        receiver.drain(&here, false, Nanos(7), |from, _, arrival| {
            seen += 1;
            assert_eq!(from, far.local_addr().ok());
            // The kernel begins to stamp a little after the first socket asks; till then it says when it was read.
            assert!((before.0..=wall_clock().0).contains(&arrival.0), "{before:?} {arrival:?}");
            true
        });
        assert_eq!(seen, 1);
    }

    #[test]
    fn an_icmp_error_does_not_hide_what_has_come() {
        let (here, mut receiver) = (socket(), Receiver::new());
        let closed = socket();
        let nobody = closed.local_addr().unwrap();
        drop(closed);
        assert!(connect(&here, Some(nobody)));
        here.send(&[0; 12]).unwrap();
        // The report is there as soon as the send returns, on loopback; a new owner of the port sends now.
        let far = UdpSocket::bind(nobody).unwrap();
        far.send_to(&[0; 172], here.local_addr().unwrap()).unwrap();
        assert_eq!(drained(&mut receiver, &here, true), [Some(172)]);
    }
}
