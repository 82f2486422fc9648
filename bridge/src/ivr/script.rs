//! A script as it is written (TOML), and as it is once all its names are found.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A state's place in its script.
pub type Place = usize;

/// What a caller is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// The number of a meeting.
    Conference,
    /// A PIN of it.
    Pin,
}

/// A part of what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A recording, by its place among the house's.
    Recording(u8),
    /// How many are on.
    Count,
}

/// Where a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Something is said, and it goes on elsewhere.
    Tell {
        /// What.
        say: Arc<[Part]>,
        /// Where it goes on.
        then: Place,
    },
    /// Digits are asked for and checked.
    Ask {
        /// What for.
        ask: Ask,
        /// The question.
        say: Arc<[Part]>,
        /// The question after a wrong answer.
        again: Arc<[Part]>,
        /// The question after none.
        silent: Arc<[Part]>,
        /// So many digits are an answer without `#`.
        digits: usize,
        /// Answers, wrong or none, before it goes on at `failed`.
        tries: usize,
        /// How long the first digit is waited for once the question was said.
        first: Duration,
        /// How long the next one is waited for.
        between: Duration,
        /// Where it goes on when it is right.
        right: Place,
        /// Where it goes on when it is right and nothing more is asked for.
        open: Place,
        /// Where it goes on when it is not.
        failed: Place,
    },
    /// One key is asked for.
    Menu {
        /// The question.
        say: Arc<[Part]>,
        /// Where each key leads.
        keys: Vec<(char, Place)>,
        /// Answers, wrong or none, before it goes on at `failed`.
        tries: usize,
        /// How long a key is waited for once the question was said.
        first: Duration,
        /// Where it goes on without an answer.
        failed: Place,
    },
    /// The caller is asked to say their name, where their meeting wants to hear it; otherwise it goes on at once.
    Record {
        /// The question, and a tone.
        say: Arc<[Part]>,
        /// How long their voice is waited for behind it.
        first: Duration,
        /// How long they may speak.
        longest: Duration,
        /// Where it goes on, whatever they said.
        then: Place,
    },
    /// The caller enters the meeting.
    Enter,
    /// The call ends.
    HangUp,
}

/// A script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    states: Vec<State>,
    /// The language in which each state goes on, by its place, where that is said.
    languages: Vec<Option<usize>>,
    /// Where a call begins, and where one begins whose meeting is known by the number that it dialled.
    starts: [Place; 2],
}

/// What is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// It is not TOML, or has keys that there are not.
    #[error("{0}")]
    Form(String),
    /// A name leads nowhere.
    #[error("{at}: there is no state `{name}`; expected one of the script's own, `enter` or `hang-up`")]
    State {
        /// Where it stands.
        at: String,
        /// The name.
        name: String,
    },
    /// There is no such recording.
    #[error("{at}: there is no recording `{name}`")]
    Recording {
        /// Where it stands.
        at: String,
        /// The name.
        name: String,
    },
    /// There is no such language.
    #[error("{at}: there is no language `{name}`")]
    Language {
        /// Where it stands.
        at: String,
        /// The name.
        name: String,
    },
    /// It lacks something, or has what does not go together.
    #[error("{at}: {what}")]
    Shape {
        /// Where it stands.
        at: String,
        /// What, and what was expected.
        what: &'static str,
    },
    /// From a state no way leads out of the script.
    #[error("{at}: no way leads from here to `enter` or `hang-up`")]
    Endless {
        /// The state.
        at: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    start: String,
    /// Where a call begins whose meeting is known.
    known: String,
    states: BTreeMap<String, WrittenState>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenState {
    say: Vec<String>,
    language: Option<String>,
    ask: Option<Ask>,
    record: Option<Asked>,
    longest: Option<u64>,
    again: Option<Vec<String>>,
    silent: Option<Vec<String>>,
    digits: Option<usize>,
    menu: Option<BTreeMap<char, String>>,
    tries: Option<usize>,
    first: Option<u64>,
    between: Option<u64>,
    right: Option<String>,
    open: Option<String>,
    failed: Option<String>,
    then: Option<String>,
}

/// What a caller is asked to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Asked {
    Name,
}

