//! Pairs of UDP ports for RTP (even) and RTCP (odd) out of the configured range (RFC 3550 §11).

use rand::RngExt;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
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
    /// There is no address of the peer's family.
    #[error("there is no media address for {0}")]
    Family(&'static str),
    /// The operating system refused a socket for another reason than a port in use.
    #[error("media socket: {0}")]
    Io(#[from] std::io::Error),
}

/// Hands out pairs. Each pair starts where the last one ended, from a random place on, so that a port is not
/// used again soon after a call has left it.
#[derive(Debug)]
pub struct Ports {
    addresses: Addresses,
    dscp: u8,
    first: u16,
    pairs: u32,
    next: AtomicU32,
}

/// Where legs receive, by family.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    /// For peers of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For peers of IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    fn of(self, v6: bool) -> Option<IpAddr> {
        if v6 { self.v6.map(IpAddr::from) } else { self.v4.map(IpAddr::from) }
    }
}

impl From<IpAddr> for Addresses {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self { v4: Some(v4), v6: None },
            IpAddr::V6(v6) => Self { v4: None, v6: Some(v6) },
        }
    }
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
    /// The pairs of `range` on these addresses. Packets are marked with `dscp` (RFC 2474), 0 to 63; 46 is usual for speech.
    ///
    /// # Errors
    /// [`PortsError::Empty`].
    pub fn new(
        addresses: impl Into<Addresses>,
        dscp: u8,
        range: RangeInclusive<u16>,
    ) -> Result<Self, PortsError> {
        let (start, end) = (*range.start(), *range.end());
        let first = u32::from(start).next_multiple_of(2);
        let pairs = (u32::from(end) + 1).saturating_sub(first) / 2;
        if pairs == 0 || first == 0 {
            return Err(PortsError::Empty(start, end));
        }
        let next = AtomicU32::new(rand::rng().random_range(0..pairs));
        Ok(Self { addresses: addresses.into(), dscp, first: first as u16, pairs, next })
    }

    /// The largest number of legs at once.
    pub fn capacity(&self) -> usize {
        self.pairs as usize
    }

    /// Binds a free pair for a peer of IPv6 or IPv4.
    ///
    /// # Errors
    /// [`PortsError::Exhausted`] after every pair was tried, [`PortsError::Family`] without an address of that family.
    pub fn bind(&self, v6: bool) -> Result<Pair, PortsError> {
        let address = self.addresses.of(v6).ok_or(PortsError::Family(if v6 { "IPv6" } else { "IPv4" }))?;
        for _ in 0..self.pairs {
            let n = self.next.fetch_add(1, Ordering::Relaxed) % self.pairs;
            let port = self.first + (2 * n) as u16;
            let Some(rtp) = self.try_bind(address, port)? else { continue };
            let Some(rtcp) = self.try_bind(address, port + 1)? else { continue };
            return Ok(Pair { address: SocketAddr::new(address, port), rtp, rtcp });
        }
        Err(PortsError::Exhausted)
    }

    fn try_bind(&self, address: IpAddr, port: u16) -> Result<Option<UdpSocket>, PortsError> {
        let domain = Domain::for_address((address, port).into());
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        // The upper six bits of the octet (RFC 2474 §3).
        let octet = u32::from(self.dscp) << 2;
        match address {
            IpAddr::V4(_) => socket.set_tos_v4(octet)?,
            IpAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.set_tclass_v6(octet)?;
            }
        }
        match socket.bind(&SocketAddr::new(address, port).into()) {
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
            assert!(matches!(Ports::new(HERE, 46, range), Err(PortsError::Empty(..))));
        }
        assert_eq!(Ports::new(HERE, 46, 10_000..=10_001).unwrap().capacity(), 1);
        assert_eq!(Ports::new(HERE, 46, 20_001..=20_004).unwrap().capacity(), 1);
    }

    #[test]
    fn pairs_are_even_and_odd_and_run_out_cleanly() {
        let ports = Ports::new(HERE, 46, 42_100..=42_107).unwrap();
        let pairs: Vec<_> = std::iter::from_fn(|| ports.bind(false).ok()).collect();
        assert!(pairs.len() <= 4 && !pairs.is_empty());
        for pair in &pairs {
            let (rtp, rtcp) = (pair.address.port(), pair.rtcp.local_addr().unwrap().port());
            assert!(rtp % 2 == 0 && rtcp == rtp + 1);
        }
        assert!(matches!(ports.bind(false), Err(PortsError::Exhausted)));
        drop(pairs);
        assert!(ports.bind(false).is_ok(), "ports come back");
    }

    #[test]
    fn each_family_has_its_own_address_and_packets_are_marked() {
        let both = Addresses { v4: Some(Ipv4Addr::LOCALHOST), v6: Some(Ipv6Addr::LOCALHOST) };
        let ports = Ports::new(both, 46, 42_200..=42_299).unwrap();
        for v6 in [false, true] {
            let pair = ports.bind(v6).unwrap();
            assert_eq!(pair.address.is_ipv6(), v6);
            let socket = socket2::SockRef::from(&pair.rtp);
            let octet = if v6 { socket.tclass_v6() } else { socket.tos_v4() };
            assert_eq!(octet.unwrap(), 46 << 2);
        }
        let only = Ports::new(HERE, 0, 42_300..=42_399).unwrap();
        assert!(matches!(only.bind(true), Err(PortsError::Family("IPv6"))));
    }
}
