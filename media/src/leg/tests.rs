use super::*;
use crate::codec::FRAME;
use crate::srtp::Suite;
use crate::units::PayloadType;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4000);
const OTHER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66)), 4000);
const LONGEST: usize = 960;
const START: Nanos = Nanos(1_000_000_000);

fn leg() -> Leg {
    let setup = LegSetup {
        events: Some(PayloadType(101)),
        ..LegSetup::plain(LegId(1), Codec::Pcmu, PayloadType(0), PEER)
    };
    Leg::new(setup, None, START).unwrap()
}

fn change(leg: &mut Leg, how: impl FnOnce(&mut LegSetup)) -> bool {
    let mut setup = leg.setup;
    how(&mut setup);
    leg.change(setup, &mut Box::new(Coders::new(&setup, None).unwrap()))
}

fn packet(payload_type: u8, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, payload_type];
    out.extend(seq.to_be_bytes());
    out.extend((u32::from(seq) * FRAME as u32).to_be_bytes());
    out.extend([0, 0, 0, 9]);
    out.extend(payload);
    out
}

#[test]
fn what_is_not_ours_is_counted_by_reason_and_costs_no_audio() {
    let mut leg = leg();
    let audio = |seq| packet(0, seq, &[0x80; FRAME]);
    let mut receive = |from, bytes: &[u8]| leg.receive(from, &mut bytes.to_vec(), START, START);
    assert_eq!(receive(PEER, &audio(1)), Received::Locked(PEER));
    assert_eq!(receive(OTHER, &audio(2)), Received::Dropped, "another source");
    assert_eq!(receive(OTHER, &audio(3)), Received::Dropped, "however often");
    assert_eq!(receive(PEER, &packet(8, 2, &[0; FRAME])), Received::Dropped, "not agreed on");
    assert_eq!(receive(PEER, &packet(0, 2, &[0; LONGEST + 1])), Received::Dropped, "more than 120 ms");
    for broken in
        [&audio(2)[..11], &[0x40; 172], &[0x90, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 255, 255], &[]]
    {
        assert_eq!(receive(PEER, broken), Received::Dropped, "{broken:?}");
    }
    assert_eq!(receive(PEER, &audio(2)), Received::Audio);
    leg.oversized();
    let report = leg.report(START);
    let drops = Drops { malformed: 4, payload_type: 1, foreign: 2, oversized: 2, ..Drops::default() };
    assert_eq!((report.drops, report.locked), (drops, Some(PEER)));
    assert_eq!(report.block.map(|b| b.received), Some(2));
    let mut now = START;
    let mut loud = 0;
    for _ in 0..4 {
        leg.playout(now);
        loud += usize::from(leg.frame().iter().all(|s| s.unsigned_abs() > 1000));
        now = Nanos(now.0 + 20_000_000);
    }
    // What is concealed after them may be loud too.
    assert!(loud >= 2, "both packets are heard whole");
}

#[test]
fn only_signalling_with_another_address_opens_the_lock() {
    let mut leg = leg();
    let audio = |seq| packet(0, seq, &[0x80; FRAME]);
    assert_eq!(leg.receive(PEER, &mut audio(1).clone(), START, START), Received::Locked(PEER));
    assert!(!change(&mut leg, |s| s.id = LegId(99)), "the same address");
    assert_eq!(leg.receive(OTHER, &mut audio(2).clone(), START, START), Received::Dropped);
    assert!(change(&mut leg, |s| s.remote = OTHER));
    assert_eq!((leg.id(), leg.target()), (LegId(1), OTHER));
    assert_eq!(leg.receive(OTHER, &mut audio(3).clone(), START, START), Received::Locked(OTHER));
    assert_eq!(leg.receive(PEER, &mut audio(4).clone(), START, START), Received::Dropped);
}

#[test]
fn a_packet_of_120_ms_is_taken_whole() {
    let mut leg = leg();
    assert_eq!(
        leg.receive(PEER, &mut packet(0, 1, &[0x80; LONGEST]).clone(), START, START),
        Received::Locked(PEER)
    );
    assert_eq!(leg.report(START).drops, Drops::default());
}

#[test]
fn a_stream_that_begins_anew_may_begin_its_events_anew() {
    let mut leg = leg();
    let mut send = |ssrc: u8, payload_type, time: u32, seq, payload: &[u8]| {
        let mut bytes = packet(payload_type, seq, payload);
        bytes[4..8].copy_from_slice(&time.to_be_bytes());
        bytes[11] = ssrc;
        leg.receive(PEER, &mut bytes.clone(), START, START)
    };
    send(1, 0, 50_000, 1, &[0x80; FRAME]);
    assert!(matches!(send(1, 101, 50_160, 2, &[5, 0x8a, 3, 0x20]), Received::Digit(_)));
    assert_eq!(send(1, 0, 50_320, 3, &[0x80; FRAME]), Received::Audio);
    assert!(!matches!(send(1, 101, 160, 4, &[5, 0x8a, 3, 0x20]), Received::Digit(_)), "older");
    send(2, 0, 0, 9, &[0x80; FRAME]);
    assert!(matches!(send(2, 101, 160, 10, &[5, 0x8a, 3, 0x20]), Received::Digit(_)), "a new source");
}

