//! `/v1/messages/count_tokens`, answered here: the text through a real tokenizer, media by allowance.
//!
//! The tokenizer is OpenAI's o200k, so the answer is an estimate for other models, as the
//! endpoint's own documentation calls it. It reads every byte of the text: run it off the hot path.

use std::borrow::Cow;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::request::{BadRequest, Estimate, Input, ParsedRequest};

/// Tokens of a Messages request's system prompt, tools and messages.
///
/// # Errors
/// As for a request to be generated.
pub fn count_input_tokens(body: &Bytes) -> Result<u64, BadRequest> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        system: Option<&'a RawValue>,
        #[serde(borrow)]
        tools: Option<&'a RawValue>,
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
    }
    // Checks the body as a whole, limits included; what follows reads the same bytes again.
    ParsedRequest::parse(Protocol::Messages, body)?;
    let fields: Fields = serde_json::from_slice(body)
        .map_err(|error| BadRequest::NotReadable { reason: error.to_string() })?;
    let mut counted = Estimate::default();
    if let Some(system) = fields.system {
        counted.add_plain(system.get(), tokens_of)?;
    }
    let mut tokens = counted.text_bytes;
    // Models read a tool's schema as a whole, its keys included.
    if let Some(tools) = fields.tools {
        tokens += text_count(tools.get());
    }
    if let Some(messages) = fields.messages {
        let mut input = Input::measured_by(tokens_of);
        input.read("messages", messages.get(), 0)?;
        let not_text = Estimate { text_bytes: 0, ..input.estimate };
        tokens += input.estimate.text_bytes + not_text.tokens();
    }
    Ok(tokens)
}

/// The measure of a count: tokens of a text as written, its escapes resolved.
fn tokens_of(raw: &str, _bytes: u64) -> u64 {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if !raw.contains('\\') {
        return text_count(raw);
    }
    let quoted = format!("\"{raw}\"");
    let counted = serde_json::from_str::<Text>(&quoted).map(|text| text_count(&text.0));
    // A lone surrogate has no text; as written it counts a little more.
    counted.unwrap_or_else(|_| text_count(raw))
}

fn text_count(text: &str) -> u64 {
    bpe_openai::o200k_base().count(text) as u64
}
