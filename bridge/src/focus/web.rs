//! Participants who come by their browser: a leg of this focus like any other, whose session is agreed on over HTTP (as in RFC 9725) instead of SIP.

use super::own::Owned;
use super::{Focus, Leg};
use crate::disclosure::{Identity, Value, Wish};
use crate::meeting::{Role, Shut, Stance};
use sip_stack::sdp::{self, Audio, Direction, Local, LocalAudio, Session, Srtp};
use sip_stack::{CallId, Own, Shown};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use vault::{CallerNumber, CallerProfile, Context, Kind, OwnName, Sealed};

/// Nothing from a browser for so long, and it is gone: a page that is closed says no goodbye.
pub(super) const GONE: Duration = Duration::from_secs(12);

/// Somebody comes by their browser.
#[derive(Debug)]
pub struct WebJoin {
    /// The participant that they were invited as.
    pub participant: String,
    /// What their browser offers.
    pub offer: Session,
    /// Their name, sealed under the SIP worker's keys for this subject.
    pub name: Option<Sealed<OwnName>>,
    /// The subject.
    pub subject: u64,
    /// Our address, as they reached it.
    pub local: IpAddr,
    /// Theirs.
    pub source: IpAddr,
    /// Told our description, or why there is none.
    pub reply: oneshot::Sender<Result<Vec<u8>, NotIn>>,
}

/// Why somebody does not come in by their browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIn {
    /// The offer is not a browser's: one audio line, with keys by DTLS and ways by ICE.
    Offer,
    /// They are in by a telephone.
    ByPhone,
    /// As many are in as may be.
    Full,
    /// The meeting is locked, or over.
    Shut,
    /// No room, port or shard now.
    Busy,
}

impl Focus {
    pub(super) fn join_by_web(&mut self, join: WebJoin) {
        self.joins += 1;
        let WebJoin { participant, offer, name, subject, local, source, reply } = join;
        let answer = self.let_in(participant, &offer, name, subject, local, source);
        // Who asked may have gone; then the leg ends by its silence.
        let _ = reply.send(answer);
    }

    fn let_in(
        &mut self,
        participant: String,
        offer: &Session,
        name: Option<Sealed<OwnName>>,
        subject: u64,
        local: IpAddr,
        source: IpAddr,
    ) -> Result<Vec<u8>, NotIn> {
        // A page that was loaded again takes the place of its own leg.
        let before = self.call_of(&participant);
        if before.and_then(|call| self.legs.get(&call)).is_some_and(|leg| leg.web.is_none()) {
            return Err(NotIn::ByPhone);
        }
        let stance = before.and_then(|call| self.legs.get(&call)).map(|leg| leg.stance.clone());
        let can = self.house.abilities.towards(Some(Srtp::Required));
        let (audio, theirs) = sdp::answer(offer, can, false).map_err(|_| NotIn::Offer)?;
        if offer.lines != 1 || audio.path.dtls.is_none() || audio.path.ice.is_none() {
            return Err(NotIn::Offer);
        }
        let stance = match stance {
            Some(stance) => stance,
            None if self.legs.len() >= self.plan.capacity => return Err(NotIn::Full),
            None if !self.plan.window.is_open(SystemTime::now()) => return Err(NotIn::Shut),
            None => match self.meeting.enter(Role::Speaker, self.is_hosted()) {
                Ok(place) => Stance::new(Role::Speaker, place),
                Err(Shut::Locked | Shut::Ended) => return Err(NotIn::Shut),
            },
        };
        let call = self.house.sip.new_call();
        let pair = self.house.engine.reserve(local.is_ipv6()).map_err(|_| NotIn::Busy)?;
        let room = self.room_of(call, stance.place()).ok_or(NotIn::Busy)?;
        let external = self.house.media_address.filter(|a| a.is_ipv6() == local.is_ipv6());
        let address = external.unwrap_or(match pair.address.ip() {
            ip if ip.is_unspecified() => local,
            ip => ip,
        });
        let rtp = SocketAddr::new(address, pair.address.port());
        let described = Local {
            session: rand::random::<u64>() >> 2,
            version: 1,
            rtp,
            audio: audio.clone(),
            place: (theirs.index, offer.lines),
        };
        let own = Owned { name: Own { sealed: name, asserted: false }, ..Owned::default() };
        let mut leg = Leg {
            participant: participant.clone(),
            stance,
            own,
            language: self.plan.language,
            web: Some(Box::new(theirs.clone())),
            ..Leg::bare((room, pair), rtp, audio, Some(Srtp::Required), subject)
        };
        if !self.connect(call, &mut leg, theirs, source) {
            self.tidy(room);
            return Err(NotIn::Busy);
        }
        if let Some(before) = before {
            self.left(before);
        }
        let identity = self.identity_of(call, &leg);
        self.roster.join_as(participant, identity);
        self.legs.insert(call, leg);
        self.house.browsers.send_modify(|n| *n += 1);
        self.acked(call, None);
        let mut text = Vec::with_capacity(1024);
        // There is one line, and its keys come by DTLS.
        described.write(&mut text, |_, _| {}, |_, _| {});
        Ok(text)
    }

    /// A name is shown where the meeting does not withhold names unless they are shared; more is not known.
    fn identity_of(&self, call: CallId, leg: &Leg) -> Identity {
        let wish = if self.plan.withhold.name { Wish::Withhold } else { Wish::Share };
        let absent = |field| Context { scope: self.room.0, subject: call.0, field };
        Identity {
            name: self.chosen(call, leg.subject, &leg.own.name, wish),
            number: Value::new(Shown::Absent, None, absent(CallerNumber::FIELD), false),
            profile: Value::new(Shown::Absent, None, absent(CallerProfile::FIELD), false),
            fields: Vec::new(),
        }
    }

    /// Puts somebody's browser on hold, or takes it back: nothing is agreed on anew, we do neither send nor listen.
    pub(super) fn hold_web(&mut self, call: CallId, theirs: &Audio, held: bool) -> bool {
        let Some(leg) = self.legs.get_mut(&call) else { return false };
        let direction = if held { Direction::Inactive } else { Direction::SendRecv };
        let audio = LocalAudio { direction, ..leg.audio.clone() };
        leg.held = held;
        self.change(call, &audio, theirs)
    }
}
