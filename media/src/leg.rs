//! One leg's media: what arrives is checked, counted and laid by; what goes out is cut into packets.

use crate::codec::{self, Codec, CodecError, Coding, Decoder, Encoder, SILENCE};
use crate::dtmf::{Digit, EventReceiver};
use crate::jitter::{self, Incoming, JitterBuffer, Playout, Put};
use crate::latch::{Latch, Verdict};
use crate::level::{Agc, Level, SpeechDetector};
use crate::prefetch::prefetch;
use crate::reception::{Block, Reception};
use crate::rtp::{HEADER, Packet, RtpFault, Stream};
use crate::srtp::{GROWTH, Opener, Protector, SrtpFault, Suite};
use crate::tones::ToneReceiver;
use crate::units::{LegId, Nanos, PayloadType, Rate, RtpTime, Ssrc};
use std::net::SocketAddr;
use vault::{MasterKey, MediaKeys, PlaceError};

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

/// Payload types that may be received, by codec.
pub type Receives = [Option<(Codec, PayloadType)>; Codec::ALL.len()];

/// What signalling agreed on for one leg; also how it changes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LegSetup {
    /// The leg.
    pub id: LegId,
    /// How what it hears is encoded, and the payload type of that.
    pub sends: (Coding, PayloadType),
    /// Payload types that may be received, by codec.
    pub receives: Receives,
    /// At which rate Opus is decoded.
    pub opus_rate: Rate,
    /// Payload type of telephone events, if agreed: of the clock of the codec that is sent.
    pub events: Option<PayloadType>,
    /// Payload type of comfort noise (RFC 3389), if it may be received.
    pub comfort: Option<PayloadType>,
    /// Where nobody speaks, comfort noise is sent instead of sound.
    pub sends_comfort: bool,
    /// Packet length sent, ms: 10 to 60, a multiple of 10. Opus has 20 always.
    pub ptime: usize,
    /// What it says is brought to the usual loudness.
    pub agc: bool,
    /// How its packets are encrypted; `None`: they are not.
    pub secure: Option<Secure>,
    /// Directions.
    pub direction: Direction,
    /// The peer's address from its SDP.
    pub remote: SocketAddr,
}

impl LegSetup {
    /// A usual telephone's: one codec both ways, 20 ms, nothing else.
    pub fn plain(id: LegId, codec: Codec, payload_type: PayloadType, remote: SocketAddr) -> Self {
        let mut receives = [None; Codec::ALL.len()];
        receives[0] = Some((codec, payload_type));
        Self {
            id,
            sends: (Coding::of(codec), payload_type),
            receives,
            opus_rate: Rate::Full,
            events: None,
            comfort: None,
            sends_comfort: false,
            ptime: 20,
            agc: false,
            secure: None,
            direction: Direction::BOTH,
            remote,
        }
    }

    /// The rates at which it may speak.
    pub fn speaks_at(&self) -> impl Iterator<Item = Rate> + '_ {
        self.receives.iter().flatten().map(|(codec, _)| match codec {
            Codec::Opus => self.opus_rate,
            codec => codec.rate(),
        })
    }

    /// Units in a second of the timestamps that are received.
    fn clock(&self) -> u32 {
        self.receives.iter().flatten().next().map_or(self.sends.0.codec, |(codec, _)| *codec).clock()
    }

    /// The rate at which it hears.
    pub fn hears_at(&self) -> Rate {
        self.sends.0.rate
    }
}

/// What SRTP agreed on: the suite, the key of what we send and that of what they send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Secure {
    /// The suite, for both ways.
    pub suite: Suite,
    /// Our master key.
    pub ours: MasterKey,
    /// Their master key.
    pub theirs: MasterKey,
}

/// Why a leg could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LegError {
    /// Its codec could not be had.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Its keys could not be placed.
    #[error(transparent)]
    Keys(#[from] PlaceError),
    /// It wants SRTP, and there is nothing that opens keys.
    #[error("no media keys")]
    NoKeys,
}

