//! What is said to one leg alone, over the meeting turned down, or to all of a meeting beside what is spoken.

use crate::units::Rate;

/// Recordings in one prompt at most.
pub const PARTS: usize = 24;
/// The part that is somebody's own words.
const SPOKEN: u8 = u8::MAX;
/// The meeting is this much softer meanwhile: 12 dB, as a shift.
const DUCK: u32 = 2;

/// Samples of a recording on each side of a moment from which what lies between two of them is made.
const REACH: usize = 8;
/// What each of those counts, for a moment.
type Taps = [f32; 2 * REACH];

/// The recordings of the house. They last as long as the process, so that a real-time thread frees nothing. They are kept at 8 kHz; what a higher rate has between
/// two samples is made as it is said (a sinc under a window of Blackman's).
#[derive(Debug)]
pub struct Recordings {
    all: Box<[Box<[i16]>]>,
    /// For each rate, and each moment between two samples, the first on a sample.
    between: [Box<[Taps]>; Rate::ALL.len()],
}

impl Recordings {
    /// From recordings of 8 kHz, one channel.
    pub fn new(narrow: &[&[i16]]) -> Self {
        Self { all: narrow.iter().map(|pcm| (*pcm).into()).collect(), between: Rate::ALL.map(between) }
    }

    /// One at 8 kHz; nothing of one that there is not.
    pub fn narrow(&self, place: usize) -> &[i16] {
        self.all.get(place).map_or(&[], |part| part)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// A recording's sample at a place of `rate`'s own count.
    fn sample(&self, part: &[i16], at: usize, rate: Rate) -> i16 {
        let moments = &self.between[rate as usize];
        let (on, moment) = (at / moments.len(), at % moments.len());
        if moment == 0 {
            return part.get(on).copied().unwrap_or(0);
        }
        let of =
            |tap: usize| (on + tap).checked_sub(REACH - 1).and_then(|n| part.get(n)).copied().unwrap_or(0);
        let sum: f32 =
            moments[moment].iter().enumerate().map(|(tap, counts)| counts * f32::from(of(tap))).sum();
        // `as` saturates.
        sum.round() as i16
    }
}

/// What the samples around count, for each moment that `rate` has between two of them.
fn between(rate: Rate) -> Box<[Taps]> {
    use std::f64::consts::PI;
    let moments = rate.frame() / Rate::Narrow.frame();
    let counts = |moment: usize, tap: usize| {
        let distance = tap as f64 - (REACH - 1) as f64 - moment as f64 / moments as f64;
        let sinc = if distance == 0.0 { 1.0 } else { (PI * distance).sin() / (PI * distance) };
        let x = PI * distance / REACH as f64;
        (sinc * (0.42 + 0.5 * x.cos() + 0.08 * (2.0 * x).cos())) as f32
    };
    (0..moments).map(|moment| std::array::from_fn(|tap| counts(moment, tap))).collect()
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

    /// The same behind somebody's own words.
    #[must_use]
    pub fn behind_words(mut self) -> Self {
        let last = PARTS - 1;
        self.parts.copy_within(..last, 1);
        self.parts[0] = SPOKEN;
        self.count = (self.count + 1).min(PARTS as u8);
        self
    }

    /// The same before somebody's own words.
    #[must_use]
    pub fn before_words(mut self) -> Self {
        if let Some(part) = self.parts.get_mut(usize::from(self.count)) {
            *part = SPOKEN;
            self.count += 1;
        }
        self
    }

    fn part<'a>(&self, index: usize, spoken: &'a [i16]) -> Option<&'a [i16]> {
        match *self.parts[..usize::from(self.count)].get(index)? {
            SPOKEN => Some(spoken),
            place => Some(self.recordings.narrow(usize::from(place))),
        }
    }
}

/// What is to be said: recordings, and somebody's own words, at 8 kHz, where the prompt has a place for them.
#[derive(Clone)]
pub struct Words {
    /// The recordings.
    pub prompt: Prompt,
    /// The words.
    pub spoken: Box<[i16]>,
}

impl Words {
    /// Whether it has memory of its own.
    pub fn is_to_be_freed(&self) -> bool {
        !self.spoken.is_empty()
    }
}

/// Somebody's own words do not stay in memory, said or not.
impl Drop for Words {
    fn drop(&mut self) {
        self.spoken.fill(0);
        std::hint::black_box(&self.spoken);
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words({:?})", self.prompt)
    }
}

impl From<Prompt> for Words {
    fn from(prompt: Prompt) -> Self {
        Self { prompt, spoken: Box::default() }
    }
}

/// How far something has been said.
#[derive(Debug, Clone, Copy, Default)]
struct Along {
    part: usize,
    at: usize,
}

impl Along {
    /// Goes on by `n` samples of a part that has `rest` left.
    fn pass(&mut self, n: usize, rest: usize) {
        self.at += n;
        if n == rest {
            (self.part, self.at) = (self.part + 1, 0);
        }
    }

    /// Lays a tick of it over a frame at `rate`, everything else softer by a shift. False once all is said; then `frame` is as it was.
    fn lay_over(&mut self, words: &Words, duck: u32, frame: &mut [i16], rate: Rate) -> bool {
        let whole = Rate::Narrow.frame();
        let factor = rate.frame() / whole;
        // In samples of the recordings.
        let mut filled = 0;
        while filled < whole {
            let Some(part) = words.prompt.part(self.part, &words.spoken) else { break };
            let rest = part.len().saturating_sub(self.at);
            let n = rest.min(whole - filled);
            let at = self.at * factor;
            for (i, f) in frame[filled * factor..(filled + n) * factor].iter_mut().enumerate() {
                let said = words.prompt.recordings.sample(part, at + i, rate);
                *f = (*f >> duck).saturating_add(said);
            }
            filled += n;
            self.pass(n, rest);
        }
        if filled == 0 {
            return false;
        }
        frame[filled * factor..].iter_mut().for_each(|f| *f >>= duck);
        true
    }

