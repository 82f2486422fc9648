//! Carriers: which source addresses are theirs (everybody else is met with silence), and where they are called.
//!
//! | module | owns |
//! |---|---|
//! | [`locate`] | a carrier's addresses by DNS (RFC 3263) |
//! | [`health`] | whether an address can be called |
//! | [`carriers`] | all that are called, kept up to date |

pub mod carriers;
pub mod health;
pub mod locate;

pub use carriers::{Carrier, Way};

use crate::config;
use anyhow::Context;
use ipnet::IpNet;
use locate::Locator;
use sip_stack::message::Reader;
use sip_stack::message::auth::Credentials;
use sip_stack::sdp::Srtp;
use sip_stack::transport::{Admission, Handle, Protocol};
use sip_stack::{TrunkId, TrunkRules};
use std::io::Read;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// All trunks, by source network.
#[derive(Debug)]
pub struct Trunks {
    networks: Vec<(IpNet, Known)>,
    /// By [`TrunkId`].
    carriers: Vec<(Arc<Carrier>, Known)>,
    /// Those that are called, the first to be tried first.
    order: Vec<usize>,
}

/// What is known of a network's trunk.
#[derive(Debug, Clone, Copy)]
struct Known {
    admission: Admission,
    links: bool,
    events: bool,
    srtp: Option<Srtp>,
}

impl Trunks {
    /// From the configuration. The narrowest network that holds an address decides.
    /// `logins` are what we prove to each.
    pub fn new(trunks: &[config::Trunk], dial: &config::Dial, logins: Vec<Option<Credentials>>) -> Self {
        let known = |(place, t): (usize, &config::Trunk)| {
            let trunk = TrunkId(place as u16);
            let admission = Admission { trunk, trusted: t.trusted, withhold: t.withhold.into() };
            let srtp = t.srtp.map(Srtp::from);
            Known { admission, links: t.personal_link, events: t.conference_events, srtp }
        };
        let known: Vec<_> = trunks.iter().enumerate().map(known).collect();
        let networks = trunks.iter().zip(&known);
        let networks = networks.flat_map(|(t, k)| t.from.get_ref().iter().map(move |n| (n.0, *k)));
        let mut networks: Vec<_> = networks.collect();
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        let mut logins = logins.into_iter();
        let carrier = |(t, known): (&config::Trunk, &Known)| {
            let carrier = Carrier {
                trunk: known.admission.trunk,
                name: t.name.get_ref().clone(),
                places: t.to.iter().filter_map(|p| p.get_ref().parse().ok()).collect(),
                login: logins.next().flatten(),
                keep_alive: Duration::from_secs(*t.keep_alive.get_ref() as u64),
                targets: RwLock::default(),
            };
            (Arc::new(carrier), *known)
        };
        let carriers: Vec<_> = trunks.iter().zip(&known).map(carrier).collect();
        let named =
            |name: &toml::Spanned<String>| trunks.iter().position(|t| t.name.get_ref() == name.get_ref());
        let mut order: Vec<_> = dial.trunks.iter().filter_map(named).collect();
        if order.is_empty() {
            order = (0..trunks.len()).filter(|place| carriers[*place].0.is_called()).collect();
        }
        Self { networks, carriers, order }
    }

    /// Keeps the addresses of those that are called up to date, on the SIP worker's runtime.
    pub fn follow(&self, sip: &Handle, locator: &Arc<Locator>, trunks: &[config::Trunk], tls: bool) {
        let listens = |p: &Protocol| sip.listening().iter().any(|(l, _)| l == p);
        for ((carrier, _), t) in self.carriers.iter().zip(trunks).filter(|((c, _), _)| c.is_called()) {
            let given: Vec<Protocol> = t.transport.iter().map(|p| (*p).into()).collect();
            // Without a listener we could not be called back within the dialog.
            let ours = [Protocol::Tls, Protocol::Tcp, Protocol::Udp].into_iter();
            let ours = ours.filter(|p| (given.is_empty() || given.contains(p)) && listens(p));
            let ours: Vec<_> = ours.filter(|p| tls || !p.is_secure()).collect();
            for place in 0..t.to.len() {
                sip.runtime().spawn(carrier.clone().follow(place, locator.clone(), ours.clone()));
            }
            sip.runtime().spawn(carrier.clone().keep_alive(sip.clone()));
        }
    }

    /// All, by [`TrunkId`].
    pub fn carriers(&self) -> impl Iterator<Item = &Arc<Carrier>> {
        self.carriers.iter().map(|(carrier, _)| carrier)
    }

    /// A call that went a way was answered with a status, or not at all.
    pub fn record(&self, way: &Way, status: Option<u16>) {
        if let Some(carrier) = self.carrier(way.trunk) {
            carrier.record(&way.to, status.map(|status| (status, None)));
        }
    }

    /// A way's other end says that it takes nothing until then.
    pub fn rest(&self, way: &Way, until: Instant) {
        if let Some(carrier) = self.carrier(way.trunk) {
            carrier.rest(&way.to, until);
        }
    }

    /// The carrier of a trunk.
    pub fn carrier(&self, trunk: TrunkId) -> Option<&Arc<Carrier>> {
        self.carriers.get(usize::from(trunk.0)).map(|(carrier, _)| carrier)
    }

