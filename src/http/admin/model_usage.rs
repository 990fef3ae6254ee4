//! `/model-usage`: what each model was used for, brought in and cost over some days.
//!
//! From the read models, so what was settled in the last moments may still be missing. Tokens are customers'; amounts
//! are everybody's, with the operator's own generations (checks of providers among them) apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Datelike, Days, NaiveDate};
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::margin::{self, MarginSums};
use codexapi_projections::model_usage;
use codexapi_projections::usage::{MAX_DAYS, UsageSums};
use http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::clock;
use crate::http::days::zone;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::QueryParams;

/// Models on a page where the caller names no number, and at most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// Days shown where the caller names none.
const DEFAULT_DAYS: u64 = 30;

/// Years that can be asked for; Postgres's calendar ends sooner than ours.
const YEARS: std::ops::RangeInclusive<i32> = 2_000..=9_999;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct ModelUsageQuery {
    /// Models on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextAfter` of the page before.
    after: Option<String>,
    /// The first day, as 2026-11-22; by default 30 days back. At most 400 days are summed, the latest ones.
    from: Option<NaiveDate>,
    /// The last day; today by default.
    to: Option<NaiveDate>,
    /// The zone days are counted in, as Europe/Berlin.
    timezone: Option<String>,
}

/// Use and margin by billed model, in order of their names.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelUsagePage {
    from: NaiveDate,
    to: NaiveDate,
    timezone: String,
    models: Vec<UsageOfModel>,
    /// Pass it as `after` for the next page; absent on the last.
    next_after: Option<String>,
}

/// Amounts in micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UsageOfModel {
    model: String,
    /// Generations of customers and of the operator.
    generations: i64,
    customer_generations: i64,
    tokens: TokensOfModel,
    /// Charged to wallets at first; `reversedMicro` of it went back.
    charged_micro: i64,
    charged_usd: String,
    reversed_micro: i64,
    covered_by_plan_micro: i64,
    shortfall_micro: i64,
    insured_micro: i64,
    /// What providers charge for all generations.
    cost_micro: i64,
    cost_usd: String,
    /// The part of the cost that the operator's own generations caused, but for checks of providers.
    operator_cost_micro: i64,
    /// The part of the cost that checks of providers caused.
    checks_cost_micro: i64,
    /// Charged, less what went back and what providers cost.
    margin_micro: i64,
    margin_usd: String,
}

/// Customers' tokens. The first three are disjoint and together the whole input.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokensOfModel {
    input: i64,
    cached_input: i64,
    cache_write: i64,
    cumulative_input: i64,
    /// What of the input had been billed before in the same conversation.
    already_billed: i64,
    /// Reasoning included.
    output: i64,
    reasoning: i64,
}

/// What each model was used for, brought in and cost.
#[utoipa::path(
    get, path = "/admin/api/model-usage", operation_id = "model_usage", tag = "operator routing",
    params(ModelUsageQuery),
    responses((status = 200, body = ModelUsagePage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<ModelUsagePage>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "after", "from", "to", "timezone"])?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let zone = zone(params.text("timezone"), &headers)?;
    let today = DateTime::from_timestamp_micros(clock::now().0).unwrap_or_default();
    let today = today.with_timezone(&zone).date_naive();
    let (from, to) = range(params.day("from")?, params.day("to")?, today)?;
    let (used, margins) = tokio::try_join!(
        model_usage::by_model(&app.pool, zone, from, to),
        margin::by_model(&app.pool, zone, from, to)
    )?;
    let mut models: BTreeMap<String, (UsageSums, MarginSums)> = BTreeMap::new();
    for used in used {
        models.entry(used.billed_model).or_default().0 = used.sums;
    }
    for margin in margins {
        models.entry(margin.billed_model).or_default().1 = margin.sums;
    }
    let after = params.text("after");
    let mut left = models.into_iter().filter(|(model, _)| after.is_none_or(|after| model.as_str() > after));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page: Vec<_> =
        left.by_ref().take(limit).map(|(model, (used, sums))| of_model(model, &used, &sums)).collect();
    let next_after = left.next().and(page.last()).map(|last| last.model.clone());
    Ok(Json(ModelUsagePage { from, to, timezone: zone.name().into(), models: page, next_after }))
}

pub(super) fn range(
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    today: NaiveDate,
) -> Result<(NaiveDate, NaiveDate), Problem> {
    let to = to.unwrap_or(today);
    let from = from.unwrap_or_else(|| to.checked_sub_days(Days::new(DEFAULT_DAYS - 1)).unwrap_or(to));
    if [from, to].into_iter().any(|day| !YEARS.contains(&day.year())) {
        let message = "`from` and `to` are days such as 2026-11-22, of the years 2000 to 9999.";
        return Err(Problem::invalid("invalid_range", message));
    }
    if from > to {
        return Err(Problem::invalid("invalid_range", "`from` is after `to`."));
    }
    // What is answered is what is summed.
    let earliest = to.checked_sub_days(Days::new(MAX_DAYS - 1)).unwrap_or(from);
    Ok((from.max(earliest), to))
}

fn of_model(model: String, used: &UsageSums, sums: &MarginSums) -> UsageOfModel {
    let MicroUsd(margin_micro) = sums.margin_micro();
    UsageOfModel {
        model,
        generations: sums.requests,
        customer_generations: used.requests,
        tokens: TokensOfModel {
            input: used.input_tokens,
            cached_input: used.cached_input_tokens,
            cache_write: used.cache_write_tokens,
            cumulative_input: used.cumulative_input_tokens,
            already_billed: used.already_billed_tokens,
            output: used.output_tokens,
            reasoning: used.reasoning_tokens,
        },
        charged_micro: sums.charged_micro.0,
        charged_usd: sums.charged_micro.to_string(),
        reversed_micro: sums.reversed_micro.0,
        covered_by_plan_micro: sums.covered_micro.0,
        shortfall_micro: sums.shortfall_micro.0,
        insured_micro: sums.insured_micro.0,
        cost_micro: sums.provider_cost_micro.0,
        cost_usd: sums.provider_cost_micro.to_string(),
        operator_cost_micro: sums.operator_cost_micro.0,
        checks_cost_micro: sums.checks_cost_micro.0,
        margin_micro,
        margin_usd: sums.margin_micro().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    #[test]
    fn a_range_is_thirty_days_by_default_and_at_most_four_hundred() {
        let today = day("2026-11-23");
        assert_eq!(range(None, None, today).expect("good"), (day("2026-10-25"), today));
        assert_eq!(range(Some(day("2001-01-01")), None, today).expect("cut").0, day("2025-10-20"));
        assert!(range(Some(day("2026-11-24")), None, today).is_err());
        assert!(range(Some(day("1999-11-24")), None, today).is_err());
    }
}
