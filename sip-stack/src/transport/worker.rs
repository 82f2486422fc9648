//! The worker: one thread, one region, one endpoint, all its sockets.

use super::command::{Command, Handle};
use super::tcp::{self, Stream};
use super::tls::{self, Client, Server, TlsFault};
use super::{Admission, Admit, Config, Counters, Protocol, TransportError};
use crate::dialog::Flow;
use crate::endpoint::{Endpoint, Event, PingId, Transmit};
use crate::message::compose::{IN_A_ROW, LARGEST_DATAGRAM, Wire, Writer};
use crate::message::dial;
use crate::message::headers::LocalAddress;
use crate::message::read::Origin;
use crate::message::{Method, Reader};
use crate::message::{NotDialled, TrunkId};
use socket2::{Domain, Socket, Type};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, mpsc, oneshot};
use vault::{Kept, Region, Store, Vault};

/// Datagrams read in a row before others get their turn.
const BURST: usize = 64;
/// Addresses of ours, by peer, that are remembered.
pub(super) const LOCALS: usize = 4096;

/// Starts a worker on a thread of its own. Its events end when it has ended.
///
/// # Errors
/// [`TransportError`]: a listener, the thread or the region could not be had.
pub fn start(
    vault: &Vault,
    reader: Reader,
    config: Config,
    admit: Arc<Admit>,
) -> Result<(Handle, mpsc::UnboundedReceiver<Event>), TransportError> {
    let mut sockets = Vec::new();
    let mut listening = Vec::new();
    for (protocol, address) in &config.listen {
        let socket = bind(*protocol, *address, config.dscp)
            .map_err(|e| TransportError::Listen(*protocol, *address, e))?;
        let at = socket.local_addr()?.as_socket().unwrap_or(*address);
        listening.push((*protocol, at));
        sockets.push((*protocol, at, socket));
    }
    let (commands, commands_in) = mpsc::unbounded_channel();
    let (events_out, events) = mpsc::unbounded_channel();
    let counters = Arc::new(Counters::default());
    let reader = Arc::new(reader);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let streams = listening.clone();
    let handle = Handle {
        commands,
        counters: counters.clone(),
        reader: reader.clone(),
        listening,
        runtime: runtime.handle().clone(),
        calls: Arc::default(),
    };
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let vault = vault.clone();
    std::thread::Builder::new().name("sip".into()).spawn(move || {
        let region = match vault.region() {
            Ok(region) => region,
            Err(e) => {
                let _ = ready.send(Err(e.into()));
                return;
            }
        };
        let mut core = Core {
            store: vault.store(),
            server: None,
            client: None,
            names: HashMap::new(),
            pings: HashMap::new(),
            endpoint: endpoint(&config),
            region,
            reader,
            counters,
            admit,
            events: events_out,
            sockets: Vec::new(),
            listening: streams.clone(),
            stream_listeners: [false, true].map(|v6| {
                let fits = |(p, a): &&(Protocol, SocketAddr)| *p == Protocol::Tcp && a.is_ipv6() == v6;
                streams.iter().find(fits).map(|(_, a)| *a)
            }),
            streams: HashMap::new(),
            routes: HashMap::new(),
            accepted: Default::default(),
            connecting: HashMap::new(),
            next_stream: 1 << 32,
            locals: HashMap::new(),
            config,
            timer: Rc::new(Notify::new()),
            armed: None,
        };
        if let Err(e) = core.load_tls() {
            let _ = ready.send(Err(e));
            return;
        }
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, run(core, sockets, commands_in, ready));
    })?;
    is_ready.recv().map_err(|_| std::io::Error::other("the worker's thread ended"))??;
    Ok((handle, events))
}

/// Reads a file into a buffer that it must fit.
fn read_whole(path: &Path, buffer: &mut [u8]) -> std::io::Result<usize> {
    let (mut file, mut filled) = (std::fs::File::open(path)?, 0);
    loop {
        match file.read(&mut buffer[filled..])? {
            0 if filled == buffer.len() => return Err(std::io::ErrorKind::FileTooLarge.into()),
            0 => return Ok(filled),
            n => filled += n,
        }
    }
}

fn endpoint(config: &Config) -> Endpoint {
    let mut endpoint = Endpoint::new(config.times, config.limits);
    endpoint.limit_trunks(&config.trunk_limits);
    endpoint
}

/// Marks a socket's packets; accepted streams have their listener's mark.
pub(super) fn mark(socket: socket2::SockRef<'_>, address: SocketAddr, dscp: u8) -> std::io::Result<()> {
    // The upper six bits of the octet (RFC 2474 §3).
    let octet = u32::from(dscp) << 2;
    if address.is_ipv4() { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) }
}

