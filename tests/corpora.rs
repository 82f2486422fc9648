//! Every input that the fuzzer found worth keeping, tried again; and, where they are at hand, messages of real equipment.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

fn run(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = files(&folder);
    assert!(files.len() >= 10, "{}: {} files", folder.display(), files.len());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| check(&bytes)).is_err() {
            panic!("{}", file.display());
        }
    }
}

#[test]
fn messages() {
    run("message", targets::message);
}

#[test]
fn descriptions() {
    run("sdp", targets::sdp);
}

#[test]
fn dialogs() {
    run("dialog", targets::dialog);
}

#[test]
fn rtp() {
    run("rtp", targets::rtp);
}

#[test]
fn stun() {
    run("stun", targets::stun);
}

#[test]
fn rtcp() {
    run("rtcp", targets::rtcp);
}

#[test]
fn what_real_equipment_sends() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sip-wild");
    if !folder.is_dir() {
        println!("passed over: no messages at hand");
        return;
    }
    for file in files(&folder).iter().filter(|f| f.extension().is_some_and(|e| e == "sip")) {
        let bytes = std::fs::read(file).unwrap();
        targets::message(&bytes);
        assert!(targets::is_read(&bytes), "{}", file.display());
    }
}
