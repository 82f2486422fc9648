//! HTTP and WebSocket. Errors are problem documents (RFC 9457).

mod booking;
mod controls;
mod dial;
mod keys;
mod legal;
mod login;
mod me;
mod monitors;
mod noting;
mod oidc;
mod portal;
mod problem;
mod server;
mod web;

pub use booking::take_bookings;
pub use me::PAGE;
pub use server::serve;

use crate::access::{Access, Grant};
use crate::account::Accounts;
use crate::control::Registry;
use crate::disclosure::Viewer;
use crate::focus::{Control, House, Refused, SoundWish, ToFocus, Who};
use crate::link::LinkError;
use crate::oidc::Provider;
use crate::roster::{Missed, Text};
use crate::surface::Surface;
use crate::telemetry;
use axum::extract::rejection::JsonRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{self, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Json, Router};
use problem::Problem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A watcher that answers no ping for this long is gone.
const PING: Duration = Duration::from_secs(20);
/// A watcher has nothing to say but pongs. So many messages in that time, and it is sent away.
const TALK: u32 = 200;
/// A request's body, bytes.
const LARGEST_BODY: usize = 16 * 1024;
/// The WebSocket's own protocol, and the beginning of the one that is a token.
const PROTOCOL: &str = "sotto";
const BEARER: &str = "bearer.";
/// For answers that are for who asks alone.
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
/// The description of the API.
const OPENAPI: &str = include_str!("openapi.json");

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    /// Conferences.
    pub registry: Arc<Registry>,
    /// The rest of the house.
    pub house: Arc<House>,
    /// Tokens.
    pub access: Arc<Access>,
    /// Accounts, where there is a ledger.
    pub accounts: Option<Arc<Accounts>>,
    /// Who signs people in besides, if somebody does.
    pub provider: Option<Arc<Provider>>,
}

/// Routes come from the list of surfaces only.
trait Surfaces {
    fn surface(self, surface: Surface, handlers: MethodRouter<Api>) -> Self;
}

impl Surfaces for Router<Api> {
    #[allow(clippy::disallowed_methods, reason = "this is the one way")]
    fn surface(self, surface: Surface, handlers: MethodRouter<Api>) -> Self {
        match surface.path() {
            Some(path) => self.route(path, handlers),
            None => self,
        }
    }
}

/// The API's routes.
pub fn router(api: Api) -> Router {
    let guarded = Router::new()
        .surface(Surface::OwnSession, get(login::session).delete(login::logout))
        .surface(Surface::Tokens, get(login::tokens).post(login::make_token))
        .surface(Surface::Token, delete(login::take_back))
        .surface(Surface::Bookings, get(booking::list).post(booking::make))
        .surface(Surface::Booking, put(booking::change).delete(booking::remove))
        .surface(Surface::BookingPins, get(booking::pins).post(booking::make_pin))
        .surface(Surface::BookingPin, delete(booking::remove_pin))
        .surface(Surface::Conferences, get(conferences))
        .surface(Surface::Roster, get(roster))
        .surface(Surface::Events, get(events))
        .surface(Surface::Dial, post(dial::dial))
        .surface(Surface::Control, post(control))
        .surface(Surface::Sound, put(sound))
        .surface(Surface::Place, put(controls::place))
        .surface(Surface::Steer, post(controls::steer))
        .surface(Surface::Title, put(controls::title))
        .surface(Surface::Fields, put(noting::fields))
        .surface(Surface::Attendance, get(noting::attendance).delete(noting::forget))
        .surface(Surface::Invitations, post(web::invite))
        .surface(Surface::Trunks, get(dial::trunks))
        .surface(Surface::ViewerKeys, post(keys::register))
        .surface(Surface::ViewerKey, delete(keys::end))
        .surface(Surface::Monitors, post(monitors::allow))
        .surface(Surface::LegalRequests, post(legal::request))
        .surface(Surface::LegalApproval, post(legal::approve))
        .surface(Surface::LegalAccess, get(legal::read))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(axum::middleware::from_fn_with_state(api.clone(), bearer));
    Router::new()
        .merge(guarded)
        .merge(me::router(&api))
        .merge(portal::router())
        .surface(Surface::Login, post(login::login).layer(DefaultBodyLimit::max(LARGEST_BODY)))
        .surface(Surface::Oidc, get(oidc::about).post(oidc::begin))
        .surface(Surface::OidcSession, post(oidc::finish).layer(DefaultBodyLimit::max(LARGEST_BODY)))
        .surface(
            Surface::Description,
            get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }),
        )
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD })
        .with_state(api)
}

