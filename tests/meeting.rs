//! What hosts and participants do in a meeting, by keys and over HTTP: each tells the roster, the person concerned and the audit the same.

use crate::harness::{Bridge, Feed, Setup, TOKEN, curl_with, heard, samples, speech, until};
use crate::listener::{Listener, prompt};
use serde_json::Value;
use std::time::Duration;

const BOARD: &str = "+12025550171";
const HALL: &str = "+12025550172";
const GUEST: &str = "424242#";
const HOST: &str = "990011#";

fn bridge() -> Bridge {
    let more = format!(
        "[[conference]]\nid = \"board\"\nnumber = \"{BOARD}\"\nentry = \"20255\"\npin = \"424242\"\nhost_pin = \"990011\"\n\
         [[conference]]\nid = \"hall\"\nnumber = \"{HALL}\"\npin = \"424242\"\nhost_pin = \"990011\"\nlobby = \"until-host\"\nchimes = true\n"
    );
    Bridge::with(&Setup { more: &more, ..Setup::default() })
}

fn steer(bridge: &Bridge, conference: &str, control: &str) -> u16 {
    bridge.ask("POST", &format!("/v1/conferences/{conference}/controls/{control}")).0
}

fn control(bridge: &Bridge, conference: &str, row: &Value, action: &str) -> u16 {
    let id = row["id"].as_str().unwrap();
    bridge.ask("POST", &format!("/v1/conferences/{conference}/participants/{id}/{action}")).0
}

fn put(bridge: &Bridge, path: &str, body: &str) -> u16 {
    curl_with("PUT", &format!("http://{}{path}", bridge.http), Some(TOKEN), Some(body)).0
}

/// Until a guest's row is as it should.
fn is(feed: &mut Feed, guest: &'static str, what: &str, fits: impl Fn(&Value) -> bool) {
    feed.up_to(what, |e| e["participant"]["pseudonym"] == guest && fits(&e["participant"]));
}

/// What the audit says of controls, in their order, without when and who.
fn audited(bridge: &Bridge) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let controls = lines.filter(|line| line["event"] == "controlled");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    controls.map(|line| (text(&line["control"]), text(&line["pseudonym"]))).collect()
}

#[test]
fn a_caller_mutes_themselves_by_key_and_only_they_lift_it() {
    let bridge = bridge();
    let bob = Listener::call(&bridge, "confx", "bob.wav", &[]);
    bridge.await_live("confx", 1);
    let voice = speech(3).display().to_string();
    let mut ada = Listener::call(&bridge, "confx", "ada.wav", &["--wav", &voice, "--dtmf", "*1"]);
    let rows = bridge.await_live("confx", 2);
    let mut feed = bridge.watch("confx");
    let from = ada.hears(&prompt("muted"), 0);
    ada.hears(&prompt("to-be-heard"), from);
    let row = || bridge.roster("confx")[1].clone();
    assert_eq!((row()["muted"].as_bool(), row()["muted_by"].as_str()), (Some(true), Some("own")));
    // She talks all the time, and is told once that nobody hears her; a host asks.
    assert_eq!(control(&bridge, "confx", &rows[1], "unmute"), 204);
    let from = ada.hears(&prompt("asked-to-speak"), from);
    assert_eq!(row()["muted_by"], "own");
    ada.press("*1");
    is(&mut feed, "Guest 2", "she is heard", |p| p["muted"] == false && p["muted_by"].is_null());
    ada.hears(&prompt("heard"), from);
    let said = samples(&speech(3));
    let bob = bob.recording();
    assert!(heard(&said[..8000], &bob) < 0.6, "what she said while muted is not heard");
    assert_eq!(
        audited(&bridge),
        [("mute", "Guest 2"), ("unmute", "Guest 2")].map(|(c, p)| (c.to_owned(), p.to_owned()))
    );
}

