//! Who sees what of whom: viewers' keys, roles, scopes, and what ends them. Opened by other people's JOSE libraries.

use crate::harness::{Bridge, Folder, Process, Setup, TOKEN, curl_with, here, sotto, status_of, told, until};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// A key pair on P-256, made with openssl: public and private JWK.
fn key_pair() -> (Value, Value) {
    let pem = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout"])
        .output()
        .unwrap();
    let script = "import sys,json\nfrom jwcrypto import jwk\nk=jwk.JWK.from_pem(sys.stdin.buffer.read())\n\
                  print(json.dumps([k.export_public(as_dict=True),k.export_private(as_dict=True)]))";
    let said = with_input(python().args(["-c", script]), &pem.stdout);
    let both: Value = serde_json::from_slice(&said).unwrap();
    (both[0].clone(), both[1].clone())
}

/// The interpreter with jwcrypto, which `scripts/setup` installed.
fn python() -> Command {
    Command::new(here().join("../target/peers/python/bin/python"))
}

fn with_input(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    output.stdout
}

/// A registered viewer.
struct Viewer {
    token: String,
    id: String,
    handover: String,
    private: Value,
}

impl Viewer {
    fn register(bridge: &Bridge, token: &str) -> Self {
        let (public, private) = key_pair();
        let (status, body) = post_key(bridge, token, &json!({ "jwk": public }).to_string());
        assert_eq!(status, 201, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        assert!(text("expires_at").ends_with('Z'));
        Self { token: token.into(), id: text("id"), handover: text("jwe"), private }
    }

    /// What a row's values are, opened by both libraries.
    fn open(&self, values: &[&str]) -> Vec<String> {
        let asked =
            json!({ "private": self.private, "handover": self.handover, "values": values }).to_string();
        let script = |name: &str| here().join("jose").join(name);
        let by_jwcrypto = with_input(python().arg(script("open.py")), asked.as_bytes());
        // Modules are found beside the script.
        let modules = here().join("../target/peers/jose");
        std::fs::copy(script("open.mjs"), modules.join("open.mjs")).unwrap();
        let by_jose = with_input(Command::new("node").arg(modules.join("open.mjs")), asked.as_bytes());
        let opened: Vec<String> = serde_json::from_slice(&by_jwcrypto).unwrap();
        assert_eq!(opened, serde_json::from_slice::<Vec<String>>(&by_jose).unwrap(), "both open the same");
        opened
    }

    fn roster(&self, bridge: &Bridge, conference: &str) -> (u16, String) {
        let url = format!("http://{}/v1/conferences/{conference}/roster?viewer_key={}", bridge.http, self.id);
        curl_with("GET", &url, Some(&self.token), None)
    }
}

fn post_key(bridge: &Bridge, token: &str, body: &str) -> (u16, String) {
    curl_with("POST", &format!("http://{}/v1/viewer-keys", bridge.http), Some(token), Some(body))
}

fn row(roster: &(u16, String)) -> Value {
    assert_eq!(roster.0, 200, "{}", roster.1);
    serde_json::from_str::<Value>(&roster.1).unwrap()["participants"][0].clone()
}

fn jwe<'a>(row: &'a Value, attribute: &str) -> Option<&'a str> {
    row[attribute]["jwe"].as_str()
}

const ADA: [&str; 4] = ["--name", "Ada Example", "--number", "+12025550143"];

