//! Customers, for lists; who a person is stands in the erasable table of personal data.

use chrono::{DateTime, Utc};
use codexapi_aggregates::account::AccountEvent;
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "accounts",
    revision: 1,
    aggregates: &["account"],
    tables: &[TABLE],
    batch: || Box::<Accounts>::default(),
};

const TABLE: Table = Table {
    name: "accounts",
    columns: "account_id uuid PRIMARY KEY, person_id uuid NOT NULL, registered_at timestamptz NOT NULL, \
        position bigint NOT NULL",
    indexes: &["(position)", "(person_id)"],
};

/// A customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountRow {
    pub account_id: Uuid,
    pub person_id: Uuid,
    pub registered_at: DateTime<Utc>,
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
struct Accounts(Vec<AccountRow>);

impl Projection for Accounts {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Account(account) = &event.event else { return Ok(()) };
        match account {
            AccountEvent::CustomerRegistered { account_id, person_id, at } => self.0.push(AccountRow {
                account_id: account_id.0,
                person_id: person_id.0,
                registered_at: time(event, *at)?,
                position: event.position,
            }),
            AccountEvent::KeyIssued { .. }
            | AccountEvent::KeyRevoked { .. }
            | AccountEvent::TokenRevealed { .. } => {}
        }
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move { rows::insert(connection, &TABLE.version(version), &self.0, "").await }.boxed()
    }
}
