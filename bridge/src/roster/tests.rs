//! The roster's rules, on made-up callers.

use super::*;
use crate::disclosure::Role as ViewerRole;
use crate::disclosure::tests::{ada, vault, viewer};
use serde_json::Value;
use sip_stack::Shown;

fn read(text: &Text) -> Value {
    serde_json::from_str(text).unwrap()
}

impl Follow {
    /// What waits, if it may still be sent.
    fn waiting(&mut self) -> Option<Result<Text, Missed>> {
        self.feed.try_recv().ok().map(|m| self.fresh(m))
    }
}

pub(super) struct House {
    pub(super) vault: vault::Vault,
    pub(super) roster: Roster,
    folder: std::path::PathBuf,
}

impl House {
    pub(super) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("sotto-roster-{:016x}", rand::random::<u64>()));
        let (vault, audit) = (vault(), Audit::open(&folder).unwrap());
        let roster = Roster::new("confx".into(), 10, Sound::default(), vault.keyring().unwrap(), audit);
        Self { vault, roster, folder }
    }

    pub(super) fn join(&mut self, name: Shown, number: Shown) -> String {
        let identity = ada(&self.vault, self.roster.keys(), name, number);
        self.roster.join(identity)
    }

    fn keyless(&self) -> Arc<Viewer> {
        Arc::new(Viewer::new("t_1".into(), ViewerRole::Host, ViewerRole::Host.sight(), None))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_watcher_sees_the_snapshot_and_every_change_with_a_growing_seq() {
    let mut house = House::new();
    let viewer = house.keyless();
    let first = house.join(Shown::Shared, Shown::Withheld);
    let (snapshot, mut feed) = house.roster.subscribe(&viewer);
    let snapshot = read(&snapshot);
    assert_eq!((&snapshot["kind"], &snapshot["seq"]), (&"snapshot".into(), &1.into()));
    assert_eq!(snapshot["participants"][0]["pseudonym"], "Guest 1");
    assert_eq!(snapshot["participants"][0]["number"]["status"], "withheld");
    house.roster.update(&first, Kind::Updated, |p| p.state = State::Live);
    house.roster.update(&first, Kind::Updated, |p| p.state = State::Live);
    let second = house.join(Shown::Absent, Shown::Absent);
    house.roster.update(&second, Kind::Speaking, |p| p.speaking = true);
    house.roster.leave(&first);
    house.roster.end();
    let kinds: Vec<_> = std::iter::from_fn(|| feed.waiting().map(Result::unwrap))
        .map(|m| (read(&m)["seq"].as_u64().unwrap(), read(&m)["kind"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [(2, "updated"), (3, "joined"), (4, "speaking"), (5, "left"), (6, "conference")];
    assert_eq!(kinds, expected.map(|(n, k)| (n, k.to_owned())), "no event without a change");
}

#[test]
fn pseudonyms_go_by_order_of_joining_and_are_not_used_again() {
    let mut house = House::new();
    let viewer = house.keyless();
    let first = house.join(Shown::Absent, Shown::Absent);
    house.roster.leave(&first);
    let ids: Vec<_> = (0..3).map(|_| house.join(Shown::Absent, Shown::Absent)).collect();
    house.roster.update(&ids[0], Kind::Updated, |p| p.muted = true);
    let snapshot = read(&house.roster.snapshot(&viewer));
    let rows = snapshot["participants"].as_array().unwrap();
    let pseudonyms: Vec<_> = rows.iter().map(|r| r["pseudonym"].as_str().unwrap()).collect();
    assert_eq!(pseudonyms, ["Guest 2", "Guest 3", "Guest 4"], "a change moves nobody");
}

#[test]
fn a_viewer_with_a_key_opens_what_is_shared_and_others_see_its_status_only() {
    let mut house = House::new();
    let (host, key) = viewer(&house.vault, ViewerRole::Host);
    let (host, keyless) = (Arc::new(host), house.keyless());
    let id = house.join(Shown::Shared, Shown::Withheld);
    let (snapshot, mut feed) = house.roster.subscribe(&host);
    let (plain, mut plain_feed) = house.roster.subscribe(&keyless);
    assert_eq!(house.roster.watchers(), 2);
    let row = &read(&snapshot)["participants"][0];
    assert_eq!(key.open(row["name"]["jwe"].as_str().unwrap()).unwrap(), "Ada Example");
    assert_eq!(row["name"]["source"], "asserted");
    assert_eq!(row["number"], serde_json::json!({"status": "withheld"}));
    house.roster.update(&id, Kind::Updated, |p| p.muted = true);
    let changed = read(&feed.waiting().unwrap().unwrap());
    assert_eq!(changed["participant"]["name"], row["name"], "the same envelope, disclosed once");
    for message in [plain, plain_feed.waiting().unwrap().unwrap()] {
        assert!(!message.contains("jwe"), "{message}");
    }
}

#[test]
fn each_disclosure_is_audited_once_and_without_the_value() {
    let mut house = House::new();
    let (host, _) = viewer(&house.vault, ViewerRole::Host);
    let host = Arc::new(host);
    let id = house.join(Shown::Shared, Shown::Shared);
    let (_, feed) = house.roster.subscribe(&host);
    house.roster.update(&id, Kind::Updated, |p| p.muted = true);
    house.roster.snapshot(&host);
    drop(feed);
    house
        .roster
        .audit
        .record(audit::Event::KeyEnded { at: now(), viewer: "k_1".into(), why: "deleted" })
        .unwrap();
    let text = loop {
        let text = std::fs::read_to_string(house.folder.join("audit.jsonl")).unwrap();
        if text.contains("key_ended") && text.ends_with('\n') {
            break text;
        }
        std::thread::yield_now();
    };
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    let event = &lines[0];
    assert_eq!(event["event"], "disclosed");
    assert_eq!((&event["viewer"], &event["role"]), (&"k_1".into(), &"host".into()));
    assert_eq!((&event["participant"], &event["pseudonym"]), (&id.into(), &"Guest 1".into()));
    assert_eq!(event["attributes"], serde_json::json!(["name", "number", "profile"]));
    assert!(!text.contains("Ada") && !text.contains("0143"), "{text}");
}

#[test]
fn what_waits_for_a_slow_watcher_is_not_sent_after_it_was_withheld() {
    let mut house = House::new();
    let (host, key) = viewer(&house.vault, ViewerRole::Host);
    let host = Arc::new(host);
    let id = house.join(Shown::Shared, Shown::Shared);
    let (_, mut feed) = house.roster.subscribe(&host);
    house.roster.update(&id, Kind::Updated, |p| p.muted = true);
    let withheld = ada(&house.vault, house.roster.keys(), Shown::Withheld, Shown::Withheld);
    house.roster.choose(&id, |identity| *identity = withheld);
    assert_eq!(feed.waiting(), Some(Err(Missed::Some)), "it had the name in it");
    let told = read(&feed.waiting().unwrap().unwrap());
    let nothing = serde_json::json!({"status": "withheld"});
    assert_eq!((&told["kind"], &told["participant"]["name"]), (&"updated".into(), &nothing));
    assert_eq!(told["participant"]["number"], nothing);
    house.roster.update(&id, Kind::Updated, |p| p.muted = false);
    assert!(!feed.waiting().unwrap().unwrap().contains("jwe"), "nothing brings it back");
    assert!(!house.roster.snapshot(&host).contains("jwe"));

    // But themselves.
    let shared = ada(&house.vault, house.roster.keys(), Shown::Shared, Shown::Shared);
    house.roster.choose(&id, |identity| *identity = shared);
    let told = read(&feed.waiting().unwrap().unwrap());
    assert_eq!(key.open(told["participant"]["name"]["jwe"].as_str().unwrap()).unwrap(), "Ada Example");
}

#[test]
fn a_participant_sees_who_saw_them_and_never_the_values() {
    let mut house = House::new();
    let id = house.join(Shown::Shared, Shown::Shared);
    let other = house.join(Shown::Shared, Shown::Shared);
    let me = |house: &House| read(&house.roster.me(&id).unwrap());
    assert_eq!(me(&house)["seen_by"], serde_json::json!([]));
    for role in [ViewerRole::Host, ViewerRole::Operator, ViewerRole::Auditor] {
        let (viewer, _) = viewer(&house.vault, role);
        let viewer = Arc::new(viewer);
        house.roster.snapshot(&viewer);
    }
    let seen = me(&house);
    let by: Vec<_> =
        seen["seen_by"].as_array().unwrap().iter().map(|r| (&r["role"], &r["attributes"])).collect();
    let all = serde_json::json!(["name", "number", "profile"]);
    assert_eq!(by, [(&"host".into(), &all), (&"operator".into(), &serde_json::json!(["name", "number"]))]);
    assert_eq!(seen["seen_by"][1]["masked"], serde_json::json!(["number"]));
    assert_eq!(
        (&seen["participant"]["name"], &seen["participant"]["id"]),
        (&serde_json::json!({"status": "shared"}), &id.as_str().into())
    );
    assert!(!seen.to_string().contains("jwe") && !seen.to_string().contains(&other), "{seen}");
    for _ in 0..RECEIPTS + 5 {
        let (host, _) = viewer(&house.vault, ViewerRole::Host);
        house.roster.snapshot(&Arc::new(host));
    }
    assert_eq!(me(&house)["seen_by"].as_array().unwrap().len(), RECEIPTS, "bounded");
    house.roster.leave(&id);
    assert!(house.roster.me(&id).is_none());
}

#[test]
fn a_guest_sees_pseudonyms_who_speaks_and_times_to_the_minute_only() {
    let mut house = House::new();
    let id = house.join(Shown::Shared, Shown::Withheld);
    let guest = Arc::new(Viewer::guest("t_2".into()));
    let (snapshot, mut feed) = house.roster.subscribe(&guest);
    let row = read(&snapshot)["participants"][0].clone();
    assert!(row["joined_at"].as_str().unwrap().ends_with(":00Z"), "{row}");
    assert_eq!(
        (&row["name"], &row["pseudonym"]),
        (&serde_json::json!({"status": "withheld"}), &"Guest 1".into())
    );
    let begun = Instant::now();
    let mut say = |house: &mut House, speaking: bool, after: u64| {
        house.roster.update(&id, Kind::Speaking, |p| (p.speaking, p.level) = (speaking, -20));
        house.roster.update(&id, Kind::Updated, |p| {
            p.quality =
                Some(Quality { mos: 4.0, loss: after as f32, jitter: 1.0, round_trip: None, hears: None })
        });
        house.roster.tell_roughly(begun + Duration::from_millis(after));
        let told: Vec<_> =
            std::iter::from_fn(|| feed.waiting().map(Result::unwrap)).map(|t| read(&t)).collect();
        told
    };
    let told = say(&mut house, true, 0);
    assert_eq!(told.len(), 1, "{told:?}");
    let event = &told[0];
    assert_eq!((&event["kind"], &event["participant"]["speaking"]), (&"speaking".into(), &true.into()));
    assert_eq!(
        (&event["participant"]["level"], &event["participant"]["quality"]),
        (&(-127).into(), &Value::Null)
    );
    assert!(
        event["at"].as_str().unwrap().ends_with(":00Z")
            && event["seq"].as_u64() > read(&snapshot)["seq"].as_u64()
    );
    assert!(
        say(&mut house, false, 500).is_empty() && say(&mut house, true, 1500).is_empty(),
        "only now and then"
    );
    assert!(say(&mut house, true, 2100).is_empty(), "and only what changed");
    assert_eq!(say(&mut house, false, 4200).len(), 1);
    let (_, mut again) = house.roster.subscribe(&guest);
    house.roster.update(&id, Kind::Updated, |p| p.muted = true);
    assert!(read(&again.waiting().unwrap().unwrap())["participant"]["muted"] == true);
}

#[test]
fn who_listens_without_being_seen_is_seen_by_auditors_only_and_leaves_no_gap() {
    let mut house = House::new();
    let host = house.keyless();
    let auditor = Arc::new(Viewer::new("t_3".into(), ViewerRole::Auditor, ViewerRole::Auditor.sight(), None));
    let guest = Arc::new(Viewer::guest("t_2".into()));
    let first = house.join(Shown::Absent, Shown::Absent);
    let mut feeds = [&host, &guest, &auditor].map(|viewer| house.roster.subscribe(viewer).1);
    let identity = ada(&house.vault, house.roster.keys(), Shown::Absent, Shown::Absent);
    let hidden = house.roster.listen(identity);
    house.roster.update(&hidden, Kind::Updated, |p| p.state = State::Live);
    let list = |house: &mut House, viewer: &Arc<Viewer>| {
        let snapshot = read(&house.roster.snapshot(viewer));
        let rows = snapshot["participants"].as_array().unwrap().clone();
        let names: Vec<_> = rows.iter().map(|r| r["pseudonym"].as_str().unwrap().to_owned()).collect();
        (names, snapshot["conference"]["participants"].as_u64().unwrap())
    };
    assert_eq!(list(&mut house, &auditor), (vec!["Guest 1".into(), "Hidden listener 1".into()], 1));
    for viewer in [&host, &guest] {
        assert_eq!(list(&mut house, viewer), (vec!["Guest 1".into()], 1));
    }
    house.roster.leave(&hidden);
    let second = house.join(Shown::Absent, Shown::Absent);
    house.roster.update(&first, Kind::Updated, |p| p.muted = true);
    let mut told = |n: usize| -> Vec<Value> {
        std::iter::from_fn(|| feeds[n].waiting().map(Result::unwrap)).map(|t| read(&t)).collect()
    };
    for n in [0, 1] {
        let events = told(n);
        let seqs: Vec<_> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, [2, 3], "{events:?}");
        assert_eq!(events[0]["participant"]["pseudonym"], "Guest 2");
    }
    let auditors = told(2);
    assert_eq!(auditors.len(), 5, "{auditors:?}");
    assert_eq!(
        (&auditors[0]["participant"]["hidden"], &auditors[0]["participant"]["role"]),
        (&true.into(), &"listener".into())
    );
    assert_eq!(house.roster.len(), 2);
    house.roster.leave(&second);
}

#[test]
fn each_viewers_seq_grows_whoever_else_is_told_more() {
    let mut house = House::new();
    let id = house.join(Shown::Absent, Shown::Absent);
    let (guest, host) = (Arc::new(Viewer::guest("t_2".into())), house.keyless());
    let mut last = 0;
    for round in 0..5u64 {
        let (snapshot, mut feed) = house.roster.subscribe(&host);
        let (_, _guests) = house.roster.subscribe(&guest);
        house.roster.update(&id, Kind::Speaking, |p| p.speaking = round % 2 == 0);
        house.roster.tell_roughly(Instant::now() + Duration::from_secs(10 * round));
        let seqs =
            [Ok(snapshot), feed.waiting().unwrap()].map(|t| read(&t.unwrap())["seq"].as_u64().unwrap());
        assert!(seqs[0] >= last && seqs[1] == seqs[0] + 1, "{seqs:?} after {last}");
        last = seqs[1];
    }
}

#[test]
fn viewers_who_look_no_more_are_forgotten() {
    let mut house = House::new();
    let viewers: Vec<_> = (0..50).map(|_| house.keyless()).collect();
    for viewer in &viewers {
        drop(house.roster.subscribe(viewer));
    }
    house.join(Shown::Absent, Shown::Absent);
    assert_eq!((house.roster.views.len(), house.roster.watchers()), (0, 0));
}

#[test]
fn times_are_utc_to_the_millisecond() {
    let now = now();
    assert!(now.ends_with('Z') && now.len() <= "2026-01-01T00:00:00.000Z".len(), "{now}");
}
