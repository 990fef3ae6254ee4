//! `GET /api/v1/me`: the caller's account, wallet, prices and how to point clients here.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use codexapi_projections::accounts as rows;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::CustomerCaller;
use super::billing::wallet_status::{self, WalletStatus};
use super::error::{ErrorBody, Problem};
use super::pricing::PricingPayload;
use super::query::NoQuery;
use crate::accounts::persons;
use crate::app::App;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    account_id: Uuid,
    /// The key this request was made with; never its secret.
    key_id: Uuid,
    name: Option<String>,
    email: Option<String>,
    wallet: WalletStatus,
    /// As in the wallet's status.
    pricing: PricingPayload,
    cli: CliConfiguration,
}

/// Where clients are pointed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CliConfiguration {
    /// For `ANTHROPIC_BASE_URL`.
    base_url: String,
    /// For Codex's `base_url` and `OPENAI_BASE_URL`.
    openai_base_url: String,
    /// Codex's `wire_api`.
    wire_api: &'static str,
}

/// The caller's account.
#[utoipa::path(
    get, path = "/api/v1/me", tag = "account",
    responses((status = 200, body = Me), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn me(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    _: NoQuery,
) -> Result<Json<Me>, Problem> {
    let account_id = caller.account_id.0;
    let wallet = wallet_status::of(&app, caller.account_id).await?;
    let person = match rows::get(&app.pool, account_id).await? {
        Some(row) => {
            let mut persons =
                persons::by_ids(&app.pool, &[row.person_id]).await.map_err(Problem::unavailable)?;
            persons.remove(&row.person_id)
        }
        None => None,
    };
    let (name, email) = person.map_or((None, None), |person| (person.name, person.email));
    let base_url = app.public_url();
    let cli = CliConfiguration { openai_base_url: format!("{base_url}/v1"), base_url, wire_api: "responses" };
    let pricing = wallet.pricing().clone();
    Ok(Json(Me { account_id, key_id: caller.key_id.0, name, email, wallet, pricing, cli }))
}
