use codexapi_aggregates::usage::Usage;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::context;
use super::strategies::{answer, any_json, conversation};
use crate::conversation::{
    Answer, CallName, Conversation, FunctionTool, OutputPart, Reasoning, Seal, SealedContent, Stop, Text,
    Tool, ToolCall, ToolNames, WebSearchCall,
};
use crate::translate::responses::{read_answer, write_answer};

fn read(body: Value) -> Result<Answer, crate::conversation::BadAnswer> {
    read_answer(body.to_string().as_bytes(), &ToolNames::default())
}

fn call(name: CallName, input: &str) -> OutputPart {
    OutputPart::ToolCall(ToolCall { call_id: "call_1".into(), name, input: input.into() })
}

#[test]
fn a_whole_answer_of_openais_is_read_part_by_part() {
    let body = json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5.5",
        "error": null, "incomplete_details": null,
        "output": [
            {"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA",
             "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}]},
            {"id": "rs_2", "type": "reasoning", "summary": []},
            {"id": "ws_1", "type": "web_search_call", "status": "completed",
             "action": {"type": "search", "query": "rust"}},
            {"id": "ws_2", "type": "web_search_call", "status": "completed",
             "action": {"type": "open_page", "url": "https://x"}},
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "Hello", "annotations": [{"type": "url_citation"}]},
                {"type": "refusal", "refusal": "No"}]},
            {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "mcp__a__b",
             "arguments": "{}"},
            {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch",
             "input": "***"},
            {"id": "tsc_1", "type": "tool_search_call", "call_id": "call_1", "execution": "client",
             "arguments": {"query": "q"}},
            {"id": "tsc_2", "type": "tool_search_call", "call_id": null, "execution": "server",
             "arguments": {}},
        ],
        "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
                  "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 120},
    });
    let namespaced = CallName { namespace: Some("mcp__a".into()), ..CallName::function("b") };
    let tool = Tool::Function(FunctionTool {
        name: "b".into(),
        namespace: Some("mcp__a".into()),
        ..FunctionTool::default()
    });
    let answer = read_answer(body.to_string().as_bytes(), &ToolNames::new(&[tool])).unwrap();
    assert_eq!(
        answer.parts,
        [
            OutputPart::Reasoning(Reasoning {
                texts: vec!["One".into(), "Two".into()],
                seal: Some(Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() }),
            }),
            OutputPart::WebSearch(WebSearchCall { id: "ws_1".into(), query: Some("rust".into()) }),
            OutputPart::Text("Hello".into()),
            OutputPart::Refusal("No".into()),
            call(namespaced, "{}"),
            call(CallName::custom("apply_patch"), "***"),
            call(CallName::tool_search(), "{\"query\":\"q\"}"),
        ]
    );
    assert_eq!(answer.stop, Stop::ToolUse);
    let usage = Usage {
        input: 30,
        cached_input: 60,
        cache_write_5m: 10,
        output: 20,
        reasoning: 5,
        web_search_calls: 1,
        ..Usage::default()
    };
    assert_eq!(answer.usage, Some(usage));
}

#[test]
fn how_an_answer_ended_is_read_from_its_status_and_its_parts() {
    let ended = |status: Value, details: Value, output: Value| {
        let body = json!({"status": status, "incomplete_details": details, "output": output});
        read(body).map(|answer| answer.stop)
    };
    let refusal = json!([{"type": "message", "content": [{"type": "refusal", "refusal": "No"}]}]);
    assert_eq!(ended(json!("completed"), Value::Null, json!([])), Ok(Stop::Done));
    assert_eq!(ended(Value::Null, Value::Null, json!([])), Ok(Stop::Done));
    assert_eq!(ended(json!("completed"), Value::Null, refusal), Ok(Stop::Refused));
    let length = json!({"reason": "max_output_tokens"});
    assert_eq!(ended(json!("incomplete"), length, json!([])), Ok(Stop::Length));
    let filter = json!({"reason": "content_filter"});
    assert_eq!(ended(json!("incomplete"), filter, json!([])), Ok(Stop::ContentFilter));
    assert_eq!(ended(json!("incomplete"), Value::Null, json!([])), Ok(Stop::Length));
    for status in ["failed", "cancelled", "in_progress", "queued"] {
        assert!(ended(json!(status), Value::Null, json!([])).is_err(), "{status}");
    }
}

#[test]
fn usage_that_does_not_add_up_is_none() {
    let usage = |usage: Value| read(json!({"output": [], "usage": usage})).unwrap().usage;
    assert_eq!(usage(Value::Null), None);
    assert_eq!(usage(json!({"input_tokens": 5})), None);
    assert_eq!(usage(json!({"input_tokens": 5, "output_tokens": 1, "total_tokens": 9})), None);
    assert!(usage(json!({"input_tokens": 5, "output_tokens": 1})).is_some());
}

#[test]
fn what_is_no_answer_is_refused() {
    let bad = [
        json!([]),
        json!({}),
        json!({"error": {"message": "x"}, "output": []}),
        json!({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}),
        json!({"output": [{"type": "custom_tool_call", "call_id": "c", "input": "x"}]}),
        json!({"output": [{"type": "message", "content": [{"type": "output_text"}]}]}),
        json!({"output": [{"id": "x"}]}),
        json!({"output": ["x"]}),
        json!({"output": {}}),
    ];
    for body in bad {
        assert!(read(body.clone()).is_err(), "{body}");
    }
    assert!(read_answer(b"<html>", &ToolNames::default()).is_err());
}

