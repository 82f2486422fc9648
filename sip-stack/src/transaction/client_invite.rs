//! INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §7.2).

use super::{Actions, Input, Timer, Times};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
    Terminated,
}

/// The machine.
#[derive(Debug, Clone, Copy)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
    interval: Duration,
}

impl ClientInvite {
    /// Before [`Input::Start`].
    pub fn new(reliable: bool) -> Self {
        Self { state: State::Calling, reliable, interval: Duration::ZERO }
    }

    /// Whether a provisional response came, so that the INVITE may be cancelled (RFC 3261 §9.1).
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Whether nothing was answered yet.
    pub fn is_calling(&self) -> bool {
        self.state == State::Calling
    }

    /// Advances the machine.
    pub fn on(&mut self, input: Input, times: &Times) -> Actions {
        let deliver = Actions { deliver: true, ..Actions::NONE };
        match (self.state, input) {
            (State::Calling, Input::Start) => {
                self.interval = times.t1;
                let sent = Actions { send: true, ..Actions::NONE }
                    .start(Timer::B, Timer::B.first(times, self.reliable));
                if self.reliable { sent } else { sent.start(Timer::A, self.interval) }
            }
            // A stale one, of the datagram that was too large, sends nothing again.
            (State::Calling, Input::Fired(Timer::A)) if !self.reliable => {
                self.interval *= 2;
                Actions { send: true, ..Actions::NONE }.start(Timer::A, self.interval)
            }
            (State::Calling, Input::Fired(Timer::B)) => Actions { timed_out: true, ..self.end() },
            (State::Calling | State::Proceeding, Input::Status(100..=199)) => {
                self.state = State::Proceeding;
                deliver
            }
            (State::Calling | State::Proceeding, Input::Status(200..=299)) => {
                self.state = State::Accepted;
                deliver.start(Timer::M, Timer::M.first(times, self.reliable))
            }
            // A 2xx that comes again, or from another branch of a fork.
            (State::Accepted, Input::Status(200..=299)) => deliver,
            (State::Accepted, Input::Fired(Timer::M)) => self.end(),
            (State::Calling | State::Proceeding, Input::Status(_)) => {
                self.state = State::Completed;
                Actions { ack: true, ..deliver }.start(Timer::D, Timer::D.first(times, self.reliable))
            }
            (State::Completed, Input::Status(300..)) => Actions { ack: true, ..Actions::NONE },
            (State::Completed, Input::Fired(Timer::D)) => self.end(),
            (State::Calling | State::Completed, Input::TransportFailed) => {
                Actions { timed_out: true, ..self.end() }
            }
            _ => Actions::NONE,
        }
    }

    fn end(&mut self) -> Actions {
        self.state = State::Terminated;
        Actions { done: true, ..Actions::NONE }
    }
}
