//! Subscriptions to a conference's state (RFC 6665, RFC 4575) on virtual time.

use super::*;

fn subscribe(to_tag: &str, cseq: u32, lines: &str) -> Vec<u8> {
    request_with("SUBSCRIBE", to_tag, cseq, "", lines)
}

fn begun(lines: &str) -> (Side, Instant, SubscriptionId, String) {
    let (mut side, now) = (Side::new(false), Instant::now());
    side.receive(now, &subscribe("", 1, lines));
    assert!(side.sent().is_empty(), "the user decides");
    let events = side.events();
    let [Event::Subscribe(subscribe)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(format!("{:?}", subscribe.target), "AdHoc(conf1)");
    let id = subscribe.subscription;
    side.endpoint.subscribed(now, id, Ok(()));
    let ok = side.sent().remove(0);
    assert_eq!(status(&ok), 200);
    (side, now, id, ok)
}

fn notify(side: &mut Side, now: Instant, id: SubscriptionId, document: &str) -> Option<String> {
    side.endpoint.notify(now, id, document.into()).then(|| side.sent().remove(0))
}

#[test]
fn a_subscriber_is_told_and_told_again_when_it_took_the_last() {
    let (mut side, now, id, ok) = begun("Event: conference\r\nExpires: 600");
    assert_eq!(header(&ok, "Expires"), Some("600"));
    assert_eq!(header(&ok, "Contact"), Some("<sip:conf1@192.0.2.9:5060>;isfocus"));
    let first = notify(&mut side, now, id, "<one/>").unwrap();
    assert!(first.starts_with("NOTIFY sip:12025550100@192.0.2.1:5060 SIP/2.0\r\n"), "{first}");
    assert_eq!(to_tag(&first), "f1");
    assert_eq!(header(&first, "From").unwrap().split(";tag=").nth(1), Some(&*to_tag(&ok)));
    assert_eq!(
        (header(&first, "Event"), header(&first, "Subscription-State")),
        (Some("conference"), Some("active;expires=600"))
    );
    assert_eq!(header(&first, "Content-Type"), Some("application/conference-info+xml"));
    assert!(first.ends_with("\r\n\r\n<one/>") && header(&first, "Route").is_some());
    assert!(notify(&mut side, now, id, "<two/>").is_none(), "one at a time");
    side.receive(now, response_to(&first, "200 OK", "", "", "").as_bytes());
    assert!(matches!(side.events()[..], [Event::Notified(n)] if n == id));
    let second = notify(&mut side, now + Duration::from_secs(10), id, "<two/>").unwrap();
    assert_eq!(
        (header(&second, "CSeq"), header(&second, "Subscription-State")),
        (Some("2 NOTIFY"), Some("active;expires=590"))
    );
}

#[test]
fn a_subscription_ends_at_its_time_unless_it_is_refreshed() {
    let (mut side, now, id, ok) = begun("Event: conference\r\nExpires: 100");
    let tag = to_tag(&ok);
    side.receive(now + Duration::from_secs(90), &subscribe(&tag, 2, "Event: conference\r\nExpires: 200"));
    assert_eq!(header(&side.sent()[0], "Expires"), Some("200"));
    assert!(
        matches!(&side.events()[..], [Event::Subscribe(again)] if again.subscription == id),
        "told the whole state again"
    );
    let sent = side.run(now, Duration::from_secs(300));
    let (at, last) = sent.first().unwrap();
    assert_eq!(*at, 290_000);
    assert_eq!(header(last, "Subscription-State"), Some("terminated;reason=timeout"));
    assert!(matches!(side.events()[..], [Event::Unsubscribed(n)] if n == id));
    side.receive(now, &subscribe(&tag, 3, "Event: conference"));
    assert_eq!(status(&side.sent()[0]), 481);
    side.run(now, Duration::from_secs(400));
    assert_eq!(side.endpoint.kept(), [0; 4]);
}

#[test]
fn a_subscriber_ends_it_and_who_wants_to_know_once_is_told_once() {
    let (mut side, now, id, ok) = begun("Event: conference");
    assert_eq!(header(&ok, "Expires"), Some("3600"), "RFC 4575 section 3.4");
    side.receive(now, &subscribe(&to_tag(&ok), 2, "Event: conference\r\nExpires: 0"));
    let sent = side.sent();
    assert_eq!((status(&sent[0]), header(&sent[0], "Expires")), (200, Some("0")));
    assert_eq!(header(&sent[1], "Subscription-State"), Some("terminated;reason=timeout"));
    assert!(matches!(side.events()[..], [Event::Unsubscribed(n)] if n == id));
    let (mut side, now, id, _) = begun("Event: conference\r\nExpires: 0");
    let only = notify(&mut side, now, id, "<all/>").unwrap();
    assert!(only.contains("Subscription-State: terminated") && only.ends_with("<all/>"));
    assert!(matches!(side.events()[..], [Event::Unsubscribed(_)]));
    assert!(notify(&mut side, now, id, "<more/>").is_none());
}

#[test]
fn a_subscriber_that_does_not_take_notifications_or_a_conference_that_ends() {
    for line in [Some("481 Subscription Does Not Exist"), None] {
        let (mut side, now, id, _) = begun("Event: conference");
        let first = notify(&mut side, now, id, "<one/>").unwrap();
        match line {
            Some(line) => side.receive(now, response_to(&first, line, "", "", "").as_bytes()),
            None => drop(side.run(now, Duration::from_secs(40))),
        }
        assert!(matches!(side.events()[..], [Event::Unsubscribed(n)] if n == id), "{line:?}");
    }
    let (mut side, now, id, _) = begun("Event: conference");
    side.endpoint.end_subscription(now, id);
    assert_eq!(header(&side.sent()[0], "Subscription-State"), Some("terminated;reason=noresource"));
}

#[test]
fn what_is_no_subscription_of_ours_is_refused_with_what_would_be() {
    let (mut side, now) = (Side::new(false), Instant::now());
    for (n, lines, expected, name, value) in [
        (1, "Event: presence", 489, "Allow-Events", "conference"),
        (2, "Subject: none", 489, "Allow-Events", "conference"),
        (3, "Event: conference\r\nExpires: 30", 423, "Min-Expires", "60"),
    ] {
        side.receive(now, &subscribe("", n, lines));
        let sent = side.sent().pop().unwrap();
        assert_eq!((status(&sent), header(&sent, name)), (expected, Some(value)), "{lines}");
    }
    assert!(side.events().is_empty());
    side.receive(now, &subscribe("", 4, "Event: conference"));
    let events = side.events();
    let [Event::Subscribe(subscribe)] = &events[..] else { panic!("{events:?}") };
    side.endpoint.subscribed(now, subscribe.subscription, Err(403));
    assert_eq!(status(&side.sent()[0]), 403);
    assert!(matches!(side.events()[..], [Event::Unsubscribed(_)]), "who keeps it forgets it");
    side.receive(now, &request_with("NOTIFY", "", 5, "", "Event: conference\r\nSubscription-State: active"));
    assert_eq!(status(&side.sent()[0]), 481, "we subscribe to nothing");
}

#[test]
fn subscriptions_are_bounded() {
    let limits = Limits { subscriptions: 2, ..Limits::default() };
    let (mut side, now) = (Side::with(false, limits, vec![]), Instant::now());
    for (n, expected) in [(1, 200), (2, 200), (3, 503)] {
        side.receive(now, &subscribe("", n, "Event: conference"));
        for event in side.events() {
            let Event::Subscribe(subscribe) = event else { panic!("{event:?}") };
            side.endpoint.subscribed(now, subscribe.subscription, Ok(()));
        }
        assert_eq!(status(&side.sent()[0]), expected, "{n}");
    }
}

#[test]
fn who_takes_no_conference_info_gets_406_with_what_there_is() {
    for (lines, expected) in [
        ("Event: conference\r\nAccept: application/pidf+xml", Some(406)),
        ("Event: conference\r\nAccept: text/plain, application/conference-info+xml;q=0.5", None),
        ("Event: conference\r\nAccept: */*", None),
        ("Event: presence\r\nAccept: application/pidf+xml", Some(489)),
    ] {
        let (mut side, now) = (Side::new(false), Instant::now());
        side.receive(now, &subscribe("", 1, lines));
        let sent = side.sent();
        assert_eq!(sent.first().map(|t| status(t)), expected, "{lines}");
        if expected == Some(406) {
            assert_eq!(header(&sent[0], "Accept"), Some("application/conference-info+xml"));
        }
    }
}
