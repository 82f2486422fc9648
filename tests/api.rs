//! The host's side: roster, feed and controls over HTTP; health; the drain.

use crate::harness::{Bridge, PATIENCE, TOKEN, clip, curl, curl_with, heard, samples, speech, until_within};
use serde_json::Value;

#[test]
fn without_a_right_token_nothing_is_told() {
    let bridge = Bridge::start();
    let _caller = bridge.caller("confx", 10.0, &[]);
    bridge.await_live("confx", 1);
    for path in ["/v1/conferences", "/v1/conferences/confx/roster", "/v1/conferences/confx/events"] {
        let url = format!("http://{}{path}", bridge.http);
        for token in [None, Some(""), Some("a-token-for-test"), Some("a-token-for-tests2")] {
            let (status, body) = curl("GET", &url, token);
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, problem["status"].as_u64()), (401, Some(401)), "{path} {token:?}");
            assert!(!body.contains("Guest"));
        }
    }
    let controls = format!("http://{}/v1/conferences/confx/participants/p_x/mute", bridge.http);
    assert_eq!(curl("POST", &controls, None).0, 401);
}

#[test]
fn what_is_not_there_is_a_problem_document() {
    let bridge = Bridge::start();
    let _caller = bridge.caller("confx", 10.0, &[]);
    bridge.await_live("confx", 1);
    for (method, path, expected) in [
        ("GET", "/v1/conferences/confnone/roster", 404),
        ("GET", "/v1/conferences/confnone/events", 404),
        ("GET", "/v1/conferences/confx/events", 426),
        ("POST", "/v1/conferences/confx/participants/p_none/mute", 404),
        ("POST", "/v1/conferences/confx/participants/p_none/sing", 404),
        ("GET", "/v2", 404),
        ("DELETE", "/v1/conferences", 405),
        ("GET", "/v1/conferences/%ff%00/roster", 404),
    ] {
        let (status, body) = bridge.ask(method, path);
        let status_told = serde_json::from_str::<Value>(&body).ok().and_then(|p| p["status"].as_u64());
        assert_eq!((status, status_told), (expected, Some(u64::from(expected))), "{path}: {body}");
        assert!(
            !body.contains("confnone") && !body.contains("p_none"),
            "it repeats nothing of what was asked: {body}"
        );
    }
    let (status, body) = bridge.ask("GET", "/openapi.json");
    let described: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert!(described["paths"]["/v1/conferences/{id}/roster"].is_object(), "{body}");
}

#[test]
fn a_connection_that_says_nothing_whole_is_closed() {
    use std::io::{Read, Write};
    let bridge = Bridge::start();
    let mut waiting: Vec<_> = ["", "GET /v1/conferences HTTP/1.1\r\nHost: x\r\nX-Slow: "]
        .iter()
        .map(|said| {
            let mut stream = std::net::TcpStream::connect(bridge.http).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            stream
        })
        .collect();
    for stream in &mut waiting {
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("closed by the bridge");
    }
    assert_eq!(bridge.ask("GET", "/v1/conferences").0, 200, "others are served");
}

