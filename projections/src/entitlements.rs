//! Which plans each customer has, until when, and what was used of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::ids::PlanId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::entitlements::PlanUse;
use codexapi_aggregates::wallet::events::WalletEvent;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, count, replacing_and_adding, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "entitlements",
    revision: 2,
    aggregates: &["wallet"],
    tables: &[TABLE, USE_TABLE],
    batch: || Box::<Entitlements>::default(),
};

const TABLE: Table = Table {
    name: "entitlements",
    columns: "account_id uuid NOT NULL, plan_id text NOT NULL, ends_at timestamptz NOT NULL, \
        is_over boolean NOT NULL, grace_secs bigint, grants bigint NOT NULL, position bigint NOT NULL, \
        first_position bigint NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (account_id, plan_id)",
    indexes: &["(ends_at) WHERE NOT is_over", "(first_position)"],
};

const USE_TABLE: Table = Table {
    name: "plan_use",
    columns: "account_id uuid NOT NULL, plan_id text NOT NULL, generations bigint NOT NULL, \
        input_tokens bigint NOT NULL, output_tokens bigint NOT NULL, used_micro bigint NOT NULL, \
        covered_micro bigint NOT NULL, position bigint NOT NULL, PRIMARY KEY (account_id, plan_id)",
    indexes: &[],
};

/// One plan of one customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entitlement {
    pub account_id: Uuid,
    pub plan_id: PlanId,
    pub ends_at: DateTime<Utc>,
    /// Its end is recorded; nothing of it runs.
    pub is_over: bool,
    /// How long it covers beyond its end; absent where that was never set.
    pub grace_secs: Option<i64>,
    /// How often time of it was granted.
    pub grants: i64,
    /// Its last event's place in the log, and its first one's.
    pub position: i64,
    pub first_position: i64,
    pub updated_at: DateTime<Utc>,
}

/// What a customer has ever used of a plan, less what was reversed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanUsed {
    pub account_id: Uuid,
    pub plan_id: PlanId,
    /// Covered ones, reversed ones included.
    pub generations: i64,
    /// Input that was not billed before.
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// Counted at the plan's own rates.
    pub used_micro: MicroUsd,
    /// Cost of the covered generations, reversed ones included.
    pub covered_micro: MicroUsd,
    pub position: i64,
}

/// A customer's plans, soonest end first.
pub async fn of_account(pool: &PgPool, account: Uuid) -> Result<Vec<Entitlement>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(e) FROM entitlements e WHERE account_id = $1 ORDER BY ends_at LIMIT $2",
    );
    rows::fetch_all(pool, TABLE.name, select.bind(account).bind(i64::from(page::MAX_PAGE))).await
}

/// The plans of one page of customers.
pub async fn of_accounts(pool: &PgPool, accounts: &[Uuid]) -> Result<Vec<Entitlement>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(e) FROM entitlements e WHERE account_id = any($1) ORDER BY account_id, ends_at",
    );
    rows::fetch_all(pool, TABLE.name, select.bind(accounts.to_vec())).await
}

/// What a customer has used of each plan.
pub async fn use_of(pool: &PgPool, account: Uuid) -> Result<Vec<PlanUsed>, ReadError> {
    let select =
        rows::select("SELECT to_jsonb(u) FROM plan_use u WHERE account_id = $1 ORDER BY plan_id LIMIT $2");
    rows::fetch_all(pool, USE_TABLE.name, select.bind(account).bind(i64::from(page::MAX_PAGE))).await
}

/// Customers' plans that are running, newest first.
pub async fn running(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<Entitlement>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(e) FROM entitlements e WHERE NOT is_over AND first_position < $1 \
         ORDER BY first_position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |entitlement: &Entitlement| entitlement.first_position))
}

/// Accounts with a plan whose end, grace included, is at or before `now` and not yet recorded, soonest first, at most
/// `limit` (1 to `MAX_PAGE`).
pub async fn accounts_due(pool: &PgPool, now: DateTime<Utc>, limit: u32) -> Result<Vec<Uuid>, ReadError> {
    let limit = i64::from(limit.clamp(1, page::MAX_PAGE));
    let due = "SELECT account_id FROM entitlements WHERE NOT is_over AND ends_at <= $1 \
               AND ends_at + coalesce(grace_secs, 0) * interval '1 second' <= $1 \
               GROUP BY account_id ORDER BY min(ends_at) LIMIT $2";
    Ok(sqlx::query_scalar(due).bind(now).bind(limit).fetch_all(pool).await?)
}

/// Plans touched by a batch: the last end of each, and what the batch adds to what was used.
#[derive(Default)]
struct Entitlements {
    ends: BTreeMap<(Uuid, PlanId), Entitlement>,
    used: BTreeMap<(Uuid, PlanId), PlanUsed>,
}

