//! Who may ask for what, and how much: digest authentication (RFC 7616, RFC 8760) with its nonces and lock-outs, and each trunk's limits.

use crate::message::TrunkId;
use crate::message::facts::{Auth, AuthAnswer};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A nonce is good for this long.
const NONCE: Duration = Duration::from_secs(300);
/// Nonces in use that are remembered: how often each was used.
const NONCES: usize = 16_384;
/// Wrong answers of a source, within [`WITHIN`], after which it is locked out for as long.
const WRONG: u32 = 10;
const WITHIN: Duration = Duration::from_secs(60);
/// Sources that are remembered for wrong answers.
const SOURCES: usize = 4_096;

/// Bounds on one trunk's calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrunkLimits {
    /// Calls at once.
    pub calls: Option<usize>,
    /// New calls a second, on average.
    pub rate: Option<u32>,
    /// New calls at once before the rate counts; at least one.
    pub burst: u32,
}

#[derive(Debug, Default)]
struct Trunk {
    limits: TrunkLimits,
    calls: usize,
    /// Thousandths of calls that may begin now.
    tokens: u64,
    filled: Option<Instant>,
}

impl Trunk {
    /// Whether a call may begin; it is counted against the rate.
    fn admits(&mut self, now: Instant) -> bool {
        if self.limits.calls.is_some_and(|most| self.calls >= most) {
            return false;
        }
        let Some(rate) = self.limits.rate else { return true };
        let most = u64::from(self.limits.burst.max(1)) * 1000;
        let since = self.filled.replace(now).map(|at| now.saturating_duration_since(at));
        // A call in thousandths, times a rate in calls a second: microseconds a thousandth.
        self.tokens = match since {
            None => most,
            Some(since) => {
                let more = since.as_micros() as u64 * u64::from(rate) / 1000;
                // What is too little to count is kept for the next time.
                if more == 0 {
                    self.filled = self.filled.map(|at| at - since);
                }
                (self.tokens + more).min(most)
            }
        };
        let admitted = self.tokens >= 1000;
        self.tokens -= if admitted { 1000 } else { 0 };
        admitted
    }
}

/// How often a nonce was used: the highest count, and which of the 64 below it (RFC 7616 §3.4: `nc`).
#[derive(Debug, Clone, Copy)]
struct Used {
    highest: u32,
    below: u64,
}

impl Used {
    /// Notes a use. False: that count was used before, or is too old to know.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let by = count - self.highest;
            self.below = if by > 64 { 0 } else { (self.below << 1 | 1) << (by - 1) };
            self.highest = count;
            return true;
        }
        let back = self.highest - count;
        if back == 0 || back > 64 || self.below >> (back - 1) & 1 == 1 {
            return false;
        }
        self.below |= 1 << (back - 1);
        true
    }
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    since: Instant,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is taken.
    Taken,
    /// It is challenged, with this nonce; the last one was only too old.
    Challenge(u128, bool),
    /// Its source was wrong too often: silence.
    LockedOut,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Guard {
    trunks: Vec<Trunk>,
    /// Nonces by when they were made.
    nonces: HashMap<u128, (Instant, Used)>,
    order: VecDeque<u128>,
    wrong: HashMap<IpAddr, Wrong>,
}

impl Guard {
    pub(super) fn limit_trunks(&mut self, limits: &[TrunkLimits]) {
        self.trunks.resize_with(limits.len(), Trunk::default);
        for (trunk, limits) in self.trunks.iter_mut().zip(limits) {
            trunk.limits = *limits;
        }
    }

    pub(super) fn calls_of(&self, trunk: TrunkId) -> usize {
        self.trunks.get(usize::from(trunk.0)).map_or(0, |t| t.calls)
    }

    /// Whether a trunk may begin a call now.
    pub(super) fn admits(&mut self, now: Instant, trunk: TrunkId) -> bool {
        self.trunks.get_mut(usize::from(trunk.0)).is_none_or(|t| t.admits(now))
    }

    pub(super) fn began(&mut self, trunk: TrunkId) {
        if let Some(trunk) = self.trunks.get_mut(usize::from(trunk.0)) {
            trunk.calls += 1;
        }
    }

