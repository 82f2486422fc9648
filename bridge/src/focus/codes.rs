//! Codes that a caller dials during the call. Keys are kept only while they may be part of a code.

use crate::disclosure::{Choice, Wish};
use crate::prompt::ToDial;
use std::time::Duration;
use tokio::time::Instant;

/// A longer pause ends a code.
const PAUSE: Duration = Duration::from_secs(4);

/// What a code does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The caller chooses what is shown of them.
    Choose(Choice),
    /// The caller wants a code for their own page.
    Link,
    /// What a caller does to themselves.
    Own(OwnKey),
    /// What a host does to the meeting; of who is none it is nothing.
    Host(HostKey),
}

/// What a caller does to themselves by a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnKey {
    /// Mutes, or is heard again.
    Mute,
    /// Raises their hand, or lowers it.
    Hand,
    /// Hears nothing, or hears again.
    Deafen,
    /// Hears louder.
    Louder,
    /// Hears softer.
    Softer,
    /// Hears how many are in the meeting.
    People,
    /// Hears what can be dialled.
    Help,
    /// Leaves.
    Leave,
}

/// What a host does to the meeting by a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKey {
    /// Everybody else is muted.
    MuteAll,
    /// What hosts have muted is heard again.
    UnmuteAll,
    /// Nobody comes in any more, or they do again.
    Lock,
    /// Only who has the floor is heard, or everybody again.
    Lecture,
    /// All who wait come in.
    AdmitAll,
    /// It is over.
    End,
}

/// The codes that callers may dial; none begins with another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codes(pub Vec<(String, Act)>);

impl Codes {
    /// The codes that withhold and share everything, and the one for the caller's own page; empty where there is none.
    pub fn to_tell(&self) -> [&str; 3] {
        let all =
            [Act::Choose(Choice::all(Wish::Withhold)), Act::Choose(Choice::all(Wish::Share)), Act::Link];
        all.map(|act| self.of(act))
    }

    /// What a caller dials for this; empty where there is nothing.
    pub fn of(&self, act: Act) -> &str {
        self.0.iter().find(|(_, a)| *a == act).map_or("", |(code, _)| code)
    }

    /// What prompts tell callers to dial.
    pub fn to_dial(&self) -> ToDial<'_> {
        ToDial {
            mute: self.of(Act::Own(OwnKey::Mute)),
            hand: self.of(Act::Own(OwnKey::Hand)),
            withhold: self.of(Act::Choose(Choice::all(Wish::Withhold))),
            leave: self.of(Act::Own(OwnKey::Leave)),
            mute_all: self.of(Act::Host(HostKey::MuteAll)),
            lock: self.of(Act::Host(HostKey::Lock)),
            end: self.of(Act::Host(HostKey::End)),
        }
    }
}

/// How a key came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In the audio: as a telephone event (RFC 4733), or as tones where those were not agreed on.
    Media,
    /// By INFO.
    Info,
}

/// The longest code, keys.
const LONGEST: usize = 8;

/// What one caller has dialled of a code.
#[derive(Default)]
pub(super) struct Keys {
    /// The first `count` are keys; behind them are zeros.
    dialled: [u8; LONGEST],
    count: usize,
    last: Option<Instant>,
    /// The first way by which a key came: some phones tell of each key by several.
    way: Option<Way>,
}

impl Keys {
    /// Takes a key.
    pub(super) fn press(&mut self, codes: &Codes, now: Instant, way: Way, key: char) -> Option<Act> {
        if *self.way.get_or_insert(way) != way {
            return None;
        }
        if self.last.replace(now).is_some_and(|last| now - last > PAUSE) {
            self.forget(self.count);
        }
        self.forget((self.count + 1).saturating_sub(LONGEST));
        self.dialled[self.count] = u8::try_from(key).ok()?;
        self.count += 1;
        // The longest end of what was dialled that may become a code stays.
        while self.count > 0 && !codes.0.iter().any(|(code, _)| code.as_bytes().starts_with(self.dialled())) {
            self.forget(1);
        }
        let act = codes.0.iter().find(|(code, _)| code.as_bytes() == self.dialled())?.1;
        self.forget(self.count);
        Some(act)
    }

