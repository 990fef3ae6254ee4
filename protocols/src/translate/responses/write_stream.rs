//! An answer as it comes, in the events that OpenAI's SDKs and Codex need, in OpenAI's order.
//!
//! Codex believes only whole items; the SDKs build theirs from the deltas and refuse a delta of something
//! that has not begun. A message stays open until something other than text follows, so that a text that the
//! provider gave in pieces is one message.

use serde::Serialize;
use serde_json::{Value, json};

use super::write_output::{
    begun, call_item, call_prefix, content_part, finish, item_id, message_item, reasoning_item, refusal_part,
    response_id, search_id, search_item, status, summary_part, text_part,
};
use crate::conversation::{
    CallKind, CallName, Event, OutputPart, PartKind, Reasoning, ToolCall, WebSearchCall,
};
use crate::translate::{AnswerContext, AnswerFrame};

/// Writes one stream.
#[derive(Debug)]
pub struct StreamWriter {
    frame: AnswerFrame,
    response_id: String,
    /// The response object; its output is filled in at the end.
    response: Value,
    sequence_number: u64,
    started: bool,
    /// Items that are complete.
    output: Vec<Value>,
    /// Content of the message that is open, part by part.
    message: Option<Vec<Value>>,
    open: Option<Open>,
    has_refusal: bool,
}

/// The part that is open.
#[derive(Debug)]
struct Open {
    kind: PartKind,
    item_id: String,
    /// What was told of it so far: a client that has heard nothing by its end is told all at once.
    told: String,
}

#[derive(Serialize)]
struct ResponseEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    sequence_number: u64,
    response: &'a Value,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    sequence_number: u64,
    item_id: &'a str,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    delta: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[Value; 0]>,
}

impl StreamWriter {
    #[must_use]
    pub fn new(context: &AnswerContext) -> Self {
        Self {
            frame: context.frame.clone(),
            response_id: response_id(&context.frame),
            response: begun(context),
            sequence_number: 0,
            started: false,
            output: Vec::new(),
            message: None,
            open: None,
            has_refusal: false,
        }
    }

    /// The number of the next frame.
    pub fn sequence_number(&self) -> u64 {
        self.sequence_number
    }

    /// The id the client sees.
    pub fn response_id(&self) -> &str {
        &self.response_id
    }

