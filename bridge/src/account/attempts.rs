//! How often it may be tried to sign in: by account, and by where it is tried from. Whether there is such an account makes no difference.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong tries after which one waits, of one account and from one address.
const FREE: (u32, u32) = (5, 30);
/// The first wait; each further wrong try doubles it.
const WAIT: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(3600);
/// So long without a wrong try, and all are forgotten.
const FORGET: Duration = Duration::from_secs(2 * 3600);
/// Accounts and addresses that are kept at most. Beyond that, the one that is forgotten first makes room.
const MOST: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Tries {
    wrong: u32,
    last: Instant,
}

#[derive(Debug)]
struct Table<K> {
    free: u32,
    tries: HashMap<K, Tries>,
}

impl<K: Hash + Eq + Copy> Table<K> {
    fn new(free: u32) -> Self {
        Self { free, tries: HashMap::new() }
    }

    fn waits(&self, of: K, now: Instant) -> Duration {
        let Some(tries) = self.tries.get(&of) else { return Duration::ZERO };
        let over = tries.wrong.saturating_sub(self.free);
        if over == 0 {
            return Duration::ZERO;
        }
        let wait = WAIT.saturating_mul(1 << (over - 1).min(16)).min(LONGEST);
        wait.saturating_sub(now.saturating_duration_since(tries.last))
    }

    fn wrong(&mut self, of: K, now: Instant) {
        if self.tries.len() >= MOST && !self.tries.contains_key(&of) {
            self.tries.retain(|_, t| now.saturating_duration_since(t.last) < FORGET);
            if self.tries.len() >= MOST
                && let Some(oldest) = self.tries.iter().min_by_key(|(_, t)| t.last).map(|(of, _)| *of)
            {
                self.tries.remove(&oldest);
            }
        }
        let tries = self.tries.entry(of).or_insert(Tries { wrong: 0, last: now });
        if now.saturating_duration_since(tries.last) >= FORGET {
            tries.wrong = 0;
        }
        *tries = Tries { wrong: tries.wrong.saturating_add(1), last: now };
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Attempts {
    accounts: Table<[u8; 32]>,
    addresses: Table<IpAddr>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { accounts: Table::new(FREE.0), addresses: Table::new(FREE.1) }
    }
}

impl Attempts {
    /// Counts a try as wrong until [`Self::right`] says that it was right.
    ///
    /// # Errors
    /// How long is to be waited: then nothing is counted.
    pub(super) fn begin(&mut self, account: [u8; 32], from: IpAddr, now: Instant) -> Result<(), Duration> {
        let wait = self.accounts.waits(account, now).max(self.addresses.waits(from, now));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.accounts.wrong(account, now);
        self.addresses.wrong(from, now);
        Ok(())
    }

    /// The try was right: what was wrong of this account before is forgotten.
    pub(super) fn right(&mut self, account: [u8; 32], from: IpAddr) {
        self.accounts.tries.remove(&account);
        if let Some(tries) = self.addresses.tries.get_mut(&from) {
            tries.wrong = tries.wrong.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0xC000_0200 + n))
    }

    #[test]
    fn an_account_waits_longer_with_each_wrong_try_wherever_they_come_from() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        for n in 0..FREE.0 {
            assert_eq!(attempts.begin([1; 32], address(n), now), Ok(()));
        }
        // The fifth was the last for nothing.
        assert_eq!(attempts.begin([1; 32], address(99), now), Ok(()));
        for wait in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert_eq!(attempts.begin([1; 32], address(100), now), Err(Duration::from_secs(wait)));
            assert_eq!(attempts.begin([2; 32], address(100), now), Ok(()), "of others nobody waits");
            attempts.right([2; 32], address(100));
            now += Duration::from_secs(wait);
            assert_eq!(attempts.begin([1; 32], address(wait as u32), now), Ok(()));
        }
        attempts.right([1; 32], HOME);
        assert_eq!(attempts.begin([1; 32], HOME, now), Ok(()));
    }

    #[test]
    fn an_address_waits_whatever_accounts_it_tries_and_a_right_try_costs_nothing() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..200u8 {
            assert_eq!(attempts.begin([n; 32], HOME, now), Ok(()));
            attempts.right([n; 32], HOME);
        }
        for n in 0..=FREE.1 as u8 {
            assert_eq!(attempts.begin([n; 32], HOME, now), Ok(()), "{n}");
        }
        assert_eq!(attempts.begin([255; 32], HOME, now), Err(WAIT));
        assert_eq!(attempts.begin([255; 32], HOME, now + FORGET), Ok(()));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..MOST as u32 + 500 {
            let mut account = [0; 32];
            account[..4].copy_from_slice(&n.to_be_bytes());
            let _ = attempts.begin(account, address(n), now + Duration::from_millis(n.into()));
        }
        assert_eq!((attempts.accounts.tries.len(), attempts.addresses.tries.len()), (MOST, MOST));
    }
}
