//! Calls of ours: two endpoints with a network between them, and one whose other end is written by hand.

use super::*;
use crate::message::Target;

/// Two endpoints and a lossy network between them.
struct Pair {
    caller: Side,
    callee: Side,
    now: Instant,
    lost: fn(usize) -> bool,
    count: usize,
}

impl Pair {
    fn new(lost: fn(usize) -> bool) -> Self {
        let (mut caller, callee) = (Side::new(false), Side::new(false));
        caller.flow = Flow { remote: callee.flow.local, local: callee.flow.remote, ..callee.flow };
        Self { caller, callee, now: Instant::now(), lost, count: 0 }
    }

    fn call(&mut self) -> CallId {
        let (reader, subject) = (&self.caller.reader, self.caller.reader.next_subject());
        let text = self
            .caller
            .region
            .run(|i| {
                let from = "\"Test\" <sip:+12025550101@example.com>";
                seal_call(i.secrets, reader, subject, "sip:+1-202-555-0199@192.0.2.9", from, "id1", "")
            })
            .unwrap();
        let outgoing = Outgoing {
            id: None,
            ring: None,
            flow: self.caller.flow,
            subject,
            text,
            rtp: "127.0.0.1:40000".parse().unwrap(),
            audio: sdp::offer(&Capabilities::default()),
            privacy_id: true,
            credentials: None,
            redirects: 0,
            silence: None,
        };
        self.caller.endpoint.invite(self.now, outgoing)
    }

    /// Delivers everything and fires timers until nothing happens before `end`.
    fn run(&mut self, end: Duration) {
        let end = self.now + end;
        loop {
            let mut moved = false;
            for (to_callee, texts) in [(true, self.caller.sent()), (false, self.callee.sent())] {
                for text in texts {
                    moved = true;
                    self.count += 1;
                    if (self.lost)(self.count) {
                        continue;
                    }
                    let side = if to_callee { &mut self.callee } else { &mut self.caller };
                    side.receive(self.now, text.as_bytes());
                }
            }
            if moved {
                continue;
            }
            let next = [self.caller.endpoint.poll_timeout(), self.callee.endpoint.poll_timeout()];
            let Some(at) = next.into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = at;
            self.caller.endpoint.handle_timeout(at);
            self.callee.endpoint.handle_timeout(at);
        }
        self.now = end;
    }
}

#[test]
fn two_endpoints_call_answer_and_hang_up_over_a_lossy_network() {
    for (name, lost) in [
        ("no loss", (|_| false) as fn(usize) -> bool),
        ("every third", |n| n % 3 == 0),
        ("the first four", |n| n <= 4),
        ("a third, in no order", |n| ((n * 2_654_435_761) >> 9) % 3 == 0),
    ] {
        let mut pair = Pair::new(lost);
        let call = pair.call();
        pair.run(Duration::from_secs(10));
        let invite = pair.callee.invited();
        assert_eq!(invite.target, Target::Number(0), "{name}");
        let caller = invite.caller.as_ref().unwrap();
        assert_eq!(caller.number.status, crate::message::Shown::Withheld, "Privacy: id");
        pair.callee.accept(pair.now, invite.call, &invite.offer);
        pair.run(Duration::from_secs(20));
        let events = pair.caller.events();
        assert!(events.iter().any(|e| matches!(e, Event::Answered { .. })), "{name}: {events:?}");
        assert!(pair.callee.events().iter().any(|e| matches!(e, Event::Acked { .. })), "{name}");
        pair.caller.endpoint.hangup(pair.now, call);
        pair.run(Duration::from_secs(100));
        assert!(matches!(pair.callee.events()[..], [Event::Ended { cause: Cause::Bye, .. }]), "{name}");
        assert_eq!(pair.caller.endpoint.kept(), [0; 4], "{name}");
        assert_eq!(pair.callee.endpoint.kept(), [0; 4], "{name}");
    }
}

#[test]
fn a_refused_call_is_acked_and_told() {
    let mut pair = Pair::new(|_| false);
    pair.call();
    pair.run(Duration::from_secs(1));
    let invite = pair.callee.invited();
    pair.callee.endpoint.reject(pair.now, invite.call, 486, ReplyExtras::default());
    pair.run(Duration::from_secs(100));
    assert!(matches!(pair.caller.events()[..], [Event::Ended { cause: Cause::Refused(486), .. }]));
    assert_eq!(pair.callee.endpoint.kept(), [0; 4], "the ACK found its transaction");
}

