use super::builders::{Story, grant, hold, settle, sweep};
use crate::examples::{generation, grant_id, micro, second};
use crate::wallet::grants::EXHAUSTED_GRANTS_KEPT;
use crate::wallet::{GrantPart, ReversalReason, WalletAction, WalletEvent, WalletRefusal};

fn part(number: u128, amount: i64) -> GrantPart {
    GrantPart { grant_id: grant_id(number), amount_micro: micro(amount) }
}

fn reverse(parts: Vec<GrantPart>) -> WalletAction {
    WalletAction::ReverseCharge {
        generation_id: generation(1),
        reason: ReversalReason::BadGeneration,
        parts,
        charged: None,
        plan: None,
    }
}

#[test]
fn a_reversal_gives_each_grant_its_part_back() {
    let mut story =
        Story::begin().granted_until(1, 100, 900).granted(2, 100).held(1, 150).settled(1, 150).at(8);
    let events = story.act(reverse(vec![part(1, 100), part(2, 50)])).unwrap();
    let expected = WalletEvent::ChargeReversed {
        generation_id: generation(1),
        reason: ReversalReason::BadGeneration,
        amount_micro: micro(150),
        to: vec![part(1, 100), part(2, 50)],
        charged: None,
        debt_paid_micro: micro(0),
        plan: None,
        balance_micro: micro(200),
        held_micro: micro(0),
        at: second(8),
    };
    assert_eq!(events, vec![expected]);
    assert_eq!((story.remaining(1), story.remaining(2)), (Some(micro(100)), Some(micro(100))));
}

#[test]
fn a_part_of_a_grant_that_is_not_known_is_refused() {
    let mut story = Story::begin().granted(1, 100);
    let refusal = story.act(reverse(vec![part(1, 5), part(2, 5)])).unwrap_err();
    assert_eq!(refusal, WalletRefusal::UnknownGrant { grant_id: grant_id(2) });
    assert_eq!(story.wallet.balance(), micro(100));
}

#[test]
fn what_goes_back_to_an_expired_grant_expires_in_the_same_append() {
    let story = Story::begin().granted_until(1, 100, 50).granted(2, 10);
    // Once with the expiry on record, once with the grant exhausted when it came.
    for cost in [60, 100] {
        let mut story = story.clone().held(1, 100).settled(1, cost).at(50).with(sweep());
        let events = story.act(reverse(vec![part(1, cost)])).unwrap();
        assert_eq!(events[0].balance(), micro(10 + cost));
        assert_eq!(
            events[1],
            WalletEvent::GrantExpired {
                grant_id: grant_id(1),
                expired_micro: micro(cost),
                kept_micro: micro(0),
                balance_micro: micro(10),
                held_micro: micro(0),
                at: second(50),
            }
        );
        assert_eq!(events.len(), 2);
    }
}

#[test]
fn what_goes_back_to_an_expired_grant_stays_as_far_as_an_older_hold_may_need_it() {
    let mut story =
        Story::begin().granted_until(1, 100, 50).held(1, 100).settled(1, 80).held(2, 20).at(50).with(sweep());
    assert_eq!(story.wallet.balance(), micro(20));
    let events = story.act(reverse(vec![part(1, 80)])).unwrap();
    assert_eq!((events[0].balance(), events[1].balance()), (micro(100), micro(20)));
    assert!(story.act(hold(3, 1)).is_err());
    assert_eq!(story.act(settle(2, 20)).unwrap().len(), 1);
}

#[test]
fn a_grant_just_exhausted_can_be_reversed_however_many_were_exhausted_before() {
    let mut story = Story::begin().granted(1, 10);
    for number in 0..2 * EXHAUSTED_GRANTS_KEPT as u128 {
        let small = 1_000 + number;
        story = story.with(grant(small, 1, Some(900))).held(small, 1).settled(small, 1);
    }
    story = story.at(1).held(1, 10).settled(1, 10).granted(2, 10);
    assert!(story.wallet.grants().len() <= EXHAUSTED_GRANTS_KEPT + 1, "the state is bounded");
    assert!(story.act(reverse(vec![part(1, 10)])).is_ok());
}
