//! What an operator notes of participants, and the list of who was there: all of it sealed for the viewer's own key.

use super::problem::Problem;
use super::{Api, Looking, Segments, ask, carry_out, find};
use crate::access::Grant;
use crate::focus::ToFocus;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Noted {
    fields: Vec<Option<SealedField>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedField {
    jwe: String,
}

/// `PUT /v1/conferences/{id}/participants/{pid}/fields`
pub(super) async fn fields(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Looking(viewer): Looking,
    Segments((id, participant)): Segments<(String, String)>,
    body: Result<Json<Noted>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(Noted { fields }) = body.map_err(|_| Problem::BAD_FIELDS)?;
    let values = fields.into_iter().map(|field| field.map(|field| field.jwe)).collect();
    carry_out(&api, &grant, &id, |by, reply| ToFocus::Note(participant, viewer, values, by, reply)).await
}

/// `GET /v1/conferences/{id}/attendance`
pub(super) async fn attendance(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Looking(viewer): Looking,
    Segments(id): Segments<String>,
) -> Result<impl IntoResponse, Problem> {
    let inbox = find(&api, &grant, &id)?;
    if !grant.controls() {
        return Err(Problem::FORBIDDEN);
    }
    let list = ask(&inbox, |reply| ToFocus::Attendance(viewer, reply)).await?;
    let list = list.ok_or(Problem::NO_ATTENDANCE)?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, list.to_string()))
}

/// `DELETE /v1/conferences/{id}/attendance`
pub(super) async fn forget(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<impl IntoResponse, Problem> {
    carry_out(&api, &grant, &id, ToFocus::ForgetGone).await
}
