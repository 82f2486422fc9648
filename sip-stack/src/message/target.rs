//! Who is called, and where a call is sent on to: the numbers and names that are ours, referrals, redirections and what is replaced.

use super::dial::seal_number;
use super::facts::{Dialled, Hop, LISTEN, Protocol, ReferTo, Replaces, Target};
use super::lexer::{Name, trim};
use super::read::{Text, our_tag};
use super::rules::Numbering;
use super::uri::{Scheme, Uri, unescape};
use super::values::{NameAddr, list, params};
use vault::Field;

impl Text<'_, '_> {
    /// RFC 3891 §6.1.
    pub(super) fn replaces(&self, value: &[u8]) -> Option<Replaces> {
        let end = value.iter().position(|b| *b == b';')?;
        let (call_id, parameters) = value.split_at(end);
        let get =
            |name: &[u8]| params(parameters).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        let (to_tag, from_tag) = (get(b"to-tag")?, get(b"from-tag")?);
        Some(Replaces {
            to_tag: our_tag(to_tag),
            peer: self.secrets.index(&self.reader.key, &[b"peer", trim(call_id), from_tag]),
            early_only: get(b"early-only").is_some(),
        })
    }

    /// RFC 3515 §2.1.
    pub(super) fn refer_to(&self, value: &[u8], subject: u64) -> Option<ReferTo> {
        self.elsewhere(&NameAddr::parse(value)?, subject)
    }

    /// Contacts of a redirection, the most wanted first (RFC 3261 §8.1.3.4).
    pub(super) fn redirects(&self, subject: u64) -> Vec<ReferTo> {
        const MOST: usize = 8;
        let contacts = self.message.all(Name::Contact).filter_map(list).flatten().filter_map(NameAddr::parse);
        let mut contacts: Vec<_> = contacts.take(MOST).map(|c| (preference(&c), c)).collect();
        contacts.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
        contacts.iter().filter_map(|(_, contact)| self.elsewhere(contact, subject)).collect()
    }

    fn elsewhere(&self, address: &NameAddr<'_>, subject: u64) -> Option<ReferTo> {
        if address.uri.scheme == Scheme::Other {
            return None;
        }
        let number = address.uri.user.and_then(|user| {
            self.numbering().map(|n| n.e164(user))?.or_else(|| Numbering::default().e164(user))
        });
        Some(ReferTo {
            // Headers in it (RFC 3261 §19.1.1) are another's wish, of which nothing is taken over.
            uri: self.seal(subject, Field::Uri, without_headers(address.uri_text)),
            target: self.target(&address.uri),
            hop: hop_of(&address.uri),
            number: number
                .filter(|n| self.reader.dial_rules().allow(n))
                .map(|n| seal_number(self.secrets, self.reader, subject, &n)),
            replaces: address.uri_text.contains(&b'?'),
        })
    }

    /// What is called. A call that was diverted and whose Request-URI says nothing to us is for the number that was dialled first
    /// (RFC 7044, RFC 5806).
    pub(super) fn called(&self, uri: &Uri<'_>) -> Target {
        let target = self.target(uri);
        if target != Target::Unknown {
            return target;
        }
        let before = [Name::HistoryInfo, Name::Diversion].into_iter().flat_map(|name| self.message.all(name));
        let before = before.filter_map(list).flatten().filter_map(NameAddr::parse);
        let ours =
            before.map(|n| self.target(&n.uri)).find(|t| matches!(t, Target::Number(_) | Target::AdHoc(_)));
        ours.unwrap_or(Target::Unknown)
    }

    fn target(&self, uri: &Uri<'_>) -> Target {
        let mut user = Vec::new();
        unescape(uri.user.unwrap_or_default(), &mut user);
        let user = user.split(|b| *b == b';').next().unwrap_or_default();
        let digits = digits_of(user);
        let numbers = || self.reader.book.numbers.iter().enumerate();
        let is = |digits: &[u8]| numbers().find(|(_, n)| n.as_bytes() == digits).map(|(place, _)| place);
        let whole = self.numbering().and_then(|n| n.e164(user)).and_then(|n| is(&n[1..]));
        if let Some(place) = whole.or_else(|| is(&digits)).filter(|_| !digits.is_empty()) {
            return Target::Number(place);
        }
        if self.numbering().and_then(|n| n.last_digits).is_some_and(|n| n == digits.len()) {
            let mut fits = numbers().filter(|(_, n)| n.as_bytes().ends_with(&digits));
            match (fits.next(), fits.next()) {
                (Some((place, _)), None) => return Target::Number(place),
                (Some(_), Some(_)) => return Target::Ambiguous,
                (None, _) => {}
            }
        }
        if user.starts_with(LISTEN.as_bytes()) {
            return Dialled::new(user).map_or(Target::Unknown, Target::Listen);
        }
        let adhoc = self.reader.book.adhoc_prefix.as_ref().filter(|p| user.starts_with(p.as_bytes()));
        adhoc.and_then(|_| Dialled::new(user)).map_or(Target::Unknown, Target::AdHoc)
    }
}

/// Where a URI's requests go.
pub(super) fn hop_of(uri: &Uri<'_>) -> Hop {
    let named = uri.param(b"transport").and_then(Protocol::from_name);
    let protocol = match uri.scheme {
        Scheme::Sips => Some(Protocol::Tls),
        _ => named,
    };
    Hop { address: uri.address(), protocol, ..Hop::default() }
}

/// A URI up to its headers.
fn without_headers(uri: &[u8]) -> &[u8] {
    &uri[..uri.iter().position(|b| *b == b'?').unwrap_or(uri.len())]
}

/// A contact's `q` in thousandths (RFC 3261 §20.10); 1 unless it is given.
fn preference(contact: &NameAddr<'_>) -> u32 {
    let Some(q) = contact.param(b"q") else { return 1000 };
    let text = std::str::from_utf8(q).unwrap_or_default();
    (text.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u32
}

/// The digits of a number: without separators and plus; empty when it is none.
fn digits_of(user: &[u8]) -> Vec<u8> {
    let right = user
        .iter()
        .enumerate()
        .all(|(i, b)| b.is_ascii_digit() || b"-.()".contains(b) || (*b == b'+' && i == 0));
    if !right {
        return Vec::new();
    }
    user.iter().copied().filter(u8::is_ascii_digit).collect()
}
