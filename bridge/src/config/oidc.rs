//! `[oidc]`

use crate::outward;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

/// `[oidc]`: people sign in by a provider of the site's (OpenID Connect).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Its address: `https://…`, or `http://…` on this machine; what its own `/.well-known/openid-configuration` calls `issuer`.
    pub issuer: Spanned<String>,
    /// How it knows this bridge.
    pub client_id: String,
    /// File with the secret that goes with that, mode 0600; absent: a public client, by PKCE alone.
    pub client_secret_file: Option<Spanned<PathBuf>>,
    /// What the portal calls it, 1 to 60 characters.
    pub name: Spanned<String>,
    /// What it tells of somebody that is the name of their account here: `email` (where it says that it has verified it), `preferred_username` or `sub`.
    #[serde(default)]
    pub claim: Claim,
}

/// What a provider tells of somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Their mail address.
    #[default]
    Email,
    /// What they are called there.
    PreferredUsername,
    /// Their number there.
    Sub,
}

impl Claim {
    /// What has to be asked for, besides who they are.
    pub fn scope(self) -> Option<&'static str> {
        match self {
            Self::Email => Some("email"),
            Self::PreferredUsername => Some("profile"),
            Self::Sub => None,
        }
    }
}

impl Oidc {
    /// What is wrong with it, and where.
    pub fn faults(&self) -> Vec<(std::ops::Range<usize>, String)> {
        use std::os::unix::fs::PermissionsExt;
        let mut faults = Vec::new();
        if !self.issuer.get_ref().parse().is_ok_and(|uri| outward::is_usable(&uri)) {
            let what = "`oidc.issuer` is not usable, expected https://HOST, or http:// on a loopback address";
            faults.push((self.issuer.span(), what.to_owned()));
        }
        let name = self.name.get_ref();
        if !(1..=60).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            let what = "`oidc.name` is not usable, expected 1 to 60 characters in one line";
            faults.push((self.name.span(), what.to_owned()));
        }
        if let Some(file) = &self.client_secret_file {
            let what = match std::fs::metadata(file.get_ref()) {
                Ok(about) if about.permissions().mode() & 0o077 == 0 => None,
                Ok(_) => Some("can be read by others, expected mode 0600".to_owned()),
                Err(e) => Some(format!("cannot be read: {e}")),
            };
            faults.extend(what.map(|what| (file.span(), format!("`oidc.client_secret_file` {what}"))));
        }
        faults
    }
}
