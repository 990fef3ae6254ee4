//! Time of a plan: granted with the payment, ended with the whole of it, and reinstated when it is ours again.

use super::{Both, dispute, paid, payment_id, refund, start};
use crate::examples::second;
use crate::ids::PlanId;
use crate::money::{MicroUsd, Rate};
use crate::payment::{
    DisputeStatus, ObservedReversal, PaymentAction, PaymentCommand, Purpose, RefundStatus, StartPayment,
    confirm, reverse,
};
use crate::usage::ClientFamily;
use crate::wallet::entitlements::{
    AssumedRates, EntitlementEnd, EntitlementSource, EntitlementTerms, FairUse, FairUseWindow, Scope,
};
use crate::wallet::{WalletEvent, WalletTerms};

const DAY: u32 = 86_400;

fn plan() -> EntitlementTerms {
    let plan_id: PlanId = "unlimited-promo".parse().expect("an id");
    let window = FairUseWindow { length_secs: 18_000, limit_micro: MicroUsd::dollars(50) };
    let rates = AssumedRates { input: Rate(1_000_000), output: Rate(1_000_000) };
    EntitlementTerms {
        plan_id,
        scope: Scope { families: vec![ClientFamily::CodexCli], models: vec!["gpt-5.5".into()] },
        fair_use: FairUse { rates, windows: vec![window] },
        block_secs: 10 * DAY,
        blocks: 3,
    }
}

impl Both {
    fn bought() -> Self {
        let mut both = Self::default();
        let purpose = Purpose::Entitlement { terms: Box::new(plan()) };
        let action = PaymentAction::StartPayment(Box::new(StartPayment { purpose, ..start() }));
        let command = PaymentCommand { payment_id: payment_id(), action, now: second(0) };
        let events = both.payment.decide(command).expect("started");
        both.apply((events, vec![]));
        both
    }

    fn paid(&mut self) -> Vec<WalletEvent> {
        let terms = WalletTerms::default();
        let (payment, wallet, _) = confirm(&self.payment, &self.wallet, &paid(), &terms, second(5)).unwrap();
        self.apply((payment, wallet.clone()));
        wallet
    }

    fn hears(&mut self, observed: &ObservedReversal) -> Vec<WalletEvent> {
        let terms = WalletTerms::default();
        let (payment, wallet, _) = reverse(&self.payment, &self.wallet, observed, &terms, second(9)).unwrap();
        self.apply((payment, wallet.clone()));
        wallet
    }
}

fn ended(events: &[WalletEvent]) -> bool {
    let by_reversal = |event: &WalletEvent| {
        matches!(event, WalletEvent::EntitlementEnded { reason: EntitlementEnd::PaymentReversed, .. })
    };
    events.iter().any(by_reversal)
}

fn reinstated(events: &[WalletEvent]) -> bool {
    events.iter().any(|event| matches!(event, WalletEvent::EntitlementReinstated { .. }))
}

#[test]
fn what_is_paid_is_time_under_the_payments_id_once_and_no_credit() {
    let mut both = Both::bought();
    let events = both.paid();
    let [WalletEvent::EntitlementGranted { entitlement_id, source, terms, .. }] = events.as_slice() else {
        panic!("one grant of time, not {events:?}")
    };
    assert_eq!((*entitlement_id, *source), (payment_id().grant(), EntitlementSource::Payment));
    assert_eq!(terms.length_secs(), i64::from(30 * DAY));
    assert_eq!(both.paid(), []);
    assert_eq!(both.wallet.balance(), MicroUsd::ZERO);
}

#[test]
fn a_wholly_reversed_payment_ends_its_plan_and_one_that_is_won_goes_on() {
    let mut both = Both::bought();
    both.paid();
    let ten = MicroUsd::dollars(10);
    let opened = dispute("dp_1", ten, DisputeStatus::Open);
    assert!(ended(&both.hears(&opened)));
    assert_eq!(both.hears(&opened), [], "once");
    assert_eq!(both.hears(&dispute("dp_1", ten, DisputeStatus::Lost)), []);
    assert!(reinstated(&both.hears(&dispute("dp_1", ten, DisputeStatus::Won))));
    assert!(ended(&both.hears(&refund("re_1", ten, RefundStatus::Made))));
}

#[test]
fn a_partial_refund_is_the_operators_to_judge() {
    let mut both = Both::bought();
    both.paid();
    assert_eq!(both.hears(&refund("re_1", MicroUsd::dollars(4), RefundStatus::Made)), []);
    assert!(
        ended(&both.hears(&refund("re_2", MicroUsd::dollars(6), RefundStatus::Made))),
        "together all of it"
    );
}

#[test]
fn a_whole_reversal_heard_of_before_the_payment_leaves_no_time() {
    let mut both = Both::bought();
    assert_eq!(both.hears(&refund("re_1", MicroUsd::dollars(10), RefundStatus::Made)), []);
    let events = both.paid();
    assert!(matches!(events.as_slice(), [WalletEvent::EntitlementGranted { .. }, ..]), "{events:?}");
    assert!(ended(&events));
}
