//! One leg's media: what arrives is checked, counted and laid by ([`Leg::receive`], [`Leg::playout`]); what goes out is cut into packets
//! (`sending.rs`).

mod report;
mod sending;
mod setup;

pub use report::{Drops, Report};
pub use setup::{Direction, LegError, LegSetup, Receives, Secure, Security};

use crate::bursts::Bursts;
use crate::codec::{self, Codec, Coding, Decoder, Encoder, SILENCE};
use crate::dtmf::{Digit, EventReceiver};
use crate::jitter::{Incoming, JitterBuffer, Playout, Put};
use crate::latch::{self, Latch, Verdict};
use crate::level::{Agc, Level, SpeechDetector};
use crate::prefetch::prefetch;
use crate::reception::Reception;
use crate::rtp::contributors::{self, Contributors};
use crate::rtp::{HEADER, Packet, RtpFault, Stream};
use crate::srtp::{GROWTH, Opener, Protector, SrtpFault};
use crate::suppress::Suppressor;
use crate::tones::ToneReceiver;
use crate::units::{LegId, Nanos, Rate, Ssrc};
use std::net::SocketAddr;
use vault::MediaKeys;

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

/// What a codec needs: made outside of the tick, changed as a whole.
#[derive(Debug)]
#[repr(C)]
pub struct Coders {
    jitter: JitterBuffer,
    decoders: [Option<Decoder>; Codec::ALL.len()],
    encoder: Encoder,
    protection: Option<Protection>,
    suppressor: Option<Box<Suppressor>>,
}

/// SRTP both ways.
#[derive(Debug)]
pub struct Protection {
    protector: Protector,
    opener: Opener,
}

