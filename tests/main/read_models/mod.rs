//! Read models equal a fold of the log, however its events arrive, and answer what is asked of them.

mod folding;
mod history;
mod projecting;
mod queries;
mod zones;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use codexapi::embedded::{EmbeddedPostgres, EmbeddedPostgresOptions};
use codexapi_aggregates::event::RecordedEvent;
use codexapi_projections::apply::{Applied, apply};
use codexapi_projections::{Entry, READ_MODELS, versions};
use serde_json::{Map, Value};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// A private Postgres; each schema of it stands for a database of its own.
struct Server {
    options: PgConnectOptions,
    // Stopped before its folder is removed.
    _postgres: EmbeddedPostgres,
    _folder: TempDir,
}

impl Server {
    async fn start() -> Self {
        let mut folder = tempfile::Builder::new();
        let folder = folder.permissions(Permissions::from_mode(0o711)).tempdir().expect("temporary folder");
        let mut options = EmbeddedPostgresOptions::new(folder.path().join("postgres"));
        options.shared_buffers_mb = 32;
        let postgres = EmbeddedPostgres::start(options).await.expect("started");
        let options = postgres.database_url("postgres").parse().expect("an address");
        Self { options, _postgres: postgres, _folder: folder }
    }

    /// An empty, migrated database with every read model installed.
    async fn database(&self, name: &str) -> PgPool {
        let bare = PgPool::connect_with(self.options.clone()).await.expect("connected");
        sqlx::query(&format!("create database {name}")).execute(&bare).await.expect("created");
        bare.close().await;
        let options = self.options.clone().database(name);
        let pool = PgPoolOptions::new().max_connections(12).connect_with(options).await.expect("connected");
        MIGRATIONS.run(&pool).await.expect("migrated");
        versions::install(&pool).await.expect("installed");
        pool
    }
}

/// Every row of every read model, as JSON, in an order of its own.
async fn tables(pool: &PgPool) -> Value {
    let mut tables = Map::new();
    for table in READ_MODELS.iter().flat_map(|model| model.tables) {
        let name = table.name;
        let statement = format!("select coalesce(jsonb_agg(t order by to_jsonb(t)), '[]') from {name} t");
        tables.insert(name.into(), sqlx::query_scalar(&statement).fetch_one(pool).await.expect("rows"));
    }
    Value::Object(tables)
}

/// Empties every read model and puts its checkpoint back to the start.
async fn clear(pool: &PgPool) {
    for table in READ_MODELS.iter().flat_map(|model| model.tables) {
        sqlx::query(&format!("truncate {}", table.version(1))).execute(pool).await.expect("cleared");
    }
    sqlx::query("update projection_checkpoints set position = 0").execute(pool).await.expect("reset");
}

fn entries(events: &[RecordedEvent]) -> Vec<Entry> {
    events.iter().cloned().map(Entry::from).collect()
}

/// Gives one batch to every read model.
async fn apply_to_all(pool: &PgPool, events: &[RecordedEvent], previous_position: i64) -> Vec<Applied> {
    let entries = entries(events);
    let mut applied = Vec::new();
    for model in READ_MODELS {
        applied.push(apply(pool, model, &entries, previous_position).await.expect("applied"));
    }
    applied
}
