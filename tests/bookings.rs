//! Conferences that accounts make: by the API, with PINs for all, for one and for one time, when they are open, and whose they are.

use crate::accounts::{ask, sign_in, user};
use crate::harness::{Bridge, Setup, until};
use crate::listener::{Listener, place, prompt};
use crate::portal::{PASSWORD, add_user};
use serde_json::{Value, json};

const ACCESS: &str = "+12025550170";

fn bridge() -> Bridge {
    let more = format!(
        "[ivr]\nnumbers = [\"{ACCESS}\"]\n[[conference]]\nid = \"board\"\nnumber = \"+12025550171\"\nentry = \"20255\"\n"
    );
    Bridge::with(&Setup { more: &more, ..Setup::default() })
}

struct Session<'a> {
    bridge: &'a Bridge,
    token: String,
}

impl<'a> Session<'a> {
    fn of(bridge: &'a Bridge, login: &str, role: &str) -> Self {
        add_user(&bridge.folder.0.join("bridge.toml"), login, &["--role", role, "--conferences", "board"]);
        let opened = sign_in(bridge, login, PASSWORD).1;
        Self { bridge, token: opened["token"].as_str().unwrap().to_owned() }
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        ask(self.bridge, method, &format!("/v1/bookings{path}"), Some(&self.token), body)
    }
}

/// A caller who presses everything at once.
fn calls(bridge: &Bridge, name: &str, entry: &Value, pin: &Value) -> Listener {
    let keys = format!("{}#{}#", entry.as_str().unwrap(), pin.as_str().unwrap());
    Listener::call(bridge, ACCESS, &format!("{name}.wav"), &["--dtmf", &keys])
}

