//! What goes out of a leg: sound cut into packets, key presses, comfort noise; encrypted where that was agreed on.

use super::{LARGEST_PACKET, Leg, Protection};
use crate::rtp::HEADER;
use crate::rtp::contributors::Contributors;
use crate::srtp::GROWTH;
use crate::units::PayloadType;
use std::net::SocketAddr;

impl Leg {
    /// Takes what a tick's sound was encoded to, behind room for a header, and hands every packet that it completes, with the leg's target, to
    /// `send`. Nothing behind the header: nothing need be sent.
    pub fn packetise(&mut self, encoded: &mut [u8], mut send: impl FnMut(SocketAddr, &[u8])) {
        let codec = self.setup.sends.0.codec;
        let per_ms = codec.bytes_per_ms();
        let packet = per_ms.map(|per_ms| per_ms * self.setup.ptime.min(LARGEST_PACKET / per_ms / 10 * 10));
        let sound = encoded.len() - HEADER;
        if sound == 0 || self.awaits_keys() {
            return self.pause();
        }
        if self.filled == 0 && packet.is_none_or(|packet| packet == sound) {
            self.packets_sent += 1;
            self.octets_sent += sound as u64;
            self.stream.write(encoded, codec.units_per_tick());
            if self.coders.protection.is_none() && self.setup.levels.is_none() {
                // One packet, as it lies there.
                return send(self.latch.target(), encoded);
            }
            let len = encoded.len().min(HEADER + LARGEST_PACKET);
            self.outgoing[..len].copy_from_slice(&encoded[..len]);
            return self.send_off(len, &mut send);
        }
        let packet = packet.unwrap_or(sound);
        let mut rest = &encoded[HEADER..];
        while !rest.is_empty() {
            let n = rest.len().min(packet - self.filled);
            let at = HEADER + self.filled;
            self.outgoing[at..at + n].copy_from_slice(&rest[..n]);
            self.filled += n;
            rest = &rest[n..];
            if self.filled == packet {
                self.finish(self.units(packet), &mut send);
            }
        }
    }

    /// RTP clock units of so many bytes.
    fn units(&self, bytes: usize) -> u32 {
        let codec = self.setup.sends.0.codec;
        let ms = bytes / codec.bytes_per_ms().unwrap_or(usize::MAX);
        ms as u32 * codec.clock() / 1000
    }

    fn finish(&mut self, units: u32, send: &mut impl FnMut(SocketAddr, &[u8])) {
        self.stream.write(&mut self.outgoing, units);
        self.send_off(HEADER + self.filled, send);
        self.packets_sent += 1;
        self.octets_sent += self.filled as u64;
        self.filled = 0;
    }

    /// Sends the packet in the first `len` bytes of what is outgoing.
    fn send_off(&mut self, len: usize, send: &mut impl FnMut(SocketAddr, &[u8])) {
        let Self { outgoing, coders, .. } = self;
        let len = self.setup.levels.map_or(len, |id| self.contributors.write(outgoing, len, id));
        ship(&mut coders.protection, outgoing, len, self.latch.target(), send);
    }

    /// Whether it wants to know who is heard.
    pub fn wants_levels(&self) -> bool {
        self.setup.levels.is_some()
    }

    /// Who is heard in this tick.
    pub fn set_contributors(&mut self, all: &Contributors) {
        self.contributors = all.without(self.ssrc());
    }

    /// Sends a telephone-event packet in place of this tick's audio (RFC 4733 §2.5.1): all packets of one key have the timestamp of its
    /// start, and the first has the marker bit.
    pub fn send_event(
        &mut self,
        payload_type: PayloadType,
        first: bool,
        payload: &[u8; 4],
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) {
        if self.awaits_keys() {
            return self.pause();
        }
        let mut packet = [0; HEADER + 4 + GROWTH];
        packet[HEADER..HEADER + 4].copy_from_slice(payload);
        let tick = self.setup.sends.0.codec.units_per_tick();
        self.stream.write_event(&mut packet, payload_type, first, tick);
        ship(&mut self.coders.protection, &mut packet, HEADER + 4, self.latch.target(), &mut send);
        self.packets_sent += 1;
        self.octets_sent += 4;
    }

    /// Sends a comfort noise packet in place of this tick's audio (RFC 3389), of −`level` dBov.
    pub fn send_comfort(&mut self, level: u8, mut send: impl FnMut(SocketAddr, &[u8])) {
        let Some(payload_type) = self.setup.comfort.filter(|_| self.setup.sends_comfort) else { return };
        let mut packet = [0; HEADER + 1 + GROWTH];
        packet[HEADER] = level;
        self.stream.write_other(&mut packet, payload_type);
        ship(&mut self.coders.protection, &mut packet, HEADER + 1, self.latch.target(), &mut send);
        self.packets_sent += 1;
        self.octets_sent += 1;
        self.pause();
    }

    /// Whether it is sent comfort noise where nobody speaks.
    pub fn takes_comfort(&self) -> bool {
        self.setup.sends_comfort && self.setup.comfort.is_some()
    }

    /// A tick in which it is sent nothing.
    pub fn pause(&mut self) {
        let filled = if self.filled > 0 { self.units(self.filled) } else { 0 };
        self.stream.pause(self.setup.sends.0.codec.units_per_tick() + filled);
        self.filled = 0;
    }
}

/// Sends the packet in the first `len` bytes of `buffer`, encrypted where that was agreed on; there is room for [`GROWTH`] behind it.
fn ship(
    protection: &mut Option<Protection>,
    buffer: &mut [u8],
    len: usize,
    to: SocketAddr,
    send: &mut impl FnMut(SocketAddr, &[u8]),
) {
    match protection {
        None => send(to, &buffer[..len]),
        // It is a packet of ours, with room behind it: there is always one.
        Some(Protection { protector, .. }) => {
            if let Some(len) = protector.protect(buffer, len) {
                send(to, &buffer[..len]);
            }
        }
    }
}
