//! The reception: a caller who is not in a meeting yet. Each is in a room of their own, hears what the script says, and is handed over to
//! the conference's focus when they have shown that they may come in. Nobody sees them, and nothing of theirs is disclosed, before that.

use super::codes::Way;
use super::{Focus, House, Leg, StartError, ToControl, ToFocus};
use crate::audit;
use crate::ivr::{Ask, Entered, Input, Output, Part, Verdict, Visit};
use crate::meeting::{Place, Role, Shut, Stance};
use crate::pin::{Entrant, Tried, Try};
use crate::prompt::{self, Language, Turned};
use crate::roster::now;
use crate::routing::Plan;
use media::room::Notice;
use media::tap::Tapped;
use media::{LegId, RoomId};
use sip_stack::endpoint::Invite;
use sip_stack::transport::Command;
use sip_stack::{CallId, Caller, Shown};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};
use vault::SpokenName;
use zeroize::Zeroizing;

/// How many are on is asked for so long; then nobody is.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a leg says while its caller is asked for their name: so much is kept by the ring (ms), it is read so often, and so many samples are kept here, and
/// before they speak.
const TAP: usize = 2_000;
const DRAIN: Duration = Duration::from_millis(500);
const SAID: usize = 8_000 * 6;
const BEFORE: usize = 8_000;

/// A caller who comes out of the reception.
pub struct Arrival {
    call: CallId,
    invite: Box<Invite>,
    leg: Box<Leg>,
    from: RoomId,
    entrant: Entrant,
    /// Told once they are in, or why they are not.
    reply: oneshot::Sender<Result<(), Back>>,
}

/// Somebody who was turned away.
type Back = (Turned, Box<Invite>, Box<Leg>);

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrival").field("call", &self.call).finish_non_exhaustive()
    }
}

impl Arrival {
    /// Whose call it is.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// They do not come in.
    pub fn turn_away(self, why: Turned) {
        // The reception waits for this.
        let _ = self.reply.send(Err((why, self.invite, self.leg)));
    }
}

/// Starts the reception of one call; `plan` is the conference, where it is known by the number that was dialled.
///
/// # Errors
/// As [`super::start`].
pub fn receive(
    house: Arc<House>,
    room: RoomId,
    invite: Box<Invite>,
    plan: Option<Plan>,
    control: mpsc::UnboundedSender<ToControl>,
) -> Result<mpsc::Sender<ToFocus>, StartError> {
    let call = invite.call;
    // Nobody is told here that somebody comes.
    let alone = Plan { capacity: 1, chimes: false, ..house.routing.usual().clone() };
    let (focus, inbox, messages) = super::make(house, room, alone, control, false)?;
    let language = plan.as_ref().unwrap_or(focus.house.routing.usual()).language;
    let trunk = focus.house.trunks.name(invite.source.ip()).unwrap_or_default().to_owned();
    let reception = Reception {
        focus,
        call,
        invite: Some(invite),
        plan,
        trunk,
        visit: None,
        way: None,
        language,
        tapped: None,
        said: Zeroizing::default(),
        speaks: false,
        on: 0,
        entrant: Entrant::Guest,
        used_up: None,
        until: None,
    };
    tokio::spawn(reception.run(messages));
    Ok(inbox)
}

struct Reception {
    focus: Focus,
    call: CallId,
    /// Until they are handed over.
    invite: Option<Box<Invite>>,
    plan: Option<Plan>,
    trunk: String,
    /// From the ACK on.
    visit: Option<Visit>,
    /// How keys come.
    way: Option<Way>,
    language: Language,
    /// What they say, while they are asked for their name.
    tapped: Option<Tapped>,
    said: Zeroizing<Vec<i16>>,
    speaks: bool,
    /// How many are in the meeting.
    on: usize,
    entrant: Entrant,
    /// The PIN for one time that they entered, until they are in.
    used_up: Option<Arc<str>>,
    /// When a call ends that was turned away.
    until: Option<Instant>,
}

