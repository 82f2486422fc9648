//! Noise behind who speaks, taken away: WebRTC's noise suppressor (sonora-ns) at each of our rates.
//!
//! It knows frames of 160 samples. At 16 kHz those are 10 ms, as it was made for. At 8 kHz they are 20 ms: it looks at twice as long a piece in twice as fine
//! bands, and needs no other rate in between. At 48 kHz what is below 8 kHz goes through it at 16 kHz, and what is above gets the gain that it has for that. What goes in comes out
//! 12 ms later at 8 kHz, 6 ms at 16 kHz, 16 ms at 48 kHz.

use crate::resample::Resampler;
use crate::units::Rate;
use sonora_ns::config::{NS_FRAME_SIZE, NsConfig, OVERLAP_SIZE, SuppressionLevel};
use sonora_ns::noise_suppressor::NoiseSuppressor;

/// By how much noise is made softer at most: 12 dB. More takes something of the voice with it.
const LEVEL: SuppressionLevel = SuppressionLevel::K12dB;
/// Bands: what is below 8 kHz, and what is above.
const BANDS: usize = 2;
/// Samples of 10 ms at 48 kHz.
const STEP: usize = Rate::Full.ms(10);

/// One speaker's. Allocates nothing after it is made.
#[derive(Debug)]
pub struct Suppressor {
    inner: NoiseSuppressor,
    split: Split,
}

impl Default for Suppressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Suppressor {
    /// One that knows of no noise yet; within a second it does.
    pub fn new() -> Self {
        let inner = NoiseSuppressor::new_with_bands(NsConfig { target_level: LEVEL }, BANDS);
        Self { inner, split: Split::new() }
    }

    /// Takes a tick's frame at `rate` and puts what was said a little earlier in its place, with less noise.
    pub fn process(&mut self, frame: &mut [i16], rate: Rate) {
        let Self { inner, split } = self;
        match rate {
            Rate::Full => frame.chunks_exact_mut(STEP).for_each(|step| split.process(step, inner)),
            Rate::Narrow | Rate::Wide => {
                for piece in frame.chunks_exact_mut(NS_FRAME_SIZE) {
                    let mut sound = floats(piece);
                    inner.analyze(&sound);
                    inner.process(&mut sound);
                    // `as` saturates.
                    piece.iter_mut().zip(sound).for_each(|(s, f)| *s = f.round() as i16);
                }
            }
        }
    }
}

fn floats(piece: &[i16]) -> [f32; NS_FRAME_SIZE] {
    let mut sound = [0.0; NS_FRAME_SIZE];
    sound.iter_mut().zip(piece).for_each(|(f, s)| *f = f32::from(*s));
    sound
}

/// Sound of 48 kHz in two bands. The upper one is what is left of the whole without the lower one: so nothing is lost between them.
#[derive(Debug)]
struct Split {
    down: Option<Resampler>,
    up: Option<Resampler>,
    /// The last of the lower band, until the suppressor gives it back.
    low: [f32; OVERLAP_SIZE],
    /// The last of the whole, until its lower band has come back.
    whole: Box<[i16]>,
    /// The upper band's gain in this step and the two before it.
    gains: [f32; 3],
    /// Samples of 48 kHz that the way back to 48 kHz takes.
    back: usize,
}

impl Split {
    fn new() -> Self {
        let (down, up) = (Resampler::new(Rate::Full, Rate::Wide), Resampler::new(Rate::Wide, Rate::Full));
        let ratio = Rate::Full.ms(1) / Rate::Wide.ms(1);
        let back = up.as_ref().map_or(0, Resampler::delay);
        let there = down.as_ref().map_or(0, Resampler::delay) * ratio;
        let whole = vec![0; there + OVERLAP_SIZE * ratio + back].into();
        Self { down, up, low: [0.0; OVERLAP_SIZE], whole, gains: [1.0; 3], back }
    }

