//! Key limits and suspension.

use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;
use crate::harness::wait_for;
use crate::http::cached_keys_expire;

async fn networks(fleet: &Fleet) -> Vec<String> {
    let select = "select cidr::text from key_networks order by cidr";
    sqlx::query_scalar(select).fetch_all(&fleet.service.app.pool).await.expect("networks")
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_whole_and_count_for_the_next_requests() {
    let fleet = Fleet::start().await;
    let created = fleet.service.customer().await;
    fleet.service.credit(created.account_id, 10).await;
    let (key, token) = (created.system_token.key_id, created.system_token.token.reveal());
    let path = format!("/api-keys/{key}/limits");
    let set =
        fleet.set(&path, &json!({ "allowedModels": ["claude-opus-4-8"], "requestsPerMinute": 50 })).await;
    fleet.service.projected("api_keys", set["positions"][0].as_i64().expect("a position")).await;
    cached_keys_expire().await;
    let (status, refused) = fleet.ask(token, "gpt-5.5", "c").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &json!("model_not_allowed")));

    let set = fleet.set(&path, &json!({ "networks": ["203.0.113.0/24"] })).await;
    fleet.service.projected("api_keys", set["positions"][0].as_i64().expect("a position")).await;
    cached_keys_expire().await;
    let (status, refused) = fleet.ask(token, "gpt-5.5", "c").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &json!("network_not_allowed")));
    let (actor, payload) = fleet.events("account.key_limits_set").await.pop().expect("an event");
    assert_eq!(actor, "operator:static-admin-1");
    assert!(!payload.to_string().contains("203.0.113"), "an address stands in the log: {payload}");

    let set = fleet.set(&path, &json!({})).await;
    fleet.service.projected("api_keys", set["positions"][0].as_i64().expect("a position")).await;
    cached_keys_expire().await;
    assert_eq!(fleet.ask(token, "gpt-5.5", "c").await.0, StatusCode::OK);
    assert!(networks(&fleet).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_no_key_can_have_are_refused_and_leave_its_networks() {
    let fleet = Fleet::start().await;
    let key = fleet.service.customer().await.system_token.key_id;
    let path = format!("/api-keys/{key}/limits");
    fleet.set(&path, &json!({ "networks": ["198.51.100.7", "2001:db8::/32"] })).await;
    let before = networks(&fleet).await;
    assert_eq!(before.len(), 2);
    let cases: [(Value, &str); 6] = [
        (json!({ "requestsPerMinute": 0 }), "bad_key_limits"),
        (json!({ "dailyBudgetMicro": -1 }), "bad_key_limits"),
        (json!({ "expiresAt": "2001-01-01T00:00:00Z" }), "bad_key_limits"),
        (json!({ "networks": ["everywhere"] }), "invalid_network"),
        (json!({ "networks": vec!["10.0.0.0/8"; 101] }), "too_many_networks"),
        (json!({ "requestsPerMinute": "5" }), "invalid_body"),
    ];
    for (body, code) in cases {
        assert_eq!(fleet.refused(&path, &body).await, (400, code.to_owned()), "{body}");
    }
    assert_eq!(networks(&fleet).await, before);
    let stranger = "/api-keys/0190a0a0-0000-7000-8000-000000000001/limits";
    assert_eq!(fleet.refused(stranger, &json!({})).await, (404, "key_not_found".into()));
    assert_eq!(fleet.refused("/api-keys/mine/limits", &json!({})).await, (400, "invalid_key_id".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_customer_is_turned_away_until_reinstated() {
    let fleet = Fleet::start().await;
    let (account, token) = fleet.customer().await;
    let path = format!("/users/{account}/active");
    let asked = async |wanted: StatusCode| {
        wait_for("the account's standing counts", async || {
            (fleet.ask(&token, "gpt-5.5", "c").await.0 == wanted).then_some(())
        })
        .await;
    };
    fleet.set(&path, &json!({ "active": false, "reason": "abuse" })).await;
    asked(StatusCode::FORBIDDEN).await;
    assert_eq!(
        fleet.set(&path, &json!({ "active": false, "reason": "requested" })).await["positions"],
        json!([])
    );
    fleet.set(&path, &json!({ "active": true })).await;
    asked(StatusCode::OK).await;
    assert_eq!(fleet.refused(&path, &json!({ "active": false })).await, (400, "reason_of_suspension".into()));
    let stranger = "/users/0190a0a0-0000-7000-8000-000000000001/active";
    assert_eq!(fleet.refused(stranger, &json!({ "active": true })).await, (404, "account_not_found".into()));
    let (actor, payload) = fleet.events("account.account_suspended").await.remove(0);
    assert_eq!(actor, "operator:static-admin-1");
    assert!(payload.to_string().contains("abuse"));
}
