//! Header values: name-addr, Via, CSeq, lists and parameters (RFC 3261 §25.1), borrowed.

use super::lexer::{Method, decimal, is_token, trim};
use super::uri::{Host, Uri, host_port_of};

/// Splits a list at the commas that stand neither in quotes nor in angle brackets. `None` for unbalanced quotes.
pub fn list(value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut scan = Scan::new(value);
    while let Some((at, byte)) = scan.next_plain()? {
        if byte == b',' && !scan.in_angle {
            parts.push(trim(&value[from..at]));
            from = at + 1;
        }
    }
    parts.push(trim(&value[from..]));
    Some(parts)
}

/// Walks a value, passing over quoted strings.
struct Scan<'a> {
    value: &'a [u8],
    at: usize,
    in_angle: bool,
}

impl<'a> Scan<'a> {
    fn new(value: &'a [u8]) -> Self {
        Self { value, at: 0, in_angle: false }
    }

    /// The next byte outside quotes; the outer `None` is an unterminated quoted string.
    fn next_plain(&mut self) -> Option<Option<(usize, u8)>> {
        while let Some(byte) = self.value.get(self.at).copied() {
            if byte == b'"' && !self.in_angle {
                self.at += quoted(&self.value[self.at..])?;
                continue;
            }
            match byte {
                b'<' => self.in_angle = true,
                b'>' => self.in_angle = false,
                _ => {}
            }
            self.at += 1;
            return Some(Some((self.at - 1, byte)));
        }
        Some(None)
    }
}

/// Length of the quoted string at the start of `value`, quotes included.
fn quoted(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match value.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A From, To, Contact, Route or identity value.
#[derive(Clone, Copy)]
pub struct NameAddr<'a> {
    /// The display name as it stands, quotes included; empty when there is none.
    pub display: &'a [u8],
    /// The URI as it stands.
    pub uri_text: &'a [u8],
    /// The URI.
    pub uri: Uri<'a>,
    /// Header parameters, from the first `;` on, or empty.
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads a name-addr or an addr-spec. `None` when it is neither.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let quoted_len = if value.first() == Some(&b'"') { quoted(value)? } else { 0 };
        let open = value[quoted_len..].iter().position(|b| *b == b'<').map(|at| at + quoted_len);
        let semicolon = value[quoted_len..].iter().position(|b| *b == b';').map(|at| at + quoted_len);
        match open.filter(|open| quoted_len > 0 || semicolon.is_none_or(|s| *open < s)) {
            Some(open) => {
                let display = trim(&value[..open]);
                // Beside a quoted string there are only tokens and white space.
                if quoted_len == 0 && !display.iter().all(|b| is_token(*b) || matches!(b, b' ' | b'\t')) {
                    return None;
                }
                if quoted_len > 0 && display.len() != quoted_len {
                    return None;
                }
                let close = value[open..].iter().position(|b| *b == b'>')? + open;
                let uri_text = &value[open + 1..close];
                let params = trim(&value[close + 1..]);
                if !params.is_empty() && params[0] != b';' {
                    return None;
                }
                Some(Self { display, uri_text, uri: Uri::parse(uri_text)?, params: checked(params)? })
            }
            None if quoted_len > 0 => None,
            None => {
                // Without brackets, parameters belong to the header, and `?` and `,` may not stand in the URI
                // (RFC 3261 §20).
                let (uri_text, params) = value.split_at(semicolon.unwrap_or(value.len()));
                let uri_text = trim(uri_text);
                if uri_text.iter().any(|b| b"?,".contains(b)) {
                    return None;
                }
                Some(Self { display: &[], uri_text, uri: Uri::parse(uri_text)?, params: checked(params)? })
            }
        }
    }

    /// A header parameter's value.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        params(self.params).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.param(b"tag").filter(|t| !t.is_empty())
    }
}

/// Parameters that are well-formed, or `None`.
fn checked(text: &[u8]) -> Option<&[u8]> {
    params(text).all(|(name, _)| !name.is_empty() && name.iter().all(|b| is_token(*b))).then_some(text)
}

