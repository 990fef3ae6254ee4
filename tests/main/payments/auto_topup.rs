//! Row 13: no storm of top-ups, however many requests cross the threshold, and whatever the card says.

use codexapi::payments::auto_topup::AutoTopUpOutcome;
use codexapi_aggregates::auto_topup::{AttemptFailure, AutoTopUp, AutoTopUpRefusal};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Purpose;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{PRICE, Till, operator};
use codexapi::payments::checkout::Order;

const FIRST: MicroUsd = MicroUsd::dollars(1);

/// A customer with a saved card and $1.
async fn saver(till: &Till) -> (AccountId, String) {
    let customer = till.service.customer().await;
    let account_id = customer.account_id;
    let order = Order {
        account_id,
        purpose: Purpose::TokenCredit { credit_micro: FIRST },
        plan_id: None,
        quantity: 1,
        price_micro: PRICE,
        name: "Credit".into(),
        code: None,
        save_card: true,
    };
    let payments = till.payments();
    let checkout =
        payments.open_checkout(&order, None, "https://codexapi.test", &operator()).await.expect("opened");
    let intent = till.stripe.pay(&checkout).await;
    payments.settle_intent(&intent, &operator()).await.expect("credited");
    assert_eq!(till.net(account_id).await, FIRST);
    (account_id, customer.system_token.token.reveal().to_owned())
}

async fn wish(till: &Till, token: &str, body: Value) -> (u16, Value) {
    let (status, answer) =
        till.service.post("/api/v1/wallet/auto-topup", &[("x-api-key", token)], body.to_string()).await;
    (status.as_u16(), answer)
}

fn on(amount: i64) -> Value {
    json!({ "enabled": true, "thresholdMicro": 50_000_000, "amountMicro": amount, "monthlyLimitMicro": 100_000_000 })
}

/// How the account's saved card behaves from now on.
async fn card(till: &Till, account_id: AccountId, card: &str) {
    let saved = codexapi::payments::profiles::get(&till.service.app.pool, account_id, false).await;
    let method = saved.expect("read").expect("a card").payment_method_id;
    till.stripe.control("POST", &format!("/payment_methods/{method}"), json!({ "card": card })).await;
}

async fn intents(till: &Till) -> usize {
    let calls = till.stripe.control("GET", "/calls", json!({})).await;
    let calls = calls["calls"].as_array().expect("a list").iter();
    let charged = |call: &&Value| call["method"] == "POST" && call["path"] == "/v1/payment_intents";
    let keys: std::collections::BTreeSet<&str> =
        calls.filter(charged).map(|call| call["idempotency_key"].as_str().expect("a key")).collect();
    keys.len()
}

