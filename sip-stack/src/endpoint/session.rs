//! A call's session after its answer: kept alive (RFC 4028), changed by us (RFC 3261 §14.1) and by UPDATE (RFC 3311), with glare.

use super::uas::take_offer;
use super::{CallId, Cause, Dress, Endpoint, Event, Key, Outcome, Owner, Transmit, request_in};
use crate::dialog::{Change, Offer, Role, SessionTimer, State};
use crate::message::compose::Payload;
use crate::message::headers::Headers;
use crate::message::{
    Body, Extensions, Method, Options, Reason, Refresher, ReplyExtras, Response, SessionExpires, Wire,
};
use crate::sdp::LocalAudio;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vault::Index;

/// A re-INVITE needs nobody's attention: one without a final response after this has failed.
const CHANGE: Duration = Duration::from_secs(180);

/// How long sessions last without a refresh (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// What we ask for, s; 0: nothing, but what peers ask for is kept.
    pub expires: u32,
    /// The least that we take, s; at least 90 (RFC 4028 §5).
    pub min: u32,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self { expires: 1800, min: 90 }
    }
}

impl SessionPolicy {
    /// Whether a request asks for a shorter session than we take, and would understand that (RFC 4028 §9).
    pub(super) fn refuses(self, says: &Extensions) -> bool {
        says.supported.has(Options::TIMER) && says.session_expires.is_some_and(|s| s.seconds < self.min)
    }

    /// What a 2xx to a request says, and whether its sender must know of it.
    fn agree(self, says: &Extensions) -> Option<(SessionExpires, bool)> {
        let knows = says.supported.has(Options::TIMER);
        let asked = says.session_expires;
        let usual = if self.expires == 0 { asked?.seconds } else { self.expires };
        let least = self.min.max(says.min_se.unwrap_or(0));
        let seconds = asked.map_or(usual, |s| s.seconds.min(usual)).max(least);
        // Who does not know of it cannot refresh; who leaves it open gets it from us: a peer that forgets loses no calls.
        let refresher = match asked.and_then(|s| s.refresher).filter(|_| knows) {
            Some(Refresher::Uac) => Refresher::Uac,
            _ => Refresher::Uas,
        };
        let expires = SessionExpires { seconds, refresher: Some(refresher) };
        Some((expires, knows && refresher == Refresher::Uac))
    }
}

impl Endpoint {
    /// What the 2xx of a request that refreshes says of the session's time, which begins anew.
    pub(super) fn agree_on_time(&mut self, now: Instant, id: CallId, headers: &mut Headers) {
        let policy = self.limits.sessions;
        let Some(call) = self.calls.get_mut(&id) else { return };
        headers.session_id = call.session_id.as_deref().copied();
        let Some((expires, require)) = policy.agree(&call.peer_says) else { return };
        headers.session_expires = Some(expires);
        if require {
            headers.require = headers.require.with(Options::TIMER);
        }
        self.start_timer(now, id, expires.seconds, expires.refresher == Some(Refresher::Uas));
    }

    /// What the 2xx of a request of ours says of the session's time.
    pub(super) fn take_time(&mut self, now: Instant, id: CallId, says: &Extensions) {
        let asked = self.limits.sessions.expires;
        match says.session_expires {
            Some(s) => self.start_timer(now, id, s.seconds.max(90), s.refresher != Some(Refresher::Uas)),
            // RFC 4028 §7.2: the peer knows nothing of it; we refresh all the same.
            None if asked > 0 => self.start_timer(now, id, asked, true),
            None => {
                if let Some(timer) = self.calls.get_mut(&id).and_then(|c| c.timer.take()) {
                    self.timers.remove_long(timer.due, Key::Session(id, timer.generation));
                }
            }
        }
    }

