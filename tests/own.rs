//! What a caller decides themselves, and how: codes, the words that confirm them, the personal link and the spoken code, the receipt.

use crate::harness::{Bridge, Folder, Setup, TOKEN, curl_with, heard};
use crate::listener::{Listener, fit, prompt};
use serde_json::{Value, json};

const ADA: [&str; 4] = ["--name", "Ada Example", "--number", "+12025550143"];

fn status(row: &Value) -> [&str; 3] {
    ["name", "number", "profile"].map(|a| row[a]["status"].as_str().unwrap())
}

fn ask(bridge: &Bridge, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> (u16, Value) {
    let (status, text) = curl_with(method, &format!("http://{}{path}", bridge.http), token, body);
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

#[test]
fn a_caller_alone_hears_what_became_of_their_choice() {
    let bridge = Bridge::start();
    let bob = Listener::call(&bridge, "confx", "bob.wav", &[]);
    bridge.await_live("confx", 1);
    let keys = ["--dtmf", "wwww*67wwwwwwww#31#wwwwwww*82"];
    let ada = Listener::call(&bridge, "confx", "ada.wav", &[&ADA[..], &keys].concat());
    bridge.await_live("confx", 2);
    let mut feed = bridge.watch("confx");
    let ada_is = |expected: [&'static str; 3]| {
        move |e: &Value| e["participant"]["pseudonym"] == "Guest 2" && status(&e["participant"]) == expected
    };
    feed.up_to("all is withheld", ada_is(["withheld", "withheld", "withheld"]));
    feed.up_to("all is shared", ada_is(["shared", "shared", "absent"]));
    let words = ["hidden-all", "hidden-number", "shown-all"].map(prompt);
    let mut from = 0;
    for said in &words {
        from = ada.hears(said, from);
    }
    let bob = bob.recording();
    assert!(words.iter().all(|said| heard(said, &bob) < 0.6), "he hears nothing of it");
}

#[test]
fn codes_pressed_as_tones_are_read_and_not_heard() {
    let bridge = Bridge::start();
    let bob = Listener::call(&bridge, "confx", "bob.wav", &[]);
    bridge.await_live("confx", 1);
    let ada = bridge.caller("confx", 30.0, &[&ADA[..], &["--dtmf", "wwww*67", "--tones"]].concat());
    bridge.await_live("confx", 2);
    let mut feed = bridge.watch("confx");
    feed.up_to("all is withheld", |e| {
        e["participant"]["pseudonym"] == "Guest 2" && status(&e["participant"]) == ["withheld"; 3]
    });
    let bob = bob.recording();
    let loud = bob.chunks(160).filter(|frame| frame.iter().any(|s| s.abs() > 1000.0)).count();
    // Of each of the three tones of 100 ms a first frame may pass.
    assert!(loud <= 6, "{loud} frames of tones are heard");
    drop(ada);
}

#[test]
fn a_host_may_ask_and_can_not_reveal() {
    let bridge = Bridge::start();
    let ada = Listener::call(&bridge, "confx", "ada.wav", &[&ADA[..], &["--privacy", "id"]].concat());
    let row = bridge.await_live("confx", 1)[0].clone();
    let path = format!("/v1/conferences/confx/participants/{}/ask", row["id"].as_str().unwrap());
    assert_eq!(bridge.ask("POST", &path).0, 204);
    assert_eq!(bridge.ask("POST", &path).0, 429, "nobody is pestered");
    let words: Vec<f32> = ["ask", "star", "eight", "two"].iter().flat_map(|w| prompt(w)).collect();
    ada.hears(&words, 0);
    assert_eq!(bridge.roster("confx")[0]["number"]["status"], "withheld", "asking reveals nothing");
}

#[test]
fn a_code_that_only_the_caller_hears_opens_their_own_page_once() {
    let bridge = Bridge::start();
    let ada = Listener::call(&bridge, "confx", "ada.wav", &[&ADA[..], &["--dtmf", "wwww*83"]].concat());
    bridge.await_live("confx", 1);
    // What is spoken is written down as it is heard.
    let digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"].map(prompt);
    let code = prompt("code");
    let mut at = ada.hears(&code, 0) + code.len();
    ada.hears(&prompt("code-after"), at);
    let heard = ada.so_far();
    let mut spoken = String::new();
    for _ in 0..10 {
        // A slip moves it by some frames.
        let all = digits.iter().map(|digit| fit(digit, &heard, at.saturating_sub(800)..at + 800));
        let (digit, (_, found)) = all.enumerate().max_by(|a, b| a.1.0.total_cmp(&b.1.0)).unwrap();
        spoken.push(char::from(b'0' + digit as u8));
        at = found + digits[digit].len();
    }
    let written = format!("{} {}-{}", &spoken[..3], &spoken[3..6], &spoken[6..]);
    let body = json!({ "code": written }).to_string();
    let (status, opened) = ask(&bridge, "POST", "/v1/me/session", None, Some(&body));
    assert_eq!(status, 201, "{spoken}: {opened}");
    assert_eq!(ask(&bridge, "POST", "/v1/me/session", None, Some(&body)).0, 410, "once");
    for wrong in [
        json!({ "code": "1".repeat(65) }),
        json!({ "code": 1 }),
        json!({}),
        json!({ "code": "1", "link": "1" }),
    ] {
        assert_eq!(ask(&bridge, "POST", "/v1/me/session", None, Some(&wrong.to_string())).0, 400, "{wrong}");
    }
    let session = opened["token"].as_str().unwrap();
    let (status, me) = ask(&bridge, "GET", "/v1/me", Some(session), None);
    assert_eq!((status, &me["participant"]["pseudonym"]), (200, &"Guest 1".into()));
    // The code is in no log and in no file.
    assert!(!bridge.log().contains(&spoken));
    let audit = std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap();
    assert!(!audit.contains(&spoken), "{audit}");
}

#[path = "proof/callers.rs"]
#[allow(dead_code)]
mod callers;
#[path = "proof/canary.rs"]
#[allow(dead_code)]
mod canary;

const LINKS: (&str, &str) = ("public_url = \"https://meet.example.com/sotto\"", "personal_link = true\n");

fn with_links(more: &str) -> Bridge {
    let more = format!("{}{more}", LINKS.1);
    Bridge::with(&Setup { http: LINKS.0, more: &more, ..Setup::default() })
}

fn caller(bridge: &Bridge, privacy: Option<&'static str>) -> callers::Caller {
    let mut caller = callers::Caller::new(bridge.sip, None, privacy);
    caller.invite();
    caller.await_answer();
    caller.ack();
    caller
}

#[test]
fn a_personal_link_comes_with_the_answer_is_good_once_and_every_watcher_follows_it() {
    let bridge = with_links("");
    let mut ada = caller(&bridge, Some("id"));
    let id = bridge.await_live("confproof", 1)[0]["id"].as_str().unwrap().to_owned();
    let mut feed = callers::host(&bridge).feed;
    let snapshot = feed.next();
    assert_eq!(status(&snapshot["participants"][0]), ["shared", "withheld", "withheld"]);
    let answer = String::from_utf8_lossy(&ada.heard).into_owned();
    assert!(answer.contains("Call-Info: <https://meet.example.com/sotto/me#"), "{answer}");
    let link = ada.link.clone().unwrap();
    assert!(link.len() == 26 && link.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{link}");

    // The contract's way: the link's token itself, good for one request, whose answer has what goes on.
    let choice = json!({ "number": "share" }).to_string();
    let (code, me) = ask(&bridge, "PUT", "/v1/me/disclosure", Some(&link), Some(&choice));
    assert_eq!((code, status(&me["participant"])), (200, ["shared", "shared", "withheld"]), "{me}");
    let told = feed.up_to("the number is shared", |e| e["participant"]["number"]["status"] == "shared");
    assert!(told.last().unwrap()["participant"]["number"]["jwe"].is_string());
    assert_eq!(ask(&bridge, "PUT", "/v1/me/disclosure", Some(&link), Some(&choice)).0, 410, "once");
    let session = me["session"]["token"].as_str().unwrap();

    // A choice of one value leaves the others as they are; each of the three alone.
    for (attribute, wish, expected) in [
        ("name", "withhold", ["withheld", "shared", "withheld"]),
        ("profile", "share", ["withheld", "shared", "shared"]),
        ("number", "withhold", ["withheld", "withheld", "shared"]),
        ("name", "share", ["shared", "withheld", "shared"]),
    ] {
        let choice = json!({ attribute: wish }).to_string();
        let (code, me) = ask(&bridge, "PUT", "/v1/me/disclosure", Some(session), Some(&choice));
        assert_eq!((code, status(&me["participant"])), (200, expected), "{me}");
        let told =
            feed.up_to("it is told", |e| e["kind"] == "updated" && status(&e["participant"]) == expected);
        let row = &told.last().unwrap()["participant"];
        for (attribute, expected) in ["name", "number", "profile"].into_iter().zip(expected) {
            assert_eq!(row[attribute]["jwe"].is_string(), expected == "shared", "{row}");
        }
    }
    let (_, me) = ask(&bridge, "GET", "/v1/me", Some(session), None);
    let saw = me["seen_by"].as_array().unwrap();
    assert!(saw.len() >= 4 && saw.iter().all(|r| r["role"] == "host"), "{me}");
    assert!(!me.to_string().contains("jwe"));

    for (body, expected) in
        [("", 400), ("{}", 400), (r#"{"name":"yes"}"#, 400), (r#"{"name":"share","x":1}"#, 400)]
    {
        assert_eq!(ask(&bridge, "PUT", "/v1/me/disclosure", Some(session), Some(body)).0, expected, "{body}");
    }
    // Nobody else chooses for her: not a host, not another caller.
    for token in [Some(TOKEN), Some("nobody"), None] {
        let code = ask(&bridge, "PUT", "/v1/me/disclosure", token, Some(r#"{"number":"share"}"#)).0;
        assert!(code == 401 || code == 403, "{token:?}: {code}");
    }
    let reveal = format!("/v1/conferences/confproof/participants/{id}/share");
    assert_eq!(bridge.ask("POST", &reveal).0, 404, "there is no such control");
    assert_eq!(bridge.roster("confproof")[0]["number"]["status"], "withheld");

    ada.bye();
    feed.up_to("she left", |e| e["kind"] == "left");
    for (method, path) in [("GET", "/v1/me"), ("PUT", "/v1/me/disclosure")] {
        let (code, said) = ask(&bridge, method, path, Some(session), Some(r#"{"name":"share"}"#));
        assert_eq!(code, 410, "after the call: {said}");
    }
    assert_eq!(
        ask(&bridge, "POST", "/v1/me/session", None, Some(&json!({ "link": link }).to_string())).0,
        410
    );
}

#[test]
fn a_participant_watches_as_a_guest_and_no_longer_than_the_call() {
    let bridge = with_links("");
    let (mut ada, _bob) = (caller(&bridge, None), caller(&bridge, None));
    bridge.await_live("confproof", 2);
    let body = json!({ "link": ada.link.clone().unwrap() }).to_string();
    let session =
        ask(&bridge, "POST", "/v1/me/session", None, Some(&body)).1["token"].as_str().unwrap().to_owned();
    let mut feed = bridge.watch_as("confproof", &session);
    let snapshot = feed.next();
    for row in snapshot["participants"].as_array().unwrap() {
        assert_eq!(status(row), ["withheld"; 3], "of nobody is anything told: {row}");
        assert!(row["joined_at"].as_str().unwrap().ends_with(":00Z"), "{row}");
    }
    let session = Some(session.as_str());
    let row = snapshot["participants"][0]["id"].as_str().unwrap();
    let mute = format!("/v1/conferences/confproof/participants/{row}/mute");
    assert_eq!(ask(&bridge, "POST", &mute, session, None).0, 403, "a guest steers nothing");
    assert_eq!(ask(&bridge, "GET", "/v1/conferences/confother/roster", session, None).0, 404);
    let jwk = r#"{"jwk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}"#;
    assert_eq!(ask(&bridge, "POST", "/v1/viewer-keys", session, Some(jwk)).0, 400);
    ada.bye();
    while !feed.next().is_null() {}
    assert_eq!(ask(&bridge, "GET", "/v1/conferences/confproof/roster", session, None).0, 410);
}

#[test]
fn a_site_can_let_its_hosts_see_less() {
    let tight = "[disclosure]\nhost = { name = \"pseudonym\", number = \"masked\" }\n";
    let bridge = Bridge::with(&Setup { more: tight, ..Setup::default() });
    let _ada = bridge.caller("confx", 20.0, &ADA);
    bridge.await_live("confx", 1);
    let folder = Folder::new();
    let file = folder.file("token", TOKEN);
    let output = crate::harness::sotto()
        .args([
            "roster",
            "confx",
            "--seconds",
            "1",
            "--server",
            &format!("http://{}", bridge.http),
            "--token-file",
        ])
        .arg(file)
        .output()
        .unwrap();
    let said = crate::harness::told(&output);
    assert!(said.contains("number …0143") && !said.contains("Ada"), "{said}");
}

#[test]
fn the_page_does_in_a_browser_what_it_says() {
    let http = "public_url = \"http://127.0.0.1\"";
    let bridge = Bridge::with(&Setup { http, more: LINKS.1, ..Setup::default() });
    let ada = caller(&bridge, None);
    bridge.await_live("confproof", 1);
    let script = crate::harness::page("me.mjs");
    let token = bridge.folder.0.join("token");
    let server = format!("http://{}", bridge.http);
    let arguments = ["roster", "confproof", "--seconds", "1", "--server", &server, "--token-file"];
    let roster = [&arguments[..], &[token.to_str().unwrap()]].concat();
    let look = json!([env!("CARGO_BIN_EXE_sotto"), roster]).to_string();
    let link = format!("{server}/me#{}", ada.link.as_ref().unwrap());
    let output = std::process::Command::new("node").arg(script).args([&link, &look]).output().unwrap();
    assert!(output.status.success(), "{}", crate::harness::told(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let states = |n: &str, m: &str, p: &str| json!({ "name": n, "number": m, "profile": p });
    assert_eq!((&found["elsewhere"], &found["errors"]), (&json!([]), &json!([])), "it asks nobody else");
    assert!(found["wrongCode"].as_str().unwrap().contains("No such"), "{found}");
    assert_eq!(found["address"], format!("{server}/me"), "the link's token is in no history");
    assert_eq!(
        (&found["who"], &found["before"]),
        (&"You are Guest 1".into(), &states("shown", "shown", "shown"))
    );
    assert_eq!(found["saw"], json!(["host", "name, number, profile"]));
    assert_eq!(found["after"], states("shown", "hidden", "shown"));
    assert_eq!(
        (&found["hidden"], &found["reloaded"]),
        (&states("hidden", "hidden", "hidden"), &states("hidden", "hidden", "hidden"))
    );
    assert!(found["used"].as_str().unwrap().contains("used before"), "{found}");
}
