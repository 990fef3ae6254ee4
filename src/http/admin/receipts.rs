//! `/receipts…`: everybody's receipts and credit notes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Uri;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::app::App;
use crate::http::billing::receipts::{ReceiptList, page, pdf};
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct AllReceiptsQuery {
    /// Receipts on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    before: Option<String>,
    /// Of this account alone.
    user_id: Option<Uuid>,
}

/// Receipts of one customer or of all, newest first.
#[utoipa::path(
    get, path = "/admin/api/receipts", operation_id = "list_all_receipts", tag = "operator money",
    params(AllReceiptsQuery),
    responses((status = 200, body = ReceiptList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<ReceiptList>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "before", "user_id"])?;
    let refused = |_| Problem::invalid("invalid_query", "`user_id` is an account's id.");
    let account = params.text("user_id").map(str::parse::<Uuid>).transpose().map_err(refused)?;
    page(&app, account, &params).await
}

/// Anybody's receipt or credit note as PDF.
#[utoipa::path(
    get, path = "/admin/api/receipts/{receipt}", operation_id = "download_any_receipt", tag = "operator money",
    params(("receipt" = String, Path,
        description = "Its number, or a payment's id for the receipt of that payment; `.pdf` may follow")),
    responses(
        (status = 200, content((Vec<u8> = "application/pdf"))), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody, description = "No company is set to print on receipts")
    ),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn download(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    pdf(&app, None, &name).await
}
