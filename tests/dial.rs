//! Calls that the bridge makes: people who are dialled in over carriers that SIPp plays, transfers, and what keeps a trunk up.

use crate::harness::{Bridge, Folder, Setup, TOKEN, curl, free_port, sotto, until};
use crate::sipp::{Running, Sipp};
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;

const CONFERENCE: &str = "confdial";
const NUMBER: &str = "+12025550143";
const OPERATOR: &str = "a-token-of-an-operator";

/// SIPp as a carrier that is called.
fn carrier(scenario: &str, port: u16) -> Running {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let port = port.to_string();
    Sipp::new(scenario, nowhere, "x", &[]).args(&["-m", "1", "-p", &port]).start()
}

/// A trunk to each port in order, without keep-alive.
fn trunks(ports: &[u16], more: &str) -> String {
    let to = |port: &u16| format!("\"udp://127.0.0.1:{port}\"");
    let mut text = format!(
        "to = [{}]\ncaller = \"+12025550100\"\nasserts = true\nkeep_alive = 0\n{more}\n",
        to(&ports[0])
    );
    for (place, port) in ports.iter().enumerate().skip(1) {
        text += &format!(
            "[[trunk]]\nname = \"next{place}\"\nto = [{}]\ncaller = \"+12025550100\"\nkeep_alive = 0\n",
            to(port)
        );
    }
    text + "[dial]\nallowed = [\"+1202\", \"+44\"]\ndenied = [\"+1900\", \"+447\"]\nring = 5\nsilence = 2\nper_conference = 3\n"
}

fn bridge(ports: &[u16], more: &str) -> Bridge {
    let tokens = format!("{OPERATOR} role=operator\n");
    Bridge::with(&Setup { more: &trunks(ports, more), tokens: &tokens, ..Setup::default() })
}

/// `sotto dial`: the participant, or why not.
fn dial(bridge: &Bridge, number: &str) -> Result<String, String> {
    let token = bridge.folder.file("dial.token", TOKEN);
    let mut command = sotto();
    command.args(["dial", CONFERENCE, "-", "--server", &format!("http://{}", bridge.http), "--token-file"]);
    command.arg(token).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(number.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn act(bridge: &Bridge, participant: &str, action: &str) -> u16 {
    bridge.ask("POST", &format!("/v1/conferences/{CONFERENCE}/participants/{participant}/{action}")).0
}

fn state(bridge: &Bridge, participant: &str) -> Option<String> {
    let rows = bridge.roster(CONFERENCE);
    let row = rows.iter().find(|r| r["id"] == participant)?;
    Some(row["state"].as_str().unwrap().to_owned())
}

fn await_state(bridge: &Bridge, participant: &str, wanted: Option<&str>) {
    until(&format!("the row is {wanted:?}"), || {
        (state(bridge, participant).as_deref() == wanted).then_some(())
    });
}

/// A conference with one caller, to which somebody is dialled by a scenario; what `then` does with the participant; the scenario passes.
fn dialled(scenario: &str, more: &str, then: impl FnOnce(&Bridge, &str)) {
    let port = free_port();
    let carrier = carrier(scenario, port);
    let bridge = bridge(&[port], more);
    let _ada = bridge.caller(CONFERENCE, 30.0, &["--name", "Ada", "--number", "+12025550199"]);
    bridge.await_live(CONFERENCE, 1);
    let participant = dial(&bridge, NUMBER).unwrap();
    then(&bridge, &participant);
    carrier.passes();
    await_state(&bridge, &participant, None);
}

#[test]
fn who_is_dialled_joins_and_neither_side_learns_a_name_or_number() {
    dialled("dial_answered", "", |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        let rows = bridge.roster(CONFERENCE);
        let row = rows.iter().find(|r| r["id"] == participant).unwrap();
        assert_eq!(
            (&row["number"]["status"], &row["name"]["status"]),
            (&"withheld".into(), &"absent".into())
        );
        assert_eq!(act(bridge, participant, "remove"), 204);
    });
    dialled("dial_left", "", |bridge, participant| await_state(bridge, participant, Some("live")));
    dialled("dial_reliable", "", |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "remove"), 204);
    });
    dialled("dial_forked", "", |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "remove"), 204);
    });
}

#[test]
fn who_does_not_answer_leaves_with_the_reason() {
    for (scenario, outcome) in [
        ("dial_busy", "busy"),
        ("dial_declined", "declined"),
        ("dial_unknown", "no_such_number"),
        ("dial_unavailable", "failed"),
        ("dial_no_answer", "no_answer"),
        ("dial_premium", "failed"),
    ] {
        let port = free_port();
        let carrier = carrier(scenario, port);
        let bridge = bridge(&[port], "");
        let _ada = bridge.caller(CONFERENCE, 30.0, &[]);
        bridge.await_live(CONFERENCE, 1);
        let mut feed = bridge.watch(CONFERENCE);
        let participant = dial(&bridge, NUMBER).unwrap();
        let left = feed.up_to("they left", |e| e["kind"] == "left");
        let left = &left.last().unwrap()["participant"];
        assert_eq!((&left["id"], &left["outcome"]), (&participant.into(), &outcome.into()), "{scenario}");
        carrier.passes();
    }
}

