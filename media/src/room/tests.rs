use super::*;
use crate::codec::{Codec, FRAME};
use crate::leg::Direction;
use crate::mixer::Rates;
use crate::prompt::{Prompt, Recordings};
use crate::rtp::{HEADER, Packet, Stream};
use crate::units::PayloadType;
use crate::units::Rate;

const TICK: u64 = 20_000_000;

/// A talker or listener at the other end of a leg.
struct Far {
    stream: Stream,
    codec: Codec,
    heard: Vec<[i16; FRAME]>,
}

/// A room whose sockets are places in a list of what was sent.
struct Rig {
    room: Room<usize>,
    far: Vec<Far>,
    now: u64,
    told: Vec<(LegId, Notice)>,
}

struct Out<'a> {
    far: &'a mut Vec<Far>,
    told: &'a mut Vec<(LegId, Notice)>,
}

impl Sink<usize> for Out<'_> {
    fn packet(&mut self, socket: &mut usize, _: SocketAddr, packet: &[u8]) {
        let payload = Packet::parse(packet).unwrap().payload;
        let far = &mut self.far[*socket];
        let mut frame = [0; FRAME];
        far.codec.decode_plain(payload, &mut frame);
        far.heard.push(frame);
    }

    fn notice(&mut self, _: RoomId, leg: LegId, notice: Notice) -> bool {
        self.told.push((leg, notice));
        true
    }
}

fn address(n: usize) -> SocketAddr {
    ([192, 0, 2, 1], 4000 + n as u16).into()
}

impl Rig {
    fn new(codecs: &[Codec]) -> Self {
        Self::with(codecs, Manner::default())
    }

    fn with(codecs: &[Codec], manner: Manner) -> Self {
        let mut room = Room::new(RoomId(1), codecs.len(), manner);
        let mut narrow = Rates::default();
        narrow.add(Rate::Narrow);
        room.adopt(&mut Kit::new(narrow, narrow, Default::default()));
        let mut far = Vec::new();
        for (n, codec) in codecs.iter().enumerate() {
            let payload_type = PayloadType(if *codec == Codec::Pcma { 8 } else { 0 });
            let setup = LegSetup::plain(LegId(n as u64), *codec, payload_type, address(n));
            room.add(Box::new(Member::new(Leg::new(setup, None, Nanos(0)).unwrap(), n))).unwrap();
            far.push(Far { stream: Stream::new(payload_type), codec: *codec, heard: Vec::new() });
        }
        Self { room, far, now: 1_795_000_000_000_000_000, told: Vec::new() }
    }

    /// One tick; `says` gives each leg's sample value, `before` how long before the tick its packet comes.
    fn tick(&mut self, says: impl Fn(usize) -> i16, before: u64) {
        self.now += TICK;
        let now = Nanos(self.now);
        for n in 0..self.far.len() {
            let far = &mut self.far[n];
            let mut packet = [0; HEADER + FRAME];
            far.stream.write(&mut packet, FRAME as u32);
            let mut samples = [0; FRAME];
            // A square wave of 100 Hz.
            samples
                .iter_mut()
                .enumerate()
                .for_each(|(i, s)| *s = if i / 40 % 2 == 0 { says(n) } else { -says(n) });
            far.codec.encode_plain(&samples, &mut packet[HEADER..]);
            let member = self.room.members_mut().iter_mut().find(|m| m.socket == n);
            if let Some(member) = member {
                member.leg.receive(address(n), &mut packet, Nanos(self.now - before), now);
            }
        }
        (0..self.room.len()).for_each(|n| self.room.pull(n, now));
        self.room.tick(now, &mut Out { far: &mut self.far, told: &mut self.told });
    }

    fn last(&self, n: usize) -> i16 {
        self.far[n].heard.last().unwrap()[0]
    }
}

#[test]
fn listeners_of_each_codec_hear_the_talkers_and_talkers_only_the_others() {
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcma, Codec::Pcmu, Codec::Pcma]);
    for _ in 0..20 {
        rig.tick(|n| [1000, 4000, 0, 0][n], 5_000_000);
    }
    for (leg, expected) in [(0, 4000), (1, 1000), (2, 5000), (3, 5000)] {
        let got = rig.last(leg);
        // Twice through G.711.
        assert!((got - expected).abs() < expected / 16, "leg {leg} hears {got}, not {expected}");
    }
}

