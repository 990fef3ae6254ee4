//! Folding: each document is numbered when it is issued, after the last one of its series.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{DisputeStatus, PaymentEvent, Purpose, RefundStatus};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Issue, NOTES, NoteReason, PaidFor, Reversal, Series, Standing, TABLE};
use crate::payments::PaymentKind;
use crate::rows::{self, time};
use crate::{FoldError, Projection, WriteError};

/// What a batch says of payments, in the log's order.
#[derive(Default)]
pub(super) struct Facts(Vec<Fact>);

pub(super) struct Fact {
    pub payment_id: Uuid,
    pub at: DateTime<Utc>,
    pub position: i64,
    pub what: What,
}

pub(super) enum What {
    Started(PaidFor),
    Credited,
    Reversed { reversal_id: String, reason: NoteReason, amount_micro: MicroUsd, turn: Turn },
}

/// What a refund or dispute has come to.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    Nothing,
    Withheld,
    WentBack,
    CameAgain,
}

/// A payment, with its receipt where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Paid {
    #[serde(flatten)]
    pub payment: PaidFor,
    #[serde(flatten)]
    pub issue: Option<Issue>,
}

impl Projection for Facts {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Payment(payment) = &event.event else { return Ok(()) };
        let what = match payment {
            PaymentEvent::PaymentStarted {
                payment_id,
                account_id,
                channel,
                purpose,
                plan_id,
                quantity,
                price_micro,
                livemode,
                ..
            } => {
                let (kind, credit_micro) = bought(purpose);
                What::Started(PaidFor {
                    payment_id: payment_id.0,
                    account_id: account_id.0,
                    livemode: *livemode,
                    channel: *channel,
                    kind,
                    plan_id: plan_id.clone(),
                    quantity: i64::from(*quantity),
                    paid_micro: *price_micro,
                    credit_micro,
                })
            }
            PaymentEvent::PaymentCredited { .. } => What::Credited,
            PaymentEvent::RefundRecorded { refund_id, amount_micro, status, .. } => What::Reversed {
                reversal_id: refund_id.clone(),
                reason: NoteReason::Refund,
                amount_micro: *amount_micro,
                turn: match status {
                    RefundStatus::Made => Turn::WentBack,
                    RefundStatus::Failed => Turn::CameAgain,
                },
            },
            PaymentEvent::DisputeRecorded { dispute_id, amount_micro, status, .. } => What::Reversed {
                reversal_id: dispute_id.clone(),
                reason: NoteReason::Dispute,
                amount_micro: *amount_micro,
                turn: match status {
                    DisputeStatus::Inquiry => Turn::Nothing,
                    DisputeStatus::Open => Turn::Withheld,
                    DisputeStatus::Lost => Turn::WentBack,
                    DisputeStatus::Won => Turn::CameAgain,
                },
            },
            PaymentEvent::CheckoutOpened { .. }
            | PaymentEvent::PaymentFailed { .. }
            | PaymentEvent::PaymentExpired { .. } => return Ok(()),
        };
        let (payment_id, at) = (payment.payment_id().0, time(event, payment.at())?);
        self.0.push(Fact { payment_id, at, position: event.position, what });
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            if self.0.is_empty() {
                return Ok(());
            }
            let mut book = Book::load(&mut *connection, version, &self.0).await?;
            for fact in self.0 {
                book.take(fact)?;
            }
            book.store(connection, version).await
        }
        .boxed()
    }
}

/// What was bought, and how much credit that is.
fn bought(purpose: &Purpose) -> (PaymentKind, Option<MicroUsd>) {
    match purpose {
        Purpose::TokenCredit { credit_micro } => (PaymentKind::TokenCredit, Some(*credit_micro)),
        Purpose::CashTopUp => (PaymentKind::CashTopUp, None),
        Purpose::Entitlement { .. } => (PaymentKind::Entitlement, None),
    }
}

/// The documents of some payments, and the last number of each series that they may continue.
#[derive(Default)]
pub(super) struct Book {
    pub paid: BTreeMap<Uuid, Paid>,
    pub reversals: BTreeMap<(Uuid, String), Reversal>,
    pub last: BTreeMap<(Series, bool, i32), i64>,
}

impl Book {
    async fn load(connection: &mut PgConnection, version: i32, facts: &[Fact]) -> Result<Self, WriteError> {
        let (receipts, notes) = (TABLE.version(version), NOTES.version(version));
        let payments: BTreeSet<Uuid> = facts.iter().map(|fact| fact.payment_id).collect();
        let payments: Vec<Uuid> = payments.into_iter().collect();
        let mut book = Self::default();
        for paid in of_payments::<Paid>(&mut *connection, &receipts, &payments).await? {
            book.paid.insert(paid.payment.payment_id, paid);
        }
        for reversal in of_payments::<Reversal>(&mut *connection, &notes, &payments).await? {
            book.reversals.insert((reversal.payment_id, reversal.reversal_id.clone()), reversal);
        }
        let years: BTreeSet<i32> = facts.iter().map(|fact| fact.at.year()).collect();
        for (series, table) in [(Series::Receipt, &receipts), (Series::CreditNote, &notes)] {
            let statement = format!("SELECT max(number) FROM {table} WHERE livemode = $1 AND year = $2");
            for (livemode, year) in years.iter().flat_map(|year| [(false, *year), (true, *year)]) {
                let last: Option<i64> = sqlx::query_scalar(&statement)
                    .bind(livemode)
                    .bind(year)
                    .fetch_one(&mut *connection)
                    .await?;
                book.last.insert((series, livemode, year), last.unwrap_or(0));
            }
        }
        Ok(book)
    }

