//! What a worker is told to do, and the handle by which it is told.

use super::{Counters, Protocol, TransportError};
use crate::endpoint::{CallId, SubscriptionId};
use crate::message::auth::Credentials;
use crate::message::{Callee, NotDialled, Reader, ReplyExtras, TrunkId};
use crate::sdp::LocalAudio;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a user of the worker wants.
#[derive(Debug)]
pub enum Command {
    /// See [`Endpoint::progress`].
    Progress(CallId, u16, Option<(SocketAddr, LocalAudio)>),
    /// See [`Endpoint::accept`].
    Accept(CallId, SocketAddr, LocalAudio, ReplyExtras),
    /// See [`Endpoint::reject`].
    Reject(CallId, u16, ReplyExtras),
    /// See [`Endpoint::hangup`].
    Hangup(CallId),
    /// See [`Endpoint::invite`].
    Invite(Box<NewCall>),
    /// Whether a number may be dialled.
    Judge(Arc<Callee>, oneshot::Sender<Result<(), NotDialled>>),
    /// Asks whether a trunk's other end is there: OPTIONS (RFC 3261 §11). Tells the status of its answer; `None`: there was none.
    Ping(Destination, TrunkId, oneshot::Sender<Option<u16>>),
    /// See [`Endpoint::modify`].
    Modify(CallId, SocketAddr, LocalAudio),
    /// See [`Endpoint::subscribed`].
    Subscribed(SubscriptionId, Result<(), u16>),
    /// See [`Endpoint::notify`].
    Notify(SubscriptionId, Arc<str>),
    /// See [`Endpoint::end_subscription`].
    EndSubscription(SubscriptionId),
    /// See [`Endpoint::referred`].
    Referred(CallId, u32, Result<(), u16>),
    /// See [`Endpoint::refer_progress`].
    ReferProgress(CallId, u32, u16),
    /// See [`Endpoint::set_available`].
    Available(bool),
    /// Takes certificates and keys from their files again; what cannot be used changes nothing. Sessions that are open go on.
    ReloadTls(oneshot::Sender<Result<(), TransportError>>),
}

/// Where requests outside of a dialog go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Protocol and address.
    pub to: (Protocol, SocketAddr),
    /// The host, as a URI has it: a name or an address, with a port where that is not the usual one.
    pub host: String,
    /// The name that its certificate must be for.
    pub name: Option<String>,
}

/// Who is called.
pub enum Whom {
    /// An address, given with our own on the command line of a test phone: Request-URI, and From value without tag.
    Address(String, String),
    /// A number, by the rules of the trunk. [`Cause::NotMade`](crate::Cause) when they do not allow it.
    Number(Arc<Callee>),
}

/// A call to be made.
pub struct NewCall {
    /// Its number: [`Handle::new_call`].
    pub id: CallId,
    /// Where the INVITE goes.
    pub to: Destination,
    /// Who is called.
    pub whom: Whom,
    /// Where we receive RTP.
    pub rtp: SocketAddr,
    /// What we offer.
    pub audio: LocalAudio,
    /// `Privacy: id`.
    pub privacy_id: bool,
    /// The trunk that it goes over.
    pub trunk: TrunkId,
    /// What we prove when we are asked.
    pub credentials: Option<Credentials>,
    /// Redirections that are followed.
    pub redirects: u8,
    /// Without any response after this the call has failed.
    pub silence: Option<Duration>,
    /// Without an answer after this it is cancelled.
    pub ring: Option<Duration>,
}

impl std::fmt::Debug for NewCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewCall(..)")
    }
}

/// The worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SIP worker has ended")]
pub struct Stopped;

/// A running worker. Dropping the last clone ends it.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) counters: Arc<Counters>,
    pub(super) reader: Arc<Reader>,
    pub(super) listening: Vec<(Protocol, SocketAddr)>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) calls: Arc<AtomicU64>,
}

/// A handle that does not keep the worker: for who only answers to its events.
#[derive(Debug, Clone)]
pub struct WeakHandle(mpsc::WeakUnboundedSender<Command>);

impl WeakHandle {
    /// Gives a command.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.0.upgrade().ok_or(Stopped)?.send(command).map_err(|_| Stopped)
    }
}

/// Numbers of calls that we make begin here; peers' calls are counted from 1.
const OURS: u64 = 1 << 63;

impl Handle {
    /// Gives a command.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).map_err(|_| Stopped)
    }

    /// The same without keeping the worker.
    pub fn downgrade(&self) -> WeakHandle {
        WeakHandle(self.commands.downgrade())
    }

    /// A number for a call to be made.
    pub fn new_call(&self) -> CallId {
        CallId(OURS | self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// Its counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Waits until there is no call.
    pub async fn no_calls(&self) {
        loop {
            let emptied = self.counters.emptied.notified();
            tokio::pin!(emptied);
            // From here on it is noticed, and so not missed between the look and the wait.
            emptied.as_mut().enable();
            if self.counters.calls.load(Ordering::Relaxed) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Its reader, whose key sealed what its events carry.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The worker's own runtime, of one thread: what runs here gets events and gives commands without a hop between threads, and must
    /// not keep the worker waiting.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// Where it listens; ports that were 0 are the real ones.
    pub fn listening(&self) -> &[(Protocol, SocketAddr)] {
        &self.listening
    }
}
