//! JSON Web Encryption (RFC 7516, RFC 7518): values for a viewer, under a key that only they have.
//!
//! A viewer registers a public key. They get one JWE (`ECDH-ES+A256KW`, `A256GCM`) with a fresh content key in it, as a JWK
//! (RFC 7517 §7); each value disclosed to them afterwards is a compact JWE (`dir`, `A256GCM`) under that content key. A value is opened,
//! cut to what may be seen and sealed again on the vault's secret stack: no plaintext of it is ever anywhere else.

use crate::compact::Parts;
use crate::key::{Keyring, Vault, VaultError};
use crate::sealed::{Context, Discloses, ForViewers, FromViewers, MOST, Sealed, Tampered, nonce_of};
use crate::wipe;
use aes_kw::{KeyInit, KwAes256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

/// A compact JWE: ciphertext, which may go anywhere.
pub type Jwe = String;

/// Why there is no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// A coordinate has not 32 bytes, or the point is not on P-256.
    #[error("the key is no point on P-256")]
    NoPoint,
    /// The vault has no room or no random numbers.
    #[error("no key could be made in protected memory")]
    NoKey,
    /// The value does not open here.
    #[error("a sealed value does not open here")]
    NotHere,
}

impl From<VaultError> for EnvelopeError {
    fn from(_: VaultError) -> Self {
        Self::NoKey
    }
}

/// A viewer's public key on P-256 (RFC 7518 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub(crate) [u8; 65]);

impl PublicKey {
    /// From its coordinates, big endian, 32 bytes each. Whether the point is on the curve shows when it is used.
    ///
    /// # Errors
    /// [`EnvelopeError::NoPoint`].
    pub fn from_coordinates(x: &[u8], y: &[u8]) -> Result<Self, EnvelopeError> {
        let mut point = [4; 65];
        let (to_x, to_y) = point[1..].split_at_mut(32);
        if x.len() != 32 || y.len() != 32 {
            return Err(EnvelopeError::NoPoint);
        }
        to_x.copy_from_slice(x);
        to_y.copy_from_slice(y);
        Ok(Self(point))
    }
}

/// How much of a value is disclosed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// An ellipsis (U+2026) and the last four characters, or the ellipsis alone where there are fewer than eight.
    LastFour,
}

/// Somebody outside whose private key no process here has: what is sealed for them, this process cannot open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient(PublicKey);

impl Recipient {
    /// From their public key.
    ///
    /// # Errors
    /// [`EnvelopeError::NoPoint`].
    pub fn new(public: PublicKey) -> Result<Self, EnvelopeError> {
        // Whether the point is on the curve shows when it is used.
        let trial = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
        let trial = trial.map_err(|_| EnvelopeError::NoKey)?;
        agree_ephemeral(trial, &UnparsedPublicKey::new(&ECDH_P256, &public.0), |_| ())
            .map_err(|_| EnvelopeError::NoPoint)?;
        Ok(Self(public))
    }

    /// Seals a value for them: a compact JWE, `ECDH-ES` and `A256GCM` (RFC 7518 §4.6).
    ///
    /// # Errors
    /// [`EnvelopeError::NotHere`] when it does not open with `from` at `there`, or is longer than 1 KiB; [`EnvelopeError::NoKey`].
    pub fn seal<T, P: Discloses<T>>(
        &self,
        sealed: &Sealed<T>,
        from: &Keyring,
        there: Context,
        _for: P,
    ) -> Result<Jwe, EnvelopeError> {
        let (sealed_nonce, sealed_text) = sealed.parts();
        from.vault().in_workshop(|| {
            let mut bench = [0u8; MOST];
            let bench = bench.get_mut(..sealed_text.len()).ok_or(EnvelopeError::NotHere)?;
            bench.copy_from_slice(sealed_text);
            let plain = from
                .key()
                .open_in_place(nonce_of(sealed_nonce), Aad::from(there.bytes()), bench)
                .map_err(|_| EnvelopeError::NotHere)?;
            let agreed = agreed_with(&self.0, "A256GCM");
            let jwe = agreed.and_then(|(key, point)| once(&key, &headed("ECDH-ES", "", &point), &[], plain));
            wipe::bytes(bench);
            jwe
        })
    }
}

/// A viewer's content key. Dropping it shreds it here; what was sent stays readable to who holds the key.
#[derive(Debug)]
pub struct ViewerKey {
    ring: Keyring,
    id: Box<str>,
    /// The protected header of every value, as it is sent: base64url.
    header: Box<str>,
}

const ELLIPSIS: &[u8] = "…".as_bytes();