    fn process(&mut self, step: &mut [i16], inner: &mut NoiseSuppressor) {
        // These two are always there.
        let (Some(down), Some(up)) = (&mut self.down, &mut self.up) else { return };
        let mut low = [0i16; NS_FRAME_SIZE];
        down.process(step, &mut low);
        let low = floats(&low);
        let mut clean = low;
        inner.analyze(&clean);
        inner.process(&mut clean);
        self.gains = [self.gains[1], self.gains[2], inner.upper_band_gain()];
        let [before, last, now] = self.gains;

        // What the lower band has too little of by the upper one's gain, or too much.
        let mut change = [0i16; NS_FRAME_SIZE];
        let earlier = self.low.iter().chain(&low[..NS_FRAME_SIZE - OVERLAP_SIZE]);
        for (i, ((change, clean), low)) in change.iter_mut().zip(clean).zip(earlier).enumerate() {
            let gain = between(last, now, i as f32 / NS_FRAME_SIZE as f32);
            *change = (clean - gain * low).round() as i16;
        }
        self.low.copy_from_slice(&low[NS_FRAME_SIZE - OVERLAP_SIZE..]);
        let mut changed = [0i16; STEP];
        up.process(&change, &mut changed);

        // The whole of as long ago, with the gain that it was counted with then.
        let kept = self.whole.len();
        let mut whole = [0i16; STEP];
        let from_kept = kept.min(STEP);
        whole[..from_kept].copy_from_slice(&self.whole[..from_kept]);
        self.whole.copy_within(from_kept.., 0);
        self.whole[kept - from_kept..].copy_from_slice(&step[STEP - from_kept..]);
        for (i, ((out, whole), changed)) in step.iter_mut().zip(whole).zip(changed).enumerate() {
            let gain = match i.checked_sub(self.back) {
                None => between(before, last, (i + STEP - self.back) as f32 / STEP as f32),
                Some(i) => between(last, now, i as f32 / STEP as f32),
            };
            *out = (f32::from(changed) + gain * f32::from(whole)).round() as i16;
        }
    }
}

