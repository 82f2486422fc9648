//! Loss concealment in the manner of G.711 Appendix I, at any rate: the last pitch period goes on, fading to silence within 60 ms, and
//! received sound fades back in. For codecs that have none of their own.

use super::alike::Sketch;
use super::line::Line;
use crate::units::Rate;

/// Pitch periods, ms.
const SHORTEST_MS: usize = 5;
const LONGEST_MS: usize = 15;
/// What the pitch is searched in, ms.
const SEARCH_MS: usize = 20;
/// Where no sample is larger, any period will do.
const QUIET: u16 = 50;
/// Over which made and received sound overlap, ms.
const OVERLAP_MS: usize = 4;
/// The sound fades by a fifth of itself each 10 ms after the first 10.
const FADE_PER_10_MS: i32 = 6554;
const FULL: i32 = 32768;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Concealer {
    /// The last two pitch periods before the loss, the newer one behind.
    periods: Box<[i16]>,
    /// Length of one, while something is missing.
    pitch: Option<usize>,
    /// Samples made since the loss began.
    made: usize,
    rate: Rate,
}

impl Concealer {
    /// For rates up to `highest`.
    pub(super) fn new(highest: Rate) -> Self {
        Self { periods: vec![0; highest.ms(2 * LONGEST_MS)].into(), pitch: None, made: 0, rate: highest }
    }

    /// Whether something was made up and nothing has been received since.
    pub(super) fn active(&self) -> bool {
        self.pitch.is_some()
    }

    /// Nothing is missing any more, and nothing is to be faded.
    pub(super) fn end(&mut self) {
        self.pitch = None;
    }

    /// Something is missing behind the end of `line`; nothing new if it was already.
    pub(super) fn begin(&mut self, line: &Line) {
        if self.pitch.is_none() {
            self.rate = line.rate();
            let (pitch, longest) = (find_pitch(line), self.rate.ms(LONGEST_MS));
            self.periods[..2 * longest].copy_from_slice(line.last(2 * longest));
            (self.pitch, self.made) = (Some(pitch), 0);
        }
    }

    /// Makes sound that goes on from there.
    pub(super) fn make(&mut self, out: &mut [i16]) {
        out.iter_mut().for_each(|s| *s = self.next());
    }

    /// Fades received sound in over what would have gone on.
    pub(super) fn merge(&mut self, received: &mut [i16]) {
        if self.pitch.is_none() {
            return;
        }
        let overlap = self.rate.ms(OVERLAP_MS).min(received.len());
        let n = overlap as i32;
        for (i, sample) in received.iter_mut().take(overlap).enumerate() {
            let made = i32::from(self.next());
            let w = i as i32 + 1;
            *sample = ((made * (n - w) + i32::from(*sample) * w) / n) as i16;
        }
        self.pitch = None;
    }

    fn next(&mut self) -> i16 {
        let Some(period) = self.pitch else { return 0 };
        let end = self.rate.ms(2 * LONGEST_MS);
        let (start, offset) = (end - period, self.made % period);
        let mut sample = i32::from(self.periods[start + offset]);
        // The last quarter of each period fades into what came before its start, so that its ends meet.
        let quarter = period / 4;
        if offset >= period - quarter {
            let w = (offset + quarter + 1 - period) as i32;
            let before = i32::from(self.periods[start + offset - period]);
            sample = (sample * (quarter as i32 - w) + before * w) / quarter as i32;
        }
        let block = self.rate.ms(10);
        let gain = match self.made / block {
            0 => FULL,
            blocks => {
                let within = (self.made % block) as i32;
                FULL - FADE_PER_10_MS * (blocks as i32 - 1) - FADE_PER_10_MS * within / block as i32
            }
        };
        self.made = self.made.saturating_add(1);
        (sample * gain.max(0) / FULL) as i16
    }
}

/// The lag at which the end of the line resembles itself most; of those that are about as good, the shortest, as multiples of the pitch score alike.
fn find_pitch(line: &Line) -> usize {
    let rate = line.rate();
    let ms = |ms| Rate::Narrow.ms(ms);
    let found = Sketch::new(line.last(rate.ms(SEARCH_MS + LONGEST_MS)), rate, QUIET).and_then(|sketch| {
        let starts = (0..=ms(LONGEST_MS - SHORTEST_MS)).rev();
        let (at, _) = sketch.most_alike(ms(LONGEST_MS), ms(SEARCH_MS), starts, 0.01)?;
        Some((ms(LONGEST_MS) - at) * sketch.step)
    });
    found.unwrap_or(rate.ms(LONGEST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: Rate, from: usize, n: usize) -> Vec<i16> {
        let at = |i| (from + i) as f32 * 100.0 / rate.hz() as f32;
        (0..n).map(|i| (8000.0 * (at(i) * std::f32::consts::TAU).sin()) as i16).collect()
    }

    fn filled(rate: Rate) -> Line {
        let mut line = Line::new(rate);
        let n = rate.ms(100);
        line.room(n).copy_from_slice(&tone(rate, 0, n));
        line.extend(n);
        line
    }

    #[test]
    fn a_lost_frame_of_a_periodic_sound_goes_on_in_phase() {
        for rate in Rate::ALL {
            let mut concealer = Concealer::new(rate);
            let mut made = vec![0; rate.frame()];
            concealer.begin(&filled(rate));
            concealer.make(&mut made);
            let right = tone(rate, rate.ms(100), rate.frame());
            for (i, (m, r)) in made.iter().zip(&right).take(rate.ms(10)).enumerate() {
                assert!((i32::from(*m) - i32::from(*r)).abs() < 600, "{rate:?} sample {i}: {m} for {r}");
            }
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_within_60_ms() {
        let (mut concealer, line) = (Concealer::new(Rate::Wide), filled(Rate::Wide));
        let peaks: Vec<_> = (0..4)
            .map(|_| {
                let mut made = vec![0; Rate::Wide.frame()];
                concealer.begin(&line);
                concealer.make(&mut made);
                made.iter().map(|s| s.unsigned_abs()).max().unwrap()
            })
            .collect();
        assert!(peaks[0] > peaks[1] && peaks[1] > peaks[2], "{peaks:?}");
        assert_eq!(peaks[3], 0);
    }

    #[test]
    fn received_sound_comes_back_without_a_step() {
        for rate in Rate::ALL {
            let mut concealer = Concealer::new(rate);
            let mut made = vec![0; rate.frame()];
            concealer.begin(&filled(rate));
            concealer.make(&mut made);
            let mut back = tone(rate, rate.ms(127), rate.frame());
            concealer.merge(&mut back);
            assert!(!concealer.active());
            let steepest = 8000.0 * std::f32::consts::TAU * 100.0 / rate.hz() as f32;
            let most = steepest * 2.0 + 16_000.0 / rate.ms(OVERLAP_MS) as f32;
            for pair in made.iter().chain(&back).collect::<Vec<_>>().windows(2) {
                let step = f32::from(*pair[0]) - f32::from(*pair[1]);
                assert!(step.abs() < most, "a step of {step}");
            }
        }
    }
}