/// Seconds that a name may take where a script says nothing of it, and at most.
const LONGEST_NAME: u64 = 4;

/// Seconds that a first and a next digit are waited for where a script says nothing of it.
const FIRST: u64 = 8;
const BETWEEN: u64 = 4;
/// Tries where a script says nothing of it.
const TRIES: usize = 3;

const ENTER: &str = "enter";
const HANG_UP: &str = "hang-up";
const COUNT: &str = "{count}";

impl Script {
    /// Reads a script. `recording` finds the house's recordings by name, `languages` are the house's.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn parse(
        text: &str,
        recording: impl Fn(&str) -> Option<u8>,
        languages: &[&str],
    ) -> Result<Self, ScriptError> {
        let written: Written = toml::from_str(text).map_err(|e| ScriptError::Form(e.message().to_owned()))?;
        let reader = Reader { written: &written, recording, languages };
        // The two ends lie behind all others.
        let mut states = Vec::new();
        let mut spoken = Vec::new();
        for (name, state) in &written.states {
            states.push(reader.state(name, state)?);
            let language = state.language.as_deref().map(|language| reader.language(name, language));
            spoken.push(language.transpose()?);
        }
        states.extend([State::Enter, State::HangUp]);
        spoken.extend([None, None]);
        let starts = [reader.place("start", &written.start)?, reader.place("known", &written.known)?];
        let script = Self { states, languages: spoken, starts };
        match script.endless() {
            Some(place) => Err(ScriptError::Endless { at: reader.name_of(place) }),
            None => Ok(script),
        }
    }

    /// Where a call begins; `known`: by the number that it dialled its meeting is known.
    pub fn start(&self, known: bool) -> Place {
        self.starts[usize::from(known)]
    }

    pub(super) fn state(&self, place: Place) -> &State {
        // Places come from the script alone; out of it, the call ends.
        self.states.get(place).unwrap_or(&State::HangUp)
    }

    pub(super) fn language(&self, place: Place) -> Option<usize> {
        self.languages.get(place).copied().flatten()
    }

    /// A state from which neither end is reached by saying nothing, if there is one: a silent caller must not stay for ever.
    fn endless(&self) -> Option<Place> {
        (0..self.states.len()).find(|start| {
            let mut at = *start;
            for _ in 0..=self.states.len() {
                at = match self.state(at) {
                    State::Enter | State::HangUp => return false,
                    State::Tell { then: next, .. } | State::Record { then: next, .. } => *next,
                    State::Ask { failed: next, .. } | State::Menu { failed: next, .. } => *next,
                };
            }
            true
        })
    }
}

struct Reader<'a, R> {
    written: &'a Written,
    recording: R,
    languages: &'a [&'a str],
}

