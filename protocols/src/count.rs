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
    count("messages", [fields.system, None], fields.tools, fields.messages)
}

/// Tokens of a Responses request's instructions, output schema, tools and input. A model need not be
/// named.
///
/// # Errors
/// As for a request to be generated.
pub fn count_response_input_tokens(body: &Bytes) -> Result<u64, BadRequest> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        instructions: Option<&'a RawValue>,
        #[serde(borrow)]
        text: Option<&'a RawValue>,
        #[serde(borrow)]
        tools: Option<&'a RawValue>,
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }
    let fields: Fields = serde_json::from_slice(body)
        .map_err(|error| BadRequest::NotReadable { reason: error.to_string() })?;
    count("input", [fields.instructions, fields.text], fields.tools, fields.input)
}

fn count(
    name: &'static str,
    fixed: [Option<&RawValue>; 2],
    tools: Option<&RawValue>,
    items: Option<&RawValue>,
) -> Result<u64, BadRequest> {
    let mut counted = Estimate::default();
    for part in fixed.into_iter().flatten() {
        counted.add_plain(part.get(), tokens_of)?;
    }
    let mut tokens = counted.text_bytes;
    // Models read a tool's schema as a whole, its keys included.
    if let Some(tools) = tools {
        tokens += text_count(tools.get());
    }
    if let Some(items) = items {
        let mut input = Input::measured_by(tokens_of);
        input.read(name, items.get(), 0)?;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::request::{IMAGE_TOKENS, ITEM_TOKENS};
    use super::*;

    fn count_messages(body: &Value) -> u64 {
        count_input_tokens(&Bytes::from(body.to_string())).unwrap()
    }

    #[test]
    fn text_is_tokenized_and_not_measured() {
        let one = count_messages(&json!({"model":"m","messages":["hello"]}));
        assert_eq!(one, 1 + ITEM_TOKENS);
        let line = "The quick brown fox jumps over the lazy dog.\n";
        let many = count_messages(&json!({"model":"m","system":line.repeat(10),"messages":[]}));
        assert!((90..=110).contains(&many), "{many}");
    }

    #[test]
    fn escapes_are_resolved_before_counting() {
        let plain = count_input_tokens(&Bytes::from_static(br#"{"model":"m","messages":["hello world"]}"#));
        let escaped =
            count_input_tokens(&Bytes::from_static(br#"{"model":"m","messages":["hell\u006f world"]}"#));
        assert_eq!(plain, escaped);
        let surrogate = br#"{"model":"m","messages":["\ud800"]}"#;
        assert!(count_input_tokens(&Bytes::from_static(surrogate)).unwrap() > ITEM_TOKENS);
    }

    #[test]
    fn a_picture_counts_as_in_the_estimate_whatever_its_size() {
        let data = "QUJD".repeat(100_000);
        let source = json!({"type":"base64","media_type":"image/png","data":data});
        let tokens =
            count_messages(&json!({"model":"m","messages":[{"content":[{"type":"image","source":source}]}]}));
        assert!((IMAGE_TOKENS..IMAGE_TOKENS + 30).contains(&tokens), "{tokens}");
    }

    #[test]
    fn tools_count_with_their_keys() {
        let bare = count_messages(&json!({"model":"m","messages":[]}));
        let tools = json!([{"name":"f","input_schema":{"properties":{"a_long_property_name":{}}}}]);
        assert!(count_messages(&json!({"model":"m","tools":tools,"messages":[]})) > bare + 10);
    }

    #[test]
    fn a_responses_request_counts_its_input_instructions_and_tools() {
        let count = |body: Value| count_response_input_tokens(&Bytes::from(body.to_string())).unwrap();
        assert_eq!(count(json!({"input": "hello"})), 1 + ITEM_TOKENS);
        assert_eq!(count(json!({"input": "hello", "instructions": "hello"})), 2 + ITEM_TOKENS);
        assert!(count(json!({"input": "hello", "tools": [{"name": "f"}]})) > 2 + ITEM_TOKENS);
        assert!(count_response_input_tokens(&Bytes::from_static(b"[]")).is_err());
    }

    #[test]
    fn what_could_not_be_generated_is_not_counted() {
        assert!(count_input_tokens(&Bytes::from_static(b"{\"messages\":[]}")).is_err());
    }
}
