//! Packets that wait to be played, by sequence number: a fixed number of places and a fixed piece of memory for their payloads.

use crate::codec::Codec;
use crate::prefetch::{prefetch, touch};

/// Packets at most: a bit of a `u64` for each.
const PLACES: usize = u64::BITS as usize;

/// A packet that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Extended sequence number.
    pub(super) seq: u64,
    /// Where its first sample lies on the stream's timeline.
    pub(super) position: i64,
    /// How many samples it holds.
    pub(super) samples: u32,
    /// What it is encoded with; `None`: comfort noise.
    pub(super) codec: Option<Codec>,
    at: u32,
    len: u16,
}

impl Entry {
    const NONE: Self = Self { seq: 0, position: 0, samples: 0, codec: None, at: 0, len: 0 };

    /// Where its last sample is followed by the next packet's first.
    pub(super) fn end(&self) -> i64 {
        self.position + i64::from(self.samples)
    }
}

/// See the module's text. The least of it is used, and that again and again: where packets are played as they come, all others' memory has been
/// out of the processor's caches for long.
#[derive(Debug)]
pub(super) struct Store {
    places: Box<[Entry; PLACES]>,
    payloads: Box<[u8]>,
    /// Where the next payload goes.
    head: usize,
    /// A bit for each place whose packet waits to be played.
    waits: u64,
    /// A bit for each whose packet was passed over, for a decoder that must find its way into the stream.
    kept: u64,
}

impl Store {
    /// A store with so many bytes for payloads.
    pub(super) fn new(bytes: usize) -> Self {
        let mut payloads = vec![0; bytes];
        // Where packets are played as they come, no more of it is used.
        touch(&mut payloads[..bytes.min(1024)]);
        Self {
            places: Box::new([Entry::NONE; PLACES]),
            payloads: payloads.into(),
            head: 0,
            waits: 0,
            kept: 0,
        }
    }

    /// Places in use.
    fn used(&self) -> u64 {
        self.waits | self.kept
    }

