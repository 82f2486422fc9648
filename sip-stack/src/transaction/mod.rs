//! The four transaction machines of RFC 3261 §17 with RFC 6026's corrections, as pure state: an [`Input`] goes in, an
//! [`Actions`] comes out. No text, no socket, no clock.

mod client_invite;
mod client_other;
mod server_invite;
mod server_other;

pub use client_invite::ClientInvite;
pub use client_other::ClientOther;
pub use server_invite::ServerInvite;
pub use server_other::ServerOther;

use std::time::Duration;

/// The basic times (RFC 3261 §17.1.1.1).
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Round-trip estimate.
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// How long a message may stay in the network.
    pub t4: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// The timers of RFC 3261 table 4, and L and M of RFC 6026. (C is a proxy's.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Timer {
    A,
    B,
    D,
    E,
    F,
    G,
    H,
    I,
    J,
    K,
    L,
    M,
}

impl Timer {
    /// Its first value. Timers that only wait for stray retransmissions are zero on a reliable transport.
    pub fn first(self, times: &Times, reliable: bool) -> Duration {
        let unreliable_only = |d| if reliable { Duration::ZERO } else { d };
        match self {
            Self::A | Self::E | Self::G => times.t1,
            Self::B | Self::F | Self::H | Self::L | Self::M => times.t1 * 64,
            Self::D => unreliable_only(Duration::from_secs(32).max(times.t1 * 64)),
            Self::I | Self::K => unreliable_only(times.t4),
            Self::J => unreliable_only(times.t1 * 64),
        }
    }
}

/// What happens to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The transaction begins: a client's request is to be sent, a server's request came.
    Start,
    /// Server: the request came again.
    Again,
    /// Server INVITE: its ACK came.
    Ack,
    /// Server: the user sends a response. Client: a response came.
    Status(u16),
    /// A timer fired.
    Fired(Timer),
    /// The transport failed.
    TransportFailed,
}

/// What a machine wants done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions {
    /// Send the request (client) or the last response (server).
    pub send: bool,
    /// Client INVITE: send the ACK of a final response that is no success.
    pub ack: bool,
    /// Hand the input to the user: a new response (client), an ACK of a success (server).
    pub deliver: bool,
    /// Timers to start.
    pub start: [Option<(Timer, Duration)>; 2],
    /// Tell the user that no answer (client) or no ACK (server) came.
    pub timed_out: bool,
    /// The transaction is over.
    pub done: bool,
}

impl Actions {
    const NONE: Self =
        Self { send: false, ack: false, deliver: false, start: [None; 2], timed_out: false, done: false };

    fn start(mut self, timer: Timer, after: Duration) -> Self {
        let slot = usize::from(self.start[0].is_some());
        self.start[slot] = Some((timer, after));
        self
    }
}

#[cfg(test)]
mod tests;
