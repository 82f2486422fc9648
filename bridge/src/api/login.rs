//! Signing in and out.

use super::problem::Problem;
use super::server::Peer;
use super::{Api, token_of};
use crate::access::{Grant, SESSION};
use crate::account::{Credentials, LOGIN, PASSWORD, SignInError};
use crate::audit;
use crate::roster::{now, time_of};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    user: String,
    password: String,
    otp: Option<String>,
}

/// `POST /v1/login`
pub(super) async fn login(
    State(api): State<Api>,
    Extension(Peer(from)): Extension<Peer>,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(SignIn { user, password, otp }) = body.map_err(|_| Problem::BAD_LOGIN)?;
    let (login, password) = (Zeroizing::new(user), Zeroizing::new(password));
    if login.chars().count() > LOGIN || password.chars().count() > *PASSWORD.end() {
        return Err(Problem::BAD_LOGIN);
    }
    let accounts = api.accounts.as_ref().ok_or(Problem::NO_ACCOUNTS)?;
    let given = Credentials { login, password, otp };
    let account = match accounts.sign_in(given, from, SystemTime::now()).await {
        Ok(account) => account,
        Err(SignInError::Wait(wait)) => {
            let seconds = (wait.as_secs() + 1).to_string();
            return Ok(([(header::RETRY_AFTER, seconds)], Problem::TOO_MANY_LOGINS).into_response());
        }
        Err(SignInError::OtpNeeded) => return Err(Problem::OTP_NEEDED),
        Err(SignInError::Wrong) => return Err(Problem::WRONG_LOGIN),
        Err(SignInError::Ledger(e)) => {
            tracing::error!(error = %e, "nobody can sign in");
            return Err(Problem::NO_ACCOUNTS);
        }
    };
    let (id, role) = (account.id.clone(), account.role);
    let (token, grant) = api.access.open(account, Instant::now());
    let event =
        audit::Event::SignedIn { at: now(), account: id, role: role.as_str(), viewer: grant.id().to_owned() };
    if api.house.audit.record(event).is_err() {
        api.access.close(&token);
        return Err(Problem::NO_ACCOUNTS);
    }
    let mut about = about(&grant);
    about["token"] = json!(token);
    about["expires_at"] = json!(time_of(SystemTime::now() + SESSION));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(about)).into_response())
}

/// `GET /v1/session`: what the token is good for.
pub(super) async fn session(Extension(grant): Extension<Arc<Grant>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(about(&grant)))
}

fn about(grant: &Grant) -> serde_json::Value {
    json!({
        "role": grant.role().as_str(),
        "conferences": grant.conferences(),
        "steers": grant.controls(),
        "sees_names": grant.sees_names(),
    })
}

/// `DELETE /v1/session`: what was opened with it ends.
pub(super) async fn logout(State(api): State<Api>, headers: HeaderMap) -> Result<StatusCode, Problem> {
    if api.access.close(token_of(&headers)) { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::NO_SESSION) }
}
