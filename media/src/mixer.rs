//! One conference's mix as a pure function of its inputs: no clock, no socket, no lock, no allocation.
//!
//! At most [`SPEAKERS`] talkers are heard at once, the loudest, with hysteresis. Who only listens hears their
//! sum; a talker hears the sum without their own voice (mix-minus). There is a sum for each rate at which somebody hears; a talker of another rate
//! is resampled once for it. What is needed for a rate is a [`Kit`], brought by the legs that need it.

use crate::level::Level;
use crate::noise::Noise;
use crate::resample::Resampler;
use crate::units::{Rate, SPEAKERS};

/// A newcomer must be this much louder than the quietest talker in a full mix to take their place, dB.
const TAKEOVER: f32 = 6.0;
/// A voice that joins the mix comes in over this, ms, and its gain changes over a tick.
const FADE_MS: usize = 2;
const USUAL_FLOOR: u8 = 70;
const RATES: usize = Rate::ALL.len();

/// One leg's contribution to a tick.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Its samples.
    pub frame: &'a [i16],
    /// Their rate.
    pub rate: Rate,
    /// The rate at which it hears.
    pub hears: Rate,
    /// Its smoothed level.
    pub level: Level,
    /// Whether it speaks and may be heard.
    pub speaks: bool,
    /// Whether it does, or has lately, so that it keeps its place while nobody else needs it.
    pub present: bool,
    /// What its samples are multiplied with.
    pub gain: f32,
}

/// The sum at one rate.
#[derive(Debug)]
struct Side {
    voices: [Box<[i16]>; SPEAKERS],
    sum: Box<[i32]>,
    common: Box<[i16]>,
    minus: [Box<[i16]>; SPEAKERS],
    noise: Noise,
}

impl Side {
    fn new(rate: Rate) -> Box<Self> {
        let n = rate.frame();
        let frames = || std::array::from_fn(|_| vec![0; n].into());
        Box::new(Self {
            voices: frames(),
            sum: vec![0; n].into(),
            common: vec![0; n].into(),
            minus: frames(),
            noise: Noise::default(),
        })
    }
}

/// A set of rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates([bool; RATES]);

impl Rates {
    /// Adds one.
    pub fn add(&mut self, rate: Rate) {
        self.0[rate as usize] = true;
    }

    /// All of both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(has, more)| *has |= more);
        self
    }

    /// Whether it is in the set.
    pub fn has(self, rate: Rate) -> bool {
        self.0[rate as usize]
    }
}

/// Sums and resamplers for some rates: what a mix lacks it takes out of a newcomer's kit.
#[derive(Debug, Default)]
pub struct Kit {
    sides: [Option<Box<Side>>; RATES],
    /// From the first rate to the second, one for each place of a talker.
    resamplers: [[Option<Box<[Resampler; SPEAKERS]>>; RATES]; RATES],
}

impl Kit {
    /// What is needed where legs speak and hear at these rates, without what `has` names already.
    pub fn new(speak: Rates, hear: Rates, has: (Rates, Rates)) -> Self {
        let mut kit = Self::default();
        for to in Rate::ALL.into_iter().filter(|r| hear.has(*r)) {
            if !has.1.has(to) {
                kit.sides[to as usize] = Some(Side::new(to));
            }
            for from in Rate::ALL.into_iter().filter(|r| speak.has(*r) && *r != to) {
                if !(has.0.has(from) && has.1.has(to)) {
                    let four: Option<Vec<_>> = (0..SPEAKERS).map(|_| Resampler::new(from, to)).collect();
                    let four = four.and_then(|four| four.into_boxed_slice().try_into().ok());
                    kit.resamplers[from as usize][to as usize] = four;
                }
            }
        }
        kit
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.sides.iter().all(Option::is_none) && self.resamplers.iter().flatten().all(Option::is_none)
    }
}

