//! What Stripe told us and what came of it, for the operator to read. Nothing is decided by it.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context;
use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::PaymentId;
use codexapi_aggregates::time::Timestamp;
use codexapi_projections::{MAX_PAGE, Page};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::profiles::moment;
use super::signature::BadSignature;
use crate::clock;

/// Deliveries that nobody we know signed, put on record a minute and node; a flood leaves no more.
const UNVERIFIED_A_MINUTE: i64 = 60;

/// Such deliveries kept at most.
const UNVERIFIED_KEPT: i64 = 10_000;

/// How long the others are kept.
const VERIFIED_KEPT_SECS: i64 = 180 * 86_400;

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// On its way, or cut off: Stripe sends it again.
    Received,
    Credited,
    /// Credit was taken back or given again.
    Reversed,
    /// The payment was given up.
    Ended,
    /// A subscription was cancelled, goes on after all, is past due, or is over.
    SubscriptionChanged,
    /// All of it was known.
    NothingNew,
    /// Events of this type say nothing to us.
    Ignored,
    /// Its object is none that we started.
    Foreign,
    /// Of the test mode where we take real money, or the other way round.
    OtherMode,
    /// Its object is not what was started; see the reason.
    Refused,
    /// Stripe or our own log was away; Stripe sends it again.
    Failed,
    /// Nobody we know sent it.
    Unverified,
}

impl Effect {
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Credited => "credited",
            Self::Reversed => "reversed",
            Self::Ended => "ended",
            Self::SubscriptionChanged => "subscription_changed",
            Self::NothingNew => "nothing_new",
            Self::Ignored => "ignored",
            Self::Foreign => "foreign",
            Self::OtherMode => "other_mode",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unverified => "unverified",
        }
    }
}

/// A delivery that Stripe signed.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub event_id: &'a str,
    pub event_type: &'a str,
    pub object_id: Option<&'a str>,
    pub livemode: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub effect: Effect,
    /// The name of a refusal.
    pub reason: Option<&'static str>,
    pub payment_id: Option<PaymentId>,
}

impl Outcome {
    pub fn of(effect: Effect) -> Self {
        Self { effect, reason: None, payment_id: None }
    }
}

/// One line of the inbox.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Entry {
    pub position: i64,
    pub verified: bool,
    pub event_id: Option<String>,
    pub event_type: Option<String>,
    pub object_id: Option<String>,
    pub livemode: Option<bool>,
    pub deliveries: i32,
    pub effect: String,
    pub reason: Option<String>,
    pub payment_id: Option<Uuid>,
    pub first_received_at: DateTime<Utc>,
    pub last_received_at: DateTime<Utc>,
}

/// Puts a signed delivery on record, before anything is done about it.
pub async fn receive(pool: &PgPool, delivery: Delivery<'_>) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO stripe_webhooks AS known (verified, event_id, event_type, object_id, livemode, effect, \
         first_received_at, last_received_at) VALUES (true, $1, $2, $3, $4, 'received', $5, $5) \
         ON CONFLICT (event_id) WHERE verified \
         DO UPDATE SET deliveries = known.deliveries + 1, last_received_at = excluded.last_received_at",
    )
    .bind(delivery.event_id)
    .bind(delivery.event_type)
    .bind(delivery.object_id)
    .bind(delivery.livemode)
    .bind(moment(clock::now()))
    .execute(pool)
    .await
    .context("putting a webhook on record")?;
    Ok(())
}

/// Notes what came of it. That a later delivery changed nothing hides no effect of an earlier one.
pub async fn conclude(pool: &PgPool, event_id: &str, outcome: Outcome) -> anyhow::Result<()> {
    sqlx::query(
        "UPDATE stripe_webhooks SET effect = $2, reason = $3, payment_id = coalesce($4, payment_id) \
         WHERE verified AND event_id = $1 AND ($2 <> 'nothing_new' OR effect IN ('received', 'failed'))",
    )
    .bind(event_id)
    .bind(outcome.effect.name())
    .bind(outcome.reason)
    .bind(outcome.payment_id.map(|payment_id| payment_id.0))
    .execute(pool)
    .await
    .context("noting what a webhook did")?;
    Ok(())
}

/// Counts deliveries that are not believed, so that a flood of them is no flood of rows.
#[derive(Default)]
pub struct Strangers {
    minute: AtomicI64,
    recorded: AtomicI64,
}

impl Strangers {
    /// Puts one on record, unless there were too many this minute.
    pub async fn receive(&self, pool: &PgPool, refused: BadSignature, now: Timestamp) -> anyhow::Result<()> {
        if self.minute.swap(now.utc_minute(), Ordering::Relaxed) != now.utc_minute() {
            self.recorded.store(0, Ordering::Relaxed);
        }
        if self.recorded.fetch_add(1, Ordering::Relaxed) >= UNVERIFIED_A_MINUTE {
            return Ok(());
        }
        let reason = match refused {
            BadSignature::Missing => "unsigned",
            BadSignature::Wrong => "wrong_signature",
            BadSignature::OutOfTime => "out_of_time",
        };
        sqlx::query(
            "INSERT INTO stripe_webhooks (verified, effect, reason, first_received_at, last_received_at) \
             VALUES (false, 'unverified', $1, $2, $2)",
        )
        .bind(reason)
        .bind(moment(now))
        .execute(pool)
        .await
        .context("putting an unverified webhook on record")?;
        Ok(())
    }
}

/// The inbox, newest first; `limit` is 1 to `MAX_PAGE`, `before` the last page's `next`.
pub async fn page(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<Entry>, sqlx::Error> {
    let shown = limit.clamp(1, MAX_PAGE);
    let mut rows: Vec<Entry> = sqlx::query_as(
        "SELECT position, verified, event_id, event_type, object_id, livemode, deliveries, effect, reason, \
         payment_id, first_received_at, last_received_at FROM stripe_webhooks WHERE position < $1 \
         ORDER BY position DESC LIMIT $2",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(i64::from(shown) + 1)
    .fetch_all(pool)
    .await?;
    let more = rows.len() > shown as usize;
    rows.truncate(shown as usize);
    let next = if more { rows.last().map(|row| row.position) } else { None };
    Ok(Page { rows, next })
}

/// Forgets what is old.
pub async fn purge(pool: &PgPool, now: Timestamp) -> Result<u64, sqlx::Error> {
    let old = sqlx::query("DELETE FROM stripe_webhooks WHERE verified AND last_received_at < $1")
        .bind(moment(now.minus_secs(VERIFIED_KEPT_SECS)))
        .execute(pool)
        .await?;
    let beyond = sqlx::query(
        "DELETE FROM stripe_webhooks WHERE NOT verified AND position < \
         (SELECT min(position) FROM (SELECT position FROM stripe_webhooks WHERE NOT verified \
          ORDER BY position DESC LIMIT $1) newest)",
    )
    .bind(UNVERIFIED_KEPT)
    .execute(pool)
    .await?;
    Ok(old.rows_affected() + beyond.rows_affected())
}
