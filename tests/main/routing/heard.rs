//! What a client of each dialect makes of an answer: its text, its model, its usage, and whether it is one.

use codexapi_aggregates::usage::Protocol;
use serde_json::Value;

use crate::money::asking::Told;

/// A complete answer, as its client understands it.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub text: String,
    pub model: String,
    pub input: i64,
    pub output: i64,
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: Option<String>,
    pub data: Value,
}

/// Every event of a stream; comments and `[DONE]` left out.
///
/// # Panics
/// Where a client could not read it.
pub fn events(stream: &str) -> Vec<Event> {
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "the last frame is not ended: {stream}");
    stream.split("\n\n").filter_map(event).collect()
}

fn event(frame: &str) -> Option<Event> {
    let of = |field: &str| frame.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
    let data = of("data:").filter(|data| *data != "[DONE]")?;
    let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {frame}"));
    Some(Event { name: of("event:").map(str::to_owned), data })
}

/// What a complete answer says.
///
/// # Panics
/// Where it is not one.
pub fn heard(protocol: Protocol, stream: bool, told: &Told) -> Heard {
    assert_eq!(told.status, 200, "{}", told.text);
    assert!(told.complete, "{}", told.text);
    match (protocol, stream) {
        (Protocol::Responses, false) => response(&told.json()),
        (Protocol::Responses, true) => {
            let events = events(&told.text);
            check_numbers(&events);
            let last = events.last().expect("events");
            assert_eq!(last.data["type"], "response.completed", "{}", told.text);
            let heard = response(&last.data["response"]);
            assert_eq!(deltas(&events, |data| &data["delta"], "response.output_text.delta"), heard.text);
            heard
        }
        (Protocol::Chat, false) => chat(&told.json(), "message"),
        (Protocol::Completions, false) => completion(&told.json()),
        (Protocol::Chat | Protocol::Completions, true) => chunks(protocol, told),
        (Protocol::Messages, false) => message(&told.json()),
        (Protocol::Messages, true) => message_stream(told),
    }
}

/// The frames that say that a stream has failed, as each dialect's clients expect them.
///
/// # Panics
/// Where the stream says anything else at its end, or is not well-formed.
pub fn check_failure(protocol: Protocol, told: &Told) {
    assert!(told.complete, "the failure itself is told properly: {}", told.text);
    if told.status != 200 {
        assert!(told.json()["error"]["message"].is_string(), "{}", told.text);
        return;
    }
    let events = events(&told.text);
    let last = events.last().expect("an event");
    match protocol {
        Protocol::Responses => {
            check_numbers(&events);
            assert_eq!(last.name.as_deref(), Some("response.failed"), "{}", told.text);
            assert_eq!(last.data["response"]["status"], "failed");
            assert_eq!(events[events.len() - 2].data["type"], "error", "{}", told.text);
            let created = events.iter().find(|event| event.data["type"] == "response.created");
            if let Some(created) = created {
                assert_eq!(last.data["response"]["id"], created.data["response"]["id"], "{}", told.text);
                assert_eq!(last.data["response"]["model"], created.data["response"]["model"]);
            }
        }
        Protocol::Chat | Protocol::Completions => {
            assert!(last.data["error"]["message"].is_string(), "{}", told.text);
            assert!(!told.text.contains("[DONE]"));
        }
        Protocol::Messages => {
            assert_eq!(last.name.as_deref(), Some("error"), "{}", told.text);
            assert_eq!(
                (&last.data["type"], last.data["error"]["message"].is_string()),
                (&"error".into(), true)
            );
        }
    }
    let failures = events.iter().filter(|event| {
        event.data["type"] == "response.failed"
            || event.data["type"] == "error"
            || event.data["error"].is_object()
    });
    assert_eq!(failures.count(), if protocol == Protocol::Responses { 2 } else { 1 }, "{}", told.text);
}

fn check_numbers(events: &[Event]) {
    for (expected, event) in events.iter().enumerate() {
        assert_eq!(event.data["sequence_number"], expected, "{event:?}");
        assert_eq!(event.name.as_deref(), event.data["type"].as_str());
    }
}

