//! A voice's way: from a telephone's codec over a network through a conference to another telephone; and the same codecs without any of
//! that. All on virtual time.

use crate::network::Fate;
use media::codec::{self, Decoder, Encoder, LARGEST};
use media::jitter::{Incoming, JitterBuffer, Playout};
use media::leg::{Leg, LegSetup};
use media::mixer::{Kit, Rates};
use media::resample;
use media::room::{Manner, Member, Notice, Room, Sink};
use media::rtp::{HEADER, Packet, Stream};
use media::units::{RtpTime, SeqNo, Ssrc};
use media::{Codec, Coding, LegId, Nanos, PayloadType, Rate, RoomId};
use std::net::SocketAddr;

const TICK: u64 = 20_000_000;
const BEGUN: u64 = 1_795_000_000_000_000_000;
/// Packets come so long before the tick where nothing delays them, ns.
const BEFORE: u64 = 4_000_000;

/// What a chain of codecs is: in which the voice comes and in which it is heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) from: Codec,
    pub(crate) to: Codec,
    /// Opus packets carry the one before.
    pub(crate) fec: bool,
}

impl Chain {
    fn coding(&self, codec: Codec) -> Coding {
        let mut coding = Coding::of(codec);
        coding.opus.fec = self.fec;
        coding
    }

    /// The rate at which the whole chain can be judged.
    pub(crate) fn judged_at(&self) -> Rate {
        self.from.rate().min(self.to.rate()).min(Rate::Wide)
    }
}

/// What a telephone sends of a voice: a payload for each 20 ms.
fn encoded(coding: &Coding, voice: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(coding).unwrap();
    let n = coding.rate.frame();
    let frames = voice.chunks(n).map(|chunk| {
        let mut frame = chunk.to_vec();
        frame.resize(n, 0);
        let mut bytes = [0; LARGEST];
        let len = encoder.encode(&frame, &mut bytes);
        bytes[..len].to_vec()
    });
    frames.collect()
}

/// What came out at the far end.
struct Far {
    decoder: Decoder,
    heard: Vec<i16>,
}

impl Far {
    fn hear(&mut self, payload: &[u8]) {
        let n = self.decoder.samples(payload);
        let at = self.heard.len();
        self.heard.resize(at + n, 0);
        self.decoder.decode(payload, &mut self.heard[at..]);
    }
}

struct Out(Far);

impl Sink<usize> for Out {
    fn packet(&mut self, socket: &mut usize, _: SocketAddr, packet: &[u8]) {
        if *socket == 1 {
            self.0.hear(Packet::parse(packet).unwrap().payload);
        }
    }

    fn notice(&mut self, _: RoomId, _: LegId, _: Notice) -> bool {
        true
    }
}

fn address(n: u16) -> SocketAddr {
    ([192, 0, 2, 1], 4000 + n).into()
}

