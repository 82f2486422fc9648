//! Random peers and a random user at one endpoint, under virtual time. The input is a program: each octet a choice, so that the fuzzer
//! bends whole dialogs and not single letters.

use super::{LOCAL, PEER, Stack};
use sip_stack::dialog::Flow;
use sip_stack::endpoint::{CallId, Endpoint, Event, Limits, Outgoing, SessionPolicy, SubscriptionId};
use sip_stack::message::compose::seal_call;
use sip_stack::message::headers::LocalAddress;
use sip_stack::message::{Incoming, Origin, Protocol};
use sip_stack::sdp::{self, Capabilities};
use sip_stack::transaction::Times;
use sip_stack::transport::{Frame, scan};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Steps of a program at most.
const STEPS: usize = 200;
/// Messages of ours that peers remember.
const REMEMBERED: usize = 24;

const METHODS: [&str; 16] = [
    "INVITE",
    "INVITE",
    "INVITE",
    "ACK",
    "ACK",
    "BYE",
    "CANCEL",
    "PRACK",
    "UPDATE",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "INFO",
    "OPTIONS",
    "MESSAGE",
    "PUBLISH",
];
const STATUS: [u16; 28] = [
    100, 180, 183, 183, 199, 200, 200, 200, 202, 204, 300, 302, 305, 401, 407, 404, 408, 420, 422, 481, 486,
    487, 488, 491, 500, 503, 600, 699,
];
const HEADERS: [&str; 32] = [
    "Supported: 100rel, timer, replaces",
    "Require: 100rel",
    "Require: timer",
    "Require: precondition, sotto-none",
    "Session-Expires: 90;refresher=uac",
    "Session-Expires: 90;refresher=uas",
    "x: 1800",
    "Session-Expires: 30",
    "Min-SE: 120",
    "RSeq: 1",
    "RSeq: 4294967295",
    "RAck: 1 1 INVITE",
    "RAck: 2 1 INVITE",
    "Event: conference",
    "o: refer;id=1",
    "Expires: 0",
    "Expires: 60",
    "Expires: 4294967295",
    "Refer-To: <sip:+12025550143@example.com>",
    "r: <sip:confb@192.0.2.7?Replaces=x>",
    "Replaces: c0@example.com;to-tag=1;from-tag=p0",
    "Privacy: id",
    "P-Asserted-Identity: \"Ada\" <tel:+12025550143>",
    "Reason: Q.850;cause=16",
    "Session-ID: 00000000000000000000000000000001;remote=00000000000000000000000000000000",
    "Route: <sip:192.0.2.3;lr>, <sip:192.0.2.4>",
    "Record-Route: <sip:192.0.2.5;lr>",
    "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\", algorithm=SHA-256",
    "Authorization: Digest username=\"a\", realm=\"sotto\", nonce=\"00\", uri=\"sip:x\", response=\"00\"",
    "Max-Forwards: 0",
    "Accept: application/conference-info+xml",
    "Retry-After: 1",
];
const BODIES: [(&str, &str); 8] = [
    ("", ""),
    (
        "application/sdp",
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n",
    ),
    (
        "application/sdp",
        "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=inactive\r\n",
    ),
    (
        "application/sdp",
        "v=0\r\no=- 1 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=image 4000 udptl t38\r\nm=audio 0 RTP/AVP 0\r\n",
    ),
    ("application/sdp", "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 18\r\n"),
    ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"),
    ("application/sdp", "not a description"),
    ("text/plain", "hello"),
];

/// The choices that are left.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.next() % list.len()]
    }
}

struct World<'s> {
    stack: &'s mut Stack,
    endpoint: Endpoint,
    now: Instant,
    /// What we sent last, newest last.
    sent: Vec<String>,
    /// What peers sent last.
    said: String,
    calls: Vec<CallId>,
    refers: Vec<(CallId, u32)>,
    subscriptions: Vec<SubscriptionId>,
    ended: HashSet<CallId>,
    branches: usize,
}

/// The value of a header field that stands in a message of ours, which are written in long form.
fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.split("\r\n").find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default()
}

/// With `SOTTO_FUZZ_TRACE` set, a finding's messages can be read.
#[allow(clippy::print_stderr)]
fn trace(way: &str, bytes: &[u8]) {
    static WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SOTTO_FUZZ_TRACE").is_some());
    if *WANTED {
        eprintln!("{way} {}", String::from_utf8_lossy(bytes));
    }
}

fn tag(value: &str) -> &str {
    value.split_once(";tag=").map_or("", |(_, rest)| rest.split(';').next().unwrap_or_default())
}

