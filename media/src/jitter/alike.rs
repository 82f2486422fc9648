//! Where a sound resembles itself: what pitch is found by. At 8 kHz and 11 bits, whatever the sound has: so a search over 15 ms takes few
//! microseconds, and may be made for every leg of a shard in one tick.

use crate::units::Rate;

/// The longest sound that is searched, ms.
pub(super) const LONGEST_MS: usize = 35;
/// Samples of a millisecond of a sketch.
const MS: usize = Rate::Narrow.ms(1);
/// Bits beside the sign, so that the sum of 20 ms of products fits an `i32`.
const BITS: u32 = 11;

/// A sound in outline.
#[derive(Debug)]
pub(super) struct Sketch {
    samples: [i16; LONGEST_MS * MS],
    len: usize,
    /// Samples of the sound for each of the sketch.
    pub(super) step: usize,
}

impl Sketch {
    /// Of a sound of at most [`LONGEST_MS`]. `None`: no sample is larger than `quiet`, so that every place resembles every other.
    pub(super) fn new(sound: &[i16], rate: Rate, quiet: u16) -> Option<Self> {
        let loudest = sound.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        if loudest <= quiet {
            return None;
        }
        let step = rate.ms(1) / MS;
        let shift = (u16::BITS - loudest.leading_zeros()).saturating_sub(BITS);
        let mut sketch = Self { samples: [0; LONGEST_MS * MS], len: sound.len() / step, step };
        for (sample, group) in sketch.samples.iter_mut().zip(sound.chunks_exact(step)) {
            let sum: i32 = group.iter().map(|s| i32::from(*s)).sum();
            *sample = ((sum / step as i32) >> shift) as i16;
        }
        Some(sketch)
    }

    /// Of the places `at`, that from which on `n` samples resemble those from `to` on most, and how much (normalised correlation, −1 to 1). A later one of `at`
    /// must be better by more than `margin`. All in samples of the sketch.
    pub(super) fn most_alike(
        &self,
        to: usize,
        n: usize,
        at: impl Iterator<Item = usize>,
        margin: f32,
    ) -> Option<(usize, f32)> {
        let all = &self.samples[..self.len];
        let piece = all.get(to..to + n)?;
        let energy = dot(piece, piece) as f32 + 1.0;
        let mut best: Option<(usize, f32)> = None;
        for at in at {
            let Some(other) = all.get(at..at + n) else { continue };
            let (cross, other) = (dot(piece, other) as f32, dot(other, other) as f32 + 1.0);
            let alike = cross / (energy * other).sqrt();
            if best.is_none_or(|(_, before)| alike > before + margin) {
                best = Some((at, alike));
            }
        }
        best
    }
}

/// The sum of products of two pieces of a sketch.
fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_sound_does_not_overflow_and_a_quiet_one_keeps_its_shape() {
        for (loud, quiet) in [(i16::MIN, 400), (i16::MAX, 400), (60, 50)] {
            for rate in Rate::ALL {
                // 5 ms up, 5 ms down.
                let sound: Vec<i16> = (0..rate.ms(LONGEST_MS))
                    .map(|i| if i / rate.ms(5) % 2 == 0 { loud } else { 0 })
                    .collect();
                let sketch = Sketch::new(&sound, rate, quiet).unwrap();
                let (at, alike) = sketch.most_alike(15 * MS, 20 * MS, 0..14 * MS, 0.0).unwrap();
                assert_eq!(at, 5 * MS, "{rate:?} {loud}");
                assert!(alike > 0.99, "{alike}");
            }
        }
    }

    #[test]
    fn silence_resembles_itself_everywhere_and_nothing_is_searched_beyond_the_sound() {
        assert!(Sketch::new(&[50; 280], Rate::Narrow, 50).is_none());
        assert!(Sketch::new(&[-51; 280], Rate::Narrow, 50).is_some());
        let sketch = Sketch::new(&[100; 160], Rate::Narrow, 50).unwrap();
        assert_eq!(sketch.most_alike(100, 100, 0..10, 0.0), None);
        assert_eq!(sketch.most_alike(0, 100, 61..70, 0.0), None);
        assert!(sketch.most_alike(0, 100, 60..70, 0.0).is_some());
    }
}
