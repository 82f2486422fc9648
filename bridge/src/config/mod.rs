//! The configuration file (TOML): its shape, and every fault with its line.

mod check;
mod codes;
mod conference;
mod media;
mod oidc;
mod trunk;
mod webhook;

pub use check::{Faults, load, parse};
pub(crate) use check::{digits, listener, ports};
pub use codes::Codes;
pub use conference::{Conference, Withhold};
pub use media::{Media, MusicError, Srtp, encoding, music};
pub use oidc::{Claim, Oidc};
pub use trunk::{Limits, Login, Numbers, Transport, Trunk};
pub use webhook::{BadWebhook, HookEvent, Webhook};

use crate::disclosure::{Extent, Policy, Role, Sight};
use crate::meeting::Lobby;
use crate::prompt::Language;
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
    /// What lasts, encrypted.
    #[serde(default)]
    pub ledger: Ledger,
    /// Who signs people in, besides their passwords.
    pub oidc: Option<Oidc>,
    /// Who may see what.
    #[serde(default)]
    pub disclosure: Disclosure,
    /// Defaults for conferences.
    #[serde(default)]
    pub conferences: Conferences,
    /// Callers who are asked for a conference and its PIN.
    #[serde(default)]
    pub ivr: Ivr,
    /// Calls that hosts and operators ask for.
    #[serde(default)]
    pub dial: Dial,
    /// Who vouches for callers' numbers.
    #[serde(default)]
    pub stir: Stir,
    /// Carriers.
    #[serde(default)]
    pub trunk: Vec<Trunk>,
    /// Configured conferences.
    #[serde(default)]
    pub conference: Vec<Conference>,
    /// The site's own programs that are told of what happens.
    #[serde(default)]
    pub webhook: Vec<Webhook>,
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
    /// A session that is not refreshed is over after so many seconds (RFC 4028): 90 to 86,400, or 0: only where a peer asks for it.
    #[serde(default = "session_expires")]
    pub session_expires: Spanned<usize>,
    /// Certificates and keys, for `tls://` and `wss://` listeners. Read again on SIGHUP.
    pub tls: Option<Spanned<Tls>>,
    /// Name servers for carriers' addresses, as `192.0.2.53:53`. Absent: the system's.
    #[serde(default)]
    pub nameservers: Vec<SocketAddr>,
    /// Mark of our packets (RFC 2474), 0 to 63.
    #[serde(default = "sip_dscp")]
    pub dscp: Spanned<usize>,
}

/// Where Debian and its kin keep the authorities that they trust.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Files in PEM form.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Our chain, our own certificate first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of carriers' certificates, for mutual TLS.
    pub client_ca: Option<PathBuf>,
    /// Authorities of those whom we call. Absent: the system's.
    pub trusted: Option<PathBuf>,
}

impl Tls {
    /// As the SIP stack wants them.
    pub fn files(&self) -> sip_stack::transport::TlsFiles {
        let Self { cert, key, client_ca, trusted } = self.clone();
        let trusted = trusted.or_else(|| Some(PathBuf::from(SYSTEM_AUTHORITIES)).filter(|f| f.exists()));
        sip_stack::transport::TlsFiles { own: Some((cert, key)), client_ca, trusted }
    }
}

/// CS3, for signalling (RFC 4594 §2.3 leaves the choice; carriers use this one).
fn sip_dscp() -> Spanned<usize> {
    Spanned::new(0..0, 24)
}

fn session_expires() -> Spanned<usize> {
    Spanned::new(0..0, 1800)
}

fn max_calls() -> Spanned<usize> {
    Spanned::new(0..0, 20_000)
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
    /// Where callers reach the API from outside, as `https://meet.example.com`: for personal links. Absent: no links.
    pub public_url: Option<Spanned<String>>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            token_file: None,
            public_url: None,
        }
    }
}

/// `[ledger]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// `sqlite:FILE`; absent: `ledger.db` in the data folder.
    pub url: Option<Spanned<String>>,
    /// File with its key, mode 0600; absent: `ledger.key` in the data folder. It is made with the ledger.
    pub key_file: Option<PathBuf>,
}

