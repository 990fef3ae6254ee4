//! Storing what was decided: hashed, applied to the live state, queued, and answered after the commit.

use std::sync::Arc;

use anyhow::Context;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::time::Timestamp;
use cqrs_es::DomainEvent;
use tokio::sync::mpsc::Permit;
use tokio::sync::{mpsc, oneshot};

use super::attempt::Interrupted;
use super::hold::{Held, snapshot_due};
use super::{CommandError, Committed, LiveAggregate};
use crate::clock;
use crate::event_log::canonical::canonical;
use crate::event_log::chain::{ChainInput, chain_hash};
use crate::event_log::{
    Append, COMMAND_EVENTS, IdempotencyKey, Inner, Live, NewEvent, NewKey, Outcome, Reads, Slot, Snapshot,
    WrittenRange,
};

type Decided<E> = (Held, Vec<E>);

pub(super) async fn store<A: LiveAggregate, B: LiveAggregate, R>(
    log: &Inner<impl Reads>,
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
        let _dropped = log.snapshots.try_send(snapshot);
    }
    Ok((
        Committed::new(first_events, position, sequences[0]),
        Committed::new(second_events, position, sequences[1]),
    ))
}

/// Stores a key that led to no event.
pub(super) async fn store_key<R>(
    log: &Inner<impl Reads>,
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
fn reserve<R>(log: &Inner<impl Reads>) -> Result<Permit<'_, Append>, CommandError<R>> {
    let gone = |context: &str| CommandError::Unavailable { context: context.into(), outcome_unknown: false };
    if log.unanswered.is_closed() {
        return Err(gone("shutting down"));
    }
    log.queue.try_reserve().map_err(|error| match error {
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
    log: &Inner<impl Reads>,
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
    let snapshot = snapshot_due::<A>(log, &held.slot.key, &live);
    if snapshot.is_some() {
        live.snapshot_sequence = live.sequence;
    }
    *held.live = Some(live);
    snapshot
}

fn send(
    log: &Inner<impl Reads>,
    permit: Permit<'_, Append>,
    events: Vec<NewEvent>,
    key: Option<NewKey>,
    slots: Vec<(Arc<Slot>, i64)>,
) -> oneshot::Receiver<Outcome> {
    let (answer, answered) = oneshot::channel();
    permit.send(Append { events, key, slots, answer, _tracked: log.unanswered.token() });
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
