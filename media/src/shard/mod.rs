//! The real-time thread: sockets → legs → tick → sockets, at each conference's own phase.
//!
//! No lock, no allocation, no logging in its loop; it makes no system call but socket I/O, clocks, its sleep, and one
//! wake-up of the reader when a pass left notices. What it is given it was given whole, and what it is done with
//! it gives back whole, so that others allocate and free.

mod crowd;
mod doze;
mod io;
mod messages;
mod schedule;

/// What the hand-over is made of; its test puts another in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub use io::{Bell, Priority, Receiver, enable_timestamps, prepare_thread, wall_clock};
pub use messages::{Aside, Change, Command, LONGEST_ASIDE, Move, Sound, Told};

use crate::leg::{Leg, Received};
use crate::mixer::Kit;
use crate::room::{Member, Notice, Room, Sink};
use crate::rtp;
use crate::units::{LegId, Nanos, RoomId};
use crowd::Crowd;
use rtrb::{Consumer, Producer};
use schedule::{Next, PHASES, Schedule, TICK};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vault::media::wipe_spare_stack;

/// A part of a conference waits for the others at most so many phases after it told them who speaks in it.
const PATIENCE: u64 = 4;
/// How often it is told how much there is to do, ns (1 s).
const LOOK: u64 = 1_000_000_000;
/// With nothing to do it sleeps until a command comes; this bounds the sleep.
const IDLE: Nanos = Nanos::millis(10_000);
/// A leg's socket, and whether the kernel filters its source.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    connected: bool,
}

impl Socket {
    /// Wraps a bound, non-blocking socket.
    pub fn new(socket: UdpSocket) -> Self {
        Self { socket, connected: false }
    }
}

/// A member whose socket is a real one.
pub type LiveMember = Member<Socket>;
/// A room whose sockets are real ones.
pub type LiveRoom = Room<Socket>;

/// Counters that anybody may read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Ticks made.
    pub ticks: AtomicU64,
    /// Ticks that began more than 5 ms after their time.
    pub late_ticks: AtomicU64,
    /// Ticks left out after a stall.
    pub missed_ticks: AtomicU64,
    /// Packets received.
    pub received: AtomicU64,
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets that the kernel did not take.
    pub send_errors: AtomicU64,
    /// Notices for which there was no room.
    pub lost_notices: AtomicU64,
    /// RTCP, STUN and DTLS for which there was no room.
    pub lost_asides: AtomicU64,
    /// Part of its time that the thread worked in the last second, thousandths.
    pub busy: AtomicU64,
}

/// A shard, to be run on a thread of its own.
pub struct Shard {
    commands: Consumer<Command>,
    bell: Arc<Bell>,
    out: Outlet,
    // A room comes and goes whole, in the box in which others allocated it.
    #[allow(clippy::vec_box)]
    phases: [Vec<Box<LiveRoom>>; PHASES as usize],
    receiver: io::Receiver,
    /// Something that could not be told yet; nothing else is taken until it is.
    owed: Option<Told>,
    /// What a mix had already: told after what is owed.
    spare: Option<Box<Kit>>,
    /// A room being closed, legs first.
    closing: Option<Box<LiveRoom>>,
    /// Parts of conferences that have told the others who speaks, and have not mixed yet.
    unmixed: usize,
    worked: Worked,
    /// What a leg's tick took lately, ns.
    cost: Option<u64>,
}

/// What was done lately.
#[derive(Debug, Clone, Copy, Default)]
struct Worked {
    /// Since when, ns.
    since: u64,
    /// How long of that, ns.
    long: u64,
    /// For how many legs' ticks.
    legs: u64,
}

/// The way out: the rings to the rest of the house.
struct Outlet {
    told: Producer<Told>,
    asides: Producer<Aside>,
    reader: Arc<Bell>,
    counters: Arc<Counters>,
    fresh: bool,
    /// Some of it is a key that somebody pressed.
    urgent: bool,
    woken: u64,
    sent: u64,
    send_errors: u64,
}

