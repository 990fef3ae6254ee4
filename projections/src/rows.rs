//! Rows go to Postgres and come back as their JSON names and values, so that one struct is a table's row in both
//! directions, with its enums and amounts typed, and any number of rows is one statement.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::RecordedEvent;
use codexapi_aggregates::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{FoldError, Table, WriteError, columns, copy};

/// Rows per statement; bounds the text of one statement to a few megabytes.
const ROWS_PER_STATEMENT: usize = 2_000;

/// No generation has more tokens or calls. Sums of a batch of such counts fit an i64.
const MAX_COUNT: u64 = 1_000_000_000_000;

/// The end of the year 9999, in microseconds since 1970.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// Why a query failed: the database, or a row that is not what this build expects.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("a row of {view} is not what this build expects: {error}")]
    Row { view: &'static str, error: serde_json::Error },
}

/// Inserts rows whose fields are named like the table's columns; `on_conflict` ends the statement.
pub(crate) async fn insert<R: Serialize>(
    connection: &mut PgConnection,
    table: &Table,
    version: i32,
    rows: &[R],
    on_conflict: &str,
) -> Result<(), WriteError> {
    written(connection, table, version, rows, on_conflict).await.map(drop)
}

/// Inserts those rows that are not there yet; returns how many.
pub(crate) async fn insert_new<R: Serialize>(
    connection: &mut PgConnection,
    table: &Table,
    version: i32,
    rows: &[R],
) -> Result<u64, WriteError> {
    written(connection, table, version, rows, "ON CONFLICT DO NOTHING").await
}

/// How many rows were inserted or changed.
async fn written<R: Serialize>(
    connection: &mut PgConnection,
    table: &Table,
    version: i32,
    rows: &[R],
    on_conflict: &str,
) -> Result<u64, WriteError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut written = 0;
    let statement = columns::insertion(table, version, on_conflict);
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let insertion = columns::bind(sqlx::query(&statement), table, rows)?;
        written += insertion.execute(&mut *connection).await?.rows_affected();
    }
    Ok(written)
}

/// The same, quicker still, for tables where no row can be there already and no column is an SQL
/// array (one of JSON may be). Each row has to name every column: an absent field would be an absent column.
pub(crate) async fn copy<R: Serialize>(
    connection: &mut PgConnection,
    table: &Table,
    version: i32,
    rows: &[R],
) -> Result<(), WriteError> {
    let Some(first) = rows.first() else { return Ok(()) };
    let columns = copy::columns(first)?;
    let statement = format!("COPY {} ({}) FROM STDIN", table.version(version), columns.join(", "));
    let mut copying = connection.copy_in_raw(&statement).await?;
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let mut text = String::new();
        for row in rows {
            copy::push_line(&mut text, row, &columns)?;
        }
        copying.send(text.into_bytes()).await?;
    }
    copying.finish().await?;
    Ok(())
}

/// Adds to rows: each of `added` to the row its key names. `key` and `sums` are the columns of the two.
pub(crate) async fn add<K: Serialize, S: Serialize>(
    connection: &mut PgConnection,
    table: &Table,
    version: i32,
    added: BTreeMap<K, S>,
    key: &str,
    sums: &[&str],
) -> Result<(), WriteError> {
    #[derive(Serialize)]
    struct Row<K, S> {
        #[serde(flatten)]
        key: K,
        #[serde(flatten)]
        sums: S,
    }
    let rows: Vec<Row<K, S>> = added.into_iter().map(|(key, sums)| Row { key, sums }).collect();
    insert(connection, table, version, &rows, &replacing_and_adding(key, &[], sums)).await
}

/// For tables of what is open: inserts what a batch opened and deletes what it closed, by `key`.
pub(crate) async fn insert_and_delete<R: Serialize>(
    connection: &mut PgConnection,
    table: &Table,
    version: i32,
    opened: &[R],
    key: &str,
    closed: BTreeSet<Uuid>,
) -> Result<(), WriteError> {
    insert(&mut *connection, table, version, opened, "").await?;
    if closed.is_empty() {
        return Ok(());
    }
    let closed: Vec<Uuid> = closed.into_iter().collect();
    let statement = format!("DELETE FROM {} WHERE {key} = any($1)", table.version(version));
    sqlx::query(&statement).bind(closed).execute(connection).await?;
    Ok(())
}

/// `on conflict` that replaces some columns and adds to others.
pub(crate) fn replacing_and_adding(key: &str, replaced: &[&str], added: &[&str]) -> String {
    let replaced = replaced.iter().map(|column| format!("{column} = excluded.{column}"));
    let added = added.iter().map(|column| format!("{column} = old.{column} + excluded.{column}"));
    let set = replaced.chain(added).collect::<Vec<_>>().join(", ");
    format!("ON CONFLICT ({key}) DO UPDATE SET {set}")
}

/// A statement whose one column is `to_jsonb(row)`, and its values.
pub(crate) type Select<'q> =
    sqlx::query::QueryScalar<'q, sqlx::Postgres, serde_json::Value, sqlx::postgres::PgArguments>;

/// Prepares a statement whose one column is `to_jsonb(row)`.
pub(crate) fn select(statement: &str) -> Select<'_> {
    sqlx::query_scalar(statement)
}

pub(crate) async fn fetch_all<R: DeserializeOwned>(
    pool: &PgPool,
    view: &'static str,
    select: Select<'_>,
) -> Result<Vec<R>, ReadError> {
    let rows = select.fetch_all(pool).await?;
    rows.into_iter().map(|row| from_json(view, row)).collect()
}

pub(crate) async fn fetch_optional<R: DeserializeOwned>(
    pool: &PgPool,
    view: &'static str,
    select: Select<'_>,
) -> Result<Option<R>, ReadError> {
    select.fetch_optional(pool).await?.map(|row| from_json(view, row)).transpose()
}

fn from_json<R: DeserializeOwned>(view: &'static str, row: serde_json::Value) -> Result<R, ReadError> {
    serde_json::from_value(row).map_err(|error| ReadError::Row { view, error })
}

/// The account whose stream an event stands in.
pub(crate) fn account_of(event: &RecordedEvent) -> Result<Uuid, FoldError> {
    event
        .aggregate_id
        .parse()
        .map_err(|_| FoldError::NotAnAccount { position: event.position, stream: event.aggregate_id.clone() })
}

/// A moment as the tables keep it. What lies beyond the year 9999 is kept as its end: Postgres cannot read the text of
/// later ones, and a read model that stands still there would be worse.
pub(crate) fn time(event: &RecordedEvent, at: Timestamp) -> Result<DateTime<Utc>, FoldError> {
    DateTime::from_timestamp_micros(at.0.min(LAST_MICROS))
        .ok_or(FoldError::NotATime { position: event.position, micros: at.0 })
}

/// A count of tokens or calls as the tables keep it.
pub(crate) fn count(event: &RecordedEvent, field: &'static str, value: u64) -> Result<i64, FoldError> {
    match i64::try_from(value) {
        Ok(count) if value <= MAX_COUNT => Ok(count),
        _ => Err(FoldError::OutOfRange { position: event.position, field, value }),
    }
}
