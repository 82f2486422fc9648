//! Facts to wire text, inside a region: what was sealed is opened, written into the send buffer, and gone when
//! the region is left.

use super::auth::Answer;
use super::fields::{
    DIALOG_CALL_ID, DIALOG_LOCAL, DIALOG_REMOTE, DIALOG_ROUTES, DIALOG_TARGET, ECHO_LINES, ECHO_ROUTES,
    ECHO_TO, ECHO_UNSUPPORTED, Fields, context,
};
use super::headers::{Contact, Headers, LocalAddress, allow, supported};
use super::lexer::Method;
use super::read::Reader;
use super::values::NameAddr;
use crate::sdp::Local;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use vault::{Field, MasterKey, Plain, Sealed, Secrets, Signalling, SignallingText, Tampered};

/// What this product calls itself: a word without version, so that scanners learn nothing.
pub const PRODUCT: &str = "Sotto";
/// The event packages that may be subscribed to (RFC 6665 §8.2.2).
const ALLOW_EVENTS: &str = "conference";

/// A key of media in base64, inside the region. One that is not ours is left out, and the peer refuses the line.
fn write_key(secrets: Secrets<'_>, reader: &Reader, key: &MasterKey, out: &mut Vec<u8>) {
    let _ = reader.media().open(secrets, key, |bytes| {
        let mut text = [0; 64];
        if let Ok(len) = STANDARD.encode_slice(bytes, &mut text) {
            out.extend_from_slice(&text[..len]);
        }
    });
}

/// A response to be sent, and sent again.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Number of the request that it answers.
    pub subject: u64,
    /// What it echoes.
    pub echo: Arc<Sealed<SignallingText>>,
    /// Status code, 100..=699.
    pub status: u16,
    /// Our tag, where To had none.
    pub to_tag: Option<u64>,
    /// Our contact, and Record-Route: in what makes a dialog.
    pub contact: Option<Contact>,
    /// The description, with the offer's rejected lines.
    pub body: Option<(Local, Option<Arc<Sealed<SignallingText>>>)>,
    /// More headers.
    pub extras: ReplyExtras,
    /// Headers of extensions.
    pub headers: Option<Box<Headers>>,
}

/// Headers that some responses need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplyExtras {
    /// Retry-After, s (RFC 3261 §20.33).
    pub retry_after: Option<u32>,
    /// Warning code (RFC 3261 §20.43).
    pub warning: Option<u16>,
    /// The way to the caller's own page, in Call-Info (RFC 3261 §20.9).
    pub link: Option<LinkToken>,
}

/// What opens a caller's own page, once. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkToken(u128);

impl LinkToken {
    /// A fresh one.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// 26 letters and digits (RFC 4648 §6, in lower case).
impl std::fmt::Display for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        for place in 0..26 {
            f.write_char(char::from(ALPHABET[(self.0 >> (5 * place) & 31) as usize]))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkToken(_)")
    }
}

/// A request of ours.
#[derive(Debug, Clone)]
pub struct WireRequest {
    /// Number under which the dialog's text was sealed.
    pub subject: u64,
    /// The dialog's text.
    pub dialog: Arc<Sealed<SignallingText>>,
    /// Method.
    pub method: Method,
    /// Sequence number.
    pub cseq: u32,
    /// Branch.
    pub branch: u64,
    /// Our tag; appended when the local side's text has none.
    pub local_tag: Option<u64>,
    /// Where to take the remote side's text from instead: the ACK of a refusal has the refusal's To.
    pub remote: Option<(u64, Arc<Sealed<SignallingText>>)>,
    /// Where to take the Request-URI from instead: a redirection's contact.
    pub target: Option<(u64, Arc<Sealed<SignallingText>>)>,
    /// Where to take the routes from instead: the dialog's first text.
    pub routes: Option<(u64, Arc<Sealed<SignallingText>>)>,
    /// The body.
    pub body: Payload,
    /// Privacy to ask for (RFC 3323), for INVITE.
    pub privacy_id: bool,
    /// Our contact, in what makes or refreshes a dialog.
    pub contact: Option<Contact>,
    /// Headers of extensions.
    pub headers: Option<Box<Headers>>,
    /// Answers to challenges: the other side's and a proxy's.
    pub answers: Vec<Answer>,
    /// It goes as a datagram though it is large: there is no stream to be had.
    pub any_size: bool,
}

impl WireRequest {
    /// A request of a dialog without anything more.
    pub fn new(
        method: Method,
        text: (u64, Arc<Sealed<SignallingText>>),
        local_tag: Option<u64>,
        cseq: u32,
    ) -> Self {
        Self {
            subject: text.0,
            dialog: text.1,
            method,
            cseq,
            branch: rand::random(),
            local_tag,
            remote: None,
            target: None,
            routes: None,
            body: Payload::None,
            privacy_id: false,
            contact: None,
            headers: None,
            answers: Vec::new(),
            any_size: false,
        }
    }

