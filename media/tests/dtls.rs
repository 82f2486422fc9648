//! DTLS-SRTP between two threads of ours over sockets, with the product's allocator: nothing of a session lies outside of secret pages.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use media::LegId;
use media::dtls::{Agreed, Dtls, DtlsFault, Line, Opening, Role};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use vault::{Fingerprint, MediaKeys, Policy, Vault};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

fn keys() -> MediaKeys {
    MediaKeys::new(&Vault::open(Policy::AllowWeaker).unwrap()).unwrap()
}

struct Side {
    dtls: Dtls,
    socket: Arc<UdpSocket>,
    at: SocketAddr,
}

impl Side {
    fn new(keys: &MediaKeys) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let at = socket.local_addr().unwrap();
        Self { dtls: Dtls::start(keys.clone()).unwrap(), socket: Arc::new(socket), at }
    }

    fn open(
        &self,
        role: Role,
        theirs: Fingerprint,
        to: SocketAddr,
    ) -> UnboundedReceiver<Result<Agreed, DtlsFault>> {
        let (done, is_done) = unbounded_channel();
        let opening = Opening { role, theirs, socket: self.socket.clone(), to, done };
        self.dtls.open(Line::Rtp(LegId(1)), opening);
        is_done
    }

    /// Gives the thread what comes, until its side is done.
    fn serve(
        &self,
        mut done: UnboundedReceiver<Result<Agreed, DtlsFault>>,
        lose: usize,
    ) -> Result<Agreed, DtlsFault> {
        let mut buffer = [0; 2048];
        let mut count = 0;
        loop {
            if let Ok(done) = done.try_recv() {
                return done;
            }
            self.socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { continue };
            count += 1;
            if lose > 0 && count % lose == 0 {
                continue;
            }
            self.dtls.packet(Line::Rtp(LegId(1)), from, &buffer[..len]);
        }
    }
}

fn handshake(lose: usize) {
    let keys = keys();
    let (client, server) = (Side::new(&keys), Side::new(&keys));
    let at_server = server.open(Role::Server, client.dtls.fingerprint(), client.at);
    let at_client = client.open(Role::Client, server.dtls.fingerprint(), server.at);
    let (one, other) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(at_server, lose));
        (client.serve(at_client, 0), serving.join().unwrap())
    });
    let (one, other) = (one.unwrap(), other.unwrap());
    // One vault seals equal keys equally.
    assert_eq!((one.suite, one.ours, one.theirs), (other.suite, other.theirs, other.ours));
    assert_ne!(one.ours, one.theirs);
    let status = keys.vault().status();
    assert_eq!((status.escapes, status.spills, status.panics), (0, 0, 0));
}

#[test]
fn both_sides_come_to_the_same_keys() {
    handshake(0);
}

#[test]
fn lost_packets_are_sent_again() {
    handshake(3);
}

#[test]
fn who_has_another_certificate_than_was_signalled_gets_no_keys() {
    let keys = keys();
    let (client, server) = (Side::new(&keys), Side::new(&keys));
    let stranger = Fingerprint::of(b"somebody else");
    let mut at_server = server.open(Role::Server, stranger, client.at);
    let at_client = client.open(Role::Client, server.dtls.fingerprint(), server.at);
    std::thread::scope(|scope| {
        // The server believes nobody here; three strangers in a row, and the leg has failed.
        let failed = scope.spawn(|| {
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = server.socket.recv_from(&mut buffer) {
                server.dtls.packet(Line::Rtp(LegId(1)), from, &buffer[..len]);
                if let Ok(done) = at_server.try_recv() {
                    return Some(done);
                }
            }
            None
        });
        drop(at_client);
        for _ in 0..20 {
            let again = client.open(Role::Client, server.dtls.fingerprint(), server.at);
            let mut buffer = [0; 2048];
            client.socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
            while let Ok((len, from)) = client.socket.recv_from(&mut buffer) {
                client.dtls.packet(Line::Rtp(LegId(1)), from, &buffer[..len]);
            }
            drop(again);
        }
        assert_eq!(failed.join().unwrap(), Some(Err(DtlsFault::Fingerprint)));
    });
}

