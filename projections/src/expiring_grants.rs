//! Grants whose expiry lies ahead, so that a sweeper finds the idle wallets whose credit runs out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::wallet::events::WalletEvent;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "expiring_grants",
    revision: 1,
    aggregates: &["wallet"],
    tables: &[TABLE],
    batch: || Box::<ExpiringGrants>::default(),
};

const TABLE: Table = Table {
    name: "expiring_grants",
    columns: "grant_id uuid PRIMARY KEY, account_id uuid NOT NULL, expires_at timestamptz NOT NULL, \
        position bigint NOT NULL",
    indexes: &["(expires_at)"],
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ExpiringGrant {
    grant_id: Uuid,
    account_id: Uuid,
    expires_at: DateTime<Utc>,
    /// The grant's place in the log.
    position: i64,
}

/// Accounts with a grant whose expiry is at or before `now` and not yet recorded, soonest first, at
/// most `limit` (1 to `MAX_PAGE`). A grant that was spent before it expired is among them once.
pub async fn accounts_due(pool: &PgPool, now: DateTime<Utc>, limit: u32) -> Result<Vec<Uuid>, ReadError> {
    let limit = i64::from(limit.clamp(1, page::MAX_PAGE));
    let due = "SELECT account_id FROM expiring_grants WHERE expires_at <= $1 \
               GROUP BY account_id ORDER BY min(expires_at) LIMIT $2";
    Ok(sqlx::query_scalar(due).bind(now).bind(limit).fetch_all(pool).await?)
}

#[derive(Default)]
struct ExpiringGrants {
    granted: BTreeMap<Uuid, ExpiringGrant>,
    /// Expired grants that an earlier batch granted.
    expired: BTreeSet<Uuid>,
}

impl Projection for ExpiringGrants {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Wallet(wallet) = &event.event else { return Ok(()) };
        match wallet {
            WalletEvent::CreditGranted { grant_id, expires_at: Some(expires_at), .. } => {
                let grant = ExpiringGrant {
                    grant_id: grant_id.0,
                    account_id: account_of(event)?,
                    expires_at: time(event, *expires_at)?,
                    position: event.position,
                };
                self.granted.insert(grant_id.0, grant);
            }
            WalletEvent::GrantExpired { grant_id, .. } => {
                if self.granted.remove(&grant_id.0).is_none() {
                    self.expired.insert(grant_id.0);
                }
            }
            WalletEvent::CreditGranted { expires_at: None, .. }
            | WalletEvent::HoldPlaced { .. }
            | WalletEvent::AttemptStarted { .. }
            | WalletEvent::HoldReleased { .. }
            | WalletEvent::HoldExpired { .. }
            | WalletEvent::UsageCharged { .. }
            | WalletEvent::ChargeReversed { .. }
            | WalletEvent::PurchaseMade { .. }
            | WalletEvent::CreditAdjusted { .. }
            | WalletEvent::PaymentReversed { .. }
            | WalletEvent::PaymentReinstated { .. }
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
            let granted: Vec<ExpiringGrant> = self.granted.into_values().collect();
            rows::insert_and_delete(connection, &TABLE, version, &granted, "grant_id", self.expired).await
        }
        .boxed()
    }
}
