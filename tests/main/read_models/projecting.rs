//! Following the log and rebuilding from it: whatever the feed does, wherever a rebuild is killed.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};
use codexapi::event_log::read::{self, SHARD};
use codexapi::projector::{self, Feed, FeedBatch, LogFeed, Projector};
use codexapi::rebuild::{Progress, rebuild, rebuild_outdated};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_projections::apply::apply_together;
use codexapi_projections::{Entry, MAX_PAGE, READ_MODELS, balances, generations, movements, versions};
use cqrs_es::DomainEvent;
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::harness::wait_for;

use super::folding::full_history;
use super::history::account;
use super::{apply_to_all, database, tables};

/// An event's aggregate, type and payload.
fn parts(event: &AnyEvent) -> (&'static str, String, String) {
    match event {
        AnyEvent::Account(event) => ("account", event.event_type(), json(event)),
        AnyEvent::AutoTopUp(event) => ("auto_topup", event.event_type(), json(event)),
        AnyEvent::Catalog(event) => ("catalog", event.event_type(), json(event)),
        AnyEvent::Bonus(event) => ("bonus", event.event_type(), json(event)),
        AnyEvent::Cash(event) => ("cash_wallet", event.event_type(), json(event)),
        AnyEvent::Gumroad(event) => ("gumroad", event.event_type(), json(event)),
        AnyEvent::Log(event) => ("log", event.event_type(), json(event)),
        AnyEvent::Payment(event) => ("payment", event.event_type(), json(event)),
        AnyEvent::Pricing(event) => ("pricing", event.event_type(), json(event)),
        AnyEvent::Referral(event) => ("referral", event.event_type(), json(event)),
        AnyEvent::Routing(event) => ("routing", event.event_type(), json(event)),
        AnyEvent::Service(event) => ("service", event.event_type(), json(event)),
        AnyEvent::Subscription(event) => ("subscription", event.event_type(), json(event)),
        AnyEvent::Usage(event) => ("usage", event.event_type(), json(event)),
        AnyEvent::Wallet(event) => ("wallet", event.event_type(), json(event)),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

/// Puts events into the log as one append; the log gives them positions of its own.
async fn append(pool: &PgPool, events: &[RecordedEvent]) {
    let parts: Vec<_> = events.iter().map(|event| parts(&event.event)).collect();
    let none: Vec<String> = vec![];
    sqlx::query(
        "SELECT append_events('test', $1, $2, $3, $4, $5, array_fill('1'::text, array[cardinality($1)]), $6, $7, \
         array_fill(sha256(''), array[cardinality($1)]), array_fill(now(), array[cardinality($1)]), \
         $8, $8, $8, '{}'::bytea[], '{}'::boolean[], $8)",
    )
    .bind(events.iter().map(|event| event.event_id).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.0).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.1.as_str()).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.2.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| json(&event.metadata)).collect::<Vec<_>>())
    .bind(none)
    .execute(pool)
    .await
    .expect("appended");
}

/// The log's events, decoded.
async fn log(pool: &PgPool) -> Vec<RecordedEvent> {
    let stored = read::read_after(pool, SHARD, 0, 100_000).await.expect("read");
    stored.iter().map(|stored| stored.decode().expect("an event")).collect()
}

/// What a fold of the whole log gives, in a database of its own.
async fn folded(pool: &PgPool) -> Value {
    let (_database, fresh) = database().await;
    apply_to_all(&fresh, &log(pool).await, 0).await;
    tables(&fresh).await
}

async fn wait_until_at_head(projector: &Projector, pool: &PgPool) {
    wait_for("read models at the log's head", async || {
        let lags = projector.lags(pool).await.expect("lags");
        lags.iter().all(|lag| lag.positions() == 0).then_some(())
    })
    .await;
}

/// A feed that loses most of what it is given, repeats some, and is away now and then: JetStream at
/// its worst.
struct BadFeed {
    log: LogFeed,
    turn: u32,
}

struct LostOrFound<B>(B);

impl<B: FeedBatch> FeedBatch for LostOrFound<B> {
    fn previous_position(&self) -> i64 {
        self.0.previous_position()
    }
    fn entries(&self) -> &[Entry] {
        self.0.entries()
    }
    async fn acknowledge(&self) -> anyhow::Result<()> {
        anyhow::bail!("gone before it could be told")
    }
}

impl Feed for BadFeed {
    type Batch = LostOrFound<<LogFeed as Feed>::Batch>;

    fn level_with(&mut self, position: i64) {
        self.log.level_with(position);
    }

