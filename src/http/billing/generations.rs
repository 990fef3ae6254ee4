//! `GET /api/v1/generations` and `/{generation_id}`: what each of the caller's generations was and why it cost that.
//!
//! A generation is charged before its client hears that it is finished, but the read model may be a moment behind; a
//! client that asks at once is therefore waited for, as long as there is something the read model has not seen yet.
//! Which provider answered, and what that cost the operator, is not the customer's to know; which model answered is.
//! Under `display_only` disclosure that, too, and the lines of a charge, are the operator's to know.
//! Of a generation that a plan paid, tokens are shown and no amounts: they would tell the plan's private limits.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::money::{MicroUsd, PicoUsd};
use codexapi_aggregates::pricing::rating::{Line, LineKind};
use codexapi_aggregates::pricing::tariff::Mode;
use codexapi_aggregates::usage::{BillingPolicy, Outcome, Protocol, UsageSource};
use codexapi_aggregates::wallet::events::ReversalReason;
use codexapi_projections::MAX_PAGE;
use codexapi_projections::generations::{self, Filter, Generation};
use codexapi_protocols::errors::ErrorKind;
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::config::Disclosure;
use crate::http::auth::CustomerCaller;
use crate::http::catch_up::catch_up;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};

/// Generations on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GenerationsQuery {
    /// Generations on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    #[param(value_type = Option<String>)]
    before: Option<i64>,
}

/// Generations, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationList {
    generations: Vec<GenerationRecord>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<String>,
}

/// One generation: what was used and what it cost.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationRecord {
    id: Uuid,
    /// The id of the request, as its answer's headers named it.
    request_id: Option<String>,
    /// The key it was made with.
    key_id: Uuid,
    /// When it was charged.
    at: DateTime<Utc>,
    /// `settled`, or `reversed` where the whole charge was given back.
    status: &'static str,
    /// `completed`, `client_left`, `drain_limit`, `upstream_failed` or `told_failed`.
    #[schema(value_type = String)]
    outcome: Outcome,
    /// The model as the client named it.
    model: String,
    /// The model whose prices apply.
    billed_model: String,
    /// The model that answered, by its provider's own word; absent where that is not disclosed.
    #[serde(skip_serializing_if = "Option::is_none")]
    served_model: Option<String>,
    /// `codex_cli`, `claude_code`, `codexclaude`, `openai_sdk`, `anthropic_sdk` or `other`, as the client says of itself.
    client: &'static str,
    /// `responses`, `chat` or `messages`.
    #[schema(value_type = String)]
    protocol: Protocol,
    /// How often a provider was tried.
    attempts: usize,
    usage: GenerationUsage,
    charge: GenerationCharge,
    timings: GenerationTimings,
    reversal: Option<Reversal>,
}

/// Tokens; the four kinds of input are disjoint and together `totalInputTokens`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GenerationUsage {
    /// `reported` by the provider; `estimated` or, where its report cannot be true, `rejected`: counted here.
    #[schema(value_type = String)]
    source: UsageSource,
    /// Neither read from a cache nor written to one.
    input_tokens: i64,
    cached_input_tokens: i64,
    cache_write_5m_tokens: i64,
    cache_write_1h_tokens: i64,
    total_input_tokens: i64,
    /// What of the input this conversation had been billed for before; the rest was billed.
    already_billed_tokens: i64,
    billed_input_tokens: i64,
    /// Reasoning included.
    output_tokens: i64,
    reasoning_tokens: i64,
    web_search_calls: i64,
}

