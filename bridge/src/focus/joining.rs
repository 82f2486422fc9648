//! A call becomes a leg, and a leg a participant.

use super::codes::Keys;
use super::own::Owned;
use super::places::Done;
use super::quality::Meter;
use super::{Focus, Leg};
use crate::meeting::{Place, Role, Shut, Stance};
use crate::monitor::Monitor;
use crate::prompt::Language;
use crate::roster::Verified;
use media::RoomId;
use media::ports::Pair;
use sip_stack::endpoint::Invite;
use sip_stack::message::{LinkToken, Options, ReplyExtras};
use sip_stack::sdp::{self, LocalAudio, Srtp};
use sip_stack::transport::Command;
use sip_stack::{Caller, Shown};
use std::net::SocketAddr;

impl Focus {
    pub(super) fn join(&mut self, mut invite: Invite, monitor: Option<Monitor>) {
        self.joins += 1;
        let call = invite.call;
        let replaced = invite.replaces.filter(|old| self.legs.contains_key(old));
        // Who listens without being seen cannot be followed by somebody who speaks.
        if replaced.and_then(|old| self.legs.get(&old)).is_some_and(|leg| leg.monitor.is_some()) {
            return self.reject(call, 403, None);
        }
        if self.legs.len() >= self.plan.capacity + usize::from(replaced.is_some()) {
            return self.reject(call, 486, None);
        }
        let withheld = |c: &Caller| c.number.status == Shown::Withheld;
        if monitor.is_none() && self.plan.refuse_anonymous && invite.caller.as_ref().is_some_and(withheld) {
            // RFC 5079 §4: Anonymity Disallowed.
            return self.reject(call, 433, None);
        }
        // Whoever takes a call's place takes part as it did.
        let stance = match replaced.and_then(|old| self.legs.get(&old)) {
            Some(old) => old.stance.clone(),
            None if monitor.is_some() => Stance::new(Role::Listener, Place::Main),
            None => match self.meeting.enter(Role::Speaker, self.is_hosted()) {
                Ok(place) => Stance::new(Role::Speaker, place),
                Err(Shut::Locked | Shut::Ended) => return self.reject(call, 403, None),
            },
        };
        let Some(room) = self.room_of(call, stance.place()) else { return self.reject(call, 503, None) };
        let Some(leg) = self.answer(&invite, monitor, room, stance) else { return self.tidy(room) };
        let (rtp, audio) = (leg.rtp, leg.audio.clone());
        let participant = self.seat(&mut invite, leg);
        // In the answer to the call, so that nobody else has it.
        let links = participant.filter(|_| self.house.trunks.gives_links(invite.source.ip()));
        // Who waits does not see yet who is in.
        let waits = self.legs.get(&call).is_some_and(|leg| leg.stance.waits());
        let links = links.filter(|_| !waits);
        let link =
            links.map(|participant| (participant, LinkToken::random())).filter(|(participant, token)| {
                let now = std::time::Instant::now();
                self.house.links.add_link(now, &self.plan.id, participant, &token.to_string())
            });
        self.accept(&invite, rtp, audio, link.map(|(_, token)| token));
        // RFC 3891 §3: the call whose place it takes ends when it is accepted.
        if let Some(old) = replaced {
            self.tell(Command::Hangup(old));
            self.left(old);
        }
    }

    /// Answers a call that was accepted by a leg.
    pub(super) fn accept(
        &self,
        invite: &Invite,
        rtp: SocketAddr,
        audio: LocalAudio,
        link: Option<LinkToken>,
    ) {
        let call = invite.call;
        // Who requires reliable provisional responses (an IMS, say) expects one (RFC 3262 §3); the answer follows its PRACK.
        if invite.extensions.required.has(Options::REL100) {
            self.tell(Command::Progress(call, 183, Some((rtp, audio.clone()))));
        }
        self.tell(Command::Accept(call, rtp, audio, ReplyExtras { link, ..ReplyExtras::default() }));
    }

