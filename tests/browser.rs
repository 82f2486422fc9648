//! A browser's SIP library as a caller: SIP.js in Chromium, over WebSocket and TLS.

use crate::harness::{Bridge, Folder, Setup, TOKEN, page, told};
use crate::tls::Authority;
use serde_json::Value;
use std::process::Command;

#[test]
fn a_browsers_sip_library_calls_holds_and_is_hung_up_over_wss() {
    let authority = Authority::new();
    let [cert, key] = authority.sign("bridge", "DNS:localhost,IP:127.0.0.1");
    let sip = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
    let bridge = Bridge::with(&Setup { also: ", \"wss://127.0.0.1:0\"", sip: &sip, ..Setup::default() });
    let folder = Folder::new();
    // The roster says who is there; that one is removed.
    let api = format!("http://{}/v1/conferences/confbrowser", bridge.http);
    let script = format!(
        "id=\"\"; while [ -z \"$id\" ]; do id=$(curl -s -H 'Authorization: Bearer {TOKEN}' {api}/roster | \
         grep -o '\"id\":\"p_[^\"]*\"' | head -1 | cut -d'\"' -f4); done; \
         curl -s -X POST -H 'Authorization: Bearer {TOKEN}' {api}/participants/$id/remove"
    );
    let remove = serde_json::json!(["sh", ["-c", script]]).to_string();
    let wss = format!("wss://{}", bridge.also.unwrap());
    let output = Command::new("timeout")
        .arg("60")
        .arg("node")
        .arg(page("sip.mjs"))
        .args([&wss, &remove])
        .current_dir(&folder.0)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        found,
        serde_json::json!({
            "steps": [
                "connected", "sendrecv", "established", "recvonly", "sendrecv", "key taken", "hung up", "sendrecv",
                "was hung up"
            ],
            "errors": []
        })
    );
    bridge.await_metric("sotto_calls", 0);
}
