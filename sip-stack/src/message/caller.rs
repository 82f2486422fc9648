//! Who calls, and what of it is withheld (RFC 3323, RFC 3325).

use super::facts::Shown;
use super::lexer::{Message, Name, trim};
use super::rules::Numbering;
use super::uri::{Host, unescape};
use super::values::{NameAddr, display_text, list};

/// A display name is kept up to this length, bytes.
const LONGEST_NAME: usize = 256;
/// A number or user part is kept up to this length, bytes.
const LONGEST_NUMBER: usize = 128;

/// The address of a caller's profile is kept only up to this length, bytes: half of one leads nowhere.
const LONGEST_PROFILE: usize = 256;

/// What a caller tells of themselves, in clear: stays inside the region.
pub(super) struct Told {
    /// Display name.
    pub name: Text,
    /// Number or user part.
    pub number: Text,
    /// Address of a page or card about them.
    pub profile: Text,
    /// The caller asks that no privacy be applied, whatever is usual (RFC 3323 §4.2 `none`).
    pub asks_for_none: bool,
}

/// One of a caller's values.
pub(super) struct Text {
    /// Whether it is shown.
    pub status: Shown,
    /// What is shown; empty unless it is shared.
    pub shared: Vec<u8>,
    /// A trusted trunk asserts what is shown.
    pub asserted: bool,
    /// What the caller could share; empty when there is nothing.
    pub own: Vec<u8>,
    /// A trusted trunk asserts what could be shared.
    pub own_asserted: bool,
}

/// Values that are withheld unless the caller asks otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Withhold {
    /// The display name.
    pub name: bool,
    /// The number.
    pub number: bool,
    /// The profile.
    pub profile: bool,
}

impl Withhold {
    /// Everything.
    pub const ALL: Self = Self { name: true, number: true, profile: true };
}

/// A text and whether it is asserted.
#[derive(Default, Clone)]
struct Source {
    text: Vec<u8>,
    asserted: bool,
}

/// Reads From and, where the source is `trusted` to assert it and it is not withheld, P-Asserted-Identity or, from peers that know
/// only the older header, Remote-Party-ID; and Call-Info for a profile. What is withheld is the most of what any header asks for; `usual` is
/// withheld too unless the caller asks for no privacy at all.
pub(super) fn told(
    m: &Message<'_>,
    from: &NameAddr<'_>,
    trusted: bool,
    usual: Withhold,
    numbering: &Numbering,
) -> Told {
    let privacy = privacy(m.all(Name::Privacy));
    let parties = || m.all(Name::RemotePartyId).filter_map(list).flatten().filter_map(NameAddr::parse);
    let parties =
        || parties().filter(|p| !p.param(b"party").is_some_and(|v| v.eq_ignore_ascii_case(b"called")));
    let mut withheld = privacy.withhold;
    parties().for_each(|party| remote_party(&party, &mut withheld));
    let asks_for_none = privacy.none && withheld == Withhold::default();
    let anonymous = is_anonymous(from);
    let identity = m
        .all(Name::PAssertedIdentity)
        .filter_map(list)
        .flatten()
        .find_map(NameAddr::parse)
        .or_else(|| parties().next())
        .filter(|_| trusted);
    let texts = |asserted: Option<&NameAddr<'_>>, from: &NameAddr<'_>| texts(asserted, from, numbering);
    // RFC 3325 §9.3: with `id` nothing of the asserted identity is disclosed, its display name neither.
    let [name, number] = texts(identity.as_ref().filter(|_| !withheld.number), from);
    // What is anonymous tells nothing that could be shared.
    let [own_name, own_number] = match (&identity, anonymous) {
        // Most share what they are.
        (identity, false) if identity.is_none() || !withheld.number => [name.clone(), number.clone()],
        (None, true) => Default::default(),
        (Some(identity), true) => texts(Some(identity), identity),
        (identity, false) => texts(identity.as_ref(), from),
    };
    let profile = profile(m);
    let own_profile = profile.iter().filter(|_| !anonymous || identity.is_some()).copied().next();
    let said = |text: Option<&[u8]>| Source { text: text.unwrap_or_default().to_vec(), asserted: false };
    let text = |withheld: bool, usual: bool, shared: Source, own: Source| {
        let status = match (withheld || anonymous || usual && !asks_for_none, shared.text.is_empty()) {
            (true, _) => Shown::Withheld,
            (false, true) => Shown::Absent,
            (false, false) => Shown::Shared,
        };
        let shown = if status == Shown::Shared { shared } else { Source::default() };
        let (shared, asserted) = (shown.text, shown.asserted);
        Text { status, shared, asserted, own: own.text, own_asserted: own.asserted }
    };
    Told {
        name: text(withheld.name, usual.name, name, own_name),
        number: text(withheld.number, usual.number, number, own_number),
        profile: text(withheld.profile, usual.profile, said(profile), said(own_profile)),
        asks_for_none,
    }
}

