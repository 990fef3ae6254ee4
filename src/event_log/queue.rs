//! What waits between a decision and its commit: whole commands, in the order they were decided.

use std::sync::Arc;

use codexapi_aggregates::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::cache::{Slot, StreamKey};
use super::idempotency::{IdempotencyKey, NewKey};
use super::read::StoredEvent;

/// Commands that may wait for the writer; beyond it a command is refused as overloaded.
pub const QUEUE_CAPACITY: usize = 10_000;

/// Events of one commit.
pub const BATCH_EVENTS: usize = 512;

/// Events one command may write; a command that wants more is a bug.
pub const COMMAND_EVENTS: usize = 512;

/// One command's events, stored all or none.
pub(crate) struct Append {
    pub events: Vec<NewEvent>,
    pub key: Option<NewKey>,
    /// The slots it was decided on, with the sequence each has after it.
    pub slots: Vec<(Arc<Slot>, i64)>,
    pub answer: oneshot::Sender<Outcome>,
    /// Held until the command is answered, so that a shutdown can wait for it.
    pub _tracked: TaskTrackerToken,
}

/// An event that is decided and hashed, but not stored. `payload` and `metadata` are canonical JSON.
pub(crate) struct NewEvent {
    pub stream: StreamKey,
    pub sequence: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: Arc<str>,
    pub hash: [u8; 32],
    pub recorded_at: Timestamp,
}

impl NewEvent {
    /// The event as it stands in its row.
    pub(super) fn stored_at(self, position: i64) -> StoredEvent {
        StoredEvent {
            position,
            event_id: self.event_id,
            aggregate_type: self.stream.aggregate_type.into_owned(),
            aggregate_id: self.stream.aggregate_id.as_ref().into(),
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload: self.payload,
            metadata: self.metadata.as_ref().into(),
            hash: self.hash.to_vec(),
            recorded_at: self.recorded_at,
        }
    }
}

/// How a queued command ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Stored; the position of its last event, 0 where it had none.
    Committed { position: i64 },
    /// Not stored, through no fault of its own: it must be decided anew.
    DecideAnew,
    /// Not stored: its idempotency key is taken.
    KeyTaken,
    /// Not stored: Postgres refuses its data.
    Rejected { reason: String },
    /// Postgres is away. `outcome_unknown`: it may have been stored.
    Unavailable { context: Arc<str>, outcome_unknown: bool },
}

impl Append {
    /// Tells the command, and those who wait for its streams. A caller that left is no failure: its
    /// events stand all the same.
    pub fn answer(self, outcome: Outcome) {
        if let Outcome::Committed { .. } = outcome {
            for (slot, sequence) in &self.slots {
                slot.committed(*sequence);
            }
        }
        let _caller_left = self.answer.send(outcome);
    }
}

/// The keys that the batch's commands bring, in order.
pub(super) fn keys_of(batch: &[Append]) -> Vec<&IdempotencyKey> {
    batch.iter().filter_map(|append| append.key.as_ref().map(|new| &new.key)).collect()
}

/// Takes what has queued, up to the size of a batch; what does not fit comes first next time.
pub(super) fn fill_batch(
    first: Append,
    queued: &mut mpsc::Receiver<Append>,
) -> (Vec<Append>, Option<Append>) {
    let mut events = first.events.len();
    let mut batch = vec![first];
    // A command may write a key and no event; the count of commands bounds those.
    while batch.len() < BATCH_EVENTS {
        let Ok(append) = queued.try_recv() else { break };
        events += append.events.len();
        if events > BATCH_EVENTS {
            return (batch, Some(append));
        }
        batch.push(append);
    }
    (batch, None)
}
