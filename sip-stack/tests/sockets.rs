//! The worker over real sockets on loopback.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sip_stack::endpoint::Event;
use sip_stack::message::{AddressBook, Reader};
use sip_stack::sdp::{self, Capabilities};
use sip_stack::transport::{Admission, Command, Config, Destination, Handle, NewCall, Protocol, Whom, start};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use vault::{Policy, Vault};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn worker(config: Config) -> (Handle, UnboundedReceiver<Event>, Vault) {
    let vault = Vault::open(Policy::AllowWeaker).unwrap();
    let book = AddressBook { numbers: vec![], adhoc_prefix: Some("conf".into()) };
    let reader = Reader::new(&vault, book).unwrap();
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config =
        Config { listen: [Protocol::Udp, Protocol::Tcp, Protocol::Ws].map(|p| (p, here)).to_vec(), ..config };
    let admit = |ip: std::net::IpAddr| {
        (ip.to_string() == "127.0.0.1").then_some(Admission {
            trunk: Default::default(),
            trusted: true,
            withhold: Default::default(),
        })
    };
    let (handle, events) = start(&vault, reader, config, Arc::new(admit)).unwrap();
    (handle, events, vault)
}

fn at(handle: &Handle, protocol: Protocol) -> SocketAddr {
    handle.listening().iter().find(|(p, _)| *p == protocol).unwrap().1
}

fn text(method: &str, via: &str, n: u32, extra: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:conf1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{via} 127.0.0.1;branch=z9hG4bK{method}{n};rport\r\n\
         From: <sip:+12025550100@example.com>;tag=f{n}\r\nTo: <sip:conf1@example.com>\r\nCall-ID: c{n}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:a@127.0.0.1>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn read_some(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 65536];
    let n = stream.read(&mut buffer).expect("an answer");
    String::from_utf8(buffer[..n].to_vec()).unwrap()
}

#[test]
fn a_udp_call_is_told_and_answered_and_text_stays_in_the_region() {
    let (handle, mut events, vault) = worker(Config::default());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(text("INVITE", "UDP", 1, "", SDP).as_bytes(), at(&handle, Protocol::Udp)).unwrap();
    let mut buffer = [0; 4096];
    let n = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..n].starts_with(b"SIP/2.0 100 Trying\r\n"));
    let Some(Event::Invite(invite)) = events.blocking_recv() else { panic!("no INVITE") };
    let (audio, _) = sdp::answer(invite.offer.as_ref().unwrap(), &Capabilities::default(), false).unwrap();
    handle
        .tell(Command::Accept(invite.call, "127.0.0.1:30000".parse().unwrap(), audio, Default::default()))
        .unwrap();
    for _ in 0..2 {
        // The second one is the retransmission, after T1.
        let n = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..n].starts_with(b"SIP/2.0 200 OK\r\n"));
    }
    let status = vault.status();
    assert!(status.scoped_heap);
    assert_eq!((status.escapes, status.spills, status.panics), (0, 0, 0));
}

#[test]
fn an_unknown_source_gets_silence_and_is_counted() {
    let (handle, _events, _vault) = worker(Config::default());
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let known = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(text("OPTIONS", "UDP", 1, "", "").as_bytes(), at(&handle, Protocol::Udp)).unwrap();
    known.send_to(text("OPTIONS", "UDP", 2, "", "").as_bytes(), at(&handle, Protocol::Udp)).unwrap();
    known.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 4096];
    // The known one's answer comes after the stranger's datagram was dealt with: one queue, in order.
    let n = known.recv(&mut buffer).unwrap();
    assert!(buffer[..n].starts_with(b"SIP/2.0 200 OK"));
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut buffer).is_err());
    assert_eq!(handle.counters().unknown_source.load(Ordering::Relaxed), 1);
}

#[test]
fn tcp_messages_may_come_in_pieces_and_together() {
    let (handle, _events, _vault) = worker(Config::default());
    let mut stream = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
    stream.set_nodelay(true).unwrap();
    let one = text("OPTIONS", "TCP", 1, "", "");
    for byte in one.as_bytes().chunks(7) {
        stream.write_all(byte).unwrap();
        std::thread::yield_now();
    }
    assert!(read_some(&mut stream).starts_with("SIP/2.0 200 OK"));
    let two = text("OPTIONS", "TCP", 2, "", "") + &text("OPTIONS", "TCP", 3, "", "");
    stream.write_all(two.as_bytes()).unwrap();
    let mut got = String::new();
    while got.matches("SIP/2.0 200 OK").count() < 2 {
        got += &read_some(&mut stream);
    }
    stream.write_all(b"\r\n\r\n").unwrap();
    assert_eq!(read_some(&mut stream), "\r\n", "pong");
}

