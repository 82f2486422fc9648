//! One conference's mix as a pure function of its inputs: no clock, no socket, no lock, no allocation.
//!
//! At most [`SPEAKERS`] talkers are heard at once, the loudest, with hysteresis. Who only listens hears their
//! sum; a talker hears the sum without their own voice (mix-minus).

use crate::codec::{FRAME, Frame};
use crate::level::Level;

/// Talkers that are summed at the same time.
pub const SPEAKERS: usize = 4;
/// A newcomer must be this much louder than the quietest talker in a full mix to take their place, dB.
const TAKEOVER: f32 = 6.0;

/// One leg's contribution to a tick.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Its samples.
    pub frame: &'a Frame,
    /// Its smoothed level.
    pub level: Level,
    /// Whether it speaks and may be heard.
    pub speaks: bool,
}

/// What a tick gives out, kept between ticks only to save room on the stack.
#[derive(Debug)]
pub struct Mix {
    /// For all who only listen.
    pub common: Frame,
    /// For each talker, in the order of `speakers`: everybody else.
    pub minus: [Frame; SPEAKERS],
    /// Indexes into the tick's inputs of those who are heard; the first `count` are valid.
    speakers: [usize; SPEAKERS],
    count: usize,
    sum: [i32; FRAME],
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            common: [0; FRAME],
            minus: [[0; FRAME]; SPEAKERS],
            speakers: [0; SPEAKERS],
            count: 0,
            sum: [0; FRAME],
        }
    }
}

impl Mix {
    /// Who is heard: indexes into the inputs.
    pub fn speakers(&self) -> &[usize] {
        &self.speakers[..self.count]
    }

    /// The frame that leg `index` hears.
    pub fn for_leg(&self, index: usize) -> &Frame {
        match self.speakers().iter().position(|s| *s == index) {
            Some(slot) => &self.minus[slot],
            None => &self.common,
        }
    }

    /// Forgets who was heard: to be called when the legs' indexes change.
    pub fn reindex(&mut self, map: impl Fn(usize) -> Option<usize>) {
        let mut kept = 0;
        for i in 0..self.count {
            if let Some(index) = map(self.speakers[i]) {
                self.speakers[kept] = index;
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// Mixes one tick. `input(i)` is leg `i`'s contribution, for `i` in `0..legs`.
    pub fn tick<'a>(&mut self, legs: usize, input: impl Fn(usize) -> Input<'a>) {
        self.choose(legs, &input);
        self.sum = [0; FRAME];
        for slot in 0..self.count {
            let frame = input(self.speakers[slot]).frame;
            self.sum.iter_mut().zip(frame).for_each(|(sum, s)| *sum += i32::from(*s));
        }
        self.common.iter_mut().zip(&self.sum).for_each(|(out, sum)| *out = limit(*sum));
        for slot in 0..self.count {
            let own = input(self.speakers[slot]).frame;
            let others = self.sum.iter().zip(own).map(|(sum, s)| sum - i32::from(*s));
            self.minus[slot].iter_mut().zip(others).for_each(|(out, sum)| *out = limit(sum));
        }
    }

    /// Keeps who still speaks, lets newcomers into free places, and in a full mix lets one take the quietest
    /// talker's place when clearly louder.
    fn choose<'a>(&mut self, legs: usize, input: &impl Fn(usize) -> Input<'a>) {
        self.reindex_while(|i| i < legs && input(i).speaks);
        for index in 0..legs {
            let new = input(index);
            if !new.speaks || self.speakers().contains(&index) {
                continue;
            }
            if self.count < SPEAKERS {
                self.speakers[self.count] = index;
                self.count += 1;
                continue;
            }
            let mut quietest = 0;
            for slot in 1..SPEAKERS {
                if input(self.speakers[slot]).level < input(self.speakers[quietest]).level {
                    quietest = slot;
                }
            }
            if new.level.0 > input(self.speakers[quietest]).level.0 + TAKEOVER {
                self.speakers[quietest] = index;
            }
        }
    }

    fn reindex_while(&mut self, keep: impl Fn(usize) -> bool) {
        self.reindex(|i| keep(i).then_some(i));
    }
}

/// Above this, a sum is bent towards full scale instead of being cut.
const KNEE: i32 = 24_576;
const ROOM: i32 = 32_767 - KNEE;

/// Soft limiter: the identity up to the knee, then smoothly (slope 1 at the knee) towards full scale.
#[inline]
fn limit(sum: i32) -> i16 {
    if sum.abs() <= KNEE {
        return sum as i16;
    }
    let over = i64::from(sum.abs() - KNEE);
    let bent = KNEE + (over * i64::from(ROOM) / (over + i64::from(ROOM))) as i32;
    (bent * sum.signum()) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(mix: &mut Mix, legs: &[(Frame, f32, bool)]) {
        mix.tick(legs.len(), |i| Input { frame: &legs[i].0, level: Level(legs[i].1), speaks: legs[i].2 });
    }

    #[test]
    fn listeners_hear_the_sum_and_talkers_everybody_but_themselves() {
        let legs = [
            ([100; FRAME], -30.0, true),
            ([20; FRAME], -30.0, true),
            ([3; FRAME], -30.0, true),
            ([7000; FRAME], -20.0, false),
        ];
        let mut out = Mix::default();
        mix(&mut out, &legs);
        assert_eq!(out.speakers(), [0, 1, 2]);
        assert_eq!(out.for_leg(3), &[123; FRAME]);
        assert_eq!(out.for_leg(0), &[23; FRAME]);
        assert_eq!(out.for_leg(1), &[103; FRAME]);
        assert_eq!(out.for_leg(2), &[120; FRAME]);
    }

    #[test]
    fn a_full_mix_changes_only_for_a_clearly_louder_talker() {
        let mut legs = [([1; FRAME], -30.0, true); SPEAKERS + 1];
        legs[2].1 = -33.0;
        let mut out = Mix::default();
        mix(&mut out, &legs[..SPEAKERS]);
        legs[SPEAKERS].1 = -28.0;
        mix(&mut out, &legs);
        assert!(!out.speakers().contains(&SPEAKERS), "5 dB louder is not enough");
        legs[SPEAKERS].1 = -26.0;
        mix(&mut out, &legs);
        assert_eq!(out.speakers(), [0, 1, SPEAKERS, 3], "7 dB is");
        legs[0].2 = false;
        mix(&mut out, &legs);
        assert!(out.speakers().contains(&2) && !out.speakers().contains(&0), "a free place is taken");
    }

    #[test]
    fn the_limiter_is_monotonic_and_never_wraps() {
        let mut last = i16::MIN;
        for sum in -131_072..=131_071 {
            let out = limit(sum);
            assert!(out >= last, "at {sum}");
            if sum.abs() <= KNEE {
                assert_eq!(i32::from(out), sum);
            }
            assert!(sum == -131_072 || i32::from(out) - i32::from(last) <= 2, "no step at {sum}");
            last = out;
        }
        assert!(limit(4 * 32767) > 31_000 && limit(-4 * 32768) < -31_000);
    }

    #[test]
    fn nobody_is_heard_when_nobody_speaks() {
        let legs = [([5; FRAME], -30.0, false); 3];
        let mut out = Mix::default();
        mix(&mut out, &legs);
        assert!(out.speakers().is_empty() && out.common == [0; FRAME]);
    }
}
