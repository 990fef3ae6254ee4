//! Puts a stream's pieces together again: the object that the same request would have got unstreamed,
//! for whoever keeps answers.
//!
//! A Responses stream ends with the whole object; where a provider leaves its output out, the items
//! that came before are put in. A chat stream has to be added up.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::restate::{member, restate};
use super::sse::Frame;

/// Choices and tool calls of one chat answer; more is a broken provider.
const MAX_PARTS: usize = 1_024;

/// Texts that arrive piece by piece.
const GROWING: [&str; 6] = ["content", "refusal", "reasoning", "reasoning_content", "arguments", "input"];

/// Reads the frames of one answer, in its client's dialect.
#[derive(Debug)]
pub struct Assembler {
    /// Bytes of frames; an answer that is longer is given up.
    limit: usize,
    seen: usize,
    complete: bool,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Response { items: Vec<Box<RawValue>>, last: Option<String> },
    Completion(Option<Map<String, Value>>),
    GivenUp,
}

/// What ends a chat stream.
const DONE: &[u8] = b"[DONE]";

impl Assembler {
    pub fn new(protocol: Protocol, limit: usize) -> Self {
        let answer = match protocol {
            Protocol::Responses => Answer::Response { items: vec![], last: None },
            Protocol::Chat => Answer::Completion(None),
            // Neither is kept by anyone.
            Protocol::Completions | Protocol::Messages => Answer::GivenUp,
        };
        Self { limit, seen: 0, complete: false, answer }
    }

    pub fn observe(&mut self, frame: &Frame) {
        let Some(data) = frame.data() else { return };
        match &mut self.answer {
            Answer::Response { items, last } => {
                self.seen += observe_event(&data, items, last);
                self.complete = last.is_some();
            }
            Answer::Completion(completion) => {
                self.seen += data.len();
                self.complete = *data == *DONE;
                if observe_chunk(&data, completion).is_none() {
                    self.answer = Answer::GivenUp;
                }
            }
            Answer::GivenUp => {}
        }
        // A chunk says little in many bytes.
        if self.seen / 16 > self.limit {
            self.answer = Answer::GivenUp;
        }
    }

    /// Whether the frame has come after which nothing is added.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The whole object; `None` where the answer did not end well or was too long.
    pub fn finish(self) -> Option<Bytes> {
        match self.answer {
            Answer::Response { items, last } => {
                let last = last?;
                let is_empty = member(&last, "output").is_none_or(|at| last[at].len() <= "[]".len());
                if !is_empty || items.is_empty() {
                    return Some(last.into());
                }
                let output = serde_json::to_string(&items).ok()?;
                Some(restate(&last, &[("output", output)]).into())
            }
            Answer::Completion(completion) => {
                let completion = completion?;
                let finished = completion.get("choices")?.as_array()?.iter();
                finished
                    .clone()
                    .all(|choice| choice["finish_reason"].is_string())
                    .then(|| Value::Object(completion).to_string().into())
            }
            Answer::GivenUp => None,
        }
    }
}

/// Takes what is kept of an event; returns how many bytes that was.
fn observe_event(data: &[u8], items: &mut Vec<Box<RawValue>>, last: &mut Option<String>) -> usize {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        item: Option<&'a RawValue>,
        #[serde(borrow)]
        response: Option<&'a RawValue>,
    }
    let wanted: [&[u8]; 3] = [b"output_item.done", b"response.completed", b"response.incomplete"];
    if !wanted.iter().any(|name| memchr::memmem::find(data, name).is_some()) {
        return 0;
    }
    let Ok(event) = serde_json::from_slice::<Event>(data) else { return 0 };
    match (&*event.kind, event.item, event.response) {
        ("response.output_item.done", Some(item), _) => items.push(item.to_owned()),
        ("response.completed" | "response.incomplete", _, Some(response)) => {
            *last = Some(response.get().to_owned());
        }
        _ => return 0,
    }
    data.len()
}

/// Adds a chunk; `None` where the stream is none that can be added up.
fn observe_chunk(data: &[u8], completion: &mut Option<Map<String, Value>>) -> Option<()> {
    if data == DONE {
        return Some(());
    }
    let Value::Object(mut chunk) = crate::json::value(data).ok()? else { return None };
    if chunk.contains_key("error") {
        return None;
    }
    let choices = chunk.remove("choices");
    let completion = completion.get_or_insert_with(|| {
        let mut begun = Map::new();
        begun.insert("choices".into(), json!([]));
        begun
    });
    for (name, value) in chunk {
        if !value.is_null() || !completion.contains_key(&name) {
            completion.insert(name, value);
        }
    }
    completion.insert("object".into(), "chat.completion".into());
    completion.remove("obfuscation");
    let all = completion.get_mut("choices")?.as_array_mut()?;
    for choice in choices.as_ref().and_then(Value::as_array).into_iter().flatten() {
        add_choice(all, choice)?;
    }
    Some(())
}

fn add_choice(all: &mut Vec<Value>, piece: &Value) -> Option<()> {
    let choice = part(all, piece)?;
    if choice.get("message").is_none() {
        choice["message"] = json!({"role": "assistant", "content": null, "refusal": null});
        choice["finish_reason"] = Value::Null;
        choice["logprobs"] = Value::Null;
    }
    if let Some(reason) = piece.get("finish_reason").filter(|reason| reason.is_string()) {
        choice["finish_reason"] = reason.clone();
    }
    add_logprobs(&mut choice["logprobs"], piece.get("logprobs"));
    match piece.get("delta") {
        Some(Value::Object(delta)) => grow(&mut choice["message"], delta),
        Some(_) | None => Some(()),
    }
}

/// The entry of a list whose `index` is that of `piece`; made if need be.
fn part<'a>(all: &'a mut Vec<Value>, piece: &Value) -> Option<&'a mut Value> {
    let index = piece.get("index").cloned().unwrap_or_else(|| json!(0));
    let at = match all.iter().position(|known| known["index"] == index) {
        Some(at) => at,
        None if all.len() < MAX_PARTS => {
            all.push(json!({ "index": index }));
            all.len() - 1
        }
        None => return None,
    };
    all.get_mut(at)
}

fn add_logprobs(all: &mut Value, piece: Option<&Value>) {
    let Some(Value::Object(piece)) = piece else { return };
    for (name, tokens) in piece {
        let Some(tokens) = tokens.as_array() else { continue };
        if all.is_null() {
            *all = json!({});
        }
        match all.get_mut(name).and_then(Value::as_array_mut) {
            Some(before) => before.extend(tokens.iter().cloned()),
            None => all[name] = json!(tokens),
        }
    }
}

/// Adds a delta to what has come of the same object.
fn grow(whole: &mut Value, delta: &Map<String, Value>) -> Option<()> {
    for (name, piece) in delta {
        match piece {
            Value::Null => {}
            Value::String(text) if GROWING.contains(&name.as_str()) => match whole.get_mut(name) {
                Some(Value::String(before)) => before.push_str(text),
                Some(_) | None => whole[name] = piece.clone(),
            },
            Value::Array(calls) if name == "tool_calls" => {
                if !whole[name].is_array() {
                    whole[name] = json!([]);
                }
                let all = whole[name].as_array_mut()?;
                for call in calls {
                    let known = part(all, call)?;
                    grow(known, call.as_object()?)?;
                }
            }
            Value::Object(inner) => {
                if !whole[name].is_object() {
                    whole[name] = json!({});
                }
                grow(&mut whole[name], inner)?;
            }
            other => whole[name] = other.clone(),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
