//! What a message, a sealed value, a packet and a tick cost, each beside a floor: what nobody could do without.
//!
//! Criterion measures; the table at the end sets both medians side by side.
#![allow(missing_docs, clippy::print_stdout, clippy::expect_used, clippy::unwrap_used)]

use criterion::Criterion;
use media::codec::FRAME;
use media::leg::{Leg, LegSetup};
use media::mixer::{Kit, Rates};
use media::room::{Manner, Member, Notice, Room, Sink};
use media::rtp::{HEADER, Stream};
use media::{Codec, LegId, Nanos, PayloadType, Rate, RoomId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sip_stack::message::{AddressBook, Origin, Reader};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use vault::{Context, Field, Policy, Sealed, Signalling, SignallingText, Vault};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4000);
const INVITE: &str = include_str!("../../fuzz/corpus/message/invite");
/// Seals and openings in one visit of a region: what the visit itself costs is in the second row, once for each.
const BATCH: usize = 16;
/// Rows, and how often each does in one go what it tells of.
const GROUPS: [(&str, usize); 7] = [
    ("INVITE read and sealed", 1),
    ("24 octets sealed and opened, in a region of their own", 1),
    ("packet received and played", 1),
    ("tick of 200", 1),
    ("24 octets sealed", BATCH),
    ("24 octets opened", BATCH),
    ("frame searched for keys", 1),
];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    message(&mut criterion);
    sealed(&mut criterion);
    sealed_in_batches(&mut criterion);
    packet(&mut criterion);
    tick(&mut criterion);
    tones(&mut criterion);
    criterion.final_summary();
    table();
}

/// The table, from what Criterion wrote; `cargo test` runs each bench once and writes nothing.
fn table() {
    let target =
        std::env::var("CARGO_TARGET_DIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    let median = |group: &str, what: &str| -> Option<f64> {
        let file = Path::new(&target).join("criterion").join(group).join(what).join("new/estimates.json");
        let text = std::fs::read_to_string(file).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()?["median"]["point_estimate"].as_f64()
    };
    println!("| what | µs | floor | ratio |\n|---|---|---|---|");
    for (group, times) in GROUPS {
        let median = |what| Some(median(group, what)? / times as f64);
        let Some((ours, floor)) = median("sotto").zip(median("floor")) else { continue };
        println!("| {group} | {:.2} | {:.2} | {:.1} |", ours / 1e3, floor / 1e3, ours / floor);
    }
}

/// The floor copies the message, checks that it is UTF-8 and looks for its head's end.
fn message(criterion: &mut Criterion) {
    let vault = Vault::open(Policy::AllowWeaker).expect("a vault");
    let book = AddressBook { numbers: vec![], adhoc_prefix: Some("conf".into()) };
    let reader = Reader::new(&vault, book).expect("a key");
    let mut region = vault.region().expect("a region");
    let origin = Origin {
        at: std::time::SystemTime::now(),
        source: PEER,
        protocol: sip_stack::transport::Protocol::Udp,
        trunk: Default::default(),
        trusted: true,
        withhold: Default::default(),
    };
    let mut group = criterion.benchmark_group(GROUPS[0].0);
    group.bench_function("sotto", |b| {
        b.iter(|| {
            region
                .receive(|buffer| {
                    buffer[..INVITE.len()].copy_from_slice(INVITE.as_bytes());
                    Ok((INVITE.len(), ()))
                })
                .expect("it was received");
            region.run(|i| reader.read(i.secrets, i.rx, origin)).expect("no fault").is_ok()
        });
    });
    let mut buffer = vec![0; 65_536];
    group.bench_function("floor", |b| {
        b.iter(|| {
            let copy = &mut buffer[..INVITE.len()];
            copy.copy_from_slice(black_box(INVITE.as_bytes()));
            (std::str::from_utf8(copy).is_ok(), copy.windows(4).position(|w| w == b"\r\n\r\n"))
        });
    });
}

