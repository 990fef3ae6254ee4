//! Idempotency keys: one effect per key, whoever asks how often, and the first result for all.

use codexapi::clock;
use codexapi::commands::{CommandError, CommandError::IdempotencyMismatch};
use codexapi::event_log::{EventLog, IdempotencyKey, idempotency};
use futures::future::join_all;

use super::purse::{
    Answer, Purse, TooLittle, balance, block_appends, metadata, open, sequences, wait_until_blocked,
    wait_until_queued,
};
use crate::harness::TestDatabase;

fn key(name: &str, amount: i64) -> IdempotencyKey {
    let mut inputs_digest = [0; 32];
    inputs_digest[..8].copy_from_slice(&amount.to_be_bytes());
    IdempotencyKey {
        command: "credit_purse",
        account: "system".into(),
        key: name.into(),
        inputs_digest,
        keep_forever: false,
    }
}

async fn credit_once(log: &EventLog, id: &str, name: &str, amount: i64) -> Answer {
    log.execute_once(id, &metadata(), key(name, amount), |purse: &Purse, _| Ok(purse.credit(amount, name)))
        .await
}

async fn debit_once(log: &EventLog, id: &str, name: &str, amount: i64) -> Answer {
    log.execute_once(id, &metadata(), key(name, amount), |purse: &Purse, _| purse.debit(amount)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_deliveries_of_one_key_to_two_nodes_have_one_effect_and_one_result() {
    let database = TestDatabase::new().await;
    let nodes = [open(&database.pool).await, open(&database.pool).await];
    let deliveries = (0..20).map(|delivery| {
        let log = nodes[delivery % 2].clone();
        tokio::spawn(async move { credit_once(&log, "p", "k", 5).await })
    });
    let answers: Vec<_> = join_all(deliveries)
        .await
        .into_iter()
        .map(|answer| answer.expect("no panic").expect("credited"))
        .collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    for answer in &answers {
        assert_eq!(answer.events, answers[0].events);
        assert_eq!((answer.position, answer.sequence), (answers[0].position, 1));
    }
    assert_eq!(sequences(&database.pool, "p").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_with_other_inputs_is_refused() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit_once(&log, "p", "k", 5).await.expect("credited");
    let other = credit_once(&log, "p", "k", 6).await;
    assert!(matches!(other, Err(IdempotencyMismatch { command: "credit_purse", .. })), "{other:?}");
    assert_eq!(balance(&log, "p").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_given_again_though_the_rule_would_now_refuse() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit_once(&log, "p", "in", 5).await.expect("credited");
    let first = debit_once(&log, "p", "out", 5).await.expect("debited");
    let again = debit_once(&log, "p", "out", 5).await.expect("the first result");
    assert!(again.replayed);
    assert_eq!(again.events, first.events);
    let fresh = open(&database.pool).await;
    assert!(debit_once(&fresh, "p", "out", 5).await.expect("the first result").replayed);
    assert_eq!(balance(&fresh, "p").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_taken_elsewhere_while_its_command_was_queued_leaves_the_others_alone() {
    let database = TestDatabase::new().await;
    let nodes = [open(&database.pool).await, open(&database.pool).await];
    let blocked = block_appends(&database.pool).await;
    // Both nodes are past looking for the key before either can store it.
    let mut commands = vec![];
    for (node, purse) in ["p", "q"].into_iter().enumerate() {
        let log = nodes[node].clone();
        commands.push(tokio::spawn(async move { credit_once(&log, purse, "k", 5).await }));
        wait_until_blocked(&database.pool, node + 1).await;
    }
    let others = (0..10).map(|other| {
        let log = nodes[other % 2].clone();
        tokio::spawn(async move { credit_once(&log, "r", &format!("other{other}"), 1).await })
    });
    let others: Vec<_> = others.collect();
    for node in &nodes {
        // On one purse the second node's decisions will conflict as well; that must not matter.
        wait_until_queued(node, 5).await;
    }
    blocked.rollback().await.expect("unblocked");
    let mut replayed = vec![];
    for command in commands {
        replayed.push(command.await.expect("no panic").expect("a result").replayed);
    }
    replayed.sort_unstable();
    assert_eq!(replayed, [false, true]);
    for other in others {
        assert!(!other.await.expect("no panic").expect("credited").replayed);
    }
    let stored = [sequences(&database.pool, "p").await.len(), sequences(&database.pool, "q").await.len()];
    assert_eq!(stored[0] + stored[1], 1);
    assert_eq!(sequences(&database.pool, "r").await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_leaves_its_key_free() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let refused = debit_once(&log, "p", "k", 5).await;
    assert!(matches!(refused, Err(CommandError::Refused(TooLittle { balance: 0, amount: 5 }))));
    credit_once(&log, "p", "in", 5).await.expect("credited");
    assert!(!debit_once(&log, "p", "k", 5).await.expect("debited").replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nothing_happened_is_a_result_too() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit_once(&log, "p", "in", 5).await.expect("credited");
    assert!(!credit_once(&log, "p", "nothing", 0).await.expect("nothing").replayed);
    let again = credit_once(&log, "p", "nothing", 0).await.expect("nothing, again");
    assert_eq!((again.replayed, again.events.len(), again.sequence), (true, 0, 1));
    assert!(matches!(credit_once(&log, "p", "nothing", 1).await, Err(IdempotencyMismatch { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_is_given_again_whole() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit_once(&log, "a", "in", 9).await.expect("credited");
    let transfer = async || {
        let decide =
            |from: &Purse, to: &Purse, _| Ok::<_, TooLittle>((from.debit(4)?, to.credit(4, "t"), "fresh"));
        log.execute_pair_once::<Purse, Purse, _, _>("a", "b", &metadata(), key("t", 4), decide).await
    };
    let (first, extra) = transfer().await.expect("moved");
    assert_eq!(extra, Some("fresh"));
    let (again, extra) = transfer().await.expect("the first result");
    assert_eq!(extra, None);
    assert!(again.first.replayed && again.second.replayed);
    assert_eq!((again.first.events, again.second.events), (first.first.events, first.second.events));
    assert_eq!((balance(&log, "a").await, balance(&log, "b").await), (5, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_keys_are_purged_but_those_kept_for_ever() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    credit_once(&log, "p", "ordinary", 1).await.expect("credited");
    let kept = IdempotencyKey { keep_forever: true, ..key("payment", 2) };
    let pay = async || {
        let decide = |purse: &Purse, _| Ok::<_, TooLittle>(purse.credit(2, "paid"));
        log.execute_once("p", &metadata(), kept.clone(), decide).await.expect("paid")
    };
    assert!(!pay().await.replayed);
    let now = clock::now();
    assert_eq!(idempotency::purge(&database.pool, now.minus_secs(3_600)).await.expect("purged"), 0);
    assert_eq!(idempotency::purge(&database.pool, now.plus_secs(3_600)).await.expect("purged"), 1);
    assert!(pay().await.replayed);
    assert!(!credit_once(&log, "p", "ordinary", 1).await.expect("a new effect").replayed);
}
