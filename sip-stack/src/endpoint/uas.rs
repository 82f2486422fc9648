//! The endpoint as user agent server (RFC 3261 §8.2, §9.2, §13.3, §14.2, §15.1.2).

use super::guard::Verdict;
use super::{CallId, Cause, Dress, Endpoint, Event, Invite, Key, ServerMachine, ServerTransaction, Transmit};
use crate::dialog::{Call, DialogText, Flow, Offer, Repeat, Role, State};
use crate::message::facts::OurTag;
use crate::message::headers::Headers;
use crate::message::{Body, Method, Reason, Replaces, Reply, ReplyExtras, Request, Target, TrunkId, Wire};
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
        if let Some(transaction) = self.server.get_mut(&index) {
            self.counts.repeats += 1;
            // Over another stream than before: the one before may be gone (RFC 3261 §18.2.2).
            if flow.protocol.is_reliable() {
                transaction.flow = reply_flow;
            }
            return self.drive_server(now, index, Input::Again);
        }
        let verdict = self.guard.judge(now, flow.remote.ip(), request.auth);
        if verdict == Verdict::LockedOut {
            self.counts.locked_out += 1;
            return;
        }
        let tag = request.to_tag.is_none().then(rand::random);
        if self.server.len() >= self.limits.transactions {
            return self.refuse_without_state(reply_flow, request, 503);
        }
        // RFC 3261 §8.2.2.2: the same request that came another way.
        let merged = request.to_tag.is_none() && self.merges.contains_key(&request.merge);
        let machine = match request.method {
            Method::Invite => ServerMachine::Invite(ServerInvite::new(flow.protocol.is_reliable())),
            _ => ServerMachine::Other(ServerOther::new(flow.protocol.is_reliable())),
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
        if let Verdict::Challenge(nonce, stale) = verdict {
            self.counts.unauthorised += 1;
            let headers = Headers { challenge: Some((nonce, stale)), ..Headers::default() };
            return self.refuse(now, index, 401, headers);
        }
        if let Some(fault) = request.fault {
            // RFC 3261 §21.4.7, §21.4.13: which body would be understood.
            let accept = matches!(fault.0, 406 | 415).then(|| accepted_bodies(request.method));
            return self.refuse(now, index, fault.0, Headers { accept, ..Headers::default() });
        }
        let facts = Facts {
            subject: request.subject,
            dialog: request.dialog.take().map(Arc::new),
            hop: request.hop,
            peer: request.peer,
            cseq: request.cseq,
        };
        let says = request.extensions;
        let known = match request.to_tag {
            None => None,
            Some(tag) => match (self.call_of(tag, request.peer), tag) {
                (Some(call), _) => Some(call),
                (None, OurTag::Ours(tag))
                    if request.method == Method::Subscribe
                        && self.resubscribe(now, index, flow, tag, &facts, says) =>
                {
                    return;
                }
                (None, _) => return self.respond(now, index, 481, ReplyExtras::default()),
            },
        };
        if let Some(c) = known.and_then(|call| self.calls.get_mut(&call)) {
            // RFC 3261 §12.2.2: out of order.
            if request.cseq < c.remote_cseq {
                return self.respond(now, index, 500, ReplyExtras::default());
            }
            c.remote_cseq = request.cseq;
            c.flow = flow;
            // What the INVITE said counts until it is answered.
            if matches!(request.method, Method::Invite | Method::Update) && c.state != State::Early {
                c.peer_says = crate::message::Extensions {
                    allows_update: says.allows_update.or(c.peer_says.allows_update),
                    ..says
                };
            }
        }
        let body = std::mem::replace(&mut request.body, Body::Empty);
        match (request.method, known) {
            (Method::Invite, None) => self.invited(now, index, flow, facts, body, request),
            (Method::Invite, Some(call)) => self.reinvited(now, index, call, facts, body),
            (Method::Update, Some(call)) => {
                if let (Some(text), Some(c)) = (facts.dialog, self.calls.get_mut(&call)) {
                    // RFC 3311 §5.1: a target refresh.
                    c.retarget(facts.subject, text, facts.hop);
                }
                self.updated(now, index, call, body);
            }
            (Method::Prack, Some(call)) => self.pracked(now, index, call, says.rack, body),
            (Method::Bye, Some(id)) => {
                self.respond(now, index, 200, ReplyExtras::default());
                self.end_with(now, id, Cause::Bye, says.reason, None);
            }
            (Method::Refer, Some(call)) => {
                // RFC 7332 §4: what makes us call somebody else counts as passing on.
                if says.max_forwards == Some(0) {
                    return self.respond(now, index, 483, ReplyExtras::default());
                }
                let Some(to) = request.refer_to.map(Box::new) else { return };
                let (refer, subject) = (request.cseq, request.subject);
                match self.calls.get_mut(&call).map(|c| &mut c.refer) {
                    Some(Some(_)) | None => return self.later(now, index),
                    Some(waiting) => *waiting = Some((refer, index)),
                }
                self.events.push_back(Event::Refer { call, refer, subject, to });
            }
            // Somebody who is in no call of ours has nobody call for them.
            (Method::Refer, None) => self.respond(now, index, 403, ReplyExtras::default()),
            (Method::Subscribe, None) => self.subscribe(now, index, flow, facts, says, request.target),
            // A subscription has a dialog of its own (RFC 6665 §4.5.1).
            (Method::Subscribe, Some(_)) => self.respond(now, index, 403, ReplyExtras::default()),
            // We subscribe to nothing.
            (Method::Notify, _) => self.respond(now, index, 481, ReplyExtras::default()),
            (Method::Bye | Method::Update | Method::Prack, None) => {
                self.respond(now, index, 481, ReplyExtras::default());
            }
            (Method::Info, Some(call)) => {
                self.respond(now, index, 200, ReplyExtras::default());
                self.events.extend(request.key.map(|key| Event::Digit { call, key }));
            }
            (Method::Info, None) => self.respond(now, index, 481, ReplyExtras::default()),
            // Who asks whether we are there wants to know whether a call would be taken.
            (Method::Options, _) if self.available && self.calls.len() < self.limits.calls => {
                self.respond(now, index, 200, ReplyExtras::default());
            }
            (Method::Options, _) => self.unavailable(now, index),
            (Method::Unknown, _) => self.respond(now, index, 501, ReplyExtras::default()),
            _ => self.respond(now, index, 405, ReplyExtras::default()),
        }
    }

    pub(super) fn unavailable(&mut self, now: Instant, index: Index) {
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
            headers: None,
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

    fn invited(
        &mut self,
        now: Instant,
        index: Index,
        flow: Flow,
        facts: Facts,
        body: Body,
        request: Request,
    ) {
        let Request { target, caller, extensions, replaces, trunk, .. } = request;
        let full = self.calls.len() >= self.limits.calls || self.unanswered >= self.limits.unanswered;
        if !self.available || full {
            return self.unavailable(now, index);
        }
        if !self.guard.admits(now, trunk) {
            self.counts.over_limit += 1;
            return self.unavailable(now, index);
        }
        if self.limits.sessions.refuses(&extensions) {
            return self.too_short(now, index);
        }
        if target == Target::Ambiguous {
            return self.respond(now, index, 485, ReplyExtras::default());
        }
        let replaces = match replaces.map(|r| self.replaced(r, trunk)).transpose() {
            Ok(replaces) => replaces,
            Err(status) => return self.respond(now, index, status, ReplyExtras::default()),
        };
        let mut call = Call::new(Role::Server, flow, facts.hop);
        call.called(target);
        call.contact.secure = request.secure;
        call.peer_says = extensions;
        call.session_id = extensions.session_id.map(|theirs| Box::new((rand::random(), theirs)));
        call.peer = Some(facts.peer);
        call.remote_cseq = facts.cseq;
        call.pending = Some(index);
        let offer = match take_offer(&mut call, body) {
            Ok(offer) => offer,
            Err(status) => return self.respond(now, index, status, ReplyExtras::default()),
        };
        let tag = call.local_tag;
        call.text = facts.dialog.map(|text| DialogText::new(facts.subject, text, Some(tag)));
        let (source, local) = (flow.remote, flow.local);
        let id = self.next_call_id();
        let call = self.new_call(id, call);
        if let Some(transaction) = self.server.get_mut(&index) {
            transaction.call = Some(call);
            transaction.tag = Some(tag);
        }
        // RFC 3261 §17.2.1 allows 200 ms; the caller's retransmissions are stopped at once.
        self.respond(now, index, 100, ReplyExtras::default());
        let subject = facts.subject;
        let invite =
            Invite { call, source, local, target, offer, subject, caller, flow, extensions, replaces };
        self.events.push_back(Event::Invite(Box::new(invite)));
    }

    /// The call that a new one takes the place of (RFC 3891 §3), or the status of refusal.
    fn replaced(&self, replaces: Replaces, trunk: TrunkId) -> Result<CallId, u16> {
        let id = self.call_of(replaces.to_tag, replaces.peer).ok_or(481u16)?;
        // One carrier's calls are no other's to take (RFC 3891 §3: authorised).
        if self.calls.get(&id).is_some_and(|c| c.flow.trunk != trunk) {
            return Err(403);
        }
        match self.calls.get(&id).map(|c| (c.state, c.role)) {
            // An early dialog only of the side that calls.
            Some((State::Early, Role::Server)) | None => Err(481),
            Some((State::Early, Role::Client)) => Ok(id),
            Some(_) if replaces.early_only => Err(486),
            Some(_) => Ok(id),
        }
    }

    fn reinvited(&mut self, now: Instant, index: Index, id: CallId, facts: Facts, body: Body) {
        let sessions = self.limits.sessions;
        let Some(call) = self.calls.get_mut(&id) else { return };
        // RFC 3261 §14.2: glare.
        if call.change.as_ref().is_some_and(|c| !c.waits) {
            return self.respond(now, index, 491, ReplyExtras::default());
        }
        if sessions.refuses(&call.peer_says) {
            return self.too_short(now, index);
        }
        // RFC 3261 §14.2: one at a time.
        if call.pending.is_some() || call.update.is_some() || call.state == State::Early {
            return self.later(now, index);
        }
        let offer = match take_offer(call, body) {
            Ok(offer) => offer,
            Err(status) => return self.respond(now, index, status, ReplyExtras::default()),
        };
        call.pending = Some(index);
        call.refresh = facts.dialog.map(|text| (facts.subject, text, facts.hop));
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
            headers: None,
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
            early => {
                if let Some(c) = early {
                    c.pending = None;
                }
                self.end_with(now, call, Cause::Cancelled, request.extensions.reason, None);
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
        // An UPDATE may have overtaken the ACK: its offer stays open.
        if ours {
            call.offer = Offer::None;
        }
        if call.bye_when_acked {
            return self.break_off(now, id, Cause::Local, Reason::default());
        }
        let answer = match request.body {
            Body::Sdp(description) if ours => Some(description.session),
            _ => None,
        };
        if ours && answer.is_none() {
            // Our offer was never answered: there is no session (RFC 3261 §13.2.1).
            return self.break_off(now, id, Cause::NotAcceptable, Reason::default());
        }
        self.events.push_back(Event::Acked { call: id, answer });
    }

    /// Answers an INVITE, re-INVITE or UPDATE with 200 and our description: the answer to an offer, else an offer. An INVITE's answer
    /// waits until a reliable provisional response before it is acknowledged.
    pub fn accept(
        &mut self,
        now: Instant,
        id: CallId,
        rtp: SocketAddr,
        audio: LocalAudio,
        extras: ReplyExtras,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(index) = call.update.take() {
            let offer = std::mem::replace(&mut call.offer, Offer::None);
            let Offer::Theirs { rejects, place } = offer else { return self.later(now, index) };
            let local = call.describe(rtp, audio, place);
            self.confirm_update(now, index, id, Some((local, rejects)));
            return self.answer_deferred(now, id);
        }
        if !self.defer(id, rtp, &audio, extras) {
            self.accept_invite(now, id, rtp, audio, extras);
        }
    }

    pub(super) fn accept_invite(
        &mut self,
        now: Instant,
        id: CallId,
        rtp: SocketAddr,
        audio: LocalAudio,
        extras: ReplyExtras,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(index) = call.pending.take() else { return };
        let described = std::mem::take(&mut call.described);
        let (place, rejects) = match std::mem::replace(&mut call.offer, Offer::None) {
            Offer::Theirs { rejects, place } => (place, rejects),
            _ if described => ((0, 1), None),
            Offer::None | Offer::Ours => {
                call.offer = Offer::Ours;
                ((0, 1), None)
            }
        };
        let body = (!described).then(|| (call.describe(rtp, audio, place), rejects));
        if call.state == State::Early {
            call.state = State::Answered;
            self.unanswered -= 1;
        }
        if let Some((subject, text, hop)) = call.refresh.take() {
            call.retarget(subject, text, hop);
        }
        let contact = Some(call.contact.clone());
        let mut headers = Headers::default();
        self.agree_on_time(now, id, &mut headers);
        let headers = (headers != Headers::default()).then(|| Box::new(headers));
        self.respond_with(now, index, 200, extras, Dress { contact, body, headers });
        let sent = self.server.get(&index).and_then(|t| Some((t.reply.clone()?, t.cseq)));
        if let (Some((reply, cseq)), Some(call)) = (sent, self.calls.get_mut(&id)) {
            let interval = self.times.t1;
            let until = now + self.times.t1 * 64;
            call.repeat = Some(Box::new(Repeat { reply, cseq, interval, until }));
            self.timers.add(now + interval, Key::Repeat(id));
        }
    }

    /// Refuses an INVITE (then the call is over, and [`Event::Ended`] says so), a re-INVITE or an UPDATE (then it stays as it was).
    pub fn reject(&mut self, now: Instant, id: CallId, status: u16, extras: ReplyExtras) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(index) = call.update.take() {
            call.offer = Offer::None;
            self.respond(now, index, status, extras);
            return self.answer_deferred(now, id);
        }
        let Some(index) = call.pending.take() else { return };
        call.offer = Offer::None;
        call.refresh = None;
        if call.state == State::Early {
            self.end(now, id, Cause::Local);
        }
        self.respond(now, index, status, extras);
    }

    /// The 2xx's turn to be sent again, or given up.
    pub(super) fn repeat(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(repeat) = &mut call.repeat else { return };
        if now >= repeat.until {
            // RFC 3261 §13.3.1.4: the session is there, so it ends with BYE.
            return self.break_off(now, id, Cause::NoAck, Reason { q850: None, sip: Some(408) });
        }
        repeat.interval = (repeat.interval * 2).min(self.times.t2);
        self.timers.add((now + repeat.interval).min(repeat.until), Key::Repeat(id));
        let wire = Wire::Reply(repeat.reply.clone());
        self.transmits.push_back(Transmit { flow: call.flow, wire });
    }
}

/// What an INVITE says besides its body and caller.
pub(super) struct Facts {
    pub(super) subject: u64,
    pub(super) dialog: Option<Arc<vault::Sealed<vault::SignallingText>>>,
    pub(super) hop: crate::message::Hop,
    pub(super) peer: Index,
    pub(super) cseq: u32,
}

/// The bodies that a method may have (RFC 3261 §20.1).
fn accepted_bodies(method: Method) -> &'static str {
    match method {
        Method::Info => "application/dtmf-relay, application/dtmf",
        Method::Subscribe => "application/conference-info+xml",
        _ => "application/sdp",
    }
}

/// Notes whose offer is open; the status to refuse with when the body is no description.
pub(super) fn take_offer(call: &mut Call, body: Body) -> Result<Option<Session>, u16> {
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
