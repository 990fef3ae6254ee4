//! Commands that bring an idempotency key.

use codexapi_aggregates::time::Timestamp;

use super::{Call, CommandError, Committed, LiveAggregate, RunError};
use crate::event_log::idempotency::StoredKey;
use crate::event_log::{IdempotencyKey, Inner, Reads, WrittenRange};

type Done<A, B, T> =
    (Committed<<A as cqrs_es::Aggregate>::Event>, Committed<<B as cqrs_es::Aggregate>::Event>, Option<T>);

impl<Reader: Reads> Inner<Reader> {
    pub(crate) async fn run_once<A: LiveAggregate, B: LiveAggregate, T, R>(
        &self,
        first_id: &str,
        second_id: Option<&str>,
        call: Call<'_>,
        key: IdempotencyKey,
        decide: impl Fn(&A, Option<&B>, Timestamp) -> Result<(Vec<A::Event>, Vec<B::Event>, T), R>,
    ) -> Result<Done<A, B, T>, CommandError<R>> {
        let _turn = self.key_turns.wait(&key).await;
        if let Some(stored) = self.reader.find_key(&key).await? {
            return replay::<A, B, T, R>(self, &key, stored).await;
        }
        let error = match self.run(first_id, second_id, call, Some(&key), decide).await {
            Ok((first, second, extra)) => return Ok((first, second, Some(extra))),
            Err(RunError::KeyTaken) => None,
            Err(RunError::Command(error @ CommandError::Refused(_))) => Some(error),
            Err(RunError::Command(error)) => return Err(error),
        };
        // Another process may have used the key meanwhile; a refusal may be due to its very success.
        let found = self.reader.find_key(&key).await.map_err(CommandError::from);
        match (found.map_err(|away| if error.is_none() { perhaps_stored(away) } else { away })?, error) {
            (Some(stored), _) => replay::<A, B, T, R>(self, &key, stored).await,
            (None, Some(refused)) => Err(refused),
            (None, None) => Err(CommandError::Failed(anyhow::anyhow!("a key that was taken is gone"))),
        }
    }
}

/// A key that is taken may be this very command's: stored on a connection that was then lost. So whoever cannot go on
/// to its result must not hear that nothing was stored.
fn perhaps_stored<R>(error: CommandError<R>) -> CommandError<R> {
    match error {
        CommandError::Unavailable { context, .. } => {
            CommandError::Unavailable { context, outcome_unknown: true }
        }
        other => other,
    }
}

/// The first result, read again from the log.
async fn replay<A: LiveAggregate, B: LiveAggregate, T, R>(
    log: &Inner<impl Reads>,
    key: &IdempotencyKey,
    stored: StoredKey,
) -> Result<Done<A, B, T>, CommandError<R>> {
    if stored.inputs_digest != key.inputs_digest {
        return Err(CommandError::IdempotencyMismatch { command: key.command, key: key.key.clone() });
    }
    let first = replay_stream(log, stored.streams.first()).await?;
    let second = replay_stream(log, stored.streams.get(1)).await?;
    Ok((first, second, None))
}

async fn replay_stream<E: serde::de::DeserializeOwned, R>(
    log: &Inner<impl Reads>,
    written: Option<&WrittenRange>,
) -> Result<Committed<E>, CommandError<R>> {
    let Some(written) = written else {
        return Ok(Committed { events: vec![], position: 0, sequence: 0, replayed: true });
    };
    let rows = log.reader.written(written).await.map_err(|away| perhaps_stored(away.into()))?;
    let events = rows.iter().map(|row| serde_json::from_str(&row.payload)).collect::<Result<Vec<E>, _>>();
    let events = events.map_err(|error| CommandError::Failed(error.into()))?;
    let position = rows.last().map_or(0, |row| row.position);
    Ok(Committed { events, position, sequence: written.last, replayed: true })
}
