//! A leg's session: its media as signalling agrees on it and changes it (RFC 3264).

use super::{Focus, House, Leg};
use crate::meeting::Told;
use crate::roster::{Kind, State};
use crate::sound;
use media::LegId;
use media::leg::{Direction, LegSetup};
use sip_stack::CallId;
use sip_stack::message::ReplyExtras;
use sip_stack::sdp::{self, Audio, LocalAudio, Session};
use sip_stack::transport::Command;
use std::net::{IpAddr, SocketAddr};

impl Focus {
    /// Gives the leg its media. False when the shard takes nothing.
    pub(super) fn connect(&self, call: CallId, leg: &mut Leg, theirs: &Audio, source: IpAddr) -> bool {
        let Some(pair) = leg.waiting.take() else { return true };
        let setup = setup(&self.house, call, &leg.audio, theirs, source, leg.monitor.is_some());
        let Some(setup) = setup else { return false };
        let rtcp = theirs.rtcp().unwrap_or(SocketAddr::new(source, theirs.port.wrapping_add(1)));
        match self.house.engine.add(leg.room, setup, pair, rtcp, self.house.runtime.clone()) {
            Ok(transport) => leg.transport = Some(transport),
            Err(e) => tracing::warn!(error = %e, "a call was refused"),
        }
        leg.transport.is_some()
    }

    pub(super) fn reinvite(&mut self, call: CallId, offer: Option<Session>) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let can = self.house.abilities.towards(leg.srtp);
        let Some(offer) = offer else {
            // They want our offer: it is what is in use.
            leg.offered = true;
            let (rtp, audio) = (
                leg.rtp,
                LocalAudio {
                    direction: if leg.held { sdp::Direction::Inactive } else { sdp::Direction::SendRecv },
                    ..leg.audio.offered_again(can)
                },
            );
            return self.tell(Command::Accept(call, rtp, audio, ReplyExtras::default()));
        };
        let held = leg.held;
        let answered = sdp::answer(&offer, can, false);
        match answered.and_then(|(mut audio, theirs)| audio.keep(&leg.audio).map(|()| (audio, theirs))) {
            Ok((mut audio, theirs)) => {
                let rtp = leg.rtp;
                // Their change does not end our hold.
                if held {
                    audio.direction = sdp::Direction::Inactive;
                }
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
    pub(super) fn change(&mut self, call: CallId, audio: &LocalAudio, theirs: &Audio) -> bool {
        let Some(leg) = self.legs.get_mut(&call) else { return true };
        let fallback = theirs.rtp().map_or(leg.rtp.ip(), |a| a.ip());
        let setup = setup(&self.house, call, audio, theirs, fallback, leg.monitor.is_some());
        let Some(setup) = setup else { return false };
        if let Err(e) = self.house.engine.change(leg.room, setup) {
            tracing::warn!(error = %e, "a session was not changed");
            return false;
        }
        leg.audio = audio.clone();
        if let Some(transport) = &leg.transport {
            transport.change(setup, theirs.rtcp());
        }
        self.show(call);
        true
    }

    pub(super) fn acked(&mut self, call: CallId, answer: Option<Session>) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        if let (true, Some(answer)) = (std::mem::take(&mut leg.offered), answer) {
            let can = self.house.abilities.towards(leg.srtp);
            // What was offered at first has its choices of keys still.
            let first = leg.waiting.is_some();
            let mut ours = if first { leg.audio.clone() } else { leg.audio.offered_again(can) };
            if leg.held {
                ours.direction = sdp::Direction::Inactive;
            }
            let Ok((audio, theirs)) = sdp::accept_answer(&ours, &answer, can) else {
                self.tell(Command::Hangup(call));
                return self.left(call);
            };
            leg.audio = audio.clone();
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
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let comes = !std::mem::replace(&mut leg.through, true) && leg.monitor.is_none();
        let waits = leg.stance.waits();
        let hidden = leg.monitor.is_some();
        let (row, held) = (leg.participant.clone(), !leg.audio.direction.sends());
        if hidden {
            // Nobody's rules are for them.
            self.roster
                .update(&row, Kind::Updated, |p| p.state = if held { State::Held } else { State::Live });
            return;
        }
        self.settle(call);
        if comes && waits {
            self.hears(call, Told::Waits);
        }
    }
}

/// The media of what was agreed on. `source` stands in where the peer's SDP has no address. `mute`: nothing that it sends is heard.
fn setup(
    house: &House,
    call: CallId,
    audio: &LocalAudio,
    theirs: &Audio,
    source: IpAddr,
    mute: bool,
) -> Option<LegSetup> {
    // With ICE it turns out where they are.
    let send = audio.direction.sends() && (theirs.rtp().is_some() || audio.path.ice.is_some());
    let direction = Direction { receive: audio.direction.receives() && !mute, send };
    let remote = theirs.rtp().unwrap_or(SocketAddr::new(source, theirs.port));
    sound::setup(LegId(call.0), audio, remote, direction, &house.taste)
}
