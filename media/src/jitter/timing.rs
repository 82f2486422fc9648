//! When packets are heard: where playout begins, how much should wait, and what is done where more or less does.

use super::line::Cut;
use super::{JitterBuffer, MARGIN, MOST_DELAY, ORIGIN, WORTH_WAITING};
use crate::codec::Decoder;
use crate::units::Nanos;

/// What waits is made shorter only if it could be shorter by this as well, ns.
pub(super) const HYSTERESIS: i64 = 500_000;
/// With so much too much, it is made shorter whatever it sounds like, ns.
const FAR_TOO_MUCH: i64 = 60_000_000;

impl JitterBuffer {
    /// How many samples more wait than must: what surely has arrived when a tick comes, less what the tick takes. Below zero, ticks will come
    /// to nothing. Packets and ticks need not be of one length; the worst tick counts.
    pub(super) fn excess(&self, now: Nanos, hysteresis: i64) -> i64 {
        let Some(stream) = self.stream else { return 0 };
        let rate = self.line.rate();
        let frame = rate.frame() as i64;
        // Where packets get lost and the next ones have them again, it is worth waiting for those.
        let redundancy = if self.missed.0 >= WORTH_WAITING { rate.nanos(frame) } else { 0 };
        let waited =
            now.0 as i64 - self.spread.baseline() - self.spread.spread() - redundancy - MARGIN - hysteresis;
        let here = ORIGIN + rate.samples(waited);
        let begun = stream.newest.1 + (here - stream.newest.1).div_euclid(stream.grid) * stream.grid;
        begun + stream.grid - (self.next - self.line.ready() as i64) - frame
    }

    /// After a pause, or at the beginning: silence goes before the first packet for as long as its like may be late, and what came in a
    /// burst does not stay as delay.
    pub(super) fn find_start(&mut self, now: Nanos) {
        self.anchor = false;
        let Some(first) = self.store.first_from(0) else { return };
        let frame = self.line.rate().frame() as i64;
        self.due = first.seq;
        self.undecoded = None;
        // Where the line would end if it began right.
        let right = self.next + self.excess(now, 0);
        let most_early = first.position - MOST_DELAY / 1_000_000 * self.line.rate().ms(1) as i64;
        self.next = right.clamp(most_early, first.position);
        if right > first.position + 3 * frame {
            self.next = right;
            while let Some(old) = self.store.first_from(self.due).filter(|e| e.end() <= right) {
                self.store.remove(old.seq);
                self.due = old.seq + 1;
            }
        }
        self.pause = Some(self.pause.unwrap_or(u8::MAX));
        (self.made_up, self.uncertain) = (0, 0);
    }

    /// Makes what waits shorter or longer, where more or less waits than should.
    pub(super) fn fit(&mut self, now: Nanos, decoders: &mut [Option<Decoder>], heard: bool) {
        if self.pause.is_some() {
            return;
        }
        let rate = self.line.rate();
        let frame = rate.frame();
        let too_much = self.excess(now, HYSTERESIS);
        if rate.nanos(too_much) > MOST_DELAY {
            return self.skip(too_much);
        }
        if too_much > 0 && self.made_up == 0 {
            let wanted = frame + rate.ms(21);
            while self.line.ready() < wanted {
                let in_order =
                    self.store.get(self.due).filter(|e| e.position == self.next && e.codec.is_some());
                let (Some(_), Some(stream)) = (in_order, self.stream) else { break };
                self.lay(stream, decoders, heard, false);
            }
            let most = (too_much as usize).min(self.line.ready().saturating_sub(frame));
            if self.line.shrink(most, cut(heard, rate.nanos(too_much) > FAR_TOO_MUCH)) > 0 {
                self.counters.stretched += 1;
            }
        } else if too_much < 0 && self.excess(now, 0) < 0 {
            if self.line.ready() < rate.ms(5)
                && let Some(stream) = self.stream
                && self
                    .store
                    .first_from(self.due)
                    .is_some_and(|e| e.position == self.next && e.codec.is_some())
            {
                self.lay(stream, decoders, heard, false);
            }
            // While packets still come in time, a good moment can be waited for.
            let starves = self.excess(now, -MARGIN) < 0;
            if self.line.grow(rate.ms(15), cut(heard, starves)) > 0 {
                self.counters.stretched += 1;
            }
        }
    }

    /// A burst after a stall would stay as delay: its oldest packets are passed over.
    fn skip(&mut self, samples: i64) {
        let until = self.next + samples;
        while let Some(old) = self.store.first_from(self.due).filter(|e| e.end() <= until) {
            self.store.remove(old.seq);
            self.due = old.seq + 1;
            self.counters.dropped += 1;
        }
        let first = self.store.first_from(self.due).map_or(until, |e| e.position);
        self.next = first.clamp(self.next, until);
        (self.undecoded, self.made_up) = (None, 0);
    }
}

/// How much care a change takes.
fn cut(heard: bool, must: bool) -> Cut {
    match (heard, must) {
        (false, _) => Cut::Unheard,
        (true, true) => Cut::Anyhow,
        (true, false) => Cut::Fine,
    }
}
