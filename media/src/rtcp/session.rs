//! The task that sends and reads one leg's RTCP.

use super::{Heard, LARGEST, Memory, RtcpFault, ntp, random_cname, read, write};
use crate::leg::{Report, Secure};
use crate::srtp::{ControlOpener, ControlProtector, GROWTH};
use crate::units::Nanos;
use rand::RngExt;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use vault::{MediaKeys, PlaceError};

/// The mean time between two reports (RFC 3550 §6.2: at least 5 s).
const INTERVAL: Duration = Duration::from_secs(5);
/// The first one comes after half of that, so that round-trip time is known early.
const FIRST: Duration = Duration::from_millis(2500);

/// What the peer's reports say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Remote {
    /// Loss of our stream as the peer sees it, 256ths.
    pub fraction_lost: u8,
    /// Jitter of our stream as the peer sees it, clock units.
    pub jitter: u32,
    /// Round-trip time.
    pub round_trip: Option<Duration>,
    /// Datagrams that were no RTCP or came from elsewhere.
    pub dropped: u64,
}

/// SRTCP both ways.
#[derive(Debug)]
pub struct Control {
    protector: ControlProtector,
    opener: ControlOpener,
}

impl Control {
    /// With a leg's keys.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn new(secure: &Secure, keys: &MediaKeys) -> Result<Self, PlaceError> {
        let protector = ControlProtector::new(keys, &secure.ours, secure.suite)?;
        Ok(Self { protector, opener: ControlOpener::new(keys, &secure.theirs, secure.suite)? })
    }
}

/// One leg's RTCP. Its task begins with the leg's first figures (what the peer sent before waits in the socket), so that a call
/// which ends at once costs none. Dropping it says goodbye.
#[derive(Debug)]
pub struct Session {
    reports: watch::Sender<Option<Report>>,
    remotes: watch::Sender<SocketAddr>,
    heard: watch::Sender<Remote>,
    controls: mpsc::UnboundedSender<Control>,
    runtime: Handle,
    waiting: Option<(std::net::UdpSocket, mpsc::UnboundedReceiver<Control>)>,
}

impl Session {
    /// RTCP on a non-blocking `socket`, whose task will run on `runtime`. `remote` is the peer's RTCP address from its SDP. With `control` it is
    /// encrypted.
    pub fn new(
        runtime: Handle,
        socket: std::net::UdpSocket,
        remote: SocketAddr,
        control: Option<Control>,
    ) -> Self {
        let (controls, new) = mpsc::unbounded_channel();
        if let Some(control) = control {
            // Its other end is here.
            let _ = controls.send(control);
        }
        let (reports, _) = watch::channel(None);
        let (remotes, _) = watch::channel(remote);
        let (heard, _) = watch::channel(Remote::default());
        Self { reports, remotes, heard, controls, runtime, waiting: Some((socket, new)) }
    }

    /// Gives the leg's newest figures.
    ///
    /// # Errors
    /// The socket cannot be watched (with the first figures only).
    pub fn report(&mut self, report: Report) -> std::io::Result<()> {
        self.reports.send_replace(Some(report));
        if let Some((socket, controls)) = self.waiting.take() {
            let _inside = self.runtime.enter();
            let socket = UdpSocket::from_std(socket)?;
            let (remotes, reports) = (self.remotes.subscribe(), self.reports.subscribe());
            self.runtime.spawn(run(socket, remotes, reports, self.heard.clone(), controls));
        }
        Ok(())
    }

    /// New signalling changed the keys.
    pub fn set_control(&self, control: Control) {
        // The task ends with this session.
        let _ = self.controls.send(control);
    }

    /// New signalling changed the peer's address.
    pub fn set_remote(&self, remote: SocketAddr) {
        self.remotes.send_if_modified(|r| std::mem::replace(r, remote) != remote);
    }

    /// What the peer's reports said last.
    pub fn remote(&self) -> Remote {
        *self.heard.borrow()
    }
}

fn wall_clock() -> Nanos {
    Nanos(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64))
}

/// Moments at which reports are sent: many legs' at one, so that the process wakes up for all of them at once.
const GRID: Duration = Duration::from_millis(100);

/// The next such moment.
fn on_grid(at: Instant) -> Instant {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let since = at.saturating_duration_since(*BEGUN.get_or_init(|| at)).as_nanos();
    at + Duration::from_nanos((GRID.as_nanos() - since % GRID.as_nanos()) as u64)
}

