//! Hearing of other nodes' appends: cached streams they have written catch up, and followers of the
//! log in this process wake. And of their asking for turns.
//!
//! Nothing depends on it for correctness: a writer that has not heard meets a conflict, and a refusal
//! is never given without asking Postgres. It saves conflicts, and keeps plain reads of state fresh.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgNotification};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::announce::{self, Span};
use super::cache::Cache;
use super::read::{self, SHARD};
use super::turns::{self, Turns};

/// How often the head is read although nobody called.
const POLL: Duration = Duration::from_secs(1);

/// Other nodes' appends are asked for at least this far apart: a busy node commits far more often, and each asking reads
/// what they have written.
const GATHER: Duration = Duration::from_millis(50);

/// Pause after a failure, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A stream that another process has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenElsewhere {
    pub aggregate_type: String,
    pub aggregate_id: String,
}

pub(super) struct Tail {
    pub pool: PgPool,
    pub cache: Arc<Cache>,
    pub node: String,
    pub turns: Arc<Turns>,
    pub appended: watch::Sender<i64>,
    pub written_elsewhere: broadcast::Sender<WrittenElsewhere>,
    /// Up to here, every append of another node has been acted on.
    pub seen: i64,
    /// Up to here, there may be one that is still to be acted on.
    pub heard: i64,
    /// When it may be acted on.
    pub due: Instant,
}

impl Tail {
    pub fn spawn(self, stop: CancellationToken) {
        tokio::spawn(stop.run_until_cancelled_owned(self.run()));
    }

    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = self.seen;
            let Err(error) = self.follow().await else { continue };
            tracing::warn!(error = format!("{error:#}"), "not hearing of other nodes' appends; trying again");
            pause = if self.seen > seen { FIRST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
            sleep(pause).await;
        }
    }

    /// Follows the log until its connection fails.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.eager_reconnect(false);
        listener.listen_all([announce::CHANNEL, turns::CHANNEL]).await?;
        // What was appended while nobody listened is not worth asking for stream by stream.
        let head = read::head(&self.pool, SHARD).await?;
        self.cache.mark_all_stale();
        self.saw(head);
        loop {
            let patience = if self.heard > self.seen {
                self.due.saturating_duration_since(Instant::now())
            } else {
                POLL
            };
            match timeout(patience, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => self.hear(&notification).await?,
                Ok(Ok(None)) => anyhow::bail!("the listening connection was lost"),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if self.heard > self.seen => self.catch_up(self.heard).await?,
                Err(_) => self.poll().await?,
            }
        }
    }

    async fn hear(&mut self, notification: &PgNotification) -> anyhow::Result<()> {
        if notification.channel() == turns::CHANNEL {
            self.turns.hear(notification.payload(), Instant::now().into_std());
            return Ok(());
        }
        match announce::parse(notification.payload()) {
            Some((node, span)) if node == self.node && self.continues(&span) => self.saw(span.last),
            Some((_, Span { last, .. })) => {
                // Who follows the log reads it anyway; only what is cached waits.
                self.announce(last);
                self.heard = self.heard.max(last);
                if Instant::now() >= self.due {
                    self.catch_up(self.heard).await?;
                }
            }
            None => self.poll().await?,
        }
        Ok(())
    }

    /// Whether all that was appended up to the end of our own `span` has been acted on, but for it.
    fn continues(&self, span: &Span) -> bool {
        span.is_whole() && span.first <= self.seen + 1
    }

    async fn poll(&mut self) -> anyhow::Result<()> {
        let head = read::head(&self.pool, SHARD).await?;
        self.catch_up(head).await
    }

    /// Marks the cached streams that were written up to `last`.
    async fn catch_up(&mut self, last: i64) -> anyhow::Result<()> {
        if last <= self.seen {
            return Ok(());
        }
        let written: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT aggregate_type, aggregate_id, max(sequence) FROM events
             WHERE position > $1 AND position <= $2 GROUP BY aggregate_type, aggregate_id",
        )
        .bind(self.seen)
        .bind(last)
        .fetch_all(&self.pool)
        .await?;
        for (aggregate_type, aggregate_id, sequence) in written {
            self.cache.mark_stale(&aggregate_type, &aggregate_id, sequence);
            // Most of the time nobody follows.
            let _followers = self.written_elsewhere.send(WrittenElsewhere { aggregate_type, aggregate_id });
        }
        self.saw(last);
        self.due = Instant::now() + GATHER;
        Ok(())
    }

    fn saw(&mut self, position: i64) {
        self.seen = self.seen.max(position);
        self.announce(position);
    }

    fn announce(&self, position: i64) {
        raise(&self.appended, position);
    }
}

/// Wakes who follows the log in this process, where `position` is news.
pub(super) fn raise(appended: &watch::Sender<i64>, position: i64) {
    appended.send_if_modified(|appended| {
        let moved = position > *appended;
        *appended = position.max(*appended);
        moved
    });
}
