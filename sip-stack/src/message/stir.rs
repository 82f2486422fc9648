//! Whether a caller's number is theirs: Identity (RFC 8224) with PASSporTs (RFC 8225, RFC 8588), verified inside a region where the
//! certificate is at hand. Only the verdict leaves.

use super::facts::{Attestation, Verification};
use super::lexer::{Message, Name, trim};
use super::rules::Numbering;
use super::uri::Uri;
use super::values::{NameAddr, list};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use std::time::{Duration, SystemTime};

/// A PASSporT is as old or as early as this at most (RFC 8224 §12.1).
const FRESH: u64 = 60;
/// Identity fields of one request that are looked at.
const MOST: usize = 4;
/// An uncompressed point on P-256.
const POINT: usize = 65;

/// Certificates that are at hand, by the URL under which PASSporTs name them.
#[derive(Debug, Default)]
pub struct Certificates(Vec<Certificate>);

#[derive(Debug)]
struct Certificate {
    url: String,
    point: [u8; POINT],
}

/// Why a certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StirError {
    /// There is none in the file.
    #[error("no certificate in PEM form")]
    NoCertificate,
    /// No authority is in its file, or one that cannot be used.
    #[error("no usable authority in PEM form")]
    NoAuthority,
    /// None of the authorities has signed it, or it is not good now: why.
    #[error("not signed by an authority that is trusted, or not good now: {0}")]
    Untrusted(String),
    /// Its key is not on P-256 (RFC 8226 §5).
    #[error("its key is none for ES256")]
    NotEs256,
}

impl Certificates {
    /// Adds the chain in a PEM file, its own certificate first, if one of the authorities has signed it.
    ///
    /// # Errors
    /// [`StirError`].
    pub fn add(
        &mut self,
        url: &str,
        chain: &[u8],
        authorities: &[u8],
        at: SystemTime,
    ) -> Result<(), StirError> {
        let read = |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let chain = read(chain).map_err(|_| StirError::NoCertificate)?;
        let authorities = read(authorities).map_err(|_| StirError::NoAuthority)?;
        let anchors = authorities.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>();
        let anchors = anchors.ok().filter(|a| !a.is_empty()).ok_or(StirError::NoAuthority)?;
        let (own, others) = chain.split_first().ok_or(StirError::NoCertificate)?;
        let untrusted = |e: webpki::Error| StirError::Untrusted(e.to_string());
        let own = webpki::EndEntityCert::try_from(own).map_err(untrusted)?;
        let time = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        own.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            others,
            time,
            // They are for no use that has a name of its own (RFC 8226 §9).
            webpki::KeyUsage::required_if_present(&[]),
            None,
            None,
        )
        .map_err(untrusted)?;
        let key = own.subject_public_key_info();
        // The point ends the structure (RFC 5480 §2); its head names the curve.
        const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let (head, point) = key.split_last_chunk::<POINT>().ok_or(StirError::NotEs256)?;
        if point[0] != 4 || !head.windows(P256.len()).any(|w| w == P256) {
            return Err(StirError::NotEs256);
        }
        self.0.push(Certificate { url: url.to_owned(), point: *point });
        Ok(())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    x5u: String,
    ppt: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iat: u64,
    orig: Orig,
    dest: Dest,
    attest: Option<String>,
}

#[derive(Deserialize)]
struct Orig {
    tn: Option<String>,
}

#[derive(Deserialize)]
struct Dest {
    tn: Option<Vec<String>>,
}

/// What a request's Identity fields prove of its caller.
pub(super) fn verify(
    certificates: &Certificates,
    m: &Message<'_>,
    (from, called): (&NameAddr<'_>, Option<&Uri<'_>>),
    numbering: &Numbering,
    at: SystemTime,
) -> Verification {
    // Most have none.
    if m.first(Name::Identity).is_none() {
        return Verification::None;
    }
    let number = |uri: &Uri<'_>| numbering.e164(uri.user?).or_else(|| Numbering::default().e164(uri.user?));
    let asserted = m.all(Name::PAssertedIdentity).filter_map(list).flatten().filter_map(NameAddr::parse);
    let callers: Vec<_> = asserted.chain([*from]).filter_map(|a| number(&a.uri)).collect();
    let to = m.first(Name::To).and_then(NameAddr::parse);
    let called: Vec<_> = to.map(|t| t.uri).iter().chain(called).filter_map(number).collect();
    let mut worst = Verification::None;
    for value in m.all(Name::Identity).take(MOST) {
        match one(certificates, value, (&callers, &called), at) {
            verified @ Verification::Verified(_) => return verified,
            Verification::Failed => worst = Verification::Failed,
            Verification::None => {}
        }
    }
    worst
}

