//! Batches: cut anywhere, delivered again, overlapping, with holes.

use codexapi_aggregates::event::RecordedEvent;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_projections::apply::{Applied, ApplyError, apply, apply_together};
use codexapi_projections::{Entry, FoldError, READ_MODELS, checkpoint, read_model};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;

use super::history::{History, KINDS, Step, account};
use super::{apply_to_all, clear, database, entries, tables};
use crate::business::Business;

/// Each case folds a whole history twice.
const CASES: u32 = 24;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..KINDS, 0..3_u8, 0..2_000_u16, 0..240_u16)
        .prop_map(|(kind, account, amount, minutes)| Step { kind, account, amount, minutes });
    prop::collection::vec(step, 1..120)
}

/// A history that has something of everything.
pub(super) fn full_history() -> Vec<RecordedEvent> {
    let step = |n: u32| Step {
        kind: (n * 5 % u32::from(KINDS)) as u8,
        account: (n % 3) as u8,
        amount: (n * 37 % 1_500) as u16,
        minutes: (n * 13 % 50) as u16,
    };
    History::of(&(0..400).map(step).collect::<Vec<_>>()).events
}

#[tokio::test(flavor = "multi_thread")]
async fn events_cut_into_any_batches_give_the_same_tables() {
    let (_database, pool) = database().await;
    let handle = tokio::runtime::Handle::current();
    let inputs = (steps(), prop::collection::vec((1..40_usize, 0..10_usize), 1..20));
    let check = move || {
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        runner.run(&inputs, |(steps, cuts)| {
            let events = History::of(&steps).events;
            let (whole, cut) = handle.block_on(async {
                clear(&pool).await;
                apply_to_all(&pool, &events, 0).await;
                let whole = tables(&pool).await;
                clear(&pool).await;
                in_batches(&pool, &events, &cuts).await;
                (whole, tables(&pool).await)
            });
            prop_assert_eq!(whole, cut);
            Ok(())
        })
    };
    tokio::task::spawn_blocking(check).await.expect("no panic").expect("the same tables");
}

