//! Offers and answers as texts.

use super::super::{parse, rejected_line};
use super::*;

const OFFER: &str = "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=video 5000 RTP/AVP 31\r\na=inactive\r\n\
    m=audio 4000 RTP/AVP 18 8 0 96 101\r\na=rtpmap:96 telephone-event/48000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\na=sendonly\r\n\
    m=audio 4002 RTP/AVP 0\r\n";

#[test]
fn the_first_common_codec_of_the_offerer_is_chosen() {
    let offer = parse(OFFER.as_bytes()).unwrap();
    let (local, theirs) = answer(&offer, &Capabilities::default(), false).unwrap();
    assert_eq!(local.codec, (Encoding::Pcma, 8));
    assert_eq!(local.events(), Some(101), "the one with the codec's clock");
    assert_eq!((local.ptime, local.direction), (30, Direction::RecvOnly));
    assert_eq!((theirs.index, offer.lines), (1, 3));
    assert_eq!(theirs.rtcp().unwrap().port(), 4001);
}

#[test]
fn second_lines_are_refused_with_port_0_in_their_place() {
    let offer = parse(OFFER.as_bytes()).unwrap();
    let (audio, theirs) = answer(&offer, &Capabilities::default(), false).unwrap();
    let rtp = ([127, 0, 0, 1], 30_000).into();
    let local = Local { session: 1, version: 2, rtp, audio, place: (theirs.index, offer.lines) };
    let mut text = Vec::new();
    local.write(&mut text, |i, out| rejected_line(OFFER.as_bytes(), i, out), |_, _| {});
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<_> = text.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(lines, ["m=video 0 RTP/AVP 31", "m=audio 30000 RTP/AVP 8 101", "m=audio 0 RTP/AVP 0"]);
    let back = parse(text.as_bytes()).unwrap();
    assert_eq!(back.audio.unwrap().direction, Direction::RecvOnly);
}

#[test]
fn hold_in_each_spelling_stops_our_sending() {
    for (line, connection, expected) in [
        ("a=sendonly", "192.0.2.1", Direction::RecvOnly),
        ("a=inactive", "192.0.2.1", Direction::Inactive),
        ("a=sendrecv", "0.0.0.0", Direction::RecvOnly),
        ("a=recvonly", "192.0.2.1", Direction::SendOnly),
        ("a=recvonly", "0.0.0.0", Direction::Inactive),
        ("a=x", "192.0.2.1", Direction::SendRecv),
    ] {
        let text = format!("v=0\r\nc=IN IP4 {connection}\r\nm=audio 4000 RTP/AVP 0\r\n{line}\r\n");
        let offer = parse(text.as_bytes()).unwrap();
        let (local, _) = answer(&offer, &Capabilities::default(), false).unwrap();
        assert_eq!(local.direction, expected, "{line} {connection}");
    }
}

#[test]
fn no_common_codec_is_not_acceptable() {
    for media in
        ["audio 4000 RTP/AVP 18", "audio 4000 RTP/SAVP 0", "video 4000 RTP/AVP 0", "audio 0 RTP/AVP 0"]
    {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm={media}\r\n");
        let offer = parse(text.as_bytes()).unwrap();
        assert_eq!(answer(&offer, &Capabilities::default(), false).unwrap_err(), NotAcceptable, "{media}");
    }
}

#[test]
fn our_offer_can_be_answered() {
    let can = Capabilities::default();
    let ours = offer(&can);
    let rtp = ("2001:db8::1".parse::<std::net::IpAddr>().unwrap(), 30_000).into();
    let local = Local { session: 1, version: 1, rtp, audio: ours.clone(), place: (0, 1) };
    let mut text = Vec::new();
    local.write(&mut text, |_, _| {}, |_, _| {});
    let seen = parse(&text).unwrap();
    assert_eq!(seen.audio.as_ref().unwrap().rtp(), Some(rtp));
    let (theirs, _) =
        answer(&seen, &Capabilities { codecs: vec![Encoding::Pcma], ..Default::default() }, false).unwrap();
    let reply = Local { session: 3, version: 1, rtp, audio: theirs, place: (0, 1) };
    let mut text = Vec::new();
    reply.write(&mut text, |_, _| {}, |_, _| {});
    let (agreed, _) = accept_answer(&ours, &parse(&text).unwrap(), &can).unwrap();
    assert_eq!((agreed.codec, agreed.events()), ((Encoding::Pcma, 8), Some(101)));
}

