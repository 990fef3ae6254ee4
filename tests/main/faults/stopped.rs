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
    // Nothing is charged for it: the next start ends the hold.
    world.start_service(&[]).await;
    wait_for("an expired hold", async || {
        let expired: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'wallet.hold_expired'")
                .fetch_one(&world.pool)
                .await
                .expect("counted");
        (expired == 1).then_some(())
    })
    .await;
    world.verifies().await;
}
