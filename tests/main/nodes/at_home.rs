//! Commands that reach their wallet's home.

use std::time::Instant;

use codexapi::commands::CommandError;
use codexapi::nodes::command::NodeCommand;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::WalletRefusal;
use http::StatusCode;
use http::header::AUTHORIZATION;

use super::pair::{Pair, database_clock, key};
use crate::harness::{PATIENCE, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_held_and_settled_by_its_wallets_home() {
    let pair = Pair::start(PATIENCE).await;
    let [asked, home] = &pair.nodes;
    // On a machine that stands still for a moment a command comes late; another does not.
    let hold = wait_for("a hold is placed by the home", async || {
        let hold = pair.hold();
        asked.homes.run(&hold).await.outcome.expect("held");
        (asked.homes.ran("forwarded") > 0).then_some(hold)
    })
    .await;
    assert!(home.homes.ran("for_another") > 0);
    let settled = asked.homes.run(&pair.settle(&hold)).await.outcome.expect("settled");
    assert!(settled.charged_micro.is_positive());
    let again = home.homes.run(&pair.settle(&hold)).await.outcome.expect("settled before");
    assert!(again.repeated, "the home knows it");
    assert_eq!(home.homes.ran("here"), 1, "for the home itself nothing travels");
    assert_eq!(pair.wallet_events().await.last().map(String::as_str), Some("wallet.usage_charged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homes_refusal_comes_with_its_numbers() {
    let pair = Pair::start(PATIENCE).await;
    let mut hold = pair.hold();
    hold.hold.input_tokens = 100_000_000;
    let refused = pair.nodes[0].homes.run(&hold).await.outcome.expect_err("too dear");
    let CommandError::Refused(WalletRefusal::InsufficientCredit { available, requested }) = refused else {
        panic!("{refused}")
    };
    assert_eq!(available, MicroUsd::dollars(10));
    assert!(requested > available);
    assert_eq!(pair.wallet_events().await, ["wallet.credit_granted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_one_node_is_woken_when_another_frees_the_credit() {
    let pair = Pair::start(PATIENCE).await;
    for waits_on in [0, 1] {
        let (waiting, other) = (&pair.nodes[waits_on], &pair.nodes[1 - waits_on]);
        // More than half of the balance each, beyond any leak limit together.
        let [mut first, mut second] = [pair.hold(), pair.hold()];
        for hold in [&mut first, &mut second] {
            hold.hold.input_tokens = 1_200_000;
        }
        other.homes.run(&first).await.outcome.expect("held");
        let waiter = waiting.waits_for(&second);
        let frees = async {
            wait_for("it waits", async || (waiting.admission.waiting() == 1).then_some(())).await;
            other.homes.run(&pair.settle(&first)).await.outcome.expect("settled");
        };
        let both = async { tokio::join!(waiter, frees) };
        tokio::time::timeout(PATIENCE, both).await.expect("it was woken");
        other.homes.run(&pair.settle(&second)).await.outcome.expect("settled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_too_late_is_not_decided() {
    let pair = Pair::start(PATIENCE).await;
    let late = pair.hold().run(&pair.nodes[1].log, Some(Instant::now())).await.expect_err("late");
    assert!(matches!(late, CommandError::Unavailable { outcome_unknown: false, .. }), "{late}");
    assert_eq!(pair.wallet_events().await, ["wallet.credit_granted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_runs_nothing_that_its_deployment_has_not_signed() {
    let pair = Pair::start(PATIENCE).await;
    let home = &pair.nodes[1];
    let client = codexapi::tls::http_client_builder().no_proxy().build().expect("a client");
    let hold = pair.hold();
    let body = serde_json::to_vec(&hold).expect("JSON");
    let send = async |path: &str, authorization: Option<String>, body: Vec<u8>| {
        let mut request = client.post(format!("http://{}/{path}", home.address)).body(body);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // What is refused unread is closed, which may reach the client before the answer does.
        let answer = async || request.try_clone().expect("a body in memory").send().await.ok();
        wait_for("an answer", answer).await.status()
    };
    assert_eq!(send("hold", None, body.clone()).await, StatusCode::UNAUTHORIZED);
    let bearer = Some("Bearer cdx-admin-static-for-tests-0001".to_owned());
    assert_eq!(send("hold", bearer, body.clone()).await, StatusCode::UNAUTHORIZED);
    let to_another = key().sign(pair.nodes[0].incarnation, "hold", &body, database_clock().now());
    assert_eq!(send("hold", Some(to_another.header()), body.clone()).await, StatusCode::UNAUTHORIZED);
    let long_ago = codexapi_aggregates::time::Timestamp(database_clock().now().0 - 60_000_000);
    let late = key().sign(home.incarnation, "hold", &body, long_ago);
    assert_eq!(send("hold", Some(late.header()), body.clone()).await, StatusCode::REQUEST_TIMEOUT);
    let nonsense = b"{}".to_vec();
    let signed = key().sign(home.incarnation, "hold", &nonsense, database_clock().now()).header();
    assert_eq!(send("hold", Some(signed), nonsense).await, StatusCode::UNPROCESSABLE_ENTITY);
    let too_large = vec![b' '; 2 * 1024 * 1024];
    let signed = key().sign(home.incarnation, "hold", &too_large, database_clock().now()).header();
    assert_eq!(send("hold", Some(signed), too_large).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(send("v1/responses", None, body).await, StatusCode::NOT_FOUND);
    assert_eq!(home.homes.ran("for_another"), 0);
    assert_eq!(pair.wallet_events().await, ["wallet.credit_granted"]);
}
