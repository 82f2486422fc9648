//! The endpoint as user agent server (RFC 3261 §8.2, §9.2, §13.3, §14.2, §15.1.2).

use super::{CallId, Cause, Endpoint, Event, Invite, Key, ServerMachine, ServerTransaction, Transmit};
use crate::dialog::{Call, DialogText, Flow, Offer, Repeat, Role, State};
use crate::message::facts::OurTag;
use crate::message::{Body, Method, Reply, ReplyExtras, Request, Wire};
use crate::sdp::{LocalAudio, Session};
use crate::transaction::{Input, ServerInvite, ServerOther};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use vault::Index;

impl Endpoint {
    pub(super) fn request(&mut self, now: Instant, flow: Flow, mut request: Request) {
        let reply_flow = Flow { remote: request.reply_to, ..flow };
        match request.method {
            Method::Ack => return self.ack(now, request),
            Method::Cancel => return self.cancelled(now, reply_flow, request),
            _ => {}
        }
        let index = request.transaction;
        if self.server.contains_key(&index) {
            self.counts.repeats += 1;
            return self.drive_server(now, index, Input::Again);
        }
        let tag = request.to_tag.is_none().then(rand::random);
        if self.server.len() >= self.limits.transactions {
            return self.refuse_without_state(reply_flow, request, 503);
        }
        // RFC 3261 §8.2.2.2: the same request that came another way.
        let merged = request.to_tag.is_none() && self.merges.contains_key(&request.merge);
        let machine = match request.method {
            Method::Invite => ServerMachine::Invite(ServerInvite::new(flow.reliable)),
            _ => ServerMachine::Other(ServerOther::new(flow.reliable)),
        };
        // The transaction keeps the echo, the call everything else.
        // Only an ACK has none, and it went its own way.
        let Some(echo) = request.echo.take().map(Arc::new) else { return };
        let transaction = ServerTransaction {
            machine,
            flow: reply_flow,
            echo,
            subject: request.subject,
            tag,
            merge: request.merge,
            cseq: request.cseq,
            call: None,
            reply: None,
        };
        self.server.insert(index, Box::new(transaction));
        if merged {
            return self.respond(now, index, 482, ReplyExtras::default());
        }
        if request.to_tag.is_none() {
            self.merges.insert(request.merge, index);
        }
        if let Some(fault) = request.fault {
            return self.respond(now, index, fault.0, ReplyExtras::default());
        }
        let known = match request.to_tag {
            None => None,
            Some(tag) => match self.call_of(tag, request.peer) {
                Some(call) => Some(call),
                None => return self.respond(now, index, 481, ReplyExtras::default()),
            },
        };
        if let Some(c) = known.and_then(|call| self.calls.get_mut(&call)) {
            // RFC 3261 §12.2.2: out of order.
            if request.cseq < c.remote_cseq {
                return self.respond(now, index, 500, ReplyExtras::default());
            }
            c.remote_cseq = request.cseq;
            c.flow = flow;
        }
        let body = std::mem::replace(&mut request.body, Body::Empty);
        let facts = Facts {
            subject: request.subject,
            dialog: request.dialog.map(Arc::new),
            hop: request.hop,
            peer: request.peer,
            cseq: request.cseq,
        };
        match (request.method, known) {
            (Method::Invite, None) => {
                self.invited(now, index, flow, facts, body, request.target, request.caller);
            }
            (Method::Invite, Some(call)) => self.reinvited(now, index, call, facts, body),
            (Method::Bye, Some(call)) => {
                self.respond(now, index, 200, ReplyExtras::default());
                if let Some(call) = self.end(call, Cause::Bye) {
                    self.abandon_pending(now, &call);
                }
            }
            (Method::Bye, None) => self.respond(now, index, 481, ReplyExtras::default()),
            (Method::Info, Some(call)) => {
                self.respond(now, index, 200, ReplyExtras::default());
                self.events.extend(request.key.map(|key| Event::Digit { call, key }));
            }
            (Method::Info, None) => self.respond(now, index, 481, ReplyExtras::default()),
            (Method::Options, _) if self.available => self.respond(now, index, 200, ReplyExtras::default()),
            (Method::Options, _) => self.unavailable(now, index),
            (Method::Unknown, _) => self.respond(now, index, 501, ReplyExtras::default()),
            _ => self.respond(now, index, 405, ReplyExtras::default()),
        }
    }

    fn unavailable(&mut self, now: Instant, index: Index) {
        let retry_after = Some(self.limits.retry_after);
        self.respond(now, index, 503, ReplyExtras { retry_after, ..ReplyExtras::default() });
    }

