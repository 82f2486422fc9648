//! The endpoint as user agent client (RFC 3261 §8.1, §9.1, §13.2): INVITE with its retries, ACK, CANCEL, and OPTIONS.

use super::{CallId, Cause, ClientMachine, Endpoint, Event, Key, Outcome, Owner, Transmit};
use crate::dialog::{Attempt, Call, DialogText, Flow, Role, State};
use crate::message::auth::{Answer, Credentials};
use crate::message::compose::Payload;
use crate::message::facts::Challenge;
use crate::message::headers::Headers;
use crate::message::{Body, Hop, Method, Reason, Response, SessionExpires, Wire, WireRequest};
use crate::sdp::LocalAudio;
use crate::transaction::Input;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vault::{Sealed, SignallingText};

/// Challenges that are answered for one request: a proxy's and the other side's, and each once more for a stale nonce.
const MOST_CHALLENGES: u8 = 4;

/// A call to be made.
#[derive(Debug)]
pub struct Outgoing {
    /// Its number, if the user gave one; it may not be one that there was before.
    pub id: Option<CallId>,
    /// Where the INVITE goes.
    pub flow: Flow,
    /// Number under which `text` was sealed.
    pub subject: u64,
    /// Target, From, To and Call-ID; see [`crate::message::compose::seal_call`].
    pub text: Sealed<SignallingText>,
    /// Where we receive RTP.
    pub rtp: SocketAddr,
    /// What we offer.
    pub audio: LocalAudio,
    /// Ask that our number be withheld (RFC 3323 `Privacy: id`).
    pub privacy_id: bool,
    /// What we prove when we are asked (RFC 7616).
    pub credentials: Option<Credentials>,
    /// Redirections that are followed.
    pub redirects: u8,
    /// Without any response after this the call has failed, so that another way can be tried.
    pub silence: Option<Duration>,
    /// Without an answer after this it is cancelled.
    pub ring: Option<Duration>,
}

/// An OPTIONS of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PingId(pub u64);

impl Endpoint {
    /// Begins a call.
    pub fn invite(&mut self, now: Instant, outgoing: Outgoing) -> CallId {
        let Outgoing {
            id,
            flow,
            subject,
            text,
            rtp,
            audio,
            privacy_id,
            credentials,
            redirects,
            silence,
            ring,
        } = outgoing;
        let mut call = Call::new(Role::Client, flow, Hop::default());
        let local = call.describe(rtp, audio, (0, 1));
        call.local_cseq = 1;
        call.session_id = Some(Box::new((rand::random(), 0)));
        call.attempt = Some(Box::new(Attempt { redirects, credentials, ..Attempt::default() }));
        let mut request =
            WireRequest::new(Method::Invite, (subject, Arc::new(text)), Some(call.local_tag), 1);
        call.branch = request.branch;
        request.body = Payload::Sdp(local);
        request.privacy_id = privacy_id;
        request.contact = Some(call.contact.clone());
        let session_id = call.session_id.as_deref().copied();
        let policy = self.limits.sessions;
        *request.headers() = Headers {
            session_id,
            session_expires: (policy.expires > 0)
                .then_some(SessionExpires { seconds: policy.expires, refresher: None }),
            min_se: (policy.expires > 0).then_some(policy.min),
            ..Headers::default()
        };
        let branch = request.branch;
        let id = id.unwrap_or_else(|| self.next_call_id());
        // A trunk's limits hold both ways.
        if !self.guard.admits(now, flow.trunk) {
            self.counts.over_limit += 1;
            let (cause, reason) = (Cause::OverLimit, Reason::default());
            self.events.push_back(Event::Ended { call: id, cause, reason, retry_after: None });
            return id;
        }
        let call = self.new_call(id, call);
        self.send_request(now, Owner::Call(call), flow, request);
        if let Some(ring) = ring {
            self.timers.add(now + ring, Key::Ring(call));
        }
        if let Some(silence) = silence {
            self.timers.add(now + silence, Key::Silence(call, branch));
        }
        call
    }