/// Display name and number of `asserted`, or of `from`, which also lends its display name where the former has none.
fn texts(asserted: Option<&NameAddr<'_>>, from: &NameAddr<'_>, numbering: &Numbering) -> [Source; 2] {
    let source = asserted.unwrap_or(from);
    let lent = source.display.is_empty();
    let display = if lent { from.display } else { source.display };
    let (mut name, mut number) = (Vec::new(), Vec::new());
    display_text(display, LONGEST_NAME, &mut name);
    unescape(source.uri.user.unwrap_or_default(), &mut number);
    // RFC 3966 §3: without visual separators and parameters; whole, where the trunk says how it writes numbers.
    match (numbering.country.is_empty(), numbering.e164(&number)) {
        (false, Some(whole)) => number = whole,
        _ => without_separators(&mut number),
    }
    number.truncate(LONGEST_NUMBER);
    let asserted = asserted.is_some();
    [Source { text: name, asserted: asserted && !lent }, Source { text: number, asserted }]
}

/// Takes the visual separators (RFC 3966 §3) and parameters out of what is a telephone number; anything else stays as it is.
fn without_separators(number: &mut Vec<u8>) {
    let end = number.iter().position(|b| *b == b';').unwrap_or(number.len());
    let digits = number[..end].strip_prefix(b"+").unwrap_or(&number[..end]);
    let is_number = digits.iter().all(|b| b.is_ascii_digit() || b"-.()".contains(b));
    if is_number && digits.iter().any(u8::is_ascii_digit) {
        number.truncate(end);
        number.retain(|b| !b"-.()".contains(b));
    }
}

/// The address of the caller's card, else of a page about them (RFC 3261 §20.9): of the web only, for a viewer may follow it.
fn profile<'a>(m: &Message<'a>) -> Option<&'a [u8]> {
    let entries = || m.all(Name::CallInfo).filter_map(list).flatten().filter_map(NameAddr::parse);
    let of = |purpose: &[u8]| {
        let is = |e: &NameAddr<'_>| e.param(b"purpose").is_some_and(|p| p.eq_ignore_ascii_case(purpose));
        let on_the_web = |uri: &[u8]| {
            [&b"https://"[..], b"http://"]
                .iter()
                .any(|s| uri.get(..s.len()).is_some_and(|h| h.eq_ignore_ascii_case(s)))
        };
        let right = |e: &NameAddr<'_>| is(e) && on_the_web(e.uri_text) && e.uri_text.len() <= LONGEST_PROFILE;
        entries().find(right).map(|e| e.uri_text)
    };
    of(b"card").or_else(|| of(b"info"))
}

#[derive(Default)]
struct Privacy {
    withhold: Withhold,
    none: bool,
    critical: bool,
    /// It asks for something that is none of the field's words.
    unknown: bool,
}

/// RFC 3323 §4.2, RFC 3325 §9.3 and RFC 7044 §10.1: `id` withholds the number, what is asserted and the profile (which would tell both), `user`,
/// `header` and `session` everything; `history` is kept by itself, for no History-Info is passed on. A word that nobody knows withholds everything: it asks for
/// privacy. Separated by semicolons; some peers use commas; case does not matter.
fn privacy<'a>(values: impl Iterator<Item = &'a [u8]>) -> Privacy {
    let mut privacy = Privacy::default();
    let words = values.flat_map(|v| v.split(|b| b";,".contains(b))).map(trim).filter(|w| !w.is_empty());
    for word in words {
        match word.to_ascii_lowercase().as_slice() {
            b"none" => privacy.none = true,
            b"critical" => privacy.critical = true,
            b"history" => {}
            b"id" => (privacy.withhold.number, privacy.withhold.profile) = (true, true),
            known => {
                privacy.withhold = Withhold::ALL;
                privacy.unknown |= !matches!(known, b"user" | b"header" | b"session");
            }
        }
    }
    privacy
}