    pub(super) fn ended(&mut self, trunk: TrunkId) {
        if let Some(trunk) = self.trunks.get_mut(usize::from(trunk.0)) {
            trunk.calls -= 1;
        }
    }

    /// Judges what a request proves.
    pub(super) fn judge(&mut self, now: Instant, source: IpAddr, auth: Auth) -> Verdict {
        if auth == Auth::NotRequired {
            return Verdict::Taken;
        }
        if self.is_locked_out(now, source) {
            return Verdict::LockedOut;
        }
        let answer = match auth {
            Auth::Answered(answer) => answer,
            Auth::Missing | Auth::NotRequired => return Verdict::Challenge(self.nonce(now), false),
        };
        match self.use_nonce(now, answer) {
            // Somebody who knows the password may go on with a fresh nonce; nobody else learns whether they do.
            Err(()) => Verdict::Challenge(self.nonce(now), answer.right),
            Ok(()) if answer.right => {
                self.wrong.remove(&source);
                Verdict::Taken
            }
            Ok(()) => {
                self.note_wrong(now, source);
                Verdict::Challenge(self.nonce(now), false)
            }
        }
    }

    /// A fresh nonce. When there are too many, the oldest goes.
    fn nonce(&mut self, now: Instant) -> u128 {
        while self.order.len() >= NONCES || self.oldest_is_over(now) {
            if let Some(oldest) = self.order.pop_front() {
                self.nonces.remove(&oldest);
            }
        }
        let nonce = rand::random();
        self.nonces.insert(nonce, (now, Used { highest: 0, below: 0 }));
        self.order.push_back(nonce);
        nonce
    }

    fn oldest_is_over(&self, now: Instant) -> bool {
        let made = self.order.front().and_then(|n| self.nonces.get(n)).map(|(made, _)| *made);
        made.is_some_and(|made| now.saturating_duration_since(made) > NONCE)
    }

    /// Notes that a nonce is used. An error: it is none of ours, too old, or used with this count before.
    fn use_nonce(&mut self, now: Instant, answer: AuthAnswer) -> Result<(), ()> {
        let (made, used) = self.nonces.get_mut(&answer.nonce).ok_or(())?;
        if now.saturating_duration_since(*made) > NONCE {
            return Err(());
        }
        // A peer that does not count may use it once.
        let fresh = match answer.count {
            0 => std::mem::replace(&mut used.highest, u32::MAX) == 0,
            count => used.take(count),
        };
        fresh.then_some(()).ok_or(())
    }

    fn is_locked_out(&mut self, now: Instant, source: IpAddr) -> bool {
        let Some(wrong) = self.wrong.get(&source) else { return false };
        if now.saturating_duration_since(wrong.since) > WITHIN {
            self.wrong.remove(&source);
            return false;
        }
        wrong.count >= WRONG
    }

    fn note_wrong(&mut self, now: Instant, source: IpAddr) {
        if self.wrong.len() >= SOURCES && !self.wrong.contains_key(&source) {
            let over = |w: &Wrong| now.saturating_duration_since(w.since) > WITHIN;
            self.wrong.retain(|_, w| !over(w));
            if self.wrong.len() >= SOURCES
                && let Some(least) =
                    self.wrong.iter().min_by_key(|(_, w)| (w.count, w.since)).map(|(ip, _)| *ip)
            {
                self.wrong.remove(&least);
            }
        }
        let wrong = self.wrong.entry(source).or_insert(Wrong { count: 0, since: now });
        wrong.count += 1;
        if wrong.count == WRONG {
            // From here on the lock-out lasts.
            wrong.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn answered(nonce: u128, count: u32, right: bool) -> Auth {
        Auth::Answered(AuthAnswer { nonce, count, right })
    }

    fn nonce_of(verdict: Verdict) -> u128 {
        let Verdict::Challenge(nonce, _) = verdict else { panic!("{verdict:?}") };
        nonce
    }

    #[test]
    fn a_right_answer_is_taken_once_for_each_count_in_any_near_order() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        let nonce = nonce_of(guard.judge(now, SOURCE, Auth::Missing));
        for count in [1, 3, 2, 70, 60] {
            assert_eq!(guard.judge(now, SOURCE, answered(nonce, count, true)), Verdict::Taken, "{count}");
        }
        for count in [1, 2, 3, 70, 60, 5] {
            let verdict = guard.judge(now, SOURCE, answered(nonce, count, true));
            assert!(matches!(verdict, Verdict::Challenge(n, true) if n != nonce), "{count} is a replay");
        }
        assert_eq!(guard.judge(now, SOURCE, answered(nonce, 7, true)), Verdict::Taken, "not used yet");
    }

    #[test]
    fn a_peer_that_does_not_count_may_use_a_nonce_once() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        let nonce = nonce_of(guard.judge(now, SOURCE, Auth::Missing));
        assert_eq!(guard.judge(now, SOURCE, answered(nonce, 0, true)), Verdict::Taken);
        assert!(matches!(guard.judge(now, SOURCE, answered(nonce, 0, true)), Verdict::Challenge(_, true)));
    }

