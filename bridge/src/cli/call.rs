//! `sotto call`: a test phone that plays and records.

use crate::config::encoding;
use crate::phone::{
    Caller, Clip, Destination, Encryption, Line, Recorder, Talk, UserAgent, WavError, read_wav,
};
use anyhow::Context;
use media::Rate;
use media::codec::{FRAME, Frame};
use media::leg::{LegSetup, Security};
use sip_stack::sdp::Encoding;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

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
    /// File to say: WAV, 8, 16 or 48 kHz, mono, 16 bits. Without it: silence.
    #[arg(long)]
    wav: Option<PathBuf>,
    /// File to write what is heard into, at the codec's rate.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Hang up after so many seconds; without it, at the end of the WAV file.
    #[arg(long)]
    seconds: Option<f64>,
    /// The codec to offer.
    #[arg(long, value_parser = ["opus", "g722", "pcmu", "pcma", "l16"])]
    codec: Option<String>,
    /// Say it each time that s is among the keys, and not from the beginning on.
    #[arg(long, requires = "wav", requires = "seconds")]
    on_key: bool,
    /// Keys to press: 0-9 * # A-D, w for a pause of half a second, and s with --on-key.
    #[arg(long, default_value = "")]
    dtmf: String,
    /// Press the keys that are typed into the standard input, too, as they come.
    #[arg(long)]
    keypad: bool,
    /// Press them as tones in the audio, and offer no telephone events.
    #[arg(long)]
    tones: bool,
    /// Encrypt the sound, by this suite of SRTP with keys in the description, or with keys by DTLS.
    #[arg(long, value_parser = Encryption::names(), num_args = 0..=1, default_missing_value = "AES_CM_128_HMAC_SHA1_80")]
    srtp: Option<String>,
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
    clip: Option<Clip>,
    say: std::vec::IntoIter<i16>,
    /// What is said when a key says so.
    on_key: Option<Vec<i16>>,
    /// Ticks until hanging up.
    left: Option<u64>,
    file: Option<PathBuf>,
    record: Option<Recorder>,
    failed: Option<WavError>,
    keys: std::vec::IntoIter<char>,
    /// Keys that are typed.
    typed: Option<Receiver<char>>,
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
        let typed = || self.typed.as_ref().and_then(|typed| typed.try_recv().ok());
        match self.keys.next().or_else(typed)? {
            'w' => {
                self.wait = 25;
                None
            }
            's' => {
                self.say = self.on_key.clone().unwrap_or_default().into_iter();
                None
            }
            key => "0123456789*#ABCD".find(key.to_ascii_uppercase()).map(|n| n as u8),
        }
    }
}

impl Talk for Handset {
    fn begin(&mut self, says: Rate, hears: Rate) {
        let clip = self.clip.take().map(|clip| clip.at(says)).unwrap_or_default();
        match &mut self.on_key {
            Some(on_key) => *on_key = clip,
            None => self.say = clip.into_iter(),
        }
        match self.file.take().map(|path| Recorder::create(&path, hears)).transpose() {
            Ok(record) => self.record = record,
            Err(e) => self.failed = Some(e),
        }
    }

    fn say(&mut self, frame: &mut [i16]) -> bool {
        let tone = self.tone();
        match &mut self.left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None if self.say.len() == 0 => return false,
            None => {}
        }
        match tone {
            Some(tone) => frame.copy_from_slice(&tone),
            None => frame.iter_mut().for_each(|s| *s = self.say.next().unwrap_or(0)),
        }
        true
    }

    fn hear(&mut self, frame: &[i16]) {
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

/// The keys that are typed into the standard input, until it ends; what is no key is passed over.
fn keypad() -> Receiver<char> {
    let (typed, keys) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let keys =
            std::io::stdin().lock().bytes().map_while(Result::ok).map(|b| char::from(b).to_ascii_lowercase());
        for key in keys.filter(|key| "0123456789*#abcdws".contains(*key)) {
            if typed.send(key).is_err() {
                return;
            }
        }
    });
    keys
}

/// How a call's sound is encrypted, in a word.
fn security(setup: &LegSetup) -> &'static str {
    match setup.security {
        Security::None => "none",
        Security::Keys(keys) => keys.suite.name(),
        Security::Dtls { .. } => "DTLS",
    }
}

/// Makes the call.
///
/// # Errors
/// No answer, a bad file, or no such host.
#[allow(clippy::print_stdout)]
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let keys_are_right = options.dtmf.chars().all(|c| "0123456789*#ABCDabcdwWsS".contains(c));
    anyhow::ensure!(keys_are_right, "--dtmf takes 0-9 * # A-D, w and s");
    let say = match &options.wav {
        Some(path) => Some(read_wav(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let codecs = match options.codec.as_deref() {
        Some(name) => encoding(name).into_iter().collect(),
        None => vec![Encoding::Pcmu, Encoding::Pcma],
    };
    let narrow = codecs.iter().all(|c| matches!(c, Encoding::Pcmu | Encoding::Pcma));
    anyhow::ensure!(narrow || !options.tones, "--tones goes with pcmu and pcma only");
    anyhow::ensure!(
        options.wav.is_some() || options.seconds.is_some(),
        "give --wav or --seconds: the call must end"
    );
    let over = Arc::new(AtomicBool::new(false));
    let mut handset = Handset {
        clip: say,
        say: Vec::new().into_iter(),
        on_key: options.on_key.then(Vec::new),
        left: options.seconds.map(|s| (s.max(0.0) * 50.0) as u64),
        file: options.record.clone(),
        record: None,
        failed: None,
        keys: options.dtmf.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>().into_iter(),
        typed: options.keypad.then(keypad),
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
        let encryption = options.srtp.as_deref().and_then(Encryption::from_name);
        let agent = agent.encrypted(encryption)?;
        let (keys, dtls) = (agent.keys().clone(), agent.dtls());
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
        println!(
            "answered codec={:?} srtp={} ptime={} remote={}",
            setup.sends.0.codec,
            security(&setup),
            setup.ptime,
            setup.remote
        );
        let mut talking = tokio::task::spawn_blocking(move || {
            let ended = line.run(setup, &keys, dtls.as_deref(), &mut handset);
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
        let report = ended?.report;
        let block = report.block.unwrap_or_default();
        println!(
            "sent={} received={} lost={} jitter_ms={:.1} concealed={} heard_s={:.1}",
            report.packets_sent,
            block.received,
            block.lost(),
            f64::from(block.jitter) * 1000.0 / f64::from(report.clock),
            report.jitter.concealed,
            handset.heard as f64 / 50.0
        );
        Ok(ExitCode::SUCCESS)
    })
}
