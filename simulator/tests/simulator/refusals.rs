//! What the real services refuse is refused, in their words, and bills nothing.

use serde_json::{Value, json};

use crate::harness::{CHAT, MESSAGES, RESPONSES, Simulator, small};

/// Posts the small request with these fields changed (null removes one) and
/// returns the error, which must have `status`.
async fn refused(simulator: &Simulator, path: &str, changes: Value, status: u16) -> Value {
    let mut body = small(path, "hello");
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => body.as_object_mut().unwrap().remove(key),
            value => body.as_object_mut().unwrap().insert(key.clone(), value.clone()),
        };
    }
    let reply = simulator.post(path, body).await;
    assert_eq!(reply.status, status, "{changes} got {}", reply.text);
    let error = reply.json()["error"].clone();
    assert!(error["message"].is_string() && error["type"].is_string(), "{error}");
    error
}

#[tokio::test]
async fn responses_refusals_name_parameter_and_code() {
    let simulator = Simulator::start();
    let tool = json!([{ "type": "function", "name": "add" }]);
    let cases = [
        (json!({ "model": null }), "model", json!("missing_required_parameter")),
        (json!({ "input": null }), "input", json!("missing_required_parameter")),
        (json!({ "input": [] }), "input", json!("empty_array")),
        (json!({ "input": "" }), "input", json!(null)),
        (json!({ "input": 7 }), "input", json!("invalid_type")),
        (json!({ "input": [{ "role": "robot", "content": "x" }] }), "input[0].role", json!("invalid_value")),
        (json!({ "input": [{ "role": "user" }] }), "input[0].content", json!("missing_required_parameter")),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "image", "text": "x" }] }] }),
            "input[0].content[0].type",
            json!("invalid_value"),
        ),
        (
            json!({ "input": [{ "type": "function_call_output", "call_id": "c", "output": "x" }] }),
            "input",
            json!(null),
        ),
        (
            json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" }] }),
            "input",
            json!(null),
        ),
        (json!({ "colour": "red" }), "colour", json!("unknown_parameter")),
        (json!({ "temperature": 2.5 }), "temperature", json!("decimal_above_max_value")),
        (json!({ "temperature": -1 }), "temperature", json!("decimal_below_min_value")),
        (json!({ "temperature": "hot" }), "temperature", json!("invalid_type")),
        (json!({ "top_p": 2 }), "top_p", json!("decimal_above_max_value")),
        (json!({ "stream": "yes" }), "stream", json!("invalid_type")),
        (json!({ "stream_options": {} }), "stream_options", json!(null)),
        (json!({ "max_output_tokens": 15 }), "max_output_tokens", json!("integer_below_min_value")),
        (json!({ "max_output_tokens": 1.5 }), "max_output_tokens", json!("invalid_type")),
        (json!({ "metadata": { "a": 1 } }), "metadata.a", json!("invalid_type")),
        (json!({ "tools": [{ "name": "x" }] }), "tools[0].type", json!("missing_required_parameter")),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].name", json!("missing_required_parameter")),
        (json!({ "tools": [{ "type": "function", "name": "a b" }] }), "tools[0].name", json!(null)),
        (
            json!({ "tools": tool, "tool_choice": { "type": "function", "name": "sub" } }),
            "tool_choice",
            json!(null),
        ),
        (json!({ "tool_choice": "sometimes" }), "tool_choice", json!("invalid_value")),
        (
            json!({ "previous_response_id": "nope" }),
            "previous_response_id",
            json!("previous_response_not_found"),
        ),
    ];
    for (changes, param, code) in cases {
        let error = refused(&simulator, RESPONSES, changes.clone(), 400).await;
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &code), "{changes}");
    }
    let error = refused(&simulator, RESPONSES, json!({ "model": "missing-model" }), 404).await;
    assert_eq!(error["code"], "model_not_found");
    assert_eq!(simulator.bills().await.len(), 0);
}

