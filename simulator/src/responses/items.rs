//! The items of a Responses request's `input`.

use serde_json::Value;

use crate::check::{self, Fields};
use crate::refusal::Refusal;

const PART_TYPES: &[&str] = &[
    "input_text",
    "output_text",
    "text",
    "summary_text",
    "reasoning_text",
    "refusal",
    "input_image",
    "input_file",
    "input_audio",
    "encrypted_content",
];
const PARTS_IN_WORDS: &str =
    "'input_text', 'input_image', 'output_text', 'refusal', 'input_file', 'input_audio', and 'summary_text'";

/// What the input says, as far as the answer depends on it.
#[derive(Debug, Default)]
pub struct Conversation {
    pub last_user_text: String,
    pub ends_in_tool_output: bool,
}

/// Checks the input. With `continued`, calls may stand in an earlier response.
pub fn read_input(input: &Value, continued: bool) -> Result<Conversation, Refusal> {
    let fields_of_nothing = |value: &Value| Refusal::WrongType {
        param: "input".to_owned(),
        expected: "a string or an array",
        got: if value.is_object() { "an object" } else { "a scalar" },
    };
    let items = match input {
        Value::String(text) if text.is_empty() => {
            return Err(Refusal::rule(
                "input",
                "Invalid 'input': empty string. Expected a non-empty string or array.",
            ));
        }
        Value::String(text) => {
            return Ok(Conversation { last_user_text: text.clone(), ends_in_tool_output: false });
        }
        Value::Array(items) => items,
        other => return Err(fields_of_nothing(other)),
    };
    if items.is_empty() && !continued {
        return Err(Refusal::Empty("input".to_owned()));
    }
    let mut reader = Reader::default();
    for (at, item) in items.iter().enumerate() {
        reader.read_item(item, &format!("input[{at}]"), continued)?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    conversation: Conversation,
    /// Calls seen so far, with whether their output has come.
    calls: Vec<(String, bool)>,
}

impl Reader {
    fn read_item(&mut self, item: &Value, path: &str, continued: bool) -> Result<(), Refusal> {
        let item = Fields::new(check::element(item, path)?, path);
        let kind = match item.string("type")? {
            Some(kind) => kind,
            None if item.get("role").is_some() => "message",
            None => return Err(Refusal::Missing(item.path_of("type"))),
        };
        match kind {
            "message" => self.read_message(item)?,
            "function_call" => {
                item.need_string("name")?;
                item.need_string("arguments")?;
                self.called(item.need_string("call_id")?);
            }
            "custom_tool_call" => {
                item.need_string("name")?;
                item.need_string("input")?;
                self.called(item.need_string("call_id")?);
            }
            "function_call_output" => self.answered(item, continued, "function call output")?,
            "custom_tool_call_output" => {
                self.answered(item, continued, "custom tool call output")?;
            }
            // Reasoning, references, hosted tools and what is yet to be invented.
            _ => {}
        }
        Ok(())
    }

    fn read_message(&mut self, item: Fields<'_>) -> Result<(), Refusal> {
        item.need("role")?;
        let role = item.choice(
            "role",
            &["user", "assistant", "system", "developer"],
            "'assistant', 'system', 'developer', and 'user'",
        )?;
        let text = content_text(item)?;
        if role == Some("user") {
            self.conversation.last_user_text = text;
        }
        self.conversation.ends_in_tool_output = false;
        Ok(())
    }

    fn called(&mut self, call_id: &str) {
        self.calls.push((call_id.to_owned(), false));
        self.conversation.ends_in_tool_output = false;
    }

    fn answered(&mut self, item: Fields<'_>, continued: bool, what: &str) -> Result<(), Refusal> {
        let call_id = item.need_string("call_id")?;
        let output = item.need("output")?;
        if !output.is_string() && !output.is_array() {
            return Err(item.wrong_type("output", "a string or an array", output));
        }
        match self.calls.iter_mut().find(|(id, _)| id == call_id) {
            Some((_, answered)) => *answered = true,
            None if continued => {}
            None => {
                return Err(Refusal::rule(
                    "input",
                    format!("No tool call found for {what} with call_id {call_id}."),
                ));
            }
        }
        self.conversation.ends_in_tool_output = true;
        Ok(())
    }

    fn finish(self) -> Result<Conversation, Refusal> {
        match self.calls.iter().find(|(_, answered)| !answered) {
            Some((call_id, _)) => {
                Err(Refusal::rule("input", format!("No tool output found for function call {call_id}.")))
            }
            None => Ok(self.conversation),
        }
    }
}

fn content_text(item: Fields<'_>) -> Result<String, Refusal> {
    let content = item.need("content")?;
    if let Some(text) = content.as_str() {
        return Ok(text.to_owned());
    }
    let Some(parts) = content.as_array() else {
        return Err(item.wrong_type("content", "a string or an array", content));
    };
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        let path = item.path_of(&format!("content[{at}]"));
        let part = Fields::new(check::element(part, &path)?, &path);
        part.need("type")?;
        part.choice("type", PART_TYPES, PARTS_IN_WORDS)?;
        text.push_str(part.string("text")?.unwrap_or_default());
    }
    Ok(text)
}
