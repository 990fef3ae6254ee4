//! Rows in COPY's text format.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The fields of a row in the order it names them, each as JSON.
pub(crate) struct Fields<'a>(pub(crate) Vec<(&'a str, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = row.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The columns that a row names, in order.
pub(crate) fn columns<R: Serialize>(row: &R) -> serde_json::Result<Vec<String>> {
    let json = serde_json::to_string(row)?;
    let Fields(fields) = serde_json::from_str(&json)?;
    Ok(fields.into_iter().map(|(column, _)| column.to_owned()).collect())
}

/// Writes a row as a line.
///
/// # Errors
/// It names other columns than `columns`, or names them in another order.
pub(crate) fn push_line<R: Serialize>(
    text: &mut String,
    row: &R,
    columns: &[String],
) -> serde_json::Result<()> {
    let json = serde_json::to_string(row)?;
    let Fields(fields) = serde_json::from_str(&json)?;
    if !fields.iter().map(|(column, _)| *column).eq(columns) {
        return Err(de::Error::custom("rows of one table that name different columns"));
    }
    for (place, (_, value)) in fields.into_iter().enumerate() {
        if place > 0 {
            text.push('\t');
        }
        push_field(text, value.get())?;
    }
    text.push('\n');
    Ok(())
}

fn push_field(text: &mut String, json: &str) -> serde_json::Result<()> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        // JSON escapes whatever COPY escapes, and more.
        Some(plain) if !plain.contains('\\') => text.push_str(plain),
        Some(_) => push_escaped(text, &serde_json::from_str::<String>(json)?),
        None if json == "null" => text.push_str("\\N"),
        None => push_escaped(text, json),
    }
    Ok(())
}

fn push_escaped(text: &mut String, string: &str) {
    for character in string.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row<'a> {
        name: &'a str,
        parts: Vec<&'a str>,
        note: Option<i64>,
    }

    fn line(row: &Row<'_>) -> String {
        let columns = columns(row).expect("columns");
        assert_eq!(columns, ["name", "parts", "note"]);
        let mut text = String::new();
        push_line(&mut text, row, &columns).expect("a line");
        text
    }

    #[test]
    fn a_row_is_a_line_of_its_fields() {
        assert_eq!(
            line(&Row { name: "Ann", parts: vec!["a", "b"], note: Some(-3) }),
            "Ann\t[\"a\",\"b\"]\t-3\n"
        );
    }

    #[test]
    fn what_ends_a_field_or_a_line_is_escaped_and_null_is_told_from_text() {
        let row = Row { name: "a\tb\\c\nd\r\"é", parts: vec!["x\"\t"], note: None };
        assert_eq!(line(&row), "a\\tb\\\\c\\nd\\r\"é\t[\"x\\\\\"\\\\t\"]\t\\N\n");
        assert_eq!(line(&Row { name: "null", parts: vec![], note: Some(0) }), "null\t[]\t0\n");
        assert_eq!(line(&Row { name: "\\N", parts: vec![], note: Some(0) }), "\\\\N\t[]\t0\n");
    }

    #[test]
    fn a_row_that_names_other_columns_is_refused() {
        let mut text = String::new();
        assert!(
            push_line(&mut text, &Row { name: "", parts: vec![], note: None }, &["name".into()]).is_err()
        );
    }
}
