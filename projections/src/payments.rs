//! Payments: what was to be paid, how far that is, and what was taken back since.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{Channel, DisputeStatus, FailureReason, PaymentEvent, Purpose};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "payments",
    revision: 1,
    aggregates: &["payment"],
    tables: &[TABLE],
    batch: || Box::<Payments>::default(),
};

const TABLE: Table = Table {
    name: "payments",
    columns: "payment_id uuid PRIMARY KEY, account_id uuid NOT NULL, channel text NOT NULL, kind text NOT NULL, \
        plan_id text, quantity bigint NOT NULL, price_micro bigint NOT NULL, livemode boolean NOT NULL, \
        status text NOT NULL, failure_reason text, session_id text, payment_intent_id text, \
        granted_micro bigint NOT NULL, reversed_micro bigint NOT NULL, remaining_micro bigint NOT NULL, \
        dispute_status text, started_at timestamptz NOT NULL, credited_at timestamptz, \
        changed_at timestamptz NOT NULL, position bigint NOT NULL",
    indexes: &["(account_id, position)", "(position)", "(payment_intent_id)", "(status, position)"],
};

/// What is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    TokenCredit,
    CashTopUp,
    Entitlement,
}

/// How far a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Open,
    Credited,
    Failed,
    Expired,
}

/// One payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    pub payment_id: Uuid,
    pub account_id: Uuid,
    pub channel: Channel,
    pub kind: PaymentKind,
    pub plan_id: Option<String>,
    pub quantity: i64,
    pub price_micro: MicroUsd,
    /// Real money, not the test mode.
    pub livemode: bool,
    pub status: PaymentStatus,
    pub failure_reason: Option<FailureReason>,
    pub session_id: Option<String>,
    pub payment_intent_id: Option<String>,
    /// 0 until it is credited.
    pub granted_micro: MicroUsd,
    /// Refunds and disputes that hold now.
    pub reversed_micro: MicroUsd,
    /// What should remain of what was granted, were nothing spent.
    pub remaining_micro: MicroUsd,
    /// Of the dispute that was heard of last.
    pub dispute_status: Option<DisputeStatus>,
    pub started_at: DateTime<Utc>,
    pub credited_at: Option<DateTime<Utc>>,
    pub changed_at: DateTime<Utc>,
    /// The start's place in the log; payments are listed by it.
    pub position: i64,
}

/// An account's payments, newest first; `limit` is 1 to `MAX_PAGE`, `before` the last page's `next`.
pub async fn of_account(
    pool: &PgPool,
    account: Uuid,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<Payment>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(p) FROM payments p WHERE account_id = $1 AND position < $2 \
         ORDER BY position DESC LIMIT $3",
    );
    let select = select.bind(account).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |payment: &Payment| payment.position))
}

/// Everybody's payments, newest first.
pub async fn all(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<Payment>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(p) FROM payments p WHERE position < $1 ORDER BY position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |payment: &Payment| payment.position))
}

/// Payments an account has started since `since` and that came to nothing yet.
pub async fn open_since(pool: &PgPool, account: Uuid, since: DateTime<Utc>) -> Result<i64, ReadError> {
    sqlx::query_scalar(
        "SELECT count(*) FROM payments WHERE account_id = $1 AND status = 'open' AND started_at >= $2",
    )
    .bind(account)
    .bind(since)
    .fetch_one(pool)
    .await
    .map_err(ReadError::Database)
}

/// The payment that was paid by this intent of the payment provider's.
pub async fn by_intent(pool: &PgPool, intent: &str) -> Result<Option<Payment>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(p) FROM payments p WHERE payment_intent_id = $1 ORDER BY position LIMIT 1",
    );
    rows::fetch_optional(pool, TABLE.name, select.bind(intent)).await
}

#[derive(Default)]
struct Payments {
    started: Vec<Payment>,
    /// What happened since to payments of this batch and of earlier ones.
    changed: BTreeMap<Uuid, Change>,
}

