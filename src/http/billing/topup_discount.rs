//! `POST /api/v1/wallet/topup-discount`: what a code of the caller's would add to a top-up.
//!
//! Nothing changes: the code is held once a payment is started with it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::bonus::Bonuses;
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog};
use codexapi_aggregates::money::MicroUsd;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::token_purchase::plan_id;
use crate::app::App;
use crate::cash::BuyRefusal;
use crate::clock;
use crate::http::admin::body::AdminBody;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopUpDiscountAsked {
    #[schema(example = "SPRING-25")]
    code: String,
    /// The package that is to be bought.
    #[schema(example = "titan")]
    plan_id: String,
    /// How many of it; 1 where it is left out.
    quantity: Option<u32>,
}

/// What the code would bring. Amounts in micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopUpDiscount {
    code: String,
    bonus_basis_points: u32,
    price_micro: i64,
    /// Without the code.
    credit_micro: i64,
    bonus_micro: i64,
    #[schema(example = "312.500000")]
    bonus_usd: String,
    total_credit_micro: i64,
    #[schema(example = "1562.500000")]
    total_credit_usd: String,
    expires_at: DateTime<Utc>,
}

/// What one of the caller's codes adds to a top-up.
#[utoipa::path(
    post, path = "/api/v1/wallet/topup-discount", operation_id = "topup_discount", tag = "billing",
    request_body = TopUpDiscountAsked,
    responses((status = 200, body = TopUpDiscount), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn validate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
    AdminBody(asked): AdminBody<TopUpDiscountAsked>,
) -> Result<Json<TopUpDiscount>, Problem> {
    let (plan, quantity) = (plan_id(&asked.plan_id)?, asked.quantity.unwrap_or(1));
    let package = |catalog: &Catalog| -> Result<(MicroUsd, MicroUsd), BuyRefusal> {
        let found = catalog.plan(&plan).ok_or_else(|| BuyRefusal::UnknownPlan(plan.clone()))?;
        if !(1..=found.max_quantity).contains(&quantity) {
            return Err(BuyRefusal::QuantityOutOfRange { got: quantity, most: found.max_quantity });
        }
        let package = found.price(quantity).zip(found.credit(quantity));
        package.ok_or_else(|| BuyRefusal::NoTokens(plan.clone()))
    };
    let (price, credit) = app.log.read(CATALOG_STREAM, package).await.map_err(Problem::unavailable)??;
    let now = clock::now();
    let bonus = |bonuses: &Bonuses| bonuses.bonus_for(&asked.code, plan.as_str(), credit, now);
    let bonus = app.log.read(&caller.account_id.to_string(), bonus).await.map_err(Problem::unavailable)??;
    let total = credit + bonus.bonus_micro;
    Ok(Json(TopUpDiscount {
        code: asked.code.trim().to_ascii_uppercase(),
        bonus_basis_points: bonus.basis_points,
        price_micro: price.0,
        credit_micro: credit.0,
        bonus_micro: bonus.bonus_micro.0,
        bonus_usd: bonus.bonus_micro.to_string(),
        total_credit_micro: total.0,
        total_credit_usd: total.to_string(),
        expires_at: DateTime::from_timestamp_micros(bonus.expires_at.0).unwrap_or_default(),
    }))
}