    /// Asks whether a peer is there, by OPTIONS (RFC 3261 §11). [`Event::Pong`] tells.
    pub fn ping(&mut self, now: Instant, flow: Flow, subject: u64, text: Sealed<SignallingText>) -> PingId {
        let id = PingId(self.next_ping);
        self.next_ping += 1;
        let mut request =
            WireRequest::new(Method::Options, (subject, Arc::new(text)), Some(rand::random()), 1);
        request.contact = Some(Default::default());
        self.send_request(now, Owner::Ping(id), flow, request);
        id
    }

    /// Nothing was answered for so long that another way is to be tried. What comes later is cancelled or hung up.
    pub(super) fn silence(&mut self, now: Instant, id: CallId, branch: u64) {
        let key = (branch, false);
        let Some(transaction) = self.client.get_mut(&key) else { return };
        let is_silent = matches!(&transaction.machine, ClientMachine::Invite(m) if m.is_calling());
        if is_silent && self.calls.get(&id).is_some_and(|c| c.branch == branch) {
            transaction.abandoned = true;
            self.end(now, id, Cause::TimedOut);
        }
    }

    /// It rang for as long as it may.
    pub(super) fn unanswered(&mut self, now: Instant, id: CallId) {
        if self.calls.get(&id).is_some_and(|c| c.role == Role::Client && c.state == State::Early) {
            self.cancel(now, id);
        }
    }

    /// Gives up a call of ours that is not answered (RFC 3261 §9.1): at once if a provisional response came, else as
    /// soon as one comes.
    pub(super) fn cancel(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cancelled = true;
        let branch = call.branch;
        self.cancel_invite(now, id, branch);
    }

    fn cancel_invite(&mut self, now: Instant, id: CallId, branch: u64) {
        let Some(invite) = self.client.get(&(branch, false)) else { return };
        let proceeding = matches!(&invite.machine, ClientMachine::Invite(m) if m.is_proceeding());
        if !proceeding || self.client.contains_key(&(branch, true)) {
            return;
        }
        let request = WireRequest {
            method: Method::Cancel,
            body: Payload::None,
            contact: None,
            privacy_id: false,
            headers: None,
            answers: Vec::new(),
            ..invite.request.clone()
        };
        let flow = invite.flow;
        self.send_request(now, Owner::Call(id), flow, request);
        // Without a final response it is forgotten after 64·T1 (RFC 3261 §9.1).
        self.timers.add(now + self.times.t1 * 64, Key::GivenUp(branch));
    }

    /// An INVITE still has no final response though it should.
    pub(super) fn given_up(&mut self, now: Instant, branch: u64) {
        let key = (branch, false);
        let waits = |t: &&super::ClientTransaction| matches!(&t.machine, ClientMachine::Invite(m) if m.is_proceeding());
        let Some(owner) = self.client.get(&key).filter(waits).map(|t| t.owner) else { return };
        self.client.remove(&key);
        self.request_timed_out(now, owner, Method::Invite, branch);
    }

    pub(super) fn response(&mut self, now: Instant, flow: Flow, mut response: Response) {
        let key = (response.branch, response.method == Method::Cancel);
        let Some(transaction) = self.client.get_mut(&key) else {
            self.counts.strays += 1;
            return;
        };
        if transaction.request.method != response.method || transaction.request.cseq != response.cseq {
            self.counts.strays += 1;
            return;
        }
        let (owner, method, abandoned) =
            (transaction.owner, transaction.request.method, transaction.abandoned);
        if method == Method::Invite && response.status >= 300 {
            // RFC 3261 §17.1.1.3: the ACK has the INVITE's branch and the response's To.
            transaction.ack = Some(WireRequest {
                method: Method::Ack,
                body: Payload::None,
                contact: None,
                privacy_id: false,
                headers: None,
                remote: response.dialog.take().map(|text| (response.subject, Arc::new(text))),
                ..transaction.request.clone()
            });
        }
        let status = response.status;
        let actions = self.drive_client(now, key, Input::Status(status));
        if !actions.deliver {
            return;
        }
        match (owner, method) {
            (Owner::Ping(ping), _) if status >= 200 => {
                self.events.push_back(Event::Pong { ping, status: Some(status) });
            }
            (Owner::Subscription(id), _) if status >= 200 => self.notified(id, Outcome::Status(status)),
            (Owner::Call(id), Method::Invite) => {
                if abandoned && (100..200).contains(&status) {
                    return self.cancel_invite(now, id, key.0);
                }
                self.invite_answered(now, flow, id, key.0, response);
            }
            (Owner::Call(id), Method::Update) if status >= 200 => {
                self.changed(now, id, key.0, method, Outcome::Status(status), Some(response));
            }
            _ => {}
        }
    }