#[test]
fn our_packets_carry_our_source_and_a_pause_is_seen() {
    let mut leg = leg();
    let mut sent: Vec<(Ssrc, u32, bool)> = Vec::new();
    for tick in 0..4 {
        if tick == 2 {
            leg.pause();
            continue;
        }
        leg.packetise(&mut [0; HEADER + FRAME], |_, bytes| {
            let packet = Packet::parse(bytes).unwrap();
            sent.push((packet.ssrc, packet.time.0, packet.marker));
        });
    }
    let (ssrc, first) = (leg.ssrc(), sent[0].1);
    let at = |frames: u32| first.wrapping_add(frames * FRAME as u32);
    assert_eq!(sent, [(ssrc, at(0), true), (ssrc, at(1), false), (ssrc, at(3), true)]);
}

#[test]
fn a_key_that_one_leg_sends_another_receives_once_with_the_timestamp_of_its_start() {
    let (mut far, mut near) = (leg(), leg());
    let mut packets = Vec::new();
    far.packetise(&mut [0xff; HEADER + FRAME], |_, bytes| packets.push(bytes.to_vec()));
    for (n, duration) in [160u16, 320, 480, 480, 480].into_iter().enumerate() {
        let end = if n >= 2 { 0x8a } else { 0x0a };
        let [high, low] = duration.to_be_bytes();
        far.send_event(PayloadType(101), n == 0, &[9, end, high, low], |_, bytes| {
            packets.push(bytes.to_vec())
        });
    }
    far.packetise(&mut [0xff; HEADER + FRAME], |_, bytes| packets.push(bytes.to_vec()));
    let read: Vec<_> = packets.iter().map(|bytes| Packet::parse(bytes).unwrap()).collect();
    let times: Vec<u32> = read.iter().map(|p| p.time.0.wrapping_sub(read[0].time.0)).collect();
    assert_eq!(times, [0, 160, 160, 160, 160, 160, 960]);
    let markers: Vec<bool> = read.iter().map(|p| p.marker).collect();
    assert_eq!(markers, [true, true, false, false, false, false, true]);
    let received: Vec<_> =
        packets.iter().map(|bytes| near.receive(PEER, &mut bytes.clone(), START, START)).collect();
    let digits: Vec<char> = received
        .iter()
        .filter_map(|r| if let Received::Digit(d) = r { Some(d.key()) } else { None })
        .collect();
    assert_eq!(digits, ['9']);
    assert_eq!(far.report(START).packets_sent, 7);
    assert_eq!(far.report(START).octets_sent, 2 * FRAME as u64 + 5 * 4);
}

#[test]
fn packets_of_any_agreed_length_carry_all_samples_in_order() {
    for ptime in [10, 20, 30, 40, 50, 60] {
        let length = 8 * ptime;
        let mut leg = Leg::new(LegSetup { ptime, ..leg().setup }, None, START).unwrap();
        let mut heard = Vec::new();
        for tick in 0..12u8 {
            leg.packetise(&mut [tick; HEADER + FRAME], |to, bytes| {
                assert_eq!((to, bytes.len()), (PEER, HEADER + length));
                heard.extend_from_slice(&bytes[HEADER..]);
            });
        }
        let said: Vec<u8> = (0..12u8).flat_map(|tick| [tick; FRAME]).collect();
        assert_eq!(heard, said[..heard.len()], "{length}");
        assert!(heard.len() + length > said.len(), "{length}");
    }
}

#[test]
fn noise_is_taken_away_when_it_is_wished_and_no_longer() {
    let mut leg = leg();
    let mut noise = crate::noise::Noise::default();
    let mut seq = 0;
    let mut level_after = |leg: &mut Leg, seconds: u16| {
        let mut level = Level::SILENCE;
        for _ in 0..seconds * 50 {
            seq += 1;
            let (mut pcm, mut bytes) = ([0; FRAME], [0; FRAME]);
            noise.fill(40, Rate::Narrow, &mut pcm);
            Codec::Pcmu.encode_plain(&pcm, &mut bytes);
            let now = Nanos(START.0 + u64::from(seq) * 20_000_000);
            leg.receive(PEER, &mut packet(0, seq, &bytes), now, now);
            leg.playout(now);
            level = Level::of(leg.frame());
        }
        level.0
    };
    let as_it_comes = level_after(&mut leg, 1);
    let mut suppressor = Some(Box::default());
    leg.set_suppressor(&mut suppressor);
    assert!(suppressor.is_none());
    let without = level_after(&mut leg, 3);
    leg.set_suppressor(&mut suppressor);
    assert!(suppressor.is_some(), "what is needed no more comes back");
    let again = level_after(&mut leg, 1);
    assert!(without < as_it_comes - 8.0, "{without:.1} dBov of {as_it_comes:.1}");
    assert!((again - as_it_comes).abs() < 1.0, "{again:.1} dBov of {as_it_comes:.1}");
}

