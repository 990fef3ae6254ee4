//! The body as a provider gets it: bytes cut in at their places, everything else as it came.

use std::ops::Range;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::edit::Edits;
use super::{BadRequest, ParsedRequest};
use crate::json::{is_null, present, range_in};

/// What must be cut in so that a chat stream ends with its usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UsageSwitch {
    /// It reports usage already, or is no chat stream.
    Untouched,
    /// No `stream_options`: one is put at the front of the body.
    InsertOptions,
    /// `stream_options` or `include_usage` is there with another value.
    Replace { at: Range<usize>, with: &'static str },
    /// `stream_options` says nothing of usage; `at` is where its first member begins.
    InsertMember { at: usize, alone: bool },
}

#[derive(Deserialize)]
#[serde(expecting = "a JSON object")]
struct StreamOptions<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<&'a RawValue>,
}

impl UsageSwitch {
    /// What is to be done, and whether the client asked for usage itself.
    pub(super) fn read(field: Option<&RawValue>, body: &[u8]) -> Result<(UsageSwitch, bool), BadRequest> {
        let Some(options) = field else { return Ok((Self::InsertOptions, false)) };
        let at = range_in(body, options.get());
        if is_null(options) {
            return Ok((Self::Replace { at, with: r#"{"include_usage":true}"# }, false));
        }
        let wrong = |field, expected| BadRequest::Wrong { field, expected };
        let StreamOptions { include_usage } = Some(options.get())
            .filter(|text| text.starts_with('{'))
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or(wrong("stream_options", "an object that names each member once"))?;
        let Some(asked) = include_usage else {
            let alone = options.get()[1..].trim_ascii() == "}";
            return Ok((Self::InsertMember { at: at.start + 1, alone }, false));
        };
        match asked.get() {
            "true" => Ok((Self::Untouched, true)),
            "false" | "null" => Ok((Self::Replace { at: range_in(body, asked.get()), with: "true" }, false)),
            _ => Err(wrong("stream_options.include_usage", "true or false")),
        }
    }
}

pub(super) fn body(request: &ParsedRequest, upstream_model: &str) -> Bytes {
    let mut edits = Edits::new(&request.body);
    state_edits(request, &mut edits);
    usage_edit(request, &mut edits);
    if upstream_model != request.model {
        edits.replace(request.model_at.clone(), serde_json::Value::from(upstream_model).to_string());
    }
    edits.apply()
}

pub(super) fn asking_for_usage(request: ParsedRequest) -> ParsedRequest {
    let mut edits = Edits::new(&request.body);
    usage_edit(&request, &mut edits);
    ParsedRequest::parse(request.protocol, &edits.apply()).unwrap_or(request)
}

/// Nothing is left with the provider, and what is ours to do is not asked of it.
fn state_edits(request: &ParsedRequest, edits: &mut Edits) {
    let places = &request.places;
    match (request.protocol, &places.store) {
        // There the default is to store.
        (Protocol::Responses, None) => edits.insert_first(r#""store":false,"#.into()),
        (Protocol::Responses, Some(at)) if request.store != Some(false) => {
            edits.replace(at.clone(), "false".into());
        }
        (Protocol::Chat, Some(at)) if request.store == Some(true) => {
            edits.replace(at.clone(), "false".into());
        }
        (Protocol::Responses | Protocol::Chat | Protocol::Completions | Protocol::Messages, _) => {}
    }
    match request.protocol {
        Protocol::Responses => {
            edits.remove_members([&places.background, &places.previous_response_id]);
        }
        // OpenAI refuses metadata of a completion that is not stored.
        Protocol::Chat => edits.remove_members([&places.metadata]),
        Protocol::Completions | Protocol::Messages => {}
    }
}

fn usage_edit(request: &ParsedRequest, edits: &mut Edits) {
    debug_assert!(
        request.usage_switch == UsageSwitch::Untouched
            || matches!(request.protocol, Protocol::Chat | Protocol::Completions),
        "only chat hides usage by default"
    );
    match &request.usage_switch {
        UsageSwitch::Untouched => {}
        UsageSwitch::InsertOptions => {
            edits.insert_first(r#""stream_options":{"include_usage":true},"#.into());
        }
        UsageSwitch::Replace { at, with } => edits.replace(at.clone(), (*with).into()),
        UsageSwitch::InsertMember { at, alone } => {
            let comma = if *alone { "" } else { "," };
            edits.replace(*at..*at, format!(r#""include_usage":true{comma}"#));
        }
    }
}
