//! The items of a request to a Responses provider.
//!
//! No item carries an id but reasoning, whose proof belongs to it: with nothing stored, OpenAI looks no id
//! up, and one it did not make could only be refused.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::write_tools::{function_name, write_tools};
use super::{ERROR_MARK, FOUND};
use crate::conversation::{
    CallKind, CallName, File, Image, Item, Message, Part, Reasoning, Role, Seal, Source, Tool, ToolCall,
    ToolResult, Untranslatable, WebSearchCall, wire_name,
};

/// The items, and the names of the tools that they bring along themselves. OpenAI takes reasoning only for
/// a model that `thinks`.
pub(super) fn write_input(
    items: &[Item],
    tools: &[Tool],
    thinks: bool,
) -> Result<(Vec<Value>, HashSet<CallName>), Untranslatable> {
    check_pairs(items)?;
    let mut found = HashSet::new();
    let mut written = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let value = match item {
            Item::Message(message) => write_message(message)?,
            Item::Reasoning(reasoning) => {
                let carried = thinks && leads_to_output(&items[at + 1..]);
                carried.then(|| write_reasoning(reasoning)).flatten()
            }
            Item::ToolCall(call) => Some(write_call(call)),
            Item::ToolResult(result) => Some(write_result(result, tools, &mut found)?),
            Item::WebSearch(search) => write_web_search(search),
        };
        written.extend(value);
    }
    Ok((written, found))
}

/// OpenAI refuses a result without its call, and a call without its result.
fn check_pairs(items: &[Item]) -> Result<(), Untranslatable> {
    let mut open: Vec<&str> = Vec::new();
    let mut called: HashSet<&str> = HashSet::new();
    for item in items {
        match item {
            Item::ToolCall(call) => {
                called.insert(&call.call_id);
                open.push(&call.call_id);
            }
            Item::ToolResult(result) => {
                if !called.contains(result.call_id.as_str()) {
                    return Err(Untranslatable::Wrong {
                        field: format!("tool result {}", result.call_id),
                        expected: "the result of a tool call that stands before it",
                    });
                }
                open.retain(|call_id| *call_id != result.call_id);
            }
            Item::Message(_) | Item::Reasoning(_) | Item::WebSearch(_) => {}
        }
    }
    match open.first() {
        None => Ok(()),
        Some(call_id) => Err(Untranslatable::Wrong {
            field: format!("tool call {call_id}"),
            expected: "followed by its result",
        }),
    }
}

/// OpenAI refuses reasoning that nothing of the model's own follows.
fn leads_to_output(rest: &[Item]) -> bool {
    let next = rest.iter().find(|item| !matches!(item, Item::Reasoning(_)));
    match next {
        Some(Item::Message(message)) => message.role == Role::Assistant,
        Some(Item::ToolCall(_) | Item::WebSearch(_)) => true,
        Some(Item::Reasoning(_) | Item::ToolResult(_)) | None => false,
    }
}

/// `None` for a message that says nothing.
fn write_message(message: &Message) -> Result<Option<Value>, Untranslatable> {
    let role = match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let is_said = |part: &&Part| !matches!(part, Part::Text(text) if text.text.is_empty());
    let parts = message.parts.iter().filter(is_said);
    let content = parts.map(|part| write_part(part, message.role)).collect::<Result<Vec<_>, _>>()?;
    if content.is_empty() {
        return Ok(None);
    }
    Ok(Some(json!({ "type": "message", "role": role, "content": content })))
}

fn write_part(part: &Part, role: Role) -> Result<Value, Untranslatable> {
    let by_assistant = role == Role::Assistant;
    match part {
        Part::Text(text) if by_assistant => Ok(json!({ "type": "output_text", "text": text.text })),
        Part::Text(text) => Ok(json!({ "type": "input_text", "text": text.text })),
        Part::Refusal(refusal) if by_assistant => Ok(json!({ "type": "refusal", "refusal": refusal })),
        Part::Refusal(refusal) => Ok(json!({ "type": "input_text", "text": refusal })),
        Part::Image(_) | Part::File(_) if by_assistant => Err(Untranslatable::NotCarried {
            field: "a picture or file of the assistant".into(),
            reason: "the model's own turns are text there",
        }),
        Part::Image(image) => Ok(write_image(image)),
        Part::File(file) => Ok(write_file(file)),
    }
}

fn write_image(image: &Image) -> Value {
    let mut value = json!({ "type": "input_image", "image_url": address(&image.source) });
    if let Some(detail) = &image.detail {
        value["detail"] = json!(detail);
    }
    value
}

/// OpenAI tells what a file is by its name too, and wants one with its content.
fn write_file(file: &File) -> Value {
    match &file.source {
        Source::Url(url) => {
            let mut value = json!({ "type": "input_file", "file_url": url });
            if let Some(name) = &file.name {
                value["filename"] = json!(name);
            }
            value
        }
        Source::Data { media_type, .. } => {
            let unnamed = if media_type == "application/pdf" { "document.pdf" } else { "document.txt" };
            json!({
                "type": "input_file",
                "filename": file.name.as_deref().unwrap_or(unnamed),
                "file_data": address(&file.source),
            })
        }
    }
}

