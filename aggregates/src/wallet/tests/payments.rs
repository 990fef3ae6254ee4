//! Refunds and disputes, and what is won back.

use proptest::prelude::*;

use super::builders::{
    Story, gift, grant, hold, place, reinstate, release, request, reverse_for, settle, sweep, take_back,
};
use crate::examples::{grant_id, key, micro, second};
use crate::wallet::grants::{EXHAUSTED_GRANTS_KEPT, MAX_GRANT};
use crate::wallet::{
    GrantPart, GrantSource, GrantTerms, PlaceHold, WalletAction, WalletEvent, WalletRefusal,
};

fn part(number: u128, amount: i64) -> GrantPart {
    GrantPart { grant_id: grant_id(number), amount_micro: micro(amount) }
}

/// `amount` granted as grant 1 and spent to the last micro-USD.
fn spent(amount: i64) -> Story {
    Story::begin().granted(1, amount).held(1, amount.unsigned_abs()).settled(1, amount)
}

#[test]
fn a_grant_of_100_that_is_spent_disputed_and_won_leaves_neither_balance_nor_debt() {
    let story = spent(100).taken_back(1, 100);
    assert_eq!(story.balance_and_debt(), (0, 100));
    let story = story.reinstated(1, 100);
    assert_eq!(story.balance_and_debt(), (0, 0));
}

#[test]
fn a_reversal_takes_from_its_own_grant_first_then_from_other_bought_credit_and_owes_the_rest() {
    let mut story = Story::begin().granted_until(1, 30, 900).granted(2, 50).given(3, 70).granted(4, 20).at(5);
    let expected = WalletEvent::PaymentReversed {
        payment_id: grant_id(2),
        amount_micro: micro(110),
        from: vec![part(2, 50), part(1, 30), part(4, 20)],
        debt_added_micro: micro(10),
        debt_micro: micro(10),
        balance_micro: micro(70),
        held_micro: micro(0),
        at: second(5),
    };
    assert_eq!(story.act(take_back(2, 110)).unwrap(), vec![expected]);
    assert_eq!(story.balance_and_debt(), (70, 10), "what was given and not bought stays");
}

#[test]
fn a_partial_reversal_leaves_the_rest() {
    let story = Story::begin().granted(1, 100).granted(2, 100).taken_back(1, 30);
    assert_eq!((story.remaining(1), story.remaining(2)), (Some(micro(70)), Some(micro(100))));
    assert_eq!(story.balance_and_debt(), (170, 0));
}

#[test]
fn later_credit_of_any_kind_pays_the_debt_first() {
    let mut story = spent(100).taken_back(1, 100);
    let granted = |number, source, amount, debt_paid, balance| WalletEvent::CreditGranted {
        grant_id: grant_id(number),
        source,
        amount_micro: micro(amount),
        expires_at: None,
        debt_paid_micro: micro(debt_paid),
        balance_micro: micro(balance),
        held_micro: micro(0),
        at: second(0),
    };
    assert_eq!(story.act(gift(2, 60, None)).unwrap(), vec![granted(2, GrantSource::Admin, 60, 60, 0)]);
    assert_eq!(story.balance_and_debt(), (0, 40));
    assert_eq!(story.act(grant(3, 60, None)).unwrap(), vec![granted(3, GrantSource::TopUp, 60, 40, 20)]);
    assert_eq!(story.balance_and_debt(), (20, 0));
}

#[test]
fn a_new_hold_is_refused_while_there_is_debt_whatever_the_balance() {
    let mut story = spent(100).given(2, 500).taken_back(1, 100);
    assert_eq!(story.balance_and_debt(), (500, 100));
    assert_eq!(story.act(hold(2, 1)), Err(WalletRefusal::InDebt { debt: micro(100) }));
    story = story.granted(3, 100);
    assert!(story.act(hold(2, 1)).is_ok());
}

#[test]
fn a_new_hold_is_refused_while_the_cash_wallet_owes_what_may_have_bought_its_credit() {
    let mut story = Story::begin().granted(1, 500);
    let owing = |debt| PlaceHold { cash_debt_micro: micro(debt), ..request(2, 1, 0) };
    assert_eq!(story.act(place(owing(70))), Err(WalletRefusal::CashInDebt { debt: micro(70) }));
    assert!(story.act(place(owing(0))).is_ok());
}

#[test]
fn a_hold_that_was_open_when_its_credit_was_taken_back_settles_to_shortfall() {
    let mut story = Story::begin().granted(1, 100).held(1, 100).taken_back(1, 60);
    assert_eq!(story.wallet.held(), micro(100));
    assert_eq!(story.wallet.available(), micro(0));
    assert!(matches!(
        story.act(settle(1, 100)).unwrap()[..],
        [WalletEvent::UsageCharged { charged_micro, shortfall_micro, balance_micro, .. }]
            if (charged_micro, shortfall_micro, balance_micro) == (micro(40), micro(60), micro(0))
    ));
    assert_eq!(story.balance_and_debt(), (0, 0));
}

