//! A whole answer for a Messages client, and the pieces that its stream is made of too.

use codexapi_aggregates::usage::Usage;
use serde_json::{Value, json};

use super::write_content::{input_object, search_blocks};
use crate::conversation::{Answer, CallKind, CallName, OutputPart, Reasoning, Seal, Stop, wire_name};
use crate::translate::AnswerContext;

/// The answer as the body of a response.
pub fn write_answer(answer: &Answer, context: &AnswerContext) -> Value {
    let content: Vec<Value> = answer.parts.iter().flat_map(part_blocks).collect();
    let calls_tools = answer.parts.iter().any(|part| matches!(part, OutputPart::ToolCall(_)));
    let (reason, sequence) = stop_reason(&answer.stop, calls_tools);
    let mut message = envelope(context);
    message["content"] = Value::Array(content);
    message["stop_reason"] = json!(reason);
    message["stop_sequence"] = json!(sequence);
    message["usage"] = usage_report(&answer.usage.unwrap_or_default());
    message
}

/// A message before anything of it is known.
pub(super) fn envelope(context: &AnswerContext) -> Value {
    json!({
        "id": format!("msg_{}", context.frame.id),
        "type": "message",
        "role": "assistant",
        "model": context.frame.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    })
}

/// What a message says of its end: `stop_reason` and `stop_sequence`.
pub(super) fn stop_reason(stop: &Stop, calls_tools: bool) -> (&'static str, Option<&str>) {
    match stop {
        // Clients run the tools only where they are told to.
        Stop::Done if calls_tools => ("tool_use", None),
        Stop::Done => ("end_turn", None),
        Stop::ToolUse => ("tool_use", None),
        Stop::Length => ("max_tokens", None),
        Stop::ContentFilter | Stop::Refused => ("refusal", None),
        Stop::StopText(text) => ("stop_sequence", Some(text)),
        Stop::Paused => ("pause_turn", None),
    }
}

/// Every bucket in the dialect's words.
pub(super) fn usage_report(usage: &Usage) -> Value {
    let mut report = json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m.saturating_add(usage.cache_write_1h),
        "cache_read_input_tokens": usage.cached_input,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
    });
    if usage.reasoning > 0 {
        report["output_tokens_details"] = json!({ "thinking_tokens": usage.reasoning });
    }
    if usage.web_search_calls > 0 {
        report["server_tool_use"] =
            json!({ "web_search_requests": usage.web_search_calls, "web_fetch_requests": 0 });
    }
    report
}

/// What a call is named to the client that declared the tool.
pub(super) fn client_name(name: &CallName) -> String {
    match (name.kind, &name.namespace) {
        (CallKind::Function, None) => name.name.clone(),
        (CallKind::Function, Some(_)) | (CallKind::Custom | CallKind::ToolSearch, _) => wire_name(name),
    }
}

/// How reasoning is shown: its text, and what comes back as its proof. Reasoning that has no proof bears an
/// empty one of our own, so that a request with it is never passed to a provider that verifies them.
pub(super) fn shown_thinking(reasoning: &Reasoning) -> (String, String) {
    let text = || reasoning.texts.join("\n\n");
    match &reasoning.seal {
        Some(Seal::Signature { text, signature }) => (text.clone(), signature.clone()),
        Some(seal) => (text(), seal.envelope()),
        None => {
            let unproven = Seal::Signature { text: String::new(), signature: String::new() };
            (text(), unproven.envelope())
        }
    }
}

/// Whether there is anything of it to show or to bring back.
pub(super) fn is_empty(reasoning: &Reasoning) -> bool {
    reasoning.seal.is_none() && reasoning.texts.iter().all(String::is_empty)
}

fn part_blocks(part: &OutputPart) -> Vec<Value> {
    match part {
        // A client that sends an empty text back is refused for it.
        OutputPart::Text(text) | OutputPart::Refusal(text) if text.is_empty() => vec![],
        OutputPart::Text(text) | OutputPart::Refusal(text) => vec![json!({ "type": "text", "text": text })],
        OutputPart::Reasoning(reasoning) if is_empty(reasoning) => vec![],
        OutputPart::Reasoning(Reasoning { seal: Some(Seal::Redacted { data }), .. }) => {
            vec![json!({ "type": "redacted_thinking", "data": data })]
        }
        OutputPart::Reasoning(reasoning) => {
            let (thinking, signature) = shown_thinking(reasoning);
            vec![json!({ "type": "thinking", "thinking": thinking, "signature": signature })]
        }
        OutputPart::ToolCall(call) => vec![json!({
            "type": "tool_use",
            "id": call.call_id,
            "name": client_name(&call.name),
            "input": input_object(call),
        })],
        OutputPart::WebSearch(search) => search_blocks(search).into(),
    }
}
