//! Purchases, and credit that an operator takes away.

use super::builders::{Story, adjust_down, gift, hold, place, purchase, request, settle};
use crate::examples::{adjustment_id, grant_id, micro, purchase_id, second};
use crate::wallet::grants::MAX_GRANT;
use crate::wallet::{AdjustmentReason, GrantPart, PurchaseItem, WalletEvent, WalletRefusal};

fn part(number: u128, amount: i64) -> GrantPart {
    GrantPart { grant_id: grant_id(number), amount_micro: micro(amount) }
}

fn insufficient(available: i64, requested: i64) -> WalletRefusal {
    WalletRefusal::InsufficientCredit { available: micro(available), requested: micro(requested) }
}

#[test]
fn a_purchase_is_paid_in_spend_order_and_the_event_says_from_what() {
    let mut story = Story::begin().granted(1, 100).granted_until(2, 30, 900).at(5);
    let expected = WalletEvent::PurchaseMade {
        purchase_id: purchase_id(1),
        item: PurchaseItem::ProjectSlot,
        amount_micro: micro(50),
        from: vec![part(2, 30), part(1, 20)],
        balance_micro: micro(80),
        held_micro: micro(0),
        at: second(5),
    };
    assert_eq!(story.act(purchase(1, 50)).unwrap(), vec![expected]);
    assert_eq!(story.wallet.balance(), micro(80));
}

#[test]
fn a_purchase_cannot_have_what_holds_have_set_aside() {
    let mut story = Story::begin().granted(1, 100).held(1, 60);
    assert_eq!(story.act(purchase(1, 41)), Err(insufficient(40, 41)));
    assert!(story.act(purchase(1, 40)).is_ok());
    assert_eq!(story.act(settle(1, 60)).unwrap()[0].balance(), micro(0));
}

#[test]
fn a_purchase_waits_where_running_requests_may_cost_more_than_their_estimates() {
    let mut story = Story::begin().granted(1, 5_000).with(place(request(1, 100, 4_500)));
    assert_eq!(story.wallet.held(), micro(4_196));
    assert_eq!(story.act(purchase(1, 401)), Err(WalletRefusal::MustWait { open_holds: 1 }));
    assert!(story.act(purchase(1, 400)).is_ok());
}

#[test]
fn a_purchase_cannot_have_expired_credit_that_is_kept_for_an_older_hold() {
    let mut story = Story::begin().granted_until(1, 100, 50).held(1, 60).at(50).granted(2, 25);
    assert_eq!(story.act(purchase(1, 26)), Err(insufficient(25, 26)));
    assert!(story.act(purchase(1, 25)).is_ok());
    assert_eq!(story.remaining(1), Some(micro(60)));
}

#[test]
fn a_purchase_is_made_once() {
    let mut story = Story::begin().granted(1, 100);
    assert!(story.act(purchase(1, 10)).is_ok());
    let again = WalletRefusal::PurchaseExists { purchase_id: purchase_id(1) };
    assert_eq!(story.act(purchase(1, 10)), Err(again));
    assert_eq!(story.wallet.balance(), micro(90));
}

#[test]
fn nothing_is_bought_while_there_is_debt() {
    let mut story = Story::begin().granted(1, 100).held(1, 100).settled(1, 100).taken_back(1, 100);
    story = story.with(gift(2, 130, None)).taken_back(1, 40);
    assert_eq!(story.balance_and_debt(), (30, 40));
    assert_eq!(story.act(purchase(1, 1)), Err(WalletRefusal::InDebt { debt: micro(40) }));
}

#[test]
fn an_adjustment_takes_credit_even_where_it_is_held_but_never_more_than_there_is() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).at(3);
    assert_eq!(story.act(adjust_down(1, 101)), Err(insufficient(100, 101)));
    let expected = WalletEvent::CreditAdjusted {
        adjustment_id: adjustment_id(1),
        reason: AdjustmentReason::GrantedInError,
        amount_micro: micro(70),
        from: vec![part(1, 70)],
        balance_micro: micro(30),
        held_micro: micro(60),
        at: second(3),
    };
    assert_eq!(story.act(adjust_down(1, 70)).unwrap(), vec![expected]);
    assert!(matches!(
        story.act(settle(1, 60)).unwrap()[..],
        [WalletEvent::UsageCharged { charged_micro, shortfall_micro, .. }]
            if charged_micro == micro(30) && shortfall_micro == micro(30)
    ));
}

#[test]
fn an_adjustment_leaves_expired_credit_to_the_holds_it_is_kept_for() {
    let mut story = Story::begin().granted_until(1, 100, 50).held(1, 60).at(50);
    assert_eq!(story.act(adjust_down(1, 1)), Err(insufficient(0, 1)));
    assert_eq!(story.act(hold(2, 1)), Err(insufficient(0, 1)));
}

#[test]
fn an_adjustment_is_made_once() {
    let mut story = Story::begin().granted(1, 100);
    assert!(story.act(adjust_down(1, 10)).is_ok());
    let again = WalletRefusal::AdjustmentExists { adjustment_id: adjustment_id(1) };
    assert_eq!(story.act(adjust_down(1, 10)), Err(again));
    assert_eq!(story.wallet.balance(), micro(90));
}

#[test]
fn nothing_less_and_too_much_are_no_amounts() {
    for amount in [0, -1, i64::MIN, MAX_GRANT.0 + 1, i64::MAX] {
        let refusal = WalletRefusal::AmountOutOfRange { amount: micro(amount), most: MAX_GRANT };
        let mut story = Story::begin().granted(1, 100);
        assert_eq!(story.act(purchase(1, amount)), Err(refusal.clone()));
        assert_eq!(story.act(adjust_down(1, amount)), Err(refusal));
    }
}
