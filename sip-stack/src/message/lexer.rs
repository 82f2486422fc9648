//! Bytes to start line, headers and body: borrowed, unfolded in place, within limits.
//!
//! This is the message model. Nothing is copied: a header's value is a slice of the receive buffer, so identity
//! stands in one place only until it is sealed.

use super::fault::{Fault, Malformed};
use memchr::{memchr, memchr_iter};

/// The largest message, bytes.
pub const MOST_BYTES: usize = 64 * 1024;
/// The most header fields in a message.
pub const MOST_HEADERS: usize = 128;
/// The longest header field with its continuation lines, bytes.
pub const LONGEST_LINE: usize = 8 * 1024;

/// A request method (RFC 3261 §7.1; case-sensitive). Which unknown method it was is of no interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Info,
    Message,
    Notify,
    Refer,
    Subscribe,
    Publish,
    /// Not known: answered with 501.
    Unknown,
}

const METHODS: [(&str, Method); 14] = [
    ("INVITE", Method::Invite),
    ("ACK", Method::Ack),
    ("BYE", Method::Bye),
    ("CANCEL", Method::Cancel),
    ("OPTIONS", Method::Options),
    ("REGISTER", Method::Register),
    ("PRACK", Method::Prack),
    ("UPDATE", Method::Update),
    ("INFO", Method::Info),
    ("MESSAGE", Method::Message),
    ("NOTIFY", Method::Notify),
    ("REFER", Method::Refer),
    ("SUBSCRIBE", Method::Subscribe),
    ("PUBLISH", Method::Publish),
];

impl Method {
    /// By its name on the wire.
    pub fn from_bytes(name: &[u8]) -> Self {
        METHODS.iter().find(|(n, _)| n.as_bytes() == name).map_or(Self::Unknown, |(_, m)| *m)
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        METHODS.iter().find(|(_, m)| *m == self).map_or("UNKNOWN", |(n, _)| n)
    }
}

impl vault::Leaves for Method {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

/// Header fields that are read, by canonical name; the compact form stands beside it (RFC 3261 §7.3.3).
macro_rules! names {
    ($($variant:ident $text:literal $compact:literal $single:literal),* $(,)?) => {
        /// A header field's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Name { $($variant,)* /** Any other. */ Other }

        impl Name {
            fn from_bytes(name: &[u8]) -> Self {
                $(if name.eq_ignore_ascii_case($text) || (!$compact.is_empty() && name.eq_ignore_ascii_case($compact)) {
                    return Self::$variant;
                })*
                Self::Other
            }

            /// Whether it may stand only once in a message.
            fn is_single(self) -> bool {
                match self { $(Self::$variant => $single,)* Self::Other => false }
            }
        }
    };
}

names! {
    Via b"Via" b"v" false,
    From b"From" b"f" true,
    To b"To" b"t" true,
    CallId b"Call-ID" b"i" true,
    CSeq b"CSeq" b"" true,
    MaxForwards b"Max-Forwards" b"" true,
    Contact b"Contact" b"m" false,
    ContentLength b"Content-Length" b"l" true,
    ContentType b"Content-Type" b"c" true,
    ContentEncoding b"Content-Encoding" b"e" false,
    ContentDisposition b"Content-Disposition" b"" true,
    Route b"Route" b"" false,
    RecordRoute b"Record-Route" b"" false,
    Require b"Require" b"" false,
    Supported b"Supported" b"k" false,
    Accept b"Accept" b"" false,
    Date b"Date" b"" true,
    Expires b"Expires" b"" true,
    Timestamp b"Timestamp" b"" true,
    RetryAfter b"Retry-After" b"" true,
    Privacy b"Privacy" b"" false,
    PAssertedIdentity b"P-Asserted-Identity" b"" false,
    PPreferredIdentity b"P-Preferred-Identity" b"" false,
    RemotePartyId b"Remote-Party-ID" b"" false,
    CallInfo b"Call-Info" b"" false,
    Allow b"Allow" b"" false,
    Authorization b"Authorization" b"" false,
    Diversion b"Diversion" b"" false,
    Event b"Event" b"o" true,
    HistoryInfo b"History-Info" b"" false,
    Identity b"Identity" b"y" false,
    MinSe b"Min-SE" b"" true,
    ProxyAuthenticate b"Proxy-Authenticate" b"" false,
    RAck b"RAck" b"" true,
    Reason b"Reason" b"" false,
    ReferTo b"Refer-To" b"r" true,
    Replaces b"Replaces" b"" true,
    RSeq b"RSeq" b"" true,
    SessionExpires b"Session-Expires" b"x" true,
    SessionId b"Session-ID" b"" true,
    WwwAuthenticate b"WWW-Authenticate" b"" false,
}

/// One header field.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    /// Which.
    pub name: Name,
    /// Its value without white space around it; folds are spaces.
    pub value: &'a [u8],
}

