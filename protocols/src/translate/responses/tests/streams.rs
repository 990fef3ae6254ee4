use codexapi_aggregates::usage::Usage;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::strategies::{answer, any_json};
use super::{
    collected, context, events_of, frames, joined, read_frames, read_stream, sent, stream_of, write_stream,
};
use crate::conversation::{
    Answer, CallName, Conversation, Event, OutputPart, PartKind, Reasoning, Seal, Stop, ToolCall, ToolNames,
    WebSearchCall,
};
use crate::translate::responses::{MAX_HELD_BYTES, MAX_ITEMS, StreamReader, write_answer};

fn read(events: &[Value]) -> Result<Vec<Event>, crate::conversation::BadAnswer> {
    read_stream(&stream_of(events), &ToolNames::default())
}

pub(super) fn text_part(text: &str) -> OutputPart {
    OutputPart::Text(text.into())
}

fn done() -> Value {
    json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}})
}

pub(super) fn finished(stop: Stop) -> Event {
    Event::Finished { stop, usage: None }
}

pub(super) fn started(id: Option<&str>) -> Event {
    Event::Started { id: id.map(Into::into), usage: None }
}

pub(super) fn function_call(input: &str) -> ToolCall {
    ToolCall { call_id: "call_1".into(), name: CallName::function("f"), input: input.into() }
}

fn call_started(call: &ToolCall) -> Event {
    Event::PartStarted(PartKind::ToolCall { call_id: call.call_id.clone(), name: call.name.clone() })
}

#[test]
fn a_stream_of_openais_is_read_step_by_step() {
    let stream = [
        json!({"type": "response.created", "sequence_number": 0,
               "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
        json!({"type": "response.in_progress", "response": {"id": "resp_1"}}),
        json!({"type": "keepalive"}),
        json!({"type": "response.output_item.added", "output_index": 0,
               "item": {"id": "rs_1", "type": "reasoning", "summary": []}}),
        json!({"type": "response.reasoning_summary_part.added", "item_id": "rs_1", "output_index": 0,
               "summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0,
               "summary_index": 0, "delta": "One", "obfuscation": "x"}),
        json!({"type": "response.reasoning_summary_text.done", "item_id": "rs_1", "output_index": 0,
               "summary_index": 0, "text": "One"}),
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0,
               "summary_index": 1, "delta": "Two"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": {"id": "rs_1",
               "type": "reasoning", "encrypted_content": "gAAA", "summary": [
               {"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}]}}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"id": "msg_1",
               "type": "message", "role": "assistant", "status": "in_progress", "content": []}}),
        json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 1,
               "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1,
               "content_index": 0, "delta": "Hel"}),
        json!({"type": "response.output_text.annotation.added", "item_id": "msg_1", "output_index": 1}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1,
               "content_index": 0, "delta": "lo"}),
        json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 1,
               "content_index": 0, "text": "Hello"}),
        json!({"type": "response.content_part.done", "item_id": "msg_1", "output_index": 1,
               "content_index": 0, "part": {"type": "output_text", "text": "Hello"}}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"id": "msg_1",
               "type": "message", "role": "assistant", "status": "completed",
               "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"id": "fc_1",
               "type": "function_call", "call_id": "call_1", "name": "f", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 2,
               "delta": "{\"a\":"}),
        json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 2,
               "delta": "1}"}),
        json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 2,
               "arguments": "{\"a\":1}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": {"id": "fc_1",
               "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{\"a\":1}"}}),
        json!({"type": "response.output_item.added", "output_index": 3, "item": {"id": "ws_1",
               "type": "web_search_call", "status": "in_progress"}}),
        json!({"type": "response.web_search_call.searching", "item_id": "ws_1", "output_index": 3}),
        json!({"type": "response.output_item.done", "output_index": 3, "item": {"id": "ws_1",
               "type": "web_search_call", "action": {"type": "search", "query": "q"}}}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [],
               "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}}),
        json!({"type": "response.output_text.delta", "output_index": 9, "delta": "after the end"}),
    ];
    let call = function_call("{\"a\":1}");
    let search = WebSearchCall { id: "ws_1".into(), query: Some("q".into()) };
    let usage = Usage { input: 3, output: 2, web_search_calls: 1, ..Usage::default() };
    assert_eq!(
        read(&stream).unwrap(),
        [
            started(Some("resp_1")),
            Event::PartStarted(PartKind::Reasoning),
            Event::Delta("One".into()),
            Event::Delta("\n\n".into()),
            Event::Delta("Two".into()),
            Event::PartEnded(OutputPart::Reasoning(Reasoning {
                texts: vec!["One".into(), "Two".into()],
                seal: Some(Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() }),
            })),
            Event::PartStarted(PartKind::Text),
            Event::Delta("Hel".into()),
            Event::Delta("lo".into()),
            Event::PartEnded(text_part("Hello")),
            call_started(&call),
            Event::Delta("{\"a\":".into()),
            Event::Delta("1}".into()),
            Event::PartEnded(OutputPart::ToolCall(call)),
            Event::PartStarted(PartKind::WebSearch { id: "ws_1".into() }),
            Event::PartEnded(OutputPart::WebSearch(search)),
            Event::Finished { stop: Stop::ToolUse, usage: Some(usage) },
        ]
    );
}

