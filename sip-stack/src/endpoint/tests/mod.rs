//! The endpoint on virtual time: real wire text in and out, no sockets. Numbers are of the fictional 555-01xx range.

use super::*;
use crate::dialog::Flow;
use crate::message::compose::{IN_A_ROW, Wire, Writer, seal_call};
use crate::message::headers::LocalAddress;
use crate::message::read::{AddressBook, Origin, Reader};
use crate::message::{DialRules, Protocol, TrunkId, TrunkRules};
use crate::sdp::{self, Capabilities, Direction};
use std::time::Duration;
use vault::{Policy, Region, Vault};

mod auth;
mod rel;
mod session;
mod subscribe;
mod uac;

const MEDIA: &str = "127.0.0.1:30000";
const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// An endpoint with its region and the text that it sends.
struct Side {
    endpoint: Endpoint,
    reader: Reader,
    region: Region,
    flow: Flow,
}

impl Side {
    fn new(reliable: bool) -> Self {
        Self::with(reliable, Limits::default(), vec![TrunkRules { refer: true, ..TrunkRules::default() }])
    }

    fn with(reliable: bool, limits: Limits, trunks: Vec<TrunkRules>) -> Self {
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        let book = AddressBook { numbers: vec!["12025550199".into()], adhoc_prefix: Some("conf".into()) };
        Self {
            endpoint: Endpoint::new(Times::default(), limits),
            reader: Reader::new(&vault, book).unwrap().with_trunks(trunks, DialRules::default()),
            region: vault.region().unwrap(),
            flow: Flow {
                remote: "192.0.2.1:5060".parse().unwrap(),
                local: "192.0.2.9:5060".parse().unwrap(),
                connection: 0,
                protocol: if reliable { Protocol::Tcp } else { Protocol::Udp },
                trunk: TrunkId::default(),
            },
        }
    }

    fn receive(&mut self, now: Instant, text: &[u8]) {
        self.region
            .receive(|buffer| {
                buffer[..text.len()].copy_from_slice(text);
                Ok((text.len(), ()))
            })
            .unwrap();
        let origin = Origin {
            at: std::time::SystemTime::now(),
            source: self.flow.remote,
            protocol: self.flow.protocol,
            trunk: self.flow.trunk,
            trusted: true,
            withhold: Default::default(),
        };
        let reader = &self.reader;
        let read = self.region.run(|i| reader.read(i.secrets, i.rx, origin)).unwrap();
        if let Ok(incoming) = read {
            self.endpoint.receive(now, self.flow, incoming);
        }
    }

    fn sent(&mut self) -> Vec<String> {
        let transmits: Vec<_> = std::iter::from_fn(|| self.endpoint.poll_transmit()).collect();
        let mut out = Vec::new();
        for some in transmits.chunks(IN_A_ROW) {
            let reader = &self.reader;
            let wires = some.iter().map(|t| {
                (
                    &t.wire,
                    LocalAddress { address: t.flow.local, protocol: t.flow.protocol, trunk: t.flow.trunk },
                )
            });
            let written =
                self.region.run(|i| Writer::new(i.secrets, reader).write_in_a_row(wires, i.tx)).unwrap();
            self.region.composed(written.iter().flatten().sum());
            let text = self.region.transmit(|b| String::from_utf8(b.to_vec()).unwrap());
            let mut text = text.as_str();
            for len in written.into_iter().take(some.len()) {
                let (message, rest) = text.split_at(len.unwrap());
                out.push(message.to_owned());
                text = rest;
            }
        }
        out
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    /// Runs timers up to `end` and collects what is sent, with its time after `start`.
    fn run(&mut self, start: Instant, end: Duration) -> Vec<(u128, String)> {
        let mut out: Vec<_> = self.sent().into_iter().map(|t| (0, t)).collect();
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= start + end) {
            self.endpoint.handle_timeout(at);
            out.extend(self.sent().into_iter().map(|t| ((at - start).as_millis(), t)));
        }
        out
    }

    /// The one new call among the events.
    fn invited(&mut self) -> Box<Invite> {
        let invite = self.events().into_iter().find_map(|e| match e {
            Event::Invite(invite) => Some(invite),
            _ => None,
        });
        invite.expect("an INVITE event")
    }

    fn accept(&mut self, now: Instant, call: CallId, offer: &Option<sdp::Session>) {
        let can = Capabilities::default();
        let audio = match offer {
            Some(offer) => sdp::answer(offer, &can, false).unwrap().0,
            None => sdp::offer(&can),
        };
        self.endpoint.accept(now, call, MEDIA.parse().unwrap(), audio, ReplyExtras::default());
    }
}

