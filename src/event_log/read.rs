//! Reading the log. Commit order is the order of `position`, so a reader that goes on after the last
//! position it has seen misses nothing.
//!
//! Every function but the one for long reads takes an executor, so that a caller may read inside a snapshot of its own.

use std::num::NonZeroU16;

use codexapi_aggregates::event::{AnyEvent, DecodeError, Metadata, RecordedEvent};
use codexapi_aggregates::time::Timestamp;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::canonical::{NotCanonical, canonical_text};
use super::chain::{ChainInput, chain_hash};

/// One part of the log with its own order. There is one so far; readers name it all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard(pub u16);

/// The only shard.
pub const SHARD: Shard = Shard(0);

/// An event as it stands in its row. `payload` and `metadata` are JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub position: i64,
    pub event_id: Uuid,
    pub aggregate_type: String,
    pub aggregate_id: String,
    /// 1 for a stream's first event.
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
    pub hash: Vec<u8>,
    pub recorded_at: Timestamp,
}

impl StoredEvent {
    /// The event as the rules know it.
    pub fn decode(&self) -> Result<RecordedEvent, DecodeError> {
        let event = AnyEvent::decode(&self.aggregate_type, self.payload.as_bytes())?;
        let metadata: Metadata = serde_json::from_str(&self.metadata)
            .map_err(|source| DecodeError::Payload { aggregate_type: self.aggregate_type.clone(), source })?;
        Ok(RecordedEvent {
            position: self.position,
            event_id: self.event_id,
            aggregate_id: self.aggregate_id.clone(),
            sequence: self.sequence,
            recorded_at: self.recorded_at,
            metadata,
            event,
        })
    }

    /// The hash this row should have, given the hash before it in its stream.
    pub fn expected_hash(&self, previous: &[u8; 32]) -> Result<[u8; 32], NotCanonical> {
        let payload = canonical_text(&self.payload)?;
        let metadata = canonical_text(&self.metadata)?;
        Ok(chain_hash(
            previous,
            &ChainInput {
                aggregate_type: &self.aggregate_type,
                aggregate_id: &self.aggregate_id,
                sequence: self.sequence,
                event_id: self.event_id,
                event_type: &self.event_type,
                event_version: &self.event_version,
                recorded_at: self.recorded_at,
                payload: &payload,
                metadata: &metadata,
            },
        ))
    }
}

impl FromRow<'_, PgRow> for StoredEvent {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let recorded_at: chrono::DateTime<chrono::Utc> = row.try_get("recorded_at")?;
        Ok(Self {
            position: row.try_get("position")?,
            event_id: row.try_get("event_id")?,
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get("sequence")?,
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            payload: row.try_get("payload")?,
            metadata: row.try_get("metadata")?,
            hash: row.try_get("hash")?,
            recorded_at: Timestamp(recorded_at.timestamp_micros()),
        })
    }
}

/// The last position of the log; 0 while it is empty.
pub async fn head(executor: impl PgExecutor<'_>, _shard: Shard) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COALESCE(max(position), 0) FROM events").fetch_one(executor).await
}

/// Where the log ends: the last event's position and id; `None` while it is empty.
pub async fn last(executor: impl PgExecutor<'_>, _shard: Shard) -> Result<Option<(i64, Uuid)>, sqlx::Error> {
    sqlx::query_as("SELECT position, event_id FROM events ORDER BY position DESC LIMIT 1")
        .fetch_optional(executor)
        .await
}

/// At most `limit` events after `position`, in order.
pub async fn read_after(
    executor: impl PgExecutor<'_>,
    _shard: Shard,
    position: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, hash, recorded_at
         FROM events WHERE position > $1 ORDER BY position LIMIT $2",
    )
    .bind(position)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// At most `limit` events of one type of aggregate after `after`, up to and including `up_to`, in order.
pub async fn read_type_after(
    executor: impl PgExecutor<'_>,
    _shard: Shard,
    aggregate_type: &str,
    after: i64,
    up_to: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, hash, recorded_at
         FROM events WHERE position > $1 AND position <= $2 AND aggregate_type = $3 ORDER BY position LIMIT $4",
    )
    .bind(after)
    .bind(up_to)
    .bind(aggregate_type)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// All events after `after`, up to and including `up_to`, in order, as streaming SELECTs of so many positions. While
/// one of them runs, Postgres clears away no row that was updated since it began, in any table.
pub fn stream_after(
    pool: &PgPool,
    _shard: Shard,
    after: i64,
    up_to: i64,
    positions_at_a_time: NonZeroU16,
) -> BoxStream<'_, Result<StoredEvent, sqlx::Error>> {
    let positions = positions_at_a_time.get();
    let spans = stream::iter((after..up_to).step_by(positions.into()));
    let read = move |after: i64| {
        sqlx::query_as(
            "SELECT position, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                    payload::text AS payload, metadata::text AS metadata, hash, recorded_at
             FROM events WHERE position > $1 AND position <= $2 ORDER BY position",
        )
        .bind(after)
        .bind(up_to.min(after + i64::from(positions)))
        .fetch(pool)
    };
    spans.flat_map(read).boxed()
}

/// At most `limit` events of one stream after `sequence` (0 for its beginning), in order.
pub async fn read_stream(
    executor: impl PgExecutor<'_>,
    aggregate_type: &str,
    aggregate_id: &str,
    sequence: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, hash, recorded_at
         FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3
         ORDER BY sequence LIMIT $4",
    )
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(sequence)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// The last sequence of each stream (type, id), 0 where it has no event, in the order asked.
pub async fn last_sequences(
    executor: impl PgExecutor<'_>,
    aggregate_types: &[&str],
    aggregate_ids: &[&str],
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT COALESCE((SELECT max(sequence) FROM events e
                          WHERE e.aggregate_type = s.aggregate_type AND e.aggregate_id = s.aggregate_id), 0)
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS s(aggregate_type, aggregate_id, place)
         ORDER BY s.place",
    )
    .bind(aggregate_types)
    .bind(aggregate_ids)
    .fetch_all(executor)
    .await
}
