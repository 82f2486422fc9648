//! What a host does to a participant: muting, holding, removing, asking, and how they are heard.

use super::Focus;
use crate::roster::Kind;
use media::LegId;
use serde::Deserialize;
use sip_stack::transport::Command;

/// A control over a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Heard louder or softer, or with less noise; nothing changes where nothing is said of it.
    Sound(SoundWish),
    /// Not heard any more.
    Mute,
    /// Heard again.
    Unmute,
    /// Call ended.
    Remove,
    /// Asked to share name and number.
    Ask,
    /// Neither hears nor is heard.
    Hold,
    /// Is in the meeting again.
    Resume,
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
    pub(super) fn control(&mut self, participant: &str, control: Control) -> Result<(), Refused> {
        let call = self.call_of(participant).ok_or(Refused::NoParticipant)?;
        match control {
            Control::Ask => self.ask(call)?,
            Control::Hold | Control::Resume => self.hold(call, control)?,
            Control::Mute | Control::Unmute => {
                let muted = control == Control::Mute;
                // The roster never says muted of who is heard.
                self.house.engine.mute(self.room, LegId(call.0), muted).map_err(|_| Refused::Busy)?;
                self.roster.update(participant, Kind::Updated, |p| p.muted = muted);
            }
            Control::Sound(wish) => self.sound(participant, LegId(call.0), wish)?,
            Control::Remove => {
                self.tell(Command::Hangup(call));
                self.left(call);
            }
        }
        Ok(())
    }

    /// The roster never tells of a sound that is not to be heard.
    fn sound(&mut self, participant: &str, leg: LegId, wish: SoundWish) -> Result<(), Refused> {
        let gain = wish.gain.map(f32::from);
        let set = self.house.engine.set_sound(self.room, leg, gain, wish.noise_suppression);
        set.map_err(|_| Refused::Busy)?;
        self.roster.update(participant, Kind::Updated, |p| {
            p.sound.gain = wish.gain.unwrap_or(p.sound.gain);
            p.sound.noise_suppression = wish.noise_suppression.unwrap_or(p.sound.noise_suppression);
        });
        Ok(())
    }
}
