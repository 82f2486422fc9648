//! Digest authentication (RFC 7616, RFC 8760), both directions. Passwords are sealed and read only inside a region.

use super::facts::{Auth, AuthAnswer, Challenge};
use super::fields::{Fields, context};
use super::lexer::{Message, Name, trim};
use super::read::Reader;
use super::rules::TrunkId;
use super::uri::Uri;
use md5::Md5;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use vault::{Field, Keyring, Sealed, Secrets, Signalling, SignallingText};

/// Our realm (RFC 3261 §22.1): the same everywhere, for there is one protection domain.
pub const REALM: &str = "sotto";
/// Algorithms that we have, the most wanted first (RFC 8760 §2.2).
const ALGORITHMS: [(&str, Algorithm); 2] = [("SHA-256", Algorithm::Sha256), ("MD5", Algorithm::Md5)];

/// A hash of RFC 8760.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// MD5, for peers that have nothing else.
    Md5,
}

impl Algorithm {
    /// All, the most wanted first.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Md5];

    /// Its name in a challenge.
    pub fn as_str(self) -> &'static str {
        ALGORITHMS.iter().find(|(_, a)| *a == self).map_or("", |(name, _)| name)
    }

    fn by_name(name: &[u8]) -> Option<Self> {
        // RFC 7616 §3.3: without a name it is MD5.
        let name = if name.is_empty() { b"MD5" } else { name };
        ALGORITHMS.iter().find(|(n, _)| name.eq_ignore_ascii_case(n.as_bytes())).map(|(_, a)| *a)
    }

    /// The hash of texts with colons between them, in hexadecimal digits.
    fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        let text = parts.join(&b':');
        let hash: Vec<u8> = match self {
            Self::Sha256 => Sha256::digest(&text).to_vec(),
            Self::Md5 => Md5::digest(&text).to_vec(),
        };
        let mut out = Vec::with_capacity(hash.len() * 2);
        for byte in hash {
            for nibble in [byte >> 4, byte & 15] {
                out.push(b"0123456789abcdef"[usize::from(nibble)]);
            }
        }
        out
    }
}

/// A name and password, sealed.
#[derive(Debug, Clone)]
pub struct Credentials {
    subject: u64,
    text: Arc<Sealed<SignallingText>>,
}

impl Credentials {
    /// Seals `user` and `password` under `subject`, a number never given before.
    pub fn seal(secrets: Secrets<'_>, ring: &Keyring, subject: u64, user: &[u8], password: &[u8]) -> Self {
        let mut fields = Fields::default();
        fields.push(user);
        fields.push(password);
        let text = secrets.seal(ring, context(subject, Field::Credentials), &fields.0);
        Self { subject, text: Arc::new(text) }
    }
}

impl vault::Leaves for Credentials {
    fn leave(self, on: vault::leaves::Leaving) -> Self {
        Self { subject: self.subject, text: self.text.leave(on) }
    }
}

/// Values of a Digest challenge or answer, unquoted.
struct Values<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Values<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") || !rest.first().is_some_and(|b| b" \t".contains(b)) {
            return None;
        }
        let values = super::values::list(rest)?.into_iter().filter_map(|item| {
            let at = item.iter().position(|b| *b == b'=')?;
            let (name, value) = (trim(&item[..at]), trim(&item[at + 1..]));
            let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
            Some((name, inner.unwrap_or(value)))
        });
        Some(Self(values.collect()))
    }

    fn get(&self, name: &str) -> &'a [u8] {
        let found = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        found.map_or(&[][..], |(_, value)| value)
    }
}

