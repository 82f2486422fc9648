//! The rules, one by one, and all of them in any order.

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn guest() -> Stance {
    Stance::new(Role::Speaker, Place::Main)
}

fn effect(changed: bool, told: impl Into<Option<Told>>) -> Effect {
    Effect { changed, told: told.into() }
}

#[test]
fn who_mutes_themselves_unmutes_themselves_and_hears_of_it_each_time() {
    let (mut meeting, mut guest) = (Meeting::default(), guest());
    assert_eq!(meeting.toggled_mute(&guest), Act::Mute);
    assert_eq!(meeting.act(&mut guest, By::Own, Act::Mute), effect(true, Told::Muted));
    assert_eq!(meeting.act(&mut guest, By::Own, Act::Mute), effect(false, Told::Muted));
    assert_eq!((meeting.muted(&guest), meeting.toggled_mute(&guest)), (Some(MutedBy::Own), Act::Unmute));
    assert_eq!(meeting.act(&mut guest, By::Own, Act::Unmute), effect(true, Told::Heard));
    assert_eq!(meeting.muted(&guest), None);
}

#[test]
fn nobody_opens_anothers_microphone() {
    let (mut meeting, mut guest) = (Meeting::default(), guest());
    meeting.act(&mut guest, By::Own, Act::Mute);
    assert_eq!(meeting.act(&mut guest, By::Host, Act::Unmute), effect(false, Told::AskedToSpeak));
    assert_eq!(meeting.act(&mut guest, By::Host, Act::GiveFloor).told, Some(Told::AskedToSpeak));
    assert!(!meeting.steer(Steer::UnmuteAll, [((), &mut guest)].into_iter(), |(), _| panic!("not heard")));
    assert_eq!(meeting.muted(&guest), Some(MutedBy::Own));
}

#[test]
fn a_hosts_mute_is_lifted_by_a_host_and_asked_back_by_a_hand() {
    let (mut meeting, mut guest) = (Meeting::default(), guest());
    assert_eq!(meeting.act(&mut guest, By::Host, Act::Mute), effect(true, Told::MutedByHost));
    assert_eq!(meeting.act(&mut guest, By::Host, Act::Mute), effect(false, None), "once is enough");
    assert_eq!(meeting.act(&mut guest, By::Own, Act::Unmute), effect(true, Told::WishPassedOn));
    assert_eq!((meeting.muted(&guest), guest.hand()), (Some(MutedBy::Host), Some(1)));
    assert_eq!(meeting.act(&mut guest, By::Own, Act::Unmute), effect(false, Told::WishPassedOn));
    assert_eq!(meeting.act(&mut guest, By::Host, Act::Unmute), effect(true, Told::Heard));
    assert_eq!((meeting.muted(&guest), guest.hand()), (None, None), "the wish is granted");
}

#[test]
fn when_all_are_muted_hosts_are_not_and_each_may_speak_again() {
    let mut meeting = Meeting::default();
    let mut people =
        [Stance::new(Role::Host, Place::Main), guest(), guest(), Stance::new(Role::Speaker, Place::Lobby)];
    meeting.act(&mut people[2], By::Own, Act::Mute);
    let mut told = Vec::new();
    assert!(meeting.steer(Steer::MuteAll, people.iter_mut().enumerate(), |n, t| told.push((n, t))));
    assert_eq!(told, [(1, Told::AllMuted)]);
    assert_eq!(
        people.each_ref().map(|p| meeting.muted(p)),
        [None, Some(MutedBy::Host), Some(MutedBy::Own), None]
    );
    assert!(!meeting.steer(Steer::MuteAll, people.iter_mut().enumerate(), |_, _| panic!("nothing is new")));
    assert_eq!(meeting.act(&mut people[1], By::Own, Act::Unmute), effect(true, Told::Heard));
    meeting.steer(Steer::MuteAll, people.iter_mut().enumerate(), |_, _| {});
    // A firm one after it holds.
    meeting.act(&mut people[1], By::Host, Act::Mute);
    assert_eq!(meeting.act(&mut people[1], By::Own, Act::Unmute).told, Some(Told::WishPassedOn));
    told.clear();
    assert!(meeting.steer(Steer::UnmuteAll, people.iter_mut().enumerate(), |n, t| told.push((n, t))));
    assert_eq!(told, [(1, Told::Heard)]);
}

