//! Loading a stream: folding its events, from the start, from a snapshot, or from where the live state
//! stands.

use anyhow::{Context, ensure};
use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;
use futures::TryStreamExt;
use sqlx::{PgPool, Row};

use super::cache::{Live, StreamKey};
use super::chain::CHAIN_START;
use super::snapshot;

/// Events folded by one read, which takes a fraction of what it may: a stream of any length can be loaded.
pub(super) const DEFAULT_LOAD_AT_ONCE: i64 = 10_000;

/// The state of a stream that has no event.
pub(crate) fn empty<A: Aggregate + 'static>() -> Live {
    Live {
        state: Box::new(A::default()),
        sequence: 0,
        last_hash: CHAIN_START,
        last_recorded_at: Timestamp(i64::MIN),
        snapshot_sequence: 0,
    }
}

/// A stream, folded as far as one read goes.
pub(crate) struct Loaded {
    pub live: Live,
    /// It may go on after what was read.
    pub goes_on: bool,
}

/// Folds the next events of a stream after `live`, at most `most` of them; from its snapshot or its start where
/// nothing is known. Fails where Postgres is away (an `sqlx::Error` among the causes) or the stored stream cannot be
/// folded.
pub(super) async fn load<A: Aggregate + 'static>(
    pool: &PgPool,
    key: &StreamKey,
    live: Option<Live>,
    most: i64,
) -> anyhow::Result<Loaded> {
    let mut live = match live {
        Some(live) => live,
        None => snapshot::load::<A>(pool, key).await?.unwrap_or_else(empty::<A>),
    };
    let last_of_page = live.sequence.saturating_add(most);
    let state = live.state.downcast_mut::<A>().context("a stream is folded by one aggregate only")?;
    let mut rows = sqlx::query(
        "SELECT sequence, payload::text AS payload, hash, recorded_at FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4",
    )
    .bind(&*key.aggregate_type)
    .bind(&*key.aggregate_id)
    .bind(live.sequence)
    .bind(most)
    .fetch(pool);
    while let Some(row) = rows.try_next().await? {
        let sequence: i64 = row.try_get("sequence")?;
        let StreamKey { aggregate_type, aggregate_id } = key;
        ensure!(
            sequence == live.sequence + 1,
            "{aggregate_type} {aggregate_id}: event {sequence} follows event {}",
            live.sequence
        );
        let event = serde_json::from_str(row.try_get("payload")?)
            .with_context(|| format!("{aggregate_type} {aggregate_id}: reading event {sequence}"))?;
        state.apply(event);
        live.sequence = sequence;
        live.last_hash = hash_of(row.try_get("hash")?)?;
        let recorded_at: chrono::DateTime<chrono::Utc> = row.try_get("recorded_at")?;
        live.last_recorded_at = live.last_recorded_at.max(Timestamp(recorded_at.timestamp_micros()));
    }
    drop(rows);
    Ok(Loaded { goes_on: live.sequence == last_of_page, live })
}

pub(crate) fn hash_of(bytes: &[u8]) -> anyhow::Result<[u8; 32]> {
    bytes.try_into().with_context(|| format!("a hash of {} bytes instead of 32", bytes.len()))
}
