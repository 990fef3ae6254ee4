//! Seals: now and then a running hash over the whole log is appended to the log and printed outside
//! it. The hash chain alone does not show that a stream's last event, or a whole stream, is gone.

use std::time::Duration;

use anyhow::Context;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::log::{LogEvent, LogSeals, SEAL_STREAM};
use cqrs_es::Aggregate;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::{PgExecutor, Row};
use tokio_util::sync::CancellationToken;

use super::EventLog;
use super::read::{self, SHARD};
use crate::commands::CommandError;
use crate::verify;

/// How often the log is sealed, if anything but seals was appended.
pub const SEAL_EVERY: Duration = Duration::from_secs(60);

/// Keeps these hashes apart from any other use of SHA-256 over similar bytes.
const TAG: &[u8] = b"codexapi seal v1";

/// The running hash of a seal: the one before it, then every (position, hash) it covers.
pub struct RunningHash {
    hasher: Sha256,
    pub events: i64,
}

impl RunningHash {
    /// `previous` as the previous seal gives it; empty for the first.
    pub fn after(previous: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(TAG);
        hasher.update((previous.len() as u64).to_be_bytes());
        hasher.update(previous);
        Self { hasher, events: 0 }
    }

    pub fn add(&mut self, position: i64, hash: &[u8]) {
        self.hasher.update(position.to_be_bytes());
        self.hasher.update((hash.len() as u64).to_be_bytes());
        self.hasher.update(hash);
        self.events += 1;
    }

    /// Lower-case hex.
    pub fn finish(self) -> String {
        hex::encode(self.hasher.finalize())
    }
}

/// What a seal of the stretch after `after` up to `up_to` says: (running hash, number of events).
/// `previous` is the previous seal's running hash.
pub async fn hash_stretch(
    executor: impl PgExecutor<'_>,
    previous: &str,
    after: i64,
    up_to: i64,
) -> Result<(String, i64), sqlx::Error> {
    let mut running = RunningHash::after(previous);
    let mut rows = sqlx::query(
        "SELECT position, hash FROM events WHERE position > $1 AND position <= $2 ORDER BY position",
    )
    .bind(after)
    .bind(up_to)
    .fetch(executor);
    while let Some(row) = rows.try_next().await? {
        running.add(row.try_get("position")?, row.try_get("hash")?);
    }
    let events = running.events;
    Ok((running.finish(), events))
}

/// Seals everything appended since the last seal and prints the seal. `None` where nothing but seals
/// was appended, or another node has just sealed it.
pub async fn seal_now(log: &EventLog) -> anyhow::Result<Option<LogEvent>> {
    let sealed = log.read::<LogSeals, _>(SEAL_STREAM, LogSeals::clone).await?;
    let after = sealed.up_to_position;
    let up_to = last_unsealed(log, after).await?;
    let Some(up_to) = up_to else { return Ok(None) };
    let (hash, events) = hash_stretch(log.pool(), &sealed.running_hash, after, up_to)
        .await
        .context("reading the stretch to be sealed")?;
    let metadata = Metadata::process("seal");
    let committed = log
        .execute(SEAL_STREAM, &metadata, |seals: &LogSeals, _| seals.seal(after, up_to, events, hash.clone()))
        .await;
    match committed {
        Ok(committed) => {
            let seal = committed.events.into_iter().next().context("a seal is one event")?;
            let LogEvent::Sealed { event_count, running_hash, .. } = &seal;
            verify::note_stream_heads(log.pool(), up_to)
                .await
                .context("noting where the sealed streams end")?;
            tracing::info!(
                up_to_position = up_to,
                event_count,
                running_hash,
                seal_position = committed.position,
                "the event log is sealed"
            );
            Ok(Some(seal))
        }
        Err(CommandError::Refused(_)) => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context("appending the seal")),
    }
}

/// Seals the log every `every` until `stop`.
pub async fn run(log: EventLog, every: Duration, stop: CancellationToken) {
    let sealing = async {
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = seal_now(&log).await {
                tracing::warn!(error = format!("{error:#}"), "the event log was not sealed; trying again");
            }
        }
    };
    stop.run_until_cancelled(sealing).await;
}

/// The head, if anything but seals stands after `sealed`.
async fn last_unsealed(log: &EventLog, sealed: i64) -> anyhow::Result<Option<i64>> {
    let head = read::head(log.pool(), SHARD).await.context("reading the head of the log")?;
    let anything: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM events
                        WHERE position > $1 AND position <= $2 AND aggregate_type <> $3)",
    )
    .bind(sealed)
    .bind(head)
    .bind(LogSeals::TYPE)
    .fetch_one(log.pool())
    .await
    .context("looking for what is not sealed")?;
    Ok(anything.then_some(head))
}
