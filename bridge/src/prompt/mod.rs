//! What the bridge says to one caller alone: recordings in each of its languages, and the sentences made of them.

use crate::ivr::{Part, Script, ScriptError};
use crate::meeting::{Steer, Told};
use media::prompt::Recordings;
use media::{Codec, Prompt, Words};
use std::sync::OnceLock;
use std::time::Duration;

/// A language that the house speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Language {
    /// `en`
    #[default]
    #[serde(rename = "en")]
    English,
    /// `de`
    #[serde(rename = "de")]
    German,
}

impl Language {
    /// All, in the order of their recordings.
    pub const ALL: [Self; 2] = [Self::English, Self::German];
    /// Their names (RFC 5646).
    const NAMES: [&str; 2] = ["en", "de"];
}

macro_rules! recordings {
    ($($name:ident $file:literal),* $(,)?) => {
        /// A recording.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        enum Recording { $($name),* }

        /// All, with their names.
        const ALL: &[(Recording, &str)] = &[$((Recording::$name, $file)),*];

        /// Of each language: µ-law, 8 kHz, without a header; made by scripts/speech.
        const FILES: [[&[u8]; ALL.len()]; Language::ALL.len()] = [
            [$(include_bytes!(concat!("../../assets/prompts/en/", $file, ".ul"))),*],
            [$(include_bytes!(concat!("../../assets/prompts/de/", $file, ".ul"))),*],
        ];
    };
}

recordings! {
    Zero "zero", One "one", Two "two", Three "three", Four "four", Five "five", Six "six", Seven "seven", Eight "eight", Nine "nine",
    Ten "ten", Eleven "eleven", Twelve "twelve", Thirteen "thirteen", Fourteen "fourteen", Fifteen "fifteen", Sixteen "sixteen",
    Seventeen "seventeen", Eighteen "eighteen", Nineteen "nineteen", Twenty "twenty", MoreThanTwenty "more-than-twenty",
    Star "star", Hash "hash",
    ShownAll "shown-all", HiddenAll "hidden-all",
    ShownName "shown-name", HiddenName "hidden-name", UnknownName "unknown-name",
    ShownNumber "shown-number", HiddenNumber "hidden-number", UnknownNumber "unknown-number",
    ShownProfile "shown-profile", HiddenProfile "hidden-profile", UnknownProfile "unknown-profile",
    Ask "ask", Code "code", CodeAfter "code-after", NotAvailable "not-available",
    Welcome "welcome", EnterConference "enter-conference", UnknownConference "unknown-conference", EnterPin "enter-pin", WrongPin "wrong-pin",
    PeopleOn "people-on", Joining "joining",
    Comes "comes", Goes "goes",
    Muted "muted", Heard "heard", MutedByHost "muted-by-host", AllMuted "all-muted", LectureOnly "lecture-only", Floor "floor", AskedToSpeak "asked-to-speak",
    ToBeHeard "to-be-heard", WishPassedOn "wish-passed-on", HandRaised "hand-raised", HandLowered "hand-lowered", Deaf "deaf", Hears "hears", Waits "waits",
    YouAreHost "you-are-host", Removed "removed", Ended "ended", Locked "locked", Unlocked "unlocked", EveryoneMuted "everyone-muted",
    EveryoneHeard "everyone-heard", LectureOn "lecture-on", LectureOff "lecture-off", LetIn "let-in",
    HelpMute "help-mute", HelpHand "help-hand", HelpWithhold "help-withhold", HelpLeave "help-leave", HelpMuteAll "help-mute-all", HelpLock "help-lock",
    HelpEnd "help-end",
    SayName "say-name", Tone "tone", HasJoined "has-joined", HasLeft "has-left",
    NotOpen "not-open",
    Full "full", NoAnonymous "no-anonymous", Later "later", Goodbye "goodbye",
}

/// All of them must have a number of one byte, and the last is no recording's.
const _: () = assert!(ALL.len() * Language::ALL.len() < u8::MAX as usize);

