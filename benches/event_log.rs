//! How many commands a second the event log takes: one hot stream, and a hundred.
//!
//! `cargo bench --bench event_log`. Postgres, with its usual durability, shares the machine.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use codexapi::embedded::{EmbeddedPostgres, EmbeddedPostgresOptions};
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi::{clock, migrate};
use codexapi_aggregates::account::{Account, AccountEvent, RevealReason};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{KeyId, NodeIncarnation};
use futures::future::join_all;
use sqlx::postgres::PgPoolOptions;

const RUN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // Open to the account that Postgres runs as when root runs this.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711))?;
    let mut postgres =
        EmbeddedPostgres::start(EmbeddedPostgresOptions::new(folder.path().join("postgres"))).await?;
    postgres.create_database("bench").await?;
    let pool = PgPoolOptions::new().max_connections(20).connect(&postgres.database_url("bench")).await?;
    migrate::migrate(&pool).await?;
    let log = EventLog::open(pool.clone(), EventLogOptions::new(NodeIncarnation(clock::new_id()))).await?;
    for streams in [1, 100] {
        for tasks in [1, 8, 64, 512] {
            measure(&log, streams, tasks).await?;
        }
    }
    drop(log);
    pool.close().await;
    postgres.stop().await
}

/// Appends for a while from `tasks` tasks and prints the rate and the latencies.
async fn measure(log: &EventLog, streams: usize, tasks: usize) -> anyhow::Result<()> {
    let ids: Vec<_> = (0..streams).map(|_| clock::new_id().to_string()).collect();
    let started = Instant::now();
    let running = (0..tasks).map(|task| {
        let (log, id) = (log.clone(), ids[task % streams].clone());
        tokio::spawn(async move {
            let mut latencies = vec![];
            while started.elapsed() < RUN {
                let asked = Instant::now();
                append(&log, &id).await?;
                latencies.push(asked.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = vec![];
    for task in join_all(running).await {
        latencies.extend(task??);
    }
    let rate = latencies.len() as u128 * 1_000_000 / started.elapsed().as_micros();
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "{streams:>3} streams, {tasks:>3} tasks: {rate:>6} commands/s, p50 {:?}, p99 {:?}",
        percentile(50),
        percentile(99)
    );
    Ok(())
}

/// One command with one event; which one matters little.
async fn append(log: &EventLog, id: &str) -> anyhow::Result<()> {
    let metadata =
        Metadata { actor: "process:bench".into(), request_id: Some("request".into()), cause: None };
    let revealed = |_: &Account, at| {
        let key_id = KeyId(clock::new_id());
        Ok::<_, std::convert::Infallible>(vec![AccountEvent::TokenRevealed {
            key_id,
            reason: RevealReason::Support,
            at,
        }])
    };
    log.execute(id, &metadata, revealed).await?;
    Ok(())
}
