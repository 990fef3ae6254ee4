//! How long a node takes until a wallet it has not seen can be spent from.

use std::time::{Duration, Instant};

use anyhow::Context;
use codexapi_aggregates::wallet::Wallet;
use serde::Serialize;

use super::business::Business;
use super::service::World;
use crate::summary::{self, Summary};

const TIMES: usize = 20;
const WITHOUT_SNAPSHOT_TIMES: usize = 3;

/// A snapshot is written by a task of its own.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(10);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loads {
    wallet_events: i64,
    /// Of them, those after the snapshot.
    events_to_fold: i64,
    with_snapshot_micros: Option<Summary>,
    without_snapshot_micros: Option<Summary>,
}

pub async fn measure(world: &World, business: &Business) -> anyhow::Result<Loads> {
    let wallet = business.customers[0].account_id.to_string();
    let wallet_events: i64 = sqlx::query_scalar(
        "SELECT max(sequence) FROM events WHERE aggregate_type = 'wallet' AND aggregate_id = $1",
    )
    .bind(&wallet)
    .fetch_one(&world.pool)
    .await?;
    let given_up = Instant::now() + SNAPSHOT_WITHIN;
    let snapshot_sequence = loop {
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT sequence FROM snapshots_cache WHERE aggregate_type = 'wallet' AND aggregate_id = $1",
        )
        .bind(&wallet)
        .fetch_optional(&world.pool)
        .await?;
        match found {
            Some(sequence) => break sequence,
            None if Instant::now() < given_up => tokio::time::sleep(Duration::from_millis(50)).await,
            None => anyhow::bail!("the long wallet has no snapshot"),
        }
    };
    let with_snapshot = cold_loads(world, &wallet, TIMES).await?;
    sqlx::query("DELETE FROM snapshots_cache").execute(&world.pool).await.context("taking snapshots away")?;
    let without_snapshot = cold_loads(world, &wallet, WITHOUT_SNAPSHOT_TIMES).await?;
    Ok(Loads {
        wallet_events,
        events_to_fold: wallet_events - snapshot_sequence,
        with_snapshot_micros: summary::of(with_snapshot),
        without_snapshot_micros: summary::of(without_snapshot),
    })
}

async fn cold_loads(world: &World, wallet: &str, times: usize) -> anyhow::Result<Vec<u32>> {
    let mut loads = Vec::with_capacity(times);
    for _ in 0..times {
        let log = world.open_log().await?;
        let started = Instant::now();
        log.read(wallet, |wallet: &Wallet| wallet.balance()).await?;
        loads.push(summary::micros(started.elapsed()));
    }
    Ok(loads)
}
