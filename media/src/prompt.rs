//! What is said to one leg alone, over the meeting turned down, or to all of a meeting beside what is spoken.

use crate::resample;
use crate::units::{LONGEST_FRAME, Rate};

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
    /// By how much everything else is softer meanwhile, as a shift.
    duck: u32,
}

impl Saying {
    /// From its beginning.
    pub fn new(prompt: Prompt) -> Self {
        Self { prompt, part: 0, at: 0, duck: DUCK }
    }

    /// The same with everything else as loud as ever.
    fn beside(prompt: Prompt) -> Self {
        Self { duck: 0, ..Self::new(prompt) }
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
                *f = (*f >> self.duck).saturating_add(*o);
            }
            (filled, self.at) = (filled + n, self.at + n);
            if n == rest.len() {
                (self.part, self.at) = (self.part + 1, 0);
            }
        }
        if filled == 0 {
            return false;
        }
        frame[filled..].iter_mut().for_each(|f| *f >>= self.duck);
        true
    }
}

/// A prompt that all of a meeting hear, each at their own rate.
#[derive(Debug, Clone, Copy)]
pub struct Announcement([Saying; Rate::ALL.len()]);

impl Announcement {
    /// From its beginning.
    pub fn new(prompt: Prompt) -> Self {
        Self([Saying::beside(prompt); Rate::ALL.len()])
    }

    /// Lays this tick of it over what somebody hears at `rate`.
    pub fn lay_over(&self, frame: &mut [i16], rate: Rate) {
        let mut saying = self.0[rate as usize];
        saying.lay_over(frame, rate);
    }

    /// A tick is over. False once all is said.
    pub fn pass(&mut self) -> bool {
        let mut nobody = [0; LONGEST_FRAME];
        let mut more = false;
        for (saying, rate) in self.0.iter_mut().zip(Rate::ALL) {
            more |= saying.lay_over(&mut nobody[..rate.frame()], rate);
        }
        more
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
    fn an_announcement_is_as_far_at_every_rate_and_turns_nobody_down() {
        let mut announcement = Announcement::new(Prompt::new(recordings(), [0, 2]));
        let mut heard = Vec::new();
        loop {
            let mut wide = [400; Rate::Wide.frame()];
            announcement.lay_over(&mut wide, Rate::Wide);
            let mut frame = [400; FRAME];
            announcement.lay_over(&mut frame, Rate::Narrow);
            announcement.lay_over(&mut [0; FRAME], Rate::Narrow);
            if !announcement.pass() {
                assert_eq!(
                    (frame, wide),
                    ([400; FRAME], [400; Rate::Wide.frame()]),
                    "as it was, once all is said"
                );
                break;
            }
            heard.extend_from_slice(&frame);
        }
        assert_eq!(
            heard[..260],
            [vec![500; 200], vec![407; 60]].concat(),
            "once for each tick, however many hear it"
        );
        assert!(heard[260..].iter().all(|s| *s == 400));
    }

    #[test]
    fn nothing_is_said_of_no_parts_and_too_many_are_cut() {
        assert!(!Saying::new(Prompt::new(recordings(), [])).lay_over(&mut [0; FRAME], Rate::Narrow));
        let long = Prompt::new(recordings(), std::iter::repeat_n(2, 100));
        assert_eq!(usize::from(long.count), PARTS);
        assert!(!format!("{long:?}").contains("Recordings"));
    }
}
