//! The top-level fields of the dialects, each read where it stands.

use std::ops::Range;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::estimate::{Estimate, Input, bytes_of};
use super::forward::UsageSwitch;
use super::{BadRequest, InputEstimate, MAX_CHOICES, MAX_MODEL_BYTES, ParsedRequest, Places, prompt};
use crate::json::{as_text, is_null, present, range_in};

/// Every field that any of the dialects has and metering needs; serde refuses one given twice.
#[derive(Deserialize)]
#[serde(expecting = "a JSON object")]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    n: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    best_of: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    background: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    store: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    conversation: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    prompt_cache_key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    input: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    instructions: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    system: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    functions: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    text: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    response_format: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    output_config: Option<&'a RawValue>,
}

pub(super) fn parse(protocol: Protocol, body: &Bytes) -> Result<ParsedRequest, BadRequest> {
    let not_readable = |reason: String| BadRequest::NotReadable { reason };
    let text = std::str::from_utf8(body).map_err(|error| not_readable(error.to_string()))?;
    // serde would read an array as the fields in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(not_readable("it should begin with `{`".into()));
    }
    let fields: Fields = serde_json::from_str(text).map_err(|error| not_readable(error.to_string()))?;
    let (model, model_at) = model(fields.model, body)?;
    refuse_foreign_state(protocol, &fields)?;
    let stored = Stored::read(protocol, &fields, body)?;
    let (estimate, items) = input(protocol, &fields, body)?;
    let stream = flag("stream", fields.stream)?;
    let asks_usage = matches!(protocol, Protocol::Chat | Protocol::Completions) && stream;
    let (usage_switch, include_usage) = if asks_usage {
        UsageSwitch::read(fields.stream_options, body)?
    } else {
        (UsageSwitch::Untouched, false)
    };
    Ok(ParsedRequest {
        protocol,
        model,
        stream,
        max_output_tokens: max_output(protocol, &fields)?,
        choices: choices(protocol, &fields)?,
        include_usage,
        prompt_cache_key: words("prompt_cache_key", fields.prompt_cache_key)?,
        service_tier: words("service_tier", fields.service_tier)?,
        store: stored.store,
        previous_response_id: stored.previous_response_id,
        background: stored.background,
        estimate,
        body: body.clone(),
        model_at,
        items,
        usage_switch,
        places: stored.places,
    })
}

/// What a request says of stored objects, and where.
struct Stored {
    store: Option<bool>,
    previous_response_id: Option<String>,
    background: bool,
    places: Places,
}

impl Stored {
    /// Anthropic has no stored objects: there the same words may mean anything.
    fn read(protocol: Protocol, fields: &Fields, body: &[u8]) -> Result<Self, BadRequest> {
        let at = |raw: Option<&RawValue>| raw.map(|raw| range_in(body, raw.get()));
        let items = |raw| Places { input: at(raw), ..Places::default() };
        match protocol {
            Protocol::Responses => Ok(Self {
                store: choice("store", fields.store)?,
                previous_response_id: words("previous_response_id", fields.previous_response_id)?,
                background: flag("background", fields.background)?,
                places: Places {
                    store: at(fields.store),
                    stream: at(fields.stream),
                    background: at(fields.background),
                    previous_response_id: at(fields.previous_response_id),
                    metadata: at(fields.metadata),
                    ..items(fields.input)
                },
            }),
            Protocol::Chat => Ok(Self {
                store: choice("store", fields.store)?,
                previous_response_id: None,
                background: false,
                places: Places {
                    store: at(fields.store),
                    metadata: at(fields.metadata),
                    ..items(fields.messages)
                },
            }),
            Protocol::Completions | Protocol::Messages => Ok(Self {
                store: None,
                previous_response_id: None,
                background: false,
                places: items(fields.messages),
            }),
        }
    }
}

fn model(field: Option<&RawValue>, body: &[u8]) -> Result<(String, Range<usize>), BadRequest> {
    const EXPECTED: &str = "the name of a model, a text of 1 to 256 bytes without control characters";
    let raw = field.ok_or(BadRequest::Missing { field: "model", expected: EXPECTED })?;
    let name = as_text(raw)
        .filter(|name| !name.is_empty() && name.len() <= MAX_MODEL_BYTES)
        .filter(|name| !name.chars().any(char::is_control))
        .ok_or(BadRequest::Wrong { field: "model", expected: EXPECTED })?;
    Ok((name.into_owned(), range_in(body, raw.get())))
}