#[test]
fn a_host_with_a_key_sees_who_shares_and_jwcrypto_and_jose_open_it() {
    let bridge = Bridge::start();
    let _ada = bridge.caller("confx", 20.0, &ADA);
    bridge.await_live("confx", 1);
    let host = Viewer::register(&bridge, TOKEN);
    let row = row(&host.roster(&bridge, "confx"));
    let values = [jwe(&row, "name").unwrap(), jwe(&row, "number").unwrap()];
    assert_eq!(host.open(&values), ["Ada Example", "+12025550143"]);
    assert_eq!((&row["name"]["status"], &row["pseudonym"]), (&"shared".into(), &"Guest 1".into()));

    // Live as well, and for who comes later; who withholds is not there.
    let mut feed = bridge.watch("confx");
    let snapshot = feed.next();
    assert!(jwe(&snapshot["participants"][0], "name").is_some(), "the newest key is used: {snapshot}");
    let _bob = bridge.caller(
        "confx",
        20.0,
        &["--name", "Bob Example", "--number", "+12025550144", "--privacy", "id"],
    );
    let joined = feed.up_to("Bob joined", |e| e["kind"] == "joined");
    let bob = &joined.last().unwrap()["participant"];
    assert_eq!(host.open(&[jwe(bob, "name").unwrap()]), ["Bob Example"]);
    assert_eq!(bob["number"], json!({ "status": "withheld" }));

    let audit = until("the audit tells", || {
        let text = std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap();
        (text.matches("\"disclosed\"").count() >= 3).then_some(text)
    });
    assert!(audit.contains(&host.id) && audit.contains("\"Guest 1\""), "{audit}");
    let everything = format!("{audit}{}{snapshot}{joined:?}", bridge.log());
    assert!(!everything.contains("Example") && !everything.contains("2025550"), "{everything}");
}

#[test]
fn a_role_sees_what_the_matrix_allows_and_nothing_without_a_key() {
    let tokens = "operator-token role=operator\nauditor-token role=auditor\nadmin-token role=admin\n";
    let bridge = Bridge::with(&Setup { tokens, ..Setup::default() });
    let _ada = bridge.caller("confx", 20.0, &ADA);
    let id = bridge.await_live("confx", 1)[0]["id"].as_str().unwrap().to_owned();
    let shared = json!({ "status": "shared", "source": "claimed" });
    assert_eq!(bridge.roster("confx")[0]["name"], shared, "no key, no names");
    let operator = Viewer::register(&bridge, "operator-token");
    let row_seen = row(&operator.roster(&bridge, "confx"));
    let values = [jwe(&row_seen, "name").unwrap(), jwe(&row_seen, "number").unwrap()];
    assert_eq!(operator.open(&values), ["Ada Example", "…0143"]);
    for token in ["auditor-token", "admin-token"] {
        let viewer = Viewer::register(&bridge, token);
        let seen = row(&viewer.roster(&bridge, "confx"));
        assert_eq!((jwe(&seen, "name"), jwe(&seen, "number")), (None, None), "{token}");
        let mute = format!("http://{}/v1/conferences/confx/participants/{id}/mute", bridge.http);
        assert_eq!(curl_with("POST", &mute, Some(token), None).0, 403);
    }
    assert_eq!(bridge.roster("confx")[0]["muted"], false);
}

#[test]
fn a_viewer_of_one_meeting_learns_nothing_of_another() {
    let tokens = "scoped-token conferences=confx\n";
    let bridge = Bridge::with(&Setup { tokens, ..Setup::default() });
    let _callers = (bridge.caller("confx", 20.0, &ADA), bridge.caller("confy", 20.0, &ADA));
    bridge.await_live("confx", 1);
    let there = bridge.await_live("confy", 1)[0]["id"].as_str().unwrap().to_owned();
    let ask = |method, path: &str| {
        curl_with(method, &format!("http://{}{path}", bridge.http), Some("scoped-token"), None)
    };
    let missing = ask("GET", "/v1/conferences/confnone/roster");
    for (method, path) in [
        ("GET", "/v1/conferences/confy/roster".to_owned()),
        ("GET", "/v1/conferences/confy/events".to_owned()),
        ("POST", format!("/v1/conferences/confy/participants/{there}/remove")),
        // A participant of another meeting under the name of one's own.
    ] {
        assert_eq!(ask(method, &path), missing, "{path}: as if it were not there");
    }
    assert_eq!(ask("POST", &format!("/v1/conferences/confx/participants/{there}/remove")).0, 404);
    let list = ask("GET", "/v1/conferences").1;
    assert!(list.contains("confx") && !list.contains("confy"), "{list}");
    assert_eq!(bridge.roster("confy").len(), 1);
}

