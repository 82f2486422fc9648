//! Who encodes for whom: what each far end hears while legs begin and stop to speak, come and go.

use super::*;
use crate::codec::{Codec, Coding, Decoder, Encoder};
use crate::rtp::{Packet, Stream};
use crate::units::{PayloadType, Rate};
use std::net::SocketAddr;

const TICK: u64 = 20_000_000;

/// The other end of a leg: it may say a tone, and keeps what it hears.
struct Far {
    stream: Stream,
    encoder: Encoder,
    decoder: Decoder,
    coding: Coding,
    /// Of what it says; 0: silence.
    pitch: f32,
    /// A frame for each packet; empty where it was no sound.
    heard: Vec<Vec<i16>>,
    markers: Vec<bool>,
}

struct Rig {
    room: Room<usize>,
    far: Vec<Far>,
    tick: u64,
}

struct Out<'a>(&'a mut Vec<Far>);

impl Sink<usize> for Out<'_> {
    fn packet(&mut self, socket: &mut usize, _: SocketAddr, packet: &[u8]) {
        let packet = Packet::parse(packet).unwrap();
        let far = &mut self.0[*socket];
        far.markers.push(packet.marker);
        if packet.payload_type == PayloadType(13) {
            assert_eq!(packet.payload, [70]);
            return far.heard.push(Vec::new());
        }
        let mut frame = vec![0; far.decoder.samples(packet.payload)];
        far.decoder.decode(packet.payload, &mut frame);
        far.heard.push(frame);
    }

    fn notice(&mut self, _: RoomId, _: LegId, _: Notice) -> bool {
        true
    }
}

fn address(n: usize) -> SocketAddr {
    ([192, 0, 2, 1], 4000 + n as u16).into()
}

impl Rig {
    fn new(codings: &[Coding], change: impl Fn(usize, &mut LegSetup)) -> Self {
        let mut room = Room::new(RoomId(1), codings.len(), Manner::default());
        let mut all = Rates::default();
        Rate::ALL.into_iter().for_each(|rate| all.add(rate));
        room.adopt(&mut Kit::new(all, all, Default::default()));
        let mut far = Vec::new();
        for (n, coding) in codings.iter().enumerate() {
            let plain = LegSetup::plain(LegId(n as u64), coding.codec, PayloadType(96), address(n));
            let mut setup = LegSetup { sends: (*coding, PayloadType(96)), ..plain };
            setup.events = Some(PayloadType(101));
            change(n, &mut setup);
            room.add(Box::new(Member::new(Leg::new(setup, None, Nanos(0)).unwrap(), n))).unwrap();
            far.push(Far {
                stream: Stream::new(PayloadType(96)),
                encoder: Encoder::new(coding).unwrap(),
                decoder: Decoder::new(coding.codec, coding.rate).unwrap(),
                coding: *coding,
                pitch: 0.0,
                heard: Vec::new(),
                markers: Vec::new(),
            });
        }
        Self { room, far, tick: 0 }
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.tick += 1;
            let now = Nanos(1_795_000_000_000_000_000 + self.tick * TICK);
            for (n, far) in self.far.iter_mut().enumerate() {
                let rate = far.coding.rate;
                let at = |i: usize| (self.tick as usize * rate.frame() + i) as f32 / rate.hz() as f32;
                let say = |i| (6000.0 * (std::f32::consts::TAU * far.pitch * at(i)).sin()) as i16;
                let pcm: Vec<i16> = (0..rate.frame()).map(say).collect();
                let mut packet = [0; HEADER + LARGEST];
                let len = far.encoder.encode(&pcm, &mut packet[HEADER..]);
                far.stream.write(&mut packet, far.coding.codec.units_per_tick());
                if let Some(member) = self.room.members_mut().iter_mut().find(|m| m.socket == n) {
                    let before = Nanos(now.0 - 5_000_000);
                    member.leg.receive(address(n), &mut packet[..HEADER + len], before, now);
                }
            }
            (0..self.room.len()).for_each(|n| self.room.pull(n, now));
            self.room.tick(now, &mut Out(&mut self.far));
        }
    }

    /// How much of what leg `n` heard in its last frames is not the tone of this pitch, in the worst frame, dB.
    fn worst(&self, n: usize, frames: usize, pitch: f32) -> f32 {
        let far = &self.far[n];
        let rate = far.coding.rate;
        let noise = |frame: &Vec<i16>| {
            let turn = |i: usize| std::f32::consts::TAU * pitch * i as f32 / rate.hz() as f32;
            let part = |f: fn(f32) -> f32| {
                let sum: f32 = frame.iter().enumerate().map(|(i, s)| f32::from(*s) * f(turn(i))).sum();
                2.0 * sum / frame.len() as f32
            };
            let (sin, cos) = (part(f32::sin), part(f32::cos));
            let rest =
                |(i, s): (usize, &i16)| (f32::from(*s) - sin * turn(i).sin() - cos * turn(i).cos()).powi(2);
            let rest: f32 = frame.iter().enumerate().map(rest).sum();
            let tone = (sin * sin + cos * cos) / 2.0 * frame.len() as f32;
            10.0 * (rest.max(1.0) / tone.max(1.0)).log10()
        };
        far.heard[far.heard.len() - frames..].iter().map(noise).fold(f32::MIN, f32::max)
    }
}