/// Amounts in micro-USD, and in dollars for people. cost = charged + covered + shortfall; the lines, rounded once, are
/// cost + insured + capped.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GenerationCharge {
    charged_micro: i64,
    #[schema(example = "0.012345")]
    charged_usd: String,
    /// Whether a plan paid; then `cost`, `covered`, `insured`, `capped` and `lines` are absent. `capped` and lines are
    /// also absent where rates are not disclosed.
    covered_by_plan: bool,
    /// The plan that paid.
    plan_id: Option<String>,
    cost_micro: Option<i64>,
    cost_usd: Option<String>,
    covered_micro: Option<i64>,
    covered_usd: Option<String>,
    /// What the balance could not pay; nobody asks for it later.
    shortfall_micro: i64,
    shortfall_usd: String,
    /// What was not charged because the provider failed; no part of the cost.
    insured_micro: Option<i64>,
    insured_usd: Option<String>,
    /// What the lines come to beyond the most that an estimate may cost; not charged, and no part of the cost.
    capped_micro: Option<i64>,
    capped_usd: Option<String>,
    balance_after_micro: Option<i64>,
    /// `full`: all input is billed; `delta`: input this conversation was not billed for before.
    #[schema(value_type = String)]
    policy: BillingPolicy,
    /// Which version of the price card applied.
    card_version: u32,
    /// `standard`, `surge` or `reduced`.
    #[schema(value_type = String)]
    mode: Mode,
    lines: Option<Vec<ChargeLine>>,
    /// What rounding the lines' sum left over, in pico-USD.
    remainder_pico: Option<String>,
}

/// `units` at a rate, exactly: a pico-USD is a millionth of a micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChargeLine {
    /// `input`, `cached_input`, `cache_write_5m`, `cache_write_1h`, `output`, `web_search` or `call`.
    #[schema(value_type = String)]
    kind: LineKind,
    /// Tokens, or calls.
    units: u64,
    /// Micro-USD per million tokens, or per call.
    rate_micro: i64,
    rate_usd: String,
    #[schema(value_type = String)]
    amount_pico: PicoUsd,
}

/// Milliseconds since the request arrived.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GenerationTimings {
    /// Until the amount was set aside.
    held_ms: u32,
    /// Until the provider's first byte.
    first_byte_ms: Option<u32>,
    total_ms: u32,
}

/// The charge was given back.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Reversal {
    at: DateTime<Utc>,
    /// `told_failed` or `bad_generation`.
    #[schema(value_type = Option<String>)]
    reason: Option<ReversalReason>,
    amount_micro: i64,
    amount_usd: String,
}

/// The caller's generations, newest first.
#[utoipa::path(
    get, path = "/api/v1/generations", operation_id = "list_generations", tag = "billing", params(GenerationsQuery),
    responses((status = 200, body = GenerationList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    uri: Uri,
) -> Result<Json<GenerationList>, Problem> {
    let GenerationsQuery { limit, before } = GenerationsQuery::of(&uri)?;
    let disclosure = app.config.catalog.disclosure;
    let (account, limit) = (caller.account_id.0, limit.unwrap_or(DEFAULT_LIMIT));
    let page = generations::page(&app.pool, account, Filter::default(), before, limit).await?;
    Ok(Json(GenerationList {
        generations: page.rows.into_iter().map(|row| record(row, disclosure)).collect(),
        next_before: page.next.map(|position| position.to_string()),
    }))
}

/// One generation of the caller's account.
#[utoipa::path(
    get, path = "/api/v1/generations/{generation_id}", operation_id = "read_generation", tag = "billing",
    params(("generation_id" = Uuid, Path)),
    responses(
        (status = 200, body = GenerationRecord), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "Unknown, not settled yet, or of another account")
    ),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<GenerationRecord>, Problem> {
    let Ok(id) = id.parse::<Uuid>() else { return Err(not_found()) };
    let (account, disclosure) = (caller.account_id.0, app.config.catalog.disclosure);
    if let Some(found) = generations::get(&app.pool, account, id).await? {
        return Ok(Json(record(found, disclosure)));
    }
    catch_up(&app, &generations::READ_MODEL).await?;
    let found = generations::get(&app.pool, account, id).await?;
    found.map(|found| Json(record(found, disclosure))).ok_or_else(not_found)
}

