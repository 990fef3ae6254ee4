//! What models were used for, brought in and cost.

use chrono::{DateTime, Days};
use chrono_tz::UTC;
use codexapi::clock;
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::{checkpoint, margin};
use http::StatusCode;
use serde_json::json;

use super::Fleet;
use crate::harness::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn usage_of_models_adds_up_to_the_providers_bills() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    for _ in 0..3 {
        assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    }
    fleet.set("/model-health/test", &json!({ "model": "gpt-5.5", "provider": "one" })).await;
    let head: i64 = sqlx::query_scalar("select max(position) from events")
        .fetch_one(&fleet.service.app.pool)
        .await
        .expect("the head");
    let reached = checkpoint::wait_for(&fleet.service.app.pool, "generations", head, PATIENCE);
    assert!(reached.await.expect("readable"));
    let page = fleet.read("/model-usage?timezone=Asia/Kolkata").await;
    let models = page["models"].as_array().expect("models");
    assert_eq!(models.len(), 1, "{page}");
    let used = &models[0];
    assert_eq!((&used["generations"], &used["customerGenerations"]), (&json!(4), &json!(3)));
    let bills = fleet.bills(&fleet.one).await;
    let customers: i64 = bills[..3].iter().filter_map(|bill| bill["output_tokens"].as_i64()).sum();
    assert_eq!(used["tokens"]["output"], customers);
    let amount = |name: &str| used[name].as_i64().expect("an amount");
    assert_eq!(amount("marginMicro"), amount("chargedMicro") - amount("reversedMicro") - amount("costMicro"));
    assert!(amount("checksCostMicro") > 0 && amount("checksCostMicro") < amount("costMicro"));
    assert_eq!(amount("operatorCostMicro"), 0, "a check is no use of a model");
    let now = DateTime::from_timestamp_micros(clock::now().0).expect("a moment").date_naive();
    let (from, to) = (now - Days::new(1), now + Days::new(1));
    let margin = margin::by_model(&fleet.service.app.pool, UTC, from, to).await.expect("read");
    assert_eq!(margin[0].sums.checks_cost_micro.0, amount("checksCostMicro"));
    assert_eq!(margin[0].sums.loss_micro(), MicroUsd::ZERO, "nor is it a loss");
    assert_eq!(fleet.read("/model-usage?from=2020-01-01&to=2020-01-02").await["models"], json!([]));
    assert_eq!(fleet.read("/model-usage?after=gpt-5.5").await["models"], json!([]));
}
