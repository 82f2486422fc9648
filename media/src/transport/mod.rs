//! What goes with a leg's sound and is no work for the real-time thread: RTCP both ways, its peer's ICE checks, its DTLS.
//!
//! One task a leg does all of it. It begins with the leg's first figures, so that a call of a second costs none; at once, where somebody
//! waits for answers (ICE, DTLS). What comes to the leg's RTP port and is no RTP it gets from the shard, by way of the engine ([`Parcel`]).

mod task;

use crate::dtls::{Dtls, DtlsFault};
use crate::leg::{LegSetup, Protection, Report};
use crate::rtcp::Voip;
use crate::units::{LegId, Nanos};
use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;
use task::Task;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use vault::MediaKeys;

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
    fn keys(&self, leg: LegId, keys: Box<Option<Protection>>);
    /// The leg's packets go there from now on.
    fn nominate(&self, leg: LegId, to: SocketAddr);
    /// There will be no keys.
    fn unprotected(&self, leg: LegId, why: DtlsFault);
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
        setup: LegSetup,
        sockets: Sockets,
        remote: SocketAddr,
    ) -> std::io::Result<Self> {
        let (news, is_new) = mpsc::unbounded_channel();
        let (reports, _) = watch::channel(None);
        let (heard, _) = watch::channel(Remote::default());
        let waiting = Some(Box::new(Waiting { setup, sockets, remote, lines, news: is_new }));
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

#[cfg(test)]
mod tests;
