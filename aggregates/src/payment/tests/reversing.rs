//! Refunds and disputes: cumulative, by difference, never clamped.

use super::{Both, dispute, observed, paid, payment_id, refund, start};
use crate::examples::{micro, second};
use crate::money::MicroUsd;
use crate::payment::reversal::MAX_REVERSALS;
use crate::payment::{
    CreditingRefusal, DisputeStatus, MAX_PROVIDER_ID, ObservedReversal, PaymentAction, PaymentCommand,
    PaymentEvent, PaymentRefusal, Purpose, RefundStatus, Reversal, StartPayment, confirm, reverse,
};
use crate::wallet::{WalletEvent, WalletTerms};

fn credited(start: StartPayment) -> Both {
    let mut both = Both::default();
    let price = start.price_micro;
    let action = PaymentAction::StartPayment(Box::new(start));
    let started = both.payment.decide(PaymentCommand { payment_id: payment_id(), action, now: second(0) });
    both.apply((started.expect("started"), vec![]));
    let paid = super::ObservedPayment { amount_micro: price, ..paid() };
    let terms = WalletTerms::default();
    let (payment, wallet, _) = confirm(&both.payment, &both.wallet, &paid, &terms, second(5)).unwrap();
    both.apply((payment, wallet));
    both
}

impl Both {
    fn reverse(&mut self, observed: &ObservedReversal) -> Result<Vec<WalletEvent>, CreditingRefusal> {
        let terms = WalletTerms::default();
        let (payment, wallet, _) = reverse(&self.payment, &self.wallet, observed, &terms, second(9))?;
        self.apply((payment, wallet.clone()));
        Ok(wallet)
    }
}

fn refused(both: &Both, observed: &ObservedReversal) -> PaymentRefusal {
    match both.clone().reverse(observed).expect_err("refused") {
        CreditingRefusal::Payment(refusal) => refusal,
        other => panic!("a wallet refused: {other}"),
    }
}

#[test]
fn a_refund_takes_the_same_share_of_the_credit_along() {
    let mut both = credited(start());
    let terms = WalletTerms::default();
    let refunded = refund("re_1", MicroUsd::dollars(4), RefundStatus::Made);
    let (payment, _, outcome) = reverse(&both.payment, &both.wallet, &refunded, &terms, second(9)).unwrap();
    let remaining_micro = MicroUsd::dollars(15);
    assert_eq!(
        payment,
        [PaymentEvent::RefundRecorded {
            payment_id: payment_id(),
            refund_id: "re_1".into(),
            amount_micro: MicroUsd::dollars(4),
            status: RefundStatus::Made,
            reversed_micro: MicroUsd::dollars(4),
            remaining_micro,
            at: second(9),
        }]
    );
    assert_eq!((outcome.remaining_micro, outcome.balance_micro), (remaining_micro, remaining_micro));
    both.reverse(&refunded).expect("recorded");
    assert_eq!(both.reverse(&refunded), Ok(vec![]), "the same one again changes nothing");
    both.reverse(&refund("re_2", MicroUsd::dollars(6), RefundStatus::Made)).expect("recorded");
    assert_eq!((both.wallet.balance(), both.wallet.debt()), (MicroUsd::ZERO, MicroUsd::ZERO));
}

#[test]
fn a_refund_that_came_back_gives_the_credit_back_and_is_final() {
    let mut both = credited(start());
    let amount = MicroUsd::dollars(10);
    both.reverse(&refund("re_1", amount, RefundStatus::Made)).expect("recorded");
    both.reverse(&refund("re_1", amount, RefundStatus::Failed)).expect("recorded");
    assert_eq!(both.wallet.balance(), MicroUsd::dollars(25));
    assert_eq!(both.reverse(&refund("re_1", amount, RefundStatus::Made)), Ok(vec![]), "old news");
    assert_eq!(both.wallet.balance(), MicroUsd::dollars(25));
}

#[test]
fn a_dispute_takes_all_while_it_is_open_or_lost_and_nothing_when_won() {
    let mut both = credited(start());
    let tell = |both: &mut Both, status| {
        both.reverse(&dispute("dp_1", MicroUsd::dollars(10), status)).expect("recorded");
        both.wallet.balance()
    };
    assert_eq!(tell(&mut both, DisputeStatus::Inquiry), MicroUsd::dollars(25));
    assert_eq!(tell(&mut both, DisputeStatus::Open), MicroUsd::ZERO);
    assert!(both.payment.is_disputed());
    assert_eq!(tell(&mut both, DisputeStatus::Lost), MicroUsd::ZERO);
    assert!(!both.payment.is_disputed());
    assert_eq!(tell(&mut both, DisputeStatus::Won), MicroUsd::dollars(25));
    assert_eq!(tell(&mut both, DisputeStatus::Lost), MicroUsd::dollars(25), "a won one is not lost again");
}