/// Iterates over `;name=value` parameters; quoted values keep their quotes.
pub fn params(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let after = trim(rest).strip_prefix(b";")?;
        let mut end = 0;
        while end < after.len() && after[end] != b';' {
            end += if after[end] == b'"' { quoted(&after[end..]).unwrap_or(after.len() - end) } else { 1 };
        }
        let end = end.min(after.len());
        let (param, next) = after.split_at(end);
        rest = next;
        Some(match param.iter().position(|b| *b == b'=') {
            Some(eq) => (trim(&param[..eq]), trim(&param[eq + 1..])),
            None => (trim(param), &[][..]),
        })
    })
}

/// The topmost value of a Via field.
#[derive(Clone, Copy)]
pub struct Via<'a> {
    /// The transport's name as it stands.
    pub transport: &'a [u8],
    /// sent-by host.
    pub host: Host<'a>,
    /// sent-by port.
    pub port: Option<u16>,
    /// The sent-by as it stands.
    pub sent_by: &'a [u8],
    /// Parameters, from the first `;` on.
    pub params: &'a [u8],
    /// Whether all of it is as RFC 3261 §25.1 wants it; what is not can be answered nevertheless.
    pub right: bool,
}

impl<'a> Via<'a> {
    /// Reads one via-parm, as far as a response needs it; see [`Via::right`].
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (head, params) = match value.iter().position(|b| *b == b';') {
            Some(at) => value.split_at(at),
            None => (value, &[][..]),
        };
        let mut slashes = head.splitn(3, |b| *b == b'/');
        let (name, version, rest) = (slashes.next()?, slashes.next()?, trim(slashes.next()?));
        if !trim(name).eq_ignore_ascii_case(b"SIP") {
            return None;
        }
        let right = trim(version) == b"2.0" && params_are_right(params);
        let space = rest.iter().position(|b| matches!(b, b' ' | b'\t'))?;
        let (transport, sent_by) = (&rest[..space], trim(&rest[space..]));
        if transport.is_empty() || !transport.iter().all(|b| is_token(*b)) {
            return None;
        }
        let (host, port) = match sent_by.iter().any(|b| matches!(b, b' ' | b'\t')) {
            // White space around the colon is legal (RFC 3261 §25.1, COLON).
            true => {
                let tight: Vec<&[u8]> = sent_by.split(|b| *b == b':').map(trim).collect();
                let [host, port] = tight[..] else { return None };
                let (host, None) = host_port_of(host)? else { return None };
                (host, Some(u16::try_from(decimal(port)?).ok()?))
            }
            false => host_port_of(sent_by)?,
        };
        Some(Self { transport, host, port, sent_by, params, right })
    }

    /// A parameter's value.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        params(self.params).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// The branch, when it is an RFC 3261 transaction id: the cookie and something behind it.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.param(b"branch").filter(|b| b.len() > 7 && b[..7].eq_ignore_ascii_case(b"z9hG4bK"))
    }
}

/// Via parameters of the field may hold quoted strings with anything in them.
fn params_are_right(text: &[u8]) -> bool {
    params(text).all(|(name, _)| !name.is_empty())
}

/// A CSeq value.
pub fn cseq(value: &[u8]) -> Option<(u32, Method, &[u8])> {
    let space = value.iter().position(|b| matches!(b, b' ' | b'\t'))?;
    let (number, method) = (&value[..space], trim(&value[space..]));
    // RFC 3261 §8.1.1.5: below 2^31.
    let number = decimal(number).filter(|n| *n < 1 << 31)?;
    (!method.is_empty() && method.iter().all(|b| is_token(*b)))
        .then(|| (number, Method::from_bytes(method), method))
}

/// An RFC 1123 date that ends in GMT (RFC 3261 §20.17); its form only.
pub fn is_sip_date(value: &[u8]) -> bool {
    let parts: Vec<_> = value.split(|b| *b == b' ').collect();
    let [weekday, day, month, year, time, zone] = parts[..] else { return false };
    let digits = |text: &[u8], n| text.len() == n && text.iter().all(u8::is_ascii_digit);
    weekday.len() == 4
        && weekday.ends_with(b",")
        && digits(day, 2)
        && month.len() == 3
        && digits(year, 4)
        && time.len() == 8
        && zone == b"GMT"
}

