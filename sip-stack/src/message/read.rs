//! A message inside a region becomes an [`Incoming`]: what the machines need, without a readable name in it.

use super::caller::{Withhold, asks_too_much, told};
use super::facts::{
    Body, Caller, Description, Dialled, Digit, Hop, Incoming, LISTEN, OurTag, Own, Request, Response, Said,
    Shown, Target,
};
use super::fault::{Fault, Malformed};
use super::fields::{Fields, context};
use super::lexer::{Message, Method, Name, Start, decimal, is_token, trim};
use super::multipart;
use super::uri::{Scheme, Uri, unescape};
use super::values::{NameAddr, Via, cseq, is_sip_date, list};
use crate::sdp;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use vault::{Becomes, Field, IndexKey, Keyring, Kind, Sealed, Secrets};

/// Where a message came from, and what is believed of it.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The packet's source.
    pub source: SocketAddr,
    /// Whether it came over a stream.
    pub reliable: bool,
    /// Whether the source is trusted to assert identity (RFC 3325 §2.3).
    pub trusted: bool,
    /// What its callers withhold unless they ask otherwise.
    pub withhold: Withhold,
}

/// The numbers that are ours: what does not match here never leaves the region.
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    /// Configured numbers, digits only; the position is what [`Target::Number`] tells.
    pub numbers: Vec<String>,
    /// Prefix of ad-hoc conferences.
    pub adhoc_prefix: Option<String>,
}

/// What reading needs: keys, the address book, and a counter. Shared by the regions of one endpoint.
#[derive(Debug)]
pub struct Reader {
    ring: Keyring,
    key: IndexKey,
    book: AddressBook,
    page: Option<String>,
    subjects: AtomicU64,
}

impl Reader {
    /// A reader with fresh keys.
    ///
    /// # Errors
    /// The vault's, when it has no room for keys.
    pub fn new(vault: &vault::Vault, book: AddressBook) -> Result<Self, vault::VaultError> {
        let (ring, key) = (vault.keyring()?, vault.index_key()?);
        Ok(Self { ring, key, book, page: None, subjects: AtomicU64::new(1) })
    }

    /// Names the page on which callers find themselves, for links to it.
    #[must_use]
    pub fn with_page(self, page: Option<String>) -> Self {
        Self { page, ..self }
    }

    /// That page.
    pub(super) fn page(&self) -> Option<&str> {
        self.page.as_deref()
    }

