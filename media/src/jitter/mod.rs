//! Playout: from packets that come when they come to a frame each tick.
//!
//! Packets wait undecoded ([`store`]). Each tick takes a frame from the [`line`], laying down the next packets' sound where it is too
//! short. What is missing is made up: by the codec where it can, else by [`conceal`]. How long packets should wait follows from how much their
//! delays spread ([`spread`]); what waits is made shorter or longer without changing its pitch until that is so. A sender that pauses is
//! told apart from packets that are lost: a pause is filled with its own background noise, and what comes after it begins anew.

mod alike;
mod conceal;
mod laying;
mod line;
mod spread;
mod store;
mod timing;

use crate::codec::{self, Codec, Decoder};
use crate::noise::Noise;
use crate::prefetch::prefetch;
use crate::units::{Nanos, Rate, RtpTime, SeqNo, Ssrc};
use conceal::Concealer;
use line::Line;
use spread::Spread;
use store::Store;
use timing::HYSTERESIS;

/// What waits is never older than this, ns.
const MOST_DELAY: i64 = LONGEST_MS as i64 * 1_000_000;
/// The same, ms.
pub const LONGEST_MS: u16 = 500;
/// A packet farther from what is heard than this is of another timeline, ns.
const FORGOTTEN: i64 = 10_000_000_000;
/// What a packet must have to spare beside the spread, ns.
const MARGIN: i64 = 500_000;
/// After so many ticks without a packet the stream counts as idle (1 s).
const IDLE: u32 = 50;
/// So many packets missed that redundancy would have brought back make it worth waiting for; so long is that remembered, ticks (10 s).
const WORTH_WAITING: u8 = 1;
const REMEMBERED: u16 = 500;
/// Packets kept for a decoder that must get used to a stream again.
const WARM_UP: u64 = 3;

/// A packet of sound.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Its source.
    pub ssrc: Ssrc,
    /// Its sequence number.
    pub seq: SeqNo,
    /// Its timestamp.
    pub time: RtpTime,
    /// What it is encoded with; `None`: comfort noise (RFC 3389).
    pub codec: Option<Codec>,
    /// What is in it.
    pub payload: &'a [u8],
    /// When the kernel got it.
    pub arrival: Nanos,
    /// The tick at which it is read.
    pub now: Nanos,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Waits to be played.
    Accepted,
    /// Came after its time: all of it is still played, or what is left of it.
    Late,
    /// Came too late, or did not fit, or is no packet of its codec: dropped.
    Dropped,
    /// Already there: dropped.
    Duplicate,
    /// The first of a new stream or timeline: playout starts again.
    Restarted,
}

/// What a tick's frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playout {
    /// No stream, or nothing for a second: silence.
    Idle,
    /// Packets that say of themselves that nobody speaks, or that are nothing but silence: undecoded.
    Unspoken,
    /// Received sound.
    Audio,
    /// The sender pauses: its background noise.
    Pause,
    /// Partly or wholly made up.
    Concealed,
}

/// Counters over the buffer's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that were partly or wholly made up while a stream was running.
    pub concealed: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Packets dropped as hopeless or unfitting, or to make room.
    pub dropped: u64,
    /// Packets that were there already.
    pub duplicates: u64,
    /// New streams or timelines.
    pub restarts: u64,
    /// Times that what waited was made shorter or longer.
    pub stretched: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    ssrc: Ssrc,
    /// Its sound's codec.
    codec: Codec,
    /// The newest packet: timestamp, position, extended sequence number.
    newest: (RtpTime, i64, u64),
    /// One bit for each of the last 64 sequence numbers, lowest bit the newest.
    seen: u64,
    /// A packet far off the timeline: two in a row start a new one.
    jumped: Option<SeqNo>,
    /// What a packet's length and a tick's have in common, samples.
    grid: i64,
}

/// The first packet's position: far from zero, so that positions stay positive.
const ORIGIN: i64 = 1 << 40;
/// Added to sequence numbers, as far.
const FIRST: u64 = 1 << 32;

