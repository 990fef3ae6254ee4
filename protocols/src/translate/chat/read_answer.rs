//! A chat provider's whole answer.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use codexapi_aggregates::usage::Usage;

use super::wire::{self, Call};
use crate::conversation::{Answer, BadAnswer, OutputPart, Reasoning, ToolNames};
use crate::json::Object;
use crate::usage::RawUsage;

/// More tokens than any answer has; what a report may say at most is checked where it is charged.
const CEILING_TOKENS: u64 = u64::MAX >> 8;

#[derive(Deserialize)]
struct Completion {
    id: Option<String>,
    choices: Option<Vec<Object<Choice>>>,
    usage: Option<Box<RawValue>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Object<Spoken>>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Spoken {
    reasoning_content: Option<String>,
    reasoning: Option<Value>,
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Call>>,
    function_call: Option<wire::Function>,
}

/// Reads the first choice; more are never asked for.
///
/// # Errors
/// Where the body is no answer: not JSON, an error, without a choice, or broken off by the provider.
pub fn read_answer(body: &[u8], names: &ToolNames) -> Result<Answer, BadAnswer> {
    let Object(completion): Object<Completion> = serde_json::from_slice(body)
        .map_err(|error| BadAnswer::new(format!("no chat completion: {error}")))?;
    if completion.error.is_some() {
        return Err(BadAnswer::new("an error stands in its place"));
    }
    let choice = completion.choices.unwrap_or_default().into_iter().next();
    let Object(choice) = choice.ok_or_else(|| BadAnswer::new("it has no choice"))?;
    let Object(spoken) = choice.message.ok_or_else(|| BadAnswer::new("its choice has no message"))?;
    if choice.finish_reason.as_deref() == Some(wire::BROKEN_OFF) {
        return Err(BadAnswer::new("the provider broke it off"));
    }
    let id = completion.id.filter(|id| !id.is_empty());
    let parts = parts(spoken, id.as_deref(), names)?;
    let has_calls = parts.iter().any(|part| matches!(part, OutputPart::ToolCall(_)));
    let stop = wire::stop(choice.finish_reason.as_deref(), has_calls);
    Ok(Answer { id, parts, stop, usage: completion.usage.and_then(read_usage) })
}

/// A usage report in buckets, `None` where it does not add up.
pub(super) fn read_usage(report: Box<RawValue>) -> Option<Usage> {
    RawUsage::Chat(report).check(CEILING_TOKENS).ok()
}

/// Thinking under either of its names.
pub(super) fn thought(reasoning_content: Option<String>, reasoning: Option<Value>) -> Option<String> {
    let other = match reasoning {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    reasoning_content.or(other).filter(|text| !text.is_empty())
}

fn parts(spoken: Spoken, id: Option<&str>, names: &ToolNames) -> Result<Vec<OutputPart>, BadAnswer> {
    let mut parts = vec![];
    if let Some(text) = thought(spoken.reasoning_content, spoken.reasoning) {
        parts.push(OutputPart::Reasoning(Reasoning { texts: vec![text], seal: None }));
    }
    parts.extend(spoken.content.filter(|text| !text.is_empty()).map(OutputPart::Text));
    parts.extend(spoken.refusal.filter(|text| !text.is_empty()).map(OutputPart::Refusal));
    let former = spoken.function_call.map(|function| Call { function: Some(function), ..Call::default() });
    for (nth, call) in spoken.tool_calls.unwrap_or_default().into_iter().chain(former).enumerate() {
        let call = wire::tool_call(call, nth, id, names);
        parts.push(OutputPart::ToolCall(call.ok_or_else(|| BadAnswer::new("a call has no name"))?));
    }
    Ok(parts)
}
