//! How well a leg is heard: the E-model (ITU-T G.107, with G.113's figures for G.711) from loss, jitter and round trip.

use crate::roster::Quality;
use media::Report;
use std::time::Duration;

/// What is kept between two reports.
#[derive(Debug, Default)]
pub(super) struct Meter {
    expected: u64,
    lost: u64,
    concealed: u64,
    /// Loss of the last reports, exponentially weighted.
    loss: f32,
}

impl Meter {
    /// Takes a leg's report.
    pub(super) fn take(&mut self, report: &Report, round_trip: Option<Duration>) -> Option<Quality> {
        let block = report.block?;
        let expected = block.expected.saturating_sub(self.expected);
        // A packet that came too late to be played is as lost as one that never came: what was concealed counts.
        let concealed = report.jitter.concealed.saturating_sub(self.concealed);
        let lost = block.lost().saturating_sub(self.lost).max(concealed.min(expected));
        (self.expected, self.lost, self.concealed) = (block.expected, block.lost(), report.jitter.concealed);
        if expected > 0 {
            let now = 100.0 * lost as f32 / expected as f32;
            self.loss = self.loss * 0.8 + now.min(100.0) * 0.2;
        }
        let jitter = block.jitter as f32 * 1000.0 / report.clock as f32;
        let one_way =
            round_trip.map_or(0.0, |r| r.as_secs_f32() * 500.0) + 20.0 + report.delay.0 as f32 / 1e6;
        Some(Quality {
            mos: (mos(one_way, self.loss) * 10.0).round() / 10.0,
            loss: (self.loss * 10.0).round() / 10.0,
            jitter: jitter.round(),
        })
    }
}

/// Mean opinion score for a one-way delay (ms) and a loss (percent) of G.711 with concealment.
fn mos(delay: f32, loss: f32) -> f32 {
    // G.107 §7.4 in its usual short form, and G.113: Ie 0, Bpl 25.1 for G.711 with Appendix I.
    let delayed = 0.024 * delay + if delay > 177.3 { 0.11 * (delay - 177.3) } else { 0.0 };
    let r = (93.2 - delayed - 95.0 * loss / (loss + 25.1)).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_g_107s() {
        assert!((mos(20.0, 0.0) - 4.4).abs() < 0.05);
        assert!((3.9..4.3).contains(&mos(20.0, 3.0)), "{}", mos(20.0, 3.0));
        assert!(mos(400.0, 0.0) < 3.8 && mos(20.0, 50.0) < 2.0);
    }
}
