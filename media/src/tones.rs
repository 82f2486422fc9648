//! Keys that come as tones in the audio (ITU-T Q.23, received by Q.24's tolerances), for phones that agree on no telephone events.
//!
//! A key is two tones, one of four low and one of four high frequencies. Blocks of 13 ms are looked at; two in a row with the same
//! key, and no other of the eight frequencies nearly as strong, make it one. Speech has more in it than two tones.

use crate::codec::{FRAME, Frame};
use crate::dtmf::Digit;
use crate::level::Level;
use std::f32::consts::TAU;

/// Samples in a block: so many that a neighbouring frequency falls in the first gap of the filter's response, and one that is 1.5 % off
/// is still in its main part.
const BLOCK: usize = 102;
const RATE: f32 = 8000.0;
const LOW: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Rows are the low frequency, columns the high one.
const KEYS: [[u8; 4]; 4] = [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];
/// Softer frames have no tones (Q.24: −25 dBm0 must be received, −29 dBm0 need not).
const SOFTEST: Level = Level(-45.0);
/// The high tone may be this much louder, and the low one that much: power ratios of 4 dB and 8 dB.
const TWIST: (f32, f32) = (2.5, 6.3);
/// The strongest of four must be this much stronger than the others: 8 dB.
const ALONE: f32 = 6.3;
/// Part of a block's energy that the two tones must have.
const MOST_OF_IT: f32 = 0.7;

/// Recognises keys in one leg's audio.
#[derive(Debug)]
pub struct ToneReceiver {
    /// Goertzel's factor of each frequency, 2 cos ω, and its two values: side by side, so that all eight go on at once.
    factors: [f32; 8],
    states: [[f32; 8]; 2],
    energy: f32,
    filled: usize,
    /// The key in the last block.
    last: Option<u8>,
    /// The key that is being pressed and was told.
    current: Option<u8>,
    /// Nothing was heard since the state was cleared.
    idle: bool,
}

impl Default for ToneReceiver {
    fn default() -> Self {
        let mut factors = [0.0; 8];
        factors
            .iter_mut()
            .zip(LOW.iter().chain(&HIGH))
            .for_each(|(f, hz)| *f = 2.0 * (TAU * hz / RATE).cos());
        Self { factors, states: [[0.0; 8]; 2], energy: 0.0, filled: 0, last: None, current: None, idle: true }
    }
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tones {
    /// There are a key's tones in it: it is not for the others' ears.
    pub present: bool,
    /// A key that was pressed just now.
    pub key: Option<Digit>,
}

impl ToneReceiver {
    /// Takes the next frame, whose level is known.
    pub fn push(&mut self, frame: &[i16], level: Level) -> Tones {
        let mut tones = Tones { present: self.current.is_some(), key: None };
        if level < SOFTEST {
            if !self.idle {
                (self.last, self.current, self.idle) = (None, None, true);
                self.begin();
            }
            return Tones { present: false, key: None };
        }
        self.idle = false;
        let mut rest = frame;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(BLOCK - self.filled));
            self.take(part);
            rest = after;
            if self.filled == BLOCK {
                let key = self.key();
                tones.present |= key.is_some();
                if key == self.last && key != self.current {
                    self.current = key;
                    tones.key = key.map(Digit::new);
                }
                self.last = key;
                self.begin();
            }
        }
        tones
    }

    /// Some samples of a block.
    fn take(&mut self, samples: &[i16]) {
        let [mut last, mut before] = self.states;
        for sample in samples {
            let sample = f32::from(*sample);
            self.energy += sample * sample;
            let mut next = [0.0; 8];
            for n in 0..8 {
                next[n] = sample + self.factors[n] * last[n] - before[n];
            }
            (before, last) = (last, next);
        }
        self.states = [last, before];
        self.filled += samples.len();
    }

    /// A new block.
    fn begin(&mut self) {
        (self.states, self.energy, self.filled) = ([[0.0; 8]; 2], 0.0, 0);
    }

    /// The key whose tones the block has.
    fn key(&self) -> Option<u8> {
        let [last, before] = &self.states;
        let powers: [f32; 8] = std::array::from_fn(|n| {
            let (a, b) = (last[n], before[n]);
            a * a + b * b - self.factors[n] * a * b
        });
        let (low, high) = (strongest(&powers[..4])?, strongest(&powers[4..])?);
        let (l, h) = (powers[low], powers[4 + high]);
        // A tone of amplitude A has power (A × BLOCK / 2)² here, and energy A² × BLOCK / 2.
        let part = (l + h) * 2.0 / BLOCK as f32;
        let right = h <= l * TWIST.0 && l <= h * TWIST.1 && part >= MOST_OF_IT * self.energy;
        right.then_some(KEYS[low][high])
    }
}

