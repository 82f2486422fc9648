//! A conference in parts, as its shards run it: who is heard where.

use super::spread;
use super::*;
use crate::codec::{Codec, FRAME};
use crate::rtp::{Packet, Stream};
use crate::units::{PayloadType, Rate};
use std::net::SocketAddr;

const TICK: u64 = 20_000_000;
const LEGS: usize = 12;

/// Legs over some parts: leg n is in part n modulo their number. Each says a constant of its own.
struct Rig {
    parts: Vec<Room<usize>>,
    far: Vec<(Stream, Vec<i16>)>,
    tick: u64,
}

struct Out<'a>(&'a mut Vec<(Stream, Vec<i16>)>);

impl Sink<usize> for Out<'_> {
    fn packet(&mut self, socket: &mut usize, _: SocketAddr, packet: &[u8]) {
        let mut frame = [0; FRAME];
        Codec::Pcmu.decode_plain(Packet::parse(packet).unwrap().payload, &mut frame);
        self.0[*socket].1.push(frame[FRAME / 2]);
    }

    fn notice(&mut self, _: RoomId, _: LegId, _: Notice) -> bool {
        true
    }
}

fn address(n: usize) -> SocketAddr {
    ([192, 0, 2, 1], 4000 + n as u16).into()
}

impl Rig {
    fn new(parts: usize) -> Self {
        let mut narrow = Rates::default();
        narrow.add(Rate::Narrow);
        let mut rooms: Vec<_> = spread::parts(parts)
            .into_iter()
            .map(|side| Room::new(RoomId(1), LEGS, Manner::default()).in_parts(Some(side)))
            .collect();
        rooms.iter_mut().for_each(|r| r.adopt(&mut Kit::new(narrow, narrow, Default::default())));
        let mut rig = Self { parts: rooms, far: Vec::new(), tick: 0 };
        for n in 0..LEGS {
            let setup = LegSetup::plain(LegId(n as u64), Codec::Pcmu, PayloadType(0), address(n));
            let member = Box::new(Member::new(Leg::new(setup, None, Nanos(0)).unwrap(), n));
            rig.parts[n % parts].add(member).unwrap();
            rig.far.push((Stream::new(PayloadType(0)), Vec::new()));
        }
        rig
    }

    /// One tick; `says` is each leg's sample, of a square wave. Parts for which `late` says so tell the others too late.
    fn tick(&mut self, says: impl Fn(usize) -> i16, late: impl Fn(usize) -> bool) {
        self.tick += 1;
        let now = Nanos(1_795_000_000_000_000_000 + self.tick * TICK);
        for n in 0..LEGS {
            let mut packet = [0; HEADER + FRAME];
            self.far[n].0.write(&mut packet, FRAME as u32);
            let wave: Vec<i16> =
                (0..FRAME).map(|i| if i / 40 % 2 == 0 { says(n) } else { -says(n) }).collect();
            Codec::Pcmu.encode_plain(&wave, &mut packet[HEADER..]);
            let parts = self.parts.len();
            let member = self.parts[n % parts].members_mut().iter_mut().find(|m| m.socket == n);
            if let Some(member) = member {
                member.leg.receive(address(n), &mut packet, Nanos(now.0 - 5_000_000), now);
            }
        }
        for part in &mut self.parts {
            (0..part.len()).for_each(|n| part.pull(n, now));
        }
        let in_time: Vec<usize> = (0..self.parts.len()).filter(|n| !late(*n)).collect();
        in_time.iter().for_each(|n| self.parts[*n].tell_parts(self.tick));
        let complete: Vec<bool> = self.parts.iter_mut().map(Room::hear_parts).collect();
        assert!(in_time.len() < self.parts.len() || complete.iter().all(|c| *c), "nobody is missed");
        for n in 0..self.parts.len() {
            if late(n) {
                self.parts[n].tell_parts(self.tick);
                self.parts[n].hear_parts();
            }
            self.parts[n].tick(now, &mut Out(&mut self.far));
        }
    }