/// What a received datagram was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Audio, laid by (or dropped by the jitter buffer, which counts it).
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
    /// Longer than the receive buffer or than 120 ms of audio.
    pub oversized: u64,
    /// Not encrypted with the peer's key, or changed on their way.
    pub forged: u64,
    /// Encrypted, and here before.
    pub replayed: u64,
}

/// A leg's figures, once in a while.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// When it was made.
    pub at: Nanos,
    /// Our stream.
    pub ssrc: Ssrc,
    /// Our stream's timestamp at `at`.
    pub time: RtpTime,
    /// Units of that timestamp in a second.
    pub clock: u32,
    /// Packets sent.
    pub packets_sent: u64,
    /// Payload octets sent.
    pub octets_sent: u64,
    /// What arrived, once something has.
    pub block: Option<Block>,
    /// The jitter buffer's counters.
    pub jitter: jitter::Counters,
    /// How long what is heard now has waited here.
    pub delay: Nanos,
    /// Dropped datagrams.
    pub drops: Drops,
    /// Smoothed level of what the leg says.
    pub level: Level,
    /// The source locked on.
    pub locked: Option<SocketAddr>,
    /// Time since the last accepted packet.
    pub silent_for: Nanos,
}

/// What a codec needs: made outside of the tick, changed as a whole.
#[derive(Debug)]
#[repr(C)]
pub struct Coders {
    jitter: JitterBuffer,
    decoders: [Option<Decoder>; Codec::ALL.len()],
    encoder: Encoder,
    protection: Option<Protection>,
}

/// SRTP both ways.
#[derive(Debug)]
struct Protection {
    protector: Protector,
    opener: Opener,
}

impl Protection {
    fn new(secure: &Secure, keys: Option<&MediaKeys>) -> Result<Self, LegError> {
        let keys = keys.ok_or(LegError::NoKeys)?;
        let protector = Protector::new(keys, &secure.ours, secure.suite)?;
        Ok(Self { protector, opener: Opener::new(keys, &secure.theirs, secure.suite)? })
    }
}

impl Coders {
    /// For what was agreed on; `keys` opens the keys of legs that have some.
    ///
    /// # Errors
    /// [`LegError`].
    pub fn new(setup: &LegSetup, keys: Option<&MediaKeys>) -> Result<Self, LegError> {
        let mut decoders = [const { None }; Codec::ALL.len()];
        let mut bytes = 0;
        for (codec, _) in setup.receives.iter().flatten() {
            decoders[*codec as usize] = Some(Decoder::new(*codec, setup.opus_rate)?);
            // Half a second; of Opus as much at 128 kbit/s.
            bytes = bytes.max(codec.bytes_per_ms().unwrap_or(16) * 512);
        }
        let highest = setup.speaks_at().max().unwrap_or_default();
        let encoder = Encoder::new(&setup.sends.0)?;
        let protection = setup.secure.map(|s| Protection::new(&s, keys)).transpose()?;
        Ok(Self { encoder, decoders, jitter: JitterBuffer::new(highest, bytes), protection })
    }
}

/// See the module's text. Everything is allocated when it is made, nothing afterwards. What each packet touches lies in front, in as few
/// lines of cache as may be.
#[derive(Debug)]
#[repr(C)]
pub struct Leg {
    coders: Box<Coders>,
    setup: LegSetup,
    stream: Stream,
    reception: Reception,
    detector: SpeechDetector,
    /// Gain that a host has set, as a factor.
    gain: f32,
    playout: Playout,
    speaks: bool,
    muted: bool,
    /// Ticks for which it stays in the mix though it does not speak.
    lingers: u16,
    filled: usize,
    packets_sent: u64,
    octets_sent: u64,
    last_packet: Nanos,
    /// How long the newest packet had waited for the tick that read it.
    waited: Option<i64>,
    latch: Latch,
    /// A key that came as tones in this tick.
    key: Option<Digit>,
    agc: Agc,
    events: EventReceiver,
    tones: ToneReceiver,
    /// Header and payload of a packet that takes more than one tick to fill.
    outgoing: Box<[u8]>,
    drops: Drops,
}

