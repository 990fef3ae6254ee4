//! Holds that are open, for the operator and for the sweeper; a hold's row goes when it is closed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::ClientFamily;
use codexapi_aggregates::wallet::events::WalletEvent;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "open_holds",
    revision: 1,
    aggregates: &["wallet"],
    tables: &[TABLE],
    batch: || Box::<OpenHolds>::default(),
};

const TABLE: Table = Table {
    name: "open_holds",
    columns: "generation_id uuid PRIMARY KEY, account_id uuid NOT NULL, key_id uuid NOT NULL, \
        family text NOT NULL, model text NOT NULL, amount_micro bigint NOT NULL, worst_micro bigint NOT NULL, \
        provider text NOT NULL, upstream_model text NOT NULL, attempt int NOT NULL, node uuid NOT NULL, \
        placed_at timestamptz NOT NULL, position bigint NOT NULL",
    indexes: &["(account_id, position)", "(position)", "(node)", "(placed_at)"],
};

/// A hold that is neither settled, released nor expired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenHold {
    pub generation_id: Uuid,
    pub account_id: Uuid,
    pub key_id: Uuid,
    pub family: ClientFamily,
    /// The billed model.
    pub model: String,
    pub amount_micro: MicroUsd,
    pub worst_micro: MicroUsd,
    /// The first attempt.
    pub provider: String,
    pub upstream_model: String,
    pub attempt: u32,
    /// The node incarnation that serves it.
    pub node: Uuid,
    pub placed_at: DateTime<Utc>,
    /// The hold's place in the log; holds are listed by it.
    pub position: i64,
}

/// A wallet's open holds, newest first.
pub async fn of_account(
    pool: &PgPool,
    account: Uuid,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<OpenHold>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(h) FROM open_holds h WHERE account_id = $1 AND position < $2 \
         ORDER BY position DESC LIMIT $3",
    );
    let select = select.bind(account).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |hold: &OpenHold| hold.position))
}

/// Every open hold, newest first.
pub async fn page(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<OpenHold>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(h) FROM open_holds h WHERE position < $1 ORDER BY position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |hold: &OpenHold| hold.position))
}

/// Holds that a sweeper may have to expire, oldest first, at most `limit` (1 to `MAX_PAGE`): those
/// placed before `placed_before`, and those of the node incarnations in `dead`. The wallet has the
/// last word.
pub async fn lapsed(
    pool: &PgPool,
    placed_before: DateTime<Utc>,
    dead: &[Uuid],
    limit: u32,
) -> Result<Vec<OpenHold>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(h) FROM open_holds h WHERE placed_at < $1 OR node = any($2) \
         ORDER BY position LIMIT $3",
    );
    let limit = i64::from(limit.clamp(1, page::MAX_PAGE));
    rows::fetch_all(pool, TABLE.name, select.bind(placed_before).bind(dead).bind(limit)).await
}

/// How many there are.
pub async fn count(pool: &PgPool) -> Result<i64, ReadError> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM open_holds").fetch_one(pool).await?)
}

/// Node incarnations that open holds name, so that a sweeper can ask which of them are dead.
pub async fn nodes(pool: &PgPool) -> Result<Vec<Uuid>, ReadError> {
    Ok(sqlx::query_scalar("SELECT DISTINCT node FROM open_holds").fetch_all(pool).await?)
}

#[derive(Default)]
struct OpenHolds {
    placed: BTreeMap<Uuid, OpenHold>,
    /// Closed holds that an earlier batch placed.
    closed: BTreeSet<Uuid>,
}

impl Projection for OpenHolds {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Wallet(wallet) = &event.event else { return Ok(()) };
        match wallet {
            WalletEvent::HoldPlaced {
                generation_id,
                key_id,
                family,
                amount_micro,
                worst_micro,
                quote,
                attempt,
                node,
                at,
                ..
            } => {
                let hold = OpenHold {
                    generation_id: generation_id.0,
                    account_id: account_of(event)?,
                    key_id: key_id.0,
                    family: *family,
                    model: quote.model.clone(),
                    amount_micro: *amount_micro,
                    worst_micro: *worst_micro,
                    provider: attempt.provider.clone(),
                    upstream_model: attempt.upstream_model.clone(),
                    attempt: attempt.number,
                    node: node.0,
                    placed_at: time(event, *at)?,
                    position: event.position,
                };
                self.placed.insert(generation_id.0, hold);
            }
            WalletEvent::HoldReleased { generation_id, .. }
            | WalletEvent::HoldExpired { generation_id, .. }
            | WalletEvent::UsageCharged { generation_id, .. } => {
                if self.placed.remove(&generation_id.0).is_none() {
                    self.closed.insert(generation_id.0);
                }
            }
            WalletEvent::CreditGranted { .. }
            | WalletEvent::AttemptStarted { .. }
            | WalletEvent::GrantExpired { .. }
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
            let placed: Vec<OpenHold> = self.placed.into_values().collect();
            rows::insert_and_delete(connection, &TABLE, version, &placed, "generation_id", self.closed).await
        }
        .boxed()
    }
}
