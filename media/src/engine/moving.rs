//! Legs that move from one conference to another, and what they are told meanwhile. To another shard a leg travels by way of its shard's reader:
//! what comes for it before it is there waits here, so that no mute is lost.

use super::handle::Handle;
use super::{Core, Engine, EngineError, MOST_BUSY, Seat};
use crate::shard::{Command, Move};
use crate::units::{LegId, RoomId};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// Commands that wait for a leg that is on its way, at most; there are but a few in the milliseconds that it takes.
const WAITING: usize = 64;

/// Tells a leg's shard something, or has it wait for the leg.
///
/// # Errors
/// [`EngineError::Busy`].
pub(super) fn tell(
    moving: &mut HashMap<LegId, Vec<Command>>,
    shard: &Handle,
    leg: LegId,
    command: Command,
) -> Result<(), EngineError> {
    match moving.get_mut(&leg) {
        None => shard.tell(command),
        Some(waiting) if waiting.len() < WAITING => {
            waiting.push(command);
            Ok(())
        }
        Some(_) => Err(EngineError::Busy),
    }
}

impl Engine {
    /// Moves a leg into another conference, with all that it has: whoever talks to it notices nothing of it. From now on its notices are of that
    /// conference.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`] (also while it is still on its way from another), [`EngineError::Overloaded`]: it stays where it is.
    pub fn move_leg(&self, from: RoomId, leg: LegId, to: RoomId) -> Result<(), EngineError> {
        let Core { shards, .. } = &*self.core;
        let places = &mut *self.core.places();
        let old = places.rooms.get(&from).ok_or(EngineError::NoRoom)?;
        let before = old.shard_of(leg).ok_or(EngineError::NoRoom)?;
        let needs = old.legs.get(&leg).ok_or(EngineError::NoRoom)?.needs;
        if from == to {
            return Ok(());
        }
        let place = places.rooms.get_mut(&to).ok_or(EngineError::NoRoom)?;
        if places.moving.contains_key(&leg) {
            return Err(EngineError::Busy);
        }
        let seat = Seat { part: place.emptiest().ok_or(EngineError::NoRoom)?, needs };
        let after = place.parts[seat.part].shard;
        if after != before && shards[after].counters.busy.load(Ordering::Relaxed) > MOST_BUSY {
            return Err(EngineError::Overloaded);
        }
        let all = place.with(needs);
        self.core.equip(to, place, all, seat.part)?;
        let kit = Some(place.lacks(all)).filter(|kit| !kit.is_empty()).map(Box::new);
        shards[before].tell(Command::Move(Box::new(Move { from, leg, to, kit, member: None })))?;
        place.has = all;
        place.seat(leg, seat);
        if after != before {
            places.moving.insert(leg, Vec::new());
        }
        if let Some(old) = places.rooms.get_mut(&from) {
            old.leave(leg);
        }
        Ok(())
    }
}

impl Core {
    /// A leg has left its shard: it goes on to the one where it is expected, if it still is, and with it what waited for it. Within a shard, what is left of
    /// the move is freed here.
    pub(super) fn arrive(&self, moved: Move) {
        let Move { leg, to, kit, member, .. } = moved;
        let places = &mut *self.places();
        let Some(waiting) = places.moving.remove(&leg) else { return };
        let expected = places.rooms.get(&to).and_then(|place| place.shard_of(leg));
        if let Some((shard, member)) = expected.zip(member) {
            let shard = &self.shards[shard];
            shard.insist(Command::Add(to, member, kit));
            waiting.into_iter().for_each(|command| shard.insist(command));
        }
    }
}
