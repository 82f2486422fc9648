//! Public keys as JSON Web Keys (RFC 7517) on P-256 (RFC 7518 §6.2.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde::Deserialize;
use vault::PublicKey;

/// A key as it is written. What it has beyond this (`kid`, `use`, `alg`) changes nothing.
#[derive(Deserialize)]
pub struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    d: Option<serde::de::IgnoredAny>,
}

/// Why it is no key for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// Another kind of key, or none.
    #[error("expected a JWK with \"kty\": \"EC\", \"crv\": \"P-256\", x and y (RFC 7518, 6.2.1)")]
    Shape,
    /// It has its private part in it.
    #[error("the key has its private part (\"d\") in it; expected the public part only")]
    Private,
}

impl Jwk {
    /// The public key. Whether the point is on the curve shows when it is used.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn public(&self) -> Result<PublicKey, JwkError> {
        if self.d.is_some() {
            return Err(JwkError::Private);
        }
        if self.kty != "EC" || self.crv != "P-256" {
            return Err(JwkError::Shape);
        }
        let decode = |text: &str| B64.decode(text).map_err(|_| JwkError::Shape);
        PublicKey::from_coordinates(&decode(&self.x)?, &decode(&self.y)?).map_err(|_| JwkError::Shape)
    }
}

/// Reads a key from its text.
///
/// # Errors
/// [`JwkError`].
pub fn parse(text: &str) -> Result<PublicKey, JwkError> {
    serde_json::from_str::<Jwk>(text).map_err(|_| JwkError::Shape)?.public()
}
