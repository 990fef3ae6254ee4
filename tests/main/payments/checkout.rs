//! From an order to a page of Stripe's, and back from it.

use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Purpose;
use http::StatusCode;
use serde_json::{Value, json};

use super::{CREDIT, PRICE, Till, open};
use crate::http::{ADMIN_TOKEN, Service, bearer};

async fn post(till: &Till, token: &str, path: &str, body: Value) -> (u16, Value) {
    let authorization = bearer(token);
    let (status, answer) =
        till.service.post(path, &[("authorization", &authorization)], body.to_string()).await;
    (status.as_u16(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_stripes_settings_every_route_says_so() {
    let service = Service::start().await;
    let customer = service.customer().await;
    let authorization = bearer(customer.system_token.token.reveal());
    let headers = [("authorization", authorization.as_str())];
    for (path, body) in [
        ("/api/v1/cash-wallet/stripe/checkout", json!({ "amountMicro": 5_000_000 })),
        ("/api/v1/cash-wallet/stripe/confirm", json!({ "sessionId": "cs_1" })),
        ("/api/v1/wallet/stripe/confirm", json!({ "sessionId": "cs_1" })),
        ("/api/v1/wallet/top-up", json!({ "paymentId": customer.account_id })),
        ("/api/v1/stripe/webhook", json!({})),
    ] {
        let (status, answer) = service.post(path, &headers, body.to_string()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer["error"]["code"], "payments_not_configured", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cash_is_loaded_once_and_confirming_again_answers_alike() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let token = customer.system_token.token.reveal();
    let order = json!({ "amountMicro": 25_000_000, "saveCard": true, "idempotencyKey": "load-1" });
    let (status, page) = post(&till, token, "/api/v1/cash-wallet/stripe/checkout", order.clone()).await;
    assert_eq!((status, &page["priceUsd"]), (200, &json!("25.000000")), "{page}");
    let (_, again) = post(&till, token, "/api/v1/cash-wallet/stripe/checkout", order).await;
    assert_eq!(again, page, "the same page, not another");
    let other = json!({ "amountMicro": 26_000_000, "idempotencyKey": "load-1" });
    let (status, answer) = post(&till, token, "/api/v1/cash-wallet/stripe/checkout", other).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("idempotency_mismatch")));

    let confirm = json!({ "sessionId": page["sessionId"] });
    let path = "/api/v1/cash-wallet/stripe/confirm";
    let (status, answer) = post(&till, token, path, confirm.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("payment_not_confirmed")));
    let session = page["sessionId"].as_str().expect("an id");
    till.stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
    for already in [false, true, true] {
        let (status, answer) = post(&till, token, path, confirm.clone()).await;
        assert_eq!((status, &answer["alreadyCredited"]), (200, &json!(already)), "{answer}");
        assert_eq!(answer["balanceMicro"], 25_000_000);
    }
    assert_eq!(till.cash(customer.account_id).await, MicroUsd::dollars(25));
    let profile = codexapi::payments::profiles::get(&till.service.app.pool, customer.account_id, false).await;
    assert!(profile.expect("readable").is_some(), "the card is kept for later");

    // It is the cash wallet's money: the token wallet does not take it.
    let (status, _) = post(&till, token, "/api/v1/wallet/stripe/confirm", confirm).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_takes_a_payment_that_is_paid_and_unused_and_nothing_else() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let token = customer.system_token.token.reveal();
    let purpose = Purpose::TokenCredit { credit_micro: CREDIT };
    let checkout = open(till.payments(), customer.account_id, purpose).await;
    let body = json!({ "paymentId": checkout.payment_id });
    let path = "/api/v1/wallet/top-up";
    let (status, answer) = post(&till, token, path, body.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("payment_not_confirmed")));
    till.stripe.pay(&checkout).await;
    let (status, answer) = post(&till, token, path, body.clone()).await;
    assert_eq!((status, &answer["creditUsd"]), (200, &json!("25.000000")), "{answer}");
    for _ in 0..2 {
        let (status, answer) = post(&till, token, path, body.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("payment_already_used")));
    }
    assert_eq!(till.net(customer.account_id).await, CREDIT);
    let never = json!({ "paymentId": customer.account_id });
    assert_eq!(post(&till, token, path, never).await.0, 404);
}

const CASH_CHECKOUT: &str = "/api/v1/cash-wallet/stripe/checkout";

fn order_with_card(key: &str) -> Value {
    json!({ "amountMicro": 5_000_000, "saveCard": true, "idempotencyKey": key })
}

/// Pays at the page that `opened` names, and tells the service.
async fn pay_and_confirm(till: &Till, token: &str, opened: &Value) {
    let session = opened["sessionId"].as_str().expect("an id");
    till.stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
    let confirm = json!({ "sessionId": session });
    assert_eq!(post(till, token, "/api/v1/cash-wallet/stripe/confirm", confirm).await.0, 200);
}

