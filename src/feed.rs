//! Events as JetStream delivers them, for one projection.
//!
//! The feed promises nothing but speed: what it yields may repeat, skip or stop, and the projection
//! notices from the positions and reads the log. It does promise that nothing it yields is foreign:
//! the last event of every batch is looked up in the log, which with the chain of positions before it
//! shows that the batch belongs to this database and not to one that a restore has replaced.
//! Any trouble with NATS ends the call at once, so that the projection polls the log meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use codexapi_projections::Entry;
use futures::{Stream, StreamExt};
use sqlx::PgPool;

use crate::nats::message::{self, MessageError, Place};
use crate::nats::{Nats, REQUEST_TIMEOUT};
use crate::projector::{Feed, FeedBatch};
use crate::relay;

/// Messages taken in one batch at most.
pub const BATCH: usize = 2_000;

/// Unacknowledged messages JetStream lets a consumer have: a few batches.
const MAX_UNACKNOWLEDGED: i64 = 10_000;

/// How long JetStream waits for an acknowledgement before it delivers again, by default.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// A consumer that nobody has asked for so long is forgotten; it is made anew when needed.
const FORGET_AFTER: Duration = Duration::from_secs(3 * 24 * 3_600);

/// How long after the end of its patience a consumer may take to say that nothing came.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// How long the rest of a batch may take once its first message is there.
const REST_WITHIN: Duration = Duration::from_millis(500);

/// Consecutive events, as JetStream delivered them.
pub struct JetStreamBatch {
    previous_position: i64,
    entries: Vec<Entry>,
    last: jetstream::Message,
}

impl FeedBatch for JetStreamBatch {
    fn previous_position(&self) -> i64 {
        self.previous_position
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    async fn acknowledge(&self) -> anyhow::Result<()> {
        self.last.ack().await.map_err(|error| anyhow::anyhow!(error)).context("acknowledging a batch")
    }
}

/// What was taken from JetStream, with its place.
struct Delivered {
    place: Place,
    message: jetstream::Message,
}

/// One projection's durable pull consumer.
pub struct JetStreamFeed {
    pool: PgPool,
    nats: Nats,
    jetstream: jetstream::Context,
    durable: String,
    ack_wait: Duration,
    consumer: Option<PullConsumer>,
    /// Read from the relay's checkpoint again whenever a message has another.
    epoch: Option<i64>,
    /// Delivered, but behind a hole: the next batch begins with them.
    waiting: VecDeque<Delivered>,
}

impl JetStreamFeed {
    /// `durable` names the consumer: the projection's name.
    pub fn new(pool: PgPool, nats: Nats, durable: &str) -> Self {
        let jetstream = nats.jetstream();
        let (consumer, epoch, waiting) = (None, None, VecDeque::new());
        Self { pool, nats, jetstream, durable: durable.into(), ack_wait: ACK_WAIT, consumer, epoch, waiting }
    }

    /// Delivers again what was not acknowledged within `ack_wait`; counts for consumers made from now on.
    pub fn redelivering_after(self, ack_wait: Duration) -> Self {
        Self { ack_wait, ..self }
    }

    /// Takes what JetStream has, dropping what an older epoch left behind.
    async fn deliver(&mut self, patience: Duration) -> anyhow::Result<()> {
        anyhow::ensure!(self.nats.is_connected(), "NATS is not connected");
        let consumer = self.consumer().await?;
        // Only the first message is waited for; the rest is whatever is there.
        let first = consumer.batch().max_messages(1).expires(patience).messages();
        let first = within(REQUEST_TIMEOUT, first).await?;
        let Collected { mut messages, ended } = collect(first, patience + ANSWER_MARGIN).await?;
        // A consumer that is there says when the time is over; one that a wipe has taken says nothing.
        anyhow::ensure!(ended, "the consumer does not answer");
        if messages.is_empty() {
            return Ok(());
        }
        let rest = consumer.fetch().max_messages(BATCH - 1).messages();
        let rest = within(REQUEST_TIMEOUT, rest).await?;
        messages.extend(collect(rest, REST_WITHIN).await?.messages);
        for message in messages {
            let place = place_of(&message)?;
            if self.is_current(place.epoch).await? {
                self.waiting.push_back(Delivered { place, message });
            }
        }
        Ok(())
    }

    /// Whether messages of `epoch` count. An older one's do not.
    ///
    /// # Errors
    /// For an epoch this database does not know of: the stream belongs to another one.
    async fn is_current(&mut self, epoch: i64) -> anyhow::Result<bool> {
        if self.epoch != Some(epoch) {
            self.epoch = relay::current_epoch(&self.pool).await?;
        }
        let known = self.epoch.unwrap_or(0);
        anyhow::ensure!(
            epoch <= known,
            "a message of epoch {epoch} in JetStream, while the log is at {known}"
        );
        Ok(epoch == known)
    }

