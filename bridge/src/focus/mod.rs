//! One conference: the only owner of its roster, its room and its key (RFC 4353's focus). Others reach it by
//! messages.

mod codes;
mod controls;
mod dial;
mod house;
mod joining;
mod message;
mod noting;
mod own;
mod places;
mod quality;
mod reception;
mod session;
mod spoken;
mod subscribers;
mod web;

pub use codes::{Act, Codes, HostKey, OwnKey};
pub use controls::{Control, SoundWish, Who};
pub use house::House;
pub use message::{Idle, LegalValues, OwnAct, Refused, ToControl, ToFocus};
pub use reception::{Arrival, receive};
pub use web::{NotIn, WebJoin};

use crate::audit::{self};
use crate::meeting::{self, By, Meeting, Role, Stance, Steer};
use crate::monitor::Monitor;
use crate::prompt::Language;
use crate::roster::{Kind, Roster, Sound, now};
use crate::routing::Plan;
use codes::{Keys, Way};
use dial::Dialling;
use media::ports::Pair;
use media::room::Notice;
use media::transport::{Remote, Transport};
use media::{LegId, Report, RoomId, Words};
use own::Owned;
use places::{Done, Places};
use quality::Meter;
pub use quality::Scores;
use sip_stack::CallId;
use sip_stack::message::ReplyExtras;
use sip_stack::sdp::{Audio, LocalAudio, Srtp};
use sip_stack::transport::Command;
use spoken::Announcing;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use subscribers::Subscriber;
use tokio::sync::mpsc;

/// Messages waiting for a focus at most.
const INBOX: usize = 4096;
/// A caller hears from hosts no more often than this that they would like to see a name.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Who talks though muted hears no more often than this that nobody hears them.
const WARN_AGAIN: Duration = Duration::from_secs(30);
/// Who was there is forgotten so long after the last has left.
const ATTENDANCE: Duration = Duration::from_secs(3600);
/// A conference that nobody is in any more stays this long, so that a caller who dials again finds its roster's watchers.
const LINGER: Duration = Duration::from_secs(2);

/// Starts a conference's task.
///
/// # Errors
/// No room on a shard, or no protected memory for its key.
pub fn start(
    house: Arc<House>,
    room: RoomId,
    plan: Plan,
    control: mpsc::UnboundedSender<ToControl>,
) -> Result<mpsc::Sender<ToFocus>, StartError> {
    let (mut focus, inbox, messages) = make(house, room, plan, control, true)?;
    for hook in focus.house.hooks.of(&focus.plan.id) {
        let (_, feed) = focus.roster.subscribe(hook.viewer());
        let following = hook.clone().follow(focus.plan.id.clone(), feed);
        // Their answers are no signalling.
        focus.house.runtime.spawn(following);
    }
    tokio::spawn(focus.run(messages));
    Ok(inbox)
}

