//! Row 11: the card is charged and no webhook ever arrives.

use codexapi::clock;
use codexapi::payments::stripe::CheckoutSession;
use codexapi::processes::reconciler;
use codexapi_aggregates::money::MicroUsd;
use serde_json::{Value, json};

use super::{CREDIT, Till};

#[tokio::test(flavor = "multi_thread")]
async fn with_all_webhooks_lost_the_reconciler_converges_and_late_ones_change_nothing() {
    let till = Till::start().await;
    let (paid, first) = till.checkout().await;
    let (refunded, second) = till.checkout().await;
    let (disputed, third) = till.checkout().await;
    let (unpaid, _) = till.checkout().await;
    till.stripe.pay(&first).await;
    let intent = till.stripe.pay(&second).await;
    till.stripe.refund(&intent, 1_000).await;
    let intent = till.stripe.pay(&third).await;
    let dispute = till.stripe.dispute(&intent).await;
    assert_eq!(till.net(paid).await, MicroUsd::ZERO);

    assert!(till.reconcile().await >= 3);
    let amounts = async || {
        let mut amounts = Vec::new();
        for account_id in [paid, refunded, disputed, unpaid] {
            amounts.push(till.net(account_id).await);
        }
        amounts
    };
    let zero = MicroUsd::ZERO;
    assert_eq!(amounts().await, [CREDIT, zero, zero, zero]);
    till.service.projected("payments", head(&till).await).await;
    assert_eq!(till.reconcile().await, 0, "there is nothing left to close");

    // A dispute that is won after its payment is older than anybody remembers is still heard of.
    till.stripe.decide_dispute(&dispute, "win").await;
    assert_eq!(till.reconcile().await, 1);
    assert_eq!(amounts().await, [CREDIT, zero, CREDIT, zero]);

    for event in till.stripe.held().await {
        assert_eq!(till.stripe.deliver(&event).await, Some(200));
    }
    assert_eq!(amounts().await, [CREDIT, zero, CREDIT, zero]);
    assert!(
        till.inbox().await.iter().all(|(effect, _)| ["nothing_new", "ignored"].contains(&effect.as_str()))
    );
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_an_old_dispute_is_found_though_it_was_made_before_anybody_looks_back() {
    let till = Till::start().await;
    let (account_id, checkout) = till.checkout().await;
    let intent = till.stripe.pay(&checkout).await;
    let dispute = till.stripe.dispute(&intent).await;
    till.reconcile().await;
    assert_eq!(till.net(account_id).await, MicroUsd::ZERO, "taken back while it is disputed");
    let days = 20 * 86_400;
    till.stripe.control("POST", "/clock", json!({ "advance_seconds": days })).await;
    till.stripe.decide_dispute(&dispute, "win").await;
    let later = clock::now().plus_secs(days);
    assert_eq!(reconciler::pass_at(till.payments(), later).await.expect("looked"), Some(1));
    assert_eq!(till.net(account_id).await, CREDIT);
    assert_eq!(reconciler::pass_at(till.payments(), later).await.expect("looked"), Some(0));
    till.verifies().await;
}

async fn head(till: &Till) -> i64 {
    use codexapi::event_log::read::{SHARD, head};
    head(&till.service.app.pool, SHARD).await.expect("readable")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_stripes_that_is_lost_is_asked_for_again_under_the_same_key() {
    let till = Till::start().await;
    let fault = json!({ "method": "POST", "path": "/v1/checkout/sessions", "times": 1, "lose_answer": true });
    till.stripe.control("POST", "/faults", fault).await;
    let (account_id, checkout) = till.checkout().await;
    let calls = till.stripe.control("GET", "/calls", json!({})).await;
    let calls = calls["calls"].as_array().expect("a list").iter();
    let keys: Vec<&Value> = calls
        .filter(|call| call["path"] == "/v1/checkout/sessions" && call["method"] == "POST")
        .map(|call| &call["idempotency_key"])
        .collect();
    assert_eq!(keys, vec![&json!(checkout.payment_id); 2], "twice, under the payment's id");
    let sessions = till.payments().stripe.since::<CheckoutSession>(0, None).await.expect("a list").data;
    assert_eq!(sessions.len(), 1, "Stripe has opened one page");
    till.stripe.pay(&checkout).await;
    assert!(till.reconcile().await >= 1);
    assert_eq!(till.net(account_id).await, CREDIT);
}
