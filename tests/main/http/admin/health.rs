//! Checks of providers: real generations at the operator's cost, whose fate is the circuit's.

use codexapi_aggregates::ids::KeyId;
use codexapi_aggregates::usage::TokenUsage;
use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;

const HEALTH: &str = "/claude-provider-health";
const CHECK_NOW: &str = "/claude-provider-health/check-now";

/// A prompt whose answer the simulator bills in round numbers.
fn prompt() -> String {
    let directive = json!({ "input_tokens": 1_000, "output_tokens": 10, "tag": "check" });
    format!("Reply with the word OK. [[sim:{directive}]]")
}

fn of<'a>(results: &'a Value, provider: &str, model: &str) -> &'a Value {
    let results = results["results"].as_array().expect("results");
    let found = results.iter().find(|one| one["provider"] == provider && one["model"] == model);
    found.unwrap_or_else(|| panic!("no {model} at {provider}: {results:?}"))
}

async fn standing(fleet: &Fleet, provider: &str) -> String {
    let health = fleet.read(HEALTH).await;
    let targets = health["targets"].as_array().expect("targets").clone();
    let target =
        targets.into_iter().find(|one| one["provider"] == provider && one["upstreamModel"] == "gpt-5.5");
    target.expect("the target")["circuit"]["standing"].as_str().expect("a circuit").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_recorded_at_the_operators_cost_and_that_is_the_providers_bill() {
    let fleet = Fleet::start().await;
    fleet.set(HEALTH, &json!({ "prompt": prompt() })).await;
    let results = fleet.set(CHECK_NOW, &json!({})).await;
    assert_eq!((&results["ok"], &results["notOk"], &results["running"]), (&json!(3), &json!(0), &json!(0)));
    let models = fleet.read("/models").await;
    let cost = |model: &str| {
        let models = models["models"].as_array().expect("models");
        let card = &models.iter().find(|one| one["model"] == model).expect(model)["card"]["cost"];
        let rate = |name: &str| card[name].as_i64().expect("a rate");
        (1_000 * rate("inputMicro") + 10 * rate("outputMicro")) / 1_000_000
    };
    for (provider, model) in [("one", "gpt-5.5"), ("two", "gpt-5.5"), ("two", "claude-opus-4-8")] {
        assert_eq!(of(&results, provider, model)["costMicro"], cost(model), "{model} at {provider}");
    }
    assert_eq!(results["costMicro"], 2 * cost("gpt-5.5") + cost("claude-opus-4-8"));
    let bills = [fleet.bills(&fleet.one).await, fleet.bills(&fleet.two).await].concat();
    assert_eq!(bills.len(), 3);
    assert!(bills.iter().all(|bill| bill["tag"] == "check" && bill["output_tokens"] == 10));

    let settled = fleet.events("usage.generation_settled").await;
    let events: Vec<&Value> = settled.iter().map(|(_, payload)| &payload["GenerationSettled"]).collect();
    assert_eq!(events.len(), 3);
    let total: i64 = events.iter().filter_map(|event| event["provider_cost_micro"].as_i64()).sum();
    assert_eq!(results["costMicro"], total);
    assert!(events.iter().all(|event| event["payer"] == "operator" && event["charged_micro"] == 0));
    assert!(settled.iter().all(|(actor, _)| *actor == format!("key:{}", KeyId::CHECKS)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_told_soon_and_leaves_no_generation_open() {
    let mut fleet = Fleet::start().await;
    fleet.one.stop().await.expect("stopped");
    let results = fleet.set("/model-health/test", &json!({ "provider": "one" })).await;
    let down = of(&results, "one", "gpt-5.5");
    assert_eq!((&down["ok"], &down["class"]), (&json!(false), &json!("not_reached")), "{down}");
    assert!(down["error"].as_str().is_some_and(|error| error.contains("not available")), "{down}");
    assert_eq!(down["costMicro"], Value::Null);
    let released = fleet.events("usage.generation_released").await;
    assert_eq!((released.len(), fleet.events("usage.generation_opened").await.len()), (1, 1));
    let generation = released[0].1["GenerationReleased"]["generation_id"].as_str().expect("an id").to_owned();
    let log = &fleet.service.app.log;
    let open = |usage: &TokenUsage| serde_json::to_value(usage).expect("JSON")["open"].clone();
    let open = log.read(&format!("operator:{generation}"), open).await.expect("read");
    assert_eq!(open, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_opens_the_circuit_and_a_good_one_closes_it() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    fleet.set(HEALTH, &json!({ "failuresToOpen": 1 })).await;
    // The policy's number counts from the next request on.
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    fleet.script(&fleet.one, 1, json!({ "error": { "status": 500 } })).await;
    let only_one = json!({ "provider": "one", "model": "gpt-5.5" });
    let failed = fleet.set(CHECK_NOW, &only_one).await;
    assert_eq!(of(&failed, "one", "gpt-5.5")["class"], "failed");
    assert_eq!(standing(&fleet, "one").await, "open");
    let before = fleet.billed().await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    assert_eq!(fleet.billed().await, (before.0, before.1 + 1), "the other provider serves meanwhile");

    let good = fleet.set(CHECK_NOW, &only_one).await;
    assert_eq!(of(&good, "one", "gpt-5.5")["class"], "ok");
    assert_eq!(standing(&fleet, "one").await, "closed");
    fleet.script(&fleet.one, 1, json!({ "error": { "status": 500 } })).await;
    fleet.set(CHECK_NOW, &only_one).await;
    assert_eq!(standing(&fleet, "one").await, "open");
    assert_eq!(
        fleet.refused("/claude-provider-health/wake", &json!({ "provider": "x" })).await.1,
        "unknown_provider"
    );
    fleet.set("/claude-provider-health/wake", &json!({ "provider": "one" })).await;
    assert_eq!(standing(&fleet, "one").await, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_say_what_went_wrong_and_a_late_answer_is_slow() {
    let fleet = Fleet::start().await;
    let only_one = json!({ "provider": "one", "model": "gpt-5.5" });
    for (status, class) in [(401, "refused"), (429, "overloaded"), (500, "failed"), (400, "bad_request")] {
        let retry_after = if status == 429 { json!(60) } else { Value::Null };
        let error =
            json!({ "error": { "status": status, "message": "told so", "retry_after": retry_after } });
        fleet.script(&fleet.one, 1, error).await;
        let results = fleet.set("/model-health/test", &only_one).await;
        assert_eq!(of(&results, "one", "gpt-5.5")["class"], class, "{results}");
    }
    fleet.set(HEALTH, &json!({ "latencyThresholdMs": 100 })).await;
    fleet.script(&fleet.one, 1, json!({ "header_delay_ms": 150 })).await;
    let results = fleet.set("/model-health/test", &only_one).await;
    let slow = of(&results, "one", "gpt-5.5");
    assert_eq!((&slow["class"], &slow["ok"]), (&json!("slow"), &json!(false)));
    assert!(slow["costMicro"].as_i64() > Some(0));
    let health = fleet.read(HEALTH).await;
    let rates = &health["targets"][0]["lastHour"];
    assert_eq!((&rates["checks"], &rates["slow"], &rates["failed"]), (&json!(5), &json!(1), &json!(4)));
    assert_eq!(rates["notOkBasisPoints"], 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_shown_page_by_page_newest_first() {
    let fleet = Fleet::start().await;
    for _ in 0..3 {
        fleet.set(CHECK_NOW, &json!({ "model": "gpt-5.5" })).await;
    }
    let whole = fleet.read(&format!("{HEALTH}?limit=200")).await["history"].clone();
    assert_eq!(whole.as_array().map(Vec::len), Some(6));
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = fleet.read(&format!("{HEALTH}?limit=4{cursor}")).await;
        seen.extend(page["history"].as_array().expect("history").clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(json!(seen), whole);
    assert!(seen.iter().all(|entry| entry["node"] == "node-1" && entry["ok"] == true));
    let two = fleet.read(&format!("{HEALTH}?provider=two")).await;
    assert_eq!(two["history"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        fleet.refused(CHECK_NOW, &json!({ "model": "no-such" })).await,
        (400, "nothing_to_check".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_and_what_is_left_out_stays() {
    let fleet = Fleet::start().await;
    let changed =
        fleet.set(HEALTH, &json!({ "intervalSecs": 60, "asleepUntil": "2099-01-01T00:00:00Z" })).await;
    assert_eq!((&changed["settings"]["intervalSecs"], &changed["awake"]), (&json!(60), &json!(false)));
    let changed = fleet.set(HEALTH, &json!({ "enabled": true })).await;
    assert_eq!((&changed["settings"]["intervalSecs"], &changed["awake"]), (&json!(60), &json!(false)));
    let woken = fleet.set("/claude-provider-health/wake", &json!({})).await;
    assert_eq!((&woken["awake"], &woken["settings"]["asleepUntil"]), (&json!(true), &Value::Null));
    let cases = [
        (json!({ "intervalSecs": 9 }), "out_of_range"),
        (json!({ "failuresToOpen": 0 }), "out_of_range"),
        (json!({ "prompt": "" }), "prompt_length"),
        (json!({ "asleepUntil": "2001-01-01T00:00:00Z" }), "asleep_in_the_past"),
        (json!({ "enabled": "yes" }), "invalid_body"),
    ];
    for (body, code) in cases {
        assert_eq!(fleet.refused(HEALTH, &body).await, (400, code.to_owned()), "{body}");
    }
    assert_eq!(fleet.events("routing.health_settings_set").await.len(), 2);
    assert_eq!(fleet.events("routing.health_monitor_woken").await[0].0, "operator:static-admin-1");
}