    async fn next_batch(&mut self, patience: Duration) -> anyhow::Result<Option<Self::Batch>> {
        self.turn += 1;
        let batch = self.log.next_batch(patience).await?;
        match self.turn % 4 {
            0 => anyhow::bail!("away"),
            1 | 2 => Ok(None),
            _ => Ok(batch.map(LostOrFound)),
        }
    }
}

#[tokio::test]
async fn read_models_equal_the_log_whatever_the_feed_loses() {
    let (_database, pool) = database().await;
    let (appended, seen) = watch::channel(0);
    let projector = Projector::new(pool.clone(), seen.clone());
    let stop = CancellationToken::new();
    let feed = || BadFeed { log: LogFeed::new(pool.clone(), seen.clone()), turn: 0 };
    let writing = async {
        for (n, events) in full_history().chunks(60).enumerate() {
            append(&pool, events).await;
            // Sometimes nobody hears of an append.
            if n % 3 != 0 {
                appended.send_replace(i64::try_from(n).expect("few"));
            }
            sleep(Duration::from_millis(30)).await;
        }
        wait_until_at_head(&projector, &pool).await;
        stop.cancel();
    };
    tokio::join!(projector.run(feed, stop.clone()), writing);
    assert_eq!(tables(&pool).await, folded(&pool).await);
}

#[tokio::test]
async fn a_second_projector_stands_by_and_takes_over() {
    let (_database, pool) = database().await;
    let (_appended, seen) = watch::channel(0);
    let (first, second) =
        (Projector::new(pool.clone(), seen.clone()), Projector::new(pool.clone(), seen.clone()));
    let feed = || LogFeed::new(pool.clone(), seen.clone());
    let (stop_first, stop_second) = (CancellationToken::new(), CancellationToken::new());
    let events = full_history();
    let (before, after) = events.split_at(events.len() / 2);
    let writing = async {
        append(&pool, before).await;
        wait_until_at_head(&first, &pool).await;
        stop_first.cancel();
        append(&pool, after).await;
        wait_until_at_head(&second, &pool).await;
        stop_second.cancel();
    };
    tokio::join!(first.run(feed, stop_first.clone()), second.run(feed, stop_second.clone()), writing);
    assert_eq!(tables(&pool).await, folded(&pool).await);
}

#[tokio::test]
async fn what_a_paused_projector_holds_in_the_middle_of_a_copy_holds_up_no_successor() {
    let (_database, pool) = database().await;
    let (_appended, seen) = watch::channel(0);
    let options = (*pool.connect_options()).clone().application_name(projector::APPLICATION_NAME);
    let projector = Projector::new(PgPoolOptions::new().connect_lazy_with(options.clone()), seen.clone());
    let mut paused = PgConnection::connect_with(&options).await.expect("connected");
    let began = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '5s';
                 CREATE TEMPORARY TABLE copied (row text);
                 SELECT * FROM projection_checkpoints FOR UPDATE";
    paused.execute(began).await.expect("the checkpoints are locked");
    let copying = paused.copy_in_raw("COPY copied FROM STDIN").await.expect("begun");
    append(&pool, &full_history()).await;
    let (feed, stop) = (|| LogFeed::new(pool.clone(), seen.clone()), CancellationToken::new());
    let scenario = async {
        wait_until_at_head(&projector, &pool).await;
        stop.cancel();
    };
    tokio::join!(projector.run(feed, stop.clone()), scenario);
    assert!(copying.finish().await.is_err(), "its session was ended");
    assert_eq!(tables(&pool).await, folded(&pool).await);
}

#[tokio::test]
async fn who_no_longer_projects_says_of_no_read_model_that_it_stands() {
    let (_database, pool) = database().await;
    let (_appended, seen) = watch::channel(0);
    let (first, second) =
        (Projector::new(pool.clone(), seen.clone()), Projector::new(pool.clone(), seen.clone()));
    let feed = || LogFeed::new(pool.clone(), seen.clone());
    let stands = async |projector: &Projector| {
        let lags = projector.lags(&pool).await.expect("lags");
        lags.iter().any(|lag| lag.error.is_some())
    };
    let run_sql = async |sql: &str| {
        sqlx::query(sql).execute(&pool).await.expect("done");
    };
    let (take_over, stop) = (CancellationToken::new(), CancellationToken::new());
    let standing_by = async {
        take_over.cancelled().await;
        second.run(feed, stop.clone()).await;
    };
    let breaking = async {
        // As though another build had made its tables.
        run_sql("UPDATE projection_versions SET revision = revision + 1 WHERE projection = 'accounts'").await;
        append(&pool, &full_history()).await;
        wait_for("a read model that stands", async || stands(&first).await.then_some(())).await;
        run_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await;
        wait_until_unlocked(&pool).await;
        take_over.cancel();
        run_sql("UPDATE projection_versions SET revision = revision - 1 WHERE projection = 'accounts'").await;
        wait_until_at_head(&second, &pool).await;
        wait_for("nothing stands", async || (!stands(&first).await).then_some(())).await;
        stop.cancel();
    };
    tokio::join!(first.run(feed, stop.clone()), standing_by, breaking);
    assert_eq!(tables(&pool).await, folded(&pool).await);
}

