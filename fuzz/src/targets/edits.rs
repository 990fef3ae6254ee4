//! Edits of an answer on its way: one thing is changed, and everything else is as it came.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::assemble::Assembler;
use codexapi_protocols::note::{with_note, with_note_in_body};
use codexapi_protocols::relabel::Relabeler;
use codexapi_protocols::restate::{restate, restate_event};
use serde_json::Value;

use super::check::{assert_bounded, choice, client, frames, is_json, value};

const LABEL: &str = "the \"client's\" label";
const NOTE: &str = r#"{"charged_micro":12}"#;

/// The first byte chooses the dialect; the rest is a stream.
pub fn relabel(data: &[u8]) {
    let (chosen, rest) = choice(data);
    relabelled(client(chosen), rest);
}

/// The first byte chooses the dialect; the rest is the end of a stream, and a body.
pub fn note(data: &[u8]) {
    let (chosen, rest) = choice(data);
    noted(client(chosen), rest);
}

/// The first byte chooses the dialect; the rest is a stream.
pub fn assemble(data: &[u8]) {
    let (chosen, rest) = choice(data);
    assembled(client(chosen), rest);
    restated(rest);
}

pub fn relabelled(protocol: Protocol, stream: &[u8]) {
    let mut relabeler = Relabeler::new(protocol, LABEL);
    let body = Bytes::copy_from_slice(stream);
    same_but_model(&body, &relabeler.body(&body), |said| said);
    for frame in frames(stream) {
        let written = relabeler.frame(&frame);
        let again = frames(&written);
        assert_eq!(again.len(), 1, "a frame stays one frame");
        assert_eq!(again[0].event(), frame.event());
        let (Some(before), Some(after)) = (frame.data(), again[0].data()) else {
            assert_eq!(written, frame.bytes());
            continue;
        };
        same_but_model(&before, &after, |said| match protocol {
            Protocol::Responses => &mut said["response"],
            Protocol::Messages => &mut said["message"],
            Protocol::Chat | Protocol::Completions => said,
        });
        assert_eq!(relabeler.frame(&again[0]), written, "one time is enough");
    }
}

/// JSON stays JSON, and only a model that was there, a text, is another.
fn same_but_model(before: &[u8], after: &[u8], at: impl Fn(&mut Value) -> &mut Value) {
    assert_bounded(after.len(), before.len());
    assert_eq!(is_json(before), is_json(after));
    if before == after {
        return;
    }
    let (Some(mut before), Some(after)) = (value(before), value(after)) else { return };
    let model = &mut at(&mut before)["model"];
    assert!(model.is_string(), "{model}");
    *model = LABEL.into();
    assert_eq!(before, after);
}

pub fn noted(protocol: Protocol, end: &[u8]) {
    let end = Bytes::copy_from_slice(end);
    let before = frames(&end);
    let after = frames(&with_note(protocol, &end, NOTE));
    assert_eq!(before.len(), after.len(), "no frame comes or goes");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.event(), after.event());
        let (Some(before), Some(after)) = (before.data(), after.data()) else { continue };
        assert_eq!(is_json(&before), is_json(&after));
    }
    let body = with_note_in_body(&end, NOTE);
    assert_eq!(is_json(&end), is_json(&body));
    let (Some(before), Some(after)) = (value(&end), value(&body)) else { return };
    if before != after {
        // A note that the provider wrote itself is the last of two, and wins.
        assert!(before["usage"].is_object() && after["usage"]["codexapi"] != Value::Null);
    }
}

pub fn assembled(protocol: Protocol, stream: &[u8]) {
    let mut assembler = Assembler::new(protocol, 1 << 20);
    frames(stream).iter().for_each(|frame| assembler.observe(frame));
    let Some(whole) = assembler.finish() else { return };
    assert_bounded(whole.len(), stream.len());
    assert!(is_json(&whole), "{}", String::from_utf8_lossy(&whole));
}

pub fn restated(stream: &[u8]) {
    let members = [("id", "\"resp_x\"".to_owned()), ("store", "true".to_owned())];
    if let Ok(text) = std::str::from_utf8(stream) {
        let stated = restate(text, &members);
        assert!(is_json(stated.as_bytes()) || !is_json(stream), "{stated}");
    }
    for frame in frames(stream) {
        let again = frames(&restate_event(&frame, &members));
        assert_eq!(again.len(), 1, "a frame stays one frame");
        let (Some(before), Some(after)) = (frame.data(), again[0].data()) else { continue };
        assert!(is_json(&after) || !is_json(&before), "{}", String::from_utf8_lossy(&after));
    }
}
