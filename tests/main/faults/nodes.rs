//! Several nodes over one Postgres, of which one dies or stands still under load: the books come out all the same.

use codexapi::embedded::free_port;
use rustix::process::Signal;

use super::books;
use super::load::Load;
use super::service::{Node, World};
use crate::harness::{TestDatabase, wait_for};

/// Clients at work, over all nodes.
const CLIENTS: usize = 48;

/// Generations between two blows.
const SOME: usize = 48;

/// Generations in flight when a node stands still, at least.
const IN_FLIGHT: i64 = 24;

/// Wallets: enough for each node to be home to some, whatever is drawn; of 8, all were at one in a run of 256.
const CUSTOMERS: usize = 24;

async fn world(database: &TestDatabase) -> World {
    let listen = format!("127.0.0.1:{}", free_port().expect("a free port"));
    World::start_with(database.pool.clone(), &[("CODEXAPI_NODE_LISTEN", listen.as_str())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_one_killed_under_load_loses_no_charge_and_doubles_none() {
    let database = TestDatabase::new().await;
    let world = world(&database).await;
    let customers = world.customers(CUSTOMERS).await;
    let mut second = world.another_node("second").await;
    nodes_know_each_other(&world, &second).await;
    let load = Load::spread(&world, &[&world.base_url, &second.base_url], &customers, CLIENTS);
    load.completes(SOME).await;
    wait_for("commands travel", async || (forwarded(&world).await > 0).then_some(())).await;
    second.signal(Signal::KILL);
    second.ends().await;
    // Half of the clients are cut off; the others go on, their wallets at home here or not.
    load.completes(SOME).await;
    let second = world.another_node("second").await;
    let mut told = load.stop().await;
    let load = Load::spread(&world, &[&world.base_url, &second.base_url], &customers, CLIENTS);
    load.completes(SOME).await;
    told.extend(load.stop().await);
    books::balance(&world, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_beyond_its_lease_charges_nothing_twice_and_ends() {
    let database = TestDatabase::new().await;
    let mut world = world(&database).await;
    let customers = world.customers(CUSTOMERS).await;
    let second = world.another_node("second").await;
    nodes_know_each_other(&world, &second).await;
    // The first node leads the relay and the projections; its generations are long enough to be in flight.
    let paused = Load::start(&world, &customers, CLIENTS / 2);
    let load = Load::spread(&world, &[&second.base_url], &customers, CLIENTS / 2);
    wait_for("its generations are in flight", async || {
        (books::open_holds(&world.pool).await >= IN_FLIGHT).then_some(())
    })
    .await;
    world.signal_service(Signal::STOP);
    wait_for("its holds have expired", async || (expired(&world).await > 0).then_some(())).await;
    load.completes(SOME).await;
    world.signal_service(Signal::CONT);
    let status = world.service_ends().await;
    assert!(!status.success(), "whose lease has lapsed must not serve on");
    let mut told = paused.stop().await;
    world.start_service(&[]).await;
    told.extend(load.stop().await);
    books::balance(&world, &told).await;
}

/// Each node has the other in its view.
async fn nodes_know_each_other(world: &World, second: &Node) {
    for metrics_url in [&world.metrics_url(), &second.metrics_url] {
        wait_for("two live nodes", async || {
            (world.metric(metrics_url, "codexapi_live_nodes").await == Some(2)).then_some(())
        })
        .await;
    }
}

/// Commands that the first node has sent to their home.
async fn forwarded(world: &World) -> i64 {
    let forwarded = "codexapi_node_commands_total{ran=\"forwarded\"}";
    world.metric(&world.metrics_url(), forwarded).await.unwrap_or(0)
}

async fn expired(world: &World) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'wallet.hold_expired'")
        .fetch_one(&world.pool)
        .await
        .expect("counted")
}
