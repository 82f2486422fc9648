//! One call: its dialog (RFC 3261 §12) and the state of its session (RFC 3264). No text: what its requests need is
//! sealed.

use crate::message::headers::Contact;
use crate::message::{Extensions, Hop, Protocol, Reply, ReplyExtras, Target, TrunkId};
use crate::sdp::{Local, LocalAudio, Session};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vault::{Index, Sealed, SignallingText};

/// Where messages of one peer come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The other end.
    pub remote: SocketAddr,
    /// Our address as the other end sees it.
    pub local: SocketAddr,
    /// The listener's place for UDP; the stream's number, or [`Flow::ANY`] for whichever stream there is to `remote`.
    pub connection: u64,
    /// The protocol.
    pub protocol: Protocol,
    /// The trunk of the other end.
    pub trunk: TrunkId,
}

impl Flow {
    /// Instead of a stream's number: one that is open to the same address, or a new one (RFC 5923).
    pub const ANY: u64 = 0;
}

/// Sealed text that a dialog's requests are made of.
#[derive(Debug, Clone)]
pub struct DialogText {
    /// Number under which it was sealed.
    pub subject: u64,
    /// The text.
    pub text: Arc<Sealed<SignallingText>>,
    /// Our tag, when the text does not have it already.
    pub tag: Option<u64>,
    /// The text with the dialog's routes, when it is another one: a new target changes no route (RFC 3261 §12.2).
    pub routes: Option<(u64, Arc<Sealed<SignallingText>>)>,
}

impl DialogText {
    /// A dialog's first text.
    pub fn new(subject: u64, text: Arc<Sealed<SignallingText>>, tag: Option<u64>) -> Self {
        Self { subject, text, tag, routes: None }
    }

    /// The text of a message that refreshed the target.
    #[must_use]
    pub fn refreshed(&self, subject: u64, text: Arc<Sealed<SignallingText>>) -> Self {
        let routes = self.routes.clone().unwrap_or_else(|| (self.subject, self.text.clone()));
        Self { subject, text, tag: None, routes: Some(routes) }
    }
}

/// Who began the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// They did.
    Server,
    /// We did.
    Client,
}

/// How far the call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first INVITE has no final response.
    Early,
    /// 2xx sent, its ACK not come (server only).
    Answered,
    /// Both sides know.
    Confirmed,
}

/// Whose offer is open.
#[derive(Debug, Clone)]
pub enum Offer {
    /// None.
    None,
    /// Theirs, in an INVITE that is not answered yet.
    Theirs {
        /// M-lines for what is rejected.
        rejects: Option<Arc<Sealed<SignallingText>>>,
        /// Place of the audio line, and number of lines.
        place: (usize, usize),
    },
    /// Ours, in a 2xx or an INVITE: the answer is to come.
    Ours,
}

/// A 2xx that is repeated until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug, Clone)]
pub struct Repeat {
    /// The response.
    pub reply: Reply,
    /// CSeq that the ACK must have.
    pub cseq: u32,
    /// Time to the next one.
    pub interval: Duration,
    /// When to give up.
    pub until: Instant,
}

/// A reliable provisional response that is not acknowledged yet (RFC 3262 §3).
#[derive(Debug)]
pub struct Reliable {
    /// The response.
    pub(crate) reply: Reply,
    /// Its number.
    pub(crate) rseq: u32,
    /// CSeq of the INVITE.
    pub(crate) cseq: u32,
    /// Time to the next one.
    pub(crate) interval: Duration,
    /// When to give up.
    pub(crate) until: Instant,
}

/// An answer that waits for a PRACK.
#[derive(Debug)]
pub struct Deferred {
    pub(crate) rtp: SocketAddr,
    pub(crate) audio: LocalAudio,
    pub(crate) extras: ReplyExtras,
}

/// One of the dialogs that a call of ours has before it is answered (RFC 3261 §12.1.2).
#[derive(Debug)]
pub struct Early {
    pub(crate) peer: Index,
    pub(crate) rseq: u32,
    /// What was answered to our offer in it, reliably.
    pub(crate) answer: Option<Box<Session>>,
    /// CSeq of the next request in it.
    pub(crate) cseq: u32,
}

