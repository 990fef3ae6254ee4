//! One attempt at a command: lock its streams, decide, queue the events, release, await the commit.

use std::sync::Arc;
use std::time::Instant;

use codexapi_aggregates::time::Timestamp;

use super::hold::{Held, hold, hold_streams, stream_key};
use super::store::{store, store_key};
use super::{Call, CommandError, Committed, LiveAggregate, MAX_ATTEMPTS};
use crate::clock;
use crate::event_log::{IdempotencyKey, Inner, Progress, Reads, Slot};

/// How an attempt without a result ended.
pub(super) enum Interrupted<R> {
    /// What it was decided on does not stand.
    DecideAnew,
    KeyTaken,
    Error(CommandError<R>),
}

impl<R> From<CommandError<R>> for Interrupted<R> {
    fn from(error: CommandError<R>) -> Self {
        Self::Error(error)
    }
}

pub(super) async fn attempt<A: LiveAggregate, B: LiveAggregate, T, R>(
    log: &Inner<impl Reads>,
    first_id: &str,
    second_id: Option<&str>,
    call: Call<'_>,
    key: Option<&IdempotencyKey>,
    decide: &impl Fn(&A, Option<&B>, Timestamp) -> Result<(Vec<A::Event>, Vec<B::Event>, T), R>,
) -> Result<(Committed<A::Event>, Committed<B::Event>, T), Interrupted<R>> {
    let (first, second) = hold_streams::<A, B, R>(log, first_id, second_id, call).await?;
    if call.not_after.is_some_and(|moment| moment <= Instant::now()) {
        let context = "the command came too late".into();
        return Err(CommandError::Unavailable { context, outcome_unknown: false }.into());
    }
    let now = [Some(&first), second.as_ref()]
        .into_iter()
        .flatten()
        .map(|held| held.live().last_recorded_at)
        .fold(call.at.unwrap_or_else(clock::now), Timestamp::max);
    let decided = decide(first.state(), second.as_ref().map(Held::state), now);
    let versions: Vec<_> = [Some(&first), second.as_ref()].into_iter().flatten().map(Held::version).collect();
    let (first_events, second_events, extra) = match decided {
        Ok(decided) => decided,
        Err(refusal) => {
            drop((first, second));
            confirm_latest(log, &versions).await?;
            return Err(CommandError::Refused(refusal).into());
        }
    };
    let nothing = first_events.is_empty() && second_events.is_empty();
    let (first, second) = if nothing {
        drop((first, second));
        confirm_latest(log, &versions).await?;
        let sequences = versions.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>();
        if let Some(key) = key {
            store_key(log, key, &versions).await?;
        }
        (
            Committed::new(vec![], 0, sequences[0]),
            Committed::new(vec![], 0, sequences.get(1).copied().unwrap_or(0)),
        )
    } else {
        store::<A, B, R>(log, call.metadata, key, now, (first, first_events), (second, second_events)).await?
    };
    Ok((first, second, extra))
}

/// See `EventLog::read`.
pub(super) async fn read<A: LiveAggregate, T>(
    log: &Inner<impl Reads>,
    id: &str,
    look: impl Fn(&A) -> T,
) -> anyhow::Result<T> {
    let key = stream_key::<A>(id);
    for _ in 0..MAX_ATTEMPTS {
        let held = hold::<A, anyhow::Error>(log, &key, false).await.map_err(anyhow::Error::msg)?;
        let seen = look(held.state());
        let (slot, sequence) = held.version();
        drop(held);
        if slot.wait_committed(sequence).await {
            return Ok(seen);
        }
    }
    anyhow::bail!("{} {id}: its last events keep failing to be stored", A::TYPE)
}

// Refusals and decisions that nothing need happen

/// Makes sure that the state a command was decided on is committed, and the latest there is.
async fn confirm_latest<R>(
    log: &Inner<impl Reads>,
    versions: &[(Arc<Slot>, i64)],
) -> Result<(), Interrupted<R>> {
    for (slot, sequence) in versions {
        if !slot.wait_committed(*sequence).await {
            return Err(Interrupted::DecideAnew);
        }
    }
    let streams: Vec<_> = versions.iter().map(|(slot, _)| &slot.key).collect();
    let stored = log.reader.last_sequences(&streams).await.map_err(CommandError::from)?;
    for ((slot, sequence), stored) in versions.iter().zip(stored) {
        if stored < *sequence {
            // Postgres was restored to an earlier time under us.
            log.cache.kill(slot);
            return Err(Interrupted::DecideAnew);
        }
        if !all_ours(slot, *sequence, stored).await {
            slot.mark_stale();
            return Err(Interrupted::DecideAnew);
        }
    }
    Ok(())
}

/// Whether every event after `decided_on` up to `stored` was written by this process: then the state
/// decided on was the latest when it was decided on, whatever this process has appended to it since.
async fn all_ours(slot: &Slot, decided_on: i64, stored: i64) -> bool {
    if stored > slot.progress().committed {
        // What was read may be a commit of this process whose answer is still on its way.
        let queued = slot.lock().await.as_ref().map_or(0, |live| live.sequence);
        if !slot.wait_committed(queued).await {
            return false;
        }
    }
    let Progress { committed, loaded, .. } = slot.progress();
    stored <= committed && loaded <= decided_on
}
