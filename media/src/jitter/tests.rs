mod opus;

use super::*;
use proptest::prelude::*;

const TICK: u64 = 20_000_000;
const FRAME: usize = Rate::Wide.frame();

/// A talker of L16 whose sample at position `n` is `n mod 1000 + 1`, and a clock.
struct Rig {
    buffer: JitterBuffer,
    decoders: [Option<Decoder>; Codec::ALL.len()],
    now: u64,
    ptime: usize,
    first_seq: u16,
    first_time: u32,
}

impl Rig {
    fn new() -> Self {
        let mut decoders = [const { None }; Codec::ALL.len()];
        decoders[Codec::L16 as usize] = Some(Decoder::new(Codec::L16, Rate::Wide).unwrap());
        Self {
            buffer: JitterBuffer::new(Rate::Wide, 16_384),
            decoders,
            now: 1_000_000_000,
            ptime: FRAME,
            first_seq: 65_530,
            first_time: u32::MAX - 500,
        }
    }

    fn samples(&self, n: usize) -> Vec<i16> {
        (0..self.ptime).map(|i| ((n * self.ptime + i) % 1000 + 1) as i16).collect()
    }

    fn incoming(&mut self, seq: u16, time: u32, codec: Option<Codec>, payload: &[u8], before: u64) -> Put {
        let now = Nanos(self.now + TICK);
        let (ssrc, arrival) = (Ssrc(1), Nanos(now.0 - before));
        let (seq, time) = (SeqNo(seq), RtpTime(time));
        let packet = Incoming { ssrc, seq, time, codec, payload, arrival, now };
        self.buffer.put(packet, self.decoders[Codec::L16 as usize].as_ref().unwrap())
    }

    /// Packet `n` arrives `before` ns before the next tick.
    fn put(&mut self, n: usize, before: u64) -> Put {
        let bytes: Vec<u8> = self.samples(n).iter().flat_map(|s| s.to_be_bytes()).collect();
        let seq = self.first_seq.wrapping_add(n as u16);
        let time = self.first_time.wrapping_add((n * self.ptime) as u32);
        self.incoming(seq, time, Some(Codec::L16), &bytes, before)
    }

    fn pull(&mut self) -> (Playout, Vec<i16>) {
        self.now += TICK;
        let playout = self.buffer.pull(Nanos(self.now), &mut self.decoders, true);
        (playout, if playout == Playout::Idle { vec![0; FRAME] } else { self.buffer.frame().to_vec() })
    }

    /// Samples that wait to be heard, in ms.
    fn waiting(&self) -> i64 {
        let newest = self.buffer.stream.unwrap().newest.1 + self.ptime as i64;
        (newest - (self.buffer.next - self.buffer.line.ready() as i64)) / 16
    }
}

fn is_packet(frame: &[i16], n: usize) -> bool {
    frame.iter().enumerate().all(|(i, s)| *s as usize == (n * FRAME + i) % 1000 + 1)
}

#[test]
fn packets_are_played_in_order_across_both_wraps_and_at_once() {
    let mut rig = Rig::new();
    for n in 0..50 {
        rig.put(n, 5_000_000);
        let (playout, frame) = rig.pull();
        assert!(playout == Playout::Audio && is_packet(&frame, n), "{n}: {playout:?}");
    }
    assert_eq!(rig.buffer.counters(), Counters::default());
}

#[test]
fn what_nobody_listens_to_is_counted_when_it_is_lost_and_not_made_up() {
    for heard in [true, false] {
        let mut rig = Rig::new();
        for n in 0..20 {
            if n != 10 {
                rig.put(n, 5_000_000);
            }
            rig.now += TICK;
            let playout = rig.buffer.pull(Nanos(rig.now), &mut rig.decoders, heard);
            if n == 10 {
                let made_up = rig.buffer.frame().iter().any(|s| *s != 0);
                assert_eq!((playout, made_up), (Playout::Concealed, heard));
            }
        }
        assert_eq!(rig.buffer.counters().concealed, 1);
        assert!(is_packet(rig.buffer.frame(), 19), "it goes on in its place");
    }
}

