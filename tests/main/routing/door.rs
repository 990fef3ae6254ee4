//! Who is turned away at the door, and how each family of clients is told: in its dialect, with a status and a code
//! that make it show our sentence, and without a trace in the log or at a provider.

use std::time::Duration;

use codexapi::clock;
use codexapi_aggregates::account::{AccountCommand, KeyLimits, SuspensionReason};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::routing::ModelRule;
use codexapi_aggregates::service::{SERVICE_STREAM, Service, ServiceCommand};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::Protocol;
use serde_json::json;

use super::{BALANCE, Scene, World};
use crate::harness::wait_for;
use crate::money::asking::{Ask, Told};
use crate::money::{Customer, test};

/// What is expected of one refusal.
#[derive(Clone, Copy, Debug)]
struct Expected {
    status: u16,
    code: &'static str,
    /// Anthropic's word for it.
    kind: &'static str,
    /// Waiting mends it soon.
    wait: bool,
}

const fn expected(status: u16, code: &'static str, kind: &'static str, wait: bool) -> Expected {
    Expected { status, code, kind, wait }
}

fn hello(scene: &Scene, protocol: Protocol, stream: bool) -> Ask {
    Ask::new(protocol, stream, 64, &json!({"input_tokens": 10, "output_tokens": 5})).of(&scene.model)
}

fn codex(scene: &Scene, stream: bool) -> Ask {
    hello(scene, Protocol::Responses, stream).header("originator", "codex_exec")
}

/// Every family of clients is refused as it understands it, and nothing comes of it.
async fn refused(world: &World, scene: &Scene, customer: &Customer, expected: Expected) {
    let count =
        async || (world.deployment.events_of(customer).await, world.front.seen(&scene.upstream).len());
    let before = count().await;
    let run = async |ask: Ask| ask.run(&world.deployment, customer).await;
    check_openai(&run(hello(scene, Protocol::Chat, true)).await, expected);
    check_openai(&run(hello(scene, Protocol::Completions, false)).await, expected);
    check_openai(&run(hello(scene, Protocol::Responses, true)).await, expected);
    let mut background = hello(scene, Protocol::Responses, false);
    background.body["background"] = true.into();
    check_openai(&run(background).await, expected);
    let claude =
        hello(scene, Protocol::Messages, true).header("user-agent", "claude-cli/2.0.1 (external, cli)");
    // Claude Code shows words of its own for a 404.
    let status = if expected.status == 404 { 410 } else { expected.status };
    check_anthropic(&run(claude).await, Expected { status, ..expected });
    check_codex(&run(codex(scene, true)).await, &run(codex(scene, false)).await, expected);
    assert_eq!(count().await, before, "{expected:?}: something was written or sent");
}

fn check_headers(told: &Told, expected: Expected) {
    assert_eq!(told.status, expected.status, "{expected:?}: {}", told.text);
    assert_eq!(told.headers.contains_key("retry-after"), expected.wait, "{expected:?}: {:?}", told.headers);
    let in_vain = !expected.wait && (expected.status == 429 || expected.status >= 500);
    let said = told.headers.get("x-should-retry").map(|value| value.to_str().expect("text"));
    assert_eq!(said, in_vain.then_some("false"), "{expected:?}");
}

fn check_openai(told: &Told, expected: Expected) {
    check_headers(told, expected);
    let error = &told.json()["error"];
    assert_eq!(error["code"], expected.code, "{}", told.text);
    assert!(error["message"].is_string() && error["type"].is_string(), "{}", told.text);
}

fn check_anthropic(told: &Told, expected: Expected) {
    check_headers(told, expected);
    let body = told.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &expected.kind.into()), "{body}");
    assert!(body["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{body}");
}