#[test]
fn in_a_lecture_hosts_are_heard_and_who_has_the_floor() {
    let mut meeting = Meeting::default();
    let mut people = [Stance::new(Role::Host, Place::Main), guest(), guest()];
    let mut told = Vec::new();
    assert!(meeting.steer(Steer::Lecture, people.iter_mut().enumerate(), |n, t| told.push((n, t))));
    assert_eq!(told, [(1, Told::Lecture), (2, Told::Lecture)]);
    assert!(!meeting.steer(Steer::Lecture, people.iter_mut().enumerate(), |_, _| panic!("nothing is new")));
    let lecture = Some(MutedBy::Lecture);
    assert_eq!(people.each_ref().map(|p| meeting.muted(p)), [None, lecture, lecture]);
    assert_eq!(meeting.act(&mut people[1], By::Own, Act::Unmute), effect(true, Told::WishPassedOn));
    assert_eq!(meeting.act(&mut people[2], By::Own, Act::RaiseHand), effect(true, Told::HandRaised));
    assert!(people[1].hand() < people[2].hand(), "in the order of hands");
    assert_eq!(meeting.act(&mut people[1], By::Host, Act::GiveFloor), effect(true, Told::Floor));
    assert_eq!((meeting.muted(&people[1]), people[1].hand()), (None, None));
    assert_eq!(meeting.act(&mut people[1], By::Host, Act::TakeFloor), effect(true, Told::MutedByHost));
    meeting.act(&mut people[2], By::Host, Act::Unmute);
    assert_eq!((meeting.muted(&people[2]), people[2].has_floor()), (None, true), "the same by another word");
    told.clear();
    assert!(meeting.steer(Steer::Discussion, people.iter_mut().enumerate(), |n, t| told.push((n, t))));
    assert_eq!(told, [(1, Told::Heard)]);
    assert!(people.iter().all(|p| !p.has_floor()), "the next lecture begins anew");
}

#[test]
fn a_locked_meeting_lets_hosts_in_and_one_that_is_over_nobody() {
    let mut meeting = Meeting::default();
    let nobody = || std::iter::empty::<((), &mut Stance)>();
    assert!(
        meeting.steer(Steer::Lock, nobody(), |(), _| {}) && !meeting.steer(Steer::Lock, nobody(), |(), _| {})
    );
    assert_eq!(meeting.enter(Role::Speaker, true), Err(Shut::Locked));
    assert_eq!(meeting.enter(Role::Host, false), Ok(Place::Main));
    meeting.steer(Steer::Unlock, nobody(), |(), _| {});
    assert_eq!(meeting.enter(Role::Speaker, true), Ok(Place::Main));
    assert!(
        meeting.steer(Steer::End, nobody(), |(), _| {}) && !meeting.steer(Steer::End, nobody(), |(), _| {})
    );
    assert_eq!(meeting.enter(Role::Host, true), Err(Shut::Ended));
}

