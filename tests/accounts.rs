//! Accounts: made by the command, good for signing in over HTTP and for programs' tokens, and over when the command says so.

use crate::harness::{Bridge, Setup, curl_with, sotto, until};
use crate::portal::{PASSWORD, add_user};
use serde_json::{Value, json};

pub fn ask(
    bridge: &Bridge,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> (u16, Value) {
    let body = body.map(|body| body.to_string());
    let (status, text) = curl_with(method, &format!("http://{}{path}", bridge.http), token, body.as_deref());
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub fn user(bridge: &Bridge, words: &[&str]) -> String {
    let output = sotto()
        .arg("user")
        .args(words)
        .arg("--config")
        .arg(bridge.folder.0.join("bridge.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn sign_in(bridge: &Bridge, login: &str, password: &str) -> (u16, Value) {
    ask(bridge, "POST", "/v1/login", None, Some(json!({ "user": login, "password": password })))
}

#[test]
fn who_signs_in_sees_their_meetings_and_nobody_elses_until_they_may_not() {
    let bridge = Bridge::with(&Setup::default());
    let config = bridge.folder.0.join("bridge.toml");
    // While the bridge runs.
    add_user(&config, "ada@example.com", &["--role", "host", "--conferences", "confours"]);
    let _ours = bridge.caller("confours", 60.0, &[]);
    let _theirs = bridge.caller("conftheirs", 60.0, &[]);
    bridge.await_live("confours", 1);
    bridge.await_live("conftheirs", 1);
    assert_eq!(sign_in(&bridge, "ada@example.com", "not these words at all").0, 401);
    assert_eq!(sign_in(&bridge, "bob@example.com", PASSWORD).0, 401);
    let (status, opened) = sign_in(&bridge, "Ada@Example.com", PASSWORD);
    assert_eq!(
        (status, opened["role"].as_str(), opened["steers"].as_bool()),
        (201, Some("host"), Some(true))
    );
    let token = opened["token"].as_str();
    let (_, all) = ask(&bridge, "GET", "/v1/conferences", token, None);
    let ids: Vec<_> =
        all["conferences"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["confours"]);
    let lock =
        |id: &str, token| ask(&bridge, "POST", &format!("/v1/conferences/{id}/controls/lock"), token, None).0;
    assert_eq!(
        (lock("confours", token), lock("conftheirs", token), lock("confours", Some("s_x"))),
        (204, 404, 401)
    );
    // A second sign-in is a session of its own; signing out ends one of them.
    let other = sign_in(&bridge, "ada@example.com", PASSWORD).1;
    let other = other["token"].as_str();
    assert_eq!(ask(&bridge, "DELETE", "/v1/session", other, None).0, 204);
    assert_eq!(
        (
            ask(&bridge, "GET", "/v1/session", other, None).0,
            ask(&bridge, "GET", "/v1/session", token, None).0
        ),
        (401, 200)
    );
    // What somebody else changes ends the rest.
    user(&bridge, &["disable", "ada@example.com"]);
    until("the session is over", || (ask(&bridge, "GET", "/v1/session", token, None).0 == 401).then_some(()));
    assert_eq!(sign_in(&bridge, "ada@example.com", PASSWORD).0, 401);
    let listed = user(&bridge, &["list"]);
    assert!(listed.contains("host  ada@example.com  conferences=confours disabled"), "{listed}");
    let audit = std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap();
    assert!(
        audit.contains("signed_in") && !audit.contains("ada") && !bridge.log().contains("ada@"),
        "nobody's name"
    );
    // Nor is it in the ledger's files.
    for entry in std::fs::read_dir(&bridge.folder.0).unwrap().map_while(Result::ok) {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let holds = bytes.windows(15).any(|w| w.eq_ignore_ascii_case(b"ada@example.com"));
        assert!(!holds, "{}", entry.path().display());
    }
}

#[test]
fn a_program_has_a_token_of_its_own_for_as_much_as_it_needs() {
    let bridge = Bridge::start();
    add_user(&bridge.folder.0.join("bridge.toml"), "ops", &["--role", "operator"]);
    let opened = sign_in(&bridge, "ops", PASSWORD).1;
    let session = opened["token"].as_str();
    let make = |token, body| ask(&bridge, "POST", "/v1/tokens", token, Some(body));
    for (body, status) in [
        (json!({}), 400),
        (json!({ "days": 0 }), 400),
        (json!({ "days": 367 }), 400),
        (json!({ "days": 1, "conferences": [] }), 400),
        (json!({ "days": 1, "role": "admin" }), 400),
    ] {
        assert_eq!(make(session, body.clone()).0, status, "{body}");
    }
    let (status, made) = make(session, json!({ "days": 30, "conferences": ["confx"] }));
    assert_eq!(status, 201, "{made}");
    let (token, id) = (made["token"].as_str(), made["id"].as_str().unwrap());
    let (_, rights) = ask(&bridge, "GET", "/v1/session", token, None);
    assert_eq!((&rights["role"], &rights["conferences"]), (&json!("operator"), &json!(["confx"])));
    // It makes none itself, and is no session that could be ended.
    assert_eq!(make(token, json!({ "days": 1 })).0, 403);
    assert_eq!(ask(&bridge, "DELETE", "/v1/session", token, None).0, 409);
    let (_, all) = ask(&bridge, "GET", "/v1/tokens", session, None);
    assert_eq!((all["tokens"].as_array().unwrap().len(), &all["tokens"][0]["id"]), (1, &json!(id)));
    assert!(!all.to_string().contains(token.unwrap()));
    let path = format!("/v1/tokens/{id}");
    assert_eq!(ask(&bridge, "DELETE", &path, session, None).0, 204);
    assert_eq!(ask(&bridge, "DELETE", &path, session, None).0, 404);
    assert_eq!(ask(&bridge, "GET", "/v1/session", token, None).0, 401, "at once");
}

#[test]
fn who_guesses_passwords_is_told_to_wait() {
    let bridge = Bridge::start();
    let tries: Vec<_> = (0..7).map(|_| sign_in(&bridge, "nobody", "any words that come").0).collect();
    assert_eq!(tries, [401, 401, 401, 401, 401, 401, 429]);
}
