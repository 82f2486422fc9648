//! How soon everybody who watches sees that a caller withholds: 1,000 participants, 100 hosts with keys of their own, each on a
//! socket of their own. The floor sends as much to as many sockets and does nothing else.
#![allow(
    missing_docs,
    unsafe_code,
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[path = "../../tests/authority.rs"]
mod authority;
#[path = "../../tests/proof/callers.rs"]
mod callers;
#[path = "../../tests/proof/canary.rs"]
mod canary;
#[path = "../../tests/harness.rs"]
mod harness;

use callers::Caller;
use harness::{Bridge, Setup};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const PARTICIPANTS: usize = 1000;
const WATCHERS: usize = 100;
/// Callers who withhold, one after the other.
const ROUNDS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(5);

fn main() {
    // `cargo test` only looks whether it works.
    let whole = std::env::args().any(|a| a == "--bench");
    let (participants, watchers, rounds) = if whole { (PARTICIPANTS, WATCHERS, ROUNDS) } else { (10, 5, 5) };
    let bridge = Bridge::with(&Setup::default());
    let mut callers: Vec<Caller> = (0..participants).map(|_| Caller::new(bridge.sip, None, None)).collect();
    for caller in &mut callers {
        caller.invite();
        caller.await_answer();
        caller.ack();
    }
    bridge.await_metric("sotto_calls", participants as u64);
    let (seen, times) = channel();
    for _ in 0..watchers {
        let mut feed = callers::host(&bridge).feed;
        let snapshot = feed.next();
        assert_eq!(snapshot["participants"].as_array().unwrap().len(), participants);
        let seen: Sender<Instant> = seen.clone();
        std::thread::spawn(move || {
            while let Some(text) = feed.text() {
                if text.contains(r#""number":{"status":"withheld"}"#) && seen.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    let mut ours = Vec::new();
    for caller in callers.iter_mut().take(rounds) {
        caller.press("*");
        caller.press("6");
        let begun = Instant::now();
        caller.press("7");
        ours.extend(all(&times, begun, watchers));
    }
    let floor = floor(watchers, rounds);
    println!("| what | ms | floor | ratio |\n|---|---|---|---|");
    for (name, of) in [("p50", 0.5), ("p99", 0.99), ("worst", 1.0)] {
        let (a, b) = (quantile(&ours, of), quantile(&floor, of));
        println!(
            "| withheld, seen on {watchers} sockets, {participants} participants, {name} | {a:.2} | {b:.2} | {:.1} |",
            a / b
        );
    }
}

/// The milliseconds after which each watcher saw it.
fn all(times: &Receiver<Instant>, begun: Instant, watchers: usize) -> Vec<f64> {
    let one = |_| {
        times.recv_timeout(PATIENCE).expect("everybody sees it").duration_since(begun).as_secs_f64() * 1e3
    };
    (0..watchers).map(one).collect()
}

fn quantile(values: &[f64], of: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * of).ceil() as usize).clamp(1, values.len()) - 1]
}

/// One thread that writes as much to as many sockets, and a reader for each.
fn floor(watchers: usize, rounds: usize) -> Vec<f64> {
    const MESSAGE: [u8; 512] = [b'x'; 512];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (seen, times) = channel();
    let mut streams = Vec::new();
    for _ in 0..watchers {
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        streams.push(listener.accept().unwrap().0);
        streams.last().unwrap().set_nodelay(true).unwrap();
        let seen = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; MESSAGE.len()];
            while reader.read_exact(&mut buffer).is_ok() && seen.send(Instant::now()).is_ok() {}
        });
    }
    let mut floor = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        for stream in &mut streams {
            stream.write_all(&MESSAGE).unwrap();
        }
        floor.extend(all(&times, begun, watchers));
    }
    floor
}
