//! Calls made by ourselves: a SIP user agent and a telephone's audio, on the same crates as the bridge.

mod audio;
mod wav;

pub use audio::{Ended, Line, Talk};
pub use wav::{Clip, Recorder, WavError, parse_wav, read_wav};

use crate::sound::{self, Taste};
use anyhow::Context;
use media::LegId;
use media::dtls::Dtls;
use media::leg::{Direction, LegSetup};
use sip_stack::endpoint::Event;
use sip_stack::message::uri::{Host, Scheme, Uri};
use sip_stack::message::{AddressBook, Reader};
use sip_stack::sdp::{self, Capabilities, Encoding, LocalAudio, Session, Suite};
use sip_stack::transport::{self, Command, Handle, NewCall, Protocol, Whom};
use sip_stack::{CallId, Cause};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use vault::MediaKeys;

/// Who calls whom.
#[derive(Clone)]
pub struct Caller {
    /// Display name, if any.
    pub name: Option<String>,
    /// Number.
    pub number: String,
    /// `Privacy: id`.
    pub privacy_id: bool,
}

/// Where a call goes.
#[derive(Clone)]
pub struct Destination {
    /// Request-URI.
    pub uri: String,
    /// Address and transport.
    pub to: (Protocol, SocketAddr),
    /// The host's name, which its certificate must have.
    pub name: Option<String>,
}

// Identity is not for Debug.
impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller(..)")
    }
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Destination {
    /// Reads a `sip:` URI and finds its host's address.
    ///
    /// # Errors
    /// No such URI or host.
    pub async fn resolve(text: &str) -> anyhow::Result<Self> {
        let uri = Uri::parse(text.as_bytes()).context("expected a URI as sip:NUMBER@HOST:PORT")?;
        let host = uri.host.context("expected a sip: URI")?;
        let named = uri.param(b"transport").and_then(Protocol::from_name);
        let protocol =
            if uri.scheme == Scheme::Sips { Protocol::Tls } else { named.unwrap_or(Protocol::Udp) };
        let port = uri.port.unwrap_or(protocol.default_port());
        let mut called = None;
        let address = match host {
            Host::Ip(ip) => SocketAddr::new(ip, port),
            Host::Name(name) => {
                let name = String::from_utf8_lossy(name).into_owned();
                called = Some(name.clone());
                let mut found = tokio::net::lookup_host((name, port)).await.context("looking up the host")?;
                found.next().context("the host has no address")?
            }
        };
        Ok(Self { uri: text.to_owned(), to: (protocol, address), name: called })
    }
}

/// Where each call's events go.
type Calls = Arc<Mutex<HashMap<CallId, mpsc::UnboundedSender<Event>>>>;

/// A SIP user agent that makes calls.
#[derive(Debug)]
pub struct UserAgent {
    handle: Handle,
    calls: Calls,
    can: Capabilities,
    events: bool,
    keys: MediaKeys,
    encryption: Option<Encryption>,
    dtls: Option<Arc<Dtls>>,
}

/// How a call of ours is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// By keys in the description (RFC 4568), and this suite.
    Keys(Suite),
    /// By DTLS (RFC 5763).
    Dtls,
}

impl Encryption {
    /// Their names on the command line.
    pub fn names() -> Vec<&'static str> {
        Suite::ALL.map(Suite::name).into_iter().chain(["dtls"]).collect()
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Suite::from_name(name).map(Self::Keys).or(name.eq_ignore_ascii_case("dtls").then_some(Self::Dtls))
    }
}

/// A call being made or made.
#[derive(Debug)]
pub struct Dialled {
    /// The call.
    pub id: CallId,
    events: mpsc::UnboundedReceiver<Event>,
    handle: Handle,
    offer: LocalAudio,
    can: Capabilities,
}

