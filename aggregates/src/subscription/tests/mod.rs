mod asking;
mod following;
mod periods;
mod together;

use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    ObservedInvoice, ObservedSubscription, Subscription, SubscriptionAction, SubscriptionCommand,
    SubscriptionEvent, SubscriptionRefusal, SubscriptionSettings, SubscriptionTerms,
};
use crate::examples::second;
use crate::ids::{AccountId, PaymentId};
use crate::money::{MicroUsd, Rate};
use crate::time::Timestamp;
use crate::usage::ClientFamily;
use crate::wallet::entitlements::{
    AssumedRates, EntitlementTerms, FairUse, FairUseWindow, PaidPeriod, Scope,
};

/// A month of these tests, and the grace after it.
const MONTH: i64 = 1_000;
const GRACE: u32 = 100;

const SETTINGS: SubscriptionSettings = SubscriptionSettings { grace_secs: GRACE };

fn account() -> AccountId {
    AccountId(Uuid::from_u128(7))
}

fn payment(number: u128) -> PaymentId {
    PaymentId(Uuid::from_u128(number))
}

/// $149 a month for plan `unlimited`, first paid by payment `number`.
fn terms(number: u128) -> SubscriptionTerms {
    let window = FairUseWindow { length_secs: 18_000, limit_micro: MicroUsd::dollars(50) };
    let rates = AssumedRates { input: Rate(1_000_000), output: Rate(1_000_000) };
    SubscriptionTerms {
        payment_id: payment(number),
        price_micro: MicroUsd::dollars(149),
        livemode: false,
        entitlement: EntitlementTerms {
            plan_id: "unlimited".parse().expect("a plan's id"),
            scope: Scope { families: vec![ClientFamily::CodexCli], models: vec!["gpt-5.5".into()] },
            fair_use: FairUse { rates, windows: vec![window] },
            block_secs: 31 * 86_400,
            blocks: 1,
        },
    }
}

/// The invoice of month `month`, counted from 0, of the subscription that began with payment 1; each is payment
/// `month` + 1.
fn invoice(month: i64) -> ObservedInvoice {
    ObservedInvoice {
        subscription: payment(1),
        payment_id: payment(u128::try_from(month).expect("a month") + 1),
        provider_id: "sub_1".into(),
        period: PaidPeriod { starts_at: second(month * MONTH), ends_at: month_end(month) },
    }
}

fn month_end(month: i64) -> Timestamp {
    second((month + 1) * MONTH)
}

fn observed(is_over: bool, cancels: bool) -> ObservedSubscription {
    ObservedSubscription { subscription: payment(1), provider_id: "sub_1".into(), is_over, cancels }
}

fn ask(number: u128, over: Option<u128>) -> SubscriptionAction {
    SubscriptionAction::Request { terms: Box::new(terms(number)), over: over.map(payment) }
}

// Events

fn requested(number: u128) -> SubscriptionEvent {
    SubscriptionEvent::Requested { terms: Box::new(terms(number)), at: second(10) }
}

fn started() -> SubscriptionEvent {
    SubscriptionEvent::Started {
        payment_id: payment(1),
        provider_id: "sub_1".into(),
        period_ends_at: month_end(0),
        at: second(10),
    }
}

fn renewed(month: i64) -> SubscriptionEvent {
    let payment_id = invoice(month).payment_id;
    SubscriptionEvent::Renewed { payment_id, period_ends_at: month_end(month), at: second(10) }
}

fn past_due(month: i64) -> SubscriptionEvent {
    SubscriptionEvent::PastDue {
        payment_id: invoice(month).payment_id,
        period_ends_at: month_end(month),
        grace_ends_at: month_end(month - 1).plus_secs(GRACE.into()),
        at: second(10),
    }
}

fn cancelled() -> SubscriptionEvent {
    SubscriptionEvent::CancellationSet { ends_at: month_end(0), at: second(10) }
}

fn ended(reason: super::SubscriptionEnd) -> SubscriptionEvent {
    SubscriptionEvent::Ended { reason, at: second(10) }
}

/// Paid for the first month.
fn running() -> Vec<SubscriptionEvent> {
    vec![requested(1), started()]
}

fn and(mut events: Vec<SubscriptionEvent>, more: Vec<SubscriptionEvent>) -> Vec<SubscriptionEvent> {
    events.extend(more);
    events
}

fn after(events: Vec<SubscriptionEvent>) -> Subscription {
    let mut subscription = Subscription::default();
    events.into_iter().for_each(|event| subscription.apply(event));
    subscription
}

async fn expect(
    given: Vec<SubscriptionEvent>,
    when: SubscriptionAction,
    then: Result<Vec<SubscriptionEvent>, SubscriptionRefusal>,
) {
    let command = SubscriptionCommand { action: when, settings: SETTINGS, now: second(10) };
    let outcome = TestFramework::<Subscription>::with(()).given(given).when_async(command).await;
    assert_eq!(outcome.inspect_result(), then);
}
