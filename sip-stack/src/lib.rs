//! SIP as a sans-IO protocol core, plus a thin tokio transport.
//!
//! A message's way in: [`transport`] receives it into a vault region → [`message`] reads it there, seals what is identity and lets
//! out facts → [`endpoint`] finds its transaction ([`transaction`]) and dialog ([`dialog`]) → an event for the user. The way
//! out is the reverse: the endpoint's transmits are facts, [`message::compose`] opens the sealed text in the region
//! and writes the wire text there, the transport sends it from there.
//!
//! | module | owns |
//! |---|---|
//! | [`message`] | wire text ↔ facts, inside a region |
//! | [`sdp`] | session descriptions as numbers; offer and answer |
//! | [`transaction`] | the four machines of RFC 3261 §17 |
//! | [`dialog`] | one call's dialog and session |
//! | [`endpoint`] | all transactions, calls and timers: the core without sockets and clocks |
//! | [`transport`] | sockets: UDP and TCP on tokio |
#![forbid(unsafe_code)]

pub mod dialog;
pub mod endpoint;
pub mod message;
pub mod sdp;
pub mod transaction;
pub mod transport;

pub use endpoint::{CallId, Cause, Endpoint, Event};
pub use message::{
    AddressBook, Caller, Dialled, Digit, Method, Own, Reader, Said, Shown, Target, TrunkId, TrunkRules,
    Withhold,
};
