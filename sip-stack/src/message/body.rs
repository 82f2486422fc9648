//! A request's body: a session description, or a key; what else there may be is refused or passed over.

use super::facts::{Body, Description, Digit};
use super::fault::Fault;
use super::fields::{Fields, context};
use super::lexer::{Name, trim};
use super::multipart;
use super::read::Text;
use crate::sdp;
use vault::Field;

impl Text<'_, '_> {
    /// RFC 3261 §20.1: without an Accept, SDP is accepted; an empty one accepts nothing.
    pub(super) fn accepts_sdp(&self) -> bool {
        self.accepts(|kind| kind == b"application/sdp" || kind.starts_with(b"multipart/"))
    }

    /// RFC 4575 §3.5.
    pub(super) fn accepts_conference_info(&self) -> bool {
        self.accepts(|kind| kind == b"application/conference-info+xml")
    }

    /// Whether one of the ranges of Accept fits; without the field the usual is taken (RFC 3261 §20.1).
    fn accepts(&self, fits: impl Fn(&[u8]) -> bool) -> bool {
        let mut values = self.message.all(Name::Accept).peekable();
        if values.peek().is_none() {
            return true;
        }
        values.flat_map(|v| v.split(|b| *b == b',')).any(|range| {
            let kind = range.split(|b| *b == b';').next().unwrap_or_default().iter();
            let kind = kind.filter(|b| !b.is_ascii_whitespace()).map(u8::to_ascii_lowercase);
            let kind: Vec<u8> = kind.collect();
            matches!(&kind[..], b"application/*" | b"*/*") || fits(&kind)
        })
    }

    pub(super) fn body(&self, subject: u64) -> Result<Body, Fault> {
        let m = &self.message;
        if m.body.is_empty() {
            return Ok(Body::Empty);
        }
        let encoded = m.all(Name::ContentEncoding).any(|v| !v.eq_ignore_ascii_case(b"identity"));
        let kind = m.first(Name::ContentType).ok_or(Fault::BAD_REQUEST)?;
        if is_encrypted(kind) {
            return Err(Fault::UNDECIPHERABLE);
        }
        let Some(text) = multipart::sdp(kind, m.body).filter(|_| !encoded) else {
            // RFC 3261 §20.11: an optional body that is not understood is passed over.
            let optional = m.first(Name::ContentDisposition).is_some_and(|d| {
                super::values::params(&d[d.iter().position(|b| *b == b';').unwrap_or(d.len())..])
                    .any(|(n, v)| n.eq_ignore_ascii_case(b"handling") && v.eq_ignore_ascii_case(b"optional"))
            });
            return if optional { Ok(Body::Empty) } else { Err(Fault::MEDIA_TYPE) };
        };
        let mut seal = |key: &[u8]| self.reader.media().seal(self.secrets, key);
        let Ok(session) = sdp::parse_sealing(text, &mut seal) else { return Ok(Body::Unusable) };
        if session.lines == 1 && session.audio.is_some() {
            return Ok(Body::Sdp(Box::new(Description { session, rejects: None })));
        }
        let mut rejects = Fields::default();
        for index in 0..session.lines {
            let mut line = Vec::new();
            sdp::rejected_line(text, index, &mut line);
            rejects.push(&line);
        }
        let rejects = self.secrets.seal(self.reader.ring(), context(subject, Field::Rejects), &rejects.0);
        Ok(Body::Sdp(Box::new(Description { session, rejects: Some(rejects) })))
    }

    /// The key in an INFO: `application/dtmf-relay` (`Signal=5`) or `application/dtmf` (`5`). Neither was ever standardised; INFO without
    /// a body is a sign of life (RFC 2976 §2.2). A signal that is no key (a hook flash) is passed over.
    pub(super) fn key(&self) -> Result<Option<Digit>, Fault> {
        let m = &self.message;
        if m.body.is_empty() {
            return Ok(None);
        }
        let kind = m.first(Name::ContentType).ok_or(Fault::BAD_REQUEST)?;
        let kind = trim(kind.split(|b| *b == b';').next().unwrap_or_default());
        if kind.eq_ignore_ascii_case(b"application/dtmf") {
            return Ok(Digit::new(m.body.trim_ascii()));
        }
        if !kind.eq_ignore_ascii_case(b"application/dtmf-relay") {
            return Err(Fault::MEDIA_TYPE);
        }
        let signal = m.body.split(|b| b"\r\n".contains(b)).find_map(|line| {
            let at = line.iter().position(|b| *b == b'=')?;
            trim(&line[..at]).eq_ignore_ascii_case(b"signal").then(|| trim(&line[at + 1..]))
        });
        signal.map(Digit::new).ok_or(Fault::BAD_REQUEST)
    }
}

/// S/MIME, for which nobody gave us a key.
fn is_encrypted(content_type: &[u8]) -> bool {
    let kind = trim(content_type.split(|b| *b == b';').next().unwrap_or_default());
    [&b"application/pkcs7-mime"[..], b"application/x-pkcs7-mime"].iter().any(|k| kind.eq_ignore_ascii_case(k))
}
