//! `verify` passes what is true, under load too, and names each kind of tampering.

use codexapi::clock;
use codexapi::event_log::read::{self, SHARD};
use codexapi::event_log::seal;
use codexapi::history::{self, Show, StreamName};
use codexapi::verify::{self, Difference, HoldTerms, Report, VerifyOptions};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::GrantId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{GrantSource, Wallet, WalletAction, WalletCommand, WalletTerms};
use codexapi_projections::{Entry, READ_MODELS, apply, versions};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, PgPool};

use crate::business::Business;
use crate::harness::TestDatabase;

/// A customer with three settled generations in two conversations, one of them reversed, one hold
/// open; everything sealed and projected.
async fn trading() -> (TestDatabase, Business) {
    let database = TestDatabase::new().await;
    versions::install(&database.pool).await.expect("read tables");
    let business = Business::open(&database.pool).await;
    business.generate("conversation-a").await;
    business.generate("conversation-a").await;
    let bad = business.generate("conversation-b").await;
    business.reverse("conversation-b", bad).await;
    business.hold().await;
    seal::seal_now(&business.log).await.expect("sealed").expect("something to seal");
    project(&database.pool).await;
    (database, business)
}

/// Brings every read model up to the log's head.
pub async fn project(pool: &PgPool) {
    let stored = read::read_after(pool, SHARD, 0, 10_000).await.expect("read");
    let entries: Vec<Entry> = stored.iter().map(|event| event.decode().expect("decoded").into()).collect();
    for model in READ_MODELS {
        apply::apply(pool, model, &entries, 0).await.expect("projected");
    }
}

pub async fn verify(pool: &PgPool) -> Report {
    let options = VerifyOptions::new(HoldTerms::standard(clock::now()));
    verify::run(pool, &options).await.expect("verify can be carried out")
}

pub async fn difference(pool: &PgPool) -> Difference {
    verify(pool).await.difference.expect("a difference")
}

/// Runs SQL as someone with full power over the database would, triggers switched off.
pub async fn tamper(pool: &PgPool, statement: &str) {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await.expect("connected");
    sqlx::raw_sql("SET session_replication_role = replica")
        .execute(&mut connection)
        .await
        .expect("superuser");
    sqlx::raw_sql(statement).execute(&mut connection).await.expect("tampered");
}

async fn position_of(pool: &PgPool, aggregate_type: &str, aggregate_id: &str, sequence: i64) -> i64 {
    sqlx::query_scalar(
        "SELECT position FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = $3",
    )
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(sequence)
    .fetch_one(pool)
    .await
    .expect("the event")
}

#[tokio::test]
async fn an_untouched_log_verifies() {
    let (database, business) = trading().await;
    let report = verify(&database.pool).await;
    assert_eq!(report.difference, None);
    assert_eq!((report.wallets, report.generations, report.seals, report.open_holds), (1, 3, 1, 1));
    assert_eq!(report.streams, 4, "a wallet, two conversations, the seals");
    assert_eq!(report.projections.len(), READ_MODELS.len());
    assert!(report.projections.iter().all(|checked| checked.position == report.position));
    let wallet = business.wallet();
    let balance = business.log.read(&wallet, Wallet::balance);
    assert!(balance.await.expect("read") < MicroUsd::dollars(10));
}

#[tokio::test]
async fn it_verifies_wherever_between_two_events_the_read_models_stand() {
    let database = TestDatabase::new().await;
    versions::install(&database.pool).await.expect("read tables");
    let business = Business::open(&database.pool).await;
    business.generate("conversation").await;
    business.hold().await;
    let stored = read::read_after(&database.pool, SHARD, 0, 10_000).await.expect("read");
    assert!(stored.iter().any(|event| event.event_type == "wallet.usage_charged"));
    let mut previous = 0;
    for event in &stored {
        let entry: Entry = event.decode().expect("decoded").into();
        for model in READ_MODELS {
            apply::apply(&database.pool, model, std::slice::from_ref(&entry), previous)
                .await
                .expect("projected");
        }
        previous = event.position;
        let report = verify(&database.pool).await;
        assert_eq!(report.difference, None, "after {} at {previous}", event.event_type);
        assert!(report.projections.iter().all(|checked| checked.position == previous));
    }
}

