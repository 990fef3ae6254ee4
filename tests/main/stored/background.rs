//! Responses in the background: found at once, finished later, cancelled anywhere, never left behind.

use std::sync::Arc;
use std::time::Duration;

use codexapi::gateway::AttemptLabels;
use codexapi::stored::background::Background;
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::usage::Outcome;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, execute, refusal, text_of, with_model};
use crate::harness::wait_for;
use crate::money::{Deployment, INPUT_RATE, MODEL, OUTPUT_RATE};

/// Long enough that nothing finishes before it is cancelled.
const SLOW_MS: u64 = 3_000;

async fn start(api: &Api<'_>, body: Value) -> Value {
    let mut body = with_model(body);
    body["background"] = true.into();
    let (status, response) = api.post("/v1/responses", &body).await;
    assert_eq!(status, 200, "{response}");
    assert_eq!(response["status"], "queued");
    response
}

fn slow(tag: &str) -> Value {
    json!({"input": format!(r#"go on [[sim:{{"first_byte_delay_ms":{SLOW_MS},"tag":"{tag}"}}]]"#)})
}

async fn fetch(api: &Api<'_>, id: &str) -> Value {
    let (status, response) = api.get(&format!("/v1/responses/{id}")).await;
    assert_eq!(status, 200, "{response}");
    response
}

async fn finished(api: &Api<'_>, id: &str) -> Value {
    wait_for("a response that is finished", async || {
        let response = fetch(api, id).await;
        let running = ["queued", "in_progress"].contains(&text_of(&response, "status"));
        (!running).then_some(response)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_response_is_polled_to_its_end_under_its_first_id() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let told = r#"hello [[sim:{"text":"done"}]]"#;
    let begun = start(&api, json!({"input": told, "metadata": {"a": "b"}, "instructions": "be brief"})).await;
    assert_eq!((&begun["background"], &begun["object"]), (&json!(true), &json!("response")));
    assert_eq!((&begun["metadata"]["a"], &begun["output"]), (&json!("b"), &json!([])));
    let id = text_of(&begun, "id");
    let response = finished(&api, id).await;
    assert_eq!((text_of(&response, "status"), text_of(&response, "id")), ("completed", id));
    assert_eq!(response["output"][0]["content"][0]["text"], "done");
    assert_eq!((&response["background"], &response["store"]), (&json!(true), &json!(true)));
    assert_eq!(response["created_at"], begun["created_at"]);
    assert_eq!(super::rows(&deployment).await, 1, "kept once, under the reserved id alone");
    // It can be gone on from, in the background too.
    let second = start(&api, json!({"input": "on", "previous_response_id": id})).await;
    assert_eq!(finished(&api, text_of(&second, "id")).await["previous_response_id"], id);
    let (_, items) = api.get(&format!("/v1/responses/{}/input_items", text_of(&second, "id"))).await;
    assert_eq!(items["data"].as_array().expect("items").len(), 3);
    // Cancelling what is finished changes nothing.
    let (status, same) = api.json(Method::POST, &format!("/v1/responses/{id}/cancel"), None).await;
    assert_eq!((status, same), (200, response));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_refuses_is_refused_at_once_and_leaves_nothing() {
    let deployment = Deployment::start(&[]).await;
    let poor = Api { deployment: &deployment, token: deployment.customer(0).await.token };
    let asked = |model: &str| json!({"model": model, "input": "hello", "background": true});
    let answer = poor.post("/v1/responses", &asked(MODEL)).await;
    assert_eq!(refusal(&answer), (402, "insufficient_credit", &Value::Null));
    let rich = Api::new(&deployment).await;
    let answer = rich.post("/v1/responses", &asked("nobodys-model")).await;
    assert_eq!(refusal(&answer), (404, "model_not_found", &Value::Null));
    assert_eq!(super::rows(&deployment).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_credit_is_queued_and_then_generated() {
    let settings = [("CODEXAPI_LEAK_FLOOR_USD", "0"), ("CODEXAPI_DRAIN_SECONDS", "1")];
    let deployment = Deployment::start(&settings).await;
    let customer = deployment.customer(2_000).await;
    let api = Api { deployment: &deployment, token: customer.token.clone() };
    let told = |directive: &str| json!({"input": format!("x [[sim:{directive}]]"), "max_output_tokens": 200});
    let first = start(&api, told(r#"{"stall_forever":true,"output_tokens":5}"#)).await;
    deployment.held(customer.account_id).await;
    let second = start(&api, told(r#"{"output_tokens":5}"#)).await;
    for _ in 0..3 {
        assert_eq!(fetch(&api, text_of(&second, "id")).await["status"], "queued");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let cancel = format!("/v1/responses/{}/cancel", text_of(&first, "id"));
    assert_eq!(api.json(Method::POST, &cancel, None).await.0, 200);
    assert_eq!(finished(&api, text_of(&second, "id")).await["status"], "completed");
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_a_failed_response_with_its_code() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let told = r#"x [[sim:{"error":{"status":400,"code":"no","message":"not so"}}]]"#;
    let response = finished(&api, text_of(&start(&api, json!({"input": told})).await, "id")).await;
    assert_eq!((&response["status"], &response["error"]["message"]), (&json!("failed"), &json!("not so")));
    let broken = r#"x [[sim:{"mid_stream_error":{"after":2},"delta_count":5,"output_tokens":5}]]"#;
    let response = finished(&api, text_of(&start(&api, json!({"input": broken})).await, "id")).await;
    assert_eq!(response["status"], "failed");
    assert!(text_of(&response["error"], "message").contains("failed before its answer was complete"));
    let cut = r#"x [[sim:{"finish":"length"}]]"#;
    let response = finished(&api, text_of(&start(&api, json!({"input": cut})).await, "id")).await;
    assert_eq!(response["status"], "incomplete");
}

/// Waits until the provider has begun an answer.
async fn answered(deployment: &Deployment) {
    let began = AttemptLabels { provider: "simulator".into(), model: MODEL.into(), outcome: "answered" };
    let attempts = &deployment.app.gateway.traffic().attempts;
    wait_for("an answer that has begun", async || (attempts.get_or_create(&began).get() > 0).then_some(()))
        .await;
}

/// A response of 60 000 tokens, of which a few have come.
async fn long(api: &Api<'_>) -> String {
    let told = r#"go on [[sim:{"output_tokens":60000,"delta_count":2000,"chunk_delay_ms":50}]]"#;
    let id = text_of(&start(api, json!({"input": told})).await, "id").to_owned();
    answered(api.deployment).await;
    // That it has begun is noted beside the answer that begins.
    for _ in 0..200 {
        if fetch(api, &id).await["status"] == "in_progress" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_or_deletes_pays_for_what_was_made_until_then() {
    for method in [Method::POST, Method::DELETE] {
        let deployment = Deployment::start(&[("CODEXAPI_DRAIN_TOKENS", "100")]).await;
        let customer = deployment.customer(super::BALANCE).await;
        let api = Api { deployment: &deployment, token: customer.token.clone() };
        let id = long(&api).await;
        assert_eq!(fetch(&api, &id).await["status"], "in_progress");
        let path = format!("/v1/responses/{id}");
        let (url, after) = match method {
            Method::POST => (format!("{path}/cancel"), 200),
            _ => (path.clone(), 404),
        };
        assert_eq!(api.json(method, &url, None).await.0, 200);
        let ledger = deployment.ledger(customer.account_id).await;
        let settled = ledger.only_settlement();
        assert_eq!(settled.outcome, Outcome::DrainLimit);
        assert!(settled.usage.output < 30_000, "{} tokens were charged", settled.usage.output);
        let (status, response) = api.get(&path).await;
        assert_eq!(status, after, "{response}");
        assert!(status == 404 || response["status"] == "cancelled", "{response}");
        deployment.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_response_that_ends_in_time_is_charged_what_it_cost() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(super::BALANCE).await;
    let api = Api { deployment: &deployment, token: customer.token.clone() };
    let told = format!(r#"x [[sim:{{"first_byte_delay_ms":{SLOW_MS},"tag":"cancelled"}}]]"#);
    let id = text_of(&start(&api, json!({"input": told})).await, "id").to_owned();
    answered(&deployment).await;
    let (status, cancelled) = api.json(Method::POST, &format!("/v1/responses/{id}/cancel"), None).await;
    assert_eq!((status, text_of(&cancelled, "status")), (200, "cancelled"));
    let ledger = deployment.ledger(customer.account_id).await;
    let bills = deployment.bills("cancelled").await;
    let of = |field: &str| bills[0][field].as_i64().expect("a count");
    let billed = of("input_tokens") * INPUT_RATE + of("output_tokens") * OUTPUT_RATE;
    assert_eq!(ledger.only_settlement().charged_micro.0, billed);
    assert_eq!(fetch(&api, &id).await["status"], "cancelled");
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_while_the_service_stops_says_so() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let told = r#"x [[sim:{"first_byte_delay_ms":500,"cut_at_byte":10}]]"#;
    let id = text_of(&start(&api, json!({"input": told})).await, "id").to_owned();
    deployment.app.background.stop();
    let response = finished(&api, &id).await;
    assert_eq!(
        (&response["status"], &response["error"]["code"]),
        (&json!("failed"), &json!("service_stopped"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_on_another_node_is_noticed() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let id = text_of(&start(&api, slow("elsewhere")).await, "id").to_owned();
    let app = &deployment.app;
    // As another node does: it has the row, not the task.
    execute(&deployment, "UPDATE stored_responses SET status = 'cancelled'").await;
    let owner = owner_of(&deployment).await;
    wait_for("a task that has given up", async || (!app.background.is_running(owner, &id)).then_some(()))
        .await;
    assert_eq!(super::rows(&deployment).await, 1);
    let status: String =
        sqlx::query_scalar("SELECT status FROM stored_responses").fetch_one(&app.pool).await.expect("read");
    assert_eq!(status, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_deleted_while_it_runs_is_given_up_and_never_comes_back() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let id = text_of(&start(&api, slow("deleted")).await, "id").to_owned();
    let owner = owner_of(&deployment).await;
    let (status, deleted) = api.json(Method::DELETE, &format!("/v1/responses/{id}"), None).await;
    assert_eq!((status, &deleted["deleted"]), (200, &json!(true)));
    let background = &deployment.app.background;
    wait_for("a task that has given up", async || (!background.is_running(owner, &id)).then_some(())).await;
    assert_eq!(api.get(&format!("/v1/responses/{id}")).await.0, 404);
    assert_eq!(super::rows(&deployment).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_has_left_behind_is_failed_when_looked_at_and_by_the_purge() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let (seen, unseen) = (start(&api, slow("seen")).await, start(&api, slow("unseen")).await);
    let dead = Uuid::from_u128(7);
    execute(
        &deployment,
        &format!("INSERT INTO nodes (incarnation, name, ended_at) VALUES ('{dead}', 'n', now())"),
    )
    .await;
    execute(&deployment, &format!("UPDATE stored_responses SET node = '{dead}'")).await;
    let response = fetch(&api, text_of(&seen, "id")).await;
    assert_eq!((&response["status"], &response["error"]["code"]), (&json!("failed"), &json!("server_error")));
    assert_eq!(deployment.app.background.fail_abandoned().await.expect("looked"), 1);
    assert_eq!(fetch(&api, text_of(&unseen, "id")).await["status"], "failed");
    assert_eq!(deployment.app.background.fail_abandoned().await.expect("looked"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_node_has_lost_is_failed_and_what_it_runs_is_not() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let begun = start(&api, slow("runs")).await;
    execute(&deployment, "UPDATE stored_responses SET created_at = now() - interval '1 hour'").await;
    let app = &deployment.app;
    assert_eq!(app.background.fail_abandoned().await.expect("looked"), 0);
    // The same node without the task.
    let (stored, gateway) = (Arc::clone(&app.stored), Arc::clone(&app.gateway));
    let node = NodeIncarnation(app.incarnation.0);
    let amnesiac = Background::new(stored, gateway, Default::default(), node, &app.config.stored);
    assert_eq!(amnesiac.fail_abandoned().await.expect("looked"), 1);
    assert_eq!(fetch(&api, text_of(&begun, "id")).await["status"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn background_responses_are_bounded_by_owner_and_by_node() {
    let limits = [("CODEXAPI_BACKGROUND_PER_OWNER", "1"), ("CODEXAPI_BACKGROUND_PER_NODE", "2")];
    let deployment = Deployment::start(&limits).await;
    let apis = [Api::new(&deployment).await, Api::new(&deployment).await, Api::new(&deployment).await];
    let mut body = with_model(slow("bounded"));
    body["background"] = true.into();
    start(&apis[0], slow("bounded")).await;
    let answer = apis[0].post("/v1/responses", &body).await;
    assert_eq!(refusal(&answer), (429, "rate_limit_exceeded", &Value::Null));
    start(&apis[1], slow("bounded")).await;
    assert_eq!(apis[2].post("/v1/responses", &body).await.0, 429);
    assert_eq!(super::rows(&deployment).await, 2, "what was refused left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_in_the_background_is_refused_by_its_field() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    for (body, field) in [
        (json!({"input": "x", "background": true, "store": false}), "store"),
        (json!({"input": "x", "background": true, "stream": true}), "stream"),
    ] {
        let answer = api.post("/v1/responses", &with_model(body)).await;
        assert_eq!((answer.0, &answer.1["error"]["param"]), (400, &json!(field)));
    }
    let response = api.respond(json!({"input": "x"})).await;
    let path = format!("/v1/responses/{}/cancel", text_of(&response, "id"));
    assert_eq!(refusal(&api.json(Method::POST, &path, None).await).0, 400);
    let running = start(&api, slow("unfinished")).await;
    let on = with_model(json!({"input": "x", "previous_response_id": running["id"]}));
    let answer = api.post("/v1/responses", &on).await;
    assert_eq!(refusal(&answer), (400, "previous_response_unfinished", &json!("previous_response_id")));
}

/// The owner of the only response there is.
async fn owner_of(deployment: &Deployment) -> codexapi::stored::Owner {
    let owner = sqlx::query_scalar("SELECT owner_id FROM stored_responses").fetch_one(&deployment.app.pool);
    codexapi::stored::Owner(owner.await.expect("one response"))
}