#[test]
fn a_first_packet_just_before_the_tick_waits_for_the_next() {
    let mut rig = Rig::new();
    rig.put(0, 100_000);
    assert_eq!(rig.pull(), (Playout::Pause, vec![0; FRAME]));
    for n in 1..50 {
        rig.put(n, 100_000);
        let (playout, frame) = rig.pull();
        assert!(playout == Playout::Audio && is_packet(&frame, n - 1), "{n}");
    }
}

#[test]
fn every_ptime_from_10_to_60_ms_plays_without_a_gap() {
    for ms in [10, 20, 30, 40, 60] {
        let mut rig = Rig::new();
        rig.ptime = Rate::Wide.ms(ms);
        let mut heard = Vec::new();
        let mut sent = 0;
        for tick in 0..60 {
            while (sent + 1) * ms <= (tick + 1) * 20 {
                rig.put(sent, 8_000_000);
                sent += 1;
            }
            let (playout, frame) = rig.pull();
            if playout != Playout::Idle {
                heard.extend(frame);
            }
        }
        let begun = heard.iter().position(|s| *s == 1).unwrap();
        for (i, s) in heard[begun..].iter().enumerate() {
            assert_eq!(*s as usize, i % 1000 + 1, "{ms} ms, sample {i}");
        }
        assert!(heard.len() - begun > FRAME * 50, "{ms} ms");
        assert_eq!(rig.buffer.counters().concealed, 0, "{ms} ms");
    }
}

#[test]
fn reordered_packets_are_played_in_order_once_the_delay_has_grown() {
    let mut rig = Rig::new();
    let mut concealed_late = 0;
    for pair in 0..100 {
        for n in [2 * pair + 1, 2 * pair] {
            // The second of a pair overtakes the first.
            rig.put(n, 5_000_000);
            let (playout, _) = rig.pull();
            concealed_late += usize::from(pair > 20 && playout == Playout::Concealed);
        }
    }
    assert_eq!(concealed_late, 0);
    assert!((20..=60).contains(&rig.waiting()), "{}", rig.waiting());
}

#[test]
fn duplicates_are_dropped_and_counted() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        assert_eq!(rig.put(n, 4_000_000), Put::Duplicate);
        let (_, frame) = rig.pull();
        assert!(is_packet(&frame, n));
    }
    assert_eq!(rig.buffer.counters().duplicates, 10);
    for n in 100..103 {
        rig.put(n - 90, 5_000_000);
        rig.pull();
    }
    let old = rig.buffer.counters().duplicates;
    assert_eq!((rig.put(0, 0), rig.buffer.counters().duplicates), (Put::Duplicate, old + 1), "long played");
}

#[test]
fn a_lost_packet_is_concealed_and_the_next_ones_are_in_place() {
    let mut rig = Rig::new();
    for n in 0..40 {
        if n % 10 != 5 {
            rig.put(n, 5_000_000);
        }
        let (playout, frame) = rig.pull();
        match n % 10 {
            5 => assert_eq!(playout, Playout::Concealed),
            // Fades in.
            6 => assert!(is_packet_after(&frame, n, 100), "{n}"),
            _ => assert!(is_packet(&frame, n), "{n}"),
        }
    }
    assert_eq!(rig.buffer.counters().concealed, 4);
    assert_eq!((rig.buffer.counters().late, rig.buffer.counters().stretched), (0, 0));
}

fn is_packet_after(frame: &[i16], n: usize, from: usize) -> bool {
    frame.iter().enumerate().skip(from).all(|(i, s)| *s as usize == (n * FRAME + i) % 1000 + 1)
}

/// A seeded network: each packet takes up to `most` ms longer than the fastest, and is on time at the tick after.
fn jittered(rig: &mut Rig, packets: usize, most: u64, mut each: impl FnMut(usize, Playout)) {
    let mut state = 7u32;
    let mut way: Vec<(u64, usize)> = (0..packets)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let late = u64::from(state >> 8) % (most * 1_000_000 + 1);
            (rig.now + n as u64 * TICK + 15_000_000 + late, n)
        })
        .collect();
    way.sort_unstable();
    let mut way = way.into_iter().peekable();
    for tick in 0..packets {
        let due = rig.now + TICK;
        while let Some((at, n)) = way.next_if(|(at, _)| *at <= due) {
            rig.put(n, due - at);
        }
        let (playout, _) = rig.pull();
        each(tick, playout);
    }
}