fn bind(protocol: Protocol, address: SocketAddr, dscp: u8) -> std::io::Result<Socket> {
    let kind = if protocol == Protocol::Udp { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_nonblocking(true)?;
    mark((&socket).into(), address, dscp)?;
    if address.is_ipv6() {
        // IPv4 has its own listener.
        socket.set_only_v6(true)?;
    }
    if protocol.is_reliable() {
        socket.set_reuse_address(true)?;
        tcp::size_buffers(&socket)?;
    } else {
        // As much as the system allows: a burst of calls waits here while the worker is busy.
        socket.set_recv_buffer_size(4 << 20)?;
    }
    socket.bind(&address.into())?;
    if protocol.is_reliable() {
        socket.listen(1024)?;
    }
    Ok(socket)
}

/// All that the worker's tasks share. Borrowed only between awaits.
pub(super) struct Core {
    pub(super) endpoint: Endpoint,
    pub(super) region: Region,
    /// Where TLS sessions lie.
    pub(super) store: Store,
    pub(super) server: Option<Kept<Server>>,
    pub(super) client: Option<Kept<Client>>,
    /// Names of those whom we call over TLS, by address.
    pub(super) names: HashMap<SocketAddr, String>,
    /// Who waits for the answer to an OPTIONS.
    pub(super) pings: HashMap<PingId, oneshot::Sender<Option<u16>>>,
    pub(super) reader: Arc<Reader>,
    pub(super) counters: Arc<Counters>,
    admit: Arc<Admit>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) sockets: Vec<(SocketAddr, Rc<UdpSocket>)>,
    pub(super) listening: Vec<(Protocol, SocketAddr)>,
    /// Our first TCP listener of IPv4 and of IPv6.
    stream_listeners: [Option<SocketAddr>; 2],
    pub(super) streams: HashMap<u64, Rc<Stream>>,
    /// Streams that others opened, by source.
    pub(super) accepted: tcp::Accepted,
    /// The newest stream to each address, for who wants any (RFC 5923).
    routes: HashMap<(SocketAddr, Protocol), u64>,
    /// Messages for streams that are being opened.
    connecting: HashMap<(SocketAddr, u64), Vec<Transmit>>,
    next_stream: u64,
    locals: HashMap<IpAddr, IpAddr>,
    pub(super) config: Config,
    timer: Rc<Notify>,
    /// What the timer's task sleeps until.
    armed: Option<Instant>,
}

pub(super) type Shared = Rc<RefCell<Core>>;

async fn run(
    core: Core,
    sockets: Vec<(Protocol, SocketAddr, Socket)>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: std::sync::mpsc::SyncSender<Result<(), TransportError>>,
) {
    let timer = core.timer.clone();
    let core: Shared = Rc::new(RefCell::new(core));
    for (protocol, address, socket) in sockets {
        let opened = match protocol {
            Protocol::Udp => UdpSocket::from_std(socket.into()).map(|socket| {
                let socket = Rc::new(socket);
                let mut shared = core.borrow_mut();
                let place = shared.sockets.len() as u64;
                shared.sockets.push((address, socket.clone()));
                tokio::task::spawn_local(udp(core.clone(), socket, address, place));
            }),
            _ => TcpListener::from_std(socket.into()).map(|listener| {
                tokio::task::spawn_local(tcp::listen(core.clone(), listener, protocol));
            }),
        };
        if let Err(e) = opened {
            let _ = ready.send(Err(TransportError::Listen(protocol, address, e)));
            return;
        }
    }
    let _ = ready.send(Ok(()));
    loop {
        let due = {
            let mut shared = core.borrow_mut();
            shared.armed = shared.endpoint.poll_timeout();
            shared.armed
        };
        tokio::select! {
            command = commands.recv() => {
                let Some(command) = command else { return };
                let mut core_now = core.borrow_mut();
                core_now.obey(command);
                // Commands come in bursts; one flush serves them all.
                while let Ok(command) = commands.try_recv() {
                    core_now.obey(command);
                }
                drop(core_now);
                flush(&core);
            }
            () = timer.notified() => {}
            () = sleep_until(due) => {
                core.borrow_mut().endpoint.handle_timeout(Instant::now());
                flush(&core);
            }
        }
    }
}

/// Timers that are due within so short a time of each other fire together: the shortest (T1) is 25 times as long.
const TOGETHER: Duration = Duration::from_millis(20);

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until((at + TOGETHER).into()).await,
        None => std::future::pending().await,
    }
}

