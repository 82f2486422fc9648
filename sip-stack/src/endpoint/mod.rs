//! The sans-IO core: what was read goes in with the time, what is to be sent and what the user should know comes out.
//!
//! [`Endpoint::receive`], [`Endpoint::poll_transmit`], [`Endpoint::poll_event`], [`Endpoint::poll_timeout`]; the rest are the user's wishes. It
//! owns no socket, no task and no clock, and no readable text.

mod event;
mod guard;
mod provisional;
mod session;
mod subscription;
mod timers;
mod uac;
mod uas;

use crate::dialog::{Call, Flow, State};
use crate::message::headers::{Contact, Headers};
use crate::message::{Incoming, Method, Protocol, Reason, Reply, ReplyExtras, Wire, WireRequest};
use crate::transaction::{Actions, ClientInvite, ClientOther, Input, ServerInvite, ServerOther, Times};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use timers::{Key, Timers};
use vault::{Index, IndexMap, Sealed, SignallingText};

pub use event::{CallId, Cause, Event, Invite, Subscribe};
pub use guard::TrunkLimits;
pub use session::SessionPolicy;
pub use subscription::SubscriptionId;
pub use uac::{Outgoing, PingId};

/// Bounds on what peers can make an endpoint keep.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls at once; beyond, 503.
    pub calls: usize,
    /// Calls that the user has not answered yet, at once; beyond, 503: the admission queue.
    pub unanswered: usize,
    /// Server transactions at once; beyond, 503 without state.
    pub transactions: usize,
    /// Subscriptions at once; beyond, 503.
    pub subscriptions: usize,
    /// Seconds in Retry-After.
    pub retry_after: u32,
    /// How long sessions last without a refresh.
    pub sessions: SessionPolicy,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 20_000,
            unanswered: 2_000,
            transactions: 200_000,
            subscriptions: 1_000,
            retry_after: 5,
            sessions: SessionPolicy::default(),
        }
    }
}

/// A message to be sent.
#[derive(Debug)]
pub struct Transmit {
    /// Where.
    pub flow: Flow,
    /// What.
    pub wire: Wire,
}

/// Counters over the endpoint's life.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Requests read.
    pub requests: u64,
    /// Responses read.
    pub responses: u64,
    /// Requests that matched a transaction and were repeats.
    pub repeats: u64,
    /// Requests answered with 4xx to 6xx.
    pub refused: u64,
    /// Responses that matched nothing.
    pub strays: u64,
    /// Requests whose credentials were missing or wrong.
    pub unauthorised: u64,
    /// Requests of sources that were wrong too often: dropped.
    pub locked_out: u64,
    /// INVITEs beyond their trunk's limits.
    pub over_limit: u64,
}

#[derive(Debug)]
enum ServerMachine {
    Invite(ServerInvite),
    Other(ServerOther),
}

#[derive(Debug)]
struct ServerTransaction {
    machine: ServerMachine,
    flow: Flow,
    echo: Arc<Sealed<SignallingText>>,
    subject: u64,
    /// Our tag in its responses, when the request had none.
    tag: Option<u64>,
    merge: Index,
    cseq: u32,
    call: Option<CallId>,
    reply: Option<Reply>,
}

#[derive(Debug)]
enum ClientMachine {
    Invite(ClientInvite),
    Other(ClientOther),
}

#[derive(Debug)]
struct ClientTransaction {
    machine: ClientMachine,
    flow: Flow,
    request: WireRequest,
    owner: Owner,
    ack: Option<WireRequest>,
    /// Nobody waits for it any more: a late answer is cancelled or hung up.
    abandoned: bool,
    /// The flow that it was too large for.
    before: Option<Flow>,
}

impl ClientTransaction {
    fn new(owner: Owner, flow: Flow, request: WireRequest) -> Self {
        let reliable = flow.protocol.is_reliable();
        let machine = match request.method {
            Method::Invite => ClientMachine::Invite(ClientInvite::new(reliable)),
            _ => ClientMachine::Other(ClientOther::new(reliable)),
        };
        Self { machine, flow, request, owner, ack: None, abandoned: false, before: None }
    }
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Call(CallId),
    Subscription(SubscriptionId),
    Ping(PingId),
}

/// How a client transaction ended that is no INVITE's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    TimedOut,
}

