//! Codes that a caller dials during the call. Keys are kept only while they may be part of a code.

use std::time::Duration;
use tokio::time::Instant;

/// A longer pause ends a code.
const PAUSE: Duration = Duration::from_secs(4);

/// What a caller wishes by a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Show neither name nor number.
    Withhold,
    /// Show both.
    Share,
}

/// The codes of a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// To withhold.
    pub withhold: String,
    /// To share.
    pub share: String,
}

/// How a key came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As a telephone event (RFC 4733).
    Event,
    /// By INFO.
    Info,
}

/// What one caller has dialled of a code.
#[derive(Default)]
pub(super) struct Keys {
    dialled: String,
    last: Option<Instant>,
    /// The first way by which a key came: some phones tell of each key by several.
    way: Option<Way>,
}

impl Keys {
    /// Takes a key.
    pub(super) fn press(&mut self, codes: &Codes, now: Instant, way: Way, key: char) -> Option<Wish> {
        if *self.way.get_or_insert(way) != way {
            return None;
        }
        if self.last.replace(now).is_some_and(|last| now - last > PAUSE) {
            self.dialled.clear();
        }
        self.dialled.push(key);
        let all = [(&codes.withhold, Wish::Withhold), (&codes.share, Wish::Share)];
        // The longest end of what was dialled that may become a code stays.
        while !all.iter().any(|(code, _)| code.starts_with(&self.dialled)) {
            self.dialled.remove(0);
        }
        let (_, wish) = all.into_iter().find(|(code, _)| **code == self.dialled)?;
        self.dialled.clear();
        Some(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(keys: &str, pause: Duration) -> Vec<Wish> {
        let codes = Codes { withhold: "*67".into(), share: "*82".into() };
        let (mut state, mut now) = (Keys::default(), Instant::now());
        let mut press = |key| {
            now += pause;
            state.press(&codes, now, Way::Event, key)
        };
        keys.chars().filter_map(&mut press).collect()
    }

    #[test]
    fn a_code_is_found_among_other_keys_and_only_whole() {
        use Wish::{Share, Withhold};
        let soon = Duration::from_millis(300);
        for (keys, expected) in [
            ("*67", vec![Withhold]),
            ("*82", vec![Share]),
            ("12*67*829", vec![Withhold, Share]),
            ("**67", vec![Withhold]),
            ("*6*67", vec![Withhold]),
            ("*8*67", vec![Withhold]),
            ("*6", vec![]),
            ("67", vec![]),
            ("*687", vec![]),
            ("#*D67", vec![]),
        ] {
            assert_eq!(pressed(keys, soon), expected, "{keys}");
        }
    }

    #[test]
    fn a_key_that_is_told_both_ways_counts_once() {
        let codes = Codes { withhold: "*67".into(), share: "*82".into() };
        let (mut state, now) = (Keys::default(), Instant::now());
        let both = "*67".chars().flat_map(|key| [(Way::Info, key), (Way::Event, key)]);
        let wishes: Vec<_> = both.filter_map(|(way, key)| state.press(&codes, now, way, key)).collect();
        assert_eq!(wishes, [Wish::Withhold]);
    }

    #[test]
    fn a_long_pause_ends_a_code() {
        assert_eq!(pressed("*67", PAUSE), [Wish::Withhold]);
        assert_eq!(pressed("*67", PAUSE + Duration::from_millis(1)), []);
    }

    #[test]
    fn nothing_is_kept_that_is_no_part_of_a_code() {
        let codes = Codes { withhold: "*67".into(), share: "*82".into() };
        let mut state = Keys::default();
        for key in "0123456789".repeat(100).chars() {
            state.press(&codes, Instant::now(), Way::Event, key);
            assert!(state.dialled.is_empty());
        }
    }
}