/// Columns that events after the first one set; what is absent stays.
#[derive(Default, Serialize)]
struct Change {
    payment_id: Uuid,
    status: Option<PaymentStatus>,
    failure_reason: Option<FailureReason>,
    session_id: Option<String>,
    payment_intent_id: Option<String>,
    granted_micro: Option<MicroUsd>,
    reversed_micro: Option<MicroUsd>,
    remaining_micro: Option<MicroUsd>,
    dispute_status: Option<DisputeStatus>,
    credited_at: Option<DateTime<Utc>>,
    changed_at: Option<DateTime<Utc>>,
}

impl Projection for Payments {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Payment(payment) = &event.event else { return Ok(()) };
        let at = time(event, payment.at())?;
        let payment_id = payment.payment_id().0;
        if let PaymentEvent::PaymentStarted {
            account_id,
            channel,
            purpose,
            plan_id,
            quantity,
            price_micro,
            livemode,
            ..
        } = payment
        {
            self.started.push(Payment {
                payment_id,
                account_id: account_id.0,
                channel: *channel,
                kind: match purpose {
                    Purpose::TokenCredit { .. } => PaymentKind::TokenCredit,
                    Purpose::CashTopUp => PaymentKind::CashTopUp,
                    Purpose::Entitlement { .. } => PaymentKind::Entitlement,
                },
                plan_id: plan_id.clone(),
                quantity: i64::from(*quantity),
                price_micro: *price_micro,
                livemode: *livemode,
                status: PaymentStatus::Open,
                failure_reason: None,
                session_id: None,
                payment_intent_id: None,
                granted_micro: MicroUsd::ZERO,
                reversed_micro: MicroUsd::ZERO,
                remaining_micro: MicroUsd::ZERO,
                dispute_status: None,
                started_at: at,
                credited_at: None,
                changed_at: at,
                position: event.position,
            });
            return Ok(());
        }
        let change = self.changed.entry(payment_id).or_default();
        change.payment_id = payment_id;
        change.changed_at = Some(at);
        match payment {
            PaymentEvent::PaymentStarted { .. } => {}
            PaymentEvent::CheckoutOpened { session_id, .. } => change.session_id = Some(session_id.clone()),
            PaymentEvent::PaymentCredited { payment_intent_id, granted_micro, remaining_micro, .. } => {
                change.status = Some(PaymentStatus::Credited);
                change.payment_intent_id.clone_from(payment_intent_id);
                change.granted_micro = Some(*granted_micro);
                change.remaining_micro = Some(*remaining_micro);
                change.credited_at = Some(at);
            }
            PaymentEvent::PaymentFailed { reason, .. } => {
                change.status = Some(PaymentStatus::Failed);
                change.failure_reason = Some(*reason);
            }
            PaymentEvent::PaymentExpired { .. } => change.status = Some(PaymentStatus::Expired),
            PaymentEvent::RefundRecorded { reversed_micro, remaining_micro, .. } => {
                change.reversed_micro = Some(*reversed_micro);
                change.remaining_micro = Some(*remaining_micro);
            }
            PaymentEvent::DisputeRecorded { status, reversed_micro, remaining_micro, .. } => {
                change.dispute_status = Some(*status);
                change.reversed_micro = Some(*reversed_micro);
                change.remaining_micro = Some(*remaining_micro);
            }
        }
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let table = TABLE.version(version);
            rows::insert(&mut *connection, &TABLE, version, &self.started, "").await?;
            let changed: Vec<Change> = self.changed.into_values().collect();
            if changed.is_empty() {
                return Ok(());
            }
            let set = CHANGED.map(|column| format!("{column} = coalesce(c.{column}, p.{column})")).join(", ");
            // Typed as the table itself, but for what is absent in a change.
            let statement = format!(
                "UPDATE {table} p SET {set} FROM json_populate_recordset(NULL::{table}, $1::json) AS c \
                 WHERE p.payment_id = c.payment_id"
            );
            sqlx::query(&statement).bind(serde_json::to_string(&changed)?).execute(connection).await?;
            Ok(())
        }
        .boxed()
    }
}

/// The columns of a change.
const CHANGED: [&str; 10] = [
    "status",
    "failure_reason",
    "session_id",
    "payment_intent_id",
    "granted_micro",
    "reversed_micro",
    "remaining_micro",
    "dispute_status",
    "credited_at",
    "changed_at",
];
