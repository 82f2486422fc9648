//! One conference's legs and their tick. Packets come in by [`Room::members_mut`], time comes in by the tick, packets
//! and notices go out to a [`Sink`]: no socket and no clock here.

mod hands;
pub mod spread;
mod waits;

pub use waits::PHASES;

use crate::codec::LARGEST;
use crate::dtls::DtlsFault;
use crate::dtmf::Digit;
use crate::leg::{Coders, Leg, LegSetup, Report};
use crate::level::Level;
use crate::mixer::{Input, Kit, Mix, Rates};
use crate::music::{Music, Player};
use crate::prefetch::prefetch;
use crate::prompt::{Announcement, Saying, Words};
use crate::rtp::HEADER;
use crate::rtp::contributors::Contributors;
use crate::tap::Tap;
use crate::units::{LONGEST_FRAME, LegId, Nanos, RoomId};
use hands::{Class, Hand};
use spread::Spread;
use std::net::SocketAddr;
use waits::Waits;

/// Ticks between two level notices of a talker (100 ms).
const LEVEL_EVERY: u64 = 5;
/// Ticks between two reports of a leg (4 s).
const REPORT_EVERY: u64 = 200;
/// So many ways to encode what all who only listen hear are shared; legs of further ones encode for themselves.
const CLASSES: usize = 4;
/// Ticks of silence after which comfort noise is sent instead (200 ms), and how often it is sent again (2 s).
const COMFORT_AFTER: u64 = 10;
const COMFORT_EVERY: u64 = 100;

/// Ticks over which talkers' waits are looked at before the tick may move (2 s).
const LOOK: u64 = 100;

/// The volume at which a leg hears what everybody hears.
const USUAL: f32 = 1.0;

/// What a tick tells the rest of the house.
#[derive(Debug, Clone, Copy)]
pub enum Notice {
    /// A talker began or stopped.
    Speaking(bool),
    /// How loud a talker is now.
    Level(Level),
    /// A leg's figures.
    Report(Report),
    /// A key was pressed.
    Digit(Digit),
    /// Somebody who is muted has been talking for a while.
    Unheard,
    /// A leg that wants keys by DTLS gets none.
    Unprotected(DtlsFault),
}

/// Where a tick's results go.
pub trait Sink<S> {
    /// Sends a packet by a leg's socket; `to` is where, unless the socket is connected.
    fn packet(&mut self, socket: &mut S, to: SocketAddr, packet: &[u8]);
    /// Takes a notice; false when there is no room for it now.
    fn notice(&mut self, room: RoomId, leg: LegId, notice: Notice) -> bool;
}

/// A leg in a room, with what it needs to send and receive.
#[derive(Debug)]
pub struct Member<S> {
    /// Its media.
    pub leg: Leg,
    /// Its socket.
    pub socket: S,
    announced: bool,
    saying: Option<Saying>,
    tap: Option<Box<Tap>>,
    hand: Hand,
}

impl<S> Member<S> {
    /// A leg and its socket.
    pub fn new(leg: Leg, socket: S) -> Self {
        Self { leg, socket, announced: false, saying: None, tap: None, hand: Hand::Shares }
    }

    /// Whether something is being said to it alone.
    fn is_spoken_to(&self) -> bool {
        self.saying.as_ref().is_some_and(|saying| !saying.is_over())
    }
}

/// One conference on its shard.
#[derive(Debug)]
pub struct Room<S> {
    id: RoomId,
    members: Vec<Box<Member<S>>>,
    mix: Mix,
    classes: Vec<Class>,
    ticks: u64,
    /// Ticks since somebody spoke.
    silent: u64,
    watched: bool,
    music: Player,
    announcement: Option<Announcement>,
    waits: Waits,
    wish: Option<u32>,
    /// The rates at which somebody hears in this tick.
    hear: Rates,
    packet: Box<[u8; HEADER + LARGEST]>,
    frame: Box<[i16]>,
    /// It is a part of a conference on several shards.
    spread: Option<Box<Spread>>,
    has_told: bool,
    /// Somebody wants to know who is heard.
    wants_levels: bool,
}

/// What all rooms of a site have in common.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// −dBov of the noise that is heard where nobody speaks; `None`: silence.
    pub floor: Option<u8>,
    /// What is played to who is alone in a conference that is not spread over shards.
    pub music: Option<&'static Music>,
}

impl<S> Room<S> {
    /// An empty room that can take `capacity` legs without allocating.
    pub fn new(id: RoomId, capacity: usize, manner: Manner) -> Self {
        Self {
            id,
            members: Vec::with_capacity(capacity),
            mix: Mix::new(manner.floor),
            classes: Vec::with_capacity(CLASSES),
            ticks: 0,
            silent: 0,
            watched: false,
            music: Player::new(manner.music),
            announcement: None,
            waits: Waits::default(),
            wish: None,
            hear: Rates::default(),
            packet: Box::new([0; HEADER + LARGEST]),
            frame: vec![0; LONGEST_FRAME].into(),
            spread: None,
            has_told: false,
            wants_levels: false,
        }
    }

