//! The portal in a real browser, with real calls: a host's whole story, and what axe says of it.

use crate::harness::{
    Bridge, Folder, Process, Setup, add_user_as, curl, endless, free_port, heard, page, samples, sotto,
    speech, until,
};
use crate::listener::{Listener, prompt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const BOARD: &str = "+12025550171";
/// The most samples that a recording's file is behind what is heard: what a writer holds back, and the buffers before it.
const LAG: usize = 6_000;
pub const PASSWORD: &str = "four random words here";

/// An account, made by the command that makes the first admin too.
pub fn add_user(config: &Path, login: &str, more: &[&str]) -> Value {
    add_user_as(config, login, PASSWORD, more)
}

/// Has a browser go through a story, and sees to each line that it says; what it found in the end.
fn story(name: &str, arguments: &[&str], mut see_to: impl FnMut(&str)) -> Value {
    let pictures = Folder::new();
    let mut browser = Command::new("timeout")
        .args(["150", "node"])
        .arg(page(name))
        .args(arguments)
        .arg(std::env::var_os("SOTTO_PICTURES").unwrap_or_else(|| pictures.0.clone().into()))
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut go_on = browser.stdin.take().unwrap();
    let lines = BufReader::new(browser.stdout.take().unwrap()).lines();
    let _browser = Process(browser);
    for line in lines.map_while(Result::ok) {
        if let Some(found) = line.strip_prefix("found ") {
            return serde_json::from_str(found).unwrap();
        }
        see_to(&line);
        go_on.write_all(b"\n").unwrap();
    }
    panic!("{name} ended before its story did");
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

    let found =
        story("portal.mjs", &[&format!("http://{}", bridge.http), "ada@example.com", PASSWORD], |line| {
            match line.split_once(' ').unwrap() {
                ("press", wish) => {
                    let (who, keys) = wish.split_once(' ').unwrap();
                    phones.get_mut(who).unwrap().press(keys);
                }
                ("call", "eve") => {
                    phones.insert("eve", call("eve", &["--name", "Eve Example", "--number", "+12025550144"]));
                }
                _ => panic!("{line}"),
            }
        });
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

#[test]
fn who_is_invited_comes_in_by_their_browser_and_decides_what_is_shown() {
    let bridge = Bridge::start();
    let voice = endless(&bridge.folder, 3).display().to_string();
    let phone = Listener::call(&bridge, "confx", "phone.wav", &["--wav", &voice]);
    bridge.await_live("confx", 1);
    let (status, text) = bridge.ask("POST", "/v1/conferences/confx/invitations");
    assert_eq!(status, 201, "{text}");
    let invitation: Value = serde_json::from_str(&text).unwrap();
    let link = format!("http://{}{}", bridge.http, invitation["path"].as_str().unwrap());
    let mut feed = bridge.watch("confx");
    let mut zoe = |what: &str, fits: &dyn Fn(&Value) -> bool| {
        feed.up_to(what, |e| e["participant"]["id"] == invitation["participant"] && fits(e));
    };
    let found = story("join.mjs", &[&link], |line| match line {
        "joined" => {
            zoe("she is in, with a name", &|e| e["participant"]["name"]["status"] == "shared");
            zoe("she is heard", &|e| e["participant"]["speaking"] == true);
        }
        "hidden" => zoe("her name is hidden", &|e| e["participant"]["name"]["status"] == "withheld"),
        "muted" => zoe("she is muted", &|e| e["participant"]["muted_by"] == "own"),
        "hold" | "resume" => {
            let id = invitation["participant"].as_str().unwrap();
            let path = format!("/v1/conferences/confx/participants/{id}/{line}");
            assert_eq!(bridge.ask("POST", &path).0, 204);
            let state = if line == "hold" { "held" } else { "live" };
            zoe("she is on hold or not", &|e| e["participant"]["state"] == state);
            if line == "resume" {
                zoe("she is heard again", &|e| e["participant"]["speaking"] == true);
            }
        }
        "hand" => zoe("her hand is up", &|e| e["participant"]["hand"] == true),
        "left" => zoe("she has left", &|e| e["kind"] == "left"),
        "again" => zoe("she is in again", &|e| {
            e["participant"]["state"] == "live" && e["participant"]["name"]["status"] == "absent"
        }),
        "closed" => zoe("her browser is gone", &|e| e["kind"] == "left"),
        _ => panic!("{line}"),
    });
    assert_eq!(
        found,
        json!({
            "elsewhere": [], "errors": [], "faults": [], "before": "You are not in the meeting.", "name": "shown", "hears": true, "again": "not known"
        })
    );
    // What her fake microphone says is heard by telephone: beeps.
    let loud = phone.recording().chunks(160).filter(|f| f.iter().any(|s| s.abs() > 1000.0)).count();
    assert!(loud > 3, "{loud} loud frames");
    // Who is removed does not come in again.
    let id = invitation["participant"].as_str().unwrap();
    assert_eq!(
        bridge.ask("POST", &format!("/v1/conferences/confx/participants/{id}/remove")).0,
        404,
        "she is not in"
    );
}

#[test]
fn an_operator_runs_an_event_in_a_browser() {
    let more = format!(
        "trusted = true\n[[conference]]\nid = \"event\"\nnumber = \"{BOARD}\"\npin = \"424242\"\nhost_pin = \"990011\"\nlobby = \"admit\"\nfields = [\"Company\", \"Question\"]\nattendance = true\n"
    );
    let bridge = Bridge::with(&Setup { more: &more, ..Setup::default() });
    add_user(&bridge.folder.0.join("bridge.toml"), "olga@example.com", &["--role", "operator"]);
    let call = |name: &str, pin: &str, more: &[&str]| {
        Listener::call(&bridge, BOARD, &format!("{name}.wav"), &[more, &["--dtmf", pin]].concat())
    };
    let host = call("host", "990011#", &["--name", "Hugo Example"]);
    bridge.await_live("event", 1);
    let voice = endless(&bridge.folder, 3).display().to_string();
    let comes = |name: &str, more: &[&str], count: usize| {
        let phone = call(name, "424242#", more);
        until("they wait", || (bridge.roster("event").len() == count).then_some(()));
        phone
    };
    let _olga = comes("olga", &["--name", "Olga Example", "--wav", &voice], 2);
    let mut gina = comes("gina", &["--name", "Gina Example", "--number", "+12025550144"], 3);
    let mut hans = comes("hans", &["--name", "Hans Example", "--number", "+12025550145"], 4);
    let said = samples(&speech(3));
    let found =
        story("operator.mjs", &[&format!("http://{}", bridge.http), "olga@example.com", PASSWORD], |line| {
            match line {
                "private" => {
                    // What the meeting heard before is on its way into the file for a while.
                    let now = host.so_far().len();
                    let before =
                        until("the file grows", || Some(host.so_far().len()).filter(|len| *len > now + LAG));
                    until("the guest hears the operator", || {
                        (heard(&said[..16_000], &gina.so_far()) > 0.9).then_some(())
                    });
                    let meanwhile = host.so_far().split_off(before);
                    assert!(heard(&said[..16_000], &meanwhile) < 0.6, "the meeting does not");
                }
                "in" => {
                    gina.hears(&prompt("joining"), 0);
                    let rows = bridge.roster("event");
                    let hans = rows.iter().find(|r| r["lobby"] == true).unwrap()["id"].as_str().unwrap();
                    assert_eq!(
                        bridge.ask("POST", &format!("/v1/conferences/event/participants/{hans}/admit")).0,
                        204
                    );
                    bridge.await_live("event", 4);
                }
                "hands" => {
                    gina.press("*2");
                    gina.hears(&prompt("hand-raised"), 0);
                    hans.press("*2");
                }
                "green" => {}
                "withhold" => gina.press("*67"),
                _ => panic!("{line}"),
            }
        });
    let head = "Participant,Name,Number,Profile,Company,Question";
    let list = |gina: &str| {
        json!([
            head,
            "Guest 1,Hugo Example,…0100,,,",
            "Guest 2,Olga Example,…0100,,,",
            gina,
            "Guest 4,Hans Example,…0145,,,"
        ])
    };
    assert_eq!(
        found,
        json!({
            "elsewhere": [], "errors": [], "faults": [], "number": "…0144", "floor": 1, "fields": ["Company", "Question"],
            "before": list("Guest 3,Gina Example,…0144,,Example Ltd,"),
            "after": list("Guest 3,withheld,withheld,withheld,,")
        })
    );
}

#[test]
fn a_host_makes_a_meeting_of_their_own_in_a_browser() {
    const ACCESS: &str = "+12025550170";
    let more =
        format!("[ivr]\nnumbers = [\"{ACCESS}\"]\n[[conference]]\nid = \"board\"\nnumber = \"{BOARD}\"\n");
    let bridge = Bridge::with(&Setup { more: &more, ..Setup::default() });
    add_user(
        &bridge.folder.0.join("bridge.toml"),
        "ada@example.com",
        &["--role", "host", "--conferences", "board"],
    );
    let mut phones = Vec::new();
    let found =
        story("booking.mjs", &[&format!("http://{}", bridge.http), "ada@example.com", PASSWORD], |line| {
            let (entry, pin) = line.strip_prefix("call ").unwrap().split_once(' ').unwrap();
            let name = format!("{}.wav", phones.len());
            phones.push(Listener::call(&bridge, ACCESS, &name, &["--dtmf", &format!("{entry}#{pin}#")]));
            let conference = until("the meeting is there", || {
                let (_, all) = bridge.ask("GET", "/v1/conferences");
                let all: Value = serde_json::from_str(&all).unwrap();
                let all = all["conferences"].as_array().unwrap().clone();
                all.iter().find_map(|c| c["id"].as_str().filter(|id| id.starts_with("m_")).map(str::to_owned))
            });
            bridge.await_live(&conference, phones.len());
        });
    assert_eq!(
        found,
        json!({
            "elsewhere": [], "errors": [], "faults": [], "overflow": false,
            "told": ["Number to call", "Meeting number", "PIN of guests", "PIN of hosts"],
            "own": ["Figures of June"], "in": ["number withheld"],
            "before": {
                "title": "Figures of June", "opens": "2020-01-31T09:00", "closes": "", "lobby": "off", "coming": "", "language": "",
                "hides": "these", "fields": "Company\nQuestion", "capacity": ""
            },
            "hidden": ["name", "number"],
            "wrong": "\"closes_at\": expected a time after \"opens_at\""
        })
    );
}

#[test]
fn who_has_an_account_signs_in_by_the_sites_own_provider() {
    let (port, own) = (free_port(), free_port());
    let (provider, portal) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{own}"));
    let folder = Folder::new();
    let secret = folder.file("secret", "secret of the test's own\n");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let more = format!(
        "[oidc]\nissuer = \"{provider}\"\nclient_id = \"sotto\"\nclient_secret_file = \"{}\"\nname = \"Example Ltd\"\n",
        secret.display()
    );
    let http = format!("public_url = \"{portal}\"\n");
    let bridge = Bridge::with(&Setup { http: &http, http_port: own, more: &more, ..Setup::default() });
    let config = bridge.folder.0.join("bridge.toml");
    // Before the provider is there, and while it is.
    let (status, text) = curl("POST", &format!("{portal}/v1/oidc"), None);
    assert_eq!(status, 503, "{text}");
    let output = sotto()
        .args(["user", "add", "ada@example.com", "--role", "host", "--no-password", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut process = Command::new("timeout")
        .args(["200", "node"])
        .arg(page("provider.mjs"))
        .args([&port.to_string(), &portal])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // Kept to the end: it ends where nobody reads what it says.
    let mut said = BufReader::new(process.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let _provider = Process(process);
    assert_eq!(line, "ready\n");
    let found = story("oidc.mjs", &[&portal, &provider], |line| panic!("{line}"));
    assert_eq!(
        found,
        json!({
            "elsewhere": [], "errors": [], "faults": [],
            "address": format!("{portal}/"), "kept": [null, 0, ""],
            "eve@example.com": "You have signed in there, but have no account here",
            "nobody@example.com": "The provider does not tell the name of your account, or has not verified it",
            "forged": "This sign-in was not begun in this tab",
            "unknown": "This sign-in was not begun here, was used before, or took too long: begin again",
            "denied": "The provider did not sign you in"
        })
    );
    // Nobody's name is in the log or the audit.
    let audit = std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap();
    assert!(audit.contains("signed_in"));
    assert!(!(audit + &bridge.log()).to_lowercase().contains("ada@"));
}