/// A whole number of its periods fits a tick.
const PITCH: f32 = 450.0;

#[test]
fn who_begins_and_stops_to_speak_hears_the_others_without_a_break() {
    for codec in [Codec::G722, Codec::Opus] {
        let mut rig = Rig::new(&[Coding::of(codec); 4], |_, _| {});
        rig.far[0].pitch = PITCH;
        rig.run(100);
        let usual = rig.worst(2, 40, PITCH);
        assert!(usual < -15.0, "{codec:?}: {usual}");
        // Leg 1 encodes for all listeners; it speaks, then another does, and both fall silent.
        for (talker, ticks) in [(1, 30), (2, 30), (1, 300)] {
            rig.far[talker].pitch = if ticks < 100 { 1000.0 } else { 0.0 };
            if ticks > 100 {
                rig.far[2].pitch = 0.0;
            }
            rig.run(ticks);
            if talker == 1 && ticks < 100 {
                let heard = rig.worst(1, 30, PITCH);
                assert!(heard < usual + 4.0, "{codec:?}: who begins to speak: {heard} after {usual}");
            }
        }
        // For four seconds both keep encoders of their own, and then share one again: there the decoder finds the other stream's adaptation
        // within a few frames, and no packet is off by more than that.
        for leg in [1, 2, 3] {
            let heard = rig.worst(leg, 200, PITCH);
            assert!(heard < f32::max(usual + 6.0, -28.0), "{codec:?}: leg {leg} afterwards: {heard}");
        }
        assert_eq!(rig.room.members.iter().filter(|m| m.hand == Hand::Shares).count(), 3);
    }
}

#[test]
fn a_stream_goes_on_when_the_leg_that_encodes_for_it_leaves_or_is_held() {
    for codec in [Codec::G722, Codec::Opus] {
        let mut rig = Rig::new(&[Coding::of(codec); 5], |_, _| {});
        rig.far[0].pitch = PITCH;
        rig.run(100);
        let usual = rig.worst(4, 40, PITCH);
        let leader = rig.room.classes[0].leader;
        rig.room.remove(leader).unwrap();
        rig.run(40);
        let leader = rig.room.classes[0].leader;
        let plain = LegSetup::plain(leader, codec, PayloadType(96), address(leader.0 as usize));
        let direction = crate::leg::Direction { receive: true, send: false };
        let held = LegSetup { direction, events: Some(PayloadType(101)), ..plain };
        rig.room.change(held, &mut Box::new(Coders::new(&held, None).unwrap()));
        rig.run(40);
        let heard = rig.worst(4, 80, PITCH);
        assert!(heard < usual + 4.0, "{codec:?}: {heard} after {usual}");
    }
}