/// The floor is the cipher alone, with its key in ordinary memory.
fn sealed(criterion: &mut Criterion) {
    let value = [7u8; 24];
    let vault = Vault::open(Policy::AllowWeaker).expect("a vault");
    let ring = vault.keyring().expect("a key");
    let mut region = vault.region().expect("a region");
    let at = Context { scope: 0, subject: 1, field: Field::Dialog };
    let mut group = criterion.benchmark_group(GROUPS[1].0);
    group.bench_function("sotto", |b| {
        b.iter(|| {
            let done = region.run(|i| {
                let sealed: Sealed<SignallingText> = i.secrets.seal(&ring, at, &value);
                i.secrets.open(&ring, at, &sealed, Signalling).is_ok_and(|plain| plain.bytes() == value)
            });
            assert!(done.expect("no fault"));
        });
    });
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).expect("a key"));
    group.bench_function("floor", |b| {
        let mut n = 0u64;
        b.iter(|| {
            n += 1;
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&n.to_be_bytes());
            let mut bytes = value.to_vec();
            let nonce = || Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes).expect("sealed");
            key.open_in_place(nonce(), Aad::empty(), &mut bytes).expect("opened").len()
        });
    });
}

/// The same, each half alone, many times within one region.
fn sealed_in_batches(criterion: &mut Criterion) {
    let value = [7u8; 24];
    let vault = Vault::open(Policy::AllowWeaker).expect("a vault");
    let ring = vault.keyring().expect("a key");
    let mut region = vault.region().expect("a region");
    let at = Context { scope: 0, subject: 1, field: Field::Dialog };
    let sealed: Sealed<SignallingText> = region.run(|i| i.secrets.seal(&ring, at, &value)).expect("no fault");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).expect("a key"));
    let nonce = |n: usize| {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&n.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    };
    let seal = |n: usize| {
        let mut bytes = value.to_vec();
        key.seal_in_place_append_tag(nonce(n), Aad::empty(), &mut bytes).expect("sealed");
        bytes
    };
    let mut group = criterion.benchmark_group(GROUPS[4].0);
    group.bench_function("sotto", |b| {
        b.iter(|| {
            let done = region.run(|i| {
                (0..BATCH).for_each(|_| {
                    black_box::<Sealed<SignallingText>>(i.secrets.seal(&ring, at, black_box(&value)));
                });
            });
            done.expect("no fault");
        });
    });
    group.bench_function("floor", |b| b.iter(|| (0..BATCH).for_each(|n| drop(black_box(seal(n))))));
    group.finish();
    let mut group = criterion.benchmark_group(GROUPS[5].0);
    group.bench_function("sotto", |b| {
        b.iter(|| {
            let opened = region.run(|i| {
                let open = |_: &usize| {
                    let opened = i.secrets.open(&ring, at, black_box(&sealed), Signalling);
                    opened.is_ok_and(|plain| plain.bytes() == value)
                };
                (0..BATCH).filter(open).count()
            });
            assert_eq!(opened.expect("no fault"), BATCH);
        });
    });
    let bytes: Vec<_> = (0..BATCH).map(seal).collect();
    group.bench_function("floor", |b| {
        b.iter(|| {
            bytes.iter().enumerate().for_each(|(n, sealed)| {
                let mut copy = black_box(sealed).clone();
                key.open_in_place(nonce(n), Aad::empty(), &mut copy).expect("opened");
            });
        });
    });
}

/// Keys looked for in a loud frame. The floor takes its level.
fn tones(criterion: &mut Criterion) {
    // A voice is about as loud, and not quieter than what is looked at.
    let frame: [i16; FRAME] = std::array::from_fn(|n| if n / 40 % 2 == 0 { 3000 } else { -3000 });
    let mut receiver = media::tones::ToneReceiver::default();
    let mut group = criterion.benchmark_group(GROUPS[6].0);
    group.bench_function("sotto", |b| b.iter(|| receiver.push(black_box(&frame), media::Level::of(&frame))));
    group.bench_function("floor", |b| b.iter(|| media::Level::of(black_box(&frame))));
    group.finish();
}