    /// The same as a part of a conference on several shards.
    #[must_use]
    pub fn in_parts(self, spread: Option<Box<Spread>>) -> Self {
        Self { spread, ..self }
    }

    /// Whether it is such a part.
    pub fn is_part(&self) -> bool {
        self.spread.is_some()
    }

    /// Takes what is needed for legs of further rates; what it has already stays in the kit.
    pub fn adopt(&mut self, kit: &mut Kit) {
        self.mix.adopt(kit);
    }

    /// The room's id.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Has the processor look for the memory of those who come behind `index`, here and then in the `next` room, in steps: where a pointer lies
    /// must be near before it can be followed.
    pub fn prefetch(&self, index: usize, next: Option<&Self>) {
        let behind = |steps: usize| {
            let at = index + steps;
            self.members.get(at).or_else(|| next?.members.get(at - self.members.len()))
        };
        if let Some(member) = behind(3) {
            member.leg.prefetch();
        }
        if let Some(member) = behind(2) {
            member.leg.prefetch_coders();
        }
        if let Some(member) = behind(1) {
            member.leg.prefetch_sound();
        }
    }

    /// The same for its first members, when nobody comes before it.
    pub fn prefetch_first(&self) {
        self.members.iter().take(3).for_each(|m| m.leg.prefetch());
        self.members.iter().take(2).for_each(|m| m.leg.prefetch_coders());
        self.members.iter().take(1).for_each(|m| m.leg.prefetch_sound());
    }

    /// The same for itself, and in a second step for where its members lie.
    pub fn prefetch_itself(&self, step: usize) {
        match step {
            0 => prefetch(self, usize::MAX),
            1 => prefetch(&self.members[..], 64),
            _ => {}
        }
    }