#[test]
fn opus_is_taken_as_it_is_wanted_with_events_of_its_clock() {
    let text = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 96 9 97 98 13\r\n\
        a=fmtp:96 minptime=10; stereo=1;useinbandfec=1;usedtx=1;maxplaybackrate=16000; maxaveragebitrate=20000\r\n\
        a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/48000\r\na=rtpmap:98 telephone-event/8000\r\na=ptime:60\r\n";
    let offer = parse(text.as_bytes()).unwrap();
    let can = Capabilities::default();
    let (local, _) = answer(&offer, &can, false).unwrap();
    assert_eq!((local.codec, local.events(), local.ptime), ((Encoding::Opus, 96), Some(97), 20));
    let wanted = OpusWish {
        maxplaybackrate: 16_000,
        maxaveragebitrate: Some(20_000),
        useinbandfec: true,
        usedtx: true,
        cbr: false,
    };
    assert_eq!((local.wanted, local.comfort), (wanted, None));
    let place = (0, 1);
    let mut out = Vec::new();
    Local { session: 1, version: 1, rtp: ([192, 0, 2, 2], 4).into(), audio: local, place }.write(
        &mut out,
        |_, _| {},
        |_, _| {},
    );
    let out = String::from_utf8(out).unwrap();
    for line in
        ["m=audio 4 RTP/AVP 96 97\r\n", "a=rtpmap:96 opus/48000/2\r\n", "a=fmtp:96 useinbandfec=1\r\n"]
    {
        assert!(out.contains(line), "{out}");
    }
    let narrow = Capabilities { codecs: vec![Encoding::G722], ..can };
    let (local, _) = answer(&offer, &narrow, false).unwrap();
    assert_eq!(
        (local.codec, local.events(), local.comfort, local.ptime),
        ((Encoding::G722, 9), Some(98), Some(13), 60)
    );
    let short = text.replace("a=ptime:60", "a=maxptime:10");
    let (local, _) = answer(&parse(short.as_bytes()).unwrap(), &Capabilities::default(), false).unwrap();
    assert_eq!(local.codec.0, Encoding::G722, "no packet of Opus is that short");
    for no in ["opus/48000", "opus/48000/1", "opus/16000/2"] {
        let other = text.replace("opus/48000/2", no);
        let (local, _) = answer(&parse(other.as_bytes()).unwrap(), &Capabilities::default(), false).unwrap();
        assert_eq!(local.codec.0, Encoding::G722, "{no}");
    }
}

const KEY_30: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

fn secure_offer(lines: &str) -> String {
    format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/SAVP 0\r\n{lines}")
}

fn keys() -> MediaKeys {
    MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap()
}

/// Read as the stack does, with a new key in place of each that is taken from it.
fn read(text: &str, keys: &MediaKeys) -> (Session, usize) {
    let mut sealed = 0;
    let mut seal = |bytes: &[u8]| {
        sealed += 1;
        keys.random(bytes.len()).ok()
    };
    (super::super::parse_sealing(text.as_bytes(), &mut seal).unwrap(), sealed)
}

#[test]
fn keys_that_are_nothing_for_us_are_passed_over() {
    let keys = keys();
    let right = format!("a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}");
    for wrong in [
        // An identifier (MKI), two keys, a suite of nobody's, a key of another length, no key, a derivation rate, no encryption.
        format!("{right}|2^20|1:4"),
        format!("{right}|1:4"),
        format!("{right};inline:{KEY_30}"),
        right.replace("AES_CM_128", "F8_128"),
        right.replace("AES_CM_128_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80"),
        right.replace(KEY_30, &KEY_30[..36]),
        right.replace(KEY_30, "!!!"),
        right.replace("inline:", "uri:"),
        format!("{right} KDR=3"),
        format!("{right} UNENCRYPTED_SRTP"),
        right.replace(":7 ", ":x "),
        "a=crypto:7".to_owned(),
    ] {
        let (session, sealed) = read(&secure_offer(&format!("{wrong}\r\n")), &keys);
        assert!(session.audio.unwrap().crypto.is_empty(), "{wrong}");
        assert_eq!(sealed, 0, "{wrong}");
    }
    for fine in [right.clone(), format!("{right}|2^31"), format!("{right} WSH=64 -x"), format!("{right}=")] {
        let (session, _) = read(&secure_offer(&format!("{fine}\r\n")), &keys);
        let crypto = session.audio.unwrap().crypto;
        assert_eq!(
            crypto.iter().map(|c| (c.tag, c.suite)).collect::<Vec<_>>(),
            [(7, Suite::Cm128Sha1_80)],
            "{fine}"
        );
    }
    let (session, sealed) = read(&secure_offer(&format!("{right}\r\n").repeat(20)), &keys);
    assert_eq!((session.audio.unwrap().crypto.len(), sealed), (8, 8), "no more than that are looked at");
    let plain = secure_offer(&format!("{right}\r\n")).replace("SAVP", "AVP");
    assert!(read(&plain, &keys).0.audio.unwrap().crypto.is_empty(), "keys without SRTP");
}

