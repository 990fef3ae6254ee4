//! Goldens in the shape OpenAI and Codex use, every refusal, and properties over all that can be said.

mod answers;
mod bodies;
mod refusals;
mod requests;
mod sent;
mod strategies;
mod streams;

use bytes::Bytes;
use serde_json::Value;

use super::{StreamReader, StreamWriter};
use crate::conversation::{Answer, BadAnswer, Conversation, Event, OutputPart, ToolNames};
use crate::sse::{Frame, SseSplitter};
use crate::translate::{AnswerContext, AnswerFrame, UpstreamModel};

/// A model that thinks.
const THINKING: UpstreamModel = UpstreamModel { name: "gpt-5.5", max_output_tokens: 128_000 };
/// One that does not.
const PLAIN: UpstreamModel = UpstreamModel { name: "gpt-4.1", max_output_tokens: 32_768 };

fn context(conversation: Conversation) -> AnswerContext {
    let frame = AnswerFrame { id: "0a1b".into(), model: "opus".into(), created_at_secs: 1_700_000_000 };
    AnswerContext { frame, conversation }
}

fn frames(bytes: &[u8], chunk: usize) -> Vec<Frame> {
    let mut splitter = SseSplitter::default();
    let mut frames = Vec::new();
    for chunk in bytes.chunks(chunk.max(1)) {
        splitter.push(&Bytes::copy_from_slice(chunk), &mut frames).expect("frames are small");
    }
    frames.extend(splitter.finish());
    frames
}

fn read_stream(bytes: &[u8], names: &ToolNames) -> Result<Vec<Event>, BadAnswer> {
    read_frames(&frames(bytes, bytes.len()), names)
}

fn read_frames(frames: &[Frame], names: &ToolNames) -> Result<Vec<Event>, BadAnswer> {
    let mut reader = StreamReader::new(names.clone());
    let mut events = Vec::new();
    for frame in frames {
        events.extend(reader.read(frame)?);
    }
    events.extend(reader.end()?);
    Ok(events)
}

fn write_stream(events: &[Event], context: &AnswerContext) -> Vec<u8> {
    let mut writer = StreamWriter::new(context);
    let mut out = Vec::new();
    for event in events {
        writer.write(event, &mut out);
    }
    out
}

/// Events of a stream as their JSON.
fn sent(bytes: &[u8]) -> Vec<Value> {
    let data = |frame: &Frame| serde_json::from_slice(&frame.data().expect("data")).expect("JSON");
    frames(bytes, bytes.len()).iter().map(data).collect()
}

/// A stream given as its events, each with a `type`.
fn stream_of(events: &[Value]) -> Vec<u8> {
    let lines = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("message")));
    lines.collect::<String>().into_bytes()
}

/// Neighbouring deltas as one; empty ones say nothing.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (_, Event::Delta(delta)) if delta.is_empty() => {}
            (Some(Event::Delta(before)), Event::Delta(delta)) => before.push_str(&delta),
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn collected(events: Vec<Event>) -> Answer {
    let mut answer =
        Answer { id: None, parts: Vec::new(), stop: crate::conversation::Stop::Done, usage: None };
    for event in events {
        match event {
            Event::Started { id, .. } => answer.id = id,
            Event::PartStarted(_) | Event::Delta(_) => {}
            Event::PartEnded(part) => answer.parts.push(part),
            Event::Finished { stop, usage } => (answer.stop, answer.usage) = (stop, usage),
        }
    }
    answer
}

/// The answer as a stream that tells it in pieces of `size` characters.
fn events_of(answer: &Answer, size: usize) -> Vec<Event> {
    use crate::conversation::PartKind;
    let mut events = vec![Event::Started { id: answer.id.clone(), usage: None }];
    for part in &answer.parts {
        let (kind, text) = match part {
            OutputPart::Text(text) => (PartKind::Text, text.clone()),
            OutputPart::Refusal(text) => (PartKind::Refusal, text.clone()),
            OutputPart::Reasoning(reasoning) => (PartKind::Reasoning, reasoning.texts.join("\n\n")),
            OutputPart::ToolCall(call) => (
                PartKind::ToolCall { call_id: call.call_id.clone(), name: call.name.clone() },
                call.input.clone(),
            ),
            OutputPart::WebSearch(search) => (PartKind::WebSearch { id: search.id.clone() }, String::new()),
        };
        events.push(Event::PartStarted(kind));
        let letters: Vec<char> = text.chars().collect();
        events.extend(letters.chunks(size.max(1)).map(|piece| Event::Delta(piece.iter().collect())));
        events.push(Event::PartEnded(part.clone()));
    }
    events.push(Event::Finished { stop: answer.stop.clone(), usage: answer.usage });
    events
}
