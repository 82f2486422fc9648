//! The configuration file (TOML): its shape, and every fault with its line.

mod check;

pub use check::{Faults, load, parse};
pub(crate) use check::{digits, listener, ports};

use ipnet::IpNet;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use toml::Spanned;

/// All of it. Unknown keys are errors everywhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This installation.
    #[serde(default)]
    pub node: Node,
    /// SIP listeners.
    pub sip: Sip,
    /// RTP.
    #[serde(default)]
    pub media: Media,
    /// HTTP listeners.
    #[serde(default)]
    pub http: Http,
    /// Encrypted memory.
    #[serde(default)]
    pub vault: Vault,
    /// Defaults for conferences.
    #[serde(default)]
    pub conferences: Conferences,
    /// Carriers.
    #[serde(default)]
    pub trunk: Vec<Trunk>,
    /// Configured conferences.
    #[serde(default)]
    pub conference: Vec<Conference>,
}

/// `[node]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Name of this installation, for logs.
    pub name: String,
    /// Region, for data residency.
    pub region: String,
    /// Folder for what must last.
    pub data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self { name: "sotto".into(), region: "local".into(), data_dir: "var".into() }
    }
}

/// `[sip]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    /// `udp://address:port` and `tcp://address:port`, at least one.
    pub listen: Spanned<Vec<Spanned<String>>>,
    /// Our address as carriers see it, behind 1:1 NAT.
    pub external_address: Option<IpAddr>,
    /// Calls at once, 1 to 100,000.
    #[serde(default = "max_calls")]
    pub max_calls: Spanned<usize>,
}

fn max_calls() -> Spanned<usize> {
    Spanned::new(0..0, 20_000)
}

/// `[media]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Address for RTP; unspecified: the one on which the call came.
    pub address: IpAddr,
    /// Our address as carriers see it, behind 1:1 NAT.
    pub external_address: Option<IpAddr>,
    /// `first-last`, both included.
    pub ports: Spanned<String>,
    /// Real-time threads, 0 to 64; 0: one less than cores, at least one.
    pub shards: Spanned<usize>,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: IpAddr::from([0, 0, 0, 0]),
            external_address: None,
            ports: Spanned::new(0..0, "20000-39999".into()),
            shards: Spanned::new(0..0, 0),
        }
    }
}

/// `[http]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The API.
    pub listen: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`: for the house's own network.
    pub admin_listen: SocketAddr,
    /// File with one bearer token per line (lines with `#` are comments). Without it, the API refuses everybody.
    pub token_file: Option<Spanned<PathBuf>>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            token_file: None,
        }
    }
}

/// `[vault]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vault {
    /// Take locked pages where the kernel has no secret ones, instead of refusing to start.
    pub allow_weaker: bool,
}

/// `[conferences]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conferences {
    /// `sip:<prefix>ANYTHING@…` is the conference `<prefix>ANYTHING`, open to every trunk; absent: off.
    pub adhoc_prefix: Option<Spanned<String>>,
    /// Participants in a conference, 1 to 10,000, unless it says otherwise.
    pub capacity: Spanned<usize>,
    /// Keys with which a caller withholds name and number: 2 to 8 of `0-9*#`, the first `*` or `#`.
    pub withhold_code: Spanned<String>,
    /// Keys with which a caller shares them.
    pub share_code: Spanned<String>,
    /// What participants withhold unless they share it themselves or ask for `Privacy: none`, and unless a conference says otherwise.
    pub withhold: Withhold,
    /// Refuse callers who withhold their number: 433 (RFC 5079).
    pub refuse_anonymous: bool,
}

impl Default for Conferences {
    fn default() -> Self {
        Self {
            adhoc_prefix: None,
            capacity: Spanned::new(0..0, 500),
            withhold_code: Spanned::new(0..0, "*67".into()),
            share_code: Spanned::new(0..0, "*82".into()),
            withhold: Withhold::default(),
            refuse_anonymous: false,
        }
    }
}

/// A network, as `192.0.2.0/24`, or one address.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(pub IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse().or_else(|_| one());
        network
            .map(Self)
            .map_err(|_| format!("`{text}` is no network, expected ADDRESS/LENGTH as 192.0.2.0/24"))
    }
}

/// `[[trunk]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// Its name in logs and metrics.
    pub name: Spanned<String>,
    /// Networks from which it sends.
    pub from: Spanned<Vec<Network>>,
    /// Whether its identity headers are believed (RFC 3325).
    #[serde(default)]
    pub trusted: bool,
    /// What its callers withhold unless they share it themselves or ask for `Privacy: none`.
    #[serde(default)]
    pub withhold: Withhold,
}

/// Values that are withheld: `["name", "number"]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Attribute>")]
pub struct Withhold {
    /// The display name.
    pub name: bool,
    /// The number.
    pub number: bool,
}

/// A value of a caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Attribute {
    Name,
    Number,
}

impl From<Vec<Attribute>> for Withhold {
    fn from(list: Vec<Attribute>) -> Self {
        Self { name: list.contains(&Attribute::Name), number: list.contains(&Attribute::Number) }
    }
}

impl From<Withhold> for sip_stack::Withhold {
    fn from(Withhold { name, number }: Withhold) -> Self {
        Self { name, number }
    }
}

/// `[[conference]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conference {
    /// Its id in URLs: letters, digits and `-._~`.
    pub id: Spanned<String>,
    /// The number that is dialled for it: digits, with an optional `+`.
    pub number: Spanned<String>,
    /// Participants, 1 to 10,000.
    pub capacity: Option<Spanned<usize>>,
    /// Like `conferences.withhold`.
    pub withhold: Option<Withhold>,
    /// Like `conferences.refuse_anonymous`.
    pub refuse_anonymous: Option<bool>,
}