#[test]
fn a_hosts_mute_is_asked_back_by_a_hand_and_a_lecture_gives_the_floor() {
    let bridge = bridge();
    let mut ada = Listener::call(&bridge, "confx", "ada.wav", &[]);
    bridge.await_live("confx", 1);
    let _bob = bridge.caller("confx", 60.0, &[]);
    let rows = bridge.await_live("confx", 2);
    let mut feed = bridge.watch("confx");
    let of = |pseudonym: &str| rows.iter().find(|r| r["pseudonym"] == pseudonym).unwrap();
    assert_eq!(control(&bridge, "confx", of("Guest 1"), "mute"), 204);
    is(&mut feed, "Guest 1", "muted", |p| p["muted_by"] == "host");
    let from = ada.hears(&prompt("muted-by-host"), 0);
    ada.press("*1");
    is(&mut feed, "Guest 1", "a hand", |p| {
        p["hand"] == true && !p["hand_raised_at"].is_null() && p["muted"] == true
    });
    let from = ada.hears(&prompt("wish-passed-on"), from);
    assert_eq!(control(&bridge, "confx", of("Guest 1"), "unmute"), 204);
    is(&mut feed, "Guest 1", "heard", |p| p["hand"] == false && p["muted"] == false);
    let from = ada.hears(&prompt("heard"), from);

    assert_eq!(steer(&bridge, "confx", "lecture"), 204);
    is(&mut feed, "Guest 2", "a lecture", |p| p["muted_by"] == "lecture");
    let from = ada.hears(&prompt("lecture-only"), from);
    ada.press("*2");
    is(&mut feed, "Guest 1", "a hand", |p| p["hand"] == true);
    let from = ada.hears(&prompt("hand-raised"), from);
    assert_eq!(control(&bridge, "confx", of("Guest 1"), "give-floor"), 204);
    is(&mut feed, "Guest 1", "the floor", |p| {
        p["floor"] == true && p["muted"] == false && p["hand"] == false
    });
    let from = ada.hears(&prompt("floor"), from);
    assert_eq!(steer(&bridge, "confx", "discussion"), 204);
    is(&mut feed, "Guest 2", "everybody speaks", |p| p["muted"] == false);
    // How many are in, and what can be dialled.
    ada.press("*4");
    let from = ada.hears(&prompt("people-on"), from);
    let from = ada.hears(&prompt("two"), from);
    ada.press("*0");
    let from = ada.hears(&prompt("help-mute"), from);
    let from = ada.hears(&prompt("help-leave"), from);
    // Not a host's.
    ada.press("#1");
    ada.hears(&prompt("not-available"), from);
    assert!(bridge.roster("confx").iter().all(|r| r["muted"] == false));
}

#[test]
fn questions_are_taken_one_by_one() {
    let bridge = bridge();
    let calls: Vec<_> = (0..3)
        .map(|n| {
            let call = bridge.caller("confx", 60.0, &["--dtmf", if n == 0 { "" } else { "ww*2" }]);
            bridge.await_live("confx", n + 1);
            call
        })
        .collect();
    let mut feed = bridge.watch("confx");
    assert_eq!(steer(&bridge, "confx", "lecture"), 204);
    until("two hands are up", || {
        (bridge.roster("confx").iter().filter(|r| r["hand"] == true).count() == 2).then_some(())
    });
    let rows = bridge.roster("confx");
    for (asks, waits) in [(1, 2), (2, 1)] {
        assert_eq!(control(&bridge, "confx", &rows[asks], "only-floor"), 204);
        // Of two who say it at once, the second changes nothing.
        assert_eq!(control(&bridge, "confx", &rows[asks], "only-floor"), 204);
        let guest: &'static str = if asks == 1 { "Guest 2" } else { "Guest 3" };
        is(&mut feed, guest, "has the floor", |p| p["floor"] == true && p["muted"] == false);
        let now = bridge.roster("confx");
        assert_eq!((now[waits]["floor"].as_bool(), now[waits]["muted_by"].as_str()), (None, Some("lecture")));
    }
    assert!(bridge.roster("confx").iter().all(|r| r["hand"] == false));
    drop(calls);
}

#[test]
fn a_host_locks_by_key_and_who_comes_late_hears_so() {
    let bridge = bridge();
    let mut host = Listener::call(&bridge, BOARD, "host.wav", &["--dtmf", HOST]);
    bridge.await_live("board", 1);
    let mut feed = bridge.watch("board");
    host.press("#5");
    feed.up_to("locked", |e| e["kind"] == "conference" && e["conference"]["locked"] == true);
    let from = host.hears(&prompt("locked"), 0);
    let late = Listener::call(&bridge, BOARD, "late.wav", &["--dtmf", GUEST]);
    let at = late.hears(&prompt("locked"), 0);
    late.hears(&prompt("goodbye"), at);
    let mut call = late.process;
    call.wait_within(Duration::from_secs(20));
    // Hosts come in, and open it by whatever way they like.
    let _other = bridge.caller(BOARD, 60.0, &["--dtmf", HOST]);
    bridge.await_live("board", 2);
    assert_eq!((steer(&bridge, "board", "unlock"), steer(&bridge, "board", "unlock")), (204, 204));
    feed.up_to("open", |e| e["kind"] == "conference" && e["conference"]["locked"] == false);
    let _guest = bridge.caller(BOARD, 60.0, &["--dtmf", GUEST]);
    bridge.await_live("board", 3);
    host.press("#1");
    host.hears(&prompt("everyone-muted"), from);
    let muted = |row: &Value| (row["role"].as_str() == Some("host"), row["muted"].as_bool());
    let expected = [(true, Some(false)), (true, Some(false)), (false, Some(true))];
    until("guests are muted", || {
        (bridge.roster("board").iter().map(muted).collect::<Vec<_>>() == expected).then_some(())
    });
    let said: Vec<_> = audited(&bridge).into_iter().map(|(control, _)| control).collect();
    assert_eq!(said, ["lock", "unlock", "mute-all"], "what changes nothing is not audited twice");
}