/// The first line.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// A request.
    Request {
        /// Its method.
        method: Method,
        /// The method as it stands.
        name: &'a [u8],
        /// The Request-URI as it stands.
        uri: &'a [u8],
    },
    /// A response.
    Response {
        /// 100..=699.
        status: u16,
    },
}

/// A message in its parts.
pub struct Message<'a> {
    /// The first line.
    pub start: Start<'a>,
    headers: Vec<Header<'a>>,
    /// The body, as long as Content-Length says (for a datagram without it: the rest).
    pub body: &'a [u8],
    /// What is wrong with a request that can still be answered.
    pub fault: Option<Fault>,
}

impl<'a> Message<'a> {
    /// Reads one message from a datagram or from a stream's frame.
    ///
    /// A request that is wrong but can be answered comes back with [`Message::fault`] set; so does nothing else.
    ///
    /// # Errors
    /// [`Malformed`] when there is nothing to answer: no readable start line, or a bad response.
    pub fn lex(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MOST_BYTES {
            return Err(Malformed::TooLarge);
        }
        let skipped = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let bytes = &mut bytes[skipped..];
        let mut fault = None;
        let (head, body) = split_head(bytes);
        if body.is_none() {
            fault = Some(Fault::BAD_REQUEST);
        }
        unfold(head);
        let head: &'a [u8] = head;
        let mut lines = Lines(head);
        let start = start_line(lines.next().ok_or(Malformed::StartLine)?, &mut fault)?;
        let mut headers = Vec::with_capacity(24);
        for line in lines {
            if headers.len() == MOST_HEADERS || line.len() > LONGEST_LINE {
                fault.get_or_insert(Fault::TOO_LARGE);
                break;
            }
            match header(line) {
                Some(header) => headers.push(header),
                None => {
                    fault.get_or_insert(Fault::BAD_REQUEST);
                }
            }
        }
        let body: &'a [u8] = body.unwrap_or_default();
        let mut message = Self { start, headers, body, fault };
        message.check_single();
        message.cut_body();
        if message.fault.is_some() && matches!(message.start, Start::Response { .. }) {
            return Err(Malformed::Response);
        }
        Ok(message)
    }

    /// All values of the fields with this name, in order.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.headers.iter().filter(move |h| h.name == name).map(|h| h.value)
    }

    /// The first field's value.
    pub fn first(&self, name: Name) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    fn check_single(&mut self) {
        let mut seen = [false; 64];
        for header in &self.headers {
            if header.name.is_single() && std::mem::replace(&mut seen[header.name as usize], true) {
                self.fault.get_or_insert(Fault::BAD_REQUEST);
            }
        }
    }

    /// RFC 3261 §18.3: a datagram longer than Content-Length is cut, a shorter one is wrong.
    fn cut_body(&mut self) {
        let Some(value) = self.first(Name::ContentLength) else { return };
        match decimal(value).and_then(|n| self.body.get(..n as usize)) {
            Some(body) => self.body = body,
            None => {
                self.body = &[];
                self.fault.get_or_insert(Fault::BAD_REQUEST);
            }
        }
    }
}

/// A decimal number without sign, at most 2^32 − 1.
pub fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u32, |n, d| n.checked_mul(10)?.checked_add(u32::from(d - b'0')))
}

/// A character of a token (RFC 3261 §25.1).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Without spaces and tabs at both ends.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Where a message's head ends in a stream, just behind its empty line; `None` while it is not all there.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', bytes).map(|at| at + 1).find(|end| bytes[..*end].ends_with(b"\r\n\r\n"))
}

/// Head with its last line's end, and body; no body where the empty line is missing.
fn split_head(bytes: &mut [u8]) -> (&mut [u8], Option<&mut [u8]>) {
    match head_end(bytes) {
        Some(end) => {
            let (head, body) = bytes.split_at_mut(end);
            let lines = head.len() - 2;
            (&mut head[..lines], Some(body))
        }
        None => (bytes, None),
    }
}

/// A continuation line's line end becomes two spaces: unfolded without moving a byte (RFC 3261 §7.3.1).
fn unfold(head: &mut [u8]) {
    let mut from = 0;
    while let Some(end) = memchr(b'\n', &head[from..]).map(|at| from + at + 1) {
        if head[..end].ends_with(b"\r\n") && matches!(head.get(end), Some(b' ' | b'\t')) {
            head[end - 2..end].copy_from_slice(b"  ");
        }
        from = end;
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr_iter(b'\n', self.0).find(|at| self.0[..*at].ends_with(b"\r"));
        let Some(end) = end else { return Some(std::mem::take(&mut self.0)) };
        let line = &self.0[..end - 1];
        self.0 = &self.0[end + 1..];
        Some(line)
    }
}

