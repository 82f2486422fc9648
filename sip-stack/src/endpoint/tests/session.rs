//! Session timers (RFC 4028), UPDATE (RFC 3311), changes of ours with glare (RFC 3261 §14), REFER, Replaces, Session-ID and Reason.

use super::*;
use crate::endpoint::SessionPolicy;

/// A call that is up, its INVITE with `lines`; its 200 and our tag.
fn up(limits: Limits, lines: &str) -> (Side, Instant, CallId, String, String) {
    let rules = TrunkRules { refer: true, ..TrunkRules::default() };
    let (mut side, now) = (Side::with(false, limits, vec![rules]), Instant::now());
    side.receive(now, &request_with("INVITE", "", 1, SDP, lines));
    let invite = side.invited();
    side.accept(now, invite.call, &invite.offer);
    let ok = side.sent().pop().unwrap();
    assert_eq!(status(&ok), 200, "{ok}");
    let tag = to_tag(&ok);
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    side.events();
    (side, now, invite.call, tag, ok)
}

fn method(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

#[test]
fn who_refreshes_and_how_often_is_agreed_on() {
    for (lines, expires, require) in [
        ("Supported: timer\r\nSession-Expires: 1200;refresher=uac", "1200;refresher=uac", Some("timer")),
        ("Supported: timer\r\nSession-Expires: 1200;refresher=uas", "1200;refresher=uas", None),
        ("Supported: timer\r\nSession-Expires: 1200", "1200;refresher=uas", None),
        ("Supported: timer\r\nx: 7200", "1800;refresher=uas", None),
        ("Supported: timer\r\nx: 7200\r\nMin-SE: 3600", "3600;refresher=uas", None),
        ("Supported: timer", "1800;refresher=uas", None),
        ("Subject: no timer", "1800;refresher=uas", None),
        // A proxy asked; who calls knows nothing of it and cannot refresh.
        ("Session-Expires: 60;refresher=uac", "90;refresher=uas", None),
    ] {
        let (.., ok) = up(Limits::default(), lines);
        assert_eq!(
            (header(&ok, "Session-Expires"), header(&ok, "Require")),
            (Some(expires), require),
            "{lines}"
        );
    }
}

#[test]
fn too_short_a_session_is_422_with_min_se() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request_with("INVITE", "", 1, SDP, "Supported: timer\r\nSession-Expires: 60"));
    let sent = side.sent().pop().unwrap();
    assert_eq!((status(&sent), header(&sent, "Min-SE")), (422, Some("90")));
    let (mut side, now, _, tag, _) = up(Limits::default(), "Supported: timer");
    for (n, method, body) in [(2, "INVITE", SDP), (3, "UPDATE", "")] {
        side.receive(now, &request_with(method, &tag, n, body, "Supported: timer\r\nSession-Expires: 60"));
        let sent = side.sent().pop().unwrap();
        assert_eq!((status(&sent), header(&sent, "Min-SE")), (422, Some("90")), "{method}");
    }
    assert!(side.events().is_empty());
}

#[test]
fn we_refresh_at_half_time_by_update_where_it_is_taken() {
    let (mut side, now, _, _, _) =
        up(Limits::default(), "Supported: timer\r\nAllow: INVITE, UPDATE\r\nSession-Expires: 200");
    let sent = side.run(now, Duration::from_secs(100));
    let (at, update) = sent.first().unwrap();
    assert_eq!((*at, method(update)), (100_000, "UPDATE"));
    assert_eq!(header(update, "Session-Expires"), Some("200;refresher=uac"));
    assert!(
        update.ends_with("Content-Length: 0\r\n\r\n")
            && header(update, "Contact").unwrap().contains("isfocus")
    );
    let then = now + Duration::from_secs(100);
    side.receive(
        then,
        response_to(update, "200 OK", "", "Session-Expires: 200;refresher=uac\r\n", "").as_bytes(),
    );
    let sent = side.run(now, Duration::from_secs(200));
    assert_eq!(sent.iter().map(|(t, m)| (*t, method(m))).collect::<Vec<_>>(), [(200_000, "UPDATE")]);
    assert!(side.events().is_empty(), "the user need not know");
}

