//! Answers that came as one body.

use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::chat;
use super::messages::Message;
use super::responses::{self, Response};
use super::{BodyMeter, Metered, Terminal, error_in, finish, name, text_bytes};
use crate::json::{as_text, is_null, object, present};
use crate::usage::{MessagesReport, RawUsage};

/// Reads a body that came with a status of success. One that is no answer (not JSON, cut off, an
/// unfinished response) has `Terminal::None`; an error body has `Terminal::ErrorInBand`.
pub fn meter_body(protocol: Protocol, body: &[u8]) -> BodyMeter {
    let mut metered = Metered::default();
    match protocol {
        Protocol::Responses => responses_body(body, &mut metered),
        Protocol::Chat | Protocol::Completions => chat_body(body, &mut metered),
        Protocol::Messages => messages_body(body, &mut metered),
    }
    if metered.terminal == Terminal::None
        && let Some(error) = error_in(body)
    {
        metered.terminal = Terminal::ErrorInBand(error);
    }
    metered
}

fn responses_body(body: &[u8], metered: &mut Metered) {
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow)]
        status: Option<&'a RawValue>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
    }
    let Some(Status { status, output }) = object(body) else { return };
    let word = match status.and_then(as_text).as_deref() {
        Some("completed" | "cancelled") => "completed",
        Some("incomplete") => "incomplete",
        Some("failed") => "failed",
        // Minimal providers leave the status out.
        None if output.is_some() => "completed",
        Some(_) | None => return,
    };
    if let Some(response) = object::<Response>(body) {
        responses::ended(word, response, metered);
    }
}

fn chat_body(body: &[u8], metered: &mut Metered) {
    #[derive(Deserialize)]
    struct Completion<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        model: Option<&'a RawValue>,
        #[serde(borrow)]
        choices: Option<&'a RawValue>,
        #[serde(borrow, default, deserialize_with = "present")]
        usage: Option<&'a RawValue>,
        #[serde(borrow, default, deserialize_with = "present")]
        error: Option<&'a RawValue>,
    }
    let Some(completion) = object::<Completion>(body) else { return };
    metered.saw_id(completion.id, completion.model);
    if let Some(report) = completion.usage.filter(|report| !is_null(report)) {
        metered.usage = Some(RawUsage::Chat(report.to_owned()));
    }
    if completion.error.is_some_and(|error| !is_null(error)) {
        return;
    }
    let choices = chat::choices(completion.choices);
    for choice in &choices {
        metered.delivered(choice.message.map_or(0, |message| text_bytes(message.get(), &chat::WRITTEN)));
    }
    if let Some(first) = choices.first() {
        finish(metered, Terminal::Completed { finish_reason: name(first.finish_reason) });
    }
}

fn messages_body(body: &[u8], metered: &mut Metered) {
    const WRITTEN: [&str; 2] = ["text", "thinking"];
    let Some(message) = object::<Message>(body) else { return };
    metered.saw_id(message.id, message.model);
    if let Some(usage) = message.usage.filter(|usage| !is_null(usage)) {
        let mut report = MessagesReport::default();
        report.update(usage);
        metered.usage = Some(RawUsage::Messages(report));
    }
    if let Some(content) = message.content {
        metered.output_started |= content.get() != "[]";
        metered.delivered(text_bytes(content.get(), &WRITTEN));
        finish(metered, Terminal::Completed { finish_reason: name(message.stop_reason) });
    }
}
