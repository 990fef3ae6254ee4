//! The operator's queue: what stands in it, and what is decided about it, once.

use std::sync::Arc;

use codexapi::clock;
use codexapi::gateway::UsageReportLabels;
use codexapi_aggregates::ids::{AccountId, GenerationId, KeyId, NodeIncarnation};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::usage::{Attempt, ClientFamily};
use codexapi_aggregates::wallet::events::ReleaseReason;
use codexapi_aggregates::wallet::{HoldLimits, PlaceHold, Wallet, WalletAction, WalletCommand, WalletTerms};
use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;
use crate::http::operator;

impl Fleet {
    async fn wallet(&self, account_id: AccountId, action: WalletAction) {
        let (stream, metadata) = (account_id.to_string(), operator());
        let decided = self.service.app.log.execute(&stream, &metadata, |wallet: &Wallet, now| {
            wallet.decide(WalletCommand { action: action.clone(), terms: WalletTerms::default(), now })
        });
        decided.await.expect("decided");
    }

    /// A hold whose node has died: its generation stands in the queue.
    async fn expired_hold(&self, account_id: AccountId) -> GenerationId {
        let (generation_id, node) = (GenerationId(clock::new_id()), NodeIncarnation(clock::new_id()));
        let now = clock::now();
        let quote = self.service.app.log.read(BOOK_STREAM, |book: &PriceBook| {
            book.quote_served("gpt-5.5", "gpt-5.5", now).expect("a price")
        });
        let hold = PlaceHold {
            generation_id,
            key_id: KeyId(clock::new_id()),
            family: ClientFamily::CodexCli,
            input_tokens: 1_000,
            already_billed_tokens: 0,
            cash_debt_micro: MicroUsd(0),
            policies: PriceBook::default().family_policies(ClientFamily::CodexCli),
            cached_tokens: 0,
            max_output_tokens: 100,
            quote: quote.await.expect("the book"),
            limits: HoldLimits::default(),
            fair_use: Arc::default(),
            attempt: Attempt { number: 1, provider: "one".into(), upstream_model: "gpt-5.5".into() },
            node,
        };
        self.wallet(account_id, WalletAction::PlaceHold(Box::new(hold))).await;
        self.wallet(account_id, WalletAction::ExpireHolds { dead_nodes: vec![node] }).await;
        generation_id
    }

    /// The entries, newest first, once the read model has everything.
    async fn queue(&self, show: &str) -> Vec<Value> {
        let head: i64 = sqlx::query_scalar("select max(position) from events")
            .fetch_one(&self.service.app.pool)
            .await
            .expect("the head");
        self.service.projected("operator_queue", head).await;
        let page = self.read(&format!("/queue?show={show}")).await;
        page["entries"].as_array().expect("entries").clone()
    }

    /// The entry of a generation.
    async fn entry(&self, generation_id: &Value) -> Value {
        let entries = self.queue("all").await;
        let found = entries.iter().find(|entry| entry["generationId"] == *generation_id);
        found.unwrap_or_else(|| panic!("no entry of {generation_id}: {entries:?}")).clone()
    }

    /// Asks a provider that reports its usage in this way; the newest entry then.
    async fn reported(&self, token: &str, usage: &str) -> Value {
        self.script(&self.one, 1, json!({ "usage": usage, "output_tokens": 5 })).await;
        assert_eq!(self.ask(token, "gpt-5.5", "c").await.0, StatusCode::OK);
        self.queue("open").await.first().expect("an entry").clone()
    }

    async fn balance(&self, account_id: AccountId) -> i64 {
        let log = &self.service.app.log;
        log.read(&account_id.to_string(), Wallet::balance).await.expect("a wallet").0
    }
}

