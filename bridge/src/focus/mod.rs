//! One conference: the only owner of its roster, its room and its key (RFC 4353's focus). Others reach it by
//! messages.

mod codes;
mod quality;

pub use codes::Codes;

use crate::audit::Audit;
use crate::disclosure::{Identity, Value, Viewer};
use crate::roster::{Follow, Kind, Roster, State, Text};
use crate::routing::Plan;
use codes::{Keys, Way, Wish};
use media::leg::{Direction, LegSetup};
use media::room::Notice;
use media::rtcp::Session as Rtcp;
use media::{Codec, Engine, LegId, PayloadType, RoomId};
use quality::Meter;
use sip_stack::endpoint::Invite;
use sip_stack::message::ReplyExtras;
use sip_stack::sdp::{self, Audio, Capabilities, Encoding, LocalAudio, Session};
use sip_stack::transport::{Command, Handle};
use sip_stack::{CallId, Cause, Own, Shown};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use vault::{Becomes, Context, Field, Sealed};

/// Messages waiting for a focus at most.
const INBOX: usize = 4096;
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
}

/// Why a control was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No such participant.
    NoParticipant,
    /// The media shard takes no commands now.
    Busy,
}

/// What a focus is told.
#[derive(Debug)]
pub enum ToFocus {
    /// A call for this conference.
    Join(Box<Invite>),
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
    /// All calls end: the house is being closed.
    HangUp,
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
    own: Own,
    keys: Keys,
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
            ToFocus::Join(invite) => self.join(*invite),
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
        self.tell(Command::Reject(call, status, ReplyExtras { retry_after, warning }));
    }

    fn join(&mut self, mut invite: Invite) {
        self.joins += 1;
        let call = invite.call;
        if self.legs.len() >= self.plan.capacity {
            return self.reject(call, 486, None);
        }
        let withheld = |c: &sip_stack::Caller| c.number_status == Shown::Withheld;
        if self.plan.refuse_anonymous && invite.caller.as_ref().is_some_and(withheld) {
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
            own: invite.caller.as_mut().map(|c| std::mem::take(&mut c.own)).unwrap_or_default(),
            keys: Keys::default(),
        };
        if let Some(theirs) = theirs
            && !self.connect(call, &mut leg, theirs, invite.source.ip())
        {
            return self.reject(call, 503, None);
        }
        leg.participant = self.roster.join(identity);
        self.legs.insert(call, leg);
        self.tell(Command::Accept(call, rtp, audio));
    }

    /// The caller's values pass from the call's key to the conference's.
    fn adopt(&self, invite: &Invite) -> Identity {
        let caller = invite.caller.as_ref();
        let usual = caller.filter(|c| !c.asks_for_none).map(|_| self.plan.withhold).unwrap_or_default();
        let status =
            |of: fn(&sip_stack::Caller) -> Shown, withheld: bool| match caller.map_or(Shown::Absent, of) {
                Shown::Shared if withheld => Shown::Withheld,
                status => status,
            };
        let (name, number) = (caller.and_then(|c| c.name.as_ref()), caller.and_then(|c| c.number.as_ref()));
        Identity {
            name: self.value(
                invite.call,
                name,
                invite.subject,
                [Field::Name; 2],
                status(|c| c.name_status, usual.name),
            ),
            number: self.value(
                invite.call,
                number,
                invite.subject,
                [Field::Number; 2],
                status(|c| c.number_status, usual.number),
            ),
        }
    }

    /// A value of a call's, under the conference's key. What does not open (it never should) is not kept.
    fn value<T: Becomes<U>, U>(
        &self,
        call: CallId,
        sealed: Option<&Sealed<T>>,
        subject: u64,
        [from, to]: [Field; 2],
        status: Shown,
    ) -> Value<U> {
        let there = Context { scope: 0, subject, field: from };
        let here = Context { scope: self.room.0, subject: call.0, field: to };
        let ring = self.house.sip.reader().ring();
        let adopted = sealed.and_then(|s| s.adopt(ring, there, self.roster.keys(), here).ok());
        Value::new(status, adopted, here)
    }

    fn pressed(&mut self, call: CallId, way: Way, key: char) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        if let Some(wish) = leg.keys.press(&self.house.codes, tokio::time::Instant::now(), way, key) {
            self.choose(call, wish);
        }
    }

    /// A caller's own choice: withholding destroys the roster's copies, sharing makes them again.
    fn choose(&mut self, call: CallId, wish: Wish) {
        let Some(leg) = self.legs.get(&call) else { return };
        let (own, subject) = (&leg.own, leg.subject);
        let status = |known: bool| match (wish, known) {
            (Wish::Withhold, _) => Shown::Withheld,
            (Wish::Share, true) => Shown::Shared,
            (Wish::Share, false) => Shown::Absent,
        };
        let share = wish == Wish::Share;
        let (name, number) = (own.name.as_ref(), own.number.as_ref());
        let identity = Identity {
            name: self.value(
                call,
                name.filter(|_| share),
                subject,
                [Field::OwnName, Field::Name],
                status(name.is_some()),
            ),
            number: self.value(
                call,
                number.filter(|_| share),
                subject,
                [Field::OwnNumber, Field::Number],
                status(number.is_some()),
            ),
        };
        self.roster.choose(&leg.participant, identity);
    }

    /// Gives the leg its media. False when the shard takes nothing.
    fn connect(&self, call: CallId, leg: &mut Leg, theirs: &Audio, source: IpAddr) -> bool {
        let Some((rtp, rtcp)) = leg.waiting.take() else { return true };
        let setup = setup(call, &leg.audio, theirs, source);
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
            return self.tell(Command::Accept(call, rtp, audio));
        };
        match sdp::answer(&offer, can, false) {
            Ok((audio, theirs)) => {
                let rtp = leg.rtp;
                if !self.change(call, &audio, theirs) {
                    return self.reject(call, 503, None);
                }
                self.tell(Command::Accept(call, rtp, audio));
            }
            // RFC 3261 §14.2: the session stays as it was.
            Err(sdp::NotAcceptable) => self.reject(call, 488, Some(305)),
        }
    }

    /// Applies a changed session to the leg and its row. False when the shard takes nothing: all is as it was.
    fn change(&mut self, call: CallId, audio: &LocalAudio, theirs: &Audio) -> bool {
        let Some(leg) = self.legs.get_mut(&call) else { return true };
        let fallback = theirs.rtp().map_or(leg.rtp.ip(), |a| a.ip());
        if let Err(e) = self.house.engine.change(self.room, setup(call, audio, theirs, fallback)) {
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
    }

    fn control(&mut self, participant: &str, control: Control) -> Result<(), Refused> {
        let found = self.legs.iter().find(|(_, l)| l.participant == participant);
        let call = *found.ok_or(Refused::NoParticipant)?.0;
        match control {
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
                self.look();
            }
            Notice::Digit(digit) => self.pressed(call, Way::Event, digit.key()),
        }
    }
}

/// The media of what was agreed on. `source` stands in where the peer's SDP has no address.
fn setup(call: CallId, audio: &LocalAudio, theirs: &Audio, source: IpAddr) -> LegSetup {
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
        direction: Direction { receive: audio.direction.receives(), send: sends },
        remote: theirs.rtp().unwrap_or(SocketAddr::new(source, theirs.port)),
    }
}
