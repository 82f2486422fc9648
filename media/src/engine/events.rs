//! What one shard tells, for its reader; what came for legs' tasks goes to those.

use super::{Core, Tasks};
use crate::room::Notice;
use crate::shard::{Aside, Bell, Told};
use crate::transport::Parcel;
use crate::units::{LegId, RoomId};
use rtrb::Consumer;
use std::sync::{Arc, PoisonError, Weak};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// What the shards tell, to be read by one task per shard.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// The conference.
    pub room: RoomId,
    /// The leg.
    pub leg: LegId,
    /// What happened.
    pub notice: Notice,
}

/// One shard's notices.
#[derive(Debug)]
pub struct Events {
    pub(super) told: Consumer<Told>,
    pub(super) asides: Consumer<Aside>,
    pub(super) tasks: Arc<Tasks>,
    /// Where legs go that move to another shard.
    pub(super) core: Weak<Core>,
    /// What legs' tasks tell; the first shard's reader has it.
    pub(super) others: Option<mpsc::UnboundedReceiver<Event>>,
    pub(super) bell: AsyncFd<Arc<Bell>>,
}

impl Events {
    /// The next notice; `None` once the shard has ended. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.hand_out();
            while let Ok(told) = self.told.pop() {
                match told {
                    Told::Notice(room, leg, notice) => return Some(Event { room, leg, notice }),
                    // Freed here, where freeing is allowed.
                    Told::Member(_, member) => drop(member),
                    Told::Moved(moved) => {
                        if let Some(core) = self.core.upgrade() {
                            core.arrive(*moved);
                        }
                    }
                    Told::Change(change) => drop(change),
                    Told::Kit(kit) => drop(kit),
                    Told::Keys(keys) => drop(keys),
                    Told::Suppressor(suppressor) => drop(suppressor),
                    Told::Words(words) => drop(words),
                    Told::Tap(tap) => drop(tap),
                    Told::Room(room) => drop(room),
                    Told::Nothing => {}
                }
            }
            if self.told.is_abandoned() {
                return None;
            }
            let Self { bell, others, .. } = self;
            let other = async {
                match others {
                    Some(others) => others.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                ready = bell.readable() => {
                    let mut ready = ready.ok()?;
                    ready.get_inner().clear();
                    ready.clear_ready();
                }
                Some(event) = other => return Some(event),
            }
        }
    }

    /// Gives legs' tasks what came for them.
    fn hand_out(&mut self) {
        if self.asides.is_empty() {
            return;
        }
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(aside) = self.asides.pop() {
            if let Some(task) = tasks.get(&aside.leg) {
                // A task that is behind loses datagrams, as a socket's buffer would.
                let _ = task.try_send(Parcel { from: aside.from, bytes: aside.bytes().into() });
            }
        }
    }
}