#[test]
fn more_handshakes_than_are_made_at_once_all_come_to_an_end() {
    let keys = keys();
    let (client, server) = (Side::new(&keys), Side::new(&keys));
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Arc::new(socket)
    };
    let open = |side: &Side, n, role, theirs, socket: &Arc<UdpSocket>, to: &Arc<UdpSocket>| {
        let (done, is_done) = unbounded_channel();
        let to = to.local_addr().unwrap();
        let opening = Opening { role, theirs, socket: socket.clone(), to, done };
        side.dtls.open(Line::Rtp(LegId(n)), opening);
        is_done
    };
    let (at_client, at_server) = (client.dtls.fingerprint(), server.dtls.fingerprint());
    let mut pairs: Vec<_> = (0..70)
        .map(|n| {
            let (near, far) = (socket(), socket());
            let answered = open(&server, n, Role::Server, at_client, &far, &near);
            let asked = open(&client, n, Role::Client, at_server, &near, &far);
            (n, [(&client, near, asked, false), (&server, far, answered, false)])
        })
        .collect();
    let mut buffer = [0; 2048];
    let begun = std::time::Instant::now();
    let mut left = 2 * pairs.len();
    while left > 0 {
        assert!(begun.elapsed().as_secs() < 60, "{left} have not ended");
        for (n, sides) in &mut pairs {
            for (side, socket, done, has_ended) in sides {
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    side.dtls.packet(Line::Rtp(LegId(*n)), from, &buffer[..len]);
                }
                if let (false, Ok(ended)) = (*has_ended, done.try_recv()) {
                    assert!(ended.is_ok(), "{ended:?}");
                    (*has_ended, left) = (true, left - 1);
                }
            }
        }
        std::thread::yield_now();
    }
}

/// What both sides of a handshake send.
fn packets() -> Vec<Vec<u8>> {
    let keys = keys();
    let (client, server) = (Side::new(&keys), Side::new(&keys));
    let mut at_server = server.open(Role::Server, client.dtls.fingerprint(), client.at);
    let mut at_client = client.open(Role::Client, server.dtls.fingerprint(), server.at);
    let mut all = Vec::new();
    let mut buffer = [0; 2048];
    for side in [&client, &server] {
        side.socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    }
    let mut left = 2;
    while left > 0 {
        for side in [&client, &server] {
            while let Ok((len, from)) = side.socket.recv_from(&mut buffer) {
                all.push(buffer[..len].to_vec());
                side.dtls.packet(Line::Rtp(LegId(1)), from, &buffer[..len]);
            }
        }
        for at in [&mut at_server, &mut at_client] {
            left -= u32::from(at.try_recv().is_ok_and(|done| done.is_ok()));
        }
    }
    all
}

#[test]
fn nothing_that_strangers_send_breaks_anything() {
    let packets = packets();
    assert!(packets.len() >= 5, "{}", packets.len());
    let keys = keys();
    let server = Side::new(&keys);
    // A generator of its own, so that each run is the same.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most
    };
    for leg in 0..300u64 {
        let line = Line::Rtp(LegId(leg));
        let (done, mut is_done) = unbounded_channel();
        let opening = Opening {
            role: if leg % 3 == 0 { Role::Client } else { Role::Server },
            theirs: Fingerprint::of(b"nobody"),
            socket: server.socket.clone(),
            to: server.at,
            done,
        };
        server.dtls.open(line, opening);
        for _ in 0..12 {
            let mut packet = packets[random(packets.len())].clone();
            for _ in 0..random(4) {
                let at = random(packet.len());
                match random(3) {
                    0 => packet[at] = random(256) as u8,
                    1 => packet.truncate(at.max(1)),
                    _ => packet.extend_from_within(at..),
                }
            }
            server.dtls.packet(line, server.at, &packet);
        }
        // The queue is not to overflow, or nothing would be tried: it is waited for the thread to come to the end of it.
        if leg % 20 == 19 {
            server.dtls.close(line);
            while is_done.blocking_recv().is_some() {}
        }
    }
    (0..300).for_each(|leg| server.dtls.close(Line::Rtp(LegId(leg))));
    let client = Side::new(&keys);
    let server = Side { socket: Side::new(&keys).socket, ..server };
    let server = Side { at: server.socket.local_addr().unwrap(), ..server };
    let at_server = server.open(Role::Server, client.dtls.fingerprint(), client.at);
    let at_client = client.open(Role::Client, server.dtls.fingerprint(), server.at);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(at_server, 0));
        assert!(client.serve(at_client, 0).is_ok() && serving.join().unwrap().is_ok());
    });
    let status = keys.vault().status();
    assert_eq!((status.escapes, status.spills, status.panics), (0, 0, 0));
}