/// One conference's mix.
#[derive(Debug, Default)]
pub struct Mix {
    kit: Kit,
    /// Indexes into the tick's inputs of those who are heard. Each keeps its place, and what belongs to it, until it leaves.
    places: [Option<usize>; SPEAKERS],
    /// Who came into the mix with this tick.
    fresh: [bool; SPEAKERS],
    gains: [f32; SPEAKERS],
    /// −dBov of what is heard where nobody speaks.
    floor: Option<u8>,
}

impl Mix {
    /// A mix without any rate; where nobody speaks there is noise of −`floor` dBov.
    pub fn new(floor: Option<u8>) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Takes what it lacks; the rest stays for others to free.
    pub fn adopt(&mut self, kit: &mut Kit) {
        for (own, new) in self.kit.sides.iter_mut().zip(&mut kit.sides) {
            if own.is_none() {
                std::mem::swap(own, new);
            }
        }
        let pairs = self.kit.resamplers.iter_mut().flatten().zip(kit.resamplers.iter_mut().flatten());
        for (own, new) in pairs.filter(|(own, _)| own.is_none()) {
            std::mem::swap(own, new);
        }
    }

    /// −dBov of what is heard where nobody speaks; without a noise of its own as quiet as it would be.
    pub fn floor(&self) -> u8 {
        self.floor.unwrap_or(USUAL_FLOOR)
    }

    /// Who is heard: indexes into the inputs.
    pub fn speakers(&self) -> impl Iterator<Item = usize> + use<> {
        self.places.into_iter().flatten()
    }

    /// Whether leg `index` is heard.
    pub fn is_heard(&self, index: usize) -> bool {
        self.places.contains(&Some(index))
    }

    /// What leg `index` hears at `rate`, which is the one that its input told.
    pub fn for_leg(&self, index: usize, rate: Rate) -> &[i16] {
        let Some(side) = &self.kit.sides[rate as usize] else {
            return &crate::codec::SILENCE[..rate.frame()];
        };
        match self.places.iter().position(|p| *p == Some(index)) {
            Some(place) => &side.minus[place],
            None => &side.common,
        }
    }

    /// Lays something over all that is heard at these rates in this tick.
    pub fn lay_over(&mut self, hear: Rates, over: impl Fn(&mut [i16], Rate)) {
        for rate in Rate::ALL.into_iter().filter(|rate| hear.has(*rate)) {
            let Some(side) = &mut self.kit.sides[rate as usize] else { continue };
            over(&mut side.common, rate);
            let taken = side.minus.iter_mut().zip(self.places).filter(|(_, place)| place.is_some());
            taken.for_each(|(minus, _)| over(minus, rate));
        }
    }

    /// The legs' indexes change: to what `map` says, or to nothing for who has left.
    pub fn reindex(&mut self, map: impl Fn(usize) -> Option<usize>) {
        for place in &mut self.places {
            *place = place.and_then(&map);
        }
    }