    /// Its members, to be given what arrived for them.
    pub fn members_mut(&mut self) -> &mut [Box<Member<S>>] {
        &mut self.members
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a leg.
    ///
    /// # Errors
    /// Gives it back when the room is full.
    pub fn add(&mut self, member: Box<Member<S>>) -> Result<(), Box<Member<S>>> {
        if self.members.len() == self.members.capacity() {
            return Err(member);
        }
        self.wants_levels |= member.leg.wants_levels();
        self.members.push(member);
        Ok(())
    }

    /// Takes a leg out.
    pub fn remove(&mut self, leg: LegId) -> Option<Box<Member<S>>> {
        let index = self.members.iter().position(|m| m.leg.id() == leg)?;
        self.pass_on_leadership(index);
        let last = self.members.len() - 1;
        if self.spread.is_none() {
            self.mix.reindex(|i| match i {
                i if i == index => None,
                i if i == last => Some(index),
                i => Some(i),
            });
        }
        Some(self.members.swap_remove(index))
    }

    /// Takes a leg out that goes on in another room: its stream goes on as if nothing had happened.
    pub fn release(&mut self, leg: LegId) -> Option<Box<Member<S>>> {
        let index = self.members.iter().position(|m| m.leg.id() == leg)?;
        self.take_own(index);
        let mut member = self.remove(leg)?;
        // Whoever watches there does not know it yet.
        member.announced = false;
        Some(member)
    }

    /// Takes any leg out: for closing the room.
    pub fn pop(&mut self) -> Option<Box<Member<S>>> {
        self.members.pop()
    }

    /// Whether somebody watches: only then talkers' levels are told.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// By how many phases the tick may come earlier, so that talkers' packets are fresh when it comes: a bit for each number, 0 among them when
    /// it need not move. `None`: it is all the same.
    pub fn wish(&self) -> Option<u32> {
        // Parts' ticks lie at one moment.
        self.wish.filter(|_| self.spread.is_none())
    }

    /// The tick has moved (or cannot).
    pub fn answer_wish(&mut self, moved: bool) {
        self.wish = None;
        if moved {
            self.waits = Waits::default();
        }
    }

    /// Legs in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Says something to a leg alone, in place of what is being said to it: what is no more needed, to be freed.
    pub fn say(&mut self, leg: LegId, words: Words) -> Option<Words> {
        match self.find(leg) {
            Some(member) => member.saying.replace(Saying::new(words)).map(Saying::into_words),
            None => Some(words),
        }
    }

    /// Says something to everybody, beside what is spoken and in place of what is being said to them all; what is no more needed, to be freed.
    pub fn announce(&mut self, words: Words) -> Option<Words> {
        self.announcement.replace(Announcement::new(words)).map(Announcement::into_words)
    }

    /// Has somebody outside hear what a leg says from now on, or nobody; what is no more needed, to be freed.
    pub fn tap(&mut self, leg: LegId, tap: Option<Box<Tap>>) -> Option<Box<Tap>> {
        match self.find(leg) {
            Some(member) => std::mem::replace(&mut member.tap, tap),
            None => tap,
        }
    }

    /// Applies new signalling to a leg; what it needs no more is put in place of `coders`. Its member is returned when the peer's address changed.
    pub fn change(&mut self, setup: LegSetup, coders: &mut Box<Coders>) -> Option<&mut Member<S>> {
        let index = self.members.iter().position(|m| m.leg.id() == setup.id)?;
        if self.members[index].leg.coding() != setup.sends.0 {
            self.pass_on_leadership(index);
            self.members[index].hand = Hand::Own(0);
        }
        self.wants_levels |= setup.levels.is_some();
        let member = &mut self.members[index];
        member.leg.change(setup, coders).then_some(&mut **member)
    }

    /// A leg, to be changed.
    pub fn leg_mut(&mut self, leg: LegId) -> Option<&mut Leg> {
        self.find(leg).map(|member| &mut member.leg)
    }

    fn find(&mut self, leg: LegId) -> Option<&mut Box<Member<S>>> {
        self.members.iter_mut().find(|m| m.leg.id() == leg)
    }

    /// Takes a leg's frame of this tick: to be called for each, after what came for it was given to it.
    pub fn pull(&mut self, index: usize, now: Nanos) {
        let Member { leg, tap, .. } = &mut *self.members[index];
        leg.playout(now);
        if let Some(tap) = tap {
            tap.take(leg.frame(), leg.rate());
        }
        if leg.speaks()
            && let Some((waited, need)) = leg.take_waited()
        {
            self.waits.note(waited, need);
        }
        self.hear.add(leg.coding().rate);
    }

    /// Tells the other parts who speaks here, once all frames were pulled. `tick` is the same for all.
    pub fn tell_parts(&mut self, tick: u64) {
        let Self { spread, members, mix, .. } = self;
        if let Some(spread) = spread {
            spread.tell(tick, members.iter().map(|m| &m.leg), |place| mix.is_heard(place));
            self.has_told = true;
        }
    }

    /// Whether the other parts were told, and the tick is not over.
    pub fn has_told(&self) -> bool {
        self.has_told
    }

    /// Takes what the other parts told. True: nothing more is to be waited for.
    pub fn hear_parts(&mut self) -> bool {
        self.spread.as_mut().is_none_or(|spread| spread.hear())
    }

    /// Where a member is among those of whom the mix chooses.
    fn place(&self, index: usize) -> usize {
        match &self.spread {
            None => index,
            Some(spread) => spread.place_of(self.members[index].leg.id()).unwrap_or(usize::MAX),
        }
    }

    /// The rest of a tick, once all frames were pulled: mix, encode, send, tell.
    pub fn tick(&mut self, now: Nanos, sink: &mut impl Sink<S>) {
        self.ticks += 1;
        let hear = std::mem::take(&mut self.hear);
        if self.ticks.is_multiple_of(LOOK) {
            self.wish = self.waits.good();
            self.waits = Waits::default();
        }
        let Self { members, mix, spread, .. } = self;
        match spread {
            None => mix.tick(members.len(), hear, |i| {
                let leg = &members[i].leg;
                Input {
                    frame: leg.frame(),
                    rate: leg.rate(),
                    hears: leg.coding().rate,
                    level: leg.level(),
                    speaks: leg.speaks(),
                    present: leg.is_present(),
                    gain: leg.loudness(),
                }
            }),
            Some(spread) => {
                spread.seat();
                mix.tick(spread.places(), hear, |place| spread.input(place));
            }
        }
        if self.wants_levels {
            self.contribute();
        }
        let announces = match &mut self.announcement {
            Some(announcement) if !announcement.is_over() => {
                self.mix.lay_over(hear, |frame, rate| announcement.lay_over(frame, rate));
                announcement.pass();
                !announcement.is_over()
            }
            _ => false,
        };
        self.music.tick(self.members.len() == 1 && self.spread.is_none());
        let quiet = self.mix.speakers().next().is_none() && !announces;
        self.silent = if quiet { self.silent + 1 } else { 0 };
        self.hand_over();
        for index in 0..self.members.len() {
            if let Some(next) = self.members.get(index + 2) {
                next.leg.prefetch();
            }
            self.send(index, sink);
            self.tell(index, now, sink);
        }
        if let Some(spread) = &mut self.spread {
            spread.end();
        }
        self.has_told = false;
    }

    /// Tells legs that want to know who is heard.
    fn contribute(&mut self) {
        let Self { members, mix, spread, .. } = self;
        let mut all = Contributors::default();
        for place in mix.speakers() {
            let who = match spread {
                None => members.get(place).map(|m| (m.leg.ssrc(), m.leg.level())),
                Some(spread) => spread.source(place),
            };
            if let Some((source, level)) = who {
                all.add(source, level);
            }
        }
        for member in members.iter_mut().filter(|m| m.leg.wants_levels()) {
            member.leg.set_contributors(&all);
        }
    }

    /// Sends a leg what it hears in this tick.
    fn send(&mut self, index: usize, sink: &mut impl Sink<S>) {
        let place = self.place(index);
        let Self { members, mix, classes, packet, frame, ticks, silent, music, .. } = self;
        let spoken_to = members[index].is_spoken_to();
        let Member { leg, socket, saying, hand, .. } = &mut *members[index];
        if !leg.hears() {
            return leg.pause();
        }
        let coding = leg.coding();
        let heard = mix.for_leg(place, coding.rate);
        let speaks = mix.is_heard(place);
        // Who was alone when the music began is the first in the list.
        let plays = index == 0 && music.plays();
        let volume = leg.volume();
        if plays || spoken_to || volume != USUAL {
            let frame = &mut frame[..coding.rate.frame()];
            frame.copy_from_slice(heard);
            if volume != USUAL {
                // `as` saturates.
                frame.iter_mut().for_each(|s| *s = (f32::from(*s) * volume) as i16);
            }
            if plays {
                music.lay_over(frame, coding.rate);
            }
            let said = saying.as_mut().is_some_and(|words| words.lay_over(frame, coding.rate));
            if plays || said || volume != USUAL {
                let n = leg.encoder().encode(frame, &mut packet[HEADER..]);
                return leg.packetise(&mut packet[..HEADER + n], |to, p| sink.packet(socket, to, p));
            }
        }
        if !speaks && leg.takes_comfort() && *silent > COMFORT_AFTER {
            return match (*silent - COMFORT_AFTER - 1).is_multiple_of(COMFORT_EVERY) {
                true => leg.send_comfort(mix.floor(), |to, p| sink.packet(socket, to, p)),
                false => leg.pause(),
            };
        }
        if speaks || *hand != Hand::Shares {
            let n = leg.encoder().encode(heard, &mut packet[HEADER..]);
            leg.packetise(&mut packet[..HEADER + n], |to, p| sink.packet(socket, to, p));
            *hand = match *hand {
                Hand::Own(left) if left > 0 && !speaks => Hand::Own(left - 1),
                Hand::Own(_) if !speaks => Hand::Shares,
                hand => hand,
            };
            return;
        }
        let class = match classes.iter_mut().position(|c| c.coding == coding) {
            Some(place) => &mut classes[place],
            None if classes.len() < CLASSES => {
                let (leader, packet) = (leg.id(), [0; HEADER + LARGEST]);
                classes.push(Class { coding, leader, packet, len: 0, made: 0 });
                let last = classes.len() - 1;
                &mut classes[last]
            }
            None => {
                let n = leg.encoder().encode(heard, &mut packet[HEADER..]);
                return leg.packetise(&mut packet[..HEADER + n], |to, p| sink.packet(socket, to, p));
            }
        };
        if class.made != *ticks {
            // Nobody has led it until now, or it has no memory.
            class.leader = leg.id();
            class.len = leg.encoder().encode(heard, &mut class.packet[HEADER..]);
            class.made = *ticks;
        }
        leg.packetise(&mut class.packet[..HEADER + class.len], |to, p| sink.packet(socket, to, p));
    }

    /// Tells what is new of a leg.
    fn tell(&mut self, index: usize, now: Nanos, sink: &mut impl Sink<S>) {
        let Member { leg, announced, .. } = &mut *self.members[index];
        let (id, speaks) = (leg.id(), leg.speaks());
        if let Some(key) = leg.take_key() {
            sink.notice(self.id, id, Notice::Digit(key));
        }
        if leg.take_unheard() {
            sink.notice(self.id, id, Notice::Unheard);
        }
        if speaks != *announced && sink.notice(self.id, id, Notice::Speaking(speaks)) {
            *announced = speaks;
        }
        // Each leg has its own turn, so that a large room's figures do not come all in one tick.
        let turn = self.ticks.wrapping_add(id.0);
        if self.watched && speaks && turn.is_multiple_of(LEVEL_EVERY) {
            sink.notice(self.id, id, Notice::Level(leg.level()));
        }
        if turn.is_multiple_of(REPORT_EVERY) {
            sink.notice(self.id, id, Notice::Report(leg.report(now)));
        }
    }
}

#[cfg(test)]
mod parts;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod tests;
