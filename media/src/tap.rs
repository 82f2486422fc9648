//! What one leg says, for somebody outside the shard: over a ring, at 8 kHz. Whoever reads too late loses the newest of it; the shard never waits.

use crate::resample::Resampler;
use crate::units::Rate;
use rtrb::{Consumer, Producer, RingBuffer};

/// The shard's end.
pub struct Tap {
    ring: Producer<i16>,
    /// From each rate at which a leg may speak.
    resamplers: [Option<Resampler>; Rate::ALL.len()],
}

/// The other end.
pub struct Tapped(Consumer<i16>);

/// Both ends of a tap that keeps so many milliseconds.
pub fn tap(ms: usize) -> (Tap, Tapped) {
    let (ring, tapped) = RingBuffer::new(Rate::Narrow.ms(ms));
    let resamplers = Rate::ALL.map(|rate| Resampler::new(rate, Rate::Narrow));
    (Tap { ring, resamplers }, Tapped(tapped))
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tap(..)")
    }
}

impl std::fmt::Debug for Tapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tapped(..)")
    }
}

impl Tap {
    /// Takes a frame at `rate`. What there is no room for is lost.
    pub fn take(&mut self, frame: &[i16], rate: Rate) {
        let mut narrow = [0; Rate::Narrow.frame()];
        let frame = match &mut self.resamplers[rate as usize] {
            Some(resampler) => {
                resampler.process(frame, &mut narrow);
                &narrow[..]
            }
            None => frame,
        };
        let room = self.ring.slots().min(frame.len());
        if let Ok(mut chunk) = self.ring.write_chunk(room) {
            let (first, second) = chunk.as_mut_slices();
            let (head, tail) = frame[..room].split_at(first.len());
            first.copy_from_slice(head);
            second.copy_from_slice(tail);
            chunk.commit_all();
        }
    }
}

impl Tapped {
    /// What was said since it was last asked.
    pub fn take(&mut self) -> Vec<i16> {
        let said = self.0.slots();
        let mut all = Vec::with_capacity(said);
        if let Ok(chunk) = self.0.read_chunk(said) {
            let (first, second) = chunk.as_slices();
            all.extend_from_slice(first);
            all.extend_from_slice(second);
            chunk.commit_all();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_any_rate_is_had_at_8_khz_and_what_there_is_no_room_for_is_lost() {
        for rate in Rate::ALL {
            let (mut tap, mut tapped) = tap(100);
            let tone = |n: usize| {
                (9000.0 * (500.0 * n as f64 / f64::from(rate.hz()) * std::f64::consts::TAU).sin()) as i16
            };
            let pcm: Vec<i16> = (0..rate.ms(140)).map(tone).collect();
            pcm.chunks(rate.frame()).for_each(|frame| tap.take(frame, rate));
            let had = tapped.take();
            assert_eq!(had.len(), Rate::Narrow.ms(100), "{rate:?}");
            let middle = &had[Rate::Narrow.ms(40)..Rate::Narrow.ms(80)];
            let power = middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64;
            assert!((power / (9000f64.powi(2) / 2.0) - 1.0).abs() < 0.05, "{rate:?}: {power}");
            assert!(tapped.take().is_empty());
            tap.take(&pcm[..rate.frame()], rate);
            assert_eq!(tapped.take().len(), Rate::Narrow.frame(), "and it goes on");
        }
    }
}
