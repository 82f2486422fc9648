//! A participant's own page, and what it asks: what is shown of me, to whom it was, and my choice. The way here is a personal link or a spoken
//! code ([`crate::link`]); a host's token does not open it.

use super::problem::Problem;
use super::{Api, LARGEST_BODY, Segments, Surfaces, ask, portal, token, unauthorized};
use crate::disclosure::Choice;
use crate::focus::{Codes, OwnAct, ToFocus};
use crate::link::{LinkError, Person, SESSION};
use crate::meeting::{Act, By};
use crate::surface::Surface;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The page's path.
pub const PAGE: &str = "/me";
/// A code has as many characters at most, however it is grouped.
const LONGEST: usize = 64;

impl From<LinkError> for Problem {
    fn from(e: LinkError) -> Self {
        match e {
            LinkError::Unknown => Self::NO_LINK,
            LinkError::Used => Self::LINK_USED,
            LinkError::Expired => Self::LINK_EXPIRED,
            LinkError::CallOver => Self::CALL_OVER,
            LinkError::TooMany => Self::TOO_MANY_TRIES,
        }
    }
}

/// The page and its routes.
pub(super) fn router(api: &Api) -> Router<Api> {
    let own = Router::new()
        .surface(Surface::Me, get(me))
        .surface(Surface::OwnDisclosure, put(choose))
        .surface(Surface::OwnControl, post(control))
        .surface(Surface::OwnKey, post(super::web::key))
        .surface(Surface::OwnAudio, post(super::web::audio))
        .layer(axum::middleware::from_fn_with_state(api.clone(), own_session));
    Router::new()
        .merge(own)
        .surface(Surface::Session, post(session))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .surface(Surface::Page, get(portal::page("me.html", &told(&api.house.codes))))
}

/// What the page tells to dial, by what stands for it there.
fn told(codes: &Codes) -> [(&'static str, String); 3] {
    let [withhold, share, link] = codes.to_tell().map(str::to_owned);
    [("{withhold}", withhold), ("{share}", share), ("{link}", link)]
}

/// A session that was opened by this very request.
#[derive(Clone)]
struct Opened(Option<String>);

/// Whose request it is: by their session, or by a personal link, which is used up by it.
async fn own_session(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let (now, links) = (Instant::now(), &api.house.links);
    let given = token(&request);
    let opened = match links.session(now, given) {
        Ok(person) => Ok((person, None)),
        // Hosts have no way here.
        Err(LinkError::Unknown) if api.access.find(given.as_bytes()).is_some() => {
            return Problem::NOT_YOURS.into_response();
        }
        Err(LinkError::Unknown) => links.redeem(now, given).map(|(person, session)| (person, Some(session))),
        Err(e) => Err(e),
    };
    match opened {
        Ok((person, session)) => {
            request.extensions_mut().insert(person);
            request.extensions_mut().insert(Opened(session));
            next.run(request).await
        }
        Err(LinkError::Unknown) => unauthorized(Problem::NO_LINK),
        Err(e) => Problem::from(e).into_response(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Ticket {
    Link(String),
    Code(String),
}

/// `POST /v1/me/session`
async fn session(
    State(api): State<Api>,
    ticket: Result<Json<Ticket>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(ticket) = ticket.map_err(|_| Problem::BAD_LINK)?;
    let text = match ticket {
        Ticket::Link(link) => link,
        // As people write down what they hear.
        Ticket::Code(code) if code.len() <= LONGEST => {
            code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
        }
        Ticket::Code(_) => return Err(Problem::BAD_LINK),
    };
    let (person, token) = api.house.links.redeem(Instant::now(), &text)?;
    Ok((StatusCode::CREATED, Json(opened(&person, &token))))
}

fn opened(person: &Person, token: &str) -> Value {
    let expires_at = crate::roster::time_of(SystemTime::now() + SESSION);
    json!({ "token": token, "conference": person.conference, "participant": person.participant, "expires_at": expires_at })
}

/// `GET /v1/me`
async fn me(
    State(api): State<Api>,
    Extension(person): Extension<Arc<Person>>,
    Extension(session): Extension<Opened>,
) -> Result<impl IntoResponse, Problem> {
    answer(&api, &person, session, |reply| ToFocus::Me(person.participant.clone(), reply)).await
}

/// `PUT /v1/me/disclosure`
async fn choose(
    State(api): State<Api>,
    Extension(person): Extension<Arc<Person>>,
    Extension(session): Extension<Opened>,
    choice: Result<Json<Choice>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(choice) = choice.map_err(|_| Problem::BAD_CHOICE)?;
    if choice.is_empty() {
        return Err(Problem::BAD_CHOICE);
    }
    answer(&api, &person, session, |reply| ToFocus::Choose(person.participant.clone(), choice, reply)).await
}

/// `POST /v1/me/controls/{action}`
async fn control(
    State(api): State<Api>,
    Extension(person): Extension<Arc<Person>>,
    Extension(session): Extension<Opened>,
    Segments(action): Segments<String>,
) -> Result<impl IntoResponse, Problem> {
    let act = match action.as_str() {
        "leave" => OwnAct::Leave,
        word => {
            OwnAct::Act(Act::named(word).filter(|act| act.is_for(By::Own)).ok_or(Problem::NO_OWN_ACTION)?)
        }
    };
    answer(&api, &person, session, |reply| ToFocus::Own(person.participant.clone(), act, reply)).await
}

async fn answer(
    api: &Api,
    person: &Person,
    session: Opened,
    question: impl FnOnce(tokio::sync::oneshot::Sender<Option<crate::roster::Text>>) -> ToFocus,
) -> Result<Response, Problem> {
    let text = match api.registry.find(&person.conference) {
        Some(inbox) => ask(&inbox, question).await.unwrap_or(None),
        None => None,
    };
    // Who is invited may come, and come again.
    let not_in =
        || json!({ "conference": person.conference, "participant": null, "seen_by": [] }).to_string().into();
    let text = text.or_else(|| person.invited.then(not_in)).ok_or(Problem::CALL_OVER)?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let Some(token) = session.0 else { return Ok((headers, text.to_string()).into_response()) };
    // A link was used up by this request: here is what goes on.
    let mut all: Value = serde_json::from_str(&text).unwrap_or_default();
    all["session"] = opened(person, &token);
    Ok((headers, all.to_string()).into_response())
}