/// Reads one UDP listener for ever.
async fn udp(core: Shared, socket: Rc<UdpSocket>, address: SocketAddr, place: u64) {
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        core.borrow_mut().burst(&socket, address, place);
        // Timers and commands have their turn between bursts; what the user answers at once goes out together with the 100.
        tokio::task::yield_now().await;
        flush(&core);
    }
}

impl Core {
    pub(super) fn admitted(&self, source: IpAddr) -> Option<Admission> {
        let admission = (self.admit)(source);
        if admission.is_none() {
            add(&self.counters.unknown_source);
        }
        admission
    }

    /// Takes the datagrams that are there, and tells the user.
    fn burst(&mut self, socket: &UdpSocket, address: SocketAddr, place: u64) {
        for _ in 0..BURST {
            let received = self.region.receive(|buffer| socket.try_recv_from(buffer));
            let Ok((_, source)) = received else { break };
            let local = self.local_address(address, source.ip());
            let trunk = TrunkId::default();
            self.take(Flow { remote: source, local, connection: place, protocol: Protocol::Udp, trunk });
        }
        self.tell();
    }

    /// Takes the message in the region's receive buffer. Who sent it is looked up here.
    pub(super) fn take(&mut self, mut flow: Flow) {
        let Some(admission) = self.admitted(flow.remote.ip()) else { return self.region.discard() };
        add(&self.counters.received);
        if let Some(stream) = self.streams.get(&flow.connection).filter(|_| flow.protocol.is_reliable()) {
            stream.carried.set(true);
        }
        let Admission { trunk, trusted, withhold } = admission;
        flow.trunk = trunk;
        if !self.reader.trunk(trunk).is_none_or(|t| t.takes(flow.protocol)) {
            add(&self.counters.unknown_source);
            return self.region.discard();
        }
        let at = std::time::SystemTime::now();
        let origin = Origin { source: flow.remote, protocol: flow.protocol, trunk, trusted, withhold, at };
        let reader = self.reader.clone();
        match self.region.run(|i| reader.read(i.secrets, i.rx, origin)) {
            Ok(Ok(incoming)) => self.endpoint.receive(Instant::now(), flow, incoming),
            Ok(Err(_)) => add(&self.counters.malformed),
            Err(_) => add(&self.counters.region_faults),
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Progress(call, status, media) => self.endpoint.progress(now, call, status, media),
            Command::Modify(call, rtp, audio) => self.endpoint.modify(now, call, rtp, audio),
            Command::Subscribed(id, answer) => self.endpoint.subscribed(now, id, answer),
            Command::Notify(id, document) => {
                self.endpoint.notify(now, id, document);
            }
            Command::EndSubscription(id) => self.endpoint.end_subscription(now, id),
            Command::Referred(call, refer, answer) => self.endpoint.referred(now, call, refer, answer),
            Command::ReferProgress(call, refer, status) => {
                self.endpoint.refer_progress(now, call, refer, status)
            }
            Command::Accept(call, rtp, audio, extras) => self.endpoint.accept(now, call, rtp, audio, extras),
            Command::Reject(call, status, extras) => self.endpoint.reject(now, call, status, extras),
            Command::Hangup(call) => self.endpoint.hangup(now, call),
            Command::Available(available) => self.endpoint.set_available(available),
            Command::ReloadTls(done) => {
                let _ = done.send(self.load_tls());
            }
            Command::Invite(call) => self.invite(now, *call),
            Command::Judge(callee, told) => {
                let reader = self.reader.clone();
                let verdict = self.region.run(|i| dial::judge(i.secrets, &reader, &callee));
                // Who asked may have gone; here and below.
                let _ = told.send(verdict.unwrap_or(Err(NotDialled::NoNumber)));
            }
            Command::Ping(to, trunk, told) => self.ping(now, to, trunk, told),
        }
    }

    /// Reads certificates and keys: each key straight into the region, from where it goes to pages that last.
    fn load_tls(&mut self) -> Result<(), TransportError> {
        let Some(files) = self.config.tls.clone() else { return Ok(()) };
        let read = |path: &PathBuf| std::fs::read(path).map_err(|e| TransportError::File(path.clone(), e));
        let (peers, trusted) = (files.client_ca.as_ref(), files.trusted.as_ref());
        let (peers, trusted) = (peers.map(read).transpose()?, trusted.map(read).transpose()?);
        let chain = files.own.as_ref().map(|(chain, _)| read(chain)).transpose()?;
        if let Some((_, key)) = &files.own {
            self.region
                .receive(|buffer| read_whole(key, buffer).map(|n| (n, ())))
                .map_err(|e| TransportError::File(key.clone(), e))?;
        }
        let Self { region, store, .. } = self;
        let loaded = region.run(|i| {
            let key: &[u8] = i.rx;
            let own = chain.as_deref().map(|chain| (chain, key));
            let server = own.map(|(chain, key)| {
                store.keep(i.secrets, tls::ROOM, || Server::new(chain, key, peers.as_deref()))
            });
            let client = trusted
                .as_deref()
                .map(|trusted| store.keep(i.secrets, tls::ROOM, || Client::new(trusted, own)));
            Ok::<_, TlsFault>((server.transpose()?, client.transpose()?))
        });
        let (server, client) = loaded.unwrap_or(Err(TlsFault::NoMemory)).map_err(TransportError::Tls)?;
        (self.server, self.client) = (server, client);
        Ok(())
    }

