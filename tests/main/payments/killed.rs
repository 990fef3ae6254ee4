//! Row 9, with kill -9: the service dies at every step between Stripe's word and the answer to it.

use codexapi::clock;
use codexapi::config::Config;
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi::payments::Payments;
use codexapi::payments::checkout::Checkout;
use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::ids::{AccountId, NodeIncarnation};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Purpose;
use codexapi_aggregates::wallet::Wallet;
use serde_json::{Value, json};
use sqlx::ConnectOptions;

use super::{CREDIT, Dice, KEY, SECRET, Stripe, open};
use crate::faults::service::World;
use crate::harness::{TestDatabase, wait_for};

/// A payment of a new account's, started by another process than the one that is killed.
async fn start(world: &World, stripe: &Stripe) -> (AccountId, Checkout) {
    let url = world.pool.connect_options().to_url_lossy().to_string();
    let digest_key = "5a".repeat(32);
    let config = Config::from_pairs([
        ("DATABASE_URL", url.as_str()),
        ("NATS_URL", "nats://127.0.0.1:9"),
        ("CODEXAPI_TOKEN_DIGEST_KEY", digest_key.as_str()),
        ("CODEXAPI_STRIPE_SECRET_KEY", KEY),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", SECRET),
        ("CODEXAPI_STRIPE_API_BASE", stripe.fake.base_url()),
    ])
    .expect("good settings");
    let log = log(world).await;
    let payments = Payments::new(&config.stripe, log, world.pool.clone(), config.wallet.terms());
    let payments = payments.expect("set up").expect("payments are taken");
    let account_id = AccountId(clock::new_id());
    (account_id, open(&payments, account_id, Purpose::TokenCredit { credit_micro: CREDIT }).await)
}

async fn log(world: &World) -> EventLog {
    let node = NodeIncarnation(clock::new_id());
    EventLog::open(world.pool.clone(), EventLogOptions::new(node)).await.expect("the log")
}

async fn net(world: &World, account_id: AccountId) -> MicroUsd {
    let look = |wallet: &Wallet| wallet.balance() - wallet.debt();
    log(world).await.read(&account_id.to_string(), look).await.expect("read")
}