/// The recordings' samples. They are decoded once and last as long as the process.
fn samples() -> &'static Recordings {
    static SAMPLES: OnceLock<Recordings> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let decode = |bytes: &[u8]| {
            let mut samples = vec![0; bytes.len()];
            Codec::Pcmu.decode_plain(bytes, &mut samples);
            samples
        };
        let all: Vec<Vec<i16>> = FILES.iter().flatten().map(|bytes| decode(bytes)).collect();
        Recordings::new(&all.iter().map(Vec::as_slice).collect::<Vec<_>>())
    })
}

/// Where a recording lies among all.
fn place(language: Language, recording: u8) -> u8 {
    language as u8 * ALL.len() as u8 + recording
}

fn prompt(language: Language, parts: impl IntoIterator<Item = Recording>) -> Prompt {
    Prompt::new(samples(), parts.into_iter().map(|part| place(language, part as u8)))
}

/// Reads a script whose recordings are the house's.
///
/// # Errors
/// [`ScriptError`].
pub fn script(text: &str) -> Result<Script, ScriptError> {
    let recording = |name: &str| ALL.iter().find(|(_, n)| *n == name).map(|(recording, _)| *recording as u8);
    Script::parse(text, recording, &Language::NAMES)
}

/// The house's own script, by which callers are led into conferences.
pub const SCRIPT: &str = include_str!("../../assets/ivr.toml");

/// The recordings of a script's parts; `count` are in the meeting.
fn parts(parts: &[Part], count: usize) -> impl Iterator<Item = u8> + '_ {
    parts.iter().map(move |part| match part {
        Part::Recording(recording) => *recording,
        Part::Count => count.min(Recording::MoreThanTwenty as usize) as u8,
    })
}

/// What a script says; `count` are in the meeting.
pub fn of(language: Language, said: &[Part], count: usize) -> Prompt {
    Prompt::new(samples(), parts(said, count).map(|recording| place(language, recording)))
}

/// How long that takes.
pub fn length(language: Language, said: &[Part], count: usize) -> Duration {
    let of = |recording| samples().narrow(usize::from(place(language, recording))).len() as u64;
    Duration::from_micros(parts(said, count).map(of).sum::<u64>() * 125)
}

/// Nothing: what is being said ends.
pub fn nothing() -> Prompt {
    Prompt::new(samples(), [])
}

/// Why somebody does not come in, and goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// As many are in as may be.
    Full,
    /// Who hides their number is not let in.
    Anonymous,
    /// There is no room for more now.
    Busy,
    /// A host has locked the meeting.
    Locked,
    /// It is over.
    Ended,
    /// Its time has not come, or is over.
    NotOpen,
}

/// Says why somebody does not come in; how long that takes.
pub fn turned_away(language: Language, why: Turned) -> (Prompt, Duration) {
    let why = match why {
        Turned::Full => Recording::Full,
        Turned::Anonymous => Recording::NoAnonymous,
        Turned::Busy => Recording::Later,
        Turned::Locked => Recording::Locked,
        Turned::Ended => Recording::Ended,
        Turned::NotOpen => Recording::NotOpen,
    };
    at_length(language, &[why, Recording::Goodbye])
}

/// Something that is said before a call ends, and how long it takes.
fn at_length(language: Language, recordings: &[Recording]) -> (Prompt, Duration) {
    let said: Vec<_> = recordings.iter().map(|recording| Part::Recording(*recording as u8)).collect();
    (of(language, &said, 0), length(language, &said, 0))
}

/// A host has ended somebody's part.
pub fn removed(language: Language) -> (Prompt, Duration) {
    at_length(language, &[Recording::Removed, Recording::Goodbye])
}

/// The meeting is over.
pub fn ended(language: Language) -> (Prompt, Duration) {
    at_length(language, &[Recording::Ended, Recording::Goodbye])
}

/// Somebody leaves by their own wish.
pub fn goodbye(language: Language) -> (Prompt, Duration) {
    at_length(language, &[Recording::Goodbye])
}

/// Somebody comes.
pub fn comes() -> Prompt {
    prompt(Language::default(), [Recording::Comes])
}

/// Somebody goes.
pub fn goes() -> Prompt {
    prompt(Language::default(), [Recording::Goes])
}

