//! The end of a rebuild: indexes, the rest of the log, and the one transaction that swaps.

use anyhow::Context;
use codexapi_projections::apply::{advance, begin_writing, lock_checkpoint};
use codexapi_projections::{ReadModel, checkpoint, versions};
use sqlx::{PgConnection, PgPool};

use crate::event_log::read::{self, SHARD};
use crate::projector::entries;

/// Events per transaction while catching up.
const PAGE: i64 = 2_000;

/// While it is swapped nothing is projected: should this process stand still half-way, Postgres ends the transaction.
const SWAP_SETTINGS: [&str; 1] = ["idle_in_transaction_session_timeout = '10s'"];

/// Brings `version` to the log's end and puts it behind the views.
pub(super) async fn finish(pool: &PgPool, model: &'static ReadModel, version: i32) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    versions::create_indexes(&mut connection, model, version).await?;
    drop(connection);
    // Without a lock for as long as there is much to do, so that the live version stands still only briefly.
    while catch_up(pool, model, version).await? {}
    let mut transaction = begin_writing(pool, &SWAP_SETTINGS).await?;
    versions::lock_versions(&mut transaction, model).await?;
    let live = checkpoint::position_in(&mut *transaction, model.name).await?;
    while fold_page(&mut transaction, model, version, live).await? {}
    versions::activate(&mut transaction, model, version).await?;
    transaction.commit().await.with_context(|| format!("swapping {}", model.name))
}

/// Folds one page of the log; whether it was a full one.
async fn catch_up(pool: &PgPool, model: &'static ReadModel, version: i32) -> anyhow::Result<bool> {
    let mut transaction = begin_writing(pool, &[]).await?;
    let more = fold_page(&mut transaction, model, version, i64::MAX).await?;
    transaction.commit().await?;
    Ok(more)
}

/// Folds the next events up to `up_to`; whether there may be more.
async fn fold_page(
    connection: &mut PgConnection,
    model: &'static ReadModel,
    version: i32,
    up_to: i64,
) -> anyhow::Result<bool> {
    let position = lock_checkpoint(connection, model, version).await?;
    if position >= up_to {
        return Ok(false);
    }
    let stored = read::read_after(&mut *connection, SHARD, position, PAGE).await?;
    let (_, stopped) = advance(connection, model, version, &entries(&stored), position).await?;
    match stopped {
        Some(error) => Err(error.into()),
        None => Ok(stored.len() as i64 == PAGE),
    }
}
