//! Calls of ours: two endpoints with a network between them, and one whose other end is written by hand.

use super::*;

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
                seal_call(i.secrets, reader, subject, "sip:+1-202-555-0199@192.0.2.9", from, "id1")
            })
            .unwrap();
        let outgoing = Outgoing {
            flow: self.caller.flow,
            subject,
            text,
            rtp: "127.0.0.1:40000".parse().unwrap(),
            audio: sdp::offer(&Capabilities::default()),
            privacy_id: true,
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
        let mut text = format!("SIP/2.0 {line}\r\n");
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            text += &format!("{name}: {}\r\n", header(request, name).unwrap());
        }
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        text += &format!(
            "To: {};tag={tag}\r\nContact: <sip:b{tag}@192.0.2.44:5062>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            header(request, "To").unwrap(),
            body.len()
        );
        self.side.receive(self.now, text.as_bytes());
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
