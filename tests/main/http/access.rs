//! Who may call what.

use std::collections::BTreeSet;
use std::time::Instant;

use codexapi::accounts::{self, BELIEVED_FOR, SetLimits};
use codexapi::clock;
use codexapi::http::auth::Audience;
use codexapi::http::routes;
use codexapi_aggregates::account::{KeyKind, KeyLimits, RevocationReason};
use codexapi_aggregates::routing::Catalog;
use codexapi_aggregates::time::Timestamp;
use http::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{ADMIN_TOKEN, OPERATOR_TOKEN, Service, bearer, operator};
use crate::harness::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_but_the_public_ones_is_closed_without_a_token() {
    let service = Service::start().await;
    for route in routes() {
        let status = service.send(route.method.as_str(), route.path, &[]).await.status();
        let closed = status == StatusCode::UNAUTHORIZED;
        assert_eq!(closed, route.audience != Audience::Public, "{} {}: {status}", route.method, route.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_headers_are_accepted_and_of_two_tokens_ours_counts() {
    let service = Service::start().await;
    let customer = service.customer().await;
    let token = customer.system_token.token.reveal();
    let authorization = bearer(token);
    let foreign = bearer("sk-ant-not-one-of-ours-at-all");
    let accepted: [&[(&str, &str)]; 4] = [
        &[("authorization", &authorization)],
        &[("x-api-key", token)],
        &[("authorization", &foreign), ("x-api-key", token)],
        &[("authorization", &authorization), ("x-api-key", "sk-ant-not-one-of-ours-at-all")],
    ];
    for headers in accepted {
        let (status, body) = service.get("/api/v1/me", headers).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["accountId"], customer.account_id.to_string());
    }
    let (status, body) = service.get("/api/v1/me", &[("authorization", &foreign)]).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &"invalid_token".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_two_accounts_in_one_request_are_refused() {
    let service = Service::start().await;
    let (one, other) = (service.customer().await, service.customer().await);
    let authorization = bearer(one.system_token.token.reveal());
    let headers =
        [("authorization", authorization.as_str()), ("x-api-key", other.system_token.token.reveal())];
    let (status, body) = service.get("/api/v1/me", &headers).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &"conflicting_tokens".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_tokens_do_not_open_customers_routes() {
    let service = Service::start().await;
    for token in [ADMIN_TOKEN, OPERATOR_TOKEN] {
        let (status, _) = service.get("/api/v1/me", &[("x-api-key", token)]).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_and_a_replaced_system_token_stop_working() {
    let service = Service::start().await;
    let customer = service.customer().await;
    let (log, credentials) = (&service.app.log, &service.app.config.credentials);
    let account = Some(customer.account_id);
    let key =
        accounts::issue_key(log, credentials, &operator(), account, KeyKind::Api).await.expect("issued");
    service.in_force(key.position).await;
    let with_key = [("x-api-key", key.token.reveal())];
    assert_eq!(service.get("/api/v1/me", &with_key).await.0, StatusCode::OK);

    let reason = RevocationReason::Requested;
    accounts::revoke_key(log, &operator(), account, key.key_id, reason).await.expect("revoked");
    let replaced = accounts::issue_key(log, credentials, &operator(), account, KeyKind::SystemToken)
        .await
        .expect("issued");
    service.in_force(replaced.position).await;
    let (status, body) = service.get("/api/v1/me", &with_key).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &"revoked_token".into()));
    let old = customer.system_token.token.reveal();
    assert_eq!(service.get("/api/v1/me", &[("x-api-key", old)]).await.0, StatusCode::UNAUTHORIZED);
    let new = replaced.token.reveal();
    assert_eq!(service.get("/api/v1/me", &[("x-api-key", new)]).await.0, StatusCode::OK);
}

/// What is known of such a key is refreshed in the background: that must not outlive the revocation.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_steady_use_opens_nothing_once_its_revocation_is_in_force() {
    let service = Service::start().await;
    let account = Some(service.customer().await.account_id);
    let (log, credentials) = (&service.app.log, &service.app.config.credentials);
    let key =
        accounts::issue_key(log, credentials, &operator(), account, KeyKind::Api).await.expect("issued");
    service.in_force(key.position).await;
    let enough = CancellationToken::new();
    let asking = async {
        let mut heard = vec![];
        while !enough.is_cancelled() {
            let began = Instant::now();
            heard.push((began, service.get("/api/v1/me", &[("x-api-key", key.token.reveal())]).await.0));
        }
        heard
    };
    let revoking = async {
        tokio::time::sleep(3 * BELIEVED_FOR).await;
        let (begun, reason) = (Instant::now(), RevocationReason::Requested);
        let position = accounts::revoke_key(log, &operator(), account, key.key_id, reason).await;
        service.in_force(position.expect("revoked")).await;
        let in_force = Instant::now();
        tokio::time::sleep(3 * BELIEVED_FOR).await;
        enough.cancel();
        (begun, in_force)
    };
    let (heard, (begun, in_force)) = tokio::join!(asking, revoking);
    let of = |asked: &dyn Fn(Instant) -> bool| -> BTreeSet<u16> {
        heard.iter().filter(|(began, _)| asked(*began)).map(|(_, status)| status.as_u16()).collect()
    };
    // The last request before may have been answered after.
    let last_before = heard.iter().rfind(|(began, _)| *began < begun).expect("asked before").0;
    assert_eq!(of(&|began| began < last_before), BTreeSet::from([200]));
    assert_eq!(of(&|began| began > in_force), BTreeSet::from([401]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_told_the_same_on_every_route() {
    let service = Service::start().await;
    let customer = service.customer().await;
    let (app, key_id) = (&service.app, customer.system_token.key_id);
    let soon = Timestamp(clock::now().0 + 2_000_000);
    let limits = KeyLimits { expires_at: Some(soon), ..KeyLimits::default() };
    let set = SetLimits { limits, networks: vec![] };
    let set = accounts::set_key_limits(&app.log, &Catalog::default(), &operator(), key_id, set).await;
    service.in_force(set.expect("set")).await;
    wait_for("the key's end", async || (clock::now() > soon).then_some(())).await;
    let authorization = bearer(customer.system_token.token.reveal());
    let headers = [("authorization", authorization.as_str())];
    let generation = json!({ "model": "gpt-5.5", "input": "Hello", "messages": [] }).to_string();
    for path in ["/api/v1/me", "/api/v1/key", "/v1/models", "/v1/responses/resp_1"] {
        let (status, body) = service.get(path, &headers).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (StatusCode::FORBIDDEN, &"key_expired".into()),
            "{path}"
        );
    }
    for path in ["/v1/responses", "/v1/chat/completions"] {
        let (status, body) = service.post(path, &headers, generation.clone()).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (StatusCode::FORBIDDEN, &"key_expired".into()),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id_and_unknown_urls_say_so() {
    let service = Service::start().await;
    let missing = service.send("GET", "/nowhere", &[]).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert!(missing.headers()["x-request-id"].to_str().expect("text").starts_with("req_"));
    let wrong = service.send("POST", "/health", &[]).await;
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(wrong.headers().contains_key("allow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_never_stands_in_the_database() {
    let settings =
        [("CODEXAPI_SEALING_KEY", "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b")];
    let service = Service::start_with(&settings).await;
    let customer = service.customer().await;
    let secret = &customer.system_token.token.reveal()["g2g-codex-".len()..];
    let dump: String = sqlx::query_scalar(
        "select coalesce(string_agg(t, ''), '') from (select e::text as t from events e \
         union all select k::text from api_keys k union all select encode(s.ciphertext, 'escape') from sealed_tokens s) d",
    )
    .fetch_one(&service.app.pool)
    .await
    .expect("dumped");
    assert!(dump.contains(&customer.account_id.to_string()));
    assert!(!dump.contains(secret));
}
