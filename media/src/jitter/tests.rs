use super::*;

const TICK: u64 = 20_000_000;

/// A talker whose sample at position `n` is `n mod 1000 + 1`, and a clock.
struct Rig {
    buffer: JitterBuffer,
    now: u64,
    ptime: usize,
    first_seq: u16,
    first_time: u32,
}

impl Rig {
    fn new() -> Self {
        Self {
            buffer: JitterBuffer::default(),
            now: 1_000_000_000,
            ptime: FRAME,
            first_seq: 65_530,
            first_time: u32::MAX - 500,
        }
    }

    fn samples(&self, n: usize) -> Vec<i16> {
        (0..self.ptime).map(|i| ((n * self.ptime + i) % 1000 + 1) as i16).collect()
    }

    /// Packet `n` arrives `before` ns before the next tick.
    fn put(&mut self, n: usize, before: u64) -> Put {
        let samples = self.samples(n);
        let tick = Nanos(self.now + TICK);
        self.buffer.put(
            Ssrc(1),
            SeqNo(self.first_seq.wrapping_add(n as u16)),
            RtpTime(self.first_time.wrapping_add((n * self.ptime) as u32)),
            &samples,
            Nanos(tick.0 - before),
            tick,
        )
    }

    fn pull(&mut self) -> (Playout, Frame) {
        self.now += TICK;
        let mut out = [0; FRAME];
        let playout = self.buffer.pull(Nanos(self.now), &mut out);
        (playout, out)
    }
}

fn is_packet(frame: &Frame, n: usize) -> bool {
    frame.iter().enumerate().all(|(i, s)| *s as usize == (n * FRAME + i) % 1000 + 1)
}

#[test]
fn packets_are_played_in_order_across_both_wraps() {
    let mut rig = Rig::new();
    for n in 0..50 {
        rig.put(n, 5_000_000);
        let (playout, frame) = rig.pull();
        assert!(playout == Playout::Audio && is_packet(&frame, n), "packet {n}");
    }
    assert_eq!(rig.buffer.counters(), Counters::default());
}

#[test]
fn a_first_packet_just_before_the_tick_waits_for_the_next() {
    let mut rig = Rig::new();
    rig.put(0, 500_000);
    assert_eq!(rig.pull().0, Playout::Idle);
    rig.put(1, 500_000);
    assert!(is_packet(&rig.pull().1, 0));
    rig.put(2, 500_000);
    assert!(is_packet(&rig.pull().1, 1), "and so do all that come as closely");
    assert_eq!(rig.buffer.counters(), Counters::default());
}

#[test]
fn every_ptime_from_10_to_60_ms_plays_without_a_gap() {
    for ptime in [80, 160, 240, 320, 480] {
        let mut rig = Rig { ptime, ..Rig::new() };
        let mut sent = 0;
        let mut heard: Vec<i16> = Vec::new();
        for tick in 1..200 {
            while sent * ptime < tick * FRAME {
                rig.put(sent, 6_000_000);
                sent += 1;
            }
            heard.extend(rig.pull().1);
        }
        let from = heard.iter().rposition(|s| *s == 0).map_or(0, |p| p + 1);
        assert!(from < 10 * FRAME, "ptime {ptime}: settled only after {from}");
        for pair in heard[from + 10 * FRAME..].windows(2) {
            assert!(pair[1] == pair[0] + 1 || (pair[0] == 1000 && pair[1] == 1), "ptime {ptime}: {pair:?}");
        }
    }
}

#[test]
fn reordered_packets_are_played_in_order_once_the_delay_has_grown() {
    let mut rig = Rig::new();
    let mut wrong = 0;
    rig.put(0, 5_000_000);
    rig.pull();
    for pair in 0..100 {
        rig.put(2 + 2 * pair, 5_000_000);
        let (a, _) = rig.pull();
        rig.put(1 + 2 * pair, 5_000_000);
        let (b, _) = rig.pull();
        wrong += usize::from(a != Playout::Audio) + usize::from(b != Playout::Audio);
    }
    assert!(wrong <= 2, "{wrong} frames concealed");
    assert_eq!(rig.buffer.counters().late, 1);
}

#[test]
fn duplicates_are_dropped_and_counted() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        assert_eq!(rig.put(n, 5_000_000), Put::Duplicate);
        assert!(is_packet(&rig.pull().1, n));
    }
    assert_eq!(rig.buffer.counters().duplicates, 10);
}

