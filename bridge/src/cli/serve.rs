//! `sotto serve`: the whole house, put together.

use super::BAD_CONFIGURATION;
use crate::access::{self, Access};
use crate::account::Accounts;
use crate::api::{self, Api};
use crate::audit::Audit;
use crate::booking::Bookings;
use crate::config::{self, Config};
use crate::control::{self, Registry};
use crate::dial::Dialler;
use crate::disclosure::Choice;
use crate::focus::{Act, Codes, HostKey, House, OwnKey, Scores};
use crate::ledger::{Ledger, LedgerError};
use crate::legal::Legal;
use crate::link::Links;
use crate::monitor::Monitors;
use crate::oidc::Provider;
use crate::pin::Doors;
use crate::prompt;
use crate::routing::Routing;
use crate::sound::Abilities;
use crate::telemetry;
use crate::trunk::locate::Locator;
use crate::trunk::{self, Trunks};
use crate::webhook::Hooks;
use anyhow::Context;
use media::Engine;
use media::engine::Settings;
use media::ports::Ports;
use media::room::Manner;
use sip_stack::endpoint::{Limits, SessionPolicy};
use sip_stack::message::Reader;
use sip_stack::sdp::Capabilities;
use sip_stack::transport::{self, Command};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// Options of `sotto serve`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Seconds that running calls have after SIGTERM.
    #[arg(long, default_value_t = 60)]
    drain_timeout: u64,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let config = match config::load(&options.config) {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("{faults}");
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
    };
    telemetry::log();
    protect(&config)?;
    let tokens = match tokens(&config) {
        Ok(tokens) => tokens,
        Err(fault) => {
            eprintln!("{}: {fault:#}", options.config.display());
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
    };
    if tokens.is_empty() {
        tracing::warn!("no token in http.token_file: the API refuses everybody");
    }
    vault::heap::share();
    // Most work is the SIP worker's and the shards'. One thread for the rest saves a call its hops between threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let running = match start(&config, &tokens).await {
            Ok(running) => running,
            Err(e) => {
                eprintln!("{}: {e:#}", options.config.display());
                return Ok(ExitCode::from(BAD_CONFIGURATION));
            }
        };
        println!("{}", running.ready_line());
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hangup.recv() => reload(&config, &running).await,
            }
        }
        tracing::info!(seconds = options.drain_timeout, "draining: no new calls");
        running.drain(Duration::from_secs(options.drain_timeout)).await;
        tracing::info!("ended");
        Ok(ExitCode::SUCCESS)
    })
}

/// What is to be done before the first thread is made: no tracers, no dumps, no panic that quotes.
///
/// # Errors
/// The system's, when it refuses what it never should. A guardian that cannot be had is no error: `/readyz` and the log tell of it.
pub(super) fn protect(config: &Config) -> anyhow::Result<()> {
    if config.vault.guardian
        && let Err(e) = vault::guard()
    {
        tracing::warn!(error = %e, "no guardian: who may trace this process can read its registers");
    }
    vault::harden().context("hardening the process")
}

/// A house that takes calls.
#[derive(Debug)]
pub struct Running {
    house: Arc<House>,
    registry: Arc<Registry>,
    access: Arc<Access>,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Running {
    /// The line that tells that calls are taken.
    pub fn ready_line(&self) -> String {
        let sip: Vec<_> =
            self.house.sip.listening().iter().map(|(p, a)| format!("{}://{a}", p.as_str())).collect();
        format!("ready sip={} http=http://{} admin=http://{}", sip.join(","), self.http, self.admin)
    }

    /// Where the API listens.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where SIP listens over UDP first.
    pub fn sip(&self) -> Option<SocketAddr> {
        self.house.sip.listening().first().map(|(_, a)| *a)
    }

    /// Takes no new calls, and ends when the last has ended or the time is over.
    pub async fn drain(&self, at_most: Duration) {
        control::drain(&self.house, &self.registry, at_most).await;
    }
}

/// The token file's text.
pub(super) fn tokens(config: &Config) -> anyhow::Result<String> {
    let Some(file) = &config.http.token_file else {
        return Ok(String::new());
    };
    access::check(file.get_ref()).map_err(|e| anyhow::anyhow!("http.token_file: {e}"))
}

/// Takes the token file and certificates again. Faulty ones change nothing.
async fn reload(config: &Config, running: &Running) {
    let (done, is_done) = oneshot::channel();
    // The worker ends only with the house.
    let _ = running.house.sip.tell(Command::ReloadTls(done));
    match is_done.await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::error!(error = %e, "certificates stay as they were"),
        Err(_) => return,
    }
    match tokens(config).and_then(|text| Ok(running.access.reload(&text)?)) {
        Ok(()) => tracing::info!("tokens read again"),
        Err(e) => tracing::error!(error = %format!("{e:#}"), "tokens stay as they were"),
    }
}

