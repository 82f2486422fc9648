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
