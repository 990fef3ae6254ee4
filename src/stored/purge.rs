//! Deletes what has expired, and fails background responses that nobody generates any more.
//!
//! Any node may do it for all: the statements do nothing twice.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::background::Background;
use super::responses::abandoned;
use super::{Status, Stored, StoredError, now};

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// Rows deleted by one statement.
const BATCH: i64 = 500;

/// Abandoned responses looked at in one round; their bodies are read.
const ABANDONED: i64 = 100;

/// Batches of one round; the rest is left to the next.
const BATCHES: usize = 200;

/// Purges until `stop`.
pub async fn purge(background: Arc<Background>, stop: CancellationToken) {
    let purging = async {
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            match background.fail_abandoned().await {
                Ok(0) => {}
                Ok(failed) => tracing::warn!(failed, "background responses had been left behind"),
                Err(error) => tracing::warn!(%error, "abandoned background responses were not looked for"),
            }
            match background.stored().purge_expired().await {
                Ok(0) => {}
                Ok(deleted) => tracing::info!(deleted, "deleted expired stored objects"),
                Err(error) => tracing::warn!(%error, "expired stored objects were not deleted"),
            }
        }
    };
    stop.run_until_cancelled(purging).await;
}

impl Stored {
    /// Deletes what has expired, up to a bound; returns how many objects went.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn purge_expired(&self) -> Result<u64, StoredError> {
        let tables = [("stored_responses", "response_id"), ("stored_completions", "completion_id")];
        let mut deleted = 0;
        for (table, id) in tables {
            let statement = format!(
                "DELETE FROM {table} WHERE (owner_id, {id}) IN (
                     SELECT owner_id, {id} FROM {table} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)"
            );
            for _ in 0..BATCHES {
                let delete = sqlx::query(&statement).bind(now()).bind(BATCH);
                let gone = self.timed(delete.execute(&self.pool)).await?.rows_affected();
                deleted += gone;
                if i64::try_from(gone).is_ok_and(|gone| gone < BATCH) {
                    break;
                }
            }
        }
        Ok(deleted)
    }
}

impl Background {
    /// Fails what dead nodes have left behind, and what this node has lost; returns how many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn fail_abandoned(&self) -> Result<u64, StoredError> {
        let mut failed = 0;
        for (owner, id, body, own) in self.stored().running_of_dead_nodes_and(self.node(), ABANDONED).await? {
            if own && self.is_running(owner, &id) {
                continue;
            }
            failed += u64::from(self.stored().end(owner, &id, Status::Failed, &abandoned(&body)).await?);
        }
        Ok(failed)
    }
}
