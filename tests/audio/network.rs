//! A seeded network between a telephone and the bridge: what is lost, and when the rest arrives. The same for the same seed.

/// What happens to packets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Network {
    /// Lost at random, percent.
    pub(crate) loss: u32,
    /// As many lost, but this many in a row on average; 0 or 1: each for itself.
    pub(crate) burst: u32,
    /// Each takes up to so much longer, ms; so they come out of order too.
    pub(crate) jitter: u64,
    /// The sender's clock is slow by so much, ppm.
    pub(crate) drift: i64,
}

/// One packet's fate: when it arrives, ns after the first could; `None`: lost.
pub(crate) type Fate = Option<u64>;

/// A small generator of numbers: the same everywhere and for ever.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `below` − 1.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below.max(1)
    }
}

impl Network {
    /// The fate of each of so many packets, sent every 20 ms of the sender's clock.
    pub(crate) fn fates(&self, packets: usize, seed: u64) -> Vec<Fate> {
        let mut dice = Dice::new(seed);
        let mut losing = false;
        // Gilbert's model: in the bad state all is lost; the states' means give loss and burst.
        let burst = u64::from(self.burst.max(1));
        let loss = u64::from(self.loss);
        (0..packets as i64)
            .map(|n| {
                losing = if burst == 1 {
                    dice.roll(100) < loss
                } else if losing {
                    dice.roll(burst) != 0
                } else {
                    loss > 0 && dice.roll(burst * (100 - loss)) < loss
                };
                let late = dice.roll(self.jitter * 1_000_000 + 1);
                let sent = n * 20_000_000 + n * 20 * self.drift;
                (!losing).then_some(sent as u64 + late)
            })
            .collect()
    }
}
