//! The rest's handle on the shards: rooms and legs go in by rings, notices come out by rings.

mod events;
mod handle;
mod moving;

pub use events::{Event, Events};

use crate::dtls::{Dtls, DtlsFault};
use crate::leg::{Coders, Leg, LegError, LegSetup, Protection};
use crate::mixer::{Kit, Rates};
use crate::ports::{Pair, Ports, PortsError};
use crate::prompt::Words;
use crate::room::{Manner, Notice, spread};
use crate::shard::{
    Aside, Bell, Change, Command, Counters, LiveMember, LiveRoom, Priority, Shard, Socket, Sound, Told,
    enable_timestamps, prepare_thread, wall_clock,
};
use crate::tap::Tap;
use crate::transport::{Lines, Parcel, Sockets, Transport};
use crate::units::{LegId, RoomId};
use handle::Handle;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use vault::{Fingerprint, MediaKeys, PlaceError};

/// Commands waiting for a shard at most.
const COMMANDS: usize = 4096;
/// Notices waiting for their reader at most, per shard.
const NOTICES: usize = 8192;
/// Datagrams beside RTP that wait for their legs' tasks at most, per shard.
const ASIDES: usize = 256;
/// Conferences per phase and shard at most.
const ROOMS: usize = 2048;

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No ports.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// The operating system refused a thread, a socket option or an event descriptor.
    #[error("media engine: {0}")]
    Io(#[from] std::io::Error),
    /// No protected memory for a thread.
    #[error(transparent)]
    Protection(#[from] PlaceError),
    /// No handshakes can be made.
    #[error(transparent)]
    Dtls(#[from] DtlsFault),
    /// A leg's codec or keys could not be had.
    #[error(transparent)]
    Leg(#[from] LegError),
    /// A shard does not take commands: it is overloaded or has ended.
    #[error("the media shard takes no commands")]
    Busy,
    /// A shard has so much to do that another leg could make its ticks late.
    #[error("the media shards have too much to do")]
    Overloaded,
    /// No such room.
    #[error("no such media room")]
    NoRoom,
}

/// How the engine is to be.
#[derive(Debug, Default)]
pub struct Settings {
    /// Real-time threads, at least 1.
    pub shards: usize,
    /// What all rooms have in common.
    pub manner: Manner,
    /// Opens the keys of legs that have some.
    pub keys: Option<MediaKeys>,
    /// Legs may agree on keys by DTLS; only with `keys`.
    pub dtls: bool,
    /// Conferences for more legs than this are spread over all shards; 0: none.
    pub spread_above: usize,
}

/// A shard that works for more of its time than this takes no more legs, thousandths: what is left is for what comes all at once.
const MOST_BUSY: u64 = 800;

/// All shards. Dropping it stops them.
#[derive(Debug)]
pub struct Engine {
    core: Arc<Core>,
}

/// What legs' tasks reach too.
#[derive(Debug)]
struct Core {
    ports: Ports,
    shards: Vec<Handle>,
    manner: Manner,
    keys: Option<MediaKeys>,
    dtls: Option<Dtls>,
    places: Mutex<Places>,
    spread_above: usize,
    tasks: Arc<Tasks>,
    told: mpsc::UnboundedSender<Event>,
}

/// Who gets what comes to a leg's RTP port beside RTP.
type Tasks = Mutex<HashMap<LegId, mpsc::Sender<Parcel>>>;

/// Where all rooms and legs are.
#[derive(Debug, Default)]
struct Places {
    rooms: HashMap<RoomId, Place>,
    /// Legs on their way from one shard to another, and what they are to be told when they are there.
    moving: HashMap<LegId, Vec<Command>>,
}

/// Where a room is, and what its mixes can do.
#[derive(Debug)]
struct Place {
    /// Its parts: one, but for a conference that is spread over shards.
    parts: Vec<Part>,
    legs: HashMap<LegId, Seat>,
    has: (Rates, Rates),
}

/// A leg in a room.
#[derive(Debug, Clone, Copy)]
struct Seat {
    /// In which part it is.
    part: usize,
    /// At which rates it speaks and hears.
    needs: (Rates, Rates),
}

/// The rates at which a leg speaks and hears.
fn rates(setup: &LegSetup) -> (Rates, Rates) {
    let (mut speak, mut hear) = <(Rates, Rates)>::default();
    setup.speaks_at().for_each(|rate| speak.add(rate));
    hear.add(setup.hears_at());
    (speak, hear)
}

#[derive(Debug)]
struct Part {
    shard: usize,
    legs: usize,
}

impl Place {
    /// The rates that its mixes need once there is a leg with these.
    fn with(&self, needs: (Rates, Rates)) -> (Rates, Rates) {
        (self.has.0.with(needs.0), self.has.1.with(needs.1))
    }

    /// The part with the fewest legs.
    fn emptiest(&self) -> Option<usize> {
        (0..self.parts.len()).min_by_key(|part| self.parts[*part].legs)
    }

    /// A leg comes.
    fn seat(&mut self, leg: LegId, seat: Seat) {
        self.parts[seat.part].legs += 1;
        self.legs.insert(leg, seat);
    }

    /// A leg goes; in which part it was.
    fn leave(&mut self, leg: LegId) -> Option<usize> {
        let Seat { part, .. } = self.legs.remove(&leg)?;
        self.parts[part].legs -= 1;
        Some(part)
    }

    /// What each of its mixes lacks for those.
    fn lacks(&self, needs: (Rates, Rates)) -> Kit {
        Kit::new(needs.0, needs.1, self.has)
    }

    /// The shard that has a leg.
    fn shard_of(&self, leg: LegId) -> Option<usize> {
        self.legs.get(&leg).map(|seat| self.parts[seat.part].shard)
    }
}

struct RingOnDrop(Arc<Bell>);

impl Drop for RingOnDrop {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// A ring whose memory was touched before a tick comes to it: no page of it is missing later.
fn ring<T>(size: usize, filler: impl Fn() -> T) -> (Producer<T>, Consumer<T>) {
    let (mut producer, mut consumer) = RingBuffer::new(size);
    while producer.push(filler()).is_ok() {}
    while consumer.pop().is_ok() {}
    (producer, consumer)
}

impl Engine {
    /// Starts the real-time threads. Must be called inside a tokio runtime, whose reactor wakes the readers.
    ///
    /// # Errors
    /// [`EngineError::Io`], [`EngineError::Protection`], [`EngineError::Dtls`].
    pub fn start(ports: Ports, settings: Settings) -> Result<(Self, Vec<Events>), EngineError> {
        let Settings { shards, manner, keys, dtls, spread_above } = settings;
        let dtls = keys.clone().filter(|_| dtls).map(Dtls::start).transpose()?;
        let tasks = Arc::new(Tasks::default());
        let (told_by_tasks, others) = mpsc::unbounded_channel();
        let mut others = Some(others);
        let mut handles = Vec::new();
        let mut events = Vec::new();
        for index in 0..shards.max(1) {
            let (commands, commands_out) = ring(COMMANDS, || Command::Stop);
            let (told_in, told) = ring(NOTICES, || Told::Nothing);
            let (asides_in, asides) = ring(ASIDES, || Aside::EMPTY);
            let (bell, reader) = (Arc::new(Bell::new()?), Arc::new(Bell::new()?));
            let counters = Arc::new(Counters::default());
            let shard = Shard::new(
                commands_out,
                bell.clone(),
                (told_in, asides_in),
                reader.clone(),
                counters.clone(),
                ROOMS,
            );
            let readers_bell = Bell::listen(reader.clone())?;
            let stack = keys.as_ref().map(MediaKeys::stack).transpose().map_err(PlaceError::from)?;
            let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
                // However the shard ends, its reader must notice that the ring is abandoned.
                let _last = RingOnDrop(reader);
                match prepare_thread() {
                    Priority::RealTime => tracing::info!(shard = index, "real-time priority"),
                    Priority::Raised => tracing::warn!(shard = index, "no real-time priority, a raised one: see CAP_SYS_NICE"),
                    Priority::Usual => tracing::warn!(
                        shard = index,
                        "no real-time priority: ticks are as punctual as the machine is idle; see CAP_SYS_NICE"
                    ),
                }
                match stack {
                    // What encrypting leaves on the stack nobody can read. A panic was printed by the hook.
                    Some(stack) => drop(stack.run(|| shard.run())),
                    None => shard.run(),
                }
            })?;
            let (tasks, others) = (tasks.clone(), others.take());
            events.push(Events { told, asides, tasks, core: Weak::new(), others, bell: readers_bell });
            handles.push(Handle::new(commands, bell, counters, Some(thread)));
        }
        let places = Mutex::default();
        let told = told_by_tasks;
        let core =
            Arc::new(Core { ports, shards: handles, manner, keys, dtls, places, spread_above, tasks, told });
        events.iter_mut().for_each(|events| events.core = Arc::downgrade(&core));
        Ok((Self { core }, events))
    }

    /// Reserves sockets for a leg of a peer of IPv6 or IPv4; to be named in the SDP.
    ///
    /// # Errors
    /// [`EngineError::Ports`] when all are in use.
    pub fn reserve(&self, v6: bool) -> Result<Pair, EngineError> {
        let pair = self.core.ports.bind(v6)?;
        enable_timestamps(&pair.rtp)?;
        Ok(pair)
    }

    /// Opens a conference for `capacity` legs, in which music may be played to who is alone: on the shard with the fewest, or a large one in parts on all of them.
    ///
    /// # Errors
    /// [`EngineError::Busy`].
    pub fn open(&self, room: RoomId, capacity: usize, music: bool) -> Result<(), EngineError> {
        let Core { shards, manner, spread_above, .. } = &*self.core;
        let manner = Manner { music: manner.music.filter(|_| music), ..*manner };
        let rooms = &mut self.core.places().rooms;
        let whole = shards.len() == 1 || *spread_above == 0 || capacity <= *spread_above;
        let load = |shard| {
            let parts = rooms.values().flat_map(|place| &place.parts);
            parts.filter(|p| p.shard == shard).map(|p| p.legs + 1).sum::<usize>()
        };
        let least = (0..shards.len()).min_by_key(|s| load(*s)).unwrap_or(0);
        let mut sides = if whole { Vec::new() } else { spread::parts(shards.len()) };
        let count = sides.len().max(1);
        let at: Vec<usize> = if whole { vec![least] } else { (0..count).collect() };
        for (opened, shard) in at.iter().enumerate() {
            let part = LiveRoom::new(room, capacity, manner).in_parts(sides.pop());
            if let Err(e) = shards[*shard].tell(Command::Open(Box::new(part))) {
                at[..opened].iter().for_each(|shard| shards[*shard].insist(Command::Close(room)));
                return Err(e);
            }
        }
        let parts = at.into_iter().map(|shard| Part { shard, legs: 0 }).collect();
        rooms.insert(room, Place { parts, legs: HashMap::new(), has: Default::default() });
        Ok(())
    }

    /// Closes a conference, if there is such a one, and frees its legs.
    pub fn close(&self, room: RoomId) {
        for part in self.core.places().rooms.remove(&room).iter().flat_map(|place| &place.parts) {
            self.core.shards[part.shard].insist(Command::Close(room));
        }
    }

    /// Puts a leg into a conference; what it has beside its sound goes on `runtime`, RTCP to `rtcp`.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`], [`EngineError::Leg`], [`EngineError::Io`].
    pub fn add(
        &self,
        room: RoomId,
        setup: LegSetup,
        pair: Pair,
        rtcp: SocketAddr,
        runtime: Runtime,
    ) -> Result<Transport, EngineError> {
        let leg = Leg::new(setup, self.core.keys.as_ref(), wall_clock())?;
        let rtp = setup.has_asides().then(|| pair.rtp.try_clone()).transpose()?;
        let sockets = Sockets { rtp, rtcp: pair.rtcp };
        let member = Box::new(LiveMember::new(leg, Socket::new(pair.rtp)));
        let mut places = self.core.places();
        let place = places.rooms.get_mut(&room).ok_or(EngineError::NoRoom)?;
        let seat = Seat { part: place.emptiest().ok_or(EngineError::NoRoom)?, needs: rates(&setup) };
        let needs = place.with(seat.needs);
        self.core.equip(room, place, needs, seat.part)?;
        let shard = &self.core.shards[place.parts[seat.part].shard];
        if shard.counters.busy.load(Ordering::Relaxed) > MOST_BUSY {
            return Err(EngineError::Overloaded);
        }
        let kit = Some(place.lacks(needs)).filter(|kit| !kit.is_empty()).map(Box::new);
        shard.tell(Command::Add(room, member, kit))?;
        place.has = needs;
        place.seat(setup.id, seat);
        drop(places);
        // Its task may have something to tell of the leg at once.
        let core = Arc::downgrade(&self.core);
        let lines: Weak<dyn Lines> = core;
        let made = Transport::new(runtime, lines, setup, sockets, rtcp);
        if made.is_err() {
            self.remove(room, setup.id);
        }
        Ok(made?)
    }

    /// Takes a leg that was added out of its conference.
    pub fn remove(&self, room: RoomId, leg: LegId) {
        let places = &mut *self.core.places();
        let Some(place) = places.rooms.get_mut(&room) else { return };
        // One that is on its way is freed when it is there.
        if let Some(part) = place.leave(leg)
            && !places.moving.contains_key(&leg)
        {
            self.core.shards[place.parts[part].shard].insist(Command::Remove(room, leg));
        }
    }

    /// Hands over endings that shards could not take when they were told. To be called now and then.
    pub fn settle(&self) {
        self.core.shards.iter().for_each(Handle::settle);
    }

    /// Applies new signalling to a leg.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`], [`EngineError::Leg`].
    pub fn change(&self, room: RoomId, setup: LegSetup) -> Result<(), EngineError> {
        // Whether noise is taken away is nothing that is signalled: it stays as it is.
        let signalled = LegSetup { noise_suppression: false, ..setup };
        let coders = Box::new(Coders::new(&signalled, self.core.keys.as_ref())?);
        let places = &mut *self.core.places();
        let place = places.rooms.get_mut(&room).ok_or(EngineError::NoRoom)?;
        let seat = *place.legs.get(&setup.id).ok_or(EngineError::NoRoom)?;
        let seat = Seat { needs: rates(&setup), ..seat };
        let needs = place.with(seat.needs);
        self.core.equip(room, place, needs, seat.part)?;
        let kit = place.lacks(needs);
        let shard = &self.core.shards[place.parts[seat.part].shard];
        let change = Command::Change(room, Box::new(Change { setup, coders, kit }));
        moving::tell(&mut places.moving, shard, setup.id, change)?;
        place.has = needs;
        place.legs.insert(setup.id, seat);
        Ok(())
    }

    /// What proves our certificate, where legs may agree on keys by DTLS.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.core.dtls.as_ref().map(Dtls::fingerprint)
    }

    /// Sets how a leg is heard by the others: what its sound is multiplied with, dB, −30 to 30, and whether the noise behind it is taken away. What is
    /// `None` stays; all of it is done, or nothing.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn set_sound(
        &self,
        room: RoomId,
        leg: LegId,
        gain: Option<f32>,
        noise_suppression: Option<bool>,
    ) -> Result<(), EngineError> {
        let suppressor = noise_suppression.map(|wanted| wanted.then(Box::default));
        self.tell(room, leg, Command::Sound(room, leg, Sound { gain, suppressor }))
    }

    /// Mutes or unmutes what a leg says.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn mute(&self, room: RoomId, leg: LegId, muted: bool) -> Result<(), EngineError> {
        self.tell(room, leg, Command::Mute(room, leg, muted))
    }

    /// Sets how loud a leg hears the meeting, 0 to 8; 0: not at all.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn set_volume(&self, room: RoomId, leg: LegId, factor: f32) -> Result<(), EngineError> {
        self.tell(room, leg, Command::Volume(room, leg, factor))
    }

    /// Says something to everybody in a conference, beside what is spoken.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn announce(&self, room: RoomId, words: impl Into<Words>) -> Result<(), EngineError> {
        let words = words.into();
        self.tell_parts(room, || Command::Announce(room, words.clone()))
    }

    /// Says something to a leg alone.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn say(&self, room: RoomId, leg: LegId, words: impl Into<Words>) -> Result<(), EngineError> {
        self.tell(room, leg, Command::Say(room, leg, words.into()))
    }

    /// From now on somebody outside hears what a leg says, in place of who did so far.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn tap(&self, room: RoomId, leg: LegId, tap: Tap) -> Result<(), EngineError> {
        self.tell(room, leg, Command::Tap(room, leg, Some(Box::new(tap))))
    }

    /// Nobody outside hears what a leg says any more.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn untap(&self, room: RoomId, leg: LegId) -> Result<(), EngineError> {
        self.tell(room, leg, Command::Tap(room, leg, None))
    }

    /// Says whether somebody watches a conference: only then talkers' levels are told.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`], [`EngineError::Busy`].
    pub fn watch(&self, room: RoomId, watched: bool) -> Result<(), EngineError> {
        self.tell_parts(room, || Command::Watch(room, watched))
    }

    fn tell_parts(&self, room: RoomId, command: impl Fn() -> Command) -> Result<(), EngineError> {
        let places = self.core.places();
        let place = places.rooms.get(&room).ok_or(EngineError::NoRoom)?;
        place.parts.iter().try_for_each(|p| self.core.shards[p.shard].tell(command()))
    }

    /// Each shard's counters.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.core.shards.iter().map(|s| &*s.counters)
    }

    fn tell(&self, room: RoomId, leg: LegId, command: Command) -> Result<(), EngineError> {
        let places = &mut *self.core.places();
        let shard = places.rooms.get(&room).and_then(|place| place.shard_of(leg));
        let shard = &self.core.shards[shard.ok_or(EngineError::NoRoom)?];
        moving::tell(&mut places.moving, shard, leg, command)
    }
}