/// Applies `events` in batches of the given lengths, each beginning some events before its place.
async fn in_batches(pool: &sqlx::PgPool, events: &[RecordedEvent], cuts: &[(usize, usize)]) {
    let mut done: usize = 0;
    for (length, overlap) in cuts.iter().cycle() {
        let begin = done.saturating_sub(*overlap);
        let end = (done + length).min(events.len());
        let previous = begin.checked_sub(1).map_or(0, |before| events[before].position);
        apply_to_all(pool, &events[begin..end], previous).await;
        done = end;
        if done == events.len() {
            return;
        }
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_changes_nothing_and_a_hole_is_refused() {
    let (_database, pool) = database().await;
    let events = full_history();
    let (first, rest) = events.split_at(100);
    let (skipped, later) = rest.split_at(50);
    let end = first[99].position;
    for applied in apply_to_all(&pool, first, 0).await {
        assert_eq!(applied, Applied::Upto { position: end });
    }
    let before = tables(&pool).await;
    apply_to_all(&pool, first, 0).await;
    apply_to_all(&pool, &first[40..], first[39].position).await;
    for applied in apply_to_all(&pool, later, skipped[49].position).await {
        assert_eq!(applied, Applied::Hole { checkpoint: end });
    }
    assert_eq!(tables(&pool).await, before);
    for model in READ_MODELS {
        assert_eq!(checkpoint::position(&pool, model.name).await.expect("a checkpoint"), end);
    }

    // Half of it known, half of it new.
    apply_to_all(&pool, &events[60..150], events[59].position).await;
    let (_fresh, fresh) = database().await;
    apply_to_all(&fresh, &events[..150], 0).await;
    assert_eq!(tables(&pool).await, tables(&fresh).await);
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_stops_its_own_read_models_just_before_it() {
    let (_database, pool) = database().await;
    let events = full_history();
    let mut batch = entries(&events[..20]);
    let bad = events[20].position;
    let unreadable =
        Entry::Unreadable { position: bad, aggregate_type: "account".into(), error: "no such event".into() };
    batch.push(unreadable);
    batch.extend(entries(&events[21..30]));

    let accounts = read_model("accounts").expect("a read model");
    let error = apply(&pool, accounts, &batch, 0).await.expect_err("stopped");
    assert!(matches!(error, ApplyError::Event(FoldError::Unreadable { position, .. }) if position == bad));
    assert_eq!(checkpoint::position(&pool, "accounts").await.expect("read"), events[19].position);
    let listed = codexapi_projections::accounts::page(&pool, None, 200).await.expect("read");
    assert_eq!(listed.rows.len(), 3);

    let balances = read_model("wallet_balances").expect("a read model");
    let applied = apply(&pool, balances, &batch, 0).await.expect("applied");
    assert_eq!(applied, Applied::Upto { position: events[29].position });
}

/// Rows of holds long closed are there until Postgres clears them away; reading them each time took as long as all else.
#[tokio::test]
async fn no_table_is_read_whole_to_write_a_few_of_its_rows() {
    let (_database, pool) = database().await;
    // What a connection has counted is asked for on that connection.
    let pool = PgPoolOptions::new().max_connections(1).connect_with((*pool.connect_options()).clone()).await;
    let pool = pool.expect("connected");
    let mut previous = 0;
    for event in full_history() {
        let position = event.position;
        apply_together(&pool, &READ_MODELS, &entries(&[event]), previous).await.expect("applied");
        previous = position;
    }
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&pool).await.expect("asked");
    let scans: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT relname::text, seq_scan, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables",
    )
    .fetch_all(&pool)
    .await
    .expect("read");
    let tables = READ_MODELS.iter().flat_map(|model| model.tables).map(|table| table.version(1));
    let written: Vec<_> = tables
        .map(|table| scans.iter().find(|(name, ..)| *name == table).expect("counted"))
        .inspect(|(name, scans, _)| assert_eq!(*scans, 0, "{name}"))
        .filter(|(.., written)| *written > 0)
        .collect();
    assert!(written.len() > 15, "the history writes few tables: {written:?}");
}

#[tokio::test]
async fn a_moment_beyond_the_calendar_stops_no_read_model() {
    let (_database, pool) = database().await;
    let business = Business::open(&pool).await;
    business.grant_until(MicroUsd::dollars(1), Timestamp(i64::MAX)).await;
    business.grant_until(MicroUsd::dollars(2), Timestamp::from_secs(253_402_300_800)).await;
    crate::verify::project(&pool).await;
    let kept: Vec<String> = sqlx::query_scalar("SELECT expires_at::text FROM expiring_grants_1")
        .fetch_all(&pool)
        .await
        .expect("read");
    assert_eq!(kept, ["9999-12-31 23:59:59.999999+00"; 2]);
    assert_eq!(crate::verify::verify(&pool).await.difference, None);
}

#[tokio::test]
async fn every_sum_agrees_with_the_events_it_comes_from() {
    let (_database, pool) = database().await;
    let events = full_history();
    apply_to_all(&pool, &events, 0).await;
    let tables = tables(&pool).await;
    let sum = |table: &str, column: &str| -> i64 {
        rows(&tables, table).iter().map(|row| row[column].as_i64().expect("a number")).sum()
    };
    for number in 0..super::history::ACCOUNTS {
        let wallet = codexapi_projections::balances::get(&pool, account(number).0).await.expect("read");
        let wallet = wallet.expect("a wallet");
        let parts = wallet.granted_micro - wallet.expired_micro - wallet.charged_micro
            + wallet.reversed_micro
            - wallet.purchased_micro
            - wallet.adjusted_micro
            - wallet.payments_reversed_micro;
        assert_eq!(wallet.balance_micro - wallet.debt_micro, parts);
    }
    let charged = sum("generations", "charged_micro");
    assert!(charged > 0 && sum("generations", "reversed_micro") > 0);
    assert_eq!(sum("wallet_balances", "charged_micro"), charged);
    assert_eq!(sum("usage_quarters", "charged_micro"), charged);
    assert_eq!(sum("margin_quarters", "charged_micro"), charged);
    assert_eq!(sum("model_quarters", "charged_micro"), charged);
    assert_eq!(sum("model_quarters", "reversed_micro"), sum("usage_quarters", "reversed_micro"));
    assert_eq!(sum("model_quarters", "output_tokens"), sum("usage_quarters", "output_tokens"));
    for column in ["requests", "charged_micro", "reversed_micro", "output_tokens"] {
        // Each counts in its day and in its week.
        assert_eq!(sum("customer_spans", column), 2 * sum("usage_quarters", column), "{column}");
    }
    assert_eq!(sum("usage_quarters", "reversed_micro"), sum("wallet_balances", "reversed_micro"));
    assert_eq!(sum("margin_quarters", "reversed_micro"), sum("generations", "reversed_micro"));
    assert_eq!(sum("margin_quarters", "provider_cost_micro"), sum("generations", "provider_cost_micro"));
    assert_eq!(sum("open_holds", "amount_micro"), sum("wallet_balances", "held_micro"));
    let movements: i64 = sum("wallet_movements", "amount_micro");
    assert_eq!(movements, sum("wallet_balances", "balance_micro"));
    assert_eq!(sum("wallet_movements", "debt_change_micro"), sum("wallet_balances", "debt_micro"));
    let refunds = rows(&tables, "credit_notes").iter().filter(|note| note["standing"] == "holds");
    assert!(refunds.count() > 0 && sum("payments", "reversed_micro") > 0, "no refund is put to the test");
    let receipts = rows(&tables, "receipts").iter().filter(|receipt| receipt["number"].is_i64()).count();
    let credited = rows(&tables, "payments").iter().filter(|payment| payment["status"] == "credited").count();
    assert!(credited > 0 && receipts == credited, "{receipts} receipts of {credited} credited payments");
    for resolution in ["released", "dismissed"] {
        let such = |row: &&Value| row["resolution"] == resolution;
        assert!(rows(&tables, "operator_queue").iter().any(|row| such(&row)), "none was {resolution}");
    }
    for column in ["purchased_micro", "adjusted_micro", "payments_reversed_micro", "debt_micro"] {
        assert!(sum("wallet_balances", column) > 0, "{column} is not put to the test");
    }
}

fn rows<'a>(tables: &'a Value, table: &str) -> &'a Vec<Value> {
    tables[table].as_array().expect("rows")
}
