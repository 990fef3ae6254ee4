//! The read models after the log: together while they can, one by itself where it cannot.
//!
//! Together costs one reading of each event and one transaction a batch, whatever the number of read
//! models. One that cannot take a batch (an event it cannot fold, a rebuild that is due), or that is
//! far behind, goes on alone until it is level again, and holds up no other.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use codexapi_projections::apply::{Applied, apply, apply_together};
use codexapi_projections::{Entry, READ_MODELS, ReadModel, checkpoint};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Errors;
use super::feed::{BATCH, Feed, FeedBatch, entries};
use crate::crash_points;
use crate::event_log::read::{self, SHARD};

/// Pause after a failure, doubled each time up to the longest. Doors go by the read models: once Postgres is back, a
/// revoked key must be known there at once.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often the checkpoints are compared with the log's head, whatever the feed says.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Failures of the feed in a row that are not worth a line.
const FAILURES_UNSAID: u32 = 2;

/// While the feed is away, new events gather for this long before the log is read again.
const GATHER: Duration = Duration::from_millis(50);

/// Batches begin at least this far apart, should a feed bring events one by one; the relay's pages are further apart.
const BATCH_EVERY: Duration = Duration::from_millis(20);

type GoingAlone<'a> = FuturesUnordered<BoxFuture<'a, &'static ReadModel>>;

pub(super) struct Followers<'a, F> {
    pool: PgPool,
    errors: &'a Errors,
    appended: watch::Receiver<i64>,
    feed: F,
    /// How often it has failed since it last answered.
    feed_failures: u32,
    /// What was last logged of it.
    feed_error: Option<String>,
    together: Vec<&'static ReadModel>,
    /// Each comes back when it is level with the log.
    alone: GoingAlone<'a>,
    /// The least checkpoint known of those together.
    position: i64,
    /// The log's head when it was last compared with.
    head: i64,
    looked_at: Instant,
    batch_due: Instant,
    moved: bool,
}

impl<'a, F: Feed> Followers<'a, F> {
    pub fn new(pool: PgPool, errors: &'a Errors, appended: watch::Receiver<i64>, feed: F) -> Self {
        let now = Instant::now();
        Self {
            pool,
            errors,
            appended,
            feed,
            feed_failures: 0,
            feed_error: None,
            together: READ_MODELS.to_vec(),
            alone: FuturesUnordered::new(),
            position: 0,
            head: 0,
            looked_at: now,
            batch_due: now,
            moved: false,
        }
    }

    /// Follows until something fails that is no single read model's own.
    pub async fn follow(&mut self) -> anyhow::Result<Infallible> {
        self.catch_up().await?;
        loop {
            sleep_until(self.batch_due).await;
            match self.next_batch().await {
                Ok(Some(batch)) => {
                    self.batch_due = Instant::now() + BATCH_EVERY;
                    self.note_feed(None);
                    self.take(&batch).await?;
                }
                Ok(None) => self.note_feed(None),
                Err(error) => {
                    self.note_feed(Some(format!("{error:#}")));
                    self.poll_log().await?;
                }
            }
            self.look().await?;
        }
    }

    /// Those that follow together; what stops all of them is noted for each.
    pub fn together(&self) -> &[&'static ReadModel] {
        &self.together
    }