    fn invite_answered(&mut self, now: Instant, flow: Flow, id: CallId, branch: u64, response: Response) {
        let status = response.status;
        let own = self.calls.get(&id).is_some_and(|c| c.branch == branch);
        if !own && self.calls.get(&id).is_some_and(|c| c.state == State::Confirmed) {
            // A re-INVITE's; a 2xx that comes again may be of one before.
            let cseq = response.cseq;
            let is_new = status >= 200
                && self.changed(now, id, branch, Method::Invite, Outcome::Status(status), Some(response));
            if !is_new && (200..300).contains(&status) {
                self.repeat_ack(id, cseq);
            }
            return;
        }
        match status {
            100 => {
                if self.calls.get(&id).is_some_and(|c| c.cancelled) {
                    self.cancel(now, id);
                }
            }
            101..=199 => {
                if self.calls.get(&id).is_some_and(|c| c.cancelled) {
                    self.cancel(now, id);
                } else {
                    self.provisional(now, flow, id, response.cseq, response);
                }
            }
            200..=299 => self.answered(now, flow, id, response),
            _ => self.refused(now, id, branch, response),
        }
    }

    /// The final response to our INVITE is no success: it is tried again where the response says how, else the call is over.
    fn refused(&mut self, now: Instant, id: CallId, branch: u64, response: Response) {
        let Some(call) = self.calls.get_mut(&id).filter(|c| c.branch == branch) else { return };
        let (status, says) = (response.status, response.extensions);
        let sent = self.client.get(&(branch, false)).map(|t| (t.request.clone(), t.flow));
        if let (Some((request, flow)), false, Some(attempt)) = (sent, call.cancelled, &mut call.attempt)
            && let Some((request, flow)) = another_try(attempt, request, flow, response)
        {
            call.local_cseq += 1;
            let request = WireRequest { cseq: call.local_cseq, branch: rand::random(), ..request };
            call.branch = request.branch;
            call.flow = flow;
            return self.send_request(now, Owner::Call(id), flow, request);
        }
        self.end_with(now, id, Cause::Refused(status), says.reason, says.retry_after);
    }

