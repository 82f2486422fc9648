//! How full each phase of the tick is, and what that does to the phases behind it: where a conference's tick may go.

use super::schedule::{PHASE, PHASES};

/// A pass may begin so long after its time because of those before it, ns.
const BEHIND: u64 = 2_000_000;
/// What a tick of a leg takes until it was measured, ns.
const USUAL: u64 = 4000;

/// The legs of each phase, and what one of them takes.
#[derive(Debug, Clone)]
pub(super) struct Crowd {
    legs: [u64; PHASES as usize],
    /// ns.
    cost: u64,
}

impl Crowd {
    /// So many legs in each phase; `cost` is what a tick of one takes, ns, if it is known.
    pub(super) fn new(legs: [u64; PHASES as usize], cost: Option<u64>) -> Self {
        Self { legs, cost: cost.unwrap_or(USUAL) }
    }

    /// By how much the pass that suffers most is delayed by those before it, ns.
    fn behind(&self) -> u64 {
        let (mut behind, mut worst) = (0u64, 0);
        // Twice around: what the last phase leaves over delays the first.
        for legs in self.legs.iter().chain(&self.legs) {
            if *legs > 0 {
                worst = worst.max(behind);
            }
            behind = (behind + legs * self.cost).saturating_sub(PHASE);
        }
        worst
    }

    /// With `size` legs of one phase in another.
    pub(super) fn moved(&self, from: usize, to: usize, size: u64) -> Self {
        let mut moved = self.clone();
        moved.legs[from] -= size.min(moved.legs[from]);
        moved.legs[to] += size;
        moved
    }

    /// The phase for a conference of `size` legs that ticks in the phase `from`, and for which it would be good to tick as many phases earlier as
    /// `wish` has bits for. `None`: it is to stay.
    ///
    /// Among good phases that delay nobody it is the fullest, as each phase in use is a wake-up. Where there is none, it stays, unless it does harm there:
    /// then it goes where it does the least, and its packets wait.
    pub(super) fn place(&self, from: usize, size: u64, wish: u32) -> Option<usize> {
        let all = PHASES as usize;
        let to = |earlier: usize| (from + all - earlier) % all;
        let behind = |to: usize| self.moved(from, to, size).behind();
        let good = (0..all).filter(|earlier| wish & 1 << earlier != 0 && behind(to(*earlier)) <= BEHIND);
        if let Some(best) = good.max_by_key(|e| (self.legs[to(*e)], *e == 0)) {
            return Some(to(best)).filter(|_| best != 0);
        }
        let here = self.behind();
        let least = (1..all).map(|e| (behind(to(e)), to(e))).min()?;
        // Not at once: whoever moves makes listeners' packets come at another moment.
        (here > 2 * BEHIND && least.0 < here).then_some(least.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: u32 = u32::MAX >> 12;

    fn crowd(legs: &[(usize, u64)], cost: u64) -> Crowd {
        let mut all = [0; PHASES as usize];
        legs.iter().for_each(|(phase, n)| all[*phase] += *n);
        Crowd::new(all, Some(cost))
    }

    #[test]
    fn what_is_left_over_delays_the_next_phases_even_around_the_end() {
        assert_eq!(crowd(&[(3, 1000), (9, 5)], 1000).behind(), 0);
        assert_eq!(crowd(&[(3, 4000), (4, 1)], 1000).behind(), 3_000_000);
        assert_eq!(crowd(&[(3, 4000), (6, 5)], 1000).behind(), 1_000_000);
        assert_eq!(crowd(&[(18, 4000), (0, 5)], 1000).behind(), 2_000_000);
        // Nobody is there to be delayed.
        assert_eq!(crowd(&[(3, 4000)], 1000).behind(), 0);
    }

    #[test]
    fn it_goes_where_it_is_good_and_where_most_are() {
        let crowd = crowd(&[(10, 5), (8, 20), (7, 10)], 4000);
        assert_eq!(crowd.place(10, 5, 0b0100), Some(8));
        assert_eq!(crowd.place(10, 5, 0b1100), Some(8));
        assert_eq!(crowd.place(10, 5, 0b1000), Some(7));
        assert_eq!(crowd.place(10, 5, 0b0001), None);
        assert_eq!(crowd.place(10, 5, ANY), Some(8));
    }

    #[test]
    fn no_phase_fills_up_so_that_those_behind_it_begin_late() {
        // 1,250 legs in fives, all of which would like to be in phase 4 or 5.
        let mut legs = [0u64; PHASES as usize];
        let mut at: Vec<usize> = (0..250).map(|n| n % 20).collect();
        at.iter().for_each(|p| legs[*p] += 5);
        for _ in 0..3 {
            for phase in &mut at {
                let crowd = Crowd::new(legs, Some(8000));
                let wish = [4, 5].iter().map(|good| 1 << ((*phase + 20 - good) % 20)).sum();
                if let Some(to) = crowd.place(*phase, 5, wish) {
                    legs[*phase] -= 5;
                    legs[to] += 5;
                    *phase = to;
                }
            }
        }
        let crowd = Crowd::new(legs, Some(8000));
        assert!(crowd.behind() <= BEHIND, "{legs:?}");
        assert!(legs[4] + legs[5] > 300, "those that fit are where they wish: {legs:?}");
    }

    #[test]
    fn who_does_harm_moves_away_to_where_it_does_the_least() {
        // Each leg has become dearer since they gathered.
        let to = crowd(&[(4, 500), (5, 500), (6, 100)], 8000).place(5, 5, 0b0011).unwrap();
        assert!(!(3..=13).contains(&to), "{to}");
        // One conference takes longer than there is between the others: it goes where it delays them least, and stays there.
        let others = [(0, 5), (10, 5), (15, 5)];
        let with = |phase| crowd(&[&others[..], &[(phase, 2000)]].concat(), 8000);
        assert_eq!(with(5).place(5, 2000, 1), Some(0));
        assert_eq!(with(0).place(0, 2000, 1), None);
    }
}
