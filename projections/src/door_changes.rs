//! Whether something has changed that a door goes by: keys, their accounts, their networks.
//!
//! A mark says so, which is drawn anew in the transaction of each change. Who reads the mark, then the keys, and later
//! finds the mark unchanged, knows that the keys still hold without reading them again.

use codexapi_aggregates::event::AnyEvent;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{Entry, ReadModel, accounts, api_keys};

/// The read models that doors go by.
pub const READ_MODELS: [&ReadModel; 2] = [&api_keys::READ_MODEL, &accounts::READ_MODEL];

/// The mark of the last change.
pub async fn mark(executor: impl PgExecutor<'_>) -> sqlx::Result<Uuid> {
    sqlx::query_scalar("SELECT mark FROM door_changes").fetch_one(executor).await
}

/// Draws another, which shows when the transaction commits.
pub(crate) async fn note(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("UPDATE door_changes SET mark = gen_random_uuid()").execute(connection).await?;
    Ok(())
}

/// Whether doors go by what `entries` after `checkpoint` bring into `model`.
pub(crate) fn are_in(model: &ReadModel, entries: &[Entry], checkpoint: i64) -> bool {
    is_read_by_doors(model)
        && entries.iter().any(|entry| {
            let Entry::Event(event) = entry else { return false };
            event.position > checkpoint && matches!(event.event, AnyEvent::Account(_))
        })
}

pub(crate) fn is_read_by_doors(model: &ReadModel) -> bool {
    READ_MODELS.iter().any(|read| read.name == model.name)
}
