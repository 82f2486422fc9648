//! Where each leg's sound is: in the meeting's own room, alone before it, in a breakout, or on its way out. What the rules say is carried out here as soon as
//! the media shard takes it, and the roster tells of it then.

use super::{Focus, Leg, ToControl};
use crate::meeting::Place;
use crate::prompt::Language;
use crate::roster::{Kind, State, now};
use media::{LegId, Prompt, RoomId};
use sip_stack::CallId;
use sip_stack::transport::Command;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// What a shard did not take is tried again after this.
const AGAIN: Duration = Duration::from_millis(50);

/// A room beside the meeting's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    /// Where one waits to be let in.
    Lobby(CallId),
    /// A breakout.
    Breakout(u8),
    /// A private line.
    Line(u8),
    /// The green room.
    Green,
}

/// How a leg is heard and hears, as the shard was told last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Done {
    pub(super) muted: bool,
    pub(super) hearing: f32,
}

impl Default for Done {
    fn default() -> Self {
        Self { muted: false, hearing: 1.0 }
    }
}

/// Somebody who is no more in the meeting and hears why.
pub(super) struct Leaving {
    room: RoomId,
    /// Its reports go on until it ends.
    _leg: Leg,
    until: Instant,
}

/// The rooms beside the meeting's own, and what is not settled yet.
#[derive(Default)]
pub(super) struct Places {
    sides: HashMap<Side, RoomId>,
    leaving: HashMap<CallId, Leaving>,
    /// Legs of which the shard did not take all.
    unsettled: Vec<CallId>,
    again: Option<Instant>,
}

impl Places {
    /// All rooms beside the meeting's own.
    pub(super) fn rooms(&self) -> impl Iterator<Item = RoomId> + '_ {
        self.sides.values().copied()
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.leaving.values().map(|l| l.until).chain(self.again).min()
    }
}

impl Focus {
    /// The room for a place; `None`: it cannot be opened now.
    pub(super) fn room_of(&mut self, call: CallId, place: Place) -> Option<RoomId> {
        let side = match place {
            Place::Main => return Some(self.room),
            Place::Lobby => Side::Lobby(call),
            Place::Breakout(n) => Side::Breakout(n),
            Place::Line(n) => Side::Line(n),
            Place::Green => Side::Green,
        };
        if let Some(room) = self.places.sides.get(&side) {
            return Some(*room);
        }
        let alone = place == Place::Lobby;
        let room = self.open_room(if alone { 1 } else { self.plan.capacity }, alone)?;
        self.places.sides.insert(side, room);
        Some(room)
    }

    fn open_room(&self, capacity: usize, music: bool) -> Option<RoomId> {
        let room = self.house.new_room();
        if let Err(e) = self.house.engine.open(room, capacity, music) {
            tracing::warn!(error = %e, "a room could not be opened");
            return None;
        }
        // Control ends only with the house.
        let _ = self.control.send(ToControl::Opened(room, self.room));
        if self.watched {
            // Asked again with the next report.
            let _ = self.house.engine.watch(room, true);
        }
        Some(room)
    }

    fn close_room(&self, room: RoomId) {
        self.house.engine.close(room);
        let _ = self.control.send(ToControl::Closed(room));
    }

    /// Closes a room beside the meeting's own that nobody is in.
    pub(super) fn tidy(&mut self, room: RoomId) {
        if room == self.room || self.legs.values().any(|leg| leg.room == room) {
            return;
        }
        let before = self.places.sides.len();
        self.places.sides.retain(|_, side| *side != room);
        if self.places.sides.len() < before {
            self.close_room(room);
        }
    }

    /// Has a leg be where it should, heard as it should and hear as it should.
    pub(super) fn settle(&mut self, call: CallId) {
        if !self.try_to_settle(call) {
            if !self.places.unsettled.contains(&call) {
                self.places.unsettled.push(call);
            }
            self.places.again.get_or_insert_with(|| Instant::now() + AGAIN);
        }
        self.show(call);
        self.comes(call);
    }