#[test]
fn what_is_refunded_and_disputed_beyond_the_price_is_not_clamped() {
    let mut both = credited(start());
    both.reverse(&refund("re_1", MicroUsd::dollars(10), RefundStatus::Made)).expect("recorded");
    both.reverse(&dispute("dp_1", MicroUsd::dollars(10), DisputeStatus::Open)).expect("recorded");
    assert_eq!(both.payment.remaining(), MicroUsd::dollars(-25));
    assert_eq!((both.wallet.balance(), both.wallet.debt()), (MicroUsd::ZERO, MicroUsd::dollars(25)));
    both.reverse(&dispute("dp_1", MicroUsd::dollars(10), DisputeStatus::Won)).expect("recorded");
    assert_eq!((both.wallet.balance(), both.wallet.debt()), (MicroUsd::ZERO, MicroUsd::ZERO));
}

#[test]
fn what_should_remain_is_rounded_down_once_whatever_the_parts() {
    // A third of a cent's worth must not be lost or minted by rounding each part.
    let purpose = Purpose::TokenCredit { credit_micro: micro(1_000_001) };
    let mut both = credited(StartPayment { purpose, price_micro: MicroUsd::dollars(3), ..start() });
    for (id, expected) in [("re_1", 666_667), ("re_2", 333_333), ("re_3", 0)] {
        both.reverse(&refund(id, MicroUsd::dollars(1), RefundStatus::Made)).expect("recorded");
        assert_eq!(both.wallet.balance(), micro(expected));
    }
}

#[test]
fn every_mismatch_is_refused_with_its_numbers() {
    let both = credited(start());
    let good = refund("re_1", MicroUsd::dollars(4), RefundStatus::Made);
    let other = ObservedReversal { currency: None, ..good.clone() };
    assert_eq!(refused(&both, &other), PaymentRefusal::CurrencyMismatch);
    let other = ObservedReversal { livemode: true, ..good.clone() };
    assert_eq!(refused(&both, &other), PaymentRefusal::LivemodeMismatch { started: false, got: true });
    let most = MicroUsd::dollars(10);
    for amount in [micro(0), micro(-1), most + micro(1)] {
        let other = ObservedReversal { amount_micro: amount, ..good.clone() };
        assert_eq!(refused(&both, &other), PaymentRefusal::ReversalOutOfRange { amount, most });
    }
    let other = refund(" ", MicroUsd::dollars(4), RefundStatus::Made);
    assert_eq!(refused(&both, &other), PaymentRefusal::BadProviderId { most: MAX_PROVIDER_ID });
    assert_eq!(refused(&Both::default(), &good), PaymentRefusal::NotStarted { payment_id: payment_id() });
}

#[test]
fn one_refund_does_not_change_its_amount() {
    let mut both = credited(start());
    both.reverse(&refund("re_1", MicroUsd::dollars(4), RefundStatus::Made)).expect("recorded");
    let (recorded, got) = (MicroUsd::dollars(4), MicroUsd::dollars(5));
    let refusal = refused(&both, &refund("re_1", got, RefundStatus::Made));
    assert_eq!(refusal, PaymentRefusal::ReversalAmountChanged { id: "re_1".into(), recorded, got });
    // A dispute of the same id is another thing.
    both.reverse(&dispute("re_1", got, DisputeStatus::Open)).expect("recorded");
}

#[test]
fn the_number_of_refunds_and_disputes_is_bounded() {
    let mut both = credited(start());
    for number in 0..MAX_REVERSALS {
        let reversal = match number % 2 {
            0 => Reversal::Refund { refund_id: format!("re_{number}"), status: RefundStatus::Made },
            _ => Reversal::Dispute { dispute_id: format!("dp_{number}"), status: DisputeStatus::Won },
        };
        both.reverse(&observed(reversal, micro(10_000))).expect("recorded");
    }
    let refusal = refused(&both, &refund("re_more", micro(10_000), RefundStatus::Made));
    assert_eq!(refusal, PaymentRefusal::TooManyReversals { most: MAX_REVERSALS });
    both.reverse(&refund("re_0", micro(10_000), RefundStatus::Failed)).expect("a known one goes on");
}
