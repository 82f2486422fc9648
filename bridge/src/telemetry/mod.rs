//! Log, metrics and health. None of them can carry an identity: everything here is a number or a word of our own.

use crate::control::Registry;
use crate::focus::House;
use crate::trunk::health::State;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry as Metrics;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log on stderr: `RUST_LOG` chooses levels, `info` otherwise.
pub fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start (in tests) keeps the first.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let discreet = filter_fn(|about| may_tell(about.target(), *about.level()));
    let _ = tracing_subscriber::registry().with(lines).with(filter).with(discreet).try_init();
}

/// Whatever `RUST_LOG` says, libraries of others tell of no more than warnings: some show what they read and write, and that may be identity
/// (tungstenite shows whole frames of SIP over WebSocket).
fn may_tell(target: &str, level: Level) -> bool {
    let of = target.split("::").next().unwrap_or_default();
    level <= Level::WARN || ["sotto", "sip_stack", "media", "vault"].contains(&of)
}

/// `/readyz`: whether calls are taken, and how well memory is protected.
pub fn readiness(house: &House, registry: &Registry) -> (bool, Value) {
    let status = house.vault.status();
    let ready = !registry.is_draining();
    let body = json!({
        "ready": ready,
        "draining": registry.is_draining(),
        "vault": {
            "protection": status.protection.name(),
            "locked_bytes": status.locked_bytes,
            "dumpable": vault::harden::dumpable(),
            "core_limit": vault::harden::core_limit(),
            "tracing": vault::guardian::tracing().name(),
            "yama": vault::guardian::yama(),
            "scoped_heap": status.scoped_heap,
            "for_measuring_only": vault::FOR_MEASURING,
            "escapes": status.escapes,
            "spills": status.spills,
            "panics": status.panics,
        },
    });
    (ready, body)
}

/// `/metrics` in the OpenMetrics text format.
pub fn metrics(house: Arc<House>, registry: Arc<Registry>) -> String {
    let mut metrics = Metrics::default();
    for (name, help, scores) in [
        (
            "sotto_mos_heard",
            "How well participants are heard (E-model), each report of each",
            &house.scores.heard,
        ),
        ("sotto_mos_hears", "How well participants hear, as their reports tell", &house.scores.hears),
    ] {
        metrics.register(name, help, scores.clone());
    }
    metrics.register_collector(Box::new(Source { house, registry }));
    let mut text = String::new();
    // Writing into memory does not fail.
    let _ = encode(&mut text, &metrics);
    text
}

