//! Session advisory locks of Postgres: one holder among all nodes, gone when its connection is.
//!
//! The connection is the lock's own and no pool's, so that nothing else can close it or lend it out.

use std::time::Duration;

use anyhow::Context;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

/// A connection that does not answer within this has lost its lock as far as we are concerned.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A lock, held as long as this lives and its connection does.
pub struct SessionLock {
    connection: PgConnection,
}

impl SessionLock {
    /// The lock, or `None` where someone else holds it.
    pub async fn try_take(pool: &PgPool, lock: i64) -> anyhow::Result<Option<Self>> {
        let taking = async {
            let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(lock)
                .fetch_one(&mut connection)
                .await?;
            Ok::<_, sqlx::Error>(taken.then_some(Self { connection }))
        };
        timeout(ANSWER_WITHIN, taking).await.context("Postgres does not answer")?.context("taking a lock")
    }

    /// Makes Postgres free the lock where this process is silent for `silence`, as when it is paused. Who asks for
    /// this must use the lock more often than that.
    pub async fn freed_after(mut self, silence: Duration) -> anyhow::Result<Self> {
        let silence = silence.as_millis().to_string();
        let asking = sqlx::query(
            "SELECT set_config('idle_session_timeout', $1, false),
                    set_config('idle_in_transaction_session_timeout', $1, false)",
        )
        .bind(silence)
        .execute(&mut self.connection);
        timeout(ANSWER_WITHIN, asking)
            .await
            .context("Postgres does not answer")?
            .context("limiting a lock")?;
        Ok(self)
    }

    /// Fails where the session, and with it the lock, is gone.
    pub async fn confirm(&mut self) -> anyhow::Result<()> {
        let asking = self.connection.ping();
        timeout(ANSWER_WITHIN, asking).await.context("Postgres does not answer")?.context("the lock is lost")
    }

    /// For writing what only the holder may: it fails with the lock.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
