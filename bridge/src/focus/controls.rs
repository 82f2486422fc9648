//! What hosts do to participants and to the meeting, and participants to themselves. What the rules ([`crate::meeting`]) decide is told to the media
//! shard, the roster, the audit and the person concerned.

use super::{Focus, Refused};
use crate::audit;
use crate::meeting::{Act, By, Lobby, Role, Stance, Steer, Told};
use crate::prompt;
use crate::roster::{Course, Kind, now};
use media::LegId;
use serde::Deserialize;
use sip_stack::CallId;
use sip_stack::transport::Command;
use std::collections::HashMap;

/// A control over a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// How they take part.
    Act(Act),
    /// Has the floor of a lecture, and nobody else but hosts: the next question.
    OnlyFloor,
    /// Heard louder or softer, or with less noise; nothing changes where nothing is said of it.
    Sound(SoundWish),
    /// Call ended.
    Remove,
    /// Asked to share name and number.
    Ask,
    /// Neither hears nor is heard.
    Hold,
    /// Is in the meeting again.
    Resume,
}

impl Control {
    /// By its word in URLs.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "remove" => Self::Remove,
            "ask" => Self::Ask,
            "hold" => Self::Hold,
            "resume" => Self::Resume,
            "only-floor" => Self::OnlyFloor,
            _ => Self::Act(Act::named(word).filter(|act| act.is_for(By::Host))?),
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Act(act) => act.as_str(),
            Self::OnlyFloor => "only-floor",
            Self::Sound(_) => "sound",
            Self::Remove => "remove",
            Self::Ask => "ask",
            Self::Hold => "hold",
            Self::Resume => "resume",
        }
    }
}

/// Who wants something done.
#[derive(Debug, Clone)]
pub struct Who {
    /// How the audit names them.
    pub id: String,
    /// Their role.
    pub role: &'static str,
}

/// How a host wants a participant to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoundWish {
    /// dB, −30 to 30: what they say is multiplied with it.
    pub gain: Option<i8>,
    /// The noise behind their voice is taken away.
    pub noise_suppression: Option<bool>,
}

impl SoundWish {
    /// The largest gain either way, dB.
    const MOST: i8 = 30;

    /// Whether something is wished for, and it can be.
    pub fn is_possible(&self) -> bool {
        *self != Self::default() && self.gain.is_none_or(|gain| (-Self::MOST..=Self::MOST).contains(&gain))
    }
}

impl Focus {
    /// A host's control over a participant. What the audit does not take is not done.
    pub(super) fn control(&mut self, participant: &str, control: Control, by: &Who) -> Result<(), Refused> {
        let call = self.call_of(participant).ok_or(Refused::NoParticipant)?;
        match control {
            Control::Act(act) => return self.act(call, By::Host, act, by).map(|_| ()),
            Control::OnlyFloor => {
                let has_it = |leg: &super::Leg| leg.stance.has_floor() && !leg.stance.role().leads();
                let others = self.legs.iter().filter(|(other, leg)| **other != call && has_it(leg));
                let others: Vec<_> = others.map(|(other, _)| *other).collect();
                for other in others {
                    self.act(other, By::Host, Act::TakeFloor, by)?;
                }
                return self.act(call, By::Host, Act::GiveFloor, by).map(|_| ());
            }
            Control::Ask => self.ask(call)?,
            Control::Hold | Control::Resume => self.hold(call, control)?,
            Control::Sound(wish) => self.sound(participant, LegId(call.0), wish)?,
            Control::Remove => {}
        }
        self.record(by, control.as_str(), Some(participant)).map_err(|_| Refused::Busy)?;
        if control == Control::Remove {
            // Nor does an invitation lead back in.
            self.house.links.over(std::time::Instant::now(), participant);
            self.farewell(call, prompt::removed);
        }
        Ok(())
    }

    /// What is wanted of one participant, by themselves or by a host. True: something is not as it was.
    pub(super) fn act(&mut self, call: CallId, by: By, act: Act, who: &Who) -> Result<bool, Refused> {
        let leg = self.legs.get(&call).filter(|leg| leg.monitor.is_none()).ok_or(Refused::NoParticipant)?;
        let (mut meeting, mut stance) = (self.meeting.clone(), leg.stance.clone());
        let participant = leg.participant.clone();
        let effect = meeting.act(&mut stance, by, act);
        if effect.changed {
            let recorded = self.record(who, act.as_str(), Some(&participant));
            // What somebody does to themselves is done, recorded or not; what was not is counted.
            if by == By::Host {
                recorded.map_err(|_| Refused::Busy)?;
            }
            self.meeting = meeting;
            if let Some(leg) = self.legs.get_mut(&call) {
                leg.stance = stance;
            }
            self.settle(call);
            self.begin_with_host(call);
        }
        if let Some(told) = effect.told {
            self.hears(call, told);
        }
        Ok(effect.changed)
    }

