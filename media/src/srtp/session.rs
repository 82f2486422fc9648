//! One session key's work: deriving it (RFC 3711 §4.3), sealing and opening a packet. It lies in secret pages, and holds nothing elsewhere.

use super::Suite;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Aes256Enc};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hmac;

/// What a session is for: its labels in the derivation (RFC 3711 §4.3.1, §4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Media,
    Control,
}

/// See the module's text.
pub(super) struct Session {
    cipher: Cipher,
    salt: [u8; 14],
    kind: Kind,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(..)")
    }
}

enum Cipher {
    Counter { blocks: Blocks, auth: hmac::Key },
    Gcm(LessSafeKey),
}

/// AES for encrypting alone, of either length.
enum Blocks {
    Short(Aes128Enc),
    Long(Aes256Enc),
}

type Block = Array<u8, aes::cipher::consts::U16>;
/// Blocks of key stream made at once.
const AT_ONCE: usize = 8;

impl Blocks {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(Self::Short),
            32 => Aes256Enc::new_from_slice(key).ok().map(Self::Long),
            _ => None,
        }
    }

    fn encrypt(&self, blocks: &mut [Block]) {
        match self {
            Self::Short(aes) => aes.encrypt_blocks(blocks),
            Self::Long(aes) => aes.encrypt_blocks(blocks),
        }
    }

    /// XORs the key stream that begins with this counter block (its last two bytes zero) into `bytes`.
    fn stream(&self, iv: &[u8; 16], bytes: &mut [u8]) {
        let mut count = 0u16;
        for piece in bytes.chunks_mut(16 * AT_ONCE) {
            let mut blocks = [Block::from(*iv); AT_ONCE];
            for block in &mut blocks {
                block[14..].copy_from_slice(&count.to_be_bytes());
                count = count.wrapping_add(1);
            }
            let n = piece.len().div_ceil(16);
            self.encrypt(&mut blocks[..n]);
            piece.iter_mut().zip(blocks.iter().flatten()).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

impl Session {
    /// From a master key and its salt; `None` when they are not as long as the suite's.
    pub(super) fn new(suite: Suite, kind: Kind, master: &[u8]) -> Option<Self> {
        if master.len() != suite.master() {
            return None;
        }
        let (key, salt) = master.split_at(suite.key());
        let derive = Blocks::new(key)?;
        let first = if kind == Kind::Media { 0 } else { 3 };
        let part = |label: u8, out: &mut [u8]| {
            let mut iv = [0; 16];
            iv[..salt.len()].copy_from_slice(salt);
            // The label stands above the index of 48 bits, which is 0 where there is no derivation rate.
            iv[7] ^= first + label;
            out.fill(0);
            derive.stream(&iv, out);
        };
        let (mut session, mut auth, mut made) = ([0; 32], [0; 20], [0; 14]);
        let session = &mut session[..suite.key()];
        part(0, session);
        part(1, &mut auth);
        part(2, &mut made[..suite.salt()]);
        Self::of(suite, kind, session, &auth, made)
    }

    /// From what was derived already.
    pub(super) fn of(suite: Suite, kind: Kind, key: &[u8], auth: &[u8; 20], salt: [u8; 14]) -> Option<Self> {
        let cipher = match suite {
            Suite::Gcm128 => Cipher::Gcm(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).ok()?)),
            Suite::Gcm256 => Cipher::Gcm(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?)),
            Suite::Cm128Sha1_80 | Suite::Cm128Sha1_32 | Suite::Cm256Sha1_80 | Suite::Cm256Sha1_32 => {
                let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth);
                Cipher::Counter { blocks: Blocks::new(key)?, auth }
            }
        };
        Some(Self { cipher, salt, kind })
    }

    /// The counter block of a packet (RFC 3711 §4.1.1).
    fn counter(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        iv[4..8].iter_mut().zip(ssrc.to_be_bytes()).for_each(|(iv, b)| *iv ^= b);
        iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]).for_each(|(iv, b)| *iv ^= b);
        iv
    }

    /// The nonce of a packet (RFC 7714 §8.1, §9.1).
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut iv = [0; 12];
        iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
        iv[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        iv.iter_mut().zip(self.salt).for_each(|(iv, salt)| *iv ^= salt);
        Nonce::assume_unique_for_key(iv)
    }

    /// Encrypts `body` behind `head`, and writes the tag. `more` is authenticated too: the rollover counter of RTP, or RTCP's index.
    pub(super) fn seal(
        &self,
        ssrc: u32,
        index: u64,
        head: &[u8],
        body: &mut [u8],
        more: &[u8; 4],
        tag: &mut [u8],
    ) {
        match &self.cipher {
            Cipher::Counter { blocks, auth } => {
                blocks.stream(&self.counter(ssrc, index), body);
                let made = authenticate(auth, &[head, body, more]);
                tag.copy_from_slice(&made.as_ref()[..tag.len()]);
            }
            Cipher::Gcm(key) => {
                let joined = joined(head, more);
                let aad = if self.kind == Kind::Media { head } else { &joined };
                let made = key.seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(aad), body);
                // It fails only for bodies of many gigabytes.
                if let Ok(made) = made {
                    tag.copy_from_slice(made.as_ref());
                }
            }
        }
    }

    /// Decrypts `body` if the tag is right.
    pub(super) fn open(
        &self,
        ssrc: u32,
        index: u64,
        head: &[u8],
        body: &mut [u8],
        more: &[u8; 4],
        tag: &[u8],
    ) -> bool {
        match &self.cipher {
            Cipher::Counter { blocks, auth } => {
                let made = authenticate(auth, &[head, body, more]);
                let right =
                    made.as_ref()[..tag.len()].iter().zip(tag).fold(0, |all, (a, b)| all | (a ^ b)) == 0;
                if right {
                    blocks.stream(&self.counter(ssrc, index), body);
                }
                right
            }
            Cipher::Gcm(key) => {
                let Ok(tag) = Tag::try_from(tag) else { return false };
                let joined = joined(head, more);
                let aad = Aad::from(if self.kind == Kind::Media { head } else { &joined });
                key.open_in_place_separate_tag(self.nonce(ssrc, index), aad, tag, body, 0..).is_ok()
            }
        }
    }
}

/// An RTCP packet's readable head, and its index: what GCM authenticates beside the rest (RFC 7714 §9.2).
fn joined(head: &[u8], more: &[u8; 4]) -> [u8; 12] {
    let mut out = [0; 12];
    out.iter_mut().zip(head.iter().take(8).chain(more)).for_each(|(o, b)| *o = *b);
    out
}

fn authenticate(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}