async fn events(till: &Till, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(&till.service.app.pool)
        .await
        .expect("counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_repeated_after_another_saved_the_card_keeps_its_page() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let token = customer.system_token.token.reveal();
    let (path, order) = (CASH_CHECKOUT, order_with_card);
    let (_, first) = post(&till, token, path, order("a")).await;
    let (_, second) = post(&till, token, path, order("b")).await;
    pay_and_confirm(&till, token, &second).await;

    let (status, again) = post(&till, token, path, order("a")).await;
    assert_eq!((status, &again), (200, &first), "the same page, still open");
    let (status, over) = post(&till, token, path, order("b")).await;
    assert_eq!((status, &over["sessionId"]), (200, &second["sessionId"]));
    assert_eq!(over.get("url").filter(|url| !url.is_null()), None, "it was paid");
    assert_eq!(events(&till, "payment.payment_failed").await, 0);
    pay_and_confirm(&till, token, &first).await;
    assert_eq!(till.cash(customer.account_id).await, MicroUsd::dollars(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_heard_of_is_not_given_up_because_a_card_was_saved_meanwhile() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let token = customer.system_token.token.reveal();
    let (path, order) = (CASH_CHECKOUT, order_with_card);
    let lost = json!({ "method": "POST", "path": "/v1/checkout/sessions", "times": 3, "lose_answer": true });
    till.stripe.control("POST", "/faults", lost).await;
    assert_eq!(post(&till, token, path, order("a")).await.0, 503);
    till.stripe.control("DELETE", "/faults", json!({})).await;
    let (_, second) = post(&till, token, path, order("b")).await;
    pay_and_confirm(&till, token, &second).await;

    // To Stripe it is the same order in other words, now that the customer is known there.
    let (status, refused) = post(&till, token, path, order("a")).await;
    assert_eq!((status, &refused["error"]["code"]), (502, &json!("stripe_refused")), "{refused}");
    assert_eq!(events(&till, "payment.payment_started").await, 2);
    assert_eq!(events(&till, "payment.payment_failed").await, 0, "its page may still be paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_on_record_before_stripe_is_asked() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let fault = json!({ "method": "POST", "path": "/v1/checkout/sessions", "times": 3, "status": 500 });
    till.stripe.control("POST", "/faults", fault).await;
    let order = json!({ "amountMicro": 5_000_000, "idempotencyKey": "a" });
    let token = customer.system_token.token.reveal();
    let path = "/api/v1/cash-wallet/stripe/checkout";
    let (status, answer) = post(&till, token, path, order.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("stripe_unavailable")));
    assert!(!answer.to_string().contains("sk_test"));
    assert_eq!(events(&till, "payment.payment_started").await, 1);
    till.stripe.control("DELETE", "/faults", json!({})).await;
    let (status, _) = post(&till, token, path, order).await;
    assert_eq!(status, 200, "the same payment goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused_by_name() {
    let till = Till::start().await;
    let token = till.service.customer().await.system_token.token.reveal().to_owned();
    let path = "/api/v1/cash-wallet/stripe/checkout";
    for (order, code) in [
        (json!({ "amountMicro": 0 }), "price_out_of_range"),
        (json!({ "amountMicro": -5_000_000 }), "price_out_of_range"),
        (json!({ "amountMicro": 5_000_001 }), "price_not_whole_cents"),
        (json!({ "amountMicro": 5_000_000, "idempotencyKey": "" }), "invalid_idempotency_key"),
        (json!({ "amountMicro": 5.5 }), "invalid_body"),
        (json!({ "amountMicro": 5_000_000, "credit": 1 }), "invalid_body"),
    ] {
        let (status, answer) = post(&till, &token, path, order.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_and_operator_read_payments_and_what_stripe_told() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let purpose = Purpose::TokenCredit { credit_micro: CREDIT };
    let checkout = open(till.payments(), customer.account_id, purpose).await;
    let intent = till.stripe.pay(&checkout).await;
    till.stripe.refund(&intent, 400).await;
    for event in till.stripe.held().await {
        assert_eq!(till.stripe.deliver(&event).await, Some(200));
    }
    let head = codexapi::event_log::read::head(&till.service.app.pool, codexapi::event_log::read::SHARD);
    till.service.projected("payments", head.await.expect("readable")).await;
    let authorization = bearer(customer.system_token.token.reveal());
    let (_, mine) = till.service.get("/api/v1/billing/payments", &[("authorization", &authorization)]).await;
    let payment = &mine["payments"][0];
    assert_eq!(payment["id"], json!(checkout.payment_id));
    assert_eq!((&payment["status"], &payment["kind"]), (&json!("credited"), &json!("token_credit")));
    assert_eq!((&payment["priceMicro"], &payment["grantedUsd"]), (&json!(PRICE.0), &json!("25.000000")));
    assert_eq!(
        (&payment["reversedUsd"], &payment["remainingUsd"]),
        (&json!("4.000000"), &json!("15.000000"))
    );
    for prefix in ["/admin/api", "/admin-api/v1"] {
        let (status, all) =
            till.service.get(&format!("{prefix}/payments?limit=1"), &[("x-api-key", ADMIN_TOKEN)]).await;
        assert_eq!((status.as_u16(), &all["payments"][0]["id"]), (200, &payment["id"]));
        let (status, inbox) =
            till.service.get(&format!("{prefix}/stripe/webhooks"), &[("x-api-key", ADMIN_TOKEN)]).await;
        assert_eq!(status.as_u16(), 200);
        let effects = inbox["webhooks"].as_array().expect("a list").iter();
        let effects: Vec<&str> = effects.filter_map(|webhook| webhook["effect"].as_str()).collect();
        assert!(effects.contains(&"credited"), "{effects:?}");
        let (_, page) = till
            .service
            .get(&format!("{prefix}/stripe/webhooks?limit=1"), &[("x-api-key", ADMIN_TOKEN)])
            .await;
        let before = page["nextBefore"].as_str().expect("there are more");
        let (_, next) = till
            .service
            .get(&format!("{prefix}/stripe/webhooks?limit=1&before={before}"), &[("x-api-key", ADMIN_TOKEN)])
            .await;
        assert_ne!(next["webhooks"][0]["eventId"], page["webhooks"][0]["eventId"]);
    }
}
