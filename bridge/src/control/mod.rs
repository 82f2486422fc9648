//! Calls and conferences: each SIP event and media notice goes to the focus that it concerns.

use crate::focus::{self, Arrival, House, Idle, ToControl, ToFocus};
use crate::prompt::Turned;
use crate::routing::Plan;
use dashmap::DashMap;
use media::RoomId;
use media::engine::Events;
use sip_stack::endpoint::{Event, Invite, Subscribe, SubscriptionId};
use sip_stack::message::{Callee, ReplyExtras};
use sip_stack::transport::Command;
use sip_stack::{CallId, Dialled, Target};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The conferences that there are now.
#[derive(Debug, Default)]
pub struct Registry {
    by_id: DashMap<String, Entry>,
    by_room: DashMap<RoomId, mpsc::Sender<ToFocus>>,
    draining: AtomicBool,
    /// How control is told.
    wishes: OnceLock<mpsc::UnboundedSender<ToControl>>,
    /// Calls handed to a conference since the start.
    pub routed: AtomicU64,
    /// Calls for numbers that are not ours.
    pub unknown_number: AtomicU64,
    /// How often hosts were told, or would have been, that somebody guesses PINs.
    pub guessed: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    room: RoomId,
    inbox: mpsc::Sender<ToFocus>,
    joins: u64,
}

impl Registry {
    /// The focus of a conference.
    pub fn find(&self, id: &str) -> Option<mpsc::Sender<ToFocus>> {
        self.by_id.get(id).map(|e| e.inbox.clone())
    }

    /// The inbox of a conference to which a [`ToFocus::Dial`] follows. One that is not there begins, if there may be one with this id.
    pub async fn enter(&self, id: &str) -> Option<mpsc::Sender<ToFocus>> {
        if let Some(mut entry) = self.by_id.get_mut(id) {
            entry.joins += 1;
            return Some(entry.inbox.clone());
        }
        let (reply, begun) = oneshot::channel();
        self.wishes.get()?.send(ToControl::Begin(id.to_owned(), reply)).ok()?;
        begun.await.ok()
    }

    /// Everybody who has calls: conferences, and receptions of calls that are in none yet.
    fn rooms(&self) -> Vec<mpsc::Sender<ToFocus>> {
        self.by_room.iter().map(|inbox| inbox.clone()).collect()
    }

    /// All conferences' inboxes.
    pub fn all(&self) -> Vec<mpsc::Sender<ToFocus>> {
        self.by_id.iter().map(|e| e.inbox.clone()).collect()
    }