/// The routes for the house's own network.
pub fn admin_router(api: Api) -> Router {
    Router::new()
        .surface(Surface::Health, get(|| async { "ok\n" }))
        .surface(Surface::Readiness, get(readyz))
        .surface(Surface::Metrics, get(metrics))
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD })
        .with_state(api)
}

/// RFC 6750 §2.1. What the token is good for goes with the request.
async fn bearer(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    match api.access.admit(token(&request), &api.house.links, Instant::now()) {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
            next.run(request).await
        }
        Err(LinkError::Unknown) => unauthorized(Problem::UNAUTHORIZED),
        Err(e) => Problem::from(e).into_response(),
    }
}

/// The bearer token of a request; empty when there is none.
fn token(request: &Request) -> &str {
    token_of(request.headers())
}

/// The same of its headers. A page cannot send the usual one with a WebSocket, but it can name protocols: the token is one of them.
fn token_of(headers: &HeaderMap) -> &str {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let given = text(header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer "));
    let named =
        || text(header::SEC_WEBSOCKET_PROTOCOL)?.split(',').find_map(|p| p.trim().strip_prefix(BEARER));
    given.or_else(named).unwrap_or_default()
}

fn unauthorized(problem: Problem) -> Response {
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}

/// `?viewer_key=ID`: with whose eyes.
#[derive(serde::Deserialize)]
struct With {
    viewer_key: Option<String>,
}

/// Who looks.
struct Looking(Arc<Viewer>);

impl<S: Send + Sync> FromRequestParts<S> for Looking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(with) =
            Query::<With>::from_request_parts(parts, state).await.map_err(|_| Problem::KEY_GONE)?;
        let grant = parts.extensions.get::<Arc<Grant>>().ok_or(Problem::UNAUTHORIZED)?;
        grant.viewer(with.viewer_key.as_deref()).map(Self).ok_or(Problem::KEY_GONE)
    }
}

async fn readyz(State(api): State<Api>) -> impl IntoResponse {
    let (ready, body) = telemetry::readiness(&api.house, &api.registry);
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], telemetry::metrics(api.house, api.registry))
}

/// Asks a focus something. A conference that ends meanwhile is one that is not there.
async fn ask<T>(
    inbox: &mpsc::Sender<ToFocus>,
    question: impl FnOnce(oneshot::Sender<T>) -> ToFocus,
) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    inbox.send(question(reply)).await.map_err(|_| Problem::NO_CONFERENCE)?;
    answer.await.map_err(|_| Problem::NO_CONFERENCE)
}

/// A path's variable parts; what cannot be read names nothing that is there.
struct Segments<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(segments) = Path::from_request_parts(parts, state).await.map_err(|_| Problem::NOT_FOUND)?;
        Ok(Self(segments))
    }
}

/// A conference, if there is one and the token is good for it: who may not know of it learns no difference.
fn find(api: &Api, grant: &Grant, id: &str) -> Result<mpsc::Sender<ToFocus>, Problem> {
    api.registry.find(id).filter(|_| grant.covers(id)).ok_or(Problem::NO_CONFERENCE)
}

async fn conferences(State(api): State<Api>, Extension(grant): Extension<Arc<Grant>>) -> impl IntoResponse {
    let (mut list, viewer) = (Vec::new(), grant.viewer(None));
    for inbox in api.registry.all() {
        // One that ends meanwhile is left out.
        if let Ok(summary) = ask(&inbox, |reply| ToFocus::Summary(viewer.clone(), reply)).await
            && grant.covers(&summary.id)
        {
            list.push(summary);
        }
    }
    list.sort_by(|a, b| a.id.cmp(&b.id));
    Json(serde_json::json!({ "conferences": list }))
}

async fn roster(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Looking(viewer): Looking,
    Segments(id): Segments<String>,
) -> Result<impl IntoResponse, Problem> {
    let snapshot = ask(&find(&api, &grant, &id)?, |reply| ToFocus::Snapshot(viewer, reply)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], snapshot.to_string()))
}

