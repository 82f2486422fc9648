//! One DTLS session (by rtc-dtls) as a machine that lies in secret pages and is worked on inside a region. Packets go in and out; the keys that
//! come of it leave sealed.

use super::{DtlsFault, Keys, Role};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::{Certificate, CryptoPrivateKey};
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use shared::TransportProtocol;
use shared::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vault::{Fingerprint, MediaKeys, Secrets, Suite};

/// Packets of one flight that are sent in one visit of the region.
pub(super) const AT_ONCE: usize = 8;
/// The longest packet of ours, bytes: below what any path carries.
const MTU: usize = 1150;
/// A handshake that takes longer has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// A flight is sent again after this: networks of telephones are quick.
pub(super) const AGAIN: Duration = Duration::from_millis(400);
/// So many packets that make no sense are passed over: somebody else may have sent them.
const NONSENSE: u8 = 16;
/// The library knows peers by address; a session of ours has one, wherever it is.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
/// RFC 5764 §4.2.
const LABEL: &str = "EXTRACTOR-dtls_srtp";
/// What we take, the best first.
const PROFILES: [(SrtpProtectionProfile, Suite); 4] = [
    (SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm, Suite::Gcm256),
    (SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, Suite::Gcm128),
    (SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, Suite::Cm128Sha1_80),
    (SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32, Suite::Cm128Sha1_32),
];

/// What computes; there is no secret in it.
pub(super) type Provider = Arc<dyn RTCCryptoProvider>;

/// The usual one: ring.
pub(super) fn provider() -> Result<Provider, DtlsFault> {
    default_provider().map_err(|_| DtlsFault::Certificate)
}

/// Our certificate and its key.
pub(super) struct Identity(Certificate);

impl Identity {
    /// A new self-signed certificate, which says nothing of anybody (RFC 8827 §6.5).
    pub(super) fn generate(provider: &Provider) -> Result<Self, DtlsFault> {
        let broken = |_| DtlsFault::Certificate;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(broken)?;
        params.distinguished_name = DistinguishedName::new();
        // Some peers know certificates by it.
        params.serial_number = Some(rand::random::<[u8; 16]>().to_vec().into());
        let certificate = vec![params.self_signed(&key).map_err(broken)?.der().clone()];
        let private_key = CryptoPrivateKey::from_key_pair(&key, provider.crypto());
        let private_key = private_key.map_err(|_| DtlsFault::Certificate)?;
        Ok(Self(Certificate { certificate, private_key }))
    }

    /// What proves it.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.0.certificate.first().map_or(&[], |der| der.as_ref()))
    }
}

/// See the module's text.
pub(super) struct Session {
    endpoint: Endpoint,
    role: Role,
    /// Its certificate is not the one that was signalled.
    stranger: Arc<AtomicBool>,
    nonsense: u8,
    complete: bool,
    begun: Instant,
}

vault::leaves! {
    /// What a visit came to.
    #[derive(Debug, Default)]
    pub(super) struct Turn {
        /// Lengths of the packets that lie one behind the other in the region's send buffer.
        pub(super) packets: [Option<usize>; AT_ONCE],
        /// There are more.
        pub(super) more: bool,
        /// When to come again.
        pub(super) wake: Option<Instant>,
        /// Keys, once.
        pub(super) agreed: Option<Keys>,
    }
}

