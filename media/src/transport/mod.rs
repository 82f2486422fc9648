//! What goes with a leg's sound and is no work for the real-time thread: RTCP both ways, its peer's ICE checks, its DTLS.
//!
//! One task a leg does all of it. It begins with the leg's first figures, so that a call of a second costs none; at once, where somebody
//! waits for answers (ICE, DTLS). What comes to the leg's RTP port and is no RTP it gets from the shard, by way of the engine ([`Parcel`]).

use crate::dtls::{Agreed, Dtls, DtlsFault, Line, Opening, Role};
use crate::ice::Lite;
use crate::leg::{LegSetup, Protection, Report, Secure, Security};
use crate::rtcp::{Heard, LARGEST, Memory, RtcpFault, Voip, ntp, random_cname, read, write};
use crate::rtp::Kind;
use crate::srtp::{ControlOpener, ControlProtector, GROWTH};
use crate::units::{LegId, Nanos, RoomId, Ssrc};
use rand::RngExt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
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
const SOON: Duration = Duration::from_millis(300);
/// Datagrams that are taken at once from the RTCP port.
const BURST: usize = 8;
/// Parcels that wait for a leg's task at most.
const PARCELS: usize = 64;

/// What the peer's reports say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Remote {
    /// Loss of our stream as the peer sees it, 256ths.
    pub fraction_lost: u8,
    /// Jitter of our stream as the peer sees it, clock units.
    pub jitter: u32,
    /// Round-trip time.
    pub round_trip: Option<Duration>,
    /// How the peer says that it hears us, if it does.
    pub voip: Option<Voip>,
    /// When a report last came, on the clock of [`Report::at`].
    pub last: Option<Nanos>,
    /// Datagrams that were no RTCP or came from elsewhere.
    pub dropped: u64,
}

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

/// A datagram for a leg's task.
#[derive(Debug)]
pub struct Parcel {
    /// From where.
    pub from: SocketAddr,
    /// The datagram.
    pub bytes: Box<[u8]>,
}

/// What a leg's task needs of the engine. All of it may be gone by the time it is asked for.
pub trait Lines: Send + Sync + std::fmt::Debug {
    /// The leg has keys from now on.
    fn keys(&self, room: RoomId, leg: LegId, keys: Box<Option<Protection>>);
    /// The leg's packets go there from now on.
    fn nominate(&self, room: RoomId, leg: LegId, to: SocketAddr);
    /// There will be no keys.
    fn unprotected(&self, room: RoomId, leg: LegId, why: DtlsFault);
    /// Whoever comes to the leg's RTP port, beside RTP, is for this task; `None`: nobody is any more.
    fn register(&self, leg: LegId, to: Option<mpsc::Sender<Parcel>>);
    /// The thread that makes handshakes.
    fn dtls(&self) -> Option<&Dtls>;
    /// What opens keys.
    fn media_keys(&self) -> Option<&MediaKeys>;
}

/// A leg's sockets, as its task needs them.
#[derive(Debug)]
pub struct Sockets {
    /// RTP's, which the shard reads, where more than RTP goes by it.
    pub rtp: Option<std::net::UdpSocket>,
    /// RTCP's, non-blocking.
    pub rtcp: std::net::UdpSocket,
}

enum News {
    /// RTCP goes there.
    Remote(SocketAddr),
    /// New signalling.
    Setup(Box<LegSetup>),
}

/// One leg's. Dropping it says goodbye.
#[derive(Debug)]
pub struct Transport {
    reports: watch::Sender<Option<Report>>,
    heard: watch::Sender<Remote>,
    news: mpsc::UnboundedSender<News>,
    runtime: Handle,
    waiting: Option<Box<Waiting>>,
}

/// What a task begins with.
struct Waiting {
    room: RoomId,
    setup: LegSetup,
    sockets: Sockets,
    remote: SocketAddr,
    lines: Weak<dyn Lines>,
    news: mpsc::UnboundedReceiver<News>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting(..)")
    }
}

impl Transport {
    /// A leg's task, which will run on `runtime`. `remote` is the peer's RTCP address from its SDP.
    ///
    /// # Errors
    /// A socket cannot be watched.
    pub fn new(
        runtime: Handle,
        lines: Weak<dyn Lines>,
        room: RoomId,
        setup: LegSetup,
        sockets: Sockets,
        remote: SocketAddr,
    ) -> std::io::Result<Self> {
        let (news, is_new) = mpsc::unbounded_channel();
        let (reports, _) = watch::channel(None);
        let (heard, _) = watch::channel(Remote::default());
        let waiting = Some(Box::new(Waiting { room, setup, sockets, remote, lines, news: is_new }));
        let mut transport = Self { reports, heard, news, runtime, waiting };
        if setup.has_asides() {
            transport.begin()?;
        }
        Ok(transport)
    }