async fn world(stripe: &Stripe) -> (TestDatabase, World) {
    let database = TestDatabase::new().await;
    let settings = [
        ("CODEXAPI_STRIPE_SECRET_KEY", KEY),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", SECRET),
        ("CODEXAPI_STRIPE_API_BASE", stripe.fake.base_url()),
        ("CODEXAPI_STRIPE_RECONCILE_SECONDS", "86400"),
    ];
    let world = World::start_with(database.pool.clone(), &settings).await;
    stripe.tell(&world.base_url).await;
    (database, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_a_webhook_and_its_answer_a_payment_is_credited_exactly_once() {
    let stripe = Stripe::start().await;
    let (_database, mut world) = world(&stripe).await;
    for point in ["webhook_received", "payment_fetched", "payment_credited", "payment_reversed"] {
        world.kill_service().await;
        world.start_service(&[("CODEXAPI_CRASH_AT", &format!("{point}:1"))]).await;
        let (account_id, checkout) = start(&world, &stripe).await;
        let known = stripe.held().await.len();
        let intent = stripe.pay(&checkout).await;
        stripe.refund(&intent, 400).await;
        let events = stripe.held().await.split_off(known);
        let mut answers = Vec::new();
        for event in &events {
            answers.push(stripe.deliver(event).await);
        }
        assert!(answers.contains(&None), "{point}: it died over one of them: {answers:?}");
        world.service_crashes().await;
        world.start_service(&[]).await;
        for event in events.iter().rev().chain(&events) {
            assert_eq!(stripe.deliver(event).await, Some(200), "{point}");
        }
        assert_eq!(net(&world, account_id).await, MicroUsd::dollars(15), "{point}");
    }
    world.projected().await;
    world.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_while_webhooks_come_0_to_3_times_in_any_order_a_payment_is_credited_exactly_once() {
    let stripe = Stripe::start().await;
    let (_database, mut world) = world(&stripe).await;
    let points = ["webhook_received", "payment_fetched", "payment_credited", "payment_reversed"];
    for seed in 0..8 {
        let mut dice = Dice::new(seed);
        let (point, time) = (points[dice.throw(points.len())], dice.throw(3) + 1);
        world.kill_service().await;
        world.start_service(&[("CODEXAPI_CRASH_AT", &format!("{point}:{time}"))]).await;
        let (account_id, checkout) = start(&world, &stripe).await;
        let known = stripe.held().await.len();
        let intent = stripe.pay(&checkout).await;
        stripe.refund(&intent, 400).await;
        let events = stripe.held().await.split_off(known);
        let mut died = false;
        for event in dice.deal(&events) {
            let answer = stripe.deliver(&event).await;
            if answer.is_none() && !died {
                died = true;
                world.service_crashes().await;
                world.start_service(&[]).await;
            } else {
                assert_eq!(answer, Some(200), "seed {seed}, {point} {time}");
            }
        }
        if !died {
            world.kill_service().await;
            world.start_service(&[]).await;
        }
        let left = MicroUsd::dollars(15);
        wait_for("what was never told is found", async || {
            (net(&world, account_id).await == left).then_some(())
        })
        .await;
        for event in dice.deal(&events) {
            assert_eq!(stripe.deliver(&event).await, Some(200), "seed {seed}, {point} {time}");
        }
        assert_eq!(
            net(&world, account_id).await,
            left,
            "seed {seed}, {point} {time}: late ones change nothing"
        );
    }
    world.projected().await;
    world.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_checkout_is_opened_the_same_order_is_the_same_payment() {
    let stripe = Stripe::start().await;
    let (_database, mut world) = world(&stripe).await;
    let token = world.customers(1).await.remove(0);
    for (place, point) in ["payment_started", "checkout_opened"].into_iter().enumerate() {
        world.kill_service().await;
        world.start_service(&[("CODEXAPI_CRASH_AT", &format!("{point}:1"))]).await;
        let order = json!({ "amountMicro": 5_000_000, "idempotencyKey": point });
        let send = || {
            let url = format!("{}/api/v1/cash-wallet/stripe/checkout", world.base_url);
            world.http.post(url).bearer_auth(&token).body(order.to_string()).send()
        };
        send().await.expect_err("it died over it");
        world.service_crashes().await;
        world.start_service(&[]).await;
        let url = format!("{}/api/v1/cash-wallet/stripe/checkout", world.base_url);
        let again = world.http.post(url).bearer_auth(&token).body(order.to_string()).send().await;
        let page: Value = again.expect("an answer").json().await.expect("JSON");
        let session = page["sessionId"].as_str().unwrap_or_else(|| panic!("{point}: {page}"));
        let known = stripe.held().await.len();
        stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
        for event in stripe.held().await.split_off(known) {
            assert_eq!(stripe.deliver(&event).await, Some(200));
        }
        let started: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'payment.payment_started'")
                .fetch_one(&world.pool)
                .await
                .expect("counted");
        assert_eq!(started, i64::try_from(place + 1).expect("few"), "{point}: one payment an order");
    }
    let account: String =
        sqlx::query_scalar("SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = 'cash_wallet'")
            .fetch_one(&world.pool)
            .await
            .expect("one wallet");
    let balance = log(&world).await.read(&account, CashWallet::balance).await.expect("read");
    assert_eq!(balance, MicroUsd::dollars(10));
    world.projected().await;
    world.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_over_an_invoice_each_month_is_one_payment_and_credited_exactly_once() {
    let stripe = Stripe::start().await;
    let (_database, mut world) = world(&stripe).await;
    let token = world.customers(1).await.remove(0);
    let url = format!("{}/api/v1/wallet/stripe/checkout", world.base_url);
    let order = json!({ "planId": "unlimited" }).to_string();
    let page = world.http.post(url).bearer_auth(&token).body(order).send().await.expect("an answer");
    let page: Value = page.json().await.expect("JSON");
    let session = page["sessionId"].as_str().unwrap_or_else(|| panic!("no page: {page}"));
    let paid = stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
    for event in stripe.held().await {
        assert_eq!(stripe.deliver(&event).await, Some(200));
    }
    let renew = format!("/subscriptions/{}/renew", paid["subscription"].as_str().expect("an id"));
    let points = ["webhook_received", "payment_fetched", "payment_started", "payment_credited"];
    for point in points {
        world.kill_service().await;
        world.start_service(&[("CODEXAPI_CRASH_AT", &format!("{point}:1"))]).await;
        let known = stripe.held().await.len();
        stripe.control("POST", &renew, json!({})).await;
        let events = stripe.held().await.split_off(known);
        let mut answers = Vec::new();
        for event in &events {
            answers.push(stripe.deliver(event).await);
        }
        assert!(answers.contains(&None), "{point}: it died over one of them: {answers:?}");
        world.service_crashes().await;
        world.start_service(&[]).await;
        for event in events.iter().rev().chain(&events) {
            assert_eq!(stripe.deliver(event).await, Some(200), "{point}");
        }
    }
    let months = i64::try_from(points.len()).expect("few");
    for (event_type, expected) in [
        ("payment.payment_started", months + 1),
        ("payment.payment_credited", months + 1),
        ("wallet.entitlement_granted", months + 1),
        ("subscription.renewed", months),
    ] {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
            .bind(event_type)
            .fetch_one(&world.pool)
            .await
            .expect("counted");
        assert_eq!(found, expected, "{event_type}");
    }
    world.projected().await;
    world.verifies().await;
}
