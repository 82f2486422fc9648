//! What leaves a region of a message that was read: numbers, indexes and ciphertext.

use super::fault::Fault;
use super::lexer::Method;
use super::rules::TrunkId;
use crate::sdp;
use std::net::SocketAddr;
use vault::{
    CallerName, CallerNumber, CallerProfile, DialledNumber, Index, OwnName, OwnNumber, OwnProfile, Sealed,
    SignallingText,
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
    /// From a text; `None` when it is no such name.
    pub fn new(text: &[u8]) -> Option<Self> {
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
    /// A transport protocol.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Protocol {
        /// Datagrams (RFC 3261 §18).
        Udp,
        /// A stream (RFC 3261 §18).
        Tcp,
        /// TLS over TCP (RFC 3261 §26.3).
        Tls,
        /// WebSocket (RFC 7118).
        Ws,
        /// WebSocket over TLS (RFC 7118).
        Wss,
    }

    /// Who keeps a session alive (RFC 4028).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Refresher {
        /// Who sent the request.
        Uac,
        /// Who answers it.
        Uas,
    }

    /// A session's interval (RFC 4028 §4).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct SessionExpires {
        /// Seconds without a refresh after which it is over.
        pub seconds: u32,
        /// Who refreshes, when that is said.
        pub refresher: Option<Refresher>,
    }

    /// Which provisional response is acknowledged (RFC 3262 §7.2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RAck {
        /// Its RSeq.
        pub rseq: u32,
        /// CSeq of the request that it belongs to.
        pub cseq: u32,
        /// Method of that request.
        pub method: Method,
    }

    /// An event package (RFC 6665).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Package {
        /// RFC 4575.
        Conference,
        /// RFC 3515.
        Refer,
        /// Any other.
        Other,
    }

    /// Which call a new one takes the place of (RFC 3891).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Replaces {
        /// Our tag in it.
        pub to_tag: OurTag,
        /// Its Call-ID and the peer's tag.
        pub peer: Index,
        /// Only if it is not answered yet.
        pub early_only: bool,
    }

    /// What a request proves of who sends it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Auth {
        /// Its trunk need not prove anything.
        NotRequired,
        /// It proves nothing.
        Missing,
        /// It answers a challenge.
        Answered(AuthAnswer),
    }

    /// An answer to a challenge of ours (RFC 7616).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct AuthAnswer {
        /// The challenge's nonce.
        pub nonce: u128,
        /// How often it was used, this time included; 0 from peers that do not count.
        pub count: u32,
        /// Whether name and password are right.
        pub right: bool,
    }

    /// Why something happens (RFC 3326); its text is not kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Reason {
        /// Cause by ITU-T Q.850, 0 to 127.
        pub q850: Option<u8>,
        /// SIP status.
        pub sip: Option<u16>,
    }

    /// What a message says in header fields of extensions.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Extensions {
        /// Extensions of ours that its sender supports.
        pub supported: Options,
        /// Extensions of ours that it requires.
        pub required: Options,
        /// Whether its sender takes UPDATE (RFC 3311); `None`: it does not say what it takes.
        pub allows_update: Option<bool>,
        /// RFC 4028.
        pub session_expires: Option<SessionExpires>,
        /// RFC 4028, s.
        pub min_se: Option<u32>,
        /// Number of a provisional response that wants to be acknowledged (RFC 3262).
        pub rseq: Option<u32>,
        /// What a PRACK acknowledges.
        pub rack: Option<RAck>,
        /// How long a subscription or request is good, s.
        pub expires: Option<u32>,
        /// Package of a SUBSCRIBE or NOTIFY.
        pub event: Option<Package>,
        /// Its sender's half of the session's identifier (RFC 7989).
        pub session_id: Option<u128>,
        /// RFC 3326.
        pub reason: Reason,
        /// When to try again, s (RFC 3261 §20.33).
        pub retry_after: Option<u32>,
        /// Proxies that it may still pass.
        pub max_forwards: Option<u8>,
    }

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
        /// The trunk that it came from.
        pub trunk: TrunkId,
        /// What it proves.
        pub auth: Auth,
        /// Its Request-URI is a `sips:` one.
        pub secure: bool,
        /// The key in an INFO.
        pub key: Option<Digit>,
        /// What extensions say.
        pub extensions: Extensions,
        /// The call that an INVITE takes the place of.
        pub replaces: Option<Replaces>,
        /// Who a REFER sends us to.
        pub refer_to: Option<ReferTo>,
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
        /// Whether it says where the peer is reached from now on.
        pub has_contact: bool,
        /// What extensions say.
        pub extensions: Extensions,
        /// Where a 3xx sends us, the most wanted first.
        pub redirects: Vec<ReferTo>,
        /// What a 401 or 407 wants to be answered.
        pub challenge: Option<Challenge>,
    }

    /// Another address for a call: of a REFER or a redirection.
    #[derive(Debug)]
    pub struct ReferTo {
        /// Its URI, sealed under the message's subject.
        pub uri: Sealed<SignallingText>,
        /// The conference of ours that it is.
        pub target: Target,
        /// Where it is reached, when that is an address.
        pub hop: Hop,
        /// Its number, where that may be dialled.
        pub number: Option<Sealed<DialledNumber>>,
        /// It has header fields, as a Replaces: they are dropped.
        pub replaces: bool,
    }

    /// A challenge (RFC 7616), sealed under the response's subject.
    #[derive(Debug)]
    pub struct Challenge {
        /// Realm, nonce, opaque and algorithm.
        pub text: Sealed<SignallingText>,
        /// Whether it is a proxy's (407).
        pub proxy: bool,
        /// Whether the nonce before was only too old.
        pub stale: bool,
    }

    /// The next hop of a dialog.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Hop {
        /// Its address: of the first Route, else of the Contact; `None` for a host name.
        pub address: Option<SocketAddr>,
        /// The protocol that it asks for.
        pub protocol: Option<Protocol>,
        /// The sender is behind a NAT: reach it where it came from.
        pub nat: bool,
        /// A proxy stays on the way (RFC 3261 §16.6): the hop is its, whatever the Contact becomes.
        pub routed: bool,
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
        /// Last digits of more than one configured number.
        Ambiguous,
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
        /// What is proved of the number (RFC 8224), without the number.
        pub verification: Verification,
        /// Tells the number from others without holding it, where a trusted trunk asserts it or it is proved to be the caller's: for
        /// counting wrong PINs by caller, shown or not.
        pub vouched: Option<Index>,
    }

    /// What a caller's Identity proves.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum Verification {
        /// There is none, or its certificate is not at hand.
        #[default]
        None,
        /// It is right.
        Verified(Attestation),
        /// It is wrong, too old, or for another call.
        Failed,
    }

    /// How well who signed knows who calls (RFC 8588 §4).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Attestation {
        /// The caller may use the number.
        Full,
        /// The caller is known, their right to the number is not.
        Partial,
        /// The call came in from elsewhere.
        Gateway,
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

