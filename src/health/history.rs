//! What checks have found, kept for a month: lists, rates, forgetting.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::Checked;
use crate::clock;

/// How long a check is remembered.
const KEPT_DAYS: i64 = 30;

/// Rows deleted by one statement, and statements of one go.
const BATCH: i64 = 1_000;
const BATCHES: usize = 100;

/// One check, as some node has found it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PastCheck {
    /// Lists are in the order of it.
    pub position: i64,
    pub node: String,
    pub provider: String,
    pub upstream_model: String,
    pub model: String,
    /// A `CheckClass`'s name.
    pub class: String,
    pub latency_ms: i32,
    pub message: Option<String>,
    pub generation_id: Option<Uuid>,
    /// What the provider charges for it, in micro-USD.
    pub cost_micro: Option<i64>,
    pub checked_at: DateTime<Utc>,
}

/// What all nodes' checks of one target add up to over some time; those that were not sent do not count.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Rates {
    pub provider: String,
    pub upstream_model: String,
    pub checks: i64,
    pub ok: i64,
    /// Answers, in time or late.
    pub answered: i64,
    /// Mean, of answers.
    pub latency_ms: Option<i64>,
    pub cost_micro: i64,
    pub last_at: DateTime<Utc>,
}

/// Notes what a check has found.
pub async fn keep(pool: &PgPool, node: &str, checked: &Checked) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO provider_checks (node, provider, upstream_model, model, class, latency_ms, message, \
         generation_id, cost_micro, checked_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(node)
    .bind(&checked.target.provider)
    .bind(&checked.target.upstream_model)
    .bind(&checked.target.model)
    .bind(checked.class.name())
    .bind(i32::try_from(checked.latency_ms).unwrap_or(i32::MAX))
    // Text of Postgres has no NUL.
    .bind(checked.message.as_ref().map(|message| message.replace('\0', " ")))
    .bind(checked.generation_id)
    .bind(checked.cost_micro.map(|cost| cost.0))
    .bind(now())
    .execute(pool)
    .await?;
    Ok(())
}

/// Checks, newest first, of one provider or of all; one more than `limit` tells that there is another page.
pub async fn page(
    pool: &PgPool,
    provider: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> sqlx::Result<Vec<PastCheck>> {
    sqlx::query_as(
        "SELECT position, node, provider, upstream_model, model, class, latency_ms, message, generation_id, \
         cost_micro, checked_at FROM provider_checks \
         WHERE position < $1 AND ($2::text IS NULL OR provider = $2) ORDER BY position DESC LIMIT $3",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(provider)
    .bind(i64::from(limit) + 1)
    .fetch_all(pool)
    .await
}

/// The rates of every target that was checked in the last `hours`, at most `limit`.
pub async fn rates(pool: &PgPool, hours: i64, limit: u32) -> sqlx::Result<Vec<Rates>> {
    sqlx::query_as(
        "SELECT provider, upstream_model, count(*) AS checks, count(*) FILTER (WHERE class = 'ok') AS ok, \
         count(*) FILTER (WHERE class IN ('ok', 'slow')) AS answered, \
         (avg(latency_ms) FILTER (WHERE class IN ('ok', 'slow')))::bigint AS latency_ms, \
         coalesce(sum(cost_micro), 0)::bigint AS cost_micro, max(checked_at) AS last_at \
         FROM provider_checks WHERE checked_at > $1 AND class <> 'not_sent' \
         GROUP BY provider, upstream_model ORDER BY provider, upstream_model LIMIT $2",
    )
    .bind(now() - TimeDelta::hours(hours))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}

/// Forgets what is older than a month; returns how many checks went.
pub async fn purge(pool: &PgPool) -> sqlx::Result<u64> {
    let before = now() - TimeDelta::days(KEPT_DAYS);
    let mut deleted = 0;
    for _ in 0..BATCHES {
        let gone = sqlx::query(
            "DELETE FROM provider_checks WHERE position IN \
             (SELECT position FROM provider_checks WHERE checked_at < $1 ORDER BY checked_at LIMIT $2)",
        )
        .bind(before)
        .bind(BATCH)
        .execute(pool)
        .await?
        .rows_affected();
        deleted += gone;
        if i64::try_from(gone).is_ok_and(|gone| gone < BATCH) {
            break;
        }
    }
    Ok(deleted)
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(clock::now().0).unwrap_or_default()
}
