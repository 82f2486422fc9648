//! Symmetric RTP (RFC 4961): where a leg's packets come from is where its packets go, and once a source is
//! accepted no other can take its place.
//!
//! The signalled address is accepted with its first valid packet. Behind a NAT the packets come from elsewhere:
//! such a source must send two packets in sequence first (RFC 3550 A.1's probation), so that a stray datagram
//! cannot take a call. Only signalling (a re-INVITE with a new address) opens the lock again.

use crate::units::{SeqNo, Ssrc};
use std::net::SocketAddr;

/// The state of one leg's lock.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Latch {
    locked: Option<SocketAddr>,
    signalled: SocketAddr,
    probation: Option<(SocketAddr, Ssrc, SeqNo)>,
}

/// What to do with a valid packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// From the source that is locked on.
    Known,
    /// From the source that is locked on from now on.
    Locked,
    /// From a source on probation: not to be played yet.
    Wait,
    /// From another source than the locked one: to be dropped and counted.
    Foreign,
}

impl Latch {
    /// Open, with the address of the SDP.
    pub fn new(signalled: SocketAddr) -> Self {
        Self { signalled, locked: None, probation: None }
    }

    /// Where to send: the locked source, before that the signalled address.
    pub fn target(&self) -> SocketAddr {
        self.locked.unwrap_or(self.signalled)
    }

    /// The source locked on.
    pub fn locked(&self) -> Option<SocketAddr> {
        self.locked
    }

    /// New signalling: opens the lock if the address changed.
    pub fn signal(&mut self, signalled: SocketAddr) -> bool {
        let changed = signalled != self.signalled;
        if changed {
            *self = Self::new(signalled);
        }
        changed
    }

    /// Judges a packet that is valid RTP of a negotiated payload type.
    pub fn admit(&mut self, from: SocketAddr, ssrc: Ssrc, seq: SeqNo) -> Verdict {
        match self.locked {
            Some(locked) if locked == from => Verdict::Known,
            Some(_) => Verdict::Foreign,
            None => {
                let in_sequence = self.probation == Some((from, ssrc, seq));
                if from == self.signalled || in_sequence {
                    self.locked = Some(from);
                    return Verdict::Locked;
                }
                self.probation = Some((from, ssrc, seq.next()));
                Verdict::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn the_signalled_source_locks_at_once_and_cannot_be_displaced() {
        let mut latch = Latch::new(at(4000));
        assert_eq!(latch.admit(at(4000), Ssrc(1), SeqNo(1)), Verdict::Locked);
        for seq in 2..100 {
            assert_eq!(latch.admit(at(6666), Ssrc(1), SeqNo(seq)), Verdict::Foreign);
        }
        assert_eq!(latch.target(), at(4000));
    }

    #[test]
    fn a_source_behind_nat_locks_with_two_packets_in_sequence() {
        let mut latch = Latch::new(at(4000));
        assert_eq!(latch.admit(at(5000), Ssrc(1), SeqNo(65_535)), Verdict::Wait);
        assert_eq!(latch.target(), at(4000));
        assert_eq!(latch.admit(at(5000), Ssrc(1), SeqNo(0)), Verdict::Locked);
        assert_eq!(latch.target(), at(5000));
    }

    #[test]
    fn stray_packets_do_not_lock() {
        let mut latch = Latch::new(at(4000));
        for n in 0..50u16 {
            assert_eq!(latch.admit(at(5000 + n), Ssrc(1), SeqNo(n)), Verdict::Wait);
            assert_eq!(latch.admit(at(6000), Ssrc(1), SeqNo(3 * n)), Verdict::Wait);
        }
        assert_eq!(latch.admit(at(4000), Ssrc(1), SeqNo(1)), Verdict::Locked);
    }

    #[test]
    fn only_signalling_opens_the_lock() {
        let mut latch = Latch::new(at(4000));
        latch.admit(at(4000), Ssrc(1), SeqNo(1));
        assert!(!latch.signal(at(4000)));
        assert_eq!(latch.locked(), Some(at(4000)));
        assert!(latch.signal(at(4002)));
        assert_eq!((latch.locked(), latch.target()), (None, at(4002)));
    }
}
