//! Further months: each an invoice, each a payment of its own, each credited once.

use codexapi_aggregates::payment::Standing;
use codexapi_aggregates::time::Timestamp;
use serde_json::json;

use super::{Customer, GRACE_SECS, MONTH_SECS, SUBSCRIPTION, intent_of, standing, tell, tell_of};
use crate::payments::{Dice, Till};

#[tokio::test(flavor = "multi_thread")]
async fn each_month_is_a_payment_and_the_plan_covers_to_the_second_and_its_grace() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let at_stripe = customer.subscribe().await;
    tell(&till, 0).await;
    let first = customer.current().await.expect("it runs");
    customer.assert_covers_until(first.period_ends_at.plus_secs(GRACE_SECS)).await;

    let known = till.stripe.held().await.len();
    let invoice = at_stripe.renew(&till).await;
    tell(&till, known).await;
    let second = customer.current().await.expect("it runs");
    assert_eq!(second.period_ends_at, first.period_ends_at.plus_secs(MONTH_SECS));
    assert_eq!((customer.grants().await, standing(&till, &invoice).await), (2, Some(Standing::Credited)));
    customer.assert_covers_until(second.period_ends_at.plus_secs(GRACE_SECS)).await;

    // The whole month's money goes back, and its time with it; the month before stays.
    let intent = intent_of(&till, &invoice).await;
    let dispute = till.stripe.dispute(&intent).await;
    assert_eq!(tell_of(&till, &dispute, "charge.dispute.created").await.0, "reversed");
    customer.assert_covers_until(first.period_ends_at.plus_secs(GRACE_SECS)).await;
    till.stripe.decide_dispute(&dispute, "win").await;
    assert!(till.reconcile().await >= 1, "nobody told that it was won");
    customer.assert_covers_until(second.period_ends_at.plus_secs(GRACE_SECS)).await;
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_0_to_3_times_in_any_order_credits_each_month_exactly_once() {
    let till = Till::start().await;
    for seed in 0..6 {
        let mut dice = Dice::new(seed);
        let customer = Customer::new(&till).await;
        let known = till.stripe.held().await.len();
        let at_stripe = customer.subscribe().await;
        at_stripe.renew(&till).await;
        let last = at_stripe.renew(&till).await;
        let events = till.stripe.held().await.split_off(known);
        for event in dice.deal(&events) {
            assert_eq!(till.stripe.deliver(&event).await, Some(200), "seed {seed}");
        }
        till.reconcile().await;
        assert_eq!(customer.grants().await, 3, "seed {seed}");
        let invoice = till.payments().stripe.invoice(&last).await.expect("an invoice");
        let ends_at = Timestamp::from_secs(invoice.lines.data[0].period.end);
        assert_eq!(customer.current().await.expect("it runs").period_ends_at, ends_at, "seed {seed}");
        for event in dice.deal(&events) {
            assert_eq!(till.stripe.deliver(&event).await, Some(200), "seed {seed}");
        }
        assert_eq!(customer.grants().await, 3, "seed {seed}");
    }
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_webhooks_lost_every_month_and_the_cancellation_are_found_once() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let at_stripe = customer.subscribe().await;
    let paid = at_stripe.renew(&till).await;
    at_stripe.card_says(&till, "generic_decline").await;
    let declined = at_stripe.renew(&till).await;
    assert!(customer.current().await.is_none());

    assert!(till.reconcile().await >= 3);
    assert_eq!((customer.grants().await, standing(&till, &paid).await), (2, Some(Standing::Credited)));
    assert_eq!(standing(&till, &declined).await, Some(Standing::Failed));
    assert_eq!(customer.get(SUBSCRIPTION).await["status"], "past_due");
    assert_eq!(till.reconcile().await, 0, "there is nothing left to close");

    let path = format!("/subscriptions/{}", at_stripe.subscription);
    till.stripe.api(&path, &[("cancel_at_period_end", "true")]).await;
    at_stripe.card_says(&till, "approves").await;
    till.stripe.control("POST", &format!("/invoices/{declined}/retry"), json!({})).await;
    assert!(till.reconcile().await >= 1);
    let status = customer.get(SUBSCRIPTION).await;
    assert_eq!((&status["status"], &status["cancelAtPeriodEnd"]), (&json!("active"), &json!(true)));
    assert_eq!((customer.grants().await, till.reconcile().await), (3, 0));

    tell(&till, 0).await;
    assert_eq!(customer.grants().await, 3);
    let told = till.inbox().await;
    assert!(told.iter().all(|(effect, _)| ["nothing_new", "ignored"].contains(&effect.as_str())), "{told:?}");
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_month_is_past_due_and_paid_late_it_is_renewed() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let at_stripe = customer.subscribe().await;
    tell(&till, 0).await;
    let first = customer.current().await.expect("it runs");
    let known = till.stripe.held().await.len();
    at_stripe.card_says(&till, "insufficient_funds").await;
    let invoice = at_stripe.renew(&till).await;
    for _ in 0..2 {
        tell(&till, known).await;
    }
    let grace_ends_at = first.period_ends_at.plus_secs(GRACE_SECS);
    let late = customer.current().await.expect("it runs");
    assert_eq!(late.past_due.map(|due| due.grace_ends_at), Some(grace_ends_at));
    let status = customer.get(SUBSCRIPTION).await;
    assert_eq!(status["status"], "past_due");
    assert!(status["graceEndsAt"].is_string(), "{status}");
    assert_eq!((customer.grants().await, standing(&till, &invoice).await), (1, Some(Standing::Failed)));
    customer.assert_covers_until(grace_ends_at).await;

    let known = till.stripe.held().await.len();
    at_stripe.card_says(&till, "approves").await;
    till.stripe.control("POST", &format!("/invoices/{invoice}/retry"), json!({})).await;
    tell(&till, known).await;
    let paid = customer.current().await.expect("it runs");
    assert_eq!((paid.past_due, paid.period_ends_at), (None, first.period_ends_at.plus_secs(MONTH_SECS)));
    assert_eq!((customer.grants().await, standing(&till, &invoice).await), (2, Some(Standing::Credited)));
    customer.assert_covers_until(paid.period_ends_at.plus_secs(GRACE_SECS)).await;

    // The whole month's money goes back, and its time with it.
    let intent = intent_of(&till, &invoice).await;
    till.stripe.refund(&intent, 14_900).await;
    assert!(till.reconcile().await >= 1);
    customer.assert_covers_until(grace_ends_at).await;
    till.verifies().await;
}