    /// Its headers of extensions, to be added to.
    pub fn headers(&mut self) -> &mut Headers {
        self.headers.get_or_insert_default()
    }
}

/// A request's body.
#[derive(Debug, Clone)]
pub enum Payload {
    /// None.
    None,
    /// A session description.
    Sdp(Local),
    /// A conference's state (RFC 4575). No caller's name or number is in it.
    ConferenceInfo(Arc<str>),
    /// What became of a call that we were sent to make (RFC 3420): its status line.
    Fragment(u16),
}

/// A message to be written.
#[derive(Debug, Clone)]
pub enum Wire {
    /// A response.
    Reply(Reply),
    /// A request.
    Request(WireRequest),
    /// An answer to a keep-alive (RFC 5626 §4.4.1).
    Pong,
}

/// Why a message could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeFault {
    /// Its sealed text does not open.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// It does not fit the send buffer.
    #[error("the message is larger than the send buffer")]
    TooLarge,
}

impl vault::Leaves for ComposeFault {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

impl Wire {
    /// Writes the message into `out` and returns its length.
    ///
    /// # Errors
    /// [`ComposeFault`].
    pub fn write(
        &self,
        secrets: Secrets<'_>,
        reader: &Reader,
        local: LocalAddress,
        out: &mut [u8],
    ) -> Result<usize, ComposeFault> {
        Writer::new(secrets, reader).write(self, local, out)
    }
}

/// A request larger than this goes over a stream (RFC 3261 §18.1.1), bytes.
pub const LARGEST_DATAGRAM: usize = 1300;
/// How many messages are written in one visit of a region.
pub const IN_A_ROW: usize = 4;

/// Writes messages in one visit of a region. What two responses in a row echo (a 100 and a 200) is opened once.
pub struct Writer<'r, 'k> {
    secrets: Secrets<'r>,
    reader: &'k Reader,
    text: Vec<u8>,
    echo: Option<(Arc<Sealed<SignallingText>>, Plain<'r, SignallingText>)>,
}

impl std::fmt::Debug for Writer<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer(..)")
    }
}

impl<'r, 'k> Writer<'r, 'k> {
    /// For one visit.
    pub fn new(secrets: Secrets<'r>, reader: &'k Reader) -> Self {
        Self { secrets, reader, text: Vec::with_capacity(1400), echo: None }
    }

    /// Writes a message into `out` and returns its length.
    ///
    /// # Errors
    /// [`ComposeFault`].
    pub fn write(&mut self, wire: &Wire, local: LocalAddress, out: &mut [u8]) -> Result<usize, ComposeFault> {
        self.text.clear();
        let (secrets, reader) = (self.secrets, self.reader);
        match wire {
            Wire::Reply(reply) => {
                let same = |opened: &(Arc<_>, _)| Arc::ptr_eq(&opened.0, &reply.echo);
                let echo = match self.echo.take().filter(same) {
                    Some((_, echo)) => echo,
                    None => open(secrets, reader, reply.subject, Field::Echo, &reply.echo)?,
                };
                let (_, echo) = self.echo.insert((reply.echo.clone(), echo));
                reply.write(secrets, reader, local, echo.bytes(), &mut self.text)?;
            }
            Wire::Request(request) => request.write(secrets, reader, local, &mut self.text)?,
            Wire::Pong => self.text.extend_from_slice(b"\r\n"),
        }
        let text = &self.text;
        out.get_mut(..text.len()).ok_or(ComposeFault::TooLarge)?.copy_from_slice(text);
        Ok(text.len())
    }

    /// Writes the first of `messages` one behind the other: the lengths of those that fit, 0 for one that cannot be written.
    pub fn write_in_a_row<'w>(
        &mut self,
        messages: impl Iterator<Item = (&'w Wire, LocalAddress)>,
        mut out: &mut [u8],
    ) -> [Option<usize>; IN_A_ROW] {
        let mut lengths = [None; IN_A_ROW];
        for (place, (wire, local)) in messages.take(IN_A_ROW).enumerate() {
            let len = match self.write(wire, local, out) {
                Ok(len) => len,
                // It has the buffer for itself the next time.
                Err(ComposeFault::TooLarge) if place > 0 => break,
                Err(_) => 0,
            };
            lengths[place] = Some(len);
            out = &mut out[len..];
        }
        lengths
    }
}

