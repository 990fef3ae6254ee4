//! Row 11: the card is charged and no webhook ever arrives.

use codexapi_aggregates::money::MicroUsd;

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

async fn head(till: &Till) -> i64 {
    use codexapi::event_log::read::{SHARD, head};
    head(&till.service.app.pool, SHARD).await.expect("readable")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_without_its_checkout_being_on_record_is_credited_all_the_same() {
    let till = Till::start().await;
    // Stripe takes the request and its answer is lost, every time.
    let fault = serde_json::json!({
        "method": "POST", "path": "/v1/checkout/sessions", "times": 100, "lose_answer": true,
    });
    till.stripe.control("POST", "/faults", fault).await;
    let account_id = till.service.customer().await.account_id;
    let order = codexapi::payments::checkout::Order {
        account_id,
        purpose: codexapi_aggregates::payment::Purpose::TokenCredit { credit_micro: CREDIT },
        plan_id: None,
        quantity: 1,
        price_micro: super::PRICE,
        name: "Credit".into(),
        code: None,
        save_card: false,
    };
    let opened =
        till.payments().open_checkout(&order, None, "https://x.test", &crate::http::operator()).await;
    opened.expect_err("no answer came");
    till.stripe.control("DELETE", "/faults", serde_json::json!({})).await;
    let calls = till.stripe.control("GET", "/calls", serde_json::json!({})).await;
    let calls = calls["calls"].as_array().expect("a list");
    let keys: Vec<&serde_json::Value> = calls
        .iter()
        .filter(|call| call["path"] == "/v1/checkout/sessions" && call["method"] == "POST")
        .map(|call| &call["idempotency_key"])
        .collect();
    assert!(keys.len() > 1 && keys.iter().all(|key| *key == keys[0]), "sent again under one key: {keys:?}");
    let session = sessions(&till).await.pop().expect("Stripe has it");
    till.stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), serde_json::json!({})).await;
    assert!(till.reconcile().await >= 1);
    assert_eq!(till.net(account_id).await, CREDIT);
}

async fn sessions(till: &Till) -> Vec<String> {
    let page = till
        .payments()
        .stripe
        .since::<codexapi::payments::stripe::CheckoutSession>(0, None)
        .await
        .expect("a list");
    page.data.into_iter().map(|session| session.id).collect()
}
