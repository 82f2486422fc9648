//! SRTP and SRTCP (RFC 3711, with AES-256 by RFC 6188 and GCM by RFC 7714): packets encrypted and opened where they lie.
//!
//! There is no key derivation rate and no master key identifier: nobody uses the one, and carriers refuse the other. What works with keys
//! lies in secret pages ([`vault::Slot`]); all else is counters.

mod replay;
mod session;

use crate::rtp::HEADER;
use replay::Window;
use session::{Kind, Session};
use vault::{MasterKey, MediaKeys, PlaceError, Slot};

pub use vault::Suite;

/// The most bytes by which a packet grows: a tag, and for SRTCP its index.
pub const GROWTH: usize = 16 + 4;

/// Bytes of the tag of RTP packets.
const fn tag_of(suite: Suite) -> usize {
    match suite {
        Suite::Cm128Sha1_32 | Suite::Cm256Sha1_32 => 4,
        Suite::Cm128Sha1_80 | Suite::Cm256Sha1_80 => 10,
        Suite::Gcm128 | Suite::Gcm256 => 16,
    }
}

/// Bytes of the tag of RTCP packets: never the short one (RFC 4568 §6.2.2).
const fn control_tag_of(suite: Suite) -> usize {
    if suite.is_aead() { 16 } else { 10 }
}

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpFault {
    /// Too short, or no packet.
    #[error("not an SRTP packet")]
    Malformed,
    /// It does not come from who has the key, or was changed on its way.
    #[error("not authentic")]
    Forged,
    /// It was here before, or is too old to tell.
    #[error("seen before")]
    Replayed,
}

/// How many bytes of a packet are header: with CSRCs and extension (RFC 3550 §5.1, §5.3.1).
fn header_of(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let mut len = HEADER + 4 * usize::from(first & 15);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (packet.len() >= len && first >> 6 == 2).then_some(len)
}

fn number(packet: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?))
}

fn seq_of(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?))
}

/// Makes one of the four for a master key.
fn place(
    keys: &MediaKeys,
    master: &MasterKey,
    suite: Suite,
    kind: Kind,
) -> Result<Slot<Session>, PlaceError> {
    keys.place(master, |bytes| Session::new(suite, kind, bytes))
}

/// Encrypts one stream of ours.
#[derive(Debug)]
pub struct Protector {
    session: Slot<Session>,
    suite: Suite,
    rollovers: u32,
    last: Option<u16>,
}

impl Protector {
    /// For packets under this master key.
    ///
    /// # Errors
    /// [`PlaceError`]: no protected memory, or not a key of this suite.
    pub fn new(keys: &MediaKeys, master: &MasterKey, suite: Suite) -> Result<Self, PlaceError> {
        Ok(Self { session: place(keys, master, suite, Kind::Media)?, suite, rollovers: 0, last: None })
    }

    /// Encrypts the packet in the first `len` bytes of `buffer`, which has room for [`GROWTH`] more; its new length. `None`: it is none.
    pub fn protect(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        let packet = buffer.get(..len)?;
        let (header, seq, ssrc) = (header_of(packet)?, seq_of(packet)?, number(packet, 8)?);
        // Our numbers go up by one.
        if self.last.is_some_and(|last| last > seq && last - seq > 0x8000) {
            self.rollovers = self.rollovers.wrapping_add(1);
        }
        self.last = Some(seq);
        let index = u64::from(self.rollovers) << 16 | u64::from(seq);
        let whole = buffer.get_mut(..len + tag_of(self.suite))?;
        let (packet, tag) = whole.split_at_mut(len);
        let (header, payload) = packet.split_at_mut(header);
        self.session.seal(ssrc, index, header, payload, &self.rollovers.to_be_bytes(), tag);
        Some(len + tag_of(self.suite))
    }
}

/// Opens one peer's packets. Another source begins with its own counters (RFC 3711 §3.2.3), under the same key.
#[derive(Debug)]
pub struct Opener {
    session: Slot<Session>,
    suite: Suite,
    source: Option<Source>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    rollovers: u32,
    highest: u16,
    window: Window,
}

impl Opener {
    /// For packets under this master key.
    ///
    /// # Errors
    /// As [`Protector::new`].
    pub fn new(keys: &MediaKeys, master: &MasterKey, suite: Suite) -> Result<Self, PlaceError> {
        Ok(Self { session: place(keys, master, suite, Kind::Media)?, suite, source: None })
    }

