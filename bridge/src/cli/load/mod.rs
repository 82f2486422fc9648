//! `sotto load`: a capacity test that checks what is heard.
//!
//! Every participant sends RTP all the time; talkers send bursts of a tone of their own, so that each listener can
//! tell whom it hears. Arrival times are the kernel's.

mod generator;
mod tone;

use crate::phone::{Caller, Destination, Dialled, Line, UserAgent};
use anyhow::Context;
use generator::{Leg, Measured};
use serde::Serialize;
use sip_stack::sdp::Encoding;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Options of `sotto load`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The bridge's SIP address.
    #[arg(long)]
    server: SocketAddr,
    /// Conferences.
    #[arg(long, default_value_t = 1)]
    conferences: usize,
    /// Participants in each.
    #[arg(long, default_value_t = 10)]
    per_conf: usize,
    /// Talkers in each, at most 4.
    #[arg(long, default_value_t = 1)]
    talkers: usize,
    /// Seconds that are measured, after two of settling.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Names of the conferences begin so; must be the bridge's ad-hoc prefix.
    #[arg(long, default_value = "confload")]
    prefix: String,
    /// The bridge's process, for its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// New calls a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Our own address.
    #[arg(long, default_value = "127.0.0.1")]
    local: IpAddr,
}

/// The result; `--json` prints it.
#[derive(Debug, Serialize)]
struct Outcome {
    participants: usize,
    seconds: f64,
    calls_failed: usize,
    /// Packets of the bridge that were missing.
    packets_lost: u64,
    packets_received: u64,
    /// Pairs of listener and talker, and how many of them were heard right.
    pairs: usize,
    pairs_heard: usize,
    /// Talkers that heard themselves.
    echoes: usize,
    latency_ms: Quantiles,
    /// Deviation of the bridge's packets from their 20 ms.
    jitter_ms: Quantiles,
    /// How late our own packets were sent: whether this generator kept time itself.
    own_lateness_ms: Quantiles,
    cpu_ms_per_participant_second: Option<f64>,
    memory_kb_per_participant: Option<f64>,
}