#[test]
fn items_that_come_only_whole_or_only_at_the_end_are_told() {
    let message = json!({"id": "msg_1", "type": "message",
                         "content": [{"type": "output_text", "text": "Hi"}]});
    let told = [
        Event::PartStarted(PartKind::Text),
        Event::Delta("Hi".into()),
        Event::PartEnded(text_part("Hi")),
        finished(Stop::Done),
    ];
    let only_whole = [json!({"type": "response.output_item.done", "item": message}), done()];
    let events = read(&only_whole).unwrap();
    assert_eq!((&events[0], &events[1..]), (&started(None), &told[..]));
    let at_the_end =
        [json!({"type": "response.completed", "response": {"id": "resp_1", "output": [message]}})];
    let events = read(&at_the_end).unwrap();
    assert_eq!((&events[0], &events[1..]), (&started(Some("resp_1")), &told[..]));
    let both = [
        json!({"type": "response.output_item.done", "output_index": 0, "item": message}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "output": [message]}}),
    ];
    assert_eq!(&read(&both).unwrap()[1..], &told, "told once");
}

#[test]
fn deltas_of_items_that_were_never_announced_are_told() {
    let stream = [
        json!({"type": "response.output_text.delta", "delta": "H"}),
        json!({"type": "response.output_text.delta", "delta": "i"}),
        done(),
    ];
    assert_eq!(
        read(&stream).unwrap(),
        [
            started(None),
            Event::PartStarted(PartKind::Text),
            Event::Delta("H".into()),
            Event::Delta("i".into()),
            Event::PartEnded(text_part("Hi")),
            finished(Stop::Done),
        ]
    );
}

#[test]
fn shown_thinking_refusals_and_custom_calls_are_told_too() {
    let stream = [
        json!({"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "Hm"}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0,
               "delta": "not twice"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning",
               "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}}),
        json!({"type": "response.refusal.delta", "output_index": 1, "content_index": 0, "delta": "N"}),
        json!({"type": "response.refusal.done", "output_index": 1, "content_index": 0, "refusal": "No"}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "message",
               "content": [{"type": "refusal", "refusal": "No"}]}}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"type": "custom_tool_call",
               "call_id": "call_1", "name": "p", "input": ""}}),
        json!({"type": "response.custom_tool_call_input.delta", "output_index": 2, "delta": "**"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": {"type": "custom_tool_call",
               "call_id": "call_1", "name": "p", "input": "***"}}),
        json!({"type": "response.incomplete", "response": {"status": "incomplete",
               "incomplete_details": {"reason": "max_output_tokens"}}}),
    ];
    let call = ToolCall { name: CallName::custom("p"), ..function_call("***") };
    assert_eq!(
        joined(read(&stream).unwrap()),
        [
            started(None),
            Event::PartStarted(PartKind::Reasoning),
            Event::Delta("Hm".into()),
            Event::PartEnded(OutputPart::Reasoning(Reasoning { texts: vec!["Hm".into()], seal: None })),
            Event::PartStarted(PartKind::Refusal),
            Event::Delta("No".into()),
            Event::PartEnded(OutputPart::Refusal("No".into())),
            call_started(&call),
            Event::Delta("***".into()),
            Event::PartEnded(OutputPart::ToolCall(call)),
            finished(Stop::Length),
        ]
    );
}

#[test]
fn interleaved_items_are_told_one_after_the_other() {
    let added = |index: u64| {
        json!({"type": "response.output_item.added", "output_index": index,
               "item": {"type": "function_call", "call_id": format!("call_{index}"), "name": "f"}})
    };
    let delta = |index: u64, delta: &str| json!({"type": "response.function_call_arguments.delta", "output_index": index, "delta": delta});
    let ended = |index: u64, input: &str| {
        json!({"type": "response.output_item.done", "output_index": index, "item": {"type": "function_call",
               "call_id": format!("call_{index}"), "name": "f", "arguments": input}})
    };
    let stream = [
        added(0),
        added(1),
        delta(1, "b"),
        delta(0, "a"),
        ended(1, "bb"),
        delta(0, "a"),
        ended(0, "aa"),
        done(),
    ];
    let call =
        |index: u64, input: &str| ToolCall { call_id: format!("call_{index}"), ..function_call(input) };
    let mut expected = vec![started(None)];
    for call in [call(0, "aa"), call(1, "bb")] {
        expected.extend([call_started(&call), Event::Delta(call.input.clone())]);
        expected.push(Event::PartEnded(OutputPart::ToolCall(call)));
    }
    expected.push(finished(Stop::ToolUse));
    assert_eq!(joined(read(&stream).unwrap()), expected);
}

