//! Whole answers, in the shape providers give them and clients want them.

use codexapi_aggregates::usage::Usage;
use serde_json::json;

use super::*;

fn read(body: Value, names: &ToolNames) -> Result<Answer, BadAnswer> {
    read_answer(body.to_string().as_bytes(), names)
}

fn spoken(message: Value, finish_reason: &str) -> Result<Answer, BadAnswer> {
    read(json!({"choices": [{"message": message, "finish_reason": finish_reason}]}), &ToolNames::default())
}

#[test]
fn an_answer_of_openai_is_read_and_written_as_it_was() {
    let body = json!({
        "id": "chatcmpl-0a1b", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-5.5",
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "I look.", "refusal": null, "annotations": [],
            "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "look", "arguments": "{\"at\":1}"}}]
        }}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
        "service_tier": "default", "system_fingerprint": "fp_1"
    });
    let answer = read(body, &ToolNames::default()).expect("an answer");
    let usage = Usage { input: 40, cached_input: 60, output: 20, reasoning: 5, ..Usage::default() };
    assert_eq!(
        answer,
        Answer {
            id: Some("chatcmpl-0a1b".into()),
            parts: vec![
                OutputPart::Text("I look.".into()),
                OutputPart::ToolCall(call("call_1", CallName::function("look"), "{\"at\":1}")),
            ],
            stop: Stop::ToolUse,
            usage: Some(usage),
        }
    );
    assert_eq!(
        write_answer(&answer, &context(Conversation::default())),
        json!({
            "id": "chatcmpl-0a1b", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-5.5",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "I look.", "refusal": null,
                "tool_calls": [{"id": "call_1", "type": "function",
                    "function": {"name": "look", "arguments": "{\"at\":1}"}}]
            }}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 60},
                "completion_tokens_details": {"reasoning_tokens": 5}}
        })
    );
}