#[test]
fn we_refresh_by_reinvite_with_the_same_description_where_update_is_not_taken() {
    for lines in ["Session-Expires: 200", "Allow: INVITE, UPDATE\r\nSession-Expires: 200"] {
        let (mut side, now, _, _, ok) = up(Limits::default(), lines);
        let mut sent = side.run(now, Duration::from_secs(100));
        let then = now + Duration::from_secs(100);
        if method(&sent[0].1) == "UPDATE" {
            // It says so, but does not take it.
            side.receive(then, response_to(&sent[0].1, "501 Not Implemented", "", "", "").as_bytes());
            sent = side.sent().into_iter().map(|t| (100_000, t)).collect();
        }
        let invite = &sent[0].1;
        assert_eq!(method(invite), "INVITE", "{lines}");
        let line = |text: &str| text.lines().find(|l| l.starts_with("o=")).unwrap().to_owned();
        assert_eq!(line(invite), line(&ok), "the same version");
        side.receive(then, response_to(invite, "200 OK", "", "", SDP).as_bytes());
        let ack = side.sent().remove(0);
        assert_eq!(
            (method(&ack), header(&ack, "CSeq").unwrap()),
            ("ACK", &*header(invite, "CSeq").unwrap().replace("INVITE", "ACK"))
        );
        side.receive(then, response_to(invite, "200 OK", "", "", SDP).as_bytes());
        assert_eq!(side.sent(), [ack], "repeated");
        let sent = side.run(now, Duration::from_secs(1000));
        assert_eq!(sent[0].0, 1_000_000, "1800 s without a word of the peer's: half of it later");
        assert!(side.events().is_empty());
    }
}

#[test]
fn without_their_refresh_the_call_ends_with_bye_a_little_before_its_time() {
    let (mut side, now, _, tag, _) =
        up(Limits::default(), "Supported: timer\r\nSession-Expires: 120;refresher=uac");
    let refresh =
        request_with("UPDATE", &tag, 2, "", "Supported: timer\r\nSession-Expires: 120;refresher=uac");
    side.receive(now + Duration::from_secs(60), &refresh);
    let ok = side.sent().pop().unwrap();
    assert_eq!((status(&ok), header(&ok, "Session-Expires")), (200, Some("120;refresher=uac")));
    assert_eq!(header(&ok, "Require"), Some("timer"));
    let sent = side.run(now, Duration::from_secs(400));
    let (at, bye) = sent.first().unwrap();
    assert_eq!((*at, method(bye)), (60_000 + 88_000, "BYE"), "RFC 4028 section 10: 32 s before");
    assert!(bye.contains("Reason: Q.850;cause=102\r\nReason: SIP;cause=408\r\n"));
    assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::Expired, .. }]));
}

#[test]
fn a_refresh_that_the_peer_does_not_know_or_answer_ends_the_call() {
    for answer in [Some("481 Call/Transaction Does Not Exist"), None] {
        let (mut side, now, _, _, _) = up(Limits::default(), "Session-Expires: 200");
        let invite = side.run(now, Duration::from_secs(100)).remove(0).1;
        let sent = match answer {
            Some(line) => {
                side.receive(
                    now + Duration::from_secs(100),
                    response_to(&invite, line, "", "", "").as_bytes(),
                );
                side.sent()
            }
            None => side.run(now, Duration::from_secs(140)).into_iter().map(|(_, t)| t).collect(),
        };
        assert!(sent.iter().any(|t| method(t) == "BYE"), "{answer:?}: {sent:?}");
        assert!(matches!(side.events()[..], [Event::Ended { cause: Cause::TimedOut, .. }]));
    }
    let (mut side, now, _, _, _) = up(Limits::default(), "Session-Expires: 200");
    let mut tries = 0;
    // Refused each time: tried again until the time is over.
    for second in 100..200 {
        for (at, text) in side.run(now, Duration::from_secs(second)) {
            if method(&text) == "INVITE" {
                tries += 1;
                let at = now + Duration::from_millis(at as u64);
                side.receive(at, response_to(&text, "503 Service Unavailable", "", "", "").as_bytes());
                assert_eq!(method(&side.sent()[0]), "ACK");
            }
        }
    }
    assert!((2..10).contains(&tries), "{tries}");
    assert!(side.events().iter().any(|e| matches!(e, Event::Ended { cause: Cause::Expired, .. })));
}

