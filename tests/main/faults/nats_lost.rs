//! NATS dies and forgets everything: that may cost freshness, and nothing else.

use super::books;
use super::load::{Load, Told};
use super::service::World;
use crate::harness::TestDatabase;

/// Clients at work.
const CLIENTS: usize = 16;

/// Generations between two blows: enough that every read model is moving.
const SOME: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_wiped_under_load_and_again_with_no_traffic_after_costs_freshness_only() {
    let database = TestDatabase::new().await;
    let mut world = World::start(database.pool.clone()).await;
    let customers = world.customers(4).await;
    let load = Load::start(&world, &customers, CLIENTS);
    load.completes(SOME).await;
    world.nats.wipe().expect("wiped");

    // Nobody feeds the read models, and they follow all the same.
    load.completes(SOME).await;
    world.follows().await;
    world.nats.restart().await.expect("restarted");
    load.completes(SOME).await;
    world.follows().await;

    // Wiped with the last events on their way, and then silence: only the loss itself can be noticed.
    let told = load.stop().await;
    world.nats.wipe().expect("wiped");
    world.nats.restart().await.expect("restarted");
    assert!(told.iter().all(|told| matches!(told, Told::Complete { .. })), "every request was answered");
    books::balance(&world, &told).await;
}