/// RFC 8224 §6.2.
fn one(
    certificates: &Certificates,
    value: &[u8],
    (callers, called): (&[Vec<u8>], &[Vec<u8>]),
    at: SystemTime,
) -> Verification {
    let token = trim(value.split(|b| *b == b';').next().unwrap_or_default());
    let mut parts = token.split(|b| *b == b'.');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some(header), Some(claims), Some(signature), None] = parts else { return Verification::Failed };
    // The compact form (RFC 8224 §4.1) leaves them out; SHAKEN forbids it.
    if header.is_empty() || claims.is_empty() {
        return Verification::None;
    }
    let read = |part: &[u8]| B64.decode(part).ok();
    let parsed: Option<Header> = read(header).and_then(|h| serde_json::from_slice(&h).ok());
    let Some(parsed) = parsed else { return Verification::Failed };
    // Others tell of diversions and rich call data: not of who calls.
    if parsed.ppt.as_deref().is_some_and(|ppt| ppt != "shaken") {
        return Verification::None;
    }
    let Some(certificate) = certificates.0.iter().find(|c| c.url == parsed.x5u) else {
        return Verification::None;
    };
    let signed = [header, b".", claims].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &certificate.point);
    let right = parsed.alg == "ES256" && read(signature).is_some_and(|s| key.verify(&signed, &s).is_ok());
    let claims: Option<Claims> = read(claims).filter(|_| right).and_then(|c| serde_json::from_slice(&c).ok());
    let Some(claims) = claims else { return Verification::Failed };
    let now = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d: Duration| d.as_secs());
    let is = |number: &[Vec<u8>], tn: &str| number.iter().any(|n| &n[1..] == tn.as_bytes());
    let for_us = claims.dest.tn.iter().flatten().any(|tn| is(called, tn));
    let Some(tn) = &claims.orig.tn else { return Verification::Failed };
    if now.abs_diff(claims.iat) > FRESH || !for_us || !callers.is_empty() && !is(callers, tn) {
        return Verification::Failed;
    }
    // Signed, but for a number that the request does not tell us.
    if callers.is_empty() {
        return Verification::None;
    }
    match (parsed.ppt, claims.attest.as_deref()) {
        (None, _) | (_, Some("A")) => Verification::Verified(Attestation::Full),
        (_, Some("B")) => Verification::Verified(Attestation::Partial),
        (_, Some("C")) => Verification::Verified(Attestation::Gateway),
        _ => Verification::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, Issuer, KeyPair};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    const URL: &str = "https://cert.example.org/sp.pem";

    struct Provider {
        chain: String,
        authority: String,
        key: EcdsaKeyPair,
    }

    impl Provider {
        fn new() -> Self {
            let authority_key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let authority = params.self_signed(&authority_key).unwrap();
            let issuer = Issuer::from_params(&params, &authority_key);
            let key = KeyPair::generate().unwrap();
            let chain = CertificateParams::new(Vec::new()).unwrap().signed_by(&key, &issuer).unwrap().pem();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let key =
                EcdsaKeyPair::from_pkcs8(algorithm, &key.serialize_der(), &SystemRandom::new()).unwrap();
            Self { chain, authority: authority.pem(), key }
        }

        fn certificates(&self) -> Certificates {
            let mut certificates = Certificates::default();
            certificates
                .add(URL, self.chain.as_bytes(), self.authority.as_bytes(), SystemTime::now())
                .unwrap();
            certificates
        }

        fn identity(&self, header: &str, claims: &str) -> String {
            let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
            let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{};info=<{URL}>;alg=ES256;ppt=shaken", B64.encode(signature))
        }
    }

    fn header(ppt: &str) -> String {
        format!(r#"{{"alg":"ES256",{ppt}"typ":"passport","x5u":"{URL}"}}"#)
    }

    fn claims(attest: &str, from: &str, to: &str, iat: u64) -> String {
        format!(r#"{{{attest}"dest":{{"tn":["{to}"]}},"iat":{iat},"orig":{{"tn":"{from}"}},"origid":"x"}}"#)
    }

    fn verdict(
        certificates: &Certificates,
        identities: &[&str],
        lines: &str,
        at: SystemTime,
    ) -> Verification {
        let identities: String = identities.iter().map(|i| format!("Identity: {i}\r\n")).collect();
        let mut text = format!(
            "INVITE sip:+12025550100@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: \"A\" <sip:+12025550143@example.com>;tag=1\r\nTo: <sip:+12025550100@example.com>\r\nCall-ID: 1\r\n\
             CSeq: 1 INVITE\r\n{lines}{identities}\r\n"
        )
        .into_bytes();
        let m = Message::lex(&mut text).unwrap();
        let from = m.first(Name::From).and_then(NameAddr::parse).unwrap();
        verify(certificates, &m, (&from, None), &Numbering::default(), at)
    }

    #[test]
    fn a_passport_is_believed_when_signature_time_and_both_numbers_are_right() {
        let (provider, other) = (Provider::new(), Provider::new());
        let (certificates, at) = (provider.certificates(), SystemTime::now());
        let now = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let shaken = header(r#""ppt":"shaken","#);
        let (a, b, c) = (r#""attest":"A","#, r#""attest":"B","#, r#""attest":"C","#);
        let (ours, theirs) = ("12025550100", "12025550143");
        let (full, partial, gateway) = (
            Verification::Verified(Attestation::Full),
            Verification::Verified(Attestation::Partial),
            Verification::Verified(Attestation::Gateway),
        );
        let one = |header: &str, claims: &str, by: &Provider| {
            verdict(&certificates, &[&by.identity(header, claims)], "", at)
        };
        for (what, header, claims, expected) in [
            ("A", shaken.clone(), claims(a, theirs, ours, now), full),
            ("B", shaken.clone(), claims(b, theirs, ours, now), partial),
            ("C", shaken.clone(), claims(c, theirs, ours, now), gateway),
            ("no SHAKEN", header(""), claims("", theirs, ours, now), full),
            ("a minute old", shaken.clone(), claims(a, theirs, ours, now - 60), full),
            ("older", shaken.clone(), claims(a, theirs, ours, now - 61), Verification::Failed),
            ("from the future", shaken.clone(), claims(a, theirs, ours, now + 61), Verification::Failed),
            ("another caller", shaken.clone(), claims(a, "12025550144", ours, now), Verification::Failed),
            (
                "for somebody else",
                shaken.clone(),
                claims(a, theirs, "12025550101", now),
                Verification::Failed,
            ),
            ("without a level", shaken.clone(), claims("", theirs, ours, now), Verification::Failed),
            (
                "a level of its own",
                shaken.clone(),
                claims(r#""attest":"D","#, theirs, ours, now),
                Verification::Failed,
            ),
            (
                "another algorithm",
                shaken.replace("ES256", "HS256"),
                claims(a, theirs, ours, now),
                Verification::Failed,
            ),
            (
                "no algorithm",
                shaken.replace("ES256", "none"),
                claims(a, theirs, ours, now),
                Verification::Failed,
            ),
            ("no claims", shaken.clone(), "{}".into(), Verification::Failed),
            ("a diversion", header(r#""ppt":"div","#), claims("", theirs, ours, now), Verification::None),
            (
                "another URL",
                shaken.replace("sp.pem", "x.pem"),
                claims(a, theirs, ours, now),
                Verification::None,
            ),
        ] {
            assert_eq!(one(&header, &claims, &provider), expected, "{what}");
        }
        assert_eq!(one(&shaken, &claims(a, theirs, ours, now), &other), Verification::Failed, "another key");
        let right = provider.identity(&shaken, &claims(a, theirs, ours, now));
        let wrong = right.replacen(".", "A.", 1);
        assert_eq!(verdict(&certificates, &[&wrong], "", at), Verification::Failed, "bent");
        assert_eq!(verdict(&certificates, &[&wrong, &right], "", at), full, "one of two is right");
        for token in ["", "a", "a.b", "a.b.c", "a.b.c.d", "..c;info=<x>"] {
            let expected = if token.starts_with("..") { Verification::None } else { Verification::Failed };
            assert_eq!(verdict(&certificates, &[token], "", at), expected, "{token}");
        }
        assert_eq!(verdict(&certificates, &[], "", at), Verification::None);
        let other = "P-Asserted-Identity: <tel:+12025550177>\r\n";
        let of_it = provider.identity(&shaken, &claims(a, "12025550177", ours, now));
        assert_eq!(verdict(&certificates, &[&of_it], other, at), full, "the asserted number");
    }

    #[test]
    fn a_certificate_is_taken_only_from_an_authority_and_only_for_es256() {
        let (provider, other, at) = (Provider::new(), Provider::new(), SystemTime::now());
        let add = |chain: &str, authority: &str| {
            Certificates::default().add(URL, chain.as_bytes(), authority.as_bytes(), at)
        };
        assert_eq!(add(&provider.chain, &provider.authority), Ok(()));
        assert!(matches!(add(&provider.chain, &other.authority), Err(StirError::Untrusted(_))));
        assert_eq!(add("", &provider.authority), Err(StirError::NoCertificate));
        assert_eq!(add(&provider.chain, ""), Err(StirError::NoAuthority));
        let late = at + Duration::from_secs(3600 * 24 * 365 * 3000);
        let (chain, authority) = (provider.chain.as_bytes(), provider.authority.as_bytes());
        let expired = Certificates::default().add(URL, chain, authority, late);
        assert!(matches!(expired, Err(StirError::Untrusted(_))), "{expired:?}");
    }
}
