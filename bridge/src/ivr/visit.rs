//! One caller's way through a script: keys and time go in, what is to be said, checked or done comes out.

use super::script::{Ask, Part, Place, Script, State};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// Keys that are kept at most.
pub const LONGEST: usize = 16;
/// A check that nobody answers has failed after so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who pauses for so long has said their name.
const PAUSE: Duration = Duration::from_millis(700);

/// Digits that somebody has entered. They may be a PIN: they are overwritten when they go, and nothing shows them.
#[derive(Clone, Default)]
pub struct Entered {
    digits: [u8; LONGEST],
    count: usize,
}

impl Entered {
    /// What was entered, in ASCII.
    pub fn digits(&self) -> &[u8] {
        &self.digits[..self.count]
    }

    fn push(&mut self, key: char) {
        if let (Some(place), Ok(key)) = (self.digits.get_mut(self.count), u8::try_from(key)) {
            *place = key;
            self.count += 1;
        }
    }

    fn take_first(&mut self) -> Option<char> {
        let first = *self.digits().first()?;
        self.digits.copy_within(1.., 0);
        self.count -= 1;
        self.digits[self.count..].fill(0);
        Some(char::from(first))
    }

    fn clear(&mut self) {
        self.digits.zeroize();
        self.count = 0;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.clear();
    }
}

impl std::fmt::Debug for Entered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entered(..)")
    }
}

/// What happens to a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A key was pressed: `0-9`, `*`, `#`.
    Key(char),
    /// The time of [`Visit::until`] has come.
    Time,
    /// What became of the check.
    Verdict(Verdict),
    /// The caller's voice begins or ends.
    Voice(bool),
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Right,
    /// It is right, and nothing more need be asked for.
    Open,
    /// It is wrong; there may be another try.
    Wrong,
    /// There will be no other try in this call.
    Refused,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Say this, in place of what is being said.
    Say(Arc<[Part]>),
    /// Say nothing more: the caller has heard enough.
    Hush,
    /// Go on in this language, by its place in the script.
    Speak(usize),
    /// Listen to what the caller says from now on.
    Listen,
    /// They have said it, or nothing.
    Listened,
    /// Find out whether this is right, and tell by [`Input::Verdict`].
    Check(Ask, Entered),
    /// The caller enters the meeting.
    Enter,
    /// The call ends.
    HangUp,
}

/// One caller in a script.
#[derive(Debug)]
pub struct Visit {
    script: Arc<Script>,
    at: Place,
    tries: usize,
    entered: Entered,
    /// Keys that came while something was being checked.
    ahead: Entered,
    checking: bool,
    until: Option<Instant>,
    /// What is being said lasts until then.
    said: Instant,
    /// Whether their meeting wants to hear their name.
    names: bool,
    /// They are listened to; since when they have been speaking.
    listening: Option<Option<Instant>>,
    speaks: bool,
}

impl Visit {
    /// Begins in a state; `length` tells how long it takes to say something. What is to be done goes to `out`.
    pub fn begin(
        script: Arc<Script>,
        at: Place,
        now: Instant,
        length: impl Fn(&[Part]) -> Duration,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut visit = Self {
            script,
            at,
            tries: 0,
            entered: Entered::default(),
            ahead: Entered::default(),
            checking: false,
            until: None,
            said: now,
            names: false,
            listening: None,
            speaks: false,
        };
        visit.go(at, now, &length, out);
        visit
    }

    /// When it wants to be told [`Input::Time`]; `None`: it is over.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether the meeting that they want, known by now, wants to hear their name.
    pub fn set_names(&mut self, names: bool) {
        self.names = names;
    }

    /// Takes what happens.
    pub fn on(
        &mut self,
        input: Input,
        now: Instant,
        length: impl Fn(&[Part]) -> Duration,
        out: &mut Vec<Output>,
    ) {
        if self.until.is_none() {
            return;
        }
        match input {
            Input::Key(key) => self.key(key, now, &length, out),
            Input::Time if self.until.is_some_and(|until| now >= until) => self.time(now, &length, out),
            Input::Time => {}
            Input::Verdict(verdict) if self.checking => {
                self.verdict(verdict, now, &length, out);
                while !self.checking && self.until.is_some() {
                    let Some(key) = self.ahead.take_first() else { break };
                    self.key(key, now, &length, out);
                }
            }
            // Of a check that was given up.
            Input::Verdict(_) => {}
            Input::Voice(speaks) => self.voice(speaks, now),
        }
    }

    fn key(&mut self, key: char, now: Instant, length: &impl Fn(&[Part]) -> Duration, out: &mut Vec<Output>) {
        if self.checking {
            return self.ahead.push(key);
        }
        let script = self.script.clone();
        match script.state(self.at) {
            State::Tell { then, .. } if !matches!(script.state(*then), State::Enter | State::HangUp) => {
                // Who knows what comes presses on.
                self.go(*then, now, length, out);
                self.key(key, now, length, out);
            }
            // What leads out of the script is heard to its end.
            State::Tell { .. } | State::Enter | State::HangUp => {}
            // They have said it, or do not want to.
            State::Record { then, .. } if key == '#' => {
                self.hush(now, out);
                self.heard_out(*then, now, length, out);
            }
            State::Record { .. } => {}
            State::Menu { keys, .. } => match keys.iter().find(|(k, _)| *k == key) {
                Some((_, next)) => {
                    self.hush(now, out);
                    self.go(*next, now, length, out);
                }
                None => self.again(now, length, out),
            },
            State::Ask { ask, digits, between, .. } => {
                self.hush(now, out);
                match key {
                    '#' if self.entered.count > 0 => self.check(*ask, now, out),
                    '#' => {}
                    // They begin anew.
                    '*' => self.entered.clear(),
                    _ => self.entered.push(key),
                }
                if self.entered.count == *digits {
                    self.check(*ask, now, out);
                } else if !self.checking {
                    self.until = Some(now + *between);
                }
            }
        }
    }

