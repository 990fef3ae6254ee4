//! How long after its append a generation is in every read model, at a thousand generations a second.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use codexapi::clock;
use codexapi::event_log::seal;
use codexapi_projections::checkpoint;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::appends::per_second;
use super::business::Business;
use super::filling::whose;
use super::service::World;
use crate::summary::{self, Summary};

const PER_SECOND: u64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Generations that may be under way; a machine that needs more cannot hold the rate.
const MOST_AT_ONCE: usize = 512;

/// For what the relay and the read models had to do before, and for what is left at the end.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaughtUp {
    generations_per_second: u64,
    /// From the commit being answered until the slowest read model has it.
    behind_micros: Option<Summary>,
}

const SLOWEST: &str = "SELECT min(c.position) FROM projection_versions v
    JOIN projection_checkpoints c ON c.projection = v.projection AND c.version = v.active_version";

/// For `seconds`, after as many that do not count, in which the disk recovers from what was written at once.
pub async fn measure(world: &World, business: &Business, seconds: u64) -> anyhow::Result<CaughtUp> {
    settled(world, business).await?;
    let waiting = Arc::new(Mutex::new(VecDeque::new()));
    let (appending, done) = (Arc::new(AtomicBool::new(true)), AtomicU64::new(0));
    let looking = tokio::spawn(look(
        PgConnection::connect_with(&world.pool.connect_options()).await?,
        Arc::clone(&waiting),
        Arc::clone(&appending),
    ));
    let warm_up = PER_SECOND * seconds;
    let started = Instant::now();
    let mut running = FuturesUnordered::new();
    for number in 0..warm_up + PER_SECOND * seconds {
        let due = started + Duration::from_micros(number * 1_000_000 / PER_SECOND);
        tokio::time::sleep_until(due.into()).await;
        while running.len() >= MOST_AT_ONCE {
            running.try_next().await?;
        }
        let (waiting, done) = (&waiting, &done);
        running.push(async move {
            let position = business.generate(whose(business, number), number, clock::now()).await?;
            if number >= warm_up {
                waiting.lock().expect("no holder panics").push_back((position, Instant::now()));
            }
            done.fetch_add(1, Ordering::Relaxed);
            anyhow::Ok(())
        });
        // What is ready meanwhile is taken, so that commits are answered as they come.
        while let Some(Some(finished)) =
            futures::FutureExt::now_or_never(running.try_next()).map(Result::transpose)
        {
            finished?;
        }
    }
    while running.try_next().await?.is_some() {}
    let rate = per_second(done.load(Ordering::Relaxed), started.elapsed());
    appending.store(false, Ordering::Release);
    let behind = looking.await??;
    Ok(CaughtUp { generations_per_second: rate, behind_micros: summary::of(behind) })
}

/// Looks where the slowest read model is until everything appended is in it.
async fn look(
    mut connection: PgConnection,
    waiting: Arc<Mutex<VecDeque<(i64, Instant)>>>,
    appending: Arc<AtomicBool>,
) -> anyhow::Result<Vec<u32>> {
    let mut behind = vec![];
    let mut given_up = Instant::now() + SETTLED_WITHIN;
    loop {
        let slowest: i64 = sqlx::query_scalar(SLOWEST).fetch_one(&mut connection).await?;
        let seen = Instant::now();
        let more = appending.load(Ordering::Acquire);
        let empty = {
            let mut left = waiting.lock().expect("no holder panics");
            left.retain(|(position, committed)| {
                if *position > slowest {
                    return true;
                }
                behind.push(summary::micros(seen - *committed));
                false
            });
            left.is_empty()
        };
        if more {
            given_up = seen + SETTLED_WITHIN;
        } else if empty {
            return Ok(behind);
        }
        ensure!(seen < given_up, "the read models do not catch up");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until the relay and the read models are at the log's end, as in a service that has run for a while. What such a
/// service would have done, and would begin within the minute, is done before: the whole log, which was filled in, is
/// sealed, the tables are vacuumed, and all of it is on the disk. What is left to the kernel it writes half a minute later,
/// hundreds of megabytes at once, and a commit waits behind them for half a second.
async fn settled(world: &World, business: &Business) -> anyhow::Result<()> {
    seal::seal_now(&business.log).await.context("sealing what was filled in")?;
    let head: i64 = sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(&world.pool).await?;
    let given_up = Instant::now() + SETTLED_WITHIN;
    loop {
        let relayed: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM relay_checkpoint")
            .fetch_one(&world.pool)
            .await?;
        let checkpoints = checkpoint::all(&world.pool).await.context("reading checkpoints")?;
        if relayed >= head && checkpoints.iter().all(|checkpoint| checkpoint.position >= head) {
            sqlx::query("VACUUM (ANALYZE)").execute(&world.pool).await.context("vacuuming")?;
            sqlx::query("CHECKPOINT").execute(&world.pool).await.context("writing what that has changed")?;
            tokio::task::spawn_blocking(rustix::fs::sync)
                .await
                .context("writing what the kernel has left")?;
            return Ok(());
        }
        ensure!(Instant::now() < given_up, "the relay is at {relayed} of {head}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
