//! What a focus is told, and what it tells control.

use super::{Arrival, Control, WebJoin, Who};
use crate::dial::DialError;
use crate::disclosure::{Choice, Viewer};
use crate::legal::{self, LegalError};
use crate::meeting::{self, Place, Steer};
use crate::monitor::Monitor;
use crate::roster::{Follow, Summary, Text};
use crate::routing::Plan;
use media::room::Notice;
use media::{LegId, RoomId};
use sip_stack::dialog::Flow;
use sip_stack::endpoint::{Invite, SubscriptionId};
use sip_stack::message::Callee;
use sip_stack::sdp::Session;
use sip_stack::{CallId, Cause};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Why a control was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No such participant.
    NoParticipant,
    /// The media shard or the audit takes nothing now.
    Busy,
    /// They were asked a moment ago.
    TooSoon,
    /// They withhold it.
    Withheld,
    /// What was handed in does not fit.
    NotFit,
}

/// What a focus is told.
#[derive(Debug)]
pub enum ToFocus {
    /// A call for this conference; of somebody who listens without being seen, if it is one.
    Join(Box<Invite>, Option<Monitor>),
    /// Somebody comes out of the reception.
    Arrive(Box<Arrival>),
    /// Somebody comes by their browser.
    Web(Box<WebJoin>),
    /// Somebody guesses the conference's PINs.
    Guessed,
    /// A call wants to change its session.
    Reinvite(CallId, Option<Session>),
    /// A call's ACK came.
    Acked(CallId, Option<Session>),
    /// A caller pressed a key, told by signalling.
    Digit(CallId, sip_stack::Digit),
    /// A call is over; when a peer that refused may be tried again, s.
    Ended(CallId, Cause, Option<u32>),
    /// A call of ours rings or progresses.
    Rings(CallId, u16),
    /// A call of ours was answered.
    Answered(CallId, Session),
    /// A peer answered to a change of ours; `None`: it refused.
    Modified(CallId, Option<Session>),
    /// A caller wants somebody called in their place; `None`: nobody that may be called.
    Refer(CallId, u32, Option<Callee>),
    /// Somebody is to be called. Tells the participant.
    Dial(Arc<Callee>, String, oneshot::Sender<Result<String, DialError>>),
    /// The shard tells something of a leg.
    Notice(LegId, Notice),
    /// A watcher comes.
    Watch(Arc<Viewer>, oneshot::Sender<(Text, Follow)>),
    /// Somebody wants the list once.
    Snapshot(Arc<Viewer>, oneshot::Sender<Text>),
    /// Somebody wants the conference in short; without a viewer, what everybody may know.
    Summary(Option<Arc<Viewer>>, oneshot::Sender<Summary>),
    /// A host's control over a participant, and what became of it.
    Control(String, Control, Who, oneshot::Sender<Result<(), Refused>>),
    /// A host's control over the meeting, and what became of it.
    Steer(Steer, Who, oneshot::Sender<Result<(), Refused>>),
    /// What hosts call the meeting from now on.
    Rename(Option<String>, Who, oneshot::Sender<Result<(), Refused>>),
    /// Somebody is to be in a breakout, or with all others again.
    Place(String, Place, Who, oneshot::Sender<Result<(), Refused>>),
    /// What an operator has noted of a participant, each sealed under the viewer's key.
    Note(String, Arc<Viewer>, Vec<Option<String>>, Who, oneshot::Sender<Result<(), Refused>>),
    /// All who are and were there. `None`: no such list is kept.
    Attendance(Arc<Viewer>, oneshot::Sender<Option<Text>>),
    /// Who has left is in that list no more.
    ForgetGone(Who, oneshot::Sender<Result<(), Refused>>),
    /// What a participant does to themselves. `None`: no such participant.
    Own(String, OwnAct, oneshot::Sender<Option<Text>>),
    /// A participant wants to know what is shown of them, and to whom it was. `None`: no such participant.
    Me(String, oneshot::Sender<Option<Text>>),
    /// A participant chooses on their own page. `None`: no such participant.
    Choose(String, Choice, oneshot::Sender<Option<Text>>),
    /// What a participant withholds is read for a legal reason.
    Legal {
        /// The request.
        request: String,
        /// Who asked.
        by: legal::Person,
        /// Whose values.
        participant: String,
        /// The values, sealed for the key outside.
        reply: oneshot::Sender<Result<LegalValues, LegalError>>,
    },
    /// Somebody subscribes to the conference's state by SIP, or does so anew.
    Subscribe(SubscriptionId, Flow),
    /// A subscriber took what it was told.
    Notified(SubscriptionId),
    /// A subscription is over.
    Unsubscribed(SubscriptionId),
    /// All calls end: the house is being closed.
    HangUp,
}

/// What a participant does on their own page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnAct {
    /// Takes part in another way.
    Act(meeting::Act),
    /// Leaves.
    Leave,
}

/// A participant's values, each as a JWE for the key outside; `None`: there is none.
#[derive(Debug, Default, serde::Serialize)]
pub struct LegalValues {
    pub(super) name: Option<String>,
    pub(super) number: Option<String>,
    pub(super) profile: Option<String>,
}

/// A focus says that nobody has been in it for a while, having seen so many [`ToFocus::Join`]s and [`ToFocus::Dial`]s.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Its room.
    pub room: RoomId,
    /// Joins that it saw.
    pub joins: u64,
}

/// What a focus, or the API, tells control.
#[derive(Debug)]
pub enum ToControl {
    /// Nobody has been in it for a while.
    Idle(Idle),
    /// A call of ours is this room's.
    Dialled(CallId, RoomId),
    /// The conference with this id is to be there, and a [`ToFocus::Dial`] follows. Tells its inbox.
    Begin(String, oneshot::Sender<mpsc::Sender<ToFocus>>),
    /// The inbox of the conference with this id is wanted, if there is one now.
    Find(String, oneshot::Sender<mpsc::Sender<ToFocus>>),
    /// Somebody comes out of the reception, into this conference.
    Enter(Plan, Box<Arrival>),
    /// A reception's room is closed.
    Received(RoomId),
    /// This room is one more of the conference that has that one.
    Opened(RoomId, RoomId),
    /// This one is no more.
    Closed(RoomId),
    /// Somebody guesses PINs of the conference with this id.
    Guessed(String),
}
