//! Expired credit that is kept for holds placed before its expiry.

use super::builders::{Story, hold, place, release, request, settle, sweep};
use crate::examples::{grant_id, micro, second};
use crate::wallet::{WalletEvent, WalletRefusal};

fn grant_expired(number: u128, expired: i64, kept: i64, balance: i64, held: i64, at: i64) -> WalletEvent {
    WalletEvent::GrantExpired {
        grant_id: grant_id(number),
        expired_micro: micro(expired),
        kept_micro: micro(kept),
        balance_micro: micro(balance),
        held_micro: micro(held),
        at: second(at),
    }
}

#[test]
fn expiry_takes_only_what_no_earlier_hold_may_need() {
    let mut story = Story::begin().granted_until(1, 100, 50).held(1, 30).at(50);
    assert_eq!(story.act(sweep()).unwrap(), vec![grant_expired(1, 70, 30, 30, 30, 50)]);
    assert_eq!(story.act(sweep()).unwrap(), vec![], "the kept part is not offered again");
}

#[test]
fn what_is_kept_is_the_worst_case_and_not_the_estimate() {
    let story = Story::begin().granted_until(1, 10_000, 50).with(place(request(1, 100, 5_000))).at(50);
    assert_eq!(story.wallet.held(), micro(4_196));
    let story = story.with(sweep());
    assert_eq!(story.wallet.balance(), micro(5_100));
}

#[test]
fn the_append_that_closes_the_last_older_hold_expires_what_was_kept() {
    let mut story = Story::begin().granted_until(1, 100, 50).held(1, 30).held(2, 20).at(50).with(sweep());
    let first = story.act(settle(1, 10)).unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].balance(), micro(40));
    let last = story.act(release(2)).unwrap();
    assert!(matches!(last[0], WalletEvent::HoldReleased { .. }));
    assert_eq!(last[1], grant_expired(1, 40, 0, 0, 0, 50));
    assert_eq!(last.len(), 2);
}

#[test]
fn the_expiry_of_the_last_older_hold_expires_what_was_kept() {
    let mut story = Story::begin().granted_until(1, 100, 50).held(1, 30).at(50).with(sweep()).at(1_000);
    let events = story.act(sweep()).unwrap();
    assert!(matches!(events[0], WalletEvent::HoldExpired { .. }));
    assert_eq!(events[1], grant_expired(1, 30, 0, 0, 0, 1_000));
    assert_eq!(events.len(), 2);
}

#[test]
fn a_later_hold_cannot_have_what_is_kept() {
    let mut story = Story::begin().granted_until(1, 100, 50).held(1, 60).at(50);
    let refusal = WalletRefusal::InsufficientCredit { available: micro(0), requested: micro(1) };
    assert_eq!(story.act(hold(2, 1)), Err(refusal));
    story = story.granted(2, 25);
    assert_eq!(
        story.act(hold(2, 26)).unwrap_err(),
        WalletRefusal::InsufficientCredit { available: micro(25), requested: micro(26) }
    );
    story = story.held(2, 25);
    let events = story.act(settle(2, 40)).unwrap();
    assert_eq!(events[0].balance(), micro(60), "25 charged, 15 short, the kept 60 untouched");
    story = story.settled(1, 60);
    assert_eq!(story.wallet.balance(), micro(0));
}

#[test]
fn an_older_hold_spends_kept_credit_first() {
    let story = Story::begin().granted_until(1, 100, 50).held(1, 60).granted(2, 100).at(50).settled(1, 70);
    assert_eq!((story.remaining(1), story.remaining(2)), (Some(micro(0)), Some(micro(90))));
}

#[test]
fn an_earlier_grant_keeps_no_more_of_the_need_than_its_own_holds_have() {
    // Of the 100 kept in the first grant, only 50 are still needed; the younger hold cannot use the
    // other 50, so the second grant must keep all of its 100 for it.
    let mut story = Story::begin()
        .granted_until(1, 100, 50)
        .granted_until(2, 500, 60)
        .held(1, 100)
        .held(2, 50)
        .at(50)
        .held(3, 100)
        .with(release(1))
        .at(60);
    assert_eq!(story.act(sweep()).unwrap(), vec![grant_expired(2, 400, 100, 200, 150, 60)]);
    story = story.settled(3, 100);
    let events = story.act(settle(2, 50)).unwrap();
    assert!(
        matches!(events[0], WalletEvent::UsageCharged { shortfall_micro, .. } if shortfall_micro == micro(0))
    );
    assert_eq!(story.wallet.balance(), micro(0));
}

#[test]
fn credit_kept_in_two_grants_lightens_what_both_holds_press_on_the_rest() {
    let mut story = Story::begin()
        .granted_until(1, 100, 50)
        .granted_until(2, 100, 60)
        .held(1, 100)
        .at(50)
        .held(2, 100)
        .at(60)
        .with(sweep())
        .granted(3, 40);
    assert_eq!(story.wallet.balance(), micro(240));
    assert!(story.act(hold(3, 40)).is_ok());
    assert_eq!(story.act(hold(4, 1)), Err(WalletRefusal::MustWait { open_holds: 3 }));
}
