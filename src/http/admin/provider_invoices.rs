//! `/provider-invoices`: what providers have charged us, beside what the log says that they cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use chrono::{DateTime, NaiveDate, Utc};
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::provider_days::{Compared, ComparedSums};
use codexapi_protocols::errors::ErrorKind;
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Actor;
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::QueryParams;
use crate::http::whole_body::whole;
use crate::invoices::{self, ImportError, Imported};

/// The largest file.
const LIMIT_BYTES: usize = 2 * 1024 * 1024;

/// Rows of a comparison on a page where the caller names no number, and at most.
const DEFAULT_LIMIT: u32 = 200;
const MAX_LIMIT: u32 = 1_000;

/// Invoices on a page.
const INVOICES: u32 = 50;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Whose invoice it is: a provider's name here.
    #[expect(dead_code, reason = "describes the query")]
    provider: String,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `nextBefore` of the page before.
    #[expect(dead_code, reason = "describes the query")]
    before: Option<Uuid>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CompareQuery {
    /// Rows on this page, 1 to 1000; 200 by default.
    #[param(minimum = 1, maximum = 1000)]
    #[expect(dead_code, reason = "describes the query")]
    limit: Option<u32>,
    /// `nextAfter` of the page before.
    #[expect(dead_code, reason = "describes the query")]
    after: Option<String>,
}

/// An invoice, as it was imported.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportedInvoice {
    id: Uuid,
    provider: String,
    first_day: NaiveDate,
    last_day: NaiveDate,
    /// Lines of the file.
    lines: i32,
    imported_by: String,
    imported_at: DateTime<Utc>,
}

/// Every invoice, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoicePage {
    invoices: Vec<ImportedInvoice>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<Uuid>,
}

/// An invoice beside the log, by UTC day and the provider's name of the model.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceCompared {
    invoice: ImportedInvoice,
    /// False where the same file had been imported before.
    new: bool,
    totals: InvoiceTotals,
    rows: Vec<InvoiceDay>,
    /// Pass it as `after` for the next page; absent on the last.
    next_after: Option<String>,
}

/// Over all rows, on this page or not.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvoiceTotals {
    rows: i64,
    /// Rows of which the amounts differ.
    differing: i64,
    invoiced_micro: i64,
    invoiced_usd: String,
    recorded_micro: i64,
    recorded_usd: String,
    /// Invoiced, less what is recorded.
    difference_micro: i64,
    difference_usd: String,
}

/// One day and model. What stands in only one of the two is absent from the other.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvoiceDay {
    day: NaiveDate,
    model: String,
    invoiced_tokens: Option<i64>,
    invoiced_micro: Option<i64>,
    invoiced_usd: Option<String>,
    recorded_attempts: Option<i64>,
    recorded_tokens: Option<i64>,
    recorded_micro: Option<i64>,
    recorded_usd: Option<String>,
    /// Invoiced, less what is recorded.
    difference_micro: i64,
    difference_usd: String,
}

/// Imports a provider's invoice and compares it with the log.
///
/// The body is a CSV file of at most 2 MiB with a header: `day` (as 2026-11-30, UTC), `model` (as the provider calls
/// it), `cost_usd` (decimal dollars), and, where there are any, `tokens`; other columns are passed over.
#[utoipa::path(
    post, path = "/admin/api/provider-invoices", operation_id = "import_provider_invoice", tag = "operator money",
    params(ImportQuery), request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = InvoiceCompared), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 413, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn import(
    State(app): State<Arc<App>>,
    actor: Actor,
    uri: Uri,
    request: Request,
) -> Result<Json<InvoiceCompared>, Problem> {
    let params = QueryParams::of(&uri, &["provider"])?;
    let missing = || Problem::invalid("invalid_query", "`provider` is missing: whose invoice it is.");
    let provider = params.text("provider").ok_or_else(missing)?;
    let file = whole(request, LIMIT_BYTES).await?;
    let (imported, new) = invoices::import(&app.pool, provider, &file, &actor.metadata.actor).await?;
    compared(&app, imported, new, None, DEFAULT_LIMIT).await.map(Json)
}