#[test]
fn the_delay_is_what_the_network_needs_and_goes_back_when_it_needs_less() {
    for most in [10, 40, 80, 150] {
        let mut rig = Rig::new();
        let mut missing = 0;
        jittered(&mut rig, 1500, most, |tick, playout| {
            missing += usize::from(tick > 250 && playout == Playout::Concealed);
        });
        assert!(missing <= 4, "{most} ms: {missing} concealed");
        let waiting = rig.waiting();
        assert!(waiting <= most as i64 + 50, "{most} ms: {waiting}");
        // The network calms down.
        let (seq, time) =
            (rig.first_seq.wrapping_add(1500), rig.first_time.wrapping_add(1500 * FRAME as u32));
        (rig.first_seq, rig.first_time) = (seq, time);
        jittered(&mut rig, 1500, 0, |_, _| {});
        assert!(rig.waiting() <= 20, "{most} ms: {} after calm", rig.waiting());
        assert_eq!(rig.buffer.counters().restarts, 0);
    }
}

#[test]
fn a_clock_that_runs_faster_or_slower_costs_neither_gaps_nor_delay() {
    for ppm in [-500i64, 500] {
        let mut rig = Rig::new();
        let mut concealed = 0;
        let mut sent = 0i64;
        for tick in 0..50 * 60 * 30i64 {
            let due = (tick + 1) * TICK as i64;
            loop {
                let at = sent * TICK as i64 / 1_000_000 * (1_000_000 + ppm) + 12_000_000;
                if at > due {
                    break;
                }
                // Whole numbers of both series of packets: the timestamps go on without end.
                rig.put(sent as usize, (due - at) as u64);
                sent += 1;
            }
            let (playout, _) = rig.pull();
            concealed += i32::from(playout == Playout::Concealed);
        }
        assert!(concealed <= 3, "{ppm} ppm: {concealed}");
        assert!(rig.waiting() <= 45, "{ppm} ppm: {}", rig.waiting());
    }
}

#[test]
fn a_new_ssrc_starts_again_at_once() {
    let mut rig = Rig::new();
    for n in 0..5 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    let now = Nanos(rig.now + TICK);
    let bytes = vec![0x10; 2 * FRAME];
    let packet = Incoming {
        ssrc: Ssrc(2),
        seq: SeqNo(7),
        time: RtpTime(99),
        codec: Some(Codec::L16),
        payload: &bytes,
        arrival: Nanos(now.0 - 5_000_000),
        now,
    };
    let put = rig.buffer.put(packet, rig.decoders[Codec::L16 as usize].as_ref().unwrap());
    assert_eq!((put, rig.buffer.counters().restarts), (Put::Restarted, 1));
    let (playout, frame) = rig.pull();
    assert_eq!((playout, frame[FRAME - 1]), (Playout::Audio, 0x1010));
}

#[test]
fn a_timestamp_jump_starts_again_with_the_second_packet_and_a_single_stray_disturbs_nothing() {
    let mut rig = Rig::new();
    for n in 0..5 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    let bytes = vec![1; 2 * FRAME];
    let at = rig.first_time.wrapping_add(5 * FRAME as u32 + 1_000_000);
    let seq = rig.first_seq.wrapping_add(5);
    assert_eq!(rig.incoming(seq, at, Some(Codec::L16), &bytes, 5_000_000), Put::Dropped);
    rig.pull();
    assert_eq!(rig.put(6, 5_000_000), Put::Accepted, "the old timeline goes on");
    rig.pull();
    let jump = |rig: &mut Rig, n: u32| {
        let (seq, time) = (rig.first_seq.wrapping_add(7 + n as u16), at.wrapping_add(n * FRAME as u32));
        rig.incoming(seq, time, Some(Codec::L16), &bytes, 5_000_000)
    };
    assert_eq!(jump(&mut rig, 0), Put::Dropped);
    rig.pull();
    assert_eq!(jump(&mut rig, 1), Put::Restarted);
}

