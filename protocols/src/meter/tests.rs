//! Whole answers, as providers send them, and what is made of each.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol::{self, Chat, Messages, Responses};
use codexapi_aggregates::usage::Usage;
use serde_json::{Value, json};

use super::Disposition::{Forward, Hide, UpstreamFailed, Withhold};
use super::*;
use crate::sse::SseSplitter;

const CEILING: u64 = 1_000_000;
const ONE: MeterSettings = MeterSettings { choices: 1, include_usage: false };

fn run(protocol: Protocol, settings: MeterSettings, stream: &str) -> (Vec<Disposition>, StreamEnd) {
    let mut splitter = SseSplitter::default();
    let mut frames = vec![];
    splitter.push(&Bytes::copy_from_slice(stream.as_bytes()), &mut frames).unwrap();
    frames.extend(splitter.finish());
    let mut meter = StreamMeter::new(protocol, settings);
    let seen = frames.iter().map(|frame| meter.observe(frame)).collect();
    (seen, meter.end())
}

/// Frames with `event:` lines named by their type, as Responses and Messages have them.
fn typed(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

fn chunks(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

fn usage(metered: &Metered) -> Usage {
    metered.usage.as_ref().expect("usage was reported").check(CEILING).expect("usage is sound")
}

fn completed(reason: &str) -> Terminal {
    Terminal::Completed { finish_reason: Some(reason.into()) }
}

// Responses

fn responses_events(last: Value) -> Vec<Value> {
    vec![
        json!({"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"gpt-up","status":"in_progress","usage":null,"error":null}}),
        json!({"type":"response.output_item.added","sequence_number":1,"item":{"type":"message"}}),
        json!({"type":"response.output_text.delta","sequence_number":2,"delta":"Hello \"you\"\n"}),
        json!({"type":"response.function_call_arguments.delta","sequence_number":3,"delta":"{}"}),
        json!({"type":"response.output_item.done","sequence_number":4,"item":{"type":"message","content":[{"type":"output_text","text":"Hello"}]}}),
        last,
    ]
}

fn responses_end(kind: &str, status: &str) -> Value {
    json!({"type":kind,"sequence_number":5,"response":{
        "id":"resp_1","model":"gpt-up-2026","status":status,"output":[{"type":"message"}],"error":null,
        "incomplete_details":{"reason":"max_output_tokens"},
        "usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"total_tokens":15}}})
}

#[test]
fn a_response_is_withheld_from_completed_on() {
    let mut events = responses_events(responses_end("response.completed", "completed"));
    events.push(json!({"type":"keepalive"}));
    let (seen, end) = run(Responses, ONE, &typed(&events));
    assert_eq!(seen, [Forward, Forward, Forward, Forward, Forward, Withhold, Withhold]);
    assert_eq!(end.terminal, Terminal::Completed { finish_reason: None });
    assert_eq!(usage(&end), Usage { input: 6, cached_input: 4, output: 5, ..Usage::default() });
    assert_eq!(end.response_id.as_deref(), Some("resp_1"));
    assert_eq!(end.served_model.as_deref(), Some("gpt-up-2026"));
    assert_eq!(end.output_bytes, "Hello \"you\"\n{}".len() as u64);
    assert_eq!(end.events_seen, 7);
}

#[test]
fn an_incomplete_response_is_charged_and_withheld_too() {
    let events = responses_events(responses_end("response.incomplete", "incomplete"));
    let (seen, end) = run(Responses, ONE, &typed(&events));
    assert_eq!(seen.last(), Some(&Withhold));
    assert_eq!(end.terminal, Terminal::Incomplete { reason: Some("max_output_tokens".into()) });
    assert!(end.terminal.is_finished() && end.usage.is_some());
}

#[test]
fn a_failed_response_is_never_forwarded_but_its_usage_is_kept() {
    let mut last = responses_end("response.failed", "failed");
    last["response"]["error"] = json!({"code":"server_error","message":"boom"});
    let (seen, end) = run(Responses, ONE, &typed(&responses_events(last)));
    assert_eq!(seen.last(), Some(&UpstreamFailed));
    let error = UpstreamError { code: Some("server_error".into()), message: Some("boom".into()) };
    assert_eq!(end.terminal, Terminal::Failed(error));
    assert!(end.usage.is_some() && end.output_started);
}

#[test]
fn a_status_of_failed_counts_for_more_than_the_events_name() {
    let events = responses_events(responses_end("response.completed", "failed"));
    let (seen, end) = run(Responses, ONE, &typed(&events));
    assert_eq!(seen.last(), Some(&UpstreamFailed));
    assert!(end.terminal.is_failed());
}

#[test]
fn error_events_of_every_form_are_failures() {
    for (event, code) in [
        (json!({"type":"error","code":"rate_limit_exceeded","message":"slow"}), "rate_limit_exceeded"),
        (json!({"type":"error","error":{"type":"server_error","message":"slow"}}), "server_error"),
        (json!({"error":{"code":"x","message":"slow"}}), "x"),
        (json!({"error":{"code":429,"message":"slow"}}), "429"),
    ] {
        let (seen, end) = run(Responses, ONE, &format!("data: {event}\n\n"));
        assert_eq!(seen, [UpstreamFailed], "{event}");
        let error = UpstreamError { code: Some(code.into()), message: Some("slow".into()) };
        assert_eq!(end.terminal, Terminal::ErrorInBand(error));
    }
}

#[test]
fn a_failure_after_the_end_does_not_undo_it_and_is_hidden() {
    let mut events = responses_events(responses_end("response.completed", "completed"));
    events.push(json!({"type":"error","message":"late"}));
    let (seen, end) = run(Responses, ONE, &typed(&events));
    assert_eq!(seen.last(), Some(&Hide));
    assert!(end.terminal.is_finished());
}

#[test]
fn the_type_is_read_where_it_stands_with_or_without_an_event_line() {
    for stream in [
        "data: {\"sequence_number\":5, \"type\" : \"response.completed\",\"response\":{\"id\":\"r\"}}\n\n",
        "event: response.completed\ndata: {\"response\":{\"id\":\"r\"}}\n\n",
        "data: {\"type\":\"response.comp\\u006ceted\",\"response\":{\"id\":\"r\"}}\n\n",
        "data: {\"type\":\"response.completed\",\ndata: \"response\":{\"id\":\"r\"}}\n\n",
    ] {
        let (seen, end) = run(Responses, ONE, stream);
        assert_eq!(seen, [Withhold], "{stream}");
        assert_eq!(end.response_id.as_deref(), Some("r"));
        assert!(end.usage.is_none(), "no report was given");
    }
}

#[test]
fn an_end_that_cannot_be_read_is_an_end_without_report() {
    let (seen, end) = run(Responses, ONE, "data: {\"type\":\"response.completed\",\"response\":oops\n\n");
    assert_eq!(seen, [Withhold]);
    assert!(end.terminal.is_finished() && end.usage.is_none());
}

#[test]
fn a_usage_of_null_is_a_missing_report_and_zero_is_a_fact() {
    let mut last = responses_end("response.completed", "completed");
    last["response"]["usage"] = Value::Null;
    assert!(run(Responses, ONE, &typed(&[last.clone()])).1.usage.is_none());
    last["response"]["usage"] = json!({"input_tokens":0,"output_tokens":0,"total_tokens":0});
    assert_eq!(usage(&run(Responses, ONE, &typed(&[last])).1), Usage::default());
}

#[test]
fn output_without_deltas_is_counted_from_the_items_else_from_the_end() {
    let item = json!({"type":"message","content":[{"type":"output_text","text":"twelve bytes"}]});
    let done = json!({"type":"response.output_item.done","item":item});
    let end = |output: Value| json!({"type":"response.completed","response":{"id":"r","output":output}});
    let (_, from_items) = run(Responses, ONE, &typed(&[done, end(json!([item]))]));
    let (_, from_end) = run(Responses, ONE, &typed(&[end(json!([item]))]));
    assert_eq!((from_items.output_bytes, from_end.output_bytes), (12, 12));
    assert_eq!(from_items.estimated_output_tokens(), 3);
}

#[test]
fn web_searches_are_counted_once_and_page_visits_never() {
    let call = |action: Value| json!({"type":"web_search_call","id":"ws","action":action});
    let items = [call(json!({"type":"search"})), call(json!({"type":"open_page"})), call(Value::Null)];
    let mut events: Vec<_> =
        items.iter().map(|item| json!({"type":"response.output_item.done","item":item})).collect();
    let mut last = responses_end("response.completed", "completed");
    last["response"]["output"] = json!(items);
    events.push(last);
    let (_, end) = run(Responses, ONE, &typed(&events));
    assert_eq!(usage(&end).web_search_calls, 2);
}

#[test]
fn sound_is_no_text() {
    let delta = json!({"type":"response.audio.delta","delta":"AAAA"});
    assert_eq!(run(Responses, ONE, &typed(&[delta])).1.output_bytes, 0);
}

// Chat

fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-up","usage":null,
        "choices":[{"index":0,"delta":delta,"logprobs":null,"finish_reason":finish}]})
}

fn usage_chunk() -> Value {
    json!({"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-up","choices":[],
        "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}})
}

fn chat_stream() -> String {
    let mut stream = chunks(&[
        chunk(json!({"role":"assistant","content":""}), None),
        chunk(json!({"content":"Hi \"finish_reason\":\"stop\""}), None),
        chunk(json!({"reasoning_content":"hm"}), None),
        chunk(
            json!({"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":"{}"}}]}),
            None,
        ),
        chunk(json!({}), Some("stop")),
        usage_chunk(),
    ]);
    stream.push_str("data: [DONE]\n\n");
    stream
}

#[test]
fn a_chat_is_withheld_from_its_finish_reason_and_the_usage_nobody_asked_for_is_hidden() {
    let (seen, end) = run(Chat, ONE, &chat_stream());
    assert_eq!(seen, [Forward, Forward, Forward, Forward, Withhold, Hide, Withhold]);
    assert_eq!(end.terminal, completed("stop"));
    assert_eq!(usage(&end), Usage { input: 10, output: 5, ..Usage::default() });
    assert_eq!(end.output_bytes, "Hi \"finish_reason\":\"stop\"hm{}".len() as u64);
    assert_eq!(
        (end.response_id.as_deref(), end.served_model.as_deref()),
        (Some("chatcmpl-1"), Some("gpt-up"))
    );
}

#[test]
fn who_asked_for_usage_gets_its_chunk() {
    let (seen, _) = run(Chat, MeterSettings { include_usage: true, ..ONE }, &chat_stream());
    assert_eq!(seen[4..], [Withhold, Withhold, Withhold]);
}

#[test]
fn spacing_changes_nothing() {
    let spaced = chat_stream().replace("\":", "\": ").replace(",\"", ", \"");
    // The text itself was spaced, too.
    let (seen, end) = run(Chat, ONE, &spaced);
    assert_eq!((seen, end.terminal), (run(Chat, ONE, &chat_stream()).0, completed("stop")));
}

#[test]
fn usage_in_the_last_chunk_itself_counts_and_is_not_hidden() {
    let mut last = chunk(json!({}), Some("length"));
    last["usage"] = json!({"prompt_tokens":1,"completion_tokens":2});
    let (seen, end) = run(Chat, ONE, &chunks(&[chunk(json!({"content":"x"}), None), last]));
    assert_eq!(seen, [Forward, Withhold]);
    assert_eq!(usage(&end).total_tokens(), 3);
    assert_eq!(end.terminal, completed("length"));
}

#[test]
fn several_choices_end_when_all_have_finished() {
    let settings = MeterSettings { choices: 2, include_usage: false };
    let mut second = chunk(json!({}), Some("stop"));
    second["choices"][0]["index"] = json!(1);
    let first = chunk(json!({}), Some("stop"));
    let start = chunk(json!({"content":"a"}), None);
    let (seen, cut) = run(Chat, settings, &chunks(&[start.clone(), first.clone()]));
    assert_eq!((seen[1], cut.terminal), (Withhold, Terminal::None));
    let (_, whole) = run(Chat, settings, &chunks(&[start.clone(), first.clone(), second, usage_chunk()]));
    assert_eq!(whole.terminal, completed("stop"));
    // A provider that ignores n ends with [DONE].
    let ignored = chunks(&[start, first]) + "data: [DONE]\n\n";
    assert_eq!(run(Chat, settings, &ignored).1.terminal, completed("stop"));
    let mut both = chunk(json!({"content":"x"}), None);
    both["choices"] = json!([
        {"index":0,"delta":{"content":"aa"},"finish_reason":null},
        {"index":1,"delta":{"content":"bb"},"finish_reason":"stop"}]);
    let (seen, end) = run(Chat, settings, &chunks(&[chunk(json!({"role":"assistant"}), None), both]));
    assert_eq!((seen[1], end.output_bytes), (Withhold, 4));
}

#[test]
fn done_ends_what_has_begun_and_nothing_else() {
    let begun = chunks(&[chunk(json!({"content":"a"}), None)]) + "data: [DONE]\n\n";
    let (seen, end) = run(Chat, ONE, &begun);
    assert_eq!(seen, [Forward, Withhold]);
    assert_eq!(end.terminal, Terminal::Completed { finish_reason: None });
    assert_eq!(run(Chat, ONE, "data: [DONE]\n\n").1.terminal, Terminal::None);
}

#[test]
fn an_error_in_a_chat_stream_is_a_failure_even_beside_choices() {
    let mut last = chunk(json!({}), None);
    last["error"] = json!({"message":"boom","type":"server_error","code":null});
    let (seen, end) = run(Chat, ONE, &chunks(&[chunk(json!({"content":"a"}), None), last]));
    assert_eq!(seen, [Forward, UpstreamFailed]);
    let error = UpstreamError { code: Some("server_error".into()), message: Some("boom".into()) };
    assert_eq!(end.terminal, Terminal::ErrorInBand(error));
}

// Messages

fn messages_events() -> Vec<Value> {
    vec![
        json!({"type":"message_start","message":{"id":"msg_1","type":"message","model":"claude-up","content":[],
            "stop_reason":null,"usage":{"input_tokens":25,"cache_read_input_tokens":3,
            "cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":5},
            "output_tokens":1}}}),
        json!({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}),
        json!({"type":"ping"}),
        json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}),
        json!({"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}),
        json!({"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}),
        json!({"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"AAAA"}}),
        json!({"type":"content_block_stop","index":0}),
        json!({"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}),
        json!({"type":"message_stop"}),
    ]
}

#[test]
fn a_message_is_withheld_from_its_stop_reason_and_its_usage_is_put_together() {
    let (seen, end) = run(Messages, ONE, &typed(&messages_events()));
    assert_eq!(seen[..8], [Forward; 8]);
    assert_eq!(seen[8..], [Withhold, Withhold]);
    assert_eq!(end.terminal, completed("end_turn"));
    let expected = Usage {
        input: 25,
        cached_input: 3,
        cache_write_5m: 2,
        cache_write_1h: 5,
        output: 15,
        ..Usage::default()
    };
    assert_eq!(usage(&end), expected);
    assert_eq!(end.output_bytes, "Hello{}hm".len() as u64);
    assert_eq!((end.response_id.as_deref(), end.served_model.as_deref()), (Some("msg_1"), Some("claude-up")));
}

#[test]
fn a_message_cut_off_has_no_final_usage_but_its_input_is_known() {
    let events = messages_events();
    let (_, end) = run(Messages, ONE, &typed(&events[..5]));
    assert_eq!(end.terminal, Terminal::None);
    assert!(end.usage.is_none());
    let estimated = end.estimated_usage(1_000, CEILING);
    assert_eq!((estimated.total_input(), estimated.output), (35, 2));
    let (_, nothing) = run(Messages, ONE, "");
    assert_eq!(nothing.estimated_usage(1_000, CEILING), Usage { input: 1_000, ..Usage::default() });
}

#[test]
fn a_stop_reason_without_usage_is_an_end_without_report() {
    let mut events = messages_events();
    events[8].as_object_mut().unwrap().remove("usage");
    let (_, end) = run(Messages, ONE, &typed(&events));
    assert_eq!(end.terminal, completed("end_turn"));
    assert!(end.usage.is_none() && end.usage_so_far.is_some());
}

#[test]
fn a_delta_without_stop_reason_is_forwarded_and_its_figures_count() {
    let mut events = messages_events();
    events.insert(
        8,
        json!({"type":"message_delta","delta":{"stop_reason":null},"usage":{"input_tokens":26,"output_tokens":9}}),
    );
    let (seen, end) = run(Messages, ONE, &typed(&events));
    assert_eq!(seen[8], Forward);
    assert_eq!((usage(&end).input, usage(&end).output), (26, 15));
}

#[test]
fn a_message_stop_alone_ends_what_has_begun() {
    let mut events = messages_events();
    events.remove(8);
    let (seen, end) = run(Messages, ONE, &typed(&events));
    assert_eq!(seen.last(), Some(&Withhold));
    assert_eq!(end.terminal, Terminal::Completed { finish_reason: None });
    assert_eq!(run(Messages, ONE, &typed(&[json!({"type":"message_stop"})])).1.terminal, Terminal::None);
}

#[test]
fn anthropics_error_event_is_a_failure() {
    let mut events = messages_events();
    events.truncate(4);
    events.push(json!({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}));
    let (seen, end) = run(Messages, ONE, &typed(&events));
    assert_eq!(seen.last(), Some(&UpstreamFailed));
    let error = UpstreamError { code: Some("overloaded_error".into()), message: Some("Overloaded".into()) };
    assert_eq!(end.terminal, Terminal::ErrorInBand(error));
    assert!(end.output_started);
}

// What holds for all

#[test]
fn a_stream_cut_at_any_byte_is_finished_only_if_its_end_had_come() {
    let cases = [
        (Responses, typed(&responses_events(responses_end("response.completed", "completed")))),
        (Chat, chat_stream()),
        (Messages, typed(&messages_events())),
    ];
    for (protocol, stream) in cases {
        let (_, whole) = run(protocol, ONE, &stream);
        let mut finished_before = false;
        for cut in 0..=stream.len() {
            let (seen, end) = run(protocol, ONE, &stream[..cut]);
            let finished = end.terminal.is_finished();
            assert!(finished || !finished_before, "{protocol:?}: an end that had come is gone at {cut}");
            assert_eq!(finished, seen.contains(&Withhold), "{protocol:?} cut at {cut}");
            assert!(finished || end.usage.is_none(), "{protocol:?}: final usage before the end at {cut}");
            assert!(end.output_bytes <= whole.output_bytes);
            finished_before = finished;
        }
        assert!(finished_before);
    }
}

#[test]
fn comments_are_forwarded_until_frames_are_withheld() {
    let stream = format!(": up\n\n{}: down\n\n", chat_stream());
    let (seen, _) = run(Chat, ONE, &stream);
    assert_eq!((seen[0], *seen.last().unwrap()), (Forward, Withhold));
}

#[test]
fn what_is_no_json_is_forwarded_and_counts_for_nothing() {
    for protocol in [Responses, Chat, Messages] {
        let (seen, end) =
            run(protocol, ONE, "data: {oops\n\ndata: \"delta\":\n\ndata: 7\n\ndata: \u{e9}\n\n");
        assert_eq!(seen, [Forward; 4]);
        assert_eq!((end.terminal, end.output_bytes), (Terminal::None, 0));
    }
}

#[test]
fn names_from_a_provider_are_bounded_and_free_of_control_characters() {
    let id = "é".repeat(1_000) + "\0";
    let event = json!({"type":"response.created","response":{"id":id,"model":"a\u{0}b"}});
    let (_, end) = run(Responses, ONE, &typed(&[event]));
    assert!(end.response_id.unwrap().len() <= MAX_NAME_BYTES);
    assert_eq!(end.served_model.as_deref(), Some("ab"));
}

// Bodies

#[test]
fn a_body_tells_the_same_as_a_stream() {
    let response = responses_end("response.completed", "completed")["response"].to_string();
    let body = meter_body(Responses, response.as_bytes());
    assert_eq!(body.terminal, Terminal::Completed { finish_reason: None });
    assert_eq!(usage(&body).total_tokens(), 15);

    let chat = json!({"id":"c","model":"up","choices":[{"message":{"content":"abcd"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}});
    let body = meter_body(Chat, chat.to_string().as_bytes());
    assert_eq!((body.terminal.clone(), body.output_bytes), (completed("stop"), 4));
    assert_eq!(usage(&body).total_tokens(), 3);

    let message = json!({"id":"m","type":"message","model":"up","content":[{"type":"text","text":"abcd"}],
        "stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}});
    let body = meter_body(Messages, message.to_string().as_bytes());
    assert_eq!((body.terminal.clone(), body.output_bytes), (completed("end_turn"), 4));
    assert_eq!((body.response_id.as_deref(), usage(&body).total_tokens()), (Some("m"), 3));
}

#[test]
fn the_smallest_bodies_that_clients_accept_are_answers() {
    for (protocol, body) in [
        (Chat, r#"{"choices":[{"message":{"content":"x"}}]}"#),
        (Responses, r#"{"output":[{"type":"message"}]}"#),
        (Messages, r#"{"content":[{"type":"text","text":"x"}]}"#),
    ] {
        let metered = meter_body(protocol, body.as_bytes());
        assert_eq!(metered.terminal, Terminal::Completed { finish_reason: None }, "{body}");
        assert!(metered.usage.is_none() && metered.output_started);
    }
}

#[test]
fn an_error_body_under_status_200_is_a_failure() {
    for (protocol, body) in [
        (Chat, r#"{"error":{"message":"boom","code":"x"}}"#),
        (Chat, r#"{"choices":[],"error":{"message":"boom","code":"x"}}"#),
        (Responses, r#"{"error":{"message":"boom","code":"x"}}"#),
        (Messages, r#"{"type":"error","error":{"message":"boom","type":"x"}}"#),
    ] {
        let metered = meter_body(protocol, body.as_bytes());
        let error = UpstreamError { code: Some("x".into()), message: Some("boom".into()) };
        assert_eq!(metered.terminal, Terminal::ErrorInBand(error), "{body}");
    }
    let failed = r#"{"id":"r","status":"failed","error":{"code":"x","message":"boom"},"output":[]}"#;
    assert!(matches!(meter_body(Responses, failed.as_bytes()).terminal, Terminal::Failed(_)));
    let text = meter_body(Chat, br#"{"error":"boom"}"#);
    assert!(matches!(text.terminal, Terminal::ErrorInBand(UpstreamError { message: Some(_), .. })));
}

#[test]
fn a_body_that_is_no_answer_is_none() {
    for (protocol, body) in [
        (Responses, r#"{"id":"r","status":"in_progress","output":[],"error":null}"#),
        (Responses, r#"{"id":"r","status":"queued"}"#),
        (Chat, r#"{"choices":[]}"#),
        (Chat, r#"{"choices":[{"message":{"content":"x"}}"#),
        (Messages, r#"{}"#),
        (Messages, "<html>"),
    ] {
        assert_eq!(meter_body(protocol, body.as_bytes()).terminal, Terminal::None, "{body}");
    }
}

#[test]
fn an_array_is_no_object_with_its_members_in_order() {
    let bodies = [
        (Responses, r#"["completed",[{"type":"message"}]]"#),
        (
            Responses,
            r#"["id","model","completed",[{"type":"message"}],{"input_tokens":1,"output_tokens":1}]"#,
        ),
        (Chat, r#"["id","model",[{"message":{"content":"x"},"finish_reason":"stop"}],{"total_tokens":2}]"#),
        (Chat, r#"{"id":"c","choices":[[null,{"content":"x"},"stop"]]}"#),
        (Messages, r#"["id","model",{"input_tokens":1,"output_tokens":1},[{"type":"text"}],"end_turn"]"#),
    ];
    for (protocol, body) in bodies {
        let metered = meter_body(protocol, body.as_bytes());
        assert_eq!((metered.terminal, metered.output_started), (Terminal::None, false), "{body}");
        assert!(metered.usage.is_none(), "{body}");
    }
    let streams = [
        (Responses, "event: response.completed\ndata: [{\"status\":\"completed\",\"usage\":{}}]\n\n"),
        (Chat, "data: [\"id\",\"m\",[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],{}]\n\n"),
        (Chat, "data: {\"choices\":[[{\"content\":\"x\"},null,\"stop\"]]}\n\n"),
        (Messages, "event: message_start\ndata: [[\"id\",\"m\",{\"input_tokens\":1}]]\n\n"),
        (Messages, "event: message_delta\ndata: [[\"end_turn\"],{\"output_tokens\":1}]\n\n"),
        (Messages, "event: message_delta\ndata: {\"delta\":[\"end_turn\"]}\n\n"),
    ];
    for (protocol, stream) in streams {
        let (_, end) = run(protocol, ONE, stream);
        assert!(end.usage.is_none() && end.usage_so_far.is_none() && end.output_bytes == 0, "{stream}");
        // An end that is named and cannot be read is an end without a report.
        assert!(protocol == Responses || end.terminal == Terminal::None, "{stream}");
    }
}

#[test]
fn an_unfinished_or_incomplete_body_says_so() {
    let body = responses_end("response.incomplete", "incomplete")["response"].to_string();
    let metered = meter_body(Responses, body.as_bytes());
    assert_eq!(metered.terminal, Terminal::Incomplete { reason: Some("max_output_tokens".into()) });
    let cancelled = responses_end("x", "cancelled")["response"].to_string();
    assert_eq!(meter_body(Responses, cancelled.as_bytes()).terminal, completed("cancelled"));
}
