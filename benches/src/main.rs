//! The capacity bench: W1 to W4 of the contract, each against a floor measured in the same run.
//!
//! `capacity` prints the table of docs/PERFORMANCE.md; `capacity mix` its first half (W1, W2, W4; with `ONLY=W1,W2` some of it), `capacity calls` its second (W3);
//! `capacity signalling` measures W3 at full rate over UDP and TLS, and calls under a flood;
//! `capacity soak` has calls under loss, drift and churn for three quarters of an hour;
//! `capacity privacy` compares builds with and without protection (scripts/bench-privacy makes them).
//! The bridge is a process of its own; so is the floor.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calls;
mod floor;
mod privacy;
mod signalling;
mod soak;
mod witness;

use anyhow::Context;
use sip_stack::sdp::Suite;
use sotto::loadtest::{Network, Outcome, Plan, process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use witness::{Seen, Witness};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["echo", count] => floor::echo(count.parse()?),
        ["witness"] => witness::watch(),
        ["mix-here"] => run(true, false),
        [] => pinned("mix-here").and_then(|()| run(false, true)).and_then(|()| signalling::pinned()),
        ["mix"] => pinned("mix-here"),
        ["calls"] => run(false, true),
        ["signalling"] => signalling::pinned(),
        ["signalling-here"] => signalling::run(),
        ["soak"] => pinned("soak-here 45 300"),
        ["soak", minutes, conferences] => pinned(&format!("soak-here {minutes} {conferences}")),
        ["soak-here", minutes, conferences] => soak::run(minutes.parse()?, conferences.parse()?),
        ["privacy"] => privacy::run(12, 6),
        ["privacy", blocks, mixes] => privacy::run(blocks.parse()?, mixes.parse()?),
        _ => anyhow::bail!(
            "usage: capacity [mix|calls|signalling|soak [MINUTES CONFERENCES]|privacy [BLOCKS MIXES]]"
        ),
    }
}

/// A load, and what its cost is to be.
struct Work {
    name: &'static str,
    conferences: usize,
    per_conf: usize,
    talkers: usize,
    srtp: Option<Suite>,
    opus: bool,
    bar: &'static str,
}

/// Cores of the bridge (and the floor) and of the generator.
const BRIDGE_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";
/// The floor has as many participants as the bridge, unless those are so many that the generator could not have both.
const FLOOR: usize = 100;
const MANY: usize = 1000;
/// How long is measured, s.
const SECONDS: u64 = 20;

/// The same command again on the generator's core alone.
fn pinned(words: &str) -> anyhow::Result<()> {
    let mut command = Command::new("taskset");
    let status =
        command.args(["-c", GENERATOR_CORE]).arg(std::env::current_exe()?).args(words.split(' ')).status()?;
    anyhow::ensure!(status.success(), "the bench failed");
    Ok(())
}

/// A bridge of its own process, ended with this value.
struct Bridge {
    child: Child,
    sip: SocketAddr,
    admin: SocketAddr,
    tls: Option<SocketAddr>,
    data: PathBuf,
}

impl Bridge {
    fn start() -> anyhow::Result<Self> {
        Self::of("sotto", None)
    }

    /// Another build, by its file's name, on one core alone if so wished.
    fn of(name: &str, core: Option<&str>) -> anyhow::Result<Self> {
        Self::with(name, core, "", "")
    }

    /// The same with more listeners, each with a comma in front, and more lines of `[sip]`.
    fn with(name: &str, core: Option<&str>, also: &str, more: &str) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name(name);
        anyhow::ensure!(binary.is_file(), "{} is missing: run `make build` first", binary.display());
        let config = std::env::temp_dir().join(format!("{name}-capacity-{}.toml", std::process::id()));
        let data = config.with_extension("data");
        let mut file = std::fs::File::create(&config)?;
        write!(
            file,
            "[node]\ndata_dir = \"{}\"\n[sip]\nlisten = [\"udp://127.0.0.1:0\"{also}]\n{more}[media]\naddress = \"127.0.0.1\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             admin_listen = \"127.0.0.1:0\"\n[conferences]\nadhoc_prefix = \"conf\"\ncapacity = 5000\n[[trunk]]\nname = \"bench\"\n\
             from = [\"127.0.0.1/32\"]\n",
            data.display()
        )?;
        let mut command = match core {
            None => Command::new(binary),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", core]).arg(binary);
                command
            }
        };
        let mut child = command
            .args(["serve", "--drain-timeout", "0", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
        remove(&config);
        let sip = line.split_once("sip=udp://").context("the bridge did not start")?.1;
        let sip = sip.split([' ', ',']).next().unwrap_or_default().parse()?;
        let tls = line.split_once("tls://").and_then(|(_, t)| t.split([' ', ',']).next()?.parse().ok());
        let admin = line.trim().split_once("admin=http://").context("no admin address")?.1.parse()?;
        Ok(Self { child, sip, admin, tls, data })
    }
}

