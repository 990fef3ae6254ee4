//! Customers, for lists; who a person is stands in the erasable table of personal data.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::account::{AccountEvent, SuspensionReason};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "accounts",
    revision: 2,
    aggregates: &["account"],
    tables: &[TABLE],
    batch: || Box::<Accounts>::default(),
};

const TABLE: Table = Table {
    name: "accounts",
    columns: "account_id uuid PRIMARY KEY, person_id uuid NOT NULL, registered_at timestamptz NOT NULL, \
        suspended_at timestamptz, suspension_reason text, position bigint NOT NULL",
    indexes: &["(position)", "(person_id)"],
};

/// A customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountRow {
    pub account_id: Uuid,
    pub person_id: Uuid,
    pub registered_at: DateTime<Utc>,
    /// Since when none of its keys works; absent while they do.
    pub suspended_at: Option<DateTime<Utc>>,
    pub suspension_reason: Option<SuspensionReason>,
    /// The registration's place in the log; accounts are listed by it.
    pub position: i64,
}

pub async fn get(pool: &PgPool, account: Uuid) -> Result<Option<AccountRow>, ReadError> {
    let select = rows::select("SELECT to_jsonb(a) FROM accounts a WHERE account_id = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(account)).await
}

/// Every customer, newest first.
pub async fn page(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<AccountRow>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(a) FROM accounts a WHERE position < $1 ORDER BY position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |account: &AccountRow| account.position))
}

#[derive(Default)]
struct Accounts {
    registered: Vec<AccountRow>,
    /// How each account stands after the batch, where the batch says something of it.
    standing: BTreeMap<Uuid, Standing>,
}

#[derive(Serialize)]
struct Standing {
    account_id: Uuid,
    suspended_at: Option<DateTime<Utc>>,
    suspension_reason: Option<SuspensionReason>,
}

impl Accounts {
    fn stands(
        &mut self,
        event: &RecordedEvent,
        suspended: Option<(DateTime<Utc>, SuspensionReason)>,
    ) -> Result<(), FoldError> {
        let account_id = account_of(event)?;
        let (suspended_at, suspension_reason) = suspended.unzip();
        self.standing.insert(account_id, Standing { account_id, suspended_at, suspension_reason });
        Ok(())
    }
}

impl Projection for Accounts {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Account(account) = &event.event else { return Ok(()) };
        match account {
            AccountEvent::CustomerRegistered { account_id, person_id, at } => {
                self.registered.push(AccountRow {
                    account_id: account_id.0,
                    person_id: person_id.0,
                    registered_at: time(event, *at)?,
                    suspended_at: None,
                    suspension_reason: None,
                    position: event.position,
                })
            }
            AccountEvent::AccountSuspended { reason, at } => {
                self.stands(event, Some((time(event, *at)?, *reason)))?;
            }
            AccountEvent::AccountReinstated { .. } => self.stands(event, None)?,
            AccountEvent::KeyIssued { .. }
            | AccountEvent::KeyRevoked { .. }
            | AccountEvent::KeyLimitsSet { .. }
            | AccountEvent::TokenRevealed { .. }
            | AccountEvent::ToolboxSet { .. } => {}
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
            rows::insert(connection, &TABLE, version, &self.registered, "").await?;
            let standing: Vec<Standing> = self.standing.into_values().collect();
            if standing.is_empty() {
                return Ok(());
            }
            let statement = format!(
                "UPDATE {table} a SET suspended_at = s.suspended_at, suspension_reason = s.suspension_reason \
                 FROM json_to_recordset($1::json) \
                 AS s (account_id uuid, suspended_at timestamptz, suspension_reason text) \
                 WHERE a.account_id = s.account_id"
            );
            sqlx::query(&statement).bind(serde_json::to_string(&standing)?).execute(connection).await?;
            Ok(())
        }
        .boxed()
    }
}