impl Leg {
    /// A new leg at time `now`; `keys` opens its keys, if it has some.
    ///
    /// # Errors
    /// [`LegError`].
    pub fn new(setup: LegSetup, keys: Option<&MediaKeys>, now: Nanos) -> Result<Self, LegError> {
        Ok(Self {
            setup,
            latch: Latch::new(setup.remote),
            coders: Box::new(Coders::new(&setup, keys)?),
            reception: Reception::new(setup.clock()),
            events: EventReceiver::default(),
            tones: ToneReceiver::default(),
            key: None,
            detector: SpeechDetector::default(),
            agc: Agc::default(),
            gain: 1.0,
            playout: Playout::Idle,
            speaks: false,
            muted: false,
            lingers: 0,
            stream: Stream::new(setup.sends.1),
            outgoing: vec![0; HEADER + LARGEST_PACKET + GROWTH].into(),
            filled: 0,
            packets_sent: 0,
            octets_sent: 0,
            drops: Drops::default(),
            last_packet: now,
            waited: None,
        })
    }

    /// Has the processor look for the leg itself.
    pub fn prefetch(&self) {
        prefetch(self, std::mem::offset_of!(Self, latch) + 32);
    }

    /// The same for what its codecs keep, once the leg is near.
    pub fn prefetch_coders(&self) {
        self.coders.jitter.prefetch_itself();
    }

