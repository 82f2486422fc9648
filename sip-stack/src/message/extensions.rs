//! Header fields of extensions: numbers and words out of values. One that is malformed and matters is a fault.

use super::facts::{Extensions, Options, Package, RAck, Reason, Refresher, SessionExpires};
use super::fault::Fault;
use super::lexer::{Message, Method, Name, decimal, is_token, trim};
use super::values::params;

/// Reads them all, and tells whether one of them cannot be read: a request is then refused, of a response the rest counts.
pub(super) fn read(m: &Message<'_>) -> (Extensions, Option<Fault>) {
    let mut fault = None;
    let mut number = |name| {
        let value = number(m, name);
        if value.is_none() && m.first(name).is_some() {
            fault = Some(Fault::BAD_REQUEST);
        }
        value
    };
    let seconds = number(Name::SessionExpires);
    let mut extensions = Extensions {
        supported: options(m, Name::Supported),
        required: options(m, Name::Require),
        allows_update: allows(m, b"UPDATE"),
        session_expires: seconds.map(|seconds| SessionExpires { seconds, refresher: refresher(m) }),
        min_se: number(Name::MinSe),
        rseq: number(Name::RSeq),
        rack: m.first(Name::RAck).and_then(rack),
        expires: number(Name::Expires),
        event: m.first(Name::Event).map(package),
        session_id: m.first(Name::SessionId).and_then(session_id),
        reason: reason(m),
        retry_after: None,
        max_forwards: number(Name::MaxForwards).and_then(|n| u8::try_from(n).ok()),
    };
    if m.first(Name::RAck).is_some() && extensions.rack.is_none() {
        fault = Some(Fault::BAD_REQUEST);
    }
    extensions.retry_after = self::number(m, Name::RetryAfter);
    (extensions, fault)
}

/// Tags of a list of options that are ours; the others are dealt with where they are required.
fn options(m: &Message<'_>, name: Name) -> Options {
    let tags = m.all(name).flat_map(|v| v.split(|b| *b == b',')).map(trim);
    tags.filter_map(Options::from_tag).fold(Options::NONE, Options::with)
}

/// Option tags of Require that are not ours, as a list for Unsupported (RFC 3261 §8.2.2.3).
pub(super) fn unsupported(m: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for tag in m.all(Name::Require).flat_map(|v| v.split(|b| *b == b',')).map(trim) {
        let is_one = !tag.is_empty() && tag.iter().all(|b| is_token(*b));
        if is_one && Options::from_tag(tag).is_none() {
            out.extend_from_slice(if out.is_empty() { b"" } else { b", " });
            out.extend_from_slice(tag);
        }
    }
    out
}

fn allows(m: &Message<'_>, method: &[u8]) -> Option<bool> {
    let mut values = m.all(Name::Allow).peekable();
    values.peek()?;
    Some(values.flat_map(|v| v.split(|b| *b == b',')).any(|v| trim(v) == method))
}

/// The number that a value begins with; what may follow (a comment, parameters) is of no interest.
fn number(m: &Message<'_>, name: Name) -> Option<u32> {
    let value = m.first(name)?;
    let end = value.iter().position(|b| b";( \t".contains(b)).unwrap_or(value.len());
    decimal(&value[..end])
}

fn refresher(m: &Message<'_>) -> Option<Refresher> {
    let value = m.first(Name::SessionExpires)?;
    let text = &value[value.iter().position(|b| *b == b';')?..];
    let (_, who) = params(text).find(|(name, _)| name.eq_ignore_ascii_case(b"refresher"))?;
    match who {
        who if who.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
        who if who.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
        _ => None,
    }
}

fn rack(value: &[u8]) -> Option<RAck> {
    let mut words = value.split(|b| b" \t".contains(b)).filter(|w| !w.is_empty());
    let (rseq, cseq, method) = (words.next()?, words.next()?, words.next()?);
    words.next().is_none().then_some(())?;
    Some(RAck { rseq: decimal(rseq)?, cseq: decimal(cseq)?, method: Method::from_bytes(method) })
}

fn package(value: &[u8]) -> Package {
    match trim(value.split(|b| *b == b';').next().unwrap_or_default()) {
        b"conference" => Package::Conference,
        b"refer" => Package::Refer,
        _ => Package::Other,
    }
}

/// RFC 7989 §5: 32 lower-case hexadecimal digits; of no use otherwise. All zeros mean that there is none yet.
fn session_id(value: &[u8]) -> Option<u128> {
    let uuid = trim(value.split(|b| *b == b';').next().unwrap_or_default());
    let right = uuid.len() == 32 && uuid.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(uuid).ok().filter(|_| right)?;
    u128::from_str_radix(text, 16).ok().filter(|id| *id != 0)
}

