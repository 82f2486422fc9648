//! Whether losses come alone or together: bursts and gaps (RFC 3611 §4.7.2), counted as its appendix A.2 does.

use crate::units::Nanos;

/// Frames without loss that end a burst.
pub const GMIN: u64 = 16;
/// A frame, ns and ms.
const FRAME: i64 = 20_000_000;
const FRAME_MS: u64 = 20;

/// See the module's text. Only losses are told to it; what is between them is time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bursts {
    last: Option<Nanos>,
    lost: u64,
    c11: u64,
    c13: u64,
    c14: u64,
    c22: u64,
    c23: u64,
    c33: u64,
}

/// What they come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Part of frames lost in bursts, 256ths.
    pub burst_density: u8,
    /// Part of frames lost in gaps, 256ths.
    pub gap_density: u8,
    /// A burst's mean length, ms; 0: there was none.
    pub burst_ms: u16,
    /// A gap's mean length, ms.
    pub gap_ms: u16,
}

impl Bursts {
    /// A frame was lost, at the tick that wanted it. `since`: when the first one was played.
    pub fn lost(&mut self, now: Nanos, since: Nanos) {
        let before = self.last.replace(now).map_or(now.since(since), |last| now.since(last) - FRAME);
        let between = (before / FRAME).max(0) as u64;
        if between >= GMIN {
            if self.lost == 1 {
                self.c14 += 1
            } else {
                self.c13 += 1
            }
            self.lost = 1;
            self.c11 += between;
        } else {
            self.lost += 1;
            if between == 0 {
                self.c33 += 1;
            } else {
                self.c23 += 1;
                self.c22 += between - 1;
            }
        }
    }

    /// The figures at `now`.
    pub fn figures(&self, now: Nanos, since: Nanos) -> Figures {
        let Self { last, c11, c13, c14, c22, c23, c33, .. } = *self;
        let quiet = last.map_or(now.since(since), |last| now.since(last));
        // What has passed since the last loss is a gap, or will be part of a burst.
        let c11 = c11 + Some((quiet / FRAME).max(0) as u64).filter(|frames| *frames >= GMIN).unwrap_or(0);
        let (c31, c32) = (c13, c23);
        let part = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
        let p32 = part(c32, c31 + c32 + c33);
        let p23 = if c22 + c23 == 0 { 1.0 } else { 1.0 - part(c22, c22 + c23) };
        let in_bursts = c23 + c33 > 0;
        let density = if in_bursts { 256.0 * p23 / (p23 + p32) } else { 0.0 };
        let times = c13.max(1);
        let gap = (c11 + c14 + c13) * FRAME_MS / times;
        let all = (c11 + c14 + c13 + c22 + c23 + c31 + c32 + c33) * FRAME_MS / times;
        let ms = |ms: u64| ms.min(u64::from(u16::MAX)) as u16;
        Figures {
            burst_density: density.min(255.0) as u8,
            gap_density: (256.0 * part(c14, c11 + c14)).min(255.0) as u8,
            burst_ms: if in_bursts { ms(all - gap) } else { 0 },
            gap_ms: ms(gap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frame: u64) -> Nanos {
        Nanos(1_000_000_000 + frame * FRAME as u64)
    }

    fn of(losses: impl IntoIterator<Item = u64>, end: u64) -> Figures {
        let mut bursts = Bursts::default();
        losses.into_iter().for_each(|frame| bursts.lost(at(frame), at(0)));
        bursts.figures(at(end), at(0))
    }

    #[test]
    fn losses_far_apart_are_no_burst() {
        let figures = of((1..=10).map(|n| n * 100), 1100);
        assert_eq!((figures.burst_ms, figures.burst_density), (0, 0));
        // One in a hundred; the first begins a gap.
        assert!((2..=3).contains(&figures.gap_density), "{figures:?}");
        assert_eq!(of([], 500).gap_ms, 10_000);
    }

    #[test]
    fn losses_close_together_are_a_burst() {
        // Four bursts of 10 frames of which every other is lost, every 200.
        let losses = (1..=4).flat_map(|burst| (0..5).map(move |n| burst * 200 + 2 * n));
        let figures = of(losses, 1000);
        assert!((100..=150).contains(&figures.burst_density), "about half: {figures:?}");
        assert!((100..=400).contains(&figures.burst_ms) && figures.gap_ms > 3000, "{figures:?}");
        assert_eq!(figures.gap_density, 0);
        // Whole ones.
        let figures = of((1..=4).flat_map(|burst| (0..5).map(move |n| burst * 200 + n)), 1000);
        assert_eq!(figures.burst_density, 255, "{figures:?}");
    }
}
