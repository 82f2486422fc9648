//! Signing in by the site's provider. The browser goes there and comes back to the portal, which hands in what it was given.

use super::login::opened;
use super::problem::Problem;
use super::server::Peer;
use super::{Api, NO_STORE};
use crate::account::Accounts;
use crate::oidc::{Provider, ProviderError};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::time::Instant;

/// A code or a state is not longer, octets.
const LONGEST: usize = 4096;

impl From<ProviderError> for Problem {
    fn from(e: ProviderError) -> Self {
        match e {
            ProviderError::NotBegun => Self::NOT_BEGUN,
            ProviderError::Refused | ProviderError::NotValid => Self::NOT_SIGNED_IN,
            ProviderError::Nameless => Self::NAMELESS,
            ProviderError::Unavailable => Self::NO_ANSWER,
        }
    }
}

fn provider(api: &Api) -> Result<(&Provider, &Accounts), Problem> {
    let provider = api.provider.as_deref().ok_or(Problem::NO_PROVIDER)?;
    Ok((provider, api.accounts.as_deref().ok_or(Problem::NO_ACCOUNTS)?))
}

/// `GET /v1/oidc`: whether there is one, and what it is called.
pub(super) async fn about(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let (provider, _) = provider(&api)?;
    Ok(Json(json!({ "name": provider.name })))
}

/// `POST /v1/oidc`: where the browser goes. It keeps `state`, and compares.
pub(super) async fn begin(
    State(api): State<Api>,
    Extension(Peer { ip: from, .. }): Extension<Peer>,
) -> Result<impl IntoResponse, Problem> {
    let (provider, _) = provider(&api)?;
    let (url, state) = provider.begin(from, Instant::now()).await?;
    Ok((StatusCode::CREATED, NO_STORE, Json(json!({ "url": url, "state": state }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    code: String,
    state: String,
}

/// `POST /v1/oidc/session`
pub(super) async fn finish(
    State(api): State<Api>,
    body: Result<Json<Back>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Back { code, state }) = body.map_err(|_| Problem::BAD_BACK)?;
    if code.is_empty() || code.len() > LONGEST || state.len() > LONGEST {
        return Err(Problem::BAD_BACK);
    }
    let (provider, accounts) = provider(&api)?;
    let name = provider.finish(&state, code, Instant::now()).await?;
    let account = accounts.known(&name).await.map_err(|e| {
        tracing::error!(error = %e, "nobody can sign in");
        Problem::NO_ACCOUNTS
    })?;
    opened(&api, account.ok_or(Problem::NO_SUCH_ACCOUNT)?)
}