/// `[vault]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vault {
    /// Take locked pages where the kernel has no secret ones, instead of refusing to start.
    pub allow_weaker: bool,
    /// A second process traces this one, so that nobody else can stop its threads and read their registers. False: a debugger can attach.
    pub guardian: bool,
}

impl Config {
    /// Where the ledger is.
    pub fn ledger(&self) -> crate::ledger::Home {
        let folder = &self.node.data_dir;
        let file = self.ledger.url.as_ref().and_then(|url| url.get_ref().strip_prefix("sqlite:"));
        crate::ledger::Home {
            file: file.map_or_else(|| folder.join("ledger.db"), PathBuf::from),
            key_file: self.ledger.key_file.clone().unwrap_or_else(|| folder.join("ledger.key")),
        }
    }
}

impl Default for Vault {
    fn default() -> Self {
        Self { allow_weaker: false, guardian: true }
    }
}

/// `[disclosure]`: what roles may see, where that is less than the product's own table allows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disclosure {
    /// File with the public key (JWK, P-256) for which withheld values are sealed when they are read for a legal reason. Its private part is kept
    /// elsewhere. Absent: they can be read by nobody.
    pub compliance_key: Option<Spanned<PathBuf>>,
    /// Hosts.
    pub host: Tighter,
    /// Operators.
    pub operator: Tighter,
    /// Admins.
    pub admin: Tighter,
    /// Auditors.
    pub auditor: Tighter,
    /// Participants.
    pub guest: Tighter,
    /// Who may listen without being seen.
    pub monitor: Tighter,
}

/// How much of each value a role may see: `shown`, `masked` or `pseudonym`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tighter {
    /// Of the display name.
    pub name: Option<Spanned<Extent>>,
    /// Of the number.
    pub number: Option<Spanned<Extent>>,
    /// Of the profile.
    pub profile: Option<Spanned<Extent>>,
}

impl Disclosure {
    /// By role.
    pub fn roles(&self) -> [(Role, &Tighter); Role::ALL.len()] {
        [
            (Role::Host, &self.host),
            (Role::Operator, &self.operator),
            (Role::Admin, &self.admin),
            (Role::Auditor, &self.auditor),
            (Role::Guest, &self.guest),
            (Role::Monitor, &self.monitor),
        ]
    }

    /// The compliance key, if there is one.
    ///
    /// # Errors
    /// What is wrong with its file.
    pub fn recipient(&self) -> Result<Option<vault::Recipient>, String> {
        let Some(file) = &self.compliance_key else { return Ok(None) };
        let text = std::fs::read_to_string(file.get_ref()).map_err(|e| format!("cannot be read: {e}"))?;
        let public = crate::jwk::parse(&text).map_err(|e| e.to_string())?;
        vault::Recipient::new(public).map(Some).map_err(|e| e.to_string())
    }

    /// The product's own table, tightened.
    pub fn policy(&self) -> Policy {
        self.roles().into_iter().fold(Policy::default(), |policy, (role, by)| {
            let of = |e: &Option<Spanned<Extent>>| e.as_ref().map_or(Extent::Shown, |e| *e.get_ref());
            let (name, number, profile) = (of(&by.name), of(&by.number), of(&by.profile));
            policy.tighten(role, Sight { name, number, profile })
        })
    }
}

/// `[conferences]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conferences {
    /// `sip:<prefix>ANYTHING@…` is the conference `<prefix>ANYTHING`, open to every trunk; absent: off.
    pub adhoc_prefix: Option<Spanned<String>>,
    /// Participants in a conference, 1 to 10,000, unless it says otherwise.
    pub capacity: Spanned<usize>,
    /// Codes that callers may dial.
    pub codes: Codes,
    /// What participants withhold unless they share it themselves or ask for `Privacy: none`, and unless a conference says otherwise.
    pub withhold: Withhold,
    /// Refuse callers who withhold their number: 433 (RFC 5079).
    pub refuse_anonymous: bool,
    /// Who waits before a conference until they are let in, unless it says otherwise: `off`, `until-host` or `admit`.
    pub lobby: Lobby,
    /// All hear a chime when somebody comes or goes, unless a conference says otherwise.
    pub chimes: bool,
    /// Callers who are asked for a PIN or a conference are asked to say their name too, and all hear it when they come and go, unless a conference says otherwise.
    pub announce_names: bool,
    /// The language in which callers are spoken to, unless a conference says otherwise: `en` or `de`.
    pub language: Language,
}

