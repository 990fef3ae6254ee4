use bytes::Bytes;
use proptest::prelude::*;

use super::strategies::{answer, any_json, events_of};
use super::*;
use crate::conversation::{
    Answer, BadAnswer, CallName, Event, OutputPart, PartKind, Reasoning, Seal, Stop, Tool, ToolCall,
    ToolNames,
};
use crate::sse::{Frame, SseSplitter};

fn stream_of(events: &[Event]) -> Vec<u8> {
    let mut writer = StreamWriter::new(&context());
    let mut out = vec![];
    events.iter().for_each(|event| writer.write(event, &mut out));
    out
}

fn frames(chunks: &[&[u8]]) -> Vec<Frame> {
    let mut splitter = SseSplitter::default();
    let mut frames = vec![];
    for chunk in chunks {
        splitter.push(&Bytes::copy_from_slice(chunk), &mut frames).unwrap();
    }
    frames.extend(splitter.finish());
    frames
}

fn read_with(names: ToolNames, chunks: &[&[u8]]) -> Result<Vec<Event>, BadAnswer> {
    let mut reader = StreamReader::new(names);
    let mut events = vec![];
    for frame in frames(chunks) {
        events.extend(reader.read(&frame)?);
    }
    events.extend(reader.end()?);
    Ok(events)
}

fn read(stream: &str) -> Result<Vec<Event>, BadAnswer> {
    read_with(ToolNames::default(), &[stream.as_bytes()])
}

/// The events with the pieces of each part put together.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = vec![];
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Delta(before)), Event::Delta(more)) => before.push_str(&more),
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn collected(events: Vec<Event>) -> Answer {
    let mut answer = Answer { id: None, parts: vec![], stop: Stop::Done, usage: None };
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

proptest! {
    #[test]
    fn a_stream_that_was_written_is_read_as_it_was(answer in answer(), size in 1usize..9) {
        let events = events_of(&answer, size);
        let read = read_with(ToolNames::default(), &[&stream_of(&events)]).unwrap();
        prop_assert_eq!(joined(read), joined(events));
    }

    #[test]
    fn a_whole_answer_is_its_stream_collected(answer in answer(), size in 1usize..9) {
        let stream = stream_of(&events_of(&answer, size));
        let streamed = collected(read_with(ToolNames::default(), &[&stream]).unwrap());
        let whole = write_answer(&answer, &context()).to_string();
        prop_assert_eq!(streamed, read_answer(whole.as_bytes(), &ToolNames::default()).unwrap());
    }

    #[test]
    fn any_events_are_read_or_refused(events in prop::collection::vec(any_json(), 0..8), noise: Vec<u8>) {
        let mut stream = String::new();
        for event in events {
            stream.push_str(&format!("data: {event}\n\n"));
        }
        let _ = read(&stream);
        let _ = read_with(ToolNames::default(), &[b"data: ", &noise, b"\n\n"]);
    }
}

#[test]
fn a_stream_cut_at_any_byte_is_read_as_it_was() {
    let call = ToolCall {
        call_id: "toolu_1".into(),
        name: CallName::function("run"),
        input: "{\"a\":\"größe\"}".into(),
    };
    let signed = Seal::Signature { text: "hm\n".into(), signature: "EqQB".into() };
    let answer = Answer {
        id: Some("msg_01ab".into()),
        parts: vec![
            OutputPart::Reasoning(Reasoning { texts: vec!["hm\n".into()], seal: Some(signed) }),
            OutputPart::Text("漢字 \"so\"".into()),
            OutputPart::ToolCall(call),
        ],
        stop: Stop::ToolUse,
        usage: Some(codexapi_aggregates::usage::Usage { input: 5, output: 7, ..Default::default() }),
    };
    let events = events_of(&answer, 2);
    let stream = stream_of(&events);
    for at in 0..=stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(read_with(ToolNames::default(), &[first, second]).unwrap(), events, "cut at {at}");
    }
    // What breaks off is never taken for finished.
    let last = stream.windows(20).position(|bytes| bytes == b"event: message_delta").unwrap();
    for at in 0..=last {
        let read = read_with(ToolNames::default(), &[&stream[..at]]).unwrap();
        assert!(!read.iter().any(|event| matches!(event, Event::Finished { .. })), "cut at {at}");
    }
}

const START: &str =
    r#"data: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":9,"output_tokens":1}}}"#;
const END: &str = r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}

data: {"type":"message_stop"}"#;

fn stream(frames: &[&str]) -> String {
    frames.iter().map(|frame| format!("{frame}\n\n")).collect()
}