impl ViewerKey {
    /// Makes a content key for the holder of `public`, and the JWE that hands it over. `id` (letters, digits, `_`) becomes the key's
    /// `kid`.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn new(vault: &Vault, id: &str, public: &PublicKey) -> Result<(Self, Jwe), EnvelopeError> {
        debug_assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "no escaping is needed");
        let header = B64.encode(format!(r#"{{"alg":"dir","enc":"A256GCM","kid":"{id}"}}"#));
        let (ring, handover) = vault.keyring_told(|key| hand_over(id, key, public))?;
        Ok((Self { ring, id: id.into(), header: header.into() }, handover?))
    }

    /// Discloses a sealed value to the viewer: opens it, cuts it to `extent` and seals it under the viewer's key.
    ///
    /// # Errors
    /// [`Tampered`] when it does not open with `from` at `there`, or is longer than 1 KiB.
    pub fn disclose<T, P: Discloses<T> + ForViewers>(
        &self,
        sealed: &Sealed<T>,
        from: &Keyring,
        there: Context,
        extent: Extent,
        _for: P,
    ) -> Result<Jwe, Tampered> {
        let (sealed_nonce, sealed_text) = sealed.parts();
        let nonce = self.ring.next_nonce();
        let mut out = String::with_capacity(self.header.len() + 2 * sealed_text.len() + 80);
        self.ring.vault().in_workshop(|| {
            let mut bench = [0u8; MOST];
            let bench = bench.get_mut(..sealed_text.len()).ok_or(Tampered)?;
            bench.copy_from_slice(sealed_text);
            let plain = from
                .key()
                .open_in_place(nonce_of(sealed_nonce), Aad::from(there.bytes()), bench)
                .map_err(|_| Tampered)?;
            let len = match extent {
                Extent::Whole => plain.len(),
                Extent::LastFour => last_four(plain),
            };
            let plain = &mut plain[..len];
            let tag = self
                .ring
                .key()
                .seal_in_place_separate_tag(nonce_of(nonce), Aad::from(self.header.as_bytes()), plain)
                .map_err(|_| Tampered)?;
            let mut iv = [0; NONCE_LEN];
            iv[4..].copy_from_slice(&nonce.to_be_bytes());
            compact(&mut out, &self.header, &[], &iv, plain, tag.as_ref());
            wipe::bytes(bench);
            Ok(())
        })?;
        Ok(out)
    }
}

impl ViewerKey {
    /// Takes a value that the viewer sealed under the content key: opens it and seals it again for `here`. The initialisation vector may not begin
    /// with four zero bytes, for ours do (one under one key is never used twice): a random one does so once in 2^32.
    ///
    /// # Errors
    /// [`EnvelopeError::NotHere`] when it is no such JWE, or longer than 1 KiB.
    pub fn receive<T: FromViewers>(
        &self,
        jwe: &str,
        to: &Keyring,
        here: Context,
    ) -> Result<Sealed<T>, EnvelopeError> {
        let no = |_| EnvelopeError::NotHere;
        let parts = Parts::of(jwe).map_err(no)?;
        let (header, iv, mut text) =
            (parts.header().map_err(no)?, parts.iv().map_err(no)?, parts.text().map_err(no)?);
        let right = header.is_direct() && header.is_for(&self.id) && parts.has_no_key() && iv[..4] != [0; 4];
        if !right || text.len() > MOST || text.len() < AES_256_GCM.tag_len() {
            return Err(EnvelopeError::NotHere);
        }
        let nonce = to.next_nonce();
        to.vault().in_workshop(|| {
            let mut bench = [0u8; MOST];
            let bench = &mut bench[..text.len()];
            bench.copy_from_slice(&text);
            let result: Result<usize, EnvelopeError> = (|| {
                let (iv, aad) = (Nonce::assume_unique_for_key(iv), Aad::from(parts.header.as_bytes()));
                let plain =
                    self.ring.key().open_in_place(iv, aad, bench).map_err(|_| EnvelopeError::NotHere)?;
                if !T::fits(plain) {
                    return Err(EnvelopeError::NotHere);
                }
                let (body, end) = text.split_at_mut(plain.len());
                if crate::UNPROTECTED {
                    body.copy_from_slice(plain);
                    return Ok(plain.len());
                }
                let tag = to
                    .key()
                    .seal_in_place_separate_tag(nonce_of(nonce), Aad::from(here.bytes()), plain)
                    .map_err(|_| EnvelopeError::NotHere)?;
                body.copy_from_slice(plain);
                end.copy_from_slice(tag.as_ref());
                Ok(plain.len() + end.len())
            })();
            wipe::bytes(bench);
            result.map(|len| text.truncate(len))
        })?;
        Ok(Sealed::of(nonce, text.into()))
    }
}

/// Cuts a text in place to its last four characters behind an ellipsis, and returns its new length.
fn last_four(text: &mut [u8]) -> usize {
    // A character begins where no continuation byte stands.
    let mut begins = text.iter().enumerate().rev().filter(|(_, b)| **b & 0xc0 != 0x80).map(|(at, _)| at);
    let from = begins.nth(3).filter(|at| *at >= ELLIPSIS.len() && begins.count() >= 4);
    let Some(from) = from else {
        let short = text.len().min(ELLIPSIS.len());
        // What is shorter than an ellipsis becomes nothing.
        if short < ELLIPSIS.len() {
            return 0;
        }
        text[..short].copy_from_slice(ELLIPSIS);
        return short;
    };
    text.copy_within(from.., ELLIPSIS.len());
    let len = ELLIPSIS.len() + text.len() - from;
    text[..ELLIPSIS.len()].copy_from_slice(ELLIPSIS);
    len
}