#[tokio::test]
async fn a_read_model_that_cannot_go_on_holds_up_no_other_and_comes_back() {
    let (_database, pool) = database().await;
    let (_appended, seen) = watch::channel(0);
    let projector = Projector::new(pool.clone(), seen.clone());
    let stop = CancellationToken::new();
    let feed = || LogFeed::new(pool.clone(), seen.clone());
    let events = full_history();
    let (before, after) = events.split_at(events.len() / 2);
    let revised = async |by: i32| {
        let statement =
            "UPDATE projection_versions SET revision = revision + $1 WHERE projection = 'accounts'";
        sqlx::query(statement).bind(by).execute(&pool).await.expect("revised");
    };
    let scenario = async {
        append(&pool, before).await;
        wait_until_at_head(&projector, &pool).await;
        // As though another build had made its tables.
        revised(1).await;
        append(&pool, after).await;
        wait_for("all read models but one at the log's head", async || {
            let lags = projector.lags(&pool).await.expect("lags");
            let (stuck, others): (Vec<_>, Vec<_>) =
                lags.into_iter().partition(|lag| lag.projection == "accounts");
            let moved = others.iter().all(|lag| lag.positions() == 0 && lag.error.is_none());
            let stands = stuck.iter().all(|lag| lag.positions() > 0 && lag.error.is_some());
            (moved && stands && stuck.len() == 1).then_some(())
        })
        .await;
        revised(-1).await;
        wait_until_at_head(&projector, &pool).await;
        wait_for("nothing stands still any more", async || {
            let lags = projector.lags(&pool).await.expect("lags");
            lags.iter().all(|lag| lag.error.is_none()).then_some(())
        })
        .await;
        stop.cancel();
    };
    tokio::join!(projector.run(feed, stop.clone()), scenario);
    assert_eq!(tables(&pool).await, folded(&pool).await);
}

/// Waits until a killed rebuild's connections, and its locks with them, are gone.
async fn wait_until_unlocked(pool: &PgPool) {
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait_for("the locks of a killed rebuild to go", async || {
        let held: i64 = sqlx::query_scalar(locks).fetch_one(pool).await.expect("locks");
        (held == 0).then_some(())
    })
    .await;
}

/// Polls `future` so many times and drops it there; what it came to, if it came to an end.
async fn dropped_after<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Runs a rebuild for so many polls and drops it there; whether it came to its end.
async fn rebuild_killed_after(pool: &PgPool, polls: u32) -> bool {
    let progress = Progress::silent();
    let rebuilt = dropped_after(polls, rebuild(pool, &READ_MODELS, &progress)).await;
    rebuilt.map(|result| result.expect("rebuilt")).is_some()
}

#[tokio::test]
async fn a_fold_dropped_anywhere_leaves_no_connection_an_answer_behind() {
    let (_database, pool) = database().await;
    append(&pool, &full_history()).await;
    let entries: Vec<Entry> = log(&pool).await.into_iter().map(Entry::from).collect();
    let one = PgPoolOptions::new().max_connections(1).connect_with((*pool.connect_options()).clone());
    let one = one.await.expect("a connection");
    let mut polls = 1;
    while dropped_after(polls, apply_together(&one, &READ_MODELS, &entries, 0)).await.is_none() {
        let mut begun = DateTime::UNIX_EPOCH;
        for asked in 0..3_i64 {
            let query = sqlx::query_as("SELECT $1, now()").bind(asked);
            let (told, now): (i64, DateTime<Utc>) = query.fetch_one(&one).await.expect("an answer");
            assert_eq!(told, asked, "dropped after {polls} polls");
            assert!(now > begun, "in a transaction that goes on, dropped after {polls} polls");
            begun = now;
        }
        polls += 1;
        assert!(polls < 100_000, "folding comes to its end");
    }
    assert!(polls > 10, "dropped {polls} times");
    assert_eq!(tables(&pool).await, folded(&pool).await);
}

