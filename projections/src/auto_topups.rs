//! Which wallets top themselves up, and where each stands. For finding those that may be due; whatever fires asks the
//! aggregate.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::auto_topup::{AutoTopUpEvent, OffReason};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Projection, ReadError, ReadModel, Table, WriteError};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "auto_topups",
    revision: 1,
    aggregates: &["auto_topup"],
    tables: &[TABLE],
    batch: || Box::<AutoTopUps>::default(),
};

const TABLE: Table = Table {
    name: "auto_topups",
    columns: "account_id uuid PRIMARY KEY, switched_on boolean NOT NULL, threshold_micro bigint NOT NULL, \
        plan_id text, price_micro bigint NOT NULL, monthly_limit_micro bigint NOT NULL, off_reason text, \
        open_payment_id uuid, cools_until timestamptz, changed_at timestamptz NOT NULL, position bigint NOT NULL",
    indexes: &[],
};

/// One wallet's automatic top-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoTopUpRow {
    pub account_id: Uuid,
    pub switched_on: bool,
    pub threshold_micro: MicroUsd,
    pub plan_id: Option<String>,
    pub price_micro: MicroUsd,
    pub monthly_limit_micro: MicroUsd,
    pub off_reason: Option<OffReason>,
    /// Of the attempt that is under way.
    pub open_payment_id: Option<Uuid>,
    pub cools_until: Option<DateTime<Utc>>,
    pub changed_at: DateTime<Utc>,
    pub position: i64,
}

/// A page of the wallets that have an attempt under way or may be due for one, after the account `after`.
pub async fn due(pool: &PgPool, now: DateTime<Utc>, after: Uuid, limit: u32) -> Result<Vec<Uuid>, ReadError> {
    sqlx::query_scalar(
        "SELECT a.account_id FROM auto_topups a LEFT JOIN wallet_balances b USING (account_id) \
         WHERE a.account_id > $2 AND (a.open_payment_id IS NOT NULL OR (a.switched_on \
         AND coalesce(a.cools_until <= $1, true) AND coalesce(b.balance_micro, 0) < a.threshold_micro)) \
         ORDER BY a.account_id LIMIT $3",
    )
    .bind(now)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(ReadError::Database)
}

/// How each wallet that a batch touches stands after it, as far as the batch tells.
#[derive(Default)]
struct AutoTopUps(BTreeMap<Uuid, Vec<Step>>);

/// One event, as it changes a row.
struct Step {
    event: AutoTopUpEvent,
    at: DateTime<Utc>,
    position: i64,
}

impl Projection for AutoTopUps {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::AutoTopUp(auto) = &event.event else { return Ok(()) };
        let step = Step { event: auto.clone(), at: time(event, auto.at())?, position: event.position };
        self.0.entry(account_of(event)?).or_default().push(step);
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let table = TABLE.version(version);
            let accounts: Vec<Uuid> = self.0.keys().copied().collect();
            let statement = format!("SELECT to_jsonb(a) FROM {table} a WHERE account_id = any($1)");
            let there: Vec<serde_json::Value> =
                sqlx::query_scalar(&statement).bind(accounts).fetch_all(&mut *connection).await?;
            let mut rows = BTreeMap::new();
            for row in there {
                let row: AutoTopUpRow = serde_json::from_value(row)?;
                rows.insert(row.account_id, row);
            }
            for (account_id, steps) in self.0 {
                for step in steps {
                    let row =
                        rows.entry(account_id).or_insert_with(|| AutoTopUpRow::before(account_id, &step));
                    row.take(step);
                }
            }
            let rows: Vec<AutoTopUpRow> = rows.into_values().collect();
            let columns = [
                "switched_on",
                "threshold_micro",
                "plan_id",
                "price_micro",
                "monthly_limit_micro",
                "off_reason",
                "open_payment_id",
                "cools_until",
                "changed_at",
                "position",
            ];
            rows::insert(
                connection,
                &TABLE,
                version,
                &rows,
                &rows::replacing_and_adding("account_id", &columns, &[]),
            )
            .await
        }
        .boxed()
    }
}

impl AutoTopUpRow {
    /// Before its first event, which switches it on.
    fn before(account_id: Uuid, step: &Step) -> Self {
        Self {
            account_id,
            switched_on: false,
            threshold_micro: MicroUsd::ZERO,
            plan_id: None,
            price_micro: MicroUsd::ZERO,
            monthly_limit_micro: MicroUsd::ZERO,
            off_reason: None,
            open_payment_id: None,
            cools_until: None,
            changed_at: step.at,
            position: step.position,
        }
    }

    fn take(&mut self, step: Step) {
        self.changed_at = step.at;
        self.position = step.position;
        match step.event {
            AutoTopUpEvent::SwitchedOn { order, threshold_micro, monthly_limit_micro, .. } => {
                self.switched_on = true;
                self.threshold_micro = threshold_micro;
                self.plan_id = order.plan_id;
                self.price_micro = order.price_micro;
                self.monthly_limit_micro = monthly_limit_micro;
                self.off_reason = None;
            }
            AutoTopUpEvent::SwitchedOff { reason, .. } => {
                self.switched_on = false;
                self.off_reason = Some(reason);
            }
            AutoTopUpEvent::AttemptStarted { payment_id, .. } => self.open_payment_id = Some(payment_id.0),
            AutoTopUpEvent::AttemptCredited { .. } => {
                self.open_payment_id = None;
                self.cools_until = None;
            }
            AutoTopUpEvent::AttemptFailed { cools_until, .. } => {
                self.open_payment_id = None;
                self.cools_until = DateTime::from_timestamp_micros(cools_until.0);
            }
        }
    }
}
