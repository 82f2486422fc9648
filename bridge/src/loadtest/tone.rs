//! A talker's tone, and who is heard in a frame.

use media::codec::FRAME;
use media::{Codec, Rate};

/// One frequency for each talker of a conference, Hz: multiples of 50, so that 20 ms hold whole periods.
pub(super) const FREQUENCIES: [f32; 4] = [500.0, 800.0, 1250.0, 1700.0];
const AMPLITUDE: f32 = 6000.0;

/// One frame of a talker's tone; it repeats without a step.
pub(super) fn frame(talker: usize) -> [u8; FRAME] {
    let samples: [i16; FRAME] = std::array::from_fn(|n| {
        let phase = std::f32::consts::TAU * FREQUENCIES[talker] * n as f32 / 8000.0;
        (AMPLITUDE * phase.sin()) as i16
    });
    let mut encoded = [0; FRAME];
    Codec::Pcmu.encode_plain(&samples, &mut encoded);
    encoded
}

/// The same as linear samples at a rate.
pub(super) fn linear(talker: usize, rate: Rate) -> Vec<i16> {
    let turn = std::f32::consts::TAU * FREQUENCIES[talker] / rate.hz() as f32;
    (0..rate.frame()).map(|n| (AMPLITUDE * (turn * n as f32).sin()) as i16).collect()
}

/// Which of the first `talkers` tones are in a frame of 8 kHz (Goertzel), one bit each.
pub(super) fn heard(samples: &[i16; FRAME], talkers: usize) -> u8 {
    let mut bits = 0;
    for (talker, frequency) in FREQUENCIES.iter().take(talkers).enumerate() {
        let coefficient = 2.0 * (std::f32::consts::TAU * frequency / 8000.0).cos();
        let (mut s1, mut s2) = (0.0f32, 0.0f32);
        for sample in samples {
            let s = f32::from(*sample) + coefficient * s1 - s2;
            (s2, s1) = (s1, s);
        }
        let power = (s1 * s1 + s2 * s2 - coefficient * s1 * s2).max(0.0).sqrt() * 2.0 / FRAME as f32;
        if power > AMPLITUDE * 0.4 {
            bits |= 1 << talker;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tone_is_heard_as_itself_alone() {
        for talker in 0..4 {
            let mut samples = [0; FRAME];
            Codec::Pcmu.decode_plain(&frame(talker), &mut samples);
            assert_eq!(heard(&samples, 4), 1 << talker);
            assert_eq!(heard(&linear(talker, Rate::Narrow)[..].try_into().unwrap(), 4), 1 << talker);
        }
        assert_eq!(heard(&[0; FRAME], 4), 0);
    }
}
