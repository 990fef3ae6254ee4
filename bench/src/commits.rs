//! What one durable commit costs on the database that is measured: a row of an event's size, one client, one after
//! the other.

use std::time::Instant;

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection, Row};

use crate::summary;

/// About what an event takes.
const ROW_BYTES: usize = 600;

pub async fn measure(database_url: &str, count: u32) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(database_url).await.context("connecting")?;
    let mut settings = serde_json::Map::new();
    for name in ["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "server_version"] {
        let row = sqlx::query(&format!("SHOW {name}")).fetch_one(&mut connection).await?;
        settings.insert(name.to_owned(), row.try_get::<String, _>(0)?.into());
    }
    ensure!(count > 0, "at least one commit is waited for");
    let table = format!("bench_commits_{}", std::process::id());
    sqlx::query(&format!("CREATE TABLE {table} (id bigserial PRIMARY KEY, payload text NOT NULL)"))
        .execute(&mut connection)
        .await?;
    let (statement, payload) = (format!("INSERT INTO {table} (payload) VALUES ($1)"), "x".repeat(ROW_BYTES));
    let mut waits = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let started = Instant::now();
        sqlx::query(&statement).bind(&payload).execute(&mut connection).await?;
        waits.push(summary::micros(started.elapsed()));
    }
    sqlx::query(&format!("DROP TABLE {table}")).execute(&mut connection).await?;
    println!("{}", serde_json::json!({ "commitMicros": summary::of(waits), "settings": settings }));
    Ok(())
}