impl Sink<Socket> for Outlet {
    fn packet(&mut self, socket: &mut Socket, to: SocketAddr, packet: &[u8]) {
        let sent = match socket.connected {
            true => io::send(&socket.socket, packet),
            false => socket.socket.send_to(packet, to).is_ok(),
        };
        self.sent += 1;
        // A full socket buffer or an ICMP report: the packet is lost as it would be on the wire.
        self.send_errors += u64::from(!sent);
    }

    fn notice(&mut self, room: RoomId, leg: LegId, notice: Notice) -> bool {
        let told = self.told.push(Told::Notice(room, leg, notice)).is_ok();
        self.fresh |= told;
        self.urgent |= told && matches!(notice, Notice::Digit(_));
        if !told {
            self.counters.lost_notices.fetch_add(1, Ordering::Relaxed);
        }
        told
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shard(..)")
    }
}

impl Shard {
    /// A shard with `rooms` conferences at most.
    pub fn new(
        commands: Consumer<Command>,
        bell: Arc<Bell>,
        (told, asides): (Producer<Told>, Producer<Aside>),
        reader: Arc<Bell>,
        counters: Arc<Counters>,
        rooms: usize,
    ) -> Self {
        Self {
            commands,
            bell,
            out: Outlet {
                told,
                asides,
                reader,
                counters,
                fresh: false,
                urgent: false,
                woken: 0,
                sent: 0,
                send_errors: 0,
            },
            phases: std::array::from_fn(|_| Vec::with_capacity(rooms)),
            receiver: io::Receiver::new(),
            owed: None,
            spare: None,
            closing: None,
            unmixed: 0,
            worked: Worked::default(),
            cost: None,
        }
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        let mut schedule = Schedule::new(io::monotonic().0);
        loop {
            if !self.obey() {
                return;
            }
            let now = io::monotonic().0;
            let next = schedule.next(now, |phase| self.is_busy(phase));
            self.out.wake_reader(now, next == Next::Nothing);
            match next {
                Next::Nothing => {
                    // Where calls come and go, looking once a tick is cheaper than being woken for each.
                    if self.pending() || self.phases.iter().any(|p| !p.is_empty()) {
                        self.bell.wait(Nanos(TICK));
                    } else {
                        let Self { bell, commands, .. } = &self;
                        bell.sleep(IDLE, || !commands.is_empty() || commands.is_abandoned());
                    }
                    schedule.slept(io::monotonic().0);
                }
                Next::Wait(long) => self.bell.wait(long),
                Next::Missed(ticks) => {
                    let rooms: usize = self.phases.iter().map(Vec::len).sum();
                    self.out.counters.missed_ticks.fetch_add(ticks * rooms as u64, Ordering::Relaxed);
                }
                Next::Pass { due, late } => {
                    self.pass(due, late);
                    self.look(now);
                }
            }
        }
    }

    /// Whether there is work in a phase: a room with somebody in it, or parts that have not mixed yet.
    fn is_busy(&self, phase: u64) -> bool {
        self.unmixed > 0 || self.phases[(phase % PHASES) as usize].iter().any(|r| !r.is_empty())
    }

    /// Tells now and then how much there is to do; a pass that began at `begun` is over.
    fn look(&mut self, begun: u64) {
        let now = io::monotonic().0;
        let Worked { since, long, legs } = &mut self.worked;
        *long += now - begun;
        if now - *since >= LOOK {
            self.out.counters.busy.store(1000 * *long / (now - *since).max(1), Ordering::Relaxed);
            self.cost = long.checked_div(*legs).or(self.cost);
            self.worked = Worked { since: now, ..Worked::default() };
        }
    }

    fn pending(&self) -> bool {
        self.owed.is_some() || self.spare.is_some() || self.closing.is_some()
    }

