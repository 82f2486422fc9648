//! How often PINs may be guessed, over all calls. What is counted is wrong PINs alone; time is an argument.
//!
//! A caller whose number the carrier vouches for has tries of their own: three, and then one a day. So nobody who guesses keeps them out.
//! All others share their conference's and their trunk's tries: some at once, and then a few an hour. A PIN of six digits takes somebody
//! with a hundred vouched numbers, or with any number of others, more than ten years to find (half of a million tries, at 100 a day or 4 an hour).

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};
use vault::Index;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A number of tries that comes back with time.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// So many at once.
    burst: u32,
    /// One comes back in this time.
    every: Duration,
}

/// Of a caller whom their carrier vouches for.
const CALLER: Allowance = Allowance { burst: 3, every: DAY };
/// Of a conference's other callers.
const CONFERENCE: Allowance = Allowance { burst: 20, every: Duration::from_secs(15 * 60) };
/// Of a trunk's other callers, over all conferences.
const TRUNK: Allowance = Allowance { burst: 60, every: Duration::from_secs(5 * 60) };
/// Wrong PINs of a conference within an hour at which its hosts are told: not those of one clumsy caller.
const ALARM: u32 = 10;

/// Callers and conferences that are remembered at most; who guesses with more numbers than that makes the longest-forgiven be forgotten.
const MOST: usize = 100_000;

/// What is left of an [`Allowance`], as the time at which all of it is back.
type Debts<K> = HashMap<K, Instant>;

/// Whose PIN somebody tries, and who they are.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    /// The conference.
    pub conference: &'a str,
    /// The trunk by which they come.
    pub trunk: &'a str,
    /// The caller's number, where their carrier vouches for it.
    pub caller: Option<Index>,
}

/// Whether somebody may try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// They may.
    Yes,
    /// Not before so long.
    Not(Duration),
}

/// Wrong PINs lately.
#[derive(Debug, Default)]
pub struct Guesses {
    callers: Debts<Index>,
    conferences: Debts<String>,
    trunks: Debts<String>,
    /// Of each conference: since when, how many, and whether its hosts were told.
    wrong: HashMap<String, (Instant, u32, bool)>,
}

impl Allowance {
    /// How long until another try is left; `None`: one is.
    fn wait<K: Hash + Eq>(&self, debts: &Debts<K>, of: &K, now: Instant) -> Option<Duration> {
        let debt = debts.get(of).map_or(Duration::ZERO, |all| all.saturating_duration_since(now));
        let most = self.every * (self.burst - 1);
        (debt > most).then(|| debt - most)
    }

    /// One was used.
    fn take<K: Hash + Eq>(&self, debts: &mut Debts<K>, of: K, now: Instant) {
        let debt = debts.get(&of).map_or(now, |all| (*all).max(now));
        debts.insert(of, debt + self.every);
        if debts.len() > MOST {
            debts.retain(|_, all| *all > now);
        }
        if debts.len() > MOST {
            // Those who owe the least have the least to lose; half of them go, so that this is seldom done.
            let mut all: Vec<Instant> = debts.values().copied().collect();
            let (_, middle, _) = all.select_nth_unstable(MOST / 2);
            let middle = *middle;
            debts.retain(|_, all| *all > middle);
        }
    }
}

impl Guesses {
    /// Whether this try may be made.
    pub fn may(&self, of: Try<'_>, now: Instant) -> Allowed {
        let wait = match of.caller {
            Some(caller) => CALLER.wait(&self.callers, &caller, now),
            None => {
                let conference = CONFERENCE.wait(&self.conferences, &of.conference.to_owned(), now);
                let trunk = TRUNK.wait(&self.trunks, &of.trunk.to_owned(), now);
                conference.max(trunk)
            }
        };
        wait.map_or(Allowed::Yes, Allowed::Not)
    }

    /// This try was wrong. True: the conference's hosts should be told that somebody guesses.
    pub fn wrong(&mut self, of: Try<'_>, now: Instant) -> bool {
        match of.caller {
            Some(caller) => CALLER.take(&mut self.callers, caller, now),
            None => {
                CONFERENCE.take(&mut self.conferences, of.conference.to_owned(), now);
                TRUNK.take(&mut self.trunks, of.trunk.to_owned(), now);
            }
        }
        // Only conferences that there are come here: there are no more of them than the house has.
        let (since, count, told) = self.wrong.entry(of.conference.to_owned()).or_insert((now, 0, false));
        if now.saturating_duration_since(*since) >= HOUR {
            (*since, *count, *told) = (now, 0, false);
        }
        *count += 1;
        let tell = *count >= ALARM && !*told;
        *told |= tell;
        tell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(n: u64) -> Index {
        thread_local! {
            static KEY: vault::IndexKey =
                vault::Vault::open(vault::Policy::AllowWeaker).unwrap().index_key().unwrap();
        }
        KEY.with(|key| key.token(&n.to_be_bytes()))
    }

    fn of(caller: Option<Index>) -> Try<'static> {
        Try { conference: "board", trunk: "carrier", caller }
    }

