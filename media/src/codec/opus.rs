//! Opus (RFC 6716) by libopus, through audiopus' binding. Its states lie in memory of our own, so that one encoder can go on with
//! another's stream: libopus allows a state to be copied as it is.
#![allow(unsafe_code)]

use super::CodecError;
use crate::units::Rate;
use audiopus::ffi;

/// The most bytes in a packet of ours: 20 ms at 128 kbit/s.
pub const LARGEST: usize = 320;
/// The longest packet there is, ms (RFC 6716 §3.2.5).
pub const LONGEST_MS: usize = 120;
/// How hard the encoder tries, 0 to 10.
const COMPLEXITY: i32 = 5;

/// How a peer wants its Opus (RFC 7587 §6.1), and what this site spends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Bits in a second, 6,000 to 128,000.
    pub bitrate: u32,
    /// Packets carry the one before in a coarser form.
    pub fec: bool,
    /// Silence is not sent.
    pub dtx: bool,
    /// Every packet has the same size.
    pub cbr: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bitrate: 24_000, fec: true, dtx: false, cbr: false }
    }
}

fn check(code: i32) -> Result<i32, CodecError> {
    if code < 0 { Err(CodecError::Opus(code)) } else { Ok(code) }
}

/// Memory of a state. libopus wants the alignment of a pointer.
#[derive(Debug, Clone)]
struct State(Box<[u64]>);

impl State {
    fn new(bytes: i32) -> Self {
        Self(vec![0; (bytes.max(0) as usize).div_ceil(8)].into())
    }
}

/// An encoder of one channel.
#[derive(Debug)]
pub struct Encoder(State);

impl Encoder {
    /// An encoder of sound at `rate`.
    ///
    /// # Errors
    /// [`CodecError::Opus`] with libopus' own number.
    pub fn new(rate: Rate, settings: Settings) -> Result<Self, CodecError> {
        // SAFETY: a plain question.
        let mut state = State::new(unsafe { ffi::opus_encoder_get_size(1) });
        let at = state.0.as_mut_ptr().cast();
        // SAFETY: memory of the size that was asked for.
        check(unsafe { ffi::opus_encoder_init(at, rate.hz() as i32, 1, ffi::OPUS_APPLICATION_VOIP) })?;
        let mut encoder = Self(state);
        encoder.set(ffi::OPUS_SET_COMPLEXITY_REQUEST, COMPLEXITY)?;
        encoder.set(ffi::OPUS_SET_SIGNAL_REQUEST, ffi::OPUS_SIGNAL_VOICE)?;
        encoder.set(ffi::OPUS_SET_LSB_DEPTH_REQUEST, 16)?;
        encoder.set(ffi::OPUS_SET_BITRATE_REQUEST, settings.bitrate.clamp(6_000, 128_000) as i32)?;
        encoder.set(ffi::OPUS_SET_VBR_REQUEST, (!settings.cbr).into())?;
        encoder.set(ffi::OPUS_SET_DTX_REQUEST, settings.dtx.into())?;
        encoder.set(ffi::OPUS_SET_INBAND_FEC_REQUEST, settings.fec.into())?;
        // With none expected it would leave the redundancy out.
        encoder.set(ffi::OPUS_SET_PACKET_LOSS_PERC_REQUEST, if settings.fec { 10 } else { 0 })?;
        Ok(encoder)
    }

    fn set(&mut self, request: i32, value: i32) -> Result<(), CodecError> {
        // SAFETY: a state made by `new`; each of these requests takes one integer.
        check(unsafe { ffi::opus_encoder_ctl(self.0.0.as_mut_ptr().cast(), request, value) }).map(drop)
    }

    /// Encodes 20 ms. 0: nothing need be sent (DTX), or it could not be encoded.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        let room = out.len().min(LARGEST) as i32;
        // SAFETY: a state made by `new`, and slices with their own lengths.
        let made = unsafe {
            let at = self.0.0.as_mut_ptr().cast();
            ffi::opus_encode(at, pcm.as_ptr(), pcm.len() as i32, out.as_mut_ptr(), room)
        };
        // libopus: a packet of at most two bytes need not be sent.
        usize::try_from(made).ok().filter(|made| *made > 2).unwrap_or(0)
    }

    /// Goes on with another's stream, without an allocation: both are of the same version of libopus.
    pub fn follow(&mut self, other: &Self) {
        if self.0.0.len() == other.0.0.len() {
            self.0.0.copy_from_slice(&other.0.0);
        }
    }
}

/// A decoder to one channel.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    rate: Rate,
}

impl Decoder {
    /// A decoder that gives sound at `rate`, whatever is in the packets.
    ///
    /// # Errors
    /// [`CodecError::Opus`] with libopus' own number.
    pub fn new(rate: Rate) -> Result<Self, CodecError> {
        // SAFETY: a plain question.
        let mut state = State::new(unsafe { ffi::opus_decoder_get_size(1) });
        let at = state.0.as_mut_ptr().cast();
        // SAFETY: memory of the size that was asked for.
        check(unsafe { ffi::opus_decoder_init(at, rate.hz() as i32, 1) })?;
        Ok(Self { state, rate })
    }

