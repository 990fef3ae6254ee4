//! A service that is told to stop says what becomes of what it did not finish.

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
    costs_nothing(&mut world, 1).await;
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
    costs_nothing(&mut world, 3).await;
}

/// The stop has ended every hold itself, and the next start finds nothing to expire.
async fn costs_nothing(world: &mut World, holds: i64) {
    let charged: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum((payload->'UsageCharged'->>'charged_micro')::bigint), 0)::bigint FROM events
         WHERE event_type = 'wallet.usage_charged'",
    )
    .fetch_one(&world.pool)
    .await
    .expect("summed");
    assert_eq!(charged, 0);
    world.start_service(&[]).await;
    world.verifies().await;
    let ended = count(world, "wallet.usage_charged").await + count(world, "wallet.hold_released").await;
    assert_eq!((count(world, "wallet.hold_placed").await, ended), (holds, holds));
    assert_eq!(count(world, "wallet.hold_expired").await, 0);
}

async fn count(world: &World, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(&world.pool)
        .await
        .expect("counted")
}