#[test]
fn what_is_won_back_pays_debt_first_and_returns_to_its_grant() {
    let mut story = spent(100).granted(2, 30).taken_back(1, 100).at(9);
    assert_eq!(story.balance_and_debt(), (0, 70));
    let expected = WalletEvent::PaymentReinstated {
        payment_id: grant_id(1),
        amount_micro: micro(100),
        debt_paid_micro: micro(70),
        grant: None,
        debt_micro: micro(0),
        balance_micro: micro(30),
        held_micro: micro(0),
        at: second(9),
    };
    assert_eq!(story.act(reinstate(1, 100)).unwrap(), vec![expected]);
    assert_eq!((story.remaining(1), story.remaining(2)), (Some(micro(30)), Some(micro(0))));
}

#[test]
fn no_more_is_given_back_than_was_taken() {
    let mut story = Story::begin().granted(1, 100);
    let refusal = |taken, requested| WalletRefusal::MoreThanTakenBack {
        payment_id: grant_id(1),
        taken: micro(taken),
        requested: micro(requested),
    };
    assert_eq!(story.act(reinstate(1, 1)), Err(refusal(0, 1)));
    story = story.taken_back(1, 40).reinstated(1, 15);
    assert_eq!(story.act(reinstate(1, 26)), Err(refusal(25, 26)));
    assert!(story.act(reinstate(1, 25)).is_ok());
    assert_eq!(story.act(reinstate(1, 1)), Err(refusal(0, 1)));
    assert_eq!(story.balance_and_debt(), (100, 0));
}

#[test]
fn a_reversal_is_never_clamped_to_what_was_granted() {
    let story = Story::begin().granted(1, 100).taken_back(1, 30).taken_back(1, 100);
    assert_eq!(story.balance_and_debt(), (0, 30), "a refund and a dispute of the whole");
    assert_eq!(story.reinstated(1, 100).balance_and_debt(), (70, 0));
}

#[test]
fn credit_that_expired_while_it_was_disputed_does_not_come_back() {
    let mut story = Story::begin().granted_until(1, 100, 50).granted(2, 5).taken_back(1, 100).at(60);
    let events = story.act(reinstate(1, 100)).unwrap();
    assert_eq!(events[0].balance(), micro(105));
    let expired = WalletEvent::GrantExpired {
        grant_id: grant_id(1),
        expired_micro: micro(100),
        kept_micro: micro(0),
        balance_micro: micro(5),
        held_micro: micro(0),
        at: second(60),
    };
    assert_eq!(events[1..], [expired]);
    assert_eq!(story.balance_and_debt(), (5, 0));
}

#[test]
fn a_reversal_leaves_other_grants_what_they_keep_for_older_holds() {
    let story = Story::begin()
        .granted_until(1, 100, 50)
        .held(1, 60)
        .at(50)
        .with(sweep())
        .granted(2, 10)
        .taken_back(2, 30);
    assert_eq!(story.remaining(1), Some(micro(60)));
    assert_eq!(story.balance_and_debt(), (60, 20));
    let story = story.with(release(1));
    assert_eq!(story.balance_and_debt(), (0, 20));
}

#[test]
fn a_charge_given_back_pays_the_debt_of_the_payment_it_was_paid_with() {
    let mut story = spent(100).taken_back(1, 70);
    let events = story.act(reverse_for(1, 100, 1, second(0))).unwrap();
    let [WalletEvent::ChargeReversed { amount_micro, to, debt_paid_micro, balance_micro, .. }] = &events[..]
    else {
        panic!("one event, not {events:?}")
    };
    assert_eq!((*amount_micro, *debt_paid_micro, *balance_micro), (micro(100), micro(70), micro(30)));
    assert_eq!(*to, vec![part(1, 30)]);
    assert_eq!(story.balance_and_debt(), (30, 0));
    assert_eq!(story.wallet.key_use(key(1), story.now).spent_today_micro, micro(0));
}

#[test]
fn a_charge_given_back_to_credit_that_nobody_bought_pays_no_debt() {
    let story = Story::begin().given(1, 50).held(1, 50).settled(1, 50).granted(2, 10).taken_back(2, 40);
    let mut story = story;
    assert_eq!(story.balance_and_debt(), (0, 30));
    story.act(reverse_for(1, 50, 1, second(0))).unwrap();
    assert_eq!(story.balance_and_debt(), (50, 30));
}