    /// The key under which signalling text is sealed.
    pub fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// A number never given before, for the context of sealed text.
    pub fn next_subject(&self) -> u64 {
        self.subjects.fetch_add(1, Ordering::Relaxed)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`]: there is nothing to answer.
    pub fn read(
        &self,
        secrets: Secrets<'_>,
        bytes: &mut [u8],
        origin: Origin,
    ) -> Result<Incoming, Malformed> {
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n')) {
            return Ok(Incoming::KeepAlive);
        }
        let message = Message::lex(bytes)?;
        let text = Text { reader: self, secrets, origin, message };
        match text.message.start {
            Start::Request { method, name, uri } => {
                Ok(Incoming::Request(Box::new(text.request(method, name, uri)?)))
            }
            Start::Response { status } => Ok(Incoming::Response(Box::new(text.response(status)?))),
        }
    }
}

/// One message being read.
struct Text<'a, 'r> {
    reader: &'a Reader,
    secrets: Secrets<'r>,
    origin: Origin,
    message: Message<'a>,
}

impl<'a> Text<'a, '_> {
    fn request(self, method: Method, name: &'a [u8], uri: &'a [u8]) -> Result<Request, Malformed> {
        let subject = self.reader.next_subject();
        let m = &self.message;
        let top = m.first(Name::Via).ok_or(Malformed::Unanswerable)?;
        let vias = list(top).ok_or(Malformed::Unanswerable)?;
        let top = vias.first().copied().unwrap_or_default();
        let via = Via::parse(top).ok_or(Malformed::Unanswerable)?;
        let mut fault = m.fault;
        let mut wrong = |is: bool, f: Fault| {
            if is {
                fault.get_or_insert(f);
            }
        };
        let (from_text, to_text) =
            (m.first(Name::From).unwrap_or_default(), m.first(Name::To).unwrap_or_default());
        let (from, to) = (NameAddr::parse(from_text), NameAddr::parse(to_text));
        let call_id = m.first(Name::CallId).unwrap_or_default();
        let seq = m.first(Name::CSeq).and_then(cseq);
        wrong(from.is_none() || to.is_none() || call_id.is_empty(), Fault::BAD_REQUEST);
        wrong(call_id.contains(&b' '), Fault::BAD_REQUEST);
        wrong(seq.is_none_or(|(_, _, text)| text != name), Fault::BAD_REQUEST);
        wrong(!self.other_headers_are_right(&vias), Fault::BAD_REQUEST);
        // RFC 3261 §8.2.2.1: a scheme that is not supported is 416, what is no URI at all is 400, and a Request-URI
        // has no headers (§19.1.1).
        let uri = Uri::parse(uri);
        wrong(uri.is_none_or(|u| !u.headers.is_empty()), Fault::BAD_REQUEST);
        wrong(uri.is_some_and(|u| u.scheme == Scheme::Other), Fault::URI_SCHEME);
        let number = seq.map_or(0, |(n, _, _)| n);
        let cseq_number = number.to_be_bytes();
        let from_tag = from.and_then(|f| f.tag()).unwrap_or_default();
        let to_tag = to.and_then(|t| t.tag()).map(our_tag);
        let index = |parts: &[&[u8]]| self.secrets.index(&self.reader.key, parts);
        let class: &[u8] = match method {
            Method::Invite | Method::Ack | Method::Cancel => b"INVITE",
            _ => name,
        };
        let transaction = match via.branch() {
            Some(branch) => index(&[b"3261", branch, via.sent_by, class]),
            // RFC 2543 peers: the fields of RFC 3261 §17.2.3's fallback.
            None => index(&[b"2543", from_tag, call_id, &cseq_number, top, class]),
        };
        let mut body = Body::Empty;
        if method == Method::Invite || method == Method::Ack {
            match self.body(subject) {
                Ok(read) => body = read,
                Err(f) => wrong(method == Method::Invite, f),
            }
        }
        let mut key = None;
        if method == Method::Info {
            match self.key() {
                Ok(read) => key = read,
                Err(f) => wrong(true, f),
            }
        }
        let unsupported = self.required();
        wrong(
            !unsupported.is_empty() && !matches!(method, Method::Ack | Method::Cancel),
            Fault::BAD_EXTENSION,
        );
        wrong(method == Method::Invite && !self.accepts_sdp(), Fault::NOT_ACCEPTABLE);
        let makes_dialog = method == Method::Invite;
        wrong(makes_dialog && asks_too_much(m), Fault::PRIVACY);
        let contact =
            m.first(Name::Contact).and_then(|c| list(c)?.first().copied()).and_then(NameAddr::parse);
        wrong(
            makes_dialog && contact.is_none() && from.is_some_and(|f| f.tag().is_some()),
            Fault::BAD_REQUEST,
        );
        let nat = !matches!(via.host, super::uri::Host::Ip(ip) if ip == self.origin.source.ip());
        let routes = self.routes(Name::RecordRoute, false);
        let hop = self.hop(&routes, contact.as_ref(), nat);
        let reply_to = self.reply_address(&via);
        let echo = (method != Method::Ack).then(|| self.echo(top, &via, to_text, &unsupported));
        let seal = |field, bytes: &[u8]| self.secrets.seal(&self.reader.ring, context(subject, field), bytes);
        let dialog = (makes_dialog && fault.is_none())
            .then(|| dialog_text(to_text, from_text, call_id, contact.as_ref(), &routes));
        Ok(Request {
            subject,
            method,
            transaction,
            merge: index(&[b"merge", call_id, from_tag, &cseq_number, name]),
            peer: index(&[b"peer", call_id, from_tag]),
            to_tag,
            cseq: number,
            fault,
            reply_to,
            hop,
            target: uri.map_or(Target::Unknown, |u| self.target(&u)),
            body,
            key,
            echo: echo.map(|e| seal(Field::Echo, &e.0)),
            dialog: dialog.map(|d| seal(Field::Dialog, &d.0)),
            caller: from.filter(|_| makes_dialog && to_tag.is_none()).map(|f| self.caller(&f, subject)),
        })
    }

    fn response(self, status: u16) -> Result<Response, Malformed> {
        let subject = self.reader.next_subject();
        let m = &self.message;
        let mut vias = m.all(Name::Via);
        let top = vias.next().and_then(list).ok_or(Malformed::Response)?;
        // RFC 3261 §8.1.3.3: more than one Via is somebody else's response.
        if top.len() != 1 || vias.next().is_some() {
            return Err(Malformed::Response);
        }
        let via = Via::parse(top[0]).ok_or(Malformed::Response)?;
        let branch = via.branch().and_then(our_branch).ok_or(Malformed::Response)?;
        let (number, method, _) = m.first(Name::CSeq).and_then(cseq).ok_or(Malformed::Response)?;
        let (from_text, to_text) = (m.first(Name::From), m.first(Name::To));
        let (from_text, to_text) =
            (from_text.ok_or(Malformed::Response)?, to_text.ok_or(Malformed::Response)?);
        let to = NameAddr::parse(to_text).ok_or(Malformed::Response)?;
        NameAddr::parse(from_text).ok_or(Malformed::Response)?;
        let call_id = m.first(Name::CallId).ok_or(Malformed::Response)?;
        let contact =
            m.first(Name::Contact).and_then(|c| list(c)?.first().copied()).and_then(NameAddr::parse);
        let routes = self.routes(Name::RecordRoute, true);
        let index = |parts: &[&[u8]]| self.secrets.index(&self.reader.key, parts);
        let makes_dialog = method == Method::Invite && status > 100;
        let dialog = makes_dialog.then(|| {
            let text = dialog_text(from_text, to_text, call_id, contact.as_ref(), &routes);
            self.secrets.seal(&self.reader.ring, context(subject, Field::Dialog), &text.0)
        });
        Ok(Response {
            subject,
            status,
            branch,
            method,
            cseq: number,
            to_tag: to.tag().map(|t| index(&[b"tag", t])),
            peer: index(&[b"peer", call_id, to.tag().unwrap_or_default()]),
            hop: self.hop(&routes, contact.as_ref(), false),
            body: self.body(subject).unwrap_or(Body::Unusable),
            dialog,
        })
    }

    /// Headers that nothing else reads, but that may not be wrong (RFC 4475 §3.1.2).
    fn other_headers_are_right(&self, top_vias: &[&[u8]]) -> bool {
        let m = &self.message;
        let max_forwards = m.first(Name::MaxForwards).map(|v| decimal(v).is_some_and(|n| n <= 255));
        let expires = m.first(Name::Expires).map(|v| decimal(v).is_some());
        let date = m.first(Name::Date).map(is_sip_date);
        let addresses = |name, star: bool| {
            m.all(name).all(|value| {
                (star && value == b"*")
                    || list(value).is_some_and(|l| l.iter().all(|v| NameAddr::parse(v).is_some()))
            })
        };
        let vias =
            m.all(Name::Via).skip(1).all(|v| list(v).is_some_and(|l| l.iter().all(|v| via_is_right(v))));
        max_forwards != Some(false)
            && expires != Some(false)
            && date != Some(false)
            && vias
            && top_vias.iter().all(|v| via_is_right(v))
            && addresses(Name::Contact, true)
            && addresses(Name::Route, false)
            && addresses(Name::RecordRoute, false)
    }

    /// Option tags of Require, none of which is supported yet, as a list for Unsupported.
    fn required(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for value in self.message.all(Name::Require) {
            for tag in value.split(|b| *b == b',').map(super::lexer::trim) {
                if !tag.is_empty() && tag.iter().all(|b| is_token(*b)) {
                    out.extend_from_slice(if out.is_empty() { b"" } else { b", " });
                    out.extend_from_slice(tag);
                }
            }
        }
        out
    }

    /// RFC 3261 §20.1: without an Accept, SDP is accepted; an empty one accepts nothing.
    fn accepts_sdp(&self) -> bool {
        let mut values = self.message.all(Name::Accept).peekable();
        if values.peek().is_none() {
            return true;
        }
        values.flat_map(|v| v.split(|b| *b == b',')).any(|range| {
            let kind: Vec<u8> = range
                .split(|b| *b == b';')
                .next()
                .unwrap_or_default()
                .iter()
                .filter(|b| !b.is_ascii_whitespace())
                .map(u8::to_ascii_lowercase)
                .collect();
            matches!(&kind[..], b"application/sdp" | b"application/*" | b"*/*")
                || kind.starts_with(b"multipart/")
        })
    }

    fn body(&self, subject: u64) -> Result<Body, Fault> {
        let m = &self.message;
        if m.body.is_empty() {
            return Ok(Body::Empty);
        }
        let encoded = m.all(Name::ContentEncoding).any(|v| !v.eq_ignore_ascii_case(b"identity"));
        let kind = m.first(Name::ContentType).ok_or(Fault::BAD_REQUEST)?;
        let Some(text) = multipart::sdp(kind, m.body).filter(|_| !encoded) else {
            // RFC 3261 §20.11: an optional body that is not understood is passed over.
            let optional = m.first(Name::ContentDisposition).is_some_and(|d| {
                super::values::params(&d[d.iter().position(|b| *b == b';').unwrap_or(d.len())..])
                    .any(|(n, v)| n.eq_ignore_ascii_case(b"handling") && v.eq_ignore_ascii_case(b"optional"))
            });
            return if optional { Ok(Body::Empty) } else { Err(Fault::MEDIA_TYPE) };
        };
        let Ok(session) = sdp::parse(text) else { return Ok(Body::Unusable) };
        if session.lines == 1 && session.audio.is_some() {
            return Ok(Body::Sdp(Box::new(Description { session, rejects: None })));
        }
        let mut rejects = Fields::default();
        for index in 0..session.lines {
            let mut line = Vec::new();
            sdp::rejected_line(text, index, &mut line);
            rejects.push(&line);
        }
        let rejects = self.secrets.seal(&self.reader.ring, context(subject, Field::Rejects), &rejects.0);
        Ok(Body::Sdp(Box::new(Description { session, rejects: Some(rejects) })))
    }

    /// The key in an INFO: `application/dtmf-relay` (`Signal=5`) or `application/dtmf` (`5`). Neither was ever standardised; INFO without
    /// a body is a sign of life (RFC 2976 §2.2). A signal that is no key (a hook flash) is passed over.
    fn key(&self) -> Result<Option<Digit>, Fault> {
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

    /// The route set, as it is used: as it stands for who is called, reversed for who calls (RFC 3261 §12.1).
    fn routes(&self, name: Name, reversed: bool) -> Vec<&'a [u8]> {
        let mut routes: Vec<&[u8]> = self.message.all(name).filter_map(list).flatten().collect();
        if reversed {
            routes.reverse();
        }
        routes
    }

    fn hop(&self, routes: &[&[u8]], contact: Option<&NameAddr<'_>>, nat: bool) -> Hop {
        let first = routes.first().and_then(|r| NameAddr::parse(r));
        let uri = first.as_ref().or(contact).map(|n| n.uri);
        Hop {
            address: uri.and_then(|u| u.address()),
            tcp: uri.and_then(|u| u.param(b"transport")).is_some_and(|t| t.eq_ignore_ascii_case(b"tcp")),
            nat: nat && first.is_none(),
        }
    }

    /// RFC 3261 §18.2.2 with RFC 3581 §4: to the source address; to its port when it asked so, else to the
    /// port of the Via.
    fn reply_address(&self, via: &Via<'_>) -> SocketAddr {
        let source = self.origin.source;
        if self.origin.reliable || via.param(b"rport").is_some() {
            return source;
        }
        SocketAddr::new(source.ip(), via.port.unwrap_or(5060))
    }

    fn echo(&self, top: &[u8], via: &Via<'_>, to: &[u8], unsupported: &[u8]) -> Fields {
        let m = &self.message;
        let mut lines = Vec::with_capacity(512);
        let mut line = |name: &[u8], value: &[u8]| {
            for part in [name, b": ", value, b"\r\n"] {
                lines.extend_from_slice(part);
            }
        };
        for (i, value) in m.all(Name::Via).enumerate() {
            if i == 0 {
                let mut first = received(top, via, self.origin.source);
                first.extend_from_slice(&value[top.len()..]);
                line(b"Via", &first);
            } else {
                line(b"Via", value);
            }
        }
        for (name, text) in [
            (Name::From, &b"From"[..]),
            (Name::CallId, b"Call-ID"),
            (Name::CSeq, b"CSeq"),
            (Name::Timestamp, b"Timestamp"),
        ] {
            if let Some(value) = m.first(name) {
                line(text, value);
            }
        }
        let mut routes = Vec::new();
        for value in m.all(Name::RecordRoute) {
            for part in [b"Record-Route: ", value, b"\r\n"] {
                routes.extend_from_slice(part);
            }
        }
        let mut fields = Fields::default();
        for field in [&lines, to, &routes, unsupported] {
            fields.push(field);
        }
        fields
    }

    fn target(&self, uri: &Uri<'_>) -> Target {
        let mut user = Vec::new();
        unescape(uri.user.unwrap_or_default(), &mut user);
        let user = user.split(|b| *b == b';').next().unwrap_or_default();
        let digits = digits_of(user);
        if !digits.is_empty()
            && let Some(place) = self.reader.book.numbers.iter().position(|n| n.as_bytes() == &digits[..])
        {
            return Target::Number(place);
        }
        if user.starts_with(LISTEN.as_bytes()) {
            return Dialled::new(user).map_or(Target::Unknown, Target::Listen);
        }
        let adhoc = self.reader.book.adhoc_prefix.as_ref().filter(|p| user.starts_with(p.as_bytes()));
        adhoc.and_then(|_| Dialled::new(user)).map_or(Target::Unknown, Target::AdHoc)
    }

    /// Who calls, sealed; what is withheld is sealed for the caller's own act only.
    fn caller(&self, from: &NameAddr<'_>, subject: u64) -> Caller {
        let told = told(&self.message, from, self.origin.trusted, self.origin.withhold);
        Caller {
            name: self.said(subject, told.name),
            number: self.said(subject, told.number),
            profile: self.said(subject, told.profile),
            asks_for_none: told.asks_for_none,
        }
    }

    fn said<T: Kind, O: Becomes<T>>(&self, subject: u64, text: super::caller::Text) -> Said<T, O> {
        // Most share what they are: one seal is enough for both.
        let same = (&text.shared, text.asserted) == (&text.own, text.own_asserted);
        Said {
            status: text.status,
            shared: (text.status == Shown::Shared && !same)
                .then(|| self.seal(subject, T::FIELD, &text.shared)),
            asserted: text.asserted,
            own: Own {
                sealed: (!text.own.is_empty()).then(|| self.seal(subject, O::FIELD, &text.own)),
                asserted: text.own_asserted,
            },
        }
    }

    fn seal<T>(&self, subject: u64, field: Field, text: &[u8]) -> Sealed<T> {
        self.secrets.seal(&self.reader.ring, context(subject, field), text)
    }
}

fn via_is_right(value: &[u8]) -> bool {
    Via::parse(value).is_some_and(|v| v.right)
}

/// The digits of a number: without separators and plus; empty when it is none.
fn digits_of(user: &[u8]) -> Vec<u8> {
    let right = user
        .iter()
        .enumerate()
        .all(|(i, b)| b.is_ascii_digit() || b"-.()".contains(b) || (*b == b'+' && i == 0));
    if !right {
        return Vec::new();
    }
    user.iter().copied().filter(u8::is_ascii_digit).collect()
}

/// Our tags are 16 hexadecimal digits.
fn our_tag(tag: &[u8]) -> OurTag {
    hex(tag).map_or(OurTag::Foreign, OurTag::Ours)
}

/// Our branches are the cookie, `s` and 16 hexadecimal digits.
fn our_branch(branch: &[u8]) -> Option<u64> {
    hex(branch.get(7..)?.strip_prefix(b"s")?)
}

fn hex(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|t| t.len() == 16 && !t.starts_with('+'))?;
    u64::from_str_radix(text, 16).ok()
}

/// The top Via with `received` and the port in `rport` (RFC 3261 §18.2.1, RFC 3581 §4).
fn received(top: &[u8], via: &Via<'_>, source: SocketAddr) -> Vec<u8> {
    use std::io::Write;
    let asks = via.param(b"rport");
    let elsewhere = !matches!(via.host, super::uri::Host::Ip(ip) if ip == source.ip());
    let head = top.len() - via.params.len();
    let mut out = top[..head].to_vec();
    for (name, value) in super::values::params(via.params) {
        // What a peer wrote there itself is not its to say.
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    let ip: IpAddr = source.ip();
    // Writing into memory does not fail.
    if asks.is_some() {
        let _ = write!(out, ";received={ip};rport={}", source.port());
    } else if elsewhere {
        let _ = write!(out, ";received={ip}");
    }
    out
}

/// What the dialog's own requests need. A strict router as first hop takes the Request-URI's place (RFC 3261
/// §12.2.1.1).
fn dialog_text(
    local: &[u8],
    remote: &[u8],
    call_id: &[u8],
    contact: Option<&NameAddr<'_>>,
    routes: &[&[u8]],
) -> Fields {
    let target = contact.map_or(&[][..], |c| c.uri_text);
    let first = routes.first().and_then(|r| NameAddr::parse(r));
    let strict = first.filter(|f| f.uri.param(b"lr").is_none());
    let mut lines = Vec::new();
    let mut route = |value: &[u8]| {
        for part in [&b"Route: "[..], value, b"\r\n"] {
            lines.extend_from_slice(part);
        }
    };
    let request_uri = match strict {
        Some(first) => {
            routes[1..].iter().for_each(|r| route(r));
            route(&[b"<", target, b">"].concat());
            first.uri_text
        }
        None => {
            routes.iter().for_each(|r| route(r));
            target
        }
    };
    let mut fields = Fields::default();
    for field in [local, remote, call_id, request_uri, &lines] {
        fields.push(field);
    }
    fields
}
