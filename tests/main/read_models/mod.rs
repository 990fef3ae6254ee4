//! Read models equal a fold of the log, however its events arrive, and answer what is asked of them.

mod door_changes;
mod folding;
mod history;
mod projecting;
mod queries;
mod top_customers;
mod zones;

use codexapi_aggregates::event::RecordedEvent;
use codexapi_projections::apply::{Applied, apply};
use codexapi_projections::{Entry, READ_MODELS};
use serde_json::{Map, Value};
use sqlx::PgPool;

use crate::harness::TestDatabase;

/// An empty database, and the pool to it.
async fn database() -> (TestDatabase, PgPool) {
    let database = TestDatabase::new().await;
    let pool = database.pool.clone();
    (database, pool)
}

/// Every row of every read model, as JSON, in an order of its own.
async fn tables(pool: &PgPool) -> Value {
    let mut tables = Map::new();
    for table in READ_MODELS.iter().flat_map(|model| model.tables) {
        let name = table.name;
        let statement = format!("SELECT coalesce(jsonb_agg(t ORDER BY to_jsonb(t)), '[]') FROM {name} t");
        tables.insert(name.into(), sqlx::query_scalar(&statement).fetch_one(pool).await.expect("rows"));
    }
    Value::Object(tables)
}

/// Empties every read model and puts its checkpoint back to the start.
async fn clear(pool: &PgPool) {
    for table in READ_MODELS.iter().flat_map(|model| model.tables) {
        sqlx::query(&format!("TRUNCATE {}", table.version(1))).execute(pool).await.expect("cleared");
    }
    sqlx::query("UPDATE projection_checkpoints SET position = 0").execute(pool).await.expect("reset");
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
