//! The proof that a running bridge holds no readable identity: callers of made-up identities, hosts who watch, and an image of the
//! bridge's memory, registers and files in which each identity is looked for in every form.
//!
//! `make privacy-proof` runs it with 1,000 calls; `make test` with fewer.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    dead_code
)]

#[path = "../authority.rs"]
mod authority;
mod callers;
mod canary;
mod event;
#[path = "../harness.rs"]
mod harness;
mod image;
mod keyed;
mod surfaces;

use callers::{Caller, Ways, host};
use canary::{FRAGMENT, Identity, Needles, forms, key_forms};
use event::Event;
use harness::{Bridge, Process, Setup, curl_with, status_of};
use image::{Image, aes_schedules};
use keyed::Keyed;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a scan found.
#[derive(Default)]
struct Found {
    hits: BTreeMap<String, usize>,
    schedules: usize,
    unread: BTreeMap<String, usize>,
    bytes: usize,
}

fn scan(pid: u32, needles: &Needles) -> Found {
    let image = Image::take(pid).expect("the image of a process can be taken as root");
    let mut found = Found { bytes: image.len(), ..Found::default() };
    for piece in &image.pieces {
        needles.find(&piece.bytes, |at, source| {
            let what = format!("{}: {} as {}", piece.name, source.value, source.form);
            let expected = what.starts_with(image::INSIDE);
            if found.hits.len() < 20 && !expected && !found.hits.contains_key(&what) {
                let around = &piece.bytes[at.saturating_sub(48)..(at + 64).min(piece.bytes.len())];
                println!("  hit in {what}: {}", String::from_utf8_lossy(around).escape_debug());
            }
            *found.hits.entry(what).or_default() += 1;
        });
        found.schedules += aes_schedules(&piece.bytes);
    }
    for (name, why, bytes) in image.unread {
        *found.unread.entry(format!("{name}: {why}")).or_default() += bytes;
    }
    found
}

