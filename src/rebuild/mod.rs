//! Makes read models anew from the log, beside the live ones, and swaps them in.
//!
//! Reads never fail and never see a half-built version: they go through views, which one
//! transaction moves (`codexapi_projections::versions`). One reader of the log feeds every read model
//! that is rebuilt; each folds in memory and is written every so many events, which bounds memory
//! and is what makes it quick; reading, folding and writing go on side by side. The swap locks the
//! live version, folds what has come since, and moves the view, so that nothing is missing and
//! nothing goes back in time.
//!
//! Killed anywhere it is simply begun again: what it left behind is not active, and is dropped at
//! the start of the next one. So is the version a swap replaces, since statements may still read it.

mod outdated;
mod progress;
mod swap;

use std::num::NonZeroU16;

use anyhow::{Context, bail};
use codexapi_projections::apply;
use codexapi_projections::transaction::Transaction;
use codexapi_projections::{Entry, Projection, ReadModel, versions};
use futures::stream::{self, TryChunksError};
use futures::{StreamExt, TryStreamExt};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::advisory_lock::SessionLock;
use crate::event_log::read::{self, SHARD};
use crate::projector::entries;

pub use outdated::rebuild_outdated;
pub use progress::Progress;

/// Events folded in memory between two writes, at least. Sums of a day are the fewer rows the more are folded together.
pub(crate) const EVENTS_PER_WRITE: u32 = 50_000;

/// Read models written at a time, each in a transaction of its own.
const WRITTEN_AT_ONCE: usize = 2;

/// Positions read in one statement. A long one would keep every row that a write replaces: with ten thousand customers,
/// tables of totals grew to twelve times their size, and each write was slower than the one before.
const POSITIONS_READ: NonZeroU16 = NonZeroU16::new(10_000).expect("more than none");

/// Events decoded at a time, and how often that many wait to be folded; bounds memory.
const PAGE: usize = 1_000;
const PAGES_AHEAD: usize = 4;

/// The class of the rebuilds' locks; the read model's place in the registry is added.
const REBUILD_LOCKS: i64 = 7_263_542_100;

/// How often dropping an old version is tried before a long read has to be ended by hand.
const DROP_ATTEMPTS: u32 = 5;

/// Another process has begun to rebuild it.
#[derive(Debug, thiserror::Error)]
#[error("{projection} is being rebuilt already")]
struct BeingRebuilt {
    projection: &'static str,
}

/// Some of the read models, or all.
pub type Models = Vec<&'static ReadModel>;

/// The read models `name` stands for: one, or `all`.
pub fn named(name: &str) -> anyhow::Result<Models> {
    if name == "all" {
        return Ok(codexapi_projections::READ_MODELS.to_vec());
    }
    match codexapi_projections::read_model(name) {
        Some(model) => Ok(vec![model]),
        None => {
            let names = codexapi_projections::READ_MODELS.map(|model| model.name).join(", ");
            bail!("no read model is called {name:?}; there are {names}, or all of them with `all`")
        }
    }
}

