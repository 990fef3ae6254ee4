//! The `messages` of a Chat Completions request.

use serde_json::Value;

use crate::check::{self, Fields};
use crate::refusal::Refusal;

const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool", "function"];
const ROLES_IN_WORDS: &str = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'";
const PART_TYPES: &[&str] = &["text", "image_url", "input_audio", "file", "refusal"];
const PARTS_IN_WORDS: &str = "'text', 'image_url', 'input_audio', 'refusal', and 'file'";

#[derive(Debug, Default)]
pub struct Conversation {
    pub last_user_text: String,
    pub ends_in_tool_output: bool,
}

pub fn read(fields: Fields<'_>) -> Result<Conversation, Refusal> {
    fields.need("messages")?;
    let messages = fields.array("messages")?.into_iter().flatten();
    let mut reader = Reader::default();
    let mut count = 0;
    for (at, message) in messages.enumerate() {
        let path = format!("messages[{at}]");
        reader.read(Fields::new(check::element(message, &path)?, &path))?;
        count += 1;
    }
    if count == 0 {
        return Err(Refusal::Empty("messages".to_owned()));
    }
    reader.all_answered()?;
    Ok(reader.conversation)
}

#[derive(Default)]
struct Reader {
    conversation: Conversation,
    /// Calls of the last assistant message that no tool message has answered yet.
    open_calls: Vec<String>,
    last_had_calls: bool,
}

impl Reader {
    fn read(&mut self, message: Fields<'_>) -> Result<(), Refusal> {
        message.need("role")?;
        let role = message.choice("role", ROLES, ROLES_IN_WORDS)?.unwrap_or_default();
        if role == "tool" {
            return self.answered(message);
        }
        self.all_answered()?;
        self.last_had_calls = false;
        self.conversation.ends_in_tool_output = role == "function";
        match role {
            "assistant" => self.assistant(message),
            "user" => {
                self.conversation.last_user_text = content_text(message)?;
                Ok(())
            }
            _ => content_text(message).map(|_| ()),
        }
    }

    fn assistant(&mut self, message: Fields<'_>) -> Result<(), Refusal> {
        let calls = message.array("tool_calls")?;
        for (at, call) in calls.into_iter().flatten().enumerate() {
            let path = message.path_of(&format!("tool_calls[{at}]"));
            let call = Fields::new(check::element(call, &path)?, &path);
            self.open_calls.push(call.need_string("id")?.to_owned());
            let kind = call.need_string("type")?;
            let definition_path = call.path_of(kind);
            let definition = Fields::new(call.need_object(kind)?, &definition_path);
            definition.need_string("name")?;
            definition.need_string(if kind == "custom" { "input" } else { "arguments" })?;
            self.last_had_calls = true;
        }
        let silent = self.last_had_calls
            || message.get("refusal").is_some()
            || message.get("function_call").is_some()
            || message.get("audio").is_some();
        if message.get("content").is_none() && silent {
            return Ok(());
        }
        content_text(message).map(|_| ())
    }

    fn answered(&mut self, message: Fields<'_>) -> Result<(), Refusal> {
        let call_id = message.need_string("tool_call_id")?;
        content_text(message)?;
        if !self.last_had_calls {
            return Err(Refusal::rule(
                message.path_of("role"),
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
            ));
        }
        let Some(at) = self.open_calls.iter().position(|id| id == call_id) else {
            return Err(Refusal::rule(
                message.path_of("tool_call_id"),
                format!(
                    "Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous message."
                ),
            ));
        };
        self.open_calls.remove(at);
        self.conversation.ends_in_tool_output = true;
        Ok(())
    }

    fn all_answered(&self) -> Result<(), Refusal> {
        if self.open_calls.is_empty() {
            return Ok(());
        }
        Err(Refusal::rule(
            "messages",
            format!(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
                self.open_calls.join(", ")
            ),
        ))
    }
}

fn content_text(message: Fields<'_>) -> Result<String, Refusal> {
    let content = message.need("content")?;
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) if parts.is_empty() => Err(Refusal::Empty(message.path_of("content"))),
        Value::Array(parts) => {
            let mut text = String::new();
            for (at, part) in parts.iter().enumerate() {
                let path = message.path_of(&format!("content[{at}]"));
                let part = Fields::new(check::element(part, &path)?, &path);
                part.need("type")?;
                if part.choice("type", PART_TYPES, PARTS_IN_WORDS)? == Some("text") {
                    text.push_str(part.need_string("text")?);
                }
            }
            Ok(text)
        }
        other => Err(message.wrong_type("content", "a string or an array", other)),
    }
}