impl Session {
    pub(super) fn new(
        identity: &Identity,
        provider: &Provider,
        role: Role,
        theirs: Fingerprint,
        now: Instant,
    ) -> Result<Self, DtlsFault> {
        let stranger = Arc::new(AtomicBool::new(false));
        let config = Arc::new(config(identity, provider, role, theirs, stranger.clone())?);
        let server = (role == Role::Server).then(|| config.clone());
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, server);
        if role == Role::Client {
            endpoint.connect(now, PEER, config, None).map_err(|_| DtlsFault::Handshake)?;
        }
        Ok(Self { endpoint, role, stranger, nonsense: 0, complete: false, begun: now })
    }

    /// Takes a packet, or nothing but the time.
    pub(super) fn feed(&mut self, now: Instant, packet: &[u8]) -> Result<(), DtlsFault> {
        if !self.complete && now.duration_since(self.begun) > PATIENCE {
            return Err(DtlsFault::Handshake);
        }
        if self.endpoint.poll_timeout(&PEER).is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(PEER, now).map_err(|_| DtlsFault::Handshake)?;
        }
        if packet.is_empty() {
            return Ok(());
        }
        match self.endpoint.read(now, PEER, None, packet.into()) {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.complete = true,
                        EndpointEvent::PeerClosed => return Err(DtlsFault::Closed),
                        // Nobody has anything to say here.
                        _ => {}
                    }
                }
                Ok(())
            }
            Err(_) if self.stranger.load(Ordering::Relaxed) => Err(DtlsFault::Fingerprint),
            Err(Error::ErrAlertFatalOrClose) => Err(DtlsFault::Closed),
            Err(_) => {
                self.nonsense += 1;
                if self.nonsense < NONSENSE { Ok(()) } else { Err(DtlsFault::Handshake) }
            }
        }
    }

    /// Writes what is to be sent into `tx`, and tells what else there is. `done`: its keys are told already.
    pub(super) fn turn(
        &mut self,
        secrets: Secrets<'_>,
        keys: &MediaKeys,
        tx: &mut [u8],
        done: bool,
    ) -> Result<Turn, DtlsFault> {
        let mut turn = Turn { wake: self.endpoint.poll_timeout(&PEER), ..Turn::default() };
        let mut at = 0;
        for place in &mut turn.packets {
            let Some(packet) = self.endpoint.poll_transmit() else { break };
            let bytes = &packet.message;
            tx.get_mut(at..at + bytes.len()).ok_or(DtlsFault::Handshake)?.copy_from_slice(bytes);
            at += bytes.len();
            *place = Some(bytes.len());
        }
        turn.more = turn.packets.iter().all(Option::is_some);
        if self.complete && !done {
            turn.agreed = Some(self.export(secrets, keys)?);
        }
        Ok(turn)
    }

    /// The exported keys (RFC 5764 §4.2), sealed: the client's and the server's key, then their salts.
    fn export(&self, secrets: Secrets<'_>, keys: &MediaKeys) -> Result<Keys, DtlsFault> {
        let state = self.endpoint.get_connection_state(PEER).ok_or(DtlsFault::Handshake)?;
        let profile = state.srtp_protection_profile();
        let found = PROFILES.into_iter().find(|(ours, _)| *ours == profile);
        let (_, suite) = found.ok_or(DtlsFault::Handshake)?;
        let (key, salt) = (suite.key(), suite.salt());
        let material = state.export_keying_material(LABEL, &[], 2 * (key + salt));
        let material = material.map_err(|_| DtlsFault::Handshake)?;
        let (both_keys, both_salts) =
            material.as_ref().split_at_checked(2 * key).ok_or(DtlsFault::Handshake)?;
        let of = |side: usize| {
            let mut master = [0; vault::media::LONGEST];
            master[..key].copy_from_slice(&both_keys[side * key..(side + 1) * key]);
            master[key..key + salt].copy_from_slice(&both_salts[side * salt..(side + 1) * salt]);
            keys.seal(secrets, &master[..key + salt]).ok_or(DtlsFault::Handshake)
        };
        let (client, server) = (of(0)?, of(1)?);
        let (ours, theirs) = if self.role == Role::Client { (client, server) } else { (server, client) };
        Ok(Keys { suite, ours, theirs })
    }
}

/// How a session with a peer of this fingerprint is to be. Chains and names do not matter: the fingerprint does (RFC 8122 §6.2).
fn config(
    identity: &Identity,
    provider: &Provider,
    role: Role,
    theirs: Fingerprint,
    stranger: Arc<AtomicBool>,
) -> Result<HandshakeConfig, DtlsFault> {
    let is_theirs = move |chain: &[Vec<u8>], _: &[_]| {
        let right = chain.first().is_some_and(|own| theirs.is_of(own));
        stranger.fetch_or(!right, Ordering::Relaxed);
        if right { Ok(()) } else { Err(Error::ErrInvalidCertificate) }
    };
    ConfigBuilder::default()
        .with_crypto_provider(provider.clone())
        .with_certificates(vec![identity.0.clone()])
        .with_srtp_protection_profiles(PROFILES.map(|(profile, _)| profile).into())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_insecure_skip_verify(true)
        .with_verify_peer_certificate(Some(Arc::new(is_theirs)))
        .with_flight_interval(AGAIN)
        .with_mtu(MTU)
        .build(role == Role::Client, Some(PEER))
        .map_err(|_| DtlsFault::Certificate)
}
