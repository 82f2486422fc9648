//! The way to one shard.

use super::EngineError;
use crate::shard::{Bell, Command, Counters};
use rtrb::{Producer, PushError, RingBuffer};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// One shard.
#[derive(Debug)]
pub(super) struct Handle {
    commands: Mutex<Commands>,
    bell: Arc<Bell>,
    pub(super) counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

/// The way to a shard. What ends a leg or a room may not be lost, nor a leg's keys and where it is: if the ring is full it waits here, and nothing
/// overtakes it. There are but a few such commands for each leg and room.
#[derive(Debug)]
struct Commands {
    ring: Producer<Command>,
    endings: VecDeque<Command>,
}

impl Commands {
    /// Hands over what waits. False when the ring is full before all is.
    fn settle(&mut self) -> bool {
        while let Some(command) = self.endings.pop_front() {
            if let Err(PushError::Full(command)) = self.ring.push(command) {
                self.endings.push_front(command);
                return false;
            }
        }
        true
    }
}

impl Handle {
    /// By this ring and this bell.
    pub(super) fn new(
        ring: Producer<Command>,
        bell: Arc<Bell>,
        counters: Arc<Counters>,
        thread: Option<JoinHandle<()>>,
    ) -> Self {
        let commands = Mutex::new(Commands { ring, endings: VecDeque::new() });
        Self { commands, bell, counters, thread }
    }

    /// Tells the shard something.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when the ring is full.
    pub(super) fn tell(&self, command: Command) -> Result<(), EngineError> {
        let mut commands = self.commands();
        if !commands.settle() || commands.ring.push(command).is_err() {
            return Err(EngineError::Busy);
        }
        self.bell.call();
        Ok(())
    }

    /// Tells the shard what it must not miss: now, or when it takes commands again.
    pub(super) fn insist(&self, command: Command) {
        let mut commands = self.commands();
        commands.endings.push_back(command);
        commands.settle();
        self.bell.call();
    }

    /// Hands over endings that the shard could not take when it was told.
    pub(super) fn settle(&self) {
        if !self.commands().settle() {
            self.bell.call();
        }
    }

    /// Ends the thread, whether it takes commands or not.
    pub(super) fn end(&mut self) {
        let (abandoned, _) = RingBuffer::new(1);
        self.commands().ring = abandoned;
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // A panic of the shard was printed by the hook; there is nothing more to do about it here.
            let _ = thread.join();
        }
    }

    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{LegId, RoomId};
    use rtrb::Consumer;

    /// A handle whose shard does not run, and the shard's end of its ring.
    fn handle(size: usize) -> (Handle, Consumer<Command>) {
        let (ring, taken) = RingBuffer::new(size);
        (Handle::new(ring, Arc::new(Bell::new().unwrap()), Arc::default(), None), taken)
    }

    #[test]
    fn an_ending_waits_for_room_in_the_ring_and_nothing_overtakes_it() {
        let (handle, mut taken) = handle(2);
        let mute = |leg| Command::Mute(RoomId(1), LegId(leg), true);
        handle.tell(mute(1)).unwrap();
        handle.tell(mute(2)).unwrap();
        assert!(matches!(handle.tell(mute(3)), Err(EngineError::Busy)));
        handle.insist(Command::Remove(RoomId(1), LegId(1)));
        handle.insist(Command::Close(RoomId(1)));
        assert!(matches!(taken.pop(), Ok(Command::Mute(_, LegId(1), _))));
        assert!(matches!(handle.tell(mute(4)), Err(EngineError::Busy)), "two endings come first");
        assert!(matches!(taken.pop(), Ok(Command::Mute(_, LegId(2), _))));
        assert!(matches!(taken.pop(), Ok(Command::Remove(_, LegId(1)))));
        handle.tell(mute(5)).unwrap();
        assert!(matches!(taken.pop(), Ok(Command::Close(_))));
        assert!(matches!(taken.pop(), Ok(Command::Mute(_, LegId(5), _))));
        assert!(taken.pop().is_err());
    }
}