struct Source {
    house: Arc<House>,
    registry: Arc<Registry>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source(..)")
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut write = |name: &str, help: &str, metric: &dyn Metric| metric.write(&mut encoder, name, help);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sip = self.house.sip.counters();
        for (name, help, value) in [
            ("sotto_sip_received", "SIP messages received from known sources", &sip.received),
            ("sotto_sip_sent", "SIP messages sent", &sip.sent),
            (
                "sotto_sip_unknown_source",
                "Packets and connections from unknown sources, dropped",
                &sip.unknown_source,
            ),
            ("sotto_sip_malformed", "SIP messages to which there was no answer, dropped", &sip.malformed),
            ("sotto_sip_region_faults", "SIP messages refused by the region", &sip.region_faults),
            ("sotto_sip_send_errors", "SIP messages that could not be sent", &sip.send_errors),
            (
                "sotto_sip_streams_refused",
                "SIP streams refused or closed for the peer's fault",
                &sip.streams_refused,
            ),
            ("sotto_sip_requests", "SIP requests read", &sip.requests),
            ("sotto_sip_repeats", "SIP requests that were retransmissions", &sip.repeats),
            ("sotto_sip_refused", "SIP requests answered with 4xx to 6xx", &sip.refused),
            (
                "sotto_sip_unauthorised",
                "SIP requests whose credentials were missing or wrong",
                &sip.unauthorised,
            ),
            (
                "sotto_sip_locked_out",
                "SIP requests of sources that guessed passwords: dropped",
                &sip.locked_out,
            ),
            ("sotto_sip_over_limit", "INVITEs beyond their trunk's limits: 503", &sip.over_limit),
            ("sotto_calls_dialled", "Calls that were asked for", &self.house.dialler.dialled),
            (
                "sotto_calls_not_dialled",
                "Calls that rules or caps did not allow",
                &self.house.dialler.refused,
            ),
            ("sotto_calls_routed", "Calls handed to a conference", &self.registry.routed),
            ("sotto_webhooks_delivered", "Webhooks that were taken", &self.house.hooks.counters.delivered),
            (
                "sotto_webhooks_failed",
                "Tries to deliver a webhook that failed",
                &self.house.hooks.counters.failed,
            ),
            ("sotto_webhooks_dropped", "Webhooks that nobody took", &self.house.hooks.counters.dropped),
            ("sotto_pin_alarms", "Times that somebody was found guessing PINs", &self.registry.guessed),
            (
                "sotto_calls_unknown_number",
                "Calls for numbers that are not ours",
                &self.registry.unknown_number,
            ),
        ] {
            write(name, help, &ConstCounter::new(load(value)))?;
        }
        let sum = |of: fn(&media::shard::Counters) -> &AtomicU64| -> u64 {
            self.house.engine.counters().map(|c| load(of(c))).sum()
        };
        for (name, help, value) in [
            ("sotto_ticks", "Mixing ticks", sum(|c| &c.ticks)),
            ("sotto_late_ticks", "Ticks that began more than 5 ms late", sum(|c| &c.late_ticks)),
            ("sotto_missed_ticks", "Ticks left out after a stall", sum(|c| &c.missed_ticks)),
            ("sotto_rtp_received", "RTP packets received", sum(|c| &c.received)),
            ("sotto_rtp_sent", "RTP packets sent", sum(|c| &c.sent)),
            ("sotto_rtp_send_errors", "RTP packets that the kernel did not take", sum(|c| &c.send_errors)),
            (
                "sotto_media_lost_notices",
                "Levels and reports for which there was no room",
                sum(|c| &c.lost_notices),
            ),
            (
                "sotto_media_lost_asides",
                "RTCP, STUN and DTLS for which there was no room",
                sum(|c| &c.lost_asides),
            ),
        ] {
            write(name, help, &ConstCounter::new(value))?;
        }
        let mut states = encoder.encode_descriptor(
            "sotto_trunk_state",
            "1 for the state that a trunk's best address is in",
            None,
            MetricType::Gauge,
        )?;
        for carrier in self.house.trunks.carriers().filter(|c| c.is_called()) {
            for state in State::ALL {
                let labels = [("trunk", carrier.name()), ("state", state.as_str())];
                let is = i64::from(carrier.state() == state);
                ConstGauge::new(is).encode(states.encode_family(&labels)?)?;
            }
        }
        let mut write = |name: &str, help: &str, metric: &dyn Metric| metric.write(&mut encoder, name, help);
        let status = self.house.vault.status();
        let (cpu, resident) = process();
        for (name, help, value) in [
            ("sotto_vault_escapes", "Blocks that outlived their region", status.escapes),
            ("sotto_vault_spills", "Allocations that did not fit a region", status.spills),
            ("sotto_vault_panics", "Panics caught inside regions", status.panics),
            (
                "sotto_audit_failed",
                "Audit events that were refused, and writes of the audit that failed",
                self.house.audit.failed(),
            ),
        ] {
            write(name, help, &ConstCounter::new(value))?;
        }
        write("process_cpu_seconds", "CPU time of this process", &ConstCounter::new(cpu))?;
        for (name, help, value) in [
            ("sotto_calls", "Calls now", load(&sip.calls) as i64),
            ("sotto_browsers", "Browsers in meetings now", *self.house.browsers.borrow() as i64),
            ("sotto_sip_transactions", "SIP transactions kept now", load(&sip.transactions) as i64),
            ("sotto_sip_subscriptions", "Subscriptions now", load(&sip.subscriptions) as i64),
            ("sotto_sip_streams", "SIP streams open now", load(&sip.streams) as i64),
            ("sotto_conferences", "Conferences now", self.registry.len() as i64),
            (
                "sotto_shard_busy",
                "Part of its time that the busiest real-time thread worked, thousandths",
                self.house.engine.counters().map(|c| load(&c.busy)).max().unwrap_or(0) as i64,
            ),
            (
                "sotto_vault_secret_memory",
                "1 where protected memory is secret, 0 where it is only locked",
                i64::from(status.protection == vault::Protection::SecretMem),
            ),
            (
                "sotto_vault_untraceable",
                "1 where no other process can trace this one",
                i64::from(vault::guardian::tracing() != vault::Tracing::Possible),
            ),
            ("sotto_vault_locked_bytes", "Bytes of protected memory", status.locked_bytes as i64),
            ("process_resident_memory_bytes", "Resident memory of this process", resident),
        ] {
            write(name, help, &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

trait Metric {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> std::fmt::Result;
}

impl<T: EncodeMetric> Metric for T {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> std::fmt::Result {
        let metric = encoder.encode_descriptor(name, help, None, self.metric_type())?;
        self.encode(metric)
    }
}

/// CPU seconds and resident bytes of this process, from /proc.
fn process() -> (f64, i64) {
    // `schedstat` counts in nanoseconds; `stat` only in hundredths.
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos: u64 = tasks
        .filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok())
        .filter_map(|s| s.split(' ').next()?.parse::<u64>().ok())
        .sum();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
    (nanos as f64 / 1e9, pages * 4096)
}

#[cfg(test)]
mod discreet {
    use super::*;

    #[test]
    fn libraries_of_others_only_warn() {
        for (target, level, expected) in [
            ("tungstenite::protocol", Level::TRACE, false),
            ("hyper", Level::INFO, false),
            ("rtc_dtls::conn", Level::WARN, true),
            ("media::shard", Level::TRACE, true),
            ("sotto", Level::DEBUG, true),
            ("sottovoce", Level::DEBUG, false),
        ] {
            assert_eq!(may_tell(target, level), expected, "{target} {level}");
        }
    }
}