fn resolve(entry: &Value) -> String {
    format!("/queue/{}/resolve", entry["id"])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_hold_is_settled_released_or_dismissed_once() {
    let fleet = Fleet::start().await;
    let (account_id, _) = fleet.customer().await;
    let mut holds = vec![];
    for _ in 0..3 {
        holds.push(json!(fleet.expired_hold(account_id).await));
    }
    let before = fleet.balance(account_id).await;

    let entry = fleet.entry(&holds[0]).await;
    assert_eq!((&entry["reasons"], &entry["resolution"]), (&json!(["hold_expired"]), &Value::Null));
    assert_eq!((&entry["provider"], &entry["model"]), (&json!("one"), &json!("gpt-5.5")));
    for (input, output) in [(10_000_001, 1), (1, 10_000_001)] {
        let slip = json!({ "action": "settle", "inputTokens": input, "outputTokens": output });
        assert_eq!(fleet.refused(&resolve(&entry), &slip).await, (400, "too_many_tokens".to_owned()));
    }
    let settle = json!({ "action": "settle", "inputTokens": 1_000, "outputTokens": 50 });
    let settled = fleet.set(&resolve(&entry), &settle).await;
    let charged = settled["amountMicro"].as_i64().expect("an amount");
    assert_eq!(charged, 1_000 * 5 + 50 * 30, "at the rates the hold was placed with");
    assert_eq!(fleet.balance(account_id).await, before - charged);
    let again = fleet.set(&resolve(&entry), &settle).await;
    assert_eq!((&again["replayed"], &again["amountMicro"]), (&json!(true), &json!(charged)));
    assert_eq!(fleet.balance(account_id).await, before - charged, "it is charged once");
    assert_eq!(fleet.entry(&holds[0]).await["resolution"], "settled_late");
    let release = json!({ "action": "release" });
    assert_eq!(fleet.refused(&resolve(&entry), &release).await, (409, "entry_resolved".into()));
    let (actor, payload) = fleet.events("wallet.usage_charged").await.pop().expect("a charge");
    assert_eq!(actor, "operator:static-admin-1");
    assert_eq!(payload["UsageCharged"]["late"], true);

    let entry = fleet.entry(&holds[1]).await;
    assert_eq!(fleet.set(&resolve(&entry), &release).await["resolution"], "released");
    let other = json!({ "action": "settle", "inputTokens": 1, "outputTokens": 1 });
    let (status, code) = fleet.refused(&resolve(&entry), &other).await;
    assert_eq!(status, 409, "what was released cannot be charged: {code}");
    assert_eq!(fleet.entry(&holds[1]).await["resolution"], "released");
    assert_eq!(fleet.refused(&resolve(&entry), &other).await, (409, "entry_resolved".into()));

    let entry = fleet.entry(&holds[2]).await;
    let reverse = json!({ "action": "reverse" });
    assert_eq!(fleet.refused(&resolve(&entry), &reverse).await, (409, "nothing_charged".into()));
    let dismiss = json!({ "action": "dismiss" });
    assert_eq!(fleet.set(&resolve(&entry), &dismiss).await["replayed"], false);
    assert_eq!(fleet.set(&resolve(&entry), &dismiss).await["replayed"], true);
    assert_eq!(fleet.entry(&holds[2]).await["resolution"], "dismissed");
    assert!(fleet.queue("open").await.is_empty());
    assert_eq!(fleet.events("usage.review_dismissed").await.len(), 1);
    assert_eq!(fleet.balance(account_id).await, before - charged);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_turns_out_to_have_cost_nothing_leaves_the_queue_by_itself() {
    let fleet = Fleet::start().await;
    let (account_id, _) = fleet.customer().await;
    let generation_id = fleet.expired_hold(account_id).await;
    assert_eq!(fleet.queue("open").await.len(), 1);
    let (reason, attempts) = (ReleaseReason::NothingDelivered, vec![]);
    fleet.wallet(account_id, WalletAction::ReleaseHold { generation_id, reason, attempts }).await;
    assert!(fleet.queue("open").await.is_empty());
    assert_eq!(fleet.entry(&json!(generation_id)).await["resolution"], "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_for_usage_that_nobody_believes_is_given_back_or_left() {
    let fleet = Fleet::start().await;
    let (account_id, token) = fleet.customer().await;
    let before = fleet.balance(account_id).await;
    let entry = fleet.reported(&token, "garbage").await;
    assert_eq!(entry["reasons"], json!(["usage_rejected"]));
    let charged = entry["amountMicro"].as_i64().expect("an amount");
    assert_eq!(fleet.balance(account_id).await, before - charged);
    let release = json!({ "action": "release" });
    assert_eq!(fleet.refused(&resolve(&entry), &release).await, (409, "no_expired_hold".into()));
    let back = fleet.set(&resolve(&entry), &json!({ "action": "reverse" })).await;
    assert_eq!((&back["resolution"], &back["amountMicro"]), (&json!("reversed"), &json!(charged)));
    assert_eq!(fleet.balance(account_id).await, before);
    assert_eq!(fleet.set(&resolve(&entry), &json!({ "action": "reverse" })).await["replayed"], true);
    assert_eq!(fleet.balance(account_id).await, before, "once");

    let left = fleet.reported(&token, "garbage").await;
    fleet.set(&resolve(&left), &json!({ "action": "dismiss" })).await;
    assert!(fleet.queue("open").await.is_empty());
    assert_eq!(fleet.queue("all").await.len(), 2);
    assert!(fleet.balance(account_id).await < before, "what was charged stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_said_to_have_taken_no_token_costs_nothing_and_wants_an_eye() {
    let fleet = Fleet::start().await;
    let (account_id, token) = fleet.customer().await;
    let before = fleet.balance(account_id).await;
    let entry = fleet.reported(&token, "zero").await;
    assert_eq!((&entry["reasons"], &entry["amountMicro"]), (&json!(["usage_zero"]), &json!(0)));
    assert_eq!(fleet.balance(account_id).await, before, "a reported 0 is a fact");
    let back = fleet.set(&resolve(&entry), &json!({ "action": "reverse" })).await;
    let (position, amount) = (back["positions"][0].as_i64(), &back["amountMicro"]);
    assert!(position > entry["id"].as_i64() && *amount == 0, "an event, and no money: {back}");

    let entry = fleet.reported(&token, "zero").await;
    fleet.set(&resolve(&entry), &json!({ "action": "dismiss" })).await;
    assert!(fleet.queue("open").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_providers_say_of_their_usage_is_counted() {
    let fleet = Fleet::start().await;
    let (_, token) = fleet.customer().await;
    for usage in ["zero", "absent", "absent", "garbage"] {
        fleet.script(&fleet.one, 1, json!({ "usage": usage, "output_tokens": 5 })).await;
        assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    }
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
    let counted = ["zero", "absent", "rejected", "given"].map(|report| {
        let labels = UsageReportLabels { provider: "one".into(), report };
        fleet.service.app.gateway.traffic().usage_reports.get_or_create(&labels).get()
    });
    assert_eq!(counted, [1, 2, 1, 1]);
    assert_eq!(fleet.queue("open").await.len(), 2, "what reports none is not queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_read_in_pages_and_refuses_by_name() {
    let fleet = Fleet::start().await;
    let (account_id, _) = fleet.customer().await;
    for _ in 0..3 {
        fleet.expired_hold(account_id).await;
    }
    let all: Vec<Value> = fleet.queue("open").await.iter().map(|entry| entry["id"].clone()).collect();
    let (mut seen, mut before) = (vec![], String::new());
    loop {
        let page = fleet.read(&format!("/queue?limit=1{before}")).await;
        assert_eq!(page["open"], 3);
        seen.extend(page["entries"].as_array().expect("entries").iter().map(|entry| entry["id"].clone()));
        let Some(next) = page["nextBefore"].as_i64() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(seen, all);
    let cases = [
        ("/queue/1/resolve", json!({ "action": "dismiss" }), 404, "entry_not_found"),
        ("/queue/first/resolve", json!({ "action": "dismiss" }), 400, "invalid_entry_id"),
        ("/queue/1/resolve", json!({ "action": "forget" }), 400, "invalid_body"),
        ("/queue/1/resolve", json!({ "action": "settle", "inputTokens": 1 }), 400, "tokens_missing"),
        ("/queue/1/resolve", json!({ "action": "dismiss", "outputTokens": 1 }), 400, "tokens_unwanted"),
        ("/queue/resolve", json!({ "action": "settle", "ids": [1] }), 400, "invalid_body"),
        ("/queue/resolve", json!({ "action": "release", "ids": [] }), 400, "invalid_ids"),
        ("/queue/resolve", json!({ "action": "release", "ids": vec![1; 201] }), 400, "invalid_ids"),
    ];
    for (path, body, status, code) in cases {
        assert_eq!(fleet.refused(path, &body).await, (status, code.to_owned()), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_expired_holds_are_released_at_once_and_what_is_refused_stops_no_other() {
    let fleet = Fleet::start().await;
    let (account_id, token) = fleet.customer().await;
    let rejected = fleet.reported(&token, "garbage").await["id"].clone();
    for _ in 0..3 {
        fleet.expired_hold(account_id).await;
    }
    let before = fleet.balance(account_id).await;
    let mut ids: Vec<Value> = fleet.queue("open").await.iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!((ids.len(), ids.last()), (4, Some(&rejected)));
    ids.insert(1, json!(1));

    let release = json!({ "action": "release", "ids": ids });
    let told = fleet.set("/queue/resolve", &release).await;
    let of_each = |entries: &Value, field: &str| -> Vec<Value> {
        entries.as_array().expect("a list").iter().map(|entry| entry[field].clone()).collect()
    };
    assert_eq!(of_each(&told["resolved"], "id"), [&ids[0..1], &ids[2..4]].concat());
    assert_eq!(of_each(&told["resolved"], "resolution"), vec!["released"; 3]);
    assert_eq!(of_each(&told["refused"], "id"), vec![json!(1), rejected.clone()]);
    assert_eq!(of_each(&told["refused"], "code"), vec!["entry_not_found", "no_expired_hold"]);
    let again = fleet.set("/queue/resolve", &release).await;
    assert_eq!(of_each(&again["resolved"], "replayed"), vec![json!(true); 3]);
    assert_eq!(fleet.events("wallet.hold_released").await.len(), 3, "each once");
    assert_eq!(fleet.balance(account_id).await, before);
    assert_eq!(of_each(&json!(fleet.queue("open").await), "id"), [rejected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_decides_about_several_entries_and_fails_where_one_is_refused() {
    let fleet = Fleet::start().await;
    let (account_id, _) = fleet.customer().await;
    for _ in 0..2 {
        fleet.expired_hold(account_id).await;
    }
    let ids: Vec<String> = fleet.queue("open").await.iter().map(|entry| entry["id"].to_string()).collect();
    let resolve = async |entries: String, verb: &[&str]| {
        let arguments = [&["admin", "--json", "resolve", &entries], verb].concat();
        let done = fleet.service.command(&arguments).await;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), serde_json::from_slice::<Value>(&done.stdout).unwrap_or_default(), said)
    };
    let settle = ["settle", "--input-tokens", "1", "--output-tokens", "1"];
    let (status, _, said) = resolve(ids.join(","), &settle).await;
    assert_eq!(
        (status, said.trim()),
        (Some(1), "codexapi: tokens are of one generation: settle its entry alone")
    );
    assert_eq!(fleet.queue("open").await.len(), 2, "nothing is done then");

    let (status, rows, said) = resolve(format!("{},1,{}", ids[0], ids[1]), &["dismiss"]).await;
    assert_eq!((status, said.trim()), (Some(1), "codexapi: 1 of 3 entries are not resolved"));
    assert_eq!(rows[1]["refused"], "the queue has no entry 1, or the read models lag");
    assert_eq!([&rows[0]["resolution"], &rows[2]["resolution"]], ["dismissed"; 2]);
    let (status, row, _) = resolve(ids[0].clone(), &["dismiss"]).await;
    assert_eq!((status, &row["replayed"]), (Some(0), &json!(true)));
    assert!(fleet.queue("open").await.is_empty());
}
