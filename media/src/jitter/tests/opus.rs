//! Opus in the buffer: what it says of itself, and what the packet behind a lost one brings back.

use super::*;

/// A buffer for Opus at 16 kHz, and its decoder.
fn opus() -> (JitterBuffer, [Option<Decoder>; Codec::ALL.len()]) {
    let mut decoders = [const { None }; Codec::ALL.len()];
    decoders[Codec::Opus as usize] = Some(Decoder::new(Codec::Opus, Rate::Wide).unwrap());
    (JitterBuffer::new(Rate::Wide, 8192), decoders)
}

/// Puts packet `n` of Opus, which comes `before` ns before the tick `n`; tells that tick.
fn put_opus(
    buffer: &mut JitterBuffer,
    decoders: &[Option<Decoder>],
    n: u32,
    payload: &[u8],
    before: u64,
) -> Nanos {
    let now = Nanos(1_000_000_000 + u64::from(n + 1) * TICK);
    let packet = Incoming {
        ssrc: Ssrc(1),
        seq: SeqNo(n as u16),
        time: RtpTime(n * 960),
        codec: Some(Codec::Opus),
        payload,
        arrival: Nanos(now.0 - before),
        now,
    };
    buffer.put(packet, decoders[Codec::Opus as usize].as_ref().unwrap());
    now
}

/// What Opus says of itself spares decoding it.
#[test]
fn opus_that_says_nothing_is_not_decoded_and_speech_after_it_is_whole() {
    let (mut buffer, mut decoders) = opus();
    let mut encoder = codec::opus::Encoder::new(Rate::Wide, codec::opus::Settings::default()).unwrap();
    let mut reference = Decoder::new(Codec::Opus, Rate::Wide).unwrap();
    let (mut unspoken, mut difference, mut power) = (0, 0f64, 0f64);
    let mut heard = false;
    for n in 0..400u32 {
        let speech = n / 100 % 2 == 1;
        let tone = |i: usize| {
            let t = (n as usize * FRAME + i) as f32 / 16_000.0;
            let pitch = std::f32::consts::TAU * (140.0 + 10.0 * (t * 9.0).sin());
            (1..12).map(|h| (pitch * t * h as f32).sin() / h as f32).sum::<f32>() * 4000.0
        };
        let pcm: Vec<i16> = (0..FRAME).map(|i| if speech { tone(i) as i16 } else { 0 }).collect();
        let mut bytes = [0; codec::opus::LARGEST];
        let len = encoder.encode(&pcm, &mut bytes);
        let now = put_opus(&mut buffer, &decoders, n, &bytes[..len], 5_000_000);
        let playout = buffer.pull(now, &mut decoders, heard);
        unspoken += usize::from(playout == Playout::Unspoken);
        let mut right = vec![0; FRAME];
        reference.decode(&bytes[..len], &mut right);
        heard = speech || n % 100 < 15;
        if speech && n % 100 > 0 {
            for (a, b) in buffer.frame().iter().zip(&right) {
                difference += (f64::from(*a) - f64::from(*b)).powi(2);
                power += f64::from(*b).powi(2);
            }
        }
    }
    assert!(unspoken > 100, "{unspoken}");
    let ratio = 10.0 * (power / difference.max(1.0)).log10();
    assert!(ratio > 20.0, "speech differs from what is always decoded by {ratio:.1} dB");
}

/// What a frame of tone, or of next to nothing, is encoded as.
fn talk(encoder: &mut codec::opus::Encoder, said: bool) -> Vec<u8> {
    let tone = |i: usize| (i as f32 * 0.11).sin() * 9000.0;
    let pcm: Vec<i16> = (0..FRAME).map(|i| if said { tone(i) as i16 } else { (i % 7) as i16 }).collect();
    let mut bytes = [0; codec::opus::LARGEST];
    let len = encoder.encode(&pcm, &mut bytes);
    bytes[..len].to_vec()
}

/// How much is heard of short bursts of tone whose packets are lost: of what was not received, a codec that makes something up knows nothing.
fn bursts_that_were_lost(fec: bool, alone: bool, offset: usize) -> f64 {
    let mut encoder = codec::opus::Encoder::new(Rate::Wide, codec::opus::Settings::default()).unwrap();
    let (mut buffer, mut decoders) = opus();
    let mut power = 0f64;
    for n in 0..200u32 {
        let said = n % 8 == 5;
        let payload = talk(&mut encoder, said);
        // Everything comes a tick early, so that the next packet is there when one is missing.
        let now = Nanos(1_000_000_000 + u64::from(n + 1) * TICK);
        let lost = (said || n % 8 == 4 && !alone) && n > 20;
        let spoilt = n % 8 == 6 && !fec && n > 20;
        if !lost && !spoilt {
            let before = if n % 40 == 0 { 0 } else { 19_000_000 };
            put_opus(&mut buffer, &decoders, n, &payload, before);
        }
        if n % 8 == 6 && n > 20 {
            // Packets and ticks shift against each other, as they do where delays vary.
            buffer.line.room(offset).fill(0);
            buffer.line.extend(offset);
        }
        buffer.pull(now, &mut decoders, true);
        if n > 60 {
            power += buffer.frame().iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        }
    }
    power
}

#[test]
fn a_lost_opus_packet_comes_back_from_the_one_behind_it() {
    for alone in [true, false] {
        for offset in [0, 80, 200] {
            let [with, without] = [true, false].map(|fec| bursts_that_were_lost(fec, alone, offset));
            assert!(
                with > 100.0 * without,
                "alone: {alone}, ticks {offset} samples off: {with} and {without}"
            );
        }
    }
}

#[test]
fn the_wait_for_redundancy_begins_with_a_loss_and_ends_ten_seconds_after_the_last() {
    let mut encoder = codec::opus::Encoder::new(Rate::Wide, codec::opus::Settings::default()).unwrap();
    let (mut buffer, mut decoders) = opus();
    let mut delays = Vec::new();
    for n in 0..1200u32 {
        let payload = talk(&mut encoder, n % 8 > 3);
        let now = Nanos(1_000_000_000 + u64::from(n + 1) * TICK);
        if n != 101 {
            put_opus(&mut buffer, &decoders, n, &payload, 5_000_000);
        }
        buffer.pull(now, &mut decoders, true);
        delays.push(buffer.delay(now).0 / 1_000_000);
    }
    let during = |from: usize, to: usize| delays[from..to].iter().copied().fold(0, u64::max);
    assert!((5..=8).contains(&during(20, 99)), "{}", during(20, 99));
    assert!(delays[150..580].iter().all(|d| (20..32).contains(d)), "{:?}", &delays[150..170]);
    assert!((5..=8).contains(&during(1000, 1200)), "{}", during(1000, 1200));
}