/// Every form of every identity is found in a process that holds them: else a zero would prove nothing.
fn control(identities: &[&Identity], keys: &[(&'static str, Vec<u8>)], needles: &Needles) {
    let script = "import sys,time\nheld=sys.stdin.buffer.read()\nprint(len(held),flush=True)\ntime.sleep(60)";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut expected = std::collections::BTreeSet::new();
    for identity in identities {
        for (value, text) in identity.values() {
            for (form, bytes) in forms(text) {
                input.write_all(&bytes).unwrap();
                input.write_all(b"\xff\xfe").unwrap();
                expected.insert((value, form));
            }
        }
    }
    for (value, bytes) in keys {
        for (form, bytes) in key_forms(bytes) {
            input.write_all(&bytes).unwrap();
            input.write_all(b"\xff\xfe").unwrap();
            expected.insert((value, form));
        }
    }
    drop(input);
    let mut said = [0; 1];
    std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    let child = Process(child);
    let image = Image::take(child.0.id()).unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for piece in &image.pieces {
        needles.find(&piece.bytes, |_, s| {
            seen.entry((s.value, s.form)).or_insert_with(std::collections::BTreeSet::new).insert(s.identity);
        });
    }
    for what in &expected {
        let found = seen.get(what);
        let all = if keys.iter().any(|(value, _)| *value == what.0) { 0 } else { identities.len() };
        assert!(found.is_some(), "the scanner finds {what:?}");
        let missed = (0..all).filter(|n| found.is_none_or(|f| !f.contains(n))).count();
        assert_eq!(missed, 0, "the scanner finds {what:?}");
    }
    println!(
        "positive control: {} identities and {} media keys found, {} values and forms",
        identities.len(),
        keys.len(),
        expected.len()
    );
}

struct Report {
    name: &'static str,
    scans: usize,
    hits: usize,
    /// Of them, media keys.
    keys: usize,
    /// Of a thread that was stopped while it computed with a message: told, and not counted with the others.
    inside: usize,
    /// By mapping, value and form.
    places: BTreeMap<String, usize>,
    schedules: usize,
    megabytes: usize,
    unread: BTreeMap<String, usize>,
}

fn moment(name: &'static str, pid: u32, scans: usize, needles: &Needles) -> Report {
    let mut report = Report {
        name,
        scans,
        hits: 0,
        keys: 0,
        inside: 0,
        places: BTreeMap::new(),
        schedules: 0,
        megabytes: 0,
        unread: BTreeMap::new(),
    };
    for _ in 0..scans {
        let found = scan(pid, needles);
        for (place, hits) in found.hits {
            match place.starts_with(image::INSIDE) {
                true => report.inside += hits,
                false => report.hits += hits,
            }
            report.keys += if place.contains(": SRT") { hits } else { 0 };
            *report.places.entry(place).or_default() += hits;
        }
        report.schedules = report.schedules.max(found.schedules);
        report.megabytes = found.bytes >> 20;
        report.unread = found.unread;
    }
    report.print();
    report
}

impl Report {
    fn print(&self) {
        println!(
            "{:<44} {:>3} scans of {:>4} MiB   hits {:>4}   AES key schedules {}",
            self.name, self.scans, self.megabytes, self.hits, self.schedules
        );
        if self.inside > 0 {
            println!(
                "  {:>6} more in registers of a thread that was computing: what the guardian is for",
                self.inside
            );
        }
        for (place, hits) in &self.places {
            println!("  {hits:>6} in {place}");
        }
    }
}

/// Of so many callers one comes by the next transport; the rest by UDP. A source may have 256 streams.
fn by(n: usize) -> usize {
    if n % 8 == 4 { n / 8 % 4 + 1 } else { 0 }
}

/// Callers who are in the meeting, every fourth of them withholding, every eighth by another transport than UDP; every twentieth subscribes to the
/// meeting's state.
fn join(bridge: &Bridge, ways: &Ways, calls: usize) -> Vec<Caller> {
    let mut callers: Vec<Caller> = (0..calls)
        .map(|n| {
            let privacy = [None, None, None, Some("id")][n % 4].or((n % 8 == 6).then_some("user;id"));
            ways.caller(bridge, by(n), privacy)
        })
        .collect();
    for caller in &mut callers {
        caller.invite();
        caller.await_answer();
        caller.ack();
    }
    callers.iter_mut().step_by(20).take(90).for_each(Caller::subscribe);
    callers
}

/// Moments at which no call is left.
const OVER: [&str; 2] = ["after the last hang-up", "later, when all timers have ended"];

/// How the bridge that is looked at is protected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protected {
    /// As it is by default.
    Whole,
    /// Without the guardian: the scanner reads the registers of each thread.
    Traceable,
    /// On ordinary, locked pages, and without the guardian: what is wiped is wiped there too.
    Ordinary,
}

fn prove(calls: usize, under_load: usize, after: Duration, protected: Protected) {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        println!("passed over: only root may read another process's memory image");
        return;
    }
    let weaker = protected == Protected::Ordinary;
    let guardian = protected == Protected::Whole;
    let ways = Ways::new();
    let more = format!(
        "trusted = true\npersonal_link = true\n{}[vault]\nallow_weaker = {weaker}\nguardian = {guardian}\n{}{}",
        ways.trunk,
        ways.dial,
        event::CONFERENCE
    );
    let bridge = Bridge::with(&Setup {
        http: "public_url = \"https://meet.example.com\"",
        more: &more,
        also: ways.also,
        sip: &ways.sip,
        denied: if weaker { &[libc::SYS_memfd_secret] } else { &[] },
        ..Setup::default()
    });
    let pid = bridge.process.0.id();
    let mut first = join(&bridge, &ways, 1);
    // Their feeds are read by threads, as hosts do.
    let watchers: Vec<_> = (0..3).map(|_| host(&bridge)).collect();
    let dialling = host(&bridge);
    for watcher in watchers {
        std::thread::spawn(move || watcher.feed.look_on());
    }
    let begun = Instant::now();
    let mut callers = join(&bridge, &ways, calls - 1);
    callers.append(&mut first);
    // As many again as a tenth are dialled in.
    let dialled = calls.div_ceil(10);
    (0..dialled).for_each(|_| dialling.dial(&ways.carrier.reaches()));
    // And some whose sound is encrypted, by all ways: their keys are looked for as well.
    let secured = (calls / 20).clamp(7, 70);
    let keyed = Keyed::join(&bridge, secured);
    bridge.await_metric("sotto_calls", (calls + dialled + secured) as u64);
    bridge.await_live("confproof", calls + dialled + secured);
    assert!(bridge.metric("sotto_sip_subscriptions") > 0);
    // An event is on, with the portal open in a browser.
    let event = Event::open(&bridge, &ways);
    // Every tenth withholds only now, by a code.
    for caller in callers.iter_mut().step_by(10) {
        for key in ["*", "6", "7"] {
            caller.press(key);
        }
    }
    // Every seventh on their own page: they share, withhold, and see who saw them.
    for caller in callers.iter().step_by(7) {
        let url = format!("http://{}/v1/me/disclosure", bridge.http);
        let first =
            curl_with("PUT", &url, caller.link.as_deref(), Some(r#"{"name":"share","profile":"share"}"#));
        let opened: serde_json::Value = serde_json::from_str(&first.1).unwrap();
        let session = opened["session"]["token"].as_str().expect("a session");
        assert_eq!(curl_with("PUT", &url, Some(session), Some(r#"{"number":"withhold"}"#)).0, 200);
    }
    println!(
        "{calls} calls in {:.1} s; fragments from {FRAGMENT} characters on",
        begun.elapsed().as_secs_f32()
    );
    // More callers come while the bridge is looked at: their identities must be known before.
    // Some on TCP: with those who are there, fewer than the 256 streams that one source may have.
    let late = |n: usize| ways.caller(&bridge, if n % 20 == 4 { n / 20 } else { 0 }, None);
    let late: Vec<Caller> = (0..calls.max(200)).map(late).collect();
    let called = ways.carrier.people();
    assert_eq!(called.len(), dialled);
    let identities: Vec<&Identity> =
        callers.iter().chain(&late).map(|c| &c.identity).chain(&called).chain(event.identities()).collect();
    let mut needles = Needles::new(identities.iter().copied());
    needles.keys(&keyed.keys);
    control(&identities[..calls.min(100)], &keyed.keys, &needles);
    let mut reports = vec![moment("during the calls, hosts watching, an event on", pid, 1, &needles)];
    drop(identities);

    // Under load: INVITEs, answers and hang-ups without a pause; some answers are not acknowledged and so repeated.
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = over.clone();
    let load = std::thread::spawn(move || {
        let mut rounds = 0;
        let mut late = late;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            for caller in &mut late {
                caller.again();
                caller.invite();
                caller.await_answer();
                // The same INVITE once more, and an answer that is repeated until the ACK comes.
                caller.invite();
                caller.ack();
                caller.bye();
                rounds += 1;
            }
        }
        (late, rounds)
    });
    if under_load > 0 {
        reports.push(moment("under INVITE load, threads stopped", pid, under_load, &needles));
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut late, rounds) = load.join().unwrap();
    println!("{rounds} calls were made meanwhile");

    // So few that their ACKs come before the bridge gives up on them (64 × T1, RFC 3261 §13.3.1.4).
    late.truncate(100);
    for caller in &mut late {
        caller.again();
        caller.invite();
        caller.await_answer();
    }
    reports.push(moment("while answers are repeated for want of an ACK", pid, 2, &needles));
    let before = keyed.heard.load(std::sync::atomic::Ordering::Relaxed);
    harness::until("encrypted sound that flows still", || {
        (keyed.heard.load(std::sync::atomic::Ordering::Relaxed) > before + 10).then_some(())
    });
    drop(keyed);
    let _known = event.close();
    for caller in late.iter_mut().chain(&mut callers) {
        caller.ack();
        caller.bye();
    }
    // Who was dialled is sent away by the host.
    for row in bridge.roster("confproof") {
        let path = format!("/v1/conferences/confproof/participants/{}/remove", row["id"].as_str().unwrap());
        bridge.ask("POST", &path);
    }
    bridge.await_metric("sotto_calls", 0);
    reports.push(moment("after the last hang-up", pid, 1, &needles));
    if guardian {
        let tracer = status_of(pid, "TracerPid:").unwrap().parse().unwrap();
        let own = moment("the guardian itself", tracer, 1, &needles);
        assert_eq!((own.hits, own.schedules), (0, 0), "{}", own.name);
    }
    // Transactions end by their timers (32 s at most): the memory is looked at when they are gone.
    if !after.is_zero() {
        std::thread::sleep(after);
        reports.push(moment("later, when all timers have ended", pid, 1, &needles));
    }
    if protected == Protected::Whole {
        let scans: usize = reports.iter().map(|r| r.scans).sum();
        let hits: usize = reports.iter().map(|r| r.hits + r.inside).sum();
        let schedules: usize = reports.iter().map(|r| r.schedules).sum();
        println!(
            "as the bridge runs: {hits} identities or media keys and {schedules} key schedules in {scans} scans"
        );
    }
    println!("not readable, also for root:");
    for (what, bytes) in &reports[0].unread {
        println!("  {:>5} KiB of {what}", bytes >> 10);
    }
    for report in &reports {
        let refused = report.unread.keys().any(|what| what.starts_with("registers"));
        assert_eq!(refused, guardian, "{}: registers are refused where there is a guardian", report.name);
        // On ordinary pages a message that is just being read is readable, as the vault's keys are: that is why the first rung exists.
        let idle = report.name != "under INVITE load, threads stopped";
        // So are the keys of media that flow; not those of calls that are over.
        let flows = weaker && !OVER.contains(&report.name);
        if !weaker || idle {
            let keys = if flows { report.keys } else { 0 };
            assert_eq!(report.hits, keys, "{}", report.name);
            assert_eq!(flows, keys > 0, "the control for media keys, {}", report.name);
        }
        if weaker {
            assert!(
                report.schedules > 0,
                "the control for keys: on ordinary pages the vault's own are found"
            );
        } else {
            assert_eq!(report.schedules, 0, "{}: no key of the vault is in the image", report.name);
        }
    }
}

#[test]
fn a_memory_image_holds_no_identity_and_no_key() {
    prove(60, 5, Duration::ZERO, Protected::Whole);
}

#[test]
fn registers_are_wiped_where_they_can_be_read() {
    prove(60, 5, Duration::ZERO, Protected::Traceable);
}

#[test]
fn what_was_read_is_wiped_where_pages_are_ordinary() {
    prove(60, 0, Duration::ZERO, Protected::Ordinary);
}

/// For `make privacy-proof`.
#[test]
#[ignore = "takes minutes: make privacy-proof"]
fn a_thousand_calls() {
    let calls = std::env::var("CALLS").ok().and_then(|c| c.parse().ok()).unwrap_or(1000);
    println!("\n== as the bridge runs by default: secret pages, a guardian");
    let scans = std::env::var("SCANS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    prove(calls, scans, Duration::from_secs(40), Protected::Whole);
    println!(
        "\n== for comparison, without the guardian: registers can be read, and are wiped on leaving the region"
    );
    prove(calls.min(200), scans, Duration::ZERO, Protected::Traceable);
    println!("\n== for comparison, ordinary, locked pages, without the guardian: proves the wiping");
    prove(calls, 0, Duration::from_secs(40), Protected::Ordinary);
}
