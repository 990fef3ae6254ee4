//! What commands print: aligned text for people, or one JSON document for scripts.
//!
//! Customers choose names and write what else is listed: what is printed goes through `printable`.

use std::io::{self, Write};

use codexapi_aggregates::printable::printable;
use serde_json::{Map, Value};

/// Columns that stand first where there are any, in this order: what it is about, then money from what came in to what
/// is left of it. The others follow by name.
const FIRST: [&str; 40] = [
    "id",
    "entry",
    "done",
    "window",
    "from",
    "to",
    "at",
    "day",
    "account",
    "name",
    "kind",
    "family",
    "model",
    "plan",
    "key",
    "mode",
    "provider",
    "reasons",
    "generation",
    "requests",
    "generations",
    "amountUsd",
    "balanceUsd",
    "heldUsd",
    "inputUsd",
    "cachedInputUsd",
    "outputUsd",
    "oldInputUsd",
    "newInputUsd",
    "oldOutputUsd",
    "newOutputUsd",
    "invoicedUsd",
    "recordedUsd",
    "revenueUsd",
    "newRevenueUsd",
    "chargedUsd",
    "reversedUsd",
    "providerCostUsd",
    "costUsd",
    "servingCostUsd",
];

/// Chosen by `--json`.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    Text,
    Json,
}

impl Output {
    /// One thing, as `name  value` lines.
    pub fn record(self, record: &Value) {
        match self {
            Self::Json => print(&format!("{}\n", printable(&record.to_string()))),
            Self::Text => print(&lines(record)),
        }
    }

    /// A list, as a table under its columns' names.
    pub fn table(self, rows: &[Value]) {
        match self {
            Self::Json => print(&format!("{}\n", printable(&Value::Array(rows.to_vec()).to_string()))),
            Self::Text => print(&table(rows)),
        }
    }
}

/// To standard output. A reader who has gone wants no more of it. Where it cannot be written at all, it stands on
/// standard error instead, since a token is shown only once, and the process ends with 1.
pub fn print(text: &str) {
    let mut output = io::stdout().lock();
    let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush()) else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        return;
    }
    eprintln!("codexapi: standard output cannot be written ({error}); it was:\n{text}");
    std::process::exit(1);
}

fn lines(record: &Value) -> String {
    let Some(fields) = record.as_object() else { return format!("{}\n", cell(record)) };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    columns(fields).map(|name| format!("{name:<width$}  {}\n", cell(&fields[name]))).collect()
}

/// The names of a record's fields, in the order they are shown in.
fn columns(fields: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let first =
        FIRST.into_iter().filter_map(|name| fields.get_key_value(name)).map(|(name, _)| name.as_str());
    first.chain(fields.keys().map(String::as_str).filter(|name| !FIRST.contains(name)))
}

fn table(rows: &[Value]) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else { return "none\n".into() };
    let names: Vec<&str> = columns(first).collect();
    let mut grid: Vec<Vec<String>> = vec![names.iter().map(ToString::to_string).collect()];
    grid.extend(rows.iter().map(|row| names.iter().map(|name| cell(&row[name])).collect()));
    let width = |column: usize| grid.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    grid.iter().map(line).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => printable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_an_empty_one_says_so() {
        let rows = [json!({ "a": "long", "b": 1 }), json!({ "a": null, "b": 22 })];
        assert_eq!(table(&rows), "a     b\nlong  1\n-     22\n");
        assert_eq!(table(&[]), "none\n");
        let named = json!({ "about": "x", "at": "noon", "id": 7, "zone": "UTC" });
        assert_eq!(lines(&named), "id     7\nat     noon\nabout  x\nzone   UTC\n");
        assert_eq!(table(&[named]), "id  at    about  zone\n7   noon  x      UTC\n");
    }

    #[test]
    fn a_list_within_a_row_is_read_as_one() {
        assert_eq!(
            lines(&json!({ "reasons": ["usage_zero", "provider_id_repeated"] })),
            "reasons  usage_zero, provider_id_repeated\n"
        );
        assert_eq!(cell(&json!([])), "");
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        let named = json!({ "name": "\u{1b}[2JAda\u{9b}31m\u{7f}", "notes": ["two\nlines"] });
        let texts = [lines(&named), table(std::slice::from_ref(&named)), printable(&named.to_string())];
        for text in &texts {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
            assert!(text.contains("\\u001b[2JAda\\u009b31m\\u007f"), "{text}");
        }
        let read: Value = serde_json::from_str(&texts[2]).expect("JSON");
        assert_eq!(read, named);
        assert_eq!(table(&[json!({ "note": "two\nlines" })]), "note\ntwo\\nlines\n");
        assert_eq!(printable("\u{202e}adA\u{200b}é"), "\\u202eadA\\u200bé");
    }
}