/// Puts the house together.
///
/// # Errors
/// What could not be had: protected memory, ports, threads.
pub async fn start(config: &Config, tokens: &str) -> anyhow::Result<Running> {
    let policy = if config.vault.allow_weaker { vault::Policy::AllowWeaker } else { vault::Policy::Strict };
    let vault = vault::Vault::open(policy)?;
    let status = vault.status();
    let tracing = vault::guardian::tracing().name();
    tracing::info!(
        protection = status.protection.name(),
        tracing,
        locked_bytes = status.locked_bytes,
        "vault open"
    );
    if vault::FOR_MEASURING {
        tracing::error!("this build leaves out what protects callers: it is for measuring only");
    } else {
        anyhow::ensure!(status.scoped_heap, "this binary lacks the vault's allocator");
    }
    let audit = Audit::open(&config.node.data_dir)
        .with_context(|| format!("node.data_dir {}", config.node.data_dir.display()))?;
    let access = Arc::new(Access::new(tokens, config.disclosure.policy(), audit.clone())?);
    let range = config::ports(config.media.ports.get_ref()).map_err(anyhow::Error::msg)?;
    let ports = Ports::new(config.media.addresses(), *config.media.dscp.get_ref() as u8, range)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = match *config.media.shards.get_ref() {
        0 => (cores - 1).max(1),
        n => n,
    };
    let ledger = Ledger::open(&config.ledger()).context("ledger")?;
    let doors = Doors::new(&vault, ledger.keys().pins())?;
    let routing = Arc::new(Routing::new(config, &doors));
    let bookings = Bookings::new(ledger.clone(), routing.entries());
    let script = match &config.ivr.script {
        Some(file) => std::fs::read_to_string(file.get_ref()).context("ivr.script")?,
        None => prompt::SCRIPT.to_owned(),
    };
    let script = Arc::new(prompt::script(&script).context("ivr.script")?);
    let page = config
        .http
        .public_url
        .as_ref()
        .map(|url| format!("{}{}", url.get_ref().trim_end_matches('/'), api::PAGE));
    let reader = Reader::new(&vault, routing.address_book())?.with_page(page);
    let keys = reader.media().clone();
    let (rules, logins) = trunk::rules(&vault, &reader, &config.trunk)?;
    let certificates = config.stir.load().map_err(|(_, what)| anyhow::anyhow!(what))?;
    let reader = reader.with_trunks(rules, config.dial.rules());
    let reader = reader.with_stir(certificates, config.stir.refuse_invalid);
    let legal = Legal::new(config.disclosure.recipient().map_err(anyhow::Error::msg)?);
    let links = Links::new(&vault, Instant::now())?;
    prompt::prepare();
    let listen = config.sip.listen.get_ref().iter().map(|l| config::listener(l.get_ref()));
    let listen = listen.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let sessions =
        SessionPolicy { expires: *config.sip.session_expires.get_ref() as u32, ..SessionPolicy::default() };
    let limits = Limits { calls: *config.sip.max_calls.get_ref(), sessions, ..Limits::default() };
    let trunk_limits = config.trunk.iter().map(|t| t.limits.of_trunk()).collect();
    let trunks = Arc::new(Trunks::new(&config.trunk, &config.dial, logins));
    let known = trunks.clone();
    let tls = config.sip.tls.as_ref().map(|t| t.get_ref().files());
    let sip = transport::Config {
        listen,
        external: config.sip.external_address,
        limits,
        dscp: *config.sip.dscp.get_ref() as u8,
        tls: tls.clone(),
        trunk_limits,
        ..Default::default()
    };
    let (sip, events) = transport::start(&vault, reader, sip, Arc::new(move |ip| known.admit(ip)))?;
    // Calls and conferences live on the SIP worker's thread, so that an INVITE makes no hop between threads.
    let signalling = sip.runtime().clone();
    let (engine, notices) = {
        let _inside = signalling.enter();
        let floor = Some(*config.media.comfort_level.get_ref() as u8).filter(|level| *level > 0);
        let music = config.media.music.as_ref().map(|file| config::music(file.get_ref()));
        // For as long as the process lasts: a real-time thread frees nothing.
        let music = music.transpose().context("media.music")?.map(|music| &*Box::leak(Box::new(music)));
        let spread_above = *config.media.spread_above.get_ref();
        let dtls = config.media.srtp != config::Srtp::Off;
        Engine::start(
            ports,
            Settings {
                shards,
                manner: Manner { floor, music },
                keys: Some(keys.clone()),
                dtls,
                spread_above,
            },
        )?
    };
    let can = config.media.capabilities(keys.clone());
    let abilities = Abilities::new(Capabilities { fingerprint: engine.fingerprint(), ..can });
    let locator = Arc::new(Locator::new(&config.sip.nameservers).context("name servers")?);
    trunks.follow(&sip, &locator, &config.trunk, tls.is_some_and(|t| t.trusted.is_some()));
    let house = Arc::new(House {
        sip,
        engine,
        vault,
        audit,
        codes: codes(&config.conferences.codes),
        links,
        legal,
        monitors: Monitors::default(),
        trunks,
        dialler: Dialler::new(&config.dial),
        abilities,
        scores: Scores::default(),
        media_timeout: config.media.timeout(),
        taste: config.media.taste(),
        media_address: config.media.external_address,
        routing,
        doors,
        bookings,
        script,
        runtime: tokio::runtime::Handle::current(),
        rooms: AtomicU64::new(0),
        browsers: watch::Sender::default(),
        hooks: Hooks::start(&config.webhook).context("webhook")?,
    });
    let accounts = Arc::new(Accounts::new(ledger)?);
    access.set_api_tokens(accounts.tokens().await.context("ledger")?);
    api::take_bookings(&house, &access).await.context("ledger")?;
    let registry = Arc::new(Registry::default());
    signalling.spawn(control::run(house.clone(), registry.clone(), events));
    for events in notices {
        signalling.spawn(control::notices(registry.clone(), events));
    }
    tokio::spawn(housekeeping(house.clone(), access.clone(), accounts.clone()));
    let api = Api {
        registry: registry.clone(),
        house: house.clone(),
        access: access.clone(),
        accounts: Some(accounts),
        provider: provider(config)?.map(Arc::new),
    };
    let http = serve(config.http.listen, api::router(api.clone())).await.context("http.listen")?;
    let admin = serve(config.http.admin_listen, api::admin_router(api)).await.context("http.admin_listen")?;
    tracing::info!(node = config.node.name, region = config.node.region, shards, "taking calls");
    Ok(Running { house, registry, access, http, admin })
}

