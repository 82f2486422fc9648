//! W3 at full rate, over UDP and TLS, by a generator that writes and reads text alone, so that it is not what is measured; and calls in progress
//! under a flood of strangers. The bridge has one core, the generator the other.

use crate::{Bridge, floor, plan_of};
use anyhow::Context;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use sotto::loadtest::{Plan, process};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runs [`run`] on the second core.
pub(crate) fn pinned() -> anyhow::Result<()> {
    let status = Command::new("taskset")
        .args(["-c", "1"])
        .arg(std::env::current_exe()?)
        .arg("signalling-here")
        .status()?;
    anyhow::ensure!(status.success(), "the generator failed");
    Ok(())
}

/// Measures and prints the rows.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("| what | bridge | floor | ratio | bar |");
    println!("|---|---|---|---|---|");
    let floor = floor::call_floor()?;
    let certificate = Certificate::new()?;
    for secure in [false, true] {
        let name = if secure { "TLS, 4 connections" } else { "UDP" };
        let row = |what: &str, value: String, bar: &str| println!("| W3 {name}, {what} | {value} | {bar} |");
        for rate in [1_500, 3_000] {
            let bridge = certificate.bridge()?;
            let mut link = if secure { certificate.link(&bridge)? } else { Link::udp(bridge.sip)? };
            // Conferences are begun, pages are touched.
            generate(&mut link, &bridge, 500, 500)?;
            let outcome = generate(&mut link, &bridge, rate, rate as usize * 10)?;
            let Outcome { rate: held, failed, calls, cpu, p50, p99 } = outcome;
            row(
                &format!("{rate} calls/s for 10 s: held, failed"),
                format!("{held:.0}, {failed} of {calls} | – | –"),
                "all, 0",
            );
            let bar = if secure { "≤ 0.25" } else { "≤ 0.12" };
            row(
                &format!("CPU per call at {rate}/s, ms"),
                format!("{cpu:.3} | {floor:.3} | {:.1}", cpu / floor),
                bar,
            );
            row(
                &format!("setup p50 / p99 at {rate}/s, ms"),
                format!("{p50:.2} / {p99:.2} | – | –"),
                if rate == 1_500 { "≤ 5" } else { "told" },
            );
        }
    }
    flood(&certificate)
}

struct Certificate {
    folder: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
        let folder = std::env::temp_dir().join(format!("sotto-signalling-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("cert.pem"), made.cert.pem())?;
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
        Ok(Self { folder, der: made.cert.der().clone() })
    }

    fn bridge(&self) -> anyhow::Result<Bridge> {
        let (cert, key) = (self.folder.join("cert.pem"), self.folder.join("key.pem"));
        let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}\n", cert.display(), key.display());
        Bridge::with("sotto", Some("0"), ", \"tls://127.0.0.1:0\"", &tls)
    }

    fn link(&self, bridge: &Bridge) -> anyhow::Result<Link> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let to = bridge.tls.context("no TLS listener")?;
        let stream = |_| {
            let socket = TcpStream::connect(to)?;
            socket.set_nodelay(true)?;
            let name = ServerName::try_from("localhost")?;
            let mut session = ClientConnection::new(config.clone(), name)?;
            let mut handshaking = socket.try_clone()?;
            while session.is_handshaking() {
                session.complete_io(&mut handshaking)?;
            }
            socket.set_nonblocking(true)?;
            anyhow::Ok(Stream { socket, session, inbox: Vec::new() })
        };
        Ok(Link::Tls((0..4).map(stream).collect::<Result<_, _>>()?, to))
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What stays in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct Stream {
    socket: TcpStream,
    session: ClientConnection,
    inbox: Vec<u8>,
}

/// How the generator's messages go.
enum Link {
    Udp(UdpSocket, SocketAddr),
    Tls(Vec<Stream>, SocketAddr),
}

impl Link {
    fn udp(to: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        Ok(Self::Udp(socket, to))
    }

