//! What carriers' test plans ask, row by row: each scenario of tests/sipp is a call that SIPp makes, and says itself what it expects.
//! `docs/SIP-INTEROP.md` tells which rule each one shows.

use crate::harness::{Bridge, PATIENCE, Setup, here};
use crate::sipp::Sipp;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// One call by a scenario to a conference of its own.
fn passes(bridge: &Bridge, scenario: &str) {
    Sipp::new(scenario, bridge.sip, &format!("conf{}", scenario.replace('_', "-")), &[]).passes();
}

fn all_pass(bridge: &Bridge, scenarios: &[&str]) {
    for scenario in scenarios {
        println!("{scenario}");
        passes(bridge, scenario);
    }
    bridge.await_metric("sotto_calls", 0);
}

#[test]
fn reliable_provisional_responses_and_offers_in_each_place() {
    all_pass(&Bridge::start(), &["prack", "prack_wrong", "offerless", "multipart"]);
}

#[test]
fn sessions_are_changed_by_update_and_reinvite_and_held_in_all_spellings() {
    all_pass(&Bridge::start(), &["update", "hold_all", "t38", "cseq", "merged"]);
}

#[test]
fn what_is_not_taken_is_refused_with_what_would_be() {
    let bridge = Bridge::start();
    all_pass(&bridge, &["refusals", "options", "info_dtmf", "session_id", "refer_refused", "timer_422"]);
}

#[test]
fn sessions_are_refreshed_by_us_and_end_when_the_peer_does_not() {
    let bridge = Bridge::with(&Setup { sip: "session_expires = 90", ..Setup::default() });
    let calls = ["timer_refresh_by_us", "timer_refresh_by_reinvite", "timer_expires"];
    let service = |name: &str| format!("conf{}", name.replace('_', "-"));
    let running: Vec<_> = calls
        .iter()
        .map(|name| {
            Sipp::new(name, bridge.sip, &service(name), &[]).args(&["-m", "1", "-timeout", "80"]).start()
        })
        .collect();
    running.into_iter().for_each(|call| call.passes_within(std::time::Duration::from_secs(85)));
    bridge.await_metric("sotto_calls", 0);
}

#[test]
fn a_trunk_proves_who_it_is_and_guessing_is_met_with_silence() {
    let folder = crate::harness::Folder::new();
    let password = folder.file("password", "open-sesame\n");
    // SIPp looks at the first challenge only, and knows no SHA-256.
    let more = format!(
        "auth_algorithms = [\"MD5\", \"SHA-256\"]\nauth = {{ user = \"carrier\", password_file = \"{}\" }}",
        password.display()
    );
    let bridge = Bridge::with(&Setup { more: &more, ..Setup::default() });
    let right =
        || Sipp::new("auth", bridge.sip, "confauth", &[]).args(&["-au", "carrier", "-ap", "open-sesame"]);
    right().passes();
    Sipp::new("auth_wrong", bridge.sip, "confauth", &[])
        .args(&["-au", "carrier", "-ap", "guessed", "-m", "10", "-r", "100"])
        .start()
        .passes();
    let mut locked = right().args(&["-m", "1", "-recv_timeout", "1500"]).start();
    assert_eq!(locked.process.wait(), 1, "any answer would be another end");
    assert!(bridge.metric("sotto_sip_locked_out_total") > 0);
    assert_eq!(bridge.metric("sotto_sip_unauthorised_total"), 1 + 2 * 10);
}

#[test]
fn a_subscriber_is_told_of_a_conference_and_of_nobodys_name() {
    let bridge = Bridge::with(&Setup { more: "conference_events = true", ..Setup::default() });
    let mut first = bridge.caller("confsub", 30.0, &["--name", "Ada Example", "--number", "+12025550143"]);
    bridge.await_live("confsub", 1);
    Sipp::new("subscribe", bridge.sip, "confsub", &[]).passes();
    let watcher = Sipp::new("subscribe_partial", bridge.sip, "confsub", &[]).args(&["-m", "1"]).start();
    bridge.await_metric("sotto_sip_subscriptions", 1);
    let mut second = bridge.caller("confsub", 12.0, &[]);
    bridge.await_live("confsub", 2);
    watcher.passes();
    for caller in [&mut first, &mut second] {
        caller.signal("-INT");
        caller.wait();
    }
    let silent = Bridge::start();
    let mut first = silent.caller("confsub", 30.0, &[]);
    silent.await_live("confsub", 1);
    Sipp::new("subscribe_refused", silent.sip, "confsub", &[]).passes();
    first.signal("-INT");
    first.wait();
}

#[test]
fn a_trunks_limits_numbers_and_name_are_its_own() {
    let more = "limits = { calls = 1 }\ncontact_host = \"sbc.example.com\"\n\
        numbers = { country = \"44\", trunk_prefix = \"0\", international = \"00\", last_digits = 4 }\n\
        [[conference]]\nid = \"london\"\nnumber = \"+442079460123\"\n\
        [[conference]]\nid = \"leeds\"\nnumber = \"+441134960777\"\n\
        [[conference]]\nid = \"wales\"\nnumber = \"+442920180777\"\n\
        [[conference]]\nid = \"washington\"\nnumber = \"+12025550199\"";
    let bridge = Bridge::with(&Setup { more, ..Setup::default() });
    for number in ["02079460123", "+442079460123", "00442079460123", "2079460123", "0123", "0012025550199"] {
        println!("{number}");
        Sipp::new("national", bridge.sip, number, &[]).passes();
    }
    Sipp::new("ambiguous", bridge.sip, "0777", &[])
        .args(&["-m", "1"])
        .start()
        .passes_within(crate::harness::PATIENCE);
    Sipp::new("diverted", bridge.sip, "ignored", &[]).passes();
    let mut one = bridge.caller("+442079460123", 20.0, &[]);
    bridge.await_live("london", 1);
    Sipp::new("limited", bridge.sip, "02079460123", &[]).passes();
    assert_eq!(bridge.metric("sotto_sip_over_limit_total"), 1);
    one.signal("-INT");
    one.wait();
}

