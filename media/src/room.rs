//! One conference's legs and their tick. Packets come in by [`Room::legs_mut`], time comes in by the tick, packets
//! and notices go out to a [`Sink`]: no socket and no clock here.

use crate::codec::{Codec, FRAME};
use crate::dtmf::Digit;
use crate::leg::{Leg, LegSetup, Report};
use crate::level::Level;
use crate::mixer::{Input, Mix};
use crate::prompt::{Prompt, Saying};
use crate::units::{LegId, Nanos, RoomId};
use std::net::SocketAddr;

/// Ticks between two level notices of a talker (100 ms).
const LEVEL_EVERY: u64 = 5;
/// Ticks between two reports of a leg (2 s).
const REPORT_EVERY: u64 = 100;

/// Moments in a tick at which a room's tick can lie: enough to spread the load, few enough that waking up costs
/// little.
pub const PHASES: usize = 5;
/// From one to the next, ns.
const PHASE: i64 = 20_000_000 / PHASES as i64;
/// A talker's packet should come this long before the tick, ns: more than the jitter buffer needs to give back a delay
/// that it once had to add.
const MARGIN: i64 = 5_000_000;
/// Ticks over which talkers' waits are looked at before the tick may move (2 s).
const LOOK: u64 = 100;
/// A move must save this much for each packet, ns.
const WORTH: i64 = 3_000_000;

/// How long talkers' packets wait for the tick, and would wait if it came earlier.
#[derive(Debug, Default)]
struct Waits {
    /// For each number of phases earlier: the sum.
    sums: [i64; PHASES],
    packets: i64,
}

impl Waits {
    fn note(&mut self, waited: i64) {
        if !(0..20_000_000).contains(&waited) {
            return;
        }
        for (earlier, sum) in self.sums.iter_mut().enumerate() {
            // A packet that would come too late for the earlier tick waits for the one after it.
            *sum += (waited - earlier as i64 * PHASE - MARGIN).rem_euclid(20_000_000) + MARGIN;
        }
        self.packets += 1;
    }

    /// How many phases earlier would be clearly better.
    fn better(&self) -> Option<usize> {
        let best = (1..PHASES).min_by_key(|earlier| self.sums[*earlier])?;
        let saved = self.sums[0] - self.sums[best];
        (self.packets >= 10 && saved > WORTH * self.packets).then_some(best)
    }
}

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
}

impl<S> Member<S> {
    /// A leg and its socket.
    pub fn new(leg: Leg, socket: S) -> Self {
        Self { leg, socket, announced: false, saying: None }
    }
}

/// One conference on its shard.
#[derive(Debug)]
pub struct Room<S> {
    id: RoomId,
    members: Vec<Box<Member<S>>>,
    mix: Mix,
    ticks: u64,
    watched: bool,
    waits: Waits,
    wish: Option<usize>,
    encoded: [u8; FRAME],
}

impl<S> Room<S> {
    /// An empty room that can take `capacity` legs without allocating.
    pub fn new(id: RoomId, capacity: usize) -> Self {
        Self {
            id,
            members: Vec::with_capacity(capacity),
            mix: Mix::default(),
            ticks: 0,
            watched: false,
            waits: Waits::default(),
            wish: None,
            encoded: [0; FRAME],
        }
    }

    /// The room's id.
    pub fn id(&self) -> RoomId {
        self.id
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
        self.members.push(member);
        Ok(())
    }

    /// Takes a leg out.
    pub fn remove(&mut self, leg: LegId) -> Option<Box<Member<S>>> {
        let index = self.members.iter().position(|m| m.leg.id() == leg)?;
        let last = self.members.len() - 1;
        self.mix.reindex(|i| match i {
            i if i == index => None,
            i if i == last => Some(index),
            i => Some(i),
        });
        Some(self.members.swap_remove(index))
    }

    /// Takes any leg out: for closing the room.
    pub fn pop(&mut self) -> Option<Box<Member<S>>> {
        self.members.pop()
    }

    /// Whether somebody watches: only then talkers' levels are told.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// By how many phases the tick should come earlier, so that talkers' packets are fresh when it comes.
    pub fn wish(&self) -> Option<usize> {
        self.wish
    }

    /// The tick has moved (or cannot).
    pub fn answer_wish(&mut self, moved: bool) {
        self.wish = None;
        if moved {
            self.members.iter_mut().for_each(|m| m.leg.tick_moved());
        }
    }

    /// Legs in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Mutes or unmutes a leg.
    pub fn mute(&mut self, leg: LegId, muted: bool) {
        if let Some(member) = self.find(leg) {
            member.leg.set_muted(muted);
        }
    }

    /// Says something to a leg alone, in place of what is being said to it.
    pub fn say(&mut self, leg: LegId, prompt: Prompt) {
        if let Some(member) = self.find(leg) {
            member.saying = Some(Saying::new(prompt));
        }
    }

    /// Applies new signalling to a leg; its member is returned when the peer's address changed.
    pub fn change(&mut self, setup: LegSetup) -> Option<&mut Member<S>> {
        let member = self.find(setup.id)?;
        member.leg.change(setup).then_some(&mut **member)
    }

    fn find(&mut self, leg: LegId) -> Option<&mut Box<Member<S>>> {
        self.members.iter_mut().find(|m| m.leg.id() == leg)
    }

    /// One tick: pull, judge, mix, encode, send, tell.
    pub fn tick(&mut self, now: Nanos, sink: &mut impl Sink<S>) {
        self.ticks += 1;
        for member in &mut self.members {
            member.leg.playout(now);
            if let Some(waited) = member.leg.take_waited()
                && member.leg.speaks()
            {
                self.waits.note(waited);
            }
        }
        if self.ticks.is_multiple_of(LOOK) {
            self.wish = self.waits.better();
            self.waits = Waits::default();
        }
        let members = &self.members;
        self.mix.tick(members.len(), |i| {
            let leg = &members[i].leg;
            Input { frame: leg.frame(), level: leg.level(), speaks: leg.speaks() }
        });
        // One encode per codec for all who only listen, made when the first of them needs it.
        let mut shared: [Option<[u8; FRAME]>; Codec::ALL.len()] = [None; Codec::ALL.len()];
        for (index, member) in self.members.iter_mut().enumerate() {
            let Member { leg, socket, announced, saying } = &mut **member;
            let codec = leg.codec();
            let mut own = None;
            if let Some(words) = saying.as_mut().filter(|_| leg.hears()) {
                let mut frame = *self.mix.for_leg(index);
                match words.lay_over(&mut frame) {
                    true => own = Some(frame),
                    false => *saying = None,
                }
            }
            if !leg.hears() {
                leg.pause();
            } else if let Some(frame) = own {
                codec.encode(&frame, &mut self.encoded);
                leg.packetise(&self.encoded, |to, packet| sink.packet(socket, to, packet));
            } else if self.mix.speakers().contains(&index) {
                codec.encode(self.mix.for_leg(index), &mut self.encoded);
                leg.packetise(&self.encoded, |to, packet| sink.packet(socket, to, packet));
            } else {
                let encoded = shared[codec as usize].get_or_insert_with(|| {
                    let mut encoded = [0; FRAME];
                    codec.encode(&self.mix.common, &mut encoded);
                    encoded
                });
                leg.packetise(encoded, |to, packet| sink.packet(socket, to, packet));
            }
            let (id, speaks) = (leg.id(), leg.speaks());
            if let Some(key) = leg.take_key() {
                sink.notice(self.id, id, Notice::Digit(key));
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
}

#[cfg(test)]
mod tests;
