use super::*;
use std::net::UdpSocket;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// One with a thread and a room. Nobody reads its events.
fn engine(ports: std::ops::RangeInclusive<u16>) -> (Engine, Vec<Events>) {
    let settings = Settings { shards: 1, ..Settings::default() };
    let (engine, events) = Engine::start(Ports::new(HERE, 46, ports).unwrap(), settings).unwrap();
    engine.open(RoomId(1), 5, true).unwrap();
    (engine, events)
}

fn setup(leg: u64, peer: SocketAddr) -> LegSetup {
    LegSetup::plain(LegId(leg), crate::Codec::Pcmu, crate::PayloadType(0), peer)
}

#[tokio::test]
async fn a_thread_that_works_for_most_of_its_time_takes_no_more_legs() {
    let (engine, _events) = engine(43_500..=43_599);
    let come = |leg| {
        let peer = SocketAddr::new(HERE, 9);
        engine.add(RoomId(1), setup(leg, peer), engine.reserve(false).unwrap(), peer, Runtime::current())
    };
    let busy = &engine.counters().next().unwrap().busy;
    busy.store(MOST_BUSY + 1, Ordering::Relaxed);
    assert!(matches!(come(1), Err(EngineError::Overloaded)));
    busy.store(MOST_BUSY, Ordering::Relaxed);
    assert!(come(2).is_ok());
}

#[tokio::test]
async fn what_comes_beside_rtp_and_nobody_takes_is_lost_and_counted() {
    let (engine, _events) = engine(43_600..=43_699);
    let peer = UdpSocket::bind((HERE, 0)).unwrap();
    let pair = engine.reserve(false).unwrap();
    let to = pair.address;
    let setup = LegSetup { mux: true, ..setup(1, peer.local_addr().unwrap()) };
    let _leg = engine.add(RoomId(1), setup, pair, to, Runtime::current()).unwrap();
    let counters = engine.counters().next().unwrap();
    let got = async |count: &AtomicU64, n: u64| {
        let all = async {
            while count.load(Ordering::Relaxed) < n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    };
    // A report that is longer than any, and more than there is room for; not more at once than the kernel keeps.
    peer.send_to(&[&[0x80, 201][..], &[0; crate::shard::LONGEST_ASIDE - 1]].concat(), to).unwrap();
    got(&counters.lost_asides, 1).await;
    for sent in 1..=ASIDES as u64 + 3 {
        peer.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 9], to).unwrap();
        if sent % 100 == 0 {
            got(&counters.received, 1 + sent).await;
        }
    }
    got(&counters.lost_asides, 4).await;
    assert_eq!(counters.lost_asides.load(Ordering::Relaxed), 4);
}

/// Somebody who talks without a pause, for as long as a future takes; at most 20 s.
async fn talking<T>(
    peer: &UdpSocket,
    to: SocketAddr,
    seq: &mut u16,
    meanwhile: impl Future<Output = T>,
) -> T {
    let talk = async {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        loop {
            clock.tick().await;
            *seq = seq.wrapping_add(1);
            let [high, low] = seq.to_be_bytes();
            let time = (u32::from(*seq) * 160).to_be_bytes();
            let mut packet = [0x80, 0, high, low, time[0], time[1], time[2], time[3], 0, 0, 0, 7].to_vec();
            // A square wave, loud.
            packet.extend((0..160).map(|n| if n % 16 < 8 { 0x10 } else { 0x90 }));
            peer.send_to(&packet, to).unwrap();
        }
    };
    tokio::select! {
        () = talk => unreachable!(),
        done = tokio::time::timeout(Duration::from_secs(20), meanwhile) => done.unwrap(),
    }
}

/// Until it is told that a leg speaks in a room.
async fn speaks(told: &mut mpsc::UnboundedReceiver<Event>, room: RoomId) {
    loop {
        let event = told.recv().await.unwrap();
        if event.room == room && matches!(event.notice, Notice::Speaking(true)) {
            return;
        }
    }
}

