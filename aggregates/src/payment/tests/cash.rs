//! Money for the cash wallet: as much as was paid, taken back and given again with its refunds and disputes.

use cqrs_es::Aggregate;

use super::{dispute, paid, payment_id, refund, start};
use crate::cash::{CashAction, CashCommand, CashEvent, CashWallet};
use crate::examples::second;
use crate::money::MicroUsd;
use crate::payment::{
    CreditingRefusal, DisputeStatus, ObservedPayment, Payment, PaymentAction, PaymentCommand, PaymentEvent,
    PaymentRefusal, Purpose, RefundStatus, StartPayment, confirm_cash, reverse_cash,
};

#[derive(Clone, Default)]
struct Both {
    payment: Payment,
    cash: CashWallet,
}

impl Both {
    fn begun(purpose: Purpose) -> Self {
        let mut both = Self::default();
        let action = PaymentAction::StartPayment(Box::new(StartPayment { purpose, ..start() }));
        let command = PaymentCommand { payment_id: payment_id(), action, now: second(0) };
        let events = both.payment.decide(command).expect("started");
        both.apply((events, vec![]));
        both
    }

    fn apply(&mut self, (payment, cash): (Vec<PaymentEvent>, Vec<CashEvent>)) {
        payment.into_iter().for_each(|event| self.payment.apply(event));
        cash.into_iter().for_each(|event| self.cash.apply(event));
    }

    fn confirm(&mut self) -> Result<bool, CreditingRefusal> {
        let (payment, cash, credited) = confirm_cash(&self.payment, &self.cash, &paid(), second(5))?;
        self.apply((payment, cash));
        Ok(credited.repeated)
    }

    fn reverse(&mut self, observed: &super::ObservedReversal) {
        let (payment, cash, _) =
            reverse_cash(&self.payment, &self.cash, observed, second(9)).expect("recorded");
        self.apply((payment, cash));
    }

    fn amounts(&self) -> (MicroUsd, MicroUsd) {
        (self.cash.balance(), self.cash.debt())
    }
}

const NOTHING: MicroUsd = MicroUsd::ZERO;

#[test]
fn what_is_paid_is_topped_up_once() {
    let mut both = Both::begun(Purpose::CashTopUp);
    assert_eq!(both.confirm(), Ok(false));
    assert_eq!(both.confirm(), Ok(true));
    assert_eq!(both.amounts(), (MicroUsd::dollars(10), NOTHING));
    let other = ObservedPayment { amount_micro: MicroUsd::dollars(9), ..paid() };
    assert!(confirm_cash(&both.payment, &both.cash, &other, second(5)).is_err());
}

#[test]
fn refunds_and_disputes_take_back_and_give_again_though_all_was_spent() {
    let mut both = Both::begun(Purpose::CashTopUp);
    both.confirm().expect("credited");
    let (ten, four) = (MicroUsd::dollars(10), MicroUsd::dollars(4));
    both.reverse(&refund("re_1", four, RefundStatus::Made));
    assert_eq!(both.amounts(), (MicroUsd::dollars(6), NOTHING));
    both.reverse(&refund("re_1", four, RefundStatus::Failed));
    both.reverse(&dispute("dp_1", ten, DisputeStatus::Open));
    assert_eq!(both.amounts(), (NOTHING, NOTHING));
    both.reverse(&dispute("dp_1", ten, DisputeStatus::Won));
    assert_eq!(both.amounts(), (ten, NOTHING));
}

#[test]
fn a_reversal_heard_of_first_is_taken_off_what_is_topped_up() {
    let mut both = Both::begun(Purpose::CashTopUp);
    both.reverse(&refund("re_1", MicroUsd::dollars(4), RefundStatus::Made));
    assert_eq!(both.amounts(), (NOTHING, NOTHING));
    both.confirm().expect("credited");
    assert_eq!(both.amounts(), (MicroUsd::dollars(6), NOTHING));
}

#[test]
fn token_credit_is_no_money_for_the_cash_wallet() {
    let both = Both::begun(Purpose::TokenCredit { credit_micro: MicroUsd::dollars(25) });
    let expected = CreditingRefusal::Payment(PaymentRefusal::OtherPurpose { wanted: "the cash wallet" });
    assert_eq!(confirm_cash(&both.payment, &both.cash, &paid(), second(5)), Err(expected.clone()));
    let refunded = refund("re_1", MicroUsd::dollars(1), RefundStatus::Made);
    assert_eq!(reverse_cash(&both.payment, &both.cash, &refunded, second(5)), Err(expected));
    // A payment of this id that the cash wallet has of elsewhere is not credited twice either.
    let mut both = Both::begun(Purpose::CashTopUp);
    let action = CashAction::TopUp { payment_id: payment_id().grant(), amount_micro: MicroUsd::dollars(10) };
    let events = both.cash.decide(CashCommand { action, now: second(0) }).expect("topped up");
    both.apply((vec![], events));
    both.confirm().expect("credited");
    assert_eq!(both.amounts(), (MicroUsd::dollars(10), NOTHING));
}
