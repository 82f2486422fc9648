//! The real-time thread neither allocates nor frees, whatever comes: proven by this binary's allocator, which counts what the shard's
//! thread asks of it.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use media::codec::FRAME;
use media::leg::{Direction, LegSetup};
use media::ports::Ports;
use media::room::Notice;
use media::{Codec, Engine, LegId, PayloadType, Prompt, RoomId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The thread that is watched; 0: none yet.
static WATCHED: AtomicI64 = AtomicI64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn note() {
    let watched = WATCHED.load(Ordering::Relaxed);
    // SAFETY: a plain system call.
    if watched != 0 && unsafe { libc::syscall(libc::SYS_gettid) } == watched {
        ASKED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: System's own behaviour; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's contract is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note();
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EVENTS: PayloadType = PayloadType(101);
static RECORDINGS: [&[i16]; 2] = [&[900; 1000], &[-900; 1700]];

/// The shard's thread id.
fn shard() -> i64 {
    let mut tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|t| t.unwrap().path());
    let named =
        |p: &std::path::PathBuf| std::fs::read_to_string(p.join("comm")).is_ok_and(|c| c.trim() == "shard-0");
    let task = tasks.find(named).expect("the shard's thread");
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

struct Peer {
    setup: LegSetup,
    socket: UdpSocket,
    to: SocketAddr,
    seq: u16,
}

impl Peer {
    fn new(engine: &Engine, room: RoomId, id: u64, codec: Codec, packet: usize) -> Self {
        let socket = UdpSocket::bind((HERE, 0)).unwrap();
        let pair = engine.reserve(false).unwrap();
        let setup = LegSetup {
            id: LegId(id),
            codec: (codec, PayloadType(if codec == Codec::Pcma { 8 } else { 0 })),
            receives: [Some((Codec::Pcmu, PayloadType(0))), Some((Codec::Pcma, PayloadType(8)))],
            // Where there are no events, keys are looked for in the audio.
            events: (id != 2).then_some(EVENTS),
            packet,
            direction: Direction::BOTH,
            remote: socket.local_addr().unwrap(),
        };
        engine.add(room, setup, pair.rtp).unwrap();
        Self { setup, socket, to: pair.address, seq: 0 }
    }

    fn send(&mut self, payload_type: u8, payload: &[u8]) {
        self.seq = self.seq.wrapping_add(1);
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.seq.to_be_bytes());
        packet.extend((u32::from(self.seq) * FRAME as u32).to_be_bytes());
        packet.extend((self.setup.id.0 as u32).to_be_bytes());
        packet.extend(payload);
        // A leg that was removed answers with ICMP.
        let _ = self.socket.send_to(&packet, self.to);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_shard_asks_nothing_of_the_allocator() {
    let (engine, mut events) = Engine::start(Ports::new(HERE, 46, 43_000..=43_400).unwrap(), 1).unwrap();
    let room = RoomId(1);
    engine.open(room, 50).unwrap();
    engine.watch(room, true).unwrap();
    let lengths = [80, 160, 240, 480];
    let mut peers: Vec<Peer> = (0..12)
        .map(|n| {
            let codec = if n % 3 == 0 { Codec::Pcma } else { Codec::Pcmu };
            Peer::new(&engine, room, n, codec, lengths[n as usize % 4])
        })
        .collect();
    let mut told = events.remove(0);
    // The thread runs, and has its name, when it tells of a key.
    peers[0].send(EVENTS.0, &[1, 0x8a, 3, 0x20]);
    told.next().await.unwrap();
    let (digits, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let reader = tokio::spawn(async move {
        while let Some(event) = told.next().await {
            let _ = digits.send(matches!(event.notice, Notice::Digit(_)));
        }
    });
    let thread = shard();
    let voice: Vec<u8> = (0..FRAME).map(|n| if n % 8 < 4 { 0x90 } else { 0x10 }).collect();
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for tick in 0..150u64 {
        clock.tick().await;
        if tick == 5 {
            WATCHED.store(thread, Ordering::Relaxed);
        }
        for (n, peer) in peers.iter_mut().enumerate() {
            match (tick + n as u64) % 23 {
                // Lost, garbage, too long, another payload type, a key.
                3 => peer.seq += 1,
                7 => drop(peer.socket.send_to(&[0x80, 0, 1], peer.to)),
                8 => drop(peer.socket.send_to(&[0xff; 1400], peer.to)),
                9 => peer.send(33, &voice),
                11 => peer.send(EVENTS.0, &[5, 0x8a, 3, 0x20]),
                _ if n < 4 => peer.send(0, &voice),
                _ => peer.send(8, &[0xd5; FRAME]),
            }
        }
        match tick {
            20 => engine.mute(room, LegId(1), true).unwrap(),
            30 => {
                let remote = SocketAddr::new(HERE, 9);
                engine.change(room, LegSetup { remote, ..peers[2].setup }).unwrap();
            }
            40 => engine.remove(room, LegId(11)),
            50 => peers.push(Peer::new(&engine, room, 12, Codec::Pcmu, 160)),
            60 => {
                engine.open(RoomId(2), 5).unwrap();
                Peer::new(&engine, RoomId(2), 20, Codec::Pcma, 160);
            }
            70 => engine.close(RoomId(2)),
            80 | 95 => engine.say(room, LegId(3), Prompt::new(&RECORDINGS, [0, 1, 0])).unwrap(),
            _ => {}
        }
    }
    WATCHED.store(0, Ordering::Relaxed);
    let counters = engine.counters().next().unwrap();
    assert!(counters.ticks.load(Ordering::Relaxed) > 100, "it ticked");
    assert!(counters.received.load(Ordering::Relaxed) > 1000 && counters.sent.load(Ordering::Relaxed) > 1000);
    let mut any_digit = false;
    while let Ok(digit) = heard.try_recv() {
        any_digit |= digit;
    }
    assert!(any_digit, "it told what it heard");
    assert_eq!(ASKED.load(Ordering::Relaxed), 0, "allocations and frees on the shard's thread");
    drop(engine);
    reader.await.unwrap();
}
