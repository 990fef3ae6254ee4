//! The `system` and `messages` of a Messages request.

use serde_json::Value;

use crate::check::{self, Fields};
use crate::refusal::Refusal;

#[derive(Debug, Default)]
pub struct Conversation {
    pub last_user_text: String,
    pub ends_in_tool_output: bool,
}

/// What betas let a message hold.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Role `system`.
    pub system: bool,
    /// Its own `output_config`.
    pub output_config: bool,
}

/// A string, or text blocks.
pub fn check_system(fields: Fields<'_>) -> Result<(), Refusal> {
    match fields.get("system") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => {
            for (at, block) in blocks.iter().enumerate() {
                let path = format!("system[{at}]");
                let block = Fields::new(check::element(block, &path)?, &path);
                block.need("type")?;
                block.choice("type", &["text"], "'text'")?;
                block.need_string("text")?;
            }
            Ok(())
        }
        Some(other) => Err(fields.wrong_type("system", "a valid string or list", other)),
    }
}

/// Checks the messages, which hold what betas bring only where `allowed`.
pub fn read(fields: Fields<'_>, allowed: Allowed) -> Result<Conversation, Refusal> {
    fields.need("messages")?;
    let messages = fields.array("messages")?.map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return Err(Refusal::rule("messages", "messages: at least one message is required"));
    }
    let mut reader = Reader::default();
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages[{at}]");
        let message = Fields::new(check::element(message, &path)?, &path);
        if allowed.output_config {
            message.only(&["role", "content", "output_config"])?;
            message.object("output_config")?;
        } else {
            message.only(&["role", "content"])?;
        }
        message.need("role")?;
        let role = if allowed.system {
            message.choice("role", &["user", "assistant", "system"], "'user', 'assistant' or 'system'")?
        } else {
            message.choice("role", &["user", "assistant"], "'user' or 'assistant'")?
        };
        let seen = read_content(message, at)?;
        match role {
            Some("user") => reader.user(seen, at)?,
            Some("assistant") => reader.assistant(seen, at)?,
            _ => {}
        }
    }
    reader.all_answered()?;
    Ok(reader.conversation)
}

/// What one message holds.
#[derive(Default)]
struct Seen {
    text: Option<String>,
    tool_uses: Vec<String>,
    /// Tool results with the block they stand in.
    tool_results: Vec<(usize, String)>,
}

#[derive(Default)]
struct Reader {
    conversation: Conversation,
    /// Calls of the last assistant message, and where it stands.
    open_calls: Vec<String>,
    asked_at: usize,
}

impl Reader {
    fn user(&mut self, seen: Seen, at: usize) -> Result<(), Refusal> {
        for (block, id) in &seen.tool_results {
            let Some(open) = self.open_calls.iter().position(|open| open == id) else {
                return Err(Refusal::rule(
                    format!("messages[{at}].content[{block}]"),
                    format!(
                        "messages.{at}.content.{block}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                    ),
                ));
            };
            self.open_calls.remove(open);
        }
        self.all_answered()?;
        self.conversation.ends_in_tool_output = !seen.tool_results.is_empty();
        if let Some(text) = seen.text {
            self.conversation.last_user_text = text;
        }
        Ok(())
    }

    fn assistant(&mut self, seen: Seen, at: usize) -> Result<(), Refusal> {
        self.all_answered()?;
        if let Some((block, id)) = seen.tool_results.first() {
            return Err(Refusal::rule(
                format!("messages[{at}].content[{block}]"),
                format!(
                    "messages.{at}.content.{block}: `tool_result` blocks can only be in `user` messages: {id}"
                ),
            ));
        }
        self.open_calls = seen.tool_uses;
        self.asked_at = at;
        self.conversation.ends_in_tool_output = false;
        Ok(())
    }

    fn all_answered(&self) -> Result<(), Refusal> {
        if self.open_calls.is_empty() {
            return Ok(());
        }
        Err(Refusal::rule(
            format!("messages[{}]", self.asked_at),
            format!(
                "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
                self.asked_at,
                self.open_calls.join(", ")
            ),
        ))
    }
}

fn read_content(message: Fields<'_>, at: usize) -> Result<Seen, Refusal> {
    let content = message.need("content")?;
    let mut seen = Seen::default();
    match content {
        Value::String(text) if text.is_empty() => Err(empty(at)),
        Value::String(text) => {
            seen.text = Some(text.clone());
            Ok(seen)
        }
        Value::Array(blocks) if blocks.is_empty() => Err(empty(at)),
        Value::Array(blocks) => {
            for (number, block) in blocks.iter().enumerate() {
                let path = message.path_of(&format!("content[{number}]"));
                let block = Fields::new(check::element(block, &path)?, &path);
                read_block(block, number, &mut seen)?;
            }
            Ok(seen)
        }
        other => Err(message.wrong_type("content", "a valid string or list", other)),
    }
}

fn read_block(block: Fields<'_>, number: usize, seen: &mut Seen) -> Result<(), Refusal> {
    match block.need_string("type")? {
        "text" => {
            let text = block.need_string("text")?;
            if text.is_empty() {
                return Err(Refusal::rule(
                    block.path_of("text"),
                    "messages: text content blocks must be non-empty",
                ));
            }
            seen.text.get_or_insert_default().push_str(text);
        }
        "tool_use" => {
            block.need_string("name")?;
            block.need_object("input")?;
            seen.tool_uses.push(block.need_string("id")?.to_owned());
        }
        "tool_result" => {
            let id = block.need_string("tool_use_id")?;
            block.boolean("is_error")?;
            seen.tool_results.push((number, id.to_owned()));
        }
        "image" | "document" => {
            block.need_object("source")?;
        }
        "thinking" => {
            block.need_string("thinking")?;
            block.need_string("signature")?;
        }
        // Server tools' blocks and what is yet to be invented.
        _ => {}
    }
    Ok(())
}

fn empty(at: usize) -> Refusal {
    Refusal::rule(
        format!("messages[{at}].content"),
        format!(
            "messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        ),
    )
}
