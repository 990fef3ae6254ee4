//! What one node decides about keys, accounts, prices and routes counts on the others, NATS or none.

use codexapi::accounts;
use codexapi_aggregates::account::{KeyKind, RevocationReason};
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::wait_for;
use crate::http::{ADMIN_TOKEN, Service, bearer, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_one_node_revokes_opens_nothing_on_another_once_the_revocation_is_in_force() {
    let one = Service::start().await;
    let other = one.beside().await;
    let customer = one.customer().await;
    let account = Some(customer.account_id);
    let credentials = &one.app.config.credentials;
    let key = accounts::issue_key(&one.app.log, credentials, &operator(), account, KeyKind::Api)
        .await
        .expect("issued");
    one.in_force(key.position).await;
    let authorization = bearer(key.token.reveal());
    let headers = [("authorization", authorization.as_str())];
    assert_eq!(other.get("/api/v1/me", &headers).await.0, StatusCode::OK, "and now the node knows it");

    let reason = RevocationReason::Requested;
    let position =
        accounts::revoke_key(&one.app.log, &operator(), account, key.key_id, reason).await.expect("revoked");
    one.in_force(position).await;
    for node in [&one, &other] {
        let (status, body) = node.get("/api/v1/me", &headers).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &"revoked_token".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_one_node_suspends_generates_nothing_on_another() {
    let one = Service::start().await;
    let other = one.beside().await;
    let customer = one.customer().await;
    let authorization = bearer(customer.system_token.token.reveal());
    let headers = [("authorization", authorization.as_str())];
    let generation = json!({ "model": "gpt-5.5", "input": "Hello" }).to_string();
    let refusal = async |node: &Service| {
        let (_, body) = node.post("/v1/responses", &headers, generation.clone()).await;
        body["error"]["code"].clone()
    };
    assert_ne!(refusal(&other).await, "account_suspended");
    let path = format!("/admin/api/users/{}/active", customer.account_id);
    let body = json!({ "active": false, "reason": "abuse" }).to_string();
    let (status, answer) = one.post(&path, &[("x-api-key", ADMIN_TOKEN)], body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    one.in_force(answer["positions"][0].as_i64().expect("a position")).await;
    assert_eq!(refusal(&other).await, "account_suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_routes_and_maintenance_that_one_node_sets_are_another_nodes_too() {
    let one = Service::start().await;
    let other = one.beside().await;
    let surge = json!({ "timeline": "mode", "mode": "surge" });
    let crossing = json!({ "crossModel": [{ "region": "chicago", "mode": "gpt55_via_opus48" }] });
    let maintenance = json!({ "active": true, "message": "Back at noon." });
    let changes = [
        ("/token-rates/windows", surge, "/token-rates", "/modeWindows"),
        ("/manage-models", crossing, "/manage-models", "/revision"),
        ("/maintenance-mode", maintenance, "/maintenance-mode", "/active"),
    ];
    for (set, change, read, part) in changes {
        let before = report(&other, read, part).await;
        let path = format!("/admin/api{set}");
        let (status, answer) = one.post(&path, &[("x-api-key", ADMIN_TOKEN)], change.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{set}: {answer}");
        let seen = async || (report(&other, read, part).await != before).then_some(());
        wait_for("the other node sees it", seen).await;
    }
}

/// Part of an operator's report.
async fn report(node: &Service, path: &str, part: &str) -> Value {
    let (status, report) = node.get(&format!("/admin/api{path}"), &[("x-api-key", ADMIN_TOKEN)]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {report}");
    report.pointer(part).unwrap_or_else(|| panic!("{path} has no {part}: {report}")).clone()
}
