//! The machines on virtual time: what is sent when, as RFC 3261's tables say; and proptest over all inputs.

use super::*;
use proptest::prelude::*;

/// A machine of any kind with its timers.
struct Rig<M> {
    machine: M,
    now: Duration,
    timers: Vec<(Duration, Timer)>,
    sent: Vec<Duration>,
    last: Actions,
    done: Option<Duration>,
    timed_out: bool,
}

trait Machine {
    fn step(&mut self, input: Input, times: &Times) -> Actions;
}

macro_rules! machines {
    ($($t:ty),*) => { $(impl Machine for $t {
        fn step(&mut self, input: Input, times: &Times) -> Actions { self.on(input, times) }
    })* };
}
machines!(ServerInvite, ServerOther, ClientInvite, ClientOther);

impl<M: Machine> Rig<M> {
    fn new(machine: M) -> Self {
        Self {
            machine,
            now: Duration::ZERO,
            timers: vec![],
            sent: vec![],
            last: Actions::default(),
            done: None,
            timed_out: false,
        }
    }

    fn input(&mut self, input: Input) -> Actions {
        let actions = self.machine.step(input, &Times::default());
        assert!(self.done.is_none() || actions == Actions::default(), "something happens after the end");
        if actions.send {
            self.sent.push(self.now);
        }
        for (timer, after) in actions.start.into_iter().flatten() {
            self.timers.push((self.now + after, timer));
        }
        if actions.done {
            self.done = Some(self.now);
        }
        self.timed_out |= actions.timed_out;
        self.last = actions;
        actions
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(i) =
            (0..self.timers.len()).min_by_key(|i| self.timers[*i].0).filter(|i| self.timers[*i].0 <= end)
        {
            let (at, timer) = self.timers.swap_remove(i);
            self.now = at;
            self.input(Input::Fired(timer));
        }
        self.now = end;
    }