async fn run(
    socket: UdpSocket,
    mut remotes: watch::Receiver<SocketAddr>,
    reports: watch::Receiver<Option<Report>>,
    heard: watch::Sender<Remote>,
    mut controls: mpsc::UnboundedReceiver<Control>,
) {
    let mut control = controls.try_recv().ok();
    let cname = random_cname();
    let mut memory = Memory::default();
    let mut sent = 0;
    let mut target = *remotes.borrow_and_update();
    let mut symmetric = false;
    let mut remote = Remote::default();
    let mut next = on_grid(Instant::now() + FIRST);
    let mut buffer = [0u8; LARGEST + 1];
    loop {
        tokio::select! {
            // Ends with the session. Newer figures are looked at when they are sent.
            changed = remotes.changed() => {
                if changed.is_err() {
                    break;
                }
                target = *remotes.borrow_and_update();
                symmetric = false;
            }
            Some(new) = controls.recv() => control = Some(new),
            () = tokio::time::sleep_until(next) => {
                // RFC 3550 §6.3.1: randomised over half to one and a half of the interval.
                next = on_grid(Instant::now() + INTERVAL.mul_f64(rand::rng().random_range(0.5..1.5)));
                let report = *reports.borrow();
                if let Some(report) = report {
                    let bytes = write(&report, report.packets_sent > sent, &mut memory, &cname, wall_clock(), false);
                    sent = report.packets_sent;
                    send(&socket, &bytes, &mut control, target).await;
                }
            }
            received = socket.recv_from(&mut buffer) => {
                let Ok((len, from)) = received else { continue };
                let report = *reports.borrow();
                // Only from the host that is signalled or that the leg's audio comes from.
                let known = from.ip() == target.ip()
                    || report.and_then(|r| r.locked).is_some_and(|l| l.ip() == from.ip());
                let ours = report.map(|r| r.ssrc).unwrap_or_default();
                let opened = match &mut control {
                    Some(Control { opener, .. }) if known => opener.open(&mut buffer[..len]).map_err(|_| RtcpFault),
                    Some(_) => Err(RtcpFault),
                    None => Ok(len),
                };
                match opened.and_then(|len| read(&buffer[..len], ours)) {
                    Ok(said) if known => {
                        if !symmetric {
                            (target, symmetric) = (from, true);
                        }
                        take(said, &mut memory, &mut remote);
                    }
                    _ => remote.dropped += 1,
                }
                heard.send_replace(remote);
            }
        }
    }
    let report = *reports.borrow();
    if let Some(report) = report {
        let bytes = write(&report, true, &mut memory, &cname, wall_clock(), true);
        send(&socket, &bytes, &mut control, target).await;
    }
}

/// Sends a compound packet, encrypted where that was agreed on. A peer without RTCP answers with ICMP; that is its right.
async fn send(socket: &UdpSocket, packet: &[u8], control: &mut Option<Control>, target: SocketAddr) {
    let Some(Control { protector, .. }) = control else {
        let _ = socket.send_to(packet, target).await;
        return;
    };
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + GROWTH, 0);
    if let Some(len) = protector.protect(&mut buffer, packet.len()) {
        let _ = socket.send_to(&buffer[..len], target).await;
    }
}

fn take(said: Heard, memory: &mut Memory, remote: &mut Remote) {
    let now = wall_clock();
    if let Some(middle) = said.sender_report {
        memory.sender_report(middle, now);
    }
    if let Some(about) = said.about_us {
        remote.fraction_lost = about.fraction_lost;
        remote.jitter = about.jitter;
        if about.lsr != 0 {
            // RFC 3550 §6.4.1: now − LSR − DLSR, in 1/65536 s; nonsense comes out as more than a minute.
            let units = ((ntp(now) >> 16) as u32).wrapping_sub(about.lsr).wrapping_sub(about.dlsr);
            if units < 60 << 16 {
                remote.round_trip = Some(Duration::from_micros(u64::from(units) * 1_000_000 / 65_536));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::leg::{Leg, LegSetup};
    use crate::units::{LegId, PayloadType, Ssrc};

    fn socket() -> std::net::UdpSocket {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn leg_report() -> Report {
        let setup = LegSetup::plain(LegId(1), Codec::Pcmu, PayloadType(0), ([127, 0, 0, 1], 9).into());
        let mut leg = Leg::new(setup, None, wall_clock()).unwrap();
        leg.packetise(&mut [0xff; 172], |_, _| {});
        leg.report(wall_clock())
    }

    async fn report_to_each_other(mut controls: impl Iterator<Item = Control>) {
        let (a, b) = (socket(), socket());
        let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        let (report_a, mut report_b) = (leg_report(), leg_report());
        report_b.block = Some(crate::reception::Block {
            ssrc: report_a.ssrc,
            expected: 4,
            received: 3,
            highest: 4,
            jitter: 1,
        });
        let mut a = Session::new(Handle::current(), a, at_b, controls.next());
        let mut b = Session::new(Handle::current(), b, at_a, controls.next());
        a.report(report_a).unwrap();
        b.report(report_b).unwrap();
        let mut heard = a.heard.subscribe();
        heard.wait_for(|r| r.jitter == 1 && r.round_trip.is_some()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn two_sessions_report_to_each_other_and_measure_the_round_trip() {
        report_to_each_other(std::iter::empty()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn two_encrypted_sessions_do_so_as_well() {
        let keys = MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap();
        let suite = crate::srtp::Suite::Gcm256;
        let [one, other] = [0, 1].map(|_| keys.random(suite.master()).unwrap());
        let secures = [(one, other), (other, one)].map(|(ours, theirs)| Secure { suite, ours, theirs });
        report_to_each_other(secures.iter().map(|s| Control::new(s, &keys).unwrap())).await;
    }

    #[tokio::test]
    async fn a_stranger_is_not_heard_and_the_end_says_goodbye() {
        let own = socket();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = own.local_addr().unwrap();
        let mut session = Session::new(Handle::current(), own, peer.local_addr().unwrap(), None);
        let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        session.report(leg_report()).unwrap();
        let report = write(&leg_report(), true, &mut Memory::default(), "x", wall_clock(), false);
        stranger.send_to(&report, at).await.unwrap();
        session.heard.subscribe().wait_for(|r| r.dropped == 1).await.unwrap();
        drop(session);
        let mut buffer = [0; LARGEST];
        let len = peer.recv(&mut buffer).await.unwrap();
        assert!(read(&buffer[..len], Ssrc(0)).unwrap().goodbye);
    }
}