    /// At which rate it gives sound.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Decodes a packet; 0 samples when it is none. `out` has room for [`LONGEST_MS`].
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        self.run(Some(packet), out, false)
    }

    /// What went before a packet, from the coarser form in it; `out` is as long as what is missing.
    pub fn recover(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        self.run(Some(packet), out, true)
    }

    /// Makes up for what is missing; `out` is as long as that, in multiples of 2.5 ms.
    pub fn conceal(&mut self, out: &mut [i16]) -> usize {
        self.run(None, out, false)
    }

    fn run(&mut self, packet: Option<&[u8]>, out: &mut [i16], fec: bool) -> usize {
        let (at, len) = packet.map_or((std::ptr::null(), 0), |p| (p.as_ptr(), p.len() as i32));
        // SAFETY: a state made by `new`; null with no length means a lost packet; `out` has its own length.
        let made = unsafe {
            let state = self.state.0.as_mut_ptr().cast();
            ffi::opus_decode(state, at, len, out.as_mut_ptr(), out.len() as i32, fec.into())
        };
        usize::try_from(made).unwrap_or(0)
    }
}

/// Samples that a packet holds at `rate` (RFC 6716 §3.1 and §3.2); 0 when it is none.
pub fn samples(packet: &[u8], rate: Rate) -> usize {
    // SAFETY: a slice with its own length.
    let held =
        unsafe { ffi::opus_packet_get_nb_samples(packet.as_ptr(), packet.len() as i32, rate.hz() as i32) };
    usize::try_from(held).unwrap_or(0)
}

/// Whether a packet says that it has speech in it, without decoding it: the voice flags at the head of the SILK layer (RFC 6716 §4.2.3)
/// come with even odds and so lie there as plain bits. `None` where there is no such layer, or more than one frame.
pub fn speech(packet: &[u8]) -> Option<bool> {
    let (toc, rest) = packet.split_first()?;
    let config = toc >> 3;
    if config >= 16 || toc & 3 != 0 {
        return None;
    }
    let frames = match config {
        // SILK alone, by the lengths of 10, 20, 40 and 60 ms; hybrid has one frame always.
        0..=11 => [1, 1, 2, 3][usize::from(config & 3)],
        _ => 1,
    };
    // What is no longer than this is a gap in the sending.
    rest.first().map_or(Some(false), |first| Some(first >> (8 - frames) != 0))
}

/// Whether a packet carries the one before it in a coarser form (the flag behind the voice flags).
pub fn carries_the_one_before(packet: &[u8]) -> bool {
    let Some((toc, rest)) = packet.split_first() else { return false };
    let config = toc >> 3;
    if config >= 16 || toc & 3 != 0 {
        return false;
    }
    let frames = if config < 12 { [1, 1, 2, 3][usize::from(config & 3)] } else { 1 };
    rest.first().is_some_and(|first| first & (0x80 >> frames) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frame: usize, rate: Rate, hz: f32) -> Vec<i16> {
        let n = rate.frame();
        (0..n)
            .map(|i| {
                let t = (frame * n + i) as f32 / rate.hz() as f32;
                (8000.0 * (std::f32::consts::TAU * hz * t).sin()) as i16
            })
            .collect()
    }

    #[test]
    fn speech_and_the_coarser_copy_are_read_from_the_head() {
        let mut encoder = Encoder::new(Rate::Wide, Settings::default()).unwrap();
        let mut out = [0; LARGEST];
        let (mut said, mut carried) = (0, 0);
        for frame in 0..50 {
            let pcm: Vec<i16> = tone(frame, Rate::Wide, 200.0 + (frame % 7) as f32 * 40.0);
            let len = encoder.encode(&pcm, &mut out);
            assert_eq!(samples(&out[..len], Rate::Wide), 320);
            said += usize::from(speech(&out[..len]) == Some(true));
            carried += usize::from(carries_the_one_before(&out[..len]));
        }
        assert!(said > 45 && carried > 40, "{said} {carried}");
        let mut silent = 0;
        for _ in 0..100 {
            let len = encoder.encode(&[0; 320], &mut out);
            silent += usize::from(speech(&out[..len]) == Some(false));
        }
        assert!(silent > 60, "{silent}");
        assert_eq!((speech(&[]), speech(&[0xf8, 1]), speech(&[0x08])), (None, None, Some(false)));
    }

    #[test]
    fn a_stream_that_another_encoder_goes_on_with_is_the_same_to_the_bit() {
        let settings = Settings::default();
        let (mut one, mut other) =
            (Encoder::new(Rate::Full, settings).unwrap(), Encoder::new(Rate::Full, settings).unwrap());
        let (mut a, mut b) = ([0; LARGEST], [0; LARGEST]);
        for frame in 0..20 {
            one.encode(&tone(frame, Rate::Full, 300.0), &mut a);
        }
        other.follow(&one);
        for frame in 20..40 {
            let pcm = tone(frame, Rate::Full, 300.0);
            let (n, m) = (one.encode(&pcm, &mut a), other.encode(&pcm, &mut b));
            assert_eq!(a[..n], b[..m]);
        }
    }

    #[test]
    fn nothing_that_is_no_packet_is_decoded() {
        let mut decoder = Decoder::new(Rate::Full).unwrap();
        let mut out = vec![0; Rate::Full.ms(LONGEST_MS)];
        for broken in [&[][..], &[0xff; 1], &[0xff, 0xff, 0xff], &[0x03, 0x00]] {
            assert_eq!(samples(broken, Rate::Full), 0, "{broken:?}");
        }
        assert_eq!(decoder.decode(&[0xff, 0xff, 0xff], &mut out), 0);
    }
}
