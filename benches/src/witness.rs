//! The machine's own lateness: somebody who does nothing but come by each millisecond, before all others on the bridge's core. A tick that is late
//! while this one is late too was late for everybody: the machine's host had the core.

use crate::BRIDGE_CORE;
use anyhow::Context;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// As often as a shard comes by.
const PHASE: Duration = Duration::from_millis(1);
/// What the bridge counts as late.
const LATE: Duration = Duration::from_millis(5);

/// The child's side: for each line that it reads it prints how often it has been late.
pub(crate) fn watch() -> anyhow::Result<()> {
    let late = Arc::new(AtomicU64::new(0));
    let counted = late.clone();
    std::thread::spawn(move || {
        let mut due = Instant::now();
        loop {
            due += PHASE;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // After a stall it comes by for each time that it missed, as a shard does.
            if due.elapsed() > LATE {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for line in std::io::stdin().lock().lines() {
        line?;
        writeln!(std::io::stdout(), "{}", late.load(Ordering::Relaxed))?;
    }
    Ok(())
}

/// A process that watches, ended with this value.
pub(crate) struct Witness {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Witness {
    /// One on the bridge's core.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", BRIDGE_CORE, "chrt", "-f", "20"])
            .arg(std::env::current_exe()?)
            .arg("witness")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take().context("stdin")?;
        let answers = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Self { child, ask, answers })
    }

    /// How often a pass each millisecond would have been late up to now.
    pub(crate) fn late(&mut self) -> anyhow::Result<u64> {
        writeln!(self.ask)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("the witness has ended: it needs the right to be before others (chrt)")
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Our own child.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
