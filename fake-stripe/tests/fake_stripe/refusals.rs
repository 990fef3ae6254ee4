//! Refusals that no SDK can provoke.

use serde_json::json;

use crate::harness::{Fake, PACK, sent};

#[tokio::test]
async fn what_is_not_a_form_or_of_no_version_or_at_no_url_is_refused() {
    let fake = Fake::start();
    let no_form = fake.post("/v1/customers", "{}").header("content-type", "application/json");
    let (status, body) = sent(no_form).await;
    assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{body}");
    let (status, body) = sent(fake.get("/v1/customers").header("stripe-version", "latest")).await;
    assert_eq!((status, &body["error"]["message"]), (400, &json!("Invalid Stripe API version: latest")));
    let (status, _) = sent(fake.get("/v1/customers").header("stripe-version", "2024-06-20")).await;
    assert_eq!(status, 200);
    for (status, request) in [(404, fake.get("/v1/tokens")), (404, fake.post("/v1/disputes", ""))] {
        let (found, body) = sent(request).await;
        assert_eq!((found, &body["error"]["type"]), (status, &json!("invalid_request_error")), "{body}");
    }
}

#[tokio::test]
async fn a_refused_session_leaves_no_price_and_no_product_behind() {
    let fake = Fake::start();
    let (status, _) = sent(fake.post("/v1/checkout/sessions", &format!("{PACK}&customer=cus_none"))).await;
    assert_eq!(status, 400);
    let (_, listed) = sent(fake.get("/v1/events")).await;
    assert_eq!(listed["data"], json!([]));
}
