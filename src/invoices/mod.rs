//! Providers' invoices beside what the log says that their attempts cost, by UTC day and model.
//!
//! An invoice moves no money and is no event: it is kept in a table of its own, with who imported it, and compared anew
//! each time it is looked at, since a late settlement may still change what the log says.

pub mod csv;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use codexapi_projections::ReadError;
use codexapi_projections::provider_days::{self, Compared, ComparedSums, Invoiced};
use codexapi_projections::transaction::Transaction;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clock;
use csv::{Invoice, InvoiceRefusal};

const MAX_PROVIDER_CHARS: usize = 40;

/// An invoice, as it was imported.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Imported {
    pub invoice_id: Uuid,
    pub provider: String,
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
    /// Lines of the file.
    pub lines: i32,
    pub imported_by: String,
    pub imported_at: DateTime<Utc>,
}

/// Why an invoice is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Refused(#[from] InvoiceRefusal),
    #[error("the invoice is no text: it is not UTF-8")]
    NotText,
    #[error("the invoice's text must not contain the character U+0000")]
    HoldsNul,
    #[error("no provider is called {provider:?}: nothing was ever asked of it")]
    UnknownProvider { provider: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

const COLUMNS: &str = "invoice_id, provider, first_day, last_day, lines, imported_by, imported_at";

/// Imports a file, once: the same one again is the invoice it was before. Returns whether it was new.
pub async fn import(
    pool: &PgPool,
    provider: &str,
    file: &[u8],
    imported_by: &str,
) -> Result<(Imported, bool), ImportError> {
    if !provider_days::is_known(pool, provider).await? {
        let provider = provider.chars().take(MAX_PROVIDER_CHARS).collect();
        return Err(ImportError::UnknownProvider { provider });
    }
    let text = std::str::from_utf8(file).map_err(|_| ImportError::NotText)?;
    if text.contains('\0') {
        return Err(ImportError::HoldsNul);
    }
    let invoice = csv::parse(text)?;
    let digest = Sha256::digest(file);
    let new = store(pool, provider, &invoice, &digest, imported_by).await;
    let new = new.context("keeping an invoice").map_err(ImportError::Failed)?;
    let statement = format!("SELECT {COLUMNS} FROM provider_invoices WHERE provider = $1 AND digest = $2");
    let imported = sqlx::query_as(&statement).bind(provider).bind(digest.as_slice()).fetch_one(pool).await;
    Ok((imported.context("reading an invoice").map_err(ImportError::Failed)?, new))
}

/// Whether it was not there before.
async fn store(
    pool: &PgPool,
    provider: &str,
    invoice: &Invoice,
    digest: &[u8],
    imported_by: &str,
) -> anyhow::Result<bool> {
    let invoice_id = clock::new_id();
    let days = || invoice.rows.keys().map(|(day, _)| *day);
    let (first, last) = days().min().zip(days().max()).context("an invoice without lines")?;
    let now = DateTime::from_timestamp_micros(clock::now().0).context("a clock within the calendar")?;
    let mut transaction = Transaction::begin(pool).await?;
    let stored = sqlx::query(
        "INSERT INTO provider_invoices \
         (invoice_id, provider, digest, first_day, last_day, lines, imported_by, imported_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(invoice_id)
    .bind(provider)
    .bind(digest)
    .bind(first)
    .bind(last)
    .bind(i32::try_from(invoice.lines)?)
    .bind(imported_by)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    if stored.rows_affected() == 0 {
        return Ok(false);
    }
    let mut columns: (Vec<NaiveDate>, Vec<String>, Vec<Option<i64>>, Vec<i64>) = Default::default();
    for ((day, model), row) in &invoice.rows {
        columns.0.push(*day);
        columns.1.push(model.clone());
        columns.2.push(row.tokens);
        columns.3.push(row.cost_micro.0);
    }
    sqlx::query(
        "INSERT INTO provider_invoice_days (invoice_id, day, model, tokens, cost_micro) \
         SELECT $1, * FROM unnest($2::date[], $3::text[], $4::bigint[], $5::bigint[])",
    )
    .bind(invoice_id)
    .bind(columns.0)
    .bind(columns.1)
    .bind(columns.2)
    .bind(columns.3)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

/// One invoice.
pub async fn get(pool: &PgPool, invoice_id: Uuid) -> sqlx::Result<Option<Imported>> {
    let statement = format!("SELECT {COLUMNS} FROM provider_invoices WHERE invoice_id = $1");
    sqlx::query_as(&statement).bind(invoice_id).fetch_optional(pool).await
}

/// At most `limit` invoices, newest first, from the one before `before`.
pub async fn list(pool: &PgPool, before: Option<Uuid>, limit: u32) -> sqlx::Result<Vec<Imported>> {
    let statement = format!(
        "SELECT {COLUMNS} FROM provider_invoices WHERE $1::uuid IS NULL OR invoice_id < $1 \
         ORDER BY invoice_id DESC LIMIT $2"
    );
    sqlx::query_as(&statement).bind(before).bind(i64::from(limit)).fetch_all(pool).await
}

/// A page of the comparison, whether there are more rows, and what all of them come to.
pub async fn compare(
    pool: &PgPool,
    imported: &Imported,
    after: Option<(NaiveDate, String)>,
    limit: u32,
) -> Result<(Vec<Compared>, bool, ComparedSums), ReadError> {
    let invoiced = Invoiced {
        invoice_id: imported.invoice_id,
        provider: imported.provider.clone(),
        first_day: imported.first_day,
        last_day: imported.last_day,
    };
    let (rows, more) = provider_days::compare(pool, &invoiced, after, limit).await?;
    Ok((rows, more, provider_days::compare_all(pool, &invoiced).await?))
}
