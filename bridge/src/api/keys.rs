//! Viewers' keys: no key, no names.

use super::problem::Problem;
use super::{Api, Segments};
use crate::access::{Grant, KeyError, LIFE};
use axum::Json;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, JsonRejection};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use vault::PublicKey;

#[derive(Deserialize)]
pub(super) struct Registration {
    jwk: Jwk,
}

/// RFC 7517. What it has beyond this (`kid`, `use`, `alg`) changes nothing.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    d: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    fn public(&self) -> Result<PublicKey, Problem> {
        if self.d.is_some() {
            return Err(Problem::PRIVATE_KEY);
        }
        if self.kty != "EC" || self.crv != "P-256" {
            return Err(Problem::BAD_KEY);
        }
        let decode = |text: &str| B64.decode(text).map_err(|_| Problem::BAD_KEY);
        PublicKey::from_coordinates(&decode(&self.x)?, &decode(&self.y)?).map_err(|_| Problem::BAD_KEY)
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
