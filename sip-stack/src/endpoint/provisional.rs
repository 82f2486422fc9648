//! Provisional responses and their acknowledgement (RFC 3262), both sides.

use super::{CallId, Dress, Endpoint, Event, Key, Owner, Transmit};
use crate::dialog::{Deferred, Early, Flow, Offer, Reliable, State};
use crate::message::facts::RAck;
use crate::message::headers::Headers;
use crate::message::{Body, Hop, Method, Options, ReplyExtras, Response, Wire, WireRequest};
use crate::sdp::LocalAudio;
use std::net::SocketAddr;
use std::time::Instant;
use vault::Index;

/// Dialogs that a forked call of ours may have before it is answered.
const MOST_EARLY: usize = 8;

impl Endpoint {
    /// Tells the caller that it rings or that the session progresses: 101..=199, with our description for early media. Sent reliably to
    /// who requires that, and, with a description, to who supports it.
    pub fn progress(
        &mut self,
        now: Instant,
        id: CallId,
        status: u16,
        media: Option<(SocketAddr, LocalAudio)>,
    ) {
        let Some(call) = self.calls.get_mut(&id).filter(|c| c.state == State::Early) else { return };
        // One at a time (RFC 3262 §3); what comes meanwhile says nothing that the 2xx will not say.
        let Some(index) = call.pending.filter(|_| call.reliable.is_none()) else { return };
        let says = &call.peer_says;
        let reliable = status > 100
            && (says.required.has(Options::REL100) || media.is_some() && says.supported.has(Options::REL100));
        let mut dress = Dress { contact: Some(call.contact.clone()), ..Dress::default() };
        if let Some((rtp, audio)) = media {
            let (place, rejects) = match &call.offer {
                Offer::Theirs { rejects, place } => (*place, rejects.clone()),
                Offer::None | Offer::Ours => ((0, 1), None),
            };
            dress.body = Some((call.describe(rtp, audio, place), rejects));
            if reliable {
                call.described = true;
                call.offer =
                    if matches!(call.offer, Offer::Theirs { .. }) { Offer::None } else { Offer::Ours };
            }
        }
        let mut headers = Headers { session_id: call.session_id.as_deref().copied(), ..Headers::default() };
        if reliable {
            // RFC 3262 §3: the first number is a random one.
            call.rseq = if call.rseq == 0 { rand::random_range(1..1 << 31) } else { call.rseq + 1 };
            headers.rseq = Some(call.rseq);
            headers.require = Options::REL100;
        }
        let rseq = call.rseq;
        if headers != Headers::default() {
            dress.headers = Some(Box::new(headers));
        }
        self.respond_with(now, index, status, ReplyExtras::default(), dress);
        if !reliable {
            return;
        }
        let sent = self.server.get(&index).and_then(|t| Some((t.reply.clone()?, t.cseq)));
        if let (Some((reply, cseq)), Some(call)) = (sent, self.calls.get_mut(&id)) {
            let (interval, until) = (self.times.t1, now + self.times.t1 * 64);
            call.reliable = Some(Box::new(Reliable { reply, rseq, cseq, interval, until }));
            self.timers.add(now + interval, Key::Reliable(id, rseq));
        }
    }