fn request(method: &str, to_tag: &str, branch: &str, cseq: u32, body: &str) -> Vec<u8> {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:conf1@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport\r\n\
         Record-Route: <sip:192.0.2.7;lr>\r\nMax-Forwards: 70\r\nFrom: \"Anna Example\" <sip:+12025550100@example.com>;tag=f1\r\n\
         To: <sip:conf1@example.com>{tag}\r\nCall-ID: c1@example.com\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:12025550100@192.0.2.1:5060>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The same with more header lines.
fn request_with(method: &str, to_tag: &str, cseq: u32, body: &str, lines: &str) -> Vec<u8> {
    let branch = format!("z9hG4bK{method}{cseq}");
    let text = String::from_utf8(request(method, to_tag, &branch, cseq, body)).unwrap();
    text.replacen("Max-Forwards: 70\r\n", &format!("Max-Forwards: 70\r\n{lines}\r\n"), 1).into_bytes()
}

/// A response to a request of ours, with more header lines.
fn response_to(request: &str, line: &str, tag: &str, lines: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {line}\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        text += &format!("{name}: {}\r\n", header(request, name).unwrap());
    }
    let to = header(request, "To").unwrap();
    let tag = if to.contains("tag=") { String::new() } else { format!(";tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let contact = if lines.contains("Contact:") { "" } else { "Contact: <sip:b@192.0.2.44:5062>\r\n" };
    text + &format!("To: {to}{tag}\r\n{contact}{lines}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn status(text: &str) -> u16 {
    text[8..11].parse().unwrap()
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
}

fn to_tag(text: &str) -> String {
    header(text, "To").unwrap().split(";tag=").nth(1).expect("a To tag").to_owned()
}

/// Runs an INVITE up to its 200 and returns the call and our tag.
fn answered(side: &mut Side, now: Instant) -> (CallId, String) {
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    assert_eq!(status(&side.sent()[0]), 100);
    let invite = side.invited();
    side.accept(now, invite.call, &invite.offer);
    let sent = side.sent();
    assert_eq!((sent.len(), status(&sent[0])), (1, 200));
    (invite.call, to_tag(&sent[0]))
}

/// A call that is up.
fn confirmed(side: &mut Side, now: Instant) -> (CallId, String) {
    let (call, tag) = answered(side, now);
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    assert!(matches!(side.events()[..], [Event::Acked { answer: None, .. }]));
    (call, tag)
}

#[test]
fn a_call_from_invite_to_bye() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    let trying = side.sent();
    assert_eq!(status(&trying[0]), 100, "at once");
    assert!(!header(&trying[0], "To").unwrap().contains("tag="));
    assert_eq!(
        header(&trying[0], "Via").unwrap(),
        "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKi1;received=192.0.2.1;rport=5060"
    );
    let invite = side.invited();
    assert_eq!(format!("{:?}", invite.target), "AdHoc(conf1)");
    assert!(!format!("{invite:?}").contains("Anna"), "no name in Debug");
    side.endpoint.progress(now, invite.call, 180, None);
    side.accept(now, invite.call, &invite.offer);
    let sent = side.sent();
    assert_eq!(sent.iter().map(|t| status(t)).collect::<Vec<_>>(), [180, 200]);
    let tag = to_tag(&sent[1]);
    assert_eq!(tag, to_tag(&sent[0]), "one tag for the whole dialog");
    assert_eq!(header(&sent[1], "Record-Route"), Some("<sip:192.0.2.7;lr>"));
    assert_eq!(header(&sent[1], "Contact"), Some("<sip:conf1@192.0.2.9:5060>;isfocus"));
    assert!(sent[1].contains("m=audio 30000 RTP/AVP 0\r\n") && sent[1].contains("a=sendrecv"));
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    assert!(matches!(side.events()[..], [Event::Acked { .. }]));
    side.receive(now, &request("BYE", &tag, "z9hG4bKb1", 2, ""));
    assert_eq!(status(&side.sent()[0]), 200);
    assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::Bye, .. }]));
    side.run(now, Duration::from_secs(60));
    assert_eq!(side.endpoint.kept(), [0; 4], "nothing is kept");
}

#[test]
fn invite_2xx_is_retransmitted_until_ack() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (_, tag) = answered(&mut side, now);
    let times: Vec<_> = side.run(now, Duration::from_millis(8000)).into_iter().map(|(t, _)| t).collect();
    assert_eq!(times, [500, 1500, 3500, 7500]);
    side.receive(now + Duration::from_secs(8), &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    assert_eq!(side.run(now, Duration::from_secs(40)), []);
}