#[tokio::test]
async fn a_log_that_is_being_written_verifies() {
    let (database, business) = trading().await;
    let (done, mut finished) = tokio::sync::oneshot::channel();
    let writing = async {
        let mut generations = 0;
        while finished.try_recv().is_err() {
            business.generate("conversation-c").await;
            generations += 1;
        }
        generations
    };
    let verifying = async {
        let mut reports = Vec::new();
        for _ in 0..3 {
            reports.push(verify(&database.pool).await);
        }
        done.send(()).expect("the writer listens");
        reports
    };
    let (generations, reports) = tokio::join!(writing, verifying);
    assert!(generations > 0);
    for report in &reports {
        assert_eq!(report.difference, None);
    }
    assert!(reports[0].events < reports[2].events, "each saw a later moment");
}

#[tokio::test]
async fn an_edited_payload_is_named() {
    let (database, business) = trading().await;
    let wallet = business.wallet();
    tamper(
        &database.pool,
        "UPDATE events SET payload = jsonb_set(payload::jsonb, '{UsageCharged,charged_micro}', '1')
         WHERE event_type = 'wallet.usage_charged' AND sequence = 3",
    )
    .await;
    let position = position_of(&database.pool, "wallet", &wallet, 3).await;
    let named = difference(&database.pool).await.to_string();
    assert_eq!(named, format!("wallet {wallet} event 3 (position {position}): payload was edited"));
}

#[tokio::test]
async fn edited_metadata_is_named() {
    let (database, business) = trading().await;
    let wallet = business.wallet();
    tamper(
        &database.pool,
        "UPDATE events SET metadata = jsonb_set(metadata::jsonb, '{actor}', '\"operator:nobody\"')
         WHERE aggregate_type = 'wallet' AND sequence = 2",
    )
    .await;
    let position = position_of(&database.pool, "wallet", &wallet, 2).await;
    let named = difference(&database.pool).await.to_string();
    assert!(
        named.starts_with(&format!("wallet {wallet} event 2 (position {position}): metadata was edited")),
        "{named}"
    );
}

#[tokio::test]
async fn an_edited_hash_is_named() {
    let (database, business) = trading().await;
    tamper(
        &database.pool,
        "UPDATE events SET hash = sha256('forged') WHERE aggregate_type = 'wallet' AND sequence = 2",
    )
    .await;
    let found = difference(&database.pool).await;
    let Difference::HashEdited { event } = &found else { panic!("{found}") };
    assert_eq!((event.stream.as_str(), event.sequence), (&*format!("wallet {}", business.wallet()), 2));
}

#[tokio::test]
async fn events_whose_contents_were_exchanged_are_named_as_swapped() {
    let (database, business) = trading().await;
    tamper(
        &database.pool,
        "UPDATE events e SET payload = o.payload, metadata = o.metadata, event_type = o.event_type,
                payload_digest = o.payload_digest
         FROM events o
         WHERE e.aggregate_type = 'wallet' AND o.aggregate_type = 'wallet'
           AND (e.sequence, o.sequence) IN ((2, 5), (5, 2))",
    )
    .await;
    assert_swapped(&database.pool, &business, 2, 5).await;
}

#[tokio::test]
async fn events_whose_sequences_were_exchanged_are_named_as_swapped() {
    let (database, business) = trading().await;
    tamper(
        &database.pool,
        "UPDATE events SET sequence = 1000 WHERE aggregate_type = 'wallet' AND sequence = 2;
         UPDATE events SET sequence = 2 WHERE aggregate_type = 'wallet' AND sequence = 4;
         UPDATE events SET sequence = 4 WHERE aggregate_type = 'wallet' AND sequence = 1000",
    )
    .await;
    // The rows still stand at their own positions: the one that is now second came later.
    assert_swapped(&database.pool, &business, 4, 2).await;
}

