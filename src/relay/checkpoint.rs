//! How far the log is published, and in which epoch of the stream.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::event_log::read::SHARD;

/// The relay's place: the last acknowledged event and where it stands in the JetStream stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Checkpoint {
    pub epoch: i64,
    /// 0 before the first event.
    pub position: i64,
    pub event_id: Option<Uuid>,
    pub stream_sequence: i64,
}

/// The epoch that messages must have to be current; `None` before the relay has ever run.
pub async fn current_epoch(executor: impl PgExecutor<'_>) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT epoch FROM relay_checkpoint WHERE shard = $1")
        .bind(i32::from(SHARD.0))
        .fetch_optional(executor)
        .await
}

/// The saved checkpoint, or `None` before the relay has ever run.
pub(super) async fn load(connection: &mut PgConnection) -> sqlx::Result<Option<Checkpoint>> {
    sqlx::query_as("SELECT epoch, position, event_id, stream_sequence FROM relay_checkpoint WHERE shard = $1")
        .bind(i32::from(SHARD.0))
        .fetch_optional(connection)
        .await
}

pub(super) async fn save(connection: &mut PgConnection, checkpoint: &Checkpoint) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO relay_checkpoint (shard, epoch, position, event_id, stream_sequence)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (shard) DO UPDATE
         SET epoch = excluded.epoch, position = excluded.position, event_id = excluded.event_id,
             stream_sequence = excluded.stream_sequence, moved_at = now()",
    )
    .bind(i32::from(SHARD.0))
    .bind(checkpoint.epoch)
    .bind(checkpoint.position)
    .bind(checkpoint.event_id)
    .bind(checkpoint.stream_sequence)
    .execute(connection)
    .await?;
    Ok(())
}
