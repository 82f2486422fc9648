//! TCP: accepted and opened streams.
//!
//! A partial message is left in the kernel: it is looked at with MSG_PEEK inside the region and taken only when it is whole. So
//! no ordinary memory holds it while the rest is awaited. What could not be written at once waits sealed.

use super::framing::{Frame, scan};
use super::worker::{Core, Shared, add, flush};
use crate::dialog::Flow;
use crate::message::fields::context;
use crate::message::lexer::MOST_BYTES;
use crate::message::{Protocol, Reader};
use socket2::{SockRef, Socket};
use std::cell::RefCell;
use std::collections::VecDeque;
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
use vault::{Field, Region, Sealed, Signalling, SignallingText};

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
    source: IpAddr,
    outbox: RefCell<Outbox>,
    /// Rings when the outbox begins to fill or must be closed.
    written: Notify,
}

#[derive(Default)]
struct Outbox {
    waiting: VecDeque<(u64, Sealed<SignallingText>)>,
    bytes: usize,
    broken: bool,
}

impl Stream {
    fn new(stream: TcpStream, source: IpAddr) -> Self {
        Self { stream, source, outbox: RefCell::default(), written: Notify::new() }
    }

    /// Writes the composed message; what the kernel does not take waits sealed. False when the peer is cut off.
    pub(super) fn send(&self, region: &mut Region, reader: &Reader) -> bool {
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
        !self.outbox.borrow().waiting.is_empty()
    }

    fn is_broken(&self) -> bool {
        self.outbox.borrow().broken
    }
}

/// Accepts streams for ever.
pub(super) async fn listen(core: Shared, listener: TcpListener) {
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
        if shared.streams.len() >= most || of_source(&shared, remote.ip()) >= most_of_one {
            add(&shared.counters.streams_refused);
            continue;
        }
        let Ok(local) = stream.local_addr() else { continue };
        let connection = shared.new_stream();
        let local = shared.local_address(local, remote.ip());
        let flow = Flow { remote, local, connection, protocol: Protocol::Tcp, trunk: admission.trunk };
        drop(shared);
        tokio::task::spawn_local(serve(core.clone(), stream, flow));
    }
}

fn of_source(core: &Core, ip: IpAddr) -> usize {
    core.streams.values().filter(|s| s.source == ip).count()
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
            serve(core, stream, Flow { connection, ..flow }).await;
        }
        _ => {
            core.borrow_mut().failed(flow);
            flush(&core);
        }
    }
}

async fn serve(core: Shared, stream: TcpStream, flow: Flow) {
    // Answers are small and wanted now.
    let _ = SockRef::from(&stream).set_tcp_nodelay(true);
    let stream = Rc::new(Stream::new(stream, flow.remote.ip()));
    let counters = core.borrow().counters.clone();
    counters.streams.fetch_add(1, Ordering::Relaxed);
    core.borrow_mut().opened(flow, stream.clone());
    flush(&core);
    let bad = converse(&core, &stream, flow).await;
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
    let mut deadline = Instant::now() + idle_time;
    let mut begun = false;
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
        match step(core, stream, flow) {
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