#[test]
fn a_host_begins_a_conference_by_dialling_and_it_ends_with_its_last() {
    let port = free_port();
    let carrier = carrier("dial_left", port);
    let bridge = bridge(
        &[port],
        "[[conference]]\nid = \"board\"\nnumber = \"+12025550111\"\n[[trunk]]\nname = \"second\"\nfrom = [\"192.0.2.1\"]\n",
    );
    let participant = dial(&bridge, NUMBER).unwrap();
    await_state(&bridge, &participant, Some("live"));
    carrier.passes();
    until("the conference is over", || {
        let (status, _) = bridge.ask("GET", &format!("/v1/conferences/{CONFERENCE}/roster"));
        (status == 404).then_some(())
    });
    let token = bridge.folder.file("dial.token", TOKEN);
    let dial = |conference: &str| {
        let mut command = sotto();
        command.args([
            "dial",
            conference,
            NUMBER,
            "--server",
            &format!("http://{}", bridge.http),
            "--token-file",
        ]);
        command.arg(&token).output().unwrap()
    };
    assert!(!dial("nobodys").status.success(), "no such conference");
    assert!(dial("board").status.success(), "one of ours, in which nobody is");
    assert_eq!(bridge.metric("sotto_conferences"), 1);
}

#[test]
fn another_trunk_is_tried_when_one_is_silent_or_unavailable_and_what_the_callee_says_is_final() {
    for (first, second, joins) in [
        ("dial_silent", "dial_left", true),
        ("dial_unavailable", "dial_left", true),
        ("dial_busy", "dial_left", false),
    ] {
        let ports = [free_port(), free_port()];
        let carriers = [carrier(first, ports[0]), carrier(second, ports[1])];
        let bridge = bridge(&ports, "");
        let _ada = bridge.caller(CONFERENCE, 30.0, &[]);
        bridge.await_live(CONFERENCE, 1);
        let participant = dial(&bridge, NUMBER).unwrap();
        if joins {
            await_state(&bridge, &participant, Some("live"));
        }
        await_state(&bridge, &participant, None);
        let [first, second] = carriers;
        if joins {
            second.passes();
        }
        first.passes();
        bridge.await_metric("sotto_calls", 1);
    }
}

#[test]
fn redirections_and_challenges_are_followed_within_the_rules() {
    dialled("dial_redirected", "", |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "remove"), 204);
    });
    let folder = Folder::new();
    let file = folder.file("password", "open-sesame\n");
    let login = format!("login = {{ user = \"sotto-site\", password_file = \"{}\" }}", file.display());
    dialled("dial_challenged", &login, |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "remove"), 204);
    });
}

#[test]
fn a_host_holds_and_resumes_and_meets_glare() {
    dialled("dial_held", "", |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "hold"), 204);
        await_state(bridge, participant, Some("held"));
        assert_eq!(act(bridge, participant, "resume"), 204);
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "remove"), 204);
    });
    dialled("dial_held_refreshed", "", |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "hold"), 204);
        await_state(bridge, participant, Some("held"));
    });
    dialled("dial_glare", "", |bridge, participant| {
        await_state(bridge, participant, Some("live"));
        assert_eq!(act(bridge, participant, "hold"), 204);
        await_state(bridge, participant, Some("held"));
        assert_eq!(act(bridge, participant, "remove"), 204);
    });
}

#[test]
fn toll_fraud_rules_hold_before_anything_is_sent() {
    let carriers = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = carriers.local_addr().unwrap().port();
    let bridge = bridge(&[port], "");
    let _ada = bridge.caller(CONFERENCE, 30.0, &[]);
    bridge.await_live(CONFERENCE, 1);
    for (number, why) in [
        ("+19005550143", "allows no calls"),
        ("+33199001234", "allows no calls"),
        ("+447700900123", "allows no calls"),
        ("12025550143", "E.164"),
        ("+1", "E.164"),
        ("ada@example.com", "E.164"),
        ("+12025550143;phone-context=x", "E.164"),
        ("", "E.164"),
    ] {
        let refused = dial(&bridge, number).unwrap_err();
        assert!(refused.contains(why), "{number}: {refused}");
    }
    carriers.set_nonblocking(true).unwrap();
    assert!(carriers.recv(&mut [0; 2000]).is_err(), "nothing was sent");
    for _ in 0..3 {
        dial(&bridge, NUMBER).unwrap();
    }
    let refused = dial(&bridge, NUMBER).unwrap_err();
    assert!(refused.contains("were made today"), "{refused}");
    assert_eq!(
        (bridge.metric("sotto_calls_dialled_total"), bridge.metric("sotto_calls_not_dialled_total")),
        (3, 5)
    );
    // Without a key, or sealed under another one, there is no number.
    let path = format!("http://{}/v1/conferences/{CONFERENCE}/participants", bridge.http);
    for body in [r#"{"number":"+12025550143"}"#, r#"{"number":{"jwe":"a.b.c.d.e"}}"#, "{}"] {
        let (status, text) = crate::harness::curl_with("POST", &path, Some(TOKEN), Some(body));
        assert_eq!(status, 400, "{text}");
    }
}

