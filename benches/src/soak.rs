//! Calls for a long time, with all that goes wrong in a long time: packets are lost, clocks run apart, other calls come and go. What is to
//! be seen: no late tick, no growth, and at its end everybody still hears whom they should.

use crate::witness::{Seen, Witness};
use crate::{BRIDGE_CORE, Bridge, late_ticks, metrics, plan_of};
use anyhow::Context;
use sotto::loadtest::{Network, Outcome, Plan, measure, process, told};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What the calls that stay meet.
const NETWORK: Network = Network { loss: 2.0, drift: 300 };
/// In each.
const PER_CONF: usize = 5;
/// The conferences of those who come and go: so many, of so many, for so many seconds.
const CHURN: (usize, usize, u64) = (4, 10, 5);
/// The first rows are of a process that still takes what it needs.
const SETTLED: Duration = Duration::from_secs(300);

/// How often it is looked at late ticks, and after how many such looks at all else.
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: usize = 60;

/// What is looked at once a minute.
struct Look {
    minute: f64,
    ticks: Ticks,
    resident_kb: f64,
    /// Thousandths.
    busy: f64,
}

impl Look {
    fn tell(&self) {
        let Self { minute, ticks, resident_kb, busy } = self;
        let Ticks { late, ours, disturbed, stalled, .. } = ticks;
        let (busy, resident) = (busy / 10.0, resident_kb / 1e3);
        println!("| {minute:.0} | {busy:.0} % | {late} | {ours} | {disturbed} | {stalled} | {resident:.1} |");
    }
}

/// Late ticks, and what of them the machine has no part in.
#[derive(Clone, Copy)]
struct Ticks {
    late: u64,
    /// In seconds in which, and before which, neither the machine nor the generator was kept from working.
    ours: u64,
    /// Seconds in which the machine was.
    disturbed: u64,
    /// Those of the others in which the generator was.
    stalled: u64,
    seen: (Seen, u64),
    /// The last second was one of those.
    shaken: bool,
}

impl Ticks {
    fn first(bridge: &Bridge, witness: &mut Witness) -> anyhow::Result<Self> {
        let late = late_ticks(bridge.admin)?;
        Ok(Self { late, ours: late, disturbed: 0, stalled: 0, seen: (witness.seen()?, 0), shaken: false })
    }

    /// A second later.
    fn next(&mut self, bridge: &Bridge, witness: &mut Witness, stalls: u64) -> anyhow::Result<()> {
        let (late, seen) = (late_ticks(bridge.admin)?, (witness.seen()?, stalls));
        let shaken = seen != self.seen;
        if !shaken && !self.shaken {
            self.ours += late - self.late;
        }
        let disturbed = seen.0 != self.seen.0;
        self.disturbed += u64::from(disturbed);
        self.stalled += u64::from(shaken && !disturbed);
        (self.late, self.seen, self.shaken) = (late, seen, shaken);
        Ok(())
    }
}

/// Calls for so many minutes, in so many conferences.
pub(crate) fn run(minutes: u64, conferences: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let bridge = Bridge::of("sotto", Some(BRIDGE_CORE))?;
    let calls = Plan { pid: None, ..plan_of(&bridge, conferences, PER_CONF, 1, None, false)? };
    let stay = Plan { seconds: 60 * minutes, network: NETWORK, ..calls.clone() };
    let (conferences, per_conf, seconds) = CHURN;
    let churn = Plan {
        conferences,
        per_conf,
        seconds,
        prefix: "confchurn".into(),
        rate: 20,
        stalls: Arc::default(),
        ..calls
    };
    let (stayed, came, looks) = runtime.block_on(all(&bridge, &stay, &churn))?;
    tell(&stayed, &came, &looks);
    Ok(())
}

