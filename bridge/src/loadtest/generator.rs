//! The generator: one thread that sends every participant's packets on time and reads what comes back.

use super::{Network, tone};
use crate::phone::Line;
use media::codec::{CodecError, Decoder, Encoder, FRAME, LARGEST};
use media::rtp::{HEADER, Packet, Stream};
use media::shard::{Receiver, wall_clock};
use media::srtp::{GROWTH, Opener, Protector};
use media::units::{Nanos, PayloadType, Rate, SeqNo};
use media::{Codec, Coding};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Participants' packets are spread over so many moments of a tick, one each millisecond.
const PHASES: u64 = 20;
/// Between two packets of one, ns of its own clock.
const PACE: u64 = 20_000_000;
/// A talker's cycle, ticks: 600 ms tone, 700 ms silence. It is longer than the bridge's speech hangover, so that each
/// burst is an onset.
const CYCLE: u64 = 65;
const BURST: u64 = 30;
/// Frames of each burst in which a listener may miss a tone that came by Opus.
const ATTACK: u64 = 3;
/// Whoever is later than this was kept from working.
const STALL: Duration = Duration::from_millis(5);
/// A packet younger than this is the last that can have come, ns.
const LAST: i64 = 18_000_000;

/// One participant.
#[derive(Debug)]
pub struct Leg {
    socket: UdpSocket,
    stream: Stream,
    conference: usize,
    /// Which of the conference's talkers it is.
    talker: Option<usize>,
    /// SRTP both ways.
    crypt: Option<(Protector, Opener)>,
    /// Whether it can tell whom it hears.
    listens: bool,
    /// Where it is not G.711.
    opus: Option<Box<Opus>>,
    ticks: u64,
    last: Option<(SeqNo, Nanos)>,
    /// For each talker: frames in which it was heard, and whether it was in the last one.
    heard: [u64; 4],
    hears: u8,
}

/// What a participant with Opus has.
#[derive(Debug)]
struct Opus {
    encoder: Encoder,
    /// What it says, sample by sample; a listener says the same packet all the time.
    says: Option<Vec<i16>>,
    silence: Vec<u8>,
    /// Only some listen: decoding for all would be more work than the bridge has.
    decoder: Option<Decoder>,
}

impl Opus {
    fn new(talker: Option<usize>, listens: bool) -> Result<Self, CodecError> {
        let mut encoder = Encoder::new(&Coding::of(Codec::Opus))?;
        let mut bytes = [0; LARGEST];
        let len = encoder.encode(&[0; Rate::Full.frame()], &mut bytes);
        let decoder = listens.then(|| Decoder::new(Codec::Opus, Rate::Narrow)).transpose()?;
        let says = talker.map(|talker| tone::linear(talker, Rate::Full));
        Ok(Self { encoder, says, silence: bytes[..len].to_vec(), decoder })
    }
}

impl Leg {
    /// The same as one that only counts what it gets.
    #[must_use]
    pub fn deaf(self) -> Self {
        Self { listens: false, ..self }
    }

    /// The same with Opus under a payload type.
    ///
    /// # Errors
    /// The codec's.
    pub fn with_opus(mut self, payload_type: PayloadType) -> Result<Self, CodecError> {
        self.stream = Stream::new(payload_type);
        self.opus = Some(Box::new(Opus::new(self.talker, self.listens)?));
        Ok(self)
    }

    /// A participant whose packets go to `remote`, encrypted with `crypt`; as `talker` it has that tone.
    ///
    /// # Errors
    /// The socket's.
    pub fn new(
        line: Line,
        remote: SocketAddr,
        conference: usize,
        talker: Option<usize>,
        crypt: Option<(Protector, Opener)>,
    ) -> std::io::Result<Self> {
        let socket = line.into_socket();
        socket.connect(remote)?;
        Ok(Self {
            socket,
            stream: Stream::new(PayloadType(0)),
            conference,
            talker,
            crypt,
            listens: true,
            opus: None,
            ticks: 0,
            last: None,
            heard: [0; 4],
            hears: 0,
        })
    }
}

