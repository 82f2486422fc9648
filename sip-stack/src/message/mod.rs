//! Wire text to facts, and facts to wire text. Everything here runs inside a region.
//!
//! [`lexer`] cuts a message into borrowed parts; [`uri`] and [`values`] read typed values; [`read`] turns the whole into an
//! [`Incoming`] ([`facts`]), from which only numbers, indexes and ciphertext can leave, with the help of `body`, `caller`, `target`, `extensions`
//! [`stir`] and [`auth`], by each trunk's [`rules`]; [`compose`] writes messages from those, [`dial`] the text of calls that are asked for, [`headers`] the
//! fields that they share.

pub mod auth;
mod body;
mod caller;
pub mod compose;
pub mod dial;
mod extensions;
pub mod facts;
pub mod fault;
pub(crate) mod fields;
pub mod headers;
pub mod lexer;
mod multipart;
pub mod read;
pub mod rules;
pub mod stir;
mod target;
pub mod uri;
pub mod values;

pub use caller::Withhold;
pub use compose::{LinkToken, Reply, ReplyExtras, Wire, WireRequest};
pub use dial::{Callee, NotDialled};
pub use facts::{
    Attestation, Auth, Body, Caller, Dialled, Digit, Extensions, Hop, Incoming, LISTEN, Options, Own,
    Package, Protocol, RAck, Reason, ReferTo, Refresher, Replaces, Request, Response, Said, SessionExpires,
    Shown, Target, Verification,
};
pub use fault::{Fault, Malformed};
pub use lexer::{Message, Method, Name, Start};
pub use read::{AddressBook, Origin, Reader};
pub use rules::{DialRules, Numbering, TrunkId, TrunkRules};