#[test]
fn what_is_won_back_for_a_forgotten_grant_returns_on_the_log_s_word() {
    let mut story = Story::begin().with(grant(1, 100, Some(950))).held(1, 100).settled(1, 100);
    for number in 0..=EXHAUSTED_GRANTS_KEPT as u128 {
        let small = 1_000 + number;
        story = story.at(1).with(grant(small, 1, Some(900))).held(small, 1).settled(small, 1);
    }
    assert_eq!(story.remaining(1), None, "it has left the state");
    story = story.taken_back(1, 100).granted(2, 60);
    assert_eq!(story.balance_and_debt(), (0, 40));
    assert_eq!(story.act(reinstate(1, 100)), Err(WalletRefusal::UnknownGrant { grant_id: grant_id(1) }));
    let terms = GrantTerms {
        source: GrantSource::TopUp,
        amount_micro: micro(100),
        expires_at: Some(second(950)),
        granted_at: second(0),
    };
    let recalled = Some(terms);
    let action =
        WalletAction::ReinstatePayment { payment_id: grant_id(1), amount_micro: micro(100), recalled };
    let events = story.act(action).unwrap();
    assert!(
        matches!(events[..], [WalletEvent::PaymentReinstated { grant: Some(kept), .. }] if kept == terms)
    );
    assert_eq!(story.balance_and_debt(), (60, 0));
    let story = story.at(950).with(sweep());
    assert_eq!(story.balance_and_debt(), (0, 0), "it expires when it always would have");
}

#[test]
fn a_reversed_payment_no_longer_raises_the_leak_limit() {
    let mut story = Story::begin().granted(1, 1_000).given(2, 1_000);
    story.terms.leak_basis_points = 1_000;
    // Worst cases may exceed the balance by a tenth of what was paid.
    let wide = |story: Story| story.held(1, 900).act(place(request(2, 100, 1_100)));
    assert!(wide(story.clone()).is_ok(), "2 100 at worst, 2 000 there and 100 of leak");
    story = story.taken_back(1, 500).given(3, 500);
    assert!(matches!(wide(story.clone()), Err(WalletRefusal::MustWait { .. })), "50 of leak");
    assert!(wide(story.reinstated(1, 500)).is_ok());
}

#[test]
fn nothing_less_and_too_much_are_no_amounts() {
    for amount in [0, -1, i64::MIN, MAX_GRANT.0 + 1, i64::MAX] {
        let refusal = WalletRefusal::AmountOutOfRange { amount: micro(amount), most: MAX_GRANT };
        let mut story = Story::begin().granted(1, 100);
        assert_eq!(story.act(take_back(1, amount)), Err(refusal.clone()));
        assert_eq!(story.act(reinstate(1, amount)), Err(refusal));
    }
}

/// A reversal of one of two payments, or of the charge that spent both.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Refunded(u128, i64),
    Disputed(u128),
    Won(u128),
    ChargeReversed,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let all = vec![
        Turn::Refunded(1, 30),
        Turn::Disputed(1),
        Turn::Won(1),
        Turn::Refunded(2, 10),
        Turn::Disputed(2),
        Turn::ChargeReversed,
    ];
    Just(all).prop_shuffle()
}

proptest! {
    #[test]
    fn refunds_disputes_and_reversed_charges_commute(turns in turns(), spent in 1..150_i64) {
        let given = Story::begin().granted(1, 100).granted(2, 50).given(3, 25);
        let mut story = given.held(1, spent.unsigned_abs()).settled(1, spent);
        let from = [part(1, spent.min(100)), part(2, (spent - 100).max(0))];
        let mut waiting = false;
        for turn in turns {
            match turn {
                Turn::Refunded(payment, amount) => story = story.taken_back(payment, amount),
                Turn::Disputed(payment) => {
                    story = story.taken_back(payment, 20);
                    if waiting {
                        story = story.reinstated(payment, 20);
                        waiting = false;
                    }
                }
                // News of it that came before the dispute's own is kept until then.
                Turn::Won(payment) => match story.act(reinstate(payment, 20)) {
                    Ok(_) => {}
                    Err(_) => waiting = true,
                },
                Turn::ChargeReversed => {
                    let parts = from.iter().copied().filter(|part| part.amount_micro.is_positive()).collect();
                    let WalletAction::ReverseCharge { generation_id, reason, charged, plan, .. } =
                        reverse_for(1, 1, 1, second(0)) else { unreachable!() };
                    let reverse = WalletAction::ReverseCharge { generation_id, reason, parts, charged, plan };
                    story = story.with(reverse);
                }
            }
        }
        // 175 granted; 40 refunded; the second dispute lost.
        let (balance, debt) = story.balance_and_debt();
        prop_assert_eq!((balance, debt), (175 - 40 - 20, 0));
    }
}