impl Default for Conferences {
    fn default() -> Self {
        Self {
            adhoc_prefix: None,
            capacity: Spanned::new(0..0, 500),
            codes: Codes::default(),
            withhold: Withhold::default(),
            refuse_anonymous: false,
            lobby: Lobby::Off,
            chimes: false,
            announce_names: false,
            language: Language::default(),
        }
    }
}

/// `[ivr]`: callers are asked for a conference's number and PIN.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ivr {
    /// Numbers at which callers are asked which conference they want: digits, with an optional `+`.
    pub numbers: Vec<Spanned<String>>,
    /// File with another script than the house's own.
    pub script: Option<Spanned<PathBuf>>,
}

/// `[stir]`: callers' numbers are verified (RFC 8224) where the certificate is at hand; nothing is fetched.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stir {
    /// File with the authorities (PEM) that may sign certificates.
    pub authorities: Option<Spanned<PathBuf>>,
    /// Certificates.
    pub certificates: Vec<StirCertificate>,
    /// Refuse calls whose Identity is wrong (438), instead of showing that it is.
    pub refuse_invalid: bool,
}

/// One of `stir.certificates`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StirCertificate {
    /// The URL by which callers' carriers name it.
    pub url: String,
    /// Its chain (PEM), its own certificate first.
    pub file: Spanned<PathBuf>,
}

/// What is wrong with one of its files, and where it is named.
type BadFile = (std::ops::Range<usize>, String);

impl Stir {
    /// The certificates, each signed by one of the authorities.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn load(&self) -> Result<sip_stack::message::stir::Certificates, BadFile> {
        let read = |file: &Spanned<PathBuf>| {
            std::fs::read(file.get_ref()).map_err(|e| {
                (file.span(), format!("`stir`: {} cannot be read: {e}", file.get_ref().display()))
            })
        };
        let mut all = sip_stack::message::stir::Certificates::default();
        let authorities = self.authorities.as_ref().map(read).transpose()?.unwrap_or_default();
        let now = std::time::SystemTime::now();
        for certificate in &self.certificates {
            let chain = read(&certificate.file)?;
            all.add(&certificate.url, &chain, &authorities, now).map_err(|e| {
                let file = certificate.file.get_ref().display();
                (certificate.file.span(), format!("`stir`: {file}: {e}"))
            })?;
        }
        Ok(all)
    }
}

/// `[dial]`: against toll fraud, nothing may be dialled that is not allowed here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dial {
    /// Beginnings of numbers that may be dialled, as `+44`. Absent: none.
    pub allowed: Vec<Spanned<String>>,
    /// Beginnings that may not, though one of the above fits; the longest that fits decides.
    pub denied: Vec<Spanned<String>>,
    /// Trunks, the first to be tried first. Absent: all that have a `to`, as they stand in the file.
    pub trunks: Vec<Spanned<String>>,
    /// Calls of one conference in a day, 0 to 10,000.
    pub per_conference: Spanned<usize>,
    /// Calls of all conferences in a day, 0 to 1,000,000.
    pub per_day: Spanned<usize>,
    /// Seconds that a call may ring, 5 to 180.
    pub ring: Spanned<usize>,
    /// Seconds without any response after which the next way is tried, 1 to 30.
    pub silence: Spanned<usize>,
    /// Redirections (3xx) that are followed, to numbers that may be dialled, 0 to 5.
    pub redirects: Spanned<usize>,
}

impl Default for Dial {
    fn default() -> Self {
        let of = |n| Spanned::new(0..0, n);
        Self {
            allowed: Vec::new(),
            denied: Vec::new(),
            trunks: Vec::new(),
            per_conference: of(50),
            per_day: of(500),
            ring: of(45),
            silence: of(4),
            redirects: of(1),
        }
    }
}

impl Dial {
    /// As the SIP stack wants them.
    pub fn rules(&self) -> sip_stack::message::DialRules {
        let own = |list: &[Spanned<String>]| list.iter().map(|p| p.get_ref().clone()).collect();
        sip_stack::message::DialRules { allowed: own(&self.allowed), denied: own(&self.denied) }
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
