//! One attempt at a command: lock its streams, decide, queue the events, release, await the commit.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::time::Timestamp;
use cqrs_es::DomainEvent;
use tokio::sync::mpsc::Permit;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::time::timeout;

use super::{Call, CommandError, Committed, LiveAggregate, MAX_ATTEMPTS};
use crate::clock;
use crate::event_log::chain::{ChainInput, canonical, chain_hash};
use crate::event_log::{
    Append, COMMAND_EVENTS, EventLog, IdempotencyKey, Live, NewEvent, NewKey, Outcome, READ_TIMEOUT, Slot,
    Snapshot, StreamKey, WrittenRange, load, read,
};

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

/// A stream whose lock is held and whose state is loaded.
struct Held {
    slot: Arc<Slot>,
    live: OwnedMutexGuard<Option<Live>>,
}

pub(super) async fn attempt<A: LiveAggregate, B: LiveAggregate, T, R>(
    log: &EventLog,
    first_id: &str,
    second_id: Option<&str>,
    call: Call<'_>,
    key: Option<&IdempotencyKey>,
    decide: &impl Fn(&A, Option<&B>, Timestamp) -> Result<(Vec<A::Event>, Vec<B::Event>, T), R>,
) -> Result<(Committed<A::Event>, Committed<B::Event>, T), Interrupted<R>> {
    let (first, second) = hold_streams::<A, B, R>(log, first_id, second_id, call.fresh).await?;
    let now = [Some(&first), second.as_ref()]
        .into_iter()
        .flatten()
        .map(|held| held.live().last_recorded_at)
        .fold(clock::now(), Timestamp::max);
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
        (committed(vec![], 0, sequences[0]), committed(vec![], 0, sequences.get(1).copied().unwrap_or(0)))
    } else {
        store::<A, B, R>(log, call.metadata, key, now, (first, first_events), (second, second_events)).await?
    };
    Ok((first, second, extra))
}

