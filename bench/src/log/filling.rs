//! A log of many generations over thirty days: through the log's own append path, with the times they would have had.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use codexapi::clock;
use codexapi_aggregates::time::Timestamp;
use futures::future::try_join_all;
use serde::Serialize;
use sqlx::PgPool;

use super::appends::per_second;
use super::business::{Business, Customer};

/// At work at a time; the writer's batches are made of what they queue.
const TASKS: usize = 256;

const SPREAD_MICROS: i64 = 30 * 86_400 * 1_000_000;

/// Every seventh generation is the first customer's: one wallet becomes long.
const LONG_WALLET_EVERY: u64 = 7;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filled {
    seconds: f64,
    generations_per_second: u64,
}

pub async fn measure(business: &Business, generations: u64) -> anyhow::Result<Filled> {
    let (started, numbers) = (Instant::now(), AtomicU64::new(0));
    let begins = clock::now().0 - SPREAD_MICROS;
    let work = || async {
        loop {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            if number >= generations {
                return anyhow::Ok(());
            }
            let passed = i128::from(SPREAD_MICROS) * i128::from(number) / i128::from(generations);
            let at = Timestamp(begins + passed as i64);
            business.generate(whose(business, number), number, at).await?;
        }
    };
    try_join_all((0..TASKS).map(|_| work())).await?;
    let took = started.elapsed();
    Ok(Filled { seconds: took.as_secs_f64(), generations_per_second: per_second(generations, took) })
}

/// Whose the `number`th generation is; neighbours are never the same's.
pub fn whose(business: &Business, number: u64) -> &Customer {
    let others = business.customers.len() as u64 - 1;
    let chosen = match number % LONG_WALLET_EVERY {
        0 => 0,
        _ => 1 + number % others,
    };
    &business.customers[chosen as usize]
}

/// What the log and each read table take, indexes included.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    events: i64,
    event_bytes: i64,
    /// Of each read table, the version that was built last.
    read_table_bytes: i64,
    tables: Vec<(String, i64)>,
}

pub async fn sizes(pool: &PgPool) -> anyhow::Result<Sizes> {
    let (events, event_bytes) =
        sqlx::query_as("SELECT count(*), pg_total_relation_size('events') FROM events")
            .fetch_one(pool)
            .await?;
    let tables = sqlx::query_as(
        "SELECT relname::text, pg_total_relation_size(oid) FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'events'
         ORDER BY 2 DESC LIMIT 12",
    )
    .fetch_all(pool)
    .await?;
    let read_table_bytes = sqlx::query_scalar(
        "SELECT sum(bytes)::bigint FROM (
             SELECT DISTINCT ON (regexp_replace(relname, '_\\d+$', '')) pg_total_relation_size(oid) AS bytes
             FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ '_\\d+$'
             ORDER BY regexp_replace(relname, '_\\d+$', ''), substring(relname from '\\d+$')::int DESC) AS newest",
    )
    .fetch_one(pool)
    .await?;
    Ok(Sizes { events, event_bytes, read_table_bytes, tables })
}