    /// Has the processor look for where the next packet goes, which will be the one to be played.
    pub(super) fn prefetch(&self) {
        let first = self.used().trailing_ones() as usize;
        prefetch(&self.places[first.min(PLACES - 1)], usize::MAX);
        let at = if self.used() == 0 { 0 } else { self.head };
        let end = (at + 192).min(self.payloads.len());
        prefetch(&self.payloads[at..end], usize::MAX);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u32 {
        self.waits.count_ones()
    }

    /// Takes a packet of a number that is not there. Tells how many older ones had to make room for it; `None` when it is longer than the whole memory.
    pub(super) fn put(
        &mut self,
        seq: u64,
        position: i64,
        samples: usize,
        codec: Option<Codec>,
        payload: &[u8],
    ) -> Option<u32> {
        let len = payload.len();
        if len > self.payloads.len() {
            return None;
        }
        let full = self.used() == u64::MAX;
        let oldest = full.then(|| self.in_use(u64::MAX).min_by_key(|(_, e)| e.seq)).flatten();
        let mut over = oldest.map_or(0, |(place, _)| 1 << place);
        let none = self.used() == 0;
        let at = if none || self.head + len > self.payloads.len() { 0 } else { self.head };
        for (other, entry) in self.in_use(self.used()) {
            let start = entry.at as usize;
            if start < at + len && at < start + usize::from(entry.len) {
                over |= 1 << other;
            }
        }
        let lost = (self.waits & over).count_ones();
        self.free(over);
        self.payloads[at..at + len].copy_from_slice(payload);
        self.head = at + len;
        let (samples, at, len) = (samples as u32, at as u32, len as u16);
        let place = self.used().trailing_ones();
        self.places[place as usize] = Entry { seq, position, samples, codec, at, len };
        self.waits |= 1 << place;
        Some(lost)
    }

    /// The packets in these places.
    fn in_use(&self, mut places: u64) -> impl Iterator<Item = (u32, &Entry)> {
        std::iter::from_fn(move || {
            let place = places.trailing_zeros();
            places &= places.wrapping_sub(1);
            Some((place, self.places.get(place as usize)?))
        })
    }

    fn free(&mut self, places: u64) {
        (self.waits, self.kept) = (self.waits & !places, self.kept & !places);
    }

    /// The packet of this number in one of these places.
    fn find(&self, places: u64, seq: u64) -> Option<(u32, &Entry)> {
        self.in_use(places).find(|(_, e)| e.seq == seq)
    }

    /// The packet of this number, if it waits.
    pub(super) fn get(&self, seq: u64) -> Option<Entry> {
        self.find(self.waits, seq).map(|(_, e)| *e)
    }

    /// The packet of this number, if it was kept.
    pub(super) fn kept(&self, seq: u64) -> Option<Entry> {
        self.find(self.kept, seq).map(|(_, e)| *e)
    }

    /// Passes over a packet that waits, but keeps it.
    pub(super) fn keep(&mut self, seq: u64) {
        if let Some((place, _)) = self.find(self.waits, seq) {
            self.waits &= !(1 << place);
            self.kept |= 1 << place;
        }
    }

    /// Lets all kept packets go that have a lower number.
    pub(super) fn forget_below(&mut self, seq: u64) {
        let old = self.in_use(self.kept).filter(|(_, e)| e.seq < seq);
        self.kept &= !old.fold(0, |all, (place, _)| all | 1 << place);
    }

    /// A packet's payload.
    pub(super) fn payload(&self, entry: &Entry) -> &[u8] {
        &self.payloads[entry.at as usize..entry.at as usize + usize::from(entry.len)]
    }

    /// The first packet that waits with this number or a higher one.
    pub(super) fn first_from(&self, seq: u64) -> Option<Entry> {
        let waiting = self.in_use(self.waits).map(|(_, e)| e);
        waiting.filter(|e| e.seq >= seq).min_by_key(|e| e.seq).copied()
    }

    /// Lets a packet go.
    pub(super) fn remove(&mut self, seq: u64) {
        if let Some((place, _)) = self.find(self.waits, seq) {
            self.waits &= !(1 << place);
        }
    }

    /// Lets all go.
    pub(super) fn clear(&mut self) {
        (self.waits, self.kept) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_wrap_around_and_the_oldest_make_room() {
        let mut store = Store::new(100);
        for seq in 0..3u64 {
            assert_eq!(store.put(seq, seq as i64, 1, None, &[seq as u8; 33]), Some(0));
        }
        assert_eq!(store.put(3, 3, 1, None, &[3; 40]), Some(2), "lies where 0 and 1 lay");
        assert!(store.get(0).is_none() && store.get(1).is_none());
        for seq in [2, 3] {
            let entry = store.get(seq).unwrap();
            assert!(store.payload(&entry).iter().all(|b| u64::from(*b) == seq));
        }
        assert_eq!(store.first_from(0).map(|e| e.seq), Some(2));
        store.remove(2);
        assert_eq!((store.first_from(0).map(|e| e.seq), store.waiting()), (Some(3), 1));
        assert_eq!(store.put(4, 4, 1, None, &[0; 101]), None);
        store.clear();
        assert_eq!((store.waiting(), store.first_from(0).is_none()), (0, true));
    }

    #[test]
    fn where_no_place_is_left_the_oldest_makes_room_whether_it_waits_or_is_kept() {
        let mut store = Store::new(1000);
        for seq in 0..PLACES as u64 {
            assert_eq!(store.put(seq + 9, 0, 1, None, &[seq as u8]), Some(0));
        }
        store.keep(9);
        assert_eq!(store.put(1, 0, 1, None, &[0]), Some(0));
        assert!(store.kept(9).is_none() && store.get(1).is_some());
        assert_eq!(store.put(100, 0, 1, None, &[0]), Some(1));
        assert!(store.get(1).is_none() && store.get(10).is_some() && store.get(100).is_some());
        assert_eq!(store.waiting() as usize, PLACES);
    }

    #[test]
    fn what_is_played_as_it_comes_lies_always_in_the_same_place() {
        let mut store = Store::new(1000);
        let at: Vec<u32> = (0..100)
            .map(|seq| {
                assert_eq!(store.put(seq, 0, 1, None, &[0; 160]), Some(0));
                let entry = store.get(seq).unwrap();
                store.remove(seq);
                entry.at
            })
            .collect();
        assert_eq!(at, [0; 100]);
    }
}
