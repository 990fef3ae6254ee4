//! Makes read models anew from the log, beside the live ones, and swaps them in.
//!
//! Reads never fail and never see a half-built version: they go through views, which one
//! transaction moves (`codexapi_projections::versions`). One streaming SELECT feeds every read model
//! that is rebuilt; each folds in memory and is written every so many events, which bounds memory
//! and is what makes it quick. The swap locks the live version, folds what has come since, and moves
//! the view, so that nothing is missing and nothing goes back in time.
//!
//! Killed anywhere it is simply begun again: what it left behind is not active, and is dropped at
//! the start of the next one. So is the version a swap replaces, since statements may still read it.

mod outdated;
mod progress;
mod swap;

use anyhow::{Context, bail};
use codexapi_projections::apply;
use codexapi_projections::transaction::Transaction;
use codexapi_projections::{Projection, ReadModel, versions};
use futures::TryStreamExt;
use sqlx::PgPool;

use crate::advisory_lock::SessionLock;
use crate::event_log::read::{self, SHARD};
use crate::projector::entry;

pub use outdated::rebuild_outdated;
pub use progress::Progress;

/// Events folded in memory between two writes.
const EVENTS_PER_WRITE: u32 = 10_000;

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

/// The read models `name` stands for: one, or `all`.
pub fn named(name: &str) -> anyhow::Result<Vec<&'static ReadModel>> {
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

    /// Writes what was folded, and that it reaches up to `position`.
    async fn write(&mut self, pool: &PgPool, position: i64) -> anyhow::Result<()> {
        let batch = std::mem::replace(&mut self.batch, (self.model.batch)());
        let mut transaction = Transaction::begin(pool).await?;
        // A version that is lost with the server is not active, and the swap's own commit is durable.
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
        batch.write(&mut transaction, self.version).await?;
        apply::move_checkpoint(&mut transaction, self.model, self.version, position).await?;
        transaction.commit().await?;
        Ok(())
    }
}

async fn fold_log(
    pool: &PgPool,
    building: &mut [Building],
    head: i64,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut events = read::stream_after(pool, SHARD, 0, head);
    let (mut folded, mut position) = (0, 0);
    while let Some(stored) = events.try_next().await.context("reading the log")? {
        let entry = entry(&stored);
        for building in &mut *building {
            apply::fold(building.model, building.batch.as_mut(), &entry)
                .with_context(|| format!("folding into {}", building.model.name))?;
        }
        (folded, position) = (folded + 1, stored.position);
        if folded == EVENTS_PER_WRITE {
            write_all(pool, building, position).await?;
            progress.at(position, folded);
            folded = 0;
        }
    }
    write_all(pool, building, position).await?;
    progress.at(position, folded);
    Ok(())
}

async fn write_all(pool: &PgPool, building: &mut [Building], position: i64) -> anyhow::Result<()> {
    for building in building {
        building.write(pool, position).await.with_context(|| format!("writing {}", building.model.name))?;
    }
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