/// Appends a compact JWE (RFC 7516 §7.1) whose header is encoded already. `out` has the room.
fn compact(out: &mut String, header: &str, key: &[u8], iv: &[u8], text: &[u8], tag: &[u8]) {
    out.push_str(header);
    for part in [key, iv, text, tag] {
        out.push('.');
        B64.encode_string(part, out);
    }
}

/// What two sides agree on, ours with a key used this once; and our side's public point. On the secret stack: it wipes itself.
fn agreed_with(peer: &PublicKey, algorithm: &str) -> Result<(Secret, [u8; 65]), EnvelopeError> {
    let own =
        EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).map_err(|_| EnvelopeError::NoKey)?;
    let point = own.compute_public_key().map_err(|_| EnvelopeError::NoKey)?;
    let point = point.as_ref().try_into().map_err(|_| EnvelopeError::NoKey)?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, &peer.0);
    let key = agree_ephemeral(own, &peer, |agreed| Secret(concat_kdf(agreed, algorithm)));
    Ok((key.map_err(|_| EnvelopeError::NoPoint)?, point))
}

/// 32 bytes on the secret stack, wiped when they are not needed any more.
struct Secret([u8; 32]);

impl Drop for Secret {
    fn drop(&mut self) {
        wipe::bytes(&mut self.0);
    }
}

/// The protected header of an agreement (RFC 7518 §4.6.1), encoded. `more` is further members, each with a comma behind it.
fn headed(algorithm: &str, more: &str, point: &[u8; 65]) -> String {
    let (x, y) = point[1..].split_at(32);
    let (x, y) = (B64.encode(x), B64.encode(y));
    B64.encode(format!(
        r#"{{"alg":"{algorithm}","enc":"A256GCM",{more}"epk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}"#
    ))
}

/// A compact JWE under a key that seals nothing else, so that any nonce is unique. `text` becomes ciphertext.
fn once(key: &Secret, header: &str, wrapped: &[u8], text: &mut [u8]) -> Result<Jwe, EnvelopeError> {
    let iv = [0u8; NONCE_LEN];
    let cipher = UnboundKey::new(&AES_256_GCM, &key.0).map_err(|_| EnvelopeError::NoKey)?;
    let tag = LessSafeKey::new(cipher)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(header.as_bytes()), text)
        .map_err(|_| EnvelopeError::NoKey)?;
    let mut out = String::with_capacity(header.len() + 2 * (wrapped.len() + text.len()) + 80);
    compact(&mut out, header, wrapped, &iv, text, tag.as_ref());
    Ok(out)
}

/// The JWE that hands a content key over. On the secret stack; what goes to the ordinary heap is public or ciphertext.
fn hand_over(id: &str, key: &[u8; 32], viewer: &PublicKey) -> Result<Jwe, EnvelopeError> {
    let (wrapping, point) = agreed_with(viewer, "ECDH-ES+A256KW")?;
    let (mut content, mut wrapped, mut body) = (Secret([0; 32]), [0u8; 40], [0u8; LARGEST_JWK]);
    SystemRandom::new().fill(&mut content.0).map_err(|_| EnvelopeError::NoKey)?;
    KwAes256::new(&wrapping.0.into()).wrap_key(&content.0, &mut wrapped).map_err(|_| EnvelopeError::NoKey)?;
    let len = write_jwk(id, key, &mut body).ok_or(EnvelopeError::NoKey)?;
    // `cty` as RFC 7517 §7 has it.
    let header = headed("ECDH-ES+A256KW", r#""cty":"jwk+json","#, &point);
    let jwe = once(&content, &header, &wrapped, &mut body[..len]);
    wipe::bytes(&mut body);
    jwe
}

/// A content key with an id of 64 characters, as a JWK.
const LARGEST_JWK: usize = 192;

/// Writes the content key as a JWK (RFC 7518 §6.4) and returns its length; `None` when the id is too long.
fn write_jwk(id: &str, key: &[u8; 32], out: &mut [u8]) -> Option<usize> {
    let mut encoded = [0u8; 43];
    B64.encode_slice(key, &mut encoded).ok()?;
    let mut len = 0;
    for part in
        [&br#"{"kty":"oct","use":"enc","kid":""#[..], id.as_bytes(), br#"","k":""#, &encoded, br#""}"#]
    {
        out.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    wipe::bytes(&mut encoded);
    Some(len)
}

/// The key of an agreement (RFC 7518 §4.6.2): one round of the Concat KDF with SHA-256. `algorithm` is what the key is for.
pub(crate) fn concat_kdf(agreed: &[u8], algorithm: &str) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&1u32.to_be_bytes());
    hash.update(agreed);
    hash.update(&(algorithm.len() as u32).to_be_bytes());
    hash.update(algorithm.as_bytes());
    // PartyUInfo and PartyVInfo are empty.
    hash.update(&[0; 8]);
    hash.update(&256u32.to_be_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(hash.finish().as_ref());
    key
}
