//! The thread: orders and timers in, packets and keys out.

use super::session::{AGAIN, Identity, PATIENCE, Provider, Session, Turn, provider};
use super::{Agreed, DtlsFault, Keys, Line, Opening, Order, Role};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use vault::{Fault, Fingerprint, Kept, MediaKeys, Region, Store};

/// What a session may need of its store, bytes.
pub(super) const ROOM: usize = 96 * 1024;
/// Sessions at once: who comes beyond them waits, a server for its peer's next try, a client for a place.
const MOST: usize = 48;
/// A session that has given its keys stays so long: its peer may not have got our last flight.
const LINGER: Duration = Duration::from_secs(5);
/// Somebody else may have been first to reach the port: so many handshakes may fail before all has.
const TRIES: u8 = 3;
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct Worker {
    region: Region,
    store: Store,
    identity: Kept<Identity>,
    provider: Provider,
    keys: MediaKeys,
    orders: Receiver<Order>,
    lines: HashMap<Line, Running>,
}

struct Running {
    opening: Opening,
    session: Option<Kept<Session>>,
    /// Where its packets go.
    to: SocketAddr,
    /// When its session wants to be looked at, or a client without one wants to try again.
    wake: Option<Instant>,
    since: Instant,
    failed: u8,
    /// It has its keys; its session goes then.
    ends: Option<Instant>,
}

impl Running {
    /// Its session is over.
    fn end(&mut self) {
        (self.session, self.wake) = (None, None);
    }

    /// When it wants to be looked at.
    fn due(&self) -> Option<Instant> {
        let ends = self.ends.filter(|_| self.session.is_some());
        self.wake.into_iter().chain(ends).min()
    }
}

impl Worker {
    pub(super) fn new(keys: MediaKeys, orders: Receiver<Order>) -> Result<(Self, Fingerprint), DtlsFault> {
        // The thread's own generator must not be made inside a region, whose heap it would outlive.
        let _: u8 = rand::random();
        let vault = keys.vault().clone();
        let (mut region, store) = (vault.deep_region()?, vault.store());
        let provider = provider()?;
        let made = region.run(|i| store.keep(i.secrets, ROOM, || Identity::generate(&provider)));
        let mut identity = made.map_err(fault)??;
        let fingerprint = identity.io(|identity| identity.fingerprint());
        Ok((Self { region, store, identity, provider, keys, orders, lines: HashMap::new() }, fingerprint))
    }

