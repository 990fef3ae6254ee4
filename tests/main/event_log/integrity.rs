//! What keeps the log honest: no change, a chain that can be recomputed, seals, an independent reader.

use std::collections::HashMap;

use codexapi::event_log::chain::CHAIN_START;
use codexapi::event_log::read::{self, SHARD};
use codexapi::event_log::{EventLog, StoredEvent, seal};
use codexapi_aggregates::account::{Account, AccountCommand};
use codexapi_aggregates::ids::{AccountId, PersonId};
use codexapi_aggregates::log::{LogEvent, LogSeals, SEAL_STREAM};
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use cqrs_es::{Aggregate, AggregateContext, EventStore};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

use super::purse::{Purse, credit, debit, metadata, open, transfer};
use crate::harness::{TestDatabase, TestServer};

/// The streams of which an event does not have the hash it should have, with the sequence.
async fn broken_chains(pool: &PgPool) -> Vec<(String, i64)> {
    let events = read::read_after(pool, SHARD, 0, 10_000).await.expect("read");
    let mut last: HashMap<(String, String), [u8; 32]> = HashMap::new();
    let mut broken = vec![];
    for event in &events {
        let stream = (event.aggregate_type.clone(), event.aggregate_id.clone());
        let previous = last.get(&stream).copied().unwrap_or(CHAIN_START);
        let expected = event.expected_hash(&previous).expect("canonical");
        if expected.as_slice() != event.hash {
            broken.push((event.aggregate_id.clone(), event.sequence));
        }
        last.insert(stream, event.hash.as_slice().try_into().expect("32 bytes"));
    }
    broken
}

/// Changes the log as only somebody can who owns the server.
async fn tamper(pool: &PgPool, sql: &str) {
    let mut superuser = pool.begin().await.expect("begun");
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *superuser).await.expect("set");
    let changed = sqlx::query(sql).execute(&mut *superuser).await.expect("changed").rows_affected();
    assert!(changed > 0, "nothing was changed by {sql}");
    superuser.commit().await.expect("committed");
}

