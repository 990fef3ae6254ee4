//! The statement export: whole, in order, adding up, in both formats.

use codexapi::clock;
use codexapi_aggregates::ids::{GrantId, KeyId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{GrantSource, WalletAction};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::Value;

use super::Service;
use crate::business::Business;

/// A customer with more movements than a page has: $1 granted 250 times, one generation, and $300 taken back for a
/// payment of $40.
async fn busy() -> (Service, String) {
    let service = Service::start().await;
    let customer = service.customer().await;
    let business = Business::of(service.app.log.clone(), customer.account_id, KeyId(clock::new_id()));
    let pay = async |dollars: i64, source| {
        let grant_id = GrantId(clock::new_id());
        let amount_micro = MicroUsd::dollars(dollars);
        business
            .command(WalletAction::GrantCredit { grant_id, source, amount_micro, expires_at: None })
            .await;
        grant_id
    };
    for _ in 0..250 {
        pay(1, GrantSource::Admin).await;
    }
    let payment_id = pay(40, GrantSource::TopUp).await;
    business.generate("conversation").await;
    let amount_micro = MicroUsd::dollars(300);
    business.command(WalletAction::TakeBackPayment { payment_id, amount_micro }).await;
    let head: i64 = sqlx::query_scalar("select max(position) from events")
        .fetch_one(&service.app.pool)
        .await
        .expect("a position");
    service.projected("wallet_movements", head).await;
    let token = customer.system_token.token.reveal().to_owned();
    (service, token)
}

async fn fetched(service: &Service, token: &str, query: &str) -> (StatusCode, String, String, String) {
    let path = format!("/api/v1/billing/statement{query}");
    let response = service.send("GET", &path, &[("x-api-key", token)]).await;
    let header =
        |name| response.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    let (status, kind, disposition) = (response.status(), header(CONTENT_TYPE), header(CONTENT_DISPOSITION));
    let body = response.into_body().collect().await.expect("whole").to_bytes();
    (status, kind, disposition, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_statement_adds_up_from_the_opening_to_the_closing_balance() {
    let (service, token) = busy().await;
    let (status, kind, disposition, body) = fetched(&service, &token, "").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
    assert!(disposition.starts_with("attachment; filename=\"statement-2000-01-01-"), "{disposition}");
    let statement: Value = serde_json::from_str(&body).expect("JSON");
    let number = |value: &Value| value.as_i64().expect("a number");
    let movements = statement["movements"].as_array().expect("a list");
    assert_eq!(movements.len(), 253);
    let (mut balance, mut debt) =
        (number(&statement["openingBalanceMicro"]), number(&statement["openingDebtMicro"]));
    assert_eq!((balance, debt), (0, 0));
    for movement in movements {
        balance += number(&movement["amountMicro"]);
        debt += number(&movement["debtChangeMicro"]);
        assert_eq!(balance, number(&movement["balanceMicro"]), "{movement}");
    }
    assert_eq!(balance, number(&statement["closingBalanceMicro"]));
    assert_eq!(debt, number(&statement["closingDebtMicro"]));
    assert_eq!(debt, 260_000_000, "the payment was 40, and what was given is not taken for it");
    let kinds: Vec<&str> = movements[250..].iter().map(|line| line["kind"].as_str().expect("text")).collect();
    assert_eq!(kinds, ["credit_granted", "usage_charged", "payment_reversed"]);
    assert!(
        statement["movements"][0].get("shortfallMicro").is_none(),
        "the operator's leak is the operator's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_statement_has_a_line_for_each_movement_between_its_two_balances() {
    let (service, token) = busy().await;
    let (status, kind, disposition, body) = fetched(&service, &token, "?format=csv").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/csv; charset=utf-8"));
    assert!(disposition.ends_with(".csv\""), "{disposition}");
    let lines: Vec<Vec<&str>> = body.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 253 + 3);
    assert!(lines.iter().all(|cells| cells.len() == 15));
    assert_eq!(lines[0][..4], ["at", "kind", "amount_usd", "balance_usd"]);
    assert_eq!(lines[1][1..6], ["opening_balance", "", "0.000000", "", "0.000000"]);
    assert_eq!(lines[2][1..6], ["credit_granted", "1.000000", "1.000000", "0.000000", "0.000000"]);
    let taken = &lines[254];
    assert_eq!((taken[1], taken[4], taken[5]), ("payment_reversed", "260.000000", "260.000000"));
    assert_eq!(lines[255][1], "closing_balance");
    assert_eq!(lines[255][3], taken[3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_opens_with_what_was_there_before_it() {
    let (service, token) = busy().await;
    let today = &codexapi::clock::rfc3339(clock::now())[..10];
    let next: chrono::NaiveDate = today.parse().expect("a day");
    let tomorrow = next.succ_opt().expect("a day");
    let (_, _, _, body) = fetched(&service, &token, &format!("?from={tomorrow}&to={tomorrow}")).await;
    let statement: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(statement["movements"], Value::Array(vec![]));
    assert_eq!(statement["openingBalanceMicro"], statement["closingBalanceMicro"]);
    assert!(statement["openingBalanceMicro"].as_i64().expect("a number") > 240_000_000);
    assert_eq!(
        (&statement["openingDebtMicro"], &statement["closingDebtMicro"]),
        (&260_000_000.into(), &260_000_000.into())
    );
    let (_, _, _, before) = fetched(&service, &token, "?from=2001-01-01&to=2001-01-31").await;
    let statement: Value = serde_json::from_str(&before).expect("JSON");
    assert_eq!((&statement["openingBalanceMicro"], &statement["closingDebtMicro"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_about_a_statement_are_refused_by_name() {
    let service = Service::start().await;
    let token = service.customer().await.system_token.token.reveal().to_owned();
    let bad = [
        ("format=pdf", "invalid_query"),
        ("from=yesterday", "invalid_query"),
        ("from=2026-11-22&to=2026-11-21", "invalid_range"),
        ("from=1999-01-01", "invalid_range"),
        ("timezone=Middle/Earth", "invalid_timezone"),
        ("form=csv", "invalid_query"),
    ];
    for (query, code) in bad {
        let path = format!("/api/v1/billing/statement?{query}");
        let (status, body) = service.get(&path, &[("x-api-key", &token)]).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &code.into()), "{query}");
    }
}
