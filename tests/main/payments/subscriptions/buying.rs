//! From the catalogue to the first month, and one subscription at a time.

use serde_json::{Value, json};

use super::{CHECKOUT, CONFIRM, Customer, SUBSCRIPTION, object, pay, tell};
use crate::http::ADMIN_TOKEN;
use crate::payments::Till;

#[tokio::test(flavor = "multi_thread")]
async fn the_listed_plan_is_bought_at_stripes_page_and_granted_once() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let listed = customer.get("/api/v1/plans").await;
    let listed = listed["plans"].as_array().expect("a list").iter().find(|plan| plan["id"] == "unlimited");
    assert_eq!(listed.expect("on sale")["sold"], "monthly");
    assert_eq!(customer.get(SUBSCRIPTION).await["status"], "none");

    let page = customer.page().await;
    assert_eq!(page["priceUsd"], "149.000000", "{page}");
    assert_eq!(customer.get(SUBSCRIPTION).await["status"], "requested");
    let confirm = json!({ "sessionId": page["sessionId"] });
    let (status, answer) = customer.post(CONFIRM, confirm.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("payment_not_confirmed")));
    assert!(customer.current().await.is_none());

    let at_stripe = pay(&till, &page).await;
    for already in [false, true, true] {
        let (status, answer) = customer.post(CONFIRM, confirm.clone()).await;
        assert_eq!((status, &answer["alreadyCredited"]), (200, &json!(already)), "{answer}");
        assert_eq!((&answer["paymentId"], &answer["balanceMicro"]), (&page["paymentId"], &json!(0)));
    }
    tell(&till, 0).await;
    assert_eq!((customer.grants().await, till.reconcile().await), (1, 0));
    let status = customer.get(SUBSCRIPTION).await;
    assert_eq!((&status["status"], &status["planId"]), (&json!("active"), &json!("unlimited")));
    assert_eq!((&status["paymentId"], &status["priceMicro"]), (&page["paymentId"], &json!(149_000_000)));
    assert_eq!(status["cancelAtPeriodEnd"], false);

    // Each object of Stripe's says whose it is.
    let metadata = &object(&till, &at_stripe.subscription).await["metadata"];
    assert_eq!(metadata["payment_id"], page["paymentId"]);
    assert_eq!(metadata["account_id"], json!(customer.account_id));
    let calls = till.stripe.control("GET", "/calls", json!({})).await;
    let opened = |call: &&Value| call["path"] == "/v1/checkout/sessions" && call["method"] == "POST";
    let opened: Vec<&Value> = calls["calls"].as_array().expect("a list").iter().filter(opened).collect();
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["idempotency_key"], page["paymentId"]);
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_open_page_and_one_subscription_at_a_time() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let page = customer.page().await;
    assert_eq!(customer.page().await, page, "the same page, not another");
    let order = json!({ "planId": "unlimited", "idempotencyKey": "order-1" });
    assert_eq!(customer.post(CHECKOUT, order).await, (200, page.clone()));

    // The plan is sold for another price by now: the open page is not for that.
    let dearer = json!({ "planId": "unlimited", "priceMicro": 159_000_000 }).to_string();
    let path = "/admin/api/billing/plans";
    let (status, answer) = till.service.post(path, &[("x-api-key", ADMIN_TOKEN)], dearer).await;
    assert!(status.is_success(), "{answer}");
    let (status, answer) = customer.post(CHECKOUT, json!({ "planId": "unlimited" })).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("subscription_checkout_open")));

    // A page that is over makes room for another, whether or not we were told.
    let session = page["sessionId"].as_str().expect("an id");
    till.stripe.api(&format!("/checkout/sessions/{session}/expire"), &[]).await;
    let second = customer.page().await;
    assert_ne!(second["paymentId"], page["paymentId"]);
    assert_eq!(second["priceUsd"], "159.000000");
    pay(&till, &second).await;
    for _ in 0..2 {
        let (status, answer) = customer.post(CHECKOUT, json!({ "planId": "unlimited" })).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("already_subscribed")), "{answer}");
    }
    assert_eq!(customer.grants().await, 1, "asking again has found it paid");
    tell(&till, 0).await;
    assert_eq!(customer.grants().await, 1);
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_the_same_page_under_the_same_key() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let fault = json!({ "method": "POST", "path": "/v1/checkout/sessions", "times": 10, "status": 500 });
    till.stripe.control("POST", "/faults", fault).await;
    let (status, answer) = customer.post(CHECKOUT, json!({ "planId": "unlimited" })).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("stripe_unavailable")));
    till.stripe.control("DELETE", "/faults", json!({})).await;
    let fault = json!({ "method": "POST", "path": "/v1/checkout/sessions", "times": 1, "lose_answer": true });
    till.stripe.control("POST", "/faults", fault).await;
    pay(&till, &customer.page().await).await;
    till.reconcile().await;
    assert_eq!(customer.grants().await, 1);
    let calls = till.stripe.control("GET", "/calls", json!({})).await;
    let opened = |call: &&Value| call["path"] == "/v1/checkout/sessions" && call["method"] == "POST";
    let calls = calls["calls"].as_array().expect("a list").iter().filter(opened);
    let keys: std::collections::BTreeSet<String> =
        calls.map(|call| call["idempotency_key"].to_string()).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sold_so_is_refused_by_name() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    for (order, status, code) in [
        (json!({ "planId": "unlimited", "quantity": 2 }), 400, "quantity_out_of_range"),
        (json!({ "planId": "unlimited", "coupon": "SPRING-25" }), 400, "code_is_for_credit"),
        (json!({ "planId": "unlimited", "saveCard": true }), 400, "card_is_the_subscriptions"),
    ] {
        let (got, answer) = customer.post(CHECKOUT, order.clone()).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{order}");
    }
    for change in ["cancel", "resume"] {
        let (status, answer) = customer.post(&format!("{SUBSCRIPTION}/{change}"), json!({})).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_subscribed")));
    }
    assert_eq!(customer.get(SUBSCRIPTION).await["status"], "none");
}
