//! A carrier, played by SIPp. The scenarios stand in tests/sipp; `{{name}}` in them is filled in here.

use crate::harness::{Bridge, Folder, PATIENCE, Process, Setup, heard, here, samples, speech, until};
use media::Codec;
use media::Rate;
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// SIPp with one scenario, made ready and not started.
pub struct Sipp {
    command: Command,
    folder: Folder,
    scenario: String,
}

impl Sipp {
    pub fn new(scenario: &str, to: SocketAddr, service: &str, fill: &[(&str, &str)]) -> Self {
        Self::ready("127.0.0.1", scenario, to, service, fill)
    }

    /// The same from another address.
    pub fn by(own: &str, scenario: &str, to: SocketAddr, service: &str) -> Self {
        Self::ready(own, scenario, to, service, &[])
    }

    fn ready(own: &str, scenario: &str, to: SocketAddr, service: &str, fill: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let mut text = std::fs::read_to_string(here().join(format!("sipp/{scenario}.xml"))).unwrap();
        for (name, value) in fill.iter().chain(&[("pt", "0"), ("codec", "PCMU")]) {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        assert!(!text.contains("{{"), "{scenario}: not all is filled in");
        let file = folder.file("scenario.xml", text);
        let mut command = Command::new("sipp");
        command.current_dir(&folder.0).arg("-sf").arg(file).arg(to.to_string());
        command.args([
            "-nostdin",
            "-i",
            own,
            "-s",
            service,
            "-timeout",
            "18",
            "-trace_err",
            "-error_file",
            "errors",
        ]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self { command, folder, scenario: scenario.to_owned() }
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub fn start(mut self) -> Running {
        let process = Process(self.command.spawn().expect("sipp is installed"));
        Running { process, folder: self.folder, scenario: self.scenario }
    }

    /// Runs one call that must go as the scenario says.
    pub fn passes(self) {
        self.args(&["-m", "1"]).start().passes();
    }
}

pub struct Running {
    pub process: Process,
    folder: Folder,
    scenario: String,
}

impl Running {
    pub fn passes(self) {
        self.passes_within(PATIENCE);
    }

    /// The same for a call that lasts longer by its nature.
    pub fn passes_within(mut self, patience: std::time::Duration) {
        let code = self.process.wait_within(patience);
        let errors = std::fs::read_to_string(self.folder.0.join("errors")).unwrap_or_default();
        assert_eq!(code, 0, "{}: {errors}", self.scenario);
    }
}

/// A voice as SIPp streams it: raw octets of one codec.
fn raw(folder: &Folder, n: usize, codec: Codec) -> String {
    let samples = sotto::phone::read_wav(&speech(n)).unwrap().at(Rate::Narrow);
    let mut octets = vec![0; samples.len()];
    codec.encode_plain(&samples, &mut octets);
    folder.file("voice.raw", octets).display().to_string()
}

fn a_carrier_call_is_heard(codec: Codec, pt: &str, name: &str) {
    let bridge = Bridge::start();
    let audio = raw(&bridge.folder, 2, codec);
    let recording = bridge.folder.0.join("heard.wav");
    // With the other codec, so that one taken for the other on both sides is heard.
    let other = if codec == Codec::Pcmu { "pcma" } else { "pcmu" };
    let mut listener =
        bridge.caller("confcarrier", 8.0, &["--codec", other, "--record", &recording.display().to_string()]);
    bridge.await_live("confcarrier", 1);
    Sipp::new(
        "call",
        bridge.sip,
        "confcarrier",
        &[("pt", pt), ("codec", name), ("audio", &audio), ("ms", "6000")],
    )
    .passes();
    assert_eq!(listener.wait(), 0);
    let found = heard(&samples(&speech(2)), &samples(&recording));
    assert!(found > 0.95, "the caller's voice in what the listener heard: {found}");
    let stranger = heard(&samples(&speech(5)), &samples(&recording));
    assert!(stranger < 0.7, "a voice that nobody spoke: {stranger}");
}

#[test]
fn a_pcmu_call_is_answered_and_heard() {
    a_carrier_call_is_heard(Codec::Pcmu, "0", "PCMU");
}

#[test]
fn a_pcma_call_is_answered_and_heard() {
    a_carrier_call_is_heard(Codec::Pcma, "8", "PCMA");
}

/// Octets that wait in the kernel for a UDP port.
fn waiting(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let line = table.lines().find(|l| l.contains(&format!(":{port:04X} 00000000:0000"))).unwrap();
    let queues = line.split_whitespace().nth(4).unwrap();
    u64::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

#[test]
fn cancel_before_the_answer_ends_the_call() {
    let bridge = Bridge::start();
    // The bridge answers so soon that it is stopped until INVITE and CANCEL both wait for it.
    bridge.process.signal("-STOP");
    let caller = Sipp::new("cancel", bridge.sip, "confcancel", &[]).args(&["-m", "1"]).start();
    let one = until("the INVITE waits", || Some(waiting(bridge.sip.port())).filter(|n| *n > 0));
    until("the CANCEL waits", || (waiting(bridge.sip.port()) > one || one > 2000).then_some(()));
    bridge.process.signal("-CONT");
    caller.passes();
    bridge.await_metric("sotto_calls", 0);
    assert!(bridge.roster("confcancel").is_empty());
}

#[test]
fn hold_and_resume_are_answered_and_seen() {
    let bridge = Bridge::start();
    let mut first = bridge.caller("confhold", 15.0, &[]);
    bridge.await_live("confhold", 1);
    let mut feed = bridge.watch("confhold");
    let caller = Sipp::new("hold", bridge.sip, "confhold", &[]).args(&["-m", "1"]).start();
    let events = feed.up_to("the caller left", |e| e["kind"] == "left");
    let states = events.iter().filter(|e| e["participant"]["pseudonym"] == "Guest 2");
    let mut states: Vec<&Value> = states.map(|e| &e["participant"]["state"]).collect();
    states.dedup();
    assert_eq!(states, ["joining", "live", "held", "live", "left"]);
    caller.passes();
    first.signal("-INT");
    first.wait();
}

#[test]
fn repeated_invite_and_lost_ack_make_one_call() {
    let bridge = Bridge::start();
    let caller = Sipp::new("repeats", bridge.sip, "confrepeats", &[]).args(&["-m", "1"]).start();
    // The INVITE comes twice; at 0.5 and 1.5 s the 200 is repeated, and each time SIPp repeats the INVITE.
    bridge.await_metric("sotto_sip_repeats_total", 3);
    assert_eq!(bridge.roster("confrepeats")[0]["state"], "joining", "without its ACK it is not live");
    let rows = bridge.await_live("confrepeats", 1);
    assert_eq!(rows.len(), 1);
    caller.passes();
    assert_eq!(bridge.metric("sotto_calls_routed_total"), 1);
}

#[test]
fn a_hundred_calls_at_once() {
    let bridge = Bridge::start();
    let audio = raw(&bridge.folder, 1, Codec::Pcmu);
    let fill = [("audio", audio.as_str()), ("ms", "6000")];
    let calls = Sipp::new("call", bridge.sip, "confhundred", &fill)
        .args(&["-m", "100", "-l", "100", "-r", "1000", "-mp", "40000"])
        .start();
    bridge.await_live("confhundred", 100);
    calls.passes();
    bridge.await_metric("sotto_calls", 0);
}

#[test]
fn a_stranger_gets_no_answer() {
    let bridge = Bridge::with(&Setup { trunk: "192.0.2.0/24", ..Setup::default() });
    let fill = [("user", "confx"), ("status", "404")];
    let mut caller =
        Sipp::new("refused", bridge.sip, "x", &fill).args(&["-m", "1", "-recv_timeout", "1200"]).start();
    assert_eq!(caller.process.wait(), 1, "any answer would be another end");
    assert!(bridge.metric("sotto_sip_unknown_source_total") > 0);
    assert_eq!((bridge.metric("sotto_sip_received_total"), bridge.metric("sotto_sip_sent_total")), (0, 0));
}

#[test]
fn a_number_that_is_not_ours_gets_404() {
    let bridge = Bridge::start();
    let fill = [("user", "+12025550177"), ("status", "404")];
    Sipp::new("refused", bridge.sip, "x", &fill).passes();
    assert_eq!(bridge.metric("sotto_calls_unknown_number_total"), 1);
}

#[test]
fn a_full_conference_gives_486_and_a_free_one_takes_calls_again() {
    let more = "[[conference]]\nid = \"small\"\nnumber = \"+12025550199\"\ncapacity = 1";
    let bridge = Bridge::with(&Setup { more, ..Setup::default() });
    let mut first = bridge.caller("+12025550199", 15.0, &[]);
    bridge.await_live("small", 1);
    let fill = [("user", "+12025550199"), ("status", "486")];
    Sipp::new("refused", bridge.sip, "x", &fill).passes();
    assert_eq!(bridge.roster("small").len(), 1);
    first.signal("-INT");
    first.wait();
    let audio = raw(&bridge.folder, 1, Codec::Pcmu);
    Sipp::new("call", bridge.sip, "+12025550199", &[("audio", &audio), ("ms", "100")]).passes();
}

#[test]
fn no_common_codec_gives_488() {
    let bridge = Bridge::start();
    let fill = [("user", "confcodec"), ("status", "488"), ("pt", "18"), ("codec", "G729")];
    Sipp::new("refused", bridge.sip, "x", &fill).passes();
    bridge.await_metric("sotto_calls", 0);
}

#[test]
fn a_malformed_request_gets_400_and_the_next_call_is_taken() {
    let bridge = Bridge::start();
    Sipp::new("malformed", bridge.sip, "confx", &[]).passes();
    assert_eq!(bridge.metric("sotto_calls_routed_total"), 0);
    let audio = raw(&bridge.folder, 1, Codec::Pcmu);
    Sipp::new("call", bridge.sip, "confx", &[("audio", &audio), ("ms", "100")]).passes();
}
