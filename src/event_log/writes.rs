//! What the writer asks of Postgres. A trait, so that the rules of `conflict.rs` see neither connections
//! nor timers, and `model/` can run them over a log of its own.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use uuid::Uuid;

use super::cache::Cache;
use super::idempotency::IdempotencyKey;
use super::queue::{Append, NewEvent};

pub(super) trait Writes: Send {
    /// Stores the batch in one transaction; returns the positions in the order of its events.
    fn store(&mut self, batch: &[Append]) -> impl Future<Output = Result<Vec<i64>, Failure>> + Send;

    /// The last sequence of each stream (type, id), 0 where it has no event, in the order asked.
    fn last_sequences(
        &mut self,
        types: &[&str],
        ids: &[&str],
    ) -> impl Future<Output = anyhow::Result<Vec<i64>>> + Send;

    /// Which of the keys are taken, in the order asked.
    fn taken_keys(
        &mut self,
        keys: &[&IdempotencyKey],
    ) -> impl Future<Output = anyhow::Result<Vec<bool>>> + Send;

    /// What is stored of a batch whose outcome was unknown; the rest is never stored by that batch any more.
    fn look_up(&mut self, batch: &[Append]) -> impl Future<Output = anyhow::Result<Stored>> + Send;

    /// Waits before the same is tried again.
    fn pause(&mut self, length: Duration) -> impl Future<Output = ()> + Send;

    /// Where the streams that are written are live.
    fn cache(&self) -> &Cache;

    /// Lets others in this process have what was committed, in order, and other nodes know of it.
    fn committed(&self, events: Vec<(i64, NewEvent)>);

    /// Lets others in this process and elsewhere know how far the log is.
    fn announce(&self, position: i64);
}

/// What the log has of a batch.
pub(super) struct Stored {
    /// Of those of its events that are there, by event id.
    pub positions: HashMap<Uuid, i64>,
    /// Whether each key that its commands bring is taken, by them or by others.
    pub keys: Vec<bool>,
}

/// Why a batch was not stored, or may not have been.
#[derive(Debug)]
pub(super) enum Failure {
    /// A stream's next event exists already.
    SequenceTaken,
    KeyTaken,
    Data {
        reason: String,
    },
    /// Nothing was stored, and the next try may do better.
    Transient {
        context: String,
    },
    OutcomeUnknown {
        context: String,
    },
    /// Nothing was stored: there is no connection.
    Away(anyhow::Error),
}
