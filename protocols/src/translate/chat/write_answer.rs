//! An answer for a chat client, whole.
//!
//! The message has one text, one refusal, one thought and a list of calls: pieces of one kind are put
//! together in their order. Thinking is shown as `reasoning_content`, which libraries that do not know it
//! pass over; proof of it has no place in the dialect, nor have searches.

use codexapi_aggregates::usage::Usage;
use serde_json::{Map, Value, json};

use super::LEGACY_FUNCTIONS;
use crate::conversation::{Answer, CallKind, Conversation, OutputPart, Stop, ToolCall};
use crate::translate::{AnswerContext, AnswerFrame};

/// Between thoughts that were apart.
pub(super) const BETWEEN_THOUGHTS: &str = "\n\n";

/// Writes the body of a `chat.completion`.
pub fn write_answer(answer: &Answer, context: &AnswerContext) -> Value {
    let mut message = Message::default();
    for part in &answer.parts {
        match part {
            OutputPart::Text(text) => message.content.get_or_insert_default().push_str(text),
            OutputPart::Refusal(text) => message.refusal.get_or_insert_default().push_str(text),
            OutputPart::Reasoning(reasoning) => message.thoughts.extend(&reasoning.texts),
            OutputPart::ToolCall(call) => message.calls.push(call),
            OutputPart::WebSearch(_) => {}
        }
    }
    let legacy = is_legacy(&context.conversation);
    let finish_reason = finish_reason(&answer.stop, message.refusal.is_some(), legacy);
    let mut body = json!({
        "id": answer_id(&context.frame),
        "object": "chat.completion",
        "created": context.frame.created_at_secs,
        "model": context.frame.model,
        "choices": [{
            "index": 0,
            "message": message.write(legacy),
            "logprobs": null,
            "finish_reason": finish_reason,
        }],
    });
    if let Some(usage) = &answer.usage {
        body["usage"] = write_usage(usage);
    }
    body
}

pub(super) fn answer_id(frame: &AnswerFrame) -> String {
    format!("chatcmpl-{}", frame.id)
}

/// Whether the client is answered with `function_call`.
pub(super) fn is_legacy(conversation: &Conversation) -> bool {
    conversation.echo.get(LEGACY_FUNCTIONS) == Some(&Value::Bool(true))
}

/// The reason in the dialect's words. An answer that is not the whole of what the model would have said
/// never passes for one.
pub(super) fn finish_reason(stop: &Stop, has_refusal: bool, legacy: bool) -> &'static str {
    match stop {
        Stop::Done | Stop::StopText(_) => "stop",
        Stop::ToolUse if legacy => "function_call",
        Stop::ToolUse => "tool_calls",
        Stop::Length | Stop::Paused => "length",
        Stop::ContentFilter => "content_filter",
        // OpenAI says `stop` where the message itself holds the refusal.
        Stop::Refused if has_refusal => "stop",
        Stop::Refused => "content_filter",
    }
}

/// Usage as OpenAI's text dialects report it: the parts are contained in their wholes. Cache writes of
/// either lifetime are one figure.
pub(in crate::translate) fn write_usage(usage: &Usage) -> Value {
    let mut prompt = Map::from_iter([("cached_tokens".to_owned(), usage.cached_input.into())]);
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    if written > 0 {
        prompt.insert("cache_write_tokens".into(), written.into());
    }
    json!({
        "prompt_tokens": usage.total_input(),
        "completion_tokens": usage.output,
        "total_tokens": usage.total_tokens(),
        "prompt_tokens_details": prompt,
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning },
    })
}

/// A call, or with an empty `input` how one begins.
pub(super) fn write_call(call_id: &str, name: &str, kind: CallKind, input: &str) -> Value {
    match kind {
        CallKind::Function | CallKind::ToolSearch => json!({
            "id": call_id, "type": "function", "function": { "name": name, "arguments": input },
        }),
        CallKind::Custom => json!({
            "id": call_id, "type": "custom", "custom": { "name": name, "input": input },
        }),
    }
}

#[derive(Default)]
struct Message<'a> {
    thoughts: Vec<&'a String>,
    content: Option<String>,
    refusal: Option<String>,
    calls: Vec<&'a ToolCall>,
}

impl Message<'_> {
    fn write(self, legacy: bool) -> Value {
        let mut message = Map::from_iter([
            ("role".to_owned(), "assistant".into()),
            ("content".to_owned(), self.content.into()),
            ("refusal".to_owned(), self.refusal.into()),
        ]);
        if !self.thoughts.is_empty() {
            let texts: Vec<&str> = self.thoughts.into_iter().map(String::as_str).collect();
            message.insert("reasoning_content".into(), texts.join(BETWEEN_THOUGHTS).into());
        }
        match self.calls.as_slice() {
            [] => {}
            // That form has room for one call.
            [call, ..] if legacy => {
                let function_call = json!({ "name": call.name.name, "arguments": call.input });
                message.insert("function_call".into(), function_call);
            }
            calls => {
                let write = |call: &&ToolCall| {
                    write_call(&call.call_id, &call.name.name, call.name.kind, &call.input)
                };
                message.insert("tool_calls".into(), calls.iter().map(write).collect());
            }
        }
        Value::Object(message)
    }
}