    fn answered(&mut self, now: Instant, flow: Flow, id: CallId, response: Response) {
        let Response { subject, dialog, peer, hop, body, cseq, extensions, .. } = response;
        let Some(text) = dialog.map(Arc::new) else { return };
        let text = DialogText::new(subject, text, None);
        let fork = self.calls.get(&id).is_none_or(|c| c.peer.is_some_and(|p| p != peer));
        if fork {
            // Another branch of a fork answered too, or the call is gone: its dialog is ended (RFC 3261 §13.2.2.4).
            let mut other = Call::new(Role::Client, flow, hop);
            other.local_cseq = cseq;
            other.text = Some(text.clone());
            let ack = Wire::Request(ack_of(&other, &text, cseq));
            self.transmits.push_back(Transmit { flow: other.next_flow(), wire: ack });
            return self.bye(now, id, Box::new(other), Reason::default());
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.acked.is_some() {
            return self.repeat_ack(id, cseq);
        }
        let attempt = call.attempt.take();
        let early = attempt.and_then(|a| a.early.into_iter().find(|e| e.peer == peer)).and_then(|e| e.answer);
        (call.peer, call.hop, call.text) = (Some(peer), hop, Some(text));
        call.state = State::Confirmed;
        call.peer_says = extensions;
        if let (Some(ids), Some(theirs)) = (&mut call.session_id, extensions.session_id) {
            ids.1 = theirs;
        }
        let cancelled = call.cancelled;
        self.acknowledge(id, cseq);
        let answer = match body {
            Body::Sdp(description) => Some(description.session),
            _ => early.map(|session| *session),
        };
        match answer {
            Some(answer) if !cancelled => {
                self.take_time(now, id, &extensions);
                self.events.push_back(Event::Answered { call: id, answer });
            }
            _ => {
                let cause = if cancelled { Cause::Cancelled } else { Cause::NotAcceptable };
                self.break_off(now, id, cause, Reason::default());
            }
        }
    }

    /// The 2xx came again: so does its ACK.
    fn repeat_ack(&mut self, id: CallId, cseq: u32) {
        let Some(call) = self.calls.get(&id) else { return };
        if let Some(ack) = call.acked.as_deref().filter(|a| a.cseq == cseq).cloned() {
            self.transmits.push_back(Transmit { flow: call.next_flow(), wire: Wire::Request(ack) });
        }
    }

    /// No answer to a request of ours.
    pub(super) fn request_timed_out(&mut self, now: Instant, owner: Owner, method: Method, branch: u64) {
        match (owner, method) {
            (Owner::Ping(ping), _) => self.events.push_back(Event::Pong { ping, status: None }),
            (Owner::Subscription(id), _) => self.notified(id, Outcome::TimedOut),
            (Owner::Call(id), Method::Invite | Method::Update) => {
                let change = self.changed(now, id, branch, method, Outcome::TimedOut, None);
                if let Some(call) = self.calls.get(&id).filter(|c| !change && c.branch == branch) {
                    let cause = if call.cancelled { Cause::Cancelled } else { Cause::TimedOut };
                    self.end(now, id, cause);
                }
            }
            _ => {}
        }
    }
}

/// The next try of an INVITE that was refused: with credentials, with a longer session, or elsewhere.
fn another_try(
    attempt: &mut Attempt,
    mut request: WireRequest,
    mut flow: Flow,
    response: Response,
) -> Option<(WireRequest, Flow)> {
    match response.status {
        401 | 407 => {
            let Challenge { text, proxy, stale } = response.challenge?;
            let credentials = attempt.credentials.clone()?;
            let again = request.answers.iter().any(|a| a.proxy == proxy);
            if attempt.challenges >= MOST_CHALLENGES || again && !stale {
                return None;
            }
            attempt.challenges += 1;
            request.answers.retain(|a| a.proxy != proxy);
            let challenge = Arc::new(text);
            request.answers.push(Answer {
                subject: response.subject,
                challenge,
                proxy,
                credentials,
                count: 1,
            });
        }
        // RFC 4028 §7.3.
        422 => {
            let least = response.extensions.min_se.filter(|s| attempt.min_se.is_none_or(|m| *s > m))?;
            attempt.min_se = Some(least);
            let headers = request.headers();
            headers.min_se = Some(least);
            headers.session_expires =
                headers.session_expires.map(|s| SessionExpires { seconds: s.seconds.max(least), ..s });
        }
        // RFC 3261 §8.1.3.4: only numbers that may be dialled.
        300..=399 => {
            let next = response.redirects.into_iter().find(|r| r.number.is_some())?;
            attempt.redirects = attempt.redirects.checked_sub(1)?;
            request.target = Some((response.subject, Arc::new(next.uri)));
            if let Some(remote) = next.hop.address {
                let protocol = next.hop.protocol.unwrap_or(flow.protocol);
                // A trunk's own address; another protocol has listeners of its own.
                if protocol == flow.protocol {
                    let connection = if protocol.is_reliable() { Flow::ANY } else { flow.connection };
                    flow = Flow { remote, connection, ..flow };
                }
            }
        }
        _ => return None,
    }
    Some((request, flow))
}

/// The ACK of a 2xx: a request of its own, with the INVITE's number (RFC 3261 §13.2.2.4).
pub(super) fn ack_of(call: &Call, text: &DialogText, cseq: u32) -> WireRequest {
    let mut ack = WireRequest::new(Method::Ack, (text.subject, text.text.clone()), text.tag, cseq);
    ack.routes = text.routes.clone();
    if let Some(ids) = &call.session_id {
        ack.headers().session_id = Some(**ids);
    }
    ack
}
