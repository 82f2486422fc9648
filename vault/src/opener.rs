//! The viewer's side of [`envelope`](crate::envelope): opening what was disclosed. It runs in the viewer's process, which shows the values
//! to a person, and so protects nothing.

use crate::envelope::PublicKey;
use aes_kw::{KeyInit, KwAes256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use serde::Deserialize;

/// It is no JWE for this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an envelope does not open with this key")]
pub struct NotForUs;

/// A viewer's private key, good for one handover.
#[derive(Debug)]
pub struct ViewerSecret {
    private: EphemeralPrivateKey,
    public: [u8; 65],
}

/// A content key that was handed over.
pub struct ContentKey {
    key: LessSafeKey,
    id: String,
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentKey({})", self.id)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
    epk: Option<Point>,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Point {
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Key {
    k: String,
    kid: String,
}

impl ViewerSecret {
    /// A fresh one.
    ///
    /// # Errors
    /// [`NotForUs`] when the system has no random numbers.
    pub fn generate() -> Result<Self, NotForUs> {
        let private =
            EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).map_err(|_| NotForUs)?;
        let point = private.compute_public_key().map_err(|_| NotForUs)?;
        let public = point.as_ref().try_into().map_err(|_| NotForUs)?;
        Ok(Self { private, public })
    }

    /// The public key's coordinates, base64url, as a JWK has them.
    pub fn coordinates(&self) -> (String, String) {
        let (x, y) = self.public[1..].split_at(32);
        (B64.encode(x), B64.encode(y))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.public)
    }

    /// Opens the JWE that hands the content key over.
    ///
    /// # Errors
    /// [`NotForUs`].
    pub fn take(self, jwe: &str) -> Result<ContentKey, NotForUs> {
        let parts = Parts::of(jwe)?;
        let header = parts.header()?;
        let point = header.epk.filter(|_| header.alg == "ECDH-ES+A256KW").ok_or(NotForUs)?;
        let peer = [vec![4], decode(&point.x)?, decode(&point.y)?].concat();
        let wrapping = agree_ephemeral(self.private, &UnparsedPublicKey::new(&ECDH_P256, &peer), |agreed| {
            crate::envelope::concat_kdf(agreed, "ECDH-ES+A256KW")
        })
        .map_err(|_| NotForUs)?;
        let mut content = [0; 32];
        KwAes256::new(&wrapping.into())
            .unwrap_key(&decode(parts.key)?, &mut content)
            .map_err(|_| NotForUs)?;
        let key: Key = serde_json::from_slice(&parts.open(&cipher(&content)?)?).map_err(|_| NotForUs)?;
        Ok(ContentKey { key: cipher(&decode(&key.k)?)?, id: key.kid })
    }
}

impl ViewerSecret {
    /// Opens a value that was sealed for this key alone ([`Recipient`](crate::Recipient)).
    ///
    /// # Errors
    /// [`NotForUs`].
    pub fn open(self, jwe: &str) -> Result<String, NotForUs> {
        let parts = Parts::of(jwe)?;
        let header = parts.header()?;
        let point = header.epk.filter(|_| header.alg == "ECDH-ES" && parts.key.is_empty()).ok_or(NotForUs)?;
        let peer = [vec![4], decode(&point.x)?, decode(&point.y)?].concat();
        let key = agree_ephemeral(self.private, &UnparsedPublicKey::new(&ECDH_P256, &peer), |agreed| {
            crate::envelope::concat_kdf(agreed, "A256GCM")
        })
        .map_err(|_| NotForUs)?;
        Ok(String::from_utf8_lossy(&parts.open(&cipher(&key)?)?).into_owned())
    }
}

impl ContentKey {
    /// Opens a disclosed value.
    ///
    /// # Errors
    /// [`NotForUs`].
    pub fn open(&self, jwe: &str) -> Result<String, NotForUs> {
        let parts = Parts::of(jwe)?;
        let header = parts.header()?;
        if header.alg != "dir" || header.kid.as_ref() != Some(&self.id) || !parts.key.is_empty() {
            return Err(NotForUs);
        }
        // A name is what a carrier sent; what is no UTF-8 in it is shown as such.
        Ok(String::from_utf8_lossy(&parts.open(&self.key)?).into_owned())
    }
}

fn decode(text: &str) -> Result<Vec<u8>, NotForUs> {
    B64.decode(text).map_err(|_| NotForUs)
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, NotForUs> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| NotForUs)
}

/// A compact JWE's parts, still encoded.
struct Parts<'a> {
    header: &'a str,
    key: &'a str,
    iv: &'a str,
    text: &'a str,
    tag: &'a str,
}

impl<'a> Parts<'a> {
    fn of(jwe: &'a str) -> Result<Self, NotForUs> {
        let mut parts = jwe.split('.');
        let mut next = || parts.next().ok_or(NotForUs);
        let split = Self { header: next()?, key: next()?, iv: next()?, text: next()?, tag: next()? };
        if parts.next().is_some() { Err(NotForUs) } else { Ok(split) }
    }

    fn header(&self) -> Result<Header, NotForUs> {
        let header: Header = serde_json::from_slice(&decode(self.header)?).map_err(|_| NotForUs)?;
        if header.enc == "A256GCM" { Ok(header) } else { Err(NotForUs) }
    }

    fn open(&self, key: &LessSafeKey) -> Result<Vec<u8>, NotForUs> {
        let iv = decode(self.iv)?;
        let nonce = Nonce::try_assume_unique_for_key(&iv).map_err(|_| NotForUs)?;
        let mut text = [decode(self.text)?, decode(self.tag)?].concat();
        let len = key
            .open_in_place(nonce, Aad::from(self.header.as_bytes()), &mut text)
            .map_err(|_| NotForUs)?
            .len();
        text.truncate(len);
        Ok(text)
    }
}
