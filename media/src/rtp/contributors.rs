//! Who is heard in a mixed packet, and how loud (RFC 3550 §7.1, RFC 6465): the list of contributing sources, and a header extension with a level for
//! each.

use crate::level::Level;
use crate::units::{SPEAKERS, Ssrc};

/// The most bytes by which a header grows.
pub const GROWTH: usize = 4 * SPEAKERS + 4 + (1 + SPEAKERS).next_multiple_of(4);
/// Says that elements with heads of one byte follow (RFC 8285 §4.2).
const ONE_BYTE: u16 = 0xbede;
/// Where the list stands in a header.
const LIST: usize = super::HEADER;

/// The talkers of a tick. Their sources' numbers are those with which we send to them: they say nothing of anybody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Contributors {
    list: [(Ssrc, u8); SPEAKERS],
    count: usize,
}

impl Contributors {
    /// Adds one. Who comes after the fourth is left out.
    pub fn add(&mut self, source: Ssrc, level: Level) {
        if let Some(place) = self.list.get_mut(self.count) {
            // −dBov in seven bits (RFC 6465 §3).
            *place = (source, (-level.0).clamp(0.0, 127.0) as u8);
            self.count += 1;
        }
    }

    /// The same without one: nobody contributes to what they hear themselves.
    #[must_use]
    pub fn without(&self, source: Ssrc) -> Self {
        let mut rest = Self::default();
        for (other, level) in self.list[..self.count].iter().filter(|(other, _)| *other != source) {
            (rest.list[rest.count], rest.count) = ((*other, *level), rest.count + 1);
        }
        rest
    }

    /// Writes list and extension into the packet in the first `len` bytes of `buffer`, whose header has neither, under the extension's number `id`; the new
    /// length. There is room for [`GROWTH`] more. Without contributors it stays as it is.
    pub fn write(&self, buffer: &mut [u8], len: usize, id: u8) -> usize {
        if self.count == 0 {
            return len;
        }
        let elements = (1 + self.count).next_multiple_of(4);
        let grown = 4 * self.count + 4 + elements;
        buffer.copy_within(LIST..len, LIST + grown);
        buffer[0] |= 0x10 | self.count as u8;
        let (list, rest) = buffer[LIST..LIST + grown].split_at_mut(4 * self.count);
        let (head, body) = rest.split_at_mut(4);
        head[..2].copy_from_slice(&ONE_BYTE.to_be_bytes());
        head[2..].copy_from_slice(&((elements / 4) as u16).to_be_bytes());
        body.fill(0);
        body[0] = id << 4 | (self.count - 1) as u8;
        let all = self.list[..self.count].iter();
        for ((place, byte), (source, level)) in list.chunks_exact_mut(4).zip(&mut body[1..]).zip(all) {
            place.copy_from_slice(&source.0.to_be_bytes());
            *byte = *level;
        }
        len + grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{HEADER, Packet, Stream};
    use crate::units::PayloadType;

    #[test]
    fn the_list_and_its_levels_stand_as_rfc_6465_has_them() {
        let mut all = Contributors::default();
        all.add(Ssrc(0x0102_0304), Level(-30.4));
        all.add(Ssrc(0x0506_0708), Level(-127.0));
        let mut buffer = [0xaa; HEADER + 5 + GROWTH];
        Stream::new(PayloadType(0)).write(&mut buffer, 160);
        let len = all.write(&mut buffer, HEADER + 5, 5);
        assert_eq!(len, HEADER + 5 + 8 + 4 + 4);
        assert_eq!(buffer[0], 0x92);
        assert_eq!(buffer[HEADER..HEADER + 8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(buffer[HEADER + 8..HEADER + 16], [0xbe, 0xde, 0, 1, 0x51, 30, 127, 0]);
        assert_eq!(Packet::parse(&buffer[..len]).unwrap().payload, [0xaa; 5]);
        let one = all.without(Ssrc(0x0102_0304));
        assert_eq!((one.count, one.list[0]), (1, (Ssrc(0x0506_0708), 127)));
    }

    #[test]
    fn any_number_of_them_leaves_the_payload_whole() {
        for count in 0..=SPEAKERS + 1 {
            let mut all = Contributors::default();
            (0..count).for_each(|n| all.add(Ssrc(n as u32), Level(1.0)));
            let mut buffer = vec![0x55; HEADER + 160 + GROWTH];
            Stream::new(PayloadType(0)).write(&mut buffer, 160);
            let len = all.write(&mut buffer, HEADER + 160, 14);
            assert_eq!(Packet::parse(&buffer[..len]).unwrap().payload, [0x55; 160], "{count}");
            assert!((count == 0) == (len == HEADER + 160) && len <= HEADER + 160 + GROWTH);
        }
    }
}
