//! Reading what a caller withholds, for a legal reason ([`crate::legal`]).

use super::problem::Problem;
use super::{Api, Segments, ask, find};
use crate::access::Grant;
use crate::disclosure::Role;
use crate::focus::ToFocus;
use crate::legal::{LegalError, Person, Subject, WAITING};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

impl From<LegalError> for Problem {
    fn from(e: LegalError) -> Self {
        match e {
            LegalError::NoKey => Self::NO_COMPLIANCE_KEY,
            LegalError::Purpose => Self::BAD_PURPOSE,
            LegalError::NoRequest => Self::NO_REQUEST,
            LegalError::SamePerson => Self::SAME_PERSON,
            LegalError::NotApproved => Self::NOT_APPROVED,
            LegalError::NoParticipant => Self::NO_PARTICIPANT,
            LegalError::TooMany => Self::TOO_MANY_REQUESTS,
            LegalError::NotRecorded(_) => Self::NO_ROOM,
        }
    }
}

/// Admins and auditors: they see nobody's name, and so have no other way to it.
fn person(grant: &Grant) -> Result<Person, Problem> {
    match grant.role() {
        Role::Admin | Role::Auditor => Ok(Person { id: grant.id().to_owned(), role: grant.role().as_str() }),
        _ => Err(Problem::NOT_LEGAL),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    conference: String,
    participant: String,
    purpose: String,
}

/// `POST /v1/legal-access`
pub(super) async fn request(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let by = person(&grant)?;
    let Json(asked) = asked.map_err(|_| Problem::BAD_PURPOSE)?;
    let inbox = find(&api, &grant, &asked.conference)?;
    ask(&inbox, |reply| ToFocus::Me(asked.participant.clone(), reply))
        .await?
        .ok_or(Problem::NO_PARTICIPANT)?;
    let subject = Subject { conference: asked.conference, participant: asked.participant };
    let id = api.house.legal.ask(&api.house.audit, Instant::now(), by, subject, &asked.purpose)?;
    let expires_at = crate::roster::time_of(SystemTime::now() + WAITING);
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "state": "waiting", "expires_at": expires_at }))))
}

/// `POST /v1/legal-access/{id}/approval`
pub(super) async fn approve(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<StatusCode, Problem> {
    api.house.legal.approve(&api.house.audit, Instant::now(), &person(&grant)?, &id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/legal-access/{id}`
pub(super) async fn read(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<impl IntoResponse, Problem> {
    let by = person(&grant)?;
    let subject = api.house.legal.fetch(Instant::now(), &by, &id)?;
    let inbox = find(&api, &grant, &subject.conference)?;
    let question = |reply| ToFocus::Legal { request: id, by, participant: subject.participant, reply };
    let values = ask(&inbox, question).await??;
    Ok(Json(json!({ "state": "approved", "values": values })))
}
