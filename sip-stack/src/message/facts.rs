//! What leaves a region of a message that was read: numbers, indexes and ciphertext.

use super::fault::Fault;
use super::lexer::Method;
use crate::sdp;
use std::net::SocketAddr;
use vault::{
    CallerName, CallerNumber, CallerProfile, Index, OwnName, OwnNumber, OwnProfile, Sealed, SignallingText,
};

/// What a number begins with that lets somebody listen without being seen.
pub const LISTEN: &str = "listen-";

/// A dialled ad-hoc conference name: 1 to 64 letters, digits and `-._~`. It names a conference, not a person.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialled {
    len: u8,
    text: [u8; 64],
}

impl Dialled {
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let right = (1..=64).contains(&text.len())
            && text.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(b));
        let mut own = Self { len: text.len() as u8, text: [0; 64] };
        right.then(|| {
            own.text[..text.len()].copy_from_slice(text);
            own
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for Dialled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl vault::Leaves for Dialled {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

/// A key that a caller pressed, told by INFO: 0–9, `*`, `#`, A–D. Its `Debug` does not show which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digit(u8);

impl Digit {
    /// From the key itself, or from its event number (RFC 4733 §3.2), as some phones write `*` and `#`.
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        const KEYS: &[u8] = b"0123456789*#ABCD";
        match text {
            [key] => KEYS.contains(&key.to_ascii_uppercase()).then(|| Self(key.to_ascii_uppercase())),
            [b'1', unit @ b'0'..=b'5'] => Some(Self(KEYS[usize::from(10 + unit - b'0')])),
            _ => None,
        }
    }

    /// The key as a character.
    pub fn key(self) -> char {
        char::from(self.0)
    }
}

impl std::fmt::Debug for Digit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digit(_)")
    }
}

impl vault::Leaves for Digit {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

vault::leaves! {
    /// A message that was read.
    #[derive(Debug)]
    pub enum Incoming {
        /// A request.
        Request(Box<Request>),
        /// A response.
        Response(Box<Response>),
        /// Nothing but line ends: a keep-alive (RFC 5626 §4.4.1).
        KeepAlive,
    }

    /// What a request is about.
    #[derive(Debug)]
    pub struct Request {
        /// Number of this request; part of the context of what it sealed.
        pub subject: u64,
        /// Method.
        pub method: Method,
        /// Its transaction (RFC 3261 §17.2.3). ACK and CANCEL have their INVITE's.
        pub transaction: Index,
        /// Call-ID, From tag and CSeq: the same request over another way (RFC 3261 §8.2.2.2).
        pub merge: Index,
        /// Call-ID and From tag: the peer's side of a dialog.
        pub peer: Index,
        /// Our tag in To: `Some(None)` for one that cannot be ours.
        pub to_tag: Option<OurTag>,
        /// Sequence number.
        pub cseq: u32,
        /// What is wrong with it.
        pub fault: Option<Fault>,
        /// Where its responses go (RFC 3261 §18.2.2, RFC 3581).
        pub reply_to: SocketAddr,
        /// Where requests of the dialog go, when that is an address.
        pub hop: Hop,
        /// Who is called.
        pub target: Target,
        /// The session description in it.
        pub body: Body,
        /// The key in an INFO.
        pub key: Option<Digit>,
        /// Via, From, To, Call-ID, CSeq, Record-Route and the like, for responses. An ACK has none.
        pub echo: Option<Sealed<SignallingText>>,
        /// What the dialog's own requests need; for a request that makes or refreshes a dialog.
        pub dialog: Option<Sealed<SignallingText>>,
        /// Who calls; for an INVITE outside a dialog.
        pub caller: Option<Caller>,
    }

    /// A To tag.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum OurTag {
        /// One that we could have made.
        Ours(u64),
        /// Another.
        Foreign,
    }

    /// A response to a request of ours.
    #[derive(Debug)]
    pub struct Response {
        /// Number of this response; part of the context of what it sealed.
        pub subject: u64,
        /// Status code.
        pub status: u16,
        /// Our branch.
        pub branch: u64,
        /// Method of the CSeq.
        pub method: Method,
        /// Sequence number.
        pub cseq: u32,
        /// To tag: which of several answering dialogs.
        pub to_tag: Option<Index>,
        /// Call-ID and To tag: the peer's side of a dialog.
        pub peer: Index,
        /// Where requests of the dialog go, when that is an address.
        pub hop: Hop,
        /// The session description in it.
        pub body: Body,
        /// What the dialog's own requests need, or the ACK of a refusal.
        pub dialog: Option<Sealed<SignallingText>>,
    }

    /// The next hop of a dialog.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Hop {
        /// Its address: of the first Route, else of the Contact; `None` for a host name.
        pub address: Option<SocketAddr>,
        /// It asks for TCP.
        pub tcp: bool,
        /// The sender is behind a NAT: reach it where it came from.
        pub nat: bool,
    }

    /// The Request-URI, as far as it is ours.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Target {
        /// A configured number, by its place in the address book.
        Number(usize),
        /// An ad-hoc conference.
        AdHoc(Dialled),
        /// A number with which somebody may listen ([`LISTEN`]).
        Listen(Dialled),
        /// None of ours.
        Unknown,
    }

    /// A message's body.
    #[derive(Debug)]
    pub enum Body {
        /// None.
        Empty,
        /// A description.
        Sdp(Box<Description>),
        /// One that cannot be used.
        Unusable,
    }

    /// A description, and the m-lines that reject what is not wanted of it.
    #[derive(Debug)]
    pub struct Description {
        /// The facts.
        pub session: sdp::Session,
        /// Rejecting m-lines, one field per line; `None` when there is no line but the audio.
        pub rejects: Option<Sealed<SignallingText>>,
    }

    /// Who calls.
    #[derive(Debug)]
    pub struct Caller {
        /// Display name.
        pub name: Said<CallerName, OwnName>,
        /// Number or address.
        pub number: Said<CallerNumber, OwnNumber>,
        /// Address of a page or card about them.
        pub profile: Said<CallerProfile, OwnProfile>,
        /// The caller asks that no privacy be applied, whatever is usual (RFC 3323 §4.2).
        pub asks_for_none: bool,
    }

    /// Whether something about a caller is there to be shown.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Shown {
        /// There, and not withheld.
        Shared,
        /// Withheld by the caller or the carrier.
        Withheld,
        /// Never told.
        Absent,
    }
}

/// One of a caller's values: as it is shown, and as it is kept for the caller's own act.
#[derive(Debug)]
pub struct Said<T, O> {
    /// Whether it is shown.
    pub status: Shown,
    /// The value, while it is shared; `None` also when it is the same as `own`.
    pub shared: Option<Sealed<T>>,
    /// A trusted trunk asserts it (RFC 3325); otherwise it is what the caller claims.
    pub asserted: bool,
    /// The value that the caller could share. Nothing opens it, and only the caller's own act makes another of it.
    pub own: Own<O>,
}

/// A value kept for the caller alone.
#[derive(Debug)]
pub struct Own<O> {
    /// The value, if there is one.
    pub sealed: Option<Sealed<O>>,
    /// A trusted trunk asserts it.
    pub asserted: bool,
}

impl<O> Default for Own<O> {
    fn default() -> Self {
        Self { sealed: None, asserted: false }
    }
}

impl<T, O> vault::Leaves for Said<T, O> {
    fn leave(self, on: vault::leaves::Leaving) -> Self {
        let own = Own { sealed: self.own.sealed.leave(on), ..self.own };
        Self { shared: self.shared.leave(on), own, ..self }
    }
}
