//! Which source addresses are carriers of ours. Everybody else is met with silence.

use crate::config;
use ipnet::IpNet;
use sip_stack::transport::Admission;
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
}

impl Trunks {
    /// From the configuration. The narrowest network that holds an address decides.
    pub fn new(trunks: &[config::Trunk]) -> Self {
        let mut networks: Vec<_> = trunks
            .iter()
            .flat_map(|t| {
                t.from.get_ref().iter().map(|n| {
                    let admission = Admission { trusted: t.trusted, withhold: t.withhold.into() };
                    (n.0, Known { admission, links: t.personal_link })
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

    fn find(&self, source: IpAddr) -> Option<Known> {
        // A dual-stack socket shows IPv4 peers as mapped addresses.
        let source = source.to_canonical();
        self.networks.iter().find(|(network, _)| network.contains(&source)).map(|(_, known)| *known)
    }
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