/// The place of the one that is clearly stronger than all others.
fn strongest(powers: &[f32]) -> Option<usize> {
    let best = (0..powers.len()).max_by(|a, b| powers[*a].total_cmp(&powers[*b]))?;
    let alone = (0..powers.len()).all(|i| i == best || powers[i] * ALONE <= powers[best]);
    alone.then_some(best)
}

/// The tones of a key by its event number (RFC 4733 §3.2), from sample `from` on; `None`: there is no such key.
pub fn frame_of(event: u8, from: usize) -> Option<Frame> {
    let row = KEYS.iter().position(|row| row.contains(&event))?;
    let column = KEYS[row].iter().position(|key| *key == event)?;
    let mut frame = [0; FRAME];
    for (n, sample) in frame.iter_mut().enumerate() {
        let tone = |hz: f32| (TAU * hz * (from + n) as f32 / RATE).sin();
        *sample = (4000.0 * (tone(LOW[row]) + tone(HIGH[column]))) as i16;
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    /// Two tones over `ms`, with what a line does to them.
    #[derive(Clone, Copy)]
    struct Press {
        key: usize,
        ms: usize,
        off: f32,
        /// The high tone's level over the low one's, dB.
        twist: f32,
        level: f32,
        noise: f32,
    }

    const PLAIN: Press = Press { key: 5, ms: 80, off: 0.0, twist: 0.0, level: 3000.0, noise: 0.0 };

    fn samples(press: Press, phase: f32) -> Vec<f32> {
        let (row, column) =
            (0..16).map(|n| (n / 4, n % 4)).find(|(r, c)| KEYS[*r][*c] == press.key as u8).unwrap();
        let gain = 10f32.powf(press.twist / 40.0);
        let mut random = 1u32;
        (0..press.ms * 8)
            .map(|n| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (random >> 8) as f32 / (1 << 23) as f32 - 1.0;
                let tone = |hz: f32| (TAU * hz * (1.0 + press.off) * n as f32 / RATE + phase).sin();
                press.level * (tone(LOW[row]) / gain + tone(HIGH[column]) * gain) + press.noise * noise
            })
            .collect()
    }

    fn keys(samples: impl IntoIterator<Item = f32>) -> String {
        let mut receiver = ToneReceiver::default();
        let samples: Vec<i16> = samples.into_iter().map(|s| s as i16).collect();
        frames(&samples).filter_map(|f| receiver.push(&f, Level::of(&f)).key).map(Digit::key).collect()
    }

    /// Through G.711, as a caller's audio comes.
    fn frames(samples: &[i16]) -> impl Iterator<Item = Frame> {
        samples.chunks_exact(FRAME).map(|chunk| {
            let (mut coded, mut frame) = ([0; FRAME], [0; FRAME]);
            Codec::Pcmu.encode_plain(chunk, &mut coded);
            Codec::Pcmu.decode_plain(&coded, &mut frame);
            frame
        })
    }

    /// Silence of some ms, so that blocks lie anywhere on the tone.
    fn pause(ms: usize) -> impl Iterator<Item = f32> {
        std::iter::repeat_n(0.0, ms * 8)
    }

    fn pressed(press: Press) -> String {
        let parts = [pause(47).collect(), samples(press, 0.7), pause(60).collect::<Vec<_>>()];
        keys(parts.concat())
    }

    #[test]
    fn every_key_is_read_once_however_long_it_is_pressed() {
        for (key, name) in "0123456789*#ABCD".chars().enumerate() {
            for ms in [50, 80, 400, 2000] {
                assert_eq!(pressed(Press { key, ms, ..PLAIN }), name.to_string(), "{name} {ms} ms");
            }
        }
    }

    #[test]
    fn the_same_key_twice_is_two_keys() {
        let one = || samples(PLAIN, 0.1);
        let all = [one(), pause(60).collect(), one(), pause(60).collect(), one(), pause(80).collect()];
        assert_eq!(keys(all.concat()), "555");
    }

    #[test]
    fn tones_within_q_24_are_read_and_outside_of_it_not() {
        for (off, twist, level, noise) in [
            (0.015, 0.0, 3000.0, 0.0),
            (-0.015, 0.0, 3000.0, 0.0),
            (0.0, 3.0, 3000.0, 0.0),
            (0.0, -7.0, 3000.0, 0.0),
            (0.0, 0.0, 400.0, 0.0),
            (0.0, 0.0, 12_000.0, 0.0),
            (0.01, 2.0, 3000.0, 900.0),
        ] {
            let press = Press { off, twist, level, noise, ..PLAIN };
            assert_eq!(pressed(press), "5", "{off} {twist} {level} {noise}");
        }
        for (ms, off, twist, level, noise) in [
            (15, 0.0, 0.0, 3000.0, 0.0),
            (80, 0.045, 0.0, 3000.0, 0.0),
            (80, -0.045, 0.0, 3000.0, 0.0),
            (80, 0.0, 9.0, 3000.0, 0.0),
            (80, 0.0, -12.0, 3000.0, 0.0),
            (80, 0.0, 0.0, 40.0, 0.0),
            (80, 0.0, 0.0, 3000.0, 12_000.0),
        ] {
            let press = Press { ms, off, twist, level, noise, ..PLAIN };
            assert_eq!(pressed(press), "", "{ms} ms {off} {twist} {level} {noise}");
        }
    }

    #[test]
    fn frames_with_a_keys_tones_are_named_so_that_nobody_hears_them() {
        let parts =
            [pause(47).collect(), samples(Press { ms: 200, ..PLAIN }, 0.7), pause(60).collect::<Vec<_>>()];
        let samples: Vec<i16> = parts.concat().into_iter().map(|s| s as i16).collect();
        let mut receiver = ToneReceiver::default();
        let (mut heard, mut loud) = (0, 0);
        for frame in frames(&samples) {
            let present = receiver.push(&frame, Level::of(&frame)).present;
            if Level::of(&frame).0 > -30.0 {
                loud += 1;
                heard += usize::from(!present);
            }
        }
        assert!(loud >= 10 && heard <= 1, "{heard} of {loud}");
    }

    #[test]
    fn one_tone_alone_and_noise_are_no_key() {
        let tone = |hz: f32| (0..4000).map(move |n| 5000.0 * (TAU * hz * n as f32 / RATE).sin());
        for hz in LOW.iter().chain(&HIGH) {
            assert_eq!(keys(tone(*hz)), "", "{hz} Hz");
        }
        assert_eq!(keys(samples(Press { ms: 5000, level: 0.0, noise: 9000.0, ..PLAIN }, 0.0)), "");
    }

    /// Real speech and music, where they are at hand.
    #[test]
    fn speech_and_music_are_no_keys() {
        let folders = ["../shared/data/speech", "bridge/assets/speech"];
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut seconds = 0;
        for folder in folders.map(|f| here.join(f)) {
            for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let bytes = std::fs::read(file.path()).unwrap();
                if file.path().extension().is_none_or(|e| e != "wav") {
                    continue;
                }
                let rate = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
                let all: Vec<f32> = bytes[44..]
                    .chunks_exact(2)
                    .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])))
                    .collect();
                let step = (rate / 8000) as usize;
                let at_8k: Vec<f32> =
                    all.chunks_exact(step).map(|c| c.iter().sum::<f32>() / step as f32).collect();
                seconds += at_8k.len() / 8000;
                for gain in [0.5, 1.0, 3.0] {
                    let louder = at_8k.iter().map(|s| (s * gain).clamp(-32_000.0, 32_000.0));
                    assert_eq!(keys(louder), "", "{}", file.path().display());
                }
            }
        }
        assert!(seconds > 10, "the demo's speech at least is there: {seconds} s");
    }
}
