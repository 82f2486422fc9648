//! Webhooks, taken by the example in docs/: signed, in order, again until they are taken, and nobody's name in them.

use crate::harness::{Bridge, Folder, Process, Setup, curl_with, free_port, here, until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

fn secret(folder: &Folder) -> PathBuf {
    let file = folder.file("hook.secret", SECRET);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn bridge(port: u16, secret: &std::path::Path) -> Bridge {
    let more = format!(
        "[[webhook]]\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret_file = \"{}\"\n",
        secret.display()
    );
    Bridge::with(&Setup { more: &more, ..Setup::default() })
}

#[test]
fn the_example_takes_what_happens_and_nothing_that_others_write() {
    let (folder, port) = (Folder::new(), free_port());
    let secret = secret(&folder);
    // The receiver comes later than the first message.
    let bridge = bridge(port, &secret);
    let ada = bridge.caller("confx", 60.0, &["--name", "Ada Example", "--number", "+12025550143"]);
    bridge.await_live("confx", 1);
    until("a try has failed", || (bridge.metric("sotto_webhooks_failed_total") > 0).then_some(()));
    let mut example = Command::new("python3")
        .arg(here().join("../docs/examples/webhook.py"))
        .arg(port.to_string())
        .arg(&secret)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(example.stdout.take().unwrap()).lines();
    let _example = Process(example);
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "confx joined Guest 1");
    let _bob = bridge.caller("confx", 60.0, &[]);
    assert_eq!(next(), "confx joined Guest 2");
    assert_eq!(bridge.ask("POST", "/v1/conferences/confx/controls/lock").0, 204);
    assert_eq!(next(), "confx conference ");
    ada.signal("-INT");
    assert_eq!(next(), "confx left Guest 1");
    // Not signed; not fresh.
    let url = format!("http://127.0.0.1:{port}/hook");
    assert_eq!(curl_with("POST", &url, None, Some("{}")).0, 401);
    assert_eq!(bridge.metric("sotto_webhooks_dropped_total"), 0);
}

#[test]
fn a_message_that_was_not_taken_comes_again_with_its_id_before_the_next() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bridge = bridge(listener.local_addr().unwrap().port(), &secret(&folder));
    let _ada = bridge.caller("confx", 60.0, &["--name", "Ada Example", "--number", "+12025550143"]);
    bridge.await_live("confx", 1);
    let _bob = bridge.caller("confx", 60.0, &[]);
    let mut told = Vec::new();
    for status in ["500 Internal Server Error", "204 No Content", "204 No Content"] {
        // A connection each: none is kept.
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("webhook-id", value)) => id = value.to_owned(),
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let answer =
            if status.starts_with("204") { answer.replace("content-length: 0\r\n", "") } else { answer };
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        told.push((id, String::from_utf8(body).unwrap()));
    }
    assert_eq!(told[0], told[1], "the same again");
    assert!(
        told[1].1.contains("Guest 1") && told[2].1.contains("Guest 2") && told[1].0 != told[2].0,
        "{told:?}"
    );
    assert!(
        told.iter()
            .all(|(_, body)| !body.contains("Ada") && !body.contains("5550143") && !body.contains("jwe"))
    );
}
