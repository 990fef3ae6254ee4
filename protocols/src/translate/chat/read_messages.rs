//! The `messages` of a request as items.

use serde_json::Value;

use super::fields::Fields;
use crate::conversation::{
    CallKind, CallName, File, Image, Item, Message, Part, Reasoning, Role, Source, Text, ToolCall,
    ToolResult, Untranslatable,
};

const ROLES: &str = "`system`, `developer`, `user`, `assistant`, `tool` or `function`";
const CONTENT: &str = "a text or an array of parts";
const DATA_URL: &str = "a data: URL with base64";

pub(super) fn read(fields: &mut Fields) -> Result<Vec<Item>, Untranslatable> {
    let messages = fields.list("messages")?.filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| fields.wrong("messages", "an array of at least one message"))?;
    let mut reader = Reader { items: Vec::with_capacity(messages.len()), calls: vec![] };
    for (at, message) in messages.into_iter().enumerate() {
        reader.read(at, Fields::of(message, format!("messages[{at}]"))?)?;
    }
    Ok(reader.items)
}

struct Reader {
    items: Vec<Item>,
    /// Calls so far, which results refer to.
    calls: Vec<(String, CallName)>,
}

impl Reader {
    fn read(&mut self, at: usize, mut message: Fields) -> Result<(), Untranslatable> {
        match message.need_text("role")?.as_str() {
            "system" => self.said(message, Role::System),
            "developer" => self.said(message, Role::Developer),
            "user" => self.said(message, Role::User),
            "assistant" => self.assistant(at, message),
            "tool" => self.result(message),
            "function" => self.function_result(message),
            _ => Err(message.wrong("role", ROLES)),
        }
    }

    fn said(&mut self, mut message: Fields, role: Role) -> Result<(), Untranslatable> {
        let parts = content(&mut message)?.ok_or_else(|| message.wrong("content", CONTENT))?;
        self.items.push(Item::Message(Message { role, parts }));
        Ok(())
    }

    fn assistant(&mut self, at: usize, mut message: Fields) -> Result<(), Untranslatable> {
        if message.take("audio").is_some() {
            return Err(message.not_carried("audio", "what was said aloud is kept by OpenAI alone"));
        }
        let thought = match message.text("reasoning_content")? {
            None => message.text("reasoning")?,
            thought => thought,
        };
        if let Some(text) = thought.filter(|text| !text.is_empty()) {
            self.items.push(Item::Reasoning(Reasoning { texts: vec![text], seal: None }));
        }
        let mut parts = content(&mut message)?.unwrap_or_default();
        parts.extend(message.text("refusal")?.filter(|text| !text.is_empty()).map(Part::Refusal));
        if !parts.is_empty() {
            self.items.push(Item::Message(Message { role: Role::Assistant, parts }));
        }
        for (nth, call) in message.list("tool_calls")?.unwrap_or_default().into_iter().enumerate() {
            let path = message.path_of(&format!("tool_calls[{nth}]"));
            self.called(tool_call(Fields::of(call, path)?)?);
        }
        if let Some(mut call) = message.object("function_call")? {
            // Calls of that form have no id; the place in the conversation pairs them with their results.
            let call_id = format!("call_function_{at}");
            let name = CallName::function(call.need_text("name")?);
            self.called(ToolCall { call_id, name, input: call.need_text("arguments")? });
        }
        Ok(())
    }

    fn called(&mut self, call: ToolCall) {
        self.calls.push((call.call_id.clone(), call.name.clone()));
        self.items.push(Item::ToolCall(call));
    }

    fn result(&mut self, mut message: Fields) -> Result<(), Untranslatable> {
        let call_id = message.need_text("tool_call_id")?;
        let called = self.calls.iter().rev().find(|(id, _)| *id == call_id);
        let Some((_, CallName { kind, .. })) = called else {
            return Err(message.wrong("tool_call_id", "the id of a call in a message before"));
        };
        let kind = *kind;
        let parts = content(&mut message)?.ok_or_else(|| message.wrong("content", CONTENT))?;
        self.push_result(call_id, kind, parts);
        Ok(())
    }

