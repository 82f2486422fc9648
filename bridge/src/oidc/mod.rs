//! Who somebody is, by a provider of the site's (OpenID Connect Core 1.0; authorization code, RFC 6749 §4.1, with PKCE, RFC 7636). What they may is the account's that has
//! the name which the provider tells: nobody gets an account by signing in.

use crate::config::{self, Claim};
use crate::outward::{self, Client};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, header};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreJwsSigningAlgorithm as Signed, CoreProviderMetadata,
    CoreUserInfoClaims,
};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Who has begun comes back within this time.
const TIME: Duration = Duration::from_secs(600);
/// Of all who have begun, and of those from one address.
const MOST: usize = 2048;
const MOST_OF_ONE: usize = 32;
/// The provider's own words are asked for again after this.
const FRESH: Duration = Duration::from_secs(600);
/// An answer that takes longer is none; nor is a larger one.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 512 * 1024;
/// Requests to the provider at once.
const AT_ONCE: usize = 8;

/// Why nobody is signed in. What the provider says in its errors may be of somebody and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// It was not begun here, is used, or took too long.
    #[error("no such sign-in was begun")]
    NotBegun,
    /// The provider takes the code for none.
    #[error("the provider refuses the code")]
    Refused,
    /// What it says of who it is cannot be verified.
    #[error("the provider's token is not valid")]
    NotValid,
    /// It does not say the name by which accounts are known here.
    #[error("the provider tells no name that counts here")]
    Nameless,
    /// It does not answer, or not in a way that is understood.
    #[error("the provider does not answer")]
    Unavailable,
}

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The system's authorities cannot be read.
    #[error("the system's authorities: {0}")]
    Authorities(std::io::Error),
    /// The secret's file.
    #[error("`oidc.client_secret_file`: {0}")]
    Secret(std::io::Error),
    /// An address is none.
    #[error("`oidc`: an address is not usable")]
    Address,
}

/// Somebody who has gone to the provider.
struct Begun {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    from: IpAddr,
    at: Instant,
}

/// What a provider tells of somebody.
struct Said<'a> {
    email: Option<&'a str>,
    verified: Option<bool>,
    username: Option<&'a str>,
    subject: &'a str,
}

/// A provider.
pub struct Provider {
    /// What people call it.
    pub name: String,
    issuer: IssuerUrl,
    client: ClientId,
    secret: Option<ClientSecret>,
    redirect: RedirectUrl,
    claim: Claim,
    exchange: Arc<Exchange>,
    about: tokio::sync::Mutex<Option<(Instant, CoreProviderMetadata)>>,
    begun: Mutex<HashMap<String, Begun>>,
}

/// Questions to the provider and their answers.
struct Exchange {
    client: Client,
    at_once: Semaphore,
}

type Asked = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, NoAnswer>> + Send>>;

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({})", self.name)
    }
}