impl GenerationsQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["limit", "before"])?;
        let limit = params.number("limit", 1..=MAX_PAGE)?;
        Ok(Self { limit, before: params.cursor("before", "nextBefore")? })
    }
}

fn not_found() -> Problem {
    let message = "Your account has no such generation, or it is not finished yet.";
    Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "generation_not_found", message)
}

fn record(generation: Generation, disclosure: Disclosure) -> GenerationRecord {
    let reversal = generation.reversed_at.map(|at| Reversal {
        at,
        reason: generation.reversal_reason,
        amount_micro: generation.reversed_micro.0,
        amount_usd: generation.reversed_micro.to_string(),
    });
    GenerationRecord {
        id: generation.generation_id,
        key_id: generation.key_id,
        at: generation.settled_at,
        status: if reversal.is_some() { "reversed" } else { "settled" },
        outcome: generation.outcome,
        client: generation.family.name(),
        protocol: generation.protocol,
        attempts: generation.attempts.len(),
        usage: usage(&generation),
        charge: charge(&generation, disclosure),
        timings: GenerationTimings {
            held_ms: generation.held_ms,
            first_byte_ms: generation.first_byte_ms,
            total_ms: generation.total_ms,
        },
        reversal,
        request_id: generation.request_id,
        model: generation.model,
        billed_model: generation.billed_model,
        served_model: (disclosure == Disclosure::Full).then_some(generation.served_model),
    }
}

fn usage(generation: &Generation) -> GenerationUsage {
    GenerationUsage {
        source: generation.usage_source,
        input_tokens: generation.input_tokens,
        cached_input_tokens: generation.cached_input_tokens,
        cache_write_5m_tokens: generation.cache_write_5m_tokens,
        cache_write_1h_tokens: generation.cache_write_1h_tokens,
        total_input_tokens: generation.cumulative_input_tokens,
        already_billed_tokens: generation.already_billed_tokens,
        billed_input_tokens: generation.billed_input_tokens(),
        output_tokens: generation.output_tokens,
        reasoning_tokens: generation.reasoning_tokens,
        web_search_calls: generation.web_search_calls,
    }
}

fn charge(generation: &Generation, disclosure: Disclosure) -> GenerationCharge {
    let covered_by_plan = generation.plan_id.is_some();
    let shown = |amount: MicroUsd| (!covered_by_plan).then_some(amount);
    let itemised = !covered_by_plan && disclosure == Disclosure::Full;
    let (cost, covered) = (shown(generation.cost_micro), shown(generation.covered_micro));
    let insured = shown(generation.insured_micro);
    let capped = itemised.then(|| generation.capped_micro());
    GenerationCharge {
        charged_micro: generation.charged_micro.0,
        charged_usd: generation.charged_micro.to_string(),
        covered_by_plan,
        plan_id: generation.plan_id.as_ref().map(ToString::to_string),
        cost_micro: cost.map(|amount| amount.0),
        cost_usd: cost.map(|amount| amount.to_string()),
        covered_micro: covered.map(|amount| amount.0),
        covered_usd: covered.map(|amount| amount.to_string()),
        shortfall_micro: generation.shortfall_micro.0,
        shortfall_usd: generation.shortfall_micro.to_string(),
        insured_micro: insured.map(|amount| amount.0),
        insured_usd: insured.map(|amount| amount.to_string()),
        capped_micro: capped.map(|amount| amount.0),
        capped_usd: capped.map(|amount| amount.to_string()),
        balance_after_micro: generation.balance_micro.map(|amount| amount.0),
        policy: generation.policy,
        card_version: generation.card_version,
        mode: generation.mode,
        lines: itemised.then(|| generation.lines.iter().map(line).collect()),
        remainder_pico: itemised.then(|| generation.remainder_pico.to_string()),
    }
}

fn line(line: &Line) -> ChargeLine {
    ChargeLine {
        kind: line.kind,
        units: line.units,
        rate_micro: line.price,
        rate_usd: MicroUsd(line.price).to_string(),
        amount_pico: line.amount_pico,
    }
}
