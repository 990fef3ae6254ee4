//! Crediting: only for exactly what was started, once, whatever happened before.

use uuid::Uuid;

use super::{Both, account, dispute, paid, payment_id, refund, start};
use crate::examples::second;
use crate::ids::{AccountId, PaymentId};
use crate::money::MicroUsd;
use crate::payment::{
    Credited, CreditingRefusal, DisputeStatus, FailureReason, ObservedPayment, PaymentAction, PaymentCommand,
    PaymentEvent, PaymentRefusal, Purpose, RefundStatus, Standing, StartPayment, confirm, reverse,
};
use crate::wallet::{GrantSource, WalletEvent, WalletTerms};

fn begun(start: StartPayment) -> Both {
    let mut both = Both::default();
    both.act(PaymentAction::StartPayment(Box::new(start)));
    both
}

impl Both {
    fn act(&mut self, action: PaymentAction) {
        let command = PaymentCommand { payment_id: payment_id(), action, now: second(0) };
        let events = self.payment.decide(command).expect("agreed to");
        self.apply((events, vec![]));
    }

    fn confirm(&mut self, observed: &ObservedPayment) -> Result<Credited, CreditingRefusal> {
        let terms = WalletTerms::default();
        let (payment, wallet, credited) = confirm(&self.payment, &self.wallet, observed, &terms, second(5))?;
        self.apply((payment, wallet));
        Ok(credited)
    }
}

fn refused(both: &Both, observed: &ObservedPayment) -> PaymentRefusal {
    match both.clone().confirm(observed).expect_err("refused") {
        CreditingRefusal::Payment(refusal) => refusal,
        other => panic!("a wallet refused: {other}"),
    }
}

#[test]
fn what_is_paid_is_credited_under_the_payments_id_once() {
    let mut both = begun(start());
    let terms = WalletTerms::default();
    let (payment, wallet, _) = confirm(&both.payment, &both.wallet, &paid(), &terms, second(5)).unwrap();
    let credit = MicroUsd::dollars(25);
    assert_eq!(
        payment,
        [PaymentEvent::PaymentCredited {
            payment_id: payment_id(),
            payment_intent_id: Some("pi_1".into()),
            paid_micro: MicroUsd::dollars(10),
            granted_micro: credit,
            remaining_micro: credit,
            at: second(5),
        }]
    );
    let [WalletEvent::CreditGranted { grant_id, source, amount_micro, expires_at, .. }] = wallet.as_slice()
    else {
        panic!("one grant, not {wallet:?}")
    };
    let expected = (payment_id().grant(), GrantSource::TopUp, credit, None);
    assert_eq!((*grant_id, *source, *amount_micro, *expires_at), expected);

    let first = Credited { remaining_micro: credit, balance_micro: credit, repeated: false };
    assert_eq!(both.confirm(&paid()), Ok(first));
    for _ in 0..3 {
        assert_eq!(both.confirm(&paid()), Ok(Credited { repeated: true, ..first }));
    }
    assert_eq!(both.wallet.balance(), credit);
}

#[test]
fn money_that_came_after_all_is_credited() {
    let failed = PaymentAction::FailPayment { reason: FailureReason::Declined };
    for ended in [failed, PaymentAction::ExpirePayment] {
        let mut both = begun(start());
        both.act(ended);
        both.confirm(&paid()).expect("credited");
        assert_eq!(
            (both.payment.standing(), both.wallet.balance()),
            (Standing::Credited, MicroUsd::dollars(25))
        );
    }
}

