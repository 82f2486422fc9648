//! What is tried with arbitrary bytes, and what must hold for all of them. Used by the fuzzer and, with the corpora, by a test.

mod dialog;

pub use dialog::dialog;

use media::leg::{Leg, LegSetup, Received};
use media::{Codec, LegId, Nanos, PayloadType, rtcp, units::Ssrc};
use sip_stack::dialog::Flow;
use sip_stack::endpoint::{Endpoint, Event, Limits};
use sip_stack::message::headers::LocalAddress;
use sip_stack::message::{AddressBook, Origin, Reader};
use sip_stack::sdp::{self, Capabilities};
use sip_stack::transaction::Times;
use sip_stack::transport::{Frame, scan};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use vault::{Policy, Region, Vault};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 5060);
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), 5060);

struct Stack {
    reader: Reader,
    region: Region,
}

impl Stack {
    fn new() -> Self {
        let vault = Vault::open(Policy::AllowWeaker).expect("a vault");
        let book = AddressBook { numbers: vec![], adhoc_prefix: Some("conf".into()) };
        Self { reader: Reader::new(&vault, book).expect("a key"), region: vault.region().expect("a region") }
    }
}

thread_local! {
    static STACK: RefCell<Stack> = RefCell::new(Stack::new());
}

/// A datagram: it is read without a panic, whatever it asks for is answered with what can be read again, and after all timers
/// nothing of it is kept. Its framing never goes beyond its end.
pub fn message(bytes: &[u8]) {
    if let Frame::Message(len) = scan(bytes) {
        assert!(len <= bytes.len());
    }
    STACK.with_borrow_mut(|stack| datagram(stack, bytes));
}

/// Whether a datagram is read without fault.
#[allow(dead_code)]
pub fn is_read(bytes: &[u8]) -> bool {
    let origin = Origin {
        at: std::time::SystemTime::now(),
        source: PEER,
        protocol: sip_stack::transport::Protocol::Udp,
        trunk: Default::default(),
        trusted: true,
        withhold: Default::default(),
    };
    STACK.with_borrow_mut(|Stack { reader, region }| {
        let received = region.receive(|buffer| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok((bytes.len(), ()))
        });
        received.expect("it was received");
        let read = region.run(|i| reader.read(i.secrets, i.rx, origin)).expect("no panic");
        matches!(read, Ok(sip_stack::message::Incoming::Request(request)) if request.fault.is_none())
    })
}

fn datagram(Stack { reader, region }: &mut Stack, bytes: &[u8]) {
    let received = region.receive(|buffer| {
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok((len, ()))
    });
    received.expect("it was received");
    let mut now = Instant::now();
    let flow = Flow {
        remote: PEER,
        local: LOCAL,
        connection: 0,
        protocol: sip_stack::transport::Protocol::Udp,
        trunk: Default::default(),
    };
    let mut endpoint = Endpoint::new(Times::default(), Limits::default());
    let origin = Origin {
        at: std::time::SystemTime::now(),
        source: PEER,
        protocol: sip_stack::transport::Protocol::Udp,
        trunk: Default::default(),
        trusted: true,
        withhold: Default::default(),
    };
    let read = region
        .run(|i| reader.read(i.secrets, i.rx, origin))
        .expect("no panic, and not too large for the region");
    let Ok(incoming) = read else { return };
    endpoint.receive(now, flow, incoming);
    for _ in 0..200 {
        while let Some(transmit) = endpoint.poll_transmit() {
            let local = LocalAddress {
                address: LOCAL,
                protocol: sip_stack::transport::Protocol::Udp,
                trunk: Default::default(),
            };
            let written =
                region.run(|i| transmit.wire.write(i.secrets, reader, local, i.tx)).expect("no panic");
            let Ok(len) = written else { continue };
            region.composed(len);
            region
                .transmit(|sent| assert_eq!(scan(sent), Frame::Message(sent.len()), "it ends where it says"));
        }
        while let Some(event) = endpoint.poll_event() {
            if let Event::Invite(invite) = event {
                let audio = sdp::offer(&Capabilities::default());
                let agreed = invite.offer.as_ref().map(|o| sdp::answer(o, &Capabilities::default(), false));
                match agreed {
                    Some(Ok((audio, _))) => {
                        endpoint.accept(now, invite.call, LOCAL, audio, Default::default())
                    }
                    Some(Err(_)) => endpoint.reject(now, invite.call, 488, Default::default()),
                    None => endpoint.accept(now, invite.call, LOCAL, audio, Default::default()),
                }
            }
        }
        let Some(due) = endpoint.poll_timeout() else { break };
        now = due.max(now + Duration::from_millis(1));
        endpoint.handle_timeout(now);
    }
    assert_eq!(endpoint.kept(), [0; 4], "calls, transactions and timers are gone");
}

