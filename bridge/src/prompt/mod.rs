//! What the bridge says to one caller alone: recordings, and the sentences made of them.

use media::prompt::Recordings;
use media::{Codec, Prompt};
use std::sync::OnceLock;

macro_rules! recordings {
    ($($name:ident $file:literal),* $(,)?) => {
        /// A recording.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        enum Recording { $($name),* }

        /// µ-law, 8 kHz, without a header; made by scripts/speech.
        const FILES: &[&[u8]] = &[$(include_bytes!(concat!("../../assets/prompts/", $file, ".ul"))),*];
    };
}

recordings! {
    Zero "zero", One "one", Two "two", Three "three", Four "four", Five "five", Six "six", Seven "seven", Eight "eight", Nine "nine",
    Star "star", Hash "hash",
    ShownAll "shown-all", HiddenAll "hidden-all",
    ShownName "shown-name", HiddenName "hidden-name", UnknownName "unknown-name",
    ShownNumber "shown-number", HiddenNumber "hidden-number", UnknownNumber "unknown-number",
    ShownProfile "shown-profile", HiddenProfile "hidden-profile", UnknownProfile "unknown-profile",
    Ask "ask", Code "code", CodeAfter "code-after", NotAvailable "not-available",
}

/// The recordings' samples. They are decoded once and last as long as the process.
fn samples() -> &'static Recordings {
    static SAMPLES: OnceLock<Recordings> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let decode = |bytes: &&[u8]| {
            let mut samples = vec![0; bytes.len()];
            Codec::Pcmu.decode_plain(bytes, &mut samples);
            samples
        };
        let all: Vec<Vec<i16>> = FILES.iter().map(decode).collect();
        Recordings::new(&all.iter().map(Vec::as_slice).collect::<Vec<_>>())
    })
}

fn prompt(parts: impl IntoIterator<Item = Recording>) -> Prompt {
    Prompt::new(samples(), parts.into_iter().map(|part| part as u8))
}

/// Decodes the recordings, so that nobody waits for it later.
pub fn prepare() {
    samples();
}

/// What became of a value by the caller's own act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is shown now.
    Shown,
    /// It is hidden now.
    Hidden,
    /// There is nothing to show.
    Unknown,
}

/// Confirms a choice: what became of name, number and profile, of each that was chosen.
pub fn chosen([name, number, profile]: [Option<Outcome>; 3]) -> Prompt {
    use Outcome::{Hidden, Shown, Unknown};
    // Most have no profile, and need not hear of it.
    let no_matter = |both: Outcome| profile.is_none_or(|p| p == both || p == Unknown);
    match (name, number) {
        (Some(Shown), Some(Shown)) if no_matter(Shown) => return prompt([Recording::ShownAll]),
        (Some(Hidden), Some(Hidden)) if no_matter(Hidden) => return prompt([Recording::HiddenAll]),
        _ => {}
    }
    let one = |outcome: Option<Outcome>, [shown, hidden, unknown]: [Recording; 3]| {
        outcome.map(|outcome| match outcome {
            Shown => shown,
            Hidden => hidden,
            Unknown => unknown,
        })
    };
    let profile = profile.filter(|p| *p != Unknown || name.is_none() && number.is_none());
    let parts = [
        one(name, [Recording::ShownName, Recording::HiddenName, Recording::UnknownName]),
        one(number, [Recording::ShownNumber, Recording::HiddenNumber, Recording::UnknownNumber]),
        one(profile, [Recording::ShownProfile, Recording::HiddenProfile, Recording::UnknownProfile]),
    ];
    prompt(parts.into_iter().flatten())
}

/// A host asks whether the caller would share; `code` is what they can dial.
pub fn ask(code: &str) -> Prompt {
    prompt(std::iter::once(Recording::Ask).chain(keys(code)))
}

/// A code with which the caller opens their own page.
pub fn personal_code(code: &str) -> Prompt {
    prompt(std::iter::once(Recording::Code).chain(keys(code)).chain([Recording::CodeAfter]))
}

/// What was dialled is not to be had.
pub fn not_available() -> Prompt {
    prompt([Recording::NotAvailable])
}

fn keys(code: &str) -> impl Iterator<Item = Recording> {
    use Recording::{Eight, Five, Four, Hash, Nine, One, Seven, Six, Star, Three, Two, Zero};
    let digits = [Zero, One, Two, Three, Four, Five, Six, Seven, Eight, Nine];
    code.chars().filter_map(move |key| match key {
        '*' => Some(Star),
        '#' => Some(Hash),
        _ => key.to_digit(10).and_then(|d| digits.get(d as usize).copied()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::Rate;
    use media::codec::FRAME;
    use media::prompt::Saying;

    fn said(prompt: Prompt) -> Vec<i16> {
        let (mut saying, mut frame, mut all) = (Saying::new(prompt), [0; FRAME], Vec::new());
        while saying.lay_over(&mut frame, Rate::Narrow) {
            all.extend_from_slice(&frame);
            frame = [0; FRAME];
        }
        all
    }

    fn of(parts: &[Recording]) -> Vec<i16> {
        let mut all: Vec<i16> =
            parts.iter().flat_map(|part| samples().narrow(*part as usize).iter().copied()).collect();
        all.resize(all.len().next_multiple_of(FRAME), 0);
        all
    }

    #[test]
    fn a_choice_is_confirmed_in_as_few_words_as_tell_it() {
        use Outcome::{Hidden, Shown, Unknown};
        use Recording::*;
        for (outcomes, expected) in [
            ([Some(Hidden), Some(Hidden), Some(Hidden)], &[HiddenAll][..]),
            ([Some(Hidden), Some(Hidden), None], &[HiddenAll]),
            ([Some(Shown), Some(Shown), Some(Unknown)], &[ShownAll]),
            ([Some(Unknown), Some(Shown), Some(Unknown)], &[UnknownName, ShownNumber]),
            ([Some(Shown), Some(Hidden), Some(Shown)], &[ShownName, HiddenNumber, ShownProfile]),
            ([None, Some(Hidden), None], &[HiddenNumber]),
            ([None, None, Some(Unknown)], &[UnknownProfile]),
        ] {
            assert!(said(chosen(outcomes)) == of(expected), "{outcomes:?}");
        }
    }

    #[test]
    fn codes_are_spelt_whole() {
        use Recording::*;
        assert!(said(ask("*82")) == of(&[Ask, Star, Eight, Two]));
        let code = said(personal_code("0123456789"));
        assert!(code == of(&[Code, Zero, One, Two, Three, Four, Five, Six, Seven, Eight, Nine, CodeAfter]));
        assert!(said(ask("*1234567#")).len() > said(ask("*")).len());
    }

    #[test]
    fn every_recording_can_be_heard() {
        for place in 0..samples().count() {
            let samples = samples().narrow(place);
            let loudest = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
            assert!((4000..32_000).contains(&loudest) && samples.len() > 2000, "{place}: {loudest}");
        }
    }
}