#[test]
fn a_revoked_token_or_deleted_key_ends_its_feeds_at_once() {
    let bridge = Bridge::with(&Setup { tokens: "other-token\n", ..Setup::default() });
    let _ada = bridge.caller("confx", 30.0, &ADA);
    bridge.await_live("confx", 1);
    let (stays, goes) = (Viewer::register(&bridge, TOKEN), Viewer::register(&bridge, "other-token"));
    let mut feeds = [bridge.watch_as("confx", "other-token"), bridge.watch_as("confx", TOKEN)];
    feeds.iter_mut().for_each(|f| assert_eq!(f.next()["kind"], "snapshot"));
    bridge.folder.file("token", TOKEN);
    bridge.process.signal("-HUP");
    while !feeds[0].next().is_null() {}
    assert_eq!(goes.roster(&bridge, "confx").0, 401);
    assert_eq!(stays.roster(&bridge, "confx").0, 200, "another token's viewer stays");
    let key = format!("http://{}/v1/viewer-keys/{}", bridge.http, stays.id);
    assert_eq!(curl_with("DELETE", &key, Some(TOKEN), None).0, 204);
    while !feeds[1].next().is_null() {}
    assert_eq!(stays.roster(&bridge, "confx").0, 410);
    assert_eq!(curl_with("DELETE", &key, Some(TOKEN), None).0, 404);
}

#[test]
fn keys_that_are_none_are_refused_with_a_clear_error() {
    let bridge = Bridge::start();
    let (good, private) = key_pair();
    let with = |key: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[key] = value;
        json!({ "jwk": jwk }).to_string()
    };
    let off_curve = with("y", good["x"].clone());
    for (body, expected) in [
        (String::new(), 400),
        ("{".into(), 400),
        ("{}".into(), 400),
        ("[]".into(), 400),
        (with("crv", "P-384".into()), 400),
        (with("kty", "OKP".into()), 400),
        (with("x", "AAAA".into()), 400),
        (with("x", "&&".into()), 400),
        (with("x", json!(7)), 400),
        (off_curve, 400),
        (json!({ "jwk": private }).to_string(), 400),
        (" ".repeat(20_000), 413),
    ] {
        let (status, said) = post_key(&bridge, TOKEN, &body);
        let problem: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{body}: {said}: {e}"));
        assert_eq!((status, problem["status"].as_u64()), (expected, Some(u64::from(expected))), "{body}");
        assert!(!said.contains(good["x"].as_str().unwrap()), "it repeats nothing: {said}");
    }
    let said = post_key(&bridge, TOKEN, &json!({ "jwk": private }).to_string()).1;
    assert!(said.contains("private"), "{said}");
    assert_eq!(post_key(&bridge, "no-token", &json!({ "jwk": good }).to_string()).0, 401);
}

#[test]
fn a_caller_withholds_and_shares_by_code_and_every_watcher_follows() {
    let bridge = Bridge::start();
    let keys = ["--dtmf", "wwww*67wwww*82"];
    let caller = [&ADA[..], &["--privacy", "id"], &keys].concat();
    let _ada = bridge.caller("confx", 20.0, &caller);
    bridge.await_live("confx", 1);
    let host = Viewer::register(&bridge, TOKEN);
    let mut feed = bridge.watch("confx");
    let status =
        |e: &Value, attribute: &str| e["participant"][attribute]["status"].as_str().map(str::to_owned);
    let is = |name: &'static str, number: &'static str| {
        move |e: &Value| {
            status(e, "name").as_deref() == Some(name) && status(e, "number").as_deref() == Some(number)
        }
    };
    let events = feed.up_to("all is withheld", is("withheld", "withheld"));
    assert_eq!(events[0]["participants"][0]["number"]["status"], "withheld", "Privacy: id");
    assert!(jwe(&events[0]["participants"][0], "name").is_some());
    let row_now = row(&host.roster(&bridge, "confx"));
    assert_eq!((jwe(&row_now, "name"), jwe(&row_now, "number")), (None, None));
    let events = feed.up_to("all is shared", is("shared", "shared"));
    let (last, before) = events.split_last().unwrap();
    assert!(before.iter().all(|e| !e.to_string().contains("jwe")), "nothing else brings it back: {before:?}");
    let shared = &last["participant"];
    let values = [jwe(shared, "name").unwrap(), jwe(shared, "number").unwrap()];
    assert_eq!(host.open(&values), ["Ada Example", "+12025550143"]);
}