#[test]
fn a_stream_without_its_end_tells_no_end() {
    let stream = [
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}),
    ];
    let events = read(&stream).unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Finished { .. } | Event::PartEnded(_))));
}

#[test]
fn errors_and_broken_events_are_no_answer() {
    let broken = [
        json!({"type": "error", "code": "server_error", "message": "x"}),
        json!({"type": "response.failed", "response": {"status": "failed"}}),
        json!({"type": "response.completed", "response": {"status": "failed"}}),
        json!({"type": "response.output_item.done", "output_index": 0}),
        json!({"type": "response.output_item.done", "item": {"type": "function_call", "name": "f"}}),
        json!({"type": "response.output_text.delta", "output_index": "x", "delta": "x"}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": 5}),
    ];
    for event in broken {
        assert!(read(std::slice::from_ref(&event)).is_err(), "{event}");
    }
    assert!(read_stream(b"data: {\n\n", &ToolNames::default()).is_err());
    let late = [
        json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "a"}),
        json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "b"}),
    ];
    assert!(read(&late).is_err(), "text of a part that had ended");
}

#[test]
fn comments_done_marks_and_unknown_events_tell_nothing() {
    let quiet = b": keepalive\n\ndata: [DONE]\n\ndata:\n\ndata: 5\n\nevent: ping\ndata: {}\n\n";
    assert_eq!(read_stream(quiet, &ToolNames::default()), Ok(vec![]));
}

#[test]
fn what_is_held_back_and_the_number_of_items_are_limited() {
    let text = "x".repeat(MAX_HELD_BYTES / 2);
    let delta = |index: u64| json!({"type": "response.output_text.delta", "output_index": index, "content_index": 0, "delta": text});
    assert!(read(&[delta(0), delta(1), delta(2)]).is_ok());
    assert!(read(&[delta(0), delta(1), delta(2), delta(3)]).is_err());
    let items: Vec<Value> = (0..=MAX_ITEMS)
        .map(|index| {
            json!({"type": "response.output_item.added", "output_index": index,
                            "item": {"type": "message"}})
        })
        .collect();
    assert!(read(&items[..MAX_ITEMS]).is_ok());
    assert!(read(&items).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_stream_reads_back_as_it_was_written_however_it_was_cut(
        answer in answer(),
        size in 1..9usize,
        chunk in 1..700usize,
    ) {
        let events = events_of(&answer, size);
        let context = context(Conversation::default());
        let bytes = write_stream(&events, &context);
        let read = read_frames(&frames(&bytes, chunk), &ToolNames::default()).unwrap();
        prop_assert_eq!(joined(read.clone()), joined(events));
        prop_assert_eq!(collected(read), answer.clone());
        let sent = sent(&bytes);
        prop_assert_eq!(&sent[sent.len() - 1]["response"], &write_answer(&answer, &context));
    }

    #[test]
    fn no_event_makes_the_reader_panic(events in vec(any_json(), 1..6), bytes: Vec<u8>) {
        let _ = read_stream(&stream_of(&events), &ToolNames::default());
        let mut reader = StreamReader::new(ToolNames::default());
        for frame in frames(&bytes, bytes.len()) {
            let _ = reader.read(&frame);
        }
        let _ = reader.end();
    }
}

#[test]
fn a_stream_cut_at_every_byte_is_read_the_same() {
    let answer = Answer {
        id: Some("resp_0a1b".into()),
        parts: vec![text_part("Hé\nllo"), OutputPart::ToolCall(function_call("{\"a\":\"漢\"}"))],
        stop: Stop::ToolUse,
        usage: None,
    };
    let events = events_of(&answer, 2);
    let bytes = write_stream(&events, &context(Conversation::default()));
    for at in 0..=bytes.len() {
        let mut splitter = crate::sse::SseSplitter::default();
        let mut frames = Vec::new();
        for half in [&bytes[..at], &bytes[at..]] {
            splitter.push(&bytes::Bytes::copy_from_slice(half), &mut frames).unwrap();
        }
        assert_eq!(read_frames(&frames, &ToolNames::default()).unwrap(), events, "cut at {at}");
    }
}