/// See the module's text.
#[derive(Debug)]
pub struct Endpoint {
    times: Times,
    limits: Limits,
    available: bool,
    next_call: u64,
    next_ping: u64,
    unanswered: usize,
    guard: guard::Guard,
    subscriptions: HashMap<SubscriptionId, Box<subscription::Subscription>>,
    calls: HashMap<CallId, Box<Call>>,
    tags: HashMap<u64, CallId>,
    server: IndexMap<Box<ServerTransaction>>,
    merges: IndexMap<Index>,
    client: HashMap<(u64, bool), ClientTransaction>,
    timers: Timers,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    counts: Counts,
}

impl Endpoint {
    /// An endpoint.
    pub fn new(times: Times, limits: Limits) -> Self {
        Self {
            times,
            limits,
            available: true,
            next_call: 1,
            next_ping: 1,
            unanswered: 0,
            guard: guard::Guard::default(),
            subscriptions: HashMap::new(),
            calls: HashMap::new(),
            tags: HashMap::new(),
            server: IndexMap::default(),
            merges: IndexMap::default(),
            client: HashMap::new(),
            timers: Timers::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Takes what was read from a packet or frame.
    pub fn receive(&mut self, now: Instant, flow: Flow, incoming: Incoming) {
        match incoming {
            Incoming::Request(request) => {
                self.counts.requests += 1;
                self.request(now, flow, *request);
            }
            Incoming::Response(response) => {
                self.counts.responses += 1;
                self.response(now, flow, *response);
            }
            // RFC 5626 §4.4.1: only on streams.
            Incoming::KeepAlive if flow.protocol.is_reliable() => {
                self.transmits.push_back(Transmit { flow, wire: Wire::Pong });
            }
            Incoming::KeepAlive => {}
        }
    }

    /// The next message to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that the user should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.timers.due(now) {
            match key {
                Key::Server(index, timer) => self.drive_server(now, index, Input::Fired(timer)),
                Key::Client(branch, cancel, timer) => {
                    self.drive_client(now, (branch, cancel), Input::Fired(timer));
                }
                Key::Repeat(call) => self.repeat(now, call),
                Key::Reliable(call, rseq) => self.repeat_reliable(now, call, rseq),
                Key::Session(call, generation) => self.session_due(now, call, generation),
                Key::Retry(call) => self.retry_change(now, call),
                Key::Silence(call, branch) => self.silence(now, call, branch),
                Key::Ring(call) => self.unanswered(now, call),
                Key::GivenUp(branch) => self.given_up(now, branch),
                Key::Subscription(id) => self.finish_subscription(now, id, "timeout"),
            }
        }
        self.shrink();
    }

    /// Whether OPTIONS and new calls are welcome; otherwise they get 503 (draining).
    pub fn set_available(&mut self, available: bool) {
        self.available = available;
    }

    /// Counters so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Calls, server and client transactions, and timers that are kept now.
    pub fn kept(&self) -> [usize; 4] {
        [self.calls.len(), self.server.len(), self.client.len(), self.timers.len()]
    }

    /// Whether a call came over this stream and lasts.
    pub fn uses(&self, connection: u64) -> bool {
        let over = |f: &Flow| f.protocol.is_reliable() && f.connection == connection;
        self.calls.values().any(|c| over(&c.flow)) || self.subscriptions.values().any(|s| over(&s.flow))
    }

    /// Subscriptions now.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Trunks' limits, by [`TrunkId`](crate::TrunkId).
    pub fn limit_trunks(&mut self, limits: &[TrunkLimits]) {
        self.guard.limit_trunks(limits);
    }

    /// Calls of a trunk now.
    pub fn calls_of(&self, trunk: crate::TrunkId) -> usize {
        self.guard.calls_of(trunk)
    }

    /// A stream broke or could not be made: what waits for an answer on it has failed.
    pub fn transport_failed(&mut self, now: Instant, flow: Flow) {
        let same = |f: &Flow| f.connection == flow.connection && f.remote == flow.remote;
        let keys: Vec<_> = self.client.iter().filter(|(_, t)| same(&t.flow)).map(|(k, _)| *k).collect();
        for key in keys {
            let transaction = self.client.get_mut(&key).and_then(|t| Some((t.before.take()?, t)));
            let Some((before, transaction)) = transaction else {
                self.drive_client(now, key, Input::TransportFailed);
                continue;
            };
            // RFC 3261 §18.1.1: without a stream the datagram is tried after all.
            let request = WireRequest { any_size: true, ..transaction.request.clone() };
            *transaction = ClientTransaction::new(transaction.owner, before, request);
            self.drive_client(now, key, Input::Start);
        }
        for call in self.calls.values_mut().filter(|c| c.flow.protocol.is_reliable() && same(&c.flow)) {
            call.stream_gone();
        }
    }

