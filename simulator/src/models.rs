//! The list of models. Any other name is served too, except those that begin with
//! `missing-`, which stand for models the vendor does not have.

use http::HeaderMap;
use serde_json::{Value, json};

use crate::refusal::Refusal;

const MODELS: &[(&str, &str)] = &[
    ("gpt-5.5", "openai"),
    ("gpt-5.4", "openai"),
    ("gpt-5.4-mini", "openai"),
    ("claude-opus-4-8", "anthropic"),
    ("claude-sonnet-4-5", "anthropic"),
    ("deepseek-chat", "deepseek"),
];

const CREATED_S: u64 = 1_767_225_600;
const CREATED_AT: &str = "2026-01-01T00:00:00Z";

/// Refuses the models the vendor does not have.
pub fn check(model: &str) -> Result<(), Refusal> {
    if model.starts_with("missing-") {
        return Err(Refusal::ModelNotFound(model.to_owned()));
    }
    Ok(())
}

/// Deepseek's dialect is OpenAI's, but shows its thinking and can be told not to think.
pub fn is_deepseek(model: &str) -> bool {
    model.starts_with("deepseek")
}

/// The list, in Anthropic's shape for callers that name an Anthropic version.
pub fn list(headers: &HeaderMap) -> Value {
    let anthropic = is_anthropic(headers);
    let data: Vec<Value> = MODELS.iter().map(|(id, owner)| describe(id, owner, anthropic)).collect();
    if anthropic {
        let (first, last) = (MODELS[0].0, MODELS[MODELS.len() - 1].0);
        json!({ "data": data, "has_more": false, "first_id": first, "last_id": last })
    } else {
        json!({ "object": "list", "data": data })
    }
}

pub fn one(id: &str, headers: &HeaderMap) -> Result<Value, Refusal> {
    MODELS
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(id, owner)| describe(id, owner, is_anthropic(headers)))
        .ok_or_else(|| Refusal::ModelNotFound(id.to_owned()))
}

pub fn is_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

fn describe(id: &str, owner: &str, anthropic: bool) -> Value {
    if anthropic {
        json!({ "type": "model", "id": id, "display_name": id, "created_at": CREATED_AT })
    } else {
        json!({ "id": id, "object": "model", "created": CREATED_S, "owned_by": owner })
    }
}
