//! What the user of an endpoint is told.

use super::{PingId, SubscriptionId};
use crate::dialog::Flow;
use crate::message::{Caller, Digit, Extensions, Reason, ReferTo, Target};
use crate::sdp::Session;
use std::net::SocketAddr;

/// A call of this endpoint. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What the user should know.
#[derive(Debug)]
pub enum Event {
    /// Somebody calls. Answer with [`Endpoint::progress`], [`Endpoint::accept`] or [`Endpoint::reject`].
    Invite(Box<Invite>),
    /// The peer wants to change the session, by re-INVITE or UPDATE. Answer with [`Endpoint::accept`] or [`Endpoint::reject`].
    Reinvite {
        /// The call.
        call: CallId,
        /// Its offer; `None` when ours is wanted.
        offer: Option<Session>,
    },
    /// The ACK of our 2xx came; with the answer, if the offer was ours.
    Acked {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Option<Session>,
    },
    /// The peer answered our offer before the call was answered, in the acknowledgement of a reliable provisional response.
    EarlyAnswer {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Session,
    },
    /// The peer answered the offer of [`Endpoint::modify`].
    Modified {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Session,
    },
    /// The peer refused what [`Endpoint::modify`] offered; the session is as it was.
    NotModified {
        /// The call.
        call: CallId,
        /// Its status.
        status: u16,
    },
    /// The peer wants us to call somebody else in its place. Answer with [`Endpoint::referred`].
    Refer {
        /// The call.
        call: CallId,
        /// Which REFER of it.
        refer: u32,
        /// Number under which its address is sealed.
        subject: u64,
        /// Whom.
        to: Box<ReferTo>,
    },
    /// Somebody wants to be told of a conference's state. Answer with [`Endpoint::subscribed`].
    Subscribe(Box<Subscribe>),
    /// A subscriber was told; the next change may be.
    Notified(SubscriptionId),
    /// A subscription is over.
    Unsubscribed(SubscriptionId),
    /// What became of a [`Endpoint::ping`].
    Pong {
        /// Which.
        ping: PingId,
        /// Status of the answer; `None`: there was none.
        status: Option<u16>,
    },
    /// A caller pressed a key, and their phone tells of it by INFO.
    Digit {
        /// The call.
        call: CallId,
        /// The key.
        key: Digit,
    },
    /// A call of ours rings or progresses.
    Progress {
        /// The call.
        call: CallId,
        /// Status, 101..=199.
        status: u16,
        /// An answer to our offer that came with it: early media.
        answer: Option<Session>,
    },
    /// A call of ours was answered.
    Answered {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Session,
    },
    /// The call is over.
    Ended {
        /// The call.
        call: CallId,
        /// Why.
        cause: Cause,
        /// What the peer says of it (RFC 3326).
        reason: Reason,
        /// When a peer that refused may be tried again, s.
        retry_after: Option<u32>,
    },
}

/// A subscription that somebody asks for.
#[derive(Debug)]
pub struct Subscribe {
    /// It.
    pub subscription: SubscriptionId,
    /// The packet's flow.
    pub flow: Flow,
    /// What it is to.
    pub target: Target,
}

/// A new call.
#[derive(Debug)]
pub struct Invite {
    /// The call.
    pub call: CallId,
    /// The packet's source.
    pub source: SocketAddr,
    /// Our address that was called.
    pub local: SocketAddr,
    /// Who is called.
    pub target: Target,
    /// The offer; `None` when ours is wanted.
    pub offer: Option<Session>,
    /// Number under which the caller's values are sealed.
    pub subject: u64,
    /// Who calls.
    pub caller: Option<Caller>,
    /// The packet's flow.
    pub flow: Flow,
    /// What extensions say.
    pub extensions: Extensions,
    /// The call that this one takes the place of (RFC 3891).
    pub replaces: Option<CallId>,
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The peer said BYE.
    Bye,
    /// The caller gave up before the answer.
    Cancelled,
    /// The ACK never came.
    NoAck,
    /// The peer refused, with this status.
    Refused(u16),
    /// No answer to what we sent.
    TimedOut,
    /// The answer could not be used.
    NotAcceptable,
    /// The session was not refreshed in its time (RFC 4028).
    Expired,
    /// The user refused it or hung up.
    Local,
    /// It would have been beyond its trunk's limits.
    OverLimit,
    /// It could not be made: its number may not be dialled, or there is no way to send it.
    NotMade,
}
