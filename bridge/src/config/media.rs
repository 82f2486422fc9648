//! `[media]`: RTP, codecs and what calls sound like.

use crate::phone::{WavError, read_wav};
use crate::sound::Taste;
use media::music::Music;
use serde::Deserialize;
use sip_stack::sdp::{self, Capabilities, Encoding, OpusWish};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use vault::MediaKeys;

/// `[media]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Address for RTP; unspecified: the one on which the call came.
    pub address: IpAddr,
    /// The same for IPv6, where `address` is one of IPv4.
    pub address_v6: Option<Ipv6Addr>,
    /// Our address as carriers see it, behind 1:1 NAT.
    pub external_address: Option<IpAddr>,
    /// Mark of our packets (RFC 2474), 0 to 63.
    pub dscp: Spanned<usize>,
    /// `first-last`, both included.
    pub ports: Spanned<String>,
    /// Real-time threads, 0 to 64; 0: one less than cores, at least one.
    pub shards: Spanned<usize>,
    /// Conferences for more participants than this are spread over all real-time threads; 0: none.
    pub spread_above: Spanned<usize>,
    /// Codecs, in the order of preference for our own offers: `opus`, `g722`, `pcmu`, `pcma`, `l16`.
    pub codecs: Spanned<Vec<Spanned<String>>>,
    /// Bits in a second of the Opus that we send, at most: 6,000 to 128,000.
    pub opus_bitrate: Spanned<usize>,
    /// The highest rate at which Opus is mixed, Hz: 8,000, 16,000 or 48,000.
    pub opus_rate: Spanned<usize>,
    /// Silence is not sent where the peer takes comfort noise (RFC 3389), and our offers have it.
    pub comfort_noise: bool,
    /// Noise where nobody speaks, −dBov, 30 to 90; 0: none.
    pub comfort_level: Spanned<usize>,
    /// What is played to who is alone in a conference: a WAV file of 16 bits, one channel, 8, 16 or 48 kHz, 1 to 600 s; absent: nothing.
    pub music: Option<Spanned<PathBuf>>,
    /// Every caller is brought to the same loudness.
    pub agc: bool,
    /// The noise behind each caller's voice is taken away; a host can say otherwise for one of them.
    pub noise_suppression: bool,
    /// Seconds without sound or reports after which a call ends: 10 to 86,400, or 0: it does not.
    pub timeout: Spanned<usize>,
    /// Whether calls' sound may, must or cannot be encrypted (SRTP, RFC 4568).
    pub srtp: Srtp,
}

/// Whether sound is encrypted.
#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// Offers of SRTP are refused.
    Off,
    /// As the caller offers.
    #[default]
    Optional,
    /// Calls without it are refused.
    Required,
}

impl From<Srtp> for sdp::Srtp {
    fn from(srtp: Srtp) -> Self {
        match srtp {
            Srtp::Off => Self::Off,
            Srtp::Optional => Self::Optional,
            Srtp::Required => Self::Required,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: IpAddr::from([0, 0, 0, 0]),
            address_v6: None,
            external_address: None,
            // Expedited forwarding (RFC 4594 §4.1).
            dscp: Spanned::new(0..0, 46),
            ports: Spanned::new(0..0, "20000-39999".into()),
            shards: Spanned::new(0..0, 0),
            spread_above: Spanned::new(0..0, 2000),
            codecs: Spanned::new(
                0..0,
                ["opus", "g722", "pcmu", "pcma"].map(|c| Spanned::new(0..0, c.into())).into(),
            ),
            opus_bitrate: Spanned::new(0..0, 24_000),
            opus_rate: Spanned::new(0..0, 48_000),
            comfort_noise: false,
            comfort_level: Spanned::new(0..0, 70),
            music: None,
            agc: false,
            noise_suppression: false,
            timeout: Spanned::new(0..0, 300),
            srtp: Srtp::default(),
        }
    }
}

/// Why a file cannot be music.
#[derive(Debug, thiserror::Error)]
pub enum MusicError {
    /// It cannot be read.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// It is too short or too long.
    #[error("its length is not {} to {} s", Music::LONG.start(), Music::LONG.end())]
    Length,
}

/// Reads what is played to who is alone.
///
/// # Errors
/// [`MusicError`].
pub fn music(file: &Path) -> Result<Music, MusicError> {
    let clip = read_wav(file)?;
    Music::new(clip.samples(), clip.rate()).ok_or(MusicError::Length)
}

/// A codec by its name in the file.
pub fn encoding(name: &str) -> Option<Encoding> {
    [Encoding::Opus, Encoding::G722, Encoding::Pcmu, Encoding::Pcma, Encoding::L16]
        .into_iter()
        .find(|e| e.as_str().eq_ignore_ascii_case(name))
}

impl Media {
    /// What descriptions of ours have.
    pub fn capabilities(&self, keys: MediaKeys) -> Capabilities {
        let usual = Capabilities::default();
        let maxplaybackrate = *self.opus_rate.get_ref() as u32;
        Capabilities {
            codecs: self.codecs.get_ref().iter().filter_map(|c| encoding(c.get_ref())).collect(),
            opus: OpusWish { maxplaybackrate, ..usual.opus },
            comfort_noise: self.comfort_noise,
            srtp: self.srtp.into(),
            keys: Some(keys),
            ..usual
        }
    }

    /// How long nothing may come from a call.
    pub fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(*self.timeout.get_ref() as u64)).filter(|t| !t.is_zero())
    }

    /// What legs' sound is like.
    pub fn taste(&self) -> Taste {
        let opus_bitrate = Some(*self.opus_bitrate.get_ref() as u32);
        Taste {
            opus_bitrate,
            agc: self.agc,
            noise_suppression: self.noise_suppression,
            comfort_noise: self.comfort_noise,
        }
    }

    /// Where RTP is received, by family: on all addresses of both, or where the file says.
    pub fn addresses(&self) -> media::ports::Addresses {
        let mut addresses = media::ports::Addresses::from(self.address);
        addresses.v6 = addresses.v6.or(self.address_v6);
        if self.address.is_unspecified() {
            addresses.v4 = addresses.v4.or(Some(Ipv4Addr::UNSPECIFIED));
            addresses.v6 = addresses.v6.or(Some(Ipv6Addr::UNSPECIFIED));
        }
        addresses
    }
}
