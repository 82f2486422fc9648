//! RTP in, mixed RTP out. This crate knows neither SIP nor who a caller is: a leg is a number.
//!
//! A packet's way: [`shard`] reads it from its leg's socket → [`rtp`] checks it → [`leg`] locks onto the source and
//! counts → [`jitter`] lays it down → at the tick [`room`] pulls a frame of each leg → [`level`] measures →
//! [`mixer`] sums → one encode per codec ([`codec`]) → sockets of all legs.
//!
//! | module | owns |
//! |---|---|
//! | [`units`] | numbers as types |
//! | [`codec`] | G.711 µ-law and A-law |
//! | [`rtp`] | packets: checked reading, header writing |
//! | [`reception`] | what arrived: loss, jitter, extended sequence (RFC 3550 A) |
//! | [`rtcp`] | reports written and read, and the task that sends them |
//! | [`jitter`] | the jitter buffer and loss concealment |
//! | [`dtmf`] | telephone events |
//! | [`level`] | loudness and speech |
//! | [`tones`] | keys that come as tones |
//! | [`prompt`] | what is said to one leg alone |
//! | [`mixer`] | one tick's mix, a pure function |
//! | [`latch`] | symmetric RTP: the lock on a source |
//! | [`leg`] | one leg's media: everything above for one call |
//! | [`room`] | one conference's legs and tick |
//! | [`ports`] | pairs of UDP ports and their sockets |
//! | [`shard`] | the real-time thread around rooms and sockets |
//! | [`engine`] | the rest's handle on shards: rings in and out |
//!
//! A module imports only from those above it.
#![deny(unsafe_code)]

pub mod codec;
pub mod dtmf;
pub mod engine;
pub mod jitter;
pub mod latch;
pub mod leg;
pub mod level;
pub mod mixer;
pub mod ports;
pub mod prompt;
pub mod reception;
pub mod room;
pub mod rtcp;
pub mod rtp;
pub mod shard;
pub mod tones;
pub mod units;

pub use codec::Codec;
pub use dtmf::Digit;
pub use engine::{Engine, EngineError, Event};
pub use leg::{Direction, LegSetup, Report};
pub use level::Level;
pub use prompt::Prompt;
pub use units::{LegId, Nanos, PayloadType, RoomId};
