//! One read model after the log.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use codexapi_projections::apply::{Applied, ApplyError, apply};
use codexapi_projections::{ReadModel, checkpoint};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::feed::{BATCH, Feed, FeedBatch, entries};
use crate::crash_points;
use crate::event_log::read::{self, SHARD};

/// Pause after a failure, doubled each time up to the longest.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How often the checkpoint is compared with the log's head, whatever the feed says.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Failures of the feed in a row that are not worth a line.
const FAILURES_UNSAID: u32 = 2;

/// While the feed is away, new events gather for this long before the log is read again.
const GATHER: Duration = Duration::from_millis(50);

pub(super) struct Follower<F> {
    pool: PgPool,
    model: &'static ReadModel,
    appended: watch::Receiver<i64>,
    feed: F,
    /// How often it has failed since it last answered.
    feed_failures: u32,
    /// What was last logged of it.
    feed_error: Option<String>,
    /// The last checkpoint known.
    position: i64,
    /// The log's head when it was last compared with.
    head: i64,
    looked_at: Instant,
    moved: bool,
}

impl<F: Feed> Follower<F> {
    pub fn new(pool: PgPool, model: &'static ReadModel, appended: watch::Receiver<i64>, feed: F) -> Self {
        let looked_at = Instant::now();
        let (feed_failures, feed_error, position, head, moved) = (0, None, 0, 0, false);
        Self { pool, model, appended, feed, feed_failures, feed_error, position, head, looked_at, moved }
    }

    /// Follows until something fails. `moving` is called once the read model is at the log's head.
    pub async fn follow(&mut self, moving: impl Fn()) -> anyhow::Result<Infallible> {
        self.catch_up().await?;
        moving();
        loop {
            match self.feed.next_batch(LOOK_EVERY).await {
                Ok(Some(batch)) => {
                    self.note_feed(None);
                    self.take(&batch).await?;
                }
                Ok(None) => self.note_feed(None),
                Err(error) => {
                    self.note_feed(Some(format!("{error:#}")));
                    self.poll_log().await?;
                }
            }
            self.look().await?;
        }
    }

    /// Whether the checkpoint has moved since this was last asked.
    pub fn took_progress(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Applies a batch, reading the log first where it does not continue from the checkpoint.
    async fn take(&mut self, batch: &F::Batch) -> anyhow::Result<()> {
        let applied = self.apply(batch.entries(), batch.previous_position()).await?;
        if let Applied::Hole { .. } = applied {
            self.catch_up().await?;
        }
        crash_points::reached(crash_points::PROJECTED);
        if let Err(error) = batch.acknowledge().await {
            self.note_feed(Some(format!("{error:#}")));
        }
        Ok(())
    }

    /// Reads the log from the checkpoint to its end.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        loop {
            let after = checkpoint::position(&self.pool, self.model.name).await?;
            let stored =
                read::read_after(&self.pool, SHARD, after, BATCH).await.context("reading the log")?;
            if stored.is_empty() {
                self.position = after;
                return Ok(());
            }
            self.apply(&entries(&stored), after).await?;
        }
    }

    /// Follows the log for a while in the feed's stead.
    async fn poll_log(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + LOOK_EVERY;
        while let Ok(Ok(())) = timeout_at(until, self.appended.changed()).await {
            sleep(GATHER).await;
            self.catch_up().await?;
        }
        // Nothing more was heard of: another node may have written, or the writer here is gone.
        tokio::time::sleep_until(until).await;
        self.catch_up().await
    }

    /// Reads the log if the read model is still behind where the log ended a while ago: then the
    /// feed has missed something, or has nothing to say.
    async fn look(&mut self) -> anyhow::Result<()> {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        if self.position < self.head {
            self.catch_up().await?;
        }
        self.head = read::head(&self.pool, SHARD).await.context("reading the log's head")?;
        self.looked_at = Instant::now();
        Ok(())
    }

    async fn apply(
        &mut self,
        entries: &[codexapi_projections::Entry],
        previous_position: i64,
    ) -> Result<Applied, ApplyError> {
        let applied = apply(&self.pool, self.model, entries, previous_position).await?;
        if let Applied::Upto { position } = applied {
            self.moved |= position > self.position;
            self.position = position;
        }
        Ok(applied)
    }

    /// Logs that the feed stays away or has come back, once. What the next try mends is no news: at a first start the
    /// relay is still making what the feed reads from.
    fn note_feed(&mut self, error: Option<String>) {
        let projection = self.model.name;
        let Some(error) = error else {
            self.feed_failures = 0;
            if self.feed_error.take().is_some() {
                tracing::info!(projection, "the feed is back");
            }
            return;
        };
        self.feed_failures = self.feed_failures.saturating_add(1);
        if self.feed_failures <= FAILURES_UNSAID || self.feed_error.as_ref() == Some(&error) {
            return;
        }
        tracing::warn!(projection, error, "the feed is away; following the log itself");
        self.feed_error = Some(error);
    }
}
