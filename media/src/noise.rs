//! Quiet noise: a line on which nobody speaks does not sound dead, and a sender's pause sounds like its background (RFC 3389).

use crate::units::Rate;

/// A source of noise. It is no secret and not random: the same each time.
#[derive(Debug, Clone)]
pub struct Noise {
    state: u32,
    past: i32,
}

impl Default for Noise {
    fn default() -> Self {
        Self { state: 0x2545_f491, past: 0 }
    }
}

impl Noise {
    /// Fills `out` with noise of −`level` dBov (RFC 3389 §3.1), −20 at the loudest; from −91 on: silence. It is duller the higher the rate is, so that it has its
    /// power where a telephone's background has it.
    pub fn fill(&mut self, level: u8, rate: Rate, out: &mut [i16]) {
        if level > 90 {
            return out.fill(0);
        }
        // A smoothed sum of uniform noise; the factors make up for what the smoothing takes.
        let (keep, gain) = match rate {
            Rate::Narrow => (0, 1.0),
            Rate::Wide => (128, 1.732),
            Rate::Full => (213, 3.32),
        };
        // Uniform noise of this amplitude has the wanted root mean square.
        let amplitude = 32768.0 * 10f32.powf(-f32::from(level.max(20)) / 20.0) * 1.732 * gain;
        let scale = (amplitude * 2.0) as i32;
        for sample in out {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let uniform = (((self.state >> 16) as i32 - 32_768) * scale) >> 9;
            self.past = (self.past * keep + uniform * (256 - keep)) / 256;
            *sample = ((self.past + 64) >> 7).clamp(-32_768, 32_767) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_level_is_right_at_every_rate() {
        for rate in Rate::ALL {
            for level in [40u8, 55, 70] {
                let mut out = vec![0; rate.ms(2000)];
                Noise::default().fill(level, rate, &mut out);
                let power: f64 = out.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / out.len() as f64;
                let got = -10.0 * (power / 32768f64.powi(2)).log10();
                assert!((got - f64::from(level)).abs() < 1.5, "{rate:?}: {got:.1} for {level}");
            }
            let mut out = vec![1; 160];
            Noise::default().fill(u8::MAX, rate, &mut out);
            assert!(out.iter().all(|s| *s == 0));
        }
    }
}