#[test]
fn who_speaks_is_told_once_and_levels_only_when_watched() {
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcmu]);
    for _ in 0..30 {
        rig.tick(|n| [3000, 0][n], 5_000_000);
    }
    let speaking = |rig: &Rig| rig.told.iter().filter(|(_, n)| matches!(n, Notice::Speaking(_))).count();
    let levels = |rig: &Rig| rig.told.iter().filter(|(_, n)| matches!(n, Notice::Level(_))).count();
    assert_eq!((speaking(&rig), levels(&rig)), (1, 0));
    rig.room.set_watched(true);
    for _ in 0..30 {
        rig.tick(|n| [3000, 0][n], 5_000_000);
    }
    assert_eq!((speaking(&rig), levels(&rig)), (1, 6));
    for _ in 0..30 {
        rig.tick(|_| 0, 5_000_000);
    }
    assert_eq!(speaking(&rig), 2);
}

#[test]
fn what_is_said_to_one_leg_no_other_hears() {
    let words: &Recordings = Box::leak(Box::new(Recordings::new(&[&[2000; 3 * FRAME]])));
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcma, Codec::Pcmu]);
    for _ in 0..20 {
        rig.tick(|n| [4000, 0, 0][n], 5_000_000);
    }
    rig.room.say(LegId(2), Prompt::new(words, [0]).into());
    rig.room.say(LegId(0), Prompt::new(words, [0]).into());
    for tick in 0..5 {
        rig.tick(|n| [4000, 0, 0][n], 5_000_000);
        // A listener hears it over the talker, who is turned down by 12 dB; a talker over what they hear.
        let expected = if tick < 3 { [2000, 4000, 3000] } else { [0, 4000, 4000] };
        let got: Vec<_> = (0..3).map(|n| rig.last(n)).collect();
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 200), "{tick}: {got:?} {expected:?}");
    }
}

#[test]
fn keys_that_come_as_tones_are_told_and_not_heard() {
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcmu]);
    let tone = |hz: f32, n: u32| (std::f32::consts::TAU * hz * n as f32 / 8000.0).sin();
    let mut told = Vec::new();
    let mut loudest = 0;
    for tick in 0..60u32 {
        rig.now += TICK;
        let now = Nanos(rig.now);
        let mut packet = [0; HEADER + FRAME];
        rig.far[0].stream.write(&mut packet, FRAME as u32);
        let mut samples = [0; FRAME];
        if (10..25).contains(&tick) {
            let at = |i: usize| tick * FRAME as u32 + i as u32;
            // 852 and 1,477 Hz: 9.
            samples
                .iter_mut()
                .enumerate()
                .for_each(|(i, s)| *s = (4000.0 * (tone(852.0, at(i)) + tone(1477.0, at(i)))) as i16);
        }
        Codec::Pcmu.encode_plain(&samples, &mut packet[HEADER..]);
        rig.room.members_mut()[0].leg.receive(address(0), &mut packet, Nanos(rig.now - 5_000_000), now);
        (0..rig.room.len()).for_each(|n| rig.room.pull(n, now));
        rig.room.tick(now, &mut Out { far: &mut rig.far, told: &mut rig.told });
        let loud = rig.far[1].heard.last().unwrap().iter().filter(|s| s.unsigned_abs() > 500).count();
        loudest += usize::from(loud > 0);
        told.extend(rig.told.drain(..).filter_map(|(leg, n)| match n {
            Notice::Digit(key) => Some((leg, key.key())),
            _ => None,
        }));
    }
    assert_eq!(told, [(LegId(0), '9')]);
    assert!(loudest <= 2, "at most the tone's first frame passes: {loudest}");
}

#[test]
fn a_muted_leg_is_not_heard_and_hears() {
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcmu]);
    rig.room.leg_mut(LegId(0)).unwrap().set_muted(true);
    for _ in 0..20 {
        rig.tick(|_| 3000, 5_000_000);
    }
    assert!(rig.last(1).abs() < 10 && rig.last(0) > 2500);
}

#[test]
fn who_talks_while_muted_is_told_of_it_now_and_then() {
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcmu]);
    let told = |rig: &Rig, leg| {
        let unheard =
            rig.told.iter().filter(|(of, notice)| *of == LegId(leg) && matches!(notice, Notice::Unheard));
        unheard.count()
    };
    (0..100).for_each(|_| rig.tick(|_| 3000, 5_000_000));
    assert_eq!((told(&rig, 0), told(&rig, 1)), (0, 0), "nobody is muted");
    rig.room.leg_mut(LegId(0)).unwrap().set_muted(true);
    (0..100).for_each(|_| rig.tick(|_| 0, 5_000_000));
    assert_eq!(told(&rig, 0), 0, "who is silent has nothing to be told");
    (0..80).for_each(|_| rig.tick(|_| 3000, 5_000_000));
    assert_eq!((told(&rig, 0), told(&rig, 1)), (1, 0));
    (0..75).for_each(|_| rig.tick(|_| 3000, 5_000_000));
    assert_eq!(told(&rig, 0), 2, "again after another while");
}

