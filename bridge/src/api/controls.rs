//! What hosts do to a meeting as a whole, and where in it they put people.

use super::problem::Problem;
use super::{Api, Segments, carry_out};
use crate::access::Grant;
use crate::focus::ToFocus;
use crate::meeting::{Place, Steer};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use std::sync::Arc;

/// The longest title, characters.
const LONGEST: usize = 120;

/// `POST /v1/conferences/{id}/controls/{action}`
pub(super) async fn steer(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments((id, action)): Segments<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let steer = Steer::named(&action).ok_or(Problem::NO_CONTROL)?;
    carry_out(&api, &grant, &id, |by, reply| ToFocus::Steer(steer, by, reply)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Title {
    /// `null`: none.
    #[serde(deserialize_with = "Option::deserialize")]
    title: Option<String>,
}

/// `PUT /v1/conferences/{id}/title`
pub(super) async fn title(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments(id): Segments<String>,
    body: Result<Json<Title>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let title = body.map_err(|_| Problem::BAD_TITLE)?.0.title;
    let fits =
        |t: &String| !t.trim().is_empty() && t.chars().count() <= LONGEST && !t.chars().any(char::is_control);
    if !title.as_ref().is_none_or(fits) {
        return Err(Problem::BAD_TITLE);
    }
    carry_out(&api, &grant, &id, |by, reply| ToFocus::Rename(title, by, reply)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whereto {
    place: String,
}

/// `PUT /v1/conferences/{id}/participants/{pid}/place`
pub(super) async fn place(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments((id, participant)): Segments<(String, String)>,
    body: Result<Json<Whereto>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let word = body.map_err(|_| Problem::BAD_PLACE)?.0.place;
    let place = Place::named(&word).ok_or(Problem::BAD_PLACE)?;
    carry_out(&api, &grant, &id, |by, reply| ToFocus::Place(participant, place, by, reply)).await
}
