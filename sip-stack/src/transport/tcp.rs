//! Streams: TCP, accepted and opened, and TLS over it.
//!
//! A partial message is left in the kernel: it is looked at with MSG_PEEK inside the region and taken only when it is whole. So
//! no ordinary memory holds it while the rest is awaited. What could not be written at once waits sealed. A TLS session has its own buffers,
//! in secret pages.

use super::framing::{Frame, scan};
use super::layers::{Broken, Layers, MOST_OUT};
use super::tls::{ROOM, Session};
use super::worker::{Core, Shared, add, flush};
use crate::dialog::Flow;
use crate::message::fields::context;
use crate::message::lexer::MOST_BYTES;
use crate::message::{Protocol, Reader};
use socket2::{SockRef, Socket};
use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use vault::{Field, Kept, Region, Sealed, Signalling, SignallingText};

/// Bytes that may wait to be written to one peer; a peer that does not read is cut off.
const OUTBOX: usize = 256 * 1024;
/// Time to open a stream.
const CONNECT: Duration = Duration::from_secs(4);

/// A whole message must fit the kernel's receive buffer, because it is left there until it is whole.
pub(super) fn size_buffers(socket: &Socket) -> std::io::Result<()> {
    socket.set_recv_buffer_size(4 * MOST_BYTES)
}

/// An open stream.
pub(super) struct Stream {
    stream: TcpStream,
    outbox: RefCell<Outbox>,
    /// What lies between its bytes and its messages, if it is not TCP alone.
    secure: Option<RefCell<Kept<Layers>>>,
    /// Rings when the outbox begins to fill or must be closed.
    written: Notify,
    /// A message went over it: somebody may miss it.
    pub(super) carried: Cell<bool>,
}

/// Streams that others opened.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Accepted {
    fn of(&self, source: IpAddr) -> usize {
        self.by_source.get(&source).copied().unwrap_or(0)
    }

    fn add(&mut self, source: IpAddr) {
        self.total += 1;
        *self.by_source.entry(source).or_default() += 1;
    }

    fn remove(&mut self, source: IpAddr) {
        let Entry::Occupied(mut of_source) = self.by_source.entry(source) else { return };
        self.total -= 1;
        *of_source.get_mut() -= 1;
        if *of_source.get() == 0 {
            of_source.remove();
        }
    }
}

#[derive(Default)]
struct Outbox {
    waiting: VecDeque<(u64, Sealed<SignallingText>)>,
    bytes: usize,
    broken: bool,
}

impl Stream {
    fn new(stream: TcpStream, secure: Option<Kept<Layers>>) -> Self {
        let secure = secure.map(RefCell::new);
        Self { stream, outbox: RefCell::default(), secure, written: Notify::new(), carried: Cell::new(false) }
    }

    /// Says the composed message over TLS, or when its handshake is over. False when the peer is cut off.
    fn say(&self, session: &RefCell<Kept<Layers>>, region: &mut Region) -> bool {
        let len = region.look(<[u8]>::len);
        let said = region.run(|i| session.borrow_mut().with(i.secrets, |s| s.say(&i.tx[..len])));
        region.transmit(|_| ());
        let said = matches!(said, Ok(Ok(Ok(())))) && self.pass_on(session);
        let mut outbox = self.outbox.borrow_mut();
        outbox.broken |= !said;
        self.written.notify_one();
        !outbox.broken
    }

    /// Writes a session's ciphertext as far as the kernel takes it. False when the peer is cut off.
    fn pass_on(&self, session: &RefCell<Kept<Layers>>) -> bool {
        session.borrow_mut().io(|s| {
            while !s.out().is_empty() {
                match self.stream.try_write(s.out()) {
                    Ok(n) => s.sent(n),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return false,
                }
            }
            s.out().len() <= MOST_OUT
        })
    }

    /// Writes the composed message; what the kernel does not take waits sealed. False when the peer is cut off.
    pub(super) fn send(&self, region: &mut Region, reader: &Reader) -> bool {
        if let Some(session) = &self.secure {
            return self.say(session, region);
        }
        let mut outbox = self.outbox.borrow_mut();
        let len = region.look(<[u8]>::len);
        let done = match outbox.waiting.is_empty() && !outbox.broken {
            true => match region.look(|bytes| self.stream.try_write(bytes)) {
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => {
                    outbox.broken = true;
                    0
                }
            },
            false => 0,
        };
        if done < len && !outbox.broken {
            let subject = reader.next_subject();
            let sealed = region.run(|i| {
                let rest = &i.tx[done..len];
                i.secrets.seal(reader.ring(), context(subject, Field::Outbox), rest)
            });
            outbox.bytes += len - done;
            match sealed {
                Ok(sealed) if outbox.bytes <= OUTBOX => outbox.waiting.push_back((subject, sealed)),
                _ => outbox.broken = true,
            }
            self.written.notify_one();
        }
        if outbox.broken {
            self.written.notify_one();
        }
        region.transmit(|_| ());
        !outbox.broken
    }

