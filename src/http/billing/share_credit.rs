//! `/api/v1/share-credit`: what a customer gets once for sharing the site.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::bonus::Bonuses;
use codexapi_aggregates::money::MicroUsd;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::bonuses;
use crate::http::admin::body::OptionalBody;
use crate::http::auth::{CustomerCaller, Principal};
use crate::http::envelope::RequestId;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// The offer to the caller; it is gone once it was claimed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShareCreditOffer {
    /// Whether it can be claimed now.
    available: bool,
    amount_micro: i64,
    #[schema(example = "10.000000")]
    amount_usd: String,
    claimed_at: Option<DateTime<Utc>>,
    /// What is to be shared.
    share_url: String,
}

/// Nothing need be said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimShareCredit {}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShareCreditGranted {
    grant_id: Uuid,
    granted_micro: i64,
    #[schema(example = "10.000000")]
    granted_usd: String,
    balance_micro: i64,
    balance_usd: String,
}

/// The one-time share credit of the caller's wallet.
#[utoipa::path(
    get, path = "/api/v1/share-credit", operation_id = "share_credit", tag = "billing",
    responses((status = 200, body = ShareCreditOffer), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<ShareCreditOffer>, Problem> {
    let claimed = app.log.read(&caller.account_id.to_string(), Bonuses::share_credit_claimed_at).await;
    let claimed_at = claimed.map_err(Problem::unavailable)?;
    let amount = app.config.bonuses.share_credit_usd;
    Ok(Json(ShareCreditOffer {
        available: claimed_at.is_none() && amount.is_positive(),
        amount_micro: amount.0,
        amount_usd: amount.to_string(),
        claimed_at: claimed_at.and_then(|at| DateTime::from_timestamp_micros(at.0)),
        share_url: app.public_url(),
    }))
}

/// Claims the share credit, once ever.
#[utoipa::path(
    post, path = "/api/v1/share-credit/claim", operation_id = "claim_share_credit", tag = "billing",
    request_body = ClaimShareCredit,
    responses((status = 200, body = ShareCreditGranted), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn claim(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Extension(principal): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    _: NoQuery,
    OptionalBody(ClaimShareCredit {}): OptionalBody<ClaimShareCredit>,
) -> Result<Json<ShareCreditGranted>, Problem> {
    let amount: MicroUsd = app.config.bonuses.share_credit_usd;
    if !amount.is_positive() {
        let message = "There is no share credit at present.";
        return Err(Problem::new(StatusCode::CONFLICT, ErrorKind::InvalidRequest, "not_offered", message));
    }
    let (terms, metadata) = (app.config.wallet.terms(), principal.metadata(&request_id));
    let claimed = bonuses::claim_share_credit(&app.log, &terms, &metadata, caller.account_id, amount).await?;
    Ok(Json(ShareCreditGranted {
        grant_id: claimed.grant_id.0,
        granted_micro: amount.0,
        granted_usd: amount.to_string(),
        balance_micro: claimed.balance_micro.0,
        balance_usd: claimed.balance_micro.to_string(),
    }))
}