#[test]
fn a_conference_of_an_account_is_entered_by_its_pins_and_ends_with_it() {
    let bridge = bridge();
    let ada = Session::of(&bridge, "ada@example.com", "host");
    let (status, made) =
        ada.ask("POST", "", Some(json!({ "settings": { "title": "Figures", "language": "de" } })));
    assert_eq!((status, &made["numbers"]), (201, &json!([ACCESS])), "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let _guest = calls(&bridge, "guest", &made["entry"], &made["pin"]);
    bridge.await_live(&id, 1);
    let host = calls(&bridge, "host", &made["entry"], &made["host_pin"]);
    let roles =
        |rows: Vec<Value>| rows.iter().map(|r| r["role"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(roles(bridge.await_live(&id, 2)), ["speaker", "host"]);
    let (_, meetings) = ask(&bridge, "GET", "/v1/conferences", Some(&ada.token), None);
    assert_eq!(
        (&meetings["conferences"][0]["id"], &meetings["conferences"][0]["title"]),
        (&json!(id), &json!("Figures"))
    );
    assert_eq!(ada.ask("GET", "", None).1["bookings"][0]["on"], true);

    // A PIN for one time, as a host, is good for one time.
    let (status, once) =
        ada.ask("POST", &format!("/{id}/pins"), Some(json!({ "kind": "once", "role": "host" })));
    assert_eq!(status, 201, "{once}");
    let _first = calls(&bridge, "first", &made["entry"], &once["pin"]);
    assert_eq!(roles(bridge.await_live(&id, 3)), ["speaker", "host", "host"]);
    let second = calls(&bridge, "second", &made["entry"], &once["pin"]);
    second.hears(&prompt("wrong-pin"), 0);
    assert_eq!(ada.ask("GET", &format!("/{id}/pins"), None).1, json!({ "pins": [] }));
    // One for one person, until it is taken back.
    let (_, own) =
        ada.ask("POST", &format!("/{id}/pins"), Some(json!({ "kind": "personal", "pin": "8080" })));
    let _third = calls(&bridge, "third", &made["entry"], &own["pin"]);
    bridge.await_live(&id, 4);
    let path = format!("/{id}/pins/{}", own["id"].as_str().unwrap());
    assert_eq!((ada.ask("DELETE", &path, None).0, ada.ask("DELETE", &path, None).0), (204, 404));
    calls(&bridge, "fourth", &made["entry"], &own["pin"]).hears(&prompt("wrong-pin"), 0);
    // Another for all guests: the one before is none any more.
    let (_, guests) = ada.ask("POST", &format!("/{id}/pins"), Some(json!({ "kind": "guest" })));
    let _fifth = calls(&bridge, "fifth", &made["entry"], &guests["pin"]);
    bridge.await_live(&id, 5);
    calls(&bridge, "sixth", &made["entry"], &made["pin"]).hears(&prompt("wrong-pin"), 0);

    // The account is removed in mid-meeting: who is in stays, and nobody comes in.
    user(&bridge, &["remove", "ada@example.com"]);
    until("its number is none any more", || {
        let caller = calls(&bridge, "late", &made["entry"], &guests["pin"]);
        let heard = |what| place(&prompt(what), &caller.so_far(), 0).is_some();
        let said = until("they hear one or the other", || {
            [("unknown-conference", true), ("people-on", false)].into_iter().find(|(what, _)| heard(what))
        });
        said.1.then_some(())
    });
    assert!(bridge.roster(&id).len() >= 5);
    drop(host);
    // No PIN is anywhere.
    let pins = [&made["pin"], &made["host_pin"], &once["pin"], &guests["pin"]];
    let log = bridge.log();
    for file in std::fs::read_dir(&bridge.folder.0).unwrap().map_while(Result::ok) {
        let name = file.file_name();
        if name == "audit.jsonl" || name.to_string_lossy().starts_with("ledger") {
            let bytes = std::fs::read(file.path()).unwrap();
            for pin in pins {
                let pin = pin.as_str().unwrap().as_bytes();
                assert!(!bytes.windows(pin.len()).any(|w| w == pin), "{}", file.path().display());
            }
        }
    }
    assert!(pins.iter().all(|pin| !log.contains(&format!("\"{}\"", pin.as_str().unwrap()))));
}

#[test]
fn a_conference_is_entered_when_it_is_open_and_no_other_time() {
    let bridge = bridge();
    let ada = Session::of(&bridge, "ada@example.com", "host");
    let (_, made) = ada.ask(
        "POST",
        "",
        Some(json!({ "settings": { "opens_at": "2999-01-01T09:00:00Z" }, "pin": "424242" })),
    );
    let path = format!("/{}", made["id"].as_str().unwrap());
    let early = calls(&bridge, "early", &made["entry"], &json!("424242"));
    early.hears(&prompt("not-open"), 0);
    // A PIN for one time is not used up by that.
    let (_, once) = ada.ask("POST", &format!("{path}/pins"), Some(json!({ "kind": "once" })));
    calls(&bridge, "once", &made["entry"], &once["pin"]).hears(&prompt("not-open"), 0);
    for (settings, status) in [
        (json!({ "opens_at": "2020-01-01T09:00:00+01:00", "closes_at": "2020-01-01T10:00:00Z" }), 204),
        (json!({ "opens_at": "tomorrow" }), 400),
        (json!({ "opens_at": "2020-01-01T09:00:00Z", "closes_at": "2020-01-01T09:00:00Z" }), 400),
        (json!({ "capacity": 0 }), 400),
        (json!({ "title": "a\nb" }), 400),
        (json!({ "fields": vec!["a"; 11] }), 400),
        (json!({ "owner": "u_other" }), 400),
    ] {
        assert_eq!(ada.ask("PUT", &path, Some(settings.clone())).0, status, "{settings}");
    }
    let late = calls(&bridge, "late", &made["entry"], &json!("424242"));
    late.hears(&prompt("not-open"), 0);
    assert_eq!(ada.ask("PUT", &path, Some(json!({}))).0, 204);
    let _in_time = calls(&bridge, "in-time", &made["entry"], &json!("424242"));
    bridge.await_live(&path[1..], 1);
    let _once = calls(&bridge, "once-more", &made["entry"], &once["pin"]);
    bridge.await_live(&path[1..], 2);
}

#[test]
fn nobody_changes_or_sees_anothers_conference() {
    let bridge = bridge();
    let (ada, bob) =
        (Session::of(&bridge, "ada@example.com", "host"), Session::of(&bridge, "bob@example.com", "host"));
    let admin = Session::of(&bridge, "root@example.com", "admin");
    let auditor = Session::of(&bridge, "eve@example.com", "auditor");
    let new = || Some(json!({ "settings": {} }));
    let (_, made) = ada.ask("POST", "", new());
    let path = format!("/{}", made["id"].as_str().unwrap());
    let all = |who: &Session<'_>| who.ask("GET", "", None).1["bookings"].as_array().unwrap().len();
    assert_eq!((all(&ada), all(&bob)), (1, 0));
    for (method, path, body) in [
        ("PUT", path.clone(), Some(json!({}))),
        ("DELETE", path.clone(), None),
        ("GET", format!("{path}/pins"), None),
        ("POST", format!("{path}/pins"), Some(json!({ "kind": "host" }))),
        ("DELETE", format!("{path}/pins/n_x"), None),
    ] {
        assert_eq!(bob.ask(method, &path, body.clone()).0, 404, "{method} {path}");
        assert_eq!(auditor.ask(method, &path, body).0, 404, "{method} {path}");
    }
    assert_eq!((auditor.ask("POST", "", new()).0, admin.ask("POST", "", new()).0), (403, 201));
    // Those of the site's programs have no account.
    assert_eq!(bridge.ask("POST", "/v1/bookings").0, 403);
    // A guest's PIN never becomes a host's.
    for body in [
        json!({ "kind": "host", "pin": made["pin"] }),
        json!({ "kind": "personal", "role": "host", "pin": made["pin"] }),
        json!({ "kind": "guest", "pin": "123" }),
        json!({ "kind": "guest", "pin": "12 34" }),
        json!({ "kind": "other" }),
    ] {
        assert_eq!(ada.ask("POST", &format!("{path}/pins"), Some(body.clone())).0, 400, "{body}");
    }
    assert_eq!(
        ada.ask("POST", "", Some(json!({ "settings": {}, "pin": "4242", "host_pin": "4242" }))).0,
        400
    );
    // Taken away, its number is none.
    assert_eq!((ada.ask("DELETE", &path, None).0, ada.ask("DELETE", &path, None).0), (204, 404));
    calls(&bridge, "late", &made["entry"], &made["pin"]).hears(&prompt("unknown-conference"), 0);
}