#[test]
fn where_the_site_asks_for_no_timers_peers_still_may() {
    let limits = Limits { sessions: SessionPolicy { expires: 0, min: 90 }, ..Limits::default() };
    let (mut side, now, .., ok) = up(limits, "Supported: timer");
    assert_eq!(header(&ok, "Session-Expires"), None);
    assert_eq!(side.run(now, Duration::from_secs(7200)), []);
    let (.., ok) = up(limits, "Supported: timer\r\nSession-Expires: 600");
    assert_eq!(header(&ok, "Session-Expires"), Some("600;refresher=uas"));
}

#[test]
fn an_update_with_an_offer_is_answered_and_one_at_a_time() {
    let (mut side, now, call, tag, _) = up(Limits::default(), "Subject: x");
    let held = SDP.replace("m=audio", "a=sendonly\r\nm=audio");
    side.receive(now, &request_with("UPDATE", &tag, 2, &held, "Subject: x"));
    assert!(side.sent().is_empty());
    let events = side.events();
    let [Event::Reinvite { offer, .. }] = &events[..] else { panic!("{events:?}") };
    side.receive(now, &request_with("UPDATE", &tag, 3, SDP, "Subject: x"));
    let sent = side.sent().pop().unwrap();
    assert_eq!(status(&sent), 500);
    assert!(header(&sent, "Retry-After").unwrap().parse::<u32>().unwrap() <= 10);
    side.accept(now, call, offer);
    let sent = side.sent().pop().unwrap();
    assert_eq!((status(&sent), header(&sent, "CSeq")), (200, Some("2 UPDATE")));
    assert!(sent.contains("m=audio"));
    side.receive(now, &request_with("UPDATE", &tag, 4, SDP, "Subject: x"));
    side.events();
    side.endpoint.reject(now, call, 488, ReplyExtras::default());
    assert_eq!(status(&side.sent()[0]), 488);
    side.receive(now, &request_with("BYE", &tag, 5, "", "Subject: x"));
    assert_eq!(status(&side.sent()[0]), 200, "the call stayed");
}

fn held(side: &Side) -> (SocketAddr, crate::sdp::LocalAudio) {
    let _ = side;
    let audio = sdp::offer(&Capabilities::default());
    (MEDIA.parse().unwrap(), crate::sdp::LocalAudio { direction: Direction::Inactive, ..audio })
}

#[test]
fn a_change_of_ours_is_offered_answered_and_acked() {
    let (mut side, now, call, _, ok) = up(Limits::default(), "Subject: x");
    let (rtp, audio) = held(&side);
    side.endpoint.modify(now, call, rtp, audio.clone());
    side.endpoint.modify(now, call, rtp, audio.clone());
    assert!(matches!(side.events()[..], [Event::NotModified { status: 491, .. }]), "one at a time");
    let sent = side.sent();
    let [invite] = &sent[..] else { panic!("{sent:?}") };
    assert!(invite.contains("a=inactive") && method(invite) == "INVITE");
    let version =
        |t: &str| t.split("o=- ").nth(1).unwrap().split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(version(invite), version(&ok) + 1);
    side.receive(now, response_to(invite, "200 OK", "", "", SDP).as_bytes());
    assert_eq!(method(&side.sent()[0]), "ACK");
    assert!(matches!(side.events()[..], [Event::Modified { .. }]));
    side.endpoint.modify(now, call, rtp, audio);
    let invite = side.sent().remove(0);
    side.receive(now, response_to(&invite, "488 Not Acceptable Here", "", "", "").as_bytes());
    assert_eq!(method(&side.sent()[0]), "ACK");
    assert!(matches!(side.events()[..], [Event::NotModified { status: 488, .. }]), "the call stays");
}