/// It shows `invalid_prompt`, and waits for `rate_limit_exceeded`.
fn check_codex(streamed: &Told, whole: &Told, expected: Expected) {
    assert_eq!(streamed.status, 200, "{expected:?}: {}", streamed.text);
    assert!(streamed.text.contains("event: response.failed"), "{}", streamed.text);
    let code = if expected.wait { "rate_limit_exceeded" } else { "invalid_prompt" };
    assert!(streamed.text.contains(&format!("\"code\":\"{code}\"")), "{expected:?}: {}", streamed.text);
    let status = if expected.wait || expected.code == "model_not_found" { expected.status } else { 400 };
    assert_eq!(whole.status, status, "{expected:?}: {}", whole.text);
    assert_eq!(whole.json()["error"]["code"], expected.code, "{}", whole.text);
}

/// Limits by the minute are counted in UTC minutes; a test of one must not run into the next.
pub async fn early_in_a_minute() {
    let second = clock::now().0.rem_euclid(60_000_000) / 1_000_000;
    if second > 45 {
        tokio::time::sleep(Duration::from_secs(61 - second.unsigned_abs())).await;
    }
}

async fn limited(world: &World, limits: KeyLimits) -> Customer {
    let customer = world.deployment.customer(BALANCE).await;
    world.limit(&customer, limits).await;
    customer
}