/// A focus, and both ends of its inbox; `music`: whoever is alone hears some.
fn make(
    house: Arc<House>,
    room: RoomId,
    plan: Plan,
    control: mpsc::UnboundedSender<ToControl>,
    music: bool,
) -> Result<(Focus, mpsc::Sender<ToFocus>, mpsc::Receiver<ToFocus>), StartError> {
    let keys = house.vault.keyring()?;
    house.engine.open(room, plan.capacity, music)?;
    let (inbox, messages) = mpsc::channel(INBOX);
    let usual = Sound { gain: 0, noise_suppression: house.taste.noise_suppression };
    let roster = Roster::new(plan.id.clone(), plan.capacity, usual, keys, house.audit.clone())
        .keeping(plan.keeping.clone());
    let mut focus = Focus {
        meeting: Meeting::new(plan.lobby),
        title: plan.title.clone(),
        places: Places::default(),
        announcing: Announcing::default(),
        forget_at: None,
        ending: None,
        house,
        control,
        room,
        plan,
        roster,
        legs: HashMap::new(),
        subscribers: Vec::new(),
        joins: 0,
        watched: false,
    };
    focus.show_course();
    Ok((focus, inbox, messages))
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

/// Whether neither sound nor reports have come from a leg for so long.
fn is_lost(report: &Report, remote: &Remote, limit: Duration) -> bool {
    let limit = limit.as_nanos() as i64;
    let reports = remote.last.map_or(i64::MAX, |last| report.at.since(last));
    report.silent_for.0 as i64 >= limit && reports >= limit
}

/// One leg, as its focus knows it.
struct Leg {
    participant: String,
    /// How they take part, by the meeting's rules.
    stance: Stance,
    /// Where their sound is.
    room: RoomId,
    /// How much of it the shard knows.
    done: Done,
    /// The call is established.
    through: bool,
    /// All have heard that they came.
    announced: bool,
    /// When they were last told that nobody hears them.
    warned: Option<tokio::time::Instant>,
    /// Sockets that wait for the answer to our own offer.
    waiting: Option<Pair>,
    rtp: SocketAddr,
    audio: LocalAudio,
    offered: bool,
    transport: Option<Transport>,
    /// How much its trunk wants encrypted.
    srtp: Option<Srtp>,
    meter: Meter,
    /// Number under which `own` was sealed.
    subject: u64,
    /// What the caller may share by their own act. It goes with the leg.
    own: Owned,
    keys: Keys,
    /// In which words it is spoken to.
    language: Language,
    asked: Option<tokio::time::Instant>,
    /// Who listens without being seen.
    monitor: Option<Monitor>,
    /// A call of ours that is not answered yet.
    dialling: Option<Box<Dialling>>,
    /// On hold by a host.
    held: bool,
    /// What we offered in a change that is not answered yet.
    changing: Option<LocalAudio>,
    /// Of who came by their browser: what that offered.
    web: Option<Box<Audio>>,
}

struct Focus {
    house: Arc<House>,
    control: mpsc::UnboundedSender<ToControl>,
    room: RoomId,
    plan: Plan,
    roster: Roster,
    legs: HashMap<CallId, Leg>,
    subscribers: Vec<Subscriber>,
    joins: u64,
    watched: bool,
    meeting: Meeting,
    title: Option<String>,
    places: Places,
    announcing: Announcing,
    /// When who was there is forgotten.
    forget_at: Option<tokio::time::Instant>,
    /// When all calls end: a host has ended the meeting.
    ending: Option<tokio::time::Instant>,
}

impl Focus {
    async fn run(mut self, mut messages: mpsc::Receiver<ToFocus>) {
        // Since when nobody is in it: who only looks does not keep it.
        let mut empty = tokio::time::Instant::now();
        loop {
            let may_end =
                self.plan.adhoc && self.legs.is_empty() && self.is_left() && self.forget_at.is_none();
            if !may_end {
                empty = tokio::time::Instant::now();
            }
            let telling = self.next_telling();
            let due = [self.places.due(), self.announcing.due(), self.ending, self.forget_at];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => {
                        self.take(message);
                        self.tell_subscribers();
                    }
                    None => break,
                },
                () = async { tokio::time::sleep_until(telling.unwrap_or_else(tokio::time::Instant::now)).await },
                    if telling.is_some() => self.tell_subscribers(),
                () = async { tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)).await },
                    if due.is_some() => {
                        self.on_time();
                        self.tell_subscribers();
                    }
                () = tokio::time::sleep_until(empty + LINGER), if may_end => {
                    empty = tokio::time::Instant::now();
                    // Control closes the inbox unless a call is on its way.
                    let idle = Idle { room: self.room, joins: self.joins };
                    if self.control.send(ToControl::Idle(idle)).is_err() {
                        break;
                    }
                }
            }
        }
        // Who was being called meanwhile is not left alone.
        self.legs.keys().for_each(|call| self.tell(Command::Hangup(*call)));
        self.close_rooms();
        self.roster.end();
        self.end_subscriptions();
        self.house.engine.close(self.room);
    }

    fn take(&mut self, message: ToFocus) {
        match message {
            ToFocus::Join(invite, monitor) => self.join(*invite, monitor),
            ToFocus::Arrive(arrival) => self.arrive(*arrival),
            ToFocus::Web(join) => self.join_by_web(*join),
            ToFocus::Guessed => self.roster.guessed(),
            ToFocus::Reinvite(call, offer) => self.reinvite(call, offer),
            ToFocus::Acked(call, answer) => self.acked(call, answer),
            ToFocus::Digit(call, key) => self.pressed(call, Way::Info, key.key()),
            ToFocus::Ended(call, cause, retry_after) => {
                if !self.gone(call) && !self.not_answered(call, cause, retry_after) {
                    self.left(call);
                }
            }
            ToFocus::Rings(call, status) => self.rings(call, status),
            ToFocus::Answered(call, answer) => self.answered(call, answer),
            ToFocus::Modified(call, answer) => self.modified(call, answer),
            ToFocus::Refer(call, refer, callee) => self.refer(call, refer, callee),
            // Who asked may have gone; here and below.
            ToFocus::Dial(callee, by, reply) => {
                self.joins += 1;
                drop(reply.send(self.dial(callee, &by, None)));
            }
            ToFocus::Notice(leg, notice) => self.notice(leg, notice),
            ToFocus::Watch(viewer, reply) => {
                drop(reply.send(self.roster.subscribe(&viewer)));
                self.look();
            }
            ToFocus::Snapshot(viewer, reply) => drop(reply.send(self.roster.snapshot(&viewer))),
            ToFocus::Summary(viewer, reply) => {
                let summary =
                    viewer.map_or_else(|| self.roster.summary("open"), |v| self.roster.summary_for(&v));
                drop(reply.send(summary));
            }
            ToFocus::Control(participant, control, by, reply) => {
                let _ = reply.send(self.control(&participant, control, &by));
            }
            ToFocus::Steer(steer, by, reply) => drop(reply.send(self.steer(steer, &by))),
            ToFocus::Rename(title, by, reply) => drop(reply.send(self.rename(title, &by))),
            ToFocus::Place(participant, place, by, reply) => {
                let control = Control::Act(meeting::Act::Move(place));
                let _ = reply.send(self.control(&participant, control, &by));
            }
            ToFocus::Note(participant, viewer, values, by, reply) => {
                let _ = reply.send(self.note(&participant, &viewer, &values, &by));
            }
            ToFocus::Attendance(viewer, reply) => drop(reply.send(self.roster.attendance(&viewer))),
            ToFocus::ForgetGone(by, reply) => drop(reply.send(self.forget_gone(&by))),
            ToFocus::Own(participant, act, reply) => {
                let call = self.call_of(&participant);
                // Who leaves is told how they were.
                let before = self.roster.me(&participant).filter(|_| act == OwnAct::Leave);
                if let Some(call) = call {
                    self.own_act(call, act);
                }
                drop(reply.send(call.and_then(|_| before.or_else(|| self.roster.me(&participant)))));
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
            ToFocus::Subscribe(id, flow) => self.subscribe(id, flow),
            ToFocus::Notified(id) => self.notified(id),
            ToFocus::Unsubscribed(id) => self.unsubscribed(id),
            ToFocus::HangUp => self.hang_up(),
        }
    }

    /// Tells the shard when the first watcher has come or the last has gone.
    fn look(&mut self) {
        let watched = self.roster.watchers() > 0;
        // A shard that takes nothing is asked again with the next report.
        let mut rooms = std::iter::once(self.room).chain(self.places.rooms());
        if watched != self.watched && rooms.all(|room| self.house.engine.watch(room, watched).is_ok()) {
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

    fn say(&self, call: CallId, words: impl Into<Words>) {
        let room = self.legs.get(&call).map_or(self.room, |leg| leg.room);
        // A shard that takes nothing now has more to do than to speak.
        let _ = self.house.engine.say(room, LegId(call.0), words);
    }

    fn call_of(&self, participant: &str) -> Option<CallId> {
        self.legs.iter().find(|(_, l)| l.participant == participant).map(|(call, _)| *call)
    }

    fn left(&mut self, call: CallId) {
        if let Some(leg) = self.forget(call) {
            self.silence(call, &leg);
            self.tidy(leg.room);
        }
    }

    /// Takes a leg's sound away.
    fn silence(&self, call: CallId, leg: &Leg) {
        // One that still waits for its answer has no media.
        if leg.waiting.is_none() {
            self.house.engine.remove(leg.room, LegId(call.0));
        }
    }

    /// Somebody is not in the meeting any more; their sound is still to be taken away.
    fn forget(&mut self, call: CallId) -> Option<Leg> {
        let leg = self.legs.remove(&call)?;
        self.roster.leave(&leg.participant);
        self.goes(call, &leg);
        if self.legs.is_empty() {
            // The next who come find it as it was meant to be.
            (self.meeting, self.ending) = (Meeting::new(self.plan.lobby), None);
            self.title.clone_from(&self.plan.title);
            self.show_course();
            self.forget_at = self.roster.has_gone().then(|| tokio::time::Instant::now() + ATTENDANCE);
        }
        // Who came by their browser may come again.
        if leg.web.is_some() {
            self.house.browsers.send_modify(|n| *n -= 1);
        } else {
            self.house.links.over(std::time::Instant::now(), &leg.participant);
        }
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
        Some(leg)
    }

    /// Whether a host is in.
    fn is_hosted(&self) -> bool {
        self.legs.values().any(|leg| leg.stance.role() == Role::Host)
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
                let remote = leg.transport.as_ref().map(Transport::remote).unwrap_or_default();
                if let Some(transport) = &mut leg.transport
                    && let Err(e) = transport.report(report)
                {
                    tracing::warn!(error = %e, "a leg has no RTCP");
                }
                let quality = leg.meter.take(&report, &remote, &self.house.scores);
                let (expected, is_web) = (leg.audio.direction.receives() && !leg.held, leg.web.is_some());
                self.roster.update(row, Kind::Updated, |p| p.quality = quality);
                self.roster.tell_roughly(std::time::Instant::now());
                self.look();
                let limit = self.house.media_timeout.into_iter().chain(is_web.then_some(web::GONE)).min();
                let limit = limit.filter(|_| expected);
                if limit.is_some_and(|limit| is_lost(&report, &remote, limit)) {
                    tracing::info!("a call ends: nothing comes from it any more");
                    self.tell(Command::Hangup(call));
                    self.left(call);
                }
            }
            Notice::Digit(digit) => self.pressed(call, Way::Media, digit.key()),
            Notice::Unheard => self.warn(call),
            Notice::Unprotected(why) => {
                tracing::warn!(error = %why, "a call ends: its sound cannot be encrypted");
                self.tell(Command::Hangup(call));
                self.left(call);
            }
        }
    }
}
