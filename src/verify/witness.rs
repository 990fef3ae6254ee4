//! How far every sealed stream reached, so that a cut-off stream can be named.
//!
//! The running hash of a seal shows that something is gone, never what. This table is told by the
//! sealer right after each seal; it proves nothing by itself, and nothing rests on it but the name.

use sqlx::{PgConnection, PgPool};

use super::Difference;
use super::difference::stream_name;

/// Notes where every stream stands that was written since the last note, up to `up_to` (a sealed
/// position). What an earlier call missed is made up for.
pub async fn note_stream_heads(pool: &PgPool, up_to: i64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sealed_stream_heads (aggregate_type, aggregate_id, sequence, position)
         SELECT aggregate_type, aggregate_id, max(sequence), max(position) FROM events
         WHERE position > (SELECT COALESCE(max(position), 0) FROM sealed_stream_heads) AND position <= $1
         GROUP BY aggregate_type, aggregate_id
         ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
         SET sequence = excluded.sequence, position = excluded.position
         WHERE sealed_stream_heads.position < excluded.position",
    )
    .bind(up_to)
    .execute(pool)
    .await?;
    Ok(())
}

/// The first stream that no longer reaches where it was sealed.
pub(super) async fn first_cut_off(connection: &mut PgConnection) -> sqlx::Result<Option<Difference>> {
    let found: Option<(String, String, i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT h.aggregate_type, h.aggregate_id, h.position, h.sequence, e.sequence
         FROM sealed_stream_heads h
         LEFT JOIN LATERAL (
             SELECT sequence FROM events e
             WHERE e.aggregate_type = h.aggregate_type AND e.aggregate_id = h.aggregate_id
             ORDER BY sequence DESC LIMIT 1
         ) e ON true
         WHERE e.sequence IS NULL OR e.sequence < h.sequence
         ORDER BY h.position LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(aggregate_type, aggregate_id, sealed_position, sealed, found)| {
        let stream = stream_name(&aggregate_type, &aggregate_id);
        match found {
            None => Difference::StreamRemoved { stream, sealed_position },
            Some(found) if sealed - found == 1 => Difference::LastEventRemoved { stream, sealed_position },
            Some(found) => Difference::LastEventsRemoved { stream, count: sealed - found, sealed_position },
        }
    }))
}
