//! What customers' Toolboxes make of a surge: stay, be served by the budget model, or pause.

use std::sync::Arc;

use axum::body::Body;
use codexapi::http::router;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::Fleet;
use crate::harness::wait_for;

const BUDGET: &str = "deepseek-v4-pro";

/// Answered in a few words, to the end.
const ASKED: &str = "go on [[sim:{\"output_tokens\":8}]]";

struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
}

async fn fleet() -> Fleet {
    Fleet::selling(&["gpt-5.5"], &["gpt-5.5", "claude-opus-4-8", BUDGET], &[]).await
}

async fn ask(fleet: &Fleet, path: &str, token: &str, headers: &[(&str, &str)], body: &Value) -> Told {
    let mut request = Request::builder().method("POST").uri(path).header("x-api-key", token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_string())).expect("a request");
    let response = router(Arc::clone(&fleet.service.app)).oneshot(request).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    Told { status, headers, text: String::from_utf8(body.to_vec()).expect("text") }
}

fn responses(stream: bool, conversation: &str) -> Value {
    json!({
        "model": "gpt-5.5", "input": ASKED, "max_output_tokens": 64, "stream": stream,
        "prompt_cache_key": conversation, "tools": [{ "type": "function", "name": "f", "parameters": {} }],
    })
}

fn messages(stream: bool) -> Value {
    json!({
        "model": "claude-opus-4-8", "max_tokens": 64, "stream": stream,
        "messages": [{ "role": "user", "content": ASKED }],
        "tools": [{ "name": "f", "input_schema": { "type": "object" } }],
    })
}

async fn choose(fleet: &Fleet, token: &str, choice: &str) {
    let body = json!({ "choice": choice }).to_string();
    let (status, answer) = fleet.service.post("/api/v1/toolbox", &[("x-api-key", token)], body).await;
    assert_eq!((status, &answer["choice"]), (StatusCode::OK, &choice.into()), "{answer}");
}

async fn surge(fleet: &Fleet) {
    fleet.set("/token-rates/windows", &json!({ "timeline": "mode", "mode": "surge" })).await;
}

async fn end_surge(fleet: &Fleet) {
    fleet.set("/token-rates/windows/end", &json!({ "timeline": "mode", "number": 1 })).await;
}