fn leg(id: u64) -> Leg {
    // As most phones do: their keys are not looked for in the audio.
    let events = Some(PayloadType(101));
    let setup = LegSetup { events, ..LegSetup::plain(LegId(id), Codec::Pcmu, PayloadType(0), PEER) };
    Leg::new(setup, None, Nanos(0)).expect("G.711 needs nothing")
}

/// One who sends a loud square wave.
struct Talker(Stream);

impl Talker {
    fn next(&mut self) -> [u8; HEADER + FRAME] {
        let mut packet = [0; HEADER + FRAME];
        self.0.write(&mut packet, FRAME as u32);
        packet[HEADER..]
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = if i / 40 % 2 == 0 { 0x90 } else { 0x10 });
        packet
    }
}

/// The floor decodes the packet's samples.
fn packet(criterion: &mut Criterion) {
    let (mut leg, mut talker, mut now) = (leg(1), Talker(Stream::new(PayloadType(0))), Nanos(1_000_000_000));
    let mut group = criterion.benchmark_group(GROUPS[2].0);
    group.bench_function("sotto", |b| {
        b.iter_custom(|count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let packet = talker.next();
                now = Nanos(now.0 + 20_000_000);
                let begun = Instant::now();
                leg.receive(PEER, &mut { packet }, now, now);
                leg.playout(now);
                took += begun.elapsed();
            }
            took
        });
    });
    assert!(leg.speaks(), "it is heard");
    let packet = talker.next();
    let mut samples = [0; FRAME];
    group.bench_function("floor", |b| {
        b.iter(|| {
            Codec::Pcmu.decode_plain(black_box(&packet[HEADER..]), &mut samples);
            samples[0]
        });
    });
}

/// Where packets go that only have to be made.
struct Nowhere(usize);

impl Sink<()> for Nowhere {
    fn packet(&mut self, (): &mut (), _: SocketAddr, packet: &[u8]) {
        self.0 += black_box(packet).len();
    }

    fn notice(&mut self, _: RoomId, _: LegId, _: Notice) -> bool {
        true
    }
}

/// 200 legs, three of whom talk. The floor encodes once for all listeners and for each talker, and copies a packet for each leg.
fn tick(criterion: &mut Criterion) {
    const LEGS: u64 = 200;
    let mut room = Room::new(RoomId(1), LEGS as usize, Manner::default());
    let mut narrow = Rates::default();
    narrow.add(Rate::Narrow);
    room.adopt(&mut Kit::new(narrow, narrow, Default::default()));
    for id in 0..LEGS {
        assert!(room.add(Box::new(Member::new(leg(id), ()))).is_ok());
    }
    let mut talkers: Vec<_> = (0..3).map(|_| Talker(Stream::new(PayloadType(0)))).collect();
    let (mut now, mut out) = (Nanos(1_000_000_000), Nowhere(0));
    let mut group = criterion.benchmark_group(GROUPS[3].0);
    group.bench_function("sotto", |b| {
        b.iter_custom(|count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                now = Nanos(now.0 + 20_000_000);
                for (member, talker) in room.members_mut().iter_mut().zip(&mut talkers) {
                    member.leg.receive(PEER, &mut talker.next(), now, now);
                }
                let begun = Instant::now();
                (0..room.len()).for_each(|n| room.pull(n, now));
                room.tick(now, &mut out);
                took += begun.elapsed();
            }
            took
        });
    });
    assert!(room.members_mut()[..3].iter().all(|m| m.leg.speaks()), "they are heard");
    let (samples, mut encoded) = ([1000i16; FRAME], [0; FRAME]);
    let mut packets = vec![[0u8; HEADER + FRAME]; LEGS as usize];
    group.bench_function("floor", |b| {
        b.iter(|| {
            for _ in 0..4 {
                Codec::Pcmu.encode_plain(black_box(&samples), &mut encoded);
            }
            for packet in &mut packets {
                packet[HEADER..].copy_from_slice(black_box(&encoded));
            }
        });
    });
}
