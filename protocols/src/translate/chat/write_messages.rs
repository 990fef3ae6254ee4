//! Items as the `messages` of a chat provider.
//!
//! The provider wants every call of an assistant message answered by the messages right after it, so a
//! result is written behind its call wherever it stood. A call without a result, or a result without a
//! call, has no form here, and leaving either out would make the model repeat what was done: refused.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use super::custom;
use super::vendor::Vendor;
use super::write_request::not_carried;
use crate::conversation::{
    CallKind, Conversation, File, Image, Item, Message, Part, Reasoning, Role, Source, ToolCall, ToolResult,
    Untranslatable, wire_name,
};

/// Between texts that were apart, where a vendor takes a single text.
const BETWEEN_TEXTS: &str = "\n\n";

pub(super) fn write(conversation: &Conversation, vendor: Vendor) -> Result<Vec<Value>, Untranslatable> {
    let mut results: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (at, item) in conversation.items.iter().enumerate() {
        if let Item::ToolResult(result) = item {
            results.entry(&result.call_id).or_default().push_back(at);
        }
    }
    let written = vec![false; conversation.items.len()];
    let mut writer = Writer {
        vendor,
        items: &conversation.items,
        results,
        written,
        messages: vec![],
        turn: Turn::default(),
    };
    if !conversation.instructions.is_empty() {
        let texts: Vec<&str> = conversation.instructions.iter().map(|text| text.text.as_str()).collect();
        writer.messages.push(json!({ "role": "system", "content": text_content(&texts, vendor) }));
    }
    for (at, item) in conversation.items.iter().enumerate() {
        writer.item(at, item)?;
    }
    writer.end_turn()?;
    if writer.messages.is_empty() {
        return Err(Untranslatable::NotReadable { reason: "the conversation is empty".into() });
    }
    Ok(writer.messages)
}

struct Writer<'a> {
    vendor: Vendor,
    items: &'a [Item],
    /// Where the results of a call stand that are not written yet; some clients use an id again.
    results: HashMap<&'a str, VecDeque<usize>>,
    /// By place among the items: results that are.
    written: Vec<bool>,
    messages: Vec<Value>,
    turn: Turn<'a>,
}

/// The assistant message that is being put together.
#[derive(Default)]
struct Turn<'a> {
    thoughts: Vec<&'a str>,
    texts: Vec<&'a str>,
    refusals: Vec<&'a str>,
    calls: Vec<&'a ToolCall>,
}

impl Turn<'_> {
    fn has_words(&self) -> bool {
        !self.texts.is_empty() || !self.refusals.is_empty()
    }
}

impl<'a> Writer<'a> {
    fn item(&mut self, at: usize, item: &'a Item) -> Result<(), Untranslatable> {
        match item {
            Item::Reasoning(Reasoning { texts, seal }) => {
                self.begin_words()?;
                // What a provider of another dialect has sealed is not this one's own thought.
                if seal.is_none() {
                    self.turn.thoughts.extend(texts.iter().map(String::as_str));
                }
            }
            Item::Message(Message { role: Role::Assistant, parts }) => {
                self.begin_words()?;
                self.assistant(parts)?;
            }
            Item::Message(Message { role, parts }) => {
                self.end_turn()?;
                self.said(*role, parts)?;
            }
            Item::ToolCall(call) => {
                // One id twice in a message could not be told apart.
                if self.turn.calls.iter().any(|before| before.call_id == call.call_id) {
                    self.end_turn()?;
                }
                self.turn.calls.push(call);
            }
            Item::ToolResult(result) => {
                self.end_turn()?;
                if !self.written[at] {
                    let reason = format!("the result of `{}` comes without a call before it", result.call_id);
                    return Err(Untranslatable::NotReadable { reason });
                }
            }
            // The provider's own doing, of which its answer tells what matters.
            Item::WebSearch(_) => {}
        }
        Ok(())
    }

    /// Words after words are a message of their own; after calls they cannot be, as results come next.
    fn begin_words(&mut self) -> Result<(), Untranslatable> {
        if self.turn.has_words() && self.turn.calls.is_empty() { self.end_turn() } else { Ok(()) }
    }

    fn assistant(&mut self, parts: &'a [Part]) -> Result<(), Untranslatable> {
        for part in parts {
            match part {
                Part::Text(text) => self.turn.texts.push(&text.text),
                Part::Refusal(text) => self.turn.refusals.push(text),
                Part::Image(_) | Part::File(_) => {
                    return Err(not_carried(
                        "messages",
                        "pictures and files stand in the user's messages only",
                    ));
                }
            }
        }
        Ok(())
    }

    fn said(&mut self, role: Role, parts: &'a [Part]) -> Result<(), Untranslatable> {
        let (name, user) = match role {
            Role::User => ("user", true),
            // Deepseek knows no developer; OpenAI takes the one for the other.
            Role::System | Role::Developer => ("system", false),
            Role::Assistant => ("assistant", false),
        };
        let is_text = |part: &Part| matches!(part, Part::Text(_) | Part::Refusal(_));
        let content = if parts.iter().all(is_text) {
            text_content(&texts(parts), self.vendor)
        } else if user {
            parts.iter().map(write_part).collect::<Result<Vec<_>, _>>()?.into()
        } else {
            return Err(not_carried("messages", "pictures and files stand in the user's messages only"));
        };
        self.messages.push(json!({ "role": name, "content": content }));
        Ok(())
    }