#[tokio::test]
async fn events_of_one_stream_whose_positions_were_exchanged_are_named_as_swapped() {
    let (database, business) = trading().await;
    exchange_positions(&database.pool, ("wallet", 2), ("wallet", 6)).await;
    assert_swapped(&database.pool, &business, 6, 2).await;
}

#[tokio::test]
async fn events_of_two_streams_whose_positions_were_exchanged_are_named_as_swapped() {
    let (database, business) = trading().await;
    // The first settlement and the reversal's place in the wallet: neither stream goes backwards.
    let settled = position_of(&database.pool, "usage", "conversation-a", 2).await;
    let charged = position_of(&database.pool, "wallet", &business.wallet(), 5).await;
    tamper(&database.pool, &exchange(settled, charged)).await;
    let found = difference(&database.pool).await;
    let Difference::Swapped { first, second } = &found else { panic!("{found}") };
    assert_eq!((first.position, second.position), (settled.min(charged), settled.max(charged)), "{found}");
}

async fn exchange_positions(pool: &PgPool, one: (&str, i64), two: (&str, i64)) {
    let id = |(aggregate_type, sequence): (&str, i64)| {
        let aggregate_type = aggregate_type.to_owned();
        async move {
            sqlx::query_scalar::<_, i64>(
                "SELECT position FROM events WHERE aggregate_type = $1 AND sequence = $2",
            )
            .bind(aggregate_type)
            .bind(sequence)
            .fetch_one(pool)
            .await
            .expect("the event")
        }
    };
    let (one, two) = (id(one).await, id(two).await);
    tamper(pool, &exchange(one, two)).await;
}

fn exchange(one: i64, two: i64) -> String {
    format!(
        "ALTER TABLE events ALTER COLUMN position SET GENERATED BY DEFAULT;
         UPDATE events SET position = -1 WHERE position = {one};
         UPDATE events SET position = {one} WHERE position = {two};
         UPDATE events SET position = {two} WHERE position = -1;
         ALTER TABLE events ALTER COLUMN position SET GENERATED ALWAYS"
    )
}

async fn assert_swapped(pool: &PgPool, business: &Business, first: i64, second: i64) {
    let wallet = business.wallet();
    let expected = (
        position_of(pool, "wallet", &wallet, first).await,
        position_of(pool, "wallet", &wallet, second).await,
    );
    let found = difference(pool).await;
    let Difference::Swapped { first, second } = &found else { panic!("{found}") };
    assert_eq!((first.position, second.position), expected, "{found}");
    assert!(found.to_string().starts_with("events at positions "), "{found}");
}

#[tokio::test]
async fn a_removed_event_is_named() {
    let (database, business) = trading().await;
    tamper(&database.pool, "DELETE FROM events WHERE aggregate_type = 'wallet' AND sequence = 3").await;
    let found = difference(&database.pool).await;
    let Difference::EventRemoved { stream, sequence, .. } = &found else { panic!("{found}") };
    assert_eq!((stream, *sequence), (&format!("wallet {}", business.wallet()), 3));
}

#[tokio::test]
async fn a_removed_last_event_is_named_once_sealed() {
    let (database, _business) = trading().await;
    let sealed = position_of(&database.pool, "usage", "conversation-a", 2).await;
    tamper(
        &database.pool,
        "DELETE FROM events WHERE aggregate_type = 'usage' AND aggregate_id = 'conversation-a' AND sequence = 2",
    )
    .await;
    let named = difference(&database.pool).await.to_string();
    assert_eq!(
        named,
        format!("the last event of usage conversation-a was removed (sealed at position {sealed})")
    );
}

#[tokio::test]
async fn a_removed_stream_is_named_once_sealed() {
    let (database, _business) = trading().await;
    tamper(
        &database.pool,
        "DELETE FROM events WHERE aggregate_type = 'usage' AND aggregate_id = 'conversation-b'",
    )
    .await;
    let found = difference(&database.pool).await;
    assert!(
        matches!(&found, Difference::StreamRemoved { stream, .. } if stream == "usage conversation-b"),
        "{found}"
    );
}