    /// Conferences now.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether the house is being closed.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The task that gives every SIP event to its focus. Ends with the worker.
pub async fn run(house: Arc<House>, registry: Arc<Registry>, mut events: mpsc::UnboundedReceiver<Event>) {
    let (told, mut told_in) = mpsc::unbounded_channel();
    let (calls, subscriptions) = (HashMap::new(), HashMap::new());
    // Once: there is one control.
    let _ = registry.wishes.set(told.clone());
    let mut control = Control { house, registry, told, calls, subscriptions };
    loop {
        tokio::select! {
            // What a focus tells of a call of its own comes before what happens to it.
            biased;
            Some(told) = told_in.recv() => match told {
                ToControl::Idle(idle) => control.idle(idle),
                ToControl::Dialled(call, room) => control.dialled(call, room),
                ToControl::Begin(id, reply) => control.begin(&id, reply),
                ToControl::Find(id, reply) => {
                    // Who asked may have gone.
                    control.registry.find(&id).map(|inbox| reply.send(inbox));
                }
                ToControl::Enter(plan, arrival) => control.enter(plan, arrival).await,
                ToControl::Received(room) => control.received(room),
                ToControl::Opened(room, of) => control.opened(room, of),
                ToControl::Closed(room) => drop(control.registry.by_room.remove(&room)),
                ToControl::Guessed(id) => control.guessed(&id).await,
            },
            event = events.recv() => match event {
                Some(event) => control.event(event).await,
                None => return,
            },
        }
    }
}

/// The task that gives one shard's notices to their focuses. Ends with the shard.
pub async fn notices(registry: Arc<Registry>, mut events: Events) {
    while let Some(event) = events.next().await {
        let Some(inbox) = registry.by_room.get(&event.room).map(|i| i.clone()) else { continue };
        // A focus that is behind gets the next level or report instead.
        let _ = inbox.try_send(ToFocus::Notice(event.leg, event.notice));
    }
    tracing::error!("a media shard has ended");
}

/// Takes no new calls, waits until the last has ended or `at_most` has passed, then hangs up what is left.
pub async fn drain(house: &House, registry: &Registry, at_most: Duration) {
    registry.draining.store(true, Ordering::Relaxed);
    house.dialler.stop();
    // The worker ends only with the house.
    let _ = house.sip.tell(Command::Available(false));
    let mut browsers = house.browsers.subscribe();
    let all_gone = async {
        house.sip.no_calls().await;
        // The house outlives this.
        let _ = browsers.wait_for(|n| *n == 0).await;
    };
    if tokio::time::timeout(at_most, all_gone).await.is_ok() {
        return;
    }
    for inbox in registry.rooms() {
        let _ = inbox.send(ToFocus::HangUp).await;
    }
    // A call whose ACK is still to come is hung up then; that is awaited, but not for ever.
    let _ = tokio::time::timeout(Duration::from_secs(2), house.sip.no_calls()).await;
}

struct Control {
    house: Arc<House>,
    registry: Arc<Registry>,
    told: mpsc::UnboundedSender<ToControl>,
    calls: HashMap<CallId, mpsc::Sender<ToFocus>>,
    subscriptions: HashMap<SubscriptionId, mpsc::Sender<ToFocus>>,
}

impl Control {
    async fn event(&mut self, event: Event) {
        let (call, message) = match event {
            Event::Invite(invite) => return self.invite(invite).await,
            Event::Reinvite { call, offer } => (call, ToFocus::Reinvite(call, offer)),
            Event::Digit { call, key } => (call, ToFocus::Digit(call, key)),
            Event::Acked { call, answer } => (call, ToFocus::Acked(call, answer)),
            Event::Ended { call, cause, retry_after, .. } => {
                let Some(inbox) = self.calls.remove(&call) else { return };
                let _ = inbox.send(ToFocus::Ended(call, cause, retry_after)).await;
                return;
            }
            Event::EarlyAnswer { call, answer } => (call, ToFocus::Acked(call, Some(answer))),
            Event::Refer { call, refer, subject, to } => {
                // A call that would take the place of another is not ours to make.
                let number = to.number.filter(|_| !to.replaces);
                (call, ToFocus::Refer(call, refer, number.map(|number| Callee { subject, number })))
            }
            Event::Subscribe(subscribe) => return self.subscribe(*subscribe).await,
            Event::Notified(id) => {
                if let Some(inbox) = self.subscriptions.get(&id) {
                    let _ = inbox.send(ToFocus::Notified(id)).await;
                }
                return;
            }
            Event::Unsubscribed(id) => {
                if let Some(inbox) = self.subscriptions.remove(&id) {
                    let _ = inbox.send(ToFocus::Unsubscribed(id)).await;
                }
                return;
            }
            // What is played before the answer is for who calls, not for a meeting.
            Event::Progress { call, status, .. } => (call, ToFocus::Rings(call, status)),
            Event::Answered { call, answer } => (call, ToFocus::Answered(call, answer)),
            Event::Modified { call, answer } => (call, ToFocus::Modified(call, Some(answer))),
            Event::NotModified { call, .. } => (call, ToFocus::Modified(call, None)),
            // The worker keeps it for who asked.
            Event::Pong { .. } => return,
        };
        if let Some(inbox) = self.calls.get(&call) {
            // A focus that has ended has no calls.
            let _ = inbox.send(message).await;
        }
    }