    /// Writes what waits, as far as the kernel takes it.
    fn drain(&self, region: &mut Region, reader: &Reader) {
        if let Some(session) = &self.secure {
            self.outbox.borrow_mut().broken |= !self.pass_on(session);
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        while let Some((subject, sealed)) = outbox.waiting.front() {
            let opened = region.run(|i| {
                let at = context(*subject, Field::Outbox);
                let plain = i.secrets.open(reader.ring(), at, sealed, Signalling)?;
                i.tx[..plain.bytes().len()].copy_from_slice(plain.bytes());
                Ok::<usize, vault::Tampered>(plain.bytes().len())
            });
            let Ok(Ok(len)) = opened else {
                outbox.broken = true;
                return;
            };
            region.composed(len);
            let written = region.look(|bytes| self.stream.try_write(bytes));
            let blocked = written.is_err();
            match written {
                Ok(n) => {
                    outbox.waiting.pop_front();
                    outbox.bytes -= n;
                    if n < len {
                        let subject = reader.next_subject();
                        let rest = region.run(|i| {
                            i.secrets.seal(reader.ring(), context(subject, Field::Outbox), &i.tx[n..len])
                        });
                        match rest {
                            Ok(rest) => outbox.waiting.push_front((subject, rest)),
                            Err(_) => outbox.broken = true,
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => outbox.broken = true,
            }
            region.transmit(|_| ());
            if blocked || outbox.broken {
                return;
            }
        }
    }

    fn waits(&self) -> bool {
        let ciphertext = self.secure.as_ref().is_some_and(|s| s.borrow_mut().io(|s| !s.out().is_empty()));
        ciphertext || !self.outbox.borrow().waiting.is_empty()
    }

    fn is_broken(&self) -> bool {
        self.outbox.borrow().broken
    }
}

/// Accepts streams of a protocol for ever.
pub(super) async fn listen(core: Shared, listener: TcpListener, protocol: Protocol) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // Out of descriptors: a pause lets some close.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut shared = core.borrow_mut();
        let Some(admission) = shared.admitted(remote.ip()) else { continue };
        let (most, most_of_one) = shared.config.streams;
        if shared.accepted.total >= most || shared.accepted.of(remote.ip()) >= most_of_one {
            add(&shared.counters.streams_refused);
            continue;
        }
        let Ok(local) = stream.local_addr() else { continue };
        let connection = shared.new_stream();
        let local = shared.local_address(local, remote.ip());
        let flow = Flow { remote, local, connection, protocol, trunk: admission.trunk };
        let layered = protocol != Protocol::Tcp;
        let secure = match layered.then(|| shared.accept_layers(protocol)).transpose() {
            Ok(secure) => secure,
            Err(_) => {
                add(&shared.counters.streams_refused);
                continue;
            }
        };
        // Counted at once: others are accepted before the task has begun.
        shared.accepted.add(remote.ip());
        drop(shared);
        let core = core.clone();
        tokio::task::spawn_local(async move {
            serve(core.clone(), stream, flow, secure).await;
            core.borrow_mut().accepted.remove(remote.ip());
        });
    }
}

/// Opens a stream and serves it.
pub(super) async fn open(core: Shared, flow: Flow) {
    let dscp = core.borrow().config.dscp;
    let connect = async {
        let socket = if flow.remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_recv_buffer_size(4 * MOST_BYTES as u32)?;
        super::worker::mark((&socket).into(), flow.remote, dscp)?;
        socket.connect(flow.remote).await
    };
    match tokio::time::timeout(CONNECT, connect).await {
        Ok(Ok(stream)) => {
            let connection =
                if flow.connection == Flow::ANY { core.borrow_mut().new_stream() } else { flow.connection };
            let layered = flow.protocol != Protocol::Tcp;
            let secure = layered.then(|| core.borrow_mut().open_layers(flow));
            match secure.transpose() {
                Ok(secure) => serve(core, stream, Flow { connection, ..flow }, secure).await,
                Err(_) => {
                    core.borrow_mut().failed(flow);
                    flush(&core);
                }
            }
        }
        _ => {
            core.borrow_mut().failed(flow);
            flush(&core);
        }
    }
}

async fn serve(core: Shared, stream: TcpStream, flow: Flow, secure: Option<Kept<Layers>>) {
    // Answers are small and wanted now.
    let _ = SockRef::from(&stream).set_tcp_nodelay(true);
    let stream = Rc::new(Stream::new(stream, secure));
    let counters = core.borrow().counters.clone();
    counters.streams.fetch_add(1, Ordering::Relaxed);
    core.borrow_mut().opened(flow, stream.clone());
    flush(&core);
    let bad = converse(&core, &stream, flow).await;
    if let Some(session) = &stream.secure {
        let shared = &mut *core.borrow_mut();
        // The peer is told that nothing follows, if it still listens.
        let _ = shared.region.run(|i| session.borrow_mut().with(i.secrets, Layers::close));
        stream.pass_on(session);
    }
    if bad {
        add(&counters.streams_refused);
    }
    counters.streams.fetch_sub(1, Ordering::Relaxed);
    core.borrow_mut().failed(flow);
    flush(&core);
}

/// Reads messages until the stream ends. True when we ended it for the peer's fault.
async fn converse(core: &Shared, stream: &Stream, flow: Flow) -> bool {
    let (message_time, idle_time) = {
        let shared = core.borrow();
        (shared.config.message_time, shared.config.idle_time)
    };
    // A handshake is a message that has begun.
    let mut begun = stream.secure.is_some();
    let mut deadline = Instant::now() + if begun { message_time } else { idle_time };
    if let Some(session) = &stream.secure
        && !stream.pass_on(session)
    {
        return true;
    }
    loop {
        tokio::select! {
            ready = stream.stream.readable() => {
                if ready.is_err() {
                    return false;
                }
            }
            () = stream.written.notified() => {
                if stream.is_broken() {
                    return true;
                }
                continue;
            }
            ready = stream.stream.writable(), if stream.waits() => {
                if ready.is_err() {
                    return false;
                }
                let shared = &mut *core.borrow_mut();
                stream.drain(&mut shared.region, &shared.reader);
                continue;
            }
            () = tokio::time::sleep_until(deadline) => {
                if begun || !core.borrow().endpoint.uses(flow.connection) {
                    return begun;
                }
                deadline = Instant::now() + idle_time;
                continue;
            }
        }
        let step = match &stream.secure {
            Some(session) => secure_step(core, stream, session, flow),
            None => step(core, stream, flow),
        };
        match step {
            Step::Next => {
                flush(core);
                begun = false;
                deadline = Instant::now() + idle_time;
                // Others have their turn between two messages of one peer.
                tokio::task::yield_now().await;
            }
            Step::Wait => {
                if !std::mem::replace(&mut begun, true) {
                    deadline = Instant::now() + message_time;
                }
            }
            Step::Nothing => {}
            Step::Open => {
                begun = false;
                deadline = Instant::now() + idle_time;
            }
            Step::Closed => return false,
            Step::Bad => return true,
        }
    }
}

enum Step {
    /// A message or blank was taken.
    Next,
    /// Part of a message is there.
    Wait,
    /// Nothing is there.
    Nothing,
    /// A handshake is over, and nothing was said yet.
    Open,
    Closed,
    Bad,
}

/// Looks at what is there and takes one message if it is whole.
fn step(core: &Shared, stream: &Stream, flow: Flow) -> Step {
    let mut shared = core.borrow_mut();
    let tcp = &stream.stream;
    let seen = shared.region.receive(|buffer| {
        let mut seen = ReadBuf::new(buffer);
        // Awaiting is done by `readable`; this only looks.
        match tcp.poll_peek(&mut Context::from_waker(Waker::noop()), &mut seen) {
            Poll::Ready(Ok(n)) => Ok((n, ())),
            Poll::Ready(Err(e)) => Err(e),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    });
    let seen = match seen {
        Ok((0, ())) => return Step::Closed,
        Ok((n, ())) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Step::Nothing,
        Err(_) => return Step::Closed,
    };
    let frame = shared.region.run(|i| scan(i.rx)).unwrap_or(Frame::Bad);
    match frame {
        Frame::Message(len) => {
            let taken = shared.region.receive(|b| tcp.try_read(&mut b[..len]).map(|n| (n, ())));
            if !matches!(taken, Ok((n, ())) if n == len) {
                shared.region.discard();
                return Step::Closed;
            }
            shared.take(flow);
            Step::Next
        }
        Frame::Blank(blank) => {
            let taken = shared.region.receive(|b| tcp.try_read(&mut b[..blank.len]).map(|n| (n, ())));
            if blank.ping && taken.is_ok() {
                shared.take(flow);
            } else {
                shared.region.discard();
            }
            Step::Next
        }
        Frame::Partial => {
            // The bytes stay; only new ones shall wake this task (the reactor is edge-triggered).
            let _ = tcp.try_io(Interest::READABLE, || Err::<(), _>(ErrorKind::WouldBlock.into()));
            if seen >= MOST_BYTES { Step::Bad } else { Step::Wait }
        }
        Frame::Bad => Step::Bad,
    }
}

/// Reads what is there of a TLS stream, and takes the messages in it.
fn secure_step(core: &Shared, stream: &Stream, session: &RefCell<Kept<Layers>>, flow: Flow) -> Step {
    let mut shared = core.borrow_mut();
    let received = shared.region.receive(|buffer| stream.stream.try_read(buffer).map(|n| (n, ())));
    match received {
        Ok((0, ())) => return Step::Closed,
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Step::Nothing,
        Err(_) => return Step::Closed,
    }
    let fed = shared.region.run(|i| session.borrow_mut().with(i.secrets, |s| s.feed(i.rx)));
    // An alert goes out though the session has failed.
    let passed = stream.pass_on(session);
    if !matches!(fed, Ok(Ok(Ok(())))) || !passed {
        return Step::Bad;
    }
    let is_open = session.borrow_mut().io(|s| s.is_open());
    if is_open && !shared.is_named(flow, session) {
        return Step::Bad;
    }
    let step = take_messages(&mut shared, session, flow);
    // Reading answers pings.
    if stream.pass_on(session) { step } else { Step::Bad }
}

/// Takes the whole messages of a stream with layers.
fn take_messages(shared: &mut Core, session: &RefCell<Kept<Layers>>, flow: Flow) -> Step {
    let mut taken = false;
    loop {
        let frame = shared.region.run(|i| session.borrow_mut().with(i.secrets, |s| s.scan()));
        let (len, message) = match frame {
            Ok(Ok(Frame::Message(len))) => (len, true),
            Ok(Ok(Frame::Blank(blank))) => (blank.len, blank.ping),
            Ok(Ok(Frame::Partial)) => {
                let (has_begun, is_closed) = session.borrow_mut().io(|s| (s.has_begun(), s.is_closed()));
                return match (is_closed, taken, has_begun) {
                    (true, ..) => Step::Closed,
                    (_, true, _) => Step::Next,
                    (.., true) => Step::Wait,
                    _ => Step::Open,
                };
            }
            _ => return Step::Bad,
        };
        let copied = shared.region.receive(|buffer| {
            session.borrow_mut().io(|s| s.take(len, buffer));
            Ok((len, ()))
        });
        if copied.is_ok() && message {
            shared.take(flow)
        } else {
            shared.region.discard()
        }
        taken = true;
    }
}

impl Core {
    /// The layers of a stream that was accepted, in secret pages.
    fn accept_layers(&mut self, protocol: Protocol) -> Result<Kept<Layers>, Broken> {
        let Self { region, store, server, .. } = self;
        let made = region.run(|i| {
            if !protocol.is_secure() {
                return store.keep(i.secrets, ROOM, || Layers::new(protocol, None));
            }
            let server = server.as_mut().ok_or(Broken)?;
            let made = server.with(i.secrets, |server| {
                store.keep(i.secrets, ROOM, || Layers::new(protocol, Some(Session::accept(server)?)))
            });
            made.unwrap_or(Err(Broken))
        });
        made.unwrap_or(Err(Broken))
    }

    /// The layers of a stream that was opened, to whoever is there by the name that was called.
    fn open_layers(&mut self, flow: Flow) -> Result<Kept<Layers>, Broken> {
        let name = self.names.get(&flow.remote).cloned().unwrap_or_else(|| flow.remote.ip().to_string());
        let Self { region, store, client, .. } = self;
        // Nobody is called by WebSocket: servers do not listen for it.
        let client = client.as_mut().filter(|_| flow.protocol == Protocol::Tls).ok_or(Broken)?;
        let made = region.run(|i| {
            let made = client.with(i.secrets, |client| {
                store.keep(i.secrets, ROOM, || {
                    Layers::new(flow.protocol, Some(Session::connect(client, &name)?))
                })
            });
            made.unwrap_or(Err(Broken))
        });
        made.unwrap_or(Err(Broken))
    }

    /// Whether the peer's certificate is the one that its trunk must have.
    fn is_named(&self, flow: Flow, session: &RefCell<Kept<Layers>>) -> bool {
        let name = self.reader.trunk(flow.trunk).and_then(|t| t.tls_name.as_deref());
        name.is_none_or(|name| session.borrow_mut().io(|s| s.peer_is(name)))
    }
}