/// Two legs that talk to each other by SRTP: what the first sends the second takes.
fn secured(keys: &MediaKeys, suite: Suite, codec: Codec) -> [Leg; 2] {
    let masters = [0, 1].map(|_| keys.random(suite.master()).unwrap());
    [[0, 1], [1, 0]].map(|[ours, theirs]| {
        let security = Security::Keys(Secure { suite, ours: masters[ours], theirs: masters[theirs] });
        let events = Some(PayloadType(101));
        let setup = LegSetup { security, events, ..LegSetup::plain(LegId(1), codec, PayloadType(0), PEER) };
        Leg::new(setup, Some(keys), START).unwrap()
    })
}

#[test]
fn encrypted_legs_take_what_was_encrypted_for_them_once_and_nothing_else() {
    let keys = MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap();
    for suite in Suite::ALL {
        let [mut far, mut near] = secured(&keys, suite, Codec::Pcmu);
        let mut wire = Vec::new();
        for tick in 0..5 {
            far.packetise(&mut [tick; HEADER + FRAME], |_, bytes| wire.push(bytes.to_vec()));
        }
        far.send_event(PayloadType(101), true, &[7, 0x8a, 3, 0x20], |_, bytes| wire.push(bytes.to_vec()));
        let mut take = |bytes: &[u8]| near.receive(PEER, &mut bytes.to_vec(), START, START);
        assert_eq!(take(&wire[0]), Received::Locked(PEER));
        for bytes in &wire[1..5] {
            assert_eq!(take(bytes), Received::Audio);
            assert_eq!(take(bytes), Received::Dropped, "once");
            let mut changed = bytes.clone();
            changed[40] ^= 4;
            assert_eq!(take(&changed), Received::Dropped);
        }
        assert!(matches!(take(&wire[5]), Received::Digit(key) if key.key() == '7'));
        assert_eq!(take(&packet(0, 9, &[0x80; FRAME])), Received::Dropped, "not encrypted");
        let drops = near.report(START).drops;
        assert_eq!((drops.replayed, drops.forged + drops.malformed), (8, 1), "{suite:?}: {drops:?}");
    }
}

#[test]
fn new_keys_take_the_place_of_the_old_ones_and_the_same_keys_go_on() {
    let keys = MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap();
    let [mut far, mut near] = secured(&keys, Suite::Gcm128, Codec::Pcmu);
    let say = |far: &mut Leg, near: &mut Leg| {
        let mut wire = Vec::new();
        far.packetise(&mut [1; HEADER + FRAME], |_, bytes| wire = bytes.to_vec());
        near.receive(PEER, &mut wire, START, START)
    };
    assert_eq!(say(&mut far, &mut near), Received::Locked(PEER));
    let change = |leg: &mut Leg, how: &dyn Fn(&mut Secure)| {
        let mut setup = leg.setup;
        if let Security::Keys(secure) = &mut setup.security {
            how(secure);
        }
        leg.change(setup, &mut Box::new(Coders::new(&setup, Some(&keys)).unwrap()));
    };
    change(&mut far, &|_| {});
    change(&mut near, &|_| {});
    assert_eq!(say(&mut far, &mut near), Received::Audio, "the same keys");
    let fresh = keys.random(Suite::Gcm128.master()).unwrap();
    change(&mut far, &|s| s.ours = fresh);
    assert_eq!(say(&mut far, &mut near), Received::Dropped, "not known to the other yet");
    change(&mut near, &|s| s.theirs = fresh);
    assert_eq!(say(&mut far, &mut near), Received::Audio);
    assert!(matches!(Leg::new(near.setup, None, START), Err(LegError::NoKeys)));
}

#[test]
fn packets_of_l16_fit_a_frame_of_ethernet_however_long_they_should_be() {
    let setup = LegSetup { ptime: 60, ..LegSetup::plain(LegId(1), Codec::L16, PayloadType(96), PEER) };
    let mut leg = Leg::new(setup, None, START).unwrap();
    let mut times = Vec::new();
    for tick in 0..8u8 {
        leg.packetise(&mut [tick; HEADER + 640], |_, bytes| {
            assert_eq!(bytes.len(), HEADER + LARGEST_PACKET);
            times.push(Packet::parse(bytes).unwrap().time.0);
        });
    }
    let steps: Vec<u32> = times.windows(2).map(|t| t[1].wrapping_sub(t[0])).collect();
    assert_eq!(steps, [640; 3], "40 ms each");
}
