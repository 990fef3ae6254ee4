//! Reading settled generations from the log, page by page, from a moment on.

use std::collections::BTreeSet;

use anyhow::Context;
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{GenerationSettled, UsageEvent};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::event_log::read::head;
use crate::event_log::{READ_TIMEOUT, SHARD};

/// Positions looked through for one page.
const PAGE: i64 = 20_000;

/// Reversed generations that are remembered.
const MAX_REVERSED: i64 = 100_000;

/// Seconds by which an event may stand after later ones: decided before them, committed after.
const SLACK_SECS: i64 = 600;

/// How far the log has been read, in positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    pub done: i64,
    pub of: i64,
}

/// A reader of settled generations.
pub struct ReadLog<'a> {
    pool: &'a PgPool,
    first: i64,
    next: i64,
    head: i64,
}

impl<'a> ReadLog<'a> {
    /// A reader of what was recorded from `from` on, up to the log's end as it is now.
    pub async fn from(pool: &'a PgPool, from: Timestamp) -> anyhow::Result<Self> {
        let head = answered(head(pool, SHARD)).await?;
        let first = first_since(pool, from.minus_secs(SLACK_SECS), head).await?;
        Ok(Self { pool, first, next: first, head })
    }

    pub fn reached(&self) -> Reached {
        let done = self.next.min(self.head + 1) - self.first;
        Reached { done, of: self.head + 1 - self.first }
    }

    /// Generations of which the charge went back.
    pub async fn reversed(&self) -> anyhow::Result<BTreeSet<GenerationId>> {
        let rows: Vec<String> = answered(
            sqlx::query_scalar(
                "SELECT payload::text FROM events WHERE position >= $1 AND position <= $2 \
                 AND event_type = 'usage.charge_reversed' ORDER BY position DESC LIMIT $3",
            )
            .bind(self.first)
            .bind(self.head)
            .bind(MAX_REVERSED)
            .fetch_all(self.pool),
        )
        .await?;
        let mut reversed = BTreeSet::new();
        for row in rows {
            if let UsageEvent::ChargeReversed { generation_id, .. } = parsed(&row)? {
                reversed.insert(generation_id);
            }
        }
        Ok(reversed)
    }

    /// The next settled generations, in the log's order; `None` at its end.
    pub async fn next_page(&mut self) -> anyhow::Result<Option<Vec<GenerationSettled>>> {
        if self.next > self.head {
            return Ok(None);
        }
        let last = self.head.min(self.next + PAGE - 1);
        let rows: Vec<String> = answered(
            sqlx::query_scalar(
                "SELECT payload::text FROM events WHERE position >= $1 AND position <= $2 \
                 AND event_type = 'usage.generation_settled' ORDER BY position",
            )
            .bind(self.next)
            .bind(last)
            .fetch_all(self.pool),
        )
        .await?;
        self.next = last + 1;
        let mut page = Vec::with_capacity(rows.len());
        for row in rows {
            if let UsageEvent::GenerationSettled(settled) = parsed(&row)? {
                page.push(*settled);
            }
        }
        Ok(Some(page))
    }
}

/// A position before which nothing was recorded since `since`, found by halving.
async fn first_since(pool: &PgPool, since: Timestamp, head: i64) -> anyhow::Result<i64> {
    let since = chrono::DateTime::from_timestamp_micros(since.0).context("a moment of the calendar")?;
    let (mut low, mut high) = (1, head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let recorded: Option<chrono::DateTime<chrono::Utc>> = answered(
            sqlx::query_scalar(
                "SELECT recorded_at FROM events WHERE position >= $1 ORDER BY position LIMIT 1",
            )
            .bind(middle)
            .fetch_optional(pool),
        )
        .await?;
        match recorded {
            Some(recorded) if recorded < since => low = middle + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

fn parsed(payload: &str) -> anyhow::Result<UsageEvent> {
    serde_json::from_str(payload).context("a usage event cannot be decoded")
}

async fn answered<T>(read: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
    let answer = timeout(READ_TIMEOUT, read).await.context("reading the event log: no answer in time")?;
    answer.context("reading the event log")
}
