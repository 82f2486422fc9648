//! The endpoint as user agent client (RFC 3261 §8.1, §9.1, §13.2): INVITE, ACK, CANCEL, BYE.

use super::{CallId, Cause, ClientMachine, ClientTransaction, Endpoint, Event, Transmit};
use crate::dialog::{Call, DialogText, Flow, Role, State};
use crate::message::{Body, Hop, Method, Response, Wire, WireRequest};
use crate::sdp::LocalAudio;
use crate::transaction::{ClientInvite, ClientOther, Input};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use vault::{Sealed, SignallingText};

/// A call to be made.
#[derive(Debug)]
pub struct Outgoing {
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
}

impl Endpoint {
    /// Begins a call.
    pub fn invite(&mut self, now: Instant, outgoing: Outgoing) -> CallId {
        let Outgoing { flow, subject, text, rtp, audio, privacy_id } = outgoing;
        let mut call = Call::new(Role::Client, flow, Hop { address: None, tcp: flow.reliable, nat: false });
        let local = call.describe(rtp, audio, (0, 1));
        let (branch, tag) = (rand::random(), call.local_tag);
        let text = Arc::new(text);
        call.branch = branch;
        call.local_cseq = 1;
        let request = WireRequest {
            subject,
            dialog: text,
            method: Method::Invite,
            cseq: 1,
            branch,
            local_tag: Some(tag),
            remote: None,
            body: Some(local),
            privacy_id,
        };
        let call = self.new_call(call);
        let machine = ClientMachine::Invite(ClientInvite::new(flow.reliable));
        let key = (branch, false);
        self.client.insert(key, ClientTransaction { machine, flow, request, call, ack: None });
        self.drive_client(now, key, Input::Start);
        call
    }

    /// Gives up a call of ours that is not answered (RFC 3261 §9.1): at once if a provisional response came, else as
    /// soon as one comes.
    pub(super) fn cancel(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cancelled = true;
        let key = (call.branch, false);
        let Some(invite) = self.client.get(&key) else { return };
        let proceeding = matches!(&invite.machine, ClientMachine::Invite(m) if m.is_proceeding());
        let cancel_key = (call.branch, true);
        if !proceeding || self.client.contains_key(&cancel_key) {
            return;
        }
        let request = WireRequest { method: Method::Cancel, body: None, ..invite.request.clone() };
        let flow = invite.flow;
        let machine = ClientMachine::Other(ClientOther::new(flow.reliable));
        self.client.insert(cancel_key, ClientTransaction { machine, flow, request, call: id, ack: None });
        self.drive_client(now, cancel_key, Input::Start);
    }

    pub(super) fn response(&mut self, now: Instant, flow: Flow, response: Response) {
        let key = (response.branch, response.method == Method::Cancel);
        let Some(transaction) = self.client.get_mut(&key) else {
            self.counts.strays += 1;
            return;
        };
        if transaction.request.method != response.method || transaction.request.cseq != response.cseq {
            self.counts.strays += 1;
            return;
        }
        let (id, method) = (transaction.call, transaction.request.method);
        let text = response.dialog.map(Arc::new);
        if method == Method::Invite && response.status >= 300 {
            // RFC 3261 §17.1.1.3: the ACK has the INVITE's branch and the response's To.
            transaction.ack = Some(WireRequest {
                method: Method::Ack,
                body: None,
                remote: text.clone().map(|t| (response.subject, t)),
                ..transaction.request.clone()
            });
        }
        let actions = self.drive_client(now, key, Input::Status(response.status));
        if !actions.deliver || method != Method::Invite {
            return;
        }
        match response.status {
            100..=199 => {
                if self.calls.get(&id).is_some_and(|c| c.cancelled) {
                    self.cancel(now, id);
                } else if response.status > 100 {
                    self.events.push_back(Event::Progress { call: id, status: response.status });
                }
            }
            200..=299 => {
                let Some(text) = text else { return };
                let text = DialogText { subject: response.subject, text, tag: None };
                self.answered(now, flow, id, text, response.peer, response.hop, response.body);
            }
            status => {
                self.end(id, Cause::Refused(status));
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn answered(
        &mut self,
        now: Instant,
        flow: Flow,
        id: CallId,
        text: DialogText,
        peer: vault::Index,
        hop: Hop,
        body: Body,
    ) {
        let fork = self.calls.get(&id).is_none_or(|c| c.peer.is_some_and(|p| p != peer));
        if fork {
            // Another branch of a fork answered too, or the call is gone: its dialog is ended (RFC 3261 §13.2.2.4).
            let mut other = Call::new(Role::Client, flow, hop);
            other.local_cseq = 1;
            other.text = Some(text.clone());
            self.send_ack(&other, &text);
            return self.bye(now, id, Box::new(other));
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(ack) = call.acked.clone() {
            // The 2xx came again: so does its ACK.
            let flow = call.next_flow();
            return self.transmits.push_back(Transmit { flow, wire: Wire::Request(ack) });
        }
        (call.peer, call.hop, call.text) = (Some(peer), hop, Some(text.clone()));
        call.state = State::Confirmed;
        let cancelled = call.cancelled;
        let ack = ack_of(call, &text);
        let to = call.next_flow();
        call.acked = Some(ack.clone());
        self.transmits.push_back(Transmit { flow: to, wire: Wire::Request(ack) });
        match body {
            Body::Sdp(description) if !cancelled => {
                self.events.push_back(Event::Answered { call: id, answer: description.session });
            }
            _ => {
                let cause = if cancelled { Cause::Cancelled } else { Cause::NotAcceptable };
                if let Some(call) = self.end(id, cause) {
                    self.bye(now, id, call);
                }
            }
        }
    }

    fn send_ack(&mut self, call: &Call, text: &DialogText) {
        let wire = Wire::Request(ack_of(call, text));
        self.transmits.push_back(Transmit { flow: call.next_flow(), wire });
    }

    /// No answer to a request of ours.
    pub(super) fn request_timed_out(&mut self, call: CallId, method: Method) {
        if method == Method::Invite {
            self.end(call, Cause::TimedOut);
        }
    }
}

/// The ACK of a 2xx: a request of its own, with the INVITE's number (RFC 3261 §13.2.2.4).
fn ack_of(call: &Call, text: &DialogText) -> WireRequest {
    WireRequest {
        subject: text.subject,
        dialog: text.text.clone(),
        method: Method::Ack,
        cseq: call.local_cseq,
        branch: rand::random(),
        local_tag: text.tag,
        remote: None,
        body: None,
        privacy_id: false,
    }
}
