//! Plans of the catalogue, bought at Stripe's page.

use codexapi_aggregates::money::MicroUsd;
use serde_json::{Value, json};

use super::Till;
use crate::http::{ADMIN_TOKEN, bearer};

const PATH: &str = "/api/v1/wallet/stripe/checkout";

async fn buy(till: &Till, token: &str, order: Value) -> (u16, Value) {
    let authorization = bearer(token);
    let headers = [("authorization", authorization.as_str())];
    let (status, answer) = till.service.post(PATH, &headers, order.to_string()).await;
    (status.as_u16(), answer)
}

async fn pay(till: &Till, token: &str, page: &Value) -> Value {
    let session = page["sessionId"].as_str().unwrap_or_else(|| panic!("no page: {page}"));
    till.stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
    let authorization = bearer(token);
    let headers = [("authorization", authorization.as_str())];
    let body = json!({ "sessionId": session }).to_string();
    let (status, answer) = till.service.post("/api/v1/wallet/stripe/confirm", &headers, body).await;
    assert_eq!(status.as_u16(), 200, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_pack_and_blocks_of_time_are_bought_at_the_catalogues_price() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let token = customer.system_token.token.reveal();
    let (status, page) = buy(&till, token, json!({ "planId": "titan" })).await;
    assert_eq!((status, &page["priceUsd"]), (200, &json!("120.000000")), "{page}");
    let credited = pay(&till, token, &page).await;
    assert_eq!(credited["balanceUsd"], "1250.000000");

    let (status, page) = buy(&till, token, json!({ "planId": "unlimited-promo", "quantity": 3 })).await;
    assert_eq!((status, &page["priceUsd"]), (200, &json!("297.000000")), "{page}");
    pay(&till, token, &page).await;
    assert_eq!(till.count("wallet.entitlement_granted", customer.account_id).await, 1);
    assert_eq!(till.net(customer.account_id).await, MicroUsd::dollars(1_250), "time is no credit");
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sold_so_is_refused_by_name() {
    let till = Till::start().await;
    let token = till.service.customer().await.system_token.token.reveal().to_owned();
    for (order, status, code) in [
        (json!({ "planId": "nothing" }), 404, "plan_not_found"),
        (json!({ "planId": "Not A Plan" }), 404, "plan_not_found"),
        (json!({ "planId": "titan", "quantity": 0 }), 400, "quantity_out_of_range"),
        (json!({ "planId": "unlimited-promo", "quantity": 6 }), 400, "quantity_out_of_range"),
        (json!({ "planId": "titan", "coupon": "NO-SUCH-CODE" }), 404, "unknown_code"),
        (json!({ "planId": "titan", "price": 1 }), 400, "invalid_body"),
    ] {
        let (got, answer) = buy(&till, &token, order.clone()).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_makes_one_payment_bring_more() {
    let till = Till::start().await;
    let customer = till.service.customer().await;
    let token = customer.system_token.token.reveal();
    let path = format!("/admin/api/users/{}/topup-codes", customer.account_id);
    let code = json!({ "code": "SPRING-25", "bonusBasisPoints": 2_500, "expiresAt": "2099-01-01T00:00:00Z" });
    let (status, answer) = till.service.post(&path, &[("x-api-key", ADMIN_TOKEN)], code.to_string()).await;
    assert!(status.is_success(), "{answer}");
    let order = json!({ "planId": "builder", "coupon": "spring-25" });
    let (status, page) = buy(&till, token, order.clone()).await;
    assert_eq!((status, &page["priceUsd"]), (200, &json!("20.000000")), "the price stays: {page}");
    let (status, answer) = buy(&till, token, order).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("code_held")));
    let credited = pay(&till, token, &page).await;
    assert_eq!(credited["balanceUsd"], "187.500000", "$150 and a quarter of it");
}