    /// Opens a packet where it lies; its length without tag. Nothing is learnt from one that is not authentic.
    ///
    /// # Errors
    /// [`SrtpFault`].
    pub fn open(&mut self, packet: &mut [u8]) -> Result<usize, SrtpFault> {
        let len = packet.len().checked_sub(tag_of(self.suite)).ok_or(SrtpFault::Malformed)?;
        let header = header_of(&packet[..len]).ok_or(SrtpFault::Malformed)?;
        let seq = seq_of(packet).ok_or(SrtpFault::Malformed)?;
        let ssrc = number(packet, 8).ok_or(SrtpFault::Malformed)?;
        let known = self.source.filter(|s| s.ssrc == ssrc);
        let rollovers = known.map_or(0, |s| s.guess(seq));
        let index = u64::from(rollovers) << 16 | u64::from(seq);
        if known.is_some_and(|s| !s.window.is_new(index)) {
            return Err(SrtpFault::Replayed);
        }
        let (body, tag) = packet.split_at_mut(len);
        let (header, payload) = body.split_at_mut(header);
        if !self.session.open(ssrc, index, header, payload, &rollovers.to_be_bytes(), tag) {
            return Err(SrtpFault::Forged);
        }
        let mut source = known.unwrap_or(Source { ssrc, rollovers, highest: seq, window: Window::default() });
        source.window.take(index);
        if index > u64::from(source.rollovers) << 16 | u64::from(source.highest) {
            (source.rollovers, source.highest) = (rollovers, seq);
        }
        self.source = Some(source);
        Ok(len)
    }
}

impl Source {
    /// How often the sequence number has gone round when `seq` was sent (RFC 3711 §3.3.1).
    fn guess(&self, seq: u16) -> u32 {
        let (highest, seq) = (i32::from(self.highest), i32::from(seq));
        if highest < 0x8000 {
            if seq - highest > 0x8000 { self.rollovers.wrapping_sub(1) } else { self.rollovers }
        } else if highest - 0x8000 > seq {
            self.rollovers.wrapping_add(1)
        } else {
            self.rollovers
        }
    }
}

/// Bytes of an RTCP packet's head that stay readable: its header and our SSRC.
const CONTROL_HEAD: usize = 8;
/// Says that an RTCP packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED: u32 = 1 << 31;

/// Encrypts our RTCP.
#[derive(Debug)]
pub struct ControlProtector {
    session: Slot<Session>,
    suite: Suite,
    index: u32,
}

impl ControlProtector {
    /// For packets under this master key.
    ///
    /// # Errors
    /// As [`Protector::new`].
    pub fn new(keys: &MediaKeys, master: &MasterKey, suite: Suite) -> Result<Self, PlaceError> {
        Ok(Self { session: place(keys, master, suite, Kind::Control)?, suite, index: 0 })
    }

    /// Encrypts the compound packet in the first `len` bytes of `buffer`, which has room for [`GROWTH`] more; its new length. `None`: it is none.
    pub fn protect(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        let tag = control_tag_of(self.suite);
        let whole = buffer.get_mut(..len + 4 + tag).filter(|_| len >= CONTROL_HEAD)?;
        let ssrc = number(whole, 4)?;
        self.index = (self.index + 1) & !ENCRYPTED;
        let word = (self.index | ENCRYPTED).to_be_bytes();
        let (packet, rest) = whole.split_at_mut(len);
        let (head, body) = packet.split_at_mut(CONTROL_HEAD);
        // The tag comes before the index where it is GCM's (RFC 7714 §9.3), behind it else (RFC 3711 §3.4).
        let (tag, place) = if self.suite.is_aead() {
            rest.split_at_mut(tag)
        } else {
            let (place, tag) = rest.split_at_mut(4);
            (tag, place)
        };
        place.copy_from_slice(&word);
        self.session.seal(ssrc, u64::from(self.index), head, body, &word, tag);
        Some(len + rest.len())
    }
}

/// Opens a peer's RTCP.
#[derive(Debug)]
pub struct ControlOpener {
    session: Slot<Session>,
    suite: Suite,
    window: Window,
}

impl ControlOpener {
    /// For packets under this master key.
    ///
    /// # Errors
    /// As [`Protector::new`].
    pub fn new(keys: &MediaKeys, master: &MasterKey, suite: Suite) -> Result<Self, PlaceError> {
        Ok(Self { session: place(keys, master, suite, Kind::Control)?, suite, window: Window::default() })
    }

    /// Opens a compound packet where it lies; its length without index and tag.
    ///
    /// # Errors
    /// [`SrtpFault`].
    pub fn open(&mut self, packet: &mut [u8]) -> Result<usize, SrtpFault> {
        let size = control_tag_of(self.suite);
        let len =
            packet.len().checked_sub(4 + size).filter(|l| *l >= CONTROL_HEAD).ok_or(SrtpFault::Malformed)?;
        let ssrc = number(packet, 4).ok_or(SrtpFault::Malformed)?;
        let (body, rest) = packet.split_at_mut(len);
        let (tag, word) = if self.suite.is_aead() {
            rest.split_at_mut(size)
        } else {
            let (word, tag) = rest.split_at_mut(4);
            (tag, word)
        };
        let word = <[u8; 4]>::try_from(&*word).map_err(|_| SrtpFault::Malformed)?;
        let said = u32::from_be_bytes(word);
        if said & ENCRYPTED == 0 {
            // Nobody who has keys sends it readable.
            return Err(SrtpFault::Forged);
        }
        let index = u64::from(said & !ENCRYPTED);
        if !self.window.is_new(index) {
            return Err(SrtpFault::Replayed);
        }
        let (head, body) = body.split_at_mut(CONTROL_HEAD);
        if !self.session.open(ssrc, index, head, body, &word, tag) {
            return Err(SrtpFault::Forged);
        }
        self.window.take(index);
        Ok(len)
    }
}

#[cfg(test)]
mod tests;
