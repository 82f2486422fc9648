//! `[[trunk]]`: a carrier, and everything that differs from one to the other.

use super::media::Srtp;
use super::{Network, Withhold};
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

/// `[[trunk]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// Its name in logs and metrics.
    pub name: Spanned<String>,
    /// Networks from which it sends. Where it is called (`to`) counts as well.
    #[serde(default = "nowhere")]
    pub from: Spanned<Vec<Network>>,
    /// Where it is called, the first to be tried first: `[udp://|tcp://|tls://]HOST[:PORT]`, found by NAPTR, SRV and addresses (RFC 3263).
    /// Absent: it is not called.
    #[serde(default)]
    pub to: Vec<Spanned<String>>,
    /// Who we are to it in calls that we make: a number of ours, E.164.
    pub caller: Option<Spanned<String>>,
    /// Whether that is asserted towards it (P-Asserted-Identity, RFC 3325).
    #[serde(default)]
    pub asserts: bool,
    /// What we prove to it when it asks (RFC 7616).
    pub login: Option<Login>,
    /// Seconds between two OPTIONS to each of its addresses: 5 to 3,600, or 0: none.
    #[serde(default = "keep_alive")]
    pub keep_alive: Spanned<usize>,
    /// Whether its calls may be transferred by it (REFER, RFC 3515), to what `[dial]` allows.
    #[serde(default)]
    pub transfer: bool,
    /// Whether its identity headers are believed (RFC 3325).
    #[serde(default)]
    pub trusted: bool,
    /// What its callers withhold unless they share it themselves or ask for `Privacy: none`.
    #[serde(default)]
    pub withhold: Withhold,
    /// Whether its callers get their personal link in the answer to their INVITE (`Call-Info`): for trunks to people's own telephones, for
    /// whoever reads the answer on its way can open the page.
    #[serde(default)]
    pub personal_link: bool,
    /// Protocols by which it may come: `udp`, `tcp`, `tls`, `ws`, `wss`. Absent: any.
    #[serde(default)]
    pub transport: Vec<Transport>,
    /// The host name that its TLS certificate must be for (mutual TLS); it may then come by TLS only.
    pub tls_name: Option<Spanned<String>>,
    /// What it must prove by digest before its requests are taken (RFC 7616).
    pub auth: Option<Login>,
    /// The algorithms that it may prove it with, the most wanted first: `SHA-256` and `MD5`. Some peers look at the first only.
    #[serde(default)]
    pub auth_algorithms: Vec<Algorithm>,
    /// Whether its calls' sound may, must or cannot be encrypted; absent: as `media.srtp` says. We offer keys only over TLS.
    pub srtp: Option<Srtp>,
    /// Bounds on its calls.
    #[serde(default)]
    pub limits: Limits,
    /// How it writes numbers.
    #[serde(default)]
    pub numbers: Numbers,
    /// The host name by which we are known to it: in Contact and Via instead of an address. It must be that of our certificate for who
    /// compares them.
    pub contact_host: Option<Spanned<String>>,
    /// Whether it may subscribe to conferences' states (RFC 4575). They carry pseudonyms only.
    #[serde(default)]
    pub conference_events: bool,
}

fn nowhere() -> Spanned<Vec<Network>> {
    Spanned::new(0..0, Vec::new())
}

fn keep_alive() -> Spanned<usize> {
    Spanned::new(0..0, 30)
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
    /// Streams by TLS.
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl From<Transport> for sip_stack::transport::Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
            Transport::Tls => Self::Tls,
            Transport::Ws => Self::Ws,
            Transport::Wss => Self::Wss,
        }
    }
}

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// RFC 8760.
    #[serde(rename = "SHA-256")]
    Sha256,
    /// RFC 2617.
    #[serde(rename = "MD5")]
    Md5,
}

impl From<Algorithm> for sip_stack::message::auth::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256,
            Algorithm::Md5 => Self::Md5,
        }
    }
}

/// A name and the file with its password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// User name.
    pub user: Spanned<String>,
    /// File whose first line is the password.
    pub password_file: Spanned<PathBuf>,
}

/// Bounds on a trunk's calls.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls at once.
    pub calls: Option<Spanned<usize>>,
    /// New calls a second, on average.
    pub calls_per_second: Option<Spanned<usize>>,
    /// New calls at once before the rate counts.
    pub burst: Option<Spanned<usize>>,
}

impl Limits {
    /// As the SIP stack wants them. Without a `burst`, a second's worth may come at once.
    pub fn of_trunk(&self) -> sip_stack::endpoint::TrunkLimits {
        let rate = self.calls_per_second.as_ref().map(|n| *n.get_ref() as u32);
        let burst = self.burst.as_ref().map(|n| *n.get_ref() as u32);
        sip_stack::endpoint::TrunkLimits {
            calls: self.calls.as_ref().map(|n| *n.get_ref()),
            rate,
            burst: burst.or(rate).unwrap_or(1),
        }
    }
}

/// How a trunk writes numbers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Numbers {
    /// Country code, as `44`, of numbers that it writes without one. Absent: bare digits are whole E.164 numbers.
    pub country: Option<Spanned<String>>,
    /// What stands before a national number, as `0`.
    pub trunk_prefix: Option<Spanned<String>>,
    /// What stands before an international number instead of `+`, as `00`.
    pub international: Option<Spanned<String>>,
    /// It writes only so many last digits of a called number.
    pub last_digits: Option<Spanned<usize>>,
    /// It is sent numbers without their `+`.
    pub without_plus: bool,
}

impl Numbers {
    /// By name: what must be digits.
    pub fn digits(&self) -> [(&'static str, &Option<Spanned<String>>); 3] {
        [
            ("country", &self.country),
            ("trunk_prefix", &self.trunk_prefix),
            ("international", &self.international),
        ]
    }

    /// As the SIP stack wants them.
    pub fn of_trunk(&self) -> sip_stack::message::Numbering {
        let text =
            |value: &Option<Spanned<String>>| value.as_ref().map_or(String::new(), |v| v.get_ref().clone());
        sip_stack::message::Numbering {
            country: text(&self.country),
            trunk_prefix: text(&self.trunk_prefix),
            international: text(&self.international),
            last_digits: self.last_digits.as_ref().map(|n| *n.get_ref()),
            without_plus: self.without_plus,
        }
    }
}