    async fn invite(&mut self, invite: Box<Invite>) {
        let call = invite.call;
        if let (Target::Listen(number), None) = (invite.target, invite.replaces) {
            return self.listen(invite, number).await;
        }
        if let Some(inbox) = invite.replaces.and_then(|old| self.calls.get(&old)).cloned() {
            return self.replace(invite, inbox).await;
        }
        let plan = self.house.routing.find(invite.target);
        if plan.as_ref().map_or(self.house.routing.asks(invite.target), |plan| plan.pins.are_asked_for()) {
            return self.receive(invite, plan);
        }
        let Some(plan) = plan else {
            self.registry.unknown_number.fetch_add(1, Ordering::Relaxed);
            return self.reject(call, 404);
        };
        let Some(inbox) = self.open(plan) else { return self.reject(call, 503) };
        self.registry.routed.fetch_add(1, Ordering::Relaxed);
        self.calls.insert(call, inbox.clone());
        let _ = inbox.send(ToFocus::Join(invite, None)).await;
    }

    /// A call whose caller has to say where they want to go, or show that they may.
    fn receive(&mut self, invite: Box<Invite>, plan: Option<Plan>) {
        let (call, room) = (invite.call, self.house.new_room());
        match focus::receive(self.house.clone(), room, invite, plan, self.told.clone()) {
            Ok(inbox) => {
                self.registry.by_room.insert(room, inbox.clone());
                self.calls.insert(call, inbox);
            }
            Err(e) => {
                tracing::warn!(error = %e, "a call was refused");
                self.reject(call, 503);
            }
        }
    }

    /// Somebody comes out of the reception.
    async fn enter(&mut self, plan: Plan, arrival: Box<Arrival>) {
        let Some(inbox) = self.open(plan) else { return arrival.turn_away(Turned::Busy) };
        self.registry.routed.fetch_add(1, Ordering::Relaxed);
        self.calls.insert(arrival.call(), inbox.clone());
        if let Err(mpsc::error::SendError(ToFocus::Arrive(arrival))) =
            inbox.send(ToFocus::Arrive(arrival)).await
        {
            arrival.turn_away(Turned::Busy);
        }
    }

    /// A reception is over.
    fn received(&mut self, room: RoomId) {
        if let Some((_, inbox)) = self.registry.by_room.remove(&room) {
            self.calls.retain(|_, other| !other.same_channel(&inbox));
        }
    }

    /// Somebody guesses a conference's PINs: its hosts are told, if it is there.
    async fn guessed(&self, id: &str) {
        self.registry.guessed.fetch_add(1, Ordering::Relaxed);
        if let Some(inbox) = self.registry.find(id) {
            let _ = inbox.send(ToFocus::Guessed).await;
        }
    }

    /// A conference has one more room.
    fn opened(&self, room: RoomId, of: RoomId) {
        if let Some(inbox) = self.registry.by_room.get(&of).map(|inbox| inbox.clone()) {
            self.registry.by_room.insert(room, inbox);
        }
    }

    /// The inbox of a conference that somebody enters; it begins if it is not there.
    fn open(&mut self, plan: Plan) -> Option<mpsc::Sender<ToFocus>> {
        let id = plan.id.clone();
        if !self.registry.by_id.contains_key(&id) {
            let room = self.house.new_room();
            match focus::start(self.house.clone(), room, plan, self.told.clone()) {
                Ok(inbox) => {
                    self.registry.by_room.insert(room, inbox.clone());
                    self.registry.by_id.insert(id.clone(), Entry { room, inbox, joins: 0 });
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a conference could not begin");
                    return None;
                }
            }
        }
        let mut entry = self.registry.by_id.get_mut(&id)?;
        entry.joins += 1;
        Some(entry.inbox.clone())
    }