#[test]
fn a_large_request_and_its_large_response_pass_over_tcp() {
    let (handle, _events, _vault) = worker(Config::default());
    let mut stream = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
    // Forty vias of a kilobyte each, all of which the response echoes.
    let via = format!("Via: SIP/2.0/TCP example.com;branch=z9hG4bK{}\r\n", "x".repeat(1000));
    stream.write_all(text("OPTIONS", "TCP", 1, &via.repeat(40), "").as_bytes()).unwrap();
    let mut got = String::new();
    while !got.ends_with("\r\n\r\n") {
        got += &read_some(&mut stream);
    }
    assert_eq!(got.matches("Via: ").count(), 41);
}

#[test]
fn large_answers_that_go_out_together_all_arrive_whole() {
    let (handle, _events, _vault) = worker(Config::default());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Two do not fit the send buffer together.
    let via = format!("Via: SIP/2.0/UDP example.com;branch=z9hG4bK{}\r\n", "x".repeat(1000));
    let mut buffer = vec![0; 65_536];
    for round in 0..20 {
        let several = [(1, 40), (2, 0), (3, 40)];
        for (n, vias) in several {
            let request = text("OPTIONS", "UDP", round * 10 + n, &via.repeat(vias), "");
            socket.send_to(request.as_bytes(), at(&handle, Protocol::Udp)).unwrap();
        }
        for (n, vias) in several {
            let len = socket.recv(&mut buffer).unwrap();
            let got = std::str::from_utf8(&buffer[..len]).unwrap();
            assert!(got.starts_with("SIP/2.0 200") && got.ends_with("\r\n\r\n"), "{got}");
            assert!(got.contains(&format!("\r\nCall-ID: c{}\r\n", round * 10 + n)), "in their order");
            assert_eq!(got.matches("Via: ").count(), vias + 1);
        }
    }
    assert_eq!(handle.counters().send_errors.load(Ordering::Relaxed), 0);
}

#[test]
fn a_stream_that_cannot_be_framed_is_closed() {
    let (handle, _events, _vault) = worker(Config::default());
    for bad in ["OPTIONS sip:a SIP/2.0\r\nTo: x\r\n\r\n", "\u{16}\u{3}\u{1}hello", &"a".repeat(70_000)] {
        let mut stream = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The peer may close before all is written.
        let _ = stream.write_all(bad.as_bytes());
        let mut end = [0; 16];
        assert!(matches!(stream.read(&mut end), Ok(0) | Err(_)));
    }
}

#[test]
fn a_slow_message_and_an_idle_stream_are_closed_in_time() {
    let config = Config {
        message_time: Duration::from_millis(200),
        idle_time: Duration::from_millis(400),
        ..Config::default()
    };
    let (handle, _events, _vault) = worker(config);
    for first in ["OPTIONS sip:a SIP/2.0\r\n", ""] {
        let mut stream = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Unread bytes make the kernel say so by a reset.
        let end = stream.read(&mut [0; 16]).map_err(|e| e.kind());
        assert!(
            matches!(end, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)),
            "closed by the worker: {end:?}"
        );
    }
}

#[test]
fn streams_of_one_source_are_bounded() {
    let (handle, _events, _vault) = worker(Config { streams: (100, 3), ..Config::default() });
    let mut kept = Vec::new();
    for n in 0..4 {
        let mut stream = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        if n < 3 {
            stream.write_all(text("OPTIONS", "TCP", n, "", "").as_bytes()).unwrap();
            assert!(read_some(&mut stream).starts_with("SIP/2.0 200"));
        } else {
            assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), "the fourth is closed");
        }
        kept.push(stream);
    }
}

#[test]
fn streams_in_all_are_bounded_and_a_closed_one_makes_room() {
    let (handle, mut events, _vault) = worker(Config { streams: (2, 100), ..Config::default() });
    let open = |n| {
        let mut stream = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // One that is closed may say so already to the write.
        let _ = stream.write_all(text("OPTIONS", "TCP", n, "", "").as_bytes());
        let mut first = [0; 11];
        let is_open = matches!(stream.read(&mut first), Ok(11)) && &first == b"SIP/2.0 200";
        (stream, is_open)
    };
    let (one, two, three) = (open(1), open(2), open(3));
    assert_eq!((one.1, two.1, three.1), (true, true, false));
    drop(one);
    let again = (4..100).map(open).find(|(_, is_open)| *is_open);
    assert!(again.is_some(), "the closed one made room");
    assert!(events.try_recv().is_err());
}