async fn three_movements_each(log: &EventLog) {
    for purse in ["a", "b"] {
        log.execute(purse, &metadata(), |state: &Purse, _| {
            Ok::<_, std::convert::Infallible>(state.credit(100, "quotes \" and ünïcode \\ / \u{7f} \n"))
        })
        .await
        .expect("credited");
        debit(log, purse, 10).await.expect("debited");
    }
    transfer(log, "a", "b", 5).await.expect("moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hash_can_be_recomputed_from_its_row() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    three_movements_each(&log).await;
    // Another node goes on with the chain where this one left it.
    credit(&open(&database.pool).await, "a", 1).await.expect("credited");
    assert_eq!(broken_chains(&database.pool).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_tampering_breaks_the_chain_where_it_was_done() {
    for (change, sequence) in [
        ("UPDATE events SET payload = jsonb_set(payload::jsonb, '{Debited,amount}', '11') WHERE aggregate_id = 'a' AND sequence = 2", 2),
        ("UPDATE events SET metadata = '{\"actor\": \"somebody\"}' WHERE aggregate_id = 'a' AND sequence = 2", 2),
        ("UPDATE events SET recorded_at = recorded_at + interval '1 microsecond' WHERE aggregate_id = 'a' AND sequence = 2", 2),
        ("UPDATE events SET event_version = '2' WHERE aggregate_id = 'a' AND sequence = 3", 3),
        ("DELETE FROM events WHERE aggregate_id = 'a' AND sequence = 2", 3),
        ("UPDATE events t SET payload = o.payload FROM events o WHERE t.aggregate_id = 'a' AND o.aggregate_id = 'a'
          AND (t.sequence, o.sequence) IN ((1, 2), (2, 1))", 1),
    ] {
        let database = TestDatabase::new().await;
        three_movements_each(&open(&database.pool).await).await;
        tamper(&database.pool, change).await;
        let broken = broken_chains(&database.pool).await;
        assert_eq!(broken.first(), Some(&("a".to_owned(), sequence)), "{change}");
        assert!(broken.iter().all(|(stream, _)| stream == "a"), "{change}: {broken:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_stored_as_jsonb_are_the_same_as_json() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    three_movements_each(&log).await;
    let earlier = "ALTER TABLE events ALTER payload TYPE jsonb USING payload::jsonb,
                                      ALTER metadata TYPE jsonb USING metadata::jsonb;
                   DROP FUNCTION plain_json";
    sqlx::raw_sql(earlier).execute(&database.pool).await.expect("as it was");
    let migration = include_str!("../../../migrations/20261129010001_store_events_as_json.sql");
    sqlx::raw_sql(migration).execute(&database.pool).await.expect("migrated");
    credit(&open(&database.pool).await, "a", 1).await.expect("credited");
    assert_eq!(broken_chains(&database.pool).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_postgres_cannot_take_apart_is_refused_and_holds_up_nobody() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    let noted = async |note: &str| {
        let credit = |purse: &Purse, _| Ok::<_, std::convert::Infallible>(purse.credit(1, note));
        log.execute("a", &metadata(), credit).await.map(|executed| executed.sequence)
    };
    assert_eq!(noted("\u{1} \\u0000").await.expect("a control character and a backslash"), 1);
    let stored: String = sqlx::query_scalar("SELECT payload::text FROM events")
        .fetch_one(&database.pool)
        .await
        .expect("the event");
    assert_eq!(
        stored, r#"{"Credited":{"amount":1,"balance":1,"note":"\u0001 \\u0000"}}"#,
        "as it was written"
    );
    let refusal = noted("before\0after").await.expect_err("a NUL character").to_string();
    assert!(refusal.contains("unsupported Unicode escape sequence"), "{refusal}");
    assert_eq!(noted("after it").await.expect("the log goes on"), 2);
    assert_eq!(broken_chains(&database.pool).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_refuses_to_be_changed_even_by_its_owner() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    three_movements_each(&log).await;
    for statement in [
        "UPDATE events SET metadata = '{}'",
        "DELETE FROM events",
        "DELETE FROM events WHERE false",
        "TRUNCATE events",
        "INSERT INTO events (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                             payload, metadata, hash, recorded_at)
         SELECT gen_random_uuid(), aggregate_type, 'other', sequence, event_type, event_version,
                payload, metadata, hash, recorded_at FROM events WHERE aggregate_id = 'a'",
    ] {
        let refusal = sqlx::query(statement).execute(&database.pool).await.expect_err(statement);
        let code = refusal.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refusal}");
    }
    assert_eq!(broken_chains(&database.pool).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_after_an_append_in_the_same_transaction_is_refused_too() {
    let database = TestDatabase::new().await;
    let mut transaction = database.pool.begin().await.expect("begun");
    super::purse::credit_by_hand(&mut transaction, "p", 1, 1).await;
    sqlx::query(
        "INSERT INTO events (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                             payload, metadata, hash, recorded_at)
         SELECT event_id, aggregate_type, aggregate_id, 2, event_type, event_version, payload, metadata, hash,
                recorded_at FROM events",
    )
    .execute(&mut *transaction)
    .await
    .expect_err("refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_postgres_es_reads_every_stream_to_the_same_state() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    three_movements_each(&log).await;
    let account_id = AccountId(codexapi::clock::new_id());
    let person_id = PersonId(codexapi::clock::new_id());
    let account = account_id.to_string();
    log.execute(&account, &metadata(), |state: &Account, now| {
        state.decide(AccountCommand::RegisterCustomer { account_id, person_id, now })
    })
    .await
    .expect("registered");
    seal::seal_now(&log).await.expect("sealed");

    assert_same_state::<Purse>(&log, "a").await;
    assert_same_state::<Purse>(&log, "b").await;
    assert_same_state::<Account>(&log, &account).await;
    assert_same_state::<LogSeals>(&log, SEAL_STREAM).await;
    let streams: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT (aggregate_type, aggregate_id)) FROM events")
            .fetch_one(&database.pool)
            .await
            .expect("counted");
    assert_eq!(streams, 4, "a stream was left out");
}

async fn assert_same_state<A: Aggregate + Clone + PartialEq + std::fmt::Debug + 'static>(
    log: &EventLog,
    id: &str,
) {
    let repository = PostgresEventRepository::new(log.pool().clone());
    let stored = repository.get_events::<A>(id).await.expect("read");
    assert!(!stored.is_empty(), "{id} has events");
    let store = PersistedEventStore::<PostgresEventRepository, A>::new_event_store(repository);
    let mut context = store.load_aggregate(id).await.expect("loaded");
    assert_eq!(*context.aggregate(), log.read(id, A::clone).await.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_covers_everything_since_the_last_and_can_be_recomputed() {
    let database = TestDatabase::new().await;
    let log = open(&database.pool).await;
    assert_eq!(seal::seal_now(&log).await.expect("nothing to seal"), None);
    three_movements_each(&log).await;
    let first = seal::seal_now(&log).await.expect("sealed").expect("a seal");
    assert_eq!(seal::seal_now(&log).await.expect("only a seal was appended"), None);
    credit(&log, "a", 1).await.expect("credited");
    let second = seal::seal_now(&log).await.expect("sealed").expect("a seal");

    let LogEvent::Sealed { after_position: 0, up_to_position, event_count: 6, running_hash } = first else {
        panic!("{first:?}")
    };
    assert_eq!(stretch(&database.pool, "", 0, up_to_position).await, (running_hash.clone(), 6));
    let LogEvent::Sealed { after_position, up_to_position: up_to, event_count, running_hash: last } = second;
    assert_eq!((after_position, event_count), (up_to_position, 8));
    assert_eq!(stretch(&database.pool, &running_hash, after_position, up_to).await, (last, 2));
    assert_eq!(broken_chains(&database.pool).await, []);
}

async fn stretch(pool: &PgPool, previous: &str, after: i64, up_to: i64) -> (String, i64) {
    seal::hash_stretch(pool, previous, after, up_to).await.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_last_event_and_a_removed_stream_show_once_sealed() {
    for removal in [
        "DELETE FROM events WHERE aggregate_id = 'a' AND sequence = 3",
        "DELETE FROM events WHERE aggregate_id = 'b'",
    ] {
        let database = TestDatabase::new().await;
        let log = open(&database.pool).await;
        three_movements_each(&log).await;
        let sealed = seal::seal_now(&log).await.expect("sealed").expect("a seal");
        tamper(&database.pool, removal).await;
        assert_eq!(broken_chains(&database.pool).await, [], "the chain alone does not show it");
        let LogEvent::Sealed { up_to_position, event_count, running_hash, .. } = sealed;
        let (hash, events) = stretch(&database.pool, "", 0, up_to_position).await;
        assert_ne!(hash, running_hash);
        assert!(events < event_count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_sealing_at_once_leave_one_seal() {
    let database = TestDatabase::new().await;
    let nodes = [open(&database.pool).await, open(&database.pool).await];
    three_movements_each(&nodes[0]).await;
    let (one, other) = tokio::join!(seal::seal_now(&nodes[0]), seal::seal_now(&nodes[1]));
    let seals = [one.expect("no failure"), other.expect("no failure")];
    assert!(seals.iter().flatten().count() >= 1);
    let stored: Vec<StoredEvent> =
        read::read_stream(&database.pool, "log", SEAL_STREAM, 0, 10).await.expect("read");
    assert_eq!(stored.len(), seals.iter().flatten().count());
    let mut sealed = LogSeals::default();
    for event in &stored {
        let LogEvent::Sealed { after_position, up_to_position, .. } =
            serde_json::from_str(&event.payload).expect("a seal");
        assert_eq!(after_position, sealed.up_to_position, "seals neither overlap nor leave a gap");
        sealed.up_to_position = up_to_position;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_what_it_acknowledged_is_refused_by_the_name_of_its_setting() {
    for setting in ["fsync", "full_page_writes"] {
        let server = TestServer::start(&[&format!("{setting}=off")]).await;
        let pool = server.database().await;
        let Err(refusal) = EventLog::open(pool, super::purse::options()).await else {
            panic!("opened with {setting} off")
        };
        assert!(refusal.to_string().contains(&format!("{setting} = off")), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_on_disk_before_they_are_answered_whatever_the_servers_default() {
    let server = TestServer::start(&["synchronous_commit=off"]).await;
    let pool = server.database().await;
    let log = open(&pool).await;
    sqlx::query("CREATE TABLE witness (value text)").execute(&pool).await.expect("made");
    sqlx::raw_sql(
        "CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.witness VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
         CREATE TRIGGER witness AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION witness()",
    )
    .execute(&pool)
    .await
    .expect("made");
    credit(&log, "p", 1).await.expect("credited");
    let seen: Vec<String> =
        sqlx::query_scalar("SELECT value FROM witness").fetch_all(&pool).await.expect("read");
    assert_eq!(seen, ["on"]);
}
