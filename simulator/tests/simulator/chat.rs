//! The Chat Completions dialect as OpenAI speaks it.

use serde_json::{Value, json};

use crate::harness::{CHAT, Reply, Simulator, small, streamed, told};

#[tokio::test]
async fn a_text_streams_role_content_finish_and_done() {
    let simulator = Simulator::start();
    let reply = simulator.post(CHAT, streamed(small(CHAT, "hello"))).await;
    let events = reply.events();
    let first = &events[0].1;
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    assert!(contents(&reply).starts_with("Hello from the simulator."));
    let finish = &events[events.len() - 2].1["choices"][0];
    assert_eq!(finish["finish_reason"], "stop");
    assert_eq!(finish["delta"], json!({}));
    assert_eq!(events.last().unwrap().1, "[DONE]");
    for (name, data) in &events {
        assert_eq!(name, "", "no event: lines");
        assert!(data.get("usage").is_none(), "usage was not asked for");
    }
}

#[tokio::test]
async fn usage_comes_in_one_extra_chunk_when_asked_for() {
    let simulator = Simulator::start();
    let mut body = streamed(small(
        CHAT,
        &told(&json!({ "input_tokens": 50, "cached_tokens": 20, "output_tokens": 9, "reasoning_tokens": 4 })),
    ));
    body["stream_options"] = json!({ "include_usage": true });
    let events = simulator.post(CHAT, body).await.events();
    let (before, usage) = (&events[..events.len() - 2], &events[events.len() - 2].1);
    assert!(before.iter().all(|(_, chunk)| chunk["usage"] == Value::Null));
    assert!(before.iter().all(|(_, chunk)| chunk.get("usage").is_some()));
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["prompt_tokens"], 50);
    assert_eq!(usage["usage"]["completion_tokens"], 9);
    assert_eq!(usage["usage"]["total_tokens"], 59);
    assert_eq!(usage["usage"]["prompt_tokens_details"]["cached_tokens"], 20);
    assert_eq!(usage["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
}

#[tokio::test]
async fn a_marked_tool_is_called_and_its_output_is_answered_in_words() {
    let simulator = Simulator::start();
    let user = json!({ "role": "user", "content": r#"[[tool:add {"a":1}]] [[tool:add {"a":2}]]"# });
    let tools = json!([{ "type": "function", "function": { "name": "add" } }]);
    let body = json!({ "model": "m", "messages": [user], "tools": tools });
    let streamed = simulator.post(CHAT, streamed(body.clone())).await;
    let mut arguments = [String::new(), String::new()];
    for (_, chunk) in streamed.events() {
        if let Some(call) = chunk.pointer("/choices/0/delta/tool_calls/0") {
            let index = call["index"].as_u64().unwrap() as usize;
            arguments[index] += call["function"]["arguments"].as_str().unwrap();
        }
    }
    assert_eq!(arguments, [r#"{"a":1}"#, r#"{"a":2}"#]);

    let whole = simulator.post(CHAT, body).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let outputs =
        calls.iter().map(|call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "3" }));
    let messages: Vec<Value> = [user, choice["message"].clone()].into_iter().chain(outputs).collect();
    let body = json!({ "model": "m", "messages": messages, "tools": tools });
    let answer = simulator.post(CHAT, body).await.json();
    assert!(answer["choices"][0]["message"]["content"].is_string());
}

#[tokio::test]
async fn several_choices_are_given_and_billed() {
    let simulator = Simulator::start();
    let mut body = small(CHAT, &told(&json!({ "delta_count": 5 })));
    body["n"] = json!(3);
    let whole = simulator.post(CHAT, body).await.json();
    assert_eq!(whole["choices"].as_array().unwrap().len(), 3);
    assert_eq!(simulator.bill().await["output_tokens"], 15);
}

#[tokio::test]
async fn limits_and_filters_show_in_the_finish_reason() {
    let simulator = Simulator::start();
    let mut body = small(CHAT, "hello");
    body["max_completion_tokens"] = json!(3);
    let limited = simulator.post(CHAT, body).await.json();
    assert_eq!(limited["choices"][0]["finish_reason"], "length");
    assert_eq!(limited["usage"]["completion_tokens"], 3);
    let filtered = simulator.ask(CHAT, &told(&json!({ "finish": "content_filter" }))).await;
    assert_eq!(filtered.json()["choices"][0]["finish_reason"], "content_filter");
    let refused = simulator.ask(CHAT, &told(&json!({ "finish": "refusal" }))).await.json();
    assert!(refused["choices"][0]["message"]["refusal"].is_string());
}

fn contents(reply: &Reply) -> String {
    reply
        .events()
        .iter()
        .filter_map(|(_, chunk)| chunk.pointer("/choices/0/delta/content")?.as_str())
        .collect()
}
