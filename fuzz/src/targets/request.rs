//! Requests: what is forwarded is the request, for the provider's model, and leaves nothing with it.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::count::{count_input_tokens, count_response_input_tokens};
use codexapi_protocols::request::{FILE_TOKENS, ParsedRequest, earlier_items};
use codexapi_protocols::translate::responses::{strip_foreign, strip_foreign_thinking};
use serde_json::Value;

use super::check::{assert_bounded, choice, client, halves, is_json, value};

/// A provider's name of a model, with all that must be escaped.
const UPSTREAM_MODEL: &str = "up \"stream\"\\ \u{e9}\u{2028}";

/// The first byte chooses the dialect; after a zero byte an earlier response may follow.
pub fn request(data: &[u8]) {
    let (chosen, rest) = choice(data);
    let (body, response) = halves(rest);
    read(client(chosen), body, response);
}

/// The first byte chooses the dialect.
pub fn count(data: &[u8]) {
    let (chosen, body) = choice(data);
    counted(client(chosen), body);
}

/// The first byte chooses the dialect.
pub fn strip(data: &[u8]) {
    let (chosen, body) = choice(data);
    stripped(client(chosen), body);
}

pub fn read(protocol: Protocol, body: &[u8], response: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let Ok(parsed) = ParsedRequest::parse(protocol, &body) else { return };
    assert!(is_json(&body), "only JSON is metered");
    assert_eq!(parsed.prefix(&[7; 32]).digests.len(), parsed.item_count());
    assert!(parsed.estimate.total_tokens() <= (body.len() as u64 + 1) * FILE_TOKENS);
    if protocol != Protocol::Completions {
        let items: Vec<Value> = serde_json::from_str(&parsed.input_json()).unwrap_or_default();
        assert!(items.is_empty() || items.len() == parsed.item_count(), "{}", parsed.input_json());
    }
    forwarded(&parsed, &body);
    if protocol == Protocol::Responses {
        let run = reparsed(Protocol::Responses, &parsed.in_foreground());
        assert!(!run.background && run.store == Some(false) && run.stream);
        expanded(&parsed, response);
    }
}

fn forwarded(parsed: &ParsedRequest, body: &Bytes) {
    let forwarded = parsed.forward_body(UPSTREAM_MODEL);
    assert_bounded(forwarded.len(), body.len());
    let again = reparsed(parsed.protocol, &forwarded);
    assert_eq!(again.model, UPSTREAM_MODEL);
    assert_eq!(again.forward_body(UPSTREAM_MODEL), forwarded, "what was forwarded needs no more changes");
    assert_eq!((again.estimate, again.stream), (parsed.estimate, parsed.stream));
    assert_eq!((again.choices, again.max_output_tokens), (parsed.choices, parsed.max_output_tokens));
    assert_eq!(again.prefix(&[7; 32]).digests, parsed.prefix(&[7; 32]).digests);
    let usage_is_asked = again.include_usage || !again.stream;
    match parsed.protocol {
        Protocol::Responses => {
            assert_eq!(again.store, Some(false));
            assert!(!again.background && again.previous_response_id.is_none());
        }
        Protocol::Chat => assert!(again.store != Some(true) && again.metadata().is_none() && usage_is_asked),
        Protocol::Completions => assert!(usage_is_asked),
        Protocol::Messages => {}
    }
}

/// Going on from an earlier response: its items come first, ours after them, without those that name an item which
/// cannot be sent again.
fn expanded(parsed: &ParsedRequest, response: &[u8]) {
    let Ok(response) = std::str::from_utf8(response) else { return };
    let Ok(earlier) = earlier_items(&parsed.input_json(), response) else { return };
    let own: Result<Vec<Value>, _> = serde_json::from_str(&parsed.input_json());
    let references = parsed.item_references();
    let named = references.iter().map(|id| (id.clone(), None)).collect();
    let whole = parsed.expand(&earlier, &named);
    let again = reparsed(Protocol::Responses, &whole);
    assert_eq!(again.previous_response_id, None);
    let (Ok(own), Some(body)) = (own, value(&whole)) else { return };
    let sent = body["input"].as_array().expect("the input is a list");
    assert!(sent.len() >= earlier.len(), "what came earlier stays");
    let ours = &sent[earlier.len()..];
    let names_one = |item: &Value| references.iter().any(|id| item["id"] == **id);
    assert!(ours.len() <= own.len() && ours.len() >= own.iter().filter(|item| !names_one(item)).count());
    let mut given = own.iter();
    assert!(ours.iter().all(|sent| given.any(|own| own == sent)), "each as it was given, in its order");
    if references.is_empty() {
        assert_eq!(ours, own);
    }
}

#[track_caller]
fn reparsed(protocol: Protocol, body: &Bytes) -> ParsedRequest {
    ParsedRequest::parse(protocol, body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

pub fn counted(protocol: Protocol, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let counted = match protocol {
        Protocol::Responses => count_response_input_tokens(&body),
        Protocol::Messages | Protocol::Chat | Protocol::Completions => count_input_tokens(&body),
    };
    if let Ok(tokens) = counted {
        assert!(tokens <= (body.len() as u64 + 1) * FILE_TOKENS, "{tokens}");
    }
}

pub fn stripped(protocol: Protocol, body: &[u8]) {
    let strip = match protocol {
        Protocol::Messages => strip_foreign_thinking,
        Protocol::Responses | Protocol::Chat | Protocol::Completions => strip_foreign,
    };
    let Some(stripped) = strip(body) else { return };
    assert!(is_json(&stripped) || !is_json(body), "{}", String::from_utf8_lossy(&stripped));
    assert!(stripped.len() < body.len());
    assert_eq!(strip(&stripped), None, "one time is enough");
}