/// Billed model, label and input rate of every settled generation.
async fn settled(fleet: &Fleet) -> Vec<(String, String, i64)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let all = fleet.events("usage.generation_settled").await;
    all.iter()
        .map(|(_, event)| {
            let event = &event["GenerationSettled"];
            let line = event["lines"].as_array().expect("lines").iter().find(|line| line["kind"] == "output");
            let rate = line.expect("output is billed")["price"].as_i64().expect("a rate");
            (text(&event["billed_model"]), text(&event["model"]), rate)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_chose_deepseek_is_served_and_billed_by_it_in_both_dialects_while_the_surge_is_on() {
    let fleet = fleet().await;
    let (_, token) = fleet.customer().await;
    choose(&fleet, &token, "deepseek").await;
    let before = ask(&fleet, "/v1/responses", &token, &[], &responses(false, "c")).await;
    assert_eq!((before.status, before.headers.get("x-codexapi-notice")), (200, None), "{}", before.text);
    surge(&fleet).await;
    for (path, body, label) in [
        ("/v1/responses", responses(false, "c"), "gpt-5.5"),
        ("/v1/messages", messages(false), "claude-opus-4-8"),
    ] {
        let told = ask(&fleet, path, &token, &[], &body).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let answer: Value = serde_json::from_str(&told.text).expect("JSON");
        assert_eq!(answer["model"], label, "the label stays the client's");
        let notice = told.headers["x-codexapi-notice"].to_str().expect("text");
        assert!(notice.contains("Surge Pricing is on until 20"), "{notice}");
        assert!(notice.contains("deepseek-v4-pro at $2.00 / $5.00"), "{notice}");
        assert!(!told.text.contains("Surge Pricing"), "what programs read is not changed");
    }
    end_surge(&fleet).await;
    assert_eq!(ask(&fleet, "/v1/responses", &token, &[], &responses(false, "c")).await.status, 200);
    let own = |model: &str, rate| (model.to_owned(), model.to_owned(), rate);
    let budget = |label: &str| (BUDGET.to_owned(), label.to_owned(), 5_000_000);
    let expected = [
        own("gpt-5.5", 30_000_000),
        budget("gpt-5.5"),
        budget("claude-opus-4-8"),
        own("gpt-5.5", 30_000_000),
    ];
    assert_eq!(settled(&fleet).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_person_reads_is_told_once_and_a_script_is_not() {
    let fleet = fleet().await;
    let (_, token) = fleet.customer().await;
    choose(&fleet, &token, "deepseek").await;
    surge(&fleet).await;
    let codex = [("originator", "codex_cli_rs"), ("thread-id", "t-1")];
    let first = ask(&fleet, "/v1/responses", &token, &codex, &responses(true, "c")).await;
    let count = |told: &Told| told.text.matches("Surge Pricing is on until").count();
    assert!(count(&first) > 0, "{}", first.text);
    assert!(first.text.contains("event: response.completed"), "{}", first.text);
    let second = ask(&fleet, "/v1/responses", &token, &codex, &responses(true, "c")).await;
    assert_eq!(
        (count(&second), second.headers.contains_key("x-codexapi-notice")),
        (0, true),
        "{}",
        second.text
    );
    let script = [("originator", "codex_exec"), ("thread-id", "t-2")];
    assert_eq!(count(&ask(&fleet, "/v1/responses", &token, &script, &responses(true, "c")).await), 0);
    let claude = [("user-agent", "claude-cli/2.1.197 (external, cli)"), ("x-claude-code-session-id", "s-1")];
    let told = ask(&fleet, "/v1/messages", &token, &claude, &messages(true)).await;
    assert_eq!(count(&told), 1, "{}", told.text);
    assert!(
        told.text.trim_end().ends_with("}") && told.text.contains("event: message_stop"),
        "{}",
        told.text
    );
    let script =
        [("user-agent", "claude-cli/2.1.197 (external, sdk-cli)"), ("x-claude-code-session-id", "s-2")];
    assert_eq!(count(&ask(&fleet, "/v1/messages", &token, &script, &messages(true)).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_pauses_is_turned_away_with_the_end_of_the_surge_until_it_ends() {
    let fleet = fleet().await;
    let (_, token) = fleet.customer().await;
    choose(&fleet, &token, "pause").await;
    surge(&fleet).await;
    let refused = ask(&fleet, "/v1/responses", &token, &[], &responses(false, "c")).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    let body: Value = serde_json::from_str(&refused.text).expect("JSON");
    assert_eq!(body["error"]["code"], "paused_by_surge");
    let window =
        fleet.read("/token-rates").await["modeWindows"][0]["end"].as_str().expect("an end").to_owned();
    let message = body["error"]["message"].as_str().expect("text");
    assert!(message.contains(&format!("until {}", &window[..16])), "{message} {window}");
    assert_eq!(refused.headers["x-should-retry"], "false");
    assert!(refused.headers.contains_key("retry-after"));
    let told = ask(&fleet, "/v1/messages", &token, &[], &messages(false)).await;
    assert_eq!((told.status, told.text.contains("rate_limit_error")), (429, true), "{}", told.text);
    let codex = [("originator", "codex_cli_rs")];
    let told = ask(&fleet, "/v1/responses", &token, &codex, &responses(true, "c")).await;
    assert_eq!(told.status, 200);
    assert!(told.text.contains("\"code\":\"invalid_prompt\""), "shown and not retried: {}", told.text);
    assert!(told.text.contains("Surge Pricing is on until"), "{}", told.text);
    assert!(fleet.events("wallet.hold_placed").await.is_empty());
    end_surge(&fleet).await;
    assert_eq!(ask(&fleet, "/v1/responses", &token, &[], &responses(false, "c")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_model_that_cannot_be_had_is_not_replaced_by_a_dearer_one() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    choose(&fleet, &token, "deepseek").await;
    surge(&fleet).await;
    let refused = ask(&fleet, "/v1/responses", &token, &[], &responses(false, "c")).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.text.contains("budget_model_unavailable"), "{}", refused.text);
    choose(&fleet, &token, "stay").await;
    assert_eq!(ask(&fleet, "/v1/responses", &token, &[], &responses(false, "c")).await.status, 200);
    assert_eq!(settled(&fleet).await, [("gpt-5.5".to_owned(), "gpt-5.5".to_owned(), 32_000_000)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_display_only_customers_see_amounts_and_published_rates_alone() {
    let settings = [("CODEXAPI_PRICING_DISCLOSURE", "display-only")];
    let fleet = Fleet::selling(&["gpt-5.5"], &["gpt-5.5"], &settings).await;
    let (_, token) = fleet.customer().await;
    fleet.set("/token-rates/adjust-percent", &json!({ "percent": "60" })).await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let read = async |path: &str| {
        let (status, body) = fleet.service.get(path, &[("x-api-key", &token)]).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    };
    let (_, settled) = fleet.events("usage.generation_settled").await.remove(0);
    let settled = &settled["GenerationSettled"];
    let id = settled["generation_id"].as_str().expect("an id");
    let generation = read(&format!("/api/v1/generations/{id}")).await;
    assert_eq!(generation["charge"]["chargedMicro"], settled["charged_micro"], "the amount is never hidden");
    assert_eq!((&generation["charge"]["lines"], generation.get("servedModel")), (&Value::Null, None));
    for path in ["/api/v1/wallet/status", "/api/v1/me", "/api/v1/toolbox"] {
        let pricing = read(path).await["pricing"].clone();
        let models = pricing["models"].as_array().expect("models").clone();
        assert_eq!(pricing["disclosure"], "display_only", "{path}");
        assert!(models.iter().all(|model| model.get("billed").is_none()), "{path}");
        assert!(!pricing.to_string().contains("48.000000"), "{path}: an internal rate is shown");
    }
    let (status, rates) =
        fleet.service.get("/admin/api/token-rates", &[("x-api-key", super::ADMIN_TOKEN)]).await;
    assert_eq!((status, &rates["customersSee"]), (StatusCode::OK, &"display_only".into()));
    assert!(rates.to_string().contains("48.000000"), "operators see it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_held_during_a_surge_is_settled_at_the_surges_prices_after_it() {
    let fleet = Arc::new(fleet().await);
    let (_, token) = fleet.customer().await;
    surge(&fleet).await;
    let mut body = responses(false, "c");
    body["input"] = "go on [[sim:{\"header_delay_ms\":2000}]]".into();
    let running = tokio::spawn({
        let (fleet, token) = (Arc::clone(&fleet), token.clone());
        async move { ask(&fleet, "/v1/responses", &token, &[], &body).await }
    });
    wait_for("its hold", async || (!fleet.events("wallet.hold_placed").await.is_empty()).then_some(())).await;
    end_surge(&fleet).await;
    let dearer = json!({ "model": "gpt-5.5", "display": { "inputUsd": "50", "outputUsd": "300" } });
    fleet.set("/token-rates", &dearer).await;
    let told = running.await.expect("answered");
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(settled(&fleet).await, [("gpt-5.5".to_owned(), "gpt-5.5".to_owned(), 32_000_000)]);
    let (_, event) = fleet.events("usage.generation_settled").await.remove(0);
    assert_eq!(event["GenerationSettled"]["mode"], "surge");
}
