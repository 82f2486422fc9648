//! TLS (RFC 5246, RFC 8446) by rustls, as a machine without sockets: ciphertext goes in and out, what is readable stays in secret pages.
//!
//! Every object of a session lies in a [`vault::Store`] and is worked on inside a region; so do certificates' private keys.

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// Ciphertext that may wait for the rest of its record or of a handshake message in several (a long chain of certificates).
const MOST_INCOMING: usize = 64 * 1024;
/// What a session may need of its store, bytes: a message in parts, a record, and the session itself.
pub(super) const ROOM: usize = 48 * 1024;

/// Why a session or its configuration cannot be. Nothing of a peer's certificate is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The certificate file has no certificates in PEM form.
    #[error("no certificate in PEM form")]
    NoCertificate,
    /// The key file has no private key in PEM form.
    #[error("no private key in PEM form")]
    NoKey,
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("the private key is not the certificate's, or of another kind than ECDSA, Ed25519 and RSA")]
    KeyMismatch,
    /// The authorities' file has no certificates that can be trusted.
    #[error("no usable certificate of an authority in PEM form")]
    NoAuthority,
    /// The host name is none.
    #[error("no host name that a certificate could be for")]
    Name,
    /// No more protected memory can be had.
    #[error("no protected memory for the TLS session")]
    NoMemory,
    /// The peer broke the protocol, or proves what is not trusted.
    #[error("the TLS session failed")]
    Session,
}

impl vault::Leaves for TlsFault {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

impl From<vault::VaultError> for TlsFault {
    fn from(_: vault::VaultError) -> Self {
        Self::NoMemory
    }
}

/// What we prove and whom we believe, as a server.
#[derive(Clone)]
pub(super) struct Server(Arc<ServerConfig>);

/// Whom we believe, and what we prove when we are asked, as a client.
#[derive(Clone)]
pub(super) struct Client(Arc<ClientConfig>);

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    all.ok().filter(|c| !c.is_empty()).ok_or(TlsFault::NoCertificate)
}

fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|_| TlsFault::NoAuthority)? {
        roots.add(certificate).map_err(|_| TlsFault::NoAuthority)?;
    }
    Ok(Arc::new(roots))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Server {
    /// From files in PEM form: our chain, its key and, for mutual TLS, the authorities of our peers. A peer without a certificate is
    /// let in, for who it is may be told by its address.
    pub(super) fn new(chain: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> Result<Self, TlsFault> {
        let (chain, key) =
            (certificates(chain)?, PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsFault::NoKey)?);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsFault::Session)?;
        let builder = match client_authorities {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities(pem)?, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|_| TlsFault::NoAuthority)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|_| TlsFault::KeyMismatch)?;
        // Resumption keeps secrets of sessions that are over; carriers' connections are long.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }
}

impl Client {
    /// Whom we believe: the authorities of a PEM file. `own`: our chain and key, for who asks.
    pub(super) fn new(trusted: &[u8], own: Option<(&[u8], &[u8])>) -> Result<Self, TlsFault> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsFault::Session)?
            .with_root_certificates(authorities(trusted)?);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsFault::NoKey)?;
                builder.with_client_auth_cert(certificates(chain)?, key).map_err(|_| TlsFault::KeyMismatch)?
            }
        };
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }
}

enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One session.
pub(super) struct Session {
    connection: Connection,
    /// Ciphertext whose record is not whole yet.
    incoming: Vec<u8>,
    /// What the peer said and nobody has taken yet.
    plain: Vec<u8>,
    /// What we want to say when the handshake is over.
    waiting: Vec<u8>,
    /// Ciphertext to be sent.
    out: Vec<u8>,
    open: bool,
    closed: bool,
    failed: bool,
}

impl Session {
    /// The server's side.
    pub(super) fn accept(server: &Server) -> Result<Self, TlsFault> {
        let connection = UnbufferedServerConnection::new(server.0.clone()).map_err(|_| TlsFault::Session)?;
        Ok(Self::new(Connection::Server(connection)))
    }