#[test]
fn the_offerers_first_suite_is_answered_under_its_number_with_a_key_of_ours() {
    let keys = keys();
    let can = Capabilities { keys: Some(keys.clone()), ..Capabilities::default() };
    let gcm = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
    let text = secure_offer(&format!(
        "a=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY_30}\r\na=crypto:4 AEAD_AES_128_GCM inline:{gcm}\r\n\
         a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\r\n"
    ));
    let (offer, _) = read(&text, &keys);
    let (audio, theirs) = answer(&offer, &can, false).unwrap();
    let (ours, their) = agreed(&audio).unwrap();
    assert_eq!((ours.tag, ours.suite, their), (4, Suite::Gcm128, theirs.crypto[0]));
    assert_ne!(ours.key, their.key);
    let mut out = Vec::new();
    let local = Local { session: 1, version: 1, rtp: ([192, 0, 2, 2], 4).into(), audio, place: (0, 1) };
    local.write(
        &mut out,
        |_, _| {},
        |key, out| {
            assert_eq!(*key, ours.key);
            out.extend_from_slice(b"KEY");
        },
    );
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.contains("RTP/SAVP 0") && out.contains("a=crypto:4 AEAD_AES_128_GCM inline:KEY\r\n"),
        "{out}"
    );
    // Without keys of ours, without theirs, and against what the site wants.
    let plain = read(&text.replace("SAVP", "AVP"), &keys).0;
    let none = read(&secure_offer(""), &keys).0;
    let with = |srtp, keys| Capabilities { srtp, keys, ..Capabilities::default() };
    for (offer, can) in [
        (&offer, with(Srtp::Optional, None)),
        (&none, with(Srtp::Optional, Some(keys.clone()))),
        (&offer, with(Srtp::Off, Some(keys.clone()))),
        (&plain, with(Srtp::Required, Some(keys.clone()))),
    ] {
        assert_eq!(answer(offer, &can, false).unwrap_err(), NotAcceptable);
    }
    assert!(answer(&plain, &with(Srtp::Off, None), false).is_ok());
}

fn agreed(audio: &LocalAudio) -> Option<(Crypto, Crypto)> {
    match audio.keys.as_deref() {
        Some(LocalKeys::Agreed { ours, theirs }) => Some((*ours, *theirs)),
        _ => None,
    }
}

#[test]
fn our_offer_of_srtp_is_answered_with_srtp_or_not_at_all() {
    let keys = keys();
    let can = Capabilities { keys: Some(keys.clone()), ..Capabilities::default() };
    assert!(offer(&Capabilities::default()).secured(&[Suite::Gcm128], &Capabilities::default()).is_none());
    let ours = offer(&can).secured(&OFFERED_SUITES, &can).unwrap();
    let Some(LocalKeys::Offered(choices)) = ours.keys.as_deref() else { panic!("no keys") };
    let offered = |n: usize| choices[n].unwrap();
    let answered = |line: &str| {
        let (session, _) = read(&secure_offer(line), &keys);
        accept_answer(&ours, &session, &can).map(|(audio, _)| agreed(&audio).unwrap().0)
    };
    let right = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\r\n");
    assert_eq!(answered(&right), Ok(offered(0)));
    let better = "a=crypto:3 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==\r\n";
    assert_eq!(answered(better), Ok(offered(2)));
    for wrong in [right.replace(":1 ", ":2 "), right.replace("_80", "_32"), String::new()] {
        assert_eq!(answered(&wrong), Err(NotAcceptable), "{wrong}");
    }
    let plain = read(&secure_offer("").replace("SAVP", "AVP"), &keys).0;
    assert_eq!(accept_answer(&ours, &plain, &can).unwrap_err(), NotAcceptable);
    let secure = read(&secure_offer(&right), &keys).0;
    assert_eq!(accept_answer(&offer(&can), &secure, &can).unwrap_err(), NotAcceptable, "nobody asked for it");
}

#[test]
fn what_is_no_description() {
    for bad in [
        "",
        "v=1\r\nm=audio 1 RTP/AVP 0",
        "v=0\r\n",
        "v=0\r\nm=audio",
        "v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
        "v=0\r\nm=audio 4000 RTP/AVP 200\r\n",
        "v=0\r\nm=audio 4000 RTP/AVP\r\n",
        "v=0\r\nc=IN IP4\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\ngarbage\r\n",
        "v=0\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus\r\n",
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let many = format!("v=0\r\n{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(17));
    assert!(parse(many.as_bytes()).is_err());
}
