//! RTP in, mixed RTP out. This crate knows neither SIP nor who a caller is: a leg is a number.
//!
//! A packet's way: [`shard`] reads it from its leg's socket → [`rtp`] checks it → [`leg`] locks onto the source and
//! counts → [`jitter`] keeps it → at the tick [`room`] pulls a frame of each leg, decoded ([`codec`]) → [`level`] measures →
//! [`mixer`] sums at each rate in use → one encode per way of encoding → sockets of all legs.
//!
//! | module | owns |
//! |---|---|
//! | [`units`] | numbers as types |
//! | `prefetch` | a hint to the processor |
//! | [`codec`] | Opus, G.722, G.711, L16 |
//! | [`emodel`] | how well speech is heard, by codec |
//! | [`resample`] | from one rate to another |
//! | [`noise`] | quiet noise where nobody speaks |
//! | [`rtp`] | packets: checked reading, header writing |
//! | [`srtp`] | packets encrypted and opened (RFC 3711, RFC 7714) |
//! | [`ice`] | ICE-lite: a peer's checks answered |
//! | [`dtls`] | SRTP keys agreed on by DTLS, on a thread of its own |
//! | [`reception`] | what arrived: loss, jitter, extended sequence (RFC 3550 A) |
//! | [`bursts`] | whether losses come together |
//! | [`rtcp`] | reports written and read |
//! | [`jitter`] | the jitter buffer: time-stretching, loss concealment, pauses |
//! | [`dtmf`] | telephone events |
//! | [`level`] | loudness and speech |
//! | [`suppress`] | noise behind who speaks, taken away |
//! | [`tones`] | keys that come as tones |
//! | [`prompt`] | what is said to one leg alone, or to all |
//! | [`tap`] | what one leg says, for somebody outside |
//! | [`music`] | what a conference's only participant hears |
//! | [`mixer`] | one tick's mix, a pure function |
//! | [`latch`] | symmetric RTP: the lock on a source |
//! | [`leg`] | one leg's media: everything above for one call |
//! | [`room`] | one conference's legs and tick |
//! | [`ports`] | pairs of UDP ports and their sockets |
//! | [`shard`] | the real-time thread around rooms and sockets |
//! | [`transport`] | one leg's RTCP, ICE and DTLS: the task beside the shard |
//! | [`engine`] | the rest's handle on shards: rings in and out |
//!
//! A module imports only from those above it.
#![deny(unsafe_code)]

pub mod bursts;
pub mod codec;
pub mod dtls;
pub mod dtmf;
pub mod emodel;
pub mod engine;
pub mod ice;
pub mod jitter;
pub mod latch;
pub mod leg;
pub mod level;
pub mod mixer;
pub mod music;
pub mod noise;
pub mod ports;
mod prefetch;
pub mod prompt;
pub mod reception;
pub mod resample;
pub mod room;
pub mod rtcp;
pub mod rtp;
pub mod shard;
pub mod srtp;
pub mod suppress;
pub mod tap;
pub mod tones;
pub mod transport;
pub mod units;

pub use codec::{Codec, Coding};
pub use dtmf::Digit;
pub use engine::{Engine, EngineError, Event};
pub use leg::{Direction, LegSetup, Report};
pub use level::Level;
pub use prompt::{Prompt, Words};
pub use units::{LegId, Nanos, PayloadType, Rate, RoomId};