    /// The same for where the next packet and the next frame go, once those are near.
    pub fn prefetch_sound(&self) {
        self.coders.jitter.prefetch();
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

    /// How what it hears is encoded.
    pub fn coding(&self) -> Coding {
        self.setup.sends.0
    }

    /// Its own encoder.
    pub fn encoder(&mut self) -> &mut Encoder {
        &mut self.coders.encoder
    }

    /// Whether it is sent the mix.
    pub fn hears(&self) -> bool {
        self.setup.direction.send
    }

    /// What it says in this tick, at [`Self::rate`].
    pub fn frame(&self) -> &[i16] {
        match self.playout {
            Playout::Idle | Playout::Unspoken => &SILENCE[..self.rate().frame()],
            _ => self.coders.jitter.frame(),
        }
    }

    /// The rate of what it says.
    pub fn rate(&self) -> Rate {
        self.coders.jitter.rate()
    }

    /// What its frame is to be multiplied with before others hear it.
    pub fn loudness(&self) -> f32 {
        if self.setup.agc { self.gain * self.agc.gain() } else { self.gain }
    }

    /// Sets the gain, dB, −30 to 30.
    pub fn set_gain(&mut self, db: f32) {
        self.gain = 10f32.powf(db.clamp(-30.0, 30.0) / 20.0);
    }

    /// Its smoothed level.
    pub fn level(&self) -> Level {
        self.detector.smooth()
    }

    /// Whether it speaks and may be heard.
    pub fn speaks(&self) -> bool {
        self.speaks
    }

    /// Whether it speaks, or has spoken so lately that its breath and background are missed if they are cut off.
    pub fn is_present(&self) -> bool {
        self.lingers > 0
    }

    /// A key that came as tones in this tick.
    pub fn take_key(&mut self) -> Option<Digit> {
        self.key.take()
    }

    /// How long the packet that came for this tick has waited for it, ns, and how long at least it should; `None` when none came.
    pub fn take_waited(&mut self) -> Option<(i64, i64)> {
        Some((self.waited.take()?, self.coders.jitter.needs()))
    }

    /// Mutes or unmutes what it says.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Applies new signalling, with what its codecs need; what is needed no more takes its place. True when the peer's address changed, so
    /// that the lock is open again.
    pub fn change(&mut self, setup: LegSetup, coders: &mut Box<Coders>) -> bool {
        let setup = LegSetup { id: self.setup.id, ..setup };
        let before = std::mem::replace(&mut self.setup, setup);
        self.stream.set_payload_type(setup.sends.1);
        self.filled = 0;
        let same = before.sends.0 == setup.sends.0
            && before.receives == setup.receives
            && before.opus_rate == setup.opus_rate;
        let Coders { jitter, decoders, encoder, protection } = &mut *self.coders;
        if !same {
            std::mem::swap(jitter, &mut coders.jitter);
            std::mem::swap(decoders, &mut coders.decoders);
            std::mem::swap(encoder, &mut coders.encoder);
        }
        if before.secure != setup.secure {
            // With the same keys the counters go on.
            std::mem::swap(protection, &mut coders.protection);
        }
        if before.clock() != setup.clock() {
            self.reception = Reception::new(setup.clock());
        }
        self.latch.signal(setup.remote)
    }

    /// Counts a datagram that did not fit the receive buffer.
    pub fn oversized(&mut self) {
        self.drops.oversized += 1;
    }

    /// Takes a datagram from `from` that the kernel received at `arrival` and that is read at tick `now`. One that is encrypted is opened where
    /// it lies.
    pub fn receive(&mut self, from: SocketAddr, datagram: &mut [u8], arrival: Nanos, now: Nanos) -> Received {
        let mut len = datagram.len();
        if let Some(Protection { opener, .. }) = &mut self.coders.protection {
            match opener.open(datagram) {
                Ok(opened) => len = opened,
                Err(fault) => {
                    match fault {
                        SrtpFault::Malformed => self.drops.malformed += 1,
                        SrtpFault::Forged => self.drops.forged += 1,
                        SrtpFault::Replayed => self.drops.replayed += 1,
                    }
                    return Received::Dropped;
                }
            }
        }
        let packet = match Packet::parse(&datagram[..len]) {
            Ok(packet) => packet,
            Err(RtpFault::Short | RtpFault::Version | RtpFault::Extension | RtpFault::Padding) => {
                self.drops.malformed += 1;
                return Received::Dropped;
            }
        };
        let codec = self.setup.receives.iter().flatten().find(|(_, pt)| *pt == packet.payload_type);
        let codec = codec.map(|(codec, _)| *codec);
        let is_event = self.setup.events == Some(packet.payload_type);
        let is_comfort = self.setup.comfort == Some(packet.payload_type);
        if codec.is_none() && !is_event && !is_comfort {
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
        let done = |received| if locked { Received::Locked(from) } else { received };
        if is_event {
            self.reception.packet(packet.ssrc, packet.seq, None, arrival);
            self.coders.jitter.key_pressed();
            let digit = self.events.push(packet.time, packet.payload);
            // A first packet that is a key press: the lock waits for the next packet's figures; the digit may not be lost.
            return digit.map_or(done(Received::Event), Received::Digit);
        }
        let longest = codec.and_then(Codec::bytes_per_ms).map_or(usize::MAX, |b| b * codec::LONGEST_MS);
        if packet.payload.len() > longest {
            self.drops.oversized += 1;
            return done(Received::Dropped);
        }
        self.reception.packet(packet.ssrc, packet.seq, Some(packet.time), arrival);
        self.waited = Some(now.since(arrival));
        // Noise is on the timeline of the codec that is used else.
        let main = codec.unwrap_or(self.setup.receives[0].map_or(Codec::Pcmu, |(codec, _)| codec));
        let Some(decoder) = &self.coders.decoders[main as usize] else { return done(Received::Dropped) };
        let (ssrc, seq, time, payload) = (packet.ssrc, packet.seq, packet.time, packet.payload);
        let put = self.coders.jitter.put(Incoming { ssrc, seq, time, codec, payload, arrival, now }, decoder);
        if put == Put::Restarted {
            self.events.reset();
        }
        done(Received::Audio)
    }

    /// Whether it has what the next tick takes, and nothing more can have come since its newest packet, which is so old, ns.
    pub fn supplied(&self, age: i64) -> bool {
        self.coders.jitter.supplied(age)
    }

    /// Takes the tick's frame from the jitter buffer and judges it. Keys are read from it where no telephone events were agreed on; their
    /// tones are for nobody's ears.
    pub fn playout(&mut self, now: Nanos) {
        let Coders { jitter, decoders, .. } = &mut *self.coders;
        self.playout = jitter.pull(now, decoders, self.lingers > 0);
        let heard = !matches!(self.playout, Playout::Idle | Playout::Unspoken);
        let mut level = if heard { Level::of(jitter.frame()) } else { Level::SILENCE };
        if self.setup.events.is_none() && heard && jitter.rate() == Rate::Narrow {
            let tones = self.tones.push(jitter.frame(), level);
            self.key = tones.key;
            if tones.present {
                jitter.frame_mut().fill(0);
                level = Level::SILENCE;
            }
        }
        let speech = self.detector.push(level);
        if self.setup.agc {
            self.agc.push(level, speech);
        }
        let may = !self.muted && self.setup.direction.receive;
        self.speaks = speech && may;
        self.lingers = match (may, speech) {
            (false, _) => 0,
            (true, true) => LINGER,
            (true, false) => self.lingers.saturating_sub(1),
        };
    }

    /// Takes what a tick's sound was encoded to, behind room for a header, and hands every packet that it completes, with the leg's target, to
    /// `send`. Nothing behind the header: nothing need be sent.
    pub fn packetise(&mut self, encoded: &mut [u8], mut send: impl FnMut(SocketAddr, &[u8])) {
        let codec = self.setup.sends.0.codec;
        let per_ms = codec.bytes_per_ms();
        let packet = per_ms.map(|per_ms| per_ms * self.setup.ptime.min(LARGEST_PACKET / per_ms / 10 * 10));
        let sound = encoded.len() - HEADER;
        if sound == 0 {
            return self.pause();
        }
        if self.filled == 0 && packet.is_none_or(|packet| packet == sound) {
            self.packets_sent += 1;
            self.octets_sent += sound as u64;
            self.stream.write(encoded, codec.units_per_tick());
            if self.coders.protection.is_none() {
                // One packet, as it lies there.
                return send(self.latch.target(), encoded);
            }
            let len = encoded.len().min(HEADER + LARGEST_PACKET);
            self.outgoing[..len].copy_from_slice(&encoded[..len]);
            return ship(
                &mut self.coders.protection,
                &mut self.outgoing,
                len,
                self.latch.target(),
                &mut send,
            );
        }
        let packet = packet.unwrap_or(sound);
        let mut rest = &encoded[HEADER..];
        while !rest.is_empty() {
            let n = rest.len().min(packet - self.filled);
            let at = HEADER + self.filled;
            self.outgoing[at..at + n].copy_from_slice(&rest[..n]);
            self.filled += n;
            rest = &rest[n..];
            if self.filled == packet {
                self.finish(self.units(packet), &mut send);
            }
        }
    }

    /// RTP clock units of so many bytes.
    fn units(&self, bytes: usize) -> u32 {
        let codec = self.setup.sends.0.codec;
        let ms = bytes / codec.bytes_per_ms().unwrap_or(usize::MAX);
        ms as u32 * codec.clock() / 1000
    }

    fn finish(&mut self, units: u32, send: &mut impl FnMut(SocketAddr, &[u8])) {
        self.stream.write(&mut self.outgoing, units);
        let len = HEADER + self.filled;
        ship(&mut self.coders.protection, &mut self.outgoing, len, self.latch.target(), send);
        self.packets_sent += 1;
        self.octets_sent += self.filled as u64;
        self.filled = 0;
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
        let mut packet = [0; HEADER + 4 + GROWTH];
        packet[HEADER..HEADER + 4].copy_from_slice(payload);
        let tick = self.setup.sends.0.codec.units_per_tick();
        self.stream.write_event(&mut packet, payload_type, first, tick);
        ship(&mut self.coders.protection, &mut packet, HEADER + 4, self.latch.target(), &mut send);
        self.packets_sent += 1;
        self.octets_sent += 4;
    }

    /// Sends a comfort noise packet in place of this tick's audio (RFC 3389), of −`level` dBov.
    pub fn send_comfort(&mut self, level: u8, mut send: impl FnMut(SocketAddr, &[u8])) {
        let Some(payload_type) = self.setup.comfort.filter(|_| self.setup.sends_comfort) else { return };
        let mut packet = [0; HEADER + 1 + GROWTH];
        packet[HEADER] = level;
        self.stream.write_other(&mut packet, payload_type);
        ship(&mut self.coders.protection, &mut packet, HEADER + 1, self.latch.target(), &mut send);
        self.packets_sent += 1;
        self.octets_sent += 1;
        self.pause();
    }

    /// Whether it is sent comfort noise where nobody speaks.
    pub fn takes_comfort(&self) -> bool {
        self.setup.sends_comfort && self.setup.comfort.is_some()
    }

    /// A tick in which it is sent nothing.
    pub fn pause(&mut self) {
        let filled = if self.filled > 0 { self.units(self.filled) } else { 0 };
        self.stream.pause(self.setup.sends.0.codec.units_per_tick() + filled);
        self.filled = 0;
    }

    /// The figures at `now`.
    pub fn report(&self, now: Nanos) -> Report {
        Report {
            at: now,
            ssrc: self.stream.ssrc(),
            time: self.stream.time(),
            clock: self.setup.sends.0.codec.clock(),
            packets_sent: self.packets_sent,
            octets_sent: self.octets_sent,
            block: self.reception.block(),
            jitter: self.coders.jitter.counters(),
            delay: self.coders.jitter.delay(now),
            drops: self.drops,
            level: self.level(),
            locked: self.latch.locked(),
            silent_for: Nanos(now.since(self.last_packet).max(0) as u64),
        }
    }
}

/// Sends the packet in the first `len` bytes of `buffer`, encrypted where that was agreed on; there is room for [`GROWTH`] behind it.
fn ship(
    protection: &mut Option<Protection>,
    buffer: &mut [u8],
    len: usize,
    to: SocketAddr,
    send: &mut impl FnMut(SocketAddr, &[u8]),
) {
    match protection {
        None => send(to, &buffer[..len]),
        // It is a packet of ours, with room behind it: there is always one.
        Some(Protection { protector, .. }) => {
            if let Some(len) = protector.protect(buffer, len) {
                send(to, &buffer[..len]);
            }
        }
    }
}

/// Ticks for which who has spoken stays in the mix (4 s): as long as there is a place, nothing is cut out of a talk.
const LINGER: u16 = 200;
/// The most payload bytes in a packet of ours: it fits an Ethernet frame with all that may be around it.
const LARGEST_PACKET: usize = 1280;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::FRAME;

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4000);
    const OTHER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66)), 4000);
    const LONGEST: usize = 960;
    const START: Nanos = Nanos(1_000_000_000);

    fn leg() -> Leg {
        let setup = LegSetup {
            events: Some(PayloadType(101)),
            ..LegSetup::plain(LegId(1), Codec::Pcmu, PayloadType(0), PEER)
        };
        Leg::new(setup, None, START).unwrap()
    }

    fn change(leg: &mut Leg, how: impl FnOnce(&mut LegSetup)) -> bool {
        let mut setup = leg.setup;
        how(&mut setup);
        leg.change(setup, &mut Box::new(Coders::new(&setup, None).unwrap()))
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
        let mut receive = |from, bytes: &[u8]| leg.receive(from, &mut bytes.to_vec(), START, START);
        assert_eq!(receive(PEER, &audio(1)), Received::Locked(PEER));
        assert_eq!(receive(OTHER, &audio(2)), Received::Dropped, "another source");
        assert_eq!(receive(OTHER, &audio(3)), Received::Dropped, "however often");
        assert_eq!(receive(PEER, &packet(8, 2, &[0; FRAME])), Received::Dropped, "not agreed on");
        assert_eq!(receive(PEER, &packet(0, 2, &[0; LONGEST + 1])), Received::Dropped, "more than 120 ms");
        for broken in
            [&audio(2)[..11], &[0x40; 172], &[0x90, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 255, 255], &[]]
        {
            assert_eq!(receive(PEER, broken), Received::Dropped, "{broken:?}");
        }
        assert_eq!(receive(PEER, &audio(2)), Received::Audio);
        leg.oversized();
        let report = leg.report(START);
        let drops = Drops { malformed: 4, payload_type: 1, foreign: 2, oversized: 2, ..Drops::default() };
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
        assert_eq!(leg.receive(PEER, &mut audio(1).clone(), START, START), Received::Locked(PEER));
        assert!(!change(&mut leg, |s| s.id = LegId(99)), "the same address");
        assert_eq!(leg.receive(OTHER, &mut audio(2).clone(), START, START), Received::Dropped);
        assert!(change(&mut leg, |s| s.remote = OTHER));
        assert_eq!((leg.id(), leg.target()), (LegId(1), OTHER));
        assert_eq!(leg.receive(OTHER, &mut audio(3).clone(), START, START), Received::Locked(OTHER));
        assert_eq!(leg.receive(PEER, &mut audio(4).clone(), START, START), Received::Dropped);
    }

    #[test]
    fn a_packet_of_120_ms_is_taken_whole() {
        let mut leg = leg();
        assert_eq!(
            leg.receive(PEER, &mut packet(0, 1, &[0x80; LONGEST]).clone(), START, START),
            Received::Locked(PEER)
        );
        assert_eq!(leg.report(START).drops, Drops::default());
    }

    #[test]
    fn a_stream_that_begins_anew_may_begin_its_events_anew() {
        let mut leg = leg();
        let mut send = |ssrc: u8, payload_type, time: u32, seq, payload: &[u8]| {
            let mut bytes = packet(payload_type, seq, payload);
            bytes[4..8].copy_from_slice(&time.to_be_bytes());
            bytes[11] = ssrc;
            leg.receive(PEER, &mut bytes.clone(), START, START)
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
            leg.packetise(&mut [0; HEADER + FRAME], |_, bytes| {
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
        far.packetise(&mut [0xff; HEADER + FRAME], |_, bytes| packets.push(bytes.to_vec()));
        for (n, duration) in [160u16, 320, 480, 480, 480].into_iter().enumerate() {
            let end = if n >= 2 { 0x8a } else { 0x0a };
            let [high, low] = duration.to_be_bytes();
            far.send_event(PayloadType(101), n == 0, &[9, end, high, low], |_, bytes| {
                packets.push(bytes.to_vec())
            });
        }
        far.packetise(&mut [0xff; HEADER + FRAME], |_, bytes| packets.push(bytes.to_vec()));
        let read: Vec<_> = packets.iter().map(|bytes| Packet::parse(bytes).unwrap()).collect();
        let times: Vec<u32> = read.iter().map(|p| p.time.0.wrapping_sub(read[0].time.0)).collect();
        assert_eq!(times, [0, 160, 160, 160, 160, 160, 960]);
        let markers: Vec<bool> = read.iter().map(|p| p.marker).collect();
        assert_eq!(markers, [true, true, false, false, false, false, true]);
        let received: Vec<_> =
            packets.iter().map(|bytes| near.receive(PEER, &mut bytes.clone(), START, START)).collect();
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
        for ptime in [10, 20, 30, 40, 50, 60] {
            let length = 8 * ptime;
            let mut leg = Leg::new(LegSetup { ptime, ..leg().setup }, None, START).unwrap();
            let mut heard = Vec::new();
            for tick in 0..12u8 {
                leg.packetise(&mut [tick; HEADER + FRAME], |to, bytes| {
                    assert_eq!((to, bytes.len()), (PEER, HEADER + length));
                    heard.extend_from_slice(&bytes[HEADER..]);
                });
            }
            let said: Vec<u8> = (0..12u8).flat_map(|tick| [tick; FRAME]).collect();
            assert_eq!(heard, said[..heard.len()], "{length}");
            assert!(heard.len() + length > said.len(), "{length}");
        }
    }

    /// Two legs that talk to each other by SRTP: what the first sends the second takes.
    fn secured(keys: &MediaKeys, suite: Suite, codec: Codec) -> [Leg; 2] {
        let masters = [0, 1].map(|_| keys.random(suite.master()).unwrap());
        [[0, 1], [1, 0]].map(|[ours, theirs]| {
            let secure = Some(Secure { suite, ours: masters[ours], theirs: masters[theirs] });
            let events = Some(PayloadType(101));
            let setup = LegSetup { secure, events, ..LegSetup::plain(LegId(1), codec, PayloadType(0), PEER) };
            Leg::new(setup, Some(keys), START).unwrap()
        })
    }

    #[test]
    fn encrypted_legs_take_what_was_encrypted_for_them_once_and_nothing_else() {
        let keys = MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap();
        for suite in Suite::ALL {
            let [mut far, mut near] = secured(&keys, suite, Codec::Pcmu);
            let mut wire = Vec::new();
            for tick in 0..5 {
                far.packetise(&mut [tick; HEADER + FRAME], |_, bytes| wire.push(bytes.to_vec()));
            }
            far.send_event(PayloadType(101), true, &[7, 0x8a, 3, 0x20], |_, bytes| wire.push(bytes.to_vec()));
            let mut take = |bytes: &[u8]| near.receive(PEER, &mut bytes.to_vec(), START, START);
            assert_eq!(take(&wire[0]), Received::Locked(PEER));
            for bytes in &wire[1..5] {
                assert_eq!(take(bytes), Received::Audio);
                assert_eq!(take(bytes), Received::Dropped, "once");
                let mut changed = bytes.clone();
                changed[40] ^= 4;
                assert_eq!(take(&changed), Received::Dropped);
            }
            assert!(matches!(take(&wire[5]), Received::Digit(key) if key.key() == '7'));
            assert_eq!(take(&packet(0, 9, &[0x80; FRAME])), Received::Dropped, "not encrypted");
            let drops = near.report(START).drops;
            assert_eq!((drops.replayed, drops.forged + drops.malformed), (8, 1), "{suite:?}: {drops:?}");
        }
    }

    #[test]
    fn new_keys_take_the_place_of_the_old_ones_and_the_same_keys_go_on() {
        let keys = MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap();
        let [mut far, mut near] = secured(&keys, Suite::Gcm128, Codec::Pcmu);
        let say = |far: &mut Leg, near: &mut Leg| {
            let mut wire = Vec::new();
            far.packetise(&mut [1; HEADER + FRAME], |_, bytes| wire = bytes.to_vec());
            near.receive(PEER, &mut wire, START, START)
        };
        assert_eq!(say(&mut far, &mut near), Received::Locked(PEER));
        let change = |leg: &mut Leg, how: &dyn Fn(&mut Secure)| {
            let mut setup = leg.setup;
            how(setup.secure.as_mut().unwrap());
            leg.change(setup, &mut Box::new(Coders::new(&setup, Some(&keys)).unwrap()));
        };
        change(&mut far, &|_| {});
        change(&mut near, &|_| {});
        assert_eq!(say(&mut far, &mut near), Received::Audio, "the same keys");
        let fresh = keys.random(Suite::Gcm128.master()).unwrap();
        change(&mut far, &|s| s.ours = fresh);
        assert_eq!(say(&mut far, &mut near), Received::Dropped, "not known to the other yet");
        change(&mut near, &|s| s.theirs = fresh);
        assert_eq!(say(&mut far, &mut near), Received::Audio);
        assert!(matches!(Leg::new(near.setup, None, START), Err(LegError::NoKeys)));
    }
}
