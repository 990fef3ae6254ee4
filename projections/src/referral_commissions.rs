//! Commissions: what referrers have earned, and what waits for an operator.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::referral::{Commission, CommissionStanding, ReferralEvent, RejectionReason};
use codexapi_aggregates::time::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, replacing_and_adding, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "referral_commissions",
    revision: 1,
    aggregates: &["referral"],
    tables: &[TABLE],
    batch: || Box::<Commissions>::default(),
};

const TABLE: Table = Table {
    name: "referral_commissions",
    columns: "commission_id uuid PRIMARY KEY, account_id uuid NOT NULL, referred_id uuid NOT NULL, \
        payment_id uuid NOT NULL, purchase_micro bigint NOT NULL, basis_points bigint NOT NULL, \
        amount_micro bigint NOT NULL, remaining_micro bigint NOT NULL, standing text NOT NULL, reason text, \
        earned_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, first_position bigint NOT NULL",
    indexes: &["(standing, first_position)", "(account_id, first_position)"],
};

/// One commission, of the account that referred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommissionRow {
    pub commission_id: Uuid,
    /// Who earned it.
    pub account_id: Uuid,
    /// Who bought.
    pub referred_id: Uuid,
    pub payment_id: Uuid,
    pub purchase_micro: MicroUsd,
    pub basis_points: i64,
    pub amount_micro: MicroUsd,
    /// What refunds and disputes leave of it.
    pub remaining_micro: MicroUsd,
    pub standing: CommissionStanding,
    /// Why it was rejected.
    pub reason: Option<RejectionReason>,
    pub earned_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Its first event; commissions are listed by it.
    pub first_position: i64,
}

pub async fn get(pool: &PgPool, commission: Uuid) -> Result<Option<CommissionRow>, ReadError> {
    let select = rows::select("SELECT to_jsonb(c) FROM referral_commissions c WHERE commission_id = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(commission)).await
}

/// Those that wait for an operator, newest first.
pub async fn pending(
    pool: &PgPool,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<CommissionRow>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(c) FROM referral_commissions c WHERE standing = 'pending' AND first_position < $1 \
         ORDER BY first_position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |row: &CommissionRow| row.first_position))
}

/// What one account has earned, newest first.
pub async fn page(
    pool: &PgPool,
    account: Uuid,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<CommissionRow>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(c) FROM referral_commissions c WHERE account_id = $1 AND first_position < $2 \
         ORDER BY first_position DESC LIMIT $3",
    );
    let select = select.bind(account).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |row: &CommissionRow| row.first_position))
}

/// The last state of each commission that a batch touches.
#[derive(Default)]
struct Commissions(BTreeMap<Uuid, CommissionRow>);

impl Projection for Commissions {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Referral(referral) = &event.event else { return Ok(()) };
        let (commission, reason, at) = match referral {
            ReferralEvent::CommissionEarned { commission, at }
            | ReferralEvent::CommissionAdjusted { commission, at }
            | ReferralEvent::CommissionApproved { commission, at } => (commission, None, *at),
            ReferralEvent::CommissionRejected { commission, reason, at } => (commission, Some(*reason), *at),
            ReferralEvent::CodeIssued { .. }
            | ReferralEvent::Attributed { .. }
            | ReferralEvent::FirstPurchaseNoted { .. }
            | ReferralEvent::AttributionVoided { .. } => return Ok(()),
        };
        let row = row(event, commission, reason, at)?;
        let known = self.0.get(&row.commission_id);
        let first_position = known.map_or(row.first_position, |known| known.first_position);
        self.0.insert(row.commission_id, CommissionRow { first_position, ..row });
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let commissions: Vec<CommissionRow> = self.0.into_values().collect();
            let replaced = ["remaining_micro", "standing", "reason", "updated_at"];
            let on_conflict = replacing_and_adding("commission_id", &replaced, &[]);
            rows::insert(connection, &TABLE, version, &commissions, &on_conflict).await
        }
        .boxed()
    }
}

fn row(
    event: &RecordedEvent,
    commission: &Commission,
    reason: Option<RejectionReason>,
    at: Timestamp,
) -> Result<CommissionRow, FoldError> {
    Ok(CommissionRow {
        commission_id: commission.commission_id.0,
        account_id: account_of(event)?,
        referred_id: commission.referred_id.0,
        payment_id: commission.payment_id.0,
        purchase_micro: commission.purchase_micro,
        basis_points: i64::from(commission.basis_points),
        amount_micro: commission.amount_micro,
        remaining_micro: commission.remaining_micro,
        standing: commission.standing,
        reason,
        earned_at: time(event, commission.earned_at)?,
        updated_at: time(event, at)?,
        first_position: event.position,
    })
}
