//! `/manage-models`: who serves which model, read, decided, and confirmed to count here.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use codexapi_aggregates::routing::{POLICY_STREAM, RoutingPolicy};
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Actor;
use super::body::{AdminBody, OptionalBody};
use super::policy_change::{Decisions, decide};
use super::policy_view::{PolicyView, Shown, view};
use super::policy_warnings::warnings;
use crate::app::App;
use crate::event_log::read;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};

/// Models on a page where the caller names no number, and at most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ManageModelsQuery {
    /// Models on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    #[expect(dead_code, reason = "describes the query")]
    limit: Option<u32>,
    /// `nextAfter` of the page before.
    #[expect(dead_code, reason = "describes the query")]
    after: Option<String>,
}

/// What decisions have come to.
#[derive(Serialize, ToSchema)]
pub struct Decided {
    /// Where the events of these decisions stand in the log; none where nothing changed.
    positions: Vec<i64>,
    /// Rules that were made and may serve nobody, as a target whose provider does not list the model.
    warnings: Vec<String>,
    /// The policy now, with the models that were named.
    state: PolicyView,
}

/// How far this node's view of the policy is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    node: String,
    region: Option<String>,
    /// The policy's revision in force on this node.
    revision: u64,
    /// Its revision in the event log when this was asked.
    log_revision: u64,
    /// Whether the next request on this node is routed by everything the log holds.
    in_force: bool,
}

/// This URL takes an empty body or `{}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Who serves which model: every decision, and what comes of it for each client and region.
#[utoipa::path(
    get, path = "/admin/api/manage-models", operation_id = "read_routing", tag = "operator routing",
    params(ManageModelsQuery),
    responses((status = 200, body = PolicyView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read_policy(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<PolicyView>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "after"])?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = params.text("after").map(str::to_owned);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    view(&app, &Shown::Page { after, limit }).await.map(Json)
}

/// Decides about routing, all of the body or nothing of it; counts from the next request on, in open sessions too.
#[utoipa::path(
    post, path = "/admin/api/manage-models", operation_id = "set_routing", tag = "operator routing",
    request_body = Decisions,
    responses((status = 200, body = Decided), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 409, body = ErrorBody), (status = 413, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(decisions): AdminBody<Decisions>,
) -> Result<Json<Decided>, Problem> {
    let positions = decide(&app, &actor, &decisions).await?;
    let named = decisions.models.iter().map(|decision| &decision.model);
    let named = named.chain(decisions.targets.iter().map(|decision| &decision.model));
    let named: BTreeSet<String> = named.cloned().collect();
    let warnings = warnings(&decisions, app.gateway.providers().catalog());
    Ok(Json(Decided { positions, warnings, state: view(&app, &Shown::These(named)).await? }))
}

/// Confirms that what was decided counts on the node that answers.
///
/// There is nothing to apply: every request reads the policy from the log. This compares what this node has read with
/// what the log holds.
#[utoipa::path(
    post, path = "/admin/api/manage-models/apply-local", operation_id = "apply_routing_locally",
    tag = "operator routing", request_body = Option<Nothing>,
    responses((status = 200, body = Applied), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn apply_local(
    State(app): State<Arc<App>>,
    _: NoQuery,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<Applied>, Problem> {
    let stored = read::last_sequences(&app.pool, &["routing"], &[POLICY_STREAM]).await;
    let stored = stored.map_err(|error| Problem::unavailable(error.into()))?;
    let log_revision = stored.first().map_or(0, |sequence| sequence.unsigned_abs());
    let revision =
        app.log.read(POLICY_STREAM, RoutingPolicy::revision).await.map_err(Problem::unavailable)?;
    Ok(Json(Applied {
        node: app.config.node.node_name.clone(),
        region: app.gateway.region().map(ToString::to_string),
        revision,
        log_revision,
        in_force: revision >= log_revision,
    }))
}
