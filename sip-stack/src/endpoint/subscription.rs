//! Event notification (RFC 6665) as notifier: the conference package (RFC 4575), and what becomes of a REFER (RFC 3515).

use super::uas::Facts;
use super::{CallId, Dress, Endpoint, Event, Key, Outcome, Owner, Subscribe, request_in};
use crate::dialog::{DialogText, Flow};
use crate::message::compose::Payload;
use crate::message::headers::{Contact, Headers, SubscriptionState};
use crate::message::{Extensions, Hop, Method, Package, ReplyExtras, Target, WireRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vault::Index;

/// A subscription of somebody's. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u64);

/// How long a subscription lasts that does not say, and at most (RFC 4575 §3.4), s.
const USUAL: u32 = 3600;
/// Shorter ones are refused (RFC 6665 §4.2.1.1), s.
const LEAST: u32 = 60;

/// One subscription's dialog.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) flow: Flow,
    hop: Hop,
    local_tag: u64,
    peer: Index,
    remote_cseq: u32,
    local_cseq: u32,
    text: DialogText,
    contact: Contact,
    /// The SUBSCRIBE that waits for the user's word.
    pending: Option<Index>,
    /// A notification is on its way.
    busy: bool,
    expires: u32,
    ends: Instant,
}

impl Endpoint {
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        index: Index,
        flow: Flow,
        facts: Facts,
        says: Extensions,
        target: Target,
    ) {
        if says.event != Some(Package::Conference) {
            return self.respond(now, index, 489, ReplyExtras::default());
        }
        let expires = says.expires.unwrap_or(USUAL).min(USUAL);
        if (1..LEAST).contains(&expires) {
            return self.refuse(now, index, 423, Headers { min_expires: Some(LEAST), ..Headers::default() });
        }
        if !self.available || self.subscriptions.len() >= self.limits.subscriptions {
            return self.unavailable(now, index);
        }
        let Some(text) = facts.dialog else { return };
        let local_tag = rand::random();
        let text = DialogText::new(facts.subject, text, Some(local_tag));
        let contact = Contact { focus: Some(Arc::new(target)), secure: false };
        let id = SubscriptionId(self.next_call_id().0);
        let subscription = Subscription {
            flow,
            hop: facts.hop,
            local_tag,
            peer: facts.peer,
            remote_cseq: facts.cseq,
            local_cseq: 0,
            text,
            contact,
            pending: Some(index),
            busy: false,
            expires,
            ends: now + Duration::from_secs(expires.into()),
        };
        if let Some(transaction) = self.server.get_mut(&index) {
            transaction.tag = Some(local_tag);
        }
        self.subscriptions.insert(id, Box::new(subscription));
        self.events.push_back(Event::Subscribe(Box::new(Subscribe { subscription: id, flow, target })));
    }

    /// Takes a subscription (`Ok`), or refuses it with a status. Each that is taken is told the whole state at once, by
    /// [`Self::notify`].
    pub fn subscribed(&mut self, now: Instant, id: SubscriptionId, answer: Result<(), u16>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        let Some(index) = subscription.pending.take() else { return };
        match answer {
            Ok(()) => self.confirm(now, id, index),
            Err(status) => {
                self.respond(now, index, status, ReplyExtras::default());
                self.forget_subscription(id);
            }
        }
    }

    /// 200 to a SUBSCRIBE, and the time from which it counts.
    fn confirm(&mut self, now: Instant, id: SubscriptionId, index: Index) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        self.timers.remove_long(subscription.ends, Key::Subscription(id));
        subscription.ends = now + Duration::from_secs(subscription.expires.into());
        if subscription.expires > 0 {
            self.timers.add_long(subscription.ends, Key::Subscription(id));
        }
        let headers = Headers { expires: Some(subscription.expires), ..Headers::default() };
        let dress = Dress {
            contact: Some(subscription.contact.clone()),
            headers: Some(Box::new(headers)),
            ..Dress::default()
        };
        self.respond_with(now, index, 200, ReplyExtras::default(), dress);
    }

    /// A SUBSCRIBE with our tag: refreshes or ends a subscription. False: there is none such.
    pub(super) fn resubscribe(
        &mut self,
        now: Instant,
        index: Index,
        flow: Flow,
        tag: u64,
        facts: &Facts,
        says: Extensions,
    ) -> bool {
        let of = |s: &Subscription| s.local_tag == tag && s.peer == facts.peer;
        let Some((id, subscription)) = self.subscriptions.iter_mut().find(|(_, s)| of(s)) else {
            return false;
        };
        let id = *id;
        // RFC 3261 §12.2.2.
        if facts.cseq <= subscription.remote_cseq {
            self.respond(now, index, 500, ReplyExtras::default());
            return true;
        }
        let expires = says.expires.unwrap_or(USUAL).min(USUAL);
        if (1..LEAST).contains(&expires) {
            self.refuse(now, index, 423, Headers { min_expires: Some(LEAST), ..Headers::default() });
            return true;
        }
        (subscription.remote_cseq, subscription.flow) = (facts.cseq, flow);
        if !subscription.hop.routed {
            subscription.hop = facts.hop;
        }
        if let Some(text) = &facts.dialog {
            subscription.text = subscription.text.refreshed(facts.subject, text.clone());
        }
        subscription.expires = expires;
        self.confirm(now, id, index);
        match expires {
            0 => self.finish_subscription(now, id, "timeout"),
            // RFC 6665 §4.2.1.2: each SUBSCRIBE is answered by the whole state.
            _ => self.events.push_back(Event::Subscribe(Box::new(Subscribe {
                subscription: id,
                flow,
                target: self
                    .subscriptions
                    .get(&id)
                    .and_then(|s| s.contact.focus.as_deref().copied())
                    .unwrap_or(Target::Unknown),
            }))),
        }
        true
    }

    /// Tells a subscriber of the conference's state: a conference-info document (RFC 4575 §5) without anybody's name or number. Wait
    /// for [`Event::Notified`] before the next one. False: the subscription is over, busy, or not
    /// taken yet.
    pub fn notify(&mut self, now: Instant, id: SubscriptionId, document: Arc<str>) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return false };
        if subscription.pending.is_some() || std::mem::replace(&mut subscription.busy, true) {
            return false;
        }
        let left = subscription.ends.saturating_duration_since(now).as_secs() as u32;
        let over = subscription.expires == 0;
        let state =
            if over { SubscriptionState::Terminated("timeout") } else { SubscriptionState::Active(left) };
        self.send_notify(now, id, state, Payload::ConferenceInfo(document));
        if over {
            self.forget_subscription(id);
        }
        true
    }

    /// Ends a subscription: the conference is over.
    pub fn end_subscription(&mut self, now: Instant, id: SubscriptionId) {
        self.finish_subscription(now, id, "noresource");
    }

    pub(super) fn finish_subscription(&mut self, now: Instant, id: SubscriptionId, why: &'static str) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            if let Some(index) = subscription.pending.take() {
                self.respond(now, index, 480, ReplyExtras::default());
                return self.forget_subscription(id);
            }
            self.send_notify(now, id, SubscriptionState::Terminated(why), Payload::None);
            self.forget_subscription(id);
        }
    }

    /// Forgets a subscription and tells the user.
    fn forget_subscription(&mut self, id: SubscriptionId) {
        if let Some(subscription) = self.subscriptions.remove(&id) {
            self.timers.remove_long(subscription.ends, Key::Subscription(id));
            self.events.push_back(Event::Unsubscribed(id));
        }
    }

    fn send_notify(&mut self, now: Instant, id: SubscriptionId, state: SubscriptionState, body: Payload) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.local_cseq += 1;
        let DialogText { subject, text, tag, routes } = subscription.text.clone();
        let mut request = WireRequest::new(Method::Notify, (subject, text), tag, subscription.local_cseq);
        request.routes = routes;
        request.contact = Some(subscription.contact.clone());
        request.body = body;
        let headers = request.headers();
        (headers.event, headers.subscription) = (Some((Package::Conference, None)), Some(state));
        let flow = crate::dialog::Call::new(crate::dialog::Role::Server, subscription.flow, subscription.hop)
            .next_flow();
        self.send_request(now, Owner::Subscription(id), flow, request);
    }

    /// What a subscriber answered to a notification.
    pub(super) fn notified(&mut self, id: SubscriptionId, outcome: Outcome) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.busy = false;
        match outcome {
            Outcome::Status(200..=299) => self.events.push_back(Event::Notified(id)),
            // RFC 6665 §4.2.2: whoever does not take notifications has none any more.
            _ => self.forget_subscription(id),
        }
    }

    /// Answers a REFER: `Ok` and it is honoured (202, and the first notification), else a status of refusal.
    pub fn referred(&mut self, now: Instant, id: CallId, refer: u32, answer: Result<(), u16>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some((_, index)) = call.refer.take_if(|(cseq, _)| *cseq == refer) else { return };
        let contact = Some(call.contact.clone());
        match answer {
            Ok(()) => {
                self.respond_with(
                    now,
                    index,
                    202,
                    ReplyExtras::default(),
                    Dress { contact, ..Dress::default() },
                );
                self.refer_progress(now, id, refer, 100);
            }
            Err(status) => self.respond(now, index, status, ReplyExtras::default()),
        }
    }

    /// Tells who sent a REFER what became of it: the status of the call that we made; a final one ends it (RFC 3515 §2.4.5).
    pub fn refer_progress(&mut self, now: Instant, id: CallId, refer: u32, status: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(mut request) = request_in(call, Method::Notify) else { return };
        let flow = call.next_flow();
        request.body = Payload::Fragment(status);
        let headers = request.headers();
        headers.event = Some((Package::Refer, Some(refer)));
        headers.subscription = Some(match status {
            100..=199 => SubscriptionState::Active(LEAST),
            _ => SubscriptionState::Terminated("noresource"),
        });
        self.send_request(now, Owner::Call(id), flow, request);
    }
}