    /// Writes the assistant message and the results of its calls.
    fn end_turn(&mut self) -> Result<(), Untranslatable> {
        let turn = std::mem::take(&mut self.turn);
        if !turn.has_words() && turn.calls.is_empty() {
            return Ok(());
        }
        self.messages.push(assistant_message(&turn, self.vendor));
        let mut pictures = vec![];
        for call in turn.calls {
            let result = self.result_of(call)?;
            let content = text_content(&texts(&result.parts), self.vendor);
            self.messages.push(json!({ "role": "tool", "tool_call_id": call.call_id, "content": content }));
            write_pictures(result, &mut pictures)?;
        }
        if !pictures.is_empty() {
            self.messages.push(json!({ "role": "user", "content": pictures }));
        }
        Ok(())
    }

    fn result_of(&mut self, call: &ToolCall) -> Result<&'a ToolResult, Untranslatable> {
        let at = self.results.get_mut(call.call_id.as_str()).and_then(VecDeque::pop_front);
        let items: &'a [Item] = self.items;
        if let Some(at) = at
            && let Some(Item::ToolResult(result)) = items.get(at)
        {
            self.written[at] = true;
            return Ok(result);
        }
        let reason = format!("the tool call `{}` has no result; every call needs one", call.call_id);
        Err(Untranslatable::NotReadable { reason })
    }
}

fn assistant_message(turn: &Turn, vendor: Vendor) -> Value {
    let mut message = Map::from_iter([("role".to_owned(), Value::from("assistant"))]);
    let content = if turn.texts.is_empty() { Value::Null } else { text_content(&turn.texts, vendor) };
    message.insert("content".into(), content);
    if !turn.refusals.is_empty() {
        message.insert("refusal".into(), turn.refusals.concat().into());
    }
    let thoughts = turn.thoughts.join(BETWEEN_TEXTS);
    let wanted = match vendor {
        // Never shown, so never wanted back.
        Vendor::OpenAi => false,
        // In a conversation with tools it refuses any message of its own without; empty will do where
        // another model spoke.
        Vendor::Deepseek => true,
        Vendor::Other => !turn.calls.is_empty() && !thoughts.is_empty(),
    };
    if wanted {
        message.insert("reasoning_content".into(), thoughts.into());
    }
    if !turn.calls.is_empty() {
        message.insert("tool_calls".into(), turn.calls.iter().map(|call| write_call(call)).collect());
    }
    Value::Object(message)
}

fn write_call(call: &ToolCall) -> Value {
    let arguments = match call.name.kind {
        CallKind::Custom => custom::wrap(&call.input),
        CallKind::Function | CallKind::ToolSearch if call.input.is_empty() => "{}".to_owned(),
        CallKind::Function | CallKind::ToolSearch => call.input.clone(),
    };
    let name = wire_name(&call.name);
    json!({ "id": call.call_id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

/// Pictures and files of a result, for the user's message behind the results: a tool's message has
/// room for text only.
fn write_pictures(result: &ToolResult, pictures: &mut Vec<Value>) -> Result<(), Untranslatable> {
    let mut announced = false;
    for part in &result.parts {
        if let Part::Image(_) | Part::File(_) = part {
            if !announced {
                let text = format!("Attached to the result of tool call {}:", result.call_id);
                pictures.push(json!({ "type": "text", "text": text }));
                announced = true;
            }
            pictures.push(write_part(part)?);
        }
    }
    Ok(())
}

fn texts(parts: &[Part]) -> Vec<&str> {
    let mut texts = vec![];
    for part in parts {
        match part {
            Part::Text(text) => texts.push(text.text.as_str()),
            Part::Refusal(text) => texts.push(text.as_str()),
            Part::Image(_) | Part::File(_) => {}
        }
    }
    texts
}

fn text_content(texts: &[&str], vendor: Vendor) -> Value {
    match texts {
        [] => "".into(),
        [text] => (*text).into(),
        _ if vendor == Vendor::Deepseek => texts.join(BETWEEN_TEXTS).into(),
        _ => texts.iter().map(|text| json!({ "type": "text", "text": text })).collect(),
    }
}

fn write_part(part: &Part) -> Result<Value, Untranslatable> {
    Ok(match part {
        Part::Text(text) => json!({ "type": "text", "text": text.text }),
        Part::Refusal(text) => json!({ "type": "text", "text": text }),
        Part::Image(Image { source, detail, .. }) => {
            let mut image = Map::from_iter([("url".to_owned(), Value::from(url(source)))]);
            // `original` is a word of Responses alone.
            if let Some(detail) = detail.as_deref().filter(|detail| *detail != "original") {
                image.insert("detail".into(), detail.into());
            }
            json!({ "type": "image_url", "image_url": image })
        }
        Part::File(File { source: source @ Source::Data { .. }, name, .. }) => {
            let mut file = Map::from_iter([("file_data".to_owned(), Value::from(url(source)))]);
            if let Some(name) = name {
                file.insert("filename".into(), name.as_str().into());
            }
            json!({ "type": "file", "file": file })
        }
        Part::File(File { source: Source::Url(_), .. }) => {
            return Err(not_carried("file_url", "it fetches no files; send the file's data"));
        }
    })
}

fn url(source: &Source) -> String {
    match source {
        Source::Url(url) => url.clone(),
        Source::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
    }
}
