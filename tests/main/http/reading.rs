//! What customers read.

use codexapi_aggregates::ids::AccountId;
use http::StatusCode;
use serde_json::Value;

use super::Service;

async fn read(service: &Service, path: &str, token: &str) -> Value {
    let (status, body) = service.get(path, &[("x-api-key", token)]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wallets_balance_is_the_aggregates_own() {
    let service = Service::start().await;
    let customer = service.customer().await;
    service.credit(customer.account_id, 10).await;
    let status = read(&service, "/api/v1/wallet/status", customer.system_token.token.reveal()).await;
    assert_eq!(status["balanceMicro"], 10_000_000);
    assert_eq!(status["heldMicro"], 0);
    assert_eq!(status["availableMicro"], 10_000_000);
    assert_eq!(status["balanceUsd"], "10.000000");
    let models = status["pricing"]["models"].as_array().expect("models");
    let gpt = models.iter().find(|prices| prices["model"] == "gpt-5.5").expect("sold");
    assert_eq!(gpt["active"]["inputMicro"], 5_000_000);
    assert_eq!(gpt["billed"]["outputUsd"], "30.000000");
    assert_eq!(status["pricing"]["mode"], "standard");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_reads_itself_and_how_to_point_clients_here() {
    let service = Service::start_with(&[("CODEXAPI_PUBLIC_URL", "https://gateway.example")]).await;
    let customer = service.customer().await;
    let me = read(&service, "/api/v1/me", customer.system_token.token.reveal()).await;
    assert_eq!(me["name"], "Ada");
    assert_eq!(me["cli"]["openaiBaseUrl"], "https://gateway.example/v1");
    assert_eq!(me["cli"]["baseUrl"], "https://gateway.example");
    assert!(!me.to_string().contains(customer.system_token.token.reveal()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_about_usage_are_refused_by_name() {
    let service = Service::start().await;
    let customer = service.customer().await;
    let token = customer.system_token.token.reveal();
    let usage = read(&service, "/api/v1/billing/token-usage?timezone=Asia/Kolkata&limit=1", token).await;
    assert_eq!(usage["transactions"], Value::Array(vec![]));
    assert_eq!((&usage["timezone"], &usage["nextCursor"]), (&"Asia/Kolkata".into(), &Value::Null));
    let bad = [
        ("timezone=Middle/Earth", "invalid_timezone"),
        ("cursor=x", "invalid_cursor"),
        ("limit=many", "invalid_query"),
        ("limit=0", "invalid_query"),
        ("limit=201", "invalid_query"),
        ("limt=1", "invalid_query"),
        ("limit=1&limit=2", "invalid_query"),
        ("from=yesterday", "invalid_query"),
        ("from=2026-11-22&to=2026-11-21", "invalid_range"),
    ];
    for (query, code) in bad {
        let path = format!("/api/v1/billing/token-usage?{query}");
        let (status, body) = service.get(&path, &[("x-api-key", token)]).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &code.into()), "{query}");
        let (name, _) = query.split_once('=').expect("a pair");
        let message = body["error"]["message"].as_str().expect("text");
        assert!(message.contains(&format!("`{name}`")), "{query}: {message}");
    }
    let (status, body) = service.get("/api/v1/me?verbose=1", &[("x-api-key", token)]).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &"invalid_query".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_the_service_is_degraded_and_still_ready() {
    let service = Service::start().await;
    let (status, body) = service.get("/ready", &[]).await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &"degraded".into()), "{body}");
    assert_eq!(body["problems"][0]["part"], "nats");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_the_service_is_not_ready_and_says_so() {
    let service = Service::start().await;
    service.app.pool.close().await;
    let (status, body) = service.get("/ready", &[]).await;
    assert_eq!((status, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &"not_ready".into()), "{body}");
    assert_eq!(service.get("/health", &[]).await.0, StatusCode::OK);
    let unknown = AccountId(uuid::Uuid::from_u128(1)).to_string();
    let answer = service.send("GET", "/api/v1/me", &[("x-api-key", &unknown)]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
}
