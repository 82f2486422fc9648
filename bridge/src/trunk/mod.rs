//! Which source addresses are carriers of ours. Everybody else is met with silence.

use crate::config;
use anyhow::Context;
use ipnet::IpNet;
use sip_stack::message::Reader;
use sip_stack::message::auth::Credentials;
use sip_stack::transport::Admission;
use sip_stack::{TrunkId, TrunkRules};
use std::io::Read;
use std::net::IpAddr;

/// All trunks, by source network.
#[derive(Debug)]
pub struct Trunks {
    networks: Vec<(IpNet, Known)>,
}

/// What is known of a network's trunk.
#[derive(Debug, Clone, Copy)]
struct Known {
    admission: Admission,
    links: bool,
    events: bool,
}

impl Trunks {
    /// From the configuration. The narrowest network that holds an address decides.
    pub fn new(trunks: &[config::Trunk]) -> Self {
        let mut networks: Vec<_> = trunks
            .iter()
            .enumerate()
            .flat_map(|t| {
                let (place, t) = t;
                t.from.get_ref().iter().map(move |n| {
                    let trunk = TrunkId(place as u16);
                    let admission = Admission { trunk, trusted: t.trusted, withhold: t.withhold.into() };
                    (n.0, Known { admission, links: t.personal_link, events: t.conference_events })
                })
            })
            .collect();
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self { networks }
    }

    /// What is believed of a source, if it is known.
    pub fn admit(&self, source: IpAddr) -> Option<Admission> {
        self.find(source).map(|known| known.admission)
    }

    /// Whether callers from there get their personal link by signalling.
    pub fn gives_links(&self, source: IpAddr) -> bool {
        self.find(source).is_some_and(|known| known.links)
    }

    /// Whether who is there may subscribe to conferences' states.
    pub fn gives_events(&self, source: IpAddr) -> bool {
        self.find(source).is_some_and(|known| known.events)
    }

    fn find(&self, source: IpAddr) -> Option<Known> {
        // A dual-stack socket shows IPv4 peers as mapped addresses.
        let source = source.to_canonical();
        self.networks.iter().find(|(network, _)| network.contains(&source)).map(|(_, known)| *known)
    }
}

/// What holds for each trunk's messages. Passwords are read straight into protected memory and sealed there.
///
/// # Errors
/// A file cannot be read, or no protected memory could be had.
pub fn rules(
    vault: &vault::Vault,
    reader: &Reader,
    trunks: &[config::Trunk],
) -> anyhow::Result<Vec<TrunkRules>> {
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
    let rules = |t: &config::Trunk| {
        Ok(TrunkRules {
            numbering: t.numbers.of_trunk(),
            requires: seal(&t.auth)?,
            algorithms: t.auth_algorithms.iter().map(|a| (*a).into()).collect(),
            contact_host: t.contact_host.as_ref().map(|h| h.get_ref().clone()),
            protocols: t.transport.iter().map(|p| (*p).into()).collect(),
            tls_name: t.tls_name.as_ref().map(|n| n.get_ref().clone()),
            refer: false,
        })
    };
    trunks.iter().map(rules).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_network_decides_and_strangers_are_nobody() {
        let text = "[sip]\nlisten = [\"udp://127.0.0.1:5060\"]\n\
            [[trunk]]\nname = \"wide\"\nfrom = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n\
            [[trunk]]\nname = \"narrow\"\nfrom = [\"192.0.2.8/32\"]\ntrusted = true\n";
        let trunks = Trunks::new(&config::parse("f", text).unwrap().trunk);
        let trusted = |ip: &str| trunks.admit(ip.parse().unwrap()).map(|a| a.trusted);
        assert_eq!(trusted("192.0.2.8"), Some(true));
        assert_eq!(trusted("192.0.2.9"), Some(false));
        assert_eq!(trusted("::ffff:192.0.2.8"), Some(true));
        assert_eq!(trusted("2001:db8::7"), Some(false));
        assert_eq!(trusted("198.51.100.1"), None);
    }
}
