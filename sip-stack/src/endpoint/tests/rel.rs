//! Reliable provisional responses (RFC 3262), as server and as client.

use super::*;

fn media() -> Option<(SocketAddr, crate::sdp::LocalAudio)> {
    let offer = sdp::parse(SDP.as_bytes()).unwrap();
    Some((MEDIA.parse().unwrap(), sdp::answer(&offer, &Capabilities::default(), false).unwrap().0))
}

/// An INVITE with `lines`, and its 183 with our description.
fn early(lines: &str, body: &str) -> (Side, Instant, CallId, String) {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request_with("INVITE", "", 1, body, lines));
    let call = side.invited().call;
    side.endpoint.progress(now, call, 183, media());
    let sent = side.sent().pop().unwrap();
    assert_eq!(status(&sent), 183);
    (side, now, call, sent)
}

fn prack(progress: &str, cseq: u32, rseq: &str, body: &str) -> Vec<u8> {
    let tag = to_tag(progress);
    request_with("PRACK", &tag, cseq, body, &format!("RAck: {rseq} 1 INVITE"))
}

fn statuses(texts: &[String]) -> Vec<u16> {
    texts.iter().map(|t| status(t)).collect()
}

#[test]
fn a_required_reliable_183_is_repeated_until_prack_and_the_200_waits_for_it() {
    let (mut side, now, call, progress) = early("Require: 100rel", SDP);
    assert_eq!(header(&progress, "Require"), Some("100rel"));
    let rseq = header(&progress, "RSeq").unwrap().to_owned();
    assert!(progress.contains("m=audio 30000") && progress.contains("isfocus"));
    side.endpoint.accept(now, call, MEDIA.parse().unwrap(), media().unwrap().1, ReplyExtras::default());
    assert!(side.sent().is_empty(), "RFC 3262 section 3: the 2xx waits");
    let sent = side.run(now, Duration::from_millis(4000));
    assert_eq!(sent.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [500, 1500, 3500]);
    assert!(sent.iter().all(|(_, t)| *t == progress));
    side.receive(now, &prack(&progress, 2, "7", ""));
    assert_eq!(statuses(&side.sent()), [481], "another number");
    side.receive(now, &prack(&progress, 3, &rseq, ""));
    let sent = side.sent();
    assert_eq!(statuses(&sent), [200, 200]);
    assert_eq!(header(&sent[0], "CSeq"), Some("3 PRACK"));
    assert!(!sent[1].contains("m=audio"), "RFC 6337: answered already");
    assert_eq!(header(&sent[1], "CSeq"), Some("1 INVITE"));
    side.receive(now, &request("ACK", &to_tag(&progress), "z9hG4bKa1", 1, ""));
    assert!(matches!(side.events()[..], [Event::Acked { answer: None, .. }]));
    side.receive(now, &prack(&progress, 4, &rseq, ""));
    assert_eq!(statuses(&side.sent()), [481], "once is enough");
}

#[test]
fn a_183_is_reliable_for_who_supports_it_when_it_carries_media_and_plain_for_who_does_not() {
    let (.., progress) = early("Supported: 100rel", SDP);
    assert!(header(&progress, "RSeq").is_some());
    let (mut side, now, call, progress) = early("Supported: timer", SDP);
    assert!(header(&progress, "RSeq").is_none() && progress.contains("m=audio"));
    side.accept(now, call, &sdp::parse(SDP.as_bytes()).ok());
    let sent = side.sent();
    assert_eq!(statuses(&sent), [200]);
    assert!(sent[0].contains("m=audio"), "what was not reliable is said again");
}

#[test]
fn without_a_prack_the_invite_is_refused_with_504() {
    let (mut side, now, _, _) = early("Require: 100rel", SDP);
    let sent = side.run(now, Duration::from_secs(40));
    let last = sent.iter().find(|(_, t)| status(t) == 504).unwrap();
    assert_eq!(last.0, 32_000);
    assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::NoAck, .. }]));
}

#[test]
fn a_delayed_offer_in_a_reliable_183_is_answered_in_the_prack() {
    let (mut side, now, call, progress) = early("Supported: 100rel", "");
    side.endpoint.accept(now, call, MEDIA.parse().unwrap(), media().unwrap().1, ReplyExtras::default());
    side.receive(now, &prack(&progress, 2, header(&progress, "RSeq").unwrap(), SDP));
    assert_eq!(statuses(&side.sent()), [200, 200]);
    assert!(matches!(&side.events()[..], [Event::EarlyAnswer { answer, .. }] if answer.audio.is_some()));
    side.receive(now, &request("ACK", &to_tag(&progress), "z9hG4bKa1", 1, ""));
    assert!(matches!(side.events()[..], [Event::Acked { answer: None, .. }]), "not waited for again");
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200_and_the_invite_after_it() {
    let (mut side, now, call, progress) = early("Require: 100rel", SDP);
    side.accept(now, call, &sdp::parse(SDP.as_bytes()).ok());
    side.receive(now, &prack(&progress, 2, header(&progress, "RSeq").unwrap(), SDP));
    let events = side.events();
    assert!(matches!(&events[..], [Event::Reinvite { offer: Some(_), .. }]), "{events:?}");
    assert!(side.sent().is_empty(), "nothing before that offer is answered");
    side.accept(now, call, &sdp::parse(SDP.as_bytes()).ok());
    let sent = side.sent();
    assert_eq!(sent.iter().map(|m| header(m, "CSeq").unwrap()).collect::<Vec<_>>(), ["2 PRACK", "1 INVITE"]);
    assert!(sent[0].contains("m=audio") && statuses(&sent) == [200, 200]);
}

#[test]
fn cancel_and_hangup_while_a_183_waits_for_its_prack() {
    let (mut side, now, _, progress) = early("Require: 100rel", SDP);
    let cancel = String::from_utf8(request("CANCEL", "", "z9hG4bKINVITE1", 1, "")).unwrap();
    side.receive(now, cancel.as_bytes());
    assert_eq!(statuses(&side.sent()), [200, 487]);
    assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::Cancelled, .. }]));
    side.receive(now, &prack(&progress, 2, header(&progress, "RSeq").unwrap(), ""));
    assert_eq!(statuses(&side.sent()), [481]);
    side.receive(now, &request("ACK", &to_tag(&progress), "z9hG4bKINVITE1", 1, ""));
    side.run(now, Duration::from_secs(60));
    assert_eq!(side.endpoint.kept(), [0; 4]);
}
