//! Names as callers said them: listened to in the reception, heard by all when they come and go, and gone when they withhold their name.

use super::{Focus, Leg, Who};
use crate::meeting::Place;
use crate::prompt::{self, Language};
use media::{Level, Words};
use sip_stack::CallId;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;
use vault::{Context, Field};
use zeroize::Zeroizing;

/// Samples in a second, and in what loudness is measured by.
const SECOND: usize = 8_000;
const FRAME: usize = SECOND / 50;
/// This much below the loudest part is no voice any more, dB; nor is what is quieter than that.
const BELOW: f32 = 26.0;
const QUIET: f32 = -50.0;
/// What is kept around the voice.
const AROUND: usize = FRAME * 5;
/// A name is not shorter.
const SHORTEST: usize = FRAME * 7;
/// As loud as the bridge's own prompts, dBov, and no louder than this factor makes it.
const LOUDNESS: f32 = -20.0;
const MOST: f32 = 12.0;
/// Nobody wants to hear who comes and goes among so many.
const CHIMES: usize = 50;
/// Announcements that wait for another to end; of more there is nothing to hear.
const WAITING: usize = 4;
/// Names in a roll call at most.
const ROLL: usize = 20;

/// Where a name as it was said belongs.
pub(super) fn context(subject: u64) -> Context {
    Context { scope: 0, subject, field: Field::SpokenName }
}

/// The name in what a caller said: without the silence around it, as loud as a prompt. `None`: they said nothing.
pub(super) fn name(said: &[i16]) -> Option<Vec<i16>> {
    let levels: Vec<f32> = said.chunks_exact(FRAME).map(|frame| Level::of(frame).0).collect();
    let loudest = levels.iter().copied().fold(f32::MIN, f32::max);
    let is_voice = |level: &f32| *level > (loudest - BELOW).max(QUIET);
    let first = levels.iter().position(is_voice)? * FRAME;
    let last = levels.iter().rposition(is_voice)? * FRAME + FRAME;
    if last - first < SHORTEST {
        return None;
    }
    let voice = Level::of(&said[first..last]).0;
    let factor = 10f32.powf((LOUDNESS - voice) / 20.0).min(MOST);
    let kept = &said[first.saturating_sub(AROUND)..(last + AROUND).min(said.len())];
    // `as` saturates.
    Some(kept.iter().map(|s| (f32::from(*s) * factor) as i16).collect())
}

/// What all of a meeting are to hear, one behind the other.
#[derive(Default)]
pub(super) struct Announcing {
    /// Whose coming or going, and how long it takes to say.
    waiting: VecDeque<(CallId, Words, Duration)>,
    /// When what is said now is over, and whose coming or going it is.
    until: Option<Instant>,
    of: Option<CallId>,
}

impl Announcing {
    /// When the next may be said.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until.filter(|_| !self.waiting.is_empty())
    }

    /// Nothing of somebody's is said that is not being said already.
    fn withhold(&mut self, call: CallId) {
        self.waiting.retain(|(of, ..)| *of != call);
    }
}

