//! `/billing/unlimited-promo` and `/users/{user_id}/unlimited`: the promo's assumptions and limits, and hours that an
//! operator gives away.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog, CatalogRefusal};
use codexapi_aggregates::ids::PlanId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::billing::{FairUseSet, SetFairUse, SoldPlan, fair_use_of};
use super::body::AdminBody;
use super::ids;
use super::{Actor, moment};
use crate::accounts::{self, GrantHours};
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// The plans whose URLs these are.
pub(super) const UNLIMITED: &str = "unlimited";
const PROMO: &str = "unlimited-promo";

/// The promo as it is sold, with what its tokens count for and its limits.
#[utoipa::path(
    get, path = "/admin/api/billing/unlimited-promo", operation_id = "read_unlimited_promo", tag = "operator billing",
    responses((status = 200, body = SoldPlan), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read_promo(State(app): State<Arc<App>>, _: NoQuery) -> Result<Json<SoldPlan>, Problem> {
    let promo: PlanId = PROMO.parse().expect("the name of a plan");
    let sold = |catalog: &Catalog| catalog.plan_ever(&promo).map(SoldPlan::of);
    let promo_sold = app.log.read(CATALOG_STREAM, sold).await.map_err(Problem::unavailable)?;
    Ok(Json(promo_sold.ok_or(CatalogRefusal::UnknownPlan { plan_id: promo })?))
}

/// Sets what the promo's tokens count for, and its limits.
#[utoipa::path(
    post, path = "/admin/api/billing/unlimited-promo", operation_id = "set_unlimited_promo", tag = "operator billing",
    request_body = SetFairUse,
    responses((status = 200, body = FairUseSet), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set_promo(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(set): AdminBody<SetFairUse>,
) -> Result<Json<FairUseSet>, Problem> {
    fair_use_of(&app, &actor, set, PROMO).await.map(Json)
}

/// Hours to be granted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantUnlimited {
    /// 1 to 8784.
    hours: u32,
    /// `unlimited` by default.
    #[schema(value_type = Option<String>)]
    plan_id: Option<PlanId>,
    /// The same key with the same hours grants once, however often it is sent.
    idempotency_key: String,
}

/// Hours, as they were first granted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnlimitedGranted {
    entitlement_id: Uuid,
    plan_id: String,
    /// Now, or when what the customer has of the plan ends.
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    /// The key had been used before; nothing was granted this time.
    replayed: bool,
    /// Where the event stands in the log.
    positions: Vec<i64>,
}

/// Grants a customer hours of a plan, after what they have of it.
#[utoipa::path(
    post, path = "/admin/api/users/{user_id}/unlimited", operation_id = "grant_unlimited", tag = "operator accounts",
    params(("user_id" = String, Path, description = "The account's id")), request_body = GrantUnlimited,
    responses((status = 200, body = UnlimitedGranted), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn grant(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(body): AdminBody<GrantUnlimited>,
) -> Result<Json<UnlimitedGranted>, Problem> {
    let account_id = ids::account_id(&user_id)?;
    let GrantUnlimited { hours, plan_id, idempotency_key } = body;
    let idempotency_key = ids::idempotency_key(&idempotency_key)?;
    let plan_id = plan_id.unwrap_or_else(|| UNLIMITED.parse().expect("the name of a plan"));
    let grant = GrantHours { account_id, plan_id, hours, idempotency_key };
    let granted = accounts::grant_hours(&app.log, &app.config.wallet.terms(), &actor.metadata, grant).await?;
    Ok(Json(UnlimitedGranted {
        entitlement_id: granted.entitlement_id.0,
        plan_id: granted.plan_id.to_string(),
        starts_at: moment(granted.starts_at),
        ends_at: moment(granted.ends_at),
        replayed: granted.replayed,
        positions: vec![granted.position],
    }))
}