/// An answer that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl Provider {
    /// The configured one; `page` is the portal's address as browsers know it.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: &config::Oidc, page: &str) -> Result<Self, SetupError> {
        let secret = match &config.client_secret_file {
            Some(file) => {
                let text =
                    Zeroizing::new(std::fs::read_to_string(file.get_ref()).map_err(SetupError::Secret)?);
                Some(ClientSecret::new(text.trim().to_owned()))
            }
            None => None,
        };
        let page = format!("{}/", page.trim_end_matches('/'));
        Ok(Self {
            name: config.name.get_ref().clone(),
            issuer: IssuerUrl::new(config.issuer.get_ref().clone()).map_err(|_| SetupError::Address)?,
            client: ClientId::new(config.client_id.clone()),
            secret,
            redirect: RedirectUrl::new(page).map_err(|_| SetupError::Address)?,
            claim: config.claim,
            exchange: Arc::new(Exchange {
                client: outward::client().map_err(SetupError::Authorities)?,
                at_once: Semaphore::new(AT_ONCE),
            }),
            about: tokio::sync::Mutex::default(),
            begun: Mutex::default(),
        })
    }

    /// Somebody wants to sign in: where they go, and by what they are known when they come back.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`].
    pub async fn begin(&self, from: IpAddr, now: Instant) -> Result<(String, String), ProviderError> {
        let about = self.about(now, FRESH).await?;
        let client = CoreClient::from_provider_metadata(about, self.client.clone(), self.secret.clone())
            .set_redirect_uri(self.redirect.clone());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let code = CoreAuthenticationFlow::AuthorizationCode;
        let request = client.authorize_url(code, CsrfToken::new_random, Nonce::new_random);
        let scopes = self.claim.scope().map(|scope| Scope::new(scope.to_owned()));
        let (url, state, nonce) = request.add_scopes(scopes).set_pkce_challenge(challenge).url();
        let state = state.into_secret();
        self.remember(state.clone(), Begun { nonce, verifier, from, at: now });
        Ok((url.into(), state))
    }

    /// Somebody comes back with a code: the name of their account.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn finish(
        &self,
        state: &str,
        code: String,
        now: Instant,
    ) -> Result<Zeroizing<String>, ProviderError> {
        let begun = self.begun().remove(state).filter(|begun| now.saturating_duration_since(begun.at) < TIME);
        let Begun { nonce, verifier, .. } = begun.ok_or(ProviderError::NotBegun)?;
        let about = self.about(now, FRESH).await?;
        let client = CoreClient::from_provider_metadata(about, self.client.clone(), self.secret.clone())
            .set_redirect_uri(self.redirect.clone());
        let exchange =
            client.exchange_code(AuthorizationCode::new(code)).map_err(|_| ProviderError::Unavailable)?;
        let http = self.http();
        let answer = exchange.set_pkce_verifier(verifier).request_async(&http).await;
        let answer = answer.map_err(|e| match e {
            openidconnect::RequestTokenError::ServerResponse(_) => ProviderError::Refused,
            _ => ProviderError::Unavailable,
        })?;
        let token = answer.id_token().ok_or(ProviderError::NotValid)?;
        // Signed by the provider's own key, and never by a secret that others have too.
        let algorithms = [
            Signed::RsaSsaPkcs1V15Sha256,
            Signed::RsaSsaPkcs1V15Sha384,
            Signed::RsaSsaPkcs1V15Sha512,
            Signed::RsaSsaPssSha256,
            Signed::EcdsaP256Sha256,
            Signed::EcdsaP384Sha384,
            Signed::EdDsa,
        ];
        let verifier = client.id_token_verifier().set_allowed_algs(algorithms.clone());
        let claims = match token.claims(&verifier, &nonce) {
            Ok(claims) => claims,
            Err(_) => {
                // Its keys may be new.
                let about = self.about(now, Duration::ZERO).await?;
                let client =
                    CoreClient::from_provider_metadata(about, self.client.clone(), self.secret.clone());
                let verifier = client.id_token_verifier().set_allowed_algs(algorithms);
                token.claims(&verifier, &nonce).map_err(|_| ProviderError::NotValid)?
            }
        };
        let said = Said {
            email: claims.email().map(|email| email.as_str()),
            verified: claims.email_verified(),
            username: claims.preferred_username().map(|name| name.as_str()),
            subject: claims.subject().as_str(),
        };
        if let Some(name) = self.name_in(&said) {
            return Ok(name);
        }
        // Who keeps to the letter of the standard (Core §5.4) tells it only when asked, and then of the same person.
        let asked = client.user_info(answer.access_token().clone(), Some(claims.subject().clone()));
        let asked = asked.map_err(|_| ProviderError::Nameless)?;
        let claims: CoreUserInfoClaims =
            asked.request_async(&http).await.map_err(|_| ProviderError::Unavailable)?;
        let said = Said {
            email: claims.email().map(|email| email.as_str()),
            verified: claims.email_verified(),
            username: claims.preferred_username().map(|name| name.as_str()),
            subject: claims.subject().as_str(),
        };
        self.name_in(&said).ok_or(ProviderError::Nameless)
    }

    fn name_in(&self, said: &Said<'_>) -> Option<Zeroizing<String>> {
        let name = match self.claim {
            // An address that the provider has not seen to may be anybody's.
            Claim::Email => said.email.filter(|_| said.verified == Some(true)),
            Claim::PreferredUsername => said.username,
            Claim::Sub => Some(said.subject),
        };
        name.map(|name| Zeroizing::new(name.to_owned()))
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, HashMap<String, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, state: String, who: Begun) {
        let mut begun = self.begun();
        begun.retain(|_, other| who.at.saturating_duration_since(other.at) < TIME);
        let of_one = begun.values().filter(|other| other.from == who.from).count();
        if of_one >= MOST_OF_ONE || begun.len() >= MOST {
            // Who floods pushes out who floods.
            let is_theirs = |other: &Begun| of_one < MOST_OF_ONE || other.from == who.from;
            let oldest = begun.iter().filter(|(_, other)| is_theirs(other)).min_by_key(|(_, other)| other.at);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                begun.remove(&oldest);
            }
        }
        begun.insert(state, who);
    }

    /// What the provider says of itself, and its keys: not older than `fresh`.
    async fn about(&self, now: Instant, fresh: Duration) -> Result<CoreProviderMetadata, ProviderError> {
        let mut known = self.about.lock().await;
        if let Some((at, about)) = &*known
            && now.saturating_duration_since(*at) < fresh
        {
            return Ok(about.clone());
        }
        let http = self.http();
        match CoreProviderMetadata::discover_async(self.issuer.clone(), &http).await {
            Ok(about) => {
                *known = Some((now, about.clone()));
                Ok(about)
            }
            Err(_) => {
                tracing::warn!("the provider that signs people in does not say who it is");
                Err(ProviderError::Unavailable)
            }
        }
    }

    /// The HTTP of the library.
    fn http(&self) -> impl Fn(Request<Vec<u8>>) -> Asked + use<> {
        let exchange = self.exchange.clone();
        move |request| Box::pin(exchange.clone().ask(request))
    }
}

