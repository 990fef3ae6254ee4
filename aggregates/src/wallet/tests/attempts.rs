//! Every attempt at a provider is on record before it is dispatched.

use super::builders::{Story, release, settle, sweep};
use crate::examples::{attempt, generation, micro, second};
use crate::usage::{Attempt, MAX_ATTEMPTS};
use crate::wallet::{WalletAction, WalletEvent, WalletRefusal};

fn try_at(number: u32, provider: &str) -> Attempt {
    Attempt { number, provider: provider.into(), ..attempt() }
}

fn start(attempt: Attempt) -> WalletAction {
    WalletAction::StartAttempt { generation_id: generation(1), attempt }
}

#[test]
fn a_further_attempt_is_on_record_and_changes_no_amount() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).at(5);
    let events = story.act(start(try_at(2, "second"))).unwrap();
    let expected = WalletEvent::AttemptStarted {
        generation_id: generation(1),
        attempt: try_at(2, "second"),
        balance_micro: micro(100),
        held_micro: micro(60),
        at: second(5),
    };
    assert_eq!(events, vec![expected]);
    assert!(story.act(settle(1, 60)).is_ok());
}

#[test]
fn the_last_attempt_again_changes_nothing() {
    let mut story = Story::begin().granted(1, 100).held(1, 60);
    assert_eq!(story.act(start(attempt())), Ok(vec![]), "the first stands in the hold");
    story = story.with(start(try_at(2, "second")));
    assert_eq!(story.act(start(try_at(2, "second"))), Ok(vec![]));
}

#[test]
fn attempts_come_one_after_the_other() {
    let mut story = Story::begin().granted(1, 100).held(1, 60);
    let out_of_order = |got| Err(WalletRefusal::AttemptOutOfOrder { expected: 2, got });
    for got in [0, 1, 3] {
        assert_eq!(story.act(start(try_at(got, "other"))), out_of_order(got));
    }
    for number in 2..=MAX_ATTEMPTS {
        story = story.with(start(try_at(number, "other")));
    }
    let one_more = story.act(start(try_at(MAX_ATTEMPTS + 1, "other")));
    assert_eq!(one_more, Err(WalletRefusal::TooManyAttempts { most: 8 }));
}

#[test]
fn an_attempt_needs_an_open_hold() {
    let unknown = Err(WalletRefusal::UnknownHold { generation_id: generation(1) });
    let held = || Story::begin().granted(1, 100).held(1, 60);
    assert_eq!(Story::begin().granted(1, 100).act(start(try_at(2, "second"))), unknown);
    assert_eq!(held().with(release(1)).act(start(try_at(2, "second"))), unknown);
    assert_eq!(held().settled(1, 10).act(start(try_at(2, "second"))), unknown);
    assert_eq!(held().at(2_000).with(sweep()).act(start(try_at(2, "second"))), unknown);
    assert_eq!(
        held().at(2_000).act(start(try_at(2, "second"))),
        unknown,
        "it is past its age at this very moment"
    );
}
