//! Problem documents (RFC 9457). They repeat nothing of what was asked.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// One kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
}

impl Problem {
    pub(super) const UNAUTHORIZED: Self =
        Self { status: StatusCode::UNAUTHORIZED, title: "A bearer token of this installation is needed" };
    pub(super) const NOT_FOUND: Self = Self { status: StatusCode::NOT_FOUND, title: "No such resource" };
    pub(super) const NO_CONFERENCE: Self =
        Self { status: StatusCode::NOT_FOUND, title: "No such conference" };
    pub(super) const NO_PARTICIPANT: Self =
        Self { status: StatusCode::NOT_FOUND, title: "No such participant" };
    pub(super) const NO_ACTION: Self =
        Self { status: StatusCode::NOT_FOUND, title: "No such action; there are mute, unmute and remove" };
    pub(super) const BUSY: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "The conference's audio takes no commands now; nothing was changed",
    };
    pub(super) const UPGRADE: Self =
        Self { status: StatusCode::UPGRADE_REQUIRED, title: "The feed is a WebSocket (RFC 6455)" };
    pub(super) const METHOD: Self =
        Self { status: StatusCode::METHOD_NOT_ALLOWED, title: "This resource has another method" };
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "type": "about:blank", "title": self.title, "status": self.status.as_u16() });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, body.to_string()).into_response()
    }
}