#[test]
fn every_mismatch_is_refused_with_its_numbers() {
    let both = begun(start());
    let other = AccountId(Uuid::from_u128(8));
    assert_eq!(
        refused(&both, &ObservedPayment { account_id: other, ..paid() }),
        PaymentRefusal::OtherAccount { started_by: account(), got: other }
    );
    let (expected, got) = (MicroUsd::dollars(10), MicroUsd::dollars(10) - MicroUsd(10_000));
    for got in [got, MicroUsd::dollars(10) + MicroUsd(1), MicroUsd::ZERO] {
        let observed = ObservedPayment { amount_micro: got, ..paid() };
        assert_eq!(refused(&both, &observed), PaymentRefusal::AmountMismatch { expected, got });
    }
    let observed = ObservedPayment { currency: None, ..paid() };
    assert_eq!(refused(&both, &observed), PaymentRefusal::CurrencyMismatch);
    let observed = ObservedPayment { livemode: true, ..paid() };
    assert_eq!(refused(&both, &observed), PaymentRefusal::LivemodeMismatch { started: false, got: true });
    let live = begun(StartPayment { livemode: true, ..start() });
    assert_eq!(refused(&live, &paid()), PaymentRefusal::LivemodeMismatch { started: true, got: false });
    assert_eq!(refused(&both, &ObservedPayment { paid: false, ..paid() }), PaymentRefusal::NotPaid);
    let observed = ObservedPayment { session_id: Some("cs 1".into()), ..paid() };
    assert!(matches!(refused(&both, &observed), PaymentRefusal::BadProviderId { .. }));
    let observed = ObservedPayment { payment_intent_id: Some(String::new()), ..paid() };
    assert!(matches!(refused(&both, &observed), PaymentRefusal::BadProviderId { .. }));
}

#[test]
fn a_mismatch_is_refused_of_a_credited_payment_too() {
    let mut both = begun(start());
    both.confirm(&paid()).expect("credited");
    let observed = ObservedPayment { amount_micro: MicroUsd::dollars(9), ..paid() };
    assert!(matches!(refused(&both, &observed), PaymentRefusal::AmountMismatch { .. }));
}

#[test]
fn another_checkout_than_the_one_opened_is_refused() {
    let mut both = begun(start());
    both.act(PaymentAction::NoteCheckout { session_id: "cs_1".into() });
    let observed = ObservedPayment { session_id: Some("cs_2".into()), ..paid() };
    let expected = PaymentRefusal::OtherSession { known: "cs_1".into(), got: "cs_2".into() };
    assert_eq!(refused(&both, &observed), expected);
    both.confirm(&ObservedPayment { session_id: None, ..paid() }).expect("the intent alone will do");
}

#[test]
fn what_was_never_started_is_refused() {
    let payment_id = PaymentId(Uuid::from_u128(99));
    let observed = ObservedPayment { payment_id, ..paid() };
    assert_eq!(refused(&Both::default(), &observed), PaymentRefusal::NotStarted { payment_id });
}

#[test]
fn money_for_the_cash_wallet_is_no_token_credit() {
    let both = begun(StartPayment { purpose: Purpose::CashTopUp, ..start() });
    assert_eq!(refused(&both, &paid()), PaymentRefusal::OtherPurpose { wanted: "the token wallet" });
    let refunded = refund("re_1", MicroUsd::dollars(1), RefundStatus::Made);
    let refusal = reverse(&both.payment, &both.wallet, &refunded, &WalletTerms::default(), second(5));
    let expected = PaymentRefusal::OtherPurpose { wanted: "the token wallet" };
    assert_eq!(refusal, Err(CreditingRefusal::Payment(expected)));
}

#[test]
fn a_reversal_heard_of_before_the_payment_is_taken_off_when_it_is_credited() {
    let mut both = begun(start());
    let reversed = dispute("dp_1", MicroUsd::dollars(4), DisputeStatus::Open);
    let terms = WalletTerms::default();
    let (payment, wallet, _) = reverse(&both.payment, &both.wallet, &reversed, &terms, second(1)).unwrap();
    assert_eq!(wallet, []);
    both.apply((payment, wallet));
    let credited = both.confirm(&paid()).expect("credited");
    assert_eq!(credited.remaining_micro, MicroUsd::dollars(15));
    assert_eq!((both.wallet.balance(), both.wallet.debt()), (MicroUsd::dollars(15), MicroUsd::ZERO));
}
