//! Idempotency keys: the same key with the same inputs gives the first result, and says so; with other
//! inputs it is refused. The key is stored in the transaction of the events it led to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sqlx::{PgExecutor, PgPool, Row};
use tokio::sync::OwnedMutexGuard;

use codexapi_aggregates::time::Timestamp;

/// Rows one statement of a purge deletes.
const PURGE_BATCH: i64 = 5_000;

/// A caller's key. Two keys are the same if command, account and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The command's name, e.g. `grant_credit`.
    pub command: &'static str,
    /// An account id, or `system`.
    pub account: String,
    pub key: String,
    /// Over the caller's inputs alone: no clock, no generated id, no quote.
    pub inputs_digest: [u8; 32],
    /// For payments and grants; other keys are purged after a while.
    pub keep_forever: bool,
}

/// The events a key led to, in one stream; `last < first` where it wrote none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WrittenRange {
    #[serde(rename = "type")]
    pub aggregate_type: String,
    #[serde(rename = "id")]
    pub aggregate_id: String,
    pub first: i64,
    pub last: i64,
}

/// A key about to be stored.
pub(crate) struct NewKey {
    pub key: IdempotencyKey,
    pub streams: Vec<WrittenRange>,
}

/// A key as stored.
pub(crate) struct StoredKey {
    pub inputs_digest: Vec<u8>,
    pub streams: Vec<WrittenRange>,
}

/// What the key led to, if it was used before.
pub(crate) async fn find(
    executor: impl PgExecutor<'_>,
    key: &IdempotencyKey,
) -> Result<Option<StoredKey>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT inputs_digest, streams FROM idempotency_keys
         WHERE command = $1 AND account = $2 AND key = $3",
    )
    .bind(key.command)
    .bind(&key.account)
    .bind(&key.key)
    .fetch_optional(executor)
    .await?;
    row.map(|row| {
        let streams: sqlx::types::Json<Vec<WrittenRange>> = row.try_get("streams")?;
        Ok(StoredKey { inputs_digest: row.try_get("inputs_digest")?, streams: streams.0 })
    })
    .transpose()
}

/// Which of the keys are taken, in the order asked.
pub(crate) async fn taken(
    executor: impl PgExecutor<'_>,
    keys: &[&IdempotencyKey],
) -> Result<Vec<bool>, sqlx::Error> {
    let commands: Vec<&str> = keys.iter().map(|key| key.command).collect();
    let accounts: Vec<&str> = keys.iter().map(|key| key.account.as_str()).collect();
    let names: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM idempotency_keys k
                        WHERE k.command = a.command AND k.account = a.account AND k.key = a.key)
         FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS a(command, account, key, place)
         ORDER BY a.place",
    )
    .bind(commands)
    .bind(accounts)
    .bind(names)
    .fetch_all(executor)
    .await
}

/// Deletes keys made before `before` that need not be kept; returns how many.
pub async fn purge(pool: &PgPool, before: Timestamp) -> anyhow::Result<u64> {
    let before = super::to_datetime(before)?;
    let mut purged = 0;
    loop {
        let deleted = sqlx::query(
            "DELETE FROM idempotency_keys WHERE (command, account, key) IN (
                 SELECT command, account, key FROM idempotency_keys
                 WHERE NOT keep_forever AND created_at < $1 LIMIT $2)",
        )
        .bind(before)
        .bind(PURGE_BATCH)
        .execute(pool)
        .await?
        .rows_affected();
        purged += deleted;
        if deleted < PURGE_BATCH as u64 {
            return Ok(purged);
        }
    }
}

type KeyName = (&'static str, String, String);

/// Lets one command at a time use a key in this process. Without it a duplicate would reach the writer
/// and cost its whole batch a second statement; the key's row remains the guard.
#[derive(Default)]
pub(crate) struct KeyTurns {
    turns: Mutex<HashMap<KeyName, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to use a key; given up on drop.
pub(crate) struct KeyTurn<'a> {
    turns: &'a KeyTurns,
    name: KeyName,
    held: Option<OwnedMutexGuard<()>>,
}

impl KeyTurns {
    pub async fn wait(&self, key: &IdempotencyKey) -> KeyTurn<'_> {
        let name = (key.command, key.account.clone(), key.key.clone());
        let lock = Arc::clone(self.turns().entry(name.clone()).or_default());
        // Made before waiting, so that a caller that stops waiting cleans up as well.
        let mut turn = KeyTurn { turns: self, name, held: None };
        turn.held = Some(lock.lock_owned().await);
        turn
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<KeyName, Arc<tokio::sync::Mutex<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyTurn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.turns.turns();
        if let Entry::Occupied(turn) = turns.entry(self.name.clone())
            && Arc::strong_count(turn.get()) == 1
        {
            turn.remove();
        }
    }
}
