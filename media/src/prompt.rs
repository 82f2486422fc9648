//! What is said to one leg alone, over the meeting turned down.

use crate::codec::{FRAME, Frame};

/// Recordings in one prompt at most.
pub const PARTS: usize = 24;
/// The meeting is this much softer meanwhile: 12 dB, as a shift.
const DUCK: u32 = 2;
/// The recordings of the house: 8 kHz, mono. They last as long as the process, so that a real-time thread frees nothing.
pub type Recordings = &'static [&'static [i16]];

/// Recordings to be said one behind the other.
#[derive(Clone, Copy)]
pub struct Prompt {
    recordings: Recordings,
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
    pub fn new(recordings: Recordings, parts: impl IntoIterator<Item = u8>) -> Self {
        let mut prompt = Self { recordings, parts: [0; PARTS], count: 0 };
        let right = parts.into_iter().filter(|p| usize::from(*p) < recordings.len());
        for (place, part) in prompt.parts.iter_mut().zip(right) {
            *place = part;
            prompt.count += 1;
        }
        prompt
    }

    fn part(&self, index: usize) -> Option<&'static [i16]> {
        let place = self.parts[..usize::from(self.count)].get(index)?;
        self.recordings.get(usize::from(*place)).copied()
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

    /// Lays the next frame of it over what the leg would hear. False once all is said; then `frame` is as it was.
    pub fn lay_over(&mut self, frame: &mut Frame) -> bool {
        let mut over = [0; FRAME];
        let mut filled = 0;
        while filled < FRAME {
            let Some(part) = self.prompt.part(self.part) else { break };
            let rest = &part[self.at.min(part.len())..];
            let n = rest.len().min(FRAME - filled);
            over[filled..filled + n].copy_from_slice(&rest[..n]);
            (filled, self.at) = (filled + n, self.at + n);
            if n == rest.len() {
                (self.part, self.at) = (self.part + 1, 0);
            }
        }
        if filled == 0 {
            return false;
        }
        frame.iter_mut().zip(over).for_each(|(f, o)| *f = (*f >> DUCK).saturating_add(o));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RECORDINGS: [&[i16]; 3] = [&[100; 200], &[], &[7; 60]];

    #[test]
    fn parts_follow_each_other_without_a_gap_over_the_meeting_turned_down() {
        let mut saying = Saying::new(Prompt::new(&RECORDINGS, [0, 1, 2, 9, 0]));
        let mut heard = Vec::new();
        let mut frame = [400; FRAME];
        while saying.lay_over(&mut frame) {
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
    fn nothing_is_said_of_no_parts_and_too_many_are_cut() {
        assert!(!Saying::new(Prompt::new(&RECORDINGS, [])).lay_over(&mut [0; FRAME]));
        let long = Prompt::new(&RECORDINGS, std::iter::repeat_n(2, 100));
        assert_eq!(usize::from(long.count), PARTS);
        assert!(!format!("{long:?}").contains("RECORDINGS"));
    }
}
