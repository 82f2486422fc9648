//! Codecs. A frame is 20 ms of 16-bit samples at 8 kHz; an encoded G.711 frame is as many bytes as samples.

mod g711;

pub use g711::{alaw_decode, alaw_encode, ulaw_decode, ulaw_encode};

/// Samples in one tick's frame at 8 kHz.
pub const FRAME: usize = 160;

/// One tick's samples, 8 kHz.
pub type Frame = [i16; FRAME];

/// An audio codec that a leg can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law, RTP payload type 0 (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law, RTP payload type 8 (RFC 3551 §4.5.14).
    Pcma,
}

impl Codec {
    /// All codecs, in the order of preference.
    pub const ALL: [Self; 2] = [Self::Pcmu, Self::Pcma];

    /// Encodes `pcm` into the first `pcm.len()` bytes of `out`.
    pub fn encode(self, pcm: &[i16], out: &mut [u8]) {
        match self {
            Self::Pcmu => out.iter_mut().zip(pcm).for_each(|(o, s)| *o = ulaw_encode(*s)),
            Self::Pcma => out.iter_mut().zip(pcm).for_each(|(o, s)| *o = alaw_encode(*s)),
        }
    }

    /// Decodes `payload` into the first `payload.len()` samples of `out`.
    pub fn decode(self, payload: &[u8], out: &mut [i16]) {
        match self {
            Self::Pcmu => out.iter_mut().zip(payload).for_each(|(o, b)| *o = ulaw_decode(*b)),
            Self::Pcma => out.iter_mut().zip(payload).for_each(|(o, b)| *o = alaw_decode(*b)),
        }
    }

    /// The byte that stands for silence.
    pub fn silence(self) -> u8 {
        match self {
            Self::Pcmu => ulaw_encode(0),
            Self::Pcma => alaw_encode(0),
        }
    }
}
