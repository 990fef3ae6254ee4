use proptest::prelude::*;
use serde_json::{Value, json};

use super::strategies::{answer, any_json};
use super::*;
use crate::conversation::{
    Answer, CallKind, CallName, OutputPart, Reasoning, Seal, SealedContent, Stop, Tool, ToolCall, ToolNames,
};

fn read(body: &Value) -> Answer {
    read_answer(body.to_string().as_bytes(), &ToolNames::default()).expect("an answer")
}

fn answer_of(part: OutputPart) -> Answer {
    Answer { id: None, parts: vec![part], stop: Stop::Done, usage: None }
}

fn block_of(part: OutputPart) -> Value {
    write_answer(&answer_of(part), &context())["content"][0].take()
}

proptest! {
    #[test]
    fn an_answer_that_was_written_is_read_as_it_was(answer in answer()) {
        prop_assert_eq!(read(&write_answer(&answer, &context())), answer);
    }

    #[test]
    fn any_body_is_read_or_refused(json in any_json(), content in any_json(), noise: Vec<u8>) {
        let _ = read_answer(json.to_string().as_bytes(), &ToolNames::default());
        let message = json!({ "content": [content.clone()], "stop_reason": "x", "usage": content });
        let _ = read_answer(message.to_string().as_bytes(), &ToolNames::default());
        let _ = read_answer(&noise, &ToolNames::default());
    }
}

#[test]
fn every_reason_to_stop_is_understood() {
    let cases = [
        ("end_turn", Stop::Done),
        ("tool_use", Stop::ToolUse),
        ("max_tokens", Stop::Length),
        ("model_context_window_exceeded", Stop::Length),
        ("refusal", Stop::Refused),
        ("pause_turn", Stop::Paused),
        ("stop_sequence", Stop::StopText("END".into())),
        ("a_word_of_tomorrow", Stop::Done),
    ];
    for (reason, stop) in cases {
        let body = json!({ "content": [], "stop_reason": reason, "stop_sequence": "END" });
        assert_eq!(read(&body).stop, stop, "{reason}");
    }
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "ls", "input": {} });
    let body = json!({ "content": [call], "stop_reason": "a_word_of_tomorrow" });
    assert_eq!(read(&body).stop, Stop::ToolUse);
}

#[test]
fn every_stop_has_a_reason_in_the_dialect() {
    let cases = [
        (Stop::Done, "end_turn"),
        (Stop::ToolUse, "tool_use"),
        (Stop::Length, "max_tokens"),
        (Stop::ContentFilter, "refusal"),
        (Stop::Refused, "refusal"),
        (Stop::Paused, "pause_turn"),
    ];
    for (stop, reason) in cases {
        let answer = Answer { stop, ..answer_of(OutputPart::Text("so".into())) };
        assert_eq!(write_answer(&answer, &context())["stop_reason"], reason);
    }
    let call = ToolCall { call_id: "c".into(), name: CallName::function("ls"), input: "{}".into() };
    let written = write_answer(&answer_of(OutputPart::ToolCall(call)), &context());
    assert_eq!(written["stop_reason"], "tool_use", "a client runs its tools only where it is told to");
}

#[test]
fn what_is_no_message_is_refused() {
    let cases = [
        json!([]),
        json!({}),
        json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } }),
        json!({ "content": [], "stop_reason": null }),
        json!({ "content": "text", "stop_reason": "end_turn" }),
        json!({ "content": [{ "type": "text" }], "stop_reason": "end_turn" }),
        json!({ "content": [{ "type": "tool_use", "name": "ls", "input": {} }], "stop_reason": "tool_use" }),
    ];
    for body in cases {
        assert!(read_answer(body.to_string().as_bytes(), &ToolNames::default()).is_err(), "{body}");
    }
}

#[test]
fn usage_that_does_not_add_up_is_none() {
    let usage = json!({ "input_tokens": -1, "output_tokens": 2 });
    let body = json!({ "content": [], "stop_reason": "end_turn", "usage": usage });
    assert_eq!(read(&body).usage, None);
}

#[test]
fn a_call_comes_back_under_the_name_its_client_gave_the_tool() {
    let long = "x".repeat(100);
    let tools =
        [Tool::Function(crate::conversation::FunctionTool { name: long.clone(), ..Default::default() })];
    let name = crate::conversation::wire_name(&CallName::function(&long));
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": name, "input": { "b": 1, "a": 2 } });
    let body = json!({ "content": [call], "stop_reason": "tool_use" }).to_string();
    let answer = read_answer(body.as_bytes(), &ToolNames::new(&tools)).unwrap();
    assert_eq!(write_answer(&answer, &context())["content"][0]["name"], long);
}

#[test]
fn arguments_that_are_no_object_are_shown_as_such() {
    let call = |input: &str, kind| {
        let name = CallName { kind, name: "run".into(), namespace: None };
        block_of(OutputPart::ToolCall(ToolCall { call_id: "c".into(), name, input: input.into() }))
    };
    assert_eq!(call("", CallKind::Function)["input"], json!({}));
    assert_eq!(call("{\"a\":", CallKind::Function)["input"], json!({ "INVALID_JSON": "{\"a\":" }));
    assert_eq!(call("[1]", CallKind::Function)["input"], json!({ "INVALID_JSON": "[1]" }));
    assert_eq!(call("*** Begin", CallKind::Custom)["input"], json!({ "input": "*** Begin" }));
}

#[test]
fn reasoning_of_another_provider_travels_in_an_envelope() {
    let seal = Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() };
    let texts = vec!["first".into(), "second".into()];
    let block = block_of(OutputPart::Reasoning(Reasoning { texts, seal: Some(seal.clone()) }));
    assert_eq!(block["thinking"], "first\n\nsecond");
    let signature = block["signature"].as_str().unwrap();
    assert_eq!(SealedContent::read(signature), SealedContent::Carried(seal));
}

#[test]
fn reasoning_without_proof_is_never_passed_through_to_a_provider_that_wants_one() {
    let reasoning = Reasoning { texts: vec!["so".into()], seal: None };
    let block = block_of(OutputPart::Reasoning(reasoning.clone()));
    assert!(crate::conversation::has_foreign_seal(block.to_string().as_bytes()));
    let message = json!({ "role": "assistant", "content": [block] });
    let body = json!({ "max_tokens": 1, "messages": [message] });
    assert_eq!(read_request(body).unwrap().items, [crate::conversation::Item::Reasoning(reasoning)]);
}