async fn all(
    bridge: &Bridge,
    stay: &Plan,
    churn: &Plan,
) -> anyhow::Result<(Outcome, Vec<Outcome>, Vec<Look>)> {
    let (mut came, mut looks) = (Vec::new(), Vec::new());
    let mut witness = Witness::start()?;
    let mut ticks = Ticks::first(bridge, &mut witness)?;
    let begun = Instant::now();
    let mut second = tokio::time::interval(SECOND);
    // Told as they come: a run that fails later has shown something all the same.
    println!(
        "| minute | shard's load | late and missed ticks | of those, not of seconds in which machine or generator stood still | seconds in which the machine did | those in which the generator did | resident memory, MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut seconds = 0;
    let stayed = {
        let measured = measure(stay, |_| {});
        let comings = async {
            let mut unanswered = 0;
            while unanswered < 2 {
                match measure(churn, |_| {}).await {
                    Ok(outcome) => came.push(outcome),
                    Err(e) => {
                        // Once is told; twice, and there is nothing to be learnt from going on.
                        println!("at {} s: {e}", begun.elapsed().as_secs());
                        unanswered += 1;
                    }
                }
            }
        };
        tokio::pin!(measured, comings);
        loop {
            tokio::select! {
                outcome = &mut measured => break outcome?,
                () = &mut comings => anyhow::bail!("those who come and go were not answered"),
                _ = second.tick() => {
                    ticks.next(bridge, &mut witness, stay.stalls.load(Ordering::Relaxed))?;
                    seconds += 1;
                    if seconds % MINUTE == 0 {
                        let look = look(bridge, ticks, begun)?;
                        if seconds % (5 * MINUTE) == 0 {
                            look.tell();
                        }
                        looks.push(look);
                    }
                }
            }
        }
    };
    let last = look(bridge, ticks, begun)?;
    last.tell();
    looks.push(last);
    Ok((stayed, came, looks))
}

fn look(bridge: &Bridge, ticks: Ticks, begun: Instant) -> anyhow::Result<Look> {
    let text = metrics(bridge.admin)?;
    let busy = text.lines().find_map(|l| l.strip_prefix("sotto_shard_busy ")?.trim().parse().ok());
    Ok(Look {
        minute: begun.elapsed().as_secs_f64() / 60.0,
        ticks,
        resident_kb: process(bridge.child.id())?.resident_kb,
        busy: busy.context("the shard's load")?,
    })
}

fn tell(stayed: &Outcome, came: &[Outcome], looks: &[Look]) {
    println!("\n| what | | bar |\n|---|---|---|");
    let row = |what: &str, value: String, bar: &str| println!("| {what} | {value} | {bar} |");
    row("participants who stay", stayed.participants.to_string(), "told");
    row("mixes right / all, echoes", of_mixes(std::slice::from_ref(stayed)), "all, 0");
    row("packets lost / received", format!("{} / {}", stayed.packets_lost, stayed.packets_received), "0");
    let latency = stayed.latency_ms;
    row("latency p50 / p99, ms", format!("{:.1} / {:.1}", latency.p50, latency.p99), "told");
    let calls: usize = came.iter().map(|o| o.participants).sum();
    let failed: usize = came.iter().map(|o| o.calls_failed).sum();
    let why: Vec<_> = came.iter().filter(|o| o.calls_failed > 0).map(|o| told(&o.failures)).collect();
    row("calls that came and went, failed", format!("{calls}, {failed} {}", why.join(", ")), "0");
    row("their mixes right / all, echoes", of_mixes(came), "all, 0");
    // The last look is at a bridge whose callers have all hung up at once.
    let up = &looks[..looks.len().saturating_sub(1)];
    let settled = up.iter().find(|l| l.minute * 60.0 >= SETTLED.as_secs_f64());
    if let Some((first, last)) = settled.zip(up.last()) {
        let grown = (last.resident_kb - first.resident_kb) / 1e3;
        row("memory grown since the fifth minute, MB", format!("{grown:.1}"), "≤ 1");
    }
    let own = stayed.own_lateness_ms;
    row("generator's own lateness p50 / p99, ms", format!("{:.2} / {:.2}", own.p50, own.p99), "told");
}

fn of_mixes(outcomes: &[Outcome]) -> String {
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    format!("{} / {}, {}", sum(|o| o.pairs_heard), sum(|o| o.pairs), sum(|o| o.echoes))
}
