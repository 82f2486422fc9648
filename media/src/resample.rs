//! From one rate to another, for who speaks. By rubato's synchronous resampler, in steps of 10 ms: it adds 5 ms of delay.

use crate::units::{LONGEST_FRAME, Rate};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

/// Samples of 10 ms at the highest rate.
const STEP: usize = LONGEST_FRAME / 2;

/// One stream's resampler. Allocates nothing after it is made.
pub struct Resampler {
    inner: Fft<f32>,
    from: Rate,
    to: Rate,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resampler({:?} to {:?})", self.from, self.to)
    }
}

impl Resampler {
    /// A resampler with nothing in it. `None` when both rates are the same.
    pub fn new(from: Rate, to: Rate) -> Option<Self> {
        let (hz_in, hz_out) = (from.hz() as usize, to.hz() as usize);
        let inner =
            Fft::new_custom(hz_in, hz_out, from.ms(10), 1, 1, rubato::WindowFunction::Hann2, FixedSync::Both);
        // These few pairs of rates are all known to work (a test makes each).
        inner.ok().filter(|_| from != to).map(|inner| Self { inner, from, to })
    }

    /// Takes whole multiples of 10 ms and gives as much.
    pub fn process(&mut self, pcm: &[i16], out: &mut [i16]) {
        let (mut input, mut output) = ([0f32; STEP], [0f32; STEP]);
        let (n, m) = (self.from.ms(10), self.to.ms(10));
        for (pcm, out) in pcm.chunks_exact(n).zip(out.chunks_exact_mut(m)) {
            input.iter_mut().zip(pcm).for_each(|(i, s)| *i = f32::from(*s));
            let from = InterleavedSlice::new(&input[..n], 1, n);
            let to = InterleavedSlice::new_mut(&mut output[..m], 1, m);
            let (Ok(from), Ok(mut to)) = (from, to) else { return };
            let done = self.inner.process_into_buffer(&from, &mut to, None);
            debug_assert_eq!(done.ok(), Some((n, m)));
            // `as` saturates.
            out.iter_mut().zip(&output[..m]).for_each(|(o, s)| *o = s.round() as i16);
        }
    }

    /// How much later what goes in comes out, samples of the rate at which it does.
    pub fn delay(&self) -> usize {
        self.inner.output_delay()
    }

    /// Forgets what went in.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

/// Turns a whole recording into another rate, from its beginning: what the resampler delays is cut off.
pub fn whole(pcm: &[i16], from: Rate, to: Rate) -> Vec<i16> {
    let Some(mut resampler) = Resampler::new(from, to) else { return pcm.to_vec() };
    let delay = resampler.delay();
    let wanted = pcm.len() * to.hz() as usize / from.hz() as usize;
    let mut padded = pcm.to_vec();
    padded.resize((pcm.len() + from.ms(10)).next_multiple_of(from.ms(10)), 0);
    let mut out = vec![0; padded.len() * to.hz() as usize / from.hz() as usize];
    resampler.process(&padded, &mut out);
    out.drain(..delay);
    out.truncate(wanted);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: Rate, hz: f32, n: usize) -> Vec<i16> {
        (0..n)
            .map(|i| (10_000.0 * (std::f32::consts::TAU * hz * i as f32 / rate.hz() as f32).sin()) as i16)
            .collect()
    }

    #[test]
    fn a_tone_comes_out_as_the_same_tone_at_each_rate_and_nothing_else_does() {
        for from in Rate::ALL {
            for to in Rate::ALL {
                for hz in [300.0, 1000.0, 3000.0, 3400.0] {
                    let (said, ideal) = (tone(from, hz, from.ms(400)), tone(to, hz, to.ms(400)));
                    let heard = whole(&said, from, to);
                    assert_eq!(heard.len(), ideal.len());
                    let middle = to.ms(50)..to.ms(350);
                    let noise: f64 = heard[middle.clone()]
                        .iter()
                        .zip(&ideal[middle])
                        .map(|(h, i)| (f64::from(*h) - f64::from(*i)).powi(2))
                        .sum();
                    let ratio = 10.0 * (5e7 * to.ms(300) as f64 / noise.max(1.0)).log10();
                    assert!(ratio > 60.0, "{from:?} to {to:?} at {hz} Hz: {ratio:.0} dB");
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_does_not_come_back_as_something_else() {
        for (from, to, hz) in [
            (Rate::Full, Rate::Narrow, 5000.0),
            (Rate::Wide, Rate::Narrow, 5000.0),
            (Rate::Full, Rate::Wide, 9500.0),
        ] {
            let heard = whole(&tone(from, hz, from.ms(400)), from, to);
            let power: f64 = heard[to.ms(50)..to.ms(350)].iter().map(|s| f64::from(*s).powi(2)).sum();
            let ratio = 10.0 * (5e7 * to.ms(300) as f64 / power.max(1.0)).log10();
            assert!(ratio > 60.0, "{from:?} to {to:?} at {hz} Hz: {ratio:.0} dB");
        }
    }
}
