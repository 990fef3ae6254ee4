//! `POST /api/v1/cash-wallet/token-purchase`: real money becomes token credit.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use codexapi_aggregates::ids::{NotAPlanId, PlanId};
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::cash::{self, BuyRefusal, BuyTokens};
use crate::http::admin::body::AdminBody;
use crate::http::auth::{CustomerCaller, Principal};
use crate::http::envelope::RequestId;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// Characters of an idempotency key.
const MAX_KEY: usize = 200;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenPurchase {
    /// A token package of `GET /api/v1/plans`.
    #[schema(example = "titan")]
    plan_id: String,
    /// How many of it; 1 where it is left out.
    quantity: Option<u32>,
    /// Yours, of 1 to 200 characters: the same key with the same purchase buys once and answers as the first time.
    idempotency_key: String,
}

/// A purchase, as it was first made. Amounts in micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokensPurchased {
    /// Also the id of the Token Wallet's grant.
    purchase_id: Uuid,
    price_micro: i64,
    price_usd: String,
    credit_micro: i64,
    #[schema(example = "1250.000000")]
    credit_usd: String,
    /// The Cash Wallet's balance after it.
    cash_balance_micro: i64,
    cash_balance_usd: String,
    /// The Token Wallet's balance after it.
    balance_micro: i64,
    balance_usd: String,
    /// The key was used before; nothing was bought this time.
    replayed: bool,
}

/// Buys a token package with the caller's Cash Wallet.
#[utoipa::path(
    post, path = "/api/v1/cash-wallet/token-purchase", operation_id = "cash_token_purchase", tag = "billing",
    request_body = TokenPurchase,
    responses((status = 200, body = TokensPurchased), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 402, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn buy(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Extension(principal): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    _: NoQuery,
    AdminBody(body): AdminBody<TokenPurchase>,
) -> Result<Json<TokensPurchased>, Problem> {
    if !(1..=MAX_KEY).contains(&body.idempotency_key.chars().count()) {
        let message = format!("`idempotencyKey` has 1 to {MAX_KEY} characters.");
        return Err(Problem::invalid("invalid_idempotency_key", message));
    }
    let asked = BuyTokens {
        account_id: caller.account_id,
        plan_id: plan_id(&body.plan_id)?,
        quantity: body.quantity.unwrap_or(1),
        idempotency_key: body.idempotency_key,
    };
    let (terms, metadata) = (app.config.wallet.terms(), principal.metadata(&request_id));
    let bought = cash::buy_tokens(&app.log, &terms, &metadata, asked).await?;
    Ok(Json(TokensPurchased {
        purchase_id: bought.purchase_id.0,
        price_micro: bought.price_micro.0,
        price_usd: bought.price_micro.to_string(),
        credit_micro: bought.credit_micro.0,
        credit_usd: bought.credit_micro.to_string(),
        cash_balance_micro: bought.cash_balance_micro.0,
        cash_balance_usd: bought.cash_balance_micro.to_string(),
        balance_micro: bought.token_balance_micro.0,
        balance_usd: bought.token_balance_micro.to_string(),
        replayed: bought.replayed,
    }))
}

/// A plan's id, as sent.
pub(super) fn plan_id(text: &str) -> Result<PlanId, Problem> {
    text.parse().map_err(|error: NotAPlanId| Problem::invalid("invalid_plan_id", error.to_string()))
}

impl From<BuyRefusal> for Problem {
    fn from(refusal: BuyRefusal) -> Self {
        let (status, kind, code) = match refusal {
            BuyRefusal::UnknownPlan(_) => (StatusCode::NOT_FOUND, ErrorKind::NotFound, "unknown_plan"),
            BuyRefusal::NoTokens(_) => (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "no_token_package"),
            BuyRefusal::QuantityOutOfRange { .. } => {
                (StatusCode::BAD_REQUEST, ErrorKind::InvalidRequest, "quantity_out_of_range")
            }
            BuyRefusal::Purchase(refusal) => return refusal.into(),
        };
        Self::new(status, kind, code, refusal.to_string())
    }
}
