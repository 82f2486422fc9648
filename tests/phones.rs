//! Our own phone and load generator, and what is heard.

use crate::harness::{Bridge, clip, heard, samples, sotto, told};
use serde_json::Value;

#[test]
fn each_hears_the_others_and_nobody_hears_themselves() {
    let bridge = Bridge::start();
    let file = |n: usize| bridge.folder.0.join(format!("heard{n}.wav"));
    // One after the other.
    let voices: Vec<_> = (1..=3).map(|n| clip(&bridge.folder, n, 2.2 * n as f32 - 1.2)).collect();
    let mut callers: Vec<_> = (1..=3)
        .map(|n| {
            let (voice, record) = (voices[n - 1].display().to_string(), file(n).display().to_string());
            let codec = if n == 2 { "pcma" } else { "pcmu" };
            bridge.caller("confthree", 8.5, &["--wav", &voice, "--record", &record, "--codec", codec])
        })
        .collect();
    bridge.await_live("confthree", 3);
    assert!(callers.iter_mut().all(|c| c.wait() == 0));
    for listener in 1..=3 {
        let recording = samples(&file(listener));
        for talker in 1..=3 {
            let found = heard(&samples(&voices[talker - 1]), &recording);
            let right = if talker == listener { found < 0.7 } else { found > 0.9 };
            assert!(right, "{listener} hears {talker}: {found}");
        }
    }
}

#[test]
fn calls_over_tcp_work_as_over_udp() {
    let bridge = Bridge::start();
    let uri = format!("sip:conftcp@{};transport=tcp", bridge.tcp);
    let output = sotto().args(["call", &uri, "--seconds", "1"]).output().unwrap();
    assert!(output.status.success() && told(&output).contains("lost=0"), "{}", told(&output));
}

#[test]
fn a_load_finds_every_mix_right() {
    let bridge = Bridge::start();
    let server = bridge.sip.to_string();
    let output = sotto()
        .args([
            "load",
            "--server",
            &server,
            "--conferences",
            "3",
            "--per-conf",
            "5",
            "--talkers",
            "2",
            "--seconds",
            "3",
            "--json",
        ])
        .output()
        .unwrap();
    let outcome: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    assert_eq!((&outcome["calls_failed"], &outcome["echoes"]), (&0.into(), &0.into()), "{outcome}");
    assert_eq!(outcome["pairs_heard"], outcome["pairs"], "{outcome}");
    assert_eq!(outcome["pairs"], 3 * (2 * 4), "{outcome}");
}

#[test]
fn a_refused_call_says_why() {
    let bridge = Bridge::start();
    let output = bridge.call("+12025550188", 1.0, &[]).output().unwrap();
    assert!(!output.status.success() && told(&output).contains("404"), "{}", told(&output));
}