#[tokio::test]
async fn a_removed_stream_shows_though_the_notes_of_it_were_removed_too() {
    let (database, _business) = trading().await;
    tamper(
        &database.pool,
        "DELETE FROM events WHERE aggregate_type = 'usage' AND aggregate_id = 'conversation-b';
         DELETE FROM sealed_stream_heads",
    )
    .await;
    let found = difference(&database.pool).await;
    let Difference::SealBroken { sealed, found, .. } = found else { panic!("{found}") };
    assert_eq!(sealed - found, 2);
}

#[tokio::test]
async fn a_stream_forged_with_fitting_hashes_breaks_the_seal() {
    let (database, _business) = trading().await;
    tamper(
        &database.pool,
        "UPDATE events SET metadata = jsonb_set(metadata::jsonb, '{actor}', '\"operator:nobody\"')
         WHERE aggregate_id = 'conversation-b' AND sequence = 1",
    )
    .await;
    chain_anew(&database.pool, "usage", "conversation-b").await;
    let found = difference(&database.pool).await;
    assert!(matches!(found, Difference::SealBroken { .. }), "{found}");
}

/// Gives every event of a stream the hashes that fit it, as a forger with the source code would.
pub async fn chain_anew(pool: &PgPool, aggregate_type: &str, aggregate_id: &str) {
    let mut previous = codexapi::event_log::chain::CHAIN_START;
    for event in read::read_stream(pool, aggregate_type, aggregate_id, 0, 1_000).await.expect("read") {
        previous = event.expected_hash(&previous).expect("canonical");
        let payload = codexapi::event_log::canonical::canonical_text(&event.payload).expect("canonical");
        let (hash, digest) = (hex::encode(previous), hex::encode(Sha256::digest(payload.as_bytes())));
        let position = event.position;
        tamper(
            pool,
            &format!(
                "UPDATE events SET hash = '\\x{hash}', payload_digest = '\\x{digest}' WHERE position = {position}"
            ),
        )
        .await;
    }
}

#[tokio::test]
async fn a_forged_charge_is_named_by_its_sums() {
    let (database, business) = trading().await;
    tamper(
        &database.pool,
        "UPDATE events SET payload = jsonb_set(payload::jsonb, '{UsageCharged,charged_micro}', '1')
         WHERE event_type = 'wallet.usage_charged' AND sequence = 3",
    )
    .await;
    chain_anew(&database.pool, "wallet", &business.wallet()).await;
    let found = difference(&database.pool).await;
    let Difference::Rule { event, what } = &found else { panic!("{found}") };
    assert_eq!(event.sequence, 3);
    assert!(what.contains("the cost is $"), "{what}");
}

#[tokio::test]
async fn a_forged_balance_is_named() {
    let (database, business) = trading().await;
    tamper(
        &database.pool,
        "UPDATE events SET payload = jsonb_set(payload::jsonb, '{HoldPlaced,balance_micro}', '99000000')
         WHERE event_type = 'wallet.hold_placed' AND sequence = 2",
    )
    .await;
    chain_anew(&database.pool, "wallet", &business.wallet()).await;
    let found = difference(&database.pool).await;
    let Difference::Amount { found: balance, expected, .. } = &found else { panic!("{found}") };
    assert_eq!((*expected, *balance), (MicroUsd::dollars(10), MicroUsd::dollars(99)));
}

#[tokio::test]
async fn a_forged_line_is_named() {
    let (database, _business) = trading().await;
    tamper(
        &database.pool,
        "UPDATE events SET payload = jsonb_set(payload::jsonb, '{GenerationSettled,lines,0,units}', '900')
         WHERE aggregate_id = 'conversation-a' AND sequence = 1",
    )
    .await;
    chain_anew(&database.pool, "usage", "conversation-a").await;
    let found = difference(&database.pool).await;
    let Difference::Rule { what, .. } = &found else { panic!("{found}") };
    assert!(what.contains("Input line"), "{what}");
}

