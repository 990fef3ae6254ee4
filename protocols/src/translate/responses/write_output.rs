//! The response object and its output items, for clients; shared by whole answers and streams.

use codexapi_aggregates::usage::Usage;
use serde_json::{Map, Value, json};

use super::write_items::{json_or_text, with_namespace};
use super::write_request::joined_instructions;
use super::write_tools::write_tools;
use crate::conversation::{CallKind, OutputPart, Reasoning, Seal, Stop, ToolCall, WebSearchCall};
use crate::translate::{AnswerContext, AnswerFrame};

pub(super) fn response_id(frame: &AnswerFrame) -> String {
    format!("resp_{}", frame.id)
}

/// The id of an item that has none of its own: the same for the same answer and place.
pub(super) fn item_id(prefix: &str, frame: &AnswerFrame, index: usize) -> String {
    format!("{prefix}_{}_{index}", frame.id)
}

/// The object as it stands before anything is generated.
pub(super) fn begun(context: &AnswerContext) -> Value {
    let AnswerContext { frame, conversation } = context;
    let mut response = json!({
        "id": response_id(frame),
        "object": "response",
        "created_at": frame.created_at_secs,
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": joined_instructions(conversation),
        "max_output_tokens": null,
        "max_tool_calls": null,
        "metadata": {},
        "model": frame.model,
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "reasoning": {},
        "safety_identifier": null,
        "service_tier": "default",
        "store": true,
        "temperature": 1,
        "text": {},
        "tool_choice": "auto",
        // What cannot be written was refused when the request was.
        "tools": write_tools(conversation.tools.iter()).unwrap_or_default(),
        "top_logprobs": 0,
        "top_p": 1,
        "truncation": "disabled",
        "usage": null,
        "user": null,
    });
    for (key, value) in &conversation.echo {
        response[key] = value.clone();
    }
    fill(&mut response["reasoning"], "effort", Value::Null);
    fill(&mut response["reasoning"], "summary", Value::Null);
    fill(&mut response["text"], "format", json!({ "type": "text" }));
    response
}

fn fill(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = object {
        members.entry(key).or_insert(value);
    }
}

/// The status an answer ends with, and the reason where it is incomplete.
///
/// A refusal without words, and a provider's pause, have no name here: the first is told as filtered, the
/// second as cut off, so that neither passes for a complete answer.
pub(super) fn status(stop: &Stop, has_refusal: bool) -> (&'static str, Option<&'static str>) {
    match stop {
        Stop::Done | Stop::ToolUse | Stop::StopText(_) => ("completed", None),
        Stop::Refused if has_refusal => ("completed", None),
        Stop::Refused | Stop::ContentFilter => ("incomplete", Some("content_filter")),
        Stop::Length | Stop::Paused => ("incomplete", Some("max_output_tokens")),
    }
}

/// Completes the object begun by [`begun`].
pub(super) fn finish(
    response: &mut Value,
    output: Vec<Value>,
    (status, reason): (&str, Option<&str>),
    usage: Option<&Usage>,
) {
    response["output"] = Value::Array(output);
    response["status"] = json!(status);
    if let Some(reason) = reason {
        response["incomplete_details"] = json!({ "reason": reason });
    }
    if let Some(usage) = usage {
        response["usage"] = write_usage(usage);
    }
}

/// OpenAI's input contains what was read from and written to its cache.
fn write_usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.total_input(),
        "input_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write_5m.saturating_add(usage.cache_write_1h),
        },
        "output_tokens": usage.output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.total_tokens(),
    })
}

/// A text or refusal as a part of a message; `None` for any other part.
pub(super) fn content_part(part: &OutputPart) -> Option<Value> {
    match part {
        OutputPart::Text(text) => Some(text_part(text)),
        OutputPart::Refusal(refusal) => Some(refusal_part(refusal)),
        OutputPart::Reasoning(_) | OutputPart::ToolCall(_) | OutputPart::WebSearch(_) => None,
    }
}

pub(super) fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

pub(super) fn refusal_part(refusal: &str) -> Value {
    json!({ "type": "refusal", "refusal": refusal })
}

pub(super) fn message_item(id: &str, content: Vec<Value>, status: &str) -> Value {
    json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
}

pub(super) fn summary_part(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

/// The proof always goes along, asked for or not: without it the next request could not carry the
/// reasoning. It is in an envelope even where there is none, so that whoever passes the item on to OpenAI
/// knows it for ours.
pub(super) fn reasoning_item(id: &str, reasoning: &Reasoning) -> Value {
    let nothing = Seal::Encrypted { id: String::new(), content: String::new() };
    let summary: Vec<Value> = reasoning.texts.iter().map(|text| summary_part(text)).collect();
    json!({
        "id": id,
        "type": "reasoning",
        "summary": summary,
        "encrypted_content": reasoning.seal.as_ref().unwrap_or(&nothing).envelope(),
    })
}

pub(super) fn call_prefix(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Function => "fc",
        CallKind::Custom => "ctc",
        CallKind::ToolSearch => "tsc",
    }
}

pub(super) fn call_item(id: &str, call: &ToolCall, status: &str) -> Value {
    let item = match call.name.kind {
        CallKind::Function => json!({
            "id": id,
            "type": "function_call",
            "status": status,
            "call_id": call.call_id,
            "name": call.name.name,
            "arguments": call.input,
        }),
        CallKind::Custom => json!({
            "id": id,
            "type": "custom_tool_call",
            "status": status,
            "call_id": call.call_id,
            "name": call.name.name,
            "input": call.input,
        }),
        CallKind::ToolSearch => {
            let begins = call.input.is_empty();
            let arguments = if begins { Value::Object(Map::new()) } else { json_or_text(&call.input) };
            return json!({
                "id": id,
                "type": "tool_search_call",
                "status": status,
                "execution": "client",
                "call_id": call.call_id,
                "arguments": arguments,
            });
        }
    };
    with_namespace(item, &call.name)
}

/// The provider's own id where it is one of OpenAI's form.
pub(super) fn search_id(id: &str, frame: &AnswerFrame, index: usize) -> String {
    if id.starts_with("ws_") { id.to_owned() } else { item_id("ws", frame, index) }
}

pub(super) fn search_item(id: &str, search: &WebSearchCall, status: &str) -> Value {
    let query = search.query.as_deref().unwrap_or_default();
    let queries: Vec<&str> = search.query.as_deref().into_iter().collect();
    json!({
        "id": id,
        "type": "web_search_call",
        "status": status,
        "action": { "type": "search", "query": query, "queries": queries },
    })
}