    fn sent_ms(&self) -> Vec<u128> {
        self.sent.iter().map(Duration::as_millis).collect()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_invite_is_sent_again_at_doubling_intervals_until_timer_b() {
    let mut rig = Rig::new(ClientInvite::new(false));
    rig.input(Input::Start);
    rig.run_until(MINUTE);
    assert_eq!(rig.sent_ms(), [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    assert!(rig.timed_out && rig.done == Some(Duration::from_secs(32)));
}

#[test]
fn an_invite_over_tcp_is_sent_once() {
    let mut rig = Rig::new(ClientInvite::new(true));
    rig.input(Input::Start);
    rig.run_until(MINUTE);
    assert_eq!(rig.sent_ms(), [0]);
    assert_eq!(rig.done, Some(Duration::from_secs(32)));
}

#[test]
fn a_provisional_response_stops_an_invites_retransmission() {
    let mut rig = Rig::new(ClientInvite::new(false));
    rig.input(Input::Start);
    rig.run_until(Duration::from_millis(600));
    assert!(rig.input(Input::Status(100)).deliver);
    rig.run_until(MINUTE * 3);
    assert_eq!(rig.sent_ms(), [0, 500]);
    assert_eq!(rig.done, None, "it may ring for long");
}

#[test]
fn each_repeated_failure_response_is_acked_again_but_delivered_once() {
    let mut rig = Rig::new(ClientInvite::new(false));
    rig.input(Input::Start);
    let first = rig.input(Input::Status(486));
    assert!(first.ack && first.deliver);
    let second = rig.input(Input::Status(486));
    assert!(second.ack && !second.deliver);
    rig.run_until(MINUTE);
    assert_eq!(rig.done, Some(Duration::from_secs(32)), "timer D");
}

#[test]
fn every_2xx_is_delivered_for_its_own_ack() {
    let mut rig = Rig::new(ClientInvite::new(false));
    rig.input(Input::Start);
    for _ in 0..3 {
        let actions = rig.input(Input::Status(200));
        assert!(actions.deliver && !actions.ack);
    }
    rig.run_until(MINUTE);
    assert_eq!(rig.done, Some(Duration::from_secs(32)), "timer M");
}

#[test]
fn a_bye_is_sent_again_until_t2_and_timer_f() {
    let mut rig = Rig::new(ClientOther::new(false));
    rig.input(Input::Start);
    rig.run_until(MINUTE);
    assert_eq!(rig.sent_ms(), [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert!(rig.timed_out);
    let mut rig = Rig::new(ClientOther::new(false));
    rig.input(Input::Start);
    assert!(rig.input(Input::Status(200)).deliver);
    assert!(!rig.input(Input::Status(200)).deliver, "absorbed until timer K");
    rig.run_until(MINUTE);
    assert_eq!(rig.done, Some(Duration::from_secs(5)));
}

#[test]
fn a_failure_response_is_sent_again_until_its_ack() {
    let mut rig = Rig::new(ServerInvite::new(false));
    rig.input(Input::Status(100));
    rig.input(Input::Status(486));
    rig.run_until(Duration::from_secs(4));
    assert_eq!(rig.sent_ms(), [0, 0, 500, 1500, 3500]);
    rig.input(Input::Ack);
    rig.run_until(MINUTE);
    assert_eq!(rig.sent.len(), 5);
    assert_eq!(rig.done, Some(Duration::from_secs(9)), "timer I");
}

#[test]
fn a_failure_response_never_acked_ends_with_timer_h() {
    let mut rig = Rig::new(ServerInvite::new(false));
    rig.input(Input::Status(404));
    rig.run_until(MINUTE);
    assert!(rig.timed_out && rig.done == Some(Duration::from_secs(32)));
    assert_eq!(*rig.sent_ms().last().unwrap(), 31_500);
}

#[test]
fn a_repeated_invite_gets_the_last_response_again_but_not_after_2xx() {
    let mut rig = Rig::new(ServerInvite::new(false));
    rig.input(Input::Status(180));
    assert!(rig.input(Input::Again).send);
    rig.input(Input::Status(200));
    assert!(!rig.input(Input::Again).send, "RFC 6026: absorbed");
    assert!(rig.input(Input::Ack).deliver);
    rig.run_until(MINUTE);
    assert_eq!(rig.done, Some(Duration::from_secs(32)), "timer L");
}

#[test]
fn a_repeated_bye_gets_its_answer_again_until_timer_j() {
    let mut rig = Rig::new(ServerOther::new(false));
    assert!(!rig.input(Input::Again).send, "no answer yet");
    rig.input(Input::Status(200));
    assert!(rig.input(Input::Again).send);
    rig.run_until(MINUTE);
    assert_eq!(rig.done, Some(Duration::from_secs(32)));
    let mut rig = Rig::new(ServerOther::new(true));
    rig.input(Input::Status(200));
    rig.run_until(MINUTE);
    assert_eq!(rig.done, Some(Duration::ZERO), "over TCP nothing comes again");
}

fn inputs() -> impl Strategy<Value = Vec<(u64, Input)>> {
    let input = prop_oneof![
        Just(Input::Again),
        Just(Input::Ack),
        Just(Input::TransportFailed),
        (100u16..700).prop_map(Input::Status),
        Just(Input::Status(100)),
        Just(Input::Status(200)),
    ];
    proptest::collection::vec((0u64..5000, input), 0..40)
}

/// Whatever comes in whatever order: the machine ends once its last timer has run, is silent after the end, and
/// does not send more often than its inputs and timers allow.
fn any_order<M: Machine>(machine: M, client: bool, steps: Vec<(u64, Input)>) -> Result<(), TestCaseError> {
    let mut rig = Rig::new(machine);
    if client {
        rig.input(Input::Start);
    }
    let count = steps.len();
    for (wait, input) in steps {
        rig.run_until(rig.now + Duration::from_millis(wait));
        if client && matches!(input, Input::Again | Input::Ack) {
            continue;
        }
        rig.input(input);
    }
    // Everything that can end without the user does: a final response, then all timers.
    rig.input(Input::Status(500));
    rig.run_until(rig.now + MINUTE * 5);
    prop_assert!(rig.done.is_some(), "never ends");
    prop_assert!(rig.timers.is_empty(), "timers left");
    prop_assert!(rig.sent.len() <= 2 * count + 60, "sends {} times", rig.sent.len());
    Ok(())
}

proptest! {
    #[test]
    fn server_invite_in_any_order(steps in inputs(), reliable: bool) {
        any_order(ServerInvite::new(reliable), false, steps)?;
    }

    #[test]
    fn server_other_in_any_order(steps in inputs(), reliable: bool) {
        any_order(ServerOther::new(reliable), false, steps)?;
    }

    #[test]
    fn client_invite_in_any_order(steps in inputs(), reliable: bool) {
        any_order(ClientInvite::new(reliable), true, steps)?;
    }

    #[test]
    fn client_other_in_any_order(steps in inputs(), reliable: bool) {
        any_order(ClientOther::new(reliable), true, steps)?;
    }
}