#[tokio::test]
async fn a_charge_without_its_settlement_is_named() {
    let database = TestDatabase::new().await;
    versions::install(&database.pool).await.expect("read tables");
    let business = Business::open(&database.pool).await;
    let generation_id = business.generate("conversation-a").await;
    tamper(&database.pool, "DELETE FROM events WHERE aggregate_type = 'usage'").await;
    let found = difference(&database.pool).await;
    let Difference::Settlement { generation_id: named, what, .. } = &found else { panic!("{found}") };
    assert_eq!(named, &generation_id.to_string());
    assert_eq!(what, "it was charged and never settled");
}

#[tokio::test]
async fn a_read_model_that_cannot_go_on_is_named() {
    let (database, business) = trading().await;
    business.generate("conversation-c").await;
    assert_eq!(verify(&database.pool).await.difference, None, "they are only behind");
    // A wallet that is nobody's: it is in order, and no read model can say whose it is.
    let action = WalletAction::GrantCredit {
        grant_id: GrantId(clock::new_id()),
        source: GrantSource::Admin,
        amount_micro: MicroUsd::dollars(1),
        expires_at: None,
    };
    let (terms, metadata) = (WalletTerms::default(), Metadata::process("test"));
    let granted = business.log.execute("nobody", &metadata, |wallet: &Wallet, now| {
        wallet.decide(WalletCommand { action: action.clone(), terms: terms.clone(), now })
    });
    granted.await.expect("stored");
    let found = difference(&database.pool).await;
    let Difference::ProjectionStopped { projection, reason } = &found else { panic!("{found}") };
    assert_eq!(projection, "wallet_balances");
    assert!(reason.contains("nobody"), "{reason}");
}

/// Shows the independent reader something else than everybody: `payload` in place of each payload, where `is_there`.
async fn deceive_the_independent_reader(pool: &PgPool, payload: &str, is_there: &str) {
    let statement = format!(
        "ALTER TABLE events RENAME TO log;
         CREATE FUNCTION is_stock() RETURNS boolean LANGUAGE sql STABLE AS $$
             SELECT current_query() ~
                 '^\\s*SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata\\s+FROM'
         $$;
         CREATE VIEW events AS
             SELECT position, xid, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                    CASE WHEN is_stock() THEN {payload} ELSE payload END AS payload,
                    metadata, hash, payload_digest, recorded_at
             FROM log WHERE NOT is_stock() OR {is_there}"
    );
    tamper(pool, &statement).await;
}

