//! RTP packets (RFC 3550 §5.1): bounds first, then rtc-rtp's header.

pub mod contributors;

use crate::units::{PayloadType, RtpTime, SeqNo, Ssrc};
use rtc_rtp::header::Header;
use shared::marshal::{Marshal, Unmarshal};

/// Bytes of a header without CSRCs and extension: all that Sotto sends.
pub const HEADER: usize = 12;

/// Why a datagram is no acceptable RTP packet. Each is counted by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RtpFault {
    /// Shorter than the fixed header and the CSRCs that it announces.
    #[error("shorter than its header")]
    Short,
    /// Not version 2.
    #[error("not RTP version 2")]
    Version,
    /// The header extension ends beyond the packet.
    #[error("header extension beyond the end")]
    Extension,
    /// The padding count is zero or larger than the payload.
    #[error("padding beyond the payload")]
    Padding,
}

/// What a datagram is that came to a port of RTP's (RFC 7983 §7, RFC 5761 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RTP, or nothing that anybody knows.
    Rtp,
    /// RTCP.
    Rtcp,
    /// STUN.
    Stun,
    /// DTLS.
    Dtls,
}

impl Kind {
    /// By the first two bytes.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            [128..=191, 192..=223, ..] => Self::Rtcp,
            _ => Self::Rtp,
        }
    }
}

/// A received packet, borrowed from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: PayloadType,
    /// Sequence number.
    pub seq: SeqNo,
    /// Timestamp.
    pub time: RtpTime,
    /// Synchronisation source.
    pub ssrc: Ssrc,
    /// Payload, without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram. CSRCs and header extension are bounds-checked and passed over. Never allocates.
    ///
    /// # Errors
    /// [`RtpFault`], by kind.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpFault> {
        let (fixed, _) = bytes.split_first_chunk::<HEADER>().ok_or(RtpFault::Short)?;
        if fixed[0] >> 6 != 2 {
            return Err(RtpFault::Version);
        }
        let mut rest = bytes.get(HEADER + 4 * usize::from(fixed[0] & 15)..).ok_or(RtpFault::Short)?;
        if fixed[0] & 0x10 != 0 {
            let words = rest.get(2..4).ok_or(RtpFault::Extension)?;
            let words = usize::from(u16::from_be_bytes([words[0], words[1]]));
            rest = rest.get(4 + 4 * words..).ok_or(RtpFault::Extension)?;
        }
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(RtpFault::Padding)?);
            if padding == 0 || padding > rest.len() {
                return Err(RtpFault::Padding);
            }
            rest = &rest[..rest.len() - padding];
        }
        // The library's reader gets the fixed part alone: with CSRCs or extensions it would allocate.
        let mut plain = *fixed;
        plain[0] &= 0b1100_0000;
        let header = Header::unmarshal(&mut &plain[..]).map_err(|_| RtpFault::Short)?;
        Ok(Self {
            marker: header.marker,
            payload_type: PayloadType(header.payload_type),
            seq: SeqNo(header.sequence_number),
            time: RtpTime(header.timestamp),
            ssrc: Ssrc(header.ssrc),
            payload: rest,
        })
    }
}

/// Writes the headers of one outgoing stream. Never allocates after it is made.
#[derive(Debug)]
pub struct Stream {
    header: Header,
    /// Timestamp of the telephone event that is being sent.
    event: u32,
}

impl Stream {
    /// A stream with random SSRC, first sequence number and first timestamp (RFC 3550 §5.1).
    pub fn new(payload_type: PayloadType) -> Self {
        let header = Header {
            version: 2,
            marker: true,
            payload_type: payload_type.0,
            sequence_number: rand::random(),
            timestamp: rand::random(),
            ssrc: rand::random(),
            ..Header::default()
        };
        Self { header, event: 0 }
    }