/// Every invoice that was imported.
#[utoipa::path(
    get, path = "/admin/api/provider-invoices", operation_id = "list_provider_invoices", tag = "operator money",
    params(ListQuery),
    responses((status = 200, body = InvoicePage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<InvoicePage>, Problem> {
    let params = QueryParams::of(&uri, &["before"])?;
    let bad = |_| Problem::invalid("invalid_cursor", "`before` is the `nextBefore` of the page before.");
    let before = params.text("before").map(str::parse).transpose().map_err(bad)?;
    let mut listed = invoices::list(&app.pool, before, INVOICES + 1).await.map_err(unread)?;
    let more = listed.len() > INVOICES as usize;
    listed.truncate(INVOICES as usize);
    let next_before = listed.last().filter(|_| more).map(|last| last.invoice_id);
    Ok(Json(InvoicePage { invoices: listed.into_iter().map(ImportedInvoice::from).collect(), next_before }))
}

/// Compares an invoice with the log as it is now.
#[utoipa::path(
    get, path = "/admin/api/provider-invoices/{invoice_id}", operation_id = "compare_provider_invoice",
    tag = "operator money", params(("invoice_id" = Uuid, Path), CompareQuery),
    responses((status = 200, body = InvoiceCompared), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Path(invoice_id): Path<String>,
    uri: Uri,
) -> Result<Json<InvoiceCompared>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "after"])?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = params.text("after").map(cursor).transpose()?;
    let id = invoice_id
        .parse()
        .map_err(|_| Problem::invalid("invalid_invoice_id", "An invoice's id is a UUID."))?;
    let imported = invoices::get(&app.pool, id).await.map_err(unread)?;
    let imported = imported.ok_or_else(|| {
        let message = "There is no such invoice.";
        Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "invoice_not_found", message)
    })?;
    compared(&app, imported, false, after, limit).await.map(Json)
}

async fn compared(
    app: &App,
    imported: Imported,
    new: bool,
    after: Option<(NaiveDate, String)>,
    limit: u32,
) -> Result<InvoiceCompared, Problem> {
    let (rows, more, sums) = invoices::compare(&app.pool, &imported, after, limit).await?;
    let next_after = rows.last().filter(|_| more).map(|row| format!("{}/{}", row.day, row.model));
    let rows = rows.into_iter().map(InvoiceDay::from).collect();
    Ok(InvoiceCompared { invoice: imported.into(), new, totals: sums.into(), rows, next_after })
}

fn cursor(text: &str) -> Result<(NaiveDate, String), Problem> {
    let read = text.split_once('/').and_then(|(day, model)| Some((day.parse().ok()?, model.to_owned())));
    let refusal = || Problem::invalid("invalid_cursor", "`after` is the `nextAfter` of the page before.");
    read.ok_or_else(refusal)
}

fn unread(error: sqlx::Error) -> Problem {
    Problem::unavailable(anyhow::Error::new(error).context("reading invoices"))
}

impl From<Imported> for ImportedInvoice {
    fn from(imported: Imported) -> Self {
        Self {
            id: imported.invoice_id,
            provider: imported.provider,
            first_day: imported.first_day,
            last_day: imported.last_day,
            lines: imported.lines,
            imported_by: imported.imported_by,
            imported_at: imported.imported_at,
        }
    }
}

impl From<ComparedSums> for InvoiceTotals {
    fn from(sums: ComparedSums) -> Self {
        let difference = sums.invoiced_micro - sums.cost_micro;
        Self {
            rows: sums.rows,
            differing: sums.differing,
            invoiced_micro: sums.invoiced_micro.0,
            invoiced_usd: sums.invoiced_micro.to_string(),
            recorded_micro: sums.cost_micro.0,
            recorded_usd: sums.cost_micro.to_string(),
            difference_micro: difference.0,
            difference_usd: difference.to_string(),
        }
    }
}

impl From<Compared> for InvoiceDay {
    fn from(row: Compared) -> Self {
        let usd = |amount: Option<MicroUsd>| amount.map(|amount| amount.to_string());
        let difference = row.difference_micro();
        Self {
            day: row.day,
            model: row.model,
            invoiced_tokens: row.invoiced_tokens,
            invoiced_micro: row.invoiced_micro.map(|amount| amount.0),
            invoiced_usd: usd(row.invoiced_micro),
            recorded_attempts: row.attempts,
            recorded_tokens: row.tokens,
            recorded_micro: row.cost_micro.map(|amount| amount.0),
            recorded_usd: usd(row.cost_micro),
            difference_micro: difference.0,
            difference_usd: difference.to_string(),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let message = error.to_string();
        match error {
            ImportError::Refused(_) | ImportError::NotText | ImportError::HoldsNul => {
                Self::invalid("invalid_invoice", message)
            }
            ImportError::UnknownProvider { .. } => Self::invalid("unknown_provider", message),
            ImportError::Read(error) => error.into(),
            ImportError::Failed(cause) => Self::unavailable(cause),
        }
    }
}
