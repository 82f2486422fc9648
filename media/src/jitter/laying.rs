//! Laying down what comes next: a packet's sound, or what stands in for it.

use super::store::Entry;
use super::{JitterBuffer, MOST_DELAY, Playout, Stream, WARM_UP};
use crate::codec::{self, Codec, Decoder};

impl JitterBuffer {
    /// Lays down what comes next: a packet, or what stands in for it. Always something; but a `whole` frame of silence that nobody looks at is
    /// only passed over.
    pub(super) fn lay(
        &mut self,
        stream: Stream,
        decoders: &mut [Option<Decoder>],
        heard: bool,
        whole: bool,
    ) -> Playout {
        let Some(entry) = self.store.first_from(self.due) else {
            let n = self.line.rate().frame().saturating_sub(self.line.ready());
            if self.unspoken && self.pause.is_none() {
                // Nobody spoke, and now nothing comes: it is not sent (DTX).
                (self.pause, self.uncertain) = (Some(u8::MAX), 0);
            }
            return self.lay_nothing(stream, decoders, n, heard);
        };
        let rate = self.line.rate();
        let mut gap = entry.position - self.next;
        if gap > 0 && entry.seq > self.due && rate.nanos(stream.newest.1 - self.next) > MOST_DELAY {
            // More came than can be kept: what had to make room is passed over.
            (gap, self.next, self.made_up) = (0, entry.position, 0);
        }
        if gap > 0 {
            let lost = entry.seq - self.due;
            let most = rate.frame().saturating_sub(self.line.ready()).max(1).min(gap as usize);
            if lost == 0 && self.pause.is_none() && entry.codec.is_some() {
                // Nothing is missing between the two: the sender paused.
                self.pause = Some(u8::MAX);
                self.uncertain = 0;
            }
            if self.pause.is_some() {
                return self.lay_pause(stream, decoders, most);
            }
            if let Some(recovered) = self.recover(&entry, gap, decoders) {
                return recovered;
            }
            // No more than what the next packet has nothing of.
            let alone = match gap - i64::from(entry.samples) {
                beyond @ 1.. if self.recoverable(&entry) => most.min(beyond as usize),
                _ => most,
            };
            return self.lay_nothing(stream, decoders, alone, heard);
        }
        self.lay_packet(&entry, decoders, heard, whole)
    }

    /// Lays down a packet's sound, or what is left of it.
    fn lay_packet(
        &mut self,
        entry: &Entry,
        decoders: &mut [Option<Decoder>],
        heard: bool,
        whole: bool,
    ) -> Playout {
        let lost = entry.seq - self.due;
        if self.uncertain > 0 {
            if lost > 0 || self.made_up > 0 && entry.position < self.next {
                self.counters.concealed += self.uncertain;
            }
            self.uncertain = 0;
        }
        self.due = entry.seq + 1;
        let Some(codec) = entry.codec else {
            let level = self.store.payload(entry).first().map_or(u8::MAX, |l| l & 127);
            self.store.remove(entry.seq);
            self.pause = Some(level);
            return Playout::Audio;
        };
        let Some(decoder) = decoders[codec as usize].as_mut() else {
            self.store.remove(entry.seq);
            return Playout::Audio;
        };
        let payload = self.store.payload(entry);
        if lost == 1 && codec == Codec::Opus && codec::opus::carries_the_one_before(payload) {
            self.missed = (self.missed.0.saturating_add(1), 0);
        }
        let n = entry.samples as usize;
        self.pause = None;
        self.unspoken = codec == Codec::Opus && codec::opus::speech(payload) == Some(false);
        let nothing = codec.is_silence(payload);
        let passed = (self.next - entry.position).max(0) as usize;
        if !heard && (self.unspoken || nothing) {
            if whole && passed == 0 && self.line.ready() == 0 && n == self.line.rate().frame() {
                // The frame is whole, and nobody looks at it.
                self.line.pass_silence();
            } else {
                self.line.room(n).fill(0);
                self.line.extend(n);
                self.line.cut(passed.min(n), n);
            }
            if nothing {
                self.store.remove(entry.seq);
            } else {
                // Kept in the store, for a decoder that must find its way into the stream when somebody speaks.
                self.undecoded.get_or_insert(entry.seq);
                self.store.keep(entry.seq);
                self.store.forget_below(entry.seq.saturating_sub(WARM_UP - 1));
            }
            (self.next, self.made_up) = (self.next.max(entry.end()), 0);
            self.concealer.end();
            return Playout::Unspoken;
        }
        if let Some(first) = self.undecoded.take() {
            for seq in first.max(entry.seq.saturating_sub(WARM_UP))..entry.seq {
                if let Some(before) = self.store.kept(seq) {
                    let room = self.line.room(before.samples as usize);
                    decoder.decode(self.store.payload(&before), room);
                }
            }
        }
        let room = self.line.room(n);
        let made = decoder.decode(payload, room);
        room[made.min(n)..].fill(0);
        self.line.extend(n);
        self.line.cut(passed.min(n), n);
        self.store.forget_below(u64::MAX);
        if self.concealer.active() {
            self.concealer.merge(self.line.last_mut(n - passed.min(n)));
        }
        self.store.remove(entry.seq);
        (self.next, self.made_up) = (self.next.max(entry.end()), 0);
        Playout::Audio
    }

