//! Customers with their balances, and changes of their credit.

use codexapi_aggregates::ids::{AccountId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{GrantSource, WalletAction};
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Fleet;
use crate::business::Business;
use codexapi::accounts::{self, NewCustomer};
use codexapi::clock;
use codexapi_aggregates::ids::KeyId;

/// The wallet's own events, as other parts of the service would cause them.
fn business(fleet: &Fleet, account: AccountId) -> Business {
    Business::of(fleet.service.app.log.clone(), account, KeyId(clock::new_id()))
}

async fn caught_up(fleet: &Fleet) {
    let head: i64 = sqlx::query_scalar("select max(position) from events")
        .fetch_one(&fleet.service.app.pool)
        .await
        .expect("a position");
    for model in ["accounts", "wallet_balances", "wallet_movements"] {
        fleet.service.projected(model, head).await;
    }
}

/// A payment whose credit is taken back: $4 of it are owed.
async fn owes_four(fleet: &Fleet, account: AccountId) {
    let business = business(fleet, account);
    let (grant_id, source, expires_at) = (GrantId(clock::new_id()), GrantSource::TopUp, None);
    let amount_micro = MicroUsd::dollars(5);
    business.command(WalletAction::GrantCredit { grant_id, source, amount_micro, expires_at }).await;
    let amount_micro = MicroUsd::dollars(9);
    business.command(WalletAction::TakeBackPayment { payment_id: grant_id, amount_micro }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_moves_up_and_down_by_events_once_per_key() {
    let fleet = Fleet::start().await;
    let account = fleet.service.customer().await.account_id;
    let path = format!("/users/{account}/wallet/credit");
    let grant = json!({ "grantMicro": 10_000_000, "note": "lost parcel", "idempotencyKey": "ticket-1" });
    let moved = fleet.set(&path, &grant).await;
    assert_eq!((&moved["changeMicro"], &moved["balanceUsd"]), (&json!(10_000_000), &json!("10.000000")));
    assert_eq!(moved["replayed"], false);
    let again = fleet.set(&path, &grant).await;
    assert_eq!((&again["movementId"], &again["replayed"]), (&moved["movementId"], &json!(true)));
    let other = json!({ "grantMicro": 10_000_001, "idempotencyKey": "ticket-1" });
    assert_eq!(fleet.refused(&path, &other).await, (409, "idempotency_mismatch".into()));

    let take = json!({
        "takeMicro": 2_500_000, "reason": "duplicate_credit", "note": "Ada called", "idempotencyKey": "ticket-2",
    });
    let moved = fleet.set(&path, &take).await;
    assert_eq!((&moved["changeMicro"], &moved["balanceMicro"]), (&json!(-2_500_000), &json!(7_500_000)));
    let all =
        json!({ "takeMicro": 7_500_001, "reason": "abuse", "note": "never", "idempotencyKey": "ticket-3" });
    let (status, refused) = fleet.try_set(&path, &all).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refused}");
    let said = refused["error"]["message"].as_str().expect("a sentence");
    assert!(said.contains("$7.500000") && said.contains("$7.500001"), "{said}");

    caught_up(&fleet).await;
    let page = fleet.read(&format!("/users/{account}/wallet/transactions")).await;
    let lines = page["transactions"].as_array().expect("a list");
    let line = |line: &Value| (line["kind"].clone(), line["amountMicro"].clone(), line["note"].clone());
    assert_eq!(
        lines.iter().map(line).collect::<Vec<_>>(),
        [
            (json!("credit_adjusted"), json!(-2_500_000), json!("Ada called")),
            (json!("credit_granted"), json!(10_000_000), json!("lost parcel")),
        ]
    );
    assert_eq!(lines[0]["reason"], "duplicate_credit");
    let (actor, payload) = fleet.events("wallet.credit_adjusted").await.remove(0);
    assert_eq!(actor, "operator:static-admin-1");
    assert!(!payload.to_string().contains("Ada"), "free text stands in the log: {payload}");
    let notes: i64 = sqlx::query_scalar("select count(*) from wallet_notes")
        .fetch_one(&fleet.service.app.pool)
        .await
        .expect("notes");
    assert_eq!(notes, 2, "what was refused or repeated leaves no note");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_is_set_by_the_difference_and_only_if_it_is_the_one_that_was_seen() {
    let fleet = Fleet::start().await;
    let account = fleet.service.customer().await.account_id;
    let path = format!("/users/{account}/wallet");
    let to = |balance: i64, seen: i64, key: &str| json!({ "balanceMicro": balance, "seenMicro": seen, "idempotencyKey": key });
    let moved = fleet.set(&path, &to(8_000_000, 0, "a")).await;
    assert_eq!((&moved["changeMicro"], &moved["balanceMicro"]), (&json!(8_000_000), &json!(8_000_000)));
    let again = fleet.set(&path, &to(8_000_000, 0, "a")).await;
    assert_eq!((&again["replayed"], &again["balanceMicro"]), (&json!(true), &json!(8_000_000)));
    let moved = fleet.set(&path, &to(3_000_000, 8_000_000, "b")).await;
    assert_eq!(moved["changeMicro"], -5_000_000);
    let moved = fleet.set(&path, &to(3_000_000, 3_000_000, "c")).await;
    assert_eq!((&moved["movementId"], &moved["positions"]), (&Value::Null, &json!([])));
    let (status, refused) = fleet.try_set(&path, &to(9_000_000, 8_000_000, "d")).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("balance_changed")));
    assert!(refused["error"]["message"].as_str().expect("a sentence").contains("$3.000000"));
    assert_eq!(fleet.refused(&path, &to(-1, 3_000_000, "e")).await, (400, "amount_out_of_range".into()));
    let payload = fleet.events("wallet.credit_adjusted").await.remove(0).1;
    assert_eq!(payload["CreditAdjusted"]["reason"], "balance_set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_is_seen_refuses_generations_and_is_paid_by_the_next_credit() {
    let fleet = Fleet::start().await;
    let (account, token) = fleet.customer().await;
    owes_four(&fleet, account).await;
    let (status, refused) = fleet.ask(&token, "gpt-5.5", "c").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::PAYMENT_REQUIRED, &json!("debt_owed")));
    assert!(refused["error"]["message"].as_str().expect("a sentence").contains("$4.000000"));
    assert_eq!(fleet.billed().await, (0, 0));
    let (_, me) = fleet.service.get("/api/v1/me", &[("x-api-key", &token)]).await;
    assert_eq!(
        (&me["wallet"]["debtMicro"], &me["wallet"]["debtUsd"]),
        (&json!(4_000_000), &json!("4.000000"))
    );
    let (_, status) = fleet.service.get("/api/v1/wallet/status", &[("x-api-key", &token)]).await;
    assert_eq!((&status["balanceMicro"], &status["debtMicro"]), (&json!(10_000_000), &json!(4_000_000)));

    let set = json!({ "balanceMicro": 20_000_000, "seenMicro": 10_000_000, "idempotencyKey": "a" });
    assert_eq!(fleet.refused(&format!("/users/{account}/wallet"), &set).await, (409, "debt_owed".into()));
    let grant = json!({ "grantMicro": 5_000_000, "source": "top_up", "idempotencyKey": "b" });
    let moved = fleet.set(&format!("/users/{account}/wallet/credit"), &grant).await;
    assert_eq!((&moved["changeMicro"], &moved["debtPaidMicro"]), (&json!(1_000_000), &json!(4_000_000)));
    assert_eq!(fleet.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_change_is_refused_by_name() {
    let fleet = Fleet::start().await;
    let account = fleet.service.customer().await.account_id;
    let path = format!("/users/{account}/wallet/credit");
    let key = "k".repeat(201);
    let cases = [
        (json!({ "idempotencyKey": "k" }), "grant_or_take"),
        (json!({ "grantMicro": 1, "takeMicro": 1, "idempotencyKey": "k" }), "grant_or_take"),
        (json!({ "grantMicro": 1, "reason": "abuse", "idempotencyKey": "k" }), "grant_or_take"),
        (
            json!({ "takeMicro": 1, "source": "admin", "reason": "abuse", "idempotencyKey": "k" }),
            "grant_or_take",
        ),
        (json!({ "takeMicro": 1, "idempotencyKey": "k" }), "reason_wanted"),
        (json!({ "takeMicro": 1, "reason": "because", "idempotencyKey": "k" }), "invalid_body"),
        (json!({ "grantMicro": 1 }), "invalid_body"),
        (json!({ "grantMicro": 1.5, "idempotencyKey": "k" }), "invalid_body"),
        (json!({ "grantMicro": 1, "idempotencyKey": "" }), "invalid_idempotency_key"),
        (json!({ "grantMicro": 1, "idempotencyKey": key }), "invalid_idempotency_key"),
        (json!({ "grantMicro": 0, "idempotencyKey": "k" }), "amount_out_of_range"),
        (json!({ "grantMicro": -5, "idempotencyKey": "k" }), "amount_out_of_range"),
        (
            json!({ "grantMicro": 1, "expiresAt": "2001-01-01T00:00:00Z", "idempotencyKey": "k" }),
            "expires_in_the_past",
        ),
        (
            json!({ "grantMicro": 1, "expiresAt": "+10000-01-01T00:00:00Z", "idempotencyKey": "k" }),
            "invalid_body",
        ),
        (json!({ "grantMicro": 1, "note": "n".repeat(501), "idempotencyKey": "k" }), "note_length"),
    ];
    for (body, code) in cases {
        assert_eq!(fleet.refused(&path, &body).await, (400, code.to_owned()), "{body}");
    }
    let stranger = "/users/0190a0a0-0000-7000-8000-000000000001/wallet/credit";
    let body = json!({ "grantMicro": 1, "idempotencyKey": "k" });
    assert_eq!(fleet.refused(stranger, &body).await, (404, "account_not_found".into()));
    assert_eq!(fleet.refused("/users/ada/wallet/credit", &body).await, (400, "invalid_user_id".into()));
    assert!(fleet.events("wallet.credit_granted").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_listed_in_pages_and_found_by_how_they_begin() {
    let fleet = Fleet::start().await;
    let mut ids = Vec::new();
    for (name, email) in
        [("Grace Hopper", "gh@example.org"), ("100%_Real", "x@example.org"), ("Alan", "grace@example.org")]
    {
        let new =
            NewCustomer { name: Some(name.into()), email: Some(email.into()), ..NewCustomer::default() };
        let (log, credentials) = (&fleet.service.app.log, &fleet.service.app.config.credentials);
        let created = accounts::create_customer(log, credentials, &crate::http::operator(), new).await;
        ids.push(created.expect("created").account_id);
    }
    owes_four(&fleet, ids[0]).await;
    caught_up(&fleet).await;
    let found = async |query: &str| -> Vec<Uuid> {
        let page = fleet.read(&format!("/users?{query}")).await;
        let id = |user: &Value| user["id"].as_str().expect("an id").parse().expect("a UUID");
        page["users"].as_array().expect("a list").iter().map(id).collect()
    };
    let (grace, real, alan) = (ids[0].0, ids[1].0, ids[2].0);
    assert_eq!(found("limit=200").await, [alan, real, grace]);
    assert_eq!(found("search=GRACE").await, [alan, grace], "a name, and an address");
    assert_eq!(found("search=100%25_").await, [real]);
    assert_eq!(found("search=1%25").await, [] as [Uuid; 0]);
    assert_eq!(found(&format!("search={grace}")).await, [grace]);
    let first = fleet.read("/users?limit=2").await;
    let before = first["nextBefore"].as_i64().expect("a next page");
    assert_eq!(found(&format!("limit=2&before={before}")).await, [grace]);
    let page = fleet.read(&format!("/users?search={grace}")).await;
    let user = &page["users"][0];
    assert_eq!((&user["debtMicro"], &user["debtUsd"]), (&json!(4_000_000), &json!("4.000000")));
    assert_eq!(
        (&user["balanceMicro"], &user["heldMicro"], &user["active"]),
        (&json!(0), &json!(0), &json!(true))
    );
    assert_eq!((&user["name"], &user["email"]), (&json!("Grace Hopper"), &json!("gh@example.org")));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_paged_and_a_strangers_are_not_found() {
    let fleet = Fleet::start().await;
    let account = fleet.service.customer().await.account_id;
    for dollars in 1..=5 {
        fleet.service.credit(account, dollars).await;
    }
    caught_up(&fleet).await;
    let path = format!("/users/{account}/wallet/transactions");
    let first = fleet.read(&format!("{path}?limit=3")).await;
    let amounts = |page: &Value| -> Vec<i64> {
        let lines = page["transactions"].as_array().expect("a list");
        lines.iter().map(|line| line["amountMicro"].as_i64().expect("a number") / 1_000_000).collect()
    };
    assert_eq!(amounts(&first), [5, 4, 3]);
    assert_eq!((&first["balanceMicro"], &first["debtMicro"]), (&json!(15_000_000), &json!(0)));
    let before = first["nextBefore"].as_i64().expect("a next page");
    let last = fleet.read(&format!("{path}?limit=3&before={before}")).await;
    assert_eq!((amounts(&last), &last["nextBefore"]), (vec![2, 1], &Value::Null));
    let stranger = "/admin/api/users/0190a0a0-0000-7000-8000-000000000001/wallet/transactions";
    let admin = [("x-api-key", crate::http::ADMIN_TOKEN)];
    let (status, body) = fleet.service.get(stranger, &admin).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("account_not_found")));
}
