//! A Cash Wallet as its customer reads it, and as `verify` does.

use codexapi::verify::Difference;
use codexapi_aggregates::bonus::{BonusAction, BonusCommand, Bonuses};
use codexapi_aggregates::cash::CashAction;
use codexapi_aggregates::ids::{CommissionId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Executor};
use uuid::Uuid;

use super::Shop;
use crate::http::operator;

#[tokio::test(flavor = "multi_thread")]
async fn every_movement_of_cash_stands_on_the_statement_with_the_balance_after_it() {
    let shop = Shop::open().await;
    assert_eq!(shop.get("/api/v1/cash-wallet").await["balanceMicro"], 0);
    let payment_id = shop.pay_in(100).await;
    let amount_micro = MicroUsd::dollars(30);
    let commission_id = CommissionId(Uuid::from_u128(1));
    shop.cash(CashAction::PayCommission { commission_id, amount_micro }).await;
    shop.cash(CashAction::TakeBack { payment_id, amount_micro: MicroUsd::dollars(150) }).await;

    let status = shop.get("/api/v1/cash-wallet").await;
    let expected = json!({
        "balanceMicro": 0, "balanceUsd": "0.000000", "debtMicro": 20_000_000, "debtUsd": "20.000000",
    });
    assert_eq!(status, expected);

    shop.settle_down().await;
    let first = shop.get("/api/v1/cash-wallet/statement?limit=2").await;
    let cursor = first["nextCursor"].as_str().expect("a second page");
    let second = shop.get(&format!("/api/v1/cash-wallet/statement?limit=2&cursor={cursor}")).await;
    assert_eq!(second["nextCursor"], Value::Null);
    let pages = [&first, &second];
    let lines: Vec<&Value> = pages.iter().flat_map(|page| page["movements"].as_array()).flatten().collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["kind"].as_str(), line["amountMicro"].as_i64(), line["balanceAfterMicro"].as_i64()))
        .collect();
    let expected = [
        (Some("payment_taken_back"), Some(-150_000_000), Some(0)),
        (Some("commission_paid"), Some(30_000_000), Some(130_000_000)),
        (Some("topped_up"), Some(100_000_000), Some(100_000_000)),
    ];
    assert_eq!(told, expected);
    assert_eq!(lines[0]["debtAfterMicro"], 20_000_000);
    assert_eq!(lines[0]["paymentId"], json!(payment_id.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_cash_table_is_named() {
    let shop = Shop::open().await;
    shop.pay_in(100).await;
    let report = shop.verify().await;
    assert_eq!((report.difference, report.cash_wallets), (None, 1));
    for (table, column) in [("cash_balances", "debt_micro"), ("cash_movements", "amount_micro")] {
        let change = |by: &str| format!("UPDATE {table}_1 SET {column} = {column} {by}");
        sqlx::query(&change("+ 1")).execute(&shop.service.app.pool).await.expect("corrupted");
        match shop.verify().await.difference {
            Some(Difference::Projection { table: found, detail, .. }) => {
                assert_eq!(found, table);
                assert!(detail.contains(column), "{detail}");
            }
            other => panic!("{table}: {other:?}"),
        }
        sqlx::query(&change("- 1")).execute(&shop.service.app.pool).await.expect("mended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_cash_event_is_named() {
    let shop = Shop::open().await;
    shop.pay_in(100).await;
    let mut connection = shop.service.app.pool.connect_options().connect().await.expect("connected");
    connection.execute("SET session_replication_role = replica").await.expect("superuser");
    let tamper =
        "UPDATE events SET payload = jsonb_set(payload::jsonb, '{ToppedUp,amount_micro}', '900000000')
                  WHERE event_type = 'cash_wallet.topped_up'";
    connection.execute(tamper).await.expect("tampered");
    match shop.verify().await.difference {
        Some(Difference::PayloadEdited { event }) => {
            assert_eq!(event.stream, format!("cash_wallet {}", shop.account_id));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_and_never_granted_is_named() {
    let shop = Shop::open().await;
    let stream = shop.account_id.to_string();
    let (grant_id, amount_micro) = (GrantId(Uuid::from_u128(5)), MicroUsd::dollars(10));
    let claim = BonusAction::ClaimShareCredit { grant_id, amount_micro };
    let decide = |bonuses: &Bonuses, now| bonuses.decide(BonusCommand { action: claim.clone(), now });
    shop.service.app.log.execute(&stream, &operator(), decide).await.expect("allowed");
    match shop.verify().await.difference {
        Some(Difference::Given { account_id, id, what, .. }) => {
            assert_eq!((account_id, id), (stream, grant_id.to_string()));
            assert!(what.contains("never granted"), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commission_that_no_review_paid_is_named() {
    let shop = Shop::open().await;
    let (commission_id, amount_micro) = (CommissionId(Uuid::from_u128(1)), MicroUsd::dollars(30));
    shop.cash(CashAction::PayCommission { commission_id, amount_micro }).await;
    match shop.verify().await.difference {
        Some(Difference::Given { account_id, id, .. }) => {
            assert_eq!((account_id, id), (shop.account_id.to_string(), commission_id.to_string()));
        }
        other => panic!("{other:?}"),
    }
}
