//! Rows as an array for each column of their table: Postgres takes those apart several times as quickly as JSON.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::Error;
use serde_json::value::RawValue;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::Table;
use crate::copy::Fields;

/// A column as `Table::columns` declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    name: &'static str,
    sql_type: &'static str,
}

/// What the rows of a statement have in one column; `None` is NULL.
enum Values {
    Integers(Vec<Option<i64>>),
    /// In the text form of the column's type.
    Texts(Vec<Option<String>>),
}

fn declared(table: &Table) -> impl Iterator<Item = Column> {
    const CONSTRAINTS: [&str; 3] = ["PRIMARY", "UNIQUE", "CHECK"];
    let mut depth = 0_usize;
    let parts = table.columns.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.filter_map(|part| {
        let mut words = part.split_ascii_whitespace();
        let (name, sql_type) = (words.next()?, words.next()?);
        (!CONSTRAINTS.contains(&name)).then_some(Column { name, sql_type })
    })
}

/// The statement that inserts what `bind` binds to it; `on_conflict` ends it.
pub(crate) fn insertion(table: &Table, version: i32, on_conflict: &str) -> String {
    let (mut names, mut arrays, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (place, Column { name, sql_type }) in declared(table).enumerate() {
        names.push(name);
        match sql_type {
            "bigint" => {
                arrays.push(format!("${}::bigint[]", place + 1));
                values.push(name.to_owned());
            }
            _ => {
                arrays.push(format!("${}::text[]", place + 1));
                values.push(format!("{name}::{sql_type}"));
            }
        }
    }
    let (names, arrays, values) = (names.join(", "), arrays.join(", "), values.join(", "));
    format!(
        "INSERT INTO {} AS old ({names}) SELECT {values} FROM unnest({arrays}) AS new ({names}) {on_conflict}",
        table.version(version)
    )
}

type Insertion<'q> = Query<'q, Postgres, PgArguments>;

/// Binds an array for each column. A column that a row does not name is NULL in it.
///
/// # Errors
/// A row names a column that the table has not, or has no whole number for one of `bigint`.
pub(crate) fn bind<'q, R: Serialize>(
    statement: Insertion<'q>,
    table: &Table,
    rows: &[R],
) -> serde_json::Result<Insertion<'q>> {
    let mut columns: Vec<(Column, Values)> =
        declared(table).map(|column| empty(column, rows.len())).collect();
    for (row, values) in rows.iter().enumerate() {
        let json = serde_json::to_string(values)?;
        let Fields(fields) = serde_json::from_str(&json)?;
        // Rows name columns in the order of the table, but for what they leave out.
        let mut next = 0;
        for (name, value) in fields {
            let place = (0..columns.len())
                .map(|step| (next + step) % columns.len())
                .find(|place| columns[*place].0.name == name)
                .ok_or_else(|| Error::custom(format_args!("{} has no column {name}", table.name)))?;
            let (Column { sql_type, .. }, values) = &mut columns[place];
            values.push(sql_type, value)?;
            next = place + 1;
        }
        columns.iter_mut().for_each(|(_, values)| values.resize(row + 1));
    }
    Ok(columns.into_iter().fold(statement, |statement, (_, values)| match values {
        Values::Integers(values) => statement.bind(values),
        Values::Texts(values) => statement.bind(values),
    }))
}

fn empty(column: Column, rows: usize) -> (Column, Values) {
    let values = match column.sql_type {
        "bigint" => Values::Integers(Vec::with_capacity(rows)),
        _ => Values::Texts(Vec::with_capacity(rows)),
    };
    (column, values)
}

impl Values {
    fn push(&mut self, sql_type: &str, value: &RawValue) -> serde_json::Result<()> {
        match self {
            Self::Integers(values) => values.push(serde_json::from_str(value.get())?),
            Self::Texts(values) => values.push(text_of(sql_type, value.get())?),
        }
        Ok(())
    }