#[test]
fn a_2xx_that_is_never_acked_ends_with_bye() {
    let (mut side, now) = (Side::new(false), Instant::now());
    answered(&mut side, now);
    let sent = side.run(now, Duration::from_secs(33));
    let (at, bye) = sent.iter().find(|(_, t)| t.starts_with("BYE")).expect("a BYE");
    assert_eq!(*at, 32_000);
    // To the Record-Route's hop, for the Contact, with the caller's From as To.
    assert!(bye.starts_with("BYE sip:12025550100@192.0.2.1:5060 SIP/2.0\r\n"));
    assert_eq!(header(bye, "Route"), Some("<sip:192.0.2.7;lr>"));
    assert!(header(bye, "To").unwrap().ends_with(";tag=f1"));
    assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::NoAck, .. }]));
    side.run(now, Duration::from_secs(120));
    assert_eq!(side.endpoint.kept(), [0; 4]);
}

#[test]
fn an_in_dialog_request_of_ours_goes_to_the_first_route() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, _) = confirmed(&mut side, now);
    side.endpoint.hangup(now, call);
    let transmit = side.endpoint.poll_transmit().unwrap();
    assert_eq!(transmit.flow.remote, "192.0.2.7:5060".parse().unwrap());
}

#[test]
fn a_retransmitted_invite_gets_the_same_response_and_no_second_call() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let invite = request("INVITE", "", "z9hG4bKi1", 1, SDP);
    side.receive(now, &invite);
    let first = side.sent();
    side.receive(now, &invite);
    side.receive(now, &invite);
    assert_eq!(side.sent(), [first[0].clone(), first[0].clone()]);
    assert_eq!(side.events().len(), 1);
}

#[test]
fn a_request_that_comes_again_over_another_stream_is_answered_there() {
    let (mut side, now) = (Side::new(true), Instant::now());
    for connection in [5, 6] {
        side.flow.connection = connection;
        side.receive(now, &request("OPTIONS", "", "z9hG4bKo1", 1, ""));
        let answer = side.endpoint.poll_transmit().expect("an answer");
        assert_eq!(answer.flow.connection, connection);
    }
    assert_eq!(side.endpoint.counts().repeats, 1);
}

#[test]
fn the_same_request_over_another_way_is_482() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    side.sent();
    side.receive(now, &request("INVITE", "", "z9hG4bKi2", 1, SDP));
    assert_eq!(status(&side.sent()[0]), 482);
    assert_eq!(side.events().len(), 1);
}

#[test]
fn cancel_before_the_answer_gets_200_and_the_invite_487() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    side.sent();
    side.receive(now, &request("CANCEL", "", "z9hG4bKi1", 1, ""));
    let sent = side.sent();
    assert_eq!(sent.iter().map(|t| status(t)).collect::<Vec<_>>(), [200, 487]);
    assert!(header(&sent[0], "CSeq").unwrap().ends_with("CANCEL"));
    assert!(side.events().iter().any(|e| matches!(e, Event::Ended { cause: Cause::Cancelled, .. })));
    side.receive(now, &request("ACK", &to_tag(&sent[1]), "z9hG4bKi1", 1, ""));
    side.run(now, Duration::from_secs(60));
    assert_eq!(side.endpoint.kept(), [0; 4]);
}

#[test]
fn cancel_after_the_answer_changes_nothing_and_of_nothing_is_481() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (_, tag) = answered(&mut side, now);
    side.receive(now, &request("CANCEL", "", "z9hG4bKi1", 1, ""));
    assert_eq!(side.sent().iter().map(|t| status(t)).collect::<Vec<_>>(), [200]);
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    assert!(matches!(side.events()[..], [Event::Acked { .. }]));
    side.receive(now, &request("CANCEL", "", "z9hG4bKother", 1, ""));
    assert_eq!(status(&side.sent()[0]), 481);
}

