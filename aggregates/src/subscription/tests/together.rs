//! Subscription, payments and wallet together: what is paid, until when the plan covers, and to the very second.

use cqrs_es::Aggregate;

use super::{MONTH, SETTINGS, account, invoice, observed, payment, terms};
use crate::catalog::FairUseInForce;
use crate::examples::second;
use crate::payment::{Currency, ObservedPayment, Payment, PaymentAction, PaymentCommand, confirm};
use crate::subscription::{Subscription, SubscriptionAction as Action, note, request};
use crate::time::Timestamp;
use crate::wallet::{Wallet, WalletAction, WalletCommand, WalletEvent, WalletTerms};

/// An account with one subscription.
struct Life {
    subscription: Subscription,
    wallet: Wallet,
    payments: Vec<Payment>,
}

impl Life {
    /// A checkout is open.
    fn begin() -> Self {
        let (subscription, first) = Default::default();
        let (asked, started) =
            request(&subscription, &first, &terms(1), account(), None, second(0)).expect("asked for");
        let mut life = Self { subscription, wallet: Wallet::default(), payments: vec![first] };
        asked.into_iter().for_each(|event| life.subscription.apply(event));
        started.into_iter().for_each(|event| life.payments[0].apply(event));
        life
    }

    /// Month `month` is paid, and that is heard of `at` that second.
    fn paid(&mut self, month: i64, at: i64) -> Vec<WalletEvent> {
        let place = usize::try_from(month).expect("a month");
        if self.payments.len() <= place {
            self.payments.resize_with(place + 1, Payment::default);
        }
        if self.payments[place].started().is_none() {
            let start = self.subscription.bill(&invoice(month), account()).expect("ours");
            let payment_id = start.payment_id;
            let action = PaymentAction::StartPayment(Box::new(start));
            let command = PaymentCommand { payment_id, action, now: second(at) };
            let started = self.payments[place].decide(command).expect("started");
            started.into_iter().for_each(|event| self.payments[place].apply(event));
        }
        let observed = ObservedPayment {
            payment_id: invoice(month).payment_id,
            account_id: account(),
            session_id: None,
            payment_intent_id: Some("pi_1".into()),
            paid: true,
            amount_micro: terms(1).price_micro,
            currency: Some(Currency::Usd),
            livemode: false,
            period: Some(invoice(month).period),
        };
        let terms = WalletTerms::default();
        let (credited, granted, _) =
            confirm(&self.payments[place], &self.wallet, &observed, &terms, second(at)).expect("credited");
        credited.into_iter().for_each(|event| self.payments[place].apply(event));
        granted.iter().for_each(|event| self.wallet.apply(event.clone()));
        let mut told = granted;
        told.extend(self.hears(Action::NotePaid(invoice(month)), at));
        told
    }

    fn hears(&mut self, action: Action, at: i64) -> Vec<WalletEvent> {
        let settings = (SETTINGS, &WalletTerms::default());
        let (heard, told) =
            note(&self.subscription, &self.wallet, &[action], settings, second(at)).expect("heard");
        heard.into_iter().for_each(|event| self.subscription.apply(event));
        told.iter().for_each(|event| self.wallet.apply(event.clone()));
        told
    }

    fn sweep(&mut self, at: i64) -> Vec<WalletEvent> {
        let action = WalletAction::ExpireHolds { dead_nodes: vec![] };
        let command = WalletCommand { action, terms: WalletTerms::default(), now: second(at) };
        let events = self.wallet.decide(command).expect("swept");
        events.iter().for_each(|event| self.wallet.apply(event.clone()));
        events
    }

    fn covers(&self, now: Timestamp) -> bool {
        !self.wallet.plan_status(now, &FairUseInForce::default()).is_empty()
    }

    /// The last second at which the plan covers, exactly.
    fn assert_covers_until(&self, end: i64) {
        let end = second(end);
        assert!(self.covers(Timestamp(end.0 - 1)));
        assert!(!self.covers(end));
    }
}

fn grants(events: &[WalletEvent]) -> Vec<(Timestamp, Timestamp)> {
    let granted = |event: &WalletEvent| match event {
        WalletEvent::EntitlementGranted { starts_at, ends_at, .. } => Some((*starts_at, *ends_at)),
        _ => None,
    };
    events.iter().filter_map(granted).collect()
}