    /// Mixes one tick. `input(i)` is leg `i`'s contribution, for `i` in `0..legs`; `hear` are the rates at which somebody hears.
    pub fn tick<'a>(&mut self, legs: usize, hear: Rates, input: impl Fn(usize) -> Input<'a>) {
        self.choose(legs, &input);
        for rate in Rate::ALL {
            if hear.has(rate) {
                self.sum(rate, &input);
            }
        }
        self.fresh = [false; SPEAKERS];
        for (gain, index) in self.gains.iter_mut().zip(self.places) {
            *gain = index.map_or(1.0, |index| input(index).gain);
        }
    }

    fn sum<'a>(&mut self, rate: Rate, input: &impl Fn(usize) -> Input<'a>) {
        let Self { kit, places, fresh, gains, floor } = self;
        let Some(side) = &mut kit.sides[rate as usize] else { return };
        let Side { voices, sum, common, minus, noise } = &mut **side;
        let heard = || places.iter().enumerate().filter_map(|(place, index)| Some((place, (*index)?)));
        sum.fill(0);
        for (place, index) in heard() {
            let (said, voice) = (input(index), &mut voices[place]);
            if said.rate == rate {
                voice.copy_from_slice(said.frame);
            } else if let Some(four) = &mut kit.resamplers[said.rate as usize][rate as usize] {
                if fresh[place] {
                    four[place].reset();
                }
                four[place].process(said.frame, voice);
            } else {
                voice.fill(0);
            }
            let before = if fresh[place] { said.gain } else { gains[place] };
            amplify(voice, before, said.gain);
            if fresh[place] {
                let n = rate.ms(FADE_MS);
                for (i, s) in voice.iter_mut().take(n).enumerate() {
                    *s = (i32::from(*s) * i as i32 / n as i32) as i16;
                }
            }
            sum.iter_mut().zip(voice.iter()).for_each(|(sum, s)| *sum += i32::from(*s));
        }
        common.iter_mut().zip(sum.iter()).for_each(|(out, sum)| *out = limit(*sum));
        for (place, index) in heard() {
            if input(index).hears == rate {
                let others = sum.iter().zip(voices[place].iter()).map(|(sum, s)| sum - i32::from(*s));
                minus[place].iter_mut().zip(others).for_each(|(out, sum)| *out = limit(sum));
            }
        }
        let Some(level) = *floor else { return };
        match (heard().count(), heard().next()) {
            (0, _) => noise.fill(level, rate, common),
            // Who speaks alone hears that the line is there.
            (1, Some((place, _))) => noise.fill(level, rate, &mut minus[place]),
            _ => {}
        }
    }

    /// Keeps who still speaks or lingers, lets newcomers into free places, and in a full mix lets one take the place of who only lingers, or the
    /// quietest talker's when clearly louder.
    fn choose<'a>(&mut self, legs: usize, input: &impl Fn(usize) -> Input<'a>) {
        self.reindex(|i| (i < legs && input(i).present).then_some(i));
        // The loudest newcomer first, so that the order of legs matters only where they are as loud.
        let mut last: Option<(usize, f32)> = None;
        for _ in 0..SPEAKERS {
            let mut loudest: Option<(usize, f32)> = None;
            for index in 0..legs {
                let Input { speaks, level: Level(level), .. } = input(index);
                let comes_now = last.is_none_or(|(i, l)| level < l || (level == l && index > i));
                let louder = loudest.is_none_or(|(_, best)| level > best);
                if speaks && comes_now && louder && !self.is_heard(index) {
                    loudest = Some((index, level));
                }
            }
            let Some((index, _)) = loudest else { break };
            last = loudest;
            let new = input(index);
            // A free place, else that of who only lingers, else the quietest's.
            let rank = |place: &usize| match self.places[*place] {
                None => (0, Level::SILENCE),
                Some(index) => (1 + u8::from(input(index).speaks), input(index).level),
            };
            let lowest = |a: &usize, b: &usize| {
                let (a, b) = (rank(a), rank(b));
                a.0.cmp(&b.0).then(a.1.0.total_cmp(&b.1.0))
            };
            let Some(place) = (0..SPEAKERS).min_by(lowest) else { break };
            let (kind, level) = rank(&place);
            if kind == 2 && new.level.0 <= level.0 + TAKEOVER {
                // Those who are softer are not clearly louder either.
                break;
            }
            (self.places[place], self.fresh[place]) = (Some(index), true);
        }
    }
}

