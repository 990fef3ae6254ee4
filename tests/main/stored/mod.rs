//! What customers fetch again: theirs alone, as they got it, for as long as it is kept, and nowhere else.

mod background;
mod chains;
mod completions;
mod responses;

use http::Method;
use serde_json::{Value, json};

use crate::money::{Customer, Deployment, MODEL};

const BALANCE: i64 = 100_000_000;

/// One customer's requests.
struct Api<'a> {
    deployment: &'a Deployment,
    token: String,
}

impl<'a> Api<'a> {
    async fn new(deployment: &'a Deployment) -> Self {
        let Customer { token, .. } = deployment.customer(BALANCE).await;
        Self { deployment, token }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::Response {
        let url = format!("{}{path}", self.deployment.url);
        let mut request = self.deployment.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.expect("an answer")
    }

    async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let answer = self.send(method, path, body).await;
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.json(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.json(Method::POST, path, Some(body)).await
    }

    /// A response to `body` in its finished form.
    async fn respond(&self, body: Value) -> Value {
        let (status, response) = self.post("/v1/responses", &with_model(body)).await;
        assert_eq!(status, 200, "{response}");
        response
    }

    async fn complete(&self, body: Value) -> Value {
        let (status, completion) = self.post("/v1/chat/completions", &with_model(body)).await;
        assert_eq!(status, 200, "{completion}");
        completion
    }
}

fn with_model(mut body: Value) -> Value {
    body["model"] = MODEL.into();
    body
}

fn text_of<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}"))
}

/// Code and field of a refusal.
fn refusal(answer: &(u16, Value)) -> (u16, &str, &Value) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default(), &answer.1["error"]["param"])
}

/// Rows of both tables.
async fn rows(deployment: &Deployment) -> i64 {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM stored_responses) + (SELECT count(*) FROM stored_completions)",
    )
    .fetch_one(&deployment.app.pool)
    .await
    .expect("counted")
}

async fn execute(deployment: &Deployment, statement: &str) {
    sqlx::query(statement).execute(&deployment.app.pool).await.expect("executed");
}

