//! A caller who keeps what they hear, and what the bridge says to them found in it.

use crate::harness::{Bridge, Process, samples, until};
use media::Codec;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};

/// What the bridge says, as it sounds to a caller.
pub fn prompt(name: &str) -> Vec<f32> {
    let path = crate::harness::here().join(format!("../bridge/assets/prompts/en/{name}.ul"));
    let bytes = std::fs::read(path).unwrap();
    let mut samples = vec![0; bytes.len()];
    Codec::Pcmu.decode_plain(&bytes, &mut samples);
    samples.into_iter().map(f32::from).collect()
}

fn energy(samples: &[f32]) -> f32 {
    samples.iter().map(|x| x * x).sum()
}

/// How well words fit anywhere in `range` of what was heard, 0 to 1, and where they then begin: by the best of their loud pieces of 100 ms.
/// Several are tried because a late packet (the machine is no real-time one) moves what follows it.
pub fn fit(words: &[f32], heard: &[f32], range: Range<usize>) -> (f32, usize) {
    const LENGTH: usize = 800;
    let loudest = words.chunks_exact(LENGTH).map(energy).fold(0.0, f32::max);
    let loud = words.chunks_exact(LENGTH).enumerate().filter(|(_, p)| energy(p) >= loudest / 3.0).take(8);
    let mut best = (0.0, range.start);
    for (n, piece) in loud {
        let (offset, norm) = (n * LENGTH, energy(piece).sqrt());
        let last = heard.len().saturating_sub(LENGTH).min(range.end + offset);
        for at in range.start + offset..last {
            let window = &heard[at..at + LENGTH];
            let dot: f32 = piece.iter().zip(window).map(|(a, b)| a * b).sum();
            let score = dot / (norm * energy(window).sqrt()).max(1.0);
            if score > best.0 {
                best = (score, at - offset);
            }
        }
    }
    best
}

/// Where words begin in what was heard, if they are there from `from` on.
pub fn place(words: &[f32], heard: &[f32], from: usize) -> Option<usize> {
    let (score, at) = fit(words, heard, from..heard.len());
    // What is played is heard as it is: a vowel elsewhere is only nearly the same.
    (score > 0.995).then_some(at)
}

/// A caller who stays until they are told to go, and what they hear.
pub struct Listener {
    pub process: Process,
    keypad: ChildStdin,
    pub file: PathBuf,
}

impl Listener {
    pub fn call(bridge: &Bridge, to: &str, name: &str, more: &[&str]) -> Self {
        let file = bridge.folder.0.join(name);
        let path = file.display().to_string();
        let mut call = bridge.call(to, 60.0, &[&["--record", &path, "--keypad"], more].concat());
        let mut child = call.stdout(Stdio::null()).stdin(Stdio::piped()).spawn().unwrap();
        let keypad = child.stdin.take().unwrap();
        Self { process: Process(child), keypad, file }
    }

    /// Presses keys; a w is a pause.
    pub fn press(&mut self, keys: &str) {
        self.keypad.write_all(keys.as_bytes()).unwrap();
        self.keypad.flush().unwrap();
    }

    /// What was heard so far: behind the file's head, which has no length yet.
    pub fn so_far(&self) -> Vec<f32> {
        // Before the answer there is no file.
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let samples = bytes.get(44..).unwrap_or_default().chunks_exact(2);
        samples.map(|b| f32::from(i16::from_le_bytes([b[0], b[1]]))).collect()
    }

    /// Waits until words are heard, from `from` on, and says where.
    pub fn hears(&self, words: &[f32], from: usize) -> usize {
        let mut looked = from;
        until("the words are heard", || {
            let heard = self.so_far();
            let found = place(words, &heard, looked);
            // All but the end was looked at whole.
            looked = looked.max(heard.len().saturating_sub(2 * words.len()));
            found
        })
    }

    pub fn recording(mut self) -> Vec<f32> {
        self.process.signal("-INT");
        self.process.wait();
        samples(&self.file)
    }
}