fn open<'r>(
    secrets: Secrets<'r>,
    reader: &Reader,
    subject: u64,
    field: Field,
    sealed: &Sealed<SignallingText>,
) -> Result<Plain<'r, SignallingText>, Tampered> {
    secrets.open(reader.ring(), context(subject, field), sealed, Signalling)
}

fn finish(text: &mut Vec<u8>, kind: &str, body: &[u8]) {
    if !body.is_empty() {
        let _ = write!(text, "Content-Type: {kind}\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n", body.len());
    text.extend_from_slice(body);
}

impl Reply {
    fn write(
        &self,
        secrets: Secrets<'_>,
        reader: &Reader,
        local: LocalAddress,
        echo: &[u8],
        text: &mut Vec<u8>,
    ) -> Result<(), ComposeFault> {
        let _ = write!(text, "SIP/2.0 {} {}\r\n", self.status, reason(self.status));
        text.extend_from_slice(Fields::get(echo, ECHO_LINES));
        text.extend_from_slice(b"To: ");
        text.extend_from_slice(Fields::get(echo, ECHO_TO));
        if let Some(tag) = self.to_tag {
            let _ = write!(text, ";tag={tag:016x}");
        }
        text.extend_from_slice(b"\r\n");
        if let Some(contact) = &self.contact {
            text.extend_from_slice(Fields::get(echo, ECHO_ROUTES));
            contact.write(reader, local, text);
        }
        if let (Some(token), Some(page)) = (self.extras.link, reader.page()) {
            let _ = write!(text, "Call-Info: <{page}#{token}>;purpose=info\r\n");
        }
        match self.status {
            200 | 405 | 501 => {
                allow(reader, local.trunk, text);
                supported(text);
                let _ = write!(text, "Accept: application/sdp\r\nAllow-Events: {ALLOW_EVENTS}\r\n");
            }
            489 => {
                let _ = write!(text, "Allow-Events: {ALLOW_EVENTS}\r\n");
            }
            420 => {
                text.extend_from_slice(b"Unsupported: ");
                text.extend_from_slice(Fields::get(echo, ECHO_UNSUPPORTED));
                text.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
        if let Some(seconds) = self.extras.retry_after {
            let _ = write!(text, "Retry-After: {seconds}\r\n");
        }
        if let Some(code) = self.extras.warning {
            let words = match code {
                301 => "Incompatible network address formats",
                304 => "Media type not available",
                305 => "Incompatible media format",
                _ => "Miscellaneous warning",
            };
            let _ = write!(text, "Warning: {code} {} \"{words}\"\r\n", local.address.ip());
        }
        if let Some(headers) = &self.headers {
            headers.write(reader, local.trunk, text);
        }
        let _ = write!(text, "Server: {PRODUCT}\r\n");
        let mut body = Vec::new();
        if let Some((description, rejects)) = &self.body {
            let rejects = match rejects {
                Some(sealed) => Some(open(secrets, reader, self.subject, Field::Rejects, sealed)?),
                None => None,
            };
            let rejected = |index: usize, out: &mut Vec<u8>| {
                if let Some(lines) = &rejects {
                    out.extend_from_slice(Fields::get(lines.bytes(), index));
                }
            };
            description.write(&mut body, rejected, |key, out| write_key(secrets, reader, key, out));
        }
        finish(text, "application/sdp", &body);
        Ok(())
    }
}

impl WireRequest {
    fn write(
        &self,
        secrets: Secrets<'_>,
        reader: &Reader,
        local: LocalAddress,
        text: &mut Vec<u8>,
    ) -> Result<(), ComposeFault> {
        let dialog = open(secrets, reader, self.subject, Field::Dialog, &self.dialog)?;
        let field = |index| Fields::get(dialog.bytes(), index);
        text.extend_from_slice(self.method.as_str().as_bytes());
        text.push(b' ');
        let target = match &self.target {
            None => None,
            Some((subject, sealed)) => Some(open(secrets, reader, *subject, Field::Uri, sealed)?),
        };
        let target = target.as_ref().map_or(field(DIALOG_TARGET), Plain::bytes);
        let first_text = match &self.routes {
            None => None,
            Some((subject, sealed)) => Some(open(secrets, reader, *subject, Field::Dialog, sealed)?),
        };
        let routes =
            first_text.as_ref().map_or(field(DIALOG_ROUTES), |t| Fields::get(t.bytes(), DIALOG_ROUTES));
        let strict = strict_router(routes);
        let uri = strict.map_or(target, |(uri, _)| uri);
        text.extend_from_slice(uri);
        let _ = write!(text, " SIP/2.0\r\nVia: SIP/2.0/{} ", local.protocol.via());
        local.write(reader, text);
        let _ = write!(text, ";branch=z9hG4bKs{:016x};rport\r\nMax-Forwards: 70\r\nFrom: ", self.branch);
        text.extend_from_slice(field(DIALOG_LOCAL));
        if let Some(tag) = self.local_tag {
            let _ = write!(text, ";tag={tag:016x}");
        }
        text.extend_from_slice(b"\r\nTo: ");
        match &self.remote {
            None => text.extend_from_slice(field(DIALOG_REMOTE)),
            Some((subject, sealed)) => {
                let other = open(secrets, reader, *subject, Field::Dialog, sealed)?;
                text.extend_from_slice(Fields::get(other.bytes(), DIALOG_REMOTE));
            }
        }
        text.extend_from_slice(b"\r\nCall-ID: ");
        text.extend_from_slice(field(DIALOG_CALL_ID));
        let _ = write!(text, "\r\nCSeq: {} {}\r\n", self.cseq, self.method.as_str());
        match strict {
            None => text.extend_from_slice(routes),
            Some((_, others)) => {
                text.extend_from_slice(others);
                write_route(&[b"<", target, b">"].concat(), text);
            }
        }
        if let Some(contact) = &self.contact {
            contact.write(reader, local, text);
        }
        if matches!(self.method, Method::Invite | Method::Update | Method::Options) {
            allow(reader, local.trunk, text);
            supported(text);
        }
        if self.method == Method::Options {
            text.extend_from_slice(b"Accept: application/sdp\r\n");
        }
        let rules = reader.trunk(local.trunk).filter(|r| r.asserts && self.method == Method::Invite);
        if let Some(caller) = rules.and_then(|r| r.caller.as_ref()) {
            let _ = write!(text, "P-Asserted-Identity: <sip:{caller}@");
            local.write_host(reader, text);
            text.extend_from_slice(b">\r\n");
        }
        if self.privacy_id {
            text.extend_from_slice(b"Privacy: id\r\n");
        }
        if let Some(headers) = &self.headers {
            headers.write(reader, local.trunk, text);
        }
        for answer in &self.answers {
            answer.write(secrets, reader, self.method.as_str().as_bytes(), uri, text)?;
        }
        let _ = write!(text, "User-Agent: {PRODUCT}\r\n");
        let mut body = Vec::new();
        let kind = match &self.body {
            Payload::None => "",
            Payload::Sdp(description) => {
                let key = |key: &MasterKey, out: &mut Vec<u8>| write_key(secrets, reader, key, out);
                description.write(&mut body, |_, _| {}, key);
                "application/sdp"
            }
            Payload::ConferenceInfo(xml) => {
                body.extend_from_slice(xml.as_bytes());
                "application/conference-info+xml"
            }
            Payload::Fragment(status) => {
                let _ = write!(body, "SIP/2.0 {status} {}\r\n", reason(*status));
                "message/sipfrag;version=2.0"
            }
        };
        finish(text, kind, &body);
        Ok(())
    }
}

/// Writes one line of a dialog's routes.
pub(super) fn write_route(value: &[u8], lines: &mut Vec<u8>) {
    for part in [&b"Route: "[..], value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

/// A strict router as first hop takes the Request-URI's place (RFC 3261 §12.2.1.1): its URI, and the lines behind it.
fn strict_router(routes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, others) = routes.split_at_checked(routes.iter().position(|b| *b == b'\n')? + 1)?;
    let first = NameAddr::parse(first.strip_prefix(b"Route: ")?.strip_suffix(b"\r\n")?)?;
    first.uri.param(b"lr").is_none().then_some((first.uri_text, others))
}

/// Seals the text of a call that we begin.
///
/// `target` is the Request-URI and To, `from` our own address with display name, `call_id` the Call-ID, `routes` whole lines of
/// more header fields.
pub fn seal_call(
    secrets: Secrets<'_>,
    reader: &Reader,
    subject: u64,
    target: &str,
    from: &str,
    call_id: &str,
    routes: &str,
) -> Sealed<SignallingText> {
    let mut fields = Fields::default();
    let to = format!("<{target}>");
    for field in [from, &to, call_id, target, routes] {
        fields.push(field.as_bytes());
    }
    secrets.seal(reader.ring(), context(subject, Field::Dialog), &fields.0)
}

/// The reason phrase (RFC 3261 §21), from rsip's table.
fn reason(status: u16) -> String {
    let name = rsip::StatusCode::from(status).to_string();
    let name = name.split_once(' ').map_or("", |(_, name)| name);
    // The table's names are written together: "BusyHere".
    let mut phrase = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && phrase.ends_with(|p: char| p.is_ascii_lowercase()) {
            phrase.push(' ');
        }
        phrase.push(c);
    }
    phrase
}
