//! An answer as the stream of events that Messages clients read.
//!
//! Every event bears its `event:` line and both ends bear usage, or the SDKs break off. A block of text
//! begins with its first word: what turns out to be empty never shows, for a client that sent it back would
//! be refused.

use codexapi_aggregates::usage::Usage;
use serde_json::{Value, json};

use super::write_answer::{client_name, envelope, is_empty, shown_thinking, stop_reason, usage_report};
use super::write_content::{input_object, search_blocks, search_call_block, search_id, search_input};
use crate::conversation::{
    CallKind, Event, OutputPart, PartKind, Reasoning, Seal, Stop, ToolCall, WebSearchCall,
};
use crate::translate::AnswerContext;

/// Writes the events of one answer.
pub struct StreamWriter {
    /// The message as it starts.
    envelope: Value,
    /// The number of the open block, or of the next.
    index: u64,
    open: Option<Open>,
    calls_tools: bool,
}

struct Open {
    kind: PartKind,
    /// Whether its `content_block_start` is written.
    has_begun: bool,
    /// Whether something of its content is written.
    has_content: bool,
}

impl StreamWriter {
    pub fn new(context: &AnswerContext) -> Self {
        Self { envelope: envelope(context), index: 0, open: None, calls_tools: false }
    }

    /// Appends the frames of an event; some have none.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Started { usage, .. } => self.start(usage.as_ref(), out),
            Event::PartStarted(kind) => self.part_started(kind.clone(), out),
            Event::Delta(text) => self.delta(text, out),
            Event::PartEnded(part) => self.part_ended(part, out),
            Event::Finished { stop, usage } => self.finish(stop, usage.as_ref(), out),
        }
    }

    /// Of the input nothing may be known yet; the end tells all of it.
    fn start(&mut self, usage: Option<&Usage>, out: &mut Vec<u8>) {
        let mut message = self.envelope.take();
        message["usage"] = usage_report(usage.unwrap_or(&Usage::default()));
        frame("message_start", json!({ "message": message }), out);
    }

    fn part_started(&mut self, kind: PartKind, out: &mut Vec<u8>) {
        // Tools and searches are shown at once; text and thinking with their first words.
        let block = match &kind {
            PartKind::Text | PartKind::Refusal | PartKind::Reasoning => None,
            PartKind::ToolCall { call_id, name } => {
                self.calls_tools = true;
                let name = client_name(name);
                Some(json!({ "type": "tool_use", "id": call_id, "name": name, "input": {} }))
            }
            PartKind::WebSearch { id } => Some(search_call_block(&search_id(id), json!({}))),
        };
        self.open = Some(Open { kind, has_begun: false, has_content: false });
        if let Some(block) = block {
            self.begin_with(|| block, out);
        }
    }

    fn delta(&mut self, text: &str, out: &mut Vec<u8>) {
        let Some(open) = self.open.as_mut().filter(|_| !text.is_empty()) else { return };
        let delta = match &open.kind {
            PartKind::Text | PartKind::Refusal => json!({ "type": "text_delta", "text": text }),
            PartKind::Reasoning => json!({ "type": "thinking_delta", "thinking": text }),
            // Free text stands in JSON, which is written whole at the end.
            PartKind::ToolCall { name, .. } if name.kind == CallKind::Custom => return,
            PartKind::ToolCall { .. } => input_delta(text),
            PartKind::WebSearch { .. } => return,
        };
        open.has_content = true;
        match &open.kind {
            PartKind::Reasoning => self.begin_with(empty_thinking, out),
            PartKind::Text | PartKind::Refusal => {
                self.begin_with(|| json!({ "type": "text", "text": "" }), out);
            }
            PartKind::ToolCall { .. } | PartKind::WebSearch { .. } => {}
        }
        self.block_delta(delta, out);
    }

    fn part_ended(&mut self, part: &OutputPart, out: &mut Vec<u8>) {
        match part {
            OutputPart::Text(text) | OutputPart::Refusal(text) => {
                if !self.has_content() {
                    self.delta(text, out);
                }
            }
            OutputPart::Reasoning(reasoning) => self.end_reasoning(reasoning, out),
            OutputPart::ToolCall(call) => self.end_call(call, out),
            OutputPart::WebSearch(search) => self.end_search(search, out),
        }
        self.stop_block(out);
    }

    fn end_reasoning(&mut self, reasoning: &Reasoning, out: &mut Vec<u8>) {
        if !self.has_content() {
            if is_empty(reasoning) {
                return;
            }
            if let Some(Seal::Redacted { data }) = &reasoning.seal {
                return self.begin_with(|| json!({ "type": "redacted_thinking", "data": data }), out);
            }
        }
        let (thinking, signature) = shown_thinking(reasoning);
        if !self.has_content() {
            self.delta(&thinking, out);
        }
        self.begin_with(empty_thinking, out);
        self.block_delta(json!({ "type": "signature_delta", "signature": signature }), out);
    }

    fn end_call(&mut self, call: &ToolCall, out: &mut Vec<u8>) {
        if self.has_content() {
            return;
        }
        let input = match call.name.kind {
            CallKind::Custom => input_object(call).to_string(),
            CallKind::Function | CallKind::ToolSearch => call.input.clone(),
        };
        if !input.is_empty() {
            self.block_delta(input_delta(&input), out);
        }
    }

    /// The search's end is a block of its own.
    fn end_search(&mut self, search: &WebSearchCall, out: &mut Vec<u8>) {
        if search.query.is_some() {
            self.block_delta(input_delta(&search_input(search).to_string()), out);
        }
        self.stop_block(out);
        let [_, result] = search_blocks(search);
        self.open = Some(Open {
            kind: PartKind::WebSearch { id: String::new() },
            has_begun: false,
            has_content: false,
        });
        self.begin_with(|| result, out);
    }

    /// The whole truth of usage stands here: clients take these figures in place of the first.
    fn finish(&mut self, stop: &Stop, usage: Option<&Usage>, out: &mut Vec<u8>) {
        self.stop_block(out);
        let (reason, sequence) = stop_reason(stop, self.calls_tools);
        // Unknown at the end, the figures of the start stay; only this one must be there.
        let usage = usage.map_or_else(|| json!({ "output_tokens": 0 }), usage_report);
        let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
        frame("message_delta", json!({ "delta": delta, "usage": usage }), out);
        frame("message_stop", json!({}), out);
    }

    fn has_content(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.has_content)
    }

    /// Begins the open part's block, unless it has begun.
    fn begin_with(&mut self, block: impl FnOnce() -> Value, out: &mut Vec<u8>) {
        if let Some(open) = self.open.as_mut().filter(|open| !open.has_begun) {
            open.has_begun = true;
            frame("content_block_start", json!({ "index": self.index, "content_block": block() }), out);
        }
    }

    fn block_delta(&self, delta: Value, out: &mut Vec<u8>) {
        frame("content_block_delta", json!({ "index": self.index, "delta": delta }), out);
    }

    fn stop_block(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some_and(|open| open.has_begun) {
            frame("content_block_stop", json!({ "index": self.index }), out);
            self.index += 1;
        }
    }
}

fn empty_thinking() -> Value {
    json!({ "type": "thinking", "thinking": "", "signature": "" })
}

fn input_delta(json: &str) -> Value {
    json!({ "type": "input_json_delta", "partial_json": json })
}

fn frame(kind: &str, mut data: Value, out: &mut Vec<u8>) {
    data["type"] = json!(kind);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    serde_json::to_writer(&mut *out, &data).expect("a value is JSON, and a vector takes it");
    out.extend_from_slice(b"\n\n");
}