#[test]
fn a_transfer_is_honoured_where_the_trunk_may_and_told_of() {
    for (scenario, callee, joins) in [("refer", "dial_left", true), ("refer_busy", "dial_busy", false)] {
        let port = free_port();
        let carrier = carrier(callee, port);
        let bridge = bridge(&[port], "transfer = true");
        let _ada = bridge.caller(CONFERENCE, 30.0, &[]);
        bridge.await_live(CONFERENCE, 1);
        Sipp::new(scenario, bridge.sip, CONFERENCE, &[]).passes();
        if joins {
            bridge.await_live(CONFERENCE, 2);
        }
        carrier.passes();
        bridge.await_live(CONFERENCE, 1);
    }
}

/// The state of the trunk in the API, once the metric tells the same: it may change between the two.
fn trunk_state(bridge: &Bridge) -> String {
    trunk_now(bridge).0
}

/// The same, and how many requests in a row had no answer.
fn trunk_now(bridge: &Bridge) -> (String, u64) {
    until("API and metric agree", || {
        let (status, text) = curl("GET", &format!("http://{}/v1/trunks", bridge.http), Some(OPERATOR));
        assert_eq!(status, 200, "{text}");
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        let state = shown["trunks"][0]["state"].as_str().unwrap().to_owned();
        let name = format!("sotto_trunk_state{{trunk=\"test\",state=\"{state}\"}}");
        let misses = shown["trunks"][0]["targets"][0]["misses"].as_u64().unwrap_or(0);
        (bridge.metric(&name) == 1).then_some((state, misses))
    })
}

#[test]
fn a_trunk_that_answers_is_up_and_one_that_does_not_goes_down() {
    let port = free_port();
    let keep_alive = |bridge: &Bridge, wanted: &str| {
        until(&format!("the trunk is {wanted}"), || (trunk_state(bridge) == wanted).then_some(()));
    };
    let more = format!("to = [\"udp://127.0.0.1:{port}\"]\ncaller = \"+12025550100\"\nkeep_alive = 5\n");
    let tokens = format!("{OPERATOR} role=operator\n");
    let first = carrier("keep_alive", port);
    let bridge = Bridge::with(&Setup { more: &more, tokens: &tokens, ..Setup::default() });
    keep_alive(&bridge, "up");
    first.passes();
    // Who is gone from a port is known at once from its refusal, or by silence.
    let second = carrier("keep_alive_full", port);
    let full =
        until("the trunk is degraded", || Some(trunk_now(&bridge)).filter(|(state, _)| state == "degraded"));
    assert_eq!(full.1, 0, "by what it answered, not by silence");
    second.passes();
    let (status, text) = curl("GET", &format!("http://{}/v1/trunks", bridge.http), Some(TOKEN));
    assert_eq!(status, 403, "a host does not see the carriers: {text}");
}

/// A name server with a carrier's records, ended with the value.
struct NameServer {
    _process: crate::harness::Process,
    port: u16,
}

impl NameServer {
    fn start(records: &[String]) -> Self {
        let port = free_port();
        let mut command = std::process::Command::new("/usr/sbin/dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--pid-file=",
        ]);
        command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--user=", "--local=/example.com/"]);
        command.arg(format!("--port={port}")).args(records);
        let child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsmasq is installed");
        until("the name server is there", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { _process: crate::harness::Process(child), port }
    }
}

