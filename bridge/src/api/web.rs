//! Invitations, and coming into a meeting by a browser.

use super::problem::Problem;
use super::server::Peer;
use super::{Api, Segments, ask};
use crate::access::Grant;
use crate::audit;
use crate::focus::{NotIn, ToFocus, WebJoin};
use crate::jwk::Jwk;
use crate::link::{INVITATION, Person};
use crate::roster::{now, time_of};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use vault::{Context, Kind, OwnName};

impl From<NotIn> for Problem {
    fn from(e: NotIn) -> Self {
        match e {
            NotIn::Offer => Self::BAD_AUDIO,
            NotIn::ByPhone => Self::IN_BY_PHONE,
            NotIn::Full => Self::FULL,
            NotIn::Shut => Self::SHUT,
            NotIn::Busy => Self::BUSY,
        }
    }
}

/// `POST /v1/conferences/{id}/invitations`
pub(super) async fn invite(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<impl IntoResponse, Problem> {
    // Also to one that nobody is in yet.
    if !grant.covers(&id) || api.house.routing.named(&id).is_none() {
        return Err(Problem::NO_CONFERENCE);
    }
    if !grant.controls() {
        return Err(Problem::FORBIDDEN);
    }
    let (token, participant) = api.house.links.invite(Instant::now(), &id).ok_or(Problem::TOO_MANY_TRIES)?;
    let by = grant.id().to_owned();
    let event = audit::Event::Invited { at: now(), by, conference: id, participant: participant.clone() };
    if api.house.audit.record(event).is_err() {
        api.house.links.over(Instant::now(), &participant);
        return Err(Problem::BUSY);
    }
    let expires_at = time_of(SystemTime::now() + INVITATION);
    let body = json!({ "path": format!("{}#{token}", super::PAGE), "participant": participant, "expires_at": expires_at });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)))
}

#[derive(Deserialize)]
pub(super) struct Registration {
    jwk: Jwk,
}

/// `POST /v1/me/key`: under the content key that is handed over a participant seals their name.
pub(super) async fn key(
    State(api): State<Api>,
    Extension(person): Extension<Arc<Person>>,
    body: Result<Json<Registration>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let public = body.map_err(|_| Problem::BAD_KEY)?.0.jwk.public()?;
    let (id, jwe) = person.register(&api.house.vault, &public).map_err(|e| match e {
        vault::EnvelopeError::NoPoint => Problem::BAD_KEY,
        _ => Problem::NO_ROOM,
    })?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "id": id, "jwe": jwe }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    sdp: String,
    name: Option<SealedName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedName {
    jwe: String,
}

/// `POST /v1/me/audio`
pub(super) async fn audio(
    State(api): State<Api>,
    Extension(Peer { ip: source, local }): Extension<Peer>,
    Extension(person): Extension<Arc<Person>>,
    body: Result<Json<Offer>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(Offer { sdp, name }) = body.map_err(|_| Problem::BAD_AUDIO)?;
    if !person.invited {
        return Err(Problem::IN_BY_PHONE);
    }
    let offer = sip_stack::sdp::parse(sdp.as_bytes()).map_err(|_| Problem::BAD_AUDIO)?;
    let sip = &api.house.sip;
    let subject = sip.reader().next_subject();
    let here = Context { scope: 0, subject, field: OwnName::FIELD };
    let name = match name {
        Some(name) => Some(person.receive(&name.jwe, sip.reader().ring(), here).ok_or(Problem::BAD_NAME)?),
        None => None,
    };
    let inbox = api.registry.enter(&person.conference).await.ok_or(Problem::NO_CONFERENCE)?;
    let participant = person.participant.clone();
    let join =
        |reply| ToFocus::Web(Box::new(WebJoin { participant, offer, name, subject, local, source, reply }));
    let answer = ask(&inbox, join).await??;
    // Written by us: always text.
    let sdp = String::from_utf8(answer).map_err(|_| Problem::BUSY)?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "sdp": sdp }))))
}
