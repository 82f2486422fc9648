//! Loss concealment in the manner of G.711 Appendix I: the last pitch period goes on, fading to silence within
//! 60 ms, and received sound fades back in.

use crate::codec::{FRAME, Frame};

/// Samples of past output that are kept: the longest pitch period, twice, and some.
const HISTORY: usize = 400;
const SHORTEST_PITCH: usize = 40;
const LONGEST_PITCH: usize = 120;
/// Samples over which the pitch is searched.
const SEARCH: usize = 160;
/// Samples over which made and received sound overlap.
const OVERLAP: usize = 32;
/// The gain falls by this much each 10 ms after the first 10 (1/5 of full scale).
const FADE_PER_80: i32 = 6554;
const FULL: i32 = 32768;

#[derive(Debug)]
pub(super) struct Concealer {
    history: [i16; HISTORY],
    /// Pitch period in use while concealing, and how far into it the sound has gone.
    pitch: Option<(usize, usize)>,
    /// Samples made since the loss began.
    made: usize,
    muted: bool,
}

impl Default for Concealer {
    fn default() -> Self {
        Self { history: [0; HISTORY], pitch: None, made: 0, muted: false }
    }
}

impl Concealer {
    /// Takes a received frame; after a loss, fades it in over what would have gone on.
    pub(super) fn good(&mut self, frame: &mut Frame) {
        if self.pitch.is_some() {
            for (i, sample) in frame.iter_mut().take(OVERLAP).enumerate() {
                let made = i32::from(self.next_sample());
                let w = i as i32 + 1;
                *sample = ((made * (OVERLAP as i32 - w) + i32::from(*sample) * w) / OVERLAP as i32) as i16;
            }
            self.pitch = None;
        }
        self.made = 0;
        self.muted = false;
        self.remember(frame);
    }

    /// Until the next received frame, what is made is silence.
    pub(super) fn mute(&mut self) {
        self.muted = true;
    }

    pub(super) fn is_muted(&self) -> bool {
        self.muted
    }

    /// Makes a frame that goes on from the last one.
    pub(super) fn conceal(&mut self, frame: &mut Frame) {
        if self.muted {
            frame.fill(0);
            self.history.fill(0);
            return;
        }
        if self.pitch.is_none() {
            self.pitch = Some((self.find_pitch(), 0));
        }
        for sample in frame.iter_mut() {
            *sample = self.next_sample();
        }
    }

    /// Makes the samples that a frame lacks; what is received behind a gap fades in.
    pub(super) fn patch(&mut self, frame: &mut Frame, lacks: &[bool; FRAME]) {
        let mut fade = if self.pitch.is_some() { OVERLAP } else { 0 };
        for (i, (sample, lacking)) in frame.iter_mut().zip(lacks).enumerate() {
            if *lacking {
                if self.pitch.is_none() && !self.muted {
                    // As if it had gone on from the last frame's end.
                    let period = self.find_pitch();
                    self.pitch = Some((period, i % period));
                }
                *sample = self.next_sample();
                fade = OVERLAP;
            } else if fade > 0 {
                let made = i32::from(self.next_sample());
                let w = (OVERLAP - fade) as i32 + 1;
                *sample = ((made * (OVERLAP as i32 - w) + i32::from(*sample) * w) / OVERLAP as i32) as i16;
                fade -= 1;
                if fade == 0 {
                    self.pitch = None;
                    self.made = 0;
                }
            }
        }
        self.muted = false;
        self.remember(frame);
        // The period's start has moved on with the history.
        self.pitch = self.pitch.map(|(period, _)| (period, 0));
    }

