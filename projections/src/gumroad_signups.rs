//! Customers who came from Gumroad.com, and what became of their credit.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::gumroad::{DoubtReason, GumroadEvent, SignupStanding};
use codexapi_aggregates::money::MicroUsd;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, replacing_and_adding, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "gumroad_signups",
    revision: 1,
    aggregates: &["gumroad"],
    tables: &[TABLE],
    batch: || Box::<Signups>::default(),
};

const TABLE: Table = Table {
    name: "gumroad_signups",
    columns: "account_id uuid PRIMARY KEY, stream text NOT NULL, has_licence boolean NOT NULL, \
        verified boolean NOT NULL, doubts jsonb NOT NULL, amount_micro bigint NOT NULL, standing text NOT NULL, \
        grant_id uuid, signed_up_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, \
        first_position bigint NOT NULL",
    indexes: &["(standing, first_position)"],
};

/// One customer who came from Gumroad.com.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GumroadSignup {
    pub account_id: Uuid,
    /// Where its events stand: the licence's stream, or the account's own.
    pub stream: String,
    pub has_licence: bool,
    pub verified: bool,
    pub doubts: Vec<DoubtReason>,
    pub amount_micro: MicroUsd,
    pub standing: SignupStanding,
    pub grant_id: Option<Uuid>,
    pub signed_up_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Its first event; sign-ups are listed by it.
    pub first_position: i64,
}

/// The sign-up of one account.
pub async fn get(pool: &PgPool, account: Uuid) -> Result<Option<GumroadSignup>, ReadError> {
    let select = rows::select("SELECT to_jsonb(s) FROM gumroad_signups s WHERE account_id = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(account)).await
}

/// Those that wait for an operator, newest first.
pub async fn waiting(
    pool: &PgPool,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<GumroadSignup>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(s) FROM gumroad_signups s WHERE standing = 'waiting' AND first_position < $1 \
         ORDER BY first_position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |signup: &GumroadSignup| signup.first_position))
}

/// The last state of each sign-up that a batch touches.
#[derive(Default)]
struct Signups(BTreeMap<Uuid, GumroadSignup>);

impl Projection for Signups {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Gumroad(gumroad) = &event.event else { return Ok(()) };
        let row = row(event, gumroad)?;
        let first_position =
            self.0.get(&row.account_id).map_or(row.first_position, |known| known.first_position);
        self.0.insert(row.account_id, GumroadSignup { first_position, ..row });
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let signups: Vec<GumroadSignup> = self.0.into_values().collect();
            let replaced = [
                "stream",
                "has_licence",
                "verified",
                "doubts",
                "amount_micro",
                "standing",
                "grant_id",
                "signed_up_at",
                "updated_at",
            ];
            let on_conflict = replacing_and_adding("account_id", &replaced, &[]);
            rows::insert(connection, &TABLE, version, &signups, &on_conflict).await
        }
        .boxed()
    }
}

fn row(event: &RecordedEvent, gumroad: &GumroadEvent) -> Result<GumroadSignup, FoldError> {
    let signup = gumroad.signup();
    Ok(GumroadSignup {
        account_id: signup.account_id.0,
        stream: event.aggregate_id.clone(),
        has_licence: signup.has_licence,
        verified: signup.verified,
        doubts: signup.doubts.clone(),
        amount_micro: signup.amount_micro,
        standing: signup.standing,
        grant_id: signup.grant_id.map(|grant_id| grant_id.0),
        signed_up_at: time(event, signup.signed_up_at)?,
        updated_at: time(event, gumroad.at())?,
        first_position: event.position,
    })
}
