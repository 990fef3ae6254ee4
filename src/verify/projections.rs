//! Read tables against a fresh fold of the log.
//!
//! Each read model is folded from the log's start to its own checkpoint into temporary tables, by
//! the very code that folds it live, and compared both ways in the snapshot; those that stand at one
//! checkpoint share one reading of the log. Temporary tables go unlogged and vanish with the snapshot's
//! transaction.

use std::collections::BTreeMap;

use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::{Projection, READ_MODELS, ReadModel, Table, apply, versions::Active};
use sqlx::PgConnection;

use super::snapshot::Snapshot;
use super::{CheckedProjection, Difference, Progress, Report, Stop, VerifyOptions};
use crate::event_log::COMMAND_EVENTS;
use crate::event_log::read::{self, SHARD};
use crate::projector;
use crate::rebuild::EVENTS_PER_WRITE;

/// Events read at a time.
const PAGE: i64 = 5_000;

/// No live version has this number; its tables exist only in the snapshot's transaction.
const FRESH: i32 = i32::MAX;

pub(super) async fn check(
    snapshot: &mut Snapshot,
    options: &VerifyOptions,
    report: &mut Report,
) -> Result<(), Stop> {
    let connection = &mut snapshot.connection;
    let mut level: BTreeMap<i64, Vec<Standing>> = BTreeMap::new();
    for model in READ_MODELS {
        let standing = standing(connection, model).await?;
        level.entry(standing.position).or_default().push(standing);
    }
    for (position, standing) in level {
        create_fresh(connection, &standing).await?;
        fold(connection, &standing, 0, position, options).await?;
        for Standing { model, version, .. } in &standing {
            let mut rows = 0;
            for table in model.tables {
                rows += compare(connection, model, table, *version, position).await?;
                if table.name == "usage_quarters" {
                    charges_add_up(connection, table, *version, position).await?;
                }
            }
            report.projections.push(CheckedProjection { projection: model.name.into(), position, rows });
        }
        fold(connection, &standing, position, report.position, options).await?;
        drop_fresh(connection, &standing).await?;
    }
    Ok(())
}

/// A read model as it is read.
struct Standing {
    model: &'static ReadModel,
    version: i32,
    /// Its checkpoint.
    position: i64,
}

async fn standing(connection: &mut PgConnection, model: &'static ReadModel) -> Result<Standing, Stop> {
    let Some((active, position)) = live(connection, model).await? else {
        return Err(stopped(model, "it is not installed").into());
    };
    if active.revision != model.revision {
        let reason = format!(
            "it was built at revision {}, this build folds revision {}: rebuild it",
            active.revision, model.revision
        );
        return Err(stopped(model, reason).into());
    }
    Ok(Standing { model, version: active.version, position })
}

fn stopped(model: &ReadModel, reason: impl Into<String>) -> Difference {
    Difference::ProjectionStopped { projection: model.name.into(), reason: reason.into() }
}

/// The version that is read, and its checkpoint.
async fn live(connection: &mut PgConnection, model: &ReadModel) -> sqlx::Result<Option<(Active, i64)>> {
    let found: Option<(i32, i32, i64)> = sqlx::query_as(
        "SELECT v.active_version, v.revision, c.position
         FROM projection_versions v
         JOIN projection_checkpoints c ON c.projection = v.projection AND c.version = v.active_version
         WHERE v.projection = $1",
    )
    .bind(model.name)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(version, revision, position)| (Active { version, revision }, position)))
}

