//! What a failed commit means for the commands of its batch.
//!
//! | failure | who pays for it |
//! |---|---|
//! | another process wrote a stream's next event | its commands, and later ones that build on theirs, decide anew |
//! | an idempotency key is taken | that command, and later ones that build on it |
//! | Postgres refuses the data | the offender alone, found by halving the batch |
//! | the connection was lost | nobody, once it is known what was stored |
//! | Postgres is away | everybody |
//!
//! The rest of a batch is sent again. Whoever builds on a command that was not stored is recognised by
//! its slot: the slot dies with the command, and what was decided on a dead slot is never stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, lazy};
use tokio::sync::mpsc;

use super::cache::Slot;
use super::idempotency::NewKey;
use super::queue::{Append, Outcome, fill_batch, keys_of};
use super::writes::{Failure, Stored, Writes};

/// Times one batch is sent again after a failure that passes by itself.
const TRANSIENT_RETRIES: u32 = 3;

const TRANSIENT_PAUSE: Duration = Duration::from_millis(50);

/// Writes what is queued, until every handle on the log is gone and the queue is empty.
pub(super) async fn write_queued(writer: &mut impl Writes, mut queued: mpsc::Receiver<Append>) {
    let (mut left_over, mut untold) = (None, Untold::default());
    loop {
        let first = match left_over.take() {
            Some(append) => append,
            None => match next(&mut queued, &mut untold).await {
                Some(append) => append,
                None => return,
            },
        };
        let (batch, next) = fill_batch(first, &mut queued);
        left_over = next;
        write(writer, batch, &mut untold).await;
    }
}

/// Commands that are stored and have not heard of it. What has queued meanwhile is sent first: Postgres is at work while
/// they are told, and before anything can come of that.
#[derive(Default)]
struct Untold(Vec<(Append, i64)>);

impl Untold {
    fn tell(&mut self) {
        for (append, position) in self.0.drain(..) {
            append.answer(Outcome::Committed { position });
        }
    }
}

/// The next command; nobody is left untold while there is none.
async fn next(queued: &mut mpsc::Receiver<Append>, untold: &mut Untold) -> Option<Append> {
    if let Ok(append) = queued.try_recv() {
        return Some(append);
    }
    untold.tell();
    queued.recv().await
}

/// Stores a batch; every command of it is answered, or untold.
async fn write(writer: &mut impl Writes, batch: Vec<Append>, untold: &mut Untold) {
    let mut waiting = vec![batch];
    while let Some(batch) = waiting.pop() {
        let doomed = dead_slots(&batch);
        if !doomed.is_empty() {
            // What is stored is said before anything that builds on it is refused.
            untold.tell();
        }
        let batch = cull(writer, batch, doomed);
        let Some((first, second)) = write_whole(writer, batch, untold).await else { continue };
        // The first half is settled before the second is looked at, since that may build on it.
        waiting.push(second);
        waiting.push(first);
    }
}

/// Stores a batch, culling what stands in the way; gives it back in halves if somebody's data does.
async fn write_whole(
    writer: &mut impl Writes,
    mut batch: Vec<Append>,
    untold: &mut Untold,
) -> Option<(Vec<Append>, Vec<Append>)> {
    let mut transient = 0;
    while !batch.is_empty() {
        // Polled in this order.
        let (stored, ()) = join(writer.store(&batch), lazy(|_| untold.tell())).await;
        match stored {
            Ok(positions) => {
                untold.0 = committed(writer, batch, &positions);
                return None;
            }
            Err(Failure::SequenceTaken) => batch = cull_conflicting(writer, batch).await,
            Err(Failure::KeyTaken) => batch = cull_taken_keys(writer, batch).await,
            Err(Failure::Data { reason }) if batch.len() == 1 => {
                answer_all(writer, batch, &Outcome::Rejected { reason });
                return None;
            }
            Err(Failure::Data { .. }) => {
                let second = batch.split_off(batch.len() / 2);
                return Some((batch, second));
            }
            Err(Failure::Transient { .. }) if transient < TRANSIENT_RETRIES => {
                transient += 1;
                writer.pause(TRANSIENT_PAUSE * transient).await;
            }
            Err(Failure::Transient { context }) => {
                answer_unavailable(writer, batch, &context, false);
                return None;
            }
            Err(Failure::Away(error)) => {
                answer_unavailable(writer, batch, &format!("{error:#}"), false);
                return None;
            }
            Err(Failure::OutcomeUnknown { context }) => {
                tracing::warn!(
                    commands = batch.len(),
                    context,
                    "an append's outcome is unknown; looking it up"
                );
                answer_looked_up(writer, batch, &context).await;
                return None;
            }
        }
    }
    None
}