fn reason(m: &Message<'_>) -> Reason {
    let mut reason = Reason::default();
    for value in m.all(Name::Reason).filter_map(super::values::list).flatten() {
        let end = value.iter().position(|b| *b == b';').unwrap_or(value.len());
        let (protocol, parameters) = value.split_at(end);
        let cause = params(parameters).find(|(name, _)| name.eq_ignore_ascii_case(b"cause"));
        let cause = cause.and_then(|(_, cause)| decimal(cause));
        let protocol = trim(protocol);
        if protocol.eq_ignore_ascii_case(b"Q.850") {
            reason.q850 = cause.and_then(|c| u8::try_from(c).ok()).filter(|c| *c < 128);
        } else if protocol.eq_ignore_ascii_case(b"SIP") {
            reason.sip = cause.and_then(|c| u16::try_from(c).ok()).filter(|c| (100..700).contains(c));
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(headers: &str) -> Result<Extensions, Fault> {
        let mut text = format!("OPTIONS sip:a@192.0.2.9 SIP/2.0\r\n{headers}\r\n\r\n").into_bytes();
        match read(&Message::lex(&mut text).unwrap()) {
            (extensions, None) => Ok(extensions),
            (_, Some(fault)) => Err(fault),
        }
    }

    #[test]
    fn options_are_a_set_and_unknown_ones_are_told() {
        let all = read_of("Supported: 100rel,timer\r\nk: REPLACES, path\r\nRequire: timer").unwrap();
        assert_eq!(all.supported.tags().collect::<Vec<_>>(), ["100rel", "timer", "replaces"]);
        assert!(all.required.has(Options::TIMER) && !all.required.has(Options::REL100));
        let mut text =
            b"OPTIONS sip:a SIP/2.0\r\nRequire: timer, nothing.of-ours\r\nRequire: x\r\n\r\n".to_vec();
        assert_eq!(unsupported(&Message::lex(&mut text).unwrap()), b"nothing.of-ours, x");
    }

    #[test]
    fn session_timers_in_both_forms() {
        let of = |text: &str| read_of(text).unwrap().session_expires;
        let expected = |seconds, refresher| Some(SessionExpires { seconds, refresher });
        assert_eq!(of("Session-Expires: 1800;refresher=UAS"), expected(1800, Some(Refresher::Uas)));
        assert_eq!(of("x: 90 ; refresher=uac"), expected(90, Some(Refresher::Uac)));
        assert_eq!(of("x: 90;refresher=who"), expected(90, None));
        assert_eq!(read_of("Min-SE: 120;x=y").unwrap().min_se, Some(120));
        assert_eq!(read_of("Session-Expires: soon"), Err(Fault::BAD_REQUEST));
    }

    #[test]
    fn what_a_prack_acknowledges() {
        let rack = read_of("RAck: 776656 1 INVITE").unwrap().rack.unwrap();
        assert_eq!((rack.rseq, rack.cseq, rack.method), (776_656, 1, Method::Invite));
        for bad in ["RAck: 1 INVITE", "RAck: 1 2 INVITE more", "RAck: -1 2 INVITE"] {
            assert_eq!(read_of(bad), Err(Fault::BAD_REQUEST), "{bad}");
        }
    }

    #[test]
    fn packages_reasons_and_session_identifiers() {
        let of = |text: &str| read_of(text).unwrap();
        assert_eq!(of("o: conference;id=7").event, Some(Package::Conference));
        assert_eq!(of("Event: Conference").event, Some(Package::Other), "RFC 6665: case matters");
        let reason = of("Reason: Q.850 ;cause=16;text=\"a, b\", SIP;cause=200\r\nReason: X;cause=1").reason;
        assert_eq!((reason.q850, reason.sip), (Some(16), Some(200)));
        assert_eq!(of("Reason: Q.850;cause=300, SIP;cause=7").reason, Reason::default());
        let id = "ab30317f1a784dc48ff824d0d3715d86";
        assert_eq!(
            of(&format!("Session-ID: {id};remote={}", "0".repeat(32))).session_id,
            u128::from_str_radix(id, 16).ok()
        );
        for bad in ["0".repeat(32), "short".into(), format!("+{}", &id[1..])] {
            assert_eq!(of(&format!("Session-ID: {bad}")).session_id, None);
        }
    }

    #[test]
    fn what_its_sender_takes() {
        assert_eq!(read_of("Allow: INVITE, UPDATE").unwrap().allows_update, Some(true));
        assert_eq!(read_of("Allow: INVITE").unwrap().allows_update, Some(false));
        assert_eq!(read_of("Subject: x").unwrap().allows_update, None);
        assert_eq!(read_of("Retry-After: 120 (busy);duration=9").unwrap().retry_after, Some(120));
    }
}