#[test]
fn a_lost_packet_is_concealed_and_the_next_ones_are_in_place() {
    let mut rig = Rig::new();
    for n in 0..30 {
        if n != 20 {
            rig.put(n, 5_000_000);
        }
        let (playout, frame) = rig.pull();
        match n {
            20 => assert_eq!(playout, Playout::Concealed),
            // The first good frame after a loss is faded in.
            21 => assert_eq!(frame[40..], rig.samples(21)[40..]),
            _ => assert!(is_packet(&frame, n), "packet {n}"),
        }
    }
    assert_eq!(rig.buffer.counters().concealed, 1);
}

#[test]
fn late_packets_make_the_delay_grow_and_quiet_ones_let_it_shrink() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    assert_eq!(rig.buffer.depth(), -160, "played as they come");
    // From now on everything is 30 ms later.
    rig.pull();
    rig.pull();
    let mut concealed = 0;
    for n in 10..40 {
        rig.put(n, 15_000_000);
        concealed += usize::from(rig.pull().0 != Playout::Audio);
    }
    assert_eq!(concealed, 0, "the delay has grown");
    // Then the network is good again: two packets come at once, and after the windows the delay shrinks.
    rig.put(40, 15_000_000);
    rig.put(41, 15_000_000);
    let before = rig.buffer.depth();
    rig.pull();
    for n in 42..700 {
        rig.put(n, 15_000_000);
        rig.pull();
    }
    assert!(rig.buffer.depth() < before, "{} from {before}", rig.buffer.depth());
}

#[test]
fn a_new_ssrc_starts_again_at_once() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    let samples = [7; FRAME];
    let tick = Nanos(rig.now + TICK);
    let arrival = Nanos(tick.0 - 5_000_000);
    assert_eq!(rig.buffer.put(Ssrc(2), SeqNo(9), RtpTime(77), &samples, arrival, tick), Put::Restarted);
    // Faded in over 4 ms from the old stream is allowed; then it is the new stream.
    assert_eq!(rig.pull().1[40..], samples[40..]);
    assert_eq!(rig.buffer.counters().restarts, 1);
}

#[test]
fn a_timestamp_jump_starts_again_with_the_second_packet() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    rig.first_time = rig.first_time.wrapping_add(1_000_000);
    assert_eq!(rig.put(10, 5_000_000), Put::Dropped);
    rig.pull();
    assert_eq!(rig.put(11, 5_000_000), Put::Restarted);
    assert_eq!(rig.pull().1[40..], rig.samples(11)[40..]);
}

#[test]
fn a_pause_in_the_talkers_sending_needs_no_restart() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    for _ in 10..100 {
        rig.pull();
    }
    assert_eq!(rig.pull().0, Playout::Idle);
    // The timestamp went on with the clock; the sequence number did not.
    rig.first_seq = rig.first_seq.wrapping_sub(91);
    assert_eq!(rig.put(101, 5_000_000), Put::Accepted);
    assert_eq!(rig.pull().0, Playout::Audio);
}

#[test]
fn nothing_that_arrives_makes_it_panic_or_grow() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::SmallRng::seed_from_u64(7);
    let mut buffer = JitterBuffer::default();
    let samples = [1; LONGEST + 100];
    let mut out = [0; FRAME];
    for _ in 0..200_000 {
        let len = random.random_range(0..samples.len());
        let tick = Nanos(random.random());
        let time =
            if random.random() { RtpTime(random.random()) } else { RtpTime(random.random::<u16>().into()) };
        buffer.put(
            Ssrc(random.random::<u8>().into()),
            SeqNo(random.random()),
            time,
            &samples[..len],
            Nanos(random.random()),
            tick,
        );
        buffer.pull(tick, &mut out);
    }
}

#[test]
fn packets_of_no_or_too_many_samples_are_dropped_and_counted() {
    let mut buffer = JitterBuffer::default();
    let mut put = |len: usize| buffer.put(Ssrc(1), SeqNo(1), RtpTime(0), &vec![1; len], Nanos(0), Nanos(0));
    assert_eq!([put(0), put(LONGEST + 1), put(LONGEST)], [Put::Dropped, Put::Dropped, Put::Restarted]);
    assert_eq!(buffer.counters(), Counters { dropped: 2, ..Counters::default() });
}