/// Who signs people in besides this bridge.
fn provider(config: &Config) -> anyhow::Result<Option<Provider>> {
    let (Some(oidc), Some(page)) = (&config.oidc, &config.http.public_url) else { return Ok(None) };
    Ok(Some(Provider::new(oidc, page.get_ref())?))
}

/// What each configured code does.
fn codes(codes: &config::Codes) -> Codes {
    use crate::disclosure::Wish::{Share, Withhold};
    let name = |wish| Choice { name: Some(wish), ..Choice::default() };
    let number = |wish| Choice { number: Some(wish), ..Choice::default() };
    let profile = |wish| Choice { profile: Some(wish), ..Choice::default() };
    let act = |of: &str| match of {
        "withhold" => Act::Choose(Choice::all(Withhold)),
        "share" => Act::Choose(Choice::all(Share)),
        "withhold_name" => Act::Choose(name(Withhold)),
        "share_name" => Act::Choose(name(Share)),
        "withhold_number" => Act::Choose(number(Withhold)),
        "share_number" => Act::Choose(number(Share)),
        "withhold_profile" => Act::Choose(profile(Withhold)),
        "share_profile" => Act::Choose(profile(Share)),
        "mute" => Act::Own(OwnKey::Mute),
        "hand" => Act::Own(OwnKey::Hand),
        "deafen" => Act::Own(OwnKey::Deafen),
        "louder" => Act::Own(OwnKey::Louder),
        "softer" => Act::Own(OwnKey::Softer),
        "people" => Act::Own(OwnKey::People),
        "help" => Act::Own(OwnKey::Help),
        "leave" => Act::Own(OwnKey::Leave),
        "mute_all" => Act::Host(HostKey::MuteAll),
        "unmute_all" => Act::Host(HostKey::UnmuteAll),
        "lock" => Act::Host(HostKey::Lock),
        "lecture" => Act::Host(HostKey::Lecture),
        "admit_all" => Act::Host(HostKey::AdmitAll),
        "end" => Act::Host(HostKey::End),
        _ => Act::Link,
    };
    let used = codes.all().into_iter().filter(|(_, code)| !code.get_ref().is_empty());
    Codes(used.map(|(of, code)| (code.get_ref().clone(), act(of))).collect())
}

/// Memory that a burst of calls took goes back to the system when the burst is over; shards are told what they could not take; viewers'
/// keys end with their time.
async fn housekeeping(house: Arc<House>, access: Arc<Access>, accounts: Arc<Accounts>) {
    let mut now_and_then = tokio::time::interval(Duration::from_secs(5));
    let mut most = 0;
    loop {
        now_and_then.tick().await;
        house.engine.settle();
        access.expire(Instant::now());
        if access.has_sessions() || house.routing.has_booked() {
            match review(&house, &access, &accounts).await {
                Ok(()) => {}
                Err(e) => tracing::error!(error = %e, "accounts cannot be looked at"),
            }
        }
        house.links.expire(Instant::now());
        let kept = house.sip.counters().transactions.load(Ordering::Relaxed);
        if kept < most / 2 {
            most = kept;
            // On a thread that may wait. It ends only with the runtime.
            let _ = tokio::task::spawn_blocking(vault::heap::trim).await;
        }
        most = most.max(kept);
    }
}

/// Ends what accounts have open that may not any more.
async fn review(house: &House, access: &Access, accounts: &Accounts) -> Result<(), LedgerError> {
    access.review(&accounts.standing().await?);
    access.set_api_tokens(accounts.tokens().await?);
    api::take_bookings(house, access).await
}

async fn serve(address: SocketAddr, router: axum::Router) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    tokio::spawn(api::serve(listener, router));
    Ok(address)
}
