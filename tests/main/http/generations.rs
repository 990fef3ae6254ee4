//! What customers read of single generations, and of the key they call with.

use chrono::{DateTime, Utc};
use codexapi::accounts::{self, CreatedCustomer};
use codexapi_aggregates::account::{Account, AccountCommand, KeyKind, KeyLimits};
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::{SettleGeneration, UsageSource};
use http::StatusCode;
use serde_json::Value;

use super::{Service, operator};
use crate::business::Business;

/// A customer with $10 who has generated.
async fn customer_with(service: &Service, generations: usize) -> (CreatedCustomer, Vec<GenerationId>) {
    let customer = service.customer().await;
    service.credit(customer.account_id, 10).await;
    let business = business_of(service, &customer);
    let mut made = vec![];
    for number in 0..generations {
        made.push(business.generate(&format!("{}:conversation-{number}", customer.account_id)).await);
    }
    (customer, made)
}

fn business_of(service: &Service, customer: &CreatedCustomer) -> Business {
    Business::of(service.app.log.clone(), customer.account_id, customer.system_token.key_id)
}

async fn read(service: &Service, path: &str, customer: &CreatedCustomer) -> Value {
    let (status, body) = service.get(path, &[("x-api-key", customer.system_token.token.reveal())]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_shows_how_its_charge_came_about_right_after_it() {
    let service = Service::start().await;
    let (customer, made) = customer_with(&service, 1).await;
    let shown = read(&service, &format!("/api/v1/generations/{}", made[0]), &customer).await;
    let (usage, charge) = (&shown["usage"], &shown["charge"]);
    assert_eq!(shown["keyId"], customer.system_token.key_id.to_string());
    assert_eq!((&shown["status"], &shown["outcome"]), (&"settled".into(), &"completed".into()));
    assert_eq!((&shown["model"], &shown["servedModel"]), (&"gpt-5.5".into(), &"gpt-5.5".into()));
    assert_eq!((&shown["client"], &shown["attempts"]), (&"codex_cli".into(), &1.into()));
    assert_eq!((&usage["inputTokens"], &usage["cachedInputTokens"]), (&901.into(), &77.into()));
    assert_eq!((&usage["totalInputTokens"], &usage["outputTokens"]), (&978.into(), &123.into()));
    // 901 × 5 + 77 × 0.5 + 123 × 30 = 8233.5 micro-USD, half to even.
    assert_eq!((&charge["chargedMicro"], &charge["chargedUsd"]), (&8_234.into(), &"0.008234".into()));
    assert_eq!((&charge["costMicro"], &charge["coveredByPlan"]), (&8_234.into(), &false.into()));
    assert_eq!((&charge["cardVersion"], &charge["mode"]), (&1.into(), &"standard".into()));
    assert_eq!((&charge["remainderPico"], &charge["cappedMicro"]), (&"-500000".into(), &0.into()));
    let lines = charge["lines"].as_array().expect("lines");
    let pico: i128 =
        lines.iter().map(|line| line["amountPico"].as_str().unwrap().parse::<i128>().unwrap()).sum();
    assert_eq!(pico, 8_233_500_000);
    assert_eq!((&lines[0]["kind"], &lines[0]["rateUsd"]), (&"input".into(), &"5.000000".into()));
    assert!(!shown.to_string().contains("simulator"), "the provider is nobody's business: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_beyond_its_cap_says_what_of_its_lines_was_not_charged() {
    let service = Service::start().await;
    let (customer, _) = customer_with(&service, 0).await;
    let business = business_of(&service, &customer);
    let estimated = SettleGeneration {
        usage_source: UsageSource::Estimated,
        estimate_cap_micro: MicroUsd(5_000),
        ..business.settlement_of(business.hold().await)
    };
    let id = estimated.generation_id;
    business.settle(&format!("{}:conversation", customer.account_id), &estimated).await;
    let shown = read(&service, &format!("/api/v1/generations/{id}"), &customer).await;
    let charge = &shown["charge"];
    assert_eq!(shown["usage"]["source"], "estimated");
    assert_eq!((&charge["chargedMicro"], &charge["costMicro"]), (&5_000.into(), &5_000.into()));
    assert_eq!((&charge["cappedMicro"], &charge["cappedUsd"]), (&3_234.into(), &"0.003234".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_generation_is_not_there() {
    let service = Service::start().await;
    let (_, made) = customer_with(&service, 1).await;
    let (other, _) = customer_with(&service, 0).await;
    let token = other.system_token.token.reveal();
    for id in [made[0].to_string(), uuid::Uuid::from_u128(7).to_string(), "no-id".into()] {
        let (status, body) = service.get(&format!("/api/v1/generations/{id}"), &[("x-api-key", token)]).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &"generation_not_found".into()));
    }
    assert_eq!(read(&service, "/api/v1/generations", &other).await["generations"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_generation_once_newest_first() {
    let service = Service::start().await;
    let (customer, made) = customer_with(&service, 5).await;
    read(&service, &format!("/api/v1/generations/{}", made[4]), &customer).await;
    let (mut path, mut seen) = ("/api/v1/generations?limit=2".to_owned(), vec![]);
    loop {
        let page = read(&service, &path, &customer).await;
        let ids = page["generations"].as_array().expect("a page").iter();
        seen.extend(ids.map(|generation| generation["id"].as_str().expect("an id").to_owned()));
        let Some(before) = page["nextBefore"].as_str() else { break };
        path = format!("/api/v1/generations?limit=2&before={before}");
    }
    let newest_first: Vec<_> = made.iter().rev().map(ToString::to_string).collect();
    assert_eq!(seen, newest_first);
    let token = customer.system_token.token.reveal();
    for query in ["limit=0", "before=x", "cursor=1"] {
        let (status, _) = service.get(&format!("/api/v1/generations?{query}"), &[("x-api-key", token)]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reversed_charge_says_so() {
    let service = Service::start().await;
    let (customer, made) = customer_with(&service, 1).await;
    let conversation = format!("{}:conversation-0", customer.account_id);
    business_of(&service, &customer).reverse(&conversation, made[0]).await;
    let head =
        codexapi::event_log::read::head(&service.app.pool, codexapi::event_log::SHARD).await.expect("read");
    service.projected("generations", head).await;
    let shown = read(&service, &format!("/api/v1/generations/{}", made[0]), &customer).await;
    assert_eq!((&shown["status"], &shown["reversal"]["amountMicro"]), (&"reversed".into(), &8_234.into()));
    assert_eq!(shown["reversal"]["reason"], "bad_generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_shows_what_was_used_with_it_and_not_with_another() {
    let service = Service::start().await;
    let (customer, made) = customer_with(&service, 2).await;
    let (log, credentials) = (&service.app.log, &service.app.config.credentials);
    let account = Some(customer.account_id);
    let second =
        accounts::issue_key(log, credentials, &operator(), account, KeyKind::Api).await.expect("issued");
    service.in_force(second.position).await;
    read(&service, &format!("/api/v1/generations/{}", made[1]), &customer).await;
    let listed = read(&service, "/api/v1/generations", &customer).await;
    let charged_at: Vec<_> = listed["generations"]
        .as_array()
        .expect("two")
        .iter()
        .map(|generation| moment(&generation["at"]))
        .collect();
    let first = read(&service, "/api/v1/key?timezone=Asia/Kolkata", &customer).await;
    assert_eq!(first["id"], customer.system_token.key_id.to_string());
    assert_eq!(
        (&first["kind"], &first["usage"]["timezone"]),
        (&"system_token".into(), &"Asia/Kolkata".into())
    );
    for period in ["today", "thisWeek", "thisMonth"] {
        let sums = &first["usage"][period];
        // Two, unless midnight has just passed in Kolkata.
        let since = moment(&sums["since"]);
        let count = charged_at.iter().filter(|at| **at >= since).count();
        let expected = (&(count).into(), &(123 * count).into(), &(8_234 * count).into());
        assert_eq!(
            (&sums["requests"], &sums["outputTokens"], &sums["spentMicro"]),
            expected,
            "{period}: {first}"
        );
    }
    let (_, other) = service.get("/api/v1/key", &[("x-api-key", second.token.reveal())]).await;
    assert_eq!((&other["kind"], &other["usage"]["thisMonth"]["requests"]), (&"api".into(), &0.into()));
    assert_eq!(other["usage"]["timezone"], "UTC");
    assert!(!first.to_string().contains(customer.system_token.token.reveal()));
    let (status, _) = service.get("/api/v1/key?zone=x", &[("x-api-key", second.token.reveal())]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_shows_its_limits_and_what_is_left_of_them() {
    let service = Service::start().await;
    let customer = service.customer().await;
    service.credit(customer.account_id, 10).await;
    let unlimited = read(&service, "/api/v1/key", &customer).await;
    assert_eq!(unlimited["limits"]["dailyBudgetMicro"], Value::Null);
    assert_eq!(unlimited["remaining"]["requestsThisMinute"], Value::Null);

    let key_id = customer.system_token.key_id;
    let limits = KeyLimits {
        daily_budget_micro: Some(MicroUsd::dollars(1)),
        parallel_requests: Some(3),
        allowed_models: vec!["gpt-5.5".into()],
        ..KeyLimits::default()
    };
    let stream = customer.account_id.to_string();
    let metadata = operator();
    let set = service.app.log.execute(&stream, &metadata, |account: &Account, now| {
        account.decide(AccountCommand::SetKeyLimits { key_id, limits: limits.clone(), now })
    });
    service.projected("api_keys", set.await.expect("set").position).await;
    let business = business_of(&service, &customer);
    let made = business.generate(&format!("{stream}:conversation")).await;
    business.hold().await;
    let shown = read(&service, "/api/v1/key", &customer).await;
    let (limits, left) = (&shown["limits"], &shown["remaining"]);
    assert_eq!(
        (&limits["dailyBudgetMicro"], &limits["dailyBudgetUsd"]),
        (&1_000_000.into(), &"1.000000".into())
    );
    assert_eq!(limits["allowedModels"], Value::from(vec!["gpt-5.5"]));
    assert_eq!(left["parallelRequests"], 2, "one is running");
    let charged = read(&service, &format!("/api/v1/generations/{made}"), &customer).await;
    // Budgets count UTC days: unless one has just ended, the charge is taken off.
    let same_day = moment(&charged["at"]).date_naive() == moment(&left["minuteEndsAt"]).date_naive();
    if same_day {
        assert_eq!(
            (&left["dailyBudgetMicro"], &left["dailyBudgetUsd"]),
            (&991_766.into(), &"0.991766".into())
        );
    }
    assert_eq!(left["monthlyBudgetMicro"], Value::Null);
}

fn moment(value: &Value) -> DateTime<Utc> {
    value.as_str().expect("a moment").parse().expect("a moment")
}