/// Every URL under which a stored object is found.
fn urls(response: &str, completion: &str) -> Vec<(Method, String, Option<Value>)> {
    let response = format!("/v1/responses/{response}");
    let completion = format!("/v1/chat/completions/{completion}");
    let change = Some(json!({ "metadata": {} }));
    vec![
        (Method::GET, response.clone(), None),
        (Method::GET, format!("{response}/input_items"), None),
        (Method::POST, format!("{response}/cancel"), None),
        (Method::POST, format!("{response}/compact"), None),
        (Method::DELETE, response, None),
        (Method::GET, completion.clone(), None),
        (Method::GET, format!("{completion}/messages"), None),
        (Method::POST, completion.clone(), change.clone()),
        (Method::PATCH, completion.clone(), change),
        (Method::DELETE, completion, None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_account_has_stored_does_not_exist_for_another() {
    let deployment = Deployment::start(&[]).await;
    let (owner, other) = (Api::new(&deployment).await, Api::new(&deployment).await);
    let response = owner.respond(json!({"input": "hello"})).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    let completion = owner.complete(json!({"messages": messages, "store": true})).await;
    let (response, completion) = (text_of(&response, "id"), text_of(&completion, "id"));
    let operator = Api { deployment: &deployment, token: crate::money::OPERATOR_TOKEN.into() };
    for stranger in [&other, &operator] {
        for (method, path, body) in urls(response, completion) {
            let answer = stranger.json(method.clone(), &path, body.as_ref()).await;
            assert_eq!(answer.0, 404, "{method} {path}: {}", answer.1);
        }
        let (_, list) = stranger.get("/v1/chat/completions").await;
        assert_eq!(list["data"], json!([]));
        let on = with_model(json!({"input": "on", "previous_response_id": response}));
        let answer = stranger.post("/v1/responses", &on).await;
        let expected = (400, "previous_response_not_found", &json!("previous_response_id"));
        assert_eq!(refusal(&answer), expected);
    }
    let refused = [400, 200];
    for (method, path, body) in urls(response, completion) {
        let (status, answer) = owner.json(method.clone(), &path, body.as_ref()).await;
        // Only what runs in the background can be cancelled.
        let expected = refused[usize::from(!path.ends_with("/cancel"))];
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
    assert_eq!(rows(&deployment).await, 0, "deleted by their owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_stored_leaves_no_row() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    api.respond(json!({"input": "hello", "store": false})).await;
    api.complete(json!({"messages": messages})).await;
    api.complete(json!({"messages": messages, "store": false, "metadata": {"a": "b"}})).await;
    for stream in [json!({"input": "hello", "store": false, "stream": true})] {
        api.send(Method::POST, "/v1/responses", Some(&with_model(stream))).await.text().await.expect("read");
    }
    let anthropic = json!({"max_tokens": 64, "messages": messages});
    assert_eq!(api.post("/v1/messages", &with_model(anthropic)).await.0, 200);
    assert_eq!(rows(&deployment).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stores_nothing_says_so_where_it_matters() {
    let deployment = Deployment::start(&[("CODEXAPI_STORED_DAYS", "0")]).await;
    let api = Api::new(&deployment).await;
    let response = api.respond(json!({"input": "hello", "store": true})).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    api.complete(json!({"messages": messages, "store": true})).await;
    assert_eq!(rows(&deployment).await, 0);
    let answer = api.get(&format!("/v1/responses/{}", text_of(&response, "id"))).await;
    assert_eq!(refusal(&answer), (404, "response_not_found", &Value::Null));
    let answer = api.post("/v1/responses", &with_model(json!({"input": "x", "background": true}))).await;
    assert_eq!(refusal(&answer), (400, "storing_is_off", &json!("background")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_served_and_not_stored() {
    let deployment = Deployment::start(&[("CODEXAPI_STORED_LIMIT_BYTES", "65536")]).await;
    let api = Api::new(&deployment).await;
    api.respond(json!({"input": "x".repeat(70_000)})).await;
    assert_eq!(rows(&deployment).await, 0);
    api.respond(json!({"input": "x"})).await;
    assert_eq!(rows(&deployment).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_gone_before_it_is_purged_and_then_purged() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    let kept = api.respond(json!({"input": "hello"})).await;
    let response = api.respond(json!({"input": "hello"})).await;
    let completion = api.complete(json!({"messages": messages, "store": true})).await;
    let (response, completion) = (text_of(&response, "id"), text_of(&completion, "id"));
    let expire = format!("UPDATE stored_responses SET expires_at = now() WHERE response_id = '{response}'");
    execute(&deployment, &expire).await;
    execute(&deployment, "UPDATE stored_completions SET expires_at = now()").await;
    for (method, path, body) in urls(response, completion) {
        let answer = api.json(method.clone(), &path, body.as_ref()).await;
        assert_eq!(answer.0, 404, "{method} {path}: {}", answer.1);
    }
    assert_eq!(api.get("/v1/chat/completions").await.1["data"], json!([]));
    assert_eq!(rows(&deployment).await, 3);
    assert_eq!(deployment.app.stored.purge_expired().await.expect("purged"), 2);
    assert_eq!(rows(&deployment).await, 1);
    assert_eq!(api.get(&format!("/v1/responses/{}", text_of(&kept, "id"))).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_and_answered_never_stands_in_the_event_log() {
    let deployment = Deployment::start(&[]).await;
    let api = Api::new(&deployment).await;
    let told = r#"canary-question [[sim:{"text":"canary-answer"}]]"#;
    let first = api.respond(json!({"input": told, "metadata": {"a": "canary-metadata"}})).await;
    let id = text_of(&first, "id");
    api.respond(json!({"input": told, "previous_response_id": id})).await;
    let messages = json!([{"role": "user", "content": told}]);
    api.complete(json!({"messages": messages, "store": true, "metadata": {"a": "canary-metadata"}})).await;
    assert_eq!(api.post(&format!("/v1/responses/{id}/compact"), &json!({})).await.0, 200);
    assert_eq!(rows(&deployment).await, 3);
    let log: String = sqlx::query_scalar("SELECT string_agg(e::text, '') FROM events e")
        .fetch_one(&deployment.app.pool)
        .await
        .expect("read");
    assert!(log.contains("usage.generation_settled"));
    assert!(!log.contains("canary"));
}
