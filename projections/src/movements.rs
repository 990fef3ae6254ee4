//! The statement: every movement of a wallet's balance, with the balance after it.
//!
//! Holds are no movements: they set credit aside and take none. A generation that cost nothing is
//! one, of 0, so that a customer finds each generation on the statement. What is owed moves beside
//! the balance: of a grant that paid debt, only the rest is its amount here.

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::events::{
    AdjustmentReason, GrantSource, PurchaseItem, ReversalReason, WalletEvent,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "wallet_movements",
    revision: 3,
    aggregates: &["wallet"],
    tables: &[TABLE],
    batch: || Box::<Movements>::default(),
};

const TABLE: Table = Table {
    name: "wallet_movements",
    columns: "account_id uuid NOT NULL, position bigint NOT NULL, event_id uuid NOT NULL, kind text NOT NULL, \
        amount_micro bigint NOT NULL, balance_micro bigint NOT NULL, debt_change_micro bigint NOT NULL, generation_id uuid, model text, \
        covered_micro bigint NOT NULL, shortfall_micro bigint NOT NULL, grant_id uuid, source text, \
        expires_at timestamptz, purchase_id uuid, item text, adjustment_id uuid, reason text, at timestamptz NOT NULL, PRIMARY KEY (account_id, position)",
    // Few movements change a debt; what it was before a moment is the sum of those.
    indexes: &["(account_id, at, position)", "(account_id, at) WHERE debt_change_micro <> 0"],
};

/// What moved a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    CreditGranted,
    GrantExpired,
    UsageCharged,
    ChargeReversed,
    PurchaseMade,
    CreditAdjusted,
    PaymentReversed,
    PaymentReinstated,
}

/// Why a charge was taken back, or credit away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MovementReason {
    Reversal(ReversalReason),
    Adjustment(AdjustmentReason),
}

/// One line of a statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Movement {
    pub account_id: Uuid,
    /// Place in the log; the key of paging.
    pub position: i64,
    pub event_id: Uuid,
    pub kind: MovementKind,
    /// Negative where credit was taken.
    pub amount_micro: MicroUsd,
    /// The balance after it.
    pub balance_micro: MicroUsd,
    /// What it added to the debt; negative where it paid some.
    pub debt_change_micro: MicroUsd,
    pub generation_id: Option<Uuid>,
    /// The billed model.
    pub model: Option<String>,
    /// What of the usage a plan paid for, and what nothing paid for.
    pub covered_micro: MicroUsd,
    pub shortfall_micro: MicroUsd,
    /// The grant; of a payment, the payment.
    pub grant_id: Option<Uuid>,
    /// Where granted credit came from, and when it expires.
    pub source: Option<GrantSource>,
    pub expires_at: Option<DateTime<Utc>>,
    pub purchase_id: Option<Uuid>,
    pub item: Option<PurchaseItem>,
    pub adjustment_id: Option<Uuid>,
    pub reason: Option<MovementReason>,
    pub at: DateTime<Utc>,
}

/// A wallet's movements, newest first; `limit` is 1 to `MAX_PAGE`, `before` the last page's `next`.
pub async fn page(
    pool: &PgPool,
    account: Uuid,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<Movement>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(m) FROM wallet_movements m WHERE account_id = $1 AND position < $2 \
         ORDER BY position DESC LIMIT $3",
    );
    let select = select.bind(account).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |movement: &Movement| movement.position))
}

/// A part of a statement, oldest first: movements at or after `from` and before `to`, from the one that
/// follows `after` (0 for the first); at most `limit` (1 to `MAX_PAGE`). It ends with a shorter page.
pub async fn between(
    pool: &PgPool,
    account: Uuid,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    after: Option<(DateTime<Utc>, i64)>,
    limit: u32,
) -> Result<Vec<Movement>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(m) FROM wallet_movements m \
         WHERE account_id = $1 AND (at, position) > ($2, $3) AND at >= $2 AND at < $4 \
         ORDER BY at, position LIMIT $5",
    );
    let (since, position) = after.unwrap_or((from, 0));
    let limit = i64::from(limit.clamp(1, page::MAX_PAGE));
    let select = select.bind(account).bind(since).bind(position).bind(to).bind(limit);
    rows::fetch_all(pool, TABLE.name, select).await
}

/// Balance and debt as they were right before `moment`.
pub async fn standing_before(
    pool: &PgPool,
    account: Uuid,
    moment: DateTime<Utc>,
) -> Result<(MicroUsd, MicroUsd), ReadError> {
    let standing = "SELECT \
         COALESCE((SELECT balance_micro FROM wallet_movements WHERE account_id = $1 AND at < $2 \
                   ORDER BY at DESC, position DESC LIMIT 1), 0)::bigint, \
         COALESCE((SELECT sum(debt_change_micro) FROM wallet_movements \
                   WHERE account_id = $1 AND at < $2 AND debt_change_micro <> 0), 0)::bigint";
    let (balance, debt) = sqlx::query_as(standing).bind(account).bind(moment).fetch_one(pool).await?;
    Ok((MicroUsd(balance), MicroUsd(debt)))
}

