//! This node's lease: the proof that its incarnation lives, and so that its holds are served.
//!
//! A name is held by an advisory lock on a connection of its own, which Postgres frees the moment the
//! process is gone. So a restart takes its name over at once and declares its earlier incarnations
//! dead, while a second node under the same name is refused for as long as the first is there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::time::Timestamp;
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a start waits for the name's former holder to be gone.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(10);
const TAKE_OVER_POLL: Duration = Duration::from_millis(200);

/// Distinguishes this lock from other advisory locks on the same database.
const LOCK_SPACE: i32 = 0x6e6f_6465;

/// A held name. Dropping it frees the name without ending the incarnation.
pub struct Lease {
    pool: PgPool,
    incarnation: NodeIncarnation,
    name: String,
    connection: PgConnection,
}

impl Lease {
    /// Takes `name` for `incarnation` and ends every earlier incarnation of that name. Other nodes send their
    /// commands to `address`, where there is one.
    ///
    /// # Errors
    /// When another process still holds the name, or Postgres cannot be asked.
    pub async fn take(
        pool: PgPool,
        database_url: &str,
        name: &str,
        incarnation: NodeIncarnation,
        address: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut connection =
            PgConnection::connect(database_url).await.context("cannot connect for the lease")?;
        let give_up = tokio::time::Instant::now() + TAKE_OVER_PATIENCE;
        while !try_lock(&mut connection, name).await? {
            if tokio::time::Instant::now() > give_up {
                bail!(
                    "a node named {name:?} is still running; stop it, or set CODEXAPI_NODE_NAME to another name"
                );
            }
            tokio::time::sleep(TAKE_OVER_POLL).await;
        }
        let mut take_over = connection.begin().await?;
        sqlx::query("UPDATE nodes SET ended_at = now() WHERE name = $1 AND ended_at IS NULL")
            .bind(name)
            .execute(&mut *take_over)
            .await?;
        sqlx::query("INSERT INTO nodes (incarnation, name, address) VALUES ($1, $2, $3)")
            .bind(incarnation.0)
            .bind(name)
            .bind(address)
            .execute(&mut *take_over)
            .await?;
        take_over.commit().await?;
        Ok(Self { pool, incarnation, name: name.to_owned(), connection })
    }

    /// Renews every `interval` until `stop`. Returns early only where this incarnation has been
    /// declared dead: its holds may have been expired, so it must serve no more.
    pub async fn keep(&mut self, interval: Duration, stop: CancellationToken) -> Result<(), Superseded> {
        let mut due = tokio::time::interval(interval);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = due.tick() => {}
            }
            match self.renew().await {
                Ok(true) => {}
                Ok(false) => return Err(Superseded { name: self.name.clone() }),
                Err(error) => tracing::warn!(%error, "the node's lease could not be renewed"),
            }
        }
    }

    /// Ends this incarnation in good order; its holds have all been closed.
    pub async fn end(self) -> anyhow::Result<()> {
        sqlx::query("UPDATE nodes SET ended_at = now() WHERE incarnation = $1")
            .bind(self.incarnation.0)
            .execute(&self.pool)
            .await?;
        // Postgres may have been restarted meanwhile; the lock went with the connection.
        if let Err(error) = self.connection.close().await {
            tracing::info!(%error, "the lease's connection was closed already");
        }
        Ok(())
    }

    async fn renew(&self) -> sqlx::Result<bool> {
        let renewed =
            sqlx::query("UPDATE nodes SET renewed_at = now() WHERE incarnation = $1 AND ended_at IS NULL")
                .bind(self.incarnation.0)
                .execute(&self.pool)
                .await?;
        Ok(renewed.rows_affected() == 1)
    }
}

/// Another incarnation has taken this node's name, or another node has found its lease lapsed.
#[derive(Debug, thiserror::Error)]
#[error("the lease of {name:?} has lapsed or another process has taken the name; this one must stop")]
pub struct Superseded {
    name: String,
}

/// Dead incarnations and since when they count as dead; for those who judge whether a hold was left
/// behind.
pub async fn dead_nodes(pool: &PgPool) -> sqlx::Result<BTreeMap<NodeIncarnation, Timestamp>> {
    let dead: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT incarnation, ended_at FROM nodes WHERE ended_at IS NOT NULL")
            .fetch_all(pool)
            .await?;
    Ok(dead.into_iter().map(|(node, at)| (NodeIncarnation(node), Timestamp(at.timestamp_micros()))).collect())
}

async fn try_lock(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1, hashtext($2))")
        .bind(LOCK_SPACE)
        .bind(name)
        .fetch_one(connection)
        .await
}