fn start_line<'a>(line: &'a [u8], fault: &mut Option<Fault>) -> Result<Start<'a>, Malformed> {
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        // The reason phrase may be empty, its space may not be missing; three digits, no more.
        let (digits, rest) = rest.split_at_checked(3).ok_or(Malformed::StartLine)?;
        let status = decimal(digits).filter(|s| (100..700).contains(s)).ok_or(Malformed::StartLine)?;
        if rest.first() != Some(&b' ') || std::str::from_utf8(rest).is_err() {
            return Err(Malformed::StartLine);
        }
        return Ok(Start::Response { status: status as u16 });
    }
    // From the ends, so that a URI with spaces in it is seen as such and answered.
    let space = line.iter().position(|b| *b == b' ').ok_or(Malformed::StartLine)?;
    let (name, rest) = (&line[..space], &line[space + 1..]);
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return Err(Malformed::StartLine);
    }
    let trimmed = trim(rest);
    let last = trimmed.iter().rposition(|b| *b == b' ').ok_or(Malformed::StartLine)?;
    let (uri, version) = (&trimmed[..last], &trimmed[last + 1..]);
    if !version.get(..4).is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/")) {
        return Err(Malformed::StartLine);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        fault.get_or_insert(Fault::VERSION);
    }
    if trimmed.len() != rest.len() || uri.is_empty() || uri.iter().any(|b| matches!(b, b' ' | b'\t')) {
        fault.get_or_insert(Fault::BAD_REQUEST);
    }
    Ok(Start::Request { method: Method::from_bytes(name), name, uri })
}

fn header(line: &[u8]) -> Option<Header<'_>> {
    let colon = memchr(b':', line)?;
    let name = trim(&line[..colon]);
    let value = trim(&line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return None;
    }
    // Values are UTF-8 (RFC 3261 §7.3.1) without controls; escaped in quotes all but CR and LF are legal (§25.1).
    let control = |i: usize, b: u8| match b {
        b'\r' | b'\n' => true,
        b'\t' => false,
        b => b.is_ascii_control() && (i == 0 || value[i - 1] != b'\\'),
    };
    let suspect = value.iter().fold(false, |any, b| any | b.is_ascii_control());
    if suspect && value.iter().enumerate().any(|(i, b)| control(i, *b)) || std::str::from_utf8(value).is_err()
    {
        return None;
    }
    Some(Header { name: Name::from_bytes(name), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(headers: &str, body: &str) -> Result<Option<Fault>, Malformed> {
        let mut text = format!("OPTIONS sip:a@192.0.2.9 SIP/2.0\r\n{headers}\r\n{body}").into_bytes();
        Message::lex(&mut text).map(|m| m.fault)
    }

    #[test]
    fn as_many_headers_as_the_limit_and_no_more() {
        assert_eq!(fault(&"Z: y\r\n".repeat(MOST_HEADERS), ""), Ok(None));
        assert_eq!(fault(&"Z: y\r\n".repeat(MOST_HEADERS + 1), ""), Ok(Some(Fault::TOO_LARGE)));
    }

    #[test]
    fn a_header_as_long_as_the_limit_and_no_longer_folds_counted() {
        let of = |len: usize| format!("Z:{}\r\n", "y".repeat(len - 2));
        assert_eq!(fault(&of(LONGEST_LINE), ""), Ok(None));
        assert_eq!(fault(&of(LONGEST_LINE + 1), ""), Ok(Some(Fault::TOO_LARGE)));
        let folded = format!("Z: y\r\n{}", " y\r\n".repeat(LONGEST_LINE / 4));
        assert_eq!(fault(&folded, ""), Ok(Some(Fault::TOO_LARGE)));
    }

    #[test]
    fn a_message_as_large_as_the_limit_and_no_larger() {
        let head = "OPTIONS sip:a@192.0.2.9 SIP/2.0\r\n\r\n".len();
        assert_eq!(fault("", &"y".repeat(MOST_BYTES - head)), Ok(None));
        assert_eq!(fault("", &"y".repeat(MOST_BYTES - head + 1)), Err(Malformed::TooLarge));
    }

    #[test]
    fn compact_names_folds_and_case_read_as_the_long_form() {
        let mut text = *b"OPTIONS sip:a SIP/2.0\r\nv : one\r\n\ttwo\r\nVIA:three\r\ni: c\r\n\r\n";
        let message = Message::lex(&mut text).unwrap();
        let vias: Vec<&[u8]> = message.all(Name::Via).collect();
        assert_eq!(vias, [&b"one  \ttwo"[..], b"three"]);
        assert_eq!(message.first(Name::CallId), Some(&b"c"[..]));
    }
}
