//! Who is told of the conference's state by SIP (RFC 4575).

use super::Focus;
use crate::roster::Package;
use sip_stack::dialog::Flow;
use sip_stack::endpoint::SubscriptionId;
use sip_stack::transport::Command;
use std::time::Duration;

/// A subscriber is told of changes no more often than this (RFC 4575 §3.9).
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// Subscribers of a conference at most.
const MOST: usize = 100;

pub(super) struct Subscriber {
    id: SubscriptionId,
    package: Package,
    /// What this conference is called on its side.
    entity: String,
    /// A document is on its way.
    busy: bool,
    told: Option<tokio::time::Instant>,
}

impl Focus {
    /// Somebody subscribes, or does so anew: the whole state follows at once.
    pub(super) fn subscribe(&mut self, id: SubscriptionId, flow: Flow) {
        let place = match self.subscribers.iter().position(|s| s.id == id) {
            Some(place) => place,
            None if self.subscribers.len() >= MOST => return self.tell(Command::Subscribed(id, Err(503))),
            None => {
                self.tell(Command::Subscribed(id, Ok(())));
                let entity = format!("sip:{}@{}", self.plan.id, flow.local);
                let package = Package::default();
                self.subscribers.push(Subscriber { id, package, entity, busy: false, told: None });
                self.subscribers.len() - 1
            }
        };
        let known = &mut self.subscribers[place];
        known.package.anew();
        known.told = None;
        self.tell_subscribers();
    }

    /// A subscriber took what it was told.
    pub(super) fn notified(&mut self, id: SubscriptionId) {
        if let Some(subscriber) = self.subscribers.iter_mut().find(|s| s.id == id) {
            subscriber.busy = false;
        }
        self.tell_subscribers();
    }

    pub(super) fn unsubscribed(&mut self, id: SubscriptionId) {
        self.subscribers.retain(|s| s.id != id);
    }

    /// Tells those of what is new who may be told now.
    pub(super) fn tell_subscribers(&mut self) {
        let now = tokio::time::Instant::now();
        let may = |s: &Subscriber| s.package.has_more() || s.told.is_none_or(|told| now >= told + INTERVAL);
        let due = |s: &Subscriber| !s.busy && may(s);
        let mut documents = Vec::new();
        for subscriber in self.subscribers.iter_mut().filter(|s| due(s)) {
            if let Some(document) = subscriber.package.next(&self.roster, &subscriber.entity) {
                (subscriber.busy, subscriber.told) = (true, Some(now));
                documents.push(Command::Notify(subscriber.id, document.into()));
            }
        }
        documents.into_iter().for_each(|document| self.tell(document));
    }

    /// When somebody may be told again of what may be new.
    pub(super) fn next_telling(&self) -> Option<tokio::time::Instant> {
        let idle = self.subscribers.iter().filter(|s| !s.busy && s.package.is_behind(&self.roster));
        idle.filter_map(|s| s.told).map(|told| told + INTERVAL).min()
    }

    /// The conference is over.
    pub(super) fn end_subscriptions(&mut self) {
        for subscriber in std::mem::take(&mut self.subscribers) {
            self.tell(Command::EndSubscription(subscriber.id));
        }
    }
}
