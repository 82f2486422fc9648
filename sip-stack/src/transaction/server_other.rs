//! Non-INVITE server transaction (RFC 3261 §17.2.2).

use super::{Actions, Input, Timer, Times};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// The machine.
#[derive(Debug, Clone, Copy)]
pub struct ServerOther {
    state: State,
    reliable: bool,
}

impl ServerOther {
    /// A new request came.
    pub fn new(reliable: bool) -> Self {
        Self { state: State::Trying, reliable }
    }

    /// Advances the machine.
    pub fn on(&mut self, input: Input, times: &Times) -> Actions {
        let send = Actions { send: true, ..Actions::NONE };
        match (self.state, input) {
            (State::Trying | State::Proceeding, Input::Status(100..=199)) => {
                self.state = State::Proceeding;
                send
            }
            (State::Trying | State::Proceeding, Input::Status(_)) => {
                self.state = State::Completed;
                send.start(Timer::J, Timer::J.first(times, self.reliable))
            }
            (State::Proceeding | State::Completed, Input::Again) => send,
            (State::Completed, Input::Fired(Timer::J)) => self.end(),
            (State::Trying | State::Proceeding | State::Completed, Input::TransportFailed) => self.end(),
            _ => Actions::NONE,
        }
    }

    fn end(&mut self) -> Actions {
        self.state = State::Terminated;
        Actions { done: true, ..Actions::NONE }
    }
}