/// Somebody who said their name comes or goes; `name` is what they said.
pub fn named(language: Language, comes: bool, name: Box<[i16]>) -> Words {
    let what = if comes { Recording::HasJoined } else { Recording::HasLeft };
    Words { prompt: prompt(language, [what]).behind_words(), spoken: name }
}

/// How long it takes to hear that, with a name of so many samples.
pub fn length_of_named(language: Language, comes: bool, name: usize) -> Duration {
    let what = Part::Recording(if comes { Recording::HasJoined } else { Recording::HasLeft } as u8);
    Duration::from_micros(name as u64 * 125) + length(language, &[what], 0)
}

/// How long a chime is not to be cut short by another.
pub const CHIME: Duration = Duration::from_millis(400);

/// How many are in the meeting, and the names that were said, one behind the other.
pub fn roll_call(language: Language, count: usize, names: Box<[i16]>) -> Words {
    Words { prompt: people(language, count).before_words(), spoken: names }
}

/// How many are in the meeting.
pub fn people(language: Language, count: usize) -> Prompt {
    of(language, &[Part::Recording(Recording::PeopleOn as u8), Part::Count], count)
}

/// What callers dial; empty where there is nothing for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToDial<'a> {
    /// To mute themselves, or to be heard again.
    pub mute: &'a str,
    /// To raise a hand.
    pub hand: &'a str,
    /// To withhold everything.
    pub withhold: &'a str,
    /// To leave.
    pub leave: &'a str,
    /// As a host, to mute everybody else.
    pub mute_all: &'a str,
    /// As a host, to lock the meeting.
    pub lock: &'a str,
    /// As a host, to end it.
    pub end: &'a str,
}

/// Something, and behind it what is to be dialled; nothing where there is nothing to dial.
fn with_code(recording: Recording, code: &str) -> impl Iterator<Item = Recording> {
    Some(recording).filter(|_| !code.is_empty()).into_iter().chain(keys(code))
}

/// What is new with somebody.
pub fn told(language: Language, told: Told, dial: ToDial<'_>) -> Prompt {
    let to_be_heard = || with_code(Recording::ToBeHeard, dial.mute);
    let to_ask = || with_code(Recording::HelpHand, dial.hand);
    match told {
        Told::Muted => prompt(language, [Recording::Muted].into_iter().chain(to_be_heard())),
        Told::Heard => prompt(language, [Recording::Heard]),
        Told::MutedByHost => prompt(language, [Recording::MutedByHost].into_iter().chain(to_ask())),
        Told::AllMuted => prompt(language, [Recording::AllMuted].into_iter().chain(to_be_heard())),
        Told::Lecture => prompt(language, [Recording::LectureOnly].into_iter().chain(to_ask())),
        Told::Floor => prompt(language, [Recording::Floor]),
        Told::AskedToSpeak => prompt(language, [Recording::AskedToSpeak].into_iter().chain(to_be_heard())),
        Told::WishPassedOn => prompt(language, [Recording::MutedByHost, Recording::WishPassedOn]),
        Told::HandRaised => prompt(language, [Recording::HandRaised]),
        Told::HandLowered => prompt(language, [Recording::HandLowered]),
        Told::Deaf => prompt(language, [Recording::Deaf]),
        Told::Hears => prompt(language, [Recording::Hears]),
        Told::Waits => prompt(language, [Recording::Waits]),
        Told::Admitted => prompt(language, [Recording::Joining]),
        Told::Host => prompt(language, [Recording::YouAreHost]),
    }
}

/// What a host has done to the meeting.
pub fn steered(language: Language, steer: Steer) -> Prompt {
    prompt(
        language,
        match steer {
            Steer::MuteAll => Some(Recording::EveryoneMuted),
            Steer::UnmuteAll => Some(Recording::EveryoneHeard),
            Steer::Lock => Some(Recording::Locked),
            Steer::Unlock => Some(Recording::Unlocked),
            Steer::Lecture => Some(Recording::LectureOn),
            Steer::Discussion => Some(Recording::LectureOff),
            Steer::AdmitAll | Steer::Lobby(_) => Some(Recording::LetIn),
            Steer::LowerHands => Some(Recording::HandLowered),
            Steer::Recall => None,
            Steer::End => Some(Recording::Ended),
        },
    )
}

