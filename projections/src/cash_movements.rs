//! The cash statement: every movement of a Cash Wallet, with the balance and the debt after it.

use chrono::{DateTime, Utc};
use codexapi_aggregates::cash::CashEvent;
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "cash_movements",
    revision: 1,
    aggregates: &["cash_wallet"],
    tables: &[TABLE],
    batch: || Box::<Movements>::default(),
};

const TABLE: Table = Table {
    name: "cash_movements",
    columns: "account_id uuid NOT NULL, position bigint NOT NULL, event_id uuid NOT NULL, kind text NOT NULL, \
        amount_micro bigint NOT NULL, balance_micro bigint NOT NULL, debt_micro bigint NOT NULL, payment_id uuid, \
        commission_id uuid, purchase_id uuid, plan_id text, quantity bigint, credit_micro bigint, \
        at timestamptz NOT NULL, PRIMARY KEY (account_id, position)",
    indexes: &[],
};

/// What moved money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CashMovementKind {
    ToppedUp,
    PaymentTakenBack,
    PaymentReinstated,
    CommissionPaid,
    CommissionTakenBack,
    CommissionReinstated,
    TokensBought,
}

/// One line of a cash statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CashMovement {
    pub account_id: Uuid,
    /// Place in the log; the key of paging.
    pub position: i64,
    pub event_id: Uuid,
    pub kind: CashMovementKind,
    /// Negative where money was taken.
    pub amount_micro: MicroUsd,
    /// Balance and debt after it.
    pub balance_micro: MicroUsd,
    pub debt_micro: MicroUsd,
    pub payment_id: Option<Uuid>,
    pub commission_id: Option<Uuid>,
    /// Of a package: also the id of the Token Wallet's grant.
    pub purchase_id: Option<Uuid>,
    pub plan_id: Option<String>,
    pub quantity: Option<i64>,
    /// What the Token Wallet was granted.
    pub credit_micro: Option<MicroUsd>,
    pub at: DateTime<Utc>,
}

/// A Cash Wallet's movements, newest first; `limit` is 1 to `MAX_PAGE`, `before` the last page's `next`.
pub async fn page(
    pool: &PgPool,
    account: Uuid,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<CashMovement>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(m) FROM cash_movements m WHERE account_id = $1 AND position < $2 \
         ORDER BY position DESC LIMIT $3",
    );
    let select = select.bind(account).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |movement: &CashMovement| movement.position))
}

#[derive(Default)]
struct Movements(Vec<CashMovement>);

impl Projection for Movements {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Cash(cash) = &event.event else { return Ok(()) };
        self.0.push(movement(event, cash)?);
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move { rows::insert(connection, &TABLE, version, &self.0, "").await }.boxed()
    }
}

fn movement(event: &RecordedEvent, cash: &CashEvent) -> Result<CashMovement, FoldError> {
    let blank = CashMovement {
        account_id: account_of(event)?,
        position: event.position,
        event_id: event.event_id,
        kind: CashMovementKind::ToppedUp,
        amount_micro: cash.change(),
        balance_micro: cash.balance(),
        debt_micro: cash.debt(),
        payment_id: None,
        commission_id: None,
        purchase_id: None,
        plan_id: None,
        quantity: None,
        credit_micro: None,
        at: time(event, cash.at())?,
    };
    let of_payment =
        |kind, payment_id: Uuid| CashMovement { kind, payment_id: Some(payment_id), ..blank.clone() };
    let of_commission = |kind, commission_id: Uuid| CashMovement {
        kind,
        commission_id: Some(commission_id),
        ..blank.clone()
    };
    use CashMovementKind as Kind;
    Ok(match cash {
        CashEvent::ToppedUp { payment_id, .. } => of_payment(Kind::ToppedUp, payment_id.0),
        CashEvent::PaymentTakenBack { payment_id, .. } => of_payment(Kind::PaymentTakenBack, payment_id.0),
        CashEvent::PaymentReinstated { payment_id, .. } => of_payment(Kind::PaymentReinstated, payment_id.0),
        CashEvent::CommissionPaid { commission_id, .. } => {
            of_commission(Kind::CommissionPaid, commission_id.0)
        }
        CashEvent::CommissionTakenBack { commission_id, .. } => {
            of_commission(Kind::CommissionTakenBack, commission_id.0)
        }
        CashEvent::CommissionReinstated { commission_id, .. } => {
            of_commission(Kind::CommissionReinstated, commission_id.0)
        }
        CashEvent::TokensBought { purchase_id, plan_id, quantity, credit_micro, .. } => CashMovement {
            kind: Kind::TokensBought,
            purchase_id: Some(purchase_id.0),
            plan_id: Some(plan_id.clone()),
            quantity: Some(i64::from(*quantity)),
            credit_micro: Some(*credit_micro),
            ..blank
        },
    })
}
