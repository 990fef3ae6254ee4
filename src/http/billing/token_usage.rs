//! `GET /api/v1/billing/token-usage`: every charge, newest first, and what each day adds up to.
//!
//! Days are the caller's.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::{Outcome, UsageSource};
use codexapi_projections::MAX_PAGE;
use codexapi_projections::generations::{self, Filter, Generation};
use codexapi_projections::usage::{self, Breakdown, UsageDay, UsageSums};
use http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::clock;
use crate::http::auth::CustomerCaller;
use crate::http::days::{start_of_day, zone};
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::QueryParams;

/// Transactions on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

/// Days shown where the caller names none.
const DEFAULT_DAYS: u64 = 30;

/// Years that can be asked for; Postgres's calendar ends sooner than ours.
const YEARS: std::ops::RangeInclusive<i32> = 2_000..=9_999;

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokenUsageQuery {
    /// Transactions on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
    /// The first day, as 2026-11-22; by default 30 days back for `daily`, the beginning for `transactions`.
    from: Option<NaiveDate>,
    /// The last day; today by default.
    to: Option<NaiveDate>,
    /// The zone days are counted in, as Europe/Berlin.
    timezone: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsage {
    transactions: Vec<Transaction>,
    /// Pass it as `cursor` for the next page; absent on the last.
    next_cursor: Option<String>,
    daily: Vec<Day>,
    timezone: String,
}

/// One generation and its charge. Amounts in micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    id: Uuid,
    created_at: DateTime<Utc>,
    model: String,
    /// The model the provider says answered.
    served_model: String,
    /// `codex_cli`, `claude_code`, `codexclaude`, `openai_sdk`, `anthropic_sdk` or `other`.
    client: &'static str,
    /// Input tokens that were billed.
    input_tokens: i64,
    /// Every input token sent, those billed before in the same conversation included.
    cumulative_input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
    /// Whether the figures are counted here because the provider reported none that could be believed.
    estimated: bool,
    /// `completed`, `client_left`, `drain_limit`, `upstream_failed` or `told_failed`.
    #[schema(value_type = String)]
    outcome: Outcome,
    charged_micro: i64,
    #[schema(example = "0.012345")]
    charged_usd: String,
    /// What of it was given back.
    reversed_micro: i64,
    balance_after_micro: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Day {
    day: NaiveDate,
    #[serde(flatten)]
    sums: Sums,
    clients: Vec<ClientShare>,
    models: Vec<ModelShare>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClientShare {
    client: String,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModelShare {
    model: String,
    #[serde(flatten)]
    sums: Sums,
}

/// Tokens and amounts (micro-USD) summed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Sums {
    requests: i64,
    input_tokens: i64,
    cumulative_input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
    charged_micro: i64,
    charged_usd: String,
    reversed_micro: i64,
}

/// The caller's charges and daily usage.
#[utoipa::path(
    get, path = "/api/v1/billing/token-usage", operation_id = "token_usage", tag = "billing", params(TokenUsageQuery),
    responses((status = 200, body = TokenUsage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<TokenUsage>, Problem> {
    let query = TokenUsageQuery::of(&uri)?;
    let zone = zone(query.timezone.as_deref(), &headers)?;
    if query.from.into_iter().chain(query.to).any(|day| !YEARS.contains(&day.year())) {
        let message = "`from` and `to` are days such as 2026-11-22, of the years 2000 to 9999.";
        return Err(Problem::invalid("invalid_range", message));
    }
    let account = caller.account_id.0;
    let cursor = query.cursor;
    let filter = Filter {
        from: query.from.map(|day| start_of_day(zone, day)),
        to: query.to.and_then(|day| day.checked_add_days(Days::new(1))).map(|day| start_of_day(zone, day)),
    };
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let page = generations::page(&app.pool, account, filter, cursor, limit).await?;
    let daily = if cursor.is_none() { daily(&app, account, zone, &query).await? } else { vec![] };
    Ok(Json(TokenUsage {
        transactions: page.rows.into_iter().map(transaction).collect(),
        next_cursor: page.next.map(|position| position.to_string()),
        daily,
        timezone: zone.name().into(),
    }))
}

impl TokenUsageQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["limit", "cursor", "from", "to", "timezone"])?;
        Ok(Self {
            limit: params.number("limit", 1..=MAX_PAGE)?,
            cursor: params.cursor("cursor", "nextCursor")?,
            from: params.day("from")?,
            to: params.day("to")?,
            timezone: params.text("timezone").map(str::to_owned),
        })
    }
}

/// Each day with usage, whole and by client and model. Sent with the first page only.
async fn daily(app: &App, account: Uuid, zone: Tz, query: &TokenUsageQuery) -> Result<Vec<Day>, Problem> {
    let now = DateTime::from_timestamp_micros(clock::now().0).unwrap_or_default();
    let to = query.to.unwrap_or_else(|| now.with_timezone(&zone).date_naive());
    let from = query.from.unwrap_or_else(|| to.checked_sub_days(Days::new(DEFAULT_DAYS - 1)).unwrap_or(to));
    if from > to {
        return Err(Problem::invalid("invalid_range", "`from` is after `to`."));
    }
    let by = |breakdown| usage::daily(&app.pool, account, zone, from, to, breakdown);
    let (totals, clients, models) =
        tokio::try_join!(by(Breakdown::Total), by(Breakdown::Family), by(Breakdown::Model))?;
    let (mut clients, mut models) = (by_day(clients), by_day(models));
    let day = |total: UsageDay| Day {
        day: total.day,
        sums: sums(&total.sums),
        clients: clients
            .remove(&total.day)
            .unwrap_or_default()
            .into_iter()
            .map(|share| ClientShare { client: share.part.unwrap_or_default(), sums: sums(&share.sums) })
            .collect(),
        models: models
            .remove(&total.day)
            .unwrap_or_default()
            .into_iter()
            .map(|share| ModelShare { model: share.part.unwrap_or_default(), sums: sums(&share.sums) })
            .collect(),
    };
    Ok(totals.into_iter().map(day).collect())
}

fn by_day(shares: Vec<UsageDay>) -> BTreeMap<NaiveDate, Vec<UsageDay>> {
    let mut days: BTreeMap<NaiveDate, Vec<UsageDay>> = BTreeMap::new();
    for share in shares {
        days.entry(share.day).or_default().push(share);
    }
    days
}

fn transaction(generation: Generation) -> Transaction {
    let input_tokens = generation.billed_input_tokens();
    Transaction {
        id: generation.generation_id,
        created_at: generation.settled_at,
        model: generation.model,
        served_model: generation.served_model,
        client: generation.family.name(),
        input_tokens,
        cumulative_input_tokens: generation.cumulative_input_tokens,
        cached_input_tokens: generation.cached_input_tokens,
        output_tokens: generation.output_tokens,
        estimated: generation.usage_source != UsageSource::Reported,
        outcome: generation.outcome,
        charged_micro: generation.charged_micro.0,
        charged_usd: generation.charged_micro.to_string(),
        reversed_micro: generation.reversed_micro.0,
        balance_after_micro: generation.balance_micro.map(|MicroUsd(micro)| micro),
    }
}

fn sums(sums: &UsageSums) -> Sums {
    Sums {
        requests: sums.requests,
        input_tokens: sums.billed_input_tokens(),
        cumulative_input_tokens: sums.cumulative_input_tokens,
        cached_input_tokens: sums.cached_input_tokens,
        output_tokens: sums.output_tokens,
        charged_micro: sums.charged_micro.0,
        charged_usd: sums.charged_micro.to_string(),
        reversed_micro: sums.reversed_micro.0,
    }
}
