//! `GET /api/v1/plans`: what can be bought, and the prices that credit is spent at.
//!
//! What a plan's fair use is stays the operator's: customers are told the windows, never the limits.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog, Plan, PlanBuys, Sold, Visibility};
use codexapi_aggregates::wallet::entitlements::{FairUse, Scope};
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::billing::wallet_status;
use super::error::{ErrorBody, Problem};
use super::pricing::PricingPayload;
use super::query::QueryParams;
use crate::app::App;

const SECONDS_PER_HOUR: u32 = 3_600;

/// What can be bought, cheapest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plans {
    plans: Vec<PlanOffer>,
    pricing: PricingPayload,
}

/// One plan. It buys credit for the wallet, or use for a time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanOffer {
    id: String,
    name: String,
    /// Of one.
    price_micro: i64,
    #[schema(example = "120.000000")]
    price_usd: String,
    /// Credit that one gives.
    credit_micro: Option<i64>,
    credit_usd: Option<String>,
    /// Use that one gives.
    entitlement: Option<EntitlementOffer>,
    /// `public`, or `exit_intent`: shown to those about to leave.
    visibility: &'static str,
    /// `once`, or `monthly`: paid again every month until it is cancelled.
    sold: &'static str,
    /// How many may be bought at a time.
    max_quantity: u32,
}

/// Use of some models from some clients for a time; bought again, it goes on after what is left.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EntitlementOffer {
    /// How long one lasts.
    hours: u32,
    /// Covered clients: `codex_cli` and so on.
    clients: Vec<&'static str>,
    /// Covered models.
    models: Vec<String>,
    /// Hours of each window that fair use is counted in.
    fair_use_window_hours: Vec<u32>,
}

/// The plans on sale. `offer=exit_intent` shows those for customers about to leave, too.
#[utoipa::path(
    get, path = "/api/v1/plans", operation_id = "list_plans", tag = "billing",
    params(("offer" = Option<String>, Query, description = "`exit_intent`, for those about to leave")),
    responses((status = 200, body = Plans), (status = 400, body = ErrorBody)), security(())
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<Plans>, Problem> {
    let params = QueryParams::of(&uri, &["offer"])?;
    let leaving = match params.text("offer") {
        None => false,
        Some("exit_intent") => true,
        Some(_) => return Err(Problem::invalid("invalid_query", "`offer` is `exit_intent`, or not there.")),
    };
    let is_shown = |plan: &Plan| match plan.visibility {
        Visibility::Public => true,
        Visibility::ExitIntent => leaving,
        Visibility::Private => false,
    };
    let offers = |catalog: &Catalog| {
        catalog.plans().into_iter().filter(|plan| is_shown(plan)).map(PlanOffer::of).collect()
    };
    let plans = app.log.read(CATALOG_STREAM, offers).await.map_err(Problem::unavailable)?;
    let pricing = wallet_status::pricing(&app).await?;
    Ok(Json(Plans { plans, pricing }))
}

impl PlanOffer {
    fn of(plan: &Plan) -> Self {
        let credit = plan.credit(1);
        Self {
            id: plan.id.to_string(),
            name: plan.name.clone(),
            price_micro: plan.price_micro.0,
            price_usd: plan.price_micro.to_string(),
            credit_micro: credit.map(|credit| credit.0),
            credit_usd: credit.map(|credit| credit.to_string()),
            entitlement: match &plan.buys {
                PlanBuys::Credit { .. } => None,
                PlanBuys::Entitlement { scope, fair_use, block_secs } => {
                    Some(EntitlementOffer::of(scope, fair_use, *block_secs))
                }
            },
            visibility: match plan.visibility {
                Visibility::Public => "public",
                Visibility::Private => "private",
                Visibility::ExitIntent => "exit_intent",
            },
            sold: match plan.sold {
                Sold::Once => "once",
                Sold::Monthly => "monthly",
            },
            max_quantity: plan.max_quantity,
        }
    }
}

impl EntitlementOffer {
    fn of(scope: &Scope, fair_use: &FairUse, block_secs: u32) -> Self {
        Self {
            hours: block_secs / SECONDS_PER_HOUR,
            clients: scope.families.iter().map(|family| family.name()).collect(),
            models: scope.models.clone(),
            fair_use_window_hours: fair_use
                .windows
                .iter()
                .map(|window| window.length_secs / SECONDS_PER_HOUR)
                .collect(),
        }
    }
}