#[test]
fn who_waits_is_let_in_one_by_one_all_together_or_with_the_first_host() {
    let mut meeting = Meeting::new(Lobby::UntilHost);
    assert_eq!(meeting.enter(Role::Speaker, false), Ok(Place::Lobby));
    assert_eq!(meeting.enter(Role::Speaker, true), Ok(Place::Main));
    let mut people =
        [Stance::new(Role::Speaker, Place::Lobby), Stance::new(Role::Speaker, Place::Lobby), guest()];
    meeting
        .steer(Steer::Lobby(Lobby::Admit), people.iter_mut().enumerate(), |_, _| panic!("nobody comes in"));
    assert_eq!(meeting.enter(Role::Speaker, true), Ok(Place::Lobby));
    assert_eq!(meeting.act(&mut people[0], By::Own, Act::Admit), effect(false, None), "not by themselves");
    assert_eq!(meeting.act(&mut people[0], By::Host, Act::Move(Place::Main)), effect(false, None));
    assert_eq!(meeting.act(&mut people[0], By::Host, Act::Move(Place::Breakout(1))), effect(false, None));
    assert_eq!(meeting.act(&mut people[0], By::Host, Act::Admit), effect(true, Told::Admitted));
    assert_eq!(meeting.act(&mut people[0], By::Host, Act::Admit), effect(false, None));
    let mut told = Vec::new();
    assert!(meeting.steer(Steer::AdmitAll, people.iter_mut().enumerate(), |n, t| told.push((n, t))));
    assert_eq!(told, [(1, Told::Admitted)]);
    assert!(people.iter().all(|p| p.place() == Place::Main));
}

#[test]
fn breakouts_have_numbers_and_all_come_back() {
    let mut meeting = Meeting::default();
    let mut people = [guest(), guest(), Stance::new(Role::Speaker, Place::Lobby)];
    for (place, right) in [
        (Place::Breakout(1), true),
        (Place::Breakout(BREAKOUTS), true),
        (Place::Breakout(0), false),
        (Place::Breakout(BREAKOUTS + 1), false),
        (Place::Lobby, false),
    ] {
        assert_eq!(meeting.act(&mut people[0], By::Host, Act::Move(place)).changed, right, "{place:?}");
    }
    assert!(meeting.steer(Steer::Recall, people.iter_mut().enumerate(), |_, _| {}));
    assert_eq!(people.each_ref().map(Stance::place), [Place::Main, Place::Main, Place::Lobby]);
}

#[test]
fn a_volume_has_ends_and_deafness_is_silence() {
    let (mut meeting, mut guest) = (Meeting::default(), guest());
    (0..20).for_each(|_| assert!(meeting.act(&mut guest, By::Own, Act::Louder).told.is_none()));
    assert!((guest.hearing() - 6.31).abs() < 0.01, "16 dB");
    (0..20).for_each(|_| assert!(meeting.act(&mut guest, By::Own, Act::Softer).told.is_none()));
    assert!((guest.hearing() - 0.158).abs() < 0.01);
    assert_eq!(meeting.act(&mut guest, By::Host, Act::Deafen), effect(true, Told::Deaf));
    assert_eq!(guest.hearing(), 0.0);
    assert_eq!(meeting.act(&mut guest, By::Own, Act::Hear), effect(true, Told::Hears));
    assert_eq!(meeting.act(&mut guest, By::Host, Act::Louder), effect(false, None), "a volume is one's own");
}

#[test]
fn words_name_each_act_once() {
    for (act, word) in Act::ALL {
        assert_eq!((Act::named(word), act.as_str()), (Some(act), word));
        assert!(act.is_for(By::Own) || act.is_for(By::Host));
    }
    for (steer, word) in Steer::ALL {
        assert_eq!((Steer::named(word), steer.as_str()), (Some(steer), word));
    }
    assert_eq!((Act::named(""), Act::named("move"), Steer::named("")), (None, None, None));
}

