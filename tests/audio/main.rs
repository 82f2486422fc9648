//! How a voice is heard through a conference, judged against the same codecs without one: PESQ, level, clicks. A short set always, all of
//! it with `HEARING=all` (part of `make bench`), which prints the tables of docs/PERFORMANCE.md.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod chain;
mod network;

use chain::{Chain, bridged, offline};
use media::suppress::Suppressor;
use media::{Codec, Rate, resample};
use network::Network;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where real voices are.
fn real() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/speech")
}

/// Real voices lie beside the project where it is developed; where they do not, it has voices of its own.
fn voice() -> Vec<i16> {
    let real = real();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/speech");
    let mut files: Vec<PathBuf> =
        ["0870", "0880"].iter().map(|n| real.join(format!("librivox-austen-{n}-16k.wav"))).collect();
    if !files[0].is_file() {
        files = vec![own.join("1.wav"), own.join("2.wav")];
    }
    files.iter().flat_map(|f| sotto::phone::read_wav(f).unwrap().at(Rate::Wide)).collect()
}

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!(
            "sotto-hearing-{}-{:x}",
            std::process::id(),
            rand::random::<u64>()
        ));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is judged: a name, what was said, what was heard, and at which rate both are.
struct Judged {
    name: String,
    rate: Rate,
    heard: Vec<i16>,
}

/// PESQ of each.
fn scores(voice: &[i16], judged: &[Judged]) -> BTreeMap<String, f64> {
    let folder = Folder::new();
    let write = |name: &str, rate: Rate, samples: &[i16]| {
        let path = folder.0.join(format!("{name}.wav"));
        let mut recorder = sotto::phone::Recorder::create(&path, rate).unwrap();
        recorder.write(samples).unwrap();
        recorder.finish().unwrap();
        path.display().to_string()
    };
    let reference = |rate: Rate| resample::whole(voice, Rate::Wide, rate);
    let said =
        [Rate::Narrow, Rate::Wide].map(|rate| write(&format!("said{}", rate.hz()), rate, &reference(rate)));
    let pairs: Vec<_> = judged
        .iter()
        .enumerate()
        .map(|(n, j)| {
            let heard = write(&n.to_string(), j.rate, &j.heard);
            serde_json::json!({"name": j.name, "reference": said[usize::from(j.rate == Rate::Wide)], "heard": heard})
        })
        .collect();
    let list = folder.0.join("pairs.json");
    std::fs::write(&list, serde_json::to_vec(&pairs).unwrap()).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = here.join("target/peers/python/bin/python");
    assert!(python.is_file(), "run `make test` once: it installs what judges sound");
    let run = Command::new(python).arg(here.join("tests/audio/score.py")).arg(&list).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

/// A chain under a network, bridged and offline.
#[derive(Clone, Copy)]
struct Case {
    chain: Chain,
    network: Network,
}

impl Case {
    fn new(from: Codec, to: Codec, network: Network) -> Self {
        Self { chain: Chain { from, to, fec: false }, network }
    }

    fn name(&self) -> String {
        let Network { loss, burst, jitter, drift } = self.network;
        let fec = if self.chain.fec { " FEC" } else { "" };
        format!(
            "{:?}{fec} to {:?}, loss {loss} % in bursts of {}, jitter {jitter} ms, drift {drift} ppm",
            self.chain.from,
            self.chain.to,
            burst.max(1)
        )
    }

    /// Which syllable a packet is lost from is worth tenths of a point: where chance has a part, the mean of several networks counts.
    fn seeds(&self) -> RangeInclusive<u64> {
        1..=if self.network.loss > 0 || self.network.jitter > 0 { 4 } else { 1 }
    }

    /// Bridged, and offline, and how many frames were made up.
    fn run(&self, voice: &[i16], seed: u64) -> ([Judged; 2], u64) {
        let packets = voice.len().div_ceil(Rate::Wide.frame());
        let fates = self.network.fates(packets, seed);
        let (heard, made_up) = bridged(self.chain, voice, &fates);
        let alone = offline(self.chain, voice, &fates);
        let rate = self.chain.judged_at();
        let judged = |how: &str, samples: &[i16]| {
            let heard = resample::whole(samples, self.chain.to.rate(), rate);
            Judged { name: format!("{} {seed} {how}", self.name()), rate, heard }
        };
        ([judged("bridged", &heard), judged("offline", &alone)], made_up)
    }
}

fn table(title: &str, rows: &[(String, f64, f64, u64)]) {
    println!(
        "\n{title}\n\n| what | bridge | codecs alone | difference | frames made up |\n|---|---|---|---|---|"
    );
    for (name, bridge, alone, made_up) in rows {
        println!("| {name} | {bridge:.2} | {alone:.2} | {:+.2} | {made_up} |", bridge - alone);
    }
}

/// Each case's name, score, score offline, frames made up: means.
fn judge(title: &str, cases: &[Case]) -> Vec<(String, f64, f64, u64)> {
    let voice = voice();
    let mut judged = Vec::new();
    let mut made = Vec::new();
    for case in cases {
        let mut frames = 0;
        for seed in case.seeds() {
            let (both, made_up) = case.run(&voice, seed);
            judged.extend(both);
            frames += made_up;
        }
        made.push(frames.div_ceil(*case.seeds().end()));
    }
    let scores = scores(&voice, &judged);
    let rows: Vec<_> = cases
        .iter()
        .zip(made)
        .map(|(case, made)| {
            let [bridged, offline] = ["bridged", "offline"].map(|how| {
                let all = case.seeds().map(|seed| scores[&format!("{} {seed} {how}", case.name())]);
                all.sum::<f64>() / *case.seeds().end() as f64
            });
            (case.name(), bridged, offline, made)
        })
        .collect();
    table(title, &rows);
    rows
}

fn all() -> bool {
    std::env::var("HEARING").is_ok_and(|h| h == "all")
}

/// What a car sounds like from inside: mostly low, and some hiss.
fn car(n: usize, loud: f32) -> Vec<i16> {
    let (mut state, mut low) = (1u32, 0f32);
    let one = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let white = (state >> 16) as f32 / 32_768.0 - 1.0;
        low += 0.05 * (white - low);
        ((3.0 * low + 0.15 * white) * loud) as i16
    };
    (0..n).map(one).collect()
}

