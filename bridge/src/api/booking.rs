//! Conferences that accounts make for themselves. PINs are told once, to who makes them.

use super::problem::Problem;
use super::{Api, NO_STORE, Segments};
use crate::access::{Access, Grant};
use crate::audit;
use crate::booking::{Booking, BookingError, Settings, Which};
use crate::focus::House;
use crate::ledger::LedgerError;
use crate::roster::now;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Has the house know what accounts have made by now.
///
/// # Errors
/// [`LedgerError`].
pub async fn take_bookings(house: &House, access: &Access) -> Result<(), LedgerError> {
    let all = house.bookings.all().await?;
    house.routing.book(&all, &house.doors);
    let is_kept = |id: &str| all.iter().any(|b| b.personal.iter().any(|pin| &*pin.id == id));
    house.doors.forget_used(Instant::now(), is_kept);
    access.set_owners(all.into_iter().map(|b| (b.id, b.owner)).collect());
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    #[serde(default)]
    settings: Settings,
    pin: Option<String>,
    host_pin: Option<String>,
}

/// `POST /v1/bookings`
pub(super) async fn make(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    body: Result<Json<New>, JsonRejection>,
) -> Result<Response, Problem> {
    let account = maker(&grant)?;
    let Json(New { settings, pin, host_pin }) = body.map_err(|_| Problem::BAD_BOOKING)?;
    let House { bookings, doors, .. } = &*api.house;
    let made = bookings.add(doors, account, &settings, pin, host_pin).await.map_err(refused)?;
    done(&api, &grant, &made.id, "booked").await?;
    let body = json!({
        "id": made.id, "entry": made.entry, "numbers": api.house.routing.asked(),
        "pin": made.pin, "host_pin": made.host_pin,
    });
    Ok((StatusCode::CREATED, NO_STORE, Json(body)).into_response())
}

/// `GET /v1/bookings`: one's own; an admin sees all.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
) -> Result<impl IntoResponse, Problem> {
    if grant.person().is_some() {
        return Err(Problem::NO_ACCOUNT);
    }
    let all = api.house.bookings.all().await.map_err(unavailable)?;
    let is_admin = grant.role() == crate::disclosure::Role::Admin && grant.conferences().is_none();
    let own = all.into_iter().filter(|b| is_admin || grant.owns(&b.id));
    let own: Vec<Value> = own.map(|booking| shown(&api, &booking)).collect();
    Ok((NO_STORE, Json(json!({ "bookings": own }))))
}

fn shown(api: &Api, Booking { id, entry, settings, .. }: &Booking) -> Value {
    let is_on = api.registry.find(id).is_some();
    json!({ "id": id, "entry": entry, "numbers": api.house.routing.asked(), "settings": settings, "on": is_on })
}

/// `PUT /v1/bookings/{id}`
pub(super) async fn change(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
    body: Result<Json<Settings>, JsonRejection>,
) -> Result<Response, Problem> {
    own(&grant, &id)?;
    let Json(settings) = body.map_err(|_| Problem::BAD_SETTINGS)?;
    api.house.bookings.change(&id, &settings).await.map_err(refused)?;
    done(&api, &grant, &id, "rebooked").await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /v1/bookings/{id}`: nobody comes in any more. Who is in stays.
pub(super) async fn remove(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<Response, Problem> {
    own(&grant, &id)?;
    api.house.bookings.remove(&id).await.map_err(refused)?;
    done(&api, &grant, &id, "unbooked").await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPin {
    kind: Which,
    #[serde(default)]
    role: PinRole,
    pin: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PinRole {
    #[default]
    Guest,
    Host,
}

/// `POST /v1/bookings/{id}/pins`
pub(super) async fn make_pin(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
    body: Result<Json<NewPin>, JsonRejection>,
) -> Result<Response, Problem> {
    own(&grant, &id)?;
    let Json(NewPin { kind, role, pin }) = body.map_err(|_| Problem::BAD_PIN)?;
    let as_host = role == PinRole::Host;
    let made = api.house.bookings.make_pin(&api.house.doors, &id, kind, as_host, pin).await;
    let (pin_id, pin) = made.map_err(refused)?;
    done(&api, &grant, &id, "pin-made").await?;
    Ok((StatusCode::CREATED, NO_STORE, Json(json!({ "id": pin_id, "pin": pin }))).into_response())
}

/// `GET /v1/bookings/{id}/pins`: those for one person each, without their digits.
pub(super) async fn pins(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
) -> Result<Response, Problem> {
    own(&grant, &id)?;
    let pins = api.house.bookings.pins(&id).await.map_err(unavailable)?;
    Ok((NO_STORE, Json(json!({ "pins": pins }))).into_response())
}

/// `DELETE /v1/bookings/{id}/pins/{pin}`
pub(super) async fn remove_pin(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments((id, pin)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    own(&grant, &id)?;
    let removed = api.house.bookings.remove_pin(&id, &pin).await;
    if !removed.map_err(unavailable)? {
        return Err(Problem::NO_PIN);
    }
    done(&api, &grant, &id, "pin-removed").await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The account of somebody who may make conferences.
fn maker(grant: &Grant) -> Result<&str, Problem> {
    grant.account().ok_or(Problem::NO_ACCOUNT)?;
    grant.books().ok_or(Problem::FORBIDDEN)
}

/// A conference of one's own; for who asks for another's, there is none.
fn own(grant: &Grant, id: &str) -> Result<(), Problem> {
    if grant.owns(id) { Ok(()) } else { Err(Problem::NO_BOOKING) }
}

/// What was done is audited, and the house knows of it.
async fn done(api: &Api, grant: &Grant, id: &str, what: &'static str) -> Result<(), Problem> {
    let event = audit::Event::Controlled {
        at: now(),
        by: grant.id().to_owned(),
        role: grant.role().as_str(),
        conference: id.to_owned(),
        control: what,
        participant: None,
        pseudonym: None,
    };
    // It is done; what the audit does not take is counted there.
    let _ = api.house.audit.record(event);
    take_bookings(&api.house, &api.access).await.map_err(unavailable)
}

fn refused(e: BookingError) -> Problem {
    match e {
        BookingError::Fault(what) => Problem::BAD_SETTINGS.because(what),
        BookingError::Unknown => Problem::NO_BOOKING,
        BookingError::TooMany => Problem::TOO_MANY_BOOKINGS,
        BookingError::Ledger(e) => unavailable(e),
    }
}

fn unavailable(e: LedgerError) -> Problem {
    tracing::error!(error = %e, "the ledger");
    Problem::NO_LEDGER
}
