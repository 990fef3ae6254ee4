//! Read models are rebuilt while the service works: by the real program, killed on its way and started again.

use std::process::Stdio;
use std::time::Duration;

use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::books;
use super::load::{Load, Told};
use super::service::World;
use crate::harness::{TestDatabase, wait_for};

/// Clients at work.
const CLIENTS: usize = 8;

/// The first rebuild is killed so soon, each later one that much later, until one comes to its end.
const FIRST_KILL: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuilds_killed_and_repeated_under_load_fail_no_read_and_lose_nothing() {
    let database = TestDatabase::new().await;
    let world = World::start(database.pool.clone()).await;
    let customers = world.customers(4).await;
    let load = Load::start(&world, &customers, CLIENTS);
    load.completes(4 * CLIENTS).await;
    let done = CancellationToken::new();
    let working = async {
        let (mut after, mut kills) = (FIRST_KILL, 0);
        while !rebuild_killed(&world, after).await {
            kills += 1;
            after += after / 2;
            world.verifies().await;
        }
        assert!(kills > 1, "killed {kills} times");
        load.completes(4 * CLIENTS).await;
        world.verifies().await;
        done.cancel();
    };
    tokio::join!(working, read_until(&world, &customers[0], &done));
    let told = load.stop().await;
    assert!(told.iter().all(|told| matches!(told, Told::Complete { .. })), "every request was answered");
    books::balance(&world, &told).await;
}

/// Starts a rebuild of everything and kills it `after` a while; whether it came to its end before.
async fn rebuild_killed(world: &World, after: Duration) -> bool {
    let mut rebuild = world.program(&["rebuild", "all"], &[]).stderr(Stdio::null()).spawn().expect("started");
    match tokio::time::timeout(after, rebuild.wait()).await {
        Ok(ended) => {
            assert!(ended.expect("a child").success(), "a rebuild works");
            true
        }
        Err(_) => {
            rebuild.kill().await.expect("killed");
            locks_are_free(world).await;
            false
        }
    }
}

/// Waits until Postgres has noticed that a killed rebuild is gone.
async fn locks_are_free(world: &World) {
    // One lock per read model, numbered from here.
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) + objid::bigint BETWEEN 7263542100 AND 7263542199";
    wait_for("the locks of a killed rebuild are free", async || {
        let held: i64 = sqlx::query_scalar(held).fetch_one(&world.pool).await.expect("readable");
        (held == 0).then_some(())
    })
    .await;
}

/// Reads what customers read, over and over.
async fn read_until(world: &World, token: &str, done: &CancellationToken) {
    while !done.is_cancelled() {
        for path in ["/api/v1/me", "/api/v1/wallet/status", "/api/v1/billing/token-usage"] {
            let url = format!("{}{path}", world.base_url);
            let answer = world.http.get(url).bearer_auth(token).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{path}: {}", answer.text().await.expect("text"));
        }
    }
}
