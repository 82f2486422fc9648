//! Callers whose sound is encrypted, by keys in the description and by DTLS, who speak all the time; and every key that there is of them.

use crate::harness::{Bridge, PATIENCE};
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use media::codec::FRAME;
use media::dtls::{Line as Port, Opening};
use media::leg::{Leg, Protection, Received, Secure, Security};
use media::rtp::{HEADER, Kind};
use media::shard::wall_clock;
use media::srtp::{ControlProtector, GROWTH, Suite};
use sip_stack::sdp::Encoding;
use sotto::phone::{Caller, Destination, Dialled, Encryption, Line, UserAgent};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vault::{MasterKey, MediaKeys, Policy, Vault};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WAYS: [Encryption; 7] = [
    Encryption::Dtls,
    Encryption::Keys(Suite::Gcm256),
    Encryption::Keys(Suite::Cm256Sha1_80),
    Encryption::Dtls,
    Encryption::Keys(Suite::Gcm128),
    Encryption::Keys(Suite::Cm128Sha1_80),
    Encryption::Keys(Suite::Cm128Sha1_32),
];

/// Those callers. They hang up when this is dropped.
pub struct Keyed {
    runtime: tokio::runtime::Runtime,
    agents: Vec<UserAgent>,
    calls: Vec<Dialled>,
    talking: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    /// Packets that they could open.
    pub heard: Arc<AtomicU64>,
    /// What each is, and the key.
    pub keys: Vec<(&'static str, Vec<u8>)>,
}

impl Keyed {
    /// So many of them come into the meeting and begin to speak.
    pub fn join(bridge: &Bridge, count: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        let (over, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (mut agents, mut calls, mut talking, mut keys) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        runtime.block_on(async {
            for way in WAYS {
                let agent = UserAgent::start(&vault, HERE, vec![Encoding::Pcmu]).unwrap();
                agents.push(agent.encrypted(Some(way)).unwrap());
            }
            for n in 0..count {
                let agent = &agents[n % WAYS.len()];
                let to = Destination::resolve(&format!("sip:confproof@{}", bridge.sip)).await.unwrap();
                let line = Line::open(HERE).unwrap();
                let who = Caller { name: None, number: "+12025550199".into(), privacy_id: true };
                let mut call = agent.dial(&who, &to, line.address).unwrap();
                let setup = call.answered().await.unwrap();
                let socket = line.into_socket();
                let secure = match setup.security {
                    Security::Keys(secure) => secure,
                    Security::Dtls { .. } => handshake(agent, &setup, &socket),
                    Security::None => panic!("not encrypted"),
                };
                reveal(agent.keys(), &secure, &mut keys);
                let (own, over, heard) = (agent.keys().clone(), over.clone(), heard.clone());
                talking.push(std::thread::spawn(move || talk(&socket, setup, secure, &own, &over, &heard)));
                calls.push(call);
            }
        });
        let begun = Instant::now();
        while heard.load(Ordering::Relaxed) < 50 * count as u64 {
            assert!(begun.elapsed() < PATIENCE, "nothing is heard that could be opened");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { runtime, agents, calls, talking, over, heard, keys }
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.talking.drain(..).for_each(|thread| drop(thread.join()));
        let Self { runtime, calls, .. } = self;
        runtime.block_on(async {
            for call in calls {
                call.hang_up();
                call.ended().await;
            }
        });
        let _inside = self.runtime.enter();
        self.agents.clear();
    }
}

/// Agrees on keys by DTLS.
fn handshake(agent: &UserAgent, setup: &media::leg::LegSetup, socket: &std::net::UdpSocket) -> Secure {
    let Security::Dtls { role, theirs } = setup.security else { panic!("no DTLS") };
    let (dtls, port) = (agent.dtls().unwrap(), Port::Rtp(setup.id));
    let (done, mut is_done) = tokio::sync::mpsc::unbounded_channel();
    let own = Arc::new(socket.try_clone().unwrap());
    dtls.open(port, Opening { role, theirs, socket: own, to: setup.remote, done });
    let begun = Instant::now();
    let mut buffer = [0; 2048];
    loop {
        if let Ok(agreed) = is_done.try_recv() {
            let agreed = agreed.unwrap();
            return Secure { suite: agreed.suite, ours: agreed.ours, theirs: agreed.theirs };
        }
        assert!(begun.elapsed() < PATIENCE, "no handshake");
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) if Kind::of(&buffer[..len]) == Kind::Dtls => {
                dtls.packet(port, from, &buffer[..len])
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Speaks and listens until it is over.
fn talk(
    socket: &std::net::UdpSocket,
    setup: media::leg::LegSetup,
    secure: Secure,
    keys: &MediaKeys,
    over: &AtomicBool,
    heard: &AtomicU64,
) {
    let mut leg = Leg::new(setup, Some(keys), wall_clock()).unwrap();
    leg.set_keys(&mut Some(Protection::new(&secure, keys).unwrap()));
    let mut control = ControlProtector::new(keys, &secure.ours, secure.suite).unwrap();
    let mut rtcp: SocketAddr = setup.remote;
    if !setup.mux {
        rtcp.set_port(rtcp.port() + 1);
    }
    let mut next = Instant::now();
    for tick in 0u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            if Kind::of(&buffer[..len]) == Kind::Rtp {
                let got = leg.receive(from, &mut buffer[..len], wall_clock(), wall_clock());
                heard.fetch_add(u64::from(got != Received::Dropped), Ordering::Relaxed);
            }
        }
        leg.playout(wall_clock());
        let mut packet = [0x55; HEADER + FRAME];
        leg.packetise(&mut packet, |to, bytes| drop(socket.send_to(bytes, to)));
        if tick.is_multiple_of(25) {
            // A receiver report about nothing.
            let mut report = [0x80, 201, 0, 1, 0, 0, 0, 7].to_vec();
            report.resize(8 + GROWTH, 0);
            let len = control.protect(&mut report, 8).unwrap();
            let _ = socket.send_to(&report[..len], rtcp);
        }
        next += Duration::from_millis(20);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Every key that is made of these: masters, and what RFC 3711 §4.3 derives from them for RTP and RTCP.
fn reveal(keys: &MediaKeys, secure: &Secure, out: &mut Vec<(&'static str, Vec<u8>)>) {
    for master in [&secure.ours, &secure.theirs] {
        let bytes = bytes_of(keys, master, secure.suite.master());
        let (key, salt) = bytes.split_at(secure.suite.key());
        out.push(("SRTP master key", key.to_vec()));
        out.push(("SRTP master salt", salt.to_vec()));
        for (what, first) in [("SRTP session key", 0u8), ("SRTCP session key", 3)] {
            let mut lengths = vec![secure.suite.key(), 20, salt.len()];
            if secure.suite.is_aead() {
                // There is no other key for authentication.
                lengths[1] = 0;
            }
            for (label, len) in (first..).zip(lengths) {
                let mut iv = [0; 16];
                iv[..salt.len()].copy_from_slice(salt);
                iv[7] ^= label;
                out.push((what, stream(key, iv, len)));
            }
        }
    }
    out.retain(|(_, bytes)| !bytes.is_empty());
}

fn bytes_of(keys: &MediaKeys, master: &MasterKey, len: usize) -> Vec<u8> {
    let slot = keys.place(master, |bytes| {
        let mut copy = [0u8; vault::media::LONGEST];
        copy[..bytes.len()].copy_from_slice(bytes);
        Some(copy)
    });
    slot.unwrap()[..len].to_vec()
}

fn stream(key: &[u8], iv: [u8; 16], len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for count in 0..len.div_ceil(16) as u16 {
        let mut block = Array::from(iv);
        block[14..].copy_from_slice(&count.to_be_bytes());
        match key.len() {
            16 => aes::Aes128Enc::new_from_slice(key).unwrap().encrypt_block(&mut block),
            _ => aes::Aes256Enc::new_from_slice(key).unwrap().encrypt_block(&mut block),
        }
        out.extend_from_slice(&block);
    }
    out.truncate(len);
    out
}
