//! URIs (RFC 3261 §19.1, RFC 3966), borrowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A URI's scheme, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966); the number is the user part.
    Tel,
    /// Any other: not read further.
    Other,
}

/// A host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A domain name.
    Name(&'a [u8]),
    /// An address.
    Ip(IpAddr),
}

/// A URI in its parts.
#[derive(Clone, Copy)]
pub struct Uri<'a> {
    /// Scheme.
    pub scheme: Scheme,
    /// User part or telephone number, escaped as it stands; without the password.
    pub user: Option<&'a [u8]>,
    /// Host; `None` for `tel:` and other schemes.
    pub host: Option<Host<'a>>,
    /// Port.
    pub port: Option<u16>,
    /// Parameters, from the first `;` on, or empty.
    pub params: &'a [u8],
    /// Headers, from the `?` on, or empty.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI. `None` when it is none by RFC 3261 §25.1.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let colon = text.iter().position(|b| *b == b':')?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        let (first, others) = scheme.split_first()?;
        let in_scheme = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        if !first.is_ascii_alphabetic() || !others.iter().all(in_scheme) || rest.is_empty() {
            return None;
        }
        if !rest.iter().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(b)) || !escapes_are_right(rest) {
            return None;
        }
        let nothing =
            Self { scheme: Scheme::Other, user: None, host: None, port: None, params: &[], headers: &[] };
        if scheme.eq_ignore_ascii_case(b"tel") {
            let (number, params) = split_at(rest, b';');
            let right =
                !number.is_empty() && number.iter().all(|b| b.is_ascii_hexdigit() || b"+*#-.()".contains(b));
            return right.then_some(Self { scheme: Scheme::Tel, user: Some(number), params, ..nothing });
        }
        let scheme = match () {
            () if scheme.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            () if scheme.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            () => return Some(nothing),
        };
        let (user, rest) = match rest.iter().position(|b| *b == b'@') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        if user.is_some_and(<[u8]>::is_empty) {
            return None;
        }
        let user = user.map(|u| split_at(u, b':').0);
        let (host_port, rest) = match rest.iter().position(|b| b";?".contains(b)) {
            Some(end) => rest.split_at(end),
            None => (rest, &[][..]),
        };
        let (params, headers) = split_at(rest, b'?');
        let (host, port) = host_port_of(host_port)?;
        Some(Self { scheme, user, host: Some(host), port, params, headers })
    }

    /// A parameter's value; empty for one without a value.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        param(self.params, name)
    }

    /// The address to send to, when the host is one: port 5060 unless given.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host? {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port.unwrap_or(5060))),
            Host::Name(_) => None,
        }
    }
}

/// A host with an optional port.
pub fn host_port_of(text: &[u8]) -> Option<(Host<'_>, Option<u16>)> {
    if let Some(rest) = text.strip_prefix(b"[") {
        let end = rest.iter().position(|b| *b == b']')?;
        let ip: Ipv6Addr = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        return Some((Host::Ip(ip.into()), port_of(&rest[end + 1..])?));
    }
    let (host, port) = split_at(text, b':');
    if host.is_empty() || !host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b)) {
        return None;
    }
    let ip = std::str::from_utf8(host).ok().and_then(|h| h.parse::<Ipv4Addr>().ok());
    Some((ip.map_or(Host::Name(host), |ip| Host::Ip(ip.into())), port_of(port)?))
}

/// `:port`, or nothing.
fn port_of(text: &[u8]) -> Option<Option<u16>> {
    match text.split_first() {
        None => Some(None),
        Some((b':', digits)) => {
            let port = super::lexer::decimal(super::lexer::trim(digits))?;
            u16::try_from(port).ok().filter(|p| *p > 0).map(Some)
        }
        Some(_) => None,
    }
}

/// Before and from a byte on.
fn split_at(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|b| *b == byte) {
        Some(at) => text.split_at(at),
        None => (text, &[]),
    }
}

/// The value of a `;name=value` parameter without quotes in it; empty for `;name`.
fn param<'a>(params: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    params.split(|b| *b == b';').find_map(|p| {
        let (n, value) = split_at(p, b'=');
        n.eq_ignore_ascii_case(name).then(|| value.strip_prefix(b"=").unwrap_or(value))
    })
}

fn escapes_are_right(text: &[u8]) -> bool {
    text.iter()
        .enumerate()
        .filter(|(_, b)| **b == b'%')
        .all(|(i, _)| text.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

/// Appends `text` with its `%` escapes resolved.
pub fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((byte, next)) = rest.split_first() {
        let hex = |b: u8| char::from(b).to_digit(16);
        rest = next;
        if let (b'%', [a, b, after @ ..]) = (byte, next)
            && let (Some(a), Some(b)) = (hex(*a), hex(*b))
        {
            out.push((a * 16 + b) as u8);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ports_and_parameters() {
        let uri = Uri::parse(b"sips:+12025550123;npdi:pw@[2001:db8::1]:5071;transport=tcp;lr?a=b").unwrap();
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user, Some(&b"+12025550123;npdi"[..]));
        assert_eq!(uri.address().unwrap().to_string(), "[2001:db8::1]:5071");
        assert_eq!((uri.param(b"transport"), uri.param(b"LR")), (Some(&b"tcp"[..]), Some(&b""[..])));
        assert_eq!(uri.headers, b"?a=b");
        assert_eq!(Uri::parse(b"sip:192.0.2.4").unwrap().address().unwrap().to_string(), "192.0.2.4:5060");
    }

    #[test]
    fn telephone_numbers_keep_their_plus() {
        let uri = Uri::parse(b"tel:+1-202-555-0123;phone-context=example.com").unwrap();
        assert_eq!((uri.scheme, uri.user), (Scheme::Tel, Some(&b"+1-202-555-0123"[..])));
        assert!(uri.host.is_none() && uri.address().is_none());
    }

    #[test]
    fn what_is_no_uri() {
        for bad in [
            &b"sip:"[..],
            b"sip:a@",
            b"sip:@example.com",
            b"sip:a b@example.com",
            b"sip:<a@example.com>",
            b"sip:a@example.com:0",
            b"sip:a@example.com:70000",
            b"sip:a@exa mple.com",
            b"sip:a%4@example.com%",
            b"sip:[::1",
            b"tel:",
            b"tel:caller",
            b"nocolon",
            b"1a:b",
        ] {
            assert!(Uri::parse(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn escapes() {
        let mut out = Vec::new();
        unescape(b"a%20b%", &mut out);
        assert_eq!(out, b"a b%");
    }
}
