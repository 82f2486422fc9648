//! One leg's media: what arrives is checked, counted and laid down; what goes out is cut into packets.

use crate::codec::{Codec, FRAME, Frame};
use crate::dtmf::{Digit, EventReceiver};
use crate::jitter::{self, JitterBuffer, LONGEST, Playout, Put};
use crate::latch::{Latch, Verdict};
use crate::level::{Level, SpeechDetector};
use crate::reception::{Block, Reception};
use crate::rtp::{HEADER, Packet, RtpFault, Stream};
use crate::tones::ToneReceiver;
use crate::units::{LegId, Nanos, PayloadType, RtpTime, Ssrc};
use std::net::SocketAddr;

/// Which way audio flows, seen from the bridge (RFC 3264 §6.1, our side of it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// What the leg sends is heard.
    pub receive: bool,
    /// The leg is sent the mix.
    pub send: bool,
}

impl Direction {
    /// `sendrecv`.
    pub const BOTH: Self = Self { receive: true, send: true };
}

/// What signalling agreed on for one leg; also how it changes it.
#[derive(Debug, Clone, Copy)]
pub struct LegSetup {
    /// The leg.
    pub id: LegId,
    /// The codec sent, and its payload type.
    pub codec: (Codec, PayloadType),
    /// Payload types that may be received, by codec.
    pub receives: [Option<(Codec, PayloadType)>; Codec::ALL.len()],
    /// Payload type of telephone events, if agreed.
    pub events: Option<PayloadType>,
    /// Packet length sent, samples: a multiple of 80, 80..=480 (10–60 ms).
    pub packet: usize,
    /// Directions.
    pub direction: Direction,
    /// The peer's address from its SDP.
    pub remote: SocketAddr,
}

/// What a received datagram was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Audio, laid down (or dropped by the jitter buffer, which counts it).
    Audio,
    /// Audio, and the source is locked from now on.
    Locked(SocketAddr),
    /// A new key press.
    Digit(Digit),
    /// A telephone-event packet that says nothing new.
    Event,
    /// Dropped and counted.
    Dropped,
}

/// Datagrams dropped before the jitter buffer, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Not RTP: too short, wrong version, extension or padding beyond the end.
    pub malformed: u64,
    /// A payload type that was not agreed on.
    pub payload_type: u64,
    /// From another source than the one locked on.
    pub foreign: u64,
    /// Longer than the receive buffer or than 80 ms of audio.
    pub oversized: u64,
}

/// A leg's figures, once a second.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// When it was made.
    pub at: Nanos,
    /// Our stream.
    pub ssrc: Ssrc,
    /// Our stream's timestamp at `at`.
    pub time: RtpTime,
    /// Packets sent.
    pub packets_sent: u64,
    /// Payload octets sent.
    pub octets_sent: u64,
    /// What arrived, once something has.
    pub block: Option<Block>,
    /// The jitter buffer's counters.
    pub jitter: jitter::Counters,
    /// Dropped datagrams.
    pub drops: Drops,
    /// Smoothed level of what the leg says.
    pub level: Level,
    /// The source locked on.
    pub locked: Option<SocketAddr>,
    /// Time since the last accepted packet.
    pub silent_for: Nanos,
}

/// See the module's text. Everything is allocated when it is made, nothing afterwards.
#[derive(Debug)]
pub struct Leg {
    setup: LegSetup,
    latch: Latch,
    jitter: JitterBuffer,
    reception: Reception,
    events: EventReceiver,
    tones: ToneReceiver,
    /// A key that came as tones in this tick.
    key: Option<Digit>,
    detector: SpeechDetector,
    frame: Frame,
    speaks: bool,
    muted: bool,
    stream: Stream,
    /// Header and payload of the packet being filled.
    outgoing: [u8; HEADER + 480],
    filled: usize,
    packets_sent: u64,
    octets_sent: u64,
    drops: Drops,
    last_packet: Nanos,
    /// How long the newest packet had waited for the tick that read it.
    waited: Option<i64>,
    scratch: [i16; LONGEST],
}

