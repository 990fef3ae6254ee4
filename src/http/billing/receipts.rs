//! `/api/v1/receipts…`: the caller's receipts and credit notes, listed and as PDF.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::payments::PaymentKind;
use codexapi_projections::receipts::{self, NoteReason, Receipt, Reversal};
use codexapi_projections::{MAX_PAGE, Page};
use codexapi_protocols::errors::ErrorKind;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::config::company::{Company, VatRates};
use crate::http::auth::CustomerCaller;
use crate::http::catch_up::catch_up;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};
use crate::receipts::{Found, find, print, vat};

/// Receipts on a page where the caller names no number.
pub const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct ReceiptsQuery {
    /// Receipts on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    before: Option<String>,
}

/// Receipts, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptList {
    receipts: Vec<ReceiptRecord>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<String>,
}

/// The receipt of one payment. Amounts in micro-USD, and in dollars for people.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReceiptRecord {
    #[schema(example = "R-2026-000042")]
    number: String,
    payment_id: Uuid,
    account_id: Uuid,
    /// Real money; else the number begins with `TEST-`.
    livemode: bool,
    issued_at: DateTime<Utc>,
    /// `token_credit`, `cash_top_up` or `entitlement`.
    #[schema(value_type = String)]
    kind: PaymentKind,
    plan_id: Option<String>,
    quantity: i64,
    paid_micro: i64,
    paid_usd: String,
    vat: Option<VatRecord>,
    /// What credit notes that hold are about, together.
    credited_back_micro: i64,
    credited_back_usd: String,
    /// What the payer's bank withholds until a dispute is decided.
    withheld_micro: i64,
    withheld_usd: String,
    credit_notes: Vec<CreditNoteRecord>,
}

/// Money that went back.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CreditNoteRecord {
    #[schema(example = "CN-2026-000007")]
    number: String,
    /// `refund` or `dispute`.
    #[schema(value_type = String)]
    reason: NoteReason,
    issued_at: DateTime<Utc>,
    /// Since when it no longer holds; absent while it does.
    void_at: Option<DateTime<Utc>>,
    amount_micro: i64,
    amount_usd: String,
    vat: Option<VatRecord>,
}

/// The VAT that an amount includes; absent where no VAT id is set.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VatRecord {
    /// 1900 is 19 %.
    basis_points: u32,
    net_micro: i64,
    net_usd: String,
    vat_micro: i64,
    vat_usd: String,
}

/// The caller's receipts, newest first.
#[utoipa::path(
    get, path = "/api/v1/receipts", operation_id = "list_receipts", tag = "billing", params(ReceiptsQuery),
    responses((status = 200, body = ReceiptList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    uri: Uri,
) -> Result<Json<ReceiptList>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "before"])?;
    page(&app, Some(caller.account_id.0), &params).await
}

/// A receipt or a credit note as PDF.
#[utoipa::path(
    get, path = "/api/v1/receipts/{receipt}", operation_id = "download_receipt", tag = "billing",
    params(("receipt" = String, Path,
        description = "Its number, or a payment's id for the receipt of that payment; `.pdf` may follow")),
    responses(
        (status = 200, content((Vec<u8> = "application/pdf"))), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "Unknown, not credited yet, or of another account"),
        (status = 503, body = ErrorBody, description = "The operator has set no company to print on receipts")
    ),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn download(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Path(name): Path<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    pdf(&app, Some(caller.account_id.0), &name).await
}

/// A page of the receipts of one account, or of all.
pub async fn page(
    app: &App,
    account: Option<Uuid>,
    params: &QueryParams,
) -> Result<Json<ReceiptList>, Problem> {
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(DEFAULT_LIMIT);
    let before = params.cursor("before", "nextBefore")?;
    let Page { rows, next } = receipts::page(&app.pool, account, before, limit).await?;
    let rates = app.config.company.company().and_then(|company| company.vat).map(|(_, rates)| rates);
    let receipts = rows.iter().map(|receipt| ReceiptRecord::of(receipt, rates)).collect();
    Ok(Json(ReceiptList { receipts, next_before: next.map(|next| next.to_string()) }))
}

/// A document as PDF, of `account` alone where one is given.
pub async fn pdf(app: &App, account: Option<Uuid>, name: &str) -> Result<Response, Problem> {
    let company = company(app)?;
    let found = match find(&app.pool, name).await? {
        Some(found) => Some(found),
        None => {
            catch_up(app, &receipts::READ_MODEL).await?;
            find(&app.pool, name).await?
        }
    };
    let is_theirs = |found: &Found| account.is_none_or(|account| account == found.receipt.payment.account_id);
    let found = found.filter(is_theirs).ok_or_else(not_found)?;
    let bytes = print(&app.pool, company, &found).await.map_err(Problem::unavailable)?;
    let disposition = format!("attachment; filename=\"{}.pdf\"", found.number);
    let headers = [
        (CONTENT_TYPE, "application/pdf"),
        (CONTENT_DISPOSITION, &disposition),
        (CACHE_CONTROL, "private, no-store"),
    ];
    Ok((headers, bytes).into_response())
}

fn company(app: &App) -> Result<Company<'_>, Problem> {
    let message = "Receipts are not printed here: the operator has not set CODEXAPI_COMPANY_NAME.";
    app.config.company.company().ok_or_else(|| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, ErrorKind::Unavailable, "receipts_not_configured", message)
    })
}

fn not_found() -> Problem {
    let message = "No receipt of yours has this number, and no credited payment of yours this id.";
    Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "receipt_not_found", message)
}

impl ReceiptRecord {
    fn of(receipt: &Receipt, rates: Option<&VatRates>) -> Self {
        let Receipt { payment, issue, reversals } = receipt;
        let rate = rates.map(|rates| rates.on(issue.issued_at.date_naive()));
        let (paid, back, withheld) = (payment.paid_micro, receipt.credited_back(), receipt.withheld());
        Self {
            number: receipt.number().to_string(),
            payment_id: payment.payment_id,
            account_id: payment.account_id,
            livemode: payment.livemode,
            issued_at: issue.issued_at,
            kind: payment.kind,
            plan_id: payment.plan_id.clone(),
            quantity: payment.quantity,
            paid_micro: paid.0,
            paid_usd: paid.to_string(),
            vat: rate.map(|rate| VatRecord::of(MicroUsd::ZERO, paid, rate)),
            credited_back_micro: back.0,
            credited_back_usd: back.to_string(),
            withheld_micro: withheld.0,
            withheld_usd: withheld.to_string(),
            credit_notes: reversals.iter().filter_map(|note| CreditNoteRecord::of(note, rate)).collect(),
        }
    }
}

impl CreditNoteRecord {
    fn of(note: &Reversal, rate: Option<u32>) -> Option<Self> {
        let (number, issue) = (note.number()?, note.issue.as_ref()?);
        Some(Self {
            number: number.to_string(),
            reason: note.reason,
            issued_at: issue.issued_at,
            void_at: note.void_at,
            amount_micro: note.amount_micro.0,
            amount_usd: note.amount_micro.to_string(),
            vat: rate.map(|rate| VatRecord::of(note.before_micro, note.amount_micro, rate)),
        })
    }
}

impl VatRecord {
    fn of(before: MicroUsd, gross: MicroUsd, basis_points: u32) -> Self {
        let vat = vat::of_part(before, gross, basis_points);
        let net = gross - vat;
        Self {
            basis_points,
            net_micro: net.0,
            net_usd: net.to_string(),
            vat_micro: vat.0,
            vat_usd: vat.to_string(),
        }
    }
}
