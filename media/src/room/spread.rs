//! A conference that is larger than one core: its parts are rooms on several shards. In each tick every part tells the others who speaks
//! in it, over rings, and a millisecond later each mixes all of them for its own legs.
//!
//! What goes over the rings is voices, not sums: at most four of each part, of whom the mix chooses four, so that every part chooses the
//! same and who speaks is never in what they hear themselves.

use crate::leg::Leg;
use crate::level::Level;
use crate::mixer::Input;
use crate::units::{LONGEST_FRAME, LegId, Rate, SPEAKERS, Ssrc};
use rtrb::{Consumer, Producer, RingBuffer};

/// Parts of a conference at most.
pub const MOST_PARTS: usize = 16;
/// Voices among which the mix chooses at most.
const SLOTS: usize = SPEAKERS * MOST_PARTS;
/// Ticks that may wait in a ring: one is in use, and a part may be late.
const WAITING: usize = 4;

/// One voice of a tick.
#[derive(Debug, Clone, Copy)]
struct Voice {
    leg: LegId,
    ssrc: Ssrc,
    rate: Rate,
    hears: Rate,
    level: Level,
    speaks: bool,
    present: bool,
    gain: f32,
    frame: [i16; LONGEST_FRAME],
}

impl Voice {
    const SILENT: Self = Self {
        leg: LegId(0),
        ssrc: Ssrc(0),
        rate: Rate::Narrow,
        hears: Rate::Narrow,
        level: Level::SILENCE,
        speaks: false,
        present: false,
        gain: 1.0,
        frame: [0; LONGEST_FRAME],
    };
}

/// What a part tells the others in one tick.
#[derive(Debug, Clone, Copy)]
pub struct Voices {
    tick: u64,
    count: usize,
    voices: [Voice; SPEAKERS],
}

impl Voices {
    const SILENT: Self = Self { tick: 0, count: 0, voices: [Voice::SILENT; SPEAKERS] };

    fn all(&self) -> &[Voice] {
        &self.voices[..self.count]
    }
}

/// The ways to and from another part.
#[derive(Debug)]
struct Other {
    to: Producer<Voices>,
    from: Consumer<Voices>,
    /// What it told in this tick.
    now: Voices,
    is_here: bool,
    /// It told something in the last tick, so it is worth waiting for.
    expected: bool,
}

/// One part's side.
#[derive(Debug)]
pub struct Spread {
    own: Voices,
    others: Vec<Other>,
    /// Who has which place among those of whom the mix chooses. A place is kept as long as there is a voice.
    slots: [Option<LegId>; SLOTS],
    tick: u64,
}

/// The sides of a conference in so many parts.
pub fn parts(count: usize) -> Vec<Box<Spread>> {
    let count = count.clamp(1, MOST_PARTS);
    let side =
        |_| Box::new(Spread { own: Voices::SILENT, others: Vec::new(), slots: [None; SLOTS], tick: 0 });
    let mut sides: Vec<_> = (0..count).map(side).collect();
    for one in 0..count {
        for other in one + 1..count {
            let ((there, from_there), (back, from_back)) = (ring(), ring());
            let way = |to, from| Other { to, from, now: Voices::SILENT, is_here: false, expected: false };
            sides[one].others.push(way(there, from_back));
            sides[other].others.push(way(back, from_there));
        }
    }
    sides
}

/// A ring whose memory was touched before a tick comes to it.
fn ring() -> (Producer<Voices>, Consumer<Voices>) {
    let (mut to, mut from) = RingBuffer::new(WAITING);
    while to.push(Voices::SILENT).is_ok() {}
    while from.pop().is_ok() {}
    (to, from)
}