impl Leg {
    /// A new leg at time `now`.
    pub fn new(setup: LegSetup, now: Nanos) -> Self {
        Self {
            setup,
            latch: Latch::new(setup.remote),
            jitter: JitterBuffer::default(),
            reception: Reception::default(),
            events: EventReceiver::default(),
            tones: ToneReceiver::default(),
            key: None,
            detector: SpeechDetector::default(),
            frame: [0; FRAME],
            speaks: false,
            muted: false,
            stream: Stream::new(setup.codec.1),
            outgoing: [0; HEADER + 480],
            filled: 0,
            packets_sent: 0,
            octets_sent: 0,
            drops: Drops::default(),
            last_packet: now,
            waited: None,
            scratch: [0; LONGEST],
        }
    }

    /// The leg's id.
    pub fn id(&self) -> LegId {
        self.setup.id
    }

    /// Our stream's SSRC.
    pub fn ssrc(&self) -> Ssrc {
        self.stream.ssrc()
    }

    /// Where to send.
    pub fn target(&self) -> SocketAddr {
        self.latch.target()
    }

    /// The codec in which it hears.
    pub fn codec(&self) -> Codec {
        self.setup.codec.0
    }

    /// Whether it is sent the mix.
    pub fn hears(&self) -> bool {
        self.setup.direction.send
    }

    /// What it says in this tick.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Its smoothed level.
    pub fn level(&self) -> Level {
        self.detector.smooth()
    }

    /// Whether it speaks and may be heard.
    pub fn speaks(&self) -> bool {
        self.speaks
    }

    /// A key that came as tones in this tick.
    pub fn take_key(&mut self) -> Option<Digit> {
        self.key.take()
    }

    /// How long the packet that came for this tick has waited for it, ns; `None` when none came.
    pub fn take_waited(&mut self) -> Option<i64> {
        self.waited.take()
    }

    /// The tick has moved: what was learnt of spare time is no longer true.
    pub fn tick_moved(&mut self) {
        self.jitter.forget_spare();
    }

    /// Mutes or unmutes what it says.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Applies new signalling. True when the peer's address changed, so that the lock is open again.
    pub fn change(&mut self, setup: LegSetup) -> bool {
        let id = self.setup.id;
        self.setup = LegSetup { id, ..setup };
        self.stream.set_payload_type(setup.codec.1);
        self.filled = 0;
        self.latch.signal(setup.remote)
    }

    /// Counts a datagram that did not fit the receive buffer.
    pub fn oversized(&mut self) {
        self.drops.oversized += 1;
    }

