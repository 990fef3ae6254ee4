//! What each wallet holds now. For pages and reports; whatever gates spending asks the aggregate.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::events::WalletEvent;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, replacing_and_adding, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "wallet_balances",
    revision: 2,
    aggregates: &["wallet"],
    tables: &[TABLE],
    batch: || Box::<Balances>::default(),
};

const TABLE: Table = Table {
    name: "wallet_balances",
    columns: "account_id uuid PRIMARY KEY, balance_micro bigint NOT NULL, held_micro bigint NOT NULL, \
        granted_micro bigint NOT NULL, expired_micro bigint NOT NULL, charged_micro bigint NOT NULL, \
        reversed_micro bigint NOT NULL, covered_micro bigint NOT NULL, shortfall_micro bigint NOT NULL, \
        insured_micro bigint NOT NULL, purchased_micro bigint NOT NULL, adjusted_micro bigint NOT NULL, \
        payments_reversed_micro bigint NOT NULL, debt_micro bigint NOT NULL, sequence bigint NOT NULL, position bigint NOT NULL, \
        first_position bigint NOT NULL, updated_at timestamptz NOT NULL",
    indexes: &["(first_position)"],
};

/// One wallet; balance − debt = granted − expired − charged + reversed − purchased − adjusted
/// − payments reversed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WalletBalance {
    pub account_id: Uuid,
    pub balance_micro: MicroUsd,
    /// Set aside for open holds.
    pub held_micro: MicroUsd,
    /// Credit ever granted.
    pub granted_micro: MicroUsd,
    /// Credit that nobody used in time.
    pub expired_micro: MicroUsd,
    /// Ever charged, reversed charges included.
    pub charged_micro: MicroUsd,
    pub reversed_micro: MicroUsd,
    /// Usage that a plan paid for.
    pub covered_micro: MicroUsd,
    /// Usage that the balance could not pay for.
    pub shortfall_micro: MicroUsd,
    /// Usage that the customer was spared because the provider failed.
    pub insured_micro: MicroUsd,
    pub purchased_micro: MicroUsd,
    /// Taken away by operators.
    pub adjusted_micro: MicroUsd,
    /// Taken back for refunds and disputes, less what was given back since.
    pub payments_reversed_micro: MicroUsd,
    /// Reversed payments that nothing could cover; later credit pays them first.
    pub debt_micro: MicroUsd,
    /// The wallet's last event: its number in the stream, and its place in the log.
    pub sequence: i64,
    pub position: i64,
    /// The wallet's first event; wallets are listed by it.
    pub first_position: i64,
    pub updated_at: DateTime<Utc>,
}

/// The balance of one wallet; `None` where nothing was ever granted.
pub async fn get(pool: &PgPool, account: Uuid) -> Result<Option<WalletBalance>, ReadError> {
    let select = rows::select("SELECT to_jsonb(b) FROM wallet_balances b WHERE account_id = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(account)).await
}

/// The balances of one page of customers; one who was never granted anything has none.
pub async fn of_accounts(
    pool: &PgPool,
    accounts: &[Uuid],
) -> Result<BTreeMap<Uuid, WalletBalance>, ReadError> {
    let select = rows::select("SELECT to_jsonb(b) FROM wallet_balances b WHERE account_id = any($1)");
    let wallets: Vec<WalletBalance> =
        rows::fetch_all(pool, TABLE.name, select.bind(accounts.to_vec())).await?;
    Ok(wallets.into_iter().map(|wallet| (wallet.account_id, wallet)).collect())
}

/// Every wallet, newest first.
pub async fn page(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<WalletBalance>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(b) FROM wallet_balances b WHERE first_position < $1 \
         ORDER BY first_position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |wallet: &WalletBalance| wallet.first_position))
}

/// Wallets touched by a batch: the last state of each, and what the batch adds to its sums.
#[derive(Default)]
struct Balances(BTreeMap<Uuid, WalletBalance>);

impl Projection for Balances {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Wallet(wallet) = &event.event else { return Ok(()) };
        let account_id = account_of(event)?;
        let updated_at = time(event, wallet.at())?;
        let row = self.0.entry(account_id).or_insert_with(|| WalletBalance {
            account_id,
            first_position: event.position,
            ..WalletBalance::default()
        });
        row.balance_micro = wallet.balance();
        row.held_micro = wallet.held();
        row.debt_micro += wallet.debt_change();
        row.sequence = event.sequence;
        row.position = event.position;
        row.updated_at = updated_at;
        match wallet {
            WalletEvent::CreditGranted { amount_micro, .. } => row.granted_micro += *amount_micro,
            WalletEvent::GrantExpired { expired_micro, .. } => row.expired_micro += *expired_micro,
            WalletEvent::UsageCharged {
                charged_micro,
                covered_by_plan_micro,
                shortfall_micro,
                insured_micro,
                ..
            } => {
                row.charged_micro += *charged_micro;
                row.covered_micro += *covered_by_plan_micro;
                row.shortfall_micro += *shortfall_micro;
                row.insured_micro += *insured_micro;
            }
            WalletEvent::ChargeReversed { amount_micro, .. } => row.reversed_micro += *amount_micro,
            WalletEvent::PurchaseMade { amount_micro, .. } => row.purchased_micro += *amount_micro,
            WalletEvent::CreditAdjusted { amount_micro, .. } => row.adjusted_micro += *amount_micro,
            WalletEvent::PaymentReversed { amount_micro, .. } => {
                row.payments_reversed_micro += *amount_micro;
            }
            WalletEvent::PaymentReinstated { amount_micro, .. } => {
                row.payments_reversed_micro -= *amount_micro;
            }
            WalletEvent::HoldPlaced { .. }
            | WalletEvent::AttemptStarted { .. }
            | WalletEvent::HoldReleased { .. }
            | WalletEvent::HoldExpired { .. }
            | WalletEvent::EntitlementGranted { .. }
            | WalletEvent::EntitlementEnded { .. }
            | WalletEvent::EntitlementReinstated { .. }
            | WalletEvent::EntitlementGraceSet { .. }
            | WalletEvent::EntitlementExpired { .. }
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
            let wallets: Vec<WalletBalance> = self.0.into_values().collect();
            let on_conflict = replacing_and_adding(
                "account_id",
                &["balance_micro", "held_micro", "sequence", "position", "updated_at"],
                &[
                    "granted_micro",
                    "expired_micro",
                    "charged_micro",
                    "reversed_micro",
                    "covered_micro",
                    "shortfall_micro",
                    "insured_micro",
                    "purchased_micro",
                    "adjusted_micro",
                    "payments_reversed_micro",
                    "debt_micro",
                ],
            );
            rows::insert(connection, &TABLE, version, &wallets, &on_conflict).await
        }
        .boxed()
    }
}