#[test]
fn who_moves_into_another_room_hears_it_without_a_break_and_those_who_stay_too() {
    for codec in [Codec::G722, Codec::Opus] {
        let mut rooms = [0, 1].map(|_| Rig::new(&[Coding::of(codec); 4], |_, _| {}));
        for rig in &mut rooms {
            rig.far[0].pitch = PITCH;
            rig.run(100);
        }
        let usual = rooms[0].worst(3, 40, PITCH);
        let [old, new] = &mut rooms;
        // Whoever leads goes: the others share what it led.
        let leader = old.room.classes[0].leader;
        let place = leader.0 as usize;
        drop(new.room.remove(leader));
        let member = old.room.release(leader).unwrap();
        assert!(new.room.add(member).is_ok());
        std::mem::swap(&mut old.far[place], &mut new.far[place]);
        for rig in [&mut *old, new] {
            rig.run(40);
            for leg in (1..4).filter(|leg| *leg != place || rig.room.len() == 4) {
                let heard = rig.worst(leg, 40, PITCH);
                assert!(heard < f32::max(usual + 6.0, -28.0), "{codec:?}: leg {leg}: {heard} after {usual}");
            }
        }
    }
}

#[test]
fn more_ways_to_encode_than_are_shared_are_heard_as_well() {
    let codings: Vec<Coding> = (0..CLASSES as u32 + 3)
        .map(|n| {
            let mut coding = Coding::of(Codec::Opus);
            coding.opus.bitrate = 20_000 + 2_000 * n;
            coding
        })
        .collect();
    let mut rig = Rig::new(&codings, |_, _| {});
    rig.far[0].pitch = PITCH;
    rig.run(100);
    assert_eq!(rig.room.classes.len(), CLASSES);
    for leg in 1..codings.len() {
        let heard = rig.worst(leg, 40, PITCH);
        assert!(heard < -12.0, "leg {leg}: {heard}");
    }
}

#[test]
fn where_nobody_speaks_comfort_noise_is_sent_now_and_then_and_speech_at_once() {
    let mut rig = Rig::new(&[Coding::of(Codec::Pcmu); 2], |n, setup| {
        setup.comfort = Some(PayloadType(13));
        setup.sends_comfort = n == 1;
    });
    rig.run(COMFORT_AFTER + 2 * COMFORT_EVERY);
    let sounds =
        |rig: &Rig, n: usize| rig.far[n].heard.iter().filter(|frame| !frame.is_empty()).count() as u64;
    assert_eq!((sounds(&rig, 1), rig.far[1].heard.len() as u64), (COMFORT_AFTER, COMFORT_AFTER + 2));
    assert_eq!(sounds(&rig, 0), COMFORT_AFTER + 2 * COMFORT_EVERY, "who does not want it gets sound");
    rig.far[0].pitch = PITCH;
    rig.run(5);
    assert_eq!(sounds(&rig, 1), COMFORT_AFTER + 5);
    let markers = &rig.far[1].markers[rig.far[1].markers.len() - 5..];
    assert_eq!(markers, [true, false, false, false, false], "speech after a pause begins with a marker");
}

#[test]
fn who_has_spoken_is_heard_for_four_seconds_more_and_no_longer() {
    let mut rig = Rig::new(&[Coding::of(Codec::Pcmu); 2], |_, _| {});
    rig.far[0].pitch = PITCH;
    rig.run(20);
    rig.far[0].pitch = 0.0;
    rig.run(200);
    assert!(rig.room.mix.is_heard(0), "its background is still heard");
    rig.run(30);
    assert!(!rig.room.mix.is_heard(0));
}