#[test]
fn without_secret_memory_the_next_rung_is_taken_where_it_is_accepted_and_reported() {
    let more = "[vault]\nallow_weaker = true\n";
    for nobody in [false, true] {
        let bridge =
            Bridge::with(&Setup { more, nobody, denied: &[libc::SYS_memfd_secret], ..Setup::default() });
        let ready = curl_with("GET", &format!("http://{}/readyz", bridge.admin), None, None);
        assert!(ready.0 == 200 && ready.1.contains(r#""protection":"locked""#), "{ready:?}");
        assert!(bridge.log().contains("protection=\"locked\""), "{}", bridge.log());
        assert_eq!(bridge.metric("sotto_vault_secret_memory"), 0);
        let _ada = bridge.caller("confx", 20.0, &ADA);
        bridge.await_live("confx", 1);
    }
    let bridge = Bridge::with(&Setup { nobody: true, ..Setup::default() });
    assert_eq!(bridge.metric("sotto_vault_secret_memory"), 1, "secret memory needs no root");
}

/// The bridge's `/readyz` tells who may trace it.
fn tracing_of(bridge: &Bridge) -> serde_json::Value {
    let ready = curl_with("GET", &format!("http://{}/readyz", bridge.admin), None, None);
    serde_json::from_str::<serde_json::Value>(&ready.1).unwrap()["vault"]["tracing"].clone()
}

#[test]
fn a_guardian_keeps_tracers_away_and_ends_with_the_bridge() {
    for nobody in [false, true] {
        let mut bridge = Bridge::with(&Setup { nobody, ..Setup::default() });
        let pid = bridge.process.0.id();
        assert_eq!(tracing_of(&bridge), "guarded", "{}", bridge.log());
        assert_eq!(bridge.metric("sotto_vault_untraceable"), 1);
        let guardian: u32 = status_of(pid, "TracerPid:").unwrap().parse().unwrap();
        // Each thread, those that were made later too.
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let thread = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
            assert_eq!(status_of(thread, "TracerPid:"), Some(guardian.to_string()));
        }
        // What a terminal or a service manager sends to all of a group is not for the guardian.
        let signal = |signal: &str, to: u32| {
            assert!(Command::new("kill").args([signal, &to.to_string()]).status().unwrap().success());
        };
        signal("-TERM", guardian);
        signal("-INT", guardian);
        // A stop stops, and what comes after it is as before.
        signal("-STOP", pid);
        until("it stands", || status_of(pid, "State:").filter(|s| s == "t"));
        signal("-CONT", pid);
        let mut ada = bridge.caller("confx", 20.0, &ADA);
        bridge.await_live("confx", 1);
        assert_eq!(tracing_of(&bridge), "guarded");
        if nobody {
            // Without its guardian it does not live: else whoever kills the one could trace the other.
            signal("-KILL", guardian);
            assert_eq!(bridge.process.wait(), -1, "killed by a signal");
        } else {
            ada.signal("-INT");
            ada.wait();
            bridge.process.signal("-TERM");
            assert_eq!(bridge.process.wait(), 0, "its own way to end");
        }
        until("the guardian ends", || {
            let state = status_of(guardian, "State:");
            state.is_none_or(|s| s == "Z").then_some(())
        });
    }
}

#[test]
fn without_a_guardian_calls_are_taken_and_it_is_reported() {
    let off = "[vault]\nguardian = false\n";
    let cases: [(&str, &'static [libc::c_long]); 2] = [(off, &[]), ("", &[libc::SYS_ptrace])];
    for (more, denied) in cases {
        let bridge = Bridge::with(&Setup { more, denied, ..Setup::default() });
        assert_eq!(tracing_of(&bridge), "possible");
        assert_eq!(bridge.metric("sotto_vault_untraceable"), 0);
        assert_eq!(bridge.log().contains("no guardian"), !denied.is_empty(), "{}", bridge.log());
        let _ada = bridge.caller("confx", 20.0, &ADA);
        bridge.await_live("confx", 1);
    }
}

#[test]
fn without_a_rung_that_is_accepted_the_start_is_refused() {
    let config = "[node]\ndata_dir = \"data\"\n[sip]\nlisten = [\"udp://127.0.0.1:0\"]\n\
                  [http]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
    let both = &[libc::SYS_memfd_secret, libc::SYS_mlock];
    let cases: [(&str, &'static [libc::c_long], &str); 2] = [
        ("", &[libc::SYS_memfd_secret], "memfd_secret failed"),
        ("[vault]\nallow_weaker = true\n", both, "mlock failed"),
    ];
    for (more, denied, why) in cases {
        let folder = Folder::new();
        let file = folder.file("c.toml", format!("{config}{more}"));
        let mut command = sotto();
        command.args(["serve", "--config"]).arg(file).current_dir(&folder.0);
        Setup { denied, ..Setup::default() }.confine(&mut command, &folder);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let said = told(&output);
        assert!(said.contains("no protected memory") && said.contains(why), "{said}");
        assert!(!said.contains("ready"), "{said}");
    }
}

#[test]
fn sotto_roster_shows_the_names_of_who_shares_them() {
    let bridge = Bridge::start();
    let token = bridge.folder.0.join("token").display().to_string();
    let server = format!("http://{}", bridge.http);
    let log = bridge.folder.0.join("roster");
    let child = sotto()
        .args(["roster", "confx", "--server", &server, "--token-file", &token])
        .stdout(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let _roster = Process(child);
    let _ada = bridge.caller("confx", 20.0, &ADA);
    let _bob = bridge.caller(
        "confx",
        20.0,
        &["--name", "Bob Example", "--number", "+12025550144", "--privacy", "id"],
    );
    let text = until("both are told", || {
        let text = std::fs::read_to_string(&log).unwrap();
        (text.contains("Ada") && text.contains("Bob")).then_some(text)
    });
    assert!(text.contains("name Ada Example (claimed), number +12025550143 (claimed)"), "{text}");
    assert!(text.contains("name Bob Example (claimed), number withheld"), "{text}");
}

#[test]
fn what_is_usual_for_a_trunk_is_withheld_from_the_start() {
    let bridge = Bridge::with(&Setup { more: "withhold = [\"name\"]\n", ..Setup::default() });
    let _ada = bridge.caller("confx", 20.0, &ADA);
    bridge.await_live("confx", 1);
    let row = &bridge.roster("confx")[0];
    let status = (&row["name"]["status"], &row["number"]["status"]);
    assert_eq!(status, (&"withheld".into(), &"shared".into()));
}

#[test]
fn a_conference_has_its_own_usual_and_may_refuse_who_is_anonymous() {
    let more = "[[conference]]\nid = \"board\"\nnumber = \"+12025550100\"\nrefuse_anonymous = true\nwithhold = [\"number\"]\n";
    let bridge = Bridge::with(&Setup { more, ..Setup::default() });
    let anonymous = [ADA.as_slice(), &["--privacy", "id"]].concat();
    let refused = bridge.call("+12025550100", 1.0, &anonymous).output().unwrap();
    assert!(!refused.status.success() && told(&refused).contains("433"), "{}", told(&refused));
    let _ada = bridge.caller("+12025550100", 20.0, &ADA);
    bridge.await_live("board", 1);
    let row = &bridge.roster("board")[0];
    let status = (&row["name"]["status"], &row["number"]["status"]);
    assert_eq!(status, (&"shared".into(), &"withheld".into()));
}

#[test]
fn what_is_withheld_is_read_by_two_people_for_a_purpose_and_a_key_outside() {
    let (public, private) = key_pair();
    let folder = Folder::new();
    let key = folder.file("compliance.jwk", public.to_string());
    let more = format!("[disclosure]\ncompliance_key = \"{}\"\n", key.display());
    let tokens = "auditor role=auditor\nadmin role=admin\nelsewhere role=admin conferences=confother\n";
    let bridge = Bridge::with(&Setup { more: &more, tokens, ..Setup::default() });
    let ada = [&ADA[..], &["--privacy", "id"]].concat();
    let mut ada = bridge.caller("confx", 30.0, &ada);
    let row = bridge.await_live("confx", 1)[0].clone();
    let id = row["id"].as_str().unwrap();
    let ask = |method, path: &str, token, body: Option<Value>| {
        let url = format!("http://{}/v1/legal-access{path}", bridge.http);
        let body = body.map(|b| b.to_string());
        let (status, text) = curl_with(method, &url, Some(token), body.as_deref());
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let body = |purpose: &str| Some(json!({ "conference": "confx", "participant": id, "purpose": purpose }));
    assert_eq!(ask("POST", "", TOKEN, body("case 17")).0, 403, "a host may not even ask");
    assert_eq!(ask("POST", "", "elsewhere", body("case 17")).0, 404, "nor who is of another meeting");
    assert_eq!(ask("POST", "", "auditor", body("")).0, 400);
    let (status, asked) = ask("POST", "", "auditor", body("case 17/2026"));
    assert_eq!(status, 201, "{asked}");
    let request = format!("/{}", asked["id"].as_str().unwrap());
    let approval = format!("{request}/approval");
    assert_eq!(ask("GET", &request, "auditor", None).0, 409, "not approved yet");
    assert_eq!(ask("POST", &approval, "auditor", None).0, 403, "not by the same");
    assert_eq!(ask("POST", &approval, "admin", None).0, 204);
    let (status, read) = ask("GET", &request, "auditor", None);
    assert_eq!(status, 200, "{read}");
    let values = ["name", "number"].map(|a| read["values"][a].as_str().unwrap());
    assert_eq!(read["values"]["profile"], Value::Null);

    // The installation holds no key to it; who has it opens it with anybody's library.
    let asked = json!({ "private": private, "values": values }).to_string();
    let by_jwcrypto = with_input(python().arg(here().join("jose/open_direct.py")), asked.as_bytes());
    let modules = here().join("../target/peers/jose");
    std::fs::copy(here().join("jose/open_direct.mjs"), modules.join("open_direct.mjs")).unwrap();
    let by_jose = with_input(Command::new("node").arg(modules.join("open_direct.mjs")), asked.as_bytes());
    for opened in [by_jwcrypto, by_jose] {
        assert_eq!(serde_json::from_slice::<Value>(&opened).unwrap(), json!(["Ada Example", "+12025550143"]));
    }
    let seen = bridge.ask("GET", "/v1/conferences/confx/roster").1;
    assert!(seen.contains("withheld"), "the roster shows as little as before: {seen}");
    let audit = until("it is audited", || {
        let text = std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap();
        text.contains("legal_read").then_some(text)
    });
    for told in [
        "legal_asked",
        "legal_approved",
        "legal_read",
        "case 17/2026",
        "\"attributes\":[\"name\",\"number\"]",
    ] {
        assert!(audit.contains(told), "{told}: {audit}");
    }
    assert!(!audit.contains("Example") && !audit.contains("2025550"), "{audit}");
    ada.signal("-INT");
    ada.wait();
    assert_eq!(ask("GET", &request, "auditor", None).0, 404, "with the call it is gone");

    let without = Bridge::with(&Setup { tokens, ..Setup::default() });
    let _ada = without.caller("confx", 30.0, &ADA);
    let id = without.await_live("confx", 1)[0]["id"].as_str().unwrap().to_owned();
    let url = format!("http://{}/v1/legal-access", without.http);
    let body = json!({ "conference": "confx", "participant": id, "purpose": "case 17" }).to_string();
    assert_eq!(curl_with("POST", &url, Some("auditor"), Some(&body)).0, 409, "no key, no way");
}

#[test]
fn who_listens_without_being_seen_needs_a_role_is_audited_and_not_heard() {
    let tokens = "auditor role=auditor\nmonitor role=monitor\n";
    let bridge = Bridge::with(&Setup { tokens, ..Setup::default() });
    let recording = bridge.folder.0.join("heard.wav").display().to_string();
    let mut ada = bridge.caller("confx", 60.0, &[&ADA[..], &["--record", &recording]].concat());
    bridge.await_live("confx", 1);
    let mut feed = bridge.watch("confx");
    feed.next();
    let allow = |token, body: &str| {
        let url = format!("http://{}/v1/conferences/confx/monitors", bridge.http);
        let (status, text) = curl_with("POST", &url, Some(token), Some(body));
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    for token in [TOKEN, "auditor"] {
        assert_eq!(allow(token, r#"{"purpose":"case 17"}"#).0, 403, "{token}");
    }
    assert_eq!(allow("monitor", "{}").0, 400);
    let (status, allowed) = allow("monitor", r#"{"purpose":"case 17"}"#);
    assert_eq!(status, 201, "{allowed}");
    let number = allowed["number"].as_str().unwrap();
    let voice = crate::harness::speech(4).display().to_string();
    let mut listener = bridge.caller(number, 30.0, &["--wav", &voice]);
    let list = |token| {
        let url = format!("http://{}/v1/conferences/confx/roster", bridge.http);
        let (_, text) = curl_with("GET", &url, Some(token), None);
        let roster: Value = serde_json::from_str(&text).unwrap();
        roster["participants"].as_array().unwrap().clone()
    };
    let rows = until("the auditor sees it", || Some(list("auditor")).filter(|rows| rows.len() == 2));
    assert_eq!((&rows[1]["hidden"], &rows[1]["role"]), (&true.into(), &"listener".into()));
    assert_eq!(list(TOKEN).len(), 1);
    let summary = bridge.ask("GET", "/v1/conferences").1;
    assert!(summary.contains("\"participants\":1"), "{summary}");
    let again = bridge.call(number, 1.0, &[]).output().unwrap();
    assert!(told(&again).contains("404"), "a number is good once: {}", told(&again));

    // They speak, and nobody hears it; the meeting's next event is somebody who is seen.
    let mut bob = bridge.caller("confx", 60.0, &[]);
    let events = feed.up_to("Bob joined", |e| e["kind"] == "joined");
    assert_eq!(events.last().unwrap()["participant"]["pseudonym"], "Guest 2");
    assert!(events.iter().all(|e| e["participant"]["hidden"].is_null()), "{events:?}");
    until("they have spoken for a while", || (bridge.metric("sotto_rtp_received_total") > 600).then_some(()));
    for caller in [&mut bob, &mut ada] {
        caller.signal("-INT");
        caller.wait();
    }
    assert_eq!(listener.wait(), 0, "with the last who is seen it ends");
    let loudest =
        crate::harness::samples(std::path::Path::new(&recording)).iter().fold(0.0f32, |m, s| m.max(s.abs()));
    assert!(loudest < 50.0, "{loudest}");
    let audit = until("its end is audited", || {
        let text = std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap();
        text.contains("monitor_ended").then_some(text)
    });
    assert!(
        audit.contains("monitor_allowed") && audit.contains("monitor_began") && audit.contains("case 17")
    );
}
