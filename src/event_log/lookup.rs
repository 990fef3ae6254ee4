//! Outcome unknown: the connection was lost with a batch under way, so what was stored is looked up.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::append::{Backend, Writer};
use super::conflict::answer_unavailable;
use super::queue::{Append, Outcome};

/// How long a lost batch may take to be looked up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

const LOOKUP_PAUSE: Duration = Duration::from_millis(50);

/// How long Postgres waits for the server process of a lost connection to be gone, in milliseconds.
const ORPHAN_GONE_WITHIN_MS: i64 = 4_000;

/// Finds out what was stored of a batch whose connection was lost, and answers accordingly.
pub(super) async fn look_up(writer: &mut Writer, batch: Vec<Append>, context: &str) {
    // Nothing may be decided on these streams as they stand in the cache.
    for (slot, _) in batch.iter().flat_map(|append| &append.slots) {
        writer.cache.kill(slot);
    }
    let give_up = Instant::now() + LOOKUP_TIMEOUT;
    let found = loop {
        let failed = match timeout_at(give_up, stored_positions(writer, &batch)).await {
            Ok(Ok(found)) => break Ok(found),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer in time"),
        };
        writer.abandon_session();
        if Instant::now() >= give_up {
            break Err(failed);
        }
        sleep(LOOKUP_PAUSE).await;
    };
    match found {
        Ok(found) => {
            for append in batch {
                let last = append.events.last().map(|event| event.event_id);
                match last.and_then(|id| found.get(&id)) {
                    Some(position) => {
                        writer.announce(*position);
                        append.answer(Outcome::Committed { position: *position });
                    }
                    None => append.answer(Outcome::DecideAnew),
                }
            }
        }
        Err(error) => {
            answer_unavailable(writer, batch, &format!("{context}; looking it up: {error:#}"), true);
        }
    }
}

/// The positions of those events of the batch that are stored, by event id.
async fn stored_positions(writer: &mut Writer, batch: &[Append]) -> anyhow::Result<HashMap<uuid::Uuid, i64>> {
    end_orphans(writer).await?;
    let events: Vec<_> = batch.iter().flat_map(|append| &append.events).collect();
    let rows: Vec<(uuid::Uuid, i64)> = sqlx::query_as(
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