impl Core {
    /// Tells the shard that has a leg what it must not miss, wherever the leg is by now.
    fn insist(&self, leg: LegId, command: impl FnOnce(RoomId) -> Command) {
        let places = &mut *self.places();
        let Some((room, place)) = places.rooms.iter().find(|(_, place)| place.legs.contains_key(&leg)) else {
            return;
        };
        let command = command(*room);
        match (places.moving.get_mut(&leg), place.shard_of(leg)) {
            (Some(waiting), _) => waiting.push(command),
            (None, Some(shard)) => self.shards[shard].insist(command),
            (None, None) => {}
        }
    }

    /// Gives all parts of a conference but one what their mixes need for voices of the others. That one gets it with its leg.
    fn equip(
        &self,
        room: RoomId,
        place: &Place,
        needs: (Rates, Rates),
        but: usize,
    ) -> Result<(), EngineError> {
        for (_, part) in place.parts.iter().enumerate().filter(|(n, _)| *n != but) {
            let kit = place.lacks(needs);
            if !kit.is_empty() {
                self.shards[part.shard].tell(Command::Adopt(room, Box::new(kit)))?;
            }
        }
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines for Core {
    fn keys(&self, leg: LegId, keys: Box<Option<Protection>>) {
        self.insist(leg, |room| Command::Keys(room, leg, keys));
    }

    fn nominate(&self, leg: LegId, to: SocketAddr) {
        self.insist(leg, |room| Command::Nominate(room, leg, to));
    }

    fn unprotected(&self, leg: LegId, why: DtlsFault) {
        let room = self.places().rooms.iter().find(|(_, p)| p.legs.contains_key(&leg)).map(|(room, _)| *room);
        if let Some(room) = room {
            // Its reader ends only with the house.
            let _ = self.told.send(Event { room, leg, notice: Notice::Unprotected(why) });
        }
    }

    fn register(&self, leg: LegId, to: Option<mpsc::Sender<Parcel>>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        match to {
            Some(to) => drop(tasks.insert(leg, to)),
            None => drop(tasks.remove(&leg)),
        }
    }

    fn dtls(&self) -> Option<&Dtls> {
        self.dtls.as_ref()
    }

    fn media_keys(&self) -> Option<&MediaKeys> {
        self.keys.as_ref()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        for shard in &self.shards {
            // A full ring has nobody left to read it; the abandoned ring then ends the thread.
            let _ = shard.tell(Command::Stop);
        }
        self.shards.iter_mut().for_each(Handle::end);
    }
}

#[cfg(test)]
mod tests;
