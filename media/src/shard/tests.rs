//! What a pass counts.

use super::*;
use crate::codec::Codec;
use crate::leg::{Leg, LegSetup};
use crate::room::Manner;
use crate::units::PayloadType;

fn room(id: u64, legs: u64) -> Box<LiveRoom> {
    let mut room = Room::new(RoomId(id), 2, Manner::default());
    for n in 0..legs {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let to = socket.local_addr().unwrap();
        let setup = LegSetup::plain(LegId(n), Codec::Pcmu, PayloadType(0), to);
        let leg = Leg::new(setup, None, Nanos(0)).unwrap();
        room.add(Box::new(Member::new(leg, Socket::new(socket)))).unwrap();
    }
    Box::new(room)
}

#[test]
fn each_conference_of_a_late_pass_counts_and_no_empty_one() {
    let (mut commands, taken) = rtrb::RingBuffer::new(4);
    let (told, _telling) = rtrb::RingBuffer::new(4);
    let (asides, _aside) = rtrb::RingBuffer::new(4);
    let counters = Arc::new(Counters::default());
    let bell = || Arc::new(Bell::new().unwrap());
    let mut shard = Shard::new(taken, bell(), (told, asides), bell(), counters.clone(), 4);
    // One phase for all: they would each have their own.
    shard.phases[3].extend([room(1, 2), room(2, 1), room(3, 0)]);
    assert!(commands.push(Command::Watch(RoomId(1), false)).is_ok() && shard.obey());
    let counted = || (counters.ticks.load(Ordering::Relaxed), counters.late_ticks.load(Ordering::Relaxed));
    shard.pass(3, false);
    assert_eq!(counted(), (2, 0));
    shard.pass(3 + PHASES, true);
    assert_eq!(counted(), (4, 2));
    shard.pass(4, true);
    assert_eq!(counted(), (4, 2), "nobody was late");
}
