//! What operators write beside a movement of credit: free text, in the one place it can be erased from.

use std::collections::BTreeMap;

use anyhow::Context;
use codexapi_aggregates::ids::AccountId;
use sqlx::PgPool;
use uuid::Uuid;

/// Characters a note has at most.
pub const MAX_NOTE_CHARS: usize = 500;

/// Keeps a note. Written before the event that names the movement: a note that no event names means nothing.
pub async fn write(pool: &PgPool, account: AccountId, movement_id: Uuid, note: &str) -> anyhow::Result<()> {
    sqlx::query("insert into wallet_notes (movement_id, account_id, note) values ($1, $2, $3)")
        .bind(movement_id)
        .bind(account.0)
        .bind(note)
        .execute(pool)
        .await
        .context("writing a note")?;
    Ok(())
}

/// Erases the note of a movement that never came to be.
pub async fn forget(pool: &PgPool, movement_id: Uuid) -> anyhow::Result<()> {
    sqlx::query("delete from wallet_notes where movement_id = $1")
        .bind(movement_id)
        .execute(pool)
        .await
        .context("erasing a note")?;
    Ok(())
}

/// The notes beside one page of movements, by the movement's id.
pub async fn by_movements(pool: &PgPool, ids: &[Uuid]) -> anyhow::Result<BTreeMap<Uuid, String>> {
    let notes: Vec<(Uuid, String)> =
        sqlx::query_as("select movement_id, note from wallet_notes where movement_id = any($1)")
            .bind(ids)
            .fetch_all(pool)
            .await
            .context("reading notes")?;
    Ok(notes.into_iter().collect())
}
