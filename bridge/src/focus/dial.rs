//! Legs that begin with a call of ours: hosts and operators dial people in, and callers are transferred.

use super::own::Owned;
use super::{Control, Focus, Leg, Refused, ToControl};
use crate::audit;
use crate::dial::{DialError, Outcome, another_may_do};
use crate::disclosure::{Identity, Value};
use crate::roster::now;
use crate::trunk::Way;
use sip_stack::endpoint::CallId;
use sip_stack::message::Callee;
use sip_stack::sdp::{self, Direction, LocalAudio, Session, Srtp};
use sip_stack::transport::{Command, NewCall, Whom};
use sip_stack::{Cause, Own, Shown};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use vault::{Context, Kind, OwnNumber};

/// A call that is not answered yet.
pub(super) struct Dialling {
    callee: Arc<Callee>,
    /// How this try goes.
    way: Way,
    /// Ways that are left.
    ways: VecDeque<Try>,
    /// Keys were offered, and this way takes calls without them too.
    may_do_without: bool,
    /// The call whose REFER asked for this one, and which.
    refer: Option<(CallId, u32)>,
}

/// A way that is to be tried.
#[derive(Debug, Clone)]
struct Try {
    way: Way,
    /// Without keys: with them it was refused.
    plain: bool,
}

/// Answers with which a peer refuses an offer that it does not understand (RFC 3261 §21.4.13, §21.4.26, §21.6.4).
const NOT_SO: [u16; 3] = [415, 488, 606];

impl Focus {
    /// Calls somebody. The row is there at once, as joining: who is called withholds their number until they share it themselves.
    pub(super) fn dial(
        &mut self,
        callee: Arc<Callee>,
        by: &str,
        refer: Option<(CallId, u32)>,
    ) -> Result<String, DialError> {
        if self.legs.len() >= self.plan.capacity || self.meeting.has_ended() {
            return Err(DialError::Full);
        }
        let ways = self.house.trunks.ways().into_iter();
        let ways: VecDeque<_> = ways.map(|way| Try { way, plain: false }).collect();
        if ways.is_empty() {
            return Err(DialError::NoTrunk);
        }
        self.house.dialler.count(SystemTime::now(), &self.plan.id)?;
        let absent = |field| Context { scope: self.room.0, subject: callee.subject, field };
        let identity = Identity {
            name: Value::new(Shown::Absent, None, absent(vault::CallerName::FIELD), false),
            number: Value::new(Shown::Withheld, None, absent(vault::CallerNumber::FIELD), false),
            profile: Value::new(Shown::Absent, None, absent(vault::CallerProfile::FIELD), false),
            fields: Vec::new(),
        };
        let participant = self.roster.join(identity);
        let event = audit::Event::Dialled {
            at: now(),
            by: by.to_owned(),
            conference: self.plan.id.clone(),
            participant: participant.clone(),
            pseudonym: self.roster.pseudonym(&participant).unwrap_or_default().to_owned(),
        };
        // What is not recorded is not done.
        let made = self.house.audit.record(event).map_err(|_| DialError::NotRecorded);
        let made = made.and_then(|()| self.attempt(&participant, callee, ways, refer));
        if made.is_err() {
            self.roster.leave(&participant);
        }
        made.map(|()| participant)
    }

