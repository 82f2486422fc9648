//! The portal in a real browser, with real calls: a host's whole story, and what axe says of it.

use crate::harness::{Bridge, Folder, Process, Setup, endless, page, sotto};
use crate::listener::Listener;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const BOARD: &str = "+12025550171";
const PASSWORD: &str = "four random words here";

/// An account, made by the command that makes the first admin too.
pub fn add_user(config: &Path, login: &str, more: &[&str]) -> Value {
    let mut command = sotto();
    command.args(["user", "add", login, "--json", "--config"]).arg(config).args(more);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_host_sees_and_steers_the_meeting_in_a_browser() {
    let more = format!(
        "trusted = true\n[[conference]]\nid = \"board\"\nnumber = \"{BOARD}\"\npin = \"424242\"\nhost_pin = \"990011\"\n"
    );
    let bridge = Bridge::with(&Setup { more: &more, ..Setup::default() });
    add_user(
        &bridge.folder.0.join("bridge.toml"),
        "ada@example.com",
        &["--role", "host", "--conferences", "board"],
    );
    let mut phones = HashMap::new();
    let call = |name: &str, more: &[&str]| {
        Listener::call(&bridge, BOARD, &format!("{name}.wav"), &[more, &["--dtmf", "424242#"]].concat())
    };
    // What somebody is called is text, whatever they are called.
    let mallory = "<img src=x onerror=alert(1)>";
    phones.insert("mallory", call("mallory", &["--name", mallory, "--number", "+12025550199"]));
    bridge.await_live("board", 1);
    let voice = endless(&bridge.folder, 3).display().to_string();
    let ada = ["--name", "Ada Example", "--number", "+12025550143", "--wav", &voice];
    phones.insert("ada", call("ada", &ada));
    bridge.await_live("board", 2);
    phones.insert(
        "bob",
        call("bob", &["--name", "Bob Example", "--number", "+12025550150", "--privacy", "id"]),
    );
    bridge.await_live("board", 3);

    let pictures = Folder::new();
    let mut browser = Command::new("timeout")
        .args(["150", "node"])
        .arg(page("portal.mjs"))
        .args([&format!("http://{}", bridge.http), "ada@example.com", PASSWORD])
        .arg(std::env::var_os("SOTTO_PICTURES").unwrap_or_else(|| pictures.0.clone().into()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(browser.stdout.take().unwrap()).lines();
    let browser = Process(browser);
    let mut found = Value::Null;
    for line in lines.map_while(Result::ok) {
        match line.split_once(' ').unwrap() {
            ("press", wish) => {
                let (who, keys) = wish.split_once(' ').unwrap();
                phones.get_mut(who).unwrap().press(keys);
            }
            ("call", "eve") => {
                phones.insert("eve", call("eve", &["--name", "Eve Example", "--number", "+12025550144"]));
            }
            ("found", text) => found = serde_json::from_str(text).unwrap(),
            _ => panic!("{line}"),
        }
    }
    drop(browser);
    assert_eq!(found["faults"], json!([]));
    assert_eq!(
        found,
        json!({
            "elsewhere": [], "errors": [], "faults": [],
            "wrong": "Name, password or one-time password is wrong",
            "meetings": ["board"],
            "people": [format!("{mallory}Guest 1"), "Ada ExampleGuest 2", "Bob ExampleGuest 3"],
            "numbers": ["+12025550199", "+12025550143", "number withheld"],
            "count": "3", "scripts": 0, "speaks": "Ada ExampleGuest 2",
            "withheld": "number withheld",
            "overflow": false,
            "waits": "Eve ExampleGuest 4",
            "title": "Figures of May – Sotto",
            "stored": 0, "token": null
        })
    );
}