#[test]
fn an_answer_of_deepseek_brings_its_thinking_and_its_own_word_for_cached_input() {
    let body = json!({
        "id": "930c60df", "object": "chat.completion", "created": 1, "model": "deepseek-v4-pro",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": "Hi", "reasoning_content": "A greeting."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14,
            "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 3}}
    });
    let answer = read(body, &ToolNames::default()).expect("an answer");
    assert_eq!(answer.parts, [OutputPart::Reasoning(thought("A greeting.")), OutputPart::Text("Hi".into())]);
    let usage = Usage { input: 2, cached_input: 8, output: 4, reasoning: 3, ..Usage::default() };
    assert_eq!(answer.usage, Some(usage));
    let message = &write_answer(&answer, &context(Conversation::default()))["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "A greeting.");
}

#[test]
fn calls_come_back_as_what_the_client_declared() {
    let names = ToolNames::new(&[
        Tool::Custom { name: "apply_patch".into(), description: None, grammar: None },
        Tool::ToolSearch { description: None, parameters: json!({}) },
        Tool::Function(FunctionTool {
            name: "read".into(),
            namespace: Some("mcp__files".into()),
            ..FunctionTool::default()
        }),
    ]);
    let wire = |name: &str, arguments: &str| json!({"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = json!([
        wire("apply_patch", "{\"input\":\"*** Begin\\n\"}"),
        wire("apply_patch", "{\"input\": broken"),
        wire("apply_patch", "{\"patch\":1}"),
        wire("tool_search", "{\"query\":\"x\"}"),
        wire("mcp__files__read", ""),
        json!({"id": "c", "type": "custom", "custom": {"name": "other", "input": "free"}}),
    ]);
    let body =
        json!({"choices": [{"message": {"content": null, "tool_calls": calls}, "finish_reason": "stop"}]});
    let answer = read(body, &names).expect("an answer");
    assert_eq!(answer.stop, Stop::ToolUse);
    let read = CallName { namespace: Some("mcp__files".into()), ..CallName::function("read") };
    assert_eq!(
        answer.parts,
        [
            call("c", CallName::custom("apply_patch"), "*** Begin\n"),
            call("c", CallName::custom("apply_patch"), "{\"input\": broken"),
            call("c", CallName::custom("apply_patch"), "{\"patch\":1}"),
            call("c", CallName::tool_search(), "{\"query\":\"x\"}"),
            call("c", read, "{}"),
            call("c", CallName::custom("other"), "free"),
        ]
        .map(OutputPart::ToolCall)
    );
}

#[test]
fn every_reason_to_end_has_its_word() {
    for (word, stop) in [
        ("stop", Stop::Done),
        ("length", Stop::Length),
        ("content_filter", Stop::ContentFilter),
        ("tool_calls", Stop::ToolUse),
        ("function_call", Stop::ToolUse),
        ("eos", Stop::Done),
    ] {
        assert_eq!(spoken(json!({"content": "x"}), word).expect("an answer").stop, stop, "{word}");
    }
    let reason = |stop: Stop, parts: Vec<OutputPart>| {
        let answer = Answer { id: None, parts, stop, usage: None };
        write_answer(&answer, &context(Conversation::default()))["choices"][0]["finish_reason"].take()
    };
    for (stop, word) in [
        (Stop::Done, "stop"),
        (Stop::StopText("x".into()), "stop"),
        (Stop::ToolUse, "tool_calls"),
        (Stop::Length, "length"),
        (Stop::Paused, "length"),
        (Stop::ContentFilter, "content_filter"),
        (Stop::Refused, "content_filter"),
    ] {
        assert_eq!(reason(stop.clone(), vec![]), word, "{stop:?}");
    }
    assert_eq!(reason(Stop::Refused, vec![OutputPart::Refusal("no".into())]), "stop");
}

#[test]
fn what_the_message_has_no_place_for_is_left_out_and_the_rest_put_together() {
    let two = Reasoning { texts: vec!["a".into(), "b".into()], seal: None };
    let answer = Answer {
        id: Some("msg_1".into()),
        parts: vec![
            OutputPart::Reasoning(two),
            OutputPart::Text("one ".into()),
            OutputPart::WebSearch(WebSearchCall::default()),
            OutputPart::Text("two".into()),
        ],
        stop: Stop::Done,
        usage: Some(Usage { input: 1, cache_write_5m: 2, cache_write_1h: 3, ..Usage::default() }),
    };
    let body = write_answer(&answer, &context(Conversation::default()));
    let message = &body["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("one two"), &json!("a\n\nb")));
    assert_eq!(body["usage"]["prompt_tokens"], 6);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cache_write_tokens"], 5);
    assert_eq!(body["id"], "chatcmpl-0a1b");
}

#[test]
fn minimal_answers_are_read() {
    let answer = read(json!({"choices": [{"message": {"content": "x"}}]}), &ToolNames::default());
    let parts = vec![OutputPart::Text("x".into())];
    assert_eq!(answer.expect("an answer"), Answer { id: None, parts, stop: Stop::Done, usage: None });
    let answer = spoken(json!({"function_call": {"name": "f", "arguments": "{}"}}), "function_call");
    let parts = vec![OutputPart::ToolCall(call("call__0", CallName::function("f"), "{}"))];
    assert_eq!(answer.expect("an answer").parts, parts);
}

#[test]
fn usage_that_does_not_add_up_counts_as_none() {
    let body = json!({"choices": [{"message": {"content": "x"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 7}});
    assert_eq!(read(body, &ToolNames::default()).expect("an answer").usage, None);
}

#[test]
fn what_is_no_answer_is_refused() {
    for body in [
        "",
        "nothing",
        "[]",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":[{}]}"#,
        r#"{"error":{"message":"x"}}"#,
        r#"{"choices":[{"message":{"content":7}}]}"#,
        r#"{"choices":[{"message":{"tool_calls":[{"id":"c"}]}}]}"#,
        r#"{"choices":[{"message":{"content":"x"},"finish_reason":"insufficient_system_resource"}]}"#,
    ] {
        assert!(read_answer(body.as_bytes(), &ToolNames::default()).is_err(), "{body}");
    }
}
