//! DTLS-SRTP (RFC 5763, RFC 5764): keys of a leg's media, agreed on over its own port.
//!
//! Handshakes are no work for the real-time threads, nor for those that signal: one thread makes them all, in a region of its own. Its
//! sessions, our certificate's key and what is exported lie in secret pages; what comes out is two sealed master keys. A session is made when its
//! peer's first packet is here, and is thrown away a few seconds after it has given its keys, when nobody can want its last flight again.

mod session;
mod worker;

use crate::units::LegId;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::mpsc::UnboundedSender;
use vault::{Fingerprint, MasterKey, MediaKeys, Suite, VaultError};
use worker::Worker;

/// Orders that wait for the thread at most. What comes then is lost, as packets may be; its sender sends it again.
const ORDERS: usize = 1024;

/// Who begins the handshake (RFC 4145 §4: `active`, `passive`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We do: `active`.
    Client,
    /// The peer does: `passive`.
    Server,
}

/// What a handshake comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreed {
    /// Which port's.
    pub line: Line,
    /// The suite, for both ways.
    pub suite: Suite,
    /// Our master key.
    pub ours: MasterKey,
    /// Their master key.
    pub theirs: MasterKey,
}

vault::leaves! {
    /// The same as it leaves the session.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Keys {
        suite: Suite,
        ours: MasterKey,
        theirs: MasterKey,
    }

    /// Why there are no keys.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum DtlsFault {
        /// No certificate of ours could be made.
        Certificate,
        /// The peer broke the protocol, or there is no way to do it that both know, or it took too long.
        Handshake,
        /// The peer's certificate is not the one that was signalled.
        Fingerprint,
        /// The peer has ended the session.
        Closed,
        /// No protected memory.
        NoMemory,
    }
}

impl std::fmt::Display for DtlsFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate => "no certificate could be made",
            Self::Handshake => "the DTLS handshake failed",
            Self::Fingerprint => "the peer's certificate is not the one that was signalled",
            Self::Closed => "the peer has ended the DTLS session",
            Self::NoMemory => "no protected memory for the DTLS session",
        })
    }
}

impl std::error::Error for DtlsFault {}

impl From<VaultError> for DtlsFault {
    fn from(_: VaultError) -> Self {
        Self::NoMemory
    }
}

/// Which port of which leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// RTP's, and RTCP's where it is the same.
    Rtp(LegId),
    /// RTCP's own.
    Rtcp(LegId),
}

/// A port that wants keys.
#[derive(Debug)]
pub struct Opening {
    /// Our part.
    pub role: Role,
    /// What proves the peer's certificate.
    pub theirs: Fingerprint,
    /// The port.
    pub socket: Arc<UdpSocket>,
    /// Where to begin, for a client.
    pub to: SocketAddr,
    /// Is told once what came of it.
    pub done: UnboundedSender<Result<Agreed, DtlsFault>>,
}

enum Order {
    Open(Line, Box<Opening>),
    Packet(Line, SocketAddr, Box<[u8]>),
    Close(Line),
    Stop,
}

/// The handle on the thread. Dropping it ends all that is not finished.
#[derive(Debug)]
pub struct Dtls {
    orders: SyncSender<Order>,
    fingerprint: Fingerprint,
    thread: Option<JoinHandle<()>>,
}

impl Dtls {
    /// Makes our certificate and starts the thread.
    ///
    /// # Errors
    /// [`DtlsFault::NoMemory`], [`DtlsFault::Certificate`].
    pub fn start(keys: MediaKeys) -> Result<Self, DtlsFault> {
        let (orders, taken) = sync_channel(ORDERS);
        let (ready, is_ready) = sync_channel(1);
        let run = move || match Worker::new(keys, taken) {
            Ok((worker, fingerprint)) => {
                // Who started it waits for this.
                let _ = ready.send(Ok(fingerprint));
                worker.run();
            }
            Err(fault) => drop(ready.send(Err(fault))),
        };
        let thread =
            std::thread::Builder::new().name("dtls".into()).spawn(run).map_err(|_| DtlsFault::NoMemory)?;
        let fingerprint = is_ready.recv().map_err(|_| DtlsFault::Certificate)??;
        Ok(Self { orders, fingerprint, thread: Some(thread) })
    }

    /// What proves our certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Agrees on keys for a port.
    pub fn open(&self, line: Line, opening: Opening) {
        // Nothing may be lost of this: there are few of them, and the thread is never long at one thing.
        let _ = self.orders.send(Order::Open(line, Box::new(opening)));
    }

    /// Gives it a packet that came to a port.
    pub fn packet(&self, line: Line, from: SocketAddr, bytes: &[u8]) {
        let _ = self.orders.try_send(Order::Packet(line, from, bytes.into()));
    }

    /// A port is closed.
    pub fn close(&self, line: Line) {
        let _ = self.orders.send(Order::Close(line));
    }
}

impl Drop for Dtls {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // Its panics were printed by the hook.
            let _ = thread.join();
        }
    }
}
