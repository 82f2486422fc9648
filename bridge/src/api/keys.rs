//! Viewers' keys: no key, no names.

use super::problem::Problem;
use super::{Api, Segments};
use crate::access::{Grant, KeyError, LIFE};
use crate::jwk::{Jwk, JwkError};
use axum::Json;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, JsonRejection};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

#[derive(Deserialize)]
pub(super) struct Registration {
    jwk: Jwk,
}

impl From<JwkError> for Problem {
    fn from(e: JwkError) -> Self {
        if e == JwkError::Private { Self::PRIVATE_KEY } else { Self::BAD_KEY }
    }
}

/// `POST /v1/viewer-keys`
pub(super) async fn register(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    body: Result<Json<Registration>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(body) = body.map_err(|e| match e {
        JsonRejection::BytesRejection(BytesRejection::FailedToBufferBody(
            FailedToBufferBody::LengthLimitError(_),
        )) => Problem::TOO_LARGE,
        _ => Problem::BAD_KEY,
    })?;
    let public = body.jwk.public()?;
    let registered = grant.register(&api.house.vault, &api.house.audit, &public, Instant::now());
    let (id, jwe) = registered.map_err(|e| match e {
        KeyError::NoPoint => Problem::BAD_KEY,
        KeyError::TooMany => Problem::TOO_MANY_KEYS,
        KeyError::Blind => Problem::BLIND,
        _ => Problem::NO_ROOM,
    })?;
    let expires_at = crate::roster::time_of(SystemTime::now() + LIFE);
    Ok((StatusCode::CREATED, Json(serde_json::json!({ "id": id, "jwe": jwe, "expires_at": expires_at }))))
}

/// `DELETE /v1/viewer-keys/{id}`
pub(super) async fn end(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<StatusCode, Problem> {
    if grant.delete(&id, &api.house.audit) { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::NO_KEY) }
}
