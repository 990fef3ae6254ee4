//! One moment of the database, read over our connection and those of the independent reader.
//!
//! The others join the first one's exported snapshot, so that all see the very same rows. Ours may
//! make temporary tables, which is why it is not read-only; it writes nothing else and rolls back.

use anyhow::Context as _;
use postgres_es::PostgresEventRepository;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::independent;
use crate::event_log::read::{self, SHARD};

/// The log is sorted by stream, and whole read models are folded beside the live ones.
const MEMORY: &str = "SET work_mem = '64MB'; SET temp_buffers = '64MB'";

pub(super) struct Snapshot {
    pub connection: PgConnection,
    /// The last position there was.
    pub position: i64,
    /// Events there were, roughly: Postgres's own estimate.
    pub estimated_events: u64,
    independent: PgPool,
}

impl Snapshot {
    pub async fn take(pool: &PgPool) -> anyhow::Result<Self> {
        Self::open(pool).await.context("taking a snapshot of the database")
    }

    async fn open(pool: &PgPool) -> anyhow::Result<Self> {
        let options = pool.connect_options();
        let mut connection = PgConnection::connect_with(&options).await?;
        sqlx::raw_sql(MEMORY).execute(&mut connection).await?;
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ").execute(&mut connection).await?;
        let id: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut connection).await?;
        let join =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{id}'");
        // Connections that live as long as the pool: their transactions are the snapshot.
        let independent = PgPoolOptions::new()
            // All from the start: one that cannot be had says so, and none is waited for later.
            .min_connections(independent::AT_ONCE)
            .max_connections(independent::AT_ONCE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let join = join.clone();
                Box::pin(async move { connection.execute(join.as_str()).await.map(drop) })
            })
            .connect_with(options.as_ref().clone())
            .await?;
        let position = read::head(&mut connection, SHARD).await?;
        let estimated: f32 =
            sqlx::query_scalar("SELECT reltuples FROM pg_class WHERE oid = 'events'::regclass")
                .fetch_one(&mut connection)
                .await?;
        Ok(Self { connection, position, estimated_events: estimated.max(0.0) as u64, independent })
    }

    /// Stock postgres-es over the same moment.
    pub fn independent_reader(&self) -> PostgresEventRepository {
        PostgresEventRepository::new(self.independent.clone())
    }

    pub async fn close(mut self) -> anyhow::Result<()> {
        self.independent.close().await;
        sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await.context("leaving the snapshot")?;
        self.connection.close().await.context("closing the snapshot's connection")
    }
}