    fn start_timer(&mut self, now: Instant, id: CallId, seconds: u32, ours: bool) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let generation = call.timer.map_or(0, |t| t.generation.wrapping_add(1));
        let ends = now + Duration::from_secs(seconds.into());
        // RFC 4028 §10: half the time before the next refresh; a little before the end it is over for who waits for one.
        let due = if ours { seconds / 2 } else { seconds - (seconds / 3).min(32) };
        let due = now + Duration::from_secs(due.into());
        if let Some(old) = call.timer.replace(SessionTimer { seconds, ours, generation, due, ends }) {
            self.timers.remove_long(old.due, Key::Session(id, old.generation));
        }
        self.timers.add_long(due, Key::Session(id, generation));
    }

    /// A session's time to be refreshed has come, or its end.
    pub(super) fn session_due(&mut self, now: Instant, id: CallId, generation: u32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(timer) = call.timer.as_mut().filter(|t| t.generation == generation) else { return };
        let last_moment = timer.ends - Duration::from_secs((timer.seconds / 3).min(32).into());
        if !timer.ours || now >= last_moment {
            return self.break_off(now, id, Cause::Expired, Reason { q850: Some(102), sip: Some(408) });
        }
        // Once more if this one comes to nothing.
        let next = now + (last_moment - now) / 2;
        timer.due = next.max(now + Duration::from_secs(1)).min(last_moment);
        self.timers.add_long(timer.due, Key::Session(id, generation));
        self.send_change(now, id, None, false);
    }

    /// Changes the session: a re-INVITE with our new description. [`Event::Modified`] or [`Event::NotModified`] follows while there is the
    /// call: the latter with 491 (Request Pending) where another change is on its way, or the call is not that far.
    pub fn modify(&mut self, now: Instant, id: CallId, rtp: SocketAddr, audio: LocalAudio) {
        if !self.send_change(now, id, Some((rtp, audio)), true) && self.calls.contains_key(&id) {
            self.events.push_back(Event::NotModified { call: id, status: 491 });
        }
    }

    fn send_change(
        &mut self,
        now: Instant,
        id: CallId,
        offer: Option<(SocketAddr, LocalAudio)>,
        asked: bool,
    ) -> bool {
        let asks_for = self.limits.sessions;
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let busy = call.change.is_some() || call.pending.is_some() || call.update.is_some();
        if busy || call.state != State::Confirmed || !matches!(call.offer, Offer::None) {
            return false;
        }
        // Without a change UPDATE is enough, for who takes it (RFC 4028 §7.4).
        let method = match offer {
            None if call.peer_says.allows_update == Some(true) => Method::Update,
            _ => Method::Invite,
        };
        let Some(mut request) = request_in(call, method) else { return false };
        if method == Method::Invite {
            let described = call.described().map(|local| (local.rtp, local.audio.clone(), local.place));
            let change = offer.clone().map(|(rtp, audio)| (rtp, audio, (0, 1)));
            let Some((rtp, audio, place)) = change.or(described) else { return false };
            request.body = Payload::Sdp(call.describe(rtp, audio, place));
            call.offer = Offer::Ours;
        }
        let seconds = call.timer.map_or(asks_for.expires, |t| t.seconds);
        if seconds > 0 {
            let refresher = call.timer.map(|t| if t.ours { Refresher::Uac } else { Refresher::Uas });
            let headers = request.headers();
            headers.session_expires = Some(SessionExpires { seconds, refresher });
            headers.min_se = Some(asks_for.min);
        }
        call.change = Some(Box::new(Change { branch: request.branch, offer, asked, waits: false }));
        let (flow, branch) = (call.next_flow(), request.branch);
        self.send_request(now, Owner::Call(id), flow, request);
        if method == Method::Invite {
            self.timers.add(now + CHANGE, Key::GivenUp(branch));
        }
        true
    }

    /// A change that met one of theirs is tried again.
    pub(super) fn retry_change(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(change) = call.change.take_if(|c| c.waits) else { return };
        if !self.send_change(now, id, change.offer.clone(), change.asked) {
            // Theirs is still being answered.
            if let Some(call) = self.calls.get_mut(&id) {
                call.change = Some(change);
                self.timers.add(now + Duration::from_millis(500), Key::Retry(id));
            }
        }
    }

    /// What was answered to a re-INVITE or UPDATE of ours; false when the response belongs to none.
    pub(super) fn changed(
        &mut self,
        now: Instant,
        id: CallId,
        branch: u64,
        method: Method,
        outcome: Outcome,
        response: Option<Response>,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let Some(mut change) = call.change.take_if(|c| c.branch == branch) else { return false };
        match outcome {
            Outcome::Status(200..=299) => self.change_taken(now, id, *change, method, response),
            Outcome::Status(491) => {
                call.offer = Offer::None;
                // RFC 3261 §14.1: who owns the Call-ID waits longer, so that they do not meet again; in steps of 10 ms.
                let steps = if call.role == Role::Client { 210..=400 } else { 0..=200 };
                let wait = Duration::from_millis(10 * rand::random_range(steps));
                change.waits = true;
                call.change = Some(change);
                self.timers.add(now + wait, Key::Retry(id));
            }
            // RFC 3261 §12.2.1.2, RFC 5057 §5.1: the dialog is gone.
            Outcome::Status(408 | 481) | Outcome::TimedOut => {
                self.break_off(now, id, Cause::TimedOut, Reason { q850: None, sip: Some(408) });
            }
            Outcome::Status(status) => {
                call.offer = Offer::None;
                if change.asked {
                    self.events.push_back(Event::NotModified { call: id, status });
                } else if status == 422 {
                    // Once: who wants no more than we asked for, and refuses, is not asked for ever.
                    let least = response.and_then(|r| r.extensions.min_se);
                    if let (Some(timer), Some(least)) = (&mut call.timer, least)
                        && least > timer.seconds
                    {
                        timer.seconds = least;
                        self.send_change(now, id, None, false);
                    }
                } else if method == Method::Update {
                    // It says that it takes UPDATE, but does not.
                    call.peer_says.allows_update = Some(false);
                    self.send_change(now, id, None, false);
                }
                // Else the next refresh may do better; at the end of its time the call is over.
            }
        }
        true
    }

    fn change_taken(
        &mut self,
        now: Instant,
        id: CallId,
        change: Change,
        method: Method,
        response: Option<Response>,
    ) {
        let (Some(response), Some(call)) = (response, self.calls.get_mut(&id)) else { return };
        call.offer = Offer::None;
        if let Some(text) = response.dialog.filter(|_| response.has_contact) {
            call.retarget(response.subject, Arc::new(text), response.hop);
        }
        if method == Method::Invite {
            self.acknowledge(id, response.cseq);
        }
        self.take_time(now, id, &response.extensions);
        match response.body {
            Body::Sdp(description) if change.asked => {
                self.events.push_back(Event::Modified { call: id, answer: description.session });
            }
            _ if change.asked => self.events.push_back(Event::NotModified { call: id, status: 200 }),
            _ => {}
        }
    }

    /// Acknowledges the 2xx to the INVITE with this CSeq, and remembers how (RFC 3261 §13.2.2.4).
    pub(super) fn acknowledge(&mut self, id: CallId, cseq: u32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(text) = call.text.clone() else { return };
        let ack = super::uac::ack_of(call, &text, cseq);
        call.acked = Some(Box::new(ack.clone()));
        let flow = call.next_flow();
        self.transmits.push_back(Transmit { flow, wire: Wire::Request(ack) });
    }

    /// An UPDATE came (RFC 3311 §5.2).
    pub(super) fn updated(&mut self, now: Instant, index: Index, id: CallId, body: Body) {
        let sessions = self.limits.sessions;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if sessions.refuses(&call.peer_says) {
            return self.too_short(now, index);
        }
        match body {
            Body::Empty => self.confirm_update(now, index, id, None),
            Body::Unusable => self.respond(now, index, 400, ReplyExtras::default()),
            Body::Sdp(_) => self.offered(now, index, id, body),
        }
    }

    /// An offer outside of an INVITE: in an UPDATE or PRACK.
    pub(super) fn offered(&mut self, now: Instant, index: Index, id: CallId, body: Body) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let waits = call.pending.is_some() && matches!(call.offer, Offer::Theirs { .. });
        if call.update.is_some() || waits {
            return self.later(now, index);
        }
        if matches!(call.offer, Offer::Ours) {
            return self.respond(now, index, 491, ReplyExtras::default());
        }
        match take_offer(call, body) {
            Ok(offer) => {
                call.update = Some(index);
                if let Some(transaction) = self.server.get_mut(&index) {
                    transaction.call = Some(id);
                }
                self.events.push_back(Event::Reinvite { call: id, offer });
            }
            Err(status) => self.respond(now, index, status, ReplyExtras::default()),
        }
    }

    /// The session would have to be refreshed too often (RFC 4028 §6).
    pub(super) fn too_short(&mut self, now: Instant, index: Index) {
        let min_se = Some(self.limits.sessions.min);
        self.refuse(now, index, 422, Headers { min_se, ..Headers::default() });
    }

    /// One change at a time (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn later(&mut self, now: Instant, index: Index) {
        let retry_after = Some(rand::random_range(0..=10));
        self.respond(now, index, 500, ReplyExtras { retry_after, ..ReplyExtras::default() });
    }

    /// 200 to an UPDATE or PRACK.
    pub(super) fn confirm_update(
        &mut self,
        now: Instant,
        index: Index,
        id: CallId,
        body: Option<(crate::sdp::Local, Option<Arc<vault::Sealed<vault::SignallingText>>>)>,
    ) {
        let mut headers = Headers::default();
        if self.calls.get(&id).is_some_and(|c| c.state != State::Early) {
            self.agree_on_time(now, id, &mut headers);
        }
        let contact = self.calls.get(&id).map(|c| c.contact.clone());
        let headers = (headers != Headers::default()).then(|| Box::new(headers));
        self.respond_with(now, index, 200, ReplyExtras::default(), Dress { contact, body, headers });
    }
}
