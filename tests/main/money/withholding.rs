//! Nothing says *finished* before it is paid, and what could not be paid in time is free (§ 3).

use std::sync::Arc;
use std::time::Duration;

use codexapi_aggregates::usage::Protocol;
use futures::StreamExt;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use super::asking::{Ask, PROTOCOLS, Told, read, says_finished};
use super::{Customer, Deployment, INPUT_RATE, OUTPUT_RATE};
use crate::harness::{PATIENCE, wait_for};
use crate::routing::heard::check_failure;

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

    /// Waits for the customer's hold and pauses; `None` where the generation has ended by then.
    async fn before_the_end(deployment: &Deployment, customer: &Customer) -> Option<Self> {
        deployment.held(customer.account_id).await;
        let paused = Self::new(deployment).await;
        let ended = deployment.count("wallet.usage_charged", customer.account_id).await > 0;
        if ended {
            paused.end().await;
            return None;
        }
        Some(paused)
    }

    async fn end(self) {
        self.0.close().await.expect("unlocked");
    }
}

/// Milliseconds between two tokens. The next is tried where the answer ended before the pause began.
const PACES: [u64; 4] = [40, 160, 640, 2_560];

/// An answer that takes `DELTAS` times `pace` milliseconds, or comes whole after as long.
fn slow(protocol: Protocol, stream: bool, pace: u64) -> Ask {
    let delay = if stream { ("chunk_delay_ms", pace) } else { ("header_delay_ms", pace * DELTAS as u64) };
    let mut told = json!({
        "input_tokens": 100, "output_tokens": DELTAS, "delta_count": DELTAS, "tag": tag(protocol, stream, pace),
    });
    told[delay.0] = delay.1.into();
    Ask::new(protocol, stream, 64, &told)
}

fn tag(protocol: Protocol, stream: bool, pace: u64) -> String {
    format!("{protocol:?}-{stream}-{pace}")
}

/// Waits until the simulator has billed the whole answer.
async fn billed(deployment: &Deployment, tag: &str) {
    wait_for("the provider's bill", async || (!deployment.bills(tag).await.is_empty()).then_some(())).await;
}

/// `false` where the answer ended before the pause began.
async fn a_stream_waits(deployment: &Deployment, customer: &Customer, protocol: Protocol, pace: u64) -> bool {
    let mut pieces = slow(protocol, true, pace).send(deployment, &customer.token).await.bytes_stream();
    let mut text = String::new();
    let Some(paused) = Paused::before_the_end(deployment, customer).await else { return false };
    billed(deployment, &tag(protocol, true, pace)).await;
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
    paused.end().await;
    while let Some(piece) = pieces.next().await {
        text += std::str::from_utf8(&piece.expect("read")).expect("text");
    }
    assert!(says_finished(protocol, &text), "{text}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stream_waits_for_the_settlement() {
    let deployment = Deployment::start(&[]).await;
    for protocol in PROTOCOLS {
        let mut seen = false;
        for pace in PACES {
            let customer = deployment.customer(BALANCE).await;
            seen = a_stream_waits(&deployment, &customer, protocol, pace).await;
            let ledger = deployment.ledger(customer.account_id).await;
            assert_eq!(ledger.only_settlement().charged_micro.0, COST);
            if seen {
                break;
            }
        }
        assert!(seen, "no answer was slow enough");
    }
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_settlement_is_not_left_in_silence() {
    let deployment = Arc::new(Deployment::start(&[]).await);
    let (customer, asked, paused, tag) = asked_and_paused(&deployment, Protocol::Responses, true).await;
    billed(&deployment, &tag).await;
    // A little longer than a client hears nothing.
    tokio::time::sleep(Duration::from_secs(16)).await;
    paused.end().await;
    let told = asked.await.expect("no panic");
    assert!(told.is_success(Protocol::Responses, true), "{}", told.text);
    assert!(told.text.contains(": keepalive\n\nevent: response.completed\n"), "{}", told.text);
    assert_eq!(deployment.ledger(customer.account_id).await.only_settlement().charged_micro.0, COST);
    deployment.verify().await;
}

/// Pauses the log before the end of an answer; its task, and the pause.
async fn asked_and_paused(
    deployment: &Arc<Deployment>,
    protocol: Protocol,
    stream: bool,
) -> (Customer, JoinHandle<Told>, Paused, String) {
    for pace in PACES {
        let customer = deployment.customer(BALANCE).await;
        let asked = tokio::spawn({
            let (deployment, token) = (Arc::clone(deployment), customer.token.clone());
            async move { read(slow(protocol, stream, pace).send(&deployment, &token).await).await }
        });
        if let Some(paused) = Paused::before_the_end(deployment, &customer).await {
            return (customer, asked, paused, tag(protocol, stream, pace));
        }
    }
    panic!("no answer was slow enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_whole_waits_for_the_settlement() {
    let deployment = Arc::new(Deployment::start(&[]).await);
    for protocol in PROTOCOLS {
        let (customer, asked, paused, tag) = asked_and_paused(&deployment, protocol, false).await;
        billed(&deployment, &tag).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!asked.is_finished(), "answered before it was durable");
        paused.end().await;
        let told = asked.await.expect("no panic");
        assert_eq!(told.status, 200, "{}", told.text);
        assert_eq!(deployment.ledger(customer.account_id).await.only_settlement().charged_micro.0, COST);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_settled_in_time_is_told_as_failed_once_it_is_certain_to_cost_nothing() {
    let deployment = Arc::new(Deployment::start(&[("CODEXAPI_SETTLE_SECONDS", "1")]).await);
    for (protocol, stream) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, true), (protocol, false)])
    {
        let (customer, asked, paused, tag) = asked_and_paused(&deployment, protocol, stream).await;
        billed(&deployment, &tag).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!asked.is_finished(), "told while a charge might be stored");
        paused.end().await;
        let told = asked.await.expect("no panic");
        assert!(!told.is_success(protocol, stream), "{}", told.text);
        assert_eq!(told.status, if stream { 200 } else { 503 });
        assert!(told.text.contains("nothing was charged"), "{}", told.text);
        check_failure(protocol, &told);
        deployment.settled(customer.account_id).await;
        let balance = || deployment.balance(customer.account_id);
        wait_for("the whole balance", async || (balance().await == BALANCE).then_some(())).await;
    }
    wait_for("no ending under way", async || {
        (deployment.app.gateway.settlements().unfinished() == 0).then_some(())
    })
    .await;
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_stays_in_doubt_is_told_as_failed_and_costs_nothing_once_the_log_is_back() {
    let limits = [("CODEXAPI_SETTLE_SECONDS", "1"), ("CODEXAPI_IN_DOUBT_SECONDS", "1")];
    let deployment = Arc::new(Deployment::start(&limits).await);
    let (customer, asked, paused, _) = asked_and_paused(&deployment, Protocol::Responses, false).await;
    let told = tokio::time::timeout(PATIENCE, asked).await.expect("told while the log stands still");
    let told = told.expect("no panic");
    assert_eq!(told.status, 503, "{}", told.text);
    assert!(told.text.contains("nothing was charged"), "{}", told.text);
    assert_eq!(deployment.app.gateway.settlements().unfinished(), 1, "one ending, counted once");
    paused.end().await;
    deployment.settled(customer.account_id).await;
    wait_for("the whole balance", async || {
        (deployment.balance(customer.account_id).await == BALANCE).then_some(())
    })
    .await;
    wait_for("no ending under way", async || {
        (deployment.app.gateway.settlements().unfinished() == 0).then_some(())
    })
    .await;
    deployment.verify().await;
}