    fn function_result(&mut self, mut message: Fields) -> Result<(), Untranslatable> {
        let name = message.need_text("name")?;
        let called = self.calls.iter().rev().find(|(_, called)| called.name == name);
        let Some((call_id, _)) = called else {
            return Err(message.wrong("name", "the name of a function that was called before"));
        };
        let call_id = call_id.clone();
        let parts = content(&mut message)?.unwrap_or_default();
        self.push_result(call_id, CallKind::Function, parts);
        Ok(())
    }

    fn push_result(&mut self, call_id: String, kind: CallKind, parts: Vec<Part>) {
        self.items.push(Item::ToolResult(ToolResult { call_id, kind, parts, is_error: false, cache: None }));
    }
}

fn tool_call(mut call: Fields) -> Result<ToolCall, Untranslatable> {
    let call_id = call.need_text("id")?;
    let kind = call.text("type")?;
    match kind.as_deref() {
        None | Some("function") => {
            let mut function = call.need_object("function")?;
            let name = CallName::function(function.need_text("name")?);
            Ok(ToolCall { call_id, name, input: function.need_text("arguments")? })
        }
        Some("custom") => {
            let mut custom = call.need_object("custom")?;
            let name = CallName::custom(custom.need_text("name")?);
            Ok(ToolCall { call_id, name, input: custom.need_text("input")? })
        }
        Some(_) => Err(call.wrong("type", "`function` or `custom`")),
    }
}

/// The parts of a message's content; empty texts, which say nothing, are left out.
fn content(message: &mut Fields) -> Result<Option<Vec<Part>>, Untranslatable> {
    let parts = match message.take("content") {
        None => return Ok(None),
        Some(Value::String(text)) => vec![Part::Text(Text::plain(text))],
        Some(Value::Array(list)) => list
            .into_iter()
            .enumerate()
            .map(|(at, value)| part(Fields::of(value, message.path_of(&format!("content[{at}]")))?))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(message.wrong("content", CONTENT)),
    };
    let says_nothing = |part: &Part| matches!(part, Part::Text(text) if text.text.is_empty());
    Ok(Some(parts.into_iter().filter(|part| !says_nothing(part)).collect()))
}

fn part(mut part: Fields) -> Result<Part, Untranslatable> {
    match part.need_text("type")?.as_str() {
        "text" => Ok(Part::Text(Text::plain(part.need_text("text")?))),
        "refusal" => Ok(Part::Refusal(part.need_text("refusal")?)),
        "image_url" => {
            let mut image = part.need_object("image_url")?;
            let url = image.need_text("url")?;
            let source = source(url)
                .ok_or_else(|| image.wrong("url", "an https: address or a data: URL with base64"))?;
            Ok(Part::Image(Image { source, detail: image.text("detail")?, cache: None }))
        }
        "file" => file(part.need_object("file")?).map(Part::File),
        "input_audio" => Err(part.not_carried("input_audio", "it does not listen; send a transcript")),
        _ => Err(part.wrong("type", "`text`, `image_url`, `input_audio`, `file` or `refusal`")),
    }
}

fn file(mut file: Fields) -> Result<File, Untranslatable> {
    if file.take("file_id").is_some() {
        return Err(file.not_carried("file_id", "the file is kept by OpenAI alone; send it as `file_data`"));
    }
    let data = file.need_text("file_data")?;
    match source(data) {
        Some(source @ Source::Data { .. }) => Ok(File { source, name: file.text("filename")?, cache: None }),
        Some(Source::Url(_)) | None => Err(file.wrong("file_data", DATA_URL)),
    }
}

fn source(mut url: String) -> Option<Source> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Some(Source::Url(url));
    }
    let comma = url.strip_prefix("data:")?.find(',')? + "data:".len();
    let base64 = url.split_off(comma + 1);
    let described = url["data:".len()..comma].strip_suffix(";base64")?;
    let media_type = described.split(';').next().filter(|name| name.contains('/'))?.to_owned();
    Some(Source::Data { media_type, base64 })
}