impl Reception {
    async fn run(mut self, mut inbox: mpsc::Receiver<ToFocus>) {
        self.answer();
        while !self.focus.legs.is_empty() {
            let until = self.until.or_else(|| self.visit.as_ref().and_then(Visit::until));
            let wait = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => break,
                },
                () = tokio::time::sleep(DRAIN), if self.tapped.is_some() => self.drain(),
                () = wait => match self.until {
                    Some(_) => self.hang_up(),
                    None => self.on(Input::Time).await,
                },
            }
        }
        if let Some(pin) = &self.used_up {
            self.focus.house.doors.give_back(pin);
        }
        self.focus.legs.keys().for_each(|call| self.focus.tell(Command::Hangup(*call)));
        self.focus.house.engine.close(self.focus.room);
        // Control ends only with the house.
        let _ = self.focus.control.send(ToControl::Received(self.focus.room));
    }

    /// Answers the call: what is said to a caller costs them as much as the meeting does, and is said to nobody before.
    fn answer(&mut self) {
        let Some(invite) = &self.invite else { return };
        let nowhere = Stance::new(Role::Speaker, Place::Main);
        if let Some(leg) = self.focus.answer(invite, None, self.focus.room, nowhere) {
            let (rtp, audio) = (leg.rtp, leg.audio.clone());
            self.focus.legs.insert(self.call, leg);
            self.focus.accept(invite, rtp, audio, None);
        }
    }

    async fn take(&mut self, message: ToFocus) {
        match message {
            ToFocus::Digit(_, key) => self.key(Way::Info, key.key()).await,
            ToFocus::Notice(_, Notice::Digit(key)) => self.key(Way::Media, key.key()).await,
            ToFocus::Notice(_, Notice::Speaking(speaks)) => {
                self.speaks |= speaks;
                self.on(Input::Voice(speaks)).await;
            }
            // Who has not shown that they may come in has nobody called.
            ToFocus::Refer(call, refer, _) => self.focus.tell(Command::Referred(call, refer, Err(603))),
            ToFocus::Acked(..) => {
                self.focus.take(message);
                if self.visit.is_none() && self.until.is_none() && !self.focus.legs.is_empty() {
                    self.begin().await;
                }
            }
            message => self.focus.take(message),
        }
    }

    async fn begin(&mut self) {
        let script = self.focus.house.script.clone();
        let start = script.start(self.plan.is_some());
        let mut out = Vec::new();
        let visit = Visit::begin(script, start, Instant::now(), self.length(), &mut out);
        self.visit = Some(visit);
        self.act(out).await;
    }

    /// A key that is told both ways counts once.
    async fn key(&mut self, way: Way, key: char) {
        if *self.way.get_or_insert(way) == way {
            self.on(Input::Key(key)).await;
        }
    }

    async fn on(&mut self, input: Input) {
        let (length, mut out) = (self.length(), Vec::new());
        let names = self.plan.as_ref().is_some_and(|plan| plan.announce_names && !plan.withhold.name);
        if let Some(visit) = &mut self.visit {
            visit.set_names(names);
            visit.on(input, Instant::now(), length, &mut out);
        }
        self.act(out).await;
    }

    fn length(&self) -> impl Fn(&[Part]) -> Duration + use<> {
        let (language, on) = (self.language, self.on);
        move |said| prompt::length(language, said, on)
    }

    async fn act(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Say(said) => self.focus.say(self.call, prompt::of(self.language, &said, self.on)),
                Output::Hush => self.focus.say(self.call, prompt::nothing()),
                Output::Speak(place) => {
                    self.language = Language::ALL.get(place).copied().unwrap_or_default();
                }
                Output::Check(ask, entered) => {
                    let verdict = self.check(ask, &entered).await;
                    drop(entered);
                    // What follows from it comes behind what was said before.
                    Box::pin(self.on(Input::Verdict(verdict))).await;
                }
                Output::Listen => self.listen(),
                Output::Listened => self.listened(),
                Output::Enter => self.enter().await,
                Output::HangUp => self.hang_up(),
            }
        }
    }

    /// What the caller says is kept from now on.
    fn listen(&mut self) {
        let (tap, tapped) = media::tap::tap(TAP);
        (self.said, self.speaks) = (Zeroizing::new(Vec::with_capacity(SAID + TAP * 8)), false);
        // A shard that takes nothing now leaves them without a name.
        if self.focus.house.engine.tap(self.focus.room, LegId(self.call.0), tap).is_ok() {
            self.tapped = Some(tapped);
        }
    }

    /// Takes what was said since. Before they speak, only the last of it is kept.
    fn drain(&mut self) {
        let Some(tapped) = &mut self.tapped else { return };
        let heard = Zeroizing::new(tapped.take());
        self.said.extend_from_slice(&heard);
        let most = if self.speaks { SAID } else { BEFORE };
        if self.said.len() > most {
            let over = self.said.len() - most;
            self.said.copy_within(over.., 0);
            self.said[most..].fill(0);
            self.said.truncate(most);
        }
    }

    /// They have said their name, or nothing.
    fn listened(&mut self) {
        self.drain();
        if self.tapped.take().is_none() {
            return;
        }
        // It ends with the leg otherwise.
        let _ = self.focus.house.engine.untap(self.focus.room, LegId(self.call.0));
        let name = super::spoken::name(&self.said);
        self.said = Zeroizing::default();
        let ring = self.focus.house.sip.reader().ring();
        if let (Some(name), Some(leg)) = (name, self.focus.legs.get_mut(&self.call)) {
            let context = super::spoken::context(leg.subject);
            leg.own.spoken = Some(Box::new(SpokenName::seal(ring, context, name)));
        }
    }

    async fn check(&mut self, ask: Ask, entered: &Entered) -> Verdict {
        let verdict = match ask {
            Ask::Conference => match self.focus.house.routing.entered(entered.digits()) {
                Some(plan) if plan.pins.are_asked_for() => {
                    self.plan = Some(plan);
                    Verdict::Right
                }
                Some(plan) => {
                    self.plan = Some(plan);
                    Verdict::Open
                }
                None => Verdict::Wrong,
            },
            Ask::Pin => self.pin(entered),
        };
        if let (Verdict::Right | Verdict::Open, Some(plan)) = (verdict, &self.plan) {
            let id = plan.id.clone();
            self.on = self.people(&id).await;
        }
        verdict
    }

    fn pin(&mut self, entered: &Entered) -> Verdict {
        let (Some(plan), Some(invite)) = (&self.plan, &self.invite) else { return Verdict::Refused };
        let number = invite.caller.as_ref().and_then(|caller| caller.vouched);
        let of = Try { conference: &plan.id, trunk: &self.trunk, caller: number };
        match self.focus.house.doors.enter(&plan.pins, of, entered.digits(), Instant::now()) {
            Tried::Right(entrant) => {
                self.entrant = entrant;
                Verdict::Right
            }
            Tried::Personal(entrant, used_up) => {
                self.entrant = entrant;
                self.used_up = used_up;
                Verdict::Right
            }
            Tried::Wrong { alarm } => {
                if alarm {
                    tracing::warn!(conference = plan.id, "PINs are being guessed");
                    let (conference, trunk) = (plan.id.clone(), self.trunk.clone());
                    // What the audit does not take is counted there.
                    let _ = self.focus.house.audit.record(audit::Event::PinsGuessed {
                        at: now(),
                        conference,
                        trunk,
                    });
                    let _ = self.focus.control.send(ToControl::Guessed(plan.id.clone()));
                }
                Verdict::Wrong
            }
            Tried::Refused => Verdict::Refused,
        }
    }

    /// How many are in a conference.
    async fn people(&mut self, id: &str) -> usize {
        let asked = async {
            let (reply, found) = oneshot::channel();
            self.focus.control.send(ToControl::Find(id.to_owned(), reply)).ok()?;
            let focus = found.await.ok()?;
            let (reply, told) = oneshot::channel();
            focus.send(ToFocus::Summary(None, reply)).await.ok()?;
            told.await.ok()
        };
        let told = tokio::time::timeout(PATIENCE, asked).await;
        told.ok().flatten().map_or(0, |summary| summary.participants)
    }

    /// Hands the caller over to their conference.
    async fn enter(&mut self) {
        let Some(((plan, invite), leg)) =
            self.plan.clone().zip(self.invite.take()).zip(self.focus.legs.remove(&self.call))
        else {
            return self.hang_up();
        };
        let (reply, became) = oneshot::channel();
        let (call, from, entrant) = (self.call, self.focus.room, self.entrant);
        let arrival = Arrival {
            call,
            invite,
            leg: Box::new(Leg { language: self.language, ..leg }),
            from,
            entrant,
            reply,
        };
        if self.focus.control.send(ToControl::Enter(plan, Box::new(arrival))).is_err() {
            return;
        }
        match became.await {
            Ok(Ok(())) => self.use_up(),
            Ok(Err((why, invite, leg))) => {
                // The call's events are for this one again.
                let _ = self.focus.control.send(ToControl::Dialled(call, from));
                self.invite = Some(invite);
                self.focus.legs.insert(call, *leg);
                let (words, length) = prompt::turned_away(self.language, why);
                self.focus.say(call, words);
                self.until = Some(Instant::now() + length);
            }
            // The house is being closed.
            Err(_) => self.focus.tell(Command::Hangup(call)),
        }
    }

    /// They are in: their PIN for one time is none any more.
    fn use_up(&mut self) {
        let (Some(pin), Some(plan)) = (self.used_up.take(), &self.plan) else { return };
        let (house, conference) = (self.focus.house.clone(), plan.id.clone());
        // The disk is not waited for; meanwhile the doors know that it is used up.
        self.focus.house.runtime.spawn(async move {
            if let Err(e) = house.bookings.remove_pin(&conference, &pin).await {
                tracing::error!(error = %e, "a PIN that is used up stays in the ledger");
            }
        });
    }

    fn hang_up(&mut self) {
        self.focus.tell(Command::Hangup(self.call));
        self.focus.left(self.call);
    }
}

