//! What a command reads of the stored log while it is decided. A trait, so that `model/` can run the
//! commands over a log of its own.

use std::future::Future;
use std::time::Duration;

use cqrs_es::Aggregate;
use sqlx::PgPool;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::announce;
use super::cache::{Live, StreamKey};
use super::idempotency::{self, IdempotencyKey, StoredKey, WrittenRange};
use super::load::{self, Loaded};
use super::read::{self, StoredEvent};
use super::turns;

/// How long one read on behalf of a command may take before it counts as Postgres being away.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) trait Reads: Send + Sync {
    /// Folds at most `most` of the events stored after `known`, or of the whole stream where nothing is known.
    fn load<A: Aggregate + 'static>(
        &self,
        key: &StreamKey,
        known: Option<Live>,
        most: i64,
    ) -> impl Future<Output = Result<Loaded, Unread>> + Send;

    /// The last sequence of each stream, 0 where it has no event, in the order asked.
    fn last_sequences(&self, streams: &[&StreamKey])
    -> impl Future<Output = Result<Vec<i64>, Unread>> + Send;

    /// What the key led to, if it was used before.
    fn find_key(
        &self,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<StoredKey>, Unread>> + Send;

    /// The events that a key led to in one stream.
    fn written(&self, range: &WrittenRange) -> impl Future<Output = Result<Vec<StoredEvent>, Unread>> + Send;

    /// Tells the other processes that this one takes a turn at a stream, as `Turns::ask` has it.
    fn tell_of_turn(&self, asked: &str) -> impl Future<Output = ()> + Send;

    /// Lets others go first, before a command is decided anew.
    fn pause(&self, length: Duration) -> impl Future<Output = ()> + Send;
}

/// Why a read has no result.
#[derive(Debug)]
pub(crate) enum Unread {
    /// Postgres is away, which is not the command's fault.
    Away(String),
    /// The stored stream cannot be folded.
    Broken(anyhow::Error),
}

impl Reads for PgPool {
    async fn load<A: Aggregate + 'static>(
        &self,
        key: &StreamKey,
        known: Option<Live>,
        most: i64,
    ) -> Result<Loaded, Unread> {
        let error = match timeout(READ_TIMEOUT, load::load::<A>(self, key, known, most)).await {
            Ok(Ok(loaded)) => return Ok(loaded),
            Ok(Err(error)) => error,
            Err(late) => anyhow::Error::new(late),
        };
        let error = error.context(format!("loading {} {}", key.aggregate_type, key.aggregate_id));
        let away = error.chain().any(|cause| {
            cause.is::<Elapsed>()
                || cause.downcast_ref::<sqlx::Error>().is_some_and(|cause| {
                    !matches!(cause, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
                })
        });
        Err(if away { Unread::Away(format!("{error:#}")) } else { Unread::Broken(error) })
    }

    async fn last_sequences(&self, streams: &[&StreamKey]) -> Result<Vec<i64>, Unread> {
        let types: Vec<&str> = streams.iter().map(|key| &*key.aggregate_type).collect();
        let ids: Vec<&str> = streams.iter().map(|key| &*key.aggregate_id).collect();
        in_time(read::last_sequences(self, &types, &ids)).await
    }

    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<StoredKey>, Unread> {
        in_time(idempotency::find(self, key)).await
    }

    async fn written(&self, range: &WrittenRange) -> Result<Vec<StoredEvent>, Unread> {
        let WrittenRange { aggregate_type, aggregate_id, first, last } = range;
        let count = last - first + 1;
        in_time(read::read_stream(self, aggregate_type, aggregate_id, first - 1, count)).await
    }

    async fn tell_of_turn(&self, asked: &str) {
        // They go on as before where they are not told.
        if let Err(error) = announce::notify(self, turns::CHANNEL, asked).await {
            tracing::debug!(error = format!("{error:#}"), "the other processes were not asked for a turn");
        }
    }

    async fn pause(&self, length: Duration) {
        sleep(length).await;
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Unread> {
    Err(Unread::Away(match timeout(READ_TIMEOUT, read).await {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(error)) => format!("reading the event log: {error}"),
        Err(_) => format!("reading the event log: no answer within {READ_TIMEOUT:?}"),
    }))
}
