//! A capacity test that checks what is heard.
//!
//! Every participant sends RTP all the time; talkers send bursts of a tone of their own, so that each listener can
//! tell whom it hears. Arrival times are the kernel's. The load is made by this process, the bridge is another one.

mod generator;
mod tone;

pub use generator::{Generator, Leg, Measured};

use crate::phone::{Caller, Destination, Dialled, Encryption, Line, NotAnswered, UserAgent};
use anyhow::Context;
use media::leg::Security;
use media::srtp::{Opener, Protector};
use serde::Serialize;
use sip_stack::endpoint::Cause;
use sip_stack::sdp::{Encoding, Suite};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The bridge's SIP address.
    pub server: SocketAddr,
    /// Conferences.
    pub conferences: usize,
    /// Participants in each.
    pub per_conf: usize,
    /// Talkers in each, 1 to 4 and fewer than participants.
    pub talkers: usize,
    /// Seconds that are measured, after [`SETTLE`].
    pub seconds: u64,
    /// Names of the conferences begin so; the bridge's ad-hoc prefix must fit.
    pub prefix: String,
    /// The bridge's process, for its CPU time and memory.
    pub pid: Option<u32>,
    /// New calls a second.
    pub rate: u64,
    /// Our own address.
    pub local: IpAddr,
    /// Calls are encrypted by this suite.
    pub srtp: Option<Suite>,
    /// They talk Opus instead of G.711.
    pub opus: bool,
    /// What their packets meet on their way to the bridge.
    pub network: Network,
    /// Counts how often this generator was itself kept from sending for more than 5 ms, as it happens.
    pub stalls: Arc<AtomicU64>,
}

/// What a network, and clocks that are not the bridge's, do to participants' packets; by the same dice in every run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Network {
    /// Packets that are lost, %: 0 to 50.
    pub loss: f32,
    /// Participants' clocks are fast and slow by turns by so much, millionths: 0 to 1,000.
    pub drift: u32,
}

/// So many participants listen to what they get, with G.711 and with Opus: if all did, that would be more work than the bridge has.
const EARS: usize = 500;
const OPUS_EARS: usize = 40;

/// Time before a measurement in which jitter buffers find their delay.
pub const SETTLE: Duration = Duration::from_secs(2);

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Calls that were up.
    pub participants: usize,
    /// Time measured, s.
    pub seconds: f64,
    /// Calls that were not answered.
    pub calls_failed: usize,
    /// Why, and how many for that: a status, or what else became of them.
    pub failures: BTreeMap<String, usize>,
    /// Packets of the bridge that were missing.
    pub packets_lost: u64,
    /// Packets of the bridge that came.
    pub packets_received: u64,
    /// Pairs of listener and talker, and how many of them were heard right.
    pub pairs: usize,
    /// See `pairs`.
    pub pairs_heard: usize,
    /// Talkers that heard themselves.
    pub echoes: usize,
    /// From a burst's first packet in to its first packet out; not a number with Opus, whose own doing hides it.
    pub latency_ms: Quantiles,
    /// Deviation of the bridge's packets from their 20 ms.
    pub jitter_ms: Quantiles,
    /// How late our own packets were sent: whether this generator kept time itself.
    pub own_lateness_ms: Quantiles,
    /// CPU of the bridge's process, all of it.
    pub cpu_ms_per_participant_second: Option<f64>,
    /// Growth of the bridge's resident memory.
    pub memory_kb_per_participant: Option<f64>,
}

/// Median, 99th percentile and largest, ms.
#[derive(Debug, Serialize, Clone, Copy)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Quantiles {
    /// Of times in nanoseconds, which it sorts.
    pub fn of(nanos: &mut [u64]) -> Self {
        nanos.sort_unstable();
        let at = |q: f64| {
            let place = ((nanos.len() as f64 - 1.0) * q).round() as usize;
            nanos.get(place).map_or(f64::NAN, |n| *n as f64 / 1e6)
        };
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl Outcome {
    /// Nothing failed, was lost, not heard or heard by its own talker.
    pub fn is_right(&self) -> bool {
        self.calls_failed == 0 && self.packets_lost == 0 && self.pairs_heard == self.pairs && self.echoes == 0
    }
}

/// Makes the calls, measures, hangs up. `progress` is told how many calls are up.
///
/// # Errors
/// No connection, no call answered, or no such process.
pub async fn measure(options: &Plan, progress: impl Fn(usize)) -> anyhow::Result<Outcome> {
    let vault = vault::Vault::open(vault::Policy::AllowWeaker)?;
    let codec = if options.opus { Encoding::Opus } else { Encoding::Pcmu };
    let agent = UserAgent::start(&vault, options.local, vec![codec])?
        .encrypted(options.srtp.map(Encryption::Keys))?;
    let empty = options.pid.map(process).transpose()?;
    let total = options.conferences * options.per_conf;
    let mut pace = tokio::time::interval(Duration::from_nanos(1_000_000_000 / options.rate.max(1)));
    let mut calls: Vec<Dialled> = Vec::new();
    let mut legs = Vec::new();
    let mut failures = BTreeMap::new();
    for n in 0..total {
        pace.tick().await;
        let (conference, member) = (n / options.per_conf, n % options.per_conf);
        let uri = format!("sip:{}{conference}@{}", options.prefix, options.server);
        let destination = Destination::resolve(&uri).await?;
        let line = Line::open(options.local)?;
        let caller =
            Caller { name: None, number: format!("+1202555{:04}", 100 + n % 100), privacy_id: false };
        let mut call = agent.dial(&caller, &destination, line.address)?;
        match call.answered().await {
            Ok(setup) => {
                let talker = (member < options.talkers).then_some(member);
                let crypt = match setup.security {
                    Security::Keys(s) => Some((
                        Protector::new(agent.keys(), &s.ours, s.suite)?,
                        Opener::new(agent.keys(), &s.theirs, s.suite)?,
                    )),
                    _ => None,
                };
                let ears = if options.opus { OPUS_EARS } else { EARS };
                let leg = Leg::new(line, setup.remote, conference, talker, crypt)?;
                let leg = match talker.is_some() || n % total.div_ceil(ears) == 0 {
                    true => leg,
                    false => leg.deaf(),
                };
                legs.push(if options.opus { leg.with_opus(setup.sends.1)? } else { leg });
                calls.push(call);
            }
            Err(e) => *failures.entry(reason(&e)).or_default() += 1,
        }
        progress(n + 1);
    }
    anyhow::ensure!(!legs.is_empty(), "no call was answered by {}: {}", options.server, told(&failures));
    let participants = legs.len();
    let seconds = options.seconds;
    let (pid, network, stalls) = (options.pid, options.network, options.stalls.clone());
    let run = tokio::task::spawn_blocking(move || {
        let mut generator = generator::Generator::new(legs, network, stalls);
        generator.run(SETTLE, false);
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
        calls_failed: failures.values().sum(),
        failures,
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

/// What a call failed for.
fn reason(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(NotAnswered(Cause::Refused(status))) => status.to_string(),
        Some(NotAnswered(cause)) => format!("{cause:?}"),
        None => error.to_string(),
    }
}

/// What calls failed for, and how many for each.
pub fn told(failures: &BTreeMap<String, usize>) -> String {
    failures.iter().map(|(why, n)| format!("{why} × {n}")).collect::<Vec<_>>().join(", ")
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// CPU time, ms.
    pub cpu_ms: f64,
    /// Resident memory, kB.
    pub resident_kb: f64,
}

/// CPU time and resident memory of a process, from /proc.
///
/// # Errors
/// No such process.
pub fn process(pid: u32) -> anyhow::Result<Process> {
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
