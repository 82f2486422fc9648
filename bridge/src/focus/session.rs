//! A leg's session: its media as signalling agrees on it and changes it (RFC 3264).

use super::{Focus, House, Leg};
use crate::roster::{Kind, State};
use crate::sound;
use media::LegId;
use media::leg::{Direction, LegSetup};
use media::rtcp::Session as Rtcp;
use sip_stack::CallId;
use sip_stack::message::ReplyExtras;
use sip_stack::sdp::{self, Audio, LocalAudio, Session};
use sip_stack::transport::Command;
use std::net::{IpAddr, SocketAddr};

impl Focus {
    /// Gives the leg its media. False when the shard takes nothing.
    pub(super) fn connect(&self, call: CallId, leg: &mut Leg, theirs: &Audio, source: IpAddr) -> bool {
        let Some((rtp, rtcp)) = leg.waiting.take() else { return true };
        let setup = setup(&self.house, call, &leg.audio, theirs, source, leg.monitor.is_some());
        let Some(setup) = setup else { return false };
        if let Err(e) = self.house.engine.add(self.room, setup, rtp) {
            tracing::warn!(error = %e, "a call was refused");
            return false;
        }
        let remote = theirs.rtcp().unwrap_or(SocketAddr::new(source, theirs.port.wrapping_add(1)));
        match self.house.engine.control(&setup) {
            Ok(control) => leg.rtcp = Some(Rtcp::new(self.house.runtime.clone(), rtcp, remote, control)),
            Err(e) => tracing::warn!(error = %e, "a leg has no RTCP"),
        }
        true
    }

    pub(super) fn reinvite(&mut self, call: CallId, offer: Option<Session>) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let can = &self.house.capabilities;
        let Some(offer) = offer else {
            // They want our offer: it is what is in use.
            leg.offered = true;
            let (rtp, audio) = (
                leg.rtp,
                LocalAudio {
                    direction: if leg.held { sdp::Direction::Inactive } else { sdp::Direction::SendRecv },
                    crypto: leg.audio.crypto,
                    ..sdp::offer(can)
                },
            );
            return self.tell(Command::Accept(call, rtp, audio, ReplyExtras::default()));
        };
        let held = leg.held;
        match sdp::answer(&offer, can, false) {
            Ok((mut audio, theirs)) => {
                let rtp = leg.rtp;
                keep_key(&leg.audio, &mut audio);
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
        let rekeyed = (leg.audio.crypto, leg.audio.theirs) != (audio.crypto, audio.theirs);
        if let Err(e) = self.house.engine.change(self.room, setup) {
            tracing::warn!(error = %e, "a session was not changed");
            return false;
        }
        if let (Some(rtcp), true, Ok(Some(control))) = (&leg.rtcp, rekeyed, self.house.engine.control(&setup))
        {
            rtcp.set_control(control);
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

    pub(super) fn acked(&mut self, call: CallId, answer: Option<Session>) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        if let (true, Some(answer)) = (std::mem::take(&mut leg.offered), answer) {
            let mut ours = LocalAudio { crypto: leg.audio.crypto, ..sdp::offer(&self.house.capabilities) };
            if leg.held {
                ours.direction = sdp::Direction::Inactive;
            }
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
}

/// A peer that has not changed its key need not learn a new one of ours.
fn keep_key(before: &LocalAudio, audio: &mut LocalAudio) {
    if let (Some(ours), Some(new), true) = (before.crypto, &mut audio.crypto, before.theirs == audio.theirs) {
        new.key = ours.key;
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
    let send = audio.direction.sends() && theirs.rtp().is_some();
    let direction = Direction { receive: audio.direction.receives() && !mute, send };
    let remote = theirs.rtp().unwrap_or(SocketAddr::new(source, theirs.port));
    sound::setup(LegId(call.0), audio, remote, direction, &house.taste)
}
