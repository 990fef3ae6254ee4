//! `GET /api/v1/wallet/status`: the balance now, and the prices it will be spent at.
//!
//! The balance comes from the wallet itself, not from a read model: launchers show it right before spending.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::wallet::Wallet;
use serde::Serialize;
use utoipa::ToSchema;

use super::plan_usage::{self, PlanUsage};
use crate::app::App;
use crate::clock;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::pricing::{PricingPayload, master_pricing};
use crate::http::query::NoQuery;

/// Amounts in micro-USD; $1 is 1 000 000.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalletStatus {
    balance_micro: i64,
    /// Set aside for running requests.
    held_micro: i64,
    /// Balance less what is held.
    available_micro: i64,
    /// The balance in dollars, for people.
    #[schema(example = "12.345678")]
    balance_usd: String,
    /// Owed for payments that were taken back; the next credit pays it first.
    debt_micro: i64,
    debt_usd: String,
    /// Plans that are running, and how much of each is used.
    plans: Vec<PlanUsage>,
    pricing: PricingPayload,
}

impl WalletStatus {
    pub fn pricing(&self) -> &PricingPayload {
        &self.pricing
    }
}

/// The caller's balance and the prices in force.
#[utoipa::path(
    get, path = "/api/v1/wallet/status", operation_id = "wallet_status", tag = "billing",
    responses((status = 200, body = WalletStatus), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<WalletStatus>, Problem> {
    of(&app, caller.account_id).await.map(Json)
}

/// The status of one customer's wallet.
pub async fn of(app: &App, account_id: AccountId) -> Result<WalletStatus, Problem> {
    let amounts = |wallet: &Wallet| [wallet.balance(), wallet.held(), wallet.available(), wallet.debt()];
    let [balance, held, available, debt]: [MicroUsd; 4] =
        app.log.read(&account_id.to_string(), amounts).await.map_err(Problem::unavailable)?;
    let pricing = pricing(app).await?;
    Ok(WalletStatus {
        balance_micro: balance.0,
        held_micro: held.0,
        available_micro: available.0,
        balance_usd: balance.to_string(),
        debt_micro: debt.0,
        debt_usd: debt.to_string(),
        plans: plan_usage::of(app, account_id).await?,
        pricing,
    })
}

/// The prices in force now, as every endpoint shows them.
pub async fn pricing(app: &App) -> Result<PricingPayload, Problem> {
    let disclosure = app.config.catalog.disclosure;
    let prices = |book: &PriceBook| master_pricing(book, disclosure, clock::now());
    app.log.read(BOOK_STREAM, prices).await.map_err(Problem::unavailable)
}