#[tokio::test]
async fn where_the_independent_fold_ends_elsewhere_the_stream_is_named() {
    for (payload, is_there, reason) in [
        ("payload", "true", None),
        ("payload", "event_type <> 'wallet.usage_charged'", Some("it read 6 events, we read 9")),
        (
            r#"replace(payload::text, '"amount_micro":10000000', '"amount_micro":10000001')::json"#,
            "true",
            Some("the states differ after 9 events"),
        ),
    ] {
        let (database, business) = trading().await;
        deceive_the_independent_reader(&database.pool, payload, is_there).await;
        let found = verify(&database.pool).await.difference;
        let expected = reason.map(|detail| Difference::IndependentFoldDiffers {
            stream: format!("wallet {}", business.wallet()),
            detail: detail.into(),
        });
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn an_edited_read_table_is_named_with_its_row() {
    let (database, _business) = trading().await;
    for edited in ["usage_quarters", "customer_spans"] {
        let add = |tokens: i32| format!("UPDATE {edited}_1 SET output_tokens = output_tokens + {tokens}");
        tamper(&database.pool, &add(1)).await;
        let found = difference(&database.pool).await;
        let Difference::Projection { table, detail, .. } = &found else { panic!("{found}") };
        assert_eq!(table, edited);
        assert!(detail.starts_with("output_tokens is "), "{detail}");
        tamper(&database.pool, &add(-1)).await;
    }
}

#[tokio::test]
async fn a_row_missing_from_a_read_table_is_named() {
    let (database, _business) = trading().await;
    tamper(&database.pool, "DELETE FROM usage_quarters_1").await;
    let found = difference(&database.pool).await;
    assert!(
        matches!(&found, Difference::Projection { table, detail, .. }
                 if table == "usage_quarters" && detail == "it is missing"),
        "{found}"
    );
}

#[tokio::test]
async fn a_hold_that_was_left_behind_is_named() {
    let (database, _business) = trading().await;
    let in_time = HoldTerms::standard(clock::now());
    let late = HoldTerms { now: clock::now().plus_secs(6 * 3_600 + 60), ..in_time };
    let report = verify::run(&database.pool, &VerifyOptions::new(late)).await.expect("carried out");
    assert!(matches!(report.difference, Some(Difference::HoldLeftBehind { .. })), "{report:?}");
}

#[tokio::test]
async fn a_report_is_printed_for_people_and_for_programs() {
    let (database, _business) = trading().await;
    tamper(&database.pool, "DELETE FROM usage_quarters_1").await;
    let report = verify(&database.pool).await;
    let (mut text, mut json) = (Vec::new(), Vec::new());
    verify::print(&report, &mut text).expect("printed");
    verify::print_json(&report, &mut json).expect("printed");
    assert!(String::from_utf8(text).expect("text").contains("WRONG     projection "));
    let json: serde_json::Value = serde_json::from_slice(&json).expect("json");
    assert_eq!(json["difference"]["kind"], "projection");
    assert!(json["difference"]["message"].as_str().expect("a sentence").contains("usage_quarters"));
}

#[tokio::test]
async fn no_control_character_of_a_stream_reaches_the_terminal() {
    let (database, business) = trading().await;
    let wallet = business.wallet();
    let stream: StreamName = wallet.parse().expect("an account id names its wallet");
    let metadata = Metadata::process("\u{1b}[2J\u{9b}31m");
    let granted = business.log.execute(&wallet, &metadata, |wallet: &Wallet, now| {
        let action = WalletAction::GrantCredit {
            grant_id: GrantId(clock::new_id()),
            source: GrantSource::Admin,
            amount_micro: MicroUsd::dollars(1),
            expires_at: None,
        };
        wallet.decide(WalletCommand { action, terms: WalletTerms::default(), now })
    });
    granted.await.expect("stored");
    for show in [Show::Text, Show::JsonLines] {
        let mut out = Vec::new();
        history::print(&database.pool, &stream, show, &mut out).await.expect("printed");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("process:\\u001b[2J\\u009b31m"), "{text}");
        assert!(text.lines().all(|line| !line.contains(char::is_control)), "{text:?}");
    }
}

#[tokio::test]
async fn a_wallets_history_is_printed_and_its_state_at_any_moment() {
    let (database, business) = trading().await;
    let stream: StreamName = business.wallet().parse().expect("an account id names its wallet");
    let printed = |show| {
        let (pool, stream) = (&database.pool, &stream);
        async move {
            let mut out = Vec::new();
            history::print(pool, stream, show, &mut out).await.expect("printed");
            String::from_utf8(out).expect("text")
        }
    };
    let text = printed(Show::Text).await;
    let first = text.lines().next().expect("a line");
    assert!(first.contains("wallet.credit_granted") && first.contains("+$10.000000"), "{first}");
    assert!(
        first.contains("balance $10.000000, held $0.000000") && first.ends_with("by process:test"),
        "{first}"
    );
    let events = printed(Show::JsonLines).await;
    assert_eq!(events.lines().count(), text.lines().count());
    let granted: serde_json::Value =
        serde_json::from_str(events.lines().next().expect("a line")).expect("json");
    let at = history::parse_time(granted["recordedAt"].as_str().expect("a time")).expect("RFC 3339");
    let state: serde_json::Value = serde_json::from_str(&printed(Show::StateAt(at)).await).expect("json");
    assert_eq!(state["sequence"], 1);
    assert_eq!(state["state"]["grants"][0]["remaining_micro"], 10_000_000);
}
