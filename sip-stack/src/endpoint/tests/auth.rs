//! Digest authentication (RFC 7616, RFC 8760) as server and client, and trunks' limits, on virtual time.

use super::*;
use crate::endpoint::TrunkLimits;
use crate::message::auth::Credentials;

/// A side whose trunk must prove who it is.
fn guarded() -> (Side, Instant) {
    let mut side = Side::new(false);
    let subject = side.reader.next_subject();
    let ring = side.reader.ring();
    let requires =
        side.region.run(|i| Credentials::seal(i.secrets, ring, subject, b"carrier", b"open sesame")).unwrap();
    let Side { endpoint, reader, region, flow } = side;
    let rules = TrunkRules { requires: Some(requires), ..TrunkRules::default() };
    (
        Side { endpoint, reader: reader.with_trunks(vec![rules], DialRules::default()), region, flow },
        Instant::now(),
    )
}

/// A client that answers our challenge, made of the same parts.
fn proves(side: &mut Side, password: &[u8]) -> Credentials {
    let (ring, subject) = (side.reader.ring(), side.reader.next_subject());
    side.region.run(|i| Credentials::seal(i.secrets, ring, subject, b"carrier", password)).unwrap()
}

/// The Authorization line with which a caller of ours answers `challenge`, whose INVITE goes to `uri`.
fn answer_to(challenge: &str, password: &[u8]) -> String {
    let mut client = Side::new(false);
    let credentials = proves(&mut client, password);
    let (reader, subject) = (&client.reader, client.reader.next_subject());
    let text = client
        .region
        .run(|i| seal_call(i.secrets, reader, subject, "sip:conf1@192.0.2.9", "<sip:a@example.com>", "x", ""))
        .unwrap();
    let now = Instant::now();
    client.endpoint.invite(
        now,
        Outgoing {
            id: None,
            ring: None,
            flow: client.flow,
            subject,
            text,
            rtp: MEDIA.parse().unwrap(),
            audio: sdp::offer(&Capabilities::default()),
            privacy_id: false,
            credentials: Some(credentials),
            redirects: 0,
            silence: None,
        },
    );
    let invite = client.sent().remove(0);
    let lines: String =
        challenge.lines().filter(|l| l.starts_with("WWW-")).map(|l| format!("{l}\r\n")).collect();
    client.receive(now, response_to(&invite, "401 Unauthorized", "c", &lines, "").as_bytes());
    let sent = client.sent();
    let again = sent.iter().find(|t| t.starts_with("INVITE")).expect("tried again");
    assert_eq!(header(again, "CSeq"), Some("2 INVITE"));
    format!("Authorization: {}", header(again, "Authorization").unwrap())
}

#[test]
fn a_call_is_challenged_with_sha_256_and_md5_and_taken_with_either_answer() {
    for algorithm in ["SHA-256", "MD5"] {
        let (mut side, now) = guarded();
        side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
        let challenge = side.sent().remove(0);
        assert_eq!(status(&challenge), 401);
        let lines: Vec<&str> = challenge.lines().filter(|l| l.starts_with("WWW-Authenticate")).collect();
        assert!(lines[0].contains("algorithm=SHA-256") && lines[1].contains("algorithm=MD5"), "{lines:?}");
        assert!(side.events().is_empty());
        let one = challenge.lines().filter(|l| !l.starts_with("WWW-") || l.contains(algorithm));
        let answer = answer_to(&one.collect::<Vec<_>>().join("\n"), b"open sesame");
        assert!(
            answer.contains(&format!("algorithm={algorithm}")) && answer.contains("nc=00000001"),
            "{answer}"
        );
        let right = request_with("INVITE", "", 2, SDP, &answer);
        side.receive(now, &right);
        assert_eq!(status(&side.sent()[0]), 100);
        side.invited();
        // The same answer again, in another request.
        side.receive(now, &request_with("INVITE", "", 3, SDP, &answer));
        let again = side.sent().remove(0);
        assert!(status(&again) == 401 && again.contains("stale=true"), "a replay: {again}");
        assert_eq!(side.endpoint.counts().unauthorised, 2);
    }
}

#[test]
fn a_wrong_password_and_a_digest_of_another_request_are_challenged_again_and_at_last_not_answered() {
    let (mut side, now) = guarded();
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    let mut challenge = side.sent().remove(0);
    for n in 0..10 {
        let mut answer = answer_to(&challenge, if n == 0 { b"open sesame" } else { b"guessed" });
        if n == 0 {
            answer = answer.replace("@192.0.2.9\"", "@192.0.2.77\"");
        }
        side.receive(now, &request_with("INVITE", "", 2 + n, SDP, &answer));
        challenge = side.sent().remove(0);
        assert!(status(&challenge) == 401 && !challenge.contains("stale"), "{n}");
    }
    let answer = answer_to(&challenge, b"open sesame");
    side.receive(now, &request_with("INVITE", "", 20, SDP, &answer));
    assert!(side.sent().is_empty() && side.events().is_empty(), "silence");
    assert_eq!(side.endpoint.counts().locked_out, 1);
    let later = now + Duration::from_secs(61);
    side.receive(later, &request_with("INVITE", "", 21, SDP, &answer));
    assert_eq!(status(&side.sent()[0]), 100, "it stopped");
}

#[test]
fn signs_of_life_and_requests_of_a_dialog_need_no_proof() {
    let (mut side, now) = guarded();
    side.receive(now, &request("OPTIONS", "", "z9hG4bKo1", 1, ""));
    assert_eq!(status(&side.sent()[0]), 200);
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 2, SDP));
    let challenge = side.sent().remove(0);
    side.receive(now, &request_with("INVITE", "", 3, SDP, &answer_to(&challenge, b"open sesame")));
    let invite = side.invited();
    side.accept(now, invite.call, &invite.offer);
    let tag = to_tag(side.sent().last().unwrap());
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 3, ""));
    side.receive(now, &request("BYE", &tag, "z9hG4bKb1", 4, ""));
    assert_eq!(status(&side.sent()[0]), 200);
    for (n, method) in ["SUBSCRIBE", "REFER", "MESSAGE", "REGISTER"].into_iter().enumerate() {
        side.receive(
            now,
            &request_with(method, "", 10 + n as u32, "", "Event: conference\r\nRefer-To: <sip:a@b.example>"),
        );
        assert_eq!(status(&side.sent()[0]), 401, "{method}");
    }
}

#[test]
fn a_trunk_beyond_its_limits_gets_503_with_retry_after_and_others_go_on() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.endpoint
        .limit_trunks(&[TrunkLimits { calls: Some(2), rate: None, burst: 1 }, TrunkLimits::default()]);
    let invite = |n: u32| String::from_utf8(request("INVITE", "", &format!("z9hG4bK{n}"), n, SDP)).unwrap();
    for n in 1..=2 {
        side.receive(now, invite(n).as_bytes());
        side.invited();
    }
    side.sent();
    side.receive(now, invite(3).as_bytes());
    let refused = side.sent().remove(0);
    assert_eq!((status(&refused), header(&refused, "Retry-After")), (503, Some("5")));
    assert_eq!((side.endpoint.counts().over_limit, side.endpoint.calls_of(TrunkId(0))), (1, 2));
    side.flow.trunk = TrunkId(1);
    side.receive(now, invite(4).as_bytes());
    side.invited();
}