fn deltas(events: &[Event], of: impl Fn(&Value) -> &Value, kind: &str) -> String {
    let of_kind = events.iter().filter(|event| event.data["type"] == kind);
    of_kind.map(|event| of(&event.data).as_str().expect("text")).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no count: {value}"))
}

fn response(body: &Value) -> Heard {
    assert_eq!((&body["object"], &body["status"]), (&"response".into(), &"completed".into()), "{body}");
    let output = body["output"].as_array().expect("output");
    let message = output.iter().find(|item| item["type"] == "message").expect("a message");
    Heard {
        text: text(&message["content"][0]["text"]),
        model: text(&body["model"]),
        input: count(&body["usage"]["input_tokens"]),
        output: count(&body["usage"]["output_tokens"]),
    }
}

fn chat(body: &Value, of: &str) -> Heard {
    assert_eq!(body["choices"][0]["finish_reason"], "stop", "{body}");
    Heard {
        text: text(&body["choices"][0][of]["content"]),
        model: text(&body["model"]),
        input: count(&body["usage"]["prompt_tokens"]),
        output: count(&body["usage"]["completion_tokens"]),
    }
}

fn completion(body: &Value) -> Heard {
    assert_eq!(body["object"], "text_completion", "{body}");
    assert_eq!(body["choices"][0]["finish_reason"], "stop", "{body}");
    Heard {
        text: text(&body["choices"][0]["text"]),
        model: text(&body["model"]),
        input: count(&body["usage"]["prompt_tokens"]),
        output: count(&body["usage"]["completion_tokens"]),
    }
}

fn chunks(protocol: Protocol, told: &Told) -> Heard {
    assert!(told.text.ends_with("data: [DONE]\n\n"), "{}", told.text);
    let events = events(&told.text);
    let choices = || events.iter().filter_map(|event| event.data["choices"].get(0));
    let finishes: Vec<_> = choices().filter_map(|choice| choice["finish_reason"].as_str()).collect();
    assert_eq!(finishes, ["stop"], "{}", told.text);
    let said = choices().filter_map(|choice| match protocol {
        Protocol::Completions => choice["text"].as_str(),
        Protocol::Responses | Protocol::Chat | Protocol::Messages => choice["delta"]["content"].as_str(),
    });
    let usage = events.iter().find_map(|event| event.data.get("usage").filter(|usage| usage.is_object()));
    let usage = usage.unwrap_or_else(|| panic!("no usage: {}", told.text));
    Heard {
        text: said.collect(),
        model: text(&events[0].data["model"]),
        input: count(&usage["prompt_tokens"]),
        output: count(&usage["completion_tokens"]),
    }
}

fn message(body: &Value) -> Heard {
    assert_eq!((&body["type"], &body["stop_reason"]), (&"message".into(), &"end_turn".into()), "{body}");
    let content = body["content"].as_array().expect("content");
    let block = content.iter().find(|block| block["type"] == "text").expect("text");
    Heard {
        text: text(&block["text"]),
        model: text(&body["model"]),
        input: count(&body["usage"]["input_tokens"]),
        output: count(&body["usage"]["output_tokens"]),
    }
}

fn message_stream(told: &Told) -> Heard {
    let events = events(&told.text);
    assert!(events.iter().all(|event| event.name.as_deref() == event.data["type"].as_str()), "{}", told.text);
    let one = |kind: &str| {
        let mut of_kind = events.iter().filter(|event| event.data["type"] == kind);
        let first = of_kind.next().unwrap_or_else(|| panic!("no {kind}: {}", told.text));
        assert!(of_kind.next().is_none(), "two of {kind}");
        &first.data
    };
    assert_eq!(events.last().expect("events").data["type"], "message_stop");
    let (start, delta) = (one("message_start"), one("message_delta"));
    assert_eq!(delta["delta"]["stop_reason"], "end_turn", "{delta}");
    let input = delta["usage"].get("input_tokens").filter(|input| !input.is_null());
    Heard {
        text: deltas(&events, |data| &data["delta"]["text"], "content_block_delta"),
        model: text(&start["message"]["model"]),
        input: count(input.unwrap_or(&start["message"]["usage"]["input_tokens"])),
        output: count(&delta["usage"]["output_tokens"]),
    }
}
