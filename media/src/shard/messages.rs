//! What a shard is told and what it tells: all that goes over its rings.

use super::{LiveMember, LiveRoom};
use crate::leg::{Coders, LegSetup, Protection};
use crate::mixer::Kit;
use crate::prompt::Words;
use crate::room::Notice;
use crate::suppress::Suppressor;
use crate::tap::Tap;
use crate::units::{LegId, RoomId};
use std::net::SocketAddr;

/// What a shard is told. Memory comes and goes whole.
#[derive(Debug)]
pub enum Command {
    /// Takes a conference.
    Open(Box<LiveRoom>),
    /// Ends a conference; its legs come back first.
    Close(RoomId),
    /// Takes a leg, and what the mix needs for its rates.
    Add(RoomId, Box<LiveMember>, Option<Box<Kit>>),
    /// What a mix needs for rates of legs in other parts.
    Adopt(RoomId, Box<Kit>),
    /// Gives a leg back.
    Remove(RoomId, LegId),
    /// Moves a leg into another conference.
    Move(Box<Move>),
    /// Applies new signalling.
    Change(RoomId, Box<Change>),
    /// Takes keys that were agreed on by DTLS.
    Keys(RoomId, LegId, Box<Option<Protection>>),
    /// Sends where ICE says.
    Nominate(RoomId, LegId, SocketAddr),
    /// Sets how a leg's sound is heard.
    Sound(RoomId, LegId, Sound),
    /// Mutes or unmutes.
    Mute(RoomId, LegId, bool),
    /// How loud a leg hears the meeting, as a factor.
    Volume(RoomId, LegId, f32),
    /// Says something to a leg alone.
    Say(RoomId, LegId, Words),
    /// Says something to everybody in a conference.
    Announce(RoomId, Words),
    /// Who outside hears what a leg says.
    Tap(RoomId, LegId, Option<Box<Tap>>),
    /// Whether somebody watches a conference.
    Watch(RoomId, bool),
    /// Ends the thread.
    Stop,
}

/// How a leg's sound is to be heard; what is `None` stays.
#[derive(Debug, Default)]
pub struct Sound {
    /// What it is multiplied with, dB, −30 to 30.
    pub gain: Option<f32>,
    /// What takes noise away from it, or nothing.
    pub suppressor: Option<Option<Box<Suppressor>>>,
}

/// A leg that moves into another conference, with all that it has: whoever talks to it notices nothing.
#[derive(Debug)]
pub struct Move {
    /// Where it is.
    pub from: RoomId,
    /// The leg.
    pub leg: LegId,
    /// Where it goes.
    pub to: RoomId,
    /// What that mix needs for its rates.
    pub kit: Option<Box<Kit>>,
    /// The leg itself, where the other conference is on another shard or has no room for it.
    pub member: Option<Box<LiveMember>>,
}

/// New signalling for a leg, with what its codecs need; what it needs no more comes back in it.
#[derive(Debug)]
pub struct Change {
    /// What was agreed on.
    pub setup: LegSetup,
    /// Its codecs.
    pub coders: Box<Coders>,
    /// What the mix needs for its rates.
    pub kit: Kit,
}

/// What a shard tells.
#[derive(Debug)]
pub enum Told {
    /// A notice of a tick.
    Notice(RoomId, LegId, Notice),
    /// A leg that was removed or could not be added, to be freed.
    Member(RoomId, Box<LiveMember>),
    /// A leg on its way to another shard, or what its move left over, to be freed.
    Moved(Box<Move>),
    /// What a change left over, to be freed.
    Change(Box<Change>),
    /// What a mix had already, to be freed.
    Kit(Box<Kit>),
    /// Keys that are needed no more, to be freed.
    Keys(Box<Option<Protection>>),
    /// What took a leg's noise away, to be freed.
    Suppressor(Box<Suppressor>),
    /// What was said, to be freed.
    Words(Words),
    /// A tap that is over, to be freed.
    Tap(Box<Tap>),
    /// A conference that was closed, to be freed.
    Room(Box<LiveRoom>),
    /// Nothing: fills a new ring.
    Nothing,
}

/// The longest datagram beside RTP that is passed on, bytes.
pub const LONGEST_ASIDE: usize = 1500;

/// A datagram that came to a leg's RTP port and is no RTP: RTCP, STUN or DTLS.
#[derive(Debug, Clone, Copy)]
pub struct Aside {
    /// Whose port.
    pub leg: LegId,
    /// From where.
    pub from: SocketAddr,
    len: usize,
    bytes: [u8; LONGEST_ASIDE],
}

impl Aside {
    /// One that says nothing.
    pub const EMPTY: Self = Self {
        leg: LegId(0),
        from: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
        len: 0,
        bytes: [0; LONGEST_ASIDE],
    };

    /// With this datagram; `None` when it is too long.
    pub(super) fn new(leg: LegId, from: SocketAddr, bytes: &[u8]) -> Option<Self> {
        let mut aside = Self { leg, from, len: bytes.len(), ..Self::EMPTY };
        aside.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(aside)
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
