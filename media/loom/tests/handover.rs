//! How work is handed to a thread that sleeps, in every order that a processor may see it (loom).
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../../src/shard/doze.rs"]
mod doze;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

use doze::Doze;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Who brings work writes it into a ring, whose index is stored with release, as rtrb's is.
fn bring(ring: &AtomicUsize, doze: &Doze) -> bool {
    ring.fetch_add(1, Ordering::Release);
    doze.must_wake()
}

#[test]
fn nobody_sleeps_over_work_that_nobody_wakes_them_for() {
    loom::model(|| {
        let (ring, doze) = (Arc::new(AtomicUsize::new(0)), Arc::new(Doze::new()));
        let (there, at) = (ring.clone(), doze.clone());
        let bringer = thread::spawn(move || bring(&there, &at));
        let sleeps = doze.may_sleep(|| ring.load(Ordering::Acquire) > 0);
        let woken = bringer.join().unwrap();
        assert!(!sleeps || woken, "it sleeps, there is work, and nobody rings");
    });
}

#[test]
fn two_who_bring_work_wake_the_sleeper_once() {
    loom::model(|| {
        let (ring, doze) = (Arc::new(AtomicUsize::new(0)), Arc::new(Doze::new()));
        let bringers = [0, 1].map(|_| {
            let (ring, doze) = (ring.clone(), doze.clone());
            thread::spawn(move || bring(&ring, &doze))
        });
        let sleeps = doze.may_sleep(|| ring.load(Ordering::Acquire) > 0);
        let woken = bringers.map(|b| u8::from(b.join().unwrap())).iter().sum::<u8>();
        assert!(woken <= 1 && (!sleeps || woken == 1));
    });
}

#[test]
fn who_was_awake_all_the_time_is_not_woken_later() {
    loom::model(|| {
        let (ring, doze) = (Arc::new(AtomicUsize::new(0)), Arc::new(Doze::new()));
        let (there, at) = (ring.clone(), doze.clone());
        let bringer = thread::spawn(move || bring(&there, &at));
        let sleeps = doze.may_sleep(|| ring.load(Ordering::Acquire) > 0);
        if !sleeps {
            doze.awake();
        }
        bringer.join().unwrap();
        assert!(sleeps || !doze.must_wake(), "a ring for nothing");
    });
}