#[derive(Default)]
struct Movements(Vec<Movement>);

impl Projection for Movements {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Wallet(wallet) = &event.event else { return Ok(()) };
        if let Some(movement) = movement(event, wallet)? {
            self.0.push(movement);
        }
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move { rows::copy(connection, &TABLE, version, &self.0).await }.boxed()
    }
}

fn movement(event: &RecordedEvent, wallet: &WalletEvent) -> Result<Option<Movement>, FoldError> {
    let blank = Movement {
        account_id: account_of(event)?,
        position: event.position,
        event_id: event.event_id,
        kind: MovementKind::CreditGranted,
        amount_micro: MicroUsd::ZERO,
        balance_micro: wallet.balance(),
        debt_change_micro: wallet.debt_change(),
        generation_id: None,
        model: None,
        covered_micro: MicroUsd::ZERO,
        shortfall_micro: MicroUsd::ZERO,
        grant_id: None,
        source: None,
        expires_at: None,
        purchase_id: None,
        item: None,
        adjustment_id: None,
        reason: None,
        at: time(event, wallet.at())?,
    };
    Ok(Some(match wallet {
        WalletEvent::CreditGranted {
            grant_id, source, amount_micro, expires_at, debt_paid_micro, ..
        } => Movement {
            amount_micro: *amount_micro - *debt_paid_micro,
            grant_id: Some(grant_id.0),
            source: Some(*source),
            expires_at: expires_at.map(|at| time(event, at)).transpose()?,
            ..blank
        },
        WalletEvent::GrantExpired { grant_id, expired_micro, .. } => Movement {
            kind: MovementKind::GrantExpired,
            amount_micro: MicroUsd::ZERO - *expired_micro,
            grant_id: Some(grant_id.0),
            ..blank
        },
        WalletEvent::UsageCharged {
            generation_id,
            model,
            charged_micro,
            covered_by_plan_micro,
            shortfall_micro,
            ..
        } => Movement {
            kind: MovementKind::UsageCharged,
            amount_micro: MicroUsd::ZERO - *charged_micro,
            generation_id: Some(generation_id.0),
            model: Some(model.clone()),
            covered_micro: *covered_by_plan_micro,
            shortfall_micro: *shortfall_micro,
            ..blank
        },
        WalletEvent::ChargeReversed { generation_id, reason, amount_micro, debt_paid_micro, .. } => {
            Movement {
                kind: MovementKind::ChargeReversed,
                amount_micro: *amount_micro - *debt_paid_micro,
                generation_id: Some(generation_id.0),
                reason: Some(MovementReason::Reversal(*reason)),
                ..blank
            }
        }
        WalletEvent::PurchaseMade { purchase_id, item, amount_micro, .. } => Movement {
            kind: MovementKind::PurchaseMade,
            amount_micro: MicroUsd::ZERO - *amount_micro,
            purchase_id: Some(purchase_id.0),
            item: Some(*item),
            ..blank
        },
        WalletEvent::CreditAdjusted { adjustment_id, reason, amount_micro, .. } => Movement {
            kind: MovementKind::CreditAdjusted,
            amount_micro: MicroUsd::ZERO - *amount_micro,
            adjustment_id: Some(adjustment_id.0),
            reason: Some(MovementReason::Adjustment(*reason)),
            ..blank
        },
        WalletEvent::PaymentReversed { payment_id, amount_micro, debt_added_micro, .. } => Movement {
            kind: MovementKind::PaymentReversed,
            amount_micro: *debt_added_micro - *amount_micro,
            grant_id: Some(payment_id.0),
            ..blank
        },
        WalletEvent::PaymentReinstated { payment_id, amount_micro, debt_paid_micro, .. } => Movement {
            kind: MovementKind::PaymentReinstated,
            amount_micro: *amount_micro - *debt_paid_micro,
            grant_id: Some(payment_id.0),
            ..blank
        },
        WalletEvent::HoldPlaced { .. }
        | WalletEvent::AttemptStarted { .. }
        | WalletEvent::HoldReleased { .. }
        | WalletEvent::HoldExpired { .. }
        | WalletEvent::EntitlementGranted { .. }
        | WalletEvent::EntitlementEnded { .. }
        | WalletEvent::EntitlementReinstated { .. }
        | WalletEvent::EntitlementGraceSet { .. }
        | WalletEvent::EntitlementExpired { .. }
        | WalletEvent::WalletFallbackSet { .. } => return Ok(None),
    }))
}
