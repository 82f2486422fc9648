//! The machine's own doings, seen by somebody who does nothing but look, before all others on the bridge's core. A tick that is late while this one comes
//! late as well was late for everybody: the machine's host had the core. And where each page of a few takes many times as long to touch as it
//! usually does, the host has taken the machine's memory out of its tables (to move it, or to see what is in use): until each page was
//! touched again, a shard's tick takes up to ten times as long. No figure of the kernel's (`steal`) tells of it.

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

/// Pages that are touched in each of these times.
const PAGES: usize = 1024;
const ROUND: Duration = Duration::from_millis(20);
/// Rounds from which it is known what is usual, and times that that is unusual.
const USUAL: usize = 101;
const SLOW: u32 = 3;

/// What was seen up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How often a pass each millisecond would have been late.
    pub(crate) late: u64,
    /// How often memory was slow.
    pub(crate) slow: u64,
}

/// The child's side: for each line that it reads it prints how often it has been late, and how often memory was slow.
pub(crate) fn watch() -> anyhow::Result<()> {
    let (late, slow) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counted = slow.clone();
    std::thread::spawn(move || touch(&counted));
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
        writeln!(std::io::stdout(), "{} {}", late.load(Ordering::Relaxed), slow.load(Ordering::Relaxed))?;
    }
    Ok(())
}

/// Touches pages, and counts the rounds in which that took long.
fn touch(slow: &AtomicU64) {
    const PAGE: usize = 4096;
    let mut memory = vec![1u8; PAGES * PAGE];
    let mut took = Vec::with_capacity(USUAL);
    let mut usual = Duration::MAX;
    loop {
        std::thread::sleep(ROUND);
        let begun = Instant::now();
        for page in 0..PAGES {
            // Another line of each, so that they do not crowd one corner of the cache.
            let byte = &mut memory[page * PAGE + page % 64 * 64];
            *byte = std::hint::black_box(byte.wrapping_add(1));
        }
        let took_now = begun.elapsed();
        if took.len() < USUAL {
            took.push(took_now);
            took.sort_unstable();
            usual = took[took.len() / 2];
        }
        if took.len() == USUAL && took_now > usual * SLOW {
            slow.fetch_add(1, Ordering::Relaxed);
        }
    }
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

    /// What was seen up to now.
    pub(crate) fn seen(&mut self) -> anyhow::Result<Seen> {
        writeln!(self.ask)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut figures = line.split_whitespace().map(str::parse);
        let mut next = || figures.next()?.ok();
        let seen = next().zip(next()).map(|(late, slow)| Seen { late, slow });
        seen.context("the witness has ended: it needs the right to be before others (chrt)")
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Our own child.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