#[test]
fn glare_is_491_both_ways_and_tried_again_after_the_right_random_time() {
    let (mut side, now, call, tag, _) = up(Limits::default(), "Subject: x");
    let (rtp, audio) = held(&side);
    side.endpoint.modify(now, call, rtp, audio.clone());
    let invite = side.sent().remove(0);
    side.receive(now, &request_with("INVITE", &tag, 2, SDP, "Subject: x"));
    assert_eq!(status(&side.sent()[0]), 491);
    side.receive(now, &request_with("UPDATE", &tag, 3, SDP, "Subject: x"));
    assert_eq!(status(&side.sent()[0]), 491);
    side.receive(now, response_to(&invite, "491 Request Pending", "", "", "").as_bytes());
    assert_eq!(method(&side.sent()[0]), "ACK");
    // Theirs comes first now, and ours waits for it.
    side.receive(now, &request_with("INVITE", &tag, 4, SDP, "Subject: x"));
    assert_eq!(status(&side.sent()[0]), 100);
    let events = side.events();
    let [Event::Reinvite { offer, .. }] = &events[..] else { panic!("{events:?}") };
    let sent = side.run(now, Duration::from_secs(3));
    assert!(!sent.iter().any(|(_, t)| method(t) == "INVITE"), "not while theirs is open");
    side.accept(now, call, offer);
    side.sent();
    side.receive(now, &request("ACK", &tag, "z9hG4bKa4", 4, ""));
    let sent = side.run(now, Duration::from_secs(8));
    assert!(sent.iter().any(|(_, t)| method(t) == "INVITE"), "{sent:?}");
    // Who was called waits 0 to 2 s, in steps of 10 ms.
    for _ in 0..20 {
        let (mut side, now, call, _, _) = up(Limits::default(), "Subject: x");
        side.endpoint.modify(now, call, rtp, audio.clone());
        let invite = side.sent().remove(0);
        side.receive(now, response_to(&invite, "491 Request Pending", "", "", "").as_bytes());
        side.sent();
        let sent = side.run(now, Duration::from_millis(2000));
        let (at, again) = sent.iter().find(|(_, t)| method(t) == "INVITE").expect("tried again");
        assert!(*at <= 2000 && at % 10 == 0 && header(again, "CSeq") == Some("2 INVITE"), "{at} {again}");
    }
}

