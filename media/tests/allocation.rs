//! The real-time thread neither allocates nor frees, whatever comes and in whichever codec: proven by this binary's own malloc and free,
//! which count what the shard's thread asks of them.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use media::codec::{Encoder, LARGEST};
use media::engine::Settings;
use media::leg::{LegSetup, Secure, Security};
use media::music::Music;
use media::ports::Ports;
use media::prompt::Recordings;
use media::room::{Manner, Notice};
use media::srtp::{GROWTH, Protector, Suite};
use media::{Codec, Engine, LegId, PayloadType, Prompt, Rate, RoomId, Words};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use vault::MediaKeys;

/// The thread that is watched; 0: none yet.
static WATCHED: AtomicI64 = AtomicI64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

fn note() {
    let watched = WATCHED.load(Ordering::Relaxed);
    // SAFETY: a plain system call.
    if watched != 0 && unsafe { libc::syscall(libc::SYS_gettid) } == watched {
        ASKED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The C library's own functions stand behind Rust's allocator and behind libopus: this binary's come before them.
mod heap {
    use libc::{c_void, size_t};

    unsafe extern "C" {
        fn __libc_malloc(size: size_t) -> *mut c_void;
        fn __libc_calloc(count: size_t, size: size_t) -> *mut c_void;
        fn __libc_realloc(block: *mut c_void, size: size_t) -> *mut c_void;
        fn __libc_memalign(align: size_t, size: size_t) -> *mut c_void;
        fn __libc_free(block: *mut c_void);
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn malloc(size: size_t) -> *mut c_void {
        super::note();
        // SAFETY: the caller's contract is the C library's; so in all of these.
        unsafe { __libc_malloc(size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
        super::note();
        // SAFETY: as above.
        unsafe { __libc_calloc(count, size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn realloc(block: *mut c_void, size: size_t) -> *mut c_void {
        super::note();
        // SAFETY: as above.
        unsafe { __libc_realloc(block, size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: size_t, size: size_t) -> libc::c_int {
        super::note();
        // SAFETY: as above.
        let block = unsafe { __libc_memalign(align, size) };
        if block.is_null() {
            return libc::ENOMEM;
        }
        // SAFETY: the caller gave a place for it.
        unsafe { *out = block };
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn free(block: *mut c_void) {
        super::note();
        // SAFETY: as above.
        unsafe { __libc_free(block) }
    }
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EVENTS: PayloadType = PayloadType(101);
const COMFORT: PayloadType = PayloadType(13);

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
    encoder: Encoder,
    protector: Option<Protector>,
}

impl Peer {
    fn new(engine: &Engine, keys: &MediaKeys, room: RoomId, id: u64, codec: Codec, ptime: usize) -> Self {
        let socket = UdpSocket::bind((HERE, 0)).unwrap();
        let pair = engine.reserve(false).unwrap();
        let payload_type = PayloadType(20 + codec as u8);
        // Every other one is encrypted, in each suite.
        let secure = (id % 2 == 1).then(|| {
            let suite = Suite::ALL[id as usize / 2 % Suite::ALL.len()];
            let [ours, theirs] = [0, 1].map(|_| keys.random(suite.master()).unwrap());
            Secure { suite, ours, theirs }
        });
        let setup = LegSetup {
            // Where there are no events, keys are looked for in the audio.
            events: (id != 2).then_some(EVENTS),
            comfort: Some(COMFORT),
            sends_comfort: id % 5 == 3,
            agc: id.is_multiple_of(2),
            noise_suppression: id % 3 == 1,
            ptime,
            security: secure.map_or(Security::None, Security::Keys),
            ..LegSetup::plain(LegId(id), codec, payload_type, socket.local_addr().unwrap())
        };
        let to = pair.address;
        let rtcp = SocketAddr::new(HERE, 9);
        let runtime = tokio::runtime::Handle::current();
        // Its task would say goodbye if it were dropped.
        std::mem::forget(engine.add(room, setup, pair, rtcp, runtime).unwrap());
        let encoder = Encoder::new(&setup.sends.0).unwrap();
        let protector = secure.map(|s| Protector::new(keys, &s.theirs, s.suite).unwrap());
        Self { setup, socket, to, seq: 0, encoder, protector }
    }

    fn send(&mut self, payload_type: u8, payload: &[u8]) {
        self.seq = self.seq.wrapping_add(1);
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.seq.to_be_bytes());
        let units = self.setup.sends.0.codec.units_per_tick();
        packet.extend((u32::from(self.seq) * units).to_be_bytes());
        packet.extend((self.setup.id.0 as u32).to_be_bytes());
        packet.extend(payload);
        if let Some(protector) = &mut self.protector {
            let len = packet.len();
            packet.resize(len + GROWTH, 0);
            let len = protector.protect(&mut packet, len).unwrap();
            packet.truncate(len);
        }
        // A leg that was removed answers with ICMP.
        let _ = self.socket.send_to(&packet, self.to);
    }

    /// A tick of a loud tone, or of silence.
    fn talk(&mut self, loud: bool) {
        let rate = self.setup.hears_at();
        let tone = |i: usize| ((i as f32 * 1800.0 / rate.hz() as f32).sin() * 6000.0) as i16;
        let pcm: Vec<i16> = (0..rate.frame()).map(|i| if loud { tone(i) } else { 0 }).collect();
        let mut bytes = [0; LARGEST];
        let n = self.encoder.encode(&pcm, &mut bytes);
        self.send(self.setup.sends.1.0, &bytes[..n]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_shard_asks_nothing_of_the_allocator() {
    let recordings: &Recordings = Box::leak(Box::new(Recordings::new(&[&[900; 1000], &[-900; 1700]])));
    let vault = vault::Vault::open(vault::Policy::AllowWeaker).unwrap();
    let keys = MediaKeys::new(&vault).unwrap();
    let ports = Ports::new(HERE, 46, 43_000..=43_400).unwrap();
    let manner = Manner {
        floor: Some(70),
        music: Music::new(&[500; 9000], Rate::Narrow).map(|m| &*Box::leak(Box::new(m))),
    };
    // The first room is in two parts, the second one whole.
    let keys_too = Some(keys.clone());
    let settings = Settings { shards: 2, manner, keys: keys_too, spread_above: 40, ..Settings::default() };
    let (engine, mut events) = Engine::start(ports, settings).unwrap();
    let room = RoomId(1);
    engine.open(room, 50, true).unwrap();
    engine.watch(room, true).unwrap();
    // Each codec has who talks and who only listens.
    let mut peers: Vec<Peer> = (0..15)
        .map(|n| {
            Peer::new(&engine, &keys, room, n, Codec::ALL[n as usize % 5], [10, 20, 30, 60][n as usize % 4])
        })
        .collect();
    let mut told = events.remove(0);
    let mut others = events.remove(0);
    let other_reader = tokio::spawn(async move { while others.next().await.is_some() {} });
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
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for tick in 0..250u64 {
        clock.tick().await;
        if tick == 5 {
            WATCHED.store(thread, Ordering::Relaxed);
        }
        for (n, peer) in peers.iter_mut().enumerate() {
            // Each talks for a while: encoders are handed over both ways, in all codecs.
            let loud = (tick / 30 + n as u64).is_multiple_of(4);
            match (tick + n as u64) % 23 {
                // Lost, garbage, too long, another payload type, noise, a key; late and all at once.
                3 => peer.seq += 1,
                7 => drop(peer.socket.send_to(&[0x80, 0, 1], peer.to)),
                8 => drop(peer.socket.send_to(&[0xff; 1400], peer.to)),
                9 => peer.send(33, &[1; 160]),
                10 => peer.send(COMFORT.0, &[60]),
                11 => peer.send(EVENTS.0, &[5, 0x8a, 3, 0x20]),
                12 => {}
                13 => (0..2).for_each(|_| peer.talk(loud)),
                _ => peer.talk(loud),
            }
        }
        match tick {
            20 => engine.mute(room, LegId(1), true).unwrap(),
            22 => engine.set_sound(room, LegId(6), None, Some(true)).unwrap(),
            25 => engine.set_sound(room, LegId(0), Some(6.0), None).unwrap(),
            70 => engine.set_sound(room, LegId(6), None, Some(false)).unwrap(),
            75 => engine.set_sound(room, LegId(1), Some(-6.0), Some(false)).unwrap(),
            30 => {
                let remote = SocketAddr::new(HERE, 9);
                engine.change(room, LegSetup { remote, ..peers[2].setup }).unwrap();
            }
            // Another codec in mid-call.
            35 => {
                let other = LegSetup::plain(LegId(3), Codec::Opus, PayloadType(20), peers[3].setup.remote);
                engine.change(room, other).unwrap();
            }
            40 => engine.remove(room, LegId(10)),
            50 => peers.push(Peer::new(&engine, &keys, room, 15, Codec::Opus, 20)),
            60 => {
                engine.open(RoomId(2), 5, true).unwrap();
                Peer::new(&engine, &keys, RoomId(2), 20, Codec::Pcma, 20);
            }
            // Between parts of a spread conference and a whole one, with and without what the mix lacks.
            100 => {
                engine.open(RoomId(3), 5, true).unwrap();
                (5..9).for_each(|leg| engine.move_leg(room, LegId(leg), RoomId(3)).unwrap());
            }
            130 => (5..7).for_each(|leg| engine.move_leg(RoomId(3), LegId(leg), room).unwrap()),
            140 => engine.close(RoomId(3)),
            // Music plays by now.
            190 => engine.close(RoomId(2)),
            80 | 95 => engine.say(room, LegId(4), Prompt::new(recordings, [0, 1, 0])).unwrap(),
            85 => engine.say(room, LegId(5), Prompt::new(recordings, [0, 1, 0])).unwrap(),
            // Somebody's own words, and somebody who hears what one leg says: memory comes and goes.
            150 | 160 => {
                let words = || Words {
                    prompt: Prompt::new(recordings, [0]).behind_words(),
                    spoken: vec![900; 2000].into_boxed_slice(),
                };
                engine.announce(room, words()).unwrap();
                engine.say(room, LegId(4), words()).unwrap();
                engine.tap(room, LegId(1), media::tap::tap(100).0).unwrap();
            }
            170 => engine.untap(room, LegId(1)).unwrap(),
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
    other_reader.await.unwrap();
}