/// A display name's text: quotes and escapes resolved, cut at `most` bytes on a character's edge. What is not UTF-8 becomes U+FFFD.
pub fn display_text(display: &[u8], most: usize, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    match display.strip_prefix(b"\"").and_then(|d| d.strip_suffix(b"\"")) {
        Some(inner) => {
            let mut escaped = false;
            for byte in inner {
                if *byte == b'\\' && !escaped {
                    escaped = true;
                } else {
                    text.push(*byte);
                    escaped = false;
                }
            }
        }
        None => text.extend_from_slice(display),
    }
    for c in String::from_utf8_lossy(&text).chars() {
        let c = shown(c);
        if out.len() + c.len_utf8() > most {
            break;
        }
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// A character that may be shown. Controls may stand escaped in quotes (RFC 3261 §25.1), and what turns or hides the text around
/// it lets one name look like another; a space stands for each.
fn shown(c: char) -> char {
    let misleads = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}');
    if c.is_control() || misleads { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_addrs_in_all_their_forms() {
        let full =
            NameAddr::parse(br#""Caller, \"the\" <first>" <sip:a@example.com;x=1>;tag=9;p="a;b""#).unwrap();
        assert_eq!(full.uri_text, b"sip:a@example.com;x=1");
        assert_eq!((full.tag(), full.param(b"P")), (Some(&b"9"[..]), Some(&br#""a;b""#[..])));
        let mut text = Vec::new();
        display_text(full.display, 100, &mut text);
        assert_eq!(text, br#"Caller, "the" <first>"#);
        let bare = NameAddr::parse(b"sip:a@example.com;tag=7").unwrap();
        assert_eq!((bare.uri_text, bare.tag()), (&b"sip:a@example.com"[..], Some(&b"7"[..])));
        let tokens = NameAddr::parse(b"Anna Example<tel:+12025550100>").unwrap();
        assert_eq!((tokens.display, tokens.uri.user), (&b"Anna Example"[..], Some(&b"+12025550100"[..])));
    }

    #[test]
    fn what_is_no_name_addr() {
        for bad in [
            &br#""unbalanced <sip:a@example.com>"#[..],
            b"Name, with comma <sip:a@example.com>",
            b"\"N\" < sip:a@example.com >",
            b"<sip:a@example.com",
            b"sip:a@example.com?x=y",
            b"<sip:a@example.com>tag=1",
            b"\"only a name\"",
            b"",
        ] {
            assert!(NameAddr::parse(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn lists_split_at_the_right_commas() {
        let got = list(br#""a,b" <sip:x@example.com;p=1,2>, <sip:y@example.com>"#).unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(got[1], b"<sip:y@example.com>");
        assert!(list(br#""a, <sip:x@example.com>"#).is_none());
    }

    #[test]
    fn vias() {
        let via = Via::parse(b"SIP / 2.0 / UDP [2001:db8::9]:5062 ; branch = z9hG4bKx;rport").unwrap();
        assert_eq!((via.transport, via.port), (&b"UDP"[..], Some(5062)));
        assert_eq!(via.branch(), Some(&b"z9hG4bKx"[..]));
        assert_eq!(via.param(b"rport"), Some(&b""[..]));
        let spaced = Via::parse(b"SIP/2.0/UDP example.com : 5062").unwrap();
        assert_eq!(spaced.port, Some(5062));
        assert!(Via::parse(b"SIP/2.0/UDP").is_none() && Via::parse(b"HTTP/2.0/UDP a").is_none());
        assert!(Via::parse(b"SIP/2.0/UDP h;branch=z9hG4bK").unwrap().branch().is_none());
    }

    #[test]
    fn names_are_cut_on_a_characters_edge() {
        let mut text = Vec::new();
        display_text("ééé".as_bytes(), 3, &mut text);
        assert_eq!(text, "é".as_bytes());
    }

    #[test]
    fn a_name_cannot_turn_or_hide_what_stands_around_it() {
        for (display, expected) in [
            (&b"\"Ada\\\x0d\\\x0aLive\""[..], "Ada  Live"),
            ("\"Ada \u{202e}ecilA\"".as_bytes(), "Ada  ecilA"),
            ("\"A\u{200b}da\u{2066}\"".as_bytes(), "A da "),
            (b"\"Ad\xff\xc3\"", "Ad\u{fffd}\u{fffd}"),
            (b"\"\\\\\\\"\"", "\\\""),
            ("\"\u{85}\u{1f600}\"".as_bytes(), " \u{1f600}"),
        ] {
            let mut text = Vec::new();
            display_text(display, 100, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }
}
