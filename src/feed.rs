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
use async_nats::jetstream::consumer::pull::{self, Config as PullConfig};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use codexapi_projections::Entry;
use futures::StreamExt;
use sqlx::PgPool;
use tokio::time::timeout;

use crate::nats::Nats;
use crate::nats::message::{self, MessageError, Place};
use crate::projector::{Feed, FeedBatch};
use crate::relay;

/// Messages taken at a time; each holds a page of the log, of up to half a megabyte.
const MESSAGES: usize = 16;

/// Positions of a batch at most, unless a single message has more.
const BATCH_POSITIONS: i64 = 2_000;

/// Unacknowledged messages JetStream lets a consumer have: a few times what is taken at a time.
const MAX_UNACKNOWLEDGED: i64 = 64;

/// How long JetStream waits for an acknowledgement before it delivers again, by default.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// A consumer that nobody has asked for so long is forgotten; it is made anew when needed.
const FORGET_AFTER: Duration = Duration::from_secs(3 * 24 * 3_600);

/// A consumer that is there says so this often while nothing comes; twice as long a silence, and it is gone.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// How long deliveries may take to begin. Nobody looks at the log meanwhile, and a server that hangs takes the whole of it
/// each time.
const OPENED_WITHIN: Duration = Duration::from_secs(1);

/// How long JetStream goes on delivering before it is asked again.
const DELIVERS_FOR: Duration = Duration::from_secs(30);

/// Messages that come together are waited for this long after each other.
const TOGETHER_WITHIN: Duration = Duration::from_millis(2);

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
        acknowledge(&self.last).await
    }
}

/// Acknowledges `last` and everything before it.
async fn acknowledge(last: &jetstream::Message) -> anyhow::Result<()> {
    last.ack().await.map_err(|error| anyhow::anyhow!(error)).context("acknowledging a batch")
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
    /// What JetStream delivers, unasked once it has begun.
    delivering: Option<pull::Stream>,
    /// Read from the relay's checkpoint again whenever a message has another.
    epoch: Option<i64>,
    /// Delivered, but behind a hole: the next batch begins with them.
    waiting: VecDeque<Delivered>,
    /// What is delivered up to here is no news.
    level_with: i64,
}

impl JetStreamFeed {
    /// `durable` names the consumer: the projection's name.
    pub fn new(pool: PgPool, nats: Nats, durable: &str) -> Self {
        let jetstream = nats.jetstream();
        Self {
            pool,
            nats,
            jetstream,
            durable: durable.into(),
            ack_wait: ACK_WAIT,
            delivering: None,
            epoch: None,
            waiting: VecDeque::new(),
            level_with: 0,
        }
    }

    /// Delivers again what was not acknowledged within `ack_wait`; counts for consumers made from now on.
    pub fn redelivering_after(self, ack_wait: Duration) -> Self {
        Self { ack_wait, ..self }
    }

    /// Takes what JetStream has, dropping what an older epoch left behind.
    async fn deliver(&mut self, patience: Duration) -> anyhow::Result<()> {
        anyhow::ensure!(self.nats.is_connected(), "NATS is not connected");
        if self.delivering.is_none() {
            self.delivering = Some(within(OPENED_WITHIN, self.open()).await?);
        }
        let delivering = self.delivering.as_mut().context("deliveries that were just begun")?;
        let messages = taken_together(delivering, patience).await?;
        for message in messages {
            let place = place_of(&message)?;
            if self.is_current(place.epoch).await? {
                self.waiting.push_back(Delivered { place, message });
            }
        }
        Ok(())
    }

    /// Drops what is no news from the front, and acknowledges it where nothing newer will.
    async fn pass_over_known(&mut self) -> anyhow::Result<()> {
        let mut known = None;
        while self.waiting.front().is_some_and(|next| next.place.position <= self.level_with) {
            known = self.waiting.pop_front();
        }
        match known {
            Some(last) if self.waiting.is_empty() => acknowledge(&last.message).await,
            _ => Ok(()),
        }
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
        let first = self.waiting.pop_front()?;
        let (mut last, limit) = (first.place.position, first.place.previous_position + BATCH_POSITIONS);
        let mut taken = vec![first];
        while let Some(next) = self
            .waiting
            .pop_front_if(|next| next.place.previous_position == last && next.place.position <= limit)
        {
            last = next.place.position;
            taken.push(next);
        }
        Some(taken)
    }

    /// Begins the deliveries of the durable consumer, made where it is missing. A new one begins where the relay is:
    /// what came before is read from the log, which is quicker.
    async fn open(&self) -> anyhow::Result<pull::Stream> {
        let stream = self.nats.names.stream();
        let found = self.jetstream.get_consumer_from_stream(&self.durable, &stream).await;
        let consumer: PullConsumer = match found {
            Ok(consumer) => consumer,
            Err(error) if is_missing(&error) => {
                let made = self.jetstream.create_consumer_on_stream(self.config(), &stream).await;
                made.context("making the consumer")?
            }
            Err(error) => return Err(error).context("looking for the consumer"),
        };
        let deliveries = consumer.stream().max_messages_per_batch(MESSAGES).expires(DELIVERS_FOR);
        deliveries.heartbeat(SIGN_OF_LIFE).messages().await.context("asking JetStream for deliveries")
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

    fn level_with(&mut self, position: i64) {
        self.level_with = position;
    }

    async fn next_batch(&mut self, patience: Duration) -> anyhow::Result<Option<JetStreamBatch>> {
        if self.waiting.is_empty() {
            let outcome = self.deliver(patience).await;
            if outcome.is_err() {
                self.delivering = None;
            }
            outcome?;
        }
        self.pass_over_known().await?;
        let Some(consecutive) = self.take_consecutive() else { return Ok(None) };
        let last = consecutive.last().expect("at least one").place;
        if !relay::has_event(&self.pool, last.position, last.event_id).await? {
            self.delivering = None;
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
    let mut entries = Vec::new();
    for delivered in &consecutive {
        entries.append(&mut message::decode(&delivered.message.payload)?);
    }
    let last = consecutive.into_iter().next_back().context("an empty batch")?.message;
    Ok(JetStreamBatch { previous_position, entries, last })
}

/// The next messages: the first within `patience`, and those that come with it.
async fn taken_together(
    delivering: &mut pull::Stream,
    patience: Duration,
) -> anyhow::Result<Vec<jetstream::Message>> {
    let mut messages = Vec::new();
    let mut wait = patience;
    while messages.len() < MESSAGES {
        match timeout(wait, delivering.next()).await {
            Ok(Some(message)) => messages.push(message.context("a delivery of JetStream")?),
            Ok(None) => anyhow::bail!("JetStream has ended its deliveries"),
            Err(_elapsed) => break,
        }
        wait = TOGETHER_WITHIN;
    }
    Ok(messages)
}

async fn within<T>(limit: Duration, asking: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(limit, asking).await.context("JetStream does not answer")?
}
