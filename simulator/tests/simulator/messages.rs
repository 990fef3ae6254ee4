//! The Messages dialect as Anthropic speaks it.

use serde_json::{Value, json};

use crate::harness::{MESSAGES, Simulator, small, streamed, told};

#[tokio::test]
async fn a_text_streams_in_anthropics_order() {
    let simulator = Simulator::start();
    let reply = simulator.post(MESSAGES, streamed(small(MESSAGES, "hello"))).await;
    assert!(reply.headers.contains_key("request-id"));
    assert_eq!(
        reply.event_names(),
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    for (name, data) in reply.events() {
        assert_eq!(data["type"], name);
    }
}

#[tokio::test]
async fn usage_is_split_over_the_start_and_the_cumulative_delta() {
    let simulator = Simulator::start();
    let text = told(&json!({
        "input_tokens": 100, "cached_tokens": 30, "cache_write_5m": 20, "cache_write_1h": 10,
        "output_tokens": 9, "web_search_calls": 1,
    }));
    let reply = simulator.post(MESSAGES, streamed(small(MESSAGES, &text))).await;
    let events = reply.events();
    assert_eq!(
        events[0].1["message"]["usage"],
        json!({
            "input_tokens": 40,
            "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 30,
            "cache_creation": { "ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10 },
            "output_tokens": 1,
            "service_tier": "standard",
        })
    );
    let last = &events[events.len() - 2].1;
    assert_eq!(last["delta"]["stop_reason"], "end_turn");
    assert_eq!(
        last["usage"],
        json!({
            "input_tokens": 40,
            "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 30,
            "output_tokens": 9,
            "server_tool_use": { "web_search_requests": 1, "web_fetch_requests": 0 },
        })
    );
    let bill = simulator.bill().await;
    assert_eq!(bill["input_tokens"], 100);
    assert_eq!(bill["uncached_input_tokens"], 40);
}

#[tokio::test]
async fn usage_can_be_split_in_other_ways() {
    let simulator = Simulator::start();
    let deltas = async |split: &str| -> Vec<Value> {
        let text = told(&json!({ "split_usage": split, "output_tokens": 8 }));
        let reply = simulator.post(MESSAGES, streamed(small(MESSAGES, &text))).await;
        let events = reply.events().into_iter();
        events.filter(|(name, _)| name == "message_delta").map(|(_, data)| data).collect()
    };
    let output_only = deltas("output_only").await;
    assert_eq!(output_only.len(), 1);
    assert_eq!(output_only[0]["usage"], json!({ "output_tokens": 8 }));
    let many = deltas("many").await;
    assert_eq!(many.len(), 2);
    assert_eq!(many[0]["usage"]["output_tokens"], 4);
    assert_eq!(many[0]["delta"]["stop_reason"], Value::Null);
    assert_eq!(many[1]["usage"]["output_tokens"], 8);
}

#[tokio::test]
async fn thinking_is_signed_and_comes_first() {
    let simulator = Simulator::start();
    let text = told(&json!({ "reasoning_tokens": 5 }));
    let reply = simulator.post(MESSAGES, streamed(small(MESSAGES, &text))).await;
    let deltas: Vec<String> = reply
        .events()
        .iter()
        .filter(|(name, _)| name == "content_block_delta")
        .map(|(_, data)| data["delta"]["type"].as_str().unwrap().to_owned())
        .collect();
    let mut kinds = deltas;
    kinds.dedup();
    assert_eq!(kinds, ["thinking_delta", "signature_delta", "text_delta"]);
    let whole = simulator.ask(MESSAGES, &text).await.json();
    assert_eq!(whole["content"][0]["type"], "thinking");
    assert_eq!(whole["usage"]["output_tokens_details"]["thinking_tokens"], 5);
}

#[tokio::test]
async fn a_marked_tool_is_used_and_its_result_is_answered_in_words() {
    let simulator = Simulator::start();
    let user = json!({ "role": "user", "content": r#"[[tool:Bash {"command":"ls"}]]"# });
    let tools = json!([{ "name": "Bash", "input_schema": { "type": "object" } }]);
    let body = json!({ "model": "m", "max_tokens": 100, "messages": [user], "tools": tools });
    let streamed = simulator.post(MESSAGES, streamed(body.clone())).await;
    let input: String = streamed
        .events()
        .iter()
        .filter_map(|(_, data)| data.pointer("/delta/partial_json")?.as_str())
        .collect();
    assert_eq!(input, r#"{"command":"ls"}"#);

    let whole = simulator.post(MESSAGES, body).await.json();
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(whole["content"][0]["input"], json!({ "command": "ls" }));
    let result = json!({ "type": "tool_result", "tool_use_id": whole["content"][0]["id"], "content": "a" });
    let messages = json!([
        user,
        { "role": "assistant", "content": whole["content"] },
        { "role": "user", "content": [result] },
    ]);
    let body = json!({ "model": "m", "max_tokens": 100, "messages": messages, "tools": tools });
    let answer = simulator.post(MESSAGES, body).await.json();
    assert_eq!(answer["stop_reason"], "end_turn");
    assert_eq!(answer["content"][0]["type"], "text");
}

#[tokio::test]
async fn counting_tokens_agrees_with_what_is_billed() {
    let simulator = Simulator::start();
    let text = "a text of some length, counted twice";
    let body =
        json!({ "model": "m", "system": "be brief", "messages": [{ "role": "user", "content": text }] });
    let counted = simulator.post("/v1/messages/count_tokens", body.clone()).await.json();
    let mut body = body;
    body["max_tokens"] = json!(100);
    simulator.post(MESSAGES, body).await;
    assert_eq!(counted["input_tokens"], simulator.bill().await["input_tokens"]);
    assert_eq!(counted["input_tokens"], 11, "44 bytes at four a token");
}

#[tokio::test]
async fn everything_claude_code_sends_is_accepted() {
    claude_code_is_served(
        json!({ "role": "user", "content": [{ "type": "text", "text": "hello" }] }),
        "claude-code-20250219,mid-conversation-system-2026-04-07",
    )
    .await;
}

#[tokio::test]
async fn what_newer_claude_code_sends_is_accepted_too() {
    claude_code_is_served(
        json!({ "role": "user", "content": "hello", "output_config": { "effort": "medium" } }),
        "per-turn-control-2026-07-01,mid-conversation-tool-changes-2026-07-01",
    )
    .await;
}

async fn claude_code_is_served(first_message: Value, betas: &str) {
    let simulator = Simulator::start();
    let body = json!({
        "model": "claude-opus-4-8", "max_tokens": 64_000, "stream": true,
        "system": [{ "type": "text", "text": "you are", "cache_control": { "type": "ephemeral" } }],
        "messages": [
            first_message,
            { "role": "system", "content": "remember" },
        ],
        "tools": [{ "name": "Bash", "description": "d", "input_schema": { "type": "object" } }],
        "thinking": { "type": "adaptive" }, "output_config": { "effort": "high" },
        "context_management": { "edits": [] }, "metadata": { "user_id": "{\"a\":1}" },
    });
    let reply = simulator
        .request("/v1/messages?beta=true")
        .header("anthropic-beta", betas)
        .header("x-claude-code-session-id", "session")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 200);
    reply.text().await.unwrap();
    let bill = simulator.bill().await;
    assert_eq!(bill["client_ref"]["claude_code_session_id"], "session");
}
