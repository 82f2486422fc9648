//! When a sleeper must be woken: it says that it sleeps before it looks for work a last time, and who brings work looks whether it sleeps after
//! having brought it. So one of the two sees the other, in every order (`media/loom` tries all).

use super::atomic::{AtomicBool, Ordering, fence};

/// Whether somebody sleeps who comes by too late on their own.
#[derive(Debug)]
pub(crate) struct Doze(AtomicBool);

impl Doze {
    /// Nobody sleeps.
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// To be called after work was brought: whether the sleeper must be woken now.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.swap(false, Ordering::SeqCst)
    }

    /// Before sleeping: whether there is nothing to do, so that sleep it may. Who brings work from now on wakes it.
    pub(crate) fn may_sleep(&self, has_work: impl FnOnce() -> bool) -> bool {
        self.0.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        !has_work()
    }

    /// After sleeping, or not.
    pub(crate) fn awake(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
