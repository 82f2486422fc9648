//! Non-INVITE client transaction (RFC 3261 §17.1.2).

use super::{Actions, Input, Timer, Times};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// The machine.
#[derive(Debug, Clone, Copy)]
pub struct ClientOther {
    state: State,
    reliable: bool,
    interval: Duration,
}

impl ClientOther {
    /// Before [`Input::Start`].
    pub fn new(reliable: bool) -> Self {
        Self { state: State::Trying, reliable, interval: Duration::ZERO }
    }

    /// Advances the machine.
    pub fn on(&mut self, input: Input, times: &Times) -> Actions {
        let send = Actions { send: true, ..Actions::NONE };
        let deliver = Actions { deliver: true, ..Actions::NONE };
        match (self.state, input) {
            (State::Trying, Input::Start) => {
                self.interval = times.t1;
                let sent = send.start(Timer::F, Timer::F.first(times, self.reliable));
                if self.reliable { sent } else { sent.start(Timer::E, self.interval) }
            }
            (State::Trying | State::Proceeding, Input::Fired(Timer::E)) if self.reliable => Actions::NONE,
            (State::Trying, Input::Fired(Timer::E)) => {
                self.interval = (self.interval * 2).min(times.t2);
                send.start(Timer::E, self.interval)
            }
            (State::Proceeding, Input::Fired(Timer::E)) => send.start(Timer::E, times.t2),
            (State::Trying | State::Proceeding, Input::Fired(Timer::F) | Input::TransportFailed) => {
                Actions { timed_out: true, ..self.end() }
            }
            (State::Trying | State::Proceeding, Input::Status(100..=199)) => {
                self.state = State::Proceeding;
                deliver
            }
            (State::Trying | State::Proceeding, Input::Status(_)) => {
                self.state = State::Completed;
                deliver.start(Timer::K, Timer::K.first(times, self.reliable))
            }
            (State::Completed, Input::Fired(Timer::K)) => self.end(),
            _ => Actions::NONE,
        }
    }

    fn end(&mut self) -> Actions {
        self.state = State::Terminated;
        Actions { done: true, ..Actions::NONE }
    }
}