async fn create_fresh(connection: &mut PgConnection, standing: &[Standing]) -> sqlx::Result<()> {
    for table in standing.iter().flat_map(|standing| standing.model.tables) {
        let statement = format!("CREATE TEMPORARY TABLE {} ({})", table.version(FRESH), table.columns);
        sqlx::query(&statement).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Folds what follows `after` up to `up_to` into the fresh tables of those that stand together, in one reading of the log.
async fn fold(
    connection: &mut PgConnection,
    standing: &[Standing],
    after: i64,
    up_to: i64,
    options: &VerifyOptions,
) -> Result<(), Stop> {
    let of = u64::try_from(up_to).unwrap_or(0);
    sqlx::raw_sql(&format!("SET LOCAL {}", apply::FOUND_BY_KEY)).execute(&mut *connection).await?;
    let (mut position, mut folded) = (after, 0);
    let mut batches = empty_batches(standing);
    while position < up_to {
        let page = read::read_after(&mut *connection, SHARD, position, PAGE).await?;
        let within = page.iter().take_while(|stored| stored.position <= up_to);
        let entries: Vec<_> = within.map(projector::entry).collect();
        for (model, batch) in &mut batches {
            for entry in &entries {
                apply::fold(model, batch.as_mut(), entry)
                    .map_err(|error| stopped(model, error.to_string()))?;
            }
        }
        folded += entries.len();
        position = page.last().map_or(up_to, |last| last.position);
        if folded >= EVENTS_PER_WRITE as usize || position >= up_to {
            for (model, batch) in std::mem::replace(&mut batches, empty_batches(standing)) {
                let written = batch.write(&mut *connection, FRESH).await;
                written.map_err(|error| stopped(model, error.to_string()))?;
            }
            folded = 0;
        }
        let done = u64::try_from(position.min(up_to)).unwrap_or(0);
        (options.progress)(Progress { step: "read models", done, of });
    }
    // Tables that are compared are read whole.
    sqlx::raw_sql("SET LOCAL enable_seqscan = on").execute(connection).await?;
    Ok(())
}

fn empty_batches(standing: &[Standing]) -> Vec<(&'static ReadModel, Box<dyn Projection>)> {
    standing.iter().map(|Standing { model, .. }| (*model, (model.batch)())).collect()
}

/// The number of rows where both are the same.
async fn compare(
    connection: &mut PgConnection,
    model: &ReadModel,
    table: &Table,
    version: i32,
    position: i64,
) -> Result<i64, Stop> {
    let (live, fresh) = (format!("public.{}", table.version(version)), table.version(FRESH));
    let question = format!(
        "WITH wrong AS (SELECT to_jsonb(l) AS row FROM (SELECT * FROM {live} EXCEPT ALL SELECT * FROM {fresh}) l),
              missing AS (SELECT to_jsonb(f) AS row FROM (SELECT * FROM {fresh} EXCEPT ALL SELECT * FROM {live}) f)
         SELECT (SELECT row FROM wrong ORDER BY row::text LIMIT 1),
                (SELECT row FROM missing ORDER BY row::text LIMIT 1)"
    );
    let (wrong, missing): (Option<serde_json::Value>, Option<serde_json::Value>) =
        sqlx::query_as(&question).fetch_one(&mut *connection).await?;
    if wrong.is_none() && missing.is_none() {
        let count = format!("SELECT count(*) FROM {live}");
        return Ok(sqlx::query_scalar(&count).fetch_one(connection).await?);
    }
    let (row, detail) = describe(wrong, missing);
    let (projection, table) = (model.name.to_owned(), table.name.to_owned());
    Err(Difference::Projection { projection, position, table, row, detail }.into())
}

/// The row, and in which columns it differs where both sides seem to mean the same one.
fn describe(wrong: Option<serde_json::Value>, missing: Option<serde_json::Value>) -> (String, String) {
    match (wrong, missing) {
        (Some(wrong), None) => (wrong.to_string(), "the log does not lead to it".into()),
        (None, Some(missing)) => (missing.to_string(), "it is missing".into()),
        (Some(wrong), Some(missing)) => {
            let columns = wrong.as_object().into_iter().flatten();
            let differing: Vec<String> = columns
                .filter(|(column, value)| missing.get(column) != Some(value))
                .map(|(column, value)| {
                    let expected = missing.get(column).map(ToString::to_string).unwrap_or_default();
                    format!("{column} is {value}, the log leads to {expected}")
                })
                .collect();
            (wrong.to_string(), differing.join("; "))
        }
        (None, None) => (String::new(), String::new()),
    }
}

/// Σ daily usage = Σ charges, from the log without the projection's own code. A checkpoint may stand between the
/// settlement of a generation and its charge, which are one command's: then that charge counts, too.
async fn charges_add_up(
    connection: &mut PgConnection,
    table: &Table,
    version: i32,
    position: i64,
) -> Result<(), Stop> {
    let question = format!(
        "WITH charges AS (
             SELECT position, payload->'UsageCharged'->>'generation_id' AS generation_id,
                    (payload->'UsageCharged'->>'charged_micro')::bigint AS charged_micro
             FROM events WHERE event_type = 'wallet.usage_charged' AND position <= $1 + {COMMAND_EVENTS})
         SELECT (SELECT COALESCE(sum(charged_micro), 0)::bigint FROM public.{}),
                (SELECT COALESCE(sum(charged_micro), 0)::bigint FROM charges WHERE position <= $1 OR generation_id IN
                     (SELECT payload->'GenerationSettled'->>'generation_id' FROM events
                      WHERE event_type = 'usage.generation_settled'
                        AND position > $1 - {COMMAND_EVENTS} AND position <= $1))",
        table.version(version)
    );
    let (found, expected): (i64, i64) =
        sqlx::query_as(&question).bind(position).fetch_one(connection).await?;
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (MicroUsd(expected), MicroUsd(found));
    Err(Difference::UsageSum { position, expected, found }.into())
}

async fn drop_fresh(connection: &mut PgConnection, standing: &[Standing]) -> sqlx::Result<()> {
    for table in standing.iter().flat_map(|standing| standing.model.tables) {
        let statement = format!("DROP TABLE {}", table.version(FRESH));
        sqlx::query(&statement).execute(&mut *connection).await?;
    }
    Ok(())
}
