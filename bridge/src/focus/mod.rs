//! One conference: the only owner of its roster, its room and its key (RFC 4353's focus). Others reach it by
//! messages.

mod codes;
mod quality;

pub use codes::{Act, Codes};

use crate::audit::{self, Audit};
use crate::disclosure::{Choice, Identity, Value, Viewer, Wish};
use crate::legal::{self, Legal, LegalError};
use crate::link::Links;
use crate::monitor::{Monitor, Monitors};
use crate::prompt::{self, Outcome};
use crate::roster::{Follow, Kind, Roster, State, Text, now};
use crate::routing::Plan;
use crate::trunk::Trunks;
use codes::{Keys, Way};
use media::leg::{Direction, LegSetup};
use media::room::Notice;
use media::rtcp::Session as Rtcp;
use media::{Codec, Engine, LegId, PayloadType, Prompt, RoomId};
use quality::Meter;
use sip_stack::endpoint::Invite;
use sip_stack::message::{LinkToken, ReplyExtras};
use sip_stack::sdp::{self, Audio, Capabilities, Encoding, LocalAudio, Session};
use sip_stack::transport::{Command, Handle};
use sip_stack::{CallId, Caller, Cause, Own, Said, Shown};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use vault::{Becomes, Context, Kind as ValueKind, OwnName, OwnNumber, OwnProfile, Sealed};

/// Messages waiting for a focus at most.
const INBOX: usize = 4096;
/// A caller hears from hosts no more often than this that they would like to see a name.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// A conference that nobody is in any more stays this long, so that a caller who dials again finds its roster's watchers.
const LINGER: Duration = Duration::from_secs(2);

/// What every focus works with.
#[derive(Debug)]
pub struct House {
    /// SIP.
    pub sip: Handle,
    /// Media.
    pub engine: Engine,
    /// Encrypted memory.
    pub vault: vault::Vault,
    /// What was disclosed.
    pub audit: Audit,
    /// Codes that callers may dial.
    pub codes: Codes,
    /// Callers' ways to their own pages.
    pub links: Links,
    /// Who may listen without being seen.
    pub monitors: Monitors,
    /// Requests to read what is withheld.
    pub legal: Legal,
    /// Carriers.
    pub trunks: Arc<Trunks>,
    /// What we can do.
    pub capabilities: Capabilities,
    /// Address that SDP names, if it is not the one on which the call came.
    pub media_address: Option<IpAddr>,
    /// Where work runs that is not signalling: RTCP here.
    pub runtime: tokio::runtime::Handle,
}

/// A control over a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Not heard any more.
    Mute,
    /// Heard again.
    Unmute,
    /// Call ended.
    Remove,
    /// Asked to share name and number.
    Ask,
}

/// Why a control was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No such participant.
    NoParticipant,
    /// The media shard takes no commands now.
    Busy,
    /// They were asked a moment ago.
    TooSoon,
}

/// What a focus is told.
#[derive(Debug)]
pub enum ToFocus {
    /// A call for this conference; of somebody who listens without being seen, if it is one.
    Join(Box<Invite>, Option<Monitor>),
    /// A call wants to change its session.
    Reinvite(CallId, Option<Session>),
    /// A call's ACK came.
    Acked(CallId, Option<Session>),
    /// A caller pressed a key, told by signalling.
    Digit(CallId, sip_stack::Digit),
    /// A call is over.
    Ended(CallId, Cause),
    /// The shard tells something of a leg.
    Notice(LegId, Notice),
    /// A watcher comes.
    Watch(Arc<Viewer>, oneshot::Sender<(Text, Follow)>),
    /// Somebody wants the list once.
    Snapshot(Arc<Viewer>, oneshot::Sender<Text>),
    /// Somebody wants the conference in short.
    Summary(oneshot::Sender<crate::roster::Summary>),
    /// A control, and what became of it.
    Control(String, Control, oneshot::Sender<Result<(), Refused>>),
    /// A participant wants to know what is shown of them, and to whom it was. `None`: no such participant.
    Me(String, oneshot::Sender<Option<Text>>),
    /// A participant chooses on their own page. `None`: no such participant.
    Choose(String, Choice, oneshot::Sender<Option<Text>>),
    /// What a participant withholds is read for a legal reason.
    Legal {
        /// The request.
        request: String,
        /// Who asked.
        by: legal::Person,
        /// Whose values.
        participant: String,
        /// The values, sealed for the key outside.
        reply: oneshot::Sender<Result<LegalValues, LegalError>>,
    },
    /// All calls end: the house is being closed.
    HangUp,
}

