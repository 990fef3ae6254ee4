//! What goes wrong in the middle: bad data, lost connections, a server that restarts or stays away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use codexapi::commands::CommandError;
use codexapi::event_log::EventLog;
use futures::future::join_all;
use sqlx::PgPool;

use super::proxy::Proxy;
use super::purse::{
    Answer, Purse, balance, block_appends, credit, debit, metadata, open, sequences, wait_until_blocked,
    wait_until_queued,
};
use crate::harness::{TestDatabase, TestServer, wait_for};

async fn credit_with_note(log: &EventLog, id: &str, note: &str) -> Answer {
    log.execute(id, &metadata(), |purse: &Purse, _| Ok(purse.credit(1, note))).await
}

/// Ends the writers' server processes, at work or idle; returns how many there were.
async fn kill_writers(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM (
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'codexapi event log') AS killed",
    )
    .fetch_one(pool)
    .await
    .expect("killed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_postgres_cannot_hold_fails_its_command_alone() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let blocked = block_appends(&database.pool).await;
    let stuck = tokio::spawn({
        let log = log.clone();
        async move { credit(&log, "stuck", 1).await }
    });
    wait_until_blocked(&database.pool, 1).await;
    // In one batch: some before, the offender, one that builds on it, some after.
    let mut commands = vec![];
    for (queued, (purse, note)) in [
        ("a", "fine"),
        ("bad", "fine"),
        ("bad", "a \0 in it"),
        ("bad", "builds on it"),
        ("c", "fine"),
        ("a", "fine"),
    ]
    .into_iter()
    .enumerate()
    {
        let log_of_task = log.clone();
        commands.push(tokio::spawn(async move { credit_with_note(&log_of_task, purse, note).await }));
        wait_until_queued(&log, queued + 1).await;
    }
    blocked.rollback().await.expect("unblocked");
    stuck.await.expect("no panic").expect("credited");
    let answers: Vec<_> =
        join_all(commands).await.into_iter().map(|answer| answer.expect("no panic")).collect();
    assert!(matches!(answers[2], Err(CommandError::Failed(_))), "{:?}", answers[2]);
    for fine in [0, 1, 3, 4, 5] {
        assert!(answers[fine].is_ok(), "{fine}: {:?}", answers[fine]);
    }
    assert_eq!(sequences(&database.pool, "bad").await, [1, 2]);
    assert_eq!(balance(&log, "bad").await, 2);
    assert_eq!(balance(&log, "a").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_id_that_postgres_cannot_hold_is_a_failure_too() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let metadata = metadata();
    let call = codexapi::commands::Call::new(&metadata).fresh_stream();
    let answer = log
        .execute("a \0 in it", call, |purse: &Purse, _| {
            Ok::<_, std::convert::Infallible>(purse.credit(1, "x"))
        })
        .await;
    assert!(matches!(answer, Err(CommandError::Failed(_))), "{answer:?}");
    credit(&log, "p", 1).await.expect("the writer goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_killed_before_the_commit_loses_and_doubles_nothing() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "p", 10).await.expect("credited");
    let blocked = block_appends(&database.pool).await;
    let spending = tokio::spawn({
        let log = log.clone();
        async move { debit(&log, "p", 10).await }
    });
    wait_until_blocked(&database.pool, 1).await;
    assert_eq!(kill_writers(&database.pool).await, 1);
    blocked.rollback().await.expect("unblocked");
    spending.await.expect("no panic").expect("spent once");
    assert_eq!(sequences(&database.pool, "p").await, [1, 2]);
    assert_eq!(balance(&log, "p").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_which_the_answer_was_lost_is_found_and_answered() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start(database.pool.connect_options().get_port()).await;
    let log = open(&proxy.pool(&database.pool).await).await;
    credit(&log, "p", 10).await.expect("credited");
    for spent in 1..=5 {
        let blocked = block_appends(&database.pool).await;
        // Two in one batch behind the lock, since the second waits in the queue or shares the statement.
        let spending = [("p", 1), ("q", 0)].map(|(purse, amount)| {
            let log = log.clone();
            tokio::spawn(async move { debit(&log, purse, amount).await })
        });
        wait_until_blocked(&database.pool, 1).await;
        proxy.swallow_next_answer();
        blocked.rollback().await.expect("unblocked");
        for answer in spending {
            answer.await.expect("no panic").expect("stored, and found to be");
        }
        assert_eq!(proxy.to_swallow(), 0, "the answer was lost");
        assert_eq!(sequences(&database.pool, "p").await, (1..=1 + spent).collect::<Vec<_>>());
        assert_eq!(sequences(&database.pool, "q").await, (1..=spent).collect::<Vec<_>>());
        assert_eq!(balance(&log, "p").await, 10 - spent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_outlives_its_connection_is_not_done_twice() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start(database.pool.connect_options().get_port()).await;
    let log = open(&proxy.pool(&database.pool).await).await;
    credit(&log, "p", 10).await.expect("credited");
    let blocked = block_appends(&database.pool).await;
    let spending = tokio::spawn({
        let log = log.clone();
        async move { debit(&log, "p", 1).await }
    });
    wait_until_blocked(&database.pool, 1).await;
    let lost = waiting_writers(&database.pool).await;
    proxy.cut_writer();
    // Decided anew on another connection: by then the server process of the old one must be gone.
    let waiting = wait_for("another server process takes over", async || {
        let waiting = waiting_writers(&database.pool).await;
        waiting.iter().any(|pid| !lost.contains(pid)).then_some(waiting)
    })
    .await;
    assert!(!waiting.contains(&lost[0]), "{} could still commit", lost[0]);
    blocked.rollback().await.expect("unblocked");
    spending.await.expect("no panic").expect("spent");
    assert_eq!(sequences(&database.pool, "p").await, [1, 2]);
    assert_eq!(balance(&log, "p").await, 9);
}

/// The server processes that wait for the log's lock.
async fn waiting_writers(pool: &PgPool) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'codexapi event log'
           AND wait_event = 'advisory'",
    )
    .fetch_all(pool)
    .await
    .expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_killed_under_load_lose_and_double_nothing() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = (0..16).map(|task| {
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut stored = 0;
            while !stop.load(Ordering::Relaxed) {
                credit(&log, "hot", 1).await.expect("found out, or done again");
                credit(&log, &format!("p{task}"), 1).await.expect("found out, or done again");
                stored += 1;
            }
            stored
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut killed = 0;
    while killed < 15 {
        killed += kill_writers(&database.pool).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for (task, stored) in join_all(tasks).await.into_iter().enumerate() {
        let stored: i64 = stored.expect("no panic");
        assert_eq!(sequences(&database.pool, &format!("p{task}")).await, (1..=stored).collect::<Vec<_>>());
        total += stored;
    }
    assert_eq!(sequences(&database.pool, "hot").await, (1..=total).collect::<Vec<_>>());
    assert_eq!(balance(&log, "hot").await, total);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgres_under_load_loses_and_doubles_nothing() {
    let mut server = TestServer::start(&[]).await;
    let pool = server.database().await;
    let log = open(&pool).await;
    let stop = Arc::new(AtomicBool::new(false));
    let unknown = Arc::new(AtomicI64::new(0));
    let tasks = (0..16).map(|_| {
        let (log, stop, unknown) = (log.clone(), Arc::clone(&stop), Arc::clone(&unknown));
        tokio::spawn(async move {
            let mut stored = 0;
            while !stop.load(Ordering::Relaxed) {
                match credit(&log, "hot", 1).await {
                    Ok(_) => stored += 1,
                    Err(CommandError::Unavailable { outcome_unknown: true, .. }) => {
                        unknown.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(CommandError::Unavailable { outcome_unknown: false, .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            stored
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for kill in [false, true] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if kill {
            server.postgres.kill9().expect("killed");
        }
        server.postgres.restart().await.expect("restarted");
    }
    wait_for("appends go through again", async || credit(&log, "after", 1).await.ok()).await;
    stop.store(true, Ordering::Relaxed);
    let told: i64 =
        join_all(tasks).await.into_iter().map(|stored: Result<i64, _>| stored.expect("no panic")).sum();
    let stored = sequences(&pool, "hot").await;
    let count = i64::try_from(stored.len()).expect("small");
    assert_eq!(stored, (1..=count).collect::<Vec<_>>());
    let unknown = unknown.load(Ordering::Relaxed);
    assert!((told..=told + unknown).contains(&count), "{told} told, {unknown} unknown, {count} stored");
    assert_eq!(balance(&log, "hot").await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_commands_are_told_so_and_afterwards_all_is_well() {
    let mut server = TestServer::start(&[]).await;
    let pool = server.database().await;
    let log = open(&pool).await;
    credit(&log, "p", 1).await.expect("credited");
    server.postgres.stop().await.expect("stopped");
    // One whose stream is live, one whose stream must be loaded, one that wants to be refused.
    for answer in [credit(&log, "p", 1).await, credit(&log, "new", 1).await, debit(&log, "p", 100).await] {
        assert!(matches!(answer, Err(CommandError::Unavailable { .. })), "{answer:?}");
    }
    server.postgres.restart().await.expect("restarted");
    wait_for("appends go through again", async || credit(&log, "p", 1).await.ok()).await;
    let stored = sequences(&pool, "p").await;
    assert_eq!(balance(&log, "p").await, i64::try_from(stored.len()).expect("small"));
}
