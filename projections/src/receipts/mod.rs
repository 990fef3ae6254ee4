//! Receipts and credit notes: one receipt for each credited payment, and a credit note for what went back of it.
//!
//! Numbers are given in the order of the log, so that folding it anew gives every document the number it has. They
//! have no gaps: a document that no longer holds keeps its number and is void.

mod issuing;
mod number;

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Channel;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::payments::PaymentKind;
use crate::{Page, ReadError, ReadModel, Table, page, rows};

pub use number::{DocumentNumber, NotANumber, Series};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "receipts",
    revision: 1,
    aggregates: &["payment"],
    tables: &[TABLE, NOTES],
    batch: || Box::<issuing::Facts>::default(),
};

/// Payments; those without a number were not credited yet.
const TABLE: Table = Table {
    name: "receipts",
    columns: "payment_id uuid PRIMARY KEY, account_id uuid NOT NULL, livemode boolean NOT NULL, \
        channel text NOT NULL, kind text NOT NULL, plan_id text, quantity bigint NOT NULL, \
        paid_micro bigint NOT NULL, credit_micro bigint, year int, number bigint, issued_at timestamptz, \
        position bigint, UNIQUE (livemode, year, number)",
    indexes: &["(account_id, position)", "(position)"],
};

/// Refunds and disputes; those without a number are no credit notes, or not yet.
const NOTES: Table = Table {
    name: "credit_notes",
    columns: "payment_id uuid NOT NULL, reversal_id text NOT NULL, livemode boolean NOT NULL, \
        reason text NOT NULL, amount_micro bigint NOT NULL, standing text NOT NULL, before_micro bigint NOT NULL, \
        void_at timestamptz, year int, number bigint, issued_at timestamptz, position bigint, \
        PRIMARY KEY (payment_id, reversal_id), UNIQUE (livemode, year, number)",
    indexes: &[],
};

/// What was paid for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaidFor {
    pub payment_id: Uuid,
    pub account_id: Uuid,
    /// Real money, not the test mode.
    pub livemode: bool,
    pub channel: Channel,
    pub kind: PaymentKind,
    pub plan_id: Option<String>,
    pub quantity: i64,
    pub paid_micro: MicroUsd,
    /// Of token credit.
    pub credit_micro: Option<MicroUsd>,
}

/// How a document was issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issue {
    /// Of the issue, UTC.
    pub year: i32,
    /// In the year's series, from 1.
    pub number: i64,
    pub issued_at: DateTime<Utc>,
    /// Of the event that it was issued for.
    pub position: i64,
}

/// The receipt of a payment, with what became of the money since.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Receipt {
    #[serde(flatten)]
    pub payment: PaidFor,
    #[serde(flatten)]
    pub issue: Issue,
    /// Oldest credit note first; those that are none come last.
    #[serde(skip)]
    pub reversals: Vec<Reversal>,
}

/// Money that went back, or may have to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reversal {
    pub payment_id: Uuid,
    /// The payment provider's.
    pub reversal_id: String,
    pub livemode: bool,
    pub reason: NoteReason,
    pub amount_micro: MicroUsd,
    pub standing: Standing,
    /// All that earlier credit notes of the payment are about.
    pub before_micro: MicroUsd,
    /// When a credit note ceased to hold: the money came back.
    pub void_at: Option<DateTime<Utc>>,
    /// Present where it is a credit note.
    #[serde(flatten)]
    pub issue: Option<Issue>,
}

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteReason {
    Refund,
    Dispute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing went back.
    Nothing,
    /// The payer's bank keeps it until a dispute is decided.
    Withheld,
    /// It went back.
    Holds,
    /// It had gone back, and came again.
    Void,
}

impl Receipt {
    pub fn number(&self) -> DocumentNumber {
        DocumentNumber::of(Series::Receipt, self.payment.livemode, &self.issue)
    }

    /// What credit notes that hold are about, together.
    pub fn credited_back(&self) -> MicroUsd {
        self.sum(Standing::Holds)
    }

    /// What open disputes are about, together.
    pub fn withheld(&self) -> MicroUsd {
        self.sum(Standing::Withheld)
    }

    fn sum(&self, standing: Standing) -> MicroUsd {
        let such = self.reversals.iter().filter(|reversal| reversal.standing == standing);
        such.map(|reversal| reversal.amount_micro).sum()
    }
}

impl Reversal {
    /// Absent where it is no credit note.
    pub fn number(&self) -> Option<DocumentNumber> {
        self.issue.as_ref().map(|issue| DocumentNumber::of(Series::CreditNote, self.livemode, issue))
    }
}

/// Receipts, newest first, of one account or of all; `limit` is 1 to `MAX_PAGE`, `before` the last page's `next`.
pub async fn page(
    pool: &PgPool,
    account: Option<Uuid>,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<Receipt>, ReadError> {
    let whose = if account.is_some() { "account_id = $3 AND" } else { "$3::uuid IS NULL AND" };
    let statement = format!(
        "SELECT to_jsonb(r) FROM receipts r WHERE {whose} position < $1 ORDER BY position DESC LIMIT $2"
    );
    let select = rows::select(&statement).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select.bind(account)).await?;
    let mut page = Page::of(rows, limit, |receipt: &Receipt| receipt.issue.position);
    add_reversals(pool, &mut page.rows).await?;
    Ok(page)
}

/// The receipt of a payment that was credited.
pub async fn of_payment(pool: &PgPool, payment_id: Uuid) -> Result<Option<Receipt>, ReadError> {
    let select =
        rows::select("SELECT to_jsonb(r) FROM receipts r WHERE payment_id = $1 AND number IS NOT NULL");
    one(pool, select.bind(payment_id)).await
}

/// The receipt of this number, or the one that the credit note of this number belongs to.
pub async fn by_number(pool: &PgPool, number: &DocumentNumber) -> Result<Option<Receipt>, ReadError> {
    let statement = match number.series {
        Series::Receipt => {
            "SELECT to_jsonb(r) FROM receipts r WHERE livemode = $1 AND year = $2 AND number = $3"
        }
        Series::CreditNote => {
            "SELECT to_jsonb(r) FROM receipts r JOIN credit_notes n USING (payment_id) \
             WHERE n.livemode = $1 AND n.year = $2 AND n.number = $3"
        }
    };
    one(pool, rows::select(statement).bind(number.livemode).bind(number.year).bind(number.number)).await
}

async fn one(pool: &PgPool, select: rows::Select<'_>) -> Result<Option<Receipt>, ReadError> {
    let Some(receipt) = rows::fetch_optional(pool, TABLE.name, select).await? else { return Ok(None) };
    let mut receipts = [receipt];
    add_reversals(pool, &mut receipts).await?;
    let [receipt] = receipts;
    Ok(Some(receipt))
}

async fn add_reversals(pool: &PgPool, receipts: &mut [Receipt]) -> Result<(), ReadError> {
    let payments: Vec<Uuid> = receipts.iter().map(|receipt| receipt.payment.payment_id).collect();
    let select = rows::select(
        "SELECT to_jsonb(n) FROM credit_notes n WHERE payment_id = any($1) \
         ORDER BY payment_id, position, number, reversal_id",
    );
    let reversals: Vec<Reversal> = rows::fetch_all(pool, NOTES.name, select.bind(payments)).await?;
    for receipt in receipts {
        let of_it = reversals.iter().filter(|reversal| reversal.payment_id == receipt.payment.payment_id);
        receipt.reversals = of_it.cloned().collect();
    }
    Ok(())
}