/// Whatever hosts and guests want in whatever order: what was wanted last and twice changes nothing the second time, no host's act opens a
/// microphone that its owner has closed, and no guest's act lifts what hosts hold.
#[test]
fn any_order_of_wishes_keeps_the_rules() {
    let mut dice = StdRng::seed_from_u64(6);
    for _ in 0..2_000 {
        let mut meeting = Meeting::default();
        let mut people = [
            Stance::new(Role::Host, Place::Main),
            guest(),
            guest(),
            Stance::new(Role::Speaker, Place::Lobby),
        ];
        for _ in 0..40 {
            if dice.random_bool(0.3) {
                let (steer, _) = Steer::ALL[dice.random_range(0..Steer::ALL.len())];
                let own: Vec<_> = people.iter().map(|p| p.own_mute).collect();
                meeting.steer(steer, people.iter_mut().enumerate(), |_, _| {});
                assert_eq!(own, people.iter().map(|p| p.own_mute).collect::<Vec<_>>(), "{steer:?}");
                assert!(
                    !meeting.steer(steer, people.iter_mut().enumerate(), |_, _| panic!("{steer:?} again"))
                );
            } else {
                let n = dice.random_range(0..people.len());
                let (act, _) = Act::ALL[dice.random_range(0..Act::ALL.len())];
                let by = if dice.random_bool(0.5) { By::Own } else { By::Host };
                let (before, muted) = (people[n].clone(), meeting.muted(&people[n]));
                meeting.act(&mut people[n], by, act);
                let after = &people[n];
                match by {
                    By::Host => assert!(after.own_mute == before.own_mute, "{act:?}"),
                    By::Own => {
                        assert_eq!(
                            (after.role, after.place, after.floor),
                            (before.role, before.place, before.floor)
                        );
                        let held = muted == Some(MutedBy::Lecture) || before.grip == Some(Grip::Firm);
                        assert!(!held || meeting.muted(after).is_some(), "{act:?} {before:?} {after:?}");
                    }
                }
                if !matches!(act, Act::Louder | Act::Softer) {
                    assert!(!meeting.act(&mut people[n], by, act).changed, "{act:?} again");
                }
            }
        }
    }
}

#[test]
fn an_operator_talks_to_who_waits_and_lets_them_in_or_back_to_wait() {
    let mut meeting = Meeting::new(Lobby::Admit);
    let mut people =
        [Stance::new(Role::Operator, Place::Main), Stance::new(Role::Speaker, Place::Lobby), guest()];
    meeting.steer(Steer::Lecture, people.iter_mut().enumerate(), |_, _| {});
    for one in &mut people[..2] {
        assert!(meeting.act(one, By::Host, Act::Move(Place::Line(1))).changed);
    }
    let muted = people.each_ref().map(|p| meeting.muted(p));
    assert_eq!(muted, [None, None, Some(MutedBy::Lecture)], "a private talk is no lecture");
    assert!(people[1].waits() && !people[0].waits());
    assert!(
        !meeting.steer(Steer::AdmitAll, people.iter_mut().enumerate(), |_, _| panic!("nobody else waits"))
    );
    assert!(meeting.act(&mut people[1], By::Host, Act::Move(Place::Lobby)).changed);
    assert!(
        !meeting.act(&mut people[0], By::Host, Act::Move(Place::Lobby)).changed,
        "nobody is made to wait"
    );
    meeting.act(&mut people[1], By::Host, Act::Move(Place::Line(2)));
    assert_eq!(meeting.act(&mut people[1], By::Host, Act::Admit), effect(true, Told::Admitted));
    assert_eq!((people[1].place(), people[1].waits()), (Place::Main, false));
    assert!(meeting.act(&mut people[1], By::Host, Act::Move(Place::Green)).changed);
    assert!(meeting.act(&mut people[1], By::Host, Act::Move(Place::Main)).changed);
    assert_eq!(meeting.enter(Role::Operator, false), Ok(Place::Main));
    assert!(
        !meeting
            .steer(Steer::MuteAll, [(0, &mut people[0])].into_iter(), |_, _| panic!("who leads is heard"))
    );
}

#[test]
fn places_have_words() {
    for (word, place) in [
        ("meeting", Some(Place::Main)),
        ("lobby", Some(Place::Lobby)),
        ("green", Some(Place::Green)),
        ("breakout-1", Some(Place::Breakout(1))),
        ("breakout-50", Some(Place::Breakout(50))),
        ("line-7", Some(Place::Line(7))),
        ("line-0", None),
        ("line-51", None),
        ("line-+1", None),
        ("breakout-", None),
        ("", None),
    ] {
        assert_eq!(Place::named(word), place, "{word}");
    }
}
