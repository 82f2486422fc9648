//! `sotto call`: a test phone that plays and records.

use crate::phone::{Caller, Destination, Line, Recorder, Talk, UserAgent, frames, read_wav};
use anyhow::Context;
use media::codec::{FRAME, Frame};
use sip_stack::sdp::Encoding;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Options of `sotto call`.
#[derive(clap::Args)]
pub struct Options {
    /// Who is called: sip:NUMBER@HOST:PORT, with ;transport=tcp for TCP.
    uri: String,
    /// Our display name.
    #[arg(long)]
    name: Option<String>,
    /// Our number.
    #[arg(long, default_value = "+12025550100")]
    number: String,
    /// Withhold the number: `id` (RFC 3323).
    #[arg(long, value_parser = ["id"])]
    privacy: Option<String>,
    /// File to say: WAV, 8 kHz, mono, 16 bits. Without it: silence.
    #[arg(long)]
    wav: Option<PathBuf>,
    /// File to write what is heard into.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Hang up after so many seconds; without it, at the end of the WAV file.
    #[arg(long)]
    seconds: Option<f64>,
    /// The codec to offer.
    #[arg(long, value_parser = ["pcmu", "pcma"])]
    codec: Option<String>,
    /// Keys to press: 0-9 * # A-D, and w for a pause of half a second.
    #[arg(long, default_value = "")]
    dtmf: String,
    /// Press them as tones in the audio, and offer no telephone events.
    #[arg(long)]
    tones: bool,
    /// Our own address.
    #[arg(long, default_value = "127.0.0.1")]
    local: IpAddr,
    /// PEM file of the authorities whose certificates are believed, for `sips:` and `;transport=tls`.
    #[arg(long)]
    tls_ca: Option<PathBuf>,
}

// Who calls whom is not for Debug.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Options(..)")
    }
}

struct Handset {
    say: std::vec::IntoIter<Frame>,
    /// Ticks until hanging up.
    left: Option<u64>,
    record: Option<Recorder>,
    failed: Option<crate::phone::WavError>,
    keys: std::vec::IntoIter<char>,
    wait: u32,
    /// Keys are pressed as tones; the one that is being pressed, and for how many frames.
    tones: bool,
    pressed: Option<(u8, usize)>,
    over: Arc<AtomicBool>,
    heard: u64,
}

/// A key's tones sound for so many frames, and a pause follows.
const TONE: usize = 5;
const PAUSE: u32 = 4;

impl Handset {
    /// This frame's part of a key that is pressed as tones.
    fn tone(&mut self) -> Option<Frame> {
        if !self.tones {
            return None;
        }
        if self.pressed.is_none() {
            self.pressed = self.next_key().map(|key| (key, 0));
        }
        let (key, frames) = self.pressed?;
        self.pressed = Some((key, frames + 1)).filter(|_| frames + 1 < TONE);
        if self.pressed.is_none() {
            self.wait = PAUSE;
        }
        media::tones::frame_of(key, frames * FRAME)
    }

    fn next_key(&mut self) -> Option<u8> {
        if self.wait > 0 {
            self.wait -= 1;
            return None;
        }
        match self.keys.next()? {
            'w' => {
                self.wait = 25;
                None
            }
            key => "0123456789*#ABCD".find(key.to_ascii_uppercase()).map(|n| n as u8),
        }
    }
}

impl Talk for Handset {
    fn say(&mut self) -> Option<Frame> {
        let tone = self.tone();
        let frame = match &mut self.left {
            Some(left) => {
                *left = left.checked_sub(1)?;
                self.say.next().unwrap_or([0; FRAME])
            }
            None => self.say.next()?,
        };
        Some(tone.unwrap_or(frame))
    }

    fn hear(&mut self, frame: &Frame) {
        self.heard += u64::from(frame.iter().any(|s| s.unsigned_abs() > 64));
        if let Some(recorder) = &mut self.record
            && let Err(e) = recorder.write(frame)
        {
            self.failed = Some(e);
            self.record = None;
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn key(&mut self) -> Option<u8> {
        if self.tones { None } else { self.next_key() }
    }
}

/// Makes the call.
///
/// # Errors
/// No answer, a bad file, or no such host.
#[allow(clippy::print_stdout)]
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let keys_are_right = options.dtmf.chars().all(|c| "0123456789*#ABCDabcdwW".contains(c));
    anyhow::ensure!(keys_are_right, "--dtmf takes 0-9 * # A-D and w");
    let say = match &options.wav {
        Some(path) => frames(&read_wav(path).with_context(|| path.display().to_string())?),
        None => Vec::new(),
    };
    let record = match &options.record {
        Some(path) => Some(Recorder::create(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let codecs = match options.codec.as_deref() {
        Some("pcmu") => vec![Encoding::Pcmu],
        Some("pcma") => vec![Encoding::Pcma],
        _ => vec![Encoding::Pcmu, Encoding::Pcma],
    };
    anyhow::ensure!(
        options.wav.is_some() || options.seconds.is_some(),
        "give --wav or --seconds: the call must end"
    );
    let over = Arc::new(AtomicBool::new(false));
    let mut handset = Handset {
        say: say.into_iter(),
        left: options.seconds.map(|s| (s.max(0.0) * 50.0) as u64),
        record,
        failed: None,
        keys: options.dtmf.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>().into_iter(),
        wait: 0,
        tones: options.tones,
        pressed: None,
        over: over.clone(),
        heard: 0,
    };
    let caller = Caller {
        name: options.name.clone(),
        number: options.number.clone(),
        privacy_id: options.privacy.is_some(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let vault = vault::Vault::open(vault::Policy::AllowWeaker)?;
        let destination = Destination::resolve(&options.uri).await?;
        let trusted = options.tls_ca.clone();
        let agent = UserAgent::start_trusting(&vault, options.local, codecs, trusted)?;
        let agent = if options.tones { agent.without_events() } else { agent };
        let line = Line::open(options.local)?;
        let mut call = agent.dial(&caller, &destination, line.address)?;
        let setup = tokio::select! {
            setup = call.answered() => setup?,
            _ = tokio::signal::ctrl_c() => {
                call.hang_up();
                call.ended().await;
                return Ok(ExitCode::FAILURE);
            }
        };
        println!("answered codec={:?} ptime={} remote={}", setup.codec.0, setup.packet / 8, setup.remote);
        let mut talking = tokio::task::spawn_blocking(move || {
            let ended = line.run(setup, &mut handset);
            (ended, handset)
        });
        let (ended, handset) = tokio::select! {
            done = &mut talking => {
                call.hang_up();
                call.ended().await;
                done?
            }
            _ = tokio::signal::ctrl_c() => {
                over.store(true, Ordering::Relaxed);
                call.hang_up();
                call.ended().await;
                talking.await?
            }
            cause = call.ended() => {
                over.store(true, Ordering::Relaxed);
                println!("ended by the other side: {cause:?}");
                talking.await?
            }
        };
        if let Some(e) = handset.failed {
            return Err(e).context("recording");
        }
        if let Some(recorder) = handset.record {
            recorder.finish()?;
        }
        let report = ended.report;
        let block = report.block.unwrap_or_default();
        println!(
            "sent={} received={} lost={} jitter_ms={:.1} concealed={} heard_s={:.1}",
            report.packets_sent,
            block.received,
            block.lost(),
            f64::from(block.jitter) / 8.0,
            report.jitter.concealed,
            handset.heard as f64 / 50.0
        );
        Ok(ExitCode::SUCCESS)
    })
}
