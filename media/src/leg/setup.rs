//! What signalling agrees on for one leg.

use crate::codec::{Codec, CodecError, Coding};
use crate::dtls::{DtlsFault, Role};
use crate::ice::Credentials;
use crate::srtp::Suite;
use crate::units::{LegId, PayloadType, Rate};
use std::net::SocketAddr;
use vault::{Fingerprint, MasterKey, PlaceError};

/// Which way audio flows, seen from the bridge (RFC 3264 §6.1, our side of it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// What the leg sends is heard.
    pub receive: bool,
    /// The leg is sent the mix.
    pub send: bool,
}

impl Direction {
    /// `sendrecv`.
    pub const BOTH: Self = Self { receive: true, send: true };
}

/// Payload types that may be received, by codec.
pub type Receives = [Option<(Codec, PayloadType)>; Codec::ALL.len()];

/// What signalling agreed on for one leg; also how it changes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LegSetup {
    /// The leg.
    pub id: LegId,
    /// How what it hears is encoded, and the payload type of that.
    pub sends: (Coding, PayloadType),
    /// Payload types that may be received, by codec.
    pub receives: Receives,
    /// At which rate Opus is decoded.
    pub opus_rate: Rate,
    /// Payload type of telephone events, if agreed: of the clock of the codec that is sent.
    pub events: Option<PayloadType>,
    /// Payload type of comfort noise (RFC 3389), if it may be received.
    pub comfort: Option<PayloadType>,
    /// Where nobody speaks, comfort noise is sent instead of sound.
    pub sends_comfort: bool,
    /// Packet length sent, ms: 10 to 60, a multiple of 10. Opus has 20 always.
    pub ptime: usize,
    /// What it says is brought to the usual loudness.
    pub agc: bool,
    /// Noise behind who speaks is taken away, from the beginning on.
    pub noise_suppression: bool,
    /// How its packets are encrypted.
    pub security: Security,
    /// Our side of ICE, where the peer has it: its checks say where packets go.
    pub ice: Option<Credentials>,
    /// RTCP comes and goes by the same port (RFC 5761).
    pub mux: bool,
    /// It wants to be told who is heard and how loud (RFC 6465), under this number of a header extension.
    pub levels: Option<u8>,
    /// The peer wants to be told how it is heard (RFC 3611, VoIP metrics).
    pub xr: bool,
    /// Directions.
    pub direction: Direction,
    /// The peer's address from its SDP.
    pub remote: SocketAddr,
}

impl LegSetup {
    /// A usual telephone's: one codec both ways, 20 ms, nothing else.
    pub fn plain(id: LegId, codec: Codec, payload_type: PayloadType, remote: SocketAddr) -> Self {
        let mut receives = [None; Codec::ALL.len()];
        receives[0] = Some((codec, payload_type));
        Self {
            id,
            sends: (Coding::of(codec), payload_type),
            receives,
            opus_rate: Rate::Full,
            events: None,
            comfort: None,
            sends_comfort: false,
            ptime: 20,
            agc: false,
            noise_suppression: false,
            security: Security::None,
            ice: None,
            mux: false,
            levels: None,
            xr: false,
            direction: Direction::BOTH,
            remote,
        }
    }

    /// The rates at which it may speak.
    pub fn speaks_at(&self) -> impl Iterator<Item = Rate> + '_ {
        self.receives.iter().flatten().map(|(codec, _)| match codec {
            Codec::Opus => self.opus_rate,
            codec => codec.rate(),
        })
    }

    /// Whether its port gets more than RTP.
    pub fn has_asides(&self) -> bool {
        self.mux || self.ice.is_some() || matches!(self.security, Security::Dtls { .. })
    }

    /// Units in a second of the timestamps that are received.
    pub(super) fn clock(&self) -> u32 {
        self.receives.iter().flatten().next().map_or(self.sends.0.codec, |(codec, _)| *codec).clock()
    }

    /// The rate at which it hears.
    pub fn hears_at(&self) -> Rate {
        self.sends.0.rate
    }
}

/// How a leg's packets are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Security {
    /// They are not.
    #[default]
    None,
    /// With keys that signalling carried (RFC 4568).
    Keys(Secure),
    /// With keys that are agreed on by DTLS (RFC 5763). Until then nothing is sent and nothing is heard.
    Dtls {
        /// Our part.
        role: Role,
        /// What proves the peer's certificate.
        theirs: Fingerprint,
    },
}

/// What SRTP agreed on: the suite, the key of what we send and that of what they send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Secure {
    /// The suite, for both ways.
    pub suite: Suite,
    /// Our master key.
    pub ours: MasterKey,
    /// Their master key.
    pub theirs: MasterKey,
}

/// Why a leg could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LegError {
    /// Its codec could not be had.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Its keys could not be placed.
    #[error(transparent)]
    Keys(#[from] PlaceError),
    /// No keys were agreed on.
    #[error(transparent)]
    Dtls(#[from] DtlsFault),
    /// It wants SRTP, and there is nothing that opens keys.
    #[error("no media keys")]
    NoKeys,
}