#[test]
fn a_peer_that_does_not_read_is_cut_off() {
    let (handle, _events, _vault) = worker(Config::default());
    let mut stream = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
    // Each is echoed in its response, which nobody reads.
    let via = format!("Via: SIP/2.0/TCP example.com;branch=z9hG4bK{}\r\n", "x".repeat(1000));
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let cut = (0..5_000).find_map(|n| {
        let request = text("OPTIONS", "TCP", n, &via.repeat(40), "");
        stream.write_all(request.as_bytes()).err()
    });
    let cut = cut.expect("it is cut off before 200 MB").kind();
    assert!(matches!(cut, std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset), "{cut:?}");
    let mut other = TcpStream::connect(at(&handle, Protocol::Tcp)).unwrap();
    other.write_all(text("OPTIONS", "TCP", 6_000, "", "").as_bytes()).unwrap();
    assert!(read_some(&mut other).starts_with("SIP/2.0 200"), "others are served");
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let vault = Vault::open(Policy::AllowWeaker).unwrap();
    let reader = Reader::new(&vault, AddressBook::default()).unwrap();
    let listen = vec![(Protocol::Udp, taken.local_addr().unwrap())];
    let error =
        start(&vault, reader, Config { listen, ..Config::default() }, Arc::new(|_| None)).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on udp://127.0.0.1:"), "{error}");
}

/// Makes a call to a number so long that its INVITE is larger than a datagram should be.
fn call_a_long_number(handle: &Handle, to: SocketAddr) {
    let call = NewCall {
        id: handle.new_call(),
        to: Destination { to: (Protocol::Udp, to), host: to.to_string(), name: None },
        whom: Whom::Address(
            format!("sip:{}@{to}", "1".repeat(1300)),
            "<sip:+12025550100@example.com>".into(),
        ),
        rtp: "127.0.0.1:30000".parse().unwrap(),
        audio: sdp::offer(&Capabilities::default()),
        privacy_id: false,
        trunk: Default::default(),
        credentials: None,
        redirects: 0,
        silence: None,
        ring: None,
    };
    handle.tell(Command::Invite(Box::new(call))).unwrap();
}

/// Sockets of both kinds on one port, of which others may have one or the other.
fn same_port() -> (UdpSocket, socket2::Socket) {
    let both = || {
        let datagrams = UdpSocket::bind("127.0.0.1:0").ok()?;
        datagrams.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
        socket.bind(&datagrams.local_addr().ok()?.into()).ok()?;
        Some((datagrams, socket))
    };
    (0..100).find_map(|_| both()).expect("a port")
}

#[test]
fn a_large_request_goes_over_tcp_and_only_without_a_listener_there_as_a_datagram() {
    let (handle, _events, _vault) = worker(Config::default());
    let (datagrams, socket) = same_port();
    let to = datagrams.local_addr().unwrap();
    socket.listen(1).unwrap();
    let streams = TcpListener::from(socket);
    call_a_long_number(&handle, to);
    let (mut stream, _) = streams.accept().unwrap();
    let invite = read_some(&mut stream);
    assert!(
        invite.starts_with("INVITE sip:1111") && invite.contains("Via: SIP/2.0/TCP 127.0.0.1:"),
        "{invite}"
    );
    let contact = format!("Contact: <sip:{};transport=tcp>", at(&handle, Protocol::Tcp));
    assert!(invite.contains(&contact), "where a stream reaches us: {invite}");
    let (handle, _events, _vault) = worker(Config::default());
    // Held and not listened on, so that nobody else does.
    let (datagrams, _held) = same_port();
    call_a_long_number(&handle, datagrams.local_addr().unwrap());
    let mut buffer = [0; 4096];
    let n = datagrams.recv(&mut buffer).expect("a datagram after all");
    let invite = std::str::from_utf8(&buffer[..n]).unwrap();
    assert!(n > 1300 && invite.contains("Via: SIP/2.0/UDP 127.0.0.1:") && !invite.contains("transport=tcp"));
    assert_eq!(datagrams.recv(&mut buffer).expect("and again after T1"), n);
}

#[test]
fn an_upgrade_or_handshake_that_does_not_end_is_closed_in_time() {
    let message_time = Duration::from_millis(200);
    let (handle, _events, _vault) = worker(Config { message_time, ..Config::default() });
    for begun in ["", "GET / HTTP/1.1\r\n"] {
        let mut stream = TcpStream::connect(at(&handle, Protocol::Ws)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 16]).expect("closed"), 0, "{begun:?}");
    }
}