async fn control(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments((id, participant, action)): Segments<(String, String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let control = Control::named(&action).ok_or(Problem::NO_ACTION)?;
    carry_out(&api, &grant, &id, |by, reply| ToFocus::Control(participant, control, by, reply)).await
}

/// `PUT …/sound`: louder or softer, with noise or without.
async fn sound(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Segments((id, participant)): Segments<(String, String)>,
    wish: Result<Json<SoundWish>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let wish = wish.ok().map(|Json(wish)| wish).filter(SoundWish::is_possible).ok_or(Problem::BAD_SOUND)?;
    let control = Control::Sound(wish);
    carry_out(&api, &grant, &id, |by, reply| ToFocus::Control(participant, control, by, reply)).await
}

/// Has a conference carry something out, if the token may.
async fn carry_out(
    api: &Api,
    grant: &Grant,
    id: &str,
    wish: impl FnOnce(Who, oneshot::Sender<Result<(), Refused>>) -> ToFocus,
) -> Result<StatusCode, Problem> {
    let inbox = find(api, grant, id)?;
    if !grant.controls() {
        return Err(Problem::FORBIDDEN);
    }
    let by = Who { id: grant.id().to_owned(), role: grant.role().as_str() };
    match ask(&inbox, |reply| wish(by, reply)).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(Refused::NoParticipant) => Err(Problem::NO_PARTICIPANT),
        Err(Refused::Busy) => Err(Problem::BUSY),
        Err(Refused::TooSoon) => Err(Problem::TOO_SOON),
        Err(Refused::Withheld) => Err(Problem::WITHHELD),
        Err(Refused::NotFit) => Err(Problem::BAD_FIELDS),
    }
}

async fn events(
    State(api): State<Api>,
    Extension(grant): Extension<Arc<Grant>>,
    Looking(viewer): Looking,
    Segments(id): Segments<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<impl IntoResponse, Problem> {
    let inbox = find(&api, &grant, &id)?;
    let upgrade = upgrade.map_err(|_| Problem::UPGRADE)?;
    // What a watcher sends is read over; little of it is taken.
    Ok(upgrade
        .protocols([PROTOCOL])
        .max_message_size(1024)
        .on_upgrade(move |socket| watch(socket, inbox, viewer)))
}

/// Sends the snapshot, then every change; a watcher that is too slow gets a new snapshot instead of what it missed.
/// It ends at once with the viewer's key or token.
async fn watch(mut socket: WebSocket, inbox: mpsc::Sender<ToFocus>, viewer: Arc<Viewer>) {
    tokio::select! {
        () = follow(&mut socket, inbox, &viewer) => {}
        () = viewer.ended() => {
            let frame = ws::CloseFrame { code: ws::close_code::POLICY, reason: "the key or token has ended".into() };
            // The peer may be gone already.
            let _ = send(&mut socket, ws::Message::Close(Some(frame))).await;
        }
    }
}

async fn follow(socket: &mut WebSocket, inbox: mpsc::Sender<ToFocus>, viewer: &Arc<Viewer>) {
    let watch = |reply| ToFocus::Watch(viewer.clone(), reply);
    let Ok((snapshot, mut feed)) = ask(&inbox, watch).await else { return };
    // The feed alone must not keep the conference.
    let inbox = inbox.downgrade();
    if say(socket, &snapshot).await.is_err() {
        return;
    }
    let mut ping = tokio::time::interval(PING);
    let mut heard = 1;
    loop {
        tokio::select! {
            message = feed.next() => {
                let message = match message {
                    Ok(message) => message,
                    Err(Missed::Some) => {
                        let Some(inbox) = inbox.upgrade() else { return };
                        let Ok((snapshot, fresh)) = ask(&inbox, watch).await else { return };
                        feed = fresh;
                        snapshot
                    }
                    Err(Missed::All) => {
                        // The peer may be gone already.
                        let _ = send(socket, ws::Message::Close(None)).await;
                        return;
                    }
                };
                if say(socket, &message).await.is_err() {
                    return;
                }
            }
            said = socket.recv() => match said {
                Some(Ok(_)) if heard < TALK => heard += 1,
                Some(Ok(_)) => {
                    let reason = "a watcher has nothing to say".into();
                    let frame = ws::CloseFrame { code: ws::close_code::POLICY, reason };
                    // The peer may be gone already.
                    let _ = send(socket, ws::Message::Close(Some(frame))).await;
                    return;
                }
                Some(Err(_)) | None => return,
            },
            _ = ping.tick() => {
                if std::mem::take(&mut heard) == 0 || send(socket, ws::Message::Ping("".into())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Says something to a watcher; an error when they are gone, or take nothing for too long.
async fn say(socket: &mut WebSocket, message: &Text) -> Result<(), Gone> {
    send(socket, ws::Message::Text((&**message).into())).await
}

async fn send(socket: &mut WebSocket, message: ws::Message) -> Result<(), Gone> {
    tokio::time::timeout(PING, socket.send(message)).await.map_err(|_| Gone)?.map_err(|_| Gone)
}

/// A watcher has gone.
struct Gone;