#[test]
fn hold_and_resume_by_reinvite() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, tag) = confirmed(&mut side, now);
    let versions: Vec<u64> = ["sendonly", "sendonly", "sendrecv"]
        .iter()
        .enumerate()
        .map(|(i, direction)| {
            let n = i as u32 + 2;
            let offer = format!("{SDP}a={direction}\r\n");
            side.receive(now, &request("INVITE", &tag, &format!("z9hG4bKr{n}"), n, &offer));
            assert_eq!(status(&side.sent()[0]), 100);
            let Some(Event::Reinvite { offer, .. }) = side.events().pop() else { panic!("no re-INVITE") };
            side.accept(now, call, &offer);
            let sent = side.sent();
            let expected = if *direction == "sendrecv" { "a=sendrecv" } else { "a=recvonly" };
            assert!(sent[0].contains(expected), "{direction}");
            side.receive(now, &request("ACK", &tag, &format!("z9hG4bKra{n}"), n, ""));
            side.events();
            let origin = sent[0].lines().find(|l| l.starts_with("o=")).unwrap();
            origin.split(' ').nth(2).unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(
        [versions[1] - versions[0], versions[2] - versions[1]],
        [0, 1],
        "o= version grows with a change"
    );
    // The refreshed target's text has our tag in it already.
    side.endpoint.hangup(now, call);
    let bye = side.sent().pop().unwrap();
    assert_eq!(header(&bye, "From").unwrap().matches("tag=").count(), 1);
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, tag) = confirmed(&mut side, now);
    side.receive(now, &request("INVITE", &tag, "z9hG4bKr2", 2, SDP));
    side.sent();
    side.receive(now, &request("INVITE", &tag, "z9hG4bKr3", 3, SDP));
    let busy = side.sent().pop().unwrap();
    assert_eq!(status(&busy), 500);
    assert!(header(&busy, "Retry-After").is_some());
    side.endpoint.reject(now, call, 488, ReplyExtras { warning: Some(305), ..ReplyExtras::default() });
    let refused = side.sent().pop().unwrap();
    assert_eq!(status(&refused), 488);
    assert!(header(&refused, "Warning").unwrap().starts_with("305 192.0.2.9 "));
    side.receive(now, &request("BYE", &tag, "z9hG4bKb", 4, ""));
    assert_eq!(status(&side.sent().pop().unwrap()), 200);
}

#[test]
fn a_delayed_offer_is_answered_in_the_ack() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, ""));
    side.sent();
    let invite = side.invited();
    assert!(invite.offer.is_none());
    side.accept(now, invite.call, &None);
    let ok = side.sent().pop().unwrap();
    assert!(ok.contains("m=audio 30000 RTP/AVP 111 9 0 8 101 110\r\n"));
    side.receive(now, &request("ACK", &to_tag(&ok), "z9hG4bKa1", 1, SDP));
    let [Event::Acked { answer: Some(answer), .. }] = &side.events()[..] else { panic!("no answer") };
    let ours = sdp::offer(&Capabilities::default());
    let (agreed, audio) = sdp::accept_answer(&ours, answer, &Capabilities::default()).unwrap();
    assert_eq!((agreed.direction, audio.port), (Direction::SendRecv, 4000));
}

#[test]
fn a_delayed_offer_without_an_answer_ends_the_call() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, ""));
    side.sent();
    let invite = side.invited();
    side.accept(now, invite.call, &None);
    let ok = side.sent().pop().unwrap();
    side.receive(now, &request("ACK", &to_tag(&ok), "z9hG4bKa1", 1, ""));
    assert!(side.sent().pop().unwrap().starts_with("BYE"));
    assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::NotAcceptable, .. }]));
}

#[test]
fn requests_of_unknown_dialogs_are_481_and_old_ones_500() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (_, tag) = confirmed(&mut side, now);
    let wrong = if tag.starts_with('0') { "1111111111111111" } else { "0111111111111111" };
    for (n, (method, tag)) in [("BYE", wrong), ("INVITE", "xyz"), ("BYE", "")].iter().enumerate() {
        side.receive(now, &request(method, tag, &format!("z9hG4bKw{n}"), 5, ""));
        assert_eq!(status(&side.sent().pop().unwrap()), 481, "{method} {tag}");
    }
    side.receive(now, &request("OPTIONS", &tag, "z9hG4bKo", 0, ""));
    assert_eq!(status(&side.sent().pop().unwrap()), 500);
    // Our tag, but another Call-ID.
    let other = String::from_utf8(request("BYE", &tag, "z9hG4bKz", 9, "")).unwrap().replace("c1@", "c2@");
    side.receive(now, other.as_bytes());
    assert_eq!(status(&side.sent().pop().unwrap()), 481);
    assert!(side.events().is_empty());
}

