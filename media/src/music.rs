//! What the only participant of a conference hears while waiting for the others.

use crate::resample;
use crate::units::Rate;

/// Ticks for which somebody is alone before it begins (2 s): prompts and tones of joining come first.
const AFTER: u64 = 100;

/// A recording at each rate, played again and again. It lasts as long as the process, so that a real-time thread frees nothing.
#[derive(Debug)]
pub struct Music {
    /// Each of the same number of whole ticks.
    rates: [Box<[i16]>; Rate::ALL.len()],
}

impl Music {
    /// The shortest and the longest recording, s. The longest takes 86 MB.
    pub const LONG: std::ops::RangeInclusive<usize> = 1..=600;

    /// From a recording of one channel; what goes beyond whole ticks is left out. `None` unless it is as long as [`Self::LONG`] says.
    pub fn new(pcm: &[i16], rate: Rate) -> Option<Self> {
        let ticks = pcm.len() / rate.frame();
        let long = Self::LONG.start() * 50..=Self::LONG.end() * 50;
        long.contains(&ticks).then(|| {
            let pcm = &pcm[..ticks * rate.frame()];
            Self { rates: Rate::ALL.map(|to| resample::whole(pcm, rate, to).into()) }
        })
    }

    fn frame(&self, rate: Rate, tick: u64) -> &[i16] {
        let all = &self.rates[rate as usize];
        let n = rate.frame();
        // `resample::whole` gives as many ticks as it was given.
        let ticks = (all.len() / n).max(1) as u64;
        let at = (tick % ticks) as usize * n;
        all.get(at..at + n).unwrap_or(&[])
    }
}

/// Whether a conference's music plays, and how far it is.
#[derive(Debug, Default)]
pub struct Player {
    music: Option<&'static Music>,
    /// Ticks for which somebody has been alone.
    ticks: u64,
    /// Somebody has come: this tick is its last.
    ends: bool,
}

impl Player {
    /// One that waits; it plays nothing when there is no music.
    pub fn new(music: Option<&'static Music>) -> Self {
        Self { music, ..Self::default() }
    }

    /// A tick begins.
    pub fn tick(&mut self, alone: bool) {
        self.ends = !alone && self.plays() && !self.ends;
        self.ticks = if alone || self.ends { self.ticks + 1 } else { 0 };
    }

    /// Whether something is to be heard in this tick.
    pub fn plays(&self) -> bool {
        self.music.is_some() && self.ticks > AFTER
    }

    /// Lays this tick of it over what the leg would hear, at `rate`: softly at its first tick and at its last.
    pub fn lay_over(&self, frame: &mut [i16], rate: Rate) {
        let Some(music) = self.music.filter(|_| self.plays()) else { return };
        let tick = self.ticks - AFTER - 1;
        let n = frame.len() as i32;
        for (i, (f, m)) in (0..n).zip(frame.iter_mut().zip(music.frame(rate, tick))) {
            let gain = if self.ends {
                n - i
            } else if tick == 0 {
                i
            } else {
                n
            };
            *f = f.saturating_add((i32::from(*m) * gain / n) as i16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = Rate::Narrow.frame();

    /// A second that rises from tick to tick.
    fn rising() -> &'static Music {
        let pcm: Vec<i16> = (0..50 * FRAME).map(|i| 100 + (i / FRAME) as i16).collect();
        Box::leak(Box::new(Music::new(&pcm, Rate::Narrow).unwrap()))
    }

    fn heard(player: &Player) -> [i16; FRAME] {
        let mut frame = [1000; FRAME];
        player.lay_over(&mut frame, Rate::Narrow);
        frame
    }

    #[test]
    fn it_begins_softly_after_two_seconds_alone_and_goes_on_from_its_beginning() {
        let mut player = Player::new(Some(rising()));
        for tick in 0..AFTER {
            player.tick(true);
            assert!(!player.plays(), "tick {tick}");
            assert_eq!(heard(&player), [1000; FRAME]);
        }
        player.tick(true);
        let first = heard(&player);
        assert!(first.is_sorted() && first[0] == 1000 && first[FRAME - 1] > 1095, "{first:?}");
        for tick in 1..120 {
            player.tick(true);
            assert_eq!(heard(&player), [1100 + tick % 50; FRAME], "tick {tick}");
        }
    }

    #[test]
    fn it_ends_softly_when_somebody_comes_and_begins_anew_later() {
        let mut player = Player::new(Some(rising()));
        (0..AFTER + 10).for_each(|_| player.tick(true));
        player.tick(false);
        let last = heard(&player);
        assert!(last.is_sorted_by(|a, b| a >= b) && last[0] == 1110 && last[FRAME - 1] < 1005, "{last:?}");
        player.tick(false);
        assert!(!player.plays());
        (0..AFTER).for_each(|_| player.tick(true));
        assert!(!player.plays());
        player.tick(true);
        assert!(player.plays());
        // Who is alone again at once hears no gap.
        player.tick(false);
        player.tick(true);
        assert!(player.plays());
    }

    #[test]
    fn it_is_as_long_at_every_rate_and_neither_too_short_nor_too_long() {
        let music = Music::new(&vec![5; 48 * 1234 + 7], Rate::Full).unwrap();
        for rate in Rate::ALL {
            assert_eq!(music.rates[rate as usize].len(), 61 * rate.frame(), "{rate:?}");
            assert_eq!(music.frame(rate, u64::MAX).len(), rate.frame());
        }
        assert!(Music::new(&[], Rate::Narrow).is_none());
        assert!(Music::new(&vec![0; 8 * 1000 - 1], Rate::Narrow).is_none());
        assert!(Music::new(&vec![0; 8 * 600_000], Rate::Narrow).is_some());
        assert!(Music::new(&vec![0; 8 * 600_020], Rate::Narrow).is_none());
    }

    #[test]
    fn without_music_nothing_plays() {
        let mut player = Player::new(None);
        (0..2 * AFTER).for_each(|_| player.tick(true));
        assert_eq!((player.plays(), heard(&player)), (false, [1000; FRAME]));
    }
}
