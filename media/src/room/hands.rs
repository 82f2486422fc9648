//! Whose encoder makes what each leg hears: one for all who only listen and have the same coding, and who speaks has their own. Where an encoder
//! has a memory, it is handed over with it.

use super::{Room, USUAL};
use crate::codec::{Coding, LARGEST};
use crate::rtp::HEADER;
use crate::units::LegId;

/// Ticks for which who has spoken goes on with an encoder of their own: by then it has forgotten what only they heard (300 ms).
const HAND_BACK: u8 = 15;

/// Whose encoder makes what a leg hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    /// One for all who only listen and have the same coding.
    Shares,
    /// Its own; for so many ticks more once it only listens.
    Own(u8),
}

/// A way to encode the common mix. Where that has a memory, one of the legs that share it, the leader, has the encoder.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) coding: Coding,
    pub(super) leader: LegId,
    /// Behind room for a header, which each leg writes there in turn.
    pub(super) packet: [u8; HEADER + LARGEST],
    pub(super) len: usize,
    /// The tick for which it was encoded.
    pub(super) made: u64,
}

impl<S> Room<S> {
    /// Before anything is encoded: who needs an encoder of their own goes on with the shared stream, whose leader must be one of those who
    /// go on sharing it.
    pub(super) fn hand_over(&mut self) {
        for place in self.mix.speakers() {
            let index = match &self.spread {
                None => Some(place),
                Some(spread) => {
                    let leg = spread.leg_at(place);
                    self.members.iter().position(|m| Some(m.leg.id()) == leg)
                }
            };
            if let Some(index) = index {
                self.take_own(index);
            }
        }
        for index in 0..self.members.len() {
            let member = &*self.members[index];
            if member.is_spoken_to() || member.leg.volume() != USUAL || (index == 0 && self.music.plays()) {
                self.take_own(index);
            }
        }
        for place in 0..self.classes.len() {
            let Class { coding, leader, .. } = self.classes[place];
            let Some(mut index) = self.members.iter().position(|m| m.leg.id() == leader) else { continue };
            if !self.members[index].leg.encoder().remembers() {
                continue;
            }
            if !self.members[index].leg.hears() {
                match self.successor(index, coding) {
                    Some(next) => {
                        self.follow(next, leader);
                        self.classes[place].leader = self.members[next].leg.id();
                        index = next;
                    }
                    None => continue,
                }
            }
            let seat = self.place(index);
            let Self { members, mix, classes, ticks, .. } = self;
            let class = &mut classes[place];
            let heard = mix.for_leg(seat, coding.rate);
            class.len = members[index].leg.encoder().encode(heard, &mut class.packet[HEADER..]);
            class.made = *ticks;
        }
    }

    /// This leg needs its own encoder from now on.
    pub(super) fn take_own(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.hand == Hand::Shares {
            let (coding, id) = (member.leg.coding(), member.leg.id());
            if member.leg.encoder().remembers() && member.leg.hears() {
                let leader = self.classes.iter().find(|c| c.coding == coding).map(|c| c.leader);
                match leader {
                    Some(leader) if leader == id => self.pass_on_leadership(index),
                    Some(leader) => self.follow(index, leader),
                    None => {}
                }
            }
        }
        self.members[index].hand = Hand::Own(HAND_BACK);
    }

    /// The leg goes on with the leader's stream.
    fn follow(&mut self, index: usize, leader: LegId) {
        let Some(first) = self.members.iter().position(|m| m.leg.id() == leader) else { return };
        if let Ok([follower, leader]) = self.members.get_disjoint_mut([index, first]) {
            follower.leg.encoder().follow(leader.leg.encoder());
        }
    }

    /// A leg that leads will lead no longer: another that shares the stream goes on with it.
    pub(super) fn pass_on_leadership(&mut self, index: usize) {
        let leader = self.members[index].leg.id();
        let Some(place) = self.classes.iter().position(|c| c.leader == leader) else { return };
        let coding = self.classes[place].coding;
        match self.successor(index, coding) {
            Some(next) => {
                self.follow(next, leader);
                self.classes[place].leader = self.members[next].leg.id();
            }
            None => drop(self.classes.swap_remove(place)),
        }
    }

    /// Another leg than this one that shares what is encoded so.
    fn successor(&self, index: usize, coding: Coding) -> Option<usize> {
        self.members.iter().enumerate().position(|(i, m)| {
            i != index && m.hand == Hand::Shares && m.leg.hears() && m.leg.coding() == coding
        })
    }
}
