//! `/api/v1/toolbox`: what the caller wants done with requests while a surge is on.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use codexapi_aggregates::account::{Account, AccountCommand, ToolboxChoice};
use codexapi_aggregates::ids::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::admin::body::AdminBody;
use super::auth::{CustomerCaller, Principal};
use super::billing::wallet_status;
use super::envelope::RequestId;
use super::error::{ErrorBody, Problem};
use super::pricing::PricingPayload;
use super::query::NoQuery;
use crate::app::App;

/// The caller's choice, and the prices it is about.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toolbox {
    /// `stay`: served as asked for, at the surge's prices; `deepseek`: served and billed as the budget model; `pause`:
    /// new generations are turned away until the surge ends.
    choice: &'static str,
    choices: Vec<&'static str>,
    /// What `deepseek` means here.
    budget_model: String,
    pricing: PricingPayload,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetToolbox {
    /// `stay`, `deepseek` or `pause`.
    #[schema(value_type = String)]
    choice: ToolboxChoice,
}

/// What is done with the caller's requests during surges.
#[utoipa::path(
    get, path = "/api/v1/toolbox", operation_id = "read_toolbox", tag = "account",
    responses((status = 200, body = Toolbox), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<Toolbox>, Problem> {
    of(&app, caller.account_id).await.map(Json)
}

/// Decides what is done with the caller's requests during surges; counts from the next request on.
#[utoipa::path(
    post, path = "/api/v1/toolbox", operation_id = "set_toolbox", tag = "account", request_body = SetToolbox,
    responses((status = 200, body = Toolbox), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Extension(principal): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    _: NoQuery,
    AdminBody(SetToolbox { choice }): AdminBody<SetToolbox>,
) -> Result<Json<Toolbox>, Problem> {
    let stream = caller.account_id.to_string();
    app.log
        .execute(&stream, &principal.metadata(&request_id), |account: &Account, now| {
            account.decide(AccountCommand::SetToolbox { choice, now })
        })
        .await?;
    of(&app, caller.account_id).await.map(Json)
}

async fn of(app: &App, account_id: AccountId) -> Result<Toolbox, Problem> {
    let choice =
        app.log.read(&account_id.to_string(), Account::toolbox).await.map_err(Problem::unavailable)?;
    Ok(Toolbox {
        choice: choice.name(),
        choices: ToolboxChoice::ALL.map(ToolboxChoice::name).to_vec(),
        budget_model: app.config.catalog.budget_model.clone(),
        pricing: wallet_status::pricing(app).await?,
    })
}
