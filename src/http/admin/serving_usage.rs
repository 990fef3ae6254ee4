//! `/serving-usage`: what serving each family of models is reckoned to cost, what it brought in, and who uses it.
//!
//! Two costs stand side by side: the serving cost, which the operator sets per family and which every token is
//! reckoned at, and what providers' own prices came to. From the read models, so what was settled in the last moments
//! may still be missing. Usage is customers'; what plans paid for is served, too, and so stands in the costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use codexapi_aggregates::money::{MicroUsd, PicoUsd};
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook, ServingCost};
use codexapi_aggregates::routing::ModelFamily;
use codexapi_projections::ReadError;
use codexapi_projections::customer_usage::{self, CustomerUsage};
use codexapi_projections::generations::{self, Generation};
use codexapi_projections::margin::{self, MarginDay};
use codexapi_projections::model_usage::{self, ModelUsageDay};
use codexapi_projections::usage::UsageSums;
use http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::model_usage::range;
use crate::app::App;
use crate::clock;
use crate::http::days::zone;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::QueryParams;

/// Customers and requests shown per family where the caller names no number, and at most.
const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 100;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct ServingUsageQuery {
    /// `gpt`, `claude` or `deepseek`; all of them where left out.
    family: Option<String>,
    /// The first day, as 2026-11-22; by default 30 days back. At most 400 days are summed, the latest ones.
    from: Option<NaiveDate>,
    /// The last day; today by default.
    to: Option<NaiveDate>,
    /// The zone days are counted in, as Europe/Berlin.
    timezone: Option<String>,
    /// Customers and requests shown per family, 1 to 100; 10 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServingUsage {
    from: NaiveDate,
    to: NaiveDate,
    timezone: String,
    families: Vec<FamilyUsage>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FamilyUsage {
    family: &'static str,
    /// The billed models that were used.
    models: Vec<String>,
    /// What serving is reckoned at, micro-USD per million tokens.
    serving_input_micro: i64,
    serving_output_micro: i64,
    total: Served,
    days: Vec<DayServed>,
    /// Who was charged most.
    top_customers: Vec<CustomerServed>,
    /// The latest, newest first.
    recent: Vec<RecentRequest>,
}

/// Amounts in micro-USD, and in dollars for people.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Served {
    requests: i64,
    /// Every input token sent, cached ones included.
    input_tokens: i64,
    output_tokens: i64,
    /// Charged to wallets, less what went back.
    charged_micro: i64,
    charged_usd: String,
    /// What plans paid, at their own rates.
    covered_by_plan_micro: i64,
    serving_cost_micro: i64,
    serving_cost_usd: String,
    /// Charged less the serving cost.
    gross_margin_micro: i64,
    gross_margin_usd: String,
    /// What providers charge for customers' generations; absent where usage is divided by customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_cost_micro: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct DayServed {
    day: NaiveDate,
    #[serde(flatten)]
    served: Served,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CustomerServed {
    account_id: Uuid,
    #[serde(flatten)]
    served: Served,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecentRequest {
    generation_id: Uuid,
    /// Absent where the operator paid.
    account_id: Option<Uuid>,
    at: DateTime<Utc>,
    model: String,
    served_model: String,
    provider: String,
    client: &'static str,
    input_tokens: i64,
    output_tokens: i64,
    charged_micro: i64,
    serving_cost_micro: i64,
    provider_cost_micro: i64,
}

/// Cost, charges and margin of serving, per family of models.
#[utoipa::path(
    get, path = "/admin/api/serving-usage", operation_id = "serving_usage", tag = "operator prices",
    params(ServingUsageQuery),
    responses((status = 200, body = ServingUsage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<ServingUsage>, Problem> {
    let params = QueryParams::of(&uri, &["family", "from", "to", "timezone", "limit"])?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let families = asked_families(params.text("family"))?;
    let zone = zone(params.text("timezone"), &headers)?;
    let today = super::moment(clock::now()).with_timezone(&zone).date_naive();
    let (from, to) = range(params.day("from")?, params.day("to")?, today)?;
    let costs = app.log.read(BOOK_STREAM, |book: &PriceBook| {
        families.iter().map(|family| (*family, book.serving_cost(*family))).collect::<BTreeMap<_, _>>()
    });
    let costs = costs.await.map_err(Problem::unavailable)?;
    Ok(Json(gather(&app.pool, costs, zone, from, to, limit).await?))
}

/// Usage of the families that a serving cost is given of, by day in `zone`, both days included.
///
/// # Errors
/// The read models cannot be read.
pub async fn gather(
    pool: &PgPool,
    costs: BTreeMap<ModelFamily, ServingCost>,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
    limit: u32,
) -> Result<ServingUsage, ReadError> {
    let (used, margins) = tokio::try_join!(
        model_usage::daily_by_model(pool, zone, from, to),
        margin::daily(pool, zone, from, to)
    )?;
    let mut families = Vec::new();
    for (family, cost) in costs {
        let is_of = |model: &str| ModelFamily::of(model) == Some(family);
        let used: Vec<&ModelUsageDay> = used.iter().filter(|day| is_of(&day.billed_model)).collect();
        let margins: Vec<&MarginDay> = margins.iter().filter(|day| is_of(&day.billed_model)).collect();
        let models: Vec<String> = used
            .iter()
            .map(|day| day.billed_model.clone())
            .chain(margins.iter().map(|day| day.billed_model.clone()))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let (top, recent) = tokio::try_join!(
            customer_usage::top_customers(pool, zone, from, to, &models, limit),
            generations::recent(pool, &models, limit)
        )?;
        families.push(of_family(family, cost, models, &used, &margins, top, recent));
    }
    Ok(ServingUsage { from, to, timezone: zone.name().into(), families })
}

impl ServingUsage {
    /// A row per family and day, and one of each family's total, for tables.
    pub fn rows(&self) -> Vec<Value> {
        let row = |family: &str, day: Value, served: &Served| {
            json!({
                "family": family, "day": day, "requests": served.requests,
                "inputTokens": served.input_tokens, "outputTokens": served.output_tokens,
                "chargedUsd": served.charged_usd, "servingCostUsd": served.serving_cost_usd,
                "grossMarginUsd": served.gross_margin_usd,
            })
        };
        let of_family = |family: &FamilyUsage| {
            let days = family.days.iter().map(|day| row(family.family, json!(day.day), &day.served));
            days.chain([row(family.family, "total".into(), &family.total)]).collect::<Vec<_>>()
        };
        self.families.iter().flat_map(of_family).collect()
    }
}

fn asked_families(named: Option<&str>) -> Result<Vec<ModelFamily>, Problem> {
    let Some(named) = named else { return Ok(ModelFamily::ALL.to_vec()) };
    let family = ModelFamily::ALL.into_iter().find(|family| family.name() == named);
    let unknown = || Problem::invalid("invalid_query", "`family` is gpt, claude or deepseek.");
    Ok(vec![family.ok_or_else(unknown)?])
}

fn of_family(
    family: ModelFamily,
    cost: ServingCost,
    models: Vec<String>,
    used: &[&ModelUsageDay],
    margins: &[&MarginDay],
    top: Vec<CustomerUsage>,
    recent: Vec<Generation>,
) -> FamilyUsage {
    let mut by_day: BTreeMap<NaiveDate, (UsageSums, MicroUsd)> = BTreeMap::new();
    for day in used {
        add(&mut by_day.entry(day.day).or_default().0, &day.sums);
    }
    for day in margins {
        let of_customers = day.sums.provider_cost_micro - day.sums.operator_cost_micro;
        by_day.entry(day.day).or_default().1 += of_customers;
    }
    let mut total = (UsageSums::default(), MicroUsd::ZERO);
    for (sums, provider_cost) in by_day.values() {
        add(&mut total.0, sums);
        total.1 += *provider_cost;
    }
    let day = |(day, (sums, provider_cost)): (&NaiveDate, &(UsageSums, MicroUsd))| DayServed {
        day: *day,
        served: served(sums, cost, Some(*provider_cost)),
    };
    let customer = |customer: CustomerUsage| CustomerServed {
        account_id: customer.account_id,
        served: served(&customer.sums, cost, None),
    };
    FamilyUsage {
        family: family.name(),
        models,
        serving_input_micro: cost.input.0,
        serving_output_micro: cost.output.0,
        total: served(&total.0, cost, Some(total.1)),
        days: by_day.iter().map(day).collect(),
        top_customers: top.into_iter().map(customer).collect(),
        recent: recent.into_iter().map(|generation| recent_request(generation, cost)).collect(),
    }
}

/// What is shown of sums.
fn add(sum: &mut UsageSums, part: &UsageSums) {
    sum.requests += part.requests;
    sum.cumulative_input_tokens += part.cumulative_input_tokens;
    sum.output_tokens += part.output_tokens;
    sum.charged_micro += part.charged_micro;
    sum.reversed_micro += part.reversed_micro;
    sum.covered_micro += part.covered_micro;
}

fn served(sums: &UsageSums, cost: ServingCost, provider_cost: Option<MicroUsd>) -> Served {
    let charged = sums.charged_micro - sums.reversed_micro;
    let serving = serving_cost(cost, sums.cumulative_input_tokens, sums.output_tokens);
    let margin = charged - serving;
    Served {
        requests: sums.requests,
        input_tokens: sums.cumulative_input_tokens,
        output_tokens: sums.output_tokens,
        charged_micro: charged.0,
        charged_usd: charged.to_string(),
        covered_by_plan_micro: sums.covered_micro.0,
        serving_cost_micro: serving.0,
        serving_cost_usd: serving.to_string(),
        gross_margin_micro: margin.0,
        gross_margin_usd: margin.to_string(),
        provider_cost_micro: provider_cost.map(|cost| cost.0),
    }
}

/// Tokens at the rates that serving is reckoned at, rounded once.
fn serving_cost(cost: ServingCost, input_tokens: i64, output_tokens: i64) -> MicroUsd {
    let of = |rate: i64, tokens: i64| PicoUsd(i128::from(rate) * i128::from(tokens));
    (of(cost.input.0, input_tokens) + of(cost.output.0, output_tokens)).round().0
}

fn recent_request(generation: Generation, cost: ServingCost) -> RecentRequest {
    let serving = serving_cost(cost, generation.cumulative_input_tokens, generation.output_tokens);
    RecentRequest {
        generation_id: generation.generation_id,
        account_id: generation.account_id,
        at: generation.settled_at,
        client: generation.family.name(),
        input_tokens: generation.cumulative_input_tokens,
        output_tokens: generation.output_tokens,
        charged_micro: (generation.charged_micro - generation.reversed_micro).0,
        serving_cost_micro: serving.0,
        provider_cost_micro: generation.provider_cost_micro.0,
        model: generation.billed_model,
        served_model: generation.served_model,
        provider: generation.provider,
    }
}
