//! A message inside a region becomes an [`Incoming`]: what the machines need, without a readable name in it.

use super::caller::{Withhold, asks_too_much, told};
use super::compose::write_route;
use super::facts::{
    Attestation, Body, Caller, Hop, Incoming, OurTag, Own, Package, Protocol, Request, Response, Said, Shown,
    Target, Verification,
};
use super::fault::{Fault, Malformed};
use super::fields::{Fields, context};
use super::lexer::{Message, Method, Name, Start, decimal};
use super::rules::{DialRules, Numbering, TrunkId, TrunkRules};
use super::stir::{self, Certificates};
use super::target::hop_of;
use super::uri::{Scheme, Uri};
use super::values::{NameAddr, Via, cseq, is_sip_date, list};
use super::{auth, extensions};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use vault::{Becomes, Field, IndexKey, Keyring, Kind, MediaKeys, Sealed, Secrets};

/// Where a message came from, and what is believed of it.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The packet's source.
    pub source: SocketAddr,
    /// What it came by.
    pub protocol: Protocol,
    /// The trunk that the source belongs to.
    pub trunk: TrunkId,
    /// Whether the source is trusted to assert identity (RFC 3325 §2.3).
    pub trusted: bool,
    /// What its callers withhold unless they ask otherwise.
    pub withhold: Withhold,
    /// When it came.
    pub at: SystemTime,
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
    media: MediaKeys,
    pub(super) key: IndexKey,
    pub(super) book: AddressBook,
    page: Option<String>,
    trunks: Vec<TrunkRules>,
    dial: DialRules,
    stir: Certificates,
    refuses_invalid: bool,
    subjects: AtomicU64,
}

impl Reader {
    /// A reader with fresh keys.
    ///
    /// # Errors
    /// The vault's, when it has no room for keys.
    pub fn new(vault: &vault::Vault, book: AddressBook) -> Result<Self, vault::VaultError> {
        let (ring, key) = (vault.keyring()?, vault.index_key()?);
        let media = MediaKeys::new(vault)?;
        let (trunks, dial) = (Vec::new(), DialRules::default());
        let (stir, subjects) = (Certificates::default(), AtomicU64::new(1));
        let refuses_invalid = false;
        Ok(Self { ring, media, key, book, page: None, trunks, dial, stir, refuses_invalid, subjects })
    }

    /// What seals and opens keys of media.
    pub fn media(&self) -> &MediaKeys {
        &self.media
    }

    /// Which numbers may be dialled.
    pub fn dial_rules(&self) -> &DialRules {
        &self.dial
    }

    /// With the trunks' rules, by [`TrunkId`], and the numbers that may be dialled.
    #[must_use]
    pub fn with_trunks(self, trunks: Vec<TrunkRules>, dial: DialRules) -> Self {
        Self { trunks, dial, ..self }
    }

    /// With certificates of those who vouch for callers' numbers, and whether calls whose Identity is wrong are refused.
    #[must_use]
    pub fn with_stir(self, stir: Certificates, refuses_invalid: bool) -> Self {
        Self { stir, refuses_invalid, ..self }
    }

    /// A trunk's rules.
    pub fn trunk(&self, trunk: TrunkId) -> Option<&TrunkRules> {
        self.trunks.get(usize::from(trunk.0))
    }