/// When a talker's last burst began, and how many frames it has said.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    onset: Nanos,
    frames: u64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Generator {
    legs: Vec<Leg>,
    talkers: usize,
    /// For each conference and talker.
    said: Vec<[Said; 4]>,
    tones: [[u8; FRAME]; 4],
    receiver: Receiver,
    latencies: Vec<u64>,
    jitters: Vec<u64>,
    lateness: Vec<u64>,
    received: u64,
    lost: u64,
    slot: u64,
    begun: Instant,
    network: Network,
    dice: StdRng,
    stalls: Arc<AtomicU64>,
    /// When each participant's next packet is due, ns since the beginning.
    due: Vec<u64>,
}

/// What was found.
#[derive(Debug)]
pub struct Measured {
    /// Onset in to onset out, ns.
    pub latencies: Vec<u64>,
    /// Deviation of packets from their 20 ms, ns.
    pub jitters: Vec<u64>,
    /// How late our own moments were, ns.
    pub lateness: Vec<u64>,
    /// Packets received.
    pub received: u64,
    /// Packets missing.
    pub lost: u64,
    /// Pairs of listener and talker.
    pub pairs: usize,
    /// Those that were heard right.
    pub pairs_heard: usize,
    /// Talkers that heard themselves.
    pub echoes: usize,
}

impl Generator {
    /// A generator for these participants.
    pub fn new(legs: Vec<Leg>, network: Network, stalls: Arc<AtomicU64>) -> Self {
        let conferences = legs.iter().map(|l| l.conference + 1).max().unwrap_or(0);
        let talkers = legs.iter().filter_map(|l| l.talker).max().map_or(0, |t| t + 1);
        let due = (0..legs.len() as u64).map(|n| n % PHASES * 1_000_000).collect();
        Self {
            network,
            stalls,
            dice: StdRng::seed_from_u64(5),
            due,
            legs,
            talkers,
            said: vec![[Said::default(); 4]; conferences],
            tones: std::array::from_fn(tone::frame),
            receiver: Receiver::new(),
            latencies: Vec::new(),
            jitters: Vec::new(),
            lateness: Vec::new(),
            received: 0,
            lost: 0,
            slot: 0,
            begun: Instant::now(),
        }
    }

    /// Sends and reads for so long; notes what it sees only if `measuring`.
    pub fn run(&mut self, time: Duration, measuring: bool) {
        let end = self.slot + time.as_millis() as u64;
        if measuring {
            for leg in &mut self.legs {
                leg.heard = [0; 4];
            }
            self.said.iter_mut().flatten().for_each(|s| s.frames = 0);
        }
        while self.slot < end {
            let due = self.begun + Duration::from_millis(self.slot);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let late = due.elapsed();
            if measuring {
                self.lateness.push(late.as_nanos() as u64);
            }
            if late > STALL {
                // Phones that are each on their own do not all send at once what one of them owes: their clocks have stood still.
                self.begun += late;
                self.stalls.fetch_add(1, Ordering::Relaxed);
            }
            for index in 0..self.legs.len() {
                if self.due[index] <= self.slot * 1_000_000 {
                    self.due[index] += self.pace(index);
                    self.send(index);
                    self.receive(index, measuring);
                }
            }
            self.slot += 1;
        }
    }

    /// From one packet of a participant's to the next, ns.
    fn pace(&self, index: usize) -> u64 {
        let drift = u64::from(self.network.drift) * PACE / 1_000_000;
        if index.is_multiple_of(2) { PACE - drift } else { PACE + drift }
    }