/// Multiplies with a gain that changes from `before` to `after` over the frame.
fn amplify(voice: &mut [i16], before: f32, after: f32) {
    if before == 1.0 && after == 1.0 {
        return;
    }
    let step = (after - before) / voice.len() as f32;
    for (i, s) in voice.iter_mut().enumerate() {
        // `as` saturates.
        *s = (f32::from(*s) * (before + step * i as f32)).round() as i16;
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

    const FRAME: usize = Rate::Narrow.frame();
    type Frame = [i16; FRAME];

    fn narrow() -> Mix {
        let mut rates = Rates::default();
        rates.add(Rate::Narrow);
        let mut mix = Mix::new(None);
        mix.adopt(&mut Kit::new(rates, rates, Default::default()));
        mix
    }

    fn mix(mix: &mut Mix, legs: &[(Frame, f32, bool)]) {
        let mut hear = Rates::default();
        hear.add(Rate::Narrow);
        for _ in 0..2 {
            // The second time nobody fades in.
            mix.tick(legs.len(), hear, |i| Input {
                frame: &legs[i].0,
                rate: Rate::Narrow,
                hears: Rate::Narrow,
                level: Level(legs[i].1),
                speaks: legs[i].2,
                present: legs[i].2,
                gain: 1.0,
            });
        }
    }

    fn speakers(mix: &Mix) -> Vec<usize> {
        mix.speakers().collect()
    }

    fn heard(mix: &Mix, index: usize) -> &[i16] {
        mix.for_leg(index, Rate::Narrow)
    }

    #[test]
    fn listeners_hear_the_sum_and_talkers_everybody_but_themselves() {
        let legs = [
            ([100; FRAME], -30.0, true),
            ([20; FRAME], -30.0, true),
            ([3; FRAME], -30.0, true),
            ([7000; FRAME], -20.0, false),
        ];
        let mut out = narrow();
        mix(&mut out, &legs);
        assert_eq!(speakers(&out), [0, 1, 2]);
        assert_eq!(heard(&out, 3), &[123; FRAME]);
        assert_eq!(heard(&out, 0), &[23; FRAME]);
        assert_eq!(heard(&out, 1), &[103; FRAME]);
        assert_eq!(heard(&out, 2), &[120; FRAME]);
    }

    #[test]
    fn a_full_mix_changes_only_for_a_clearly_louder_talker() {
        let mut legs = [([1; FRAME], -30.0, true); SPEAKERS + 1];
        legs[2].1 = -33.0;
        let mut out = narrow();
        mix(&mut out, &legs[..SPEAKERS]);
        legs[SPEAKERS].1 = -28.0;
        mix(&mut out, &legs);
        assert!(!out.is_heard(SPEAKERS), "5 dB louder is not enough");
        legs[SPEAKERS].1 = -26.0;
        mix(&mut out, &legs);
        let mut all = speakers(&out);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 3, SPEAKERS], "7 dB is");
        legs[0].2 = false;
        mix(&mut out, &legs);
        assert!(out.is_heard(2) && !out.is_heard(0), "a free place is taken");
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
    fn nobody_is_heard_when_nobody_speaks_but_a_quiet_noise_if_so_wished() {
        let legs = [([5; FRAME], -30.0, false); 3];
        let mut out = narrow();
        mix(&mut out, &legs);
        assert!(speakers(&out).is_empty() && heard(&out, 0) == [0; FRAME]);
        out.floor = Some(70);
        mix(&mut out, &legs);
        let peak = heard(&out, 0).iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((5..60).contains(&peak), "{peak}");
        let mut alone = legs;
        alone[1].2 = true;
        mix(&mut out, &alone);
        assert_eq!(heard(&out, 0), [5; FRAME], "speech is heard without it");
        assert!(heard(&out, 1).iter().any(|s| *s != 0), "who speaks hears that the line is there");
    }

    #[test]
    fn legs_of_all_rates_hear_each_other_and_not_themselves() {
        let mut all = Rates::default();
        Rate::ALL.into_iter().for_each(|r| all.add(r));
        let mut out = Mix::new(None);
        let mut kit = Kit::new(all, all, Default::default());
        out.adopt(&mut kit);
        assert!(kit.is_empty() && Kit::new(all, all, (all, all)).is_empty());
        let pitches = [440.0, 1000.0, 1900.0];
        let mut heard: [Vec<f32>; 3] = Default::default();
        for tick in 0..50 {
            let frames: Vec<Vec<i16>> = Rate::ALL
                .iter()
                .zip(pitches)
                .map(|(rate, hz)| {
                    let at = |i| (tick * rate.frame() + i) as f32 / rate.hz() as f32;
                    (0..rate.frame())
                        .map(|i| (5000.0 * (std::f32::consts::TAU * hz * at(i)).sin()) as i16)
                        .collect()
                })
                .collect();
            out.tick(3, all, |i| Input {
                frame: &frames[i],
                rate: Rate::ALL[i],
                hears: Rate::ALL[i],
                level: Level(-20.0),
                speaks: true,
                present: true,
                gain: 0.5,
            });
            for (i, rate) in Rate::ALL.into_iter().enumerate() {
                heard[i].extend(out.for_leg(i, rate).iter().map(|s| f32::from(*s)));
            }
        }
        for (i, rate) in Rate::ALL.into_iter().enumerate() {
            for (other, hz) in pitches.into_iter().enumerate() {
                let sound = &heard[i][rate.ms(200)..rate.ms(900)];
                let part = |f: fn(f32) -> f32| {
                    let each = sound
                        .iter()
                        .enumerate()
                        .map(|(n, s)| s * f(std::f32::consts::TAU * hz * n as f32 / rate.hz() as f32));
                    each.sum::<f32>() * 2.0 / sound.len() as f32
                };
                let amplitude = part(f32::sin).hypot(part(f32::cos));
                let expected = if other == i { 0.0 } else { 2500.0 };
                assert!((amplitude - expected).abs() < 100.0, "{rate:?} hears {hz} Hz with {amplitude}");
            }
        }
    }

    /// One tick at 8 kHz of legs with a frame, a level, whether they speak and whether they are present.
    fn tick(mix: &mut Mix, legs: &[(Frame, f32, bool, bool)]) {
        let mut hear = Rates::default();
        hear.add(Rate::Narrow);
        mix.tick(legs.len(), hear, |i| Input {
            frame: &legs[i].0,
            rate: Rate::Narrow,
            hears: Rate::Narrow,
            level: Level(legs[i].1),
            speaks: legs[i].2,
            present: legs[i].3,
            gain: 1.0,
        });
    }

    #[test]
    fn nobodys_sound_is_touched_when_somebody_else_leaves_or_comes() {
        let mut legs = [
            ([100; FRAME], -30.0, true, true),
            ([1000; FRAME], -30.0, true, true),
            ([7; FRAME], -30.0, false, false),
        ];
        let mut out = narrow();
        tick(&mut out, &legs);
        tick(&mut out, &legs);
        (legs[0].2, legs[0].3) = (false, false);
        tick(&mut out, &legs);
        assert_eq!(heard(&out, 2), [1000; FRAME], "the second goes on from its first sample");
        (legs[0].2, legs[0].3) = (true, true);
        tick(&mut out, &legs);
        let fades: Vec<i16> = heard(&out, 2).to_vec();
        assert!(fades[0] == 1000 && fades.iter().all(|s| (1000..=1100).contains(s)), "{fades:?}");
        // A leg leaves, and another gets its index.
        out.reindex(|i| [None, Some(0)][i]);
        tick(&mut out, &legs[1..]);
        assert_eq!(heard(&out, 1), [1000; FRAME]);
    }

    #[test]
    fn who_has_spoken_stays_while_there_is_a_place_and_goes_first_when_there_is_none() {
        let mut legs = [([1; FRAME], -30.0, true, true); SPEAKERS + 1];
        (legs[SPEAKERS].2, legs[SPEAKERS].3) = (false, false);
        let mut out = narrow();
        tick(&mut out, &legs);
        // The second falls silent, and is louder than all others all the same.
        (legs[1].1, legs[1].2) = (-10.0, false);
        tick(&mut out, &legs);
        assert!(out.is_heard(1), "it lingers");
        (legs[SPEAKERS].1, legs[SPEAKERS].2, legs[SPEAKERS].3) = (-45.0, true, true);
        tick(&mut out, &legs);
        assert_eq!(speakers(&out), [0, SPEAKERS, 2, 3], "a quiet talker takes the place of who only lingers");
    }
}
