//! `GET /api/v1/billing/payments`: what the caller paid for, and how far that is.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::payment::{Channel, DisputeStatus, FailureReason};
use codexapi_projections::payments::{self, Payment, PaymentKind, PaymentStatus};
use codexapi_projections::{MAX_PAGE, Page};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::QueryParams;

/// Payments on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PaymentsQuery {
    /// Payments on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    #[param(value_type = Option<String>)]
    before: Option<i64>,
}

/// Payments, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentList {
    payments: Vec<PaymentRecord>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<String>,
}

/// One payment. Amounts in micro-USD, and in dollars for people.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRecord {
    id: Uuid,
    account_id: Uuid,
    /// `checkout`, `off_session` or `invoice`.
    #[schema(value_type = String)]
    channel: Channel,
    /// `token_credit`, `cash_top_up` or `entitlement`.
    #[schema(value_type = String)]
    kind: PaymentKind,
    plan_id: Option<String>,
    quantity: i64,
    price_micro: i64,
    price_usd: String,
    /// Real money, not Stripe's test mode.
    livemode: bool,
    /// `open`, `credited`, `failed` or `expired`.
    #[schema(value_type = String)]
    status: PaymentStatus,
    /// `declined`, `authentication_required` or `not_accepted`.
    #[schema(value_type = Option<String>)]
    failure_reason: Option<FailureReason>,
    /// 0 until it is credited.
    granted_micro: i64,
    granted_usd: String,
    /// Refunded or disputed, of the price.
    reversed_micro: i64,
    reversed_usd: String,
    /// What remains of what was granted, were nothing spent.
    remaining_micro: i64,
    remaining_usd: String,
    /// `inquiry`, `open`, `lost` or `won`, of the dispute that was heard of last.
    #[schema(value_type = Option<String>)]
    dispute_status: Option<DisputeStatus>,
    started_at: DateTime<Utc>,
    credited_at: Option<DateTime<Utc>>,
}

/// The caller's payments, newest first.
#[utoipa::path(
    get, path = "/api/v1/billing/payments", operation_id = "list_payments", tag = "billing", params(PaymentsQuery),
    responses((status = 200, body = PaymentList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    uri: Uri,
) -> Result<Json<PaymentList>, Problem> {
    let PaymentsQuery { limit, before } = PaymentsQuery::of(&uri)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let page = payments::of_account(&app.pool, caller.account_id.0, before, limit).await?;
    Ok(Json(PaymentList::of(page)))
}

impl PaymentsQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["limit", "before"])?;
        Ok(Self {
            limit: params.number("limit", 1..=MAX_PAGE)?,
            before: params.cursor("before", "nextBefore")?,
        })
    }
}

impl PaymentList {
    pub fn of(page: Page<Payment>) -> Self {
        let Page { rows, next } = page;
        let payments = rows.into_iter().map(PaymentRecord::from).collect();
        Self { payments, next_before: next.map(|next| next.to_string()) }
    }
}

impl From<Payment> for PaymentRecord {
    fn from(row: Payment) -> Self {
        Self {
            id: row.payment_id,
            account_id: row.account_id,
            channel: row.channel,
            kind: row.kind,
            plan_id: row.plan_id,
            quantity: row.quantity,
            price_micro: row.price_micro.0,
            price_usd: row.price_micro.to_string(),
            livemode: row.livemode,
            status: row.status,
            failure_reason: row.failure_reason,
            granted_micro: row.granted_micro.0,
            granted_usd: row.granted_micro.to_string(),
            reversed_micro: row.reversed_micro.0,
            reversed_usd: row.reversed_micro.to_string(),
            remaining_micro: row.remaining_micro.0,
            remaining_usd: row.remaining_micro.to_string(),
            dispute_status: row.dispute_status,
            started_at: row.started_at,
            credited_at: row.credited_at,
        }
    }
}
