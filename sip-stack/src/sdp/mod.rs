//! SDP (RFC 8866) as far as a telephone call needs it, and offer/answer (RFC 3264) on numbers.
//!
//! A parsed description holds addresses, ports and codecs, no text: `o=`, `s=` and unknown attributes are read over
//! and dropped.

mod answer;
mod parse;
mod path;

pub use answer::{
    Capabilities, Local, LocalAudio, LocalKeys, MOST_CODECS, NotAcceptable, OFFERED_SUITES, Srtp,
    accept_answer, answer, offer,
};
pub use parse::{MOST_LINES, SdpFault, parse, parse_sealing, rejected_line};
pub use path::{Dtls, Ice, LocalPath, Mid, Path, Profile, Setup};

use std::net::{IpAddr, SocketAddr};
use vault::MasterKey;

pub use vault::Suite;

vault::leaves! {
    /// A session description.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Session {
        /// Number of m-lines.
        pub lines: usize,
        /// The first usable audio line.
        pub audio: Option<Audio>,
    }

    /// An audio line.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Audio {
        /// Its place among the m-lines, from 0.
        pub index: usize,
        /// How its packets travel.
        pub path: Path,
        /// Keys that are offered or answered with (RFC 4568), in the order of preference.
        pub crypto: Vec<Crypto>,
        /// Where its sender wants packets; `None` for a host name.
        pub address: Option<IpAddr>,
        /// Port.
        pub port: u16,
        /// Where RTCP goes, when it is not the next port (RFC 3605).
        pub rtcp_port: Option<u16>,
        /// Formats in the order of preference.
        pub formats: Vec<Format>,
        /// Packet length wanted, ms.
        pub ptime: Option<u32>,
        /// Longest packet accepted, ms.
        pub maxptime: Option<u32>,
        /// Direction, as its sender sees it.
        pub direction: Direction,
    }

    /// A key for SRTP.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Crypto {
        /// Its number within the description.
        pub tag: u32,
        /// Its suite.
        pub suite: Suite,
        /// Master key and salt of what its sender sends, sealed.
        pub key: MasterKey,
    }

    /// One payload format.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Format {
        /// RTP payload type.
        pub payload_type: u8,
        /// Encoding.
        pub encoding: Encoding,
        /// Clock rate, Hz.
        pub clock: u32,
        /// What its sender wants to get, where it is Opus.
        pub opus: OpusWish,
    }

    /// What a receiver of Opus wants (RFC 7587 §6.1). Defaults are those of the RFC.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct OpusWish {
        /// The highest rate that it can play, Hz.
        pub maxplaybackrate: u32,
        /// The most bits in a second, 6,000 to 510,000; `None`: as the sender likes.
        pub maxaveragebitrate: Option<u32>,
        /// It makes use of in-band forward error correction.
        pub useinbandfec: bool,
        /// It prefers that silence is not sent.
        pub usedtx: bool,
        /// It wants packets of one size.
        pub cbr: bool,
    }

    /// An encoding name.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Encoding {
        /// G.711 µ-law.
        Pcmu,
        /// G.711 A-law.
        Pcma,
        /// Opus (RFC 7587).
        Opus,
        /// G.722.
        G722,
        /// Linear samples, 16 kHz, one channel.
        L16,
        /// RFC 4733.
        TelephoneEvent,
        /// RFC 3389.
        ComfortNoise,
        /// Any other.
        Other,
    }

    /// Direction of a stream (RFC 3264 §6.1).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Direction {
        /// `sendrecv`
        SendRecv,
        /// `sendonly`
        SendOnly,
        /// `recvonly`
        RecvOnly,
        /// `inactive`
        Inactive,
    }
}

impl Direction {
    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same stream as the other side sees it.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }

    /// Whether its owner sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether its owner receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

impl Default for OpusWish {
    fn default() -> Self {
        Self {
            maxplaybackrate: 48_000,
            maxaveragebitrate: None,
            useinbandfec: false,
            usedtx: false,
            cbr: false,
        }
    }
}

impl Encoding {
    /// Units of its RTP timestamps in a second, where that is fixed; 0 for what is no sound.
    pub fn clock(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            // RFC 3551 §4.5.2: though it has 16 kHz.
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            Self::L16 => 16_000,
            Self::TelephoneEvent | Self::ComfortNoise | Self::Other => 0,
        }
    }

    /// The payload type in our own offers: fixed (RFC 3551 §6), or of those that may be given freely.
    fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::ComfortNoise => 13,
            Self::Opus => 111,
            Self::L16 => 118,
            Self::TelephoneEvent | Self::Other => 101,
        }
    }

    /// The rtpmap that is written for it.
    fn map(self) -> &'static str {
        match self {
            // RFC 7587 §7: always two channels, whatever is in it.
            Self::Opus => "opus/48000/2",
            Self::G722 => "G722/8000",
            Self::L16 => "L16/16000",
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::ComfortNoise => "CN/8000",
            Self::TelephoneEvent | Self::Other => "telephone-event/8000",
        }
    }

    /// Its name in an rtpmap.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::Opus => "opus",
            Self::G722 => "G722",
            Self::L16 => "L16",
            Self::TelephoneEvent => "telephone-event",
            Self::ComfortNoise => "CN",
            Self::Other => "",
        }
    }
}

impl Audio {
    /// Where RTP goes; `None` while there is nowhere to send (a host name, or the old hold's 0.0.0.0).
    pub fn rtp(&self) -> Option<SocketAddr> {
        self.address.filter(|a| !a.is_unspecified()).map(|a| SocketAddr::new(a, self.port))
    }

    /// Where RTCP goes.
    pub fn rtcp(&self) -> Option<SocketAddr> {
        self.rtp().map(|mut rtp| {
            rtp.set_port(self.rtcp_port.unwrap_or(self.port.wrapping_add(1)));
            rtp
        })
    }
}