#[test]
fn a_pause_in_the_sending_is_no_loss_and_what_comes_after_it_is_played_at_once() {
    for noise in [None, Some(50u8)] {
        let mut rig = Rig::new();
        for n in 0..10 {
            rig.put(n, 5_000_000);
            rig.pull();
        }
        let (mut seq, time) = (10u16, rig.first_time.wrapping_add(10 * FRAME as u32));
        if let Some(level) = noise {
            rig.incoming(rig.first_seq.wrapping_add(seq), time, None, &[level], 5_000_000);
            seq += 1;
        }
        let mut peak = 0;
        for _ in 0..30 {
            let (_, frame) = rig.pull();
            peak = frame.iter().skip(FRAME / 2).map(|s| s.unsigned_abs()).max().unwrap().max(peak);
        }
        if noise.is_some() {
            assert!((100..1500).contains(&peak), "{peak}");
        }
        for n in 0..10u32 {
            let bytes: Vec<u8> = rig.samples(n as usize).iter().flat_map(|s| s.to_be_bytes()).collect();
            let time = time.wrapping_add((30 + n) * FRAME as u32);
            rig.incoming(rig.first_seq.wrapping_add(seq), time, Some(Codec::L16), &bytes, 5_000_000);
            seq += 1;
            let (playout, frame) = rig.pull();
            assert_eq!(playout, Playout::Audio, "{noise:?} {n}");
            assert!(is_packet_after(&frame, n as usize, 100), "{noise:?} {n}");
        }
        assert_eq!(rig.buffer.counters().concealed, 0, "{noise:?}");
    }
}

#[test]
fn after_a_second_without_packets_it_is_silent_and_waits() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    let played: Vec<Playout> = (0..60).map(|_| rig.pull().0).collect();
    assert_eq!((played[0], played[59]), (Playout::Concealed, Playout::Idle));
    // A sender that did not count the time meanwhile.
    for n in 10..20 {
        rig.put(n, 5_000_000);
        let (playout, frame) = rig.pull();
        assert!(playout == Playout::Audio && is_packet_after(&frame, n, 100), "{n}: {playout:?}");
    }
}

#[test]
fn hopelessly_late_packets_are_dropped_and_do_not_delay_the_rest() {
    let mut rig = Rig::new();
    for n in 0..200 {
        if n != 50 {
            rig.put(n, 5_000_000);
        }
        if n == 80 {
            rig.put(50, 5_000_000);
        }
        rig.pull();
    }
    assert_eq!((rig.buffer.counters().dropped, rig.waiting()), (1, 0));
}

#[test]
fn a_way_that_becomes_much_longer_or_shorter_is_followed() {
    for longer in [600u64, 2000] {
        let mut rig = Rig::new();
        let late = longer as usize / 20;
        for n in 0..200 {
            rig.put(n, 5_000_000);
            rig.pull();
        }
        // Everything takes longer from here on.
        let mut heard = Vec::new();
        for tick in 200..500 {
            if tick >= 200 + late {
                rig.put(tick - late, 5_000_000);
            }
            let (playout, _) = rig.pull();
            heard.push(playout);
        }
        assert!(heard[late + 60..].iter().all(|p| *p == Playout::Audio), "{longer} ms: {:?}", &heard[late..]);
        assert!(rig.waiting() <= 40, "{longer} ms: {}", rig.waiting());
        // And the way back: what is on its way comes at once, and then goes on as before.
        for n in 500 - late..500 {
            rig.put(n, 4_000_000);
        }
        for n in 500..900 {
            rig.put(n, 5_000_000);
            rig.pull();
        }
        assert!(rig.waiting() <= 40, "{longer} ms and back: {}", rig.waiting());
    }
}