    /// A configured number, by its place.
    pub(super) fn number(&self, place: usize) -> Option<&str> {
        self.book.numbers.get(place).map(String::as_str)
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
pub(super) struct Text<'a, 'r> {
    pub(super) reader: &'a Reader,
    pub(super) secrets: Secrets<'r>,
    origin: Origin,
    pub(super) message: Message<'a>,
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
        let uri_text = uri;
        let uri = Uri::parse(uri);
        wrong(uri.is_none_or(|u| !u.headers.is_empty()), Fault::BAD_REQUEST);
        wrong(uri.is_some_and(|u| u.scheme == Scheme::Other), Fault::URI_SCHEME);
        let number = seq.map_or(0, |(n, _, _)| n);
        let cseq_number = number.to_be_bytes();
        let from_tag = from.and_then(|f| f.tag()).unwrap_or_default();
        let to_tag = to.and_then(|t| t.tag()).map(our_tag);
        let (extensions, unreadable) = extensions::read(m);
        if let Some(fault) = unreadable {
            wrong(true, fault);
        }
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
        if matches!(method, Method::Invite | Method::Ack | Method::Update | Method::Prack) {
            match self.body(subject) {
                Ok(read) => body = read,
                Err(f) => wrong(method != Method::Ack, f),
            }
        }
        let mut key = None;
        if method == Method::Info {
            match self.key() {
                Ok(read) => key = read,
                Err(f) => wrong(true, f),
            }
        }
        let unsupported = extensions::unsupported(m);
        wrong(
            !unsupported.is_empty() && !matches!(method, Method::Ack | Method::Cancel),
            Fault::BAD_EXTENSION,
        );
        wrong(method == Method::Invite && !self.accepts_sdp(), Fault::NOT_ACCEPTABLE);
        // Whatever else is accepted of another package, that is 489.
        let conference = method == Method::Subscribe && extensions.event == Some(Package::Conference);
        wrong(conference && !self.accepts_conference_info(), Fault::NOT_ACCEPTABLE);
        // RFC 3261 §12.2.2 and each extension: these make a dialog or change its remote target.
        let makes_dialog = matches!(
            method,
            Method::Invite | Method::Subscribe | Method::Refer | Method::Update | Method::Notify
        );
        wrong(method == Method::Invite && asks_too_much(m), Fault::PRIVACY);
        let contact =
            m.first(Name::Contact).and_then(|c| list(c)?.first().copied()).and_then(NameAddr::parse);
        wrong(
            makes_dialog && contact.is_none() && from.is_some_and(|f| f.tag().is_some()),
            Fault::BAD_REQUEST,
        );
        let (replaces, refer_to) = match method {
            Method::Invite => (m.first(Name::Replaces).map(|v| self.replaces(v)), None),
            Method::Refer => (None, Some(m.first(Name::ReferTo).and_then(|v| self.refer_to(v, subject)))),
            _ => (None, None),
        };
        wrong(matches!(replaces, Some(None)) || matches!(refer_to, Some(None)), Fault::BAD_REQUEST);
        let begins = method == Method::Invite && to_tag.is_none();
        let verification =
            from.filter(|_| begins).map(|f| self.verification(&f, uri.as_ref())).unwrap_or_default();
        wrong(verification == Verification::Failed && self.reader.refuses_invalid, Fault::INVALID_IDENTITY);
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
            target: uri.map_or(Target::Unknown, |u| self.called(&u)),
            body,
            trunk: self.origin.trunk,
            secure: uri.is_some_and(|u| u.scheme == Scheme::Sips),
            auth: self.auth(method, name, uri_text, to_tag.is_some()),
            key,
            extensions,
            replaces: replaces.flatten(),
            refer_to: refer_to.flatten(),
            echo: echo.map(|e| seal(Field::Echo, &e.0)),
            dialog: dialog.map(|d| seal(Field::Dialog, &d.0)),
            caller: from
                .filter(|_| method == Method::Invite && to_tag.is_none())
                .map(|f| self.caller(&f, verification, subject)),
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
        let (extensions, _) = extensions::read(m);
        let index = |parts: &[&[u8]]| self.secrets.index(&self.reader.key, parts);
        let makes_dialog = matches!(method, Method::Invite | Method::Update) && status > 100;
        let redirects = match status {
            300..=399 if method == Method::Invite => self.redirects(subject),
            _ => Vec::new(),
        };
        let challenge = matches!(status, 401 | 407)
            .then(|| auth::challenge(self.secrets, self.reader, subject, m))
            .flatten();
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
            has_contact: contact.is_some(),
            extensions,
            redirects,
            challenge,
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

    /// What the request proves, where its trunk has to prove something: requests of a dialog, whose tags nobody else knows, and
    /// those that cannot be challenged or tell nothing need not (RFC 3261 §22.1).
    fn auth(&self, method: Method, name: &[u8], uri: &[u8], in_dialog: bool) -> super::Auth {
        let free = in_dialog || matches!(method, Method::Ack | Method::Cancel | Method::Options);
        let required = self.rules().and_then(|r| r.requires.as_ref()).filter(|_| !free);
        auth::judge(self.secrets, self.reader, (self.origin.trunk, required), &self.message, name, uri)
    }

    fn rules(&self) -> Option<&'a TrunkRules> {
        self.reader.trunk(self.origin.trunk)
    }

    pub(super) fn numbering(&self) -> Option<&'a Numbering> {
        self.rules().map(|r| &r.numbering)
    }

