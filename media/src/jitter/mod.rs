//! Playout: an adaptive jitter buffer of samples.
//!
//! Decoded samples are laid down in a ring by their timestamp, so that packet length, reordering and duplicates
//! need no special case. A cursor moves on by one frame per tick. How far the cursor stays behind the packets
//! adapts: a late packet moves it back (the delay grows), a packet that always comes with time to spare lets it
//! skip (the delay shrinks, in silence when possible). What is missing is concealed.

mod conceal;

use crate::codec::{FRAME, Frame};
use crate::units::{Nanos, RtpTime, SeqNo, Ssrc};
use conceal::Concealer;

/// Samples that the ring holds: 512 ms.
const RING: usize = 4096;
const WORDS: usize = RING / 64;
/// The buffer never delays by more than this, samples (300 ms).
const MOST_DELAY: i64 = 2400;
/// A packet that is later than this is lost, not late, samples (200 ms).
const HOPELESS: i64 = 1600;
/// Packets farther from the cursor than this are another timeline, samples (10 s back).
const FORGOTTEN: i64 = 80_000;
/// The longest packet accepted, samples (60 ms, and some room).
pub const LONGEST: usize = 640;
/// Time that the first packet, and any later one, should have to spare before its tick.
const MARGIN: i64 = 2_000_000;
/// Shrink only when every packet of the last windows had this much more than one frame to spare.
const SPARE: i64 = 20_000_000 + 2 * MARGIN;
/// Length of one of the two windows over which the least spare time is taken, ticks: 1 s; up to 10 s where the delay
/// had to grow again soon after it had shrunk.
const WINDOW: u32 = 50;
const LONGEST_WINDOW: u32 = 500;
/// "Soon", ticks (10 s); and so long without a late packet makes the windows short again, ticks (60 s).
const SOON: u32 = 500;
const FORGIVEN: u32 = 3000;
/// With this much to spare the buffer shrinks in speech too.
const FAR_TOO_MUCH: i64 = 60_000_000;
/// After this many ticks without a packet the stream counts as idle (1 s).
const IDLE: u32 = 50;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Will be played.
    Accepted,
    /// Came after its time; the delay has grown so that the next ones come in time, and this one is still played.
    Late,
    /// Came far too late, or did not fit: dropped.
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
    /// Received samples.
    Audio,
    /// Partly or wholly concealed.
    Concealed,
}

/// Counters over the buffer's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that were partly or wholly concealed while a stream was running.
    pub concealed: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Packets dropped as hopeless or unfitting, and frames passed over because the delay would have been too long.
    pub dropped: u64,
    /// Packets that were there already.
    pub duplicates: u64,
    /// New streams or timelines.
    pub restarts: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    ssrc: Ssrc,
    /// Timestamp and position of the newest packet, and its sequence number.
    newest: (RtpTime, i64, SeqNo),
    /// One bit for each of the last 64 sequence numbers, lowest bit the newest.
    seen: u64,
    /// A packet far off the timeline: two in a row start a new one.
    jumped: Option<SeqNo>,
}

/// See the module's text. About 10 kB, all of it allocated by [`JitterBuffer::default`].
#[derive(Debug)]
pub struct JitterBuffer {
    ring: Box<[i16; RING]>,
    have: [u64; WORDS],
    stream: Option<Stream>,
    /// Position of the next sample to be played.
    cursor: i64,
    /// Playout begins at the first tick that is not before this.
    start: Option<Nanos>,
    concealer: Concealer,
    least_spare: [i64; 2],
    window: u32,
    window_length: u32,
    since_shrink: u32,
    since_late: u32,
    quiet_ticks: u32,
    counters: Counters,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self {
            ring: Box::new([0; RING]),
            have: [0; WORDS],
            stream: None,
            cursor: 0,
            start: None,
            concealer: Concealer::default(),
            least_spare: [i64::MAX; 2],
            window: 0,
            window_length: WINDOW,
            since_shrink: SOON,
            since_late: 0,
            quiet_ticks: 0,
            counters: Counters::default(),
        }
    }
}

