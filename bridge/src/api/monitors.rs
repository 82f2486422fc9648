//! Listening without being seen ([`crate::monitor`]).

use super::problem::Problem;
use super::{Api, Segments, find};
use crate::access::Grant;
use crate::disclosure::Role;
use crate::monitor::{GOOD, MonitorError};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    purpose: String,
}

/// `POST /v1/conferences/{id}/monitors`
pub(super) async fn allow(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    find(&api, &grant, &id)?;
    if grant.role() != Role::Monitor {
        return Err(Problem::NO_MONITOR);
    }
    let Json(wish) = wish.map_err(|_| Problem::BAD_MONITOR)?;
    let allowed = api.house.monitors.allow(&api.house.audit, Instant::now(), grant.id(), &id, &wish.purpose);
    let number = allowed.map_err(|e| match e {
        MonitorError::Purpose => Problem::BAD_MONITOR,
        MonitorError::TooMany => Problem::TOO_MANY_REQUESTS,
        MonitorError::NotRecorded(_) => Problem::NO_ROOM,
    })?;
    let expires_at = crate::roster::time_of(SystemTime::now() + GOOD);
    Ok((StatusCode::CREATED, Json(json!({ "number": number, "expires_at": expires_at }))))
}
