//! The feed's client.

use super::model::Message;
use futures_util::StreamExt;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

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
    conference: String,
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
        Ok(Self { request, conference: conference.to_owned(), stream: None, pause: Duration::ZERO })
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
                let config = WebSocketConfig::default().max_message_size(Some(LARGEST));
                match connect_async_with_config(self.request.clone(), Some(config), true).await {
                    Ok((stream, _)) => self.stream = Some(stream),
                    Err(tungstenite::Error::Http(response)) => match response.status() {
                        StatusCode::NOT_FOUND => {
                            return Ok(Said::Waiting("waiting for the first caller".into()));
                        }
                        StatusCode::UNAUTHORIZED => return Err(ViewerError::Refused),
                        status => return Err(ViewerError::Status(status.as_u16())),
                    },
                    Err(_) => return Ok(Said::Waiting("no connection to the bridge; trying again".into())),
                }
                continue;
            };
            match stream.next().await {
                Some(Ok(tungstenite::Message::Text(text))) => {
                    if let Ok(message) = serde_json::from_str(&text) {
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
}
