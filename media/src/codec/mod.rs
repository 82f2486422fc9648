//! Codecs: what goes over the wire ↔ linear sound of 16 bits at one of three rates.
//!
//! An encoder can go on with another's stream ([`Encoder::follow`]): so all who only listen share one, and who begins to speak gets
//! their own without a click.

mod g711;
mod g722;
pub mod opus;

pub use g711::{alaw_decode, alaw_encode, ulaw_decode, ulaw_encode};

use crate::units::{LONGEST_FRAME, Rate};

/// Samples in a tick of 8 kHz.
pub const FRAME: usize = Rate::Narrow.frame();

/// A tick of 8 kHz.
pub type Frame = [i16; FRAME];

/// The most bytes that one tick's sound is encoded to (L16 at 16 kHz).
pub const LARGEST: usize = 640;
/// The longest packet that is read, ms.
pub const LONGEST_MS: usize = opus::LONGEST_MS;

/// Why there is no such encoder or decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// libopus refused, by its own number.
    #[error("libopus error {0}")]
    Opus(i32),
}

/// An audio codec that a leg can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// G.722, RTP payload type 9 (RFC 3551 §4.5.2).
    G722,
    /// G.711 µ-law, RTP payload type 0 (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law, RTP payload type 8 (RFC 3551 §4.5.14).
    Pcma,
    /// Linear samples of 16 kHz, most significant byte first (RFC 3551 §4.5.11): between bridges.
    L16,
}

impl Codec {
    /// All codecs, in the order of preference.
    pub const ALL: [Self; 5] = [Self::Opus, Self::G722, Self::Pcmu, Self::Pcma, Self::L16];

    /// Units of its RTP timestamps in a second.
    pub const fn clock(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            // An error in the first RFC that nobody could take back.
            Self::G722 | Self::Pcmu | Self::Pcma => 8_000,
            Self::L16 => 16_000,
        }
    }

    /// The rate of its sound; Opus has any, this is its highest.
    pub const fn rate(self) -> Rate {
        match self {
            Self::Opus => Rate::Full,
            Self::G722 | Self::L16 => Rate::Wide,
            Self::Pcmu | Self::Pcma => Rate::Narrow,
        }
    }

    /// Bytes in a millisecond; `None` where that depends on what is said.
    pub const fn bytes_per_ms(self) -> Option<usize> {
        match self {
            Self::Opus => None,
            Self::G722 | Self::Pcmu | Self::Pcma => Some(8),
            Self::L16 => Some(32),
        }
    }

    /// RTP clock units in a tick.
    pub const fn units_per_tick(self) -> u32 {
        self.clock() / 50
    }

    /// Whether a payload is digital silence, which can be told without decoding it.
    pub fn is_silence(self, payload: &[u8]) -> bool {
        match self {
            // Both zeros of µ-law; A-law has none, these are its smallest steps.
            Self::Pcmu => payload.iter().all(|b| *b | 0x80 == 0xff),
            Self::Pcma => payload.iter().all(|b| *b | 0x80 == 0xd5),
            Self::L16 => payload.iter().all(|b| *b == 0),
            Self::Opus | Self::G722 => false,
        }
    }

    /// Encodes `pcm` (8 kHz) into the first `pcm.len()` bytes of `out`: G.711 alone, which needs no state. Other codecs do nothing here.
    pub fn encode_plain(self, pcm: &[i16], out: &mut [u8]) {
        match self {
            Self::Pcmu => out.iter_mut().zip(pcm).for_each(|(o, s)| *o = ulaw_encode(*s)),
            Self::Pcma => out.iter_mut().zip(pcm).for_each(|(o, s)| *o = alaw_encode(*s)),
            Self::L16 => out.as_chunks_mut().0.iter_mut().zip(pcm).for_each(|(o, s)| *o = s.to_be_bytes()),
            Self::Opus | Self::G722 => {}
        }
    }

    /// The reverse of [`Self::encode_plain`].
    pub fn decode_plain(self, payload: &[u8], out: &mut [i16]) {
        match self {
            Self::Pcmu => out.iter_mut().zip(payload).for_each(|(o, b)| *o = ulaw_decode(*b)),
            Self::Pcma => out.iter_mut().zip(payload).for_each(|(o, b)| *o = alaw_decode(*b)),
            Self::L16 => {
                out.iter_mut().zip(payload.as_chunks().0).for_each(|(o, b)| *o = i16::from_be_bytes(*b));
            }
            Self::Opus | Self::G722 => {}
        }
    }
}

/// How a stream that we send is encoded: legs for which this is the same can share what is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coding {
    /// The codec.
    pub codec: Codec,
    /// The rate of the sound in it.
    pub rate: Rate,
    /// What only Opus asks.
    pub opus: opus::Settings,
}

impl Coding {
    /// A codec as it is usual.
    pub fn of(codec: Codec) -> Self {
        Self { codec, rate: codec.rate(), opus: opus::Settings::default() }
    }
}

/// An encoder of one stream. It takes a tick's sound at a time.
#[derive(Debug)]
pub enum Encoder {
    /// G.711 and L16: no memory of what went before.
    Plain(Codec),
    /// G.722.
    G722(Box<G722Encoder>),
    /// Opus.
    Opus(opus::Encoder),
}

/// G.722's state.
pub type G722Encoder = g722::Encoder;
/// G.722's state.
pub type G722Decoder = g722::Decoder;