/// The commands of a batch, each with the position of its last event.
fn committed(writer: &impl Writes, batch: Vec<Append>, positions: &[i64]) -> Vec<(Append, i64)> {
    let events: usize = batch.iter().map(|append| append.events.len()).sum();
    assert_eq!(events, positions.len(), "append_events() returns a position for every event");
    let mut positions = positions.iter().copied();
    let (mut placed, mut untold) = (Vec::with_capacity(events), Vec::with_capacity(batch.len()));
    for mut append in batch {
        let before = placed.len();
        let events = std::mem::take(&mut append.events);
        placed.extend(positions.by_ref().take(events.len()).zip(events));
        let position = placed[before..].last().map_or(0, |(position, _)| *position);
        untold.push((append, position));
    }
    writer.committed(placed);
    untold
}

/// Finds out what was stored of a batch whose connection was lost, and answers accordingly.
async fn answer_looked_up(writer: &mut impl Writes, batch: Vec<Append>, context: &str) {
    // Nothing may be decided on these streams as they stand in the cache.
    for (slot, _) in batch.iter().flat_map(|append| &append.slots) {
        writer.cache().kill(slot);
    }
    match looked_up(writer, &batch).await {
        Ok(outcomes) => {
            for (append, outcome) in batch.into_iter().zip(outcomes) {
                if let Outcome::Committed { position } = outcome {
                    writer.announce(position);
                }
                append.answer(outcome);
            }
        }
        Err(error) => {
            answer_unavailable(writer, batch, &format!("{context}; looking it up: {error:#}"), true);
        }
    }
}

/// What has become of each command of a batch whose connection was lost: its last event shows it, or, where it has
/// none, its key.
async fn looked_up(writer: &mut impl Writes, batch: &[Append]) -> anyhow::Result<Vec<Outcome>> {
    let Stored { positions, keys } = writer.look_up(batch).await?;
    let mut keys = keys.into_iter();
    let outcomes = batch.iter().map(|append| {
        let key_taken = append.key.is_some() && keys.next().expect("an answer for every key");
        match append.events.last().and_then(|last| positions.get(&last.event_id)) {
            Some(position) => Outcome::Committed { position: *position },
            None if key_taken => Outcome::KeyTaken,
            None => Outcome::DecideAnew,
        }
    });
    Ok(outcomes.collect())
}

fn answer_unavailable(writer: &impl Writes, batch: Vec<Append>, context: &str, outcome_unknown: bool) {
    tracing::warn!(
        commands = batch.len(),
        context,
        outcome_unknown,
        "Postgres is away; commands are told so"
    );
    answer_all(writer, batch, &Outcome::Unavailable { context: context.into(), outcome_unknown });
}

/// Answers commands that were not, or may not have been stored; what builds on them dies with them.
fn answer_all(writer: &impl Writes, batch: Vec<Append>, outcome: &Outcome) {
    for append in batch {
        append.slots.iter().for_each(|(slot, _)| writer.cache().kill(slot));
        append.answer(outcome.clone());
    }
}

// Culling

/// Tells slots apart while the batch holds them.
type SlotId = usize;

fn slot_id(slot: &Arc<Slot>) -> SlotId {
    Arc::as_ptr(slot).addr()
}

/// Slots that died before their turn came.
fn dead_slots(batch: &[Append]) -> HashSet<SlotId> {
    let slots = batch.iter().flat_map(|append| &append.slots);
    slots.filter(|(slot, _)| slot.progress().dead).map(|(slot, _)| slot_id(slot)).collect()
}

