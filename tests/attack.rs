//! What attackers do to a bridge that has calls: floods, half-open calls, slow and many connections, messages made to break a parser, and the
//! tools that scanners use. Calls in progress lose no packet, and memory stays bounded.

use crate::harness::{Bridge, PATIENCE, Process, Setup, clip, here, speech, status_of, told, until};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Growth that a flood may cause, kB.
const GROWTH: u64 = 10_000;

/// Two who talk while something is done to the bridge; neither may miss a packet of the other's.
fn with_a_call(bridge: &Bridge, attack: impl FnOnce()) {
    let voice = speech(1).display().to_string();
    let child = |conference: &str| {
        let mut call = bridge.call(conference, 6.0, &["--wav", &voice]);
        call.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let calls = [child("confquiet"), child("confquiet")];
    bridge.await_live("confquiet", 2);
    attack();
    for call in calls {
        let output = call.wait_with_output().unwrap();
        assert!(output.status.success() && told(&output).contains("lost=0"), "{}", told(&output));
    }
    for metric in ["sotto_missed_ticks_total", "sotto_vault_panics_total", "sotto_vault_escapes_total"] {
        assert_eq!(bridge.metric(metric), 0, "{metric}");
    }
}

fn resident(bridge: &Bridge) -> u64 {
    status_of(bridge.process.0.id(), "VmRSS:").unwrap().parse().unwrap()
}

/// Runs what floods on a thread of its own until the value goes.
struct Flood(Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Flood {
    /// `one` sends a message with this number; so many are sent in a second.
    fn start(a_second: u64, mut one: impl FnMut(u64) + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let thread = std::thread::spawn(move || {
            let (begun, mut sent) = (Instant::now(), 0);
            while !ended.load(Ordering::Relaxed) {
                let due = begun.elapsed().as_micros() as u64 * a_second / 1_000_000;
                while sent < due {
                    one(sent);
                    sent += 1;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            sent
        });
        Self(over, Some(thread))
    }

    /// How many were sent.
    fn end(mut self) -> u64 {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

fn from(last: u8) -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap()
}

fn invite(to: SocketAddr, own: SocketAddr, number: u64, service: &str) -> String {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
        ip = own.ip()
    );
    format!(
        "INVITE sip:{service}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKa{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@example.com>;tag=t{number}\r\nTo: <sip:{service}@{to}>\r\nCall-ID: a{number}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:a@{own}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_flood_of_strangers_costs_calls_nothing() {
    let bridge = Bridge::with(&Setup { trunk: "127.0.0.1/32", ..Setup::default() });
    with_a_call(&bridge, || {
        let before = resident(&bridge);
        let (to, socket) = (bridge.sip, from(66));
        let own = socket.local_addr().unwrap();
        let flood = Flood::start(20_000, move |n| {
            let _ = socket.send_to(invite(to, own, n, "confquiet").as_bytes(), to);
        });
        std::thread::sleep(Duration::from_secs(3));
        let sent = flood.end();
        assert!(sent > 10_000 && bridge.metric("sotto_sip_unknown_source_total") > 1_000);
        assert!(resident(&bridge) < before + GROWTH, "{before} kB before, {} kB after", resident(&bridge));
        assert_eq!(bridge.metric("sotto_calls"), 2);
    });
}

#[test]
fn a_flood_of_calls_from_a_trunk_meets_its_limits() {
    let more = "[[trunk]]\nname = \"mad\"\nfrom = [\"127.0.0.77/32\"]\nlimits = { calls = 50, calls_per_second = 20, burst = 20 }\n";
    let bridge = Bridge::with(&Setup { trunk: "127.0.0.1/32", more, ..Setup::default() });
    with_a_call(&bridge, || {
        let (to, socket) = (bridge.sip, from(77));
        let own = socket.local_addr().unwrap();
        let answers = socket.try_clone().unwrap();
        // None is ever acknowledged.
        let flood = Flood::start(2_000, move |n| {
            let _ = socket.send_to(invite(to, own, n, &format!("confmad{}", n % 7)).as_bytes(), to);
        });
        until("calls are refused for their number", || {
            (bridge.metric("sotto_sip_over_limit_total") > 100).then_some(())
        });
        let before = resident(&bridge);
        std::thread::sleep(Duration::from_secs(3));
        assert!(flood.end() > 2_000);
        assert!(bridge.metric("sotto_calls") <= 52, "50 of the trunk's, and the two");
        // Each refusal is kept for its transaction's time, so that a repeat of it finds it: about 1 kB.
        assert!(
            resident(&bridge) < before + 3 * GROWTH,
            "{before} kB before, {} kB after",
            resident(&bridge)
        );
        answers.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 4096];
        until("a refusal says when to try again", || {
            let len = answers.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..len]);
            (text.starts_with("SIP/2.0 503") && text.contains("\r\nRetry-After: ")).then_some(())
        });
    });
}

#[test]
fn calls_that_are_never_acknowledged_are_ended_and_their_memory_comes_back() {
    let bridge = Bridge::start();
    let socket = from(1);
    let own = socket.local_addr().unwrap();
    for n in 0..300 {
        socket.send_to(invite(bridge.sip, own, n, "confhalf").as_bytes(), bridge.sip).unwrap();
    }
    until("all are answered", || (bridge.metric("sotto_calls") == 300).then_some(()));
    let begun = Instant::now();
    // 64·T1, and what BYEs without an answer take.
    while bridge.metric("sotto_calls") > 0 {
        assert!(begun.elapsed() < Duration::from_secs(45), "they are still there");
        std::thread::sleep(Duration::from_millis(500));
    }
    until("the conference is over", || bridge.roster("confhalf").is_empty().then_some(()));
}

#[test]
fn slow_and_many_connections_keep_nobody_out() {
    let bridge = Bridge::start();
    with_a_call(&bridge, || {
        let slow = (0..40).map(|_| TcpStream::connect(bridge.tcp).unwrap());
        let mut slow: Vec<_> = slow.collect();
        let trickle = |slow: &mut Vec<TcpStream>, byte: &[u8]| {
            slow.retain_mut(|s| s.write_all(byte).is_ok());
        };
        trickle(&mut slow, b"O");
        // From one source: no more than its share.
        let held: Vec<_> = (0..400).filter_map(|_| TcpStream::connect(bridge.tcp).ok()).collect();
        until("the rest is refused", || {
            (bridge.metric("sotto_sip_streams_refused_total") >= 100).then_some(())
        });
        assert!(bridge.metric("sotto_sip_streams") <= 256);
        drop(held);
        let before = resident(&bridge);
        // Tried and given up.
        for n in 0..100_000u32 {
            let [_, high, low, _] = (n << 8).to_be_bytes();
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            // No TIME_WAIT, of which there would be too many.
            socket.set_linger(Some(Duration::ZERO)).unwrap();
            let own = SocketAddr::from((Ipv4Addr::new(127, 1 + (n >> 16) as u8, high, low.max(1)), 0));
            let _ = socket.bind(&own.into()).and_then(|()| socket.connect(&bridge.tcp.into()));
        }
        assert!(resident(&bridge) < before + GROWTH, "{before} kB before, {} kB after", resident(&bridge));
        trickle(&mut slow, b"P");
    });
    until("half a message is waited for no longer than ten seconds", || {
        (bridge.metric("sotto_sip_streams") == 0).then_some(())
    });
}

/// Everything that comes back over a stream until the bridge closes it or has nothing more to say.
fn over_tcp(bridge: &Bridge, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(bridge.tcp).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // It may be closed while we still write.
    let _ = stream.write_all(bytes);
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(len) = stream.read(&mut buffer) {
        if len == 0 {
            break;
        }
        all.extend(&buffer[..len]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn messages_made_to_break_a_parser_are_refused_and_bring_nothing_in() {
    let bridge = Bridge::start();
    let transactions = std::cell::Cell::new(0);
    let head = |lines: &str| {
        let transaction = transactions.replace(transactions.get() + 1);
        format!(
            "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx{transaction}\r\nFrom: <sip:a@example.com>;tag=1\r\n\
             To: <sip:b@example.com>\r\nCall-ID: x{transaction}\r\nCSeq: 1 OPTIONS\r\n{lines}",
            bridge.tcp
        )
    };
    let smuggled = "INVITE sip:confin@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKin\r\n\
                    From: <sip:a@example.com>;tag=2\r\nTo: <sip:confin@127.0.0.1>\r\nCall-ID: in\r\nCSeq: 1 INVITE\r\n\
                    Contact: <sip:a@127.0.0.1>\r\nContent-Length: 0\r\n\r\n";
    let deep = "--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n".repeat(800);
    let deep = format!("{deep}--b--\r\n");
    let many = |name: &str, value: &str, count: usize| format!("{name}: {value}\r\n").repeat(count);
    let end = "Content-Length: 0\r\n\r\n";
    for (what, text, expected) in [
        ("two lengths", head("Content-Length: 0\r\nl: 5\r\n\r\n") + smuggled, None),
        (
            "a length within another",
            head(&format!("l: {}\r\nContent-Length: 0\r\n\r\n", smuggled.len())) + smuggled,
            None,
        ),
        ("a negative length", head("Content-Length: -1\r\n\r\n") + smuggled, None),
        ("a length that folds", head("Content-Length:\r\n 0\r\n\r\n") + end, Some("200")),
        ("65 KiB", head(&format!("Subject: {}\r\n{end}", "x".repeat(66_000))), None),
        ("Via bomb", head(&(many("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKy", 200) + end)), Some("413")),
        ("Route bomb", head(&(many("Route", "<sip:192.0.2.1;lr>", 200) + end)), Some("413")),
        ("compact and long", head(&format!("i: y\r\n{end}")), Some("400")),
        ("two From", head(&format!("f: <sip:c@example.com>;tag=3\r\n{end}")), Some("400")),
        ("a nul", head(&format!("Subject: \0\r\n{end}")), Some("400")),
        (
            "a body that nests",
            head("Content-Type: multipart/mixed;boundary=b\r\n")
                + &format!("Content-Length: {}\r\n\r\n{deep}", deep.len()),
            Some("200"),
        ),
        ("garbage", "\u{0}\u{1}\u{2}\u{3}".repeat(400), None),
        ("HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), None),
    ] {
        let answers = over_tcp(&bridge, text.as_bytes());
        let status = answers.strip_prefix("SIP/2.0 ").and_then(|a| a.get(..3));
        assert_eq!(status, expected, "{what}: {answers}");
        assert!(!answers.contains("Call-ID: in"), "{what}: the second message came in");
    }
    assert_eq!((bridge.metric("sotto_calls"), bridge.metric("sotto_vault_panics_total")), (0, 0));
    assert!(over_tcp(&bridge, head(end).as_bytes()).starts_with("SIP/2.0 200"), "and who is right is served");
}

/// A program of sipvicious; what it says.
fn sipvicious(name: &str, args: &[&str]) -> String {
    let program: PathBuf = here().join("../target/peers/python/bin").join(format!("sipvicious_{name}"));
    let output = Command::new("timeout").arg("30").arg(program).args(args).output().unwrap();
    told(&output)
}

#[test]
fn scanners_find_nothing_and_guess_nothing() {
    // From anywhere but a trunk: silence.
    let bridge = Bridge::with(&Setup { trunk: "127.0.0.9/32", ..Setup::default() });
    let (ip, port) = (IpAddr::from([127, 0, 0, 1]).to_string(), bridge.sip.port().to_string());
    let scan = sipvicious("svmap", &[&ip, "-p", &port, "-b", "127.0.0.1"]);
    assert!(scan.contains("found nothing") || !scan.contains(&port), "{scan}");
    let war = sipvicious("svwar", &[&ip, "-p", &port, "-e", "100-120", "-m", "INVITE", "--force"]);
    assert!(!war.contains("| 1"), "{war}");
    assert!(bridge.metric("sotto_sip_unknown_source_total") >= 1);
    assert_eq!((bridge.metric("sotto_sip_received_total"), bridge.metric("sotto_calls")), (0, 0));
    // From within a trunk: no version, and no number found.
    let bridge = Bridge::with(&Setup { trunk: "127.0.0.1/32", ..Setup::default() });
    let port = bridge.sip.port().to_string();
    let scan = sipvicious("svmap", &[&ip, "-p", &port, "-b", "127.0.0.1"]);
    assert!(!scan.contains(env!("CARGO_PKG_VERSION")), "{scan}");
    let war = sipvicious("svwar", &[&ip, "-p", &port, "-e", "100-140", "-m", "INVITE", "--force"]);
    assert!(!war.contains("reqauth") && !war.contains("noauth"), "{war}");
    let crack = sipvicious("svcrack", &[&ip, "-p", &port, "-u", "100", "-r", "1-20"]);
    assert!(!crack.contains("| 100"), "{crack}");
    assert_eq!(bridge.metric("sotto_calls"), 0);
    // What is meant to break a scanner breaks nothing here.
    let crash = Command::new("timeout")
        .arg("3")
        .arg(here().join("../target/peers/python/bin/sipvicious_svcrash"))
        .args(["-d", &ip, "-p", &port])
        .output()
        .unwrap();
    assert!(crash.status.code().is_some(), "{}", told(&crash));
    let sipsak = |more: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["20", "sipsak", "-s", &format!("sip:confsak@{}", bridge.sip)]).args(more);
        command.output().unwrap()
    };
    // Letters of a request are changed at random, more of them each time.
    sipsak(&["-R", "-t", "60"]);
    let asked = sipsak(&["-vv"]);
    assert!(asked.status.success(), "{}", told(&asked));
    assert_eq!(bridge.metric("sotto_vault_panics_total"), 0);
}

#[test]
fn a_tls_session_is_not_renegotiated() {
    let authority = crate::tls::Authority::new();
    let [cert, key] = authority.sign("bridge", "DNS:localhost,IP:127.0.0.1");
    let sip = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
    let bridge = Bridge::with(&Setup { also: ", \"tls://127.0.0.1:0\"", sip: &sip, ..Setup::default() });
    let to = bridge.also.unwrap().to_string();
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &to, "-tls1_2", "-CAfile", &authority.ca()]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    // Each line with an R asks for another handshake.
    let mut input = client.stdin.take().unwrap();
    for _ in 0..20 {
        if input.write_all(b"R\n").is_err() {
            break;
        }
    }
    let mut client = Process(client);
    client.wait();
    let mut said = String::new();
    client.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    until("the session is over", || (bridge.metric("sotto_sip_streams") == 0).then_some(()));
    let folder = crate::harness::Folder::new();
    let voice = clip(&folder, 1, 0.0).display().to_string();
    let uri = format!("sips:conftls@localhost:{}", bridge.also.unwrap().port());
    let ca = authority.ca();
    let mut call = crate::harness::sotto();
    call.args(["call", &uri, "--wav", &voice, "--tls-ca", &ca, "--local", "127.0.0.1"]);
    let output = call.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}