impl UserAgent {
    /// Listens on free ports of `local` and takes what belongs to its own calls.
    ///
    /// # Errors
    /// The transport's.
    pub fn start(
        vault: &vault::Vault,
        local: std::net::IpAddr,
        codecs: Vec<Encoding>,
    ) -> anyhow::Result<Self> {
        Self::start_trusting(vault, local, codecs, None)
    }

    /// The same, for calls over TLS to those whose certificates the authorities in a PEM file have signed.
    ///
    /// # Errors
    /// The transport's.
    pub fn start_trusting(
        vault: &vault::Vault,
        local: std::net::IpAddr,
        codecs: Vec<Encoding>,
        trusted: Option<std::path::PathBuf>,
    ) -> anyhow::Result<Self> {
        let reader = Reader::new(vault, AddressBook::default())?;
        let keys = reader.media().clone();
        let address = SocketAddr::new(local, 0);
        let listen = vec![(Protocol::Udp, address), (Protocol::Tcp, address)];
        let tls = trusted.map(|t| transport::TlsFiles { own: None, client_ca: None, trusted: Some(t) });
        let config = transport::Config { listen, tls, ..Default::default() };
        // It asked to be answered, so it listens to everybody.
        let admit = |_| {
            let trunk = Default::default();
            Some(transport::Admission { trunk, trusted: false, withhold: Default::default() })
        };
        let (handle, mut events) = transport::start(vault, reader, config, Arc::new(admit))?;
        let calls = Calls::default();
        // It ends with the worker, which ends with the user agent and its calls.
        let (routes, busy) = (calls.clone(), handle.downgrade());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let (call, last) = match &event {
                    Event::Invite(invite) => {
                        // Nobody is at home.
                        let refuse = Command::Reject(invite.call, 480, Default::default());
                        let _ = busy.tell(refuse);
                        continue;
                    }
                    Event::Ended { call, .. } => (*call, true),
                    Event::Reinvite { call, .. }
                    | Event::Digit { call, .. }
                    | Event::Acked { call, .. }
                    | Event::Progress { call, .. }
                    | Event::EarlyAnswer { call, .. }
                    | Event::Modified { call, .. }
                    | Event::NotModified { call, .. }
                    | Event::Answered { call, .. } => (*call, false),
                    Event::Refer { call, refer, .. } => {
                        let _ = busy.tell(Command::Referred(*call, *refer, Err(603)));
                        continue;
                    }
                    Event::Subscribe(subscribe) => {
                        let _ = busy.tell(Command::Subscribed(subscribe.subscription, Err(403)));
                        continue;
                    }
                    Event::Notified(_) | Event::Unsubscribed(_) | Event::Pong { .. } => continue,
                };
                let mut routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(route) = routes.get(&call) {
                    // Who made the call may have dropped it.
                    let _ = route.send(event);
                }
                if last {
                    routes.remove(&call);
                }
            }
        });
        let can = Capabilities { codecs, keys: Some(keys.clone()), ..Capabilities::default() };
        Ok(Self { handle, calls, can, events: true, keys, encryption: None, dtls: None })
    }

    /// The same, offering no telephone events: its keys are heard.
    #[must_use]
    pub fn without_events(self) -> Self {
        Self { events: false, ..self }
    }

    /// The same, offering SRTP so and no other way.
    ///
    /// # Errors
    /// No handshakes can be made.
    pub fn encrypted(mut self, encryption: Option<Encryption>) -> anyhow::Result<Self> {
        self.encryption = encryption;
        if encryption == Some(Encryption::Dtls) {
            let dtls = Dtls::start(self.keys.clone())?;
            self.can.fingerprint = Some(dtls.fingerprint());
            self.dtls = Some(Arc::new(dtls));
        }
        Ok(self)
    }

    /// Who makes handshakes for its calls, if they need some.
    pub fn dtls(&self) -> Option<Arc<Dtls>> {
        self.dtls.clone()
    }

    /// What opens the keys of its calls.
    pub fn keys(&self) -> &MediaKeys {
        &self.keys
    }

    /// Begins a call whose audio is received at `rtp`.
    ///
    /// # Errors
    /// The worker has ended.
    pub fn dial(
        &self,
        caller: &Caller,
        destination: &Destination,
        rtp: SocketAddr,
    ) -> anyhow::Result<Dialled> {
        let id = self.handle.new_call();
        let display = caller.name.as_ref().map_or(String::new(), |n| format!("\"{}\" ", quoted(n)));
        let offer = sdp::offer(&self.can);
        let offer = if self.events { offer } else { LocalAudio { events: [None; 2], ..offer } };
        let offer = match self.encryption {
            Some(Encryption::Dtls) => offer.with_dtls(&self.can).context("no certificate for DTLS")?,
            Some(Encryption::Keys(suite)) => offer.secured(&[suite], &self.can).context("no key for SRTP")?,
            None => offer,
        };
        let call = NewCall {
            id,
            to: transport::Destination {
                to: destination.to,
                host: String::new(),
                name: destination.name.clone(),
            },
            whom: Whom::Address(
                destination.uri.clone(),
                format!("{display}<sip:{}@{}>", caller.number, rtp.ip()),
            ),
            rtp,
            audio: offer.clone(),
            privacy_id: caller.privacy_id,
            trunk: Default::default(),
            credentials: None,
            redirects: 0,
            silence: None,
            ring: None,
        };
        let (route, events) = mpsc::unbounded_channel();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(id, route);
        self.handle.tell(Command::Invite(Box::new(call)))?;
        Ok(Dialled { id, events, handle: self.handle.clone(), offer, can: self.can.clone() })
    }
}

