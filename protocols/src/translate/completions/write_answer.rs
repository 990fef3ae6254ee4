//! An answer for a client of the legacy dialect, whole and as a stream.

use serde_json::{Value, json};

use super::ECHO;
use crate::conversation::{Answer, Conversation, Event, Item, OutputPart, Part, PartKind, Stop};
use crate::translate::chat::{write_data, write_done, write_usage};
use crate::translate::{AnswerContext, AnswerFrame};

/// Writes the body of a `text_completion`.
pub fn write_answer(answer: &Answer, context: &AnswerContext) -> Value {
    let mut text = echoed(&context.conversation).unwrap_or_default().to_owned();
    for part in &answer.parts {
        match part {
            OutputPart::Text(said) | OutputPart::Refusal(said) => text.push_str(said),
            // No tool is declared, so none is called; thinking and searches have no place.
            OutputPart::Reasoning(_) | OutputPart::ToolCall(_) | OutputPart::WebSearch(_) => {}
        }
    }
    let mut body = envelope(&context.frame);
    body["choices"] = choice(&text, Some(finish_reason(&answer.stop)));
    if let Some(usage) = &answer.usage {
        body["usage"] = write_usage(usage);
    }
    body
}

/// Writes the chunks of one answer.
#[derive(Debug)]
pub struct StreamWriter {
    envelope: Value,
    include_usage: bool,
    /// The prompt, until it has been put before the answer.
    prompt: Option<String>,
    speaking: bool,
}

impl StreamWriter {
    pub fn new(context: &AnswerContext) -> Self {
        Self {
            envelope: envelope(&context.frame),
            include_usage: context.conversation.include_usage,
            prompt: echoed(&context.conversation).map(str::to_owned),
            speaking: false,
        }
    }

    /// Appends to `out` the frames that say `event`.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Started { .. } => {
                if let Some(prompt) = self.prompt.take() {
                    self.chunk(&prompt, None, out);
                }
            }
            Event::PartStarted(PartKind::Text | PartKind::Refusal) => self.speaking = true,
            Event::PartStarted(
                PartKind::Reasoning | PartKind::ToolCall { .. } | PartKind::WebSearch { .. },
            ) => {
                self.speaking = false;
            }
            Event::Delta(text) if self.speaking => self.chunk(text, None, out),
            Event::Delta(_) => {}
            Event::PartEnded(_) => self.speaking = false,
            Event::Finished { stop, usage } => {
                self.chunk("", Some(finish_reason(stop)), out);
                if let Some(usage) = usage.as_ref().filter(|_| self.include_usage) {
                    let mut last = self.envelope.clone();
                    last["choices"] = json!([]);
                    last["usage"] = write_usage(usage);
                    write_data(last.to_string().as_bytes(), out);
                }
                write_done(out);
            }
        }
    }

    fn chunk(&self, text: &str, finish_reason: Option<&str>, out: &mut Vec<u8>) {
        let mut chunk = self.envelope.clone();
        chunk["choices"] = choice(text, finish_reason);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        write_data(chunk.to_string().as_bytes(), out);
    }
}

fn envelope(frame: &AnswerFrame) -> Value {
    json!({
        "id": format!("cmpl-{}", frame.id),
        "object": "text_completion",
        "created": frame.created_at_secs,
        "model": frame.model,
    })
}

fn choice(text: &str, finish_reason: Option<&str>) -> Value {
    json!([{ "text": text, "index": 0, "logprobs": null, "finish_reason": finish_reason }])
}

/// The prompt, if the client wants it before the answer.
fn echoed(conversation: &Conversation) -> Option<&str> {
    if conversation.echo.get(ECHO) != Some(&Value::Bool(true)) {
        return None;
    }
    conversation.items.iter().find_map(|item| match item {
        Item::Message(message) => message.parts.iter().find_map(|part| match part {
            Part::Text(text) => Some(text.text.as_str()),
            Part::Image(_) | Part::File(_) | Part::Refusal(_) => None,
        }),
        Item::Reasoning(_) | Item::ToolCall(_) | Item::ToolResult(_) | Item::WebSearch(_) => None,
    })
}

/// An answer that is not the whole of what the model would have said never passes for one.
fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::Done | Stop::StopText(_) | Stop::ToolUse => "stop",
        Stop::Length | Stop::Paused => "length",
        Stop::ContentFilter | Stop::Refused => "content_filter",
    }
}