/// See the module's text. What each packet touches lies in front, in as few lines of cache as may be.
#[derive(Debug)]
#[repr(C)]
pub struct JitterBuffer {
    line: Line,
    store: Store,
    spread: Spread,
    stream: Option<Stream>,
    /// Position of the sample behind the line's last.
    next: i64,
    /// The number of the next packet to be laid down.
    due: u64,
    /// Samples at the line's end that nothing was received for.
    made_up: i64,
    /// Frames made up since the last packet was laid down: loss, or a pause.
    uncertain: u64,
    /// Packets from this one on were not decoded.
    undecoded: Option<u64>,
    quiet_ticks: u32,
    /// The sender pauses, with noise of this level, −dBov; `None` while it sends.
    pause: Option<u8>,
    /// Packets lately missed that the ones behind them would have brought again, had they been waited for; and ticks since the last.
    missed: (u8, u16),
    /// Where playout goes on has to be found anew: at the beginning and after a pause.
    anchor: bool,
    /// The last packet said of itself that nobody speaks.
    unspoken: bool,
    /// The last packet of sound came after its time.
    late: bool,
    concealer: Concealer,
    noise: Noise,
    counters: Counters,
}

impl JitterBuffer {
    /// A buffer for the sound of these decoders, with so many bytes of memory for packets.
    pub fn new(highest: Rate, bytes: usize) -> Self {
        Self {
            store: Store::new(bytes),
            line: Line::new(highest),
            concealer: Concealer::new(highest),
            spread: Spread::default(),
            noise: Noise::default(),
            stream: None,
            next: ORIGIN,
            due: FIRST,
            anchor: true,
            pause: None,
            made_up: 0,
            uncertain: 0,
            unspoken: false,
            late: false,
            missed: (0, 0),
            undecoded: None,
            quiet_ticks: 0,
            counters: Counters::default(),
        }
    }

    /// Has the processor look for the buffer itself.
    pub fn prefetch_itself(&self) {
        prefetch(self, std::mem::offset_of!(Self, concealer));
    }