    pub(super) fn new_stream(&mut self) -> u64 {
        self.next_stream += 1;
        self.next_stream
    }

    /// Our address as a peer sees it: configured, or the listener's, or (for a listener on all addresses) the one that
    /// the system would send from.
    pub(super) fn local_address(&mut self, bound: SocketAddr, peer: IpAddr) -> SocketAddr {
        if let Some(external) = self.config.external.filter(|e| e.is_ipv4() == bound.is_ipv4()) {
            return SocketAddr::new(external, bound.port());
        }
        if !bound.ip().is_unspecified() {
            return bound;
        }
        if self.locals.len() >= LOCALS {
            self.locals.clear();
        }
        let ip = *self.locals.entry(peer).or_insert_with(|| {
            let any: SocketAddr =
                (if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).parse().unwrap_or(bound);
            let probe = std::net::UdpSocket::bind(any).and_then(|s| {
                s.connect((peer, 9))?;
                s.local_addr()
            });
            probe.map_or(bound.ip(), |a| a.ip())
        });
        SocketAddr::new(ip, bound.port())
    }

    /// Writes messages into one visit's send buffer, as many as fit, and sends them as datagrams.
    fn send_datagrams(&mut self, mut transmits: &[Transmit]) {
        let streams = self.stream_listeners;
        let reader = self.reader.clone();
        let mut at_once = IN_A_ROW;
        while !transmits.is_empty() {
            let some = &transmits[..transmits.len().min(at_once)];
            let wires = some.iter().map(|t| (&t.wire, local_of(&t.flow)));
            let written = self.region.run(|i| Writer::new(i.secrets, &reader).write_in_a_row(wires, i.tx));
            let Ok(lengths) = written else {
                // One of them is at fault: it is found by sending each alone.
                if some.len() == 1 {
                    add(&self.counters.send_errors);
                    transmits = &transmits[1..];
                }
                at_once = 1;
                continue;
            };
            let written = lengths.iter().flatten();
            self.region.composed(written.clone().sum());
            let (sockets, counters, endpoint) = (&self.sockets, &self.counters, &mut self.endpoint);
            self.region.transmit(|mut bytes| {
                for (transmit, len) in some.iter().zip(written.clone()) {
                    let (message, rest) = bytes.split_at(*len);
                    bytes = rest;
                    let flow = transmit.flow;
                    if let Some((branch, local)) = too_large(transmit, *len, streams) {
                        endpoint.too_large(Instant::now(), branch, local);
                        continue;
                    }
                    let socket = sockets.get(flow.connection as usize).filter(|_| *len > 0);
                    // A datagram that the kernel does not take is lost as on the wire: its transaction repeats it.
                    let sent = socket.is_some_and(|(_, s)| s.try_send_to(message, flow.remote).is_ok());
                    add(if sent { &counters.sent } else { &counters.send_errors });
                }
            });
            transmits = &transmits[written.count()..];
        }
    }

    /// Writes one message to its stream, or says which stream has to be opened for it.
    fn send(&mut self, transmit: Transmit) -> Option<Flow> {
        let mut flow = transmit.flow;
        if flow.connection == Flow::ANY
            && let Some(connection) = self.routes.get(&(flow.remote, flow.protocol))
        {
            flow.connection = *connection;
        }
        if !self.streams.contains_key(&flow.connection) {
            let waiting = self.connecting.entry((flow.remote, flow.connection)).or_default();
            waiting.push(transmit);
            return (waiting.len() == 1).then_some(flow);
        }
        let local = local_of(&flow);
        let reader = self.reader.clone();
        let written = self.region.run(|i| transmit.wire.write(i.secrets, &reader, local, i.tx));
        let Ok(Ok(len)) = written else {
            add(&self.counters.send_errors);
            return None;
        };
        self.region.composed(len);
        let stream = self.streams.get(&flow.connection).cloned();
        if let Some(stream) = &stream {
            stream.carried.set(true);
        }
        let sent = stream.is_some_and(|stream| stream.send(&mut self.region, &reader));
        add(if sent { &self.counters.sent } else { &self.counters.send_errors });
        None
    }