#[tokio::test]
async fn chat_refusals_name_parameter_and_code() {
    let simulator = Simulator::start();
    let user = json!({ "role": "user", "content": "x" });
    let call = json!({ "role": "assistant", "tool_calls": [
        { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] });
    let tool = json!([{ "type": "function", "function": { "name": "add" } }]);
    let cases = [
        (json!({ "model": null }), "model", json!("missing_required_parameter")),
        (json!({ "messages": null }), "messages", json!("missing_required_parameter")),
        (json!({ "messages": [] }), "messages", json!("empty_array")),
        (json!({ "messages": "hello" }), "messages", json!("invalid_type")),
        (
            json!({ "messages": [{ "role": "robot", "content": "x" }] }),
            "messages[0].role",
            json!("invalid_value"),
        ),
        (
            json!({ "messages": [{ "role": "user" }] }),
            "messages[0].content",
            json!("missing_required_parameter"),
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [] }] }),
            "messages[0].content",
            json!("empty_array"),
        ),
        (
            json!({ "messages": [{ "role": "tool", "tool_call_id": "c", "content": "x" }] }),
            "messages[0].role",
            json!(null),
        ),
        (
            json!({ "messages": [call, { "role": "tool", "tool_call_id": "d", "content": "x" }] }),
            "messages[1].tool_call_id",
            json!(null),
        ),
        (json!({ "messages": [call, user] }), "messages", json!(null)),
        (json!({ "max_output_tokens": 100 }), "max_output_tokens", json!("unknown_parameter")),
        (json!({ "n": 0 }), "n", json!("integer_below_min_value")),
        (json!({ "n": 1_000 }), "n", json!("integer_above_max_value")),
        (json!({ "temperature": 99 }), "temperature", json!("decimal_above_max_value")),
        (json!({ "presence_penalty": -3 }), "presence_penalty", json!("decimal_below_min_value")),
        (json!({ "max_tokens": 0 }), "max_tokens", json!("integer_below_min_value")),
        (json!({ "max_tokens": 5, "max_completion_tokens": 5 }), "max_tokens", json!(null)),
        (json!({ "stream_options": { "include_usage": true } }), "stream_options", json!(null)),
        (json!({ "stop": 7 }), "stop", json!("invalid_type")),
        (json!({ "response_format": { "type": "xml" } }), "response_format.type", json!("invalid_value")),
        (json!({ "tools": [] }), "tools", json!("empty_array")),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type", json!("invalid_value")),
        (
            json!({ "tools": [{ "type": "function" }] }),
            "tools[0].function",
            json!("missing_required_parameter"),
        ),
        (json!({ "tool_choice": "auto" }), "tool_choice", json!(null)),
        (
            json!({ "tools": tool, "tool_choice": { "type": "function", "function": { "name": "sub" } } }),
            "tool_choice",
            json!(null),
        ),
    ];
    for (changes, param, code) in cases {
        let error = refused(&simulator, CHAT, changes.clone(), 400).await;
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &code), "{changes}");
    }
    assert_eq!(simulator.bills().await.len(), 0);
}

