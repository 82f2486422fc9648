//! The feed's client: registers a key for the names, then follows.

use super::key;
use super::model::Message;
use futures_util::StreamExt;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use vault::opener::ContentKey;

/// A feed that is not there, or was lost, is asked for again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// The largest message that is taken: a snapshot of 10,000 participants is about 4 MB.
const LARGEST: usize = 16 << 20;

/// Why a roster cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewerError {
    /// The server's address is not usable.
    #[error("expected the server as http://HOST:PORT")]
    Server,
    /// The token has characters that no header can carry.
    #[error("the token is not usable: it has characters outside ASCII")]
    Token,
    /// The server does not know the token.
    #[error("the server refuses the token")]
    Refused,
    /// No key could be made, or the server's answer to it does not open.
    #[error("no key for the names could be agreed on with the server")]
    Key,
    /// There is no connection to the server.
    #[error("no connection to the bridge")]
    Lost,
    /// The server does not do it, and says why.
    #[error("{0}")]
    Problem(String),
    /// The server answers what it should not.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// The terminal does not work.
    #[error("terminal: {0}")]
    Terminal(#[from] std::io::Error),
}

/// What a feed says.
#[derive(Debug)]
pub enum Said {
    /// A message.
    Message(Box<Message>),
    /// There is nothing now; why.
    Waiting(String),
}

/// A conference's feed, opened again whenever it is lost.
pub struct Feed {
    request: Request<()>,
    host: String,
    conference: String,
    /// The key that was registered, and what opens with it.
    key: Option<(String, ContentKey)>,
    stream: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    /// Before the next attempt.
    pause: Duration,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not its token.
        write!(f, "Feed({})", self.conference)
    }
}

impl Feed {
    /// The feed of `conference` on `server` (`http://HOST:PORT`), with a bearer token.
    ///
    /// # Errors
    /// [`ViewerError::Server`], [`ViewerError::Token`].
    pub fn new(server: &str, conference: &str, token: &str) -> Result<Self, ViewerError> {
        let host =
            server.strip_prefix("http://").map(|s| s.trim_end_matches('/')).ok_or(ViewerError::Server)?;
        let uri: Uri = format!("ws://{host}/v1/conferences/{conference}/events")
            .parse()
            .map_err(|_| ViewerError::Server)?;
        let mut request = uri.into_client_request().map_err(|_| ViewerError::Server)?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ViewerError::Token)?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        Ok(Self {
            request,
            host: host.to_owned(),
            conference: conference.to_owned(),
            key: None,
            stream: None,
            pause: Duration::ZERO,
        })
    }

    /// The conference.
    pub fn conference(&self) -> &str {
        &self.conference
    }

    /// What is said next. Not to be cancelled: the connection being made would be lost.
    ///
    /// # Errors
    /// [`ViewerError::Refused`], [`ViewerError::Status`]: asking again would not help.
    pub async fn next(&mut self) -> Result<Said, ViewerError> {
        loop {
            let Some(stream) = &mut self.stream else {
                tokio::time::sleep(std::mem::replace(&mut self.pause, AGAIN)).await;
                match self.connect().await? {
                    Some(waiting) => return Ok(waiting),
                    None => continue,
                }
            };
            match stream.next().await {
                Some(Ok(tungstenite::Message::Text(text))) => {
                    if let Ok(mut message) = serde_json::from_str::<Message>(&text) {
                        if let Some((_, key)) = &self.key {
                            message.open(key);
                        }
                        return Ok(Said::Message(Box::new(message)));
                    }
                    // No message of ours: what follows cannot be trusted to fit.
                    self.stream = None;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.stream = None,
            }
        }
    }

    /// Registers a key if there is none, and opens the feed. Says why it is not there.
    async fn connect(&mut self) -> Result<Option<Said>, ViewerError> {
        const LOST: &str = "no connection to the bridge; trying again";
        let waiting = |why: &str| Ok(Some(Said::Waiting(why.into())));
        let bearer = &self.request.headers()[header::AUTHORIZATION];
        if self.key.is_none() {
            match key::register(&self.host, bearer).await {
                Ok(key) => self.key = Some(key),
                Err(key::Failed::Lost) => return waiting(LOST),
                Err(key::Failed::Viewer(e)) => return Err(e),
            }
        }
        let mut request = self.request.clone();
        if let Some((id, _)) = &self.key {
            let with_key = format!("{}?viewer_key={id}", request.uri());
            *request.uri_mut() = with_key.parse().map_err(|_| ViewerError::Server)?;
        }
        let config = WebSocketConfig::default().max_message_size(Some(LARGEST));
        match connect_async_with_config(request, Some(config), true).await {
            Ok((stream, _)) => self.stream = Some(stream),
            Err(tungstenite::Error::Http(response)) => match response.status() {
                StatusCode::NOT_FOUND => return waiting("waiting for the first caller"),
                // It expired, or the bridge began anew.
                StatusCode::GONE => self.key = None,
                status => return Err(refused(status)),
            },
            Err(_) => return waiting(LOST),
        }
        Ok(None)
    }
}

/// A status that asking again would not change.
pub(super) fn refused(status: StatusCode) -> ViewerError {
    if status == StatusCode::UNAUTHORIZED {
        ViewerError::Refused
    } else {
        ViewerError::Status(status.as_u16())
    }
}
