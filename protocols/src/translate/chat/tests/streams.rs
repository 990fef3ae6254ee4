//! Streams, in the shape providers give them and clients want them.

use codexapi_aggregates::usage::Usage;
use serde_json::json;

use super::*;

fn stream(chunks: &[Value]) -> Vec<u8> {
    let mut stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    stream.push_str("data: [DONE]\n\n");
    stream.into_bytes()
}

fn chunk(delta: Value, finish_reason: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": null,
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]})
}

fn piece(index: u64, arguments: &str) -> Value {
    chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}), Value::Null)
}

fn begin(index: u64, id: &str, name: &str) -> Value {
    let function = json!({"name": name, "arguments": ""});
    chunk(
        json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}),
        Value::Null,
    )
}

fn report() -> Value {
    json!({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3,
        "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}})
}

fn events(chunks: &[Value]) -> Vec<Event> {
    read_stream(&[&stream(chunks)], &ToolNames::default()).expect("a good stream")
}

fn started() -> Event {
    Event::Started { id: Some("chatcmpl-1".into()), usage: None }
}

fn delta(text: &str) -> Event {
    Event::Delta(text.into())
}

#[test]
fn thinking_then_words_then_usage_behind_the_reason() {
    let usage = Usage { input: 5, cached_input: 4, output: 3, ..Usage::default() };
    assert_eq!(
        events(&[
            chunk(json!({"role": "assistant", "content": null, "reasoning_content": ""}), Value::Null),
            chunk(json!({"content": null, "reasoning_content": "Hm"}), Value::Null),
            chunk(json!({"reasoning_content": "m."}), Value::Null),
            chunk(json!({"content": "Hello"}), Value::Null),
            chunk(json!({"content": " there"}), Value::Null),
            chunk(json!({}), json!("stop")),
            report(),
        ]),
        [
            started(),
            Event::PartStarted(PartKind::Reasoning),
            delta("Hm"),
            delta("m."),
            Event::PartEnded(OutputPart::Reasoning(thought("Hmm."))),
            Event::PartStarted(PartKind::Text),
            delta("Hello"),
            delta(" there"),
            Event::PartEnded(OutputPart::Text("Hello there".into())),
            Event::Finished { stop: Stop::Done, usage: Some(usage) },
        ]
    );
}

#[test]
fn mixed_pieces_of_two_calls_are_put_in_order() {
    let name = |name: &str| CallName::function(name);
    let begun = |id: &str, called: &str| {
        Event::PartStarted(PartKind::ToolCall { call_id: id.into(), name: name(called) })
    };
    assert_eq!(
        events(&[
            chunk(json!({"role": "assistant", "content": "x"}), Value::Null),
            begin(0, "c0", "f"),
            begin(1, "c1", "g"),
            piece(1, "{\"b\""),
            piece(0, "{\"a\""),
            chunk(json!({"content": "late"}), Value::Null),
            piece(1, ":2}"),
            piece(0, ":1}"),
            chunk(json!({}), json!("tool_calls")),
        ]),
        [
            started(),
            Event::PartStarted(PartKind::Text),
            delta("x"),
            Event::PartEnded(OutputPart::Text("x".into())),
            begun("c0", "f"),
            delta("{\"a\""),
            delta(":1}"),
            Event::PartEnded(OutputPart::ToolCall(call("c0", name("f"), "{\"a\":1}"))),
            begun("c1", "g"),
            delta("{\"b\":2}"),
            Event::PartEnded(OutputPart::ToolCall(call("c1", name("g"), "{\"b\":2}"))),
            Event::PartStarted(PartKind::Text),
            delta("late"),
            Event::PartEnded(OutputPart::Text("late".into())),
            Event::Finished { stop: Stop::ToolUse, usage: None },
        ]
    );
}

#[test]
fn a_custom_tools_text_is_unwrapped_when_it_is_complete() {
    let names =
        ToolNames::new(&[Tool::Custom { name: "apply_patch".into(), description: None, grammar: None }]);
    let bytes = stream(&[
        begin(0, "c", "apply_patch"),
        piece(0, "{\"input\":\"*** B"),
        piece(0, "egin\\n\"}"),
        chunk(json!({}), json!("tool_calls")),
    ]);
    let events = read_stream(&[&bytes], &names).expect("a good stream");
    let name = CallName::custom("apply_patch");
    assert_eq!(
        events[1..4],
        [
            Event::PartStarted(PartKind::ToolCall { call_id: "c".into(), name: name.clone() }),
            delta("*** Begin\n"),
            Event::PartEnded(OutputPart::ToolCall(call("c", name, "*** Begin\n"))),
        ]
    );
}

#[test]
fn calls_without_an_index_are_told_apart_by_their_ids() {
    let whole = |id: &str| {
        let function = json!({"name": "f", "arguments": "{}"});
        chunk(json!({"tool_calls": [{"id": id, "type": "function", "function": function}]}), Value::Null)
    };
    let answer =
        collect(&events(&[whole("a"), whole("b"), chunk(json!({}), json!("stop"))])).expect("finished");
    assert_eq!(
        answer.parts,
        ["a", "b"].map(|id| OutputPart::ToolCall(call(id, CallName::function("f"), "{}")))
    );
    assert_eq!(answer.stop, Stop::ToolUse);
}

#[test]
fn calls_without_ids_or_arguments_are_given_them() {
    let nameless = |index: u64| json!({"tool_calls": [{"index": index, "function": {"name": "f"}}]});
    let answer = collect(&events(&[
        chunk(nameless(0), Value::Null),
        chunk(nameless(1), Value::Null),
        chunk(json!({}), json!("tool_calls")),
    ]));
    assert_eq!(
        answer.expect("finished").parts,
        ["call_chatcmpl-1_0", "call_chatcmpl-1_1"].map(|id| OutputPart::ToolCall(call(
            id,
            CallName::function("f"),
            "{}"
        )))
    );
}

#[test]
fn only_an_answer_that_said_why_it_ends_is_finished_unless_done_is_said() {
    let words = chunk(json!({"content": "x"}), Value::Null);
    let cut_off = format!("data: {words}\n\n");
    let events = read_stream(&[cut_off.as_bytes()], &ToolNames::default()).expect("a good stream");
    assert_eq!(collect(&events), None);
    let with_reason = format!("{cut_off}data: {}\n\n", chunk(json!({}), json!("length")));
    let events = read_stream(&[with_reason.as_bytes()], &ToolNames::default()).expect("a good stream");
    assert_eq!(collect(&events).map(|answer| answer.stop), Some(Stop::Length));
    let with_done = format!("{cut_off}data: [DONE]\n\n");
    let events = read_stream(&[with_done.as_bytes()], &ToolNames::default()).expect("a good stream");
    assert_eq!(collect(&events).map(|answer| answer.stop), Some(Stop::Done));
    let nothing = read_stream(&[b"data: [DONE]\n\n"], &ToolNames::default());
    assert_eq!(nothing.expect("a good stream"), []);
}

#[test]
fn usage_that_came_before_the_reason_is_not_lost() {
    let mut words = chunk(json!({"content": "x"}), Value::Null);
    words["usage"] = report()["usage"].clone();
    let answer = collect(&events(&[words, chunk(json!({}), json!("stop"))])).expect("finished");
    assert_eq!(answer.usage.map(|usage| usage.total_tokens()), Some(12));
    let mut last = chunk(json!({"content": "x"}), json!("stop"));
    last["usage"] = report()["usage"].clone();
    assert_eq!(collect(&events(&[last])).and_then(|answer| answer.usage).map(|usage| usage.output), Some(3));
}

#[test]
fn comments_pings_other_choices_and_empty_chunks_yield_nothing() {
    let other = json!({"id": "chatcmpl-1", "choices": [{"index": 1, "delta": {"content": "other"}}]});
    let filter = json!({"id": "", "choices": [], "prompt_filter_results": []});
    let bytes = format!(
        ": keepalive\n\nevent: ping\ndata:\n\ndata: {filter}\n\ndata: {}\n\ndata: {other}\n\ndata: {}\n\n",
        chunk(json!({"role": "assistant"}), Value::Null),
        chunk(json!({}), json!("stop")),
    );
    let events = read_stream(&[bytes.as_bytes()], &ToolNames::default()).expect("a good stream");
    assert_eq!(events, [started(), Event::Finished { stop: Stop::Done, usage: None }]);
}

#[test]
fn what_is_no_stream_of_the_dialect_is_refused() {
    for data in [
        "nonsense",
        "[1]",
        r#"{"error":{"message":"x"}}"#,
        r#"{"choices":[{"delta":{"content":7}}]}"#,
        r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"insufficient_system_resource"}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]},"finish_reason":"stop"}]}"#,
    ] {
        let frame = format!("data: {data}\n\n");
        assert!(read_stream(&[frame.as_bytes()], &ToolNames::default()).is_err(), "{data}");
    }
}