/// Whether a request asks for privacy that cannot be kept and must then fail (RFC 3323 §5): what is asked for is not known, or is all
/// and nothing at once.
pub(super) fn asks_too_much(m: &Message<'_>) -> bool {
    let privacy = privacy(m.all(Name::Privacy));
    privacy.critical && (privacy.unknown || privacy.none && privacy.withhold != Withhold::default())
}

/// `Remote-Party-ID;privacy=…` (draft-ietf-sip-privacy-04 §6.3): `full`, `name`, `uri` and `off`, each of which may end in `-network`; what
/// else there may be is taken as `full`.
fn remote_party(party: &NameAddr<'_>, withhold: &mut Withhold) {
    let Some(value) = party.param(b"privacy") else { return };
    let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    for word in value.split(|b| b",;".contains(b)).map(trim) {
        let word = word.to_ascii_lowercase();
        match word.strip_suffix(b"-network").unwrap_or(&word) {
            b"off" => {}
            // A profile would tell either.
            b"name" => (withhold.name, withhold.profile) = (true, true),
            b"uri" => (withhold.number, withhold.profile) = (true, true),
            _ => *withhold = Withhold::ALL,
        }
    }
}

/// Whether From says that it does not say who calls (RFC 3323 §4.1.1.3, and what carriers write for it).
fn is_anonymous(from: &NameAddr<'_>) -> bool {
    let (mut display, mut user) = (Vec::new(), Vec::new());
    display_text(from.display, LONGEST_NAME, &mut display);
    unescape(from.uri.user.unwrap_or_default(), &mut user);
    let is =
        |text: &[u8], words: &[&str]| words.iter().any(|w| trim(text).eq_ignore_ascii_case(w.as_bytes()));
    let host = matches!(from.uri.host, Some(Host::Name(host))
        if is(host.strip_suffix(b".").unwrap_or(host), &["anonymous.invalid"]));
    // Who leaves the user part out says no number, and wants none said.
    let user = from.uri.user.is_none() || is(&user, &["anonymous", "restricted"]);
    host || user || is(&display, &["anonymous", "restricted", "private"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a caller by these headers: name, number.
    fn said(headers: &str, trusted: bool) -> (Result<String, Shown>, Result<String, Shown>) {
        let mut text = format!("INVITE sip:1@192.0.2.9 SIP/2.0\r\n{headers}\r\n\r\n").into_bytes();
        let message = Message::lex(&mut text).unwrap();
        let from = NameAddr::parse(message.first(Name::From).unwrap()).unwrap();
        let told = told(&message, &from, trusted, Withhold::default(), &Numbering::default());
        (said_of(&told.name), said_of(&told.number))
    }

    fn said_of(text: &Text) -> Result<String, Shown> {
        if text.status == Shown::Shared {
            return Ok(String::from_utf8(text.shared.clone()).unwrap());
        }
        assert!(text.shared.is_empty() && !text.asserted, "what is not shared is not there");
        Err(text.status)
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
    fn contradicting_and_unknown_wishes_withhold_the_most() {
        for value in ["none;user", "NONE, header", "confidential", "off", "id;whatever"] {
            let headers = format!("{ADA}\r\n{ASSERTED}\r\nPrivacy: {value}");
            assert_eq!(said(&headers, true), (Err(Shown::Withheld), Err(Shown::Withheld)), "{value}");
        }
        for headers in ["Privacy: none\r\nPrivacy: user", "Privacy: user\r\nPrivacy: none"] {
            assert_eq!(said(&format!("{ADA}\r\n{headers}"), false).0, Err(Shown::Withheld), "{headers}");
        }
        assert_eq!(said(&format!("{ADA}\r\nPrivacy: history;;"), false).0, Ok("Ada".into()));
    }

    #[test]
    fn critical_privacy_that_cannot_be_kept_is_told_from_what_can() {
        let asks = |value: &str| {
            let mut text = format!("INVITE sip:1@192.0.2.9 SIP/2.0\r\nPrivacy: {value}\r\n\r\n").into_bytes();
            asks_too_much(&Message::lex(&mut text).unwrap())
        };
        for kept in
            ["critical", "id;critical", "user;header;session;history;critical", "none;critical", "unheard-of"]
        {
            assert!(!asks(kept), "{kept}");
        }
        for not_kept in ["critical;unheard-of", "none;id;critical", "Critical, NONE, user"] {
            assert!(asks(not_kept), "{not_kept}");
        }
    }

    #[test]
    fn a_remote_party_id_counts_like_the_newer_headers() {
        let ok = |s: &str| Ok(s.to_owned());
        let none = || Err(Shown::Withheld);
        let rpid = |params: &str| {
            format!(
                "{ADA}\r\nRemote-Party-ID: \"Ada R.\" <sip:+12025550177@example.com>;party=calling{params}"
            )
        };
        for (params, trusted, expected) in [
            ("", true, (ok("Ada R."), ok("+12025550177"))),
            (";privacy=off", true, (ok("Ada R."), ok("+12025550177"))),
            ("", false, (ok("Ada"), ok("+12025550143"))),
            (";privacy=full", true, (none(), none())),
            (";privacy=full", false, (none(), none())),
            (";privacy=FULL-network", true, (none(), none())),
            (";privacy=name", true, (none(), ok("+12025550177"))),
            (";privacy=\"uri,name\"", false, (none(), none())),
            (";privacy=secret", true, (none(), none())),
            (";privacy=uri", true, (ok("Ada"), none())),
        ] {
            assert_eq!(said(&rpid(params), trusted), expected, "{params} {trusted}");
        }
        let called = rpid("").replace("calling", "called;privacy=full");
        assert_eq!(said(&called, true), (ok("Ada"), ok("+12025550143")), "it tells of the one who is called");
        let both = format!("{ASSERTED}\r\n{}", rpid(""));
        assert_eq!(said(&both, true).0, ok("Ada L."));
    }

    #[test]
    fn diversion_and_history_tell_nothing_of_the_caller() {
        let headers = "From: <sip:+12025550143@example.com>;tag=1\r\nDiversion: \"Bob\" <sip:bob@example.com>\r\n\
            History-Info: \"Eve\" <sip:eve@example.com>;index=1\r\nReferred-By: \"Dan\" <sip:dan@example.com>";
        assert_eq!(said(headers, true), (Err(Shown::Absent), Ok("+12025550143".into())));
    }

    #[test]
    fn what_is_usual_is_withheld_unless_the_caller_asks_for_no_privacy() {
        let usual = Withhold { name: true, ..Withhold::default() };
        let status = |headers: &str| {
            let mut text =
                format!("INVITE sip:1@192.0.2.9 SIP/2.0\r\n{ADA}\r\n{headers}\r\n\r\n").into_bytes();
            let message = Message::lex(&mut text).unwrap();
            let from = NameAddr::parse(message.first(Name::From).unwrap()).unwrap();
            let told = told(&message, &from, true, usual, &Numbering::default());
            assert_eq!(
                (told.name.shared.is_empty(), told.name.own.is_empty()),
                (told.name.status != Shown::Shared, false)
            );
            (told.name.status, told.number.status, told.asks_for_none)
        };
        use Shown::{Shared, Withheld};
        assert_eq!(status("X: y"), (Withheld, Shared, false));
        assert_eq!(status("Privacy: none"), (Shared, Shared, true));
        assert_eq!(status("Privacy: none;id"), (Withheld, Withheld, false));
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
            "\"Ada\" <sip:%41nonymous@example.com>",
            "\"An\\onymous \" <sip:+12025550143@example.com>",
            "\"Ada\" <sip:+12025550143@Anonymous.Invalid.>",
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
            let told = told(&message, &from, trusted, Withhold::default(), &Numbering::default());
            [told.name.own, told.number.own].map(|t| String::from_utf8(t).unwrap())
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

    fn told_by(headers: &str, trusted: bool) -> Told {
        let mut text = format!("INVITE sip:1@192.0.2.9 SIP/2.0\r\n{headers}\r\n\r\n").into_bytes();
        let message = Message::lex(&mut text).unwrap();
        let from = NameAddr::parse(message.first(Name::From).unwrap()).unwrap();
        told(&message, &from, trusted, Withhold::default(), &Numbering::default())
    }

    #[test]
    fn what_a_trusted_trunk_asserts_is_told_from_what_a_caller_claims() {
        let unnamed = "P-Asserted-Identity: <sip:+12025550199@example.com>";
        for (headers, trusted, name, number) in [
            (format!("{ADA}\r\n{ASSERTED}"), true, true, true),
            (format!("{ADA}\r\n{ASSERTED}"), false, false, false),
            (ADA.to_owned(), true, false, false),
            (format!("{ADA}\r\n{unnamed}"), true, false, true),
        ] {
            let told = told_by(&headers, trusted);
            assert_eq!((told.name.asserted, told.number.asserted), (name, number), "{headers}");
            assert_eq!((told.name.own_asserted, told.number.own_asserted), (name, number), "{headers}");
        }
        let told = told_by(&format!("{ADA}\r\n{ASSERTED}\r\nPrivacy: id"), true);
        assert_eq!((told.name.asserted, told.name.own_asserted), (false, true), "From's name is shown");
    }

    #[test]
    fn a_profile_is_the_callers_card_or_page_on_the_web() {
        let ok = |s: &str| Ok(s.to_owned());
        let card = "Call-Info: <https://example.com/ada.vcf>;purpose=card";
        for (headers, expected) in [
            (card.to_owned(), ok("https://example.com/ada.vcf")),
            (
                "Call-Info: <http://example.com/a.png>;purpose=icon, <HTTPS://example.com/ada>;purpose=Info"
                    .into(),
                ok("HTTPS://example.com/ada"),
            ),
            (
                format!("Call-Info: <https://example.com/a>;purpose=info\r\n{card}"),
                ok("https://example.com/ada.vcf"),
            ),
            ("Call-Info: <https://example.com/a>".into(), Err(Shown::Absent)),
            ("Call-Info: <ftp://example.com/a>;purpose=card".into(), Err(Shown::Absent)),
            ("Call-Info: <javascript:alert(1)>;purpose=card".into(), Err(Shown::Absent)),
            (
                format!("Call-Info: <https://example.com/{}>;purpose=card", "a".repeat(300)),
                Err(Shown::Absent),
            ),
            ("Call-Info: https;;<".into(), Err(Shown::Absent)),
        ] {
            assert_eq!(
                said_of(&told_by(&format!("{ADA}\r\n{headers}"), false).profile),
                expected,
                "{headers}"
            );
        }
        for privacy in ["Privacy: id", "Privacy: header", "Remote-Party-ID: <sip:1@example.com>;privacy=uri"]
        {
            let told = told_by(&format!("{ADA}\r\n{card}\r\n{privacy}"), true);
            assert_eq!(said_of(&told.profile), Err(Shown::Withheld), "{privacy}");
            assert_eq!(told.profile.own, b"https://example.com/ada.vcf");
        }
        let anonymous = format!("From: <sip:anonymous@anonymous.invalid>;tag=1\r\n{card}");
        let told = told_by(&anonymous, true);
        assert_eq!((said_of(&told.profile), told.profile.own.is_empty()), (Err(Shown::Withheld), true));
    }

    #[test]
    fn what_is_not_told_is_absent() {
        let (name, number) = said("From: <sip:+12025550143@example.com>;tag=1", false);
        assert_eq!((name, number), (Err(Shown::Absent), Ok("+12025550143".into())));
    }

    #[test]
    fn long_names_and_numbers_are_cut() {
        for length in [300, 3900] {
            let (name, number) = ("é".repeat(length), "5".repeat(300));
            let headers = format!("From: \"{name}\" <sip:{number}@example.com>;tag=1");
            let (name, number) = said(&headers, false);
            assert_eq!((name.unwrap().len(), number.unwrap().len()), (LONGEST_NAME, LONGEST_NUMBER));
        }
    }

    #[test]
    fn numbers_lose_their_visual_separators_and_names_of_users_nothing() {
        for (user, expected) in [
            ("+1-202-555-0143", "+12025550143"),
            ("(202)555.0143", "2025550143"),
            ("+12025550143;npdi;rn=+1202", "+12025550143"),
            ("%2B1202-5550143", "+12025550143"),
            ("ada.example-smith", "ada.example-smith"),
            ("ada;x=1", "ada;x=1"),
            ("+", "+"),
            ("-.-", "-.-"),
        ] {
            let (_, number) = said(&format!("From: <sip:{user}@example.com>;tag=1"), false);
            assert_eq!(number.as_deref(), Ok(expected), "{user}");
        }
        let tel = said("From: <tel:+1-202-555-0143;phone-context=x>;tag=1", false).1;
        assert_eq!(tel.as_deref(), Ok("+12025550143"));
    }
}
