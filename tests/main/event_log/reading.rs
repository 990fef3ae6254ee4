//! Order: commit order is position order, so a plain cursor misses nothing.

use std::collections::HashSet;
use std::num::NonZeroU16;

use codexapi::event_log::read::{self, SHARD};
use codexapi_aggregates::account::{Account, AccountCommand, AccountEvent, AccountRefusal};
use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::ids::{AccountId, PersonId};
use futures::TryStreamExt;
use futures::future::join_all;

use super::purse::{credit, metadata, open};
use crate::harness::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_on_after_the_last_position_misses_nothing() {
    const WRITERS: usize = 16;
    const EACH: usize = 40;
    let database = TestDatabase::new().await;
    let nodes = join_all((0..4).map(|_| open(&database.pool))).await;
    let mut appended = nodes[0].appended();
    let writers = (0..WRITERS).map(|writer| {
        let log = nodes[writer % nodes.len()].clone();
        tokio::spawn(async move {
            for turn in 0..EACH {
                credit(&log, &format!("p{writer}"), 1 + turn as i64).await.expect("credited");
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut read = vec![];
    let mut last = 0;
    while read.len() < WRITERS * EACH {
        let page = read::read_after(&database.pool, SHARD, last, 7).await.expect("read");
        match page.last() {
            Some(event) => last = event.position,
            None => {
                let waited = tokio::time::timeout(crate::harness::PATIENCE, appended.changed()).await;
                waited.expect("woken by the next append").expect("open");
            }
        }
        read.extend(page);
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert!(read.is_sorted_by(|one, next| one.position < next.position));
    let distinct: HashSet<_> = read.iter().map(|event| (&event.aggregate_id, event.sequence)).collect();
    assert_eq!(distinct.len(), WRITERS * EACH);
    assert_eq!(read::head(&database.pool, SHARD).await.expect("read"), last);
    for positions in [1, 7, 10_000] {
        let positions = NonZeroU16::new(positions).expect("some");
        let streamed = read::stream_after(&database.pool, SHARD, 0, last, positions).try_collect();
        let streamed: Vec<_> = streamed.await.expect("streamed");
        assert_eq!(streamed, read, "{positions} at a time");
    }
    let (seven, eight) = (NonZeroU16::new(7).expect("some"), read[8].position);
    let between = read::stream_after(&database.pool, SHARD, read[2].position, eight, seven).try_collect();
    let between: Vec<_> = between.await.expect("streamed");
    assert_eq!(between, read[3..=8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_one_commit_stand_in_the_order_they_were_decided() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let commands = (0..300).map(|_| {
        let log = log.clone();
        tokio::spawn(async move { credit(&log, "p", 1).await })
    });
    join_all(commands).await;
    let in_order = read::read_after(&database.pool, SHARD, 0, 1_000).await.expect("read");
    let sequences: Vec<_> = in_order.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_in_pages_and_decodes_to_what_was_decided() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let account_id = AccountId(codexapi::clock::new_id());
    let person_id = PersonId(codexapi::clock::new_id());
    let id = account_id.to_string();
    let register = |account: &Account, now| {
        account.decide(AccountCommand::RegisterCustomer { account_id, person_id, now })
    };
    let committed = log.execute(&id, &metadata(), register).await.expect("registered");
    let again = log.execute(&id, &metadata(), register).await;
    assert!(matches!(
        again,
        Err(codexapi::commands::CommandError::Refused(AccountRefusal::AlreadyRegistered))
    ));

    let page = read::read_stream(&database.pool, "account", &id, 0, 10).await.expect("read");
    assert_eq!(page.len(), 1);
    let recorded = page[0].decode().expect("decoded");
    assert_eq!(recorded.event, AnyEvent::Account(committed.events[0].clone()));
    assert_eq!(recorded.metadata, metadata());
    assert_eq!((recorded.position, recorded.sequence), (committed.position, 1));
    let AccountEvent::CustomerRegistered { at, .. } = committed.events[0] else { panic!("registered") };
    assert_eq!(recorded.recorded_at, at);
    assert!(read::read_stream(&database.pool, "account", &id, 1, 10).await.expect("read").is_empty());
}
