//! A meeting's rules: who may do what, what follows from it, and what the person concerned hears of it. No SIP, no media, no clock: a focus
//! keeps a [`Stance`] for each of its legs, asks here, and carries out what is decided.
//!
//! Every control says how something is to be, never that it is to change. So order is all that matters: two hosts who want the same get it
//! once, and of two who differ the later one has their way. Nobody's own mute is lifted by somebody else: who is muted by their own wish is
//! asked to speak instead.

mod place;

pub use place::{BREAKOUTS, LINES, Lobby, MutedBy, Place, Role};

/// How firmly a host has muted somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grip {
    /// With all others: they may speak again when they wish.
    Soft,
    /// Until a host lifts it.
    Firm,
}

/// Steps of a participant's own volume, each 4 dB.
const VOLUMES: std::ops::RangeInclusive<i8> = -4..=4;

/// How one participant takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stance {
    role: Role,
    place: Place,
    /// They were let in.
    admitted: bool,
    own_mute: bool,
    grip: Option<Grip>,
    floor: bool,
    deaf: bool,
    volume: i8,
    hand: Option<u64>,
}

impl Stance {
    /// Somebody who has just come.
    pub fn new(role: Role, place: Place) -> Self {
        Self {
            role,
            place,
            admitted: place != Place::Lobby,
            own_mute: false,
            grip: None,
            floor: false,
            deaf: false,
            volume: 0,
            hand: None,
        }
    }

    /// Their role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where they are.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether they wait to be let in, wherever they do.
    pub fn waits(&self) -> bool {
        !self.admitted
    }

    /// Whether they hear nothing, by wish.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Whether they have the floor in a lecture.
    pub fn has_floor(&self) -> bool {
        self.floor
    }

    /// What they hear is multiplied with this.
    pub fn hearing(&self) -> f32 {
        if self.deaf { 0.0 } else { 10f32.powf(f32::from(self.volume) * 4.0 / 20.0) }
    }

    /// When their hand went up, as a place in the order of hands.
    pub fn hand(&self) -> Option<u64> {
        self.hand
    }
}

/// Who wants something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The person concerned.
    Own,
    /// Who steers the meeting.
    Host,
}

/// What is wanted of one participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Not heard any more.
    Mute,
    /// Heard again. Of one's own: when a host has muted them, their hand goes up instead. By a host: who is muted by their own wish is asked.
    Unmute,
    /// Hears nothing any more.
    Deafen,
    /// Hears again.
    Hear,
    /// Hears everything 4 dB louder. Of one's own only.
    Louder,
    /// Hears everything 4 dB softer. Of one's own only.
    Softer,
    /// Raises their hand. Of one's own only.
    RaiseHand,
    /// Lowers it.
    LowerHand,
    /// May speak in a lecture. By hosts only; so are all below.
    GiveFloor,
    /// May not any more.
    TakeFloor,
    /// Steers the meeting from now on.
    MakeHost,
    /// Runs it for a host from now on.
    MakeOperator,
    /// Does neither.
    MakeSpeaker,
    /// Comes in from the lobby.
    Admit,
    /// Goes somewhere else: into a breakout, to a private line, to the green room, or back.
    Move(Place),
}

impl Act {
    /// Its word in URLs and in the audit; `None` for one that has more to it.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Mute, "mute"),
        (Self::Unmute, "unmute"),
        (Self::Deafen, "deafen"),
        (Self::Hear, "hear"),
        (Self::Louder, "louder"),
        (Self::Softer, "softer"),
        (Self::RaiseHand, "raise-hand"),
        (Self::LowerHand, "lower-hand"),
        (Self::GiveFloor, "give-floor"),
        (Self::TakeFloor, "take-floor"),
        (Self::MakeHost, "make-host"),
        (Self::MakeOperator, "make-operator"),
        (Self::MakeSpeaker, "make-speaker"),
        (Self::Admit, "admit"),
    ];

    /// From its word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == word).map(|(act, _)| act)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(act, _)| *act == self).map_or("move", |(_, name)| name)
    }

    /// Whether this one may want it.
    pub fn is_for(self, by: By) -> bool {
        match self {
            Self::Mute | Self::Unmute | Self::Deafen | Self::Hear | Self::LowerHand => true,
            Self::Louder | Self::Softer | Self::RaiseHand => by == By::Own,
            _ => by == By::Host,
        }
    }
}

/// What is wanted of the meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Nobody but hosts is heard, until they unmute themselves.
    MuteAll,
    /// What hosts have muted is heard again.
    UnmuteAll,
    /// Nobody comes in any more.
    Lock,
    /// They do again.
    Unlock,
    /// Only hosts are heard, and who is given the floor.
    Lecture,
    /// Everybody may speak.
    Discussion,
    /// Who comes waits to be let in.
    Lobby(Lobby),
    /// All who wait come in.
    AdmitAll,
    /// All hands go down.
    LowerHands,
    /// All come back from breakouts.
    Recall,
    /// The meeting is over.
    End,
}

