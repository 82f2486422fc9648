//! Unique made-up identities, and every form in which a copy of one could lie in memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

/// Copies shorter than this are not told from chance. `free` keeps all but 16 bytes of a block, so fragments are looked for.
pub const FRAGMENT: usize = 10;

/// What one made-up caller says of themselves. Nobody has such a number: no country has the code 999.
pub struct Identity {
    pub name: String,
    pub number: String,
    pub email: String,
    pub profile: String,
    pub call_id: String,
}

fn random(alphabet: &[u8], len: usize) -> String {
    (0..len).map(|_| char::from(alphabet[rand::random_range(0..alphabet.len())])).collect()
}

/// Digits of which no fragment stands in the bridge's program, where there are tables of them: those of a thousand calls would meet one by
/// chance once in some 25 runs.
fn random_number() -> String {
    static DIGITS: OnceLock<HashSet<Vec<u8>>> = OnceLock::new();
    let known = DIGITS.get_or_init(|| {
        let program = std::fs::read(env!("CARGO_BIN_EXE_sotto")).expect("the bridge's program");
        let runs = program.split(|b| !b.is_ascii_digit());
        runs.flat_map(|run| run.windows(FRAGMENT)).map(<[u8]>::to_vec).collect()
    });
    loop {
        let number = random(b"0123456789", 18);
        let reversed: Vec<u8> = number.bytes().rev().collect();
        let stands_there = |text: &[u8]| text.windows(FRAGMENT).any(|fragment| known.contains(fragment));
        if !stands_there(number.as_bytes()) && !stands_there(&reversed) {
            return number;
        }
    }
}

impl Identity {
    pub fn new() -> Self {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
        Self {
            name: random(LETTERS, 20),
            number: random_number(),
            email: random(LETTERS, 18),
            profile: random(LETTERS, 18),
            call_id: random(LETTERS, 24),
        }
    }

    pub fn values(&self) -> [(&'static str, &str); 5] {
        [
            ("name", &self.name),
            ("number", &self.number),
            ("e-mail", &self.email),
            ("profile", &self.profile),
            ("Call-ID", &self.call_id),
        ]
    }
}

/// A text in every form that is looked for.
pub fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let each = |f: &dyn Fn(u8) -> Vec<u8>| bytes.iter().flat_map(|b| f(*b)).collect::<Vec<u8>>();
    let mut forms = vec![
        ("ascii", bytes.to_vec()),
        ("reversed", bytes.iter().rev().copied().collect()),
        ("upper case", bytes.to_ascii_uppercase()),
        ("utf-16le", each(&|b| vec![b, 0])),
        ("utf-16be", each(&|b| vec![0, b])),
        ("utf-32le", each(&|b| vec![b, 0, 0, 0])),
        ("utf-32be", each(&|b| vec![0, 0, 0, b])),
        ("percent", each(&|b| format!("%{b:02X}").into_bytes())),
        ("percent, lower case", each(&|b| format!("%{b:02x}").into_bytes())),
        ("hex", each(&|b| format!("{b:02x}").into_bytes())),
        ("hex, upper case", each(&|b| format!("{b:02X}").into_bytes())),
    ];
    for (offset, form) in ["base64", "base64 + 1", "base64 + 2"].into_iter().enumerate() {
        // What stands before and behind a text changes the first and last characters of its base64 only.
        let encoded = STANDARD_NO_PAD.encode([&vec![0; offset], bytes].concat()).into_bytes();
        let first = [0, 2, 3][offset];
        let last = (offset + bytes.len()) / 3 * 4;
        forms.push((form, encoded[first..last].to_vec()));
    }
    if bytes.iter().all(u8::is_ascii_digit) {
        let nibbles = |swap: bool| -> Vec<u8> {
            let pair = |p: &[u8]| {
                let (a, b) = (p[0] - b'0', p[1] - b'0');
                if swap { b << 4 | a } else { a << 4 | b }
            };
            bytes.chunks_exact(2).map(pair).collect()
        };
        // Nine bytes: shorter than a fragment, so looked for whole.
        forms.push(("bcd", nibbles(false)));
        forms.push(("bcd, swapped", nibbles(true)));
    }
    forms
}

/// A key in every form that is looked for.
pub fn key_forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |upper: bool| {
        let digits = bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") });
        digits.collect::<String>().into_bytes()
    };
    let reversed = bytes.iter().rev().copied().collect();
    let base64 = STANDARD_NO_PAD.encode(bytes).into_bytes();
    vec![
        ("bytes", bytes.to_vec()),
        ("bytes, reversed", reversed),
        ("hex", hex(false)),
        ("hex, upper case", hex(true)),
        ("base64", base64[..bytes.len() / 3 * 4].to_vec()),
    ]
}

/// Where a fragment comes from.
#[derive(Clone, Copy)]
pub struct Source {
    pub value: &'static str,
    pub form: &'static str,
    pub identity: usize,
}

/// Finds fragments of any of many texts in an image, in one pass.
pub struct Needles {
    /// By the first eight bytes: the rest of the fragment, and where it comes from.
    table: HashMap<u64, Vec<(Vec<u8>, Source)>>,
    /// Which of the hashes of eight bytes occur at all.
    seen: Vec<u64>,
}

const BITS: u32 = 27;

fn place(word: u64) -> (usize, u64) {
    let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
    ((hash / 64) as usize, 1 << (hash % 64))
}

impl Needles {
    pub fn new<'a>(identities: impl Iterator<Item = &'a Identity>) -> Self {
        let mut needles = Self { table: HashMap::new(), seen: vec![0; 1 << (BITS - 6)] };
        for (identity, canary) in identities.enumerate() {
            for (value, text) in canary.values() {
                for (form, bytes) in forms(text) {
                    needles.add(&bytes, Source { value, form, identity });
                }
            }
        }
        needles
    }

    /// Adds keys: what each is, and its bytes.
    pub fn keys(&mut self, keys: &[(&'static str, Vec<u8>)]) {
        for (identity, (value, bytes)) in keys.iter().enumerate() {
            for (form, bytes) in key_forms(bytes) {
                self.add(&bytes, Source { value, form, identity });
            }
        }
    }

    fn add(&mut self, bytes: &[u8], source: Source) {
        // A wide form's fragment holds ten characters of the text, not ten bytes.
        let width = match source.form {
            "utf-16le" | "utf-16be" | "hex" | "hex, upper case" => 2,
            "percent" | "percent, lower case" => 3,
            "utf-32le" | "utf-32be" => 4,
            _ => 1,
        };
        let len = if source.form.starts_with("base64") { FRAGMENT * 8 / 6 + 1 } else { FRAGMENT * width };
        let len = len.min(bytes.len());
        for fragment in bytes.windows(len) {
            let (head, rest) = fragment.split_first_chunk::<8>().expect("nine bytes at least");
            let word = u64::from_le_bytes(*head);
            let (at, bit) = place(word);
            self.seen[at] |= bit;
            self.table.entry(word).or_default().push((rest.to_vec(), source));
        }
    }

    /// Calls `hit` with the offset and the source of every fragment in `image`.
    pub fn find(&self, image: &[u8], mut hit: impl FnMut(usize, Source)) {
        for (at, window) in image.windows(8).enumerate() {
            let word = u64::from_le_bytes(window.try_into().expect("eight bytes"));
            let (place, bit) = place(word);
            if self.seen[place] & bit == 0 {
                continue;
            }
            for (rest, source) in self.table.get(&word).into_iter().flatten() {
                if image[at + 8..].starts_with(rest) {
                    hit(at, *source);
                }
            }
        }
    }
}