    pub(super) fn run(mut self) {
        loop {
            let now = Instant::now();
            let next = self.lines.values().filter_map(Running::due).min();
            if next.is_some_and(|at| at <= now) {
                // However many orders wait.
                self.timers(now);
            }
            let wait = next.map_or(IDLE, |at| at.saturating_duration_since(now));
            match self.orders.recv_timeout(wait) {
                Ok(Order::Open(line, opening)) => self.open(line, *opening),
                Ok(Order::Packet(line, from, bytes)) => self.packet(line, from, &bytes),
                Ok(Order::Close(line)) => drop(self.lines.remove(&line)),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn open(&mut self, line: Line, opening: Opening) {
        let is_client = opening.role == Role::Client;
        let to = opening.to;
        let since = Instant::now();
        let running = Running { opening, session: None, to, wake: None, since, failed: 0, ends: None };
        self.lines.insert(line, running);
        if is_client {
            self.visit(line, &[]);
        }
    }

    fn packet(&mut self, line: Line, from: SocketAddr, bytes: &[u8]) {
        let Some(running) = self.lines.get_mut(&line) else { return };
        running.to = from;
        self.visit(line, bytes);
    }

    fn timers(&mut self, now: Instant) {
        let due: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, r)| r.due().is_some_and(|at| at <= now))
            .map(|(line, _)| *line)
            .collect();
        for line in due {
            match self.lines.get_mut(&line) {
                Some(running) if running.ends.is_some_and(|at| at <= now) => running.end(),
                _ => self.visit(line, &[]),
            }
        }
    }

    /// Where another session would be one too many, the one that has lingered longest goes. How many there are now.
    fn make_room(&mut self, line: Line) -> usize {
        let with = self.lines.values().filter(|r| r.session.is_some()).count();
        if with < MOST || self.lines.get(&line).is_none_or(|r| r.session.is_some()) {
            return with;
        }
        let lingers = self.lines.values_mut().filter(|r| r.session.is_some() && r.ends.is_some());
        match lingers.min_by_key(|r| r.ends) {
            Some(running) => {
                running.end();
                with - 1
            }
            None => with,
        }
    }

    /// Gives a session a packet, or the time alone, and does what it wants.
    fn visit(&mut self, line: Line, packet: &[u8]) {
        let Err(fault) = self.drive(line, packet) else { return };
        let Some(running) = self.lines.get_mut(&line) else { return };
        let is_client = running.opening.role == Role::Client;
        let now = Instant::now();
        if fault == DtlsFault::NoMemory && running.session.is_none() {
            // There was no place for it. A server's peer tries again; a client does so itself.
            let waits = is_client && now.duration_since(running.since) < PATIENCE;
            running.wake = waits.then(|| now + AGAIN);
            if waits || !is_client {
                return;
            }
        }
        running.end();
        running.failed += 1;
        if running.ends.is_none() && (running.failed == TRIES || is_client) {
            // Who asked may have gone.
            let _ = running.opening.done.send(Err(fault));
        }
    }

    fn drive(&mut self, line: Line, packet: &[u8]) -> Result<(), DtlsFault> {
        let sessions = self.make_room(line);
        let Self { region, store, identity, provider, keys, lines, .. } = self;
        let Some(running) = lines.get_mut(&line) else { return Ok(()) };
        let now = Instant::now();
        if running.session.is_none() {
            if running.ends.is_some() || running.failed >= TRIES {
                return Ok(());
            }
            if sessions >= MOST {
                return Err(DtlsFault::NoMemory);
            }
            let Opening { role, theirs, .. } = running.opening;
            let made = region.run(|i| {
                identity.io(|identity| {
                    store.keep(i.secrets, ROOM, || Session::new(identity, provider, role, theirs, now))
                })
            });
            running.session = Some(made.map_err(fault)??);
        }
        let Some(session) = &mut running.session else { return Ok(()) };
        // The buffer is large enough for any datagram.
        let filled = region.receive(|buffer| {
            let room = buffer.get_mut(..packet.len()).ok_or(std::io::ErrorKind::InvalidInput)?;
            room.copy_from_slice(packet);
            Ok((packet.len(), ()))
        });
        if filled.is_err() {
            return Ok(());
        }
        let mut first = true;
        loop {
            let done = running.ends.is_some();
            let turn = region.run(|i| {
                let (rx, tx, secrets) = (i.rx, i.tx, i.secrets);
                session.with(secrets, |session| {
                    if std::mem::take(&mut first) {
                        session.feed(now, rx)?;
                    }
                    session.turn(secrets, keys, tx, done)
                })
            });
            let Turn { packets, more, wake, agreed } = turn.map_err(fault)?.map_err(fault)??;
            region.composed(packets.iter().flatten().sum());
            region.transmit(|mut bytes| {
                for len in packets.iter().flatten() {
                    let (one, rest) = bytes.split_at(*len);
                    // What the network does not take is sent again, as what it loses.
                    let _ = running.opening.socket.send_to(one, running.to);
                    bytes = rest;
                }
            });
            running.wake = wake;
            if let Some(Keys { suite, ours, theirs }) = agreed {
                running.ends = Some(now + LINGER);
                let _ = running.opening.done.send(Ok(Agreed { line, suite, ours, theirs }));
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// What a region's fault means for a session: it is not to be had as it is.
fn fault(fault: Fault) -> DtlsFault {
    match fault {
        Fault::Full => DtlsFault::NoMemory,
        _ => DtlsFault::Handshake,
    }
}
