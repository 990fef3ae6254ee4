//! Keys as they were looked up in the `api_keys` read model, kept fresh while they are in use.
//!
//! What was looked up is believed for `BELIEVED_FOR` from when the look-up began; on that rests when a revocation or a
//! limit is in force (`accounts::wait_until_in_force`). Keys in steady use are confirmed before that time is over, so that
//! their requests do not wait for it: by one mark where nothing has changed since they were read (`door_changes`), else
//! all of them in one query. Unknown tokens are not kept: a key must work the moment it is issued, and strangers must not
//! fill the cache.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use codexapi_projections::{ReadError, api_keys, door_changes};
use sqlx::PgPool;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::auth::{AuthError, Identity};
use crate::accounts::BELIEVED_FOR;
use crate::secrets::TokenDigest;

/// Keys remembered at most.
const CAPACITY: u64 = 50_000;

/// How long a look-up may take before the caller gets a 503.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Leaves a refresh a hundred milliseconds before its keys are not believed any more.
const REFRESH_EVERY: Duration = Duration::from_millis(150);

/// Keys refreshed at a time; those beyond it are looked up when they are asked for.
const REFRESHED_AT_ONCE: usize = 1_000;

/// Keys are read again after this, should their tables have been changed by other means than ours.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Refreshes of a key for which nobody has asked meanwhile.
const IDLE_REFRESHES: u8 = 2;

type Cache = moka::future::Cache<TokenDigest, LookedUp>;

/// Finds identities by the digest of their token.
pub(super) struct KnownKeys {
    cache: Cache,
    pool: PgPool,
    _stop_refreshing: DropGuard,
}

#[derive(Clone)]
struct LookedUp {
    identity: Identity,
    began: Instant,
    read_at: Instant,
    /// The mark of the last change before it was read; unknown of those not refreshed yet.
    mark: Option<Uuid>,
    /// Somebody has asked for it since the last refresh.
    asked: Arc<AtomicBool>,
    idle_refreshes: u8,
}

impl LookedUp {
    fn new(identity: Identity, began: Instant) -> Self {
        Self { identity, began, read_at: began, mark: None, asked: Arc::default(), idle_refreshes: 0 }
    }

    /// Whether it still holds at `now`, when this was the mark of the last change.
    fn is_confirmed_by(&self, mark: Uuid, now: Instant) -> bool {
        self.mark == Some(mark) && now < self.read_at + READ_AGAIN_AFTER
    }
}

impl KnownKeys {
    /// Starts the refreshing, which ends with the value.
    pub fn new(pool: PgPool) -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY).time_to_live(BELIEVED_FOR).build();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep_fresh(cache.clone(), pool.clone())));
        Self { cache, pool, _stop_refreshing: stop.drop_guard() }
    }

    /// # Errors
    /// `Unknown`, `Revoked`, or `Unavailable` where Postgres is away.
    pub async fn find(&self, digest: TokenDigest) -> Result<Identity, AuthError> {
        let arrived = Instant::now();
        loop {
            // Parallel requests of one token share one look-up: a storm must not queue for connections.
            let found = self.cache.try_get_with(digest, self.look_up(&digest)).await;
            let found = found.map_err(|error| AuthError::shared(&error))?;
            if arrived < found.began + BELIEVED_FOR {
                found.asked.store(true, Ordering::Relaxed);
                return Ok(found.identity);
            }
            // It took long and others had begun it; the next one begins after this request has come.
            self.cache.invalidate(&digest).await;
        }
    }

    async fn look_up(&self, digest: &TokenDigest) -> Result<LookedUp, AuthError> {
        let (began, text) = (Instant::now(), digest.to_string());
        let found = within_time(api_keys::by_digest(&self.pool, &text)).await?;
        Ok(LookedUp::new(Identity::of(found.ok_or(AuthError::Unknown)?)?, began))
    }
}

async fn keep_fresh(cache: Cache, pool: PgPool) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        let in_use = in_use(&cache);
        if in_use.is_empty() {
            continue;
        }
        if let Err(error) = refresh(&cache, &pool, in_use).await {
            // They are not believed much longer; then each request hears for itself what is wrong.
            tracing::debug!(error = %format!("{error:#}"), "keys in use could not be refreshed");
        }
    }
}

/// Keys to be refreshed, with what is known of them.
fn in_use(cache: &Cache) -> HashMap<String, (TokenDigest, LookedUp)> {
    let known = cache.iter().filter_map(|(digest, mut found)| {
        let asked = found.asked.swap(false, Ordering::Relaxed);
        found.idle_refreshes = if asked { 0 } else { found.idle_refreshes + 1 };
        (found.idle_refreshes <= IDLE_REFRESHES).then(|| (digest.to_string(), (*digest, found)))
    });
    known.take(REFRESHED_AT_ONCE).collect()
}

async fn refresh(
    cache: &Cache,
    pool: &PgPool,
    in_use: HashMap<String, (TokenDigest, LookedUp)>,
) -> Result<(), AuthError> {
    let began = Instant::now();
    // Before the keys: what changes between the two is read again next time.
    let mark = within_time(async { Ok(door_changes::mark(pool).await?) }).await?;
    let (confirmed, mut in_doubt): (HashMap<_, _>, HashMap<_, _>) =
        in_use.into_iter().partition(|(_, (_, known))| known.is_confirmed_by(mark, began));
    for (digest, known) in confirmed.into_values() {
        cache.insert(digest, LookedUp { began, ..known }).await;
    }
    if in_doubt.is_empty() {
        return Ok(());
    }
    let digests: Vec<&str> = in_doubt.keys().map(String::as_str).collect();
    for key in within_time(api_keys::by_digests(pool, &digests)).await? {
        let Some((digest, known)) = in_doubt.remove(&key.key.digest) else { continue };
        match Identity::of(key) {
            Ok(identity) => {
                let read = LookedUp { identity, began, read_at: began, mark: Some(mark), ..known };
                cache.insert(digest, read).await;
            }
            Err(_) => cache.invalidate(&digest).await,
        }
    }
    for (digest, _) in in_doubt.into_values() {
        cache.invalidate(&digest).await;
    }
    Ok(())
}

async fn within_time<T>(look_up: impl Future<Output = Result<T, ReadError>>) -> Result<T, AuthError> {
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, look_up).await;
    let found = found.map_err(|_| AuthError::Unavailable(anyhow!("no answer in {LOOKUP_TIMEOUT:?}")))?;
    found.map_err(|error| AuthError::Unavailable(error.into()))
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::ids::KeyId;

    use super::super::auth::Principal;
    use super::*;

    #[test]
    fn a_key_is_confirmed_by_the_mark_it_was_read_under_and_not_for_ever() {
        let (now, mark) = (Instant::now(), Uuid::from_u128(1));
        let principal = Principal::Operator { key_id: KeyId(Uuid::from_u128(2)), name: "ops".into() };
        let looked_up = LookedUp::new(Identity { principal, access: Arc::default() }, now);
        assert!(!looked_up.is_confirmed_by(mark, now), "what had changed before it was read is unknown");
        let read = LookedUp { read_at: now, mark: Some(mark), ..looked_up };
        assert!(read.is_confirmed_by(mark, now));
        assert!(!read.is_confirmed_by(Uuid::from_u128(3), now), "something has changed");
        assert!(!read.is_confirmed_by(mark, now + READ_AGAIN_AFTER));
    }
}
