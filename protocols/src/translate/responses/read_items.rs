//! The items of a Responses request's `input`.
//!
//! Clients send the whole history: what they said, what the model made, and what OpenAI's own tools did.
//! Of the last, what is plain text is shown as text, so that a session may change its provider; what only
//! OpenAI can open is refused.

use serde_json::{Value, json};

use super::FOUND;
use super::fields::Fields;
use super::read_parts::read_content;
use super::read_tools::{names_of, read_tools};
use crate::conversation::{
    CallKind, CallName, Item, Message, Part, Reasoning, Role, Seal, SealedContent, Text, Tool, ToolCall,
    ToolResult, Untranslatable, WebSearchCall, wire_name,
};

const COMPACTED: &str =
    "only OpenAI can read a history it has compacted; start a new session, or stay with an OpenAI model";

/// Members of items and their parts that are left out, each with the reason.
pub const DROPPED_OF_ITEMS: &[(&str, &str)] = &[
    ("id", "made anew where the dialect wants one; only reasoning is known by it, and keeps it"),
    ("status", "what is sent back is complete"),
    ("phase", "tells OpenAI's models how far an answer was; other dialects have no such word"),
    ("annotations", "where a text comes from; the text itself is carried"),
    ("logprobs", "probabilities of the model that wrote it"),
    ("internal_chat_message_metadata_passthrough", "Codex's notes to OpenAI about the turn"),
];

/// The items of `input`. Tools that a tool search found are added to `offered`.
pub(super) fn read_input(body: &mut Fields, offered: &mut Vec<Tool>) -> Result<Vec<Item>, Untranslatable> {
    const EXPECTED: &str = "a text or a list of items";
    let items = match body.take("input") {
        Some(Value::String(text)) => return Ok(vec![user_text(text)]),
        Some(Value::Array(items)) => items,
        Some(_) | None => return Err(body.wrong("input", EXPECTED)),
    };
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        read.extend(read_item(Fields::of(item, format!("input[{at}]"))?, offered)?);
    }
    Ok(read)
}

fn user_text(text: String) -> Item {
    Item::Message(Message { role: Role::User, parts: vec![Part::Text(Text::plain(text))] })
}

/// `None` for an item that says nothing to another model.
fn read_item(mut item: Fields, offered: &mut Vec<Tool>) -> Result<Option<Item>, Untranslatable> {
    let kind = match item.kind()? {
        Some(kind) => kind,
        None if item.get("role").is_some() => "message".to_owned(),
        None => return Err(item.wrong("type", "the kind of item")),
    };
    let read = match kind.as_str() {
        "message" => Item::Message(read_message(item)?),
        "reasoning" => return read_reasoning(item).map(|read| read.map(Item::Reasoning)),
        "function_call" => Item::ToolCall(read_call(item, "arguments")?),
        "custom_tool_call" => {
            let ToolCall { call_id, name, input } = read_call(item, "input")?;
            Item::ToolCall(ToolCall { call_id, name: CallName { kind: CallKind::Custom, ..name }, input })
        }
        "tool_search_call" => return read_search_call(item).map(|read| read.map(Item::ToolCall)),
        "function_call_output" => Item::ToolResult(read_result(item, CallKind::Function)?),
        "custom_tool_call_output" => Item::ToolResult(read_result(item, CallKind::Custom)?),
        "tool_search_output" => return read_found(item, offered).map(|read| read.map(Item::ToolResult)),
        "additional_tools" => {
            read_tools(item.objects("tools")?, offered)?;
            return Ok(None);
        }
        "web_search_call" => return read_web_search(item).map(|read| read.map(Item::WebSearch)),
        _ => return read_hosted(item, &kind),
    };
    Ok(Some(read))
}

fn read_message(mut item: Fields) -> Result<Message, Untranslatable> {
    let role = match item.need_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        _ => return Err(item.wrong("role", "user, assistant, system or developer")),
    };
    let parts = read_content(&mut item, "content")?
        .ok_or_else(|| item.wrong("content", "a text or a list of parts"))?;
    Ok(Message { role, parts })
}

fn read_reasoning(mut item: Fields) -> Result<Option<Reasoning>, Untranslatable> {
    let id = item.text("id")?.unwrap_or_default();
    let sealed = item.text("encrypted_content")?;
    let mut texts = read_texts(&mut item, "summary")?;
    if texts.is_empty() {
        texts = read_texts(&mut item, "content")?;
    }
    let seal = sealed.and_then(|content| read_seal(id, content));
    Ok((!texts.is_empty() || seal.is_some()).then_some(Reasoning { texts, seal }))
}

fn read_texts(item: &mut Fields, key: &str) -> Result<Vec<String>, Untranslatable> {
    item.objects(key)?.into_iter().map(|mut part| part.need_text("text")).collect()
}