    /// Tells the user what happened.
    fn tell(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Pong { ping, status } = event {
                if let Some(told) = self.pings.remove(&ping) {
                    let _ = told.send(status);
                }
                continue;
            }
            // Nobody listens while the house is being closed.
            let _ = self.events.send(event);
        }
    }

    /// A stream is open: what waited for it is sent.
    pub(super) fn opened(&mut self, flow: Flow, stream: Rc<Stream>) {
        self.streams.insert(flow.connection, stream);
        self.routes.insert((flow.remote, flow.protocol), flow.connection);
        for connection in [flow.connection, Flow::ANY] {
            for transmit in self.connecting.remove(&(flow.remote, connection)).unwrap_or_default() {
                self.send(transmit);
            }
        }
    }

    /// A stream could not be opened, or broke.
    pub(super) fn failed(&mut self, flow: Flow) {
        let stream = self.streams.remove(&flow.connection);
        let route = (flow.remote, flow.protocol);
        let was_route = self.routes.get(&route) == Some(&flow.connection);
        if was_route {
            self.routes.remove(&route);
        }
        // Nobody looks for what went over one that nothing went over: many of those cost little.
        if stream.is_some_and(|s| !s.carried.get()) {
            return;
        }
        // Who wants any stream to there waits on this one only if it was the one.
        for connection in [Some(flow.connection), was_route.then_some(Flow::ANY)].into_iter().flatten() {
            self.connecting.remove(&(flow.remote, connection));
            self.endpoint.transport_failed(Instant::now(), Flow { connection, ..flow });
        }
    }
}

/// Whether a message is a request that is too large for a datagram: its branch, and the address of ours for a stream instead.
fn too_large(transmit: &Transmit, len: usize, streams: [Option<SocketAddr>; 2]) -> Option<(u64, SocketAddr)> {
    let Wire::Request(request) = &transmit.wire else { return None };
    // ACK and CANCEL go the way of their INVITE.
    let own_way = !matches!(request.method, Method::Ack | Method::Cancel);
    let local = streams[usize::from(transmit.flow.remote.is_ipv6())];
    let bound = |l: SocketAddr| {
        if l.ip().is_unspecified() { SocketAddr::new(transmit.flow.local.ip(), l.port()) } else { l }
    };
    (len > LARGEST_DATAGRAM && own_way && !request.any_size).then_some((request.branch, bound(local?)))
}

pub(super) fn local_of(flow: &Flow) -> LocalAddress {
    LocalAddress { address: flow.local, protocol: flow.protocol, trunk: flow.trunk }
}

/// Sends what the endpoint wants sent and tells what it tells.
pub(super) fn flush(core: &Shared) {
    let mut shared = core.borrow_mut();
    let mut datagrams = Vec::new();
    loop {
        while let Some(transmit) = shared.endpoint.poll_transmit() {
            if !transmit.flow.protocol.is_reliable() {
                datagrams.push(transmit);
            } else if let Some(flow) = shared.send(transmit) {
                tokio::task::spawn_local(tcp::open(core.clone(), flow));
            }
        }
        if datagrams.is_empty() {
            break;
        }
        // What is too large for one comes out of the endpoint again.
        shared.send_datagrams(&std::mem::take(&mut datagrams));
    }
    shared.tell();
    let (counts, kept) = (shared.endpoint.counts(), shared.endpoint.kept());
    let counters = &shared.counters;
    counters.requests.store(counts.requests, Ordering::Relaxed);
    counters.repeats.store(counts.repeats, Ordering::Relaxed);
    counters.refused.store(counts.refused, Ordering::Relaxed);
    counters.unauthorised.store(counts.unauthorised, Ordering::Relaxed);
    counters.locked_out.store(counts.locked_out, Ordering::Relaxed);
    counters.over_limit.store(counts.over_limit, Ordering::Relaxed);
    counters.set_calls(kept[0] as u64);
    counters.subscriptions.store(shared.endpoint.subscriptions() as u64, Ordering::Relaxed);
    counters.transactions.store((kept[1] + kept[2]) as u64, Ordering::Relaxed);
    // The sleeper must know of a timer that comes before the one it waits for.
    let earlier = match (shared.endpoint.poll_timeout(), shared.armed) {
        (Some(next), Some(armed)) => next < armed,
        (next, armed) => next.is_some() && armed.is_none(),
    };
    if earlier {
        shared.timer.notify_one();
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