#[test]
fn a_call_given_up_before_the_answer_is_cancelled() {
    let mut pair = Pair::new(|_| false);
    let call = pair.call();
    pair.run(Duration::from_secs(1));
    pair.caller.endpoint.hangup(pair.now, call);
    pair.run(Duration::from_secs(100));
    assert!(pair.callee.events().iter().any(|e| matches!(e, Event::Ended { cause: Cause::Cancelled, .. })));
    assert!(matches!(pair.caller.events()[..], [Event::Ended { cause: Cause::Refused(487), .. }]));
    assert_eq!(pair.caller.endpoint.kept(), [0; 4]);
}

#[test]
fn nobody_answers_is_a_timeout() {
    let mut pair = Pair::new(|_| true);
    pair.call();
    pair.run(Duration::from_secs(40));
    assert!(matches!(pair.caller.events()[..], [Event::Ended { cause: Cause::TimedOut, .. }]));
    assert_eq!(pair.caller.endpoint.kept()[..3], [0; 3]);
}

/// The events that a call of ours ends in when its flow, or another one, breaks while nobody has answered.
fn broken(change: impl Fn(Flow) -> Flow) -> Vec<Event> {
    let mut pair = Pair::new(|_| true);
    pair.call();
    pair.caller.sent();
    let flow = change(pair.caller.flow);
    pair.caller.endpoint.transport_failed(pair.now, flow);
    pair.caller.events()
}

#[test]
fn a_broken_flow_ends_the_calls_that_wait_on_it_and_no_others() {
    assert!(matches!(broken(|flow| flow)[..], [Event::Ended { cause: Cause::TimedOut, .. }]));
    assert!(broken(|flow| Flow { connection: 7, ..flow }).is_empty(), "another stream");
    let elsewhere = "192.0.2.77:5060".parse().unwrap();
    assert!(broken(|flow| Flow { remote: elsewhere, ..flow }).is_empty(), "another peer");
}

/// A call of ours whose other end is written by hand.
struct Ours {
    side: Side,
    call: CallId,
    invite: String,
    now: Instant,
}

impl Ours {
    fn call() -> Self {
        let mut pair = Pair::new(|_| false);
        let call = pair.call();
        let mut side = pair.caller;
        let invite = side.sent().remove(0);
        Self { side, call, invite, now: pair.now }
    }

    /// Answers a request of ours as `line` says; `tag` is the To tag.
    fn respond(&mut self, request: &str, line: &str, tag: &str, body: &str) {
        let contact = format!("Contact: <sip:b{tag}@192.0.2.44:5062>\r\n");
        let text = response_to(request, line, tag, &contact, body);
        self.side.receive(self.now, text.as_bytes());
    }

    /// Answers the newest INVITE with more header lines, and returns what we send then.
    fn answer_with(&mut self, line: &str, tag: &str, lines: &str, body: &str) -> Vec<String> {
        let text = response_to(&self.invite, line, tag, lines, body);
        self.side.receive(self.now, text.as_bytes());
        let sent = self.side.sent();
        if let Some(invite) = sent.iter().find(|t| method(t) == "INVITE") {
            self.invite = invite.clone();
        }
        sent
    }

    /// Answers the INVITE.
    fn answer(&mut self, line: &str, tag: &str, body: &str) {
        let invite = self.invite.clone();
        self.respond(&invite, line, tag, body);
    }
}