    fn begin(&mut self) -> std::io::Result<()> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        let _inside = self.runtime.enter();
        let task = Task::new(*waiting, self.reports.subscribe(), self.heard.clone())?;
        self.runtime.spawn(Box::new(task).run());
        Ok(())
    }

    /// Gives the leg's newest figures.
    ///
    /// # Errors
    /// The socket cannot be watched (with the first figures only).
    pub fn report(&mut self, report: Report) -> std::io::Result<()> {
        self.reports.send_replace(Some(report));
        self.begin()
    }

    /// New signalling. What the leg began without it does not get: ICE, DTLS, one port for all.
    pub fn change(&self, setup: LegSetup, remote: Option<SocketAddr>) {
        // The task ends with this.
        let _ = self.news.send(News::Setup(Box::new(setup)));
        if let Some(remote) = remote {
            let _ = self.news.send(News::Remote(remote));
        }
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

struct Task {
    room: RoomId,
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
    fn new(
        waiting: Waiting,
        reports: watch::Receiver<Option<Report>>,
        heard: watch::Sender<Remote>,
    ) -> std::io::Result<Self> {
        let Waiting { room, setup, sockets, remote, lines, news } = waiting;
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
            room,
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
    async fn run(mut self: Box<Self>) {
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
            return lines.unprotected(self.room, self.setup.id, DtlsFault::NoMemory);
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
            lines.nominate(self.room, self.setup.id, to);
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
                lines.keys(self.room, self.setup.id, Box::new(Some(protection)));
            }
            if self.setup.mux || matches!(line, Line::Rtcp(_)) {
                self.control = Some(Control::new(&secure, keys).map_err(|_| DtlsFault::NoMemory)?);
            }
            Ok(())
        });
        if let Err(why) = agreed {
            lines.unprotected(self.room, self.setup.id, why);
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
            Some(Control { opener, .. }) if known => opener.open(datagram).map_err(|_| RtcpFault),
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
                let Some(len) = protector.protect(&mut packet, bytes.len()) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::leg::Leg;
    use crate::units::PayloadType;

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

    /// An engine with nothing but keys.
    #[derive(Debug, Default)]
    struct Nobody(Option<MediaKeys>);

    impl Lines for Nobody {
        fn keys(&self, _: RoomId, _: LegId, _: Box<Option<Protection>>) {}
        fn nominate(&self, _: RoomId, _: LegId, _: SocketAddr) {}
        fn unprotected(&self, _: RoomId, _: LegId, _: DtlsFault) {}
        fn register(&self, _: LegId, _: Option<mpsc::Sender<Parcel>>) {}
        fn dtls(&self) -> Option<&Dtls> {
            None
        }
        fn media_keys(&self) -> Option<&MediaKeys> {
            self.0.as_ref()
        }
    }

    fn transport(
        lines: &Arc<Nobody>,
        rtcp: std::net::UdpSocket,
        remote: SocketAddr,
        security: Security,
    ) -> Transport {
        let plain = LegSetup::plain(LegId(1), Codec::Pcmu, PayloadType(0), ([127, 0, 0, 1], 9).into());
        let lines: Arc<dyn Lines> = lines.clone();
        let (lines, setup) = (Arc::downgrade(&lines), LegSetup { security, ..plain });
        let sockets = Sockets { rtp: None, rtcp };
        Transport::new(Handle::current(), lines, RoomId(1), setup, sockets, remote).unwrap()
    }

    async fn report_to_each_other(lines: Nobody, mut security: impl Iterator<Item = Security>) {
        let lines = Arc::new(lines);
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
        let mut a = transport(&lines, a, at_b, security.next().unwrap());
        let mut b = transport(&lines, b, at_a, security.next().unwrap());
        a.report(report_a).unwrap();
        b.report(report_b).unwrap();
        let mut heard = a.heard.subscribe();
        heard.wait_for(|r| r.jitter == 1 && r.round_trip.is_some()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn two_sessions_report_to_each_other_and_measure_the_round_trip() {
        report_to_each_other(Nobody::default(), std::iter::repeat(Security::None)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn two_encrypted_sessions_do_so_as_well() {
        let keys = MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap();
        let suite = crate::srtp::Suite::Gcm256;
        let [one, other] = [0, 1].map(|_| keys.random(suite.master()).unwrap());
        let secures = [(one, other), (other, one)].map(|(ours, theirs)| Secure { suite, ours, theirs });
        report_to_each_other(Nobody(Some(keys)), secures.into_iter().map(Security::Keys)).await;
    }

    #[tokio::test]
    async fn a_stranger_is_not_heard_and_the_end_says_goodbye() {
        let own = socket();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = own.local_addr().unwrap();
        let lines = Arc::default();
        let mut session = transport(&lines, own, peer.local_addr().unwrap(), Security::None);
        let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        session.report(leg_report()).unwrap();
        let report = write(&leg_report(), true, &mut Memory::default(), "x", wall_clock(), None, false);
        stranger.send_to(&report, at).await.unwrap();
        session.heard.subscribe().wait_for(|r| r.dropped == 1).await.unwrap();
        drop(session);
        let mut buffer = [0; LARGEST];
        let len = peer.recv(&mut buffer).await.unwrap();
        assert!(read(&buffer[..len], Ssrc(0)).unwrap().goodbye);
    }
}
