//! Where a carrier is reached (RFC 3263): NAPTR, SRV, A and AAAA, in their order and for as long as they are good.

use crate::place::Place;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use sip_stack::transport::{Destination, Protocol};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Answers are good for at least and at most so long, whatever they say.
const LEAST: Duration = Duration::from_secs(5);
const MOST: Duration = Duration::from_secs(3600);
/// Addresses of one place at most.
const ADDRESSES: usize = 32;

/// One address of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// It.
    pub destination: Destination,
    /// Lower ones are tried first.
    pub rank: (usize, u16),
    /// Among those of one rank, how much of the calls it takes (RFC 2782).
    pub weight: u16,
}

/// A place's addresses, and until when they are good.
#[derive(Debug, Clone)]
pub struct Located {
    /// Them.
    pub found: Vec<Found>,
    /// Until then.
    pub until: Instant,
}

/// Why a place was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// The name server refused or was silent, or knows no address.
    #[error("{0}")]
    Dns(#[from] NetError),
    /// There are records, but none for a protocol of ours or with an address.
    #[error("no address for a protocol of ours")]
    Nothing,
}

/// Asks name servers: those given, else the system's.
#[derive(Debug)]
pub struct Locator {
    resolver: TokioResolver,
}

impl Locator {
    /// With the given name servers; with none, the system's.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let server = |s: &SocketAddr| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut c| {
                    c.port = s.port();
                    c
                });
                NameServerConfig::new(s.ip(), true, connections.into())
            };
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = Duration::from_secs(2);
        options.positive_max_ttl = Some(MOST);
        // A carrier that was not there a moment ago may be there now.
        options.negative_max_ttl = Some(LEAST);
        Ok(Self { resolver: builder.build()? })
    }

    /// Finds a place's addresses, for the given protocols of ours (the most wanted first).
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn locate(&self, place: &Place, ours: &[Protocol]) -> Result<Located, LocateError> {
        let mut search = Search { locator: self, place, found: Vec::new(), until: Instant::now() + MOST };
        let usual = place.protocol.or_else(|| ours.last().copied()).unwrap_or(Protocol::Udp);
        if place.host.parse::<IpAddr>().is_ok() || place.port.is_some() {
            // RFC 3263 §4.1, §4.2: no NAPTR, no SRV.
            let port = place.port.unwrap_or(usual.default_port());
            search.addresses(&place.host, usual, port, (0, 0), 0).await?;
        } else {
            let services = search.services(ours).await?;
            for (rank, (protocol, name)) in services.into_iter().enumerate() {
                search.servers(&name, protocol, rank).await?;
            }
            if search.found.is_empty() {
                search.addresses(&place.host, usual, usual.default_port(), (0, 0), 0).await?;
            }
        }
        let Search { mut found, until, .. } = search;
        if found.is_empty() {
            return Err(LocateError::Nothing);
        }
        found.sort_by_key(|f| f.rank);
        Ok(Located { found, until: until.max(Instant::now() + LEAST) })
    }
}

struct Search<'a> {
    locator: &'a Locator,
    place: &'a Place,
    found: Vec<Found>,
    until: Instant,
}

impl Search<'_> {
    /// Records of one kind; none is no error.
    async fn ask(&mut self, name: &str, kind: RecordType) -> Result<Vec<RData>, NetError> {
        // With its dot: it is whole.
        let name = format!("{}.", name.trim_end_matches('.'));
        match self.locator.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                self.until = self.until.min(lookup.valid_until());
                Ok(lookup.answers().iter().map(|r| r.data.clone()).collect())
            }
            Err(e) if e.is_no_records_found() => {
                self.until = self.until.min(Instant::now() + Duration::from_secs(60));
                Ok(Vec::new())
            }
            Err(e) => Err(e),
        }
    }

    /// SRV names, in the order in which they are wanted (RFC 3263 §4.1).
    async fn services(&mut self, ours: &[Protocol]) -> Result<Vec<(Protocol, String)>, NetError> {
        let host = self.place.host.clone();
        if let Some(protocol) = self.place.protocol {
            return Ok(vec![(protocol, srv_name(protocol, &host))]);
        }
        let mut pointers = Vec::new();
        for data in self.ask(&host, RecordType::NAPTR).await? {
            let RData::NAPTR(naptr) = data else { continue };
            let Some(protocol) = service(&naptr.services).filter(|p| ours.contains(p)) else { continue };
            if naptr.flags.eq_ignore_ascii_case(b"s") {
                pointers.push(((naptr.order, naptr.preference), protocol, naptr.replacement.to_ascii()));
            }
        }
        if pointers.is_empty() {
            return Ok(ours.iter().map(|p| (*p, srv_name(*p, &host))).collect());
        }
        pointers.sort_by_key(|(order, ..)| *order);
        Ok(pointers.into_iter().map(|(_, protocol, name)| (protocol, name)).collect())
    }

    async fn servers(&mut self, name: &str, protocol: Protocol, rank: usize) -> Result<(), NetError> {
        for data in self.ask(name, RecordType::SRV).await? {
            let RData::SRV(srv) = data else { continue };
            // RFC 2782: a lone dot says that there is no such service.
            if srv.target.is_root() {
                continue;
            }
            let at = (rank, srv.priority);
            self.addresses(&srv.target.to_ascii(), protocol, srv.port, at, srv.weight).await?;
        }
        Ok(())
    }

    async fn addresses(
        &mut self,
        host: &str,
        protocol: Protocol,
        port: u16,
        rank: (usize, u16),
        weight: u16,
    ) -> Result<(), NetError> {
        let ips: Vec<IpAddr> = match host.parse() {
            Ok(ip) => vec![ip],
            Err(_) => {
                let name = format!("{}.", host.trim_end_matches('.'));
                match self.locator.resolver.lookup_ip(name).await {
                    Ok(lookup) => {
                        self.until = self.until.min(lookup.valid_until());
                        lookup.iter().collect()
                    }
                    Err(e) if e.is_no_records_found() => Vec::new(),
                    Err(e) => return Err(e),
                }
            }
        };
        let Place { host, port: given, .. } = self.place;
        let is_name = host.parse::<IpAddr>().is_err();
        let written = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let written = given.map_or(written.clone(), |port| format!("{written}:{port}"));
        for ip in ips {
            if self.found.len() < ADDRESSES {
                let (host, to) = (written.clone(), (protocol, SocketAddr::new(ip, port)));
                // RFC 5922 §4: the certificate is for the domain that was asked for, not for what DNS made of it.
                let name = Some(self.place.host.clone()).filter(|_| is_name);
                self.found.push(Found { destination: Destination { to, host, name }, rank, weight });
            }
        }
        Ok(())
    }
}

/// RFC 3263 §4.1.
fn service(name: &[u8]) -> Option<Protocol> {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    match () {
        () if is("SIPS+D2T") => Some(Protocol::Tls),
        () if is("SIP+D2T") => Some(Protocol::Tcp),
        () if is("SIP+D2U") => Some(Protocol::Udp),
        () => None,
    }
}

fn srv_name(protocol: Protocol, host: &str) -> String {
    match protocol {
        Protocol::Tls => format!("_sips._tcp.{host}"),
        Protocol::Tcp => format!("_sip._tcp.{host}"),
        _ => format!("_sip._udp.{host}"),
    }
}
