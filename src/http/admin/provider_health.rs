//! `/claude-provider-health`: how providers are watched, and what was found. The name is older than what it does: all
//! providers are watched, not only those of Claude.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use codexapi_aggregates::routing::{
    HealthSettings, POLICY_STREAM, PolicyRefusal, RoutingAction, RoutingCommand, RoutingPolicy,
};
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::body::{AdminBody, OptionalBody, given};
use super::{Actor, moment, positions};
use crate::app::App;
use crate::clock;
use crate::health::history::{self, PastCheck, Rates};
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};
use crate::named_moment::NamedMoment;
use crate::upstream::circuits::{CircuitReport, Standing};

/// Checks on a page where the caller names no number, and at most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// Targets whose rates are shown.
const MOST_RATES: u32 = 1_000;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct HealthQuery {
    /// Checks on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Checks of this provider alone.
    provider: Option<String>,
}

/// How providers are watched, how they are, and what was found lately.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderHealth {
    /// The node that answers.
    node: String,
    settings: Settings,
    /// Whether checks are going on now: enabled, and not asleep.
    awake: bool,
    targets: Vec<TargetHealth>,
    /// Newest first.
    history: Vec<HistoryEntry>,
    /// Pass it as `cursor` for the next page of the history; absent on the last.
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Settings {
    enabled: bool,
    interval_secs: u32,
    prompt: String,
    /// Failures in a row, of checks and of customers' requests, after which a node avoids a target.
    failures_to_open: u32,
    /// An answer slower than this is told as `slow`.
    latency_threshold_ms: u32,
    asleep_until: Option<DateTime<Utc>>,
}

/// One target: this node's circuit, and what all nodes' checks have found.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TargetHealth {
    provider: String,
    upstream_model: String,
    /// Absent where this node has not sent it anything since it started.
    circuit: Option<CircuitHealth>,
    last_hour: Option<CheckRates>,
    last_day: Option<CheckRates>,
}

/// What this node's requests have met with in the last 15 minutes, checks and customers' alike.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CircuitHealth {
    /// `closed` (requests pass), `probing` (one is finding out) or `open` (avoided).
    standing: &'static str,
    /// How long it stays open yet.
    open_for_ms: Option<u64>,
    failures_in_a_row: u32,
    succeeded: u64,
    failed: u64,
    /// Mean time to the first byte.
    first_byte_ms: Option<u64>,
}

/// Of checks alone; those that the gateway did not send do not count.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckRates {
    checks: i64,
    ok: i64,
    /// Answered later than the threshold.
    slow: i64,
    failed: i64,
    /// Hundredths of a percent that were not `ok`.
    not_ok_basis_points: i64,
    /// Mean, of whole answers.
    latency_ms: Option<i64>,
    cost_micro: i64,
    last_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryEntry {
    at: DateTime<Utc>,
    node: String,
    provider: String,
    upstream_model: String,
    model: String,
    ok: bool,
    class: String,
    latency_ms: i32,
    error: Option<String>,
    generation_id: Option<Uuid>,
    cost_micro: Option<i64>,
}

/// What is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SetHealth {
    enabled: Option<bool>,
    /// 10 to 86400.
    interval_secs: Option<u32>,
    /// 1 to 500 characters.
    prompt: Option<String>,
    /// 1 to 100.
    failures_to_open: Option<u32>,
    /// 1 to 600000.
    latency_threshold_ms: Option<u32>,
    /// Null wakes it.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    asleep_until: Option<Option<NamedMoment>>,
}

/// Whom to wake; without a provider, all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Wake {
    /// Only this provider's circuits are closed.
    provider: Option<String>,
}

/// What a change has come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthChanged {
    /// Where its events stand in the log; none where nothing changed.
    positions: Vec<i64>,
    node: String,
    settings: Settings,
    awake: bool,
}

/// How providers are watched, how each target is, and what checks have found.
#[utoipa::path(
    get, path = "/admin/api/claude-provider-health", operation_id = "read_provider_health", tag = "operator health",
    params(HealthQuery),
    responses((status = 200, body = ProviderHealth), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<ProviderHealth>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "cursor", "provider"])?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let before = params.cursor("cursor", "nextCursor")?;
    let provider = params.text("provider");
    let settings = app.checks.settings().await.map_err(Problem::unavailable)?;
    let (hour, day, mut past) = tokio::try_join!(
        history::rates(&app.pool, 1, MOST_RATES),
        history::rates(&app.pool, 24, MOST_RATES),
        history::page(&app.pool, provider, before, limit),
    )
    .map_err(|error| Problem::unavailable(anyhow::Error::new(error).context("reading checks")))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = past.len() > limit;
    past.truncate(limit);
    let next_cursor = past.last().filter(|_| more).map(|check| check.position.to_string());
    let mut targets = targets(app.gateway.circuits().report(), hour, day);
    targets.retain(|target| provider.is_none_or(|name| target.provider == name));
    Ok(Json(ProviderHealth {
        node: app.checks.node().to_owned(),
        awake: settings.is_awake(clock::now()),
        settings: settings.into(),
        targets,
        history: past.into_iter().map(HistoryEntry::from).collect(),
        next_cursor,
    }))
}

/// Decides how providers are watched, on all nodes.
#[utoipa::path(
    post, path = "/admin/api/claude-provider-health", operation_id = "set_provider_health", tag = "operator health",
    request_body = SetHealth,
    responses((status = 200, body = HealthChanged), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 413, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(set): AdminBody<SetHealth>,
) -> Result<Json<HealthChanged>, Problem> {
    change(&app, &actor, |before| RoutingAction::SetHealthSettings { settings: set.over(before) }).await
}