/// What a request proves of what its trunk requires.
pub(super) fn judge(
    secrets: Secrets<'_>,
    reader: &Reader,
    (trunk, required): (TrunkId, Option<&Credentials>),
    m: &Message<'_>,
    method: &[u8],
    uri: &[u8],
) -> Auth {
    let Some(required) = required else { return Auth::NotRequired };
    let answers = m.all(Name::Authorization).filter_map(Values::parse);
    let Some(answer) = answers.into_iter().find(|a| a.get("realm") == REALM.as_bytes()) else {
        return Auth::Missing;
    };
    let Some(nonce) = parse_nonce(answer.get("nonce")) else { return Auth::Missing };
    let text = secrets.open(
        reader.ring(),
        context(required.subject, Field::Credentials),
        &required.text,
        Signalling,
    );
    let Ok(text) = text else { return Auth::Missing };
    let (user, password) = (Fields::get(text.bytes(), 0), Fields::get(text.bytes(), 1));
    let count = match answer.get("qop") {
        b"auth" => std::str::from_utf8(answer.get("nc")).ok().and_then(|nc| u32::from_str_radix(nc, 16).ok()),
        b"" => Some(0),
        _ => None,
    };
    let offered = offered(reader, trunk);
    let algorithm = Algorithm::by_name(answer.get("algorithm")).filter(|a| offered.contains(a));
    let expected = algorithm.zip(count).map(|(algorithm, _)| {
        let values = Response {
            realm: answer.get("realm"),
            nonce: answer.get("nonce"),
            uri: answer.get("uri"),
            qop: answer.get("qop"),
            nc: answer.get("nc"),
            cnonce: answer.get("cnonce"),
        };
        values.compute(algorithm, user, password, method)
    });
    let right = expected.is_some_and(|e| same(&e, answer.get("response")))
        && same(answer.get("username"), user)
        && is_about(answer.get("uri"), uri);
    Auth::Answered(AuthAnswer { nonce, count: count.unwrap_or(0), right })
}

/// Whether a digest's URI is the request's: the same, or at least of the same host; many write it without the user part.
fn is_about(digest: &[u8], request: &[u8]) -> bool {
    let host = |text| Uri::parse(text).map(|u| (u.host, u.port.unwrap_or(5060)));
    digest == request
        || matches!((host(digest), host(request)), (Some(a), Some(b)) if a.0 == b.0 && a.1 == b.1)
}

/// In a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Our nonces are 32 hexadecimal digits.
fn parse_nonce(text: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(text).ok().filter(|t| t.len() == 32 && !t.starts_with('+'))?;
    u128::from_str_radix(text, 16).ok()
}

/// What goes into a response (RFC 7616 §3.4.1).
struct Response<'a> {
    realm: &'a [u8],
    nonce: &'a [u8],
    uri: &'a [u8],
    qop: &'a [u8],
    nc: &'a [u8],
    cnonce: &'a [u8],
}

impl Response<'_> {
    fn compute(&self, algorithm: Algorithm, user: &[u8], password: &[u8], method: &[u8]) -> Vec<u8> {
        let first = algorithm.hash(&[user, self.realm, password]);
        let second = algorithm.hash(&[method, self.uri]);
        if self.qop.is_empty() {
            return algorithm.hash(&[&first, self.nonce, &second]);
        }
        algorithm.hash(&[&first, self.nonce, self.nc, self.cnonce, self.qop, &second])
    }
}

/// The algorithms that a trunk may answer with.
fn offered(reader: &Reader, trunk: TrunkId) -> &[Algorithm] {
    let own = reader.trunk(trunk).map_or(&[][..], |r| &r.algorithms);
    if own.is_empty() { &Algorithm::ALL } else { own }
}

/// Writes our challenge, one for each algorithm that the trunk may answer with.
pub(super) fn write_challenge(reader: &Reader, trunk: TrunkId, nonce: u128, stale: bool, out: &mut Vec<u8>) {
    use std::io::Write;
    for name in offered(reader, trunk).iter().map(|a| a.as_str()) {
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce:032x}\", qop=\"auth\", algorithm={name}{}\r\n",
            if stale { ", stale=true" } else { "" }
        );
    }
}

const REALM_FIELD: usize = 0;
const NONCE: usize = 1;
const OPAQUE: usize = 2;
const ALGORITHM: usize = 3;
const QOP: usize = 4;

/// The first challenge of a response that we can answer (RFC 8760 §2.4).
pub(super) fn challenge(
    secrets: Secrets<'_>,
    reader: &Reader,
    subject: u64,
    m: &Message<'_>,
) -> Option<Challenge> {
    let of = |name, proxy| m.all(name).filter_map(Values::parse).map(move |v| (v, proxy));
    let (values, proxy) =
        of(Name::WwwAuthenticate, false).chain(of(Name::ProxyAuthenticate, true)).find(|(v, _)| {
            let qop = v.get("qop");
            let can =
                qop.is_empty() || qop.split(|b| *b == b',').any(|q| trim(q).eq_ignore_ascii_case(b"auth"));
            Algorithm::by_name(v.get("algorithm")).is_some() && can && !v.get("nonce").is_empty()
        })?;
    let mut fields = Fields::default();
    let qop: &[u8] = if values.get("qop").is_empty() { b"" } else { b"auth" };
    for value in
        [values.get("realm"), values.get("nonce"), values.get("opaque"), values.get("algorithm"), qop]
    {
        fields.push(value);
    }
    let text = secrets.seal(reader.ring(), context(subject, Field::Challenge), &fields.0);
    Some(Challenge { text, proxy, stale: values.get("stale").eq_ignore_ascii_case(b"true") })
}