impl Steer {
    /// With their words in URLs and in the audit.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::MuteAll, "mute-all"),
        (Self::UnmuteAll, "unmute-all"),
        (Self::Lock, "lock"),
        (Self::Unlock, "unlock"),
        (Self::Lecture, "lecture"),
        (Self::Discussion, "discussion"),
        (Self::Lobby(Lobby::Off), "lobby-off"),
        (Self::Lobby(Lobby::UntilHost), "lobby-until-host"),
        (Self::Lobby(Lobby::Admit), "lobby-on"),
        (Self::AdmitAll, "admit-all"),
        (Self::LowerHands, "lower-hands"),
        (Self::Recall, "recall"),
        (Self::End, "end"),
    ];

    /// From its word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == word).map(|(steer, _)| steer)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(steer, _)| *steer == self).map_or("", |(_, name)| name)
    }
}

/// What the person concerned hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// They are muted, by their own wish.
    Muted,
    /// They are heard.
    Heard,
    /// A host has muted them.
    MutedByHost,
    /// A host has muted everybody; they may lift it themselves.
    AllMuted,
    /// Only who is given the floor is heard from now on.
    Lecture,
    /// They have the floor.
    Floor,
    /// A host would like to hear them.
    AskedToSpeak,
    /// They cannot unmute themselves; their hand is up.
    WishPassedOn,
    /// Their hand is up.
    HandRaised,
    /// It is down.
    HandLowered,
    /// They hear nothing any more.
    Deaf,
    /// They hear again.
    Hears,
    /// They wait to be let in.
    Waits,
    /// They are let in.
    Admitted,
    /// They are a host now.
    Host,
}

/// What came of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// Something is not as it was.
    pub changed: bool,
    /// What the person concerned hears.
    pub told: Option<Told>,
}

/// Why somebody does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// A host has locked the meeting.
    Locked,
    /// It is over.
    Ended,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meeting {
    locked: bool,
    lecture: bool,
    lobby: Lobby,
    ended: bool,
    /// Hands that went up.
    hands: u64,
}

impl Meeting {
    /// A meeting that begins with this lobby.
    pub fn new(lobby: Lobby) -> Self {
        Self { lobby, ..Self::default() }
    }

    /// Whether nobody comes in any more.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Whether only hosts are heard, and who has the floor.
    pub fn is_lecture(&self) -> bool {
        self.lecture
    }

