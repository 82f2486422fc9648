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
    pub(super) const FORBIDDEN: Self =
        Self { status: StatusCode::FORBIDDEN, title: "This token's role may look, not steer" };
    pub(super) const NO_LINK: Self =
        Self { status: StatusCode::UNAUTHORIZED, title: "No such personal link, code or session" };
    pub(super) const LINK_USED: Self = Self {
        status: StatusCode::GONE,
        title: "This personal link or code was used before; dial for a new code",
    };
    pub(super) const LINK_EXPIRED: Self = Self {
        status: StatusCode::GONE,
        title: "The time of this link, code or session is over; dial for a new code",
    };
    pub(super) const CALL_OVER: Self =
        Self { status: StatusCode::GONE, title: "The call is over, and with it this link" };
    pub(super) const TOO_MANY_TRIES: Self =
        Self { status: StatusCode::TOO_MANY_REQUESTS, title: "Too many codes were tried; wait a little" };
    pub(super) const BAD_LINK: Self =
        Self { status: StatusCode::BAD_REQUEST, title: "Expected {\"link\": …} or {\"code\": …}" };
    pub(super) const BAD_CHOICE: Self = Self {
        status: StatusCode::BAD_REQUEST,
        title: "Expected at least one of \"name\", \"number\", \"profile\", each \"share\" or \"withhold\"",
    };
    pub(super) const NOT_YOURS: Self = Self {
        status: StatusCode::FORBIDDEN,
        title: "This is a participant's own; it needs their personal link",
    };
    pub(super) const TOO_SOON: Self = Self {
        status: StatusCode::TOO_MANY_REQUESTS,
        title: "They were asked a moment ago; wait half a minute",
    };
    pub(super) const BLIND: Self =
        Self { status: StatusCode::FORBIDDEN, title: "This token's role sees no names, so it needs no key" };
    pub(super) const NOT_LEGAL: Self =
        Self { status: StatusCode::FORBIDDEN, title: "Only an admin or an auditor may ask or approve" };
    pub(super) const NO_MONITOR: Self = Self {
        status: StatusCode::FORBIDDEN,
        title: "Only a token with the role monitor may let somebody listen without being seen",
    };
    pub(super) const BAD_MONITOR: Self = Self {
        status: StatusCode::BAD_REQUEST,
        title: "Expected \"purpose\": the number of a case, 3 to 64 of letters, digits, spaces and ./:_-",
    };
    pub(super) const NO_COMPLIANCE_KEY: Self = Self {
        status: StatusCode::CONFLICT,
        title: "This installation has no compliance key: what is withheld can be read by nobody",
    };
    pub(super) const BAD_PURPOSE: Self = Self {
        status: StatusCode::BAD_REQUEST,
        title: "Expected \"conference\", \"participant\" and \"purpose\": the number of a case, 3 to 64 of letters, digits, spaces and ./:_-",
    };
    pub(super) const NO_REQUEST: Self =
        Self { status: StatusCode::NOT_FOUND, title: "No such request, or no longer" };
    pub(super) const SAME_PERSON: Self =
        Self { status: StatusCode::FORBIDDEN, title: "Somebody else has to approve it" };
    pub(super) const NOT_APPROVED: Self =
        Self { status: StatusCode::CONFLICT, title: "Nobody has approved it yet" };
    pub(super) const TOO_MANY_REQUESTS: Self =
        Self { status: StatusCode::TOO_MANY_REQUESTS, title: "As many requests as may be are open" };
    pub(super) const NO_KEY: Self = Self { status: StatusCode::NOT_FOUND, title: "No such viewer key" };
    pub(super) const KEY_GONE: Self =
        Self { status: StatusCode::GONE, title: "This token has no such viewer key any more; register one" };
    pub(super) const BAD_KEY: Self = Self {
        status: StatusCode::BAD_REQUEST,
        title: "Expected {\"jwk\": {\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": …, \"y\": …}} with a point on the curve (RFC 7518, 6.2.1)",
    };
    pub(super) const PRIVATE_KEY: Self = Self {
        status: StatusCode::BAD_REQUEST,
        title: "The key has its private part in it: make another, and send the public part only",
    };
    pub(super) const TOO_LARGE: Self =
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, title: "The body is larger than 16 KiB" };
    pub(super) const TOO_MANY_KEYS: Self = Self {
        status: StatusCode::TOO_MANY_REQUESTS,
        title: "This token has as many viewer keys as it may; delete one",
    };
    pub(super) const NO_ROOM: Self =
        Self { status: StatusCode::SERVICE_UNAVAILABLE, title: "No key can be registered now" };
    pub(super) const NOT_FOUND: Self = Self { status: StatusCode::NOT_FOUND, title: "No such resource" };
    pub(super) const NO_CONFERENCE: Self =
        Self { status: StatusCode::NOT_FOUND, title: "No such conference" };
    pub(super) const NO_PARTICIPANT: Self =
        Self { status: StatusCode::NOT_FOUND, title: "No such participant" };
    pub(super) const NO_ACTION: Self = Self {
        status: StatusCode::NOT_FOUND,
        title: "No such action; there are mute, unmute, remove and ask",
    };
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