#[test]
fn a_single_packet_off_the_timeline_disturbs_nothing() {
    for jump in [1_000_000u32, 4000, 0u32.wrapping_sub(90_000)] {
        let mut rig = Rig::new();
        for n in 0..30 {
            if n == 10 || n == 20 {
                let time = rig.first_time;
                rig.first_time = time.wrapping_add(jump);
                assert_eq!(rig.put(n, 5_000_000), Put::Dropped, "{jump}");
                rig.first_time = time;
            }
            assert_eq!(rig.put(n, 5_000_000), if n == 0 { Put::Restarted } else { Put::Accepted });
            let (playout, frame) = rig.pull();
            assert!(playout == Playout::Audio && is_packet(&frame, n), "packet {n} after a jump of {jump}");
        }
        assert_eq!(rig.buffer.counters(), Counters { dropped: 2, ..Counters::default() });
    }
}

#[test]
fn hopelessly_late_packets_are_dropped_and_do_not_delay_the_rest() {
    let mut rig = Rig::new();
    for n in 0..40 {
        if n != 5 {
            rig.put(n, 5_000_000);
        }
        rig.pull();
    }
    let before = rig.buffer.depth();
    assert_eq!(rig.put(5, 5_000_000), Put::Dropped);
    assert_eq!(
        (rig.buffer.depth(), rig.buffer.counters().dropped, rig.buffer.counters().late),
        (before, 1, 1)
    );
    rig.put(40, 5_000_000);
    assert!(is_packet(&rig.pull().1, 40));
}

#[test]
fn late_packets_never_make_the_delay_more_than_300_ms() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    // Each burst is later than the one before, as long as that can be made good.
    let mut next = 10;
    for gap in 1..40 {
        for _ in 0..gap {
            rig.pull();
        }
        for _ in 0..gap {
            rig.put(next, 5_000_000);
            next += 1;
            assert!(rig.buffer.depth() <= MOST_DELAY, "after gaps of {gap} ticks: {}", rig.buffer.depth());
        }
    }
}

#[test]
fn a_packet_older_than_what_is_remembered_is_a_duplicate() {
    let mut rig = Rig::new();
    for n in 0..100 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    assert_eq!([rig.put(99, 5_000_000), rig.put(36, 5_000_000), rig.put(20, 5_000_000)], [Put::Duplicate; 3]);
    assert_eq!(rig.buffer.counters().duplicates, 3);
}

#[test]
fn what_comes_in_a_burst_before_the_first_tick_does_not_stay_as_delay() {
    let mut rig = Rig::new();
    for n in 0..8 {
        rig.put(n, 5_000_000);
    }
    assert!(is_packet(&rig.pull().1, 7), "the newest is played");
}

#[test]
fn a_delay_that_is_no_longer_needed_goes_in_silence_first_and_in_speech_if_it_is_large() {
    // The samples of a talker are loud by turns of a second.
    let run = |lead: usize, loud: bool| {
        let mut rig = Rig::new();
        let packet = |rig: &mut Rig, n: usize| {
            let samples = [if loud { 4000 } else { 10 }; FRAME];
            let tick = Nanos(rig.now + TICK);
            let time = RtpTime((n * FRAME) as u32);
            rig.buffer.put(Ssrc(1), SeqNo(n as u16), time, &samples, Nanos(tick.0 - 5_000_000), tick)
        };
        packet(&mut rig, 0);
        rig.pull();
        // From now on everything comes `lead` packets earlier than needed.
        for n in 1..=lead {
            packet(&mut rig, n);
        }
        let mut shrunk_after = None;
        let before = rig.buffer.depth();
        for n in lead + 1..lead + 400 {
            packet(&mut rig, n);
            let (playout, frame) = rig.pull();
            assert!(playout == Playout::Audio && frame.iter().all(|s| *s == frame[0]), "no gap at {n}");
            if rig.buffer.depth() < before && shrunk_after.is_none() {
                shrunk_after = Some(n - lead);
            }
        }
        (shrunk_after, rig.buffer.depth())
    };
    let (after, depth) = run(2, false);
    assert!(after.is_some_and(|n| (50..=110).contains(&n)), "after two windows of a second: {after:?}");
    assert!(depth < 160, "{depth}");
    assert_eq!(run(2, true).0, None, "40 ms are not worth a cut in speech");
    assert!(run(5, true).0.is_some(), "100 ms are");
}

