//! The event log: appends what commands decide, keeps the live aggregates, and lets everyone read.
//!
//! An append is durable in Postgres, in order, and stands for ever. Whatever has queued during one
//! commit goes into the next; the unique (stream, sequence) is what keeps two writers from spending
//! the same money twice.

mod announce;
mod append;
mod cache;
pub mod canonical;
pub mod chain;
mod conflict;
pub mod idempotency;
pub(crate) mod load;
mod lookup;
#[cfg(test)]
mod model;
mod queue;
pub mod read;
mod reads;
mod recent;
pub mod seal;
mod snapshot;
mod tail;
mod turns;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::time::Timestamp;
use sqlx::PgPool;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use announce::Unannounced;
use append::Told;
pub(crate) use cache::{Live, Progress, Slot, StreamKey};
pub use idempotency::IdempotencyKey;
pub(crate) use idempotency::{NewKey, WrittenRange};
pub(crate) use load::Loaded;
pub(crate) use queue::{Append, NewEvent, Outcome};
pub use queue::{BATCH_EVENTS, COMMAND_EVENTS, QUEUE_CAPACITY};
pub use read::{SHARD, Shard, StoredEvent};
pub(crate) use reads::{READ_TIMEOUT, Reads, Unread};
pub use recent::Recent;
pub(crate) use snapshot::Snapshot;
use tail::Tail;
pub use tail::WrittenElsewhere;
pub(crate) use turns::Turns;

/// Streams kept live by default.
pub const DEFAULT_CACHE_CAPACITY: usize = 50_000;

/// Writings of other processes that a slow follower may be behind.
const WRITTEN_ELSEWHERE_KEPT: usize = 1_024;

pub struct EventLogOptions {
    /// Who appends; other nodes learn from it which news is not their own.
    pub node: NodeIncarnation,
    /// Streams kept live.
    pub cache_capacity: usize,
    /// Events after which a stream's state is kept for a quick cold start.
    pub snapshot_every: i64,
    /// Events of a stream that one read folds.
    pub load_at_once: i64,
}

impl EventLogOptions {
    pub fn new(node: NodeIncarnation) -> Self {
        Self {
            node,
            cache_capacity: DEFAULT_CACHE_CAPACITY,
            snapshot_every: snapshot::DEFAULT_SNAPSHOT_EVERY,
            load_at_once: load::DEFAULT_LOAD_AT_ONCE,
        }
    }
}

/// A handle on the log; clones share everything. The background tasks end with the last handle.
#[derive(Clone)]
pub struct EventLog {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner<Reader = PgPool> {
    pub reader: Reader,
    pub cache: Arc<cache::Cache>,
    pub queue: mpsc::Sender<Append>,
    pub snapshots: mpsc::Sender<Snapshot>,
    pub snapshot_every: i64,
    pub load_at_once: i64,
    pub key_turns: idempotency::KeyTurns,
    pub turns: Arc<Turns>,
    pub unanswered: TaskTracker,
    appended: watch::Sender<i64>,
    recent: Arc<Recent>,
    unannounced: Unannounced,
    written_elsewhere: broadcast::Sender<WrittenElsewhere>,
    _stop_tasks: DropGuard,
}

impl EventLog {
    /// Checks the server and starts the writer and the listener for other nodes' appends. Fails where
    /// Postgres is away, not migrated, or may lose what it has acknowledged.
    pub async fn open(pool: PgPool, options: EventLogOptions) -> anyhow::Result<Self> {
        refuse_unsafe_server(&pool).await?;
        let head = read::head(&pool, SHARD).await.context("reading the head of the event log")?;
        let cache = Arc::new(cache::Cache::new(options.cache_capacity));
        let (queue, queued) = mpsc::channel(QUEUE_CAPACITY);
        let appended = watch::Sender::new(head);
        let stop = CancellationToken::new();
        let recent = Arc::<Recent>::default();
        let unannounced = Unannounced::by(&options.node.to_string());
        let told = Told {
            appended: appended.clone(),
            recent: Arc::clone(&recent),
            unannounced: unannounced.clone(),
        };
        append::Writer::spawn(&pool, Arc::clone(&cache), told, queued);
        let announcing = unannounced.clone().keep_announcing(pool.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(announcing));
        let turns = Arc::new(Turns::new(options.node.to_string()));
        let written_elsewhere = broadcast::Sender::new(WRITTEN_ELSEWHERE_KEPT);
        let tail = Tail {
            pool: pool.clone(),
            cache: Arc::clone(&cache),
            node: options.node.to_string(),
            turns: Arc::clone(&turns),
            appended: appended.clone(),
            written_elsewhere: written_elsewhere.clone(),
            seen: head,
            heard: head,
            due: tokio::time::Instant::now(),
        };
        tail.spawn(stop.clone());
        let snapshots = snapshot::spawn(pool.clone());
        Ok(Self {
            inner: Arc::new(Inner {
                reader: pool,
                cache,
                queue,
                snapshots,
                snapshot_every: options.snapshot_every.max(1),
                load_at_once: options.load_at_once.max(1),
                key_turns: idempotency::KeyTurns::default(),
                turns,
                unanswered: TaskTracker::new(),
                appended,
                recent,
                unannounced,
                written_elsewhere,
                _stop_tasks: stop.drop_guard(),
            }),
        })
    }

    /// The highest committed position this process knows of; changes wake whoever follows the log.
    pub fn appended(&self) -> watch::Receiver<i64> {
        self.inner.appended.subscribe()
    }

    /// What this process has committed last, for who follows the log.
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.inner.recent)
    }

    /// Streams as other processes are heard to have written them; what nobody takes in time is dropped.
    pub fn written_elsewhere(&self) -> broadcast::Receiver<WrittenElsewhere> {
        self.inner.written_elsewhere.subscribe()
    }

    /// The pool the log reads with.
    pub fn pool(&self) -> &PgPool {
        &self.inner.reader
    }

    /// Streams whose snapshots other code has folded, the longest first.
    pub async fn outdated_snapshots(&self, aggregate_type: &str, most: i64) -> sqlx::Result<Vec<String>> {
        snapshot::outdated(self.pool(), aggregate_type, most).await
    }

    /// Streams that are live now.
    pub fn cached_streams(&self) -> usize {
        self.inner.cache.len()
    }

    /// Commands that wait for the writer now.
    pub fn queued_commands(&self) -> usize {
        self.inner.queue.max_capacity() - self.inner.queue.capacity()
    }

    /// Takes no further command, waits until every queued one is answered, at most `deadline`, and tells the other
    /// nodes. Returns whether all were answered.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.inner.unanswered.close();
        let answered = tokio::time::timeout(deadline, self.inner.unanswered.wait()).await.is_ok();
        self.inner.unannounced.announce(&self.inner.reader).await;
        answered
    }
}

/// Refuses a server that acknowledges what a power cut can take back.
async fn refuse_unsafe_server(pool: &PgPool) -> anyhow::Result<()> {
    for setting in ["fsync", "full_page_writes"] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(pool)
            .await
            .with_context(|| format!("asking Postgres for its setting {setting}"))?;
        if value != "on" {
            bail!(
                "Postgres runs with {setting} = {value}: a crash could take back money that was \
                 acknowledged. Set {setting} = on in postgresql.conf and restart it"
            );
        }
    }
    Ok(())
}

/// `moment` as sqlx takes it; fails beyond the years Postgres knows.
pub(crate) fn to_datetime(moment: Timestamp) -> anyhow::Result<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp_micros(moment.0)
        .with_context(|| format!("{} µs since 1970 is beyond the calendar", moment.0))
}
