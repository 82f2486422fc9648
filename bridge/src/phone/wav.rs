//! WAV files: 16-bit mono at 8, 16 or 48 kHz.

use media::{Rate, resample};
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
        "{rate} Hz, {channels} channels, {bits} bits: expected 8000, 16000 or 48000 Hz, 1 channel, 16 bits (sox FILE -r 16000 -c 1 -b 16 OUT.wav)"
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

/// What a file says.
#[derive(Debug, Clone, Default)]
pub struct Clip {
    samples: Vec<i16>,
    rate: Rate,
}

impl Clip {
    /// Its samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Their rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Its samples at another rate.
    pub fn at(&self, rate: Rate) -> Vec<i16> {
        resample::whole(&self.samples, self.rate, rate)
    }
}

/// Reads a file.
///
/// # Errors
/// [`WavError`].
pub fn read_wav(path: &Path) -> Result<Clip, WavError> {
    samples(hound::WavReader::open(path)?)
}

/// Reads a file that is in memory.
///
/// # Errors
/// [`WavError`].
pub fn parse_wav(bytes: &[u8]) -> Result<Clip, WavError> {
    samples(hound::WavReader::new(Cursor::new(bytes))?)
}

fn samples<R: Read>(reader: hound::WavReader<R>) -> Result<Clip, WavError> {
    let spec = reader.spec();
    let rate = Rate::ALL.into_iter().find(|r| r.hz() == spec.sample_rate);
    let Some(rate) = rate.filter(|_| (spec.channels, spec.bits_per_sample) == (1, 16)) else {
        return Err(WavError::Format {
            rate: spec.sample_rate,
            channels: spec.channels,
            bits: spec.bits_per_sample,
        });
    };
    Ok(Clip { samples: reader.into_samples::<i16>().collect::<Result<_, _>>()?, rate })
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
    pub fn create(path: &Path, rate: Rate) -> Result<Self, WavError> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: rate.hz(),
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        Ok(Self { writer: hound::WavWriter::create(path, spec)? })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// [`WavError`].
    pub fn write(&mut self, frame: &[i16]) -> Result<(), WavError> {
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
