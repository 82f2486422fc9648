//! Compact JWEs taken apart (RFC 7516 §7.1), for both sides of an envelope.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::aead::{Aad, LessSafeKey, Nonce};
use serde::Deserialize;

/// It is no JWE for this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an envelope does not open with this key")]
pub struct NotForUs;

#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    enc: String,
    pub(crate) epk: Option<Point>,
    pub(crate) kid: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Point {
    pub(crate) x: String,
    pub(crate) y: String,
}

impl Header {
    /// Whether the content key is one that both sides have.
    pub(crate) fn is_direct(&self) -> bool {
        self.alg == "dir"
    }

    /// Whether it names this key, or none.
    pub(crate) fn is_for(&self, id: &str) -> bool {
        self.kid.as_deref().is_none_or(|kid| kid == id)
    }
}

pub(crate) fn decode(text: &str) -> Result<Vec<u8>, NotForUs> {
    B64.decode(text).map_err(|_| NotForUs)
}

/// A compact JWE's parts, still encoded.
pub(crate) struct Parts<'a> {
    pub(crate) header: &'a str,
    pub(crate) key: &'a str,
    iv: &'a str,
    text: &'a str,
    tag: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(jwe: &'a str) -> Result<Self, NotForUs> {
        let mut parts = jwe.split('.');
        let mut next = || parts.next().ok_or(NotForUs);
        let split = Self { header: next()?, key: next()?, iv: next()?, text: next()?, tag: next()? };
        if parts.next().is_some() { Err(NotForUs) } else { Ok(split) }
    }

    /// The initialisation vector.
    pub(crate) fn iv(&self) -> Result<[u8; 12], NotForUs> {
        decode(self.iv)?.try_into().map_err(|_| NotForUs)
    }

    /// Ciphertext and tag.
    pub(crate) fn text(&self) -> Result<Vec<u8>, NotForUs> {
        Ok([decode(self.text)?, decode(self.tag)?].concat())
    }

    /// Whether no content key is in it.
    pub(crate) fn has_no_key(&self) -> bool {
        self.key.is_empty()
    }

    pub(crate) fn header(&self) -> Result<Header, NotForUs> {
        let header: Header = serde_json::from_slice(&decode(self.header)?).map_err(|_| NotForUs)?;
        if header.enc == "A256GCM" { Ok(header) } else { Err(NotForUs) }
    }

    pub(crate) fn open(&self, key: &LessSafeKey) -> Result<Vec<u8>, NotForUs> {
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