    /// The client's side, towards a host of this name or address.
    pub(super) fn connect(client: &Client, name: &str) -> Result<Self, TlsFault> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsFault::Name)?;
        let connection =
            UnbufferedClientConnection::new(client.0.clone(), name).map_err(|_| TlsFault::Session)?;
        let mut session = Self::new(Connection::Client(connection));
        session.turn()?;
        Ok(session)
    }

    fn new(connection: Connection) -> Self {
        let empty = Vec::new;
        Self {
            connection,
            incoming: empty(),
            plain: empty(),
            waiting: empty(),
            out: empty(),
            open: false,
            closed: false,
            failed: false,
        }
    }

    /// Takes ciphertext.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsFault> {
        self.incoming.extend_from_slice(bytes);
        self.turn()
    }

    /// Says something: at once, or when the handshake is over.
    pub(super) fn say(&mut self, plain: &[u8]) -> Result<(), TlsFault> {
        self.waiting.extend_from_slice(plain);
        if self.open { self.turn() } else { Ok(()) }
    }

    /// Says that nothing follows (RFC 8446 §6.1).
    pub(super) fn close(&mut self) {
        let mut sides = Sides { close: true, ..Sides::of(&mut self.plain, &mut self.waiting, &mut self.out) };
        // A session that has failed has nothing to say.
        let _ = drive(&mut self.connection, &mut [], &mut sides);
    }

    /// What the peer said, from the oldest byte on.
    pub(super) fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Forgets the oldest bytes of it.
    pub(super) fn taken(&mut self, len: usize) {
        take_front(&mut self.plain, len);
    }

    /// Ciphertext to be sent, from the oldest byte on.
    pub(super) fn out(&self) -> &[u8] {
        &self.out
    }

    /// Forgets the oldest bytes of it.
    pub(super) fn sent(&mut self, len: usize) {
        take_front(&mut self.out, len);
    }

    /// Whether the handshake is over.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the peer said that nothing follows.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the peer's certificate, which was verified, is one for this host name.
    pub(super) fn peer_is(&self, name: &str) -> bool {
        let certificates = match &self.connection {
            Connection::Server(c) => c.peer_certificates(),
            Connection::Client(c) => c.peer_certificates(),
        };
        let Some(first) = certificates.and_then(|c| c.first()) else { return false };
        let (Ok(certificate), Ok(name)) =
            (webpki::EndEntityCert::try_from(first), ServerName::try_from(name.to_owned()))
        else {
            return false;
        };
        certificate.verify_is_valid_for_subject_name(&name).is_ok()
    }

    fn turn(&mut self) -> Result<(), TlsFault> {
        if self.failed {
            return Err(TlsFault::Session);
        }
        let result = self.turn_once();
        self.failed = result.is_err();
        result
    }

    fn turn_once(&mut self) -> Result<(), TlsFault> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut sides = Sides::of(&mut self.plain, &mut self.waiting, &mut self.out);
        let result = drive(&mut self.connection, &mut incoming, &mut sides);
        let (used, open, closed) = (sides.used, sides.open, sides.closed);
        self.open |= open;
        self.closed |= closed;
        take_front(&mut incoming, used);
        self.incoming = incoming;
        result?;
        // A record or handshake message that will never be whole. Messages are bounded by who looks for their ends.
        if self.incoming.len() > MOST_INCOMING { Err(TlsFault::Session) } else { Ok(()) }
    }
}

/// Removes the oldest bytes. A buffer that is empty gives its memory back, which is wiped: what was in it does not outlive its use.
pub(super) fn take_front(buffer: &mut Vec<u8>, len: usize) {
    buffer.drain(..len.min(buffer.len()));
    if buffer.is_empty() {
        *buffer = Vec::new();
    }
}

/// What a turn of a session's machine works on, and what came of it.
struct Sides<'a> {
    plain: &'a mut Vec<u8>,
    waiting: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
    /// Say that nothing follows.
    close: bool,
    /// Ciphertext that is dealt with.
    used: usize,
    open: bool,
    closed: bool,
}

impl<'a> Sides<'a> {
    fn of(plain: &'a mut Vec<u8>, waiting: &'a mut Vec<u8>, out: &'a mut Vec<u8>) -> Self {
        Self { plain, waiting, out, close: false, used: 0, open: false, closed: false }
    }

    /// Lets `write` put its bytes behind what is to be sent; it says how much room it needs.
    fn append(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
    ) -> Result<(), TlsFault> {
        let from = self.out.len();
        let mut room = 0;
        for _ in 0..2 {
            self.out.resize(from + room, 0);
            match write(&mut self.out[from..]) {
                Ok(len) => {
                    self.out.truncate(from + len);
                    return Ok(());
                }
                Err(needed) => room = needed.ok_or(TlsFault::Session)?,
            }
        }
        Err(TlsFault::Session)
    }
}