    /// A request of ours turned out too large for a datagram: it goes over a stream from `local`, if there is one to be had
    /// (RFC 3261 §18.1.1).
    pub fn too_large(&mut self, now: Instant, branch: u64, local: SocketAddr) {
        let Some(transaction) = self.client.get_mut(&(branch, false)) else { return };
        let before = transaction.flow;
        let flow = Flow { protocol: Protocol::Tcp, connection: Flow::ANY, local, ..before };
        let ClientTransaction { owner, request, abandoned, .. } = transaction;
        let next = ClientTransaction::new(*owner, flow, request.clone());
        *transaction = ClientTransaction { before: Some(before), abandoned: *abandoned, ..next };
        self.drive_client(now, (branch, false), Input::Start);
    }

    /// Memory that a burst of calls took goes back when the burst is over.
    fn shrink(&mut self) {
        fn map<K: std::hash::Hash + Eq, V, S: std::hash::BuildHasher>(map: &mut HashMap<K, V, S>) {
            if map.capacity() > 4 * map.len() + 1024 {
                map.shrink_to(2 * map.len());
            }
        }
        map(&mut self.calls);
        map(&mut self.tags);
        map(&mut self.server);
        map(&mut self.merges);
        map(&mut self.client);
        self.timers.shrink();
    }

    fn drive_server(&mut self, now: Instant, index: Index, input: Input) {
        let Some(transaction) = self.server.get_mut(&index) else { return };
        let actions = match &mut transaction.machine {
            ServerMachine::Invite(m) => m.on(input, &self.times),
            ServerMachine::Other(m) => m.on(input, &self.times),
        };
        if actions.send
            && let Some(reply) = &transaction.reply
        {
            self.transmits.push_back(Transmit { flow: transaction.flow, wire: Wire::Reply(reply.clone()) });
        }
        for (timer, after) in actions.start.into_iter().flatten() {
            self.timers.add(now + after, Key::Server(index, timer));
        }
        // A failure that was never acknowledged changes no call: it is gone already, or it was a re-INVITE, after whose refusal the
        // call goes on (RFC 3261 §14.2).
        if actions.done
            && let Some(gone) = self.server.remove(&index)
            && self.merges.get(&gone.merge) == Some(&index)
        {
            self.merges.remove(&gone.merge);
        }
    }

    fn drive_client(&mut self, now: Instant, key: (u64, bool), input: Input) -> Actions {
        let Some(transaction) = self.client.get_mut(&key) else { return Actions::default() };
        let actions = match &mut transaction.machine {
            ClientMachine::Invite(m) => m.on(input, &self.times),
            ClientMachine::Other(m) => m.on(input, &self.times),
        };
        let owner = transaction.owner;
        let method = transaction.request.method;
        let wires = [
            actions.send.then(|| transaction.request.clone()),
            actions.ack.then(|| transaction.ack.clone()).flatten(),
        ];
        for request in wires.into_iter().flatten() {
            self.transmits.push_back(Transmit { flow: transaction.flow, wire: Wire::Request(request) });
        }
        for (timer, after) in actions.start.into_iter().flatten() {
            self.timers.add(now + after, Key::client(key.0, method, timer));
        }
        if actions.done {
            self.client.remove(&key);
            if actions.timed_out {
                self.request_timed_out(now, owner, method, key.0);
            }
        }
        actions
    }

    /// Sends a response in a server transaction.
    fn respond(&mut self, now: Instant, index: Index, status: u16, extras: ReplyExtras) {
        self.respond_with(now, index, status, extras, Dress::default());
    }

    /// A refusal with headers of extensions.
    fn refuse(&mut self, now: Instant, index: Index, status: u16, headers: Headers) {
        let dress = Dress { headers: Some(Box::new(headers)), ..Dress::default() };
        self.respond_with(now, index, status, ReplyExtras::default(), dress);
    }

    fn respond_with(&mut self, now: Instant, index: Index, status: u16, extras: ReplyExtras, dress: Dress) {
        let Dress { contact, body, headers } = dress;
        let Some(transaction) = self.server.get_mut(&index) else { return };
        if status >= 400 {
            self.counts.refused += 1;
        }
        transaction.reply = Some(Reply {
            subject: transaction.subject,
            echo: transaction.echo.clone(),
            status,
            // RFC 3261 §8.2.6.1: 100 has no tag.
            to_tag: transaction.tag.filter(|_| status > 100),
            contact,
            body,
            extras,
            headers,
        });
        self.drive_server(now, index, Input::Status(status));
    }