    /// One pass over the rooms of a phase: drain, tick. What other parts have told since the phases before is mixed first.
    fn pass(&mut self, due: u64, late: bool) {
        let now = io::wall_clock();
        let phase = (due % PHASES) as usize;
        self.mix_parts(due, now);
        let (mut received, mut ticks) = (0, 0);
        let Self { phases, receiver, out, unmixed, worked, .. } = self;
        let mut rooms = &mut phases[phase][..];
        if let Some(first) = rooms.first() {
            first.prefetch_first();
        }
        while let Some((room, rest)) = rooms.split_first_mut() {
            rooms = rest;
            if room.is_empty() {
                continue;
            }
            let next = rooms.first().map(|next| &**next);
            ticks += 1;
            if room.has_told() {
                // A stall has kept it from its end.
                room.tick(now, out);
                *unmixed -= 1;
            }
            let id = room.id();
            worked.legs += room.len() as u64;
            for index in 0..room.len() {
                // While the kernel is busy with this leg's socket, the next ones' memory comes near.
                if let Some(next) = next {
                    next.prefetch_itself(index);
                }
                room.prefetch(index, next);
                received += drain(receiver, &mut room.members_mut()[index], id, now, out);
                room.pull(index, now);
            }
            if room.is_part() {
                room.tell_parts(due / PHASES);
                *unmixed += 1;
            } else {
                room.tick(now, out);
            }
        }
        let counters = &out.counters;
        // Counted before rooms move away.
        counters.ticks.fetch_add(ticks, Ordering::Relaxed);
        counters.late_ticks.fetch_add(ticks * u64::from(late), Ordering::Relaxed);
        counters.received.fetch_add(received, Ordering::Relaxed);
        counters.sent.fetch_add(std::mem::take(&mut out.sent), Ordering::Relaxed);
        counters.send_errors.fetch_add(std::mem::take(&mut out.send_errors), Ordering::Relaxed);
        self.grant_wishes(phase);
    }

    /// Mixes parts of conferences for which the others have told who speaks in them, or that have waited long enough.
    fn mix_parts(&mut self, due: u64, now: Nanos) {
        if self.unmixed == 0 {
            return;
        }
        let Self { phases, out, unmixed, .. } = self;
        for back in 1..=PATIENCE {
            let phase = (due + PHASES - back) % PHASES;
            for room in phases[phase as usize].iter_mut().filter(|r| r.has_told()) {
                if room.hear_parts() || back == PATIENCE {
                    room.tick(now, out);
                    *unmixed -= 1;
                }
            }
        }
    }

    /// Moves rooms whose talkers' packets would be fresher at another phase, unless that one is crowded, and rooms that crowd theirs.
    fn grant_wishes(&mut self, phase: usize) {
        if self.phases[phase].iter().all(|room| room.wish().is_none()) {
            return;
        }
        let legs = |rooms: &Vec<Box<LiveRoom>>| rooms.iter().map(|r| r.len() as u64).sum();
        let mut crowd = Crowd::new(self.phases.each_ref().map(legs), self.cost);
        let mut index = 0;
        while let Some(room) = self.phases[phase].get_mut(index) {
            let Some(wish) = room.wish() else {
                index += 1;
                continue;
            };
            let size = room.len() as u64;
            let free = |to: &usize| self.phases[*to].len() < self.phases[*to].capacity();
            let to = crowd.place(phase, size, wish).filter(free);
            self.phases[phase][index].answer_wish(to.is_some());
            match to {
                Some(to) => {
                    crowd = crowd.moved(phase, to, size);
                    let room = self.phases[phase].swap_remove(index);
                    self.phases[to].push(room);
                }
                None => index += 1,
            }
        }
    }