async fn served(world: &World, scene: &Scene, customer: &Customer) {
    let told = hello(scene, Protocol::Chat, false).run(&world.deployment, customer).await;
    assert_eq!(told.status, 200, "{}", told.text);
    world.deployment.settled(customer.account_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_beyond_its_limits_is_told_which() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[])]).await;
    early_in_a_minute().await;
    let one = limited(&world, KeyLimits { requests_per_minute: Some(1), ..KeyLimits::default() }).await;
    served(&world, &scene, &one).await;
    refused(&world, &scene, &one, expected(429, "rate_limit_exceeded", "rate_limit_error", true)).await;

    let estimate = hello(&scene, Protocol::Chat, false).estimated_input().unsigned_abs();
    let tokens = KeyLimits { tokens_per_minute: Some(estimate + 10), ..KeyLimits::default() };
    let tokens = limited(&world, tokens).await;
    served(&world, &scene, &tokens).await;
    refused(&world, &scene, &tokens, expected(429, "rate_limit_exceeded", "rate_limit_error", true)).await;
    let few = limited(&world, KeyLimits { tokens_per_minute: Some(5), ..KeyLimits::default() }).await;
    let too_large = expected(403, "request_beyond_token_limit", "permission_error", false);
    refused(&world, &scene, &few, too_large).await;

    let parallel = limited(&world, KeyLimits { parallel_requests: Some(1), ..KeyLimits::default() }).await;
    let stalled = json!({"output_tokens": 5, "delta_count": 5, "stall_after": 1});
    let running = Ask::new(Protocol::Chat, true, 64, &stalled).of(&scene.model);
    let running = running.send(&world.deployment, &parallel.token).await;
    refused(&world, &scene, &parallel, expected(429, "rate_limit_exceeded", "rate_limit_error", true)).await;
    drop(running);

    let budget = KeyLimits { daily_budget_micro: Some(MicroUsd(10_000)), ..KeyLimits::default() };
    let at_stake = limited(&world, budget).await;
    let running = Ask::new(Protocol::Chat, true, 5_000, &stalled).of(&scene.model);
    let running = running.send(&world.deployment, &at_stake.token).await;
    refused(&world, &scene, &at_stake, expected(429, "rate_limit_exceeded", "rate_limit_error", true)).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_budget_is_spent_is_told_when_it_begins_anew() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[])]).await;
    let spent = expected(402, "budget_spent", "billing_error", false);
    for (period, limits) in [
        ("daily", KeyLimits { daily_budget_micro: Some(MicroUsd(50)), ..KeyLimits::default() }),
        ("monthly", KeyLimits { monthly_budget_micro: Some(MicroUsd(50)), ..KeyLimits::default() }),
    ] {
        let customer = limited(&world, limits).await;
        refused(&world, &scene, &customer, spent).await;
        let told = codex(&scene, true).run(&world.deployment, &customer).await;
        assert!(
            told.text.contains(&format!("this key's {period} budget of $0.000050 is spent")),
            "{}",
            told.text
        );
        assert!(told.text.contains("it begins anew at 2"), "{}", told.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_other_models_another_time_or_another_network_opens_nothing() {
    let world = World::start(&[("CODEXAPI_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let scene = world.scene(&[("one", &[])]).await;
    let other = world.scene(&[("one", &[])]).await;
    let models = KeyLimits { allowed_models: vec![other.model.clone()], ..KeyLimits::default() };
    let customer = limited(&world, models).await;
    refused(&world, &scene, &customer, expected(403, "model_not_allowed", "permission_error", false)).await;
    served(&world, &other, &customer).await;

    let customer = world.deployment.customer(BALANCE).await;
    let soon = Timestamp(clock::now().0 + 2_000_000);
    world.limit(&customer, KeyLimits { expires_at: Some(soon), ..KeyLimits::default() }).await;
    wait_for("the key's end", async || (clock::now() > soon).then_some(())).await;
    refused(&world, &scene, &customer, expected(403, "key_expired", "permission_error", false)).await;

    let fenced = world.deployment.customer(BALANCE).await;
    sqlx::query("insert into key_networks (key_id, cidr) values ($1, '192.0.2.0/24')")
        .bind(fenced.key_id.0)
        .execute(&world.deployment.app.pool)
        .await
        .expect("written");
    world.limit(&fenced, KeyLimits { has_networks: true, ..KeyLimits::default() }).await;
    refused(&world, &scene, &fenced, expected(403, "network_not_allowed", "permission_error", false)).await;
    for (forwarded, status) in [("192.0.2.7", 200), ("198.51.100.7", 403), ("192.0.2.7, 198.51.100.7", 403)] {
        let ask = hello(&scene, Protocol::Chat, false).header("x-forwarded-for", forwarded);
        assert_eq!(ask.run(&world.deployment, &fenced).await.status, status, "{forwarded}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_account_is_turned_away_until_it_is_reinstated() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    world
        .account(&customer, |now| AccountCommand::SuspendAccount { reason: SuspensionReason::Abuse, now })
        .await;
    refused(&world, &scene, &customer, expected(403, "account_suspended", "permission_error", false)).await;
    world.account(&customer, |now| AccountCommand::ReinstateAccount { now }).await;
    served(&world, &scene, &customer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_are_off_or_unknown_are_named_with_those_on_sale() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    world.rule(&scene, ModelRule { enabled: false, ..ModelRule::default() }).await;
    refused(&world, &scene, &customer, expected(404, "model_disabled", "not_found_error", false)).await;
    let unknown = Scene { model: "nobodys-model".into(), upstream: "nobodys-model".into() };
    refused(&world, &unknown, &customer, expected(404, "model_not_found", "not_found_error", false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_turns_everybody_away_with_the_operators_words() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    let set = async |until: Option<Timestamp>| {
        let command = |now| ServiceCommand::SetMaintenance { message: "Back at noon.".into(), until, now };
        let metadata = test();
        let log = &world.deployment.app.log;
        let set =
            log.execute(SERVICE_STREAM, &metadata, |service: &Service, now| service.decide(command(now)));
        set.await.expect("set");
    };
    set(None).await;
    refused(&world, &scene, &customer, expected(503, "maintenance", "api_error", false)).await;
    set(Some(Timestamp(clock::now().0 + 40_000_000))).await;
    refused(&world, &scene, &customer, expected(503, "maintenance", "api_error", true)).await;
    let told = hello(&scene, Protocol::Chat, true).run(&world.deployment, &customer).await;
    assert_eq!(told.json()["error"]["message"], "Back at noon.");
    let wait: u32 = told.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=40).contains(&wait), "{wait}");
    assert_eq!(told.headers.get_all("retry-after").iter().count(), 1, "{:?}", told.headers);
    let streamed = codex(&scene, true).run(&world.deployment, &customer).await;
    assert!(streamed.text.contains("Back at noon."), "{}", streamed.text);
}
