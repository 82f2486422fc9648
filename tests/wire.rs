//! What is on the wire, as Wireshark's dissectors see it.

use crate::harness::{Bridge, Folder, Process, speech, told, until};
use std::path::Path;
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

#[test]
fn dissectors_see_no_error_in_a_call() {
    let bridge = Bridge::start();
    let folder = Folder::new();
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
    let voice = speech(1).display().to_string();
    let mut first = bridge.caller(
        "confwire",
        4.0,
        &["--wav", &voice, "--name", "Ada Example", "--number", "+12025550143"],
    );
    bridge.await_live("confwire", 1);
    let mut second = bridge.caller("confwire", 3.0, &["--wav", &voice, "--codec", "pcma"]);
    assert_eq!((first.wait(), second.wait()), (0, 0));
    capture.signal("-INT");
    capture.wait();

    let sip = bridge.sip.port();
    let methods =
        text(&read(&file, sip, &["-Y", "sip", "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]));
    for expected in ["INVITE", "ACK", "BYE", "\t100", "\t200"] {
        assert!(methods.contains(expected), "{expected}: {methods}");
    }
    // Warnings and errors of the protocols at hand; other traffic of this interface is not ours.
    let ours = "(sip || sdp || rtp || rtcp) && (_ws.malformed || _ws.expert.severity >= 0x600000)";
    let fields = [
        "-Y",
        ours,
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "frame.protocols",
        "-e",
        "_ws.expert.message",
    ];
    let faults = text(&read(&file, sip, &fields));
    assert_eq!(faults, "", "dissectors complain");
    let streams = text(&read(&file, sip, &["-q", "-z", "rtp,streams"]));
    let rows: Vec<&str> = streams.lines().filter(|l| l.contains("127.0.0.1")).collect();
    assert!(rows.len() >= 4, "two calls, two ways: {streams}");
    assert!(rows.iter().all(|row| row.contains("0 (0.0%)")), "packets are missing: {streams}");
    assert!(streams.contains("g711U") && streams.contains("g711A"), "{streams}");
}
