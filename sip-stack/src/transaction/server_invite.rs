//! INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §7.1).

use super::{Actions, Input, Timer, Times};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

/// The machine. [`Input::Status`] with 100 is sent by the user at once.
#[derive(Debug, Clone, Copy)]
pub struct ServerInvite {
    state: State,
    reliable: bool,
    interval: Duration,
}

impl ServerInvite {
    /// A new INVITE came.
    pub fn new(reliable: bool) -> Self {
        Self { state: State::Proceeding, reliable, interval: Duration::ZERO }
    }

    /// Whether a final response may still be sent.
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Advances the machine.
    pub fn on(&mut self, input: Input, times: &Times) -> Actions {
        let send = Actions { send: true, ..Actions::NONE };
        let timer = |t: Timer| t.first(times, self.reliable);
        match (self.state, input) {
            (State::Proceeding, Input::Again) => send,
            (State::Proceeding, Input::Status(100..=199)) => send,
            (State::Proceeding, Input::Status(200..=299)) => {
                self.state = State::Accepted;
                send.start(Timer::L, timer(Timer::L))
            }
            (State::Proceeding, Input::Status(_)) => {
                self.state = State::Completed;
                self.interval = times.t1;
                let sent = send.start(Timer::H, timer(Timer::H));
                if self.reliable { sent } else { sent.start(Timer::G, timer(Timer::G)) }
            }
            // The user repeats its 2xx by itself until the ACK comes (RFC 3261 §13.3.1.4); a repeated INVITE is absorbed.
            (State::Accepted, Input::Status(200..=299)) => send,
            (State::Accepted, Input::Ack) => Actions { deliver: true, ..Actions::NONE },
            (State::Accepted, Input::Fired(Timer::L)) => self.end(),
            (State::Completed, Input::Again) => send,
            (State::Completed, Input::Fired(Timer::G)) => {
                self.interval = (self.interval * 2).min(times.t2);
                send.start(Timer::G, self.interval)
            }
            (State::Completed, Input::Ack) => {
                self.state = State::Confirmed;
                Actions::NONE.start(Timer::I, timer(Timer::I))
            }
            (State::Completed, Input::Fired(Timer::H)) => Actions { timed_out: true, ..self.end() },
            (State::Completed | State::Proceeding, Input::TransportFailed) => {
                Actions { timed_out: true, ..self.end() }
            }
            (State::Confirmed, Input::Fired(Timer::I)) => self.end(),
            _ => Actions::NONE,
        }
    }

    fn end(&mut self) -> Actions {
        self.state = State::Terminated;
        Actions { done: true, ..Actions::NONE }
    }
}
