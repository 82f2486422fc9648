//! `sotto demo`: a bridge with six callers who speak, and its live roster.

use super::{roster, serve};
use crate::config;
use crate::phone::{Caller, Destination, Line, Talk, UserAgent, parse_wav};
use crate::viewer::{Feed, watch};
use anyhow::Context;
use media::Rate;
use media::codec::{FRAME, Frame};
use sip_stack::sdp::Encoding;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Options of `sotto demo`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// End after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Address to listen on; whoever reaches it may call in.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// SIP port; when it is in use, another one is taken.
    #[arg(long, default_value_t = 5060)]
    sip_port: u16,
    /// HTTP port; when it is in use, another one is taken.
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
}

const CONFERENCE: &str = "confdemo";
/// Between two speakers.
const PAUSE: Duration = Duration::from_millis(600);
/// Between two callers who dial in.
const APART: Duration = Duration::from_millis(700);
/// Each caller's part, in the order of speaking.
const SPEECH: [&[u8]; 6] = [
    include_bytes!("../../assets/speech/1.wav"),
    include_bytes!("../../assets/speech/2.wav"),
    include_bytes!("../../assets/speech/3.wav"),
    include_bytes!("../../assets/speech/4.wav"),
    include_bytes!("../../assets/speech/5.wav"),
    include_bytes!("../../assets/speech/6.wav"),
];
const TICK: Duration = Duration::from_millis(20);

/// Runs it until the user ends it.
///
/// # Errors
/// What kept the bridge or the callers from starting.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // On a terminal the table owns the screen.
    if std::env::var_os("RUST_LOG").is_some() {
        crate::telemetry::log();
    }
    let token = format!("{:032x}", rand::random::<u128>());
    let folder = Folder::make()?;
    let text = configuration(options, &folder.0);
    let config = config::parse("demo", &text).map_err(|e| anyhow::anyhow!("{e}"))?;
    serve::protect(&config)?;
    vault::heap::share();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(async {
        let bridge = serve::start(&config, &token).await?;
        let sip = bridge.sip().context("the bridge has no SIP address")?;
        let over = Arc::new(AtomicBool::new(false));
        let callers = callers(sip, options.listen, &over)?;
        let server = format!("http://{}", bridge.http());
        let feed = Feed::new(&server, CONFERENCE, &token)?;
        let ended = watch(feed, &notes(sip, &server, &token), options.seconds.map(Duration::from_secs)).await;
        over.store(true, Ordering::Relaxed);
        let failed = callers.join_all().await.into_iter().filter_map(Result::err).next();
        bridge.drain(Duration::from_secs(1)).await;
        ended?;
        failed.map_or(Ok(()), Err)
    });
    runtime.shutdown_background();
    result?;
    super::say("the demo has ended");
    Ok(ExitCode::SUCCESS)
}

/// What must last, for as long as the demo does.
struct Folder(PathBuf);

