//! Output items of a provider, whole.

use serde_json::Value;

use codexapi_aggregates::usage::Usage;

use super::fields::Fields;
use super::read_items::{read_seal, read_web_search};
use crate::conversation::{
    BadAnswer, CallKind, CallName, OutputPart, Reasoning, Stop, ToolCall, ToolNames, Untranslatable,
    WebSearchCall,
};
use crate::usage::RawUsage;

/// What the gateway's meter has checked against the model before; here only that it adds up.
const ANY_TOKENS: u64 = u64::MAX >> 8;

/// One entry of `output`.
pub(super) enum OutputItem {
    /// Texts and refusals, in order.
    Message(Vec<OutputPart>),
    Reasoning(Reasoning),
    Call(ToolCall),
    WebSearch(WebSearchCall),
    /// Nothing of the answer: a step of a search, or of a tool that was never offered.
    Other,
}

/// A provider's answer is read with the same care as a request; what is wrong with it is the provider's.
pub(super) fn bad(wrong: Untranslatable) -> BadAnswer {
    BadAnswer::new(wrong.to_string())
}

pub(super) fn read_output_item(item: Value, names: &ToolNames) -> Result<OutputItem, BadAnswer> {
    let mut item = Fields::of(item, "item".into()).map_err(bad)?;
    let kind = item.need_text("type").map_err(bad)?;
    Ok(match kind.as_str() {
        "message" => OutputItem::Message(read_message(item)?),
        "reasoning" => OutputItem::Reasoning(read_reasoning(item)?),
        "function_call" => {
            let (call_id, name) = read_call_head(&mut item, CallKind::Function, names)?;
            let input = item.text("arguments").map_err(bad)?.unwrap_or_default();
            OutputItem::Call(ToolCall { call_id, name, input })
        }
        "custom_tool_call" => {
            let (call_id, name) = read_call_head(&mut item, CallKind::Custom, names)?;
            let input = item.text("input").map_err(bad)?.unwrap_or_default();
            OutputItem::Call(ToolCall { call_id, name, input })
        }
        "tool_search_call" => read_tool_search(item)?,
        "web_search_call" => {
            read_web_search(item).map_err(bad)?.map_or(OutputItem::Other, OutputItem::WebSearch)
        }
        _ => OutputItem::Other,
    })
}

/// The id and name of a call. A function may come under the name it was offered by, or with its namespace.
pub(super) fn read_call_head(
    item: &mut Fields,
    kind: CallKind,
    names: &ToolNames,
) -> Result<(String, CallName), BadAnswer> {
    let call_id = item.need_text("call_id").map_err(bad)?;
    let name = item.need_text("name").map_err(bad)?;
    let namespace = item.text("namespace").map_err(bad)?;
    if namespace.is_none() && kind == CallKind::Function {
        let original = names.original(&name);
        if original.kind == CallKind::Function {
            return Ok((call_id, original));
        }
    }
    Ok((call_id, CallName { kind, name, namespace }))
}

fn read_message(mut item: Fields) -> Result<Vec<OutputPart>, BadAnswer> {
    let mut parts = Vec::new();
    for mut part in item.objects("content").map_err(bad)? {
        match part.need_text("type").map_err(bad)?.as_str() {
            "output_text" | "text" => parts.push(OutputPart::Text(part.need_text("text").map_err(bad)?)),
            "refusal" => parts.push(OutputPart::Refusal(part.need_text("refusal").map_err(bad)?)),
            _ => {}
        }
    }
    Ok(parts)
}

/// The summary is what clients are shown; where there is none, the thinking itself.
fn read_reasoning(mut item: Fields) -> Result<Reasoning, BadAnswer> {
    let id = item.text("id").map_err(bad)?.unwrap_or_default();
    let seal = item.text("encrypted_content").map_err(bad)?.and_then(|content| read_seal(id, content));
    let mut texts = Vec::new();
    for key in ["summary", "content"] {
        if texts.is_empty() {
            for mut part in item.objects(key).map_err(bad)? {
                texts.push(part.need_text("text").map_err(bad)?);
            }
        }
    }
    Ok(Reasoning { texts, seal })
}

fn read_tool_search(mut item: Fields) -> Result<OutputItem, BadAnswer> {
    let by_client = item.text("execution").map_err(bad)?.is_none_or(|execution| execution == "client");
    let input = match item.take("arguments") {
        Some(Value::String(text)) => text,
        Some(arguments) => arguments.to_string(),
        None => "{}".to_owned(),
    };
    if !by_client {
        return Ok(OutputItem::Other);
    }
    let call_id = item.need_text("call_id").map_err(bad)?;
    Ok(OutputItem::Call(ToolCall { call_id, name: CallName::tool_search(), input }))
}

/// What the parts of an answer say about its end.
#[derive(Debug, Default)]
pub(super) struct Seen {
    called: bool,
    refused: bool,
    pub(super) searches: u64,
}

impl Seen {
    pub(super) fn note(&mut self, part: &OutputPart) {
        match part {
            OutputPart::Text(_) | OutputPart::Reasoning(_) => {}
            OutputPart::Refusal(_) => self.refused = true,
            OutputPart::ToolCall(_) => self.called = true,
            OutputPart::WebSearch(_) => self.searches += 1,
        }
    }
}

/// How a response object says it ended.
pub(super) struct Ending {
    pub(super) stop: Stop,
    pub(super) usage: Option<Usage>,
}

/// Reads the end of a response object; `named` is the status that its event names, if one does.
///
/// # Errors
/// Where it did not end, or failed.
pub(super) fn read_ending(
    response: &mut Fields,
    named: Option<&str>,
    seen: &Seen,
) -> Result<Ending, BadAnswer> {
    let status = response.text("status").map_err(bad)?;
    let status = status.as_deref().or(named).unwrap_or("completed");
    let stop = match status {
        "completed" if seen.called => Stop::ToolUse,
        "completed" if seen.refused => Stop::Refused,
        "completed" => Stop::Done,
        "incomplete" => match incomplete_reason(response)?.as_deref() {
            Some("content_filter") => Stop::ContentFilter,
            Some(_) | None => Stop::Length,
        },
        other => return Err(BadAnswer::new(format!("its status is {other}"))),
    };
    Ok(Ending { stop, usage: read_usage(response.take("usage"), seen.searches) })
}

fn incomplete_reason(response: &mut Fields) -> Result<Option<String>, BadAnswer> {
    match response.object("incomplete_details").map_err(bad)? {
        Some(mut details) => details.text("reason").map_err(bad),
        None => Ok(None),
    }
}

/// The usage in buckets; `None` where there is none, or none that adds up.
fn read_usage(usage: Option<Value>, web_search_calls: u64) -> Option<Usage> {
    let report = serde_json::value::to_raw_value(&usage?).ok()?;
    RawUsage::Responses { report, web_search_calls }.check(ANY_TOKENS).ok()
}