    /// What a Via and a Contact say of it, and where it leads.
    fn words(&self) -> anyhow::Result<(&'static str, SocketAddr, &'static str, SocketAddr)> {
        Ok(match self {
            Self::Udp(socket, to) => ("UDP", socket.local_addr()?, "", *to),
            Self::Tls(streams, to) => ("TLS", streams[0].socket.local_addr()?, ";transport=tls", *to),
        })
    }

    fn send(&mut self, call: usize, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Udp(socket, _) => {
                socket.send(text.as_bytes())?;
            }
            Self::Tls(streams, _) => {
                let count = streams.len();
                let stream = &mut streams[call % count];
                stream.session.writer().write_all(text.as_bytes())?;
                while stream.session.wants_write() {
                    match stream.session.write_tls(&mut stream.socket) {
                        Ok(_) => {}
                        Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                        Err(e) => return Err(e.into()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Messages that are there now.
    fn receive(&mut self, mut take: impl FnMut(&str)) -> anyhow::Result<()> {
        match self {
            Self::Udp(socket, _) => {
                let mut buffer = [0; 4096];
                while let Ok(len) = socket.recv(&mut buffer) {
                    take(std::str::from_utf8(&buffer[..len])?);
                }
            }
            Self::Tls(streams, _) => {
                for Stream { socket, session, inbox } in streams {
                    while session.wants_write() && session.write_tls(socket).is_ok() {}
                    match session.read_tls(socket) {
                        Ok(0) => anyhow::bail!("the bridge closed a connection"),
                        Ok(_) => {}
                        Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                        Err(e) => return Err(e.into()),
                    }
                    session.process_new_packets()?;
                    // All that is there is read; what follows would block.
                    let _ = session.reader().read_to_end(inbox);
                    let mut from = 0;
                    while let Some(len) = message_length(&inbox[from..]) {
                        take(std::str::from_utf8(&inbox[from..from + len])?);
                        from += len;
                    }
                    inbox.drain(..from);
                }
            }
        }
        Ok(())
    }
}

fn message_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length: usize = field(text, "Content-Length: ")?.parse().ok()?;
    (bytes.len() >= head + length).then_some(head + length)
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let from = text.find(name)? + name.len();
    text[from..].split("\r\n").next()
}

struct Outcome {
    rate: f64,
    failed: usize,
    calls: usize,
    cpu: f64,
    p50: f64,
    p99: f64,
}

/// Calls of INVITE, 200, ACK, BYE, 200 at a rate, to ever new conferences of five.
fn generate(link: &mut Link, bridge: &Bridge, rate: u64, calls: usize) -> anyhow::Result<Outcome> {
    let (via, own, parameter, to) = link.words()?;
    let run: u32 = rand::random();
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        ip = own.ip()
    );
    let request = |method: &str, n: usize, cseq: u32, tag: &str, more: &str| {
        format!(
            "{method} sip:confw{c}@{to} SIP/2.0\r\nVia: SIP/2.0/{via} {own};branch=z9hG4bK{run:x}{method}{n};rport\r\nMax-Forwards: 70\r\n\
             From: \"Ada Example\" <sip:+1202555{number:04}@example.com>;tag=f{n}\r\nTo: <sip:confw{c}@{to}>{tag}\r\nCall-ID: {run:x}-{n}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:carrier@{own}{parameter}>\r\n{more}",
            c = n / 5 % 50,
            number = 100 + n % 100,
        )
    };
    let offer = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut sent: Vec<Option<Instant>> = vec![None; calls];
    let mut setups = Vec::with_capacity(calls);
    let (mut begun_calls, mut over, mut failed) = (0, 0, 0);
    let (before, begun) = (process(bridge.child.id())?, Instant::now());
    let mut quiet = Instant::now();
    let mut replies = Vec::new();
    while over + failed < calls && quiet.elapsed() < Duration::from_secs(3) {
        let due = (begun.elapsed().as_micros() as u64 * rate / 1_000_000).min(calls as u64) as usize;
        while begun_calls < due {
            sent[begun_calls] = Some(Instant::now());
            link.send(begun_calls, &request("INVITE", begun_calls, 1, "", &offer))?;
            begun_calls += 1;
        }
        link.receive(|text| {
            quiet = Instant::now();
            let call = field(text, "Call-ID: ").and_then(|c| c.split_once('-')?.1.parse::<usize>().ok());
            let (Some(call), Some(cseq)) = (call, field(text, "CSeq: ")) else { return };
            match (text.get(8..11), cseq) {
                (Some("100"), _) => {}
                (Some("200"), "1 INVITE") => {
                    // Once for each: the time is taken.
                    let Some(at) = sent[call].take() else { return };
                    setups.push(at.elapsed().as_secs_f64() * 1e3);
                    let tag = field(text, "To: ").and_then(|t| t.split(";tag=").nth(1)).unwrap_or_default();
                    replies.push((call, format!(";tag={tag}")));
                }
                (Some("200"), _) => over += 1,
                _ => failed += 1,
            }
        })?;
        for (call, tag) in replies.drain(..) {
            let end = "Content-Length: 0\r\n\r\n";
            link.send(call, &request("ACK", call, 1, &tag, end))?;
            link.send(call, &request("BYE", call, 2, &tag, end))?;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let after = process(bridge.child.id())?;
    setups.sort_by(f64::total_cmp);
    let at = |q: f64| setups.get((setups.len() as f64 * q) as usize).copied().unwrap_or(f64::NAN);
    Ok(Outcome {
        rate: over as f64 / took,
        failed: calls - over,
        calls,
        cpu: (after.cpu_ms - before.cpu_ms) / calls as f64,
        p50: at(0.5),
        p99: at(0.99),
    })
}

/// Calls in progress while strangers send 50,000 INVITEs a second.
fn flood(certificate: &Certificate) -> anyhow::Result<()> {
    let bridge = certificate.bridge()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let plan = Plan { seconds: 10, rate: 100, ..plan_of(&bridge, 2, 5, 1, None, false)? };
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 66), 0))?;
    let to = bridge.sip;
    // After the calls are up; their memory is there already.
    let calm = runtime.block_on(sotto::loadtest::measure(&Plan { seconds: 3, ..plan.clone() }, |_| {}))?;
    let before = process(bridge.child.id())?;
    let begun = Instant::now();
    let thread = std::thread::spawn({
        let (over, sent) = (over.clone(), sent.clone());
        move || {
            let text =
                "INVITE sip:confflood1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.66;branch=z9hG4bK1\r\n"
                    .repeat(5);
            while !over.load(Ordering::Relaxed) {
                let due = begun.elapsed().as_micros() as u64 / 20;
                while sent.load(Ordering::Relaxed) < due {
                    // What the kernel does not take is lost, as on the wire.
                    let _ = socket.send_to(text.as_bytes(), to);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    });
    let outcome = runtime.block_on(sotto::loadtest::measure(&plan, |_| {}));
    over.store(true, Ordering::Relaxed);
    let rate = sent.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    anyhow::ensure!(thread.join().is_ok(), "the flood failed");
    let (outcome, after) = (outcome?, process(bridge.child.id())?);
    let grown = (after.resident_kb - before.resident_kb) / 1e3;
    let row = |what: &str, value: String, bar: &str| println!("| flood, {what} | {value} | {bar} |");
    row("messages/s of strangers", format!("{rate:.0} | – | –"), "50,000");
    row(
        "packets lost / received of calls in progress",
        format!("{} / {} | {} | –", outcome.packets_lost, outcome.packets_received, calm.packets_lost),
        "0",
    );
    row("resident memory grown, MB", format!("{grown:.1} | – | –"), "< 10");
    let cores = (after.cpu_ms - before.cpu_ms) / begun.elapsed().as_secs_f64() / 1e3;
    row("CPU of the bridge, cores", format!("{cores:.2} | – | –"), "told");
    Ok(())
}
