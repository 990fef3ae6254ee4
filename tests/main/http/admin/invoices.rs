//! A provider's invoice beside what the log says that its attempts cost.

use chrono::{DateTime, Days, NaiveDate};
use codexapi::clock;
use http::StatusCode;
use serde_json::{Value, json};

use super::Fleet;
use crate::http::ADMIN_TOKEN;

impl Fleet {
    async fn import(&self, provider: &str, csv: &str) -> (StatusCode, Value) {
        let path = format!("/admin/api/provider-invoices?provider={provider}");
        self.service.post(&path, &[("x-api-key", ADMIN_TOKEN)], csv.to_owned()).await
    }

    async fn imported(&self, csv: &str) -> Value {
        let (status, answer) = self.import("one", csv).await;
        assert_eq!(status, StatusCode::OK, "{csv}: {answer}");
        answer
    }

    /// Three generations at the first provider; what they cost.
    async fn used(&self) -> i64 {
        let (_, token) = self.customer().await;
        for _ in 0..3 {
            assert_eq!(self.ask(&token, "gpt-5.5", "c").await.0, StatusCode::OK);
        }
        let head: i64 = sqlx::query_scalar("select max(position) from events")
            .fetch_one(&self.service.app.pool)
            .await
            .expect("the head");
        self.service.projected("generations", head).await;
        let usage = self.read("/model-usage").await;
        usage["models"][0]["costMicro"].as_i64().expect("a cost")
    }
}

fn today() -> NaiveDate {
    DateTime::from_timestamp_micros(clock::now().0).expect("a moment").date_naive()
}

/// One of another model on the day before and the day after: whatever the log has of these days is shown beside them.
fn around() -> String {
    let [before, after] = [today() - Days::new(1), today() + Days::new(1)];
    format!("day,model,tokens,cost_usd\n{before},other,7,0.5\n{after},other,,0.25\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_compared_by_day_and_model_with_what_the_log_has() {
    let fleet = Fleet::start().await;
    let cost = fleet.used().await;
    let first = fleet.imported(&around()).await;
    let rows = first["rows"].as_array().expect("rows").clone();
    let recorded: Vec<&Value> = rows.iter().filter(|row| row["model"] == "gpt-5.5").collect();
    assert_eq!(recorded.iter().map(|row| row["recordedMicro"].as_i64().expect("a cost")).sum::<i64>(), cost);
    assert_eq!(recorded.iter().map(|row| row["recordedAttempts"].as_i64().expect("a count")).sum::<i64>(), 3);
    assert!(
        recorded.iter().all(|row| row["invoicedMicro"].is_null() && row["recordedTokens"].as_i64() > Some(0))
    );
    let other = rows.iter().find(|row| row["model"] == "other").expect("what was invoiced");
    assert_eq!(
        (&other["invoicedTokens"], &other["recordedMicro"], &other["differenceUsd"]),
        (&json!(7), &Value::Null, &json!("0.500000"))
    );
    assert_eq!(first["totals"]["differenceMicro"], 750_000 - cost);

    let line = |row: &Value, extra: &str| {
        let (day, usd) = (row["day"].as_str().expect("a day"), row["recordedUsd"].as_str().expect("dollars"));
        format!("{day},gpt-5.5,,{usd}\n{extra}")
    };
    let exact: String = recorded.iter().map(|row| line(row, "")).collect();
    let exact = format!("day,model,tokens,cost_usd\n{exact}");
    let totals = fleet.imported(&exact).await["totals"].clone();
    assert_eq!((&totals["differing"], &totals["differenceMicro"]), (&json!(0), &json!(0)));
    let day = recorded[0]["day"].as_str().expect("a day");
    let dearer = fleet.imported(&format!("{exact}{day},gpt-5.5,,0.01\n")).await;
    assert_eq!(dearer["totals"]["differing"], 1);
    assert_eq!(dearer["totals"]["differenceUsd"], "0.010000");

    let again = fleet.imported(&exact).await;
    assert_eq!((&again["new"], &dearer["new"]), (&json!(false), &json!(true)));
    let id = again["invoice"]["id"].as_str().expect("an id");
    assert_eq!(fleet.read(&format!("/provider-invoices/{id}")).await["totals"], totals);
    assert_eq!(again["invoice"]["importedBy"], "operator:static-admin-1");
    let listed = fleet.read("/provider-invoices").await;
    assert_eq!(listed["invoices"].as_array().map(Vec::len), Some(3), "each file once");
    assert_eq!(listed["invoices"][0], dearer["invoice"], "newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_is_read_in_pages_and_each_row_once() {
    let fleet = Fleet::start().await;
    fleet.used().await;
    let whole = fleet.imported(&around()).await;
    let id = whole["invoice"]["id"].as_str().expect("an id");
    let (mut seen, mut after) = (vec![], String::new());
    loop {
        let page = fleet.read(&format!("/provider-invoices/{id}?limit=1{after}")).await;
        assert_eq!(page["totals"], whole["totals"]);
        seen.extend(page["rows"].as_array().expect("rows").clone());
        let Some(next) = page["nextAfter"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(json!(seen), whole["rows"]);
    assert!(seen.len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_not_understood_is_refused_whole() {
    let fleet = Fleet::start().await;
    fleet.used().await;
    let cases = [
        ("one", "day,model,cost_usd\n2026-11-01,gpt-5.5,1\n2026-11-02,gpt-5.5,1e3\n", 400, "line 3:"),
        ("one", "day,cost_usd\n", 400, "no column \"model\""),
        ("one", "", 400, "no lines"),
        ("nobody", "day,model,cost_usd\n2026-11-01,gpt-5.5,1\n", 400, "\"nobody\""),
    ];
    for (provider, csv, status, told) in cases {
        let (got, answer) = fleet.import(provider, csv).await;
        let message = answer["error"]["message"].as_str().expect("a message");
        assert_eq!((got.as_u16(), message.contains(told)), (status, true), "{csv}: {message}");
    }
    let large = "x".repeat(2 * 1024 * 1024 + 1);
    assert_eq!(fleet.import("one", &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(fleet.read("/provider-invoices").await["invoices"], json!([]));
    let stranger = "/admin/api/provider-invoices/0190a0a0-0000-7000-8000-000000000001";
    let (status, _) = fleet.service.get(stranger, &[("x-api-key", ADMIN_TOKEN)]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
