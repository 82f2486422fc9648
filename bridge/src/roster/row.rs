//! What is told of a conference and of each participant in it.

use crate::audit::Receipt;
use crate::dial::Outcome;
use crate::disclosure::Identity;
use crate::meeting::{Lobby, MutedBy, Role};
use serde::Serialize;
use sip_stack::message::{Attestation, Verification};
use std::collections::VecDeque;
use std::sync::Arc;

/// How far a participant's call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Answered, but the caller's side is not through yet.
    Joining,
    /// In the meeting.
    Live,
    /// In the meeting, on hold by the caller's side.
    Held,
    /// Gone.
    Left,
}

/// What is proved of a caller's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// Their carrier knows them and that the number is theirs (attestation A).
    Full,
    /// Their carrier knows them, not their right to the number (B).
    Partial,
    /// The call came into the network from elsewhere (C).
    Gateway,
    /// What came for proof is wrong.
    Failed,
}

impl Verified {
    /// Of what SIP tells.
    pub fn of(verification: Verification) -> Option<Self> {
        Some(match verification {
            Verification::None => return None,
            Verification::Failed => Self::Failed,
            Verification::Verified(Attestation::Full) => Self::Full,
            Verification::Verified(Attestation::Partial) => Self::Partial,
            Verification::Verified(Attestation::Gateway) => Self::Gateway,
        })
    }
}

/// How well a participant is heard.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quality {
    /// Mean opinion score by the E-model (ITU-T G.107), 1.0 to 4.5, one decimal.
    pub mos: f32,
    /// Loss of what the participant sends, percent, one decimal.
    pub loss: f32,
    /// Interarrival jitter, ms.
    pub jitter: f32,
    /// Round-trip time, ms, where the participant's reports tell.
    pub round_trip: Option<f32>,
    /// How the participant hears, where their reports tell.
    pub hears: Option<Hears>,
}

/// How well a participant hears.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hears {
    /// Mean opinion score, 1.0 to 4.5, one decimal.
    pub mos: f32,
    /// Loss of what we send, percent, one decimal.
    pub loss: f32,
    /// Interarrival jitter, ms.
    pub jitter: f32,
}

/// How a participant is to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Sound {
    /// Louder or softer than they come, dB, −30 to 30.
    pub gain: i8,
    /// The noise behind their voice is taken away.
    pub noise_suppression: bool,
}

/// A row, without the caller's values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Participant {
    /// `p_` and random letters: says nothing outside this conference.
    pub id: String,
    /// `Guest N`, by the order of joining.
    pub pseudonym: String,
    /// Role.
    pub role: Role,
    /// State.
    pub state: State,
    /// Not heard.
    pub muted: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_by: Option<MutedBy>,
    /// Hears nothing, by wish.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deaf: bool,
    /// Waits to be let in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lobby: bool,
    /// In a breakout: its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breakout: Option<u8>,
    /// On a private line: its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u8>,
    /// In the green room.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub green: bool,
    /// Has the floor in a lecture.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub floor: bool,
    /// How a host wants them to be heard.
    pub sound: Sound,
    /// Speaks now.
    pub speaking: bool,
    /// Raised hand.
    pub hand: bool,
    /// When it went up (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_raised_at: Option<String>,
    /// Loudness now, dBov, −127 to 0.
    pub level: i8,
    /// How well it is heard; `null` until something was heard.
    pub quality: Option<Quality>,
    /// When the call was answered (RFC 3339, UTC).
    pub joined_at: String,
    /// What is proved of the caller's number, without the number (RFC 8224).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What became of a call to somebody that was not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Listens without being seen: only auditors see the row.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// A row with what is held of the caller.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) public: Participant,
    pub(super) identity: Identity,
    pub(super) receipts: VecDeque<Receipt>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The whole list.
    Snapshot,
    /// A new row.
    Joined,
    /// A row changed.
    Updated,
    /// A row is gone; its last state is in the event.
    Left,
    /// Somebody began or stopped speaking, or speaks louder or softer.
    Speaking,
    /// The conference itself changed.
    Conference,
}

/// How a meeting is run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Course {
    /// Nobody comes in any more.
    pub locked: bool,
    /// Only hosts are heard, and who has the floor.
    pub lecture: bool,
    /// Who waits to be let in.
    pub lobby: Lobby,
    /// What hosts call it: for those alone who steer it or are in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// The conference, in snapshots and in its own events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Id.
    pub id: String,
    /// Participants in it.
    pub participants: usize,
    /// Who waits to be let in.
    pub waiting: usize,
    /// How the meeting is run.
    #[serde(flatten)]
    pub course: Course,
    /// Participants at most.
    pub capacity: usize,
    /// `open` or `ended`.
    pub state: &'static str,
    /// When it began (RFC 3339, UTC).
    pub started_at: String,
    /// When somebody was last found guessing its PINs (RFC 3339, UTC): for those alone who steer it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pins_guessed_at: Option<String>,
    /// What is to be noted of participants: for those alone who ask for it and note it.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub fields: Arc<[String]>,
    /// There is a list of who was there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub attendance: bool,
}
