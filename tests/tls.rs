//! SIP over TLS, with certificates that openssl made: our own phone, openssl's client and baresip as peers.

use crate::harness::{Bridge, Process, Setup, until};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub use crate::authority::Authority;

/// A bridge with a TLS listener and a trunk as `trunk` says, and the listener's address.
fn bridge(authority: &Authority, trunk: &str) -> Bridge {
    let tls = authority.settings("DNS:localhost,IP:127.0.0.1");
    Bridge::with(&Setup { also: ", \"tls://127.0.0.1:0\"", sip: &tls, more: trunk, ..Setup::default() })
}

const OPTIONS: &str = "OPTIONS sip:confx@localhost SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKone;rport\r\nFrom: <sip:a@example.com>;tag=1\r\n\
    To: <sip:confx@example.com>\r\nCall-ID: one\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContact: <sip:a@127.0.0.1:9;transport=tls>\r\nContent-Length: 0\r\n\r\n";

/// What openssl's client shows of a session in which it says OPTIONS, up to the answer's end or the session's.
fn asked(bridge: &Bridge, args: &[&str]) -> String {
    let to = bridge.also.unwrap().to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &to, "-servername", "localhost", "-ign_eof"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Process(command.spawn().unwrap());
    // It may have ended already.
    let _ = client.0.stdin.as_mut().unwrap().write_all(OPTIONS.as_bytes());
    let mut out = client.0.stdout.take().unwrap();
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match out.read(&mut buffer).unwrap() {
            0 => break,
            n => text.extend_from_slice(&buffer[..n]),
        }
        if String::from_utf8_lossy(&text).contains("Content-Length: 0\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let authority = Authority::new();
    let bridge = bridge(&authority, "");
    for version in ["-tls1_2", "-tls1_3"] {
        let text = asked(&bridge, &[version, "-CAfile", &authority.ca(), "-verify_return_error"]);
        assert!(
            text.contains("SIP/2.0 200 OK") && text.contains("Verify return code: 0"),
            "{version}: {text}"
        );
    }
    for version in ["-tls1_1", "-tls1"] {
        let text = asked(&bridge, &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!text.contains("SIP/2.0"), "{version}: {text}");
    }
    // The bridge closes what is over.
    bridge.await_metric("sotto_sip_streams", 0);
}

#[test]
fn our_phone_calls_by_tls_and_believes_only_the_right_certificate() {
    let authority = Authority::new();
    let bridge = bridge(&authority, "");
    let port = bridge.also.unwrap().port();
    let call = |uri: &str, ca: &str| {
        let mut command = crate::harness::sotto();
        command.args(["call", uri, "--seconds", "1", "--local", "127.0.0.1", "--tls-ca", ca]);
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    for uri in
        [format!("sip:conftls@localhost:{port};transport=tls"), format!("sips:conftls@127.0.0.1:{port}")]
    {
        let mut phone = call(&uri, &authority.ca());
        bridge.await_live("conftls", 1);
        assert_eq!(phone.wait(), 0, "{uri}");
        bridge.await_metric("sotto_calls", 0);
    }
    let other = Authority::new();
    let mut phone = call(&format!("sip:conftls@localhost:{port};transport=tls"), &other.ca());
    assert_ne!(phone.wait(), 0, "another authority's certificate");
    assert_eq!(bridge.metric("sotto_calls_routed_total"), 2);
}

#[test]
fn a_trunk_is_known_by_its_certificates_name_and_may_come_by_nothing_else() {
    let authority = Authority::new();
    let bridge = bridge(&authority, "tls_name = \"carrier.example.net\"");
    let [right, right_key] = authority.sign("right", "DNS:carrier.example.net");
    let [wrong, wrong_key] = authority.sign("wrong", "DNS:other.example.net");
    let of = |cert: &PathBuf, key: &PathBuf| {
        asked(&bridge, &["-cert", &cert.display().to_string(), "-key", &key.display().to_string()])
    };
    assert!(of(&right, &right_key).contains("SIP/2.0 200 OK"));
    assert!(!of(&wrong, &wrong_key).contains("SIP/2.0"));
    assert!(!asked(&bridge, &[]).contains("SIP/2.0"), "without a certificate");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let before = bridge.metric("sotto_sip_unknown_source_total");
    socket.send_to(OPTIONS.as_bytes(), bridge.sip).unwrap();
    until("the datagram is dropped", || {
        (bridge.metric("sotto_sip_unknown_source_total") > before).then_some(())
    });
    assert_eq!(bridge.metric("sotto_sip_requests_total"), 1);
}

#[test]
fn certificates_are_taken_again_without_a_restart_and_faulty_ones_are_not() {
    let authority = Authority::new();
    let bridge = bridge(&authority, "");
    let serial = || {
        let text = asked(&bridge, &["-CAfile", &authority.ca()]);
        assert!(text.contains("SIP/2.0 200 OK"), "{text}");
        let pem = text.split("-----BEGIN CERTIFICATE-----").nth(1).unwrap();
        pem.split("-----END").next().unwrap().to_owned()
    };
    let first = serial();
    authority.sign("bridge", "DNS:localhost,IP:127.0.0.1");
    assert_eq!(serial(), first, "not before it is told");
    bridge.process.signal("-HUP");
    until("another certificate is shown", || (serial() != first).then_some(()));
    let second = serial();
    authority.folder.file("bridge.key", "no key");
    bridge.process.signal("-HUP");
    until("it is told", || bridge.log().contains("certificates stay as they were").then_some(()));
    assert_eq!(serial(), second);
}