    fn time(&mut self, now: Instant, length: &impl Fn(&[Part]) -> Duration, out: &mut Vec<Output>) {
        if self.checking {
            return self.verdict(Verdict::Refused, now, length, out);
        }
        let script = self.script.clone();
        match script.state(self.at) {
            State::Tell { then, .. } => self.go(*then, now, length, out),
            State::Record { first, .. } if self.listening.is_none() => {
                self.listening = Some(None);
                self.until = Some(now + *first);
                out.push(Output::Listen);
                if self.speaks {
                    // They did not wait for the tone.
                    self.voice(true, now);
                }
            }
            State::Record { then, .. } => self.heard_out(*then, now, length, out),
            State::Enter | State::HangUp => self.until = None,
            State::Menu { .. } => self.again(now, length, out),
            State::Ask { ask, .. } if self.entered.count > 0 => self.check(*ask, now, out),
            State::Ask { silent, .. } => self.retry(silent, now, length, out),
        }
    }

    /// The caller's voice begins or ends while they are listened to.
    fn voice(&mut self, speaks: bool, now: Instant) {
        self.speaks = speaks;
        let script = self.script.clone();
        let (State::Record { longest, .. }, Some(since)) = (script.state(self.at), &mut self.listening)
        else {
            return;
        };
        let end = match (speaks, *since) {
            (true, _) => *since.get_or_insert(now) + *longest,
            (false, Some(since)) => (now + PAUSE).min(since + *longest),
            (false, None) => return,
        };
        self.until = Some(end);
    }

    fn heard_out(
        &mut self,
        then: Place,
        now: Instant,
        length: &impl Fn(&[Part]) -> Duration,
        out: &mut Vec<Output>,
    ) {
        if self.listening.take().is_some() {
            out.push(Output::Listened);
        }
        self.go(then, now, length, out);
    }

    fn verdict(
        &mut self,
        verdict: Verdict,
        now: Instant,
        length: &impl Fn(&[Part]) -> Duration,
        out: &mut Vec<Output>,
    ) {
        self.checking = false;
        let script = self.script.clone();
        if let State::Ask { again, right, open, failed, .. } = script.state(self.at) {
            match verdict {
                Verdict::Right => self.go(*right, now, length, out),
                Verdict::Open => self.go(*open, now, length, out),
                Verdict::Wrong => self.retry(again, now, length, out),
                Verdict::Refused => self.go(*failed, now, length, out),
            }
        }
    }

    fn check(&mut self, ask: Ask, now: Instant, out: &mut Vec<Output>) {
        self.checking = true;
        self.until = Some(now + PATIENCE);
        out.push(Output::Check(ask, std::mem::take(&mut self.entered)));
    }

    fn again(&mut self, now: Instant, length: &impl Fn(&[Part]) -> Duration, out: &mut Vec<Output>) {
        let script = self.script.clone();
        if let State::Menu { say, .. } = script.state(self.at) {
            self.retry(say, now, length, out);
        }
    }

    /// One try less; without one left the script goes on where it says.
    fn retry(
        &mut self,
        say: &Arc<[Part]>,
        now: Instant,
        length: &impl Fn(&[Part]) -> Duration,
        out: &mut Vec<Output>,
    ) {
        let script = self.script.clone();
        let (State::Ask { tries, failed, first, .. } | State::Menu { tries, failed, first, .. }) =
            script.state(self.at)
        else {
            return;
        };
        self.tries += 1;
        self.entered.clear();
        if self.tries >= *tries {
            return self.go(*failed, now, length, out);
        }
        self.say(say, now, length, out);
        self.until = Some(self.said + *first);
    }

    fn go(&mut self, to: Place, now: Instant, length: &impl Fn(&[Part]) -> Duration, out: &mut Vec<Output>) {
        self.at = to;
        self.tries = 0;
        self.entered.clear();
        let script = self.script.clone();
        if let Some(language) = script.language(to) {
            out.push(Output::Speak(language));
        }
        match script.state(to) {
            State::Tell { say, .. } => {
                self.say(say, now, length, out);
                self.until = Some(self.said);
            }
            State::Ask { say, first, .. } | State::Menu { say, first, .. } => {
                self.say(say, now, length, out);
                self.until = Some(self.said + *first);
            }
            State::Record { then, .. } if !self.names => self.go(*then, now, length, out),
            State::Record { say, .. } => {
                self.say(say, now, length, out);
                self.until = Some(self.said);
            }
            State::Enter => {
                self.until = None;
                out.push(Output::Enter);
            }
            State::HangUp => {
                self.until = None;
                out.push(Output::HangUp);
            }
        }
    }

    fn say(
        &mut self,
        say: &Arc<[Part]>,
        now: Instant,
        length: &impl Fn(&[Part]) -> Duration,
        out: &mut Vec<Output>,
    ) {
        self.said = now + length(say);
        out.push(Output::Say(say.clone()));
    }

    /// What is being said need not be heard to its end.
    fn hush(&mut self, now: Instant, out: &mut Vec<Output>) {
        if now < self.said {
            self.said = now;
            out.push(Output::Hush);
        }
    }
}

#[cfg(test)]
mod tests;
