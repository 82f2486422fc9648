//! W3: calls a second, INVITE–200–ACK–BYE–200, by the bridge's own user agent.

use sip_stack::sdp::Encoding;
use sotto::loadtest::process;
use sotto::phone::{Caller, Destination, UserAgent};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub(crate) struct Outcome {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) rate: f64,
    pub(crate) cpu_ms_per_call: f64,
}

/// The user agent that makes the calls.
pub(crate) async fn agent() -> anyhow::Result<Arc<UserAgent>> {
    let vault = vault::Vault::open(vault::Policy::AllowWeaker)?;
    Ok(Arc::new(UserAgent::start(&vault, "127.0.0.1".parse()?, vec![Encoding::Pcmu])?))
}

/// Makes `calls` at `rate` a second to ever new conferences of five.
pub(crate) async fn measure(
    agent: &Arc<UserAgent>,
    server: SocketAddr,
    pid: u32,
    rate: u64,
    calls: usize,
) -> anyhow::Result<Outcome> {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let failed = Arc::new(AtomicUsize::new(0));
    let before = process(pid)?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    let mut made = 0;
    while made < calls {
        pace.tick().await;
        for _ in 0..rate / 100 {
            let (agent, failed, n) = (agent.clone(), failed.clone(), made);
            made += 1;
            tasks.spawn(async move {
                let answered = async {
                    let uri = format!("sip:confw{}@{server}", n / 5 % 50);
                    let destination = Destination::resolve(&uri).await?;
                    let number = format!("+1202555{:04}", 100 + n % 100);
                    let caller = Caller { name: None, number, privacy_id: false };
                    // Nobody sends audio; the port only has to be somebody's.
                    let mut call = agent.dial(&caller, &destination, "127.0.0.1:9".parse()?)?;
                    call.answered().await?;
                    call.hang_up();
                    call.ended().await;
                    anyhow::Ok(())
                };
                if answered.await.is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    while tasks.join_next().await.is_some() {}
    let took = begun.elapsed().as_secs_f64();
    let after = process(pid)?;
    Ok(Outcome {
        calls: made,
        failed: failed.load(Ordering::Relaxed),
        rate: made as f64 / took,
        cpu_ms_per_call: (after.cpu_ms - before.cpu_ms) / made as f64,
    })
}