#[test]
fn methods_and_extensions_that_we_do_not_have() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let cases = [("OPTIONS", 200), ("REGISTER", 405), ("MESSAGE", 405), ("PUBLISH", 405), ("FANCY", 501)];
    for (method, expected) in cases {
        side.receive(now, &request(method, "", &format!("z9hG4bK{method}"), 1, ""));
        let sent = side.sent().pop().unwrap();
        assert_eq!(status(&sent), expected, "{method}");
        let allow = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, SUBSCRIBE, NOTIFY, REFER";
        assert_eq!(header(&sent, "Allow"), Some(allow), "{method}");
        assert_eq!(header(&sent, "Supported"), Some("100rel, timer, replaces"), "{method}");
    }
    let required = String::from_utf8(request("INVITE", "", "z9hG4bKq", 2, SDP))
        .unwrap()
        .replace("Max-Forwards: 70", "Require: 100rel, x-new, path");
    side.receive(now, required.as_bytes());
    let sent = side.sent().pop().unwrap();
    assert_eq!((status(&sent), header(&sent, "Unsupported")), (420, Some("x-new, path")));
}

#[test]
fn a_message_of_the_largest_size_fits_a_region() {
    let (mut side, now) = (Side::new(true), Instant::now());
    let plain = String::from_utf8(request("INVITE", "", "z9hG4bKlong", 1, SDP)).unwrap();
    let mut long = String::new();
    while long.len() + plain.len() < 57_000 {
        long += &format!("Record-Route: <sip:192.0.2.7;lr;x={}>\r\n", "r".repeat(8_000));
    }
    let text = plain.replacen("Max-Forwards", &format!("{long}Max-Forwards"), 1);
    assert!(text.len() > 55_000 && text.len() <= 65_536);
    side.receive(now, text.as_bytes());
    let invite = side.invited();
    side.accept(now, invite.call, &invite.offer);
    let sent = side.sent();
    assert_eq!(sent.iter().map(|t| status(t)).collect::<Vec<_>>(), [100, 200]);
    assert_eq!(sent[1].matches("Record-Route").count(), long.matches("Record-Route").count() + 1);
}

#[test]
fn keys_by_info_are_told_once_and_what_is_none_is_not() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, tag) = answered(&mut side, now);
    side.events();
    let info = |n: u32, to: &str, kind: &str, body: &str| {
        let text = String::from_utf8(request("INFO", to, &format!("z9hG4bKf{n}"), n, body)).unwrap();
        text.replace("application/sdp", kind).into_bytes()
    };
    let relay = "application/dtmf-relay";
    for (n, kind, body, expected, key) in [
        (2, relay, "Signal=5\r\nDuration=160\r\n", 200, Some('5')),
        (3, relay, "Duration = 160\r\nSIGNAL = * ", 200, Some('*')),
        (4, relay, "Signal=11", 200, Some('#')),
        (5, relay, "Signal=d", 200, Some('D')),
        (6, relay, "Signal=16", 200, None),
        (7, relay, "Signal=", 200, None),
        (8, relay, "Duration=160", 400, None),
        (9, "Application/DTMF;x=y", " 7\r\n", 200, Some('7')),
        (10, "application/dtmf", "77", 200, None),
        (11, "application/broadsoft", "event flashhook", 415, None),
        (12, relay, "", 200, None),
    ] {
        let text = info(n, &tag, kind, body);
        side.receive(now, &text);
        let sent: Vec<_> = side.sent().iter().map(|t| status(t)).collect();
        assert_eq!(sent, [expected], "{kind} {body}");
        side.receive(now, &text);
        side.sent();
        let keys: Vec<_> = side
            .events()
            .into_iter()
            .map(|e| {
                assert!(format!("{e:?}").ends_with("key: Digit(_) }"), "not in Debug");
                let Event::Digit { call: of, key } = e else { panic!("{e:?}") };
                assert_eq!(of, call);
                key.key()
            })
            .collect();
        assert_eq!(keys, Vec::from_iter(key), "{kind} {body}");
    }
    side.receive(now, &info(20, "", relay, "Signal=5"));
    assert_eq!((status(&side.sent()[0]), side.events().len()), (481, 0));
}

#[test]
fn draining_and_full_endpoints_say_503_with_retry_after() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.endpoint.set_available(false);
    for (method, branch) in [("INVITE", "z9hG4bK1"), ("OPTIONS", "z9hG4bK2")] {
        side.receive(now, &request(method, "", branch, 1, ""));
        let sent = side.sent().pop().unwrap();
        assert_eq!((status(&sent), header(&sent, "Retry-After")), (503, Some("5")), "{method}");
    }
    assert!(side.events().is_empty());
}

