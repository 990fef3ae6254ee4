//! Maintenance: in the operator's words, ended by the operator or by itself.

use chrono::{DateTime, TimeDelta};
use codexapi::clock;
use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;
use crate::harness::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_turns_requests_away_until_it_is_cleared() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    let set = fleet.set("/maintenance-mode", &json!({ "active": true, "message": "Back at noon." })).await;
    assert_eq!(set["state"]["message"], "Back at noon.");
    let (status, refused) = fleet.ask(&token, "gpt-5.5", "c").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused["error"]["message"], "Back at noon.");
    let cleared = fleet.set("/maintenance-mode", &json!({ "active": false })).await;
    assert_eq!(cleared["state"], json!({ "active": false, "message": null, "until": null }));
    assert_eq!(fleet.set("/maintenance-mode", &json!({ "active": false })).await["positions"], json!([]));
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let actors =
        [fleet.events("service.maintenance_set").await, fleet.events("service.maintenance_cleared").await];
    assert!(actors.iter().flatten().all(|(actor, _)| actor == "operator:static-admin-1"));
    assert_eq!(actors.map(|events| events.len()), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_with_an_end_ends_by_itself() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    let now = DateTime::from_timestamp_micros(clock::now().0).expect("a moment");
    let until = now + TimeDelta::seconds(2);
    fleet.set("/maintenance-mode", &json!({ "active": true, "message": "A moment.", "until": until })).await;
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::SERVICE_UNAVAILABLE);
    wait_for("the end of maintenance", async || {
        (fleet.ask(&token, "gpt-5.5", "c").await.0 == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(fleet.read("/maintenance-mode").await["active"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_wants_words_and_an_end_that_is_to_come() {
    let fleet = Fleet::start().await;
    let past = "2001-01-01T00:00:00Z";
    let cases: [(Value, &str); 6] = [
        (json!({ "active": true }), "message_missing"),
        (json!({ "active": true, "message": "" }), "message_length"),
        (json!({ "active": true, "message": "x".repeat(501) }), "message_length"),
        (json!({ "active": true, "message": "x", "until": past }), "ends_in_the_past"),
        (json!({ "active": false, "message": "x" }), "nothing_to_say"),
        (json!({ "active": true, "message": "x", "until": "soon" }), "invalid_body"),
    ];
    for (body, code) in cases {
        assert_eq!(fleet.refused("/maintenance-mode", &body).await, (400, code.to_owned()), "{body}");
    }
    assert!(fleet.events("service.maintenance_set").await.is_empty());
}
