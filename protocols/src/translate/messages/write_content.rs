//! Parts and items of the model as content blocks.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use crate::conversation::{
    CacheLifetime, CallKind, File, Image, Part, Seal, Source, Text, ToolCall, ToolResult, Untranslatable,
    WebSearchCall,
};

/// The member under which a function that stands for a custom tool gets its free text.
pub(super) const CUSTOM_INPUT: &str = "input";

/// Where Anthropic's own documentation puts arguments that are no JSON, so that the model sees its mistake.
const INVALID_JSON: &str = "INVALID_JSON";

const PICTURES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];

/// `None` where a provider would refuse the block: it has no visible character.
pub(super) fn text_block(text: &Text) -> Option<Value> {
    let block = (!text.text.trim().is_empty()).then(|| json!({ "type": "text", "text": text.text }))?;
    Some(with_cache(block, text.cache))
}

/// # Errors
/// `NotCarried` for pictures and files of a type that providers of this dialect refuse.
pub(super) fn part_block(part: &Part) -> Result<Option<Value>, Untranslatable> {
    match part {
        Part::Text(text) => Ok(text_block(text)),
        Part::Refusal(text) => Ok(text_block(&Text::plain(text.as_str()))),
        Part::Image(image) => image_block(image).map(Some),
        Part::File(file) => file_block(file).map(Some),
    }
}

/// # Errors
/// As [`part_block`].
pub(super) fn result_block(result: &ToolResult, id: &str) -> Result<Value, Untranslatable> {
    let mut block = json!({ "type": "tool_result", "tool_use_id": id });
    match result.parts.as_slice() {
        [Part::Text(Text { text, cache: None })] => block["content"] = json!(text),
        parts => {
            let mut content = vec![];
            for part in parts {
                content.extend(part_block(part)?);
            }
            if !content.is_empty() {
                block["content"] = Value::Array(content);
            }
        }
    }
    // A result that is an error may hold text only.
    let is_text = result.parts.iter().all(|part| matches!(part, Part::Text(_)));
    if result.is_error && is_text {
        block["is_error"] = json!(true);
    }
    Ok(with_cache(block, result.cache))
}

/// What an Anthropic-like provider takes back of its thinking.
pub(super) fn sealed_block(seal: &Seal) -> Option<Value> {
    match seal {
        Seal::Signature { signature, .. } if signature.is_empty() => None,
        Seal::Signature { text, signature } => {
            Some(json!({ "type": "thinking", "thinking": text, "signature": signature }))
        }
        Seal::Redacted { data } => Some(json!({ "type": "redacted_thinking", "data": data })),
        Seal::Encrypted { .. } => None,
    }
}

/// The input of a call as an object: what it says if it is one, else wrapped so that it is.
pub(super) fn input_object(call: &ToolCall) -> Value {
    if call.name.kind == CallKind::Custom {
        return wrapped(CUSTOM_INPUT, &call.input);
    }
    if call.input.trim().is_empty() {
        return Value::Object(Map::new());
    }
    let parsed = crate::json::value(call.input.as_bytes()).ok().filter(Value::is_object);
    parsed.unwrap_or_else(|| wrapped(INVALID_JSON, &call.input))
}

/// A search and that it ended; what it found is not in the model.
pub(super) fn search_blocks(search: &WebSearchCall) -> [Value; 2] {
    let id = search_id(&search.id);
    let result = json!({ "type": "web_search_tool_result", "tool_use_id": id, "content": [] });
    [search_call_block(&id, search_input(search)), result]
}

pub(super) fn search_call_block(id: &str, input: Value) -> Value {
    json!({ "type": "server_tool_use", "id": id, "name": "web_search", "input": input })
}

pub(super) fn search_input(search: &WebSearchCall) -> Value {
    match &search.query {
        Some(query) => json!({ "query": query }),
        None => json!({}),
    }
}

/// The dialect's own ids begin so; any other is put behind it.
pub(super) fn search_id(id: &str) -> String {
    let plain = safe_id(id);
    if plain.starts_with("srvtoolu_") { plain } else { format!("srvtoolu_{plain}") }
}

/// Letters, digits, `_` and `-` only, as ids must be.
pub(super) fn safe_id(id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let id: String = id.chars().map(safe).collect();
    if id.is_empty() { "_".into() } else { id }
}

pub(super) fn with_cache(mut block: Value, cache: Option<CacheLifetime>) -> Value {
    match cache {
        None => {}
        Some(CacheLifetime::FiveMinutes) => block["cache_control"] = json!({ "type": "ephemeral" }),
        Some(CacheLifetime::OneHour) => {
            block["cache_control"] = json!({ "type": "ephemeral", "ttl": "1h" });
        }
    }
    block
}

fn wrapped(key: &str, text: &str) -> Value {
    let mut object = Map::new();
    object.insert(key.into(), json!(text));
    Value::Object(object)
}

fn image_block(image: &Image) -> Result<Value, Untranslatable> {
    let source = match &image.source {
        Source::Url(url) => json!({ "type": "url", "url": url }),
        Source::Data { media_type, base64 } if PICTURES.contains(&media_type.as_str()) => {
            json!({ "type": "base64", "media_type": media_type, "data": base64 })
        }
        Source::Data { .. } => {
            return Err(Untranslatable::NotCarried {
                field: "image".into(),
                reason: "it takes pictures as JPEG, PNG, GIF or WebP only",
            });
        }
    };
    Ok(with_cache(json!({ "type": "image", "source": source }), image.cache))
}

fn file_block(file: &File) -> Result<Value, Untranslatable> {
    let refused = |reason| Untranslatable::NotCarried { field: "file".into(), reason };
    let source = match &file.source {
        Source::Url(url) => json!({ "type": "url", "url": url }),
        Source::Data { media_type, base64 } if media_type == "application/pdf" => {
            json!({ "type": "base64", "media_type": media_type, "data": base64 })
        }
        Source::Data { media_type, base64 } if media_type.starts_with("text/") => {
            let bytes = BASE64.decode(base64.as_bytes()).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| refused("its text is not UTF-8 in base64"))?;
            json!({ "type": "text", "media_type": "text/plain", "data": text })
        }
        Source::Data { .. } => return Err(refused("it takes files as PDF or plain text only")),
    };
    let mut block = json!({ "type": "document", "source": source });
    if let Some(name) = &file.name {
        block["title"] = json!(name);
    }
    Ok(with_cache(block, file.cache))
}