#[test]
fn calls_come_by_both_families_and_over_streams() {
    let setup = Setup {
        also: ", \"udp://[::1]:0\", \"tcp://[::1]:0\"",
        media: "address_v6 = \"::1\"",
        more: "[[trunk]]\nname = \"six\"\nfrom = [\"::1/128\"]",
        ..Setup::default()
    };
    let bridge = Bridge::with(&setup);
    let six = bridge.also.unwrap();
    assert!(six.is_ipv6());
    Sipp::by("::1", "basic", six, "confsix").passes();
    Sipp::new("basic", bridge.sip, "conffour", &[]).passes();
    for transport in ["t1", "tn"] {
        Sipp::new("basic", bridge.tcp, "conftcp", &[])
            .args(&["-t", transport, "-max_socket", "100"])
            .passes();
    }
    passes(&bridge, "other_family");
    bridge.await_metric("sotto_calls", 0);
}

#[test]
fn a_callers_number_is_verified_and_the_roster_tells_without_the_number() {
    const URL: &str = "https://cert.example.org/sp.pem";
    let (ours, theirs) = ("+12025550100", "12025550143");
    let authority = crate::tls::Authority::new();
    let [cert, key] = authority.sign_as("provider", "basicConstraints=CA:FALSE\n");
    let identity = |attest: &str, caller: &str, age: &str| {
        let output = std::process::Command::new(here().join("../target/peers/python/bin/python"))
            .arg(here().join("jose/passport.py"))
            .arg(&key)
            .args([URL, caller, &ours[1..], attest, age])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", crate::harness::told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let stir = |more: &str| {
        format!(
            "[stir]\nauthorities = \"{}\"\ncertificates = [{{ url = \"{URL}\", file = \"{}\" }}]\n{more}\n\
             [[conference]]\nid = \"board\"\nnumber = \"{ours}\"\n",
            authority.ca(),
            cert.display()
        )
    };
    let bridge = Bridge::with(&Setup { more: &stir(""), ..Setup::default() });
    let _host = bridge.caller("%2B12025550100", 20.0, &[]);
    bridge.await_live("board", 1);
    let mut feed = bridge.watch("board");
    for (identity, expected) in [
        (identity("A", theirs, "0"), Some("full")),
        (identity("C", theirs, "0"), Some("gateway")),
        (identity("A", "12025550144", "0"), Some("failed")),
        (identity("A", theirs, "90"), Some("failed")),
        (identity("A", theirs, "0").replace("sp.pem", "other.pem"), Some("full")),
        (String::from("x.y.z"), Some("failed")),
    ] {
        let call = Sipp::new("stir", bridge.sip, ours, &[("identity", &identity)]);
        call.passes();
        let events = feed.up_to("they left", |e| e["kind"] == "left");
        let left = &events.last().unwrap()["participant"];
        assert_eq!(left["verified"].as_str(), expected, "{identity}");
        assert!(!format!("{events:?}").contains(theirs));
    }
    let strict = Bridge::with(&Setup { more: &stir("refuse_invalid = true"), ..Setup::default() });
    let wrong = identity("A", "12025550144", "0");
    Sipp::new("stir_refused", strict.sip, ours, &[("identity", &wrong)]).passes();
    Sipp::new("stir", strict.sip, ours, &[("identity", &identity("B", theirs, "0"))]).passes();
}

/// What comes next to a subscriber: a response's status, or `NOTIFY` and its text, which is answered.
fn heard(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
    if let Some(status) = text.strip_prefix("SIP/2.0 ") {
        return status[..3].to_owned();
    }
    let field = |name: &str| text.split("\r\n").find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    let echo =
        ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "].map(|n| format!("{n}{}\r\n", field(n))).concat();
    socket.send_to(format!("SIP/2.0 200 OK\r\n{echo}Content-Length: 0\r\n\r\n").as_bytes(), from).unwrap();
    text
}

#[test]
fn subscribers_are_told_every_five_seconds_at_most_and_there_are_a_hundred_of_them() {
    let bridge = Bridge::with(&Setup { more: "conference_events = true", ..Setup::default() });
    let _first = bridge.caller("confmany", 30.0, &[]);
    bridge.await_live("confmany", 1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = socket.local_addr().unwrap();
    let subscribe = |n: usize| {
        let text = format!(
            "SUBSCRIBE sip:confmany@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKs{n};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:monitor@example.com>;tag=s{n}\r\nTo: <sip:confmany@{to}>\r\nCall-ID: s{n}\r\nCSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:monitor@{own}>\r\nEvent: conference\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n",
            to = bridge.sip
        );
        socket.send_to(text.as_bytes(), bridge.sip).unwrap();
    };
    // One after the other: the answer, and for who is taken the whole state.
    for n in 0..101 {
        subscribe(n);
        let expected = if n < 100 { "200" } else { "503" };
        assert_eq!(heard(&socket), expected, "subscriber {n}");
        if n < 100 {
            assert!(heard(&socket).contains("state=\"full\" version=\"1\""));
        }
    }
    let told = Instant::now();
    let _second = bridge.caller("confmany", 30.0, &[]);
    bridge.await_live("confmany", 2);
    let partial = heard(&socket);
    assert!(partial.contains("state=\"partial\" version=\"2\"") && partial.contains("Guest 2"), "{partial}");
    // The first subscribers were told a little before the last.
    assert!(told.elapsed() > Duration::from_secs(4), "told again after {:?}", told.elapsed());
}
