//! Money in, back and in again: every step and every refusal.

use cqrs_es::test::TestFramework;

use super::{after, at, commission, pay_commission, reinstate, take_back, top_up};
use crate::cash::{CashAction, CashEvent, CashRefusal, CashWallet, MAX_PAID_IN, MAX_REMEMBERED, TokenOrder};
use crate::examples::{grant_id, micro, second};

async fn expect(given: &[CashAction], when: CashAction, then: Result<Vec<CashEvent>, CashRefusal>) {
    let (_, events) = after(given.to_vec());
    let outcome = TestFramework::<CashWallet>::with(()).given(events).when_async(at(when, 1)).await;
    assert_eq!(outcome.inspect_result(), then);
}

fn topped_up(number: u128, amount: i64, balance: i64, debt: i64) -> CashEvent {
    CashEvent::ToppedUp {
        payment_id: grant_id(number),
        amount_micro: micro(amount),
        balance_micro: micro(balance),
        debt_micro: micro(debt),
        at: second(1),
    }
}

fn taken_back(number: u128, amount: i64, balance: i64, debt: i64) -> CashEvent {
    CashEvent::PaymentTakenBack {
        payment_id: grant_id(number),
        amount_micro: micro(amount),
        balance_micro: micro(balance),
        debt_micro: micro(debt),
        at: second(1),
    }
}

fn reinstated(number: u128, amount: i64, balance: i64, debt: i64) -> CashEvent {
    CashEvent::PaymentReinstated {
        payment_id: grant_id(number),
        amount_micro: micro(amount),
        balance_micro: micro(balance),
        debt_micro: micro(debt),
        at: second(1),
    }
}

fn buy(price: i64) -> CashAction {
    CashAction::BuyTokens(TokenOrder {
        purchase_id: grant_id(900),
        plan_id: "starter".into(),
        quantity: 1,
        price_micro: micro(price),
        credit_micro: micro(2 * price),
    })
}

#[tokio::test]
async fn a_payment_is_credited_once_however_often_it_is_told() {
    expect(&[], top_up(1, 100), Ok(vec![topped_up(1, 100, 100, 0)])).await;
    expect(&[top_up(1, 100)], top_up(1, 100), Ok(vec![])).await;
    expect(&[top_up(1, 100)], top_up(2, 50), Ok(vec![topped_up(2, 50, 150, 0)])).await;
    let (payment_id, credited, amount) = (grant_id(1), micro(100), micro(99));
    let refusal = CashRefusal::PaymentExists { payment_id, credited, amount };
    expect(&[top_up(1, 100)], top_up(1, 99), Err(refusal)).await;
}

#[tokio::test]
async fn an_amount_is_more_than_nothing_and_within_bounds() {
    let most = MAX_PAID_IN;
    for amount in [0, -1, most.0 + 1] {
        let refusal = || Err(CashRefusal::AmountOutOfRange { amount: micro(amount), most });
        expect(&[], top_up(1, amount), refusal()).await;
        expect(&[], pay_commission(1, amount), refusal()).await;
        expect(&[top_up(1, 5)], take_back(1, amount), refusal()).await;
        expect(&[top_up(1, 5)], reinstate(1, amount), refusal()).await;
        expect(&[top_up(1, 5)], buy(amount), refusal()).await;
    }
}

#[tokio::test]
async fn what_the_balance_cannot_give_back_is_debt_and_later_money_pays_it_first() {
    let spent = [top_up(1, 100), buy(70)];
    expect(&spent, take_back(1, 100), Ok(vec![taken_back(1, 100, 0, 70)])).await;
    let owing = [top_up(1, 100), buy(70), take_back(1, 100)];
    expect(&owing, top_up(2, 50), Ok(vec![topped_up(2, 50, 0, 20)])).await;
    expect(&owing, top_up(2, 90), Ok(vec![topped_up(2, 90, 20, 0)])).await;
    expect(&owing, reinstate(1, 100), Ok(vec![reinstated(1, 100, 30, 0)])).await;
    let paid = CashEvent::CommissionPaid {
        commission_id: commission(1),
        amount_micro: micro(10),
        balance_micro: micro(0),
        debt_micro: micro(60),
        at: second(1),
    };
    expect(&owing, pay_commission(1, 10), Ok(vec![paid])).await;
    expect(&owing, buy(1), Err(CashRefusal::InDebt { debt: micro(70) })).await;
}

#[tokio::test]
async fn no_more_is_reinstated_than_was_taken_back() {
    let partly = [top_up(1, 100), take_back(1, 60)];
    expect(&partly, take_back(1, 40), Ok(vec![taken_back(1, 40, 0, 0)])).await;
    expect(&partly, take_back(1, 41), Ok(vec![taken_back(1, 41, 0, 1)])).await;
    expect(&partly, reinstate(1, 60), Ok(vec![reinstated(1, 60, 100, 0)])).await;
    let refusal = CashRefusal::MoreThanTakenBack { amount: micro(61), taken: micro(60) };
    expect(&partly, reinstate(1, 61), Err(refusal)).await;
    let unknown = || Err(CashRefusal::UnknownPayment { payment_id: grant_id(2) });
    expect(&partly, take_back(2, 1), unknown()).await;
    expect(&partly, reinstate(2, 1), unknown()).await;
}

#[tokio::test]
async fn a_commission_is_paid_once_and_goes_back_with_its_purchase() {
    let given = [pay_commission(1, 40)];
    expect(&given, pay_commission(1, 40), Ok(vec![])).await;
    let commission_id = commission(1);
    let (paid, amount) = (micro(40), micro(41));
    let refusal = CashRefusal::CommissionExists { commission_id, paid, amount };
    expect(&given, pay_commission(1, 41), Err(refusal)).await;

    let back = CashAction::TakeBackCommission { commission_id, amount_micro: micro(15) };
    let taken = CashEvent::CommissionTakenBack {
        commission_id,
        amount_micro: micro(15),
        balance_micro: micro(25),
        debt_micro: micro(0),
        at: second(1),
    };
    expect(&given, back.clone(), Ok(vec![taken])).await;

    let again = |amount| CashAction::ReinstateCommission { commission_id, amount_micro: micro(amount) };
    let given_again = CashEvent::CommissionReinstated {
        commission_id,
        amount_micro: micro(15),
        balance_micro: micro(40),
        debt_micro: micro(0),
        at: second(1),
    };
    expect(&[pay_commission(1, 40), back.clone()], again(15), Ok(vec![given_again])).await;
    let refusal = CashRefusal::MoreThanTakenBack { amount: micro(16), taken: micro(15) };
    expect(&[pay_commission(1, 40), back.clone()], again(16), Err(refusal)).await;
    let unknown = || Err(CashRefusal::UnknownCommission { commission_id });
    expect(&[], back, unknown()).await;
    expect(&[], again(1), unknown()).await;
}

#[test]
fn the_oldest_payments_are_forgotten_and_no_money_with_them() {
    let many = u128::try_from(MAX_REMEMBERED).unwrap() + 1;
    let (wallet, _) = after((1..=many).map(|number| top_up(number, 10)));
    assert_eq!(wallet.balance(), micro(10 * i64::try_from(many).unwrap()));
    assert_eq!(wallet.payments.len(), MAX_REMEMBERED);
    let refusal = CashRefusal::UnknownPayment { payment_id: grant_id(1) };
    assert_eq!(wallet.decide(at(take_back(1, 1), 1)), Err(refusal));
    assert!(wallet.decide(at(take_back(many, 1), 1)).is_ok());
}