    /// Takes a datagram from `from` that the kernel received at `arrival` and that is read at tick `now`.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8], arrival: Nanos, now: Nanos) -> Received {
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(RtpFault::Short | RtpFault::Version | RtpFault::Extension | RtpFault::Padding) => {
                self.drops.malformed += 1;
                return Received::Dropped;
            }
        };
        let codec = self.setup.receives.iter().flatten().find(|(_, pt)| *pt == packet.payload_type);
        let is_event = self.setup.events == Some(packet.payload_type);
        if codec.is_none() && !is_event {
            self.drops.payload_type += 1;
            return Received::Dropped;
        }
        let locked = match self.latch.admit(from, packet.ssrc, packet.seq) {
            Verdict::Known => false,
            Verdict::Locked => true,
            Verdict::Wait => return Received::Dropped,
            Verdict::Foreign => {
                self.drops.foreign += 1;
                return Received::Dropped;
            }
        };
        self.last_packet = now;
        let done = |other| if locked { Received::Locked(from) } else { other };
        let Some((codec, _)) = codec else {
            self.reception.packet(packet.ssrc, packet.seq, None, arrival);
            self.jitter.mute_concealment();
            let digit = self.events.push(packet.time, packet.payload);
            // A lock that comes with a digit is reported with the next packet's figures; the digit may not be lost.
            return digit.map_or(done(Received::Event), Received::Digit);
        };
        let len = packet.payload.len();
        if len > LONGEST {
            self.drops.oversized += 1;
            return done(Received::Dropped);
        }
        self.reception.packet(packet.ssrc, packet.seq, Some(packet.time), arrival);
        self.waited = Some(now.since(arrival));
        codec.decode(packet.payload, &mut self.scratch);
        let samples = &self.scratch[..len];
        let put = self.jitter.put(packet.ssrc, packet.seq, packet.time, samples, arrival, now);
        if put == Put::Restarted {
            self.events.reset();
        }
        done(Received::Audio)
    }

    /// Takes the tick's frame from the jitter buffer and judges it. Keys are read from it where no telephone events were agreed on; their
    /// tones are for nobody's ears.
    pub fn playout(&mut self, now: Nanos) {
        let playout = self.jitter.pull(now, &mut self.frame);
        let mut level = if playout == Playout::Idle { Level::SILENCE } else { Level::of(&self.frame) };
        if self.setup.events.is_none() && playout != Playout::Idle {
            let tones = self.tones.push(&self.frame, level);
            self.key = tones.key;
            if tones.present {
                (self.frame, level) = ([0; FRAME], Level::SILENCE);
            }
        }
        let speech = self.detector.push(level);
        self.speaks = speech && !self.muted && self.setup.direction.receive;
    }

    /// Takes an encoded frame and hands every packet that it completes, with the leg's target, to `send`.
    pub fn packetise(&mut self, encoded: &[u8; FRAME], mut send: impl FnMut(SocketAddr, &[u8])) {
        let mut rest = &encoded[..];
        while !rest.is_empty() {
            let n = rest.len().min(self.setup.packet - self.filled);
            let at = HEADER + self.filled;
            self.outgoing[at..at + n].copy_from_slice(&rest[..n]);
            self.filled += n;
            rest = &rest[n..];
            if self.filled == self.setup.packet {
                self.stream.write(&mut self.outgoing, self.filled as u32);
                send(self.latch.target(), &self.outgoing[..HEADER + self.filled]);
                self.packets_sent += 1;
                self.octets_sent += self.filled as u64;
                self.filled = 0;
            }
        }
    }

    /// Sends a telephone-event packet in place of this tick's audio (RFC 4733 §2.5.1): all packets of one key have the timestamp of its
    /// start, and the first has the marker bit.
    pub fn send_event(
        &mut self,
        payload_type: PayloadType,
        first: bool,
        payload: &[u8; 4],
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) {
        let mut packet = [0; HEADER + 4];
        packet[HEADER..].copy_from_slice(payload);
        self.stream.write_event(&mut packet, payload_type, first, FRAME as u32);
        send(self.latch.target(), &packet);
        self.packets_sent += 1;
        self.octets_sent += 4;
    }

    /// A tick in which it is sent nothing.
    pub fn pause(&mut self) {
        self.stream.pause((FRAME + self.filled) as u32);
        self.filled = 0;
    }

    /// The figures at `now`.
    pub fn report(&self, now: Nanos) -> Report {
        Report {
            at: now,
            ssrc: self.stream.ssrc(),
            time: self.stream.time(),
            packets_sent: self.packets_sent,
            octets_sent: self.octets_sent,
            block: self.reception.block(),
            jitter: self.jitter.counters(),
            drops: self.drops,
            level: self.level(),
            locked: self.latch.locked(),
            silent_for: Nanos(now.since(self.last_packet).max(0) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4000);
    const OTHER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66)), 4000);
    const START: Nanos = Nanos(1_000_000_000);

    fn leg() -> Leg {
        let setup = LegSetup {
            id: LegId(1),
            codec: (Codec::Pcmu, PayloadType(0)),
            receives: [Some((Codec::Pcmu, PayloadType(0))), None],
            events: Some(PayloadType(101)),
            packet: FRAME,
            direction: Direction::BOTH,
            remote: PEER,
        };
        Leg::new(setup, START)
    }

    fn packet(payload_type: u8, seq: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80, payload_type];
        out.extend(seq.to_be_bytes());
        out.extend((u32::from(seq) * FRAME as u32).to_be_bytes());
        out.extend([0, 0, 0, 9]);
        out.extend(payload);
        out
    }

    #[test]
    fn what_is_not_ours_is_counted_by_reason_and_costs_no_audio() {
        let mut leg = leg();
        let audio = |seq| packet(0, seq, &[0x80; FRAME]);
        let mut receive = |from, bytes: &[u8]| leg.receive(from, bytes, START, START);
        assert_eq!(receive(PEER, &audio(1)), Received::Locked(PEER));
        assert_eq!(receive(OTHER, &audio(2)), Received::Dropped, "another source");
        assert_eq!(receive(OTHER, &audio(3)), Received::Dropped, "however often");
        assert_eq!(receive(PEER, &packet(8, 2, &[0; FRAME])), Received::Dropped, "not agreed on");
        assert_eq!(receive(PEER, &packet(0, 2, &[0; LONGEST + 1])), Received::Dropped, "more than 80 ms");
        for broken in
            [&audio(2)[..11], &[0x40; 172], &[0x90, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 255, 255], &[]]
        {
            assert_eq!(receive(PEER, broken), Received::Dropped, "{broken:?}");
        }
        assert_eq!(receive(PEER, &audio(2)), Received::Audio);
        leg.oversized();
        let report = leg.report(START);
        let drops = Drops { malformed: 4, payload_type: 1, foreign: 2, oversized: 2 };
        assert_eq!((report.drops, report.locked), (drops, Some(PEER)));
        assert_eq!(report.block.map(|b| b.received), Some(2));
        let mut now = START;
        let mut loud = 0;
        for _ in 0..4 {
            leg.playout(now);
            loud += usize::from(leg.frame().iter().all(|s| s.unsigned_abs() > 1000));
            now = Nanos(now.0 + 20_000_000);
        }
        // What is concealed after them may be loud too.
        assert!(loud >= 2, "both packets are heard whole");
    }

    #[test]
    fn only_signalling_with_another_address_opens_the_lock() {
        let mut leg = leg();
        let audio = |seq| packet(0, seq, &[0x80; FRAME]);
        assert_eq!(leg.receive(PEER, &audio(1), START, START), Received::Locked(PEER));
        assert!(!leg.change(LegSetup { id: LegId(99), ..leg.setup }), "the same address");
        assert_eq!(leg.receive(OTHER, &audio(2), START, START), Received::Dropped);
        assert!(leg.change(LegSetup { remote: OTHER, ..leg.setup }));
        assert_eq!((leg.id(), leg.target()), (LegId(1), OTHER));
        assert_eq!(leg.receive(OTHER, &audio(3), START, START), Received::Locked(OTHER));
        assert_eq!(leg.receive(PEER, &audio(4), START, START), Received::Dropped);
    }

    #[test]
    fn a_packet_of_80_ms_is_taken_whole() {
        let mut leg = leg();
        assert_eq!(leg.receive(PEER, &packet(0, 1, &[0x80; LONGEST]), START, START), Received::Locked(PEER));
        assert_eq!(leg.report(START).drops, Drops::default());
    }

    #[test]
    fn a_stream_that_begins_anew_may_begin_its_events_anew() {
        let mut leg = leg();
        let mut send = |ssrc: u8, payload_type, time: u32, seq, payload: &[u8]| {
            let mut bytes = packet(payload_type, seq, payload);
            bytes[4..8].copy_from_slice(&time.to_be_bytes());
            bytes[11] = ssrc;
            leg.receive(PEER, &bytes, START, START)
        };
        send(1, 0, 50_000, 1, &[0x80; FRAME]);
        assert!(matches!(send(1, 101, 50_160, 2, &[5, 0x8a, 3, 0x20]), Received::Digit(_)));
        assert_eq!(send(1, 0, 50_320, 3, &[0x80; FRAME]), Received::Audio);
        assert!(!matches!(send(1, 101, 160, 4, &[5, 0x8a, 3, 0x20]), Received::Digit(_)), "older");
        send(2, 0, 0, 9, &[0x80; FRAME]);
        assert!(matches!(send(2, 101, 160, 10, &[5, 0x8a, 3, 0x20]), Received::Digit(_)), "a new source");
    }

    #[test]
    fn our_packets_carry_our_source_and_a_pause_is_seen() {
        let mut leg = leg();
        let mut sent: Vec<(Ssrc, u32, bool)> = Vec::new();
        for tick in 0..4 {
            if tick == 2 {
                leg.pause();
                continue;
            }
            leg.packetise(&[0; FRAME], |_, bytes| {
                let packet = Packet::parse(bytes).unwrap();
                sent.push((packet.ssrc, packet.time.0, packet.marker));
            });
        }
        let (ssrc, first) = (leg.ssrc(), sent[0].1);
        let at = |frames: u32| first.wrapping_add(frames * FRAME as u32);
        assert_eq!(sent, [(ssrc, at(0), true), (ssrc, at(1), false), (ssrc, at(3), true)]);
    }

    #[test]
    fn a_key_that_one_leg_sends_another_receives_once_with_the_timestamp_of_its_start() {
        let (mut far, mut near) = (leg(), leg());
        let mut packets = Vec::new();
        far.packetise(&[0xff; FRAME], |_, bytes| packets.push(bytes.to_vec()));
        for (n, duration) in [160u16, 320, 480, 480, 480].into_iter().enumerate() {
            let end = if n >= 2 { 0x8a } else { 0x0a };
            let [high, low] = duration.to_be_bytes();
            far.send_event(PayloadType(101), n == 0, &[9, end, high, low], |_, bytes| {
                packets.push(bytes.to_vec())
            });
        }
        far.packetise(&[0xff; FRAME], |_, bytes| packets.push(bytes.to_vec()));
        let read: Vec<_> = packets.iter().map(|bytes| Packet::parse(bytes).unwrap()).collect();
        let times: Vec<u32> = read.iter().map(|p| p.time.0.wrapping_sub(read[0].time.0)).collect();
        assert_eq!(times, [0, 160, 160, 160, 160, 160, 960]);
        let markers: Vec<bool> = read.iter().map(|p| p.marker).collect();
        assert_eq!(markers, [true, true, false, false, false, false, true]);
        let received: Vec<_> = packets.iter().map(|bytes| near.receive(PEER, bytes, START, START)).collect();
        let digits: Vec<char> = received
            .iter()
            .filter_map(|r| if let Received::Digit(d) = r { Some(d.key()) } else { None })
            .collect();
        assert_eq!(digits, ['9']);
        assert_eq!(far.report(START).packets_sent, 7);
        assert_eq!(far.report(START).octets_sent, 2 * FRAME as u64 + 5 * 4);
    }

    #[test]
    fn packets_of_any_agreed_length_carry_all_samples_in_order() {
        for length in [80, 160, 240, 320, 400, 480] {
            let mut leg = Leg::new(LegSetup { packet: length, ..leg().setup }, START);
            let mut heard = Vec::new();
            for tick in 0..12u8 {
                leg.packetise(&[tick; FRAME], |to, bytes| {
                    assert_eq!((to, bytes.len()), (PEER, HEADER + length));
                    heard.extend_from_slice(&bytes[HEADER..]);
                });
            }
            let said: Vec<u8> = (0..12u8).flat_map(|tick| [tick; FRAME]).collect();
            assert_eq!(heard, said[..heard.len()], "{length}");
            assert!(heard.len() + length > said.len(), "{length}");
        }
    }
}