    fn dialled(&self) -> &[u8] {
        &self.dialled[..self.count]
    }

    /// Takes the first keys away, out of the memory too: they may be of somebody's PIN.
    fn forget(&mut self, keys: usize) {
        self.dialled.copy_within(keys.., 0);
        self.dialled[LONGEST - keys..].fill(0);
        self.count -= keys;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Act = Act::Choose(Choice::all(Wish::Share));
    const WITHHOLD: Act = Act::Choose(Choice::all(Wish::Withhold));

    fn codes() -> Codes {
        Codes(vec![("*67".into(), WITHHOLD), ("*82".into(), SHARE), ("*83".into(), Act::Link)])
    }

    fn pressed(keys: &str, pause: Duration) -> Vec<Act> {
        let (mut state, mut now) = (Keys::default(), Instant::now());
        let mut press = |key| {
            now += pause;
            state.press(&codes(), now, Way::Media, key)
        };
        keys.chars().filter_map(&mut press).collect()
    }

    #[test]
    fn a_code_is_found_among_other_keys_and_only_whole() {
        let soon = Duration::from_millis(300);
        for (keys, expected) in [
            ("*67", vec![WITHHOLD]),
            ("*82", vec![SHARE]),
            ("*83", vec![Act::Link]),
            ("12*67*829", vec![WITHHOLD, SHARE]),
            ("**67", vec![WITHHOLD]),
            ("*6*67", vec![WITHHOLD]),
            ("*8*67", vec![WITHHOLD]),
            ("*6", vec![]),
            ("67", vec![]),
            ("*687", vec![]),
            ("#*D67", vec![]),
        ] {
            assert_eq!(pressed(keys, soon), expected, "{keys}");
        }
    }

    #[test]
    fn the_codes_can_be_named() {
        assert_eq!(codes().to_tell(), ["*67", "*82", "*83"]);
        let name_only = Choice { name: Some(Wish::Share), ..Choice::default() };
        assert_eq!(Codes(vec![("*1".into(), Act::Choose(name_only))]).to_tell(), [""; 3]);
    }

    #[test]
    fn a_key_that_is_told_both_ways_counts_once() {
        let (mut state, now) = (Keys::default(), Instant::now());
        let both = "*67".chars().flat_map(|key| [(Way::Info, key), (Way::Media, key)]);
        let acts: Vec<_> = both.filter_map(|(way, key)| state.press(&codes(), now, way, key)).collect();
        assert_eq!(acts, [WITHHOLD]);
    }

    #[test]
    fn a_long_pause_ends_a_code() {
        assert_eq!(pressed("*67", PAUSE), [WITHHOLD]);
        assert_eq!(pressed("*67", PAUSE + Duration::from_millis(1)), []);
    }

    #[test]
    fn nothing_is_kept_that_is_no_part_of_a_code() {
        let mut state = Keys::default();
        for key in "0123456789".repeat(100).chars() {
            state.press(&codes(), Instant::now(), Way::Media, key);
            assert_eq!(state.dialled, [0; LONGEST]);
        }
        for (key, kept) in [('*', "*"), ('6', "*6"), ('*', "*"), ('8', "*8"), ('2', "")] {
            state.press(&codes(), Instant::now(), Way::Media, key);
            let mut expected = [0; LONGEST];
            expected[..kept.len()].copy_from_slice(kept.as_bytes());
            assert_eq!(state.dialled, expected, "after {key}");
        }
    }

    #[test]
    fn a_code_of_the_greatest_length_is_found_whatever_came_before() {
        let codes = Codes(vec![("*1111111".into(), SHARE)]);
        let mut state = Keys::default();
        let mut press = |key| state.press(&codes, Instant::now(), Way::Media, key);
        let acts: Vec<_> = "*111111*1111111".chars().filter_map(&mut press).collect();
        assert_eq!(acts, [SHARE]);
        assert_eq!(state.dialled, [0; LONGEST], "and forgotten");
    }
}
