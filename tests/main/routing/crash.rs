//! The service dies between the record of a further attempt and its dispatch.

use codexapi::crash_points;
use codexapi_aggregates::usage::Attempt;
use serde_json::{Value, json};

use crate::faults::books::{Books, open_holds};
use crate::faults::service::World;
use crate::harness::{TestDatabase, wait_for};

/// One provider where nobody listens, and after it the simulator.
const PROVIDERS: &str = r#"
[[providers]]
name = "closed"
protocol = "responses"
base_url = "http://127.0.0.1:9"
[[providers.models]]
model = "gpt-5.5"

[[providers]]
name = "open"
protocol = "responses"
base_url = "{simulator}"
[[providers.models]]
model = "gpt-5.5"
"#;

async fn ask(world: &World, token: &str) -> Option<u16> {
    let body = json!({"model": "gpt-5.5", "input": "hello", "max_output_tokens": 64});
    let sent = world.http.post(format!("{}/v1/responses", world.base_url)).bearer_auth(token).json(&body);
    sent.send().await.ok().map(|answer| answer.status().as_u16())
}

/// Attempts on record: those of holds and further ones.
async fn recorded(world: &World) -> Vec<Attempt> {
    let rows: Vec<Value> = sqlx::query_scalar(
        "select payload -> event.key -> 'attempt' from events, jsonb_each(payload::jsonb) event \
         where event_type in ('wallet.hold_placed', 'wallet.attempt_started') order by position",
    )
    .fetch_all(&world.pool)
    .await
    .expect("events");
    rows.into_iter().map(|row| serde_json::from_value(row).expect("an attempt")).collect()
}

async fn bills(world: &World) -> usize {
    let page = world.http.get(format!("{}/_bills", world.simulator.base_url())).send().await.expect("bills");
    page.json::<Value>().await.expect("JSON")["bills"].as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_an_attempts_record_and_its_dispatch_charges_nothing() {
    let database = TestDatabase::new().await;
    let providers = |simulator: &str| PROVIDERS.replace("{simulator}", simulator);
    let mut world = World::start_at(database.pool.clone(), &[], providers).await;
    let token = world.customers(1).await.remove(0);
    world.kill_service().await;
    let crash_at = format!("{}:1", crash_points::ATTEMPT_RECORDED);
    world.start_service(&[("CODEXAPI_CRASH_AT", &crash_at)]).await;

    assert_eq!(ask(&world, &token).await, None, "nobody was left to answer");
    world.service_crashes().await;
    let on_record: Vec<_> = recorded(&world).await.into_iter().map(|at| (at.number, at.provider)).collect();
    assert_eq!(on_record, [(1, "closed".to_owned()), (2, "open".to_owned())]);
    assert_eq!(bills(&world).await, 0, "what was recorded was not dispatched");

    world.start_service(&[]).await;
    wait_for("the hold is closed", async || {
        world.projected().await;
        (open_holds(&world.pool).await == 0).then_some(())
    })
    .await;
    let books = Books::read(&world.pool).await;
    assert!(books.charged.is_empty() && books.open_holds.is_empty(), "{books:?}");
    assert_eq!(ask(&world, &token).await, Some(200), "the service is as good as before");
    assert_eq!((recorded(&world).await.len(), bills(&world).await), (4, 1));
    world.verifies().await;
}
