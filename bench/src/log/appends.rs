//! Wallet commands through the real append path, beside raw rows of the same content: same columns, hash and indexes,
//! 512 rows a statement, and no logic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use codexapi::clock;
use codexapi::event_log::chain::{CHAIN_START, ChainInput, chain_hash};
use codexapi_aggregates::time::Timestamp;
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::task::JoinSet;

use super::business::Business;
use super::service::World;
use crate::summary::{self, Summary};

const WALLETS: usize = 100;
const TASKS: [usize; 4] = [1, 64, 512, 1_024];
/// With the last of them, either of two nodes has a full batch waiting while another is written.
const TWO_NODES_TASKS: [usize; 3] = [512, 1_024, 2_048];
/// What is compared stands next to each other in time: rates a minute apart differ by more than what they measure.
const TURNS: u32 = 3;
const RAW_ROWS: usize = 512;
const RAW_ROWS_TASKS: usize = 512;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Appends {
    hundred_wallets: Vec<Rate>,
    one_wallet: Vec<Rate>,
    two_nodes: Vec<TwoNodes>,
    raw_rows: Vec<RawTurn>,
}

/// Half of the wallets and of the tasks on each of two nodes, every wallet at its home; all of them on one beside it.
#[derive(Serialize)]
struct TwoNodes {
    tasks: usize,
    turns: Vec<Turn>,
}

/// Commands a second.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Turn {
    one_node: u64,
    two_nodes: u64,
}

/// Commands of 512 tasks a second, each one event; rows a second.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RawTurn {
    commands: u64,
    raw_rows: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rate {
    tasks: usize,
    /// Each is one event.
    commands_per_second: u64,
    latency_micros: Option<Summary>,
}

pub async fn measure(world: &World, seconds: u64) -> anyhow::Result<Appends> {
    let business = Arc::new(Business::open(world, WALLETS).await?);
    let run = Duration::from_secs(seconds);
    let (mut hundred_wallets, mut one_wallet) = (vec![], vec![]);
    for tasks in TASKS {
        hundred_wallets.push(commands(&business, WALLETS, tasks, run).await?);
        one_wallet.push(commands(&business, 1, tasks, run).await?);
    }
    let turn = run / TURNS;
    let raw_rows = beside_raw_rows(world, &business, turn).await?;
    let two_nodes = two_nodes(world, &business, turn).await?;
    Ok(Appends { hundred_wallets, one_wallet, two_nodes, raw_rows })
}

async fn beside_raw_rows(
    world: &World,
    business: &Arc<Business>,
    run: Duration,
) -> anyhow::Result<Vec<RawTurn>> {
    let mut raw = Raw::beside(world).await?;
    let mut turns = vec![];
    for _ in 0..TURNS {
        let commands = commands(business, WALLETS, RAW_ROWS_TASKS, run).await?.commands_per_second;
        turns.push(RawTurn { commands, raw_rows: raw.rows_per_second(run).await? });
    }
    raw.drop_table().await?;
    Ok(turns)
}

/// Each of the two has a log of its own, with its writer and cache, over one Postgres.
async fn two_nodes(world: &World, one_node: &Arc<Business>, run: Duration) -> anyhow::Result<Vec<TwoNodes>> {
    let half = WALLETS / 2;
    let first = Arc::new(Business::open(world, half).await?);
    let second = Arc::new(Business::open(world, half).await?);
    let mut measured = vec![];
    for tasks in TWO_NODES_TASKS {
        let mut turns = vec![];
        for _ in 0..TURNS {
            let one_node = commands(one_node, WALLETS, tasks, run).await?.commands_per_second;
            let (first, second) = tokio::try_join!(
                commands(&first, half, tasks / 2, run),
                commands(&second, half, tasks / 2, run)
            )?;
            let two_nodes = first.commands_per_second + second.commands_per_second;
            turns.push(Turn { one_node, two_nodes });
        }
        measured.push(TwoNodes { tasks, turns });
    }
    Ok(measured)
}