    /// Who waits.
    pub fn lobby(&self) -> Lobby {
        self.lobby
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Where somebody comes who enters; `hosted`: a host is in already.
    ///
    /// # Errors
    /// [`Shut`].
    pub fn enter(&self, role: Role, hosted: bool) -> Result<Place, Shut> {
        match (role, self.lobby) {
            _ if self.ended => Err(Shut::Ended),
            (role, _) if role.leads() => Ok(Place::Main),
            _ if self.locked => Err(Shut::Locked),
            (_, Lobby::Admit) => Ok(Place::Lobby),
            (_, Lobby::UntilHost) if !hosted => Ok(Place::Lobby),
            _ => Ok(Place::Main),
        }
    }

    /// Why a participant is not heard; `None`: they are.
    pub fn muted(&self, stance: &Stance) -> Option<MutedBy> {
        match stance {
            Stance { grip: Some(_), .. } => Some(MutedBy::Host),
            Stance { floor: false, place: Place::Main, .. } if self.lecture && !stance.role.leads() => {
                Some(MutedBy::Lecture)
            }
            Stance { own_mute: true, .. } => Some(MutedBy::Own),
            _ => None,
        }
    }

    /// What a key for both means now.
    pub fn toggled_mute(&self, stance: &Stance) -> Act {
        if self.muted(stance).is_none() { Act::Mute } else { Act::Unmute }
    }

    /// The same of a hand.
    pub fn toggled_hand(stance: &Stance) -> Act {
        if stance.hand.is_none() { Act::RaiseHand } else { Act::LowerHand }
    }

    /// Carries out what is wanted of one participant.
    pub fn act(&mut self, stance: &mut Stance, by: By, act: Act) -> Effect {
        let before = stance.clone();
        let told = if act.is_for(by) { self.apply(stance, by, act) } else { None };
        let changed = *stance != before;
        // Who does something themselves hears how it is now; of what others do, only what is new.
        Effect { changed, told: told.filter(|told| changed || by == By::Own || *told == Told::AskedToSpeak) }
    }

    fn apply(&mut self, stance: &mut Stance, by: By, act: Act) -> Option<Told> {
        match act {
            Act::Mute if by == By::Own => {
                stance.own_mute = true;
                Some(Told::Muted)
            }
            Act::Mute => {
                let heard = self.muted(stance).is_none();
                (stance.grip, stance.floor) = (Some(Grip::Firm), false);
                heard.then_some(Told::MutedByHost)
            }
            Act::Unmute if by == By::Own => {
                stance.own_mute = false;
                stance.grip = stance.grip.filter(|grip| *grip == Grip::Firm);
                if self.muted(stance).is_none() {
                    return Some(Told::Heard);
                }
                self.raise(stance);
                Some(Told::WishPassedOn)
            }
            Act::Unmute | Act::GiveFloor => {
                let floor = act == Act::GiveFloor || self.lecture;
                let new = floor && !stance.floor;
                (stance.grip, stance.hand, stance.floor) = (None, None, stance.floor || floor);
                Some(match self.muted(stance) {
                    Some(_) => Told::AskedToSpeak,
                    None if new && self.lecture => Told::Floor,
                    None => Told::Heard,
                })
            }
            Act::TakeFloor => {
                let heard = self.muted(stance).is_none();
                stance.floor = false;
                (heard && self.muted(stance).is_some()).then_some(Told::MutedByHost)
            }
            Act::Deafen => {
                stance.deaf = true;
                Some(Told::Deaf)
            }
            Act::Hear => {
                stance.deaf = false;
                Some(Told::Hears)
            }
            Act::Louder | Act::Softer => {
                let step = if act == Act::Louder { 1 } else { -1 };
                stance.volume = (stance.volume + step).clamp(*VOLUMES.start(), *VOLUMES.end());
                None
            }
            Act::RaiseHand => {
                self.raise(stance);
                Some(Told::HandRaised)
            }
            Act::LowerHand => {
                stance.hand = None;
                Some(Told::HandLowered)
            }
            Act::MakeHost => {
                (stance.role, stance.grip) = (Role::Host, None);
                Some(Told::Host)
            }
            Act::MakeOperator => {
                (stance.role, stance.grip) = (Role::Operator, None);
                None
            }
            Act::MakeSpeaker => {
                stance.role = Role::Speaker;
                None
            }
            Act::Admit => {
                if stance.admitted {
                    return None;
                }
                (stance.place, stance.admitted) = (Place::Main, true);
                Some(Told::Admitted)
            }
            Act::Move(to) => {
                // Who waits may be talked to in private, and comes in by being let in. Nobody who was is made to wait.
                let possible = match to {
                    Place::Lobby => !stance.admitted,
                    Place::Line(n) => (1..=LINES).contains(&n),
                    Place::Main | Place::Green => stance.admitted,
                    Place::Breakout(n) => stance.admitted && (1..=BREAKOUTS).contains(&n),
                };
                if possible {
                    stance.place = to;
                }
                None
            }
        }
    }

    fn raise(&mut self, stance: &mut Stance) {
        if stance.hand.is_none() {
            self.hands += 1;
            stance.hand = Some(self.hands);
        }
    }

    /// Carries out what is wanted of the meeting, and tells what each of its people hears of it. True: something is not as it was.
    pub fn steer<'a, K>(
        &mut self,
        steer: Steer,
        people: impl Iterator<Item = (K, &'a mut Stance)>,
        mut tell: impl FnMut(K, Told),
    ) -> bool {
        let was = self.clone();
        match steer {
            Steer::Lock => self.locked = true,
            Steer::Unlock => self.locked = false,
            Steer::Lecture => self.lecture = true,
            Steer::Discussion => self.lecture = false,
            Steer::Lobby(lobby) => self.lobby = lobby,
            Steer::End => self.ended = true,
            Steer::MuteAll | Steer::UnmuteAll | Steer::AdmitAll | Steer::LowerHands | Steer::Recall => {}
        }
        let mut changed = *self != was;
        for (who, stance) in people {
            let (before, heard) = (stance.clone(), was.muted(stance).is_none());
            let told = self.steer_one(steer, stance);
            changed |= *stance != before;
            let hears = self.muted(stance).is_none();
            let told = match steer {
                Steer::Lecture if heard && !hears => Some(Told::Lecture),
                Steer::Discussion | Steer::UnmuteAll if !heard && hears => Some(Told::Heard),
                _ => told.filter(|_| *stance != before),
            };
            if let Some(told) = told {
                tell(who, told);
            }
        }
        changed
    }

    fn steer_one(&self, steer: Steer, stance: &mut Stance) -> Option<Told> {
        let waits = stance.place == Place::Lobby;
        match steer {
            Steer::MuteAll if !stance.role.leads() && stance.admitted && self.muted(stance).is_none() => {
                stance.grip = Some(Grip::Soft);
                Some(Told::AllMuted)
            }
            Steer::UnmuteAll => {
                stance.grip = None;
                None
            }
            // Who was given the floor has it no longer when everybody has.
            Steer::Discussion => {
                stance.floor = false;
                None
            }
            // Who talks to an operator is let in by them.
            Steer::AdmitAll | Steer::Lobby(Lobby::Off) if waits => {
                (stance.place, stance.admitted) = (Place::Main, true);
                Some(Told::Admitted)
            }
            Steer::LowerHands => {
                stance.hand = None;
                Some(Told::HandLowered)
            }
            Steer::Recall if matches!(stance.place, Place::Breakout(_)) => {
                stance.place = Place::Main;
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
