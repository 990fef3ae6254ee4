//! Postgres goes away under load and comes back: requests are refused meanwhile, and nothing else is different.

use http::StatusCode;

use super::books;
use super::load::{Load, Told};
use super::service::World;
use crate::harness::{TestServer, wait_for};

/// Clients at work.
const CLIENTS: usize = 24;

/// Clients that come while Postgres is away.
const NEWCOMERS: usize = 8;

/// Generations between two blows.
const SOME: usize = 24;

/// What a client is told whose answer was there and could not be recorded in time.
const NOT_RECORDED: &str = "could not be recorded in time; nothing was charged";

/// A short outage: what was running is settled once Postgres is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_restarted_under_load_refuses_requests_meanwhile_and_charges_none_wrongly() {
    outage("60").await;
}

/// An outage longer than a settlement may take: what was running is told to have failed, and is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_a_settlement_may_take_makes_what_was_running_free() {
    let told = outage("1").await;
    let not_recorded = |told: &Told| match told {
        Told::Failed { .. } => true,
        Told::Refused { body, .. } => body.contains(NOT_RECORDED),
        Told::Complete { .. } | Told::Cut => false,
    };
    assert!(told.iter().any(not_recorded), "some were running");
}

async fn outage(settle_seconds: &'static str) -> Vec<Told> {
    let mut server = TestServer::start(&[]).await;
    let pool = server.database().await;
    let mut world = World::start_with(pool, &[("CODEXAPI_SETTLE_SECONDS", settle_seconds)]).await;
    let customers = world.customers(4).await;
    let load = Load::start(&world, &customers, CLIENTS);
    load.completes(SOME).await;
    server.postgres.kill9().expect("killed");
    // Those at work may all be waiting for their settlements; these ask anew.
    let newcomers = Load::start(&world, &customers, NEWCOMERS);
    wait_for("requests are refused", async || (newcomers.refused() >= 2 * NEWCOMERS).then_some(())).await;
    server.postgres.restart().await.expect("recovered");
    newcomers.completes(NEWCOMERS).await;
    load.completes(2 * SOME).await;
    // In good order this time, and back at once.
    server.postgres.restart().await.expect("restarted");
    load.completes(2 * SOME).await;
    let mut told = load.stop().await;
    told.extend(newcomers.stop().await);
    world.service_still_runs();
    for told in &told {
        match told {
            Told::Complete { .. } | Told::Failed { .. } => {}
            Told::Refused { status, retry_after, body } => {
                assert_eq!(*status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                assert!(retry_after.is_some() || body.contains(NOT_RECORDED), "{body}");
            }
            Told::Cut => panic!("a connection was cut:\n{}", world.log_tail()),
        }
    }
    books::balance(&world, &told).await;
    told
}
