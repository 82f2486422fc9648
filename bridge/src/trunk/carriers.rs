//! Carriers that are called: their addresses as DNS has them now, how each is, and which is tried first.

use super::health::{Health, State};
use super::locate::Locator;
use crate::place::Place;
use serde::Serialize;
use sip_stack::TrunkId;
use sip_stack::message::auth::Credentials;
use sip_stack::transport::{Command, Destination, Handle, Protocol};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// An OPTIONS without an answer after this is a miss.
const PATIENCE: Duration = Duration::from_secs(4);
/// Nobody keeps calls away for longer by a Retry-After.
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// After a failed search for addresses the next one follows in this time.
const SEARCH_AGAIN: Duration = Duration::from_secs(10);

/// One trunk's other end.
#[derive(Debug)]
pub struct Carrier {
    pub(super) trunk: TrunkId,
    pub(super) name: String,
    pub(super) places: Vec<Place>,
    /// What we prove to it when it asks.
    pub(super) login: Option<Credentials>,
    /// Time between two OPTIONS; zero: none.
    pub(super) keep_alive: Duration,
    pub(super) targets: RwLock<Vec<Target>>,
}

/// One address of a carrier.
#[derive(Debug, Clone)]
pub struct Target {
    destination: Destination,
    rank: (usize, usize, u16),
    weight: u16,
    health: Health,
    /// It takes nothing until then (Retry-After).
    rests: Option<Instant>,
}

/// A way by which a call can go.
#[derive(Debug, Clone)]
pub struct Way {
    /// The trunk.
    pub trunk: TrunkId,
    /// Its address.
    pub to: Destination,
    /// What we prove.
    pub login: Option<Credentials>,
}

/// A carrier in the API.
#[derive(Debug, Serialize)]
pub struct Shown {
    name: String,
    state: State,
    targets: Vec<ShownTarget>,
}

#[derive(Debug, Serialize)]
struct ShownTarget {
    transport: &'static str,
    address: String,
    state: State,
    misses: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
}

impl Carrier {
    fn read(&self) -> RwLockReadGuard<'_, Vec<Target>> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Target>> {
        self.targets.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can be called at all.
    pub fn is_called(&self) -> bool {
        !self.places.is_empty()
    }

    /// As good as its best address.
    pub fn state(&self) -> State {
        self.read().iter().map(|t| t.health.state()).min().unwrap_or(State::Unknown)
    }

    /// Whether an address is its.
    pub fn is_at(&self, ip: IpAddr) -> bool {
        self.read().iter().any(|t| t.destination.to.1.ip() == ip)
    }

    /// For the API.
    pub fn shown(&self) -> Shown {
        let target = |t: &Target| ShownTarget {
            transport: t.destination.to.0.as_str(),
            address: t.destination.to.1.to_string(),
            state: t.health.state(),
            misses: t.health.misses(),
            round_trip_ms: t.health.round_trip().map(|r| (r.as_secs_f64() * 1e4).round() / 10.0),
        };
        Shown {
            name: self.name.clone(),
            state: self.state(),
            targets: self.read().iter().map(target).collect(),
        }
    }

    /// Its ways, the first to be tried first: what is down or takes nothing now comes last, then by rank, and within one rank by chance and weight (RFC 2782).
    pub fn ways(&self, at: Instant) -> Vec<Way> {
        let targets = self.read();
        let key = |t: &Target| {
            let share = f64::from(t.weight.max(1));
            // The smallest of exponential times is each one's with a chance in proportion to its weight.
            let time = -rand::random_range(f64::MIN_POSITIVE..1.0).ln() / share;
            let rests = t.rests.is_some_and(|until| at < until);
            (rests || t.health.state() == State::Down, t.rank, (time * 1e6) as u64)
        };
        let mut order: Vec<_> = targets.iter().map(|t| (key(t), t)).collect();
        order.sort_by_key(|(key, _)| *key);
        let way =
            |t: &Target| Way { trunk: self.trunk, to: t.destination.clone(), login: self.login.clone() };
        order.into_iter().map(|(_, t)| way(t)).collect()
    }

    /// A request to one of its addresses was answered or not.
    pub fn record(&self, to: &Destination, answer: Option<(u16, Option<Duration>)>) {
        let mut targets = self.write();
        let Some(target) = targets.iter_mut().find(|t| t.destination == *to) else { return };
        let Some(state) = target.health.record(answer) else { return };
        let (trunk, address, state) = (&self.name, to.to.1, state.as_str());
        drop(targets);
        tracing::info!(trunk, %address, state, "a carrier's address changed its state");
    }

    /// One of its addresses takes nothing until then, but an hour at most.
    pub fn rest(&self, to: &Destination, until: Instant) {
        let until = until.min(Instant::now() + LONGEST_REST);
        if let Some(target) = self.write().iter_mut().find(|t| t.destination == *to) {
            target.rests = Some(until);
        }
    }

    /// Takes addresses that were found. What is known of those that stay is kept.
    fn found(&self, place: usize, found: Vec<super::locate::Found>) {
        let mut targets = self.write();
        let before: Vec<_> = targets.extract_if(.., |t| t.rank.0 == place).collect();
        for f in found {
            let known = before.iter().find(|t| t.destination == f.destination);
            let (health, rests) = known.map(|t| (t.health, t.rests)).unwrap_or_default();
            // One that two places have is asked once.
            if targets.iter().all(|t| t.destination != f.destination) {
                let rank = (place, f.rank.0, f.rank.1);
                targets.push(Target { destination: f.destination, rank, weight: f.weight, health, rests });
            }
        }
        targets.sort_by_key(|t| t.rank);
    }

