//! Snapshots: a quicker start to exactly the same state, and nothing that counts.

use codexapi::clock;
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi::processes::long_wallets;
use codexapi_aggregates::account::{Account, AccountCommand, KeyKind};
use codexapi_aggregates::ids::{AccountId, KeyId, PersonId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::Wallet;
use sqlx::PgPool;

use super::purse::{Purse, credit, debit, metadata, open, options};
use crate::business::Business;
use crate::harness::{TestDatabase, wait_for};

async fn open_with_snapshots(pool: &PgPool, snapshot_every: i64) -> EventLog {
    EventLog::open(pool.clone(), EventLogOptions { snapshot_every, ..options() })
        .await
        .expect("the log opens")
}

async fn wait_for_snapshot(pool: &PgPool, id: &str, sequence: i64) {
    wait_for("a snapshot is kept", async || {
        let kept: Option<i64> =
            sqlx::query_scalar("SELECT sequence FROM snapshots_cache WHERE aggregate_id = $1")
                .bind(id)
                .fetch_optional(pool)
                .await
                .expect("read");
        (kept == Some(sequence)).then_some(())
    })
    .await;
}

async fn state(log: &EventLog, id: &str) -> Purse {
    log.read(id, Purse::clone).await.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_the_events_after_it_give_the_state_of_a_full_replay() {
    let database = TestDatabase::new().await;
    let log = open_with_snapshots(&database.pool, 20).await;
    for turn in 1..=75 {
        credit(&log, "p", turn).await.expect("credited");
        if turn % 5 == 0 {
            wait_for_snapshot_if_due(&database.pool, &log).await;
        }
    }
    debit(&log, "p", 1).await.expect("debited");
    wait_for_snapshot(&database.pool, "p", 60).await;
    let from_snapshot = state(&open(&database.pool).await, "p").await;
    sqlx::query("DELETE FROM snapshots_cache").execute(&database.pool).await.expect("deleted");
    let replayed = state(&open(&database.pool).await, "p").await;
    assert_eq!(from_snapshot, replayed);
    assert_eq!(from_snapshot, state(&log, "p").await);
    assert_eq!(replayed.movements, 76);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_longer_than_one_read_is_loaded_and_its_snapshot_kept_by_who_reads_it() {
    let database = TestDatabase::new().await;
    let log = open_with_snapshots(&database.pool, i64::MAX).await;
    for _ in 0..25 {
        credit(&log, "p", 1).await.expect("credited");
    }
    let expected = state(&log, "p").await;
    for load_at_once in [1, 7, 25, 26] {
        sqlx::query("DELETE FROM snapshots_cache").execute(&database.pool).await.expect("deleted");
        let options = EventLogOptions { snapshot_every: 5, load_at_once, ..options() };
        let reading = EventLog::open(database.pool.clone(), options).await.expect("the log");
        assert_eq!(state(&reading, "p").await, expected, "{load_at_once} at once");
        wait_for_snapshot(&database.pool, "p", if load_at_once == 7 { 21 } else { 25 }).await;
        assert_eq!(state(&open(&database.pool).await, "p").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_wallets_are_folded_anew_by_changed_code_before_anybody_asks() {
    let database = TestDatabase::new().await;
    let log = open_with_snapshots(&database.pool, 3).await;
    let business = Business::of(log.clone(), AccountId(clock::new_id()), KeyId(clock::new_id()));
    for _ in 0..4 {
        business.grant(MicroUsd::dollars(1)).await;
    }
    wait_for_snapshot(&database.pool, &business.wallet(), 3).await;
    sqlx::query("UPDATE snapshots_cache SET code_version = 'other'")
        .execute(&database.pool)
        .await
        .expect("changed");
    let upgraded = open_with_snapshots(&database.pool, 3).await;
    assert_eq!(long_wallets::fold_anew(&upgraded).await.expect("folded"), 1);
    wait_for_snapshot(&database.pool, &business.wallet(), 4).await;
    assert_eq!(long_wallets::fold_anew(&upgraded).await.expect("nothing to do"), 0);
    let look = async |log: &EventLog| log.read(&business.wallet(), Wallet::clone).await.expect("read");
    assert_eq!(look(&open(&database.pool).await).await, look(&log).await);
}

/// Keeps the test from outrunning the task that writes snapshots, which may drop some.
async fn wait_for_snapshot_if_due(pool: &PgPool, log: &EventLog) {
    let due = state(log, "p").await.movements / 20 * 20;
    if due > 0 {
        wait_for_snapshot(pool, "p", due).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_aggregate_survives_its_snapshot() {
    let database = TestDatabase::new().await;
    let log = open_with_snapshots(&database.pool, 2).await;
    let account_id = AccountId(clock::new_id());
    let id = account_id.to_string();
    let person_id = PersonId(clock::new_id());
    log.execute(&id, &metadata(), |account: &Account, now| {
        account.decide(AccountCommand::RegisterCustomer { account_id, person_id, now })
    })
    .await
    .expect("registered");
    let key_id = KeyId(clock::new_id());
    log.execute(&id, &metadata(), |account: &Account, now| {
        account.decide(AccountCommand::IssueKey {
            key_id,
            kind: KeyKind::Api,
            digest: "d".into(),
            prefix: "p".into(),
            now,
        })
    })
    .await
    .expect("issued");
    wait_for_snapshot(&database.pool, &id, 2).await;
    let loaded = open(&database.pool).await.read(&id, Account::clone).await.expect("read");
    assert_eq!(loaded, log.read(&id, Account::clone).await.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_counts_only_for_the_code_and_the_log_it_was_made_from() {
    let database = TestDatabase::new().await;
    let log = open_with_snapshots(&database.pool, 3).await;
    for _ in 0..4 {
        credit(&log, "p", 1).await.expect("credited");
    }
    wait_for_snapshot(&database.pool, "p", 3).await;
    let change = async |sql: &str| sqlx::query(sql).execute(&database.pool).await.expect("changed");
    // A telling lie, so that it shows whether the snapshot is used.
    change("UPDATE snapshots_cache SET state = jsonb_set(state, '{movements}', '100')").await;
    assert_eq!(state(&open(&database.pool).await, "p").await.movements, 101);
    change("UPDATE snapshots_cache SET code_version = 'other'").await;
    assert_eq!(state(&open(&database.pool).await, "p").await.movements, 4);
    let kept = "UPDATE snapshots_cache SET code_version = $1, last_hash = $2";
    sqlx::query(kept)
        .bind(env!("CODEXAPI_FOLD_VERSION"))
        .bind([7_u8; 32].as_slice())
        .execute(&database.pool)
        .await
        .expect("changed");
    assert_eq!(state(&open(&database.pool).await, "p").await.movements, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_read_is_passed_over() {
    let database = TestDatabase::new().await;
    let log = open_with_snapshots(&database.pool, 3).await;
    for _ in 0..3 {
        credit(&log, "p", 1).await.expect("credited");
    }
    wait_for_snapshot(&database.pool, "p", 3).await;
    sqlx::query("UPDATE snapshots_cache SET state = '[]'").execute(&database.pool).await.expect("changed");
    assert_eq!(state(&open(&database.pool).await, "p").await.movements, 3);
}
