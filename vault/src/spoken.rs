//! A name as somebody said it: sound, sealed while nobody hears it. It was heard before it came here and will be heard again by a whole meeting; between the two
//! it is ciphertext, and what it was opened into is overwritten when it goes.

use crate::key::Keyring;
use crate::sealed::{Context, Tampered, nonce_of};
use crate::wipe;
use ring::aead::{Aad, MAX_TAG_LEN};

/// The longest name, samples.
pub const LONGEST: usize = 8_000 * 5;

/// A name as it was said: 8 kHz, 16 bits, one channel.
pub struct SpokenName {
    nonce: u64,
    text: Box<[u8]>,
}

impl std::fmt::Debug for SpokenName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpokenName(..)")
    }
}

impl SpokenName {
    /// Seals what was said, and overwrites it; `context` is where it belongs. What is longer than [`LONGEST`] is cut.
    pub fn seal(ring: &Keyring, context: Context, mut said: Vec<i16>) -> Self {
        let kept = said.len().min(LONGEST);
        let mut text = Vec::with_capacity(kept * 2 + MAX_TAG_LEN);
        text.extend(said.iter().take(kept).flat_map(|sample| sample.to_le_bytes()));
        said.fill(0);
        std::hint::black_box(&said);
        let nonce = ring.next_nonce();
        if !crate::UNPROTECTED {
            let sealed = ring.vault().in_workshop(|| {
                let tag = ring.key().seal_in_place_separate_tag(
                    nonce_of(nonce),
                    Aad::from(context.bytes()),
                    &mut text[..],
                );
                tag.map(|tag| <[u8; MAX_TAG_LEN]>::try_from(tag.as_ref()))
            });
            match sealed {
                Ok(Ok(tag)) => text.extend_from_slice(&tag),
                // AES-GCM refuses only above 2^36 bytes; what is not sealed is not kept.
                _ => wipe::bytes(&mut text),
            }
        }
        Self { nonce, text: text.into_boxed_slice() }
    }

    /// The samples, to be heard by those to whom the speaker announces themselves.
    ///
    /// # Errors
    /// [`Tampered`] when it does not belong there or was changed.
    pub fn open(&self, ring: &Keyring, context: Context) -> Result<Box<[i16]>, Tampered> {
        let mut text = self.text.to_vec();
        let mut len = text.len();
        if !crate::UNPROTECTED {
            len = ring.vault().in_workshop(|| {
                let opened =
                    ring.key().open_in_place(nonce_of(self.nonce), Aad::from(context.bytes()), &mut text[..]);
                opened.map(|plain| plain.len()).map_err(|_| Tampered)
            })?;
        }
        let samples = text[..len].chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])).collect();
        wipe::bytes(&mut text);
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::Field;
    use crate::{Policy, Vault};

    #[test]
    fn what_was_said_comes_back_only_where_it_belongs() {
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        let (ring, other) = (vault.keyring().unwrap(), vault.keyring().unwrap());
        let here = Context { scope: 0, subject: 7, field: Field::SpokenName };
        let said: Vec<i16> = (0..30_000).map(|n| (n * 7919 % 20_000) as i16 - 10_000).collect();
        let name = SpokenName::seal(&ring, here, said.clone());
        assert_eq!(*name.open(&ring, here).unwrap(), said[..]);
        assert!(name.open(&ring, Context { subject: 8, ..here }).is_err(), "of somebody else");
        assert!(name.open(&other, here).is_err(), "under another key");
        if !crate::UNPROTECTED {
            let plain: Vec<u8> = said.iter().flat_map(|s| s.to_le_bytes()).collect();
            assert!(!name.text.windows(16).any(|w| plain.windows(16).step_by(997).any(|p| p == w)));
        }
        let long = SpokenName::seal(&ring, here, vec![5; LONGEST + 100]);
        assert_eq!(long.open(&ring, here).unwrap().len(), LONGEST);
        assert!(SpokenName::seal(&ring, here, Vec::new()).open(&ring, here).unwrap().is_empty());
    }
}