    fn next_sample(&mut self) -> i16 {
        let Some((pitch, at)) = self.pitch.as_mut() else { return 0 };
        let (period, offset) = (*pitch, *at);
        *at = (offset + 1) % period;
        let start = HISTORY - period;
        let mut sample = i32::from(self.history[start + offset]);
        // The last quarter of each period fades into what came before its start, so that its ends meet.
        let quarter = period / 4;
        if offset >= period - quarter {
            let w = (offset + quarter + 1 - period) as i32;
            let before = i32::from(self.history[start + offset - period]);
            sample = (sample * (quarter as i32 - w) + before * w) / quarter as i32;
        }
        let gain = match self.made / 80 {
            0 => FULL,
            blocks => FULL - FADE_PER_80 * (blocks as i32 - 1) - FADE_PER_80 * (self.made % 80) as i32 / 80,
        };
        self.made += 1;
        (sample * gain.max(0) / FULL) as i16
    }

    /// The lag at which the end of the history resembles itself most (normalised cross-correlation, every second
    /// sample; in whole numbers).
    fn find_pitch(&self) -> usize {
        let tail = &self.history[HISTORY - SEARCH..];
        let mut best = (0.0f32, LONGEST_PITCH);
        for lag in SHORTEST_PITCH..=LONGEST_PITCH {
            let other = &self.history[HISTORY - SEARCH - lag..HISTORY - lag];
            let (mut cross, mut energy) = (0i64, 1i64);
            for i in (0..SEARCH).step_by(2) {
                let (a, b) = (i64::from(tail[i]), i64::from(other[i]));
                cross += a * b;
                energy += b * b;
            }
            let score = cross.max(0) as f32 * cross.max(0) as f32 / energy as f32;
            // A longer lag must be clearly better: multiples of the pitch score alike.
            if score > best.0 * 1.02 {
                best = (score, lag);
            }
        }
        best.1
    }

    fn remember(&mut self, frame: &Frame) {
        self.history.copy_within(FRAME.., 0);
        self.history[HISTORY - FRAME..].copy_from_slice(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frame: usize, period: f32) -> Frame {
        std::array::from_fn(|i| {
            let at = (frame * FRAME + i) as f32;
            (8000.0 * (at * std::f32::consts::TAU / period).sin()) as i16
        })
    }

    #[test]
    fn a_lost_frame_of_a_periodic_sound_goes_on_in_phase() {
        let mut concealer = Concealer::default();
        for n in 0..5 {
            concealer.good(&mut tone(n, 80.0));
        }
        let mut made = [0; FRAME];
        concealer.conceal(&mut made);
        let right = tone(5, 80.0);
        for i in 0..80 {
            let error = (i32::from(made[i]) - i32::from(right[i])).abs();
            assert!(error < 500, "sample {i}: {} for {}", made[i], right[i]);
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_within_60_ms() {
        let mut concealer = Concealer::default();
        for n in 0..5 {
            concealer.good(&mut tone(n, 80.0));
        }
        let peaks: Vec<_> = (0..4)
            .map(|_| {
                let mut made = [0; FRAME];
                concealer.conceal(&mut made);
                made.iter().map(|s| s.unsigned_abs()).max().unwrap()
            })
            .collect();
        assert!(peaks[0] > peaks[1] && peaks[1] > peaks[2], "{peaks:?}");
        assert_eq!(peaks[3], 0);
    }

    #[test]
    fn received_sound_comes_back_without_a_step() {
        let mut concealer = Concealer::default();
        for n in 0..5 {
            concealer.good(&mut tone(n, 80.0));
        }
        let mut made = [0; FRAME];
        concealer.conceal(&mut made);
        let mut back = tone(6, 80.0);
        concealer.good(&mut back);
        let steepest = 8000.0 * std::f32::consts::TAU / 80.0;
        let all: Vec<i16> = made.iter().chain(&back).copied().collect();
        for pair in all.windows(2) {
            let step = f32::from(pair[0]) - f32::from(pair[1]);
            assert!(step.abs() < 1.6 * steepest, "a step of {step}");
        }
    }

    #[test]
    fn after_a_keypress_nothing_is_stretched() {
        let mut concealer = Concealer::default();
        concealer.good(&mut tone(0, 80.0));
        concealer.mute();
        let mut made = [1; FRAME];
        concealer.conceal(&mut made);
        assert_eq!(made, [0; FRAME]);
    }
}
