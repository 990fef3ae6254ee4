//! One node: group commit, locks, refusals on uncommitted state, the cache, the queue.

use std::time::Duration;

use codexapi::clock;
use codexapi::commands::{Call, CommandError};
use codexapi::event_log::read::{self, SHARD};
use codexapi::event_log::{BATCH_EVENTS, EventLog, EventLogOptions, QUEUE_CAPACITY};
use futures::future::join_all;

use super::purse::{
    Purse, balance, block_appends, credit, credit_by_hand, debit, is_refused, metadata, open, options,
    sequences, transfer, wait_until_blocked, wait_until_queued,
};
use crate::harness::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_cannot_spend_the_same_money_twice() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "hot", 500).await.expect("credited");
    let tasks = (0..64).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            let answers = join_all((0..10).map(|_| debit(&log, "hot", 1))).await;
            (
                answers.iter().filter(|answer| answer.is_ok()).count(),
                answers.iter().filter(|a| is_refused(a)).count(),
            )
        })
    });
    let answers = join_all(tasks).await.into_iter().map(|task| task.expect("no panic"));
    let (spent, refused) = answers.fold((0, 0), |sum, answer| (sum.0 + answer.0, sum.1 + answer.1));
    assert_eq!((spent, refused), (500, 140));
    assert_eq!(balance(&log, "hot").await, 0);
    assert_eq!(sequences(&database.pool, "hot").await, (1..=501).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_in_the_order_of_commands_and_begin_after_those_of_a_failed_append() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "p", 1_000).await.expect("credited");
    let mut blocked = block_appends(&database.pool).await;
    let batches = [(); 2].map(|()| {
        let log = log.clone();
        tokio::spawn(async move { join_all((0..200).map(|_| debit(&log, "p", 1))).await })
    });
    wait_until_blocked(&database.pool, 1).await;
    // Another program takes the sequence that the waiting append wants: it fails, and is decided anew.
    credit_by_hand(&mut blocked, "p", 2, 1_001).await;
    blocked.commit().await.expect("unblocked");
    for answers in join_all(batches).await {
        assert!(answers.expect("no panic").iter().all(Result::is_ok));
    }
    let events: Vec<(i64, i64)> = sqlx::query_as("SELECT position, sequence FROM events ORDER BY position")
        .fetch_all(&database.pool)
        .await
        .expect("the log");
    assert_eq!(
        events.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(),
        (1..=402).collect::<Vec<_>>()
    );
    let next: i64 = sqlx::query_scalar("SELECT nextval('events_position_seq')")
        .fetch_one(&database.pool)
        .await
        .expect("a number");
    assert_eq!(next, events.last().expect("events").0 + 1, "nothing is numbered beyond what is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_answer_with_their_events_and_places() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let first = credit(&log, "p", 5).await.expect("credited");
    let second = debit(&log, "p", 2).await.expect("debited");
    assert_eq!((first.sequence, second.sequence), (1, 2));
    assert!(first.position > 0 && second.position > first.position);
    assert_eq!(*log.appended().borrow(), second.position);
    assert_eq!(second.events, Purse { balance: 5, ..Purse::default() }.debit(2).expect("enough"));
    assert!(!second.replayed);
    let nothing = credit(&log, "p", 0).await.expect("nothing to do");
    assert_eq!((nothing.events.len(), nothing.position, nothing.sequence), (0, 0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_in_both_directions_neither_deadlock_nor_lose_money() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    for purse in ["a", "b", "c"] {
        credit(&log, purse, 100).await.expect("credited");
    }
    let pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("a", "c"), ("c", "b")];
    let tasks = (0..240).map(|task| {
        let log = log.clone();
        let (from, to) = pairs[task % pairs.len()];
        tokio::spawn(async move { transfer(&log, from, to, 7).await })
    });
    for answer in join_all(tasks).await {
        let answer = answer.expect("no panic");
        assert!(matches!(answer, Ok(()) | Err(CommandError::Refused(_))), "{answer:?}");
    }
    let fresh = open(&database.pool).await;
    let mut total = 0;
    for purse in ["a", "b", "c"] {
        assert_eq!(balance(&log, purse).await, balance(&fresh, purse).await);
        total += balance(&fresh, purse).await;
    }
    assert_eq!(total, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_on_uncommitted_state_is_not_given_before_that_commits() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "p", 10).await.expect("credited");
    let blocked = block_appends(&database.pool).await;
    let spending = tokio::spawn({
        let log = log.clone();
        async move { debit(&log, "p", 10).await }
    });
    wait_until_blocked(&database.pool, 1).await;
    let mut refused = tokio::spawn({
        let log = log.clone();
        async move { debit(&log, "p", 1).await }
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut refused).await;
    assert!(early.is_err(), "refused for money that was not yet spent: {early:?}");
    blocked.rollback().await.expect("unblocked");
    spending.await.expect("no panic").expect("spent");
    assert!(is_refused(&refused.await.expect("no panic")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_on_state_that_was_not_committed_is_decided_again() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "p", 10).await.expect("credited");
    let mut blocked = block_appends(&database.pool).await;
    let spending = tokio::spawn({
        let log = log.clone();
        async move { debit(&log, "p", 10).await }
    });
    wait_until_blocked(&database.pool, 1).await;
    let second = tokio::spawn({
        let log = log.clone();
        async move { debit(&log, "p", 5).await }
    });
    // Another program credits the purse first, so the first debit does not stand, nor the refusal.
    credit_by_hand(&mut blocked, "p", 2, 15).await;
    blocked.commit().await.expect("unblocked");
    spending.await.expect("no panic").expect("spent");
    second.await.expect("no panic").expect("15 is enough for 10 and 5");
    assert_eq!(balance(&log, "p").await, 0);
    assert_eq!(sequences(&database.pool, "p").await, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_never_given_a_time_before_its_streams_last_event() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "p", 1).await.expect("credited");
    let ahead = clock::now().plus_secs(3_600);
    sqlx::query(
        "SELECT append_events('elsewhere', ARRAY[gen_random_uuid()], ARRAY['purse'], ARRAY['p'], ARRAY[2::bigint],
             ARRAY['purse.debited'], ARRAY['1'], ARRAY['{\"Debited\":{\"amount\":1,\"balance\":0}}'],
             ARRAY['{\"actor\":\"\"}'], ARRAY[decode(repeat('00', 32), 'hex')], ARRAY[$1],
             '{}', '{}', '{}', '{}', '{}', '{}')",
    )
    .bind(chrono::DateTime::from_timestamp_micros(ahead.0).expect("a date"))
    .execute(&database.pool)
    .await
    .expect("appended");
    let fresh = open(&database.pool).await;
    let mut given = vec![];
    for log in [&fresh, &fresh, &log] {
        let seen = std::sync::Mutex::new(ahead.minus_secs(1));
        let late = |purse: &Purse, now| {
            *seen.lock().expect("unpoisoned") = now;
            Ok::<_, std::convert::Infallible>(purse.credit(1, "late"))
        };
        log.execute("p", &metadata(), late).await.expect("credited");
        given.push(*seen.lock().expect("unpoisoned"));
    }
    assert_eq!(given, [ahead; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_said_to_be_fresh_that_is_not_is_loaded_all_the_same() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "old", 10).await.expect("credited");
    let other = open(&database.pool).await;
    let metadata = metadata();
    let call = Call::new(&metadata).fresh_stream();
    let refused_if_empty = other.execute("old", call, |purse: &Purse, _| purse.debit(4)).await;
    refused_if_empty.expect("10 is enough");
    let third = open(&database.pool).await;
    let written_if_empty = third
        .execute("old", call, |purse: &Purse, _| Ok::<_, std::convert::Infallible>(purse.credit(1, "more")));
    assert_eq!(written_if_empty.await.expect("credited").sequence, 3);
    assert_eq!(balance(&third, "old").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_streams_leave_the_cache_and_come_back_with_their_state() {
    let database = TestDatabase::new().await;
    let log = EventLog::open(database.pool.clone(), EventLogOptions { cache_capacity: 8, ..options() })
        .await
        .expect("the log opens");
    for round in 1..=3 {
        for purse in 0..50 {
            credit(&log, &format!("p{purse}"), 1).await.expect("credited");
            assert!(log.cached_streams() <= 8, "round {round}: {} streams", log.cached_streams());
        }
    }
    for purse in 0..50 {
        assert_eq!(balance(&log, &format!("p{purse}")).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_queued_events_is_not_evicted() {
    let database = TestDatabase::new().await;
    let log = EventLog::open(database.pool.clone(), EventLogOptions { cache_capacity: 4, ..options() })
        .await
        .expect("the log opens");
    let blocked = block_appends(&database.pool).await;
    let commands = (0..60).map(|command| {
        let log = log.clone();
        tokio::spawn(async move { credit(&log, &format!("p{}", command % 30), 1).await })
    });
    let commands: Vec<_> = commands.collect();
    wait_until_blocked(&database.pool, 1).await;
    blocked.rollback().await.expect("unblocked");
    for command in commands {
        command.await.expect("no panic").expect("credited");
    }
    // Evicted with events in the queue, a purse would have been loaded too old, and the conflict would
    // have left a hole in the positions.
    assert_eq!(read::head(&database.pool, SHARD).await.expect("read"), 60);
    for purse in 0..30 {
        assert_eq!(sequences(&database.pool, &format!("p{purse}")).await, [1, 2]);
        assert_eq!(balance(&log, &format!("p{purse}")).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_what_it_holds_is_stored() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit(&log, "p", 0).await.expect("loaded");
    let blocked = block_appends(&database.pool).await;
    let first = tokio::spawn({
        let log = log.clone();
        async move { credit(&log, "p", 1).await }
    });
    wait_until_blocked(&database.pool, 1).await;
    let commands = (0..QUEUE_CAPACITY + BATCH_EVENTS).map(|_| {
        let log = log.clone();
        tokio::spawn(async move { credit(&log, "p", 1).await })
    });
    let commands: Vec<_> = commands.collect();
    wait_until_queued(&log, QUEUE_CAPACITY).await;
    blocked.rollback().await.expect("unblocked");
    let mut stored = 1;
    let mut overloaded = 0;
    first.await.expect("no panic").expect("credited");
    for command in commands {
        match command.await.expect("no panic") {
            Ok(_) => stored += 1,
            Err(CommandError::Overloaded) => overloaded += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(overloaded > 0);
    assert_eq!(stored + overloaded, 1 + QUEUE_CAPACITY + BATCH_EVENTS);
    assert_eq!(balance(&log, "p").await, i64::try_from(stored).expect("small"));
    assert_eq!(sequences(&database.pool, "p").await.len(), stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_answers_what_is_queued_and_takes_nothing_new() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let blocked = block_appends(&database.pool).await;
    let queued = tokio::spawn({
        let log = log.clone();
        async move { credit(&log, "p", 1).await }
    });
    wait_until_blocked(&database.pool, 1).await;
    assert!(!log.drain(Duration::from_millis(50)).await, "drained although a command is queued");
    let late = credit(&log, "p", 1).await;
    assert!(matches!(late, Err(CommandError::Unavailable { outcome_unknown: false, .. })), "{late:?}");
    blocked.rollback().await.expect("unblocked");
    queued.await.expect("no panic").expect("credited");
    assert!(log.drain(Duration::from_secs(30)).await);
}