#[test]
fn months_follow_one_another_and_end_when_the_providers_do_however_late_each_is_heard_of() {
    let mut life = Life::begin();
    assert_eq!(grants(&life.paid(0, 40)), [(second(40), second(MONTH))]);
    assert_eq!(grants(&life.paid(1, MONTH - 5)), [(second(MONTH), second(2 * MONTH))], "before its time");
    assert_eq!(grants(&life.paid(2, 2 * MONTH + 60)), [(second(2 * MONTH), second(3 * MONTH))], "in grace");
    assert_eq!(grants(&life.paid(2, 2 * MONTH + 61)), [], "once");
    life.assert_covers_until(3 * MONTH + 100);
}

#[test]
fn a_month_that_is_not_paid_is_covered_for_the_grace_and_not_a_second_longer() {
    let mut life = Life::begin();
    life.paid(0, 0);
    assert_eq!(life.hears(Action::NoteUnpaid(invoice(1)), MONTH + 1), []);
    life.assert_covers_until(MONTH + 100);
    assert_eq!(life.wallet.next_due(10_000), Some(second(MONTH + 100)));
    assert_eq!(life.sweep(MONTH + 99), []);
    let events = life.sweep(MONTH + 100);
    let [WalletEvent::EntitlementExpired { ends_at, at, .. }] = events.as_slice() else {
        panic!("the plan is over, not {events:?}")
    };
    assert_eq!((*ends_at, *at), (second(MONTH), second(MONTH + 100)));
    assert_eq!(life.sweep(MONTH + 200), []);
}

#[test]
fn a_late_payment_resumes_what_is_left_of_its_month() {
    let mut life = Life::begin();
    life.paid(0, 0);
    life.hears(Action::NoteUnpaid(invoice(1)), MONTH + 1);
    life.sweep(MONTH + 100);
    assert!(!life.covers(second(MONTH + 300)));
    assert_eq!(grants(&life.paid(1, MONTH + 300)), [(second(MONTH + 300), second(2 * MONTH))]);
    life.assert_covers_until(2 * MONTH + 100);
    // Paid for when it was over, it is a whole month from then on.
    assert_eq!(grants(&life.paid(2, 4 * MONTH)), [(second(4 * MONTH), second(5 * MONTH))]);
}

#[test]
fn cancelled_it_ends_with_its_month_and_taken_back_it_has_its_grace_again() {
    let mut life = Life::begin();
    life.paid(0, 0);
    life.assert_covers_until(MONTH + 100);
    life.hears(Action::Follow(observed(false, true)), 10);
    life.assert_covers_until(MONTH);
    life.hears(Action::Follow(observed(false, false)), 20);
    life.assert_covers_until(MONTH + 100);
    life.hears(Action::Follow(observed(true, true)), 30);
    life.assert_covers_until(MONTH);
}

#[test]
fn given_up_in_its_grace_it_is_over_at_once() {
    let mut life = Life::begin();
    life.paid(0, 0);
    life.hears(Action::NoteUnpaid(invoice(1)), MONTH + 1);
    let told = life.hears(Action::Follow(observed(true, false)), MONTH + 50);
    let [WalletEvent::EntitlementGraceSet { grace_secs: 0, .. }, WalletEvent::EntitlementExpired { .. }] =
        told.as_slice()
    else {
        panic!("no grace, so it is over, not {told:?}")
    };
    assert!(!life.covers(second(MONTH + 50)));
}

#[test]
fn time_that_was_given_besides_is_not_lost_in_a_month() {
    let mut life = Life::begin();
    let entitlement_id = payment(99).grant();
    let gift = crate::wallet::entitlements::EntitlementTerms { block_secs: 50, ..terms(1).entitlement };
    let source = crate::wallet::entitlements::EntitlementSource::Admin;
    let action = WalletAction::GrantEntitlement { entitlement_id, source, terms: gift, period: None };
    let command = WalletCommand { action, terms: WalletTerms::default(), now: second(0) };
    let given = life.wallet.decide(command).expect("given");
    given.iter().for_each(|event| life.wallet.apply(event.clone()));
    assert_eq!(grants(&life.paid(0, 0)), [(second(50), second(MONTH + 50))]);
}