    /// A host dials into a conference that is not there yet.
    fn begin(&mut self, id: &str, reply: oneshot::Sender<mpsc::Sender<ToFocus>>) {
        if let Some(inbox) = self.house.routing.named(id).and_then(|plan| self.open(plan)) {
            // Who asked may have gone; the conference ends when nobody comes.
            let _ = reply.send(inbox);
        }
    }

    /// A call takes the place of one that is in a conference (RFC 3891), whatever number it dialled.
    async fn replace(&mut self, invite: Box<Invite>, inbox: mpsc::Sender<ToFocus>) {
        let entry = self.registry.by_id.iter_mut().find(|e| e.inbox.same_channel(&inbox));
        let Some(mut entry) = entry else { return self.reject(invite.call, 481) };
        entry.joins += 1;
        drop(entry);
        self.registry.routed.fetch_add(1, Ordering::Relaxed);
        self.calls.insert(invite.call, inbox.clone());
        let _ = inbox.send(ToFocus::Join(invite, None)).await;
    }

    /// Somebody wants to be told of a conference's state: of one that there is, and only where the trunk may.
    async fn subscribe(&mut self, subscribe: Subscribe) {
        let Subscribe { subscription, flow, target } = subscribe;
        let known = self.subscriptions.get(&subscription).cloned();
        let inbox = known.or_else(|| self.registry.find(&self.house.routing.find(target)?.id));
        let status = match inbox {
            _ if !self.house.trunks.gives_events(flow.remote.ip()) => 403,
            None => 404,
            Some(inbox) => {
                self.subscriptions.insert(subscription, inbox.clone());
                let _ = inbox.send(ToFocus::Subscribe(subscription, flow)).await;
                return;
            }
        };
        let _ = self.house.sip.tell(Command::Subscribed(subscription, Err(status)));
    }

    /// Somebody listens without being seen. A number that is not good is one that is not ours.
    async fn listen(&mut self, invite: Box<Invite>, number: Dialled) {
        let call = invite.call;
        let monitor = self.house.monitors.redeem(Instant::now(), number.as_str());
        let inbox = monitor.as_ref().and_then(|monitor| {
            let mut entry = self.registry.by_id.get_mut(&monitor.conference)?;
            entry.joins += 1;
            Some(entry.inbox.clone())
        });
        let Some(inbox) = inbox else {
            self.registry.unknown_number.fetch_add(1, Ordering::Relaxed);
            return self.reject(call, 404);
        };
        self.calls.insert(call, inbox.clone());
        let _ = inbox.send(ToFocus::Join(invite, monitor)).await;
    }

    fn reject(&self, call: CallId, status: u16) {
        let retry_after = (status == 503).then_some(5);
        let extras = ReplyExtras { retry_after, ..ReplyExtras::default() };
        let _ = self.house.sip.tell(Command::Reject(call, status, extras));
    }

    /// A conference that saw every call that was sent to it, and has none, ends: its inbox is closed by dropping all
    /// senders.
    fn idle(&mut self, idle: Idle) {
        let ended = self.registry.by_id.remove_if(&self.id_of(idle.room).unwrap_or_default(), |_, entry| {
            entry.room == idle.room && entry.joins == idle.joins
        });
        if let Some((_, entry)) = ended {
            self.registry.by_room.retain(|_, inbox| !inbox.same_channel(&entry.inbox));
            self.calls.retain(|_, inbox| !inbox.same_channel(&entry.inbox));
            self.subscriptions.retain(|_, inbox| !inbox.same_channel(&entry.inbox));
        }
    }

    /// A focus makes a call.
    fn dialled(&mut self, call: CallId, room: RoomId) {
        if let Some(inbox) = self.registry.by_room.get(&room) {
            self.calls.insert(call, inbox.clone());
        }
    }

    fn id_of(&self, room: RoomId) -> Option<String> {
        self.registry.by_id.iter().find(|e| e.room == room).map(|e| e.key().clone())
    }
}
