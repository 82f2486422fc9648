//! Problem documents (RFC 9457). They repeat nothing of what was asked.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// One kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    /// Where a program has to tell it from others with its status.
    kind: &'static str,
    /// What is wrong in particular.
    detail: Option<&'static str>,
}

impl Problem {
    const fn new(status: StatusCode, title: &'static str) -> Self {
        Self { status, title, kind: "about:blank", detail: None }
    }

    pub(super) const UNAUTHORIZED: Self =
        Self::new(StatusCode::UNAUTHORIZED, "A bearer token of this installation is needed");
    pub(super) const FORBIDDEN: Self =
        Self::new(StatusCode::FORBIDDEN, "This token's role may look, not steer");
    pub(super) const BAD_LOGIN: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"user\": …, \"password\": …} and, where it is needed, \"otp\"",
    );
    pub(super) const WRONG_LOGIN: Self =
        Self::new(StatusCode::UNAUTHORIZED, "Name, password or one-time password is wrong");
    pub(super) const OTP_NEEDED: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        title: "A one-time password is needed",
        kind: "urn:sotto:problem:otp-needed",
        detail: None,
    };
    pub(super) const TOO_MANY_LOGINS: Self =
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many wrong tries; wait as long as Retry-After says");
    pub(super) const NO_ACCOUNTS: Self = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Nobody can sign in now");
    pub(super) const BAD_TOKEN: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"days\": 1 to 366} and, if you like, \"conferences\": a list of 1 to 100 of yours",
    );
    pub(super) const NO_TOKEN: Self = Self::new(StatusCode::NOT_FOUND, "You have no such token");
    pub(super) const NO_ACCOUNT: Self =
        Self::new(StatusCode::FORBIDDEN, "This is for who has signed in with an account of this bridge");
    pub(super) const NO_SESSION: Self = Self::new(
        StatusCode::CONFLICT,
        "This token is no session: one of the token file ends there, a program's is taken back by its account",
    );
    pub(super) const NO_PROVIDER: Self =
        Self::new(StatusCode::NOT_FOUND, "Nobody but this bridge itself signs people in here");
    pub(super) const BAD_BACK: Self =
        Self::new(StatusCode::BAD_REQUEST, "Expected {\"code\": …, \"state\": …}, as the provider gave them");
    pub(super) const NOT_BEGUN: Self = Self::new(
        StatusCode::UNAUTHORIZED,
        "This sign-in was not begun here, was used before, or took too long: begin again",
    );
    pub(super) const NOT_SIGNED_IN: Self =
        Self::new(StatusCode::UNAUTHORIZED, "The provider does not say that you have signed in");
    pub(super) const NAMELESS: Self = Self::new(
        StatusCode::UNAUTHORIZED,
        "The provider does not tell the name of your account, or has not verified it",
    );
    pub(super) const NO_SUCH_ACCOUNT: Self =
        Self::new(StatusCode::UNAUTHORIZED, "You have signed in there, but have no account here");
    pub(super) const NO_ANSWER: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The provider does not answer; try again in a minute");
    pub(super) const NO_LINK: Self =
        Self::new(StatusCode::UNAUTHORIZED, "No such personal link, code or session");
    pub(super) const LINK_USED: Self =
        Self::new(StatusCode::GONE, "This personal link or code was used before; dial for a new code");
    pub(super) const LINK_EXPIRED: Self =
        Self::new(StatusCode::GONE, "The time of this link, code or session is over; dial for a new code");
    pub(super) const CALL_OVER: Self = Self::new(StatusCode::GONE, "The call is over, and with it this link");
    pub(super) const TOO_MANY_TRIES: Self =
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many codes were tried; wait a little");
    pub(super) const BAD_LINK: Self =
        Self::new(StatusCode::BAD_REQUEST, "Expected {\"link\": …} or {\"code\": …}");
    pub(super) const BAD_CHOICE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected at least one of \"name\", \"number\", \"profile\", each \"share\" or \"withhold\"",
    );
    pub(super) const NOT_YOURS: Self =
        Self::new(StatusCode::FORBIDDEN, "This is a participant's own; it needs their personal link");
    pub(super) const TOO_SOON: Self =
        Self::new(StatusCode::TOO_MANY_REQUESTS, "They were asked a moment ago; wait half a minute");
    pub(super) const BLIND: Self =
        Self::new(StatusCode::FORBIDDEN, "This token's role sees no names, so it needs no key");
    pub(super) const NOT_LEGAL: Self =
        Self::new(StatusCode::FORBIDDEN, "Only an admin or an auditor may ask or approve");
    pub(super) const NO_MONITOR: Self = Self::new(
        StatusCode::FORBIDDEN,
        "Only a token with the role monitor may let somebody listen without being seen",
    );
    pub(super) const BAD_MONITOR: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected \"purpose\": the number of a case, 3 to 64 of letters, digits, spaces and ./:_-",
    );
    pub(super) const NO_COMPLIANCE_KEY: Self = Self::new(
        StatusCode::CONFLICT,
        "This installation has no compliance key: what is withheld can be read by nobody",
    );
    pub(super) const BAD_PURPOSE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected \"conference\", \"participant\" and \"purpose\": the number of a case, 3 to 64 of letters, digits, spaces and ./:_-",
    );
    pub(super) const NO_REQUEST: Self = Self::new(StatusCode::NOT_FOUND, "No such request, or no longer");
    pub(super) const SAME_PERSON: Self = Self::new(StatusCode::FORBIDDEN, "Somebody else has to approve it");
    pub(super) const NOT_APPROVED: Self = Self::new(StatusCode::CONFLICT, "Nobody has approved it yet");
    pub(super) const TOO_MANY_REQUESTS: Self =
        Self::new(StatusCode::TOO_MANY_REQUESTS, "As many requests as may be are open");
    pub(super) const NO_KEY: Self = Self::new(StatusCode::NOT_FOUND, "No such viewer key");
    pub(super) const KEY_GONE: Self =
        Self::new(StatusCode::GONE, "This token has no such viewer key any more; register one");
    pub(super) const BAD_KEY: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"jwk\": {\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": …, \"y\": …}} with a point on the curve (RFC 7518, 6.2.1)",
    );
    pub(super) const PRIVATE_KEY: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "The key has its private part in it: make another, and send the public part only",
    );
    pub(super) const TOO_LARGE: Self =
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 16 KiB");
    pub(super) const TOO_MANY_KEYS: Self =
        Self::new(StatusCode::TOO_MANY_REQUESTS, "This token has as many viewer keys as it may; delete one");
    pub(super) const NO_ROOM: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "No key can be registered now");
    pub(super) const NOT_FOUND: Self = Self::new(StatusCode::NOT_FOUND, "No such resource");
    pub(super) const NO_CONFERENCE: Self = Self::new(StatusCode::NOT_FOUND, "No such conference");
    pub(super) const NO_PARTICIPANT: Self = Self::new(StatusCode::NOT_FOUND, "No such participant");
    pub(super) const NO_ACTION: Self = Self::new(
        StatusCode::NOT_FOUND,
        "No such action; there are mute, unmute, deafen, hear, hold, resume, lower-hand, give-floor, only-floor, take-floor, make-host, make-operator, make-speaker, admit, \
         remove and ask",
    );
    pub(super) const NO_CONTROL: Self = Self::new(
        StatusCode::NOT_FOUND,
        "No such control; there are mute-all, unmute-all, lock, unlock, lecture, discussion, lobby-off, lobby-until-host, lobby-on, admit-all, \
         lower-hands, recall and end",
    );
    pub(super) const NO_OWN_ACTION: Self = Self::new(
        StatusCode::NOT_FOUND,
        "No such action; there are mute, unmute, deafen, hear, louder, softer, raise-hand, lower-hand and leave",
    );
    pub(super) const BAD_AUDIO: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"sdp\": …}: a browser's offer of one audio line, with DTLS and ICE, and, if you like, \"name\": {\"jwe\": …}",
    );
    pub(super) const BAD_NAME: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected a name of 1 to 120 characters in one line, sealed under the key of this session (dir, A256GCM)",
    );
    pub(super) const IN_BY_PHONE: Self =
        Self::new(StatusCode::CONFLICT, "You are in by telephone; an invitation lets a browser in");
    pub(super) const FULL: Self = Self::new(StatusCode::CONFLICT, "The conference is full");
    pub(super) const SHUT: Self = Self::new(StatusCode::CONFLICT, "The meeting is locked, or over");
    pub(super) const BAD_TITLE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"title\": …}: 1 to 120 characters in one line, or null for none",
    );
    pub(super) const BAD_FIELDS: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"fields\": […]}: for each of the conference's fields null or {\"jwe\": …}, 1 to 240 characters in one line, sealed under this viewer key's content key (dir, A256GCM)",
    );
    pub(super) const WITHHELD: Self =
        Self::new(StatusCode::CONFLICT, "They withhold their profile: nothing can be noted of them");
    pub(super) const NO_ATTENDANCE: Self =
        Self::new(StatusCode::NOT_FOUND, "This conference keeps no list of who was there");
    pub(super) const BAD_BOOKING: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected \"settings\" and, if you like, \"pin\" and \"host_pin\": 4 to 12 digits each",
    );
    pub(super) const BAD_SETTINGS: Self =
        Self::new(StatusCode::BAD_REQUEST, "Expected a conference's settings, as /openapi.json tells");
    pub(super) const BAD_PIN: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"kind\": \"guest\", \"host\", \"personal\" or \"once\"} and, if you like, \"role\" and \"pin\"",
    );
    pub(super) const NO_BOOKING: Self = Self::new(StatusCode::NOT_FOUND, "You have made no such conference");
    pub(super) const NO_PIN: Self = Self::new(StatusCode::NOT_FOUND, "There is no such PIN");
    pub(super) const TOO_MANY_BOOKINGS: Self =
        Self::new(StatusCode::CONFLICT, "There are as many as may be; take one away first");
    pub(super) const NO_LEDGER: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The ledger takes nothing now; nothing was changed");
    pub(super) const BAD_PLACE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"place\": …}: \"meeting\", \"green\", \"breakout-1\" to \"breakout-50\", \"line-1\" to \"line-50\", or \"lobby\" for who waits",
    );
    pub(super) const BAD_SOUND: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected at least one of \"gain\", -30 to 30 (dB, whole), and \"noise_suppression\", true or false",
    );
    pub(super) const BAD_NUMBER: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "Expected {\"number\": {\"jwe\": …}}: a number in E.164 form as +12025550143, sealed under this viewer key's content key (dir, A256GCM)",
    );
    pub(super) const NUMBER_NOT_ALLOWED: Self =
        Self::new(StatusCode::FORBIDDEN, "This installation allows no calls to this number");
    pub(super) const TOO_MANY_CALLS: Self =
        Self::new(StatusCode::TOO_MANY_REQUESTS, "As many calls as may be were made today");
    pub(super) const CONFERENCE_FULL: Self =
        Self::new(StatusCode::CONFLICT, "The conference is full; nobody was called");
    pub(super) const NO_CALL: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "No call can be made now; nobody was called");
    pub(super) const NOT_TECHNICAL: Self =
        Self::new(StatusCode::FORBIDDEN, "Only an operator, an admin or an auditor sees the carriers");
    pub(super) const BUSY: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "The conference's audio or the audit takes nothing now; nothing was changed",
    );
    pub(super) const UPGRADE: Self =
        Self::new(StatusCode::UPGRADE_REQUIRED, "The feed is a WebSocket (RFC 6455)");
    pub(super) const METHOD: Self =
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "This resource has another method");

    /// With what it is about: never with what was asked.
    pub(super) const fn because(self, detail: &'static str) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({ "type": self.kind, "title": self.title, "status": self.status.as_u16() });
        if let Some(detail) = self.detail {
            body["detail"] = json!(detail);
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, body.to_string()).into_response()
    }
}
