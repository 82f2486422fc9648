//! Who calls, and what of it is withheld (RFC 3323, RFC 3325).

use super::facts::Shown;
use super::lexer::{Message, Name, trim};
use super::uri::{Host, unescape};
use super::values::{NameAddr, display_text, list};

/// A display name is kept up to this length, bytes.
const LONGEST_NAME: usize = 256;
/// A number or user part is kept up to this length, bytes.
const LONGEST_NUMBER: usize = 128;

/// What a caller tells of themselves, in clear: stays inside the region.
pub(super) struct Told {
    /// Display name; empty when withheld or absent.
    pub name: Vec<u8>,
    /// Number or user part; empty when withheld or absent.
    pub number: Vec<u8>,
    /// The name's status.
    pub name_status: Shown,
    /// The number's status.
    pub number_status: Shown,
    /// Display name that the caller could share; empty when there is none.
    pub own_name: Vec<u8>,
    /// Number that the caller could share; empty when there is none.
    pub own_number: Vec<u8>,
}

/// Reads From and, where the source is `trusted` to assert it and it is not withheld, P-Asserted-Identity.
pub(super) fn told(m: &Message<'_>, from: &NameAddr<'_>, trusted: bool) -> Told {
    let privacy = privacy(m.all(Name::Privacy));
    let anonymous = is_anonymous(from);
    let asserted = m
        .all(Name::PAssertedIdentity)
        .filter(|_| trusted)
        .filter_map(list)
        .flatten()
        .find_map(NameAddr::parse);
    // RFC 3325 §9.3: with `id` nothing of the asserted identity is disclosed, its display name neither.
    let (mut name, mut number) = texts(asserted.as_ref().filter(|_| !privacy.number), from);
    // What is anonymous tells nothing that could be shared.
    let (own_name, own_number) = match (&asserted, anonymous) {
        (None, true) => Default::default(),
        (Some(asserted), true) => texts(Some(asserted), asserted),
        (asserted, false) => texts(asserted.as_ref(), from),
    };
    let shown = |withheld: bool, text: &mut Vec<u8>| match (withheld, text.is_empty()) {
        (true, _) => {
            text.clear();
            Shown::Withheld
        }
        (false, true) => Shown::Absent,
        (false, false) => Shown::Shared,
    };
    Told {
        name_status: shown(privacy.name || anonymous, &mut name),
        number_status: shown(privacy.number || anonymous, &mut number),
        name,
        number,
        own_name,
        own_number,
    }
}

/// Display name and number of `asserted`, or of `from`, which also lends its display name where the former has none.
fn texts(asserted: Option<&NameAddr<'_>>, from: &NameAddr<'_>) -> (Vec<u8>, Vec<u8>) {
    let source = asserted.unwrap_or(from);
    let display = if source.display.is_empty() { from.display } else { source.display };
    let (mut name, mut number) = (Vec::new(), Vec::new());
    display_text(display, LONGEST_NAME, &mut name);
    unescape(source.uri.user.unwrap_or_default(), &mut number);
    number.truncate(LONGEST_NUMBER);
    (name, number)
}

struct Privacy {
    name: bool,
    number: bool,
}

/// RFC 3323 §4.2 and RFC 3325 §9.3: `id` withholds the number and what is asserted, `user`, `header` and `session` everything.
/// Separated by semicolons; some peers use commas; case does not matter.
fn privacy<'a>(values: impl Iterator<Item = &'a [u8]>) -> Privacy {
    let mut privacy = Privacy { name: false, number: false };
    for value in values.flat_map(|v| v.split(|b| b";,".contains(b))).map(trim) {
        let is = |word: &[u8]| value.eq_ignore_ascii_case(word);
        privacy.number |= is(b"id") || is(b"user") || is(b"header") || is(b"session");
        privacy.name |= is(b"user") || is(b"header") || is(b"session");
    }
    privacy
}

