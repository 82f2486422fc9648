//! The API's description, taken at its word by schemathesis: whatever it makes up of it, no answer is a 5xx, and none is one that is not described.

use crate::harness::{Bridge, TOKEN, here, told};
use std::process::Command;

/// Runs it against a bridge; `parameters` are parts of paths that are there.
fn run(bridge: &Bridge, parameters: &str, seed: u32) {
    let config =
        bridge.folder.file(&format!("schemathesis-{seed}.toml"), format!("[parameters]\n{parameters}"));
    let mut command = Command::new("timeout");
    command
        .arg("120")
        .arg(here().join("../target/peers/python/bin/schemathesis"))
        .arg("--config-file")
        .arg(config)
        .args([
            "run",
            &format!("http://{}/openapi.json", bridge.http),
            "--header",
            &format!("Authorization: Bearer {TOKEN}"),
        ])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "25",
            "--seed",
            &seed.to_string(),
            "--workers",
            "2",
        ])
        .args(["--suppress-health-check", "all", "--no-color"])
        .current_dir(&bridge.folder.0);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn no_request_gets_a_5xx_or_an_answer_that_is_not_described() {
    let bridge = Bridge::start();
    let _callers: Vec<_> = (0..3).map(|_| bridge.caller("confx", 300.0, &[])).collect();
    let rows = bridge.await_live("confx", 3);
    run(&bridge, "", 1);
    // With a meeting and a participant that are there: what is done to them is done.
    run(&bridge, &format!("id = \"confx\"\npid = {}\n", rows[0]["id"]), 2);
    let log = bridge.log();
    assert!(!log.contains("panic"), "{log}");
}