fn method(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

#[test]
fn provisional_responses_but_100_are_told() {
    let mut ours = Ours::call();
    ours.answer("100 Trying", "b", "");
    assert!(ours.side.events().is_empty());
    ours.answer("180 Ringing", "b", "");
    assert!(matches!(ours.side.events()[..], [Event::Progress { status: 180, .. }]));
}

#[test]
fn a_repeated_2xx_gets_its_ack_again_and_is_told_once() {
    let mut ours = Ours::call();
    ours.answer("200 OK", "b", SDP);
    let ack = ours.side.sent().remove(0);
    assert!(ack.starts_with("ACK sip:bb@192.0.2.44:5062 SIP/2.0\r\n"), "{ack}");
    assert_eq!((header(&ack, "CSeq"), to_tag(&ack).as_str()), (Some("1 ACK"), "b"));
    assert!(matches!(ours.side.events()[..], [Event::Answered { .. }]));
    ours.answer("200 OK", "b", SDP);
    assert_eq!(ours.side.sent(), [ack]);
    assert!(ours.side.events().is_empty());
}

#[test]
fn another_branch_of_a_fork_that_answers_is_acked_and_hung_up() {
    let mut ours = Ours::call();
    ours.answer("200 OK", "b", SDP);
    ours.side.sent();
    ours.side.events();
    ours.answer("200 OK", "c", SDP);
    let sent = ours.side.sent();
    let told: Vec<_> = sent.iter().map(|t| (method(t), header(t, "CSeq").unwrap(), to_tag(t))).collect();
    assert_eq!(told, [("ACK", "1 ACK", "c".to_owned()), ("BYE", "2 BYE", "c".to_owned())]);
    let bye = sent[1].clone();
    ours.respond(&bye, "200 OK", "c", "");
    assert!(ours.side.events().is_empty(), "the call with the first goes on");
    ours.side.endpoint.hangup(ours.now, ours.call);
    assert_eq!(to_tag(&ours.side.sent()[0]), "b");
}

#[test]
fn an_answer_that_crosses_our_cancel_is_acked_and_hung_up() {
    let mut ours = Ours::call();
    ours.side.endpoint.hangup(ours.now, ours.call);
    assert!(ours.side.sent().is_empty(), "RFC 3261 section 9.1: not before a provisional response");
    ours.answer("180 Ringing", "b", "");
    let cancel = ours.side.sent().remove(0);
    assert!(cancel.starts_with("CANCEL ") && cancel.ends_with("Content-Length: 0\r\n\r\n"), "{cancel}");
    assert_eq!(header(&cancel, "Via"), header(&ours.invite, "Via"));
    ours.side.endpoint.hangup(ours.now, ours.call);
    ours.answer("183 Session Progress", "b", "");
    assert!(ours.side.sent().is_empty(), "once is enough");
    ours.answer("200 OK", "b", SDP);
    let sent = ours.side.sent();
    assert_eq!(sent.iter().map(|t| method(t)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(matches!(ours.side.events()[..], [Event::Ended { cause: Cause::Cancelled, .. }]));
}

#[test]
fn a_2xx_without_a_description_ends_the_call() {
    let mut ours = Ours::call();
    ours.answer("200 OK", "b", "");
    assert_eq!(ours.side.sent().iter().map(|t| method(t)).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(matches!(ours.side.events()[..], [Event::Ended { cause: Cause::NotAcceptable, .. }]));
}

#[test]
fn the_ack_of_a_refusal_has_the_invites_branch_the_refusals_tag_and_no_body() {
    let mut ours = Ours::call();
    ours.answer("486 Busy Here", "b", "");
    let ack = ours.side.sent().remove(0);
    assert!(ack.starts_with("ACK ") && ack.ends_with("Content-Length: 0\r\n\r\n"), "{ack}");
    assert_eq!((header(&ack, "Via"), to_tag(&ack).as_str()), (header(&ours.invite, "Via"), "b"));
    assert_eq!(header(&ack, "CSeq"), Some("1 ACK"));
}

#[test]
fn responses_to_nothing_that_we_asked_are_counted_and_change_nothing() {
    let mut ours = Ours::call();
    let invite = ours.invite.clone();
    for (from, to) in [
        ("CSeq: 1 INVITE", "CSeq: 2 INVITE"),
        ("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        ("branch=z9hG4bKs", "branch=z9hG4bKs0"),
    ] {
        ours.respond(&invite.replace(from, to), "486 Busy Here", "b", "");
    }
    ours.respond(
        &invite.replace("branch=z9hG4bKs", "branch=z9hG4bKs000000000000000f;x="),
        "486 Busy Here",
        "b",
        "",
    );
    assert!(ours.side.events().is_empty() && ours.side.sent().is_empty());
    assert_eq!(
        ours.side.endpoint.counts().strays,
        3,
        "the one whose branch cannot be ours is not read at all"
    );
}

#[test]
fn a_reliable_provisional_response_is_acknowledged_once_and_in_order() {
    let mut ours = Ours::call();
    let reliable = |rseq: u32| format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
    let sent = ours.answer_with("183 Session Progress", "b", &reliable(10), SDP);
    let [prack] = &sent[..] else { panic!("{sent:?}") };
    assert!(prack.starts_with("PRACK sip:b@192.0.2.44:5062 "), "{prack}");
    assert_eq!((header(prack, "RAck"), header(prack, "CSeq")), (Some("10 1 INVITE"), Some("2 PRACK")));
    assert!(matches!(&ours.side.events()[..], [Event::Progress { status: 183, answer: Some(_), .. }]));
    for rseq in [10, 12, 9] {
        assert!(ours.answer_with("180 Ringing", "b", &reliable(rseq), "").is_empty(), "{rseq}");
    }
    assert!(ours.side.events().is_empty());
    let sent = ours.answer_with("180 Ringing", "b", &reliable(11), "");
    assert_eq!((header(&sent[0], "RAck"), header(&sent[0], "CSeq")), (Some("11 1 INVITE"), Some("3 PRACK")));
    // The answer came early and reliably: the 2xx has none.
    let sent = ours.answer_with("200 OK", "b", "", "");
    assert_eq!((method(&sent[0]), header(&sent[0], "CSeq")), ("ACK", Some("1 ACK")));
    assert!(ours.side.events().iter().any(|e| matches!(e, Event::Answered { .. })));
    ours.side.endpoint.hangup(ours.now, ours.call);
    assert_eq!(header(&ours.side.sent()[0], "CSeq"), Some("4 BYE"), "numbers go on");
}

#[test]
fn each_branch_of_a_fork_has_its_own_numbers() {
    let mut ours = Ours::call();
    for (tag, rseq) in [("b", 5), ("c", 900)] {
        let sent = ours.answer_with(
            "183 Session Progress",
            tag,
            &format!("Require: 100rel\r\nRSeq: {rseq}\r\n"),
            SDP,
        );
        assert_eq!(
            (to_tag(&sent[0]), header(&sent[0], "RAck")),
            (tag.to_owned(), Some(&*format!("{rseq} 1 INVITE")))
        );
    }
}

/// A call whose trunk's name and password we have, which follows so many redirections to numbers of +1 202.
fn ready(redirects: u8) -> Ours {
    let mut side = Pair::new(|_| false).caller;
    let (ring, subject) = (side.reader.ring(), side.reader.next_subject());
    let credentials = side
        .region
        .run(|i| crate::message::auth::Credentials::seal(i.secrets, ring, subject, b"us", b"secret"))
        .unwrap();
    let Side { endpoint, reader, region, flow } = side;
    let dial = DialRules { allowed: vec!["+1202".into()], denied: vec![] };
    let mut side =
        Side { endpoint, reader: reader.with_trunks(vec![TrunkRules::default()], dial), region, flow };
    let (reader, subject) = (&side.reader, side.reader.next_subject());
    let text = side
        .region
        .run(|i| {
            seal_call(
                i.secrets,
                reader,
                subject,
                "sip:+12025550199@192.0.2.9",
                "<sip:a@example.com>",
                "id1",
                "",
            )
        })
        .unwrap();
    let outgoing = Outgoing {
        id: None,
        ring: None,
        flow: side.flow,
        subject,
        text,
        rtp: "127.0.0.1:40000".parse().unwrap(),
        audio: sdp::offer(&Capabilities::default()),
        privacy_id: false,
        credentials: Some(credentials),
        redirects,
        silence: Some(Duration::from_secs(4)),
    };
    let now = Instant::now();
    let call = side.endpoint.invite(now, outgoing);
    let invite = side.sent().remove(0);
    Ours { side, call, invite, now }
}

#[test]
fn challenges_of_a_proxy_and_of_the_other_side_are_both_answered_but_a_wrong_password_is_not_tried_again() {
    let mut ours = ready(0);
    let challenge = |name: &str, nonce: &str| {
        format!("{name}: Digest realm=\"x\", nonce=\"{nonce}\", qop=\"auth,auth-int\"\r\n")
    };
    let sent = ours.answer_with(
        "407 Proxy Authentication Required",
        "b",
        &challenge("Proxy-Authenticate", "n1"),
        "",
    );
    assert_eq!(sent.iter().map(|t| method(t)).collect::<Vec<_>>(), ["ACK", "INVITE"]);
    assert!(header(&sent[1], "Proxy-Authorization").unwrap().contains("nonce=\"n1\""));
    let sent = ours.answer_with("401 Unauthorized", "c", &challenge("WWW-Authenticate", "n2"), "");
    let again = &sent[1];
    assert!(
        header(again, "Proxy-Authorization").is_some()
            && header(again, "Authorization").unwrap().contains("nonce=\"n2\"")
    );
    assert_eq!(header(again, "CSeq"), Some("3 INVITE"));
    let stale = challenge("WWW-Authenticate", "n3").replace("\r\n", ", stale=true\r\n");
    let sent = ours.answer_with("401 Unauthorized", "d", &stale, "");
    assert!(header(&sent[1], "Authorization").unwrap().contains("nonce=\"n3\""));
    assert!(ours.side.events().is_empty());
    let sent = ours.answer_with("401 Unauthorized", "e", &challenge("WWW-Authenticate", "n4"), "");
    assert_eq!(sent.iter().map(|t| method(t)).collect::<Vec<_>>(), ["ACK"]);
    assert!(matches!(ours.side.events()[..], [Event::Ended { cause: Cause::Refused(401), .. }]));
}

#[test]
fn a_challenge_in_an_algorithm_that_we_lack_is_passed_over_for_the_next() {
    let mut ours = ready(0);
    let lines = "WWW-Authenticate: Digest realm=\"x\", nonce=\"a\", algorithm=SHA-512-256\r\n\
        WWW-Authenticate: Digest realm=\"x\", nonce=\"b\", algorithm=SHA-256, opaque=\"o\"\r\n\
        WWW-Authenticate: Digest realm=\"x\", nonce=\"c\"\r\n";
    let sent = ours.answer_with("401 Unauthorized", "b", lines, "");
    let answer = header(&sent[1], "Authorization").unwrap();
    assert!(
        answer.contains("nonce=\"b\"")
            && answer.contains("algorithm=SHA-256")
            && answer.contains("opaque=\"o\"")
    );
    assert!(!answer.contains("qop"), "{answer}");
}

#[test]
fn a_redirection_is_followed_to_numbers_that_may_be_dialled_and_so_often_as_is_allowed() {
    let mut ours = ready(1);
    let lines = "Contact: <sip:+442079460123@198.51.100.1>, <sip:+12025550177@198.51.100.2:5070?Subject=x>;q=0.2\r\n\
        Contact: <sip:+12025550188@198.51.100.3>;q=0.7\r\n";
    let sent = ours.answer_with("302 Moved Temporarily", "b", lines, "");
    assert!(sent[1].starts_with("INVITE sip:+12025550188@198.51.100.3 SIP/2.0\r\n"), "{}", sent[1]);
    assert_eq!(header(&sent[1], "To"), header(&ours.invite, "To"));
    let sent = ours.answer_with("302 Moved Temporarily", "c", lines, "");
    assert_eq!(sent.len(), 1);
    assert!(matches!(ours.side.events()[..], [Event::Ended { cause: Cause::Refused(302), .. }]));
    let mut ours = ready(1);
    ours.answer_with("302 Moved Temporarily", "b", "Contact: <sip:+442079460123@198.51.100.1>\r\n", "");
    assert!(
        matches!(ours.side.events()[..], [Event::Ended { cause: Cause::Refused(302), .. }]),
        "toll fraud"
    );
}

#[test]
fn too_short_a_session_is_asked_for_again_with_what_was_wanted() {
    let mut ours = ready(0);
    assert_eq!(
        (header(&ours.invite, "Session-Expires"), header(&ours.invite, "Min-SE")),
        (Some("1800"), Some("90"))
    );
    let sent = ours.answer_with("422 Session Interval Too Small", "b", "Min-SE: 3600\r\n", "");
    assert_eq!(
        (header(&sent[1], "Session-Expires"), header(&sent[1], "Min-SE")),
        (Some("3600"), Some("3600"))
    );
    ours.answer_with("422 Session Interval Too Small", "c", "Min-SE: 3600\r\n", "");
    assert!(
        matches!(ours.side.events()[..], [Event::Ended { cause: Cause::Refused(422), .. }]),
        "no end else"
    );
}

#[test]
fn when_to_try_again_and_why_not_now_is_told() {
    let mut ours = ready(0);
    ours.answer_with(
        "503 Service Unavailable",
        "b",
        "Retry-After: 30 (later)\r\nReason: Q.850;cause=42\r\n",
        "",
    );
    let events = ours.side.events();
    let [Event::Ended { cause: Cause::Refused(503), reason, retry_after: Some(30), .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(reason.q850, Some(42));
}

#[test]
fn a_silent_peer_is_given_up_early_and_what_it_says_late_is_cancelled_or_hung_up() {
    for late in ["180 Ringing", "200 OK"] {
        let mut ours = ready(0);
        let sent = ours.side.run(ours.now, Duration::from_secs(5));
        assert_eq!(sent.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [500, 1500, 3500]);
        assert!(matches!(ours.side.events()[..], [Event::Ended { cause: Cause::TimedOut, .. }]));
        let body = if late == "200 OK" { SDP } else { "" };
        let sent = ours.answer_with(late, "b", "", body);
        let told: Vec<_> = sent.iter().map(|t| method(t)).collect();
        assert_eq!(told, if late == "200 OK" { vec!["ACK", "BYE"] } else { vec!["CANCEL"] });
        assert!(ours.side.events().is_empty());
    }
    let mut ours = ready(0);
    ours.answer("180 Ringing", "b", "");
    ours.side.run(ours.now, Duration::from_secs(100));
    assert!(!ours.side.events().iter().any(|e| matches!(e, Event::Ended { .. })), "it rings");
}

#[test]
fn a_peer_is_asked_whether_it_is_there() {
    let mut side = Pair::new(|_| false).caller;
    let now = Instant::now();
    let ping = |side: &mut Side| {
        let (reader, subject) = (&side.reader, side.reader.next_subject());
        let text = side
            .region
            .run(|i| seal_call(i.secrets, reader, subject, "sip:192.0.2.9", "<sip:192.0.2.1>", "p", ""))
            .unwrap();
        side.endpoint.ping(now, side.flow, subject, text)
    };
    let id = ping(&mut side);
    let options = side.sent().remove(0);
    assert!(options.starts_with("OPTIONS sip:192.0.2.9 SIP/2.0\r\n") && header(&options, "Allow").is_some());
    side.receive(now, response_to(&options, "200 OK", "x", "", "").as_bytes());
    assert!(matches!(side.events()[..], [Event::Pong { ping, status: Some(200) }] if ping == id));
    let id = ping(&mut side);
    side.run(now, Duration::from_secs(40));
    assert!(matches!(side.events()[..], [Event::Pong { ping, status: None }] if ping == id));
}

#[test]
fn a_peer_that_finds_every_nonce_stale_is_not_answered_for_ever() {
    let mut ours = ready(0);
    let stale = "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", qop=\"auth\", stale=true\r\n";
    let again =
        (0..10).take_while(|n| ours.answer_with("401 Unauthorized", &format!("t{n}"), stale, "").len() == 2);
    assert_eq!(again.count(), 4);
    assert!(matches!(ours.side.events()[..], [Event::Ended { cause: Cause::Refused(401), .. }]));
}

#[test]
fn a_fork_of_very_many_branches_is_acknowledged_on_some() {
    let mut ours = Ours::call();
    let sent = (0..20).map(|n| {
        ours.answer_with("183 Session Progress", &format!("t{n}"), "Require: 100rel\r\nRSeq: 5\r\n", SDP)
            .len()
    });
    assert_eq!(sent.sum::<usize>(), 8);
}

#[test]
fn a_response_with_an_unreadable_header_that_does_not_matter_is_taken_nevertheless() {
    let mut ours = Ours::call();
    let sent =
        ours.answer_with("200 OK", "b", "Expires: Thu, 01 Dec 1994 16:00:00 GMT\r\nMin-SE: soon\r\n", SDP);
    assert_eq!(sent.iter().map(|m| method(m)).collect::<Vec<_>>(), ["ACK"]);
    assert!(matches!(ours.side.events()[..], [Event::Answered { .. }]));
}

#[test]
fn a_trunks_limits_hold_for_calls_of_ours_too() {
    let mut pair = Pair::new(|_| false);
    let limits = crate::endpoint::TrunkLimits { calls: Some(1), ..Default::default() };
    pair.caller.endpoint.limit_trunks(&[limits]);
    let (first, second) = (pair.call(), pair.call());
    assert_ne!(first, second);
    let events = pair.caller.events();
    assert!(
        matches!(events[..], [Event::Ended { call, cause: Cause::OverLimit, .. }] if call == second),
        "{events:?}"
    );
    assert_eq!(pair.caller.sent().len(), 1, "nothing was sent for it");
    assert_eq!(pair.caller.endpoint.counts().over_limit, 1);
}
