//! The body as a provider gets it: bytes cut in at their places, everything else as it came.

use std::ops::Range;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;

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
    let mut edits = usage_edit(request).into_iter().collect::<Vec<_>>();
    if upstream_model != request.model {
        let quoted = serde_json::Value::from(upstream_model).to_string();
        edits.push((request.model_at.clone(), quoted));
    }
    if edits.is_empty() {
        return request.body.clone();
    }
    edits.sort_by_key(|(at, _)| at.start);
    splice(&request.body, &edits)
}

fn usage_edit(request: &ParsedRequest) -> Option<(Range<usize>, String)> {
    debug_assert!(
        request.usage_switch == UsageSwitch::Untouched
            || matches!(request.protocol, Protocol::Chat | Protocol::Completions),
        "only chat hides usage by default"
    );
    match &request.usage_switch {
        UsageSwitch::Untouched => None,
        UsageSwitch::InsertOptions => {
            // The body is an object with at least a model, so a comma is due.
            let at = request.body.iter().position(|byte| *byte == b'{')? + 1;
            Some((at..at, r#""stream_options":{"include_usage":true},"#.into()))
        }
        UsageSwitch::Replace { at, with } => Some((at.clone(), (*with).into())),
        UsageSwitch::InsertMember { at, alone } => {
            let comma = if *alone { "" } else { "," };
            Some((*at..*at, format!(r#""include_usage":true{comma}"#)))
        }
    }
}

/// `body` with each range replaced; ranges are in order and apart.
fn splice(body: &[u8], edits: &[(Range<usize>, String)]) -> Bytes {
    let added: usize = edits.iter().map(|(_, with)| with.len()).sum();
    let mut spliced = Vec::with_capacity(body.len() + added);
    let mut from = 0;
    for (at, with) in edits {
        spliced.extend_from_slice(&body[from..at.start]);
        spliced.extend_from_slice(with.as_bytes());
        from = at.end;
    }
    spliced.extend_from_slice(&body[from..]);
    spliced.into()
}
