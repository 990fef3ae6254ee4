use codexapi_aggregates::usage::Usage;
use serde_json::{Value, json};

use super::streams::{finished, function_call, started, text_part};
use super::{context, events_of, sent, write_stream};
use crate::conversation::{
    Answer, CallName, Conversation, Event, OutputPart, PartKind, Reasoning, Stop, ToolCall, WebSearchCall,
};
use crate::translate::responses::{StreamWriter, write_answer};

/// What the client is sent: type, then what tells its place.
fn outline(events: &[Value]) -> Vec<String> {
    let place = |event: &Value, key: &str| {
        event.get(key).map(|value| format!(" {}", value.as_str().map_or(value.to_string(), Into::into)))
    };
    events
        .iter()
        .map(|event| {
            let kind = event["type"].as_str().unwrap().trim_start_matches("response.").to_owned();
            let keys = ["output_index", "item_id", "content_index", "summary_index", "delta"];
            keys.iter().filter_map(|key| place(event, key)).fold(kind, |line, place| line + &place)
        })
        .collect()
}

#[test]
fn a_client_is_sent_every_event_its_sdk_needs_in_order() {
    let answer = Answer {
        id: Some("msg_01".into()),
        parts: vec![
            OutputPart::Reasoning(Reasoning { texts: vec!["Hm".into()], seal: None }),
            text_part("Hello"),
            OutputPart::Refusal("No".into()),
            OutputPart::WebSearch(WebSearchCall { id: "srvtoolu_1".into(), query: Some("q".into()) }),
            OutputPart::ToolCall(function_call("{}")),
            OutputPart::ToolCall(ToolCall { name: CallName::custom("p"), ..function_call("***") }),
            OutputPart::ToolCall(ToolCall { name: CallName::tool_search(), ..function_call("{\"q\":1}") }),
        ],
        stop: Stop::ToolUse,
        usage: Some(Usage { input: 3, output: 2, ..Usage::default() }),
    };
    let context = context(Conversation::default());
    let sent = sent(&write_stream(&events_of(&answer, 3), &context));
    assert_eq!(
        outline(&sent),
        [
            "created",
            "in_progress",
            "output_item.added 0",
            "reasoning_summary_part.added 0 rs_0a1b_0 0",
            "reasoning_summary_text.delta 0 rs_0a1b_0 0 Hm",
            "reasoning_summary_text.done 0 rs_0a1b_0 0",
            "reasoning_summary_part.done 0 rs_0a1b_0 0",
            "output_item.done 0",
            "output_item.added 1",
            "content_part.added 1 msg_0a1b_1 0",
            "output_text.delta 1 msg_0a1b_1 0 Hel",
            "output_text.delta 1 msg_0a1b_1 0 lo",
            "output_text.done 1 msg_0a1b_1 0",
            "content_part.done 1 msg_0a1b_1 0",
            "content_part.added 1 msg_0a1b_1 1",
            "refusal.delta 1 msg_0a1b_1 1 No",
            "refusal.done 1 msg_0a1b_1 1",
            "content_part.done 1 msg_0a1b_1 1",
            "output_item.done 1",
            "output_item.added 2",
            "web_search_call.in_progress 2 ws_0a1b_2",
            "web_search_call.searching 2 ws_0a1b_2",
            "web_search_call.completed 2 ws_0a1b_2",
            "output_item.done 2",
            "output_item.added 3",
            "function_call_arguments.delta 3 fc_0a1b_3 {}",
            "function_call_arguments.done 3 fc_0a1b_3",
            "output_item.done 3",
            "output_item.added 4",
            "custom_tool_call_input.delta 4 ctc_0a1b_4 ***",
            "custom_tool_call_input.done 4 ctc_0a1b_4",
            "output_item.done 4",
            "output_item.added 5",
            "output_item.done 5",
            "completed",
        ]
    );
    let numbers: Vec<u64> = sent.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..sent.len() as u64).collect::<Vec<_>>());
    assert_eq!(sent.last().unwrap()["response"], write_answer(&answer, &context));
    assert_eq!(sent[0]["response"]["status"], json!("in_progress"));
}

#[test]
fn the_writer_knows_the_next_number_and_its_id() {
    let mut writer = StreamWriter::new(&context(Conversation::default()));
    assert_eq!((writer.sequence_number(), writer.response_id()), (0, "resp_0a1b"));
    let mut out = Vec::new();
    writer.write(&started(None), &mut out);
    assert_eq!(writer.sequence_number(), 2);
    writer.write(&Event::PartStarted(PartKind::Text), &mut out);
    assert_eq!(writer.sequence_number(), 4);
    assert!(out.starts_with(b"event: response.created\ndata: {"));
}

#[test]
fn a_part_without_deltas_is_told_at_its_end() {
    let events = [
        started(None),
        Event::PartEnded(text_part("Hello")),
        Event::PartStarted(PartKind::Reasoning),
        Event::PartEnded(OutputPart::Reasoning(Reasoning {
            texts: vec!["a".into(), "b".into()],
            seal: None,
        })),
        finished(Stop::Done),
    ];
    let sent = sent(&write_stream(&events, &context(Conversation::default())));
    let deltas: Vec<_> = sent.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, ["Hello", "a", "b"]);
}