fn address(source: &Source) -> String {
    match source {
        Source::Url(url) => url.clone(),
        Source::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
    }
}

/// Only OpenAI's own proof is sent; reasoning without it is left out.
fn write_reasoning(reasoning: &Reasoning) -> Option<Value> {
    let Some(Seal::Encrypted { id, content }) = &reasoning.seal else { return None };
    let summary: Vec<Value> =
        reasoning.texts.iter().map(|text| json!({ "type": "summary_text", "text": text })).collect();
    let mut item = json!({ "type": "reasoning", "summary": summary, "encrypted_content": content });
    if !id.is_empty() {
        item["id"] = json!(id);
    }
    Some(item)
}

fn write_call(call: &ToolCall) -> Value {
    match call.name.kind {
        CallKind::Function => with_namespace(
            json!({
                "type": "function_call",
                "call_id": call.call_id,
                "name": function_name(&call.name),
                "arguments": call.input,
            }),
            &call.name,
        ),
        CallKind::Custom => with_namespace(
            json!({
                "type": "custom_tool_call",
                "call_id": call.call_id,
                "name": call.name.name,
                "input": call.input,
            }),
            &call.name,
        ),
        CallKind::ToolSearch => json!({
            "type": "tool_search_call",
            "call_id": call.call_id,
            "execution": "client",
            "status": "completed",
            "arguments": json_or_text(&call.input),
        }),
    }
}

pub(super) fn with_namespace(mut call: Value, name: &CallName) -> Value {
    if let Some(namespace) = &name.namespace {
        call["namespace"] = json!(namespace);
    }
    call
}

/// A tool search's input is JSON in the dialect, not text.
pub(super) fn json_or_text(input: &str) -> Value {
    crate::json::value(input.as_bytes()).unwrap_or_else(|_| json!(input))
}

fn write_result(
    result: &ToolResult,
    tools: &[Tool],
    found: &mut HashSet<CallName>,
) -> Result<Value, Untranslatable> {
    let kind = match result.kind {
        CallKind::Function => "function_call_output",
        CallKind::Custom => "custom_tool_call_output",
        CallKind::ToolSearch => return write_found(result, tools, found),
    };
    let output = match result.parts.as_slice() {
        [] if result.is_error => json!(ERROR_MARK.trim_end()),
        [] => json!(""),
        [Part::Text(text)] if result.is_error => json!(format!("{ERROR_MARK}{}", text.text)),
        [Part::Text(text)] => json!(text.text),
        parts => {
            let mark = json!({ "type": "input_text", "text": ERROR_MARK.trim_end() });
            let mut written = if result.is_error { vec![mark] } else { Vec::new() };
            for part in parts {
                written.push(write_part(part, Role::User)?);
            }
            Value::Array(written)
        }
    };
    Ok(json!({ "type": kind, "call_id": result.call_id, "output": output }))
}

/// The tools a search found, from the names in its result.
fn write_found(
    result: &ToolResult,
    tools: &[Tool],
    found: &mut HashSet<CallName>,
) -> Result<Value, Untranslatable> {
    let texts = result.parts.iter().filter_map(|part| match part {
        Part::Text(text) => crate::json::value(text.text.as_bytes()).ok(),
        Part::Image(_) | Part::File(_) | Part::Refusal(_) => None,
    });
    let listed: Vec<Value> = texts
        .filter_map(|mut text| text.get_mut(FOUND)?.as_array_mut().map(std::mem::take))
        .flatten()
        .collect();
    let is_listed = |tool: &&Tool| {
        CallName::of(tool).is_some_and(|name| {
            let wire = wire_name(&name);
            listed.iter().any(|listed| listed.as_str() == Some(&wire))
        })
    };
    let brought: Vec<&Tool> = tools.iter().filter(is_listed).collect();
    found.extend(brought.iter().filter_map(|tool| CallName::of(tool)));
    Ok(json!({
        "type": "tool_search_output",
        "call_id": result.call_id,
        "execution": "client",
        "status": "completed",
        "tools": write_tools(brought.into_iter())?,
    }))
}

/// What another provider searched says nothing without its results, which only that provider can open.
fn write_web_search(search: &WebSearchCall) -> Option<Value> {
    if !search.id.is_empty() && !search.id.starts_with("ws_") {
        return None;
    }
    let mut action = json!({ "type": "search" });
    if let Some(query) = &search.query {
        action["query"] = json!(query);
    }
    let mut item = json!({ "type": "web_search_call", "status": "completed", "action": action });
    if !search.id.is_empty() {
        item["id"] = json!(search.id);
    }
    Some(item)
}