#[test]
fn what_is_held_back_is_limited() {
    let mut reader = StreamReader::new(ToolNames::default());
    let mut read = |value: Value| {
        let mut frames = vec![];
        let bytes = Bytes::from(format!("data: {value}\n\n"));
        SseSplitter::default().push(&bytes, &mut frames).expect("a small frame");
        reader.read(&frames[0])
    };
    read(begin(0, "c", "f")).expect("a good frame");
    let large = "x".repeat(MAX_HELD_BYTES / 4);
    for _ in 0..3 {
        read(piece(1, &large)).expect("within the limit");
    }
    assert!(read(piece(2, &large)).is_err());
}

#[test]
fn long_answers_are_not_held_once_their_part_is_closed() {
    let large = "x".repeat(MAX_HELD_BYTES / 2);
    let mut all = vec![];
    for _ in 0..3 {
        all.push(chunk(json!({"content": large}), Value::Null));
        all.push(chunk(json!({"reasoning_content": "hm"}), Value::Null));
    }
    all.push(chunk(json!({}), json!("stop")));
    assert_eq!(collect(&events(&all)).expect("finished").parts.len(), 6);
}

#[test]
fn a_client_gets_role_index_and_reason_in_every_chunk_and_usage_if_it_asked() {
    let usage = Some(Usage { input: 5, cached_input: 4, output: 3, ..Usage::default() });
    let parts = vec![
        OutputPart::Reasoning(thought("Hm.")),
        OutputPart::Text("Hi".into()),
        OutputPart::ToolCall(call("toolu_1", CallName::function("f"), "{}")),
        OutputPart::ToolCall(call("toolu_2", CallName::custom("p"), "free")),
    ];
    let answer = Answer { id: Some("msg_1".into()), parts, stop: Stop::ToolUse, usage };
    let asked = Conversation { include_usage: true, stream: true, ..Conversation::default() };
    let written = chunks(&write_stream(&events_of(&answer, 99), &context(asked)));
    let chunk = |delta: Value, reason: Value| {
        json!({"id": "chatcmpl-0a1b", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "gpt-5.5", "usage": null,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]})
    };
    let calls = |call: Value| json!({"tool_calls": [call]});
    assert_eq!(
        written,
        [
            chunk(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null),
            chunk(json!({"reasoning_content": "Hm."}), Value::Null),
            chunk(json!({"content": "Hi"}), Value::Null),
            chunk(
                calls(json!({"index": 0, "id": "toolu_1", "type": "function",
                    "function": {"name": "f", "arguments": ""}})),
                Value::Null
            ),
            chunk(calls(json!({"index": 0, "function": {"arguments": "{}"}})), Value::Null),
            chunk(
                calls(json!({"index": 1, "id": "toolu_2", "type": "custom",
                    "custom": {"name": "p", "input": ""}})),
                Value::Null
            ),
            chunk(calls(json!({"index": 1, "custom": {"input": "free"}})), Value::Null),
            chunk(json!({}), json!("tool_calls")),
            json!({"id": "chatcmpl-0a1b", "object": "chat.completion.chunk", "created": 1_700_000_000,
                "model": "gpt-5.5", "choices": [], "usage": {
                    "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 0}}}),
        ]
    );
    let unasked = chunks(&write_stream(&events_of(&answer, 99), &context(Conversation::default())));
    assert!(unasked.iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(unasked.len(), written.len() - 1);
}

#[test]
fn a_stream_cut_at_any_byte_tells_the_same() {
    let bytes = stream(&[
        chunk(json!({"role": "assistant", "content": "é"}), Value::Null),
        begin(0, "c0", "f"),
        piece(0, "{}"),
        chunk(json!({}), json!("tool_calls")),
        report(),
    ]);
    let whole = read_stream(&[&bytes], &ToolNames::default()).expect("a good stream");
    for at in 0..=bytes.len() {
        let cut = read_stream(&[&bytes[..at], &bytes[at..]], &ToolNames::default());
        assert_eq!(cut.as_ref(), Ok(&whole), "cut at {at}");
    }
}