    fn refuse_without_state(&mut self, flow: Flow, request: Request, status: u16) {
        let Some(echo) = request.echo.map(Arc::new) else { return };
        self.counts.refused += 1;
        let reply = Reply {
            subject: request.subject,
            echo,
            status,
            to_tag: request.to_tag.is_none().then(rand::random),
            contact: None,
            body: None,
            extras: ReplyExtras {
                retry_after: (status == 503).then_some(self.limits.retry_after),
                ..ReplyExtras::default()
            },
        };
        self.transmits.push_back(Transmit { flow, wire: Wire::Reply(reply) });
    }

    /// The call with our tag, if the rest of the dialog id fits too.
    fn call_of(&self, tag: OurTag, peer: Index) -> Option<CallId> {
        let OurTag::Ours(tag) = tag else { return None };
        let id = *self.tags.get(&tag)?;
        (self.calls.get(&id)?.peer == Some(peer)).then_some(id)
    }

    #[allow(clippy::too_many_arguments)]
    fn invited(
        &mut self,
        now: Instant,
        index: Index,
        flow: Flow,
        facts: Facts,
        body: Body,
        target: crate::message::Target,
        caller: Option<crate::message::Caller>,
    ) {
        let full = self.calls.len() >= self.limits.calls || self.unanswered >= self.limits.unanswered;
        if !self.available || full {
            return self.unavailable(now, index);
        }
        let mut call = Call::new(Role::Server, flow, facts.hop);
        call.peer = Some(facts.peer);
        call.remote_cseq = facts.cseq;
        call.pending = Some(index);
        let offer = match take_offer(&mut call, body) {
            Ok(offer) => offer,
            Err(status) => return self.respond(now, index, status, ReplyExtras::default()),
        };
        let tag = call.local_tag;
        call.text = facts.dialog.map(|text| DialogText { subject: facts.subject, text, tag: Some(tag) });
        let (source, local) = (flow.remote, flow.local);
        let call = self.new_call(call);
        if let Some(transaction) = self.server.get_mut(&index) {
            transaction.call = Some(call);
            transaction.tag = Some(tag);
        }
        // RFC 3261 §17.2.1 allows 200 ms; the caller's retransmissions are stopped at once.
        self.respond(now, index, 100, ReplyExtras::default());
        let subject = facts.subject;
        let invite = Invite { call, source, local, target, offer, subject, caller };
        self.events.push_back(Event::Invite(Box::new(invite)));
    }