/// A description: if it can be read it can be answered or refused, and our answer can be read.
pub fn sdp(bytes: &[u8]) {
    let Ok(session) = sdp::parse(bytes) else { return };
    let can = Capabilities { fingerprint: Some(vault::Fingerprint::of(b"ours")), ..Capabilities::default() };
    let Ok((audio, _)) = sdp::answer(&session, &can, false) else { return };
    let place = (session.audio.as_ref().map_or(0, |a| a.index), session.lines);
    let local = sdp::Local { session: 1, version: 1, rtp: LOCAL, audio, place };
    let mut out = Vec::new();
    local.write(&mut out, |index, out| sdp::rejected_line(bytes, index, out), |_, _| {});
    let again = sdp::parse(&out).expect("our own answer can be read");
    assert_eq!(again.lines, session.lines, "as many lines as were offered (RFC 3264 §6)");
}

/// Packets, each after an octet that tells how long it is, at a leg that plays out between them: never more than was received is heard, and
/// what is not RTP of ours is counted.
pub fn rtp(bytes: &[u8]) {
    // The first octet says with which codec.
    let Some((first, bytes)) = bytes.split_first() else { return };
    let codec = Codec::ALL[usize::from(*first) % Codec::ALL.len()];
    let mut setup = LegSetup::plain(LegId(1), codec, PayloadType(0), PEER);
    setup.events = Some(PayloadType(101));
    setup.comfort = Some(PayloadType(13));
    let mut now = Nanos(1_000_000_000);
    let mut leg = Leg::new(setup, None, now).expect("each codec can be had");
    let (mut rest, mut packets, mut dropped) = (bytes, 0u64, 0u64);
    while let Some((len, tail)) = rest.split_first() {
        let (packet, tail) = tail.split_at(tail.len().min(usize::from(*len) * 4));
        rest = tail;
        packets += 1;
        dropped += u64::from(leg.receive(PEER, &mut packet.to_vec(), now, now) == Received::Dropped);
        now = Nanos(now.0 + 20_000_000);
        leg.playout(now);
        assert_eq!(leg.frame().len(), leg.rate().frame());
        leg.packetise(&mut [0xff; 172], |_, sent| assert!((92..=172).contains(&sent.len())));
    }
    let report = leg.report(now);
    let drops = report.drops;
    assert!(drops.malformed + drops.payload_type + drops.foreign + drops.oversized <= packets);
    assert!(dropped <= packets && report.block.is_none_or(|b| b.received <= packets));
}

/// What comes to a port beside RTP: it is a check, or it is not, and who does not know the password changes nothing.
pub fn stun(bytes: &[u8]) {
    let ours = media::ice::Credentials { ufrag: *b"abcdefgh", pwd: *b"a password of 24 letters" };
    let mut lite = media::ice::Lite::new(&ours);
    if let Some(checked) = lite.check(PEER, bytes) {
        assert!(checked.answer().len() % 4 == 0 && checked.nominated.is_none());
    }
    assert!(!lite.is_valid(PEER) && lite.nominated().is_none());
}

/// A compound packet.
pub fn rtcp(bytes: &[u8]) {
    // Whatever it says, it is read or refused.
    let _ = rtcp::read(bytes, Ssrc(0x1234_5678));
}
