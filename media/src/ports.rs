//! Pairs of UDP ports for RTP (even) and RTCP (odd) out of the configured range (RFC 3550 §11).

use rand::RngExt;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

/// Why no pair could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortsError {
    /// The range has no even port followed by an odd one.
    #[error("the media port range {0}-{1} holds no even port with an odd one after it")]
    Empty(u16, u16),
    /// Every pair of the range is in use.
    #[error("all media ports are in use")]
    Exhausted,
    /// The operating system refused a socket for another reason than a port in use.
    #[error("media socket: {0}")]
    Io(#[from] std::io::Error),
}

/// Hands out pairs. Each pair starts where the last one ended, from a random place on, so that a port is not
/// used again soon after a call has left it.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    first: u16,
    pairs: u32,
    next: AtomicU32,
}

/// A pair of bound sockets.
#[derive(Debug)]
pub struct Pair {
    /// RTP, even port, non-blocking.
    pub rtp: UdpSocket,
    /// RTCP, the next port, non-blocking.
    pub rtcp: UdpSocket,
    /// The RTP socket's address.
    pub address: SocketAddr,
}

impl Ports {
    /// The pairs of `range` on `address`.
    ///
    /// # Errors
    /// [`PortsError::Empty`].
    pub fn new(address: IpAddr, range: RangeInclusive<u16>) -> Result<Self, PortsError> {
        let (start, end) = (*range.start(), *range.end());
        let first = u32::from(start).next_multiple_of(2);
        let pairs = (u32::from(end) + 1).saturating_sub(first) / 2;
        if pairs == 0 || first == 0 {
            return Err(PortsError::Empty(start, end));
        }
        let next = AtomicU32::new(rand::rng().random_range(0..pairs));
        Ok(Self { address, first: first as u16, pairs, next })
    }

    /// The largest number of legs at once.
    pub fn capacity(&self) -> usize {
        self.pairs as usize
    }

    /// Binds a free pair.
    ///
    /// # Errors
    /// [`PortsError::Exhausted`] after every pair was tried.
    pub fn bind(&self) -> Result<Pair, PortsError> {
        for _ in 0..self.pairs {
            let n = self.next.fetch_add(1, Ordering::Relaxed) % self.pairs;
            let port = self.first + (2 * n) as u16;
            let Some(rtp) = self.try_bind(port)? else { continue };
            let Some(rtcp) = self.try_bind(port + 1)? else { continue };
            return Ok(Pair { address: SocketAddr::new(self.address, port), rtp, rtcp });
        }
        Err(PortsError::Exhausted)
    }

    fn try_bind(&self, port: u16) -> Result<Option<UdpSocket>, PortsError> {
        let domain = Domain::for_address((self.address, port).into());
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        match socket.bind(&SocketAddr::new(self.address, port).into()) {
            Ok(()) => Ok(Some(socket.into())),
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_range_without_a_pair_is_refused() {
        for range in [10..=10, 11..=12, 0..=1] {
            assert!(matches!(Ports::new(HERE, range), Err(PortsError::Empty(..))));
        }
        assert_eq!(Ports::new(HERE, 10_000..=10_001).unwrap().capacity(), 1);
        assert_eq!(Ports::new(HERE, 20_001..=20_004).unwrap().capacity(), 1);
    }

    #[test]
    fn pairs_are_even_and_odd_and_run_out_cleanly() {
        let ports = Ports::new(HERE, 42_100..=42_107).unwrap();
        let pairs: Vec<_> = std::iter::from_fn(|| ports.bind().ok()).collect();
        assert!(pairs.len() <= 4 && !pairs.is_empty());
        for pair in &pairs {
            let (rtp, rtcp) = (pair.address.port(), pair.rtcp.local_addr().unwrap().port());
            assert!(rtp % 2 == 0 && rtcp == rtp + 1);
        }
        assert!(matches!(ports.bind(), Err(PortsError::Exhausted)));
        drop(pairs);
        assert!(ports.bind().is_ok(), "ports come back");
    }
}