    fn reinvited(&mut self, now: Instant, index: Index, id: CallId, facts: Facts, body: Body) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        // RFC 3261 §14.2: one at a time.
        if call.pending.is_some() || call.state == State::Early {
            let retry_after = Some(rand::random_range(0..=10));
            return self.respond(now, index, 500, ReplyExtras { retry_after, ..ReplyExtras::default() });
        }
        let offer = match take_offer(call, body) {
            Ok(offer) => offer,
            Err(status) => return self.respond(now, index, status, ReplyExtras::default()),
        };
        call.pending = Some(index);
        let text = facts.dialog.map(|text| DialogText { subject: facts.subject, text, tag: None });
        call.refresh = text.map(|t| (t, facts.hop));
        if let Some(transaction) = self.server.get_mut(&index) {
            transaction.call = Some(id);
        }
        self.respond(now, index, 100, ReplyExtras::default());
        self.events.push_back(Event::Reinvite { call: id, offer });
    }

    /// CANCEL is answered without state: the INVITE's transaction tells everything (RFC 3261 §9.2).
    fn cancelled(&mut self, now: Instant, flow: Flow, request: Request) {
        let index = request.transaction;
        let Some(transaction) = self.server.get(&index) else {
            return self.refuse_without_state(flow, request, 481);
        };
        let proceeding = matches!(&transaction.machine, ServerMachine::Invite(m) if m.is_proceeding());
        let (tag, call) = (transaction.tag, transaction.call);
        let Some(echo) = request.echo.map(Arc::new) else { return };
        let reply = Reply {
            subject: request.subject,
            echo,
            status: 200,
            to_tag: tag.filter(|_| request.to_tag.is_none()),
            contact: None,
            body: None,
            extras: ReplyExtras::default(),
        };
        self.transmits.push_back(Transmit { flow, wire: Wire::Reply(reply) });
        if !proceeding {
            return;
        }
        self.respond(now, index, 487, ReplyExtras::default());
        let Some(call) = call else { return };
        match self.calls.get_mut(&call) {
            // A re-INVITE was cancelled: the call stays as it was.
            Some(c) if c.state != State::Early => {
                c.pending = None;
                c.refresh = None;
                c.offer = Offer::None;
            }
            _ => {
                self.end(call, Cause::Cancelled);
            }
        }
    }

    fn ack(&mut self, now: Instant, request: Request) {
        let index = request.transaction;
        let known = self.server.get(&index).map(|t| (t.call, &t.machine));
        let call = match known {
            // A peer without branches: its ACK of a 2xx has the INVITE's key.
            Some((call, ServerMachine::Invite(_))) => {
                self.drive_server(now, index, Input::Ack);
                call
            }
            _ => request.to_tag.and_then(|tag| self.call_of(tag, request.peer)),
        };
        let Some(id) = call else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.repeat.as_ref().is_none_or(|r| r.cseq != request.cseq) || request.fault.is_some() {
            return;
        }
        call.repeat = None;
        call.state = State::Confirmed;
        let ours = matches!(call.offer, Offer::Ours);
        call.offer = Offer::None;
        if call.bye_when_acked {
            if let Some(call) = self.end(id, Cause::Local) {
                self.bye(now, id, call);
            }
            return;
        }
        let answer = match request.body {
            Body::Sdp(description) if ours => Some(description.session),
            _ => None,
        };
        if ours && answer.is_none() {
            // Our offer was never answered: there is no session (RFC 3261 §13.2.1).
            if let Some(call) = self.end(id, Cause::NotAcceptable) {
                self.bye(now, id, call);
            }
            return;
        }
        self.events.push_back(Event::Acked { call: id, answer });
    }

    /// Tells the caller that it rings or that the session progresses: 180..=199.
    pub fn progress(&mut self, now: Instant, id: CallId, status: u16) {
        let Some(call) = self.calls.get(&id).filter(|c| c.state == State::Early) else { return };
        let (pending, contact) = (call.pending, call.flow.local);
        if let Some(index) = pending {
            self.respond_with(now, index, status, ReplyExtras::default(), Some(contact), None);
        }
    }

    /// Answers an INVITE or re-INVITE with 200 and our description: the answer to an offer, else an offer.
    pub fn accept(
        &mut self,
        now: Instant,
        id: CallId,
        rtp: SocketAddr,
        audio: LocalAudio,
        extras: ReplyExtras,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(index) = call.pending.take() else { return };
        let (place, rejects) = match std::mem::replace(&mut call.offer, Offer::None) {
            Offer::Theirs { rejects, place } => (place, rejects),
            Offer::None | Offer::Ours => {
                call.offer = Offer::Ours;
                ((0, 1), None)
            }
        };
        let local = call.describe(rtp, audio, place);
        if call.state == State::Early {
            call.state = State::Answered;
            self.unanswered -= 1;
        }
        if let Some((text, hop)) = call.refresh.take() {
            (call.text, call.hop) = (Some(text), hop);
        }
        let contact = call.flow.local;
        self.respond_with(now, index, 200, extras, Some(contact), Some((local, rejects)));
        let sent = self.server.get(&index).and_then(|t| Some((t.reply.clone()?, t.cseq)));
        if let (Some((reply, cseq)), Some(call)) = (sent, self.calls.get_mut(&id)) {
            let interval = self.times.t1;
            call.repeat = Some(Repeat { reply, cseq, interval, until: now + self.times.t1 * 64 });
            self.timers.add(now + interval, Key::Repeat(id));
        }
    }

    /// Refuses an INVITE (then the call is over, and [`Event::Ended`] says so) or a re-INVITE (then it stays as it was).
    pub fn reject(&mut self, now: Instant, id: CallId, status: u16, extras: ReplyExtras) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(index) = call.pending.take() else { return };
        call.offer = Offer::None;
        call.refresh = None;
        if call.state == State::Early {
            self.end(id, Cause::Local);
        }
        self.respond(now, index, status, extras);
    }

    /// The 2xx's turn to be sent again, or given up.
    pub(super) fn repeat(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(repeat) = &mut call.repeat else { return };
        if now >= repeat.until {
            // RFC 3261 §13.3.1.4: the session is there, so it ends with BYE.
            if let Some(call) = self.end(id, Cause::NoAck) {
                self.bye(now, id, call);
            }
            return;
        }
        repeat.interval = (repeat.interval * 2).min(self.times.t2);
        self.timers.add((now + repeat.interval).min(repeat.until), Key::Repeat(id));
        let wire = Wire::Reply(repeat.reply.clone());
        self.transmits.push_back(Transmit { flow: call.flow, wire });
    }
}

/// What an INVITE says besides its body and caller.
struct Facts {
    subject: u64,
    dialog: Option<Arc<vault::Sealed<vault::SignallingText>>>,
    hop: crate::message::Hop,
    peer: Index,
    cseq: u32,
}

/// Notes whose offer is open; the status to refuse with when the body is no description.
fn take_offer(call: &mut Call, body: Body) -> Result<Option<Session>, u16> {
    match body {
        Body::Empty => {
            call.offer = Offer::None;
            Ok(None)
        }
        Body::Unusable => Err(400),
        Body::Sdp(description) => {
            let session = description.session;
            let place = (session.audio.as_ref().map_or(0, |a| a.index), session.lines);
            call.offer = Offer::Theirs { rejects: description.rejects.map(Arc::new), place };
            Ok(Some(session))
        }
    }
}
