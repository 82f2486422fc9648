//! The endpoint's timers: a heap whose entries are not removed early; the machine that gets a stale one ignores it.

use super::CallId;
use crate::message::Method;
use crate::transaction::Timer;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;
use vault::Index;

/// Whose timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A server transaction's.
    Server(Index, Timer),
    /// A client transaction's.
    Client(u64, bool, Timer),
    /// A 2xx that is repeated.
    Repeat(CallId),
}

impl Key {
    pub(super) fn client(branch: u64, method: Method, timer: Timer) -> Self {
        Self::Client(branch, method == Method::Cancel, timer)
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Timers {
    pub(super) fn add(&mut self, at: Instant, key: Key) {
        self.heap.push(Reverse((at, key)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, key))| key)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn shrink(&mut self) {
        if self.heap.capacity() > 4 * self.heap.len() + 1024 {
            self.heap.shrink_to(2 * self.heap.len());
        }
    }
}