/// An answer to a challenge, to be written into a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Number of the response that challenged.
    pub subject: u64,
    /// The challenge.
    pub challenge: Arc<Sealed<SignallingText>>,
    /// Whether it was a proxy's.
    pub proxy: bool,
    /// Who we are.
    pub credentials: Credentials,
    /// How often the nonce was used, this time included.
    pub count: u32,
}

impl Answer {
    /// Writes the header field.
    pub(super) fn write(
        &self,
        secrets: Secrets<'_>,
        reader: &Reader,
        method: &[u8],
        uri: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), vault::Tampered> {
        let open =
            |subject, field, text| secrets.open(reader.ring(), context(subject, field), text, Signalling);
        let challenge = open(self.subject, Field::Challenge, &self.challenge)?;
        let credentials = open(self.credentials.subject, Field::Credentials, &self.credentials.text)?;
        let field = |index| Fields::get(challenge.bytes(), index);
        let (user, password) = (Fields::get(credentials.bytes(), 0), Fields::get(credentials.bytes(), 1));
        let algorithm = Algorithm::by_name(field(ALGORITHM)).unwrap_or(Algorithm::Md5);
        let count = format!("{:08x}", self.count);
        let cnonce = format!("{:032x}", rand::random::<u128>());
        let values = Response {
            realm: field(REALM_FIELD),
            nonce: field(NONCE),
            uri,
            qop: field(QOP),
            nc: count.as_bytes(),
            cnonce: cnonce.as_bytes(),
        };
        let response = values.compute(algorithm, user, password, method);
        let name: &[u8] = if self.proxy { b"Proxy-Authorization" } else { b"Authorization" };
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|p| out.extend_from_slice(p));
        put(&[
            name,
            b": Digest username=\"",
            user,
            b"\", realm=\"",
            values.realm,
            b"\", nonce=\"",
            values.nonce,
        ]);
        put(&[b"\", uri=\"", uri, b"\", response=\"", &response, b"\""]);
        if !field(ALGORITHM).is_empty() {
            put(&[b", algorithm=", field(ALGORITHM)]);
        }
        if !field(OPAQUE).is_empty() {
            put(&[b", opaque=\"", field(OPAQUE), b"\""]);
        }
        if !values.qop.is_empty() {
            put(&[b", qop=auth, nc=", values.nc, b", cnonce=\"", values.cnonce, b"\""]);
        }
        put(&[b"\r\n"]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7616() {
        // Section 3.9.1.
        let values = Response {
            realm: b"http-auth@example.org",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            uri: b"/dir/index.html",
            qop: b"auth",
            nc: b"00000001",
            cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        };
        let of = |algorithm| values.compute(algorithm, b"Mufasa", b"Circle of Life", b"GET");
        assert_eq!(of(Algorithm::Md5), b"8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            of(Algorithm::Sha256),
            b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn the_example_of_rfc_2617_without_quality_of_protection() {
        let values = Response { realm: b"r", nonce: b"n", uri: b"sip:a", qop: b"", nc: b"", cnonce: b"" };
        let first = Algorithm::Md5.hash(&[b"u", b"r", b"p"]);
        let second = Algorithm::Md5.hash(&[b"REGISTER", b"sip:a"]);
        assert_eq!(
            values.compute(Algorithm::Md5, b"u", b"p", b"REGISTER"),
            Algorithm::Md5.hash(&[&first, b"n", &second])
        );
    }

    #[test]
    fn values_with_commas_in_quotes_and_in_any_case() {
        let values =
            Values::parse(b"DIGEST realm=\"a, b\" , Nonce=\"n=1\",algorithm=MD5,stale=TRUE").unwrap();
        assert_eq!(values.get("realm"), b"a, b");
        assert_eq!(values.get("nonce"), b"n=1");
        assert_eq!((values.get("algorithm"), values.get("qop")), (&b"MD5"[..], &b""[..]));
        assert!(Values::parse(b"Basic realm=\"a\"").is_none() && Values::parse(b"Digest").is_none());
    }
}