impl Focus {
    /// Somebody comes out of the reception.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        self.joins += 1;
        let withheld = |c: &Caller| c.number.status == Shown::Withheld;
        if self.legs.len() >= self.plan.capacity {
            return arrival.turn_away(Turned::Full);
        }
        if !self.plan.window.is_open(SystemTime::now()) {
            return arrival.turn_away(Turned::NotOpen);
        }
        if self.plan.refuse_anonymous && arrival.invite.caller.as_ref().is_some_and(withheld) {
            return arrival.turn_away(Turned::Anonymous);
        }
        let role = if arrival.entrant == Entrant::Host { Role::Host } else { Role::Speaker };
        let place = match self.meeting.enter(role, self.is_hosted()) {
            Ok(place) => place,
            Err(Shut::Locked) => return arrival.turn_away(Turned::Locked),
            Err(Shut::Ended) => return arrival.turn_away(Turned::Ended),
        };
        let Some(room) = self.room_of(arrival.call, place) else { return arrival.turn_away(Turned::Busy) };
        let Arrival { call, mut invite, leg, from, reply, .. } = arrival;
        if let Err(e) = self.house.engine.move_leg(from, LegId(call.0), room) {
            tracing::warn!(error = %e, "a caller was turned away");
            let _ = reply.send(Err((Turned::Busy, invite, leg)));
            return self.tidy(room);
        }
        self.seat(
            &mut invite,
            Leg { stance: Stance::new(role, place), room, through: false, announced: false, ..*leg },
        );
        // They are through already.
        self.acked(call, None);
        self.begin_with_host(call);
        // The reception waits for this.
        let _ = reply.send(Ok(()));
    }
}
