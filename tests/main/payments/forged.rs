//! Row 10: what nobody signed, what was not started here, and what is not as it was started, is never credited.

use codexapi_aggregates::money::MicroUsd;
use serde_json::json;

use super::Till;
use crate::http::bearer;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unsigned_forged_old_or_edited_is_not_believed() {
    let till = Till::start().await;
    let (account_id, checkout) = till.checkout().await;
    till.stripe.pay(&checkout).await;
    let event = till.stripe.held().await.pop().expect("an event");
    let spoiled = [
        (json!({ "unsigned": true }), "unsigned"),
        (json!({ "secret": "whsec_fedcba9876543210" }), "wrong_signature"),
        (json!({ "edit_signed": { "data": { "object": { "id": "cs_other" } } } }), "wrong_signature"),
        (json!({ "age_seconds": 301 }), "out_of_time"),
    ];
    for (spoiled, reason) in spoiled {
        assert_eq!(till.stripe.deliver_spoiled(&event, spoiled).await, Some(400));
        let newest = till.inbox().await.remove(0);
        assert_eq!(newest, ("unverified".to_owned(), Some(reason.to_owned())));
    }
    assert_eq!(till.net(account_id).await, MicroUsd::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_event_is_a_hint_and_what_it_says_is_not_believed() {
    let till = Till::start().await;
    // Of a session that nobody paid, signed by Stripe's own secret, that it is paid.
    let (account_id, checkout) = till.checkout().await;
    let path = format!("/objects/{}/emit", checkout.session_id);
    let event = till.stripe.control("POST", &path, json!({ "type": "checkout.session.completed" })).await;
    let event = event["id"].as_str().expect("an id");
    let lie = json!({ "edit": { "data": { "object": { "payment_status": "paid", "status": "complete" } } } });
    assert_eq!(till.stripe.deliver_spoiled(event, lie).await, Some(200));
    assert_eq!(till.net(account_id).await, MicroUsd::ZERO);
    assert_eq!(till.inbox().await[0].0, "nothing_new");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_as_it_was_started_is_refused_and_named_in_the_inbox() {
    let till = Till::start().await;
    let mismatches = [
        (json!({ "amount_total": 999 }), "amount_mismatch"),
        (json!({ "amount_total": 1_001 }), "amount_mismatch"),
        (json!({ "currency": "eur" }), "currency_mismatch"),
        (json!({ "livemode": true }), "livemode_mismatch"),
    ];
    for (edit, reason) in mismatches {
        let (account_id, checkout) = till.checkout().await;
        till.stripe.pay(&checkout).await;
        till.stripe.control("PATCH", &format!("/objects/{}", checkout.session_id), edit).await;
        let path = format!("/objects/{}/emit", checkout.session_id);
        let event = till.stripe.control("POST", &path, json!({ "type": "checkout.session.completed" })).await;
        let event = event["id"].as_str().expect("an id");
        // The event itself says of which mode it is; Stripe's own word on the object counts.
        let as_ours = json!({ "edit": { "livemode": false } });
        assert_eq!(till.stripe.deliver_spoiled(event, as_ours).await, Some(200));
        assert_eq!(till.net(account_id).await, MicroUsd::ZERO, "{reason}");
        assert_eq!(till.inbox().await[0], ("refused".to_owned(), Some(reason.to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_other_mode_or_about_a_foreign_object_moves_nothing() {
    let till = Till::start().await;
    let (account_id, checkout) = till.checkout().await;
    till.stripe.pay(&checkout).await;
    let event = till.stripe.held().await.pop().expect("an event");
    assert_eq!(till.stripe.deliver_spoiled(&event, json!({ "edit": { "livemode": true } })).await, Some(200));
    assert_eq!(till.inbox().await[0].0, "other_mode");

    // Somebody else's sale by the same Stripe account: it names no payment, or one that was never started.
    let stranger = uuid::Uuid::from_u128(7).to_string();
    for metadata in [json!({}), json!({ "payment_id": stranger, "account_id": account_id.to_string() })] {
        let intent = till
            .stripe
            .api(
                "/payment_intents",
                &[
                    ("amount", "1000"),
                    ("currency", "usd"),
                    ("payment_method", "pm_card_visa"),
                    ("confirm", "true"),
                ],
            )
            .await;
        let intent = intent["id"].as_str().expect("an id").to_owned();
        till.stripe.control("PATCH", &format!("/objects/{intent}"), json!({ "metadata": metadata })).await;
        let path = format!("/objects/{intent}/emit");
        let event = till.stripe.control("POST", &path, json!({ "type": "payment_intent.succeeded" })).await;
        assert_eq!(till.stripe.deliver(event["id"].as_str().expect("an id")).await, Some(200));
        assert_eq!(till.inbox().await[0].0, "foreign");
    }
    assert_eq!(till.net(account_id).await, MicroUsd::ZERO);

    // An event of a type that says nothing to us is taken, so that it is not sent for days.
    let path = format!("/objects/{}/emit", checkout.session_id);
    let event = till.stripe.control("POST", &path, json!({ "type": "product.created" })).await;
    assert_eq!(till.stripe.deliver(event["id"].as_str().expect("an id")).await, Some(200));
    assert_eq!(till.inbox().await[0].0, "ignored");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_session_credits_nobody() {
    let till = Till::start().await;
    let (owner, checkout) = till.checkout().await;
    till.stripe.pay(&checkout).await;
    let thief = till.service.customer().await;
    let authorization = bearer(thief.system_token.token.reveal());
    let headers = [("authorization", authorization.as_str())];
    for (path, body) in [
        ("/api/v1/wallet/stripe/confirm", json!({ "sessionId": checkout.session_id })),
        ("/api/v1/cash-wallet/stripe/confirm", json!({ "sessionId": checkout.session_id })),
        ("/api/v1/wallet/top-up", json!({ "paymentId": checkout.payment_id })),
        ("/api/v1/wallet/stripe/confirm", json!({ "sessionId": "cs_test_nothing" })),
        ("/api/v1/wallet/stripe/confirm", json!({ "sessionId": "../payment_intents" })),
    ] {
        let (status, answer) = till.service.post(path, &headers, body.to_string()).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("payment_not_found")), "{path}");
    }
    assert_eq!(till.net(owner).await, MicroUsd::ZERO);
    assert_eq!(till.net(thief.account_id).await, MicroUsd::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_not_read() {
    let till = Till::start().await;
    let body = " ".repeat(600 * 1024);
    let (status, _) = till.service.post("/api/v1/stripe/webhook", &[], body).await;
    assert_eq!(status, 413);
    let (status, answer) = till.service.post("/api/v1/stripe/webhook", &[], "{}".into()).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (400, &json!("unsigned")));
}
