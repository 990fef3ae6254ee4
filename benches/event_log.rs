//! How many commands a second the event log takes: one hot stream, and a hundred; then two nodes' logs over one
//! Postgres, each stream written by whichever node comes first, or by its home alone.
//!
//! `cargo bench --bench event_log`. Postgres, with its usual durability, shares the machine.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use codexapi::commands::CommandError;
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
            measure("one node", &[&log], Routing::Home, streams, tasks).await?;
        }
    }
    let second = EventLog::open(pool.clone(), EventLogOptions::new(NodeIncarnation(clock::new_id()))).await?;
    for (name, routing) in [("two, anywhere", Routing::Anywhere), ("two, at home", Routing::Home)] {
        for streams in [1, 100] {
            measure(name, &[&log, &second], routing, streams, 64).await?;
        }
    }
    drop((log, second));
    pool.close().await;
    postgres.stop().await
}

/// Which node's log a command goes to.
#[derive(Clone, Copy)]
enum Routing {
    /// In turn.
    Anywhere,
    /// Each stream to one.
    Home,
}

/// Appends for a while from `tasks` tasks and prints the rate, the latencies, and how many commands were given up.
async fn measure(
    name: &str,
    logs: &[&EventLog],
    routing: Routing,
    streams: usize,
    tasks: usize,
) -> anyhow::Result<()> {
    let ids: Vec<_> = (0..streams).map(|_| clock::new_id().to_string()).collect();
    let logs: Vec<EventLog> = logs.iter().map(|log| (*log).clone()).collect();
    let started = Instant::now();
    let running = (0..tasks).map(|task| {
        let (logs, stream) = (logs.clone(), task % streams);
        let id = ids[stream].clone();
        tokio::spawn(async move {
            let (mut latencies, mut given_up) = (vec![], 0);
            while started.elapsed() < RUN {
                let node = match routing {
                    Routing::Anywhere => task + latencies.len(),
                    Routing::Home => stream,
                };
                let asked = Instant::now();
                match append(&logs[node % logs.len()], &id).await {
                    Ok(()) => latencies.push(asked.elapsed()),
                    Err(CommandError::TooMuchContention) => given_up += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            anyhow::Ok((latencies, given_up))
        })
    });
    let (mut latencies, mut given_up) = (vec![], 0);
    for task in join_all(running).await {
        let (of_task, gave_up) = task??;
        latencies.extend(of_task);
        given_up += gave_up;
    }
    let rate = latencies.len() as u128 * 1_000_000 / started.elapsed().as_micros();
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "{name:>13}, {streams:>3} streams, {tasks:>3} tasks: {rate:>6} commands/s, p50 {:?}, p99 {:?}, {given_up} given up",
        percentile(50),
        percentile(99)
    );
    Ok(())
}

/// One command with one event; which one matters little.
async fn append(log: &EventLog, id: &str) -> Result<(), CommandError<Infallible>> {
    let metadata =
        Metadata { actor: "process:bench".into(), request_id: Some("request".into()), cause: None };
    let revealed = |_: &Account, at| {
        let key_id = KeyId(clock::new_id());
        Ok::<_, Infallible>(vec![AccountEvent::TokenRevealed { key_id, reason: RevealReason::Support, at }])
    };
    log.execute(id, &metadata, revealed).await?;
    Ok(())
}