#[tokio::test]
async fn messages_refusals_are_worded_as_anthropics() {
    let simulator = Simulator::start();
    let user = json!({ "role": "user", "content": "x" });
    let call = json!({ "role": "assistant", "content": [
        { "type": "tool_use", "id": "t", "name": "f", "input": {} }] });
    let result = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "u" }] });
    let tool = json!([{ "name": "add", "input_schema": { "type": "object" } }]);
    let cases = [
        (json!({ "model": null }), "model: Field required"),
        (json!({ "max_tokens": null }), "max_tokens: Field required"),
        (json!({ "max_tokens": 0 }), "max_tokens: Input should be greater than or equal to 1"),
        (json!({ "messages": null }), "messages: Field required"),
        (json!({ "messages": [] }), "messages: at least one message is required"),
        (
            json!({ "messages": [{ "role": "tool", "content": "x" }] }),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            json!({ "messages": [user, { "role": "system", "content": "x" }] }),
            "messages.1.role: Input should be 'user' or 'assistant'",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "" }] }),
            "messages.0: all messages must have non-empty content",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "" }] }] }),
            "text content blocks must be non-empty",
        ),
        (
            json!({ "messages": [user, call, result] }),
            "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: u.",
        ),
        (
            json!({ "messages": [user, call, user] }),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t.",
        ),
        (json!({ "colour": "red" }), "colour: Extra inputs are not permitted"),
        (json!({ "temperature": 1.5 }), "temperature: Input should be less than or equal to 1"),
        (json!({ "stream": "yes" }), "stream: Input should be a boolean"),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 2_000 } }),
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
        (json!({ "tools": [{ "name": "x" }] }), "tools.0.input_schema: Field required"),
        (
            json!({ "tools": tool, "tool_choice": { "type": "tool", "name": "sub" } }),
            "tool_choice: Tool 'sub' not found in provided tools",
        ),
        (json!({ "tool_choice": { "type": "any" } }), "tool_choice"),
    ];
    for (changes, message) in cases {
        let error = refused(&simulator, MESSAGES, changes.clone(), 400).await;
        assert_eq!(error["type"], "invalid_request_error");
        let found = error["message"].as_str().unwrap();
        assert!(found.contains(message), "{changes} got {found}");
    }
    assert_eq!(simulator.bills().await.len(), 0);
}

#[tokio::test]
async fn a_messages_request_needs_a_version() {
    let simulator = Simulator::start();
    let request = simulator.client().post(simulator.url(MESSAGES));
    let response = request.json(&small(MESSAGES, "hello")).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("anthropic-version"));
}

#[tokio::test]
async fn a_system_role_among_messages_needs_its_beta() {
    let simulator = Simulator::start();
    let mut body = small(MESSAGES, "hello");
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "system", "content": "x" }));
    let without = simulator.post(MESSAGES, body.clone()).await;
    assert_eq!(without.status, 400);
    let request = simulator.request(MESSAGES).json(&body);
    let with = request.header("anthropic-beta", "mid-conversation-system-2026-04-07");
    assert_eq!(with.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn broken_json_is_refused_in_each_dialect() {
    let simulator = Simulator::start();
    for path in [RESPONSES, CHAT, MESSAGES] {
        for body in ["{", "[]", ""] {
            let response = simulator.request(path).body(body).send().await.unwrap();
            assert_eq!(response.status(), 400);
            let error: Value = response.json().await.unwrap();
            assert_eq!(error["error"]["type"], "invalid_request_error");
            assert_eq!(error.get("type").is_some(), path == MESSAGES);
        }
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_each_vendors_way_of_sending_one_is_taken() {
    let simulator = Simulator::start_with(&["--api-key", "right"]);
    let status = async |path: &str, header: &str, value: &str| {
        let request = simulator.request(path).json(&small(path, "hello"));
        request.header(header, value).send().await.unwrap().status().as_u16()
    };
    for path in [RESPONSES, CHAT, MESSAGES] {
        assert_eq!(simulator.ask(path, "hello").await.status, 401);
        assert_eq!(status(path, "authorization", "Bearer wrong").await, 401);
        assert_eq!(status(path, "authorization", "Bearer right").await, 200);
    }
    assert_eq!(status(RESPONSES, "x-api-key", "right").await, 401);
    assert_eq!(status(MESSAGES, "x-api-key", "right").await, 200);
    let bills = serde_json::to_string(&simulator.bills().await).unwrap();
    assert!(!bills.contains("right"), "no key in the bills");
}

#[tokio::test]
async fn a_body_over_40_mib_is_refused() {
    let simulator = Simulator::start();
    let text = "x".repeat(40 * 1024 * 1024);
    let reply = simulator.ask(MESSAGES, &text).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json()["error"]["type"], "request_too_large");
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_refused() {
    let simulator = Simulator::start();
    let reply = simulator.post("/v1/nothing", json!({})).await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["message"], "Invalid URL (POST /v1/nothing)");
}