/// What a provider has stored lies in the operator's account with it: one customer could go on from
/// another's conversation, and its input could not be estimated.
fn refuse_foreign_state(protocol: Protocol, fields: &Fields) -> Result<(), BadRequest> {
    let stored = [("conversation", fields.conversation), ("prompt", fields.prompt)];
    match stored.into_iter().find(|(_, value)| value.is_some_and(|value| !is_null(value))) {
        Some((field, _)) if protocol == Protocol::Responses => Err(BadRequest::Wrong {
            field,
            expected: "left out: send the whole input, nothing stored at the provider is used",
        }),
        Some(_) | None => Ok(()),
    }
}

fn input(
    protocol: Protocol,
    fields: &Fields,
    body: &[u8],
) -> Result<(InputEstimate, Vec<Range<usize>>), BadRequest> {
    if protocol == Protocol::Completions {
        let Some(raw) = fields.prompt.filter(|raw| !is_null(raw)) else {
            return Ok((InputEstimate::default(), vec![]));
        };
        return prompt::read(raw.get(), range_in(body, raw.get()).start);
    }
    let mut fixed = Estimate::default();
    let (parts, name, items) = match protocol {
        Protocol::Responses => {
            ([fields.instructions, fields.tools, fields.text, None], "input", fields.input)
        }
        Protocol::Chat | Protocol::Completions => {
            ([fields.tools, fields.functions, fields.response_format, None], "messages", fields.messages)
        }
        Protocol::Messages => {
            ([fields.system, fields.tools, fields.output_config, None], "messages", fields.messages)
        }
    };
    for part in parts.into_iter().flatten() {
        fixed.add_plain(part.get(), bytes_of)?;
    }
    let mut input = Input::measured_by(bytes_of);
    if let Some(items) = items.filter(|raw| !is_null(raw)) {
        input.read(name, items.get(), range_in(body, items.get()).start)?;
    }
    let estimate = InputEstimate { fixed_tokens: fixed.tokens(), item_tokens: input.estimate.tokens() };
    Ok((estimate, input.items))
}

fn flag(field: &'static str, raw: Option<&RawValue>) -> Result<bool, BadRequest> {
    Ok(choice(field, raw)?.unwrap_or(false))
}

fn choice(field: &'static str, raw: Option<&RawValue>) -> Result<Option<bool>, BadRequest> {
    match raw.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some("false") => Ok(Some(false)),
        Some("true") => Ok(Some(true)),
        Some(_) => Err(BadRequest::Wrong { field, expected: "true or false" }),
    }
}

fn words(field: &'static str, raw: Option<&RawValue>) -> Result<Option<String>, BadRequest> {
    let Some(raw) = raw.filter(|raw| !is_null(raw)) else { return Ok(None) };
    let text = as_text(raw).ok_or(BadRequest::Wrong { field, expected: "a text" })?;
    Ok(Some(text.into_owned()))
}

fn whole(field: &'static str, raw: Option<&RawValue>) -> Result<Option<u64>, BadRequest> {
    let Some(raw) = raw.filter(|raw| !is_null(raw)) else { return Ok(None) };
    let number = raw.get().parse().map_err(|_| BadRequest::Wrong {
        field,
        expected: "a whole number of tokens, not negative and without a fraction",
    })?;
    Ok(Some(number))
}

/// Of two limits in a chat request the larger counts: it is the one that may be billed.
fn max_output(protocol: Protocol, fields: &Fields) -> Result<Option<u64>, BadRequest> {
    match protocol {
        Protocol::Responses => whole("max_output_tokens", fields.max_output_tokens),
        Protocol::Messages | Protocol::Completions => whole("max_tokens", fields.max_tokens),
        Protocol::Chat => Ok(whole("max_completion_tokens", fields.max_completion_tokens)?
            .max(whole("max_tokens", fields.max_tokens)?)),
    }
}

/// Of a completion's `best_of` every answer is generated and billed, though only `n` are sent.
fn choices(protocol: Protocol, fields: &Fields) -> Result<u64, BadRequest> {
    match protocol {
        Protocol::Responses | Protocol::Messages => Ok(1),
        Protocol::Chat => answers("n", fields.n),
        Protocol::Completions => Ok(answers("n", fields.n)?.max(answers("best_of", fields.best_of)?)),
    }
}

fn answers(field: &'static str, raw: Option<&RawValue>) -> Result<u64, BadRequest> {
    let Some(raw) = raw.filter(|raw| !is_null(raw)) else { return Ok(1) };
    match raw.get().parse() {
        Ok(n @ 1..=MAX_CHOICES) => Ok(n),
        Ok(_) | Err(_) => Err(BadRequest::Wrong { field, expected: "a whole number from 1 to 128" }),
    }
}