#[test]
fn the_response_object_has_what_the_sdks_read_and_repeats_what_was_asked() {
    let Value::Object(echo) = json!({"metadata": {"a": "b"}, "reasoning": {"effort": "low"}, "store": false})
    else {
        unreachable!()
    };
    let conversation = Conversation {
        instructions: vec![Text::plain("Be brief")],
        tools: vec![Tool::Custom { name: "apply_patch".into(), description: None, grammar: None }],
        echo,
        ..Conversation::default()
    };
    let seal = Seal::Signature { text: "Hm".into(), signature: "EqQB".into() };
    let answer = Answer {
        id: Some("msg_01".into()),
        parts: vec![
            OutputPart::Reasoning(Reasoning { texts: vec!["Hm".into()], seal: Some(seal.clone()) }),
            OutputPart::Text("Hel".into()),
            OutputPart::Text("lo".into()),
            call(CallName::custom("apply_patch"), "***"),
        ],
        stop: Stop::ToolUse,
        usage: Some(Usage {
            input: 1,
            cached_input: 2,
            cache_write_5m: 3,
            cache_write_1h: 4,
            output: 5,
            reasoning: 1,
            ..Usage::default()
        }),
    };
    let written = write_answer(&answer, &context(conversation));
    assert_eq!(
        written,
        json!({
            "id": "resp_0a1b",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "completed",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": "Be brief",
            "max_output_tokens": null,
            "max_tool_calls": null,
            "metadata": {"a": "b"},
            "model": "opus",
            "output": [
                {"id": "rs_0a1b_0", "type": "reasoning", "encrypted_content": seal.envelope(),
                 "summary": [{"type": "summary_text", "text": "Hm"}]},
                {"id": "msg_0a1b_1", "type": "message", "role": "assistant", "status": "completed", "content": [
                    {"type": "output_text", "text": "Hel", "annotations": [], "logprobs": []},
                    {"type": "output_text", "text": "lo", "annotations": [], "logprobs": []}]},
                {"id": "ctc_0a1b_2", "type": "custom_tool_call", "status": "completed", "call_id": "call_1",
                 "name": "apply_patch", "input": "***"},
            ],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "prompt_cache_key": null,
            "reasoning": {"effort": "low", "summary": null},
            "safety_identifier": null,
            "service_tier": "default",
            "store": false,
            "temperature": 1,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [{"type": "custom", "name": "apply_patch"}],
            "top_logprobs": 0,
            "top_p": 1,
            "truncation": "disabled",
            "usage": {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 7},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 1},
                "total_tokens": 15,
            },
            "user": null,
        })
    );
}

#[test]
fn an_answer_that_was_cut_off_never_passes_for_a_complete_one() {
    let ended = |stop, parts| {
        let answer = Answer { id: None, parts, stop, usage: None };
        let written = write_answer(&answer, &context(Conversation::default()));
        (written["status"].clone(), written["incomplete_details"]["reason"].clone())
    };
    let text = || vec![OutputPart::Text("x".into())];
    let cut = |reason: &str| (json!("incomplete"), json!(reason));
    let complete = (json!("completed"), Value::Null);
    assert_eq!(ended(Stop::Done, text()), complete);
    assert_eq!(ended(Stop::ToolUse, text()), complete);
    assert_eq!(ended(Stop::StopText("END".into()), text()), complete);
    assert_eq!(ended(Stop::Length, text()), cut("max_output_tokens"));
    assert_eq!(ended(Stop::Paused, text()), cut("max_output_tokens"));
    assert_eq!(ended(Stop::ContentFilter, text()), cut("content_filter"));
    assert_eq!(ended(Stop::Refused, text()), cut("content_filter"));
    assert_eq!(ended(Stop::Refused, vec![OutputPart::Refusal("No".into())]), complete);
}

#[test]
fn reasoning_without_proof_is_marked_as_ours() {
    let part = OutputPart::Reasoning(Reasoning { texts: vec!["Hm".into()], seal: None });
    let answer = Answer { id: None, parts: vec![part], stop: Stop::Done, usage: None };
    let written = write_answer(&answer, &context(Conversation::default()));
    let sealed = written["output"][0]["encrypted_content"].as_str().unwrap();
    assert!(matches!(SealedContent::read(sealed), SealedContent::Carried(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_answer_reads_back_as_it_was_written(answer in answer(), asked in conversation(true)) {
        let written = write_answer(&answer, &context(asked));
        let read = read_answer(written.to_string().as_bytes(), &ToolNames::default()).unwrap();
        prop_assert_eq!(read, answer);
    }

    #[test]
    fn no_answer_makes_the_reader_panic(json in any_json(), item in any_json(), bytes: Vec<u8>) {
        let names = ToolNames::default();
        let _ = read_answer(json.to_string().as_bytes(), &names);
        let _ = read_answer(json!({ "output": [item] }).to_string().as_bytes(), &names);
        let _ = read_answer(&bytes, &names);
    }
}