    /// Ways by which a call can go, the first to be tried first: trunks that are better off come first, then by their order.
    pub fn ways(&self) -> Vec<Way> {
        let mut order: Vec<_> = self.order.iter().filter_map(|place| self.carriers.get(*place)).collect();
        order.sort_by_key(|(carrier, _)| carrier.state());
        order.iter().flat_map(|(carrier, _)| carrier.ways(Instant::now())).collect()
    }

    /// What is believed of a source, if it is known.
    pub fn admit(&self, source: IpAddr) -> Option<Admission> {
        self.find(source).map(|known| known.admission)
    }

    /// The name of the trunk that a source is of.
    pub fn name(&self, source: IpAddr) -> Option<&str> {
        Some(self.carrier(self.admit(source)?.trunk)?.name())
    }

    /// Whether callers from there get their personal link by signalling.
    pub fn gives_links(&self, source: IpAddr) -> bool {
        self.find(source).is_some_and(|known| known.links)
    }

    /// Whether who is there may subscribe to conferences' states.
    pub fn gives_events(&self, source: IpAddr) -> bool {
        self.find(source).is_some_and(|known| known.events)
    }

    /// How much must be encrypted of calls from there; `None`: as the site has it.
    pub fn srtp(&self, source: IpAddr) -> Option<Srtp> {
        self.find(source).and_then(|known| known.srtp)
    }

    /// The same of calls that go a way.
    pub fn srtp_of(&self, way: &Way) -> Option<Srtp> {
        self.carriers.get(usize::from(way.trunk.0)).and_then(|(_, known)| known.srtp)
    }

    fn find(&self, source: IpAddr) -> Option<Known> {
        // A dual-stack socket shows IPv4 peers as mapped addresses.
        let source = source.to_canonical();
        let network = self.networks.iter().find(|(network, _)| network.contains(&source));
        let called = || self.carriers.iter().find(|(c, _)| c.is_called() && c.is_at(source));
        network.map(|(_, known)| *known).or_else(|| called().map(|(_, known)| *known))
    }
}

/// What holds for each trunk's messages, and what we prove to it. Passwords are read straight into protected memory and sealed there.
///
/// # Errors
/// A file cannot be read, or no protected memory could be had.
pub fn rules(
    vault: &vault::Vault,
    reader: &Reader,
    trunks: &[config::Trunk],
) -> anyhow::Result<(Vec<TrunkRules>, Vec<Option<Credentials>>)> {
    let mut region = vault.region()?;
    let mut seal = |login: &Option<config::Login>| -> anyhow::Result<Option<Credentials>> {
        let Some(login) = login else { return Ok(None) };
        let file = login.password_file.get_ref();
        let subject = reader.next_subject();
        region
            .receive(|buffer| {
                // Not `read`, which may stop early; the file was seen to be small.
                let mut file = std::fs::File::open(file)?;
                let mut filled = 0;
                loop {
                    match file.read(&mut buffer[filled..])? {
                        0 => return Ok((filled, ())),
                        n => filled += n,
                    }
                }
            })
            .with_context(|| format!("{}", file.display()))?;
        let user = login.user.get_ref().as_bytes();
        let sealed = region.run(|i| {
            let end = i.rx.iter().position(|b| b"\r\n".contains(b)).unwrap_or(i.rx.len());
            Credentials::seal(i.secrets, reader.ring(), subject, user, &i.rx[..end])
        })?;
        Ok(Some(sealed))
    };
    let logins = trunks.iter().map(|t| seal(&t.login)).collect::<anyhow::Result<_>>()?;
    let rules = |t: &config::Trunk| {
        Ok(TrunkRules {
            numbering: t.numbers.of_trunk(),
            requires: seal(&t.auth)?,
            algorithms: t.auth_algorithms.iter().map(|a| (*a).into()).collect(),
            contact_host: t.contact_host.as_ref().map(|h| h.get_ref().clone()),
            protocols: t.transport.iter().map(|p| (*p).into()).collect(),
            tls_name: t.tls_name.as_ref().map(|n| n.get_ref().clone()),
            refer: t.transfer,
            caller: t.caller.as_ref().map(|c| c.get_ref().clone()),
            asserts: t.asserts,
        })
    };
    Ok((trunks.iter().map(rules).collect::<anyhow::Result<_>>()?, logins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_network_decides_and_strangers_are_nobody() {
        let text = "[sip]\nlisten = [\"udp://127.0.0.1:5060\"]\n\
            [[trunk]]\nname = \"wide\"\nfrom = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n\
            [[trunk]]\nname = \"narrow\"\nfrom = [\"192.0.2.8/32\"]\ntrusted = true\n";
        let config = config::parse("f", text).unwrap();
        let trunks = Trunks::new(&config.trunk, &config.dial, Vec::new());
        let trusted = |ip: &str| trunks.admit(ip.parse().unwrap()).map(|a| a.trusted);
        assert_eq!(trusted("192.0.2.8"), Some(true));
        assert_eq!(trusted("192.0.2.9"), Some(false));
        assert_eq!(trusted("::ffff:192.0.2.8"), Some(true));
        assert_eq!(trusted("2001:db8::7"), Some(false));
        assert_eq!(trusted("198.51.100.1"), None);
    }
}
