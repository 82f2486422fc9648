//! How much packets' delays spread: what the buffer must bridge.
//!
//! A packet's transit is its arrival less its place on the timeline. The least transit of the last seconds is the baseline: it follows a
//! sender whose clock runs faster or slower. What a packet took longer than that is its delay. The spread is the second longest delay among the
//! longest of each of the last ten seconds: what is exceeded in more than one of them is no exception.

use crate::units::Nanos;

/// Seconds that are looked back upon.
const SECONDS: usize = 10;
/// The baseline is the least of so many of them.
const BASE: usize = 4;
const SECOND: i64 = 1_000_000_000;
/// A way that is shorter by this is another one, ns.
const SHORTER: i64 = 200_000_000;
/// No more than this is waited for, ns.
const MOST: i64 = 400_000_000;

#[derive(Debug, Clone, Copy)]
struct Second {
    least: i64,
    most: i64,
}

const NONE: Second = Second { least: i64::MAX, most: i64::MIN };

/// See the module's text.
#[derive(Debug)]
pub(super) struct Spread {
    now: Second,
    /// The seconds before, the newest first: looked at once a second, so they lie elsewhere.
    before: Box<[Second; SECONDS - 1]>,
    /// Whether any was.
    aged: bool,
    begun: Option<Nanos>,
    baseline: i64,
    spread: i64,
}

impl Default for Spread {
    fn default() -> Self {
        let before = Box::new([NONE; SECONDS - 1]);
        Self { now: NONE, before, aged: false, begun: None, baseline: 0, spread: 0 }
    }
}

impl Spread {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.before.fill(NONE);
        (self.now, self.aged, self.begun) = (NONE, false, None);
        (self.baseline, self.spread) = (0, 0);
    }

    /// A packet arrived with this transit, ns.
    pub(super) fn note(&mut self, transit: i64, arrival: Nanos) {
        let begun = *self.begun.get_or_insert(arrival);
        if arrival.since(begun) >= SECOND {
            self.begun = Some(arrival);
            self.before.rotate_right(1);
            self.before[0] = std::mem::replace(&mut self.now, NONE);
            self.aged = true;
            self.look();
        }
        let usual = self.before[0].least;
        if usual != i64::MAX && usual - transit > SHORTER {
            // The way has become another: what was on the old one says nothing of this.
            self.clear();
            self.begun = Some(arrival);
        }
        if transit < self.now.least {
            self.now.least = transit;
            if transit < self.baseline || !self.aged {
                self.look();
            }
        }
        if transit > self.now.most {
            self.now.most = transit;
            // What takes no longer than is allowed for changes nothing.
            if transit - self.baseline > self.spread {
                self.look();
            }
        }
    }

    /// This is no exception: so long a packet may take from now on.
    pub(super) fn usual(&mut self, transit: i64) {
        let before = &mut self.before[0];
        if transit > before.most {
            before.most = transit;
            self.look();
        }
    }

    fn look(&mut self) {
        let least = self.before[..BASE - 1].iter().map(|s| s.least).fold(self.now.least, i64::min);
        self.baseline = if least == i64::MAX { 0 } else { least };
        let (mut first, mut second, mut seen) = (0, 0, 0);
        for s in std::iter::once(&self.now).chain(&*self.before).filter(|s| s.most != i64::MIN) {
            seen += 1;
            let delay = s.most - self.baseline;
            if delay > first {
                (first, second) = (delay, first);
            } else if delay > second {
                second = delay;
            }
        }
        // A young stream has no exceptions yet.
        self.spread = if seen < 3 { first } else { second }.min(MOST);
    }

    /// The least transit, ns.
    pub(super) fn baseline(&self) -> i64 {
        self.baseline
    }

    /// How much longer than the least a packet may take, ns.
    pub(super) fn spread(&self) -> i64 {
        self.spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_follows_what_is_usual_and_forgets_it() {
        let mut spread = Spread::default();
        let mut now = 0;
        let mut feed = |spread: &mut Spread, seconds: u64, delay: &dyn Fn(u64) -> i64| {
            for n in 0..seconds * 50 {
                spread.note(7_000_000 + delay(n), Nanos(now * 20_000_000));
                now += 1;
            }
        };
        feed(&mut spread, 5, &|_| 0);
        assert_eq!((spread.baseline(), spread.spread()), (7_000_000, 0));
        feed(&mut spread, 1, &|n| if n == 10 { 80_000_000 } else { 0 });
        assert_eq!(spread.spread(), 0, "one exception");
        feed(&mut spread, 3, &|n| (n % 5) as i64 * 10_000_000);
        assert_eq!(spread.spread(), 40_000_000);
        feed(&mut spread, 12, &|_| 0);
        assert_eq!(spread.spread(), 0);
    }

    #[test]
    fn a_sender_whose_clock_differs_has_no_spread_for_that() {
        for ppm in [-500i64, 500] {
            let mut spread = Spread::default();
            for n in 0..50 * 600 {
                spread.note(n * 20_000_000 / 1_000_000 * ppm, Nanos(n as u64 * 20_000_000));
            }
            assert!(spread.spread() <= 5_000_000, "{ppm}: {}", spread.spread());
        }
    }
}