/// What stands as `encrypted_content`: OpenAI's own, or an envelope of ours. An envelope around nothing
/// marks reasoning that came without proof.
pub(super) fn read_seal(id: String, content: String) -> Option<Seal> {
    let seal = match SealedContent::read(&content) {
        SealedContent::Own(_) => Seal::Encrypted { id, content },
        SealedContent::Carried(seal) => seal,
    };
    let is_empty = matches!(&seal, Seal::Encrypted { content, .. } if content.is_empty());
    (!is_empty).then_some(seal)
}

fn read_call(mut item: Fields, input: &str) -> Result<ToolCall, Untranslatable> {
    let name = CallName::function(item.need_text("name")?);
    Ok(ToolCall {
        call_id: item.need_text("call_id")?,
        name: CallName { namespace: item.text("namespace")?, ..name },
        input: item.need_text(input)?,
    })
}

/// A search that OpenAI ran itself is left out; what it found is offered.
fn read_search_call(mut item: Fields) -> Result<Option<ToolCall>, Untranslatable> {
    let by_client = item.text("execution")?.is_none_or(|execution| execution == "client");
    let call_id = item.text("call_id")?;
    let input = match item.take("arguments") {
        Some(Value::String(text)) => text,
        Some(arguments) => arguments.to_string(),
        None => "{}".to_owned(),
    };
    match call_id {
        Some(call_id) if by_client => Ok(Some(ToolCall { call_id, name: CallName::tool_search(), input })),
        None if by_client => Err(item.wrong("call_id", "a text")),
        Some(_) | None => Ok(None),
    }
}

/// The tools found are offered from here on; the result names them as the model will see them.
fn read_found(mut item: Fields, offered: &mut Vec<Tool>) -> Result<Option<ToolResult>, Untranslatable> {
    let by_client = item.text("execution")?.is_none_or(|execution| execution == "client");
    let call_id = item.text("call_id")?;
    let tools = item.objects("tools")?;
    let mut found = Vec::new();
    read_tools(tools, &mut found)?;
    let names: Vec<String> = names_of(&found).map(|name| wire_name(&name)).collect();
    for tool in found {
        let name = CallName::of(&tool);
        if !offered.iter().any(|known| CallName::of(known) == name) {
            offered.push(tool);
        }
    }
    let parts = vec![Part::Text(Text::plain(json!({ FOUND: names }).to_string()))];
    match call_id {
        Some(call_id) if by_client => {
            Ok(Some(ToolResult { call_id, kind: CallKind::ToolSearch, parts, is_error: false, cache: None }))
        }
        None if by_client => Err(item.wrong("call_id", "a text")),
        Some(_) | None => Ok(None),
    }
}

fn read_result(mut item: Fields, kind: CallKind) -> Result<ToolResult, Untranslatable> {
    let call_id = item.need_text("call_id")?;
    let parts = read_content(&mut item, "output")?
        .ok_or_else(|| item.wrong("output", "a text or a list of parts"))?;
    Ok(ToolResult { call_id, kind, parts, is_error: false, cache: None })
}

/// The opening of a page that a search found is a step of that search, and is left out.
pub(super) fn read_web_search(mut item: Fields) -> Result<Option<WebSearchCall>, Untranslatable> {
    let id = item.text("id")?.unwrap_or_default();
    let Some(mut action) = item.object("action")? else {
        return Ok(Some(WebSearchCall { id, query: None }));
    };
    if action.kind()?.is_some_and(|kind| kind != "search") {
        return Ok(None);
    }
    let query = match action.text("query")? {
        Some(query) => Some(query),
        None => action.list("queries")?.and_then(|queries| queries.into_iter().find_map(into_text)),
    };
    Ok(Some(WebSearchCall { id, query: query.filter(|query| !query.is_empty()) }))
}

fn into_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// What OpenAI's own tools did: shown as text where it is text, else refused.
fn read_hosted(item: Fields, kind: &str) -> Result<Option<Item>, Untranslatable> {
    let role = match kind {
        "local_shell_call"
        | "shell_call"
        | "apply_patch_call"
        | "mcp_call"
        | "file_search_call"
        | "code_interpreter_call" => Role::Assistant,
        "local_shell_call_output" | "shell_call_output" | "apply_patch_call_output" => Role::User,
        "context_compaction" if item.get("encrypted_content").is_none() => return Ok(None),
        "mcp_list_tools" | "ghost_snapshot" => return Ok(None),
        "compaction" | "compaction_summary" | "compaction_trigger" | "context_compaction" => {
            return Err(item.refused(COMPACTED));
        }
        "item_reference" => {
            return Err(item.refused("nothing is stored there; send the item itself"));
        }
        _ => return Err(item.refused("this kind of item is known to OpenAI alone")),
    };
    let mut members = item.rest();
    for unsaid in ["id", "status", "call_id"] {
        members.remove(unsaid);
    }
    let text = format!("[{kind}] {}", Value::Object(members));
    Ok(Some(Item::Message(Message { role, parts: vec![Part::Text(Text::plain(text))] })))
}