    /// Has the processor look for what the next packet and the next frame touch.
    pub fn prefetch(&self) {
        self.line.prefetch();
        self.store.prefetch();
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The rate of its frames.
    pub fn rate(&self) -> Rate {
        self.line.rate()
    }

    /// The frame that was pulled last.
    pub fn frame(&self) -> &[i16] {
        self.line.frame()
    }

    /// The same, to be changed.
    pub fn frame_mut(&mut self) -> &mut [i16] {
        self.line.frame_mut()
    }

    /// How long the newest sound will have waited when it is heard, beside its way here; the frame of `now` was pulled.
    pub fn delay(&self, now: Nanos) -> Nanos {
        let Some(stream) = self.stream else { return Nanos(0) };
        let due = self.spread.baseline() + self.line.rate().nanos(stream.newest.1 - ORIGIN);
        let playing = self.next - self.line.ready() as i64 - self.line.rate().frame() as i64;
        let ahead = stream.newest.1 - playing;
        Nanos((now.0 as i64 - due + self.line.rate().nanos(ahead)).max(0) as u64)
    }

    /// Takes a packet; `decoder` is its codec's.
    pub fn put(&mut self, packet: Incoming<'_>, decoder: &Decoder) -> Put {
        let samples = match packet.codec {
            None => 0,
            Some(_) => decoder.samples(packet.payload),
        };
        // Noise has no rate of its own: it lies on the timeline of the sound.
        let rate = packet.codec.map_or(self.line.rate(), |_| decoder.rate());
        if packet.codec.is_some() && (samples == 0 || samples > rate.ms(codec::LONGEST_MS)) {
            self.counters.dropped += 1;
            return Put::Dropped;
        }
        let stream = self.stream.filter(|s| s.ssrc == packet.ssrc);
        let fits = |s: &Stream| packet.codec.is_none_or(|c| c == s.codec || plain(c) && plain(s.codec));
        let Some(mut stream) = stream.filter(fits) else {
            return self.restart(packet, decoder, samples);
        };
        if let Some(codec) = packet.codec {
            stream.codec = codec;
        }
        let units = i64::from(packet.time.ahead_of(stream.newest.0));
        let position = stream.newest.1 + units * i64::from(rate.hz()) / i64::from(stream.codec.clock());
        let heard = self.next - self.line.ready() as i64;
        let ahead = packet.seq.ahead_of(SeqNo(stream.newest.2 as u16));
        let far = rate.nanos(position - heard);
        let resumes = self.pause.is_some() && ahead > 0;
        if !(-FORGOTTEN..=MOST_DELAY * 2).contains(&far) {
            if resumes {
                // What comes after a pause may begin where it likes.
                return self.restart(packet, decoder, samples);
            }
            if stream.jumped.is_some_and(|last| packet.seq.ahead_of(last) == 1) {
                return self.restart(packet, decoder, samples);
            }
            stream.jumped = Some(packet.seq);
            self.stream = Some(stream);
            self.counters.dropped += 1;
            return Put::Dropped;
        }
        stream.jumped = None;
        let seq = stream.newest.2.wrapping_add_signed(i64::from(ahead));
        if ahead > 0 {
            stream.seen = if ahead < 64 { stream.seen << ahead | 1 } else { 1 };
            stream.newest = (packet.time, position, seq);
        } else {
            let bit = 1u64.checked_shl(u32::from(ahead.unsigned_abs())).unwrap_or(0);
            if bit == 0 || stream.seen & bit != 0 {
                self.counters.duplicates += 1;
                return Put::Duplicate;
            }
            stream.seen |= bit;
        }
        if samples > 0 {
            stream.grid = gcd(samples as i64, rate.frame() as i64);
        }
        self.stream = Some(stream);
        self.quiet_ticks = 0;
        let transit = packet.arrival.0 as i64 - rate.nanos(position - ORIGIN);
        let lost_touch = rate.nanos(self.made_up) > MOST_DELAY;
        if resumes || lost_touch {
            // After a pause, or where nothing that came could be played for long.
            self.anchor = true;
            if (transit - self.spread.baseline()).abs() > MOST_DELAY {
                self.spread.clear();
                self.spread.note(transit, packet.arrival);
            }
        }
        // What is later than could ever be waited for says nothing of what to wait for.
        if packet.codec.is_some() && transit - self.spread.baseline() <= MOST_DELAY {
            self.spread.note(transit, packet.arrival);
        }
        let mut result = Put::Accepted;
        let too_late = position < self.next && !self.anchor;
        let possible = transit - self.spread.baseline() <= MOST_DELAY;
        if samples > 0 && std::mem::replace(&mut self.late, too_late) && too_late && possible {
            // Two in a row are no exception: the way has become longer.
            self.spread.usual(transit);
        }
        if too_late && samples > 0 {
            let late = self.next - position;
            self.counters.late += 1;
            if late <= self.made_up && rate.nanos(late) <= MOST_DELAY && self.excess(packet.now, 0) < 0 {
                // More such packets are to be expected: from here on everything is heard later by as much.
                self.next = position;
                self.made_up -= late;
            } else if position + samples as i64 <= self.next {
                self.counters.dropped += 1;
                return Put::Dropped;
            }
            result = Put::Late;
        }
        if seq < self.due {
            // Its place was given up, and it can still be heard.
            self.due = seq;
        }
        match self.store.put(seq, position, samples, packet.codec, packet.payload) {
            Some(lost) => self.counters.dropped += u64::from(lost),
            None => {
                self.counters.dropped += 1;
                return Put::Dropped;
            }
        }
        result
    }

    /// How long packets should come before the tick, ns, so that they are heard in it and none waits for another.
    pub fn needs(&self) -> i64 {
        self.spread.spread() + MARGIN + HYSTERESIS
    }

    /// Whether the next frame is there, and a packet that is so old, ns, was the newest.
    pub fn supplied(&self, age: i64) -> bool {
        let rate = self.line.rate();
        let shortest = self.stream.map_or(0, |s| rate.nanos(s.grid));
        age < shortest && (self.store.waiting() > 0 || self.line.ready() >= rate.frame())
    }

    fn restart(&mut self, packet: Incoming<'_>, decoder: &Decoder, samples: usize) -> Put {
        if self.stream.is_some() {
            self.counters.restarts += 1;
        }
        let Some(codec) = packet.codec else {
            // A stream that begins with a pause begins with what comes after it.
            return Put::Dropped;
        };
        self.store.clear();
        self.spread.clear();
        self.concealer.end();
        if self.stream.is_none() || self.line.rate() != decoder.rate() {
            self.line.clear(decoder.rate());
        }
        let first = FIRST + u64::from(packet.seq.0);
        self.stream = Some(Stream {
            ssrc: packet.ssrc,
            codec,
            newest: (packet.time, ORIGIN, first),
            seen: 1,
            jumped: None,
            grid: gcd(samples as i64, decoder.rate().frame() as i64),
        });
        (self.next, self.due, self.anchor) = (ORIGIN, first, true);
        (self.pause, self.made_up, self.uncertain, self.undecoded) = (None, 0, 0, None);
        (self.unspoken, self.late, self.missed) = (false, false, (0, 0));
        self.quiet_ticks = 0;
        self.spread.note(packet.arrival.0 as i64, packet.arrival);
        if self.store.put(first, ORIGIN, samples, packet.codec, packet.payload).is_none() {
            self.counters.dropped += 1;
        }
        Put::Restarted
    }

    /// A key is pressed: until the next packet of sound there is none to be missed.
    pub fn key_pressed(&mut self) {
        self.pause.get_or_insert(u8::MAX);
        self.concealer.end();
    }

    /// Pulls the next frame; it is [`Self::frame`] then. `decoders` gives a codec's decoder. `heard`: whether it matters what is said
    /// while packets themselves say that nobody speaks.
    pub fn pull(&mut self, now: Nanos, decoders: &mut [Option<Decoder>], heard: bool) -> Playout {
        let Some(stream) = self.stream else {
            return self.silence(Playout::Idle);
        };
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        self.missed.1 = self.missed.1.saturating_add(1);
        if self.missed.1 > REMEMBERED {
            self.missed.0 = 0;
        }
        let frame = self.line.rate().frame();
        if self.anchor && self.store.waiting() > 0 {
            self.find_start(now);
        }
        if self.quiet_ticks > IDLE && self.store.waiting() == 0 {
            self.pause.get_or_insert(u8::MAX);
            self.next += frame as i64;
            return self.silence(Playout::Idle);
        }
        let mut playout = Playout::Audio;
        if !self.anchor {
            self.fit(now, decoders, heard);
        }
        while self.line.ready() < frame {
            let one = self.lay(stream, decoders, heard, true);
            if one == Playout::Unspoken && self.line.ready() == 0 {
                return one;
            }
            playout = match (playout, one) {
                (Playout::Audio, one) => one,
                (Playout::Concealed, _) | (_, Playout::Concealed) => Playout::Concealed,
                (before, _) => before,
            };
        }
        if playout == Playout::Concealed {
            self.uncertain += 1;
        }
        self.line.take();
        playout
    }

    fn silence(&mut self, playout: Playout) -> Playout {
        let n = self.line.rate().frame().saturating_sub(self.line.ready());
        self.line.room(n).fill(0);
        self.line.extend(n);
        self.line.take();
        playout
    }
}

/// Codecs between which a sender may change in mid-stream: same clock, same rate.
fn plain(codec: Codec) -> bool {
    matches!(codec, Codec::Pcmu | Codec::Pcma)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
