//! Where a carrier is reached, as it is configured.

use sip_stack::transport::Protocol;
use std::net::{IpAddr, SocketAddr};

/// A carrier's address as it is configured: `[TRANSPORT://]HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address, expected [udp://|tcp://|tls://]HOST[:PORT]");
        let (protocol, rest) = match text.split_once("://") {
            None => (None, text),
            Some((name, rest)) => {
                let protocol = Protocol::from_name(name.as_bytes());
                let called = [Protocol::Udp, Protocol::Tcp, Protocol::Tls];
                (Some(protocol.filter(|p| called.contains(p)).ok_or_else(wrong)?), rest)
            }
        };
        if let Ok(ip) = rest.parse::<IpAddr>() {
            return Ok(Self { protocol, host: ip.to_string(), port: None });
        }
        if let Ok(address) = rest.parse::<SocketAddr>() {
            return Ok(Self { protocol, host: address.ip().to_string(), port: Some(address.port()) });
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|p| *p > 0).ok_or_else(wrong)?)),
            None => (rest, None),
        };
        let label =
            |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if host.len() > 253 || !host.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self { protocol, host: host.to_owned(), port })
    }
}

impl Place {
    /// Whether TLS may be what it is reached by.
    pub fn may_be_secure(&self) -> bool {
        self.protocol.is_none_or(Protocol::is_secure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_each_spelling() {
        let place = |protocol, host: &str, port| Place { protocol, host: host.into(), port };
        for (text, expected) in [
            ("sbc.example.com", Some(place(None, "sbc.example.com", None))),
            ("tls://sbc.example.com", Some(place(Some(Protocol::Tls), "sbc.example.com", None))),
            ("udp://192.0.2.7:5070", Some(place(Some(Protocol::Udp), "192.0.2.7", Some(5070)))),
            ("2001:db8::7", Some(place(None, "2001:db8::7", None))),
            ("tcp://[2001:db8::7]:5060", Some(place(Some(Protocol::Tcp), "2001:db8::7", Some(5060)))),
            ("ws://sbc.example.com", None),
            ("sip:sbc.example.com", None),
            ("sbc.example.com:0", None),
            ("sbc..example.com", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Place>().ok(), expected, "{text}");
        }
    }
}