#[test]
fn guests_wait_for_their_host_with_a_word_and_come_in_together() {
    let bridge = bridge();
    let mut ada = Listener::call(&bridge, HALL, "ada.wav", &["--dtmf", GUEST, "--name", "Ada Example"]);
    let from = ada.hears(&prompt("waits"), 0);
    let rows = bridge.roster("hall");
    assert_eq!((rows[0]["state"].as_str(), rows[0]["lobby"].as_bool()), (Some("joining"), Some(true)));
    // She may withhold while she waits, and gets no code for a page that shows who is in.
    ada.press("*67");
    let from = ada.hears(&prompt("hidden-all"), from);
    ada.press("*83");
    let from = ada.hears(&prompt("not-available"), from);
    let mut feed = bridge.watch("hall");
    let bob = Listener::call(&bridge, HALL, "bob.wav", &["--dtmf", GUEST]);
    feed.up_to("two wait", |e| e["kind"] == "joined");
    let host = Listener::call(&bridge, HALL, "host.wav", &["--dtmf", HOST]);
    let rows = bridge.await_live("hall", 3);
    assert!(rows.iter().all(|r| r["lobby"].is_null()));
    let from = ada.hears(&prompt("joining"), from);
    bob.hears(&prompt("joining"), 0);
    // One more is heard to come, and to go.
    let mut eve = Listener::call(&bridge, HALL, "eve.wav", &["--dtmf", GUEST]);
    bridge.await_live("hall", 4);
    let at = host.hears(&prompt("comes"), 0);
    ada.hears(&prompt("comes"), from);
    eve.press("*5");
    eve.hears(&prompt("goodbye"), 0);
    host.hears(&prompt("goes"), at);
    bridge.await_live("hall", 3);
    let mut call = eve.process;
    call.wait_within(Duration::from_secs(20));
}

#[test]
fn who_waits_is_let_in_or_not_and_hears_which() {
    let bridge = bridge();
    let _host = bridge.caller(BOARD, 60.0, &["--dtmf", HOST]);
    bridge.await_live("board", 1);
    assert_eq!(steer(&bridge, "board", "lobby-on"), 204);
    let ada = Listener::call(&bridge, BOARD, "ada.wav", &["--dtmf", GUEST]);
    let eve = Listener::call(&bridge, BOARD, "eve.wav", &["--dtmf", GUEST]);
    let (ada_at, eve_at) = (ada.hears(&prompt("waits"), 0), eve.hears(&prompt("waits"), 0));
    let rows = until("both wait", || Some(bridge.roster("board")).filter(|rows| rows.len() == 3));
    let (_, summary) = bridge.ask("GET", "/v1/conferences");
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let board = summary["conferences"].as_array().unwrap().iter().find(|c| c["id"] == "board").unwrap();
    assert_eq!((board["participants"].as_u64(), board["waiting"].as_u64()), (Some(1), Some(2)));
    assert_eq!(control(&bridge, "board", &rows[1], "admit"), 204);
    assert_eq!(control(&bridge, "board", &rows[2], "remove"), 204);
    let heard = |one: &Listener, at, word: &str| one.hears(&prompt(word), at);
    // Which of them came first is theirs alone.
    let first_is_ada = until("one is let in", || {
        let has = |one: &Listener, word| {
            crate::listener::fit(&prompt(word), &one.so_far(), 0..usize::MAX / 2).0 > 0.995
        };
        has(&ada, "removed").then_some(false).or_else(|| has(&eve, "removed").then_some(true))
    });
    let ((one, at), (other, other_at)) =
        if first_is_ada { ((&ada, ada_at), (&eve, eve_at)) } else { ((&eve, eve_at), (&ada, ada_at)) };
    heard(one, at, "joining");
    let at = heard(other, other_at, "removed");
    heard(other, at, "goodbye");
    bridge.await_live("board", 2);
}