    /// `entry` has a coarser form of the packet before it.
    fn recoverable(&self, entry: &Entry) -> bool {
        entry.codec == Some(Codec::Opus) && codec::opus::carries_the_one_before(self.store.payload(entry))
    }

    /// The packet before `entry` is missing and `entry` has a coarser form of it.
    fn recover(&mut self, entry: &Entry, gap: i64, decoders: &mut [Option<Decoder>]) -> Option<Playout> {
        if gap != i64::from(entry.samples) || !self.recoverable(entry) {
            return None;
        }
        let payload = self.store.payload(entry);
        let Some(Decoder::Opus(decoder)) = decoders[Codec::Opus as usize].as_mut() else { return None };
        let n = gap as usize;
        let room = self.line.room(n);
        let made = decoder.recover(payload, room);
        room[made.min(n)..].fill(0);
        self.line.extend(n);
        self.next += gap;
        self.due = entry.seq;
        self.missed = (self.missed.0.saturating_add(1), 0);
        self.concealer.end();
        Some(Playout::Audio)
    }

    /// Nothing came for the next `n` samples. What nobody listens to need not be made up.
    fn lay_nothing(
        &mut self,
        stream: Stream,
        decoders: &mut [Option<Decoder>],
        n: usize,
        heard: bool,
    ) -> Playout {
        if self.pause.is_some() {
            return self.lay_pause(stream, decoders, n);
        }
        let n = match decoders[stream.codec as usize].as_mut() {
            _ if !heard => {
                self.line.room(n).fill(0);
                n
            }
            Some(Decoder::Opus(decoder)) => {
                // It goes on in steps of 2.5 ms.
                let step = self.line.rate().ms(5) / 2;
                let n = n.next_multiple_of(step);
                let room = self.line.room(n);
                let made = decoder.conceal(room);
                room[made.min(n)..].fill(0);
                n
            }
            _ => {
                self.concealer.begin(&self.line);
                self.concealer.make(self.line.room(n));
                n
            }
        };
        self.line.extend(n);
        self.next += n as i64;
        self.made_up += n as i64;
        Playout::Concealed
    }

    /// The sender pauses: `n` samples of its background.
    fn lay_pause(&mut self, stream: Stream, decoders: &mut [Option<Decoder>], n: usize) -> Playout {
        let rate = self.line.rate();
        let n = match decoders[stream.codec as usize].as_mut() {
            // It knows the background, unless it has not decoded what went before.
            Some(Decoder::Opus(decoder)) if self.unspoken && self.undecoded.is_none() => {
                let n = n.next_multiple_of(rate.ms(5) / 2);
                let room = self.line.room(n);
                let made = decoder.conceal(room);
                room[made.min(n)..].fill(0);
                n
            }
            _ => {
                self.noise.fill(self.pause.unwrap_or(u8::MAX), rate, self.line.room(n));
                n
            }
        };
        self.line.extend(n);
        self.next += n as i64;
        self.concealer.end();
        Playout::Pause
    }
}
