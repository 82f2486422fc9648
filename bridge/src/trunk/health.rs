//! Whether a carrier's address can be called: what its answers say, with hysteresis.

use serde::Serialize;
use std::time::Duration;

/// So many misses in a row and it is down.
const DOWN_AFTER: u8 = 3;
/// So many good answers in a row and it is up again.
const UP_AFTER: u8 = 2;
/// An answer that takes longer is not good.
const SLOW: Duration = Duration::from_millis(500);

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Up,
    /// Nothing was asked yet.
    #[default]
    Unknown,
    /// It answers slowly, not always, or that it can take nothing now.
    Degraded,
    /// It does not answer.
    Down,
}

impl State {
    /// All.
    pub const ALL: [Self; 4] = [Self::Up, Self::Unknown, Self::Degraded, Self::Down];

    /// As in metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// What its last answers were.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    state: State,
    misses: u8,
    good: u8,
    round_trip: Option<Duration>,
}

impl Health {
    /// How it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Round trips of its answers, smoothed (RFC 6298 §2.3's weight).
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Requests without an answer in a row.
    pub fn misses(&self) -> u8 {
        self.misses
    }

    /// A request was answered with this status, or not at all; `took` is a round trip, where it was one (a telephone's ringing is none). Tells the new
    /// state when it changed.
    pub fn record(&mut self, answer: Option<(u16, Option<Duration>)>) -> Option<State> {
        let before = self.state;
        match answer {
            None => {
                (self.misses, self.good) = (self.misses.saturating_add(1), 0);
                self.state =
                    if self.misses >= DOWN_AFTER { State::Down } else { State::Degraded.max(before) };
            }
            Some((status, took)) => {
                self.misses = 0;
                if let Some(took) = took {
                    self.round_trip = Some(self.round_trip.map_or(took, |old| (old * 7 + took) / 8));
                }
                // Whatever it says, it is there; 5xx says that it cannot do anything for us now.
                if took.is_some_and(|t| t > SLOW) || (500..600).contains(&status) {
                    self.good = 0;
                    self.state = State::Degraded;
                } else {
                    self.good = self.good.saturating_add(1);
                    self.state = match before {
                        State::Down | State::Degraded if self.good < UP_AFTER => State::Degraded,
                        _ => State::Up,
                    };
                }
            }
        }
        (self.state != before).then_some(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_misses_are_down_and_two_answers_are_up_again() {
        let quick = Some((200, Some(Duration::from_millis(5))));
        let slow = Some((200, Some(Duration::from_millis(900))));
        let full = Some((503, None));
        let odd = Some((404, None));
        let mut health = Health::default();
        assert_eq!(health.state(), State::Unknown);
        for (step, (answer, expected)) in [
            (quick, State::Up),
            (None, State::Degraded),
            (quick, State::Degraded),
            (odd, State::Up),
            (None, State::Degraded),
            (None, State::Degraded),
            (None, State::Down),
            (None, State::Down),
            (quick, State::Degraded),
            (None, State::Degraded),
            (quick, State::Degraded),
            (quick, State::Up),
            (slow, State::Degraded),
            (quick, State::Degraded),
            (quick, State::Up),
            (full, State::Degraded),
        ]
        .into_iter()
        .enumerate()
        {
            let before = health.state();
            let told = health.record(answer);
            assert_eq!(health.state(), expected, "step {step}");
            assert_eq!(told, (before != expected).then_some(expected), "step {step}");
        }
    }

    #[test]
    fn one_that_never_answered_is_down_too() {
        let mut health = Health::default();
        for _ in 0..3 {
            health.record(None);
        }
        assert_eq!((health.state(), health.misses(), health.round_trip()), (State::Down, 3, None));
    }
}