    /// Keeps its addresses up to date. Ends with the worker's runtime.
    pub(super) async fn follow(self: Arc<Self>, place: usize, locator: Arc<Locator>, ours: Vec<Protocol>) {
        let mut failed = false;
        loop {
            let wait = match self.places.get(place) {
                None => return,
                Some(at) => match locator.locate(at, &ours).await {
                    Ok(located) => {
                        self.found(place, located.found);
                        failed = false;
                        located.until.saturating_duration_since(Instant::now())
                    }
                    // What was found before is still the best guess.
                    Err(e) => {
                        if !std::mem::replace(&mut failed, true) {
                            tracing::warn!(trunk = self.name, place, error = %e, "a carrier's address was not found");
                        }
                        SEARCH_AGAIN
                    }
                },
            };
            tokio::time::sleep(wait.max(Duration::from_secs(1))).await;
        }
    }

    /// Asks all its addresses whether they are there, again and again. Ends with the worker.
    pub(super) async fn keep_alive(self: Arc<Self>, sip: Handle) {
        if self.keep_alive.is_zero() {
            return;
        }
        loop {
            let targets: Vec<_> = self.read().iter().map(|t| t.destination.clone()).collect();
            // Until DNS has answered there is nobody to ask.
            let mut next = if targets.is_empty() { Duration::from_millis(200) } else { self.keep_alive };
            let asked: Vec<_> =
                targets.into_iter().map(|to| tokio::spawn(ask(sip.clone(), self.trunk, to))).collect();
            for answer in asked {
                let Ok(Some((to, answer))) = answer.await else { return };
                self.record(&to, answer.map(|(status, took)| (status, Some(took))));
            }
            if self.read().iter().any(|t| t.health.misses() > 0) {
                // It is known sooner whether it is back, or down.
                next /= 3;
            }
            tokio::time::sleep(next).await;
        }
    }
}

/// One OPTIONS; `None`: the worker has ended.
async fn ask(sip: Handle, trunk: TrunkId, to: Destination) -> Option<(Destination, Option<(u16, Duration)>)> {
    let (told, answer) = oneshot::channel();
    let begun = Instant::now();
    sip.tell(Command::Ping(to.clone(), trunk, told)).ok()?;
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let status = answer.ok().and_then(Result::ok).flatten();
    Some((to, status.map(|status| (status, begun.elapsed()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trunk::locate::Found;

    fn found(last: u8, rank: (usize, u16), weight: u16) -> Found {
        let to = (Protocol::Udp, ([192, 0, 2, last], 5060).into());
        Found { destination: Destination { to, host: "sbc.example.com".into(), name: None }, rank, weight }
    }

    fn carrier() -> Carrier {
        let places = vec!["a.example.com".parse().unwrap(), "b.example.com".parse().unwrap()];
        let (trunk, name, keep_alive) = (TrunkId(0), "t".into(), Duration::ZERO);
        Carrier { trunk, name, places, login: None, keep_alive, targets: RwLock::default() }
    }

    fn order(carrier: &Carrier) -> Vec<u8> {
        let last = |w: &Way| match w.to.to.1.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        carrier.ways(Instant::now()).iter().map(last).collect()
    }

    #[test]
    fn ways_go_by_rank_then_weight_and_what_is_down_comes_last() {
        let carrier = carrier();
        carrier.found(1, vec![found(9, (0, 0), 0)]);
        carrier.found(0, vec![found(1, (0, 10), 75), found(2, (0, 10), 25), found(3, (0, 20), 0)]);
        let mut first = [0u32; 4];
        for _ in 0..4000 {
            let order = order(&carrier);
            assert_eq!(order[2..], [3, 9]);
            first[usize::from(order[0])] += 1;
        }
        assert!((2800..3200).contains(&first[1]), "three of four begin with the heavier one: {first:?}");
        let to = found(3, (0, 20), 0).destination;
        (0..3).for_each(|_| carrier.record(&to, None));
        assert_eq!(order(&carrier)[2..], [9, 3]);
        assert_eq!(carrier.state(), State::Unknown);
    }

    #[test]
    fn who_says_when_to_try_again_comes_last_until_then() {
        let (carrier, now) = (carrier(), Instant::now());
        carrier.found(0, vec![found(1, (0, 0), 0), found(2, (0, 1), 0)]);
        carrier.rest(&found(1, (0, 0), 0).destination, now + Duration::from_secs(60));
        assert_eq!(order(&carrier), [2, 1]);
        let first = |at| carrier.ways(at)[0].to.to.1.to_string();
        assert_eq!(first(now + Duration::from_secs(61)), "192.0.2.1:5060");
        carrier.rest(&found(1, (0, 0), 0).destination, now + Duration::from_secs(1 << 20));
        assert_eq!(first(now + Duration::from_secs(3601)), "192.0.2.1:5060", "nobody is away for days");
    }

    #[test]
    fn what_is_known_of_an_address_outlives_a_new_search() {
        let carrier = carrier();
        carrier.found(0, vec![found(1, (0, 0), 0), found(2, (0, 0), 0)]);
        let to = found(1, (0, 0), 0).destination;
        (0..3).for_each(|_| carrier.record(&to, None));
        carrier.found(0, vec![found(1, (0, 5), 0), found(4, (0, 0), 0)]);
        assert_eq!(order(&carrier), [4, 1]);
        assert!(carrier.is_at(IpAddr::from([192, 0, 2, 4])) && !carrier.is_at(IpAddr::from([192, 0, 2, 2])));
    }
}