impl Focus {
    /// Somebody is in the meeting for the first time: all hear it.
    pub(super) fn comes(&mut self, call: CallId) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        if !leg.through || leg.stance.place() != Place::Main || leg.room != self.room || leg.monitor.is_some()
        {
            return;
        }
        if std::mem::replace(&mut leg.announced, true) {
            return;
        }
        let name = self.legs.get(&call).and_then(|leg| self.opened(leg));
        self.announce(call, name, true);
    }

    /// Somebody who was in it is not any more.
    pub(super) fn goes(&mut self, call: CallId, leg: &Leg) {
        self.announcing.withhold(call);
        if leg.announced && self.ending.is_none() {
            self.announce(call, self.opened(leg), false);
        }
    }

    /// Their name is not said any more.
    pub(super) fn withhold_spoken(&mut self, call: CallId) {
        self.announcing.withhold(call);
        if let Some(leg) = self.legs.get_mut(&call) {
            leg.own.spoken = None;
        }
        // Nor is it said to its end; what waits behind it comes now.
        let now = Instant::now();
        if self.announcing.of == Some(call) && self.announcing.until.is_some_and(|until| until > now) {
            self.announcing.until = Some(now);
            let _ = self.house.engine.announce(self.room, prompt::nothing());
        }
    }

    /// Somebody's name as they said it, if they did.
    fn opened(&self, leg: &Leg) -> Option<Box<[i16]>> {
        leg.own.spoken.as_ref()?.open(self.house.sip.reader().ring(), context(leg.subject)).ok()
    }

    fn announce(&mut self, call: CallId, name: Option<Box<[i16]>>, comes: bool) {
        if self.roster.len() > CHIMES {
            return;
        }
        let Some(name) = name else {
            if self.plan.chimes {
                let chime = if comes { prompt::comes() } else { prompt::goes() };
                self.put(call, chime.into(), prompt::CHIME);
            }
            return;
        };
        let language = self.plan.language;
        let length = prompt::length_of_named(language, comes, name.len());
        self.put(call, prompt::named(language, comes, name), length);
    }

    /// Says something to all, once what is being said is over.
    fn put(&mut self, call: CallId, words: Words, length: Duration) {
        if self.announcing.until.is_some_and(|until| until > Instant::now()) {
            if self.announcing.waiting.len() < WAITING {
                self.announcing.waiting.push_back((call, words, length));
            }
            return;
        }
        (self.announcing.until, self.announcing.of) = (Some(Instant::now() + length), Some(call));
        // A shard that takes nothing now has more to do than to announce.
        let _ = self.house.engine.announce(self.room, words);
    }

    /// The next announcement, once the last is over.
    pub(super) fn announce_next(&mut self) {
        if self.announcing.due().is_some_and(|due| due <= Instant::now())
            && let Some((call, words, length)) = self.announcing.waiting.pop_front()
        {
            self.announcing.until = None;
            self.put(call, words, length);
        }
    }

    /// Somebody hears how many are in the meeting, and the names that were said.
    pub(super) fn roll_call(&mut self, call: CallId, language: Language) {
        let Some(leg) = self.legs.get(&call) else { return };
        let by = Who { id: leg.participant.clone(), role: "guest" };
        let on = self.roster.len();
        let mut spoken: Vec<Zeroizing<Box<[i16]>>> = Vec::new();
        // Who waits does not hear yet who is in.
        if !leg.stance.waits() {
            let opened = self.legs.values().filter_map(|leg| self.opened(leg));
            spoken.extend(opened.take(ROLL).map(Zeroizing::new));
        }
        // Room for all at once: what grows leaves copies behind.
        let mut names: Vec<i16> = Vec::with_capacity(spoken.iter().map(|name| name.len()).sum());
        spoken.iter().for_each(|name| names.extend_from_slice(name));
        let nobody = names.is_empty();
        let words = prompt::roll_call(language, on, names.into_boxed_slice());
        // What the audit does not take is not told.
        if nobody || self.record(&by, "roll-call", None).is_err() {
            return self.say(call, prompt::people(language, on));
        }
        self.say(call, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone between silences, each in samples.
    fn said(before: usize, tone: usize, after: usize, loud: f32) -> Vec<i16> {
        let tone = (0..tone).map(|n| ((n as f32 * 0.4).sin() * loud) as i16);
        let noise = |n: usize| std::iter::repeat_n([3, -3], n / 2).flatten();
        noise(before).chain(tone).chain(noise(after)).collect()
    }

    #[test]
    fn the_silence_around_a_name_is_cut_and_it_is_as_loud_as_a_prompt() {
        for loud in [500.0, 3000.0, 30_000.0] {
            let name = name(&said(SECOND, SECOND, SECOND, loud)).unwrap();
            assert_eq!(name.len(), SECOND + 2 * AROUND, "{loud}");
            let level = Level::of(&name[AROUND..AROUND + SECOND]).0;
            assert!((LOUDNESS - 0.5..LOUDNESS + 0.5).contains(&level) || loud < 600.0, "{loud}: {level}");
        }
    }

    #[test]
    fn who_says_nothing_has_no_name() {
        for said in [vec![], said(SECOND, 0, 0, 0.0), said(SECOND, FRAME, SECOND, 9000.0), vec![0; 40_000]] {
            assert_eq!(name(&said), None);
        }
    }
}
