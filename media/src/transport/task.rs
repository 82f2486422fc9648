//! A leg's task: what wakes it, and what it does then.

use super::{Lines, News, PARCELS, Parcel, Remote, Waiting};
use crate::dtls::{Agreed, DtlsFault, Line, Opening, Role};
use crate::ice::Lite;
use crate::leg::{LegSetup, Protection, Report, Secure, Security};
use crate::rtcp::{Heard, LARGEST, Memory, RtcpFault, ntp, random_cname, read, write};
use crate::rtp::Kind;
use crate::srtp::{ControlOpener, ControlProtector, GROWTH};
use crate::units::{Nanos, Ssrc};
use rand::RngExt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use vault::media::wipe_registers;
use vault::{MediaKeys, PlaceError};

/// The mean time between two reports (RFC 3550 §6.2: at least 5 s).
const INTERVAL: Duration = Duration::from_secs(5);
/// The first one comes after half of that, so that round-trip time is known early.
const FIRST: Duration = Duration::from_millis(2500);
const SOON: Duration = Duration::from_millis(300);
/// Datagrams that are taken at once from the RTCP port.
const BURST: usize = 8;

/// SRTCP both ways.
#[derive(Debug)]
struct Control {
    protector: ControlProtector,
    opener: ControlOpener,
}

impl Control {
    fn new(secure: &Secure, keys: &MediaKeys) -> Result<Self, PlaceError> {
        let protector = ControlProtector::new(keys, &secure.ours, secure.suite)?;
        Ok(Self { protector, opener: ControlOpener::new(keys, &secure.theirs, secure.suite)? })
    }
}

