//! What is on the wire, as Wireshark's dissectors see it.

use crate::harness::{Bridge, Folder, PATIENCE, Process, Setup, speech, told, until};
use media::PayloadType;
use media::codec::FRAME;
use media::rtp::{HEADER, Stream};
use sip_stack::sdp::Encoding;
use sotto::phone::{Caller, Destination, UserAgent};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use vault::{Policy, Vault};

/// tshark, with the right to capture.
fn tshark() -> Command {
    if sudo_is_needed() {
        let mut command = Command::new("sudo");
        command.args(["-n", "tshark"]);
        command
    } else {
        Command::new("tshark")
    }
}

fn sudo_is_needed() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap().trim().to_owned();
    u64::from_str_radix(&effective, 16).unwrap() & (1 << 13) == 0
}

fn read(file: &Path, sip: u16, more: &[&str]) -> Output {
    let decode = format!("udp.port=={sip},sip");
    Command::new("tshark")
        .arg("-r")
        .arg(file)
        .args(["-d", &decode, "-o", "rtp.heuristic_rtp:TRUE"])
        .args(more)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Captures what goes over the loopback interface while something is done.
fn captured(folder: &Folder, meanwhile: impl FnOnce()) -> PathBuf {
    let file = folder.0.join("call.pcap");
    let log = folder.0.join("log");
    let mut capture = Process(
        tshark()
            .args(["-i", "lo", "-F", "pcap", "-f", "udp", "-w"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("tshark is installed"),
    );
    // It says so before it does so: its file has a head once it does.
    until("tshark captures", || std::fs::metadata(&file).ok().filter(|m| m.len() >= 24));
    meanwhile();
    // What is captured is written a little later: until then it is not over.
    let last = format!("the last packet for {}", folder.0.display());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    until("all is written", || {
        socket.send_to(last.as_bytes(), "127.0.0.1:9").unwrap();
        let bytes = std::fs::read(&file).unwrap();
        bytes.windows(last.len()).any(|w| w == last.as_bytes()).then_some(())
    });
    capture.signal("-INT");
    capture.wait();
    file
}

/// What dissectors warn of or call wrong in the frames that fit.
fn faults(file: &Path, sip: u16, ours: &str) -> String {
    let ours = format!("({ours}) && (_ws.malformed || _ws.expert.severity >= 0x600000)");
    let fields = [
        "-Y",
        &ours,
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "frame.protocols",
        "-e",
        "_ws.expert.message",
    ];
    text(&read(file, sip, &fields))
}

/// Every kind of message that we send: what extensions add, refusals, and calls of ours.
#[test]
fn dissectors_see_no_malformed_message_of_ours() {
    let folder = Folder::new();
    let bridge = Bridge::with(&Setup { more: "conference_events = true", ..Setup::default() });
    let file = captured(&folder, || {
        for scenario in [
            "prack",
            "update",
            "hold_all",
            "t38",
            "options",
            "refusals",
            "session_id",
            "timer_422",
            "merged",
            "info_dtmf",
            "offerless",
            "subscribe",
        ] {
            let service = format!("conf{}", scenario.replace('_', "-"));
            let _host = (scenario == "subscribe").then(|| {
                let host = bridge.caller(&service, 10.0, &[]);
                bridge.await_live(&service, 1);
                host
            });
            crate::sipp::Sipp::new(scenario, bridge.sip, &service, &[]).passes();
        }
    });
    let sip = bridge.sip.port();
    let ours = format!("sip && udp.srcport == {sip}");
    let sent =
        text(&read(&file, sip, &["-Y", &ours, "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]));
    for expected in ["NOTIFY", "\t183", "\t405", "\t415", "\t420", "\t422", "\t481", "\t488", "\t489"] {
        assert!(sent.contains(expected), "{expected}: {sent}");
    }
    assert_eq!(faults(&file, sip, &ours), "", "dissectors complain");
}

#[test]
fn dissectors_see_no_error_in_a_call() {
    // An address of its own: what other tests send meanwhile is none of its business, and may be encrypted.
    let bridge = Bridge::with(&Setup { listen: "127.0.0.6", ..Setup::default() });
    let folder = Folder::new();
    let file = captured(&folder, || {
        let voice = speech(1).display().to_string();
        let mut first = bridge.caller(
            "confwire",
            4.0,
            &["--wav", &voice, "--name", "Ada Example", "--number", "+12025550143"],
        );
        bridge.await_live("confwire", 1);
        let mut second = bridge.caller("confwire", 3.0, &["--wav", &voice, "--codec", "pcma"]);
        assert_eq!((first.wait(), second.wait()), (0, 0));
    });

    let sip = bridge.sip.port();
    let methods =
        text(&read(&file, sip, &["-Y", "sip", "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]));
    for expected in ["INVITE", "ACK", "BYE", "\t100", "\t200"] {
        assert!(methods.contains(expected), "{expected}: {methods}");
    }
    let ours = "(sip || rtp || rtcp) && ip.addr == 127.0.0.6".to_owned();
    assert_eq!(faults(&file, sip, &ours), "", "dissectors complain");
    let streams = text(&read(&file, sip, &["-q", "-z", "rtp,streams"]));
    let rows: Vec<&str> = streams.lines().filter(|l| l.contains("127.0.0.6")).collect();
    assert!(rows.len() >= 4, "two calls, two ways: {streams}");
    assert!(rows.iter().all(|row| row.contains("0 (0.0%)")), "packets are missing: {streams}");
    assert!(streams.contains("g711U") && streams.contains("g711A"), "{streams}");
}

/// A port for RTP and the next one for RTCP, at `host`.
fn ports(host: IpAddr) -> (UdpSocket, UdpSocket) {
    until("two ports", || {
        let rtp = UdpSocket::bind((host, 0)).unwrap();
        let next = rtp.local_addr().unwrap().port().checked_add(1)?;
        Some((rtp, UdpSocket::bind((host, next)).ok()?))
    })
}

/// What a report says of the stream that we sent: losses, the highest sequence number, jitter in clock units (RFC 3550 §6.4).
fn block(report: &[u8]) -> Option<(u32, u32, u32)> {
    let at = match report.get(1)? {
        200 => 28,
        201 => 8,
        _ => return None,
    };
    let word =
        |n: usize| Some(u32::from_be_bytes(report.get(at + 4 * n..at + 4 * n + 4)?.try_into().unwrap()));
    (report[0] & 0x1f == 1).then_some(())?;
    Some((word(1)? & 0xff_ffff, word(2)?, word(3)?))
}

/// A stream of six seconds: each second packet comes 8 ms late, each seventeenth not at all, some change places. Then the bridge's
/// report on all of it is awaited.
async fn uneven(agent: &UserAgent, sip: SocketAddr, (rtp, rtcp): &(UdpSocket, UdpSocket)) -> (u32, u32, u32) {
    let to = Destination::resolve(&format!("sip:confuneven@{sip}")).await.unwrap();
    let who = Caller { name: None, number: "+12025550143".into(), privacy_id: false };
    let mut call = agent.dial(&who, &to, rtp.local_addr().unwrap()).unwrap();
    let remote = call.answered().await.unwrap().remote;
    let mut stream = Stream::new(PayloadType(0));
    let mut packets: Vec<[u8; HEADER + FRAME]> = (0..300)
        .map(|_| {
            let mut packet = [0xff; HEADER + FRAME];
            stream.write(&mut packet, FRAME as u32);
            packet
        })
        .collect();
    for n in [50, 120, 190] {
        packets.swap(n, n + 1);
    }
    let begun = Instant::now();
    for (n, packet) in (0..).zip(&packets) {
        let at = Duration::from_millis(20 * n + if n % 2 == 1 { 8 } else { 0 });
        tokio::time::sleep(at.saturating_sub(begun.elapsed())).await;
        if n % 17 != 16 {
            rtp.send_to(packet, remote).unwrap();
        }
    }
    let last = u32::from(u16::from_be_bytes([packets[299][2], packets[299][3]]));
    rtcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 1500];
    let said = loop {
        let len = rtcp.recv(&mut buffer).expect("the bridge reports");
        match block(&buffer[..len]) {
            Some(said) if said.1 & 0xffff == last => break said,
            _ => {}
        }
    };
    call.hang_up();
    call.ended().await;
    said
}

#[test]
fn the_bridges_reports_say_what_stream_analysis_says() {
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));
    let bridge = Bridge::start();
    let folder = Folder::new();
    let ports = ports(HERE);
    let mut said = None;
    let file = captured(&folder, || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        said = Some(runtime.block_on(async {
            let agent = UserAgent::start(&vault, HERE, vec![Encoding::Pcmu]).unwrap();
            uneven(&agent, bridge.sip, &ports).await
        }));
    });
    let (lost, _, jitter) = said.unwrap();
    let port = ports.0.local_addr().unwrap().port();
    let streams = text(&read(&file, bridge.sip.port(), &["-q", "-z", "rtp,streams"]));
    // Its columns: start, end, source, port, destination, port, SSRC, payload, packets, lost, %, deltas and jitters (least, mean, most), ms.
    let rows = streams.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|r| r.get(3) == Some(&port.to_string().as_str())).expect(&streams);
    assert_eq!((row[8], row[9]), ("283", "17"), "{streams}");
    assert_eq!(lost, 17, "{streams}");
    let [mean, most] = [row[15], row[16]].map(|field| field.parse::<f32>().unwrap());
    let jitter = jitter as f32 / 8.0;
    // Ours is that at the end.
    assert!(mean > 5.0 && (mean / 2.0..=most + 1.0).contains(&jitter), "{jitter} ms: {streams}");
}