    fn send(&mut self, index: usize) {
        let leg = &mut self.legs[index];
        let mut packet = [0xff; HEADER + LARGEST + GROWTH];
        let units = if leg.opus.is_some() { Codec::Opus } else { Codec::Pcmu }.units_per_tick();
        leg.stream.write(&mut packet, units);
        let mut len = HEADER + FRAME;
        if let Some(opus) = &mut leg.opus {
            len = HEADER + opus.silence.len();
            packet[HEADER..len].copy_from_slice(&opus.silence);
        }
        if let Some(talker) = leg.talker {
            // Talkers of a conference take turns and overlap.
            let at = (leg.ticks + 17 * talker as u64) % CYCLE;
            if at < BURST {
                match leg.opus.as_deref_mut() {
                    Some(Opus { encoder, says: Some(says), .. }) => {
                        len = HEADER + encoder.encode(says, &mut packet[HEADER..HEADER + LARGEST]);
                    }
                    _ => packet[HEADER..HEADER + FRAME].copy_from_slice(&self.tones[talker]),
                }
                let said = &mut self.said[leg.conference][talker];
                said.frames += 1;
                if at == 0 {
                    said.onset = wall_clock();
                }
            }
        }
        leg.ticks += 1;
        let len = match &mut leg.crypt {
            Some((protector, _)) => protector.protect(&mut packet, len).unwrap_or(0),
            None => len,
        };
        if self.dice.random_range(0.0..100.0) < self.network.loss {
            return;
        }
        // What the kernel does not take is missed by the listeners, and so reported.
        let _ = leg.socket.send(&packet[..len]);
    }

    fn receive(&mut self, index: usize, measuring: bool) {
        let Self { legs, receiver, said, latencies, jitters, received, lost, talkers, .. } = self;
        let leg = &mut legs[index];
        let now = wall_clock();
        let Leg { socket, last, heard, hears, conference, crypt, listens, opus, .. } = leg;
        receiver.drain(socket, true, now, |_, bytes, arrival| {
            let Some(bytes) = bytes else { return true };
            let len = match crypt {
                Some((_, opener)) => opener.open(bytes).unwrap_or(0),
                None => bytes.len(),
            };
            let Ok(packet) = Packet::parse(&bytes[..len]) else { return true };
            if opus.is_none() && packet.payload.len() != FRAME {
                return true;
            }
            if let Some((seq, before)) = last.replace((packet.seq, arrival))
                && measuring
            {
                let gap = packet.seq.ahead_of(seq);
                *lost += u64::from(gap.max(1).unsigned_abs() - 1);
                *received += 1;
                if gap == 1 {
                    jitters.push((arrival.since(before) - 20_000_000).unsigned_abs());
                }
            }
            // The next packet cannot have come yet: looking for it would cost as much again.
            let more = now.since(arrival) > LAST;
            if !*listens {
                return more;
            }
            let mut samples = [0; FRAME];
            match opus {
                None => Codec::Pcmu.decode_plain(packet.payload, &mut samples),
                Some(opus) => match &mut opus.decoder {
                    Some(decoder) => drop(decoder.decode(packet.payload, &mut samples)),
                    None => return more,
                },
            }
            let bits = tone::heard(&samples, *talkers);
            for talker in 0..*talkers {
                let bit = 1 << talker;
                if bits & bit == 0 {
                    continue;
                }
                heard[talker] += 1;
                let onset = said[*conference][talker].onset;
                // Opus takes up to three frames to bring a tone up: what is seen would be the codec's doing.
                if measuring && opus.is_none() && *hears & bit == 0 && onset.0 > 0 {
                    latencies.push(arrival.since(onset).max(0) as u64);
                }
            }
            *hears = bits;
            more
        });
    }

    /// What was found.
    pub fn measured(self) -> Measured {
        let (mut pairs, mut pairs_heard, mut echoes) = (0, 0, 0);
        for leg in self.legs.iter().filter(|leg| leg.listens) {
            for talker in 0..self.talkers {
                let said = self.said[leg.conference][talker].frames;
                let heard = leg.heard[talker];
                if leg.talker == Some(talker) {
                    echoes += usize::from(heard > 0);
                    continue;
                }
                pairs += 1;
                // What was on its way at the two ends of the measurement may differ.
                // What is lost is made up for, but for the first of a burst; what a clock is ahead, the bridge leaves out.
                let attack = if leg.opus.is_some() { (said / BURST + 1) * ATTACK } else { 0 };
                let allowed = 3 + said / 50 + attack + (said as f32 * self.network.loss / 100.0) as u64;
                let close = heard.abs_diff(said) <= allowed;
                pairs_heard += usize::from(close && heard > 0);
            }
        }
        Measured {
            latencies: self.latencies,
            jitters: self.jitters,
            lateness: self.lateness,
            received: self.received,
            lost: self.lost,
            pairs,
            pairs_heard,
            echoes,
        }
    }
}
