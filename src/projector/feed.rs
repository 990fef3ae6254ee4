//! Where the read models hear of new events. A feed may be late, silent, or repeat itself; it must not
//! leave out events between the first and the last of a batch.

use std::time::Duration;

use codexapi_projections::{Entry, checkpoint};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::event_log::StoredEvent;
use crate::event_log::read::{self, SHARD};

/// Events per batch, from the log.
pub(super) const BATCH: i64 = 2_000;

/// A source of consecutive events.
pub trait Feed: Send {
    type Batch: FeedBatch;

    /// Every reader has what stands up to `position`: it need not be handed out any more.
    fn level_with(&mut self, position: i64);

    /// The next events, waiting at most `patience` for the first; `None` where none came.
    ///
    /// # Errors
    /// The source is away. The caller reads the log meanwhile, and asks again.
    fn next_batch(
        &mut self,
        patience: Duration,
    ) -> impl Future<Output = anyhow::Result<Option<Self::Batch>>> + Send;
}

/// Consecutive events of the log.
pub trait FeedBatch: Send + Sync {
    /// The position of the event before the first; a read model that stands before it has a hole.
    fn previous_position(&self) -> i64;

    /// At least one.
    fn entries(&self) -> &[Entry];

    /// Tells the source that this batch and all before it are in the tables.
    ///
    /// # Errors
    /// The source is away; it delivers the batch again, and it is skipped then.
    fn acknowledge(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The log itself as a feed: for one node without NATS, and for tests.
pub struct LogFeed {
    pool: PgPool,
    appended: watch::Receiver<i64>,
    /// The last position handed out; the least checkpoint to begin with.
    after: Option<i64>,
}

impl LogFeed {
    pub fn new(pool: PgPool, mut appended: watch::Receiver<i64>) -> Self {
        // What is in the log already counts as news.
        appended.mark_changed();
        Self { pool, appended, after: None }
    }
}

impl Feed for LogFeed {
    type Batch = LogBatch;

    /// It hands out nothing twice.
    fn level_with(&mut self, _position: i64) {}

    async fn next_batch(&mut self, patience: Duration) -> anyhow::Result<Option<LogBatch>> {
        // Elapsed or woken, and even where the log's writer is gone: the log is asked either way.
        if let Ok(Err(_writer_gone)) = timeout(patience, self.appended.changed()).await {
            tokio::time::sleep(patience).await;
        }
        let previous_position = match self.after {
            Some(after) => after,
            None => least_checkpoint(&self.pool).await?,
        };
        let stored = read::read_after(&self.pool, SHARD, previous_position, BATCH).await?;
        let Some(last) = stored.last() else { return Ok(None) };
        self.after = Some(last.position);
        if stored.len() as i64 == BATCH {
            self.appended.mark_changed();
        }
        Ok(Some(LogBatch { previous_position, entries: entries(&stored) }))
    }
}

async fn least_checkpoint(pool: &PgPool) -> sqlx::Result<i64> {
    let all = checkpoint::all(pool).await?;
    Ok(all.iter().map(|checkpoint| checkpoint.position).min().unwrap_or(0))
}

/// A page of the log.
pub struct LogBatch {
    previous_position: i64,
    entries: Vec<Entry>,
}

impl FeedBatch for LogBatch {
    fn previous_position(&self) -> i64 {
        self.previous_position
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    async fn acknowledge(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Rows of the log, decoded; what cannot be is for each read model to judge.
pub(crate) fn entries(stored: &[StoredEvent]) -> Vec<Entry> {
    stored.iter().map(entry).collect()
}

/// One row of the log, decoded.
pub(crate) fn entry(stored: &StoredEvent) -> Entry {
    match stored.decode() {
        Ok(event) => event.into(),
        Err(error) => Entry::Unreadable {
            position: stored.position,
            aggregate_type: stored.aggregate_type.clone(),
            error: error.to_string(),
        },
    }
}
