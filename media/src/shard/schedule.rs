//! When a shard comes by its conferences: each has a phase of the tick, and phases without work are slept over.

use crate::units::Nanos;

/// The tick, ns (20 ms).
pub(super) const TICK: u64 = 20_000_000;
/// Phases of a tick.
pub(super) const PHASES: u64 = crate::room::PHASES as u64;
/// From one to the next, ns.
pub(super) const PHASE: u64 = TICK / PHASES;
/// After a longer stall the missed ticks are left out and counted instead of made up for.
const MOST_CATCH_UP: u64 = 5;
/// What begins later than this after its time is counted, ns.
const LATE: u64 = 5_000_000;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There is no work in any phase.
    Nothing,
    /// To sleep for so long.
    Wait(Nanos),
    /// A pass over the phase `due % PHASES`.
    Pass {
        /// Its number since the clock began.
        due: u64,
        /// It begins too late.
        late: bool,
    },
    /// So many ticks were slept through, and are left out.
    Missed(u64),
}

/// See the module's text. All moments are ns of one clock.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The first phase that is not settled yet.
    at: u64,
}

impl Schedule {
    /// From `now` on.
    pub(super) fn new(now: u64) -> Self {
        Self { at: now / PHASE }
    }

    /// What is to be done at `now`; `busy` says whether there is work in a phase.
    pub(super) fn next(&mut self, now: u64, busy: impl Fn(u64) -> bool) -> Next {
        let Some(due) = (self.at..self.at + PHASES).find(|phase| busy(*phase)) else {
            // Whoever comes meanwhile is not late.
            self.at = now / PHASE;
            return Next::Nothing;
        };
        let Some(behind) = now.checked_sub(due * PHASE) else {
            // What comes into a phase before that one meanwhile begins with the next tick.
            self.at = due;
            return Next::Wait(Nanos(due * PHASE - now));
        };
        if behind / TICK > MOST_CATCH_UP {
            self.at = now / PHASE;
            return Next::Missed(behind / TICK);
        }
        self.at = due + 1;
        Next::Pass { due, late: behind > LATE }
    }

    /// It has slept with nothing to do until `now`.
    pub(super) fn slept(&mut self, now: u64) {
        self.at = now / PHASE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: u64 = 1000 * TICK;
    const MS: u64 = 1_000_000;

    fn pass(due: u64) -> Next {
        Next::Pass { due, late: false }
    }

    #[test]
    fn each_busy_phase_comes_once_a_tick_at_its_time() {
        let mut schedule = Schedule::new(BEGIN);
        let busy = |phase| [3, 7].contains(&(phase % PHASES));
        let mut now = BEGIN;
        let mut passes = Vec::new();
        while passes.len() < 6 {
            match schedule.next(now, busy) {
                Next::Wait(long) => now += long.0,
                Next::Pass { due, late } => {
                    assert!(!late && now == due * PHASE);
                    passes.push(now - BEGIN);
                    now += MS / 2;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(passes, [3, 7, 23, 27, 43, 47].map(|ms| ms * MS));
    }

    #[test]
    fn a_conference_that_comes_while_others_are_waited_for_is_not_late() {
        let mut schedule = Schedule::new(BEGIN);
        let first = BEGIN / PHASE;
        assert_eq!(schedule.next(BEGIN, |p| p % PHASES == 17), Next::Wait(Nanos(17 * MS)));
        // It has phase 2, which was 15 ms ago.
        let busy = |p| [2, 17].contains(&(p % PHASES));
        assert_eq!(schedule.next(BEGIN + 17 * MS, busy), pass(first + 17));
        assert_eq!(schedule.next(BEGIN + 17 * MS, busy), Next::Wait(Nanos(5 * MS)));
        assert_eq!(schedule.next(BEGIN + 22 * MS, busy), pass(first + 22));
    }

    #[test]
    fn nor_is_one_that_comes_when_there_was_nothing_to_do() {
        let mut schedule = Schedule::new(BEGIN);
        assert_eq!(schedule.next(BEGIN + 9 * MS, |_| false), Next::Nothing);
        schedule.slept(BEGIN + 15 * MS);
        let busy = |p| p % PHASES == 10;
        assert_eq!(schedule.next(BEGIN + 15 * MS, busy), Next::Wait(Nanos(15 * MS)));
    }

    #[test]
    fn what_begins_too_late_is_told_and_made_up_for_and_after_a_long_stall_left_out() {
        let mut schedule = Schedule::new(BEGIN);
        let (first, busy) = (BEGIN / PHASE, |p| p % PHASES == 0);
        assert_eq!(schedule.next(BEGIN + LATE, busy), pass(first));
        let now = BEGIN + 2 * TICK + LATE + 1;
        let late = |due, late| Next::Pass { due, late };
        assert_eq!(schedule.next(now, busy), late(first + PHASES, true));
        assert_eq!(schedule.next(now, busy), late(first + 2 * PHASES, true));
        assert_eq!(schedule.next(now, busy), Next::Wait(Nanos(TICK - LATE - 1)));
        let now = now + 10 * TICK;
        assert_eq!(schedule.next(now, busy), Next::Missed(9));
        assert_eq!(schedule.next(now, busy), Next::Wait(Nanos(TICK - LATE - 1)));
    }
}
