//! What protection costs: a build with all of it, one without the wiping of the ordinary heap, and one without any, side by side on one
//! core, so that whatever else the machine does meets all three. The generator has the other core (`taskset`), as a process that wanders
//! between cores costs now more, now less.

use super::{Bridge, calls, plan_of};
use anyhow::Context;
use sotto::loadtest::{self, Plan, process};
use std::thread;

/// The builds that `scripts/bench-privacy` makes.
const BUILDS: [&str; 3] = ["sotto", "sotto-no-zeroing", "sotto-unprotected"];
/// Calls of one turn, at 200/s.
const CALLS: usize = 400;
/// Turns that each build has in a block.
const TURNS: usize = 5;
/// Blocks before the first that counts: transactions expire (32 s) from then on.
const WARM: usize = 2;

/// So many blocks of W3, then `mixes` times W1.
pub(crate) fn run(blocks: usize, mixes: usize) -> anyhow::Result<()> {
    println!("| what | W3 at 200/s, ms per call | W1, ms per participant-second |");
    println!("|---|---|---|");
    let bridges = bridges()?;
    let calls = calls(&bridges, blocks)?;
    drop(bridges);
    let mixes = (0..mixes).map(|_| mix()).collect::<anyhow::Result<Vec<_>>>()?;
    for (build, name) in BUILDS.iter().enumerate() {
        let mean = |figures: &[[f64; 3]]| mean_and_error(figures.iter().map(|f| f[build])).0;
        println!("| `{name}` | {:.4} | {:.4} |", mean(&calls), mean(&mixes));
    }
    for (what, without) in [("wiping what is freed costs", 1), ("all protection costs", 2)] {
        let cost = |figures: &[[f64; 3]]| {
            let (mean, error) = mean_and_error(figures.iter().map(|f| 100.0 * (f[0] / f[without] - 1.0)));
            format!("{mean:+.1} ± {error:.1} %")
        };
        println!("| {what}, mean and standard error | {} | {} |", cost(&calls), cost(&mixes));
    }
    Ok(())
}

fn bridges() -> anyhow::Result<Vec<Bridge>> {
    BUILDS.iter().map(|name| Bridge::of(name, Some("0"))).collect()
}

/// CPU per call of each build in each block.
fn calls(bridges: &[Bridge], blocks: usize) -> anyhow::Result<Vec<[f64; 3]>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let agent = runtime.block_on(calls::agent())?;
    let mut figures = Vec::new();
    for block in 0..blocks + WARM {
        let before = spent(bridges)?;
        for turn in 0..TURNS {
            for place in 0..BUILDS.len() {
                // Each build has each place about as often.
                let bridge = &bridges[(place + turn + block) % BUILDS.len()];
                let outcome =
                    runtime.block_on(calls::measure(&agent, bridge.sip, bridge.child.id(), 200, CALLS))?;
                anyhow::ensure!(outcome.failed == 0, "{} calls failed", outcome.failed);
            }
        }
        // What a call leaves behind (timers) is paid in others' turns, so the block is counted whole.
        let after = spent(bridges)?;
        if block >= WARM {
            figures.push(std::array::from_fn(|n| (after[n] - before[n]) / (TURNS * CALLS) as f64));
        }
        eprintln!("block {} of {}: {figures:.4?}", block + 1, blocks + WARM, figures = figures.last());
    }
    Ok(figures)
}

fn spent(bridges: &[Bridge]) -> anyhow::Result<[f64; 3]> {
    let mut spent = [0.0; 3];
    for (spent, bridge) in spent.iter_mut().zip(bridges) {
        *spent = process(bridge.child.id())?.cpu_ms;
    }
    Ok(spent)
}

/// A third of W1 on each build, at the same time.
fn mix() -> anyhow::Result<[f64; 3]> {
    let bridges = bridges()?;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = bridges.iter().map(|bridge| scope.spawn(|| mix_of(bridge))).collect();
        running.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut figures = [0.0; 3];
    for (figure, outcome) in figures.iter_mut().zip(outcomes) {
        *figure = outcome.map_err(|_| anyhow::anyhow!("a generator panicked"))??;
    }
    eprintln!("mix: {figures:.4?}");
    Ok(figures)
}

/// CPU per participant and second.
fn mix_of(bridge: &Bridge) -> anyhow::Result<f64> {
    let plan = Plan { seconds: 40, ..plan_of(bridge, 1, 66, 3, None, false)? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(loadtest::measure(&plan, |_| {}))?;
    outcome.cpu_ms_per_participant_second.context("no process to measure")
}

fn mean_and_error(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}
