//! Webhooks: what happens in meetings, told to the site's own programs as it happens, in order, signed, and again until it is taken.
//!
//! Each message is what a viewer without a key sees of the roster: pseudonyms and states, nobody's name or number. It is signed as
//! [Standard Webhooks](https://www.standardwebhooks.com) has it: `webhook-id`, `webhook-timestamp` and `webhook-signature`, which is `v1,` and the
//! HMAC-SHA256 of `id.timestamp.body` in base64. A message that is sent again keeps its id, and gets a new time and signature: who keeps ids for two hours and refuses
//! times that are older than five minutes takes none twice.

use crate::config;
use crate::disclosure::{Role, Viewer};
use crate::outward::{self, Client};
use crate::roster::{Follow, Text, random_id};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri, header};
use ring::hmac;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Messages of one hook that may wait. More are left out, and counted; a receiver sees it by a gap in `seq`.
const WAITING: usize = 4096;
/// Waits before a message is sent again: an hour in all, then it is left out.
const AGAIN: [Duration; 8] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(180),
    Duration::from_secs(600),
    Duration::from_secs(1200),
    Duration::from_secs(1800),
];
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of an answer's body is read over.
const LARGEST: usize = 64 * 1024;

/// Why there is no hook.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// What is configured is not usable.
    #[error(transparent)]
    Config(#[from] config::BadWebhook),
    /// The system's authorities cannot be read.
    #[error("the system's authorities: {0}")]
    Authorities(std::io::Error),
}

/// How messages fared, of all hooks.
#[derive(Debug, Default)]
pub struct Counters {
    /// Taken.
    pub delivered: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
    /// Left out: nobody took them for an hour, or too many waited.
    pub dropped: AtomicU64,
}

/// One receiver.
#[derive(Debug)]
pub struct Hook {
    viewer: Arc<Viewer>,
    conferences: Option<Vec<String>>,
    kinds: Vec<config::HookEvent>,
    queue: mpsc::Sender<Bytes>,
    counters: Arc<Counters>,
}

/// All receivers.
#[derive(Debug, Default)]
pub struct Hooks {
    all: Vec<Arc<Hook>>,
    /// How their messages fared.
    pub counters: Arc<Counters>,
}

/// What a message is about.
#[derive(Deserialize)]
struct Peek {
    kind: config::HookEvent,
}

impl Hooks {
    /// Those of the configuration. Must be called inside a tokio runtime, on which they are told.
    ///
    /// # Errors
    /// [`HookError`].
    pub fn start(configured: &[config::Webhook]) -> Result<Self, HookError> {
        let counters = Arc::new(Counters::default());
        let mut all = Vec::new();
        for webhook in configured {
            let url: Uri = webhook.url.get_ref().parse().map_err(|_| config::BadWebhook::Url)?;
            let (queue, waiting) = mpsc::channel(WAITING);
            let sender = Sender {
                client: outward::client().map_err(HookError::Authorities)?,
                url,
                key: webhook.secret()?,
            };
            tokio::spawn(deliver(sender, waiting, counters.clone()));
            let sight = Role::Admin.sight();
            all.push(Arc::new(Hook {
                viewer: Arc::new(Viewer::new(random_id("w_"), Role::Admin, sight, None)),
                conferences: webhook.conferences.clone(),
                kinds: webhook.events.clone().unwrap_or_else(|| config::HookEvent::USUAL.to_vec()),
                queue,
                counters: counters.clone(),
            }));
        }
        Ok(Self { all, counters })
    }

    /// Those who want to hear of a conference.
    pub fn of<'a>(&'a self, conference: &'a str) -> impl Iterator<Item = &'a Arc<Hook>> {
        let is_it = move |list: &Vec<String>| list.iter().any(|id| id == conference);
        self.all.iter().filter(move |hook| hook.conferences.as_ref().is_none_or(is_it))
    }
}

impl Hook {
    /// As whom it watches.
    pub fn viewer(&self) -> &Arc<Viewer> {
        &self.viewer
    }

    /// Passes on what a conference's feed says, until that ends.
    pub async fn follow(self: Arc<Self>, conference: String, mut feed: Follow) {
        let conference = serde_json::Value::from(conference);
        while let Some(text) = feed.next_without_values().await {
            if let Some(body) = self.message(&conference, &text)
                && self.queue.try_send(body).is_err()
            {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn message(&self, conference: &serde_json::Value, text: &Text) -> Option<Bytes> {
        let peek: Peek = serde_json::from_str(text).ok()?;
        self.kinds
            .contains(&peek.kind)
            .then(|| format!("{{\"conference\":{conference},\"event\":{text}}}").into())
    }
}

struct Sender {
    client: Client,
    url: Uri,
    key: hmac::Key,
}

/// The signature of a message (Standard Webhooks, version 1).
fn signature(key: &hmac::Key, id: &str, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

/// Sends one message after the other, each until it is taken or an hour is over.
async fn deliver(sender: Sender, mut waiting: mpsc::Receiver<Bytes>, counters: Arc<Counters>) {
    while let Some(body) = waiting.recv().await {
        let id = random_id("msg_");
        let mut pauses = AGAIN.iter();
        loop {
            match sender.post(&id, body.clone()).await {
                Some(status) if status.is_success() => {
                    counters.delivered.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                // It is there no more, and says so: it is to be told nothing.
                Some(StatusCode::GONE) => {
                    tracing::warn!(
                        "a webhook's receiver is gone (410): it is told nothing until the next start"
                    );
                    return;
                }
                answer => {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(status = answer.map(|s| s.as_u16()), "a webhook was not taken");
                }
            }
            let Some(pause) = pauses.next() else {
                counters.dropped.fetch_add(1, Ordering::Relaxed);
                break;
            };
            // Not all at once, where several wait for one receiver.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
        }
    }
}

impl Sender {
    /// `None`: there was no answer.
    async fn post(&self, id: &str, body: Bytes) -> Option<StatusCode> {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("sotto/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature(&self.key, id, seconds, &body))
            .body(Full::new(body))
            .ok()?;
        let exchange = async {
            let answer = self.client.request(request).await.ok()?;
            let status = answer.status();
            // So that the connection can be used again.
            let _ = Limited::new(answer.into_body(), LARGEST).collect().await;
            Some(status)
        };
        tokio::time::timeout(PATIENCE, exchange).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the specification.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed =
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