    /// What is wanted of the meeting. What the audit does not take is not done.
    pub(super) fn steer(&mut self, steer: Steer, by: &Who) -> Result<(), Refused> {
        let mut meeting = self.meeting.clone();
        let seen = self.legs.iter().filter(|(_, leg)| leg.monitor.is_none());
        let mut people: HashMap<CallId, Stance> =
            seen.map(|(call, leg)| (*call, leg.stance.clone())).collect();
        let mut told = Vec::new();
        let all = people.iter_mut().map(|(call, stance)| (*call, stance));
        if !meeting.steer(steer, all, |call, words| told.push((call, words))) {
            return Ok(());
        }
        self.record(by, steer.as_str(), None).map_err(|_| Refused::Busy)?;
        self.meeting = meeting;
        for (call, stance) in people {
            if let Some(leg) = self.legs.get_mut(&call) {
                leg.stance = stance;
            }
            self.settle(call);
        }
        self.show_course();
        for (call, words) in told {
            self.hears(call, words);
        }
        if steer == Steer::End {
            self.end_meeting();
        }
        Ok(())
    }

    /// What hosts call the meeting.
    pub(super) fn rename(&mut self, title: Option<String>, by: &Who) -> Result<(), Refused> {
        if self.title != title {
            self.record(by, "rename", None).map_err(|_| Refused::Busy)?;
            self.title = title;
            self.show_course();
        }
        Ok(())
    }

    pub(super) fn show_course(&mut self) {
        self.roster.runs(Course {
            locked: self.meeting.is_locked(),
            lecture: self.meeting.is_lecture(),
            lobby: self.meeting.lobby(),
            title: self.title.clone(),
        });
    }

    /// Where all wait for a host, they come in with the first.
    pub(super) fn begin_with_host(&mut self, call: CallId) {
        let is_host = self.legs.get(&call).is_some_and(|leg| leg.stance.role() == Role::Host);
        if is_host && self.meeting.lobby() == Lobby::UntilHost {
            let by = Who {
                id: self.legs.get(&call).map_or_else(String::new, |l| l.participant.clone()),
                role: "host",
            };
            // An audit that takes nothing now leaves them where they are; the host can admit them later.
            let _ = self.steer(Steer::AdmitAll, &by);
        }
    }

    pub(super) fn record(
        &self,
        by: &Who,
        control: &'static str,
        participant: Option<&str>,
    ) -> Result<(), audit::NotRecorded> {
        let pseudonym = participant.and_then(|p| self.roster.pseudonym(p)).map(str::to_owned);
        self.house.audit.record(audit::Event::Controlled {
            at: now(),
            by: by.id.clone(),
            role: by.role,
            conference: self.plan.id.clone(),
            control,
            participant: participant.map(str::to_owned),
            pseudonym,
        })
    }

    /// Tells a participant what is new with them.
    pub(super) fn hears(&self, call: CallId, told: Told) {
        if let Some(leg) = self.legs.get(&call) {
            self.say(call, prompt::told(leg.language, told, self.house.codes.to_dial()));
        }
    }

    /// The roster never tells of a sound that is not to be heard.
    fn sound(&mut self, participant: &str, leg: LegId, wish: SoundWish) -> Result<(), Refused> {
        let gain = wish.gain.map(f32::from);
        let room = self.legs.get(&CallId(leg.0)).map_or(self.room, |l| l.room);
        let set = self.house.engine.set_sound(room, leg, gain, wish.noise_suppression);
        set.map_err(|_| Refused::Busy)?;
        self.roster.update(participant, Kind::Updated, |p| {
            p.sound.gain = wish.gain.unwrap_or(p.sound.gain);
            p.sound.noise_suppression = wish.noise_suppression.unwrap_or(p.sound.noise_suppression);
        });
        Ok(())
    }

    /// Everybody hears that it is over, and then it is.
    fn end_meeting(&mut self) {
        let mut longest = std::time::Duration::ZERO;
        for (call, leg) in &self.legs {
            let (words, length) = prompt::ended(leg.language);
            self.say(*call, words);
            longest = longest.max(length);
        }
        self.ending = Some(tokio::time::Instant::now() + longest);
    }

    /// It is over: all calls end.
    pub(super) fn hang_up(&mut self) {
        self.ending = None;
        let calls: Vec<_> = self.legs.keys().copied().collect();
        for call in calls {
            self.tell(Command::Hangup(call));
            self.left(call);
        }
    }
}
