//! `/api/v1/plan-settings`: when a customer's wallet pays beside their plan.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use codexapi_aggregates::wallet::entitlements::WalletFallback;
use codexapi_aggregates::wallet::{Wallet, WalletAction, WalletCommand, WalletRefusal};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::admin::body::AdminBody;
use crate::http::auth::{CustomerCaller, Principal};
use crate::http::envelope::RequestId;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// When the wallet pays although there is a plan.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSettings {
    /// For what no plan covers, as long as the wallet holds paid credit.
    wallet_outside_scope: bool,
    /// For what a plan covers, once its fair use is reached.
    wallet_past_fair_use: bool,
}

/// Switches; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetPlanSettings {
    wallet_outside_scope: Option<bool>,
    wallet_past_fair_use: Option<bool>,
}

impl From<WalletFallback> for PlanSettings {
    fn from(fallback: WalletFallback) -> Self {
        Self { wallet_outside_scope: fallback.outside_scope, wallet_past_fair_use: fallback.past_fair_use }
    }
}

/// When the caller's wallet pays beside a plan.
#[utoipa::path(
    get, path = "/api/v1/plan-settings", operation_id = "read_plan_settings", tag = "billing",
    responses((status = 200, body = PlanSettings), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<PlanSettings>, Problem> {
    let fallback = app.log.read(&caller.account_id.to_string(), Wallet::wallet_fallback).await;
    Ok(Json(fallback.map_err(Problem::unavailable)?.into()))
}

/// Sets when the caller's wallet pays beside a plan; counts from the next request on.
#[utoipa::path(
    post, path = "/api/v1/plan-settings", operation_id = "set_plan_settings", tag = "billing",
    request_body = SetPlanSettings,
    responses((status = 200, body = PlanSettings), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Extension(principal): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    _: NoQuery,
    AdminBody(set): AdminBody<SetPlanSettings>,
) -> Result<Json<PlanSettings>, Problem> {
    let SetPlanSettings { wallet_outside_scope, wallet_past_fair_use } = set;
    let (stream, terms) = (caller.account_id.to_string(), app.config.wallet.terms());
    app.log
        .execute::<Wallet, WalletRefusal>(&stream, &principal.metadata(&request_id), |wallet, now| {
            let action = WalletAction::SetWalletFallback {
                outside_scope: wallet_outside_scope,
                past_fair_use: wallet_past_fair_use,
            };
            wallet.decide(WalletCommand { action, terms: terms.clone(), now })
        })
        .await
        .map_err(|error| Problem::failed(anyhow::Error::new(error)))?;
    let fallback = app.log.read(&stream, Wallet::wallet_fallback).await;
    Ok(Json(fallback.map_err(Problem::unavailable)?.into()))
}
