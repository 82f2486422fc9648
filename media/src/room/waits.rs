//! Where in 20 ms a room's tick would best lie: just behind its talkers' packets.

/// Moments in a tick at which a room's tick can lie: each millisecond.
pub const PHASES: usize = 20;
/// The tick, ns.
const TICK: i64 = 20_000_000;
/// From one to the next, ns.
const PHASE: i64 = TICK / PHASES as i64;
/// A talker's packet should come this long before the tick beside what its jitter buffer needs, ns.
const MARGIN: i64 = 500_000;
/// Moments that differ by no more than this for each packet are as good, ns.
const WORTH: i64 = 250_000;

/// How long talkers' packets wait for the tick, and would wait if it came earlier.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// For each number of phases earlier: the sum.
    sums: [i64; PHASES],
    packets: i64,
}

impl Waits {
    /// A talker's packet had waited so long, and needed to, ns.
    pub(super) fn note(&mut self, waited: i64, need: i64) {
        let need = need + MARGIN;
        if !(0..TICK).contains(&waited) || need > 10_000_000 {
            // Where packets come so irregularly, no moment is better than another.
            return;
        }
        for (earlier, sum) in self.sums.iter_mut().enumerate() {
            let mut spare = waited - earlier as i64 * PHASE - need;
            // A packet that would come too late for the earlier tick waits for the one after it.
            while spare < 0 {
                spare += TICK;
            }
            *sum += spare + need;
        }
        self.packets += 1;
    }

    /// How many phases earlier the tick may come: a bit for each, for what is at most [`WORTH`] worse than the best.
    pub(super) fn good(&self) -> Option<u32> {
        let best = *self.sums.iter().min()?;
        let near = |sum: &i64| *sum <= best + WORTH * self.packets;
        let bits = self.sums.iter().enumerate().filter(|(_, sum)| near(sum)).map(|(earlier, _)| 1 << earlier);
        (self.packets >= 10).then(|| bits.sum())
    }
}