impl<R: Fn(&str) -> Option<u8>> Reader<'_, R> {
    fn name_of(&self, place: Place) -> String {
        self.written.states.keys().nth(place).map(|name| format!("states.{name}")).unwrap_or_default()
    }

    fn place(&self, at: &str, name: &str) -> Result<Place, ScriptError> {
        let own = self.written.states.len();
        let ends = |name: &str| match name {
            ENTER => Some(own),
            HANG_UP => Some(own + 1),
            _ => None,
        };
        let found = self.written.states.keys().position(|state| state == name).or_else(|| ends(name));
        found.ok_or_else(|| ScriptError::State { at: at.to_owned(), name: name.to_owned() })
    }

    fn language(&self, state: &str, name: &str) -> Result<usize, ScriptError> {
        let found = self.languages.iter().position(|language| *language == name);
        found.ok_or_else(|| ScriptError::Language {
            at: format!("states.{state}.language"),
            name: name.to_owned(),
        })
    }

    fn parts(&self, at: &str, names: &[String]) -> Result<Arc<[Part]>, ScriptError> {
        let part = |name: &String| match name.as_str() {
            COUNT => Ok(Part::Count),
            name => (self.recording)(name)
                .map(Part::Recording)
                .ok_or_else(|| ScriptError::Recording { at: at.to_owned(), name: name.to_owned() }),
        };
        names.iter().map(part).collect()
    }

    fn state(&self, name: &str, state: &WrittenState) -> Result<State, ScriptError> {
        let at = |field: &str| format!("states.{name}.{field}");
        let shape = |what| Err(ScriptError::Shape { at: format!("states.{name}"), what });
        if [ENTER, HANG_UP].contains(&name) {
            return shape("this name is the script's own end; expected another");
        }
        let say = self.parts(&at("say"), &state.say)?;
        let tries = state.tries.unwrap_or(TRIES);
        if !(1..=10).contains(&tries) {
            return shape("`tries` is out of range, expected 1 to 10");
        }
        let seconds = |value: Option<u64>, usual| match value.unwrap_or(usual) {
            n @ 1..=60 => Ok(Duration::from_secs(n)),
            _ => Err(ScriptError::Shape {
                at: format!("states.{name}"),
                what: "`first` or `between` is out of range, expected 1 to 60 (seconds)",
            }),
        };
        let (first, between) = (seconds(state.first, FIRST)?, seconds(state.between, BETWEEN)?);
        let to = |field: &'static str, value: &Option<String>| match value {
            Some(value) => self.place(&at(field), value),
            None => {
                Err(ScriptError::Shape { at: at(field), what: "is missing, expected the name of a state" })
            }
        };
        match (state.ask, &state.menu, &state.then) {
            (None, None, Some(_)) if state.record.is_some() => {
                let longest = state.longest.unwrap_or(LONGEST_NAME);
                if !(1..=LONGEST_NAME).contains(&longest) {
                    return shape("`longest` is out of range, expected 1 to 4 (seconds)");
                }
                let longest = Duration::from_secs(longest);
                Ok(State::Record { say, first, longest, then: to("then", &state.then)? })
            }
            _ if state.record.is_some() => {
                shape("expected `then` beside `record`, and neither `ask` nor `menu`")
            }
            (Some(ask), None, None) => {
                let or_say = |field: &str, parts: &Option<Vec<String>>| match parts {
                    Some(parts) => self.parts(&at(field), parts),
                    None => Ok(say.clone()),
                };
                let digits = state.digits.unwrap_or(super::visit::LONGEST);
                if !(1..=super::visit::LONGEST).contains(&digits) {
                    return shape("`digits` is out of range, expected 1 to 16");
                }
                let right = to("right", &state.right)?;
                Ok(State::Ask {
                    ask,
                    open: if state.open.is_some() { to("open", &state.open)? } else { right },
                    again: or_say("again", &state.again)?,
                    silent: or_say("silent", &state.silent)?,
                    digits,
                    tries,
                    first,
                    between,
                    right,
                    failed: to("failed", &state.failed)?,
                    say,
                })
            }
            (None, Some(menu), None) => {
                if let Some(key) = menu.keys().find(|key| !"0123456789*#".contains(**key)) {
                    let at = at(&format!("menu.{key}"));
                    return Err(ScriptError::Shape { at, what: "is no key, expected one of 0-9, * and #" });
                }
                let keys = menu.iter().map(|(key, next)| Ok((*key, self.place(&at("menu"), next)?)));
                let keys = keys.collect::<Result<_, ScriptError>>()?;
                Ok(State::Menu { say, keys, tries, first, failed: to("failed", &state.failed)? })
            }
            (None, None, Some(_)) => Ok(State::Tell { say, then: to("then", &state.then)? }),
            _ => shape("expected exactly one of `ask`, `menu` and `then`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDINGS: [&str; 4] = ["hello", "number", "wrong", "bye"];

    fn parse(text: &str) -> Result<Script, ScriptError> {
        let recording = |name: &str| RECORDINGS.iter().position(|r| *r == name).map(|place| place as u8);
        Script::parse(text, recording, &["en", "de"])
    }

    const SMALL: &str = r##"
        start = "tongue"
        known = "pin"
        [states.tongue]
        say = ["hello"]
        menu = { 1 = "number", 2 = "nummer" }
        failed = "number"
        [states.nummer]
        language = "de"
        say = []
        then = "number"
        [states.number]
        ask = "conference"
        say = ["hello", "number"]
        again = ["wrong", "number"]
        digits = 6
        right = "pin"
        failed = "bye"
        [states.pin]
        ask = "pin"
        say = ["number", "{count}"]
        tries = 2
        first = 5
        right = "enter"
        failed = "bye"
        [states.bye]
        say = ["bye"]
        then = "hang-up"
    "##;

    #[test]
    fn names_are_found_and_what_is_left_out_is_as_usual() {
        let script = parse(SMALL).unwrap();
        let State::Ask { ask, again, silent, digits, tries, first, between, right, .. } =
            script.state(script.start(true))
        else {
            panic!("no question");
        };
        assert_eq!((*ask, *digits, *tries), (Ask::Pin, 16, 2));
        assert_eq!((*first, *between), (Duration::from_secs(5), Duration::from_secs(BETWEEN)));
        assert_eq!(**again, [Part::Recording(1), Part::Count]);
        assert_eq!((again, script.state(*right)), (silent, &State::Enter));
        assert!(matches!(script.state(script.start(false)), State::Menu { keys, .. } if keys.len() == 2));
    }

    #[test]
    fn each_fault_is_told_with_its_place() {
        for (from, to, expected) in [
            (
                "right = \"pin\"",
                "right = \"pine\"",
                "states.number.right: there is no state `pine`; expected one of the script's own, `enter` or `hang-up`",
            ),
            ("\"bye\"]", "\"by\"]", "states.bye.say: there is no recording `by`"),
            ("\"de\"", "\"fr\"", "states.nummer.language: there is no language `fr`"),
            (
                "then = \"hang-up\"",
                "then = \"number\"",
                "states.bye: no way leads from here to `enter` or `hang-up`",
            ),
            ("digits = 6", "digits = 17", "states.number: `digits` is out of range, expected 1 to 16"),
            ("tries = 2", "tries = 0", "states.pin: `tries` is out of range, expected 1 to 10"),
            (
                "first = 5",
                "first = 61",
                "states.pin: `first` or `between` is out of range, expected 1 to 60 (seconds)",
            ),
            (
                "2 = \"nummer\"",
                "A = \"nummer\"",
                "states.tongue.menu.A: is no key, expected one of 0-9, * and #",
            ),
            (
                "then = \"hang-up\"",
                "then = \"hang-up\"\nask = \"pin\"",
                "states.bye: expected exactly one of `ask`, `menu` and `then`",
            ),
            ("failed = \"number\"", "", "states.tongue.failed: is missing, expected the name of a state"),
            (
                "say = [\"bye\"]",
                "say = [\"bye\"]\nrecord = \"name\"\nlongest = 5",
                "states.bye: `longest` is out of range, expected 1 to 4 (seconds)",
            ),
            (
                "ask = \"pin\"",
                "ask = \"pin\"\nrecord = \"name\"",
                "states.pin: expected `then` beside `record`, and neither `ask` nor `menu`",
            ),
            (
                "known = \"pin\"",
                "known = \"pins\"",
                "known: there is no state `pins`; expected one of the script's own, `enter` or `hang-up`",
            ),
        ] {
            assert!(SMALL.contains(from), "{from}");
            let told = parse(&SMALL.replace(from, to)).map_err(|e| e.to_string());
            assert_eq!(told, Err(expected.to_owned()), "{to}");
        }
        assert!(matches!(parse("start = 1"), Err(ScriptError::Form(_))));
        assert!(matches!(parse(&SMALL.replace("tries", "trys")), Err(ScriptError::Form(_))));
    }
}
