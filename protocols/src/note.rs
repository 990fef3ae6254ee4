//! Puts what a generation cost into the usage of its answer, for clients that ask for it.
//!
//! One member, `codexapi`, is cut in at the front of the `usage` object that is there already; every SDK keeps
//! members it does not know. An answer without usage is left as it is.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{object, range_in};
use crate::sse::SseSplitter;

#[derive(Deserialize)]
struct Reporting<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Nested<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// The end of a stream with `note`, which is JSON, in the last usage it reports.
pub fn with_note(protocol: Protocol, end: &Bytes, note: &str) -> Bytes {
    let mut splitter = SseSplitter::default();
    let mut frames = Vec::new();
    if splitter.push(end, &mut frames).is_err() {
        return end.clone();
    }
    frames.extend(splitter.finish());
    let reporting = frames.iter().rposition(|frame| {
        let data = frame.data();
        data.is_some_and(|data| usage_at(protocol, &data).is_some())
    });
    let Some(place) = reporting else { return end.clone() };
    let mut noted = Vec::with_capacity(end.len() + note.len() + 16);
    for (index, frame) in frames.iter().enumerate() {
        match frame.data().filter(|_| index == place) {
            Some(data) => {
                let at = usage_at(protocol, &data).expect("found above");
                noted.extend_from_slice(&frame.with_data(&cut_in(&data, at, note)));
            }
            None => noted.extend_from_slice(frame.bytes()),
        }
    }
    noted.into()
}

/// A whole answer with `note` in its usage.
pub fn with_note_in_body(body: &Bytes, note: &str) -> Bytes {
    match usage_at(Protocol::Chat, body) {
        Some(at) => cut_in(body, at, note),
        None => body.clone(),
    }
}

/// Where the first member of the usage object begins.
fn usage_at(protocol: Protocol, data: &[u8]) -> Option<usize> {
    let reporting: Reporting = object(data)?;
    let usage = match protocol {
        Protocol::Responses => object::<Nested>(reporting.response?.get().as_bytes())?.usage,
        Protocol::Chat | Protocol::Completions | Protocol::Messages => reporting.usage,
    };
    let usage = usage.filter(|usage| usage.get().starts_with('{'))?;
    Some(range_in(data, usage.get()).start + 1)
}

fn cut_in(data: &[u8], at: usize, note: &str) -> Bytes {
    let is_empty = data[at..].trim_ascii_start().starts_with(b"}");
    let comma = if is_empty { "" } else { "," };
    [&data[..at], format!("\"codexapi\":{note}{comma}").as_bytes(), &data[at..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOTE: &str = r#"{"costMicro":12}"#;

    fn last_data(noted: &Bytes, from_end: usize) -> Value {
        let text = std::str::from_utf8(noted).expect("text");
        let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        serde_json::from_str(lines[lines.len() - 1 - from_end]).expect("JSON")
    }

    #[test]
    fn the_last_usage_of_a_stream_has_the_cost_in_every_dialect() {
        let responses = Bytes::from_static(
            b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1}}}\n\n",
        );
        let noted = last_data(&with_note(Protocol::Responses, &responses, NOTE), 0);
        assert_eq!(noted["response"]["usage"], json!({"codexapi": {"costMicro": 12}, "input_tokens": 1}));
        let chat = Bytes::from_static(b"data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n");
        let noted = with_note(Protocol::Chat, &chat, NOTE);
        assert!(noted.ends_with(
            b"data: {\"choices\":[],\"usage\":{\"codexapi\":{\"costMicro\":12}}}\n\ndata: [DONE]\n\n"
        ));
        let messages = Bytes::from_static(
            b"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":3}}\n\n\
              event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        let noted = last_data(&with_note(Protocol::Messages, &messages, NOTE), 1);
        assert_eq!(noted["usage"]["codexapi"]["costMicro"], 12);
    }

    #[test]
    fn an_answer_without_usage_is_left_as_it_is() {
        let stream = Bytes::from_static(b"data: {\"choices\":[],\"usage\":null}\n\ndata: [DONE]\n\n");
        assert_eq!(with_note(Protocol::Chat, &stream, NOTE), stream);
        let body = Bytes::from_static(b"{\"id\":\"x\"}");
        assert_eq!(with_note_in_body(&body, NOTE), body);
    }

    #[test]
    fn a_whole_answer_has_the_cost_in_its_usage() {
        let body = Bytes::from_static(b"{\"usage\": { \"total_tokens\":9}}");
        let noted: Value = serde_json::from_slice(&with_note_in_body(&body, NOTE)).expect("JSON");
        assert_eq!(noted["usage"], json!({"codexapi": {"costMicro": 12}, "total_tokens": 9}));
    }

    #[test]
    fn an_array_reports_no_usage() {
        let body = Bytes::from_static(br#"[{"input_tokens":1},{"usage":{}}]"#);
        assert_eq!(with_note_in_body(&body, NOTE), body);
        let end = Bytes::from_static(b"data: {\"response\":[{\"input_tokens\":1}]}\n\n");
        assert_eq!(with_note(Protocol::Responses, &end, NOTE), end);
    }
}