impl Exchange {
    async fn ask(self: Arc<Self>, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, NoAnswer> {
        let (mut head, body) = request.into_parts();
        if !outward::is_usable(&head.uri) {
            return Err(NoAnswer);
        }
        let agent = header::HeaderValue::from_static(concat!("sotto/", env!("CARGO_PKG_VERSION")));
        head.headers.insert(header::USER_AGENT, agent);
        let exchange = async {
            let _turn = self.at_once.acquire().await.ok()?;
            let request = Request::from_parts(head, Full::new(Bytes::from(body)));
            let (head, body) = self.client.request(request).await.ok()?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.ok()?.to_bytes();
            Some(Response::from_parts(head, body.to_vec()))
        };
        tokio::time::timeout(PATIENCE, exchange).await.ok().flatten().ok_or(NoAnswer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn provider() -> Provider {
        let text = "issuer = \"http://127.0.0.1:9\"\nclient_id = \"sotto\"\nname = \"Example\"\n";
        Provider::new(&toml::from_str(text).unwrap(), "https://meet.example.com").unwrap()
    }

    fn begun(from: u8, at: Instant) -> Begun {
        let (_, verifier) = PkceCodeChallenge::new_random_sha256();
        let from = IpAddr::V4(Ipv4Addr::new(192, 0, 2, from));
        Begun { nonce: Nonce::new_random(), verifier, from, at }
    }

    #[tokio::test]
    async fn who_comes_back_too_late_or_twice_or_from_nowhere_is_not_known() {
        let (provider, now) = (provider(), Instant::now());
        provider.remember("late".into(), begun(1, now));
        provider.remember("once".into(), begun(1, now));
        let finish = async |state, at| provider.finish(state, "code".into(), at).await.unwrap_err();
        assert_eq!(finish("other", now).await, ProviderError::NotBegun);
        assert_eq!(finish("late", now + TIME).await, ProviderError::NotBegun);
        // Nobody listens there.
        assert_eq!(finish("once", now).await, ProviderError::Unavailable);
        assert_eq!(finish("once", now).await, ProviderError::NotBegun);
    }

    #[test]
    fn who_floods_pushes_out_who_floods() {
        let (provider, now) = (provider(), Instant::now());
        provider.remember("mine".into(), begun(1, now));
        for n in 0..1000 {
            provider.remember(format!("flood{n}"), begun(2, now + Duration::from_millis(n)));
        }
        assert_eq!(provider.begun().len(), 1 + MOST_OF_ONE);
        assert!(provider.begun().contains_key("mine") && provider.begun().contains_key("flood999"));
        // From everywhere at once, the oldest goes.
        for n in 0..MOST as u64 {
            let from = begun((n % 200) as u8 + 3, now + Duration::from_secs(2) + Duration::from_millis(n));
            provider.remember(format!("many{n}"), from);
        }
        assert!(provider.begun().len() <= MOST);
        // What was not finished is forgotten.
        provider.remember("new".into(), begun(1, now + TIME * 2));
        assert_eq!(provider.begun().len(), 1);
    }
}
