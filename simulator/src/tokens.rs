//! The simulator's own token count: plain, deterministic, easy to redo by hand.
//!
//! A real tokenizer would tie every expected amount to its vocabulary; a count
//! anyone can redo makes a disputed bill checkable.

use serde_json::Value;

/// What an image, a file or a sound counts as.
pub const MEDIA_TOKENS: u64 = 1_000;

const BYTES_PER_TOKEN: u64 = 4;

/// Values under these keys are structure or opaque data, not text a model reads.
const NOT_TEXT: &[&str] = &[
    "type",
    "role",
    "id",
    "call_id",
    "tool_call_id",
    "tool_use_id",
    "status",
    "detail",
    "encrypted_content",
    "signature",
    "cache_control",
];

const MEDIA_TYPES: &[&str] =
    &["input_image", "input_file", "input_audio", "image_url", "image", "document", "file"];

/// Tokens of a text: a quarter of its UTF-8 bytes, rounded up.
pub fn of_text(text: &str) -> u64 {
    of_bytes(text.len() as u64)
}

/// Tokens of everything a model would read in these values: all text together at
/// four bytes a token, rounded up once, and each media part at [`MEDIA_TOKENS`].
pub fn of_values<'a>(values: impl IntoIterator<Item = &'a Value>) -> u64 {
    let mut count = Count::default();
    values.into_iter().for_each(|value| count.add(value));
    of_bytes(count.text_bytes) + count.media_parts * MEDIA_TOKENS
}

fn of_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

#[derive(Default)]
struct Count {
    text_bytes: u64,
    media_parts: u64,
}

impl Count {
    fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text_bytes += text.len() as u64,
            Value::Array(values) => values.iter().for_each(|value| self.add(value)),
            Value::Object(object) => {
                let kind = object.get("type").and_then(Value::as_str);
                if kind.is_some_and(|kind| MEDIA_TYPES.contains(&kind)) {
                    self.media_parts += 1;
                    return;
                }
                object
                    .iter()
                    .filter(|(key, _)| !NOT_TEXT.contains(&key.as_str()))
                    .for_each(|(_, value)| self.add(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_counts_a_quarter_of_its_bytes_rounded_up_once() {
        assert_eq!(of_text(""), 0);
        assert_eq!(of_text("abcde"), 2);
        let halves = json!([{ "role": "user", "content": "abc" }, { "role": "user", "content": "de" }]);
        assert_eq!(of_values([&halves]), 2);
    }

    #[test]
    fn media_counts_a_fixed_amount_however_large_its_data() {
        let image = json!([{ "type": "input_image", "image_url": "data:image/png;base64,AAAA" }]);
        assert_eq!(of_values([&image]), MEDIA_TOKENS);
    }
}
