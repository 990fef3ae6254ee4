//! What the writer looks up when a batch was not stored: who stands in its way, or, where the connection was
//! lost with it under way, what was stored all the same.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use super::append::{Backend, Writer};
use super::idempotency::{self, IdempotencyKey};
use super::queue::{Append, keys_of};
use super::read;
use super::writes::Stored;

/// How long it may take to find out who stands in the way, or what was stored of a lost batch.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

const LOOKUP_PAUSE: Duration = Duration::from_millis(50);

/// How long Postgres waits for the server process of a lost connection to be gone, in milliseconds.
const ORPHAN_GONE_WITHIN_MS: i64 = 4_000;

pub(super) async fn last_sequences(
    writer: &mut Writer,
    types: &[&str],
    ids: &[&str],
) -> anyhow::Result<Vec<i64>> {
    let read = read::last_sequences(writer.connection().await?, types, ids);
    match timeout(LOOKUP_TIMEOUT, read).await {
        Ok(Ok(stored)) => Ok(stored),
        failed => {
            writer.abandon_session();
            failed.context("no answer in time")?.context("looking for the conflict")
        }
    }
}

pub(super) async fn taken_keys(writer: &mut Writer, keys: &[&IdempotencyKey]) -> anyhow::Result<Vec<bool>> {
    let read = idempotency::taken(writer.connection().await?, keys);
    match timeout(LOOKUP_TIMEOUT, read).await {
        Ok(Ok(taken)) => Ok(taken),
        failed => {
            writer.abandon_session();
            failed.context("no answer in time")?.context("looking for taken keys")
        }
    }
}

pub(super) async fn look_up(writer: &mut Writer, batch: &[Append]) -> anyhow::Result<Stored> {
    let give_up = Instant::now() + LOOKUP_TIMEOUT;
    loop {
        let failed = match timeout_at(give_up, stored(writer, batch)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer in time"),
        };
        writer.abandon_session();
        if Instant::now() >= give_up {
            return Err(failed);
        }
        sleep(LOOKUP_PAUSE).await;
    }
}

async fn stored(writer: &mut Writer, batch: &[Append]) -> anyhow::Result<Stored> {
    end_orphans(writer).await?;
    let positions = stored_positions(writer, batch).await?;
    let keys = idempotency::taken(writer.connection().await?, &keys_of(batch)).await?;
    Ok(Stored { positions, keys })
}

/// The positions of those events of the batch that are stored, by event id.
async fn stored_positions(writer: &mut Writer, batch: &[Append]) -> anyhow::Result<HashMap<Uuid, i64>> {
    let events: Vec<_> = batch.iter().flat_map(|append| &append.events).collect();
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT e.event_id, e.position
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[]) AS a(type, id, sequence, event_id)
         JOIN events e ON e.aggregate_type = a.type AND e.aggregate_id = a.id
                      AND e.sequence = a.sequence AND e.event_id = a.event_id",
    )
    .bind(events.iter().map(|event| &*event.stream.aggregate_type).collect::<Vec<_>>())
    .bind(events.iter().map(|event| &*event.stream.aggregate_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.event_id).collect::<Vec<_>>())
    .fetch_all(writer.connection().await?)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Makes sure that the server processes of lost connections are gone: one could still commit after the
/// look-up, and what it stored would then be decided a second time.
async fn end_orphans(writer: &mut Writer) -> anyhow::Result<()> {
    while let Some(Backend { pid, started }) = writer.orphans.last().cloned() {
        let still_there: bool = sqlx::query_scalar(
            "SELECT COALESCE(bool_or(NOT pg_terminate_backend(pid, $3)), false)
             FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2",
        )
        .bind(pid)
        .bind(started)
        .bind(ORPHAN_GONE_WITHIN_MS)
        .fetch_one(writer.connection().await?)
        .await?;
        anyhow::ensure!(!still_there, "the server process of a lost connection does not end");
        writer.orphans.pop();
    }
    Ok(())
}