#[test]
fn a_transfer_is_told_of_by_notifications_and_refusals_by_status() {
    let (mut side, now, call, tag, _) = up(Limits::default(), "Subject: x");
    let refer = |n, lines: &str| request_with("REFER", &tag, n, "", lines);
    side.receive(now, &refer(2, "Subject: none"));
    assert_eq!(status(&side.sent()[0]), 400, "without Refer-To");
    side.receive(now, &refer(3, "Refer-To: <sip:+12025550177@example.com?Replaces=x>"));
    assert!(side.sent().is_empty(), "the user decides");
    let events = side.events();
    let [Event::Refer { refer: 3, to, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(to.number.is_none(), "nothing may be dialled here");
    side.endpoint.referred(now, call, 3, Ok(()));
    let sent = side.sent();
    assert_eq!(status(&sent[0]), 202);
    assert_eq!((method(&sent[1]), header(&sent[1], "Event")), ("NOTIFY", Some("refer;id=3")));
    assert!(sent[1].ends_with("SIP/2.0 100 Trying\r\n"), "{}", sent[1]);
    assert_eq!(header(&sent[1], "Content-Type"), Some("message/sipfrag;version=2.0"));
    assert!(header(&sent[1], "Subscription-State").unwrap().starts_with("active"));
    side.endpoint.refer_progress(now, call, 3, 200);
    let last = side.sent().remove(0);
    assert!(last.ends_with("SIP/2.0 200 OK\r\n"));
    assert_eq!(header(&last, "Subscription-State"), Some("terminated;reason=noresource"));
    side.receive(now, &refer(4, "Refer-To: <sip:+12025550177@example.com>"));
    side.events();
    side.endpoint.referred(now, call, 4, Err(603));
    assert_eq!(status(&side.sent()[0]), 603);
    let hops = String::from_utf8(refer(5, "Refer-To: <sip:a@example.com>")).unwrap();
    side.receive(now, hops.replace("Max-Forwards: 70", "Max-Forwards: 0").as_bytes());
    assert_eq!(status(&side.sent()[0]), 483);
    side.receive(now, &request_with("REFER", "", 6, "", "Refer-To: <sip:a@example.com>"));
    assert_eq!(status(&side.sent()[0]), 403, "of nobody who is in a call");
}

#[test]
fn a_call_takes_the_place_of_one_that_is_there_and_of_no_other() {
    let (mut side, now, call, tag, _) = up(Limits::default(), "Subject: x");
    let invite = |n: u32, replaces: &str| {
        let text =
            String::from_utf8(request_with("INVITE", "", 10 + n, SDP, &format!("Replaces: {replaces}")))
                .unwrap();
        text.replace("Call-ID: c1@", "Call-ID: c2@").into_bytes()
    };
    for (n, replaces, expected) in [
        (1, format!("c1@example.com;to-tag={tag};from-tag=other"), 481),
        (2, format!("c9@example.com;to-tag={tag};from-tag=f1"), 481),
        (3, "c1@example.com;to-tag=0000000000000001;from-tag=f1".to_owned(), 481),
        (4, format!("c1@example.com;to-tag={tag};from-tag=f1;early-only"), 486),
        (5, "c1@example.com;from-tag=f1".to_owned(), 400),
    ] {
        side.receive(now, &invite(n, &replaces));
        assert_eq!(status(&side.sent()[0]), expected, "{replaces}");
        assert!(side.events().is_empty());
    }
    side.receive(now, &invite(6, &format!("c1@example.com;from-tag=f1;to-tag={tag}")));
    assert_eq!(side.invited().replaces, Some(call));
}

#[test]
fn a_sessions_identifier_is_answered_with_ours_and_kept() {
    let theirs = "ab30317f1a784dc48ff824d0d3715d86";
    let (mut side, now, call, _, ok) =
        up(Limits::default(), &format!("Session-ID: {theirs};remote={}", "0".repeat(32)));
    let ids = header(&ok, "Session-ID").unwrap().to_owned();
    let (ours, remote) = ids.split_once(";remote=").unwrap();
    assert!(ours.len() == 32 && ours != "0".repeat(32) && remote == theirs);
    side.endpoint.hangup(now, call);
    assert_eq!(header(&side.sent()[0], "Session-ID"), Some(&*ids));
    let (.., ok) = up(Limits::default(), "Subject: x");
    assert_eq!(header(&ok, "Session-ID"), None);
}

#[test]
fn why_a_peer_hangs_up_is_told() {
    let (mut side, now, _, tag, _) = up(Limits::default(), "Subject: x");
    side.receive(now, &request_with("BYE", &tag, 2, "", "Reason: Q.850;cause=31;text=\"x\""));
    let events = side.events();
    assert!(
        matches!(&events[..], [Event::Ended { cause: Cause::Bye, reason, .. }] if reason.q850 == Some(31))
    );
}

#[test]
fn bodies_that_are_encrypted_or_unknown_are_refused_with_what_would_be_taken() {
    let (mut side, now, _, tag, _) = up(Limits::default(), "Subject: x");
    let of = |method: &str, n, to: &str, kind: &str| {
        let text = String::from_utf8(request_with(method, to, n, "body", "Subject: x")).unwrap();
        text.replace("application/sdp", kind).into_bytes()
    };
    side.receive(now, &of("INVITE", 2, "", "application/pkcs7-mime;smime-type=enveloped-data"));
    assert_eq!(status(&side.sent()[0]), 493);
    for (method, n, to, accept) in [
        ("INVITE", 3, "", "application/sdp"),
        ("UPDATE", 4, &*tag, "application/sdp"),
        ("INFO", 5, &*tag, "application/dtmf-relay, application/dtmf"),
    ] {
        side.receive(now, &of(method, n, to, "text/plain"));
        let sent = side.sent().pop().unwrap();
        assert_eq!((status(&sent), header(&sent, "Accept")), (415, Some(accept)), "{method}");
    }
}

#[test]
fn a_peer_that_finds_every_session_too_short_is_not_asked_for_ever() {
    let (mut side, now, _, _, _) = up(Limits::default(), "Session-Expires: 200");
    let mut invite = side.run(now, Duration::from_secs(100)).remove(0).1;
    let then = now + Duration::from_secs(100);
    for (min, again) in [(400, true), (400, false)] {
        let refusal =
            response_to(&invite, "422 Session Interval Too Small", "", &format!("Min-SE: {min}\r\n"), "");
        side.receive(then, refusal.as_bytes());
        let sent = side.sent();
        let next = sent.iter().find(|m| method(m) == "INVITE");
        assert_eq!(next.is_some(), again);
        if let Some(next) = next {
            assert_eq!(header(next, "Session-Expires"), Some("400;refresher=uac"));
            invite = next.clone();
        }
    }
}

#[test]
fn a_reinvites_ack_has_its_number_whatever_was_sent_meanwhile_and_is_repeated_during_the_next_change() {
    let (mut side, now, call, tag, _) = up(Limits::default(), "Subject: x");
    let (rtp, audio) = held(&side);
    side.receive(now, &request_with("REFER", &tag, 2, "", "Refer-To: <sip:a@example.com>"));
    side.endpoint.modify(now, call, rtp, audio.clone());
    let first = side.sent().remove(0);
    side.endpoint.referred(now, call, 2, Ok(()));
    side.sent();
    side.receive(now, response_to(&first, "200 OK", "", "", SDP).as_bytes());
    let ack = side.sent().remove(0);
    assert_eq!((header(&first, "CSeq"), header(&ack, "CSeq")), (Some("1 INVITE"), Some("1 ACK")));
    let audio = crate::sdp::LocalAudio { direction: Direction::SendRecv, ..audio };
    side.endpoint.modify(now, call, rtp, audio);
    assert_eq!(header(&side.sent()[0], "CSeq"), Some("3 INVITE"));
    side.receive(now, response_to(&first, "200 OK", "", "", SDP).as_bytes());
    assert_eq!(side.sent(), [ack], "of the one before");
}

#[test]
fn one_transfer_waits_at_a_time_and_is_answered_when_the_call_ends() {
    let (mut side, now, call, tag, _) = up(Limits::default(), "Subject: x");
    for (n, expected) in [(2, None), (3, Some(500))] {
        side.receive(now, &request_with("REFER", &tag, n, "", "Refer-To: <sip:a@example.com>"));
        assert_eq!(side.sent().first().map(|m| status(m)), expected);
    }
    side.endpoint.hangup(now, call);
    let sent = side.sent();
    assert!(
        sent.iter().any(|m| m.starts_with("SIP/2.0 487") && header(m, "CSeq") == Some("2 REFER")),
        "{sent:?}"
    );
}

#[test]
fn a_call_of_one_trunk_is_not_another_trunks_to_take() {
    let (mut side, now, _, tag, _) = up(Limits::default(), "Subject: x");
    side.flow.trunk = TrunkId(1);
    let lines = format!("Replaces: c1@example.com;from-tag=f1;to-tag={tag}");
    let text = String::from_utf8(request_with("INVITE", "", 20, SDP, &lines)).unwrap();
    side.receive(now, text.replace("Call-ID: c1@", "Call-ID: c2@").as_bytes());
    assert_eq!(status(&side.sent()[0]), 403);
    assert!(side.events().is_empty());
}

#[test]
fn an_update_before_the_answer_changes_nothing_of_what_the_invite_asked_for() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(
        now,
        &request_with("INVITE", "", 1, SDP, "Supported: timer\r\nSession-Expires: 600;refresher=uac"),
    );
    let invite = side.invited();
    side.endpoint.progress(now, invite.call, 180, None);
    let tag = to_tag(side.sent().last().unwrap());
    side.receive(now, &request_with("UPDATE", &tag, 2, "", "Subject: x"));
    assert_eq!(status(&side.sent()[0]), 200);
    side.accept(now, invite.call, &invite.offer);
    assert_eq!(header(&side.sent()[0], "Session-Expires"), Some("600;refresher=uac"));
}

#[test]
fn a_target_refresh_without_record_route_keeps_the_dialogs_routes() {
    for (route, uri, routes) in [
        ("<sip:192.0.2.7;lr>", "sip:new@192.0.2.30:5070", "<sip:192.0.2.7;lr>"),
        // RFC 3261 §12.2.1.1: a strict router takes the Request-URI.
        ("<sip:192.0.2.7>", "sip:192.0.2.7", "<sip:new@192.0.2.30:5070>"),
    ] {
        let (mut side, now) = (Side::new(false), Instant::now());
        let with = |bytes: Vec<u8>, to: &str| {
            let text = String::from_utf8(bytes).unwrap();
            text.replacen("Record-Route: <sip:192.0.2.7;lr>\r\n", to, 1).into_bytes()
        };
        let line = format!("Record-Route: {route}\r\n");
        side.receive(now, &with(request("INVITE", "", "z9hG4bKi1", 1, SDP), &line));
        let invite = side.invited();
        side.accept(now, invite.call, &invite.offer);
        let tag = to_tag(&side.sent().pop().unwrap());
        side.receive(now, &with(request("ACK", &tag, "z9hG4bKa1", 1, ""), ""));
        // Few proxies repeat it in requests of the dialog.
        let update = String::from_utf8(with(request("UPDATE", &tag, "z9hG4bKu1", 2, ""), "")).unwrap();
        side.receive(now, update.replace("12025550100@192.0.2.1:5060", "new@192.0.2.30:5070").as_bytes());
        assert_eq!(status(&side.sent()[0]), 200);
        side.endpoint.hangup(now, invite.call);
        let flow = side.endpoint.poll_transmit().unwrap();
        assert_eq!(flow.flow.remote, "192.0.2.7:5060".parse().unwrap());
        side.endpoint.transmits.push_front(flow);
        let bye = side.sent().remove(0);
        assert_eq!(bye.lines().next(), Some(&*format!("BYE {uri} SIP/2.0")));
        assert_eq!(header(&bye, "Route"), Some(routes));
    }
}

#[test]
fn an_answer_without_contact_leaves_the_target_as_it_was() {
    let (mut side, now, call, _, _) = up(Limits::default(), "Supported: timer");
    side.endpoint.modify(now, call, MEDIA.parse().unwrap(), sdp::offer(&Capabilities::default()));
    let invite = side.sent().remove(0);
    let ok = response_to(&invite, "200 OK", "", "", SDP).replace("Contact: <sip:b@192.0.2.44:5062>\r\n", "");
    side.receive(now, ok.as_bytes());
    let ack = side.sent().remove(0);
    assert_eq!(ack.split(' ').nth(1), invite.split(' ').nth(1));
}

#[test]
fn what_is_given_up_and_never_answered_is_forgotten() {
    let (mut side, now, call, tag, _) = up(Limits::default(), "Supported: timer");
    side.endpoint.modify(now, call, MEDIA.parse().unwrap(), sdp::offer(&Capabilities::default()));
    let invite = side.sent().remove(0);
    side.receive(now, response_to(&invite, "100 Trying", "", "", "").as_bytes());
    side.receive(now, &request("BYE", &tag, "z9hG4bKb1", 2, ""));
    side.run(now, Duration::from_secs(200));
    assert_eq!(side.endpoint.kept(), [0; 4], "the re-INVITE's transaction");
}

#[test]
fn a_refer_that_waits_is_answered_when_the_call_is_refused() {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &request("INVITE", "", "z9hG4bKi1", 1, SDP));
    let call = side.invited().call;
    side.endpoint.progress(now, call, 180, None);
    let tag = to_tag(&side.sent().pop().unwrap());
    side.receive(now, &request_with("REFER", &tag, 2, "", "Refer-To: <sip:+12025550143@example.com>"));
    side.endpoint.reject(now, call, 486, ReplyExtras::default());
    let answers: Vec<_> = side.sent().iter().map(|t| status(t)).collect();
    assert!(answers.contains(&486) && answers.len() == 2, "{answers:?}");
    side.run(now, Duration::from_secs(60));
    assert_eq!(side.endpoint.kept(), [0; 4]);
}

#[test]
fn an_update_that_overtakes_the_ack_is_answered() {
    let (mut side, now) = (Side::new(false), Instant::now());
    let (call, tag) = answered(&mut side, now);
    side.receive(now, &request("UPDATE", &tag, "z9hG4bKu1", 2, SDP));
    side.receive(now, &request("ACK", &tag, "z9hG4bKa1", 1, ""));
    let events = side.events();
    let offer = events.into_iter().find_map(|e| match e {
        Event::Reinvite { offer, .. } => offer,
        _ => None,
    });
    side.accept(now, call, &offer);
    let ok = side.sent().pop().unwrap();
    assert_eq!((status(&ok), header(&ok, "CSeq")), (200, Some("2 UPDATE")));
}
