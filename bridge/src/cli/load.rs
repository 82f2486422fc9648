//! `sotto load`: a capacity test of a running bridge.

use crate::loadtest::{Network, Outcome, Plan, Quantiles, measure, told};
use sip_stack::sdp::Suite;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

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
    /// Talkers in each, 1 to 4.
    #[arg(long, default_value_t = 1)]
    talkers: usize,
    /// Seconds that are measured, after two of settling.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Names of the conferences begin so; must begin with the bridge's ad-hoc prefix.
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
    /// Encrypt the sound, by this suite of SRTP.
    #[arg(long, value_parser = Suite::ALL.map(Suite::name).to_vec(), num_args = 0..=1, default_missing_value = "AES_CM_128_HMAC_SHA1_80")]
    srtp: Option<String>,
    /// Talk Opus instead of G.711.
    #[arg(long)]
    opus: bool,
    /// Packets lost on their way to the bridge, %: 0 to 50.
    #[arg(long, default_value_t = 0.0)]
    loss: f32,
    /// How fast and slow participants' clocks are by turns, millionths: 0 to 1,000.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    drift: u32,
}

/// Runs the test. The exit code is 1 when anything was lost, not heard or heard wrongly.
///
/// # Errors
/// No connection, or no such process.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    anyhow::ensure!((1..=4).contains(&options.talkers), "--talkers takes 1 to 4");
    anyhow::ensure!(options.talkers < options.per_conf, "--per-conf must be more than --talkers");
    anyhow::ensure!((0.0..=50.0).contains(&options.loss), "--loss takes 0 to 50");
    let plan = Plan {
        server: options.server,
        conferences: options.conferences,
        per_conf: options.per_conf,
        talkers: options.talkers,
        seconds: options.seconds,
        prefix: options.prefix.clone(),
        pid: options.pid,
        rate: options.rate,
        local: options.local,
        srtp: options.srtp.as_deref().and_then(Suite::from_name),
        opus: options.opus,
        network: Network { loss: options.loss, drift: options.drift },
        stalls: std::sync::Arc::default(),
    };
    let total = plan.conferences * plan.per_conf;
    let progress = |up: usize| {
        if !options.json && (up.is_multiple_of(50) || up == total) {
            eprintln!("{up} of {total} calls up");
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outcome = runtime.block_on(measure(&plan, progress))?;
    if options.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        print(&outcome);
    }
    Ok(if outcome.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[allow(clippy::print_stdout)]
fn print(o: &Outcome) {
    let line = |name: &str, value: String| println!("{name:<34}{value}");
    let quantiles = |q: &Quantiles| format!("p50 {:.2}   p99 {:.2}   max {:.2}", q.p50, q.p99, q.max);
    line("participants", o.participants.to_string());
    line("measured, s", format!("{:.1}", o.seconds));
    line("calls failed", o.calls_failed.to_string());
    if o.calls_failed > 0 {
        line("  for", told(&o.failures));
    }
    line("packets received / lost", format!("{} / {}", o.packets_received, o.packets_lost));
    line("talkers heard / pairs", format!("{} / {}", o.pairs_heard, o.pairs));
    line("talkers that hear themselves", o.echoes.to_string());
    if !o.latency_ms.p50.is_nan() {
        line("bridge latency, ms", quantiles(&o.latency_ms));
    }
    line("output jitter, ms", quantiles(&o.jitter_ms));
    line("generator's own lateness, ms", quantiles(&o.own_lateness_ms));
    if let Some(cpu) = o.cpu_ms_per_participant_second {
        line("bridge CPU, ms/participant-second", format!("{cpu:.3}"));
    }
    if let Some(memory) = o.memory_kb_per_participant {
        line("bridge memory, kB/participant", format!("{memory:.1}"));
    }
    line("result", if o.is_right() { "right".into() } else { "WRONG".into() });
}