/// How a session is kept alive (RFC 4028).
#[derive(Debug, Clone, Copy)]
pub struct SessionTimer {
    /// Without a refresh it ends after so many seconds.
    pub(crate) seconds: u32,
    /// We refresh.
    pub(crate) ours: bool,
    /// Which of its timers counts.
    pub(crate) generation: u32,
    /// When something is to be done about it.
    pub(crate) due: Instant,
    /// When it is over.
    pub(crate) ends: Instant,
}

/// A request of ours that changes or refreshes the session.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its branch.
    pub(crate) branch: u64,
    /// The description in it; `None` for a refresh without one.
    pub(crate) offer: Option<(SocketAddr, LocalAudio)>,
    /// The user asked for it.
    pub(crate) asked: bool,
    /// It met a request of theirs and waits (RFC 3261 §14.1).
    pub(crate) waits: bool,
}

/// What a call of ours is made of until it is answered.
#[derive(Debug, Default)]
pub struct Attempt {
    /// Redirections that may still be followed.
    pub(crate) redirects: u8,
    /// The longest interval that somebody on the way asked for (RFC 4028 §7.3), s.
    pub(crate) min_se: Option<u32>,
    /// What we prove when we are asked.
    pub(crate) credentials: Option<crate::message::auth::Credentials>,
    /// Challenges answered so far.
    pub(crate) challenges: u8,
    pub(crate) early: Vec<Early>,
}

/// A call.
#[derive(Debug)]
pub struct Call {
    pub(crate) role: Role,
    pub(crate) state: State,
    pub(crate) flow: Flow,
    pub(crate) hop: Hop,
    pub(crate) local_tag: u64,
    /// Call-ID and the peer's tag, once it has one.
    pub(crate) peer: Option<Index>,
    pub(crate) remote_cseq: u32,
    pub(crate) local_cseq: u32,
    pub(crate) text: Option<DialogText>,
    /// A target refresh that becomes valid with the 2xx.
    pub(crate) refresh: Option<(u64, Arc<Sealed<SignallingText>>, Hop)>,
    /// The INVITE that waits for our final response.
    pub(crate) pending: Option<Index>,
    /// The UPDATE or PRACK whose offer waits for our answer.
    pub(crate) update: Option<Index>,
    pub(crate) offer: Offer,
    session: u64,
    local: Option<Local>,
    /// Large, and only there until the ACK.
    pub(crate) repeat: Option<Box<Repeat>>,
    /// The user hung up before the ACK came: BYE follows then (RFC 3261 §15).
    pub(crate) bye_when_acked: bool,
    /// Client: the INVITE's branch, and the ACK that every repeated 2xx gets.
    pub(crate) branch: u64,
    pub(crate) acked: Option<Box<crate::message::WireRequest>>,
    /// Client: the user gave up before the answer.
    pub(crate) cancelled: bool,
    /// Server: what the peer said that it can, and wants.
    pub(crate) peer_says: Extensions,
    pub(crate) contact: Contact,
    /// Our half of the session's identifier and theirs (RFC 7989).
    pub(crate) session_id: Option<Box<(u128, u128)>>,
    pub(crate) reliable: Option<Box<Reliable>>,
    /// The answer that is sent when nothing before it is open any more.
    pub(crate) deferred: Option<Box<Deferred>>,
    /// The REFER that waits for the user's word: its CSeq and transaction.
    pub(crate) refer: Option<(u32, Index)>,
    pub(crate) rseq: u32,
    /// Our description went out in a reliable provisional response: the 2xx has none (RFC 6337 §3.1.1).
    pub(crate) described: bool,
    pub(crate) attempt: Option<Box<Attempt>>,
    pub(crate) timer: Option<SessionTimer>,
    pub(crate) change: Option<Box<Change>>,
}

impl Call {
    /// A new call with random tag and session id.
    pub fn new(role: Role, flow: Flow, hop: Hop) -> Self {
        Self {
            role,
            state: State::Early,
            flow,
            hop,
            local_tag: rand::random(),
            peer: None,
            remote_cseq: 0,
            local_cseq: 0,
            text: None,
            refresh: None,
            pending: None,
            update: None,
            offer: Offer::None,
            // RFC 8866 §5.2: numeric; below 2^63, for peers with signed numbers.
            session: rand::random::<u64>() >> 1,
            local: None,
            repeat: None,
            bye_when_acked: false,
            branch: 0,
            acked: None,
            cancelled: false,
            peer_says: Extensions::default(),
            contact: Contact::default(),
            session_id: None,
            reliable: None,
            deferred: None,
            refer: None,
            rseq: 0,
            described: false,
            attempt: None,
            timer: None,
            change: None,
        }
    }