    fn resize(&mut self, rows: usize) {
        match self {
            Self::Integers(values) => values.resize(rows, None),
            Self::Texts(values) => values.resize(rows, None),
        }
    }
}

/// A value as Postgres reads one of `sql_type`.
fn text_of(sql_type: &str, json: &str) -> serde_json::Result<Option<String>> {
    if json == "null" {
        return Ok(None);
    }
    let text = match sql_type {
        "jsonb" => Cow::Borrowed(json),
        "text[]" => Cow::Owned(array_of(&serde_json::from_str::<Vec<String>>(json)?)),
        _ => match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            Some(_) => Cow::Owned(serde_json::from_str(json)?),
            None => Cow::Borrowed(json),
        },
    };
    Ok(Some(text.into_owned()))
}

fn array_of(texts: &[String]) -> String {
    let quoted = texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::READ_MODELS;

    const TABLE: Table = Table {
        name: "things",
        columns: "thing_id uuid PRIMARY KEY, count bigint NOT NULL, note text, \
            PRIMARY KEY (thing_id, count), UNIQUE (note)",
        indexes: &[],
    };

    fn bound(rows: &[serde_json::Value]) -> serde_json::Result<()> {
        bind(sqlx::query(""), &TABLE, rows).map(drop)
    }

    #[test]
    fn columns_are_those_that_the_table_declares() {
        let columns: Vec<_> = declared(&TABLE).map(|column| (column.name, column.sql_type)).collect();
        assert_eq!(columns, [("thing_id", "uuid"), ("count", "bigint"), ("note", "text")]);
    }

    #[test]
    fn types_of_the_read_tables_are_single_words() {
        const KNOWN: [&str; 9] =
            ["bigint", "int", "text", "text[]", "uuid", "boolean", "timestamptz", "date", "jsonb"];
        for table in READ_MODELS.iter().flat_map(|model| model.tables) {
            for Column { name, sql_type } in declared(table) {
                assert!(KNOWN.contains(&sql_type), "{}.{name}: {sql_type}", table.name);
            }
        }
    }

    #[test]
    fn a_statement_casts_what_is_not_a_number() {
        const TABLE: Table = Table { name: "t", columns: "a uuid NOT NULL, b bigint", indexes: &[] };
        assert_eq!(
            insertion(&TABLE, 3, "ON CONFLICT DO NOTHING"),
            "INSERT INTO t_3 AS old (a, b) SELECT a::uuid, b FROM unnest($1::text[], $2::bigint[]) AS new (a, b) \
             ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn a_value_is_written_as_its_type_is_read() {
        let text = |sql_type, json| text_of(sql_type, json).expect("text");
        assert_eq!(text("text", "null"), None);
        assert_eq!(text("text", r#""null""#).as_deref(), Some("null"));
        assert_eq!(text("text", r#""a\"\\\tb""#).as_deref(), Some("a\"\\\tb"));
        assert_eq!(text("boolean", "true").as_deref(), Some("true"));
        assert_eq!(text("jsonb", r#""a\"b""#).as_deref(), Some(r#""a\"b""#));
        assert_eq!(text("text[]", r#"["a","b\"\\,{c}"]"#).as_deref(), Some(r#"{"a","b\"\\,{c}"}"#));
        assert_eq!(text("text[]", "[]").as_deref(), Some("{}"));
    }

    #[test]
    fn a_row_may_leave_columns_out_but_name_no_other_and_no_other_kind() {
        assert!(bound(&[json!({"note": "x", "count": 3}), json!({}), json!({"count": null})]).is_ok());
        assert!(bound(&[json!({"colour": "red"})]).is_err());
        assert!(bound(&[json!({"count": "3"})]).is_err());
        assert!(bound(&[json!({"count": 1.5})]).is_err());
        assert!(bound(&[json!({"count": 9_223_372_036_854_775_808_u64})]).is_err());
    }
}