impl Protection {
    /// With these keys.
    ///
    /// # Errors
    /// [`LegError::Keys`].
    pub fn new(secure: &Secure, keys: &MediaKeys) -> Result<Self, LegError> {
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
        let protection = match &setup.security {
            Security::None => None,
            Security::Keys(secure) => Some(Protection::new(secure, keys.ok_or(LegError::NoKeys)?)?),
            Security::Dtls { .. } => None,
        };
        let suppressor = setup.noise_suppression.then(Box::default);
        Ok(Self { encoder, decoders, jitter: JitterBuffer::new(highest, bytes), protection, suppressor })
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
    /// What it hears is multiplied with this.
    volume: f32,
    /// Ticks of speech that nobody heard.
    unheard: u8,
    /// Frames made up that [`Self::bursts`] knows of.
    concealed: u64,
    /// Ticks for which it stays in the mix though it does not speak.
    lingers: u16,
    filled: usize,
    packets_sent: u64,
    octets_sent: u64,
    last_packet: Nanos,
    /// How long the newest packet had waited for the tick that read it.
    waited: Option<i64>,
    latch: Latch,
    /// ICE has said where to send.
    nominated: bool,
    /// A key that came as tones in this tick.
    key: Option<Digit>,
    agc: Agc,
    bursts: Bursts,
    /// When the first frame was played.
    begun: Option<Nanos>,
    events: EventReceiver,
    tones: ToneReceiver,
    /// Who is heard in this tick, for a leg that wants to know.
    contributors: Contributors,
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
            nominated: false,
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
            volume: 1.0,
            unheard: 0,
            concealed: 0,
            bursts: Bursts::default(),
            begun: None,
            lingers: 0,
            stream: Stream::new(setup.sends.1),
            contributors: Contributors::default(),
            outgoing: vec![0; HEADER + LARGEST_PACKET + contributors::GROWTH + GROWTH].into(),
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

    /// Whether it is sent the mix: not before it has keys, and a place to send to.
    pub fn hears(&self) -> bool {
        self.setup.direction.send && !self.awaits_keys() && (self.setup.ice.is_none() || self.nominated)
    }

    fn awaits_keys(&self) -> bool {
        matches!(self.setup.security, Security::Dtls { .. }) && self.coders.protection.is_none()
    }

    /// Takes keys; those that are needed no more take their place.
    pub fn set_keys(&mut self, protection: &mut Option<Protection>) {
        std::mem::swap(&mut self.coders.protection, protection);
    }

    /// Takes what takes its noise away, or nothing; what did so until now takes its place.
    pub fn set_suppressor(&mut self, suppressor: &mut Option<Box<Suppressor>>) {
        std::mem::swap(&mut self.coders.suppressor, suppressor);
    }

    /// ICE says where to send.
    pub fn nominate(&mut self, to: SocketAddr) {
        if self.setup.ice.is_some() {
            self.latch.nominate(to);
            self.nominated = true;
        }
    }

    /// Whether its port gets more than RTP.
    pub fn has_asides(&self) -> bool {
        self.setup.has_asides()
    }

    /// From where alone its packets come, if that is settled: with ICE it may be from several places.
    pub fn only_source(&self, now: Nanos) -> Option<SocketAddr> {
        self.latch.locked().filter(|_| self.setup.ice.is_none() && !self.may_move(now))
    }

    /// Whether its source may be another now, so that nobody's packets may be kept away.
    pub fn may_move(&self, now: Nanos) -> bool {
        now.since(self.last_packet) >= latch::SILENCE.0 as i64 && self.latch.may_move()
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

    /// What it hears of the meeting is multiplied with this.
    pub fn volume(&self) -> f32 {
        self.volume
    }

    /// Sets how loud it hears the meeting, 0 to 8; 0: not at all.
    pub fn set_volume(&mut self, factor: f32) {
        self.volume = factor.clamp(0.0, 8.0);
    }

    /// Whether it has been talking for a while though it is muted. Told once for each while.
    pub fn take_unheard(&mut self) -> bool {
        let long = self.unheard >= UNHEARD;
        if long {
            self.unheard = 0;
        }
        long
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
        // Whether noise is taken away nobody agrees on: that stays.
        let Coders { jitter, decoders, encoder, protection, .. } = &mut *self.coders;
        if !same {
            std::mem::swap(jitter, &mut coders.jitter);
            std::mem::swap(decoders, &mut coders.decoders);
            std::mem::swap(encoder, &mut coders.encoder);
        }
        if before.security != setup.security {
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
        if self.awaits_keys() {
            self.drops.forged += 1;
            return Received::Dropped;
        }
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
        let silent = Nanos(now.since(self.last_packet).max(0) as u64);
        let proven = self.coders.protection.is_some();
        let verdict = match self.setup.ice {
            // ICE knows where packets go; who may send them the keys tell, without them the address.
            Some(_) if proven || (self.nominated && from == self.latch.target()) => Verdict::Known,
            Some(_) => Verdict::Foreign,
            None => self.latch.admit(from, packet.ssrc, packet.seq, silent, proven),
        };
        let locked = match verdict {
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
        if !self.reception.has_begun() {
            self.begun = Some(now);
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
        let Coders { jitter, decoders, suppressor, .. } = &mut *self.coders;
        self.playout = jitter.pull(now, decoders, self.lingers > 0);
        let concealed = jitter.counters().concealed;
        if concealed != self.concealed {
            self.concealed = concealed;
            self.bursts.lost(now, *self.begun.get_or_insert(now));
        }
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
        if let Some(suppressor) = suppressor.as_mut().filter(|_| heard) {
            // Before it is judged: a noisy line on which nobody speaks is no speaker.
            let rate = jitter.rate();
            suppressor.process(jitter.frame_mut(), rate);
            level = Level::of(jitter.frame());
        }
        let speech = self.detector.push(level);
        if self.setup.agc {
            self.agc.push(level, speech);
        }
        let may = !self.muted && self.setup.direction.receive;
        self.speaks = speech && may;
        self.unheard = match (self.muted, speech) {
            (true, true) => self.unheard.saturating_add(1),
            (true, false) => self.unheard,
            (false, _) => 0,
        };
        self.lingers = match (may, speech) {
            (false, _) => 0,
            (true, true) => LINGER,
            (true, false) => self.lingers.saturating_sub(1),
        };
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
            codecs: (
                self.setup.receives[0].map_or(self.setup.sends.0.codec, |(c, _)| c),
                self.setup.sends.0.codec,
            ),
            bursts: self.bursts.figures(now, self.begun.unwrap_or(now)),
            xr: self.setup.xr,
            jitter: self.coders.jitter.counters(),
            delay: self.coders.jitter.delay(now),
            drops: self.drops,
            level: self.level(),
            locked: self.latch.locked(),
            silent_for: Nanos(now.since(self.last_packet).max(0) as u64),
        }
    }
}

/// Ticks for which who has spoken stays in the mix (4 s): as long as there is a place, nothing is cut out of a talk.
const LINGER: u16 = 200;
/// Ticks of speech after which who is muted is told so (1.5 s).
const UNHEARD: u8 = 75;
/// The most payload bytes in a packet of ours: it fits an Ethernet frame with all that may be around it.
const LARGEST_PACKET: usize = 1280;

#[cfg(test)]
mod tests;
