//! Two event logs on one database, standing for two nodes, or for a node and the command line.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use codexapi::commands::CommandError;
use futures::future::join_all;

use super::purse::{
    Purse, TooLittle, balance, block_appends, credit, credit_by_hand, credit_untold, debit, is_refused,
    metadata, open, sequences, transfer, wait_until_blocked, wait_until_queued,
};
use crate::harness::{TestDatabase, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_lose_nothing_double_nothing_and_leave_no_gap() {
    let database = TestDatabase::new().await;
    let nodes = [open(&database.pool).await, open(&database.pool).await];
    credit(&nodes[0], "hot", 150).await.expect("credited");
    let tasks = (0..32).map(|task| {
        let log = nodes[task % 2].clone();
        tokio::spawn(async move {
            let mut spent = 0;
            for _ in 0..6 {
                match debit(&log, "hot", 1).await {
                    Ok(_) => spent += 1,
                    Err(CommandError::Refused(TooLittle { balance, .. })) => assert_eq!(balance, 0),
                    Err(error) => panic!("{error}"),
                }
                credit(&log, &format!("own{task}"), 1).await.expect("credited");
            }
            spent
        })
    });
    let spent: i64 = join_all(tasks).await.into_iter().map(|task| task.expect("no panic")).sum();
    assert_eq!(spent, 150);
    assert_eq!(sequences(&database.pool, "hot").await, (1..=151).collect::<Vec<_>>());
    for node in &nodes {
        debit(node, "hot", 1).await.expect_err("nothing is left");
        for task in 0..32 {
            assert_eq!(sequences(&database.pool, &format!("own{task}")).await, [1, 2, 3, 4, 5, 6]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_of_two_nodes_keeps_a_stream_that_both_are_busy_with() {
    const COMMANDS: u32 = 1_500;
    let database = TestDatabase::new().await;
    let nodes = [open(&database.pool).await, open(&database.pool).await];
    let (begun, ended) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks = (0..8).map(|task| {
        let (log, begun, ended) = (nodes[task % 2].clone(), Arc::clone(&begun), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut most_passed = 0;
            while begun.fetch_add(1, Ordering::Relaxed) < COMMANDS {
                let before = ended.load(Ordering::Relaxed);
                credit(&log, "hot", 1).await.expect("credited");
                most_passed = most_passed.max(ended.fetch_add(1, Ordering::Relaxed) - before);
                // As a generation does, between its hold and its end.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            most_passed
        })
    });
    let most_passed: Vec<u32> =
        join_all(tasks).await.into_iter().map(|task| task.expect("no panic")).collect();
    // Without turns, hundreds.
    assert!(
        most_passed.iter().all(|passed| *passed < 170),
        "others went first so many times: {most_passed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_on_two_nodes_conserve_money() {
    let database = TestDatabase::new().await;
    let nodes = [open(&database.pool).await, open(&database.pool).await];
    for purse in ["a", "b"] {
        credit(&nodes[0], purse, 50).await.expect("credited");
    }
    let tasks = (0..80).map(|task| {
        let log = nodes[task % 2].clone();
        let (from, to) = if task % 3 == 0 { ("b", "a") } else { ("a", "b") };
        tokio::spawn(async move { transfer(&log, from, to, 3).await })
    });
    for answer in join_all(tasks).await {
        let answer = answer.expect("no panic");
        assert!(matches!(answer, Ok(()) | Err(CommandError::Refused(_))), "{answer:?}");
    }
    let fresh = open(&database.pool).await;
    assert_eq!(balance(&fresh, "a").await + balance(&fresh, "b").await, 100);
    let lengths = [sequences(&database.pool, "a").await.len(), sequences(&database.pool, "b").await.len()];
    assert_eq!(lengths[0], lengths[1], "a transfer stands in both purses or in none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_decided_on_the_latest_that_any_process_has_stored() {
    let database = TestDatabase::new().await;
    let node = open(&database.pool).await;
    assert!(is_refused(&debit(&node, "p", 1).await));
    for sequence in 1..=20 {
        let mut elsewhere = database.pool.acquire().await.expect("a connection");
        credit_by_hand(&mut elsewhere, "p", sequence * 2 - 1, 1).await;
        debit(&node, "p", 1).await.expect("what is stored is enough");
    }
    assert!(is_refused(&debit(&node, "p", 1).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nothing_need_happen_is_decided_on_the_latest_too() {
    let database = TestDatabase::new().await;
    let node = open(&database.pool).await;
    let empty_it = |purse: &Purse, _| match purse.balance {
        0 => Ok(vec![]),
        balance => Ok::<_, Infallible>(purse.debit(balance).expect("all of it")),
    };
    let nothing = node.execute("p", &metadata(), empty_it).await.expect("empty already");
    assert_eq!(nothing.events, []);
    let mut elsewhere = database.pool.acquire().await.expect("a connection");
    credit_by_hand(&mut elsewhere, "p", 1, 1).await;
    let emptied = node.execute("p", &metadata(), empty_it).await.expect("emptied");
    assert_eq!((emptied.events.len(), emptied.sequence), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_drops_what_builds_on_it_and_nothing_else() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    for purse in ["a", "b", "c", "d"] {
        credit(&log, purse, 10).await.expect("credited");
    }
    let mut blocked = block_appends(&database.pool).await;
    let mut commands = vec![tokio::spawn({
        let log = log.clone();
        async move { credit(&log, "z", 1).await.map(drop) }
    })];
    wait_until_blocked(&database.pool, 1).await;
    // One by one, so that their order is known: a conflicts, a→b builds on it, b→c on that; d is apart.
    for (queued, (from, to)) in [("a", "b"), ("b", "c"), ("d", "d2")].into_iter().enumerate() {
        let log_of_task = log.clone();
        commands.push(tokio::spawn(async move { transfer(&log_of_task, from, to, 10).await }));
        wait_until_queued(&log, queued + 1).await;
    }
    credit_by_hand(&mut blocked, "a", 2, 11).await;
    blocked.commit().await.expect("unblocked");
    for command in commands {
        command.await.expect("no panic").expect("decided anew, all can be done");
    }
    let fresh = open(&database.pool).await;
    for (purse, expected, events) in
        [("a", 1, 3), ("b", 10, 3), ("c", 20, 2), ("d", 0, 2), ("d2", 10, 1), ("z", 1, 1)]
    {
        assert_eq!(balance(&log, purse).await, expected, "{purse}");
        assert_eq!(balance(&fresh, purse).await, expected, "{purse}");
        assert_eq!(sequences(&database.pool, purse).await.len(), events, "{purse}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_what_another_has_appended() {
    let database = TestDatabase::new().await;
    let nodes = [open(&database.pool).await, open(&database.pool).await];
    assert_eq!(balance(&nodes[1], "p").await, 0);
    let mut appended = nodes[1].appended();
    let committed = credit(&nodes[0], "p", 3).await.expect("credited");
    let heard = appended.wait_for(|position| *position >= committed.position);
    tokio::time::timeout(crate::harness::PATIENCE, heard).await.expect("heard in time").expect("open");
    wait_for("the cached purse catches up", async || (balance(&nodes[1], "p").await == 3).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_nobody_has_announced_shows_between_those_of_a_busy_node() {
    let database = TestDatabase::new().await;
    let node = open(&database.pool).await;
    assert_eq!(balance(&node, "p").await, 0);
    // Busy, so that it never comes to look by itself.
    let busy = tokio::spawn({
        let node = node.clone();
        async move {
            loop {
                credit(&node, "busy", 1).await.expect("credited");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let mut elsewhere = database.pool.acquire().await.expect("a connection");
    for sequence in 1..=3 {
        credit_untold(&mut elsewhere, "p", sequence, sequence).await;
        wait_for("the cached purse catches up", async || {
            (balance(&node, "p").await == sequence).then_some(())
        })
        .await;
    }
    busy.abort();
}
