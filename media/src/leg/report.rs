//! A leg's figures, for reports, rosters and metrics.

use crate::bursts::Figures;
use crate::codec::Codec;
use crate::emodel::Path;
use crate::jitter;
use crate::level::Level;
use crate::reception::Block;
use crate::units::{Nanos, RtpTime, Ssrc};
use std::net::SocketAddr;
use std::time::Duration;

/// Datagrams dropped before the jitter buffer, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Not RTP: too short, wrong version, extension or padding beyond the end.
    pub malformed: u64,
    /// A payload type that was not agreed on.
    pub payload_type: u64,
    /// From another source than the one locked on.
    pub foreign: u64,
    /// Longer than the receive buffer or than 120 ms of audio.
    pub oversized: u64,
    /// Not encrypted with the peer's key, or changed on their way.
    pub forged: u64,
    /// Encrypted, and here before.
    pub replayed: u64,
}

/// A leg's figures, once in a while.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// When it was made.
    pub at: Nanos,
    /// Our stream.
    pub ssrc: Ssrc,
    /// Our stream's timestamp at `at`.
    pub time: RtpTime,
    /// Units of that timestamp in a second.
    pub clock: u32,
    /// Packets sent.
    pub packets_sent: u64,
    /// Payload octets sent.
    pub octets_sent: u64,
    /// What arrived, once something has.
    pub block: Option<Block>,
    /// With which codec it came, and with which it is sent.
    pub codecs: (Codec, Codec),
    /// Whether losses came together.
    pub bursts: Figures,
    /// The peer wants to be told how it is heard.
    pub xr: bool,
    /// The jitter buffer's counters.
    pub jitter: jitter::Counters,
    /// How long what is heard now has waited here.
    pub delay: Nanos,
    /// Dropped datagrams.
    pub drops: Drops,
    /// Smoothed level of what the leg says.
    pub level: Level,
    /// The source locked on.
    pub locked: Option<SocketAddr>,
    /// Time since the last accepted packet.
    pub silent_for: Nanos,
}

impl Report {
    /// What the network does to what arrives, so far.
    pub fn path(&self, round_trip: Option<Duration>) -> Path {
        let block = self.block.unwrap_or_default();
        // What forward error correction repairs is not lost; what comes too late is.
        let lost = match self.codecs.0 {
            Codec::Opus => self.jitter.concealed,
            _ => self.jitter.concealed.max(block.lost()),
        };
        let loss = (100.0 * lost as f32 / block.expected.max(1) as f32).min(100.0);
        let Figures { burst_density, burst_ms, .. } = self.bursts;
        // G.107 §7.5: a mean burst's length over that of a burst by chance, where there are bursts.
        let burst_ratio = match (loss, burst_ms) {
            (0.0, _) | (_, 0) => 1.0,
            _ => (f32::from(burst_density) / 256.0 * f32::from(burst_ms) / 20.0 * (1.0 - loss / 100.0))
                .clamp(1.0, 4.0),
        };
        let delay = round_trip.map_or(0.0, |r| r.as_secs_f32() * 500.0) + 20.0 + self.delay.0 as f32 / 1e6;
        Path { delay, loss, burst_ratio }
    }
}
