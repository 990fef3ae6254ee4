//! A service that is told to stop says what becomes of what it did not finish.

use codexapi_aggregates::money::MicroUsd;
use serde_json::{Value, json};

use super::service::World;
use crate::harness::{TestDatabase, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_background_response_that_the_stop_does_not_wait_for_says_so() {
    let database = TestDatabase::new().await;
    let mut world = World::start_with(database.pool.clone(), &[("CODEXAPI_SHUTDOWN_SECONDS", "1")]).await;
    let token = world.customers(1).await.remove(0);
    let told = r#"go on [[sim:{"output_tokens":5,"delta_count":5,"stall_after":2}]]"#;
    let begun: Value = world
        .http
        .post(format!("{}/v1/responses", world.base_url))
        .bearer_auth(&token)
        .json(&json!({"model": "gpt-5.5", "input": told, "background": true}))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(begun["status"], "queued", "{begun}");
    world.stop_service().await;
    let body: String = sqlx::query_scalar("SELECT body FROM stored_responses")
        .fetch_one(&world.pool)
        .await
        .expect("one response");
    let response: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&response["id"], &response["status"]), (&begun["id"], &json!("failed")));
    assert_eq!(response["error"]["code"], "service_stopped");
    assert_eq!(charged_when_stopped(&mut world, 1).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_stop_does_not_wait_for_is_told_so() {
    let database = TestDatabase::new().await;
    let mut world = World::start_with(database.pool.clone(), &[("CODEXAPI_SHUTDOWN_SECONDS", "1")]).await;
    let token = world.customers(1).await.remove(0);
    let ask = |stream: bool, told: &str| {
        let body = json!({"model": "gpt-5.5", "input": format!("go on [[sim:{told}]]"), "stream": stream});
        let request = world.http.post(format!("{}/v1/responses", world.base_url)).bearer_auth(&token);
        tokio::spawn(async move {
            let answer = request.json(&body).send().await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("whole"))
        })
    };
    let begun = ask(true, r#"{"output_tokens":5,"delta_count":5,"stall_after":2}"#);
    let silent = r#"{"output_tokens":5,"first_byte_delay_ms":60000}"#;
    let (waiting, whole) = (ask(true, silent), ask(false, silent));
    wait_for("three holds", async || (count(&world, "wallet.hold_placed").await == 3).then_some(())).await;
    world.stop_service().await;
    for (streamed, of_it) in [(begun, "output_text.delta"), (waiting, "server_error")] {
        let (status, text) = streamed.await.expect("read");
        assert_eq!(status, 200, "{text}");
        assert!(text.contains(of_it) && text.contains("response.failed"), "{text}");
        assert!(text.contains("the service was stopped"), "{text}");
    }
    let (status, text) = whole.await.expect("read");
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("service_stopped") && text.contains("nothing was charged"), "{text}");
    assert_eq!(charged_when_stopped(&mut world, 3).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_credit_or_has_left_is_not_waited_for_either() {
    let database = TestDatabase::new().await;
    let settings = [("CODEXAPI_SHUTDOWN_SECONDS", "1"), ("CODEXAPI_LEAK_FLOOR_USD", "0")];
    let mut world = World::start_with(database.pool.clone(), &settings).await;
    // Enough for one answer at its longest.
    let token = world.customers_with(1, MicroUsd::dollars(5)).await.remove(0);
    let ask = |stream: bool, told: &str| {
        let input = format!("go on [[sim:{told}]]");
        let body =
            json!({"model": "gpt-5.5", "input": input, "stream": stream, "max_output_tokens": 128_000});
        world.http.post(format!("{}/v1/responses", world.base_url)).bearer_auth(&token).json(&body)
    };
    let mut left =
        ask(true, r#"{"output_tokens":5,"delta_count":5,"stall_after":2}"#).send().await.expect("begun");
    left.chunk().await.expect("read").expect("a beginning");
    drop(left);
    let waiting = [true, false].map(|stream| tokio::spawn(ask(stream, r#"{"output_tokens":5}"#).send()));
    wait_for("two wait", async || {
        let waiting = world.metric(&world.metrics_url(), "codexapi_waiting_requests").await;
        (waiting == Some(2)).then_some(())
    })
    .await;
    world.stop_service().await;
    for answer in waiting {
        let answer = answer.await.expect("asked").expect("an answer");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("whole"));
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("service_stopped"), "{text}");
    }
    // What came for who had left is his, as it is where a drain takes too long.
    assert!(charged_when_stopped(&mut world, 1).await > 0);
}

/// The stop has ended every hold itself, and the next start finds nothing to expire.
async fn charged_when_stopped(world: &mut World, holds: i64) -> i64 {
    let charged: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum((payload->'UsageCharged'->>'charged_micro')::bigint), 0)::bigint FROM events
         WHERE event_type = 'wallet.usage_charged'",
    )
    .fetch_one(&world.pool)
    .await
    .expect("summed");
    world.start_service(&[]).await;
    world.verifies().await;
    let ended = count(world, "wallet.usage_charged").await + count(world, "wallet.hold_released").await;
    assert_eq!((count(world, "wallet.hold_placed").await, ended), (holds, holds));
    assert_eq!(count(world, "wallet.hold_expired").await, 0);
    charged
}

async fn count(world: &World, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(&world.pool)
        .await
        .expect("counted")
}