/// A participant's values, each as a JWE for the key outside; `None`: there is none.
#[derive(Debug, Default, serde::Serialize)]
pub struct LegalValues {
    name: Option<String>,
    number: Option<String>,
    profile: Option<String>,
}

/// A focus says that nobody has been in it for a while, having seen so many [`ToFocus::Join`]s.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Its room.
    pub room: RoomId,
    /// Joins that it saw.
    pub joins: u64,
}

/// Starts a conference's task.
///
/// # Errors
/// No room on a shard, or no protected memory for its key.
pub fn start(
    house: Arc<House>,
    room: RoomId,
    plan: Plan,
    idle: mpsc::UnboundedSender<Idle>,
) -> Result<mpsc::Sender<ToFocus>, StartError> {
    let keys = house.vault.keyring()?;
    house.engine.open(room, plan.capacity)?;
    let (inbox, messages) = mpsc::channel(INBOX);
    let roster = Roster::new(plan.id.clone(), plan.capacity, keys, house.audit.clone());
    let focus = Focus { house, room, plan, roster, legs: HashMap::new(), joins: 0, watched: false };
    tokio::spawn(focus.run(messages, idle));
    Ok(inbox)
}

/// Why a conference could not begin: 503.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The media engine refused.
    #[error(transparent)]
    Engine(#[from] media::EngineError),
    /// The vault refused.
    #[error(transparent)]
    Vault(#[from] vault::VaultError),
}

/// One leg, as its focus knows it.
struct Leg {
    participant: String,
    /// Sockets that wait for the answer to our own offer.
    waiting: Option<(UdpSocket, UdpSocket)>,
    rtp: SocketAddr,
    audio: LocalAudio,
    offered: bool,
    rtcp: Option<Rtcp>,
    meter: Meter,
    /// Number under which `own` was sealed.
    subject: u64,
    /// What the caller may share by their own act. It goes with the leg.
    own: Owned,
    keys: Keys,
    asked: Option<tokio::time::Instant>,
    /// Who listens without being seen.
    monitor: Option<Monitor>,
}

/// A caller's values, kept for their own act.
#[derive(Default)]
struct Owned {
    name: Own<OwnName>,
    number: Own<OwnNumber>,
    profile: Own<OwnProfile>,
}

impl Owned {
    /// Takes them from what the call brought.
    fn take(caller: Option<&mut Caller>) -> Self {
        use std::mem::take;
        caller.map_or_else(Self::default, |c| Self {
            name: take(&mut c.name.own),
            number: take(&mut c.number.own),
            profile: take(&mut c.profile.own),
        })
    }
}

struct Focus {
    house: Arc<House>,
    room: RoomId,
    plan: Plan,
    roster: Roster,
    legs: HashMap<CallId, Leg>,
    joins: u64,
    watched: bool,
}

impl Focus {
    async fn run(mut self, mut messages: mpsc::Receiver<ToFocus>, idle: mpsc::UnboundedSender<Idle>) {
        loop {
            let may_end = self.plan.adhoc && self.legs.is_empty();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                () = tokio::time::sleep(LINGER), if may_end => {
                    // Control closes the inbox unless a call is on its way.
                    if idle.send(Idle { room: self.room, joins: self.joins }).is_err() {
                        break;
                    }
                }
            }
        }
        self.roster.end();
        self.house.engine.close(self.room);
    }

    fn take(&mut self, message: ToFocus) {
        match message {
            ToFocus::Join(invite, monitor) => self.join(*invite, monitor),
            ToFocus::Reinvite(call, offer) => self.reinvite(call, offer),
            ToFocus::Acked(call, answer) => self.acked(call, answer),
            ToFocus::Digit(call, key) => self.pressed(call, Way::Info, key.key()),
            ToFocus::Ended(call, _) => self.left(call),
            ToFocus::Notice(leg, notice) => self.notice(leg, notice),
            // Who asked may have gone.
            ToFocus::Watch(viewer, reply) => {
                drop(reply.send(self.roster.subscribe(&viewer)));
                self.look();
            }
            ToFocus::Snapshot(viewer, reply) => drop(reply.send(self.roster.snapshot(&viewer))),
            ToFocus::Summary(reply) => drop(reply.send(self.roster.summary("open"))),
            ToFocus::Control(participant, control, reply) => {
                let _ = reply.send(self.control(&participant, control));
            }
            ToFocus::Me(participant, reply) => drop(reply.send(self.roster.me(&participant))),
            ToFocus::Legal { request, by, participant, reply } => {
                drop(reply.send(self.read_for_law(request, by, &participant)));
            }
            ToFocus::Choose(participant, choice, reply) => {
                let call = self.call_of(&participant);
                if let Some(call) = call {
                    self.choose(call, choice, "link");
                }
                drop(reply.send(call.and_then(|_| self.roster.me(&participant))));
            }
            ToFocus::HangUp => {
                let calls: Vec<_> = self.legs.keys().copied().collect();
                for call in calls {
                    self.tell(Command::Hangup(call));
                    self.left(call);
                }
            }
        }
    }

    /// Tells the shard when the first watcher has come or the last has gone.
    fn look(&mut self) {
        let watched = self.roster.watchers() > 0;
        // A shard that takes nothing is asked again with the next report.
        if watched != self.watched && self.house.engine.watch(self.room, watched).is_ok() {
            self.watched = watched;
        }
    }

    fn tell(&self, command: Command) {
        // The worker ends only with the house.
        let _ = self.house.sip.tell(command);
    }

    fn reject(&self, call: CallId, status: u16, warning: Option<u16>) {
        let retry_after = (status == 503).then_some(5);
        self.tell(Command::Reject(call, status, ReplyExtras { retry_after, warning, link: None }));
    }

    fn join(&mut self, mut invite: Invite, monitor: Option<Monitor>) {
        self.joins += 1;
        let call = invite.call;
        if self.legs.len() >= self.plan.capacity {
            return self.reject(call, 486, None);
        }
        let withheld = |c: &Caller| c.number.status == Shown::Withheld;
        if monitor.is_none() && self.plan.refuse_anonymous && invite.caller.as_ref().is_some_and(withheld) {
            // RFC 5079 §4: Anonymity Disallowed.
            return self.reject(call, 433, None);
        }
        let can = &self.house.capabilities;
        let (audio, theirs) = match &invite.offer {
            Some(offer) => match sdp::answer(offer, can, false) {
                Ok((audio, theirs)) => (audio, Some(theirs)),
                // RFC 3261 §21.4.26: with a Warning that says why.
                Err(sdp::NotAcceptable) => return self.reject(call, 488, Some(305)),
            },
            None => (sdp::offer(can), None),
        };
        let pair = match self.house.engine.reserve() {
            Ok(pair) => pair,
            Err(e) => {
                tracing::warn!(error = %e, "a call was refused");
                return self.reject(call, 503, None);
            }
        };
        let address = self.house.media_address.unwrap_or(match pair.address.ip() {
            ip if ip.is_unspecified() => invite.local.ip(),
            ip => ip,
        });
        let rtp = SocketAddr::new(address, pair.address.port());
        let identity = self.adopt(&invite);
        let mut leg = Leg {
            participant: String::new(),
            waiting: Some((pair.rtp, pair.rtcp)),
            rtp,
            audio,
            offered: theirs.is_none(),
            rtcp: None,
            meter: Meter::default(),
            subject: invite.subject,
            own: Owned::take(invite.caller.as_mut()),
            keys: Keys::default(),
            asked: None,
            monitor,
        };
        if self.record_monitor(&leg, true).is_err() {
            return self.reject(call, 503, None);
        }
        if let Some(theirs) = theirs
            && !self.connect(call, &mut leg, theirs, invite.source.ip())
        {
            let _ = self.record_monitor(&leg, false);
            return self.reject(call, 503, None);
        }
        leg.participant = match &leg.monitor {
            None => self.roster.join(identity),
            Some(_) => self.roster.listen(identity),
        };
        // In the answer to the call, so that nobody else has it.
        let links = leg.monitor.is_none() && self.house.trunks.gives_links(invite.source.ip());
        let link = links.then(LinkToken::random).filter(|token| {
            let now = std::time::Instant::now();
            self.house.links.add_link(now, &self.plan.id, &leg.participant, &token.to_string())
        });
        self.legs.insert(call, leg);
        self.tell(Command::Accept(call, rtp, audio, ReplyExtras { link, ..ReplyExtras::default() }));
    }

    /// The caller's values pass from the call's key to the conference's.
    fn adopt(&self, invite: &Invite) -> Identity {
        let caller = invite.caller.as_ref();
        let usual = caller.filter(|c| !c.asks_for_none).map(|_| self.plan.withhold).unwrap_or_default();
        Identity {
            name: self.said(invite, caller.map(|c| &c.name), usual.name),
            number: self.said(invite, caller.map(|c| &c.number), usual.number),
            profile: self.said(invite, caller.map(|c| &c.profile), usual.profile),
        }
    }

    /// A value as the call brought it; what is usual for the conference is withheld.
    fn said<T: ValueKind + Becomes<T>, O>(
        &self,
        invite: &Invite,
        said: Option<&Said<T, O>>,
        usual: bool,
    ) -> Value<T> {
        let status = match said.map_or(Shown::Absent, |s| s.status) {
            Shown::Shared if usual => Shown::Withheld,
            status => status,
        };
        let sealed = said.and_then(|s| s.shared.as_ref());
        self.value(invite.call, sealed, invite.subject, status, said.is_some_and(|s| s.asserted))
    }

    /// A value of a call's, under the conference's key. What does not open (it never should) is not kept.
    fn value<T: Becomes<U>, U: ValueKind>(
        &self,
        call: CallId,
        sealed: Option<&Sealed<T>>,
        subject: u64,
        status: Shown,
        asserted: bool,
    ) -> Value<U> {
        let there = Context { scope: 0, subject, field: T::FIELD };
        let here = Context { scope: self.room.0, subject: call.0, field: U::FIELD };
        let ring = self.house.sip.reader().ring();
        let sealed = sealed.filter(|_| status == Shown::Shared);
        let adopted = sealed.and_then(|s| s.adopt(ring, there, self.roster.keys(), here).ok());
        Value::new(status, adopted, here, asserted)
    }

    fn pressed(&mut self, call: CallId, way: Way, key: char) {
        let Some(leg) = self.legs.get_mut(&call).filter(|l| l.monitor.is_none()) else { return };
        match leg.keys.press(&self.house.codes, tokio::time::Instant::now(), way, key) {
            Some(Act::Choose(choice)) => self.choose(call, choice, "code"),
            Some(Act::Link) => self.personal_code(call),
            None => {}
        }
    }

    /// A caller's own choice: withholding destroys the roster's copies, sharing makes them again. They hear what became of it, whichever
    /// way they chose.
    fn choose(&mut self, call: CallId, choice: Choice, by: &'static str) {
        let Some(leg) = self.legs.get(&call) else { return };
        let (own, subject) = (&leg.own, leg.subject);
        let name = choice.name.map(|wish| self.chosen(call, subject, &own.name, wish));
        let number = choice.number.map(|wish| self.chosen(call, subject, &own.number, wish));
        let profile = choice.profile.map(|wish| self.chosen(call, subject, &own.profile, wish));
        let status = [
            name.as_ref().map(Value::status),
            number.as_ref().map(Value::status),
            profile.as_ref().map(Value::status),
        ];
        let participant = leg.participant.clone();
        self.roster.choose(&participant, |identity| {
            if let Some(value) = name {
                identity.name = value;
            }
            if let Some(value) = number {
                identity.number = value;
            }
            if let Some(value) = profile {
                identity.profile = value;
            }
        });
        self.record_choice(&participant, status, by);
        self.say(call, prompt::chosen(status.map(|s| s.map(outcome))));
    }

    /// A value after the caller's wish.
    fn chosen<O: Becomes<T>, T: ValueKind>(
        &self,
        call: CallId,
        subject: u64,
        own: &Own<O>,
        wish: Wish,
    ) -> Value<T> {
        let status = match (wish, &own.sealed) {
            (Wish::Withhold, _) => Shown::Withheld,
            (Wish::Share, Some(_)) => Shown::Shared,
            (Wish::Share, None) => Shown::Absent,
        };
        self.value(call, own.sealed.as_ref(), subject, status, own.asserted)
    }

    fn record_choice(&self, participant: &str, status: [Option<Shown>; 3], by: &'static str) {
        let named = |wanted: Shown| {
            let all = ["name", "number", "profile"].into_iter().zip(status);
            all.filter(|(_, s)| *s == Some(wanted)).map(|(attribute, _)| attribute).collect()
        };
        let event = audit::Event::Chosen {
            at: now(),
            conference: self.plan.id.clone(),
            participant: participant.to_owned(),
            pseudonym: self.roster.pseudonym(participant).unwrap_or_default().to_owned(),
            by,
            withheld: named(Shown::Withheld),
            shared: named(Shown::Shared),
        };
        // What the audit does not take is counted there. A choice is carried out all the same.
        let _ = self.house.audit.record(event);
    }

    /// Seals what a caller keeps for themselves for the key outside, if the audit takes it.
    fn read_for_law(
        &self,
        request: String,
        by: legal::Person,
        participant: &str,
    ) -> Result<LegalValues, LegalError> {
        let recipient = self.house.legal.recipient()?;
        let leg = self.call_of(participant).and_then(|call| self.legs.get(&call));
        let leg = leg.ok_or(LegalError::NoParticipant)?;
        let (ring, subject) = (self.house.sip.reader().ring(), leg.subject);
        fn seal<O: ValueKind>(
            recipient: &vault::Recipient,
            own: &Own<O>,
            ring: &vault::Keyring,
            subject: u64,
        ) -> Option<String>
        where
            vault::LegalAccess: vault::Discloses<O>,
        {
            let there = Context { scope: 0, subject, field: O::FIELD };
            recipient.seal(own.sealed.as_ref()?, ring, there, vault::LegalAccess).ok()
        }
        let values = LegalValues {
            name: seal(recipient, &leg.own.name, ring, subject),
            number: seal(recipient, &leg.own.number, ring, subject),
            profile: seal(recipient, &leg.own.profile, ring, subject),
        };
        let all = [("name", &values.name), ("number", &values.number), ("profile", &values.profile)];
        let attributes =
            all.into_iter().filter(|(_, v)| v.is_some()).map(|(attribute, _)| attribute).collect();
        let pseudonym = self.roster.pseudonym(participant).unwrap_or_default().to_owned();
        let event = audit::Event::LegalRead { at: now(), request, by: by.id, pseudonym, attributes };
        self.house.audit.record(event)?;
        Ok(values)
    }

    /// Speaks a code for the caller's own page to them.
    fn personal_code(&mut self, call: CallId) {
        let Some(leg) = self.legs.get(&call) else { return };
        let now = std::time::Instant::now();
        let code = self.house.links.make_code(now, &self.plan.id, &leg.participant);
        self.say(call, code.map_or_else(prompt::not_available, |code| prompt::personal_code(&code)));
    }

    fn say(&self, call: CallId, prompt: Prompt) {
        // A shard that takes nothing now has more to do than to speak.
        let _ = self.house.engine.say(self.room, LegId(call.0), prompt);
    }

    fn call_of(&self, participant: &str) -> Option<CallId> {
        self.legs.iter().find(|(_, l)| l.participant == participant).map(|(call, _)| *call)
    }

    /// Gives the leg its media. False when the shard takes nothing.
    fn connect(&self, call: CallId, leg: &mut Leg, theirs: &Audio, source: IpAddr) -> bool {
        let Some((rtp, rtcp)) = leg.waiting.take() else { return true };
        let setup = setup(call, &leg.audio, theirs, source, leg.monitor.is_some());
        if let Err(e) = self.house.engine.add(self.room, setup, rtp) {
            tracing::warn!(error = %e, "a call was refused");
            return false;
        }
        let remote = theirs.rtcp().unwrap_or(SocketAddr::new(source, theirs.port.wrapping_add(1)));
        leg.rtcp = Some(Rtcp::new(self.house.runtime.clone(), rtcp, remote));
        true
    }

    fn reinvite(&mut self, call: CallId, offer: Option<Session>) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let can = &self.house.capabilities;
        let Some(offer) = offer else {
            // They want our offer: it is what is in use.
            leg.offered = true;
            let (rtp, audio) =
                (leg.rtp, LocalAudio { direction: sdp::Direction::SendRecv, ..sdp::offer(can) });
            return self.tell(Command::Accept(call, rtp, audio, ReplyExtras::default()));
        };
        match sdp::answer(&offer, can, false) {
            Ok((audio, theirs)) => {
                let rtp = leg.rtp;
                if !self.change(call, &audio, theirs) {
                    return self.reject(call, 503, None);
                }
                self.tell(Command::Accept(call, rtp, audio, ReplyExtras::default()));
            }
            // RFC 3261 §14.2: the session stays as it was.
            Err(sdp::NotAcceptable) => self.reject(call, 488, Some(305)),
        }
    }

    /// Applies a changed session to the leg and its row. False when the shard takes nothing: all is as it was.
    fn change(&mut self, call: CallId, audio: &LocalAudio, theirs: &Audio) -> bool {
        let Some(leg) = self.legs.get_mut(&call) else { return true };
        let fallback = theirs.rtp().map_or(leg.rtp.ip(), |a| a.ip());
        if let Err(e) =
            self.house.engine.change(self.room, setup(call, audio, theirs, fallback, leg.monitor.is_some()))
        {
            tracing::warn!(error = %e, "a session was not changed");
            return false;
        }
        leg.audio = *audio;
        if let (Some(rtcp), Some(remote)) = (&leg.rtcp, theirs.rtcp()) {
            rtcp.set_remote(remote);
        }
        let held = !audio.direction.sends();
        self.roster.update(&leg.participant, Kind::Updated, |p| {
            p.state = match p.state {
                State::Joining => State::Joining,
                _ if held => State::Held,
                _ => State::Live,
            }
        });
        true
    }

    fn acked(&mut self, call: CallId, answer: Option<Session>) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        if let (true, Some(answer)) = (std::mem::take(&mut leg.offered), answer) {
            let ours = sdp::offer(&self.house.capabilities);
            let Ok((audio, theirs)) = sdp::accept_answer(&ours, &answer, &self.house.capabilities) else {
                self.tell(Command::Hangup(call));
                return self.left(call);
            };
            leg.audio = audio;
            let fallback = theirs.rtp().map_or(leg.rtp.ip(), |a| a.ip());
            if leg.waiting.is_some() {
                let Some(mut leg) = self.legs.remove(&call) else { return };
                let connected = self.connect(call, &mut leg, theirs, fallback);
                self.legs.insert(call, leg);
                if !connected {
                    self.tell(Command::Hangup(call));
                    return self.left(call);
                }
            } else if !self.change(call, &audio, theirs) {
                self.tell(Command::Hangup(call));
                return self.left(call);
            }
        }
        let Some(leg) = self.legs.get(&call) else { return };
        let held = !leg.audio.direction.sends();
        self.roster.update(&leg.participant, Kind::Updated, |p| {
            p.state = if held { State::Held } else { State::Live };
        });
    }

    fn left(&mut self, call: CallId) {
        let Some(leg) = self.legs.remove(&call) else { return };
        // A leg that still waits for its answer has no media.
        if leg.waiting.is_none() {
            self.house.engine.remove(self.room, LegId(call.0));
        }
        self.roster.leave(&leg.participant);
        self.house.links.over(std::time::Instant::now(), &leg.participant);
        // It is over, recorded or not; what was not is counted.
        let _ = self.record_monitor(&leg, false);
        // Nobody is left to listen to.
        if self.legs.values().all(|l| l.monitor.is_some()) {
            let listening: Vec<_> = self.legs.keys().copied().collect();
            for call in listening {
                self.tell(Command::Hangup(call));
                self.left(call);
            }
        }
    }

    fn control(&mut self, participant: &str, control: Control) -> Result<(), Refused> {
        let call = self.call_of(participant).ok_or(Refused::NoParticipant)?;
        match control {
            Control::Ask => self.ask(call)?,
            Control::Mute | Control::Unmute => {
                let muted = control == Control::Mute;
                // The roster never says muted of who is heard.
                self.house.engine.mute(self.room, LegId(call.0), muted).map_err(|_| Refused::Busy)?;
                self.roster.update(participant, Kind::Updated, |p| p.muted = muted);
            }
            Control::Remove => {
                self.tell(Command::Hangup(call));
                self.left(call);
            }
        }
        Ok(())
    }

    /// Audits that somebody begins or ends to listen without being seen, if the leg is such a one.
    fn record_monitor(&self, leg: &Leg, began: bool) -> Result<(), audit::NotRecorded> {
        let Some(monitor) = &leg.monitor else { return Ok(()) };
        let (at, monitor, conference) = (now(), monitor.id.clone(), self.plan.id.clone());
        self.house.audit.record(if began {
            audit::Event::MonitorBegan { at, monitor, conference }
        } else {
            audit::Event::MonitorEnded { at, monitor, conference }
        })
    }

    /// A host asks a caller to share; the caller hears how they could.
    fn ask(&mut self, call: CallId) -> Result<(), Refused> {
        let leg = self.legs.get_mut(&call).ok_or(Refused::NoParticipant)?;
        let now = tokio::time::Instant::now();
        if leg.asked.is_some_and(|asked| now < asked + ASK_AGAIN) {
            return Err(Refused::TooSoon);
        }
        let [_, code, _] = self.house.codes.to_tell();
        self.house.engine.say(self.room, LegId(call.0), prompt::ask(code)).map_err(|_| Refused::Busy)?;
        leg.asked = Some(now);
        Ok(())
    }

    fn notice(&mut self, leg: LegId, notice: Notice) {
        let call = CallId(leg.0);
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let row = &leg.participant;
        match notice {
            Notice::Speaking(speaking) => {
                self.roster.update(row, Kind::Speaking, |p| {
                    p.speaking = speaking;
                    if !speaking {
                        p.level = -127;
                    }
                });
            }
            Notice::Level(level) => {
                self.roster.update(row, Kind::Speaking, |p| p.level = level.0.round() as i8);
            }
            Notice::Report(report) => {
                let round_trip = leg.rtcp.as_ref().and_then(|r| r.remote().round_trip);
                if let Some(rtcp) = &mut leg.rtcp
                    && let Err(e) = rtcp.report(report)
                {
                    tracing::warn!(error = %e, "a leg has no RTCP");
                }
                let quality = leg.meter.take(&report, round_trip);
                self.roster.update(row, Kind::Updated, |p| p.quality = quality);
                self.roster.tell_roughly(std::time::Instant::now());
                self.look();
            }
            Notice::Digit(digit) => self.pressed(call, Way::Media, digit.key()),
        }
    }
}

