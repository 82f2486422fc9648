//! The samples of one leg in the order in which they are heard: some that were, some that will be. What waits can be made shorter or longer
//! by whole pitch periods, so that its pitch stays.

use super::alike::Sketch;
use crate::prefetch::{prefetch, touch};
use crate::units::Rate;

/// How much of what was heard is kept, ms: twice the longest pitch period, and room to search.
const KEPT_MS: usize = 45;
/// Pitch periods, ms: 67 to 400 Hz.
const SHORTEST_US: usize = 2_500;
const LONGEST_MS: usize = 15;
/// Samples over which two places are compared and faded into each other, ms.
const OVERLAP_MS: usize = 5;
/// Two places are alike when their normalised correlation is at least this.
const ALIKE: f32 = 0.75;
/// No sample of a quiet piece is larger.
const QUIET: u16 = 399;

/// How what waits is made shorter or longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// By whole pitch periods, or in silence.
    Fine,
    /// If it cannot be so, then as it comes.
    Anyhow,
    /// As it comes: nobody listens.
    Unheard,
}

impl Cut {
    /// What has no larger samples need not be searched.
    fn quiet(self) -> u16 {
        if self == Self::Unheard { u16::MAX } else { QUIET }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Line {
    samples: Box<[i16]>,
    rate: Rate,
    head: usize,
    tail: usize,
    /// What was heard last was silence that was not written down.
    blank: bool,
}

impl Line {
    /// A line for rates up to `highest`, and for packets of the longest kind beside what waits.
    pub(super) fn new(highest: Rate) -> Self {
        let longest = crate::codec::LONGEST_MS + 60;
        let mut line = Self {
            samples: vec![0; highest.ms(KEPT_MS + longest)].into(),
            rate: highest,
            head: 0,
            tail: 0,
            blank: false,
        };
        touch(&mut line.samples);
        line.clear(highest);
        line
    }

    /// Has the processor look for where the next samples go.
    pub(super) fn prefetch(&self) {
        let end = (self.tail + self.rate.frame()).min(self.samples.len());
        prefetch(&self.samples[self.tail..end], usize::MAX);
    }

    /// Forgets all, and goes on at another rate.
    pub(super) fn clear(&mut self, rate: Rate) {
        self.rate = rate;
        let kept = rate.ms(KEPT_MS);
        self.samples[..kept].fill(0);
        (self.head, self.tail, self.blank) = (kept, kept, false);
    }

    /// A frame of silence passes while nothing waits. It need not be written until something else is.
    pub(super) fn pass_silence(&mut self) {
        self.blank = true;
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Samples that wait.
    pub(super) fn ready(&self) -> usize {
        self.tail - self.head
    }

    /// What was laid down last, waiting or heard: `n` samples, at most 45 ms.
    pub(super) fn last(&self, n: usize) -> &[i16] {
        &self.samples[self.tail - n..self.tail]
    }

    /// Room for `n` more samples (at most 120 ms, and 60 ms may wait); [`Self::extend`] makes them wait.
    pub(super) fn room(&mut self, n: usize) -> &mut [i16] {
        if self.blank {
            self.clear(self.rate);
        }
        if self.tail + n > self.samples.len() {
            let from = self.head.saturating_sub(self.rate.ms(KEPT_MS));
            self.samples.copy_within(from..self.tail, 0);
            (self.head, self.tail) = (self.head - from, self.tail - from);
        }
        let end = (self.tail + n).min(self.samples.len());
        &mut self.samples[self.tail..end]
    }

    pub(super) fn extend(&mut self, n: usize) {
        self.tail = (self.tail + n).min(self.samples.len());
    }

    /// The last `n` samples, to be changed.
    pub(super) fn last_mut(&mut self, n: usize) -> &mut [i16] {
        &mut self.samples[self.tail - n..self.tail]
    }

    /// Passes over the first `n` samples of those that were just laid down (`of` in all).
    pub(super) fn cut(&mut self, n: usize, of: usize) {
        let start = self.tail - of;
        self.samples.copy_within(start + n..self.tail, start);
        self.tail -= n;
    }

    /// The next frame; as many must wait.
    pub(super) fn take(&mut self) {
        self.head = (self.head + self.rate.frame()).min(self.tail);
    }

    /// The frame that was taken last.
    pub(super) fn frame(&self) -> &[i16] {
        &self.samples[self.head - self.rate.frame()..self.head]
    }

    /// The same, to be changed.
    pub(super) fn frame_mut(&mut self) -> &mut [i16] {
        &mut self.samples[self.head - self.rate.frame()..self.head]
    }

    /// Makes what waits shorter by at most `most` samples; by how many it did.
    pub(super) fn shrink(&mut self, most: usize, how: Cut) -> usize {
        let (shortest, overlap) = (self.rate.ms(1) * SHORTEST_US / 1000, self.rate.ms(OVERLAP_MS));
        let waiting = &self.samples[self.head..self.tail];
        let most = most.min(self.rate.ms(LONGEST_MS)).min(waiting.len().saturating_sub(overlap));
        if most == 0 {
            return 0;
        }
        let sketch = Sketch::new(&waiting[..most + overlap], self.rate, how.quiet());
        let by = match sketch {
            None => most,
            Some(_) if most < shortest => return 0,
            Some(sketch) => {
                let step = sketch.step;
                let found = sketch.most_alike(0, overlap / step, shortest / step..=most / step, 0.0);
                let Some((by, _)) = found.filter(|(_, alike)| *alike >= ALIKE || how == Cut::Anyhow) else {
                    return 0;
                };
                by * step
            }
        };
        let (head, n) = (self.head, overlap as i32);
        for i in 0..overlap {
            let (a, b) = (i32::from(self.samples[head + i]), i32::from(self.samples[head + by + i]));
            self.samples[head + by + i] = ((a * (n - i as i32) + b * i as i32) / n) as i16;
        }
        // What went before moves up to what is left.
        let from = head.saturating_sub(self.rate.ms(KEPT_MS));
        self.samples.copy_within(from..head, from + by);
        self.head += by;
        by
    }

    /// Makes what waits longer by one pitch period of at most `most` samples, taken from what was heard before it; by how many it did.
    pub(super) fn grow(&mut self, most: usize, how: Cut) -> usize {
        let (shortest, overlap) = (self.rate.ms(1) * SHORTEST_US / 1000, self.rate.ms(OVERLAP_MS));
        let longest = self.rate.ms(LONGEST_MS);
        if self.ready() < overlap || most < shortest {
            return 0;
        }
        self.room(longest);
        let head = self.head;
        // A period ends at the head: what comes behind the head resembles what came a period earlier.
        let past = &self.samples[head - longest - overlap..head + overlap];
        let by = match Sketch::new(past, self.rate, how.quiet()) {
            None => longest.min(most),
            Some(sketch) => {
                let (step, now) = (sketch.step, (longest + overlap) / sketch.step);
                let periods = shortest.max(overlap) / step..=longest.min(most) / step;
                let found = sketch.most_alike(now, overlap / step, periods.map(|by| now - by), 0.0);
                let Some((at, _)) = found.filter(|(_, alike)| *alike >= ALIKE || how == Cut::Anyhow) else {
                    return 0;
                };
                (now - at) * step
            }
        };
        let by = by.max(overlap);
        self.samples.copy_within(head..self.tail, head + by);
        self.tail += by;
        for i in 0..by {
            let before = i32::from(self.samples[head + i - by]);
            self.samples[head + i] = if i < overlap {
                let n = overlap as i32;
                let natural = i32::from(self.samples[head + by + i]);
                ((natural * (n - i as i32) + before * i as i32) / n) as i16
            } else {
                before as i16
            };
        }
        by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rate: Rate, hz: f32) -> Line {
        let mut line = Line::new(rate);
        let n = rate.ms(60);
        for (i, s) in line.room(n).iter_mut().enumerate() {
            *s = (8000.0 * (std::f32::consts::TAU * hz * i as f32 / rate.hz() as f32).sin()) as i16;
        }
        line.extend(n);
        line.take();
        line
    }

    /// Neither a jump nor another pitch: the tone goes on through all that is left.
    fn is_the_tone(line: &mut Line, hz: f32) {
        let all = line.samples[line.head - line.rate.frame()..line.tail].to_vec();
        let steepest = 8000.0 * std::f32::consts::TAU * hz / line.rate.hz() as f32;
        for pair in all.windows(2) {
            let step = f32::from(pair[1]) - f32::from(pair[0]);
            assert!(step.abs() < 1.3 * steepest + 2.0, "a step of {step}");
        }
        let crossings = all.windows(2).filter(|p| (p[0] < 0) != (p[1] < 0)).count();
        let expected = 2.0 * hz * all.len() as f32 / line.rate.hz() as f32;
        assert!((crossings as f32 - expected).abs() < 2.5, "{crossings} for {expected}");
    }

    #[test]
    fn a_tone_is_made_shorter_and_longer_without_a_step_and_with_its_pitch() {
        for rate in Rate::ALL {
            for hz in [100.0, 170.0, 230.0, 390.0] {
                let mut line = filled(rate, hz);
                let before = line.ready();
                let by = line.shrink(rate.ms(14), Cut::Fine);
                assert!(by >= rate.ms(2), "{rate:?} {hz} Hz");
                assert_eq!(line.ready(), before - by);
                is_the_tone(&mut line, hz);
                let before = line.ready();
                let by = line.grow(rate.ms(14), Cut::Fine);
                assert!(by >= rate.ms(5), "{rate:?} {hz} Hz");
                assert_eq!(line.ready(), before + by);
                is_the_tone(&mut line, hz);
            }
        }
    }

    #[test]
    fn noise_is_left_alone_unless_it_must_be_and_silence_goes_to_the_sample() {
        let mut line = Line::new(Rate::Narrow);
        let mut state = 1u32;
        for s in line.room(480).iter_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *s = (state >> 16) as i16 / 4;
        }
        line.extend(480);
        assert_eq!(line.shrink(100, Cut::Fine), 0);
        assert!(line.shrink(100, Cut::Anyhow) > 0);
        let mut line = Line::new(Rate::Narrow);
        line.room(480).fill(3);
        line.extend(480);
        assert_eq!((line.shrink(77, Cut::Fine), line.ready()), (77, 403));
        assert_eq!(line.shrink(0, Cut::Anyhow), 0);
    }

    #[test]
    fn what_is_laid_down_is_taken_in_order_however_often_it_moves() {
        let mut line = Line::new(Rate::Narrow);
        let mut next = 0i16;
        let mut expected = 0i16;
        for n in (0..400).map(|n| 80 + n % 5 * 160) {
            for s in line.room(n).iter_mut() {
                *s = next;
                next = next.wrapping_add(1);
            }
            line.extend(n);
            while line.ready() >= 160 {
                line.take();
                for s in line.frame() {
                    assert_eq!(*s, expected);
                    expected = expected.wrapping_add(1);
                }
            }
        }
    }
}