#[test]
fn a_voice_in_a_car_is_heard_better_without_the_car() {
    let voice = voice();
    let noise = car(voice.len(), 1000.0);
    let noisy: Vec<i16> = voice.iter().zip(&noise).map(|(v, n)| v.saturating_add(*n)).collect();
    let mut judged = Vec::new();
    for rate in Rate::ALL {
        for (name, said) in [("clean", &voice), ("noisy", &noisy)] {
            let at = resample::whole(said, Rate::Wide, rate);
            let mut less = at.clone();
            let mut suppressor = Suppressor::new();
            less.chunks_exact_mut(rate.frame()).for_each(|frame| suppressor.process(frame, rate));
            for (how, sound) in [("as it is", at), ("suppressed", less)] {
                let judged_at = rate.min(Rate::Wide);
                let heard = resample::whole(&sound, rate, judged_at);
                judged.push(Judged { name: format!("{name} {rate:?} {how}"), rate: judged_at, heard });
            }
        }
    }
    let scores = scores(&voice, &judged);
    println!("\nNoise suppression, PESQ\n\n| what | as it is | suppressed | difference |\n|---|---|---|---|");
    // Where there is no noise, it is the room behind the reader that is taken for some.
    for rate in Rate::ALL {
        for (name, least) in [("clean", -0.8), ("noisy", 0.2)] {
            let [as_it_is, less] =
                ["as it is", "suppressed"].map(|how| scores[&format!("{name} {rate:?} {how}")]);
            println!("| {name}, {} Hz | {as_it_is:.2} | {less:.2} | {:+.2} |", rate.hz(), less - as_it_is);
            assert!(less - as_it_is >= least, "{name} {rate:?}: {less:.2} for {as_it_is:.2}");
        }
    }
}

const CODECS: [Codec; 5] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus, Codec::L16];

#[test]
fn every_pair_of_codecs_sounds_as_it_does_without_a_bridge() {
    let pairs = CODECS.iter().flat_map(|from| CODECS.iter().map(move |to| (*from, *to)));
    let cases: Vec<_> = pairs
        .filter(|(from, to)| all() || from == to || *to == Codec::Pcmu || *from == Codec::Opus)
        .map(|(from, to)| Case::new(from, to, Network::default()))
        .collect();
    for (name, bridge, alone, made_up) in judge("Clean network, PESQ", &cases) {
        assert!(bridge >= alone - 0.05, "{name}: {bridge:.2} for {alone:.2}");
        assert_eq!(made_up, 0, "{name}");
    }
}

#[test]
fn losses_are_made_up_as_well_as_the_codec_can() {
    let mut cases = Vec::new();
    for codec in [Codec::Pcmu, Codec::G722, Codec::Opus] {
        for (loss, burst) in [(1, 1), (5, 1), (10, 1), (20, 1), (5, 3), (10, 3)] {
            if all() || matches!((loss, burst), (5 | 10, 1)) {
                cases.push(Case::new(codec, codec, Network { loss, burst, ..Network::default() }));
            }
        }
    }
    for (name, bridge, alone, _) in judge("Loss, PESQ", &cases) {
        assert!(bridge >= alone - 0.1, "{name}: {bridge:.2} for {alone:.2}");
    }
}

#[test]
fn opus_with_forward_error_correction_is_clearly_better_than_without() {
    let mut cases = Vec::new();
    for loss in [5, 10] {
        for fec in [false, true] {
            let mut case = Case::new(Codec::Opus, Codec::L16, Network { loss, ..Network::default() });
            case.chain.fec = fec;
            cases.push(case);
        }
    }
    let rows = judge("In-band FEC, PESQ", &cases);
    for (name, bridge, alone, _) in &rows {
        assert!(*bridge >= alone - 0.2, "{name}: {bridge:.2} for {alone:.2}");
    }
    // Less is to be won of the project's own voices, which no mouth made.
    let least = if real().is_dir() { 0.3 } else { 0.1 };
    for pair in rows.chunks(2) {
        assert!(
            pair[1].1 >= pair[0].1 + least,
            "{}: {:.2}, without it {:.2}",
            pair[1].0,
            pair[1].1,
            pair[0].1
        );
    }
}

#[test]
fn jitter_and_drift_cost_little() {
    let mut cases = Vec::new();
    for codec in [Codec::Pcmu, Codec::G722, Codec::Opus] {
        for (jitter, drift) in [(20, 0), (60, 0), (100, 0), (150, 0), (0, 500), (0, -500)] {
            if all() || matches!((jitter, drift), (60, 0) | (0, -500)) {
                cases.push(Case::new(codec, codec, Network { jitter, drift, ..Network::default() }));
            }
        }
    }
    for (case, (name, bridge, alone, made_up)) in cases.iter().zip(judge("Jitter and drift, PESQ", &cases)) {
        // A clock that differs moves what is heard by 20 ms now and then, which PESQ takes ill where it falls into a word.
        let most = if case.network.drift != 0 { 0.4 } else { 0.2 };
        assert!(bridge >= alone - most, "{name}: {bridge:.2} for {alone:.2}, {made_up} made up");
    }
}
