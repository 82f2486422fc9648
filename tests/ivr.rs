//! Callers are led into conferences: by number and PIN, in words, with an end for who guesses.

use crate::harness::{Bridge, Process, Setup, clip, endless, heard, here, samples, until};
use crate::listener::{Listener, prompt};
use std::process::Stdio;
use std::time::Duration;

const ACCESS: &str = "+12025550170";
const BOARD: &str = "+12025550171";
const GUEST: &str = "424242";
const HOST: &str = "990011";

fn bridge() -> Bridge {
    let more = format!(
        "[ivr]\nnumbers = [\"{ACCESS}\"]\n[[conference]]\nid = \"board\"\nnumber = \"{BOARD}\"\nentry = \"20255\"\npin = \"{GUEST}\"\nhost_pin = \"{HOST}\"\n\
         [[conference]]\nid = \"open\"\nnumber = \"+12025550172\"\nentry = \"777\"\n[[conference]]\nid = \"small\"\nnumber = \"+12025550173\"\ncapacity = 1\nentry = \"111\"\n"
    );
    Bridge::with(&Setup { more: &more, ..Setup::default() })
}

/// Waits until a call ends that is not hung up by its caller.
fn ends(mut call: Process) {
    call.wait_within(Duration::from_secs(40));
}

#[test]
fn a_caller_hears_the_way_and_is_in_with_number_and_pin() {
    let bridge = bridge();
    let keys = format!("wwwwwwww20255#wwwwwwwwww{GUEST}#");
    let ada = Listener::call(&bridge, ACCESS, "ada.wav", &["--dtmf", &keys]);
    let mut from = 0;
    for said in ["welcome", "enter-conference", "enter-pin", "people-on", "zero", "joining"] {
        from = ada.hears(&prompt(said), from);
    }
    let rows = bridge.await_live("board", 1);
    assert_eq!((rows[0]["role"].as_str(), rows[0]["pseudonym"].as_str()), (Some("speaker"), Some("Guest 1")));

    // A host, by the conference's own number: only the PIN is asked for. Each hears the other.
    let said = samples(&here().join("../bridge/assets/speech/3.wav"));
    // He talks all the time: what he says before he is in is not heard.
    let voice = endless(&bridge.folder, 3).display().to_string();
    let bob =
        Listener::call(&bridge, BOARD, "bob.wav", &["--dtmf", &format!("wwww{HOST}#"), "--wav", &voice]);
    let from = bob.hears(&prompt("people-on"), 0);
    bob.hears(&prompt("one"), from);
    let rows = bridge.await_live("board", 2);
    assert_eq!(rows[1]["role"], "host");
    let before = ada.so_far().len();
    until("Ada hears Bob", || {
        let since = ada.so_far().split_off(before);
        (since.len() > said.len() && heard(&said, &since) > 0.9).then_some(())
    });
    let log = bridge.log();
    assert!(!log.contains(GUEST) && !log.contains(HOST), "a PIN in the log");
}

#[test]
fn who_knows_the_way_presses_everything_at_once_and_a_conference_without_a_pin_is_open() {
    let bridge = bridge();
    let _ada = bridge.caller(ACCESS, 60.0, &["--dtmf", &format!("20255#{HOST}#")]);
    let _bob = bridge.caller(ACCESS, 60.0, &["--dtmf", "777#"]);
    let _eve = bridge.caller("+12025550172", 60.0, &[]);
    assert_eq!(bridge.await_live("board", 1)[0]["role"], "host");
    bridge.await_live("open", 2);
}