#[test]
fn the_feed_begins_with_the_snapshot_and_tells_every_change_with_a_growing_seq() {
    let bridge = Bridge::start();
    let _first = bridge.caller("confx", 15.0, &["--name", "Ada Example", "--number", "+12025550143"]);
    bridge.await_live("confx", 1);
    let mut feed = bridge.watch("confx");
    let snapshot = feed.next();
    assert_eq!(snapshot["kind"], "snapshot");
    assert_eq!(snapshot["participants"][0]["pseudonym"], "Guest 1");
    let voice = speech(1).display().to_string();
    let mut second = bridge.caller("confx", 4.0, &["--wav", &voice, "--privacy", "id"]);
    let mut events = feed.up_to("the second caller left", |e| e["kind"] == "left");
    assert_eq!(second.wait(), 0);
    let kinds: Vec<_> = events.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    for kind in ["joined", "updated", "speaking", "left"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let spoke =
        |e: &Value| e["participant"]["speaking"] == true && e["participant"]["level"].as_i64().unwrap() > -60;
    assert!(events.iter().any(spoke), "who speaks has a level");
    assert_eq!(events[0]["participant"]["number"]["status"], "withheld");
    events.insert(0, snapshot);
    for pair in events.windows(2) {
        assert_eq!(pair[1]["seq"].as_u64().unwrap(), pair[0]["seq"].as_u64().unwrap() + 1);
    }
    // Disclosed to nobody: not in the roster, not in the log.
    let everything = format!("{events:?}{}{}", bridge.ask("GET", "/v1/conferences").1, bridge.log());
    assert!(!everything.contains("Ada") && !everything.contains("2025550"), "{everything}");
}

#[test]
fn mute_unmute_and_remove() {
    let bridge = Bridge::start();
    let recording = bridge.folder.0.join("heard.wav");
    let voice = clip(&bridge.folder, 4, 1.5);
    let said = samples(&voice);
    let voice = voice.display().to_string();
    let mut talker = bridge.caller("confx", 15.0, &["--wav", &voice]);
    let id = bridge.await_live("confx", 1)[0]["id"].as_str().unwrap().to_owned();
    let act =
        |action: &str| bridge.ask("POST", &format!("/v1/conferences/confx/participants/{id}/{action}")).0;
    assert_eq!(act("mute"), 204);
    assert_eq!(bridge.roster("confx")[0]["muted"], true);
    let mut listener = bridge.caller("confx", 4.5, &["--record", &recording.display().to_string()]);
    assert_eq!(listener.wait(), 0);
    let recorded = samples(&recording);
    let loudest = recorded.iter().fold(0.0f32, |most, s| most.max(s.abs()));
    assert!(loudest < 50.0, "a muted talker is not heard: {loudest}");
    assert_eq!(act("unmute"), 204);
    assert_eq!(bridge.roster("confx")[0]["muted"], false);

    // The same, not muted, is heard: the check above can fail.
    let mut again = bridge.caller("confx", 15.0, &["--wav", &voice]);
    bridge.await_live("confx", 2);
    let mut listener = bridge.caller("confx", 4.5, &["--record", &recording.display().to_string()]);
    assert_eq!(listener.wait(), 0);
    assert!(heard(&said, &samples(&recording)) > 0.9);

    let mut feed = bridge.watch("confx");
    assert_eq!(act("remove"), 204);
    feed.up_to("the talker left", |e| e["kind"] == "left" && e["participant"]["id"] == id.as_str());
    assert_eq!(talker.wait(), 0, "its phone was told");
    assert_eq!(act("remove"), 404);
    again.signal("-INT");
    again.wait();
}

#[test]
fn a_host_makes_somebody_softer_and_takes_their_noise_away() {
    let bridge = Bridge::start();
    let recording = bridge.folder.0.join("heard.wav");
    let voice = clip(&bridge.folder, 4, 1.5).display().to_string();
    let path = |id: &str| format!("http://{}/v1/conferences/confx/participants/{id}/sound", bridge.http);
    let sound = || bridge.roster("confx")[0]["sound"].clone();
    let talker = || {
        let talker = bridge.caller("confx", 15.0, &["--wav", &voice]);
        (talker, bridge.await_live("confx", 1)[0]["id"].as_str().unwrap().to_owned())
    };
    let loudest = || {
        let mut listener = bridge.caller("confx", 4.5, &["--record", &recording.display().to_string()]);
        assert_eq!(listener.wait(), 0);
        samples(&recording).iter().fold(0.0f32, |most, s| most.max(s.abs()))
    };
    let (mut first, _) = talker();
    assert_eq!(sound(), serde_json::json!({"gain": 0, "noise_suppression": false}));
    let before = loudest();
    first.signal("-INT");
    first.wait();
    let (mut talker, id) = talker();
    let wish = |body: &str| curl_with("PUT", &path(&id), Some(TOKEN), Some(body)).0;
    assert_eq!(wish(r#"{"gain":-20}"#), 204);
    let softer = 20.0 * (loudest() / before).log10();
    assert!((-23.0..-17.0).contains(&softer), "{softer:.1} dB");
    assert_eq!(wish(r#"{"noise_suppression":true}"#), 204);
    assert_eq!(sound(), serde_json::json!({"gain": -20, "noise_suppression": true}));
    for bad in [
        "{}",
        r#"{"gain":31}"#,
        r#"{"gain":-31}"#,
        r#"{"gain":200}"#,
        r#"{"gain":1.5}"#,
        r#"{"noise_suppression":"on"}"#,
        r#"{"volume":3}"#,
        "louder",
    ] {
        assert_eq!(wish(bad), 400, "{bad}");
    }
    assert_eq!(curl_with("PUT", &path("p_nobody"), Some(TOKEN), Some(r#"{"gain":1}"#)).0, 404);
    assert_eq!(sound(), serde_json::json!({"gain": -20, "noise_suppression": true}), "nothing else changed");
    talker.signal("-INT");
    talker.wait();
}

#[test]
fn health_readiness_and_metrics() {
    let bridge = Bridge::start();
    let get = |path: &str| curl("GET", &format!("http://{}{path}", bridge.admin), None);
    assert_eq!(get("/healthz"), (200, "ok\n".into()));
    let (status, body) = get("/readyz");
    let ready: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &ready["ready"]), (200, &Value::Bool(true)));
    assert!(ready["vault"]["protection"].is_string());
    let (_, metrics) = get("/metrics");
    assert!(metrics.ends_with("# EOF\n") && metrics.contains("# TYPE sotto_calls gauge"), "{metrics}");
    assert_eq!(
        curl("GET", &format!("http://{}/metrics", bridge.http), Some(TOKEN)).0,
        404,
        "not for the outside"
    );
}

#[test]
fn sigterm_takes_no_new_calls_and_ends_with_the_last() {
    let mut bridge = Bridge::start();
    let mut caller = bridge.caller("confx", 3.0, &[]);
    bridge.await_live("confx", 1);
    bridge.process.signal("-TERM");
    crate::harness::until("not ready any more", || {
        (curl("GET", &format!("http://{}/readyz", bridge.admin), None).0 == 503).then_some(())
    });
    let late = bridge.call("confx", 1.0, &[]).output().unwrap();
    assert!(!late.status.success() && String::from_utf8_lossy(&late.stderr).contains("503"), "{late:?}");
    assert_eq!(bridge.roster("confx").len(), 1, "the call that was there goes on");
    assert_eq!(caller.wait(), 0);
    assert_eq!(bridge.process.wait(), 0);
}

#[test]
fn sigterm_hangs_up_what_is_left_after_the_drain() {
    let mut bridge = Bridge::start();
    let mut caller = bridge.caller("confx", 60.0, &[]);
    bridge.await_live("confx", 1);
    bridge.process.signal("-TERM");
    assert_eq!(bridge.process.wait(), 0);
    assert_eq!(caller.wait(), 0, "it was said BYE");
}

#[test]
fn who_watches_and_floods_or_does_not_read_is_sent_away_and_the_others_see_everything() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    const CHANGES: usize = 4000;
    let bridge = Bridge::start();
    let _callers: Vec<_> = (0..2).map(|_| bridge.caller("confx", 120.0, &[])).collect();
    let rows = bridge.await_live("confx", 2);
    let id = rows[0]["id"].as_str().unwrap();
    // One that never reads, with little room for what comes.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&bridge.http.into()).unwrap();
    let mut slow = TcpStream::from(socket);
    write!(
        slow,
        "GET /v1/conferences/confx/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        crate::harness::TOKEN
    )
    .unwrap();
    let mut feed = bridge.watch("confx");
    feed.next();
    // One that says something all the time.
    let mut loud = bridge.watch("confx");
    let flooded = std::thread::spawn(move || {
        let mut said = 0;
        while loud.say("more").is_ok() {
            said += 1;
        }
        (said, loud.closed_with())
    });
    // Changes, as fast as one after the other can be asked for.
    let mut steering = TcpStream::connect(bridge.http).unwrap();
    steering.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(steering.try_clone().unwrap());
    for n in 0..CHANGES {
        let action = if n % 2 == 0 { "mute" } else { "unmute" };
        let token = crate::harness::TOKEN;
        let path = format!("/v1/conferences/confx/participants/{id}/{action}");
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        steering.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 204"), "{line}");
        while line != "\r\n" {
            line.clear();
            answers.read_line(&mut line).unwrap();
        }
        // Whoever reads sees each of them, in order and at once.
        let muted = n % 2 == 0;
        feed.up_to("the change", |e| e["participant"]["id"] == id && e["participant"]["muted"] == muted);
    }
    let (said, code) = flooded.join().unwrap();
    // Its last words may be lost with what it had sent and nobody read.
    assert!(matches!(code, None | Some(1008)), "{code:?} after {said} messages");
    // The bridge gives up on who does not read, and keeps little for them meanwhile.
    let own = slow.local_addr().unwrap().port();
    until_within(std::time::Duration::from_secs(50), "the slow one is sent away", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let (from, to) = (format!(":{:04X}", bridge.http.port()), format!(":{own:04X}"));
        let entry = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut open = entry.filter(|e| e[1].ends_with(&from) && e[2].ends_with(&to) && e[9] != "0");
        open.next().is_none().then_some(())
    });
    let mut rest = Vec::new();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    // What the kernels still had; the end is a reset, as not all of it was read.
    let _ = slow.read_to_end(&mut rest);
    assert!(rest.len() < CHANGES * 200, "{} octets were kept for who does not read", rest.len());
}