async fn crossings(till: &Till, account_id: AccountId, number: usize) -> Vec<AutoTopUpOutcome> {
    let metadata = operator();
    let crossings = (0..number).map(|_| till.payments().run_auto_topup(account_id, &metadata));
    join_all(crossings).await.into_iter().map(|outcome| outcome.expect("looked at")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_parallel_crossings_with_a_declining_card_ask_it_once() {
    let till = Till::start().await;
    let (account_id, token) = saver(&till).await;
    let (status, body) = wish(&till, &token, on(20_000_000)).await;
    assert_eq!((status, &body["enabled"], &body["hasCard"]), (200, &json!(true), &json!(true)), "{body}");
    card(&till, account_id, "generic_decline").await;

    let outcomes = crossings(&till, account_id, 100).await;
    assert_eq!(intents(&till).await, 1);
    assert_eq!(till.count("auto_topup.attempt_started", account_id).await, 1);
    assert_eq!(till.count("auto_topup.attempt_failed", account_id).await, 1);
    let declined = |outcome: &AutoTopUpOutcome| {
        matches!(outcome, AutoTopUpOutcome::Failed { reason: AttemptFailure::Declined, .. })
    };
    assert!(outcomes.iter().any(declined), "{outcomes:?}");
    let [again] = crossings(&till, account_id, 1).await.try_into().expect("one");
    assert!(matches!(again, AutoTopUpOutcome::NotDue(AutoTopUpRefusal::CoolingDown { .. })), "{again:?}");
    assert_eq!(till.net(account_id).await, FIRST);
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_smaller_than_the_gap_fires_again_until_the_months_limit() {
    let till = Till::start().await;
    let (account_id, token) = saver(&till).await;
    // Three of them fit into the month, and the threshold is never reached.
    let wished = json!({
        "enabled": true, "thresholdMicro": 500_000_000, "amountMicro": 30_000_000, "monthlyLimitMicro": 100_000_000,
    });
    assert_eq!(wish(&till, &token, wished).await.0, 200);
    for round in 1..=3 {
        let outcomes = crossings(&till, account_id, 20).await;
        let credited = outcomes.iter().any(|outcome| matches!(outcome, AutoTopUpOutcome::Credited { .. }));
        assert!(credited, "{round}: {outcomes:?}");
    }
    let [last] = crossings(&till, account_id, 1).await.try_into().expect("one");
    assert!(matches!(last, AutoTopUpOutcome::NotDue(AutoTopUpRefusal::MonthlyLimit { .. })), "{last:?}");
    assert_eq!(intents(&till).await, 3);
    assert_eq!(till.net(account_id).await, FIRST + MicroUsd::dollars(90));
    // What webhooks and the reconciler bring later changes nothing.
    for event in till.stripe.held().await {
        assert_eq!(till.stripe.deliver(&event).await, Some(200));
    }
    till.reconcile().await;
    assert_eq!(till.net(account_id).await, FIRST + MicroUsd::dollars(90));
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_stripes_is_asked_for_again_under_the_same_key() {
    let till = Till::start().await;
    let (account_id, token) = saver(&till).await;
    assert_eq!(wish(&till, &token, on(20_000_000)).await.0, 200);
    let lost = json!({ "method": "POST", "path": "/v1/payment_intents", "lose_answer": true, "times": 1 });
    till.stripe.control("POST", "/faults", lost).await;
    let [outcome] = crossings(&till, account_id, 1).await.try_into().expect("one");
    assert!(matches!(outcome, AutoTopUpOutcome::Credited { .. }), "{outcome:?}");
    assert_eq!(intents(&till).await, 1);
    assert_eq!(till.net(account_id).await, FIRST + MicroUsd::dollars(20));
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_switched_on_with_a_card_and_sound_amounts_only_and_off_at_any_time() {
    let till = Till::start().await;
    let stranger = till.service.customer().await;
    let (status, body) = wish(&till, stranger.system_token.token.reveal(), on(20_000_000)).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("no_saved_card")), "{body}");
    let (account_id, token) = saver(&till).await;
    for (body, code) in [
        (json!({ "enabled": true }), "auto_topup_incomplete"),
        (on(20_000_001), "price_not_whole_cents"),
        (on(10_000), "price_out_of_range"),
        (on(200_000_000), "monthly_limit_out_of_range"),
        (
            json!({ "enabled": true, "thresholdMicro": 0, "amountMicro": 20_000_000, "monthlyLimitMicro": 20_000_000 }),
            "threshold_out_of_range",
        ),
    ] {
        let (status, answer) = wish(&till, &token, body).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{answer}");
    }
    assert_eq!(wish(&till, &token, on(20_000_000)).await.0, 200);
    let (status, body) = wish(&till, &token, json!({ "enabled": false })).await;
    assert_eq!((status, &body["offReason"]), (200, &json!("asked")), "{body}");
    let [outcome] = crossings(&till, account_id, 1).await.try_into().expect("one");
    assert_eq!(outcome, AutoTopUpOutcome::NotDue(AutoTopUpRefusal::Off));
    let wished =
        till.service.app.log.read(&account_id.to_string(), |auto: &AutoTopUp| auto.wish().cloned()).await;
    assert_eq!(wished.expect("read"), None);
}
