//! `/model-health/test` and `/claude-provider-health/check-now`: a real tiny generation at each target, told as they
//! end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Actor;
use super::body::{AdminBody, OptionalBody};
use crate::app::App;
use crate::health::{CheckClass, CheckTarget, Checked, NotBegun, Which};
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// How long an answer waits for checks; those that take longer are told as `running` and go into the history.
const WAIT: Duration = Duration::from_secs(140);

/// What to test; without anything, every target of every model that is not switched off.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WhatToTest {
    /// By its own name, its label or an alias; one that is switched off is tested, too.
    model: Option<String>,
    provider: Option<String>,
}

/// What a round of checks has found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestResults {
    /// The node that checked; circuits are each node's own.
    node: String,
    ok: usize,
    not_ok: usize,
    /// Still under way when this was answered.
    running: usize,
    /// What the provider charges for all of them so far, in micro-USD.
    cost_micro: i64,
    results: Vec<TestResult>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TestResult {
    provider: String,
    upstream_model: String,
    model: String,
    ok: bool,
    /// `ok`, `slow`, `not_reached`, `refused`, `overloaded`, `failed`, `bad_request`, `timed_out`, `not_sent` or
    /// `running`.
    class: &'static str,
    /// Until the whole answer was there, or the failure.
    latency_ms: Option<u32>,
    error: Option<String>,
    /// Where one was settled, at the operator's cost.
    generation_id: Option<Uuid>,
    cost_micro: Option<i64>,
}

/// Sends a real tiny generation to every target, or to those of one model or provider, and tells how each went.
#[utoipa::path(
    post, path = "/admin/api/model-health/test", operation_id = "test_models", tag = "operator health",
    request_body = Option<WhatToTest>,
    responses((status = 200, body = TestResults), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn test(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(what): AdminBody<WhatToTest>,
) -> Result<Json<TestResults>, Problem> {
    check(&app, &actor, what).await.map(Json)
}

/// Checks every target now, as the monitor does, whether it is on or off.
#[utoipa::path(
    post, path = "/admin/api/claude-provider-health/check-now", operation_id = "check_providers_now",
    tag = "operator health", request_body = Option<WhatToTest>,
    responses((status = 200, body = TestResults), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn check_now(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    OptionalBody(what): OptionalBody<WhatToTest>,
) -> Result<Json<TestResults>, Problem> {
    check(&app, &actor, what).await.map(Json)
}

async fn check(app: &App, actor: &Actor, what: WhatToTest) -> Result<TestResults, Problem> {
    let deadline = Instant::now() + WAIT;
    let which = Which { model: what.model, provider: what.provider };
    let mut round = app.checks.begin(&which, &actor.request_id).await?;
    let by = &actor.metadata.actor;
    tracing::info!(by, targets = round.targets.len(), "an operator has providers checked");
    let mut found = Vec::new();
    while let Ok(Some(checked)) = tokio::time::timeout_at(deadline, round.next()).await {
        found.push(checked);
    }
    Ok(results(app.checks.node(), round.targets, found))
}

fn results(node: &str, targets: Vec<CheckTarget>, found: Vec<Checked>) -> TestResults {
    let name = |target: &CheckTarget| (target.provider.clone(), target.upstream_model.clone());
    let ended: BTreeSet<_> = found.iter().map(|checked| name(&checked.target)).collect();
    let ok = found.iter().filter(|checked| checked.class == CheckClass::Ok).count();
    let running: Vec<TestResult> =
        targets.into_iter().filter(|target| !ended.contains(&name(target))).map(still_running).collect();
    let mut totals = TestResults {
        node: node.to_owned(),
        ok,
        not_ok: found.len() - ok,
        running: running.len(),
        cost_micro: found.iter().filter_map(|checked| checked.cost_micro).map(|cost| cost.0).sum(),
        results: found.into_iter().map(result).chain(running).collect(),
    };
    totals.results.sort_by(|a, b| (&a.provider, &a.upstream_model).cmp(&(&b.provider, &b.upstream_model)));
    totals
}

fn result(checked: Checked) -> TestResult {
    TestResult {
        provider: checked.target.provider,
        upstream_model: checked.target.upstream_model,
        model: checked.target.model,
        ok: checked.class == CheckClass::Ok,
        class: checked.class.name(),
        latency_ms: Some(checked.latency_ms),
        error: checked.message,
        generation_id: checked.generation_id,
        cost_micro: checked.cost_micro.map(|cost| cost.0),
    }
}

fn still_running(target: CheckTarget) -> TestResult {
    TestResult {
        provider: target.provider,
        upstream_model: target.upstream_model,
        model: target.model,
        ok: false,
        class: "running",
        latency_ms: None,
        error: None,
        generation_id: None,
        cost_micro: None,
    }
}

impl From<NotBegun> for Problem {
    fn from(error: NotBegun) -> Self {
        let message = error.to_string();
        match error {
            NotBegun::Running => {
                Self::new(StatusCode::CONFLICT, ErrorKind::InvalidRequest, "checks_running", message)
            }
            NotBegun::NoTarget => Self::invalid("nothing_to_check", message),
            NotBegun::Unavailable(cause) => Self::unavailable(cause),
        }
    }
}