#[test]
fn who_wants_it_hears_the_meeting_softer_louder_or_not_at_all_and_prompts_as_ever() {
    let words: &Recordings = Box::leak(Box::new(Recordings::new(&[&[2000; 3 * FRAME]])));
    let mut rig = Rig::new(&[Codec::Pcmu; 4]);
    for (leg, factor) in [(1, 0.0), (2, 2.0)] {
        rig.room.leg_mut(LegId(leg)).unwrap().set_volume(factor);
    }
    (0..20).for_each(|_| rig.tick(|n| [4000, 0, 0, 0][n], 5_000_000));
    let near = |got: i16, expected: i16| (got - expected).abs() <= expected / 16 + 10;
    for (leg, expected) in [(0, 0), (1, 0), (2, 8000), (3, 4000)] {
        assert!(near(rig.last(leg), expected), "leg {leg} hears {}, not {expected}", rig.last(leg));
    }
    rig.room.say(LegId(1), Prompt::new(words, [0]).into());
    rig.tick(|n| [4000, 0, 0, 0][n], 5_000_000);
    assert!(near(rig.last(1), 2000));
    rig.room.leg_mut(LegId(1)).unwrap().set_volume(1.0);
    (0..20).for_each(|_| rig.tick(|n| [4000, 0, 0, 0][n], 5_000_000));
    assert!(near(rig.last(1), 4000), "and shares what all hear again");
}

#[test]
fn an_announcement_is_heard_by_all_beside_the_talkers_and_once() {
    let chime: &Recordings = Box::leak(Box::new(Recordings::new(&[&[2000; 3 * FRAME]])));
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcma, Codec::Pcmu]);
    (0..20).for_each(|_| rig.tick(|n| [4000, 0, 0][n], 5_000_000));
    rig.room.announce(Prompt::new(chime, [0]).into());
    for tick in 0..6 {
        rig.tick(|n| [4000, 0, 0][n], 5_000_000);
        let expected = if tick < 3 { [2000, 6000, 6000] } else { [0, 4000, 4000] };
        let got: Vec<_> = (0..3).map(|n| rig.last(n)).collect();
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 300), "{tick}: {got:?} {expected:?}");
    }
    // Where nobody speaks and noise stands for silence too.
    (0..300).for_each(|_| rig.tick(|_| 0, 5_000_000));
    rig.room.announce(Prompt::new(chime, [0]).into());
    rig.tick(|_| 0, 5_000_000);
    assert!((0..3).all(|n| (rig.last(n) - 2000).abs() < 200));
}

#[test]
fn a_leg_on_hold_is_sent_nothing_and_a_silent_listener_everything() {
    let mut rig = Rig::new(&[Codec::Pcmu; 3]);
    for (id, send) in [(1, false), (2, true)] {
        let setup = LegSetup {
            direction: Direction { receive: false, send },
            ..LegSetup::plain(LegId(id), Codec::Pcmu, PayloadType(0), address(id as usize))
        };
        let mut coders = Box::new(Coders::new(&setup, None).unwrap());
        assert!(rig.room.change(setup, &mut coders).is_none(), "the same address");
    }
    for _ in 0..20 {
        rig.tick(|_| 3000, 5_000_000);
    }
    assert_eq!([0, 1, 2].map(|n| rig.far[n].heard.len()), [20, 0, 20]);
    assert!(rig.last(0).abs() < 10, "who may not speak is not heard");
    assert!(rig.last(2) > 2500);
}

#[test]
fn a_leg_that_leaves_does_not_mix_up_the_others() {
    let mut rig = Rig::new(&[Codec::Pcmu; 3]);
    for _ in 0..20 {
        rig.tick(|n| [500, 1000, 4000][n], 5_000_000);
    }
    rig.room.remove(LegId(0)).unwrap();
    for _ in 0..5 {
        rig.tick(|n| [500, 1000, 4000][n], 5_000_000);
    }
    assert!((rig.last(1) - 4000).abs() < 250 && (rig.last(2) - 1000).abs() < 80);
}

#[test]
fn a_room_takes_no_more_than_its_capacity() {
    let mut rig = Rig::new(&[Codec::Pcmu]);
    let member = rig.room.remove(LegId(0)).unwrap();
    assert!(rig.room.add(member).is_ok());
    let spare = Rig::new(&[Codec::Pcmu]).room.remove(LegId(0)).unwrap();
    assert!(rig.room.add(spare).is_err());
}

