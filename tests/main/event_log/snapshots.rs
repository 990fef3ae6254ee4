//! Snapshots: a quicker start to exactly the same state, and nothing that counts.

use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi_aggregates::account::{Account, AccountCommand, KeyKind};
use codexapi_aggregates::ids::{AccountId, KeyId, PersonId};
use sqlx::PgPool;

use super::purse::{Purse, credit, debit, metadata, open, options};
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
    let account_id = AccountId(codexapi::clock::new_id());
    let id = account_id.to_string();
    let person_id = PersonId(codexapi::clock::new_id());
    log.execute(&id, &metadata(), |account: &Account, now| {
        account.decide(AccountCommand::RegisterCustomer { account_id, person_id, now })
    })
    .await
    .expect("registered");
    let key_id = KeyId(codexapi::clock::new_id());
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
