//! One batch of events into read models, exactly once.
//!
//! Everything happens in one transaction: the checkpoints are locked, events up to each are skipped
//! (a redelivery), a batch that begins beyond one is refused as a hole, the rest is folded and
//! written, and the checkpoints move. So it does not matter who calls this, how often, or from
//! where it got the events.
//!
//! That transaction does not wait for the disk: rows and checkpoint go together, so that what a
//! crash of the server takes back is folded again.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool};

use crate::transaction::Transaction;
use crate::{Entry, FoldError, ReadModel, WriteError, door_changes};

/// Should this process stand still half-way, Postgres ends the transaction: another node must be able to go on.
const SETTINGS: [&str; 2] = ["synchronous_commit = off", "idle_in_transaction_session_timeout = '5s'"];

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

/// Whoever writes rows of read models finds them by their keys. Without this setting Postgres makes its plan while a
/// table is short, reads all of it instead, and keeps to that while the table grows, or fills with the holds of a minute,
/// long closed.
pub const FOUND_BY_KEY: &str = "enable_seqscan = off";

/// Begins a transaction that writes rows of read models, with `settings` of its own.
pub async fn begin_writing(pool: &PgPool, settings: &[&str]) -> sqlx::Result<Transaction> {
    let all = [FOUND_BY_KEY].into_iter().chain(settings.iter().copied());
    let set: String = all.map(|setting| format!("; SET LOCAL {setting}")).collect();
    Transaction::begin_with(pool, &format!("BEGIN{set}")).await
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
    let mut transaction = begin_writing(pool, &SETTINGS).await?;
    let place = lock_places(&mut transaction, &[model]).await?[0];
    if previous_position > place.checkpoint {
        transaction.roll_back().await?;
        return Ok(Applied::Hole { checkpoint: place.checkpoint });
    }
    let (position, stopped) =
        advance(&mut transaction, model, place.version, entries, place.checkpoint).await?;
    if door_changes::are_in(model, entries, place.checkpoint) {
        door_changes::note(&mut transaction).await?;
    }
    transaction.commit().await?;
    match stopped {
        Some(error) => Err(error.into()),
        None => Ok(Applied::Upto { position }),
    }
}

/// The same into several read models, whose places are returned in their order. One that has a hole is
/// left as it is, and is no error.
///
/// # Errors
/// One of them cannot go on. Nothing is in the tables then, of any of them.
pub async fn apply_together(
    pool: &PgPool,
    models: &[&'static ReadModel],
    entries: &[Entry],
    previous_position: i64,
) -> Result<Vec<Applied>, ApplyError> {
    let mut transaction = begin_writing(pool, &SETTINGS).await?;
    let places = lock_places(&mut transaction, models).await?;
    let (mut applied, mut moved) = (Vec::with_capacity(models.len()), Vec::with_capacity(models.len()));
    let mut concerns_doors = false;
    for (model, Place { version, checkpoint }) in models.iter().copied().zip(places) {
        if previous_position > checkpoint {
            applied.push(Applied::Hole { checkpoint });
            continue;
        }
        let Folded { batch, position, stopped } = fold_newer(model, entries, checkpoint);
        if let Some(error) = stopped {
            return Err(error.into());
        }
        if position > checkpoint {
            batch.write(&mut transaction, version).await?;
            moved.push((model.name, version, position));
            concerns_doors |= door_changes::are_in(model, entries, checkpoint);
        }
        applied.push(Applied::Upto { position });
    }
    if concerns_doors {
        door_changes::note(&mut transaction).await?;
    }
    if !moved.is_empty() {
        move_checkpoints(&mut transaction, &moved).await?;
    }
    transaction.commit().await?;
    Ok(applied)
}

/// The version that is read, and how far it is folded.
#[derive(Clone, Copy)]
struct Place {
    version: i32,
    checkpoint: i64,
}

/// Locks where each of `models` stands until the transaction ends.
async fn lock_places(
    connection: &mut PgConnection,
    models: &[&'static ReadModel],
) -> Result<Vec<Place>, ApplyError> {
    let names: Vec<&str> = models.iter().map(|model| model.name).collect();
    // Shared, so that the two live versions of a swap are never taken for one another.
    let active: Vec<(String, i32, i32)> = sqlx::query_as(
        "SELECT projection, active_version, revision FROM projection_versions WHERE projection = ANY($1)
         ORDER BY projection FOR SHARE",
    )
    .bind(&names)
    .fetch_all(&mut *connection)
    .await?;
    let active: BTreeMap<&str, (i32, i32)> =
        active.iter().map(|(name, version, revision)| (name.as_str(), (*version, *revision))).collect();
    let mut versions = Vec::with_capacity(models.len());
    for model in models {
        let projection = model.name;
        let &(version, built) = active.get(projection).ok_or(ApplyError::NotInstalled { projection })?;
        if built != model.revision {
            return Err(ApplyError::OtherRevision { projection, built, ours: model.revision });
        }
        versions.push(version);
    }
    let checkpoints: Vec<(String, i64)> = sqlx::query_as(
        "SELECT c.projection, c.position FROM projection_checkpoints c
         JOIN unnest($1::text[], $2::int[]) AS m(projection, version) USING (projection, version)
         ORDER BY c.projection FOR UPDATE OF c",
    )
    .bind(&names)
    .bind(&versions)
    .fetch_all(connection)
    .await?;
    let checkpoints: BTreeMap<&str, i64> =
        checkpoints.iter().map(|(name, position)| (name.as_str(), *position)).collect();
    let place = |(model, version): (&&'static ReadModel, i32)| {
        let checkpoint = checkpoints.get(model.name).copied();
        let checkpoint = checkpoint.ok_or(ApplyError::NotInstalled { projection: model.name })?;
        Ok(Place { version, checkpoint })
    };
    models.iter().zip(versions).map(place).collect()
}

/// What is newer than a checkpoint, folded.
struct Folded {
    batch: Box<dyn crate::Projection>,
    position: i64,
    /// By the event after `position`.
    stopped: Option<FoldError>,
}

fn fold_newer(model: &'static ReadModel, entries: &[Entry], checkpoint: i64) -> Folded {
    let mut folded = Folded { batch: (model.batch)(), position: checkpoint, stopped: None };
    for entry in entries.iter().filter(|entry| entry.position() > checkpoint) {
        if let Err(error) = fold(model, folded.batch.as_mut(), entry) {
            folded.stopped = Some(error);
            break;
        }
        folded.position = entry.position();
    }
    folded
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
    let Folded { batch, position, stopped } = fold_newer(model, entries, checkpoint);
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

/// The same for several, each as (read model, version, position).
async fn move_checkpoints(connection: &mut PgConnection, moved: &[(&str, i32, i64)]) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE projection_checkpoints c SET position = m.position
         FROM unnest($1::text[], $2::int[], $3::bigint[]) AS m(projection, version, position)
         WHERE c.projection = m.projection AND c.version = m.version",
    )
    .bind(moved.iter().map(|(name, ..)| *name).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, version, _)| *version).collect::<Vec<_>>())
    .bind(moved.iter().map(|(.., position)| *position).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