    /// False: the shard does not take all of it now.
    fn try_to_settle(&mut self, call: CallId) -> bool {
        let Some(leg) = self.legs.get(&call) else { return true };
        // One that has no media yet is settled when it has.
        if leg.waiting.is_some() || leg.monitor.is_some() {
            return true;
        }
        let (place, room, id) = (leg.stance.place(), leg.room, LegId(call.0));
        let wanted = Done { muted: self.meeting.muted(&leg.stance).is_some(), hearing: leg.stance.hearing() };
        let done = leg.done;
        let Some(to) = self.room_of(call, place) else { return false };
        let engine = &self.house.engine;
        // Whoever is to be silent is so before they come among others.
        let muted = wanted.muted == done.muted || engine.mute(room, id, wanted.muted).is_ok();
        let volume = wanted.hearing == done.hearing || engine.set_volume(room, id, wanted.hearing).is_ok();
        let moved = to == room || ((muted || !wanted.muted) && engine.move_leg(room, id, to).is_ok());
        if let Some(leg) = self.legs.get_mut(&call) {
            if muted {
                leg.done.muted = wanted.muted;
            }
            if volume {
                leg.done.hearing = wanted.hearing;
            }
            if moved {
                leg.room = to;
            }
        }
        if moved && to != room {
            self.tidy(room);
        }
        muted && volume && moved
    }

    /// What was due is done.
    pub(super) fn on_time(&mut self) {
        let now = Instant::now();
        self.announce_next();
        if self.forget_at.take_if(|at| *at <= now).is_some() {
            self.roster.forget_gone();
        }
        if self.places.again.take_if(|at| *at <= now).is_some() {
            for call in std::mem::take(&mut self.places.unsettled) {
                self.settle(call);
            }
        }
        let over: Vec<_> =
            self.places.leaving.iter().filter(|(_, l)| l.until <= now).map(|(c, _)| *c).collect();
        for call in over {
            self.tell(Command::Hangup(call));
            self.gone(call);
        }
        if self.ending.is_some_and(|at| at <= now) {
            self.hang_up();
        }
    }

    /// A row as its leg is now. What is not carried out yet it does not tell.
    pub(super) fn show(&mut self, call: CallId) {
        let Some(leg) = self.legs.get(&call).filter(|leg| leg.monitor.is_none()) else { return };
        let (stance, done, state) = (&leg.stance, leg.done, leg.state());
        let muted_by = self.meeting.muted(stance);
        let in_media = leg.waiting.is_none();
        self.roster.update(&leg.participant, Kind::Updated, |p| {
            p.state = state;
            p.role = stance.role();
            p.muted = if in_media { done.muted } else { muted_by.is_some() };
            p.muted_by = muted_by.filter(|_| p.muted);
            p.deaf = stance.is_deaf();
            p.floor = stance.has_floor();
            p.lobby = stance.waits();
            p.green = stance.place() == Place::Green;
            p.line = match stance.place() {
                Place::Line(n) => Some(n),
                _ => None,
            };
            p.breakout = match stance.place() {
                Place::Breakout(n) => Some(n),
                _ => None,
            };
            if p.hand != stance.hand().is_some() {
                p.hand = !p.hand;
                p.hand_raised_at = p.hand.then(now);
            }
        });
    }

    /// Somebody is not in the meeting any more, hears why, and is hung up on.
    pub(super) fn farewell(&mut self, call: CallId, words: fn(Language) -> (Prompt, Duration)) {
        let Some(leg) = self.forget(call) else { return };
        let id = LegId(call.0);
        let room = Some(()).filter(|()| leg.waiting.is_none()).and_then(|()| self.open_room(1, false));
        let moved = room.filter(|room| self.house.engine.move_leg(leg.room, id, *room).is_ok());
        let from = leg.room;
        match (room, moved) {
            (_, Some(room)) => {
                let (words, length) = words(leg.language);
                let _ = self.house.engine.say(room, id, words);
                self.places.leaving.insert(call, Leaving { room, _leg: leg, until: Instant::now() + length });
            }
            (room, None) => {
                if let Some(room) = room {
                    self.close_room(room);
                }
                self.tell(Command::Hangup(call));
                self.silence(call, &leg);
            }
        }
        self.tidy(from);
    }

    /// Somebody who was on their way out is gone. False: nobody was.
    pub(super) fn gone(&mut self, call: CallId) -> bool {
        let leaving = self.places.leaving.remove(&call);
        if let Some(leaving) = &leaving {
            self.close_room(leaving.room);
        }
        leaving.is_some()
    }

    /// Nobody is in any room any more.
    pub(super) fn close_rooms(&mut self) {
        let leaving: Vec<_> = self.places.leaving.keys().copied().collect();
        for call in leaving {
            self.tell(Command::Hangup(call));
            self.gone(call);
        }
        for room in std::mem::take(&mut self.places.sides).into_values() {
            self.close_room(room);
        }
    }

    /// Whether somebody is still on their way out.
    pub(super) fn is_left(&self) -> bool {
        self.places.leaving.is_empty()
    }
}

impl Leg {
    /// How far its call is.
    pub(super) fn state(&self) -> State {
        if !self.through || self.stance.waits() {
            State::Joining
        } else if self.audio.direction.sends() {
            State::Live
        } else {
            State::Held
        }
    }
}