    async fn store(self, connection: &mut PgConnection, version: i32) -> Result<(), WriteError> {
        const ISSUED: [&str; 4] = ["year", "number", "issued_at", "position"];
        let paid: Vec<Paid> = self.paid.into_values().collect();
        let replacing = rows::replacing_and_adding("payment_id", &ISSUED, &[]);
        rows::insert(&mut *connection, &TABLE, version, &paid, &replacing).await?;
        let reversals: Vec<Reversal> = self.reversals.into_values().collect();
        let changed = [&["standing", "before_micro", "void_at"][..], &ISSUED].concat();
        let replacing = rows::replacing_and_adding("payment_id, reversal_id", &changed, &[]);
        rows::insert(connection, &NOTES, version, &reversals, &replacing).await
    }

    pub fn take(&mut self, fact: Fact) -> Result<(), WriteError> {
        let Fact { payment_id, at, position, what } = fact;
        match what {
            What::Started(payment) => {
                self.paid.insert(payment_id, Paid { payment, issue: None });
            }
            What::Credited => {
                let livemode = self.paid(payment_id)?.payment.livemode;
                let issue = self.next(Series::Receipt, livemode, at, position);
                self.paid(payment_id)?.issue = Some(issue);
                let known = self.reversals.keys().filter(|(of, _)| *of == payment_id);
                for key in known.cloned().collect::<Vec<_>>() {
                    self.issue_note(&key, at, position);
                }
            }
            What::Reversed { reversal_id, reason, amount_micro, turn } => {
                let Paid { payment, issue } = self.paid(payment_id)?;
                let (livemode, is_credited) = (payment.livemode, issue.is_some());
                let key = (payment_id, reversal_id.clone());
                let reversal = self.reversals.entry(key.clone()).or_insert_with(|| Reversal {
                    payment_id,
                    reversal_id,
                    livemode,
                    reason,
                    amount_micro,
                    standing: Standing::Nothing,
                    before_micro: MicroUsd::ZERO,
                    void_at: None,
                    issue: None,
                });
                reversal.turn(turn, at);
                if is_credited {
                    self.issue_note(&key, at, position);
                }
            }
        }
        Ok(())
    }

    fn issue_note(&mut self, key: &(Uuid, String), at: DateTime<Utc>, position: i64) {
        let Some(reversal) = self.reversals.get(key) else { return };
        if reversal.standing != Standing::Holds || reversal.issue.is_some() {
            return;
        }
        let livemode = reversal.livemode;
        let earlier =
            self.reversals.values().filter(|other| other.payment_id == key.0 && other.issue.is_some());
        let before_micro = earlier.map(|other| other.amount_micro).sum();
        let issue = self.next(Series::CreditNote, livemode, at, position);
        if let Some(reversal) = self.reversals.get_mut(key) {
            reversal.before_micro = before_micro;
            reversal.issue = Some(issue);
        }
    }

    fn next(&mut self, series: Series, livemode: bool, issued_at: DateTime<Utc>, position: i64) -> Issue {
        let year = issued_at.year();
        let last = self.last.entry((series, livemode, year)).or_default();
        *last += 1;
        Issue { year, number: *last, issued_at, position }
    }

    fn paid(&mut self, payment_id: Uuid) -> Result<&mut Paid, WriteError> {
        let unknown = || WriteError::Unknown { kind: "payments", ids: vec![payment_id] };
        self.paid.get_mut(&payment_id).ok_or_else(unknown)
    }
}

impl Reversal {
    fn turn(&mut self, turn: Turn, at: DateTime<Utc>) {
        self.standing = match turn {
            Turn::Nothing => Standing::Nothing,
            Turn::Withheld => Standing::Withheld,
            Turn::WentBack => Standing::Holds,
            Turn::CameAgain if self.issue.is_some() => Standing::Void,
            Turn::CameAgain => Standing::Nothing,
        };
        if self.standing == Standing::Void {
            self.void_at = Some(at);
        }
    }
}

async fn of_payments<R: DeserializeOwned>(
    connection: &mut PgConnection,
    table: &str,
    payments: &[Uuid],
) -> Result<Vec<R>, WriteError> {
    let statement = format!("SELECT to_jsonb(t) FROM {table} t WHERE payment_id = any($1)");
    let found: Vec<serde_json::Value> =
        sqlx::query_scalar(&statement).bind(payments).fetch_all(connection).await?;
    found.into_iter().map(|row| serde_json::from_value(row).map_err(WriteError::Row)).collect()
}
