//! The monitor: off until it is switched on, then checking by itself.

use codexapi::health::{CheckClass, Which, history};
use codexapi::processes::health;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use crate::harness::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn the_monitor_checks_every_target_once_it_is_switched_on() {
    let fleet = Fleet::start().await;
    let app = &fleet.service.app;
    let stop = CancellationToken::new();
    let monitor = tokio::spawn(health::run(app.checks.clone(), app.pool.clone(), stop.clone()));
    fleet.set("/claude-provider-health", &json!({ "intervalSecs": 10 })).await;
    assert_eq!(fleet.billed().await, (0, 0));
    fleet.set("/claude-provider-health", &json!({ "enabled": true })).await;
    wait_for("a round of checks", async || {
        let past = history::page(&app.pool, None, None, 10).await.expect("the history");
        (past.len() >= 3).then_some(())
    })
    .await;
    fleet.set("/claude-provider-health", &json!({ "enabled": false })).await;
    let (one, two) = fleet.billed().await;
    assert!(one >= 1 && two >= 2, "{one} {two}");
    stop.cancel();
    monitor.await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_round_at_a_time_runs_on_a_node_and_goes_on_when_nobody_listens() {
    let fleet = Fleet::start().await;
    fleet.script(&fleet.one, 1, json!({ "header_delay_ms": 500 })).await;
    let checks = &fleet.service.app.checks;
    let which = Which { provider: Some("one".into()), ..Which::default() };
    let round = checks.begin(&which, "req_test").await.expect("begun");
    assert_eq!(fleet.refused("/model-health/test", &json!({})).await, (409, "checks_running".into()));
    drop(round);
    let mut next =
        wait_for("the first round's end", async || checks.begin(&which, "req_test").await.ok()).await;
    assert_eq!(next.next().await.map(|checked| checked.class), Some(CheckClass::Ok));
    let past = history::page(&fleet.service.app.pool, None, None, 10).await.expect("the history");
    assert_eq!(past.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_checks_are_forgotten() {
    let fleet = Fleet::start().await;
    fleet.set("/model-health/test", &json!({ "provider": "two" })).await;
    let pool = &fleet.service.app.pool;
    let age =
        "update provider_checks set checked_at = checked_at - interval '31 days' where model = 'gpt-5.5'";
    assert_eq!(sqlx::query(age).execute(pool).await.expect("aged").rows_affected(), 1);
    assert_eq!(history::purge(pool).await.expect("purged"), 1);
    let left = history::page(pool, None, None, 10).await.expect("the history");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].model, "claude-opus-4-8");
}