async fn commands(
    business: &Arc<Business>,
    wallets: usize,
    tasks: usize,
    run: Duration,
) -> anyhow::Result<Rate> {
    let (numbers, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (business, numbers) = (Arc::clone(business), Arc::clone(&numbers));
        running.spawn(async move {
            let customer = &business.customers[task % wallets];
            let mut latencies = vec![];
            while started.elapsed() < run {
                let asked = Instant::now();
                business.hold_and_release(customer, numbers.fetch_add(1, Ordering::Relaxed)).await?;
                latencies.push(summary::micros(asked.elapsed() / 2));
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = vec![];
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    let commands_per_second = per_second(2 * latencies.len() as u64, started.elapsed());
    Ok(Rate { tasks, commands_per_second, latency_micros: summary::of(latencies) })
}

pub fn per_second(count: u64, took: Duration) -> u64 {
    (u128::from(count) * 1_000_000 / took.as_micros().max(1)) as u64
}

/// What a row holds, taken from events that were just appended.
#[derive(sqlx::FromRow)]
struct Row {
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
    event_version: String,
    payload: String,
    metadata: String,
}

const INSERT: &str = "INSERT INTO bench_events (event_id, aggregate_type, aggregate_id, sequence, event_type,
        event_version, payload, metadata, hash, payload_digest, recorded_at)
    SELECT e.event_id, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::json,
           e.metadata::json, e.hash, sha256(convert_to(e.payload, 'UTF8')), now()
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
         AS e(event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, hash)";

/// A table like that of the log, and what is written to it.
struct Raw {
    connection: PgConnection,
    rows: Vec<Row>,
    written: i64,
    hash: [u8; 32],
}

impl Raw {
    async fn beside(world: &World) -> anyhow::Result<Self> {
        let rows = last_rows(&world.pool).await?;
        let mut connection = PgConnection::connect_with(&world.pool.connect_options()).await?;
        sqlx::query("CREATE TABLE bench_events (LIKE events INCLUDING ALL)").execute(&mut connection).await?;
        Ok(Self { connection, rows, written: 0, hash: CHAIN_START })
    }

    async fn rows_per_second(&mut self, run: Duration) -> anyhow::Result<u64> {
        let (started, before) = (Instant::now(), self.written);
        while started.elapsed() < run {
            self.write().await?;
        }
        Ok(per_second((self.written - before) as u64, started.elapsed()))
    }

    async fn write(&mut self) -> sqlx::Result<()> {
        let Self { connection, rows, written, hash } = self;
        let mut hashes = Vec::with_capacity(RAW_ROWS);
        let mut ids = Vec::with_capacity(RAW_ROWS);
        for (row, number) in rows.iter().zip(1..) {
            let (event_id, recorded_at) = (clock::new_id(), Timestamp(number));
            let Row { aggregate_type, aggregate_id, event_type, event_version, payload, metadata } = row;
            let event = ChainInput {
                aggregate_type,
                aggregate_id,
                sequence: *written + number,
                event_id,
                event_type,
                event_version,
                recorded_at,
                payload,
                metadata,
            };
            *hash = chain_hash(hash, &event);
            hashes.push(hash.to_vec());
            ids.push(event_id);
        }
        let column = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<Vec<_>>();
        sqlx::query(INSERT)
            .bind(ids)
            .bind(column(|row| &row.aggregate_type))
            .bind(column(|row| &row.aggregate_id))
            .bind((1..=rows.len() as i64).map(|number| *written + number).collect::<Vec<_>>())
            .bind(column(|row| &row.event_type))
            .bind(column(|row| &row.event_version))
            .bind(column(|row| &row.payload))
            .bind(column(|row| &row.metadata))
            .bind(hashes)
            .execute(connection)
            .await?;
        *written += rows.len() as i64;
        Ok(())
    }

    async fn drop_table(mut self) -> anyhow::Result<()> {
        sqlx::query("DROP TABLE bench_events").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}

async fn last_rows(pool: &PgPool) -> anyhow::Result<Vec<Row>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT aggregate_type, aggregate_id, event_type, event_version, payload::text AS payload,
                metadata::text AS metadata FROM events WHERE aggregate_type = 'wallet' ORDER BY position DESC LIMIT $1",
    )
    .bind(RAW_ROWS as i64)
    .fetch_all(pool)
    .await
    .context("reading rows to copy")?;
    ensure!(rows.len() == RAW_ROWS, "only {} wallet events", rows.len());
    Ok(rows)
}