#[derive(Debug, Serialize, Clone, Copy)]
struct Quantiles {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Quantiles {
    fn of(nanos: &mut [u64]) -> Self {
        nanos.sort_unstable();
        let at = |q: f64| {
            let place = ((nanos.len() as f64 - 1.0) * q).round() as usize;
            nanos.get(place).map_or(f64::NAN, |n| *n as f64 / 1e6)
        };
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl Outcome {
    fn is_right(&self) -> bool {
        self.calls_failed == 0 && self.packets_lost == 0 && self.pairs_heard == self.pairs && self.echoes == 0
    }

    #[allow(clippy::print_stdout)]
    fn print(&self) {
        let line = |name: &str, value: String| println!("{name:<34}{value}");
        let quantiles = |q: &Quantiles| format!("p50 {:.2}   p99 {:.2}   max {:.2}", q.p50, q.p99, q.max);
        line("participants", self.participants.to_string());
        line("measured, s", format!("{:.1}", self.seconds));
        line("calls failed", self.calls_failed.to_string());
        line("packets received / lost", format!("{} / {}", self.packets_received, self.packets_lost));
        line("talkers heard / pairs", format!("{} / {}", self.pairs_heard, self.pairs));
        line("talkers that hear themselves", self.echoes.to_string());
        line("bridge latency, ms", quantiles(&self.latency_ms));
        line("output jitter, ms", quantiles(&self.jitter_ms));
        line("generator's own lateness, ms", quantiles(&self.own_lateness_ms));
        if let Some(cpu) = self.cpu_ms_per_participant_second {
            line("bridge CPU, ms/participant-second", format!("{cpu:.3}"));
        }
        if let Some(memory) = self.memory_kb_per_participant {
            line("bridge memory, kB/participant", format!("{memory:.1}"));
        }
        line("result", if self.is_right() { "right".into() } else { "WRONG".into() });
    }
}

/// Runs the test. The exit code is 1 when anything was lost, not heard or heard wrongly.
///
/// # Errors
/// No connection, or no such process.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    anyhow::ensure!((1..=4).contains(&options.talkers), "--talkers takes 1 to 4");
    anyhow::ensure!(options.talkers < options.per_conf, "--per-conf must be more than --talkers");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outcome = runtime.block_on(measure(options))?;
    if options.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        outcome.print();
    }
    Ok(if outcome.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[allow(clippy::print_stderr)]
async fn measure(options: &Options) -> anyhow::Result<Outcome> {
    let vault = vault::Vault::open(vault::Policy::AllowWeaker)?;
    let agent = UserAgent::start(&vault, options.local, vec![Encoding::Pcmu])?;
    let empty = options.pid.map(process).transpose()?;
    let total = options.conferences * options.per_conf;
    let mut pace = tokio::time::interval(Duration::from_nanos(1_000_000_000 / options.rate.max(1)));
    let mut calls: Vec<Dialled> = Vec::new();
    let mut legs = Vec::new();
    let mut failed = 0;
    for n in 0..total {
        pace.tick().await;
        let (conference, member) = (n / options.per_conf, n % options.per_conf);
        let uri = format!("sip:{}{conference}@{}", options.prefix, options.server);
        let destination = Destination::resolve(&uri).await?;
        let line = Line::open(options.local)?;
        let caller =
            Caller { name: None, number: format!("+1202555{:04}", 100 + n % 100), privacy_id: false };
        let mut call = agent.dial(&caller, &destination, line.address).await?;
        match call.answered().await {
            Ok(setup) => {
                legs.push(Leg::new(line, setup, conference, (member < options.talkers).then_some(member))?);
                calls.push(call);
            }
            Err(_) => failed += 1,
        }
        if !options.json && n % 50 == 49 {
            eprintln!("{} of {total} calls up", n + 1);
        }
    }
    anyhow::ensure!(!legs.is_empty(), "no call was answered by {}", options.server);
    let participants = legs.len();
    let seconds = options.seconds;
    let pid = options.pid;
    let run = tokio::task::spawn_blocking(move || {
        let mut generator = generator::Generator::new(legs);
        generator.run(Duration::from_secs(2), false);
        let before = pid.map(process).transpose()?;
        let begun = Instant::now();
        generator.run(Duration::from_secs(seconds), true);
        let took = begun.elapsed().as_secs_f64();
        let after = pid.map(process).transpose()?;
        anyhow::Ok((generator.measured(), before, after, took))
    });
    let (measured, before, after, took) = run.await??;
    for call in &calls {
        call.hang_up();
    }
    for call in &mut calls {
        call.ended().await;
    }
    let Measured { mut latencies, mut jitters, mut lateness, received, lost, pairs, pairs_heard, echoes } =
        measured;
    let cpu = before.zip(after).map(|(b, a)| (a.cpu_ms - b.cpu_ms) / (participants as f64 * took));
    let memory = empty.zip(after).map(|(e, a)| (a.resident_kb - e.resident_kb) / participants as f64);
    Ok(Outcome {
        participants,
        seconds: took,
        calls_failed: failed,
        packets_lost: lost,
        packets_received: received,
        pairs,
        pairs_heard,
        echoes,
        latency_ms: Quantiles::of(&mut latencies),
        jitter_ms: Quantiles::of(&mut jitters),
        own_lateness_ms: Quantiles::of(&mut lateness),
        cpu_ms_per_participant_second: cpu,
        memory_kb_per_participant: memory,
    })
}

#[derive(Debug, Clone, Copy)]
struct Process {
    cpu_ms: f64,
    resident_kb: f64,
}

/// CPU time and resident memory of a process, from /proc.
fn process(pid: u32) -> anyhow::Result<Process> {
    let mut nanos = 0u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("no such process")? {
        // `schedstat` counts in nanoseconds. A thread may end meanwhile.
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: f64 = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or(0.0);
    Ok(Process { cpu_ms: nanos as f64 / 1e6, resident_kb: pages * 4.096 })
}
