//! What protection costs: the same workload on builds with all of it, without the wiping of the ordinary heap, and without any, one after the
//! other and round after round, so that a drift of the machine meets all of them. The bridge has one core and the generator the other
//! (`taskset`), as a process that wanders between cores costs now more, now less.

use super::{Bridge, calls, mix_once};

/// The builds that `scripts/bench-privacy` makes.
const BUILDS: [&str; 3] = ["sotto", "sotto-no-zeroing", "sotto-unprotected"];
/// Calls of a round at 200/s.
const CALLS: usize = 4_000;

/// So many rounds; in the first `mixes` of them W1 is measured too, which takes longer and varies less.
pub(crate) fn run(rounds: usize, mixes: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut figures: [[Vec<f64>; 2]; 3] = Default::default();
    for round in 0..rounds {
        for turn in 0..BUILDS.len() {
            // Each build has each place in a round about as often.
            let build = (turn + round) % BUILDS.len();
            let bridge = Bridge::of(BUILDS[build], Some("0"))?;
            let outcome = runtime.block_on(calls::measure(bridge.sip, bridge.child.id(), 200, CALLS))?;
            anyhow::ensure!(outcome.failed == 0, "{} calls failed", outcome.failed);
            figures[build][0].push(outcome.cpu_ms_per_call);
            drop(bridge);
            if round < mixes {
                let outcome = mix_once(&runtime, Bridge::of(BUILDS[build], Some("0"))?, 1, 200, 3)?;
                figures[build][1].extend(outcome.cpu_ms_per_participant_second);
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!("| what | W3 at 200/s, ms per call | W1, ms per participant-second |");
    println!("|---|---|---|");
    for (build, [calls, mixes]) in BUILDS.iter().zip(&figures) {
        println!("| `{build}`, median (least, most) | {} | {} |", told(calls), told(mixes));
    }
    for (what, other) in [("wiping what is freed costs", 1), ("all protection costs", 2)] {
        let cost = |n: usize| 100.0 * (median(&paired(&figures[0][n], &figures[other][n])) - 1.0);
        println!("| {what}, median of the rounds | {:+.1} % | {:+.1} % |", cost(0), cost(1));
    }
    Ok(())
}

/// The ratios within each round.
fn paired(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(a, b)| a / b).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn told(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.3} ({least:.3}, {most:.3})", median(values))
}
