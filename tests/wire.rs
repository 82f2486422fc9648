//! What is on the wire, as Wireshark's dissectors see it.

use crate::harness::{Bridge, Folder, Process, Setup, speech, told, until};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