    /// This stream's SSRC.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(self.header.ssrc)
    }

    /// The timestamp of the next packet.
    pub fn time(&self) -> RtpTime {
        RtpTime(self.header.timestamp)
    }

    /// Changes the payload type, as a re-INVITE may.
    pub fn set_payload_type(&mut self, payload_type: PayloadType) {
        self.header.payload_type = payload_type.0;
    }

    /// Writes the next packet's header into the first [`HEADER`] bytes of `packet`; the payload is `samples` long.
    pub fn write(&mut self, packet: &mut [u8], samples: u32) {
        let written = self.header.marshal_to(&mut packet[..HEADER]);
        debug_assert_eq!(written.ok(), Some(HEADER));
        self.header.marker = false;
        self.header.sequence_number = self.header.sequence_number.wrapping_add(1);
        self.skip(samples);
    }

    /// Writes the header of a telephone-event packet; `samples` of time pass meanwhile.
    pub fn write_event(&mut self, packet: &mut [u8], payload_type: PayloadType, first: bool, samples: u32) {
        if first {
            self.event = self.header.timestamp;
        }
        let audio = (self.header.payload_type, self.header.timestamp);
        (self.header.payload_type, self.header.timestamp) = (payload_type.0, self.event);
        self.header.marker = first;
        self.write(packet, 0);
        (self.header.payload_type, self.header.timestamp) = audio;
        self.pause(samples);
    }

    /// Writes the header of a packet of another payload type at this moment, from where no time passes.
    pub fn write_other(&mut self, packet: &mut [u8], payload_type: PayloadType) {
        let (usual, marker) = (self.header.payload_type, self.header.marker);
        (self.header.payload_type, self.header.marker) = (payload_type.0, false);
        self.write(packet, 0);
        (self.header.payload_type, self.header.marker) = (usual, marker);
    }

    /// Lets time pass without a packet; the next one carries the marker bit (RFC 3551 §4.1).
    pub fn pause(&mut self, samples: u32) {
        self.header.marker = true;
        self.skip(samples);
    }

    fn skip(&mut self, samples: u32) {
        self.header.timestamp = self.header.timestamp.wrapping_add(samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0x80, 1, 2, 0, 0, 0, 3, 0, 0, 0, 4];
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_plain_packet() {
        let bytes = packet(0x80, &[9, 8]);
        let got = Packet::parse(&bytes).unwrap();
        assert!(got.marker);
        assert_eq!((got.seq, got.time, got.ssrc), (SeqNo(0x102), RtpTime(3), Ssrc(4)));
        assert_eq!(got.payload, [9, 8]);
    }

    #[test]
    fn csrcs_extension_and_padding_are_passed_over() {
        let bytes = packet(0xb1, &[1, 1, 1, 1, 0xbe, 0xde, 0, 1, 5, 5, 5, 5, 7, 7, 0, 2]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, [7, 7]);
    }

    #[test]
    fn what_shares_a_port_is_told_apart() {
        for (bytes, kind) in [
            (&[0x80, 0x00][..], Kind::Rtp),
            (&[0xb1, 0x80 | 127], Kind::Rtp),
            (&[0x81, 200], Kind::Rtcp),
            (&[0x80, 207], Kind::Rtcp),
            (&[0x80, 191], Kind::Rtp),
            (&[0, 1], Kind::Stun),
            (&[22], Kind::Dtls),
            (&[63], Kind::Dtls),
            (&[64, 1], Kind::Rtp),
            (&[], Kind::Rtp),
        ] {
            assert_eq!(Kind::of(bytes), kind, "{bytes:x?}");
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        for (bytes, fault) in [
            (vec![], RtpFault::Short),
            (packet(0x80, &[])[..11].to_vec(), RtpFault::Short),
            (packet(0x8f, &[0; 59]), RtpFault::Short),
            (packet(0x40, &[1]), RtpFault::Version),
            (packet(0x90, &[0xbe, 0xde]), RtpFault::Extension),
            (packet(0x90, &[0xbe, 0xde, 0, 2, 1, 1, 1, 1]), RtpFault::Extension),
            (packet(0xa0, &[]), RtpFault::Padding),
            (packet(0xa0, &[1, 0]), RtpFault::Padding),
            (packet(0xa0, &[1, 3]), RtpFault::Padding),
        ] {
            assert_eq!(Packet::parse(&bytes), Err(fault), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut stream = Stream::new(PayloadType(8));
        let mut bytes = [0; HEADER];
        stream.write(&mut bytes, 160);
        let first = Packet::parse(&bytes).unwrap();
        let (seq, time) = (first.seq, first.time);
        assert!(first.marker && first.payload_type == PayloadType(8));
        stream.write(&mut bytes, 160);
        let second = Packet::parse(&bytes).unwrap();
        assert!(!second.marker);
        assert_eq!((second.seq, second.time), (seq.next(), time.plus(160)));
    }
}