fn remove(path: &PathBuf) {
    // A file left in the temporary folder harms nobody.
    let _ = std::fs::remove_file(path);
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // Our own child.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What stays in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn run(mixes: bool, rates: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    println!("| what | bridge | floor | ratio | bar |");
    println!("|---|---|---|---|---|");
    let gcm = Some(Suite::Gcm128);
    let workloads = [
        Work {
            name: "W1",
            conferences: 1,
            per_conf: 200,
            talkers: 3,
            srtp: None,
            opus: false,
            bar: "≤ 1.30 ×",
        },
        Work {
            name: "W2",
            conferences: 60,
            per_conf: 5,
            talkers: 1,
            srtp: None,
            opus: false,
            bar: "≤ 1.30 ×",
        },
        Work {
            name: "W1 SRTP GCM",
            conferences: 1,
            per_conf: 200,
            talkers: 3,
            srtp: gcm,
            opus: false,
            bar: "≤ 1.60 ×",
        },
        Work {
            name: "W2 SRTP GCM",
            conferences: 60,
            per_conf: 5,
            talkers: 1,
            srtp: gcm,
            opus: false,
            bar: "≤ 1.60 ×",
        },
        Work {
            name: "W1 Opus",
            conferences: 1,
            per_conf: 200,
            talkers: 3,
            srtp: None,
            opus: true,
            bar: "≤ 1.80 ×",
        },
        Work {
            name: "1 × 50",
            conferences: 1,
            per_conf: 50,
            talkers: 3,
            srtp: None,
            opus: false,
            bar: "told",
        },
        Work {
            name: "1 × 2000",
            conferences: 1,
            per_conf: 2000,
            talkers: 3,
            srtp: None,
            opus: false,
            bar: "1.05 × that of 1 × 50",
        },
        Work {
            name: "400 × 5",
            conferences: 400,
            per_conf: 5,
            talkers: 1,
            srtp: None,
            opus: false,
            bar: "told",
        },
    ];
    let wanted = std::env::var("ONLY").unwrap_or_default();
    let wanted =
        |work: &&Work| mixes && (wanted.is_empty() || wanted.split(',').any(|name| name == work.name));
    for work in workloads.iter().filter(wanted) {
        let Work { name, bar, opus, .. } = *work;
        let (outcome, floor, late, seen) = mix(&runtime, work)?;
        let cpu = outcome.cpu_ms_per_participant_second.unwrap_or(f64::NAN);
        let row = |what: &str, value: String, bar: &str| println!("| {name} {what} | {value} | {bar} |");
        row("CPU, ms/participant-second", format!("{cpu:.3} | {floor:.3} | {:.2}", cpu / floor), bar);
        let (l, j) = (outcome.latency_ms, outcome.jitter_ms);
        if !opus {
            row("bridge latency p50 / p99, ms", format!("{:.1} / {:.1} | 0 | –", l.p50, l.p99), "≤ 4 / 12");
        }
        row("output jitter p99, ms", format!("{:.2} | – | –", j.p99), "≤ 1");
        let lost = (outcome.packets_lost, outcome.packets_received);
        row("packets lost / received", format!("{} / {} | 0 | –", lost.0, lost.1), "0");
        let mixes = (outcome.pairs_heard, outcome.pairs, outcome.echoes);
        row("mixes right / all, echoes", format!("{} / {}, {} | – | –", mixes.0, mixes.1, mixes.2), "all, 0");
        let memory = outcome.memory_kb_per_participant.unwrap_or(f64::NAN);
        row(
            "memory, kB/participant (W4)",
            format!("{memory:.1} | – | –"),
            if opus { "≤ 120" } else { "≤ 40" },
        );
        let Seen { late: own, slow } = seen;
        row(
            "late and missed ticks; the machine: late, memory slow",
            format!("{late} | {own}, {slow} | –"),
            "0",
        );
        let own = outcome.own_lateness_ms;
        row(
            "generator's own lateness p50 / p99, ms",
            format!("{:.2} / {:.2} | – | –", own.p50, own.p99),
            "told",
        );
    }
    if rates { call_rates(&runtime) } else { Ok(()) }
}

/// A generator that could not keep time itself measures the machine, not the bridge: such a run is made again.
const OWN_LATENESS_P99_MS: f64 = 1.0;
const ATTEMPTS: usize = 6;