#[test]
fn breakouts_are_rooms_of_their_own_and_all_come_back() {
    let bridge = bridge();
    let voice = speech(3).display().to_string();
    let said = samples(&speech(3));
    let talks = Listener::call(&bridge, "confx", "talks.wav", &[]);
    bridge.await_live("confx", 1);
    let with = Listener::call(&bridge, "confx", "with.wav", &[]);
    bridge.await_live("confx", 2);
    let without = Listener::call(&bridge, "confx", "without.wav", &[]);
    let rows = bridge.await_live("confx", 3);
    let mut feed = bridge.watch("confx");
    let path =
        |n: usize| format!("/v1/conferences/confx/participants/{}/place", rows[n]["id"].as_str().unwrap());
    for (body, status) in [
        (r#"{"place": "breakout-0"}"#, 400),
        (r#"{"place": "breakout-51"}"#, 400),
        ("{}", 400),
        (r#"{"place": "breakout-2"}"#, 204),
        (r#"{"place": "breakout-2"}"#, 204),
    ] {
        assert_eq!(put(&bridge, &path(1), body), status, "{body}");
    }
    is(&mut feed, "Guest 2", "in a breakout", |p| p["breakout"] == 2);
    // Somebody comes, is put there and talks.
    let speaker = Listener::call(&bridge, "confx", "speaker.wav", &["--wav", &voice]);
    let rows = bridge.await_live("confx", 4);
    let id = rows[3]["id"].as_str().unwrap();
    assert_eq!(
        put(&bridge, &format!("/v1/conferences/confx/participants/{id}/place"), r#"{"place": "breakout-2"}"#),
        204
    );
    is(&mut feed, "Guest 4", "in a breakout", |p| p["breakout"] == 2);
    let tail = &said[said.len() / 2..];
    until("the other in the breakout hears it", || (heard(tail, &with.so_far()) > 0.9).then_some(()));
    assert!(heard(tail, &without.so_far()) < 0.6 && heard(tail, &talks.so_far()) < 0.6, "nobody else does");
    // Told of by the roster, muted there, and brought back.
    assert_eq!(control(&bridge, "confx", &rows[3], "mute"), 204);
    speaker.hears(&prompt("muted-by-host"), 0);
    assert_eq!(steer(&bridge, "confx", "recall"), 204);
    until("all are back", || bridge.roster("confx").iter().all(|r| r["breakout"].is_null()).then_some(()));
    assert_eq!(bridge.roster("confx")[3]["muted_by"], "host");
}

#[test]
fn a_meeting_that_ends_tells_everybody_and_begins_anew_later() {
    let bridge = bridge();
    let mut host = Listener::call(&bridge, BOARD, "host.wav", &["--dtmf", HOST]);
    bridge.await_live("board", 1);
    let guest = Listener::call(&bridge, BOARD, "guest.wav", &["--dtmf", GUEST]);
    bridge.await_live("board", 2);
    assert_eq!(put(&bridge, "/v1/conferences/board/title", r#"{"title": "Figures of May"}"#), 204);
    assert_eq!(put(&bridge, "/v1/conferences/board/title", "{\"title\": \"two\\nlines\"}"), 400);
    assert_eq!(steer(&bridge, "board", "lock"), 204);
    let mut feed = bridge.watch("board");
    assert_eq!(feed.next()["conference"]["title"], "Figures of May");
    // Both hosts at once: by key and over HTTP.
    host.press("#99");
    assert_eq!(steer(&bridge, "board", "end"), 204);
    for one in [&host, &guest] {
        let at = one.hears(&prompt("ended"), 0);
        one.hears(&prompt("goodbye"), at);
    }
    (0..2).for_each(|_| drop(feed.up_to("one has left", |e| e["kind"] == "left")));
    assert_eq!(audited(&bridge).iter().filter(|(control, _)| control == "end").count(), 1);
    // Neither locked nor over any more.
    let _again = bridge.caller(BOARD, 60.0, &["--dtmf", GUEST]);
    bridge.await_live("board", 1);
    let (_, text) = bridge.ask("GET", "/v1/conferences/board/roster");
    let snapshot: Value = serde_json::from_str(&text).unwrap();
    assert!(snapshot["conference"]["locked"] == false && snapshot["conference"]["title"].is_null());
}

#[test]
fn controls_of_two_hosts_at_once_are_all_carried_out_and_none_is_lost() {
    let bridge = bridge();
    let _calls: Vec<_> = (0..4).map(|_| bridge.caller("confx", 60.0, &[])).collect();
    let rows = bridge.await_live("confx", 4);
    let mut feed = bridge.watch("confx");
    let snapshot = feed.next();
    let hosts: Vec<_> = (0..2)
        .map(|host| {
            let (http, rows) = (bridge.http, rows.clone());
            std::thread::spawn(move || {
                for n in 0..50 {
                    let id = rows[n % 4]["id"].as_str().unwrap();
                    // Each mutes what the other unmutes.
                    let action = if (n / 4 + host) % 2 == 0 { "mute" } else { "unmute" };
                    let url = format!("http://{http}/v1/conferences/confx/participants/{id}/{action}");
                    assert_eq!(curl_with("POST", &url, Some(TOKEN), None).0, 204);
                }
            })
        })
        .collect();
    hosts.into_iter().for_each(|host| host.join().unwrap());
    assert_eq!(steer(&bridge, "confx", "mute-all"), 204);
    assert_eq!(steer(&bridge, "confx", "lower-hands"), 204);
    // What the feed told, one behind the other, is what the list says.
    let mut known: Vec<Value> = snapshot["participants"].as_array().unwrap().clone();
    let mut seq = snapshot["seq"].as_u64().unwrap();
    let now = until("all are muted", || {
        let rows = bridge.roster("confx");
        rows.iter().all(|r| r["muted"] == true).then_some(rows)
    });
    let muted = |rows: &[Value]| rows.iter().map(|r| r["muted"].as_bool().unwrap()).collect::<Vec<_>>();
    while muted(&known) != muted(&now) {
        let event = feed.next();
        assert_eq!(event["seq"].as_u64(), Some(seq + 1));
        seq += 1;
        if let Some(place) = known.iter().position(|r| r["id"] == event["participant"]["id"]) {
            known[place] = event["participant"].clone();
        }
    }
}

#[test]
fn an_operator_talks_to_a_guest_in_private_and_lets_them_in() {
    let bridge = bridge();
    let _host = bridge.caller(BOARD, 90.0, &["--dtmf", HOST]);
    bridge.await_live("board", 1);
    assert_eq!(steer(&bridge, "board", "lobby-on"), 204);
    let mut feed = bridge.watch("board");
    // The operator calls in like everybody, is let in and made one.
    let voice = crate::harness::endless(&bridge.folder, 3).display().to_string();
    let _operator = bridge.caller(BOARD, 90.0, &["--dtmf", GUEST, "--wav", &voice]);
    is(&mut feed, "Guest 2", "who will be the operator waits", |p| p["lobby"] == true);
    let guest = Listener::call(&bridge, BOARD, "guest.wav", &["--dtmf", GUEST]);
    is(&mut feed, "Guest 3", "a guest waits", |p| p["lobby"] == true);
    let from = guest.hears(&prompt("waits"), 0);
    let rows = bridge.roster("board");
    for action in ["admit", "make-operator"] {
        assert_eq!(control(&bridge, "board", &rows[1], action), 204);
    }
    is(&mut feed, "Guest 2", "the operator is one", |p| p["role"] == "operator" && p["lobby"].is_null());
    let put_on = |row: &Value, place: &str| {
        let path = format!("/v1/conferences/board/participants/{}/place", row["id"].as_str().unwrap());
        put(&bridge, &path, &format!(r#"{{"place": "{place}"}}"#))
    };
    assert_eq!((put_on(&rows[1], "line-1"), put_on(&rows[2], "line-1")), (204, 204));
    is(&mut feed, "Guest 3", "on the line", |p| {
        p["line"] == 1 && p["lobby"] == true && p["state"] == "joining"
    });
    let said = samples(&speech(3));
    until("the guest hears the operator", || (heard(&said[..16_000], &guest.so_far()) > 0.9).then_some(()));
    assert_eq!(control(&bridge, "board", &rows[2], "admit"), 204);
    assert_eq!(put_on(&rows[1], "meeting"), 204);
    guest.hears(&prompt("joining"), from);
    let rows = bridge.await_live("board", 3);
    assert!(rows.iter().all(|r| r["line"].is_null() && r["lobby"].is_null()));
    assert_eq!(put_on(&rows[2], "green"), 204);
    is(&mut feed, "Guest 3", "in the green room", |p| p["green"] == true);
    assert_eq!(put_on(&rows[2], "lobby"), 204, "which changes nothing");
    assert_eq!(bridge.roster("board")[2]["green"], true);
}