    #[test]
    fn an_old_nonce_is_stale_for_who_knows_the_password_and_nobody_else_is_told() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        let nonce = nonce_of(guard.judge(now, SOURCE, Auth::Missing));
        let later = now + NONCE + Duration::from_secs(1);
        assert!(matches!(guard.judge(later, SOURCE, answered(nonce, 1, true)), Verdict::Challenge(_, true)));
        assert!(matches!(guard.judge(later, SOURCE, answered(77, 1, true)), Verdict::Challenge(_, true)));
        assert!(matches!(guard.judge(later, SOURCE, answered(78, 1, false)), Verdict::Challenge(_, false)));
    }

    #[test]
    fn guessing_passwords_is_met_with_silence_until_it_stops() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        let mut nonce = nonce_of(guard.judge(now, SOURCE, Auth::Missing));
        for _ in 0..WRONG {
            nonce = nonce_of(guard.judge(now, SOURCE, answered(nonce, 1, false)));
        }
        assert_eq!(
            guard.judge(now, SOURCE, answered(nonce, 1, true)),
            Verdict::LockedOut,
            "the right one too"
        );
        let other = IpAddr::from([192, 0, 2, 2]);
        assert!(matches!(guard.judge(now, other, Auth::Missing), Verdict::Challenge(..)), "others are not");
        let later = now + WITHIN + Duration::from_secs(1);
        assert_eq!(guard.judge(later, SOURCE, answered(nonce, 1, true)), Verdict::Taken);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        for n in 0..(2 * NONCES as u32) {
            let source = IpAddr::from(n.to_be_bytes());
            let nonce = nonce_of(guard.judge(now, source, Auth::Missing));
            guard.judge(now, source, answered(nonce, 1, false));
        }
        assert!(guard.nonces.len() <= NONCES && guard.order.len() <= NONCES && guard.wrong.len() <= SOURCES);
    }

    #[test]
    fn a_trunk_begins_no_more_calls_than_its_rate_and_burst_allow() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        guard.limit_trunks(&[TrunkLimits { calls: None, rate: Some(10), burst: 5 }, TrunkLimits::default()]);
        let begun = |guard: &mut Guard, at| (0..100).filter(|_| guard.admits(at, TrunkId(0))).count();
        assert_eq!(begun(&mut guard, now), 5);
        assert_eq!(begun(&mut guard, now + Duration::from_millis(100)), 1);
        assert_eq!(begun(&mut guard, now + Duration::from_secs(60)), 5);
        // Asked often, it comes to the same.
        let start = now + Duration::from_secs(100);
        let often = (0..20_000).filter(|n| guard.admits(start + Duration::from_micros(100 * n), TrunkId(0)));
        assert_eq!(often.count(), 5 + 19);
        assert_eq!((0..100).filter(|_| guard.admits(now, TrunkId(1))).count(), 100, "no limit");
    }

    #[test]
    fn a_trunk_has_no_more_calls_than_its_limit() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        guard.limit_trunks(&[TrunkLimits { calls: Some(2), rate: None, burst: 0 }]);
        for _ in 0..2 {
            assert!(guard.admits(now, TrunkId(0)));
            guard.began(TrunkId(0));
        }
        assert!(!guard.admits(now, TrunkId(0)));
        guard.ended(TrunkId(0));
        assert!(guard.admits(now, TrunkId(0)) && guard.calls_of(TrunkId(0)) == 1);
    }
}
