//! NATS hangs, dies and forgets everything: that may cost freshness, and nothing else.

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use futures::StreamExt;
use rustix::process::Signal;
use serde_json::Value;

use super::books;
use super::load::{Load, Told};
use super::service::{World, signal_process};
use crate::harness::{TestDatabase, wait_for};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_that_hangs_is_told_of_and_costs_freshness_only() {
    let (_database, world, load) = at_work().await;

    // Its connection stands, and nothing comes over it.
    signal_process(world.nats.pid(), Signal::STOP);
    load.completes(SOME).await;
    world.follows().await;
    becomes(&world, "degraded").await;
    load.completes(SOME).await;
    world.follows().await;

    signal_process(world.nats.pid(), Signal::CONT);
    becomes(&world, "ready").await;
    load.completes(SOME).await;
    let told = load.stop().await;
    assert!(told.iter().all(|told| matches!(told, Told::Complete { .. })), "every request was answered");
    books::balance(&world, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jetstream_that_takes_nothing_is_told_of_and_costs_freshness_only() {
    let (_database, world, load) = at_work().await;

    // It answers, and refuses whatever it is given.
    let client = async_nats::connect(world.nats.url()).await.expect("a client");
    let jetstream = jetstream::new(client);
    let name = jetstream.stream_names().next().await.expect("a stream").expect("its name");
    let stream = jetstream.get_stream(name).await.expect("the stream");
    let config = Config { max_message_size: 16, ..stream.cached_info().config.clone() };
    jetstream.update_stream(config).await.expect("changed");
    becomes(&world, "degraded").await;
    load.completes(SOME).await;
    world.follows().await;

    // The relay makes it anew by itself.
    becomes(&world, "ready").await;
    load.completes(SOME).await;
    let told = load.stop().await;
    assert!(told.iter().all(|told| matches!(told, Told::Complete { .. })), "every request was answered");
    books::balance(&world, &told).await;
}

/// A world that is ready, and under load.
async fn at_work() -> (TestDatabase, World, Load) {
    let database = TestDatabase::new().await;
    let world = World::start(database.pool.clone()).await;
    let customers = world.customers(4).await;
    let load = Load::start(&world, &customers, CLIENTS);
    load.completes(SOME).await;
    becomes(&world, "ready").await;
    (database, world, load)
}

/// Waits until `/ready` says so.
async fn becomes(world: &World, status: &str) {
    wait_for(&format!("/ready says {status}"), async || {
        let answer = world.http.get(format!("{}/ready", world.base_url)).send().await.ok()?;
        let readiness: Value = answer.json().await.ok()?;
        (readiness["status"] == status).then_some(())
    })
    .await;
}
