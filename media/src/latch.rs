//! Symmetric RTP (RFC 4961): where a leg's packets come from is where its packets go, and once a source is
//! accepted no other can take its place.
//!
//! The signalled address is accepted with its first valid packet. Behind a NAT the packets come from elsewhere:
//! such a source must send two packets in sequence first (RFC 3550 A.1's probation), so that a stray datagram
//! cannot take a call. A NAT may give a call another address: once, after silence, the same stream may come from elsewhere, again
//! with two packets in sequence. Else only signalling (a re-INVITE with a new address) opens the lock again.

use crate::units::{Nanos, SeqNo, Ssrc};
use std::net::SocketAddr;

/// After this without a packet the source may be another.
pub const SILENCE: Nanos = Nanos::millis(2_000);

/// The state of one leg's lock.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Latch {
    locked: Option<SocketAddr>,
    signalled: SocketAddr,
    probation: Option<(SocketAddr, Ssrc, SeqNo)>,
    /// The stream that was locked on.
    ssrc: Ssrc,
    moved: bool,
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
        Self { signalled, locked: None, probation: None, ssrc: Ssrc(0), moved: false }
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

    /// ICE says where to send: nothing else does from then on.
    pub fn nominate(&mut self, to: SocketAddr) {
        self.locked = Some(to);
    }

    /// Whether the source may become another, once it is silent.
    pub fn may_move(&self) -> bool {
        self.locked.is_some() && !self.moved
    }

    /// Judges a packet that is valid RTP of a negotiated payload type, so long after the last one that was accepted. `proven`: it could only be written
    /// by the peer (SRTP).
    pub fn admit(
        &mut self,
        from: SocketAddr,
        ssrc: Ssrc,
        seq: SeqNo,
        silent: Nanos,
        proven: bool,
    ) -> Verdict {
        match self.locked {
            Some(locked) if locked == from => {
                self.ssrc = ssrc;
                return Verdict::Known;
            }
            Some(_) if self.moved || silent < SILENCE || (ssrc != self.ssrc && !proven) => {
                return Verdict::Foreign;
            }
            _ => {}
        }
        let in_sequence = self.probation == Some((from, ssrc, seq));
        if (self.locked.is_none() && from == self.signalled) || proven || in_sequence {
            self.moved = self.locked.is_some();
            (self.locked, self.ssrc, self.probation) = (Some(from), ssrc, None);
            return Verdict::Locked;
        }
        self.probation = Some((from, ssrc, seq.next()));
        Verdict::Wait
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
        assert_eq!(latch.admit(at(4000), Ssrc(1), SeqNo(1), Nanos(0), false), Verdict::Locked);
        for seq in 2..100 {
            assert_eq!(latch.admit(at(6666), Ssrc(1), SeqNo(seq), Nanos(0), false), Verdict::Foreign);
        }
        assert_eq!(latch.target(), at(4000));
    }

    #[test]
    fn a_source_behind_nat_locks_with_two_packets_in_sequence() {
        let mut latch = Latch::new(at(4000));
        assert_eq!(latch.admit(at(5000), Ssrc(1), SeqNo(65_535), Nanos(0), false), Verdict::Wait);
        assert_eq!(latch.target(), at(4000));
        assert_eq!(latch.admit(at(5000), Ssrc(1), SeqNo(0), Nanos(0), false), Verdict::Locked);
        assert_eq!(latch.target(), at(5000));
    }

    #[test]
    fn stray_packets_do_not_lock() {
        let mut latch = Latch::new(at(4000));
        for n in 0..50u16 {
            assert_eq!(latch.admit(at(5000 + n), Ssrc(1), SeqNo(n), Nanos(0), false), Verdict::Wait);
            assert_eq!(latch.admit(at(6000), Ssrc(1), SeqNo(3 * n), Nanos(0), false), Verdict::Wait);
        }
        assert_eq!(latch.admit(at(4000), Ssrc(1), SeqNo(1), Nanos(0), false), Verdict::Locked);
    }

    #[test]
    fn only_signalling_opens_the_lock() {
        let mut latch = Latch::new(at(4000));
        latch.admit(at(4000), Ssrc(1), SeqNo(1), Nanos(0), false);
        assert!(!latch.signal(at(4000)));
        assert_eq!(latch.locked(), Some(at(4000)));
        assert!(latch.signal(at(4002)));
        assert_eq!((latch.locked(), latch.target()), (None, at(4002)));
    }

    #[test]
    fn after_silence_the_same_stream_may_come_from_elsewhere_once() {
        let mut latch = Latch::new(at(4000));
        latch.admit(at(4000), Ssrc(7), SeqNo(1), Nanos(0), false);
        let mut come = |port, ssrc, seq, silent, proven| {
            (latch.admit(at(port), Ssrc(ssrc), SeqNo(seq), silent, proven), latch.target().port())
        };
        let just_before = Nanos(SILENCE.0 - 1);
        assert_eq!(come(5000, 7, 2, just_before, true), (Verdict::Foreign, 4000), "too soon");
        assert_eq!(come(5000, 8, 2, SILENCE, false), (Verdict::Foreign, 4000), "another stream");
        assert_eq!(come(5000, 7, 2, SILENCE, false), (Verdict::Wait, 4000));
        assert_eq!(come(5000, 7, 4, SILENCE, false), (Verdict::Wait, 4000), "not in sequence");
        assert_eq!(come(5000, 7, 5, SILENCE, false), (Verdict::Locked, 5000));
        assert_eq!(come(6000, 7, 6, SILENCE, false), (Verdict::Foreign, 5000), "once");
        let mut latch = Latch::new(at(4000));
        latch.admit(at(4000), Ssrc(7), SeqNo(1), Nanos(0), false);
        assert_eq!(latch.admit(at(5000), Ssrc(9), SeqNo(3), SILENCE, true), Verdict::Locked, "by its keys");
        assert!(!latch.may_move());
    }
}
