//! Packets that wait to be played, by sequence number: a fixed number of places and a fixed piece of memory for their payloads.

use crate::codec::Codec;
use crate::prefetch::prefetch;

/// Packets at most.
const PLACES: usize = 64;

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
    place: Place,
}

/// What a place in the store is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    /// By a packet that waits to be played.
    Waits,
    /// By one that was passed over, for a decoder that must find its way into the stream.
    Kept,
}

impl Entry {
    const NONE: Self =
        Self { seq: 0, position: 0, samples: 0, codec: None, at: 0, len: 0, place: Place::Free };

    /// Where its last sample is followed by the next packet's first.
    pub(super) fn end(&self) -> i64 {
        self.position + i64::from(self.samples)
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Store {
    places: Box<[Entry; PLACES]>,
    payloads: Box<[u8]>,
    /// Where the next payload goes.
    head: usize,
    waiting: usize,
    kept: usize,
}

impl Store {
    /// A store with so many bytes for payloads.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            places: Box::new([Entry::NONE; PLACES]),
            payloads: vec![0; bytes].into(),
            head: 0,
            waiting: 0,
            kept: 0,
        }
    }

    /// Has the processor look for where the packet of this number goes.
    pub(super) fn prefetch(&self, seq: u64) {
        prefetch(&self.places[(seq % PLACES as u64) as usize], usize::MAX);
        let end = (self.head + 192).min(self.payloads.len());
        prefetch(&self.payloads[self.head..end], usize::MAX);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a packet. Tells how many older ones had to make room for it; `None` when it is longer than the whole memory.
    pub(super) fn put(
        &mut self,
        seq: u64,
        position: i64,
        samples: usize,
        codec: Option<Codec>,
        payload: &[u8],
    ) -> Option<usize> {
        let len = payload.len();
        if len > self.payloads.len() {
            return None;
        }
        let at = if self.head + len > self.payloads.len() { 0 } else { self.head };
        let place = (seq % PLACES as u64) as usize;
        let mut lost = 0;
        if self.waiting + self.kept > 0 {
            for (other, entry) in self.places.iter_mut().enumerate() {
                let (start, end) = (entry.at as usize, entry.at as usize + usize::from(entry.len));
                if other == place || (start < at + len && at < end) {
                    match std::mem::replace(&mut entry.place, Place::Free) {
                        Place::Free => {}
                        Place::Kept => self.kept -= 1,
                        Place::Waits => (self.waiting, lost) = (self.waiting - 1, lost + 1),
                    }
                }
            }
        }
        self.payloads[at..at + len].copy_from_slice(payload);
        self.head = at + len;
        self.places[place] = Entry {
            seq,
            position,
            samples: samples as u32,
            codec,
            at: at as u32,
            len: len as u16,
            place: Place::Waits,
        };
        self.waiting += 1;
        Some(lost)
    }

    /// The packet of this number, if it waits.
    pub(super) fn get(&self, seq: u64) -> Option<Entry> {
        Some(self.places[(seq % PLACES as u64) as usize]).filter(|e| e.place == Place::Waits && e.seq == seq)
    }

    /// The packet of this number, if it was kept.
    pub(super) fn kept(&self, seq: u64) -> Option<Entry> {
        Some(self.places[(seq % PLACES as u64) as usize]).filter(|e| e.place == Place::Kept && e.seq == seq)
    }

    /// Passes over a packet that waits, but keeps it.
    pub(super) fn keep(&mut self, seq: u64) {
        let entry = &mut self.places[(seq % PLACES as u64) as usize];
        if entry.place == Place::Waits && entry.seq == seq {
            entry.place = Place::Kept;
            (self.waiting, self.kept) = (self.waiting - 1, self.kept + 1);
        }
    }

    /// Lets all kept packets go that have a lower number.
    pub(super) fn forget_below(&mut self, seq: u64) {
        if self.kept > 0 {
            for entry in self.places.iter_mut().filter(|e| e.place == Place::Kept && e.seq < seq) {
                entry.place = Place::Free;
                self.kept -= 1;
            }
        }
    }

    /// A packet's payload.
    pub(super) fn payload(&self, entry: &Entry) -> &[u8] {
        &self.payloads[entry.at as usize..entry.at as usize + usize::from(entry.len)]
    }

    /// The first packet that waits with this number or a higher one.
    pub(super) fn first_from(&self, seq: u64) -> Option<Entry> {
        if self.waiting == 0 {
            return None;
        }
        self.get(seq).or_else(|| {
            let waits = |e: &&Entry| e.place == Place::Waits && e.seq >= seq;
            self.places.iter().filter(waits).min_by_key(|e| e.seq).copied()
        })
    }

    /// Lets a packet go.
    pub(super) fn remove(&mut self, seq: u64) {
        let entry = &mut self.places[(seq % PLACES as u64) as usize];
        if entry.place == Place::Waits && entry.seq == seq {
            entry.place = Place::Free;
            self.waiting -= 1;
        }
    }

    /// Lets all go.
    pub(super) fn clear(&mut self) {
        self.places.iter_mut().for_each(|e| e.place = Place::Free);
        (self.waiting, self.kept) = (0, 0);
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
        assert_eq!(store.put(3 + 64, 5, 1, None, &[0; 1]), Some(1), "its place was taken");
        store.clear();
        assert_eq!((store.waiting(), store.first_from(0).is_none()), (0, true));
    }
}
