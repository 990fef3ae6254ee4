//! Folded state kept beside the log, so that a long stream starts quickly after a restart.
//!
//! A snapshot is written after its events are committed, by a task of its own, and may be missing,
//! late or thrown away at any time. It counts only for the code that folded it, and only if the log
//! still holds the event it ends at.

use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;
use sqlx::{PgPool, Row};
use tokio::sync::mpsc;

use super::cache::{Live, StreamKey};
use super::load;

/// Events after which a stream's state is kept.
pub const DEFAULT_SNAPSHOT_EVERY: i64 = 500;

/// Snapshots that may wait to be written; more are dropped, which costs nothing but time later.
const WAITING_SNAPSHOTS: usize = 64;

/// The digest of the code that folds; see build.rs.
const CODE_VERSION: &str = env!("CODEXAPI_FOLD_VERSION");

/// State to be kept, once its events are committed.
pub(crate) struct Snapshot {
    pub key: StreamKey,
    pub sequence: i64,
    pub last_hash: [u8; 32],
    pub last_recorded_at: Timestamp,
    /// Serializes the state; run by the task that writes it.
    pub state: Box<dyn FnOnce() -> serde_json::Result<String> + Send>,
}

impl Snapshot {
    /// Copies the state of `live`.
    pub fn of<A: Aggregate + Clone + 'static>(key: &StreamKey, live: &Live) -> Option<Self> {
        let state = live.state.downcast_ref::<A>()?.clone();
        Some(Self {
            key: key.clone(),
            sequence: live.sequence,
            last_hash: live.last_hash,
            last_recorded_at: live.last_recorded_at,
            state: Box::new(move || serde_json::to_string(&state)),
        })
    }
}

/// Starts the task that writes snapshots; it ends with the last sender.
pub(super) fn spawn(pool: PgPool) -> mpsc::Sender<Snapshot> {
    let (sender, mut waiting) = mpsc::channel::<Snapshot>(WAITING_SNAPSHOTS);
    tokio::spawn(async move {
        while let Some(snapshot) = waiting.recv().await {
            let key = snapshot.key.clone();
            if let Err(error) = store(&pool, snapshot).await {
                tracing::warn!(stream = ?key, error = format!("{error:#}"), "a snapshot was not kept");
            }
        }
    });
    sender
}

/// The stream's snapshot, if there is a valid one.
pub(super) async fn load<A: Aggregate + 'static>(
    pool: &PgPool,
    key: &StreamKey,
) -> anyhow::Result<Option<Live>> {
    let row = sqlx::query(
        "SELECT s.sequence, s.state::text AS state, s.last_hash, s.last_recorded_at
         FROM snapshots_cache s
         JOIN events e USING (aggregate_type, aggregate_id, sequence)
         WHERE s.aggregate_type = $1 AND s.aggregate_id = $2 AND s.code_version = $3
           AND e.hash = s.last_hash",
    )
    .bind(&*key.aggregate_type)
    .bind(&*key.aggregate_id)
    .bind(CODE_VERSION)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state: A = match serde_json::from_str(row.try_get("state")?) {
        Ok(state) => state,
        Err(error) => {
            tracing::warn!(stream = ?key, %error, "a snapshot cannot be read; folding the whole stream");
            return Ok(None);
        }
    };
    let sequence = row.try_get("sequence")?;
    let last_recorded_at: chrono::DateTime<chrono::Utc> = row.try_get("last_recorded_at")?;
    Ok(Some(Live {
        state: Box::new(state),
        sequence,
        last_hash: load::hash_of(row.try_get("last_hash")?)?,
        last_recorded_at: Timestamp(last_recorded_at.timestamp_micros()),
        snapshot_sequence: sequence,
    }))
}

/// Streams of which other code has kept a snapshot, the longest first.
pub(super) async fn outdated(pool: &PgPool, aggregate_type: &str, most: i64) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT aggregate_id FROM snapshots_cache WHERE aggregate_type = $1 AND code_version <> $2
         ORDER BY sequence DESC LIMIT $3",
    )
    .bind(aggregate_type)
    .bind(CODE_VERSION)
    .bind(most)
    .fetch_all(pool)
    .await
}

async fn store(pool: &PgPool, snapshot: Snapshot) -> anyhow::Result<()> {
    let state = (snapshot.state)()?;
    sqlx::query(
        "INSERT INTO snapshots_cache AS kept
             (aggregate_type, aggregate_id, code_version, sequence, state, last_hash, last_recorded_at)
         VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7)
         ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
         SET code_version = excluded.code_version, sequence = excluded.sequence, state = excluded.state,
             last_hash = excluded.last_hash, last_recorded_at = excluded.last_recorded_at
         WHERE kept.sequence < excluded.sequence OR kept.code_version <> excluded.code_version",
    )
    .bind(&*snapshot.key.aggregate_type)
    .bind(&*snapshot.key.aggregate_id)
    .bind(CODE_VERSION)
    .bind(snapshot.sequence)
    .bind(state)
    .bind(snapshot.last_hash.as_slice())
    .bind(super::to_datetime(snapshot.last_recorded_at)?)
    .execute(pool)
    .await?;
    Ok(())
}
