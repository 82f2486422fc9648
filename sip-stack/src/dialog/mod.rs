//! One call: its dialog (RFC 3261 §12) and the state of its session (RFC 3264). No text: what its requests need is
//! sealed.

use crate::message::{Hop, Reply};
use crate::sdp::{Local, LocalAudio};
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
    /// The listener's place for UDP, the stream's number for TCP.
    pub connection: u64,
    /// Whether it is a stream.
    pub reliable: bool,
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
    pub(crate) refresh: Option<(DialogText, Hop)>,
    /// The INVITE that waits for our final response.
    pub(crate) pending: Option<Index>,
    pub(crate) offer: Offer,
    session: u64,
    local: Option<Local>,
    pub(crate) repeat: Option<Repeat>,
    /// The user hung up before the ACK came: BYE follows then (RFC 3261 §15).
    pub(crate) bye_when_acked: bool,
    /// Client: the INVITE's branch, and the ACK that every repeated 2xx gets.
    pub(crate) branch: u64,
    pub(crate) acked: Option<crate::message::WireRequest>,
    /// Client: the user gave up before the answer.
    pub(crate) cancelled: bool,
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
            offer: Offer::None,
            // RFC 8866 §5.2: numeric; below 2^63, for peers with signed numbers.
            session: rand::random::<u64>() >> 1,
            local: None,
            repeat: None,
            bye_when_acked: false,
            branch: 0,
            acked: None,
            cancelled: false,
        }
    }

    /// Our description: the version grows when something changed (RFC 3264 §8).
    pub fn describe(&mut self, rtp: SocketAddr, audio: LocalAudio, place: (usize, usize)) -> Local {
        let version = match &self.local {
            None => self.session,
            Some(l) if (l.rtp, l.audio, l.place) == (rtp, audio, place) => l.version,
            Some(l) => l.version + 1,
        };
        *self.local.insert(Local { session: self.session, version, rtp, audio, place })
    }

    /// Where the dialog's requests go: the Route's or Contact's address; for a host name, a peer behind a NAT or a
    /// stream that is there already, back where its messages come from.
    pub fn next_flow(&self) -> Flow {
        match self.hop.address {
            Some(remote) if !self.hop.nat && !self.flow.reliable && !self.hop.tcp => {
                Flow { remote, ..self.flow }
            }
            _ => self.flow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialogs_requests_go_to_the_contact_but_where_that_cannot_be_reached_back_to_the_source() {
        let contact: SocketAddr = "198.51.100.7:5070".parse().unwrap();
        let source: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let direct = Hop { address: Some(contact), tcp: false, nat: false };
        let goes_to = |hop, reliable| {
            let flow =
                Flow { remote: source, local: "192.0.2.9:5060".parse().unwrap(), connection: 2, reliable };
            let next = Call::new(Role::Server, flow, hop).next_flow();
            assert_eq!((next.local, next.connection, next.reliable), (flow.local, 2, reliable));
            next.remote
        };
        assert_eq!(goes_to(direct, false), contact);
        assert_eq!(goes_to(Hop { nat: true, ..direct }, false), source, "behind a NAT");
        assert_eq!(goes_to(Hop { tcp: true, ..direct }, false), source, "asks for TCP, but came over UDP");
        assert_eq!(goes_to(Hop { address: None, ..direct }, false), source, "a host name");
        assert_eq!(goes_to(direct, true), source, "over the stream that is there");
    }
}
