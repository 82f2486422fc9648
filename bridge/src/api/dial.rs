//! Calling people into a conference, and the carriers by which that goes.

use super::problem::Problem;
use super::{Api, Looking, Segments, ask};
use crate::access::Grant;
use crate::dial::DialError;
use crate::disclosure::Role;
use crate::focus::ToFocus;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use sip_stack::message::Callee;
use sip_stack::transport::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use vault::{Context, DialledNumber, Kind};

/// Whom: a number, sealed under the viewer's content key, so that it is readable in no buffer on its way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invitation {
    number: SealedValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedValue {
    jwe: String,
}

impl From<DialError> for Problem {
    fn from(e: DialError) -> Self {
        match e {
            DialError::NoNumber => Self::BAD_NUMBER,
            DialError::NotAllowed => Self::NUMBER_NOT_ALLOWED,
            DialError::ConferenceCap | DialError::DayCap => Self::TOO_MANY_CALLS,
            DialError::Full => Self::CONFERENCE_FULL,
            DialError::NoTrunk | DialError::Busy | DialError::NotRecorded => Self::NO_CALL,
        }
    }
}

/// `POST /v1/conferences/{id}/participants`
pub(super) async fn dial(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Looking(viewer): Looking,
    Segments(id): Segments<String>,
    body: Result<Json<Invitation>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    if !grant.covers(&id) {
        return Err(Problem::NO_CONFERENCE);
    }
    if !grant.controls() {
        return Err(Problem::FORBIDDEN);
    }
    let Json(Invitation { number }) = body.map_err(|_| Problem::BAD_NUMBER)?;
    let sip = &api.house.sip;
    let subject = sip.reader().next_subject();
    let here = Context { scope: 0, subject, field: DialledNumber::FIELD };
    let number = viewer.receive(&number.jwe, sip.reader().ring(), here).ok_or(Problem::BAD_NUMBER)?;
    let callee = Arc::new(Callee { subject, number });
    let (told, verdict) = oneshot::channel();
    // Worker and house end together.
    sip.tell(Command::Judge(callee.clone(), told)).map_err(|_| Problem::NO_CALL)?;
    if let Err(e) = verdict.await.map_err(|_| Problem::NO_CALL)? {
        api.house.dialler.refused.fetch_add(1, Ordering::Relaxed);
        return Err(DialError::from(e).into());
    }
    let inbox = api.registry.enter(&id).await.ok_or(Problem::NO_CONFERENCE)?;
    let by = viewer.id().to_owned();
    let participant = ask(&inbox, |reply| ToFocus::Dial(callee, by, reply)).await??;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": participant }))))
}

/// `GET /v1/trunks`
pub(super) async fn trunks(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
) -> Result<impl IntoResponse, Problem> {
    if !matches!(grant.role(), Role::Operator | Role::Admin | Role::Auditor) {
        return Err(Problem::NOT_TECHNICAL);
    }
    let trunks: Vec<_> = api.house.trunks.carriers().map(|c| c.shown()).collect();
    Ok(Json(json!({ "trunks": trunks })))
}