#[tokio::test]
async fn a_rebuild_killed_anywhere_changes_nothing_and_can_be_repeated() {
    let (_database, pool) = database().await;
    append(&pool, &full_history()).await;
    apply_to_all(&pool, &log(&pool).await, 0).await;
    let live = tables(&pool).await;
    let (mut polls, mut kills) = (1, 0);
    while !rebuild_killed_after(&pool, polls).await {
        wait_until_unlocked(&pool).await;
        kills += 1;
        assert_eq!(tables(&pool).await, live, "killed after {polls} polls");
        polls += 1 + polls / 5;
        assert!(polls < 1_000_000, "a rebuild comes to its end");
    }
    assert!(kills > 10, "killed {kills} times");
    assert_eq!(tables(&pool).await, live);
    for model in READ_MODELS {
        let active = versions::active(&pool, model).await.expect("read").expect("installed");
        assert!(active.version > 1, "{} was swapped", model.name);
    }
}

#[tokio::test]
async fn reads_never_fail_while_read_models_are_rebuilt_under_load() {
    let (_database, pool) = database().await;
    let (appended, seen) = watch::channel(0);
    let projector = Projector::new(pool.clone(), seen.clone());
    let feed = || LogFeed::new(pool.clone(), seen.clone());
    let stop = CancellationToken::new();
    let done = AtomicBool::new(false);
    let reading = async {
        while !done.load(Ordering::Relaxed) {
            let id = account(0).0;
            balances::page(&pool, None, MAX_PAGE).await.expect("read");
            movements::page(&pool, id, None, 50).await.expect("read");
            generations::page(&pool, id, generations::Filter::default(), None, 50).await.expect("read");
            tokio::task::yield_now().await;
        }
    };
    let working = async {
        let events = full_history();
        let mut parts = events.chunks(80);
        append(&pool, parts.next().expect("events")).await;
        let writing = async {
            for (n, part) in parts.enumerate() {
                append(&pool, part).await;
                appended.send_replace(i64::try_from(n).expect("few"));
                sleep(Duration::from_millis(100)).await;
            }
        };
        let rebuilding = async {
            for _ in 0..3 {
                rebuild(&pool, &READ_MODELS, &Progress::silent()).await.expect("rebuilt");
            }
        };
        tokio::join!(writing, rebuilding);
        wait_until_at_head(&projector, &pool).await;
        done.store(true, Ordering::Relaxed);
        stop.cancel();
    };
    tokio::join!(projector.run(feed, stop.clone()), reading, working);
    assert_eq!(tables(&pool).await, folded(&pool).await);
}

#[tokio::test]
async fn a_rebuild_mends_rows_that_were_changed_by_hand() {
    let (_database, pool) = database().await;
    append(&pool, &full_history()).await;
    apply_to_all(&pool, &log(&pool).await, 0).await;
    let right = tables(&pool).await;
    sqlx::query("UPDATE wallet_balances_1 SET balance_micro = balance_micro + 1")
        .execute(&pool)
        .await
        .expect("done");
    assert_ne!(tables(&pool).await, right);
    rebuild(&pool, &codexapi::rebuild::named("all").expect("models"), &Progress::silent())
        .await
        .expect("rebuilt");
    assert_eq!(tables(&pool).await, right);
    assert!(codexapi::rebuild::named("wallet_ballances").is_err());
}

#[tokio::test]
async fn what_an_older_build_left_in_another_form_is_made_anew_and_a_newer_builds_is_refused() {
    let (_database, pool) = database().await;
    append(&pool, &full_history()).await;
    apply_to_all(&pool, &log(&pool).await, 0).await;
    let right = tables(&pool).await;
    let revised =
        "UPDATE projection_versions SET revision = revision + $1 WHERE projection = 'wallet_balances'";
    let revise = async |by: i32| sqlx::query(revised).bind(by).execute(&pool).await.expect("revised");
    sqlx::query("UPDATE wallet_balances_1 SET balance_micro = 7").execute(&pool).await.expect("done");
    rebuild_outdated(&pool, &Progress::silent()).await.expect("nothing to do");
    assert_ne!(tables(&pool).await, right, "a read model of this build's form is left alone");
    revise(-1).await;
    let silent = Progress::silent();
    let (first, second) = tokio::join!(rebuild_outdated(&pool, &silent), rebuild_outdated(&pool, &silent));
    first.and(second).expect("two nodes start at once");
    assert_eq!(tables(&pool).await, right);
    revise(1).await;
    let refusal = rebuild_outdated(&pool, &Progress::silent()).await.expect_err("an older build");
    assert!(refusal.to_string().contains("newer build"), "{refusal:#}");
}