#[test]
fn a_way_that_becomes_a_little_longer_costs_two_frames_and_not_a_second() {
    for begins in 200..250 {
        let mut rig = Rig::new();
        for n in 0..begins {
            rig.put(n, 5_000_000);
            rig.pull();
        }
        // From here on each packet comes 15 ms later: just after the tick that wants it.
        let mut made_up = usize::from(rig.pull().0 == Playout::Concealed);
        for n in begins..begins + 200 {
            rig.put(n, 10_000_000);
            made_up += usize::from(rig.pull().0 == Playout::Concealed);
        }
        assert!(made_up <= 3, "from packet {begins} on: {made_up} frames made up");
        assert!(rig.waiting() <= 40, "{}", rig.waiting());
    }
}

#[test]
fn a_burst_after_a_stall_is_not_kept_as_delay_for_long() {
    let mut rig = Rig::new();
    for n in 0..100 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    for _ in 0..30 {
        rig.pull();
    }
    // Everything that was held up comes at once, and goes on.
    for n in 100..500 {
        rig.put(n, 5_000_000 - n as u64);
    }
    for n in 500..1100 {
        rig.pull();
        rig.put(n, 5_000_000);
        assert!(rig.waiting() <= 560, "{}", rig.waiting());
    }
    rig.pull();
    assert!(rig.waiting() <= 40, "{}", rig.waiting());
}

#[test]
fn while_a_key_is_pressed_nothing_counts_as_missing() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    rig.buffer.key_pressed();
    for _ in 0..10 {
        let (playout, frame) = rig.pull();
        assert_eq!((playout, frame), (Playout::Pause, vec![0; FRAME]));
    }
    rig.put(20, 5_000_000);
    let (playout, frame) = rig.pull();
    assert!(playout == Playout::Audio && is_packet(&frame, 20));
    assert_eq!(rig.buffer.counters().concealed, 0);
}

#[test]
fn packets_of_no_or_too_many_samples_are_dropped_and_counted() {
    let mut rig = Rig::new();
    rig.put(0, 5_000_000);
    let seq = rig.first_seq.wrapping_add(1);
    assert_eq!(rig.incoming(seq, 0, Some(Codec::L16), &[], 0), Put::Dropped);
    assert_eq!(rig.incoming(seq, 0, Some(Codec::L16), &[0; 32 * 121], 0), Put::Dropped);
    assert_eq!(rig.buffer.counters().dropped, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_that_arrives_makes_it_panic_or_grow(
        packets in prop::collection::vec(
            (any::<u16>(), any::<u32>(), 0usize..4, 0usize..700, 0u64..40_000_000, any::<bool>()), 1..300)
    ) {
        let mut rig = Rig::new();
        let (mut seq, mut time) = (0u16, 0u32);
        for (s, t, kind, len, before, pull) in packets {
            match kind {
                0 => (seq, time) = (s, t),
                1 => (seq, time) = (seq.wrapping_add(s % 70), time.wrapping_add(t % 20_000)),
                _ => (seq, time) = (seq.wrapping_add(1), time.wrapping_add(len as u32 / 2)),
            }
            let codec = (kind != 3).then_some(Codec::L16);
            rig.incoming(seq, time, codec, &vec![s as u8; len], before.min(TICK));
            if pull {
                let (_, frame) = rig.pull();
                prop_assert_eq!(frame.len(), FRAME);
            }
        }
    }
}

#[test]
fn a_sender_that_leaps_with_each_pause_begins_anew_each_time() {
    let mut rig = Rig::new();
    let bytes = vec![1; 2 * FRAME];
    let (mut seq, mut time) = (0u16, 0u32);
    for n in 0..60_000 {
        (seq, time) = (seq.wrapping_add(1), time.wrapping_add(0x7fff_0000));
        rig.incoming(seq, time, Some(Codec::L16), &bytes, 5_000_000);
        rig.pull();
        rig.buffer.key_pressed();
        let newest = rig.buffer.stream.unwrap().newest.1;
        assert_eq!(newest, ORIGIN, "{n}: the timeline begins anew instead of growing without bound");
    }
}
