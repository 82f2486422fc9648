//! Telephone events received (RFC 4733).
//!
//! A digit is reported once, at the first packet that carries it: repeats, a lost end bit or a lost first packet
//! change nothing. Digits may be a PIN: they pass to the conference and nowhere else.

use crate::units::RtpTime;

/// One key: 0–9, `*`, `#`, A–D. Its `Debug` does not show which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digit(u8);

impl Digit {
    /// By its event number, 0 to 15 (RFC 4733 §3.2).
    pub(crate) fn new(event: u8) -> Self {
        Self(event & 15)
    }

    /// The key as a character.
    pub fn key(self) -> char {
        char::from(b"0123456789*#ABCD"[usize::from(self.0)])
    }
}

impl std::fmt::Debug for Digit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digit(_)")
    }
}

/// Recognises digits in one leg's telephone-event packets.
#[derive(Debug, Default)]
pub struct EventReceiver {
    last: Option<(RtpTime, u8)>,
}

impl EventReceiver {
    /// Takes a telephone-event payload (RFC 4733 §2.3) with its packet's timestamp. Several events in one packet
    /// (§2.5.1.4) and events above 15 are passed over.
    pub fn push(&mut self, time: RtpTime, payload: &[u8]) -> Option<Digit> {
        let (event, _) = payload.split_first_chunk::<4>()?;
        let digit = event[0];
        if digit > 15 {
            return None;
        }
        // All packets of an event carry the timestamp of its start. A reordered older one is not a new event.
        if let Some((last, key)) = self.last {
            let ahead = time.ahead_of(last);
            if ahead < 0 || (ahead == 0 && key == digit) {
                return None;
            }
        }
        self.last = Some((time, digit));
        Some(Digit(digit))
    }

    /// A new stream has a new timeline.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: u8, end: bool, duration: u16) -> [u8; 4] {
        let [hi, lo] = duration.to_be_bytes();
        [key, if end { 0x8a } else { 0x0a }, hi, lo]
    }

    #[test]
    fn a_digit_is_reported_once_however_often_it_is_repeated() {
        let mut receiver = EventReceiver::default();
        let got: Vec<_> = [(1, false, 160), (1, false, 320), (1, true, 480), (1, true, 480), (1, true, 480)]
            .iter()
            .filter_map(|(k, e, d)| receiver.push(RtpTime(1000), &event(*k, *e, *d)))
            .map(Digit::key)
            .collect();
        assert_eq!(got, ['1']);
    }

    #[test]
    fn the_same_key_twice_is_two_digits_even_when_the_end_bit_was_lost() {
        let mut receiver = EventReceiver::default();
        assert_eq!(receiver.push(RtpTime(1000), &event(5, false, 160)).map(Digit::key), Some('5'));
        assert_eq!(receiver.push(RtpTime(3000), &event(5, true, 480)).map(Digit::key), Some('5'));
        assert!(receiver.push(RtpTime(1000), &event(5, true, 480)).is_none(), "reordered");
    }

    #[test]
    fn a_new_stream_begins_at_any_timestamp() {
        let mut receiver = EventReceiver::default();
        assert!(receiver.push(RtpTime(5000), &event(15, true, 1)).is_some_and(|d| d.key() == 'D'));
        assert!(receiver.push(RtpTime(4000), &event(1, true, 1)).is_none());
        receiver.reset();
        assert!(receiver.push(RtpTime(4000), &event(1, true, 1)).is_some());
    }

    #[test]
    fn nonsense_is_no_digit_and_debug_shows_none() {
        let mut receiver = EventReceiver::default();
        assert!(receiver.push(RtpTime(0), &[1, 2, 3]).is_none());
        assert!(receiver.push(RtpTime(0), &event(16, false, 1)).is_none());
        let star = receiver.push(RtpTime(0), &event(10, false, 1)).unwrap();
        assert_eq!((star.key(), format!("{star:?}").as_str()), ('*', "Digit(_)"));
    }
}