fn mix(runtime: &tokio::runtime::Runtime, work: &Work) -> anyhow::Result<(Outcome, f64, u64, Seen)> {
    let Work { conferences, per_conf, talkers, srtp, opus, .. } = *work;
    let once = || {
        let bridge = Bridge::of("sotto", Some(BRIDGE_CORE))?;
        let admin = bridge.admin;
        let mut witness = Witness::start()?;
        // Both at the same time: the machine's own drift is the same for both.
        let (go, wait) = std::sync::mpsc::channel();
        let total = conferences * per_conf;
        // What a participant costs does not depend on how many there are; what the generator can do does.
        let floor = std::thread::spawn(move || {
            floor::measure(if total > MANY { FLOOR } else { total }, SECONDS, &wait)
        });
        let plan = plan_of(&bridge, conferences, per_conf, talkers, srtp, opus)?;
        let outcome = runtime.block_on(sotto::loadtest::measure(&plan, |up| {
            if up == total {
                // It ended if this fails, and says why.
                let _ = go.send(());
            }
        }))?;
        let (late, seen) = (late_ticks(admin)?, witness.seen()?);
        drop(bridge);
        let floor = floor.join().map_err(|_| anyhow::anyhow!("the floor panicked"))??;
        anyhow::Ok((outcome, floor, late, seen))
    };
    let mut found = once()?;
    for attempt in 1..ATTEMPTS {
        let own = found.0.own_lateness_ms.p99;
        if own <= OWN_LATENESS_P99_MS {
            break;
        }
        eprintln!("the generator itself was late (p99 {own:.1} ms): run {attempt} is made again");
        found = once()?;
    }
    Ok(found)
}

/// The bridge's metrics. Without a process for it: that would take time from the generator.
fn metrics(admin: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Ticks that were late or left out.
fn late_ticks(admin: SocketAddr) -> anyhow::Result<u64> {
    let text = metrics(admin)?;
    let of = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok());
    of("sotto_late_ticks_total").zip(of("sotto_missed_ticks_total")).map(|(a, b)| a + b).context("metrics")
}

fn plan_of(
    bridge: &Bridge,
    conferences: usize,
    per_conf: usize,
    talkers: usize,
    srtp: Option<Suite>,
    opus: bool,
) -> anyhow::Result<Plan> {
    Ok(Plan {
        server: bridge.sip,
        conferences,
        per_conf,
        talkers,
        seconds: SECONDS,
        prefix: "confload".into(),
        pid: Some(bridge.child.id()),
        rate: 200,
        local: "127.0.0.1".parse()?,
        srtp,
        opus,
        network: Network::default(),
        stalls: Arc::default(),
    })
}

fn call_rates(runtime: &tokio::runtime::Runtime) -> anyhow::Result<()> {
    let floor = floor::call_floor()?;
    let row = |what: &str, value: String, bar: &str| println!("| W3 {what} | {value} | {bar} |");
    let cpu = |outcome: &calls::Outcome| {
        let ms = outcome.cpu_ms_per_call;
        format!("{ms:.3} | {floor:.3} | {:.1}", ms / floor)
    };
    let agent = runtime.block_on(calls::agent())?;
    // Long enough that transactions end (timers J and L, 32 s) while new ones begin.
    let bridge = Bridge::start()?;
    let steady = runtime.block_on(calls::measure(&agent, bridge.sip, bridge.child.id(), 200, 8_000))?;
    drop(bridge);
    row("CPU per call at 200/s, ms", cpu(&steady), "≤ 0.3");

    let bridge = Bridge::start()?;
    let pid = bridge.child.id();
    let quiet = || std::thread::sleep(std::time::Duration::from_secs(45));
    runtime.block_on(calls::measure(&agent, bridge.sip, pid, 200, 1_000))?;
    quiet();
    let after_first = process(pid)?.resident_kb;
    let fast = runtime.block_on(calls::measure(&agent, bridge.sip, pid, 1_000, 10_000))?;
    quiet();
    let after_all = process(pid)?.resident_kb;
    row("CPU per call at 1,000/s, ms", cpu(&fast), "≤ 0.3");
    let held = format!("{:.0}, {} of {} | – | –", fast.rate, fast.failed, fast.calls);
    row("calls/s held for 10 s, failed", held, "1,000, 0");
    let (first, all) = (after_first / 1e3, after_all / 1e3);
    let memory = format!("{first:.1}, {all:.1} | – | {:.2}", all / first);
    row("resident memory after the first 1,000 and after 10,000 more calls, MB", memory, "≤ 1.10");
    Ok(())
}