#[test]
fn calls_beyond_the_admission_queue_are_503_until_some_are_answered() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.endpoint.limits.unanswered = 2;
    let invite = |side: &mut Side, n: u32| {
        let text = String::from_utf8(request("INVITE", "", &format!("z9hG4bKn{n}"), n, SDP)).unwrap();
        side.receive(now, text.replace("c1@", &format!("n{n}@")).as_bytes());
        status(side.sent().last().unwrap())
    };
    assert_eq!([invite(&mut side, 1), invite(&mut side, 2), invite(&mut side, 3)], [100, 100, 503]);
    let first = side.invited();
    side.accept(now, first.call, &first.offer);
    side.sent();
    assert_eq!(invite(&mut side, 4), 100);
    assert_eq!(invite(&mut side, 5), 503);
}

#[test]
fn calls_and_transactions_beyond_their_limits_are_503_and_nothing_is_kept() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.endpoint.limits.calls = 1;
    let (call, tag) = answered(&mut side, now);
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    let second = String::from_utf8(request("INVITE", "", "z9hG4bKi2", 1, SDP)).unwrap().replace("c1@", "c2@");
    side.receive(now, second.as_bytes());
    let refused = side.sent().pop().unwrap();
    assert_eq!((status(&refused), header(&refused, "Retry-After")), (503, Some("5")));
    side.endpoint.hangup(now, call);
    assert!(side.sent().pop().unwrap().starts_with("BYE"), "the call that there is goes on");

    let mut side = Side::new(false);
    side.endpoint.limits.transactions = 2;
    for n in 1..=2 {
        side.receive(now, &request("OPTIONS", "", &format!("z9hG4bKo{n}"), n, ""));
        assert_eq!(status(&side.sent().pop().unwrap()), 200);
    }
    let kept = side.endpoint.kept();
    for n in 3..6 {
        side.receive(now, &request("OPTIONS", "", &format!("z9hG4bKo{n}"), n, ""));
        let refused = side.sent().pop().unwrap();
        assert_eq!((status(&refused), header(&refused, "Retry-After")), (503, Some("5")));
    }
    assert_eq!(side.endpoint.kept(), kept);
}

#[test]
fn an_early_hangup_refuses_and_one_before_the_ack_waits_for_it() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, tag) = answered(&mut side, now);
    side.endpoint.hangup(now, call);
    assert!(side.sent().is_empty(), "RFC 3261 section 15: no BYE before the ACK");
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    assert!(side.sent().pop().unwrap().starts_with("BYE"));
    let mut side = Side::new(false);
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    side.sent();
    let call = side.invited().call;
    side.endpoint.hangup(now, call);
    assert_eq!(status(&side.sent().pop().unwrap()), 480);
}

#[test]
fn responses_go_to_the_source_with_rport_and_to_the_vias_port_without() {
    let now = Instant::now();
    for (via, expected) in [
        ("SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKx;rport", "192.0.2.1:5060"),
        ("SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKx", "192.0.2.1:5062"),
        ("SIP/2.0/UDP host.example.com;branch=z9hG4bKx", "192.0.2.1:5060"),
        ("SIP/2.0/UDP [2001:db8::1]:5064;branch=z9hG4bKx", "192.0.2.1:5064"),
    ] {
        let mut side = Side::new(false);
        let text = String::from_utf8(request("OPTIONS", "", "z9hG4bKx", 1, "")).unwrap();
        let text = text.replace("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport", via);
        side.receive(now, text.as_bytes());
        let transmit = side.endpoint.poll_transmit().unwrap();
        assert_eq!(transmit.flow.remote, expected.parse().unwrap(), "{via}");
        side.endpoint.transmits.push_front(transmit);
        let sent = side.sent().pop().unwrap();
        assert!(header(&sent, "Via").unwrap().contains(";received=192.0.2.1"), "{via}");
    }
}

#[test]
fn a_keepalive_is_answered_on_streams_only() {
    let now = Instant::now();
    let mut side = Side::new(true);
    side.receive(now, b"\r\n\r\n");
    assert_eq!(side.sent(), ["\r\n"]);
    let mut side = Side::new(false);
    side.receive(now, b"\r\n\r\n");
    assert!(side.sent().is_empty());
}

#[test]
fn a_stream_is_in_use_while_a_call_that_came_over_it_lasts() {
    let (mut side, now) = (Side::new(true), Instant::now());
    side.flow.connection = 3;
    let (_, tag) = confirmed(&mut side, now);
    assert_eq!([side.endpoint.uses(3), side.endpoint.uses(4)], [true, false]);
    side.receive(now, &request("BYE", &tag, "z9hG4bKb1", 2, ""));
    assert!(!side.endpoint.uses(3));
    let mut side = Side::new(false);
    confirmed(&mut side, now);
    assert!(!side.endpoint.uses(0), "a datagram socket is no stream");
}