impl Folder {
    fn make() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("sotto-demo-{:016x}", rand::random::<u64>()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Another process of the user may have put something there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The embedded defaults. Ports that are in use are replaced by free ones.
fn configuration(options: &Options, folder: &Path) -> String {
    let ip = options.listen;
    let udp_and_tcp = |port| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok();
    let sip = if udp_and_tcp(options.sip_port) { options.sip_port } else { 0 };
    let http = if TcpListener::bind((ip, options.http_port)).is_ok() { options.http_port } else { 0 };
    let (sip, http) = (SocketAddr::new(ip, sip), SocketAddr::new(ip, http));
    let everybody = if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    format!(
        r#"
        [node]
        name = "demo"
        data_dir = '{}'
        [sip]
        listen = ["udp://{sip}", "tcp://{sip}"]
        [media]
        address = "{ip}"
        [http]
        listen = "{http}"
        admin_listen = "127.0.0.1:0"
        [vault]
        allow_weaker = true
        [conferences]
        adhoc_prefix = "conf"
        [[trunk]]
        name = "everybody"
        from = ["{everybody}"]
        "#,
        folder.display()
    )
}

fn notes(sip: SocketAddr, server: &str, token: &str) -> Vec<String> {
    let me = std::env::args().next().unwrap_or_else(|| "sotto".into());
    let at = if server == roster::SERVER { String::new() } else { format!(" --server {server}") };
    vec![
        format!("SIP      sip:{CONFERENCE}@{sip}  (UDP and TCP)"),
        format!("roster   {server}/v1/conferences/{CONFERENCE}/roster"),
        String::new(),
        "Try next, in another terminal:".into(),
        format!("  {me} call sip:{CONFERENCE}@{sip} --seconds 20 --record heard.wav"),
        format!("  sipp -sn uac -s {CONFERENCE} {sip} -m 5 -r 1 -d 5000"),
        format!("  curl -H 'Authorization: Bearer {token}' {server}/v1/conferences/{CONFERENCE}/roster"),
        format!("  SOTTO_TOKEN={token} {me} roster {CONFERENCE}{at}"),
    ]
}

/// Six callers dial in one after the other and speak in turn, until `over`.
fn callers(
    sip: SocketAddr,
    local: IpAddr,
    over: &Arc<AtomicBool>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    // A phone of our own in the same process; it has no identity but invented ones.
    let vault = vault::Vault::open(vault::Policy::AllowWeaker)?;
    let agent = Arc::new(UserAgent::start(&vault, local, vec![Encoding::Pcmu, Encoding::Pcma])?);
    let table = Arc::new(Conversation::new()?);
    let mut tasks = JoinSet::new();
    for place in 0..SPEECH.len() {
        let (agent, table, over) = (agent.clone(), table.clone(), over.clone());
        tasks.spawn(async move {
            tokio::time::sleep(APART * place as u32).await;
            let caller = Caller {
                name: (place % 3 != 2).then(|| format!("Demo Caller {}", place + 1)),
                number: format!("+1202555{:04}", 101 + place),
                privacy_id: place % 2 == 1,
            };
            let destination = Destination::resolve(&format!("sip:{CONFERENCE}@{sip}")).await?;
            let line = Line::open(local)?;
            let mut call = agent.dial(&caller, &destination, line.address)?;
            let setup = call.answered().await?;
            let gone = Arc::new(AtomicBool::new(false));
            let mut speaker = Speaker { table, place, over: [over, gone.clone()], ticks: None };
            let keys = agent.keys().clone();
            let mut talking = tokio::task::spawn_blocking(move || line.run(setup, &keys, None, &mut speaker));
            tokio::select! {
                done = &mut talking => {
                    done??;
                    call.hang_up();
                    call.ended().await;
                }
                // Removed by a host: the others go on.
                _ = call.ended() => {
                    gone.store(true, Ordering::Relaxed);
                    talking.await??;
                }
            }
            Ok(())
        });
    }
    Ok(tasks)
}

/// Who says what when: each in turn, over and over.
struct Conversation {
    begun: Instant,
    /// Each turn's frames, with the pause.
    turns: Vec<Vec<Frame>>,
    /// Ticks of all turns.
    length: usize,
}

impl Conversation {
    fn new() -> anyhow::Result<Self> {
        let pause = PAUSE.as_millis() as usize / TICK.as_millis() as usize;
        let turn = |bytes: &&[u8]| -> anyhow::Result<Vec<Frame>> {
            let samples = parse_wav(bytes)?.at(Rate::Narrow);
            let fill = |chunk: &[i16]| std::array::from_fn(|i| chunk.get(i).copied().unwrap_or(0));
            let mut frames: Vec<Frame> = samples.chunks(FRAME).map(fill).collect();
            frames.extend(std::iter::repeat_n([0; FRAME], pause));
            Ok(frames)
        };
        let turns = SPEECH.iter().map(turn).collect::<Result<Vec<_>, _>>()?;
        let length = turns.iter().map(Vec::len).sum();
        Ok(Self { begun: Instant::now(), turns, length })
    }

    /// What the speaker of `place` says at a tick.
    fn frame(&self, place: usize, tick: usize) -> Frame {
        let mut tick = tick % self.length;
        for (turn, frames) in self.turns.iter().enumerate() {
            if let Some(frame) = frames.get(tick) {
                return if turn == place { *frame } else { [0; FRAME] };
            }
            tick -= frames.len();
        }
        [0; FRAME]
    }
}

struct Speaker {
    table: Arc<Conversation>,
    place: usize,
    /// The demo's end, and this call's.
    over: [Arc<AtomicBool>; 2],
    ticks: Option<usize>,
}

impl Talk for Speaker {
    fn begin(&mut self, _: Rate, _: Rate) {}

    fn say(&mut self, frame: &mut [i16]) -> bool {
        let now = || (self.table.begun.elapsed().as_millis() / TICK.as_millis()) as usize;
        let tick = self.ticks.map_or_else(now, |t| t + 1);
        self.ticks = Some(tick);
        frame.copy_from_slice(&self.table.frame(self.place, tick));
        true
    }

    fn hear(&mut self, _: &[i16]) {}

    fn is_over(&self) -> bool {
        self.over.iter().any(|over| over.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_speaks_at_a_time_and_everybody_has_a_turn() {
        let table = Conversation::new().unwrap();
        let loud = |place, tick| table.frame(place, tick).iter().any(|s| s.unsigned_abs() > 300);
        let mut spoke = [0; 6];
        for tick in 0..table.length {
            let speakers: Vec<_> = (0..6).filter(|p| loud(*p, tick)).collect();
            assert!(speakers.len() <= 1);
            speakers.iter().for_each(|p| spoke[*p] += 1);
        }
        assert!(spoke.iter().all(|ticks| *ticks > 50), "{spoke:?}");
        assert_eq!(table.frame(0, 3), table.frame(0, 3 + table.length), "over and over");
    }
}