/// Takes out every command on a doomed slot and, in order, every later one on a slot of those.
fn cull(writer: &impl Writes, batch: Vec<Append>, mut doomed: HashSet<SlotId>) -> Vec<Append> {
    if doomed.is_empty() {
        return batch;
    }
    let mut kept = Vec::with_capacity(batch.len());
    for append in batch {
        if append.slots.iter().any(|(slot, _)| doomed.contains(&(slot_id(slot)))) {
            doomed.extend(append.slots.iter().map(|(slot, _)| slot_id(slot)));
            answer_all(writer, vec![append], &Outcome::DecideAnew);
        } else {
            kept.push(append);
        }
    }
    kept
}

async fn cull_conflicting(writer: &mut impl Writes, batch: Vec<Append>) -> Vec<Append> {
    match conflicting_slots(writer, &batch).await {
        Ok(doomed) if !doomed.is_empty() => cull(writer, batch, doomed),
        // Postgres named a conflict that cannot be seen: decide all anew rather than send it again.
        Ok(_) => {
            answer_all(writer, batch, &Outcome::DecideAnew);
            vec![]
        }
        Err(error) => {
            answer_unavailable(writer, batch, &format!("{error:#}"), false);
            vec![]
        }
    }
}

/// Slots whose stream is already as long as the batch wants to make it.
async fn conflicting_slots(writer: &mut impl Writes, batch: &[Append]) -> anyhow::Result<HashSet<SlotId>> {
    let mut first_sequences: HashMap<SlotId, (&Arc<Slot>, i64)> = HashMap::new();
    for append in batch {
        for (slot, _) in &append.slots {
            let mine = append.events.iter().filter(|event| event.stream == slot.key);
            if let Some(first) = mine.map(|event| event.sequence).min() {
                first_sequences.entry(slot_id(slot)).or_insert((slot, first));
            }
        }
    }
    let streams: Vec<_> = first_sequences.into_iter().collect();
    let types: Vec<&str> = streams.iter().map(|(_, (slot, _))| &*slot.key.aggregate_type).collect();
    let ids: Vec<&str> = streams.iter().map(|(_, (slot, _))| &*slot.key.aggregate_id).collect();
    let stored = writer.last_sequences(&types, &ids).await?;
    Ok(streams
        .iter()
        .zip(stored)
        .filter(|((_, (_, first)), stored)| stored >= first)
        .map(|((id, _), _)| *id)
        .collect())
}

/// Answers the commands whose key is taken, in Postgres or by an earlier command of the batch.
async fn cull_taken_keys(writer: &mut impl Writes, batch: Vec<Append>) -> Vec<Append> {
    let taken = match taken_keys(writer, &batch).await {
        Ok(taken) => taken,
        Err(error) => {
            answer_unavailable(writer, batch, &format!("{error:#}"), false);
            return vec![];
        }
    };
    if !taken.contains(&true) {
        // The key that was in the way has gone: decide all anew rather than send it again.
        answer_all(writer, batch, &Outcome::DecideAnew);
        return vec![];
    }
    let mut doomed = HashSet::new();
    let mut kept = Vec::with_capacity(batch.len());
    for (append, key_taken) in batch.into_iter().zip(taken) {
        if key_taken || append.slots.iter().any(|(slot, _)| doomed.contains(&slot_id(slot))) {
            doomed.extend(append.slots.iter().map(|(slot, _)| slot_id(slot)));
            let outcome = if key_taken { Outcome::KeyTaken } else { Outcome::DecideAnew };
            answer_all(writer, vec![append], &outcome);
        } else {
            kept.push(append);
        }
    }
    kept
}

/// For each command whether its key is taken, in Postgres or by an earlier command of the batch.
async fn taken_keys(writer: &mut impl Writes, batch: &[Append]) -> anyhow::Result<Vec<bool>> {
    let mut stored = writer.taken_keys(&keys_of(batch)).await?.into_iter();
    let mut seen = HashSet::new();
    let taken = batch.iter().map(|append| {
        append.key.as_ref().is_some_and(|NewKey { key, .. }| {
            let repeated = !seen.insert((key.command, &key.account, &key.key));
            stored.next().expect("an answer for every key") || repeated
        })
    });
    Ok(taken.collect())
}