/// How a voice (of 16 kHz) is heard through a conference, at the listener's rate; and how many frames were made up.
pub(crate) fn bridged(chain: Chain, voice: &[i16], fates: &[Fate]) -> (Vec<i16>, u64) {
    let (from, to) = (chain.coding(chain.from), chain.coding(chain.to));
    let payloads = encoded(&from, &resample::whole(voice, Rate::Wide, from.rate));
    let setups = [from, to].map(|coding| {
        let id = u16::from(coding != from || chain.from == chain.to);
        (coding, id)
    });
    let mut room = Room::new(RoomId(1), 2, Manner { floor: Some(70), music: None });
    let (mut speak, mut hear) = (Rates::default(), Rates::default());
    for (n, (coding, _)) in setups.iter().enumerate() {
        let plain = LegSetup::plain(LegId(n as u64), coding.codec, PayloadType(100), address(n as u16));
        let setup = LegSetup { sends: (*coding, PayloadType(100)), events: Some(PayloadType(101)), ..plain };
        setup.speaks_at().for_each(|r| speak.add(r));
        hear.add(setup.hears_at());
        room.add(Box::new(Member::new(Leg::new(setup, None, Nanos(BEGUN)).unwrap(), n))).unwrap();
    }
    room.adopt(&mut Kit::new(speak, hear, Default::default()));
    let mut stream = Stream::new(PayloadType(100));
    let packets = payloads.iter().zip(fates).filter_map(|(payload, fate)| {
        let mut packet = vec![0; HEADER + payload.len()];
        packet[HEADER..].copy_from_slice(payload);
        stream.write(&mut packet, from.codec.units_per_tick());
        Some(((*fate)? + BEGUN + TICK - BEFORE, packet))
    });
    let mut packets: Vec<_> = packets.collect();
    packets.sort_by_key(|(at, _)| *at);
    let mut packets = packets.into_iter().peekable();
    let decoder = Decoder::new(to.codec, to.rate).unwrap();
    let mut out = Out(Far { decoder, heard: Vec::new() });
    for tick in 1..=payloads.len() as u64 + 15 {
        let now = Nanos(BEGUN + tick * TICK);
        while let Some((at, mut packet)) = packets.next_if(|(at, _)| *at <= now.0) {
            room.members_mut()[0].leg.receive(address(0), &mut packet, Nanos(at), now);
        }
        (0..2).for_each(|n| room.pull(n, now));
        room.tick(now, &mut out);
    }
    let made_up = room.members_mut()[0].leg.report(Nanos(BEGUN)).jitter.concealed;
    (out.0.heard, made_up)
}

/// The same codecs with the same losses, without network and conference: what was lost is made up by the codec, or by ours where it has nothing of
/// its own.
pub(crate) fn offline(chain: Chain, voice: &[i16], fates: &[Fate]) -> Vec<i16> {
    let (from, to) = (chain.coding(chain.from), chain.coding(chain.to));
    let payloads = encoded(&from, &resample::whole(voice, Rate::Wide, from.rate));
    let mut decoder = Decoder::new(from.codec, from.rate).unwrap();
    let n = from.rate.frame();
    let mut decoded = Vec::new();
    if let Decoder::Opus(decoder) = &mut decoder {
        for (at, (payload, fate)) in payloads.iter().zip(fates).enumerate() {
            let mut out = vec![0; n];
            let next = payloads
                .get(at + 1)
                .filter(|p| fates[at + 1].is_some() && codec::opus::carries_the_one_before(p));
            match (fate, next) {
                (Some(_), _) => decoder.decode(payload, &mut out),
                (None, Some(next)) if chain.fec => decoder.recover(next, &mut out),
                (None, _) => decoder.conceal(&mut out),
            };
            decoded.extend(out);
        }
    } else {
        let mut buffer = JitterBuffer::new(from.rate, 16_384);
        let mut decoders = [const { None }; Codec::ALL.len()];
        for (at, (payload, fate)) in payloads.iter().zip(fates).enumerate() {
            let now = Nanos(BEGUN + at as u64 * TICK);
            let packet = Incoming {
                ssrc: Ssrc(1),
                seq: SeqNo(at as u16),
                time: RtpTime(at as u32 * from.codec.units_per_tick()),
                codec: Some(from.codec),
                payload,
                arrival: Nanos(now.0 - BEFORE),
                now,
            };
            if fate.is_some() {
                buffer.put(packet, &decoder);
            }
            decoders[from.codec as usize] = Some(decoder);
            let playout = buffer.pull(now, &mut decoders, true);
            decoder = decoders[from.codec as usize].take().unwrap();
            match playout {
                Playout::Idle => decoded.extend(std::iter::repeat_n(0, n)),
                _ => decoded.extend_from_slice(buffer.frame()),
            }
        }
    }
    let decoder = Decoder::new(to.codec, to.rate).unwrap();
    let mut far = Far { decoder, heard: Vec::new() };
    for payload in encoded(&to, &resample::whole(&decoded, from.rate, to.rate)) {
        far.hear(&payload);
    }
    far.heard
}
