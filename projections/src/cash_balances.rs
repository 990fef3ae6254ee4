//! What each Cash Wallet holds now. For pages and reports; whatever spends asks the aggregate.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::cash::CashEvent;
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, replacing_and_adding, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "cash_balances",
    revision: 1,
    aggregates: &["cash_wallet"],
    tables: &[TABLE],
    batch: || Box::<Balances>::default(),
};

const TABLE: Table = Table {
    name: "cash_balances",
    columns: "account_id uuid PRIMARY KEY, balance_micro bigint NOT NULL, debt_micro bigint NOT NULL, \
        topped_up_micro bigint NOT NULL, taken_back_micro bigint NOT NULL, commissions_micro bigint NOT NULL, \
        spent_micro bigint NOT NULL, sequence bigint NOT NULL, position bigint NOT NULL, \
        first_position bigint NOT NULL, updated_at timestamptz NOT NULL",
    indexes: &["(first_position)"],
};

/// One Cash Wallet; balance − debt = topped up − taken back + commissions − spent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CashBalance {
    pub account_id: Uuid,
    pub balance_micro: MicroUsd,
    /// Taken back beyond the balance, and not paid yet.
    pub debt_micro: MicroUsd,
    /// Ever paid in by card.
    pub topped_up_micro: MicroUsd,
    /// Of payments and of commissions, less what was reinstated.
    pub taken_back_micro: MicroUsd,
    /// Ever paid in as commissions.
    pub commissions_micro: MicroUsd,
    /// On token packages.
    pub spent_micro: MicroUsd,
    /// The wallet's last event: its number in the stream, and its place in the log.
    pub sequence: i64,
    pub position: i64,
    /// The wallet's first event; wallets are listed by it.
    pub first_position: i64,
    pub updated_at: DateTime<Utc>,
}

/// The balance of one Cash Wallet; `None` where nothing ever moved.
pub async fn get(pool: &PgPool, account: Uuid) -> Result<Option<CashBalance>, ReadError> {
    let select = rows::select("SELECT to_jsonb(b) FROM cash_balances b WHERE account_id = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(account)).await
}

/// Every Cash Wallet, newest first.
pub async fn page(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<CashBalance>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(b) FROM cash_balances b WHERE first_position < $1 \
         ORDER BY first_position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |wallet: &CashBalance| wallet.first_position))
}

/// Wallets touched by a batch: the last state of each, and what the batch adds to its sums.
#[derive(Default)]
struct Balances(BTreeMap<Uuid, CashBalance>);

impl Projection for Balances {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Cash(cash) = &event.event else { return Ok(()) };
        let account_id = account_of(event)?;
        let updated_at = time(event, cash.at())?;
        let row = self.0.entry(account_id).or_insert_with(|| CashBalance {
            account_id,
            first_position: event.position,
            ..CashBalance::default()
        });
        row.balance_micro = cash.balance();
        row.debt_micro = cash.debt();
        row.sequence = event.sequence;
        row.position = event.position;
        row.updated_at = updated_at;
        match cash {
            CashEvent::ToppedUp { amount_micro, .. } => row.topped_up_micro += *amount_micro,
            CashEvent::CommissionPaid { amount_micro, .. } => row.commissions_micro += *amount_micro,
            CashEvent::PaymentTakenBack { .. }
            | CashEvent::PaymentReinstated { .. }
            | CashEvent::CommissionTakenBack { .. }
            | CashEvent::CommissionReinstated { .. } => row.taken_back_micro -= cash.change(),
            CashEvent::TokensBought { amount_micro, .. } => row.spent_micro += *amount_micro,
        }
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let wallets: Vec<CashBalance> = self.0.into_values().collect();
            let on_conflict = replacing_and_adding(
                "account_id",
                &["balance_micro", "debt_micro", "sequence", "position", "updated_at"],
                &["topped_up_micro", "taken_back_micro", "commissions_micro", "spent_micro"],
            );
            rows::insert(connection, &TABLE, version, &wallets, &on_conflict).await
        }
        .boxed()
    }
}