#[tokio::test]
async fn a_leg_moves_and_nothing_that_it_is_told_on_its_way_is_lost() {
    for (shards, ports) in [(1, 43_700..=43_749), (2, 43_750..=43_799)] {
        let settings = Settings { shards, ..Settings::default() };
        let (engine, events) = Engine::start(Ports::new(HERE, 46, ports).unwrap(), settings).unwrap();
        let (give, mut told) = mpsc::unbounded_channel();
        for mut events in events {
            let give = give.clone();
            tokio::spawn(async move {
                while let Some(event) = events.next().await {
                    let _ = give.send(event);
                }
            });
        }
        let [here, there] = [1, 2].map(RoomId);
        for room in [here, there] {
            engine.open(room, 5, true).unwrap();
        }
        let at = |room| engine.core.places().rooms[&room].parts[0].shard;
        assert_eq!(at(here) != at(there), shards == 2);
        let (peer, leg, mut seq) = (UdpSocket::bind((HERE, 0)).unwrap(), LegId(1), 0);
        let (pair, rtcp) = (engine.reserve(false).unwrap(), SocketAddr::new(HERE, 9));
        let to = pair.address;
        let setup = setup(1, peer.local_addr().unwrap());
        let _transport = engine.add(here, setup, pair, rtcp, Runtime::current()).unwrap();
        talking(&peer, to, &mut seq, speaks(&mut told, here)).await;

        engine.move_leg(here, leg, there).unwrap();
        engine.mute(there, leg, true).unwrap();
        let heard = |n: u64| {
            let sent = || engine.counters().map(|c| c.sent.load(Ordering::Relaxed)).sum::<u64>();
            let before = sent();
            async move {
                while sent() < before + n {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        talking(&peer, to, &mut seq, heard(20)).await;
        let mut said = std::iter::from_fn(|| told.try_recv().ok());
        assert!(said.all(|e| e.room == here || !matches!(e.notice, Notice::Speaking(true))), "it was muted");
        engine.mute(there, leg, false).unwrap();
        talking(&peer, to, &mut seq, speaks(&mut told, there)).await;

        // To and fro, as fast as it can.
        let mut rooms = (there, here);
        for _ in 0..21 {
            let moved = async {
                while engine.move_leg(rooms.0, leg, rooms.1).is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            talking(&peer, to, &mut seq, moved).await;
            rooms = (rooms.1, rooms.0);
        }
        talking(&peer, to, &mut seq, speaks(&mut told, here)).await;
        assert!(matches!(engine.move_leg(there, leg, here), Err(EngineError::NoRoom)), "it is not there");
        assert!(matches!(engine.move_leg(here, leg, RoomId(3)), Err(EngineError::NoRoom)));
        engine.remove(here, leg);
        let places = engine.core.places();
        assert!(places.rooms.values().all(|p| p.legs.is_empty() && p.parts[0].legs == 0));
    }
}

#[tokio::test]
async fn a_leg_that_is_removed_on_its_way_is_nowhere() {
    let settings = Settings { shards: 2, ..Settings::default() };
    let ports = Ports::new(HERE, 46, 43_800..=43_899).unwrap();
    let (engine, mut events) = Engine::start(ports, settings).unwrap();
    let [here, there] = [1, 2].map(RoomId);
    for room in [here, there] {
        engine.open(room, 5, true).unwrap();
    }
    let peer = SocketAddr::new(HERE, 9);
    let pair = engine.reserve(false).unwrap();
    let _transport = engine.add(here, setup(1, peer), pair, peer, Runtime::current()).unwrap();
    engine.move_leg(here, LegId(1), there).unwrap();
    engine.remove(there, LegId(1));
    assert!(engine.core.places().moving.contains_key(&LegId(1)));
    let arrived = async {
        while engine.core.places().moving.contains_key(&LegId(1)) {
            // Its readers bring it on.
            let [first, second] = &mut events[..] else { unreachable!() };
            tokio::select! {
                _ = first.next() => {}
                _ = second.next() => {}
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), arrived).await.unwrap();
    let sent = || engine.counters().map(|c| c.sent.load(Ordering::Relaxed)).sum::<u64>();
    let before = sent();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(sent(), before, "nobody sends to it");
}
