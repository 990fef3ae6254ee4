//! The service dies with generations in flight, at random moments and at the worst ones.

use std::time::Duration;

use codexapi::crash_points;

use super::books::{self, Books};
use super::load::Load;
use super::service::World;
use crate::harness::{TestDatabase, wait_for};

/// Clients at work; each has one generation in flight, or is about to.
const CLIENTS: usize = 72;

/// Generations in flight when the service is killed, at least.
const IN_FLIGHT: usize = 50;

/// Random moments of death; `CODEXAPI_TEST_KILLS` asks for more.
const KILLS: u32 = 4;

/// The span from which the moment is drawn, from when enough is in flight: longer than a generation.
const MOMENTS_MS: u64 = 2_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_at_random_moments_loses_no_charge_and_doubles_none() {
    let database = TestDatabase::new().await;
    let mut world = World::start(database.pool.clone()).await;
    let customers = world.customers(4).await;
    let kills = std::env::var("CODEXAPI_TEST_KILLS").ok().map(|count| count.parse().expect("a count"));
    let mut told = Vec::new();
    let mut killed = 0;
    while killed < kills.unwrap_or(KILLS) {
        let load = Load::start(&world, &customers, CLIENTS);
        generations_are_in_flight(&world).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..MOMENTS_MS))).await;
        world.kill_service().await;
        let in_flight = Books::read(&world.pool).await.open_holds.len();
        told.extend(load.stop().await);
        world.start_service(&[]).await;
        books::balance(&world, &told).await;
        // Seldom many end at once; that moment was not the one that was asked for.
        killed += u32::from(in_flight >= IN_FLIGHT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_hold_and_the_dispatch_charges_nothing_for_it() {
    crash_at(crash_points::HOLD_COMMITTED, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_providers_end_and_the_settlement_leaves_no_hold() {
    crash_at(crash_points::UPSTREAM_DONE, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_settlement_and_its_telling_charges_once() {
    crash_at(crash_points::SETTLED_UNTOLD, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_publishing_and_the_checkpoint_feeds_nothing_twice() {
    crash_at(crash_points::PUBLISHED, 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_projecting_and_acknowledging_folds_nothing_twice() {
    crash_at(crash_points::PROJECTED, 40).await;
}

/// Runs into the `count`-th passing of a crash point under load, restarts and compares the books.
async fn crash_at(point: &str, count: u32) {
    let database = TestDatabase::new().await;
    let mut world = World::start(database.pool.clone()).await;
    let customers = world.customers(4).await;
    world.kill_service().await;
    world.start_service(&[("CODEXAPI_CRASH_AT", &format!("{point}:{count}"))]).await;
    let load = Load::start(&world, &customers, CLIENTS);
    world.service_crashes().await;
    let mut told = load.stop().await;
    world.start_service(&[]).await;
    books::balance(&world, &told).await;

    // The service is as good as before.
    let load = Load::start(&world, &customers, 8);
    load.completes(16).await;
    told.extend(load.stop().await);
    books::balance(&world, &told).await;
}

async fn generations_are_in_flight(world: &World) {
    wait_for("enough generations are in flight", async || {
        (books::open_holds(&world.pool).await >= i64::try_from(IN_FLIGHT).expect("small")).then_some(())
    })
    .await;
}
