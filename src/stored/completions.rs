//! Stored chat completions: listed, read, given other metadata, deleted.

use codexapi_protocols::restate::restate;
use serde::Deserialize;
use sqlx::FromRow;

use super::{Metadata, Owner, Stored, StoredError, is_id, now};

/// Bytes of bodies on one page; a page ends early before it holds more.
const PAGE_BYTES: i64 = 16 * 1024 * 1024;

/// By the time of making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    Asc,
    Desc,
}

/// Which completions, and from where on.
#[derive(Clone, Debug)]
pub struct CompletionQuery {
    /// 1 to 100.
    pub limit: u32,
    pub order: Order,
    /// The last id of the page before.
    pub after: Option<String>,
    pub model: Option<String>,
    /// All of these must be so.
    pub metadata: Metadata,
}

/// A completion and what was asked.
#[derive(Clone, Debug)]
pub struct StoredCompletion {
    pub completion_id: String,
    /// The completion object, with its metadata.
    pub body: String,
    /// A JSON array.
    pub messages: String,
}

/// Completions in order, without their messages.
#[derive(Clone, Debug)]
pub struct CompletionPage {
    pub completions: Vec<StoredCompletion>,
    pub has_more: bool,
}

#[derive(FromRow)]
struct Row {
    completion_id: String,
    body: String,
    metadata: String,
    messages: String,
}

#[derive(FromRow)]
struct Listed {
    #[sqlx(flatten)]
    row: Row,
    found: i64,
}

impl Stored {
    /// # Errors
    /// `UnknownCursor`, `Unavailable`.
    pub async fn completions(
        &self,
        owner: Owner,
        query: &CompletionQuery,
    ) -> Result<CompletionPage, StoredError> {
        let after = match &query.after {
            Some(id) => Some(self.position(owner, id).await?),
            None => None,
        };
        let (beyond, order) = match query.order {
            Order::Asc => (">", "ASC"),
            Order::Desc => ("<", "DESC"),
        };
        let statement = format!(
            "SELECT completion_id, body, metadata::text AS metadata, '' AS messages, found FROM (
                 SELECT *, row_number() OVER listed AS place, count(*) OVER () AS found,
                        sum(octet_length(body)) OVER listed AS bytes
                 FROM (SELECT position, completion_id, body, metadata FROM stored_completions
                       WHERE owner_id = $1 AND expires_at > $2 AND ($3::bigint IS NULL OR position {beyond} $3)
                         AND ($4::text IS NULL OR model = $4) AND metadata @> $5::jsonb
                       ORDER BY position {order} LIMIT $6 + 1) page
                 WINDOW listed AS (ORDER BY position {order})) counted
             WHERE place <= $6 AND (place = 1 OR bytes <= $7) ORDER BY place"
        );
        let list = sqlx::query_as(&statement)
            .bind(owner.0)
            .bind(now())
            .bind(after)
            .bind(&query.model)
            .bind(query.metadata.to_json())
            .bind(i64::from(query.limit))
            .bind(PAGE_BYTES);
        let rows: Vec<Listed> = self.timed(list.fetch_all(&self.pool)).await?;
        let has_more = rows.first().is_some_and(|first| usize::try_from(first.found) != Ok(rows.len()));
        let completions = rows.into_iter().map(|listed| listed.row.into()).collect();
        Ok(CompletionPage { completions, has_more })
    }

    /// # Errors
    /// `CompletionNotFound`, `Unavailable`.
    pub async fn completion(&self, owner: Owner, id: &str) -> Result<StoredCompletion, StoredError> {
        let read = "SELECT completion_id, body, metadata::text AS metadata, messages FROM stored_completions
                    WHERE owner_id = $1 AND completion_id = $2 AND expires_at > $3";
        if !is_id(id) {
            return Err(completion_not_found(id));
        }
        let read = sqlx::query_as(read).bind(owner.0).bind(id).bind(now());
        let row: Option<Row> = self.timed(read.fetch_optional(&self.pool)).await?;
        row.map(StoredCompletion::from).ok_or_else(|| completion_not_found(id))
    }

    /// Puts `metadata` in the place of what was there.
    ///
    /// # Errors
    /// `CompletionNotFound`, `Unavailable`.
    pub async fn update_completion(
        &self,
        owner: Owner,
        id: &str,
        metadata: &Metadata,
    ) -> Result<StoredCompletion, StoredError> {
        if !is_id(id) {
            return Err(completion_not_found(id));
        }
        let update = sqlx::query_as(
            "UPDATE stored_completions SET metadata = $4::jsonb
             WHERE owner_id = $1 AND completion_id = $2 AND expires_at > $3
             RETURNING completion_id, body, metadata::text AS metadata, messages",
        )
        .bind(owner.0)
        .bind(id)
        .bind(now())
        .bind(metadata.to_json());
        let row: Option<Row> = self.timed(update.fetch_optional(&self.pool)).await?;
        row.map(StoredCompletion::from).ok_or_else(|| completion_not_found(id))
    }

    /// # Errors
    /// `CompletionNotFound`, `Unavailable`.
    pub async fn delete_completion(&self, owner: Owner, id: &str) -> Result<(), StoredError> {
        if !is_id(id) {
            return Err(completion_not_found(id));
        }
        let delete = sqlx::query(
            "DELETE FROM stored_completions WHERE owner_id = $1 AND completion_id = $2 AND expires_at > $3",
        )
        .bind(owner.0)
        .bind(id)
        .bind(now());
        match self.timed(delete.execute(&self.pool)).await?.rows_affected() {
            0 => Err(completion_not_found(id)),
            _ => Ok(()),
        }
    }

    async fn position(&self, owner: Owner, id: &str) -> Result<i64, StoredError> {
        if !is_id(id) {
            return Err(StoredError::UnknownCursor);
        }
        let read = sqlx::query_scalar(
            "SELECT position FROM stored_completions WHERE owner_id = $1 AND completion_id = $2",
        )
        .bind(owner.0)
        .bind(id);
        self.timed(read.fetch_optional(&self.pool)).await?.ok_or(StoredError::UnknownCursor)
    }
}

impl From<Row> for StoredCompletion {
    fn from(row: Row) -> Self {
        let body = restate(&row.body, &[("metadata", row.metadata)]);
        Self { completion_id: row.completion_id, body, messages: row.messages }
    }
}

fn completion_not_found(id: &str) -> StoredError {
    StoredError::CompletionNotFound { id: id.to_owned() }
}