/// What can be dialled; to hosts a little more.
pub fn help(language: Language, dial: ToDial<'_>, host: bool) -> Prompt {
    let all = with_code(Recording::HelpMute, dial.mute)
        .chain(with_code(Recording::HelpHand, dial.hand))
        .chain(with_code(Recording::HelpWithhold, dial.withhold))
        .chain(with_code(Recording::HelpLeave, dial.leave));
    let more = with_code(Recording::HelpMuteAll, dial.mute_all)
        .chain(with_code(Recording::HelpLock, dial.lock))
        .chain(with_code(Recording::HelpEnd, dial.end));
    if host {
        prompt(language, more.chain(with_code(Recording::HelpMute, dial.mute)))
    } else {
        prompt(language, all)
    }
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
pub fn chosen(language: Language, [name, number, profile]: [Option<Outcome>; 3]) -> Prompt {
    use Outcome::{Hidden, Shown, Unknown};
    // Most have no profile, and need not hear of it.
    let no_matter = |both: Outcome| profile.is_none_or(|p| p == both || p == Unknown);
    match (name, number) {
        (Some(Shown), Some(Shown)) if no_matter(Shown) => return prompt(language, [Recording::ShownAll]),
        (Some(Hidden), Some(Hidden)) if no_matter(Hidden) => return prompt(language, [Recording::HiddenAll]),
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
    prompt(language, parts.into_iter().flatten())
}

/// A host asks whether the caller would share; `code` is what they can dial.
pub fn ask(language: Language, code: &str) -> Prompt {
    prompt(language, std::iter::once(Recording::Ask).chain(keys(code)))
}

/// A code with which the caller opens their own page.
pub fn personal_code(language: Language, code: &str) -> Prompt {
    prompt(language, std::iter::once(Recording::Code).chain(keys(code)).chain([Recording::CodeAfter]))
}

/// What was dialled is not to be had.
pub fn not_available(language: Language) -> Prompt {
    prompt(language, [Recording::NotAvailable])
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

    fn of(language: Language, parts: &[Recording]) -> Vec<i16> {
        let recording = |part: &Recording| samples().narrow(usize::from(place(language, *part as u8)));
        let mut all: Vec<i16> = parts.iter().flat_map(|part| recording(part).iter().copied()).collect();
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
            for language in Language::ALL {
                assert!(said(chosen(language, outcomes)) == of(language, expected), "{outcomes:?}");
            }
        }
    }

    #[test]
    fn codes_are_spelt_whole() {
        use Recording::*;
        for language in Language::ALL {
            assert!(said(ask(language, "*82")) == of(language, &[Ask, Star, Eight, Two]));
            let code = said(personal_code(language, "0123456789"));
            let spelt = [Code, Zero, One, Two, Three, Four, Five, Six, Seven, Eight, Nine, CodeAfter];
            assert!(code == of(language, &spelt));
            assert!(said(ask(language, "*1234567#")).len() > said(ask(language, "*")).len());
        }
    }

    #[test]
    fn every_recording_can_be_heard() {
        for place in 0..samples().count() {
            let samples = samples().narrow(place);
            let loudest = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
            assert!((4000..32_000).contains(&loudest) && samples.len() > 2000, "{place}: {loudest}");
        }
    }

    #[test]
    fn the_houses_own_script_is_one_and_says_how_many_are_on() {
        assert!(script(SCRIPT).is_ok(), "{:?}", script(SCRIPT));
        let parts = [Part::Recording(Recording::PeopleOn as u8), Part::Count];
        for (count, number) in [
            (0, Recording::Zero),
            (1, Recording::One),
            (20, Recording::Twenty),
            (21, Recording::MoreThanTwenty),
            (5000, Recording::MoreThanTwenty),
        ] {
            let heard = said(super::of(Language::German, &parts, count));
            assert!(heard == of(Language::German, &[Recording::PeopleOn, number]), "{count}");
            let length = length(Language::German, &parts, count).as_millis() as usize;
            assert!((length..length + 20).contains(&(heard.len() / 8)), "{length} {}", heard.len());
        }
        assert!(said(nothing()).is_empty());
    }
}
