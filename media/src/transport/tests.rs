use super::task::wall_clock;
use super::*;
use crate::codec::Codec;
use crate::leg::{Leg, Secure, Security};
use crate::rtcp::{LARGEST, Memory, read, write};
use crate::units::{PayloadType, Ssrc};
use std::sync::Arc;
use tokio::net::UdpSocket;

fn socket() -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn leg_report() -> Report {
    let setup = LegSetup::plain(LegId(1), Codec::Pcmu, PayloadType(0), ([127, 0, 0, 1], 9).into());
    let mut leg = Leg::new(setup, None, wall_clock()).unwrap();
    leg.packetise(&mut [0xff; 172], |_, _| {});
    leg.report(wall_clock())
}

/// An engine with nothing but keys.
#[derive(Debug, Default)]
struct Nobody(Option<MediaKeys>);

impl Lines for Nobody {
    fn keys(&self, _: LegId, _: Box<Option<Protection>>) {}
    fn nominate(&self, _: LegId, _: SocketAddr) {}
    fn unprotected(&self, _: LegId, _: DtlsFault) {}
    fn register(&self, _: LegId, _: Option<mpsc::Sender<Parcel>>) {}
    fn dtls(&self) -> Option<&Dtls> {
        None
    }
    fn media_keys(&self) -> Option<&MediaKeys> {
        self.0.as_ref()
    }
}

fn transport(
    lines: &Arc<Nobody>,
    rtcp: std::net::UdpSocket,
    remote: SocketAddr,
    security: Security,
) -> Transport {
    let plain = LegSetup::plain(LegId(1), Codec::Pcmu, PayloadType(0), ([127, 0, 0, 1], 9).into());
    let lines: Arc<dyn Lines> = lines.clone();
    let (lines, setup) = (Arc::downgrade(&lines), LegSetup { security, ..plain });
    let sockets = Sockets { rtp: None, rtcp };
    Transport::new(Handle::current(), lines, setup, sockets, remote).unwrap()
}

async fn report_to_each_other(lines: Nobody, mut security: impl Iterator<Item = Security>) {
    let lines = Arc::new(lines);
    let (a, b) = (socket(), socket());
    let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let (report_a, mut report_b) = (leg_report(), leg_report());
    report_b.block = Some(crate::reception::Block {
        ssrc: report_a.ssrc,
        expected: 4,
        received: 3,
        highest: 4,
        jitter: 1,
    });
    let mut a = transport(&lines, a, at_b, security.next().unwrap());
    let mut b = transport(&lines, b, at_a, security.next().unwrap());
    a.report(report_a).unwrap();
    b.report(report_b).unwrap();
    let mut heard = a.heard.subscribe();
    heard.wait_for(|r| r.jitter == 1 && r.round_trip.is_some()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_sessions_report_to_each_other_and_measure_the_round_trip() {
    report_to_each_other(Nobody::default(), std::iter::repeat(Security::None)).await;
}

#[tokio::test(start_paused = true)]
async fn two_encrypted_sessions_do_so_as_well() {
    let keys = MediaKeys::new(&vault::Vault::open(vault::Policy::AllowWeaker).unwrap()).unwrap();
    let suite = crate::srtp::Suite::Gcm256;
    let [one, other] = [0, 1].map(|_| keys.random(suite.master()).unwrap());
    let secures = [(one, other), (other, one)].map(|(ours, theirs)| Secure { suite, ours, theirs });
    report_to_each_other(Nobody(Some(keys)), secures.into_iter().map(Security::Keys)).await;
}

#[tokio::test]
async fn a_stranger_is_not_heard_and_the_end_says_goodbye() {
    let own = socket();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = own.local_addr().unwrap();
    let lines = Arc::default();
    let mut session = transport(&lines, own, peer.local_addr().unwrap(), Security::None);
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    session.report(leg_report()).unwrap();
    let report = write(&leg_report(), true, &mut Memory::default(), "x", wall_clock(), None, false);
    stranger.send_to(&report, at).await.unwrap();
    session.heard.subscribe().wait_for(|r| r.dropped == 1).await.unwrap();
    drop(session);
    let mut buffer = [0; LARGEST];
    let len = peer.recv(&mut buffer).await.unwrap();
    assert!(read(&buffer[..len], Ssrc(0)).unwrap().goodbye);
}
