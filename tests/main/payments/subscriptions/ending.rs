//! Cancelled, taken back, given up: what is paid for stays until its end, and nothing is paid beyond it.

use codexapi_aggregates::subscription::SubscriptionEnd;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{CHECKOUT, Customer, GRACE_SECS, SUBSCRIPTION, tell};
use crate::payments::Till;

async fn change(customer: &Customer<'_>, what: &str) -> Value {
    let (status, answer) = customer.post(&format!("{SUBSCRIPTION}/{what}"), json!({})).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_cancels_takes_that_back_and_cancels_again() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let at_stripe = customer.subscribe().await;
    tell(&till, 0).await;
    let ends_at = customer.current().await.expect("it runs").period_ends_at;
    for _ in 0..2 {
        assert_eq!(change(&customer, "cancel").await["cancelAtPeriodEnd"], true);
        customer.assert_covers_until(ends_at).await;
    }
    assert_eq!(change(&customer, "resume").await["cancelAtPeriodEnd"], false);
    customer.assert_covers_until(ends_at.plus_secs(GRACE_SECS)).await;
    assert_eq!(change(&customer, "cancel").await["cancelAtPeriodEnd"], true);
    let calls = till.stripe.control("GET", "/calls", json!({})).await;
    let path = format!("/v1/subscriptions/{}", at_stripe.subscription);
    let told = |call: &&Value| call["path"] == path.as_str() && call["idempotency_key"].is_string();
    let keys: std::collections::BTreeSet<String> = calls["calls"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(told)
        .map(|call| call["idempotency_key"].to_string())
        .collect();
    assert_eq!(keys.len(), 3, "one for each change: {keys:?}");

    // Its month is over: Stripe bills no other.
    let known = till.stripe.held().await.len();
    at_stripe.renew(&till).await;
    tell(&till, known).await;
    let over = customer.current().await.expect("it ran");
    assert_eq!((over.ended, over.period_ends_at), (Some(SubscriptionEnd::Cancelled), ends_at));
    customer.assert_covers_until(ends_at).await;
    let status = customer.get(SUBSCRIPTION).await;
    assert_eq!((&status["status"], &status["endedReason"]), (&json!("ended"), &json!("cancelled")));
    let (status, answer) = customer.post(&format!("{SUBSCRIPTION}/resume"), json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("subscription_over")));

    // There is room for another, whose time follows on what is left.
    let known = till.stripe.held().await.len();
    customer.subscribe().await;
    tell(&till, known).await;
    assert_eq!(customer.grants().await, 2);
    assert_eq!(customer.get(SUBSCRIPTION).await["status"], "active");
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_once_none_is_answered_as_done_that_is_not() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    customer.subscribe().await;
    tell(&till, 0).await;
    let ask = async |what: &str| customer.post(&format!("{SUBSCRIPTION}/{what}"), json!({})).await;
    let asked: Vec<&str> = ["cancel", "resume"].repeat(4);
    let answers = join_all(asked.iter().map(|what| ask(what))).await;
    for (what, (status, answer)) in asked.iter().zip(answers) {
        match status {
            200 => assert_eq!(answer["cancelAtPeriodEnd"], *what == "cancel", "{what}: {answer}"),
            _ => {
                assert_eq!((status, &answer["error"]["code"]), (409, &json!("changed_meanwhile")), "{answer}")
            }
        }
    }
    assert_eq!(change(&customer, "resume").await["cancelAtPeriodEnd"], false);
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_paid_ends_without_grace_once_stripe_gives_it_up() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let at_stripe = customer.subscribe().await;
    tell(&till, 0).await;
    let ends_at = customer.current().await.expect("it runs").period_ends_at;
    at_stripe.card_says(&till, "generic_decline").await;
    at_stripe.renew(&till).await;
    till.reconcile().await;
    customer.assert_covers_until(ends_at.plus_secs(GRACE_SECS)).await;
    // The retries, three days apart.
    till.stripe.control("POST", "/clock", json!({ "advance_seconds": 10 * 86_400 })).await;
    assert!(till.reconcile().await >= 1);
    assert_eq!(customer.current().await.expect("it ran").ended, Some(SubscriptionEnd::Unpaid));
    customer.assert_covers_until(ends_at).await;
    assert_eq!(till.reconcile().await, 0);
    assert_eq!(customer.grants().await, 1);
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_being_away_changes_nothing_and_the_same_wish_works_later() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let at_stripe = customer.subscribe().await;
    tell(&till, 0).await;
    let path = format!("/v1/subscriptions/{}", at_stripe.subscription);
    let fault = json!({ "method": "POST", "path": path, "times": 10, "status": 500 });
    till.stripe.control("POST", "/faults", fault).await;
    let (status, answer) = customer.post(&format!("{SUBSCRIPTION}/cancel"), json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("stripe_unavailable")));
    assert_eq!(customer.get(SUBSCRIPTION).await["cancelAtPeriodEnd"], false);
    till.stripe.control("DELETE", "/faults", json!({})).await;
    // The answer is lost; the call goes out again under its key, and Stripe does it once.
    let fault = json!({ "method": "POST", "path": path, "times": 1, "lose_answer": true });
    till.stripe.control("POST", "/faults", fault).await;
    assert_eq!(change(&customer, "cancel").await["cancelAtPeriodEnd"], true);
    let (status, answer) = customer.post(CHECKOUT, json!({ "planId": "unlimited" })).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("already_subscribed")));
}