#[test]
fn where_the_delay_had_to_grow_again_it_shrinks_more_slowly() {
    let mut rig = Rig::new();
    let samples = [10; FRAME];
    let mut n = 0u16;
    let mut put = |rig: &mut Rig, before: u64| {
        let tick = Nanos(rig.now + TICK);
        let time = RtpTime(u32::from(n) * FRAME as u32);
        rig.buffer.put(Ssrc(1), SeqNo(n), time, &samples, Nanos(tick.0 - before), tick);
        n += 1;
    };
    put(&mut rig, 5_000_000);
    rig.pull();
    let mut spans = Vec::new();
    for _ in 0..3 {
        // Two packets are late together, then all is well until the delay has shrunk.
        rig.pull();
        rig.pull();
        put(&mut rig, 5_000_000);
        put(&mut rig, 5_000_000);
        let grown = rig.buffer.depth();
        let mut span = 0;
        while rig.buffer.depth() >= grown && span < 2000 {
            put(&mut rig, 5_000_000);
            rig.pull();
            span += 1;
        }
        spans.push(span);
    }
    assert!(spans[0] < 150 && spans[1] > spans[0] && spans[2] > spans[1] && spans[2] < 2000, "{spans:?}");
}

#[test]
fn what_was_played_is_never_played_again_when_the_ring_has_come_round() {
    let mut rig = Rig::new();
    for n in 0..RING / FRAME * 3 {
        if n % 30 != 29 {
            rig.put(n, 5_000_000);
        }
        assert_eq!(rig.pull().0 == Playout::Concealed, n % 30 == 29, "packet {n}");
    }
}

#[test]
fn where_half_a_frame_is_missing_the_other_half_is_played() {
    for lost in [21, 22] {
        let mut rig = Rig { ptime: FRAME / 2, ..Rig::new() };
        for tick in 0..40 {
            for n in [2 * tick, 2 * tick + 1] {
                if n != lost {
                    rig.put(n, 5_000_000);
                }
            }
            let (playout, frame) = rig.pull();
            let whole: Vec<i16> = [rig.samples(2 * tick), rig.samples(2 * tick + 1)].concat();
            if tick == lost / 2 {
                assert_eq!(playout, Playout::Concealed);
                let (there, missing) = if lost % 2 == 1 { (0..80, 80..160) } else { (80..160, 0..80) };
                // After a gap it is faded in for 4 ms.
                let there = there.start + if lost % 2 == 1 { 0 } else { 32 }..there.end;
                assert_eq!(frame[there.clone()], whole[there]);
                assert_ne!(frame[missing.clone()], whole[missing]);
            } else if tick < lost / 2 || tick > lost / 2 + 1 {
                assert_eq!(frame[..], whole[..], "tick {tick}");
            }
        }
        assert_eq!(rig.buffer.counters().concealed, 1);
    }
}

#[test]
fn where_a_frame_is_skipped_the_two_fade_into_each_other() {
    let mut rig = Rig::new();
    let put = |rig: &mut Rig, n: usize| {
        let tick = Nanos(rig.now + TICK);
        // Silence whose offset rises by one with each packet, so that each frame is known by its value.
        let samples = [n as i16 % 300; FRAME];
        let time = RtpTime((n * FRAME) as u32);
        rig.buffer.put(Ssrc(1), SeqNo(n as u16), time, &samples, Nanos(tick.0 - 5_000_000), tick);
    };
    put(&mut rig, 0);
    rig.pull();
    put(&mut rig, 1);
    put(&mut rig, 2);
    for n in 3..290 {
        put(&mut rig, n);
        let (_, frame) = rig.pull();
        let (first, last) = (frame[0], frame[FRAME - 1]);
        if last != first {
            assert!(frame.is_sorted() && last - first == 1, "{frame:?}");
            return;
        }
    }
    panic!("nothing was skipped");
}

#[test]
fn while_a_key_is_pressed_nothing_counts_as_missing() {
    let mut rig = Rig::new();
    for n in 0..10 {
        rig.put(n, 5_000_000);
        rig.pull();
    }
    rig.buffer.mute_concealment();
    for _ in 0..5 {
        assert_eq!(rig.pull().1, [0; FRAME], "the last word is not stretched");
    }
    assert_eq!(rig.buffer.counters().concealed, 0);
}
