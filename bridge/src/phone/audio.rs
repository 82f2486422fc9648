//! A telephone's audio: says its frames and hears the other side, every 20 ms.

use media::Rate;
use media::codec::LARGEST;
use media::dtls::{self, Agreed, Dtls};
use media::leg::{Leg, LegError, LegSetup, Protection, Report, Secure, Security};
use media::rtp::{HEADER, Kind};
use media::shard::{Receiver, enable_timestamps, wall_clock};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use vault::MediaKeys;

const TICK: Duration = Duration::from_millis(20);

/// What a phone says and does with what it hears.
pub trait Talk: Send {
    /// The rates at which it will say and hear; called once, before all else.
    fn begin(&mut self, says: Rate, hears: Rate);
    /// The next 20 ms to say; false ends the call.
    fn say(&mut self, frame: &mut [i16]) -> bool;
    /// What is heard in the same tick.
    fn hear(&mut self, frame: &[i16]);
    /// Whether another reason ends the call.
    fn is_over(&self) -> bool;
    /// The next key to press, once the one before has been sent.
    fn key(&mut self) -> Option<u8> {
        None
    }
}

/// How the audio went.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// The leg's figures at the end.
    pub report: Report,
}

/// A telephone line: a socket before its call is answered.
#[derive(Debug)]
pub struct Line {
    socket: UdpSocket,
    /// Where it receives.
    pub address: SocketAddr,
}

/// A key is pressed for 100 ms, in packets of 20 ms; its end is sent three times (RFC 4733 §2.5.1).
const KEY_PACKETS: u16 = 5;

impl Line {
    /// Binds a free port of `local`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(local: std::net::IpAddr) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_nonblocking(true)?;
        enable_timestamps(&socket)?;
        Ok(Self { address: socket.local_addr()?, socket })
    }

    /// The socket alone, for who makes its own audio.
    pub fn into_socket(self) -> UdpSocket {
        self.socket
    }

    /// Has keys agreed on, where they are to be by DTLS; who tells of them.
    fn handshake(&self, setup: &LegSetup, dtls: Option<&Dtls>) -> Option<UnboundedReceiver<Done>> {
        let Security::Dtls { role, theirs } = setup.security else { return None };
        let (done, is_done) = unbounded_channel();
        let (socket, to) = (Arc::new(self.socket.try_clone().ok()?), setup.remote);
        let opening = dtls::Opening { role, theirs, socket, to, done };
        dtls?.open(dtls::Line::Rtp(setup.id), opening);
        Some(is_done)
    }

    /// Talks and listens on this thread until `talk` ends it. `keys` and `dtls` are those of the user agent that made the call.
    ///
    /// # Errors
    /// [`LegError`].
    pub fn run(
        self,
        setup: LegSetup,
        keys: &MediaKeys,
        dtls: Option<&Dtls>,
        talk: &mut dyn Talk,
    ) -> Result<Ended, LegError> {
        let mut leg = Leg::new(setup, Some(keys), wall_clock())?;
        let mut agreed = self.handshake(&setup, dtls);
        let secrets = keys;
        let says = setup.hears_at();
        let mut frame = vec![0; says.frame()];
        let mut packet = [0; HEADER + LARGEST];
        talk.begin(says, leg.rate());
        let mut receiver = Receiver::new();
        let mut next = Instant::now();
        let mut keys = Keys::default();
        loop {
            let now = wall_clock();
            receiver.drain(&self.socket, false, now, |from, bytes, arrival| {
                let (Some(from), Some(bytes)) = (from, bytes) else { return true };
                match (Kind::of(bytes), dtls) {
                    (Kind::Dtls, Some(dtls)) => dtls.packet(dtls::Line::Rtp(setup.id), from, bytes),
                    // It is told by its leg how it is heard, and asks nobody.
                    (Kind::Rtcp, _) if setup.mux => {}
                    _ => drop(leg.receive(from, bytes, arrival, now)),
                }
                true
            });
            if let Some(Ok(done)) = agreed.as_mut().map(UnboundedReceiver::try_recv) {
                let Agreed { suite, ours, theirs, .. } = done?;
                let secure = Secure { suite, ours, theirs };
                leg.set_keys(&mut Some(Protection::new(&secure, secrets)?));
            }
            leg.playout(now);
            talk.hear(leg.frame());
            if !talk.say(&mut frame) || talk.is_over() {
                return Ok(Ended { report: leg.report(now) });
            }
            let send = |to, packet: &[u8]| {
                // What the network does not take is lost, as for any telephone.
                let _ = self.socket.send_to(packet, to);
            };
            if !keys.send(&mut leg, setup, talk, send) {
                let n = leg.encoder().encode(&frame, &mut packet[HEADER..]);
                leg.packetise(&mut packet[..HEADER + n], send);
            }
            next += TICK;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
}

type Done = Result<Agreed, dtls::DtlsFault>;

/// The key that is being pressed.
#[derive(Default)]
struct Keys {
    pressed: Option<(u8, u16)>,
    pause: u16,
}

impl Keys {
    /// Sends this tick's telephone-event packet in place of audio. False: no key is pressed.
    fn send(
        &mut self,
        leg: &mut Leg,
        setup: LegSetup,
        talk: &mut dyn Talk,
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let Some(events) = setup.events else { return false };
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        if self.pressed.is_none() {
            self.pressed = talk.key().map(|key| (key, 0));
        }
        let Some((key, count)) = self.pressed.as_mut() else { return false };
        *count += 1;
        let duration = (*count).min(KEY_PACKETS) * setup.sends.0.codec.units_per_tick() as u16;
        let end = *count >= KEY_PACKETS;
        let [high, low] = duration.to_be_bytes();
        let payload = [*key, if end { 0x8a } else { 0x0a }, high, low];
        leg.send_event(events, *count == 1, &payload, &mut send);
        if *count == KEY_PACKETS + 2 {
            self.pressed = None;
            self.pause = 5;
        }
        true
    }
}
