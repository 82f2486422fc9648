//! `[[webhook]]`

use crate::outward;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Octets of a secret.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// What is wrong with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhook {
    /// Its URL is not usable.
    #[error("a webhook's `url` is not usable, expected https://HOST/PATH, or http:// on a loopback address")]
    Url,
    /// Its secret's file is not as it should be.
    #[error(
        "a webhook's `secret_file` is not usable, expected whsec_ and 24 to 64 octets in base64, in a file of mode 0600"
    )]
    Secret,
}

/// `[[webhook]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it is told: `https://…`, or `http://…` on this machine.
    pub url: Spanned<String>,
    /// File with the secret of its signatures: `whsec_` and 24 to 64 octets in base64, mode 0600.
    pub secret_file: Spanned<PathBuf>,
    /// Ids of the conferences of which it is told; absent: all.
    pub conferences: Option<Vec<String>>,
    /// What it is told of; absent: `joined`, `left` and `conference`.
    pub events: Option<Vec<HookEvent>>,
}

/// What a webhook may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookEvent {
    /// Somebody came.
    Joined,
    /// Something of a participant changed.
    Updated,
    /// Somebody went.
    Left,
    /// Somebody speaks, or does not any more; how loud.
    Speaking,
    /// The conference itself changed, or ended.
    Conference,
}

impl HookEvent {
    /// What it is told of where nothing is said of it.
    pub const USUAL: [Self; 3] = [Self::Joined, Self::Left, Self::Conference];
}

impl Webhook {
    /// Whether its URL may be a receiver's.
    ///
    /// # Errors
    /// [`BadWebhook::Url`].
    pub fn check_url(&self) -> Result<(), BadWebhook> {
        let usable = self.url.get_ref().parse().is_ok_and(|url| outward::is_usable(&url));
        if usable { Ok(()) } else { Err(BadWebhook::Url) }
    }

    /// The key of its signatures.
    ///
    /// # Errors
    /// [`BadWebhook::Secret`].
    pub fn secret(&self) -> Result<hmac::Key, BadWebhook> {
        secret(self.secret_file.get_ref())
    }
}

/// Reads a secret.
fn secret(file: &Path) -> Result<hmac::Key, BadWebhook> {
    use std::os::unix::fs::PermissionsExt;
    let about = std::fs::metadata(file).map_err(|_| BadWebhook::Secret)?;
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(|_| BadWebhook::Secret)?);
    let octets = text.trim().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let octets = zeroize::Zeroizing::new(octets.ok_or(BadWebhook::Secret)?);
    if about.permissions().mode() & 0o077 != 0 || !SECRET.contains(&octets.len()) {
        return Err(BadWebhook::Secret);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let file = std::env::temp_dir().join(format!("sotto-hook-{:016x}", rand::random::<u64>()));
        let write = |text: &str, mode| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", 0o600);
        assert!(secret(&file).is_ok());
        for (text, mode) in [
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0o644),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0o600),
            ("whsec_c2hvcnQ=", 0o600),
        ] {
            write(text, mode);
            assert!(secret(&file).is_err(), "{text} {mode:o}");
        }
        std::fs::remove_file(file).unwrap();
    }
}