    /// Takes commands while there are any and nothing is owed. False: stop.
    fn obey(&mut self) -> bool {
        loop {
            if !self.settle() {
                return true;
            }
            match self.commands.pop() {
                Err(_) => return !self.commands.is_abandoned(),
                Ok(Command::Stop) => return false,
                Ok(Command::Open(room)) => self.open(room),
                Ok(Command::Close(room)) => self.close(room),
                Ok(Command::Add(room, member, kit)) => self.add(room, member, kit),
                Ok(Command::Adopt(room, mut kit)) => {
                    if let Some(room) = self.room(room) {
                        room.adopt(&mut kit);
                    }
                    self.owed = Some(Told::Kit(kit));
                }
                Ok(Command::Remove(room, leg)) => {
                    let gone = self.room(room).and_then(|r| r.remove(leg));
                    // Its keys are over, and so is what working with them left here.
                    wipe_spare_stack();
                    self.owed = gone.map(|member| Told::Member(room, member));
                }
                Ok(Command::Move(moving)) => self.move_leg(moving),
                Ok(Command::Change(room, mut change)) => {
                    if let Some(room) = self.room(room) {
                        room.adopt(&mut change.kit);
                        if let Some(member) = room.change(change.setup, &mut change.coders) {
                            member.socket.connected =
                                !io::connect(&member.socket.socket, None) && member.socket.connected;
                        }
                    }
                    wipe_spare_stack();
                    self.owed = Some(Told::Change(change));
                }
                Ok(Command::Keys(room, leg, mut keys)) => {
                    if let Some(leg) = self.leg(room, leg) {
                        leg.set_keys(&mut keys);
                    }
                    wipe_spare_stack();
                    self.owed = Some(Told::Keys(keys));
                }
                Ok(Command::Sound(room, leg, Sound { gain, mut suppressor })) => {
                    if let Some(leg) = self.leg(room, leg) {
                        gain.into_iter().for_each(|db| leg.set_gain(db));
                        suppressor.iter_mut().for_each(|suppressor| leg.set_suppressor(suppressor));
                    }
                    self.owed = suppressor.flatten().map(Told::Suppressor);
                }
                Ok(Command::Nominate(room, leg, to)) => {
                    if let Some(leg) = self.leg(room, leg) {
                        leg.nominate(to);
                    }
                }
                Ok(Command::Watch(room, watched)) => {
                    if let Some(room) = self.room(room) {
                        room.set_watched(watched);
                    }
                }
                Ok(Command::Say(room, leg, words)) => {
                    let spent = match self.room(room) {
                        Some(room) => room.say(leg, words),
                        None => Some(words),
                    };
                    self.owed = spent.filter(|words| words.is_to_be_freed()).map(Told::Words);
                }
                Ok(Command::Announce(room, words)) => {
                    let spent = match self.room(room) {
                        Some(room) => room.announce(words),
                        None => Some(words),
                    };
                    self.owed = spent.filter(|words| words.is_to_be_freed()).map(Told::Words);
                }
                Ok(Command::Tap(room, leg, tap)) => {
                    let spent = match self.room(room) {
                        Some(room) => room.tap(leg, tap),
                        None => tap,
                    };
                    self.owed = spent.map(Told::Tap);
                }
                Ok(Command::Volume(room, leg, factor)) => {
                    if let Some(leg) = self.leg(room, leg) {
                        leg.set_volume(factor);
                    }
                }
                Ok(Command::Mute(room, leg, muted)) => {
                    if let Some(leg) = self.leg(room, leg) {
                        leg.set_muted(muted);
                    }
                }
            }
        }
    }

    /// Gives back what is owed. False when the ring is full: to be tried again after the next pass.
    fn settle(&mut self) -> bool {
        loop {
            if let Some(told) = self.owed.take() {
                if let Err(rtrb::PushError::Full(told)) = self.out.told.push(told) {
                    self.owed = Some(told);
                    return false;
                }
                self.out.fresh = true;
            }
            if let Some(kit) = self.spare.take() {
                self.owed = Some(Told::Kit(kit));
                continue;
            }
            let Some(mut room) = self.closing.take() else { return true };
            if let Some(member) = room.pop() {
                wipe_spare_stack();
                self.owed = Some(Told::Member(room.id(), member));
                self.closing = Some(room);
            } else {
                self.owed = Some(Told::Room(room));
            }
        }
    }

    /// A new room goes where there are fewest, so that the load spreads over the tick.
    fn open(&mut self, room: Box<LiveRoom>) {
        let emptiest = (0..PHASES as usize).min_by_key(|p| self.phases[*p].len()).unwrap_or(0);
        // The parts of a conference tick at one moment.
        let phase = if room.is_part() { (room.id().0 % PHASES) as usize } else { emptiest };
        let rooms = &mut self.phases[phase];
        if rooms.len() == rooms.capacity() {
            self.closing = Some(room);
        } else {
            rooms.push(room);
        }
    }

