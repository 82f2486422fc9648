//! What holds for messages from and to one trunk: how it writes numbers, how we show ourselves to it, what it must prove.

use super::auth::{Algorithm, Credentials};
use super::facts::Protocol;
use super::uri::unescape;

/// A trunk's place in the [`Reader`](super::Reader)'s list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TrunkId(pub u16);

impl vault::Leaves for TrunkId {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

/// Rules of one trunk.
#[derive(Debug, Clone, Default)]
pub struct TrunkRules {
    /// How it writes numbers.
    pub numbering: Numbering,
    /// What it must prove by digest (RFC 7616) before its requests are taken.
    pub requires: Option<Credentials>,
    /// The algorithms that it may prove it with, the most wanted first; none: all.
    pub algorithms: Vec<Algorithm>,
    /// The host name that stands in our Contact, Via and From towards it, instead of an address.
    pub contact_host: Option<String>,
    /// The protocols that it may come by; none: any.
    pub protocols: Vec<Protocol>,
    /// The host name that its TLS certificate must be for.
    pub tls_name: Option<String>,
    /// Whether it may transfer calls (RFC 3515).
    pub refer: bool,
    /// Who we are to it in calls that we make: the user part of our address.
    pub caller: Option<String>,
    /// Whether we assert that towards it (RFC 3325).
    pub asserts: bool,
}

impl TrunkRules {
    /// Whether it may come by a protocol.
    pub fn takes(&self, protocol: Protocol) -> bool {
        (self.protocols.is_empty() || self.protocols.contains(&protocol))
            && (self.tls_name.is_none() || protocol.is_secure())
    }
}

/// How a trunk writes numbers.
#[derive(Debug, Clone, Default)]
pub struct Numbering {
    /// Country code of numbers that it writes without one; empty: bare digits are whole E.164 numbers.
    pub country: String,
    /// What stands before a national number, as `0`.
    pub trunk_prefix: String,
    /// What stands before an international number instead of `+`, as `00`.
    pub international: String,
    /// It writes only this many last digits of a called number.
    pub last_digits: Option<usize>,
    /// It wants E.164 numbers without their `+`.
    pub without_plus: bool,
}

impl Numbering {
    /// The E.164 form of a user part, with `+` in front; `None` when it is no telephone number.
    pub fn e164(&self, user: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        unescape(user, &mut text);
        let end = text.iter().position(|b| *b == b';').unwrap_or(text.len());
        text.truncate(end);
        let plus = text.first() == Some(&b'+');
        let body = &text[usize::from(plus)..];
        if !body.iter().all(|b| b.is_ascii_digit() || b"-.()".contains(b)) {
            return None;
        }
        let digits: Vec<u8> = body.iter().copied().filter(u8::is_ascii_digit).collect();
        let strip = |prefix: &str| digits.strip_prefix(prefix.as_bytes()).filter(|_| !prefix.is_empty());
        let (country, rest) = match () {
            () if plus => (&b""[..], &digits[..]),
            () if strip(&self.international).is_some() => (&b""[..], strip(&self.international)?),
            () if self.country.is_empty() => (&b""[..], &digits[..]),
            () => (self.country.as_bytes(), strip(&self.trunk_prefix).unwrap_or(&digits)),
        };
        let number = [b"+", country, rest].concat();
        // E.164 §6: at most 15 digits; fewer than 7 (the `+` makes eight) are a service's or an extension.
        (8..=16).contains(&number.len()).then_some(number)
    }
}

/// Which numbers may be dialled: against toll fraud.
#[derive(Debug, Clone, Default)]
pub struct DialRules {
    /// Beginnings of numbers in E.164 form that may be dialled, as `+44`; empty: none may.
    pub allowed: Vec<String>,
    /// Beginnings that may not, though one of the above fits; the longest that fits decides.
    pub denied: Vec<String>,
}

impl DialRules {
    /// Whether a number (`+` and digits) may be dialled.
    pub fn allow(&self, number: &[u8]) -> bool {
        let longest =
            |list: &[String]| list.iter().filter(|p| number.starts_with(p.as_bytes())).map(String::len).max();
        longest(&self.allowed) > longest(&self.denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbering(country: &str, trunk_prefix: &str, international: &str) -> Numbering {
        let own = |s: &str| s.to_owned();
        Numbering {
            country: own(country),
            trunk_prefix: own(trunk_prefix),
            international: own(international),
            last_digits: None,
            without_plus: false,
        }
    }

    #[test]
    fn numbers_in_each_spelling_become_e164() {
        let uk = numbering("44", "0", "00");
        let us = numbering("1", "1", "011");
        let plain = Numbering::default();
        for (numbering, user, expected) in [
            (&uk, "02079460123", Some("+442079460123")),
            (&uk, "2079460123", Some("+442079460123")),
            (&uk, "004420-7946-0123", Some("+442079460123")),
            (&uk, "+44%20", None),
            (&uk, "+44(20)7946.0123;phone-context=x", Some("+442079460123")),
            (&us, "2025550143", Some("+12025550143")),
            (&us, "12025550143", Some("+12025550143")),
            (&us, "011442079460123", Some("+442079460123")),
            (&plain, "12025550143", Some("+12025550143")),
            (&plain, "%2B12025550143", Some("+12025550143")),
            (&plain, "ada", None),
            (&plain, "101", None),
            (&plain, "+1234567890123456", None),
            (&plain, "", None),
        ] {
            let got = numbering.e164(user.as_bytes()).map(|n| String::from_utf8(n).unwrap());
            assert_eq!(got.as_deref(), expected, "{user}");
        }
    }

    #[test]
    fn the_longest_rule_that_fits_decides_and_without_rules_nothing_is_dialled() {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let rules = DialRules {
            allowed: own(&["+44", "+1", "+1900555014"]),
            denied: own(&["+4477", "+1900", "+44"]),
        };
        for (number, allowed) in [
            ("+12025550143", true),
            ("+19005550143", true),
            ("+19005550199", false),
            ("+447700900123", false),
            ("+442079460123", false),
            ("+33199001234", false),
        ] {
            assert_eq!(rules.allow(number.as_bytes()), allowed, "{number}");
        }
        assert!(!DialRules::default().allow(b"+12025550143"));
    }
}