#[test]
fn blocks_that_a_provider_interleaves_come_one_after_the_other() {
    let text = |index: u8, text: &str| {
        format!(
            r#"data: {{"type":"content_block_delta","index":{index},"delta":{{"type":"text_delta","text":"{text}"}}}}"#
        )
    };
    let begin = |index: u8| {
        format!(
            r#"data: {{"type":"content_block_start","index":{index},"content_block":{{"type":"text","text":""}}}}"#
        )
    };
    let end = |index: u8| format!(r#"data: {{"type":"content_block_stop","index":{index}}}"#);
    let frames = [begin(0), begin(1), text(1, "b"), text(0, "a"), end(1), text(0, "a"), end(0)];
    let body = stream(&frames.iter().map(String::as_str).collect::<Vec<_>>());
    let events = read(&format!("{START}\n\n{body}{END}\n\n")).unwrap();
    let expected = [
        Event::PartStarted(PartKind::Text),
        Event::Delta("a".into()),
        Event::Delta("a".into()),
        Event::PartEnded(OutputPart::Text("aa".into())),
        Event::PartStarted(PartKind::Text),
        Event::Delta("b".into()),
        Event::PartEnded(OutputPart::Text("b".into())),
    ];
    assert_eq!(events[1..8], expected);
}

#[test]
fn a_custom_tools_free_text_is_taken_out_of_its_wrapping() {
    let tools = [Tool::Custom { name: "apply_patch".into(), description: None, grammar: None }];
    let begin = r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"apply_patch","input":{}}}"#;
    let delta = |json: &str| {
        let json = serde_json::to_string(json).unwrap();
        format!(
            r#"data: {{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":{json}}}}}"#
        )
    };
    let cases =
        [("{\"input\":\"a\\nb\"}", "a\nb"), ("{\"patch\":1}", "{\"patch\":1}"), ("{\"input\":\"ab", "ab")];
    for (json, expected) in cases {
        let (first, second) = json.split_at(11);
        let body = stream(&[START, begin, &delta(first), &delta(second), END]);
        let events = joined(read_with(ToolNames::new(&tools), &[body.as_bytes()]).unwrap());
        let name = CallName::custom("apply_patch");
        let call = ToolCall { call_id: "toolu_1".into(), name, input: expected.into() };
        let ended = Event::PartEnded(OutputPart::ToolCall(call));
        assert_eq!(events[2..4], [Event::Delta(expected.into()), ended]);
    }
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let begin = r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"ls","input":{}}}"#;
    let events = read(&stream(&[START, begin, END])).unwrap();
    assert_eq!(events[2], Event::Delta("{}".into()));
}

#[test]
fn signs_of_life_and_what_is_yet_to_be_invented_yield_nothing() {
    let quiet = [
        ": keep-alive",
        r#"data: {"type":"ping"}"#,
        r#"data: {"type":"content_block_novelty","index":"seven"}"#,
        r#"data: {"type":"content_block_start","index":4,"content_block":{"type":"novelty","data":{}}}"#,
        r#"data: {"type":"content_block_delta","index":4,"delta":{"type":"novelty_delta","text":7}}"#,
        r#"data: {"type":"content_block_stop","index":4}"#,
    ];
    let events = read(&stream(&[&[START], &quiet[..], &[END]].concat())).unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn an_end_that_was_announced_counts_and_nothing_comes_after_it() {
    let (delta, stop) = END.split_once("\n\n").unwrap();
    let events = read(&stream(&[START, delta])).unwrap();
    assert!(
        matches!(events.last(), Some(Event::Finished { stop: Stop::Done, usage: Some(_) })),
        "{events:?}"
    );
    assert_eq!(read(&stream(&[START, delta, stop, START, "data: nonsense"])).unwrap(), events);
}

#[test]
fn usage_that_came_at_the_start_alone_is_no_final_report() {
    let end = r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let events = read(&stream(&[START, end])).unwrap();
    assert!(matches!(events[0], Event::Started { usage: Some(_), .. }));
    assert_eq!(events[1], Event::Finished { stop: Stop::Done, usage: None });
}

#[test]
fn frames_that_are_not_of_the_dialect_are_refused() {
    let begin = r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let wrong: [&[&str]; 11] = [
        &["data: nonsense"],
        &[r#"data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#],
        &[START, START],
        &[begin],
        &[START, begin, begin],
        &[START, r#"data: {"type":"content_block_start","index":0}"#],
        &[START, r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}"#],
        &[START, begin, r#"data: {"type":"content_block_delta","index":0}"#],
        &[START, r#"data: {"type":"message_stop"}"#],
        &[END],
        &[r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#],
    ];
    for frames in wrong {
        assert!(read(&stream(frames)).is_err(), "{frames:?}");
    }
}

#[test]
fn what_is_held_back_has_a_limit() {
    let begin = r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let piece = "x".repeat(MAX_HELD_BYTES / 4);
    let delta = format!(
        r#"data: {{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{piece}"}}}}"#
    );
    assert!(read(&stream(&[START, begin, &delta, &delta, &delta, &delta])).is_ok());
    assert!(read(&stream(&[START, begin, &delta, &delta, &delta, &delta, &delta])).is_err());
    let begun: Vec<String> =
        (0..300).map(|at| begin.replace("\"index\":0", &format!("\"index\":{at}"))).collect();
    let begun: Vec<&str> = begun.iter().map(String::as_str).collect();
    assert!(read(&stream(&[&[START], &begun[..]].concat())).is_err());
}

#[test]
fn what_has_no_deltas_is_written_whole_at_its_end() {
    let parts = [
        (PartKind::Text, OutputPart::Text("all of it".into())),
        (PartKind::Refusal, OutputPart::Refusal("no".into())),
        (PartKind::Reasoning, OutputPart::Reasoning(Reasoning { texts: vec!["hm".into()], seal: None })),
    ];
    for (kind, part) in parts {
        let out = stream_of(&[Event::PartStarted(kind), Event::PartEnded(part)]);
        let out = String::from_utf8(out).unwrap();
        assert!(["all of it", "\"no\"", "\"hm\""].iter().any(|text| out.contains(text)), "{out}");
    }
}

#[test]
fn what_is_empty_never_shows() {
    let empty = [
        (PartKind::Text, OutputPart::Text(String::new())),
        (PartKind::Reasoning, OutputPart::Reasoning(Reasoning::default())),
    ];
    for (kind, part) in empty {
        let out = stream_of(&[Event::PartStarted(kind), Event::Delta(String::new()), Event::PartEnded(part)]);
        assert!(out.is_empty(), "{}", String::from_utf8_lossy(&out));
    }
}