    fn close(&mut self, id: RoomId) {
        for rooms in &mut self.phases {
            if let Some(index) = rooms.iter().position(|r| r.id() == id) {
                let room = rooms.swap_remove(index);
                self.unmixed -= usize::from(room.has_told());
                self.closing = Some(room);
                return;
            }
        }
    }

    fn add(&mut self, id: RoomId, member: Box<LiveMember>, mut kit: Option<Box<Kit>>) {
        let refused = match self.room(id) {
            Some(room) => {
                if let Some(kit) = &mut kit {
                    room.adopt(kit);
                }
                room.add(member).err()
            }
            None => Some(member),
        };
        self.owed = refused.map(|member| Told::Member(id, member));
        if let Some(kit) = kit {
            // Whoever is told twice at once: the kit waits its turn.
            match self.owed {
                None => self.owed = Some(Told::Kit(kit)),
                Some(_) => self.spare = Some(kit),
            }
        }
    }

    fn move_leg(&mut self, mut moving: Box<Move>) {
        moving.member = self.room(moving.from).and_then(|room| room.release(moving.leg));
        if let Some(room) = self.room(moving.to)
            && let Some(member) = moving.member.take()
        {
            if let Some(kit) = &mut moving.kit {
                room.adopt(kit);
            }
            moving.member = room.add(member).err();
        }
        self.owed = Some(Told::Moved(moving));
    }

    fn leg(&mut self, room: RoomId, leg: LegId) -> Option<&mut Leg> {
        self.room(room)?.leg_mut(leg)
    }

    fn room(&mut self, id: RoomId) -> Option<&mut Box<LiveRoom>> {
        self.phases.iter_mut().flatten().find(|r| r.id() == id)
    }
}

impl Outlet {
    /// Passes on what is not the shard's business.
    fn aside(&mut self, leg: LegId, from: SocketAddr, bytes: &[u8]) {
        let passed = Aside::new(leg, from, bytes).is_some_and(|aside| self.asides.push(aside).is_ok());
        // Somebody waits for its answer.
        (self.fresh, self.urgent) = (self.fresh | passed, self.urgent | passed);
        if !passed {
            self.counters.lost_asides.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One wake-up a tick for keys, and one in three for all else; the loop comes by again before the next tick is over, or has nothing to do.
    fn wake_reader(&mut self, now: u64, idle: bool) {
        let rest = if self.urgent { TICK } else { 3 * TICK };
        if self.fresh && (idle || now >= self.woken + rest) {
            (self.fresh, self.urgent) = (false, false);
            self.woken = now;
            self.reader.ring();
        }
    }
}

/// Reads one leg's socket empty.
fn drain(
    receiver: &mut io::Receiver,
    member: &mut LiveMember,
    room: RoomId,
    now: Nanos,
    out: &mut Outlet,
) -> u64 {
    let Member { leg, socket, .. } = member;
    let mut count = 0;
    let known = leg.target();
    if socket.connected && leg.may_move(now) {
        socket.connected = !io::connect(&socket.socket, None);
    }
    let has_asides = leg.has_asides();
    receiver.drain(&socket.socket, socket.connected, now, |from, bytes, arrival| {
        count += 1;
        let Some(bytes) = bytes else {
            leg.oversized();
            return true;
        };
        let from = from.unwrap_or(known);
        if has_asides && rtp::Kind::of(bytes) != rtp::Kind::Rtp {
            out.aside(leg.id(), from, bytes);
            return true;
        }
        match leg.receive(from, bytes, arrival, now) {
            Received::Digit(digit) => {
                out.notice(room, leg.id(), Notice::Digit(digit));
            }
            // What is this fresh was the last: looking for more would cost as much again.
            Received::Audio => return !leg.supplied(now.since(arrival)),
            Received::Event | Received::Dropped | Received::Locked(_) => {}
        }
        true
    });
    if count > 0
        && !socket.connected
        && let Some(source) = leg.only_source(now)
    {
        // From here on the kernel drops everybody else's packets. What it queued before has just been read.
        socket.connected = io::connect(&socket.socket, Some(source));
    }
    count
}

#[cfg(test)]
mod tests;
