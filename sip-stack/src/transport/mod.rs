//! Sockets: UDP and TCP on tokio, one thread with its own region.
//!
//! A packet is received straight into the region, read there, and answered from there: no ordinary buffer ever
//! holds its text. A stream's partial message stays in the kernel until it is whole ([`tcp`]).

mod command;
mod framing;
mod layers;
mod outgoing;
mod tcp;
mod tls;
mod web;
mod worker;

pub use command::{Command, Destination, Handle, NewCall, Stopped, WeakHandle, Whom};
pub use framing::{Frame, scan};
pub use tls::TlsFault;
pub use worker::start;

use crate::endpoint::{Limits, TrunkLimits};
pub use crate::message::Protocol;
use crate::message::{TrunkId, Withhold};
use crate::transaction::Times;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is believed of a known source.
#[derive(Debug, Clone, Copy)]
pub struct Admission {
    /// Which trunk it is.
    pub trunk: TrunkId,
    /// Whether it is trusted to assert identity (RFC 3325).
    pub trusted: bool,
    /// What its callers withhold unless they ask otherwise.
    pub withhold: Withhold,
}

/// Who may talk to us: called with each packet's source before anything of it is read.
pub type Admit = dyn Fn(IpAddr) -> Option<Admission> + Send + Sync;

/// Files in PEM form, for TLS.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Our chain, our own certificate first, and its private key: for who listens, and for who must prove their name.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Authorities of our peers' certificates, for mutual TLS.
    pub client_ca: Option<PathBuf>,
    /// Authorities of those whom we call.
    pub trusted: Option<PathBuf>,
}

/// How to listen.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners.
    pub listen: Vec<(Protocol, SocketAddr)>,
    /// Our address as peers see it, if it is not the listener's.
    pub external: Option<IpAddr>,
    /// Mark of our packets (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Certificates and keys, for TLS.
    pub tls: Option<TlsFiles>,
    /// Bounds.
    pub limits: Limits,
    /// Bounds of each trunk, by its number.
    pub trunk_limits: Vec<TrunkLimits>,
    /// Timers.
    pub times: Times,
    /// Streams at once, in all and per source address.
    pub streams: (usize, usize),
    /// A stream's message must be whole this long after its first byte.
    pub message_time: Duration,
    /// A stream without a message and without a call is closed after this.
    pub idle_time: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            external: None,
            dscp: 0,
            tls: None,
            limits: Limits::default(),
            trunk_limits: Vec::new(),
            times: Times::default(),
            streams: (4096, 256),
            message_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(600),
        }
    }
}

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// A listener could not be opened.
    #[error("cannot listen on {protocol}://{address}: {error}", protocol = .0.as_str(), address = .1, error = .2)]
    Listen(Protocol, SocketAddr, std::io::Error),
    /// The worker's thread or runtime could not be made.
    #[error("SIP worker: {0}")]
    Worker(#[from] std::io::Error),
    /// A file of certificates or keys could not be read.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(TlsFault),
    /// No protected memory for its region.
    #[error(transparent)]
    Vault(#[from] vault::VaultError),
}

/// Counters that anybody may read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams and frames received from known sources.
    pub received: AtomicU64,
    /// Messages sent.
    pub sent: AtomicU64,
    /// Datagrams and connections from unknown sources: dropped unread.
    pub unknown_source: AtomicU64,
    /// Messages dropped because there was nothing to answer.
    pub malformed: AtomicU64,
    /// Messages refused by the region: too large for it, or a caught panic.
    pub region_faults: AtomicU64,
    /// Messages that the kernel did not take, or that could not be composed.
    pub send_errors: AtomicU64,
    /// Streams refused for their number, or closed for bad framing or slowness.
    pub streams_refused: AtomicU64,
    /// Streams open now.
    pub streams: AtomicU64,
    /// Requests read.
    pub requests: AtomicU64,
    /// Repeated requests.
    pub repeats: AtomicU64,
    /// Requests answered with 4xx to 6xx.
    pub refused: AtomicU64,
    /// Requests whose credentials were missing or wrong.
    pub unauthorised: AtomicU64,
    /// Requests of sources that were wrong too often: dropped.
    pub locked_out: AtomicU64,
    /// INVITEs beyond their trunk's limits.
    pub over_limit: AtomicU64,
    /// Calls now.
    pub calls: AtomicU64,
    /// Subscriptions now.
    pub subscriptions: AtomicU64,
    /// Transactions kept now.
    pub transactions: AtomicU64,
    /// Told when the last call has ended.
    emptied: tokio::sync::Notify,
}

impl Counters {
    fn set_calls(&self, now: u64) {
        if self.calls.swap(now, Ordering::Relaxed) > 0 && now == 0 {
            self.emptied.notify_waiters();
        }
    }
}
