//! The Responses dialect as OpenAI speaks it.

use serde_json::{Value, json};

use crate::harness::{RESPONSES, Simulator, small, streamed, told};

const TEXT_EVENTS: &[&str] = &[
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
];

#[tokio::test]
async fn a_text_streams_in_openais_order_with_rising_numbers() {
    let simulator = Simulator::start();
    let reply = simulator.post(RESPONSES, streamed(small(RESPONSES, "hello"))).await;
    assert_eq!(reply.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(reply.headers["openai-model"], "m");
    assert!(reply.headers.contains_key("x-request-id"));
    assert_eq!(reply.event_names(), TEXT_EVENTS);
    for (number, (name, data)) in reply.events().iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
        assert_eq!(data["type"], *name);
    }
}

#[tokio::test]
async fn the_deltas_the_done_events_and_the_final_response_hold_the_same_text() {
    let simulator = Simulator::start();
    let reply = simulator.post(RESPONSES, streamed(small(RESPONSES, "hello"))).await;
    let events = reply.events();
    let text_of = |name: &str, key: &str| -> String {
        events
            .iter()
            .filter(|(found, _)| found == name)
            .map(|(_, data)| data[key].as_str().unwrap())
            .collect()
    };
    let whole = text_of("response.output_text.done", "text");
    assert!(whole.starts_with("Hello from the simulator."));
    assert_eq!(text_of("response.output_text.delta", "delta"), whole);
    let (_, last) = events.last().unwrap();
    let response = &last["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], whole);
    assert_eq!(response["status"], "completed");
    assert_eq!(
        response["usage"],
        json!({
            "input_tokens": 2,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": 19,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": 21,
        })
    );
}

#[tokio::test]
async fn reasoning_and_searches_come_before_the_text() {
    let simulator = Simulator::start();
    let text = told(&json!({ "reasoning_tokens": 7, "web_search_calls": 2 }));
    let mut body = streamed(small(RESPONSES, &text));
    body["include"] = json!(["reasoning.encrypted_content"]);
    let reply = simulator.post(RESPONSES, body).await;
    assert_eq!(
        reply.event_names()[2..9],
        [
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
        ]
    );
    let events = reply.events();
    let response = &events.last().unwrap().1["response"];
    let kinds: Vec<&Value> =
        response["output"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["reasoning", "web_search_call", "web_search_call", "message"]);
    assert!(response["output"][0]["encrypted_content"].is_string());
    assert_eq!(response["tool_usage"]["web_search"]["num_requests"], 2);
    assert_eq!(response["usage"]["output_tokens_details"]["reasoning_tokens"], 7);
}

#[tokio::test]
async fn a_marked_tool_is_called_and_its_output_is_answered_in_words() {
    let simulator = Simulator::start();
    let user = json!({ "role": "user", "content": r#"[[tool:add {"a":1}]]"# });
    let tools = json!([{ "type": "function", "name": "add", "parameters": { "type": "object" } }]);
    let body = json!({ "model": "m", "input": [user], "tools": tools, "stream": true });
    let reply = simulator.post(RESPONSES, body).await;
    assert_eq!(
        reply.event_names(),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let events = reply.events();
    let call = &events.last().unwrap().1["response"]["output"][0];
    assert_eq!(call["type"], "function_call");
    assert_eq!(call["name"], "add");
    assert_eq!(call["arguments"], r#"{"a":1}"#);

    let output = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "2" });
    let body = json!({ "model": "m", "input": [user, call, output], "tools": tools });
    let answer = simulator.post(RESPONSES, body).await.json();
    assert_eq!(answer["output"][0]["type"], "message");
}

#[tokio::test]
async fn a_custom_tool_gets_free_text() {
    let simulator = Simulator::start();
    let tools = json!([{ "type": "custom", "name": "apply_patch" }]);
    let body =
        json!({ "model": "m", "input": "[[tool:apply_patch *** Begin]]", "tools": tools, "stream": true });
    let reply = simulator.post(RESPONSES, body).await;
    assert!(reply.event_names().contains(&"response.custom_tool_call_input.done".to_owned()));
    let events = reply.events();
    let call = &events.last().unwrap().1["response"]["output"][0];
    assert_eq!(call["type"], "custom_tool_call");
    assert_eq!(call["input"], "*** Begin");
}

#[tokio::test]
async fn the_output_limit_ends_the_answer_as_incomplete() {
    let simulator = Simulator::start();
    let mut body = small(RESPONSES, &told(&json!({ "delta_count": 100 })));
    body["max_output_tokens"] = json!(16);
    let whole = simulator.post(RESPONSES, body.clone()).await.json();
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(whole["usage"]["output_tokens"], 16);
    let stream = simulator.post(RESPONSES, streamed(body)).await;
    assert_eq!(stream.event_names().last().unwrap(), "response.incomplete");
    let deltas = stream.events().iter().filter(|(name, _)| name == "response.output_text.delta").count();
    assert_eq!(deltas, 16);
}

#[tokio::test]
async fn everything_codex_sends_is_accepted() {
    let simulator = Simulator::start();
    let body = json!({
        "model": "gpt-5.5", "instructions": "be brief", "stream": true, "store": false,
        "input": [
            { "type": "message", "role": "developer", "id": "msg_1", "content": [{ "type": "input_text", "text": "x" }] },
            { "type": "reasoning", "summary": [], "encrypted_content": "abc" },
            { "type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "p" },
            { "type": "custom_tool_call_output", "call_id": "c1", "output": "ok" },
            { "type": "message", "role": "user", "content": [
                { "type": "input_text", "text": "go" },
                { "type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high" }] },
        ],
        "tools": [
            { "type": "function", "name": "exec_command", "strict": false, "parameters": { "type": "object" } },
            { "type": "custom", "name": "apply_patch", "format": { "type": "grammar", "syntax": "lark", "definition": "d" } },
            { "type": "tool_search", "execution": "client" },
            { "type": "web_search", "external_web_access": false },
        ],
        "tool_choice": "auto", "parallel_tool_calls": true,
        "reasoning": { "effort": "medium", "summary": "auto" },
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "thread",
        "text": { "verbosity": "low" }, "client_metadata": { "thread_id": "t" },
    });
    let reply = simulator.post(RESPONSES, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.event_names(), TEXT_EVENTS);
    let bill = simulator.bill().await;
    assert_eq!(bill["client_ref"]["prompt_cache_key"], "thread");
    assert!(bill["input_tokens"].as_u64().unwrap() > 1_000, "the image counts");
}