    /// A leg for a call, with its media where the call brought an offer. `None`: the call was refused.
    pub(super) fn answer(
        &self,
        invite: &Invite,
        monitor: Option<Monitor>,
        room: RoomId,
        stance: Stance,
    ) -> Option<Leg> {
        let call = invite.call;
        let refuse = |status, warning| {
            self.reject(call, status, warning);
            None
        };
        let srtp = self.house.trunks.srtp(invite.source.ip());
        let can = self.house.abilities.towards(srtp);
        let (audio, theirs) = match &invite.offer {
            Some(offer) => match sdp::answer(offer, can, false) {
                Ok((audio, theirs)) => (audio, Some(theirs)),
                // RFC 3261 §21.4.26: with a Warning that says why.
                Err(sdp::NotAcceptable) => return refuse(488, Some(305)),
            },
            None => {
                let secure = can.srtp == Srtp::Required;
                let offer = sdp::offer(can);
                match if secure { offer.secured(&sdp::OFFERED_SUITES, can) } else { Some(offer) } {
                    Some(offer) => (offer, None),
                    None => return refuse(488, Some(305)),
                }
            }
        };
        // An offer of the other family than the call came by could not be told where we are (RFC 3261 §20.43: 301).
        let v6 = invite.local.is_ipv6();
        if theirs.and_then(sdp::Audio::rtp).is_some_and(|a| a.is_ipv6() != v6) {
            return refuse(488, Some(301));
        }
        let pair = match self.house.engine.reserve(v6) {
            Ok(pair) => pair,
            Err(e) => {
                tracing::warn!(error = %e, "a call was refused");
                return refuse(503, None);
            }
        };
        let external = self.house.media_address.filter(|a| a.is_ipv6() == v6);
        let address = external.unwrap_or(match pair.address.ip() {
            ip if ip.is_unspecified() => invite.local.ip(),
            ip => ip,
        });
        let rtp = SocketAddr::new(address, pair.address.port());
        let mut leg = Leg {
            stance,
            monitor,
            language: self.plan.language,
            offered: theirs.is_none(),
            ..Leg::bare((room, pair), rtp, audio, srtp, invite.subject)
        };
        if self.record_monitor(&leg, true).is_err() {
            return refuse(503, None);
        }
        if let Some(theirs) = theirs
            && !self.connect(call, &mut leg, theirs, invite.source.ip())
        {
            let _ = self.record_monitor(&leg, false);
            return refuse(503, None);
        }
        Some(leg)
    }

    /// Gives a leg its row, and the caller's values pass to the conference. The row's id, unless nobody is to see it.
    pub(super) fn seat(&mut self, invite: &mut Invite, mut leg: Leg) -> Option<String> {
        let identity = self.adopt(invite);
        let spoken = leg.own.spoken.take();
        leg.own = Owned { spoken, ..Owned::take(invite.caller.as_mut()) };
        leg.participant = match &leg.monitor {
            None => self.roster.join(identity),
            Some(_) => self.roster.listen(identity),
        };
        if let Some(verified) = invite.caller.as_ref().and_then(|c| Verified::of(c.verification)) {
            self.roster.verified(&leg.participant, verified);
        }
        let seen = leg.monitor.is_none().then(|| leg.participant.clone());
        self.legs.insert(invite.call, leg);
        self.settle(invite.call);
        seen
    }
}

impl Leg {
    /// One that has just begun: with the room where its sound will be, and its sockets.
    pub(super) fn bare(
        (room, pair): (RoomId, Pair),
        rtp: SocketAddr,
        audio: LocalAudio,
        srtp: Option<Srtp>,
        subject: u64,
    ) -> Self {
        Self {
            participant: String::new(),
            stance: Stance::new(Role::Speaker, Place::Main),
            room,
            done: Done::default(),
            through: false,
            announced: false,
            warned: None,
            waiting: Some(pair),
            rtp,
            audio,
            offered: false,
            transport: None,
            srtp,
            meter: Meter::default(),
            subject,
            own: Owned::default(),
            keys: Keys::default(),
            language: Language::default(),
            asked: None,
            monitor: None,
            dialling: None,
            held: false,
            changing: None,
            web: None,
        }
    }
}
