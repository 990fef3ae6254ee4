//! Says something to the person who reads a session along: as one more message at the end of an answer, in the
//! client's dialect.
//!
//! Only an answer that ends a turn in words has room for it: after a tool call a message would stand between the call
//! and its result, and an answer that was asked for as JSON would be JSON no more. It is put between what was
//! delivered and the frame that says *finished*, with a place and numbers of its own, so that nothing that was
//! delivered before has to be told anew.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::sse::{Frame, SseSplitter};

/// The end of a stream with `notice` before it; `None` where this answer has no room for one. `id` makes ids of its
/// own; `blocks` is how many blocks of content a Messages stream has begun.
pub fn with_notice(protocol: Protocol, end: &Bytes, notice: &str, id: &str, blocks: u64) -> Option<Bytes> {
    let mut splitter = SseSplitter::default();
    let mut frames = Vec::new();
    splitter.push(end, &mut frames).ok()?;
    frames.extend(splitter.finish());
    match protocol {
        Protocol::Responses => responses(&frames, notice, id),
        Protocol::Messages => messages(&frames, notice, blocks),
        // No session of a person speaks these.
        Protocol::Chat | Protocol::Completions => None,
    }
}

#[derive(Deserialize)]
struct Turn {
    #[serde(default)]
    tools: Vec<IgnoredAny>,
    text: Option<Formatted>,
    output_config: Option<Formatted>,
    output_format: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Formatted {
    format: Option<Value>,
}

/// Whether a request is a turn of an agent's session: with tools, and for an answer in words. What agents ask beside
/// it, for titles and summaries, comes without tools or wants JSON.
pub fn is_a_turn(request: &[u8]) -> bool {
    let Ok(turn) = serde_json::from_slice::<Turn>(request) else { return false };
    let in_words = |formatted: &Option<Formatted>| {
        let format = formatted.as_ref().and_then(|formatted| formatted.format.as_ref());
        format.is_none_or(|format| format["type"] == "text")
    };
    !turn.tools.is_empty()
        && in_words(&turn.text)
        && in_words(&turn.output_config)
        && turn.output_format.is_none()
}

/// Blocks of content that begin in a piece of a Messages stream.
pub fn blocks_begun(piece: &[u8]) -> u64 {
    // At the beginning of a line, where no text of the model's can be.
    memmem::find_iter(piece, b"event: content_block_start").count() as u64
}

fn responses(frames: &[Frame], notice: &str, id: &str) -> Option<Bytes> {
    let place = frames.iter().position(|frame| frame.event() == Some(b"response.completed"))?;
    let mut completed: Value = serde_json::from_slice(&frames[place].data()?).ok()?;
    let response = completed.get_mut("response")?;
    if response["text"]["format"]["type"].as_str().is_some_and(|format| format != "text") {
        return None;
    }
    let output = response.get_mut("output")?.as_array_mut()?;
    if output.last()?["type"] != "message" {
        return None;
    }
    let index = output.len();
    let item_id = format!("msg_notice_{id}");
    let text = json!({ "type": "output_text", "text": notice, "annotations": [] });
    let item = |status: &str, content: Vec<Value>| json!({ "id": item_id, "type": "message", "status": status, "role": "assistant", "content": content });
    output.push(item("completed", vec![text.clone()]));
    let part = |kind: &str, mut rest: Value| {
        rest["type"] = kind.into();
        rest["item_id"] = item_id.clone().into();
        rest["output_index"] = index.into();
        rest["content_index"] = 0.into();
        rest
    };
    let empty = json!({ "type": "output_text", "text": "", "annotations": [] });
    let mut told = vec![
        json!({ "type": "response.output_item.added", "output_index": index, "item": item("in_progress", vec![]) }),
        part("response.content_part.added", json!({ "part": empty })),
        part("response.output_text.delta", json!({ "delta": notice })),
        part("response.output_text.done", json!({ "text": notice })),
        part("response.content_part.done", json!({ "part": text.clone() })),
        json!({
            "type": "response.output_item.done", "output_index": index, "item": item("completed", vec![text]),
        }),
    ];
    told.push(completed);
    if let Some(first) = told.last().and_then(|completed| completed["sequence_number"].as_u64()) {
        for (number, event) in (first..).zip(&mut told) {
            event["sequence_number"] = number.into();
        }
    }
    let mut whole = Vec::new();
    frames[..place].iter().for_each(|frame| whole.extend_from_slice(frame.bytes()));
    told.iter().for_each(|event| push(&mut whole, event));
    frames[place + 1..].iter().for_each(|frame| whole.extend_from_slice(frame.bytes()));
    Some(whole.into())
}

fn messages(frames: &[Frame], notice: &str, blocks: u64) -> Option<Bytes> {
    let place = frames.iter().position(|frame| frame.event() == Some(b"message_delta"))?;
    let delta: Value = serde_json::from_slice(&frames[place].data()?).ok()?;
    if delta["delta"]["stop_reason"] != "end_turn" || blocks == 0 {
        return None;
    }
    let told = [
        json!({
            "type": "content_block_start", "index": blocks, "content_block": { "type": "text", "text": "" },
        }),
        json!({
            "type": "content_block_delta", "index": blocks, "delta": { "type": "text_delta", "text": notice },
        }),
        json!({ "type": "content_block_stop", "index": blocks }),
    ];
    let mut whole = Vec::new();
    frames[..place].iter().for_each(|frame| whole.extend_from_slice(frame.bytes()));
    told.iter().for_each(|event| push(&mut whole, event));
    frames[place..].iter().for_each(|frame| whole.extend_from_slice(frame.bytes()));
    Some(whole.into())
}

fn push(whole: &mut Vec<u8>, event: &Value) {
    let kind = event["type"].as_str().unwrap_or_default();
    whole.extend_from_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTICE: &str = "Surge Pricing is on.";

    fn completed(output: Value, format: &str) -> Bytes {
        let event = json!({
            "type": "response.completed", "sequence_number": 9,
            "response": { "id": "resp_1", "output": output, "text": { "format": { "type": format } } },
        });
        format!("event: response.completed\ndata: {event}\n\n").into()
    }

    fn events(stream: &Bytes) -> Vec<Value> {
        let text = std::str::from_utf8(stream).expect("text");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
    }

    #[test]
    fn codex_is_told_in_a_message_of_its_own_after_the_last_one() {
        let end = completed(json!([{ "type": "reasoning" }, { "type": "message" }]), "text");
        let noticed = with_notice(Protocol::Responses, &end, NOTICE, "a", 0).expect("has room");
        let events = events(&noticed);
        let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().expect("a kind")).collect();
        assert_eq!(
            kinds,
            [
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        let numbers: Vec<_> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
        assert_eq!(numbers, (9..16).collect::<Vec<_>>());
        assert!(events[..6].iter().all(|event| event["output_index"] == 2));
        assert_eq!(events[5]["item"]["content"][0]["text"], NOTICE);
        assert_eq!(events[6]["response"]["output"][2], events[5]["item"]);
    }

    #[test]
    fn an_answer_in_json_one_that_calls_tools_and_one_without_output_have_no_room() {
        let message = json!([{ "type": "message" }]);
        let cases = [
            completed(message.clone(), "json_schema"),
            completed(json!([{ "type": "message" }, { "type": "function_call" }]), "text"),
            completed(json!([]), "text"),
            Bytes::from_static(b"event: response.incomplete\ndata: {\"response\":{\"output\":[]}}\n\n"),
        ];
        for end in cases {
            assert_eq!(with_notice(Protocol::Responses, &end, NOTICE, "a", 0), None, "{end:?}");
        }
        let end = completed(message, "text");
        assert_eq!(with_notice(Protocol::Chat, &end, NOTICE, "a", 0), None);
    }

    #[test]
    fn claude_code_is_told_in_a_block_of_its_own_at_the_end_of_a_turn() {
        let end = |reason: &str| {
            let delta = json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": {} });
            Bytes::from(format!(
                "event: message_delta\ndata: {delta}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
            ))
        };
        let noticed = with_notice(Protocol::Messages, &end("end_turn"), NOTICE, "a", 2).expect("has room");
        let events = events(&noticed);
        let seen: Vec<_> =
            events.iter().map(|event| (event["type"].clone(), event["index"].clone())).collect();
        assert_eq!(
            seen[..3],
            [
                ("content_block_start".into(), 2.into()),
                ("content_block_delta".into(), 2.into()),
                ("content_block_stop".into(), 2.into()),
            ]
        );
        assert_eq!(events[1]["delta"]["text"], NOTICE);
        assert_eq!((events.len(), &events[3]["type"]), (5, &"message_delta".into()));
        for reason in ["tool_use", "max_tokens", "refusal"] {
            assert_eq!(with_notice(Protocol::Messages, &end(reason), NOTICE, "a", 2), None);
        }
    }

    #[test]
    fn a_turn_has_tools_and_is_answered_in_words() {
        for (request, expected) in [
            (r#"{"tools":[{}]}"#, true),
            (r#"{"tools":[{}],"text":{"verbosity":"low","format":{"type":"text"}}}"#, true),
            (r#"{"tools":[]}"#, false),
            (r#"{"input":"a title, please"}"#, false),
            (r#"{"tools":[{}],"text":{"format":{"type":"json_schema"}}}"#, false),
            (r#"{"tools":[{}],"output_config":{"format":{"type":"json_schema"}}}"#, false),
            (r#"{"tools":[{}],"output_format":{}}"#, false),
            ("[]", false),
        ] {
            assert_eq!(is_a_turn(request.as_bytes()), expected, "{request}");
        }
    }

    #[test]
    fn blocks_are_counted_by_their_first_frames() {
        let piece =
            b"event: content_block_start\ndata: {}\n\nevent: ping\ndata: {}\n\nevent: content_block_start\n";
        assert_eq!(blocks_begun(piece), 2);
    }
}