/// Rebuilds `models` and swaps each in.
///
/// # Errors
/// One of them is being rebuilt already, a statement reads an old version without end, or an event
/// cannot be folded. What is read has not changed then, except for models already swapped.
pub async fn rebuild(
    pool: &PgPool,
    models: &[&'static ReadModel],
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut locks = Vec::new();
    let mut building = Vec::new();
    for model in models {
        locks.push(take_lock(pool, model).await?);
        building.push(Building::begin(pool, model).await?);
    }
    let head = read::head(pool, SHARD).await.context("reading the log's head")?;
    progress.begin(head);
    fold_log(pool, &mut building, head, progress).await?;
    for (building, lock) in building.iter().zip(&mut locks) {
        lock.confirm().await?;
        swap::finish(pool, building.model, building.version).await?;
        progress.swapped(building.model.name);
    }
    progress.end();
    Ok(())
}

/// A version in the making.
struct Building {
    model: &'static ReadModel,
    version: i32,
    batch: Box<dyn Projection>,
}

impl Building {
    /// Clears away what earlier rebuilds left, and makes the new version's tables.
    async fn begin(pool: &PgPool, model: &'static ReadModel) -> anyhow::Result<Self> {
        for version in versions::leftovers(pool, model).await? {
            drop_version(pool, model, version).await?;
        }
        let active = versions::active(pool, model).await?;
        let version = active.with_context(|| format!("{} is not installed", model.name))?.version + 1;
        let mut transaction = Transaction::begin(pool).await?;
        versions::create(&mut transaction, model, version).await?;
        transaction.commit().await?;
        Ok(Self { model, version, batch: (model.batch)() })
    }

    /// What was folded so far; folding goes on with an empty batch.
    fn take(&mut self) -> Self {
        let Self { model, version, batch } = self;
        Self { model, version: *version, batch: std::mem::replace(batch, (model.batch)()) }
    }
}

/// Events are read and decoded by one task, folded here, and written by another.
async fn fold_log(
    pool: &PgPool,
    building: &mut [Building],
    head: i64,
    progress: &Progress,
) -> anyhow::Result<()> {
    let (pages, mut decoded) = mpsc::channel(PAGES_AHEAD);
    let reading = AbortOnDropHandle::new(tokio::spawn(read_log(pool.clone(), head, pages)));
    let mut writing = Writing::nothing();
    let (mut folded, mut position) = (0, 0);
    while let Some(page) = decoded.recv().await {
        for entry in &page {
            for building in &mut *building {
                apply::fold(building.model, building.batch.as_mut(), entry)
                    .with_context(|| format!("folding into {}", building.model.name))?;
            }
            (folded, position) = (folded + 1, entry.position());
        }
        if folded >= EVENTS_PER_WRITE {
            writing.next(pool, building, position).await?;
            progress.at(position, std::mem::take(&mut folded));
        }
    }
    reading.await.context("the task that reads the log")??;
    writing.next(pool, building, position).await?;
    writing.end().await?;
    progress.at(position, folded);
    Ok(())
}

/// Sends the log up to `head` on, decoded, until nobody wants more of it.
async fn read_log(pool: PgPool, head: i64, pages: mpsc::Sender<Vec<Entry>>) -> anyhow::Result<()> {
    let mut events = read::stream_after(&pool, SHARD, 0, head, POSITIONS_READ).try_chunks(PAGE);
    loop {
        let page = match events.try_next().await {
            Ok(Some(stored)) => entries(&stored),
            Ok(None) => return Ok(()),
            Err(TryChunksError(_, error)) => return Err(error).context("reading the log"),
        };
        if pages.send(page).await.is_err() {
            return Ok(());
        }
    }
}

/// What was folded, on its way into the tables while more is folded.
struct Writing(Option<AbortOnDropHandle<anyhow::Result<()>>>);

impl Writing {
    fn nothing() -> Self {
        Self(None)
    }

    /// Begins to write what was folded up to `position`, once what came before it is written.
    async fn next(&mut self, pool: &PgPool, building: &mut [Building], position: i64) -> anyhow::Result<()> {
        let folded: Vec<Building> = building.iter_mut().map(Building::take).collect();
        let pool = pool.clone();
        self.end().await?;
        self.0 = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let pool = &pool;
            let written = stream::iter(folded).map(|Building { model, version, batch }| async move {
                let written = write(pool, model, version, batch, position).await;
                written.with_context(|| format!("writing {}", model.name))
            });
            written.buffer_unordered(WRITTEN_AT_ONCE).try_collect::<()>().await
        })));
        Ok(())
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        match self.0.take() {
            Some(writing) => writing.await.context("the task that writes")?,
            None => Ok(()),
        }
    }
}

/// Writes what was folded, and that it reaches up to `position`.
async fn write(
    pool: &PgPool,
    model: &'static ReadModel,
    version: i32,
    batch: Box<dyn Projection>,
    position: i64,
) -> anyhow::Result<()> {
    // A version that is lost with the server is not active, and the swap's own commit is durable.
    let mut transaction = apply::begin_writing(pool, &["synchronous_commit = off"]).await?;
    batch.write(&mut transaction, version).await?;
    apply::move_checkpoint(&mut transaction, model, version, position).await?;
    transaction.commit().await?;
    Ok(())
}

async fn take_lock(pool: &PgPool, model: &ReadModel) -> anyhow::Result<SessionLock> {
    let place = codexapi_projections::READ_MODELS.iter().position(|known| known.name == model.name);
    let place = place.with_context(|| format!("{} is not in the registry", model.name))?;
    let lock = SessionLock::try_take(pool, REBUILD_LOCKS + i64::try_from(place)?).await?;
    Ok(lock.ok_or(BeingRebuilt { projection: model.name })?)
}

async fn drop_version(pool: &PgPool, model: &ReadModel, version: i32) -> anyhow::Result<()> {
    let mut attempt = 1;
    loop {
        match versions::drop_version(pool, model, version).await {
            Ok(()) => return Ok(()),
            Err(error) if attempt < DROP_ATTEMPTS => {
                tracing::warn!(projection = model.name, version, %error, "cannot drop an old version yet");
                attempt += 1;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("dropping version {version} of {}", model.name));
            }
        }
    }
}
