//! The viewer's side of [`envelope`](crate::envelope): opening what was disclosed. It runs in the viewer's process, which shows the values
//! to a person, and so protects nothing.

use crate::compact::{Parts, decode};
use crate::envelope::PublicKey;
use aes_kw::{KeyInit, KwAes256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;

pub use crate::compact::NotForUs;

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

    /// Seals a value for the bridge, under the same key.
    ///
    /// # Errors
    /// [`NotForUs`] when the system has no random numbers.
    pub fn seal(&self, value: &str) -> Result<String, NotForUs> {
        let header = B64.encode(format!(r#"{{"alg":"dir","enc":"A256GCM","kid":"{}"}}"#, self.id));
        let mut iv = [0u8; 12];
        // The bridge's own begin with zeros.
        while iv[..4] == [0; 4] {
            SystemRandom::new().fill(&mut iv).map_err(|_| NotForUs)?;
        }
        let mut text = value.as_bytes().to_vec();
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(header.as_bytes()),
                &mut text,
            )
            .map_err(|_| NotForUs)?;
        Ok([&header, "", &B64.encode(iv), &B64.encode(text), &B64.encode(tag.as_ref())].join("."))
    }
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, NotForUs> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| NotForUs)
}