    /// Appends the frames of one event to `out`.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            self.response_event("response.created", out);
            self.response_event("response.in_progress", out);
        }
        match event {
            Event::Started { .. } => {}
            Event::PartStarted(kind) => self.start_part(kind.clone(), out),
            Event::Delta(delta) => self.delta(delta, out),
            Event::PartEnded(part) => self.end_part(part, out),
            Event::Finished { stop, usage } => {
                let ending = status(stop, self.has_refusal);
                self.close_message(ending.0, out);
                let output = std::mem::take(&mut self.output);
                finish(&mut self.response, output, ending, usage.as_ref());
                self.response_event(&format!("response.{}", ending.0), out);
            }
        }
    }

    fn start_part(&mut self, kind: PartKind, out: &mut Vec<u8>) {
        if !matches!(kind, PartKind::Text | PartKind::Refusal) {
            self.close_message("completed", out);
        }
        let index = self.output.len();
        let frame = &self.frame;
        let (item_id, item) = match &kind {
            PartKind::Text => return self.start_content(kind, text_part(""), out),
            PartKind::Refusal => {
                self.has_refusal = true;
                return self.start_content(kind, refusal_part(""), out);
            }
            PartKind::Reasoning => {
                let id = item_id("rs", frame, index);
                let item = json!({ "id": id, "type": "reasoning", "summary": [] });
                (id, item)
            }
            PartKind::ToolCall { call_id, name } => {
                let id = item_id(call_prefix(name.kind), frame, index);
                let call = begun_call(call_id, name);
                let item = call_item(&id, &call, "in_progress");
                (id, item)
            }
            PartKind::WebSearch { id } => {
                let id = search_id(id, frame, index);
                let item = search_item(&id, &WebSearchCall::default(), "in_progress");
                (id, item)
            }
        };
        self.item_event("response.output_item.added", &item, out);
        if matches!(kind, PartKind::WebSearch { .. }) {
            self.place_event("response.web_search_call.in_progress", &item_id, json!({}), out);
            self.place_event("response.web_search_call.searching", &item_id, json!({}), out);
        }
        self.open = Some(Open { kind, item_id, told: String::new() });
    }

    /// Opens a message, unless one is open, and a part in it.
    fn start_content(&mut self, kind: PartKind, part: Value, out: &mut Vec<u8>) {
        let item_id = item_id("msg", &self.frame, self.output.len());
        if self.message.is_none() {
            let item = message_item(&item_id, Vec::new(), "in_progress");
            self.item_event("response.output_item.added", &item, out);
            self.message = Some(Vec::new());
        }
        let data = json!({ "content_index": self.content_index(), "part": part });
        self.place_event("response.content_part.added", &item_id, data, out);
        self.open = Some(Open { kind, item_id, told: String::new() });
    }

    fn content_index(&self) -> usize {
        self.message.as_ref().map_or(0, Vec::len)
    }

    fn delta(&mut self, delta: &str, out: &mut Vec<u8>) {
        let Some(mut open) = self.open.take_if(|_| !delta.is_empty()) else { return };
        let (name, content_index, summary_index) = match &open.kind {
            PartKind::Text => ("response.output_text.delta", Some(self.content_index()), None),
            PartKind::Refusal => ("response.refusal.delta", Some(self.content_index()), None),
            PartKind::Reasoning => ("response.reasoning_summary_text.delta", None, Some(0)),
            PartKind::ToolCall { name, .. } => match name.kind {
                CallKind::Function => ("response.function_call_arguments.delta", None, None),
                CallKind::Custom => ("response.custom_tool_call_input.delta", None, None),
                // Told whole, at its end: the dialect has no deltas of it.
                CallKind::ToolSearch => return self.open = Some(open),
            },
            PartKind::WebSearch { .. } => return self.open = Some(open),
        };
        if summary_index.is_some() && open.told.is_empty() {
            self.summary_event("response.reasoning_summary_part.added", &open.item_id, 0, "part", "", out);
        }
        open.told.push_str(delta);
        let data = Delta {
            kind: name,
            sequence_number: self.sequence_number,
            item_id: &open.item_id,
            output_index: self.output.len(),
            content_index,
            summary_index,
            delta,
            logprobs: (open.kind == PartKind::Text).then_some([]),
        };
        put(name, &data, out);
        self.sequence_number += 1;
        self.open = Some(open);
    }

    fn end_part(&mut self, part: &OutputPart, out: &mut Vec<u8>) {
        if self.open.is_none() {
            self.start_part(kind_of(part), out);
        }
        if self.open.as_ref().is_some_and(|open| open.told.is_empty()) {
            self.tell_all(part, out);
        }
        let Some(open) = self.open.take() else { return };
        let index = self.content_index();
        match part {
            OutputPart::Text(text) => {
                let data = json!({ "content_index": index, "text": text, "logprobs": [] });
                self.place_event("response.output_text.done", &open.item_id, data, out);
                self.end_content(part, &open.item_id, out);
            }
            OutputPart::Refusal(refusal) => {
                let data = json!({ "content_index": index, "refusal": refusal });
                self.place_event("response.refusal.done", &open.item_id, data, out);
                self.end_content(part, &open.item_id, out);
            }
            OutputPart::Reasoning(reasoning) => self.end_reasoning(&open, reasoning, out),
            OutputPart::ToolCall(call) => self.end_call(&open.item_id, call, out),
            OutputPart::WebSearch(search) => {
                self.place_event("response.web_search_call.completed", &open.item_id, json!({}), out);
                self.end_item(search_item(&open.item_id, search, "completed"), out);
            }
        }
    }

    /// A part that came without deltas, as one delta.
    fn tell_all(&mut self, part: &OutputPart, out: &mut Vec<u8>) {
        let whole = match part {
            OutputPart::Text(text) | OutputPart::Refusal(text) => text,
            OutputPart::ToolCall(call) => &call.input,
            OutputPart::Reasoning(_) | OutputPart::WebSearch(_) => return,
        };
        if !whole.is_empty() {
            self.delta(whole, out);
        }
    }

    fn end_content(&mut self, part: &OutputPart, item_id: &str, out: &mut Vec<u8>) {
        let Some(content) = content_part(part) else { return };
        let data = json!({ "content_index": self.content_index(), "part": content });
        self.place_event("response.content_part.done", item_id, data, out);
        self.message.get_or_insert_default().push(content);
    }

    /// The item holds the texts one by one; a text that came in deltas was told as one.
    fn end_reasoning(&mut self, open: &Open, reasoning: &Reasoning, out: &mut Vec<u8>) {
        let id = &open.item_id;
        if open.told.is_empty() {
            for (index, text) in reasoning.texts.iter().enumerate() {
                self.summary_event("response.reasoning_summary_part.added", id, index, "part", "", out);
                let data = json!({ "summary_index": index, "delta": text });
                self.place_event("response.reasoning_summary_text.delta", id, data, out);
                self.end_summary(id, index, text, out);
            }
        } else {
            let text = if let [text] = reasoning.texts.as_slice() { text } else { &open.told };
            self.end_summary(id, 0, text, out);
        }
        self.end_item(reasoning_item(id, reasoning), out);
    }

    fn end_summary(&mut self, id: &str, index: usize, text: &str, out: &mut Vec<u8>) {
        self.summary_event("response.reasoning_summary_text.done", id, index, "text", text, out);
        self.summary_event("response.reasoning_summary_part.done", id, index, "part", text, out);
    }

    fn summary_event(
        &mut self,
        name: &str,
        item_id: &str,
        index: usize,
        key: &str,
        text: &str,
        out: &mut Vec<u8>,
    ) {
        let mut data = json!({ "summary_index": index });
        data[key] = if key == "part" { summary_part(text) } else { json!(text) };
        self.place_event(name, item_id, data, out);
    }

    fn end_call(&mut self, item_id: &str, call: &ToolCall, out: &mut Vec<u8>) {
        match call.name.kind {
            CallKind::Function => {
                let data = json!({ "arguments": call.input, "name": call.name.name });
                self.place_event("response.function_call_arguments.done", item_id, data, out);
            }
            CallKind::Custom => {
                let data = json!({ "input": call.input });
                self.place_event("response.custom_tool_call_input.done", item_id, data, out);
            }
            CallKind::ToolSearch => {}
        }
        self.end_item(call_item(item_id, call, "completed"), out);
    }

    fn close_message(&mut self, status: &str, out: &mut Vec<u8>) {
        if let Some(content) = self.message.take() {
            let id = item_id("msg", &self.frame, self.output.len());
            self.end_item(message_item(&id, content, status), out);
        }
    }

    fn end_item(&mut self, item: Value, out: &mut Vec<u8>) {
        self.item_event("response.output_item.done", &item, out);
        self.output.push(item);
    }

    fn response_event(&mut self, name: &str, out: &mut Vec<u8>) {
        let sequence_number = self.sequence_number;
        put(name, &ResponseEvent { kind: name, sequence_number, response: &self.response }, out);
        self.sequence_number += 1;
    }

    fn item_event(&mut self, name: &str, item: &Value, out: &mut Vec<u8>) {
        let data = json!({
            "type": name,
            "sequence_number": self.sequence_number,
            "output_index": self.output.len(),
            "item": item,
        });
        put(name, &data, out);
        self.sequence_number += 1;
    }

    fn place_event(&mut self, name: &str, item_id: &str, mut data: Value, out: &mut Vec<u8>) {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.sequence_number);
        data["item_id"] = json!(item_id);
        data["output_index"] = json!(self.output.len());
        put(name, &data, out);
        self.sequence_number += 1;
    }
}

fn begun_call(call_id: &str, name: &CallName) -> ToolCall {
    ToolCall { call_id: call_id.to_owned(), name: name.clone(), input: String::new() }
}

fn kind_of(part: &OutputPart) -> PartKind {
    match part {
        OutputPart::Text(_) => PartKind::Text,
        OutputPart::Refusal(_) => PartKind::Refusal,
        OutputPart::Reasoning(_) => PartKind::Reasoning,
        OutputPart::ToolCall(call) => {
            PartKind::ToolCall { call_id: call.call_id.clone(), name: call.name.clone() }
        }
        OutputPart::WebSearch(search) => PartKind::WebSearch { id: search.id.clone() },
    }
}

fn put(name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    serde_json::to_writer(&mut *out, data).expect("texts and numbers are JSON");
    out.extend_from_slice(b"\n\n");
}