/// See `EventLog::read`.
pub(super) async fn read<A: LiveAggregate, T>(
    log: &EventLog,
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

/// Runs a read on behalf of a command; Postgres being away is not the command's fault.
pub(super) async fn unavailable<T, R>(
    read: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, CommandError<R>> {
    let context = match timeout(READ_TIMEOUT, read).await {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(error)) => format!("reading the event log: {error}"),
        Err(_) => format!("reading the event log: no answer within {READ_TIMEOUT:?}"),
    };
    Err(CommandError::Unavailable { context: context.into(), outcome_unknown: false })
}

// Holding

fn stream_key<A: LiveAggregate>(id: &str) -> StreamKey {
    StreamKey { aggregate_type: Cow::Borrowed(A::TYPE), aggregate_id: id.into() }
}

/// Locks in the order of the keys, so that two commands never wait for each other.
async fn hold_streams<A: LiveAggregate, B: LiveAggregate, R>(
    log: &EventLog,
    first_id: &str,
    second_id: Option<&str>,
    fresh: [bool; 2],
) -> Result<(Held, Option<Held>), CommandError<R>> {
    let first_key = stream_key::<A>(first_id);
    let Some(second_id) = second_id else {
        return Ok((hold::<A, R>(log, &first_key, fresh[0]).await?, None));
    };
    let second_key = stream_key::<B>(second_id);
    assert_ne!(first_key, second_key, "a pair is of two streams");
    if first_key < second_key {
        let first = hold::<A, R>(log, &first_key, fresh[0]).await?;
        let second = hold::<B, R>(log, &second_key, fresh[1]).await?;
        Ok((first, Some(second)))
    } else {
        let second = hold::<B, R>(log, &second_key, fresh[1]).await?;
        let first = hold::<A, R>(log, &first_key, fresh[0]).await?;
        Ok((first, Some(second)))
    }
}

async fn hold<A: LiveAggregate, R>(
    log: &EventLog,
    key: &StreamKey,
    fresh: bool,
) -> Result<Held, CommandError<R>> {
    loop {
        let slot = log.inner.cache.slot(key);
        let mut live = slot.lock().await;
        if slot.progress().dead {
            continue;
        }
        let all_committed = live.as_ref().is_none_or(|live| slot.progress().committed >= live.sequence);
        // With events on their way, catching up must wait; if they collide, the slot dies anyway.
        if live.is_none() || (all_committed && slot.take_stale()) {
            slot.take_stale();
            let known = live.take();
            let loaded = if fresh && known.is_none() {
                load::empty::<A>()
            } else {
                catch_up::<A, R>(log, key, known).await?
            };
            slot.committed(loaded.sequence);
            *live = Some(loaded);
        }
        return Ok(Held { slot, live });
    }
}

async fn catch_up<A: LiveAggregate, R>(
    log: &EventLog,
    key: &StreamKey,
    known: Option<Live>,
) -> Result<Live, CommandError<R>> {
    let loading = load::load::<A>(&log.inner.pool, key, known);
    let error = match timeout(READ_TIMEOUT, loading).await {
        Ok(Ok(live)) => return Ok(live),
        Ok(Err(error)) => error,
        Err(late) => anyhow::Error::new(late),
    };
    let error = error.context(format!("loading {} {}", key.aggregate_type, key.aggregate_id));
    let away = error.chain().any(|cause| {
        cause.is::<tokio::time::error::Elapsed>()
            || cause.downcast_ref::<sqlx::Error>().is_some_and(|cause| {
                !matches!(cause, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
            })
    });
    Err(match away {
        true => CommandError::Unavailable { context: format!("{error:#}").into(), outcome_unknown: false },
        false => CommandError::Failed(error),
    })
}

impl Held {
    fn live(&self) -> &Live {
        self.live.as_ref().expect("a held stream is loaded")
    }

    fn state<A: LiveAggregate>(&self) -> &A {
        self.live().state.downcast_ref().expect("a stream is folded by one aggregate only")
    }

    fn version(&self) -> (Arc<Slot>, i64) {
        (Arc::clone(&self.slot), self.live().sequence)
    }
}

// Refusals and decisions that nothing need happen

/// Makes sure that the state a command was decided on is committed, and the latest there is.
async fn confirm_latest<R>(log: &EventLog, versions: &[(Arc<Slot>, i64)]) -> Result<(), Interrupted<R>> {
    for (slot, sequence) in versions {
        if !slot.wait_committed(*sequence).await {
            return Err(Interrupted::DecideAnew);
        }
    }
    let types: Vec<&str> = versions.iter().map(|(slot, _)| &*slot.key.aggregate_type).collect();
    let ids: Vec<&str> = versions.iter().map(|(slot, _)| &*slot.key.aggregate_id).collect();
    let stored = unavailable(read::last_sequences(&log.inner.pool, &types, &ids)).await?;
    for ((slot, sequence), stored) in versions.iter().zip(stored) {
        if stored < *sequence {
            // Postgres was restored to an earlier time under us.
            log.inner.cache.kill(slot);
            return Err(Interrupted::DecideAnew);
        }
        if !all_ours(slot, stored).await {
            slot.mark_stale();
            return Err(Interrupted::DecideAnew);
        }
    }
    Ok(())
}

/// Whether every event up to `stored` was written, or loaded, by this process: then the state decided
/// on was the latest when it was decided on, whatever this process has appended to it since.
async fn all_ours(slot: &Slot, stored: i64) -> bool {
    if stored <= slot.progress().committed {
        return true;
    }
    // What was read may be a commit of this process whose answer is still on its way.
    let queued = slot.lock().await.as_ref().map_or(0, |live| live.sequence);
    slot.wait_committed(queued).await && stored <= slot.progress().committed
}

// Storing

type Decided<E> = (Held, Vec<E>);

async fn store<A: LiveAggregate, B: LiveAggregate, R>(
    log: &EventLog,
    metadata: &Metadata,
    key: Option<&IdempotencyKey>,
    now: Timestamp,
    (mut first, first_events): Decided<A::Event>,
    (mut second, second_events): (Option<Held>, Vec<B::Event>),
) -> Result<(Committed<A::Event>, Committed<B::Event>), Interrupted<R>> {
    let permit = reserve(log)?;
    let failed = |error| Interrupted::Error(CommandError::Failed(error));
    let metadata: Arc<str> = canonical(metadata).map_err(|error| failed(error.into()))?.into();
    let mut events = Vec::with_capacity(first_events.len() + second_events.len());
    let first_range =
        prepare(&first, &first_events, &metadata, now, &mut events).context(A::TYPE).map_err(failed)?;
    let second_range = match &second {
        Some(held) => Some(
            prepare(held, &second_events, &metadata, now, &mut events).context(B::TYPE).map_err(failed)?,
        ),
        None => None,
    };
    if events.len() > COMMAND_EVENTS {
        return Err(failed(anyhow::anyhow!("{} events in one command", events.len())));
    }
    let sequences = [first_range.last, second_range.as_ref().map_or(0, |range| range.last)];
    let streams = [Some(first_range), second_range].into_iter().flatten().collect();
    let key = key.map(|key| NewKey { key: key.clone(), streams });
    let snapshots = [
        advance::<A>(log, &mut first, &first_events, now, &events),
        second.as_mut().and_then(|held| advance::<B>(log, held, &second_events, now, &events)),
    ];
    let slots = [Some(&first), second.as_ref()].into_iter().flatten().map(Held::version).collect();
    let answer = send(log, permit, events, key, slots);
    drop((first, second));
    let position = outcome(answer).await?;
    for snapshot in snapshots.into_iter().flatten() {
        // A full channel drops it: it is kept again before long.
        let _dropped = log.inner.snapshots.try_send(snapshot);
    }
    Ok((committed(first_events, position, sequences[0]), committed(second_events, position, sequences[1])))
}

/// Stores a key that led to no event.
async fn store_key<R>(
    log: &EventLog,
    key: &IdempotencyKey,
    versions: &[(Arc<Slot>, i64)],
) -> Result<(), Interrupted<R>> {
    let permit = reserve(log)?;
    let streams = versions.iter().map(|(slot, sequence)| WrittenRange {
        aggregate_type: slot.key.aggregate_type.to_string(),
        aggregate_id: slot.key.aggregate_id.to_string(),
        first: sequence + 1,
        last: *sequence,
    });
    let key = NewKey { key: key.clone(), streams: streams.collect() };
    // On no slot: that nothing need happen is confirmed, whatever becomes of commands still on their way.
    outcome(send(log, permit, vec![], Some(key), vec![])).await.map(drop)
}

/// A place in the queue, taken before anything changes, so that what is applied is always queued.
fn reserve<R>(log: &EventLog) -> Result<Permit<'_, Append>, CommandError<R>> {
    let gone = |context: &str| CommandError::Unavailable { context: context.into(), outcome_unknown: false };
    if log.inner.unanswered.is_closed() {
        return Err(gone("shutting down"));
    }
    log.inner.queue.try_reserve().map_err(|error| match error {
        mpsc::error::TrySendError::Full(()) => CommandError::Overloaded,
        mpsc::error::TrySendError::Closed(()) => gone("the writer has stopped"),
    })
}

/// Turns decided events into rows of the held stream, hashed; returns their place in it.
fn prepare<E: DomainEvent>(
    held: &Held,
    decided: &[E],
    metadata: &Arc<str>,
    now: Timestamp,
    events: &mut Vec<NewEvent>,
) -> anyhow::Result<WrittenRange> {
    let stream = &held.slot.key;
    let Live { mut sequence, mut last_hash, .. } = *held.live();
    let first = sequence + 1;
    for event in decided {
        sequence += 1;
        let mut new = NewEvent {
            stream: stream.clone(),
            sequence,
            event_id: clock::new_id(),
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload: canonical(event)?,
            metadata: Arc::clone(metadata),
            hash: last_hash,
            recorded_at: now,
        };
        last_hash = chain_hash(
            &last_hash,
            &ChainInput {
                aggregate_type: &stream.aggregate_type,
                aggregate_id: &stream.aggregate_id,
                sequence,
                event_id: new.event_id,
                event_type: &new.event_type,
                event_version: &new.event_version,
                recorded_at: now,
                payload: &new.payload,
                metadata,
            },
        );
        new.hash = last_hash;
        events.push(new);
    }
    Ok(WrittenRange {
        aggregate_type: stream.aggregate_type.to_string(),
        aggregate_id: stream.aggregate_id.to_string(),
        first,
        last: sequence,
    })
}

/// Applies decided events to the live state; returns a snapshot if one is due.
fn advance<A: LiveAggregate>(
    log: &EventLog,
    held: &mut Held,
    decided: &[A::Event],
    now: Timestamp,
    events: &[NewEvent],
) -> Option<Snapshot> {
    let last = events.iter().rev().find(|event| event.stream == held.slot.key)?;
    // Taken out while it changes: if a fold panics, the half-changed state is not used again.
    let mut live = held.live.take().expect("a held stream is loaded");
    let state = live.state.downcast_mut::<A>().expect("a stream is folded by one aggregate only");
    decided.iter().for_each(|event| state.apply(event.clone()));
    live.sequence = last.sequence;
    live.last_hash = last.hash;
    live.last_recorded_at = now;
    let due = live.sequence - live.snapshot_sequence >= log.inner.snapshot_every;
    let snapshot = if due { Snapshot::of::<A>(&held.slot.key, &live) } else { None };
    if due {
        live.snapshot_sequence = live.sequence;
    }
    *held.live = Some(live);
    snapshot
}

fn send(
    log: &EventLog,
    permit: Permit<'_, Append>,
    events: Vec<NewEvent>,
    key: Option<NewKey>,
    slots: Vec<(Arc<Slot>, i64)>,
) -> oneshot::Receiver<Outcome> {
    let (answer, answered) = oneshot::channel();
    permit.send(Append { events, key, slots, answer, _tracked: log.inner.unanswered.token() });
    answered
}

/// Awaits the commit; the position of the last event.
async fn outcome<R>(answer: oneshot::Receiver<Outcome>) -> Result<i64, Interrupted<R>> {
    let lost = Outcome::Unavailable { context: "the writer has stopped".into(), outcome_unknown: true };
    match answer.await.unwrap_or(lost) {
        Outcome::Committed { position } => Ok(position),
        Outcome::DecideAnew => Err(Interrupted::DecideAnew),
        Outcome::KeyTaken => Err(Interrupted::KeyTaken),
        Outcome::Rejected { reason } => {
            Err(CommandError::Failed(anyhow::anyhow!("Postgres refuses the event: {reason}")).into())
        }
        Outcome::Unavailable { context, outcome_unknown } => {
            Err(CommandError::Unavailable { context, outcome_unknown }.into())
        }
    }
}

fn committed<E>(events: Vec<E>, position: i64, sequence: i64) -> Committed<E> {
    let position = if events.is_empty() { 0 } else { position };
    Committed { events, position, sequence, replayed: false }
}
