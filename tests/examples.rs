//! The programs in docs/examples that steer meetings, as they stand there. Those that are told of them are in `webhook`.

use crate::harness::{Bridge, Process, TOKEN, here, until};
use crate::listener::Listener;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_moderator_gives_the_floor_to_one_hand_after_the_other() {
    let bridge = Bridge::start();
    let compiled = Command::new(here().join("../bridge/portal/node_modules/.bin/tsc"))
        .args([
            "--strict",
            "--noUncheckedIndexedAccess",
            "--target",
            "es2022",
            "--module",
            "es2022",
            "--lib",
            "es2022,dom",
        ])
        .arg("--outDir")
        .arg(&bridge.folder.0)
        .arg(here().join("../docs/examples/moderator.mts"))
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
    let mut program = Command::new("node")
        .arg("--experimental-websocket")
        .arg(bridge.folder.0.join("moderator.mjs"))
        .args([&format!("http://{}", bridge.http), "confx", "2"])
        .env("SOTTO_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let _program = Process(program);
    let mut phones: Vec<_> = (0..3)
        .map(|n| {
            let phone = Listener::call(&bridge, "confx", &format!("{n}.wav"), &[]);
            bridge.await_live("confx", n + 1);
            phone
        })
        .collect();
    assert_eq!(bridge.ask("POST", "/v1/conferences/confx/controls/lecture").0, 204);
    let mut next = || lines.next().unwrap().unwrap();
    // The third first.
    phones[2].press("*2");
    assert_eq!(next(), "Guest 3 has the floor");
    for n in [0, 1] {
        phones[n].press("*2");
        until("the hand is up", || (bridge.roster("confx")[n]["hand"] == true).then_some(()));
    }
    assert_eq!((next(), next()), ("Guest 1 has the floor".to_owned(), "Guest 2 has the floor".to_owned()));
    let rows = bridge.roster("confx");
    let floors: Vec<_> = rows.iter().map(|row| row["floor"] == true).collect();
    assert_eq!(floors, [false, true, false], "one at a time");
}