#[test]
fn the_tick_wishes_to_come_just_after_the_talkers_packets() {
    for before in [1i64, 2, 3, 5, 8, 15, 18] {
        let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcmu]);
        for _ in 0..200 {
            rig.tick(|n| [3000, 0][n], before as u64 * 1_000_000);
        }
        let wish = rig.room.wish().unwrap();
        for earlier in 0..PHASES as i64 {
            // How long packets would wait: what they need, and the rest of that millisecond.
            let waits = (before - earlier).rem_euclid(20);
            assert_eq!(wish & 1 << earlier != 0, waits == 2, "{before} ms, {earlier} earlier");
        }
    }
    let mut rig = Rig::new(&[Codec::Pcmu, Codec::Pcmu]);
    for _ in 0..200 {
        rig.tick(|_| 0, 15_000_000);
    }
    assert_eq!(rig.room.wish(), None, "nobody speaks");
}

#[test]
fn who_wants_to_know_is_told_who_is_heard_and_nobody_of_themselves() {
    let mut rig = Rig::new(&[Codec::Pcmu; 4]);
    for leg in [1, 3] {
        let plain = LegSetup::plain(LegId(leg), Codec::Pcmu, PayloadType(0), address(leg as usize));
        let setup = LegSetup { levels: Some(3), ..plain };
        rig.room.change(setup, &mut Box::new(Coders::new(&setup, None).unwrap()));
    }
    let ssrc = |rig: &Rig, n: usize| rig.room.members[n].leg.ssrc().0;
    let talkers = [ssrc(&rig, 0), ssrc(&rig, 1)];
    for _ in 0..10 {
        rig.tick(|n| [1000, 4000, 0, 0][n], 5_000_000);
    }
    // The sources named in the last packet to each.
    let mut named: Vec<Vec<u32>> = vec![Vec::new(); 4];
    struct Look<'a>(&'a mut Vec<Vec<u32>>);
    impl Sink<usize> for Look<'_> {
        fn packet(&mut self, socket: &mut usize, _: SocketAddr, packet: &[u8]) {
            let count = usize::from(packet[0] & 15);
            let list = packet[HEADER..HEADER + 4 * count].chunks_exact(4);
            self.0[*socket] = list.map(|b| u32::from_be_bytes(b.try_into().unwrap())).collect();
            self.0[*socket].sort_unstable();
            assert_eq!(Packet::parse(packet).unwrap().payload.len(), FRAME);
        }
        fn notice(&mut self, _: RoomId, _: LegId, _: Notice) -> bool {
            true
        }
    }
    let now = Nanos(rig.now + TICK);
    (0..rig.room.len()).for_each(|n| rig.room.pull(n, now));
    rig.room.tick(now, &mut Look(&mut named));
    let mut both = talkers.to_vec();
    both.sort_unstable();
    assert_eq!(named, [vec![], vec![talkers[0]], vec![], both]);
}

#[test]
fn who_is_alone_hears_music_until_somebody_comes_and_prompts_over_it() {
    let music = Music::new(&[4000; 50 * FRAME], Rate::Narrow).unwrap();
    let recordings = Box::leak(Box::new(Recordings::new(&[&[8000; 10 * FRAME]])));
    let mut rig =
        Rig::with(&[Codec::Pcmu; 2], Manner { floor: None, music: Some(Box::leak(Box::new(music))) });
    let other = rig.room.remove(LegId(1)).unwrap();
    let near = |rig: &Rig, expected: i16| {
        let got = rig.last(0);
        assert!((got - expected).abs() <= expected / 32, "{got}, not {expected}");
    };
    (0..100).for_each(|_| rig.tick(|_| 0, 5_000_000));
    near(&rig, 0);
    // Nobody hears themselves, but who talks has music too.
    (0..3).for_each(|_| rig.tick(|_| 3000, 5_000_000));
    near(&rig, 4000);
    rig.room.say(LegId(0), Prompt::new(recordings, [0]).into());
    (0..10).for_each(|_| {
        rig.tick(|_| 0, 5_000_000);
        near(&rig, 9000);
    });
    (0..200).for_each(|_| {
        rig.tick(|_| 0, 5_000_000);
        near(&rig, 4000);
    });
    rig.room.add(other).unwrap();
    rig.tick(|_| 0, 5_000_000);
    near(&rig, 4000);
    assert!(rig.far[0].heard.last().unwrap()[FRAME - 1] < 100, "it fades");
    (0..300).for_each(|_| {
        rig.tick(|_| 0, 5_000_000);
        near(&rig, 0);
    });
    assert!(rig.far[1].heard.iter().flatten().all(|s| s.abs() < 10), "the other never hears it");
}
