//! Our own phone and load generator, and what is heard.

use crate::harness::{Bridge, Setup, clip, heard, samples, sotto, speech, told, until};
use serde_json::Value;
use std::path::Path;

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

/// What a load of three seconds finds.
fn load(bridge: &Bridge, conferences: usize, per_conf: usize, talkers: usize, more: &[&str]) -> Value {
    let numbers = [("--conferences", conferences), ("--per-conf", per_conf), ("--talkers", talkers)];
    let mut command = sotto();
    command.args(["load", "--server", &bridge.sip.to_string(), "--seconds", "3", "--json"]);
    for (name, n) in numbers {
        command.args([name, &n.to_string()]);
    }
    command.args(more);
    let output = command.output().unwrap();
    let outcome: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    assert_eq!((&outcome["calls_failed"], &outcome["echoes"]), (&0.into(), &0.into()), "{outcome}");
    assert_eq!(outcome["pairs_heard"], outcome["pairs"], "{outcome}");
    assert_eq!(outcome["pairs"], conferences * talkers * (per_conf - 1), "{outcome}");
    outcome
}

#[test]
fn a_load_finds_every_mix_right() {
    load(&Bridge::start(), 3, 5, 2, &[]);
}

#[test]
fn they_are_right_too_where_packets_are_lost_and_clocks_run_apart() {
    load(&Bridge::start(), 3, 5, 2, &["--loss", "2", "--drift", "500"]);
}

#[test]
fn conferences_over_several_threads_are_mixed_as_one() {
    let media = "shards = 3\nspread_above = 10";
    let bridge = Bridge::with(&Setup { media, ..Setup::default() });
    load(&bridge, 2, 20, 4, &[]);
    assert_eq!(bridge.metric("sotto_missed_ticks_total"), 0);
}

#[test]
fn a_refused_call_says_why() {
    let bridge = Bridge::start();
    let output = bridge.call("+12025550188", 1.0, &[]).output().unwrap();
    assert!(!output.status.success() && told(&output).contains("404"), "{}", told(&output));
}

#[test]
fn encrypted_calls_in_every_suite_and_codec_hear_each_other() {
    let media = "codecs = [\"opus\", \"g722\", \"pcmu\", \"pcma\", \"l16\"]";
    let bridge = Bridge::with(&Setup { media, ..Setup::default() });
    let suites = [
        ("AES_CM_128_HMAC_SHA1_80", "pcmu"),
        ("AES_CM_128_HMAC_SHA1_32", "g722"),
        ("AES_256_CM_HMAC_SHA1_80", "opus"),
        ("AES_256_CM_HMAC_SHA1_32", "pcma"),
        ("AEAD_AES_128_GCM", "opus"),
        ("AEAD_AES_256_GCM", "l16"),
        ("dtls", "g722"),
    ];
    let voice = clip(&bridge.folder, 1, 2.0);
    let mut talker = bridge.caller("confsrtp", 7.0, &["--wav", &voice.display().to_string()]);
    let file = |n: usize| bridge.folder.0.join(format!("srtp{n}.wav"));
    let mut callers: Vec<_> = suites
        .iter()
        .enumerate()
        .map(|(n, (suite, codec))| {
            let record = file(n).display().to_string();
            bridge.caller("confsrtp", 6.5, &["--srtp", suite, "--codec", codec, "--record", &record])
        })
        .collect();
    bridge.await_live("confsrtp", 8);
    assert!(talker.wait() == 0 && callers.iter_mut().all(|c| c.wait() == 0));
    for (n, (suite, codec)) in suites.iter().enumerate() {
        let found = heard(&samples(&voice), &samples(&file(n)));
        assert!(found > 0.9, "{suite} with {codec}: {found}");
    }
}

#[test]
fn a_bridge_that_wants_encryption_refuses_calls_without_and_one_that_does_not_those_with() {
    for (wish, plain, encrypted) in
        [("required", false, true), ("off", true, false), ("optional", true, true)]
    {
        let media = format!("srtp = \"{wish}\"");
        let bridge = Bridge::with(&Setup { media: &media, ..Setup::default() });
        for (more, expected) in [(&[][..], plain), (&["--srtp"][..], encrypted)] {
            let uri = format!("sip:confwish@{}", bridge.sip);
            let output = sotto().args(["call", &uri, "--seconds", "0.5"]).args(more).output().unwrap();
            assert_eq!(output.status.success(), expected, "{wish} {more:?}: {}", told(&output));
        }
    }
}

#[test]
fn who_waits_alone_hears_the_music_and_who_comes_does_not() {
    let media = format!("music = {:?}", speech(1));
    let bridge = Bridge::with(&Setup { media: &media, ..Setup::default() });
    let file = |name: &str| bridge.folder.0.join(name);
    let call = |file: &Path, seconds| {
        bridge.caller("confwaits", seconds, &["--record", &file.display().to_string()])
    };
    let (first, second) = (file("first.wav"), file("second.wav"));
    let mut waits = call(&first, 10.0);
    // Four seconds of 8 kHz: it has played for two.
    until("the music plays", || std::fs::metadata(&first).ok().filter(|f| f.len() > 64_000));
    let mut comes = call(&second, 2.0);
    assert_eq!((comes.wait(), waits.wait()), (0, 0));
    let (music, first, second) = (samples(&speech(1)), samples(&first), samples(&second));
    assert!(heard(&music[..12_000], &first) > 0.9, "who waits hears it");
    let loudest = second.iter().fold(0.0f32, |most, s| most.max(s.abs()));
    assert!(second.len() > 8000 && loudest < 100.0, "who comes hears {loudest}");
}
