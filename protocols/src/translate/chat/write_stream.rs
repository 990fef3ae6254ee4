//! An answer for a chat client, as a stream of chunks.
//!
//! Everything around the delta is the same in each chunk and is written once. The libraries' stream helpers
//! want the role in the first chunk and `index` and `finish_reason` in every one.

use serde_json::{Value, json};

use super::write_answer::{BETWEEN_THOUGHTS, answer_id, finish_reason, is_legacy, write_call, write_usage};
use crate::conversation::{CallKind, Event, PartKind};
use crate::translate::AnswerContext;

/// Writes the chunks of one answer.
#[derive(Debug)]
pub struct StreamWriter {
    /// Of every chunk, up to its choices.
    head: String,
    include_usage: bool,
    legacy: bool,
    open: Option<Open>,
    calls: u64,
    has_thought: bool,
    has_refused: bool,
}

/// The part that deltas belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Refusal,
    Reasoning,
    Call {
        index: u64,
        kind: CallKind,
    },
    FormerCall,
    /// It has no place in the dialect.
    Hidden,
}

impl StreamWriter {
    pub fn new(context: &AnswerContext) -> Self {
        let frame = &context.frame;
        let head = json!({
            "id": answer_id(frame),
            "object": "chat.completion.chunk",
            "created": frame.created_at_secs,
            "model": frame.model,
        });
        let mut head = head.to_string();
        // The object goes on in each chunk.
        head.pop();
        Self {
            head,
            include_usage: context.conversation.include_usage,
            legacy: is_legacy(&context.conversation),
            open: None,
            calls: 0,
            has_thought: false,
            has_refused: false,
        }
    }

    /// Appends to `out` the frames that say `event`.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Started { .. } => {
                self.chunk(&json!({ "role": "assistant", "content": "", "refusal": null }), None, out);
            }
            Event::PartStarted(kind) => self.start(kind, out),
            Event::Delta(text) => self.delta(text, out),
            Event::PartEnded(_) => self.open = None,
            Event::Finished { stop, usage } => {
                let reason = finish_reason(stop, self.has_refused, self.legacy);
                self.chunk(&json!({}), Some(reason), out);
                if let Some(usage) = usage.as_ref().filter(|_| self.include_usage) {
                    let chunk = format!(r#"{},"choices":[],"usage":{}}}"#, self.head, write_usage(usage));
                    write_data(chunk.as_bytes(), out);
                }
                write_done(out);
            }
        }
    }

    fn start(&mut self, kind: &PartKind, out: &mut Vec<u8>) {
        let open = match kind {
            PartKind::Text => Open::Text,
            PartKind::Refusal => {
                self.has_refused = true;
                Open::Refusal
            }
            PartKind::Reasoning => {
                if std::mem::replace(&mut self.has_thought, true) {
                    self.chunk(&json!({ "reasoning_content": BETWEEN_THOUGHTS }), None, out);
                }
                Open::Reasoning
            }
            PartKind::ToolCall { call_id, name } => {
                let index = self.calls;
                self.calls += 1;
                if !self.legacy {
                    let mut call = write_call(call_id, &name.name, name.kind, "");
                    call["index"] = index.into();
                    self.chunk(&json!({ "tool_calls": [call] }), None, out);
                    Open::Call { index, kind: name.kind }
                } else if index == 0 {
                    self.chunk(
                        &json!({ "function_call": { "name": name.name, "arguments": "" } }),
                        None,
                        out,
                    );
                    Open::FormerCall
                } else {
                    Open::Hidden
                }
            }
            PartKind::WebSearch { .. } => Open::Hidden,
        };
        self.open = Some(open);
    }

    fn delta(&self, text: &str, out: &mut Vec<u8>) {
        let delta = match self.open {
            Some(Open::Text) => json!({ "content": text }),
            Some(Open::Refusal) => json!({ "refusal": text }),
            Some(Open::Reasoning) => json!({ "reasoning_content": text }),
            Some(Open::Call { index, kind: CallKind::Function | CallKind::ToolSearch }) => {
                json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
            }
            Some(Open::Call { index, kind: CallKind::Custom }) => {
                json!({ "tool_calls": [{ "index": index, "custom": { "input": text } }] })
            }
            Some(Open::FormerCall) => json!({ "function_call": { "arguments": text } }),
            Some(Open::Hidden) | None => return,
        };
        self.chunk(&delta, None, out);
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>, out: &mut Vec<u8>) {
        let reason = finish_reason.map_or("null".to_owned(), |reason| format!("\"{reason}\""));
        let usage = if self.include_usage { r#","usage":null"# } else { "" };
        let choice = format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}"#);
        let chunk = format!(r#"{},"choices":[{choice}]{usage}}}"#, self.head);
        write_data(chunk.as_bytes(), out);
    }
}

/// One frame.
pub(in crate::translate) fn write_data(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// The frame that closes a stream.
pub(in crate::translate) fn write_done(out: &mut Vec<u8>) {
    write_data(b"[DONE]", out);
}
