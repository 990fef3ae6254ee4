//! Nothing says *finished* before it is paid, and what could not be paid in time is free (§ 3).

use std::sync::Arc;
use std::time::Duration;

use codexapi_aggregates::usage::Protocol;
use futures::StreamExt;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::asking::{Ask, PROTOCOLS, read, says_finished};
use super::{Customer, Deployment, INPUT_RATE, OUTPUT_RATE};
use crate::harness::{PATIENCE, wait_for};

/// The event log's lock, which every append takes first.
const APPEND_LOCK: i64 = 7_263_542_001;

const BALANCE: i64 = 1_000_000;
const DELTAS: i64 = 20;
const COST: i64 = 100 * INPUT_RATE + DELTAS * OUTPUT_RATE;

/// Postgres takes no append while this lives.
struct Paused(PgConnection);

impl Paused {
    async fn new(deployment: &Deployment) -> Self {
        let mut connection =
            PgConnection::connect_with(&deployment.app.pool.connect_options()).await.expect("connected");
        sqlx::query("select pg_advisory_lock($1)")
            .bind(APPEND_LOCK)
            .execute(&mut connection)
            .await
            .expect("locked");
        Self(connection)
    }

    async fn end(self) {
        self.0.close().await.expect("unlocked");
    }
}

/// An answer slow enough to be overtaken by the pause: its end is a second after its beginning.
fn slow(protocol: Protocol, stream: bool) -> Ask {
    let told = json!({
        "input_tokens": 100, "output_tokens": DELTAS, "delta_count": DELTAS, "delta_text": "tok ",
        "chunk_delay_ms": 50, "tag": format!("{protocol:?} {stream}"),
    });
    // A body that comes whole is delayed as a whole.
    let told = if stream {
        told
    } else {
        let mut told = told;
        told["header_delay_ms"] = 500.into();
        told
    };
    Ask::new(protocol, stream, 64, &told)
}

/// Waits until the simulator has billed the whole answer.
async fn billed(deployment: &Deployment, protocol: Protocol, stream: bool) {
    let tag = format!("{protocol:?}%20{stream}");
    wait_for("the provider's bill", async || (!deployment.bills(&tag).await.is_empty()).then_some(())).await;
}

async fn a_stream_waits(deployment: &Deployment, customer: &Customer, protocol: Protocol) {
    let mut pieces = slow(protocol, true).send(deployment, &customer.token).await.bytes_stream();
    let mut text = String::new();
    while !text.contains("tok ") {
        text += std::str::from_utf8(&pieces.next().await.expect("more").expect("read")).expect("text");
    }
    let paused = Paused::new(deployment).await;
    billed(deployment, protocol, true).await;
    // All deltas come through; what follows them does not.
    while text.matches("tok ").count() < DELTAS as usize {
        let piece = tokio::time::timeout(PATIENCE, pieces.next()).await.expect("deltas pass");
        text += std::str::from_utf8(&piece.expect("more").expect("read")).expect("text");
    }
    let more = tokio::time::timeout(Duration::from_millis(300), pieces.next()).await;
    if let Ok(Some(Ok(piece))) = &more {
        text += std::str::from_utf8(piece).expect("text");
    }
    assert!(!says_finished(protocol, &text), "told before it was durable: {text}");
    assert_eq!(deployment.bills(&format!("{protocol:?}%20true")).await.len(), 1);
    paused.end().await;
    while let Some(piece) = pieces.next().await {
        text += std::str::from_utf8(&piece.expect("read")).expect("text");
    }
    assert!(says_finished(protocol, &text), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stream_waits_for_the_settlement() {
    let deployment = Deployment::start(&[]).await;
    for protocol in PROTOCOLS {
        let customer = deployment.customer(BALANCE).await;
        a_stream_waits(&deployment, &customer, protocol).await;
        let ledger = deployment.ledger(customer.account_id).await;
        assert_eq!(ledger.only_settlement().charged_micro.0, COST);
    }
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_whole_waits_for_the_settlement() {
    let deployment = Arc::new(Deployment::start(&[]).await);
    for protocol in PROTOCOLS {
        let customer = deployment.customer(BALANCE).await;
        let asked = tokio::spawn({
            let (deployment, customer) = (Arc::clone(&deployment), customer.clone());
            async move { slow(protocol, false).run(&deployment, &customer).await }
        });
        held(&deployment, &customer).await;
        let paused = Paused::new(&deployment).await;
        billed(&deployment, protocol, false).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!asked.is_finished(), "answered before it was durable");
        paused.end().await;
        let told = asked.await.expect("no panic");
        assert_eq!(told.status, 200, "{}", told.text);
        assert_eq!(deployment.ledger(customer.account_id).await.only_settlement().charged_micro.0, COST);
    }
}

/// Waits until the customer's hold is durable.
async fn held(deployment: &Deployment, customer: &Customer) {
    let placed = "select count(*) from events where event_type = 'wallet.hold_placed' and aggregate_id = $1";
    wait_for("a hold", async || {
        let count: i64 = sqlx::query_scalar(placed)
            .bind(customer.account_id.to_string())
            .fetch_one(&deployment.app.pool)
            .await
            .expect("counted");
        (count > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_settled_in_time_is_told_as_failed_and_costs_nothing() {
    let deployment = Arc::new(Deployment::start(&[("CODEXAPI_SETTLE_SECONDS", "1")]).await);
    for protocol in PROTOCOLS {
        for stream in [true, false] {
            let customer = deployment.customer(BALANCE).await;
            let asked = tokio::spawn({
                let (deployment, customer) = (Arc::clone(&deployment), customer.clone());
                async move { read(slow(protocol, stream).send(&deployment, &customer.token).await).await }
            });
            held(&deployment, &customer).await;
            let paused = Paused::new(&deployment).await;
            let told = asked.await.expect("no panic");
            paused.end().await;
            assert!(!told.is_success(protocol, stream), "{}", told.text);
            assert_eq!(told.status, if stream { 200 } else { 503 });
            assert!(told.text.contains("nothing was charged"), "{}", told.text);
            deployment.settled(customer.account_id).await;
            let balance = || deployment.balance(customer.account_id);
            wait_for("the whole balance", async || (balance().await == BALANCE).then_some(())).await;
        }
    }
    wait_for("no ending under way", async || {
        (deployment.app.gateway.settlements().unfinished() == 0).then_some(())
    })
    .await;
    deployment.verify().await;
}