#[test]
fn who_says_their_name_is_announced_by_it_until_they_withhold_it() {
    let more = format!(
        "[ivr]\nnumbers = [\"{ACCESS}\"]\n[[conference]]\nid = \"board\"\nnumber = \"{BOARD}\"\npin = \"{GUEST}\"\n\
         announce_names = true\n"
    );
    let bridge = Bridge::with(&Setup { more: &more, ..Setup::default() });
    // Bob does not say his.
    let mut bob = Listener::call(&bridge, BOARD, "bob.wav", &["--dtmf", &format!("{GUEST}#")]);
    let from = bob.hears(&prompt("tone"), bob.hears(&prompt("say-name"), 0));
    bob.press("#");
    let mut from = bob.hears(&prompt("people-on"), from);
    bridge.await_live("board", 1);
    let name = clip(&bridge.folder, 2, 0.0);
    let said = samples(&name);
    let voice = name.display().to_string();
    let mut ada = Listener::call(
        &bridge,
        BOARD,
        "ada.wav",
        &["--wav", &voice, "--on-key", "--dtmf", &format!("{GUEST}#")],
    );
    let asked = ada.hears(&prompt("tone"), ada.hears(&prompt("say-name"), 0));
    ada.press("s");
    let joining = ada.hears(&prompt("people-on"), asked);
    bridge.await_live("board", 2);
    let mut announced = |bob: &Listener, what: &str| {
        let before = from;
        from = bob.hears(&prompt(what), before);
        let since = bob.so_far()[before..from].to_vec();
        heard(&said, &since)
    };
    let likeness = announced(&bob, "has-joined");
    assert!(likeness > 0.9, "{likeness}");
    // Whoever asks who is on hears it too.
    bob.press("*4");
    let roll = bob.hears(&prompt("people-on"), from);
    until("the roll is called", || (heard(&said, &bob.so_far()[roll..]) > 0.9).then_some(()));
    assert!(joining > asked);
    // Withheld is withheld here as everywhere: she goes without a word.
    ada.press("*67");
    ada.hears(&prompt("hidden-all"), joining);
    bob.press("*4");
    let before = bob.hears(&prompt("people-on"), roll + prompt("people-on").len());
    ada.press("*5");
    bridge.await_live("board", 1);
    let third = bridge.caller(BOARD, 60.0, &["--dtmf", &format!("{GUEST}#wwwww#")]);
    bridge.await_live("board", 2);
    drop(third);
    let since = bob.so_far()[before..].to_vec();
    assert!(heard(&said, &since) < 0.6, "{}", heard(&said, &since));
}

#[test]
fn three_wrong_pins_end_the_call_and_nobody_saw_it() {
    let bridge = bridge();
    let eve = Listener::call(
        &bridge,
        BOARD,
        "eve.wav",
        &["--dtmf", "wwww111111#wwwwwwwwwwww222222#wwwwwwwwwwww333333#"],
    );
    let mut from = 0;
    for said in ["enter-pin", "wrong-pin", "enter-pin", "wrong-pin", "enter-pin", "goodbye"] {
        from = eve.hears(&prompt(said), from);
    }
    ends(eve.process);
    assert!(bridge.roster("board").is_empty());
    assert_eq!(bridge.metric("sotto_calls_routed_total"), 0);
    until("its room is closed", || (bridge.metric("sotto_calls") == 0).then_some(()));
}

#[test]
fn a_full_conference_is_said_to_be_full() {
    let bridge = bridge();
    let _ada = bridge.caller("+12025550173", 60.0, &[]);
    bridge.await_live("small", 1);
    let bob = Listener::call(&bridge, ACCESS, "bob.wav", &["--dtmf", "111#"]);
    let from = bob.hears(&prompt("full"), 0);
    bob.hears(&prompt("goodbye"), from);
    ends(bob.process);
    assert_eq!(bridge.roster("small").len(), 1);
}

#[test]
fn hosts_are_told_when_pins_are_guessed_and_the_right_one_does_not_help_then() {
    let bridge = bridge();
    let _ada = bridge.caller(BOARD, 60.0, &["--dtmf", &format!("{HOST}#")]);
    bridge.await_live("board", 1);
    let mut feed = bridge.watch("board");
    let guess = || {
        let keys = "111111#ww222222#ww333333#ww";
        Process(bridge.call(BOARD, 30.0, &["--dtmf", keys]).stdout(Stdio::null()).spawn().unwrap())
    };
    let calls: Vec<_> = (0..8).map(|_| guess()).collect();
    feed.up_to("the alarm", |e| e["kind"] == "conference" && !e["conference"]["pins_guessed_at"].is_null());
    calls.into_iter().for_each(ends);
    assert_eq!(bridge.metric("sotto_pin_alarms_total"), 1);
    assert!(std::fs::read_to_string(bridge.folder.0.join("audit.jsonl")).unwrap().contains("pins_guessed"));
    // Whose number nobody vouches for shares the tries of all.
    let late = Listener::call(&bridge, BOARD, "late.wav", &["--dtmf", &format!("{GUEST}#")]);
    late.hears(&prompt("goodbye"), 0);
    ends(late.process);
    assert_eq!(bridge.roster("board").len(), 1);
}
