//! Tests of the dialect: examples in the shape real clients and providers write, and properties.

mod answers;
mod properties;
mod reading;
mod robustness;
mod streams;
mod writing;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::conversation::*;
use crate::sse::SseSplitter;
use crate::translate::{AnswerContext, AnswerFrame, UpstreamModel};

fn upstream(name: &str) -> UpstreamModel<'_> {
    UpstreamModel { name, max_output_tokens: 128_000 }
}

fn context(conversation: Conversation) -> AnswerContext {
    let frame = AnswerFrame { id: "0a1b".into(), model: "gpt-5.5".into(), created_at_secs: 1_700_000_000 };
    AnswerContext { frame, conversation }
}

fn read(body: Value) -> Conversation {
    read_request(body).expect("a good request")
}

fn text(text: &str) -> Part {
    Part::Text(Text::plain(text))
}

fn message(role: Role, parts: Vec<Part>) -> Item {
    Item::Message(Message { role, parts })
}

fn call(call_id: &str, name: CallName, input: &str) -> ToolCall {
    ToolCall { call_id: call_id.into(), name, input: input.into() }
}

fn result(call_id: &str, kind: CallKind, parts: Vec<Part>) -> Item {
    Item::ToolResult(ToolResult { call_id: call_id.into(), kind, parts, is_error: false, cache: None })
}

fn thought(text: &str) -> Reasoning {
    Reasoning { texts: vec![text.into()], seal: None }
}

/// The events of a stream whose bytes arrive in these chunks.
fn read_stream(chunks: &[&[u8]], names: &ToolNames) -> Result<Vec<Event>, BadAnswer> {
    let mut splitter = SseSplitter::default();
    let mut frames = vec![];
    for chunk in chunks {
        splitter.push(&Bytes::copy_from_slice(chunk), &mut frames).expect("small frames");
    }
    frames.extend(splitter.finish());
    let mut reader = StreamReader::new(names.clone());
    let mut events = vec![];
    for frame in &frames {
        events.extend(reader.read(frame)?);
    }
    events.extend(reader.end()?);
    Ok(events)
}

fn write_stream(events: &[Event], context: &AnswerContext) -> Vec<u8> {
    let mut writer = StreamWriter::new(context);
    let mut out = vec![];
    events.iter().for_each(|event| writer.write(event, &mut out));
    out
}

/// The chunks of a stream, without `[DONE]`, which must be last.
fn chunks(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).expect("text");
    let mut data: Vec<&str> =
        text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").expect("data")).collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    data.iter().map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

/// Neighbouring deltas as one.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = vec![];
    for event in events {
        match (joined.last_mut(), event) {
            (_, Event::Delta(more)) if more.is_empty() => {}
            (Some(Event::Delta(text)), Event::Delta(more)) => text.push_str(&more),
            (_, event) => joined.push(event),
        }
    }
    joined
}

/// The answer that events tell; panics where they are out of order.
fn collect(events: &[Event]) -> Option<Answer> {
    let mut answer = None;
    let mut open: Option<(PartKind, String)> = None;
    let mut finished = false;
    for event in events {
        assert!(!finished, "nothing comes after the end");
        match event {
            Event::Started { id, .. } => {
                assert!(answer.is_none(), "an answer starts once");
                answer = Some(Answer { id: id.clone(), parts: vec![], stop: Stop::Done, usage: None });
            }
            Event::PartStarted(kind) => {
                assert!(answer.is_some() && open.is_none(), "one part is open at a time");
                open = Some((kind.clone(), String::new()));
            }
            Event::Delta(more) => open.as_mut().expect("a part is open").1.push_str(more),
            Event::PartEnded(part) => {
                let (kind, text) = open.take().expect("a part is open");
                let (ended, whole) = match part {
                    OutputPart::Text(text) => (PartKind::Text, text.clone()),
                    OutputPart::Refusal(text) => (PartKind::Refusal, text.clone()),
                    OutputPart::Reasoning(thought) => (PartKind::Reasoning, thought.texts.concat()),
                    OutputPart::ToolCall(call) => {
                        let (call_id, name) = (call.call_id.clone(), call.name.clone());
                        (PartKind::ToolCall { call_id, name }, call.input.clone())
                    }
                    OutputPart::WebSearch(search) => {
                        (PartKind::WebSearch { id: search.id.clone() }, String::new())
                    }
                };
                assert_eq!((kind, text), (ended, whole), "an end agrees with what came before it");
                answer.as_mut().expect("started").parts.push(part.clone());
            }
            Event::Finished { stop, usage } => {
                assert!(open.is_none(), "parts are closed before the end");
                let answer = answer.as_mut().expect("started");
                (answer.stop, answer.usage, finished) = (stop.clone(), *usage, true);
            }
        }
    }
    answer.filter(|_| finished)
}

/// The events of an answer, every text in pieces of at most `size` letters.
fn events_of(answer: &Answer, size: usize) -> Vec<Event> {
    let mut events = vec![Event::Started { id: answer.id.clone(), usage: None }];
    for part in &answer.parts {
        let (kind, text) = match part {
            OutputPart::Text(text) => (PartKind::Text, text.clone()),
            OutputPart::Refusal(text) => (PartKind::Refusal, text.clone()),
            OutputPart::Reasoning(thought) => (PartKind::Reasoning, thought.texts.concat()),
            OutputPart::ToolCall(call) => {
                let (call_id, name) = (call.call_id.clone(), call.name.clone());
                (PartKind::ToolCall { call_id, name }, call.input.clone())
            }
            OutputPart::WebSearch(search) => (PartKind::WebSearch { id: search.id.clone() }, String::new()),
        };
        events.push(Event::PartStarted(kind));
        let letters: Vec<char> = text.chars().collect();
        events.extend(letters.chunks(size).map(|piece| Event::Delta(piece.iter().collect())));
        events.push(Event::PartEnded(part.clone()));
    }
    events.push(Event::Finished { stop: answer.stop.clone(), usage: answer.usage });
    events
}
