//! Transactions that leave no trace in the pool where they are dropped half-way.
//!
//! With sqlx 0.8 a `BEGIN` that is dropped before its answer leaves its connection inside a transaction
//! (<https://github.com/launchbadge/sqlx/issues/4393>), and a `COPY` dropped so leaves it one answer
//! behind: whoever takes it from the pool next is given rows that somebody else asked for. A request
//! whose client leaves and a projector that is told to stop drop whatever they wait for. So a
//! connection comes back only from a transaction that ended; every other is closed.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Executor, PgConnection, PgPool, Postgres};

/// A transaction that is rolled back, and its connection closed, unless it is committed or rolled back.
pub struct Transaction {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Transaction {
    /// Begins one on a connection of `pool`.
    pub async fn begin(pool: &PgPool) -> sqlx::Result<Self> {
        Self::begin_with(pool, "BEGIN").await
    }

    /// Begins one with `statements`, the first of which is `BEGIN`.
    pub async fn begin_with(pool: &PgPool, statements: &str) -> sqlx::Result<Self> {
        let mut begun = Self { connection: pool.acquire().await?, ended: false };
        begun.execute(statements).await?;
        Ok(begun)
    }

    pub async fn commit(self) -> sqlx::Result<()> {
        self.end("COMMIT").await
    }

    pub async fn roll_back(self) -> sqlx::Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> sqlx::Result<()> {
        self.execute(statement).await?;
        self.ended = true;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
