//! WAV files: 16-bit mono at 8 kHz, a telephone's sound.

use media::codec::{FRAME, Frame};
use std::io::{BufWriter, Cursor, Read};
use std::path::Path;

/// Why a file cannot be played or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// Not a WAV file, or unreadable.
    #[error(transparent)]
    Wav(#[from] hound::Error),
    /// Another format.
    #[error(
        "{rate} Hz, {channels} channels, {bits} bits: expected 8000 Hz, 1 channel, 16 bits (sox FILE -r 8000 -c 1 -b 16 OUT.wav)"
    )]
    Format {
        /// Sample rate, Hz.
        rate: u32,
        /// Channels.
        channels: u16,
        /// Bits per sample.
        bits: u16,
    },
}

/// Reads a file.
///
/// # Errors
/// [`WavError`].
pub fn read_wav(path: &Path) -> Result<Vec<i16>, WavError> {
    samples(hound::WavReader::open(path)?)
}

/// Reads a file that is in memory.
///
/// # Errors
/// [`WavError`].
pub fn parse_wav(bytes: &[u8]) -> Result<Vec<i16>, WavError> {
    samples(hound::WavReader::new(Cursor::new(bytes))?)
}

fn samples<R: Read>(reader: hound::WavReader<R>) -> Result<Vec<i16>, WavError> {
    let spec = reader.spec();
    if (spec.sample_rate, spec.channels, spec.bits_per_sample) != (8000, 1, 16) {
        return Err(WavError::Format {
            rate: spec.sample_rate,
            channels: spec.channels,
            bits: spec.bits_per_sample,
        });
    }
    Ok(reader.into_samples::<i16>().collect::<Result<_, _>>()?)
}

/// Cuts samples into frames; the last one is filled up with silence.
pub fn frames(samples: &[i16]) -> Vec<Frame> {
    samples
        .chunks(FRAME)
        .map(|chunk| {
            let mut frame = [0; FRAME];
            frame[..chunk.len()].copy_from_slice(chunk);
            frame
        })
        .collect()
}

/// Writes what is heard.
pub struct Recorder {
    writer: hound::WavWriter<BufWriter<std::fs::File>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder(..)")
    }
}

impl Recorder {
    /// Creates the file.
    ///
    /// # Errors
    /// [`WavError`].
    pub fn create(path: &Path) -> Result<Self, WavError> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        Ok(Self { writer: hound::WavWriter::create(path, spec)? })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// [`WavError`].
    pub fn write(&mut self, frame: &Frame) -> Result<(), WavError> {
        for sample in frame {
            self.writer.write_sample(*sample)?;
        }
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`WavError`].
    pub fn finish(self) -> Result<(), WavError> {
        Ok(self.writer.finalize()?)
    }
}
