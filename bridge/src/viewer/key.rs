//! Registering a viewer's key with a bridge.

use super::ViewerError;
use super::feed::refused;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use vault::opener::{ContentKey, ViewerSecret};

/// The largest answer that is taken, bytes.
const LARGEST: usize = 64 * 1024;

/// Why there is no key.
pub(super) enum Failed {
    /// No connection, or one that broke: it may be there again later.
    Lost,
    /// It would not help to ask again.
    Viewer(ViewerError),
}

#[derive(Deserialize)]
struct Registered {
    id: String,
    jwe: String,
}

/// Registers a fresh key with the bridge at `host` (`HOST:PORT`) and returns its id and what opens with it.
pub(super) async fn register(host: &str, bearer: &HeaderValue) -> Result<(String, ContentKey), Failed> {
    let unusable = |_| Failed::Viewer(ViewerError::Key);
    let secret = ViewerSecret::generate().map_err(unusable)?;
    let (x, y) = secret.coordinates();
    let body = serde_json::json!({ "jwk": { "kty": "EC", "crv": "P-256", "x": x, "y": y } }).to_string();
    let request = Request::post("/v1/viewer-keys")
        .header(header::HOST, host)
        .header(header::AUTHORIZATION, bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Failed::Viewer(ViewerError::Server))?;
    let (status, body) = ask(host, request).await.map_err(|_| Failed::Lost)?;
    if status != StatusCode::CREATED {
        return Err(Failed::Viewer(refused(status)));
    }
    let registered: Registered =
        serde_json::from_slice(&body).map_err(|_| Failed::Viewer(ViewerError::Key))?;
    Ok((registered.id, secret.take(&registered.jwe).map_err(unusable)?))
}

/// Has a number called into a conference by the bridge at `server` (`http://HOST:PORT`): the participant.
///
/// # Errors
/// [`ViewerError`].
pub async fn dial(server: &str, token: &str, conference: &str, number: &str) -> Result<String, ViewerError> {
    #[derive(Deserialize)]
    struct Called {
        id: String,
    }
    #[derive(Deserialize)]
    struct Problem {
        title: String,
    }
    let host = server.strip_prefix("http://").map(|s| s.trim_end_matches('/')).ok_or(ViewerError::Server)?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ViewerError::Token)?;
    let lost = |_| ViewerError::Lost;
    let (id, key) = register(host, &bearer).await.map_err(|e| match e {
        Failed::Lost => ViewerError::Lost,
        Failed::Viewer(e) => e,
    })?;
    let jwe = key.seal(number).map_err(|_| ViewerError::Key)?;
    let body = serde_json::json!({ "number": { "jwe": jwe } }).to_string();
    let request = Request::post(format!("/v1/conferences/{conference}/participants?viewer_key={id}"))
        .header(header::HOST, host)
        .header(header::AUTHORIZATION, &bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| ViewerError::Server)?;
    let (status, body) = ask(host, request).await.map_err(lost)?;
    // It was good for this once.
    let end = Request::delete(format!("/v1/viewer-keys/{id}"))
        .header(header::HOST, host)
        .header(header::AUTHORIZATION, &bearer)
        .body(Full::default())
        .map_err(|_| ViewerError::Server)?;
    let _ = ask(host, end).await;
    if status == StatusCode::ACCEPTED {
        return serde_json::from_slice(&body).map(|c: Called| c.id).map_err(|_| ViewerError::Key);
    }
    let title = serde_json::from_slice(&body).map(|p: Problem| p.title);
    Err(title.map_or_else(|_| refused(status), ViewerError::Problem))
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// One request on a connection of its own.
async fn ask(host: &str, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), AnyError> {
    let stream = TcpStream::connect(host).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, Limited::new(response.into_body(), LARGEST).collect().await?.to_bytes()))
    };
    tokio::pin!(connection, exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            // The connection may end with the answer already read.
            exchange.await
        }
    }
}