    /// The route set, as it is used: as it stands for who is called, reversed for who calls (RFC 3261 §12.1).
    fn routes(&self, name: Name, reversed: bool) -> Vec<&'a [u8]> {
        // What cannot be read is no way; in requests it is a fault besides.
        let readable = |r: &&[u8]| NameAddr::parse(r).is_some();
        let routes = self.message.all(name).filter_map(list).flatten();
        let mut routes: Vec<&[u8]> = routes.filter(readable).collect();
        if reversed {
            routes.reverse();
        }
        routes
    }

    fn hop(&self, routes: &[&[u8]], contact: Option<&NameAddr<'_>>, nat: bool) -> Hop {
        let first = routes.first().and_then(|r| NameAddr::parse(r));
        let uri = first.as_ref().or(contact).map(|n| n.uri);
        let hop = uri.map_or(Hop::default(), |u| hop_of(&u));
        Hop { nat: nat && first.is_none(), routed: first.is_some(), ..hop }
    }

    /// RFC 3261 §18.2.2 with RFC 3581 §4: to the source address; to its port when it asked so, else to the
    /// port of the Via.
    fn reply_address(&self, via: &Via<'_>) -> SocketAddr {
        let source = self.origin.source;
        if self.origin.protocol.is_reliable() || via.param(b"rport").is_some() {
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

    /// Who calls, sealed; what is withheld is sealed for the caller's own act only.
    /// What Identity fields prove of who begins a call.
    fn verification(&self, from: &NameAddr<'_>, called: Option<&Uri<'_>>) -> Verification {
        let usual = Numbering::default();
        let numbering = self.numbering().unwrap_or(&usual);
        stir::verify(&self.reader.stir, &self.message, (from, called), numbering, self.origin.at)
    }

    fn caller(&self, from: &NameAddr<'_>, verification: Verification, subject: u64) -> Caller {
        let usual = Numbering::default();
        let numbering = self.numbering().unwrap_or(&usual);
        let told = told(&self.message, from, self.origin.trusted, self.origin.withhold, numbering);
        let proven = verification == Verification::Verified(Attestation::Full);
        let vouched = (told.number.own_asserted || proven) && !told.number.own.is_empty();
        let vouched = vouched.then(|| self.secrets.index(&self.reader.key, &[b"caller", &told.number.own]));
        Caller {
            vouched,
            name: self.said(subject, told.name),
            number: self.said(subject, told.number),
            profile: self.said(subject, told.profile),
            asks_for_none: told.asks_for_none,
            verification,
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

    pub(super) fn seal<T>(&self, subject: u64, field: Field, text: &[u8]) -> Sealed<T> {
        self.secrets.seal(&self.reader.ring, context(subject, field), text)
    }
}

fn via_is_right(value: &[u8]) -> bool {
    Via::parse(value).is_some_and(|v| v.right)
}

/// Our tags are 16 hexadecimal digits.
pub(super) fn our_tag(tag: &[u8]) -> OurTag {
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

/// What the dialog's own requests need. Without a contact the peer is reached by its own address.
fn dialog_text(
    local: &[u8],
    remote: &[u8],
    call_id: &[u8],
    contact: Option<&NameAddr<'_>>,
    routes: &[&[u8]],
) -> Fields {
    let target = contact.copied().or_else(|| NameAddr::parse(remote)).map_or(&[][..], |c| c.uri_text);
    let mut lines = Vec::new();
    for route in routes {
        write_route(route, &mut lines);
    }
    let mut fields = Fields::default();
    for field in [local, remote, call_id, target, &lines] {
        fields.push(field);
    }
    fields
}
