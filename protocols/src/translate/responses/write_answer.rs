//! A whole answer for a client that speaks Responses.

use serde_json::Value;

use super::write_output::{
    begun, call_item, call_prefix, content_part, finish, item_id, message_item, reasoning_item, search_id,
    search_item, status,
};
use crate::conversation::{Answer, OutputPart};
use crate::translate::{AnswerContext, AnswerFrame};

/// The response object. Texts that stand side by side are one message.
#[must_use]
pub fn write_answer(answer: &Answer, context: &AnswerContext) -> Value {
    let has_refusal = answer.parts.iter().any(|part| matches!(part, OutputPart::Refusal(_)));
    let ending = status(&answer.stop, has_refusal);
    let output = write_output(&answer.parts, &context.frame, ending.0);
    let mut response = begun(context);
    finish(&mut response, output, ending, answer.usage.as_ref());
    response
}

/// The items; a message at the end bears the answer's own status, as it may be cut off.
fn write_output(parts: &[OutputPart], frame: &AnswerFrame, status: &str) -> Vec<Value> {
    let mut output = Vec::new();
    let mut content = Vec::new();
    for part in parts {
        if let Some(part) = content_part(part) {
            content.push(part);
            continue;
        }
        close_message(&mut content, &mut output, frame, "completed");
        let index = output.len();
        output.extend(match part {
            OutputPart::Text(_) | OutputPart::Refusal(_) => None,
            OutputPart::Reasoning(reasoning) => Some(reasoning_item(&item_id("rs", frame, index), reasoning)),
            OutputPart::ToolCall(call) => {
                let id = item_id(call_prefix(call.name.kind), frame, index);
                Some(call_item(&id, call, "completed"))
            }
            OutputPart::WebSearch(search) => {
                Some(search_item(&search_id(&search.id, frame, index), search, "completed"))
            }
        });
    }
    close_message(&mut content, &mut output, frame, status);
    output
}

fn close_message(content: &mut Vec<Value>, output: &mut Vec<Value>, frame: &AnswerFrame, status: &str) {
    if !content.is_empty() {
        let id = item_id("msg", frame, output.len());
        output.push(message_item(&id, std::mem::take(content), status));
    }
}