    /// Whether a checkpoint has moved since this was last asked.
    pub fn took_progress(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// The feed's next batch; those that are alone go on meanwhile.
    async fn next_batch(&mut self) -> anyhow::Result<Option<F::Batch>> {
        let Self { feed, alone, together, position, .. } = self;
        feed.level_with(*position);
        let mut next = pin!(feed.next_batch(LOOK_EVERY));
        loop {
            tokio::select! {
                batch = &mut next => return batch,
                Some(model) = alone.next() => together.push(model),
            }
        }
    }

    /// Applies a batch, reading the log first where it does not continue from the checkpoints.
    async fn take(&mut self, batch: &F::Batch) -> anyhow::Result<()> {
        if self.apply(batch.entries(), batch.previous_position()).await? == Fit::Hole {
            self.catch_up().await?;
        }
        crash_points::reached(crash_points::PROJECTED);
        if let Err(error) = batch.acknowledge().await {
            self.note_feed(Some(format!("{error:#}")));
        }
        Ok(())
    }

    /// Reads the log from the least checkpoint to its end. Whatever is far behind the others leaves them.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        loop {
            let checkpoints = checkpoints_of(&self.pool, &self.together).await?;
            let Some(furthest) = checkpoints.iter().map(|(_, position)| *position).max() else {
                return Ok(());
            };
            for (model, _) in checkpoints.iter().filter(|(_, position)| furthest - position > BATCH) {
                self.leave(model, Duration::ZERO);
            }
            let near = checkpoints.iter().map(|(_, position)| *position);
            let after = near.filter(|position| furthest - position <= BATCH).min().unwrap_or(furthest);
            let stored =
                read::read_after(&self.pool, SHARD, after, BATCH).await.context("reading the log")?;
            if stored.is_empty() {
                self.position = after;
                self.together.iter().for_each(|model| self.errors.clear(model));
                return Ok(());
            }
            self.apply(&entries(&stored), after).await?;
        }
    }

    /// Follows the log for a while in the feed's stead.
    async fn poll_log(&mut self) -> anyhow::Result<()> {
        let mut until = pin!(sleep(LOOK_EVERY));
        loop {
            let Self { appended, alone, together, .. } = self;
            tokio::select! {
                // Another node may have written unheard.
                () = &mut until => return self.catch_up().await,
                Some(model) = alone.next() => together.push(model),
                // The writer here may be gone; then only the time is waited for.
                Ok(()) = appended.changed() => {
                    sleep(GATHER).await;
                    self.catch_up().await?;
                }
            }
        }
    }

    /// Reads the log if read models are still behind where the log ended a while ago: then the
    /// feed has missed something, or has nothing to say.
    async fn look(&mut self) -> anyhow::Result<()> {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        if self.position < self.head {
            self.catch_up().await?;
        }
        self.head = read::head(&self.pool, SHARD).await.context("reading the log's head")?;
        self.looked_at = Instant::now();
        Ok(())
    }

    async fn apply(&mut self, entries: &[Entry], previous_position: i64) -> anyhow::Result<Fit> {
        let applied = match apply_together(&self.pool, &self.together, entries, previous_position).await {
            Ok(applied) => applied,
            Err(_) => self.apply_one_by_one(entries, previous_position).await?,
        };
        let upto = applied.iter().filter_map(|applied| match applied {
            Applied::Upto { position } => Some(*position),
            Applied::Hole { .. } => None,
        });
        if let Some(position) = upto.min() {
            self.moved |= position > self.position;
            self.position = position;
        }
        let hole = applied.iter().any(|applied| matches!(applied, Applied::Hole { .. }));
        Ok(if hole { Fit::Hole } else { Fit::Continued })
    }

    /// The batch for each by itself; who cannot take it goes on alone.
    ///
    /// # Errors
    /// None of them can: it is not their own fault.
    async fn apply_one_by_one(
        &mut self,
        entries: &[Entry],
        previous_position: i64,
    ) -> anyhow::Result<Vec<Applied>> {
        let (mut applied, mut failed) = (vec![], vec![]);
        for model in self.together.clone() {
            match apply(&self.pool, model, entries, previous_position).await {
                Ok(upto) => applied.push(upto),
                Err(error) => failed.push((model, anyhow::Error::from(error))),
            }
        }
        if applied.is_empty()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        for (model, error) in failed {
            self.errors.note(model, format!("{error:#}"));
            self.leave(model, FIRST_PAUSE);
        }
        Ok(applied)
    }

    fn leave(&mut self, model: &'static ReadModel, pause: Duration) {
        self.together.retain(|other| other.name != model.name);
        self.alone.push(go_on_alone(self.pool.clone(), self.errors, model, pause).boxed());
    }

    /// Logs that the feed stays away or has come back, once. What the next try mends is no news: at a first start the
    /// relay is still making what the feed reads from.
    fn note_feed(&mut self, error: Option<String>) {
        let Some(error) = error else {
            self.feed_failures = 0;
            if self.feed_error.take().is_some() {
                tracing::info!("the read models' feed is back");
            }
            return;
        };
        self.feed_failures = self.feed_failures.saturating_add(1);
        if self.feed_failures <= FAILURES_UNSAID || self.feed_error.as_ref() == Some(&error) {
            return;
        }
        tracing::warn!(error, "the read models' feed is away; following the log itself");
        self.feed_error = Some(error);
    }
}

/// Whether a batch continued from every checkpoint.
#[derive(PartialEq, Eq)]
enum Fit {
    Continued,
    Hole,
}

async fn checkpoints_of(
    pool: &PgPool,
    models: &[&'static ReadModel],
) -> anyhow::Result<Vec<(&'static ReadModel, i64)>> {
    let all = checkpoint::all(pool).await.context("reading the checkpoints")?;
    let position = |model: &&'static ReadModel| {
        let found = all.iter().find(|checkpoint| checkpoint.projection == model.name);
        (*model, found.map_or(0, |checkpoint| checkpoint.position))
    };
    Ok(models.iter().map(position).collect())
}

/// Brings one read model to the log's end, however long that takes.
async fn go_on_alone(
    pool: PgPool,
    errors: &Errors,
    model: &'static ReadModel,
    mut pause: Duration,
) -> &'static ReadModel {
    loop {
        sleep(pause).await;
        let mut moved = false;
        match catch_up_alone(&pool, model, &mut moved).await {
            Ok(()) => {
                errors.clear(model);
                return model;
            }
            Err(error) => errors.note(model, format!("{error:#}")),
        }
        pause = if moved { FIRST_PAUSE } else { LONGEST_PAUSE.min(FIRST_PAUSE.max(pause * 2)) };
    }
}

async fn catch_up_alone(pool: &PgPool, model: &'static ReadModel, moved: &mut bool) -> anyhow::Result<()> {
    loop {
        let after = checkpoint::position(pool, model.name).await?;
        let stored = read::read_after(pool, SHARD, after, BATCH).await.context("reading the log")?;
        if stored.is_empty() {
            return Ok(());
        }
        apply(pool, model, &entries(&stored), after).await?;
        *moved = true;
    }
}
