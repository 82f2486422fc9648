//! What every focus works with.

use super::Codes;
use super::quality::Scores;
use crate::audit::Audit;
use crate::booking::Bookings;
use crate::dial::Dialler;
use crate::ivr::Script;
use crate::legal::Legal;
use crate::link::Links;
use crate::monitor::Monitors;
use crate::pin::Doors;
use crate::routing::Routing;
use crate::sound::{Abilities, Taste};
use crate::trunk::Trunks;
use crate::webhook::Hooks;
use media::{Engine, RoomId};
use sip_stack::transport::Handle;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What every focus works with.
#[derive(Debug)]
pub struct House {
    /// SIP.
    pub sip: Handle,
    /// Media.
    pub engine: Engine,
    /// Encrypted memory.
    pub vault: vault::Vault,
    /// What was disclosed.
    pub audit: Audit,
    /// Codes that callers may dial.
    pub codes: Codes,
    /// Callers' ways to their own pages.
    pub links: Links,
    /// Who may listen without being seen.
    pub monitors: Monitors,
    /// Requests to read what is withheld.
    pub legal: Legal,
    /// Carriers.
    pub trunks: Arc<Trunks>,
    /// Calls that hosts ask for.
    pub dialler: Dialler,
    /// What we can do.
    pub abilities: Abilities,
    /// What its legs' sound is like.
    pub taste: Taste,
    /// How well all are heard.
    pub scores: Scores,
    /// A call from which nothing comes for so long ends; `None`: it does not.
    pub media_timeout: Option<Duration>,
    /// Address that SDP names, if it is not the one on which the call came.
    pub media_address: Option<IpAddr>,
    /// Which conference a number belongs to.
    pub routing: Arc<Routing>,
    /// PINs.
    pub doors: Doors,
    /// Conferences that accounts have made.
    pub bookings: Bookings,
    /// How callers are led into conferences.
    pub script: Arc<Script>,
    /// Where work runs that is not signalling: RTCP here.
    pub runtime: tokio::runtime::Handle,
    /// Rooms that were opened.
    pub rooms: AtomicU64,
    /// The site's own programs that are told of what happens.
    pub hooks: Hooks,
    /// Browsers that are in meetings: calls of which the SIP worker does not know.
    pub browsers: watch::Sender<usize>,
}

impl House {
    /// An id for a new room.
    pub fn new_room(&self) -> RoomId {
        RoomId(1 + self.rooms.fetch_add(1, Ordering::Relaxed))
    }
}
