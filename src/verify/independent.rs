//! The second opinion: each stream folded again through stock postgres-es and cqrs-es.
//!
//! Nothing of ours is between the rows and that fold: not our SQL, not our decoding. Its repository
//! streams, so that a long stream is never in memory as a whole.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context as _;
use codexapi_aggregates::any::AnyAggregate;
use cqrs_es::Aggregate;
use cqrs_es::persist::PersistedEventRepository;
use postgres_es::PostgresEventRepository;
use tokio_util::task::AbortOnDropHandle;

use super::{Difference, Stop};

/// Streams read at once, each over a connection of its own: most are short, so that reading one is mostly waiting.
pub(super) const AT_ONCE: u32 = 4;

/// The comparisons under way.
pub(super) struct Comparisons {
    reader: Arc<PostgresEventRepository>,
    /// The stream each is of, oldest first: the first difference is the first stream's.
    running: VecDeque<(String, AbortOnDropHandle<Result<(), String>>)>,
}

impl Comparisons {
    pub fn new(reader: PostgresEventRepository) -> Self {
        Self { reader: Arc::new(reader), running: VecDeque::new() }
    }

    /// Compares `ours`, the fold of the `events` of `stream`, once there is room for it.
    ///
    /// # Errors
    /// An earlier stream differs.
    pub async fn begin(
        &mut self,
        stream: String,
        aggregate_id: String,
        ours: AnyAggregate,
        events: i64,
    ) -> Result<(), Stop> {
        if self.running.len() == AT_ONCE as usize {
            self.end_oldest().await?;
        }
        let reader = Arc::clone(&self.reader);
        let comparing = async move { compare(&reader, &aggregate_id, &ours, events).await };
        self.running.push_back((stream, AbortOnDropHandle::new(tokio::spawn(comparing))));
        Ok(())
    }

    /// Waits for those that are under way.
    ///
    /// # Errors
    /// A stream differs.
    pub async fn end(mut self) -> Result<(), Stop> {
        while !self.running.is_empty() {
            self.end_oldest().await?;
        }
        Ok(())
    }

    async fn end_oldest(&mut self) -> Result<(), Stop> {
        let Some((stream, comparing)) = self.running.pop_front() else { return Ok(()) };
        let compared = comparing.await.with_context(|| format!("folding {stream} independently"))?;
        compared.map_err(|detail| Difference::IndependentFoldDiffers { stream, detail }.into())
    }
}

/// Compares with the independent fold. The error says how they differ.
async fn compare(
    reader: &PostgresEventRepository,
    aggregate_id: &str,
    ours: &AnyAggregate,
    events: i64,
) -> Result<(), String> {
    match ours {
        AnyAggregate::Account(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::AutoTopUp(state) => compare_with(reader, aggregate_id, state.as_ref(), events).await,
        AnyAggregate::Bonus(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Cash(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Gumroad(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Catalog(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Log(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Payment(state) => compare_with(reader, aggregate_id, state.as_ref(), events).await,
        AnyAggregate::Pricing(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Referral(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Routing(state) => compare_with(reader, aggregate_id, state.as_ref(), events).await,
        AnyAggregate::Service(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Usage(state) => compare_with(reader, aggregate_id, state, events).await,
        AnyAggregate::Subscription(state) => compare_with(reader, aggregate_id, state.as_ref(), events).await,
        AnyAggregate::Wallet(state) => compare_with(reader, aggregate_id, state.as_ref(), events).await,
    }
}

async fn compare_with<A: Aggregate + PartialEq>(
    reader: &PostgresEventRepository,
    aggregate_id: &str,
    ours: &A,
    events: i64,
) -> Result<(), String> {
    let mut stream = reader.stream_events::<A>(aggregate_id).await.map_err(|error| error.to_string())?;
    let (mut theirs, mut read) = (A::default(), 0_i64);
    while let Some(event) = stream.next::<A>(&[]).await {
        theirs.apply(event.map_err(|error| format!("after event {read}: {error}"))?.payload);
        read += 1;
    }
    // A database error ends its stream without a word, so the number tells whether it was read whole.
    if read != events {
        return Err(format!("it read {read} events, we read {events}"));
    }
    if theirs != *ours {
        return Err(format!("the states differ after {events} events"));
    }
    Ok(())
}