    /// The messages at the front whose positions follow each other without a hole.
    fn take_consecutive(&mut self) -> Option<Vec<Delivered>> {
        let mut taken = vec![self.waiting.pop_front()?];
        while let Some(next) = self.waiting.front() {
            let last = taken.last().expect("at least one").place;
            if next.place.previous_position != last.position || taken.len() >= BATCH {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        Some(taken)
    }

    /// The durable consumer, made where it is missing. A new one begins where the relay is: what came
    /// before is read from the log, which is quicker.
    async fn consumer(&mut self) -> anyhow::Result<PullConsumer> {
        if let Some(consumer) = &self.consumer {
            return Ok(consumer.clone());
        }
        let stream = self.nats.names.stream();
        let found = self.jetstream.get_consumer_from_stream(&self.durable, &stream).await;
        let consumer = match found {
            Ok(consumer) => consumer,
            Err(error) if is_missing(&error) => {
                let made = self.jetstream.create_consumer_on_stream(self.config(), &stream).await;
                made.context("making the consumer")?
            }
            Err(error) => return Err(error).context("looking for the consumer"),
        };
        self.consumer = Some(consumer.clone());
        Ok(consumer)
    }

    fn config(&self) -> PullConfig {
        PullConfig {
            durable_name: Some(self.durable.clone()),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::All,
            ack_wait: self.ack_wait,
            max_ack_pending: MAX_UNACKNOWLEDGED,
            inactive_threshold: FORGET_AFTER,
            ..PullConfig::default()
        }
    }
}

impl Feed for JetStreamFeed {
    type Batch = JetStreamBatch;

    async fn next_batch(&mut self, patience: Duration) -> anyhow::Result<Option<JetStreamBatch>> {
        if self.waiting.is_empty() {
            let outcome = self.deliver(patience).await;
            if outcome.is_err() {
                self.consumer = None;
            }
            outcome?;
        }
        let Some(consecutive) = self.take_consecutive() else { return Ok(None) };
        let last = consecutive.last().expect("at least one").place;
        if !relay::has_event(&self.pool, last.position, last.event_id).await? {
            self.consumer = None;
            self.waiting.clear();
            anyhow::bail!("position {} in JetStream is not this log's", last.position);
        }
        batch_of(consecutive).map(Some)
    }
}

fn is_missing(error: &ConsumerError) -> bool {
    match error.kind() {
        ConsumerErrorKind::JetStream(answer) => answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND,
        _ => false,
    }
}

fn place_of(message: &jetstream::Message) -> Result<Place, MessageError> {
    message.headers.as_ref().ok_or(MessageError::NoHeaders).and_then(message::place)
}

fn batch_of(consecutive: Vec<Delivered>) -> anyhow::Result<JetStreamBatch> {
    let previous_position = consecutive.first().context("an empty batch")?.place.previous_position;
    let entries = consecutive
        .iter()
        .map(|delivered| entry_of(delivered.place, &delivered.message.payload))
        .collect::<Result<Vec<_>, _>>()?;
    let last = consecutive.into_iter().next_back().context("an empty batch")?.message;
    Ok(JetStreamBatch { previous_position, entries, last })
}

/// The event, or that this build cannot read it: whether that matters is the projection's to say.
fn entry_of(place: Place, payload: &[u8]) -> Result<Entry, MessageError> {
    match message::decode(place, payload) {
        Ok(event) => Ok(event.into()),
        Err(MessageError::Event { aggregate_type, source }) => {
            Ok(Entry::Unreadable { position: place.position, aggregate_type, error: source.to_string() })
        }
        Err(other) => Err(other),
    }
}

struct Collected {
    messages: Vec<jetstream::Message>,
    /// JetStream has said that this was all.
    ended: bool,
}

/// What arrives within `limit`.
async fn collect(
    mut arriving: impl Stream<Item = Result<jetstream::Message, async_nats::Error>> + Unpin,
    limit: Duration,
) -> anyhow::Result<Collected> {
    let deadline = tokio::time::Instant::now() + limit;
    let mut messages = Vec::new();
    loop {
        match tokio::time::timeout_at(deadline, arriving.next()).await {
            Ok(Some(Ok(message))) => messages.push(message),
            Ok(Some(Err(error))) => return Err(anyhow::anyhow!(error)).context("a batch from JetStream"),
            Ok(None) => return Ok(Collected { messages, ended: true }),
            Err(_elapsed) => return Ok(Collected { messages, ended: false }),
        }
    }
}

async fn within<T, E>(limit: Duration, asking: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let answer = tokio::time::timeout(limit, asking).await.context("JetStream does not answer")?;
    answer.context("asking JetStream for a batch")
}