impl Spread {
    /// Tells the others who speaks here in this tick: those who are heard already, and the loudest of those who speak.
    pub fn tell<'a>(
        &mut self,
        tick: u64,
        legs: impl Iterator<Item = &'a Leg>,
        is_heard: impl Fn(usize) -> bool,
    ) {
        let Self { own, others, slots, .. } = self;
        (own.tick, own.count, self.tick) = (tick, 0, tick);
        let heard = |leg: LegId| slots.iter().position(|slot| *slot == Some(leg)).is_some_and(&is_heard);
        let rank = |heard: bool, speaks: bool, level: Level| (u8::from(heard) + u8::from(speaks), level.0);
        let mut ranks = [(0u8, f32::MIN); SPEAKERS];
        for leg in legs.filter(|leg| leg.is_present()) {
            let here = rank(heard(leg.id()), leg.speaks(), leg.level());
            let place = match own.count {
                SPEAKERS => {
                    let order = |a: &usize, b: &usize| {
                        ranks[*a].0.cmp(&ranks[*b].0).then(ranks[*a].1.total_cmp(&ranks[*b].1))
                    };
                    let Some(lowest) = (0..SPEAKERS).min_by(order) else { continue };
                    if (here.0, here.1) <= ranks[lowest] {
                        continue;
                    }
                    lowest
                }
                count => {
                    own.count += 1;
                    count
                }
            };
            ranks[place] = here;
            let voice = &mut own.voices[place];
            let frame = leg.frame();
            voice.frame[..frame.len()].copy_from_slice(frame);
            (voice.leg, voice.ssrc, voice.rate, voice.hears) =
                (leg.id(), leg.ssrc(), leg.rate(), leg.coding().rate);
            (voice.level, voice.speaks, voice.present) = (leg.level(), leg.speaks(), leg.is_present());
            voice.gain = leg.loudness();
        }
        for other in others {
            // A part that nobody is in takes nothing, and need not.
            let _ = other.to.push(*own);
        }
    }

    /// Takes what the others told. True: all of whom something is expected have.
    pub fn hear(&mut self) -> bool {
        let tick = self.tick;
        for other in self.others.iter_mut().filter(|o| !o.is_here) {
            while let Ok(waiting) = other.from.peek() {
                if waiting.tick > tick {
                    break;
                }
                let right = waiting.tick == tick;
                if let Ok(told) = other.from.pop()
                    && right
                {
                    (other.now, other.is_here) = (told, true);
                    break;
                }
            }
        }
        self.others.iter().all(|o| o.is_here || !o.expected)
    }

    /// Gives every voice its place, before the mix.
    pub fn seat(&mut self) {
        let Self { own, others, slots, .. } = self;
        let there = |leg: LegId| {
            let all = others.iter().filter(|o| o.is_here).flat_map(|o| o.now.all());
            all.chain(own.all()).any(|voice| voice.leg == leg)
        };
        for slot in slots.iter_mut() {
            *slot = slot.filter(|leg| there(*leg));
        }
        let all = others.iter().filter(|o| o.is_here).flat_map(|o| o.now.all()).chain(own.all());
        for voice in all {
            if !slots.contains(&Some(voice.leg))
                && let Some(free) = slots.iter_mut().find(|slot| slot.is_none())
            {
                *free = Some(voice.leg);
            }
        }
    }

    /// The tick is over.
    pub fn end(&mut self) {
        for other in &mut self.others {
            (other.expected, other.is_here) = (other.is_here, false);
        }
    }

    /// Places among which the mix chooses.
    pub fn places(&self) -> usize {
        self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// What is said at a place.
    pub fn input(&self, place: usize) -> Input<'_> {
        let voice = self.voice(place).unwrap_or(&Voice::SILENT);
        Input {
            frame: &voice.frame[..voice.rate.frame()],
            rate: voice.rate,
            hears: voice.hears,
            level: voice.level,
            speaks: voice.speaks,
            present: voice.present,
            gain: voice.gain,
        }
    }

    /// Who is at a place.
    pub fn leg_at(&self, place: usize) -> Option<LegId> {
        self.slots.get(place).copied().flatten()
    }

    /// The source of what is said at a place, and its level.
    pub fn source(&self, place: usize) -> Option<(Ssrc, Level)> {
        self.voice(place).map(|voice| (voice.ssrc, voice.level))
    }

    /// A leg's place, if it has one.
    pub fn place_of(&self, leg: LegId) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == Some(leg))
    }

    fn voice(&self, place: usize) -> Option<&Voice> {
        let leg = self.leg_at(place)?;
        let others = self.others.iter().filter(|o| o.is_here).flat_map(|o| o.now.all());
        self.own.all().iter().chain(others).find(|voice| voice.leg == leg)
    }
}
