//! Invoices that are not ours, and those that are not as agreed: never credited.

use codexapi_aggregates::payment::Standing;
use serde_json::json;

use super::{Customer, standing, tell, tell_of};
use crate::payments::Till;

/// Somebody else's subscription by the same Stripe account, paid; its invoice.
async fn sold_by_others(till: &Till, metadata: &[(&str, &str)]) -> (String, String) {
    let mut form = vec![
        ("mode", "subscription"),
        ("success_url", "https://a.example/"),
        ("line_items[0][quantity]", "1"),
        ("line_items[0][price_data][currency]", "usd"),
        ("line_items[0][price_data][unit_amount]", "14900"),
        ("line_items[0][price_data][recurring][interval]", "month"),
        ("line_items[0][price_data][product_data][name]", "Other"),
    ];
    form.extend_from_slice(metadata);
    let session = till.stripe.api("/checkout/sessions", &form).await;
    let path = format!("/checkout/sessions/{}/pay", session["id"].as_str().expect("an id"));
    let paid = till.stripe.control("POST", &path, json!({})).await;
    let id = |field: &str| paid[field].as_str().expect("an id").to_owned();
    (id("invoice"), id("subscription"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_of_a_subscription_that_is_not_ours_goes_to_the_inbox_and_to_no_wallet() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let account = customer.account_id.to_string();
    let stranger = uuid::Uuid::from_u128(7).to_string();
    let named = [
        ("subscription_data[metadata][payment_id]", stranger.as_str()),
        ("subscription_data[metadata][account_id]", account.as_str()),
    ];
    for metadata in [&[][..], &named[..]] {
        let known = till.stripe.held().await.len();
        let (invoice, subscription) = sold_by_others(&till, metadata).await;
        tell(&till, known).await;
        assert_eq!(tell_of(&till, &invoice, "invoice.paid").await.0, "foreign");
        assert_eq!(tell_of(&till, &subscription, "customer.subscription.updated").await.0, "foreign");
        let renew = format!("/subscriptions/{subscription}/renew");
        let known = till.stripe.held().await.len();
        till.stripe.control("POST", &renew, json!({})).await;
        tell(&till, known).await;
        let effects = till.inbox().await;
        assert!(effects.iter().all(|(effect, _)| ["foreign", "ignored"].contains(&effect.as_str())));
    }
    assert_eq!(till.reconcile().await, 0);
    assert_eq!((customer.grants().await, customer.current().await), (0, None));
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_not_as_agreed_is_refused_and_named_in_the_inbox() {
    let till = Till::start().await;
    let customer = Customer::new(&till).await;
    let at_stripe = customer.subscribe().await;
    tell(&till, 0).await;
    let other = Customer::new(&till).await;
    let others_id = other.account_id.to_string();
    let details = |metadata: serde_json::Value| json!({ "parent": { "subscription_details": metadata } });
    let mismatches = [
        (json!({ "amount_paid": 14_899 }), "refused", Some("amount_mismatch")),
        (json!({ "amount_paid": 14_901 }), "refused", Some("amount_mismatch")),
        (json!({ "currency": "eur" }), "refused", Some("currency_mismatch")),
        (json!({ "livemode": true }), "refused", Some("livemode_mismatch")),
        (details(json!({ "metadata": { "account_id": others_id } })), "foreign", None),
        (json!({ "billing_reason": "manual" }), "foreign", None),
        (json!({ "status": "draft" }), "nothing_new", None),
    ];
    for (edit, effect, reason) in mismatches {
        let invoice = at_stripe.renew(&till).await;
        till.stripe.control("PATCH", &format!("/objects/{invoice}"), edit.clone()).await;
        let told = tell_of(&till, &invoice, "invoice.paid").await;
        assert_eq!(told, (effect.to_owned(), reason.map(str::to_owned)), "{edit}");
        assert_ne!(standing(&till, &invoice).await, Some(Standing::Credited), "{edit}");
    }
    assert_eq!((customer.grants().await, other.grants().await), (1, 0));
    // Under the name of another subscription of Stripe's it is none of this one's months.
    let invoice = at_stripe.renew(&till).await;
    let edit = details(json!({ "subscription": "sub_another" }));
    till.stripe.control("PATCH", &format!("/objects/{invoice}"), edit).await;
    let told = tell_of(&till, &invoice, "invoice.paid").await;
    assert_eq!(told, ("refused".to_owned(), Some("other_subscription".to_owned())));
    assert_eq!(standing(&till, &invoice).await, None);
    till.verifies().await;
}