#[test]
fn what_is_kept_and_what_came_is_counted() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (_, tag) = confirmed(&mut side, now);
    let [calls, server, client, timers] = side.endpoint.kept();
    assert_eq!((calls, server, client), (1, 1, 0));
    assert!(timers > 0, "the INVITE's transaction ends by a timer");
    for _ in 0..2 {
        side.receive(now, &request("OPTIONS", "", "z9hG4bKo1", 5, ""));
    }
    side.receive(now, &request("BYE", "77", "z9hG4bKb1", 2, ""));
    let counts = side.endpoint.counts();
    assert_eq!((counts.requests, counts.repeats, counts.refused), (5, 1, 1));
    side.receive(now, &request("BYE", &tag, "z9hG4bKb2", 2, ""));
    assert_eq!(side.endpoint.kept()[..2], [0, 4]);
}

#[test]
fn memory_of_a_burst_goes_back_when_it_is_over() {
    let (mut side, now) = (Side::new(false), Instant::now());
    for n in 0..3000 {
        side.receive(now, &request("OPTIONS", "", &format!("z9hG4bKo{n}"), n, ""));
        side.sent();
    }
    let grown = side.endpoint.server.capacity();
    side.run(now, Duration::from_secs(40));
    assert_eq!(side.endpoint.kept(), [0; 4]);
    assert!(side.endpoint.server.capacity() < grown / 2);
}

#[test]
fn a_refusal_is_repeated_until_its_ack_at_doubling_intervals_up_to_t2() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    let call = side.invited().call;
    side.endpoint.reject(now, call, 486, ReplyExtras::default());
    let refusals: Vec<_> =
        side.run(now, Duration::from_secs(12)).into_iter().filter(|(_, t)| status(t) == 486).collect();
    assert_eq!(refusals.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 500, 1500, 3500, 7500, 11_500]);
    let tag = to_tag(&refusals[0].1);
    side.receive(now + Duration::from_secs(12), &request("ACK", &tag, "z9hG4bKi1", 1, ""));
    assert_eq!(side.run(now, Duration::from_secs(60)), []);
    assert_eq!(side.endpoint.kept(), [0; 4]);
}

#[test]
fn a_repeated_bye_is_answered_again_for_timer_j_and_unknown_after() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (_, tag) = confirmed(&mut side, now);
    let bye = request("BYE", &tag, "z9hG4bKb1", 2, "");
    let mut answered = |after| {
        side.run(now, Duration::from_secs(after));
        side.receive(now + Duration::from_secs(after), &bye);
        status(&side.sent()[0])
    };
    assert_eq!([answered(0), answered(31), answered(33)], [200, 200, 481]);
}

#[test]
fn a_refused_reinvite_whose_ack_never_comes_leaves_the_call() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, tag) = confirmed(&mut side, now);
    side.receive(now, &request("INVITE", &tag, "z9hG4bKr1", 2, SDP));
    side.endpoint.reject(now, call, 488, ReplyExtras::default());
    side.run(now, Duration::from_secs(60));
    side.events();
    let later = now + Duration::from_secs(60);
    side.receive(later, &request("BYE", &tag, "z9hG4bKb1", 3, ""));
    assert_eq!(status(&side.sent()[0]), 200);
    assert!(
        matches!(side.events()[..], [Event::Ended { cause: Cause::Bye, .. }]),
        "the user is told of its end"
    );
}

#[test]
fn a_reinvite_that_waits_when_the_call_ends_gets_487() {
    for ours in [false, true] {
        let (mut side, now) = (Side::new(false), Instant::now());
        let (call, tag) = confirmed(&mut side, now);
        side.receive(now, &request("INVITE", &tag, "z9hG4bKr1", 2, SDP));
        side.sent();
        if ours {
            side.endpoint.hangup(now, call);
        } else {
            side.receive(now, &request("BYE", &tag, "z9hG4bKb1", 3, ""));
        }
        let sent = side.sent();
        let final_response =
            sent.iter().find(|t| header(t, "CSeq") == Some("2 INVITE")).expect("a final response");
        assert_eq!(status(final_response), 487);
        let bye = sent.iter().find(|t| t.starts_with("BYE"));
        assert_eq!(bye.map(|b| header(b, "CSeq")), ours.then_some(Some("1 BYE")));
    }
}

