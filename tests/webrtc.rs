//! WebRTC with others' libraries: a browser, and aiortc. Each is heard and hears others, and not itself, over ICE and DTLS.

use crate::harness::{
    Bridge, Folder, PATIENCE, Setup, heard, here, own_address, page, samples, speech, told,
};
use crate::tls::Authority;
use media::Rate;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Speech as a file of 48 kHz, which browsers want.
fn voice(folder: &Folder, n: usize) -> PathBuf {
    let path = folder.0.join(format!("voice-{n}.wav"));
    let mut recorder = sotto::phone::Recorder::create(&path, Rate::Full).unwrap();
    recorder.write(&sotto::phone::read_wav(&speech(n)).unwrap().at(Rate::Full)).unwrap();
    recorder.finish().unwrap();
    path
}

/// A bridge on this machine's own address, for browsers and their kin do not call the loopback's.
fn bridge() -> (Bridge, Authority) {
    let address = own_address();
    let authority = Authority::new();
    let [cert, key] = authority.sign("bridge", &format!("DNS:localhost,IP:{address}"));
    let bridge = Bridge::with(&Setup {
        listen: &address.to_string(),
        also: &format!(", \"wss://{address}:0\""),
        // Who asks a browser for a certificate is refused.
        sip: &format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display()),
        trunk: &format!("{address}/32"),
        ..Setup::default()
    });
    (bridge, authority)
}

/// What a browser wrote: samples without a head.
fn bare(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let pcm: Vec<i16> = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let wav = path.with_extension("wav");
    let mut recorder = sotto::phone::Recorder::create(&wav, Rate::Full).unwrap();
    recorder.write(&pcm).unwrap();
    recorder.finish().unwrap();
    samples(&wav)
}

/// A caller with a voice is in the conference while the other peer is, and hears and is heard by it alone.
fn talk(bridge: &Bridge, mut peer: Child, theirs: &Path, own: usize, other: usize) -> (Value, [f32; 3]) {
    let begun = std::time::Instant::now();
    while bridge.roster("confweb").iter().all(|r| r["state"] != "live") {
        assert!(begun.elapsed() < PATIENCE, "the peer did not come: {}", bridge.log());
        assert!(
            peer.try_wait().unwrap().is_none(),
            "the peer gave up: {}",
            told(&peer.wait_with_output().unwrap())
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let recording = bridge.folder.0.join("heard.wav");
    let (say, record) = (speech(other).display().to_string(), recording.display().to_string());
    let mut caller = bridge.caller("confweb", 6.0, &["--wav", &say, "--record", &record]);
    assert_eq!(caller.wait(), 0);
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{}", told(&output), bridge.log());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let theirs = if theirs.extension().is_some_and(|e| e == "raw") { bare(theirs) } else { samples(theirs) };
    let others = heard(&samples(&speech(other)), &theirs);
    let echo = heard(&samples(&speech(own)), &theirs);
    let back = heard(&samples(&speech(own)), &samples(&recording));
    bridge.await_metric("sotto_calls", 0);
    (found, [others, echo, back])
}

#[test]
fn a_browser_is_heard_and_hears_the_mix_without_itself_over_ice_and_dtls() {
    let (bridge, _authority) = bridge();
    let folder = Folder::new();
    let raw = folder.0.join("heard.raw");
    let browser = Command::new("timeout")
        .args(["60", "node"])
        .arg(page("webrtc.mjs"))
        .args([&format!("wss://{}", bridge.also.unwrap()), "confweb"])
        .args([&voice(&folder, 6), &raw])
        .arg("8")
        .current_dir(&folder.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (found, [others, echo, back]) = talk(&bridge, browser, &raw, 6, 3);
    assert_eq!(found["errors"], serde_json::json!([]), "{found}");
    assert_eq!(
        (&found["codec"], &found["transport"]["dtls"]),
        (&"audio/opus".into(), &"connected".into()),
        "{found}"
    );
    assert_eq!(found["remote"]["lost"], 0, "our receiver reports reach it: {found}");
    assert_eq!(found["remote"]["roundTrip"], true, "and our sender reports' echoes: {found}");
    assert!(others > 0.85, "the browser hears the other caller: {others}; {found}");
    assert!(echo < 0.7, "the browser does not hear itself: {echo}");
    assert!(back > 0.85, "the browser is heard: {back}");
}

fn aiortc_is_heard(codec: &str) {
    let (bridge, _authority) = bridge();
    let folder = Folder::new();
    let wav = folder.0.join("heard.wav");
    let peer = Command::new("timeout")
        .arg("60")
        .arg(here().join("../target/peers/python/bin/python"))
        .arg(here().join("page/aiortc_caller.py"))
        .args([&bridge.tcp.to_string(), "confweb"])
        .args([&voice(&folder, 6), &wav])
        .args(["8", codec])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (found, [others, echo, back]) = talk(&bridge, peer, &wav, 6, 3);
    assert_eq!((&found["status"], &found["bye"]), (&200.into(), &200.into()), "{found}");
    assert_eq!(found["states"], serde_json::json!(["connecting", "connected"]), "{found}");
    assert_eq!(found["told"], serde_json::json!([{"lost": 0, "round_trip": true}]), "{found}");
    assert!(others > 0.85, "aiortc hears the other caller: {others}");
    assert!(echo < 0.7, "aiortc does not hear itself: {echo}");
    assert!(back > 0.85, "aiortc is heard: {back}");
}

#[test]
fn aiortc_is_heard_and_hears_the_mix_without_itself_in_opus() {
    aiortc_is_heard("opus");
}

#[test]
fn aiortc_is_heard_and_hears_the_mix_without_itself_in_g711() {
    aiortc_is_heard("PCMU");
}
