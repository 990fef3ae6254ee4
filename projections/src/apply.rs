//! One batch of events into one read model, exactly once.
//!
//! Everything happens in one transaction: the checkpoint is locked, events up to it are skipped
//! (a redelivery), a batch that begins beyond it is refused as a hole, the rest is folded and
//! written, and the checkpoint moves. So it does not matter who calls this, how often, or from
//! where it got the events.

use sqlx::{PgConnection, PgPool};

use crate::{Entry, FoldError, ReadModel, WriteError, versions};

/// Should this process stand still half-way, Postgres ends the transaction: another node must be able to go on.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The read model now stands at `position`.
    Upto { position: i64 },
    /// The batch begins beyond the checkpoint; what lies between must be read from the log first.
    Hole { checkpoint: i64 },
}

/// Why a read model could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It stands just before this event, and stays there.
    #[error(transparent)]
    Event(#[from] FoldError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{projection} is not installed; run the migrations")]
    NotInstalled { projection: &'static str },
    #[error(
        "{projection} was built at revision {built}, this build folds revision {ours}: run `codexapi rebuild {projection}`"
    )]
    OtherRevision { projection: &'static str, built: i32, ours: i32 },
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Write(WriteError::Database(error))
    }
}

/// Folds `entries`, which are all events of the log after `previous_position` up to the last of
/// them, into the version that is read.
///
/// # Errors
/// For an event that cannot be folded everything before it is in the tables; for all else nothing is.
pub async fn apply(
    pool: &PgPool,
    model: &'static ReadModel,
    entries: &[Entry],
    previous_position: i64,
) -> Result<Applied, ApplyError> {
    let mut transaction = pool.begin_with(BEGIN).await?;
    // Shared, so that the two live versions of a swap are never taken for one another.
    let active: Option<versions::Active> = sqlx::query_as(
        "SELECT active_version AS version, revision FROM projection_versions WHERE projection = $1 FOR SHARE",
    )
    .bind(model.name)
    .fetch_optional(&mut *transaction)
    .await?;
    let active = active.ok_or(ApplyError::NotInstalled { projection: model.name })?;
    if active.revision != model.revision {
        let (built, ours) = (active.revision, model.revision);
        return Err(ApplyError::OtherRevision { projection: model.name, built, ours });
    }
    let checkpoint = lock_checkpoint(&mut transaction, model, active.version).await?;
    if previous_position > checkpoint {
        return Ok(Applied::Hole { checkpoint });
    }
    let (position, stopped) = advance(&mut transaction, model, active.version, entries, checkpoint).await?;
    transaction.commit().await?;
    match stopped {
        Some(error) => Err(error.into()),
        None => Ok(Applied::Upto { position }),
    }
}

/// Folds what is newer than `checkpoint` into a version whose checkpoint the caller has locked, and
/// moves that. Returns where it stands then, and the event that stopped it, if one did.
pub async fn advance(
    connection: &mut PgConnection,
    model: &'static ReadModel,
    version: i32,
    entries: &[Entry],
    checkpoint: i64,
) -> Result<(i64, Option<FoldError>), WriteError> {
    let newer = entries.iter().filter(|entry| entry.position() > checkpoint);
    let mut batch = (model.batch)();
    let (mut position, mut stopped) = (checkpoint, None);
    for entry in newer {
        if let Err(error) = fold(model, batch.as_mut(), entry) {
            stopped = Some(error);
            break;
        }
        position = entry.position();
    }
    if position > checkpoint {
        batch.write(&mut *connection, version).await?;
        move_checkpoint(connection, model, version, position).await?;
    }
    Ok((position, stopped))
}

/// Takes one entry into a batch; unreadable events of other aggregates are none of its business.
pub fn fold(model: &ReadModel, batch: &mut dyn crate::Projection, entry: &Entry) -> Result<(), FoldError> {
    match entry {
        Entry::Event(event) => batch.fold(event),
        Entry::Unreadable { position, aggregate_type, error } => {
            if !model.aggregates.contains(&aggregate_type.as_str()) {
                return Ok(());
            }
            Err(FoldError::Unreadable {
                position: *position,
                aggregate_type: aggregate_type.clone(),
                error: error.clone(),
            })
        }
    }
}

/// Locks a version's checkpoint until the transaction ends, and reads it.
pub async fn lock_checkpoint(
    connection: &mut PgConnection,
    model: &ReadModel,
    version: i32,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT position FROM projection_checkpoints WHERE projection = $1 AND version = $2 FOR UPDATE",
    )
    .bind(model.name)
    .bind(version)
    .fetch_one(connection)
    .await
}

/// Moves a version's checkpoint; the rows up to it are written in the same transaction.
pub async fn move_checkpoint(
    connection: &mut PgConnection,
    model: &ReadModel,
    version: i32,
    position: i64,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE projection_checkpoints SET position = $3 WHERE projection = $1 AND version = $2")
        .bind(model.name)
        .bind(version)
        .bind(position)
        .execute(connection)
        .await?;
    Ok(())
}