impl Encoder {
    /// A new stream's.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn new(coding: &Coding) -> Result<Self, CodecError> {
        Ok(match coding.codec {
            codec @ (Codec::Pcmu | Codec::Pcma | Codec::L16) => Self::Plain(codec),
            Codec::G722 => Self::G722(Box::default()),
            Codec::Opus => Self::Opus(opus::Encoder::new(coding.rate, coding.opus)?),
        })
    }

    /// Encodes a tick's sound; how many bytes it has become, [`LARGEST`] at most. 0: nothing need be sent.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        match self {
            Self::Plain(codec) => {
                codec.encode_plain(pcm, out);
                pcm.len() * if *codec == Codec::L16 { 2 } else { 1 }
            }
            Self::G722(state) => {
                state.encode(pcm, out);
                pcm.len() / 2
            }
            Self::Opus(state) => state.encode(pcm, out),
        }
    }

    /// Goes on with another encoder's stream: who hears one and then the other hears no click. Allocates nothing.
    pub fn follow(&mut self, other: &Self) {
        match (self, other) {
            (Self::G722(own), Self::G722(other)) => (**own).clone_from(other),
            (Self::Opus(own), Self::Opus(other)) => own.follow(other),
            _ => {}
        }
    }

    /// Whether it remembers what went before.
    pub fn remembers(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// A decoder of one stream.
#[derive(Debug)]
pub enum Decoder {
    /// G.711 and L16.
    Plain(Codec),
    /// G.722.
    G722(Box<G722Decoder>),
    /// Opus.
    Opus(opus::Decoder),
}

impl Decoder {
    /// A new stream's, with sound at `rate` where the codec leaves that open.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn new(codec: Codec, rate: Rate) -> Result<Self, CodecError> {
        Ok(match codec {
            Codec::Pcmu | Codec::Pcma | Codec::L16 => Self::Plain(codec),
            Codec::G722 => Self::G722(Box::default()),
            Codec::Opus => Self::Opus(opus::Decoder::new(rate)?),
        })
    }

    /// Its codec.
    pub fn codec(&self) -> Codec {
        match self {
            Self::Plain(codec) => *codec,
            Self::G722(_) => Codec::G722,
            Self::Opus(_) => Codec::Opus,
        }
    }

    /// The rate of its sound.
    pub fn rate(&self) -> Rate {
        match self {
            Self::Plain(codec) => codec.rate(),
            Self::G722(_) => Rate::Wide,
            Self::Opus(state) => state.rate(),
        }
    }

    /// Samples that a payload holds, at [`Self::rate`].
    pub fn samples(&self, payload: &[u8]) -> usize {
        match self {
            Self::Plain(Codec::L16) => payload.len() / 2,
            Self::Plain(_) => payload.len(),
            Self::G722(_) => payload.len() * 2,
            Self::Opus(state) => opus::samples(payload, state.rate()),
        }
    }

    /// Decodes a payload; how many samples it was. `out` has room for what [`Self::samples`] says.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        match self {
            Self::Plain(codec) => {
                codec.decode_plain(payload, out);
                payload.len() / if *codec == Codec::L16 { 2 } else { 1 }
            }
            Self::G722(state) => {
                state.decode(payload, out);
                payload.len() * 2
            }
            Self::Opus(state) => state.decode(payload, out),
        }
    }
}

/// A tick of silence at any rate.
pub static SILENCE: [i16; LONGEST_FRAME] = [0; LONGEST_FRAME];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_codec_gives_back_what_it_was_given_near_enough() {
        for codec in Codec::ALL {
            let coding = Coding::of(codec);
            let mut encoder = Encoder::new(&coding).unwrap();
            let mut decoder = Decoder::new(codec, coding.rate).unwrap();
            let n = coding.rate.frame();
            let (mut said, mut heard, mut bytes) = (Vec::new(), Vec::new(), [0; LARGEST]);
            for frame in 0..50 {
                let tone =
                    |i| (i as f32 * std::f32::consts::TAU * 440.0 / coding.rate.hz() as f32).sin() * 8000.0;
                let pcm: Vec<i16> = (0..n).map(|i| tone(frame * n + i) as i16).collect();
                let len = encoder.encode(&pcm, &mut bytes);
                assert_eq!(decoder.samples(&bytes[..len]), n, "{codec:?}");
                let mut out = vec![0; n];
                assert_eq!(decoder.decode(&bytes[..len], &mut out), n);
                said.extend(pcm);
                heard.extend(out);
            }
            // The delay within the codec is at most 12 ms; the best fit within it leaves little noise.
            let noise = |late: usize| {
                let pairs = said[n * 20..n * 40].iter().zip(&heard[n * 20 + late..]);
                pairs.map(|(s, h)| (f64::from(*s) - f64::from(*h)).powi(2)).sum::<f64>()
            };
            let signal: f64 = said[n * 20..n * 40].iter().map(|s| f64::from(*s).powi(2)).sum();
            let best = (0..coding.rate.ms(12)).map(noise).fold(f64::INFINITY, f64::min);
            let ratio = 10.0 * (signal / best.max(1.0)).log10();
            assert!(ratio > 15.0, "{codec:?}: {ratio} dB");
        }
    }

    #[test]
    fn a_g722_stream_is_gone_on_with_to_the_bit() {
        let coding = Coding::of(Codec::G722);
        let (mut one, mut other) = (Encoder::new(&coding).unwrap(), Encoder::new(&coding).unwrap());
        let pcm: Vec<i16> = (0..320).map(|i| (i * i % 7919) as i16).collect();
        let (mut a, mut b) = ([0; LARGEST], [0; LARGEST]);
        for _ in 0..5 {
            one.encode(&pcm, &mut a);
        }
        other.follow(&one);
        assert_eq!(one.encode(&pcm, &mut a), other.encode(&pcm, &mut b));
        assert_eq!(a, b);
    }
}