    /// The number of the next call.
    fn next_call_id(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call - 1)
    }

    fn new_call(&mut self, id: CallId, call: Call) -> CallId {
        self.unanswered += usize::from(waits(&call));
        self.guard.began(call.flow.trunk);
        self.tags.insert(call.local_tag, id);
        self.calls.insert(id, Box::new(call));
        id
    }

    fn forget(&mut self, id: CallId) -> Option<Box<Call>> {
        let call = self.calls.remove(&id)?;
        self.tags.remove(&call.local_tag);
        self.unanswered -= usize::from(waits(&call));
        self.guard.ended(call.flow.trunk);
        if let Some(timer) = call.timer {
            self.timers.remove_long(timer.due, Key::Session(id, timer.generation));
        }
        Some(call)
    }

    fn end(&mut self, now: Instant, id: CallId, cause: Cause) -> Option<Box<Call>> {
        self.end_with(now, id, cause, Reason::default(), None)
    }

    fn end_with(
        &mut self,
        now: Instant,
        id: CallId,
        cause: Cause,
        reason: Reason,
        retry_after: Option<u32>,
    ) -> Option<Box<Call>> {
        let call = self.forget(id)?;
        self.abandon_pending(now, &call);
        self.events.push_back(Event::Ended { call: id, cause, reason, retry_after });
        Some(call)
    }

    /// Ends an answered call that cannot go on: tells the user, and the peer by BYE with the reason.
    fn break_off(&mut self, now: Instant, id: CallId, cause: Cause, reason: Reason) {
        if let Some(call) = self.end(now, id, cause) {
            self.bye(now, id, call, reason);
        }
    }

    /// Ends a call on the user's wish: BYE, CANCEL or a refusal, whatever its state needs. [`Event::Ended`] follows when it is
    /// over: at once, or with the ACK or answer that has to be awaited first.
    pub fn hangup(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match (call.role, call.state) {
            (crate::dialog::Role::Client, State::Early) => self.cancel(now, id),
            (_, State::Early) => {
                let pending = call.pending.take();
                self.end(now, id, Cause::Local);
                if let Some(index) = pending {
                    self.respond(now, index, 480, ReplyExtras::default());
                }
            }
            (_, State::Answered) => call.bye_when_acked = true,
            (_, State::Confirmed) => self.break_off(now, id, Cause::Local, Reason::default()),
        }
    }

    /// What waits for the user's word when the call ends gets its final response.
    fn abandon_pending(&mut self, now: Instant, call: &Call) {
        for index in [call.pending, call.update, call.refer.map(|(_, i)| i)].into_iter().flatten() {
            self.respond(now, index, 487, ReplyExtras::default());
        }
    }

    /// Sends BYE for a call that is forgotten already.
    fn bye(&mut self, now: Instant, id: CallId, mut call: Box<Call>, reason: Reason) {
        let Some(mut request) = request_in(&mut call, Method::Bye) else { return };
        if reason != Reason::default() {
            request.headers().reason = reason;
        }
        self.send_request(now, Owner::Call(id), call.next_flow(), request);
    }

    /// Begins a client transaction.
    fn send_request(&mut self, now: Instant, owner: Owner, flow: Flow, request: WireRequest) {
        let key = (request.branch, request.method == Method::Cancel);
        self.client.insert(key, ClientTransaction::new(owner, flow, request));
        self.drive_client(now, key, Input::Start);
    }
}

/// The next request of a call's dialog, with what every one of them carries; `None` before there is a dialog.
fn request_in(call: &mut Call, method: Method) -> Option<WireRequest> {
    let text = call.text.clone()?;
    call.local_cseq += 1;
    let mut request = WireRequest::new(method, (text.subject, text.text), text.tag, call.local_cseq);
    request.routes = text.routes;
    if matches!(method, Method::Invite | Method::Update | Method::Notify) {
        request.contact = Some(call.contact.clone());
    }
    if let Some(ids) = &call.session_id {
        request.headers().session_id = Some(**ids);
    }
    Some(request)
}

/// What some responses carry besides their status.
#[derive(Debug, Default)]
struct Dress {
    contact: Option<Contact>,
    body: Option<(crate::sdp::Local, Option<Arc<Sealed<SignallingText>>>)>,
    headers: Option<Box<Headers>>,
}

/// Whether the user has yet to answer a call.
fn waits(call: &Call) -> bool {
    call.role == crate::dialog::Role::Server && call.state == State::Early
}

#[cfg(test)]
mod tests;