/// Ends the monitor's sleep on all nodes, and closes circuits on the node that answers.
///
/// Other nodes' circuits are theirs: each is probed again within five minutes at most.
#[utoipa::path(
    post, path = "/admin/api/claude-provider-health/wake", operation_id = "wake_providers", tag = "operator health",
    request_body = Option<Wake>,
    responses((status = 200, body = HealthChanged), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn wake(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    OptionalBody(Wake { provider }): OptionalBody<Wake>,
) -> Result<Json<HealthChanged>, Problem> {
    let mut known = app.gateway.providers().catalog().providers.iter();
    if let Some(name) = provider.as_ref().filter(|name| !known.any(|known| known.name == **name)) {
        let shown: String = name.chars().take(100).collect();
        let message = format!("No provider is called {shown:?} in this node's configuration.");
        return Err(Problem::invalid("unknown_provider", message));
    }
    let changed = change(&app, &actor, |_| RoutingAction::WakeHealthMonitor).await?;
    app.gateway.circuits().wake(provider.as_deref());
    // What a circuit is is no event: it is one node's own and gone with it.
    tracing::info!(by = actor.metadata.actor, provider, "an operator has closed circuits");
    Ok(changed)
}

async fn change(
    app: &App,
    actor: &Actor,
    action: impl Fn(&HealthSettings) -> RoutingAction,
) -> Result<Json<HealthChanged>, Problem> {
    let decided = app
        .log
        .execute(POLICY_STREAM, &actor.metadata, |policy: &RoutingPolicy, now| {
            let action = action(policy.health());
            policy.decide(RoutingCommand { action, now }) as Result<_, PolicyRefusal>
        })
        .await?;
    let settings = app.checks.settings().await.map_err(Problem::unavailable)?;
    Ok(Json(HealthChanged {
        positions: positions(decided.position, decided.events.len()),
        node: app.checks.node().to_owned(),
        awake: settings.is_awake(clock::now()),
        settings: settings.into(),
    }))
}

fn targets(circuits: Vec<CircuitReport>, hour: Vec<Rates>, day: Vec<Rates>) -> Vec<TargetHealth> {
    let mut targets: BTreeMap<(String, String), TargetHealth> = BTreeMap::new();
    for report in circuits {
        let key = (report.key.provider.clone(), report.key.upstream_model.clone());
        targets.entry(key).or_default().circuit = Some(report.into());
    }
    for rates in day {
        let key = (rates.provider.clone(), rates.upstream_model.clone());
        targets.entry(key).or_default().last_day = Some(rates.into());
    }
    for rates in hour {
        let key = (rates.provider.clone(), rates.upstream_model.clone());
        targets.entry(key).or_default().last_hour = Some(rates.into());
    }
    let named = targets.into_iter().map(|((provider, upstream_model), target)| TargetHealth {
        provider,
        upstream_model,
        ..target
    });
    named.collect()
}

impl SetHealth {
    fn over(&self, before: &HealthSettings) -> HealthSettings {
        HealthSettings {
            enabled: self.enabled.unwrap_or(before.enabled),
            interval_secs: self.interval_secs.unwrap_or(before.interval_secs),
            prompt: self.prompt.clone().unwrap_or_else(|| before.prompt.clone()),
            failures_to_open: self.failures_to_open.unwrap_or(before.failures_to_open),
            latency_threshold_ms: self.latency_threshold_ms.unwrap_or(before.latency_threshold_ms),
            asleep_until: match self.asleep_until {
                Some(until) => until.map(|named| named.0),
                None => before.asleep_until,
            },
        }
    }
}

impl From<HealthSettings> for Settings {
    fn from(settings: HealthSettings) -> Self {
        Self {
            enabled: settings.enabled,
            interval_secs: settings.interval_secs,
            prompt: settings.prompt,
            failures_to_open: settings.failures_to_open,
            latency_threshold_ms: settings.latency_threshold_ms,
            asleep_until: settings.asleep_until.map(moment),
        }
    }
}

impl From<CircuitReport> for CircuitHealth {
    fn from(report: CircuitReport) -> Self {
        let (standing, left) = match report.standing {
            Standing::Closed => ("closed", None),
            Standing::Probing => ("probing", None),
            Standing::Open { left } => ("open", Some(left)),
        };
        Self {
            standing,
            open_for_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            failures_in_a_row: report.failures_in_a_row,
            succeeded: report.succeeded,
            failed: report.failed,
            first_byte_ms: report.first_byte_ms,
        }
    }
}

impl From<Rates> for CheckRates {
    fn from(rates: Rates) -> Self {
        let Rates { checks, ok, answered, .. } = rates;
        Self {
            checks,
            ok,
            slow: answered - ok,
            failed: checks - answered,
            not_ok_basis_points: ((checks - ok) * 10_000).checked_div(checks).unwrap_or_default(),
            latency_ms: rates.latency_ms,
            cost_micro: rates.cost_micro,
            last_at: rates.last_at,
        }
    }
}

impl From<PastCheck> for HistoryEntry {
    fn from(check: PastCheck) -> Self {
        Self {
            at: check.checked_at,
            node: check.node,
            provider: check.provider,
            upstream_model: check.upstream_model,
            model: check.model,
            ok: check.class == "ok",
            class: check.class,
            latency_ms: check.latency_ms,
            error: check.message,
            generation_id: check.generation_id,
            cost_micro: check.cost_micro,
        }
    }
}
