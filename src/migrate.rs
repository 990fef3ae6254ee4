//! Brings a database to the schema this build expects. Migrations are embedded; running them again
//! changes nothing, and two nodes starting at once wait for each other.

use anyhow::Context;
use codexapi_projections::versions;
use sqlx::{Connection, Executor, PgPool};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Applies what is missing, the tables of new read models among it. Fails where a migration that was applied differs from the one built in.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context("connecting to migrate the database")?.detach();
    // Else each start logs that the table of migrations exists.
    connection.execute("SET client_min_messages = warning").await.context("quieting notices")?;
    MIGRATOR.run(&mut connection).await.context("migrating the database")?;
    connection.close().await.context("ending the connection that migrated")?;
    versions::install(pool).await.context("making the tables of the read models")
}
