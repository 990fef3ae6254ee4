//! `/model-provider`: where each family of models is bought.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use codexapi_aggregates::routing::{ModelFamily, POLICY_STREAM, RoutingPolicy};
use serde::Serialize;
use utoipa::ToSchema;

use super::Actor;
use super::body::AdminBody;
use super::policy_change::{Decisions, FamilyDecision, decide};
use super::policy_view::{ConfiguredProvider, FamilyProvider, configured, families};
use super::policy_warnings::warnings;
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// The provider that the documentation names for buying from outside.
const DEFAULT_EXTERNAL: &str = "oneprovider";

/// Where each family is bought.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelProviders {
    revision: u64,
    /// Every family there can be a rule for.
    families: Vec<&'static str>,
    /// A family without a rule is bought from the configured providers, in the order of the file.
    rules: Vec<FamilyProvider>,
    /// The provider to name where nothing speaks for another; it is only there if it is among `providers`.
    default_external: &'static str,
    providers: Vec<ConfiguredProvider>,
}

/// What a decision has come to.
#[derive(Serialize, ToSchema)]
pub struct ProviderDecided {
    /// Where its event stands in the log; none where nothing changed.
    positions: Vec<i64>,
    /// Whether the rule may serve nobody, and why.
    warnings: Vec<String>,
    state: ModelProviders,
}

/// Where each family of models is bought.
#[utoipa::path(
    get, path = "/admin/api/model-provider", operation_id = "read_model_providers", tag = "operator routing",
    responses((status = 200, body = ModelProviders), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(State(app): State<Arc<App>>, _: NoQuery) -> Result<Json<ModelProviders>, Problem> {
    providers(&app).await.map(Json)
}

/// Decides where one family is bought, everywhere or in one region; counts from the next request on.
#[utoipa::path(
    post, path = "/admin/api/model-provider", operation_id = "set_model_provider", tag = "operator routing",
    request_body = FamilyDecision,
    responses((status = 200, body = ProviderDecided), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 409, body = ErrorBody), (status = 413, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(decision): AdminBody<FamilyDecision>,
) -> Result<Json<ProviderDecided>, Problem> {
    let decisions = Decisions { family_providers: vec![decision], ..Decisions::default() };
    let positions = decide(&app, &actor, &decisions).await?;
    let warnings = warnings(&decisions, app.gateway.providers().catalog());
    Ok(Json(ProviderDecided { positions, warnings, state: providers(&app).await? }))
}

async fn providers(app: &App) -> Result<ModelProviders, Problem> {
    let look = |policy: &RoutingPolicy| (policy.revision(), families(policy));
    let (revision, rules) = app.log.read(POLICY_STREAM, look).await.map_err(Problem::unavailable)?;
    Ok(ModelProviders {
        revision,
        families: ModelFamily::ALL.map(ModelFamily::name).into(),
        rules,
        default_external: DEFAULT_EXTERNAL,
        providers: configured(app.gateway.providers().catalog()),
    })
}