fn is_anonymous(from: &NameAddr<'_>) -> bool {
    let is = |text: &[u8], word: &[u8]| text.eq_ignore_ascii_case(word);
    let display = trim(from.display);
    let display = display.strip_prefix(b"\"").and_then(|d| d.strip_suffix(b"\"")).unwrap_or(display);
    let host = matches!(from.uri.host, Some(Host::Name(host)) if is(host, b"anonymous.invalid"));
    // Who leaves the user part out says no number, and wants none said.
    let user = from.uri.user.is_none_or(|u| is(u, b"anonymous") || is(u, b"restricted"));
    host || user || [&b"anonymous"[..], b"restricted", b"private"].iter().any(|w| is(display, w))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a caller by these headers: name, number.
    fn said(headers: &str, trusted: bool) -> (Result<String, Shown>, Result<String, Shown>) {
        let mut text = format!("INVITE sip:1@192.0.2.9 SIP/2.0\r\n{headers}\r\n\r\n").into_bytes();
        let message = Message::lex(&mut text).unwrap();
        let from = NameAddr::parse(message.first(Name::From).unwrap()).unwrap();
        let told = told(&message, &from, trusted);
        let or = |text: Vec<u8>, status| match status {
            Shown::Shared => Ok(String::from_utf8(text).unwrap()),
            status => {
                assert!(text.is_empty(), "what is not shared is not there");
                Err(status)
            }
        };
        (or(told.name, told.name_status), or(told.number, told.number_status))
    }

    const ADA: &str = "From: \"Ada\" <sip:+12025550143@example.com>;tag=1";
    const ASSERTED: &str = "P-Asserted-Identity: \"Ada L.\" <sip:+12025550199@example.com>";

    #[test]
    fn the_asserted_identity_counts_only_from_who_is_trusted_to_assert() {
        let headers = format!("{ADA}\r\n{ASSERTED}");
        let ok = |s: &str| Ok(s.to_owned());
        assert_eq!(said(&headers, true), (ok("Ada L."), ok("+12025550199")));
        assert_eq!(said(&headers, false), (ok("Ada"), ok("+12025550143")));
    }

    #[test]
    fn privacy_id_withholds_the_number_and_all_that_is_asserted() {
        for value in ["id", "ID", "critical; id", "none, id"] {
            let headers = format!("{ADA}\r\n{ASSERTED}\r\nPrivacy: {value}");
            assert_eq!(said(&headers, true), (Ok("Ada".into()), Err(Shown::Withheld)), "{value}");
        }
    }

    #[test]
    fn privacy_user_header_and_session_withhold_everything() {
        for value in ["user", "header", "Session;critical"] {
            let headers = format!("{ADA}\r\n{ASSERTED}\r\nPrivacy: {value}");
            assert_eq!(said(&headers, true), (Err(Shown::Withheld), Err(Shown::Withheld)), "{value}");
        }
        assert_eq!(said(&format!("{ADA}\r\nPrivacy: none"), true).0, Ok("Ada".into()));
    }

    #[test]
    fn an_anonymous_from_withholds_everything() {
        for from in [
            "\"Ada\" <sip:anonymous@anonymous.invalid>",
            "\"Ada\" <sip:+12025550143@anonymous.invalid>",
            "\"Anonymous\" <sip:+12025550143@example.com>",
            "Restricted <sip:+12025550143@example.com>",
            "\"Ada\" <sip:restricted@example.com>",
            "\"Ada\" <sip:example.com>",
        ] {
            let headers = format!("From: {from};tag=1\r\n{ASSERTED}");
            assert_eq!(said(&headers, true), (Err(Shown::Withheld), Err(Shown::Withheld)), "{from}");
        }
    }

    #[test]
    fn a_caller_could_share_what_is_theirs_whatever_was_withheld() {
        let own = |headers: &str, trusted: bool| {
            let mut text = format!("INVITE sip:1@192.0.2.9 SIP/2.0\r\n{headers}\r\n\r\n").into_bytes();
            let message = Message::lex(&mut text).unwrap();
            let from = NameAddr::parse(message.first(Name::From).unwrap()).unwrap();
            let told = told(&message, &from, trusted);
            [told.own_name, told.own_number].map(|t| String::from_utf8(t).unwrap())
        };
        let anonymous = "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1";
        for (headers, trusted, expected) in [
            (format!("{ADA}\r\nPrivacy: user;id"), true, ["Ada", "+12025550143"]),
            (format!("{ADA}\r\n{ASSERTED}\r\nPrivacy: id"), true, ["Ada L.", "+12025550199"]),
            (format!("{ADA}\r\n{ASSERTED}\r\nPrivacy: id"), false, ["Ada", "+12025550143"]),
            (format!("{anonymous}\r\n{ASSERTED}\r\nPrivacy: id"), true, ["Ada L.", "+12025550199"]),
            (format!("{anonymous}\r\n{ASSERTED}"), false, ["", ""]),
            (
                format!("{anonymous}\r\nP-Asserted-Identity: <sip:+12025550199@example.com>"),
                true,
                ["", "+12025550199"],
            ),
        ] {
            assert_eq!(own(&headers, trusted), expected, "{headers}");
        }
    }

    #[test]
    fn what_is_not_told_is_absent() {
        let (name, number) = said("From: <sip:+12025550143@example.com>;tag=1", false);
        assert_eq!((name, number), (Err(Shown::Absent), Ok("+12025550143".into())));
    }

    #[test]
    fn long_names_and_numbers_are_cut() {
        let headers = format!("From: \"{}\" <sip:{}@example.com>;tag=1", "é".repeat(300), "5".repeat(300));
        let (name, number) = said(&headers, false);
        assert_eq!((name.unwrap().len(), number.unwrap().len()), (LONGEST_NAME, LONGEST_NUMBER));
    }
}