    /// Tries the next way.
    fn attempt(
        &mut self,
        participant: &str,
        callee: Arc<Callee>,
        mut ways: VecDeque<Try>,
        refer: Option<(CallId, u32)>,
    ) -> Result<(), DialError> {
        let (Try { way, .. }, srtp, audio) = loop {
            let next = ways.pop_front().ok_or(DialError::NoTrunk)?;
            let srtp = self.house.trunks.srtp_of(&next.way);
            if let Some(audio) = self.offer_by(&next) {
                break (next, srtp, audio);
            }
        };
        let can = self.house.abilities.towards(srtp);
        let may_do_without = audio.path.profile.is_secure() && can.srtp == Srtp::Optional;
        let remote = way.to.to.1;
        let pair = self.house.engine.reserve(remote.is_ipv6()).map_err(|_| DialError::Busy)?;
        let external = self.house.media_address.filter(|a| a.is_ipv6() == remote.is_ipv6());
        let address = external.or_else(|| Some(pair.address.ip()).filter(|ip| !ip.is_unspecified()));
        let rtp = SocketAddr::new(address.unwrap_or_else(|| towards(remote)), pair.address.port());
        let call = self.house.sip.new_call();
        let own = Owned { number: self.own_number(&callee), ..Owned::default() };
        let dialler = &self.house.dialler;
        let new = NewCall {
            id: call,
            to: way.to.clone(),
            whom: Whom::Number(callee.clone()),
            rtp,
            audio: audio.clone(),
            privacy_id: false,
            trunk: way.trunk,
            credentials: way.login.clone(),
            redirects: dialler.redirects,
            silence: Some(dialler.silence),
            ring: Some(dialler.ring),
        };
        let leg = Leg {
            participant: participant.to_owned(),
            own,
            language: self.plan.language,
            offered: true,
            dialling: Some(Box::new(Dialling { callee: callee.clone(), way, ways, may_do_without, refer })),
            ..Leg::bare((self.room, pair), rtp, audio, srtp, callee.subject)
        };
        // Control must know whose the call is before anything of it happens.
        self.control.send(ToControl::Dialled(call, self.room)).map_err(|_| DialError::Busy)?;
        self.legs.insert(call, leg);
        self.tell(Command::Invite(Box::new(new)));
        Ok(())
    }

    /// Our offer to who is called by this way. Keys are offered only where nobody reads them. `None`: there must be some, and there can be none.
    fn offer_by(&self, next: &Try) -> Option<LocalAudio> {
        let can = self.house.abilities.towards(self.house.trunks.srtp_of(&next.way));
        let offer = sdp::offer(can);
        let hidden = next.way.to.to.0.is_secure();
        match can.srtp {
            Srtp::Off => Some(offer),
            Srtp::Optional if next.plain || !hidden => Some(offer),
            Srtp::Required if !hidden => None,
            Srtp::Optional | Srtp::Required => offer.secured(&sdp::OFFERED_SUITES, can),
        }
    }

    /// The number is what the one who is called could share by their own act.
    fn own_number(&self, callee: &Callee) -> Own<OwnNumber> {
        let ring = self.house.sip.reader().ring();
        let at = |field| Context { scope: 0, subject: callee.subject, field };
        let sealed = callee.number.adopt(ring, at(vault::DialledNumber::FIELD), ring, at(OwnNumber::FIELD));
        Own { sealed: sealed.ok(), asserted: false }
    }

    /// A call of ours rings.
    pub(super) fn rings(&mut self, call: CallId, status: u16) {
        let Some(dialling) = self.legs.get(&call).and_then(|l| l.dialling.as_ref()) else { return };
        self.house.trunks.record(&dialling.way, Some(status));
        if let Some((referrer, refer)) = dialling.refer {
            self.tell(Command::ReferProgress(referrer, refer, status));
        }
    }