fn between(from: f32, to: f32, part: f32) -> f32 {
    from + (to - from) * part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const SECONDS: usize = 6;
    /// A voice speaks for so long and is silent for as long, ms.
    const PHRASE: usize = 400;

    /// A buzz of many harmonics, louder and softer as syllables are, in phrases.
    fn voice(rate: Rate) -> Vec<i16> {
        let one = |i: usize| {
            let t = i as f32 / rate.hz() as f32;
            let ms = i * 1000 / rate.hz() as usize;
            if (ms / PHRASE).is_multiple_of(2) {
                return 0;
            }
            let syllable = 0.6 + 0.4 * (std::f32::consts::TAU * 5.0 * t).sin();
            let pitch = 130.0 + 20.0 * (std::f32::consts::TAU * 1.3 * t).sin();
            let buzz: f32 =
                (1..24).map(|h| (std::f32::consts::TAU * pitch * h as f32 * t).sin() / h as f32).sum();
            (buzz * syllable * 4000.0) as i16
        };
        (0..rate.ms(1000 * SECONDS)).map(one).collect()
    }

    fn processed(sound: &[i16], rate: Rate) -> Vec<i16> {
        let mut suppressor = Suppressor::new();
        let mut out = sound.to_vec();
        out.chunks_exact_mut(rate.frame()).for_each(|frame| suppressor.process(frame, rate));
        out
    }

    fn level(sound: &[i16]) -> f64 {
        let power: f64 = sound.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / sound.len() as f64;
        10.0 * (power.max(0.01) / 32768f64.powi(2)).log10()
    }

    fn delay(rate: Rate) -> usize {
        match rate {
            Rate::Narrow | Rate::Wide => OVERLAP_SIZE,
            Rate::Full => rate.ms(16),
        }
    }

    #[test]
    fn noise_between_phrases_gets_softer_and_the_voice_stays_as_loud() {
        for rate in Rate::ALL {
            let mut noise = vec![0; rate.ms(1000 * SECONDS)];
            Noise::default().fill(45, rate, &mut noise);
            let sound: Vec<i16> = voice(rate).iter().zip(&noise).map(|(v, n)| v.saturating_add(*n)).collect();
            let out = processed(&sound, rate);
            // The last pause and the last phrase, without their edges.
            let pause = rate.ms(4 * 1000 + 850)..rate.ms(4 * 1000 + 1150);
            let phrase = rate.ms(4 * 1000 + 450)..rate.ms(4 * 1000 + 750);
            let (quieter, voice) = (
                level(&sound[pause.clone()]) - level(&out[pause]),
                level(&out[phrase.clone()]) - level(&sound[phrase]),
            );
            assert!(quieter > 8.0, "{rate:?}: noise by {quieter:.1} dB softer");
            assert!(voice.abs() < 2.0, "{rate:?}: the voice by {voice:.1} dB louder");
        }
    }

    #[test]
    fn a_voice_without_noise_comes_out_as_it_was_and_as_much_later_as_is_said() {
        for rate in Rate::ALL {
            let sound = voice(rate);
            let out = processed(&sound, rate);
            let phrase = rate.ms(4 * 1000 + 450)..rate.ms(4 * 1000 + 750);
            let later = |by: usize| &out[phrase.start + by..phrase.end + by];
            let alike = |by: usize| {
                let pairs = sound[phrase.clone()].iter().zip(later(by));
                let cross: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let energy = |s: &[i16]| s.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
                cross / (energy(&sound[phrase.clone()]) * energy(later(by))).sqrt()
            };
            let best = (0..rate.ms(20)).max_by(|a, b| alike(*a).total_cmp(&alike(*b))).unwrap();
            assert!(best.abs_diff(delay(rate)) <= 1, "{rate:?}: {best} samples later");
            // A steady buzz is half a noise to it.
            assert!(alike(best) > 0.9, "{rate:?}: {:.3}", alike(best));
        }
    }

    #[test]
    fn what_lies_above_8_khz_is_not_lost() {
        // A hiss above 8 kHz that comes and goes with the voice.
        let rate = Rate::Full;
        let hiss = |i: usize| if i % 4 < 2 { 1500 } else { -1500 };
        let sound: Vec<i16> =
            voice(rate).iter().enumerate().map(|(i, v)| if *v == 0 { 0 } else { v + hiss(i) }).collect();
        let high = |sound: &[i16]| {
            let differences: Vec<i16> =
                sound.windows(3).map(|w| (w[0] / 2).saturating_sub(w[2] / 2)).collect();
            level(&differences)
        };
        let phrase = rate.ms(4 * 1000 + 450)..rate.ms(4 * 1000 + 750);
        let lost = high(&sound[phrase.clone()]) - high(&processed(&sound, rate)[phrase]);
        assert!(lost < 3.0, "{lost:.1} dB");
    }

    #[test]
    fn silence_stays_silence_and_the_loudest_sound_does_not_turn_over() {
        for rate in Rate::ALL {
            assert!(processed(&vec![0; rate.ms(500)], rate).iter().all(|s| *s == 0));
            let loud: Vec<i16> = voice(rate).iter().map(|v| v.saturating_mul(8)).collect();
            let out = processed(&loud, rate);
            let phrase = rate.ms(4 * 1000 + 450)..rate.ms(4 * 1000 + 750);
            let jumps = |sound: &[i16]| sound.windows(2).filter(|w| w[0].abs_diff(w[1]) > 50_000).count();
            assert!(level(&out[phrase.clone()]) > -12.0, "{rate:?}");
            assert!(jumps(&out[phrase.clone()]) <= jumps(&loud[phrase]), "{rate:?}");
        }
    }
}