/// A display name for a quoted string (RFC 3261 §25.1).
fn quoted(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] })
        .collect()
}

/// How a call of ours failed.
#[derive(Debug, thiserror::Error)]
#[error("the call ended before it was answered: {0:?}")]
pub struct NotAnswered(pub Cause);

impl Dialled {
    /// Waits for the answer and tells what was agreed on.
    ///
    /// # Errors
    /// [`NotAnswered`], or an answer that fits nothing that was offered.
    pub async fn answered(&mut self) -> anyhow::Result<LegSetup> {
        loop {
            match self.events.recv().await {
                Some(Event::Answered { answer, .. }) => return self.setup(&answer),
                Some(Event::Ended { cause, .. }) => return Err(NotAnswered(cause).into()),
                Some(_) => {}
                None => return Err(NotAnswered(Cause::TimedOut).into()),
            }
        }
    }

    fn setup(&self, answer: &Session) -> anyhow::Result<LegSetup> {
        let (audio, theirs) = sdp::accept_answer(&self.offer, answer, &self.can)?;
        let direction = Direction { receive: true, send: audio.direction.sends() };
        let remote = theirs.rtp().context("the answer has no address for audio")?;
        sound::setup(LegId(self.id.0), &audio, remote, direction, &Taste::default())
            .context("the answer has no codec of ours")
    }

    /// Waits until the call is over.
    pub async fn ended(&mut self) -> Cause {
        loop {
            match self.events.recv().await {
                Some(Event::Ended { cause, .. }) => return cause,
                Some(_) => {}
                None => return Cause::TimedOut,
            }
        }
    }

    /// Hangs up.
    pub fn hang_up(&self) {
        // The worker ends only with its user agent.
        let _ = self.handle.tell(Command::Hangup(self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_user_agent_that_is_gone_has_given_its_secret_pages_back() {
        let vault = vault::Vault::open(vault::Policy::AllowWeaker).unwrap();
        let held = || vault.status().locked_bytes;
        let before = held();
        let agent = UserAgent::start(&vault, [127, 0, 0, 1].into(), vec![Encoding::Pcmu]).unwrap();
        assert!(held() > before + 512 * 1024, "its worker's region");
        drop(agent);
        let gone = async {
            // Pages of keys stay with the vault, for other keys.
            while held() > before + 512 * 1024 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("its worker ends");
    }
}
