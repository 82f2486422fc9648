//! The endpoint's timers. Most are short, and are not removed early: the machine that gets a stale one ignores it. Those that may last for
//! an hour are removed with what they belong to.

use super::{CallId, SubscriptionId};
use crate::message::Method;
use crate::transaction::Timer;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
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
    /// A reliable provisional response that is repeated, by its number.
    Reliable(CallId, u32),
    /// A session that is to be refreshed, or is over.
    Session(CallId, u32),
    /// A change of the session that is tried again.
    Retry(CallId),
    /// A call of ours to which nothing was answered.
    Silence(CallId, u64),
    /// A call of ours that nobody answered.
    Ring(CallId),
    /// An INVITE that was cancelled, or that nobody has to think about, and has no final response.
    GivenUp(u64),
    /// A subscription that is over.
    Subscription(SubscriptionId),
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
    long: BTreeSet<(Instant, Key)>,
}

impl Timers {
    pub(super) fn add(&mut self, at: Instant, key: Key) {
        self.heap.push(Reverse((at, key)));
    }

    /// Adds one that lasts.
    pub(super) fn add_long(&mut self, at: Instant, key: Key) {
        self.long.insert((at, key));
    }

    /// Removes one that lasts.
    pub(super) fn remove_long(&mut self, at: Instant, key: Key) {
        self.long.remove(&(at, key));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let short = self.heap.peek().map(|Reverse((at, _))| *at);
        short.into_iter().chain(self.long.first().map(|(at, _)| *at)).min()
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<Key> {
        let next = self.next().filter(|at| *at <= now)?;
        if self.long.first().is_some_and(|(at, _)| *at == next) {
            return self.long.pop_first().map(|(_, key)| key);
        }
        self.heap.pop().map(|Reverse((_, key))| key)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len() + self.long.len()
    }

    pub(super) fn shrink(&mut self) {
        if self.heap.capacity() > 4 * self.heap.len() + 1024 {
            self.heap.shrink_to(2 * self.heap.len());
        }
    }
}