    /// What a leg heard last.
    fn heard(&self, n: usize) -> i32 {
        self.far[n].1.last().map_or(0, |s| i32::from(s.abs()))
    }
}

/// Within what two codings of G.711 do to it.
fn is_near(heard: i32, expected: i32) -> bool {
    (heard - expected).abs() <= expected / 12 + 8
}

#[test]
fn all_hear_the_talkers_of_all_parts_and_nobody_hears_themselves() {
    for parts in [1, 2, 3, 5] {
        let mut rig = Rig::new(parts);
        let loud = [(0, 1000), (1, 3000), (5, 9000)];
        let says = |n: usize| loud.iter().find(|(leg, _)| *leg == n).map_or(0, |(_, s)| *s);
        (0..30).for_each(|_| rig.tick(says, |_| false));
        for n in 0..LEGS {
            let expected = 13_000 - i32::from(says(n));
            assert!(
                is_near(rig.heard(n), expected),
                "{parts} parts, leg {n}: {} not {expected}",
                rig.heard(n)
            );
        }
    }
}

#[test]
fn of_many_talkers_every_part_chooses_the_same() {
    let mut rig = Rig::new(3);
    // Seven speak, each as loud as their number says; they begin one after the other.
    let says =
        |tick: u64| move |n: usize| if n < 7 && tick > 3 * n as u64 { 700 + 300 * n as i16 } else { 0 };
    for tick in 0..60 {
        rig.tick(says(tick), |_| false);
    }
    let heard: Vec<i32> = (7..LEGS).map(|n| rig.heard(n)).collect();
    assert!(heard.iter().all(|h| *h == heard[0] && *h > 2000), "{heard:?}");
    for n in 0..7 {
        let own = i32::from(700 + 300 * n as i16);
        let (here, all) = (rig.heard(n), heard[0]);
        assert!(is_near(here, all) || is_near(here, all - own), "leg {n} hears {here} of {all}");
    }
}

#[test]
fn a_part_that_is_late_is_missed_for_a_tick_and_no_longer() {
    let mut rig = Rig::new(2);
    // One in each part.
    let says = |n: usize| [1000, 4000].get(n).copied().unwrap_or(0);
    (0..30).for_each(|_| rig.tick(says, |_| false));
    assert!(is_near(rig.heard(2), 5000) && is_near(rig.heard(3), 5000));
    rig.tick(says, |part| part == 1);
    assert!(is_near(rig.heard(2), 1000), "the late one is missed: {}", rig.heard(2));
    assert!(is_near(rig.heard(3), 5000), "but not where it is");
    (0..3).for_each(|_| rig.tick(says, |_| false));
    assert!(is_near(rig.heard(2), 5000) && is_near(rig.heard(3), 5000));
}

#[test]
fn talkers_come_and_go_and_their_places_with_them() {
    let mut rig = Rig::new(2);
    for round in 0..40 {
        let says = |n: usize| if n == round % LEGS { 4000 } else { 0 };
        (0..8).for_each(|_| rig.tick(says, |_| false));
        for n in (0..LEGS).filter(|n| *n != round % LEGS) {
            assert!(is_near(rig.heard(n), 4000), "round {round}, leg {n}: {}", rig.heard(n));
        }
        assert!(rig.heard(round % LEGS) < 100, "round {round}: {}", rig.heard(round % LEGS));
    }
    // Who leaves is heard no more, wherever they were.
    let says = |n: usize| if n == 3 { 4000 } else { 0 };
    (0..8).for_each(|_| rig.tick(says, |_| false));
    rig.parts[1].remove(LegId(3)).unwrap();
    (0..8).for_each(|_| rig.tick(says, |_| false));
    assert!((0..LEGS).filter(|n| *n != 3).all(|n| rig.heard(n) < 100));
}
