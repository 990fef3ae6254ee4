//! `GET /api/v1/cash-wallet` and its statement: a customer's real money, and every movement of it.
//!
//! The balance comes from the Cash Wallet itself; the statement from its read model.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::ids::AccountId;
use codexapi_projections::MAX_PAGE;
use codexapi_projections::cash_movements::{self, CashMovement, CashMovementKind};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};

/// Movements on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

/// Real money, in micro-USD; $1 is 1 000 000.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CashWalletStatus {
    /// What token packages can be bought with.
    balance_micro: i64,
    #[schema(example = "120.000000")]
    balance_usd: String,
    /// What was refunded or disputed beyond the balance; money that comes in pays it first.
    debt_micro: i64,
    #[schema(example = "0.000000")]
    debt_usd: String,
}

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CashStatementQuery {
    /// Movements on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CashStatement {
    /// Newest first.
    movements: Vec<CashLine>,
    /// Pass it as `cursor` for the next page; absent on the last.
    next_cursor: Option<String>,
}

/// One movement. Amounts in micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CashLine {
    /// The event that moved it.
    id: Uuid,
    at: DateTime<Utc>,
    /// `topped_up`, `payment_taken_back`, `payment_reinstated`, `commission_paid`, `commission_taken_back`,
    /// `commission_reinstated` or `tokens_bought`.
    #[schema(value_type = String)]
    kind: CashMovementKind,
    /// Negative where money was taken.
    amount_micro: i64,
    #[schema(example = "-120.000000")]
    amount_usd: String,
    balance_after_micro: i64,
    debt_after_micro: i64,
    payment_id: Option<Uuid>,
    commission_id: Option<Uuid>,
    /// Also the id of the Token Wallet's grant.
    purchase_id: Option<Uuid>,
    plan_id: Option<String>,
    quantity: Option<i64>,
    /// What the Token Wallet was granted.
    credit_micro: Option<i64>,
}

/// The caller's real money.
#[utoipa::path(
    get, path = "/api/v1/cash-wallet", operation_id = "cash_wallet", tag = "billing",
    responses((status = 200, body = CashWalletStatus), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<CashWalletStatus>, Problem> {
    of(&app, caller.account_id).await.map(Json)
}

/// Every movement of the caller's real money.
#[utoipa::path(
    get, path = "/api/v1/cash-wallet/statement", operation_id = "cash_statement", tag = "billing",
    params(CashStatementQuery),
    responses((status = 200, body = CashStatement), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn statement(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    uri: Uri,
) -> Result<Json<CashStatement>, Problem> {
    let CashStatementQuery { limit, cursor } = CashStatementQuery::of(&uri)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let page = cash_movements::page(&app.pool, caller.account_id.0, cursor, limit).await?;
    let next_cursor = page.next.map(|next| next.to_string());
    Ok(Json(CashStatement { movements: page.rows.into_iter().map(CashLine::of).collect(), next_cursor }))
}

/// The status of one customer's Cash Wallet.
pub async fn of(app: &App, account_id: AccountId) -> Result<CashWalletStatus, Problem> {
    let amounts = |cash: &CashWallet| (cash.balance(), cash.debt());
    let (balance, debt) =
        app.log.read(&account_id.to_string(), amounts).await.map_err(Problem::unavailable)?;
    Ok(CashWalletStatus {
        balance_micro: balance.0,
        balance_usd: balance.to_string(),
        debt_micro: debt.0,
        debt_usd: debt.to_string(),
    })
}

impl CashStatementQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["limit", "cursor"])?;
        Ok(Self {
            limit: params.number("limit", 1..=MAX_PAGE)?,
            cursor: params.cursor("cursor", "nextCursor")?,
        })
    }
}

impl CashLine {
    fn of(movement: CashMovement) -> Self {
        Self {
            id: movement.event_id,
            at: movement.at,
            kind: movement.kind,
            amount_micro: movement.amount_micro.0,
            amount_usd: movement.amount_micro.to_string(),
            balance_after_micro: movement.balance_micro.0,
            debt_after_micro: movement.debt_micro.0,
            payment_id: movement.payment_id,
            commission_id: movement.commission_id,
            purchase_id: movement.purchase_id,
            plan_id: movement.plan_id,
            quantity: movement.quantity,
            credit_micro: movement.credit_micro.map(|credit| credit.0),
        }
    }
}