impl JitterBuffer {
    /// Counters so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Lays down a packet's samples (at most [`LONGEST`]). `arrival` is when the kernel got it, `tick` the time
    /// of the tick at which it is read, both of one clock.
    pub fn put(
        &mut self,
        ssrc: Ssrc,
        seq: SeqNo,
        time: RtpTime,
        samples: &[i16],
        arrival: Nanos,
        tick: Nanos,
    ) -> Put {
        if samples.is_empty() || samples.len() > LONGEST {
            self.counters.dropped += 1;
            return Put::Dropped;
        }
        let Some(mut stream) = self.stream.filter(|s| s.ssrc == ssrc) else {
            return self.restart(ssrc, seq, time, samples, arrival);
        };
        let position = stream.newest.1 + i64::from(time.ahead_of(stream.newest.0));
        let end = position + samples.len() as i64;
        if position - self.cursor > (RING - LONGEST) as i64 || self.cursor - position > FORGOTTEN {
            if stream.jumped.is_some_and(|last| seq.ahead_of(last) == 1) {
                return self.restart(ssrc, seq, time, samples, arrival);
            }
            stream.jumped = Some(seq);
            self.stream = Some(stream);
            self.counters.dropped += 1;
            return Put::Dropped;
        }
        stream.jumped = None;
        let ahead = seq.ahead_of(stream.newest.2);
        if ahead > 0 {
            stream.seen = if ahead < 64 { stream.seen << ahead | 1 } else { 1 };
            stream.newest = (time, position, seq);
        } else {
            let bit = 1u64.checked_shl(u32::from(ahead.unsigned_abs())).unwrap_or(0);
            if bit == 0 || stream.seen & bit != 0 {
                self.stream = Some(stream);
                self.counters.duplicates += 1;
                return Put::Duplicate;
            }
            stream.seen |= bit;
        }
        self.stream = Some(stream);
        self.quiet_ticks = 0;
        if self.start.is_some() && tick.since(arrival) >= MARGIN {
            // Not playing yet: what comes in a burst before the first tick must not stay as delay, but for a frame to begin with.
            self.cursor = self.cursor.max(position.min(end - FRAME as i64));
        }
        // When its first sample is due, as seen from the tick that reads the packet.
        let spare = tick.since(arrival).saturating_add((position - self.cursor) * 125_000);
        let half = &mut self.least_spare[0];
        *half = (*half).min(spare);
        let lateness = self.cursor - position;
        let mut result = Put::Accepted;
        if lateness > 0 && self.start.is_none() {
            self.counters.late += 1;
            let back = (lateness + FRAME as i64 - 1) / FRAME as i64 * FRAME as i64;
            let delay = stream.newest.1 + samples.len() as i64 - (self.cursor - back);
            if lateness > HOPELESS || delay > MOST_DELAY {
                if end <= self.cursor {
                    self.counters.dropped += 1;
                    return Put::Dropped;
                }
            } else {
                self.cursor -= back;
                if self.since_shrink < SOON {
                    self.window_length = (self.window_length * 2).min(LONGEST_WINDOW);
                }
                self.since_late = 0;
                self.forget_spare();
                result = Put::Late;
            }
        }
        self.skip_to(end - MOST_DELAY);
        self.lay(position, samples);
        result
    }

    /// A burst after a stall could leave more delay than is bearable: its oldest frames are passed over.
    fn skip_to(&mut self, earliest: i64) {
        let frames = (earliest - self.cursor + FRAME as i64 - 1) / FRAME as i64;
        if frames <= 0 || self.start.is_some() {
            return;
        }
        for_bits(slot_of(self.cursor), frames as usize * FRAME, |word, mask| self.have[word] &= !mask);
        self.cursor += frames * FRAME as i64;
        self.counters.dropped += frames as u64;
        self.forget_spare();
    }

    /// Samples of a keypress are not concealed by stretching the last word.
    pub fn mute_concealment(&mut self) {
        self.concealer.mute();
    }

    /// The next frame. `tick` is the same clock as in [`Self::put`].
    pub fn pull(&mut self, tick: Nanos, out: &mut Frame) -> Playout {
        if self.stream.is_none() {
            out.fill(0);
            return Playout::Idle;
        }
        if let Some(start) = self.start {
            if tick.since(start) < 0 {
                out.fill(0);
                return Playout::Idle;
            }
            self.start = None;
        }
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        let playout = self.frame(out);
        self.roll_window();
        if playout == Playout::Audio && self.may_skip(out) {
            let mut next = [0; FRAME];
            if self.frame(&mut next) == Playout::Audio {
                // The two frames become one: the first fades into the second.
                for (i, (o, n)) in out.iter_mut().zip(&next).enumerate() {
                    let w = i as i32 + 1;
                    *o = ((i32::from(*o) * (FRAME as i32 - w) + i32::from(*n) * w) / FRAME as i32) as i16;
                }
            }
            self.since_shrink = 0;
            self.forget_spare();
        }
        if self.quiet_ticks > IDLE {
            return Playout::Idle;
        }
        // Where keys are pressed there is no audio to be missed.
        if playout == Playout::Concealed && !self.concealer.is_muted() {
            self.counters.concealed += 1;
        }
        playout
    }