#[test]
fn an_ack_of_another_request_or_a_broken_one_confirms_nothing() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (_, tag) = answered(&mut side, now);
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 9, ""));
    let broken = String::from_utf8(request("ACK", &tag, "z9hG4bKa2", 1, "")).unwrap();
    side.receive(now, broken.replace("Max-Forwards: 70", "Max-Forwards: many").as_bytes());
    assert!(side.events().is_empty());
    assert_eq!(side.run(now, Duration::from_secs(1)).len(), 1, "the 200 is repeated");
    side.receive(now, broken.as_bytes());
    assert!(matches!(side.events()[..], [Event::Acked { .. }]));
}

#[test]
fn the_ack_of_a_peer_without_branches_is_found_by_its_invite() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let old = |text: Vec<u8>| String::from_utf8(text).unwrap().replace("branch=z9hG4bK", "x=").into_bytes();
    side.receive(now, &old(request("INVITE", "", "z9hG4bKi1", 1, SDP)));
    side.sent();
    let invite = side.invited();
    side.accept(now, invite.call, &invite.offer);
    let tag = to_tag(&side.sent()[0]);
    side.receive(now, &old(request("ACK", &tag, "z9hG4bKi1", 1, "")));
    assert!(matches!(side.events()[..], [Event::Acked { .. }]));
    assert_eq!(side.run(now, Duration::from_secs(40)), [], "nothing is repeated");
}

#[test]
fn a_cancelled_reinvite_leaves_the_call() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, tag) = confirmed(&mut side, now);
    side.receive(now, &request("INVITE", &tag, "z9hG4bKr1", 2, SDP));
    side.sent();
    side.receive(now, &request("CANCEL", &tag, "z9hG4bKr1", 2, ""));
    assert_eq!(side.sent().iter().map(|t| status(t)).collect::<Vec<_>>(), [200, 487]);
    side.events();
    // The user's late answer has nothing to answer.
    side.accept(now, call, &None);
    assert!(side.sent().is_empty());
    side.receive(now, &request("ACK", &tag, "z9hG4bKr1", 2, ""));
    side.receive(now, &request("INVITE", &tag, "z9hG4bKr2", 3, SDP));
    assert!(matches!(side.events()[..], [Event::Reinvite { .. }]), "the next one is taken");
    side.receive(now, &request("BYE", &tag, "z9hG4bKb1", 4, ""));
    assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::Bye, .. }]));
}

#[test]
fn a_description_in_an_ack_that_answers_nothing_is_passed_over() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (_, tag) = answered(&mut side, now);
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, SDP));
    assert!(matches!(side.events()[..], [Event::Acked { answer: None, .. }]));
}

#[test]
fn messages_in_a_row_are_written_as_far_as_they_fit_and_what_is_echoed_is_never_another_s() {
    let mut side = Side::new(false);
    let now = Instant::now();
    // Two requests that are refused, with a retransmission between them.
    for branch in ["z9hG4bKa", "z9hG4bKb", "z9hG4bKa"] {
        side.receive(now, &request("BYE", "1", branch, 1, ""));
    }
    let branches: Vec<_> = side.sent().iter().map(|m| m.contains("z9hG4bKa")).collect();
    assert_eq!(branches, [true, false, true]);
    let reader = &side.reader;
    let local = LocalAddress { address: side.flow.local, protocol: Protocol::Udp, trunk: TrunkId::default() };
    let mut pongs = |room: usize| {
        let wires = [const { Wire::Pong }; 6];
        let wires = wires.iter().map(|w| (w, local));
        side.region.run(|i| Writer::new(i.secrets, reader).write_in_a_row(wires, &mut i.tx[..room])).unwrap()
    };
    assert_eq!(pongs(100), [Some(2); 4], "four at once");
    assert_eq!(pongs(5), [Some(2), Some(2), None, None], "the third has its turn later");
    assert_eq!(pongs(1), [Some(0), None, None, None], "one that fits nowhere is given up");
}

#[test]
fn options_tell_whether_a_call_would_be_taken() {
    let limits = Limits { calls: 1, ..Limits::default() };
    let (mut side, now) = (Side::with(false, limits, Vec::new()), Instant::now());
    let asked = |side: &mut Side, n: u32| {
        side.receive(now, &request("OPTIONS", "", &format!("z9hG4bKo{n}"), 10 + n, ""));
        let sent = side.sent().pop().unwrap();
        (status(&sent), header(&sent, "Retry-After").is_some())
    };
    assert_eq!(asked(&mut side, 1), (200, false));
    let (call, _) = confirmed(&mut side, now);
    assert_eq!(asked(&mut side, 2), (503, true), "full");
    side.endpoint.hangup(now, call);
    side.sent();
    assert_eq!(asked(&mut side, 3), (200, false));
    side.endpoint.set_available(false);
    assert_eq!(asked(&mut side, 4), (503, true), "draining");
}
