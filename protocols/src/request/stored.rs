//! Stored conversations: what of a request is kept, what of an earlier response a later request goes
//! on from, and the body with both in it.
//!
//! Rules for going on from a response:
//! - Its input comes first as it was sent then, whole; its output items follow.
//! - Reasoning is left out unless it carries `encrypted_content`: the provider has kept nothing that it
//!   could be looked up by.
//! - Messages, reasoning and calls of the client's tools lose `id` and `status`: they only mean
//!   something where the provider has stored the item. Items of the provider's own tools keep theirs,
//!   which are part of what they are.
//! - `instructions` are not carried over: OpenAI does not, either.
//!
//! An `item_reference` stands for an output item of an earlier response, by the same rules.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ParsedRequest;
use super::edit::Edits;
use crate::json::{as_text, is_null, object, present, range_in};

impl ParsedRequest {
    /// Whether the answer is kept: OpenAI keeps responses unless told not to, and completions only
    /// where told so.
    pub fn is_kept(&self) -> bool {
        match self.protocol {
            Protocol::Responses => self.store.unwrap_or(true),
            Protocol::Chat => self.store.unwrap_or(false),
            Protocol::Completions | Protocol::Messages => false,
        }
    }

    /// `metadata` as it was sent.
    pub fn metadata(&self) -> Option<&str> {
        let at = self.places.metadata.clone()?;
        self.text(at).filter(|text| *text != "null")
    }

    /// The input items, or messages, as a JSON array; a single text is one user message.
    pub fn input_json(&self) -> String {
        match self.input() {
            None => "[]".into(),
            Some(list) if list.starts_with('[') => list.into(),
            Some(text) => format!("[{}]", user_message(text)),
        }
    }

    /// Ids of the stored items that the input names in place of giving them, each once; Responses only.
    pub fn item_references(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.named_items().into_iter().flatten().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// For each input item the id that it names, if that is all it does; empty where none does.
    fn named_items(&self) -> Vec<Option<String>> {
        let may_refer = memchr::memmem::find(&self.body, REFERENCE.as_bytes()).is_some();
        if self.protocol != Protocol::Responses || !may_refer {
            return vec![];
        }
        let named: Vec<Option<String>> =
            self.items.iter().map(|at| reference(&self.body[at.clone()])).collect();
        if named.iter().all(Option::is_none) { vec![] } else { named }
    }

    /// The body with `earlier` items before its own input, the items it names in place of their references,
    /// and without `previous_response_id`. Every other byte stays. `named` has each item by its id; one that
    /// cannot be sent again is `None`.
    pub fn expand(&self, earlier: &[Box<RawValue>], named: &HashMap<String, Option<Box<RawValue>>>) -> Bytes {
        let mut items: Vec<&str> = earlier.iter().map(|item| item.get()).collect();
        let own = self.input_json();
        let own = own[1..own.len() - 1].trim_ascii();
        let references = self.named_items();
        if references.is_empty() && !own.is_empty() {
            items.push(own);
        }
        for (at, reference) in self.items.iter().zip(&references) {
            let given = || self.text(at.clone());
            let item = match reference {
                None => given(),
                Some(id) => match named.get(id) {
                    Some(known) => known.as_deref().map(RawValue::get),
                    None => given(),
                },
            };
            items.extend(item);
        }
        let input = format!("[{}]", items.join(","));
        let mut edits = Edits::new(&self.body);
        match &self.places.input {
            Some(at) => edits.replace(at.clone(), input),
            None => edits.insert_first(format!(r#""input":{input},"#)),
        }
        edits.remove_members([&self.places.previous_response_id]);
        edits.apply()
    }

    /// The body of a background request as it is run: without `background`, kept by nobody else, and streamed,
    /// so that who gives up early pays for little.
    pub fn in_foreground(&self) -> Bytes {
        let mut edits = Edits::new(&self.body);
        for (name, at, value) in
            [("store", &self.places.store, "false"), ("stream", &self.places.stream, "true")]
        {
            match at {
                Some(at) => edits.replace(at.clone(), value.into()),
                None => edits.insert_first(format!("\"{name}\":{value},")),
            }
        }
        edits.remove_members([&self.places.background]);
        edits.apply()
    }

    /// The whole body, as it came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    fn input(&self) -> Option<&str> {
        let at = self.places.input.clone()?;
        self.text(at).filter(|text| *text != "null")
    }

    fn text(&self, at: std::ops::Range<usize>) -> Option<&str> {
        std::str::from_utf8(&self.body[at]).ok()
    }
}

/// The items that a request after this response begins with. `input` is a JSON array, `response` a
/// response object.
///
/// # Errors
/// Where either is not what it should be.
pub fn earlier_items(input: &str, response: &str) -> serde_json::Result<Vec<Box<RawValue>>> {
    let mut items: Vec<Box<RawValue>> = serde_json::from_str(input)?;
    items.retain(|item| !is_lost_reasoning(item));
    let response: Output = serde_json::from_str(response)?;
    for item in response.output {
        if let Some(item) = as_input(item)? {
            items.push(item);
        }
    }
    Ok(items)
}

/// The output items of a response object by their ids, each as a later request may send it again; `None` where
/// it may not. An object without output has none.
pub fn output_items(response: &str) -> Vec<(String, Option<Box<RawValue>>)> {
    let Some(Output { output }) = object::<Output>(response.as_bytes()) else { return vec![] };
    let items = output.into_iter().filter_map(|item| {
        let id = as_text(object::<Item>(item.get().as_bytes())?.id?)?.into_owned();
        Some((id, as_input(item).ok().flatten()))
    });
    items.collect()
}

/// The id of an item that is nothing but a reference.
fn reference(item: &[u8]) -> Option<String> {
    let item: Item = object(item)?;
    let id = item.id.filter(|_| item.kind.as_deref() == Some(REFERENCE))?;
    as_text(id).map(Cow::into_owned)
}

/// A text as the item OpenAI takes it for; `text` is JSON.
fn user_message(text: &str) -> String {
    format!(r#"{{"type":"message","role":"user","content":{text}}}"#)
}

/// What an input item that names a stored one is called.
const REFERENCE: &str = "item_reference";

/// A response object's output.
#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    output: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    status: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    encrypted_content: Option<&'a RawValue>,
}

impl Item<'_> {
    fn is_lost_reasoning(&self) -> bool {
        let sealed = self.encrypted_content.is_some_and(|sealed| !is_null(sealed) && sealed.get() != "\"\"");
        self.kind.as_deref() == Some("reasoning") && !sealed
    }

    fn names_what_is_not_stored(&self) -> bool {
        let kinds = ["message", "reasoning", "function_call", "custom_tool_call"];
        self.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    }
}

fn is_lost_reasoning(item: &RawValue) -> bool {
    serde_json::from_str::<Item>(item.get()).is_ok_and(|item| item.is_lost_reasoning())
}

/// An output item as input, or `None` where it cannot be sent again.
fn as_input(raw: Box<RawValue>) -> serde_json::Result<Option<Box<RawValue>>> {
    let text = Bytes::copy_from_slice(raw.get().as_bytes());
    let item: Item = serde_json::from_slice(&text)?;
    if item.is_lost_reasoning() {
        return Ok(None);
    }
    if !item.names_what_is_not_stored() {
        return Ok(Some(raw));
    }
    let place = |value: Option<&RawValue>| value.map(|value| range_in(&text, value.get()));
    let mut edits = Edits::new(&text);
    edits.remove_members([&place(item.id), &place(item.status)]);
    serde_json::from_slice(&edits.apply()).map(Some)
}
