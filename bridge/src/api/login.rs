//! Signing in and out.

use super::problem::Problem;
use super::server::Peer;
use super::{Api, NO_STORE, Segments, token_of};
use crate::access::{Grant, SESSION, hashed};
use crate::account::{Account, Accounts, Credentials, LOGIN, PASSWORD, SignInError};
use crate::audit;
use crate::ledger::LedgerError;
use crate::roster::{now, time_of};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
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
    Extension(Peer { ip: from, .. }): Extension<Peer>,
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
    opened(&api, account)
}

/// A session for an account.
pub(super) fn opened(api: &Api, account: Account) -> Result<Response, Problem> {
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
    Ok((StatusCode::CREATED, NO_STORE, Json(about)).into_response())
}

/// `GET /v1/session`: what the token is good for.
pub(super) async fn session(Extension(grant): Extension<Arc<Grant>>) -> impl IntoResponse {
    (NO_STORE, Json(about(&grant)))
}

fn about(grant: &Grant) -> serde_json::Value {
    json!({
        "role": grant.role().as_str(),
        "conferences": grant.conferences(),
        "steers": grant.controls(),
        "sees_names": grant.sees_names(),
        "books": grant.books().is_some(),
    })
}

/// The longest time of a token, days.
const LONGEST: u16 = 366;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Of those that the account may see; absent: all of them.
    conferences: Option<Vec<String>>,
    days: u16,
}

/// `POST /v1/tokens`: a token for a program, with the account's own rights or fewer.
pub(super) async fn make_token(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let (accounts, account) = signed_in(&api, &grant)?;
    let Json(Wanted { conferences, days }) = body.map_err(|_| Problem::BAD_TOKEN)?;
    let covers =
        |list: &Vec<String>| (1..=100).contains(&list.len()) && list.iter().all(|id| grant.covers(id));
    if !(1..=LONGEST).contains(&days) || !conferences.as_ref().is_none_or(covers) {
        return Err(Problem::BAD_TOKEN);
    }
    let token = format!("a_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let lifetime = Duration::from_secs(u64::from(days) * 86_400);
    let made = async {
        let id = accounts.add_token(account, hashed(&token), conferences, lifetime).await?;
        api.access.set_api_tokens(accounts.tokens().await?);
        Ok::<_, LedgerError>(id)
    };
    let id = made.await.map_err(unavailable)?;
    let body = json!({ "id": id, "token": token, "expires_at": time_of(SystemTime::now() + lifetime) });
    Ok((StatusCode::CREATED, NO_STORE, Json(body)))
}

/// `GET /v1/tokens`
pub(super) async fn tokens(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
) -> Result<impl IntoResponse, Problem> {
    let (accounts, account) = signed_in(&api, &grant)?;
    let tokens = accounts.tokens_of(account).await.map_err(unavailable)?;
    Ok((NO_STORE, Json(json!({ "tokens": tokens }))))
}

/// `DELETE /v1/tokens/{id}`: what it has open ends.
pub(super) async fn take_back(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<StatusCode, Problem> {
    let (accounts, account) = signed_in(&api, &grant)?;
    if !accounts.remove_token(account, &id).await.map_err(unavailable)? {
        return Err(Problem::NO_TOKEN);
    }
    api.access.set_api_tokens(accounts.tokens().await.map_err(unavailable)?);
    Ok(StatusCode::NO_CONTENT)
}

fn signed_in<'a>(api: &'a Api, grant: &'a Grant) -> Result<(&'a Accounts, &'a str), Problem> {
    let accounts = api.accounts.as_deref().ok_or(Problem::NO_ACCOUNTS)?;
    Ok((accounts, grant.account().ok_or(Problem::NO_ACCOUNT)?))
}

fn unavailable(e: LedgerError) -> Problem {
    tracing::error!(error = %e, "the ledger");
    Problem::NO_ACCOUNTS
}

/// `DELETE /v1/session`: what was opened with it ends.
pub(super) async fn logout(State(api): State<Api>, headers: HeaderMap) -> Result<StatusCode, Problem> {
    if api.access.close(token_of(&headers)) { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::NO_SESSION) }
}