pub(super) fn wall_clock() -> Nanos {
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

/// One leg's.
pub(super) struct Task {
    setup: LegSetup,
    lines: Weak<dyn Lines>,
    news: mpsc::UnboundedReceiver<News>,
    reports: watch::Receiver<Option<Report>>,
    heard: watch::Sender<Remote>,
    rtcp: Arc<UdpSocket>,
    /// Clones of the sockets, for who sends without waiting.
    rtp: Option<Arc<std::net::UdpSocket>>,
    own: Option<Arc<std::net::UdpSocket>>,
    parcels: Option<mpsc::Receiver<Parcel>>,
    /// What becomes of handshakes, once one was begun: a channel takes kilobytes.
    handshakes: Option<(mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>)>,
    /// Whose handshakes were begun.
    lines_open: [Option<Line>; 2],
    ice: Option<Lite>,
    control: Option<Control>,
    cname: String,
    memory: Memory,
    sent: u64,
    target: SocketAddr,
    symmetric: bool,
    remote: Remote,
}

type Done = Result<Agreed, DtlsFault>;

impl Task {
    pub(super) fn new(
        waiting: Waiting,
        reports: watch::Receiver<Option<Report>>,
        heard: watch::Sender<Remote>,
    ) -> std::io::Result<Self> {
        let Waiting { setup, sockets, remote, lines, news } = waiting;
        let own = match setup.security {
            Security::Dtls { .. } if !setup.mux => Some(Arc::new(sockets.rtcp.try_clone()?)),
            _ => None,
        };
        let mut parcels = None;
        if let (true, Some(lines)) = (sockets.rtp.is_some(), lines.upgrade()) {
            let (give, take) = mpsc::channel(PARCELS);
            lines.register(setup.id, Some(give));
            parcels = Some(take);
        }
        let mut task = Self {
            setup,
            lines,
            news,
            reports,
            heard,
            rtcp: Arc::new(UdpSocket::from_std(sockets.rtcp)?),
            rtp: sockets.rtp.map(Arc::new),
            own,
            parcels,
            handshakes: None,
            lines_open: [None; 2],
            ice: setup.ice.as_ref().map(Lite::new),
            control: None,
            cname: random_cname(),
            memory: Memory::default(),
            sent: 0,
            target: remote,
            symmetric: false,
            remote: Remote::default(),
        };
        if setup.mux && setup.ice.is_none() {
            task.target = setup.remote;
        }
        task.secure();
        Ok(task)
    }

    /// Boxed: it would lie in its future twice.
    pub(super) async fn run(mut self: Box<Self>) {
        let mut next = on_grid(Instant::now() + FIRST);
        loop {
            let Self { news, parcels, handshakes, rtcp, .. } = &mut *self;
            let parcel = async {
                match parcels {
                    Some(parcels) => parcels.recv().await,
                    None => std::future::pending().await,
                }
            };
            let done = async {
                match handshakes {
                    Some((_, done)) => done.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Ends with the leg.
                new = news.recv() => match new {
                    Some(News::Remote(remote)) if self.setup.ice.is_none() => {
                        if self.target != remote {
                            (self.target, self.symmetric) = (remote, false);
                        }
                    }
                    Some(News::Remote(_)) => {}
                    Some(News::Setup(setup)) => self.change(*setup),
                    None => break,
                },
                () = tokio::time::sleep_until(next) => {
                    // RFC 3550 §6.3.1: randomised over half to one and a half of the interval.
                    let usual = INTERVAL.mul_f64(rand::rng().random_range(0.5..1.5));
                    // Who began before the leg's first figures waits for those.
                    let wait = if self.reports.borrow().is_some() { usual } else { SOON };
                    next = on_grid(Instant::now() + wait);
                    self.send_report(false).await;
                }
                _ = rtcp.readable() => self.receive(),
                Some(Parcel { from, mut bytes }) = parcel => match Kind::of(&bytes) {
                    Kind::Stun => self.check(from, &bytes),
                    Kind::Dtls => self.to_dtls(Line::Rtp(self.setup.id), from, &bytes),
                    Kind::Rtcp if self.setup.mux => self.take_rtcp(from, &mut bytes),
                    _ => {}
                },
                Some(done) = done => self.agreed(done),
            }
        }
        self.send_report(true).await;
        if let Some(lines) = self.lines.upgrade() {
            lines.register(self.setup.id, None);
            self.close(&*lines);
        }
    }

    /// Begins what the setup's security needs.
    fn secure(&mut self) {
        let Some(lines) = self.lines.upgrade() else { return };
        match self.setup.security {
            Security::None => self.control = None,
            Security::Keys(secure) => {
                self.control = lines.media_keys().and_then(|keys| Control::new(&secure, keys).ok());
            }
            Security::Dtls { role, .. } => {
                self.control = None;
                // Who begins must know where the other is.
                if role == Role::Server || self.ice.is_none() {
                    self.open(&*lines);
                }
            }
        }
    }

    /// Has the handshakes made: one for each port.
    fn open(&mut self, lines: &dyn Lines) {
        let Security::Dtls { role, theirs } = self.setup.security else { return };
        let (Some(dtls), Some(rtp)) = (lines.dtls(), &self.rtp) else {
            return lines.unprotected(self.setup.id, DtlsFault::NoMemory);
        };
        let (tell, _) = self.handshakes.get_or_insert_with(mpsc::unbounded_channel);
        let opening = |socket: &Arc<std::net::UdpSocket>, to| Opening {
            role,
            theirs,
            socket: socket.clone(),
            to,
            done: tell.clone(),
        };
        let nominated = self.ice.as_ref().and_then(Lite::nominated);
        let id = self.setup.id;
        dtls.open(Line::Rtp(id), opening(rtp, nominated.unwrap_or(self.setup.remote)));
        self.lines_open[0] = Some(Line::Rtp(id));
        if let Some(own) = &self.own {
            dtls.open(Line::Rtcp(id), opening(own, self.target));
            self.lines_open[1] = Some(Line::Rtcp(id));
        }
    }

    fn close(&mut self, lines: &dyn Lines) {
        for line in self.lines_open.iter_mut().filter_map(Option::take) {
            if let Some(dtls) = lines.dtls() {
                dtls.close(line);
            }
        }
    }

    fn change(&mut self, setup: LegSetup) {
        let before = std::mem::replace(&mut self.setup, setup);
        if let (Some(ours), true) = (&setup.ice, before.ice != setup.ice) {
            // The peer has begun anew (RFC 8445 §9). What it sends meanwhile comes by the old way.
            self.ice = Some(Lite::new(ours));
        }
        if before.security != setup.security {
            if let Some(lines) = self.lines.upgrade() {
                self.close(&*lines);
            }
            self.secure();
        }
    }

    /// Takes what came to the RTCP port. Its buffer lies on the stack: each leg's would stay.
    fn receive(&mut self) {
        let mut buffer = [0u8; LARGEST + 1];
        for _ in 0..BURST {
            // An error of an earlier datagram (ICMP) is none of ours.
            let (len, from) = match self.rtcp.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            let datagram = &mut buffer[..len];
            match Kind::of(datagram) {
                Kind::Dtls => self.to_dtls(Line::Rtcp(self.setup.id), from, datagram),
                _ => self.take_rtcp(from, datagram),
            }
        }
    }

    /// A check of the peer's.
    fn check(&mut self, from: SocketAddr, datagram: &[u8]) {
        let (Some(ice), Some(rtp), Some(lines)) = (&mut self.ice, &self.rtp, self.lines.upgrade()) else {
            return;
        };
        let Some(checked) = ice.check(from, datagram) else { return };
        // What the network does not take is asked for again.
        let _ = rtp.send_to(checked.answer(), from);
        if let Some(to) = checked.nominated {
            self.target = to;
            lines.nominate(self.setup.id, to);
            let begins = matches!(self.setup.security, Security::Dtls { role: Role::Client, .. });
            if begins && self.lines_open[0].is_none() {
                self.open(&*lines);
            }
        }
    }

    fn to_dtls(&self, line: Line, from: SocketAddr, datagram: &[u8]) {
        // With ICE, only from where its checks came.
        if self.ice.as_ref().is_some_and(|ice| !ice.is_valid(from)) {
            return;
        }
        if let Some(lines) = self.lines.upgrade()
            && let Some(dtls) = lines.dtls()
        {
            dtls.packet(line, from, datagram);
        }
    }

    /// Keys, or none.
    fn agreed(&mut self, done: Done) {
        let Some(lines) = self.lines.upgrade() else { return };
        let agreed = done.and_then(|Agreed { line, suite, ours, theirs }| {
            let secure = Secure { suite, ours, theirs };
            let keys = lines.media_keys().ok_or(DtlsFault::NoMemory)?;
            if matches!(line, Line::Rtp(_)) {
                let protection = Protection::new(&secure, keys).map_err(|_| DtlsFault::NoMemory)?;
                lines.keys(self.setup.id, Box::new(Some(protection)));
            }
            if self.setup.mux || matches!(line, Line::Rtcp(_)) {
                self.control = Some(Control::new(&secure, keys).map_err(|_| DtlsFault::NoMemory)?);
            }
            Ok(())
        });
        if let Err(why) = agreed {
            lines.unprotected(self.setup.id, why);
        }
    }

    /// RTCP that came.
    fn take_rtcp(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        let report = *self.reports.borrow();
        // Only from the host that is signalled or that the leg's audio comes from.
        let known = from.ip() == self.target.ip()
            || self.ice.as_ref().is_some_and(|ice| ice.is_valid(from))
            || report.and_then(|r| r.locked).is_some_and(|l| l.ip() == from.ip());
        let ours = report.map_or(Ssrc(0), |r| r.ssrc);
        let opened = match &mut self.control {
            Some(Control { opener, .. }) if known => {
                let opened = opener.open(datagram).map_err(|_| RtcpFault);
                wipe_registers();
                opened
            }
            Some(_) => Err(RtcpFault),
            None if self.setup.security != Security::None => Err(RtcpFault),
            None => Ok(datagram.len()),
        };
        match opened.and_then(|len| read(&datagram[..len], ours)) {
            Ok(said) if known => {
                if !self.symmetric && self.ice.is_none() {
                    (self.target, self.symmetric) = (from, true);
                }
                take(said, &mut self.memory, &mut self.remote);
            }
            _ => self.remote.dropped += 1,
        }
        self.heard.send_replace(self.remote);
    }

    /// Sends a report, encrypted where that was agreed on. A peer without RTCP answers with ICMP; that is its right.
    async fn send_report(&mut self, bye: bool) {
        let Some(report) = *self.reports.borrow() else { return };
        let sender = bye || report.packets_sent > self.sent;
        let bytes =
            write(&report, sender, &mut self.memory, &self.cname, wall_clock(), self.remote.round_trip, bye);
        self.sent = report.packets_sent;
        let mut packet = bytes.to_vec();
        match &mut self.control {
            None if self.setup.security != Security::None => return,
            None => {}
            Some(Control { protector, .. }) => {
                packet.resize(bytes.len() + GROWTH, 0);
                let protected = protector.protect(&mut packet, bytes.len());
                // This thread goes on to other things with what its registers hold.
                wipe_registers();
                let Some(len) = protected else { return };
                packet.truncate(len);
            }
        }
        match (&self.rtp, self.setup.mux) {
            (Some(rtp), true) => drop(rtp.send_to(&packet, self.target)),
            _ => drop(self.rtcp.send_to(&packet, self.target).await),
        }
    }
}

fn take(said: Heard, memory: &mut Memory, remote: &mut Remote) {
    let now = wall_clock();
    remote.last = Some(now);
    if let Some(middle) = said.sender_report {
        memory.sender_report(middle, now);
    }
    remote.voip = said.voip.or(remote.voip);
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
