//! Versions of read tables: how they are made, swapped and dropped.
//!
//! Rows live in `<table>_<version>`; everything that reads goes through the view `<table>`. A view
//! is what makes a swap atomic without readers taking part in it: Postgres resolves the view when a
//! statement starts, so each statement sees all of one version, and a statement that began on the
//! old version finishes on it, since its tables are dropped only when the next rebuild begins (and
//! then behind a lock timeout, so that nobody queues behind that drop either). The alternatives
//! lose one or the other: renaming tables changes them under a reader's cached plans, and reading
//! the active version first takes a second round trip and still races with the drop.

use sqlx::{PgConnection, PgPool};

use crate::transaction::Transaction;
use crate::{READ_MODELS, ReadModel, Table, door_changes};

/// Advisory lock that makes concurrent starts install one after the other.
const INSTALL_LOCK: i64 = 0x636f_6465_7861_7069;

/// How long dropping an old version waits for those who still read it, in milliseconds.
const DROP_LOCK_TIMEOUT_MS: u32 = 2_000;

/// The version behind the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Active {
    pub version: i32,
    /// The form its rows were built with.
    pub revision: i32,
}

impl Table {
    /// The table that holds this version's rows.
    pub fn version(&self, version: i32) -> String {
        format!("{}_{version}", self.name)
    }
}

/// Makes tables and views of every read model that has none yet. Safe to call at every start and
/// from several nodes at once; what exists is left alone.
pub async fn install(pool: &PgPool) -> sqlx::Result<()> {
    let mut transaction = Transaction::begin(pool).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(INSTALL_LOCK).execute(&mut *transaction).await?;
    for model in READ_MODELS {
        if find_active(&mut transaction, model).await?.is_some() {
            continue;
        }
        sqlx::query(
            "INSERT INTO projection_versions (projection, active_version, revision) VALUES ($1, 1, $2)",
        )
        .bind(model.name)
        .bind(model.revision)
        .execute(&mut *transaction)
        .await?;
        create(&mut transaction, model, 1).await?;
        create_indexes(&mut transaction, model, 1).await?;
        replace_views(&mut transaction, model, 1).await?;
    }
    transaction.commit().await
}

/// The version that is read, or `None` where the read model is not installed.
pub async fn active(pool: &PgPool, model: &ReadModel) -> sqlx::Result<Option<Active>> {
    let mut connection = pool.acquire().await?;
    find_active(&mut connection, model).await
}

/// Makes the tables of a new version, empty, with a checkpoint at the log's start.
pub async fn create(connection: &mut PgConnection, model: &ReadModel, version: i32) -> sqlx::Result<()> {
    for table in model.tables {
        let statement = format!("CREATE TABLE {} ({})", table.version(version), table.columns);
        sqlx::query(&statement).execute(&mut *connection).await?;
    }
    sqlx::query("INSERT INTO projection_checkpoints (projection, version, position) VALUES ($1, $2, 0)")
        .bind(model.name)
        .bind(version)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Makes the further indexes of a version; a rebuild does so once its rows are in.
pub async fn create_indexes(
    connection: &mut PgConnection,
    model: &ReadModel,
    version: i32,
) -> sqlx::Result<()> {
    for table in model.tables {
        for index in table.indexes {
            let statement = format!("CREATE INDEX ON {} {index}", table.version(version));
            sqlx::query(&statement).execute(&mut *connection).await?;
        }
        let analyze = format!("ANALYZE {}", table.version(version));
        sqlx::query(&analyze).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Puts `version` behind the views. The caller holds `lock_versions` and has folded `version` at
/// least as far as the version it replaces.
pub async fn activate(connection: &mut PgConnection, model: &ReadModel, version: i32) -> sqlx::Result<()> {
    replace_views(&mut *connection, model, version).await?;
    sqlx::query("UPDATE projection_versions SET active_version = $2, revision = $3 WHERE projection = $1")
        .bind(model.name)
        .bind(version)
        .bind(model.revision)
        .execute(&mut *connection)
        .await?;
    if door_changes::is_read_by_doors(model) {
        door_changes::note(connection).await?;
    }
    Ok(())
}

/// Locks the read model against folding and swapping until the transaction ends.
pub async fn lock_versions(connection: &mut PgConnection, model: &ReadModel) -> sqlx::Result<Active> {
    let active = sqlx::query_as(
        "SELECT active_version AS version, revision FROM projection_versions WHERE projection = $1 FOR UPDATE",
    )
    .bind(model.name)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query("SELECT 1 FROM projection_checkpoints WHERE projection = $1 ORDER BY version FOR UPDATE")
        .bind(model.name)
        .execute(connection)
        .await?;
    Ok(active)
}

/// The versions that are not read: what a swap left behind, or a rebuild that did not finish.
pub async fn leftovers(pool: &PgPool, model: &ReadModel) -> sqlx::Result<Vec<i32>> {
    sqlx::query_scalar(
        "SELECT c.version FROM projection_checkpoints c JOIN projection_versions v USING (projection) \
         WHERE projection = $1 AND c.version <> v.active_version ORDER BY c.version",
    )
    .bind(model.name)
    .fetch_all(pool)
    .await
}

/// Drops a version that is not read. Fails rather than wait long for a statement that still reads it.
pub async fn drop_version(pool: &PgPool, model: &ReadModel, version: i32) -> sqlx::Result<()> {
    let mut transaction = Transaction::begin(pool).await?;
    let timeout = format!("SET LOCAL lock_timeout = {DROP_LOCK_TIMEOUT_MS}");
    sqlx::query(&timeout).execute(&mut *transaction).await?;
    for table in model.tables {
        let statement = format!("DROP TABLE IF EXISTS {}", table.version(version));
        sqlx::query(&statement).execute(&mut *transaction).await?;
    }
    sqlx::query("DELETE FROM projection_checkpoints WHERE projection = $1 AND version = $2")
        .bind(model.name)
        .bind(version)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

async fn find_active(connection: &mut PgConnection, model: &ReadModel) -> sqlx::Result<Option<Active>> {
    sqlx::query_as(
        "SELECT active_version AS version, revision FROM projection_versions WHERE projection = $1",
    )
    .bind(model.name)
    .fetch_optional(connection)
    .await
}

/// A view is replaced in place, which keeps its privileges, unless its columns have changed.
async fn replace_views(connection: &mut PgConnection, model: &ReadModel, version: i32) -> sqlx::Result<()> {
    let known = find_active(&mut *connection, model).await?;
    let changed = known.is_some_and(|active| active.revision != model.revision);
    for table in model.tables {
        if changed {
            let statement = format!("DROP VIEW IF EXISTS {}", table.name);
            sqlx::query(&statement).execute(&mut *connection).await?;
        }
        let statement =
            format!("CREATE OR REPLACE VIEW {} AS SELECT * FROM {}", table.name, table.version(version));
        sqlx::query(&statement).execute(&mut *connection).await?;
    }
    Ok(())
}