impl Projection for Entitlements {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Wallet(wallet) = &event.event else { return Ok(()) };
        match wallet {
            WalletEvent::EntitlementGranted { terms, ends_at, at, .. } => {
                self.end(event, &terms.plan_id, *ends_at, *at)?.grants += 1;
            }
            WalletEvent::EntitlementReinstated { plan_id, ends_at, at, .. } => {
                self.end(event, plan_id, *ends_at, *at)?;
            }
            WalletEvent::EntitlementEnded { plan_id, ends_at, at, .. }
            | WalletEvent::EntitlementExpired { plan_id, ends_at, at, .. } => {
                let row = self.end(event, plan_id, *ends_at, *at)?;
                if row.is_over {
                    row.grace_secs = Some(0);
                }
            }
            WalletEvent::EntitlementGraceSet { plan_id, grace_secs, ends_at, at, .. } => {
                let row = self.end(event, plan_id, *ends_at, *at)?;
                row.is_over = false;
                row.grace_secs = Some(i64::from(*grace_secs));
            }
            WalletEvent::UsageCharged { plan: Some(used), covered_by_plan_micro, .. } => {
                let (row, input, output) = self.used(event, used)?;
                row.generations += 1;
                row.input_tokens += input;
                row.output_tokens += output;
                row.used_micro += used.used_micro;
                row.covered_micro += *covered_by_plan_micro;
            }
            WalletEvent::ChargeReversed { plan: Some(used), .. } => {
                let (row, input, output) = self.used(event, used)?;
                row.input_tokens -= input;
                row.output_tokens -= output;
                row.used_micro -= used.used_micro;
            }
            WalletEvent::UsageCharged { plan: None, .. }
            | WalletEvent::ChargeReversed { plan: None, .. }
            | WalletEvent::CreditGranted { .. }
            | WalletEvent::GrantExpired { .. }
            | WalletEvent::HoldPlaced { .. }
            | WalletEvent::AttemptStarted { .. }
            | WalletEvent::HoldReleased { .. }
            | WalletEvent::HoldExpired { .. }
            | WalletEvent::PurchaseMade { .. }
            | WalletEvent::CreditAdjusted { .. }
            | WalletEvent::PaymentReversed { .. }
            | WalletEvent::PaymentReinstated { .. }
            | WalletEvent::WalletFallbackSet { .. } => {}
        }
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let key = "account_id, plan_id";
            let ends: Vec<Entitlement> = self.ends.into_values().collect();
            let on_conflict =
                replacing_and_adding(key, &["ends_at", "is_over", "position", "updated_at"], &["grants"]);
            let on_conflict =
                format!("{on_conflict}, grace_secs = coalesce(excluded.grace_secs, old.grace_secs)");
            rows::insert(&mut *connection, &TABLE, version, &ends, &on_conflict).await?;
            let used: Vec<PlanUsed> = self.used.into_values().collect();
            let added = ["generations", "input_tokens", "output_tokens", "used_micro", "covered_micro"];
            let on_conflict = replacing_and_adding(key, &["position"], &added);
            rows::insert(connection, &USE_TABLE, version, &used, &on_conflict).await
        }
        .boxed()
    }
}

impl Entitlements {
    /// The plan ends at `ends_at` as of this event, which happened `at` that moment.
    fn end(
        &mut self,
        event: &RecordedEvent,
        plan_id: &PlanId,
        ends_at: Timestamp,
        at: Timestamp,
    ) -> Result<&mut Entitlement, FoldError> {
        let (account_id, ends, updated_at) = (account_of(event)?, time(event, ends_at)?, time(event, at)?);
        let row = self.ends.entry((account_id, plan_id.clone())).or_insert_with(|| Entitlement {
            account_id,
            plan_id: plan_id.clone(),
            ends_at: ends,
            is_over: false,
            grace_secs: None,
            grants: 0,
            position: event.position,
            first_position: event.position,
            updated_at,
        });
        row.ends_at = ends;
        row.is_over = ends_at <= at;
        row.position = event.position;
        row.updated_at = updated_at;
        Ok(row)
    }

    /// The row of what was used, and the tokens of this event.
    fn used(
        &mut self,
        event: &RecordedEvent,
        used: &PlanUse,
    ) -> Result<(&mut PlanUsed, i64, i64), FoldError> {
        let account_id = account_of(event)?;
        let input = count(event, "input tokens", used.input_tokens)?;
        let output = count(event, "output tokens", used.output_tokens)?;
        let row = self.used.entry((account_id, used.plan_id.clone())).or_insert_with(|| PlanUsed {
            account_id,
            plan_id: used.plan_id.clone(),
            generations: 0,
            input_tokens: 0,
            output_tokens: 0,
            used_micro: MicroUsd::ZERO,
            covered_micro: MicroUsd::ZERO,
            position: event.position,
        });
        row.position = event.position;
        Ok((row, input, output))
    }
}
