//! What is said to one leg alone, over the meeting turned down.

use crate::resample;
use crate::units::Rate;

/// Recordings in one prompt at most.
pub const PARTS: usize = 24;
/// The meeting is this much softer meanwhile: 12 dB, as a shift.
const DUCK: u32 = 2;

/// The recordings of the house, at each rate. They last as long as the process, so that a real-time thread frees nothing.
#[derive(Debug)]
pub struct Recordings {
    rates: [Box<[Box<[i16]>]>; Rate::ALL.len()],
}

impl Recordings {
    /// From recordings of 8 kHz, one channel.
    pub fn new(narrow: &[&[i16]]) -> Self {
        let at = |to| narrow.iter().map(|pcm| resample::whole(pcm, Rate::Narrow, to).into()).collect();
        Self { rates: Rate::ALL.map(at) }
    }

    /// One at 8 kHz; nothing of one that there is not.
    pub fn narrow(&self, place: usize) -> &[i16] {
        self.rates[0].get(place).map_or(&[], |part| part)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rates[0].len()
    }
}

/// Recordings to be said one behind the other.
#[derive(Clone, Copy)]
pub struct Prompt {
    recordings: &'static Recordings,
    parts: [u8; PARTS],
    count: u8,
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may be a code that is for one caller only.
        write!(f, "Prompt({} parts)", self.count)
    }
}

impl Prompt {
    /// From places in `recordings`. Places where there is none are passed over; what is beyond [`PARTS`] is left out.
    pub fn new(recordings: &'static Recordings, parts: impl IntoIterator<Item = u8>) -> Self {
        let mut prompt = Self { recordings, parts: [0; PARTS], count: 0 };
        let right = parts.into_iter().filter(|p| usize::from(*p) < recordings.count());
        for (place, part) in prompt.parts.iter_mut().zip(right) {
            *place = part;
            prompt.count += 1;
        }
        prompt
    }

    fn part(&self, index: usize, rate: Rate) -> Option<&'static [i16]> {
        let place = self.parts[..usize::from(self.count)].get(index)?;
        self.recordings.rates[rate as usize].get(usize::from(*place)).map(|part| &**part)
    }
}

/// A prompt that is being said.
#[derive(Debug, Clone, Copy)]
pub struct Saying {
    prompt: Prompt,
    part: usize,
    at: usize,
}

impl Saying {
    /// From its beginning.
    pub fn new(prompt: Prompt) -> Self {
        Self { prompt, part: 0, at: 0 }
    }

    /// Lays the next tick of it over what the leg would hear, at `rate`, which must be the same each time. False once all is said; then
    /// `frame` is as it was.
    pub fn lay_over(&mut self, frame: &mut [i16], rate: Rate) -> bool {
        let mut filled = 0;
        while filled < frame.len() {
            let Some(part) = self.prompt.part(self.part, rate) else { break };
            let rest = &part[self.at.min(part.len())..];
            let n = rest.len().min(frame.len() - filled);
            for (f, o) in frame[filled..].iter_mut().zip(&rest[..n]) {
                *f = (*f >> DUCK).saturating_add(*o);
            }
            (filled, self.at) = (filled + n, self.at + n);
            if n == rest.len() {
                (self.part, self.at) = (self.part + 1, 0);
            }
        }
        if filled == 0 {
            return false;
        }
        frame[filled..].iter_mut().for_each(|f| *f >>= DUCK);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = Rate::Narrow.frame();

    fn recordings() -> &'static Recordings {
        Box::leak(Box::new(Recordings::new(&[&[100; 200], &[], &[7; 60]])))
    }

    #[test]
    fn parts_follow_each_other_without_a_gap_over_the_meeting_turned_down() {
        let mut saying = Saying::new(Prompt::new(recordings(), [0, 1, 2, 9, 0]));
        let mut heard = Vec::new();
        let mut frame = [400; FRAME];
        while saying.lay_over(&mut frame, Rate::Narrow) {
            heard.extend_from_slice(&frame);
            frame = [400; FRAME];
        }
        assert_eq!(frame, [400; FRAME], "as it was, once all is said");
        let expected = [vec![200; 200], vec![107; 60], vec![200; 200]].concat();
        assert_eq!(heard[..460], expected);
        assert!(heard[460..].iter().all(|s| *s == 100), "the last frame is filled by the meeting");
        assert_eq!(heard.len(), 480);
    }

    #[test]
    fn it_lasts_as_long_at_every_rate() {
        for rate in Rate::ALL {
            let mut saying = Saying::new(Prompt::new(recordings(), [0, 2, 0]));
            let mut frame = vec![0; rate.frame()];
            let ticks = std::iter::from_fn(|| saying.lay_over(&mut frame, rate).then_some(())).count();
            assert_eq!(ticks, 3, "{rate:?}");
        }
    }

    #[test]
    fn nothing_is_said_of_no_parts_and_too_many_are_cut() {
        assert!(!Saying::new(Prompt::new(recordings(), [])).lay_over(&mut [0; FRAME], Rate::Narrow));
        let long = Prompt::new(recordings(), std::iter::repeat_n(2, 100));
        assert_eq!(usize::from(long.count), PARTS);
        assert!(!format!("{long:?}").contains("Recordings"));
    }
}
