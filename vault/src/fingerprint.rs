//! What proves a peer's certificate in DTLS-SRTP: its hash, as session descriptions carry it (RFC 8122 §5).

use crate::leaves::{Composite, Leaves, Leaving};
use ring::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use std::fmt;

crate::leaves! {
    /// A hash function that a fingerprint may be made with. SHA-1 and MD5 prove nothing any more.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Hash {
        /// `sha-256`: every peer has it.
        Sha256,
        /// `sha-384`
        Sha384,
        /// `sha-512`
        Sha512,
    }
}

impl Hash {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }
}

/// A certificate's hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    hash: Hash,
    bytes: [u8; 64],
}

impl Leaves for Fingerprint {
    fn leave(self, _: Leaving) -> Self {
        self
    }
}

impl Composite for Fingerprint {}

impl Fingerprint {
    /// The SHA-256 of a certificate in DER form.
    pub fn of(certificate: &[u8]) -> Self {
        Self::by(Hash::Sha256, certificate)
    }

    fn by(hash: Hash, certificate: &[u8]) -> Self {
        let mut bytes = [0; 64];
        let made = digest::digest(hash.algorithm(), certificate);
        bytes[..made.as_ref().len()].copy_from_slice(made.as_ref());
        Self { hash, bytes }
    }

    /// Whether it is this certificate's.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        *self == Self::by(self.hash, certificate)
    }

    /// Reads the attribute's value, as `sha-256 4A:AD:…`. `None`: another hash function, or not as long as its hashes are.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = value.split(|b| *b == b' ').filter(|w| !w.is_empty());
        let (name, digits) = (words.next()?, words.next()?);
        let hash = Hash::ALL.into_iter().find(|h| name.eq_ignore_ascii_case(h.name().as_bytes()))?;
        let mut bytes = [0; 64];
        let mut count = 0;
        for pair in digits.split(|b| *b == b':') {
            let [high, low] = *<&[u8; 2]>::try_from(pair).ok()?;
            let digit = |c: u8| char::from(c).to_digit(16);
            *bytes.get_mut(count)? = (digit(high)? << 4 | digit(low)?) as u8;
            count += 1;
        }
        (count == hash.algorithm().output_len() && words.next().is_none()).then_some(Self { hash, bytes })
    }
}

/// As [`Fingerprint::parse`] reads it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (n, byte) in self.bytes[..self.hash.algorithm().output_len()].iter().enumerate() {
            write!(f, "{}{byte:02X}", if n == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// A browser that keeps its certificate is known again by it.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({}, ..)", self.hash.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_it_is_read_and_proves_one_certificate() {
        for hash in Hash::ALL {
            let print = Fingerprint::by(hash, b"a certificate");
            let text = print.to_string();
            assert_eq!(Fingerprint::parse(text.as_bytes()), Some(print));
            assert_eq!(Fingerprint::parse(text.to_lowercase().as_bytes()), Some(print));
            assert!(print.is_of(b"a certificate") && !print.is_of(b"another"));
            assert_eq!(Fingerprint::parse(&text.as_bytes()[..text.len() - 3]), None, "too short");
            assert_eq!(Fingerprint::parse(format!("{text}:00").as_bytes()), None, "too long");
        }
        assert_eq!(
            Fingerprint::of(b"abc").to_string(),
            "sha-256 BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD",
            "FIPS 180-2, B.1"
        );
        for bad in ["", "sha-256", "sha-1 00", "sha-256 0:1", "sha-256 0G:00", "sha-256  ", "md5 00:01"] {
            assert_eq!(Fingerprint::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
