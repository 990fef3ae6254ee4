//! How far each read model has been folded.

use std::time::Duration;

use sqlx::{PgExecutor, PgPool};
use tokio::time::{Instant, sleep};

/// How often a waiting reader looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A read model's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Checkpoint {
    pub projection: String,
    /// The version that is read.
    pub version: i32,
    /// Every event up to and including this position is in its tables.
    pub position: i64,
}

/// The checkpoint of what is read under `projection`; 0 where it is not installed.
pub async fn position(pool: &PgPool, projection: &str) -> sqlx::Result<i64> {
    position_in(pool, projection).await
}

/// The same, inside a transaction of the caller's.
pub async fn position_in(executor: impl PgExecutor<'_>, projection: &str) -> sqlx::Result<i64> {
    let position = sqlx::query_scalar(
        "SELECT c.position FROM projection_versions v JOIN projection_checkpoints c \
         ON c.projection = v.projection AND c.version = v.active_version WHERE v.projection = $1",
    )
    .bind(projection)
    .fetch_optional(executor)
    .await?;
    Ok(position.unwrap_or(0))
}

/// The checkpoints of everything that is read.
pub async fn all(pool: &PgPool) -> sqlx::Result<Vec<Checkpoint>> {
    sqlx::query_as(
        "SELECT c.projection, c.version, c.position FROM projection_versions v JOIN projection_checkpoints c \
         ON c.projection = v.projection AND c.version = v.active_version ORDER BY c.projection",
    )
    .fetch_all(pool)
    .await
}

/// Waits until `projection` has reached `at_least`, so that a reader sees its own write. Returns
/// whether it has; after `timeout` the caller reads what there is.
pub async fn wait_for(
    pool: &PgPool,
    projection: &str,
    at_least: i64,
    timeout: Duration,
) -> sqlx::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        if position(pool, projection).await? >= at_least {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(LOOK_EVERY).await;
    }
}
