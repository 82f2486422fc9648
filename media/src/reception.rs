//! What arrived of one stream: loss, reordering and jitter as RFC 3550 appendix A counts them.

use crate::units::{Nanos, RtpTime, SeqNo, Ssrc};

/// Sequence numbers farther ahead than this are a restart, not a gap (RFC 3550 A.1).
const MAX_DROPOUT: i16 = 3000;
/// A second, ns.
const SECOND: u64 = 1_000_000_000;

/// Reception statistics of one leg. A new SSRC starts them again.
#[derive(Debug, Clone, Copy)]
pub struct Reception {
    source: Option<Source>,
    /// Units of the RTP clock in a second.
    clock: u32,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: Ssrc,
    base: SeqNo,
    highest: SeqNo,
    cycles: u16,
    received: u64,
    transit: Option<i64>,
    /// Interarrival jitter × 16, in clock units (RFC 3550 A.8).
    jitter16: i64,
}

/// One reception report block's figures (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    /// The stream reported on.
    pub ssrc: Ssrc,
    /// Packets expected since the stream began.
    pub expected: u64,
    /// Packets received, duplicates included.
    pub received: u64,
    /// Extended highest sequence number.
    pub highest: u32,
    /// Interarrival jitter, clock units.
    pub jitter: u32,
}

impl Block {
    /// Packets lost since the stream began; never below zero here.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

impl Reception {
    /// For a stream whose timestamps count so many units in a second.
    pub fn new(clock: u32) -> Self {
        Self { source: None, clock: clock.max(1) }
    }

    /// Counts a valid packet. `time` is `None` for packets whose timestamp does not advance (telephone events):
    /// they count for loss, not for jitter.
    pub fn packet(&mut self, ssrc: Ssrc, seq: SeqNo, time: Option<RtpTime>, arrival: Nanos) {
        let source = match &mut self.source {
            Some(source) if source.ssrc == ssrc => source,
            source => source.insert(Source {
                ssrc,
                base: seq,
                highest: seq,
                cycles: 0,
                received: 0,
                transit: None,
                jitter16: 0,
            }),
        };
        let ahead = seq.ahead_of(source.highest);
        if !(-MAX_DROPOUT..=MAX_DROPOUT).contains(&ahead) {
            // The talker's equipment started again without changing its SSRC.
            *source = Source { base: seq, highest: seq, cycles: 0, received: 0, ..*source };
        } else if ahead > 0 {
            if seq.0 < source.highest.0 {
                source.cycles = source.cycles.wrapping_add(1);
            }
            source.highest = seq;
        }
        source.received += 1;
        if let Some(time) = time {
            let clock = u64::from(self.clock);
            let units = arrival.0 / SECOND * clock + arrival.0 % SECOND * clock / SECOND;
            let transit = i64::from((units as u32).wrapping_sub(time.0) as i32);
            if let Some(before) = source.transit {
                let d = i64::from((transit as i32).wrapping_sub(before as i32)).abs();
                // A jump of the timeline is not jitter.
                if d < i64::from(self.clock) {
                    source.jitter16 += d - ((source.jitter16 + 8) >> 4);
                }
            }
            source.transit = Some(transit);
        }
    }

    /// Whether a packet has come.
    pub fn has_begun(&self) -> bool {
        self.source.is_some()
    }

    /// The figures so far; `None` before the first packet.
    pub fn block(&self) -> Option<Block> {
        let source = self.source?;
        let highest = u32::from(source.cycles) << 16 | u32::from(source.highest.0);
        Some(Block {
            ssrc: source.ssrc,
            expected: u64::from(highest.wrapping_sub(u32::from(source.base.0))) + 1,
            received: source.received,
            highest,
            jitter: (source.jitter16 >> 4).max(0) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_across_the_wrap() {
        let mut reception = Reception::new(8000);
        for n in 0..100u16 {
            if n % 10 != 3 {
                let time = RtpTime(u32::from(n) * 160);
                reception.packet(
                    Ssrc(1),
                    SeqNo(n.wrapping_add(65_500)),
                    Some(time),
                    Nanos::millis(u64::from(n) * 20),
                );
            }
        }
        let block = reception.block().unwrap();
        assert_eq!((block.expected, block.received, block.lost()), (100, 90, 10));
        assert_eq!(block.highest, (1 << 16) + (65_599 - 65_536));
        assert!(block.jitter <= 1);
    }

    #[test]
    fn jitter_approaches_the_mean_deviation() {
        let mut reception = Reception::new(8000);
        for n in 0..1000u64 {
            // Every other packet is 10 ms late: each difference is 10 ms, 80 units.
            // At a real time of day, which is a large number.
            let arrival = Nanos::millis(1_795_000_000_000 + n * 20 + 10 * (n % 2));
            reception.packet(Ssrc(1), SeqNo(n as u16), Some(RtpTime(n as u32 * 160)), arrival);
        }
        assert!((75..=85).contains(&reception.block().unwrap().jitter));
    }

    #[test]
    fn a_new_ssrc_and_a_sequence_jump_start_again() {
        let mut reception = Reception::new(8000);
        let figures = |r: &Reception| {
            let block = r.block().unwrap();
            (block.ssrc.0, block.expected, block.received, block.highest)
        };
        assert!(reception.block().is_none());
        for n in 0..10u16 {
            reception.packet(Ssrc(1), SeqNo(n.wrapping_sub(5)), None, Nanos(0));
        }
        reception.packet(Ssrc(1), SeqNo(4), None, Nanos(0));
        assert_eq!(figures(&reception), (1, 10, 11, 65_540), "with a duplicate");
        reception.packet(Ssrc(1), SeqNo(20_000), None, Nanos(0));
        assert_eq!(figures(&reception), (1, 1, 1, 20_000));
        reception.packet(Ssrc(1), SeqNo(20_003), None, Nanos(0));
        reception.packet(Ssrc(1), SeqNo(20_001), None, Nanos(0));
        assert_eq!(figures(&reception), (1, 4, 3, 20_003), "reordered");
        reception.packet(Ssrc(2), SeqNo(20_004), None, Nanos(0));
        assert_eq!(figures(&reception), (2, 1, 1, 20_004));
    }

    #[test]
    fn a_jump_of_the_timeline_is_no_jitter() {
        let mut reception = Reception::new(8000);
        for n in 0..100u16 {
            let time = u32::from(n) * 160 + if n < 50 { 0 } else { 1 << 20 };
            reception.packet(Ssrc(1), SeqNo(n), Some(RtpTime(time)), Nanos::millis(u64::from(n) * 20));
        }
        assert_eq!(reception.block().unwrap().jitter, 0);
    }
}