    /// A tick of it passes. False once all is said.
    fn tick(&mut self, words: &Words) -> bool {
        let mut left = Rate::Narrow.frame();
        while left > 0 {
            let Some(part) = words.prompt.part(self.part, &words.spoken) else { break };
            let rest = part.len().saturating_sub(self.at);
            let n = rest.min(left);
            left -= n;
            self.pass(n, rest);
        }
        left < Rate::Narrow.frame()
    }
}

/// What is being said to one leg.
#[derive(Debug)]
pub struct Saying {
    words: Words,
    along: Along,
    over: bool,
}

impl Saying {
    /// From its beginning.
    pub fn new(words: impl Into<Words>) -> Self {
        Self { words: words.into(), along: Along::default(), over: false }
    }

    /// Lays the next tick of it over what the leg would hear, a frame at `rate`. False once all is said; then `frame` is as it was.
    pub fn lay_over(&mut self, frame: &mut [i16], rate: Rate) -> bool {
        if self.over {
            return false;
        }
        self.over = !self.along.lay_over(&self.words, DUCK, frame, rate);
        if self.over {
            self.words.spoken.fill(0);
        }
        !self.over
    }

    /// What it says.
    pub fn into_words(self) -> Words {
        self.words
    }

    /// Whether all is said. What was somebody's own words is overwritten then; it is freed by whoever may.
    pub fn is_over(&self) -> bool {
        self.over
    }
}

/// What all of a meeting hear, each at their own rate, with everything else as loud as ever.
#[derive(Debug)]
pub struct Announcement {
    words: Words,
    along: Along,
    over: bool,
}

impl Announcement {
    /// From its beginning.
    pub fn new(words: impl Into<Words>) -> Self {
        Self { words: words.into(), along: Along::default(), over: false }
    }

    /// Lays this tick of it over what somebody hears at `rate`.
    pub fn lay_over(&self, frame: &mut [i16], rate: Rate) {
        let mut along = self.along;
        along.lay_over(&self.words, 0, frame, rate);
    }

    /// A tick is over.
    pub fn pass(&mut self) {
        self.over = !self.along.tick(&self.words);
        if self.over {
            self.words.spoken.fill(0);
        }
    }

    /// As [`Saying::is_over`].
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What it says.
    pub fn into_words(self) -> Words {
        self.words
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
    fn a_tone_is_the_same_tone_at_every_rate_and_nothing_else() {
        let tone = |hz: f64, rate: Rate, n: usize| {
            (8000.0 * (hz * n as f64 * std::f64::consts::TAU / f64::from(rate.hz())).sin()) as i16
        };
        for hz in [300.0, 1000.0, 2000.0, 3000.0] {
            let narrow: Vec<i16> = (0..1600).map(|n| tone(hz, Rate::Narrow, n)).collect();
            let recordings: &Recordings = Box::leak(Box::new(Recordings::new(&[&narrow])));
            for rate in Rate::ALL {
                let mut saying = Saying::new(Prompt::new(recordings, [0]));
                let (mut frame, mut all) = (vec![0; rate.frame()], Vec::new());
                while saying.lay_over(&mut frame, rate) {
                    all.append(&mut frame);
                    frame = vec![0; rate.frame()];
                }
                let middle = rate.frame()..all.len() - rate.frame();
                let worst = middle.map(|n| (i32::from(all[n]) - i32::from(tone(hz, rate, n))).abs()).max();
                assert!(worst < Some(250), "{hz} Hz at {rate:?}: off by {worst:?}");
            }
        }
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
            announcement.pass();
            if announcement.is_over() {
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
    fn somebodys_own_words_come_first_and_are_overwritten_once_said() {
        let words = || Words {
            prompt: Prompt::new(recordings(), [2]).behind_words(),
            spoken: vec![50; 200].into_boxed_slice(),
        };
        let expected = [vec![50; 200], vec![7; 60], vec![0; 60]].concat();
        let mut saying = Saying::new(words());
        let (mut frame, mut heard) = ([0; FRAME], Vec::new());
        while saying.lay_over(&mut frame, Rate::Narrow) {
            heard.extend_from_slice(&frame);
            frame = [0; FRAME];
        }
        assert_eq!(heard, expected);
        assert_eq!(*saying.words.spoken, [0; 200]);
        let mut announcement = Announcement::new(words());
        let mut heard = Vec::new();
        while !announcement.is_over() {
            frame = [0; FRAME];
            announcement.lay_over(&mut frame, Rate::Narrow);
            heard.extend_from_slice(&frame);
            announcement.pass();
        }
        assert_eq!(heard[..320], expected);
        assert_eq!(*announcement.words.spoken, [0; 200]);
        let full = Prompt::new(recordings(), std::iter::repeat_n(2, 100)).behind_words();
        assert_eq!((usize::from(full.count), full.parts[0]), (PARTS, SPOKEN));
    }

    #[test]
    fn nothing_is_said_of_no_parts_and_too_many_are_cut() {
        assert!(!Saying::new(Prompt::new(recordings(), [])).lay_over(&mut [0; FRAME], Rate::Narrow));
        let long = Prompt::new(recordings(), std::iter::repeat_n(2, 100));
        assert_eq!(usize::from(long.count), PARTS);
        assert!(!format!("{long:?}").contains("Recordings"));
    }
}