#[test]
fn a_carrier_is_found_by_naptr_and_srv_and_its_next_server_is_tried() {
    let (silent, busy, right) = (free_port(), free_port(), free_port());
    let records = [
        "--naptr-record=carrier.example.com,20,10,s,SIP+D2T,,_sip._tcp.carrier.example.com".to_owned(),
        "--naptr-record=carrier.example.com,10,10,s,SIP+D2U,,_sip._udp.elsewhere.example.com".to_owned(),
        format!("--srv-host=_sip._udp.elsewhere.example.com,one.example.com,{silent},10,0"),
        format!("--srv-host=_sip._udp.elsewhere.example.com,two.example.com,{busy},20,0"),
        format!("--srv-host=_sip._udp.elsewhere.example.com,three.example.com,{right},30,0"),
        "--host-record=one.example.com,127.0.0.1".to_owned(),
        "--host-record=two.example.com,127.0.0.1".to_owned(),
        "--host-record=three.example.com,127.0.0.1".to_owned(),
    ];
    let names = NameServer::start(&records);
    let carriers =
        [carrier("dial_silent", silent), carrier("dial_unavailable", busy), carrier("dial_located", right)];
    let more = "to = [\"nowhere.example.com\", \"carrier.example.com\"]\ncaller = \"+12025550100\"\nkeep_alive = 0\n\
                [dial]\nallowed = [\"+1\"]\nsilence = 2\n";
    let sip = format!("nameservers = [\"127.0.0.1:{}\"]", names.port);
    let tokens = format!("{OPERATOR} role=operator\n");
    let bridge = Bridge::with(&Setup { more, sip: &sip, tokens: &tokens, ..Setup::default() });
    let _ada = bridge.caller(CONFERENCE, 30.0, &[]);
    bridge.await_live(CONFERENCE, 1);
    let shown = until("all its servers are found", || {
        let (_, text) = curl("GET", &format!("http://{}/v1/trunks", bridge.http), Some(OPERATOR));
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        let targets = shown["trunks"][0]["targets"].as_array().unwrap().clone();
        // The last is the TCP service, which has no server: its name has no records.
        (targets.len() == 3).then_some(targets)
    });
    let ports: Vec<_> = shown.iter().map(|t| t["address"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ports, [silent, busy, right].map(|p| format!("127.0.0.1:{p}")));
    let participant = dial(&bridge, NUMBER).unwrap();
    await_state(&bridge, &participant, Some("live"));
    assert_eq!(act(&bridge, &participant, "remove"), 204);
    carriers.into_iter().for_each(Running::passes);
    assert!(bridge.log().contains("a carrier's address was not found"), "the first place has no records");
}

#[test]
fn a_carrier_is_called_over_tls_by_its_domains_certificate() {
    let authority = crate::tls::Authority::new();
    let [cert, key] = authority.sign("bridge", "DNS:bridge.example.com");
    let [theirs, their_key] = authority.sign("carrier", "DNS:carrier.example.com");
    let port = free_port();
    let names = NameServer::start(&[
        format!("--srv-host=_sips._tcp.carrier.example.com,sbc.example.com,{port},10,0"),
        "--host-record=sbc.example.com,127.0.0.1".to_owned(),
    ]);
    // Its certificate is for the domain, not for the server that DNS names (RFC 5922 section 4).
    let mut server = std::process::Command::new("openssl");
    server
        .args(["s_server", "-accept", &port.to_string(), "-quiet", "-cert"])
        .arg(theirs)
        .arg("-key")
        .arg(their_key);
    let child = server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut server = crate::harness::Process(child);
    // Before it listens the bridge would count a miss, and want two answers where this one gives one.
    until("the carrier listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let sip = format!(
        "nameservers = [\"127.0.0.1:{}\"]\ntls = {{ cert = \"{}\", key = \"{}\", trusted = \"{}\" }}",
        names.port,
        cert.display(),
        key.display(),
        authority.ca()
    );
    let more = "to = [\"tls://carrier.example.com\"]\ncaller = \"+12025550100\"\nkeep_alive = 5\ncontact_host = \"bridge.example.com\"\n\
                [dial]\nallowed = [\"+1\"]\n";
    let tokens = format!("{OPERATOR} role=operator\n");
    let also = ", \"tls://127.0.0.1:0\"";
    let bridge = Bridge::with(&Setup { more, sip: &sip, also, tokens: &tokens, ..Setup::default() });
    let mut heard = std::io::BufReader::new(server.0.stdout.take().unwrap());
    let mut lines = String::new();
    while !lines.ends_with("\r\n\r\n") {
        std::io::BufRead::read_line(&mut heard, &mut lines).unwrap();
    }
    let field =
        |name: &str| lines.split("\r\n").find_map(|l| l.strip_prefix(name)).unwrap_or_default().to_owned();
    assert!(lines.starts_with("OPTIONS sip:carrier.example.com SIP/2.0\r\n"), "{lines}");
    assert!(field("Via: ").starts_with("SIP/2.0/TLS bridge.example.com:"), "{lines}");
    assert_eq!(field("From: ").split(">;tag=").next(), Some("<sip:+12025550100@bridge.example.com"));
    let answer =
        ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "].map(|n| format!("{n}{}\r\n", field(n))).concat();
    let answer = format!("SIP/2.0 200 OK\r\n{answer}Content-Length: 0\r\n\r\n");
    server.0.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
    until("the trunk is up", || (trunk_state(&bridge) == "up").then_some(()));
}
