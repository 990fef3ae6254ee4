//! The character U+0000, which Postgres keeps in no text.
//!
//! It is refused where our own routes read paths, queries and bodies: a handler that passed it on would answer that the
//! database is away. Prompts may hold it, and nothing of them that may is kept as Postgres's text.

use serde_json::Value;

/// What is said of it, after the name of what holds it.
pub const REFUSED: &str = "text must not contain the character U+0000";

/// The path of the first value that holds it, in its text or in the name of a field; empty for the whole.
pub fn holder(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(place, item)| Some(below(&format!("[{place}]"), &holder(item)?))),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| match name.contains('\0') {
            true => Some(String::new()),
            false => Some(below(name, &holder(field)?)),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn below(outer: &str, inner: &str) -> String {
    let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    format!("{outer}{dot}{inner}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_holds_it_is_named_by_its_path() {
        let cases = [
            (json!({"a": "b"}), None),
            (json!({"a": "\\u0000", "b": [1, null, true]}), None),
            (json!({"code": "x\0"}), Some("code")),
            (json!({"keys": [{"name": "x"}, {"name": "\0"}]}), Some("keys[1].name")),
            (json!({"rates": [["\0"]]}), Some("rates[0][0]")),
            (json!({"rates": {"gpt\0": 1}}), Some("rates")),
            (json!({"\0": 1}), Some("")),
        ];
        for (sent, path) in cases {
            assert_eq!(holder(&sent).as_deref(), path, "{sent}");
        }
    }
}