fn encrypt_room(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Turns one side's machine until it wants more from outside. The two sides have different types and the same states.
macro_rules! drive {
    ($connection:expr, $incoming:expr, $sides:expr) => {{
        let (incoming, sides): (&mut [u8], &mut Sides<'_>) = ($incoming, $sides);
        let (mut result, mut failed) = (Ok(()), false);
        loop {
            let UnbufferedStatus { mut discard, state } =
                $connection.process_tls_records(&mut incoming[sides.used..]);
            let mut again = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let Ok(record) = record else {
                            result = Err(TlsFault::Session);
                            break;
                        };
                        discard += record.discard;
                        sides.plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let room = |error| match error {
                        EncodeError::InsufficientSize(size) => Some(size.required_size),
                        EncodeError::AlreadyEncoded => None,
                    };
                    result = sides.append(|out| data.encode(out).map_err(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    sides.open = true;
                    if !sides.waiting.is_empty() {
                        let waiting = std::mem::take(sides.waiting);
                        result = sides.append(|out| traffic.encrypt(&waiting, out).map_err(encrypt_room));
                    }
                    if std::mem::take(&mut sides.close) {
                        result = sides.append(|out| traffic.queue_close_notify(out).map_err(encrypt_room));
                    }
                    again = false;
                }
                Ok(ConnectionState::PeerClosed) => sides.closed = true,
                Ok(ConnectionState::Closed) => {
                    sides.closed = true;
                    again = false;
                }
                Ok(_) => again = false,
                Err(_) => failed = true,
            }
            sides.used += discard;
            // After a failure nothing more is read, but the alert that tells the peer is written.
            if !again || result.is_err() || failed && !$connection.wants_write() {
                break if failed { Err(TlsFault::Session) } else { result };
            }
        }
    }};
}

fn drive(connection: &mut Connection, incoming: &mut [u8], sides: &mut Sides<'_>) -> Result<(), TlsFault> {
    match connection {
        Connection::Server(connection) => drive!(connection, incoming, sides),
        Connection::Client(connection) => drive!(connection, incoming, sides),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vault::{Kept, Policy, Region, Store, Vault};

    /// A chain of one and its key, for `names`, and the authority that signed it.
    struct Identity {
        chain: String,
        key: String,
        authority: String,
    }

    fn identity(names: &[&str]) -> Identity {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        let chain = own.signed_by(&key, &issuer).unwrap().pem();
        Identity { chain, key: key.serialize_pem(), authority: authority.pem() }
    }

    fn server(identity: &Identity, authority: Option<&Identity>) -> Server {
        let authority = authority.map(|i| i.authority.as_bytes());
        Server::new(identity.chain.as_bytes(), identity.key.as_bytes(), authority).unwrap()
    }

    /// Moves ciphertext both ways until nothing moves.
    fn exchange(client: &mut Session, server: &mut Session) -> [Result<(), TlsFault>; 2] {
        let mut results = [Ok(()); 2];
        loop {
            let (to_server, to_client) = (client.out().to_vec(), server.out().to_vec());
            client.sent(to_server.len());
            server.sent(to_client.len());
            if to_server.is_empty() && to_client.is_empty() {
                return results;
            }
            // In pieces, as a network brings them.
            for piece in to_server.chunks(700) {
                results[1] = results[1].and(server.feed(piece));
            }
            for piece in to_client.chunks(700) {
                results[0] = results[0].and(client.feed(piece));
            }
        }
    }

    #[test]
    fn a_session_carries_what_is_said_both_ways_and_its_end() {
        let own = identity(&["sbc.example.com"]);
        let client = Client::new(own.authority.as_bytes(), None).unwrap();
        let mut here = Session::accept(&server(&own, None)).unwrap();
        let mut there = Session::connect(&client, "sbc.example.com").unwrap();
        there.say(b"before the handshake is over").unwrap();
        assert_eq!(exchange(&mut there, &mut here), [Ok(()); 2]);
        assert!(here.is_open() && there.is_open());
        assert_eq!(here.plain(), b"before the handshake is over");
        here.taken(7);
        assert_eq!(here.plain(), b"the handshake is over");
        let long = vec![b'x'; 60_000];
        here.say(&long).unwrap();
        assert_eq!(exchange(&mut there, &mut here), [Ok(()); 2]);
        assert_eq!(there.plain(), &long[..]);
        there.close();
        assert_eq!(exchange(&mut there, &mut here), [Ok(()); 2]);
        assert!(here.is_closed() && !here.peer_is("sbc.example.com"), "it showed no certificate");
        assert!(there.peer_is("sbc.example.com") && !there.peer_is("other.example.com"));
    }

    #[test]
    fn a_client_proves_its_name_where_it_is_asked_and_a_stranger_does_not_come_in() {
        let (own, carrier, stranger) = (
            identity(&["sbc.example.com"]),
            identity(&["carrier.example.net"]),
            identity(&["carrier.example.net"]),
        );
        let server = server(&own, Some(&carrier));
        let try_as = |who: Option<&Identity>| {
            let proof = who.map(|i| (i.chain.as_bytes(), i.key.as_bytes()));
            let client = Client::new(own.authority.as_bytes(), proof).unwrap();
            let mut here = Session::accept(&server).unwrap();
            let mut there = Session::connect(&client, "sbc.example.com").unwrap();
            let results = exchange(&mut there, &mut here);
            (results[1], here.peer_is("carrier.example.net"))
        };
        assert_eq!(try_as(Some(&carrier)), (Ok(()), true));
        assert_eq!(try_as(None), (Ok(()), false), "its address may tell who it is");
        assert_eq!(try_as(Some(&stranger)), (Err(TlsFault::Session), false));
    }

    #[test]
    fn a_server_of_another_name_or_authority_is_not_believed_and_is_told() {
        let (own, other) = (identity(&["sbc.example.com"]), identity(&["sbc.example.com"]));
        for (authority, name) in [(&own, "other.example.com"), (&other, "sbc.example.com")] {
            let client = Client::new(authority.authority.as_bytes(), None).unwrap();
            let mut here = Session::accept(&server(&own, None)).unwrap();
            let mut there = Session::connect(&client, name).unwrap();
            let results = exchange(&mut there, &mut here);
            assert_eq!(results, [Err(TlsFault::Session); 2], "an alert tells the server too");
            assert!(!there.is_open());
        }
        let client = Client::new(own.authority.as_bytes(), None).unwrap();
        assert!(matches!(Session::connect(&client, "no name"), Err(TlsFault::Name)));
    }

    #[test]
    fn what_is_no_tls_is_an_error_and_grows_nothing() {
        let own = identity(&["sbc.example.com"]);
        let config = server(&own, None);
        let mut here = Session::accept(&config).unwrap();
        assert_eq!(here.feed(b"OPTIONS sip:a SIP/2.0\r\n\r\n"), Err(TlsFault::Session));
        let mut here = Session::accept(&config).unwrap();
        // A handshake message that says it is as long as can be, in records that never end it.
        let mut fed = 0;
        let record = [&[22, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x3ffc]].concat();
        let more = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
        let mut result = here.feed(&record);
        while result.is_ok() && fed < 100 {
            fed += 1;
            result = here.feed(&more);
        }
        assert!(result.is_err() && fed < 10, "after {fed} records");
    }

    #[test]
    fn files_that_cannot_be_used_are_told_apart() {
        let (own, other) = (identity(&["sbc.example.com"]), identity(&["sbc.example.com"]));
        let (chain, key) = (own.chain.as_bytes(), own.key.as_bytes());
        let fault = |chain, key, authority| Server::new(chain, key, authority).err().unwrap();
        assert_eq!(fault(b"nothing", key, None), TlsFault::NoCertificate);
        assert_eq!(fault(chain, chain, None), TlsFault::NoKey);
        assert_eq!(fault(chain, other.key.as_bytes(), None), TlsFault::KeyMismatch);
        assert_eq!(fault(chain, key, Some(b"nothing")), TlsFault::NoAuthority);
        assert_eq!(Client::new(b"", None).err(), Some(TlsFault::NoAuthority));
    }

    /// A session in secret pages, and its region.
    fn kept(region: &mut Region, store: &Store, server: &Server) -> Kept<Session> {
        region.run(|i| store.keep(i.secrets, ROOM, || Session::accept(server))).unwrap().unwrap()
    }

    #[test]
    fn a_session_in_secret_pages_needs_no_other_memory() {
        let own = identity(&["sbc.example.com"]);
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        let (mut region, store) = (vault.region().unwrap(), vault.store());
        let mut here = kept(&mut region, &store, &server(&own, None));
        let client = Client::new(own.authority.as_bytes(), None).unwrap();
        let mut there = Session::connect(&client, "sbc.example.com").unwrap();
        there.say(b"INVITE").unwrap();
        for _ in 0..4 {
            let bytes = there.out().to_vec();
            there.sent(bytes.len());
            let fed = region.run(|i| here.with(i.secrets, |s| s.feed(&bytes))).unwrap();
            assert_eq!(fed, Ok(Ok(())));
            let mut back = Vec::new();
            here.io(|s| {
                back.extend_from_slice(s.out());
                s.sent(s.out().len());
            });
            there.feed(&back).unwrap();
        }
        assert_eq!(here.io(|s| s.plain().len()), 6);
        assert_eq!((vault.status().escapes, vault.status().spills), (0, 0));
    }
}
