//! HTTP and WebSocket. Errors are problem documents (RFC 9457).

mod problem;
mod server;

pub use server::serve;

use crate::control::Registry;
use crate::focus::{Control, House, Refused, ToFocus};
use crate::roster::Message;
use crate::telemetry;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{self, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::{broadcast, mpsc, oneshot};

/// A watcher that answers no ping for this long is gone.
const PING: Duration = Duration::from_secs(20);
/// The description of the API.
const OPENAPI: &str = include_str!("openapi.json");

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    /// Conferences.
    pub registry: Arc<Registry>,
    /// The rest of the house.
    pub house: Arc<House>,
    /// Bearer tokens that are accepted.
    pub tokens: Arc<Vec<String>>,
}

/// The API's routes.
pub fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route("/v1/conferences", get(conferences))
        .route("/v1/conferences/{id}/roster", get(roster))
        .route("/v1/conferences/{id}/events", get(events))
        .route("/v1/conferences/{id}/participants/{pid}/{action}", post(control))
        .layer(axum::middleware::from_fn_with_state(api.clone(), bearer));
    Router::new()
        .merge(guarded)
        .route("/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD })
        .with_state(api)
}

/// The routes for the house's own network.
pub fn admin_router(api: Api) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD })
        .with_state(api)
}

/// RFC 6750 §2.1. Tokens are compared in constant time.
async fn bearer(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .unwrap_or_default()
        .as_bytes();
    let known = api.tokens.iter().fold(subtle::Choice::from(0), |found, t| found | t.as_bytes().ct_eq(given));
    if bool::from(known) {
        next.run(request).await
    } else {
        ([(header::WWW_AUTHENTICATE, "Bearer")], Problem::UNAUTHORIZED).into_response()
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

fn find(api: &Api, id: &str) -> Result<mpsc::Sender<ToFocus>, Problem> {
    api.registry.find(id).ok_or(Problem::NO_CONFERENCE)
}

async fn conferences(State(api): State<Api>) -> impl IntoResponse {
    let mut list = Vec::new();
    for inbox in api.registry.all() {
        // One that ends meanwhile is left out.
        if let Ok(summary) = ask(&inbox, ToFocus::Summary).await {
            list.push(summary);
        }
    }
    list.sort_by(|a, b| a.id.cmp(&b.id));
    Json(serde_json::json!({ "conferences": list }))
}

async fn roster(
    State(api): State<Api>,
    Segments(id): Segments<String>,
) -> Result<impl IntoResponse, Problem> {
    let snapshot = ask(&find(&api, &id)?, ToFocus::Snapshot).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], snapshot.to_string()))
}

async fn control(
    State(api): State<Api>,
    Segments((id, participant, action)): Segments<(String, String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let control = match action.as_str() {
        "mute" => Control::Mute,
        "unmute" => Control::Unmute,
        "remove" => Control::Remove,
        _ => return Err(Problem::NO_ACTION),
    };
    let inbox = find(&api, &id)?;
    match ask(&inbox, |reply| ToFocus::Control(participant, control, reply)).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(Refused::NoParticipant) => Err(Problem::NO_PARTICIPANT),
        Err(Refused::Busy) => Err(Problem::BUSY),
    }
}

async fn events(
    State(api): State<Api>,
    Segments(id): Segments<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<impl IntoResponse, Problem> {
    let inbox = find(&api, &id)?;
    let upgrade = upgrade.map_err(|_| Problem::UPGRADE)?;
    // What a watcher sends is read over; little of it is taken.
    Ok(upgrade.max_message_size(1024).on_upgrade(move |socket| watch(socket, inbox)))
}

/// Sends the snapshot, then every change; a watcher that is too slow gets a new snapshot instead of what it missed.
async fn watch(mut socket: WebSocket, inbox: mpsc::Sender<ToFocus>) {
    let Ok((snapshot, mut feed)) = ask(&inbox, ToFocus::Watch).await else { return };
    // The feed alone must not keep the conference.
    let inbox = inbox.downgrade();
    if say(&mut socket, &snapshot).await.is_err() {
        return;
    }
    let mut ping = tokio::time::interval(PING);
    let mut alive = true;
    loop {
        tokio::select! {
            message = feed.recv() => {
                let message = match message {
                    Ok(message) => message,
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        let Some(inbox) = inbox.upgrade() else { return };
                        let Ok((snapshot, fresh)) = ask(&inbox, ToFocus::Watch).await else { return };
                        feed = fresh;
                        snapshot
                    }
                    Err(broadcast::error::RecvError::Closed) => {
                        // The peer may be gone already.
                        let _ = send(&mut socket, ws::Message::Close(None)).await;
                        return;
                    }
                };
                if say(&mut socket, &message).await.is_err() {
                    return;
                }
            }
            heard = socket.recv() => match heard {
                Some(Ok(_)) => alive = true,
                Some(Err(_)) | None => return,
            },
            _ = ping.tick() => {
                if !std::mem::replace(&mut alive, false) || send(&mut socket, ws::Message::Ping("".into())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Says something to a watcher; an error when they are gone, or take nothing for too long.
async fn say(socket: &mut WebSocket, message: &Message) -> Result<(), Gone> {
    send(socket, ws::Message::Text((&**message).into())).await
}

async fn send(socket: &mut WebSocket, message: ws::Message) -> Result<(), Gone> {
    tokio::time::timeout(PING, socket.send(message)).await.map_err(|_| Gone)?.map_err(|_| Gone)
}

/// A watcher has gone.
struct Gone;