/// Extensions that both sides must know of (RFC 3261 §20.32), as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options(u8);

impl Options {
    /// None.
    pub const NONE: Self = Self(0);
    /// Reliable provisional responses (RFC 3262).
    pub const REL100: Self = Self(1);
    /// Session timers (RFC 4028).
    pub const TIMER: Self = Self(2);
    /// Taking the place of another call (RFC 3891).
    pub const REPLACES: Self = Self(4);
    /// Privacy mechanism (RFC 3323).
    pub const PRIVACY: Self = Self(8);
    /// All that we have, by name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("100rel", Self::REL100),
        ("timer", Self::TIMER),
        ("replaces", Self::REPLACES),
        ("privacy", Self::PRIVACY),
    ];

    /// By its option tag.
    pub(super) fn from_tag(tag: &[u8]) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| tag.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, option)| *option)
    }

    /// Whether all of `other` are in it.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With those of `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Their tags.
    pub fn tags(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |(_, option)| self.has(*option)).map(|(tag, _)| tag)
    }
}

impl vault::Leaves for Options {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

impl Protocol {
    /// By its name in a URI's `transport` parameter.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|p| name.eq_ignore_ascii_case(p.as_str().as_bytes()))
    }

    /// Its name in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Its name in a Via.
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Whether nothing is lost or repeated.
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// Whether nobody between can read it.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The port that a URI means which names none (RFC 3261 §19.1.2, RFC 7118 §5.3).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
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