    /// Samples between the cursor and the newest packet's start: the delay that the buffer adds now, in
    /// samples, to within a packet.
    #[cfg(test)]
    fn depth(&self) -> i64 {
        self.stream.map_or(0, |s| s.newest.1 - self.cursor)
    }

    fn restart(&mut self, ssrc: Ssrc, seq: SeqNo, time: RtpTime, samples: &[i16], arrival: Nanos) -> Put {
        if self.stream.is_some() {
            self.counters.restarts += 1;
        }
        self.have = [0; WORDS];
        // Far from zero, so that positions stay positive.
        let position = 1 << 32;
        self.stream = Some(Stream { ssrc, newest: (time, position, seq), seen: 1, jumped: None });
        self.cursor = position;
        self.start = Some(Nanos(arrival.0.wrapping_add(MARGIN as u64)));
        self.forget_spare();
        self.quiet_ticks = 0;
        self.lay(position, samples);
        Put::Restarted
    }

    fn lay(&mut self, position: i64, samples: &[i16]) {
        // What is already played of a late packet is left out.
        let played = (self.cursor - position).clamp(0, samples.len() as i64);
        let slot = slot_of(position + played);
        let samples = &samples[played as usize..];
        let before_end = samples.len().min(RING - slot);
        self.ring[slot..slot + before_end].copy_from_slice(&samples[..before_end]);
        self.ring[..samples.len() - before_end].copy_from_slice(&samples[before_end..]);
        for_bits(slot, samples.len(), |word, mask| self.have[word] |= mask);
    }

    /// Takes the frame at the cursor, conceals what is missing, and moves on.
    fn frame(&mut self, out: &mut Frame) -> Playout {
        let slot = slot_of(self.cursor);
        let before_end = FRAME.min(RING - slot);
        out[..before_end].copy_from_slice(&self.ring[slot..slot + before_end]);
        out[before_end..].copy_from_slice(&self.ring[..FRAME - before_end]);
        let mut missing = FRAME;
        for_bits(slot, FRAME, |word, mask| missing -= (self.have[word] & mask).count_ones() as usize);
        let mut lacks = [false; FRAME];
        if missing > 0 && missing < FRAME {
            for (i, lacking) in lacks.iter_mut().enumerate() {
                let slot = (slot + i) % RING;
                *lacking = self.have[slot / 64] & 1 << (slot % 64) == 0;
            }
        }
        for_bits(slot, FRAME, |word, mask| self.have[word] &= !mask);
        self.cursor += FRAME as i64;
        if missing == 0 {
            self.concealer.good(out);
            return Playout::Audio;
        }
        if missing < FRAME {
            self.concealer.patch(out, &lacks);
        } else {
            self.concealer.conceal(out);
        }
        Playout::Concealed
    }

    /// Forgets how much time packets had to spare: to be called when ticks move.
    pub fn forget_spare(&mut self) {
        self.least_spare = [i64::MAX; 2];
        self.window = 0;
    }

    fn roll_window(&mut self) {
        self.since_shrink = self.since_shrink.saturating_add(1);
        self.since_late = self.since_late.saturating_add(1);
        if self.since_late == FORGIVEN {
            self.window_length = WINDOW;
        }
        self.window += 1;
        if self.window >= self.window_length {
            self.window = 0;
            self.least_spare = [i64::MAX, self.least_spare[0]];
        }
    }

    /// Whether the delay is larger than two whole windows needed, and this is a moment to shorten it.
    fn may_skip(&self, frame: &Frame) -> bool {
        let [now, before] = self.least_spare;
        let least = now.min(before);
        if before == i64::MAX || least <= SPARE {
            return false;
        }
        least > FAR_TOO_MUCH || frame.iter().all(|s| s.unsigned_abs() < 400)
    }
}

fn slot_of(position: i64) -> usize {
    (position as u64 % RING as u64) as usize
}

/// Calls `f` with each word of the bit set that `len` bits from `slot` (around the end) touch, and a mask of them.
fn for_bits(mut slot: usize, mut len: usize, mut f: impl FnMut(usize, u64)) {
    while len > 0 {
        let bit = slot % 64;
        let n = len.min(64 - bit);
        f(slot / 64, (u64::MAX >> (64 - n)) << bit);
        slot = (slot + n) % RING;
        len -= n;
    }
}

#[cfg(test)]
mod tests;