fn flow(protocol: Protocol) -> Flow {
    let connection = u64::from(protocol.is_reliable()) << 33;
    Flow { remote: PEER, local: LOCAL, connection, protocol, trunk: Default::default() }
}

/// A program: nothing panics, what is sent can be read again, each call ends once and is silent afterwards, and when all have hung up
/// and all timers have fired nothing is kept.
pub fn dialog(bytes: &[u8]) {
    super::STACK.with_borrow_mut(|stack| {
        let sessions = SessionPolicy { expires: 1800, ..SessionPolicy::default() };
        let limits = Limits { calls: 6, unanswered: 4, subscriptions: 3, sessions, ..Limits::default() };
        let mut world = World {
            stack,
            endpoint: Endpoint::new(Times::default(), limits),
            now: Instant::now(),
            sent: Vec::new(),
            said: String::new(),
            calls: Vec::new(),
            refers: Vec::new(),
            subscriptions: Vec::new(),
            ended: HashSet::new(),
            branches: 0,
        };
        let mut choices = Choices(bytes);
        for _ in 0..STEPS {
            if choices.0.is_empty() {
                break;
            }
            world.step(&mut choices);
            world.settle();
        }
        world.close();
    });
}

impl World<'_> {
    fn step(&mut self, c: &mut Choices<'_>) {
        let now = self.now;
        let call = |w: &Self, c: &mut Choices<'_>| {
            let place = c.next();
            w.calls.get(place % w.calls.len().max(1)).copied().unwrap_or(CallId(place as u64))
        };
        let audio = sdp::offer(&Capabilities::default());
        match c.next() % 24 {
            0..=6 => self.request(c),
            7..=10 => self.respond(c),
            11 => self.receive(c.next().is_multiple_of(2)),
            12 => {
                // A message with letters changed.
                let mut bytes = std::mem::take(&mut self.said).into_bytes();
                for _ in 0..c.next() % 4 + 1 {
                    let at = c.next() << 3 | c.next() & 7;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = c.next() as u8;
                    }
                }
                self.take(Protocol::Udp, &bytes);
            }
            13 => {
                self.now += Duration::from_millis([1, 500, 4_000, 32_000, 90_000, 3_600_000][c.next() % 6]);
                self.endpoint.handle_timeout(self.now);
            }
            14 => {
                if let Some(due) = self.endpoint.poll_timeout() {
                    self.now = due.max(now);
                    self.endpoint.handle_timeout(self.now);
                }
            }
            15 => {
                let id = call(self, c);
                self.endpoint.accept(now, id, LOCAL, audio, Default::default());
            }
            16 => {
                let (id, status) = (call(self, c), c.of(&[404u16, 486, 488, 503, 603]));
                self.endpoint.reject(now, id, status, Default::default());
            }
            17 => {
                let (id, media) = (call(self, c), c.next().is_multiple_of(2).then_some((LOCAL, audio)));
                self.endpoint.progress(now, id, c.of(&[180, 183]), media);
            }
            18 => {
                let id = call(self, c);
                self.endpoint.hangup(now, id);
            }
            19 => {
                let id = call(self, c);
                let direction = c.of(&[sdp::Direction::SendRecv, sdp::Direction::Inactive]);
                self.endpoint.modify(now, id, LOCAL, sdp::LocalAudio { direction, ..audio });
            }
            20 => self.invite(c, audio),
            21 => {
                let place = c.next();
                let Some(id) = self.subscriptions.get(place % self.subscriptions.len().max(1)).copied()
                else {
                    return;
                };
                match c.next() % 4 {
                    0 => self.endpoint.subscribed(now, id, Ok(())),
                    1 => self.endpoint.subscribed(now, id, Err(403)),
                    2 => drop(self.endpoint.notify(now, id, "<conference-info/>".into())),
                    _ => self.endpoint.end_subscription(now, id),
                }
            }
            22 => {
                let place = c.next();
                let Some((id, refer)) = self.refers.get(place % self.refers.len().max(1)).copied() else {
                    return;
                };
                match c.next() % 4 {
                    0 => self.endpoint.referred(now, id, refer, Ok(())),
                    1 => self.endpoint.referred(now, id, refer, Err(603)),
                    2 => self.endpoint.refer_progress(now, id, refer, 180),
                    _ => self.endpoint.refer_progress(now, id, refer, 200),
                }
            }
            _ => match c.next() % 3 {
                0 => self.endpoint.transport_failed(now, flow(Protocol::Tcp)),
                1 => self.endpoint.set_available(c.next().is_multiple_of(2)),
                _ => {
                    let (subject, text) = self.text(9);
                    self.endpoint.ping(now, flow(Protocol::Udp), subject, text);
                }
            },
        }
    }

    fn text(&mut self, number: usize) -> (u64, vault::Sealed<vault::SignallingText>) {
        let Stack { reader, region } = &mut *self.stack;
        let subject = reader.next_subject();
        let (target, call_id) = ("sip:+12025550143@192.0.2.1", format!("own{number}@example.com"));
        let from = "\"Sotto\" <sip:sotto@192.0.2.9>";
        let text = region.run(|i| seal_call(i.secrets, reader, subject, target, from, &call_id, ""));
        (subject, text.expect("it is sealed"))
    }

    fn invite(&mut self, c: &mut Choices<'_>, audio: sdp::LocalAudio) {
        let number = c.next() % 4;
        let (subject, text) = self.text(number);
        let protocol = c.of(&[Protocol::Udp, Protocol::Udp, Protocol::Tcp]);
        let outgoing = Outgoing {
            id: None,
            ring: None,
            flow: flow(protocol),
            subject,
            text,
            rtp: LOCAL,
            audio,
            privacy_id: number == 1,
            credentials: None,
            redirects: (number % 3) as u8,
            silence: (number == 2).then_some(Duration::from_secs(4)),
        };
        let id = self.endpoint.invite(self.now, outgoing);
        self.calls.push(id);
    }

    /// A request of a peer's: of a call of its own, or in the dialog of a message of ours.
    fn request(&mut self, c: &mut Choices<'_>) {
        let method = c.of(&METHODS);
        let dialog = c.next();
        let ours = self.sent.get(dialog >> 3).filter(|_| dialog & 4 != 0);
        let (call_id, from, to) = match ours {
            // The remote side of what we sent is the peer.
            Some(text) if text.starts_with("SIP/2.0") => (
                field(text, "Call-ID").to_owned(),
                field(text, "From").to_owned(),
                field(text, "To").to_owned(),
            ),
            Some(text) => {
                let to = field(text, "To");
                let peer =
                    if tag(to).is_empty() { format!("{to};tag=p{}", dialog & 3) } else { to.to_owned() };
                (field(text, "Call-ID").to_owned(), peer, field(text, "From").to_owned())
            }
            None => {
                let from = format!("\"Ada\" <sip:+12025550143@example.com>;tag=p{}", dialog & 1);
                (format!("c{}@example.com", dialog >> 1 & 1), from, "<sip:confa@192.0.2.9>".to_owned())
            }
        };
        let how = c.next();
        let branch = if how & 3 == 0 { self.branches } else { self.branches + 1 };
        self.branches = branch;
        let mut text = String::new();
        let user = c.of(&["confa", "confa", "confb", "nobody", "sotto"]);
        let _ = write!(text, "{method} sip:{user}@192.0.2.9 SIP/2.0\r\n");
        for hop in 0..how >> 6 {
            let _ = write!(text, "Via: SIP/2.0/UDP 192.0.2.{hop};branch=z9hG4bKh{hop}\r\n");
        }
        let _ = write!(
            text,
            "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKf{branch};rport\r\nFrom: {from}\r\nTo: {to}\r\n"
        );
        let _ = write!(text, "Call-ID: {call_id}\r\nCSeq: {} {method}\r\n", c.next() & 15);
        let _ = write!(text, "Contact: <sip:peer@192.0.2.1:5060>\r\nMax-Forwards: 70\r\n");
        self.finish(c, text, if how & 32 == 0 { Protocol::Udp } else { Protocol::Tcp });
    }

    /// A peer's response to a request of ours.
    fn respond(&mut self, c: &mut Choices<'_>) {
        let requests: Vec<_> =
            self.sent.iter().filter(|t| !t.starts_with("SIP/2.0") && !t.starts_with("ACK")).collect();
        let Some(ours) = requests.get(c.next() % requests.len().max(1)) else { return };
        let fork = c.next();
        let to = field(ours, "To");
        let to = if tag(to).is_empty() { format!("{to};tag=p{}", fork & 3) } else { to.to_owned() };
        let mut text = format!("SIP/2.0 {} x\r\n", c.of(&STATUS));
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            let _ = write!(text, "{name}: {}\r\n", field(ours, name));
        }
        let host = c.of(&["192.0.2.1:5060", "192.0.2.1:5070", "example.com"]);
        let _ = write!(text, "To: {to}\r\nContact: <sip:+12025550143@{host}>\r\n");
        self.finish(c, text, if fork & 8 == 0 { Protocol::Udp } else { Protocol::Tcp });
    }

    fn finish(&mut self, c: &mut Choices<'_>, mut text: String, protocol: Protocol) {
        for _ in 0..c.next() % 5 {
            let _ = write!(text, "{}\r\n", c.of(&HEADERS));
        }
        let (kind, body) = c.of(&BODIES);
        if !kind.is_empty() {
            let _ = write!(text, "Content-Type: {kind}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        self.said = text;
        self.receive(protocol == Protocol::Udp);
    }

    /// Takes what was said last (again).
    fn receive(&mut self, datagram: bool) {
        let said = self.said.clone();
        self.take(if datagram { Protocol::Udp } else { Protocol::Tcp }, said.as_bytes());
    }

    fn take(&mut self, protocol: Protocol, bytes: &[u8]) {
        trace("<<", bytes);
        let Some(incoming) = self.read(protocol, bytes) else { return };
        self.endpoint.receive(self.now, flow(protocol), incoming);
    }

    fn read(&mut self, protocol: Protocol, bytes: &[u8]) -> Option<Incoming> {
        let Stack { reader, region } = &mut *self.stack;
        let received = region.receive(|buffer| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok((bytes.len(), ()))
        });
        received.expect("it was received");
        let (trunk, withhold) = Default::default();
        let at = std::time::SystemTime::now();
        let origin = Origin { source: PEER, protocol, trunk, trusted: true, withhold, at };
        region.run(|i| reader.read(i.secrets, i.rx, origin)).expect("no panic").ok()
    }

    /// Takes what the endpoint sends and tells.
    fn settle(&mut self) {
        let mut sent = 0;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            sent += 1;
            assert!(sent < 200, "one step makes an endless number of messages");
            let protocol = transmit.flow.protocol;
            let local = LocalAddress { address: LOCAL, protocol, trunk: Default::default() };
            let Stack { reader, region } = &mut *self.stack;
            let written = region.run(|i| transmit.wire.write(i.secrets, reader, local, i.tx));
            let len = written.expect("no panic").expect("it can be written");
            region.composed(len);
            let mut text = String::new();
            region.transmit(|bytes| {
                assert!(
                    bytes == b"\r\n" || scan(bytes) == Frame::Message(bytes.len()),
                    "it ends where it says"
                );
                text = String::from_utf8_lossy(bytes).into_owned();
            });
            trace(">>", text.as_bytes());
            // What we write we can read.
            if text != "\r\n" {
                let fault = match self.read(protocol, text.as_bytes()) {
                    None => Some("it is malformed".to_owned()),
                    Some(Incoming::Request(r)) => r.fault.map(|f| format!("{f:?}")),
                    Some(_) => None,
                };
                // What a peer's own fields are at fault for is echoed as it came.
                let echoed = text.starts_with("SIP/2.0");
                assert!(fault.is_none() || echoed, "{fault:?}: {text}");
                if self.sent.len() == REMEMBERED {
                    self.sent.remove(0);
                }
                self.sent.push(text);
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            trace("--", format!("{event:?}").as_bytes());
            let call = match event {
                Event::Invite(invite) => {
                    self.calls.push(invite.call);
                    invite.call
                }
                Event::Refer { call, refer, .. } => {
                    self.refers.push((call, refer));
                    call
                }
                Event::Subscribe(subscribe) => {
                    if !self.subscriptions.contains(&subscribe.subscription) {
                        self.subscriptions.push(subscribe.subscription);
                    }
                    continue;
                }
                Event::Unsubscribed(id) => {
                    self.subscriptions.retain(|s| *s != id);
                    continue;
                }
                Event::Ended { call, .. } => {
                    assert!(self.ended.insert(call), "a call ends once");
                    continue;
                }
                Event::Reinvite { call, .. }
                | Event::Acked { call, .. }
                | Event::EarlyAnswer { call, .. }
                | Event::Modified { call, .. }
                | Event::NotModified { call, .. }
                | Event::Digit { call, .. }
                | Event::Progress { call, .. }
                | Event::Answered { call, .. } => call,
                Event::Notified(_) | Event::Pong { .. } => continue,
            };
            assert!(!self.ended.contains(&call), "a call that has ended is silent");
        }
    }

    /// Everybody hangs up, and all timers fire.
    fn close(&mut self) {
        for id in self.calls.clone() {
            self.endpoint.hangup(self.now, id);
        }
        for id in self.subscriptions.clone() {
            self.endpoint.end_subscription(self.now, id);
        }
        self.settle();
        for _ in 0..5_000 {
            let Some(due) = self.endpoint.poll_timeout() else { break };
            self.now = due.max(self.now + Duration::from_millis(1));
            self.endpoint.handle_timeout(self.now);
            self.settle();
        }
        assert_eq!((self.endpoint.kept(), self.endpoint.subscriptions()), ([0; 4], 0), "nothing is kept");
        assert!(self.calls.iter().all(|c| self.ended.contains(c)), "each call was told to be over");
    }
}