fn outcome(status: Shown) -> Outcome {
    match status {
        Shown::Shared => Outcome::Shown,
        Shown::Withheld => Outcome::Hidden,
        Shown::Absent => Outcome::Unknown,
    }
}

/// The media of what was agreed on. `source` stands in where the peer's SDP has no address. `mute`: nothing that it sends is heard.
fn setup(call: CallId, audio: &LocalAudio, theirs: &Audio, source: IpAddr, mute: bool) -> LegSetup {
    let codec = |e: Encoding| if e == Encoding::Pcma { Codec::Pcma } else { Codec::Pcmu };
    let (encoding, payload_type) = audio.codec;
    let mut receives = [None; Codec::ALL.len()];
    for (slot, (encoding, payload_type)) in receives.iter_mut().zip(audio.listed.iter().flatten()) {
        *slot = Some((codec(*encoding), PayloadType(*payload_type)));
    }
    let sends = audio.direction.sends() && theirs.rtp().is_some();
    LegSetup {
        id: LegId(call.0),
        codec: (codec(encoding), PayloadType(payload_type)),
        receives,
        events: audio.events.map(PayloadType),
        packet: audio.ptime as usize * 8,
        direction: Direction { receive: audio.direction.receives() && !mute, send: sends },
        remote: theirs.rtp().unwrap_or(SocketAddr::new(source, theirs.port)),
    }
}
