//! Key limits and suspension.

use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;
use crate::http::bearer;

impl Fleet {
    /// Changes what keys may do; returns whether it was in force when it was answered. Where a busy machine's read
    /// models lag behind that, waits until it is, by saying the same again.
    async fn decide(&self, path: &str, body: &Value) -> bool {
        let first = self.set(path, body).await;
        assert!(first["positions"].as_array().is_some_and(|positions| positions.len() == 1), "{first}");
        let mut answer = first.clone();
        while answer["inForce"] == false {
            answer = self.set(path, body).await;
        }
        first["inForce"] == true
    }
}

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
    fleet.decide(&path, &json!({ "allowedModels": ["claude-opus-4-8"], "requestsPerMinute": 50 })).await;
    let (status, refused) = fleet.ask(token, "gpt-5.5", "c").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &json!("model_not_allowed")));

    fleet.decide(&path, &json!({ "networks": ["203.0.113.0/24"] })).await;
    let (status, refused) = fleet.ask(token, "gpt-5.5", "c").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &json!("network_not_allowed")));
    let (actor, payload) = fleet.events("account.key_limits_set").await.pop().expect("an event");
    assert_eq!(actor, "operator:static-admin-1");
    assert!(!payload.to_string().contains("203.0.113"), "an address stands in the log: {payload}");

    fleet.decide(&path, &json!({})).await;
    assert_eq!(fleet.ask(token, "gpt-5.5", "c").await.0, StatusCode::OK);
    assert!(networks(&fleet).await.is_empty());
}

/// The key is in use all the time, so that every door has just looked it up.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_after_a_change_is_answered_feels_it() {
    let fleet = Fleet::start().await;
    let created = fleet.service.customer().await;
    fleet.service.credit(created.account_id, 10).await;
    let (key, token) = (created.system_token.key_id, created.system_token.token.reveal());
    let (limits, standing) =
        (format!("/api-keys/{key}/limits"), format!("/users/{}/active", created.account_id));
    let authorization = bearer(token);
    let status = async || {
        let body = json!({ "model": "gpt-5.5", "input": "go on", "max_output_tokens": 16 });
        let headers = [("authorization", authorization.as_str())];
        fleet.service.post("/v1/responses", &headers, body.to_string()).await.0
    };
    let using = async {
        loop {
            fleet.service.get("/api/v1/me", &[("authorization", &authorization)]).await;
        }
    };
    let changing = async {
        let mut in_force = 0;
        for _ in 0..4 {
            in_force +=
                u32::from(fleet.decide(&limits, &json!({ "allowedModels": ["claude-opus-4-8"] })).await);
            assert_eq!(status().await, StatusCode::FORBIDDEN, "a limit was set");
            in_force += u32::from(fleet.decide(&limits, &json!({})).await);
            assert_eq!(status().await, StatusCode::OK, "it was taken away");
            in_force +=
                u32::from(fleet.decide(&standing, &json!({ "active": false, "reason": "abuse" })).await);
            assert_eq!(status().await, StatusCode::FORBIDDEN, "the account was suspended");
            in_force += u32::from(fleet.decide(&standing, &json!({ "active": true })).await);
            assert_eq!(status().await, StatusCode::OK, "it was reinstated");
        }
        assert!(in_force > 0, "no change was in force when it was answered");
    };
    tokio::select! {
        () = changing => {}
        () = using => unreachable!("it goes on for ever"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_no_key_can_have_are_refused_and_leave_its_networks() {
    let fleet = Fleet::start().await;
    let key = fleet.service.customer().await.system_token.key_id;
    let path = format!("/api-keys/{key}/limits");
    fleet.set(&path, &json!({ "networks": ["198.51.100.7", "2001:db8::/32"] })).await;
    let before = networks(&fleet).await;
    assert_eq!(before.len(), 2);
    let cases: [(Value, &str); 9] = [
        (json!({ "requestsPerMinute": 0 }), "bad_key_limits"),
        (json!({ "allowedModels": ["gpt-5.5", "gpt-5.50"] }), "unknown_model"),
        (json!({ "allowedModels": ["no model's name"] }), "bad_key_limits"),
        (json!({ "dailyBudgetMicro": -1 }), "bad_key_limits"),
        (json!({ "expiresAt": "2001-01-01T00:00:00Z" }), "bad_key_limits"),
        (json!({ "expiresAt": "+10000-01-01T00:00:00Z" }), "invalid_body"),
        (json!({ "networks": ["everywhere"] }), "invalid_network"),
        (json!({ "networks": vec!["10.0.0.0/8"; 101] }), "too_many_networks"),
        (json!({ "requestsPerMinute": "5" }), "invalid_body"),
    ];
    for (body, code) in cases {
        assert_eq!(fleet.refused(&path, &body).await, (400, code.to_owned()), "{body}");
    }
    assert_eq!(networks(&fleet).await, before);
    let (_, told) = fleet.try_set(&path, &json!({ "allowedModels": ["gpt-5.50"] })).await;
    let message = told["error"]["message"].as_str().expect("a message");
    assert!(message.contains(r#""gpt-5.50""#) && message.contains("claude-opus-4-8, "), "{message}");
    let (_, told) = fleet.try_set(&path, &json!({ "allowedModels": ["gpt-5.5", 5] })).await;
    let message = told["error"]["message"].as_str().expect("a message");
    assert!(message.contains("`allowedModels[1]`"), "{message}");
    let stranger = "/api-keys/0190a0a0-0000-7000-8000-000000000001/limits";
    assert_eq!(fleet.refused(stranger, &json!({})).await, (404, "key_not_found".into()));
    assert_eq!(fleet.refused("/api-keys/mine/limits", &json!({})).await, (400, "invalid_key_id".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_customer_is_turned_away_until_reinstated() {
    let fleet = Fleet::start().await;
    let (account, token) = fleet.customer().await;
    let path = format!("/users/{account}/active");
    fleet.decide(&path, &json!({ "active": false, "reason": "abuse" })).await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        fleet.set(&path, &json!({ "active": false, "reason": "requested" })).await["positions"],
        json!([])
    );
    fleet.decide(&path, &json!({ "active": true })).await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    for body in [json!({ "active": false }), json!({ "active": true, "reason": "abuse" })] {
        let refused = fleet.refused(&path, &body).await;
        assert_eq!(refused, (400, "reason_of_suspension".into()), "{body}");
    }
    let stranger = "/users/0190a0a0-0000-7000-8000-000000000001/active";
    assert_eq!(fleet.refused(stranger, &json!({ "active": true })).await, (404, "account_not_found".into()));
    let (actor, payload) = fleet.events("account.account_suspended").await.remove(0);
    assert_eq!(actor, "operator:static-admin-1");
    assert!(payload.to_string().contains("abuse"));
}