    /// The conference that was called, for the Contact.
    pub fn called(&mut self, target: Target) {
        self.contact.focus = match target {
            Target::AdHoc(_) | Target::Number(_) => Some(Arc::new(target)),
            // Who listens without being seen is not told where by every proxy on the way.
            Target::Listen(_) | Target::Ambiguous | Target::Unknown => None,
        };
    }

    /// Our description as it was sent last.
    pub fn described(&self) -> Option<&Local> {
        self.local.as_ref()
    }

    /// Our description: the version grows when something changed (RFC 3264 §8).
    pub fn describe(&mut self, rtp: SocketAddr, audio: LocalAudio, place: (usize, usize)) -> Local {
        let version = match &self.local {
            None => self.session,
            Some(l) if (l.rtp, &l.audio, l.place) == (rtp, &audio, place) => l.version,
            Some(l) => l.version + 1,
        };
        self.local.insert(Local { session: self.session, version, rtp, audio, place }).clone()
    }

    /// Where the dialog's requests go: the Route's or Contact's address; for a host name, a peer behind a NAT or a
    /// stream that is there already, back where its messages come from.
    pub fn next_flow(&self) -> Flow {
        match self.hop.address {
            Some(remote)
                if !self.hop.nat
                    && self.flow.protocol == Protocol::Udp
                    && self.hop.protocol.is_none_or(|p| p == Protocol::Udp) =>
            {
                Flow { remote, ..self.flow }
            }
            _ => self.flow,
        }
    }

    /// The peer is reached elsewhere from now on (RFC 3261 §12.2).
    pub fn retarget(&mut self, subject: u64, text: Arc<Sealed<SignallingText>>, hop: Hop) {
        let Some(before) = &self.text else { return };
        self.text = Some(before.refreshed(subject, text));
        if !self.hop.routed {
            self.hop = hop;
        }
    }

    /// The call's stream is gone: its next request goes over another one to the peer's Contact, if that is an address
    /// (RFC 3261 §18.2.2).
    pub fn stream_gone(&mut self) {
        let Some(remote) = self.hop.address.filter(|_| !self.hop.nat) else { return };
        self.flow = Flow { remote, connection: Flow::ANY, ..self.flow };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialogs_requests_go_to_the_contact_but_where_that_cannot_be_reached_back_to_the_source() {
        let contact: SocketAddr = "198.51.100.7:5070".parse().unwrap();
        let source: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let direct = Hop { address: Some(contact), ..Hop::default() };
        let of = |hop, protocol| {
            let local = "192.0.2.9:5060".parse().unwrap();
            let flow = Flow { remote: source, local, connection: 2, protocol, trunk: TrunkId(3) };
            Call::new(Role::Server, flow, hop)
        };
        let goes_to = |hop, protocol| {
            let next = of(hop, protocol).next_flow();
            assert_eq!((next.connection, next.protocol, next.trunk), (2, protocol, TrunkId(3)));
            next.remote
        };
        assert_eq!(goes_to(direct, Protocol::Udp), contact);
        assert_eq!(goes_to(Hop { nat: true, ..direct }, Protocol::Udp), source, "behind a NAT");
        let tcp = Hop { protocol: Some(Protocol::Tcp), ..direct };
        assert_eq!(goes_to(tcp, Protocol::Udp), source, "asks for TCP, but came over UDP");
        assert_eq!(goes_to(Hop { address: None, ..direct }, Protocol::Udp), source, "a host name");
        assert_eq!(goes_to(direct, Protocol::Tls), source, "over the stream that is there");
        let mut call = of(direct, Protocol::Tcp);
        call.stream_gone();
        let next = call.next_flow();
        assert_eq!((next.remote, next.connection), (contact, Flow::ANY), "the stream is gone");
        let mut call = of(Hop { nat: true, ..direct }, Protocol::Tcp);
        call.stream_gone();
        assert_eq!(call.next_flow().remote, source, "nowhere else to go");
    }
}