    /// Keeps an answer until the reliable response before it is acknowledged (RFC 3262 §3). False: there is none.
    pub(super) fn defer(
        &mut self,
        id: CallId,
        rtp: SocketAddr,
        audio: &LocalAudio,
        extras: ReplyExtras,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&id).filter(|c| c.reliable.is_some()) else { return false };
        call.deferred = Some(Box::new(Deferred { rtp, audio: audio.clone(), extras }));
        true
    }

    /// Sends the answer that was kept, if nothing before it is open any more.
    pub(super) fn answer_deferred(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.reliable.is_none()
            && call.update.is_none()
            && let Some(Deferred { rtp, audio, extras }) = call.deferred.take().map(|d| *d)
        {
            self.accept_invite(now, id, rtp, audio, extras);
        }
    }

    /// The reliable response's turn to be sent again, or given up.
    pub(super) fn repeat_reliable(&mut self, now: Instant, id: CallId, rseq: u32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (flow, pending) = (call.flow, call.pending);
        let Some(reliable) = call.reliable.as_mut().filter(|r| r.rseq == rseq) else { return };
        if now >= reliable.until {
            // RFC 3262 §3: the INVITE is refused.
            (call.reliable, call.pending) = (None, None);
            self.end(now, id, super::Cause::NoAck);
            if let Some(index) = pending {
                self.respond(now, index, 504, ReplyExtras::default());
            }
            return;
        }
        reliable.interval *= 2;
        self.timers.add((now + reliable.interval).min(reliable.until), Key::Reliable(id, rseq));
        let reply = reliable.reply.clone();
        let flow = pending.and_then(|i| self.server.get(&i)).map_or(flow, |t| t.flow);
        self.transmits.push_back(Transmit { flow, wire: Wire::Reply(reply) });
    }

    /// A PRACK came.
    pub(super) fn pracked(&mut self, now: Instant, index: Index, id: CallId, rack: Option<RAck>, body: Body) {
        let Some(rack) = rack else { return self.respond(now, index, 400, ReplyExtras::default()) };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let fits = |r: &Reliable| (r.rseq, r.cseq, Method::Invite) == (rack.rseq, rack.cseq, rack.method);
        if call.reliable.take_if(|r| fits(r)).is_none() {
            return self.respond(now, index, 481, ReplyExtras::default());
        }
        let ours = matches!(call.offer, Offer::Ours);
        match body {
            Body::Unusable => self.respond(now, index, 400, ReplyExtras::default()),
            Body::Sdp(description) if ours => {
                call.offer = Offer::None;
                self.events.push_back(Event::EarlyAnswer { call: id, answer: description.session });
                self.respond(now, index, 200, ReplyExtras::default());
            }
            // RFC 3262 §5: an offer in a PRACK is answered in its 2xx.
            Body::Sdp(_) => self.offered(now, index, id, body),
            Body::Empty => self.respond(now, index, 200, ReplyExtras::default()),
        }
        self.answer_deferred(now, id);
    }

    /// A provisional response to our INVITE that made a dialog.
    pub(super) fn provisional(
        &mut self,
        now: Instant,
        flow: Flow,
        id: CallId,
        cseq: u32,
        response: Response,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (status, says) = (response.status, response.extensions);
        let mut told = None;
        if let Body::Sdp(description) = &response.body {
            told = Some(description.session.clone());
        }
        let event = |answer| Event::Progress { call: id, status, answer };
        let wants_prack = says.required.has(Options::REL100);
        let (Some(rseq), Some(text), true) = (says.rseq, response.dialog, wants_prack) else {
            self.events.push_back(event(told));
            return;
        };
        let attempt = call.attempt.get_or_insert_default();
        let place = match attempt.early.iter().position(|e| e.peer == response.peer) {
            // RFC 3262 §4: in order; repeated and early ones are passed over.
            Some(place) if attempt.early[place].rseq.checked_add(1) != Some(rseq) => return,
            Some(place) => place,
            None if attempt.early.len() >= MOST_EARLY => return,
            None => {
                attempt.early.push(Early { peer: response.peer, rseq, answer: None, cseq });
                attempt.early.len() - 1
            }
        };
        let early = &mut attempt.early[place];
        (early.rseq, early.cseq) = (rseq, early.cseq + 1);
        if let Some(session) = &told {
            early.answer = Some(Box::new(session.clone()));
        }
        call.local_cseq = call.local_cseq.max(early.cseq);
        let text = (response.subject, std::sync::Arc::new(text));
        let mut prack = WireRequest::new(Method::Prack, text, None, early.cseq);
        prack.headers().rack = Some(RAck { rseq, cseq, method: Method::Invite });
        prack.headers().session_id = call.session_id.as_deref().copied();
        let to = next_flow(flow, response.hop);
        self.events.push_back(event(told));
        self.send_request(now, Owner::Call(id), to, prack);
    }
}

/// Where requests of a dialog go that is not established yet.
fn next_flow(flow: Flow, hop: Hop) -> Flow {
    crate::dialog::Call::new(crate::dialog::Role::Client, flow, hop).next_flow()
}
