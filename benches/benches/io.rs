//! Ways of reading a packet from each of many sockets and answering it, as a tick does: by system calls for each socket, and by io_uring for all of them at
//! once. `cargo bench --package sotto-benches --bench io [SOCKETS]`; why the shard does it as it does stands in docs/PERFORMANCE.md.
#![allow(missing_docs, unsafe_code, clippy::print_stdout, clippy::unwrap_used)]

use io_uring::{IoUring, opcode, types};
use media::shard::{Receiver, enable_timestamps, wall_clock};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;
const WARM_UP: usize = 50;
/// G.711 of 20 ms.
const PACKET: [u8; 172] = [0xd5; 172];
const CONTROL: usize = 64;

struct Pair {
    ours: UdpSocket,
    theirs: UdpSocket,
}

fn pairs(count: usize) -> Vec<Pair> {
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let pair = |_| {
        let (ours, theirs) = (socket(), socket());
        ours.connect(theirs.local_addr().unwrap()).unwrap();
        theirs.connect(ours.local_addr().unwrap()).unwrap();
        Pair { ours, theirs }
    };
    (0..count).map(pair).collect()
}

/// A way: reads and answers what came at all sockets.
type Way<'a> = Box<dyn FnMut() + 'a>;

/// µs for each socket, the median of all rounds. Ways take turns in each round, so that all of them meet what the machine does beside.
fn measured(pairs: &[Pair], ways: &mut [Way<'_>]) -> Vec<f64> {
    let mut buffer = [0; 2048];
    let mut took = vec![Vec::new(); ways.len()];
    for round in 0..ROUNDS + WARM_UP {
        for (way, took) in ways.iter_mut().zip(&mut took) {
            for pair in pairs {
                pair.theirs.send(&PACKET).unwrap();
            }
            let begun = Instant::now();
            way();
            if round >= WARM_UP {
                took.push(begun.elapsed());
            }
            for pair in pairs {
                assert_eq!(pair.theirs.recv(&mut buffer).unwrap(), PACKET.len());
            }
        }
    }
    let median = |mut took: Vec<Duration>| {
        took.sort_unstable();
        took[took.len() / 2].as_secs_f64() * 1e6 / pairs.len() as f64
    };
    took.into_iter().map(median).collect()
}

/// As the floor does it: read until there is nothing more.
fn plain(pairs: &[Pair]) -> Way<'_> {
    let mut buffer = [0; 2048];
    Box::new(move || {
        for pair in pairs {
            while let Ok(n) = pair.ours.recv(&mut buffer) {
                pair.ours.send(&buffer[..n]).unwrap();
            }
        }
    })
}

/// As the shard does it: with the kernel's receive times, until what came is fresh.
fn as_the_shard(pairs: &[Pair]) -> Way<'_> {
    let mut receiver = Receiver::new();
    Box::new(move || {
        let now = wall_clock();
        for pair in pairs {
            receiver.drain(&pair.ours, true, now, |_, bytes, _| {
                pair.ours.send(bytes.unwrap()).unwrap();
                false
            });
        }
    })
}

/// A socket's own place for what `recvmsg` wants; wired to itself, so never moved.
struct Place {
    packet: [u8; 2048],
    control: [u64; CONTROL / 8],
    vector: libc::iovec,
    header: libc::msghdr,
}

/// With io_uring: all are read by one call, and answered by another. Sockets are registered.
fn by_ring(pairs: &[Pair]) -> std::io::Result<Way<'_>> {
    let entries = (pairs.len() as u32).next_power_of_two();
    let mut ring: IoUring =
        IoUring::builder().setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun().build(entries)?;
    let sockets: Vec<_> = pairs.iter().map(|p| p.ours.as_raw_fd()).collect();
    ring.submitter().register_files(&sockets)?;
    let mut places: Vec<Box<Place>> = pairs
        .iter()
        .map(|_| {
            // SAFETY: all zeros are valid for these plain C structs.
            let mut place: Box<Place> = Box::new(unsafe { std::mem::zeroed() });
            place.vector = libc::iovec { iov_base: place.packet.as_mut_ptr().cast(), iov_len: 2048 };
            place.header.msg_iov = &raw mut place.vector;
            place.header.msg_iovlen = 1;
            place.header.msg_control = place.control.as_mut_ptr().cast();
            place
        })
        .collect();
    let mut lengths = vec![0usize; pairs.len()];
    Ok(Box::new(move || {
        for (n, place) in places.iter_mut().enumerate() {
            place.header.msg_controllen = CONTROL;
            let entry = opcode::RecvMsg::new(types::Fixed(n as u32), &raw mut place.header)
                .flags(libc::MSG_DONTWAIT as u32)
                .build()
                .user_data(n as u64);
            // SAFETY: what it points to lives in boxes until the ring is gone.
            unsafe { ring.submission().push(&entry) }.unwrap();
        }
        ring.submit_and_wait(places.len()).unwrap();
        for done in ring.completion() {
            lengths[done.user_data() as usize] = usize::try_from(done.result()).unwrap();
        }
        for (n, place) in places.iter().enumerate() {
            let entry =
                opcode::Send::new(types::Fixed(n as u32), place.packet.as_ptr(), lengths[n] as u32).build();
            // SAFETY: as above.
            unsafe { ring.submission().push(&entry) }.unwrap();
        }
        ring.submit_and_wait(places.len()).unwrap();
        for done in ring.completion() {
            assert!(done.result() > 0);
        }
    }))
}

fn main() {
    let count = std::env::args().filter_map(|a| a.parse().ok()).next_back().unwrap_or(1000);
    let pairs = pairs(count);
    pairs.iter().for_each(|p| enable_timestamps(&p.ours).unwrap());
    let mut names = vec![
        "recv until there is nothing more, send (the floor)",
        "recvmsg with receive times, send (the shard)",
    ];
    let mut ways = vec![plain(&pairs), as_the_shard(&pairs)];
    match by_ring(&pairs) {
        Ok(way) => {
            names.push("io_uring: all recvmsg at once, then all send; registered sockets");
            ways.push(way);
        }
        Err(e) => println!("no io_uring here: {e}"),
    }
    println!("| {count} sockets, one packet in and out | µs for each |\n|---|---|");
    for (name, took) in names.iter().zip(measured(&pairs, &mut ways)) {
        println!("| {name} | {took:.2} |");
    }
}