    /// A call of ours is answered.
    pub(super) fn answered(&mut self, call: CallId, answer: Session) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        if let Some(dialling) = leg.dialling.take() {
            self.house.trunks.record(&dialling.way, Some(200));
            if let Some((referrer, refer)) = dialling.refer {
                self.tell(Command::ReferProgress(referrer, refer, 200));
            }
        }
        self.acked(call, Some(answer));
    }

    /// A call of ours ended before it was answered: the next way is tried, or the row goes. False: it was no such call.
    pub(super) fn not_answered(&mut self, call: CallId, cause: Cause, retry_after: Option<u32>) -> bool {
        let Some(dialling) = self.legs.get_mut(&call).and_then(|l| l.dialling.take()) else { return false };
        let Some(leg) = self.legs.remove(&call) else { return true };
        let Dialling { callee, way, mut ways, may_do_without, refer } = *dialling;
        match cause {
            Cause::TimedOut => self.house.trunks.record(&way, None),
            Cause::Refused(status) => {
                self.house.trunks.record(&way, Some(status));
                // RFC 3261 §20.33: of one call it says when to try again, of a server that it is full.
                if let Some(seconds) = retry_after.filter(|_| status == 503) {
                    self.house.trunks.rest(&way, Instant::now() + Duration::from_secs(seconds.into()));
                }
            }
            _ => {}
        }
        let not_so = matches!(cause, Cause::Refused(status) if NOT_SO.contains(&status));
        let once_more = may_do_without && not_so;
        if once_more {
            ways.push_front(Try { way, plain: true });
        }
        if (once_more || another_may_do(cause)) && self.attempt(&leg.participant, callee, ways, refer).is_ok()
        {
            return true;
        }
        let outcome = Outcome::of(cause);
        if let Some((referrer, refer)) = refer {
            self.tell(Command::ReferProgress(referrer, refer, outcome.status()));
        }
        self.roster.leave_with(&leg.participant, Some(outcome));
        true
    }

    /// A caller wants somebody else called in their place (RFC 3515), as far as their trunk may and the number is allowed.
    pub(super) fn refer(&mut self, call: CallId, refer: u32, callee: Option<Callee>) {
        let participant = self.legs.get(&call).filter(|l| l.monitor.is_none()).map(|l| l.participant.clone());
        let (Some(callee), Some(participant)) = (callee, participant) else {
            return self.tell(Command::Referred(call, refer, Err(603)));
        };
        match self.dial(Arc::new(callee), &participant, Some((call, refer))) {
            Ok(_) => self.tell(Command::Referred(call, refer, Ok(()))),
            Err(DialError::ConferenceCap | DialError::DayCap) => {
                self.tell(Command::Referred(call, refer, Err(603)))
            }
            Err(_) => self.tell(Command::Referred(call, refer, Err(503))),
        }
    }

    /// Puts a participant on hold, or takes them back: neither hears nor is heard.
    pub(super) fn hold(&mut self, call: CallId, control: Control) -> Result<(), Refused> {
        let leg = self.legs.get_mut(&call).ok_or(Refused::NoParticipant)?;
        let can = self.house.abilities.towards(leg.srtp);
        if leg.waiting.is_some() || leg.changing.is_some() {
            return Err(Refused::Busy);
        }
        let held = control == Control::Hold;
        if leg.held == held {
            return Ok(());
        }
        if let Some(theirs) = leg.web.clone() {
            return if self.hold_web(call, &theirs, held) { Ok(()) } else { Err(Refused::Busy) };
        }
        // `inactive`, which every peer takes; some take `sendonly` for a fault.
        let direction = if held { Direction::Inactive } else { Direction::SendRecv };
        let audio = LocalAudio { direction, ..leg.audio.offered_again(can) };
        (leg.held, leg.changing) = (held, Some(audio.clone()));
        let rtp = leg.rtp;
        self.tell(Command::Modify(call, rtp, audio));
        Ok(())
    }

    /// What the peer answered to that; `None`: it refused.
    pub(super) fn modified(&mut self, call: CallId, answer: Option<Session>) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let Some(offered) = leg.changing.take() else { return };
        let can = self.house.abilities.towards(leg.srtp);
        let agreed = answer.as_ref().and_then(|a| sdp::accept_answer(&offered, a, can).ok());
        match agreed {
            Some((audio, theirs)) => {
                if !self.change(call, &audio, theirs) {
                    // The shard takes nothing: what it does not do is not said.
                    self.tell(Command::Hangup(call));
                    self.left(call);
                }
            }
            None => leg.held = !leg.held,
        }
    }
}

/// Our address on the way to a peer, where the configuration says none.
fn towards(remote: SocketAddr) -> IpAddr {
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind((any, 0)).and_then(|s| {
        s.connect(remote)?;
        s.local_addr()
    });
    probe.map_or(any, |a| a.ip())
}
