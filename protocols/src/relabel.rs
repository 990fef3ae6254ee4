//! Keeps the client's label in the answer's `model`, whatever the provider calls the model.
//!
//! Only the value at the dialect's own place is cut out and replaced: the top of a chat chunk or of
//! a body, `response.model`, `message.model`. What the model wrote is never touched, even where it
//! looks the same.

use std::ops::Range;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::{Walk, object, range_in};
use super::sse::Frame;

/// Puts one label into every frame of a stream, or into a body.
#[derive(Debug)]
pub struct Relabeler {
    protocol: Protocol,
    /// The label as JSON, quotes included.
    label: String,
    /// `"model":"…"` as this stream's chunks have said it.
    seen: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Labelled<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

const MODEL_KEY: &[u8] = br#""model":"#;

impl Relabeler {
    pub fn new(protocol: Protocol, label: &str) -> Relabeler {
        Relabeler { protocol, label: Value::from(label).to_string(), seen: None }
    }

    /// The frame with the label in its place; the same bytes where it says so already, or names no
    /// model.
    pub fn frame(&mut self, frame: &Frame) -> Bytes {
        let untouched = || frame.bytes().clone();
        let Some(data) = frame.data() else { return untouched() };
        let found = match self.protocol {
            Protocol::Chat | Protocol::Completions => self.chat_model(&data),
            Protocol::Responses => model_of_response(&data),
            Protocol::Messages => model_of_message(&data),
        };
        let Some(at) = found.filter(|at| data[at.clone()] != *self.label.as_bytes()) else {
            return untouched();
        };
        match frame.data_range() {
            Some(line) => self.put(frame.bytes(), line.start + at.start..line.start + at.end),
            None => frame.with_data(&self.put(&data, at)),
        }
    }

    /// The body with the label as its top-level `model`.
    pub fn body(&self, body: &Bytes) -> Bytes {
        match top_model(body) {
            Some(at) if body[at.clone()] != *self.label.as_bytes() => self.put(body, at),
            Some(_) | None => body.clone(),
        }
    }

    fn put(&self, bytes: &[u8], at: Range<usize>) -> Bytes {
        [&bytes[..at.start], self.label.as_bytes(), &bytes[at.end..]].concat().into()
    }

    /// Every chunk names the model, nearly always in the same bytes and before its choices; those
    /// are found without parsing the chunk.
    fn chat_model(&mut self, data: &[u8]) -> Option<Range<usize>> {
        if let Some(seen) = &self.seen
            && let Some(at) = memmem::find(data, seen)
            && is_at_top(data, at)
        {
            return Some(at + MODEL_KEY.len()..at + seen.len());
        }
        let at = top_model(data)?;
        if data[..at.start].ends_with(MODEL_KEY) {
            self.seen = Some(data[at.start - MODEL_KEY.len()..at.end].to_vec());
        }
        Some(at)
    }
}

/// Whether the member at `at` belongs to the outermost object.
fn is_at_top(data: &[u8], at: usize) -> bool {
    let Some(before) = std::str::from_utf8(&data[..at]).ok() else { return false };
    let mut walk = Walk::new(before);
    let last = walk.by_ref().last();
    // A text that is open at `at` leaves the walk short of it.
    last.is_some() && walk.depth() == 1 && walk_is_complete(before, &walk)
}

fn walk_is_complete(text: &str, walk: &Walk) -> bool {
    text.as_bytes()[walk.token_range().end..].iter().all(|byte| b" ,\n\r\t".contains(byte))
}

fn top_model(data: &[u8]) -> Option<Range<usize>> {
    text_range(data, object::<Labelled>(data)?.model?)
}

fn model_of_response(data: &[u8]) -> Option<Range<usize>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        response: Option<&'a RawValue>,
    }
    memmem::find(data, br#""response""#)?;
    let response = object::<Event>(data)?.response?.get();
    text_range(data, object::<Labelled>(response.as_bytes())?.model?)
}

fn model_of_message(data: &[u8]) -> Option<Range<usize>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        message: Option<&'a RawValue>,
    }
    memmem::find(data, br#""message""#)?;
    let message = object::<Event>(data)?.message?.get();
    text_range(data, object::<Labelled>(message.as_bytes())?.model?)
}

fn text_range(data: &[u8], model: &RawValue) -> Option<Range<usize>> {
    model.get().starts_with('"').then(|| range_in(data, model.get()))
}

#[cfg(test)]
mod tests;