    /// Wrong tries that somebody can make in so long, if they try whenever they may.
    fn tries(guesses: &mut Guesses, callers: &[Option<Index>], long: Duration) -> u64 {
        let begun = Instant::now();
        let mut made = 0;
        for caller in callers {
            let mut now = begun;
            while now < begun + long {
                match guesses.may(of(*caller), now) {
                    Allowed::Yes => {
                        guesses.wrong(of(*caller), now);
                        made += 1;
                    }
                    Allowed::Not(wait) => now += wait,
                }
            }
        }
        made
    }

    #[test]
    fn a_pin_of_six_digits_takes_more_than_ten_years_to_find() {
        // On average half of a million must be tried.
        let (year, needed) = (365 * DAY, 500_000);
        assert!(tries(&mut Guesses::default(), &[None], 10 * year) < needed);
        let hundred: Vec<_> = (0..100).map(|n| Some(index(n))).collect();
        assert!(tries(&mut Guesses::default(), &hundred, 10 * year) < needed);
    }

    #[test]
    fn who_guesses_keeps_nobody_out_whom_a_carrier_vouches_for() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        while guesses.may(of(None), now) == Allowed::Yes {
            guesses.wrong(of(None), now);
        }
        assert!(matches!(guesses.may(of(None), now), Allowed::Not(wait) if wait <= CONFERENCE.every));
        assert_eq!(guesses.may(of(Some(index(1))), now), Allowed::Yes);
        let elsewhere = Try { conference: "sales", ..of(None) };
        assert_eq!(guesses.may(elsewhere, now), Allowed::Yes, "another conference's callers have their own");
    }

    #[test]
    fn a_caller_has_three_tries_and_then_one_a_day() {
        let (mut guesses, now, me) = (Guesses::default(), Instant::now(), of(Some(index(1))));
        for _ in 0..3 {
            assert_eq!(guesses.may(me, now), Allowed::Yes);
            guesses.wrong(me, now);
        }
        assert_eq!(guesses.may(me, now), Allowed::Not(DAY));
        assert_eq!(guesses.may(of(Some(index(2))), now), Allowed::Yes);
        assert_eq!(guesses.may(me, now + DAY), Allowed::Yes);
        guesses.wrong(me, now + DAY);
        assert_eq!(guesses.may(me, now + DAY), Allowed::Not(DAY));
        assert_eq!(guesses.may(me, now + 4 * DAY), Allowed::Yes);
    }

    #[test]
    fn a_trunk_by_which_many_conferences_are_tried_is_slowed_down() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let mut made = 0;
        for n in 0..100 {
            let conference = format!("c{n}");
            let one = Try { conference: &conference, ..of(None) };
            if guesses.may(one, now) == Allowed::Yes {
                guesses.wrong(one, now);
                made += 1;
            }
        }
        assert_eq!(made, TRUNK.burst);
        let other = Try { trunk: "other", conference: "c99", caller: None };
        assert_eq!(guesses.may(other, now), Allowed::Yes);
    }

    #[test]
    fn hosts_are_told_once_an_hour() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let told = |guesses: &mut Guesses, at| (0..15).filter(|_| guesses.wrong(of(None), at)).count();
        assert_eq!(told(&mut guesses, now), 1);
        assert_eq!(told(&mut guesses, now + HOUR / 2), 0);
        assert_eq!(told(&mut guesses, now + HOUR), 1);
    }

    #[test]
    fn memory_is_bounded_and_those_who_owe_most_are_remembered() {
        let (mut debts, now) = (Debts::new(), Instant::now());
        for _ in 0..5 {
            CALLER.take(&mut debts, u64::MAX, now);
        }
        for n in 0..MOST as u64 + 10 {
            CALLER.take(&mut debts, n, now + Duration::from_nanos(n));
        }
        assert!(debts.len() <= MOST);
        assert!(CALLER.wait(&debts, &u64::MAX, now).is_some());
    }
}
